/* normalize/export_elastic.c: the templates that Elasticsearch 8 or OpenSearch 2 index our documents by.
 *
 * A component template has the fields of ECS, which all documents share; an index template for each dataset is made of
 * that and of the dataset's own fields: an index with every product's fields would cost the engine megabytes of heap. A
 * field of schema.tsv has its type there. One that nobody named is never in conflict with itself: text, truth values and
 * whatever else may come are keywords, numbers are numbers, and no text is taken for a date. A value that its field cannot
 * have (Zeek counts up to 2^64-1, an engine's long ends at 2^63-1) costs the document that field's index, not the document.
 * Each file is the body of a PUT to the path that its name is (without .json).
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
            if (leaf != NULL && strcmp(leaf->schema->word, "nested") == 0) {
                export_string(json, "type", "nested");
            }
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

/* ECS's part of the schema as outputs. Owns: free(). */
static struct output *rows_of_ecs(const struct normalize_maps *maps, size_t *len) {
    struct output *rows = calloc(maps->schema_len + 1, sizeof(*rows));
    MUST(rows != NULL);
    *len = 0;
    for (size_t i = 0; i < maps->schema_len; i++) {
        if (!schema_is_own(core_span_of(maps->schema[i].name))) {
            rows[(*len)++] = (struct output){.name = maps->schema[i].name, .schema = &maps->schema[i]};
        }
    }
    qsort(rows, *len, sizeof(*rows), row_compare);
    return rows;
}

static bool has_type(const struct output *output, bool is_percent) {
    return output->schema != NULL && schema_is_own(core_span_of(output->name)) &&
           (strchr(output->name, '%') != NULL) == is_percent;
}

/* A dataset's own fields, but for names with `%`. They are sorted already. Owns: free(). */
static struct output *rows_of_own(const struct dataset *dataset, size_t *len) {
    struct output *rows = calloc(dataset->outputs_len + 1, sizeof(*rows));
    MUST(rows != NULL);
    *len = 0;
    for (size_t i = 0; i < dataset->outputs_len; i++) {
        if (has_type(&dataset->outputs[i], false)) {
            rows[(*len)++] = dataset->outputs[i];
        }
    }
    return rows;
}

static void meta_put(struct export_json *json, const char *about) {
    export_open(json, "_meta", '{');
    export_string(json, "managed_by", "tapline map export");
    export_string(json, "ecs_version", CORE_ECS_VERSION);
    export_string(json, "description", about);
    export_close(json, '}');
}

/* The engine's own maximum of 1,000 fields is checked against each template by itself, too. */
static void settings_put(struct export_json *json, size_t fields_max) {
    char limit[32];
    (void)snprintf(limit, sizeof(limit), "%zu", fields_max);
    export_open(json, "settings", '{');
    export_raw(json, "index.mapping.total_fields.limit", limit);
    export_raw(json, "index.mapping.ignore_malformed", "true");
    export_close(json, '}');
}

static void component_put(struct export_json *json, const struct normalize_outputs *outputs,
                          const struct engine *engine) {
    size_t len;
    struct output *rows = rows_of_ecs(outputs->maps, &len);
    export_open(json, NULL, '{');
    export_open(json, "template", '{');
    settings_put(json, len + FIELDS_ROOM);
    export_open(json, "mappings", '{');
    properties_put(json, engine, rows, len, 0);
    export_close(json, '}');
    export_close(json, '}');
    meta_put(json, "fields of the Elastic Common Schema");
    export_close(json, '}');
    free(rows);
}

/* ---- index templates ------------------------------------------------------------------------------------------------ */

static void dynamic_put(struct export_json *json, const char *name, const char *mapping_type, const char *mapping) {
    export_open(json, NULL, '{');
    export_open(json, name, '{');
    export_string(json, "match_mapping_type", mapping_type);
    export_raw(json, "mapping", mapping);
    export_close(json, '}');
    export_close(json, '}');
}

/* zeek.%.icmp.type: a field of every log of a product. */
static void percent_put(struct export_json *json, const struct output *output, const struct engine *engine) {
    char path[SCHEMA_NAME_BYTES_MAX];
    (void)snprintf(path, sizeof(path), "%s", output->name);
    *strchr(path, '%') = '*';
    export_open(json, NULL, '{');
    export_open(json, output->name, '{');
    export_string(json, "path_match", path);
    export_string(json, "match_mapping_type", "*");
    type_put(json, "mapping", output->schema->word, engine);
    export_close(json, '}');
    export_close(json, '}');
}

static void mappings_put(struct export_json *json, const struct dataset *dataset, const struct engine *engine) {
    size_t len;
    struct output *rows = rows_of_own(dataset, &len);
    export_open(json, "mappings", '{');
    export_raw(json, "date_detection", "false");
    export_raw(json, "numeric_detection", "false");
    export_open(json, "dynamic_templates", '[');
    for (size_t i = 0; i < dataset->outputs_len; i++) {
        if (has_type(&dataset->outputs[i], true) && !schema_has_members(dataset->outputs[i].schema)) {
            percent_put(json, &dataset->outputs[i], engine);
        }
    }
    dynamic_put(json, "kept_text", "string", "{\"type\": \"keyword\", \"ignore_above\": 1024}");
    dynamic_put(json, "kept_truth", "boolean", "{\"type\": \"keyword\", \"ignore_above\": 1024}");
    dynamic_put(json, "kept_whole_number", "long", "{\"type\": \"long\"}");
    dynamic_put(json, "kept_number", "double", "{\"type\": \"double\"}");
    export_close(json, ']');
    properties_put(json, engine, rows, len, 0);
    export_close(json, '}');
    free(rows);
}

/* Above the engine's own template for logs-*-*; the longer a pattern, the more it knows. */
static int priority_of(const struct dataset *dataset) {
    return dataset->is_pattern ? 300 + (int)strlen(dataset->name) : 1000;
}

static void index_put(struct export_json *json, const struct normalize_outputs *outputs, const struct dataset *dataset,
                      const struct engine *engine) {
    char text[SCHEMA_NAME_BYTES_MAX * 2];
    export_open(json, NULL, '{');
    (void)snprintf(text, sizeof(text), "[\"logs-%s-*\"]", dataset->name);
    export_raw(json, "index_patterns", text);
    (void)snprintf(text, sizeof(text), "%d", priority_of(dataset));
    export_raw(json, "priority", text);
    export_raw(json, "composed_of", "[\"tapline-ecs\"]");
    export_open(json, "template", '{');
    settings_put(json, outputs->maps->schema_len + FIELDS_ROOM);
    mappings_put(json, dataset, engine);
    export_close(json, '}');
    (void)snprintf(text, sizeof(text), "documents of %s", dataset->name);
    meta_put(json, text);
    export_close(json, '}');
}

/* "_index_template/tapline-zeek.dns.json"; names are lower case there. */
static void index_name(const struct dataset *dataset, char *out, size_t out_len) {
    size_t used = (size_t)snprintf(out, out_len, "_index_template/tapline-");
    for (const char *c = dataset->name; *c != '\0' && used + 16 < out_len; c++) {
        const char same[2] = {*c, '\0'};
        used += (size_t)snprintf(out + used, out_len - used, "%s", *c == '*' ? "_any" : same);
    }
    (void)snprintf(out + used, out_len - used, ".json");
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
    component_put(&json, outputs, engine);
    export_file(&json, request, "_component_template/tapline-ecs.json");
    for (size_t i = 0; i < outputs->datasets_len; i++) {
        char name[SCHEMA_NAME_BYTES_MAX * 2];
        index_put(&json, outputs, &outputs->datasets[i], engine);
        index_name(&outputs->datasets[i], name, sizeof(name));
        export_file(&json, request, name);
    }
    free(bytes);
}
