/* enrich/lookback_internal.h: looking back at what was seen before somebody knew what it is.
 *
 *   lookback.c  the thread: tables become segments, new indicators are looked for in them
 *   retro.c     new indicators, and the events that tell what they name
 *   retro_queue.c  new indicators that wait, on the disk
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

/* ---- new indicators that wait ------------------------------------------------------------------------------------------------- */

#define RETRO_BATCH_MAX 10000 /* looked for together; more wait, in parts of so many */
#define RETRO_PARTS_MAX 1000  /* more than these are not written down, and counted */

/* On the disk. Thread: one at a time. */
struct retro_queue;
/* Make or find the folder, and what an earlier process left. Errors: CORE_IO. Owns: retro_queue_close(*out). */
CORE_CHECKED enum core_err retro_queue_open(struct retro_queue **out, const char *dir, struct core_fail *fail);
void retro_queue_close(struct retro_queue *queue); /* takes NULL */
/* Errors: CORE_LIMIT too many wait · CORE_IO it is not written down: read on from the cursor. */
CORE_CHECKED enum core_err retro_queue_add(struct retro_queue *queue, enum core_indicator type, struct core_span value,
                                           bool subdomains, struct core_fail *fail);
/* All up to this cursor was added, and is on the disk then. Errors: CORE_IO: read on from the cursor. */
CORE_CHECKED enum core_err retro_queue_reach(struct retro_queue *queue, const struct store_cursor *cursor,
                                             struct core_fail *fail);
/* The newest that was reached. Shape: false: none ever was. */
bool retro_queue_cursor(const struct retro_queue *queue, struct store_cursor *cursor);
/* Does the part that is being filled have any, and since when? */
bool retro_queue_has_new(const struct retro_queue *queue, int64_t *since_tick);
/* Close that part, if it has any. */
CORE_CHECKED enum core_err retro_queue_cut(struct retro_queue *queue, struct core_fail *fail);
/* Closed parts, and the number of the oldest. Numbers only rise. */
size_t retro_queue_parts(const struct retro_queue *queue);
uint64_t retro_queue_part(const struct retro_queue *queue);
/* The oldest part's names. value lives during the call. Errors: CORE_IO. */
CORE_CHECKED enum core_err retro_queue_read(const struct retro_queue *queue,
                                            void (*on_name)(void *ctx, enum core_indicator type, struct core_span value,
                                                            bool subdomains),
                                            void *ctx, struct core_fail *fail);
/* It is looked for. Errors: CORE_IO: call again. */
CORE_CHECKED enum core_err retro_queue_done(struct retro_queue *queue, struct core_fail *fail);

/* ---- new indicators ----------------------------------------------------------------------------------------------------------- */

#define RETRO_MATCHES_MAX 1000 /* events of one indicator; more are counted */
#define RETRO_TOLD_MAX 50000   /* events of one batch; from then on */
#define RETRO_MATCHES_FEW 10   /* of one indicator, so that none goes without, and what is told once stays known */

struct retro_env {
    const char *node;
    const char *state_dir;
    const struct follower_opener *opener; /* NULL: indicators come by retro_on_new() alone */
    struct core_counters *counters;
    const _Atomic bool *is_stopping; /* may be NULL */
};
struct retro;
/* Owns: retro_close(*out). Errors: CORE_IO. */
CORE_CHECKED enum core_err retro_open(struct retro **out, const struct retro_env *env, struct core_fail *fail);
void retro_close(struct retro *retro); /* takes NULL */
/* A new one, which the filter that is in use has. Thread: any one beside the others'. */
void retro_on_new(struct retro *retro, enum core_indicator type, struct core_span value, bool subdomains,
                  const struct allow *allow);
/* Where its stream was read to. Shape: false: there is none, or nobody knows. */
bool retro_cursor(const struct retro *retro, struct store_cursor *cursor);
/* Look whether there are new ones, and write them down; waits for the stream at most timeout_ms, if it is followed. */
void retro_follow(struct retro *retro, int timeout_ms);
/* New ones have come, and it is time to look for them. *cursor: whoever has followed the stream up to there has them all
 * (epoch "": there is no stream). What was seen before they were in effect must be in segments; then retro_settled(). */
bool retro_collects(struct retro *retro, struct store_cursor *cursor);
void retro_settled(struct retro *retro);
/* Some are settled: retro_run(). */
bool retro_is_due(struct retro *retro);
/* Look for a batch of them, and write what they name to the log. After that they are done, and stay done after a crash.
 * Errors: CORE_IO, CORE_NET: nothing is done, call again · CORE_AGAIN seen_limits.goes_on ended it. */
CORE_CHECKED enum core_err retro_run(struct retro *retro, struct seen *seen, struct core_fail *fail);

/* ---- the thread --------------------------------------------------------------------------------------------------------------- */

struct lookback;
struct lookback_env {
    const struct enrich_lookback_conf *conf;
    const char *node;
    const char *state_dir;
    const struct follower_opener *opener; /* as retro_open() */
    struct core_counters *counters;
    struct follower *follower; /* whose filter events are matched by; NULL: none, nothing is waited for */
};
/* Owns: lookback_close(*out). Errors: CORE_IO its folders cannot be made or read. */
CORE_CHECKED enum core_err lookback_open(struct lookback **out, const struct lookback_env *env, struct core_fail *fail);
/* Writes what is in memory. Takes NULL. */
void lookback_close(struct lookback *lookback);
/* Around a batch, from before it is matched until its observables are noted. Thread: enrich. */
void lookback_enter(struct lookback *lookback);
void lookback_leave(struct lookback *lookback);
/* Note a batch's observables. Never waits for the disk. Thread: enrich. */
void lookback_batch(struct lookback *lookback, const struct core_batch *batch);
/* For follower.on_new; ctx is the lookback. */
void lookback_on_new(void *ctx, enum core_indicator type, struct core_span value, bool subdomains,
                     const struct allow *allow);

#endif
