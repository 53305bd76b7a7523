/* cmd/replay_internal.h: one recorded log and the file it is written out to again.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_REPLAY_INTERNAL_H
#define TAPLINE_CMD_REPLAY_INTERNAL_H

#include "core/batch.h"
#include "ingest/ingest.h"

#include <limits.h>

#define REPLAY_FILES_MAX 64
#define REPLAY_HEADER_BYTES_MAX (64 * CORE_KIB)
#define REPLAY_OUT_BYTES (CORE_LINE_BYTES_MAX + 256 * CORE_KIB) /* so that any line fits an empty buffer */

/* `#` lines as they stood, but `#open` without its time. */
struct replay_header {
    char *text;
    size_t len;
};

struct replay_file {
    const char *path; /* what is read; the caller's */
    struct ingest_reader *reader;
    struct core_counters counters;
    struct core_pool *pool;   /* the caller's; has a batch for each file */
    struct core_batch *batch; /* all written when line == lines_len */
    uint32_t line;            /* the next one to write */

    char out_path[PATH_MAX];
    int fd;    /* -1: nothing is open */
    char *out; /* REPLAY_OUT_BYTES; whole lines */
    size_t out_len;
    struct replay_header header; /* of the file that is being written */
    struct replay_header next;   /* collected, not yet followed by a record */
    int64_t opened_ns;           /* wall clock */
    int64_t opened_tick_ns;
    uint64_t opened_lines; /* records in the open file */

    uint64_t lines_all;   /* records in path; 0 when nobody counted */
    uint64_t round_lines; /* written in this pass over path */
    uint64_t lines;       /* written in all */
    uint64_t bytes;
    uint64_t rotations;
    uint64_t skipped; /* lines longer than CORE_LINE_BYTES_MAX */
    bool is_done;     /* this pass is over */
};

/* Name the output, make the buffers; reads nothing. dir exists. Owns: replay_file_release(). */
CORE_CHECKED enum core_err replay_file_init(struct replay_file *file, const char *path, const char *dir,
                                            struct core_fail *fail);
/* How many records path has: one reading of it. */
CORE_CHECKED enum core_err replay_file_count(struct replay_file *file, struct core_fail *fail);
/* Begin a pass. */
CORE_CHECKED enum core_err replay_file_start(struct replay_file *file, struct core_fail *fail);
/* Write up to n records, with a rotation whenever rotate_lines of them are in one file (0: never).
 * Errors: CORE_GONE the pass is over · CORE_IO. *written is right in every case. */
CORE_CHECKED enum core_err replay_file_write(struct replay_file *file, uint64_t n, uint64_t rotate_lines,
                                             uint64_t *written, struct core_fail *fail);
/* Hand what is buffered to the system. */
CORE_CHECKED enum core_err replay_file_flush(struct replay_file *file, struct core_fail *fail);
/* End the open file as its sensor would and give it its archive name; the next record opens a new one. */
CORE_CHECKED enum core_err replay_file_rotate(struct replay_file *file, struct core_fail *fail);
/* End the open file, with `#close` where there was a header, and leave it under its name. */
CORE_CHECKED enum core_err replay_file_finish(struct replay_file *file, struct core_fail *fail);
void replay_file_release(struct replay_file *file);

#endif
