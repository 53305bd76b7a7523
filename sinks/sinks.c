/* sinks/sinks.c: the table of sinks. A new sink is one file and one row here.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/sinks_internal.h"

const struct sink_ops *const sink_table[] = {&sink_kafka, &sink_elasticsearch, &sink_file, &sink_stdout, NULL};

const struct sink_ops *sink_find(const char *name) {
    MUST(name != NULL);
    for (size_t i = 0; sink_table[i] != NULL; i++) {
        if (strcmp(sink_table[i]->name, name) == 0) {
            return sink_table[i];
        }
    }
    return NULL;
}

void sink_count_accepted(struct core_counters *counters, const struct core_batch *batch) {
    MUST(batch->magic == CORE_BATCH_MAGIC);
    uint64_t dead = 0;
    for (uint32_t i = 0; i < batch->events_len; i++) {
        dead += batch->events[i].is_dead ? 1 : 0;
    }
    core_count(counters, CORE_COUNT_SINK_ACCEPTED, batch->events_len - dead);
    core_count(counters, CORE_COUNT_SINK_DEAD, dead);
}
