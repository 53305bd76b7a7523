/* supervisor/sensors_types.c: what the types of sensors are: a row each. The command lines are in sensors.c.
 *
 * Readiness: a Zeek that listens says "listening on"; one that writes logs writes packet_filter.log at once, so that a quiet
 * link does not keep it from being ready; workers write none (the logger does), and managers, loggers and proxies have no
 * interface, so these leave a file when all of zeek_init() has run: their ports are open then. Suricata says "Engine started".
 * Snort says nothing that is not held back in a buffer, so it is ready when it has lived for a while (a bad configuration ends
 * it earlier). Watchdog: by the logs, and by the interface's count of packets, which
 * says whether there could be any. A worker has no logs that it could be judged by, so its use of CPU is the sign of its life.
 * Order: zeekctl's, workers first and the logger last, and our own pipeline after them, so that the last lines are shipped.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/sensors_internal.h"

#define S CORE_NS_PER_S
#define MINUTE (60 * CORE_NS_PER_S)
/* All logs, but not stdout.log and stderr.log, which lie beside them. */
#define ZEEK_LOGS                                                                                                      \
    { "[!s]*.log", "s[!t]*.log", "st[!d]*.log", NULL }
#define INITIALIZED "@" SENSORS_READY_FILE

const char *const sensor_type_names[SENSOR_TYPE__MAX + 1] = {
    "standalone", "manager", "logger", "proxy", "worker", "suricata", "snort", "tapline", "program", NULL,
};

/* clang-format off */
const struct sensor_type_row sensor_types[SENSOR_TYPE__MAX] = {
    [SENSOR_STANDALONE] = {.family = SENSOR_ZEEK, .needs_interface = true, .group = "standalone", .order = 10,
                           .ready = {"output listening on", "log_written"}, .watchdog_ns = 10 * MINUTE,
                           .stop_timeout_ns = 60 * S, .capabilities = {"cap_net_raw"}, .logs = ZEEK_LOGS},
    [SENSOR_WORKER] = {.family = SENSOR_ZEEK, .needs_interface = true, .is_in_cluster = true, .group = "workers", .order = 10,
                       .ready = {"output listening on", INITIALIZED}, .watchdog_ns = 10 * MINUTE,
                       .stop_timeout_ns = 60 * S, .capabilities = {"cap_net_raw"}},
    [SENSOR_PROXY] = {.family = SENSOR_ZEEK, .is_in_cluster = true, .group = "proxies", .order = 20,
                      .ready = {INITIALIZED}, .stop_timeout_ns = 60 * S, .logs = ZEEK_LOGS},
    [SENSOR_MANAGER] = {.family = SENSOR_ZEEK, .is_in_cluster = true, .group = "manager", .order = 30,
                        .ready = {INITIALIZED}, .stop_timeout_ns = 60 * S, .logs = ZEEK_LOGS},
    [SENSOR_LOGGER] = {.family = SENSOR_ZEEK, .is_in_cluster = true, .group = "loggers", .order = 40,
                       .ready = {INITIALIZED}, .stop_timeout_ns = 60 * S, .logs = ZEEK_LOGS},
    [SENSOR_SURICATA] = {.family = SENSOR_OTHER_SENSOR, .group = "suricata", .order = 10,
                         .ready = {"output Engine started"}, .watchdog_ns = 2 * MINUTE, .stop_timeout_ns = 60 * S,
                         .capabilities = {"cap_net_raw", "cap_net_admin"}, .logs = {"*.json", "fast.log", "stats.log"}},
    [SENSOR_SNORT] = {.family = SENSOR_OTHER_SENSOR, .needs_interface = true, .group = "snort", .order = 10,
                      .ready = {"after 5s"}, .watchdog_ns = 10 * MINUTE, .stop_timeout_ns = 10 * S,
                      .capabilities = {"cap_net_raw", "cap_net_admin"}, .logs = {"alert*", "unified2*"}},
    [SENSOR_TAPLINE] = {.family = SENSOR_NO_SENSOR, .group = "tapline", .order = 90,
                        .ready = {"after 2s"}, .stop_timeout_ns = 60 * S},
    [SENSOR_PROGRAM] = {.family = SENSOR_NO_SENSOR, .group = "", .order = 50, .stop_timeout_ns = 30 * S},
};
/* clang-format on */
