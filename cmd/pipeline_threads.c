/* cmd/pipeline_threads.c: the loops of the pipeline's threads.
 *
 * Each loop does what its queues hold and then sleeps on its doorbell; none wakes without a reason, apart from timers in
 * ingest, in enrich and in a sink. No loop waits for another: a queue is as long as the pool, so a push never blocks, and whoever
 * has no batch sleeps. What a thread is told beside batches (a new phase, a reload) is an atomic that is written before
 * its doorbell is poked and read at the top of the loop.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pipeline_internal.h"

#include <errno.h>
#include <unistd.h>

#define INGEST_TURN_MS 500      /* it shows how logs are so often, whatever else there is to do */
#define SINK_DONE_MAX 64        /* batches asked for at once */
#define SINK_FLUSH_AFTER_MS 20  /* without work for so long, what a sink buffers is pushed out */
#define SINK_OFFER_AFTER_MS 100 /* a batch it would not take is offered again */
#define SINK_SLEEP_MS 1000      /* timers of the sink itself: rotation by time, a retry */

void pipeline_poke(int event_fd) {
    uint64_t one = 1;
    ssize_t wrote = write(event_fd, &one, sizeof(one));
    MUST(wrote == (ssize_t)sizeof(one) || errno == EAGAIN); /* EAGAIN: the count is full, it is readable anyway */
}

enum pipeline_phase pipeline_phase_of(struct pipeline *pipeline) {
    return (enum pipeline_phase)atomic_load(&pipeline->phase);
}

void *pipeline_thread_end(struct pipeline *pipeline, struct pipeline_thread *thread) {
    atomic_store(&thread->is_ended, true);
    pipeline_poke(pipeline->control_fd);
    return NULL;
}

/* ---- ingest --------------------------------------------------------------------------------------------------------- */

struct core_commit *pipeline_commit(struct pipeline *pipeline) {
    return pipeline->has_keeper ? &pipeline->commit : NULL;
}

static void ingest_told(struct pipeline *pipeline) {
    struct pipeline_reload *reload = &pipeline->reload;
    if (atomic_exchange(&pipeline->wants_source_log, false) && pipeline->source->log != NULL) {
        pipeline->source->log(pipeline);
    }
    if (atomic_load(&reload->step) != RELOAD_INGEST) {
        return;
    }
    enum core_err err = pipeline->source->reload(pipeline, reload->next_config, &reload->fail);
    atomic_store(&reload->step, err == CORE_OK ? RELOAD_TAKEN : RELOAD_REFUSED);
    pipeline_poke(pipeline->control_fd);
}

/* A turn that had batches to fill and filled none found nothing to read. */
static void ending_tell(struct pipeline *pipeline, uint64_t pushed_before) {
    bool is_all_read = pipeline->options.is_once && pipeline->pushed == pushed_before && pipeline->pool.free_len > 0;
    atomic_store(&pipeline->commit.is_ending, is_all_read || pipeline_phase_of(pipeline) != PIPELINE_RUNNING);
}

void *pipeline_ingest_main(void *arg) {
    struct pipeline *pipeline = arg;
    MUST(pipeline->magic == PIPELINE_MAGIC);
    const struct pipeline_source *source = pipeline->source;
    struct pipeline_thread *thread = &pipeline->ingest_thread;
    bool is_stopped = false;
    for (;;) {
        enum pipeline_phase phase = pipeline_phase_of(pipeline);
        if (phase == PIPELINE_QUIT) {
            break;
        }
        if (phase == PIPELINE_STOPPING && !is_stopped) {
            source->stop(pipeline);
            is_stopped = true;
        }
        ingest_told(pipeline);
        uint64_t pushed = pipeline->pushed;
        enum core_err err = source->turn(pipeline, INGEST_TURN_MS, &thread->fail);
        ending_tell(pipeline, pushed);
        pipeline_show_ingest(pipeline, core_tick_ns());
        if (err != CORE_OK && err != CORE_AGAIN) {
            atomic_store(&thread->is_failed, true);
            break;
        }
        uint64_t outstanding = source->outstanding(pipeline);
        atomic_store(&pipeline->outstanding, outstanding);
        if ((is_stopped && outstanding == 0) || (pipeline->options.is_once && source->is_drained(pipeline))) {
            break;
        }
    }
    if (atomic_load(&pipeline->outstanding) == 0) {
        /* No batch is with anybody, so the last checkpoint need not wait until every sink is closed. */
        source->close(pipeline);
    }
    return pipeline_thread_end(pipeline, thread);
}

/* ---- normalize ------------------------------------------------------------------------------------------------------ */

static bool worker_has_work(void *arg) {
    struct pipeline_worker *worker = arg;
    return !core_queue_is_empty(&worker->in) || atomic_load(&worker->wants_maps) ||
           pipeline_phase_of(worker->pipeline) == PIPELINE_QUIT;
}

static void worker_remap_if_told(struct pipeline_worker *worker) {
    if (!atomic_load(&worker->wants_maps)) {
        return;
    }
    struct pipeline_reload *reload = &worker->pipeline->reload;
    MUST(atomic_load(&reload->step) == RELOAD_WORKERS);
    normalize_worker_remap(worker->normalize, reload->next_maps);
    atomic_store(&worker->wants_maps, false);
    if (atomic_fetch_sub(&reload->workers_left, 1) == 1) {
        atomic_store(&reload->step, RELOAD_DONE);
        pipeline_poke(worker->pipeline->control_fd);
    }
}

/* What was counted is shown before it sleeps for long: its numbers then stay as they are. */
static void worker_wait(struct pipeline_worker *worker) {
    struct pipeline_meter *meter = &worker->thread.meter;
    int64_t now = core_tick_ns();
    pipeline_show_worker(worker, now);
    int64_t left_ms = (meter->due_tick - now) / CORE_NS_PER_MS + 1;
    int timeout_ms = !meter->is_stale ? -1 : left_ms < 1 ? 1 : (int)left_ms;
    core_bell_wait(&worker->thread.bell, worker_has_work, worker, timeout_ms);
    meter->waited_ns += core_tick_ns() - now;
}

static void worker_count(struct pipeline_worker *worker, const struct core_batch *batch) {
    struct pipeline_meter *meter = &worker->thread.meter;
    meter->in += batch->tally.records;
    meter->out += batch->events_len;
    meter->batches++;
    meter->is_stale = true;
    if (batch->tally.dead > 0) {
        pipeline_note_unread(worker->pipeline, batch);
    } else {
        worker->pipeline->notes.dead_before[batch - worker->pipeline->pool.batches] = 0;
    }
}

void *pipeline_worker_main(void *arg) {
    struct pipeline_worker *worker = arg;
    MUST(worker->magic == PIPELINE_WORKER_MAGIC);
    struct pipeline *pipeline = worker->pipeline;
    normalize_worker_observe(worker->normalize, pipeline->enrich.is_on);
    while (pipeline_phase_of(pipeline) != PIPELINE_QUIT) {
        worker_remap_if_told(worker);
        struct core_batch *batch = core_queue_pop(&worker->in);
        if (batch == NULL) {
            worker_wait(worker);
            continue;
        }
        batch->stamps[CORE_STAMP_NORMALIZE] = core_tick_ns();
        pipeline_passes(pipeline, PIPELINE_AT_WORKER, batch);
        normalize_batch(worker->normalize, batch);
        const int64_t now = core_tick_ns();
        batch->stamps[CORE_STAMP_NORMALIZED] = now;
        worker_count(worker, batch);
        pipeline_passes(pipeline, PIPELINE_AT_NORMALIZED, batch);
        core_queue_push(worker->out, batch);
        pipeline_show_worker(worker, now);
    }
    return pipeline_thread_end(pipeline, &worker->thread);
}

/* ---- sinks ---------------------------------------------------------------------------------------------------------- */

static struct pipeline_dataset *dataset_row(struct pipeline *pipeline, const char *name) {
    size_t i = 0;
    while (i < pipeline->datasets_len && strcmp(pipeline->datasets[i].name, name) != 0) {
        i++;
    }
    if (i == pipeline->datasets_len) {
        if (i < PIPELINE_DATASETS_MAX) {
            pipeline->datasets_len++;
        }
        struct pipeline_dataset *row = &pipeline->datasets[i];
        const char *shown = i < PIPELINE_DATASETS_MAX ? name : "(others)";
        size_t len = strnlen(shown, sizeof(row->name) - 1);
        memcpy(row->name, shown, len);
        row->name[len] = '\0';
        row->capture = (int)pipeline_capture_of(row->name);
    }
    return &pipeline->datasets[i];
}

/* Names are interned, and a batch mostly has one of them: a run of the same pointer is looked up once. */
static void datasets_count(struct pipeline *pipeline, const struct core_batch *batch, bool is_pending) {
    for (uint32_t i = 0; i < batch->events_len;) {
        const char *name = batch->events[i].dataset;
        uint32_t run = i;
        while (run < batch->events_len && batch->events[run].dataset == name) {
            run++;
        }
        struct pipeline_dataset *row = dataset_row(pipeline, name);
        *(is_pending ? &row->pending : &row->events) += run - i;
        for (uint32_t k = i; k < run && row->capture != PIPELINE_CAPTURE_NONE; k++) {
            pipeline_note_capture(pipeline, (enum pipeline_capture_kind)row->capture, batch, &batch->events[k]);
        }
        i = run;
    }
    if (is_pending) {
        pipeline->pending += batch->events_len;
    } else {
        atomic_fetch_add_explicit(&pipeline->events, batch->events_len, memory_order_relaxed);
    }
}

/* What is pending was accepted, or is to be read again, once its transaction has come to an end. Asked whenever the keeper
 * had a turn, so that no later transaction can have ended in between. */
static void datasets_settle(struct pipeline *pipeline) {
    bool is_committed = atomic_load(&pipeline->commit.committed) >= pipeline->pending_txn;
    bool is_aborted = !is_committed && atomic_load(&pipeline->commit.epoch) > pipeline->pending_epoch;
    if (pipeline->pending == 0 || (!is_committed && !is_aborted)) {
        return;
    }
    for (size_t i = 0; i <= PIPELINE_DATASETS_MAX; i++) {
        struct pipeline_dataset *row = &pipeline->datasets[i];
        row->events += is_committed ? row->pending : 0;
        row->pending = 0;
    }
    if (is_committed) {
        atomic_fetch_add_explicit(&pipeline->events, pipeline->pending, memory_order_relaxed);
    }
    pipeline->pending = 0;
}

/* A batch that the last sink gives back is accepted; or, with a keeper, was delivered in a transaction that is still open, or
 * comes back from an aborted one, to be read again. Batches of an aborted transaction are all back before the next one. */
static void accepted_count(struct pipeline *pipeline, const struct core_batch *batch) {
    bool is_accepted = batch->txn != 0 && batch->txn <= atomic_load(&pipeline->commit.committed);
    if (!is_accepted && batch->epoch < atomic_load(&pipeline->commit.epoch)) {
        return;
    }
    bool is_pending = !is_accepted && batch->txn != 0;
    datasets_count(pipeline, batch, is_pending);
    if (is_pending) {
        pipeline->pending_txn = batch->txn;
        pipeline->pending_epoch = batch->epoch;
    }
}

static struct core_batch *sink_next(struct pipeline_sink *sink) {
    if (sink->offered != NULL) {
        return sink->offered;
    }
    for (uint32_t i = 0; i < sink->ins_len; i++) {
        sink->ins_at = (sink->ins_at + 1) % sink->ins_len;
        struct core_batch *batch = core_queue_pop(&sink->ins[sink->ins_at]);
        if (batch != NULL) {
            return batch;
        }
    }
    return NULL;
}

/* Give the sink what has come, as long as it takes it. Returns whether it took anything. */
static bool sink_take(struct pipeline_sink *sink) {
    bool has_taken = false;
    struct core_batch *batch;
    while ((batch = sink_next(sink)) != NULL) {
        pipeline_show_sink_waiting(sink, core_tick_ns());
        enum core_err err = sink->ops->send(sink->sink, batch);
        if (err != CORE_OK) {
            MUST(err == CORE_AGAIN);
            sink->offered = batch;
            break;
        }
        sink->offered = NULL;
        batch->stamps[CORE_STAMP_GIVEN] = core_tick_ns();
        if (batch->stamps[CORE_STAMP_SEND] == 0) {
            batch->stamps[CORE_STAMP_SEND] = batch->stamps[CORE_STAMP_GIVEN];
        }
        sink->held++;
        sink->in_flight += batch->events_len;
        sink->thread.meter.in += batch->events_len;
        sink->is_flushed = false;
        sink->thread.meter.is_stale = true;
        has_taken = true;
    }
    return has_taken;
}

/* Documents of it that the sink has taken. What a feeder's was refused is the feeder's to tell, and still in the tally. */
static uint64_t accepted_in(const struct pipeline_sink *sink, const struct core_batch *batch) {
    uint64_t refused = 0;
    for (uint32_t i = 0; i < batch->events_len && sink->env.keeps_refused; i++) {
        refused += batch->events[i].fate == CORE_FATE_REFUSED ? 1 : 0;
    }
    return batch->tally.events - refused;
}

static void sink_count(struct pipeline_sink *sink, struct core_batch *batch, int64_t now) {
    struct pipeline_meter *meter = &sink->thread.meter;
    meter->out += batch->events_len;
    meter->batches++;
    sink->in_flight -= batch->events_len;
    sink->accepted += accepted_in(sink, batch);
    core_histogram_add(&sink->latency, now - batch->stamps[CORE_STAMP_GIVEN], 1);
    if (sink->pipeline->source->has_workers) {
        pipeline_note_refused(sink->pipeline, sink->ops->name, batch);
    }
    if (sink->is_last) {
        batch->stamps[CORE_STAMP_DELIVERED] = now;
        pipeline_note_times(sink->pipeline, batch, now);
        pipeline_trace_delivered(sink->pipeline, batch);
    }
}

/* Since when does it accept nothing, though documents wait? The keeper accepts when it commits. */
static void sink_stall(struct pipeline_sink *sink, bool has_given, int64_t now) {
    struct pipeline *pipeline = sink->pipeline;
    bool waits = sink->held > 0 || sink->offered != NULL;
    bool has_accepted = has_given;
    for (uint32_t i = 0; i < sink->ins_len && !waits; i++) {
        waits = !core_queue_is_empty(&sink->ins[i]);
    }
    if (sink->is_last && pipeline->has_keeper) {
        uint64_t committed = atomic_load(&pipeline->commit.committed);
        waits = waits || pipeline->pending > 0;
        has_accepted = committed != sink->committed || (has_given && pipeline->pending == 0);
        sink->committed = committed;
    }
    if (!waits) {
        sink->waiting_tick = 0;
    } else if (has_accepted || sink->waiting_tick == 0) {
        sink->waiting_tick = now;
    }
}

/* Pass on what the sink gives back. Returns whether it gave anything. */
static bool sink_give(struct pipeline_sink *sink, int timeout_ms) {
    struct core_batch *done[SINK_DONE_MAX];
    const int64_t before = core_tick_ns();
    size_t len = sink->ops->poll(sink->sink, done, SINK_DONE_MAX, timeout_ms);
    const int64_t now = timeout_ms == 0 && len == 0 ? before : core_tick_ns();
    sink->thread.meter.waited_ns += timeout_ms == 0 ? 0 : now - before;
    MUST(len <= sink->held);
    const bool counts = sink->is_last && !sink->pipeline->source->counts_commits;
    if (counts) {
        datasets_settle(sink->pipeline);
    }
    for (size_t i = 0; i < len; i++) {
        if (counts) {
            accepted_count(sink->pipeline, done[i]);
        }
        sink_count(sink, done[i], now);
        if (sink->is_last) {
            pipeline_passes(sink->pipeline, PIPELINE_AT_DELIVERED, done[i]);
        }
        core_queue_push(sink->out, done[i]);
    }
    sink->held -= (uint32_t)len;
    sink_stall(sink, len > 0, now);
    pipeline_show_sink(sink, now);
    return len > 0;
}

static bool sink_has_work(const struct pipeline_sink *sink) {
    if (pipeline_phase_of(sink->pipeline) == PIPELINE_QUIT) {
        return true;
    }
    for (uint32_t i = 0; i < sink->ins_len; i++) {
        if (!core_queue_is_empty(&sink->ins[i])) {
            return sink->offered == NULL; /* behind a batch it would not take, more of them are no work */
        }
    }
    return false;
}

/* Nothing came and nothing went: wait in the sink's poll(), which the doorbell ends. */
static void sink_sleep(struct pipeline_sink *sink) {
    bool is_due_flush = !sink->is_flushed; /* with a keeper also when all is back: its transaction may be open */
    int timeout_ms = is_due_flush ? SINK_FLUSH_AFTER_MS : sink->offered != NULL ? SINK_OFFER_AFTER_MS : SINK_SLEEP_MS;
    int64_t due_ms = (sink->thread.meter.due_tick - core_tick_ns()) / CORE_NS_PER_MS + 1;
    if (!is_due_flush && sink->thread.meter.is_stale && due_ms < timeout_ms) {
        timeout_ms = due_ms < 1 ? 1 : (int)due_ms;
    }
    core_bell_arm(&sink->thread.bell);
    bool is_idle = false;
    if (!sink_has_work(sink)) {
        is_idle = !sink_give(sink, timeout_ms);
    }
    core_bell_disarm(&sink->thread.bell);
    if (is_idle && is_due_flush) {
        if (sink->ops->flush != NULL) {
            sink->ops->flush(sink->sink);
        }
        sink->is_flushed = true;
    }
}

void *pipeline_sink_main(void *arg) {
    struct pipeline_sink *sink = arg;
    MUST(sink->magic == PIPELINE_SINK_MAGIC);
    struct pipeline *pipeline = sink->pipeline;
    while (pipeline_phase_of(pipeline) != PIPELINE_QUIT) {
        bool has_taken = sink_take(sink);
        bool has_given = sink_give(sink, 0);
        if (!has_taken && !has_given) {
            sink_sleep(sink);
        }
        if (sink->ops->is_gone != NULL && sink->ops->is_gone(sink->sink, &sink->thread.fail)) {
            atomic_store(&sink->thread.is_failed, true);
            break;
        }
    }
    pipeline_show_sink_last(sink);
    sink->ops->close(sink->sink);
    sink->sink = NULL;
    if (sink->is_last) {
        datasets_settle(pipeline);
    }
    return pipeline_thread_end(pipeline, &sink->thread);
}
