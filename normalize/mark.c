/* normalize/mark.c: `observable TYPE` in a row of a map: which of its targets intelligence may speak of, and as what. What a
 * target's value could never be is a mistake in the map, as with the types of rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/maps_internal.h"

#include <stdio.h>

/* The type that the word names, or a mistake and NONE. */
static enum core_indicator type_read(struct maps_file *file, struct core_span word) {
    enum core_indicator type = core_indicator_of(word);
    if (type == CORE_INDICATOR_CIDR) {
        maps_mistake(file, word.ptr, "no record has a network to look for; an address is an \"ip\"");
        return CORE_INDICATOR_NONE;
    }
    if (type != CORE_INDICATOR_NONE) {
        return type;
    }
    const char *words[CORE_INDICATOR__MAX];
    size_t len = 0;
    for (int i = CORE_INDICATOR_IP; i < CORE_INDICATOR__MAX; i++) {
        if (i != CORE_INDICATOR_CIDR) {
            words[len++] = core_indicator_word((enum core_indicator)i);
        }
    }
    char text[64];
    (void)snprintf(text, sizeof(text), "%.*s", (int)word.len, word.ptr);
    const char *near = core_conf_nearest(text, words, len);
    maps_mistake(file, word.ptr, "\"%s\" is no type of observable%s%s%s", text, near == NULL ? "" : ", did you mean \"",
                 near == NULL ? "" : near, near == NULL ? "" : "\"?");
    return CORE_INDICATOR_NONE;
}

/* Is what the row reads text that may be such a thing? An address is one and nothing else. */
static bool source_fits(enum field_type from, enum core_indicator type) {
    return from == TYPE_ADDR ? type == CORE_INDICATOR_IP : from == TYPE_STRING || from == TYPE_ENUM || from == TYPE_ANY;
}

static bool target_fits(const struct schema_field *schema, enum core_indicator type) {
    return schema->type == SCHEMA_IP ? type == CORE_INDICATOR_IP : schema->type == SCHEMA_KEYWORD;
}

bool mark_is_member(const struct map_row *row, struct core_span field) {
    const struct row_target *target = &row->targets[0];
    return row->kind == ROW_DERIVE && target->schema != NULL && target->schema->type == SCHEMA_OBJECT &&
           core_span_starts(field, target->name) && field.len > target->name.len + 1 &&
           field.ptr[target->name.len] == '.';
}

/* Does the row's function write the field, itself or below its target? */
static bool derive_writes(const struct map_row *row, struct core_span field) {
    bool writes = row->targets[0].schema != NULL && core_span_eq(row->targets[0].name, field);
    writes = writes || mark_is_member(row, field);
    for (size_t s = 0; s < DERIVE_SUBS_MAX && row->derive->subs[s] != NULL && !writes; s++) {
        char text[SCHEMA_NAME_BYTES_MAX];
        writes = !derive_reads(row->derive, s) && core_span_eq(derive_sub_name(row, s, text), field);
    }
    return writes;
}

bool mark_read(struct maps_file *file, struct core_span *rest, struct map_row *row, struct core_span field) {
    struct core_span word = maps_word(rest);
    if (word.len == 0) {
        maps_mistake(file, word.ptr, "a word belongs behind \"observable\": ip, domain, url …");
        return false;
    }
    enum core_indicator type = type_read(file, word);
    if (type == CORE_INDICATOR_NONE) {
        return false;
    }
    if (row->marks_len == ROW_MARKS_MAX) {
        maps_mistake(file, word.ptr, "a row marks at most %d observables", ROW_MARKS_MAX);
        return false;
    }
    const struct schema_field *schema = schema_find(file->loader->maps, field);
    if (schema == NULL || schema->word == NULL || !target_fits(schema, type)) {
        maps_mistake(file, word.ptr, "%.*s is %s in schema.tsv, and no observable of type %s", (int)field.len,
                     field.ptr, schema == NULL || schema->word == NULL ? "not" : schema->word,
                     core_indicator_word(type));
        return false;
    }
    if (row->kind == ROW_FIELD && !source_fits(row->type.type, type)) {
        maps_mistake(file, word.ptr, "%s is no observable of type %s", field_type_name(row->type.type),
                     core_indicator_word(type));
        return false;
    }
    row->marks[row->marks_len++] = (struct row_mark){.field = field, .type = (uint8_t)type};
    return true;
}

bool marks_read_derive(struct maps_file *file, struct core_span rest, struct map_row *row) {
    for (struct core_span word = maps_word(&rest); word.len > 0; word = maps_word(&rest)) {
        if (!core_span_is(word, "observable")) {
            maps_mistake(file, word.ptr, "behind a function: observable TYPE, observable TYPE FIELD; not \"%.*s\"",
                         (int)word.len, word.ptr);
            return false;
        }
        struct core_span ahead = rest; /* TYPE, and perhaps FIELD */
        (void)maps_word(&ahead);
        struct core_span after = ahead;
        struct core_span field = maps_word(&after);
        bool is_named = field.len > 0 && !core_span_is(field, "observable");
        if (is_named) {
            field = core_span_of(maps_text(file->loader, field));
        } else if (row->targets[0].schema == NULL) {
            maps_mistake(file, word.ptr, "%s is an object: the field below it belongs behind observable TYPE",
                         row->targets[0].name.ptr);
            return false;
        } else {
            field = row->targets[0].name;
        }
        if (!derive_writes(row, field)) {
            maps_mistake(file, word.ptr, "%s() does not write %s here", row->derive->name, field.ptr);
            return false;
        }
        if (!mark_read(file, &rest, row, field)) {
            return false;
        }
        rest = is_named ? after : rest;
    }
    return true;
}
