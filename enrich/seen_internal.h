/* enrich/seen_internal.h: what was seen lately, on this sensor's own disk.
 *
 *   seen_key.c      an observable as bytes that sort so that a network and a domain's subdomains are one range
 *   seen_table.c    what has been seen since the last segment was written, in memory
 *   seen_segment.c  a file of sorted records: its writer, its reader
 *   seen_merge.c    several readers as one
 *   seen.c          the folder of segments: written, merged, dropped, asked
 *   lookback.c      the thread that does this, and what the enrich thread hands it
 * docs/adr/0032 says why.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_SEEN_INTERNAL_H
#define TAPLINE_ENRICH_SEEN_INTERNAL_H

#include "core/codec.h"
#include "core/json.h"
#include "enrich/enrich_internal.h"

/* ---- records --------------------------------------------------------------------------------------------------------------- */

#define SEEN_SAMPLES_MAX 3
#define SEEN_UID_BYTES_MAX 23                           /* Zeek's have 18; a longer one is left out */
#define SEEN_KEY_BYTES_MAX (2 + ENRICH_VALUE_BYTES_MAX) /* type, family, value */

/* One record in which it was seen. */
struct seen_sample {
    uint64_t gen; /* with start: the record id */
    uint64_t start;
    uint8_t uid_len; /* 0: the record has no uid */
    char uid[SEEN_UID_BYTES_MAX];
};

/* An observable, and when it was seen. Times are those of the records, µs since 1970. */
struct seen_record {
    struct core_span key;
    uint64_t count;
    int64_t first_us;
    int64_t last_us;
    unsigned samples_len;
    struct seen_sample samples[SEEN_SAMPLES_MAX];
};
/* Put what `other` says of the same key to it. */
void seen_record_add(struct seen_record *record, const struct seen_record *other);

/* ---- keys ------------------------------------------------------------------------------------------------------------------ */

/* The bytes that an observable is sorted by. Shape: false: it is no canonical text of its type. Owns: *key lives in room. */
CORE_CHECKED bool seen_key_write(enum core_indicator type, struct core_span canonical, char room[SEEN_KEY_BYTES_MAX],
                                 struct core_span *key);
/* The same for an address as most records have it, without working out its one form first; nearly all are written so.
 * Shape: false: it is none of these, or no address: see enrich_canonical(). */
CORE_CHECKED bool seen_key_plain(struct core_span text, char room[SEEN_KEY_BYTES_MAX], struct core_span *key);
/* And back. Shape: false: we did not write this. */
CORE_CHECKED bool seen_key_read(struct core_span key, char room[ENRICH_VALUE_BYTES_MAX], enum core_indicator *type,
                                struct core_span *value);
int seen_key_compare(struct core_span a, struct core_span b); /* as memcmp; a prefix comes first */

/* All that an indicator names: the keys from `from` to `to`, or, of a domain with its subdomains, `from` and what is below
 * it. Two ranges are apart, or one is in the other. */
struct seen_range {
    struct core_span from;
    struct core_span to; /* len 0: see is_below */
    bool is_below;       /* `from` and all below it; else, with to.len 0, `from` alone */
};
/* Shape: false: no observable can be named by it. Owns: spans live in room. */
CORE_CHECKED bool seen_range_of(enum core_indicator type, struct core_span value, bool subdomains,
                                char room[SEEN_KEY_BYTES_MAX * 2], struct seen_range *range);
/* -1: the key is before all of the range, 0: in it, 1: behind it. */
int seen_range_has(const struct seen_range *range, struct core_span key);
/* By `from`; of two that begin alike the one that holds the other is first. */
int seen_range_compare(const struct seen_range *a, const struct seen_range *b);

/* ---- the table in memory ---------------------------------------------------------------------------------------------------- */

struct seen_slot {
    uint32_t hash;
    uint32_t entry; /* from 1; 0: empty */
};
#define SEEN_SHORT_BYTES 16
struct seen_entry {
    int64_t first_us;
    int64_t last_us;
    uint64_t text[2]; /* all of a short one; of a longer one its hash, and where in texts it is */
    uint32_t count;
    uint32_t sample; /* the last one noted, from 1 */
    uint16_t len;
    uint8_t type;
    uint8_t samples_len;
};
struct seen_noted {
    struct seen_sample sample;
    uint32_t before; /* the one noted before it, from 1; 0: none */
};
/* Observables as they stand in records; their one form is found when they are written. */
struct seen_table {
    struct core_arena memory;
    struct seen_slot *slots; /* a power of two, at least twice as many as entries */
    struct seen_entry *entries;
    struct seen_noted *samples;
    char *texts; /* longer ones */
    uint32_t slots_len;
    uint32_t entries_len;
    uint32_t entries_max;
    uint32_t samples_len;
    uint32_t samples_max;
    uint32_t texts_len;
    uint32_t texts_max;
    uint64_t added;    /* observables */
    uint64_t left_out; /* new ones that found no room */
    int64_t since_ns;  /* CLOCK_REALTIME, when it was made or emptied */
};
/* bytes: of all of it. Owns: seen_table_destroy(). */
CORE_CHECKED enum core_err seen_table_init(struct seen_table *table, size_t bytes, struct core_fail *fail);
void seen_table_clear(struct seen_table *table, int64_t now_ns);
void seen_table_destroy(struct seen_table *table); /* takes a zeroed one */
/* All observables of a batch's events, but for dead letters and our own datasets. Allocates nothing. Thread: the table's. */
void seen_table_add(struct seen_table *table, const struct core_batch *batch);
/* The text of an entry. Owns: it lives in the table or in room. */
struct core_span seen_table_text(const struct seen_table *table, const struct seen_entry *entry,
                                 char room[SEEN_SHORT_BYTES]);
/* Little room is left: time to write it. */
bool seen_table_is_crowded(const struct seen_table *table);

/* ---- segments --------------------------------------------------------------------------------------------------------------- */

#define SEEN_BLOCK_BYTES ((size_t)32 * CORE_KIB) /* plain; one record more may begin below it */
#define SEEN_BLOCK_BYTES_MAX (SEEN_BLOCK_BYTES + (size_t)8 * CORE_KIB)

/* What a segment's end says of it. */
struct seen_info {
    uint64_t records;
    uint64_t count;   /* observables */
    int64_t first_us; /* of records */
    int64_t last_us;  /* of records */
    int64_t since_ns; /* of the clock: when what it holds was begun and */
    int64_t until_ns; /* ended: what its age goes by */
    uint64_t bytes;   /* of the file */
};

struct seen_writer;
/* Compressing costs several times what all the rest of writing does, and is for what will stay. */
enum seen_pack { SEEN_STORED, SEEN_COMPRESSED };
/* Begin a segment in a folder, under a temporary name. Owns: seen_writer_finish() or seen_writer_drop().
 * Errors: CORE_IO. */
CORE_CHECKED enum core_err seen_writer_open(struct seen_writer **out, const char *dir, enum seen_pack pack,
                                            struct core_fail *fail);
/* Keys come in rising order, none twice. */
CORE_CHECKED enum core_err seen_writer_put(struct seen_writer *writer, const struct seen_record *record,
                                           struct core_fail *fail);
/* Make it a file of that name, which survives a crash from then on. info: since_ns and until_ns are the caller's, the rest
 * is filled. The writer is freed, whatever is returned. */
CORE_CHECKED enum core_err seen_writer_finish(struct seen_writer *writer, const char *name, struct seen_info *info,
                                              struct core_fail *fail);
void seen_writer_drop(struct seen_writer *writer); /* takes NULL */

struct seen_reader;
/* Errors: CORE_IO · CORE_BAD it is no segment, or damaged: fail says where. */
CORE_CHECKED enum core_err seen_reader_open(struct seen_reader **out, const char *dir, const char *name,
                                            struct core_fail *fail);
void seen_reader_close(struct seen_reader *reader); /* takes NULL */
const struct seen_info *seen_reader_info(const struct seen_reader *reader);
/* Go forward to the first record whose key is not before this one (len 0: the next). reader's record is it then, until the
 * next call. A block that is damaged is passed over, and said.
 * Errors: CORE_GONE there is none · CORE_IO. */
CORE_CHECKED enum core_err seen_reader_next(struct seen_reader *reader, struct core_span from, struct core_fail *fail);
const struct seen_record *seen_reader_record(const struct seen_reader *reader);

/* ---- several segments ------------------------------------------------------------------------------------------------------- */

struct seen_merge;
/* readers are the merge's from then on. */
struct seen_merge *seen_merge_new(struct seen_reader **readers, size_t len); /* never NULL (MUST) */
void seen_merge_free(struct seen_merge *merge);                              /* takes NULL; closes the readers */
/* The first record not before `from` (len 0: the next): what all of them say of its key. Errors: as seen_reader_next(). */
CORE_CHECKED enum core_err seen_merge_next(struct seen_merge *merge, struct core_span from, struct seen_record *record,
                                           struct core_fail *fail);

/* ---- the folder ------------------------------------------------------------------------------------------------------------- */

struct seen_limits {
    uint64_t bytes_max;
    int64_t age_ns_max;
};

struct seen;
/* Make or find the folder; what a crash left half is cleared away. Owns: seen_close(*out). Errors: CORE_IO. */
CORE_CHECKED enum core_err seen_open(struct seen **out, const char *dir, const struct seen_limits *limits,
                                     struct core_fail *fail);
void seen_close(struct seen *seen); /* takes NULL */
/* Write what the table has as a segment. The table is as it was. Errors: CORE_IO: nothing was written. */
CORE_CHECKED enum core_err seen_write(struct seen *seen, const struct seen_table *table, struct core_fail *fail);
/* Whom seen_tidy() and seen_ask() ask every few thousand records whether to go on: false ends them with CORE_AGAIN, and
 * nothing is changed. Before it is given they always do. */
void seen_heed(struct seen *seen, bool (*goes_on)(void *ctx), void *ctx);
/* Merge what belongs together: the segments of an hour that is over, of a day that is over; drop what is too old or too
 * much. */
CORE_CHECKED enum core_err seen_tidy(struct seen *seen, int64_t now_ns, struct core_fail *fail);
/* One pass over all segments: on_match for each record that a range has, with the range's index; false ends it. Ranges are
 * sorted by seen_range_compare(). Errors: CORE_IO · CORE_AGAIN. */
CORE_CHECKED enum core_err seen_ask(struct seen *seen, const struct seen_range *ranges, size_t len,
                                    bool (*on_match)(void *ctx, size_t range, const struct seen_record *record),
                                    void *ctx, struct core_fail *fail);
struct seen_totals {
    uint64_t segments;
    uint64_t bytes;
    uint64_t records;
    uint64_t dropped; /* segments, since it was opened */
    uint64_t merged;  /* segments that became part of another */
};
struct seen_totals seen_totals(const struct seen *seen);

#endif
