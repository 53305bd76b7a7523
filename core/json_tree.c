/* core/json_tree.c: reads JSON into a tree. For what people write and servers send, not for the data path: it looks for
 * members one after the other.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/json_tree.h"

#define TREE_DEPTH_MAX 66 /* core/json.h reads 64 */

struct reading {
    struct core_arena *arena;
    struct core_json_tree *stack[TREE_DEPTH_MAX];
    size_t depth;
    struct core_span key;
    struct core_json_tree *root;
    bool is_full;
};

static struct core_span keep(struct reading *reading, struct core_span text) {
    char *copy = core_arena_copy(reading->arena, text);
    reading->is_full = reading->is_full || copy == NULL;
    return copy == NULL ? (struct core_span){"", 0} : (struct core_span){copy, text.len};
}

static struct core_json_tree *add(struct reading *reading, enum core_json_kind kind, struct core_span text) {
    struct core_json_tree *tree = core_arena_alloc(reading->arena, sizeof(*tree));
    if (tree == NULL) {
        reading->is_full = true;
        return NULL;
    }
    *tree = (struct core_json_tree){.kind = kind, .text = keep(reading, text)};
    if (reading->depth == 0) {
        reading->root = tree;
        return tree;
    }
    struct core_json_tree *parent = reading->stack[reading->depth - 1];
    if (parent->kind == CORE_JSON_OBJECT) {
        tree->key = reading->key;
    }
    if (parent->last == NULL) {
        parent->first = tree;
    } else {
        parent->last->next = tree;
    }
    parent->last = tree;
    return tree;
}

static bool on_null(void *ctx) {
    return add(ctx, CORE_JSON_NULL, CORE_SPAN("null")) != NULL;
}

static bool on_bool(void *ctx, bool value) {
    return add(ctx, CORE_JSON_BOOL, value ? CORE_SPAN("true") : CORE_SPAN("false")) != NULL;
}

static bool on_number(void *ctx, struct core_span text) {
    return add(ctx, CORE_JSON_NUMBER, text) != NULL;
}

static bool on_string(void *ctx, struct core_span text) {
    return add(ctx, CORE_JSON_STRING, text) != NULL;
}

static bool on_key(void *ctx, struct core_span text) {
    struct reading *reading = ctx;
    reading->key = keep(reading, text);
    return !reading->is_full;
}

static bool nest(struct reading *reading, enum core_json_kind kind, bool is_start) {
    if (!is_start) {
        reading->depth--;
        return true;
    }
    struct core_json_tree *tree = add(reading, kind, (struct core_span){"", 0});
    if (tree == NULL || reading->depth == TREE_DEPTH_MAX) {
        return false;
    }
    reading->stack[reading->depth++] = tree;
    return true;
}

static bool on_map(void *ctx, bool is_start) {
    return nest(ctx, CORE_JSON_OBJECT, is_start);
}

static bool on_array(void *ctx, bool is_start) {
    return nest(ctx, CORE_JSON_ARRAY, is_start);
}

enum core_err core_json_tree_read(struct core_arena *arena, struct core_span text, struct core_json_tree **out,
                                  struct core_fail *fail) {
    static const struct core_json_calls calls = {on_null, on_bool, on_number, on_string, on_key, on_map, on_array};
    struct reading reading = {.arena = arena};
    struct core_json_reader *reader = core_json_reader_new(&calls, &reading);
    enum core_err err = core_json_read(reader, text, fail);
    core_json_reader_free(reader);
    if (reading.is_full) {
        return core_fail_set(fail, CORE_LIMIT, "JSON", "as a tree it needs more than the %zu bytes there are for it",
                             arena->cap);
    }
    *out = err == CORE_OK ? reading.root : NULL;
    return err;
}

const struct core_json_tree *core_json_tree_get(const struct core_json_tree *object, const char *key) {
    if (object == NULL || object->kind != CORE_JSON_OBJECT) {
        return NULL;
    }
    for (const struct core_json_tree *member = object->first; member != NULL; member = member->next) {
        if (core_span_is(member->key, key)) {
            return member;
        }
    }
    return NULL;
}

struct core_span core_json_tree_text(const struct core_json_tree *object, const char *key) {
    const struct core_json_tree *member = core_json_tree_get(object, key);
    return member != NULL && member->kind == CORE_JSON_STRING ? member->text : (struct core_span){"", 0};
}
