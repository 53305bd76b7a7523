/* core/health_conf.c: section `health:`.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"

#define ROW(key_, type_, member, ...)                                                                                  \
    { .key = (key_), .type = (type_), .offset = offsetof(struct core_health_conf, member), __VA_ARGS__ }

const struct core_opt core_health_opts[] = {
    ROW("serve", CORE_OPT_STRING, serve, .def = "127.0.0.1:9600", .needs_restart = true,
        .help = "Where tapline serve has its page and /metrics, /healthz, /readyz: an address of the loopback; off: "
                "nowhere."),
    ROW("run", CORE_OPT_STRING, run, .def = "127.0.0.1:9601", .needs_restart = true,
        .help = "The same for tapline run: /metrics, /healthz, /readyz."),
    ROW("feed", CORE_OPT_STRING, feed, .def = "127.0.0.1:9602", .needs_restart = true,
        .help = "The same for tapline feed; further feeders on one node.state take the ports behind it."),
    ROW("intel_sync", CORE_OPT_STRING, intel_sync, .def = "127.0.0.1:9699", .needs_restart = true,
        .help = "The same for tapline intel sync --watch."),
    ROW("log_dir", CORE_OPT_STRING, log_dir, .needs_restart = true,
        .help = "Directory of the health logs, health-<process>.ndjson; default: node.state."),
    ROW("log_bytes_max", CORE_OPT_SIZE, log_bytes_max, .def = "16MiB", .min = "64KiB",
        .help = "Size at which a health log is renamed to .1 and begun anew."),
    ROW("topic", CORE_OPT_STRING, topic, .def = "tapline.health", .needs_restart = true,
        .help = "Kafka topic that gets each line of the health log, too; \"\": none."),
    ROW("interval", CORE_OPT_DURATION, interval_ns, .def = "10s", .min = "1s", .max = "1h",
        .help = "Time between two lines of the health log; each change of state has a line at once."),
    ROW("lag_max", CORE_OPT_DURATION, lag_max_ns, .def = "60s", .min = "1s",
        .help = "A file, or a partition, that is further behind is a problem."),
    ROW("stall_after", CORE_OPT_DURATION, stall_after_ns, .def = "5s", .min = "1s",
        .help = "A sink that accepts nothing for so long though documents wait is a problem."),
    ROW("loss_max_ppm", CORE_OPT_UINT, loss_max_ppm, .def = "10000", .max = "1000000",
        .help = "A sensor that loses a greater share of its packets is a problem; in millionths (10000 is 1 %)."),
    ROW("rdkafka", CORE_OPT_PAIRS, rdkafka, .needs_restart = true,
        .help = "librdkafka's properties for the topic, over those of sinks.kafka or feed."),
    ROW("otlp", CORE_OPT_STRING, otlp, .needs_restart = true,
        .help =
            "Collector that gets traces and metrics as OTLP/HTTP JSON, e.g. http://127.0.0.1:4318; not given: none."),
    ROW("otlp_share", CORE_OPT_UINT, otlp_share, .def = "1000",
        .help = "One batch in so many is traced; 0: only slow ones."),
    ROW("otlp_slow", CORE_OPT_DURATION, otlp_slow_ns, .def = "5s", .min = "1ms",
        .help = "A batch that took longer from read to accepted is traced in any case."),
    ROW("otlp_metrics", CORE_OPT_BOOL, otlp_metrics, .def = "yes",
        .help = "Send all metrics to the collector, too, each health.interval."),
};
const size_t core_health_opts_len = sizeof(core_health_opts) / sizeof(core_health_opts[0]);

void core_health_conf_check(const struct core_health_conf *conf, const struct core_conf_file *file,
                            const struct core_conf_node *node, struct core_conf_mistakes *mistakes) {
    (void)conf;
    (void)file;
    (void)node;
    (void)mistakes;
}
