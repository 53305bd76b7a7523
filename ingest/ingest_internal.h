/* ingest/ingest_internal.h: what the files of this folder share.
 *
 * From the bytes up: a source gives bytes at an offset; a cutter makes lines of them and knows where it is; a file is a
 * stream with its name, its identity and its accounts of batches; the table finds files; watch.c and scan.c notice what
 * happens to them; position.c writes down where one stands; checkpoint.c remembers; ledger.c keeps the accounts; commit.c
 * talks with the keeper of positions; ingest.c takes turns.
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
#include "ingest/health_internal.h"
#include "ingest/ingest.h"

#define INGEST_MARKER_BYTES 1024              /* bytes before a position whose hash proves that the file is the same */
#define INGEST_READ_BYTES (256 * CORE_KIB)    /* what a batch asks for; stays inside a core's second-level cache */
#define INGEST_CUT_HEAD_BYTES (64 * CORE_KIB) /* what is kept of a line that is too long */
#define INGEST_HEADER_BYTES_MAX (128 * CORE_KIB) /* a longer header block is not shown again after a restart */
#define INGEST_HEADER_LINES_MAX 1024             /* nor one of more lines */
#define INGEST_SCAN_BYTES_MAX (16 * CORE_MIB)    /* one turn's share of looking for the end of a too long line */

/* ---- source.c: bytes at an offset, from a file, a .gz or a pipe ------------------------------------------------------ */

/* Where a stream's bytes come from. A plain file is read at any offset. A .gz and a pipe ("one way") are read onwards, so
 * what was read and not used is given back with unread(); a .gz can start over, a pipe cannot. */
struct ingest_source {
    const char *where; /* the name for messages; the owner's */
    int fd;            /* -1: closed */
    bool is_gz;
    bool is_seekable; /* the descriptor is a file, read from its beginning */
    bool is_ended;    /* the last read reached the end of what is there */
    int quiet_ms;     /* a pipe: how long a read waits for its first byte; 0: as long as it takes */
    bool is_quiet;    /* the last read waited in vain */
    bool has_enough;  /* a pipe: the next read does not wait, for what was given back holds records */
    struct core_gunzip *gunzip;
    uint64_t next; /* one way: offset of the next byte to give, given-back ones included */
    char *back;    /* one way: what was given back, at [back_from, back_from + back_len) */
    size_t back_from;
    size_t back_len;
    char sniffed[CORE_GZIP_MAGIC_BYTES]; /* first bytes of a pipe, read to look at them */
    size_t sniffed_len;
    /* A copy in the spool has the bytes from base on, and before them the header that they need. Offsets that are asked for
     * are those of the original; the copy's own begin with a line that says this. */
    struct ingest_window {
        uint64_t line_len; /* 0: it is no copy */
        uint64_t base;
        uint64_t header_at;
        uint32_t header_len;
    } window;
};

/* A copy in the spool: read its first line, and answer for the original from then on. Errors: CORE_BAD, CORE_IO. */
CORE_CHECKED enum core_err ingest_source_open_copy(struct ingest_source *source, struct core_fail *fail);
/* Read a copy through, without using it, to see whether its checksums are right. buf is room to throw bytes into. *good: up to
 * which of the original's offsets they are; UINT64_MAX: all. Errors: CORE_AGAIN go on, this was a turn's share · CORE_IO. */
CORE_CHECKED enum core_err ingest_source_check_copy(struct ingest_source *source, char *buf, size_t cap, uint64_t *good,
                                                    struct core_fail *fail);

/* Look at the first bytes and make ready. can_grow: whether too few bytes may become enough.
 * Owns:    takes fd, on failure too (but not with CORE_AGAIN); ingest_source_close().
 * Errors:  CORE_AGAIN too short to tell what it is, and can grow · CORE_IO. */
CORE_CHECKED enum core_err ingest_source_open(struct ingest_source *source, int fd, const char *where, bool can_grow,
                                              struct core_fail *fail);
void ingest_source_close(struct ingest_source *source); /* takes a zeroed one with fd -1 */
/* A .gz on disk gives back the memory of reading it; the next read starts over. */
void ingest_source_rest(struct ingest_source *source);
/* Bytes from offset on. Sets is_ended.
 * Shape:   fills buf as far as there are bytes now; a pipe waits only for the first new one.
 * Errors:  CORE_IO, CORE_BAD (a damaged .gz); *len bytes from before the trouble are good, and it will be told again. */
CORE_CHECKED enum core_err ingest_source_read(struct ingest_source *source, uint64_t offset, char *buf, size_t cap,
                                              size_t *len, struct core_fail *fail);
/* A pipe that is open and has nothing just now. */
bool ingest_source_would_wait(const struct ingest_source *source);
/* The last len bytes that read() gave are not used yet: the next read begins with them. */
void ingest_source_unread(struct ingest_source *source, const char *bytes, size_t len);

static inline bool ingest_source_is_one_way(const struct ingest_source *source) {
    return source->is_gz || !source->is_seekable;
}

/* ---- frames.c: where a record ends that is more than a line --------------------------------------------------------- */

enum ingest_kind {
    INGEST_KIND_UNKNOWN, /* to be told by the first bytes */
    INGEST_KIND_LINES,
    INGEST_KIND_FULL, /* alert_full */
    INGEST_KIND_CMG,  /* alert_fast with the packet behind it */
    INGEST_KIND_UNIFIED2
};

/* Bytes from a record's beginning on. */
struct ingest_view {
    const char *ptr;
    size_t len;
    bool is_still; /* nothing came behind them for a while: what is whole is complete */
    bool is_final; /* nothing will ever come */
};

/* [0, text_len) is the record's text, [0, len) are its bytes. text_len 0: no record, bytes to pass over. */
struct ingest_frame {
    size_t text_len;
    size_t len;
    size_t nuls;
    uint32_t lines;
    bool is_cut; /* longer than the maximum: a dead letter */
};

/* What the config says. UNKNOWN: the bytes must tell. origin may be NULL. */
enum ingest_kind ingest_kind_of(const struct core_origin *origin);
/* What a file is that begins like this. UNKNOWN: more bytes are needed. */
enum ingest_kind ingest_kind_sniff(const struct ingest_view *bytes);
/* The first record of a view that is not empty. false: it is not known yet where it ends. */
bool ingest_frame_next(enum ingest_kind kind, const struct ingest_view *view, struct ingest_frame *frame);

/* ---- lines.c: where bytes become lines ------------------------------------------------------------------------------- */

/* Right behind a record (or at 0): all that is needed to go on from here. */
struct ingest_mark {
    uint64_t pos;
    uint64_t number;     /* lines before pos */
    uint64_t header_at;  /* the last block of `#` lines with `#fields` that a record followed */
    uint32_t header_len; /* 0: none */
    uint32_t marker_len; /* bytes before pos that marker covers, at most INGEST_MARKER_BYTES */
    uint64_t marker;     /* core_hash64 of them */
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
    const char *node; /* for the generation */
    const char *path; /* the stream's first path */
    struct core_counters *counters;
    bool is_end_final; /* the end of the bytes ends the last record: they cannot grow */
    bool is_still;     /* they have not grown for a while: what is whole is complete; the owner's to say */
    enum ingest_kind kind;
    bool is_csv;            /* the first line may be a header of names, whatever they are */
    const char *csv_fields; /* the origin's, which outlives the cutter or is told anew; NULL: none */
    uint64_t skip_size;     /* what skip_until would be if records could end anywhere, for kinds other than LINES */
    /* Position: */
    uint64_t pos;         /* the next byte to cut; behind last.pos there are only lines that are no records */
    uint64_t number;      /* lines before pos */
    bool is_number_known; /* a mark with pos > 0 and number 0 does not know it */
    uint32_t marker_len;  /* of pos, as in the mark */
    uint64_t marker;
    struct ingest_mark last; /* behind the last record */
    struct ingest_run run;   /* `#` lines behind it */
    struct ingest_first first;
    uint64_t gen; /* valid when first.len > 0 */
    /* Moods: */
    uint64_t skip_until; /* a line's end: lines to there are passed over (start: end); UINT64_MAX: all lines */
    bool needs_header;   /* the next batch begins with the header block, shown again */
    bool is_long;        /* in a line longer than the maximum; its bytes to long_pos were looked at */
    bool is_nul_told;
    bool is_peek;   /* only looks: tells nothing */
    bool is_closed; /* the last line that was cut is Zeek's `#close` */
    uint64_t long_pos;
    char *long_head; /* one way sources: the line's head, kept while its end is looked for */
    size_t long_head_len;
    /* Of the last fill: */
    bool is_more;    /* it did not stop for lack of bytes: fill again */
    bool is_pending; /* it left bytes that may be a record once the file has stood still */
};

/* What the config says of the stream, now or from now on; auto leaves the kind as it is. Call it behind
 * ingest_cutter_init(); the origin's texts live as long as the cutter, or until it is told of another. */
void ingest_cutter_tell(struct ingest_cutter *cutter, const struct core_origin *origin);
/* path and node live as long as the cutter. mark NULL: from the beginning. */
void ingest_cutter_init(struct ingest_cutter *cutter, const char *node, const char *path,
                        struct core_counters *counters, const struct ingest_mark *mark,
                        const struct ingest_first *first);
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
/* ---- stream.c: a generation and its batches ---------------------------------------------------------------------------- */

struct ingest;
struct ingest_file;

/* A core_origin that lives as long as a stream points to it, whatever becomes of the config. */
struct ingest_origin {
    struct core_origin core; /* its texts are ours */
    uint32_t refs;
};
struct ingest_origin *ingest_origin_new(const struct core_origin *origin); /* one ref; never NULL (MUST) */
struct ingest_origin *ingest_origin_hold(struct ingest_origin *origin);
void ingest_origin_drop(struct ingest_origin *origin); /* takes NULL */

/* Batches that are delivered, but with a transaction that is still open. One has come to its end before the next begins. */
struct ingest_pending {
    uint64_t txn; /* 0: there are none */
    uint64_t batches;
    struct ingest_mark mark; /* where the stream stands once it is committed */
    uint64_t open_from;
    struct core_tally tally; /* what it adds */
};

/* What batches point to. It outlives its file's closing until its last batch is back, and committed. */
struct ingest_stream {
    struct core_stream core;  /* first: batch->stream is a pointer to it */
    struct ingest_file *file; /* NULL: nothing more is to be remembered (read again after an abort; a control stream) */
    struct ingest_origin *origin;
    char *path;              /* core.path */
    uint64_t seq_next;       /* of the next batch made */
    uint64_t seq_back;       /* all before it are back */
    struct core_batch *held; /* came back before their turn, by seq */
    struct ingest_pending pending;
    uint64_t given_end; /* behind the last record given to a batch */
    bool is_waiting;    /* some of its batches are in ingest->unsaved: later ones must not overtake them */
    bool is_retiring;   /* no batch follows but the one with is_last */
    bool is_last_made;
    bool is_last_back;
    bool is_dropped; /* an abort took batches of it: it ends, and its file is read again with a new one */
    bool is_control; /* of no file: it carries lines for the keeper of positions */
    struct ingest_stream *prev, *next; /* ingest->streams */
};

struct ingest_stream *ingest_stream_new(struct ingest *ingest, struct ingest_file *file);
/* One that belongs to no file. */
struct ingest_stream *ingest_stream_new_control(struct ingest *ingest);
/* Account for a batch that comes back; gives it to the pool in its turn. */
void ingest_stream_back(struct ingest *ingest, struct core_batch *batch);
/* All transactions up to this one are committed. */
void ingest_stream_commit_all(struct ingest *ingest, uint64_t committed);
/* The open transaction came to nothing, and so do the batches of older epochs that are still under way. */
void ingest_stream_drop_all(struct ingest *ingest);
/* Nothing is under way: everything given is accepted, and committed where there is a keeper. */
bool ingest_stream_is_settled(const struct ingest_stream *stream);
/* Make the batches with is_last of the streams that are to end; as many as the pool has room for. */
void ingest_stream_end_all(struct ingest *ingest);
/* No batch of it follows but the one that says so. */
void ingest_stream_retire(struct ingest *ingest, struct ingest_stream *stream);
void ingest_stream_free(struct ingest *ingest, struct ingest_stream *stream);

/* ---- file.c: a file by its inode ---------------------------------------------------------------------------------------- */

enum ingest_queue_id { INGEST_QUEUE_NONE, INGEST_QUEUE_READY, INGEST_QUEUE_LINGER, INGEST_QUEUE_GZ };

/* What the checkpoint has of a stream: gen is valid when first.len > 0. */
struct ingest_memory {
    char *first_path;
    uint64_t gen;
    struct ingest_first first;
    struct ingest_mark accepted;
    uint64_t begin;          /* where its account begins: what was before was passed over, or by an older version */
    uint64_t open_from;      /* where the span of the next event begins: accepted.pos, or before it */
    struct core_tally tally; /* what became of all records since begin */
    int64_t mtime_ns;        /* of the file when first seen */
};

struct ingest_file {
    /* Who it is: */
    dev_t dev;
    ino_t ino;
    int64_t born_ns;    /* its birth, where the file system tells; else 0 */
    char *path;         /* its name now, as far as we know */
    char *rotated_from; /* the name it was renamed away from, or NULL */
    struct ingest_origin *origin;
    struct ingest_memory memory;
    /* What is read of it: */
    struct ingest_stream *stream; /* NULL: no batch under way */
    struct ingest_source source;  /* fd -1: closed */
    struct ingest_cutter cutter;
    bool has_cutter;  /* the cutter knows the position; else memory.accepted is it */
    bool is_proven;   /* it was read since it was found, and is what memory says */
    bool is_looked;   /* a look came since we started */
    bool is_saved;    /* the checkpoint on disk has its generation, or need not */
    bool is_gz;       /* it was one when last opened */
    bool is_from_end; /* start: end, not begun yet */
    bool is_being_judged;
    int64_t judged_size; /* when it was judged last */
    uint64_t found_no;   /* files found earlier have smaller ones */
    bool is_settled;     /* without a first record in memory: judged to be a file of its own (identity.c) */
    bool is_over;        /* complete: read to its end when nothing could follow any more */
    bool is_archived;    /* found by archive: of an input, to finish a generation */
    bool wants_judge;    /* not settled, and changed since it was judged */
    uint64_t copy_good;  /* of a copy in the spool: up to where its checksums are right; 0: not known yet */
    uint64_t copy_lines; /* of a copy in the spool: lines before its end, from the original's beginning; 0: not known */
    bool is_behind;      /* its copy in the spool begins behind its position: what is between is looked for elsewhere */
    int64_t size_cut;    /* of a .gz that was not whole when it was read last; 0: it was */
    dev_t was_dev;       /* without an inode: the one that was truncated */
    ino_t was_ino;
    int64_t
        judge_tick; /* not settled: when it is judged again though it does not change; or read, that stands still; 0: never */
    struct ingest_hold {
        uint64_t
            gen; /* not settled: it looks like a copy of this generation, whose file is still there; 0: it does not */
        int64_t tick; /* since when it stands still */
        int64_t size; /* its size then */
        int64_t judged_tick;
        bool is_derived; /* by its name, too: it waits as long as the other is there */
        bool is_changed; /* since it was judged */
        bool is_up;      /* it has waited long enough */
        bool is_told;
    } hold;
    bool awaits_drain; /* is read on when its stream's batches are back */
    bool is_remote;    /* only the keeper of positions knew it, and nothing was seen of it yet */
    bool is_kept;      /* at recovery: where it stands and its accounts are the keeper's */
    bool awaits_close; /* is closed when all that was read of it is committed */
    bool is_resting;   /* open, but its .gz is not being read and takes no memory for that */
    /* What was seen of it: */
    int64_t size; /* when last looked at, be it by the process before us */
    int64_t mtime_ns;
    int64_t size_seen;   /* the most that was ever seen: what is behind the position then, and gone, is lost */
    int64_t size_read;   /* when it was last read and proved to be the same */
    int64_t size_looked; /* at the last look of a scan */
    int64_t size_found;  /* when it was first seen: where start: end begins */
    int64_t looked_tick; /* when last read */
    int64_t still_tick;  /* since when bytes wait at its end that stillness makes a record; 0: none do */
    int64_t still_size;  /* its size then */
    int64_t grew_tick;   /* when last seen changed */
    uint64_t once_end;   /* --once: what was there */
    uint64_t scan_no;    /* of the last scan whose globs matched it */
    bool is_unlinked;
    bool is_pinned; /* its name does not lead to it: not to be closed before a scan has found out */
    bool is_gone_told;
    uint64_t gone_scan_no;        /* in which scan it was lost sight of */
    bool is_gone;                 /* no fd, and no name leads to it */
    bool is_searched;             /* its directory was searched for it since it is gone */
    bool is_failed;               /* the trouble was told; tried again when it changes, or at the next scan */
    bool is_stuck;                /* a damaged .gz: tried again only when it changes */
    uint64_t told_difference;     /* of its account, when that was last told */
    struct ingest_growth *growth; /* health.c's; NULL: not looked at yet */
    char *trouble;                /* why it is_failed, in words; NULL: it is not */
    int64_t quiet_tick;           /* when it was closed or lost: it is forgotten some time later */
    /* Where it is: */
    enum ingest_queue_id queue;
    int64_t due_tick; /* in the linger queue */
    struct ingest_file *queue_next;
    struct ingest_file *by_inode_next;
    struct ingest_file *by_path_next;
    struct ingest_file *prev, *next; /* ingest->files */
};

struct ingest_file_queue {
    struct ingest_file *head, *tail;
    size_t len;
};

/* Owns: path is copied; the file is in the tables until ingest_file_free(). ino 0: a generation without a file, which only
 * its name finds. */
struct ingest_file *ingest_file_new(struct ingest *ingest, const char *path, dev_t dev, ino_t ino);
void ingest_file_free(struct ingest *ingest, struct ingest_file *file); /* it has no stream */
/* Another inode has its bytes from now on, or none (ino 0). No other file has it. */
void ingest_file_set_inode(struct ingest *ingest, struct ingest_file *file, dev_t dev, ino_t ino);
/* Another file has this inode now, for it was used again: the one that had it, which is not open, has none any more. */
void ingest_file_lose_inode(struct ingest *ingest, struct ingest_file *file);
void ingest_file_set_path(struct ingest *ingest, struct ingest_file *file, const char *path);
struct ingest_file *ingest_file_by_inode(struct ingest *ingest, dev_t dev, ino_t ino);
struct ingest_file *ingest_file_by_path(struct ingest *ingest, const char *path);
void ingest_file_queue(struct ingest *ingest, struct ingest_file *file, enum ingest_queue_id id);
/* It leaves the queue that it stands in, wherever it stands. */
void ingest_file_leave_queue(struct ingest *ingest, struct ingest_file *file);
struct ingest_file *ingest_file_unqueue(struct ingest *ingest, enum ingest_queue_id id);
/* Its bytes are others now: tell, and begin anew; it is closed, and to be judged. */
void ingest_file_replaced(struct ingest *ingest, struct ingest_file *file);
/* Is any file ready to be read? */
bool ingest_files_wait(const struct ingest *ingest);
/* A stat came: is there something to read? Then queue it. */
void ingest_file_look(struct ingest *ingest, struct ingest_file *file, const struct stat *st);
/* Read one batch of it; the pool has one. Was a batch made? */
bool ingest_file_read(struct ingest *ingest, struct ingest_file *file);
/* Was it found, but is yet to be judged: a new file, or another's rest? */
static inline bool ingest_file_is_unsettled(const struct ingest_file *file) {
    return file->memory.first.len == 0 && !file->is_settled;
}
/* Open a file that was just found, so that it stays readable whatever becomes of its name; failing is no harm. */
void ingest_file_open_early(struct ingest *ingest, struct ingest_file *file);
void ingest_file_close(struct ingest *ingest, struct ingest_file *file);
/* It cannot be read: tell of it once, until it is over. */
void ingest_file_tell_failure(struct ingest *ingest, struct ingest_file *file, const struct core_fail *fail);
/* The same, and have its name opened at the next try, if that leads to it. */
void ingest_file_fail(struct ingest *ingest, struct ingest_file *file, const struct core_fail *fail);
/* It was read: if there was trouble that is over. */
void ingest_file_well(struct ingest *ingest, struct ingest_file *file);
/* It is another file now: its stream ends with the batches under way, and it is read from the beginning. Returns what it was,
 * without a file, or NULL when there was nothing to remember. */
struct ingest_file *ingest_file_become_new(struct ingest *ingest, struct ingest_file *file);
/* Something was written to it: read it, but not at once if it was read just now. */
void ingest_file_grown(struct ingest *ingest, struct ingest_file *file);
/* Files that have stood still for ingest.record_wait with a record at their end: read them. */
void ingest_file_still_all(struct ingest *ingest);
/* Read it again from its accepted mark, with a new stream; one that is open stays open. */
void ingest_file_rewind(struct ingest *ingest, struct ingest_file *file);
/* Let it go, and end its stream. */
void ingest_file_retire(struct ingest *ingest, struct ingest_file *file);
uint64_t ingest_file_pos(const struct ingest_file *file);
/* Bytes that were seen in it and not read: should it go now, they are lost. 0 for a .gz. */
uint64_t ingest_file_unread(const struct ingest_file *file);

struct ingest_position;

/* ---- checkpoint.c -------------------------------------------------------------------------------------------------------- */

/* Fill ingest->files from state_dir/checkpoint; no file there: nothing. Errors: CORE_IO, CORE_BAD. */
CORE_CHECKED enum core_err ingest_checkpoint_read(struct ingest *ingest, struct core_fail *fail);
/* Open it: what fd reads stays as it is now, whatever is written from here on. No file there: fd is -1, which
 * ingest_checkpoint_lines() takes. Owns: that closes it. Errors: CORE_IO, CORE_BAD. */
CORE_CHECKED enum core_err ingest_checkpoint_open(const char *state_dir, int *fd, struct core_fail *fail);
/* Give its lines, without their '\n', NUL-terminated, once all of it is known to be whole; on_each answers whether it is a
 * line that a checkpoint has. Closes fd. -1: none. Errors: CORE_IO, CORE_BAD. */
CORE_CHECKED enum core_err ingest_checkpoint_lines(int fd, const char *state_dir,
                                                   bool (*on_each)(void *ctx, char *line), void *ctx,
                                                   struct core_fail *fail);
/* A file that was seen and not read is the one that the position is of. */
void ingest_checkpoint_fill(struct ingest_file *file, const struct ingest_position *position);
/* A file as a position has it; no other has its inode, or it has none. */
struct ingest_file *ingest_checkpoint_add(struct ingest *ingest, const struct ingest_position *position);
/* Write it, durably. On CORE_OK every file in it is_saved. Errors: CORE_IO; the old one is untouched. */
CORE_CHECKED enum core_err ingest_checkpoint_write(struct ingest *ingest, struct core_fail *fail);
/* Write all of it, however many calls that takes. false: errno says why. */
bool ingest_write_all(int fd, const char *bytes, size_t len);

/* ---- position.c: where a file stands, as a line of text ------------------------------------------------------------------- */

#define INGEST_POSITION_BYTES_MAX (32 * CORE_KIB) /* two paths, each byte as %XX, and the numbers */

/* A line, taken apart. Texts point into it. */
struct ingest_position {
    bool is_over;
    uint64_t dev;
    uint64_t ino;
    int64_t born_ns;
    struct ingest_memory memory; /* first_path points into the line */
    int64_t size_seen;
    bool is_gz;
    bool is_done; /* it is complete: nothing can follow the position */
    const char *path;
    int64_t at_ns; /* when it became over; 0: it is not */
};

/* "file gen=… first_path=…" for a mark of the file, without an account and without an end.
 * Shape: at most INGEST_POSITION_BYTES_MAX less what an account takes. Returns its length. */
size_t ingest_position_put(char *line, const struct ingest_file *file, const struct ingest_mark *mark);
/* The whole line as it stands accepted, with its '\n'. at_ns: 0, or when it became over; then the word is "over". */
size_t ingest_position_put_whole(char *line, const struct ingest_file *file, int64_t at_ns);
/* A name as a line has it: without blanks. Returns where it ends. */
char *ingest_position_put_path(char *at, const char *path);
/* The same backwards, in place. false: not what put_path() writes. */
bool ingest_position_get_path(char *text);
/* Where in a line we are. After the first thing that is not as it must be, nothing more is taken. */
struct ingest_cursor {
    char *at;
    bool is_bad;
};
bool ingest_cursor_has(const struct ingest_cursor *cursor, const char *text);
void ingest_cursor_text(struct ingest_cursor *cursor, const char *text);
uint64_t ingest_cursor_unsigned(struct ingest_cursor *cursor, const char *key, int base, uint64_t max);
int64_t ingest_cursor_signed(struct ingest_cursor *cursor, const char *key);
/* One "file" or "over" line, NUL-terminated, without its '\n'; changed in place. false: it is none. */
bool ingest_position_parse(char *line, struct ingest_position *position);

/* ---- ledger.c: the accounts ------------------------------------------------------------------------------------------------- */

#define INGEST_LEDGER_BYTES_MAX (16 * CORE_MIB) /* of state_dir/ledger; one older is kept beside it */
#define INGEST_LEDGER_NS (30 * CORE_NS_PER_S)   /* the accounts are looked at so often */
#define INGEST_LEDGER_TOLD_MAX 8                /* generations named at a time when accounts do not agree */
#define INGEST_LINES_BYTES_MAX (16 * CORE_MIB)  /* of lines that wait to be written down or carried */

/* Lines that wait. */
struct ingest_lines {
    char *text;
    size_t len;
    size_t cap;
    bool is_full; /* it was, and that was told */
};

/* Numbers of generations. */
struct ingest_gens {
    uint64_t *slots; /* cap, a power of two; 0: free */
    size_t len;
    size_t cap;
};
void ingest_gens_add(struct ingest_gens *gens, uint64_t gen);
bool ingest_gens_has(const struct ingest_gens *gens, uint64_t gen);
/* Does a file other than this one have the number, or is it one of those that are over and still remembered (by the keeper of
 * positions, or by the ledger on this disk)? but may be NULL. */
bool ingest_gen_is_known(const struct ingest *ingest, const struct ingest_file *but, uint64_t gen);
/* Learn the numbers in the ledger on this disk. A ledger that cannot be read is said, and no reason to stop. */
void ingest_ledger_learn(struct ingest *ingest);
/* This generation is finished; say so in the ledger and to the keeper of positions. Nothing of it is under way. */
void ingest_ledger_over(struct ingest *ingest, const struct ingest_file *file);
/* Write down what is over, and look at the accounts, when it is time. */
void ingest_ledger_turn(struct ingest *ingest);
/* Append a line. false: there are too many; told once. */
bool ingest_lines_add(struct ingest_lines *lines, const char *text, size_t len);

/* ---- commit.c: the other half of core/commit.h ------------------------------------------------------------------------------ */

struct ingest_over {
    uint64_t gen;
    int64_t at_ns;
};

struct ingest_commit {
    bool is_ready;             /* positions were taken, or there is no keeper: reading has begun */
    bool is_keeping;           /* batches are accepted when their transaction is committed */
    bool was_keeping;          /* the checkpoint that was read is of a process for which that was so */
    bool is_rewinding;         /* an abort came: nothing is read until all is back */
    uint64_t epoch;            /* in which batches are made */
    uint64_t newest;           /* the newest epoch heard of */
    uint64_t committed;        /* the last transaction heard of that is */
    struct ingest_lines lines; /* over and gone, for the keeper; the first `carried` bytes are under way */
    size_t carried;
    struct ingest_over *overs; /* what the keeper remembers of finished files */
    size_t overs_len;
    size_t overs_cap;
    int64_t gone_tick; /* when they are looked at again */
};

/* Hear what has become of transactions. Call it behind taking a batch and before accounting for it. Did it change anything? */
bool ingest_commit_notice(struct ingest *ingest);
/* Begin, once the keeper has heard from its server; read again what was aborted, once all is back; hand over lines.
 * Errors: CORE_BAD positions that cannot be understood. */
CORE_CHECKED enum core_err ingest_commit_turn(struct ingest *ingest, bool *did, struct core_fail *fail);
/* May files be looked at and read now? */
bool ingest_commit_may_read(const struct ingest *ingest);
/* Must a generation be on this disk before its first batch leaves? With a keeper it travels with the batch. */
static inline bool ingest_commit_is_local(const struct ingest_commit *commit) {
    return !commit->is_keeping;
}
/* The position line of a batch, into its arena. */
void ingest_commit_mark(struct ingest *ingest, const struct ingest_file *file, struct core_batch *batch);
/* The lines under way are committed, or not. */
void ingest_commit_lines_back(struct ingest *ingest, bool is_committed);
/* Tell the keeper that a generation is finished. line: with its '\n'. */
void ingest_commit_over(struct ingest *ingest, uint64_t gen, int64_t at_ns, const char *line, size_t len);
void ingest_commit_close(struct ingest *ingest);

/* ---- identity.c: which generation a file's bytes are -------------------------------------------------------------------- */

/* Judge a file that was found. true: it is one of its own, and can be read. false: it waits, or another generation goes on
 * in it and is queued; then it is freed. The file stands in no queue. */
bool ingest_identity_judge(struct ingest *ingest, struct ingest_file *file);
/* Judge those found last, as many as a scan has time for. */
void ingest_identity_judge_all(struct ingest *ingest);
/* Look into the archives for what is gone with bytes to read, when it is time. */
void ingest_archive_search(struct ingest *ingest);
/* The file has other bytes by now: what it was becomes a generation without a file, which another file may go on with. The
 * file is left without a memory. Returns it, or NULL when there was nothing to remember. */
struct ingest_file *ingest_file_orphan(struct ingest *ingest, struct ingest_file *file);
/* A number that no other generation has. */
uint64_t ingest_identity_gen(const struct ingest *ingest, const struct ingest_file *file, uint64_t gen);
void ingest_identity_close(struct ingest *ingest);

/* ---- spool.c: what a rotation may delete while nothing can be delivered ------------------------------------------------------ */

struct ingest_spool {
    struct ingest_spool_conf conf; /* dir: resolved, ours; NULL: no spool */
    bool is_ready;                 /* the directory was looked through */
    int64_t look_tick;             /* when it is looked after copies that begin behind a position; 0: there are none */
    int64_t progress_tick;         /* when something was last accepted, or could have been read */
    int64_t retry_tick;            /* not before: there was trouble, or no room */
    uint64_t used;                 /* bytes of all copies */
    bool is_told;                  /* that copies are being made */
    bool is_full_told;
    struct ingest_copy { /* the one being made */
        int fd;          /* the original's; -1: none is being made */
        int out_fd;
        struct core_gzip *gzip;
        dev_t dev;
        ino_t ino;
        uint64_t gen;
        uint64_t from; /* the accepted position */
        uint64_t pos;  /* copied up to here */
        uint64_t end;
        uint64_t lines; /* behind from */
        int64_t begun_tick;
        uint64_t out_len;
    } copy;
};

/* conf may be NULL. */
void ingest_spool_open(struct ingest *ingest, const struct ingest_spool_conf *conf);
/* New limits; the directory stays. conf may be NULL. */
void ingest_spool_reload(struct ingest *ingest, const struct ingest_spool_conf *conf);
/* Copy a little, if nothing can be delivered. Returns whether there may be more to do at once. */
bool ingest_spool_turn(struct ingest *ingest);
/* Remove copies that were read to their end, when the checkpoint says so, too. */
void ingest_spool_clean(struct ingest *ingest);
/* Is it read from a copy, up to which of the original's bytes does that go? 0: it is none. */
uint64_t ingest_spool_end_of(const struct ingest *ingest, const struct ingest_file *file);
/* Is this the path of a copy? */
bool ingest_spool_has(const struct ingest *ingest, const char *path);
/* A copy was opened: does it have what follows the position? If not the file is looked for elsewhere first, and this is false;
 * then what is missing is told, counted and passed over. */
bool ingest_spool_may_begin(struct ingest *ingest, struct ingest_file *file);
/* Is the file that this copy was made of still there? */
bool ingest_spool_has_original(const struct ingest_file *file);
/* A copy cannot be read on. Go back to the original, or give up what is left of it. */
void ingest_spool_damaged(struct ingest *ingest, struct ingest_file *file, const struct core_fail *fail);
void ingest_spool_close(struct ingest *ingest);

#define INGEST_WATCHES_MAX 1024 /* directories; files in others are found by the scan */

/* ---- watch.c: inotify ----------------------------------------------------------------------------------------------------- */

#define INGEST_MOVED_MAX 64 /* renames whose two halves may be apart */

struct ingest_watch {
    int fd; /* -1: not to be had, or not wanted */
    struct ingest_watch_dir {
        int wd;
        char *prefix; /* of the names of its files: "" or "…/" */
    } dirs[INGEST_WATCHES_MAX];
    size_t dirs_len;
    struct ingest_moved {
        uint32_t cookie; /* 0: none */
        char *path;
    } moved[INGEST_MOVED_MAX]; /* names that files were moved from, until it is heard where to */
    size_t moved_next;
    size_t last;  /* found last: most likely the next, too */
    bool is_told; /* that some directory cannot be watched */
};

void ingest_watch_open(struct ingest *ingest);
void ingest_watch_close(struct ingest *ingest);
/* Watch the directory that holds path. Cheap when it is watched already. */
void ingest_watch_add(struct ingest *ingest, const char *path);
/* Names of directories may lead to others by now (a symlink flipped): watch those. */
void ingest_watch_refresh(struct ingest *ingest);
/* Take the events: files to look at, or the scan to come soon. */
void ingest_watch_drain(struct ingest *ingest);

/* ---- scan.c: globs, names, comings and goings ----------------------------------------------------------------------------- */

/* One input as we hold it. */
struct ingest_want {
    char **paths;
    size_t paths_len;
    char **excludes;
    size_t excludes_len;
    char **archives;
    size_t archives_len;
    bool is_from_end;
    struct ingest_origin *origin;
};

struct ingest_wants {
    struct ingest_want *items;
    size_t len;
};

void ingest_wants_init(struct ingest_wants *wants, const struct ingest_input *inputs, size_t len);
void ingest_wants_release(struct ingest_wants *wants);
void ingest_scan(struct ingest *ingest);
struct ingest_listing;
void ingest_listing_free(struct ingest_listing *listing); /* takes NULL */
/* A rename was heard of: if a glob gives the old name, and none the new one, and no scan has seen the file, it is found now. */
void ingest_scan_moved(struct ingest *ingest, const char *from, const char *to);
/* Does a glob of an input give this name? */
bool ingest_is_wanted(struct ingest *ingest, const char *path);
/* The input whose generation this is: by the name it began with, else by its name now. NULL: none names it any more. */
struct ingest_want *ingest_want_of(struct ingest *ingest, const struct ingest_file *file);
/* Is it excluded from this input? */
bool ingest_want_excludes(const struct ingest_want *want, const char *path);
/* It is open or closed, and stands still: can nothing follow in it any more? */
bool ingest_file_has_ended(const struct ingest *ingest, const struct ingest_file *file, int64_t now);
/* Does this name lead to the file's inode, and was that born with it? */
bool ingest_file_is_at(const struct ingest_file *file, const char *path, struct stat *st);
/* When the file of this name was born, ns since the epoch; 0 where the file system does not tell. */
int64_t ingest_born_at(const char *path);

/* ---- ingest.c -------------------------------------------------------------------------------------------------------------- */

#define INGEST_BUCKETS 8192                      /* of each hash table; a power of two */
#define INGEST_GZ_OPEN_MAX 4                     /* .gz files read at a time: each holds about 3 MiB */
#define INGEST_LINGER_NS (20 * CORE_NS_PER_MS)   /* a file just read is not read again sooner: bigger batches */
#define INGEST_SCAN_GAP_NS (50 * CORE_NS_PER_MS) /* between two scans at least */
#define INGEST_FORGET_NS                                                                                               \
    (24 * 3600 *                                                                                                       \
     CORE_NS_PER_S) /* a complete file that no glob matches is forgotten after that; one that may have more  \
                                   is remembered for ingest.remember, if that is longer */
#define INGEST_ENDED_NS (300 * CORE_NS_PER_S) /* a renamed file without a successor is over after that, at least */
#define INGEST_ARCHIVE_GAP_NS CORE_NS_PER_S   /* between two looks into the archives, at first; it doubles … */
#define INGEST_ARCHIVE_GAP_NS_MAX (300 * CORE_NS_PER_S) /* … up to this */
#define INGEST_ARCHIVE_LOOKS_MAX 64                     /* files of archives opened in one scan */
#define INGEST_ARCHIVE_SEEN 16384                       /* those that were looked at in vain; a power of two */
#define INGEST_LIVE_NS (10 * CORE_NS_PER_S) /* a file written to since is not backlog, however short close_after is */
#define INGEST_JUDGE_MAX 512                /* new files looked into in one scan; others when their turn comes */
#define INGEST_TOLD 1024 /* troubles of paths that are no log files, told once each; a power of two */

struct ingest {
    uint32_t magic;
    struct ingest_env env; /* node, state_dir: our copies; inputs, conf: not valid after open */
    struct ingest_conf conf;
    struct ingest_wants wants;
    struct ingest_watch watch;
    struct ingest_file *files;
    size_t files_len;
    uint64_t open_len; /* with a descriptor */
    uint32_t gz_len;   /* of these, .gz */
    struct ingest_file *by_inode[INGEST_BUCKETS];
    struct ingest_file *by_path[INGEST_BUCKETS];
    struct ingest_file_queue ready, linger, gz_wait;
    struct ingest_file_queue backlog; /* ready, too, but old: by the time of the last write */
    bool is_backlog_next;             /* the turn is the backlog's */
    struct ingest_stream *streams;
    int64_t still_due;   /* when the first file with a still_tick is to be looked at; INT64_MAX: none is */
    size_t retiring_len; /* streams whose last batch is yet to be made */
    uint32_t worker_next;
    struct ingest_mark *tickets; /* by the batch's index in the pool: where its stream stands once it is accepted */
    struct core_batch *unsaved;  /* made, but of generations that the checkpoint does not have yet */
    struct core_batch **unsaved_tail;
    uint64_t outstanding; /* pushed, not returned */
    struct ingest_spool spool;
    struct ingest_health health;
    uint64_t pending; /* delivered, not committed */
    struct ingest_commit commit;
    struct ingest_lines over_lines; /* for the ledger on this disk */
    int64_t over_tick;              /* when writing them is tried again */
    struct ingest_gens over_gens;   /* finished generations */
    struct core_tally over_tally;   /* of the generations that were over since we started */
    int64_t ledger_tick;
    uint64_t scan_no;
    int64_t scan_tick; /* of the next scan */
    int64_t scan_gap_ns;
    int64_t scanned_tick;
    bool is_dirty;           /* the checkpoint on disk is not what we know */
    int64_t checkpoint_tick; /* of the next write, if there is progress */
    bool is_urgent; /* a file was found: should it be renamed and we be killed, only the checkpoint would know it */
    bool is_checkpoint_failed; /* the last write, that is */
    char *text;                /* the checkpoint being written */
    size_t text_cap;
    uint64_t *globs_seen; /* hashes of the globs that were looked at once: start: end is over for them */
    size_t globs_seen_len;
    uint64_t told[INGEST_TOLD];
    struct ingest_listing *listing; /* scan.c's */
    struct core_pool peek;          /* one batch, to look at files with; made when first needed */
    struct core_counters *peek_counters;
    uint64_t found_no; /* of the file found last */
    bool is_judging_elders;
    size_t unjudged_len; /* files that want to be judged, at least */
    bool is_gone_new;    /* a generation was lost sight of since the archives were looked at */
    int64_t archive_tick;
    int64_t archive_gap_ns;
    uint64_t *archive_seen;
    bool is_once;
    bool is_hurried;
    uint64_t hurried_scan_no; /* scans there had been by then */
    bool is_stopped;
};

/* Hand a batch of this stream on, or keep it until the stream's generation is written down. */
void ingest_emit(struct ingest *ingest, struct ingest_stream *stream, struct core_batch *batch);
/* Was this trouble of this path not told yet? Then it is now. */
bool ingest_tell(struct ingest *ingest, const char *path, const char *what);
void ingest_untell(struct ingest *ingest, const char *path,
                   const char *what); /* it is over: the next time is told again */
bool ingest_glob_is_seen(const struct ingest *ingest, uint64_t hash);
void ingest_glob_see(struct ingest *ingest, uint64_t hash);
char *ingest_strdup(const char *text); /* never NULL (MUST): names are few and short */

#endif
