/* cmd/dead_letter.h: what `tapline dead-letter list`, `show` and `retry` share: the letters of feed.dead_letter_topic, and
 * which of them were put back.
 *
 * A letter is one of three kinds: a document that the search engine refused ("refused"), a record of a topic that is no
 * document ("unreadable"), and a line that no map could read ("line"), which was written by `tapline run`. Only the first can be
 * put back. That it was is a record of feed.ledger_topic (compacted): key dead/TOPIC/PARTITION/OFFSET of the letter.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_DEAD_LETTER_H
#define TAPLINE_CMD_DEAD_LETTER_H

#include "cmd/cmd.h"
#include "cmd/config.h"
#include "core/kafka_read.h"

#define DEAD_ID_BYTES 40

/* A letter. Spans lie in the record or in the book's arena: valid during the call that told it. */
struct dead_letter {
    char id[DEAD_ID_BYTES]; /* as the index has it (_id); of a record without a header: PARTITION/OFFSET */
    int partition;
    int64_t offset;
    int64_t time_ms; /* when Kafka took it; -1: not known */
    struct core_span key;
    struct core_span value;    /* the whole letter, as it stands in the topic */
    struct core_span kind;     /* "refused", "unreadable", "line" */
    struct core_span reason;   /* error.message */
    struct core_span dataset;  /* of the document; len 0: not known */
    struct core_span document; /* the document's record id, 32 hex */
    struct core_span topic;    /* where the document came from, and still is if retention lets it; len 0: from a file */
    struct core_span from_partition;
    struct core_span from_offset;
    struct core_span path; /* of a line: its file */
    struct core_span line;
    struct core_span original;
    bool is_retried;
    const char *obstacle; /* why it cannot be put back, and what a person can do; NULL: it can */
};

/* Which letters. */
struct dead_filter {
    int64_t since_ms;
    const char *dataset; /* NULL: any */
    const char *reason;  /* occurs in it, in whatever case; NULL: any */
    bool has_retried;    /* those that were put back, too */
    char **ids;          /* ids of letters or documents, or PARTITION/OFFSET; ids_len 0: any */
    size_t ids_len;
    bool *is_found; /* for each of ids */
};

struct dead_mark {
    int partition;
    int64_t offset;
    size_t seq; /* the last one of a letter counts */
    bool is_tombstone;
};

struct dead_book {
    const struct cmd *cmd;
    struct cmd_args args;
    struct config *config;
    struct core_kafka_reader *reader;
    struct core_arena arena;
    struct dead_mark *marks; /* sorted, each letter once, tombstones left out */
    size_t marks_len;
    struct dead_filter filter;
    bool is_json;
    uint64_t limit;
    /* What is to be done from time to time while a topic is read: called after each record, whether the filter wants it or not,
     * and while none comes. Reading ends when it says something else than OK. NULL: nothing. */
    enum core_err (*on_turn)(void *turn_ctx, struct core_fail *fail);
    void *turn_ctx;
};

/* The options of all: -c, --json, the filters. */
#define DEAD_OPTIONS                                                                                                   \
    {.name = "config", .letter = 'c', .arg = "FILE", .help = "The feeder's configuration. Required."},                 \
        {.name = "since",                                                                                              \
         .arg = "WHEN",                                                                                                \
         .help = "Only letters since then: a duration such as 24h, or a time such as 2026-11-21T03:00:00Z."},          \
        {.name = "dataset", .arg = "NAME", .help = "Only letters of documents of this dataset."}, {                    \
        .name = "reason", .arg = "TEXT", .help = "Only letters whose reason has this text in it, in whatever case."    \
    }

/* Read the command line and the configuration. False: *code is the exit code, said on stderr. Owns: dead_close(book). */
CORE_CHECKED bool dead_open(struct dead_book *book, int argc, char **argv, int *code);
void dead_close(struct dead_book *book);
/* Reach the brokers and learn which letters were put back. */
CORE_CHECKED enum core_err dead_read_marks(struct dead_book *book, struct core_fail *fail);
/* Each letter that the filter lets through, partition by partition, up to the topic's present end; ends when on_letter says
 * something else than OK. No such topic: no letter. */
CORE_CHECKED enum core_err dead_each(struct dead_book *book,
                                     enum core_err (*on_letter)(void *ctx, const struct dead_letter *letter,
                                                                struct core_fail *fail),
                                     void *ctx, struct core_fail *fail);
/* Say which of the ids in the command line no letter has. Returns how many. */
size_t dead_say_missing(const struct dead_book *book);
/* librdkafka's properties as the feeder has them, with room for `more` behind. Owns: the caller frees it. */
struct core_kafka_pair *dead_pairs(const struct dead_book *book, size_t more, size_t *len);
/* What a terminal takes: control characters are shown as '?'. At most bytes_max, then "…". */
void dead_print_text(FILE *out, struct core_span text, size_t bytes_max);
/* "2026-11-21T02:58:30Z", or "-". */
void dead_time(int64_t ms, char out[32]);

#endif
