/* normalize/plan.c: compiles a map and the columns of a log into a plan: what to run for a record, and where each field
 * stands in the nested document.
 *
 * A TSV header gives all columns at once; a JSON log's columns are found as its records come, and the plan is made again
 * with more of them (rarely: a log has a few dozen). Leaves are sorted so that the members of an object stand together:
 * then a document is written in one pass, opening and closing objects between neighbours. A plan belongs to one stream.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/form.h"
#include "normalize/plan_internal.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

#define PLAN_ARENA_BYTES (32 * CORE_MIB)

void *plan_alloc(struct plan *plan, size_t len) {
    void *p = core_arena_alloc(&plan->arena, len == 0 ? 1 : len);
    MUST(p != NULL); /* bounded: COLUMNS_MAX names of NAME_BYTES_MAX at most, see plan_make() */
    memset(p, 0, len);
    return p;
}

struct core_span plan_text(struct plan *plan, struct core_span text) {
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

static void column_index(struct plan *plan, uint16_t column) {
    struct core_span name = plan->columns[column].name;
    if (plan_column(plan, name) != COLUMN_NONE) {
        return; /* a name twice: the first is found by name, both are decoded and kept */
    }
    uint64_t at = core_hash64(name.ptr, name.len, 0);
    while (plan->index[at & (plan->index_cap - 1)] != COLUMN_NONE) {
        at++;
    }
    plan->index[at & (plan->index_cap - 1)] = column;
}

/* The decoders' columns, with room for one more for each of them: the real name of an alias. */
static void columns_copy(struct plan *plan, const struct plan_request *request) {
    plan->decoded_len = (uint16_t)request->columns_len;
    plan->columns_len = plan->decoded_len;
    plan->columns = plan_alloc(plan, request->columns_len * 2 * sizeof(*plan->columns));
    plan->moves = plan_alloc(plan, request->columns_len * sizeof(*plan->moves));
    plan->index_cap = 64;
    while (plan->index_cap < request->columns_len * 4) {
        plan->index_cap *= 2;
    }
    plan->index = plan_alloc(plan, plan->index_cap * sizeof(*plan->index));
    memset(plan->index, 0xff, plan->index_cap * sizeof(*plan->index));
    if (request->may_grow) {
        plan->keys = plan_alloc(plan, (request->columns_len + 1) * sizeof(*plan->keys));
        json_key_make(&plan->keys[plan->decoded_len], (struct core_span){NULL, 0});
    }
    for (uint16_t i = 0; i < plan->decoded_len; i++) {
        plan->columns[i] = request->columns[i];
        plan->columns[i].name = plan_text(plan, request->columns[i].name);
        column_index(plan, i);
        if (request->may_grow) {
            json_key_make(&plan->keys[i], plan->columns[i].name);
        }
    }
}

static bool name_is_like(struct core_span column, struct core_span field) {
    if (column.len != field.len) {
        return false;
    }
    for (size_t i = 0; i < column.len; i++) {
        if (column.ptr[i] != field.ptr[i] && (column.ptr[i] != '_' || field.ptr[i] != '.')) {
            return false;
        }
    }
    return true;
}

/* The field that a column of another name stands for: an alias's, or a row's whose dots were written as `_`. */
static struct core_span real_name(const struct map *map, struct core_span column) {
    struct core_span none = {NULL, 0};
    for (size_t i = 0; i < map->rows_len; i++) {
        if (map->rows[i].kind == ROW_FIELD && core_span_eq(map->rows[i].from, column)) {
            return none; /* a row takes it as it is */
        }
    }
    for (size_t i = 0; i < map->aliases_len; i++) {
        if (name_is_like(column, map->aliases[i].from)) {
            return map->aliases[i].to;
        }
    }
    for (size_t i = 0; i < map->rows_len; i++) {
        if (map->rows[i].kind == ROW_FIELD && name_is_like(column, map->rows[i].from)) {
            return map->rows[i].from;
        }
    }
    return none;
}

/* Columns of other names are moved to the real one in each record that does not have it itself. */
static void aliases_resolve(struct plan *plan) {
    for (uint16_t i = 0; i < plan->decoded_len; i++) {
        struct core_span name = real_name(plan->map, plan->columns[i].name);
        if (name.len == 0) {
            continue;
        }
        uint16_t to = plan_column(plan, name);
        if (to == COLUMN_NONE) {
            to = plan->columns_len++;
            plan->columns[to] = (struct column){.name = name, .declared = plan->columns[i].declared};
            column_index(plan, to);
        }
        plan->moves[plan->moves_len++] = (struct alias_move){.from = i, .to = to};
    }
}

/* ---- leaves ---------------------------------------------------------------------------------------------------------------- */

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
    bool is_plain = true;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        is_plain = is_plain && c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
    }
    return value_of(is_raw ? VALUE_RAW : is_plain ? VALUE_PLAIN : VALUE_TEXT, copy.ptr, copy.len);
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

static bool row_const_draft(struct making *making, const struct map_row *row) {
    uint16_t leaf = draft_leaf(making, row->targets[0].name);
    if (leaf == LEAF_NONE) {
        return false;
    }
    struct plan *plan = making->plan;
    plan->consts[plan->consts_len++] = (struct plan_const){
        .leaf = leaf, .value = constant_value(making, row->targets[0].schema, row->constant), .row = row};
    return true;
}

/* ---- ops --------------------------------------------------------------------------------------------------------------------- */

static bool is_numeric(enum field_type type) {
    return type == TYPE_COUNT || type == TYPE_INT || type == TYPE_DOUBLE || type == TYPE_PORT ||
           type == TYPE_INTERVAL || type == TYPE_TIME;
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

/* What needs no conversion at all gets an op of its own; a value of another kind than expected goes the long way. */
static uint8_t op_fast(struct declared type) {
    if (type.is_list) {
        return OP_COPY;
    }
    switch (type.type) {
    case TYPE_STRING:
    case TYPE_ENUM:
    case TYPE_ADDR:
    case TYPE_SUBNET:
        return OP_STRING;
    case TYPE_COUNT:
    case TYPE_INT:
    case TYPE_PORT:
        return OP_NUMBER;
    case TYPE_BOOL:
        return OP_BOOL;
    case TYPE_TIME:
        return OP_TIME;
    case TYPE_INTERVAL:
        return OP_INTERVAL;
    case TYPE_ANY:
        return OP_ANY;
    default:
        return OP_COPY;
    }
}

/* The same for a row, which may ask for more. */
static uint8_t op_fast_row(const struct op *op, struct declared type) {
    unsigned asks = op->flags & ~(unsigned)(OP_COND | OP_LIST);
    uint8_t code = op_fast(type);
    if (op->unset.len > 0) {
        return op->code;
    }
    if (op->code == OP_TABLE) {
        return code == OP_STRING && asks == 0 ? OP_LOOKUP : OP_TABLE;
    }
    switch (asks) {
    case 0:
        return code;
    case OP_IP:
        return code == OP_STRING ? OP_ADDRESS : OP_COPY;
    case OP_LOWERED:
        return code == OP_STRING ? OP_LOWER : OP_COPY;
    case OP_CUT:
        return code == OP_STRING ? OP_SPLIT : OP_COPY;
    case OP_KEYWORD:
        return code == OP_NUMBER ? OP_DIGITS : code == OP_TIME ? OP_TIME : OP_COPY;
    case OP_UNIT_NS:
        return code == OP_INTERVAL ? OP_INTERVAL : OP_COPY;
    default:
        return OP_COPY;
    }
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
    unsigned flags = (row->is_lower ? OP_LOWERED : 0u) | (row->unit_ns ? OP_UNIT_NS : 0u) |
                     (schema == SCHEMA_IP ? OP_IP : 0u) | (row->split != 0 ? OP_CUT : 0u) |
                     (schema == SCHEMA_KEYWORD && is_numeric(type.type) ? OP_KEYWORD : 0u) |
                     (schema == SCHEMA_KEYWORD && type.type == TYPE_ANY ? OP_KEYWORD : 0u) |
                     (making->drafts[leaf].is_list ? OP_LIST : 0u) | (row->unless_field.len > 0 ? OP_COND : 0u);
    op->flags = (uint8_t)flags;
    op->ip_slot = leaf == making->plan->known[KNOWN_SOURCE_IP]        ? 1
                  : leaf == making->plan->known[KNOWN_DESTINATION_IP] ? 2
                                                                      : 0;
    if (row->unless_field.len > 0) {
        op->cond_column = plan_column(making->plan, row->unless_field);
        op->cond_text = row->unless_text;
        op->cond_not = row->unless_not;
    }
    if (target->via != NULL) {
        op_table(making, op, target);
    }
    op->code = op_fast_row(op, type);
    return true;
}

static bool row_field_draft(struct making *making, const struct map_row *row) {
    uint16_t column = plan_column(making->plan, row->from);
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
        char text[SCHEMA_NAME_BYTES_MAX];
        struct core_span name = plan_text(plan, derive_sub_name(row, s, text));
        uint16_t leaf = draft_leaf(making, name);
        if (leaf == LEAF_NONE) {
            return false;
        }
        making->drafts[leaf].sources++;
        plan->subs[call->subs_at + s] = leaf;
    }
    return true;
}

/* Does the function run in every record, whatever fields it has? */
static bool derive_is_always(const struct normalize_maps *maps, const struct derive_row *row) {
    switch ((enum derive_always)row->is_always) {
    case DERIVE_ALWAYS:
        return true;
    case DERIVE_WITH_NETWORKS:
        return maps->networks != NULL;
    case DERIVE_WITH_GEO:
        return maps->geo != NULL;
    case DERIVE_WITH_FIELDS:
    default:
        return false;
    }
}

static bool row_derive_draft(struct making *making, const struct map_row *row) {
    struct plan *plan = making->plan;
    struct derive_call *call = &plan->derives[plan->derives_len];
    bool has_any = derive_is_always(plan->maps, row->derive);
    call->fn = row->derive;
    call->row = row;
    call->leaf = LEAF_NONE;
    call->subs_at = (uint16_t)(plan->derives_len * DERIVE_SUBS_MAX);
    for (size_t i = 0; i < ROW_ARGS_MAX; i++) {
        call->args[i] = i < row->args_len ? plan_column(making->plan, row->args[i]) : COLUMN_NONE;
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
    bool is_sometimes = (making->taken[column] & TAKEN_SOMETIMES) != 0;
    *op = (struct op){.code = op_fast(plan->columns[column].declared),
                      .column = column,
                      .leaf = leaf,
                      .type = (uint8_t)plan->columns[column].declared.type,
                      .flags = is_sometimes ? OP_KEEP : 0,
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
    for (uint16_t c = 0; c < making->plan->decoded_len; c++) {
        if ((making->taken[c] & TAKEN) == 0 && !keep_column(making, keep, prefix, c)) {
            return false;
        }
    }
    return true;
}

/* ---- the whole ----------------------------------------------------------------------------------------------------------------------- */

static const struct log_row *log_find(const struct normalize_maps *maps, struct core_span product,
                                      struct core_span log) {
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

const char *plan_intern(struct normalize_worker *worker, struct core_span text) {
    for (struct interned *i = worker->interned; i != NULL; i = i->next) {
        if (core_span_is(text, i->text)) {
            return i->text;
        }
    }
    struct interned *made = calloc(1, sizeof(*made));
    MUST(made != NULL);
    made->text = strndup(text.ptr, text.len);
    MUST(made->text != NULL);
    made->next = worker->interned;
    worker->interned = made;
    return made->text;
}

static void known_columns(struct plan *plan) {
    static const char *const names[COLUMN_KNOWN__MAX] = {
        [COLUMN_PATH] = "_path",          [COLUMN_STREAM] = "_stream",  [COLUMN_TS] = "ts",
        [COLUMN_TIMESTAMP] = "timestamp", [COLUMN_SECONDS] = "seconds", [COLUMN_EVENT_TYPE] = "event_type",
        [COLUMN_RULE] = "rule",           [COLUMN_SID] = "sid",         [COLUMN_PKT_NUM] = "pkt_num",
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

/* The columns of addresses. Zeek writes them short itself. */
static void addresses_find(struct plan *plan) {
    plan->addresses = plan_alloc(plan, plan->ops_len * sizeof(*plan->addresses));
    for (uint16_t i = 0; i < plan->ops_len && !core_span_is(plan->product, "zeek"); i++) {
        bool is_new = plan->ops[i].type == TYPE_ADDR;
        for (uint16_t a = 0; a < plan->addresses_len && is_new; a++) {
            is_new = plan->addresses[a] != plan->ops[i].column;
        }
        if (is_new) {
            plan->addresses[plan->addresses_len++] = plan->ops[i].column;
        }
    }
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
    leaves_settle(making);
    if (making->is_full) {
        return false;
    }
    marks_draft(making);
    drops_draft(plan, plan_alloc);
    known_columns(plan);
    addresses_find(plan);
    return true;
}

enum core_err plan_make(struct plan **out, const struct plan_request *request, struct core_fail *fail) {
    struct making making = {.request = request};
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
        plan->dataset =
            plan_intern(request->worker, percent_fill(&making, making.log->dataset, log_clean(plan, plan->log)));
        const char *dot = strchr(plan->dataset, '.');
        making.dataset_own = core_span_of(dot == NULL ? plan->dataset : dot + 1);
        columns_copy(plan, request);
        aliases_resolve(plan);
        if (!plan_fill(&making)) {
            err = core_fail_set(fail, CORE_LIMIT, request->stream->path, "more than %d fields in one document",
                                LEAVES_MAX);
        }
    }
    err = err == CORE_OK ? forms_open(plan, fail) : err;
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
        forms_close(plan->forms);
        free(plan);
    }
}
