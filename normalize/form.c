/* normalize/form.c: the forms of a log's records: what is worked out once for all records that are alike.
 *
 * A record's form is which columns it has, of which kinds, whether its conditions hold, and the words of those columns
 * that tables and flags are made of (a connection's state, its protocol). Whatever the map makes of these alone is the same
 * in every record of that form: which rows apply, which row wins a field, what a table says, where an object opens and
 * closes. So the first record of a form goes the long way (apply.c, emit.c), and from what that found a short program is
 * kept: the few rows and functions that still have to look at values, and a list of texts with a value between each two,
 * most of them copied straight from the line. The others of its form run that. (docs/adr/0018)
 *
 * Nothing here decides anything on its own: a record whose numbers are none, whose words are too long, or whose form there
 * is no room for, goes the long way as before. Thread: the worker's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/form.h"

#define PROBES 8

enum settled {
    SETTLED_NOT,   /* nothing has written it */
    SETTLED_NEVER, /* something that runs for each record may write it */
    SETTLED_COPY,  /* a column as it stands; a list: some columns */
    SETTLED_TEXT   /* the same in each record of the form */
};

/* ---- the key --------------------------------------------------------------------------------------------------------- */

static bool has_column(const uint16_t *columns, uint16_t len, uint16_t column) {
    for (uint16_t i = 0; i < len; i++) {
        if (columns[i] == column) {
            return true;
        }
    }
    return false;
}

static bool has_cond(const struct forms *forms, uint16_t column, struct core_span text) {
    for (uint16_t i = 0; i < forms->conds_len; i++) {
        if (forms->conds[i].column == column && core_span_eq(forms->conds[i].text, text)) {
            return true;
        }
    }
    return false;
}

/* False: no room. */
static bool cond_add(struct forms *forms, uint16_t column, struct core_span text) {
    if (column == COLUMN_NONE || has_cond(forms, column, text)) {
        return true;
    }
    if (forms->conds_len == FORM_CONDS_MAX - 1) {
        return false;
    }
    forms->conds[forms->conds_len++] = (struct form_cond){.column = column, .text = text};
    return true;
}

/* The text that a function compares its first argument with. */
static struct core_span derive_text(const struct derive_call *call) {
    return derive_settles(call->fn) == DERIVE_BY_TEXT ? call->row->args[1] : (struct core_span){"", 0};
}

/* Does the op's result depend on nothing but one of a few words? */
static bool is_of_words(const struct op *op) {
    bool is_table = op->code == OP_LOOKUP || op->code == OP_TABLE;
    return is_table || (op->code == OP_LOWER && op->type == TYPE_ENUM);
}

static void columns_sort_out(struct forms *forms, const struct plan *plan) {
    for (uint16_t i = 0; i < plan->ops_len; i++) {
        const struct op *op = &plan->ops[i];
        if ((op->flags & OP_COND) != 0 && !cond_add(forms, op->cond_column, op->cond_text)) {
            forms->is_off = true;
        }
        bool is_new = op->code == OP_BOOL && !has_column(forms->bools, forms->bools_len, op->column);
        if (is_new && forms->bools_len < FORM_CONDS_MAX) {
            forms->bools[forms->bools_len++] = op->column;
        }
    }
    for (uint16_t i = 0; i < plan->derives_len; i++) {
        const struct derive_call *call = &plan->derives[i];
        enum derive_settles how = derive_settles(call->fn);
        if (how == DERIVE_BY_TEXT || how == DERIVE_BY_EMPTY) {
            (void)cond_add(forms, call->args[0], derive_text(call)); /* or it runs for each record */
        }
    }
    while (forms->bools_len + forms->conds_len >= FORM_CONDS_MAX) /* and one for how the kinds are told */ {
        forms->bools_len--; /* such a bool is looked at in each record */
    }
    for (uint16_t i = 0; i < plan->ops_len; i++) {
        const struct op *op = &plan->ops[i];
        bool is_new = !has_column(forms->bools, forms->bools_len, op->column) &&
                      !has_column(forms->words, forms->words_len, op->column);
        if (is_of_words(op) && is_new && forms->words_len < FORM_WORDS_MAX) {
            forms->words[forms->words_len++] = op->column;
        }
    }
}

static void keep(uint64_t *kept, uint16_t leaf) {
    if (leaf != LEAF_NONE) {
        bit_set(kept, leaf);
    }
}

/* What moves when a name is an object's as well; and lists that observables are taken from, one by one. */
static void kept_mark(struct forms *forms, const struct plan *plan) {
    for (uint16_t i = 0; i < plan->marks_len; i++) {
        if (plan->leaves[plan->marks[i].leaf].is_list) {
            bit_set(forms->kept, plan->marks[i].leaf);
        }
    }
    for (uint16_t i = 0; i < plan->clashes_len; i++) {
        keep(forms->kept, plan->clashes[i].leaf);
        keep(forms->kept, plan->clashes[i].other);
    }
}

enum core_err forms_open(struct plan *plan, struct core_fail *fail) {
    struct core_arena arena = {0};
    enum core_err err = core_arena_init(&arena, FORMS_BYTES, fail);
    if (err != CORE_OK) {
        return err;
    }
    size_t bytes = plan->present_words * sizeof(uint64_t);
    struct forms *forms = core_arena_alloc(&arena, sizeof(*forms)); /* fresh memory: all zero */
    uint64_t *kept = core_arena_alloc(&arena, bytes);
    MUST(forms != NULL && kept != NULL); /* FORMS_BYTES is far more */
    forms->kept = kept;
    forms->arena = arena;
    columns_sort_out(forms, plan);
    kept_mark(forms, plan);
    forms->is_off =
        forms->is_off || ((size_t)plan->columns_len + 15) / 16 + 1 + (size_t)forms->words_len * 2 > FORM_KEY_WORDS_MAX;
    plan->forms = forms;
    return CORE_OK;
}

void forms_close(struct forms *forms) {
    if (forms != NULL) {
        struct core_arena arena = forms->arena; /* it lies in it itself */
        core_arena_destroy(&arena);
    }
}

/* Four bits. Strings of both kinds are one: what stands between the quotes is looked at when it is written. */
NORMALIZE_INLINE uint64_t kind_code(const struct value *v) {
    return (v->kind & 14u) | v->is_number;
}
_Static_assert((VALUE_PLAIN & 14) == (VALUE_TEXT & 14) && VALUE_CHAIN < 16, "kinds and codes");

/* 0: false, 1: true, 2: it is no bool. */
NORMALIZE_INLINE unsigned bool_code(const struct value *v) {
    char first = v->len > 0 ? v->ptr[0] : '\0';
    if (value_is_string(*v)) {
        return v->len != 1 ? 2 : first == 'T' ? 1 : first == 'F' ? 0 : 2;
    }
    return v->kind != VALUE_RAW ? 2 : first == 't' ? 1 : first == 'f' ? 0 : 2;
}

/* A column's text as 16 bytes. False: too long. */
NORMALIZE_INLINE bool word_put(uint64_t to[2], const struct value *v) {
    static const uint64_t masks[8] = {0,          UINT64_C(0xff),         UINT64_C(0xffff),         UINT64_C(0xffffff),
                                      UINT32_MAX, UINT64_C(0xffffffffff), UINT64_C(0xffffffffffff), UINT64_MAX >> 8};
    to[0] = 0;
    to[1] = 0;
    if (v->kind == VALUE_LIST || v->len >= FORM_WORD_BYTES) {
        return v->kind == VALUE_LIST; /* lists are of no words: their ops run for each record */
    }
    if (v->is_roomy && IS_LITTLE_ENDIAN) {
        memcpy(to, v->ptr, FORM_WORD_BYTES);
        to[0] &= v->len < 8 ? masks[v->len] : UINT64_MAX;
        to[1] &= v->len < 8 ? 0 : masks[v->len - 8];
    } else {
        (void)bytes_copy((char *)to, v->ptr, v->len);
    }
    to[1] |= (uint64_t)v->len << 56;
    return true;
}

/* Which columns are there, and of what kind. Returns where the key goes on. */
NORMALIZE_INLINE uint64_t *kinds_put(uint64_t *key, const struct plan *plan, const struct value *columns) {
    uint64_t word = 0;
    unsigned shift = 0;
    for (const struct value *v = columns, *end = columns + plan->columns_len; v < end; v++) {
        word |= kind_code(v) << shift;
        shift += 4;
        if (shift == 64) {
            *key++ = word;
            word = 0;
            shift = 0;
        }
    }
    if (shift > 0) {
        *key++ = word;
    }
    return key;
}

NORMALIZE_INLINE bool key_make(struct forms *forms, const struct plan *plan, const struct normalize_worker *worker) {
    const struct value *columns = worker->columns;
    uint64_t *key = forms->key;
    uint64_t word = 0;
    /* The decoder may have told: then what is there is of the kinds that its header says, the same in each record. The
     * codes have a bit 1 for a string in every fourth bit, these have one in each: the word behind tells them apart. */
    if (worker->has_set && plan->moves_len == 0) {
        *key++ = worker->set;
        word = 1;
    } else {
        key = kinds_put(key, plan, columns);
    }
    for (uint16_t i = 0; i < forms->bools_len; i++) {
        const struct value *v = &columns[forms->bools[i]];
        unsigned code = v->kind == VALUE_NONE ? 0 : bool_code(v);
        if (code > 1) {
            return false;
        }
        word = word << 1 | code;
    }
    for (uint16_t i = 0; i < forms->conds_len; i++) {
        word = word << 1 | value_is_text(columns[forms->conds[i].column], forms->conds[i].text);
    }
    *key++ = word;
    for (uint16_t i = 0; i < forms->words_len; i++, key += 2) {
        if (!word_put(key, &columns[forms->words[i]])) {
            return false;
        }
    }
    forms->key_len = (size_t)(key - forms->key);
    return true;
}

/* Products of halves that do not wait for each other, each with its own constants. */
NORMALIZE_INLINE uint64_t key_hash(const uint64_t *key, size_t len) {
    uint64_t sum = len;
    uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < len; i++) {
        uint64_t word = key[i] + odd;
        sum += (word & UINT32_MAX) * (word >> 32) + (word >> 7);
        odd += UINT64_C(0xd1b54a32d192ed03);
    }
    sum ^= sum >> 32;
    sum *= UINT64_C(0xbf58476d1ce4e5b9);
    return sum ^ sum >> 29;
}

NORMALIZE_CLONES
struct form *form_find(struct normalize_worker *worker, struct plan *plan) {
    struct forms *forms = plan->forms;
    forms->is_new = false;
    if (forms->is_off || !key_make(forms, plan, worker)) {
        return NULL;
    }
    forms->hash = key_hash(forms->key, forms->key_len);
    for (size_t i = 0; i < PROBES; i++) {
        struct form *form = forms->slots[(forms->hash + i) & (FORMS_MAX - 1)];
        if (form == NULL) {
            forms->is_new = !forms->is_full;
            return NULL;
        }
        if (form->hash == forms->hash && form->key_len == forms->key_len &&
            words_are_same(form->key, forms->key, forms->key_len)) {
            return form->is_none ? NULL : form;
        }
    }
    return NULL;
}

/* ---- a form of a record ------------------------------------------------------------------------------------------------ */

/* A form while it is made. */
struct forming {
    struct normalize_worker *worker;
    struct plan *plan;
    struct forms *forms;
    uint8_t *settled;   /* enum settled, per leaf */
    uint8_t *copy_kind; /* SETTLED_COPY: as what it is written */
    uint8_t *taken;     /* per column: a conditional row takes it */
    uint16_t *winner;   /* per op: COLUMN_NONE, or the column that it copies to its leaf */
    uint16_t *left;     /* a list of numbers under construction */
    uint64_t *kept;     /* bit per leaf: functions write it for each record, or it may move */
    uint8_t *derived;   /* enum derived, per function */
};

enum derived {
    DERIVED_NEVER, /* runs for each record */
    DERIVED_NONE,  /* writes nothing in any record of the form */
    DERIVED_SAME   /* writes the same in each */
};

static bool is_list(const struct forming *forming, uint16_t leaf) {
    return forming->plan->leaves[leaf].is_list;
}

/* What a row makes of a column. */
static enum settled op_settles(const struct forming *forming, const struct op *op, uint8_t *kind) {
    const struct forms *forms = forming->forms;
    const struct value *in = &forming->worker->columns[op->column];
    *kind = VALUE_PLAIN;
    if (bit_is_set(forming->kept, op->leaf) || !value_is_scalar(*in)) {
        return SETTLED_NEVER;
    }
    if ((op->flags & OP_IP) != 0) {
        struct ip_addr address;
        bool is_address = op->code == OP_ADDRESS && op->type == TYPE_ADDR && value_is_string(*in) &&
                          ip_parse(value_span(*in), &address);
        return is_address ? SETTLED_COPY : SETTLED_NEVER;
    }
    if (has_column(forms->bools, forms->bools_len, op->column) ||
        has_column(forms->words, forms->words_len, op->column)) {
        return SETTLED_TEXT;
    }
    if (op->unset.len > 0 || (is_list(forming, op->leaf) && in->len == 0)) {
        return SETTLED_NEVER;
    }
    switch ((enum op_code)op->code) {
    case OP_STRING:
        return value_is_string(*in) && !is_list(forming, op->leaf) ? SETTLED_COPY : SETTLED_NEVER;
    case OP_ANY:
        if (is_list(forming, op->leaf)) {
            return SETTLED_NEVER;
        }
        *kind = value_is_string(*in) ? VALUE_PLAIN : VALUE_RAW;
        return SETTLED_COPY;
    case OP_NUMBER:
        *kind = VALUE_RAW;
        return is_decimal(*in) && !is_list(forming, op->leaf) ? SETTLED_COPY : SETTLED_NEVER;
    case OP_DIGITS:
        return is_decimal(*in) && !is_list(forming, op->leaf) ? SETTLED_COPY : SETTLED_NEVER;
    default:
        return SETTLED_NEVER;
    }
}

/* Is the op one that this record, and every other of its form, runs? */
static bool op_is_live(const struct forming *forming, const struct op *op) {
    const struct value *columns = forming->worker->columns;
    if (columns[op->column].kind == VALUE_NONE) {
        return false;
    }
    if ((op->flags & OP_COND) != 0) {
        struct value cond = op->cond_column == COLUMN_NONE ? value_none() : columns[op->cond_column];
        if (value_is_text(cond, op->cond_text) != op->cond_not) {
            return false;
        }
        forming->taken[op->column] = 1;
    }
    return (op->flags & OP_KEEP) == 0 || forming->taken[op->column] == 0;
}

/* A list is settled if all that is added to it is, in one way: texts, or addresses. */
static void lists_settle(struct forming *forming) {
    const struct plan *plan = forming->plan;
    for (uint16_t i = 0; i < plan->ops_len; i++) {
        const struct op *op = &plan->ops[i];
        uint8_t *settled = &forming->settled[op->leaf];
        uint8_t kind;
        if (is_list(forming, op->leaf) && op_is_live(forming, op)) {
            enum settled how = op_settles(forming, op, &kind);
            *settled = *settled == SETTLED_NOT || *settled == how ? (uint8_t)how : SETTLED_NEVER;
        }
    }
    for (uint16_t i = 0; i < plan->consts_len; i++) {
        uint8_t *settled = &forming->settled[plan->consts[i].leaf];
        *settled = *settled == SETTLED_COPY && is_list(forming, plan->consts[i].leaf) ? SETTLED_NEVER : *settled;
    }
    memset(forming->taken, 0, plan->columns_len);
}

/* Does the row have a value for this record's word at all? */
static bool table_has(const struct forming *forming, const struct op *op) {
    const struct value *in = &forming->worker->columns[op->column];
    return (op->flags & OP_CUT) != 0 || op_table_find(op, value_span(*in)) != NULL;
}

static uint16_t ops_settle(struct forming *forming, uint16_t *left) {
    const struct plan *plan = forming->plan;
    uint16_t len = 0;
    for (uint16_t i = 0; i < plan->ops_len; i++) {
        const struct op *op = &plan->ops[i];
        uint8_t *settled = &forming->settled[op->leaf];
        forming->winner[i] = COLUMN_NONE;
        if (!op_is_live(forming, op) || (!is_list(forming, op->leaf) && *settled >= SETTLED_COPY)) {
            continue; /* it does not apply, or a row before it has won */
        }
        uint8_t kind;
        enum settled how = op_settles(forming, op, &kind);
        if (how == SETTLED_NEVER || *settled == SETTLED_NEVER) {
            *settled = SETTLED_NEVER;
            left[len++] = i;
        } else if (how == SETTLED_COPY) {
            *settled = SETTLED_COPY;
            forming->winner[i] = op->column;
            forming->copy_kind[op->leaf] = kind;
        } else if (op->table == NULL || table_has(forming, op)) {
            *settled = SETTLED_TEXT;
        }
    }
    return len;
}

static uint16_t consts_settle(struct forming *forming, uint16_t *left) {
    const struct plan *plan = forming->plan;
    uint16_t len = 0;
    for (uint16_t i = 0; i < plan->consts_len; i++) {
        uint16_t leaf = plan->consts[i].leaf;
        uint8_t *settled = &forming->settled[leaf];
        if (*settled == SETTLED_NEVER || bit_is_set(forming->kept, leaf)) {
            *settled = SETTLED_NEVER;
            left[len++] = i;
        } else if (is_list(forming, leaf) || *settled == SETTLED_NOT) {
            *settled = SETTLED_TEXT;
        }
    }
    return len;
}

/* What a function makes of a record of this form. */
static enum derived derive_looks(const struct forming *forming, const struct derive_call *call) {
    const struct forms *forms = forming->forms;
    const struct value none = value_none();
    const uint16_t column = call->args[0];
    const struct value *first = column == COLUMN_NONE ? &none : &forming->worker->columns[column];
    bool is_asked = column == COLUMN_NONE || has_cond(forms, column, derive_text(call));
    switch (derive_settles(call->fn)) {
    case DERIVE_BY_FIRST:
        return first->kind == VALUE_NONE ? DERIVED_NONE : DERIVED_NEVER;
    case DERIVE_BY_TEXT:
        return is_asked && (first->kind == VALUE_NONE || value_is_string(*first)) ? DERIVED_SAME : DERIVED_NEVER;
    case DERIVE_BY_EMPTY:
        return is_asked && (first->kind == VALUE_NONE || value_is_scalar(*first)) ? DERIVED_SAME : DERIVED_NEVER;
    case DERIVE_BY_BOOLS:
        for (size_t i = 0; i < call->row->args_len; i++) {
            if (call->args[i] != COLUMN_NONE && !has_column(forms->bools, forms->bools_len, call->args[i])) {
                return DERIVED_NEVER;
            }
        }
        return call->fn->is_always == DERIVE_WITH_NETWORKS && forming->plan->maps->networks != NULL ? DERIVED_NEVER
                                                                                                    : DERIVED_SAME;
    case DERIVE_BY_VALUE:
    default:
        return DERIVED_NEVER;
    }
}

/* Does nothing write the leaf but functions that write the same in each record? */
static bool leaf_is_same(const struct forming *forming, uint16_t leaf) {
    const struct plan *plan = forming->plan;
    bool is_same = leaf != LEAF_NONE && !bit_is_set(forming->forms->kept, leaf);
    for (uint16_t i = 0; i < plan->ops_len && is_same; i++) {
        is_same = plan->ops[i].leaf != leaf;
    }
    for (uint16_t i = 0; i < plan->consts_len && is_same; i++) {
        is_same = plan->consts[i].leaf != leaf;
    }
    for (uint16_t i = 0; i < plan->derives_len && is_same; i++) {
        const struct derive_call *call = &plan->derives[i];
        is_same = call->leaf != leaf || forming->derived[i] != DERIVED_NEVER;
        for (size_t s = 0; s < DERIVE_SUBS_MAX && call->fn->subs[s] != NULL && is_same; s++) {
            is_same = plan->subs[call->subs_at + s] != leaf;
        }
    }
    return is_same;
}

/* Which functions are left to be run, and what they may write. */
static uint16_t derives_settle(struct forming *forming, uint16_t *left) {
    const struct plan *plan = forming->plan;
    uint16_t len = 0;
    for (uint16_t i = 0; i < plan->derives_len; i++) {
        forming->derived[i] = (uint8_t)derive_looks(forming, &plan->derives[i]);
    }
    for (uint16_t i = 0; i < plan->derives_len; i++) {
        const struct derive_call *call = &plan->derives[i];
        if (forming->derived[i] == DERIVED_NONE) {
            continue;
        }
        if (forming->derived[i] == DERIVED_SAME && leaf_is_same(forming, call->leaf)) {
            forming->settled[call->leaf] = bit_is_set(plan->present, call->leaf) ? SETTLED_TEXT : SETTLED_NOT;
            continue;
        }
        left[len++] = i;
        keep(forming->kept, call->leaf);
        for (size_t s = 0; s < DERIVE_SUBS_MAX && call->fn->subs[s] != NULL; s++) {
            if (!derive_reads(call->fn, s)) {
                keep(forming->kept, plan->subs[call->subs_at + s]);
            }
        }
    }
    return len;
}

/* Decimal columns that are copied. */
static uint16_t decimals_find(const struct forming *forming, uint16_t *out) {
    const struct plan *plan = forming->plan;
    uint16_t len = 0;
    for (uint16_t i = 0; i < plan->ops_len; i++) {
        const struct op *op = &plan->ops[i];
        bool is_one = (op->code == OP_NUMBER || op->code == OP_DIGITS) && forming->winner[i] != COLUMN_NONE;
        if (is_one && !has_column(out, len, op->column)) {
            out[len++] = op->column;
        }
    }
    return len;
}

static const uint16_t *numbers_copy(struct forms *forms, const uint16_t *numbers, uint16_t len) {
    uint16_t *copy = form_alloc(forms, (size_t)len * sizeof(*copy) + 1);
    if (copy != NULL) {
        memcpy(copy, numbers, (size_t)len * sizeof(*copy));
    }
    return copy;
}

/* Addresses that are copied, each once, in the slot that a row gives it. */
static bool addresses_find(const struct forming *forming, struct form *form) {
    const struct plan *plan = forming->plan;
    struct form_address *out = form_alloc(forming->forms, plan->ops_len * sizeof(*out) + 1);
    uint16_t len = 0;
    for (uint16_t i = 0; i < plan->ops_len && out != NULL; i++) {
        const struct op *op = &plan->ops[i];
        if (op->code != OP_ADDRESS || forming->winner[i] == COLUMN_NONE) {
            continue;
        }
        uint16_t at = 0;
        while (at < len && out[at].column != op->column) {
            at++;
        }
        const bool is_other = at < len && op->ip_slot > 0 && out[at].slot > 0 && out[at].slot != op->ip_slot;
        if (at == len || is_other) {
            out[len++] = (struct form_address){.column = op->column, .slot = op->ip_slot};
        } else if (op->ip_slot > 0) {
            out[at].slot = op->ip_slot;
        }
    }
    form->addresses = out;
    form->addresses_len = len;
    return out != NULL;
}

/* The value this record has there, as JSON. */
static bool leaf_render(struct forms *forms, struct value value, struct core_span *out) {
    char text[4096];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    value_emit(&buf, value);
    struct core_span written = core_buf_written(&buf);
    char *copy = buf.is_full ? NULL : form_alloc(forms, written.len);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, written.ptr, written.len);
    *out = (struct core_span){copy, written.len};
    return true;
}

/* The columns that are copied to a leaf. */
static bool leaf_columns(const struct forming *forming, struct form_leaf *out) {
    const struct plan *plan = forming->plan;
    uint16_t columns[FORM_SET_MAX];
    uint8_t len = 0;
    for (uint16_t i = 0; i < plan->ops_len; i++) {
        if (plan->ops[i].leaf == out->leaf && forming->winner[i] != COLUMN_NONE) {
            if (len == FORM_SET_MAX) {
                return false;
            }
            columns[len++] = forming->winner[i];
        }
    }
    MUST(len > 0);
    out->columns = numbers_copy(forming->forms, columns, len);
    out->columns_len = len;
    return out->columns != NULL;
}

/* A text's own value, for functions that ask. */
static bool leaf_text(const struct forming *forming, struct form_leaf *out) {
    struct value value = forming->plan->values[out->leaf];
    if (value_is_scalar(value)) {
        char *copy = form_alloc(forming->forms, value.len + (size_t)VALUE_ROOM);
        if (copy == NULL) {
            return false;
        }
        memset(copy, 0, value.len + (size_t)VALUE_ROOM);
        memcpy(copy, value.ptr, value.len);
        out->value = value;
        out->value.ptr = copy;
        out->value.is_roomy = true;
    }
    return leaf_render(forming->forms, value, &out->rendered);
}

/* False: no room. Where the long way found otherwise, records of this form go it. */
static bool leaves_settle(struct forming *forming, struct form *form, uint64_t *present) {
    const struct plan *plan = forming->plan;
    struct forms *forms = forming->forms;
    struct form_leaf *leaves = form_alloc(forms, plan->leaves_len * sizeof(*leaves));
    uint16_t *leaf_at = form_alloc(forms, plan->leaves_len * sizeof(*leaf_at));
    if (leaves == NULL || leaf_at == NULL) {
        return false;
    }
    memcpy(present, plan->present_always, plan->present_words * sizeof(*present));
    memset(leaf_at, 0xff, plan->leaves_len * sizeof(*leaf_at));
    for (uint16_t i = 0; i < plan->leaves_len; i++) {
        struct form_leaf leaf = {.leaf = i, .kind = forming->copy_kind[i], .is_list = is_list(forming, i)};
        bool is_copy = forming->settled[i] == SETTLED_COPY;
        if (plan->leaves[i].is_constant || forming->settled[i] < SETTLED_COPY) {
            continue;
        }
        if (!bit_is_set(plan->present, i)) {
            form->is_none = form->is_none || !leaf.is_list; /* a list may be of nothing but empty texts */
            continue;
        }
        if (!(is_copy ? leaf_columns(forming, &leaf) : leaf_text(forming, &leaf))) {
            return false;
        }
        bit_set(present, i);
        leaf_at[i] = form->leaves_len;
        leaves[form->leaves_len++] = leaf;
    }
    form->leaves = leaves;
    form->leaf_at = leaf_at;
    form->present = present;
    return true;
}

static bool form_fill(struct forming *forming, struct form *form) {
    struct forms *forms = forming->forms;
    const struct plan *plan = forming->plan;
    uint16_t *left = forming->left;
    uint16_t len;
    form->derives_len = len = derives_settle(forming, left);
    form->derives = numbers_copy(forms, left, len);
    lists_settle(forming);
    form->ops_len = len = ops_settle(forming, left);
    form->ops = numbers_copy(forms, left, len);
    form->consts_len = len = consts_settle(forming, left);
    form->consts = numbers_copy(forms, left, len);
    form->decimals_len = len = decimals_find(forming, left);
    form->decimals = numbers_copy(forms, left, len);
    uint64_t *key = form_alloc(forms, forms->key_len * sizeof(*key));
    uint64_t *present = form_alloc(forms, plan->present_words * sizeof(*present));
    bool has_room = form->derives != NULL && form->ops != NULL && form->consts != NULL && form->decimals != NULL;
    if (!has_room || key == NULL || present == NULL) {
        return false;
    }
    memcpy(key, forms->key, forms->key_len * sizeof(*key));
    form->key = key;
    form->key_len = (uint16_t)forms->key_len;
    form->hash = forms->hash;
    return addresses_find(forming, form) && leaves_settle(forming, form, present);
}

void form_make(struct normalize_worker *worker, struct plan *plan) {
    struct forms *forms = plan->forms;
    MUST(forms->is_new);
    size_t numbers = (size_t)plan->ops_len + plan->columns_len + plan->consts_len + plan->derives_len;
    size_t kept_bytes = plan->present_words * sizeof(uint64_t);
    struct forming forming = {.worker = worker, .plan = plan, .forms = forms};
    forming.settled = scratch_alloc(worker, plan->leaves_len);
    forming.copy_kind = scratch_alloc(worker, plan->leaves_len);
    forming.taken = scratch_alloc(worker, plan->columns_len);
    forming.winner = scratch_alloc(worker, plan->ops_len * sizeof(uint16_t));
    forming.left = scratch_alloc(worker, numbers * sizeof(uint16_t));
    forming.kept = scratch_alloc(worker, kept_bytes);
    forming.derived = scratch_alloc(worker, plan->derives_len);
    if (worker->reason[0] != '\0') {
        worker->reason[0] = '\0'; /* no room to work in; the record itself is done */
        return;
    }
    memset(forming.settled, 0, plan->leaves_len);
    memset(forming.taken, 0, plan->columns_len);
    memset(forming.copy_kind, 0, plan->leaves_len);
    memcpy(forming.kept, forms->kept, kept_bytes);
    size_t used = forms->arena.used;
    struct form *form = form_alloc(forms, sizeof(*form));
    if (form != NULL) {
        memset(form, 0, sizeof(*form));
    }
    if (form == NULL || !form_fill(&forming, form)) {
        forms->arena.used = used;
        forms->is_full = true;
        return;
    }
    size_t slot = forms->hash;
    while (forms->slots[slot & (FORMS_MAX - 1)] != NULL) {
        slot++; /* form_find() has seen a free one */
    }
    forms->slots[slot & (FORMS_MAX - 1)] = form;
}
