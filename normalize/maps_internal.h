/* normalize/maps_internal.h: shared by maps.c (files and lines) and map.c (the rows of one map).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_NORMALIZE_MAPS_INTERNAL_H
#define TAPLINE_NORMALIZE_MAPS_INTERNAL_H

#include "normalize/normalize_internal.h"

#define MAPS_FILES_MAX 1024
#define MAPS_INCLUDE_DEPTH_MAX 4

struct maps_loader {
    struct normalize_maps *maps;
    const char *dir;
    struct core_conf_mistakes *mistakes;
};

/* A text file being read line by line. */
struct maps_file {
    struct maps_loader *loader;
    char path[512];
    struct core_span rest;
    struct core_span line;
    size_t line_number;
};

bool maps_file_open(struct maps_loader *loader, struct maps_file *file, const char *name);
bool maps_file_line(struct maps_file *file);
struct core_span maps_line_code(struct core_span line);
struct core_span maps_word(struct core_span *rest); /* len 0 at the end; ptr is where it would be */
struct core_span maps_trim(struct core_span text);
char *maps_text(struct maps_loader *loader, struct core_span text);
void *maps_alloc(struct maps_loader *loader, size_t len); /* zeroed */
void maps_mistake(struct maps_file *file, const char *at, const char *fmt, ...) CORE_PRINTF(3, 4);

/* The map of this name, read if it was not yet; NULL with mistakes. by/at: who asked, for the message. */
const struct map *map_load(struct maps_loader *loader, const char *name, struct maps_file *by, const char *at,
                           unsigned depth);

#endif
