/* ingest/ingest.h: turns files that grow and rotate into batches of whole lines with exact positions.
 *
 * One thread. Files come from globs; each open file is a `core_stream` with a generation. Read position and accepted
 * position are two things: the first moves with pread(), the second when a batch comes back from the last sink, and is
 * committed where there is a keeper of positions (core/commit.h). The checkpoint (one small file in node.state, written to a
 * temp file, fsynced, renamed, directory fsynced) holds only accepted positions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_INGEST_INGEST_H
#define TAPLINE_INGEST_INGEST_H

#include "core/batch.h"
#include "core/commit.h"
#include "core/conf.h"

enum ingest_start { INGEST_START_BEGINNING, INGEST_START_END };

/* One entry of `inputs:`. Filled by ingest_input_opts; origin.* is completed by ingest_input_finish(). */
struct ingest_input {
    int type;                      /* enum core_origin_type */
    int format;                    /* enum core_format */
    struct core_conf_list paths;   /* globs */
    struct core_conf_list exclude; /* globs (on the whole path or the base name) never read */
    struct core_conf_list archive; /* globs, read only to finish what is gone from paths */
    int start;                     /* enum ingest_start, for files first seen now */
    struct core_conf_list fields;  /* added to every document: dotted names */
    bool keep_original;
    struct core_conf_list csv_fields;
    char *timezone;
    char *sid_msg_map; /* paths */
    char *gen_msg_map;
    char *classification_config;
    char *metrics_url;         /* of the Zeek that writes these files; NULL: not to be asked */
    struct core_origin origin; /* made from the above */
    char *fields_json;         /* owned; origin.fields_json */
    char *csv_fields_text;     /* owned; origin.csv_fields */
};
extern const struct core_opt ingest_input_opts[];
extern const size_t ingest_input_opts_len;

/* Set one key of an input from a text as the command line has it (lists: commas between). Zero the input first; then
 * ingest_input_finish(). Owns: ingest_input_release(). Errors: CORE_BAD, fail says which words are good. */
CORE_CHECKED enum core_err ingest_input_set(struct ingest_input *input, const char *key, const char *text,
                                            struct core_fail *fail);

/* Section `ingest:`: how to look and read. */
struct ingest_conf {
    int64_t scan_interval_ns; /* how often globs are looked at again, beside inotify; default 1s */
    int64_t
        poll_interval_ns; /* how often an open file is looked at where inotify is not to be had (NFS …); default 1s */
    int64_t close_after_ns; /* a renamed or unlinked file is closed after this long without growth; default 30s */
    int64_t
        checkpoint_interval_ns; /* at most this long between checkpoint writes while there is progress; default 1s */
    int64_t record_wait_ns;     /* a file that stood still so long ends its last record (unified2 …); default 1s */
    uint64_t files_max;         /* open files at most; default 4096 */
    bool use_inotify;           /* default yes */
    int64_t remember_ns;        /* how long the keeper of positions remembers a finished file; default 7d */
};
extern const struct core_opt ingest_opts[];
extern const size_t ingest_opts_len;

/* Section `spool:`: what a rotation may delete while nothing can be delivered. */
enum ingest_spool_full { INGEST_SPOOL_BLOCK, INGEST_SPOOL_DROP_OLDEST };
struct ingest_spool_conf {
    char *dir;         /* NULL or "": state_dir/spool */
    uint64_t size_max; /* of all copies, compressed; 0: no spool; default 1 GiB */
    int when_full;     /* enum ingest_spool_full; default block */
    int64_t after_ns;  /* nothing was accepted for so long, and no batch is free; default 60s */
};
extern const struct core_opt ingest_spool_opts[];
extern const size_t ingest_spool_opts_len;

struct ingest;

/* What the pipeline gives. push hands a filled batch on (it cannot fail); returned gives back a batch that all sinks
 * have accepted, or NULL; bell is rung when there is one. */
struct ingest_env {
    const char *node;
    const char *state_dir; /* exists, locked by the caller */
    const struct ingest_input *inputs;
    size_t inputs_len;
    const struct ingest_conf *conf;
    const struct ingest_spool_conf *spool; /* NULL: none */
    struct core_pool *pool;
    struct core_counters *counters;
    uint32_t workers; /* stream->worker is 0 … workers-1 */
    void *ctx;
    void (*push)(void *ctx, struct core_batch *batch);
    struct core_batch *(*returned)(void *ctx);
    struct core_bell *bell;
    struct core_commit *commit; /* NULL: a batch that comes back is accepted */
    const char *keeper;         /* who keeps the positions, for messages: "Kafka (127.0.0.1:9092)"; NULL: "Kafka" */
};

/* Make origin from the other fields (fields_json is built once, nested by the dots). */
CORE_CHECKED enum core_err ingest_input_finish(struct ingest_input *input, struct core_fail *fail);
void ingest_input_release(struct ingest_input *input);

/* Read the checkpoint, open nothing yet. Errors: CORE_IO, CORE_BAD (a checkpoint that is damaged: says what to do). */
CORE_CHECKED enum core_err ingest_open(struct ingest **out, const struct ingest_env *env, struct core_fail *fail);

/* One turn: take returned batches, look at files, fill and push batches, write the checkpoint when due; waits at most
 * timeout_ms for something to do. Errors: CORE_IO only for what ingest cannot live without (its state directory);
 * an unreadable log is logged, counted, and tried again, and never stops its neighbours; CORE_BAD: the keeper of positions
 * gave a line that cannot be understood (a restart would not help). */
CORE_CHECKED enum core_err ingest_turn(struct ingest *ingest, int timeout_ms, struct core_fail *fail);

/* The end is near: a turn reads what is there, in files that were not seen yet, too, and waits for no more to come with it. Did the
 * last turn leave anything of that unread? Thread: ingest. */
void ingest_hurry(struct ingest *ingest);
bool ingest_has_unread(const struct ingest *ingest);
/* No new bytes from now on; turns still take returned batches and checkpoint. Thread: ingest. */
void ingest_stop(struct ingest *ingest);

/* For --once: read to the end of what was there at the first turn. is_drained: all read, all returned, checkpointed.
 * A last line without its newline waits (it is not read), except in a .gz, which cannot grow. */
void ingest_set_once(struct ingest *ingest);
bool ingest_is_drained(const struct ingest *ingest);
/* Batches under way: pushed and not returned, or delivered and not committed (core/commit.h). */
uint64_t ingest_outstanding(const struct ingest *ingest);

struct core_health_page; /* core/health.h */
/* Add rows (logs) and complaints to a page, which the caller begins and publishes. Thread: ingest. */
void ingest_health(struct ingest *ingest, struct core_health_page *page);
/* For how long turns have waited for something to do, in all. Units: ns. */
int64_t ingest_waited_ns(const struct ingest *ingest);

/* Inputs or conf changed (SIGHUP): the new env replaces the old; open files that no input names any more are read to
 * their end and closed; env->pool, push, returned, bell must be the same. */
CORE_CHECKED enum core_err ingest_reload(struct ingest *ingest, const struct ingest_env *env, struct core_fail *fail);

/* Write the last checkpoint and close. Takes NULL. */
void ingest_close(struct ingest *ingest);

/* ---- the ledger: what became of the records of each generation -------------------------------------------------------- */

/* Where one generation stands, as the checkpoint, the ledger and the keeper's topic have it. records = events + dead +
 * dropped + lost, or something is wrong. The spans of all that was delivered join from begin to from. */
struct ingest_ledger_row {
    uint64_t gen;
    const char *path; /* the last one known */
    const char *first_path;
    uint64_t pos;   /* right behind the last accepted record */
    uint64_t begin; /* where its account begins: 0, or where reading began, or was taken over from an older version */
    uint64_t from;  /* where the span of the next event begins: pos, or before it */
    struct core_tally tally; /* since begin */
    int64_t mtime_ns;        /* of the file when first seen */
    uint64_t dev;            /* where its bytes were last seen: a rename keeps these three; 0: not known any more */
    uint64_t ino;
    int64_t born_ns;   /* 0: the file system does not tell */
    int64_t size_seen; /* of the file, in bytes as they lie there */
    bool is_gz;        /* positions count unpacked bytes */
    bool is_done;      /* everything in the file was accepted, and nothing can follow */
    bool is_over;      /* finished and forgotten; nothing follows */
    int64_t over_ns;   /* when; 0 if it is not over */
};

/* Understand one `file` or `over` line, without its '\n', NUL-terminated.
 * Shape:   changes line in place; row's texts point into it.
 * Errors:  false: it is neither, or is damaged. Thread: any. */
bool ingest_ledger_line(char *line, struct ingest_ledger_row *row);
/* Give all rows that this machine knows: first those that are over, oldest first, from state_dir/ledger.old and
 * state_dir/ledger, then the others from state_dir/checkpoint. Safe beside a running process: each row that was there when
 * it began is given, where it was or where it went meanwhile. A generation may have more than one row: the last one
 * counts. A file that is not there has no rows.
 * Errors:  CORE_IO · CORE_BAD (the checkpoint is damaged); rows before the trouble were given. Thread: any. */
CORE_CHECKED enum core_err ingest_ledger_read(const char *state_dir,
                                              void (*on_row)(void *ctx, const struct ingest_ledger_row *row), void *ctx,
                                              struct core_fail *fail);

/* ---- the parts that `normalize` (the filter) and `replay` use alone ---------------------------------------------------- */

/* Cuts bytes into lines by the same rules for a pipe, a .gz and a tailed file. */
struct ingest_reader;

/* path "-" is stdin; gz is found by content. Errors: CORE_IO. */
CORE_CHECKED enum core_err ingest_reader_open(struct ingest_reader **out, const char *path, const char *node,
                                              const struct core_origin *origin, struct core_counters *counters,
                                              struct core_fail *fail);
/* Fill batch (taken from a pool, empty) with the next lines; sets batch->stream. End of file ends the last line.
 * Errors: CORE_GONE all read · CORE_IO, where fail says what: the lines before the damage (a .gz cut mid-stream) were given
 * before. With both the batch has no lines but is_last is set: give it to normalize_batch() all the same, which then
 * frees its decoder. */
CORE_CHECKED enum core_err ingest_reader_next(struct ingest_reader *reader, struct core_batch *batch,
                                              struct core_fail *fail);
/* Would ingest_reader_next() wait for a pipe's other end? Then what was read before should be written first. */
bool ingest_reader_would_wait(const struct ingest_reader *reader);
void ingest_reader_close(struct ingest_reader *reader);

#endif
