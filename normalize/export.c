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

struct walk {
    const struct normalize_outputs *outputs;
    const struct schema_field *field;
    char datasets[8192];
};

static void datasets_of(struct walk *walk) {
    size_t used = 0;
    walk->datasets[0] = '\0';
    for (size_t d = 0; d < walk->outputs->datasets_len; d++) {
        const struct dataset *dataset = &walk->outputs->datasets[d];
        for (size_t o = 0; o < dataset->outputs_len; o++) {
            if (dataset->outputs[o].schema == walk->field) {
                size_t len = strlen(dataset->name);
                MUST(used + len + 2 < sizeof(walk->datasets));
                used += (size_t)sprintf(walk->datasets + used, "%s%s", used == 0 ? "" : " ", dataset->name);
                break;
            }
        }
    }
}

void normalize_fields_walk(const struct normalize_maps *maps,
                           void (*on_field)(void *ctx, const struct normalize_field *field), void *ctx) {
    static const char *const many[SCHEMA_MANY__MAX] = {
        [SCHEMA_ONE] = "", [SCHEMA_LIST] = "list", [SCHEMA_ARRAY] = "array", [SCHEMA_EITHER] = "either"};
    struct walk *walk = calloc(1, sizeof(*walk));
    MUST(walk != NULL);
    struct normalize_outputs *outputs = outputs_new(maps, NULL, 0);
    walk->outputs = outputs;
    for (size_t i = 0; i < maps->schema_len; i++) {
        walk->field = &maps->schema[i];
        datasets_of(walk);
        struct normalize_field field = {.name = walk->field->name,
                                        .type = walk->field->word,
                                        .many = many[walk->field->many],
                                        .meaning = walk->field->meaning,
                                        .datasets = walk->datasets,
                                        .is_own = schema_is_own(core_span_of(walk->field->name))};
        on_field(ctx, &field);
    }
    outputs_free(outputs);
    free(walk);
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
