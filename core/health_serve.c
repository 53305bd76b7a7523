/* core/health_serve.c: /metrics, /healthz, /readyz, and the row of the process itself.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"
void core_health_own_write(struct core_health *health) {
    (void)health;
}
void core_health_serve_turn(struct core_health *health) {
    (void)health;
}
void core_health_serve_free(struct core_health *health) {
    (void)health;
}
struct core_httpd *core_health_httpd(struct core_health *health) {
    (void)health;
    return NULL;
}
