/* cmd/json_tree.h: JSON documents as trees, and what differs between two of them, for `tapline map test`.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_JSON_TREE_H
#define TAPLINE_CMD_JSON_TREE_H

#include "core/json.h"

#include <stdio.h>

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_tree {
    enum json_kind kind;
    struct core_span key;  /* in an object */
    struct core_span text; /* of a string (unescaped), a number (as it stood), true or false */
    struct json_tree *first;
    struct json_tree *last;
    struct json_tree *next;
};

/* Read one value. Owns: everything lies in the arena. Errors: CORE_BAD, with fail; CORE_LIMIT the arena is full. */
CORE_CHECKED enum core_err json_tree_read(struct core_arena *arena, struct core_span text, struct json_tree **out,
                                          struct core_fail *fail);
/* The member of an object, or NULL. */
const struct json_tree *json_tree_get(const struct json_tree *object, const char *key);
/* The same value? Numbers by their value, exactly (1.50 is 1.5); members in any order. */
bool json_tree_same(const struct json_tree *a, const struct json_tree *b);
/* Write it as JSON, on one line. */
void json_tree_print(FILE *out, const struct json_tree *tree);
/* Print each field that differs as "- path: expected" and "+ path: came", indented; lists are compared whole, those below
 * `related` as sets. Returns how many fields differ. out NULL: only count. */
size_t json_tree_diff(FILE *out, const struct json_tree *expected, const struct json_tree *came);

#endif
