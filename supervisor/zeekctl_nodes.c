/* supervisor/zeekctl_nodes.c: the nodes of zeekctl's node.cfg, brought into the form that nodes of tapline.yml have.
 *
 * A worker with lb_procs becomes so many workers, named as zeekctl names them (worker-1-1, worker-1-2 …), each with its CPU of
 * pin_cpus and what its lb_method needs: a prefix of the interface, variables of its environment, or an interface of its own.
 * Everything has to be on this host; a node of another one is a mistake, and says so.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/sensors_internal.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <limits.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define DIGITS_MAX 6
#define HOST_BYTES 256

struct nodes {
    struct sensors_maker *maker;
    const struct zeekctl_file *file;
    const struct zeekctl_file *options;
    size_t first;              /* of our seeds */
    size_t pf_ring_instance;   /* of a card's queue: the next one */
    size_t pf_ring_interfaces; /* that have a number */
};

/* A section while it is read. */
struct node {
    struct nodes *nodes;
    struct core_span name;
    const char *where; /* of the section's line */
    enum sensor_type type;
    const char *interface;
    const char *method; /* of load balancing; "" for none */
    const char *const *interfaces;
    size_t interfaces_len;
    size_t processes; /* 0: it is one, with the name of the section */
};

/* ---- values -------------------------------------------------------------------------------------------------------------- */

/* Of the section, else of [DEFAULT]; NULL: there is none, or it is empty. '.' and '_' are the same in a key. */
static const struct zeekctl_item *item_find(const struct node *node, const char *key) {
    const struct zeekctl_item *fallback = NULL;
    for (size_t i = 0; i < node->nodes->file->len; i++) {
        const struct zeekctl_item *item = &node->nodes->file->items[i];
        bool is_it = item->key.len > 0 && item->key.len == strlen(key) && item->value.len > 0;
        for (size_t k = 0; k < item->key.len && is_it; k++) {
            is_it = key[k] == item->key.ptr[k] || (key[k] == '_' && item->key.ptr[k] == '.');
        }
        if (is_it && core_span_eq(item->section, node->name)) {
            return item;
        }
        fallback = is_it && core_span_is(item->section, "DEFAULT") ? item : fallback;
    }
    return fallback;
}

static const char *value_of(const struct node *node, const char *key) {
    const struct zeekctl_item *item = item_find(node, key);
    const char *text = item == NULL ? "" : sensors_copy(node->nodes->maker, item->value);
    return text == NULL ? "" : text;
}

static const char *place_of(const struct node *node, const char *key) {
    const struct zeekctl_item *item = item_find(node, key);
    return item == NULL ? node->where : sensors_text(node->nodes->maker, "%s:%d", node->nodes->file->name, item->line);
}

static bool number_read(const char *text, size_t max, size_t *out) {
    size_t number = 0;
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        if (!core_is_digit(text[i]) || len > DIGITS_MAX) {
            return false;
        }
        number = number * 10 + (size_t)(text[i] - '0');
    }
    *out = number;
    return len > 0 && number <= max;
}

/* The words between commas, blanks around them taken away. NULL-terminated. */
static const char *const *commas(struct sensors_maker *maker, const char *text, size_t *len) {
    const char **words = sensors_alloc(maker, (strlen(text) + 2) * sizeof(*words));
    *len = 0;
    while (words != NULL && *text != '\0') {
        size_t part = strcspn(text, ",");
        struct core_span word = core_span_trim((struct core_span){text, part});
        if (word.len > 0) {
            words[(*len)++] = sensors_copy(maker, word);
        }
        text += part + (text[part] == ',' ? 1 : 0);
    }
    return words;
}

static void list_add(struct sensors_maker *maker, struct core_conf_list *list, const char *key, const char *value) {
    struct core_conf_item *items = sensors_alloc(maker, (list->len + 1) * sizeof(*items));
    if (items == NULL) {
        return;
    }
    if (list->len > 0) {
        memcpy(items, list->items, list->len * sizeof(*items));
    }
    items[list->len].key = key == NULL ? NULL : sensors_copy(maker, core_span_of(key));
    items[list->len].value = sensors_copy(maker, core_span_of(value));
    list->items = items;
    list->len++;
}

static const char *env_find(const struct core_conf_list *env, const char *key) {
    for (size_t i = 0; i < env->len; i++) {
        if (strcmp(env->items[i].key, key) == 0) {
            return env->items[i].value;
        }
    }
    return NULL;
}

/* What is there already stays. */
static void env_default(struct sensors_maker *maker, struct core_conf_list *env, const char *key, const char *value) {
    if (env_find(env, key) == NULL) {
        list_add(maker, env, key, value);
    }
}

/* "A=1, B=2". */
static void env_read(struct sensors_maker *maker, struct core_conf_list *env, const char *where, const char *text) {
    size_t len = 0;
    const char *const *pairs = commas(maker, text, &len);
    for (size_t i = 0; pairs != NULL && i < len; i++) {
        struct core_span pair = core_span_of(pairs[i] == NULL ? "" : pairs[i]);
        const char *sign = core_span_chr(pair, '=');
        struct core_span key =
            core_span_trim((struct core_span){pair.ptr, sign == NULL ? 0 : (size_t)(sign - pair.ptr)});
        if (key.len == 0) {
            sensors_mistake(maker, where, "env_vars: \"%s\" is no NAME=VALUE; several have commas between", pair.ptr);
            continue;
        }
        const char *name = sensors_copy(maker, key);
        const char *value = sensors_copy(maker, core_span_trim(core_span_of(sign + 1)));
        if (name != NULL && value != NULL) {
            env_default(maker, env, name, value);
        }
    }
}

/* ---- hosts ---------------------------------------------------------------------------------------------------------------- */

static bool address_is_ours(const char *host) {
    struct in_addr ip4;
    struct in6_addr ip6;
    struct ifaddrs *list = NULL;
    bool is_ours = false;
    bool is_ip4 = inet_pton(AF_INET, host, &ip4) == 1;
    bool is_ip6 = !is_ip4 && inet_pton(AF_INET6, host, &ip6) == 1;
    if ((is_ip4 && (ntohl(ip4.s_addr) >> 24) == IN_LOOPBACKNET) || (is_ip6 && IN6_IS_ADDR_LOOPBACK(&ip6))) {
        return true;
    }
    if ((!is_ip4 && !is_ip6) || getifaddrs(&list) != 0) {
        return false;
    }
    for (const struct ifaddrs *at = list; at != NULL && !is_ours; at = at->ifa_next) {
        if (at->ifa_addr != NULL && is_ip4 && at->ifa_addr->sa_family == AF_INET) {
            const struct sockaddr_in *in = (const void *)at->ifa_addr;
            is_ours = in->sin_addr.s_addr == ip4.s_addr;
        } else if (at->ifa_addr != NULL && is_ip6 && at->ifa_addr->sa_family == AF_INET6) {
            const struct sockaddr_in6 *in = (const void *)at->ifa_addr;
            is_ours = memcmp(&in->sin6_addr, &ip6, sizeof(ip6)) == 0;
        }
    }
    freeifaddrs(list);
    return is_ours;
}

/* This machine by name, with or without its domain, or by address. No name server is asked: Main must not wait for one. */
static bool host_is_ours(const char *host) {
    char name[HOST_BYTES] = "";
    if (strcasecmp(host, "localhost") == 0 || address_is_ours(host)) {
        return true;
    }
    (void)gethostname(name, sizeof(name) - 1);
    size_t len = strcspn(host, ".");
    bool is_short = host[len] == '\0' || strchr(name, '.') == NULL;
    return name[0] != '\0' && (strcasecmp(host, name) == 0 ||
                               (is_short && len == strcspn(name, ".") && strncasecmp(host, name, len) == 0));
}

/* ---- load balancing --------------------------------------------------------------------------------------------------------- */

/* Workers on one interface share a number; the first interface has PFRINGClusterID. */
static const char *pf_ring_cluster(const struct node *node) {
    struct nodes *nodes = node->nodes;
    struct sensors_maker *maker = nodes->maker;
    struct core_span text = zeekctl_option(maker, nodes->options, "PFRINGClusterID");
    size_t number = 0;
    for (size_t i = nodes->first; i + 1 < maker->seeds_len; i++) {
        const struct sensor_conf *other = &maker->seeds[i].conf;
        const char *known = env_find(&other->env, "PCAP_PF_RING_CLUSTER_ID");
        if (known != NULL && other->interface != NULL && strcmp(other->interface, node->interface) == 0) {
            return known;
        }
    }
    if (!number_read(sensors_text(maker, "%.*s", (int)text.len, text.len > 0 ? text.ptr : ""), UINT16_MAX, &number)) {
        sensors_mistake(maker, node->where, "PFRINGClusterID of zeekctl.cfg is no number");
    }
    return sensors_text(maker, "%zu", number + nodes->pf_ring_interfaces++);
}

static void pf_ring_set(const struct node *node, struct sensor_conf *conf) {
    static const struct {
        const char *type;
        const char *variable;
    } types[] = {
        {"2-tuple", "PCAP_PF_RING_USE_CLUSTER_PER_FLOW_2_TUPLE"},
        {"4-tuple", "PCAP_PF_RING_USE_CLUSTER_PER_FLOW_4_TUPLE"},
        {"5-tuple", "PCAP_PF_RING_USE_CLUSTER_PER_FLOW_5_TUPLE"},
        {"tcp-5-tuple", "PCAP_PF_RING_USE_CLUSTER_PER_FLOW_TCP_5_TUPLE"},
        {"6-tuple", "PCAP_PF_RING_USE_CLUSTER_PER_FLOW"},
        {"inner-2-tuple", "PCAP_PF_RING_USE_CLUSTER_PER_INNER_FLOW_2_TUPLE"},
        {"inner-4-tuple", "PCAP_PF_RING_USE_CLUSTER_PER_INNER_FLOW_4_TUPLE"},
        {"inner-5-tuple", "PCAP_PF_RING_USE_CLUSTER_PER_INNER_FLOW_5_TUPLE"},
        {"inner-tcp-5-tuple", "PCAP_PF_RING_USE_CLUSTER_PER_INNER_FLOW_TCP_5_TUPLE"},
        {"inner-6-tuple", "PCAP_PF_RING_USE_CLUSTER_PER_INNER_FLOW"},
    };
    struct nodes *nodes = node->nodes;
    struct sensors_maker *maker = nodes->maker;
    struct core_span type = zeekctl_option(maker, nodes->options, "PFRINGClusterType");
    if (core_span_is(zeekctl_option(maker, nodes->options, "PFRINGClusterID"), "0")) {
        return; /* PF_RING is not wanted */
    }
    bool is_known = false;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (core_span_is(type, types[i].type)) {
            env_default(maker, &conf->env, types[i].variable, "1");
            is_known = true;
        }
    }
    if (!is_known) {
        sensors_mistake(maker, node->where, "PFRINGClusterType of zeekctl.cfg: \"%.*s\" is not known", (int)type.len,
                        type.ptr);
    }
    bool is_zc = strncmp(node->interface, "zc:", 3) == 0 || strncmp(node->interface, "pf_ring::zc:", 12) == 0;
    if (is_zc) { /* a queue of the card each */
        env_default(maker, &conf->env, "PCAP_PF_RING_ZC_RSS", "1");
        conf->interface = (char *)sensors_text(maker, "%s@%zu", node->interface, nodes->pf_ring_instance++);
    } else {
        env_default(maker, &conf->env, "PCAP_PF_RING_CLUSTER_ID", pf_ring_cluster(node));
    }
    env_default(maker, &conf->env, "PCAP_PF_RING_APPNAME", sensors_text(maker, "zeek-%s", conf->interface));
}

static void af_packet_set(const struct node *node, struct sensors_seed *seed) {
    static const char *const keys[] = {"fanout_id", "fanout_mode", "buffer_size"};
    struct sensors_maker *maker = node->nodes->maker;
    if (strncmp(node->interface, "af_packet::", 11) == 0) {
        sensors_mistake(maker, place_of(node, "interface"),
                        "interface: with lb_method=af_packet it is written without "
                        "af_packet::");
    }
    seed->conf.interface = (char *)sensors_text(maker, "af_packet::%s", node->interface);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const char *value = value_of(node, sensors_text(maker, "af_packet_%s", keys[i]));
        if (value[0] != '\0') {
            seed->zeek_lines = sensors_text(maker, "%sredef AF_Packet::%s = %s;\n", seed->zeek_lines, keys[i], value);
        }
    }
}

/* What the method needs of worker i. */
static void method_set(const struct node *node, size_t i, struct sensors_seed *seed) {
    struct sensors_maker *maker = node->nodes->maker;
    if (strcmp(node->method, "af_packet") == 0) {
        af_packet_set(node, seed);
    } else if (strcmp(node->method, "pf_ring") == 0) {
        pf_ring_set(node, &seed->conf);
    } else if (strcmp(node->method, "myricom") == 0) {
        env_default(maker, &seed->conf.env, "SNF_NUM_RINGS", sensors_text(maker, "%zu", node->processes));
        env_default(maker, &seed->conf.env, "SNF_FLAGS", "0x101");
    } else if (strcmp(node->method, "custom") == 0) {
        struct core_span prefix = zeekctl_option(maker, node->nodes->options, "lb_custom.InterfacePrefix");
        struct core_span suffix = zeekctl_option(maker, node->nodes->options, "lb_custom.InterfaceSuffix");
        seed->conf.interface = (char *)sensors_text(maker, "%.*s%s%.*s", (int)prefix.len, prefix.ptr, node->interface,
                                                    (int)suffix.len, suffix.ptr);
    } else if (node->interfaces != NULL && i < node->interfaces_len) {
        /* zeekctl takes them from the end. */
        seed->conf.interface = (char *)sensors_text(maker, "%s", node->interfaces[node->interfaces_len - 1 - i]);
    }
}

/* False: a mistake, told. */
static bool balance_read(struct node *node) {
    static const char *const methods[] = {"af_packet", "pf_ring", "myricom", "custom", "interfaces"};
    struct sensors_maker *maker = node->nodes->maker;
    const char *count = value_of(node, "lb_procs");
    bool is_known = false;
    node->method = value_of(node, "lb_method");
    if (count[0] == '\0') {
        if (node->method[0] != '\0') {
            sensors_mistake(maker, place_of(node, "lb_method"), "lb_method needs lb_procs: how many workers there are");
        }
        return node->method[0] == '\0';
    }
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        is_known = is_known || strcmp(node->method, methods[i]) == 0;
    }
    if (!is_known) {
        sensors_mistake(maker, place_of(node, "lb_method"),
                        "lb_method: \"%s\" is none of af_packet, pf_ring, myricom, custom, interfaces", node->method);
        return false;
    }
    if (node->type != SENSOR_WORKER) {
        sensors_mistake(maker, place_of(node, "lb_procs"), "lb_procs is for workers only");
        return false;
    }
    if (!number_read(count, SENSORS_NODES_MAX, &node->processes) || node->processes == 0) {
        sensors_mistake(maker, place_of(node, "lb_procs"), "lb_procs: \"%s\" is no number from 1 to %d", count,
                        SENSORS_NODES_MAX);
        return false;
    }
    if (strcmp(node->method, "interfaces") == 0) {
        node->interfaces = commas(maker, value_of(node, "lb_interfaces"), &node->interfaces_len);
        if (node->interfaces_len != node->processes) {
            sensors_mistake(maker, place_of(node, "lb_interfaces"), "lb_interfaces has %zu names for %zu workers",
                            node->interfaces_len, node->processes);
            return false;
        }
    }
    return true;
}

/* ---- nodes ---------------------------------------------------------------------------------------------------------------------- */

/* What nodes of tapline.yml have where they say nothing. */
static void conf_defaults(const struct sensors_settings *settings, struct sensor_conf *conf) {
    struct supervisor_spec spec;
    supervisor_spec_init(&spec);
    sensor_conf_defaults(conf, NULL, NULL);
    conf->output_bytes_max = spec.output.bytes_max;
    conf->ready_timeout_ns = spec.ready.timeout_ns;
    conf->settle_ns = spec.settle_ns;
    conf->restart = (int)spec.restart.policy;
    conf->restart_delay_min_ns = spec.restart.delay_min_ns;
    conf->restart_delay_max_ns = spec.restart.delay_max_ns;
    conf->restart_deaths_max = spec.restart.deaths_max;
    conf->restart_deaths_within_ns = spec.restart.deaths_within_ns;
    conf->memory_max_bytes = settings->memory_max_bytes;
    conf->stop_timeout_ns = settings->stop_timeout_ns > 0 ? settings->stop_timeout_ns : conf->stop_timeout_ns;
}

/* CPU of worker i, from pin_cpus; too few are used again. */
static void cpu_set(const struct node *node, size_t i, struct sensor_conf *conf) {
    struct sensors_maker *maker = node->nodes->maker;
    size_t len = 0;
    size_t cpu = 0;
    const char *const *cpus = commas(maker, value_of(node, "pin_cpus"), &len);
    if (cpus == NULL || len == 0) {
        return;
    }
    const char *one = cpus[i % len];
    if (one == NULL || !number_read(one, SUPERVISOR_CPUS_MAX - 1, &cpu)) {
        sensors_mistake(maker, place_of(node, "pin_cpus"), "pin_cpus: numbers below %d with commas between are wanted",
                        SUPERVISOR_CPUS_MAX);
        return;
    }
    list_add(maker, &conf->cpus, NULL, one);
}

/* The scripts that all load, and the node's own behind them. */
static void scripts_set(const struct node *node, struct sensor_conf *conf) {
    struct sensors_maker *maker = node->nodes->maker;
    const char *const *all = maker->settings.scripts;
    const char *own = value_of(node, "aux_scripts");
    const char *const *words = own[0] == '\0' ? NULL : sensors_words(maker, core_span_of(own));
    if (words == NULL) {
        return;
    }
    for (size_t i = 0; all != NULL && all[i] != NULL; i++) {
        list_add(maker, &conf->scripts, NULL, all[i]);
    }
    for (size_t i = 0; words[i] != NULL; i++) {
        list_add(maker, &conf->scripts, NULL, words[i]);
    }
}

static void seed_make(const struct node *node, size_t i, const char *host) {
    struct sensors_maker *maker = node->nodes->maker;
    struct sensors_seed *seed = sensors_seed_add(maker, node->where);
    if (seed == NULL) {
        return;
    }
    seed->host = host;
    seed->conf.type = (int)node->type;
    seed->conf.name = node->processes == 0 ? sensors_copy(maker, node->name)
                                           : (char *)sensors_text(maker, "%s-%zu", node->name.ptr, i + 1);
    seed->conf.interface = node->interface[0] == '\0' ? NULL : (char *)sensors_text(maker, "%s", node->interface);
    conf_defaults(&maker->settings, &seed->conf);
    scripts_set(node, &seed->conf);
    env_read(maker, &seed->conf.env, place_of(node, "env_vars"), value_of(node, "env_vars"));
    struct core_span all = zeekctl_option(maker, node->nodes->options, "Env_Vars");
    env_read(maker, &seed->conf.env, "zeekctl.cfg",
             sensors_text(maker, "%.*s", (int)all.len, all.len > 0 ? all.ptr : ""));
    cpu_set(node, i, &seed->conf);
    if (node->processes > 0) {
        method_set(node, i, seed);
    }
    if (sensor_types[node->type].needs_interface && seed->conf.interface == NULL) {
        sensors_mistake(maker, node->where, "node %s: a %s needs an interface", seed->conf.name,
                        sensor_type_names[node->type]);
    }
    if (seed->conf.name != NULL && !sensors_name_is_valid(core_span_of(seed->conf.name))) {
        sensors_mistake(maker, node->where,
                        "\"%s\" cannot be a node's name: letters, digits, '-', '_' and '.', beginning with a letter or "
                        "digit, at most %d",
                        seed->conf.name, SUPERVISOR_NAME_BYTES_MAX);
    }
}

/* Keys that nobody knows, or that change nothing. */
static void keys_tell(const struct node *node) {
    static const char *const known[] = {"type",
                                        "host",
                                        "interface",
                                        "lb_procs",
                                        "lb_method",
                                        "lb_interfaces",
                                        "pin_cpus",
                                        "env_vars",
                                        "aux_scripts",
                                        "af_packet_fanout_id",
                                        "af_packet_fanout_mode",
                                        "af_packet_buffer_size"};
    static const struct {
        const char *key;
        const char *why;
    } idle[] = {{"zone_id", "nodes of one host find each other at 127.0.0.1"},
                {"zeekbase", "there is one Zeek: sensors.zeek"},
                {"ether", "zeekctl does nothing with it either"},
                {"count", "it is counted"}};
    struct sensors_maker *maker = node->nodes->maker;
    for (size_t i = 0; i < node->nodes->file->len; i++) {
        const struct zeekctl_item *item = &node->nodes->file->items[i];
        bool is_known = item->key.len == 0 || !core_span_eq(item->section, node->name);
        const char *where = sensors_text(maker, "%s:%d", node->nodes->file->name, item->line);
        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]) && !is_known; k++) {
            is_known = item_find(node, known[k]) == item || core_span_is(item->key, known[k]);
        }
        for (size_t k = 0; k < sizeof(idle) / sizeof(idle[0]) && !is_known; k++) {
            if (core_span_is(item->key, idle[k].key)) {
                is_known = true;
                sensors_warn(maker, where, "%s has no effect: %s", idle[k].key, idle[k].why);
            }
        }
        if (!is_known) {
            sensors_warn(maker, where, "%s is not known; it is ignored, as zeekctl does", item->key.ptr);
        }
    }
}

static bool type_read(struct node *node) {
    const char *type = value_of(node, "type");
    for (int i = SENSOR_STANDALONE; i <= SENSOR_WORKER; i++) {
        if (strcmp(type, sensor_type_names[i]) == 0) {
            node->type = (enum sensor_type)i;
            return true;
        }
    }
    sensors_mistake(node->nodes->maker, place_of(node, "type"),
                    "node %s: type is one of standalone, manager, logger, proxy, worker, not \"%s\"", node->name.ptr,
                    type);
    return false;
}

static void section_read(struct nodes *nodes, const struct zeekctl_item *head) {
    struct node node = {.nodes = nodes,
                        .name = head->section,
                        .where = sensors_text(nodes->maker, "%s:%d", nodes->file->name, head->line)};
    keys_tell(&node);
    bool has_type = type_read(&node);
    const char *host = value_of(&node, "host");
    if (host[0] == '\0') {
        sensors_mistake(nodes->maker, node.where, "node %s: host is missing; write host=localhost", node.name.ptr);
        return;
    }
    if (!host_is_ours(host)) {
        sensors_mistake(
            nodes->maker, place_of(&node, "host"),
            "node %s: \"%s\" is not this machine. tapline runs the sensors of the host it is on: start it there "
            "with the nodes of that host, or write localhost if it is this one by another name",
            node.name.ptr, host);
        return;
    }
    node.interface = value_of(&node, "interface");
    if (!has_type || !balance_read(&node)) {
        return;
    }
    for (size_t i = 0; i < (node.processes == 0 ? 1 : node.processes); i++) {
        seed_make(&node, i, host);
    }
}

/* A node's name is a directory, and on some file systems A is a. */
static void names_check(const struct nodes *nodes) {
    const struct sensors_maker *maker = nodes->maker;
    for (size_t i = nodes->first; i < maker->seeds_len; i++) {
        for (size_t k = nodes->first; k < i; k++) {
            const char *name = maker->seeds[i].conf.name;
            const char *other = maker->seeds[k].conf.name;
            if (name != NULL && other != NULL && strcmp(name, other) != 0 && strcasecmp(name, other) == 0) {
                sensors_mistake(nodes->maker, maker->seeds[i].where,
                                "node %s and %s at %s have one name but for capitals", name, other,
                                maker->seeds[k].where);
            }
        }
    }
}

void zeekctl_nodes(struct sensors_maker *maker, const struct zeekctl_file *file, const struct zeekctl_file *options) {
    struct nodes nodes = {.maker = maker, .file = file, .options = options, .first = maker->seeds_len};
    bool has_workers = false;
    bool has_proxies = false;
    size_t instance = 0;
    struct core_span first = zeekctl_option(maker, options, "PFRINGFirstAppInstance");
    MUST(file != NULL);
    if (number_read(sensors_text(maker, "%.*s", (int)first.len, first.len > 0 ? first.ptr : ""), UINT16_MAX,
                    &instance)) {
        nodes.pf_ring_instance = instance;
    }
    for (size_t i = 0; i < file->len; i++) {
        if (file->items[i].key.len == 0 && !core_span_is(file->items[i].section, "DEFAULT")) {
            section_read(&nodes, &file->items[i]);
        }
    }
    for (size_t i = nodes.first; i < maker->seeds_len; i++) {
        has_workers = has_workers || maker->seeds[i].conf.type == SENSOR_WORKER;
        has_proxies = has_proxies || maker->seeds[i].conf.type == SENSOR_PROXY;
    }
    if (has_workers && !has_proxies) {
        sensors_warn(maker, file->name,
                     "there is no node of type proxy: zeekctl demands one, and some of Zeek's scripts "
                     "(known hosts, known services) do nothing without");
    }
    names_check(&nodes);
}
