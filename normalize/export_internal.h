/* normalize/export_internal.h: JSON with a line for every member, for files that people compare.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_NORMALIZE_EXPORT_INTERNAL_H
#define TAPLINE_NORMALIZE_EXPORT_INTERNAL_H

#include "normalize/outputs_internal.h"

#define EXPORT_FILE_BYTES_MAX (16 * CORE_MIB) /* a schema of a hundred fields has 10 KiB */

struct export_json {
    struct core_buf buf;
    int depth;
    bool is_first; /* of its object or array */
};

/* key NULL: an element of an array, or the top. */
void export_open(struct export_json *json, const char *key, char bracket);
void export_close(struct export_json *json, char bracket);
void export_raw(struct export_json *json, const char *key, const char *text);
void export_string(struct export_json *json, const char *key, const char *text);

/* The outputs [from, to) have the same first `at` bytes: the next group of them that have the same next word, too.
 * Returns its end; *word is that word, and *leaf the output of just this name, or NULL. */
size_t export_group(const struct output *outputs, size_t from, size_t to, size_t at, struct core_span *word,
                    const struct output **leaf);

void export_elastic(const struct normalize_outputs *outputs, const struct normalize_export_request *request);
void export_schemas(const struct normalize_outputs *outputs, const struct normalize_export_request *request);

/* Hand a finished file over and begin anew. */
void export_file(struct export_json *json, const struct normalize_export_request *request, const char *name);

#endif
