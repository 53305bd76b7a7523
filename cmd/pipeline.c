/* cmd/pipeline.c: `tapline run` and `tapline feed`: what is made, who owns it, how it ends.
 *
 *     files -> ingest -> worker 1…N -> (enrich) -> sink 1 -> sink 2 … -> back to ingest (checkpoint, pool)
 *     Kafka -> ingest                           -> sink 1 -> sink 2 … -> back to ingest (transaction, pool)
 *
 * The two rows differ in their source, which is a table of functions (cmd/pipeline_source.c): a feeder's has no workers and
 * no intelligence, and what is said of files below is of partitions there: ingest/feed.h tells how it keeps its promise.
 *
 * Threads: main (signals by signalfd; it never touches a batch) · ingest (files, pool, checkpoint) · one normalize worker
 * or more (a stream stays with one of them, so its order holds) · one that asks what intelligence knows, if the config has any
 * (cmd/pipeline_enrich.c) · one for each sink. Batches move through bounded
 * single-producer/single-consumer queues as long as the pool; there is no lock between threads. A batch passes every sink in
 * turn, so it comes back to ingest when all have accepted each of its records, and only then the checkpoint moves. No
 * batch left in the pool is the back-pressure: ingest reads no more, and the log on disk is the buffer.
 *
 * Stop (SIGTERM, SIGINT): ingest reads no more; what is under way passes the sinks; ingest writes the last checkpoint and
 * ends; then the others end and the sinks are closed; exit 0. After pipeline.stop_timeout main says how much is
 * outstanding and ends the threads with it: the checkpoint stands at what was accepted, and the rest is read again after
 * the next start. A second signal ends the process at once, with the same promise.
 *
 * A sink may be the keeper of positions (core/commit.h). It is the last in the row, and a batch that comes back from it is
 * accepted when its transaction is committed; until then ingest counts it as under way, and so does the stop.
 *
 * Crash at any instant: the checkpoint on disk is never ahead of what every sink accepted, so nothing is lost; records
 * accepted after it was written come again with the same id. With a keeper the positions are where the records are, and
 * nothing comes again there; the sinks before it may see records again after a crash or an aborted transaction.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pipeline_internal.h"
#include "cmd/cmd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define QUIT_GRACE_NS (5 * CORE_NS_PER_S) /* to leave a loop and close a sink; longer means it hangs */
#define PROGRESS_NS (500 * CORE_NS_PER_MS)

/* ---- making it ------------------------------------------------------------------------------------------------------ */

/* main_wait()'s caller looks into both by itself, whatever woke it. */
static void on_woken(void *ctx, uint32_t events) {
    (void)ctx;
    (void)events;
}

static enum core_err signals_open(struct pipeline *pipeline, struct core_fail *fail) {
    sigset_t set;
    (void)sigemptyset(&set);
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        (void)sigaddset(&set, numbers[i]);
    }
    /* Before any thread exists: each inherits the mask, so that the signals come to signal_fd alone. */
    MUST(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    MUST(signal(SIGPIPE, SIG_IGN) != SIG_ERR); /* a closed pipe is an error of write(2), which the sink reports */
    pipeline->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    pipeline->control_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (pipeline->signal_fd < 0 || pipeline->control_fd < 0) {
        return core_fail_errno(fail, "signalfd", "cannot wait for signals; raise the limit of open files");
    }
    enum core_err err = core_loop_new(&pipeline->loop, fail);
    const int fds[] = {pipeline->signal_fd, pipeline->control_fd};
    for (size_t i = 0; err == CORE_OK && i < sizeof(fds) / sizeof(fds[0]); i++) {
        err = core_loop_watch(pipeline->loop, fds[i], EPOLLIN, on_woken, NULL, &pipeline->watches[i], fail);
    }
    return err;
}

/* A worker each for the streams it has, and the maps they all use. */
static enum core_err workers_open(struct pipeline *pipeline, struct core_conf_mistakes *mistakes,
                                  struct core_fail *fail) {
    uint64_t workers = pipeline->config->normalize.workers;
    struct normalize_conf conf = cmd_normalize_conf(&pipeline->config->normalize);
    enum core_err err = normalize_maps_open(&pipeline->maps, &conf, NULL, mistakes);
    if (err != CORE_OK) {
        return core_fail_set(fail, err, conf.maps, "the maps cannot be used");
    }
    pipeline->workers_len = workers < 1 ? 1 : workers > PIPELINE_WORKERS_MAX ? PIPELINE_WORKERS_MAX : (uint32_t)workers;
    pipeline->workers = calloc(pipeline->workers_len, sizeof(*pipeline->workers));
    MUST(pipeline->workers != NULL);
    for (uint32_t i = 0; i < pipeline->workers_len; i++) {
        pipeline->workers[i].thread.bell.fd = -1;
    }
    for (uint32_t i = 0; i < pipeline->workers_len; i++) {
        struct pipeline_worker *worker = &pipeline->workers[i];
        worker->magic = PIPELINE_WORKER_MAGIC;
        worker->pipeline = pipeline;
        err = core_bell_init(&worker->thread.bell, fail);
        if (err == CORE_OK) {
            err = core_queue_init(&worker->in, pipeline->pool.len, &worker->thread.bell, fail);
        }
        if (err != CORE_OK) {
            return err;
        }
        worker->normalize = normalize_worker_new(pipeline->maps, &pipeline->counters);
    }
    return CORE_OK;
}

/* Where a worker's batches go. Enrich and the first sink are open. */
static void workers_join(struct pipeline *pipeline) {
    for (uint32_t i = 0; i < pipeline->workers_len; i++) {
        pipeline->workers[i].out = pipeline->enrich.is_on ? &pipeline->enrich.ins[i] : &pipeline->sinks[0].ins[i];
    }
    pipeline->enrich.out = &pipeline->sinks[0].ins[0];
}

static enum core_err sink_open_one(struct pipeline *pipeline, uint32_t i, struct core_fail *fail) {
    struct pipeline_sink *sink = &pipeline->sinks[i];
    const struct config_sink *conf = &pipeline->config->sinks[i];
    sink->magic = PIPELINE_SINK_MAGIC;
    sink->pipeline = pipeline;
    sink->ops = conf->ops;
    sink->is_flushed = true;
    sink->is_last = i + 1 == pipeline->sinks_len;
    sink->out = sink->is_last ? &pipeline->returns : NULL;
    enum core_err err = core_bell_init(&sink->thread.bell, fail);
    if (err != CORE_OK) {
        return err;
    }
    uint32_t ins_len = i == 0 && !pipeline->enrich.is_on && pipeline->workers_len > 0 ? pipeline->workers_len : 1;
    sink->ins = calloc(ins_len, sizeof(*sink->ins));
    MUST(sink->ins != NULL);
    for (; sink->ins_len < ins_len; sink->ins_len++) {
        err = core_queue_init(&sink->ins[sink->ins_len], pipeline->pool.len, &sink->thread.bell, fail);
        if (err != CORE_OK) {
            return err;
        }
    }
    if (i > 0) {
        pipeline->sinks[i - 1].out = &sink->ins[0];
    }
    sink->env = (struct sink_env){.node = pipeline->node,
                                  .counters = &pipeline->counters,
                                  .wake_fd = sink->thread.bell.fd,
                                  .wants_statistics = pipeline->config->health.is_on,
                                  .commit = sink->is_last ? pipeline_commit(pipeline) : NULL,
                                  .keeps_refused = pipeline->source->counts_commits};
    return sink->ops->open(&sink->sink, conf->conf, &sink->env, fail);
}

static enum core_err stages_open(struct pipeline *pipeline, struct core_conf_mistakes *mistakes,
                                 struct core_fail *fail) {
    const struct config *config = pipeline->config;
    enum core_err err = core_pool_init(&pipeline->pool, (uint32_t)config->pipeline.batches, fail);
    if (err == CORE_OK) {
        err = core_bell_init(&pipeline->ingest_thread.bell, fail);
    }
    if (err == CORE_OK) {
        err = core_queue_init(&pipeline->returns, pipeline->pool.len, &pipeline->ingest_thread.bell, fail);
    }
    const bool has_workers = pipeline->source->has_workers;
    if (err == CORE_OK && has_workers) {
        err = workers_open(pipeline, mistakes, fail);
    }
    pipeline->commit.bell = &pipeline->ingest_thread.bell;
    if (err == CORE_OK) {
        err = pipeline->source->open(pipeline, fail);
    }
    pipeline->sinks_len = (uint32_t)config->sinks_len;
    if (err == CORE_OK && has_workers) {
        err = pipeline_enrich_open(pipeline, fail);
    }
    for (uint32_t i = 0; err == CORE_OK && i < pipeline->sinks_len; i++) {
        err = sink_open_one(pipeline, i, fail);
    }
    if (err == CORE_OK) {
        workers_join(pipeline);
    }
    return err;
}

enum core_err pipeline_open(struct pipeline **out, struct config *config, const struct pipeline_options *options,
                            struct core_conf_mistakes *mistakes, struct core_fail *fail) {
    MUST(out != NULL);
    MUST(config != NULL);
    MUST(options != NULL);
    *out = NULL;
    struct pipeline *pipeline = calloc(1, sizeof(*pipeline));
    MUST(pipeline != NULL);
    pipeline->magic = PIPELINE_MAGIC;
    pipeline->options = *options;
    pipeline->source = pipeline_sources[options->kind];
    pipeline->config = config;
    pipeline->has_keeper = config_sinks_order(config);
    pipeline->node = strdup(config->node.name);
    pipeline->state = strdup(config->node.state);
    MUST(pipeline->node != NULL);
    MUST(pipeline->state != NULL);
    pipeline->lock_fd = pipeline->signal_fd = pipeline->control_fd = -1;
    pipeline->ingest_thread.bell.fd = -1;
    pipeline->enrich.thread.bell.fd = -1;
    for (size_t i = 0; i < CONFIG_SINKS_MAX; i++) {
        pipeline->sinks[i].thread.bell.fd = -1;
    }
    core_log_level((enum core_level)config->log.level);
    core_log_format((enum core_log_format)config->log.format, pipeline->source->service);
    enum core_err err = signals_open(pipeline, fail);
    if (err == CORE_OK) {
        err = pipeline->source->lock(pipeline, fail);
    }
    if (err == CORE_OK) {
        pipeline_health_open(pipeline);
        err = stages_open(pipeline, mistakes, fail);
    }
    if (err != CORE_OK) {
        pipeline_close(pipeline);
        return err;
    }
    pipeline_pages_open(pipeline);
    *out = pipeline;
    return CORE_OK;
}

void pipeline_close(struct pipeline *pipeline) {
    if (pipeline == NULL) {
        return;
    }
    MUST(pipeline->magic == PIPELINE_MAGIC);
    pipeline_health_end(pipeline);
    for (uint32_t i = 0; i < pipeline->sinks_len; i++) {
        struct pipeline_sink *sink = &pipeline->sinks[i];
        if (sink->sink != NULL) { /* its thread never ran */
            sink->ops->close(sink->sink);
        }
        for (uint32_t k = 0; k < sink->ins_len; k++) {
            core_queue_destroy(&sink->ins[k]);
        }
        free(sink->ins);
        core_bell_destroy(&sink->thread.bell);
    }
    pipeline_enrich_close(&pipeline->enrich);
    pipeline->source->close(pipeline);
    free(pipeline->summary);
    free(pipeline->commit.positions); /* NULL when ingest took them */
    for (uint32_t i = 0; i < pipeline->workers_len; i++) {
        normalize_worker_free(pipeline->workers[i].normalize);
        core_queue_destroy(&pipeline->workers[i].in);
        core_bell_destroy(&pipeline->workers[i].thread.bell);
    }
    free(pipeline->workers);
    pipeline_notes_close(pipeline);
    core_queue_destroy(&pipeline->returns);
    core_bell_destroy(&pipeline->ingest_thread.bell);
    core_pool_destroy(&pipeline->pool);
    pipeline_reload_drop(pipeline);
    normalize_maps_close(pipeline->maps);
    config_free(pipeline->config);
    free(pipeline->node);
    free(pipeline->state);
    core_loop_unwatch(pipeline->watches[0]);
    core_loop_unwatch(pipeline->watches[1]);
    core_loop_free(pipeline->loop);
    int fds[] = {pipeline->signal_fd, pipeline->control_fd, pipeline->lock_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    pipeline->magic = 0;
    free(pipeline);
}

/* ---- threads -------------------------------------------------------------------------------------------------------- */

/* Thread i of the pipeline in the order ingest, workers, enrich, sinks; NULL past the last. */
static struct pipeline_thread *thread_at(struct pipeline *pipeline, uint32_t i) {
    if (i == 0) {
        return &pipeline->ingest_thread;
    }
    if (i <= pipeline->workers_len) {
        return &pipeline->workers[i - 1].thread;
    }
    i -= pipeline->workers_len + 1;
    if (pipeline->enrich.is_on) {
        if (i == 0) {
            return &pipeline->enrich.thread;
        }
        i--;
    }
    return i < pipeline->sinks_len ? &pipeline->sinks[i].thread : NULL;
}

static enum core_err thread_start(struct pipeline_thread *thread, void *(*loop)(void *), void *arg, const char *name,
                                  struct core_fail *fail) {
    int err = pthread_create(&thread->id, NULL, loop, arg);
    if (err != 0) {
        return core_fail_set(fail, CORE_IO, name, "cannot start a thread: %s; raise the limit of processes",
                             strerror(err));
    }
    thread->is_started = true;
    (void)pthread_setname_np(thread->id, name); /* for top -H; no harm if it cannot */
    return CORE_OK;
}

/* Consumers first: whoever pushes finds the other end alive. */
static enum core_err threads_start(struct pipeline *pipeline, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    for (uint32_t i = pipeline->sinks_len; err == CORE_OK && i > 0; i--) {
        struct pipeline_sink *sink = &pipeline->sinks[i - 1];
        err = thread_start(&sink->thread, pipeline_sink_main, sink, sink->ops->name, fail);
    }
    if (err == CORE_OK && pipeline->enrich.is_on) {
        err = thread_start(&pipeline->enrich.thread, pipeline_enrich_main, &pipeline->enrich, "enrich", fail);
    }
    for (uint32_t i = 0; err == CORE_OK && i < pipeline->workers_len; i++) {
        err =
            thread_start(&pipeline->workers[i].thread, pipeline_worker_main, &pipeline->workers[i], "normalize", fail);
    }
    if (err == CORE_OK) {
        err = thread_start(&pipeline->ingest_thread, pipeline_ingest_main, pipeline, "ingest", fail);
    }
    return err;
}

/* Never back: a first SIGTERM may come when all threads have been told to end. */
static void phase_set(struct pipeline *pipeline, enum pipeline_phase phase) {
    if ((int)phase > atomic_load(&pipeline->phase)) {
        atomic_store(&pipeline->phase, phase);
    }
    struct pipeline_thread *thread;
    for (uint32_t i = 0; (thread = thread_at(pipeline, i)) != NULL; i++) {
        pipeline_poke(thread->bell.fd);
    }
}

static bool is_any_running(struct pipeline *pipeline) {
    struct pipeline_thread *thread;
    for (uint32_t i = 0; (thread = thread_at(pipeline, i)) != NULL; i++) {
        if (thread->is_started && !atomic_load(&thread->is_ended)) {
            return true;
        }
    }
    return false;
}

static struct pipeline_thread *thread_failed(struct pipeline *pipeline) {
    struct pipeline_thread *thread;
    for (uint32_t i = 0; (thread = thread_at(pipeline, i)) != NULL; i++) {
        if (atomic_load(&thread->is_failed)) {
            return thread;
        }
    }
    return NULL;
}

/* ---- main's loop ---------------------------------------------------------------------------------------------------- */

/* Without cleaning up: for when somebody hangs or a person is in a hurry. What is not in the checkpoint comes again. */
static _Noreturn void end_at_once(const struct pipeline *pipeline, const char *why, enum core_exit exit_code) {
    core_log(CORE_LEVEL_WARN, pipeline->source->stage, why,
             "outstanding_batches=%llu hint=\"they are read again after the next start\"",
             (unsigned long long)atomic_load(&pipeline->outstanding));
    core_log_flush();
    _exit((int)exit_code);
}

static void counters_log(const struct pipeline *pipeline) {
    for (int i = 0; i < CORE_COUNT__MAX; i++) {
        core_log(CORE_LEVEL_INFO, pipeline->source->stage, core_counter_table[i].name, "value=%llu unit=%s",
                 (unsigned long long)core_counted(&pipeline->counters, (enum core_counter)i),
                 core_counter_table[i].unit);
    }
}

/* Which rule left out how many records: each a line of its own. */
static void drops_log(const struct pipeline *pipeline) {
    struct normalize_drop drop;
    for (size_t i = 0; pipeline->maps != NULL && normalize_drop_at(pipeline->maps, i, &drop); i++) {
        if (drop.dropped > 0) {
            char heading[256]; /* one each: the log folds what looks the same */
            (void)snprintf(heading, sizeof(heading), "records dropped by %s", drop.rule);
            core_log(CORE_LEVEL_INFO, pipeline->source->stage, heading, "value=%llu unit=events",
                     (unsigned long long)drop.dropped);
        }
    }
}

static void signal_stop(struct pipeline *pipeline, uint32_t number) {
    if (pipeline->stop_deadline_ns != 0) {
        end_at_once(pipeline, "second signal, ended at once", CORE_EXIT_DONE);
    }
    pipeline->stop_deadline_ns = core_tick_ns() + pipeline->config->pipeline.stop_timeout_ns;
    core_log(CORE_LEVEL_INFO, pipeline->source->stage, "stopping: reads what is there, waits for the sinks",
             "signal=%s timeout_ms=%lld", number == SIGINT ? "SIGINT" : "SIGTERM",
             (long long)(pipeline->config->pipeline.stop_timeout_ns / CORE_NS_PER_MS));
    phase_set(pipeline, PIPELINE_STOPPING);
}

static void signals_take(struct pipeline *pipeline) {
    struct signalfd_siginfo info;
    while (read(pipeline->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGHUP:
            pipeline_reload_start(pipeline);
            break;
        case SIGUSR1:
            counters_log(pipeline);
            atomic_store(&pipeline->wants_source_log, true);
            pipeline_poke(pipeline->ingest_thread.bell.fd);
            pipeline_enrich_log(&pipeline->enrich);
            drops_log(pipeline);
            break;
        default:
            signal_stop(pipeline, info.ssi_signo);
            break;
        }
    }
}

static void progress_show(struct pipeline *pipeline) {
    uint64_t events = atomic_load_explicit(&pipeline->events, memory_order_relaxed);
    double seconds = (double)(core_tick_ns() - pipeline->start_ns) / (double)CORE_NS_PER_S;
    int intel = atomic_load_explicit(&pipeline->enrich.state, memory_order_relaxed);
    bool is_lacking = pipeline->enrich.is_on && intel != ENRICH_READY;
    (void)fprintf(stderr, "\r%llu records read, %llu accepted, %.0f/s, %llu batches under way%s%s \033[K",
                  (unsigned long long)core_counted(&pipeline->counters, pipeline->source->records),
                  (unsigned long long)events, seconds > 0 ? (double)events / seconds : 0.0,
                  (unsigned long long)atomic_load(&pipeline->outstanding), is_lacking ? ", intelligence: " : "",
                  is_lacking ? pipeline_intel_word((enum enrich_state)intel) : "");
    pipeline->is_tty_dirty = true;
}

/* Wait for a signal or a thread's word, at most until deadline_ns (0: none). */
static void main_wait(struct pipeline *pipeline, int64_t deadline_ns) {
    int64_t timeout_ns = pipeline->options.shows_progress ? PROGRESS_NS : -1;
    if (deadline_ns != 0) {
        int64_t left_ns = deadline_ns - core_tick_ns() + CORE_NS_PER_MS;
        left_ns = left_ns < 0 ? 0 : left_ns;
        timeout_ns = timeout_ns < 0 || left_ns < timeout_ns ? left_ns : timeout_ns;
    }
    struct core_fail fail;
    MUST(core_loop_once(pipeline->loop, timeout_ns, &fail) == CORE_OK);
    uint64_t rung;
    ssize_t got = read(pipeline->control_fd, &rung, sizeof(rung));
    MUST(got == (ssize_t)sizeof(rung) || errno == EAGAIN);
    if (pipeline->options.shows_progress) {
        progress_show(pipeline);
    }
}

/* Until ingest has ended by itself, a thread has failed, the time to stop is over, or nothing is left to stop for. */
static enum core_err main_loop(struct pipeline *pipeline, struct core_fail *fail) {
    while (!atomic_load(&pipeline->ingest_thread.is_ended) && thread_failed(pipeline) == NULL &&
           !atomic_load(&pipeline->enrich.has_given_up)) {
        main_wait(pipeline, pipeline->stop_deadline_ns);
        signals_take(pipeline);
        pipeline_reload_step(pipeline);
        if (pipeline->stop_deadline_ns != 0 && core_tick_ns() > pipeline->stop_deadline_ns &&
            !atomic_load(&pipeline->ingest_thread.is_ended)) {
            core_log(CORE_LEVEL_WARN, pipeline->source->stage, "stop_timeout is over and a sink has not accepted all",
                     "outstanding_batches=%llu hint=\"they are read again after the next start\"",
                     (unsigned long long)atomic_load(&pipeline->outstanding));
            break;
        }
    }
    const struct pipeline_thread *failed = thread_failed(pipeline);
    if (failed == NULL) {
        return CORE_OK;
    }
    *fail = failed->fail;
    core_log_fail(CORE_LEVEL_ERROR, pipeline->source->stage,
                  "cannot go on, ending; the next start goes on where this one was", fail);
    return fail->err;
}

/* Join every thread, but not for longer than a sane one needs. */
static void threads_end(struct pipeline *pipeline, enum core_exit exit_code) {
    phase_set(pipeline, PIPELINE_QUIT);
    int64_t deadline_ns = core_tick_ns() + QUIT_GRACE_NS;
    while (is_any_running(pipeline)) {
        main_wait(pipeline, deadline_ns);
        signals_take(pipeline);
        if (core_tick_ns() > deadline_ns) {
            end_at_once(pipeline, "a sink, or the store of indicators, does not let go, ended at once", exit_code);
        }
    }
    struct pipeline_thread *thread;
    for (uint32_t i = 0; (thread = thread_at(pipeline, i)) != NULL; i++) {
        if (thread->is_started) {
            MUST(pthread_join(thread->id, NULL) == 0);
            thread->is_started = false;
        }
    }
}

static int by_events(const void *a, const void *b) {
    const struct pipeline_dataset *left = a;
    const struct pipeline_dataset *right = b;
    if (left->events != right->events) {
        return left->events > right->events ? -1 : 1;
    }
    return strcmp(left->name, right->name);
}

/* The sinks in the order in which a batch passes them, and which of them keeps the positions. */
static void started_log(const struct pipeline *pipeline) {
    char sinks[256] = "";
    for (uint32_t i = 0; i < pipeline->sinks_len; i++) {
        size_t used = strlen(sinks);
        (void)snprintf(sinks + used, sizeof(sinks) - used, "%s%s", used == 0 ? "" : ",", pipeline->sinks[i].ops->name);
    }
    const struct pipeline_enrich *enrich = &pipeline->enrich;
    core_log(CORE_LEVEL_INFO, pipeline->source->stage, "started",
             "node=%s state=%s inputs=%zu sinks=%s positions=%s workers=%u intel=%s", pipeline->node, pipeline->state,
             pipeline->config->inputs_len, sinks,
             pipeline->has_keeper ? pipeline->sinks[pipeline->sinks_len - 1].ops->name : pipeline->source->positions,
             pipeline->workers_len,
             !enrich->is_on               ? "off"
             : enrich->redis.urls.len > 0 ? "redis"
                                          : "files");
}

enum core_exit pipeline_exit(enum core_err err) {
    switch (err) {
    case CORE_OK:
        return CORE_EXIT_DONE;
    case CORE_BAD:
    case CORE_LOCKED:
        return CORE_EXIT_USAGE;
    default:
        return CORE_EXIT_SYSTEM;
    }
}

enum core_err pipeline_run(struct pipeline *pipeline, struct core_fail *fail) {
    MUST(pipeline != NULL);
    MUST(pipeline->magic == PIPELINE_MAGIC);
    MUST(fail != NULL);
    pipeline->start_ns = core_tick_ns();
    started_log(pipeline);
    pipeline_show_ingest(pipeline, pipeline->start_ns); /* the first look must not find that nothing is wrong */
    enum core_err err = threads_start(pipeline, fail);
    if (err == CORE_OK) {
        pipeline_health_begin(pipeline);
        err = main_loop(pipeline, fail);
    }
    threads_end(pipeline, pipeline_exit(err));
    pipeline_health_end(pipeline);
    pipeline->source->close(pipeline); /* unless its thread has done so */
    pipeline->end_ns = core_tick_ns();
    qsort(pipeline->datasets, pipeline->datasets_len, sizeof(pipeline->datasets[0]), by_events);
    if (pipeline->is_tty_dirty) {
        (void)fputc('\n', stderr);
    }
    drops_log(pipeline);
    core_log(CORE_LEVEL_INFO, pipeline->source->stage, "stopped", "outstanding_batches=%llu accepted=%llu",
             (unsigned long long)atomic_load(&pipeline->outstanding),
             (unsigned long long)atomic_load(&pipeline->events));
    return err;
}

void pipeline_report(const struct pipeline *pipeline, struct pipeline_report *report) {
    MUST(pipeline != NULL);
    MUST(report != NULL);
    *report = (struct pipeline_report){.config = pipeline->config,
                                       .counters = &pipeline->counters,
                                       .maps = pipeline->maps,
                                       .feed = pipeline->summary,
                                       .intel = pipeline->enrich.is_on ? &pipeline->enrich.status : NULL,
                                       .intel_waited_ns = pipeline->enrich.waited_ns,
                                       .datasets = pipeline->datasets,
                                       .datasets_len = pipeline->datasets_len,
                                       .events = atomic_load(&pipeline->events),
                                       .outstanding = atomic_load(&pipeline->outstanding),
                                       .elapsed_ns = pipeline->end_ns - pipeline->start_ns};
    report->datasets_len += pipeline->datasets[PIPELINE_DATASETS_MAX].events > 0 ? 1 : 0;
}
