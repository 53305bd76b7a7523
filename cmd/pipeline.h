/* cmd/pipeline.h: `tapline run` and `tapline feed` as a whole: the threads, the queues between them, how they stop, how they
 * reload. The two differ in their source (cmd/pipeline_source.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_PIPELINE_H
#define TAPLINE_CMD_PIPELINE_H

#include "cmd/config.h"

/* Where batches come from. RUN: files, by workers and intelligence. FEED: documents in Kafka, straight to the sinks. */
enum pipeline_kind { PIPELINE_RUN, PIPELINE_FEED };

struct pipeline_options {
    enum pipeline_kind kind;
    const char *config_path; /* read again by SIGHUP; outlives the pipeline */
    bool is_once;            /* read to the end of what is there, wait until all is accepted, end */
    bool shows_progress;     /* a line on stderr that is written over twice a second */
};

/* Events the last sink accepted, dead letters under "tapline.deadletter". */
struct pipeline_dataset {
    char name[128];
    uint64_t events;
    uint64_t pending; /* delivered in a transaction that was not committed: not accepted, and not in events */
    int capture;      /* enum pipeline_capture_kind: its documents are a sensor's counts of packets */
};

struct pipeline_report {
    const struct config *config;
    const struct core_counters *counters;
    const struct normalize_maps *maps;       /* for what their rules dropped; NULL: a feeder has none */
    const struct feed_summary *feed;         /* what was committed; NULL: it is no feeder */
    const struct enrich_status *intel;       /* as it was at the end; NULL: none in the config */
    int64_t intel_waited_ns;                 /* for how long the first events waited for it */
    const struct pipeline_dataset *datasets; /* most events first */
    size_t datasets_len;
    uint64_t events;      /* the sum of datasets */
    uint64_t outstanding; /* batches read and not accepted when it ended */
    int64_t elapsed_ns;
};

struct pipeline;

/* Lock the state directory, read the maps and the checkpoint, open the sinks. No thread of ours runs yet.
 * Owns: takes config, also when it fails.
 * Errors: CORE_LOCKED another process has the state directory (fail names its pid) · CORE_BAD a map or the checkpoint is
 * wrong (maps: every mistake is in mistakes) · CORE_IO · CORE_NET.
 * Thread: main, before any other exists: it blocks the signals that pipeline_run() waits for. */
CORE_CHECKED enum core_err pipeline_open(struct pipeline **out, struct config *config,
                                         const struct pipeline_options *options, struct core_conf_mistakes *mistakes,
                                         struct core_fail *fail);
/* Run until SIGTERM or SIGINT, or with is_once until all is accepted. Returns with every thread ended and the last
 * checkpoint written. Errors: what ended a thread; said in the log before. pipeline_exit() has the exit code for it.
 * Exits the process with 0 itself on a second SIGTERM, and when a sink does not let go after stop_timeout. */
CORE_CHECKED enum core_err pipeline_run(struct pipeline *pipeline, struct core_fail *fail);
/* Valid until pipeline_close(). After pipeline_run(). */
void pipeline_report(const struct pipeline *pipeline, struct pipeline_report *report);
void pipeline_close(struct pipeline *pipeline); /* takes NULL */
/* "ready", "unavailable" … Static. */
const char *pipeline_intel_word(enum enrich_state state);

/* What the process ends with. The caller's config, or another that holds the state or the node: CORE_EXIT_USAGE, a restart
 * would not help. The world failed: CORE_EXIT_SYSTEM. */
enum core_exit pipeline_exit(enum core_err err);

#endif
