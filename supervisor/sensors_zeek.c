/* supervisor/sensors_zeek.c: what is particular to Zeek: its command line and environment, and the scripts that are generated.
 *
 * All of them are in one directory, first in ZEEKPATH:
 *
 *   cluster-layout.zeek  the nodes of the cluster with their ports; Zeek loads it itself where CLUSTER_NODE is set
 *   local-networks.zeek  Site::local_nets, if zeekctl's networks.cfg is there
 *   tapline.zeek         all else, the same for every node; what differs comes from its environment, so that nodes with the same
 *                        scripts are checked once
 *   node-NAME.zeek       Zeek script that stands in node.cfg for that node alone
 *
 * They are named last on the command line, as zeekctl does it: what the configuration says holds against local.zeek. Everything
 * is on this host, so nodes find each other at 127.0.0.1 whatever name the host has. What only some versions of Zeek from 5 to 8
 * know is behind @ifdef.
 *
 * Rotation: Zeek renames a finished log into archive/NODE itself and runs nothing on it: the file keeps its inode, and whoever
 * reads it goes on reading. A log that was left by a Zeek that was killed is rotated at the next start, not overwritten.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/json.h"
#include "supervisor/sensors_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SCRIPT_BYTES_MAX ((size_t)1 * 1024 * 1024)
#define PORT_MAX 65535
#define SEED_TEXT_BYTES 512
#define HEAD "# Written by tapline at each deploy: change tapline.yml or zeekctl's files instead.\n"

/* ---- ports ------------------------------------------------------------------------------------------------------------- */

/* Place of a type in the order in which ports are given out: zeekctl's, so that firewalls and scrapers need not change. */
static int rank_of(int type) {
    static const int ranks[SENSOR_TYPE__MAX] = {
        [SENSOR_MANAGER] = 0, [SENSOR_LOGGER] = 1, [SENSOR_PROXY] = 2, [SENSOR_WORKER] = 3, [SENSOR_STANDALONE] = 4};
    return ranks[type];
}

static bool is_zeek(const struct sensors_seed *seed) {
    return sensor_types[seed->conf.type].family == SENSOR_ZEEK;
}

/* How many Zeeks come before this one. */
static uint64_t place_of(const struct sensors_maker *maker, size_t seed) {
    uint64_t place = 0;
    int rank = rank_of(maker->seeds[seed].conf.type);
    for (size_t i = 0; i < maker->seeds_len; i++) {
        if (is_zeek(&maker->seeds[i])) {
            int other = rank_of(maker->seeds[i].conf.type);
            place += other < rank || (other == rank && i < seed) ? 1 : 0;
        }
    }
    return place;
}

uint64_t sensors_zeek_port(const struct sensors_maker *maker, size_t seed) {
    MUST(seed < maker->seeds_len);
    if (!sensor_types[maker->seeds[seed].conf.type].is_in_cluster) {
        return 0;
    }
    /* The first is zeekctl's "control", which nobody listens on; ZeroMQ's broker takes two before it. */
    return maker->settings.port + 1 + (maker->settings.uses_zeromq ? 2 : 0) + place_of(maker, seed);
}

uint64_t sensors_zeek_metrics_port(const struct sensors_maker *maker, size_t seed) {
    MUST(seed < maker->seeds_len);
    if (maker->settings.metrics_port == 0 || !is_zeek(&maker->seeds[seed])) {
        return 0;
    }
    return maker->settings.metrics_port + place_of(maker, seed);
}

static size_t count_of(const struct sensors_maker *maker, int type) {
    size_t count = 0;
    for (size_t i = 0; i < maker->seeds_len; i++) {
        count += maker->seeds[i].conf.type == type ? 1 : 0;
    }
    return count;
}

/* ---- command line and environment ---------------------------------------------------------------------------------------- */

static const char *site_path(struct sensors_maker *maker, const char *name) {
    return sensors_text(maker, "%s/" SENSORS_SITE_DIR "/%s", maker->conf->directory, name);
}

struct argv {
    const char **words; /* room for SUPERVISOR_ARGS_MAX and a NULL */
    size_t len;
};

/* Words that do not fit are noticed by argv_end(). */
static void argv_add(struct argv *argv, const char *word) {
    if (word != NULL && argv->len < SUPERVISOR_ARGS_MAX) {
        argv->words[argv->len++] = word;
    }
}

static void argv_add_list(struct sensors_maker *maker, struct argv *argv, const struct core_conf_list *list) {
    for (size_t i = 0; i < list->len; i++) {
        argv_add(argv, sensors_copy(maker, core_span_of(list->items[i].value)));
    }
}

static void argv_add_all(struct argv *argv, const char *const *words) {
    for (size_t i = 0; words != NULL && words[i] != NULL; i++) {
        argv_add(argv, words[i]);
    }
}

static void argv_end(struct sensors_maker *maker, const struct sensors_seed *seed, struct argv *argv) {
    if (argv->len >= SUPERVISOR_ARGS_MAX) {
        sensors_mistake(maker, seed->where, "node %s: more than %d words on the command line of zeek", seed->conf.name,
                        SUPERVISOR_ARGS_MAX - 1);
        argv->len = SUPERVISOR_ARGS_MAX - 1;
    }
    argv->words[argv->len] = NULL;
}

static const char *node_script_path(struct sensors_maker *maker, const struct sensors_seed *seed) {
    return site_path(maker, sensors_text(maker, "node-%s.zeek", seed->conf.name));
}

/* Everything behind the program and where its packets come from. */
static void argv_add_scripts(struct sensors_maker *maker, const struct sensors_seed *seed, struct argv *argv) {
    const struct sensors_settings *settings = &maker->settings;
    for (size_t i = 0; settings->prefixes != NULL && settings->prefixes[i] != NULL; i++) {
        argv_add(argv, "-p");
        argv_add(argv, settings->prefixes[i]);
    }
    if (settings->prefixes != NULL && settings->prefixes[0] != NULL) { /* zeekctl's: NAME.local.zeek */
        argv_add(argv, "-p");
        argv_add(argv, sensors_copy(maker, core_span_of(seed->conf.name)));
    }
    argv_add_all(argv, settings->args);
    argv_add_list(maker, argv, &seed->conf.args);
    if (seed->conf.scripts.len > 0) {
        argv_add_list(maker, argv, &seed->conf.scripts);
    } else {
        argv_add_all(argv, settings->scripts);
    }
    argv_add(argv, site_path(maker, "tapline.zeek"));
    if (seed->zeek_lines[0] != '\0') {
        argv_add(argv, node_script_path(maker, seed));
    }
}

/* Nodes with the same key are the same to `zeek -a`: their type, words and variables are, but for what tells them apart when
 * they run. */
static const char *check_key_of(struct sensors_maker *maker, const struct sensors_seed *seed,
                                const char *const *words) {
    const char *key = sensor_type_names[seed->conf.type];
    for (size_t i = 0; words[i] != NULL; i++) {
        bool is_its_name = i > 0 && strcmp(words[i - 1], "-p") == 0 && strcmp(words[i], seed->conf.name) == 0;
        key = is_its_name ? key : sensors_text(maker, "%s\n%s", key, words[i]);
    }
    for (size_t i = 0; i < seed->conf.env.len; i++) {
        key = sensors_text(maker, "%s\n%s=%s", key, seed->conf.env.items[i].key, seed->conf.env.items[i].value);
    }
    return key;
}

static void command_set(struct sensors_maker *maker, const struct sensors_seed *seed, struct sensors_node *node) {
    const struct sensor_conf *conf = &seed->conf;
    struct argv run = {.words = sensors_alloc(maker, (SUPERVISOR_ARGS_MAX + 1) * sizeof(*run.words))};
    struct argv check = {.words = node->check};
    if (run.words == NULL) {
        return;
    }
    if (conf->command.len > 0) { /* what it does with -a nobody knows */
        argv_add_list(maker, &run, &conf->command);
        argv_add_list(maker, &run, &conf->args);
        argv_end(maker, seed, &run);
        node->spec.argv = run.words;
        return;
    }
    argv_add(&run, maker->settings.zeek);
    if (conf->interface != NULL && conf->interface[0] != '\0') {
        argv_add(&run, "-i");
        argv_add(&run, sensors_copy(maker, core_span_of(conf->interface)));
    }
    argv_add_scripts(maker, seed, &run);
    argv_end(maker, seed, &run);
    node->spec.argv = run.words;
    argv_add(&check, maker->settings.zeek);
    argv_add(&check, "-a");
    argv_add_scripts(maker, seed, &check);
    check.len = check.len < SUPERVISOR_ARGS_MAX ? check.len : SUPERVISOR_ARGS_MAX - 1; /* told already: run has more */
    check.words[check.len] = NULL;
    node->check_key = check_key_of(maker, seed, check.words);
}

/* The directory that Zeek is installed in, /opt/zeek; "": it cannot be told. */
static const char *zeek_prefix(struct sensors_maker *maker) {
    char real[PATH_MAX];
    const char *zeek = maker->settings.zeek;
    if (zeek == NULL || zeek[0] != '/' || realpath(zeek, real) == NULL) {
        return "";
    }
    for (int i = 0; i < 2; i++) { /* …/bin/zeek */
        char *slash = strrchr(real, '/');
        if (slash == NULL) {
            return "";
        }
        *slash = '\0';
    }
    return sensors_text(maker, "%s", real);
}

/* Zeek's own directories, which it forgets where ZEEKPATH is set. */
static const char *own_path(struct sensors_maker *maker) {
    const char *prefix = zeek_prefix(maker);
    return prefix[0] == '\0' ? ""
                             : sensors_text(maker,
                                            ":.:%s/share/zeek:%s/share/zeek/policy:%s/share/zeek/site:%s/share/zeek/"
                                            "builtin-plugins",
                                            prefix, prefix, prefix, prefix);
}

static const char *own_site(struct sensors_maker *maker) {
    const char *prefix = zeek_prefix(maker);
    return prefix[0] == '\0' ? "" : sensors_text(maker, "%s/share/zeek/site", prefix);
}

static void env_set(struct sensors_maker *maker, size_t seed, struct sensors_node *node) {
    const char *site = maker->settings.site != NULL ? maker->settings.site : "";
    const char *metrics = "";
    struct supervisor_pair *env = sensors_alloc(maker, 4 * sizeof(*env));
    size_t len = 0;
    if (env == NULL) {
        return;
    }
    if (sensors_zeek_metrics_port(maker, seed) != 0) {
        metrics = sensors_text(maker, "%llu/tcp", (unsigned long long)sensors_zeek_metrics_port(maker, seed));
    }
    if (sensor_types[node->type].is_in_cluster) {
        env[len++] = (struct supervisor_pair){"CLUSTER_NODE", node->name};
    }
    env[len++] = (struct supervisor_pair){"TAPLINE_METRICS_PORT", metrics};
    env[len++] = (struct supervisor_pair){"TAPLINE_NODE", node->name};
    env[len++] = (struct supervisor_pair){"ZEEKPATH",
                                          sensors_text(maker, "%s/" SENSORS_SITE_DIR "%s%s%s", maker->conf->directory,
                                                       site[0] == '\0' ? "" : ":", site, own_path(maker))};
    node->spec.env = env;
    node->spec.env_len = len;
}

void sensors_zeek_command(struct sensors_maker *maker, size_t seed, struct sensors_node *node) {
    MUST(seed < maker->seeds_len);
    MUST(is_zeek(&maker->seeds[seed]));
    command_set(maker, &maker->seeds[seed], node);
    env_set(maker, seed, node);
    uint64_t port = sensors_zeek_metrics_port(maker, seed);
    if (node->metrics_url[0] == '\0' && port != 0) {
        node->metrics_url = sensors_text(maker, "http://127.0.0.1:%llu/metrics", (unsigned long long)port);
    }
}

/* ---- the scripts ----------------------------------------------------------------------------------------------------------- */

static void put(struct core_buf *out, const char *text) {
    core_buf_put(out, text, strlen(text));
}

static void put_number(struct core_buf *out, const char *before, uint64_t number, const char *after) {
    put(out, before);
    core_buf_u64(out, number);
    put(out, after);
}

/* In quotes, as Zeek reads strings. */
static void put_string(struct core_buf *out, const char *text) {
    core_buf_char(out, '"');
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\') {
            core_buf_char(out, '\\');
        }
        core_buf_char(out, *at);
    }
    core_buf_char(out, '"');
}

const char *sensors_zeek_quoted(struct sensors_maker *maker, const char *text) {
    size_t room = 2 * strlen(text) + 3;
    char *bytes = sensors_alloc(maker, room);
    if (bytes == NULL) {
        return "\"\"";
    }
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + room - 1};
    put_string(&out, text);
    return bytes;
}

static void put_layout_node(struct core_buf *out, const struct sensors_maker *maker, size_t i, bool has_metrics) {
    static const char *const types[SENSOR_TYPE__MAX] = {
        [SENSOR_MANAGER] = "MANAGER", [SENSOR_LOGGER] = "LOGGER", [SENSOR_PROXY] = "PROXY", [SENSOR_WORKER] = "WORKER"};
    const struct sensor_conf *conf = &maker->seeds[i].conf;
    put(out, "\t[");
    put_string(out, conf->name);
    put(out, "] = [$node_type=Cluster::");
    put(out, types[conf->type]);
    put_number(out, ", $ip=127.0.0.1, $p=", sensors_zeek_port(maker, i), "/tcp");
    for (size_t k = 0; k < maker->seeds_len && (conf->type == SENSOR_PROXY || conf->type == SENSOR_WORKER); k++) {
        if (maker->seeds[k].conf.type == SENSOR_MANAGER) {
            put(out, ", $manager=");
            put_string(out, maker->seeds[k].conf.name);
        }
    }
    if (has_metrics) {
        put_number(out, ", $metrics_port=", sensors_zeek_metrics_port(maker, i), "/tcp");
    }
    put(out, "],\n");
}

static void put_layout_table(struct core_buf *out, const struct sensors_maker *maker, bool has_metrics) {
    put(out, "redef Cluster::nodes = {\n");
    for (int rank = 0; rank <= rank_of(SENSOR_WORKER); rank++) {
        for (size_t i = 0; i < maker->seeds_len; i++) {
            if (sensor_types[maker->seeds[i].conf.type].is_in_cluster && rank_of(maker->seeds[i].conf.type) == rank) {
                put_layout_node(out, maker, i, has_metrics);
            }
        }
    }
    put(out, "};\n");
}

static void put_layout(struct core_buf *out, const struct sensors_maker *maker) {
    const char *time_machine = maker->settings.time_machine;
    put(out, HEAD "redef Cluster::manager_is_logger = ");
    put(out, count_of(maker, SENSOR_LOGGER) == 0 ? "T;\n" : "F;\n");
    if (maker->settings.metrics_port != 0) {
        /* Nodes have had a metrics_port since the function came: Zeek 7. */
        put(out, "@ifdef ( Cluster::local_node_metrics_port )\n");
        put_layout_table(out, maker, true);
        put(out, "@else\n");
    }
    put_layout_table(out, maker, false);
    put(out, maker->settings.metrics_port != 0 ? "@endif\n" : "");
    if (time_machine != NULL && time_machine[0] != '\0') { /* gone from Zeek 6 on */
        put(out, "@ifdef ( Cluster::TIME_MACHINE )\n"
                 "redef Cluster::nodes += { [\"time-machine\"] = [$node_type=Cluster::TIME_MACHINE, ");
        put(out, time_machine);
        put(out, "] };\n@endif\n");
    }
}

static void put_networks(struct core_buf *out, const struct sensors_maker *maker) {
    put(out, HEAD "redef Site::local_nets = {\n");
    for (size_t i = 0; i < maker->settings.networks_len; i++) {
        const struct sensors_network *network = &maker->settings.networks[i];
        put(out, "\t");
        put(out, network->prefix);
        put(out, network->tag[0] == '\0' ? "," : ",\t# ");
        put(out, network->tag);
        put(out, "\n");
    }
    put(out, "};\n");
}

/* Hashes that nodes of a cluster exchange (Bloom filters, HyperLogLog) are made with one seed. The same at each deploy, other
 * ones elsewhere. */
static const char *hash_seed_of(struct sensors_maker *maker) {
    char machine[SEED_TEXT_BYTES] = "";
    FILE *file = fopen("/etc/machine-id", "re");
    if (file == NULL || fgets(machine, sizeof(machine), file) == NULL) {
        (void)gethostname(machine, sizeof(machine) - 1);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    uint64_t seed = core_hash64(machine, strlen(machine), 0);
    seed = core_hash64(maker->conf->directory, strlen(maker->conf->directory), seed);
    return sensors_text(maker, "%08x", (unsigned)(uint32_t)seed);
}

static void put_rotation(struct core_buf *out, const struct sensors_maker *maker) {
    put(out, "\n# Finished logs are renamed into the archive, and nothing is run on them.\n"
             "@if ( ! Cluster::is_enabled() || Cluster::local_node_type() == Cluster::");
    put(out, count_of(maker, SENSOR_LOGGER) > 0 ? "LOGGER )\n" : "MANAGER )\n");
    put_number(out, "redef Log::default_rotation_interval = ", (uint64_t)maker->settings.rotation_s, " secs;\n");
    put(out, "redef Log::default_rotation_dir = ");
    put_string(out, maker->conf->archive);
    put(out, " + \"/\" + getenv(\"TAPLINE_NODE\");\n"
             "redef Log::default_rotation_postprocessor_cmd = \"\";\n"
             "@endif\n"
             "# Logs that a killed Zeek has left are rotated at the next start.\n"
             "redef LogAscii::enable_leftover_log_rotation = T;\n");
}

static void put_common(struct core_buf *out, struct sensors_maker *maker) {
    const struct sensors_settings *settings = &maker->settings;
    const char *site = settings->site != NULL && settings->site[0] != '\0' ? settings->site : own_site(maker);
    put(out, HEAD);
    put_number(out, "# Scripts of the site: ", sensors_scripts_digest(maker, site), "\n");
    put(out, settings->has_networks ? "@load local-networks\n" : "");
    put_rotation(out, maker);
    if (settings->metrics_port != 0) {
        put(out, "\n# Telemetry, for netstats: on the loopback interface unless ZEEK_DEFAULT_LISTEN_ADDRESS says "
                 "otherwise.\n"
                 "@ifdef ( Telemetry::metrics_port )\n"
                 "redef Telemetry::metrics_port = to_port(getenv(\"TAPLINE_METRICS_PORT\"));\n"
                 "@else\n"
                 "@ifdef ( Broker::metrics_port )\n"
                 "redef Broker::metrics_port = to_port(getenv(\"TAPLINE_METRICS_PORT\"));\n"
                 "@endif\n"
                 "@endif\n"
                 "@ifdef ( Telemetry::metrics_address )\n"
                 "@if ( Telemetry::metrics_address == \"\" )\n"
                 "redef Telemetry::metrics_address = \"127.0.0.1\";\n"
                 "@endif\n"
                 "@endif\n");
    }
    put(out, "\nredef global_hash_seed = ");
    put_string(out, hash_seed_of(maker));
    put(out, ";\n");
    if (settings->file_extract != NULL && settings->file_extract[0] != '\0') {
        put(out, "@load base/files/extract\nredef FileExtract::prefix = ");
        put_string(out, settings->file_extract);
        put(out, " + \"/\" + getenv(\"TAPLINE_NODE\") + \"/\";\n");
    }
    put(out, settings->zeek_lines != NULL ? settings->zeek_lines : "");
    put(out, "\n# Ready: everything that is done at the start is done, and the ports are open.\n"
             "event zeek_init() &priority=-1000\n"
             "\t{\n"
             "\tlocal ready = open(\"" SENSORS_READY_FILE "\");\n"
             "\twrite_file(ready, fmt(\"%s\\n\", current_time()));\n"
             "\tclose(ready);\n"
             "\t}\n");
}

/* ---- into the plan ----------------------------------------------------------------------------------------------------------- */

static void file_add(struct sensors_maker *maker, struct sensors_plan *plan, const char *path, const char *nodes,
                     const struct core_buf *text) {
    if (text->is_full) {
        sensors_mistake(maker, path, "what would be written there is longer than %zu KiB", SCRIPT_BYTES_MAX / CORE_KIB);
        return;
    }
    const char *content = sensors_copy(maker, core_buf_written(text));
    if (content != NULL) {
        plan->files[plan->files_len++] =
            (struct sensors_file){.path = path, .content = core_span_of(content), .nodes = nodes};
    }
}

static const char *cluster_names(struct sensors_maker *maker) {
    const char *names = "";
    for (size_t i = 0; i < maker->seeds_len; i++) {
        const struct sensor_conf *conf = &maker->seeds[i].conf;
        if (sensor_types[conf->type].is_in_cluster) {
            names = sensors_text(maker, "%s%s%s", names, names[0] == '\0' ? "" : " ", conf->name);
        }
    }
    return names;
}

/* A cluster has one manager; ports end somewhere. */
static void cluster_check(struct sensors_maker *maker) {
    size_t managers = 0;
    for (size_t i = 0; i < maker->seeds_len; i++) {
        const struct sensors_seed *seed = &maker->seeds[i];
        uint64_t metrics = sensors_zeek_metrics_port(maker, i);
        managers += seed->conf.type == SENSOR_MANAGER ? 1 : 0;
        if (seed->conf.type == SENSOR_MANAGER && managers > 1) {
            sensors_mistake(maker, seed->where, "node %s: a cluster has one manager, and there is one already",
                            seed->conf.name);
        }
        if (is_zeek(seed) && (sensors_zeek_port(maker, i) > PORT_MAX || metrics > PORT_MAX)) {
            sensors_mistake(maker, seed->where,
                            "node %s: its port would be above %d; choose a lower ZeekPort or MetricsPort",
                            seed->conf.name, PORT_MAX);
        }
    }
    for (size_t i = 0; i < maker->seeds_len && managers == 0; i++) {
        const struct sensors_seed *seed = &maker->seeds[i];
        if (sensor_types[seed->conf.type].is_in_cluster) {
            sensors_mistake(maker, seed->where,
                            "node %s: a %s needs a node of type manager; or is it to be standalone?", seed->conf.name,
                            sensor_type_names[seed->conf.type]);
            return;
        }
    }
}

void sensors_zeek_files(struct sensors_maker *maker, struct sensors_plan *plan) {
    char *bytes = malloc(SCRIPT_BYTES_MAX);
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + SCRIPT_BYTES_MAX};
    MUST(bytes != NULL);
    plan->files = sensors_alloc(maker, (maker->seeds_len + 3) * sizeof(*plan->files));
    if (plan->files == NULL) {
        goto out;
    }
    cluster_check(maker);
    const char *names = cluster_names(maker);
    if (names[0] != '\0') {
        put_layout(&out, maker);
        file_add(maker, plan, site_path(maker, "cluster-layout.zeek"), names, &out);
    }
    if (maker->settings.has_networks) {
        out.pos = bytes;
        put_networks(&out, maker);
        file_add(maker, plan, site_path(maker, "local-networks.zeek"), "*", &out);
    }
    out.pos = bytes;
    put_common(&out, maker);
    file_add(maker, plan, site_path(maker, "tapline.zeek"), "*", &out);
    for (size_t i = 0; i < maker->seeds_len; i++) {
        const struct sensors_seed *seed = &maker->seeds[i];
        if (is_zeek(seed) && seed->zeek_lines[0] != '\0') {
            out.pos = bytes;
            put(&out, HEAD);
            put(&out, seed->zeek_lines);
            file_add(maker, plan, node_script_path(maker, seed), sensors_copy(maker, core_span_of(seed->conf.name)),
                     &out);
        }
    }
out:
    free(bytes);
}
