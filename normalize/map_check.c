/* normalize/map_check.c: what is wrong with maps whose rows are each right, for `tapline map check`: rows that can never
 * write, rows whose value would be lost behind another's, tables, aliases, files and logs that nothing uses. Nothing here
 * keeps a pipeline from starting: such a map works, but nobody can have meant it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/maps_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>

/* One target of one row. */
struct writer {
    const struct map_row *row;
    const struct row_target *target;
};

static const char *writer_place(struct writer writer, char out[SCHEMA_NAME_BYTES_MAX]) {
    snprintf(out, SCHEMA_NAME_BYTES_MAX, "%.220s:%zu:%u", writer.row->path, writer.row->line, writer.target->column);
    return out;
}

static bool table_has_any(const struct table *table) {
    for (size_t i = 0; i < table->len; i++) {
        if (core_span_is(table->entries[i].key, "*")) {
            return true;
        }
    }
    return false;
}

/* May the row have its field and still write nothing here? Then another row of the same field is its alternative. */
static bool may_miss(struct writer writer) {
    const struct map_row *row = writer.row;
    bool is_table = writer.target->via != NULL && !table_has_any(writer.target->via);
    bool is_address = writer.target->schema != NULL && writer.target->schema->type == SCHEMA_IP;
    return row->unless_field.len > 0 || row->unset.len > 0 || is_table || is_address;
}

/* Does the row write a field that no row before it writes? Then its value is in the document whatever happens here. */
static bool has_field_of_its_own(const struct map *map, const struct map_row *row) {
    for (size_t t = 0; t < row->targets_len; t++) {
        bool is_own = row->targets[t].via == NULL;
        for (const struct map_row *before = map->rows; is_own && before < row; before++) {
            for (size_t b = 0; b < before->targets_len; b++) {
                is_own = is_own && !core_span_eq(before->targets[b].name, row->targets[t].name);
            }
        }
        bool is_list = row->targets[t].schema != NULL && row->targets[t].schema->is_list;
        if (is_own || (is_list && row->targets[t].via == NULL)) {
            return true;
        }
    }
    return false;
}

static bool args_are_same(const struct map_row *a, const struct map_row *b) {
    bool is_same = a->derive == b->derive && a->args_len == b->args_len;
    for (size_t i = 0; is_same && i < a->args_len; i++) {
        is_same = core_span_eq(a->args[i], b->args[i]);
    }
    return is_same;
}

/* Two rows of one file that write the same field, which holds what the first of them has. */
static void pair_check(struct maps_loader *loader, const struct map *map, struct writer first, struct writer second) {
    char place[SCHEMA_NAME_BYTES_MAX];
    const char *name = second.target->name.ptr;
    if (first.row == second.row) {
        maps_mistake_at(loader, writer_place(second, place), "%s stands twice in this row", name);
        return;
    }
    if (first.row->kind != second.row->kind) {
        return; /* a const or derive row fills what no field row has */
    }
    if (first.row->kind == ROW_CONST) {
        maps_mistake_at(loader, writer_place(second, place), "%s is a constant already, in line %zu", name,
                        first.row->line);
        return;
    }
    if (first.row->kind == ROW_DERIVE) {
        if (args_are_same(first.row, second.row)) {
            maps_mistake_at(loader, writer_place(second, place), "%s is derived the same way already, in line %zu",
                            name, first.row->line);
        }
        return;
    }
    bool is_same_field = core_span_eq(first.row->from, second.row->from);
    if (is_same_field && !may_miss(first)) {
        maps_mistake_at(loader, writer_place(second, place),
                        "this never writes %s: line %zu does in every record that has %s", name, first.row->line,
                        second.row->from.ptr);
    } else if (!is_same_field && second.row->unless_field.len == 0 && !has_field_of_its_own(map, second.row)) {
        maps_mistake_at(
            loader, writer_place(second, place),
            "%s is written by line %zu already: in a record with both fields the value of %s would be lost; "
            "let it also go to a field of its own, or say unless",
            name, first.row->line, second.row->from.ptr);
    }
}

static bool is_single(const struct row_target *target) {
    return target->schema != NULL && !target->schema->is_list;
}

/* One target of a row against all targets before it; only the first mistake is told. */
static void target_check(struct maps_loader *loader, const struct map *map, struct writer second) {
    size_t mistakes = loader->mistakes->len;
    if (!is_single(second.target)) {
        return;
    }
    for (const struct map_row *row = map->rows; row <= second.row; row++) {
        const struct row_target *end = row == second.row ? second.target : row->targets + row->targets_len;
        for (const struct row_target *target = row->targets; target < end; target++) {
            if (loader->mistakes->len == mistakes && core_span_eq(target->name, second.target->name)) {
                pair_check(loader, map, (struct writer){row, target}, second);
            }
        }
    }
}

/* The rows of this file: those of an included map step back for those of their host. */
static void rows_check(struct maps_loader *loader, const struct map *map) {
    for (size_t r = 0; r < map->own_rows_len; r++) {
        for (size_t t = 0; t < map->rows[r].targets_len; t++) {
            target_check(loader, map, (struct writer){&map->rows[r], &map->rows[r].targets[t]});
        }
    }
}

/* ---- tables, aliases ----------------------------------------------------------------------------------------------------- */

static bool entry_fits(const struct schema_field *schema, struct core_span text) {
    switch (schema->type) {
    case SCHEMA_LONG:
    case SCHEMA_DOUBLE:
        return core_json_is_number(text);
    case SCHEMA_BOOLEAN:
        return core_span_is(text, "true") || core_span_is(text, "false");
    case SCHEMA_IP: {
        struct ip_addr ip;
        return ip_parse(text, &ip);
    }
    case SCHEMA_KEYWORD:
    case SCHEMA_OWN:
        return true;
    case SCHEMA_DATE:
    case SCHEMA_OBJECT:
    default:
        return false;
    }
}

static void table_check(struct maps_loader *loader, const struct map *map, const struct table *table) {
    bool is_used = false;
    for (size_t r = 0; r < map->own_rows_len; r++) {
        for (size_t t = 0; t < map->rows[r].targets_len; t++) {
            const struct row_target *target = &map->rows[r].targets[t];
            is_used = is_used || target->via == table;
            for (size_t e = 0; target->via == table && e < table->len; e++) {
                if (!entry_fits(target->schema, table->entries[e].text)) {
                    maps_mistake_at(loader, table->place, "\"%s\" cannot be written to %s, which is %s in schema.tsv",
                                    table->entries[e].text.ptr, target->name.ptr, target->schema->word);
                }
            }
        }
    }
    if (!is_used) {
        maps_mistake_at(loader, table->place, "no row uses the table \"%s\"", table->name);
    }
    for (size_t e = 1; e < table->len; e++) {
        for (size_t b = 0; b < e; b++) {
            if (core_span_eq(table->entries[b].key, table->entries[e].key)) {
                maps_mistake_at(loader, table->place, "the table has the key \"%s\" twice", table->entries[e].key.ptr);
            }
        }
    }
}

/* A field that a row reads: as its own, in a condition, as an argument. */
static bool is_read(const struct map *map, struct core_span field) {
    for (size_t r = 0; r < map->rows_len; r++) {
        const struct map_row *row = &map->rows[r];
        bool is_it = core_span_eq(row->from, field) || core_span_eq(row->unless_field, field);
        for (size_t a = 0; a < row->args_len; a++) {
            is_it = is_it || core_span_eq(row->args[a], field);
        }
        if (is_it) {
            return true;
        }
    }
    return false;
}

static void aliases_check(struct maps_loader *loader, const struct map *map) {
    for (size_t i = 0; i < map->own_aliases_len; i++) {
        if (!is_read(map, map->aliases[i].to)) {
            maps_mistake_at(loader, map->aliases[i].place, "no row reads the field \"%s\"", map->aliases[i].to.ptr);
        }
    }
}

static void map_check(struct maps_loader *loader, const struct map *map) {
    rows_check(loader, map);
    for (size_t i = 0; i < map->tables_len; i++) {
        table_check(loader, map, &map->tables[i]);
    }
    aliases_check(loader, map);
}

/* ---- all maps ------------------------------------------------------------------------------------------------------------ */

/* A row behind one of the same file that takes every log it would. Site rows before ours are there to do that. */
static void logs_check(struct maps_loader *loader) {
    const struct normalize_maps *maps = loader->maps;
    for (size_t i = 1; i < maps->logs_len; i++) {
        const struct log_row *row = &maps->logs[i];
        for (size_t b = 0; b < i; b++) {
            const struct log_row *before = &maps->logs[b];
            if (before->is_site == row->is_site && core_span_eq(before->product, row->product) &&
                fnmatch(before->log.ptr, row->log.ptr, 0) == 0) {
                maps_mistake_at(loader, row->place, "no log comes here: \"%s\" at %s takes them all", before->log.ptr,
                                before->place);
                break;
            }
        }
    }
}

static bool is_loaded(const struct normalize_maps *maps, const char *name, size_t len) {
    for (size_t i = 0; i < maps->maps_len; i++) {
        if (strlen(maps->maps[i]->name) == len && memcmp(maps->maps[i]->name, name, len) == 0) {
            return true;
        }
    }
    return false;
}

static void files_check(struct maps_loader *loader, const char *dir) {
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/maps", dir);
    DIR *files = opendir(path);
    if (files == NULL) {
        if (errno != ENOENT) {
            maps_mistake_at(loader, path, "cannot be listed: %s", strerror(errno));
        }
        return;
    }
    for (const struct dirent *entry = readdir(files); entry != NULL; entry = readdir(files)) {
        size_t len = strlen(entry->d_name);
        bool is_map = len > 4 && strcmp(entry->d_name + len - 4, ".map") == 0;
        if (is_map && !is_loaded(loader->maps, entry->d_name, len - 4)) {
            char place[1024];
            (void)snprintf(place, sizeof(place), "%s/%s:1:1", path, entry->d_name);
            maps_mistake_at(loader, place, "no row of logs.table names this map, and no map includes it");
        }
    }
    (void)closedir(files);
}

void maps_check_all(struct maps_loader *loader) {
    logs_check(loader);
    for (size_t i = 0; i < loader->maps->maps_len; i++) {
        map_check(loader, loader->maps->maps[i]);
    }
    for (size_t i = 0; i < sizeof(loader->dirs) / sizeof(loader->dirs[0]); i++) {
        if (loader->dirs[i] != NULL) {
            files_check(loader, loader->dirs[i]);
        }
    }
}
