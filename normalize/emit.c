/* normalize/emit.c: writes the leaves that are set as one nested JSON document, in one pass.
 *
 * Leaves are sorted, so the objects of neighbours overlap: between two written leaves we close down to what they share
 * (the smallest `common` of all leaves passed over) and open from there, with the text the plan has ready.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

static void emit_plain(struct core_buf *buf, struct value value) {
    if (buf->is_full || (size_t)(buf->end - buf->pos) < (size_t)value.len + 2) {
        buf->is_full = true;
        return;
    }
    char *p = buf->pos;
    *p++ = '"';
    memcpy(p, value.ptr, value.len);
    p += value.len;
    *p++ = '"';
    buf->pos = p;
}

void value_emit(struct core_buf *buf, struct value value) {
    switch ((enum value_kind)value.kind) {
    case VALUE_PLAIN:
        emit_plain(buf, value);
        return;
    case VALUE_TEXT:
        core_buf_string(buf, value_span(value));
        return;
    case VALUE_RAW:
        core_buf_put(buf, value.ptr, value.len);
        return;
    case VALUE_LIST:
        core_buf_char(buf, '[');
        for (uint32_t i = 0; i < value.len; i++) {
            if (i > 0) {
                core_buf_char(buf, ',');
            }
            value_emit(buf, value.items[i]);
        }
        core_buf_char(buf, ']');
        return;
    case VALUE_CHAIN:
        core_buf_char(buf, '[');
        for (const struct chain_node *node = value.chain->first; node != NULL; node = node->next) {
            if (node != value.chain->first) {
                core_buf_char(buf, ',');
            }
            value_emit(buf, node->value);
        }
        core_buf_char(buf, ']');
        return;
    case VALUE_NONE:
        core_buf_put(buf, "null", 4); /* an unset element of a vector */
        return;
    }
}

static void close_objects(struct core_buf *buf, unsigned n) {
    static const char braces[] = "}}}}}}}}}}}}}}}}";
    while (n > 0) {
        unsigned len = n < sizeof(braces) - 1 ? n : (unsigned)sizeof(braces) - 1;
        core_buf_put(buf, braces, len);
        n -= len;
    }
}

void plan_emit(const struct plan *plan, struct core_buf *buf) {
    unsigned depth = 0;
    unsigned common = 0;
    bool is_first = true;
    core_buf_char(buf, '{');
    for (uint16_t i = 0; i < plan->leaves_len; i++) {
        const struct leaf *leaf = &plan->leaves[i];
        common = leaf->common < common ? leaf->common : common;
        if ((plan->present[i / 64] >> (i % 64) & 1) == 0) {
            continue;
        }
        if (!is_first) {
            close_objects(buf, depth - common);
            core_buf_char(buf, ',');
        }
        uint16_t from = leaf->open_at[common];
        core_buf_put(buf, leaf->open + from, (size_t)(leaf->open_len - from));
        value_emit(buf, plan->values[i]);
        depth = leaf->depth;
        common = depth;
        is_first = false;
    }
    close_objects(buf, depth + 1);
}
