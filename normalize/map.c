/* normalize/map.c: reads one map file: its rows, aliases and tables (configs/maps/FORMAT.md), and checks each row against
 * the schema. Tables may stand below the rows that use them, so their names are resolved when the file has been read.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/maps_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* A map being read. Rows go to a list first: an included map's rows come after its own. */
struct reading {
    struct maps_file file;
    struct map *map;
    const char *path; /* the file's, for as long as the maps */
    size_t rows_cap;
    size_t aliases_cap;
    size_t tables_cap;
    struct table *table; /* the one whose entries follow; NULL outside */
    size_t entries_cap;
    const struct map *includes[8];
    size_t includes_len;
    unsigned depth;
    bool has_log; /* its row `log` was read */
};

/* Room for one more element of an arena array, doubling: the old one is left behind, maps are small. */
static void *grown(struct maps_loader *loader, void *array, size_t len, size_t *cap, size_t size) {
    if (len < *cap) {
        return array;
    }
    size_t next = *cap == 0 ? 16 : *cap * 2;
    void *copy = maps_alloc(loader, next * size);
    if (len > 0) {
        memcpy(copy, array, len * size);
    }
    *cap = next;
    return copy;
}

static struct table *table_find(struct map *map, struct core_span name) {
    for (size_t i = 0; i < map->tables_len; i++) {
        if (core_span_is(name, map->tables[i].name)) {
            return &map->tables[i];
        }
    }
    return NULL;
}

/* ---- how -------------------------------------------------------------------------------------------------------------- */

/* The word after `what`, or a mistake. */
static bool need_word(struct reading *reading, struct core_span *rest, const char *what, struct core_span *word) {
    *word = maps_word(rest);
    if (word->len == 0) {
        maps_mistake(&reading->file, word->ptr, "a word belongs behind \"%s\"", what);
        return false;
    }
    return true;
}

/* Remember the table's name: it may stand below. */
static bool how_via(struct reading *reading, struct core_span *rest, struct row_target *target) {
    struct core_span name;
    if (!need_word(reading, rest, "via", &name)) {
        return false;
    }
    target->via_name = core_span_of(maps_text(reading->file.loader, name));
    return true;
}

static uint32_t column_of(const struct reading *reading, struct core_span word) {
    return (uint32_t)(word.ptr - reading->file.line.ptr) + 1;
}

static bool target_set(struct reading *reading, struct map_row *row, struct core_span name) {
    if (row->targets_len == ROW_TARGETS_MAX) {
        maps_mistake(&reading->file, name.ptr, "a row has at most %d targets", ROW_TARGETS_MAX);
        return false;
    }
    const struct schema_field *schema = schema_find(reading->file.loader->maps, name);
    if (schema == NULL || schema->type == SCHEMA_OWN) {
        maps_mistake(&reading->file, name.ptr,
                     "\"%.*s\" is not in schema.tsv: only a keep row writes what that has not", (int)name.len,
                     name.ptr);
        if (schema == NULL) {
            return false;
        }
    }
    row->targets[row->targets_len++] = (struct row_target){.name = core_span_of(maps_text(reading->file.loader, name)),
                                                           .schema = schema,
                                                           .column = column_of(reading, name)};
    return true;
}

static bool how_also(struct reading *reading, struct core_span *rest, struct map_row *row) {
    struct core_span name;
    return need_word(reading, rest, "also", &name) && target_set(reading, row, name);
}

/* FIELD = TEXT, FIELD != TEXT, behind `what`. */
static bool condition(struct reading *reading, struct core_span *rest, const char *what, struct map_row *row) {
    struct core_span field;
    struct core_span sign;
    struct core_span text;
    if (!need_word(reading, rest, what, &field) || !need_word(reading, rest, what, &sign) ||
        !need_word(reading, rest, what, &text)) {
        return false;
    }
    row->unless_not = core_span_is(sign, "!=");
    if (!row->unless_not && !core_span_is(sign, "=")) {
        maps_mistake(&reading->file, sign.ptr, "= or != belongs here, not \"%.*s\"", (int)sign.len, sign.ptr);
        return false;
    }
    row->unless_field = core_span_of(maps_text(reading->file.loader, field));
    row->unless_text = core_span_of(maps_text(reading->file.loader, text));
    return true;
}

static bool how_split(struct reading *reading, struct core_span *rest, struct map_row *row) {
    struct core_span word;
    if (!need_word(reading, rest, "split", &word)) {
        return false;
    }
    if (word.len != 1) {
        maps_mistake(&reading->file, word.ptr, "split cuts at one character, not at \"%.*s\"", (int)word.len, word.ptr);
        return false;
    }
    row->split = word.ptr[0];
    return true;
}

static bool how_unit(struct reading *reading, struct core_span *rest, struct map_row *row) {
    struct core_span word;
    if (!need_word(reading, rest, "unit", &word)) {
        return false;
    }
    if (!core_span_is(word, "ns") || row->type.type != TYPE_INTERVAL) {
        maps_mistake(&reading->file, word.ptr, "the only unit is ns, of an interval");
        return false;
    }
    row->unit_ns = true;
    return true;
}

static bool how_unset(struct reading *reading, struct core_span *rest, struct map_row *row) {
    struct core_span word;
    if (!need_word(reading, rest, "unset", &word)) {
        return false;
    }
    row->unset = core_span_of(maps_text(reading->file.loader, word));
    return true;
}

/* Everything behind the target. */
static bool row_how(struct reading *reading, struct core_span rest, struct map_row *row) {
    bool is_good = true;
    while (is_good) {
        struct core_span word = maps_word(&rest);
        if (word.len == 0) {
            return true;
        }
        if (core_span_is(word, "lower")) {
            row->is_lower = true;
        } else if (core_span_is(word, "split")) {
            is_good = how_split(reading, &rest, row);
        } else if (core_span_is(word, "unset")) {
            is_good = how_unset(reading, &rest, row);
        } else if (core_span_is(word, "unit")) {
            is_good = how_unit(reading, &rest, row);
        } else if (core_span_is(word, "unless")) {
            is_good = condition(reading, &rest, "unless", row);
        } else if (core_span_is(word, "also")) {
            is_good = how_also(reading, &rest, row);
        } else if (core_span_is(word, "via")) {
            is_good = how_via(reading, &rest, &row->targets[row->targets_len - 1]);
        } else if (core_span_is(word, "observable")) {
            is_good = mark_read(&reading->file, &rest, row, row->targets[row->targets_len - 1].name);
        } else {
            static const char *const words[] = {"lower",  "split", "unset", "unit",
                                                "unless", "also",  "via",   "observable"};
            char text[64];
            snprintf(text, sizeof(text), "%.*s", (int)word.len, word.ptr);
            const char *near = core_conf_nearest(text, words, sizeof(words) / sizeof(words[0]));
            maps_mistake(&reading->file, word.ptr, "\"%s\" is no word of the map format%s%s%s", text,
                         near == NULL ? "" : ", did you mean \"", near == NULL ? "" : near, near == NULL ? "" : "\"?");
            is_good = false;
        }
    }
    return false;
}

/* ---- rows ---------------------------------------------------------------------------------------------------------------- */

/* Can a source type be a target's? What the target's own value could never be is a mistake now, not a surprise later. */
static bool types_agree(const struct map_row *row, const struct row_target *target) {
    enum field_type from = row->type.type;
    if (target->via_name.len > 0 || from == TYPE_ANY) {
        return true;
    }
    switch (target->schema->type) {
    case SCHEMA_LONG:
        return from == TYPE_COUNT || from == TYPE_INT || from == TYPE_PORT || (from == TYPE_INTERVAL && row->unit_ns);
    case SCHEMA_DOUBLE:
        return from == TYPE_DOUBLE || from == TYPE_COUNT || from == TYPE_INT || from == TYPE_INTERVAL;
    case SCHEMA_BOOLEAN:
        return from == TYPE_BOOL;
    case SCHEMA_DATE:
        return from == TYPE_TIME || from == TYPE_SNORTTIME;
    case SCHEMA_IP:
        return from == TYPE_ADDR || from == TYPE_STRING;
    case SCHEMA_KEYWORD:
        return from != TYPE_BOOL && from != TYPE_INTERVAL && from != TYPE_TIME;
    case SCHEMA_OBJECT:
        return false;
    case SCHEMA_OWN:
    default:
        return true;
    }
}

/* Does the target hold as many values as the row has? A list in a field for one value is found by no one who looks there
 * for one, and a consumer of the topic was told otherwise. */
static bool many_agree(const struct map_row *row, const struct row_target *target) {
    bool is_many = row->type.is_list || row->split != 0;
    switch (target->schema->many) {
    case SCHEMA_ONE:
        return !is_many;
    case SCHEMA_ARRAY:
        return row->type.is_list;
    case SCHEMA_LIST:
    case SCHEMA_EITHER:
    case SCHEMA_MANY__MAX:
    default:
        return true;
    }
}

static struct map_row *row_new(struct reading *reading) {
    struct map *map = reading->map;
    map->rows = grown(reading->file.loader, map->rows, map->rows_len, &reading->rows_cap, sizeof(struct map_row));
    struct map_row *row = &map->rows[map->rows_len];
    memset(row, 0, sizeof(*row));
    const char *slash = strrchr(reading->file.path, '/');
    snprintf(row->place, sizeof(row->place), "%s%.45s:%zu", reading->file.is_site ? "site/" : "",
             slash == NULL ? reading->file.path : slash + 1, reading->file.line_number);
    row->path = reading->path;
    row->line = reading->file.line_number;
    return row;
}

/* What a table says of a value is not what was seen. */
static bool words_are_unmarked(struct reading *reading, const struct map_row *row, struct core_span at) {
    for (size_t t = 0; t < row->targets_len; t++) {
        for (size_t m = 0; m < row->marks_len; m++) {
            if (row->targets[t].via_name.len > 0 && core_span_eq(row->targets[t].name, row->marks[m].field)) {
                maps_mistake(&reading->file, at.ptr, "%s has a table's words, and they are no observables",
                             row->targets[t].name.ptr);
                return false;
            }
        }
    }
    return true;
}

static bool row_field(struct reading *reading, struct map_row *row, struct core_span from, struct core_span type,
                      struct core_span rest) {
    bool is_known;
    row->kind = ROW_FIELD;
    row->from = core_span_of(maps_text(reading->file.loader, from));
    row->type = declared_parse(type, &is_known);
    if (!is_known) {
        maps_mistake(&reading->file, type.ptr, "\"%.*s\" is no type", (int)type.len, type.ptr);
        return false;
    }
    struct core_span to = maps_word(&rest);
    if (to.len == 0) {
        maps_mistake(&reading->file, to.ptr, "the document's field belongs here");
        return false;
    }
    if (!target_set(reading, row, to) || !row_how(reading, rest, row)) {
        return false;
    }
    for (size_t i = 0; i < row->targets_len; i++) {
        if (!types_agree(row, &row->targets[i])) {
            maps_mistake(&reading->file, type.ptr, "%s cannot be written to %s, which schema.tsv has as another type",
                         field_type_name(row->type.type), row->targets[i].name.ptr);
            return false;
        }
        if (!many_agree(row, &row->targets[i])) {
            maps_mistake(
                &reading->file, type.ptr,
                row->targets[i].schema->many == SCHEMA_ONE
                    ? "%s is one value in schema.tsv, and this row writes lists; \"array\" or \"either\" there "
                      "says that it may"
                    : "%s is an array in schema.tsv, and this row's type is none",
                row->targets[i].name.ptr);
            return false;
        }
    }
    return words_are_unmarked(reading, row, type);
}

static bool row_const(struct reading *reading, struct map_row *row, struct core_span rest) {
    row->kind = ROW_CONST;
    struct core_span to = maps_word(&rest);
    struct core_span text = maps_trim(rest);
    if (to.len == 0 || text.len == 0) {
        maps_mistake(&reading->file, to.ptr, "a const row is: - const FIELD VALUE");
        return false;
    }
    row->constant = core_span_of(maps_text(reading->file.loader, text));
    if (!target_set(reading, row, to)) {
        return false;
    }
    enum schema_type type = row->targets[0].schema->type;
    bool is_number = type == SCHEMA_LONG || type == SCHEMA_DOUBLE;
    if (is_number && !core_json_is_number(row->constant)) {
        maps_mistake(&reading->file, text.ptr, "%s is a number", row->targets[0].name.ptr);
        return false;
    }
    if (type == SCHEMA_BOOLEAN && !core_span_is(row->constant, "true") && !core_span_is(row->constant, "false")) {
        maps_mistake(&reading->file, text.ptr, "%s is true or false", row->targets[0].name.ptr);
        return false;
    }
    return true;
}

/* "function(a, b)": everything up to the closing parenthesis. */
static bool derive_args(struct reading *reading, struct map_row *row, struct core_span inside) {
    while (maps_trim(inside).len > 0) {
        const char *comma = core_span_chr(inside, ',');
        size_t len = comma == NULL ? inside.len : (size_t)(comma - inside.ptr);
        struct core_span arg = maps_trim((struct core_span){inside.ptr, len});
        size_t skip = comma == NULL ? len : len + 1;
        if (row->args_len == ROW_ARGS_MAX) {
            maps_mistake(&reading->file, arg.ptr, "a function has at most %d arguments", ROW_ARGS_MAX);
            return false;
        }
        row->args[row->args_len++] = core_span_of(maps_text(reading->file.loader, arg));
        inside = (struct core_span){inside.ptr + skip, inside.len - skip};
    }
    int len = (int)row->args_len;
    if (len < row->derive->args_min || len > row->derive->args_max) {
        maps_mistake(&reading->file, inside.ptr, "%s%s does not take %d arguments", row->derive->name,
                     row->derive->args, len);
        return false;
    }
    return true;
}

/* What the function writes, against the schema: its own value in the main target, and the fields below that. */
static bool derive_fits(struct reading *reading, const struct map_row *row, struct core_span name) {
    const struct row_target *target = &row->targets[0];
    if (target->schema != NULL && !derive_type_fits(row->derive, target->schema->type)) {
        maps_mistake(&reading->file, name.ptr, "%s() writes no %s, which %s is in schema.tsv", row->derive->name,
                     target->schema->word, target->name.ptr);
        return false;
    }
    for (size_t s = 0; s < DERIVE_SUBS_MAX && row->derive->subs[s] != NULL; s++) {
        char text[SCHEMA_NAME_BYTES_MAX];
        struct core_span sub = derive_sub_name(row, s, text);
        const struct schema_field *schema = schema_find(reading->file.loader->maps, sub);
        if (schema == NULL || schema->type == SCHEMA_OWN) {
            maps_mistake(&reading->file, name.ptr, "%s() also writes \"%.*s\", which is not in schema.tsv",
                         row->derive->name, (int)sub.len, sub.ptr);
        }
    }
    return true;
}

static bool row_derive(struct reading *reading, struct map_row *row, struct core_span rest) {
    row->kind = ROW_DERIVE;
    struct core_span to = maps_word(&rest);
    struct core_span call = maps_trim(rest);
    const char *open = core_span_chr(call, '(');
    const char *close = call.len == 0 ? NULL : memrchr(call.ptr, ')', call.len);
    if (to.len == 0 || open == NULL || close == NULL || close < open) {
        maps_mistake(&reading->file, call.ptr, "a derive row is: - derive FIELD function(arguments)");
        return false;
    }
    struct core_span name = maps_trim((struct core_span){call.ptr, (size_t)(open - call.ptr)});
    row->derive = derive_find(name);
    if (row->derive == NULL) {
        maps_mistake(&reading->file, name.ptr, "there is no function \"%.*s\"", (int)name.len, name.ptr);
        return false;
    }
    if (to.len > SCHEMA_NAME_BYTES_MAX / 2) {
        maps_mistake(&reading->file, to.ptr, "a function's target has at most %d bytes", SCHEMA_NAME_BYTES_MAX / 2);
        return false;
    }
    struct core_span inside = {open + 1, (size_t)(close - (open + 1))};
    struct core_span marks = {close + 1, (size_t)(call.ptr + call.len - (close + 1))};
    const struct schema_field *schema = schema_find(reading->file.loader->maps, to);
    /* A function with several targets may hang below an object that is no field itself. */
    if ((schema == NULL || schema->type == SCHEMA_OWN) && row->derive->subs[0] != NULL) {
        row->targets[row->targets_len++] =
            (struct row_target){.name = core_span_of(maps_text(reading->file.loader, to)),
                                .schema = NULL,
                                .column = column_of(reading, to)};
    } else if (!target_set(reading, row, to)) {
        return false;
    }
    return derive_args(reading, row, inside) && derive_fits(reading, row, name) &&
           marks_read_derive(&reading->file, marks, row);
}

static bool row_keep(struct reading *reading, struct map_row *row, struct core_span rest) {
    row->kind = ROW_KEEP;
    struct core_span to = maps_word(&rest);
    if (to.len < 3 || to.ptr[to.len - 1] != '*' || to.ptr[to.len - 2] != '.') {
        maps_mistake(&reading->file, to.ptr, "a keep row is: * keep PREFIX.*");
        return false;
    }
    if (to.len > SCHEMA_NAME_BYTES_MAX / 2 || !schema_is_own(to)) {
        maps_mistake(&reading->file, to.ptr,
                     "a record's other fields go below zeek. snort. suricata. or tapline., at most %d bytes",
                     SCHEMA_NAME_BYTES_MAX / 2);
        return false;
    }
    row->constant = core_span_of(maps_text(reading->file.loader, (struct core_span){to.ptr, to.len - 2}));
    return true;
}

static bool row_drop(struct reading *reading, struct map_row *row, struct core_span rest) {
    row->kind = ROW_DROP;
    if (!condition(reading, &rest, "drop when", row)) {
        return false;
    }
    struct core_span more = maps_word(&rest);
    if (more.len > 0) {
        maps_mistake(&reading->file, more.ptr, "a drop row is: drop when FIELD = VALUE, with one word each");
        return false;
    }
    row->drop = drop_rule_of(reading->file.loader->maps->drops, row);
    return true;
}

static void line_row(struct reading *reading, struct core_span code) {
    struct core_span rest = code;
    struct core_span from = maps_word(&rest);
    struct core_span type = maps_word(&rest);
    struct map_row *row = row_new(reading);
    bool is_good;
    if (core_span_is(from, "-") && core_span_is(type, "const")) {
        is_good = row_const(reading, row, rest);
    } else if (core_span_is(from, "-") && core_span_is(type, "derive")) {
        is_good = row_derive(reading, row, rest);
    } else if (core_span_is(from, "*") && core_span_is(type, "keep")) {
        is_good = row_keep(reading, row, rest);
    } else if (core_span_is(from, "drop") && core_span_is(type, "when")) {
        is_good = row_drop(reading, row, rest);
    } else if (type.len == 0) {
        maps_mistake(&reading->file, type.ptr, "a row is: from, type, to, how; or log, include, alias, table");
        is_good = false;
    } else {
        is_good = row_field(reading, row, from, type, rest);
    }
    reading->map->rows_len += is_good;
}

/* ---- the other lines ---------------------------------------------------------------------------------------------------------- */

static void line_alias(struct reading *reading, struct core_span rest) {
    struct core_span names = maps_word(&rest);
    struct core_span to = maps_word(&rest);
    if (to.len == 0) {
        maps_mistake(&reading->file, to.ptr, "an alias line is: alias NAME[,NAME] FIELD");
        return;
    }
    struct map *map = reading->map;
    const char *text = maps_text(reading->file.loader, to);
    const char *place = maps_place(&reading->file, to.ptr);
    while (names.len > 0) {
        const char *comma = core_span_chr(names, ',');
        size_t len = comma == NULL ? names.len : (size_t)(comma - names.ptr);
        map->aliases = grown(reading->file.loader, map->aliases, map->aliases_len, &reading->aliases_cap,
                             sizeof(struct map_alias));
        map->aliases[map->aliases_len++] = (struct map_alias){
            .from = core_span_of(maps_text(reading->file.loader, (struct core_span){names.ptr, len})),
            .to = core_span_of(text),
            .place = place,
        };
        size_t skip = comma == NULL ? len : len + 1;
        names = (struct core_span){names.ptr + skip, names.len - skip};
    }
}

static void line_table(struct reading *reading, struct core_span rest) {
    struct map *map = reading->map;
    struct core_span name = maps_word(&rest);
    if (name.len == 0 || table_find(map, name) != NULL) {
        maps_mistake(&reading->file, name.ptr, "a table needs a name that no other has");
        return;
    }
    map->tables = grown(reading->file.loader, map->tables, map->tables_len, &reading->tables_cap, sizeof(struct table));
    reading->table = &map->tables[map->tables_len++];
    memset(reading->table, 0, sizeof(*reading->table));
    reading->table->name = maps_text(reading->file.loader, name);
    reading->table->place = maps_place(&reading->file, name.ptr);
    reading->entries_cap = 0;
}

static void line_entry(struct reading *reading, struct core_span code) {
    struct core_span rest = code;
    struct core_span key = maps_word(&rest);
    struct core_span text = maps_trim(rest);
    if (text.len == 0) {
        maps_mistake(&reading->file, key.ptr, "a table's line is: KEY VALUE");
        return;
    }
    struct table *table = reading->table;
    table->entries =
        grown(reading->file.loader, table->entries, table->len, &reading->entries_cap, sizeof(struct table_entry));
    table->entries[table->len++] = (struct table_entry){
        .key = core_span_of(maps_text(reading->file.loader, key)),
        .text = core_span_of(maps_text(reading->file.loader, text)),
    };
}

static void line_include(struct reading *reading, struct core_span rest) {
    struct core_span name = maps_word(&rest);
    if (reading->includes_len == sizeof(reading->includes) / sizeof(reading->includes[0])) {
        maps_mistake(&reading->file, name.ptr, "a map includes at most 8 others");
        return;
    }
    const struct map *map = map_load(reading->file.loader, maps_text(reading->file.loader, name), &reading->file,
                                     name.ptr, reading->depth + 1);
    if (map != NULL) {
        reading->includes[reading->includes_len++] = map;
    }
}

static void map_line(struct reading *reading) {
    struct core_span code = maps_line_code(reading->file.line);
    if (maps_trim(code).len == 0) {
        return;
    }
    bool is_indented = code.ptr[0] == ' ' || code.ptr[0] == '\t';
    if (is_indented && reading->table != NULL) {
        line_entry(reading, code);
        return;
    }
    reading->table = NULL;
    struct core_span rest = code;
    struct core_span word = maps_word(&rest);
    if (core_span_is(word, "log")) {
        struct core_span name = maps_word(&rest);
        reading->has_log = true;
        if (!core_span_is(name, reading->map->name)) {
            maps_mistake(&reading->file, name.ptr, "this file is the map \"%s\", and says it is \"%.*s\"",
                         reading->map->name, (int)name.len, name.ptr);
        }
    } else if (core_span_is(word, "include")) {
        line_include(reading, rest);
    } else if (core_span_is(word, "alias")) {
        line_alias(reading, rest);
    } else if (core_span_is(word, "table")) {
        line_table(reading, rest);
    } else {
        line_row(reading, code);
    }
}

/* ---- the whole file -------------------------------------------------------------------------------------------------------------- */

/* The names that `via` left behind become tables. */
static void tables_resolve(struct reading *reading) {
    for (size_t i = 0; i < reading->map->rows_len; i++) {
        struct map_row *row = &reading->map->rows[i];
        for (size_t t = 0; t < row->targets_len; t++) {
            struct row_target *target = &row->targets[t];
            if (target->via_name.len == 0) {
                continue;
            }
            target->via = table_find(reading->map, target->via_name);
            if (target->via == NULL) {
                char place[SCHEMA_NAME_BYTES_MAX];
                snprintf(place, sizeof(place), "%.220s:%zu:%u", row->path, row->line, target->column);
                maps_mistake_at(reading->file.loader, place, "there is no table \"%s\" in this file",
                                target->via_name.ptr);
            }
        }
    }
}

/* Does the map have a row that stands for the included one: the same target from the same field? */
static bool row_is_overridden(const struct map *map, size_t own_len, const struct map_row *included) {
    if (included->kind == ROW_DROP) {
        return false;
    }
    for (size_t i = 0; i < own_len; i++) {
        const struct map_row *row = &map->rows[i];
        if (included->kind == ROW_KEEP) {
            if (row->kind == ROW_KEEP) {
                return true;
            }
            continue;
        }
        if (row->targets_len == 0 || !core_span_eq(row->targets[0].name, included->targets[0].name)) {
            continue;
        }
        bool is_same_field =
            row->kind == ROW_FIELD && included->kind == ROW_FIELD && core_span_eq(row->from, included->from);
        bool is_list = included->targets[0].schema != NULL && included->targets[0].schema->is_list;
        bool is_made = row->kind != ROW_FIELD && included->kind != ROW_FIELD && !is_list;
        if (is_same_field || is_made) {
            return true;
        }
    }
    return false;
}

static void includes_append(struct reading *reading) {
    struct map *map = reading->map;
    struct maps_loader *loader = reading->file.loader;
    size_t own_len = map->rows_len;
    for (size_t i = 0; i < reading->includes_len; i++) {
        const struct map *other = reading->includes[i];
        for (size_t r = 0; r < other->rows_len; r++) {
            if (row_is_overridden(map, own_len, &other->rows[r])) {
                continue;
            }
            map->rows = grown(loader, map->rows, map->rows_len, &reading->rows_cap, sizeof(struct map_row));
            map->rows[map->rows_len++] = other->rows[r];
        }
        for (size_t a = 0; a < other->aliases_len; a++) {
            map->aliases =
                grown(loader, map->aliases, map->aliases_len, &reading->aliases_cap, sizeof(struct map_alias));
            map->aliases[map->aliases_len++] = other->aliases[a];
        }
    }
}

/* A site's map stands for ours of the same name, but for itself: there the name is ours. */
static enum maps_whose whose_map(const struct maps_loader *loader, const struct maps_file *by, const char *name,
                                 const char *path) {
    bool is_itself = by->is_site && by->map_name != NULL && strcmp(by->map_name, name) == 0;
    return !is_itself && maps_file_exists(loader, MAPS_SITE, path) ? MAPS_SITE : MAPS_OURS;
}

static const struct map *map_find(const struct normalize_maps *maps, const char *name, enum maps_whose whose) {
    for (size_t i = 0; i < maps->maps_len; i++) {
        if (strcmp(maps->maps[i]->name, name) == 0 && maps->maps[i]->is_site == (whose == MAPS_SITE)) {
            return maps->maps[i];
        }
    }
    return NULL;
}

const struct map *map_load(struct maps_loader *loader, const char *name, struct maps_file *by, const char *at,
                           unsigned depth) {
    struct normalize_maps *maps = loader->maps;
    char path[256];
    snprintf(path, sizeof(path), "maps/%.200s.map", name);
    enum maps_whose whose = whose_map(loader, by, name, path);
    const struct map *have = map_find(maps, name, whose);
    if (have != NULL) {
        return have;
    }
    if (depth > MAPS_INCLUDE_DEPTH_MAX || maps->maps_len == MAPS_FILES_MAX || strchr(name, '/') != NULL) {
        maps_mistake(by, at, "\"%s\": maps include each other at most %d deep, and their names have no /", name,
                     MAPS_INCLUDE_DEPTH_MAX);
        return NULL;
    }
    struct reading reading = {.depth = depth};
    if (!maps_file_open(loader, &reading.file, whose, path)) {
        maps_mistake(by, at, "the map \"%s\" cannot be read", name);
        return NULL;
    }
    reading.map = maps_alloc(loader, sizeof(*reading.map));
    reading.map->name = maps_text(loader, core_span_of(name));
    reading.map->is_site = whose == MAPS_SITE;
    reading.path = maps_text(loader, core_span_of(reading.file.path));
    reading.file.map_name = reading.map->name;
    while (maps_file_line(&reading.file)) {
        map_line(&reading);
    }
    if (!reading.has_log) {
        char place[sizeof(reading.file.path) + 8];
        snprintf(place, sizeof(place), "%s:1:1", reading.file.path);
        maps_mistake_at(loader, place,
                        "no row `log %s` in this map: it is empty, or being written; write it under another name and "
                        "rename it",
                        name);
    }
    tables_resolve(&reading);
    reading.map->own_rows_len = reading.map->rows_len;
    reading.map->own_aliases_len = reading.map->aliases_len;
    includes_append(&reading);
    maps->maps[maps->maps_len++] = reading.map;
    return reading.map;
}
