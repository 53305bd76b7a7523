/* enrich/sighting_internal.h: what was seen of indicators, counted, and told to whoever should know.
 *
 *   sighting.c          the enrich thread's side: a batch's hits become an entry of the journal
 *   sighting_journal.c  the journal, and how far each stream is counted
 *   sighting_flush.c    the thread that makes events of a journal, and adds it to Redis
 *   sighting_tell.c     `tapline intel sync`: what Redis has counted, told to the feeds' servers (sighting_post.c)
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_SIGHTING_INTERNAL_H
#define TAPLINE_ENRICH_SIGHTING_INTERNAL_H

#include "enrich/lookback_internal.h"

#define SIGHTING_PATH_BYTES 4096
#define SIGHTING_SAID_BYTES_MAX 2048 /* of the feeds and providers of one row; more are left out */

/* ---- how far each stream is counted: sighting_journal.c ---------------------------------------------------------------------- */

#define SIGHTING_MARKS_MAX 4096 /* streams; the one that was not looked at for longest goes */

/* Of each generation: the records that begin before this are counted. */
struct sighting_marks {
    uint64_t gens[SIGHTING_MARKS_MAX];
    uint64_t ends[SIGHTING_MARKS_MAX];
    uint64_t used[SIGHTING_MARKS_MAX]; /* when it was last set, by turn */
    uint64_t turn;
    uint64_t len;
};
uint64_t sighting_marks_get(const struct sighting_marks *marks, uint64_t gen);     /* 0: nothing of it is counted */
void sighting_marks_set(struct sighting_marks *marks, uint64_t gen, uint64_t end); /* never back */
/* A file that is not there is empty. Errors: CORE_IO · CORE_BAD it is damaged; *marks is empty then. */
CORE_CHECKED enum core_err sighting_marks_load(struct sighting_marks *marks, const char *dir, struct core_fail *fail);
CORE_CHECKED enum core_err sighting_marks_save(const struct sighting_marks *marks, const char *dir,
                                               struct core_fail *fail);

/* ---- the journal: sighting_journal.c ------------------------------------------------------------------------------------------ */

#define SIGHTING_JOURNAL_BYTES_MAX (64 * CORE_MIB) /* of one; what does not fit is not counted, and said */

/* What was seen of one indicator on one day, in one batch or more. */
struct sighting_row {
    enum core_indicator type;
    int64_t day; /* since 1970-01-01, UTC */
    uint64_t count;
    int64_t first_us;
    int64_t last_us;
    struct core_span value;
    struct core_span said; /* members of JSON: "feeds":[…],"providers":[…] */
};

/* One file below <dir>; its name is its id in 16 hex digits. */
struct sighting_journal {
    int fd; /* -1: there is none */
    uint64_t id;
    _Atomic uint64_t bytes;
};
/* Make one with an id of its own. Errors: CORE_IO. */
CORE_CHECKED enum core_err sighting_journal_new(struct sighting_journal *journal, const char *dir,
                                                struct core_fail *fail);
void sighting_journal_close(struct sighting_journal *journal); /* the file stays */

/* Begin an entry in buf, add rows, append it. An entry is in the journal whole or not at all; it is there for any process
 * once append has returned, and on the disk when the system wants to. */
void sighting_entry_begin(struct core_buf *buf);
void sighting_entry_row(struct core_buf *buf, const struct sighting_row *row);
/* The records of gen that begin before end are counted with it. Errors: CORE_IO · CORE_LIMIT the journal, or buf, is full. */
CORE_CHECKED enum core_err sighting_entry_append(struct sighting_journal *journal, struct core_buf *buf, uint64_t gen,
                                                 uint64_t end, struct core_fail *fail);

/* A journal that is there. is_told: its events are in the log, and its counts are not in Redis yet. */
struct sighting_name {
    uint64_t id;
    bool is_told;
    uint64_t bytes;
};
/* Those below dir, the oldest first. Owns: free(*out). */
CORE_CHECKED enum core_err sighting_journal_list(const char *dir, struct sighting_name **out, size_t *len,
                                                 struct core_fail *fail);
void sighting_journal_path(const char *dir, const struct sighting_name *name, char out[SIGHTING_PATH_BYTES]);

/* All of a journal. rows: each indicator and day once, sorted by day, type, value: the same whenever it is read. */
struct sighting_read {
    char *bytes; /* rows point into it */
    size_t len;
    struct sighting_row *rows;
    size_t rows_len;
};
/* marks, may be NULL: are set to what is counted with it. What follows an entry that a crash has cut is left out.
 * Owns: sighting_read_release(out), also after an error. Errors: CORE_IO. */
CORE_CHECKED enum core_err sighting_journal_read(struct sighting_read *out, const char *dir,
                                                 const struct sighting_name *name, struct sighting_marks *marks,
                                                 struct core_fail *fail);
void sighting_read_release(struct sighting_read *read);

/* ---- the thread: sighting_flush.c --------------------------------------------------------------------------------------------- */

/* What makes events of journals, and adds them to Redis. Thread of all: sightings'. */
struct sighting_flush {
    const char *dir; /* of journals */
    const char *node;
    struct core_counters *counters;
    const struct enrich_redis_conf *redis; /* NULL: there is none */
    int stop_fd;                           /* readable: nothing waits for Redis any more */
    struct own_log *log;
    struct enrich_store *store;  /* a writer's; NULL: not open */
    struct sighting_marks marks; /* of journals that are done */
    struct core_arena line;
    bool is_away; /* Redis, and that is said */
};
/* Owns: sighting_flush_close(flush), also after an error. dir, node and redis outlive it. */
CORE_CHECKED enum core_err sighting_flush_open(struct sighting_flush *flush, const char *state_dir,
                                               struct core_fail *fail);
void sighting_flush_close(struct sighting_flush *flush);
/* All journals but the one with this id (which is being written): events first, then Redis. A journal of which both are done
 * goes. Errors: CORE_IO, CORE_NET: what is left is done by the next call. */
CORE_CHECKED enum core_err sighting_flush_run(struct sighting_flush *flush, uint64_t but, struct core_fail *fail);

/* ---- the stage: sighting.c ------------------------------------------------------------------------------------------------------ */

struct sightings;
struct sightings_env {
    int64_t every_ns;
    const char *node;
    const char *state_dir;
    const struct enrich_redis_conf *redis; /* NULL: there is none; else it outlives the sightings */
    struct core_counters *counters;
};
/* Owns: sightings_close(*out). Errors: CORE_IO its folder cannot be made or read. */
CORE_CHECKED enum core_err sightings_open(struct sightings **out, const struct sightings_env *env,
                                          struct core_fail *fail);
void sightings_close(struct sightings *sightings); /* takes NULL */
/* Count a batch's hits: match->sighted, after match_write(). Thread: enrich. */
void sightings_batch(struct sightings *sightings, struct match *match);

#endif
