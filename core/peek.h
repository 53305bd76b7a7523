/* core/peek.h: the two things of a finished document that decide where it goes, without reading all of it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_PEEK_H
#define TAPLINE_CORE_PEEK_H

#include "core/core.h"

/* Both as they stand in the document, without quotes, escapes not undone; len 0: not there, or no string. */
struct core_peek {
    struct core_span timestamp; /* member "@timestamp" */
    struct core_span dataset;   /* member "dataset" of the member "event", or a member "event.dataset" */
};

/* Look at a JSON object. Our own documents are read up to event.dataset only; of others as much as is needed.
 * Shape:   spans point into doc.
 * Errors:  false: it is no JSON object, as far as it was read. What was found until then stands in out.
 * Thread:  any. */
CORE_CHECKED bool core_peek(struct core_span doc, struct core_peek *out);
/* Has the object a member, at its top, whose name begins like that? Looks at all of it. */
bool core_peek_has(struct core_span doc, struct core_span prefix);

#endif
