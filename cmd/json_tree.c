/* cmd/json_tree.c: compares two trees of JSON field by field. For files of a test, not for the data path.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/json_tree.h"

#include "cmd/cmd.h"

#include <stdlib.h>

#define PATH_BYTES_MAX 2048

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

static size_t children_len(const struct core_json_tree *tree) {
    size_t len = 0;
    for (const struct core_json_tree *child = tree->first; child != NULL; child = child->next) {
        len++;
    }
    return len;
}

static const struct core_json_tree *member_of(const struct core_json_tree *object, struct core_span key) {
    for (const struct core_json_tree *member = object->first; member != NULL; member = member->next) {
        if (core_span_eq(member->key, key)) {
            return member;
        }
    }
    return NULL;
}

bool json_tree_same(const struct core_json_tree *a, const struct core_json_tree *b) {
    if (a->kind != b->kind || children_len(a) != children_len(b)) {
        return false;
    }
    if (a->kind == CORE_JSON_NUMBER) {
        return numbers_same(a->text, b->text);
    }
    const struct core_json_tree *right = b->first;
    for (const struct core_json_tree *left = a->first; left != NULL; left = left->next) {
        const struct core_json_tree *other = a->kind == CORE_JSON_OBJECT ? member_of(b, left->key) : right;
        if (other == NULL || !json_tree_same(left, other)) {
            return false;
        }
        right = right->next;
    }
    return core_span_eq(a->text, b->text);
}

static size_t count_of(const struct core_json_tree *list, const struct core_json_tree *item) {
    size_t count = 0;
    for (const struct core_json_tree *have = list->first; have != NULL; have = have->next) {
        count += json_tree_same(have, item) ? 1 : 0;
    }
    return count;
}

/* Two lists with the same items, in any order. */
static bool sets_same(const struct core_json_tree *a, const struct core_json_tree *b) {
    bool is_same = a->kind == CORE_JSON_ARRAY && b->kind == CORE_JSON_ARRAY && children_len(a) == children_len(b);
    for (const struct core_json_tree *item = is_same ? a->first : NULL; item != NULL; item = item->next) {
        is_same = is_same && count_of(a, item) == count_of(b, item);
    }
    return is_same;
}

/* ---- printing ------------------------------------------------------------------------------------------------------------ */

void json_tree_print(FILE *out, const struct core_json_tree *tree) {
    if (tree->kind == CORE_JSON_STRING) {
        cmd_print_json_string(out, tree->text);
        return;
    }
    if (tree->kind != CORE_JSON_ARRAY && tree->kind != CORE_JSON_OBJECT) {
        (void)fprintf(out, "%.*s", (int)tree->text.len, tree->text.ptr);
        return;
    }
    (void)fputc(tree->kind == CORE_JSON_ARRAY ? '[' : '{', out);
    for (const struct core_json_tree *child = tree->first; child != NULL; child = child->next) {
        (void)fputs(child == tree->first ? "" : ", ", out);
        if (tree->kind == CORE_JSON_OBJECT) {
            cmd_print_json_string(out, child->key);
            (void)fputs(": ", out);
        }
        json_tree_print(out, child);
    }
    (void)fputc(tree->kind == CORE_JSON_ARRAY ? ']' : '}', out);
}

struct diff {
    FILE *out;
    char path[PATH_BYTES_MAX];
    size_t len;
    size_t differing;
};

static void diff_line(const struct diff *diff, char sign, const struct core_json_tree *tree) {
    if (diff->out != NULL && tree != NULL) {
        (void)fprintf(diff->out, "      %c %.*s: ", sign, (int)diff->len, diff->path);
        json_tree_print(diff->out, tree);
        (void)fputc('\n', diff->out);
    }
}

static void diff_value(struct diff *diff, const struct core_json_tree *expected, const struct core_json_tree *came);

/* The member's name behind the path, for the time of the call. */
static void diff_member(struct diff *diff, struct core_span key, const struct core_json_tree *expected,
                        const struct core_json_tree *came) {
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

static bool is_object(const struct core_json_tree *tree) {
    return tree == NULL || (tree->kind == CORE_JSON_OBJECT && tree->first != NULL);
}

/* Down to fields: of an object that only one side has, each. */
static void diff_value(struct diff *diff, const struct core_json_tree *expected, const struct core_json_tree *came) {
    if (is_object(expected) && is_object(came)) {
        for (const struct core_json_tree *m = expected == NULL ? NULL : expected->first; m != NULL; m = m->next) {
            diff_member(diff, m->key, m, came == NULL ? NULL : member_of(came, m->key));
        }
        for (const struct core_json_tree *m = came == NULL ? NULL : came->first; m != NULL; m = m->next) {
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

size_t json_tree_diff(FILE *out, const struct core_json_tree *expected, const struct core_json_tree *came) {
    MUST(expected != NULL && came != NULL);
    struct diff diff = {.out = out};
    diff_value(&diff, expected, came);
    return diff.differing;
}
