/* supervisor/sensors.c: the plan: a supervised process for each node.
 *
 * Nodes of tapline.yml and of zeekctl's files become seeds of one form first; each seed then becomes a process: what its type
 * says, overridden by what the node says. The spec is written as JSON and read back by the Supervisor's own reader, so that what
 * that would refuse is a mistake here, at the node's line. The plan depends on nothing but the configuration (and the path of
 * this program, for our own commands): made twice it is the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/sensors_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEXT_BYTES_MAX 8192
#define DELETED " (deleted)"

/* ---- memory, texts, mistakes ------------------------------------------------------------------------------------------- */

void *sensors_alloc(struct sensors_maker *maker, size_t bytes) {
    void *out = core_arena_alloc(maker->arena, bytes == 0 ? 1 : bytes);
    if (out == NULL) {
        maker->is_full = true;
        return NULL;
    }
    return memset(out, 0, bytes);
}

char *sensors_copy(struct sensors_maker *maker, struct core_span text) {
    char *out = core_arena_copy(maker->arena, text);
    maker->is_full = maker->is_full || out == NULL;
    return out;
}

const char *sensors_text(struct sensors_maker *maker, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    MUST(len >= 0);
    char *out = sensors_alloc(maker, (size_t)len + 1);
    if (out == NULL) {
        return "";
    }
    va_start(args, fmt);
    (void)vsnprintf(out, (size_t)len + 1, fmt, args);
    va_end(args);
    return out;
}

void sensors_mistake(struct sensors_maker *maker, const char *where, const char *fmt, ...) {
    char text[TEXT_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (maker->mistakes->len < sizeof(maker->mistakes->fails) / sizeof(maker->mistakes->fails[0])) {
        (void)core_fail_set(&maker->mistakes->fails[maker->mistakes->len++], CORE_BAD, where, "%s", text);
    }
}

void sensors_warn(struct sensors_maker *maker, const char *where, const char *fmt, ...) {
    char text[TEXT_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (maker->warnings == NULL) {
        maker->warnings = sensors_alloc(maker, SENSORS_WARNINGS_MAX * sizeof(*maker->warnings));
    }
    if (maker->warnings != NULL && maker->warnings_len < SENSORS_WARNINGS_MAX) {
        maker->warnings[maker->warnings_len++] = sensors_text(maker, "%s: %s", where, text);
    }
}

struct sensors_seed *sensors_seed_add(struct sensors_maker *maker, const char *where) {
    if (maker->seeds == NULL) {
        maker->seeds = sensors_alloc(maker, SENSORS_NODES_MAX * sizeof(*maker->seeds));
    }
    if (maker->seeds == NULL) {
        return NULL;
    }
    if (maker->seeds_len == SENSORS_NODES_MAX) {
        sensors_mistake(maker, where, "more than %d nodes on one host", SENSORS_NODES_MAX);
        return NULL;
    }
    struct sensors_seed *seed = &maker->seeds[maker->seeds_len++];
    *seed = (struct sensors_seed){.host = "localhost", .zeek_lines = "", .where = where};
    return seed;
}

/* One word, blanks end it outside quotes; *at moves behind it. False: there is none. */
static bool word_take(struct core_span text, size_t *at, char *out, size_t *len) {
    char quote = '\0';
    *len = 0;
    while (*at < text.len && core_is_blank(text.ptr[*at])) {
        (*at)++;
    }
    if (*at == text.len) {
        return false;
    }
    for (; *at < text.len; (*at)++) {
        char c = text.ptr[*at];
        if (quote == '\0' && core_is_blank(c)) {
            break;
        }
        if (quote == '\0' && (c == '"' || c == '\'')) {
            quote = c;
        } else if (quote != '\0' && c == quote) {
            quote = '\0';
        } else if (c == '\\' && quote != '\'' && *at + 1 < text.len) {
            out[(*len)++] = text.ptr[++*at];
        } else {
            out[(*len)++] = c;
        }
    }
    return true;
}

const char *const *sensors_words(struct sensors_maker *maker, struct core_span text) {
    const char **words = sensors_alloc(maker, (text.len / 2 + 2) * sizeof(*words));
    char *word = sensors_alloc(maker, text.len + 1);
    size_t words_len = 0;
    size_t at = 0;
    size_t len = 0;
    while (words != NULL && word != NULL && word_take(text, &at, word, &len)) {
        words[words_len++] = sensors_copy(maker, (struct core_span){word, len});
    }
    return words;
}

struct core_span sensors_interface_of(struct core_span name) {
    for (size_t i = 0; i + 1 < name.len; i++) {
        if (name.ptr[i] == ':' && name.ptr[i + 1] == ':') {
            name.ptr += i + 2;
            name.len -= i + 2;
            i = 0;
        }
    }
    for (size_t i = 0; i < name.len;
         i++) { /* "netmap:eth0", "eth0,eth1", a path: whatever it is, it is no device's name */
        if (strchr(":,/ ", name.ptr[i]) != NULL) {
            return (struct core_span){0};
        }
    }
    return name;
}

/* ---- command lines -------------------------------------------------------------------------------------------------------- */

struct words {
    struct sensors_maker *maker;
    const char **items;
    size_t len;
    size_t max;
};

static struct words words_new(struct sensors_maker *maker) {
    return (struct words){maker, sensors_alloc(maker, (SUPERVISOR_ARGS_MAX + 1) * sizeof(char *)), 0,
                          SUPERVISOR_ARGS_MAX - 1};
}

static void word_add(struct words *words, const char *word) {
    if (words->items != NULL && words->len < words->max) {
        words->items[words->len++] = word;
    }
}

static void words_add(struct words *words, const struct core_conf_list *list) {
    for (size_t i = 0; i < list->len; i++) {
        word_add(words, sensors_copy(words->maker, core_span_of(list->items[i].value)));
    }
}

/* This program, for our own commands: as it is found again after an upgrade in place. */
static const char *program_path(struct sensors_maker *maker) {
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path));
    if (len <= 0) {
        return "tapline";
    }
    struct core_span out = {path, (size_t)len};
    const struct core_span deleted = CORE_SPAN(DELETED);
    if (out.len > deleted.len && memcmp(path + out.len - deleted.len, deleted.ptr, deleted.len) == 0) {
        out.len -= deleted.len;
    }
    return sensors_copy(maker, out);
}

/* Where a check may write: a directory that is there whenever one is made. */
static const char *check_directory(struct sensors_maker *maker) {
    return sensors_text(maker, "%s/" SENSORS_SITE_DIR, maker->conf->directory);
}

static void check_set(struct sensors_node *node, const struct words *words) {
    for (size_t i = 0; i < words->len && i < SUPERVISOR_ARGS_MAX - 1; i++) {
        node->check[i] = words->items[i];
    }
}

static void suricata_command(struct sensors_maker *maker, const struct sensors_seed *seed, struct sensors_node *node) {
    const struct sensor_conf *conf = &seed->conf;
    struct words run = words_new(maker);
    struct words check = words_new(maker);
    if (conf->command.len > 0) {
        words_add(&run, &conf->command);
        words_add(&check, &conf->command);
    } else {
        word_add(&run, "suricata");
        word_add(&check, "suricata");
        if (conf->interface != NULL) {
            word_add(&run, sensors_text(maker, "--af-packet=%s", conf->interface));
        }
        word_add(&run, "-l");
        word_add(&run, node->directory);
    }
    words_add(&run, &conf->args);
    words_add(&check, &conf->args);
    word_add(&check, "-T"); /* of what is given twice the last counts */
    word_add(&check, "-l");
    word_add(&check, check_directory(maker));
    node->spec.argv = run.items;
    check_set(node, &check);
}

static void snort_command(struct sensors_maker *maker, const struct sensors_seed *seed, struct sensors_node *node) {
    const struct sensor_conf *conf = &seed->conf;
    struct words run = words_new(maker);
    struct words check = words_new(maker);
    if (conf->command.len > 0) {
        words_add(&run, &conf->command);
        words_add(&check, &conf->command);
    } else {
        word_add(&run, "snort");
        word_add(&check, "snort");
        if (conf->interface != NULL) {
            word_add(&run, "-i");
            word_add(&run, conf->interface);
        }
        word_add(&run, "-l");
        word_add(&run, node->directory);
    }
    words_add(&run, &conf->args);
    words_add(&check, &conf->args);
    word_add(&check, "-T");
    node->spec.argv = run.items;
    check_set(node, &check);
}

static void program_command(struct sensors_maker *maker, const struct sensors_seed *seed, struct sensors_node *node) {
    struct words run = words_new(maker);
    if (seed->conf.type == SENSOR_TAPLINE) {
        word_add(&run, program_path(maker));
    }
    words_add(&run, &seed->conf.command);
    words_add(&run, &seed->conf.args);
    node->spec.argv = run.items;
}

/* ---- a node's process -------------------------------------------------------------------------------------------------------- */

/* NULL-terminated; NULL for an empty list. */
static const char *const *texts_of(struct sensors_maker *maker, const struct core_conf_list *list) {
    const char **out = list->len == 0 ? NULL : sensors_alloc(maker, (list->len + 1) * sizeof(*out));
    for (size_t i = 0; out != NULL && i < list->len; i++) {
        out[i] = sensors_copy(maker, core_span_of(list->items[i].value));
    }
    return out;
}

/* After what is there already (a Zeek's own variables): what the node says wins, since it stands behind. */
static void env_add(struct sensors_maker *maker, const struct core_conf_list *list, struct supervisor_spec *spec) {
    struct supervisor_pair *all = sensors_alloc(maker, (spec->env_len + list->len + 1) * sizeof(*all));
    size_t len = 0;
    if (all == NULL) {
        return;
    }
    for (size_t i = 0; i < spec->env_len; i++) {
        bool is_replaced = false;
        for (size_t k = 0; k < list->len; k++) {
            is_replaced = is_replaced || strcmp(list->items[k].key, spec->env[i].key) == 0;
        }
        if (!is_replaced) {
            all[len++] = spec->env[i];
        }
    }
    for (size_t i = 0; i < list->len; i++) {
        all[len].key = sensors_copy(maker, core_span_of(list->items[i].key));
        all[len++].value = sensors_copy(maker, core_span_of(list->items[i].value));
    }
    spec->env = all;
    spec->env_len = len;
}

static void limits_set(struct sensors_maker *maker, const struct core_conf_list *list, struct supervisor_spec *spec) {
    struct supervisor_pair *limits = sensors_alloc(maker, (list->len + 1) * sizeof(*limits));
    for (size_t i = 0; limits != NULL && i < list->len; i++) {
        limits[i].key = sensors_copy(maker, core_span_of(list->items[i].key));
        limits[i].value = sensors_copy(maker, core_span_of(list->items[i].value));
    }
    spec->limits = limits;
    spec->limits_len = limits == NULL ? 0 : list->len;
}

/* Rules of readiness: the node's, else its type's, in which '@' is its directory. */
static void ready_set(struct sensors_maker *maker, const struct sensors_seed *seed, struct sensors_node *node) {
    const struct sensor_type_row *row = &sensor_types[node->type];
    struct supervisor_spec *spec = &node->spec;
    size_t len = 0;
    for (size_t i = 0; i < seed->conf.ready.len && len < SUPERVISOR_READY_MAX; i++) {
        spec->ready.rules[len++] = sensors_copy(maker, core_span_of(seed->conf.ready.items[i].value));
    }
    for (size_t i = 0; seed->conf.ready.len == 0 && i < SENSORS_RULES_MAX && row->ready[i] != NULL; i++) {
        const char *rule = row->ready[i];
        spec->ready.rules[len++] = rule[0] == '@' ? sensors_text(maker, "file %s/%s", node->directory, rule + 1) : rule;
    }
    spec->ready.rules_len = len;
    spec->ready.timeout_ns = seed->conf.ready_timeout_ns;
}

/* Patterns of its logs: the node's, else its type's; relative ones begin at its directory. */
static void logs_set(struct sensors_maker *maker, const struct sensors_seed *seed, struct sensors_node *node) {
    const struct sensor_type_row *row = &sensor_types[node->type];
    const size_t row_max = sizeof(row->logs) / sizeof(row->logs[0]);
    const struct core_conf_list *list = &seed->conf.logs;
    const char **logs = sensors_alloc(maker, (list->len + row_max + 1) * sizeof(*logs));
    size_t len = 0;
    for (size_t i = 0; logs != NULL && i < (list->len > 0 ? list->len : row_max); i++) {
        const char *log = list->len > 0 ? list->items[i].value : row->logs[i];
        if (log != NULL) {
            logs[len++] = log[0] == '/' ? sensors_copy(maker, core_span_of(log))
                                        : sensors_text(maker, "%s/%s", node->directory, log);
        }
    }
    if (logs != NULL) {
        node->spec.logs = logs;
    }
}

static void rights_set(struct sensors_maker *maker, const struct sensors_seed *seed, struct sensors_node *node) {
    const struct sensor_conf *conf = &seed->conf;
    struct supervisor_spec *spec = &node->spec;
    const char *user = conf->user != NULL ? conf->user : maker->conf->user;
    if (user != NULL) {
        spec->user = sensors_copy(maker, core_span_of(user));
    }
    spec->groups = texts_of(maker, &conf->groups);
    spec->capabilities = texts_of(maker, &conf->capabilities);
    if (conf->capabilities.len == 0 && user != NULL && strcmp(user, "root") != 0 &&
        sensor_types[node->type].capabilities[0] != NULL) {
        spec->capabilities = sensor_types[node->type].capabilities;
    }
    spec->umask = (uint32_t)strtoul(conf->umask != NULL ? conf->umask : "0027", NULL, 8);
    spec->nice = (int)strtol(conf->nice != NULL ? conf->nice : "0", NULL, 10);
    if (!sensors_cpus_read(&conf->cpus, spec->cpus, &spec->cpus_len)) {
        sensors_mistake(maker, seed->where, "node %s: cpus: numbers below %d and ranges are wanted", node->name,
                        SUPERVISOR_CPUS_MAX);
    }
    spec->memory_max_bytes = conf->memory_max_bytes;
    spec->cpu_max_percent = (uint32_t)conf->cpu_max_percent;
    limits_set(maker, &conf->limits, spec);
}

static void times_set(const struct sensors_seed *seed, struct supervisor_spec *spec) {
    const struct sensor_conf *conf = &seed->conf;
    spec->order = (int64_t)conf->order;
    spec->output.bytes_max = conf->output_bytes_max;
    spec->settle_ns = conf->settle_ns;
    spec->watchdog.timeout_ns = conf->watchdog_ns;
    spec->restart.policy = (enum supervisor_policy)conf->restart;
    spec->restart.delay_min_ns = conf->restart_delay_min_ns;
    spec->restart.delay_max_ns = conf->restart_delay_max_ns;
    spec->restart.deaths_max = (uint32_t)conf->restart_deaths_max;
    spec->restart.deaths_within_ns = conf->restart_deaths_within_ns;
    spec->stop.timeout_ns = conf->stop_timeout_ns;
}

/* Its JSON, and what the Supervisor's reader says of it. */
static void spec_write(struct sensors_maker *maker, const struct sensors_seed *seed, struct sensors_node *node) {
    char *bytes = sensors_alloc(maker, SUPERVISOR_SPEC_BYTES_MAX);
    struct core_json_tree *json = NULL;
    struct supervisor_spec again;
    struct core_fail fail = {0};
    if (bytes == NULL || maker->is_full) {
        return;
    }
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + SUPERVISOR_SPEC_BYTES_MAX};
    supervisor_spec_write(&node->spec, &out);
    if (out.is_full) {
        sensors_mistake(maker, seed->where, "node %s: what is to be run is longer than %zu KiB", node->name,
                        SUPERVISOR_SPEC_BYTES_MAX / CORE_KIB);
        return;
    }
    node->spec_json = core_buf_written(&out);
    enum core_err err = core_json_tree_read(maker->arena, node->spec_json, &json, &fail);
    if (err == CORE_OK) {
        err = supervisor_spec_read(maker->arena, json, &again, &fail);
    }
    if (err == CORE_LIMIT) {
        maker->is_full = true;
    } else if (err != CORE_OK) {
        sensors_mistake(maker, seed->where, "node %s: %s", node->name, fail.text);
    }
}

static void command_set(struct sensors_maker *maker, size_t i, struct sensors_node *node) {
    const struct sensors_seed *seed = &maker->seeds[i];
    if (node->type == SENSOR_SURICATA) {
        suricata_command(maker, seed, node);
    } else if (node->type == SENSOR_SNORT) {
        snort_command(maker, seed, node);
    } else if (sensor_types[node->type].family == SENSOR_ZEEK) {
        sensors_zeek_command(maker, i, node);
    } else {
        program_command(maker, seed, node);
    }
    if (node->check_key == NULL) {
        node->check_key = node->name;
    }
}

static void node_make(struct sensors_maker *maker, size_t i, struct sensors_node *node) {
    const struct sensors_seed *seed = &maker->seeds[i];
    const struct sensor_conf *conf = &seed->conf;
    const struct sensor_type_row *row = &sensor_types[conf->type];
    supervisor_spec_init(&node->spec);
    node->name = sensors_copy(maker, core_span_of(conf->name));
    node->type = (enum sensor_type)conf->type;
    node->host = sensors_copy(maker, core_span_of(seed->host));
    node->interface = conf->interface != NULL ? sensors_copy(maker, core_span_of(conf->interface)) : "";
    node->directory = conf->cwd != NULL ? sensors_copy(maker, core_span_of(conf->cwd))
                                        : sensors_text(maker, "%s/%s", maker->conf->directory, conf->name);
    node->metrics_url = conf->metrics_url != NULL ? sensors_copy(maker, core_span_of(conf->metrics_url)) : "";
    node->spec.name = node->name;
    node->spec.group = conf->group != NULL ? sensors_copy(maker, core_span_of(conf->group)) : row->group;
    node->spec.cwd = node->directory;
    command_set(maker, i, node);
    env_add(maker, &conf->env, &node->spec);
    rights_set(maker, seed, node);
    times_set(seed, &node->spec);
    ready_set(maker, seed, node);
    logs_set(maker, seed, node);
    if (row->family != SENSOR_NO_SENSOR && conf->interface != NULL) {
        struct core_span device = sensors_interface_of(core_span_of(conf->interface));
        if (device.len > 0) {
            node->spec.watchdog.interface = sensors_copy(maker, device);
        }
    }
    spec_write(maker, seed, node);
}

/* ---- the plan ------------------------------------------------------------------------------------------------------------------ */

static void seeds_of_conf(struct sensors_maker *maker) {
    const struct sensors_conf *conf = maker->conf;
    char where[256];
    for (size_t i = 0; i < conf->nodes_len; i++) {
        core_conf_where(conf->file, conf->nodes[i].node, where, sizeof(where));
        struct sensors_seed *seed = sensors_seed_add(maker, sensors_copy(maker, core_span_of(where)));
        if (seed == NULL) {
            return;
        }
        seed->conf = conf->nodes[i];
    }
}

static void names_check(struct sensors_maker *maker) {
    for (size_t i = 0; i < maker->seeds_len; i++) {
        for (size_t k = 0; k < i; k++) {
            if (strcmp(maker->seeds[i].conf.name, maker->seeds[k].conf.name) == 0) {
                sensors_mistake(maker, maker->seeds[i].where, "there is a node %s already, at %s",
                                maker->seeds[i].conf.name, maker->seeds[k].where);
            }
        }
    }
}

static bool has_zeek(const struct sensors_maker *maker) {
    for (size_t i = 0; i < maker->seeds_len; i++) {
        if (sensor_types[maker->seeds[i].conf.type].family == SENSOR_ZEEK) {
            return true;
        }
    }
    return false;
}

static void plan_fill(struct sensors_maker *maker, struct sensors_plan *out) {
    out->nodes = sensors_alloc(maker, (maker->seeds_len + 1) * sizeof(*out->nodes));
    if (out->nodes == NULL) {
        return;
    }
    for (size_t i = 0; i < maker->seeds_len && !maker->is_full; i++) {
        node_make(maker, i, &out->nodes[i]);
        out->nodes_len++;
    }
    if (has_zeek(maker)) {
        sensors_zeek_files(maker, out);
    }
    out->warnings = maker->warnings;
    out->warnings_len = maker->warnings_len;
}

enum core_err sensors_plan_make(const struct sensors_conf *conf, struct core_arena *arena, struct sensors_plan *out,
                                struct core_conf_mistakes *mistakes) {
    MUST(conf != NULL);
    MUST(mistakes != NULL);
    struct sensors_maker maker = {.conf = conf, .arena = arena, .mistakes = mistakes};
    const size_t before = mistakes->len;
    *out = (struct sensors_plan){0};
    seeds_of_conf(&maker);
    if (conf->zeekctl != NULL) {
        zeekctl_read(&maker);
    } else {
        const struct zeekctl_file none = {.path = "", .name = "zeekctl.cfg"};
        zeekctl_settings(&maker, &none); /* what zeekctl has without a word in its file */
    }
    if (mistakes->len == before) {
        names_check(&maker);
    }
    if (mistakes->len == before) {
        plan_fill(&maker, out);
    }
    if (maker.is_full) {
        sensors_mistake(&maker, conf->directory, "the plan needs more than %zu MiB of memory: fewer nodes",
                        arena->cap / CORE_MIB);
        return CORE_LIMIT;
    }
    return mistakes->len == before ? CORE_OK : CORE_BAD;
}

const struct sensors_node *sensors_plan_find(const struct sensors_plan *plan, struct core_span name) {
    for (size_t i = 0; i < plan->nodes_len; i++) {
        if (core_span_is(name, plan->nodes[i].name)) {
            return &plan->nodes[i];
        }
    }
    return NULL;
}

bool sensors_node_is_meant(const struct sensors_node *node, struct core_span word) {
    const char *type = sensor_type_names[node->type];
    struct core_span one = word;
    if (one.len > 1 && one.ptr[one.len - 1] == 's') {
        one.len--;
    }
    bool is_proxies = node->type == SENSOR_PROXY && core_span_is(word, "proxies");
    bool is_zeek = sensor_types[node->type].family == SENSOR_ZEEK && core_span_is(word, "zeek");
    return core_span_is(word, "all") || core_span_is(word, node->name) || is_zeek || is_proxies ||
           (node->spec.group[0] != '\0' && core_span_is(word, node->spec.group)) || core_span_is(word, type) ||
           core_span_is(one, type);
}
