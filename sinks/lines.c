/* sinks/lines.c: the engine of the file and stdout sinks: batches in order into one or many outputs, a line a document.
 *
 * One thread, one list of batches in the order they came. `unwritten` is the first that is not wholly written; those
 * before it wait for a commit:
 *
 *   send -> [ written | written | unwritten … ] -> write -> commit (sync every output) -> poll gives back
 *
 * A commit covers everything written so far. It is made when the oldest uncommitted line is sync_interval old, when
 * flush() asks, and when there is nothing else to do and much to commit (then all batches there are may be waiting here,
 * and the readers for them). `committed` in each output and batch->sink_pending (the first event not committed) say
 * what the last commit covered: if a sync fails, all outputs are taken back to there and the rest is written again, so
 * that no line is lost or doubled by a bad disk.
 *
 * An output that cannot be written (full disk, missing folder) stops the sink, not the process: it is tried again with a
 * growing pause, nothing is given back, and the log files upstream are the buffer. Only a reader of stdout that is gone
 * is final.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health.h"
#include "sinks/sinks_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LINES_MAGIC 0x6c696e65u
#define OUTS_MAX 256 /* open outputs; the longest unused is closed for another */
#define COMMIT_BYTES CORE_MIB
#define PAUSE_MIN_NS (100 * CORE_NS_PER_MS)
#define PAUSE_MAX_NS (5 * CORE_NS_PER_S)
#define MOVED_LOOK_NS CORE_NS_PER_S

struct sink {
    uint32_t magic;
    struct lines_conf conf;
    const struct sink_env *env;
    struct sink_out *outs; /* OUTS_MAX */
    size_t outs_len;
    uint64_t uses;
    struct sink_fifo held;
    struct core_batch *unwritten; /* in held; NULL: all are written */
    size_t offset;                /* bytes of unwritten's event sink_index already written */
    struct sink_fifo done;
    bool is_flush_wanted;
    bool is_gone;
    uint64_t uncommitted_bytes;
    int64_t uncommitted_since_ns; /* core_tick_ns(); 0: nothing uncommitted */
    int64_t pause_ns;             /* 0: all is well */
    int pause_errno;              /* why, and where; valid if pause_ns is not 0 */
    char pause_where[256];
    int64_t retry_ns;       /* core_tick_ns() */
    int64_t pause_since_ns; /* wall clock */
    char pause_text[768];   /* what the error was */
    struct sink_retries retries;
    int64_t looked_ns; /* when files were last looked for under their names */
};

/* ---- trouble ---------------------------------------------------------------------------------------------------------- */

static void pause_begin(struct sink *sink, const struct core_fail *fail, int error) {
    bool is_full = error == ENOSPC || error == EDQUOT;
    sink_retry(sink->env->counters, &sink->retries, is_full ? SINK_CAUSE_DISK_FULL : SINK_CAUSE_OUTPUT);
    sink->pause_since_ns = sink->pause_ns == 0 ? core_now_ns() : sink->pause_since_ns;
    if (sink->pause_ns == 0 || sink->pause_errno != error) { /* once; that it goes on is in the counter */
        core_log_fail(CORE_LEVEL_ERROR, "sink",
                      is_full
                          ? "disk full: reading stops, tried again until there is space; nothing is lost meanwhile"
                          : "output not writable: reading stops, tried again until it is; nothing is lost meanwhile",
                      fail);
    }
    sink->pause_errno = error;
    snprintf(sink->pause_where, sizeof sink->pause_where, "%s", fail->where);
    snprintf(sink->pause_text, sizeof sink->pause_text, "%s", fail->text);
    sink->pause_ns = sink->pause_ns == 0 ? PAUSE_MIN_NS : 2 * sink->pause_ns;
    sink->pause_ns = sink->pause_ns > PAUSE_MAX_NS ? PAUSE_MAX_NS : sink->pause_ns;
    sink->retry_ns = core_tick_ns() + sink->pause_ns;
}

static bool is_pausing(const struct sink *sink, int64_t now) {
    return sink->pause_ns != 0 && now < sink->retry_ns;
}

/* Only a commit ends it: a disk may take what it cannot keep. */
static void pause_end(struct sink *sink) {
    if (sink->pause_ns != 0) {
        core_log(CORE_LEVEL_INFO, "sink", "output writable again: going on", "path=\"%s\"", sink->pause_where);
        sink->pause_ns = 0;
    }
}

/* ---- commit ----------------------------------------------------------------------------------------------------------- */

/* After a failed sync nobody knows what is on the disk: back to the last commit, and write the rest again. */
static void take_back(struct sink *sink) {
    for (size_t i = 0; i < sink->outs_len; i++) {
        struct core_fail fail;
        if (sink_out_rewind(&sink->outs[i], &fail) != CORE_OK) {
            core_log_fail(CORE_LEVEL_ERROR, "sink",
                          "output not taken back after a failed sync; done before it is written again: a kill until "
                          "then leaves documents that come a second time",
                          &fail);
        }
    }
    for (struct core_batch *batch = sink->held.head; batch != NULL; batch = batch->next) {
        batch->sink_index = batch->sink_pending;
    }
    sink->unwritten = sink->held.head;
    sink->offset = 0;
}

static void give_back_written(struct sink *sink) {
    while (sink->held.head != sink->unwritten) {
        struct core_batch *batch = sink_fifo_pop(&sink->held);
        MUST(batch != NULL && batch->sink_index == batch->events_len);
        sink_count_accepted(sink->env->counters, batch);
        sink_fifo_push(&sink->done, batch);
    }
}

/* Everything written so far onto the disk. Errors: CORE_IO: taken back, and a pause begun. */
static enum core_err commit(struct sink *sink) {
    for (size_t i = 0; i < sink->outs_len; i++) {
        struct core_fail fail;
        if (sink_out_sync(&sink->outs[i], &fail) != CORE_OK) {
            int error = errno;
            take_back(sink);
            pause_begin(sink, &fail, error);
            return CORE_IO;
        }
    }
    for (size_t i = 0; i < sink->outs_len; i++) {
        sink->outs[i].committed = sink->outs[i].size;
    }
    if (sink->unwritten != NULL) {
        sink->unwritten->sink_pending = sink->unwritten->sink_index;
    }
    sink->uncommitted_bytes = 0;
    sink->uncommitted_since_ns = 0;
    sink->is_flush_wanted = false;
    pause_end(sink);
    give_back_written(sink);
    return CORE_OK;
}

static void out_drop(struct sink *sink, struct sink_out *out) {
    sink_out_close(out);
    *out = sink->outs[--sink->outs_len];
}

/* A file that somebody renamed or removed (logrotate) is finished; the next line opens its name again. */
static void drop_moved(struct sink *sink, int64_t now) {
    if (now - sink->looked_ns < MOVED_LOOK_NS) {
        return;
    }
    sink->looked_ns = now;
    for (size_t i = sink->outs_len; i-- > 0;) {
        if (!sink->outs[i].is_dirty && sink_out_is_moved(&sink->outs[i])) {
            core_log(CORE_LEVEL_INFO, "sink", "output was moved away by somebody else; its name is opened again",
                     "path=\"%s\"", sink->outs[i].path);
            out_drop(sink, &sink->outs[i]);
        }
    }
}

/* ---- outputs ---------------------------------------------------------------------------------------------------------- */

static struct sink_out *out_find(struct sink *sink, const char *path) {
    for (size_t i = 0; i < sink->outs_len; i++) {
        if (strcmp(sink->outs[i].path, path) == 0) {
            return &sink->outs[i];
        }
    }
    return NULL;
}

static enum core_err out_make_room(struct sink *sink) {
    if (sink->outs_len < OUTS_MAX) {
        return CORE_OK;
    }
    if (commit(sink) != CORE_OK) {
        return CORE_IO;
    }
    struct sink_out *oldest = &sink->outs[0];
    for (size_t i = 1; i < sink->outs_len; i++) {
        oldest = sink->outs[i].used < oldest->used ? &sink->outs[i] : oldest;
    }
    out_drop(sink, oldest);
    return CORE_OK;
}

/* Where an event goes: a path, or "" for stdout. */
static void path_of(const struct sink *sink, const struct core_event *event, char *path, size_t path_len) {
    bool has_own = event->is_dead && sink->conf.dead_letter != NULL;
    const char *text = has_own ? sink->conf.dead_letter : sink->conf.path;
    path[0] = '\0';
    if (text == NULL) {
        return;
    }
    bool is_whole = sink_template_expand(text, event->is_dead ? SINK_DATASET_DEAD : event->dataset, path, path_len);
    (void)is_whole; /* too long: opening it will say so */
    if (event->is_dead && !has_own) {
        size_t len = strlen(path);
        snprintf(path + len, path_len - len, "%s", sink->conf.dead_letter_suffix);
    }
}

static bool is_same_place(const struct core_event *a, const struct core_event *b) {
    return a->is_dead == b->is_dead && (a->dataset == b->dataset || strcmp(a->dataset, b->dataset) == 0);
}

/* The open output of an event. Errors: CORE_AGAIN: a pause has begun. */
static enum core_err out_for(struct sink *sink, const struct core_event *event, struct sink_out **out) {
    char path[sizeof sink->outs->path];
    path_of(sink, event, path, sizeof path);
    *out = out_find(sink, path);
    if (*out == NULL) {
        struct core_fail fail;
        if (out_make_room(sink) != CORE_OK) {
            return CORE_AGAIN;
        }
        if (sink_out_open(&sink->outs[sink->outs_len], path, &fail) != CORE_OK) {
            pause_begin(sink, &fail, errno);
            return CORE_AGAIN;
        }
        *out = &sink->outs[sink->outs_len++];
    }
    (*out)->used = ++sink->uses;
    return CORE_OK;
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

/* Events from `from` on that go to the same place and, with rotation by size, still fit. At least one. */
static uint32_t run_end(const struct sink *sink, const struct sink_out *out, const struct core_batch *batch,
                        uint32_t from) {
    uint64_t size = out->size + batch->events[from].doc.len + 1;
    uint32_t end = from + 1;
    while (end < batch->events_len && is_same_place(&batch->events[from], &batch->events[end])) {
        size += batch->events[end].doc.len + 1;
        if (sink->conf.rotation.size > 0 && out->is_regular && size > sink->conf.rotation.size) {
            break;
        }
        end++;
    }
    return end;
}

/* Errors: CORE_AGAIN: a pause has begun. After CORE_OK the output may be closed: find it again. */
static enum core_err rotate_if_due(struct sink *sink, struct sink_out *out, uint64_t more) {
    int64_t now = core_now_ns();
    if (sink->offset > 0 || !sink_out_is_due(out, &sink->conf.rotation, more, now)) {
        return CORE_OK;
    }
    struct core_fail fail;
    if (commit(sink) != CORE_OK) {
        return CORE_AGAIN;
    }
    if (sink_out_rotate(out, &sink->conf.rotation, now, &fail) != CORE_OK) {
        pause_begin(sink, &fail, errno);
        return CORE_AGAIN;
    }
    out_drop(sink, out);
    return CORE_OK;
}

static void write_failed(struct sink *sink, const struct core_fail *fail, int error) {
    if (error == EPIPE && sink->conf.path == NULL) {
        sink->is_gone = true;
        core_log(CORE_LEVEL_ERROR, "sink", "the reader of stdout is gone",
                 "reason=\"%s\" now=\"tapline stops; what was not written is read again at the next start\" "
                 "do=\"see to the program behind the pipe, and start both again\"",
                 fail->text);
        return;
    }
    pause_begin(sink, fail, error);
}

/* One run of events of the first unwritten batch. False: no more for now. */
static bool write_run(struct sink *sink) {
    struct core_batch *batch = sink->unwritten;
    const struct core_event *first = &batch->events[batch->sink_index];
    struct sink_out *out = NULL;
    if (out_for(sink, first, &out) != CORE_OK || rotate_if_due(sink, out, first->doc.len + 1) != CORE_OK ||
        out_for(sink, first, &out) != CORE_OK) {
        return false;
    }
    struct sink_cursor cursor = {.index = batch->sink_index, .offset = sink->offset};
    uint32_t end = run_end(sink, out, batch, cursor.index);
    uint64_t size_before = out->size;
    struct core_fail fail;
    int error = 0;
    enum core_err err = sink_out_write(out, batch, &cursor, end, &error, &fail);
    batch->sink_index = cursor.index;
    sink->offset = cursor.offset;
    sink->uncommitted_bytes += out->size - size_before;
    if (sink->uncommitted_since_ns == 0) {
        sink->uncommitted_since_ns = core_tick_ns();
    }
    if (err != CORE_OK) {
        write_failed(sink, &fail, error);
        return false;
    }
    return true;
}

static void write_all(struct sink *sink) {
    while (sink->unwritten != NULL && !sink->is_gone) {
        struct core_batch *batch = sink->unwritten;
        if (is_pausing(sink, core_tick_ns())) {
            return;
        }
        if (batch->sink_index == batch->events_len) {
            sink->unwritten = batch->next;
        } else if (!write_run(sink)) {
            return;
        }
    }
}

static bool has_uncommitted(const struct sink *sink) {
    return sink->held.head != sink->unwritten || sink->uncommitted_since_ns != 0;
}

static bool is_commit_due(const struct sink *sink, bool is_idle, int64_t now) {
    if (!has_uncommitted(sink) || is_pausing(sink, now)) {
        return false;
    }
    bool is_old = now - sink->uncommitted_since_ns >= sink->conf.sync_interval_ns;
    bool is_much = sink->uncommitted_bytes >= COMMIT_BYTES;
    return sink->is_flush_wanted || sink->conf.path == NULL || is_old || (is_idle && is_much);
}

static void turn(struct sink *sink, bool is_idle) {
    int64_t now = core_tick_ns();
    write_all(sink);
    if (is_commit_due(sink, is_idle, now) && commit(sink) == CORE_OK) {
        drop_moved(sink, now);
    }
}

/* ---- what the sinks call ---------------------------------------------------------------------------------------------- */

enum core_err lines_open(struct sink **out, const struct lines_conf *conf, const struct sink_env *env,
                         struct core_fail *fail) {
    struct sink *sink = calloc(1, sizeof *sink);
    MUST(sink != NULL);
    sink->magic = LINES_MAGIC;
    sink->conf = *conf;
    sink->env = env;
    sink->outs = calloc(OUTS_MAX, sizeof *sink->outs);
    MUST(sink->outs != NULL);
    enum core_err err = CORE_OK;
    if (conf->path == NULL) {
        sink->outs[sink->outs_len++] = (struct sink_out){.fd = STDOUT_FILENO, .is_borrowed = true};
    } else if (!sink_template_has_dataset(conf->path)) {
        err = sink_out_open(&sink->outs[0], conf->path, fail); /* now, so that a mistake in the path is said at start */
        sink->outs_len = err == CORE_OK ? 1 : 0;
    }
    if (err != CORE_OK) {
        lines_close(sink);
        return err;
    }
    *out = sink;
    return CORE_OK;
}

enum core_err lines_send(struct sink *sink, struct core_batch *batch) {
    MUST(sink->magic == LINES_MAGIC);
    MUST(batch->magic == CORE_BATCH_MAGIC);
    batch->sink_index = 0;
    batch->sink_pending = 0;
    sink_fifo_push(&sink->held, batch);
    if (sink->unwritten == NULL) {
        sink->unwritten = batch;
        sink->offset = 0;
    }
    turn(sink, false);
    return CORE_OK;
}

/* How long may be slept until something is due by itself? */
static int sleep_ms(const struct sink *sink, int timeout_ms) {
    int64_t now = core_tick_ns();
    int64_t due = now + (int64_t)timeout_ms * CORE_NS_PER_MS;
    bool is_paused = is_pausing(sink, now);
    if (is_paused && sink->retry_ns < due) {
        due = sink->retry_ns;
    }
    int64_t commit_due = sink->uncommitted_since_ns + sink->conf.sync_interval_ns;
    if (!is_paused && has_uncommitted(sink) && commit_due < due) {
        due = commit_due;
    }
    return due <= now ? 0 : (int)((due - now + CORE_NS_PER_MS - 1) / CORE_NS_PER_MS);
}

size_t lines_poll(struct sink *sink, struct core_batch **done, size_t max, int timeout_ms) {
    MUST(sink->magic == LINES_MAGIC);
    MUST(max > 0);
    turn(sink, timeout_ms > 0);
    if (sink->done.head == NULL && timeout_ms > 0) {
        struct pollfd wake = {.fd = sink->env->wake_fd, .events = POLLIN};
        int ready = poll(&wake, 1, sleep_ms(sink, timeout_ms));
        MUST(ready >= 0 || errno == EINTR);
        turn(sink, false);
    }
    size_t len = 0;
    while (len < max && sink->done.head != NULL) {
        done[len++] = sink_fifo_pop(&sink->done);
    }
    return len;
}

bool lines_is_gone(const struct sink *sink, struct core_fail *fail) {
    MUST(sink->magic == LINES_MAGIC);
    if (sink->is_gone) {
        enum core_err err = core_fail_set(fail, CORE_GONE, "stdout", "the reader of stdout is gone (broken pipe)");
        MUST(err == CORE_GONE);
    }
    return sink->is_gone;
}

void lines_flush(struct sink *sink) {
    MUST(sink->magic == LINES_MAGIC);
    sink->is_flush_wanted = has_uncommitted(sink) || sink->unwritten != NULL;
    turn(sink, true);
}

void lines_close(struct sink *sink) {
    if (sink == NULL) {
        return;
    }
    MUST(sink->magic == LINES_MAGIC);
    for (size_t i = 0; i < sink->outs_len; i++) {
        sink_out_close(&sink->outs[i]);
    }
    free(sink->outs);
    sink->magic = 0;
    free(sink);
}

/* ---- health ------------------------------------------------------------------------------------------------------------ */

int lines_is_up(const struct sink *sink) {
    MUST(sink->magic == LINES_MAGIC);
    return sink->pause_ns == 0 && !sink->is_gone ? 1 : 0;
}

void lines_health(struct sink *sink, struct core_health_page *page) {
    MUST(sink->magic == LINES_MAGIC);
    const char *name = sink->conf.path == NULL ? "stdout" : "file";
    bool is_full = sink->pause_errno == ENOSPC || sink->pause_errno == EDQUOT;
    char since[21];
    sink_retries_rows(&sink->retries, name, SINK_CAUSE_DISK_FULL, SINK_CAUSE_OUTPUT, page);
    if (sink->pause_ns == 0) {
        return;
    }
    core_health_since(sink->pause_since_ns, since);
    core_health_complain(page, is_full ? "disk_full" : "sink_unreachable", CORE_HEALTH_SINK, name, NULL, NULL,
                         "%s %s since %s: %s; reading stops when all batches wait here, and nothing is lost",
                         sink->pause_where, is_full ? "cannot be written, its disk is full," : "cannot be written",
                         since, sink->pause_text);
}
