/* cmd/normalize_internal.h: what `tapline normalize` is made of: the filter (normalize.c) and its threads
 * (normalize_jobs.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_NORMALIZE_INTERNAL_H
#define TAPLINE_CMD_NORMALIZE_INTERNAL_H

#include "cmd/cmd.h"
#include "enrich/enrich.h"
#include "ingest/ingest.h"
#include "normalize/normalize.h"

#include <sys/uio.h>

#define OUT_PIECES 1024 /* IOV_MAX on Linux */

/* A file descriptor, and what is to be written to it: documents where they lie in the batch's arena. */
struct out {
    int fd;
    const char *path;
    struct iovec pieces[OUT_PIECES];
    int pieces_len;
    bool is_broken;
};

struct filter {
    struct core_pool pool;
    struct core_counters counters;
    struct normalize_maps *maps;
    struct normalize_worker *worker;
    struct normalize_jobs *jobs;   /* NULL: worker does it all */
    struct enrich_conf intel_conf; /* outlives enrich */
    struct enrich *enrich;         /* NULL without --intel */
    struct core_stream stream;     /* a copy of that read last */
    struct ingest_input input;
    struct out out;
    struct out dead;
    uint64_t records;
    uint64_t dead_letters;
    uint64_t dropped;
    uint64_t files;
    uint64_t files_failed;
    uint64_t damaged;
};

#define JOBS_MAX 64

static inline bool normalize_is_broken(const struct filter *filter) {
    return filter->out.is_broken || filter->dead.is_broken;
}

/* Put what intelligence knows onto the batch's documents, write them and the dead letters, and count them. */
void normalize_write(struct filter *filter, struct core_batch *batch);

/* Threads that share the batches of a file. Owns: normalize_jobs_close(). filter->pool and filter->worker are used, too.
 * Errors: CORE_IO, no thread to be had. */
CORE_CHECKED enum core_err normalize_jobs_open(struct normalize_jobs **out, struct filter *filter, unsigned len,
                                               struct core_fail *fail);
/* Batches that must be in filter->pool for so many. */
uint32_t normalize_jobs_batches(unsigned len);
/* A whole file. Errors: as ingest_reader_next(): never CORE_OK, but when the output broke. */
enum core_err normalize_jobs_file(struct normalize_jobs *jobs, struct ingest_reader *reader, struct core_fail *fail);
void normalize_jobs_close(struct normalize_jobs *jobs); /* takes NULL */

#endif
