/* core/json_tree.c: reads JSON into a tree. For what people write and servers send, not for the data path: it looks for
 * members one after the other.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/json_tree.h"

#include <stdlib.h>

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

int64_t core_json_tree_integer(const struct core_json_tree *object, const char *key, int64_t none) {
    const struct core_json_tree *member = core_json_tree_get(object, key);
    return member != NULL && member->kind == CORE_JSON_NUMBER ? strtoll(member->text.ptr, NULL, 10) : none;
}

bool core_json_tree_is_true(const struct core_json_tree *object, const char *key) {
    const struct core_json_tree *member = core_json_tree_get(object, key);
    return member != NULL && member->kind == CORE_JSON_BOOL && core_span_is(member->text, "true");
}

/* ---- writing ----------------------------------------------------------------------------------------------------------- */

void core_json_put_key(struct core_buf *out, const char *key) {
    bool is_first = out->pos == out->start || out->pos[-1] == '{' || out->pos[-1] == '[';
    core_buf_put(out, ",", is_first ? 0 : 1);
    core_buf_string(out, core_span_of(key));
    core_buf_char(out, ':');
}

void core_json_put_text(struct core_buf *out, const char *key, struct core_span text) {
    core_json_put_key(out, key);
    core_buf_string(out, text);
}

void core_json_put_number(struct core_buf *out, const char *key, int64_t number) {
    core_json_put_key(out, key);
    core_buf_i64(out, number);
}

void core_json_put_bool(struct core_buf *out, const char *key, bool value) {
    core_json_put_key(out, key);
    core_buf_span(out, value ? CORE_SPAN("true") : CORE_SPAN("false"));
}

static void put_many(struct core_buf *out, const struct core_json_tree *tree) {
    bool is_object = tree->kind == CORE_JSON_OBJECT;
    core_buf_char(out, is_object ? '{' : '[');
    for (const struct core_json_tree *member = tree->first; member != NULL; member = member->next) {
        core_buf_put(out, ",", member == tree->first ? 0 : 1);
        if (is_object) {
            core_buf_string(out, member->key);
            core_buf_char(out, ':');
        }
        core_json_put_tree(out, member); /* as deep as core/json.h reads: 64 */
    }
    core_buf_char(out, is_object ? '}' : ']');
}

void core_json_put_tree(struct core_buf *out, const struct core_json_tree *tree) {
    switch (tree->kind) {
    case CORE_JSON_OBJECT:
    case CORE_JSON_ARRAY:
        put_many(out, tree);
        break;
    case CORE_JSON_STRING:
        core_buf_string(out, tree->text);
        break;
    case CORE_JSON_NULL:
        core_buf_span(out, CORE_SPAN("null"));
        break;
    case CORE_JSON_BOOL:
    case CORE_JSON_NUMBER:
        core_buf_span(out, tree->text);
        break;
    }
}
