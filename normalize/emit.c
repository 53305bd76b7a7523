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

/* memcpy for the short texts a document is made of: two overlapping moves instead of a call. */
static inline char *put_short(char *to, const char *from, size_t len) {
    if (len > 32) {
        memcpy(to, from, len);
    } else if (len >= 16) {
        memcpy(to, from, 16);
        memcpy(to + len - 16, from + len - 16, 16);
    } else if (len >= 8) {
        memcpy(to, from, 8);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len >= 4) {
        memcpy(to, from, 4);
        memcpy(to + len - 4, from + len - 4, 4);
    } else {
        for (size_t i = 0; i < len; i++) {
            to[i] = from[i];
        }
    }
    return to + len;
}

void plan_emit(const struct plan *plan, struct core_buf *buf) {
    unsigned depth = 0;
    unsigned common = 0;
    bool is_first = true;
    core_buf_char(buf, '{');
    for (uint16_t i = 0; i < plan->parts_len && !buf->is_full; i++) {
        const struct part *part = &plan->parts[i];
        uint16_t leaf = part->leaf;
        common = part->common < common ? part->common : common;
        if (leaf != LEAF_NONE && (plan->present[leaf / 64] >> (leaf % 64) & 1) == 0) {
            continue;
        }
        uint16_t from = part->open_at[common];
        struct value value = leaf == LEAF_NONE ? value_none() : plan->values[leaf];
        bool is_plain = value.kind == VALUE_PLAIN || value.kind == VALUE_RAW;
        size_t need = (size_t)part->text_len + depth + 4 + (is_plain ? (size_t)value.len : 0);
        if ((size_t)(buf->end - buf->pos) < need) {
            buf->is_full = true;
            return;
        }
        char *p = buf->pos;
        if (!is_first) {
            for (; depth > common; depth--) {
                *p++ = '}';
            }
            *p++ = ',';
        }
        p = put_short(p, part->text + from, part->text_len - from);
        if (value.kind == VALUE_PLAIN) {
            *p++ = '"';
            p = put_short(p, value.ptr, value.len);
            *p++ = '"';
        } else if (value.kind == VALUE_RAW) {
            p = put_short(p, value.ptr, value.len);
        }
        buf->pos = p;
        if (!is_plain && leaf != LEAF_NONE) {
            value_emit(buf, value);
        }
        depth = part->depth;
        common = depth;
        is_first = false;
    }
    for (depth++; depth > 0; depth--) {
        core_buf_char(buf, '}');
    }
}
