/* normalize/export.c: what others need to know of our documents, told by the maps and the schema: see export_schema.c (JSON
 * Schemas) and export_elastic.c (templates of search engines). Here: the writer of JSON, and the walk over all fields that
 * the tables and the reference are made from. The output depends on the maps alone and is sorted, so that two of them can
 * be compared.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/export_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- JSON ---------------------------------------------------------------------------------------------------------------- */

static void line_begin(struct export_json *json, const char *key) {
    if (!json->is_first) {
        core_buf_char(&json->buf, ',');
    }
    if (json->depth > 0) {
        core_buf_char(&json->buf, '\n');
    }
    for (int i = 0; i < json->depth; i++) {
        core_buf_span(&json->buf, CORE_SPAN("  "));
    }
    json->is_first = false;
    if (key != NULL) {
        core_buf_string(&json->buf, core_span_of(key));
        core_buf_span(&json->buf, CORE_SPAN(": "));
    }
}

void export_open(struct export_json *json, const char *key, char bracket) {
    line_begin(json, key);
    core_buf_char(&json->buf, bracket);
    json->depth++;
    json->is_first = true;
}

void export_close(struct export_json *json, char bracket) {
    MUST(json->depth > 0);
    json->depth--;
    if (!json->is_first) {
        core_buf_char(&json->buf, '\n');
        for (int i = 0; i < json->depth; i++) {
            core_buf_span(&json->buf, CORE_SPAN("  "));
        }
    }
    core_buf_char(&json->buf, bracket);
    json->is_first = false;
}

void export_raw(struct export_json *json, const char *key, const char *text) {
    line_begin(json, key);
    core_buf_span(&json->buf, core_span_of(text));
}

void export_string(struct export_json *json, const char *key, const char *text) {
    line_begin(json, key);
    core_buf_string(&json->buf, core_span_of(text));
}

void export_file(struct export_json *json, const struct normalize_export_request *request, const char *name) {
    MUST(json->depth == 0);
    core_buf_char(&json->buf, '\n');
    MUST(!json->buf.is_full); /* EXPORT_FILE_BYTES_MAX */
    request->file(request->ctx, name, core_buf_written(&json->buf));
    json->buf.pos = json->buf.start;
    json->is_first = true;
}

size_t export_group(const struct output *outputs, size_t from, size_t to, size_t at, struct core_span *word,
                    const struct output **leaf) {
    MUST(from < to);
    const char *start = outputs[from].name + at;
    size_t len = strcspn(start, ".");
    size_t end = from;
    while (end < to && strncmp(outputs[end].name + at, start, len) == 0 &&
           (outputs[end].name[at + len] == '.' || outputs[end].name[at + len] == '\0')) {
        end++;
    }
    *word = (struct core_span){start, len};
    *leaf = start[len] == '\0' ? &outputs[from] : NULL;
    return end;
}

/* ---- all fields ---------------------------------------------------------------------------------------------------------- */

/* The datasets that have the field, between blanks. Owns: free(). */
static char *datasets_of(const struct normalize_outputs *outputs, const struct schema_field *field) {
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    MUST(out != NULL);
    for (size_t d = 0; d < outputs->datasets_len; d++) {
        const struct dataset *dataset = &outputs->datasets[d];
        for (size_t o = 0; o < dataset->outputs_len; o++) {
            if (dataset->outputs[o].schema == field) {
                (void)fprintf(out, "%s%s", ftell(out) == 0 ? "" : " ", dataset->name);
                break;
            }
        }
    }
    MUST(fclose(out) == 0); /* it writes to memory */
    return text;
}

void normalize_fields_walk(const struct normalize_maps *maps,
                           void (*on_field)(void *ctx, const struct normalize_field *field), void *ctx) {
    static const char *const many[SCHEMA_MANY__MAX] = {
        [SCHEMA_ONE] = "", [SCHEMA_LIST] = "list", [SCHEMA_ARRAY] = "array", [SCHEMA_EITHER] = "either"};
    struct normalize_outputs *outputs = outputs_new(maps, NULL, 0);
    for (size_t i = 0; i < maps->schema_len; i++) {
        const struct schema_field *row = &maps->schema[i];
        char *datasets = datasets_of(outputs, row);
        struct normalize_field field = {.name = row->name,
                                        .type = row->word,
                                        .many = many[row->many],
                                        .meaning = row->meaning,
                                        .datasets = datasets,
                                        .is_own = schema_is_own(core_span_of(row->name))};
        on_field(ctx, &field);
        free(datasets);
    }
    outputs_free(outputs);
}

void normalize_datasets_walk(const struct normalize_maps *maps,
                             void (*on_dataset)(void *ctx, const char *dataset, const char *ecs_fields), void *ctx) {
    struct normalize_outputs *outputs = outputs_new(maps, NULL, 0);
    for (size_t d = 0; d < outputs->datasets_len; d++) {
        const struct dataset *dataset = &outputs->datasets[d];
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);
        MUST(out != NULL);
        for (size_t o = 0; o < dataset->outputs_len; o++) {
            const struct output *output = &dataset->outputs[o];
            bool is_value = output->schema != NULL && !schema_has_members(output->schema) && !output->is_enrichment;
            if (is_value && !schema_is_own(core_span_of(output->name))) {
                (void)fprintf(out, " %s", output->name);
            }
        }
        MUST(fclose(out) == 0); /* it writes to memory */
        on_dataset(ctx, dataset->name, len > 0 ? text + 1 : text);
        free(text);
    }
    outputs_free(outputs);
}

/* ---- all observables ----------------------------------------------------------------------------------------------------- */

static bool dataset_marks(const struct dataset *dataset, const struct row_mark *mark) {
    for (size_t m = 0; m < dataset->maps_len; m++) {
        const struct map *map = dataset->maps[m];
        for (size_t r = 0; r < map->rows_len; r++) {
            for (size_t i = 0; i < map->rows[r].marks_len; i++) {
                const struct row_mark *have = &map->rows[r].marks[i];
                if (have->type == mark->type && core_span_eq(have->field, mark->field)) {
                    return true;
                }
            }
        }
    }
    return false;
}

static int mark_compare(const void *a, const void *b) {
    const struct row_mark *x = a;
    const struct row_mark *y = b;
    int order = strcmp(x->field.ptr, y->field.ptr);
    return order != 0 ? order : (int)x->type - (int)y->type;
}

/* The marks of all maps, sorted; the same may come again. Owns: free(). */
static struct row_mark *marks_of(const struct normalize_maps *maps, size_t *len) {
    size_t all = 0;
    for (size_t m = 0; m < maps->maps_len; m++) {
        for (size_t r = 0; r < maps->maps[m]->rows_len; r++) {
            all += maps->maps[m]->rows[r].marks_len;
        }
    }
    struct row_mark *marks = calloc(all + 1, sizeof(*marks));
    MUST(marks != NULL);
    *len = 0;
    for (size_t m = 0; m < maps->maps_len; m++) {
        for (size_t r = 0; r < maps->maps[m]->rows_len; r++) {
            const struct map_row *row = &maps->maps[m]->rows[r];
            memcpy(&marks[*len], row->marks, row->marks_len * sizeof(*marks));
            *len += row->marks_len;
        }
    }
    qsort(marks, *len, sizeof(*marks), mark_compare);
    return marks;
}

void normalize_observables_walk(const struct normalize_maps *maps,
                                void (*on_mark)(void *ctx, const char *field, const char *type, const char *datasets),
                                void *ctx) {
    struct normalize_outputs *outputs = outputs_new(maps, NULL, 0);
    size_t len;
    struct row_mark *marks = marks_of(maps, &len);
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && mark_compare(&marks[i - 1], &marks[i]) == 0) {
            continue;
        }
        char *text = NULL;
        size_t text_len = 0;
        FILE *out = open_memstream(&text, &text_len);
        MUST(out != NULL);
        for (size_t d = 0; d < outputs->datasets_len; d++) {
            if (dataset_marks(&outputs->datasets[d], &marks[i])) {
                (void)fprintf(out, "%s%s", ftell(out) == 0 ? "" : " ", outputs->datasets[d].name);
            }
        }
        MUST(fclose(out) == 0); /* it writes to memory */
        on_mark(ctx, marks[i].field.ptr, core_indicator_word((enum core_indicator)marks[i].type), text);
        free(text);
    }
    free(marks);
    outputs_free(outputs);
}

void normalize_export(const struct normalize_maps *maps, const struct normalize_export_request *request) {
    MUST(maps != NULL);
    MUST(request != NULL && request->file != NULL);
    struct normalize_outputs *outputs = outputs_new(maps, request->open_fields, request->open_fields_len);
    if (request->kind == NORMALIZE_EXPORT_JSON_SCHEMA) {
        export_schemas(outputs, request);
    } else {
        export_elastic(outputs, request);
    }
    outputs_free(outputs);
}
