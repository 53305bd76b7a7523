/* cmd/pipeline_health.c: the pipeline's board (core/health.h): made before its threads, begun when they run, ended when they
 * have ended.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pipeline_internal.h"
#include "core/kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- how the topic's brokers are reached ------------------------------------------------------------------------------- */

/* What comes later wins: librdkafka takes the last value of a key. */
static size_t pairs_add(struct core_kafka_pair *pairs, size_t len, const struct core_conf_list *list) {
    for (size_t i = 0; i < list->len; i++) {
        pairs[len++] = (struct core_kafka_pair){.key = list->items[i].key, .value = list->items[i].value};
    }
    return len;
}

/* Brokers of the kafka sink, or those the feeder reads from, and over them what the section says itself. */
static struct core_kafka_pair *pairs_make(const struct config *config, size_t *len) {
    struct sink_kafka_places places = {0};
    for (size_t i = 0; i < config->sinks_len && places.pairs_len == 0; i++) {
        if (strcmp(config->sinks[i].ops->name, "kafka") == 0) {
            enum core_err err = sink_kafka_places(config->sinks[i].conf, &places);
            MUST(err == CORE_OK || err == CORE_GONE);
        }
    }
    const struct core_conf_list *feed = &config->feed.rdkafka;
    const struct core_conf_list *own = &config->health.rdkafka;
    struct core_kafka_pair *pairs = calloc(places.pairs_len + feed->len + own->len + 1, sizeof(*pairs));
    MUST(pairs != NULL);
    *len = 0;
    if (places.pairs_len > 0) {
        memcpy(pairs, places.pairs, places.pairs_len * sizeof(*pairs));
        *len = places.pairs_len;
    } else {
        *len = pairs_add(pairs, *len, feed);
    }
    sink_kafka_places_release(&places);
    *len = pairs_add(pairs, *len, own);
    return pairs;
}

/* ---- the board ----------------------------------------------------------------------------------------------------------- */

void pipeline_health_open(struct pipeline *pipeline) {
    size_t pairs_len = 0;
    struct core_kafka_pair *pairs = pairs_make(pipeline->config, &pairs_len);
    const struct core_health_env env = {.process = pipeline->source->stage,
                                        .instance = pipeline->instance,
                                        .node = pipeline->node,
                                        .state = pipeline->state,
                                        .version = TAPLINE_VERSION,
                                        .loop = pipeline->loop,
                                        .counters = &pipeline->counters,
                                        .conf = &pipeline->config->health,
                                        .kafka = pairs,
                                        .kafka_len = pairs_len};
    pipeline->health = core_health_new(&env);
    free(pairs);
}

void pipeline_health_begin(struct pipeline *pipeline) {
    core_health_begin_serving(pipeline->health);
    pipeline_control_begin(pipeline);
}

void pipeline_health_end(struct pipeline *pipeline) {
    pipeline_control_end(pipeline);
    core_health_free(pipeline->health);
    pipeline->health = NULL;
}

/* ---- pages ----------------------------------------------------------------------------------------------------------------- */

static void meter_open(struct pipeline *pipeline, struct pipeline_thread *thread, const char *owner) {
    thread->meter = (struct pipeline_meter){
        .page = core_health_page_new(pipeline->health, owner), .begun_tick = core_tick_ns(), .is_stale = true};
}

void pipeline_pages_open(struct pipeline *pipeline) {
    pipeline_notes_open(pipeline);
    meter_open(pipeline, &pipeline->ingest_thread, "ingest");
    for (uint32_t i = 0; i < pipeline->workers_len; i++) {
        meter_open(pipeline, &pipeline->workers[i].thread, "normalize");
    }
    if (pipeline->enrich.is_on) {
        meter_open(pipeline, &pipeline->enrich.thread, "enrich");
    }
    for (uint32_t i = 0; i < pipeline->sinks_len; i++) {
        meter_open(pipeline, &pipeline->sinks[i].thread, pipeline->sinks[i].ops->name);
    }
}

static bool is_due(const struct pipeline_meter *meter, int64_t now) {
    return now >= meter->due_tick;
}

/* However much there is to show, showing takes no more than a fiftieth of the thread's time. */
static void publish(struct pipeline_meter *meter, int64_t begun) {
    core_health_publish(meter->page);
    int64_t now = core_tick_ns();
    int64_t rest_ns = (now - begun) * 50;
    meter->due_tick = now + (rest_ns > CORE_HEALTH_EVERY_NS ? rest_ns : CORE_HEALTH_EVERY_NS);
    meter->is_stale = false;
}

static struct core_health_row *stage_add(const struct pipeline *pipeline, struct pipeline_meter *meter,
                                         const char *stage, const char *worker, int64_t now) {
    struct core_health_row *row = core_health_add(meter->page, CORE_HEALTH_STAGE, stage, worker, NULL);
    core_health_set(row, CORE_STAGE_IN, (int64_t)meter->in);
    core_health_set(row, CORE_STAGE_OUT, (int64_t)meter->out);
    core_health_set(row, CORE_STAGE_BATCHES, (int64_t)meter->batches);
    core_health_set(row, CORE_STAGE_BUSY, now - meter->begun_tick - meter->waited_ns);
    core_health_set(row, CORE_STAGE_QUEUE_CAP, pipeline->pool.len);
    return row;
}

static int64_t queued_in(struct core_queue *queues, uint32_t len) {
    int64_t sum = 0;
    for (uint32_t i = 0; i < len; i++) {
        sum += core_queue_len(&queues[i]);
    }
    return sum;
}

/* Of this thread. */
static int64_t cpu_ns(void) {
    struct timespec used;
    MUST(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0);
    return used.tv_sec * CORE_NS_PER_S + used.tv_nsec;
}

void pipeline_show_ingest(struct pipeline *pipeline, int64_t now) {
    struct pipeline_meter *meter = &pipeline->ingest_thread.meter;
    if (!is_due(meter, now)) {
        return;
    }
    const struct pipeline_source *source = pipeline->source;
    meter->in = core_counted(&pipeline->counters, source->records);
    meter->batches = pipeline->pushed;
    meter->waited_ns = source->waited_ns != NULL ? source->waited_ns(pipeline) : now - meter->begun_tick - cpu_ns();
    core_health_begin(meter->page);
    struct core_health_row *row = stage_add(pipeline, meter, "ingest", "", now);
    core_health_set(row, CORE_STAGE_QUEUED, queued_in(&pipeline->returns, 1));
    if (source->health != NULL) {
        source->health(pipeline, meter->page);
    }
    pipeline_notes_show(pipeline, meter->page);
    publish(meter, now);
}

void pipeline_show_worker(struct pipeline_worker *worker, int64_t now) {
    struct pipeline_meter *meter = &worker->thread.meter;
    if (!is_due(meter, now) || !meter->is_stale) {
        return;
    }
    char name[24];
    (void)snprintf(name, sizeof(name), "%td", worker - worker->pipeline->workers);
    core_health_begin(meter->page);
    struct core_health_row *row = stage_add(worker->pipeline, meter, "normalize", name, now);
    core_health_set(row, CORE_STAGE_QUEUED, queued_in(&worker->in, 1));
    core_health_set(row, CORE_STAGE_HELD, 0); /* it shows itself between two batches */
    publish(meter, now);
}

static void enrich_show(struct pipeline_enrich *stage, int64_t now, bool is_last) {
    struct pipeline_meter *meter = &stage->thread.meter;
    core_health_begin(meter->page);
    struct core_health_row *row = stage_add(stage->pipeline, meter, "enrich", "", now);
    core_health_set(row, CORE_STAGE_QUEUED, queued_in(stage->ins, stage->ins_len));
    core_health_set(row, CORE_STAGE_HELD, stage->held == NULL ? 0 : 1);
    if (!is_last) {
        enrich_health(stage->enrich, meter->page);
    }
    publish(meter, now);
}

void pipeline_show_enrich(struct pipeline_enrich *stage, int64_t now) {
    if (is_due(&stage->thread.meter, now)) {
        enrich_show(stage, now, false);
    }
}

void pipeline_show_enrich_last(struct pipeline_enrich *stage) {
    enrich_show(stage, core_tick_ns(), true);
}

static void sink_show(struct pipeline_sink *sink, int64_t now, bool is_last) {
    struct pipeline_meter *meter = &sink->thread.meter;
    core_health_begin(meter->page);
    struct core_health_row *row = stage_add(sink->pipeline, meter, sink->ops->name, "", now);
    core_health_set(row, CORE_STAGE_QUEUED, queued_in(sink->ins, sink->ins_len));
    core_health_set(row, CORE_STAGE_HELD, (int64_t)sink->held + (sink->offered != NULL ? 1 : 0));
    row = core_health_add(meter->page, CORE_HEALTH_SINK, sink->ops->name, NULL, NULL);
    core_health_set(row, CORE_SINK_IN_FLIGHT, (int64_t)sink->in_flight);
    sink->shows_waiting = sink->waiting_tick != 0;
    core_health_set(row, CORE_SINK_STALLED_SINCE, sink->shows_waiting ? core_now_ns() - (now - sink->waiting_tick) : 0);
    core_health_set(row, CORE_SINK_ACCEPTED, (int64_t)sink->accepted);
    int up = sink->ops->is_up == NULL || is_last ? -1 : sink->ops->is_up(sink->sink);
    core_health_set(row, CORE_SINK_UP, up < 0 ? CORE_HEALTH_UNKNOWN : up);
    if (row != NULL) {
        row->histogram = &sink->latency;
    }
    if (!is_last && sink->ops->health != NULL) {
        sink->ops->health(sink->sink, meter->page);
    }
    publish(meter, now);
}

void pipeline_show_sink(struct pipeline_sink *sink, int64_t now) {
    if (is_due(&sink->thread.meter, now)) {
        sink_show(sink, now, false);
    }
}

void pipeline_show_sink_waiting(struct pipeline_sink *sink, int64_t now) {
    if (sink->waiting_tick == 0) {
        sink->waiting_tick = now;
    }
    if (!sink->shows_waiting) {
        sink_show(sink, now, false);
    }
}

void pipeline_show_sink_last(struct pipeline_sink *sink) {
    sink_show(sink, core_tick_ns(), true);
}
