/* ingest/commit.c: the other half of core/commit.h: positions that a keeper has, commits, and what an abort asks of us.
 *
 * Design: until the keeper has heard from its server nothing is looked at. Then its positions are laid over those of
 * the checkpoint: of a generation that both have, the keeper's counts; what only we have is kept (the node delivered
 * at least once before); what only the keeper has is added. A generation of which nothing was ever committed, and
 * whose file the keeper has as another one, is let go: another process of this node found that file under another
 * name, and delivered it so. From then on a batch that is back is pending until its transaction is committed. An
 * abort is two steps: first everything pending is dropped and nothing is read, until every batch is back; then the
 * streams that lost batches end, and their files are read again from their accepted marks with new ones.
 *
 * Lines about finished files (`over`, later `gone`) go to the keeper in batches without records, one at a time, each a
 * stream of its own; what was aborted of them is sent again.
 *
 * On a crash the keeper has what was committed and nothing else. The checkpoint on this disk is a copy, at most
 * ingest.checkpoint_interval old. Thread: ingest's; the keeper writes core_commit, and rings.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CARRIED_BYTES_MAX (256 * CORE_KIB) /* of lines in one batch */
#define GONE_INTERVAL_NS (30 * CORE_NS_PER_S)

/* ---- what the keeper says -------------------------------------------------------------------------------------------------- */

bool ingest_commit_notice(struct ingest *ingest) {
    struct ingest_commit *commit = &ingest->commit;
    const struct core_commit *keeper = ingest->env.commit;
    if (!commit->is_keeping) {
        return false;
    }
    /* In this order: who sees an abort sees the commits before it. */
    const uint64_t epoch = atomic_load_explicit(&keeper->epoch, memory_order_acquire);
    const uint64_t committed = atomic_load_explicit(&keeper->committed, memory_order_acquire);
    const bool is_news = epoch != commit->newest || committed != commit->committed;
    if (committed != commit->committed) {
        MUST(committed > commit->committed);
        commit->committed = committed;
        ingest_stream_commit_all(ingest, committed);
    }
    if (epoch != commit->newest) {
        MUST(epoch > commit->newest);
        commit->newest = epoch;
        commit->is_rewinding = true;
        ingest_stream_drop_all(ingest);
    }
    return is_news;
}

bool ingest_commit_may_read(const struct ingest *ingest) {
    const struct ingest_commit *commit = &ingest->commit;
    return (ingest->env.commit == NULL || commit->is_ready) && !commit->is_rewinding;
}

/* ---- reading again ----------------------------------------------------------------------------------------------------------- */

/* A stream that lost batches ends; another one reads its file on. */
static void restart(struct ingest *ingest, struct ingest_stream *stream) {
    struct ingest_file *file = stream->file;
    stream->is_dropped = false;
    if (stream->is_control) {
        ingest_commit_lines_back(ingest, false);
    }
    if (file != NULL) {
        file->stream = NULL;
        stream->file = NULL;
        file->size_seen = !file->is_gz && (uint64_t)file->size_seen < stream->given_end ? (int64_t)stream->given_end
                                                                                        : file->size_seen;
        ingest_file_rewind(ingest, file);
    }
    if (stream->is_last_back) {
        ingest_stream_free(ingest, stream);
    } else {
        ingest_stream_retire(ingest, stream);
    }
}

static void rewind_all(struct ingest *ingest) {
    struct ingest_commit *commit = &ingest->commit;
    size_t streams = 0;
    struct ingest_stream *next = NULL;
    for (struct ingest_stream *stream = ingest->streams; stream != NULL; stream = next) {
        next = stream->next;
        MUST(stream->seq_back == stream->seq_next);
        MUST(stream->pending.txn == 0);
        if (stream->is_dropped) {
            streams++;
            restart(ingest, stream);
        }
    }
    commit->epoch = commit->newest;
    commit->is_rewinding = false;
    core_count(ingest->env.counters, CORE_COUNT_INGEST_REWINDS, 1);
    core_log(CORE_LEVEL_INFO, "ingest", "reading again from the last commit",
             "files=%zu; a transaction was aborted: what it held was never to be seen, and is delivered once more",
             streams);
}

/* ---- recovery ------------------------------------------------------------------------------------------------------------------ */

/* A file of the checkpoint of which nothing was ever committed. */
struct doubt {
    struct ingest_file *file;
    dev_t dev;
    ino_t ino;
    uint64_t cover; /* the keeper's generation of the same file; 0: it has none */
};

/* Files by generation, to look them up in. */
struct by_gen {
    struct ingest_file **files;
    size_t len;
    struct doubt *doubts;
    size_t doubts_len;
};

static int compare_gen(const void *a, const void *b) {
    const struct ingest_file *const *left = a;
    const struct ingest_file *const *right = b;
    const uint64_t x = (*left)->memory.gen;
    const uint64_t y = (*right)->memory.gen;
    return x < y ? -1 : x > y ? 1 : 0;
}

static bool was_never_committed(const struct ingest *ingest, const struct ingest_file *file) {
    return ingest->commit.was_keeping && file->memory.first.len > 0 && !file->is_kept &&
           file->memory.accepted.pos == file->memory.begin && !ingest_spool_has(ingest, file->path);
}

static void index_files(const struct ingest *ingest, struct by_gen *index) {
    index->files = calloc(ingest->files_len + 1, sizeof(struct ingest_file *));
    index->doubts = calloc(ingest->files_len + 1, sizeof(*index->doubts));
    MUST(index->files != NULL && index->doubts != NULL);
    for (struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        if (file->memory.first.len > 0) {
            index->files[index->len++] = file;
        }
        if (was_never_committed(ingest, file)) {
            index->doubts[index->doubts_len++] = (struct doubt){.file = file, .dev = file->dev, .ino = file->ino};
        }
    }
    qsort(index->files, index->len, sizeof(struct ingest_file *), compare_gen);
}

static struct ingest_file *find_gen(const struct by_gen *index, uint64_t gen) {
    size_t low = 0;
    size_t high = index->len;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (index->files[mid]->memory.gen < gen) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < index->len && index->files[low]->memory.gen == gen ? index->files[low] : NULL;
}

static void remember_over(struct ingest *ingest, uint64_t gen, int64_t at_ns) {
    struct ingest_commit *commit = &ingest->commit;
    ingest_gens_add(&ingest->over_gens, gen);
    for (size_t i = 0; i < commit->overs_len; i++) {
        if (commit->overs[i].gen == gen) {
            commit->overs[i].at_ns = at_ns;
            return;
        }
    }
    if (commit->overs_len == commit->overs_cap) {
        commit->overs_cap = commit->overs_cap * 2 + 64;
        commit->overs = realloc(commit->overs, commit->overs_cap * sizeof(*commit->overs));
        MUST(commit->overs != NULL);
    }
    commit->overs[commit->overs_len++] = (struct ingest_over){.gen = gen, .at_ns = at_ns};
}

/* The keeper's position of a generation that the checkpoint has. The checkpoint of a process that had no keeper may be
 * ahead of it. */
static void lay_over(const struct ingest *ingest, struct ingest_file *file, const struct ingest_position *position) {
    struct ingest_memory *memory = &file->memory;
    if (!ingest->commit.was_keeping && memory->accepted.pos > position->memory.accepted.pos) {
        return;
    }
    file->is_kept = true;
    memory->accepted = position->memory.accepted;
    memory->begin = position->memory.begin;
    memory->open_from = position->memory.open_from;
    memory->tally = position->memory.tally;
    file->size_seen = position->size_seen > file->size_seen ? position->size_seen : file->size_seen;
}

/* One that only the keeper has. The checkpoint may have seen its file, by this name or a newer one. Two generations of one
 * inode: it was truncated or reused; the one that the keeper heard of last, or the checkpoint has, is the file, and the
 * other is without one: should that be wrong, the first read finds out, and they change places (identity.c). What the
 * checkpoint has and nothing was ever committed of is not believed: another process of this node may have read the file
 * since, and have found it under another name. */
static void add_file(struct ingest *ingest, struct ingest_position *position) {
    const dev_t dev = (dev_t)position->dev;
    const ino_t ino = (ino_t)position->ino;
    struct ingest_file *other = ino == 0 ? NULL : ingest_file_by_inode(ingest, dev, ino);
    const bool is_seen = other != NULL && other->memory.first.len == 0;
    if (is_seen && (other->born_ns == 0 || position->born_ns == 0 || other->born_ns == position->born_ns)) {
        ingest_checkpoint_fill(other, position);
        other->is_remote = other->is_kept = true;
        return;
    }
    const bool is_believed = other != NULL && !other->is_remote && !was_never_committed(ingest, other);
    if (is_believed) {
        position->dev = position->ino = 0;
    } else if (other != NULL) {
        ingest_file_set_inode(ingest, other, 0, 0);
    }
    struct ingest_file *file = ingest_checkpoint_add(ingest, position);
    file->is_remote = file->is_kept = true;
}

/* Is this line, of a generation that the checkpoint does not have, about a file in doubt? Both begin with the same record; and
 * they have one inode, or the keeper has seen all that the checkpoint has (moved to another disk, compressed). */
static void cover_doubts(struct by_gen *index, const struct ingest_position *position) {
    const struct ingest_memory *memory = &position->memory;
    const int64_t pos = (int64_t)memory->accepted.pos;
    const int64_t seen = position->is_gz || position->size_seen < pos ? pos : position->size_seen;
    for (size_t i = 0; i < index->doubts_len; i++) {
        struct doubt *doubt = &index->doubts[i];
        const struct ingest_file *file = doubt->file;
        const struct ingest_first *first = &file->memory.first;
        const bool is_alike =
            first->at == memory->first.at && first->len == memory->first.len && first->hash == memory->first.hash;
        const bool is_inode = doubt->ino != 0 && doubt->ino == position->ino && doubt->dev == position->dev &&
                              (file->born_ns == 0 || position->born_ns == 0 || file->born_ns == position->born_ns);
        if (is_alike && (is_inode || (file->memory.begin == 0 && seen >= file->size_seen))) {
            doubt->cover = memory->gen;
        }
    }
}

/* What the keeper has as another generation was never this one: its file is there, or not, as that one says. */
static void drop_covered(struct ingest *ingest, const struct by_gen *index) {
    for (size_t i = 0; i < index->doubts_len; i++) {
        const struct doubt *doubt = &index->doubts[i];
        if (doubt->cover == 0 || doubt->file->is_kept) {
            continue;
        }
        core_log(CORE_LEVEL_INFO, "ingest",
                 "another process of this node has delivered from a file that was ours to read",
                 "file=%s gen=%016" PRIx64 " its_gen=%016" PRIx64
                 "; nothing of it was committed from here, and it is read on, or was read, as what that process found",
                 doubt->file->path, doubt->file->memory.gen, doubt->cover);
        ingest_file_free(ingest, doubt->file);
        ingest->is_dirty = true;
    }
}

/* The keeper answers for what it delivered. What went before, at least once or to another place, is not in its topics as the
 * accounts would have it: those of a file that it has no line of begin where it goes on. */
static void begin_accounts(struct ingest *ingest) {
    for (struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        struct ingest_memory *memory = &file->memory;
        if (memory->first.len > 0 && !file->is_kept) {
            memory->begin = memory->open_from;
            memory->tally = (struct core_tally){0};
        }
    }
}

/* One line, NUL-terminated. false: not one that we write. */
static bool recover_line(struct ingest *ingest, struct by_gen *index, char *line) {
    struct ingest_position position;
    if (strncmp(line, "gone ", 5) == 0) {
        return true;
    }
    if (!ingest_position_parse(line, &position)) {
        return false;
    }
    struct ingest_file *file = find_gen(index, position.memory.gen);
    if (file == NULL) {
        cover_doubts(index, &position);
    }
    if (file != NULL) {
        lay_over(ingest, file, &position);
    } else if (!position.is_over) {
        add_file(ingest, &position);
    }
    if (position.is_over) {
        remember_over(ingest, position.memory.gen, position.at_ns);
    }
    return true;
}

static enum core_err recover_lines(struct ingest *ingest, char *text, size_t len, struct core_fail *fail) {
    struct by_gen index = {0};
    enum core_err err = CORE_OK;
    const size_t known = ingest->files_len;
    size_t number = 0;
    index_files(ingest, &index);
    for (char *at = text; err == CORE_OK && at < text + len;) {
        char *nl = memchr(at, '\n', (size_t)(text + len - at));
        char cut[64];
        number++;
        (void)snprintf(cut, sizeof(cut), "%.*s", nl == NULL ? 0 : (int)(nl - at), at);
        if (nl != NULL) {
            *nl = '\0';
        }
        if (nl == NULL || !recover_line(ingest, &index, at)) {
            err = core_fail_set(
                fail, CORE_BAD, "the keeper of positions",
                "line %zu of this node's positions (\"%s\" …) is not one that this version of tapline writes. Reading "
                "without it would deliver again what was delivered. Run the version that wrote it, or delete the "
                "record "
                "of this generation from the checkpoint topic",
                number, cut);
        } else {
            at = nl + 1;
        }
    }
    core_log(CORE_LEVEL_INFO, "ingest", "positions recovered",
             "lines=%zu files_of_checkpoint=%zu files_added=%zu files_over=%zu", number, known,
             ingest->files_len - known, ingest->commit.overs_len);
    drop_covered(ingest, &index);
    free(index.files);
    free(index.doubts);
    return err;
}

static enum core_err begin(struct ingest *ingest, bool *did, struct core_fail *fail) {
    struct ingest_commit *commit = &ingest->commit;
    struct core_commit *keeper = ingest->env.commit;
    const int state = atomic_load_explicit(&keeper->state, memory_order_acquire);
    if (state == CORE_COMMIT_WAITS) {
        return CORE_OK;
    }
    *did = true;
    if (state == CORE_COMMIT_OFF) {
        commit->is_ready = true;
        return CORE_OK;
    }
    const enum core_err err =
        keeper->positions == NULL ? CORE_OK : recover_lines(ingest, keeper->positions, keeper->positions_len, fail);
    free(keeper->positions);
    keeper->positions = NULL;
    keeper->positions_len = 0;
    if (err != CORE_OK) {
        return err;
    }
    begin_accounts(ingest);
    commit->is_ready = commit->is_keeping = true;
    commit->epoch = commit->newest = atomic_load_explicit(&keeper->epoch, memory_order_acquire);
    commit->committed = atomic_load_explicit(&keeper->committed, memory_order_acquire);
    ingest->is_dirty = true;
    return CORE_OK;
}

/* ---- what we say ------------------------------------------------------------------------------------------------------------------ */

void ingest_commit_mark(struct ingest *ingest, const struct ingest_file *file, struct core_batch *batch) {
    if (!ingest->commit.is_keeping || file->memory.first.len == 0) {
        return;
    }
    char line[INGEST_POSITION_BYTES_MAX];
    const struct ingest_mark *mark = &ingest->tickets[batch - ingest->env.pool->batches];
    size_t len = ingest_position_put(line, file, mark);
    line[len++] = '\n';
    batch->position.ptr = core_arena_copy(&batch->arena, (struct core_span){.ptr = line, .len = len});
    batch->position.len = len;
    MUST(batch->position.ptr != NULL); /* the arena is empty, and far larger */
}

bool ingest_lines_add(struct ingest_lines *lines, const char *text, size_t len) {
    if (lines->len + len > INGEST_LINES_BYTES_MAX) {
        return false;
    }
    if (lines->len + len > lines->cap) {
        const size_t cap = (lines->len + len) * 2;
        char *more = realloc(lines->text, cap);
        MUST(more != NULL);
        lines->text = more;
        lines->cap = cap;
    }
    memcpy(lines->text + lines->len, text, len);
    lines->len += len;
    return true;
}

static void tell_full(struct ingest_lines *lines) {
    if (!lines->is_full) {
        lines->is_full = true;
        core_log(
            CORE_LEVEL_WARN, "ingest", "too many finished files to tell the keeper of",
            "bytes_max=%zu; further ones stay among its positions until the next start; is the broker away for long?",
            (size_t)INGEST_LINES_BYTES_MAX);
    }
}

void ingest_commit_over(struct ingest *ingest, uint64_t gen, int64_t at_ns, const char *line, size_t len) {
    struct ingest_commit *commit = &ingest->commit;
    if (!commit->is_keeping) {
        return;
    }
    if (!ingest_lines_add(&commit->lines, line, len)) {
        tell_full(&commit->lines);
        return;
    }
    remember_over(ingest, gen, at_ns);
}

void ingest_commit_lines_back(struct ingest *ingest, bool is_committed) {
    struct ingest_commit *commit = &ingest->commit;
    struct ingest_lines *lines = &commit->lines;
    MUST(commit->carried > 0);
    MUST(commit->carried <= lines->len);
    if (is_committed) {
        memmove(lines->text, lines->text + commit->carried, lines->len - commit->carried);
        lines->len -= commit->carried;
        lines->is_full = false;
    }
    commit->carried = 0;
}

/* A batch of lines for the keeper, when some wait and none is under way. true: it left. */
static bool carry(struct ingest *ingest) {
    struct ingest_commit *commit = &ingest->commit;
    const struct ingest_lines *lines = &commit->lines;
    if (lines->len == 0 || commit->carried > 0 || ingest->env.pool->free_len == 0) {
        return false;
    }
    size_t len = lines->len;
    if (len > CARRIED_BYTES_MAX) {
        const char *nl = memrchr(lines->text, '\n', CARRIED_BYTES_MAX);
        MUST(nl != NULL); /* a line is far shorter */
        len = (size_t)(nl - lines->text) + 1;
    }
    struct core_batch *batch = core_pool_take(ingest->env.pool);
    struct ingest_stream *stream = ingest_stream_new_control(ingest);
    batch->stream = &stream->core;
    batch->is_last = true;
    batch->position.ptr = core_arena_copy(&batch->arena, (struct core_span){.ptr = lines->text, .len = len});
    batch->position.len = len;
    MUST(batch->position.ptr != NULL);
    commit->carried = len;
    ingest_emit(ingest, stream, batch);
    return true;
}

static bool is_alive(const struct ingest *ingest, uint64_t gen) {
    for (const struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        if (file->memory.first.len > 0 && file->memory.gen == gen) {
            return true;
        }
    }
    return false;
}

/* What was over for longer than is to be remembered: the keeper may forget it. */
static void forget_old(struct ingest *ingest) {
    struct ingest_commit *commit = &ingest->commit;
    const int64_t tick = core_tick_ns();
    if (tick < commit->gone_tick) {
        return;
    }
    commit->gone_tick = tick + GONE_INTERVAL_NS;
    const int64_t until = core_now_ns() - ingest->conf.remember_ns;
    size_t kept = 0;
    for (size_t i = 0; i < commit->overs_len; i++) {
        const struct ingest_over *over = &commit->overs[i];
        if (over->at_ns <= until && !is_alive(ingest, over->gen)) {
            char line[32];
            const int len = snprintf(line, sizeof(line), "gone gen=%016" PRIx64 "\n", over->gen);
            if (ingest_lines_add(&commit->lines, line, (size_t)len)) {
                continue;
            }
            tell_full(&commit->lines);
        }
        commit->overs[kept++] = *over;
    }
    commit->overs_len = kept;
}

/* ---- a turn -------------------------------------------------------------------------------------------------------------------------- */

enum core_err ingest_commit_turn(struct ingest *ingest, bool *did, struct core_fail *fail) {
    struct ingest_commit *commit = &ingest->commit;
    if (ingest->env.commit == NULL) {
        return CORE_OK;
    }
    if (!commit->is_ready) {
        return begin(ingest, did, fail);
    }
    if (!commit->is_keeping) {
        return CORE_OK;
    }
    *did = ingest_commit_notice(ingest) || *did;
    if (commit->is_rewinding && ingest->outstanding == 0) {
        MUST(ingest->unsaved == NULL);
        rewind_all(ingest);
        *did = true;
    }
    if (!commit->is_rewinding && !ingest->is_stopped) {
        forget_old(ingest);
        *did = carry(ingest) || *did;
    }
    return CORE_OK;
}

void ingest_commit_close(struct ingest *ingest) {
    free(ingest->commit.lines.text);
    free(ingest->commit.overs);
    ingest->commit = (struct ingest_commit){0};
}
