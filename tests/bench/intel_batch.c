/* tests/bench/intel_batch.c: how long it takes to look up what intelligence knows of a batch of events.
 *
 *     intel_batch CONFIG LOG batch [EVENTS]    as tapline does: a local filter, then one round trip for what may be a hit
 *     intel_batch CONFIG LOG one [EVENTS]      each observable with a round trip of its own, as a filter in Lua or Ruby does
 *
 * The records are made into events first; only the look-up is timed, batch by batch, with what is kept for looking back (as the
 * configuration says). One JSON object on stdout.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BATCHES_MAX (1 << 20)
#define ARENA_BYTES (64 * CORE_KIB)
#define ONE_TIMEOUT_MS 10000
#define LOOK_NS (20 * CORE_NS_PER_MS)
#define NS_PER_US 1000
#define PERCENT 100

struct bench {
    struct config *config;
    struct normalize_maps *maps;
    struct normalize_worker *worker;
    struct ingest_input input;
    struct core_counters counters;
    struct core_pool pool;
    struct enrich *enrich;      /* batch */
    struct enrich_store *store; /* one */
    struct core_arena arena;
    uint64_t events_max;
    uint64_t events;
    uint64_t observables;
    uint64_t hits;
    int64_t *took_ns; /* BATCHES_MAX */
    size_t took_len;
};

static _Noreturn void end(const struct core_fail *fail) {
    core_log_flush();
    (void)fprintf(stderr, "intel_batch: %s: %s\n", fail->where, fail->text);
    exit(CORE_EXIT_SYSTEM);
}

static void must(enum core_err err, const struct core_fail *fail) {
    if (err != CORE_OK) {
        end(fail);
    }
}

static void one_by_one(struct bench *bench, const struct core_event *event) {
    for (size_t i = 0; i < event->observables_len; i++) {
        const struct core_observable *observable = &event->observables[i];
        enum core_indicator type = observable->type;
        char room[ENRICH_VALUE_BYTES_MAX];
        const char *why = NULL;
        struct core_fail fail = {0};
        struct enrich_found found = {0};
        struct core_span text = {observable->ptr, observable->len};
        if (enrich_canonical(&type, text, room, &found.value, &why)) {
            found.type = type;
            core_arena_reset(&bench->arena, ARENA_BYTES);
            must(enrich_store_get(bench->store, &found, 1, &bench->arena, ONE_TIMEOUT_MS, &fail), &fail);
            bench->hits += found.providers_len > 0;
        }
    }
}

static void batch_run(struct bench *bench, struct core_batch *batch) {
    normalize_batch(bench->worker, batch);
    for (uint32_t i = 0; i < batch->events_len; i++) {
        bench->observables += batch->events[i].observables_len;
    }
    bench->events += batch->events_len;
    int64_t start = core_tick_ns();
    if (bench->enrich != NULL) {
        MUST(enrich_batch(bench->enrich, batch) == CORE_OK);
    }
    for (uint32_t i = 0; bench->enrich == NULL && i < batch->events_len; i++) {
        one_by_one(bench, &batch->events[i]);
    }
    if (batch->events_len > 0) {
        MUST(bench->took_len < BATCHES_MAX);
        bench->took_ns[bench->took_len++] = core_tick_ns() - start;
    }
}

static void file_run(struct bench *bench, const char *path) {
    struct core_fail fail = {0};
    struct ingest_reader *reader = NULL;
    must(ingest_reader_open(&reader, path, "", &bench->input.origin, &bench->counters, &fail), &fail);
    bool is_over = false;
    while (!is_over) {
        struct core_batch *batch = core_pool_take(&bench->pool);
        MUST(batch != NULL);
        enum core_err err = ingest_reader_next(reader, batch, &fail);
        is_over = err != CORE_OK || bench->events >= bench->events_max;
        batch->is_last = is_over;
        batch_run(bench, batch);
        core_pool_give(&bench->pool, batch);
    }
    ingest_reader_close(reader);
}

static int by_size(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

static void tell(struct bench *bench) {
    struct enrich_status status = {0};
    int64_t sum = 0;
    if (bench->enrich != NULL) {
        enrich_status(bench->enrich, &status);
        bench->hits = core_counted(&bench->counters, CORE_COUNT_ENRICH_HITS);
    }
    MUST(bench->took_len > 0);
    for (size_t i = 0; i < bench->took_len; i++) {
        sum += bench->took_ns[i];
    }
    qsort(bench->took_ns, bench->took_len, sizeof(bench->took_ns[0]), by_size);
    printf("{\"events\":%llu,\"observables\":%llu,\"hits\":%llu,\"batches\":%zu,\"took_ns\":%lld,\"p50_us\":%lld,\"p99_"
           "us\":%"
           "lld,\"indicators\":%llu,\"filter_bytes\":%zu,\"build_ns\":%lld,\"unavailable\":%llu}\n",
           (unsigned long long)bench->events, (unsigned long long)bench->observables, (unsigned long long)bench->hits,
           bench->took_len, (long long)sum, (long long)(bench->took_ns[bench->took_len / 2] / NS_PER_US),
           (long long)(bench->took_ns[bench->took_len * (PERCENT - 1) / PERCENT] / NS_PER_US),
           (unsigned long long)status.indicators, status.filter_bytes, (long long)status.build_ns,
           (unsigned long long)core_counted(&bench->counters, CORE_COUNT_ENRICH_UNAVAILABLE));
}

static void intel_open(struct bench *bench, bool is_batch) {
    const struct config_intel *intel = &bench->config->intel;
    struct core_fail fail = {0};
    if (!is_batch) {
        must(core_arena_init(&bench->arena, ARENA_BYTES, &fail), &fail);
        must(enrich_store_open(&bench->store, &intel->conf, &intel->redis, false, &fail), &fail);
        return;
    }
    struct enrich_env env = {.node = "bench", .state_dir = bench->config->node.state, .counters = &bench->counters};
    must(enrich_open(&bench->enrich, &intel->conf, &intel->redis, &env, &fail), &fail);
    struct enrich_status status = {0};
    const struct timespec pause = {.tv_nsec = LOOK_NS};
    while (status.state != ENRICH_READY) {
        (void)nanosleep(&pause, NULL);
        enrich_status(bench->enrich, &status);
    }
}

int main(int argc, char **argv) {
    if (argc < 4 || (strcmp(argv[3], "batch") != 0 && strcmp(argv[3], "one") != 0)) {
        (void)fprintf(stderr, "Usage: intel_batch CONFIG LOG batch|one [EVENTS]\n");
        return CORE_EXIT_USAGE;
    }
    struct bench bench = {.events_max = argc > 4 ? strtoull(argv[4], NULL, 10) : UINT64_MAX};
    struct core_conf_mistakes mistakes = {0};
    struct core_fail fail = {0};
    if (config_load(&bench.config, argv[1], &mistakes) != CORE_OK) {
        end(&mistakes.fails[0]);
    }
    struct normalize_conf conf = cmd_normalize_conf(&bench.config->normalize);
    if (normalize_maps_open(&bench.maps, &conf, NULL, &mistakes) != CORE_OK) {
        end(&mistakes.fails[0]);
    }
    must(ingest_input_finish(&bench.input, &fail), &fail);
    must(core_pool_init(&bench.pool, 1, &fail), &fail);
    bench.worker = normalize_worker_new(bench.maps, &bench.counters);
    normalize_worker_observe(bench.worker, true);
    bench.took_ns = calloc(BATCHES_MAX, sizeof(bench.took_ns[0]));
    MUST(bench.took_ns != NULL);
    intel_open(&bench, strcmp(argv[3], "batch") == 0);
    file_run(&bench, argv[2]);
    core_log_flush();
    tell(&bench);
    enrich_close(bench.enrich);
    enrich_store_close(bench.store);
    core_arena_destroy(&bench.arena);
    normalize_worker_free(bench.worker);
    normalize_maps_close(bench.maps);
    core_pool_destroy(&bench.pool);
    config_free(bench.config);
    free(bench.took_ns);
    return CORE_EXIT_DONE;
}
