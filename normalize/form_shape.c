/* normalize/form_shape.c: how the documents of a form are written: for the leaves that a record set, a list of texts with a
 * value between each two, made once and kept (form.h); and a settled leaf's value for those who ask. Thread: the worker's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/emit.h"
#include "normalize/form.h"

#define STRIDE FORM_STRIDE

static struct value column_value(const struct forms *forms, const struct form_leaf *leaf, uint8_t i) {
    struct value value = forms->columns[leaf->columns[i]];
    bool is_text = leaf->kind == VALUE_PLAIN && value.kind == VALUE_TEXT;
    value.kind = is_text ? VALUE_TEXT : leaf->kind;
    value.is_number = value.kind == VALUE_RAW && value.ptr[0] != 't' && value.ptr[0] != 'f';
    return value;
}

bool form_value(const struct forms *forms, uint16_t leaf, struct value *out) {
    uint16_t at = forms->current == NULL ? LEAF_NONE : forms->current->leaf_at[leaf];
    if (at == LEAF_NONE) {
        return false;
    }
    const struct form_leaf *settled = &forms->current->leaves[at];
    MUST(!settled->is_list); /* nobody reads a list from its leaf */
    *out = settled->columns_len == 0 ? settled->value : column_value(forms, settled, 0);
    return true;
}

void form_unfold(struct normalize_worker *worker, struct plan *plan, const struct form *form) {
    for (uint16_t i = 0; i < form->leaves_len; i++) {
        const struct form_leaf *leaf = &form->leaves[i];
        plan->present[leaf->leaf / 64] &= ~(UINT64_C(1) << (leaf->leaf % 64));
        if (leaf->columns_len == 0) {
            plan->values[leaf->leaf] = value_of(VALUE_RAW, leaf->rendered.ptr, leaf->rendered.len);
            bit_set(plan->present, leaf->leaf);
        }
        for (uint8_t c = 0; c < leaf->columns_len; c++) {
            (void)leaf_put(worker, plan, leaf->leaf, column_value(plan->forms, leaf, c));
        }
    }
}

/* The text written so far becomes a step's. Its memory goes on for a stride's rest. */
static bool step_add(struct forms *forms, struct form_step *step, struct core_buf *buf) {
    struct core_span text = core_buf_written(buf);
    size_t room = (text.len + STRIDE) & ~(size_t)(STRIDE - 1);
    char *copy = form_alloc(forms, room);
    if (copy == NULL || buf->is_full) {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    memset(copy + text.len, 0, room - text.len);
    step->text = copy;
    step->text_len = (uint32_t)text.len;
    buf->pos = buf->start;
    return true;
}

/* The value of a part: folded into the text, or a step. */
static bool part_add(struct normalize_worker *worker, struct plan *plan, const struct form_leaf *leaf,
                     struct form_step **step, struct core_buf *buf, uint16_t at) {
    if (leaf != NULL && leaf->columns_len == 0) {
        core_buf_span(buf, leaf->rendered);
        return true;
    }
    const struct value *value = leaf == NULL ? &plan->values[at] : &worker->columns[leaf->columns[0]];
    uint8_t kind = leaf == NULL ? value->kind : leaf->kind;
    **step = (struct form_step){.value = value, .leaf = leaf, .how = HOW_LIST};
    if (leaf != NULL && leaf->is_list) {
        (*step)->how = HOW_SET;
    } else if (kind == VALUE_PLAIN || kind == VALUE_TEXT) {
        (*step)->how = HOW_TEXT;
        core_buf_char(buf, '"');
    } else if (kind == VALUE_RAW) {
        (*step)->how = HOW_RAW;
    }
    struct value usual = {.kind = value->kind, .is_number = value->is_number, .is_roomy = true};
    bool is_usual = IS_LITTLE_ENDIAN && (*step)->how <= HOW_RAW && value->kind != VALUE_TEXT;
    (*step)->usual = is_usual ? value_meta(&usual) : UINT64_MAX;
    if (!step_add(plan->forms, *step, buf)) {
        return false;
    }
    if ((*step)->how == HOW_TEXT) {
        core_buf_char(buf, '"');
    }
    (*step)++;
    return true;
}

static bool steps_make(struct normalize_worker *worker, struct plan *plan, const struct form *form,
                       struct form_shape *shape, struct form_step *step) {
    char text[16384];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    struct emit_walk walk = {.is_first = true};
    core_buf_char(&buf, '{');
    for (uint16_t i = 0; i < plan->parts_len; i++) {
        const struct part *part = &plan->parts[i];
        walk.common = part->common < walk.common ? part->common : walk.common;
        if (part->leaf != LEAF_NONE && !bit_is_set(plan->present, part->leaf)) {
            continue;
        }
        emit_walk_text(&walk, part, &buf);
        if (part->leaf == LEAF_NONE) {
            continue;
        }
        uint16_t settled = form->leaf_at[part->leaf];
        const struct form_leaf *leaf = settled == LEAF_NONE ? NULL : &form->leaves[settled];
        if (!part_add(worker, plan, leaf, &step, &buf, part->leaf)) {
            return false;
        }
    }
    emit_walk_end(&walk, &buf);
    *step = (struct form_step){.value = NULL};
    shape->steps_len = (size_t)(step - shape->steps) + 1;
    return step_add(plan->forms, step, &buf);
}

const struct form_shape *form_shape(struct normalize_worker *worker, struct plan *plan, struct form *form) {
    size_t bytes = plan->present_words * sizeof(uint64_t);
    for (uint16_t i = 0; i < form->shapes_len; i++) {
        if (words_are_same(form->shapes[i].present, plan->present, plan->present_words)) {
            return &form->shapes[i];
        }
    }
    if (form->shapes_len == FORM_SHAPES_MAX) {
        return NULL;
    }
    size_t used = plan->forms->arena.used;
    uint64_t *present = form_alloc(plan->forms, bytes);
    struct form_step *steps = form_alloc(plan->forms, (plan->parts_len + 1u) * sizeof(*steps));
    struct form_shape *shape = &form->shapes[form->shapes_len];
    *shape = (struct form_shape){.present = present, .steps = steps};
    if (present == NULL || steps == NULL || !steps_make(worker, plan, form, shape, steps)) {
        plan->forms->arena.used = used;
        return NULL;
    }
    memcpy(present, plan->present, bytes);
    for (size_t i = 0; i < shape->steps_len; i++) {
        shape->room += steps[i].text_len + STRIDE + VALUE_ROOM;
    }
    form->shapes_len++;
    return shape;
}
