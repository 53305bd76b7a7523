/* cmd/config.h: the whole of tapline.yml as one read-only struct. SIGHUP builds a new one and swaps it whole.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_CONFIG_H
#define TAPLINE_CMD_CONFIG_H

#include "cmd/config_intel.h"
#include "cmd/config_setup.h"
#include "core/conf.h"
#include "core/health.h"
#include "ingest/feed.h"
#include "ingest/ingest.h"
#include "normalize/normalize.h"
#include "sinks/sink.h"
#include "supervisor/serve.h"

#define CONFIG_SINKS_MAX 8

struct config_node {
    char *name;  /* default: the host's name */
    char *state; /* default: /var/lib/tapline */
};

struct config_pipeline {
    uint64_t batches;        /* how many there are in all; default 16 */
    int64_t stop_timeout_ns; /* after SIGTERM, how long to wait for the sinks; default 30s */
};

struct config_log {
    int level;  /* enum core_level; default info */
    int format; /* enum core_log_format; default logfmt */
};

struct config_sink {
    const struct sink_ops *ops;
    void *conf; /* ops->conf_size bytes */
    const struct core_conf_node *node;
};

struct config {
    struct core_conf_file *file;
    struct config_node node;
    struct ingest_input *inputs;
    size_t inputs_len;
    struct ingest_conf ingest;
    struct ingest_spool_conf spool;
    struct normalize_conf normalize;
    struct config_pipeline pipeline;
    struct config_log log;
    struct config_sink sinks[CONFIG_SINKS_MAX]; /* in the order in which a batch passes them */
    size_t sinks_len;
    struct config_intel intel;
    struct feed_conf feed;
    bool has_feed;                  /* the file has the section; else feed is empty */
    struct core_health_conf health; /* is_on: the file has the section */
    struct setup_conf setup;
    struct kibana_conf kibana;   /* url NULL: the file has not the section */
    struct serve_conf serve;     /* of CONFIG_SERVE and CONFIG_ANY; else empty: nobody else reads its secrets */
    struct sensors_conf sensors; /* the same */
};

/* A section of the file, for `config show`, `reference` and docs. */
struct config_section {
    const char *name; /* "node", "inputs[]", "ingest", "sinks.kafka" … */
    const char *summary;
    const struct core_opt *opts;
    size_t opts_len;
};
/* All sections, sinks included. Shape: *len rows, static for the process. */
const struct config_section *config_sections(size_t *len);

/* Read and check a file, its maps excluded. Never touches the world beyond the file and @/path secrets. All mistakes
 * are collected. Errors: CORE_BAD; CORE_IO if the file cannot be read. Owns: config_free(*out). */
CORE_CHECKED enum core_err config_load(struct config **out, const char *path, struct core_conf_mistakes *mistakes);
/* The same, but a file with `intel` and neither inputs nor sinks is whole, too: inputs_len and sinks_len are 0 then. */
CORE_CHECKED enum core_err config_load_any(struct config **out, const char *path, struct core_conf_mistakes *mistakes);
/* What a command needs of a file. Sections that it does not need may be there: one file can be for several commands. */
enum config_wants {
    CONFIG_RUN, /* inputs and sinks */
    CONFIG_ANY, /* whatever makes a whole of any command: nothing but intel, no inputs beside feed or kibana, or sensors */
    CONFIG_FEED,  /* feed, and sinks of which none keeps positions; inputs are not looked at */
    CONFIG_SETUP, /* one at least of feed, sinks, kibana; inputs are not looked at */
    CONFIG_SERVE, /* sensors; what has secrets of others (feed, kibana, intel, sinks) is not looked at, nor are inputs */
};
CORE_CHECKED enum core_err config_load_for(struct config **out, const char *path, enum config_wants wants,
                                           struct core_conf_mistakes *mistakes);
void config_free(struct config *config); /* takes NULL */
/* The keeper of positions (core/commit.h) goes behind the other sinks, whose order stays: a commit then implies that they
 * have accepted what it holds. Returns whether there is one. More than one is our bug. */
bool config_sinks_order(struct config *config);
/* Is one of the sinks stdout, so that a summary there would mix with documents? */
bool config_writes_to_stdout(const struct config *config);
/* May `next` replace `now` without a restart? Else the first key that differs, e.g. "node.state". */
bool config_can_swap(const struct config *now, const struct config *next, const char **key);

#endif
