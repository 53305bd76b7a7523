/* cmd/feed_book.h: what feeders wrote down of the topics, held against what the topics have.
 *
 * A row says what became of all records of one partition from an offset up to another, by day and dataset. So each row is
 * judged by itself: the records that are there between its two offsets are as many, day by day and dataset by dataset, as it
 * says, and the rows of a partition join. What differs has a topic, a partition and offsets, so that it can be looked at.
 * What retention has deleted cannot be counted: of a row that begins before the oldest record left, what is missing counts
 * as deleted, and only what is too much is wrong.
 *
 *   feed_book_row, feed_book_count … -> feed_book_settle -> feed_book_place … -> feed_book_take … -> feed_book_judge
 *
 * Memory: 48 bytes for each day and dataset of a row, about 100 a row.        Thread: one.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_FEED_BOOK_H
#define TAPLINE_CMD_FEED_BOOK_H

#include "core/core.h"

#define FEED_BOOK_FINDINGS_MAX 10000 /* more are counted, not listed */
#define FEED_BOOK_NAMES_MAX 4096     /* datasets */
#define FEED_BOOK_DAY_MIN INT32_MIN  /* since nothing: every row */

/* Of one day and one dataset. */
struct feed_cell {
    int32_t day;                      /* since 1970-01-01, UTC; of the record's timestamp in Kafka */
    uint32_t dataset;                 /* index into feed_book.datasets */
    uint64_t indexed, repeated, dead; /* as the row says */
    uint64_t counted;                 /* records that are there */
};

/* Cells of a stretch of a partition: a row, a hole before one, or what no row speaks of yet. */
struct feed_cells {
    struct feed_cell *items;
    size_t len, cap;
    size_t last; /* where the one before was found */
};

struct feed_row {
    int64_t from, to;
    struct feed_cells cells;
    struct feed_cells hole; /* records that are there between the row before and this one */
    int64_t hole_first, hole_last;
    bool is_over; /* it shares offsets with another one: not judged by number */
};

/* A partition that has rows, or that there is. */
struct feed_part {
    char *topic;
    int partition;
    bool is_there;
    int64_t low, high; /* offsets it has, if it is there */
    int64_t start;     /* nothing before is looked at */
    struct feed_row *rows;
    size_t rows_len, rows_cap;
    size_t at;              /* the first row that ends behind the record taken last */
    struct feed_cells open; /* behind the last row */
    uint64_t records, tombstones;
};

enum feed_wrong {
    FEED_WRONG_GAP,     /* records that no row speaks of, before one that does */
    FEED_WRONG_OVERLAP, /* offsets that two rows speak of */
    FEED_WRONG_COUNT,   /* a row, a day, a dataset: not as many records as it says */
    FEED_WRONG_BEHIND,  /* a row ends behind the partition's end: this is another topic of that name */
    FEED_WRONG_KINDS
};
extern const char *const feed_wrong_names[FEED_WRONG_KINDS];

struct feed_finding {
    enum feed_wrong kind;
    size_t part;
    int64_t from, to; /* offsets; to is behind the last */
    int32_t day;      /* COUNT */
    uint32_t dataset; /* COUNT */
    uint64_t counted; /* COUNT, GAP: records there */
    uint64_t said;    /* COUNT: records by the row. BEHIND: the partition's end */
};

/* A line of the answer. */
struct feed_sum {
    int32_t day;
    uint32_t dataset;
    uint64_t accepted; /* records that are in the topics */
    uint64_t deleted;  /* that retention has deleted since they were fed */
    uint64_t indexed, repeated, dead;
    uint64_t open; /* accepted and not fed yet */
};

struct feed_book {
    struct feed_part *parts;
    size_t parts_len, parts_cap;
    char **datasets;
    size_t datasets_len, datasets_cap;
    /* By feed_book_judge(): */
    struct feed_sum *sums; /* by day and dataset's name */
    size_t sums_len, sums_cap;
    struct feed_sum all;
    struct feed_finding *findings; /* by partition and offset */
    size_t findings_len, findings_cap;
    uint64_t wrong[FEED_WRONG_KINDS]; /* also those that are not listed */
    uint64_t tombstones;
    size_t rows_len;
};

/* Begin a row, as a value of the topic says it; one of the same beginning that reaches further stays.
 * Shape: returns what feed_book_count() is given; NULL: there is a newer one. Valid until the next row. */
struct feed_row *feed_book_row(struct feed_book *book, struct core_span topic, int partition, int64_t from, int64_t to);
/* One day and dataset of it. Errors: CORE_LIMIT more datasets than FEED_BOOK_NAMES_MAX. */
CORE_CHECKED enum core_err feed_book_count(struct feed_book *book, struct feed_row *row, const struct feed_cell *cell,
                                           struct core_span dataset, struct core_fail *fail);
/* The row's key was deleted. */
void feed_book_drop(struct feed_book *book, struct core_span topic, int partition, int64_t from);
/* All rows are there: bring them into order. Rows of a partition before the first that speaks of `since` or later are left
 * out. Returns whether they join, as far as offsets tell. */
bool feed_book_settle(struct feed_book *book, int32_t since);
/* A partition that there is, with its bounds; again, when they have moved. Returns its index in parts. */
size_t feed_book_place(struct feed_book *book, const char *topic, int partition, int64_t low, int64_t high);
/* A record that is there; those of one partition in order. Errors: as feed_book_count(). */
CORE_CHECKED enum core_err feed_book_take(struct feed_book *book, size_t part, int64_t offset, int32_t day,
                                          struct core_span dataset, struct core_fail *fail);
/* All records were taken: fill sums and findings. */
void feed_book_judge(struct feed_book *book);
/* Is there nothing wrong? */
bool feed_book_is_right(const struct feed_book *book);
/* Records that went in and did not come out; negative: more came out. */
int64_t feed_book_difference(const struct feed_sum *sum);
void feed_book_release(struct feed_book *book); /* zeroes it */

/* "2026-11-22" as a day. False: it is none. */
CORE_CHECKED bool feed_book_day_parse(struct core_span text, int32_t *day);
/* The other way. Shape: 10 bytes and a NUL. */
void feed_book_day_put(int32_t day, char out[11]);

#endif
