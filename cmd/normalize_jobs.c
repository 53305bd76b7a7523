/* cmd/normalize_jobs.c: `tapline normalize --jobs N`: the same documents in the same order, by N threads.
 *
 * main reads, cuts and writes; threads only map. Batches of a file go to the threads in turn, each thread keeping its own
 * decoder of the stream, and come back through its own queue; main writes them in the order it read them, so what it
 * waits for is always the oldest. What a record means may depend on lines before it in two ways:
 *
 *   `#` lines and csv headers: a batch that holds any is mapped by main, with no other batch under way, and each thread's
 *     decoder is shown those lines. They stand at a file's beginning and end, so this costs nothing.
 *   stamps without a year, which follow the latest one before them: a batch says that it held such (is_order_bound). If
 *     the first of a file does, the file stays with main. If a later one does, main, which comes to it in order, maps it
 *     again: its decoder has seen all such batches before it, and the others do not matter.
 *
 * Memory: the pool's batches, whatever the file's size. Nothing is promised on a crash.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/normalize_internal.h"
#include "core/queue.h"

#include <pthread.h>
#include <stdlib.h>

#define JOBS_MAGIC 0x6a6f6273u
#define BATCHES_PER_THREAD 2                                       /* one mapped, one waiting */
#define POOL_BATCHES(threads) (BATCHES_PER_THREAD * (threads) + 1) /* and one that main reads into */
#define FLIGHT_MAX POOL_BATCHES(JOBS_MAX)

struct job_thread {
    uint32_t magic;
    struct normalize_jobs *jobs;
    struct normalize_worker *worker;
    struct core_stream
        stream; /* the file's, with this worker's own decoder; main changes it only while none is under way */
    struct core_bell bell;
    struct core_queue in;  /* producer: main; consumer: this thread */
    struct core_queue out; /* producer: this thread; consumer: main */
    pthread_t id;
    bool is_started;
};

/* A batch under way. */
struct flight {
    struct core_batch *batch;
    struct job_thread *thread;
};

struct normalize_jobs {
    struct filter *filter;
    struct core_bell bell; /* main's */
    _Atomic bool is_over;
    unsigned len;
    unsigned turn; /* the next thread */
    struct flight flights[FLIGHT_MAX];
    unsigned first; /* the oldest flight */
    unsigned flights_len;
    struct core_stream *stream; /* of the file that is read */
    bool is_bound;              /* its batches stay with main */
    struct job_thread threads[JOBS_MAX];
};

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

static bool thread_has_work(void *arg) {
    struct job_thread *thread = arg;
    return !core_queue_is_empty(&thread->in) || atomic_load(&thread->jobs->is_over);
}

static void *thread_main(void *arg) {
    struct job_thread *thread = arg;
    MUST(thread->magic == JOBS_MAGIC);
    while (!atomic_load(&thread->jobs->is_over)) {
        struct core_batch *batch = core_queue_pop(&thread->in);
        if (batch == NULL) {
            core_bell_wait(&thread->bell, thread_has_work, thread, -1);
            continue;
        }
        normalize_batch(thread->worker, batch);
        core_queue_push(&thread->out, batch);
    }
    return NULL;
}

static enum core_err thread_start(struct normalize_jobs *jobs, struct job_thread *thread, struct core_fail *fail) {
    thread->magic = JOBS_MAGIC;
    thread->jobs = jobs;
    thread->bell.fd = -1;
    thread->worker = normalize_worker_new(jobs->filter->maps, &jobs->filter->counters);
    normalize_worker_observe(thread->worker, jobs->filter->enrich != NULL);
    enum core_err err = core_bell_init(&thread->bell, fail);
    if (err == CORE_OK) {
        err = core_queue_init(&thread->in, FLIGHT_MAX, &thread->bell, fail);
    }
    if (err == CORE_OK) {
        err = core_queue_init(&thread->out, FLIGHT_MAX, &jobs->bell, fail);
    }
    if (err == CORE_OK && pthread_create(&thread->id, NULL, thread_main, thread) != 0) {
        err = core_fail_set(fail, CORE_IO, "threads", "cannot start one; lower --jobs or raise the limit (ulimit -u)");
    }
    thread->is_started = err == CORE_OK;
    return err;
}

uint32_t normalize_jobs_batches(unsigned len) {
    MUST(len > 0 && len <= JOBS_MAX);
    return POOL_BATCHES(len);
}

enum core_err normalize_jobs_open(struct normalize_jobs **out, struct filter *filter, unsigned len,
                                  struct core_fail *fail) {
    MUST(len > 0 && len <= JOBS_MAX);
    struct normalize_jobs *jobs = calloc(1, sizeof(*jobs));
    MUST(jobs != NULL);
    jobs->filter = filter;
    jobs->bell.fd = -1;
    enum core_err err = core_bell_init(&jobs->bell, fail);
    while (err == CORE_OK && jobs->len < len) {
        err = thread_start(jobs, &jobs->threads[jobs->len++], fail);
    }
    if (err != CORE_OK) {
        normalize_jobs_close(jobs);
        return err;
    }
    *out = jobs;
    return CORE_OK;
}

void normalize_jobs_close(struct normalize_jobs *jobs) {
    if (jobs == NULL) {
        return;
    }
    atomic_store(&jobs->is_over, true);
    for (unsigned i = 0; i < jobs->len; i++) {
        struct job_thread *thread = &jobs->threads[i];
        if (thread->is_started) {
            core_bell_ring(&thread->bell);
            MUST(pthread_join(thread->id, NULL) == 0);
        }
        normalize_worker_free(thread->worker);
        core_queue_destroy(&thread->in);
        core_queue_destroy(&thread->out);
        core_bell_destroy(&thread->bell);
    }
    core_bell_destroy(&jobs->bell);
    free(jobs);
}

/* ---- batches --------------------------------------------------------------------------------------------------------------- */

static bool oldest_is_back(void *arg) {
    struct normalize_jobs *jobs = arg;
    return !core_queue_is_empty(&jobs->flights[jobs->first].thread->out);
}

/* The oldest batch under way, mapped. */
static struct core_batch *oldest_wait(struct normalize_jobs *jobs) {
    MUST(jobs->flights_len > 0);
    struct flight *flight = &jobs->flights[jobs->first];
    struct core_batch *batch;
    while ((batch = core_queue_pop(&flight->thread->out)) == NULL) {
        core_bell_wait(&jobs->bell, oldest_is_back, jobs, -1);
    }
    MUST(batch == flight->batch); /* a thread gives back in the order it was given */
    jobs->first = (jobs->first + 1) % FLIGHT_MAX;
    jobs->flights_len--;
    return batch;
}

static void oldest_write(struct normalize_jobs *jobs) {
    struct filter *filter = jobs->filter;
    struct core_batch *batch = oldest_wait(jobs);
    if (batch->is_order_bound) {
        batch->stream = jobs->stream;
        core_arena_reset(&batch->arena, CORE_ARENA_KEEP_BYTES);
        normalize_batch_again(filter->worker, batch);
        jobs->is_bound = true;
    }
    if (!normalize_is_broken(filter)) {
        normalize_write(filter, batch);
    }
    core_pool_give(&filter->pool, batch);
}

static void drain(struct normalize_jobs *jobs) {
    while (jobs->flights_len > 0) {
        oldest_write(jobs);
    }
}

static void dispatch(struct normalize_jobs *jobs, struct core_batch *batch) {
    struct job_thread *thread = &jobs->threads[jobs->turn];
    MUST(jobs->flights_len < FLIGHT_MAX);
    jobs->turn = (jobs->turn + 1) % jobs->len;
    batch->stream = &thread->stream;
    jobs->flights[(jobs->first + jobs->flights_len++) % FLIGHT_MAX] = (struct flight){batch, thread};
    core_queue_push(&thread->in, batch);
}

static bool has_context(const struct core_batch *batch) {
    for (uint32_t i = 0; i < batch->lines_len; i++) {
        if ((batch->lines[i].flags & CORE_LINE_CONTEXT) != 0) {
            return true;
        }
    }
    return false;
}

/* Here and now, with no other batch under way; what it says about those after it is told to the threads. */
static void run_alone(struct normalize_jobs *jobs, struct core_batch *batch) {
    struct filter *filter = jobs->filter;
    normalize_batch(filter->worker, batch);
    normalize_write(filter, batch);
    jobs->is_bound = jobs->is_bound || batch->is_order_bound;
    for (unsigned i = 0; i < jobs->len && !jobs->is_bound; i++) {
        struct core_stream *own = &jobs->threads[i].stream;
        void *decode = own->decode;
        *own = *jobs->stream;
        own->decode = decode;
        batch->stream = own;
        normalize_contexts(jobs->threads[i].worker, batch);
    }
    core_pool_give(&filter->pool, batch);
}

/* The threads' decoders of this file. */
static void stream_end(struct normalize_jobs *jobs) {
    struct core_batch *batch = core_pool_take(&jobs->filter->pool);
    MUST(batch != NULL);
    for (unsigned i = 0; i < jobs->len; i++) {
        struct job_thread *thread = &jobs->threads[i];
        batch->stream = &thread->stream;
        batch->is_last = true;
        if (thread->stream.magic == CORE_STREAM_MAGIC) {
            normalize_batch(thread->worker, batch);
        }
        thread->stream = (struct core_stream){0};
    }
    core_pool_give(&jobs->filter->pool, batch);
}

enum core_err normalize_jobs_file(struct normalize_jobs *jobs, struct ingest_reader *reader, struct core_fail *fail) {
    struct filter *filter = jobs->filter;
    enum core_err err = CORE_OK;
    bool is_begun = false;
    jobs->is_bound = false;
    while (err == CORE_OK && !normalize_is_broken(filter)) {
        if (ingest_reader_would_wait(reader)) {
            drain(jobs); /* a live pipe's documents are not held until it writes again */
        }
        struct core_batch *batch = core_pool_take(&filter->pool);
        if (batch == NULL) {
            oldest_write(jobs);
            continue;
        }
        err = ingest_reader_next(reader, batch, fail);
        jobs->stream = batch->stream;
        filter->stream = *batch->stream;
        batch->is_last = err != CORE_OK;
        if (is_begun && !jobs->is_bound && !batch->is_last && !has_context(batch)) {
            dispatch(jobs, batch);
            continue;
        }
        drain(jobs);
        is_begun = is_begun || batch->lines_len > 0;
        run_alone(jobs, batch);
    }
    drain(jobs);
    stream_end(jobs);
    return err;
}
