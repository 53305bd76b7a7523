/* supervisor/sensors.h: which sensors this host has: section `sensors:` of tapline.yml, or zeekctl's own files, and the plan made
 * of them: one supervised process a node, and the files that Zeek needs written for it.
 *
 * A plan is a pure function of the configuration: made twice it is the same, byte for byte, so that "what changed" is a
 * comparison. Nothing here starts or writes anything; supervisor/deploy.c does.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SUPERVISOR_SENSORS_H
#define TAPLINE_SUPERVISOR_SENSORS_H

#include "core/conf.h"
#include "supervisor/supervisor.h"

#define SENSORS_NODES_MAX 256

enum sensor_type {
    SENSOR_STANDALONE, /* Zeek without a cluster; `type: zeek` is another word for it */
    SENSOR_MANAGER,
    SENSOR_LOGGER,
    SENSOR_PROXY,
    SENSOR_WORKER,
    SENSOR_SURICATA,
    SENSOR_SNORT,
    SENSOR_TAPLINE, /* one of our own: run, feed, intel sync */
    SENSOR_PROGRAM, /* any other: needs `command` */
    SENSOR_TYPE__MAX
};
extern const char *const sensor_type_names[SENSOR_TYPE__MAX + 1]; /* NULL-terminated */

/* One item of sensors.nodes. What is not given comes from the type (supervisor/sensors_types.c has the table of types:
 * command line, order, readiness, watchdog, capabilities, stop timeout). */
struct sensor_conf {
    char *name;
    int type;                      /* enum sensor_type */
    char *interface;               /* zeek, suricata, snort */
    struct core_conf_list scripts; /* Zeek scripts to load; default local */
    struct core_conf_list args;    /* appended to the command line of the type */
    struct core_conf_list command; /* replaces it (program, tapline: the arguments) */
    char *user;
    struct core_conf_list groups;
    struct core_conf_list capabilities;
    struct core_conf_list env;    /* pairs */
    struct core_conf_list limits; /* pairs: rlimits */
    struct core_conf_list cpus;   /* "2", "4-7" */
    struct core_conf_list ready;  /* rules, as supervisor.h has them */
    struct core_conf_list logs;   /* globs */
    char *cwd;
    char *group;
    char *umask;
    char *nice;        /* text: -20 … 19 */
    char *metrics_url; /* Zeek's telemetry, for netstats */
    uint64_t order;
    bool has_order;
    uint64_t memory_max_bytes;
    uint64_t cpu_max_percent;
    uint64_t output_bytes_max;
    int64_t ready_timeout_ns;
    int64_t settle_ns;
    int64_t watchdog_ns;
    int64_t stop_timeout_ns;
    int restart; /* enum supervisor_policy */
    int64_t restart_delay_min_ns;
    int64_t restart_delay_max_ns;
    uint64_t restart_deaths_max;
    int64_t restart_deaths_within_ns;
    const struct core_conf_node *node; /* where it stands in the file */
};

/* Section `sensors:`. */
struct sensors_conf {
    char *directory; /* a working directory for each node below it; default /var/lib/tapline/sensors */
    char *zeekctl;   /* directory of node.cfg, networks.cfg, zeekctl.cfg; NULL: not used */
    char *zeek;    /* the program; NULL: zeekctl's, else the first zeek in PATH, /opt/zeek/bin or /usr/local/zeek/bin */
    char *site;    /* directory of local.zeek, first in ZEEKPATH; NULL: zeekctl's SitePolicyScripts, else Zeek's own */
    char *archive; /* where rotated Zeek logs go; default <directory>/../archive */
    char *user;    /* of nodes that do not say; NULL: as the Supervisor */
    struct sensor_conf *nodes;
    size_t nodes_len;
    const struct core_conf_file *file;
    const struct core_conf_node *node;
};
extern const struct core_opt sensors_opts[]; /* without nodes */
extern const size_t sensors_opts_len;
extern const struct core_opt sensor_opts[]; /* of an item of nodes */
extern const size_t sensor_opts_len;
/* Fill conf from the section. All mistakes are collected. Owns: sensors_conf_release(), also after CORE_BAD. */
CORE_CHECKED enum core_err sensors_conf_bind(const struct core_conf_file *file, const struct core_conf_node *node,
                                             struct sensors_conf *conf, struct core_conf_mistakes *mistakes);
void sensors_conf_release(struct sensors_conf *conf);

/* ---- the plan ------------------------------------------------------------------------------------------------------------ */

struct sensors_node {
    const char *name;
    enum sensor_type type;
    const char *host;        /* as configured: "localhost" */
    const char *interface;   /* "" for none */
    const char *directory;   /* its working directory */
    const char *metrics_url; /* "" for none */
    const char *check
        [SUPERVISOR_ARGS_MAX]; /* argv that checks its scripts or rules (zeek -a …, suricata -T …); [0] NULL: none */
    const char *check_key;     /* nodes with the same one are checked by one run */
    struct supervisor_spec spec;
    struct core_span spec_json; /* as supervisor_spec_write() has it */
};
struct sensors_file { /* to be written before the nodes start */
    const char *path;
    struct core_span content;
    const char *nodes; /* names of those it is for, blanks between; "*": all Zeek ones */
};
struct sensors_plan {
    struct sensors_node *nodes;
    size_t nodes_len;
    struct sensors_file *files;
    size_t files_len;
    const char *const *warnings; /* what zeekctl's files say and nothing is done about, "node.cfg:12: …" */
    size_t warnings_len;
};
/* Make the plan: reads zeekctl's files if conf says so (both sources together are fine while no name stands twice).
 * Owns: everything lies in the arena. Errors: CORE_BAD, all mistakes collected ("node.cfg:12: …") · CORE_LIMIT. */
CORE_CHECKED enum core_err sensors_plan_make(const struct sensors_conf *conf, struct core_arena *arena,
                                             struct sensors_plan *out, struct core_conf_mistakes *mistakes);
/* The node of that name, or NULL. */
const struct sensors_node *sensors_plan_find(const struct sensors_plan *plan, struct core_span name);
/* Does this word of a command line mean the node: its name, its group, its type ("workers" and "worker"), "all", "zeek"? */
bool sensors_node_is_meant(const struct sensors_node *node, struct core_span word);

#endif
