/* ingest/ingest_internal.h: what the files of this folder share.
 *
 * From the bytes up: a source gives bytes at an offset; a cutter makes lines of them and knows where it is; a file is a
 * stream with its name, its identity and its accounts of batches; the table finds files; watch.c and scan.c notice what
 * happens to them; checkpoint.c remembers; ingest.c takes turns.
 *
 * One position rules: a `mark` stands right behind a record and holds all that is needed to go on from there. The
 * cutter's last mark is what has been read, the file's accepted mark is what all sinks have, and only the second is
 * written down.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_INGEST_INTERNAL_H
#define TAPLINE_INGEST_INTERNAL_H

#include <sys/stat.h>
#include <sys/types.h>

#include "core/codec.h"
#include "ingest/ingest.h"

#define INGEST_MARKER_BYTES 1024                  /* bytes before a position whose hash proves that the file is the same */
#define INGEST_READ_BYTES (256 * CORE_KIB)        /* what a batch asks for; stays inside a core's second-level cache */
#define INGEST_CUT_HEAD_BYTES (64 * CORE_KIB)     /* what is kept of a line that is too long */
#define INGEST_HEADER_BYTES_MAX (128 * CORE_KIB)  /* a longer header block is not shown again after a restart */
#define INGEST_HEADER_LINES_MAX 1024              /* nor one of more lines */
#define INGEST_SCAN_BYTES_MAX (16 * CORE_MIB)     /* one turn's share of looking for the end of a too long line */

/* ---- source.c: bytes at an offset, from a file, a .gz or a pipe ------------------------------------------------------ */

/* Where a stream's bytes come from. A plain file is read at any offset. A .gz and a pipe ("one way") are read onwards, so
 * what was read and not used is given back with unread(); a .gz can start over, a pipe cannot. */
struct ingest_source {
    const char *where;     /* the name for messages; the owner's */
    int fd;                /* -1: closed */
    bool is_gz;
    bool is_seekable;      /* the descriptor is a file, read from its beginning */
    bool is_ended;         /* the last read reached the end of what is there */
    struct core_gunzip *gunzip;
    uint64_t next;         /* one way: offset of the next byte to give, given-back ones included */
    char *back;            /* one way: what was given back, at [back_from, back_from + back_len) */
    size_t back_from;
    size_t back_len;
    char sniffed[CORE_GZIP_MAGIC_BYTES]; /* first bytes of a pipe, read to look at them */
    size_t sniffed_len;
};

/* Look at the first bytes and make ready. can_grow: whether too few bytes may become enough.
 * Owns:    takes fd, on failure too (but not with CORE_AGAIN); ingest_source_close().
 * Errors:  CORE_AGAIN too short to tell what it is, and can grow · CORE_IO. */
CORE_CHECKED enum core_err ingest_source_open(struct ingest_source *source, int fd, const char *where, bool can_grow,
                                              struct core_fail *fail);
void ingest_source_close(struct ingest_source *source); /* takes a zeroed one with fd -1 */
/* Bytes from offset on. Sets is_ended.
 * Shape:   fills buf as far as there are bytes now; a pipe waits only for the first new one.
 * Errors:  CORE_IO, CORE_BAD (a damaged .gz); *len bytes from before the trouble are good, and it will be told again. */
CORE_CHECKED enum core_err ingest_source_read(struct ingest_source *source, uint64_t offset, char *buf, size_t cap,
                                              size_t *len, struct core_fail *fail);
/* The last len bytes that read() gave are not used yet: the next read begins with them. */
void ingest_source_unread(struct ingest_source *source, const char *bytes, size_t len);

static inline bool ingest_source_is_one_way(const struct ingest_source *source) {
    return source->is_gz || !source->is_seekable;
}

/* ---- lines.c: where bytes become lines ------------------------------------------------------------------------------- */

/* Right behind a record (or at 0): all that is needed to go on from here. */
struct ingest_mark {
    uint64_t pos;
    uint64_t number;      /* lines before pos */
    uint64_t header_at;   /* the last block of `#` lines with `#fields` that a record followed */
    uint32_t header_len;  /* 0: none */
    uint32_t marker_len;  /* bytes before pos that marker covers, at most INGEST_MARKER_BYTES */
    uint64_t marker;      /* core_hash64 of them */
};

/* The first record line of a stream: what names its generation. */
struct ingest_first {
    uint64_t at;
    uint64_t hash;
    uint32_t len; /* at most INGEST_CUT_HEAD_BYTES are hashed; 0: not seen yet */
};

/* A run of `#` lines. */
struct ingest_run {
    uint64_t at;
    uint64_t end;
    uint32_t lines;
    bool is_open;
    bool has_fields;
};

struct ingest_cutter {
    /* Fixed: */
    const char *node;          /* for the generation */
    const char *path;          /* the stream's first path */
    struct core_counters *counters;
    bool is_end_final;         /* the end of the bytes ends the last line: they cannot grow */
    /* Position: */
    uint64_t pos;              /* the next byte to cut; behind last.pos there are only lines that are no records */
    uint64_t number;           /* lines before pos */
    bool is_number_known;      /* a mark with pos > 0 and number 0 does not know it */
    uint32_t marker_len;       /* of pos, as in the mark */
    uint64_t marker;
    struct ingest_mark last;   /* behind the last record */
    struct ingest_run run;     /* `#` lines behind it */
    struct ingest_first first;
    uint64_t gen;              /* valid when first.len > 0 */
    /* Moods: */
    uint64_t skip_until;       /* a line's end: lines to there are passed over (start: end); UINT64_MAX: all lines */
    bool needs_header;         /* the next batch begins with the header block, shown again */
    bool is_long;              /* in a line longer than the maximum; its bytes to long_pos were looked at */
    bool is_nul_told;
    uint64_t long_pos;
    char *long_head;           /* one way sources: the line's head, kept while its end is looked for */
    size_t long_head_len;
    /* Of the last fill: */
    bool is_more;              /* it did not stop for lack of bytes: fill again */
};

/* path and node live as long as the cutter. mark NULL: from the beginning. */
void ingest_cutter_init(struct ingest_cutter *cutter, const char *node, const char *path, struct core_counters *counters,
                        const struct ingest_mark *mark, const struct ingest_first *first);
void ingest_cutter_release(struct ingest_cutter *cutter);
/* Back to behind the last record, as after a restart. */
void ingest_cutter_rewind(struct ingest_cutter *cutter);

/* Read once and cut: fills an empty batch's segment, lines and accepted_end. limit: bytes from there on do not exist
 * (UINT64_MAX: all do).
 * Errors: CORE_OK go on (the batch may have no lines: then blanks or NULs were passed over) · CORE_AGAIN nothing whole is
 * there now · CORE_GONE the end, for sources whose end is final · CORE_BAD the bytes before the position are not what
 * they were: the file was truncated or replaced · CORE_IO see fail. With all but CORE_OK the batch has no lines. */
CORE_CHECKED enum core_err ingest_cutter_fill(struct ingest_cutter *cutter, struct ingest_source *source,
                                              struct core_batch *batch, uint64_t limit, struct core_fail *fail);
#endif
