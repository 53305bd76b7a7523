/* cmd/json_tree.c: reads JSON into a tree and compares two of them field by field. For files of a test, not for the data
 * path: it looks for members one after the other.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/json_tree.h"

#include "cmd/cmd.h"

#include <stdlib.h>

#define TREE_DEPTH_MAX 66 /* core/json.h reads 64 */
#define PATH_BYTES_MAX 2048

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

struct reading {
    struct core_arena *arena;
    struct json_tree *stack[TREE_DEPTH_MAX];
    size_t depth;
    struct core_span key;
    struct json_tree *root;
    bool is_full;
};

static struct core_span keep(struct reading *reading, struct core_span text) {
    char *copy = core_arena_copy(reading->arena, text);
    reading->is_full = reading->is_full || copy == NULL;
    return copy == NULL ? (struct core_span){"", 0} : (struct core_span){copy, text.len};
}

static struct json_tree *add(struct reading *reading, enum json_kind kind, struct core_span text) {
    struct json_tree *tree = core_arena_alloc(reading->arena, sizeof(*tree));
    if (tree == NULL) {
        reading->is_full = true;
        return NULL;
    }
    *tree = (struct json_tree){.kind = kind, .text = keep(reading, text)};
    if (reading->depth == 0) {
        reading->root = tree;
        return tree;
    }
    struct json_tree *parent = reading->stack[reading->depth - 1];
    if (parent->kind == JSON_OBJECT) {
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
    return add(ctx, JSON_NULL, CORE_SPAN("null")) != NULL;
}

static bool on_bool(void *ctx, bool value) {
    return add(ctx, JSON_BOOL, value ? CORE_SPAN("true") : CORE_SPAN("false")) != NULL;
}

static bool on_number(void *ctx, struct core_span text) {
    return add(ctx, JSON_NUMBER, text) != NULL;
}

static bool on_string(void *ctx, struct core_span text) {
    return add(ctx, JSON_STRING, text) != NULL;
}

static bool on_key(void *ctx, struct core_span text) {
    struct reading *reading = ctx;
    reading->key = keep(reading, text);
    return !reading->is_full;
}

static bool nest(struct reading *reading, enum json_kind kind, bool is_start) {
    if (!is_start) {
        reading->depth--;
        return true;
    }
    struct json_tree *tree = add(reading, kind, (struct core_span){"", 0});
    if (tree == NULL || reading->depth == TREE_DEPTH_MAX) {
        return false;
    }
    reading->stack[reading->depth++] = tree;
    return true;
}

static bool on_map(void *ctx, bool is_start) {
    return nest(ctx, JSON_OBJECT, is_start);
}

static bool on_array(void *ctx, bool is_start) {
    return nest(ctx, JSON_ARRAY, is_start);
}

enum core_err json_tree_read(struct core_arena *arena, struct core_span text, struct json_tree **out,
                             struct core_fail *fail) {
    static const struct core_json_calls calls = {on_null, on_bool, on_number, on_string, on_key, on_map, on_array};
    struct reading reading = {.arena = arena};
    struct core_json_reader *reader = core_json_reader_new(&calls, &reading);
    enum core_err err = core_json_read(reader, text, fail);
    core_json_reader_free(reader);
    if (reading.is_full) {
        return core_fail_set(fail, CORE_LIMIT, "JSON", "more than %zu bytes of it are too many for a test", arena->cap);
    }
    *out = err == CORE_OK ? reading.root : NULL;
    return err;
}

const struct json_tree *json_tree_get(const struct json_tree *object, const char *key) {
    MUST(object != NULL);
    for (const struct json_tree *member = object->first; member != NULL; member = member->next) {
        if (object->kind == JSON_OBJECT && core_span_is(member->key, key)) {
            return member;
        }
    }
    return NULL;
}

/* ---- comparing ----------------------------------------------------------------------------------------------------------- */

/* A number as its digits without zeros at either end, and the power of ten of the first. */
struct decimal {
    bool is_negative;
    char digits[512];
    size_t len;
    long exponent;
};

static struct decimal decimal_of(struct core_span text) {
    struct decimal out = {0};
    long power = 0; /* of the digit behind the last one */
    bool is_fraction = false;
    size_t i = 0;
    if (text.len > 0 && text.ptr[0] == '-') {
        out.is_negative = true;
        i = 1;
    }
    for (; i < text.len && text.ptr[i] != 'e' && text.ptr[i] != 'E'; i++) {
        if (text.ptr[i] == '.') {
            is_fraction = true;
            continue;
        }
        power -= is_fraction ? 1 : 0;
        if ((out.len > 0 || text.ptr[i] != '0') && out.len < sizeof(out.digits)) {
            out.digits[out.len++] = text.ptr[i];
        }
    }
    if (i < text.len) {
        char exponent[32];
        size_t len = text.len - i - 1;
        len = len < sizeof(exponent) - 1 ? len : sizeof(exponent) - 1;
        memcpy(exponent, text.ptr + i + 1, len);
        exponent[len] = '\0';
        power += strtol(exponent, NULL, 10);
    }
    while (out.len > 0 && out.digits[out.len - 1] == '0') {
        out.len--;
        power++;
    }
    out.exponent = out.len == 0 ? 0 : power;
    out.is_negative = out.is_negative && out.len > 0;
    return out;
}

static bool numbers_same(struct core_span a, struct core_span b) {
    struct decimal left = decimal_of(a);
    struct decimal right = decimal_of(b);
    return left.is_negative == right.is_negative && left.exponent == right.exponent && left.len == right.len &&
           memcmp(left.digits, right.digits, left.len) == 0;
}

static size_t children_len(const struct json_tree *tree) {
    size_t len = 0;
    for (const struct json_tree *child = tree->first; child != NULL; child = child->next) {
        len++;
    }
    return len;
}

static const struct json_tree *member_of(const struct json_tree *object, struct core_span key) {
    for (const struct json_tree *member = object->first; member != NULL; member = member->next) {
        if (core_span_eq(member->key, key)) {
            return member;
        }
    }
    return NULL;
}

bool json_tree_same(const struct json_tree *a, const struct json_tree *b) {
    if (a->kind != b->kind || children_len(a) != children_len(b)) {
        return false;
    }
    if (a->kind == JSON_NUMBER) {
        return numbers_same(a->text, b->text);
    }
    const struct json_tree *right = b->first;
    for (const struct json_tree *left = a->first; left != NULL; left = left->next) {
        const struct json_tree *other = a->kind == JSON_OBJECT ? member_of(b, left->key) : right;
        if (other == NULL || !json_tree_same(left, other)) {
            return false;
        }
        right = right->next;
    }
    return core_span_eq(a->text, b->text);
}

static size_t count_of(const struct json_tree *list, const struct json_tree *item) {
    size_t count = 0;
    for (const struct json_tree *have = list->first; have != NULL; have = have->next) {
        count += json_tree_same(have, item) ? 1 : 0;
    }
    return count;
}

/* Two lists with the same items, in any order. */
static bool sets_same(const struct json_tree *a, const struct json_tree *b) {
    bool is_same = a->kind == JSON_ARRAY && b->kind == JSON_ARRAY && children_len(a) == children_len(b);
    for (const struct json_tree *item = is_same ? a->first : NULL; item != NULL; item = item->next) {
        is_same = is_same && count_of(a, item) == count_of(b, item);
    }
    return is_same;
}

/* ---- printing ------------------------------------------------------------------------------------------------------------ */

void json_tree_print(FILE *out, const struct json_tree *tree) {
    if (tree->kind == JSON_STRING) {
        cmd_print_json_string(out, tree->text);
        return;
    }
    if (tree->kind != JSON_ARRAY && tree->kind != JSON_OBJECT) {
        (void)fprintf(out, "%.*s", (int)tree->text.len, tree->text.ptr);
        return;
    }
    (void)fputc(tree->kind == JSON_ARRAY ? '[' : '{', out);
    for (const struct json_tree *child = tree->first; child != NULL; child = child->next) {
        (void)fputs(child == tree->first ? "" : ", ", out);
        if (tree->kind == JSON_OBJECT) {
            cmd_print_json_string(out, child->key);
            (void)fputs(": ", out);
        }
        json_tree_print(out, child);
    }
    (void)fputc(tree->kind == JSON_ARRAY ? ']' : '}', out);
}

struct diff {
    FILE *out;
    char path[PATH_BYTES_MAX];
    size_t len;
    size_t differing;
};

static void diff_line(const struct diff *diff, char sign, const struct json_tree *tree) {
    if (diff->out != NULL && tree != NULL) {
        (void)fprintf(diff->out, "      %c %.*s: ", sign, (int)diff->len, diff->path);
        json_tree_print(diff->out, tree);
        (void)fputc('\n', diff->out);
    }
}

static void diff_value(struct diff *diff, const struct json_tree *expected, const struct json_tree *came);

/* The member's name behind the path, for the time of the call. */
static void diff_member(struct diff *diff, struct core_span key, const struct json_tree *expected,
                        const struct json_tree *came) {
    size_t len = diff->len;
    if (len + key.len + 2 <= sizeof(diff->path)) {
        diff->path[diff->len] = '.';
        diff->len += len > 0 ? 1 : 0;
        memcpy(diff->path + diff->len, key.ptr, key.len);
        diff->len += key.len;
    }
    diff_value(diff, expected, came);
    diff->len = len;
}

static bool is_object(const struct json_tree *tree) {
    return tree == NULL || (tree->kind == JSON_OBJECT && tree->first != NULL);
}

/* Down to fields: of an object that only one side has, each. */
static void diff_value(struct diff *diff, const struct json_tree *expected, const struct json_tree *came) {
    if (is_object(expected) && is_object(came)) {
        for (const struct json_tree *m = expected == NULL ? NULL : expected->first; m != NULL; m = m->next) {
            diff_member(diff, m->key, m, came == NULL ? NULL : member_of(came, m->key));
        }
        for (const struct json_tree *m = came == NULL ? NULL : came->first; m != NULL; m = m->next) {
            if (expected == NULL || member_of(expected, m->key) == NULL) {
                diff_member(diff, m->key, NULL, m);
            }
        }
        return;
    }
    static const char related[] = "related.";
    bool is_set = diff->len >= sizeof(related) - 1 && memcmp(diff->path, related, sizeof(related) - 1) == 0;
    bool is_same =
        expected != NULL && came != NULL && (json_tree_same(expected, came) || (is_set && sets_same(expected, came)));
    if (!is_same) {
        diff->differing++;
        diff_line(diff, '-', expected);
        diff_line(diff, '+', came);
    }
}

size_t json_tree_diff(FILE *out, const struct json_tree *expected, const struct json_tree *came) {
    MUST(expected != NULL && came != NULL);
    struct diff diff = {.out = out};
    diff_value(&diff, expected, came);
    return diff.differing;
}
