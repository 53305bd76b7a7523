/* cmd/pipeline_health.c: the pipeline's board (core/health.h): made before its threads, begun when they run, ended when they
 * have ended.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pipeline_internal.h"
#include "core/kafka.h"

#include <stdlib.h>

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
