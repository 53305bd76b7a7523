/* normalize/export_elastic.c: the templates that Elasticsearch 8 or OpenSearch 2 index our documents by.
 *
 * Two component templates, the fields of ECS and the products' own, and an index template that is made of both. A field
 * of schema.tsv has its type there. One that nobody named is never in conflict with itself: text, truth values and
 * whatever else may come are keywords, numbers are numbers that let malformed ones pass unindexed, and no text is taken
 * for a date. Each file is the body of a PUT to the path that its name is (without .json).
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/export_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define FIELDS_ROOM 2000 /* fields of one index that schema.tsv has not */

struct engine {
    const char *flattened; /* what this engine calls an object whose members are not mapped one by one */
};

/* The mapping of one type of schema.tsv. */
static void type_put(struct export_json *json, const char *key, const char *word, const struct engine *engine) {
    char text[128];
    if (strcmp(word, "keyword") == 0) {
        export_raw(json, key, "{\"type\": \"keyword\", \"ignore_above\": 1024}");
        return;
    }
    const char *type = strcmp(word, "text") == 0        ? "match_only_text"
                       : strcmp(word, "flattened") == 0 ? engine->flattened
                                                        : word;
    (void)snprintf(text, sizeof(text), "{\"type\": \"%s\"}", type);
    export_raw(json, key, text);
}

static void properties_put(struct export_json *json, const struct engine *engine, const struct output *outputs,
                           size_t len, size_t at) {
    export_open(json, "properties", '{');
    for (size_t i = 0; i < len;) {
        struct core_span word;
        const struct output *leaf;
        char key[SCHEMA_NAME_BYTES_MAX];
        size_t end = export_group(outputs, i, len, at, &word, &leaf);
        size_t below = i + (leaf == NULL ? 0 : 1);
        (void)snprintf(key, sizeof(key), "%.*s", (int)word.len, word.ptr);
        if (below == end) {
            type_put(json, key, leaf->schema->word, engine);
        } else {
            export_open(json, key, '{');
            properties_put(json, engine, outputs + below, end - below, at + word.len + 1);
            export_close(json, '}');
        }
        i = end;
    }
    export_close(json, '}');
}

static int row_compare(const void *a, const void *b) {
    return output_name_compare(((const struct output *)a)->name, ((const struct output *)b)->name);
}

/* The rows of the schema as outputs: those of ECS or the own ones, but for names with `%`. Owns: free(). */
static struct output *rows_of(const struct normalize_maps *maps, bool is_own, size_t *len) {
    struct output *rows = calloc(maps->schema_len + 1, sizeof(*rows));
    MUST(rows != NULL);
    *len = 0;
    for (size_t i = 0; i < maps->schema_len; i++) {
        const struct schema_field *field = &maps->schema[i];
        if (schema_is_own(core_span_of(field->name)) == is_own && strchr(field->name, '%') == NULL) {
            rows[(*len)++] = (struct output){.name = field->name, .schema = field};
        }
    }
    qsort(rows, *len, sizeof(*rows), row_compare);
    return rows;
}

static void meta_put(struct export_json *json, const char *about) {
    export_open(json, "_meta", '{');
    export_string(json, "managed_by", "tapline map export");
    export_string(json, "ecs_version", CORE_ECS_VERSION);
    export_string(json, "description", about);
    export_close(json, '}');
}

static void component_put(struct export_json *json, const struct normalize_outputs *outputs, bool is_own,
                          const struct engine *engine) {
    size_t len;
    struct output *rows = rows_of(outputs->maps, is_own, &len);
    export_open(json, NULL, '{');
    export_open(json, "template", '{');
    export_open(json, "mappings", '{');
    properties_put(json, engine, rows, len, 0);
    export_close(json, '}');
    export_close(json, '}');
    meta_put(json, is_own ? "fields of Zeek, Snort, Suricata and tapline" : "fields of the Elastic Common Schema");
    export_close(json, '}');
    free(rows);
}

/* ---- the index template ------------------------------------------------------------------------------------------------ */

static void dynamic_put(struct export_json *json, const char *name, const char *mapping_type, const char *mapping) {
    export_open(json, NULL, '{');
    export_open(json, name, '{');
    export_string(json, "match_mapping_type", mapping_type);
    export_raw(json, "mapping", mapping);
    export_close(json, '}');
    export_close(json, '}');
}

/* zeek.%.icmp.type: a field of every log of a product. */
static void percent_put(struct export_json *json, const struct schema_field *field, const struct engine *engine) {
    char path[SCHEMA_NAME_BYTES_MAX];
    (void)snprintf(path, sizeof(path), "%s", field->name);
    *strchr(path, '%') = '*';
    export_open(json, NULL, '{');
    export_open(json, field->name, '{');
    export_string(json, "path_match", path);
    export_string(json, "match_mapping_type", "*");
    type_put(json, "mapping", field->word, engine);
    export_close(json, '}');
    export_close(json, '}');
}

static void mappings_put(struct export_json *json, const struct normalize_maps *maps, const struct engine *engine) {
    export_open(json, "mappings", '{');
    export_raw(json, "date_detection", "false");
    export_raw(json, "numeric_detection", "false");
    export_open(json, "dynamic_templates", '[');
    for (size_t i = 0; i < maps->schema_len; i++) {
        bool is_leaf = strcmp(maps->schema[i].word, "object") != 0;
        if (is_leaf && strchr(maps->schema[i].name, '%') != NULL) {
            percent_put(json, &maps->schema[i], engine);
        }
    }
    dynamic_put(json, "kept_text", "string", "{\"type\": \"keyword\", \"ignore_above\": 1024}");
    dynamic_put(json, "kept_truth", "boolean", "{\"type\": \"keyword\", \"ignore_above\": 1024}");
    dynamic_put(json, "kept_whole_number", "long", "{\"type\": \"long\", \"ignore_malformed\": true}");
    dynamic_put(json, "kept_number", "double", "{\"type\": \"double\", \"ignore_malformed\": true}");
    export_close(json, ']');
    export_close(json, '}');
}

static void index_put(struct export_json *json, const struct normalize_outputs *outputs, const struct engine *engine) {
    char limit[32];
    (void)snprintf(limit, sizeof(limit), "%zu", outputs->maps->schema_len * 2 + FIELDS_ROOM);
    export_open(json, NULL, '{');
    export_raw(json, "index_patterns", "[\"logs-zeek.*\", \"logs-snort.*\", \"logs-suricata.*\", \"logs-tapline.*\"]");
    export_raw(json, "priority", "300"); /* above that of the engine's own template for logs-*-* */
    export_raw(json, "composed_of", "[\"tapline-ecs\", \"tapline-own\"]");
    export_open(json, "template", '{');
    export_open(json, "settings", '{');
    export_raw(json, "index.codec", "\"best_compression\"");
    export_raw(json, "index.mapping.total_fields.limit", limit);
    export_close(json, '}');
    mappings_put(json, outputs->maps, engine);
    export_close(json, '}');
    meta_put(json, "documents of tapline");
    export_close(json, '}');
}

void export_elastic(const struct normalize_outputs *outputs, const struct normalize_export_request *request) {
    static const struct engine engines[] = {
        [NORMALIZE_EXPORT_ELASTICSEARCH] = {.flattened = "flattened"},
        [NORMALIZE_EXPORT_OPENSEARCH] = {.flattened = "flat_object"},
    };
    MUST(request->kind < sizeof(engines) / sizeof(engines[0]));
    const struct engine *engine = &engines[request->kind];
    char *bytes = malloc(EXPORT_FILE_BYTES_MAX);
    MUST(bytes != NULL);
    struct export_json json = {.buf = {.start = bytes, .pos = bytes, .end = bytes + EXPORT_FILE_BYTES_MAX},
                               .is_first = true};
    component_put(&json, outputs, false, engine);
    export_file(&json, request, "_component_template/tapline-ecs.json");
    component_put(&json, outputs, true, engine);
    export_file(&json, request, "_component_template/tapline-own.json");
    index_put(&json, outputs, engine);
    export_file(&json, request, "_index_template/tapline.json");
    free(bytes);
}
