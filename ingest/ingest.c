/* ingest/ingest.c: the turns of the ingest thread.
 *
 * Design: one thread owns all files. A turn takes returned batches, takes inotify's events, scans when it is time, then
 * reads: files with something to read stand in one queue and give a batch each, so a busy one does not starve the others.
 * When the pool is empty nothing is read: the log files on disk are the buffer. A file that was just read waits 20 ms for
 * its next bytes to gather.
 *
 * With a keeper of positions (core/commit.h) a turn begins with what has become of its transactions; see commit.c.
 *
 * What is promised on a crash: the checkpoint holds accepted positions only, so nothing is lost; what was delivered since
 * its last write is delivered again, with the same generation and positions, for a generation is written down before the
 * first batch of it leaves. Thread: ingest's alone; other threads touch only batches, and ring env.bell.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/queue.h"

#define INGEST_MAGIC 0x696e6773u
#define TURN_READS_MAX 64 /* files looked at in one turn, before batches that came back are taken again */

/* ---- open, reload, close --------------------------------------------------------------------------------------------------- */

enum core_err ingest_open(struct ingest **out, const struct ingest_env *env, struct core_fail *fail) {
    MUST(out != NULL);
    MUST(env->workers > 0);
    MUST(env->pool->len > 0);
    *out = NULL;
    struct ingest *ingest = calloc(1, sizeof(*ingest));
    MUST(ingest != NULL);
    ingest->magic = INGEST_MAGIC;
    ingest->env = *env;
    ingest->env.node = ingest_strdup(env->node);
    ingest->env.state_dir = ingest_strdup(env->state_dir);
    ingest->env.keeper = ingest_strdup(env->keeper != NULL ? env->keeper : "Kafka");
    ingest->env.inputs = NULL;
    ingest->env.conf = NULL;
    ingest->env.spool = NULL;
    ingest->conf = *env->conf;
    ingest->unsaved_tail = &ingest->unsaved;
    ingest->watch.fd = -1;
    ingest->still_due = INT64_MAX;
    ingest->health.opened_tick = core_tick_ns();
    ingest->tickets = calloc(env->pool->len, sizeof(*ingest->tickets));
    MUST(ingest->tickets != NULL);
    ingest_wants_init(&ingest->wants, env->inputs, env->inputs_len);
    ingest_spool_open(ingest, env->spool);
    const enum core_err err = ingest_checkpoint_read(ingest, fail);
    if (err != CORE_OK) {
        ingest->is_dirty = false; /* what could not be read is not to be written over */
        ingest_close(ingest);
        return err;
    }
    ingest_ledger_learn(ingest);
    ingest_watch_open(ingest);
    *out = ingest;
    return CORE_OK;
}

enum core_err ingest_reload(struct ingest *ingest, const struct ingest_env *env, struct core_fail *fail) {
    MUST(ingest->magic == INGEST_MAGIC);
    MUST(env->pool == ingest->env.pool);
    MUST(env->push == ingest->env.push);
    MUST(env->returned == ingest->env.returned);
    MUST(env->bell == ingest->env.bell);
    MUST(env->commit == ingest->env.commit);
    if (strcmp(env->node, ingest->env.node) != 0 || strcmp(env->state_dir, ingest->env.state_dir) != 0) {
        return core_fail_set(fail, CORE_BAD, "node",
                             "its name and its state directory cannot change without a restart");
    }
    ingest_wants_release(&ingest->wants);
    ingest_wants_init(&ingest->wants, env->inputs, env->inputs_len);
    const bool is_watch_same = ingest->conf.use_inotify == env->conf->use_inotify;
    ingest->conf = *env->conf;
    ingest_spool_reload(ingest, env->spool);
    if (!is_watch_same) {
        ingest_watch_close(ingest);
        ingest_watch_open(ingest);
    }
    ingest->scan_tick = 0;
    return CORE_OK;
}

static void write_checkpoint_last(struct ingest *ingest) {
    struct core_fail fail = {0};
    if (ingest->is_dirty && ingest_checkpoint_write(ingest, &fail) != CORE_OK) {
        core_log(CORE_LEVEL_ERROR, "ingest", "the last checkpoint was not written",
                 "where=%s reason=\"%s\"; nothing is lost%s", fail.where, fail.text,
                 ingest->commit.is_keeping
                     ? " or doubled: the next start has the positions from Kafka"
                     : ", but what was delivered since the one before is delivered again at the next "
                       "start, with the same ids");
    }
}

void ingest_close(struct ingest *ingest) {
    if (ingest == NULL) {
        return;
    }
    MUST(ingest->magic == INGEST_MAGIC);
    write_checkpoint_last(ingest);
    while (ingest->unsaved != NULL) { /* they never left: the next process reads them */
        struct core_batch *batch = ingest->unsaved;
        ingest->unsaved = batch->next;
        core_pool_give(ingest->env.pool, batch);
    }
    while (ingest->streams != NULL) {
        ingest_stream_free(ingest, ingest->streams);
    }
    while (ingest_file_unqueue(ingest, INGEST_QUEUE_READY) != NULL) {
    }
    while (ingest_file_unqueue(ingest, INGEST_QUEUE_LINGER) != NULL) {
    }
    while (ingest_file_unqueue(ingest, INGEST_QUEUE_GZ) != NULL) {
    }
    while (ingest->files != NULL) {
        ingest_file_free(ingest, ingest->files);
    }
    ingest_watch_close(ingest);
    ingest_identity_close(ingest);
    ingest_spool_close(ingest);
    ingest_wants_release(&ingest->wants);
    ingest_commit_close(ingest);
    ingest_health_close(ingest);
    free(ingest->over_lines.text);
    free(ingest->over_gens.slots);
    free(ingest->tickets);
    free(ingest->text);
    free(ingest->globs_seen);
    free((char *)(uintptr_t)ingest->env.node);
    free((char *)(uintptr_t)ingest->env.state_dir);
    free((char *)(uintptr_t)ingest->env.keeper);
    ingest->magic = 0;
    free(ingest);
}

/* ---- small memories ----------------------------------------------------------------------------------------------------------- */

bool ingest_tell(struct ingest *ingest, const char *path, const char *what) {
    const uint64_t hash = core_hash64(path, strlen(path), core_hash64(what, strlen(what), 0));
    uint64_t *slot = &ingest->told[hash & (INGEST_TOLD - 1)];
    const bool is_new = *slot != hash;
    *slot = hash;
    return is_new;
}

void ingest_untell(struct ingest *ingest, const char *path, const char *what) {
    const uint64_t hash = core_hash64(path, strlen(path), core_hash64(what, strlen(what), 0));
    uint64_t *slot = &ingest->told[hash & (INGEST_TOLD - 1)];
    *slot = *slot == hash ? 0 : *slot;
}

bool ingest_glob_is_seen(const struct ingest *ingest, uint64_t hash) {
    for (size_t i = 0; i < ingest->globs_seen_len; i++) {
        if (ingest->globs_seen[i] == hash) {
            return true;
        }
    }
    return false;
}

void ingest_glob_see(struct ingest *ingest, uint64_t hash) {
    uint64_t *seen = realloc(ingest->globs_seen, (ingest->globs_seen_len + 1) * sizeof(*seen));
    MUST(seen != NULL);
    seen[ingest->globs_seen_len++] = hash;
    ingest->globs_seen = seen;
}

/* ---- batches going out and coming back ------------------------------------------------------------------------------------------ */

static void push(struct ingest *ingest, struct core_batch *batch) {
    ingest->outstanding++;
    ingest->env.push(ingest->env.ctx, batch);
}

void ingest_emit(struct ingest *ingest, struct ingest_stream *stream, struct core_batch *batch) {
    MUST(batch->stream == &stream->core);
    const struct ingest_file *file = stream->file;
    batch->seq = stream->seq_next++;
    batch->stamps[CORE_STAMP_PUSHED] = core_tick_ns();
    batch->epoch = ingest->commit.epoch;
    batch->next = NULL;
    const bool has_records = file != NULL && file->memory.first.len > 0;
    if (stream->is_waiting || (has_records && !file->is_saved && ingest_commit_is_local(&ingest->commit))) {
        stream->is_waiting = true;
        *ingest->unsaved_tail = batch;
        ingest->unsaved_tail = &batch->next;
        return;
    }
    push(ingest, batch);
}

/* The checkpoint has their generations now. */
static void push_unsaved(struct ingest *ingest) {
    while (ingest->unsaved != NULL) {
        struct core_batch *batch = ingest->unsaved;
        ingest->unsaved = batch->next;
        batch->next = NULL;
        ((struct ingest_stream *)(void *)batch->stream)->is_waiting = false;
        push(ingest, batch);
    }
    ingest->unsaved_tail = &ingest->unsaved;
}

static bool take_returned(struct ingest *ingest) {
    bool did = false;
    for (struct core_batch *batch = ingest->env.returned(ingest->env.ctx); batch != NULL;
         batch = ingest->env.returned(ingest->env.ctx)) {
        (void)ingest_commit_notice(ingest); /* it may be of a transaction that ended since */
        ingest_stream_back(ingest, batch);
        did = true;
    }
    ingest->spool.progress_tick = did ? core_tick_ns() : ingest->spool.progress_tick;
    return did;
}

/* Write the checkpoint when it is due: at its interval; at once for generations that wait to leave, for files just found,
 * and when all is accepted and nothing follows. A disk that is full is tried again; only --once gives up. */
static enum core_err checkpoint(struct ingest *ingest, struct core_fail *fail) {
    const int64_t now = core_tick_ns();
    const bool is_end = ingest->is_stopped && ingest->outstanding + ingest->pending == 0;
    const bool is_due = now >= ingest->checkpoint_tick;
    if (ingest->unsaved == NULL && !ingest->is_urgent && !(ingest->is_dirty && (is_due || is_end))) {
        return CORE_OK;
    }
    if (ingest->is_checkpoint_failed && !is_due) {
        return CORE_OK;
    }
    struct core_fail local = {0};
    ingest->checkpoint_tick = now + ingest->conf.checkpoint_interval_ns;
    const enum core_err err = ingest_checkpoint_write(ingest, &local);
    const bool did_fail = ingest->is_checkpoint_failed;
    ingest->is_checkpoint_failed = err != CORE_OK;
    if (err == CORE_OK && did_fail) {
        core_log(CORE_LEVEL_INFO, "ingest", "the checkpoint is written again", "directory=%s; new files are read",
                 ingest->env.state_dir);
    }
    if (err == CORE_OK) {
        push_unsaved(ingest);
        return CORE_OK;
    }
    (void)snprintf(ingest->health.state_trouble, sizeof(ingest->health.state_trouble), "%.*s",
                   (int)sizeof(ingest->health.state_trouble) - 1, local.text);
    core_log(CORE_LEVEL_ERROR, "ingest", "the checkpoint was not written",
             "where=%s reason=\"%s\"; %s; tried again every ingest.checkpoint_interval. Nothing is lost%s", local.where,
             local.text,
             ingest->commit.is_keeping ? "delivery goes on, for Kafka has the positions"
                                       : "files that are new wait, others go on",
             ingest->commit.is_keeping ? "" : "; a restart now would deliver again what came since the last one");
    if (ingest->commit.is_keeping) {
        ingest->is_dirty = ingest->is_dirty && !ingest->is_stopped; /* it is but a copy: no reason not to end */
        return CORE_OK;
    }
    if (ingest->is_once || ingest->is_stopped) {
        if (fail != NULL) {
            *fail = local;
        }
        return err;
    }
    return CORE_OK;
}

/* ---- a turn --------------------------------------------------------------------------------------------------------------------- */

static void end_linger(struct ingest *ingest) {
    const int64_t now = core_tick_ns();
    while (ingest->linger.head != NULL && (ingest->is_hurried || ingest->linger.head->due_tick <= now)) {
        struct ingest_file *file = ingest_file_unqueue(ingest, INGEST_QUEUE_LINGER);
        ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
    }
}

static bool read_files(struct ingest *ingest) {
    bool did = false;
    for (int i = 0; i < TURN_READS_MAX && ingest->env.pool->free_len > 0; i++) {
        struct ingest_file *file = ingest_file_unqueue(ingest, INGEST_QUEUE_READY);
        if (file == NULL) {
            break;
        }
        (void)ingest_file_read(ingest, file);
        did = true;
    }
    return did;
}

/* --once: what is left unread is said, and from here on it is as if stopped. */
static void finish_once(struct ingest *ingest) {
    if (!ingest->is_once || ingest->is_stopped || ingest->scan_no == 0) {
        return;
    }
    const bool is_keeping = ingest->commit.is_keeping;
    if (is_keeping && (ingest->outstanding + ingest->pending > 0 || ingest->commit.is_rewinding)) {
        return; /* an abort would have it read again */
    }
    if (ingest_files_wait(ingest) || ingest->linger.head != NULL || ingest->gz_wait.head != NULL) {
        return;
    }
    for (const struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        if (file->awaits_drain) {
            return;
        }
    }
    for (const struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        const uint64_t pos = ingest_file_pos(file);
        const bool is_read = !file->is_gz && !file->is_failed && !file->is_gone && file->hold.gen == 0;
        if (is_read && file->once_end > pos) {
            core_log(CORE_LEVEL_INFO, "ingest", "unfinished last line",
                     "file=%s position=%llu bytes=%llu; it has no newline yet and waits for the next run", file->path,
                     (unsigned long long)pos, (unsigned long long)(file->once_end - pos));
        }
    }
    ingest_stop(ingest);
}

static bool has_work(const struct ingest *ingest) {
    return !ingest->is_stopped && ingest_commit_may_read(ingest) && ingest_files_wait(ingest) &&
           ingest->env.pool->free_len > 0;
}

/* How long there is nothing to do, at most timeout_ms. */
static int wait_ms(const struct ingest *ingest, int timeout_ms) {
    const int64_t now = core_tick_ns();
    int64_t until = now + (int64_t)timeout_ms * CORE_NS_PER_MS;
    const bool will_scan =
        !ingest->is_stopped && ingest_commit_may_read(ingest) && (!ingest->is_once || ingest->scan_no == 0);
    if (will_scan && ingest->scan_tick < until) {
        until = ingest->scan_tick;
    }
    if (ingest->linger.head != NULL && ingest->linger.head->due_tick < until) {
        until = ingest->linger.head->due_tick;
    }
    if (!ingest->is_stopped && ingest->still_due < until) {
        until = ingest->still_due;
    }
    const bool wants_checkpoint = ingest->is_dirty || ingest->is_urgent || ingest->unsaved != NULL;
    if (wants_checkpoint && ingest->checkpoint_tick < until) {
        until = ingest->checkpoint_tick;
    }
    return until <= now ? 0 : (int)((until - now + CORE_NS_PER_MS - 1) / CORE_NS_PER_MS);
}

static void wait_for_work(struct ingest *ingest, int timeout_ms) {
    struct core_bell *bell = ingest->env.bell;
    struct pollfd fds[] = {
        {.fd = bell == NULL ? -1 : bell->fd, .events = POLLIN},
        {.fd = ingest->is_stopped || ingest->is_once ? -1 : ingest->watch.fd, .events = POLLIN},
    };
    if (bell != NULL) {
        core_bell_arm(bell);
    }
    if (!take_returned(ingest) && !ingest_commit_notice(ingest)) {
        const int64_t before = core_tick_ns();
        (void)poll(fds, sizeof(fds) / sizeof(fds[0]), wait_ms(ingest, timeout_ms));
        ingest->health.waited_ns += core_tick_ns() - before;
    }
    if (bell != NULL) {
        core_bell_disarm(bell);
    }
}

enum core_err ingest_turn(struct ingest *ingest, int timeout_ms, struct core_fail *fail) {
    MUST(ingest->magic == INGEST_MAGIC);
    bool did = take_returned(ingest);
    enum core_err err = ingest_commit_turn(ingest, &did, fail);
    if (err != CORE_OK) {
        ingest->is_dirty = false; /* the checkpoint stays as it is until all is understood */
        return err;
    }
    if (!ingest->is_stopped && ingest_commit_may_read(ingest)) {
        const bool is_scan_due = core_tick_ns() >= ingest->scan_tick;
        if (ingest->is_once ? ingest->scan_no == 0 : is_scan_due) {
            ingest_scan(ingest);
        }
        if (!ingest->is_once) {
            ingest_watch_drain(ingest);
        }
        end_linger(ingest);
        ingest_file_still_all(ingest);
        did = read_files(ingest) || did;
        finish_once(ingest);
    }
    if (ingest_commit_may_read(ingest)) {
        ingest_stream_end_all(ingest);
    }
    did = ingest_spool_turn(ingest) || did;
    ingest_ledger_turn(ingest);
    err = checkpoint(ingest, fail);
    ingest_spool_clean(ingest);
    if (err == CORE_OK && !did && !has_work(ingest) && timeout_ms > 0 && !ingest_is_drained(ingest)) {
        wait_for_work(ingest, timeout_ms);
    }
    return err;
}

void ingest_hurry(struct ingest *ingest) {
    MUST(ingest->magic == INGEST_MAGIC);
    ingest->is_hurried = true;
    ingest->hurried_scan_no = ingest->scan_no;
    ingest->scan_tick = 0; /* a log that was begun a moment ago has last lines, too */
}

bool ingest_has_unread(const struct ingest *ingest) {
    MUST(ingest->magic == INGEST_MAGIC);
    return !ingest->is_stopped &&
           (!ingest_commit_may_read(ingest) || ingest->scan_no == ingest->hurried_scan_no || ingest_files_wait(ingest));
}

void ingest_stop(struct ingest *ingest) {
    MUST(ingest->magic == INGEST_MAGIC);
    if (ingest->is_stopped) {
        return;
    }
    ingest->is_stopped = true;
    for (struct ingest_stream *stream = ingest->streams; stream != NULL; stream = stream->next) {
        ingest_stream_retire(ingest, stream);
    }
}

void ingest_set_once(struct ingest *ingest) {
    MUST(ingest->magic == INGEST_MAGIC);
    MUST(ingest->scan_no == 0);
    ingest->is_once = true;
}

bool ingest_is_drained(const struct ingest *ingest) {
    MUST(ingest->magic == INGEST_MAGIC);
    return ingest->is_stopped && ingest->outstanding == 0 && ingest->pending == 0 && ingest->unsaved == NULL &&
           ingest->streams == NULL && !ingest->is_dirty;
}

int64_t ingest_waited_ns(const struct ingest *ingest) {
    return ingest->health.waited_ns;
}

uint64_t ingest_outstanding(const struct ingest *ingest) {
    MUST(ingest->magic == INGEST_MAGIC);
    uint64_t unsaved = 0;
    for (const struct core_batch *batch = ingest->unsaved; batch != NULL; batch = batch->next) {
        unsaved++;
    }
    return ingest->outstanding + ingest->pending + unsaved;
}
