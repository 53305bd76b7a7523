/* enrich/lookback_internal.h: looking back at what was seen before somebody knew what it is.
 *
 *   lookback.c  the thread: tables become segments, new indicators are looked for in them
 *   retro.c     new indicators, and the events that tell what they name
 *   own_log.c   a log of our own, which tapline reads as it reads others
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_LOOKBACK_INTERNAL_H
#define TAPLINE_ENRICH_LOOKBACK_INTERNAL_H

#include "enrich/match_internal.h"
#include "enrich/seen_internal.h"

/* ---- a log of our own --------------------------------------------------------------------------------------------------------- */

#define OWN_LOG_BYTES_MAX ((uint64_t)16 * CORE_MIB) /* then it is renamed to .1, .1 to .2 …; */
#define OWN_LOG_KEPT 3                              /* .3 goes */
#define OWN_LOG_BUF_BYTES ((size_t)CORE_MIB)        /* gathered, then written; a line is shorter */

struct own_log;
/* Make or find <dir>/<name>.log. A line that a crash cut is cut off. What the log and its older files have is known again.
 * Errors: CORE_IO. Owns: own_log_close(*out). */
CORE_CHECKED enum core_err own_log_open(struct own_log **out, const char *dir, const char *name,
                                        struct core_fail *fail);
void own_log_close(struct own_log *log); /* takes NULL */
/* Is there a line of this id? */
bool own_log_has(const struct own_log *log, uint64_t id);
/* Append a line, which begins with {"id":"<id in 16 digits>…. Lines are gathered, and written when there is no room for one
 * more. Errors: CORE_IO: what was gathered cannot be written; this line is not taken. */
CORE_CHECKED enum core_err own_log_add(struct own_log *log, uint64_t id, struct core_span line, struct core_fail *fail);
/* Everything added is on the disk. Errors: CORE_IO: call again; it goes on where it stopped. */
CORE_CHECKED enum core_err own_log_flush(struct own_log *log, struct core_fail *fail);

/* ---- new indicators ----------------------------------------------------------------------------------------------------------- */

#define RETRO_BATCH_MAX 10000 /* looked for together; more wait */
#define RETRO_WAITING_MAX                                                                                              \
    1000000                    /* of intel.files; more are left out, and counted. A stream keeps what waits itself. */
#define RETRO_MATCHES_MAX 1000 /* events of one indicator; more are counted */

struct retro;
/* Owns: retro_close(*out). opener: NULL: indicators come by retro_on_new() alone. */
CORE_CHECKED enum core_err retro_open(struct retro **out, const char *state_dir, const struct follower_opener *opener,
                                      struct core_counters *counters, struct core_fail *fail);
void retro_close(struct retro *retro); /* takes NULL */
/* A new one. Thread: any one beside the others'. */
void retro_on_new(struct retro *retro, enum core_indicator type, struct core_span value, bool subdomains,
                  const struct allow *allow);
/* Look whether there are new ones; waits for the stream at most timeout_ms, if it is followed. */
void retro_follow(struct retro *retro, int timeout_ms);
/* It is time to look for them: they have been in effect, on what is seen now, for settle_ns. */
bool retro_is_due(struct retro *retro, int64_t settle_ns);
/* Look for them, and write what they name to the log. After that they are done, and stay done after a crash.
 * Errors: CORE_IO: nothing is done, call again. */
CORE_CHECKED enum core_err retro_run(struct retro *retro, struct seen *seen, struct core_fail *fail);

/* ---- the thread --------------------------------------------------------------------------------------------------------------- */

struct lookback;
struct lookback_env {
    const struct enrich_lookback_conf *conf;
    const char *state_dir;
    const struct follower_opener *opener; /* as retro_open() */
    struct core_counters *counters;
    int64_t settle_ns; /* 0: 5 s */
};
/* Owns: lookback_close(*out). Errors: CORE_IO its folders cannot be made or read. */
CORE_CHECKED enum core_err lookback_open(struct lookback **out, const struct lookback_env *env, struct core_fail *fail);
/* Writes what is in memory. Takes NULL. */
void lookback_close(struct lookback *lookback);
/* Note a batch's observables. Never waits for the disk. Thread: enrich. */
void lookback_batch(struct lookback *lookback, const struct core_batch *batch);
/* For follower.on_new; ctx is the lookback. */
void lookback_on_new(void *ctx, enum core_indicator type, struct core_span value, bool subdomains,
                     const struct allow *allow);

#endif
