/* normalize/emit.c: writes the leaves that are set as one nested JSON document, in one pass.
 *
 * Leaves are sorted, so the objects of neighbours overlap: between two written leaves we close down to what they share
 * (the smallest `common` of all leaves passed over) and open from there, with the text the plan has ready. Which leaves a
 * record sets takes few shapes, so what stands between the values is worked out once a shape and kept.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/emit.h"
#include "normalize/form.h"

/* 32 bytes wherever they stand, as the machine moves them best. */
typedef char bytes32 __attribute__((vector_size(VALUE_ROOM), aligned(1), may_alias));

NORMALIZE_INLINE bool is_copied(const struct value *value) {
    return value->kind == VALUE_PLAIN || value->kind == VALUE_RAW;
}

/* A value that is_copied(), where VALUE_ROOM + len + 2 bytes are left. Both quotes are always written, and stay where they
 * are due. */
NORMALIZE_INLINE char *put_copied(char *to, const struct value *value) {
    size_t quote = value->kind == VALUE_PLAIN;
    *to = '"';
    to += quote;
    if (value->is_roomy && value->len <= VALUE_ROOM) {
        *(bytes32 *)(void *)to = *(const bytes32 *)(const void *)value->ptr;
        to += value->len;
    } else {
        to = bytes_copy(to, value->ptr, value->len);
    }
    *to = '"';
    return to + quote;
}

/* One element of a list. */
static inline void emit_item(struct core_buf *buf, const struct value *value, bool is_first) {
    if (!is_first) {
        core_buf_char(buf, ',');
    }
    if (is_copied(value) && (size_t)(buf->end - buf->pos) >= (size_t)VALUE_ROOM + value->len + 2) {
        buf->pos = put_copied(buf->pos, value);
    } else {
        value_emit(buf, *value);
    }
}

void value_emit(struct core_buf *buf, struct value value) {
    switch ((enum value_kind)value.kind) {
    case VALUE_PLAIN:
        core_buf_char(buf, '"');
        core_buf_put(buf, value.ptr, value.len);
        core_buf_char(buf, '"');
        return;
    case VALUE_TEXT:
        core_buf_string(buf, value_span(value));
        return;
    case VALUE_RAW:
        core_buf_put(buf, value.ptr, value.len);
        return;
    case VALUE_LIST:
        core_buf_char(buf, '[');
        for (uint32_t i = 0; i < value.len; i++) {
            emit_item(buf, &value.items[i], i == 0);
        }
        core_buf_char(buf, ']');
        return;
    case VALUE_CHAIN:
        core_buf_char(buf, '[');
        for (const struct chain_node *node = value.chain->first; node != NULL; node = node->next) {
            emit_item(buf, &node->value, node == value.chain->first);
        }
        core_buf_char(buf, ']');
        return;
    case VALUE_NONE:
        core_buf_put(buf, "null", 4); /* an unset element of a vector */
        return;
    }
}

static bool part_is_set(const struct plan *plan, const struct part *part) {
    return part->leaf == LEAF_NONE || (plan->present[part->leaf / 64] >> (part->leaf % 64) & 1) != 0;
}

void emit_walk_text(struct emit_walk *walk, const struct part *part, struct core_buf *buf) {
    if (!walk->is_first) {
        for (; walk->depth > walk->common; walk->depth--) {
            core_buf_char(buf, '}');
        }
        core_buf_char(buf, ',');
    }
    uint16_t from = part->open_at[walk->common];
    core_buf_put(buf, part->text + from, part->text_len - from);
    walk->depth = part->depth;
    walk->common = part->depth;
    walk->is_first = false;
}

void emit_walk_end(struct emit_walk *walk, struct core_buf *buf) {
    for (unsigned d = walk->depth + 1; d > 0; d--) {
        core_buf_char(buf, '}');
    }
}

/* The long way, for a document of a shape that has no slot. */
static void emit_parts(const struct plan *plan, struct core_buf *buf) {
    struct emit_walk walk = {.is_first = true};
    core_buf_char(buf, '{');
    for (uint16_t i = 0; i < plan->parts_len; i++) {
        const struct part *part = &plan->parts[i];
        walk.common = part->common < walk.common ? part->common : walk.common;
        if (!part_is_set(plan, part)) {
            continue;
        }
        emit_walk_text(&walk, part, buf);
        if (part->leaf != LEAF_NONE) {
            value_emit(buf, plan->values[part->leaf]);
        }
    }
    emit_walk_end(&walk, buf);
}

/* ---- forms ------------------------------------------------------------------------------------------------------------ */

/* Up to a stride's rest too far at both ends: the step's text and the buffer have room. */
NORMALIZE_INLINE char *put_text(char *to, const char *from, size_t len) {
    *(bytes32 *)(void *)to = *(const bytes32 *)(const void *)from;
    *(bytes32 *)(void *)(to + 32) = *(const bytes32 *)(const void *)(from + 32);
    for (size_t i = FORM_STRIDE; i < len; i += FORM_STRIDE) {
        *(bytes32 *)(void *)(to + i) = *(const bytes32 *)(const void *)(from + i);
        *(bytes32 *)(void *)(to + i + 32) = *(const bytes32 *)(const void *)(from + i + 32);
    }
    return to + len;
}

/* A text with bytes that need care, between quotes of which the first is written. It is written with both of its own: the
 * first over that one, and over the last comes that of the next step's text. */
static char *put_escaped(char *to, const struct value *value, struct core_buf *buf) {
    buf->pos = to - 1;
    core_buf_string(buf, value_span(*value));
    return buf->is_full ? to : buf->pos - 1;
}

/* An element of a list, and what stands before it. NULL: there may be no room, or it is no run of bytes. */
NORMALIZE_INLINE char *put_item(char *to, const char *end, char before, const struct value *value) {
    if (!is_copied(value) || end - to < VALUE_ROOM + 3 + (ptrdiff_t)value->len) {
        return NULL;
    }
    *to = before;
    return put_copied(to + 1, value);
}

/* The distinct texts of some columns, none of which is empty. NULL: as put_item(). */
static char *put_set(char *to, const char *end, const struct form_leaf *leaf, const struct value *columns) {
    char before = '[';
    for (unsigned i = 0; i < leaf->columns_len; i++) {
        const struct value *value = &columns[leaf->columns[i]];
        bool is_new = true;
        for (unsigned k = 0; k < i && is_new; k++) {
            is_new = !text_is_same(value_span(columns[leaf->columns[k]]), value_span(*value));
        }
        to = is_new ? put_item(to, end, before, value) : to;
        if (to == NULL) {
            return NULL;
        }
        before = ',';
    }
    *to = ']';
    return to + 1;
}

/* A list that a leaf holds. NULL: as put_item(), or an empty one. */
static char *put_list(char *to, const char *end, const struct value *list) {
    char before = '[';
    if (list->kind == VALUE_CHAIN) {
        for (const struct chain_node *node = list->chain->first; node != NULL && to != NULL; node = node->next) {
            to = put_item(to, end, before, &node->value);
            before = ',';
        }
    } else {
        for (uint32_t i = 0; i < list->len && to != NULL; i++) {
            to = put_item(to, end, before, &list->items[i]);
            before = ',';
        }
    }
    if (to == NULL || before == '[') {
        return NULL;
    }
    *to = ']';
    return to + 1;
}

/* The same, whatever it holds. */
static void emit_set(const struct form_leaf *leaf, const struct value *columns, struct core_buf *buf) {
    core_buf_char(buf, '[');
    for (unsigned i = 0; i < leaf->columns_len; i++) {
        const struct value *value = &columns[leaf->columns[i]];
        bool is_new = true;
        for (unsigned before = 0; before < i && is_new; before++) {
            is_new = !text_is_same(value_span(columns[leaf->columns[before]]), value_span(*value));
        }
        if (is_new) {
            emit_item(buf, value, i == 0);
        }
    }
    core_buf_char(buf, ']');
}

/* A value that is longer than usual, or of another kind, or stands at the line's end. NULL: not to be written here. */
static char *put_other(const struct form_step *step, const struct value *columns, struct core_buf *buf, char *p) {
    const struct value *value = step->value;
    bool is_list = step->how == HOW_LIST && (value->kind == VALUE_CHAIN || value->kind == VALUE_LIST);
    if (step->how == HOW_SET || is_list) {
        char *end = is_list ? put_list(p, buf->end, value) : put_set(p, buf->end, step->leaf, columns);
        if (end != NULL) {
            return end;
        }
    }
    bool is_column = step->leaf != NULL; /* then the form has seen to its kind */
    bool is_copy = is_copied(value) && step->how <= HOW_RAW;
    bool is_kind = is_column || (step->how == HOW_TEXT  ? value_is_string(*value)
                                 : step->how == HOW_RAW ? value->kind == VALUE_RAW
                                                        : !value_is_scalar(*value));
    buf->pos = p;
    if (!is_kind) {
        return NULL; /* a function wrote another kind of value than in the records before */
    }
    if (is_copy) {
        core_buf_put(buf, value->ptr, value->len);
        return buf->pos;
    }
    if (step->how == HOW_TEXT) {
        return put_escaped(p, value, buf);
    }
    if (step->how == HOW_SET) {
        emit_set(step->leaf, columns, buf);
    } else if (step->how == HOW_RAW) {
        core_buf_put(buf, value->ptr, value->len); /* digits in a line that is not plain */
    } else {
        value_emit(buf, *value);
    }
    return buf->pos;
}

/* False: it cannot be written this way, or there may be too little room. */
NORMALIZE_CLONES
static bool emit_steps(const struct form_shape *shape, const struct value *columns, struct core_buf *buf) {
    const struct form_step *last = shape->steps + shape->steps_len - 1;
    char *p = buf->pos;
    if ((size_t)(buf->end - p) < shape->room) {
        return false;
    }
    const char *limit = buf->end - shape->room; /* from there on, there may not be room for the rest */
    for (const struct form_step *step = shape->steps; step < last; step++) {
        const struct value *value = step->value;
        uint64_t len = value_meta(value) ^ step->usual;
        p = put_text(p, step->text, step->text_len);
        if (len <= VALUE_ROOM) {
            *(bytes32 *)(void *)p = *(const bytes32 *)(const void *)value->ptr;
            p += len;
            continue;
        }
        p = put_other(step, columns, buf, p);
        if (p == NULL || buf->is_full || p > limit) {
            return false;
        }
    }
    buf->pos = put_text(p, last->text, last->text_len);
    return true;
}

void plan_emit(struct normalize_worker *worker, struct plan *plan, struct core_buf *buf) {
    struct form *form = plan->forms->current;
    if (form != NULL) {
        const struct form_shape *shape = form_shape(worker, plan, form);
        if (shape != NULL && emit_steps(shape, worker->columns, buf)) {
            return;
        }
        form_unfold(worker, plan, form);
        buf->pos = buf->start;
        buf->is_full = false;
    }
    emit_parts(plan, buf);
}
