/* core/health_rules_internal.h: between the engine of rules (health_rules.c) and their table (health_rules_table.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_HEALTH_RULES_INTERNAL_H
#define TAPLINE_CORE_HEALTH_RULES_INTERNAL_H

#include "core/health_internal.h"

#define HEALTH_TEXT_BYTES 1024
#define HEALTH_PARTS 6 /* of a window of time */

/* What a rule remembers of a row from turn to turn. Forgotten when the rule does not ask for it in a turn. */
struct health_memory {
    uint64_t key;
    bool is_new;
    bool is_asked;                    /* in this turn */
    int64_t since_ns;                 /* the rule's own; 0 at first */
    int64_t part_ns;                  /* when the newest part of the window began */
    int64_t counts[HEALTH_PARTS + 1]; /* what was counted at the beginnings of the parts, the newest first */
};

/* A row (or, of a kind that there is one row of, the process) as a rule looks at it. Times: now_ns is the wall clock's, tick_ns
 * the monotonic one. */
struct health_look {
    const struct core_health *health;
    const struct core_health_row *row;
    int64_t now_ns;
    int64_t tick_ns;
    const char
        *labels[CORE_HEALTH_LABELS_MAX]; /* the row's; a rule about several rows blanks those that tell them apart */
    int64_t since_ns;                    /* 0: since it is noticed; a rule may know better */
    char *text;                          /* HEALTH_TEXT_BYTES */
    struct core_health_rules *rules;
    size_t rule;
};

struct health_rule {
    const char *code;
    enum core_health_severity severity;
    bool stops;                 /* while it lasts, the process does not do what it is there for: /readyz says 503 */
    enum core_health_kind kind; /* of the rows that is_wrong looks at */
    bool (*is_wrong)(
        struct health_look *look); /* writes look->text; NULL: threads complain of it, rows do not show it */
    const char *covered_by;        /* codes: a complaint of one of them about the same row says it better; NULL: none */
    const char *meaning;
    const char *help;
};
extern const struct health_rule health_rules[];
extern const size_t health_rules_len;

/* This rule's memory of this row; NULL: there are too many. */
struct health_memory *health_remember(struct health_look *look);
/* Has it been so for as long, in a row of turns? */
bool health_lasts(struct health_look *look, bool is_so, int64_t for_ns);
/* By how much the count has grown within the last window_ns (up to a sixth more). start: what it was before it was seen first. */
int64_t health_grown(struct health_look *look, int64_t count, int64_t start, int64_t window_ns);
void health_say(struct health_look *look, const char *fmt, ...) CORE_PRINTF(2, 3);
/* "48 ms", "12 s", "3 min 20 s", "2 h 5 min", "3 d 4 h". */
const char *health_age(char out[32], int64_t ns);
const char *health_bytes(char out[32], int64_t bytes); /* "812 bytes", "1.2 MiB" */

#endif
