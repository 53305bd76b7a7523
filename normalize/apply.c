/* normalize/apply.c: runs a plan over one record: columns to leaves by the ops, then the constants of leaves that are
 * still empty, then the derive functions. A record of a form seen before (form.c) runs what is left of all that.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/form.h"

bool leaf_is_set(const struct plan *plan, uint16_t leaf) {
    return (plan->present[leaf / 64] >> (leaf % 64) & 1) != 0;
}

struct value leaf_value(const struct plan *plan, uint16_t leaf) {
    struct value value;
    if (leaf == LEAF_NONE || !leaf_is_set(plan, leaf)) {
        return value_none();
    }
    return form_value(plan->forms, leaf, &value) ? value : plan->values[leaf];
}

static void leaf_set(struct plan *plan, uint16_t leaf, struct value value) {
    plan->values[leaf] = value;
    plan->present[leaf / 64] |= UINT64_C(1) << (leaf % 64);
}

static bool value_same(struct value a, struct value b) {
    return a.len == b.len && (a.ptr == b.ptr || bytes_are_same(a.ptr, b.ptr, a.len));
}

/* Add a scalar to a list leaf, if it is not in it yet. */
static bool chain_add(struct normalize_worker *worker, struct plan *plan, uint16_t leaf, struct value value) {
    struct chain *chain;
    if (leaf_is_set(plan, leaf)) {
        chain = plan->values[leaf].chain;
        for (const struct chain_node *node = chain->first; node != NULL; node = node->next) {
            if (value_same(node->value, value)) {
                return true;
            }
        }
    } else {
        chain = scratch_alloc(worker, sizeof(*chain));
        if (chain == NULL) {
            return false;
        }
        chain->first = NULL;
        chain->last = &chain->first;
        leaf_set(plan, leaf, (struct value){.chain = chain, .len = 0, .kind = VALUE_CHAIN});
    }
    struct chain_node *node = scratch_alloc(worker, sizeof(*node));
    if (node == NULL) {
        return false;
    }
    *node = (struct chain_node){.value = value, .next = NULL};
    *chain->last = node;
    chain->last = &node->next;
    return true;
}

bool leaf_put(struct normalize_worker *worker, struct plan *plan, uint16_t leaf, struct value value) {
    if (value.kind == VALUE_NONE || plan->leaves[leaf].is_constant) {
        return true;
    }
    if (!plan->leaves[leaf].is_list) {
        if (!leaf_is_set(plan, leaf)) {
            leaf_set(plan, leaf, value);
        }
        return true;
    }
    if (value.kind != VALUE_LIST) {
        return value.len == 0 || chain_add(worker, plan, leaf, value);
    }
    for (uint32_t i = 0; i < value.len; i++) {
        if (value_is_scalar(value.items[i]) && value.items[i].len > 0 &&
            !chain_add(worker, plan, leaf, value.items[i])) {
            return false;
        }
    }
    return true;
}

/* ---- ops ---------------------------------------------------------------------------------------------------------------- */

/* An IP target takes only addresses. Records name the same address several times: the last one parsed is remembered. */
static bool ip_keep(struct normalize_worker *worker, const struct op *op, struct value value) {
    struct ip_addr *slot = &worker->ip[op->ip_slot];
    if (op->ip_slot == 0) {
        for (unsigned i = 1; i < 3; i++) {
            if (worker->ip[i].len > 0 && worker->ip_text[i] == value.ptr) {
                return true;
            }
        }
    }
    worker->ip_text[op->ip_slot] = value.ptr;
    return value_ip(value, slot);
}

/* Leave out of a list what is no address. */
static struct value ip_filter(struct normalize_worker *worker, const struct op *op, struct value value) {
    if (value_is_scalar(value)) {
        return ip_keep(worker, op, value) ? value : value_none();
    }
    if (value.len == 0) {
        return value; /* the sensor's own empty list is one */
    }
    struct value *items = scratch_items(worker, value.len);
    uint32_t len = 0;
    for (uint32_t i = 0; items != NULL && i < value.len; i++) {
        if (value_is_scalar(value.items[i]) && ip_keep(worker, op, value.items[i])) {
            items[len++] = value.items[i];
        }
    }
    return len == 0 ? value_none() : (struct value){.items = items, .len = len, .kind = VALUE_LIST};
}

const struct value *op_table_find(const struct op *op, struct core_span key) {
    for (uint16_t i = 0; i < op->table_len; i++) {
        if (text_is_same(op->table[i].key, key)) {
            return &op->table[i].value;
        }
    }
    if (op->table_len > 0 && core_span_is(op->table[op->table_len - 1].key, "*")) {
        return &op->table[op->table_len - 1].value;
    }
    return NULL;
}

static bool op_table(struct normalize_worker *worker, struct plan *plan, const struct op *op, struct value in) {
    if (in.kind == VALUE_LIST) {
        for (uint32_t i = 0; i < in.len; i++) {
            if (value_is_scalar(in.items[i]) && !op_table(worker, plan, op, in.items[i])) {
                return false;
            }
        }
        return true;
    }
    const struct value *value = op_table_find(op, value_span(in));
    return value == NULL || leaf_put(worker, plan, op->leaf, *value);
}

/* Does the row's `unless` hold this op back? */
static inline bool cond_holds(struct normalize_worker *worker, const struct op *op) {
    if ((op->flags & OP_COND) == 0) {
        return false;
    }
    struct value cond = op->cond_column == COLUMN_NONE ? value_none() : worker->columns[op->cond_column];
    if (value_is_text(cond, op->cond_text) != op->cond_not) {
        return true;
    }
    worker->taken[op->column] = worker->record;
    return false;
}

static bool op_is_off(struct normalize_worker *worker, const struct op *op, struct value in) {
    if (cond_holds(worker, op)) {
        return true;
    }
    if ((op->flags & OP_KEEP) != 0 && worker->taken[op->column] == worker->record) {
        return true;
    }
    return op->unset.len > 0 && value_is_scalar(in) && core_span_eq(value_span(in), op->unset);
}

static void explain_op(const struct normalize_worker *worker, const struct plan *plan, const struct op *op) {
    char text[512];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    value_emit(&buf, leaf_value(plan, op->leaf));
    struct core_span value = core_buf_written(&buf);
    struct core_span name = plan->leaves[op->leaf].name;
    char to[256];
    size_t len = name.len < sizeof(to) - 1 ? name.len : sizeof(to) - 1;
    memcpy(to, name.ptr, len);
    to[len] = '\0';
    worker->explain->row(worker->explain->ctx, plan->columns[op->column].name, op->row->place, to, value);
}

static bool op_run(struct normalize_worker *worker, struct plan *plan, const struct op *op) {
    struct value in = worker->columns[op->column];
    bool is_won = leaf_is_set(plan, op->leaf) && !plan->leaves[op->leaf].is_list; /* by a row before this one */
    if (op_is_off(worker, op, in) || is_won) {
        return true;
    }
    struct value out;
    if (!value_convert(worker, op, plan->columns[op->column].name, in, &out)) {
        return false;
    }
    if (op->table != NULL) {
        return op_table(worker, plan, op, out);
    }
    if ((op->flags & OP_IP) != 0) {
        out = ip_filter(worker, op, out);
    }
    return leaf_put(worker, plan, op->leaf, out) && worker->reason[0] == '\0';
}

/* ---- derive ------------------------------------------------------------------------------------------------------------ */

struct value derive_arg(const struct derive_context *ctx, size_t i) {
    uint16_t column = ctx->call->args[i];
    return column == COLUMN_NONE ? value_none() : ctx->worker->columns[column];
}

struct core_span derive_word(const struct derive_context *ctx, size_t i) {
    return i < ctx->call->row->args_len ? ctx->call->row->args[i] : (struct core_span){NULL, 0};
}

bool derive_put(const struct derive_context *ctx, struct value value) {
    MUST(ctx->call->leaf != LEAF_NONE);
    return leaf_put(ctx->worker, ctx->plan, ctx->call->leaf, value);
}

bool derive_put_sub(const struct derive_context *ctx, size_t sub, struct value value) {
    MUST(sub < DERIVE_SUBS_MAX);
    return leaf_put(ctx->worker, ctx->plan, ctx->plan->subs[ctx->call->subs_at + sub], value);
}

static void explain_derive(const struct derive_context *ctx) {
    const struct normalize_worker *worker = ctx->worker;
    uint16_t leaf = ctx->call->leaf;
    char text[512];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    if (leaf == LEAF_NONE || !leaf_is_set(ctx->plan, leaf)) {
        return;
    }
    value_emit(&buf, leaf_value(ctx->plan, leaf));
    worker->explain->row(worker->explain->ctx, core_span_of(ctx->call->fn->name), ctx->call->row->place,
                         ctx->call->row->targets[0].name.ptr, core_buf_written(&buf));
}

static bool derives_run(struct normalize_worker *worker, struct plan *plan) {
    for (uint16_t i = 0; i < plan->derives_len; i++) {
        struct derive_context ctx = {.worker = worker, .plan = plan, .call = &plan->derives[i]};
        if (!ctx.call->fn->run(&ctx) || worker->reason[0] != '\0') {
            return false;
        }
        if (worker->explain != NULL) {
            explain_derive(&ctx);
        }
    }
    return true;
}

/* Aliases: a field under another name, where the record does not have the real one. */
static void moves_run(struct normalize_worker *worker, const struct plan *plan) {
    struct value *columns = worker->columns;
    for (uint16_t c = plan->decoded_len; c < plan->columns_len; c++) {
        columns[c] = value_none();
    }
    for (uint16_t i = 0; i < plan->moves_len; i++) {
        const struct alias_move *move = &plan->moves[i];
        if (columns[move->to].kind == VALUE_NONE) {
            columns[move->to] = columns[move->from];
            columns[move->from] = value_none();
        }
    }
}

/* Addresses as every sensor's documents have them. */
static void addresses_shorten(struct normalize_worker *worker, const struct plan *plan) {
    for (uint16_t i = 0; i < plan->addresses_len; i++) {
        struct value *column = &worker->columns[plan->addresses[i]];
        *column = value_ip_short(worker, *column);
    }
}

/* To the op's leaf, which nothing has won. An empty text is no element of a list. */
static inline bool op_put(struct normalize_worker *worker, struct plan *plan, const struct op *op,
                          const struct value *value) {
    if ((op->flags & OP_LIST) != 0) {
        return value->len == 0 || chain_add(worker, plan, op->leaf, *value);
    }
    leaf_set(plan, op->leaf, *value);
    return true;
}

/* The same bytes as a value of another kind. */
static inline bool op_put_as(struct normalize_worker *worker, struct plan *plan, const struct op *op,
                             const struct value *value, enum value_kind kind) {
    if ((op->flags & OP_LIST) != 0) {
        struct value as = *value;
        as.kind = (uint8_t)kind;
        as.is_number = kind == VALUE_RAW;
        return op_put(worker, plan, op, &as);
    }
    leaf_set(plan, op->leaf, *value);
    plan->values[op->leaf].kind = (uint8_t)kind;
    plan->values[op->leaf].is_number = kind == VALUE_RAW;
    return true;
}

static bool has_upper(struct value v) {
    bool has = false;
    for (uint32_t i = 0; i < v.len; i++) {
        has |= (unsigned char)v.ptr[i] - (unsigned)'A' < 26;
    }
    return has;
}

static inline bool op_bool(struct normalize_worker *worker, struct plan *plan, const struct op *op,
                           const struct value *in) {
    static const char texts[2][VALUE_ROOM] = {"false", "true"};
    static const struct value words[] = {{.ptr = texts[0], .len = 5, .kind = VALUE_RAW, .is_roomy = true},
                                         {.ptr = texts[1], .len = 4, .kind = VALUE_RAW, .is_roomy = true}};
    if (in->kind == VALUE_PLAIN && in->len == 1 && (in->ptr[0] == 'T' || in->ptr[0] == 'F')) {
        return op_put(worker, plan, op, &words[in->ptr[0] == 'T']);
    }
    bool is_json = in->kind == VALUE_RAW && !in->is_number && (in->ptr[0] == 't' || in->ptr[0] == 'f');
    return is_json && op_put(worker, plan, op, in);
}

/* Times, intervals and lookups: what is written is not the text that came. */
static bool op_made(struct normalize_worker *worker, struct plan *plan, const struct op *op, struct value in) {
    struct value out;
    bool is_made;
    if (!value_is_scalar(in)) {
        return false;
    }
    switch ((enum op_code)op->code) {
    case OP_LOOKUP: {
        const struct value *found = value_is_string(in) ? op_table_find(op, value_span(in)) : NULL;
        return found == NULL ? value_is_string(in) : leaf_put(worker, plan, op->leaf, *found);
    }
    case OP_TIME:
        is_made = value_time(worker, in, &out);
        break;
    case OP_INTERVAL:
    default:
        is_made = value_interval(worker, (op->flags & OP_UNIT_NS) != 0, in, &out);
        break;
    }
    return is_made && worker->reason[0] == '\0' && op_put(worker, plan, op, &out);
}

/* Done in a few instructions, or false: the long way, which also says what is wrong. */
static inline bool op_fast(struct normalize_worker *worker, struct plan *plan, const struct op *op,
                           const struct value *in) {
    switch ((enum op_code)op->code) {
    case OP_STRING:
        return value_is_string(*in) && op_put(worker, plan, op, in);
    case OP_LOWER:
        return value_is_string(*in) && !has_upper(*in) && op_put(worker, plan, op, in);
    case OP_SPLIT:
        return value_is_string(*in) && core_span_chr(value_span(*in), op->split) == NULL &&
               op_put(worker, plan, op, in);
    case OP_ADDRESS:
        return value_is_string(*in) && (!ip_keep(worker, op, *in) || op_put(worker, plan, op, in));
    case OP_NUMBER:
        return value_is_scalar(*in) && is_decimal(*in) && op_put_as(worker, plan, op, in, VALUE_RAW);
    case OP_DIGITS:
        return value_is_scalar(*in) && is_decimal(*in) && op_put_as(worker, plan, op, in, VALUE_PLAIN);
    case OP_BOOL:
        return op_bool(worker, plan, op, in);
    case OP_ANY:
        return value_is_scalar(*in) && op_put(worker, plan, op, in);
    case OP_TIME:
    case OP_INTERVAL:
    case OP_LOOKUP:
        return op_made(worker, plan, op, *in);
    case OP_COPY:
    case OP_TABLE:
    default:
        return false;
    }
}

/* A condition, a conditional row that took the field, or a row before this one. */
static bool op_is_held(struct normalize_worker *worker, const struct plan *plan, const struct op *op) {
    bool is_taken = (op->flags & OP_KEEP) != 0 && worker->taken[op->column] == worker->record;
    bool is_won = (op->flags & OP_LIST) == 0 && leaf_is_set(plan, op->leaf);
    return cond_holds(worker, op) || is_taken || is_won;
}

/* The hot loop. */
static bool ops_run(struct normalize_worker *worker, struct plan *plan) {
    const struct op *end = plan->ops + plan->ops_len;
    for (const struct op *op = plan->ops; op < end; op++) {
        const struct value *in = &worker->columns[op->column];
        if (in->kind == VALUE_NONE) {
            continue;
        }
        if (op->is_checked && op->code >= OP_STRING && op_is_held(worker, plan, op)) {
            continue;
        }
        if (!op_fast(worker, plan, op, in) && !op_run(worker, plan, op)) {
            return false;
        }
    }
    return true;
}

static bool ops_explain(struct normalize_worker *worker, struct plan *plan) {
    for (uint16_t i = 0; i < plan->ops_len; i++) {
        const struct op *op = &plan->ops[i];
        if (worker->columns[op->column].kind == VALUE_NONE) {
            continue;
        }
        bool was_set = leaf_is_set(plan, op->leaf) && !plan->leaves[op->leaf].is_list;
        if (!op_run(worker, plan, op)) {
            return false;
        }
        if (!was_set && leaf_is_set(plan, op->leaf)) {
            explain_op(worker, plan, op);
        }
    }
    return true;
}

/* A field that in this record is the name of an object as well: it goes to NAME.value. Decided record by record, so that
 * a document does not depend on its neighbours. */
static void clashes_resolve(struct plan *plan) {
    for (uint16_t i = 0; i < plan->clashes_len; i++) {
        const struct leaf_clash *clash = &plan->clashes[i];
        bool has_members = false;
        for (uint16_t below = (uint16_t)(clash->leaf + 1); below < clash->below_end && !has_members; below++) {
            has_members = leaf_is_set(plan, below);
        }
        if (has_members && leaf_is_set(plan, clash->leaf)) {
            leaf_set(plan, clash->other, plan->values[clash->leaf]);
            plan->present[clash->leaf / 64] &= ~(UINT64_C(1) << (clash->leaf % 64));
        }
    }
}

/* The short program of a form. False: this record needs the long way, which also says what is wrong with it. */
static bool form_run(struct normalize_worker *worker, struct plan *plan, const struct form *form) {
    const struct value *columns = worker->columns;
    for (uint16_t i = 0; i < form->decimals_len; i++) {
        if (!is_decimal(columns[form->decimals[i]])) {
            return false;
        }
    }
    for (uint16_t i = 0; i < form->addresses_len; i++) {
        const struct form_address *address = &form->addresses[i];
        struct value in = columns[address->column];
        worker->ip_text[address->slot] = in.ptr;
        if (!value_is_string(in) || !value_ip(in, &worker->ip[address->slot])) {
            return false;
        }
    }
    for (uint16_t i = 0; i < plan->present_words; i++) {
        plan->present[i] = form->present[i];
    }
    for (uint16_t i = 0; i < form->ops_len; i++) {
        const struct op *op = &plan->ops[form->ops[i]];
        const struct value *in = &columns[op->column];
        if (op->is_checked && op->code >= OP_STRING && op_is_held(worker, plan, op)) {
            continue;
        }
        if (!op_fast(worker, plan, op, in) && !op_run(worker, plan, op)) {
            return false;
        }
    }
    for (uint16_t i = 0; i < form->consts_len; i++) {
        const struct plan_const *constant = &plan->consts[form->consts[i]];
        if (!leaf_put(worker, plan, constant->leaf, constant->value)) {
            return false;
        }
    }
    for (uint16_t i = 0; i < form->derives_len; i++) {
        struct derive_context ctx = {.worker = worker, .plan = plan, .call = &plan->derives[form->derives[i]]};
        if (!ctx.call->fn->run(&ctx) || worker->reason[0] != '\0') {
            return false;
        }
    }
    clashes_resolve(plan);
    return true;
}

/* Every row, one after the other. */
static bool long_run(struct normalize_worker *worker, struct plan *plan) {
    memcpy(plan->present, plan->present_always, plan->present_words * sizeof(uint64_t));
    if (!(worker->explain == NULL ? ops_run(worker, plan) : ops_explain(worker, plan))) {
        return false;
    }
    for (uint16_t i = 0; i < plan->consts_len; i++) {
        if (!leaf_put(worker, plan, plan->consts[i].leaf, plan->consts[i].value)) {
            return false;
        }
    }
    if (!derives_run(worker, plan)) {
        return false;
    }
    clashes_resolve(plan);
    return true;
}

static void record_begin(struct normalize_worker *worker) {
    worker->ip[1].len = 0;
    worker->ip[2].len = 0;
    if (++worker->record == 0) {
        worker->record = 1;
        memset(worker->taken, 0, COLUMNS_ROOM * sizeof(*worker->taken));
    }
}

bool plan_apply(struct normalize_worker *worker, struct plan *plan) {
    struct forms *forms = plan->forms;
    forms->current = NULL;
    forms->columns = worker->columns;
    forms->ips_of = NULL;
    forms->is_new = false;
    record_begin(worker);
    moves_run(worker, plan);
    addresses_shorten(worker, plan);
    if (plan->drops_len > 0 && drop_fits(worker, plan)) {
        worker->is_dropped = true;
        return true;
    }
    struct form *form = worker->explain == NULL ? form_find(worker, plan) : NULL;
    if (form != NULL) {
        uint64_t id_differs = worker->id_differs;
        forms->current = form;
        if (form_run(worker, plan, form)) {
            return true;
        }
        forms->current = NULL;
        worker->reason[0] = '\0';
        worker->id_differs = id_differs;
        record_begin(worker);
    }
    if (!long_run(worker, plan)) {
        return false;
    }
    if (forms->is_new) {
        form_make(worker, plan);
    }
    return true;
}
