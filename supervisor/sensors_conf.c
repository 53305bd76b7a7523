/* supervisor/sensors_conf.c: section `sensors:` of tapline.yml, as structs.
 *
 * What a node leaves out comes from its type (sensors_types.c). It is filled in here, once, so that nobody behind asks again
 * whether a key was given. All mistakes are collected; paths become absolute.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/sensors_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* "zeek" is another word for the first; sensors_conf_bind() makes it the same number. */
static const char *const type_words[] = {"standalone", "manager", "logger",  "proxy", "worker", "suricata",
                                         "snort",      "tapline", "program", "zeek",  NULL};
static const char *const restart_words[] = {"always", "on_failure", "never", NULL};

const struct core_opt sensors_opts[] = {
    {.key = "directory",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensors_conf, directory),
     .def = "/var/lib/tapline/sensors",
     .help = "Each node has a working directory with its name below this one: its logs and its output are there."},
    {.key = "zeekctl",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensors_conf, zeekctl),
     .help =
         "Directory of zeekctl's node.cfg, networks.cfg and zeekctl.cfg, e.g. /opt/zeek/etc: its nodes are ours, too."},
    {.key = "zeek",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensors_conf, zeek),
     .help = "The program. Default: what zeekctl's files say, else the first zeek in PATH, /opt/zeek/bin, "
             "/usr/local/zeek/bin."},
    {.key = "site",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensors_conf, site),
     .help = "Directory of local.zeek, searched before Zeek's own. Default: what zeekctl's files say, else Zeek's "
             "share/zeek/site."},
    {.key = "archive",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensors_conf, archive),
     .help = "Where Zeek puts rotated logs, in a directory for each node; on the same file system as "
             "sensors.directory. Default: "
             "archive beside sensors.directory."},
    {.key = "user",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensors_conf, user),
     .help = "User of the nodes that do not say. Default: as the Supervisor runs."},
};
const size_t sensors_opts_len = sizeof(sensors_opts) / sizeof(sensors_opts[0]);

const struct core_opt sensor_opts[] = {
    {.key = "name",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensor_conf, name),
     .is_required = true,
     .help = "Its name: letters, digits, '-', '_', '.'; its directory below sensors.directory has it too."},
    {.key = "type",
     .type = CORE_OPT_ENUM,
     .offset = offsetof(struct sensor_conf, type),
     .is_required = true,
     .choices = type_words,
     .help = "What it is: a Zeek (zeek or standalone; manager, logger, proxy, worker of a cluster), suricata, snort, "
             "one of tapline's own commands, or any program."},
    {.key = "interface",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensor_conf, interface),
     .help = "Interface it listens on: eth0; af_packet::eth0 and the like for Zeek."},
    {.key = "scripts",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct sensor_conf, scripts),
     .help = "Zeek scripts to load. Default: local, or what zeekctl's files say."},
    {.key = "args",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct sensor_conf, args),
     .help = "Appended to the command line that its type has."},
    {.key = "command",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct sensor_conf, command),
     .help = "The whole command line, in place of its type's. For type tapline: the words after tapline."},
    {.key = "user",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensor_conf, user),
     .help = "User it runs as. Default: sensors.user, else as the Supervisor."},
    {.key = "groups",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct sensor_conf, groups),
     .help = "Groups it has. Default: those of the user."},
    {.key = "capabilities",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct sensor_conf, capabilities),
     .help = "Capabilities it keeps, e.g. cap_net_raw. Default: by its type, if it runs as a user."},
    {.key = "env",
     .type = CORE_OPT_PAIRS,
     .offset = offsetof(struct sensor_conf, env),
     .help = "Added to its environment."},
    {.key = "limits",
     .type = CORE_OPT_PAIRS,
     .offset = offsetof(struct sensor_conf, limits),
     .help = "Its rlimits: nofile, core, memlock …; a number or unlimited."},
    {.key = "cpus",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct sensor_conf, cpus),
     .help = "CPUs it may run on: 2, 4-7. Default: any."},
    {.key = "ready",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct sensor_conf, ready),
     .help = "When it counts as ready, all of: after 5s, file PATH, fd, tcp [HOST:]PORT, output TEXT, log_written. "
             "Default: by its type."},
    {.key = "logs",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct sensor_conf, logs),
     .help = "Patterns of the logs it writes, for readiness and watchdog. Default: by its type."},
    {.key = "cwd",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensor_conf, cwd),
     .help = "Directory it runs in. Default: sensors.directory and its name."},
    {.key = "group",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensor_conf, group),
     .help = "A word for several nodes on the command line. Default: by its type, e.g. workers."},
    {.key = "umask",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensor_conf, umask),
     .def = "0027",
     .help = "Its umask, in octal digits."},
    {.key = "nice",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensor_conf, nice),
     .def = "0",
     .help = "Its nice value: -20 to 19."},
    {.key = "metrics_url",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct sensor_conf, metrics_url),
     .help = "Where Zeek's telemetry answers, for netstats. Default: the port that tapline gives it."},
    {.key = "order",
     .type = CORE_OPT_UINT,
     .offset = offsetof(struct sensor_conf, order),
     .max = "1000",
     .help = "Low numbers are stopped first and started last. Default: by its type."},
    {.key = "memory_max",
     .type = CORE_OPT_SIZE,
     .offset = offsetof(struct sensor_conf, memory_max_bytes),
     .def = "0",
     .help = "Memory it may use; 0: no limit."},
    {.key = "cpu_max",
     .type = CORE_OPT_UINT,
     .offset = offsetof(struct sensor_conf, cpu_max_percent),
     .def = "0",
     .max = "100000",
     .help = "Per cent of one core it may use; 0: no limit. Needs cgroup v2."},
    {.key = "output_max",
     .type = CORE_OPT_SIZE,
     .offset = offsetof(struct sensor_conf, output_bytes_max),
     .def = "8MiB",
     .min = "4KiB",
     .help = "What it prints is kept in stdout.log and stderr.log, each cut to its last half when longer than this."},
    {.key = "ready_timeout",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct sensor_conf, ready_timeout_ns),
     .def = "60s",
     .help = "Not ready so long after its start: it is started again; 0: wait for ever."},
    {.key = "settle",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct sensor_conf, settle_ns),
     .def = "10s",
     .help = "Ready for so long: its earlier deaths are forgotten."},
    {.key = "watchdog",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct sensor_conf, watchdog_ns),
     .help = "So long without a sign of life (logs, CPU, packets): looked into, and restarted if that helps; 0: never. "
             "Default: by its type."},
    {.key = "stop_timeout",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct sensor_conf, stop_timeout_ns),
     .help = "What has not ended so long after SIGTERM is killed. Default: by its type."},
    {.key = "restart",
     .type = CORE_OPT_ENUM,
     .offset = offsetof(struct sensor_conf, restart),
     .def = "always",
     .choices = restart_words,
     .help = "What is done when it ends by itself."},
    {.key = "restart_delay_min",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct sensor_conf, restart_delay_min_ns),
     .def = "1s",
     .help = "Delay before the first restart; it doubles with each death."},
    {.key = "restart_delay_max",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct sensor_conf, restart_delay_max_ns),
     .def = "60s",
     .help = "The longest delay before a restart."},
    {.key = "restart_deaths_max",
     .type = CORE_OPT_UINT,
     .offset = offsetof(struct sensor_conf, restart_deaths_max),
     .def = "5",
     .min = "1",
     .max = "16",
     .help = "So many deaths within restart_deaths_within: it stays down until a person starts it."},
    {.key = "restart_deaths_within",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct sensor_conf, restart_deaths_within_ns),
     .def = "300s",
     .help = "The time in which deaths are counted."},
};
const size_t sensor_opts_len = sizeof(sensor_opts) / sizeof(sensor_opts[0]);

bool sensors_name_is_valid(struct core_span name) {
    bool is_valid = name.len > 0 && name.len <= SUPERVISOR_NAME_BYTES_MAX;
    for (size_t i = 0; i < name.len && is_valid; i++) {
        char c = core_lower(name.ptr[i]);
        is_valid = core_is_digit(c) || (c >= 'a' && c <= 'z') || (i > 0 && strchr("-_.", c) != NULL && c != '\0');
    }
    return is_valid;
}

/* "7" to 7; false: no number, or none below the end. */
static bool cpu_read(struct core_span text, unsigned *out) {
    unsigned value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!core_is_digit(text.ptr[i]) || value >= SUPERVISOR_CPUS_MAX) {
            return false;
        }
        value = value * 10 + (unsigned)(text.ptr[i] - '0');
    }
    *out = value;
    return text.len > 0 && value < SUPERVISOR_CPUS_MAX;
}

bool sensors_cpus_read(const struct core_conf_list *list, uint16_t cpus[SUPERVISOR_CPUS_MAX], size_t *len) {
    bool is_set[SUPERVISOR_CPUS_MAX] = {false};
    MUST(list != NULL);
    MUST(len != NULL);
    for (size_t i = 0; i < list->len; i++) {
        struct core_span text = core_span_trim(core_span_of(list->items[i].value));
        const char *dash = core_span_chr(text, '-');
        struct core_span last = text;
        if (dash != NULL) {
            last = (struct core_span){dash + 1, (size_t)(text.ptr + text.len - dash - 1)};
            text.len = (size_t)(dash - text.ptr);
        }
        unsigned from = 0;
        unsigned to = 0;
        if (!cpu_read(text, &from) || !cpu_read(last, &to) || from > to) {
            return false;
        }
        for (unsigned cpu = from; cpu <= to; cpu++) {
            is_set[cpu] = true;
        }
    }
    *len = 0;
    for (unsigned cpu = 0; cpu < SUPERVISOR_CPUS_MAX; cpu++) {
        if (is_set[cpu]) {
            cpus[(*len)++] = (uint16_t)cpu;
        }
    }
    return true;
}

void sensor_conf_defaults(struct sensor_conf *conf, bool (*is_given)(const void *ctx, const char *key),
                          const void *ctx) {
    MUST(conf != NULL);
    MUST(conf->type >= 0 && conf->type < SENSOR_TYPE__MAX);
    const struct sensor_type_row *row = &sensor_types[conf->type];
    conf->has_order = is_given != NULL && is_given(ctx, "order");
    if (!conf->has_order) {
        conf->order = (uint64_t)row->order;
    }
    if (is_given == NULL || !is_given(ctx, "watchdog")) {
        conf->watchdog_ns = row->watchdog_ns;
    }
    if (is_given == NULL || !is_given(ctx, "stop_timeout")) {
        conf->stop_timeout_ns = row->stop_timeout_ns;
    }
}

static bool node_has(const void *ctx, const char *key) {
    const struct core_conf_node *node = core_conf_get(ctx, key);
    return node != NULL && !core_conf_is_null(node);
}

/* Make *path absolute, from the directory that tapline was started in. */
static void path_resolve(char **path, const struct core_conf_file *file, const struct core_conf_node *node,
                         struct core_conf_mistakes *mistakes) {
    char dir[SENSORS_PATH_BYTES_MAX];
    char *whole = NULL;
    if (*path == NULL || **path == '\0' || **path == '/') {
        return;
    }
    if (getcwd(dir, sizeof(dir)) == NULL) {
        core_conf_mistake(file, node, mistakes,
                          "%s is a relative path, and the current directory cannot be told; write it whole", *path);
        return;
    }
    MUST(asprintf(&whole, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, *path) >= 0);
    free(*path);
    *path = whole;
}

static bool number_is_within(const char *text, int base, long min, long max) {
    char *end = NULL;
    long value = strtol(text, &end, base);
    return end != text && *end == '\0' && value >= min && value <= max;
}

static void sensor_check_values(const struct sensor_conf *conf, const struct core_conf_file *file,
                                struct core_conf_mistakes *mistakes) {
    uint16_t cpus[SUPERVISOR_CPUS_MAX];
    size_t cpus_len = 0;
    if (!sensors_cpus_read(&conf->cpus, cpus, &cpus_len)) {
        core_conf_mistake(file, core_conf_get(conf->node, "cpus"), mistakes,
                          "cpus: numbers below %d and ranges are wanted: [2, 4-7]", SUPERVISOR_CPUS_MAX);
    }
    if (conf->ready.len > SUPERVISOR_READY_MAX) {
        core_conf_mistake(file, core_conf_get(conf->node, "ready"), mistakes, "ready: at most %d rules",
                          SUPERVISOR_READY_MAX);
    }
    for (size_t i = 0; i < conf->ready.len; i++) {
        char why[256];
        if (!supervisor_ready_is_rule(conf->ready.items[i].value, why, sizeof(why))) {
            core_conf_mistake(file, core_conf_get(conf->node, "ready"), mistakes, "ready: %s", why);
        }
    }
    if (!number_is_within(conf->umask, 8, 0, 0777)) {
        core_conf_mistake(file, core_conf_get(conf->node, "umask"), mistakes,
                          "umask: octal digits up to 0777 are wanted");
    }
    if (!number_is_within(conf->nice, 10, -20, 19)) {
        core_conf_mistake(file, core_conf_get(conf->node, "nice"), mistakes, "nice: -20 to 19 is wanted");
    }
}

static void sensor_check(const struct sensor_conf *conf, const struct core_conf_file *file,
                         struct core_conf_mistakes *mistakes) {
    const struct sensor_type_row *row = &sensor_types[conf->type];
    const char *type = sensor_type_names[conf->type];
    if (!sensors_name_is_valid(core_span_of(conf->name))) {
        core_conf_mistake(
            file, core_conf_get(conf->node, "name"), mistakes,
            "\"%s\" cannot be a node's name: letters, digits, '-', '_' and '.', beginning with a letter or "
            "digit, at most %d",
            conf->name, SUPERVISOR_NAME_BYTES_MAX);
    }
    if (row->needs_interface && conf->interface == NULL && conf->command.len == 0 && conf->args.len == 0) {
        core_conf_mistake(file, conf->node, mistakes, "node %s: a %s needs an interface", conf->name, type);
    }
    if (row->family == SENSOR_NO_SENSOR && conf->command.len == 0) {
        core_conf_mistake(file, conf->node, mistakes, "node %s: type %s needs a command", conf->name, type);
    }
    if (row->family != SENSOR_ZEEK && conf->scripts.len > 0) {
        core_conf_mistake(file, core_conf_get(conf->node, "scripts"), mistakes, "scripts are Zeek's: a %s has none",
                          type);
    }
    sensor_check_values(conf, file, mistakes);
}

static void sensor_bind(const struct core_conf_file *file, const struct core_conf_node *node, size_t index,
                        struct sensor_conf *conf, struct core_conf_mistakes *mistakes) {
    char prefix[64];
    (void)snprintf(prefix, sizeof(prefix), "sensors.nodes[%zu]", index);
    conf->node = node;
    enum core_err err = core_conf_bind(file, node, prefix, sensor_opts, sensor_opts_len, conf, mistakes);
    if (conf->type == SENSOR_TYPE__MAX) {
        conf->type = SENSOR_STANDALONE; /* "zeek" */
    }
    if (err != CORE_OK) {
        return;
    }
    sensor_conf_defaults(conf, node_has, node);
    path_resolve(&conf->cwd, file, node, mistakes);
    sensor_check(conf, file, mistakes);
}

/* `archive` beside the directory. */
static char *archive_default(const char *directory) {
    char *out = NULL;
    size_t len = strlen(directory);
    while (len > 1 && directory[len - 1] == '/') {
        len--;
    }
    while (len > 1 && directory[len - 1] != '/') {
        len--;
    }
    MUST(asprintf(&out, "%.*sarchive", (int)len, directory) >= 0);
    return out;
}

static void nodes_bind(const struct core_conf_file *file, const struct core_conf_node *nodes, struct sensors_conf *conf,
                       struct core_conf_mistakes *mistakes) {
    if (nodes == NULL || core_conf_is_null(nodes)) {
        return;
    }
    size_t len = core_conf_len(nodes);
    if (!core_conf_is_sequence(nodes) || len > SENSORS_NODES_MAX) {
        core_conf_mistake(file, nodes, mistakes, "sensors.nodes is a list of at most %d nodes, each `- name: …`",
                          SENSORS_NODES_MAX);
        return;
    }
    conf->nodes = calloc(len + 1, sizeof(*conf->nodes));
    MUST(conf->nodes != NULL);
    conf->nodes_len = len;
    for (size_t i = 0; i < len; i++) {
        sensor_bind(file, core_conf_item(nodes, i), i, &conf->nodes[i], mistakes);
    }
}

/* The rows of the section and one more, so that core_conf_bind() knows nodes. */
#define SECTION_ROWS_LEN (sizeof(sensors_opts) / sizeof(sensors_opts[0]) + 1)

enum core_err sensors_conf_bind(const struct core_conf_file *file, const struct core_conf_node *node,
                                struct sensors_conf *conf, struct core_conf_mistakes *mistakes) {
    struct core_opt rows[SECTION_ROWS_LEN] = {
        [SECTION_ROWS_LEN - 1] = {.key = "nodes", .type = CORE_OPT_SECTION, .help = "The nodes."}};
    MUST(conf != NULL);
    MUST(mistakes != NULL);
    size_t before = mistakes->len;
    memcpy(rows, sensors_opts, sizeof(sensors_opts));
    conf->file = file;
    conf->node = node;
    enum core_err err = core_conf_bind(file, node, "sensors", rows, SECTION_ROWS_LEN, conf, mistakes);
    nodes_bind(file, node == NULL ? NULL : core_conf_get(node, "nodes"), conf, mistakes);
    if (err == CORE_OK && conf->archive == NULL) {
        conf->archive = archive_default(conf->directory);
    }
    path_resolve(&conf->directory, file, node, mistakes);
    path_resolve(&conf->archive, file, node, mistakes);
    path_resolve(&conf->zeekctl, file, node, mistakes);
    path_resolve(&conf->site, file, node, mistakes);
    return mistakes->len == before ? CORE_OK : CORE_BAD;
}

void sensors_conf_release(struct sensors_conf *conf) {
    if (conf == NULL) {
        return;
    }
    for (size_t i = 0; i < conf->nodes_len; i++) {
        core_conf_release(sensor_opts, sensor_opts_len, &conf->nodes[i]);
    }
    free(conf->nodes);
    core_conf_release(sensors_opts, sensors_opts_len, conf);
    *conf = (struct sensors_conf){0};
}
