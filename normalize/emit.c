/* normalize/emit.c: writes the leaves that are set as one nested JSON document, in one pass.
 *
 * Leaves are sorted, so the objects of neighbours overlap: between two written leaves we close down to what they share
 * (the smallest `common` of all leaves passed over) and open from there, with the text the plan has ready. Which leaves a
 * record sets takes few shapes, so what stands between the values is worked out once a shape and kept.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

static inline bool is_copied(const struct value *value) {
    return value->kind == VALUE_PLAIN || value->kind == VALUE_RAW;
}

/* A value that is_copied(), where VALUE_ROOM + len + 2 bytes are left. Both quotes are always written, and stay where they
 * are due. */
static inline char *put_copied(char *to, const struct value *value) {
    size_t quote = value->kind == VALUE_PLAIN;
    *to = '"';
    to += quote;
    if (value->is_roomy && value->len <= VALUE_ROOM) {
        memcpy(to, value->ptr, VALUE_ROOM);
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

/* What stands between two values: the objects that end, a comma, and the next part's text from where they differ. */
struct walk {
    unsigned depth;
    unsigned common;
    bool is_first;
};

static void walk_text(struct walk *walk, const struct part *part, struct core_buf *buf) {
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

static void walk_end(struct walk *walk, struct core_buf *buf) {
    for (unsigned d = walk->depth + 1; d > 0; d--) {
        core_buf_char(buf, '}');
    }
}

/* The long way, for a document of a shape that has no slot. */
static void emit_parts(const struct plan *plan, struct core_buf *buf) {
    struct walk walk = {.is_first = true};
    core_buf_char(buf, '{');
    for (uint16_t i = 0; i < plan->parts_len; i++) {
        const struct part *part = &plan->parts[i];
        walk.common = part->common < walk.common ? part->common : walk.common;
        if (!part_is_set(plan, part)) {
            continue;
        }
        walk_text(&walk, part, buf);
        if (part->leaf != LEAF_NONE) {
            value_emit(buf, plan->values[part->leaf]);
        }
    }
    walk_end(&walk, buf);
}

/* ---- shapes ----------------------------------------------------------------------------------------------------------- */

static uint64_t present_hash(const struct plan *plan) {
    uint64_t hash = 0;
    for (uint16_t i = 0; i < plan->present_words; i++) {
        hash = (hash ^ plan->present[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return hash;
}

/* The shape of the leaves that are set now, in its slot or in the free one it would take; NULL: no slot is left. */
static struct shape *shape_slot(const struct plan *plan, uint64_t hash) {
    size_t bytes = plan->present_words * sizeof(uint64_t);
    for (size_t i = 0; i < 8; i++) {
        struct shape *shape = &plan->shapes[(hash + i) & (SHAPES_MAX - 1)];
        if (shape->present == NULL || (shape->hash == hash && memcmp(shape->present, plan->present, bytes) == 0)) {
            return shape;
        }
    }
    return NULL;
}

#define STRIDE VALUE_ROOM /* texts are copied in strides */

/* The text written so far becomes a step's. Its memory goes on for a stride's rest. */
static bool step_add(struct plan *plan, struct shape_step *step, struct core_buf *buf, uint16_t leaf) {
    struct core_span text = core_buf_written(buf);
    size_t room = (text.len + STRIDE) & ~(size_t)(STRIDE - 1);
    char *copy = core_arena_alloc(&plan->shapes_arena, room);
    if (copy == NULL || buf->is_full) {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    memset(copy + text.len, 0, room - text.len);
    *step = (struct shape_step){.text = copy, .text_len = (uint32_t)text.len, .leaf = leaf};
    buf->pos = buf->start;
    return true;
}

static bool shape_make(struct plan *plan, struct shape *shape, uint64_t hash) {
    char text[8192];
    size_t bytes = plan->present_words * sizeof(uint64_t);
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    struct walk walk = {.is_first = true};
    uint64_t *present = core_arena_alloc(&plan->shapes_arena, bytes);
    struct shape_step *steps = core_arena_alloc(&plan->shapes_arena, (plan->parts_len + 1u) * sizeof(*steps));
    uint16_t len = 0;
    if (present == NULL || steps == NULL) {
        return false;
    }
    core_buf_char(&buf, '{');
    for (uint16_t i = 0; i < plan->parts_len; i++) {
        const struct part *part = &plan->parts[i];
        walk.common = part->common < walk.common ? part->common : walk.common;
        if (!part_is_set(plan, part)) {
            continue;
        }
        walk_text(&walk, part, &buf);
        if (part->leaf != LEAF_NONE && !step_add(plan, &steps[len++], &buf, part->leaf)) {
            return false;
        }
    }
    walk_end(&walk, &buf);
    if (!step_add(plan, &steps[len++], &buf, LEAF_NONE)) {
        return false;
    }
    memcpy(present, plan->present, bytes);
    *shape = (struct shape){.hash = hash, .present = present, .steps = steps, .steps_len = len};
    plan->shapes_len++;
    return true;
}

/* Up to a stride's rest too far at both ends: the step's text and the buffer have room. */
static inline char *put_text(char *to, const char *from, size_t len) {
    memcpy(to, from, STRIDE);
    for (size_t i = STRIDE; i < len; i += STRIDE) {
        memcpy(to + i, from + i, STRIDE);
    }
    return to + len;
}

static void emit_shape(const struct plan *plan, const struct shape *shape, struct core_buf *buf) {
    const struct shape_step *last = shape->steps + shape->steps_len - 1;
    const struct value *values = plan->values;
    char *p = buf->pos;
    for (const struct shape_step *step = shape->steps; step < last; step++) {
        const struct value *value = &values[step->leaf];
        /* len: bytes, or elements of a list, each of which takes more than a byte */
        if ((size_t)(buf->end - p) < (size_t)step->text_len + STRIDE + value->len + 2) {
            buf->is_full = true;
            return;
        }
        p = put_text(p, step->text, step->text_len);
        if (is_copied(value)) {
            p = put_copied(p, value);
        } else {
            buf->pos = p;
            value_emit(buf, *value);
            p = buf->pos;
        }
    }
    buf->pos = p;
    if (buf->is_full || (size_t)(buf->end - p) < (size_t)last->text_len + STRIDE) {
        buf->is_full = true;
        return;
    }
    buf->pos = put_text(p, last->text, last->text_len);
}

void plan_emit(struct plan *plan, struct core_buf *buf) {
    uint64_t hash = present_hash(plan);
    struct shape *shape = shape_slot(plan, hash);
    if (shape == NULL || (shape->present == NULL && !shape_make(plan, shape, hash))) {
        emit_parts(plan, buf);
        return;
    }
    emit_shape(plan, shape, buf);
}
