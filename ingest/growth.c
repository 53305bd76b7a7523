/* ingest/growth.c: when which byte of a file was written: what the age of a lag is made of.
 *
 * Design: a file's size is looked at twice a second, and each size that is new is a point (size, time). A byte's time is on the
 * straight line between the two points around it. The list is bounded: when it is full the point goes whose going costs the
 * least, and the segment that is left remembers how wrong it may be, so that many small errors do not add up unseen. Points
 * before the first byte that is asked for are forgotten.
 *
 * What was there before the first look: its first byte is as old as the file's birth (of a .gz: its last write, if that is
 * older: gzip keeps it), or, where the file system tells no birth, as the file when it was first found; the rest is taken to
 * have come evenly until the last write.
 *
 * Times are core_tick_ns(), so that a step of the wall clock makes nothing older. Nothing is kept over a crash.
 * Thread: ingest's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <stdlib.h>

static int64_t at_line(const struct ingest_growth_point *a, const struct ingest_growth_point *b, uint64_t size) {
    if (b->size <= a->size) {
        return b->tick;
    }
    const double share = (double)(size - a->size) / (double)(b->size - a->size);
    return a->tick + (int64_t)(share * (double)(b->tick - a->tick));
}

static int64_t tick_apart(int64_t a, int64_t b) {
    return a < b ? b - a : a - b;
}

/* Forget the point whose going costs least; neither the first nor the last. */
static void thin(struct ingest_growth *growth) {
    struct ingest_growth_point *points = growth->points;
    size_t best = 1;
    int64_t best_error = INT64_MAX;
    for (size_t i = 1; i + 1 < growth->len; i++) {
        const int64_t own = tick_apart(at_line(&points[i - 1], &points[i + 1], points[i].size), points[i].tick);
        const int64_t left = points[i].error_ns;
        const int64_t right = points[i + 1].error_ns;
        const int64_t error = own + (left > right ? left : right);
        if (error < best_error) {
            best = i;
            best_error = error;
        }
    }
    points[best + 1].error_ns = best_error;
    memmove(&points[best], &points[best + 1], (growth->len - best - 1) * sizeof(*points));
    growth->len--;
}

static void add(struct ingest_growth *growth, uint64_t size, int64_t tick) {
    if (growth->len == INGEST_GROWTH_POINTS_MAX) {
        thin(growth);
    }
    growth->points[growth->len++] = (struct ingest_growth_point){.size = size, .tick = tick};
}

void ingest_growth_begin(struct ingest_growth *growth, uint64_t size, int64_t born_tick, int64_t wrote_tick,
                         int64_t now) {
    wrote_tick = wrote_tick < now ? wrote_tick : now;
    growth->len = 0;
    add(growth, 0, born_tick < wrote_tick ? born_tick : wrote_tick);
    if (size > 0) {
        add(growth, size, wrote_tick);
    }
    growth->same_tick = now;
}

void ingest_growth_see(struct ingest_growth *growth, uint64_t size, int64_t wrote_tick, int64_t now) {
    MUST(growth->len > 0);
    const struct ingest_growth_point last = growth->points[growth->len - 1];
    const int64_t same_tick = growth->same_tick;
    growth->same_tick = now;
    if (size == last.size) {
        return;
    }
    const int64_t when = wrote_tick < same_tick ? same_tick : wrote_tick > now ? now : wrote_tick;
    if (size < last.size) { /* truncated: all of it is newer than the last look */
        growth->len = 0;
        add(growth, 0, same_tick);
    } else if (same_tick > last.tick) {
        add(growth, last.size, same_tick); /* it stood still until then */
    }
    add(growth, size, when);
}

void ingest_growth_forget(struct ingest_growth *growth, uint64_t before) {
    size_t gone = 0;
    while (gone + 1 < growth->len && growth->points[gone + 1].size <= before) {
        gone++;
    }
    growth->len -= gone;
    memmove(growth->points, growth->points + gone, growth->len * sizeof(growth->points[0]));
}

int64_t ingest_growth_when(const struct ingest_growth *growth, uint64_t at) {
    MUST(growth->len > 0);
    size_t i = 0;
    while (i + 1 < growth->len && growth->points[i + 1].size <= at) {
        i++;
    }
    const struct ingest_growth_point *point = &growth->points[i];
    if (i + 1 == growth->len || at < point->size) {
        return point->tick;
    }
    return at_line(point, point + 1, at);
}
