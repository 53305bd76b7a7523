/* core/otlp.c: metrics and traces to a collector.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"
void core_otlp_turn(struct core_health *health) {
    (void)health;
}
void core_otlp_free(struct core_health *health) {
    (void)health;
}
