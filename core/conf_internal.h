/* core/conf_internal.h: the tree that conf.c makes of a file and conf_bind.c reads.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_CONF_INTERNAL_H
#define TAPLINE_CORE_CONF_INTERNAL_H

#include "core/conf.h"

#define CONF_FILE_BYTES_MAX CORE_MIB
#define CONF_ARENA_BYTES (16 * CORE_MIB) /* address space for the tree of the largest file */
#define CONF_DEPTH_MAX 32
#define CONF_NODES_MAX 16384 /* also bounds the quadratic search for duplicate keys */

enum conf_node_type { CONF_NODE_NULL, CONF_NODE_SCALAR, CONF_NODE_MAP, CONF_NODE_SEQUENCE };

/* An aliased node hangs below several parents, so the links are in conf_member, not in the node. */
struct core_conf_node {
    uint32_t magic;
    enum conf_node_type type;
    bool is_plain; /* a scalar without quotes: only such a one can be a number, a bool or null */
    bool is_open;  /* its end was not seen yet: an alias to it would contain itself */
    const char *text;
    struct conf_member *first;
    struct conf_member *last;
    size_t len;
    int line; /* from 1 */
    int column;
};
#define CONF_NODE_MAGIC 0x636e6f64u

struct conf_member {
    const char *key; /* NULL in a sequence */
    int line;        /* of the key */
    int column;
    bool is_merged; /* came by `<<`: a key that is written here wins over it */
    struct core_conf_node *value;
    struct conf_member *next;
};

struct core_conf_file {
    char *path;
    char *bytes;
    size_t bytes_len;
    struct core_arena arena; /* every node, member and text */
    size_t nodes_len;
    struct core_conf_node *root; /* always a mapping */
};

/* Add a mistake at a place of the file; line 0: the file as a whole. */
void conf_mistake_at(const struct core_conf_file *file, int line, int column, struct core_conf_mistakes *mistakes,
                     const char *fmt, ...) CORE_PRINTF(5, 6);

#endif
