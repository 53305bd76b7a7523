/* cmd/pipeline_enrich.c: what intelligence knows, put onto the documents between the workers and the first sink.
 *
 *     worker 1…N -> enrich -> sink 1
 *
 * One thread, which alone asks the store (enrich/enrich.h). Batches pass in the order they came, so a stream's order holds.
 * With intel.on_unavailable: wait a batch that cannot be looked at is held, and those behind it with it: the pool runs
 * empty, and the log on disk is the buffer. A stop ends that when pipeline.stop_timeout is over: the batch is not
 * delivered, and its records are read again after the next start.
 *
 * At a start the first batch waits while the filter is built, at most intel.start_wait, or else what a short run reads
 * would go by unlooked at. Without a server to build it from, only `run --once` waits. A stop while it waits ends at once:
 * nothing has passed, so nothing is waited for, and it is read again after the next start.
 *
 * What looking back finds, and sightings, are told by logs of our own below node.state, which are one more input: all that holds for
 * sensors' logs holds for them. It is there without intelligence, too, for what an earlier run left in them. Its documents
 * name this sensor: many write to one topic.
 *
 * The state is looked at once a second; a change of it is a line in the log.
 * Crash: nothing is kept here; a batch that was here is read again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pipeline_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AGAIN_NS (50 * CORE_NS_PER_MS) /* a batch that could not be looked at is offered again */
#define LOOK_NS CORE_NS_PER_S          /* between two looks at the state */
#define SLEEP_MS 1000

/* ---- making it ------------------------------------------------------------------------------------------------------ */

/* Old logs are not looked back at in a month; whoever wants it all the same says so. */
static bool looks_back(const struct pipeline *pipeline, const struct config_intel *intel) {
    return intel->conf.lookback.days > 0 && (intel->says_lookback || !pipeline->options.is_once);
}

/* Nor is what they show seen today. */
static bool counts_sightings(const struct pipeline *pipeline, const struct config_intel *intel) {
    return intel->conf.sightings_every_ns > 0 && (intel->says_sightings || !pipeline->options.is_once);
}

enum core_err pipeline_enrich_open(struct pipeline *pipeline, struct core_fail *fail) {
    struct pipeline_enrich *stage = &pipeline->enrich;
    const struct config_intel *intel = &pipeline->config->intel;
    stage->is_on = intel->conf.files.len > 0 || intel->redis.urls.len > 0;
    if (!stage->is_on) {
        return CORE_OK;
    }
    stage->magic = PIPELINE_ENRICH_MAGIC;
    stage->pipeline = pipeline;
    stage->conf = intel->conf;
    stage->conf.lookback.days = looks_back(pipeline, intel) ? intel->conf.lookback.days : 0;
    stage->conf.sightings_every_ns = counts_sightings(pipeline, intel) ? intel->conf.sightings_every_ns : 0;
    stage->redis = intel->redis;
    stage->ins = calloc(pipeline->workers_len, sizeof(*stage->ins));
    MUST(stage->ins != NULL);
    enum core_err err = core_bell_init(&stage->thread.bell, fail);
    for (; err == CORE_OK && stage->ins_len < pipeline->workers_len; stage->ins_len++) {
        err = core_queue_init(&stage->ins[stage->ins_len], pipeline->pool.len, &stage->thread.bell, fail);
    }
    struct enrich_env env = {.node = pipeline->node, .state_dir = pipeline->state, .counters = &pipeline->counters};
    if (err == CORE_OK) {
        err = enrich_open(&stage->enrich, &stage->conf, &stage->redis, &env, fail);
    }
    return err;
}

void pipeline_enrich_close(struct pipeline_enrich *stage) {
    enrich_close(stage->enrich); /* NULL when its thread has done so */
    ingest_input_release(&stage->own);
    free(stage->inputs);
    stage->own = (struct ingest_input){0};
    stage->inputs = NULL;
    stage->enrich = NULL;
    for (uint32_t i = 0; i < stage->ins_len; i++) {
        core_queue_destroy(&stage->ins[i]);
    }
    free(stage->ins);
    stage->ins = NULL;
    stage->ins_len = 0;
    core_bell_destroy(&stage->thread.bell);
}

/* ---- our own logs ---------------------------------------------------------------------------------------------------- */

static struct core_conf_list one_path(const char *state, const char *pattern) {
    struct core_conf_list list = {.items = calloc(1, sizeof(*list.items)), .len = 1};
    MUST(list.items != NULL);
    MUST(asprintf(&list.items[0].value, "%s/own/%s", state, pattern) > 0);
    return list;
}

/* A field of the config, once more. */
static void field_add(struct core_conf_list *fields, const char *key, const char *value, bool is_number) {
    fields->items = realloc(fields->items, (fields->len + 1) * sizeof(*fields->items));
    MUST(fields->items != NULL);
    struct core_conf_item *item = &fields->items[fields->len++];
    *item = (struct core_conf_item){.key = strdup(key), .value = strdup(value), .is_number = is_number};
    MUST(item->key != NULL && item->value != NULL);
}

static bool has_field(const struct core_conf_list *fields, const struct core_conf_item *wanted) {
    for (size_t i = 0; i < fields->len; i++) {
        const struct core_conf_item *item = &fields->items[i];
        if (strcmp(item->key, wanted->key) == 0) {
            return strcmp(item->value, wanted->value) == 0 && item->is_number == wanted->is_number;
        }
    }
    return false;
}

/* What our own documents say of where they come from: what the documents of all inputs say alike, and the node's name unless
 * observer.name is among that. */
static struct core_conf_list own_fields(const char *node, const struct config *config, bool wants_common) {
    struct core_conf_list fields = {0};
    bool is_named = false;
    for (size_t i = 0; wants_common && config->inputs_len > 0 && i < config->inputs[0].fields.len; i++) {
        const struct core_conf_item *item = &config->inputs[0].fields.items[i];
        bool is_common = true;
        for (size_t other = 1; other < config->inputs_len && is_common; other++) {
            is_common = has_field(&config->inputs[other].fields, item);
        }
        if (is_common) {
            field_add(&fields, item->key, item->value, item->is_number);
            is_named = is_named || strcmp(item->key, "observer.name") == 0;
        }
    }
    if (!is_named) {
        field_add(&fields, "observer.name", node, false);
    }
    return fields;
}

static enum core_err own_input(const struct pipeline *pipeline, const struct config *config, bool wants_common,
                               struct ingest_input *out, struct core_fail *fail) {
    *out = (struct ingest_input){.paths = one_path(pipeline->state, "*.log"),
                                 .archive = one_path(pipeline->state, "*.log.[0-9]"),
                                 .fields = own_fields(pipeline->node, config, wants_common)};
    enum core_err err = ingest_input_finish(out, fail);
    if (err != CORE_OK) {
        ingest_input_release(out);
    }
    out->origin.type = CORE_ORIGIN_TAPLINE;
    return err;
}

/* Something may be told, or an earlier run left something. */
static bool has_own_logs(const struct pipeline *pipeline, const struct config *config) {
    const struct config_intel *intel = &config->intel;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/own", pipeline->state);
    bool is_on = intel->conf.files.len > 0 || intel->redis.urls.len > 0;
    bool tells = looks_back(pipeline, intel) || counts_sightings(pipeline, intel);
    return (is_on && tells) || access(path, F_OK) == 0;
}

const struct ingest_input *pipeline_enrich_inputs(struct pipeline *pipeline, const struct config *config,
                                                  size_t *inputs_len) {
    struct pipeline_enrich *stage = &pipeline->enrich;
    if (!has_own_logs(pipeline, config)) {
        *inputs_len = config->inputs_len;
        return config->inputs;
    }
    struct ingest_input own;
    struct core_fail fail;
    if (own_input(pipeline, config, true, &own, &fail) != CORE_OK) { /* the name is one more than there is room for */
        MUST(own_input(pipeline, config, false, &own, &fail) == CORE_OK);
    }
    ingest_input_release(&stage->own);
    stage->own = own;
    free(stage->inputs);
    stage->inputs = calloc(config->inputs_len + 1, sizeof(*stage->inputs));
    MUST(stage->inputs != NULL);
    for (size_t i = 0; i < config->inputs_len; i++) {
        stage->inputs[i] = config->inputs[i];
    }
    stage->inputs[config->inputs_len] = own;
    *inputs_len = config->inputs_len + 1;
    return stage->inputs;
}

/* ---- the state ------------------------------------------------------------------------------------------------------ */

const char *pipeline_intel_word(enum enrich_state state) {
    static const char *const words[] = {[ENRICH_OFF] = "off",
                                        [ENRICH_BUILDING] = "building",
                                        [ENRICH_READY] = "ready",
                                        [ENRICH_STALE] = "stale",
                                        [ENRICH_UNAVAILABLE] = "unavailable"};
    MUST((size_t)state < sizeof(words) / sizeof(words[0]));
    return words[state];
}

/* One heading a state: the log folds what looks the same. */
static void state_log(const struct pipeline_enrich *stage) {
    const struct enrich_status *status = &stage->status;
    bool is_held = stage->conf.on_unavailable == ENRICH_WAIT;
    const char *events =
        is_held ? "are held until it is back" : "go on, those it may speak of marked labels.intel: unavailable";
    switch (status->state) {
    case ENRICH_BUILDING:
        core_log(CORE_LEVEL_INFO, "run", "intelligence is not there yet: the filter is being built", "%s", "");
        break;
    case ENRICH_READY:
        if (status->indicators == 0) {
            core_log(CORE_LEVEL_WARN, "run", "intelligence is ready, but there are no indicators: nothing can match",
                     "store=%s hint=\"the line before it names the store\"",
                     stage->redis.urls.len > 0 ? "redis" : "files");
            break;
        }
        core_log(CORE_LEVEL_INFO, "run", "intelligence is ready", "indicators=%llu filter_bytes=%zu build_ms=%lld",
                 (unsigned long long)status->indicators, status->filter_bytes,
                 (long long)(status->build_ns / CORE_NS_PER_MS));
        break;
    case ENRICH_STALE:
        core_log(CORE_LEVEL_WARN, "run",
                 "intelligence is stale: its changes have not come for longer than "
                 "intel.stale_after",
                 "events=\"%s\" behind_ms=%lld", events, (long long)(status->behind_ns / CORE_NS_PER_MS));
        break;
    case ENRICH_UNAVAILABLE:
        if (status->is_late) {
            core_log(CORE_LEVEL_WARN, "run", "intelligence is late: its store does not answer within intel.timeout",
                     "events=\"%s\" hint=\"raise intel.timeout, or see to Redis (SLOWLOG) and to the network\"",
                     events);
            break;
        }
        core_log(CORE_LEVEL_WARN, "run", "intelligence is missing: its store cannot be asked",
                 "events=\"%s\" hint=\"%s\"", events,
                 stage->redis.urls.len > 0 ? "see to Redis; tapline check --connect tells whether it is reached"
                                           : "see to intel.files");
        break;
    case ENRICH_OFF:
        MUST(!"a stage that is off has no thread");
    }
}

void pipeline_enrich_log(struct pipeline_enrich *stage) {
    if (stage->is_on) {
        atomic_store(&stage->wants_log, true);
        pipeline_poke(stage->thread.bell.fd);
    }
}

static void log_if_told(struct pipeline_enrich *stage) {
    struct enrich_status status;
    if (!atomic_exchange(&stage->wants_log, false)) {
        return;
    }
    enrich_status(stage->enrich, &status);
    core_log(CORE_LEVEL_INFO, "run", "intelligence",
             "state=%s indicators=%llu gone_since=%llu filter_bytes=%zu build_ms=%lld behind_ms=%lld",
             pipeline_intel_word(status.state), (unsigned long long)status.indicators, (unsigned long long)status.stale,
             status.filter_bytes, (long long)(status.build_ns / CORE_NS_PER_MS),
             status.behind_ns == INT64_MAX ? -1LL : (long long)(status.behind_ns / CORE_NS_PER_MS));
}

static void state_look(struct pipeline_enrich *stage, int64_t now) {
    enum enrich_state before = stage->status.state;
    stage->looked_tick = now;
    enrich_status(stage->enrich, &stage->status);
    atomic_store_explicit(&stage->state, (int)stage->status.state, memory_order_relaxed);
    if (!stage->is_told || stage->status.state != before) {
        state_log(stage);
        stage->is_told = true;
    }
}

/* ---- batches -------------------------------------------------------------------------------------------------------- */

static bool is_quitting(void *arg) {
    struct pipeline_enrich *stage = arg;
    return pipeline_phase_of(stage->pipeline) == PIPELINE_QUIT;
}

static bool has_work(void *arg) {
    struct pipeline_enrich *stage = arg;
    for (uint32_t i = 0; i < stage->ins_len; i++) {
        if (!core_queue_is_empty(&stage->ins[i])) {
            return true;
        }
    }
    return is_quitting(stage) || atomic_load(&stage->wants_log);
}

static struct core_batch *batch_next(struct pipeline_enrich *stage) {
    struct core_batch *batch = stage->held;
    for (uint32_t i = 0; i < stage->ins_len && batch == NULL; i++) {
        stage->ins_at = (stage->ins_at + 1) % stage->ins_len;
        batch = core_queue_pop(&stage->ins[stage->ins_at]);
    }
    return batch;
}

/* A ring means another batch, which can wait behind this one; or the end. */
static void again_wait(struct pipeline_enrich *stage) {
    int64_t until = core_tick_ns() + AGAIN_NS;
    int64_t left;
    while ((left = until - core_tick_ns()) > 0 && !is_quitting(stage)) {
        core_bell_wait(&stage->thread.bell, is_quitting, stage, (int)(left / CORE_NS_PER_MS) + 1);
    }
    stage->thread.meter.waited_ns += AGAIN_NS;
}

/* A stop while the first batch waits: no batch has passed, none will, so there is nothing that the stop could wait for. */
static void give_up(struct pipeline_enrich *stage) {
    if (!atomic_load(&stage->has_given_up)) {
        core_log(CORE_LEVEL_INFO, "run", "stopped before intelligence was there: no event has gone on",
                 "hint=\"what was read is read again after the next start\" waited_ms=%lld",
                 (long long)(stage->waited_ns / CORE_NS_PER_MS));
        atomic_store(&stage->has_given_up, true);
        pipeline_poke(stage->pipeline->control_fd);
    }
}

/* The filter has never been there, and may soon be. */
static bool is_too_early(struct pipeline_enrich *stage, int64_t now) {
    if (stage->has_begun) {
        return false;
    }
    if (atomic_load(&stage->has_given_up)) {
        return true;
    }
    struct enrich_status status;
    enrich_status(stage->enrich, &status);
    bool is_built = status.behind_ns != INT64_MAX;
    bool may_come = status.state == ENRICH_BUILDING || stage->pipeline->options.is_once;
    if (stage->came_tick == 0) {
        stage->came_tick = now;
    }
    stage->waited_ns = now - stage->came_tick;
    if (!is_built && pipeline_phase_of(stage->pipeline) != PIPELINE_RUNNING) {
        give_up(stage);
        return true;
    }
    if (!is_built && may_come && stage->waited_ns < stage->conf.start_wait_ns) {
        return true;
    }
    stage->has_begun = true;
    if (!is_built && stage->conf.on_unavailable == ENRICH_PASS) {
        core_log(CORE_LEVEL_WARN, "run",
                 "the first events go on without intelligence, marked labels.intel: unavailable",
                 "state=%s start_wait_ms=%lld", pipeline_intel_word(status.state),
                 (long long)(stage->conf.start_wait_ns / CORE_NS_PER_MS));
    }
    return false;
}

void *pipeline_enrich_main(void *arg) {
    struct pipeline_enrich *stage = arg;
    MUST(stage->magic == PIPELINE_ENRICH_MAGIC);
    struct pipeline *pipeline = stage->pipeline;
    struct pipeline_meter *meter = &stage->thread.meter;
    while (!is_quitting(stage)) {
        int64_t now = core_tick_ns();
        log_if_told(stage);
        enrich_tick(stage->enrich);
        if (!stage->is_told || now - stage->looked_tick >= LOOK_NS) {
            state_look(stage, now);
        }
        pipeline_show_enrich(stage, now);
        struct core_batch *batch = batch_next(stage);
        if (batch == NULL) {
            core_bell_wait(&stage->thread.bell, has_work, stage, SLEEP_MS);
            meter->waited_ns += core_tick_ns() - now;
            continue;
        }
        meter->in += stage->held == NULL ? batch->events_len : 0;
        if (batch->stamps[CORE_STAMP_ENRICH] == 0) {
            batch->stamps[CORE_STAMP_ENRICH] = core_tick_ns();
        }
        if (is_too_early(stage, now) || enrich_batch(stage->enrich, batch) != CORE_OK) {
            stage->held = batch;
            again_wait(stage);
            continue;
        }
        stage->held = NULL;
        batch->stamps[CORE_STAMP_ENRICHED] = core_tick_ns();
        meter->out += batch->events_len;
        meter->batches++;
        pipeline_passes(pipeline, PIPELINE_AT_ENRICHED, batch);
        core_queue_push(stage->out, batch);
    }
    enrich_status(stage->enrich, &stage->status);
    pipeline_show_enrich_last(stage);
    enrich_close(stage->enrich);
    stage->enrich = NULL;
    return pipeline_thread_end(pipeline, &stage->thread);
}
