/* cmd/spans.c: a sorted set of spans that do not touch, filled in nearly any order.
 *
 * Late-comers are kept apart until they are an eighth of the set (at least LATE_MIN), then sorted and merged from the back
 * in one pass: a span is moved about eight times in all, however many there are. A record whose bytes are there already
 * is found in that pass, and its bytes go to a second set, `twice`.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/spans.h"

#include <stdlib.h>

#define LATE_MIN 64
#define LATE_SHARE 8

static enum core_err make_room(struct span **items, size_t *cap, size_t want, struct core_fail *fail) {
    if (want <= *cap) {
        return CORE_OK;
    }
    size_t grown = want + want / 4 + LATE_MIN / 4;
    struct span *more = realloc(*items, grown * sizeof **items);
    if (more == NULL) {
        return core_fail_set(fail, CORE_LIMIT, "memory", "there is none for %zu spans of bytes that do not join",
                             grown);
    }
    *items = more;
    *cap = grown;
    return CORE_OK;
}

static int by_from(const void *a, const void *b) {
    const struct span *left = a;
    const struct span *right = b;
    if (left->from != right->from) {
        return left->from < right->from ? -1 : 1;
    }
    return left->end < right->end ? -1 : left->end > right->end;
}

/* Late-comers into their places; what joins is not joined yet. */
static void merge_from_back(struct spans *spans) {
    size_t one = spans->len;
    size_t late = spans->late_len;
    size_t to = one + late;
    while (late > 0) {
        bool is_late = one == 0 || by_from(&spans->late[late - 1], &spans->ones[one - 1]) >= 0;
        spans->ones[--to] = is_late ? spans->late[--late] : spans->ones[--one];
    }
    spans->len += spans->late_len;
    spans->late_len = 0;
}

static enum core_err twice_add(struct spans *spans, const struct span *a, const struct span *b,
                               struct core_fail *fail) {
    if (spans->is_flat) {
        return CORE_OK;
    }
    if (spans->twice == NULL) {
        spans->twice = calloc(1, sizeof *spans->twice);
        if (spans->twice == NULL) {
            return core_fail_set(fail, CORE_LIMIT, "memory", "there is none for bytes that came twice");
        }
        spans->twice->is_flat = true;
    }
    return spans_add(spans->twice, b->from, a->end < b->end ? a->end : b->end, b->from_s, fail);
}

enum core_err spans_settle(struct spans *spans, struct core_fail *fail) {
    MUST(spans != NULL);
    enum core_err err = make_room(&spans->ones, &spans->cap, spans->len + spans->late_len, fail);
    if (err != CORE_OK || spans->late_len == 0) {
        return err;
    }
    qsort(spans->late, spans->late_len, sizeof spans->late[0], by_from);
    merge_from_back(spans);
    size_t to = 0;
    for (size_t i = 1; i < spans->len; i++) {
        struct span *last = &spans->ones[to];
        const struct span *next = &spans->ones[i];
        if (next->from > last->end) {
            spans->ones[++to] = *next;
            continue;
        }
        if (next->from < last->end && err == CORE_OK) {
            err = twice_add(spans, last, next, fail);
        }
        if (next->end > last->end) {
            last->end = next->end;
            last->end_s = next->end_s;
        }
    }
    spans->len = to + 1;
    if (err == CORE_OK && spans->twice != NULL) {
        err = spans_settle(spans->twice, fail);
    }
    return err;
}

enum core_err spans_add(struct spans *spans, uint64_t from, uint64_t end, uint32_t time_s, struct core_fail *fail) {
    MUST(from < end);
    struct span *last = spans->late_len > 0 ? &spans->late[spans->late_len - 1] : NULL;
    if (last != NULL && last->end == from) { /* the common case where there is but one partition */
        last->end = end;
        last->end_s = time_s;
        return CORE_OK;
    }
    size_t share = spans->len / LATE_SHARE;
    if (spans->late_len >= (share > LATE_MIN ? share : LATE_MIN)) {
        enum core_err err = spans_settle(spans, fail);
        if (err != CORE_OK) {
            return err;
        }
    }
    enum core_err err = make_room(&spans->late, &spans->late_cap, spans->late_len + 1, fail);
    if (err == CORE_OK) {
        spans->late[spans->late_len++] = (struct span){from, end, time_s, time_s};
    }
    return err;
}

bool spans_gap(const struct spans *spans, uint64_t at, uint64_t until, struct span_gap *gap) {
    MUST(spans->late_len == 0);
    if (at >= until) {
        return false;
    }
    size_t low = 0; /* the first span that ends behind at */
    size_t high = spans->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (spans->ones[middle].end > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if (low < spans->len && spans->ones[low].from <= at) {
        at = spans->ones[low++].end;
        if (at >= until) {
            return false;
        }
    }
    const struct span *before = low > 0 ? &spans->ones[low - 1] : NULL;
    const struct span *after = low < spans->len ? &spans->ones[low] : NULL;
    gap->from = at;
    gap->end = after != NULL && after->from < until ? after->from : until;
    gap->before_s = before == NULL ? 0 : before->end_s;
    gap->after_s = after == NULL ? 0 : after->from_s;
    return true;
}

size_t spans_held(const struct spans *spans) {
    return spans->len + spans->late_len + (spans->twice == NULL ? 0 : spans_held(spans->twice));
}

void spans_release(struct spans *spans) {
    free(spans->ones);
    free(spans->late);
    if (spans->twice != NULL) {
        spans_release(spans->twice);
        free(spans->twice);
    }
    *spans = (struct spans){0};
}
