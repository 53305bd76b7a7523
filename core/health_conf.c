/* core/health_conf.c: section `health:`.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"
#include "core/kafka.h"
#include "core/rpc_internal.h"

#include <stdio.h>
#include <stdlib.h>

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
        .help =
            "A sink that accepts nothing for so long though documents wait is a problem. With exactly once a commit "
            "accepts: keep it above sinks.kafka.transaction_interval."),
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

void core_health_conf_limits(struct core_health_conf *conf) {
    for (size_t i = 0; i < core_health_opts_len; i++) {
        const struct core_opt *opt = &core_health_opts[i];
        void *field = (char *)conf + opt->offset;
        if (opt->type == CORE_OPT_DURATION) {
            MUST(core_parse_duration(opt->def, field));
        } else if (opt->type == CORE_OPT_SIZE) {
            MUST(core_parse_size(opt->def, field));
        } else if (opt->type == CORE_OPT_UINT) {
            *(uint64_t *)field = strtoull(opt->def, NULL, 10);
        }
    }
}

/* ---- what rows cannot say ------------------------------------------------------------------------------------------------------ */

#define TOPIC_BYTES_MAX 249 /* Kafka's */

struct checked {
    const struct core_conf_file *file;
    const struct core_conf_node *node;
    struct core_conf_mistakes *mistakes;
};

/* The node of a key, or the section's, for a default. */
static const struct core_conf_node *node_of(const struct checked *checked, const char *key) {
    const struct core_conf_node *node = core_conf_get(checked->node, key);
    return node != NULL ? node : checked->node;
}

static void address_check(const struct checked *checked, const char *key, const char *text) {
    struct rpc_address address;
    struct core_fail fail;
    char tcp[300];
    if (text == NULL || strcmp(text, "off") == 0) {
        return;
    }
    (void)snprintf(tcp, sizeof tcp, "tcp:%s", text);
    if (rpc_address_read(tcp, &address, &fail) != CORE_OK) {
        core_conf_mistake(checked->file, node_of(checked, key), checked->mistakes, "%s: %s; off: nowhere", key,
                          fail.text);
    }
}

/* Two that would have the same port, of which one would never get it. */
static void addresses_compare(const struct checked *checked, const struct core_health_conf *conf) {
    const struct {
        const char *key;
        const char *text;
    } all[] = {{"serve", conf->serve}, {"run", conf->run}, {"feed", conf->feed}, {"intel_sync", conf->intel_sync}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        for (size_t k = 0; k < i && all[i].text != NULL; k++) {
            const char *colon = strrchr(all[i].text, ':');
            bool is_any = colon == NULL || strtoul(colon + 1, NULL, 10) == 0; /* off, or any free port */
            if (!is_any && all[k].text != NULL && strcmp(all[i].text, all[k].text) == 0) {
                core_conf_mistake(checked->file, node_of(checked, all[i].key), checked->mistakes,
                                  "%s: %s is the address of health.%s already; give each its own port, or off",
                                  all[i].key, all[i].text, all[k].key);
            }
        }
    }
}

static void topic_check(const struct checked *checked, const char *topic) {
    size_t len = topic == NULL ? 0 : strlen(topic);
    bool is_right = len <= TOPIC_BYTES_MAX;
    for (size_t i = 0; i < len; i++) {
        char c = core_lower(topic[i]);
        is_right = is_right && ((c >= 'a' && c <= 'z') || core_is_digit(c) || strchr("._-", c) != NULL);
    }
    if (!is_right || (len > 0 && (strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0))) {
        core_conf_mistake(checked->file, node_of(checked, "topic"), checked->mistakes,
                          "topic: \"%s\" is no name that Kafka takes: letters, digits, . _ -, at most %d of them; "
                          "\"\": no topic",
                          topic, TOPIC_BYTES_MAX);
    }
}

static void otlp_check(const struct checked *checked, const char *url) {
    if (url == NULL) {
        return;
    }
    const char *host = strncmp(url, "http://", 7) == 0 ? url + 7 : strncmp(url, "https://", 8) == 0 ? url + 8 : "";
    if (host[0] == '\0' || host[0] == '/' || host[0] == ':' || strpbrk(url, "?# \t\"") != NULL) {
        core_conf_mistake(checked->file, node_of(checked, "otlp"), checked->mistakes,
                          "otlp: \"%s\" is no address of a collector; write e.g. http://127.0.0.1:4318, to which "
                          "/v1/traces and /v1/metrics are added",
                          url);
    }
}

void core_health_conf_check(const struct core_health_conf *conf, const struct core_conf_file *file,
                            const struct core_conf_node *node, struct core_conf_mistakes *mistakes) {
    const struct checked checked = {.file = file, .node = node, .mistakes = mistakes};
    address_check(&checked, "serve", conf->serve);
    address_check(&checked, "run", conf->run);
    address_check(&checked, "feed", conf->feed);
    address_check(&checked, "intel_sync", conf->intel_sync);
    addresses_compare(&checked, conf);
    topic_check(&checked, conf->topic);
    otlp_check(&checked, conf->otlp);
    for (size_t i = 0; i < conf->rdkafka.len; i++) {
        const struct core_conf_item *item = &conf->rdkafka.items[i];
        struct core_fail fail;
        if (core_kafka_pair_check(&(struct core_kafka_pair){item->key, item->value}, &fail) != CORE_OK) {
            core_conf_mistake(file, node_of(&checked, "rdkafka"), mistakes, "rdkafka.%s: %s", item->key,
                              item->is_secret ? "librdkafka refuses the value" : fail.text);
        }
    }
}
