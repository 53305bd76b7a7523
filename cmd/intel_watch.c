/* cmd/intel_watch.c: `tapline intel sync --watch` as a process that tells how it is.
 *
 * It has one thread, which is at a sync most of the time that it is not asleep. So who asks is answered from within: a sync asks
 * every now and then whether it is to go on, and that is when the loop gets a turn.
 *
 * A host that only keeps the store up to date may have no node.state; then there is no socket and, without section `health:`,
 * nothing else of all this, and nothing is said of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/intel_watch.h"
#include "cmd/config.h"
#include "core/kafka.h"
#include "core/rpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PUMP_NS (50 * CORE_NS_PER_MS)
#define CONTROL_GROUP "tapline"
#define HOST_BYTES_MAX 256

struct synced {
    int64_t items;
    int64_t done_ns;
    int64_t has_failed;
};

struct intel_watch {
    const struct enrich_feed_conf *const *feeds;
    struct synced *synced;
    size_t feeds_len;
    struct config_node node;
    struct config_log log;
    struct core_health_conf conf;
    struct core_loop *loop;
    struct core_health *health;
    struct core_health_page *page;
    struct core_rpc_server *control;
    int64_t pumped_ns;
};

static const struct config_section *section_rows(const char *name) {
    size_t len = 0;
    const struct config_section *sections = config_sections(&len);
    for (size_t i = 0; i < len; i++) {
        if (strcmp(sections[i].name, name) == 0) {
            return &sections[i];
        }
    }
    MUST(!"there is such a section");
    return NULL;
}

static void section_bind(const struct core_conf_file *file, const char *name, void *out,
                         struct core_conf_mistakes *mistakes) {
    const struct config_section *rows = section_rows(name);
    /* what the result says, mistakes says too */
    enum core_err err CORE_UNUSED = core_conf_bind(file, core_conf_get(core_conf_root(file), name), name, rows->opts,
                                                   rows->opts_len, out, mistakes);
}

static bool conf_read(struct intel_watch *watch, const struct core_conf_file *file) {
    const struct core_conf_node *root = core_conf_root(file);
    const struct core_conf_node *health = core_conf_get(root, "health");
    struct core_conf_mistakes *mistakes = calloc(1, sizeof(*mistakes));
    MUST(mistakes != NULL);
    section_bind(file, "node", &watch->node, mistakes);
    section_bind(file, "log", &watch->log, mistakes);
    if (health != NULL) {
        section_bind(file, "health", &watch->conf, mistakes);
        watch->conf.is_on = true;
        core_health_conf_check(&watch->conf, file, health, mistakes);
    }
    if (core_conf_get(root, "log") != NULL) {
        core_log_level((enum core_level)watch->log.level);
        core_log_format((enum core_log_format)watch->log.format, "tapline-intel-sync");
    }
    cmd_print_mistakes(mistakes);
    bool is_right = mistakes->len == 0;
    free(mistakes);
    return is_right;
}

/* ---- control ---------------------------------------------------------------------------------------------------------------- */

static void health_call(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct intel_watch *watch = ctx;
    char *bytes = malloc(CORE_HEALTH_DOCUMENT_BYTES);
    (void)params;
    MUST(bytes != NULL);
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + CORE_HEALTH_DOCUMENT_BYTES};
    core_health_document(watch->health, &out);
    core_rpc_result(request, core_buf_written(&out));
    free(bytes);
}

static const struct core_rpc_method methods[] = {
    {"health", "{}: the health document: what this process knows of itself.", health_call},
    {"log.level", CORE_RPC_LOG_LEVEL, core_rpc_log_level},
};

static void control_open(struct intel_watch *watch) {
    char path[4096];
    struct core_fail fail = {0};
    int len = snprintf(path, sizeof(path), "%s/intel-sync.sock", watch->node.state);
    const struct core_rpc_server_conf conf = {.service = "intel-sync",
                                              .version = TAPLINE_VERSION,
                                              .path = path,
                                              .group = core_rpc_group_if_ours(CONTROL_GROUP),
                                              .inherited_fd = -1,
                                              .methods = methods,
                                              .methods_len = sizeof(methods) / sizeof(methods[0]),
                                              .ctx = watch};
    if (len <= 0 || (size_t)len >= sizeof(path) || access(watch->node.state, W_OK) != 0) {
        return;
    }
    if (core_rpc_server_new(&watch->control, watch->loop, &conf, &fail) != CORE_OK) {
        core_log(CORE_LEVEL_WARN, "sync", "no control socket, going on without",
                 "path=%s reason=\"%s\" hint=\"tapline top and the page of tapline serve cannot ask this process; one "
                 "intel sync --watch a host, with a node.state on a local disk, can have one\"",
                 path, fail.text);
        watch->control = NULL;
    }
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------- */

static void rows_write(struct intel_watch *watch) {
    core_health_begin(watch->page);
    for (size_t i = 0; i < watch->feeds_len; i++) {
        const struct synced *synced = &watch->synced[i];
        struct core_health_row *row =
            core_health_add(watch->page, CORE_HEALTH_SYNCED, watch->feeds[i]->name, NULL, NULL);
        core_health_set(row, CORE_SYNCED_ITEMS, synced->items);
        core_health_set(row, CORE_SYNCED_DONE, synced->done_ns);
        core_health_set(row, CORE_SYNCED_FAILED, synced->has_failed);
    }
    core_health_publish(watch->page);
}

void intel_watch_synced(struct intel_watch *watch, size_t feed, enum core_err err,
                        const struct enrich_sync_report *report) {
    struct synced *synced = &watch->synced[feed];
    if (err == CORE_AGAIN || (err == CORE_OK && (report->is_early || report->is_elsewhere))) {
        return; /* ended by a signal, or nothing was tried */
    }
    synced->has_failed = err != CORE_OK;
    if (err == CORE_OK) {
        synced->done_ns = core_now_ns();
        if (!report->is_unchanged && !report->is_delta) {
            synced->items = (int64_t)report->items;
        }
    }
    rows_write(watch);
}

/* ---- its life ---------------------------------------------------------------------------------------------------------------- */

static void health_open(struct intel_watch *watch) {
    char host[HOST_BYTES_MAX] = {0};
    const struct core_conf_list *own = &watch->conf.rdkafka;
    struct core_kafka_pair *pairs = calloc(own->len + 1, sizeof(*pairs));
    MUST(pairs != NULL);
    for (size_t i = 0; i < own->len; i++) {
        pairs[i] = (struct core_kafka_pair){.key = own->items[i].key, .value = own->items[i].value};
    }
    if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0') {
        (void)snprintf(host, sizeof(host), "localhost");
    }
    const struct core_health_env env = {.process = "intel-sync",
                                        .node = watch->node.name != NULL ? watch->node.name : host,
                                        .state = watch->node.state,
                                        .version = TAPLINE_VERSION,
                                        .loop = watch->loop,
                                        .conf = &watch->conf,
                                        .kafka = pairs,
                                        .kafka_len = own->len};
    watch->health = core_health_new(&env);
    free(pairs);
    watch->page = core_health_page_new(watch->health, "sync");
    rows_write(watch);
    core_health_begin_serving(watch->health);
    control_open(watch);
}

struct intel_watch *intel_watch_new(struct intel *intel, const struct enrich_feed_conf *const *feeds, size_t feeds_len,
                                    int *exit_code) {
    struct core_fail fail = {0};
    struct intel_watch *watch = calloc(1, sizeof(*watch));
    MUST(watch != NULL);
    watch->feeds = feeds;
    watch->feeds_len = feeds_len;
    watch->synced = calloc(feeds_len + 1, sizeof(*watch->synced));
    MUST(watch->synced != NULL);
    for (size_t i = 0; i < feeds_len; i++) {
        watch->synced[i] = (struct synced){CORE_HEALTH_UNKNOWN, CORE_HEALTH_UNKNOWN, CORE_HEALTH_UNKNOWN};
    }
    if (!conf_read(watch, intel->file)) {
        *exit_code = CORE_EXIT_USAGE;
    } else if (core_loop_new(&watch->loop, &fail) != CORE_OK) {
        *exit_code = intel_failed(intel, CORE_IO, &fail);
    } else {
        health_open(watch);
        return watch;
    }
    intel_watch_free(watch);
    return NULL;
}

void intel_watch_wait(struct intel_watch *watch, int64_t ns) {
    struct core_fail fail = {0};
    /* one round: a signal cuts it short, that is what it is for; what else may fail here is our bug */
    MUST(core_loop_once(watch->loop, ns, &fail) == CORE_OK);
    watch->pumped_ns = core_tick_ns();
}

void intel_watch_pump(struct intel_watch *watch) {
    if (watch != NULL && core_tick_ns() - watch->pumped_ns >= PUMP_NS) {
        intel_watch_wait(watch, 0);
    }
}

void intel_watch_free(struct intel_watch *watch) {
    if (watch == NULL) {
        return;
    }
    core_rpc_server_free(watch->control, false);
    core_health_free(watch->health);
    core_loop_free(watch->loop);
    core_conf_release(core_health_opts, core_health_opts_len, &watch->conf);
    core_conf_release(section_rows("node")->opts, section_rows("node")->opts_len, &watch->node);
    core_conf_release(section_rows("log")->opts, section_rows("log")->opts_len, &watch->log);
    free(watch->synced);
    free(watch);
}
