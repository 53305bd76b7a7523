/* ingest/identity.c: which generation a file's bytes are.
 *
 * Design: an inode (with its device and birth) says that a file is the one we knew, until that inode is gone. From then on
 * its generation can go on in any other file that was not known before and holds the same bytes: the first record where it
 * was, and before the position the same marker, both of the decompressed bytes. So what was moved to another file system,
 * copied and deleted, or compressed is read on from where it stopped, and what was read to its end is not read again.
 *
 * A file that looks like that while the other is still there may be a copy that is just being made (gzip writes X.gz, then
 * deletes X; mv to another file system; copytruncate). It waits:
 *
 *   its name is the other's with something behind it   as long as the other is there: it is never read beside it
 *   any other name                                     until it has stood still for ingest.close_after (as long as the other,
 *                                                      or longer: a tenth of that); then it is a file of its own
 *
 * On a crash: what is gone is in the checkpoint, and the next process judges the same way. Thread: ingest's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PEEKS_MAX 256                 /* reads to find a first record: it may stand behind a hole */
#define PEEKS_LONG_MAX 4              /* the same in a line that is too long, where a read is many */
#define COMPARE_BYTES (64 * CORE_KIB) /* of two files that begin alike */

/* ---- looking at a file ----------------------------------------------------------------------------------------------------- */

/* What a file shows of itself. */
struct sight {
    struct ingest_source source;
    struct ingest_first first; /* len 0: no whole record yet */
    uint64_t gen;
    bool is_first_sure; /* not only because nothing follows just now */
    bool is_cut;        /* a .gz that ends too early */
    bool is_crowded;    /* there was no descriptor to open it with */
    struct stat st;
};

/* Make what looking needs, once. */
static void ready_to_peek(struct ingest *ingest) {
    if (ingest->peek.len == 0) {
        const enum core_err err = core_pool_init(&ingest->peek, 1, NULL);
        ingest->peek_counters = calloc(1, sizeof(*ingest->peek_counters));
        MUST(err == CORE_OK);
        MUST(ingest->peek_counters != NULL);
    }
}

static struct core_batch *peek_batch(struct ingest *ingest) {
    struct core_batch *batch = core_pool_take(&ingest->peek);
    MUST(batch != NULL);
    return batch;
}

/* Open it a second time, without touching the descriptor that is read. Errors: CORE_AGAIN too short to tell what it is ·
 * CORE_GONE its name leads elsewhere · CORE_IO. */
static enum core_err open_again(const struct ingest_file *file, struct sight *sight, struct core_fail *fail) {
    char link[64];
    const bool is_open = file->source.fd >= 0;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", file->source.fd);
    int fd = open(is_open ? link : file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && is_open && !file->source.is_gz) {
        fd = fcntl(file->source.fd, F_DUPFD_CLOEXEC, 0); /* it outlives the permission to open it */
    }
    if (fd < 0) {
        sight->is_crowded = errno == EMFILE || errno == ENFILE;
        return errno == ENOENT || errno == ENOTDIR ? CORE_GONE : core_fail_errno(fail, file->path, "cannot open it");
    }
    if (fstat(fd, &sight->st) != 0 || !S_ISREG(sight->st.st_mode) || sight->st.st_dev != file->dev ||
        sight->st.st_ino != file->ino) {
        (void)close(fd);
        return CORE_GONE;
    }
    const enum core_err err = ingest_source_open(&sight->source, fd, file->path, true, fail);
    if (err == CORE_AGAIN) {
        (void)close(fd);
    }
    return err;
}

/* Cut its beginning as it will be cut, to see the first record. */
static void find_first(struct ingest *ingest, const struct ingest_file *file, struct sight *sight, bool is_still,
                       struct core_fail *fail) {
    struct ingest_cutter cutter;
    ingest_cutter_init(&cutter, ingest->env.node, file->memory.first_path, ingest->peek_counters, NULL, NULL);
    cutter.kind = ingest_kind_of(&file->origin->core);
    ingest_cutter_tell(&cutter, &file->origin->core);
    cutter.is_end_final = sight->source.is_gz;
    cutter.is_still = is_still;
    cutter.is_peek = true;
    for (int i = 0; i < (cutter.is_long ? PEEKS_LONG_MAX : PEEKS_MAX) && cutter.first.len == 0; i++) {
        struct core_batch *batch = peek_batch(ingest);
        const enum core_err err = ingest_cutter_fill(&cutter, &sight->source, batch, UINT64_MAX, fail);
        core_pool_give(&ingest->peek, batch);
        if (err != CORE_OK || (!cutter.is_more && cutter.first.len == 0)) {
            break;
        }
    }
    sight->first = cutter.first;
    sight->gen = cutter.gen;
    sight->is_first_sure = !is_still && cutter.first.len > 0;
    sight->is_cut = sight->source.gunzip != NULL && core_gunzip_is_cut(sight->source.gunzip);
    ingest_cutter_release(&cutter);
}

/* ---- proofs ------------------------------------------------------------------------------------------------------------------ */

enum proof {
    PROOF_NO,
    PROOF_YES,
    PROOF_SHORT, /* it ends before the position */
    PROOF_FAILED /* it cannot be read */
};

/* Where the generation was read to. */
static const struct ingest_mark *mark_of(const struct ingest_file *file) {
    return file->has_cutter ? &file->cutter.last : &file->memory.accepted;
}

static enum proof prove_bytes(struct ingest_source *source, char *buf, uint64_t at, uint32_t len, uint64_t hash) {
    size_t got = 0;
    const enum core_err err = len == 0 ? CORE_OK : ingest_source_read(source, at, buf, len, &got, NULL);
    if (got == len) {
        return len == 0 || core_hash64(buf, len, 0) == hash ? PROOF_YES : PROOF_NO;
    }
    const bool is_cut = source->gunzip != NULL && core_gunzip_is_cut(source->gunzip);
    return err == CORE_OK || is_cut ? PROOF_SHORT : PROOF_FAILED;
}

/* Does this source hold the bytes of file's generation, up to its position? */
static enum proof prove(struct ingest *ingest, struct ingest_source *source, const struct ingest_file *file) {
    const struct ingest_first *first = &file->memory.first;
    const struct ingest_mark *mark = mark_of(file);
    struct core_batch *batch = peek_batch(ingest);
    enum proof proof = prove_bytes(source, batch->segment, first->at, first->len, first->hash);
    if (proof == PROOF_YES) {
        proof = prove_bytes(source, batch->segment, mark->pos - mark->marker_len, mark->marker_len, mark->marker);
    }
    core_pool_give(&ingest->peek, batch);
    return proof;
}

/* Is there no way to the bytes of this one any more, but through another file? */
static bool is_lost(const struct ingest_file *file) {
    return file->source.fd < 0 && (file->ino == 0 || file->is_gone || file->is_unlinked);
}

enum life { LIFE_GONE, LIFE_HERE, LIFE_UNKNOWN };

/* Is the file still there, and still what it was? One that was not read since it was found proves it now, or is another
 * file from here on: then its generation is an orphan. */
static enum life life_of(struct ingest *ingest, struct ingest_file *file) {
    struct stat st;
    if (is_lost(file)) {
        return LIFE_GONE;
    }
    if (file->source.fd < 0 && !ingest_file_is_at(file, file->path, &st)) {
        return LIFE_UNKNOWN; /* renamed or deleted just now: the next scan knows */
    }
    if (file->source.fd >= 0 && fstat(file->source.fd, &st) != 0) {
        return LIFE_UNKNOWN;
    }
    if (file->is_proven ||
        ingest_spool_has(ingest, file->path)) { /* a copy in the spool proves itself by its checksum */
        const bool is_shorter = !file->is_gz && (uint64_t)st.st_size < mark_of(file)->pos;
        return is_shorter ? LIFE_UNKNOWN : LIFE_HERE; /* truncated: its next read will say so */
    }
    struct sight sight = {0};
    const enum core_err err = open_again(file, &sight, NULL);
    enum proof proof = err == CORE_AGAIN ? PROOF_SHORT : PROOF_FAILED;
    if (err == CORE_OK) {
        proof = prove(ingest, &sight.source, file);
        ingest_source_close(&sight.source);
    }
    if (proof == PROOF_NO || (proof == PROOF_SHORT && !file->is_gz)) {
        ingest_file_replaced(ingest, file);
        return LIFE_GONE;
    }
    return proof == PROOF_FAILED ? LIFE_UNKNOWN : LIFE_HERE;
}

/* `sight` ends before the other's position, and begins with its first record: are they the same as far as it goes? What
 * both begin with is compared, and what the shorter ends with. */
static bool is_same_so_far(struct ingest *ingest, struct sight *sight, const struct ingest_file *other) {
    struct sight whole = {0};
    if (ingest_spool_has(ingest, other->path)) {
        return true; /* a copy has only what is behind its position */
    }
    if (open_again(other, &whole, NULL) != CORE_OK) {
        return true; /* not known: it waits */
    }
    struct core_batch *batch = peek_batch(ingest);
    char *mine = batch->segment;
    char *theirs = batch->segment + COMPARE_BYTES;
    uint64_t at = 0;
    bool is_same = true;
    for (int i = 0; i < 2 && is_same; i++) {
        size_t mine_len = 0;
        size_t theirs_len = 0;
        const enum core_err err = ingest_source_read(&sight->source, at, mine, COMPARE_BYTES, &mine_len, NULL);
        const enum core_err err_theirs = ingest_source_read(&whole.source, at, theirs, mine_len, &theirs_len, NULL);
        (void)err; /* a .gz that is being written ends in trouble */
        is_same = err_theirs != CORE_OK || (mine_len == theirs_len && memcmp(mine, theirs, mine_len) == 0);
        if (sight->source.is_gz || sight->st.st_size <= (off_t)COMPARE_BYTES) {
            break;
        }
        at = (uint64_t)sight->st.st_size - COMPARE_BYTES;
    }
    core_pool_give(&ingest->peek, batch);
    ingest_source_close(&whole.source);
    return is_same;
}

/* ---- orphans ------------------------------------------------------------------------------------------------------------------ */

struct ingest_file *ingest_file_orphan(struct ingest *ingest, struct ingest_file *file) {
    if (file->memory.first.len == 0) {
        if (file->stream != NULL) { /* of `#` lines only */
            ingest_stream_retire(ingest, file->stream);
            file->stream->file = NULL;
            file->stream = NULL;
        }
        free(file->memory.first_path);
        file->memory = (struct ingest_memory){0};
        ingest_cutter_release(&file->cutter);
        file->has_cutter = false;
        return NULL;
    }
    struct ingest_file *orphan = ingest_file_new(ingest, file->path, 0, 0);
    free(orphan->memory.first_path);
    orphan->memory = file->memory;
    orphan->cutter = file->cutter;
    orphan->has_cutter = file->has_cutter;
    orphan->stream = file->stream;
    orphan->origin = file->origin == NULL ? NULL : ingest_origin_hold(file->origin);
    orphan->is_gz = file->is_gz;
    orphan->is_over = file->is_over;
    orphan->is_saved = file->is_saved;
    orphan->size_seen = file->size_seen;
    orphan->size_read = file->size_read;
    orphan->mtime_ns = file->mtime_ns;
    orphan->grew_tick = orphan->quiet_tick = core_tick_ns();
    orphan->is_gone = orphan->is_searched = orphan->is_looked = true;
    if (orphan->stream != NULL) {
        orphan->stream->file = orphan;
        ingest_stream_retire(ingest, orphan->stream);
    }
    file->memory = (struct ingest_memory){0};
    file->cutter = (struct ingest_cutter){0};
    file->has_cutter = false;
    file->stream = NULL;
    ingest->is_gone_new = true;
    ingest->is_dirty = ingest->is_urgent = true;
    return orphan;
}

/* ---- judging -------------------------------------------------------------------------------------------------------------------- */

static struct ingest_file *file_of_gen(const struct ingest *ingest, const struct ingest_file *but, uint64_t gen) {
    struct ingest_file *file = ingest->files;
    while (file != NULL && (file == but || file->memory.first.len == 0 || file->memory.gen != gen)) {
        file = file->next;
    }
    return file;
}

uint64_t ingest_identity_gen(const struct ingest *ingest, const struct ingest_file *file, uint64_t gen) {
    /* The same name and the same first record, and yet other bytes: a sensor that begins each log alike. */
    const int64_t more[] = {file->born_ns, (int64_t)file->dev, (int64_t)file->ino, file->memory.mtime_ns};
    for (uint64_t i = 0; ingest_gen_is_known(ingest, file, gen); i++) {
        gen = core_hash64(more, sizeof(more), core_hash64(&i, sizeof(i), gen));
    }
    return gen;
}

/* Is path this name, or one made of it: X.gz, X.1, X-20261121? */
static bool is_name_derived(const char *path, const char *name) {
    const size_t len = strlen(name);
    return strncmp(path, name, len) == 0 && (path[len] == '\0' || strchr(".-_~", path[len]) != NULL);
}

static bool is_derived(const struct ingest_file *file, const struct ingest_file *from) {
    return is_name_derived(file->path, from->path) || is_name_derived(file->path, from->memory.first_path);
}

/* Is file never to be read as long as the other can be? So it is when its name is made of the other's; and when one of them
 * is deleted and only still open, or lives on in the spool: then they were one. */
static bool must_wait(const struct ingest *ingest, const struct ingest_file *file, const struct ingest_file *from) {
    struct stat st;
    const bool is_copy_only = ingest_spool_has(ingest, from->path) && !ingest_spool_has_original(from);
    const bool is_open_only = from->source.fd >= 0 && fstat(from->source.fd, &st) == 0 && st.st_nlink == 0;
    return is_derived(file, from) || is_open_only || is_copy_only || from->is_unlinked || file->is_unlinked;
}

/* `file` looks like a copy of one that is there. */
static void hold(const struct ingest *ingest, struct ingest_file *file, const struct ingest_file *from,
                 const struct stat *st) {
    struct ingest_hold *hold = &file->hold;
    const bool is_new = hold->gen != from->memory.gen;
    hold->gen = from->memory.gen;
    hold->is_derived = must_wait(ingest, file, from);
    hold->is_changed = false;
    hold->judged_tick = core_tick_ns();
    if (is_new) {
        hold->tick = core_tick_ns();
        hold->size = st->st_size;
    }
    if (!hold->is_told && !file->is_archived) {
        hold->is_told = true;
        core_log(CORE_LEVEL_INFO, "ingest", "file looks like a copy", "file=%s of=%s; it is not read beside it. %s",
                 file->path, from->path,
                 hold->is_derived
                     ? "When that one is gone it is read on here from where it stopped"
                     : "If that one goes, it is read on here; if both stay for ingest.close_after (a tenth "
                       "of it when this one is as long), this is a file of its own and is read");
    }
}

/* Does it still have to wait? */
static bool is_held(struct ingest *ingest, struct ingest_file *file) {
    struct ingest_hold *hold = &file->hold;
    if (hold->gen == 0) {
        return false;
    }
    const int64_t now = core_tick_ns();
    const struct ingest_file *from = file_of_gen(ingest, file, hold->gen);
    if (from == NULL || is_lost(from)) {
        hold->gen = 0;
        return false;
    }
    if (file->size != hold->size) {
        hold->size = file->size;
        hold->tick = now;
        hold->is_changed = true;
        return true;
    }
    const int64_t close_after = ingest->conf.close_after_ns;
    const int64_t still = now - hold->tick;
    if (hold->is_changed) {
        return now - hold->judged_tick < close_after / 10; /* then it is looked at again */
    }
    const bool is_whole = !from->is_gz && file->size >= from->size;
    hold->is_up = !hold->is_derived && (ingest->is_once || still >= (is_whole ? close_after / 10 : close_after));
    return !hold->is_up;
}

/* It was judged, and can be read. */
static void queue_own(struct ingest *ingest, struct ingest_file *file) {
    if (!file->awaits_drain) { /* else it is queued when its stream's batches are back */
        ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
    }
}

/* The generation of `gone` goes on in `file`, which is freed. */
static void take_over(struct ingest *ingest, struct ingest_file *gone, struct ingest_file *file,
                      const struct sight *sight) {
    MUST(gone->source.fd < 0);
    MUST(gone->queue == INGEST_QUEUE_NONE);
    MUST(file->stream == NULL);
    char *path = ingest_strdup(file->path);
    const dev_t dev = file->dev;
    const ino_t ino = file->ino;
    const uint64_t scan_no = file->scan_no;
    gone->born_ns = file->born_ns;
    gone->is_archived = file->is_archived;
    if (gone->origin == NULL) {
        gone->origin = ingest_origin_hold(file->origin);
    }
    ingest_file_free(ingest, file);
    core_count(ingest->env.counters, CORE_COUNT_INGEST_FILES_ROTATED, 1);
    ingest_health_rotated(ingest, gone);
    core_log(
        CORE_LEVEL_INFO, "ingest", "file goes on under another name",
        "from=%s to=%s position=%llu gz=%d; its first record and the bytes before the position are the same, so it "
        "is read on from there",
        gone->path, path, (unsigned long long)mark_of(gone)->pos, sight->source.is_gz);
    if (gone->rotated_from == NULL) {
        gone->rotated_from = ingest_strdup(gone->path);
    }
    ingest_file_set_inode(ingest, gone, dev, ino);
    ingest_file_set_path(ingest, gone, path);
    free(path);
    gone->scan_no = scan_no;
    gone->is_gone = gone->is_unlinked = gone->is_searched = gone->is_looked = gone->is_failed = gone->is_stuck = false;
    gone->is_proven = gone->is_over = false;
    gone->is_gz = sight->source.is_gz;
    gone->size = sight->st.st_size;
    gone->size_seen = gone->is_gz ? 0 : sight->st.st_size;
    gone->once_end = (uint64_t)sight->st.st_size;
    gone->quiet_tick = 0;
    gone->grew_tick = core_tick_ns();
    if (gone->has_cutter) {
        ingest_cutter_rewind(&gone->cutter);
    }
    ingest->is_dirty = ingest->is_urgent = true;
    queue_own(ingest, gone);
}

/* What was found about one file. */
struct verdict {
    struct ingest_file *gone; /* it goes on with this */
    struct ingest_file *copy; /* or looks like a copy of this one, which is there */
    bool waits;               /* it is not known yet */
};

static void compare(struct ingest *ingest, struct ingest_file *file, struct sight *sight, struct verdict *verdict) {
    const struct ingest_first *first = &sight->first;
    bool is_again = true;
    while (is_again) {
        is_again = false;
        *verdict = (struct verdict){0};
        for (struct ingest_file *other = ingest->files; other != NULL && !is_again; other = other->next) {
            const struct ingest_first *mine = &other->memory.first;
            const bool was_here = other->was_ino == file->ino && other->was_dev == file->dev && other->ino == 0;
            if (other == file || was_here || mine->len != first->len || mine->hash != first->hash ||
                mine->at != first->at) {
                continue;
            }
            const enum proof proof = prove(ingest, &sight->source, other);
            verdict->waits = verdict->waits || proof == PROOF_FAILED || (proof == PROOF_SHORT && sight->is_cut);
            if (proof == PROOF_NO || proof == PROOF_FAILED) {
                continue;
            }
            const bool was_lost = is_lost(other);
            const enum life life = life_of(ingest, other);
            is_again = life == LIFE_GONE && !was_lost; /* it has become an orphan, which stands first in the list */
            if (life == LIFE_GONE && proof == PROOF_YES &&
                (verdict->gone == NULL || mark_of(other)->pos > mark_of(verdict->gone)->pos)) {
                verdict->gone = other;
            } else if (life != LIFE_GONE && (proof == PROOF_YES || is_same_so_far(ingest, sight, other))) {
                verdict->copy = other;
                verdict->waits = verdict->waits || life == LIFE_UNKNOWN;
            }
        }
    }
}

/* An older name that this one may be made of, and that was not judged itself: it comes first. */
static void judge_sibling(struct ingest *ingest, const struct ingest_file *file) {
    char *name = ingest_strdup(file->path);
    for (char *cut = name + strlen(name); cut > name && *cut != '/'; cut--) {
        if (strchr(".-_~", *cut) == NULL || *cut == '\0') {
            continue;
        }
        *cut = '\0';
        struct ingest_file *sibling = ingest_file_by_path(ingest, name);
        if (sibling != NULL && ingest_file_is_unsettled(sibling) && sibling->queue == INGEST_QUEUE_NONE &&
            sibling->origin != NULL && sibling->hold.gen == 0 && !sibling->is_being_judged &&
            ingest_identity_judge(ingest, sibling)) {
            queue_own(ingest, sibling);
        }
    }
    free(name);
}

/* Those found earlier that have no name yet because they had no record then: they come first in time. */
static void judge_elders(struct ingest *ingest, const struct ingest_file *file) {
    const uint64_t found_no = file->found_no;
    if (ingest->is_judging_elders) {
        return;
    }
    ingest->is_judging_elders = true;
    uint64_t last = 0; /* judging one can free it, and make orphans: the list is gone through anew each time */
    for (bool is_done = false; !is_done;) {
        struct ingest_file *elder = NULL;
        for (struct ingest_file *other = ingest->files; other != NULL; other = other->next) {
            const bool is_elder = other->found_no > last && other->found_no < found_no && other->source.fd >= 0;
            const bool may_judge = other->origin != NULL && !other->is_being_judged && other->hold.gen == 0 &&
                                   (strcmp(other->path, file->path) == 0 || !is_name_derived(other->path, file->path));
            if (is_elder && may_judge && ingest_file_is_unsettled(other) &&
                (elder == NULL || other->found_no < elder->found_no)) {
                elder = other;
            }
        }
        is_done = elder == NULL;
        struct stat st;
        last = is_done ? last : elder->found_no;
        if (!is_done && fstat(elder->source.fd, &st) == 0 && st.st_size > elder->judged_size) {
            ingest_file_leave_queue(ingest, elder);
            if (ingest_identity_judge(ingest, elder)) {
                queue_own(ingest, elder);
            }
        }
    }
    ingest->is_judging_elders = false;
}

/* It is a file of its own. What names its generation is remembered from here on, so that it is found again wherever it
 * goes before it is read. */
static void settle(struct ingest *ingest, struct ingest_file *file, const struct sight *sight) {
    file->is_settled = true;
    file->hold = (struct ingest_hold){0};
    core_log(CORE_LEVEL_DEBUG, "ingest", "file is one of its own", "file=%s size=%lld found=%llu", file->path,
             (long long)sight->st.st_size, (unsigned long long)file->found_no);
    if (sight->is_first_sure && !file->is_from_end && !file->is_archived) {
        file->memory.first = sight->first;
        file->memory.gen = ingest_identity_gen(ingest, file, sight->gen);
        file->is_gz = sight->source.is_gz;
        if (file->has_cutter) {
            file->cutter.first = sight->first;
            file->cutter.gen = file->memory.gen;
        }
        ingest->is_dirty = ingest->is_urgent = true;
    }
}

enum answer { ANSWER_OWN, ANSWER_WAITS, ANSWER_TAKEN };

static enum answer judge_sight(struct ingest *ingest, struct ingest_file *file, struct sight *sight) {
    struct verdict verdict;
    compare(ingest, file, sight, &verdict);
    if (verdict.gone != NULL && verdict.gone->queue == INGEST_QUEUE_NONE) {
        take_over(ingest, verdict.gone, file, sight);
        return ANSWER_TAKEN;
    }
    const bool is_waited_for = file->hold.is_up || ingest->is_once; /* with --once nobody comes back to it */
    if (verdict.copy != NULL && !(is_waited_for && !must_wait(ingest, file, verdict.copy))) {
        hold(ingest, file, verdict.copy, &sight->st);
        return ANSWER_WAITS;
    }
    if (verdict.gone != NULL || (verdict.waits && !ingest->is_once)) {
        file->judge_tick = core_tick_ns() + (sight->is_cut ? ingest->conf.close_after_ns : 0);
        return ANSWER_WAITS;
    }
    settle(ingest, file, sight);
    return ANSWER_OWN;
}

/* No record yet: it is judged when there is one. Or it is read as what it is, when it is no log, or does not change any
 * more. */
static enum answer judge_unclear(struct ingest *ingest, struct ingest_file *file, const struct sight *sight) {
    const bool is_still = core_tick_ns() - file->grew_tick >= ingest->conf.close_after_ns;
    file->is_settled =
        ingest->is_once || (sight->source.is_gz && is_still) || sight->st.st_size > (off_t)CORE_SEGMENT_BYTES;
    file->judge_tick = sight->source.is_gz ? file->grew_tick + ingest->conf.close_after_ns : 0;
    return file->is_settled ? ANSWER_OWN : ANSWER_WAITS;
}

/* It cannot be opened or read now. What it is nobody knows, least of all that it is its own: it may be another's rest. */
static enum answer judge_unseen(struct ingest *ingest, struct ingest_file *file, bool is_crowded,
                                const struct core_fail *fail) {
    if (ingest->is_once) {
        file->is_settled = true; /* nobody comes back to it: reading it tells what the trouble is */
        return ANSWER_OWN;
    }
    file->judge_tick = core_tick_ns(); /* each scan tries again */
    if (is_crowded) {
        ingest_file_tell_failure(ingest, file, fail); /* a descriptor that is open is worth the more */
    } else {
        ingest_file_fail(ingest, file, fail);
    }
    return ANSWER_WAITS;
}

static enum answer judge(struct ingest *ingest, struct ingest_file *file) {
    struct sight sight = {0};
    struct core_fail fail = {0};
    const enum core_err err = open_again(file, &sight, &fail);
    if (err == CORE_GONE) {
        file->is_searched = file->is_looked = false;
        ingest->scan_tick = 0;
    }
    if (err != CORE_OK) {
        return err == CORE_GONE || err == CORE_AGAIN ? ANSWER_WAITS
                                                     : judge_unseen(ingest, file, sight.is_crowded, &fail);
    }
    find_first(ingest, file, &sight, false, &fail);
    if (sight.first.len == 0 && fail.err != CORE_IO) {
        find_first(ingest, file, &sight, true, &fail);
    }
    if (sight.first.len == 0 && fail.err == CORE_IO) {
        ingest_source_close(&sight.source);
        return judge_unseen(ingest, file, false, &fail);
    }
    ingest_file_well(ingest, file);
    file->judge_tick = 0;
    file->judged_size = sight.st.st_size;
    const enum answer answer =
        sight.first.len > 0 ? judge_sight(ingest, file, &sight) : judge_unclear(ingest, file, &sight);
    if (answer == ANSWER_WAITS && file->source.is_gz) {
        ingest_file_close(ingest, file); /* another one can be read */
    }
    ingest_source_close(&sight.source);
    return answer;
}

bool ingest_identity_judge(struct ingest *ingest, struct ingest_file *file) {
    MUST(file->queue == INGEST_QUEUE_NONE);
    MUST(file->origin != NULL);
    MUST(!file->is_being_judged);
    ready_to_peek(ingest);
    if (is_held(ingest, file)) {
        return false;
    }
    file->is_being_judged = true; /* not again, while those that come before it are */
    judge_elders(ingest, file);
    judge_sibling(ingest, file);
    const enum answer answer = judge(ingest, file);
    if (answer != ANSWER_TAKEN) {
        file->is_being_judged = false;
    }
    return answer == ANSWER_OWN;
}

/* The next that is to be judged. Judging one can free others, so the list is gone through anew each time. */
static struct ingest_file *next_to_judge(struct ingest *ingest) {
    struct ingest_file *file = ingest->unjudged_len == 0 ? NULL : ingest->files;
    while (file != NULL && !(file->wants_judge && file->queue == INGEST_QUEUE_NONE && file->origin != NULL)) {
        file = file->next;
    }
    return file;
}

void ingest_identity_judge_all(struct ingest *ingest) {
    int judged = 0;
    for (struct ingest_file *file = next_to_judge(ingest); file != NULL; file = next_to_judge(ingest)) {
        file->wants_judge = false;
        if (!ingest_file_is_unsettled(file)) {
            continue; /* it was judged when it was read */
        }
        if (++judged > INGEST_JUDGE_MAX || ingest_identity_judge(ingest, file)) {
            queue_own(ingest, file);
        }
    }
    ingest->unjudged_len = 0;
}

void ingest_identity_close(struct ingest *ingest) {
    if (ingest->peek.len > 0) {
        core_pool_destroy(&ingest->peek);
    }
    free(ingest->peek_counters);
    free(ingest->archive_seen);
    ingest_listing_free(ingest->listing);
}
