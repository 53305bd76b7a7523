/* normalize/plan_internal.h: shared by plan.c (rows to ops), plan_leaves.c (names to places) and plan_fields.c (the
 * input's own fields), while one plan is made.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_NORMALIZE_PLAN_INTERNAL_H
#define TAPLINE_NORMALIZE_PLAN_INTERNAL_H

#include "normalize/normalize_internal.h"

#define NAME_BYTES_MAX 4096

enum taken { TAKEN = 1, TAKEN_SOMETIMES = 2 };

/* A leaf while the plan is made; its place in the output is known only at the end. */
struct draft {
    struct core_span name;
    uint32_t sources; /* rows that may write it at run time */
    bool is_list;
    bool is_written; /* by an op before the one that is being settled */
    bool is_constant;
    struct value constant;
    bool has_other; /* it is an object's name too: `other` takes its place in records that have both */
    uint16_t other;
    uint16_t place;
};

struct making {
    struct plan *plan;
    const struct plan_request *request;
    const struct log_row *log;
    struct core_span dataset_own; /* the dataset behind its first dot: what % stands for in a map */
    struct draft *drafts;
    size_t drafts_len;
    uint16_t *draft_index;
    size_t ops_cap;
    uint8_t *taken; /* per column: enum taken */
    bool is_full;   /* more leaves than LEAVES_MAX */
};

#define DRAFT_INDEX_CAP ((size_t)LEAVES_MAX * 2)

void *plan_alloc(struct plan *plan, size_t len); /* zeroed, in the plan's arena; never NULL */
struct core_span plan_text(struct plan *plan, struct core_span text);

/* plan_leaves.c */
struct core_span name_join(struct making *making, struct core_span head, struct core_span tail);
/* "zeek.%" with the log's own name in it. */
struct core_span percent_fill(struct making *making, struct core_span text, struct core_span fill);
struct draft *draft_find(struct making *making, struct core_span name, uint64_t *at);
/* The leaf of this name (`%` is the dataset's own part), made if there is none; LEAF_NONE when there are too many. */
uint16_t draft_leaf(struct making *making, struct core_span name);
/* The value as JSON text, so that writing it is one copy. */
struct value value_rendered(struct making *making, struct value value);
/* Settle constants, sort the leaves, give each its place and its opening text, and put the places where drafts' numbers
 * were. */
void leaves_settle(struct making *making);

/* observe.c: the places of the map's marks. */
void marks_draft(struct making *making);

/* plan_fields.c */
CORE_CHECKED bool fields_draft(struct making *making);

#endif
