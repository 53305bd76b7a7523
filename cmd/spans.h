/* cmd/spans.h: which bytes of a generation records were made of: a sorted set of spans that do not touch.
 *
 * Spans come in nearly any order (a topic has partitions), and those that join become one, so a whole file is one span in
 * the end. A span costs 24 bytes while it joins none; the set is put in order when its late-comers are an eighth of it.
 * Thread: one at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_SPANS_H
#define TAPLINE_CMD_SPANS_H

#include "core/core.h"

/* Bytes [from, end). The times are when the records at its two ends were produced, in whole seconds since the epoch. */
struct span {
    uint64_t from;
    uint64_t end;
    uint32_t from_s;
    uint32_t end_s;
};

/* Zero it first. */
struct spans {
    struct span *ones; /* sorted, with a hole between any two; valid after spans_settle() */
    size_t len;
    struct span *late; /* came since, in any order */
    size_t late_len;
    size_t cap, late_cap;
    struct spans *twice; /* bytes that came more than once; NULL: none did */
    bool is_flat;        /* it is such a set itself: what overlaps in it is no news */
};

/* Add bytes [from, end), not none (MUST), of a record produced at time_s.
 * Errors: CORE_LIMIT no memory; the set is as it was. */
CORE_CHECKED enum core_err spans_add(struct spans *spans, uint64_t from, uint64_t end, uint32_t time_s,
                                     struct core_fail *fail);
/* Put all that came in order: call it before looking at ones or twice. Errors: CORE_LIMIT no memory. */
CORE_CHECKED enum core_err spans_settle(struct spans *spans, struct core_fail *fail);
/* The first hole in [at, until) of a settled set; false: there is none. before_s and after_s are the times of the
 * records on both sides, 0 where there is none in the set. For the next hole, go on at gap->end. */
struct span_gap {
    uint64_t from;
    uint64_t end;
    uint32_t before_s;
    uint32_t after_s;
};
bool spans_gap(const struct spans *spans, uint64_t at, uint64_t until, struct span_gap *gap);
/* Spans held, both kinds, for a limit on all sets together. */
size_t spans_held(const struct spans *spans);
void spans_release(struct spans *spans); /* zeroes it */

#endif
