/* normalize/plan_leaves.c: the fields of a plan's documents: found by name while rows are read, then sorted, so that the
 * members of an object stand together, and given the text that opens each. What every document has in common (constants
 * side by side) is one text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/plan_internal.h"

#include <stdlib.h>

#define CONSTANT_BYTES_MAX (4 * CORE_MIB)

struct draft *draft_find(struct making *making, struct core_span name, uint64_t *at) {
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

struct core_span name_join(struct making *making, struct core_span head, struct core_span tail) {
    char *text = plan_alloc(making->plan, head.len + tail.len + 1);
    memcpy(text, head.ptr, head.len);
    memcpy(text + head.len, tail.ptr, tail.len);
    return (struct core_span){text, head.len + tail.len};
}

/* "zeek.%" with the log's own name in it. */
struct core_span percent_fill(struct making *making, struct core_span text, struct core_span fill) {
    const char *at = core_span_chr(text, '%');
    if (at == NULL) {
        return text;
    }
    size_t head = (size_t)(at - text.ptr);
    struct core_span left = name_join(making, (struct core_span){text.ptr, head}, fill);
    return name_join(making, left, (struct core_span){at + 1, text.len - head - 1});
}

/* The leaf of this name (`%` is the dataset's own part), made if there is none; LEAF_NONE when there are too many. */
uint16_t draft_leaf(struct making *making, struct core_span name) {
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

/* The value as JSON text, so that writing it is one copy. */
struct value value_rendered(struct making *making, struct value value) {
    char *work = malloc(CONSTANT_BYTES_MAX);
    MUST(work != NULL);
    struct core_buf buf = {.start = work, .pos = work, .end = work + CONSTANT_BYTES_MAX};
    value_emit(&buf, value);
    MUST(!buf.is_full); /* a map's file and a config's value are far shorter */
    struct core_span copy = plan_text(making->plan, core_buf_written(&buf));
    free(work);
    return value_of(VALUE_RAW, copy.ptr, copy.len);
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

/* A name that no leaf has yet: NAME.value, or that with _2 behind it. */
static uint16_t clash_other(struct making *making, struct core_span name) {
    uint64_t at;
    name = name_join(making, name, CORE_SPAN(".value"));
    while (draft_find(making, name, &at) != NULL) {
        name = name_join(making, name, CORE_SPAN("_2"));
    }
    return draft_leaf(making, name);
}

static bool is_below(struct core_span name, struct core_span next) {
    return next.len > name.len && next.ptr[name.len] == '.' && memcmp(next.ptr, name.ptr, name.len) == 0;
}

/* A name that is both a leaf and an object gets a second leaf, NAME.value, for records that have both. A constant is in
 * every record, so it moves there for good. Returns whether leaves were added or renamed: then they are sorted again. */
static bool clashes_find(struct making *making, struct draft **sorted, size_t len) {
    bool is_changed = false;
    for (size_t i = 0; i + 1 < len; i++) {
        struct draft *draft = sorted[i];
        if (draft->has_other || !is_below(draft->name, sorted[i + 1]->name)) {
            continue;
        }
        uint16_t other = clash_other(making, draft->name);
        if (other == LEAF_NONE) {
            making->is_full = true;
            return false;
        }
        if (draft->is_constant) {
            struct core_span name = making->drafts[other].name;
            making->drafts[other].name = draft->name; /* swap: the old name now has no writer */
            draft->name = name;
            draft->has_other = true;
            making->drafts[other].has_other = true;
        } else {
            draft->has_other = true;
            draft->other = other;
            making->drafts[other].is_list = draft->is_list;
            making->drafts[other].sources = 1;
            making->plan->clashes_len++;
        }
        is_changed = true;
    }
    return is_changed;
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

/* By name; again for as long as that shows new clashes. */
static struct draft **drafts_sort(struct making *making) {
    struct draft **sorted = malloc(LEAVES_MAX * sizeof(struct draft *));
    bool is_changed = true;
    MUST(sorted != NULL);
    while (is_changed) {
        size_t len = making->drafts_len;
        for (size_t i = 0; i < len; i++) {
            sorted[i] = &making->drafts[i];
        }
        qsort(sorted, len, sizeof(struct draft *), draft_compare);
        is_changed = clashes_find(making, sorted, len);
    }
    return sorted;
}

static void clashes_place(struct making *making) {
    struct plan *plan = making->plan;
    plan->clashes = plan_alloc(plan, plan->clashes_len * sizeof(*plan->clashes));
    uint16_t len = 0;
    for (size_t i = 0; i < making->drafts_len; i++) {
        const struct draft *draft = &making->drafts[i];
        if (!draft->has_other || draft->is_constant || draft->other == 0) {
            continue;
        }
        uint16_t end = (uint16_t)(draft->place + 1);
        while (end < plan->leaves_len && is_below(draft->name, plan->leaves[end].name)) {
            end++;
        }
        plan->clashes[len++] =
            (struct leaf_clash){.leaf = draft->place, .other = making->drafts[draft->other].place, .below_end = end};
    }
    plan->clashes_len = len;
}

static void leaves_place(struct making *making) {
    struct plan *plan = making->plan;
    struct draft **sorted = drafts_sort(making);
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
        leaf->is_constant = sorted[i]->is_constant;
        leaf_open(plan, leaf);
        if (leaf->is_constant) {
            plan->values[i] = sorted[i]->constant;
            plan->present_always[i / 64] |= UINT64_C(1) << (i % 64);
        }
    }
    free(sorted);
    clashes_place(making);
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
    uint16_t ops_len = 0;
    for (uint16_t i = 0; i < plan->ops_len; i++) {
        struct draft *draft = &making->drafts[plan->ops[i].leaf];
        plan->ops[i].leaf = draft->place;
        plan->ops[i].is_checked =
            (plan->ops[i].flags & (OP_COND | OP_KEEP)) != 0 || (draft->is_written && !draft->is_list);
        draft->is_written = true;
        if (!draft->is_constant) { /* what the input's fields fix, no row writes */
            plan->ops[ops_len++] = plan->ops[i];
        }
    }
    plan->ops_len = ops_len;
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

/* ---- parts ------------------------------------------------------------------------------------------------------------ */

/* Text of leaves first … last (all constants): `"observer":{"product":"zeek","type":"ids"`, the objects of the last left
 * open. */
static struct core_span run_text(struct plan *plan, uint16_t first, uint16_t last) {
    size_t room = 0;
    for (uint16_t i = first; i <= last; i++) {
        room += (size_t)plan->leaves[i].open_len + plan->values[i].len + plan->leaves[i].depth + 2u;
    }
    char *text = plan_alloc(plan, room);
    struct core_buf buf = {.start = text, .pos = text, .end = text + room};
    for (uint16_t i = first; i <= last; i++) {
        const struct leaf *leaf = &plan->leaves[i];
        uint16_t from = 0;
        if (i > first) {
            for (unsigned d = plan->leaves[i - 1].depth; d > leaf->common; d--) {
                core_buf_char(&buf, '}');
            }
            core_buf_char(&buf, ',');
            from = leaf->open_at[leaf->common];
        }
        core_buf_put(&buf, leaf->open + from, (size_t)(leaf->open_len - from));
        core_buf_put(&buf, plan->values[i].ptr, plan->values[i].len);
    }
    MUST(!buf.is_full);
    return core_buf_written(&buf);
}

static void parts_make(struct plan *plan) {
    plan->parts = plan_alloc(plan, plan->leaves_len * sizeof(*plan->parts));
    for (uint16_t i = 0; i < plan->leaves_len;) {
        const struct leaf *leaf = &plan->leaves[i];
        struct part *part = &plan->parts[plan->parts_len++];
        uint16_t last = i;
        *part = (struct part){.text = leaf->open,
                              .text_len = leaf->open_len,
                              .open_at = leaf->open_at,
                              .leaf = i,
                              .common = leaf->common};
        if (leaf->is_constant) {
            while (last + 1 < plan->leaves_len && plan->leaves[last + 1].is_constant) {
                last++;
            }
            struct core_span text = run_text(plan, i, last);
            part->text = text.ptr;
            part->text_len = (uint32_t)text.len;
            part->leaf = LEAF_NONE;
        }
        part->depth = plan->leaves[last].depth;
        i = (uint16_t)(last + 1);
    }
}

void leaves_settle(struct making *making) {
    consts_settle(making);
    leaves_place(making);
    places_fill(making);
    parts_make(making->plan);
}
