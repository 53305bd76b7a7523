/* cmd/json_tree.h: what differs between two JSON documents, for `tapline map test`.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_JSON_TREE_H
#define TAPLINE_CMD_JSON_TREE_H

#include "core/json_tree.h"

#include <stdio.h>

/* The same value? Numbers by their value, exactly (1.50 is 1.5); members in any order. */
bool json_tree_same(const struct core_json_tree *a, const struct core_json_tree *b);
/* Write it as JSON, on one line. */
void json_tree_print(FILE *out, const struct core_json_tree *tree);
/* Print each field that differs as "- path: expected" and "+ path: came", indented; lists are compared whole, those below
 * `related` as sets. Returns how many fields differ. out NULL: only count. */
size_t json_tree_diff(FILE *out, const struct core_json_tree *expected, const struct core_json_tree *came);

#endif
