/* normalize/outputs.c: which fields the documents of each dataset may have, told by the maps: the rows' targets, what the
 * functions write, what every document has, and the prefixes below which records' other fields are kept.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/deadletter.h"
#include "core/health.h"
#include "normalize/outputs_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define OUTPUTS_ARENA_BYTES (1024 * CORE_MIB) /* of address space: rows of all maps, some hundred bytes each */

/* What the program writes without a row: of where a record came from, and what a site adds to it. */
static const struct {
    const char *name;
    bool is_required;
} every_document[] = {
    {"@timestamp", true},    {"event.dataset", true}, {"event.original", false}, {"labels", false},
    {"log.file.path", true}, {"log.offset", true},    {"tags", false},
};

static void *outputs_alloc(struct normalize_outputs *outputs, size_t len) {
    void *p = core_arena_alloc(&outputs->arena, len);
    MUST(p != NULL); /* the maps themselves fit 64 MiB */
    memset(p, 0, len);
    return p;
}

static char *outputs_text(struct normalize_outputs *outputs, const char *text) {
    char *copy = core_arena_copy(&outputs->arena, core_span_of(text));
    MUST(copy != NULL);
    return copy;
}

int output_name_compare(const char *a, const char *b) {
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    int left = *a == '.' ? 1 : (unsigned char)*a * 2;
    int right = *b == '.' ? 1 : (unsigned char)*b * 2;
    return left - right;
}

static int output_compare(const void *a, const void *b) {
    return output_name_compare(((const struct output *)a)->name, ((const struct output *)b)->name);
}

static int dataset_compare(const void *a, const void *b) {
    return strcmp(((const struct dataset *)a)->name, ((const struct dataset *)b)->name);
}

/* text with `fill` for its first `%`. */
static const char *percent(struct normalize_outputs *outputs, struct core_span text, const char *fill) {
    char out[SCHEMA_NAME_BYTES_MAX * 2];
    const char *mark = core_span_chr(text, '%');
    size_t head = mark == NULL ? text.len : (size_t)(mark - text.ptr);
    const char *tail = mark == NULL ? "" : mark + 1;
    int tail_len = mark == NULL ? 0 : (int)(text.len - head - 1);
    int len = snprintf(out, sizeof(out), "%.*s%s%.*s", (int)head, text.ptr, mark == NULL ? "" : fill, tail_len, tail);
    MUST(len >= 0 && (size_t)len < sizeof(out));
    return outputs_text(outputs, out);
}

/* ---- the fields of one dataset --------------------------------------------------------------------------------------- */

static void output_add(struct normalize_outputs *outputs, struct dataset *dataset, const struct output *output) {
    struct output *have = NULL;
    for (size_t i = 0; i < dataset->outputs_len && have == NULL; i++) {
        have = strcmp(dataset->outputs[i].name, output->name) == 0 ? &dataset->outputs[i] : NULL;
    }
    if (have == NULL) {
        if (dataset->outputs_len == dataset->outputs_cap) {
            size_t cap = dataset->outputs_cap == 0 ? 64 : dataset->outputs_cap * 2;
            struct output *grown = outputs_alloc(outputs, cap * sizeof(*grown));
            if (dataset->outputs_len > 0) {
                memcpy(grown, dataset->outputs, dataset->outputs_len * sizeof(*grown));
            }
            dataset->outputs = grown;
            dataset->outputs_cap = cap;
        }
        dataset->outputs[dataset->outputs_len++] = *output;
        return;
    }
    have->schema = output->schema; /* a field that the config adds may have any type */
    have->is_enrichment = have->is_enrichment && output->is_enrichment;
    if (output->required_by > 0 && have->map != output->map) {
        have->required_by++;
        have->map = output->map;
    }
}

/* What stands below an object that is a field itself (dns.answers), by the schema. */
static void members_add(struct normalize_outputs *outputs, struct dataset *dataset, const struct output *object) {
    const struct normalize_maps *maps = outputs->maps;
    size_t len = strlen(object->schema->name);
    for (size_t i = 0; i < maps->schema_len; i++) {
        const struct schema_field *field = &maps->schema[i];
        if (strncmp(field->name, object->schema->name, len) == 0 && field->name[len] == '.') {
            struct output member = {.name = percent(outputs, core_span_of(field->name), dataset->own),
                                    .schema = field,
                                    .is_enrichment = object->is_enrichment};
            output_add(outputs, dataset, &member);
        }
    }
}

static void name_add(struct normalize_outputs *outputs, struct dataset *dataset, struct core_span name,
                     const struct map *map, bool is_required) {
    struct output output = {
        .name = percent(outputs, name, dataset->own), .map = is_required ? map : NULL, .required_by = is_required};
    output.schema = schema_find(outputs->maps, core_span_of(output.name));
    MUST(output.schema != NULL && output.schema->type != SCHEMA_OWN); /* maps that write other fields do not load */
    output_add(outputs, dataset, &output);
    if (schema_has_members(output.schema)) {
        members_add(outputs, dataset, &output);
    }
}

static void row_add(struct normalize_outputs *outputs, struct dataset *dataset, const struct map *map,
                    const struct map_row *row) {
    if (row->kind == ROW_KEEP) {
        struct output keep = {.name = percent(outputs, row->constant, dataset->own), .is_keep = true};
        output_add(outputs, dataset, &keep);
    }
    for (size_t t = 0; t < row->targets_len; t++) {
        if (row->targets[t].schema != NULL) {
            name_add(outputs, dataset, row->targets[t].name, map, row->kind == ROW_CONST);
        }
    }
    for (size_t s = 0; row->kind == ROW_DERIVE && s < DERIVE_SUBS_MAX && row->derive->subs[s] != NULL; s++) {
        char text[SCHEMA_NAME_BYTES_MAX];
        name_add(outputs, dataset, derive_sub_name(row, s, text), map, false);
    }
}

static void map_add(struct normalize_outputs *outputs, struct dataset *dataset, const struct map *map) {
    for (size_t i = 0; i < dataset->maps_len; i++) {
        if (dataset->maps[i] == map) {
            return;
        }
    }
    MUST(dataset->maps_len < outputs->maps->maps_len);
    dataset->maps[dataset->maps_len++] = map;
    for (size_t i = 0; i < map->rows_len; i++) {
        row_add(outputs, dataset, map, &map->rows[i]);
    }
}

/* What enrichment writes into documents of which something can be looked up. */
static void enrichments_add(struct normalize_outputs *outputs, struct dataset *dataset) {
    static const char *const prefixes[] = {"threat.enrichments", "threat.feed.", "threat.indicator."};
    const struct normalize_maps *maps = outputs->maps;
    bool has_marks = false;
    for (size_t m = 0; m < dataset->maps_len; m++) {
        for (size_t r = 0; r < dataset->maps[m]->rows_len && !has_marks; r++) {
            has_marks = dataset->maps[m]->rows[r].marks_len > 0;
        }
    }
    for (size_t i = 0; has_marks && i < maps->schema_len; i++) {
        for (size_t p = 0; p < sizeof(prefixes) / sizeof(prefixes[0]); p++) {
            if (strncmp(maps->schema[i].name, prefixes[p], strlen(prefixes[p])) == 0) {
                struct output output = {
                    .name = maps->schema[i].name, .schema = &maps->schema[i], .is_enrichment = true};
                output_add(outputs, dataset, &output);
            }
        }
    }
}

static void open_add(struct normalize_outputs *outputs, struct dataset *dataset, const char *name) {
    struct output output = {.name = outputs_text(outputs, name)};
    output_add(outputs, dataset, &output);
}

/* ---- all of them --------------------------------------------------------------------------------------------------------- */

static struct dataset *dataset_get(struct normalize_outputs *outputs, const char *name) {
    for (size_t i = 0; i < outputs->datasets_len; i++) {
        if (strcmp(outputs->datasets[i].name, name) == 0) {
            return &outputs->datasets[i];
        }
    }
    struct dataset *dataset = &outputs->datasets[outputs->datasets_len++];
    char topic[SCHEMA_NAME_BYTES_MAX * 2];
    const char *dot = strchr(name, '.');
    (void)snprintf(topic, sizeof(topic), "%s%s", strncmp(name, "tapline.", 8) == 0 ? "" : "tapline.", name);
    dataset->name = outputs_text(outputs, name);
    dataset->maps = outputs_alloc(outputs, (outputs->maps->maps_len + 1) * sizeof(struct map *));
    dataset->topic = outputs_text(outputs, topic);
    dataset->is_pattern = strchr(name, '*') != NULL;
    dataset->own = dataset->is_pattern ? "%" : dot == NULL ? name : dot + 1;
    return dataset;
}

/* A log's name, or a glob of names as one with `*` alone. */
static const char *log_name(struct normalize_outputs *outputs, struct core_span log) {
    char out[SCHEMA_NAME_BYTES_MAX];
    size_t len = 0;
    bool is_class = false;
    for (size_t i = 0; i < log.len && len + 1 < sizeof(out); i++) {
        bool is_any = strchr("*?[", log.ptr[i]) != NULL;
        if (!is_class && (!is_any || len == 0 || out[len - 1] != '*')) {
            out[len++] = is_any ? '*' : log.ptr[i];
        }
        is_class = (is_class || log.ptr[i] == '[') && log.ptr[i] != ']';
    }
    out[len] = '\0';
    return outputs_text(outputs, out);
}

static void log_add(struct normalize_outputs *outputs, const struct log_row *row) {
    const char *name = percent(outputs, row->dataset, log_name(outputs, row->log));
    map_add(outputs, dataset_get(outputs, name), row->map);
}

/* What no map writes: dead letters, and lines of the health log. */
static void field_add(struct normalize_outputs *outputs, struct dataset *dataset, const char *name, bool is_required) {
    struct output output = {.name = name, .required_by = is_required};
    output.schema = schema_find(outputs->maps, core_span_of(name));
    if (output.schema != NULL && output.schema->type != SCHEMA_OWN) {
        output_add(outputs, dataset, &output);
    }
}

static void own_documents_add(struct normalize_outputs *outputs) {
    struct dataset *dead = dataset_get(outputs, CORE_DEAD_DATASET);
    for (size_t i = 0; i < core_dead_fields_len; i++) {
        field_add(outputs, dead, core_dead_fields[i].name, core_dead_fields[i].is_required);
    }
    struct dataset *health = dataset_get(outputs, CORE_HEALTH_DATASET);
    for (size_t i = 0; i < core_health_fields_len; i++) {
        field_add(outputs, health, core_health_fields[i].name, core_health_fields[i].is_required);
    }
}

static void dataset_finish(struct normalize_outputs *outputs, struct dataset *dataset, const char *const *open_fields,
                           size_t open_fields_len) {
    size_t writers = dataset->maps_len > 0 ? dataset->maps_len : 1; /* dead letters and the health log have no map */
    for (size_t i = 0; i < dataset->outputs_len; i++) {
        dataset->outputs[i].is_required = dataset->outputs[i].required_by == writers;
    }
    for (size_t i = 0; dataset->maps_len > 0 && i < sizeof(every_document) / sizeof(every_document[0]); i++) {
        if (schema_find_row(outputs->maps, core_span_of(every_document[i].name)) != NULL) {
            name_add(outputs, dataset, core_span_of(every_document[i].name), NULL, false);
        }
        for (size_t o = 0; o < dataset->outputs_len; o++) {
            bool is_it = strcmp(dataset->outputs[o].name, every_document[i].name) == 0;
            dataset->outputs[o].is_required |= is_it && every_document[i].is_required;
        }
    }
    enrichments_add(outputs, dataset);
    for (size_t i = 0; dataset->maps_len > 0 && i < open_fields_len; i++) {
        open_add(outputs, dataset, open_fields[i]);
    }
    qsort(dataset->outputs, dataset->outputs_len, sizeof(*dataset->outputs), output_compare);
}

struct normalize_outputs *outputs_new(const struct normalize_maps *maps, const char *const *open_fields,
                                      size_t open_fields_len) {
    MUST(maps != NULL);
    struct core_fail fail = {0};
    struct normalize_outputs *outputs = calloc(1, sizeof(*outputs));
    MUST(outputs != NULL);
    MUST(core_arena_init(&outputs->arena, OUTPUTS_ARENA_BYTES, &fail) == CORE_OK);
    outputs->maps = maps;
    outputs->datasets = outputs_alloc(outputs, (maps->logs_len + 2) * sizeof(*outputs->datasets));
    for (size_t i = 0; i < maps->logs_len; i++) {
        log_add(outputs, &maps->logs[i]);
    }
    own_documents_add(outputs);
    for (size_t i = 0; i < outputs->datasets_len; i++) {
        dataset_finish(outputs, &outputs->datasets[i], open_fields, open_fields_len);
    }
    qsort(outputs->datasets, outputs->datasets_len, sizeof(*outputs->datasets), dataset_compare);
    return outputs;
}

void outputs_free(struct normalize_outputs *outputs) {
    if (outputs != NULL) {
        core_arena_destroy(&outputs->arena);
        free(outputs);
    }
}
