/* ingest/file.c: a file by its inode: opened, read a batch at a time, closed.
 *
 * Design: a file is who it is by device and inode, and proves it by its first record line (at opening) and by the bytes
 * before the position (in every read). When it fails the proof it was truncated or its inode reused: what follows is
 * another stream, from the beginning, with a generation of its own. The descriptor is only a cache: past files_max the
 * one that stood still longest is closed, and opened again when it grows.
 *
 * A line without its newline waits; when the file is over (scan.c) it becomes a record as it is. Should it be written on after
 * all, what follows is a record of its own: no byte is read twice.
 *
 * On a crash: what was read and not accepted is read again from memory.accepted; so it is, by this process, when a transaction
 * is aborted, which is why a file whose records are not all committed keeps its descriptor. Thread: ingest's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int64_t mtime_of(const struct stat *st) {
    return st->st_mtim.tv_sec * CORE_NS_PER_S + st->st_mtim.tv_nsec;
}

uint64_t ingest_file_pos(const struct ingest_file *file) {
    return file->has_cutter ? file->cutter.pos : file->memory.accepted.pos;
}

/* Bytes that were seen and not read. A .gz tells its position in other bytes than its size. */
uint64_t ingest_file_unread(const struct ingest_file *file) {
    const uint64_t pos = ingest_file_pos(file);
    return !file->is_gz && !file->is_over && file->size_seen > 0 && (uint64_t)file->size_seen > pos
               ? (uint64_t)file->size_seen - pos
               : 0;
}

static void note_stat(struct ingest_file *file, const struct stat *st) {
    file->size = st->st_size;
    file->mtime_ns = mtime_of(st);
    file->size_seen = st->st_size > file->size_seen ? st->st_size : file->size_seen;
}

/* ---- closing ------------------------------------------------------------------------------------------------------------ */

/* It is no more one of the .gz files that are read: another may be. */
static void gz_leave(struct ingest *ingest, const struct ingest_file *file) {
    if (!file->source.is_gz || file->is_resting) {
        return;
    }
    MUST(ingest->gz_len > 0);
    ingest->gz_len--;
    struct ingest_file *waiting = ingest_file_unqueue(ingest, INGEST_QUEUE_GZ);
    if (waiting != NULL) {
        ingest_file_queue(ingest, waiting, INGEST_QUEUE_READY);
    }
}

void ingest_file_close(struct ingest *ingest, struct ingest_file *file) {
    if (file->source.fd < 0) {
        return;
    }
    MUST(ingest->open_len > 0);
    ingest->open_len--;
    gz_leave(ingest, file);
    file->is_resting = file->awaits_close = false;
    ingest_source_close(&file->source);
}

/* It gives back the memory of reading it, and stays open. */
static void rest_gz(struct ingest *ingest, struct ingest_file *file) {
    if (file->source.is_gz && !file->is_resting) {
        gz_leave(ingest, file);
        file->is_resting = true;
        ingest_source_rest(&file->source);
    }
}

/* Close it, but not before all that was read of it is committed: should that come to nothing, it is read again. */
static void let_go(struct ingest *ingest, struct ingest_file *file) {
    const bool is_settled = file->stream == NULL || ingest_stream_is_settled(file->stream);
    if (is_settled || ingest_commit_is_local(&ingest->commit) || file->source.fd < 0) {
        ingest_file_close(ingest, file);
        return;
    }
    file->awaits_close = true;
    rest_gz(ingest, file);
}

void ingest_file_rewind(struct ingest *ingest, struct ingest_file *file) {
    MUST(file->stream == NULL);
    ingest_cutter_release(&file->cutter);
    file->has_cutter = false;
    file->awaits_close = false;
    file->awaits_drain = false;
    file->is_failed = file->is_stuck = false;
    file->is_over = false; /* there is more to read again */
    file->still_tick = 0;
    file->quiet_tick = 0;
    if (file->ino == 0 || (file->source.fd < 0 && file->is_gone)) {
        core_log(
            CORE_LEVEL_ERROR, "ingest", "records of a file that is gone were not committed",
            "file=%s position=%llu bytes=%llu; their transaction was aborted, and what they were read from is no more "
            "there. If an archive or another name of it is found, it is read on from there; else they are counted as "
            "lost when the file is forgotten. To rotate without loss, rename instead of truncating",
            file->path, (unsigned long long)file->memory.accepted.pos, (unsigned long long)ingest_file_unread(file));
        file->quiet_tick = core_tick_ns();
        ingest->is_gone_new = true; /* archives are looked into at once, and what was seen in them counts anew */
        return;
    }
    if (file->queue == INGEST_QUEUE_NONE) {
        ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
    }
}

void ingest_file_retire(struct ingest *ingest, struct ingest_file *file) {
    let_go(ingest, file);
    if (file->stream != NULL) {
        ingest_stream_retire(ingest, file->stream);
    }
    if (file->has_cutter) {
        ingest_cutter_rewind(&file->cutter); /* should it grow after all, it is as after a restart */
    }
    file->quiet_tick = core_tick_ns();
}

struct ingest_file *ingest_file_become_new(struct ingest *ingest, struct ingest_file *file) {
    /* Renamed and truncated at once: the name that its sensor knows is the one that an input names. */
    char *first_path = ingest_strdup(file->rotated_from != NULL ? file->rotated_from : file->path);
    struct ingest_file *orphan = ingest_file_orphan(ingest, file);
    ingest_health_replaced(file, orphan);
    file->memory = (struct ingest_memory){.first_path = first_path};
    file->hold = (struct ingest_hold){0};
    file->is_settled = file->is_over = false;
    file->is_saved = false;
    file->is_proven = false;
    file->is_from_end = false;
    file->is_unlinked = false;
    file->awaits_drain = false;
    file->size_seen = 0;
    file->size_read = 0;
    ingest->is_dirty = ingest->is_urgent = true;
    return orphan;
}

/* ---- opening ------------------------------------------------------------------------------------------------------------ */

void ingest_file_tell_failure(struct ingest *ingest, struct ingest_file *file, const struct core_fail *fail) {
    /* One from an archive is forgotten between two looks: its name is remembered instead. */
    if (!file->is_failed && (!file->is_archived || ingest_tell(ingest, file->path, "read"))) {
        core_count(ingest->env.counters, CORE_COUNT_INGEST_FILES_FAILED, 1);
        core_log(CORE_LEVEL_ERROR, "ingest", "cannot read a file",
                 "file=%s reason=\"%s\"; other files go on, this one is tried again%s; its position is kept",
                 fail->where, fail->text,
                 file->is_stuck ? " when it changes: put a whole copy in its place" : " at every scan");
    }
    file->is_failed = true;
    ingest_health_trouble(file, fail->text);
}

void ingest_file_fail(struct ingest *ingest, struct ingest_file *file, const struct core_fail *fail) {
    ingest_file_tell_failure(ingest, file, fail);
    /* A descriptor may stay dead when its file system is well again (mounted anew): the next try opens the name. */
    struct stat st;
    if (file->source.fd >= 0 && !file->is_unlinked && stat(file->path, &st) == 0 && st.st_dev == file->dev &&
        st.st_ino == file->ino) {
        ingest_file_close(ingest, file);
    }
}

void ingest_file_well(struct ingest *ingest, struct ingest_file *file) {
    if (file->is_archived) {
        ingest_untell(ingest, file->path, "read");
    }
    if (file->is_failed) {
        file->is_failed = false;
        ingest_health_trouble(file, NULL);
        core_log(CORE_LEVEL_INFO, "ingest", "file readable again", "file=%s position=%llu; read on from there",
                 file->path, (unsigned long long)ingest_file_pos(file));
    }
}

static bool is_better_to_close(const struct ingest_file *a, const struct ingest_file *b) {
    const bool a_settled = a->stream == NULL || ingest_stream_is_settled(a->stream);
    const bool b_settled = b->stream == NULL || ingest_stream_is_settled(b->stream);
    if (a_settled != b_settled) {
        return a_settled; /* an abort would have to open the other again */
    }
    const bool a_idle = a->queue == INGEST_QUEUE_NONE;
    const bool b_idle = b->queue == INGEST_QUEUE_NONE;
    if (a_idle != b_idle) {
        return a_idle;
    }
    return a->source.is_gz != b->source.is_gz ? b->source.is_gz : a->grew_tick < b->grew_tick;
}

/* Keep to files_max: close what stood still longest and can be found again. false: there is none. */
static bool make_room(struct ingest *ingest, const struct ingest_file *wanted) {
    while (ingest->open_len >= ingest->conf.files_max) {
        struct ingest_file *best = NULL;
        for (struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
            const bool can_close = file != wanted && file->source.fd >= 0 && !file->is_unlinked && !file->is_pinned;
            if (can_close && (best == NULL || is_better_to_close(file, best))) {
                best = file;
            }
        }
        if (best == NULL) {
            return false;
        }
        struct stat st;
        if (stat(best->path, &st) == 0 && st.st_dev == best->dev && st.st_ino == best->ino) {
            ingest_file_close(ingest, best);
        } else {
            best->is_pinned = true; /* renamed or deleted just now: its descriptor may be all there is */
        }
    }
    return true;
}

/* The end of the last whole line, for start: end. 0 also when a read fails: then it is read from the beginning. */
static uint64_t find_last_line_end(int fd, uint64_t size) {
    char bytes[16 * CORE_KIB];
    uint64_t end = size;
    while (end > 0) {
        const size_t want = end < sizeof(bytes) ? (size_t)end : sizeof(bytes);
        const ssize_t got = pread(fd, bytes, want, (off_t)(end - want));
        if (got != (ssize_t)want) {
            return 0;
        }
        const char *nl = memrchr(bytes, '\n', want);
        if (nl != NULL) {
            return end - want + (uint64_t)(nl - bytes) + 1;
        }
        end -= want;
    }
    return 0;
}

/* Does the file begin with the record that named its generation? A failed read counts as yes: reading will tell. *kind: what
 * that record says of the file. */
static bool is_first_same(struct ingest *ingest, struct ingest_file *file, enum ingest_kind *kind) {
    const struct ingest_first *first = &file->memory.first;
    struct core_batch *batch = core_pool_take(ingest->env.pool); /* its segment is the room we need */
    MUST(batch != NULL);                                         /* ingest_file_read() is not called without one */
    size_t len = 0;
    const enum core_err err = ingest_source_read(&file->source, first->at, batch->segment, first->len, &len, NULL);
    const bool is_same = err != CORE_OK || (len == first->len && core_hash64(batch->segment, len, 0) == first->hash);
    if (*kind == INGEST_KIND_UNKNOWN && err == CORE_OK) {
        const struct ingest_view view = {.ptr = batch->segment, .len = len, .is_final = true};
        *kind = ingest_kind_sniff(&view);
    }
    core_pool_give(ingest->env.pool, batch);
    return is_same;
}

/* Bytes that were seen and are gone, as far as that can be known: if the file is shorter than it ever was, all that it
 * had; if it grew again before we looked, what it had when we read it last. */
static uint64_t lost_bytes(const struct ingest_file *file) {
    const uint64_t pos = ingest_file_pos(file);
    const int64_t had = file->size < file->size_seen ? file->size_seen : file->size_read;
    return !file->is_gz && had > 0 && (uint64_t)had > pos ? (uint64_t)had - pos : 0;
}

/* May the bytes that are gone from here be found elsewhere? */
static bool may_return(struct ingest *ingest, const struct ingest_file *file) {
    const struct ingest_want *want = ingest_want_of(ingest, file);
    if (!file->is_proven || (want != NULL && want->archives_len > 0)) {
        return true;
    }
    const struct ingest_file *other = ingest->files;
    while (other != NULL && other->hold.gen != file->memory.gen) {
        other = other->next;
    }
    return other != NULL; /* a copy of it waits */
}

/* Tell that what was remembered is not what is there, and begin anew. */
static void note_replaced(struct ingest *ingest, struct ingest_file *file) {
    const uint64_t pos = ingest_file_pos(file);
    const bool is_kept = file->memory.first.len > 0 && may_return(ingest, file);
    const bool was_proven = file->is_proven;
    const uint64_t unread = lost_bytes(file);
    const uint64_t lost = is_kept ? 0 : unread; /* else it is counted when it is forgotten */
    core_count(ingest->env.counters, CORE_COUNT_INGEST_FILES_TRUNCATED, 1);
    ingest_health_rotated(ingest, file);
    core_count(ingest->env.counters, CORE_COUNT_INGEST_BYTES_LOST, lost);
    core_log(lost > 0 ? CORE_LEVEL_ERROR : CORE_LEVEL_WARN, "ingest",
             was_proven ? "file truncated or replaced in place" : "file is not the one remembered",
             "file=%s position=%llu lost_bytes=%llu; %s. It is read from its beginning as a new stream; lost bytes are "
             "those that had been seen but not yet read. To rotate without loss, rename instead of truncating "
             "(logrotate's copytruncate loses lines, and is wrong for Zeek, which goes on at its old offset)",
             file->path, (unsigned long long)pos, (unsigned long long)lost,
             was_proven ? "the bytes before the position are gone"
                        : "its inode was reused, or it was truncated while tapline did not look");
    struct ingest_file *orphan = ingest_file_become_new(ingest, file);
    if (orphan == NULL) {
        return;
    }
    orphan->is_over = orphan->is_over || !is_kept;
    orphan->size_seen = (int64_t)(pos + unread); /* not what was seen of the bytes that took their place */
    if (was_proven) {
        orphan->was_dev = file->dev; /* truncated: what is written there now is none of it, however alike */
        orphan->was_ino = file->ino;
    }
}

void ingest_file_replaced(struct ingest *ingest, struct ingest_file *file) {
    note_replaced(ingest, file);
    ingest_file_close(ingest, file);
    file->wants_judge = true;
    ingest->unjudged_len++;
}

/* Truncated or replaced: it is judged what it is now, and read from there. */
static void restart_replaced(struct ingest *ingest, struct ingest_file *file) {
    ingest_file_replaced(ingest, file);
    ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
}

/* The descriptor is open and the source knows what it is: where do we stand? false: it is another file than the one we
 * knew, and is to be judged first. */
static bool begin(struct ingest *ingest, struct ingest_file *file, const struct stat *st) {
    enum ingest_kind kind = ingest_kind_of(&file->origin->core);
    note_stat(file, st);
    const bool is_copy = file->source.window.line_len > 0; /* its checksum proves it */
    if (file->memory.first.len > 0 && !is_copy && !is_first_same(ingest, file, &kind)) {
        restart_replaced(ingest, file);
        return false;
    }
    if (is_copy && !ingest_spool_may_begin(ingest, file)) {
        return false;
    }
    const bool is_known = file->memory.first.len > 0;
    MUST(file->memory.first_path != NULL);
    if (file->memory.mtime_ns == 0) {
        file->memory.mtime_ns = mtime_of(st);
    }
    ingest_cutter_init(&file->cutter, ingest->env.node, file->memory.first_path, ingest->env.counters,
                       is_known ? &file->memory.accepted : NULL, is_known ? &file->memory.first : NULL);
    file->cutter.gen = file->memory.gen;
    file->cutter.kind = kind;
    file->is_gz = file->cutter.is_end_final = file->source.is_gz;
    ingest_cutter_tell(&file->cutter, &file->origin->core);
    if (file->is_from_end) {
        file->cutter.skip_size = file->source.is_gz ? 0 : (uint64_t)file->size_found;
        file->cutter.skip_until =
            file->source.is_gz ? UINT64_MAX : find_last_line_end(file->source.fd, (uint64_t)file->size_found);
    }
    file->has_cutter = true;
    return true;
}

/* Errors: CORE_AGAIN too short to tell what it is · CORE_LIMIT files_max, and none to close · CORE_GONE the name leads
 * elsewhere · CORE_IO. */
static enum core_err open_source(struct ingest *ingest, struct ingest_file *file, struct stat *st,
                                 struct core_fail *fail) {
    if (!make_room(ingest, file)) {
        return CORE_LIMIT;
    }
    const int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        return CORE_GONE;
    }
    if (fd < 0) {
        return core_fail_errno(fail, file->path, "cannot open it (does this user have read permission?)");
    }
    enum core_err err = CORE_OK;
    if (fstat(fd, st) != 0) {
        err = core_fail_errno(fail, file->path, "cannot look at it");
    } else if (!S_ISREG(st->st_mode) || st->st_dev != file->dev || st->st_ino != file->ino) {
        err = CORE_GONE;
    }
    if (err != CORE_OK) {
        (void)close(fd);
        return err;
    }
    err = ingest_source_open(&file->source, fd, file->path, !ingest->is_once, fail);
    if (err == CORE_AGAIN) {
        (void)close(fd);
        return err;
    }
    if (err == CORE_OK && ingest_spool_has(ingest, file->path)) {
        err = ingest_source_open_copy(&file->source, fail);
        if (err != CORE_OK) {
            ingest_source_close(&file->source);
        }
    }
    if (err != CORE_OK) {
        return err;
    }
    ingest->open_len++;
    ingest->gz_len += file->source.is_gz ? 1 : 0;
    return CORE_OK;
}

/* true: it is open and ready to be read. */
static bool open_file(struct ingest *ingest, struct ingest_file *file) {
    struct core_fail fail = {0};
    struct stat st = {0};
    const enum core_err err = open_source(ingest, file, &st, &fail);
    if (err == CORE_GONE) {
        file->is_searched = false; /* the scan finds where it went … */
        file->is_looked = false;   /* … and has it read, though it may never grow again */
        ingest->scan_tick = 0;
        return false;
    }
    if (err == CORE_LIMIT) {
        file->is_looked = false; /* the next scan tries again */
        return false;
    }
    if (err == CORE_AGAIN) {
        note_stat(file, &st); /* it waits until it grows */
        return false;
    }
    if (err == CORE_BAD && ingest_spool_has(ingest, file->path)) {
        ingest_spool_damaged(ingest, file, &fail);
        return false;
    }
    if (err != CORE_OK) {
        ingest_file_fail(ingest, file, &fail);
        return false;
    }
    if (file->source.is_gz && ingest->gz_len > INGEST_GZ_OPEN_MAX) {
        ingest->gz_len--; /* not through close(), which would wake the next one that waits */
        ingest->open_len--;
        ingest_source_close(&file->source);
        ingest_file_queue(ingest, file, INGEST_QUEUE_GZ);
        return false;
    }
    if (!file->has_cutter) {
        if (!begin(ingest, file, &st)) {
            return false;
        }
        core_count(ingest->env.counters, CORE_COUNT_INGEST_FILES_OPENED, 1);
        core_log(CORE_LEVEL_DEBUG, "ingest", "file opened", "file=%s position=%llu gz=%d", file->path,
                 (unsigned long long)file->cutter.pos, file->source.is_gz);
    }
    file->is_gz = file->cutter.is_end_final = file->source.is_gz;
    return true;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

/* The inputs changed what is added to its documents: its stream ends, and what follows is a new one of the same generation,
 * read on as after a restart. (What a normalize worker keeps of a stream goes by the origin that it had at first.) */
static bool is_origin_settled(struct ingest *ingest, struct ingest_file *file) {
    struct ingest_stream *stream = file->stream;
    if (stream == NULL || (!stream->is_retiring && stream->origin == file->origin)) {
        return true;
    }
    if (!stream->is_retiring) {
        ingest_stream_retire(ingest, stream);
        ingest_cutter_rewind(&file->cutter);
    }
    file->awaits_drain = true;
    return false;
}

/* The cutter has moved: what of that is to be remembered, apart from what batches will tell when they are back. passed: behind
 * what was passed over, if that has come to its end. */
static void keep_progress(struct ingest *ingest, struct ingest_file *file, const struct ingest_mark *passed,
                          bool has_moved) {
    const struct ingest_cutter *cutter = &file->cutter;
    file->is_proven = true;
    file->size_read = file->size;
    if (file->is_from_end && cutter->skip_until == 0 && cutter->skip_size == 0) {
        file->is_from_end = false;
        file->memory.accepted = *passed; /* what was passed over is behind us for good */
        file->memory.begin = file->memory.open_from = passed->pos;
        ingest->is_dirty = true;
    }
    if (file->memory.first.len == 0 && cutter->first.len > 0 && !file->is_from_end) {
        file->memory.first = cutter->first;
        file->memory.gen = file->cutter.gen = ingest_identity_gen(ingest, file, cutter->gen);
        ingest->is_dirty = true;
    }
    /* Zeek has closed it. Should it grow after all, it is read on. */
    const bool is_closed = cutter->is_closed && cutter->pos == (uint64_t)file->size && !file->source.is_gz;
    file->is_over = is_closed || (file->is_over && !has_moved);
}

static void give_lines(struct ingest *ingest, struct ingest_file *file, struct core_batch *batch) {
    struct ingest_stream *stream = file->stream;
    if (stream == NULL) {
        stream = ingest_stream_new(ingest, file);
    }
    if (stream->core.gen == 0) {
        stream->core.gen = file->memory.gen; /* only `#` lines went before, which have no use for it */
    }
    ingest->tickets[batch - ingest->env.pool->batches] = file->cutter.last;
    batch->stream = &stream->core;
    batch->open_from = file->cutter.last.pos;
    for (uint32_t i = 0; i < batch->lines_len; i++) {
        batch->tally.records += (batch->lines[i].flags & CORE_LINE_CONTEXT) == 0 ? 1 : 0;
    }
    stream->given_end = file->cutter.last.pos;
    ingest_commit_mark(ingest, file, batch);
    ingest_emit(ingest, stream, batch);
}

static void after_end(struct ingest *ingest, struct ingest_file *file) {
    if (file->is_from_end) { /* a .gz that was passed over as a whole */
        file->cutter.skip_until = 0;
        keep_progress(ingest, file, &file->cutter.last, true);
    }
    file->is_over = true;
    ingest_file_retire(ingest, file);
}

/* ---- records that only stillness ends ------------------------------------------------------------------------------------- */

static bool has_stood_still(const struct ingest *ingest, const struct ingest_file *file) {
    const bool is_same = file->still_tick != 0 && file->still_size == file->size;
    return ingest->is_once || (is_same && file->looked_tick - file->still_tick >= ingest->conf.record_wait_ns);
}

/* Bytes were left at the end, or not: from when on do they wait? */
static void note_still(struct ingest *ingest, struct ingest_file *file) {
    if (!file->cutter.is_pending || file->cutter.is_end_final) {
        file->still_tick = 0;
        return;
    }
    if (file->still_tick != 0 && file->still_size == file->size) {
        return; /* if it has stood still already, only growth helps */
    }
    file->still_tick = file->looked_tick;
    file->still_size = file->size;
    const int64_t due = file->still_tick + ingest->conf.record_wait_ns;
    ingest->still_due = due < ingest->still_due ? due : ingest->still_due;
}

void ingest_file_still_all(struct ingest *ingest) {
    const int64_t now = core_tick_ns();
    if (now < ingest->still_due) {
        return;
    }
    ingest->still_due = INT64_MAX;
    for (struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        const int64_t due = file->still_tick + ingest->conf.record_wait_ns;
        if (file->still_tick == 0 || file->looked_tick >= due) {
            continue; /* nothing waits, or it was read since and still waits: for growth */
        }
        if (now < due) {
            ingest->still_due = due < ingest->still_due ? due : ingest->still_due;
        } else if (file->queue == INGEST_QUEUE_NONE && !file->awaits_drain) {
            ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
        }
    }
}

/* A .gz that rests needs room to be read again. */
static bool is_awake(struct ingest *ingest, struct ingest_file *file) {
    if (!file->is_resting) {
        return true;
    }
    if (ingest->gz_len >= INGEST_GZ_OPEN_MAX) {
        ingest_file_queue(ingest, file, INGEST_QUEUE_GZ);
        return false;
    }
    file->is_resting = false;
    ingest->gz_len++;
    return true;
}

/* A .gz that ends too early, and grew not long ago: gzip is at it. It is tried again when it has grown by half, and when it
 * has stood still for ingest.close_after; then it is damaged. */
static bool is_being_written(struct ingest *ingest, struct ingest_file *file) {
    const bool is_cut = file->source.fd >= 0 && file->source.gunzip != NULL && core_gunzip_is_cut(file->source.gunzip);
    const int64_t still_due = file->grew_tick + ingest->conf.close_after_ns;
    const bool is_written = is_cut && !ingest->is_once && core_tick_ns() < still_due;
    file->judge_tick = is_written ? still_due : 0;
    file->size_cut = is_written ? file->size : 0;
    return is_written;
}

/* A copy in the spool is read when all of it has been seen to be sound, or how much of it is. */
static bool is_copy_checked(struct ingest *ingest, struct ingest_file *file) {
    if (file->source.window.line_len == 0 || file->copy_good > 0) {
        return true;
    }
    struct core_fail fail = {0};
    uint64_t good = 0;
    struct core_batch *batch = core_pool_take(ingest->env.pool); /* its segment is the room we need */
    MUST(batch != NULL);
    const enum core_err err = ingest_source_check_copy(&file->source, batch->segment, CORE_SEGMENT_BYTES, &good, &fail);
    core_pool_give(ingest->env.pool, batch);
    if (err == CORE_AGAIN) {
        ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
    } else if (err != CORE_OK) {
        ingest_file_fail(ingest, file, &fail);
    } else if (good != UINT64_MAX && (good == 0 || ingest_spool_has_original(file))) {
        (void)core_fail_set(&fail, CORE_BAD, file->path,
                            "its checksums are not right from byte %llu of the original on", (unsigned long long)good);
        ingest_spool_damaged(ingest, file, &fail);
    } else {
        file->copy_good = good;
        return true;
    }
    return false;
}

/* Open it, and see that it can be read now. */
static bool make_ready(struct ingest *ingest, struct ingest_file *file) {
    struct stat st;
    if (ingest_file_is_unsettled(file) && !ingest_identity_judge(ingest, file)) {
        return false;
    }
    if (!is_origin_settled(ingest, file) || (file->source.fd < 0 && !open_file(ingest, file))) {
        return false;
    }
    if (fstat(file->source.fd, &st) == 0) {
        note_stat(file, &st);
    }
    if (!is_awake(ingest, file)) {
        return false;
    }
    if (!file->has_cutter && !begin(ingest, file, &st)) { /* it was open all the time, and is read again */
        return false;
    }
    return is_copy_checked(ingest, file);
}

static void after_trouble(struct ingest *ingest, struct ingest_file *file, const struct core_fail *fail) {
    if (fail->err == CORE_BAD && ingest_spool_has(ingest, file->path)) {
        ingest_spool_damaged(ingest, file, fail);
        return;
    }
    file->is_stuck = file->source.is_gz && fail->err == CORE_BAD; /* what could not be read now may be in a moment */
    if (!is_being_written(ingest, file)) {
        ingest_file_fail(ingest, file, fail);
    }
    if (file->is_stuck) {
        let_go(ingest, file);
    } else {
        rest_gz(ingest, file); /* deleted, it has only its descriptor; others may be read meanwhile */
    }
}

/* What a fill answered: what becomes of the file? */
static void after_fill(struct ingest *ingest, struct ingest_file *file, enum core_err err, struct core_fail *fail) {
    const bool is_copy = file->source.window.line_len > 0;
    const bool is_spoilt = is_copy && (err == CORE_BAD || (err == CORE_AGAIN && file->copy_good != UINT64_MAX));
    if (is_spoilt) {
        (void)core_fail_set(fail, CORE_BAD, file->path, "its checksums are not right from here on");
        ingest_spool_damaged(ingest, file, fail);
        return;
    }
    switch (err) {
    case CORE_OK:
        if (file->cutter.is_more || file->cutter.is_end_final) {
            ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
        }
        break;
    case CORE_AGAIN:
        break;
    case CORE_GONE:
        after_end(ingest, file);
        break;
    case CORE_BAD:
        restart_replaced(ingest, file);
        break;
    default:
        after_trouble(ingest, file, fail);
        break;
    }
}

bool ingest_file_read(struct ingest *ingest, struct ingest_file *file) {
    MUST(ingest->env.pool->free_len > 0);
    MUST(file->queue == INGEST_QUEUE_NONE);
    file->looked_tick = core_tick_ns();
    file->is_looked = true;
    if (ingest->is_checkpoint_failed && !file->is_saved && ingest_commit_is_local(&ingest->commit)) {
        file->is_looked =
            false; /* its batch could not leave; those that can need the pool. The next scan tries again */
        return false;
    }
    if (!make_ready(ingest, file)) {
        return false;
    }
    struct core_fail fail = {0};
    struct core_batch *batch = core_pool_take(ingest->env.pool);
    batch->stamps[CORE_STAMP_READ] = file->looked_tick;
    file->cutter.is_still = has_stood_still(ingest, file);
    const uint64_t end = ingest->is_once && !file->source.is_gz ? file->once_end : UINT64_MAX;
    const uint64_t limit = file->source.window.line_len > 0 ? file->copy_good : end;
    const uint64_t before = file->cutter.pos;
    const struct ingest_mark last = file->cutter.last;
    const enum core_err err = ingest_cutter_fill(&file->cutter, &file->source, batch, limit, &fail);
    const bool has_lines = err == CORE_OK && batch->lines_len > 0;
    if (err == CORE_OK || err == CORE_AGAIN || err == CORE_GONE) {
        ingest_file_well(ingest, file);
        keep_progress(ingest, file, has_lines ? &last : &file->cutter.last, file->cutter.pos != before);
        note_still(ingest, file);
    }
    if (has_lines) {
        give_lines(ingest, file, batch);
    } else {
        core_pool_give(ingest->env.pool, batch);
    }
    after_fill(ingest, file, err, &fail);
    return has_lines;
}

void ingest_file_open_early(struct ingest *ingest, struct ingest_file *file) {
    MUST(file->memory.first.len == 0); /* else a proof would have to be read, which needs a batch's room */
    if (file->source.fd >= 0 || ingest->open_len >= ingest->conf.files_max) {
        return;
    }
    const bool was_queued = file->queue != INGEST_QUEUE_NONE;
    if (was_queued) { /* it waits for a batch to be read with; to be judged it needs none */
        ingest_file_leave_queue(ingest, file);
    }
    (void)open_file(ingest, file);
    if (ingest_file_is_unsettled(file) && file->queue == INGEST_QUEUE_NONE) {
        file->wants_judge = true; /* opening has noted its size: a look would see nothing new */
        ingest->unjudged_len++;
    } else if (was_queued && file->queue == INGEST_QUEUE_NONE) {
        ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
    }
    if (file->source.is_gz) {
        ingest_file_close(ingest, file); /* few can be open at a time, and the oldest is to be read first */
    }
}

void ingest_file_look(struct ingest *ingest, struct ingest_file *file, const struct stat *st) {
    const bool is_changed = file->size != st->st_size || file->mtime_ns != mtime_of(st);
    if (st->st_size != file->size_looked ||
        file->grew_tick == 0) { /* not since it was read: it may wait long for that */
        file->grew_tick = core_tick_ns();
    }
    file->size_looked = st->st_size;
    file->size_seen = st->st_size > file->size_seen ? st->st_size : file->size_seen;
    if (file->queue != INGEST_QUEUE_NONE || file->awaits_drain) {
        return;
    }
    const bool is_due = file->judge_tick != 0 && core_tick_ns() >= file->judge_tick;
    if (ingest_file_is_unsettled(file)) {
        note_stat(file, st);
        const bool is_news = is_changed || !file->is_looked || file->hold.gen != 0 || is_due;
        file->wants_judge = file->wants_judge || (st->st_size > 0 && is_news);
        file->is_looked = true;
        ingest->unjudged_len += file->wants_judge ? 1 : 0;
        return;
    }
    const bool is_empty = st->st_size == 0 && ingest_file_pos(file) == 0;
    const bool is_retry = file->is_failed && !file->is_stuck;
    if (is_empty) {
        note_stat(file, st);
        file->is_looked = true;
    } else if (file->size_cut > 0 && !is_due && st->st_size < file->size_cut + file->size_cut / 2) {
        note_stat(file, st); /* a .gz that is being written */
    } else if (!file->is_looked || is_changed || is_retry || is_due) {
        file->judge_tick = 0;
        file->is_stuck = file->is_stuck && !is_changed && !is_due;
        ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
    }
}

void ingest_file_grown(struct ingest *ingest, struct ingest_file *file) {
    const int64_t now = core_tick_ns();
    file->grew_tick = now;
    file->is_stuck = false;
    if (file->queue != INGEST_QUEUE_NONE || file->awaits_drain) {
        return;
    }
    if (now - file->looked_tick >= INGEST_LINGER_NS) {
        ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
    } else {
        file->due_tick = now + INGEST_LINGER_NS; /* the same for all, so the queue is in order */
        ingest_file_queue(ingest, file, INGEST_QUEUE_LINGER);
    }
}
