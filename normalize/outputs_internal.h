/* normalize/outputs_internal.h: what documents the maps make: for each dataset every field that its documents may have.
 * Made once from the maps, for the exports (export_*.c). Nothing of the data path is here.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_NORMALIZE_OUTPUTS_INTERNAL_H
#define TAPLINE_NORMALIZE_OUTPUTS_INTERNAL_H

#include "normalize/normalize_internal.h"

/* A field of a dataset's documents. */
struct output {
    const char *name;                  /* a `%` is left only in the fields of a pattern's datasets */
    const struct schema_field *schema; /* NULL: of any type */
    const struct map *map;             /* the last that always writes it */
    size_t required_by;                /* how many of the dataset's maps do */
    bool is_required;
    bool is_keep;       /* an object below which any field may be */
    bool is_enrichment; /* written by no row, but where intelligence knows something of an observable */
};

/* One row of logs.table, or several of the same dataset. */
struct dataset {
    const char *name;  /* "zeek.connection"; "zeek.*" where the log's name is in it */
    const char *topic; /* "tapline.zeek.connection" */
    const char *own;   /* what % stands for: "connection", or "%" */
    bool is_pattern;
    const struct map **maps; /* room for all there are */
    size_t maps_len;
    struct output *outputs; /* sorted so that the members of an object stand together */
    size_t outputs_len;
    size_t outputs_cap;
};

struct normalize_outputs {
    const struct normalize_maps *maps;
    struct core_arena arena;
    struct dataset *datasets; /* sorted by name; the dead letters are one */
    size_t datasets_len;
};

/* open_fields: names that a config adds to documents, dotted. */
struct normalize_outputs *outputs_new(const struct normalize_maps *maps, const char *const *open_fields,
                                      size_t open_fields_len);
void outputs_free(struct normalize_outputs *outputs); /* takes NULL */

/* Dotted names in the order of a tree: a name, then all below it, then the next. */
int output_name_compare(const char *a, const char *b);

#endif
