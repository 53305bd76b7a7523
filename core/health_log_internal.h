/* core/health_log_internal.h: between the parts of the health log: when and where (health_log.c), what a line says
 * (health_line.c), the topic (health_topic.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_HEALTH_LOG_INTERNAL_H
#define TAPLINE_CORE_HEALTH_LOG_INTERNAL_H

#include "core/health_internal.h"

#define HEALTH_LINE_BYTES (32 * CORE_KIB) /* of a line at most */

enum health_line { HEALTH_LINE_START, HEALTH_LINE_INTERVAL, HEALTH_LINE_CHANGE, HEALTH_LINE_STOP };

/* What the line before had, for rates. */
struct health_before {
    int64_t tick_ns; /* 0: there was none */
    uint64_t read_bytes, records, accepted, dead;
    int64_t cpu_ns;
    uint64_t latency_count, latency_sum_us;
};

/* One JSON object without a newline. now_ns: the wall clock's. */
void health_line_write(const struct core_health *health, enum health_line why, int64_t now_ns,
                       struct health_before *before, struct core_buf *out);

/* ---- the topic ----------------------------------------------------------------------------------------------------------- */

struct health_topic;
/* NULL: there is none to be had (no brokers are known, or the section says so). Owns: health_topic_free(). */
struct health_topic *health_topic_new(const struct core_health *health);
/* Offer a line; one for which there is no room is counted, and is in the file alone. id: its record's number. Never waits. */
void health_topic_send(struct health_topic *topic, struct core_span line, uint64_t id);
/* Once a second: what is broken is made anew; the row's numbers and, if lines do not get through, a complaint. */
void health_topic_turn(struct health_topic *topic, struct core_health_page *page, struct core_health_row *row);
void health_topic_free(struct health_topic *topic); /* takes NULL; waits at most a second for what is under way */

#endif
