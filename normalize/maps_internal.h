/* normalize/maps_internal.h: shared by maps.c (files and lines), schema.c (schema.tsv), map.c (the rows of one
 * map) and map_check.c (maps as a whole).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_NORMALIZE_MAPS_INTERNAL_H
#define TAPLINE_NORMALIZE_MAPS_INTERNAL_H

#include "normalize/normalize_internal.h"

#define MAPS_FILES_MAX 1024
#define MAPS_INCLUDE_DEPTH_MAX 4

/* Whose file: our own maps, or those that a site keeps beside them. */
enum maps_whose { MAPS_OURS, MAPS_SITE };

struct maps_loader {
    struct normalize_maps *maps;
    const char *dirs[2]; /* by enum maps_whose; MAPS_SITE is NULL where there are none */
    struct core_conf_mistakes *mistakes;
};

/* A text file being read line by line. */
struct maps_file {
    struct maps_loader *loader;
    char path[512];
    bool is_site;
    const char *map_name; /* NULL: it is no map */
    struct core_span rest;
    struct core_span line;
    size_t line_number;
};

bool maps_file_exists(const struct maps_loader *loader, enum maps_whose whose, const char *name);
bool maps_file_open(struct maps_loader *loader, struct maps_file *file, enum maps_whose whose, const char *name);
bool maps_file_line(struct maps_file *file);
struct core_span maps_line_code(struct core_span line);
struct core_span maps_word(struct core_span *rest); /* len 0 at the end; ptr is where it would be */
struct core_span maps_trim(struct core_span text);
size_t maps_lines_in(struct core_span text); /* at least 1 */
char *maps_text(struct maps_loader *loader, struct core_span text);
void *maps_alloc(struct maps_loader *loader, size_t len); /* zeroed */
/* "file:line:col" of a byte of the current line (NULL: its first). */
const char *maps_place(struct maps_file *file, const char *at);
void maps_mistake(struct maps_file *file, const char *at, const char *fmt, ...) CORE_PRINTF(3, 4);
/* The same with the place in words; one that was said already is not said again. */
void maps_mistake_at(struct maps_loader *loader, const char *place, const char *fmt, ...) CORE_PRINTF(3, 4);

/* schema.c: our schema.tsv, and the site's rows. */
void schema_load(struct maps_loader *loader);

/* derive_geo.c, derive_direction.c: what the config names beside the maps; NULL: nothing. */
struct geo_databases *geo_open(struct maps_loader *loader, const struct core_conf_list *paths);
void geo_close(struct geo_databases *geo); /* takes NULL */
struct networks *networks_open(struct maps_loader *loader, const struct normalize_conf *conf);
void networks_close(struct networks *networks); /* takes NULL */

/* mark.c: the words behind `observable` of a row's target, or behind a function. False: a mistake was said. */
bool mark_read(struct maps_file *file, struct core_span *rest, struct map_row *row, struct core_span field);
bool marks_read_derive(struct maps_file *file, struct core_span rest, struct map_row *row);

/* map_check.c: what is wrong with maps whose rows are each right. */
void maps_check_all(struct maps_loader *loader);

/* The map of this name, read if it was not yet; NULL with mistakes. by/at: who asked, for the message. */
const struct map *map_load(struct maps_loader *loader, const char *name, struct maps_file *by, const char *at,
                           unsigned depth);

#endif
