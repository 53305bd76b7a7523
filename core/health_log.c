/* core/health_log.c: the health log.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"
void core_health_log_turn(struct core_health *health, bool is_changed) {
    (void)health;
    (void)is_changed;
}
void core_health_log_free(struct core_health *health) {
    (void)health;
}
