/* normalize/export_schema.c: a JSON Schema (2020-12) for the documents of each topic: what a consumer may count on.
 *
 * It says which fields there may be, of which type, and which are always there. Only below the objects where a record's
 * other fields are kept may there be more, and where a site's config adds some. Times and addresses are checked by
 * patterns and formats; `format` alone is only a remark to many validators. What JSON has no number for is text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/export_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* What each type of schema.tsv is in a document. */
static const struct {
    const char *word;
    const char *schema;
} type_schemas[] = {
    {"boolean", "{\"type\": \"boolean\"}"},
    {"date", "{\"type\": \"string\", \"format\": \"date-time\", \"pattern\": "
             "\"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\\\.[0-9]{6}Z$\"}"},
    {"double", "{\"anyOf\": [{\"type\": \"number\"}, {\"enum\": [\"inf\", \"-inf\", \"nan\", \"-nan\"]}]}"},
    {"flattened", "{\"type\": \"object\"}"},
    {"geo_point", "{\"type\": \"object\", \"properties\": {\"lat\": {\"type\": \"number\"}, \"lon\": {\"type\": "
                  "\"number\"}}, \"required\": [\"lat\", \"lon\"], \"additionalProperties\": false}"},
    {"ip", "{\"type\": \"string\", \"anyOf\": [{\"format\": \"ipv4\", \"pattern\": \"^[0-9.]{7,15}$\"}, {\"format\": "
           "\"ipv6\", \"pattern\": \"^[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*$\"}]}"},
    {"kept", "{\"type\": [\"string\", \"number\", \"boolean\", \"array\", \"object\"]}"},
    {"keyword", "{\"type\": \"string\"}"},
    {"long", "{\"type\": \"integer\"}"},
    {"text", "{\"type\": \"string\"}"},
    {"wildcard", "{\"type\": \"string\"}"},
};

static void ref_put(struct export_json *json, const char *key, const char *word) {
    char text[64];
    (void)snprintf(text, sizeof(text), "{\"$ref\": \"#/$defs/%s\"}", word);
    export_raw(json, key, text);
}

/* ---- objects ------------------------------------------------------------------------------------------------------------- */

struct members {
    const struct dataset *dataset;
    size_t from;
    size_t to;
    size_t at; /* bytes of the names up to and with the dot behind the object */
    bool is_open;
};

static void object_put(struct export_json *json, struct members members);

static bool has_required(const struct dataset *dataset, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        if (dataset->outputs[i].is_required) {
            return true;
        }
    }
    return false;
}

static void required_put(struct export_json *json, struct members members) {
    if (!has_required(members.dataset, members.from, members.to)) {
        return;
    }
    export_open(json, "required", '[');
    for (size_t i = members.from; i < members.to;) {
        struct core_span word;
        const struct output *leaf;
        size_t end = export_group(members.dataset->outputs, i, members.to, members.at, &word, &leaf);
        if (has_required(members.dataset, i, end) && !core_span_is(word, "%")) {
            char name[SCHEMA_NAME_BYTES_MAX];
            (void)snprintf(name, sizeof(name), "%.*s", (int)word.len, word.ptr);
            export_string(json, NULL, name);
        }
        i = end;
    }
    export_close(json, ']');
}

/* One value of a field: a type by its name, or an object of the members below it. */
static void value_put(struct export_json *json, const char *key, const struct output *leaf, struct members below) {
    if (!schema_has_members(leaf->schema)) {
        ref_put(json, key, leaf->schema->word);
        return;
    }
    export_open(json, key, '{');
    object_put(json, below);
    export_close(json, '}');
}

static void array_put(struct export_json *json, const struct output *leaf, struct members below) {
    export_raw(json, "type", "\"array\"");
    if (leaf->schema->is_list) {
        value_put(json, "items", leaf, below);
        export_raw(json, "uniqueItems", "true");
        export_raw(json, "minItems", "1");
        return;
    }
    export_open(json, "items", '{'); /* an element that the sensor left unset is null: the others keep their places */
    export_open(json, "anyOf", '[');
    value_put(json, NULL, leaf, below);
    export_raw(json, NULL, "{\"type\": \"null\"}");
    export_close(json, ']');
    export_close(json, '}');
}

static void field_put(struct export_json *json, const struct output *leaf, struct members below) {
    if (leaf->schema == NULL) {
        return; /* any value */
    }
    export_string(json, "description", leaf->schema->meaning);
    bool is_object = schema_has_members(leaf->schema);
    char ref[64];
    (void)snprintf(ref, sizeof(ref), "\"#/$defs/%s\"", leaf->schema->word);
    switch (leaf->schema->many) {
    case SCHEMA_LIST:
    case SCHEMA_ARRAY:
        array_put(json, leaf, below);
        break;
    case SCHEMA_EITHER:
        export_open(json, "anyOf", '[');
        value_put(json, NULL, leaf, below);
        export_open(json, NULL, '{');
        array_put(json, leaf, below);
        export_close(json, '}');
        export_close(json, ']');
        break;
    case SCHEMA_ONE:
    case SCHEMA_MANY__MAX:
    default:
        if (is_object) {
            object_put(json, below);
        } else {
            export_raw(json, "$ref", ref);
        }
        break;
    }
}

/* event.dataset says which schema is the document's. */
static void dataset_put(struct export_json *json, const struct dataset *dataset) {
    char pattern[SCHEMA_NAME_BYTES_MAX * 4] = "^"; /* a `*` of a log's glob becomes ten bytes */
    size_t used = 1;
    if (!dataset->is_pattern) {
        export_string(json, "const", dataset->name);
        return;
    }
    for (const char *c = dataset->name; *c != '\0'; c++) {
        const char same[2] = {*c, '\0'};
        used += (size_t)snprintf(pattern + used, sizeof(pattern) - used, "%s",
                                 *c == '*'   ? "[a-z0-9_]*"
                                 : *c == '.' ? "\\."
                                             : same);
        MUST(used + 16 < sizeof(pattern));
    }
    (void)snprintf(pattern + used, sizeof(pattern) - used, "$");
    export_string(json, "pattern", pattern);
}

/* The group [i, end) as a member: a field, an object, or an object that is kept open. */
static void member_put(struct export_json *json, const char *key, const struct output *leaf, struct members below) {
    export_open(json, key, '{');
    if (leaf != NULL && !leaf->is_keep) {
        field_put(json, leaf, below);
        if (strcmp(leaf->name, "event.dataset") == 0 && leaf->schema != NULL) {
            dataset_put(json, below.dataset);
        }
    } else {
        below.is_open = below.is_open || leaf != NULL;
        object_put(json, below);
    }
    export_close(json, '}');
}

/* The name that stands for any: every word but those of its neighbours. */
static void any_key(struct members members, char *out, size_t out_len) {
    size_t used = (size_t)snprintf(out, out_len, "^(?!(?:");
    bool is_first = true;
    for (size_t i = members.from; i < members.to;) {
        struct core_span word;
        const struct output *leaf;
        i = export_group(members.dataset->outputs, i, members.to, members.at, &word, &leaf);
        if (!core_span_is(word, "%")) {
            used +=
                (size_t)snprintf(out + used, out_len - used, "%s%.*s", is_first ? "" : "|", (int)word.len, word.ptr);
            MUST(used + 32 < out_len);
            is_first = false;
        }
    }
    (void)snprintf(out + used, out_len - used, ")$)[a-z0-9_]+$");
}

/* Members whose word is `%`, or all others. */
static void members_put(struct export_json *json, struct members members, bool is_any) {
    for (size_t i = members.from; i < members.to;) {
        struct core_span word;
        const struct output *leaf;
        char key[4096];
        size_t end = export_group(members.dataset->outputs, i, members.to, members.at, &word, &leaf);
        if (core_span_is(word, "%") == is_any) {
            if (is_any) {
                any_key(members, key, sizeof(key));
            } else {
                (void)snprintf(key, sizeof(key), "%.*s", (int)word.len, word.ptr);
            }
            struct members below = {.dataset = members.dataset,
                                    .from = i + (leaf == NULL ? 0 : 1),
                                    .to = end,
                                    .at = members.at + word.len + 1,
                                    .is_open = members.is_open};
            member_put(json, key, leaf, below);
        }
        i = end;
    }
}

static bool has_any(struct members members) {
    for (size_t i = members.from; i < members.to; i++) {
        if (members.dataset->outputs[i].name[members.at] == '%') {
            return true;
        }
    }
    return false;
}

static void object_put(struct export_json *json, struct members members) {
    export_raw(json, "type", "\"object\"");
    export_open(json, "properties", '{');
    members_put(json, members, false);
    export_close(json, '}');
    if (has_any(members)) {
        export_open(json, "patternProperties", '{');
        members_put(json, members, true);
        export_close(json, '}');
    }
    required_put(json, members);
    if (members.is_open) {
        ref_put(json, "additionalProperties", "kept");
    } else {
        export_raw(json, "additionalProperties", "false");
    }
}

/* ---- files --------------------------------------------------------------------------------------------------------------- */

static void file_name(const struct dataset *dataset, char *out, size_t out_len) {
    size_t used = 0;
    for (const char *c = dataset->topic; *c != '\0' && used + 32 < out_len; c++) {
        const char same[2] = {*c, '\0'};
        used += (size_t)snprintf(out + used, out_len - used, "%s", *c == '*' ? "ANY" : same);
    }
    (void)snprintf(out + used, out_len - used, ".schema.json");
}

static void schema_put(struct export_json *json, const struct dataset *dataset) {
    char title[SCHEMA_NAME_BYTES_MAX * 2];
    struct members all = {.dataset = dataset, .from = 0, .to = dataset->outputs_len};
    (void)snprintf(title, sizeof(title), "documents of %s", dataset->name);
    export_open(json, NULL, '{');
    export_string(json, "$schema", "https://json-schema.org/draft/2020-12/schema");
    export_string(json, "title", title);
    object_put(json, all);
    export_open(json, "$defs", '{');
    for (size_t i = 0; i < sizeof(type_schemas) / sizeof(type_schemas[0]); i++) {
        export_raw(json, type_schemas[i].word, type_schemas[i].schema);
    }
    export_close(json, '}');
    export_close(json, '}');
}

void export_schemas(const struct normalize_outputs *outputs, const struct normalize_export_request *request) {
    char *bytes = malloc(EXPORT_FILE_BYTES_MAX);
    MUST(bytes != NULL);
    struct export_json json = {.buf = {.start = bytes, .pos = bytes, .end = bytes + EXPORT_FILE_BYTES_MAX},
                               .is_first = true};
    char name[SCHEMA_NAME_BYTES_MAX * 2];
    for (size_t i = 0; i < outputs->datasets_len; i++) {
        schema_put(&json, &outputs->datasets[i]);
        file_name(&outputs->datasets[i], name, sizeof(name));
        export_file(&json, request, name);
    }
    export_open(&json, NULL, '[');
    for (size_t i = 0; i < outputs->datasets_len; i++) {
        const struct dataset *dataset = &outputs->datasets[i];
        file_name(dataset, name, sizeof(name));
        export_open(&json, NULL, '{');
        export_string(&json, "dataset", dataset->name);
        export_string(&json, "topic", dataset->topic);
        export_string(&json, "schema", name);
        export_close(&json, '}');
    }
    export_close(&json, ']');
    export_file(&json, request, "index.json");
    free(bytes);
}
