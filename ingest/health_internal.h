/* ingest/health_internal.h: what ingest keeps so that it can tell how it is: growth.c, health.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_INGEST_HEALTH_INTERNAL_H
#define TAPLINE_INGEST_HEALTH_INTERNAL_H

#include "core/core.h"

struct ingest;
struct ingest_file;

/* ---- growth.c: when which byte was written ---------------------------------------------------------------------------------- */

#define INGEST_GROWTH_POINTS_MAX 64

struct ingest_growth {
    size_t len;
    struct ingest_growth_point {
        uint64_t size;
        int64_t tick;     /* when the file became so long, or was last so long */
        int64_t error_ns; /* how wrong the line from the point before may be */
    } points[INGEST_GROWTH_POINTS_MAX];
    int64_t same_tick;   /* the last look: it had the size of the last point then */
    double packed_share; /* of a .gz: packed bytes for an unpacked one, as far as it was read */
};
/* A first look. born_tick: when its first byte may have come; wrote_tick: when its last one did. */
void ingest_growth_begin(struct ingest_growth *growth, uint64_t size, int64_t born_tick, int64_t wrote_tick,
                         int64_t now);
void ingest_growth_see(struct ingest_growth *growth, uint64_t size, int64_t wrote_tick, int64_t now);
/* Nobody asks for bytes before this one any more. */
void ingest_growth_forget(struct ingest_growth *growth, uint64_t before);
/* When the byte at this place came, core_tick_ns(). */
int64_t ingest_growth_when(const struct ingest_growth *growth, uint64_t at);

/* ---- health.c ----------------------------------------------------------------------------------------------------------------- */

#define INGEST_ROTATED_MAX 1024 /* names whose rotations are counted */

struct ingest_health {
    struct ingest_rotated {
        char *path;
        uint64_t count;
        int64_t tick; /* of the last one */
    } rotated[INGEST_ROTATED_MAX];
    size_t rotated_len;
    void *entries; /* room that is used again */
    size_t entries_cap;
    char state_trouble[256]; /* why the checkpoint was not written */
    int64_t opened_tick;
    int64_t waited_ns; /* in all */
};
/* Its name began anew: it was renamed away, removed or truncated. */
void ingest_health_rotated(struct ingest *ingest, const struct ingest_file *file);
/* Why it cannot be read; NULL: it can. */
void ingest_health_trouble(struct ingest_file *file, const char *text);
/* Other bytes are in it from now on; what is known of those it had goes to the orphan, if there is one. */
void ingest_health_replaced(struct ingest_file *file, struct ingest_file *orphan);
void ingest_health_close(struct ingest *ingest);

#endif
