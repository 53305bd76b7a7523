/* sinks/sinks_internal.h: what the sinks share among themselves.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SINKS_SINKS_INTERNAL_H
#define TAPLINE_SINKS_SINKS_INTERNAL_H

#include "sinks/sink.h"

extern const struct sink_ops sink_kafka;
extern const struct sink_ops sink_elasticsearch;
extern const struct sink_ops sink_file;
extern const struct sink_ops sink_stdout;

/* Count the documents and dead letters of a batch that a sink gives back. */
void sink_count_accepted(struct core_counters *counters, const struct core_batch *batch);

/* ---- what sinks tell of themselves (health.c) --------------------------------------------------------------------------- */

/* Why a sink tried again: label `cause` of rows `sink_retry`. */
enum sink_cause {
    SINK_CAUSE_QUEUE_FULL,  /* librdkafka's queue */
    SINK_CAUSE_BROKER,      /* a broker would not take records just now */
    SINK_CAUSE_TOPIC,       /* a topic was not there, or not to be written */
    SINK_CAUSE_TRANSACTION, /* a transaction came to nothing */
    SINK_CAUSE_PRODUCER,    /* a producer failed for good, and was made anew */
    SINK_CAUSE_HTTP_429,    /* the engine is busy */
    SINK_CAUSE_HTTP_4XX,
    SINK_CAUSE_HTTP_5XX,
    SINK_CAUSE_CONNECTION, /* no answer */
    SINK_CAUSE_BLOCKED,    /* the engine's state lets it take nothing: a block, a limit of shards */
    SINK_CAUSE_ANSWER,     /* an answer that cannot be understood */
    SINK_CAUSE_DISK_FULL,
    SINK_CAUSE_OUTPUT, /* another error of a file */
    SINK_CAUSE__MAX
};
struct sink_retries {
    uint64_t times[SINK_CAUSE__MAX];
};
/* Count it, in CORE_COUNT_SINK_RETRIES, too. */
void sink_retry(struct core_counters *counters, struct sink_retries *retries, enum sink_cause cause);
/* Rows of the causes [first, last]. */
void sink_retries_rows(const struct sink_retries *retries, const char *sink, enum sink_cause first,
                       enum sink_cause last, struct core_health_page *page);

/* ---- names with %{event.dataset} in them (template.c) ----------------------------------------------------------------- */

#define SINK_DATASET_DEAD "tapline.deadletter"

/* Is every `%{` of the text a `%{event.dataset}`? If not, *wrong gets the first that is none. */
CORE_CHECKED bool sink_template_check(const char *text, const char **wrong);
bool sink_template_has_dataset(const char *text);
/* Put the dataset in, its characters other than [A-Za-z0-9._-] as '_', and a '.' at its start as '_' too.
 * Shape: at most out_len-1 bytes and a NUL. Errors: false if it does not fit (out is cut). */
CORE_CHECKED bool sink_template_expand(const char *text, const char *dataset, char *out, size_t out_len);

/* ---- batches in the order they came (linked by batch->next) ------------------------------------------------------------ */

struct sink_fifo {
    struct core_batch *head;
    struct core_batch *tail;
};

static inline void sink_fifo_push(struct sink_fifo *fifo, struct core_batch *batch) {
    batch->next = NULL;
    if (fifo->head == NULL) {
        fifo->head = batch;
    } else {
        fifo->tail->next = batch;
    }
    fifo->tail = batch;
}

static inline struct core_batch *sink_fifo_pop(struct sink_fifo *fifo) {
    struct core_batch *batch = fifo->head;
    if (batch != NULL) {
        fifo->head = batch->next;
        batch->next = NULL;
    }
    return batch;
}

/* ---- one file (or stdout) that documents are written to, a line each (out.c) -------------------------------------------- */

struct sink_out {
    char path[4096];
    int fd; /* -1: not open */
    uint64_t dev;
    uint64_t ino;
    bool is_regular;
    bool is_borrowed;   /* fd 1: neither opened nor closed here */
    bool is_dirty;      /* written to since the last sync */
    bool is_behind;     /* not yet taken back to `committed`, as it should have been: that comes before anything else */
    uint64_t size;      /* whole lines only */
    uint64_t committed; /* size at the last sync of all outputs */
    int64_t written_ns; /* core_now_ns() of the last write; at open: the file's mtime */
    uint64_t used;      /* when last used, in the owner's count */
};

/* Where writing stands in a batch. */
struct sink_cursor {
    uint32_t index; /* the event */
    size_t offset;  /* bytes of its line already written */
};

struct sink_rotation {
    uint64_t size;       /* bytes; 0: never */
    int64_t interval_ns; /* 0: never */
    uint64_t keep;       /* rotated files; 0: all */
};

/* Open path for appending, making folders that are missing. A line without its end (a crash in the middle of a write)
 * is cut off and said: its record was never accepted and comes again. Errors: CORE_IO; CORE_LOCKED another process
 * writes to it; CORE_BAD it does not hold lines. */
CORE_CHECKED enum core_err sink_out_open(struct sink_out *out, const char *path, struct core_fail *fail);
/* Write events [cursor->index, end) and move the cursor over what was written. Errors: CORE_IO, errno in *error. A
 * regular file then ends with its last whole line again. */
CORE_CHECKED enum core_err sink_out_write(struct sink_out *out, const struct core_batch *batch,
                                          struct sink_cursor *cursor, uint32_t end, int *error, struct core_fail *fail);
/* Onto the disk. Errors: CORE_IO: what was written since the last one may be lost, and must be written again. */
CORE_CHECKED enum core_err sink_out_sync(struct sink_out *out, struct core_fail *fail);
/* Back to the length of the last sync of all outputs. Errors: CORE_IO; then the next write or sync begins with it. */
CORE_CHECKED enum core_err sink_out_rewind(struct sink_out *out, struct core_fail *fail);
/* Is it time for another file before `more` bytes are written? */
bool sink_out_is_due(const struct sink_out *out, const struct sink_rotation *rotation, uint64_t more, int64_t now_ns);
/* Rename it to path.YYYYmmdd-HHMMSS(.n), never over another file, and close it. Everything must be synced. */
CORE_CHECKED enum core_err sink_out_rotate(struct sink_out *out, const struct sink_rotation *rotation, int64_t now_ns,
                                           struct core_fail *fail);
/* Was the file renamed or removed under us? Then it is time to close it and open its name again. */
bool sink_out_is_moved(const struct sink_out *out);
void sink_out_close(struct sink_out *out);

/* ---- names of rotated files (rotated.c) ---------------------------------------------------------------------------------- */

#define SINK_STAMP_LEN 15 /* YYYYmmdd-HHMMSS, UTC */
void sink_stamp(int64_t now_ns, char out[SINK_STAMP_LEN + 1]);
/* What a file rotated now is called, path.stamp or path.stamp.n if n is not 0: behind all that are there, so that the order
 * of names is the order of time though the clock went back. */
struct sink_rotated_name {
    char stamp[SINK_STAMP_LEN + 1];
    unsigned long n;
};
struct sink_rotated_name sink_rotated_next(const char *path, int64_t now_ns);
/* Remove the oldest rotated files of path until `keep` are left; 0: none is removed. Failures are logged. */
void sink_rotated_trim(const char *path, uint64_t keep);

/* ---- the engine of the file and stdout sinks (lines.c) ------------------------------------------------------------------- */

struct lines_conf {
    const char *path;               /* a template; NULL: stdout */
    const char *dead_letter;        /* a template; NULL: path, with the suffix */
    const char *dead_letter_suffix; /* "" for none */
    struct sink_rotation rotation;
    int64_t sync_interval_ns;
};

CORE_CHECKED enum core_err lines_open(struct sink **out, const struct lines_conf *conf, const struct sink_env *env,
                                      struct core_fail *fail);
enum core_err lines_send(struct sink *sink, struct core_batch *batch);
size_t lines_poll(struct sink *sink, struct core_batch **done, size_t max, int timeout_ms);
bool lines_is_gone(const struct sink *sink, struct core_fail *fail);
void lines_flush(struct sink *sink);
int lines_is_up(const struct sink *sink);
void lines_health(struct sink *sink, struct core_health_page *page);
void lines_close(struct sink *sink);

#endif
