/* normalize/observe.c: a record's observables: what stands in the fields that its map's rows mark, listed beside its document
 * (core_event) for enrichment, as it stands before JSON escapes it.
 *
 * A plan knows its marked leaves; nothing is noted while rows and functions run. When the document is written, each of
 * those leaves that the record set is read: most texts stand in the batch's segment and are only pointed to, others (a
 * function made them, an escape was undone) are copied behind the document. Nothing of this costs anything where nobody
 * asked. Thread: the worker's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/form.h"
#include "normalize/plan_internal.h"

/* ---- the plan ---------------------------------------------------------------------------------------------------------- */

/* May the leaf's text be anything but one such observable? */
static bool is_picked(const struct normalize_maps *maps, struct core_span name, enum core_indicator type) {
    const struct schema_field *schema = schema_find(maps, name);
    bool is_address = schema != NULL && schema->type == SCHEMA_IP;
    return (type == CORE_INDICATOR_IP && !is_address) || type == CORE_INDICATOR_DOMAIN ||
           type == CORE_INDICATOR_EMAIL || type == CORE_INDICATOR_URL || type == CORE_INDICATOR_FILE_NAME;
}

static void mark_add(struct making *making, uint16_t leaf, uint8_t type, struct core_span member) {
    struct plan *plan = making->plan;
    struct core_span name = plan->leaves[leaf].name;
    if (plan->leaves[leaf].is_constant) {
        return; /* the config's word, not the record's */
    }
    for (uint16_t i = 0; i < plan->marks_len; i++) {
        if (plan->marks[i].leaf == leaf && plan->marks[i].type == type) {
            return;
        }
    }
    if (member.len > 0) {
        name = name_join(making, name_join(making, name, CORE_SPAN(".")), member);
        member = name_join(making, CORE_SPAN("\""), name_join(making, member, CORE_SPAN("\":\"")));
    }
    plan->marks[plan->marks_len++] = (struct plan_mark){
        .field = plan_intern(making->request->worker, name),
        .member = member,
        .leaf = leaf,
        .type = type,
        .is_picked = is_picked(plan->maps, name, (enum core_indicator)type),
    };
}

static void mark_draft(struct making *making, const struct map_row *row, const struct row_mark *mark) {
    struct core_span member = {NULL, 0};
    struct core_span name = mark->field;
    uint64_t at;
    if (mark_is_member(row, name)) {
        size_t object = row->targets[0].name.len;
        member = (struct core_span){name.ptr + object + 1, name.len - object - 1};
        name = row->targets[0].name;
    }
    const struct draft *draft = draft_find(making, percent_fill(making, name, making->dataset_own), &at);
    if (draft == NULL) {
        return; /* no record of these columns has it */
    }
    mark_add(making, draft->place, mark->type, member);
    if (draft->has_other && !draft->is_constant && draft->other != 0) {
        mark_add(making, making->drafts[draft->other].place, mark->type, member); /* in records in which it is both */
    }
}

void marks_draft(struct making *making) {
    struct plan *plan = making->plan;
    const struct map *map = making->log->map;
    size_t len = 0;
    for (size_t r = 0; r < map->rows_len; r++) {
        len += map->rows[r].marks_len;
    }
    plan->marks = plan_alloc(plan, 2 * len * sizeof(*plan->marks));
    for (size_t r = 0; r < map->rows_len; r++) {
        for (size_t m = 0; m < map->rows[r].marks_len; m++) {
            mark_draft(making, &map->rows[r], &map->rows[r].marks[m]);
        }
    }
}

/* ---- a record ---------------------------------------------------------------------------------------------------------- */

/* The observables of one record under construction: written where they stay, behind the document. */
struct observing {
    const char *segment;
    struct core_observable *out;
    uint32_t max; /* CORE_OBSERVABLES_MAX, or what there is room for */
    uint32_t len;
    uint32_t left;
    bool has_outside; /* a text does not stand in the segment */
};

NORMALIZE_INLINE bool is_inside(const char *segment, const char *ptr) {
    return (uintptr_t)ptr - (uintptr_t)segment < CORE_SEGMENT_BYTES;
}

NORMALIZE_INLINE void text_add(struct observing *observing, const struct plan_mark *mark, const char *ptr,
                               uint32_t len) {
    if (observing->len == observing->max) {
        observing->left++;
        return;
    }
    struct core_observable *out = &observing->out[observing->len++];
    out->ptr = ptr;
    out->field = mark->field;
    out->len = len;
    out->type = mark->type;
    observing->has_outside = observing->has_outside || !is_inside(observing->segment, ptr);
}

/* The text behind `"data":"` in an object that we wrote. One with escapes in it is left out: no host's name has any. */
static struct core_span member_text(struct core_span object, struct core_span member) {
    const struct core_span none = {NULL, 0};
    const char *at = memmem(object.ptr, object.len, member.ptr, member.len);
    if (at == NULL) {
        return none;
    }
    at += member.len;
    const char *end = memchr(at, '"', (size_t)(object.ptr + object.len - at));
    struct core_span text = {at, end == NULL ? 0 : (size_t)(end - at)};
    return core_span_chr(text, '\\') == NULL ? text : none;
}

/* A number or an object is no observable; an unset element of a list has no value. */
static void value_add(struct observing *observing, const struct plan_mark *mark, const struct value *value) {
    struct core_span text = value_span(*value);
    struct core_span part;
    if (mark->member.len > 0) {
        text = value->kind == VALUE_RAW ? member_text(text, mark->member) : (struct core_span){NULL, 0};
    } else if (!value_is_string(*value)) {
        return;
    }
    if (!mark->is_picked && text.len > 0) {
        text_add(observing, mark, text.ptr, (uint32_t)text.len);
        return;
    }
    while (text.len > 0 && observable_pick((enum core_indicator)mark->type, &text, &part)) {
        text_add(observing, mark, part.ptr, (uint32_t)part.len);
    }
}

static void leaf_add(struct observing *observing, const struct plan_mark *mark, const struct value *value) {
    if (value->kind == VALUE_CHAIN) {
        for (const struct chain_node *node = value->chain->first; node != NULL; node = node->next) {
            value_add(observing, mark, &node->value);
        }
    } else if (value->kind == VALUE_LIST) {
        for (uint32_t i = 0; i < value->len; i++) {
            value_add(observing, mark, &value->items[i]);
        }
    } else {
        value_add(observing, mark, value);
    }
}

/* Texts that stand elsewhere (the scratch, the plan) move behind the list; those there is no room for are left out. */
static char *texts_move(struct observing *observing, char *to, const char *end) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < observing->len; i++) {
        struct core_observable one = observing->out[i];
        if (!is_inside(observing->segment, one.ptr)) {
            if ((size_t)(end - to) < one.len) {
                observing->left++;
                continue;
            }
            memcpy(to, one.ptr, one.len);
            one.ptr = to;
            to += one.len;
        }
        observing->out[kept++] = one;
    }
    observing->len = kept;
    return to;
}

/* What stands in a leaf that is set: most often a column as it came. */
NORMALIZE_INLINE const struct value *leaf_peek(const struct normalize_worker *worker, const struct plan *plan,
                                               uint16_t leaf, struct value *room) {
    const struct form *form = plan->forms->current;
    uint16_t at = form == NULL ? LEAF_NONE : form->leaf_at[leaf];
    if (at == LEAF_NONE) {
        return &plan->values[leaf];
    }
    const struct form_leaf *settled = &form->leaves[at];
    const struct value *column = settled->columns_len > 0 ? &worker->columns[settled->columns[0]] : NULL;
    if (column != NULL && settled->kind == VALUE_PLAIN && value_is_string(*column)) {
        return column;
    }
    *room = leaf_value(plan, leaf);
    return room;
}

void record_observe(struct normalize_worker *worker, const struct plan *plan, struct core_batch *batch,
                    struct core_event *event) {
    struct core_arena *arena = &batch->arena;
    size_t pad = (0 - arena->used) & (_Alignof(struct core_observable) - 1);
    char *start = arena->base + arena->used + pad;
    const char *end = arena->base + CORE_ARENA_NORMALIZE_BYTES - DEAD_RESERVE_BYTES;
    size_t max = start < end ? (size_t)(end - start) / sizeof(struct core_observable) : 0;
    struct observing observing = {.segment = batch->segment,
                                  .out = (struct core_observable *)(void *)start,
                                  .max = (uint32_t)(max < CORE_OBSERVABLES_MAX ? max : CORE_OBSERVABLES_MAX)};
    for (const struct plan_mark *mark = plan->marks, *last = mark + plan->marks_len; mark < last; mark++) {
        if ((plan->present[mark->leaf / 64] >> (mark->leaf % 64) & 1) != 0) {
            struct value room;
            const struct value *value = leaf_peek(worker, plan, mark->leaf, &room);
            if (!mark->is_picked && value_is_string(*value) && value->len > 0) {
                text_add(&observing, mark, value->ptr, value->len);
            } else {
                leaf_add(&observing, mark, value);
            }
        }
    }
    if (observing.len > 0) {
        char *stop = start + observing.len * sizeof(*observing.out);
        stop = observing.has_outside ? texts_move(&observing, stop, end) : stop;
        arena->used = (size_t)(stop - arena->base);
        event->observables = observing.out;
        event->observables_len = (uint16_t)observing.len;
    }
    event->observables_left = (uint16_t)(observing.left < UINT16_MAX ? observing.left : UINT16_MAX);
}

void normalize_worker_observe(struct normalize_worker *worker, bool is_wanted) {
    MUST(worker != NULL);
    worker->is_observing = is_wanted;
}
