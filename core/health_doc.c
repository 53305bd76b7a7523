/* core/health_doc.c: the health document.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"
void core_health_document(struct core_health *health, struct core_buf *out) {
    (void)health;
    core_buf_span(out, CORE_SPAN("{}"));
}
