/* normalize/export_elastic.c: the templates that Elasticsearch 8 or OpenSearch 2 index our documents by.
 *
 * A component template has the fields of ECS, which all documents share, another what a site decides for all (shards,
 * replicas); an index template for each dataset is made of those and of the dataset's own fields: an index with every
 * product's fields would cost the engine megabytes of heap. One template more is for documents of datasets that no map
 * knows: without it, they would get an engine's own template for logs-*-*, which makes data streams.
 *
 * A field of schema.tsv has its type there. One that nobody named is never in conflict with itself: text, truth values and
 * whatever else may come are keywords, numbers are numbers, and no text is taken for a date. A value that its field cannot
 * have (Zeek counts up to 2^64-1, an engine's long ends at 2^63-1) costs the document that field's index, not the document.
 *
 * Indices are named logs-DATASET-NAMESPACE-PERIOD by whoever writes them (sinks/elastic.c): no rollover, so that a record
 * that is sent twice meets itself. With data streams, which are logs-DATASET-NAMESPACE, the engine names them.
 * Aliases (tapline, tapline-zeek, tapline-zeek.dns) do not begin with logs-: a data stream may have that name already.
 *
 * Each file is the body of a PUT to the path that its name is (without .json). Its _meta says that it is ours, which version,
 * and a hash of the rest.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/export_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define FIELDS_ROOM 2000       /* fields of one index that schema.tsv has not */
#define DEPTH_MAX "20"         /* of objects in objects; the engines' own default, said */
#define NAME_LENGTH_MAX "1024" /* of a field's name; the engines have no limit below Lucene's, whose error is obscure */

#define PRIORITY_ANY 200     /* above the engine's own template for logs-*-* (100) */
#define PRIORITY_PATTERN 300 /* and more, the longer a pattern is */
#define PRIORITY_EXACT 1000

struct engine {
    const char *flattened; /* what this engine calls an object whose members are not mapped one by one */
    const struct normalize_export_site *site;
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

/* What the feeder adds to each document: which data stream it would be in. Keywords, not constants of their index: a dataset
 * that differs from another only in what an index's name cannot say shares its index. */
static const struct schema_field stream_fields[] = {
    {.name = "data_stream.dataset", .word = "keyword"},
    {.name = "data_stream.namespace", .word = "keyword"},
    {.name = "data_stream.type", .word = "keyword"},
};
#define STREAM_FIELDS_LEN (sizeof(stream_fields) / sizeof(stream_fields[0]))

/* ECS's part of the schema as outputs. Owns: free(). */
static struct output *rows_of_ecs(const struct normalize_maps *maps, size_t *len) {
    struct output *rows = calloc(maps->schema_len + STREAM_FIELDS_LEN, sizeof(*rows));
    MUST(rows != NULL);
    *len = 0;
    for (size_t i = 0; i < STREAM_FIELDS_LEN; i++) {
        rows[(*len)++] = (struct output){.name = stream_fields[i].name, .schema = &stream_fields[i]};
    }
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

uint64_t normalize_export_version(const char *version) {
    MUST(version != NULL);
    uint64_t number = 0;
    for (int part = 0; part < 3; part++) {
        char *end = NULL;
        number = number * 1000 + strtoul(version, &end, 10) % 1000;
        version = *end == '.' ? end + 1 : "";
    }
    return number;
}

/* The last members: all that stands before them is what the hash says. */
static void meta_put(struct export_json *json, const struct engine *engine, const char *about) {
    char text[32];
    struct core_span written = core_buf_written(&json->buf);
    const char *version = engine->site->version == NULL ? "0" : engine->site->version;
    uint64_t hash = core_hash64(written.ptr, written.len, 0);
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)normalize_export_version(version));
    export_raw(json, "version", text);
    export_open(json, "_meta", '{');
    export_string(json, "managed_by", NORMALIZE_EXPORT_OWNER);
    export_string(json, "description", about);
    export_string(json, "ecs_version", CORE_ECS_VERSION);
    export_open(json, "tapline", '{');
    export_string(json, "version", version);
    (void)snprintf(text, sizeof(text), "%016llx", (unsigned long long)hash);
    export_string(json, "hash", text);
    export_close(json, '}');
    export_close(json, '}');
}

static void number_put(struct export_json *json, const char *key, uint64_t number) {
    char text[32];
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    export_raw(json, key, text);
}

/* The engine's own maximum of 1,000 fields is checked against each template by itself, too. */
static void limits_put(struct export_json *json, size_t fields_max) {
    number_put(json, "index.mapping.total_fields.limit", fields_max);
    export_raw(json, "index.mapping.depth.limit", DEPTH_MAX);
    export_raw(json, "index.mapping.field_name_length.limit", NAME_LENGTH_MAX);
    export_raw(json, "index.mapping.ignore_malformed", "true");
}

static void fields_component_put(struct export_json *json, const struct normalize_outputs *outputs,
                                 const struct engine *engine) {
    size_t len;
    struct output *rows = rows_of_ecs(outputs->maps, &len);
    export_open(json, NULL, '{');
    export_open(json, "template", '{');
    export_open(json, "settings", '{');
    limits_put(json, len + FIELDS_ROOM);
    export_close(json, '}');
    export_open(json, "mappings", '{');
    properties_put(json, engine, rows, len, 0);
    export_close(json, '}');
    export_close(json, '}');
    meta_put(json, engine, "fields of the Elastic Common Schema");
    export_close(json, '}');
    free(rows);
}

static void settings_component_put(struct export_json *json, const struct engine *engine) {
    export_open(json, NULL, '{');
    export_open(json, "template", '{');
    export_open(json, "settings", '{');
    number_put(json, "index.number_of_shards", engine->site->shards);
    number_put(json, "index.number_of_replicas", engine->site->replicas);
    export_close(json, '}');
    export_close(json, '}');
    meta_put(json, engine, "what is the same for all indices, by `tapline setup`");
    export_close(json, '}');
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

/* ---- which indices ----------------------------------------------------------------------------------------------------- */

/* The longer a pattern, the more it knows. */
static uint64_t priority_of(const struct dataset *dataset) {
    return dataset->is_pattern ? PRIORITY_PATTERN + strlen(dataset->name) : PRIORITY_EXACT;
}

/* The policy that removes a dataset's indices. An index is as old as its first document: a month's is kept a month longer. */
static const char *policy_of(const struct engine *engine, const char *dataset) {
    const struct normalize_export_site *site = engine->site;
    bool is_day = !site->is_data_stream && site->is_daily != NULL && site->is_daily(site->ctx, dataset);
    return is_day ? site->policy_day : site->policy_month;
}

/* Names by which all of tapline's documents are found, those of a product, and those of a dataset. An index template of data
 * streams may have none on every engine. */
static void aliases_put(struct export_json *json, const struct engine *engine, const struct dataset *dataset) {
    char name[SCHEMA_NAME_BYTES_MAX + sizeof("tapline-")];
    if (engine->site->is_data_stream) {
        return;
    }
    export_open(json, "aliases", '{');
    export_raw(json, "tapline", "{}");
    if (dataset != NULL) {
        size_t product = strcspn(dataset->name, ".");
        (void)snprintf(name, sizeof(name), "tapline-%.*s", (int)product, dataset->name);
        export_raw(json, name, "{}");
        if (!dataset->is_pattern && dataset->name[product] != '\0') {
            (void)snprintf(name, sizeof(name), "tapline-%s", dataset->name);
            export_raw(json, name, "{}");
        }
    }
    export_close(json, '}');
}

static void patterns_put(struct export_json *json, const struct engine *engine, const struct dataset *dataset) {
    char text[SCHEMA_NAME_BYTES_MAX + 32];
    export_open(json, "index_patterns", '[');
    if (dataset == NULL) { /* only what looks like an index of ours: others name theirs logs-…, too */
        export_string(json, NULL, "logs-*-*-2*.*");
        export_string(json, NULL, "logs-*-*-outofrange");
    } else {
        (void)snprintf(text, sizeof(text), engine->site->is_data_stream ? "logs-%s-*" : "logs-%s-*-*", dataset->name);
        export_string(json, NULL, text);
    }
    export_close(json, ']');
    if (engine->site->is_data_stream) {
        export_raw(json, "data_stream", "{}");
    }
}

/* ---- files ------------------------------------------------------------------------------------------------------------- */

/* dataset NULL: any that no map knows. Those have no life-cycle: indices of others might have such names. */
static void index_put(struct export_json *json, const struct normalize_outputs *outputs, const struct dataset *dataset,
                      const struct engine *engine) {
    static const struct dataset unknown = {.name = ""};
    const char *policy = dataset == NULL ? NULL : policy_of(engine, dataset->name);
    char text[SCHEMA_NAME_BYTES_MAX * 2];
    export_open(json, NULL, '{');
    patterns_put(json, engine, dataset);
    number_put(json, "priority", dataset == NULL ? PRIORITY_ANY : priority_of(dataset));
    export_raw(json, "composed_of", "[\"tapline-ecs\", \"tapline-settings\"]");
    export_open(json, "template", '{');
    export_open(json, "settings", '{');
    limits_put(json, outputs->maps->schema_len + FIELDS_ROOM);
    if (policy != NULL) {
        export_string(json, "index.lifecycle.name", policy);
    }
    export_close(json, '}');
    mappings_put(json, dataset == NULL ? &unknown : dataset, engine);
    aliases_put(json, engine, dataset);
    export_close(json, '}');
    (void)snprintf(text, sizeof(text), "documents of %s",
                   dataset == NULL ? "datasets that no map knows" : dataset->name);
    meta_put(json, engine, text);
    export_close(json, '}');
}

/* "_index_template/tapline-zeek.dns.json"; names are lower case there. */
static void index_name(const char *dataset, char *out, size_t out_len) {
    size_t used = (size_t)snprintf(out, out_len, "_index_template/tapline-");
    for (const char *c = dataset; *c != '\0' && used + 16 < out_len; c++) {
        const char same[2] = {*c, '\0'};
        used += (size_t)snprintf(out + used, out_len - used, "%s", *c == '*' ? "_any" : same);
    }
    (void)snprintf(out + used, out_len - used, ".json");
}

static void files_put(struct export_json *json, const struct normalize_outputs *outputs, const struct engine *engine,
                      const struct normalize_export_request *request) {
    /* What comes from others without a dataset's name is indexed as this one (sinks/elastic.c). */
    static const struct dataset generic = {.name = "generic"};
    char name[SCHEMA_NAME_BYTES_MAX * 2];
    fields_component_put(json, outputs, engine);
    export_file(json, request, "_component_template/tapline-ecs.json");
    settings_component_put(json, engine);
    export_file(json, request, "_component_template/tapline-settings.json");
    if (!engine->site->is_data_stream) {
        index_put(json, outputs, NULL, engine);
        index_name("*", name, sizeof(name));
        export_file(json, request, name);
    }
    index_put(json, outputs, &generic, engine);
    index_name(generic.name, name, sizeof(name));
    export_file(json, request, name);
    for (size_t i = 0; i < outputs->datasets_len; i++) {
        index_put(json, outputs, &outputs->datasets[i], engine);
        index_name(outputs->datasets[i].name, name, sizeof(name));
        export_file(json, request, name);
    }
}

void export_elastic(const struct normalize_outputs *outputs, const struct normalize_export_request *request) {
    static const struct normalize_export_site usual = {.shards = 1, .replicas = 1};
    static const char *const flattened[] = {
        [NORMALIZE_EXPORT_ELASTICSEARCH] = "flattened",
        [NORMALIZE_EXPORT_OPENSEARCH] = "flat_object",
    };
    MUST(request->kind < sizeof(flattened) / sizeof(flattened[0]));
    const struct engine engine = {.flattened = flattened[request->kind],
                                  .site = request->site == NULL ? &usual : request->site};
    char *bytes = malloc(EXPORT_FILE_BYTES_MAX);
    MUST(bytes != NULL);
    struct export_json json = {.buf = {.start = bytes, .pos = bytes, .end = bytes + EXPORT_FILE_BYTES_MAX},
                               .is_first = true};
    files_put(&json, outputs, &engine, request);
    free(bytes);
}
