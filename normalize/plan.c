/* normalize/plan.c: compiles a map and the columns of a log into a plan: what to run for a record, and where each field
 * stands in the nested document.
 *
 * A TSV header gives all columns at once; a JSON log's columns are found as its records come, and the plan is made again
 * with more of them (rarely: a log has a few dozen). Leaves are sorted so that the members of an object stand together:
 * then a document is written in one pass, opening and closing objects between neighbours. A plan belongs to one stream.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

#define PLAN_ARENA_BYTES (32 * CORE_MIB)
#define NAME_BYTES_MAX 4096

enum taken { TAKEN = 1, TAKEN_SOMETIMES = 2 };

/* A leaf while the plan is made; its place in the output is known only at the end. */
struct draft {
    struct core_span name;
    uint32_t sources;      /* rows that may write it at run time */
    bool is_list;
    bool is_forced;
    bool is_constant;
    struct value constant;
    uint16_t place;
};

struct making {
    struct plan *plan;
    const struct plan_request *request;
    const struct log_row *log;
    struct core_span dataset_own; /* the dataset behind its first dot: what % stands for in a map */
    struct draft *drafts;
    size_t drafts_len;
    uint16_t *draft_index;
    size_t ops_cap;
    uint8_t *taken; /* per column: enum taken */
    struct core_fail *fail;
};

#define DRAFT_INDEX_CAP ((size_t)LEAVES_MAX * 2)

static void *plan_alloc(struct plan *plan, size_t len) {
    void *p = core_arena_alloc(&plan->arena, len == 0 ? 1 : len);
    MUST(p != NULL); /* bounded: COLUMNS_MAX names of NAME_BYTES_MAX at most, see plan_make() */
    memset(p, 0, len);
    return p;
}

static struct core_span plan_text(struct plan *plan, struct core_span text) {
    char *copy = core_arena_copy(&plan->arena, text);
    MUST(copy != NULL);
    return (struct core_span){copy, text.len};
}

/* ---- columns ------------------------------------------------------------------------------------------------------------ */

uint16_t plan_column(const struct plan *plan, struct core_span name) {
    uint64_t at = core_hash64(name.ptr, name.len, 0);
    for (;; at++) {
        uint16_t i = plan->index[at & (plan->index_cap - 1)];
        if (i == COLUMN_NONE || core_span_eq(plan->columns[i].name, name)) {
            return i;
        }
    }
}

static void columns_copy(struct plan *plan, const struct plan_request *request) {
    plan->columns_len = (uint16_t)request->columns_len;
    plan->columns = plan_alloc(plan, request->columns_len * sizeof(*plan->columns));
    plan->index_cap = 64;
    while (plan->index_cap < request->columns_len * 2) {
        plan->index_cap *= 2;
    }
    plan->index = plan_alloc(plan, plan->index_cap * sizeof(*plan->index));
    memset(plan->index, 0xff, plan->index_cap * sizeof(*plan->index));
    for (uint16_t i = 0; i < plan->columns_len; i++) {
        plan->columns[i] = request->columns[i];
        plan->columns[i].name = plan_text(plan, request->columns[i].name);
        if (plan_column(plan, plan->columns[i].name) != COLUMN_NONE) {
            continue; /* a name twice: the first is found by name, both are decoded and kept */
        }
        uint64_t at = core_hash64(plan->columns[i].name.ptr, plan->columns[i].name.len, 0);
        while (plan->index[at & (plan->index_cap - 1)] != COLUMN_NONE) {
            at++;
        }
        plan->index[at & (plan->index_cap - 1)] = i;
    }
}

/* The column that stands for a map's field: its own name, else an alias, else the name with `_` for `.`. */
static uint16_t column_for(const struct making *making, struct core_span field) {
    const struct plan *plan = making->plan;
    uint16_t found = plan_column(plan, field);
    for (size_t i = 0; found == COLUMN_NONE && i < making->log->map->aliases_len; i++) {
        const struct map_alias *alias = &making->log->map->aliases[i];
        if (core_span_eq(alias->to, field)) {
            found = plan_column(plan, alias->from);
        }
    }
    if (found == COLUMN_NONE && core_span_chr(field, '.') != NULL && field.len < 256) {
        char name[256];
        for (size_t i = 0; i < field.len; i++) {
            name[i] = field.ptr[i] == '.' ? '_' : field.ptr[i];
        }
        found = plan_column(plan, (struct core_span){name, field.len});
    }
    return found;
}

/* An alias is not for a name that a row takes as it is. */
static bool alias_is_real_field(const struct map *map, struct core_span name) {
    for (size_t i = 0; i < map->rows_len; i++) {
        if (map->rows[i].kind == ROW_FIELD && core_span_eq(map->rows[i].from, name)) {
            return true;
        }
    }
    return false;
}

static uint16_t row_column(const struct making *making, const struct map_row *row) {
    uint16_t column = column_for(making, row->from);
    if (column != COLUMN_NONE && !core_span_eq(making->plan->columns[column].name, row->from) &&
        alias_is_real_field(making->log->map, making->plan->columns[column].name)) {
        return COLUMN_NONE;
    }
    return column;
}

/* ---- leaves ---------------------------------------------------------------------------------------------------------------- */

static struct draft *draft_find(struct making *making, struct core_span name, uint64_t *at) {
    for (*at = core_hash64(name.ptr, name.len, 0);; (*at)++) {
        uint16_t i = making->draft_index[*at & (DRAFT_INDEX_CAP - 1)];
        if (i == LEAF_NONE) {
            return NULL;
        }
        if (core_span_eq(making->drafts[i].name, name)) {
            return &making->drafts[i];
        }
    }
}

static struct core_span name_join(struct making *making, struct core_span head, struct core_span tail) {
    char *text = plan_alloc(making->plan, head.len + tail.len + 1);
    memcpy(text, head.ptr, head.len);
    memcpy(text + head.len, tail.ptr, tail.len);
    return (struct core_span){text, head.len + tail.len};
}

/* "zeek.%" with the log's own name in it. */
static struct core_span percent_fill(struct making *making, struct core_span text, struct core_span fill) {
    const char *at = core_span_chr(text, '%');
    if (at == NULL) {
        return text;
    }
    size_t head = (size_t)(at - text.ptr);
    struct core_span left = name_join(making, (struct core_span){text.ptr, head}, fill);
    return name_join(making, left, (struct core_span){at + 1, text.len - head - 1});
}

/* The leaf of this name (`%` is the dataset's own part), made if there is none; LEAF_NONE when there are too many. */
static uint16_t draft_leaf(struct making *making, struct core_span name) {
    uint64_t at;
    name = percent_fill(making, name, making->dataset_own);
    struct draft *draft = draft_find(making, name, &at);
    if (draft == NULL) {
        if (making->drafts_len == LEAVES_MAX) {
            return LEAF_NONE;
        }
        const struct schema_field *schema = schema_find(making->request->maps, name);
        draft = &making->drafts[making->drafts_len];
        draft->name = plan_text(making->plan, name);
        draft->is_list = schema != NULL && schema->is_list;
        making->draft_index[at & (DRAFT_INDEX_CAP - 1)] = (uint16_t)making->drafts_len++;
    }
    return (uint16_t)(draft - making->drafts);
}

static void known_leaves(struct making *making) {
    static const char *const names[KNOWN__MAX] = {
        [KNOWN_TIMESTAMP] = "@timestamp",
        [KNOWN_SOURCE_IP] = "source.ip",
        [KNOWN_DESTINATION_IP] = "destination.ip",
        [KNOWN_SOURCE_PORT] = "source.port",
        [KNOWN_DESTINATION_PORT] = "destination.port",
        [KNOWN_TRANSPORT] = "network.transport",
        [KNOWN_COMMUNITY_ID] = "network.community_id",
        [KNOWN_SESSION_ID] = "zeek.session_id",
        [KNOWN_LOG_PATH] = "log.file.path",
        [KNOWN_LOG_OFFSET] = "log.offset",
        [KNOWN_ORIGINAL] = "event.original",
    };
    for (size_t i = 0; i < KNOWN__MAX; i++) {
        uint16_t leaf = draft_leaf(making, core_span_of(names[i]));
        MUST(leaf != LEAF_NONE);
        making->plan->known[i] = leaf;
        making->drafts[leaf].sources++;
    }
}

/* ---- constants -------------------------------------------------------------------------------------------------------------- */

static struct value constant_scalar(struct making *making, enum schema_type type, struct core_span text) {
    bool is_raw = type == SCHEMA_LONG || type == SCHEMA_DOUBLE || type == SCHEMA_BOOLEAN;
    struct core_span copy = plan_text(making->plan, text);
    return value_of(is_raw ? VALUE_RAW : VALUE_TEXT, copy.ptr, copy.len);
}

/* The text of a table entry or a const row as the target has it: a scalar, or a list cut at commas. */
static struct value constant_value(struct making *making, const struct schema_field *schema, struct core_span text) {
    enum schema_type type = schema == NULL ? SCHEMA_OWN : schema->type;
    if (schema == NULL || !schema->is_list) {
        return constant_scalar(making, type, text);
    }
    size_t len = 1;
    for (size_t i = 0; i < text.len; i++) {
        len += text.ptr[i] == ',';
    }
    struct value *items = plan_alloc(making->plan, len * sizeof(*items));
    for (size_t i = 0; i < len; i++) {
        const char *comma = core_span_chr(text, ',');
        size_t cut = comma == NULL ? text.len : (size_t)(comma - text.ptr);
        struct core_span item = {text.ptr, cut};
        while (item.len > 0 && item.ptr[0] == ' ') {
            item = (struct core_span){item.ptr + 1, item.len - 1};
        }
        items[i] = constant_scalar(making, type, item);
        text = (struct core_span){text.ptr + cut + (comma != NULL), text.len - cut - (comma != NULL)};
    }
    return (struct value){.items = items, .len = (uint32_t)len, .kind = VALUE_LIST};
}

/* The value as JSON text, so that writing it is one copy. */
static struct value value_rendered(struct making *making, struct value value) {
    size_t room = 64 * CORE_KIB;
    char *work = malloc(room);
    MUST(work != NULL);
    struct core_buf buf = {.start = work, .pos = work, .end = work + room};
    value_emit(&buf, value);
    struct value out = value;
    if (!buf.is_full) {
        struct core_span copy = plan_text(making->plan, core_buf_written(&buf));
        out = value_of(VALUE_RAW, copy.ptr, copy.len);
    }
    free(work);
    return out;
}

static bool row_const_draft(struct making *making, const struct map_row *row) {
    uint16_t leaf = draft_leaf(making, row->targets[0].name);
    if (leaf == LEAF_NONE) {
        return false;
    }
    struct plan *plan = making->plan;
    plan->consts[plan->consts_len++] =
        (struct plan_const){.leaf = leaf,
                            .value = constant_value(making, row->targets[0].schema, row->constant),
                            .row = row};
    return true;
}

/* ---- ops --------------------------------------------------------------------------------------------------------------------- */

static bool is_numeric(enum field_type type) {
    return type == TYPE_COUNT || type == TYPE_INT || type == TYPE_DOUBLE || type == TYPE_PORT || type == TYPE_INTERVAL ||
           type == TYPE_TIME;
}

/* The type a column's text has, seen from a row: the header's word, unless the row knows better what the text means. */
static struct declared type_effective(struct declared column, struct declared row) {
    if (column.type == TYPE_ANY) {
        return row;
    }
    struct declared out = {.type = column.type, .is_list = column.is_list};
    bool is_text = column.type == TYPE_STRING || column.type == TYPE_ENUM;
    if (is_text || (is_numeric(column.type) && is_numeric(row.type))) {
        out.type = row.type;
    }
    return out;
}

/* Can text of this type be written to the target? If not (an old log's column of another type), the row stands back and
 * the field is kept under its own name. */
static bool type_fits(enum field_type type, const struct map_row *row, const struct row_target *target) {
    switch (target->schema->type) {
    case SCHEMA_LONG:
        return type == TYPE_COUNT || type == TYPE_INT || type == TYPE_PORT || type == TYPE_ANY ||
               (type == TYPE_INTERVAL && row->unit_ns);
    case SCHEMA_DOUBLE:
        return is_numeric(type) || type == TYPE_ANY;
    case SCHEMA_BOOLEAN:
        return type == TYPE_BOOL || type == TYPE_ANY;
    case SCHEMA_DATE:
        return type == TYPE_TIME || type == TYPE_SNORTTIME;
    case SCHEMA_IP:
        return type == TYPE_ADDR || type == TYPE_STRING || type == TYPE_ENUM || type == TYPE_ANY;
    default:
        return true;
    }
}

static struct op *op_new(struct making *making) {
    struct plan *plan = making->plan;
    MUST(plan->ops_len < making->ops_cap);
    return &plan->ops[plan->ops_len++];
}

static void op_table(struct making *making, struct op *op, const struct row_target *target) {
    const struct table *table = target->via;
    struct table_value *values = plan_alloc(making->plan, table->len * sizeof(*values));
    for (size_t i = 0; i < table->len; i++) {
        values[i].key = table->entries[i].key;
        values[i].value = constant_value(making, target->schema, table->entries[i].text);
    }
    op->code = OP_TABLE;
    op->table = values;
    op->table_len = (uint16_t)table->len;
}

static bool row_field_target(struct making *making, const struct map_row *row, const struct row_target *target,
                             uint16_t column) {
    struct declared type = type_effective(making->plan->columns[column].declared, row->type);
    if (target->via == NULL && !type_fits(type.type, row, target)) {
        return true;
    }
    uint16_t leaf = draft_leaf(making, target->name);
    if (leaf == LEAF_NONE) {
        return false;
    }
    struct op *op = op_new(making);
    making->drafts[leaf].sources++;
    making->taken[column] |= row->unless_field.len > 0 ? TAKEN_SOMETIMES : TAKEN;
    op->code = OP_COPY;
    op->column = column;
    op->leaf = leaf;
    op->type = (uint8_t)type.type;
    op->split = row->split;
    op->unset = row->unset;
    op->row = row;
    op->cond_column = COLUMN_NONE;
    enum schema_type schema = target->schema->type;
    unsigned flags = (row->is_lower ? OP_LOWER : 0u) | (row->unit_ns ? OP_UNIT_NS : 0u) |
                     (schema == SCHEMA_IP ? OP_IP : 0u) | (row->split != 0 ? OP_SPLIT : 0u) |
                     (schema == SCHEMA_KEYWORD ? OP_KEYWORD : 0u) | (making->drafts[leaf].is_list ? OP_LIST : 0u) |
                     (row->unless_field.len > 0 ? OP_COND : 0u);
    op->flags = (uint8_t)flags;
    op->ip_slot = leaf == making->plan->known[KNOWN_SOURCE_IP] ? 1 : leaf == making->plan->known[KNOWN_DESTINATION_IP] ? 2 : 0;
    if (row->unless_field.len > 0) {
        op->cond_column = column_for(making, row->unless_field);
        op->cond_text = row->unless_text;
        op->cond_not = row->unless_not;
    }
    if (target->via != NULL) {
        op_table(making, op, target);
    }
    return true;
}

static bool row_field_draft(struct making *making, const struct map_row *row) {
    uint16_t column = row_column(making, row);
    if (column == COLUMN_NONE) {
        return true;
    }
    for (size_t t = 0; t < row->targets_len; t++) {
        if (!row_field_target(making, row, &row->targets[t], column)) {
            return false;
        }
    }
    return true;
}

/* ---- derive ------------------------------------------------------------------------------------------------------------------- */

static bool derive_subs_draft(struct making *making, const struct map_row *row, struct derive_call *call) {
    struct plan *plan = making->plan;
    for (size_t s = 0; s < DERIVE_SUBS_MAX && row->derive->subs[s] != NULL; s++) {
        struct core_span name = core_span_of(row->derive->subs[s]);
        if (name.ptr[0] == '.') {
            bool is_own = core_span_starts(row->targets[0].name, CORE_SPAN("zeek."));
            /* Elastic's name for it below zeek. is another than ECS's. */
            name = is_own && core_span_is(name, ".state_or_province") ? CORE_SPAN(".state") : name;
            name = name_join(making, row->targets[0].name, name);
        }
        uint16_t leaf = draft_leaf(making, name);
        if (leaf == LEAF_NONE) {
            return false;
        }
        making->drafts[leaf].sources++;
        plan->subs[call->subs_at + s] = leaf;
    }
    return true;
}

static bool row_derive_draft(struct making *making, const struct map_row *row) {
    struct plan *plan = making->plan;
    struct derive_call *call = &plan->derives[plan->derives_len];
    bool has_any = row->derive->is_always;
    call->fn = row->derive;
    call->row = row;
    call->leaf = LEAF_NONE;
    call->subs_at = (uint16_t)(plan->derives_len * DERIVE_SUBS_MAX);
    for (size_t i = 0; i < ROW_ARGS_MAX; i++) {
        call->args[i] = i < row->args_len ? column_for(making, row->args[i]) : COLUMN_NONE;
        bool is_there = call->args[i] != COLUMN_NONE;
        has_any = has_any || is_there;
        if (is_there && (row->derive->takes >> i & 1) != 0) {
            making->taken[call->args[i]] |= TAKEN;
        }
    }
    if (!has_any) {
        return true;
    }
    if (row->targets[0].schema != NULL) {
        call->leaf = draft_leaf(making, row->targets[0].name);
        if (call->leaf == LEAF_NONE) {
            return false;
        }
        making->drafts[call->leaf].sources++;
    }
    plan->derives_len++;
    return derive_subs_draft(making, row, call);
}

/* ---- keep ---------------------------------------------------------------------------------------------------------------------- */

/* The field's own name as a path: an empty part (a..b) has no place in a search engine and becomes `_`. */
static struct core_span name_own(struct making *making, struct core_span prefix, struct core_span name) {
    char *text = plan_alloc(making->plan, prefix.len + name.len * 2 + 4);
    size_t len = prefix.len;
    memcpy(text, prefix.ptr, prefix.len);
    text[len++] = '.';
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '.' && text[len - 1] == '.') {
            text[len++] = '_';
        }
        text[len++] = name.ptr[i];
    }
    if (text[len - 1] == '.') {
        text[len++] = '_';
    }
    return (struct core_span){text, len};
}

static bool keep_column(struct making *making, const struct map_row *row, struct core_span prefix, uint16_t column) {
    struct plan *plan = making->plan;
    struct core_span name = name_own(making, prefix, plan->columns[column].name);
    uint64_t at;
    while (draft_find(making, name, &at) != NULL) {
        name = name_join(making, name, CORE_SPAN("_2")); /* another field is there already: nothing is dropped */
    }
    uint16_t leaf = draft_leaf(making, name);
    if (leaf == LEAF_NONE) {
        return false;
    }
    making->drafts[leaf].sources++;
    struct op *op = op_new(making);
    *op = (struct op){.code = OP_COPY,
                      .column = column,
                      .leaf = leaf,
                      .type = (uint8_t)plan->columns[column].declared.type,
                      .flags = (making->taken[column] & TAKEN_SOMETIMES) != 0 ? OP_KEEP : 0,
                      .cond_column = COLUMN_NONE,
                      .row = row};
    return true;
}

static bool keep_draft(struct making *making) {
    const struct map *map = making->log->map;
    const struct map_row *keep = NULL;
    for (size_t i = 0; i < map->rows_len && keep == NULL; i++) {
        keep = map->rows[i].kind == ROW_KEEP ? &map->rows[i] : NULL;
    }
    if (keep == NULL) {
        return true;
    }
    struct core_span prefix = percent_fill(making, keep->constant, making->dataset_own);
    for (uint16_t c = 0; c < making->plan->columns_len; c++) {
        if ((making->taken[c] & TAKEN) == 0 && !keep_column(making, keep, prefix, c)) {
            return false;
        }
    }
    return true;
}

/* ---- the input's own fields --------------------------------------------------------------------------------------------------- */

struct fields_walk {
    struct making *making;
    char name[NAME_BYTES_MAX];
    size_t ends[64]; /* length of name outside each object */
    size_t depth;
    size_t key_at;
    struct value items[64];
    size_t items_len;
    bool is_in_array;
    bool is_good;
};

static void fields_put(struct fields_walk *walk, struct value value) {
    struct making *making = walk->making;
    uint16_t leaf = draft_leaf(making, (struct core_span){walk->name, walk->key_at});
    if (leaf == LEAF_NONE) {
        walk->is_good = false;
        return;
    }
    making->drafts[leaf].is_forced = true;
    making->drafts[leaf].is_constant = true;
    making->drafts[leaf].constant = value_rendered(making, value);
}

static bool fields_scalar(struct fields_walk *walk, enum value_kind kind, struct core_span text) {
    struct core_span copy = plan_text(walk->making->plan, text);
    struct value value = value_of(kind, copy.ptr, copy.len);
    if (!walk->is_in_array) {
        fields_put(walk, value);
    } else if (walk->items_len < sizeof(walk->items) / sizeof(walk->items[0])) {
        walk->items[walk->items_len++] = value;
    }
    return true;
}

static bool fields_null(void *ctx) {
    return fields_scalar(ctx, VALUE_RAW, CORE_SPAN("null"));
}

static bool fields_bool(void *ctx, bool value) {
    return fields_scalar(ctx, VALUE_RAW, value ? CORE_SPAN("true") : CORE_SPAN("false"));
}

static bool fields_number(void *ctx, struct core_span text) {
    return fields_scalar(ctx, VALUE_RAW, text);
}

static bool fields_string(void *ctx, struct core_span text) {
    return fields_scalar(ctx, VALUE_TEXT, text);
}

static bool fields_key(void *ctx, struct core_span text) {
    struct fields_walk *walk = ctx;
    size_t at = walk->ends[walk->depth];
    if (at + text.len + 2 > sizeof(walk->name)) {
        return false;
    }
    if (at > 0) {
        walk->name[at++] = '.';
    }
    memcpy(walk->name + at, text.ptr, text.len);
    walk->key_at = at + text.len;
    return true;
}

static bool fields_map(void *ctx, bool is_start) {
    struct fields_walk *walk = ctx;
    if (!is_start) {
        walk->depth--;
        return true;
    }
    walk->ends[walk->depth + 1] = walk->key_at;
    walk->depth++;
    return walk->depth < 63;
}

static bool fields_array(void *ctx, bool is_start) {
    struct fields_walk *walk = ctx;
    walk->is_in_array = is_start;
    if (is_start) {
        walk->items_len = 0;
    } else {
        fields_put(walk, (struct value){.items = walk->items, .len = (uint32_t)walk->items_len, .kind = VALUE_LIST});
    }
    return true;
}

/* `inputs[].fields`, checked and nested when the config was read, become constants that nothing overrides. */
static bool fields_draft(struct making *making) {
    const struct core_stream *stream = making->request->stream;
    const char *json = stream->origin == NULL ? NULL : stream->origin->fields_json;
    if (json == NULL) {
        return true;
    }
    static const struct core_json_calls calls = {fields_null, fields_bool, fields_number, fields_string,
                                                 fields_key,  fields_map,  fields_array};
    struct fields_walk *walk = calloc(1, sizeof(*walk));
    MUST(walk != NULL);
    walk->making = making;
    walk->is_good = true;
    struct core_json_reader *reader = core_json_reader_new(&calls, walk);
    struct core_fail fail = {0};
    MUST(core_json_read(reader, core_span_of(json), &fail) == CORE_OK); /* we wrote it */
    bool is_good = walk->is_good;
    core_json_reader_free(reader);
    free(walk);
    return is_good;
}

/* ---- order ------------------------------------------------------------------------------------------------------------------------ */

/* Names in the order of the output: `.` sorts before every other byte, so an object's members stand together. */
static int name_compare(struct core_span a, struct core_span b) {
    size_t len = a.len < b.len ? a.len : b.len;
    for (size_t i = 0; i < len; i++) {
        unsigned char x = (unsigned char)a.ptr[i];
        unsigned char y = (unsigned char)b.ptr[i];
        if (x != y) {
            return x == '.' ? -1 : y == '.' ? 1 : x < y ? -1 : 1;
        }
    }
    return a.len == b.len ? 0 : a.len < b.len ? -1 : 1;
}

static int draft_compare(const void *a, const void *b) {
    const struct draft *const *x = a;
    const struct draft *const *y = b;
    return name_compare((*x)->name, (*y)->name);
}

/* A name that is both a leaf and an object: the leaf goes to NAME.value. Returns whether any was moved. */
static bool conflicts_move(struct making *making, struct draft **sorted) {
    bool is_moved = false;
    for (size_t i = 0; i + 1 < making->drafts_len; i++) {
        struct core_span name = sorted[i]->name;
        struct core_span next = sorted[i + 1]->name;
        if (next.len > name.len && next.ptr[name.len] == '.' && memcmp(next.ptr, name.ptr, name.len) == 0) {
            uint64_t at;
            struct core_span moved = name_join(making, name, CORE_SPAN(".value"));
            while (draft_find(making, moved, &at) != NULL) {
                moved = name_join(making, moved, CORE_SPAN("_2"));
            }
            making->draft_index[at & (DRAFT_INDEX_CAP - 1)] = (uint16_t)(sorted[i] - making->drafts);
            sorted[i]->name = moved;
            is_moved = true;
        }
    }
    return is_moved;
}

static uint8_t depth_of(struct core_span name) {
    unsigned depth = 0;
    for (size_t i = 0; i < name.len; i++) {
        depth += name.ptr[i] == '.';
    }
    return (uint8_t)depth;
}

/* Objects that two neighbours share. */
static uint8_t common_of(struct core_span a, struct core_span b) {
    unsigned common = 0;
    for (size_t i = 0; i < a.len && i < b.len && a.ptr[i] == b.ptr[i]; i++) {
        common += a.ptr[i] == '.';
    }
    return (uint8_t)common;
}

/* `"zeek":{"connection":{"state":` and where each depth begins in it. */
static void leaf_open(struct plan *plan, struct leaf *leaf) {
    size_t room = leaf->name.len * 6 + (size_t)(leaf->depth + 1) * 4 + 8;
    char *text = plan_alloc(plan, room);
    struct core_buf buf = {.start = text, .pos = text, .end = text + room};
    struct core_span rest = leaf->name;
    leaf->open_at = plan_alloc(plan, (size_t)(leaf->depth + 1) * sizeof(*leaf->open_at));
    for (unsigned d = 0; d <= leaf->depth; d++) {
        const char *dot = core_span_chr(rest, '.');
        size_t len = dot == NULL ? rest.len : (size_t)(dot - rest.ptr);
        leaf->open_at[d] = (uint16_t)(buf.pos - buf.start);
        core_buf_string(&buf, (struct core_span){rest.ptr, len});
        core_buf_put(&buf, d == leaf->depth ? ":" : ":{", d == leaf->depth ? 1 : 2);
        rest = (struct core_span){rest.ptr + len + (dot != NULL), rest.len - len - (dot != NULL)};
    }
    MUST(!buf.is_full);
    leaf->open = text;
    leaf->open_len = (uint16_t)(buf.pos - buf.start);
}

static void leaves_place(struct making *making) {
    struct plan *plan = making->plan;
    struct draft **sorted = malloc(making->drafts_len * sizeof(struct draft *));
    MUST(sorted != NULL);
    for (size_t i = 0; i < making->drafts_len; i++) {
        sorted[i] = &making->drafts[i];
    }
    do {
        qsort(sorted, making->drafts_len, sizeof(struct draft *), draft_compare);
    } while (conflicts_move(making, sorted));
    plan->leaves_len = (uint16_t)making->drafts_len;
    plan->leaves = plan_alloc(plan, making->drafts_len * sizeof(struct leaf));
    plan->values = plan_alloc(plan, making->drafts_len * sizeof(struct value));
    plan->present_words = (uint16_t)((making->drafts_len + 63) / 64);
    plan->present = plan_alloc(plan, plan->present_words * sizeof(uint64_t));
    plan->present_always = plan_alloc(plan, plan->present_words * sizeof(uint64_t));
    for (uint16_t i = 0; i < plan->leaves_len; i++) {
        struct leaf *leaf = &plan->leaves[i];
        sorted[i]->place = i;
        leaf->name = sorted[i]->name;
        leaf->depth = depth_of(leaf->name);
        leaf->common = i == 0 ? 0 : common_of(plan->leaves[i - 1].name, leaf->name);
        leaf->is_list = sorted[i]->is_list;
        leaf->is_forced = sorted[i]->is_forced;
        leaf->is_constant = sorted[i]->is_constant;
        leaf_open(plan, leaf);
        if (leaf->is_constant) {
            plan->values[i] = sorted[i]->constant;
            plan->present_always[i / 64] |= UINT64_C(1) << (i % 64);
        }
    }
    free(sorted);
}

/* Constants that nothing else writes are rendered once; the others stay for the end of each record. */
static void consts_settle(struct making *making) {
    struct plan *plan = making->plan;
    uint16_t left = 0;
    for (uint16_t i = 0; i < plan->consts_len; i++) {
        struct draft *draft = &making->drafts[plan->consts[i].leaf];
        if (draft->sources == 0 && !draft->is_constant) {
            draft->is_constant = true;
            draft->constant = value_rendered(making, plan->consts[i].value);
        } else if (!draft->is_constant) {
            plan->consts[left++] = plan->consts[i];
        }
    }
    plan->consts_len = left;
}

/* Drafts' numbers become places. */
static void places_fill(struct making *making) {
    struct plan *plan = making->plan;
    for (size_t i = 0; i < plan->ops_len; i++) {
        plan->ops[i].leaf = making->drafts[plan->ops[i].leaf].place;
    }
    for (size_t i = 0; i < plan->consts_len; i++) {
        plan->consts[i].leaf = making->drafts[plan->consts[i].leaf].place;
    }
    for (size_t i = 0; i < plan->derives_len; i++) {
        struct derive_call *call = &plan->derives[i];
        call->leaf = call->leaf == LEAF_NONE ? LEAF_NONE : making->drafts[call->leaf].place;
        for (size_t s = 0; s < DERIVE_SUBS_MAX && call->fn->subs[s] != NULL; s++) {
            plan->subs[call->subs_at + s] = making->drafts[plan->subs[call->subs_at + s]].place;
        }
    }
    for (size_t i = 0; i < KNOWN__MAX; i++) {
        plan->known[i] = making->drafts[plan->known[i]].place;
    }
}

/* ---- the whole ----------------------------------------------------------------------------------------------------------------------- */

static const struct log_row *log_find(const struct normalize_maps *maps, struct core_span product, struct core_span log) {
    char name[256];
    snprintf(name, sizeof(name), "%.*s", (int)(log.len < 255 ? log.len : 255), log.len == 0 ? "" : log.ptr);
    for (size_t i = 0; i < maps->logs_len; i++) {
        if (core_span_eq(maps->logs[i].product, product) && fnmatch(maps->logs[i].log.ptr, name, 0) == 0) {
            return &maps->logs[i];
        }
    }
    MUST(!"logs.table has no row for any log of this product: checked when it was read");
    return NULL;
}

static struct core_span log_clean(struct plan *plan, struct core_span log) {
    char *text = plan_alloc(plan, log.len + 8);
    size_t len = 0;
    for (size_t i = 0; i < log.len; i++) {
        int c = tolower((unsigned char)log.ptr[i]);
        text[len++] = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? (char)c : '_';
    }
    return len == 0 ? CORE_SPAN("unknown") : (struct core_span){text, len};
}

static const char *intern(struct normalize_worker *worker, struct core_span text) {
    for (struct interned *i = worker->datasets; i != NULL; i = i->next) {
        if (core_span_is(text, i->text)) {
            return i->text;
        }
    }
    struct interned *made = calloc(1, sizeof(*made));
    MUST(made != NULL);
    made->text = strndup(text.ptr, text.len);
    MUST(made->text != NULL);
    made->next = worker->datasets;
    worker->datasets = made;
    return made->text;
}

static void known_columns(struct plan *plan) {
    static const char *const names[COLUMN_KNOWN__MAX] = {
        [COLUMN_PATH] = "_path",           [COLUMN_STREAM] = "_stream", [COLUMN_TS] = "ts",   [COLUMN_TIMESTAMP] = "timestamp",
        [COLUMN_EVENT_TYPE] = "event_type", [COLUMN_RULE] = "rule",      [COLUMN_SID] = "sid", [COLUMN_PKT_NUM] = "pkt_num",
    };
    for (size_t i = 0; i < COLUMN_KNOWN__MAX; i++) {
        plan->known_columns[i] = plan_column(plan, core_span_of(names[i]));
    }
}

static bool rows_draft(struct making *making) {
    const struct map *map = making->log->map;
    for (size_t i = 0; i < map->rows_len; i++) {
        const struct map_row *row = &map->rows[i];
        bool is_good = row->kind == ROW_FIELD    ? row_field_draft(making, row)
                       : row->kind == ROW_CONST  ? row_const_draft(making, row)
                       : row->kind == ROW_DERIVE ? row_derive_draft(making, row)
                                                 : true;
        if (!is_good) {
            return false;
        }
    }
    return true;
}

/* event.dataset, log.file.path: known now, the same in every record. */
static void settled_constants(struct making *making) {
    struct plan *plan = making->plan;
    struct draft *path = &making->drafts[plan->known[KNOWN_LOG_PATH]];
    path->is_constant = true;
    path->constant = value_rendered(making, value_of(VALUE_TEXT, plan->stream->path, strlen(plan->stream->path)));
    struct draft *dataset = &making->drafts[draft_leaf(making, CORE_SPAN("event.dataset"))];
    dataset->is_constant = true;
    dataset->constant = value_rendered(making, value_of(VALUE_TEXT, plan->dataset, strlen(plan->dataset)));
}

static bool plan_fill(struct making *making) {
    struct plan *plan = making->plan;
    const struct map *map = making->log->map;
    making->ops_cap = map->rows_len * ROW_TARGETS_MAX + plan->columns_len;
    plan->ops = plan_alloc(plan, making->ops_cap * sizeof(struct op));
    plan->consts = plan_alloc(plan, map->rows_len * sizeof(struct plan_const));
    plan->derives = plan_alloc(plan, map->rows_len * sizeof(struct derive_call));
    plan->subs = plan_alloc(plan, map->rows_len * DERIVE_SUBS_MAX * sizeof(uint16_t));
    making->taken = plan_alloc(plan, plan->columns_len);
    known_leaves(making);
    settled_constants(making);
    if (!rows_draft(making) || !keep_draft(making) || !fields_draft(making)) {
        return false;
    }
    consts_settle(making);
    leaves_place(making);
    places_fill(making);
    known_columns(plan);
    return true;
}

enum core_err plan_make(struct plan **out, const struct plan_request *request, struct core_fail *fail) {
    struct making making = {.request = request, .fail = fail};
    if (request->columns_len > COLUMNS_MAX) {
        return core_fail_set(fail, CORE_LIMIT, request->stream->path, "more than %d distinct fields", COLUMNS_MAX);
    }
    struct plan *plan = calloc(1, sizeof(*plan));
    making.drafts = calloc(LEAVES_MAX, sizeof(struct draft));
    making.draft_index = malloc(DRAFT_INDEX_CAP * sizeof(uint16_t));
    MUST(plan != NULL);
    MUST(making.drafts != NULL);
    MUST(making.draft_index != NULL);
    memset(making.draft_index, 0xff, DRAFT_INDEX_CAP * sizeof(uint16_t));
    making.plan = plan;
    *out = NULL;
    enum core_err err = core_arena_init(&plan->arena, PLAN_ARENA_BYTES, fail);
    if (err == CORE_OK) {
        plan->maps = request->maps;
        plan->stream = request->stream;
        plan->may_grow = request->may_grow;
        plan->product = plan_text(plan, request->product);
        plan->log = plan_text(plan, request->log);
        making.log = log_find(request->maps, plan->product, plan->log);
        plan->map = making.log->map;
        plan->dataset = intern(request->worker, percent_fill(&making, making.log->dataset, log_clean(plan, plan->log)));
        const char *dot = strchr(plan->dataset, '.');
        making.dataset_own = core_span_of(dot == NULL ? plan->dataset : dot + 1);
        columns_copy(plan, request);
        if (!plan_fill(&making)) {
            err = core_fail_set(fail, CORE_LIMIT, request->stream->path, "more than %d fields in one document", LEAVES_MAX);
        }
    }
    free(making.drafts);
    free(making.draft_index);
    if (err != CORE_OK) {
        plan_free(plan);
        return err;
    }
    *out = plan;
    return CORE_OK;
}

void plan_free(struct plan *plan) {
    if (plan != NULL) {
        core_arena_destroy(&plan->arena);
        free(plan);
    }
}
