/* core/health_rules.c: which rows are problems.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"
struct core_health_rules *core_health_rules_new(void) {
    return NULL;
}
void core_health_rules_free(struct core_health_rules *rules) {
    (void)rules;
}
bool core_health_rules_turn(struct core_health *health) {
    (void)health;
    return false;
}
const struct core_health_problem *core_health_problems(const struct core_health *health, size_t *len) {
    (void)health;
    *len = 0;
    return NULL;
}
bool core_health_is_ready(const struct core_health *health) {
    (void)health;
    return true;
}
