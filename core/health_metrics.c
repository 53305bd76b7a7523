/* core/health_metrics.c: the exposition for /metrics.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"
void core_health_exposition(struct core_health *health, bool is_open, struct core_buf *out) {
    (void)health;
    (void)is_open;
    (void)out;
}
