/* core/json_tree.h: a JSON text as a tree: for files and answers that are read as a whole, not for the data path.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_JSON_TREE_H
#define TAPLINE_CORE_JSON_TREE_H

#include "core/json.h"

enum core_json_kind {
    CORE_JSON_NULL,
    CORE_JSON_BOOL,
    CORE_JSON_NUMBER,
    CORE_JSON_STRING,
    CORE_JSON_ARRAY,
    CORE_JSON_OBJECT
};

struct core_json_tree {
    enum core_json_kind kind;
    struct core_span key;  /* in an object */
    struct core_span text; /* of a string (unescaped), a number (as it stood), true or false; a NUL follows */
    struct core_json_tree *first;
    struct core_json_tree *last;
    struct core_json_tree *next;
};

/* A tree takes at most so many bytes of an arena for each byte of text, and these at least. */
#define CORE_JSON_TREE_PER_BYTE 64
#define CORE_JSON_TREE_BYTES_MIN (64 * CORE_KIB)

/* Read one value. Owns: everything lies in the arena. Errors: CORE_BAD, with fail; CORE_LIMIT the arena is full. */
CORE_CHECKED enum core_err core_json_tree_read(struct core_arena *arena, struct core_span text,
                                               struct core_json_tree **out, struct core_fail *fail);
/* The member of an object, or NULL (also of what is no object, or NULL). */
const struct core_json_tree *core_json_tree_get(const struct core_json_tree *object, const char *key);
/* The text of the member that is a string; empty if there is none. */
struct core_span core_json_tree_text(const struct core_json_tree *object, const char *key);
/* The member that is a number, without what stands behind its point; none if there is none. */
int64_t core_json_tree_integer(const struct core_json_tree *object, const char *key, int64_t none);
/* Is there a member that is true? */
bool core_json_tree_is_true(const struct core_json_tree *object, const char *key);

/* ---- writing ----------------------------------------------------------------------------------------------------------- */

/* "key": with a comma in front, unless it is the first of its object (or of the buffer). */
void core_json_put_key(struct core_buf *out, const char *key);
/* … and the value. */
void core_json_put_text(struct core_buf *out, const char *key, struct core_span text);
void core_json_put_number(struct core_buf *out, const char *key, int64_t number);
void core_json_put_bool(struct core_buf *out, const char *key, bool value);
/* A tree as JSON again, on one line. */
void core_json_put_tree(struct core_buf *out, const struct core_json_tree *tree);

#endif
