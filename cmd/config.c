/* cmd/config.c: tapline.yml as one read-only struct, and what may change without a restart.
 *
 * Design: one row of config_sections() a section, one row of its options a key; nothing here knows a key of another
 * owner. Loading never stops at the first mistake: every section is bound, so that `check` shows all there is. A loaded
 * config is never written to again; SIGHUP loads a new one beside it and cmd/pipeline_reload.c swaps them.
 *
 * Relative paths mean what they mean to filebeat and to any other program: they start at the directory tapline was
 * started in. They are made absolute here, once, so that log.file.path, the checkpoint and messages never depend on it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NAME_BYTES_MAX 256
#define PATH_BYTES_MAX 4096
#define SECTIONS_MAX 32
#define SINK_ROWS_MAX 128

static const struct core_opt node_opts[] = {
    {.key = "name",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct config_node, name),
     .needs_restart = true,
     .help = "Name of this sensor node; part of every file's generation, so keep it for the node's life. Default: the "
             "host's name."},
    {.key = "state",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct config_node, state),
     .def = "/var/lib/tapline",
     .needs_restart = true,
     .help =
         "Directory of the checkpoint, the ledger, the spool and the lock; made if its parent exists; one process at "
         "a time."},
};

static const struct core_opt pipeline_opts[] = {
    {.key = "batches",
     .type = CORE_OPT_UINT,
     .offset = offsetof(struct config_pipeline, batches),
     .def = "16",
     .min = "4",
     .max = "1024",
     .needs_restart = true,
     .help = "Batches there are in all, each of up to 2048 lines or 1 MiB: when all are under way, reading waits."},
    {.key = "stop_timeout",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct config_pipeline, stop_timeout_ns),
     .def = "30s",
     .min = "0",
     .max = "1h",
     .help =
         "After SIGTERM, how long to wait until the sinks have accepted what was read; the rest is read again after "
         "the next start."},
};

static const struct core_opt log_opts[] = {
    {.key = "level",
     .type = CORE_OPT_ENUM,
     .offset = offsetof(struct config_log, level),
     .def = "info",
     .choices = core_level_names,
     .help =
         "What is told on stderr: error (a person must act), warn (degraded, heals itself), info (a state changed), "
         "debug. `tapline log-level` changes it while processes run, until SIGHUP."},
    {.key = "format",
     .type = CORE_OPT_ENUM,
     .offset = offsetof(struct config_log, format),
     .def = "logfmt",
     .choices = core_log_format_names,
     .help = "How: logfmt (for people and grep), or ecs (one JSON object a line, in the Elastic Common Schema: for a "
             "shipper of logs)."},
};

/* The sections that are one mapping each: where their rows are and where they go. inputs[] and sinks are lists. */
struct section_row {
    const char *name;
    const char *summary;
    const struct core_opt *opts;
    const size_t *opts_len;
    size_t offset;
    bool is_optional; /* without it in the file its struct stays zero, and its required keys are not missed */
    enum { ROW_ALL, ROW_NOT_SERVE, ROW_SERVE } who; /* whom it is for; nobody reads the secrets of another */
};

static const size_t node_opts_len = sizeof(node_opts) / sizeof(node_opts[0]);
static const size_t pipeline_opts_len = sizeof(pipeline_opts) / sizeof(pipeline_opts[0]);
static const size_t log_opts_len = sizeof(log_opts) / sizeof(log_opts[0]);

static const struct section_row section_rows[] = {
    {"node", "Who this node is and where it keeps its state.", node_opts, &node_opts_len, offsetof(struct config, node),
     false, ROW_ALL},
    {"ingest", "How files are found and read.", ingest_opts, &ingest_opts_len, offsetof(struct config, ingest), false,
     ROW_ALL},
    {"spool", "Copies of rotated files, made while nothing can be delivered.", ingest_spool_opts,
     &ingest_spool_opts_len, offsetof(struct config, spool), false, ROW_ALL},
    {"normalize", "How records become documents.", normalize_opts, &normalize_opts_len,
     offsetof(struct config, normalize), false, ROW_ALL},
    {"pipeline", "How much is under way at once, and how it stops.", pipeline_opts, &pipeline_opts_len,
     offsetof(struct config, pipeline), false, ROW_ALL},
    {"feed", "What `tapline feed` reads from Kafka, and where it remembers what became of it.", feed_opts,
     &feed_opts_len, offsetof(struct config, feed), true, ROW_NOT_SERVE},
    {"setup", config_setup_summary, setup_opts, &setup_opts_len, offsetof(struct config, setup), false, ROW_ALL},
    {"kibana", config_kibana_summary, kibana_opts, &kibana_opts_len, offsetof(struct config, kibana), true,
     ROW_NOT_SERVE},
    {"serve",
     "How `tapline serve` is reached, where it keeps its state, and what it does about crashes and full disks.",
     serve_opts, &serve_opts_len, offsetof(struct config, serve), false, ROW_SERVE},
    {"health",
     "What tells how the pipeline is: metrics, the health log, its topic, traces. Without the section there is none.",
     core_health_opts, &core_health_opts_len, offsetof(struct config, health), false, ROW_ALL},
    {"log", "What tapline tells about itself.", log_opts, &log_opts_len, offsetof(struct config, log), false, ROW_ALL},
};
#define SECTION_ROWS_LEN (sizeof(section_rows) / sizeof(section_rows[0]))

static const char inputs_summary[] = "Which files to read, and as what; a list.";
static const char sensors_summary[] =
    "Which sensors this host has, for `tapline serve`: Zeek, Suricata, Snort, our own programs.";
static const char sensors_nodes_summary[] =
    "The sensors themselves; a list. What an item leaves out comes from its type.";

/* ---- sections, for help and docs ---------------------------------------------------------------------------------- */

static size_t sections_of_sinks(struct config_section *sections, size_t len) {
    static char names[CONFIG_SINKS_MAX][NAME_BYTES_MAX];
    for (size_t i = 0; sink_table[i] != NULL; i++) {
        MUST(i < CONFIG_SINKS_MAX);
        MUST(len < SECTIONS_MAX);
        (void)snprintf(names[i], sizeof(names[i]), "sinks.%s", sink_table[i]->name);
        sections[len++] = (struct config_section){.name = names[i],
                                                  .summary = sink_table[i]->summary,
                                                  .opts = sink_table[i]->opts,
                                                  .opts_len = sink_table[i]->opts_len};
    }
    return len;
}

static size_t sections_of_intel(struct config_section *sections, size_t len) {
    MUST(len + 4 <= SECTIONS_MAX);
    sections[len++] = (struct config_section){"intel", config_intel_summary, enrich_opts, enrich_opts_len};
    sections[len++] =
        (struct config_section){"intel.redis", config_intel_redis_summary, enrich_redis_opts, enrich_redis_opts_len};
    sections[len++] = (struct config_section){"intel.lookback", config_intel_lookback_summary, enrich_lookback_opts,
                                              enrich_lookback_opts_len};
    sections[len++] =
        (struct config_section){"intel.feeds[]", config_intel_feeds_summary, enrich_feed_opts, enrich_feed_opts_len};
    return len;
}

static size_t sections_of_sensors(struct config_section *sections, size_t len) {
    MUST(len + 2 <= SECTIONS_MAX);
    sections[len++] = (struct config_section){"sensors", sensors_summary, sensors_opts, sensors_opts_len};
    sections[len++] = (struct config_section){"sensors.nodes[]", sensors_nodes_summary, sensor_opts, sensor_opts_len};
    return len;
}

const struct config_section *config_sections(size_t *len) {
    static struct config_section sections[SECTIONS_MAX];
    static size_t sections_len;
    MUST(len != NULL);
    if (sections_len == 0) {
        for (size_t i = 0; i < SECTION_ROWS_LEN; i++) {
            const struct section_row *row = &section_rows[i];
            sections[sections_len++] = (struct config_section){row->name, row->summary, row->opts, *row->opts_len};
            if (i == 0) {
                sections[sections_len++] =
                    (struct config_section){"inputs[]", inputs_summary, ingest_input_opts, ingest_input_opts_len};
            }
        }
        sections_len = sections_of_intel(sections, sections_len);
        sections_len = sections_of_sinks(sections, sections_len);
        sections_len = sections_of_sensors(sections, sections_len);
    }
    *len = sections_len;
    return sections;
}

/* ---- loading ------------------------------------------------------------------------------------------------------- */

static void unknown_sections(const struct config *config, struct core_conf_mistakes *mistakes) {
    const char *names[SECTION_ROWS_LEN + 4];
    size_t names_len = 0;
    for (size_t i = 0; i < SECTION_ROWS_LEN; i++) {
        names[names_len++] = section_rows[i].name;
    }
    names[names_len++] = "inputs";
    names[names_len++] = "intel";
    names[names_len++] = "sinks";
    names[names_len++] = "sensors";
    const struct core_conf_node *root = core_conf_root(config->file);
    for (size_t i = 0; i < core_conf_len(root); i++) {
        const struct core_conf_node *value = NULL;
        const char *key = core_conf_member(root, i, &value);
        bool is_known = false;
        for (size_t k = 0; k < names_len && !is_known; k++) {
            is_known = strcmp(names[k], key) == 0;
        }
        if (is_known) {
            continue;
        }
        const char *near = core_conf_nearest(key, names, names_len);
        core_conf_mistake(config->file, value, mistakes,
                          near != NULL ? "unknown section \"%s\", did you mean \"%s\"?" : "unknown section \"%s\"%s",
                          key,
                          near != NULL ? near
                                       : ": there are node, inputs, ingest, spool, normalize, pipeline, intel, feed, "
                                         "setup, kibana, health, log, sinks, sensors, serve");
    }
}

/* Make *path absolute; it is malloc'ed, as core_conf_bind() left it. Errors: CORE_IO the working directory is gone. */
static enum core_err path_resolve(char **path, struct core_fail *fail) {
    if (*path == NULL || **path == '\0' || **path == '/') {
        return CORE_OK;
    }
    char dir[PATH_BYTES_MAX];
    if (getcwd(dir, sizeof(dir)) == NULL) {
        return core_fail_errno(fail, *path,
                               "a relative path, and the current directory cannot be told; write it whole");
    }
    char *whole = NULL;
    if (asprintf(&whole, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, *path) < 0) {
        MUST(!"out of memory while reading the config");
    }
    free(*path);
    *path = whole;
    return CORE_OK;
}

static void path_resolve_at(char **path, const struct config *config, const struct core_conf_node *node,
                            struct core_conf_mistakes *mistakes) {
    struct core_fail fail = {0};
    if (path_resolve(path, &fail) != CORE_OK) {
        core_conf_mistake(config->file, node, mistakes, "%s: %s", fail.where, fail.text);
    }
}

static bool is_wanted(const struct section_row *row, enum config_wants wants) {
    return row->who == ROW_ALL || wants == CONFIG_ANY || (row->who == ROW_SERVE) == (wants == CONFIG_SERVE);
}

static void load_sections(struct config *config, enum config_wants wants, struct core_conf_mistakes *mistakes) {
    const struct core_conf_node *root = core_conf_root(config->file);
    for (size_t i = 0; i < SECTION_ROWS_LEN; i++) {
        const struct section_row *row = &section_rows[i];
        const struct core_conf_node *node = core_conf_get(root, row->name);
        if ((row->is_optional && node == NULL) || !is_wanted(row, wants)) {
            continue;
        }
        /* what the result says, mistakes says too, and config_load() looks there */
        enum core_err err CORE_UNUSED = core_conf_bind(config->file, node, row->name, row->opts, *row->opts_len,
                                                       (char *)config + row->offset, mistakes);
    }
    if (config->node.name == NULL) {
        char host[NAME_BYTES_MAX] = {0};
        config->node.name = strdup(gethostname(host, sizeof(host) - 1) == 0 && host[0] != '\0' ? host : "localhost");
        MUST(config->node.name != NULL);
    } else if (config->node.name[0] == '\0') {
        core_conf_mistake(config->file, core_conf_get(core_conf_get(root, "node"), "name"), mistakes,
                          "node.name is empty: give this node a name that stays, or leave the key out for the host's");
    }
    path_resolve_at(&config->node.state, config, core_conf_get(root, "node"), mistakes);
    path_resolve_at(&config->normalize.maps, config, core_conf_get(root, "normalize"), mistakes);
    path_resolve_at(&config->normalize.site_maps, config, core_conf_get(root, "normalize"), mistakes);
    path_resolve_at(&config->normalize.networks_file, config, core_conf_get(root, "normalize"), mistakes);
    for (size_t i = 0; i < config->normalize.geo_databases.len; i++) {
        path_resolve_at(&config->normalize.geo_databases.items[i].value, config, core_conf_get(root, "normalize"),
                        mistakes);
    }
}

static void load_input(struct config *config, size_t i, const struct core_conf_node *node,
                       struct core_conf_mistakes *mistakes) {
    struct ingest_input *input = &config->inputs[i];
    char prefix[NAME_BYTES_MAX];
    (void)snprintf(prefix, sizeof(prefix), "inputs[%zu]", i);
    if (core_conf_bind(config->file, node, prefix, ingest_input_opts, ingest_input_opts_len, input, mistakes) !=
        CORE_OK) {
        return;
    }
    for (size_t p = 0; p < input->paths.len; p++) {
        path_resolve_at(&input->paths.items[p].value, config, node, mistakes);
    }
    for (size_t p = 0; p < input->exclude.len; p++) {
        if (strchr(input->exclude.items[p].value, '/') != NULL) { /* without one it is a file's name anywhere */
            path_resolve_at(&input->exclude.items[p].value, config, node, mistakes);
        }
    }
    path_resolve_at(&input->sid_msg_map, config, node, mistakes);
    path_resolve_at(&input->gen_msg_map, config, node, mistakes);
    path_resolve_at(&input->classification_config, config, node, mistakes);
    struct core_fail fail = {0};
    if (ingest_input_finish(input, &fail) != CORE_OK) {
        core_conf_mistake(config->file, node, mistakes, "%s: %s", prefix, fail.text);
    }
}

static void load_inputs(struct config *config, struct core_conf_mistakes *mistakes) {
    const struct core_conf_node *root = core_conf_root(config->file);
    const struct core_conf_node *node = core_conf_get(root, "inputs");
    if (node == NULL || !core_conf_is_sequence(node) || core_conf_len(node) == 0) {
        core_conf_mistake(config->file, node != NULL ? node : root, mistakes,
                          "inputs %s: it is a list with at least one item, such as \"- {type: zeek, paths: "
                          "[/opt/zeek/logs/current/*.log]}\"%s",
                          node == NULL                  ? "is missing"
                          : core_conf_is_sequence(node) ? "is empty"
                                                        : "is no list",
                          node == NULL && config->has_feed ? "; or is it a feeder's file? Then: tapline feed -c FILE"
                                                           : "");
        return;
    }
    config->inputs_len = core_conf_len(node);
    config->inputs = calloc(config->inputs_len, sizeof(*config->inputs));
    MUST(config->inputs != NULL);
    for (size_t i = 0; i < config->inputs_len; i++) {
        load_input(config, i, core_conf_item(node, i), mistakes);
    }
}

static void unknown_sink(const struct config *config, const char *name, const struct core_conf_node *node,
                         struct core_conf_mistakes *mistakes) {
    const char *names[CONFIG_SINKS_MAX];
    char list[NAME_BYTES_MAX] = "";
    size_t names_len = 0;
    for (; sink_table[names_len] != NULL; names_len++) {
        MUST(names_len < CONFIG_SINKS_MAX);
        names[names_len] = sink_table[names_len]->name;
        size_t used = strlen(list);
        (void)snprintf(list + used, sizeof(list) - used, "%s%s", used == 0 ? "" : ", ", names[names_len]);
    }
    const char *near = core_conf_nearest(name, names, names_len);
    if (near != NULL) {
        core_conf_mistake(config->file, node, mistakes, "unknown sink \"%s\", did you mean \"%s\"?", name, near);
    } else {
        core_conf_mistake(config->file, node, mistakes, "unknown sink \"%s\": there are %s", name, list);
    }
}

static void load_sink(struct config *config, const char *name, const struct core_conf_node *node,
                      struct core_conf_mistakes *mistakes) {
    const struct sink_ops *ops = sink_find(name);
    if (ops == NULL) {
        unknown_sink(config, name, node, mistakes);
        return;
    }
    if (config->sinks_len == CONFIG_SINKS_MAX) {
        core_conf_mistake(config->file, node, mistakes, "more than %d sinks", CONFIG_SINKS_MAX);
        return;
    }
    struct config_sink *sink = &config->sinks[config->sinks_len++];
    sink->ops = ops;
    sink->node = node;
    sink->conf = calloc(1, ops->conf_size > 0 ? ops->conf_size : 1);
    MUST(sink->conf != NULL);
    char prefix[NAME_BYTES_MAX];
    (void)snprintf(prefix, sizeof(prefix), "sinks.%s", name);
    if (core_conf_bind(config->file, node, prefix, ops->opts, ops->opts_len, sink->conf, mistakes) == CORE_OK &&
        ops->check != NULL) {
        ops->check(sink->conf, config->file, node, mistakes);
    }
}

static void load_sinks(struct config *config, struct core_conf_mistakes *mistakes) {
    const struct core_conf_node *root = core_conf_root(config->file);
    const struct core_conf_node *node = core_conf_get(root, "sinks");
    if (node == NULL || !core_conf_is_map(node) || core_conf_len(node) == 0) {
        core_conf_mistake(config->file, node != NULL ? node : root, mistakes,
                          "sinks %s: it is a mapping with at least one sink, such as \"file: {path: "
                          "/var/log/tapline/documents.ndjson}\"",
                          node == NULL             ? "is missing"
                          : core_conf_is_map(node) ? "is empty"
                                                   : "is no mapping");
        return;
    }
    for (size_t i = 0; i < core_conf_len(node); i++) {
        const struct core_conf_node *value = NULL;
        const char *name = core_conf_member(node, i, &value);
        load_sink(config, name, value, mistakes);
    }
}

static bool sink_is_keeper(const struct config_sink *sink) {
    return sink->ops->keeps_positions != NULL && sink->ops->keeps_positions(sink->conf);
}

bool config_sinks_order(struct config *config) {
    MUST(config != NULL);
    size_t at = 0;
    while (at < config->sinks_len && !sink_is_keeper(&config->sinks[at])) {
        at++;
    }
    if (at == config->sinks_len) {
        return false;
    }
    struct config_sink keeper = config->sinks[at];
    for (; at + 1 < config->sinks_len; at++) {
        config->sinks[at] = config->sinks[at + 1];
        MUST(!sink_is_keeper(&config->sinks[at]));
    }
    config->sinks[at] = keeper;
    return true;
}

/* ---- what a command needs ------------------------------------------------------------------------------------------- */

static bool has_section(const struct config *config, const char *name) {
    return core_conf_get(core_conf_root(config->file), name) != NULL;
}

/* Of a host that only syncs feeds, or is where a person looks at the store: no sensor. */
static bool is_intel_only(const struct config *config) {
    return !has_section(config, "inputs") && !has_section(config, "sinks") && has_section(config, "intel") &&
           !has_section(config, "feed") && !has_section(config, "kibana");
}

static void load_feed(struct config *config, enum config_wants wants, struct core_conf_mistakes *mistakes) {
    const struct core_conf_node *root = core_conf_root(config->file);
    const struct core_conf_node *node = core_conf_get(root, "feed");
    config->has_feed = node != NULL;
    if (node == NULL && wants == CONFIG_FEED) {
        core_conf_mistake(config->file, root, mistakes,
                          "feed is missing: which Kafka to read from? e.g. \"feed: {rdkafka: {bootstrap.servers: "
                          "\\\"127.0.0.1:9092\\\"}}\"");
    } else if (node != NULL) {
        feed_conf_check(&config->feed, config->file, node, mistakes);
    }
}

/* A feeder's positions are its group's offsets: a sink that wants to keep some has none to keep. */
static void refuse_keepers(const struct config *config, struct core_conf_mistakes *mistakes) {
    for (size_t i = 0; i < config->sinks_len; i++) {
        const struct config_sink *sink = &config->sinks[i];
        if (sink->ops->keeps_positions != NULL) {
            core_conf_mistake(config->file, sink->node, mistakes,
                              "sinks.%s: tapline feed reads from Kafka and does not write documents into it; give it a "
                              "file of its own, without this sink",
                              sink->ops->name);
        }
    }
}

/* Of a host whose sensors are controlled by us and whose logs are shipped by another file's tapline, or not at all. */
static bool is_serve_only(const struct config *config) {
    return !has_section(config, "inputs") && !has_section(config, "sinks") && has_section(config, "sensors") &&
           !has_section(config, "feed") && !has_section(config, "kibana");
}

static void load_serve(struct config *config, enum config_wants wants, struct core_conf_mistakes *mistakes) {
    const struct core_conf_node *root = core_conf_root(config->file);
    const struct core_conf_node *node = core_conf_get(root, "sensors");
    const struct core_conf_node *serve = core_conf_get(root, "serve");
    path_resolve_at(&config->serve.socket, config, serve, mistakes);
    path_resolve_at(&config->serve.supervisor_socket, config, serve, mistakes);
    path_resolve_at(&config->serve.state, config, serve, mistakes);
    serve_conf_check(&config->serve, config->file, serve, mistakes);
    if (node != NULL) {
        /* what the result says, mistakes says too */
        enum core_err err CORE_UNUSED = sensors_conf_bind(config->file, node, &config->sensors, mistakes);
    } else if (wants == CONFIG_SERVE) {
        core_conf_mistake(
            config->file, root, mistakes,
            "sensors is missing: which sensors does this host have? e.g. \"sensors: {nodes: [{name: zeek, "
            "type: zeek, interface: eth0}]}\", or \"sensors: {zeekctl: /opt/zeek/etc}\"");
    }
}

/* Bind inputs and sinks, and say what the command lacks. */
static void load_lists(struct config *config, enum config_wants wants, struct core_conf_mistakes *mistakes) {
    const bool is_any_feed = wants == CONFIG_ANY && (config->has_feed || has_section(config, "kibana"));
    if (wants == CONFIG_ANY && (is_intel_only(config) || is_serve_only(config))) {
        return;
    }
    const bool looks_at_inputs = wants == CONFIG_RUN || (wants == CONFIG_ANY && has_section(config, "inputs"));
    if (looks_at_inputs || (wants == CONFIG_ANY && !is_any_feed)) {
        load_inputs(config, mistakes);
    }
    const bool may_lack_sinks = wants == CONFIG_SETUP && (config->has_feed || has_section(config, "kibana"));
    const bool has_no_sinks = !has_section(config, "sinks");
    if (!has_no_sinks || !(may_lack_sinks || (is_any_feed && !config->has_feed))) {
        load_sinks(config, mistakes);
    }
    if (wants == CONFIG_FEED || (is_any_feed && config->has_feed && !looks_at_inputs)) {
        refuse_keepers(config, mistakes);
    }
}

enum core_err config_load_for(struct config **out, const char *path, enum config_wants wants,
                              struct core_conf_mistakes *mistakes) {
    MUST(out != NULL);
    MUST(path != NULL);
    MUST(mistakes != NULL);
    *out = NULL;
    size_t mistakes_before = mistakes->len;
    struct config *config = calloc(1, sizeof(*config));
    MUST(config != NULL);
    struct core_fail fail = {0};
    enum core_err err = core_conf_open(&config->file, path, &fail);
    if (err != CORE_OK) {
        if (mistakes->len < sizeof(mistakes->fails) / sizeof(mistakes->fails[0])) {
            mistakes->fails[mistakes->len++] = fail;
        }
        goto out;
    }
    unknown_sections(config, mistakes);
    load_sections(config, wants, mistakes);
    config->health.is_on = has_section(config, "health");
    if (config->health.is_on) {
        const struct core_conf_node *health = core_conf_get(core_conf_root(config->file), "health");
        path_resolve_at(&config->health.log_dir, config, health, mistakes);
        core_health_conf_check(&config->health, config->file, health, mistakes);
    }
    if (wants == CONFIG_SERVE || wants == CONFIG_ANY) {
        load_serve(config, wants, mistakes);
    }
    if (wants != CONFIG_SERVE) {
        load_feed(config, wants, mistakes);
        load_lists(config, wants, mistakes);
        config_setup_check(&config->setup, &config->kibana, config->file, mistakes);
        config_intel_load(&config->intel, config->file, mistakes);
    }
    err = mistakes->len > mistakes_before ? CORE_BAD : CORE_OK;
    if (err == CORE_OK) { /* a sink with a mistake in it may not be asked what it keeps */
        (void)config_sinks_order(config);
    }
out:
    if (err != CORE_OK) {
        config_free(config);
        return err;
    }
    *out = config;
    return CORE_OK;
}

enum core_err config_load(struct config **out, const char *path, struct core_conf_mistakes *mistakes) {
    return config_load_for(out, path, CONFIG_RUN, mistakes);
}

enum core_err config_load_any(struct config **out, const char *path, struct core_conf_mistakes *mistakes) {
    return config_load_for(out, path, CONFIG_ANY, mistakes);
}

void config_free(struct config *config) {
    if (config == NULL) {
        return;
    }
    for (size_t i = 0; i < config->sinks_len; i++) {
        core_conf_release(config->sinks[i].ops->opts, config->sinks[i].ops->opts_len, config->sinks[i].conf);
        free(config->sinks[i].conf);
    }
    for (size_t i = 0; i < config->inputs_len; i++) {
        ingest_input_release(&config->inputs[i]);
    }
    free(config->inputs);
    config_intel_release(&config->intel);
    sensors_conf_release(&config->sensors);
    for (size_t i = 0; i < SECTION_ROWS_LEN; i++) {
        const struct section_row *row = &section_rows[i];
        core_conf_release(row->opts, *row->opts_len, (char *)config + row->offset);
    }
    core_conf_close(config->file);
    free(config);
}

bool config_writes_to_stdout(const struct config *config) {
    for (size_t i = 0; i < config->sinks_len; i++) {
        if (strcmp(config->sinks[i].ops->name, "stdout") == 0) {
            return true;
        }
    }
    return false;
}

/* ---- what may change without a restart ------------------------------------------------------------------------------ */

/* "section.key", kept for the caller of config_can_swap(). */
static void key_set(const char **key, const char *section, const char *name) {
    static char text[2 * NAME_BYTES_MAX];
    (void)snprintf(text, sizeof(text), "%s%s%s", section, name[0] != '\0' ? "." : "", name);
    *key = text;
}

/* A sink is open for the process's life, so each of its keys needs a restart, whatever its rows say. */
static bool sink_is_same(const struct config_sink *now, const struct config_sink *next, const char **key) {
    struct core_opt rows[SINK_ROWS_MAX];
    MUST(now->ops->opts_len <= SINK_ROWS_MAX);
    for (size_t i = 0; i < now->ops->opts_len; i++) {
        rows[i] = now->ops->opts[i];
        rows[i].needs_restart = true;
    }
    return core_conf_same_restart(rows, now->ops->opts_len, now->conf, next->conf, key);
}

bool config_can_swap(const struct config *now, const struct config *next, const char **key) {
    MUST(now != NULL);
    MUST(next != NULL);
    MUST(key != NULL);
    const char *name = "";
    for (size_t i = 0; i < SECTION_ROWS_LEN; i++) {
        const struct section_row *row = &section_rows[i];
        if (!core_conf_same_restart(row->opts, *row->opts_len, (const char *)now + row->offset,
                                    (const char *)next + row->offset, &name)) {
            key_set(key, row->name, name);
            return false;
        }
    }
    if (!core_conf_same_restart(enrich_opts, enrich_opts_len, &now->intel.conf, &next->intel.conf, &name)) {
        key_set(key, "intel", name);
        return false;
    }
    if (!core_conf_same_restart(enrich_redis_opts, enrich_redis_opts_len, &now->intel.redis, &next->intel.redis,
                                &name)) {
        key_set(key, "intel.redis", name);
        return false;
    }
    if (!core_conf_same_restart(enrich_lookback_opts, enrich_lookback_opts_len, &now->intel.conf.lookback,
                                &next->intel.conf.lookback, &name)) {
        key_set(key, "intel.lookback", name);
        return false;
    }
    if (now->health.is_on != next->health.is_on) {
        key_set(key, "health", "");
        return false;
    }
    bool is_same_list = now->sinks_len == next->sinks_len;
    for (size_t i = 0; is_same_list && i < now->sinks_len; i++) {
        is_same_list = now->sinks[i].ops == next->sinks[i].ops;
    }
    if (!is_same_list) {
        key_set(key, "sinks", "");
        return false;
    }
    for (size_t i = 0; i < now->sinks_len; i++) {
        if (!sink_is_same(&now->sinks[i], &next->sinks[i], &name)) {
            char section[NAME_BYTES_MAX];
            (void)snprintf(section, sizeof(section), "sinks.%s", now->sinks[i].ops->name);
            key_set(key, section, name);
            return false;
        }
    }
    return true;
}
