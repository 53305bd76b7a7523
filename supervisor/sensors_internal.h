/* supervisor/sensors_internal.h: between the files of the plan.
 *
 *   sensors_conf.c  section `sensors:`                sensors_types.c  what the types of sensors are
 *   sensors.c       the plan: a process each          sensors_zeek.c   the files that Zeek needs written for it
 *   sensors_scripts.c  have the site's scripts changed?
 *   zeekctl.c       its files, as it reads them       zeekctl_nodes.c  the nodes in them
 *   zeekctl_options.c  what becomes of each option of zeekctl.cfg
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SUPERVISOR_SENSORS_INTERNAL_H
#define TAPLINE_SUPERVISOR_SENSORS_INTERNAL_H

#include "supervisor/sensors.h"

#define SENSORS_PATH_BYTES_MAX 4096
#define SENSORS_WARNINGS_MAX 256
#define SENSORS_RULES_MAX 3 /* of readiness, by type */

/* ---- sensors_types.c ----------------------------------------------------------------------------------------------------- */

enum sensor_family { SENSOR_ZEEK, SENSOR_OTHER_SENSOR, SENSOR_NO_SENSOR };

struct sensor_type_row {
    enum sensor_family family;
    bool needs_interface;
    bool is_in_cluster;                   /* needs CLUSTER_NODE and a layout */
    const char *group;                    /* the word for all of them */
    int64_t order;                        /* of stopping, low first; starting is the other way round */
    const char *ready[SENSORS_RULES_MAX]; /* "@" in front of a path: below its directory */
    int64_t watchdog_ns;
    int64_t stop_timeout_ns;
    const char *capabilities[3]; /* of one that runs as another user than root */
    const char *logs[4];         /* below its directory */
};
extern const struct sensor_type_row sensor_types[SENSOR_TYPE__MAX];

/* ---- what the plan is made with ------------------------------------------------------------------------------------------- */

/* A node before it is a process: an item of sensors.nodes, or a node of node.cfg brought into the same form. */
struct sensors_seed {
    struct sensor_conf conf;
    const char *host;
    const char *zeek_lines; /* Zeek script for this node alone */
    const char *where;      /* "tapline.yml:12:5", "node.cfg:3" */
};

struct sensors_network {
    const char *prefix; /* as Zeek writes it */
    const char *tag;    /* "" for none */
};

/* What holds for all Zeek nodes; from zeekctl.cfg, or what that has without one. */
struct sensors_settings {
    const char *zeek;            /* the program */
    const char *site;            /* directories in front of Zeek's own, with ':' between; "" for none */
    const char *const *scripts;  /* NULL-terminated; of nodes that name none */
    const char *const *prefixes; /* NULL-terminated: -p */
    const char *const *args;     /* NULL-terminated */
    int64_t rotation_s;
    uint64_t port;         /* of the first node */
    uint64_t metrics_port; /* of the first node; 0: none */
    uint64_t memory_max_bytes;
    int64_t stop_timeout_ns;  /* 0: by type */
    const char *zeek_lines;   /* redefs that options of zeekctl.cfg stand for */
    const char *file_extract; /* "" for none */
    const char *time_machine; /* "$ip=…, $p=…", as a node of the layout has it; "" for none */
    bool uses_zeromq;
    struct sensors_network *networks;
    size_t networks_len;
    bool has_networks;
};

/* While a plan is made. A full arena is noticed at the end: what did not fit is "" or NULL meanwhile. */
struct sensors_maker {
    const struct sensors_conf *conf;
    struct core_arena *arena;
    struct core_conf_mistakes *mistakes;
    bool is_full;
    struct sensors_seed *seeds;
    size_t seeds_len;
    struct sensors_settings settings;
    const char **warnings;
    size_t warnings_len;
};

void *sensors_alloc(struct sensors_maker *maker, size_t bytes); /* zeroed; NULL: is_full */
const char *sensors_text(struct sensors_maker *maker, const char *fmt, ...) CORE_PRINTF(2, 3);
char *sensors_copy(struct sensors_maker *maker, struct core_span text);
/* At "node.cfg:12". */
void sensors_mistake(struct sensors_maker *maker, const char *where, const char *fmt, ...) CORE_PRINTF(3, 4);
void sensors_warn(struct sensors_maker *maker, const char *where, const char *fmt, ...) CORE_PRINTF(3, 4);
/* One more node, zeroed, or NULL: too many (told), or the arena is full. */
struct sensors_seed *sensors_seed_add(struct sensors_maker *maker, const char *where);
/* The words of a text, blanks between; quotes as in a shell keep blanks. NULL-terminated. */
const char *const *sensors_words(struct sensors_maker *maker, struct core_span text);
/* What the type says where the node says nothing. is_given NULL: nothing was said. */
void sensor_conf_defaults(struct sensor_conf *conf, bool (*is_given)(const void *ctx, const char *key),
                          const void *ctx);
/* "2", "4-7" to numbers; false: none of these, or too many. */
CORE_CHECKED bool sensors_cpus_read(const struct core_conf_list *list, uint16_t cpus[SUPERVISOR_CPUS_MAX], size_t *len);
CORE_CHECKED bool sensors_name_is_valid(struct core_span name);
/* The interface of the system in it: "af_packet::eth0" is "eth0"; empty: it cannot be told. */
struct core_span sensors_interface_of(struct core_span name);

/* ---- sensors_zeek.c --------------------------------------------------------------------------------------------------------- */

#define SENSORS_SITE_DIR ".site"          /* below sensors.directory: what is generated; no node can have this name */
#define SENSORS_READY_FILE ".initialized" /* in a node's directory: Zeek has run all of zeek_init() */

/* Port that a node of the cluster listens on, and of its telemetry (0: none). */
uint64_t sensors_zeek_port(const struct sensors_maker *maker, size_t seed);
uint64_t sensors_zeek_metrics_port(const struct sensors_maker *maker, size_t seed);
/* What a Zeek node runs: spec.argv, spec.env, check, check_key, and metrics_url if the node names none. */
void sensors_zeek_command(struct sensors_maker *maker, size_t seed, struct sensors_node *node);
/* A text as a string of a Zeek script, with its quotes. */
const char *sensors_zeek_quoted(struct sensors_maker *maker, const char *text);
/* The files, into the plan; and the mistakes of a cluster. */
void sensors_zeek_files(struct sensors_maker *maker, struct sensors_plan *plan);

/* ---- sensors_scripts.c ------------------------------------------------------------------------------------------------------- */

/* Of the scripts in these directories (':' between) and of those that nodes name by path: differs when one has changed. */
uint64_t sensors_scripts_digest(struct sensors_maker *maker, const char *directories);

/* ---- zeekctl*.c --------------------------------------------------------------------------------------------------------------- */

/* Read the three files of conf->zeekctl: settings and seeds. */
void zeekctl_read(struct sensors_maker *maker);

/* One option of a file. */
struct zeekctl_item {
    struct core_span section; /* "" in zeekctl.cfg */
    struct core_span key;     /* in lower case */
    struct core_span value;
    int line;
};
struct zeekctl_file {
    const char *path;
    const char *name; /* for messages: "node.cfg" */
    struct zeekctl_item *items;
    size_t len;
};
/* Text to items. as_ini: sections, as Python's ConfigParser reads them; else lines `key = value`, the last one wins. */
void zeekctl_parse(struct sensors_maker *maker, struct zeekctl_file *file, struct core_span text, bool as_ini);
void zeekctl_parse_networks(struct sensors_maker *maker, const struct zeekctl_file *file, struct core_span text);
void zeekctl_settings(struct sensors_maker *maker, const struct zeekctl_file *file);
void zeekctl_nodes(struct sensors_maker *maker, const struct zeekctl_file *file, const struct zeekctl_file *options);
/* The option's value, or the default that zeekctl has for it, ${…} replaced; empty: none. */
struct core_span zeekctl_option(struct sensors_maker *maker, const struct zeekctl_file *file, const char *key);

#endif
