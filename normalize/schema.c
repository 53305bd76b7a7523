/* normalize/schema.c: schema.tsv, the only place where a field of the document is named: its type, whether it is a list,
 * what it means. A site's schema.tsv adds rows to ours; it cannot give another type to one of ours, because what is
 * indexed already has that.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/maps_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* The types of the file. Several words may be the same to the program: a search engine keeps them differently. */
static const struct {
    const char *word;
    enum schema_type type;
} type_words[] = {
    {"keyword", SCHEMA_KEYWORD}, {"text", SCHEMA_KEYWORD},     {"wildcard", SCHEMA_KEYWORD}, {"long", SCHEMA_LONG},
    {"double", SCHEMA_DOUBLE},   {"boolean", SCHEMA_BOOLEAN},  {"date", SCHEMA_DATE},        {"ip", SCHEMA_IP},
    {"object", SCHEMA_OBJECT},   {"flattened", SCHEMA_OBJECT}, {"geo_point", SCHEMA_OBJECT}, {"nested", SCHEMA_OBJECT},
};

static const char *const many_words[SCHEMA_MANY__MAX] = {
    [SCHEMA_ONE] = "", [SCHEMA_LIST] = "list", [SCHEMA_ARRAY] = "array", [SCHEMA_EITHER] = "either"};

static bool type_parse(struct maps_file *file, struct core_span word, struct schema_field *field) {
    for (size_t i = 0; i < sizeof(type_words) / sizeof(type_words[0]); i++) {
        if (core_span_is(word, type_words[i].word)) {
            field->type = type_words[i].type;
            field->word = type_words[i].word;
            return true;
        }
    }
    maps_mistake(file, word.ptr,
                 "\"%.*s\" is no type; one of keyword text wildcard long double boolean date ip object nested "
                 "flattened geo_point belongs here",
                 (int)word.len, word.ptr);
    return false;
}

static bool many_parse(struct maps_file *file, struct core_span word, struct schema_field *field) {
    for (int i = 0; i < SCHEMA_MANY__MAX; i++) {
        if (core_span_is(word, many_words[i])) {
            field->many = (enum schema_many)i;
            field->is_list = field->many == SCHEMA_LIST;
            return true;
        }
    }
    maps_mistake(file, word.ptr, "the third column is \"list\", \"array\", \"either\" or empty, not \"%.*s\"",
                 (int)word.len, word.ptr);
    return false;
}

/* Parts of letters, digits, `_`, `-`, `@` between dots; the second may be `%`, of a product's own field. */
static bool name_check(struct maps_file *file, struct core_span name) {
    size_t part = 0;
    bool is_good = name.len > 0 && name.len <= SCHEMA_NAME_BYTES_MAX;
    char before = '.';
    for (size_t i = 0; is_good && i < name.len; i++) {
        char c = name.ptr[i];
        char after = i + 1 < name.len ? name.ptr[i + 1] : '.';
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                       c == '-' || c == '@';
        bool is_percent = c == '%' && part == 1 && before == '.' && after == '.';
        is_good = is_word || is_percent || (c == '.' && before != '.' && i + 1 < name.len);
        part += c == '.' ? 1 : 0;
        before = c;
    }
    if (!is_good) {
        maps_mistake(file, name.ptr,
                     "\"%.*s\" is no field's name: words of letters, digits, _ - @ between dots; the second may be %%",
                     (int)name.len, name.ptr);
    }
    return is_good;
}

static int schema_compare(const void *a, const void *b) {
    return strcmp(((const struct schema_field *)a)->name, ((const struct schema_field *)b)->name);
}

static struct core_span tab_field(struct core_span *rest) {
    const char *tab = core_span_chr(*rest, '\t');
    size_t len = tab == NULL ? rest->len : (size_t)(tab - rest->ptr);
    struct core_span field = {rest->ptr, len};
    size_t skip = tab == NULL ? len : len + 1;
    *rest = (struct core_span){rest->ptr + skip, rest->len - skip};
    return maps_trim(field);
}

/* A site's row for a field that we have already. The same again is no harm: its file may be older than our row. */
static bool row_is_new(struct maps_file *file, struct core_span name, const struct schema_field *field) {
    const struct schema_field *have = schema_find_row(file->loader->maps, name);
    if (have != NULL && (have->word != field->word || have->many != field->many)) {
        maps_mistake(file, name.ptr, "\"%s\" is %s%s%s at %s: a site's row cannot make it something else", have->name,
                     have->word, have->many == SCHEMA_ONE ? "" : ", ", many_words[have->many], have->place);
    }
    return have == NULL;
}

static bool row_load(struct maps_file *file, struct schema_field *field) {
    struct core_span rest = file->line;
    struct core_span name = tab_field(&rest);
    struct core_span type = tab_field(&rest);
    struct core_span many = tab_field(&rest);
    struct core_span meaning = tab_field(&rest);
    if (!name_check(file, name) || !type_parse(file, type, field) || !many_parse(file, many, field) ||
        !row_is_new(file, name, field)) {
        return false;
    }
    field->name = maps_text(file->loader, name);
    field->meaning = maps_text(file->loader, meaning);
    field->place = maps_place(file, name.ptr);
    return true;
}

static void doubles_check(struct maps_loader *loader) {
    const struct normalize_maps *maps = loader->maps;
    for (size_t i = 1; i < maps->schema_len; i++) {
        if (strcmp(maps->schema[i - 1].name, maps->schema[i].name) == 0) {
            maps_mistake_at(loader, maps->schema[i].place, "\"%s\" stands at %s, too", maps->schema[i].name,
                            maps->schema[i - 1].place);
        }
    }
}

/* What was there before is sorted already, so that it can be searched while rows are added behind it. */
static void file_load(struct maps_file *file) {
    struct normalize_maps *maps = file->loader->maps;
    size_t len = maps->schema_len;
    struct schema_field *rows = maps_alloc(file->loader, (len + maps_lines_in(file->rest)) * sizeof(*rows));
    if (len > 0) {
        memcpy(rows, maps->schema, len * sizeof(*rows));
    }
    maps->schema = rows;
    while (maps_file_line(file)) {
        if (maps_trim(file->line).len > 0 && file->line.ptr[0] != '#') {
            len += row_load(file, &rows[len]);
        }
    }
    maps->schema_len = len;
    qsort(maps->schema, maps->schema_len, sizeof(*maps->schema), schema_compare);
    doubles_check(file->loader);
}

/* zeek.%.uid and zeek.dns.uid: whichever is found first would decide. */
static void percents_check(struct maps_loader *loader) {
    struct normalize_maps *maps = loader->maps;
    for (size_t i = 0; i < maps->schema_len; i++) {
        const struct schema_field *field = &maps->schema[i];
        const struct schema_field *any = schema_find_percent(maps, core_span_of(field->name));
        if (any != NULL && any != field && (any->word != field->word || any->many != field->many)) {
            maps_mistake_at(loader, field->place,
                            "\"%s\" is of another type than \"%s\" of %s, which stands for it too", field->name,
                            any->name, any->place);
        }
    }
}

/* A value and members below it: no search engine can have both under one name. */
static void objects_check(struct maps_loader *loader) {
    const struct normalize_maps *maps = loader->maps;
    for (size_t i = 0; i < maps->schema_len; i++) {
        const struct schema_field *field = &maps->schema[i];
        for (const char *dot = strchr(field->name, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
            const struct schema_field *above =
                schema_find_row(maps, (struct core_span){field->name, (size_t)(dot - field->name)});
            if (above != NULL && above->type != SCHEMA_OBJECT) {
                maps_mistake_at(loader, field->place, "\"%s\" is below \"%s\", which is no object but %s at %s",
                                field->name, above->name, above->word, above->place);
            }
        }
    }
}

void schema_load(struct maps_loader *loader) {
    struct maps_file file;
    if (maps_file_open(loader, &file, MAPS_OURS, "schema.tsv")) {
        file_load(&file);
    }
    if (maps_file_exists(loader, MAPS_SITE, "schema.tsv") && maps_file_open(loader, &file, MAPS_SITE, "schema.tsv")) {
        file_load(&file);
    }
    percents_check(loader);
    objects_check(loader);
}

/* ---- looking up ---------------------------------------------------------------------------------------------------------- */

const struct schema_field *schema_find_row(const struct normalize_maps *maps, struct core_span name) {
    size_t low = 0;
    size_t high = maps->schema_len;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const char *have = maps->schema[mid].name;
        int order = strncmp(have, name.ptr, name.len);
        if (order == 0 && have[name.len] != '\0') {
            order = 1;
        }
        if (order == 0) {
            return &maps->schema[mid];
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return NULL;
}

bool schema_has_members(const struct schema_field *field) {
    return strcmp(field->word, "object") == 0 || strcmp(field->word, "nested") == 0;
}

bool schema_is_own(struct core_span name) {
    static const struct core_span open[] = {{"zeek.", 5}, {"snort.", 6}, {"suricata.", 9}, {"tapline.", 8}};
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        if (core_span_starts(name, open[i])) {
            return true;
        }
    }
    return false;
}

const struct schema_field *schema_find_percent(const struct normalize_maps *maps, struct core_span name) {
    const char *first = core_span_chr(name, '.');
    if (first == NULL || !schema_is_own(name)) {
        return NULL;
    }
    size_t head = (size_t)(first - name.ptr) + 1;
    const char *second = core_span_chr((struct core_span){name.ptr + head, name.len - head}, '.');
    char any[SCHEMA_NAME_BYTES_MAX];
    if (second == NULL || name.len >= sizeof(any)) {
        return NULL;
    }
    int len = snprintf(any, sizeof(any), "%.*s%%%.*s", (int)head, name.ptr,
                       (int)(name.len - (size_t)(second - name.ptr)), second);
    return len < 0 || (size_t)len >= sizeof(any) ? NULL : schema_find_row(maps, (struct core_span){any, (size_t)len});
}

const struct schema_field *schema_find(const struct normalize_maps *maps, struct core_span name) {
    static const struct schema_field own = {.name = NULL, .type = SCHEMA_OWN, .is_list = false};
    const struct schema_field *row = schema_find_row(maps, name);
    if (row == NULL) {
        row = schema_find_percent(maps, name);
    }
    return row != NULL ? row : schema_is_own(name) ? &own : NULL;
}
