/* normalize/emit.h: what stands between two values of a document.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_NORMALIZE_EMIT_H
#define TAPLINE_NORMALIZE_EMIT_H

#include "normalize/normalize_internal.h"

/* How deep the last written part stood, and what of it the next one shares. */
struct emit_walk {
    unsigned depth;
    unsigned common;
    bool is_first;
};

/* The objects that end, a comma, and the part's text from where they differ. */
void emit_walk_text(struct emit_walk *walk, const struct part *part, struct core_buf *buf);
void emit_walk_end(struct emit_walk *walk, struct core_buf *buf);

#endif
