/* ingest/feed_internal.h: what the parts of the Kafka source share. feed.c tells the design.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_INGEST_FEED_INTERNAL_H
#define TAPLINE_INGEST_FEED_INTERNAL_H

#include "core/deadletter.h"
#include "core/json.h"
#include "core/kafka_group.h"
#include "ingest/feed.h"

/* ---- keys (feed_conf.c) ---------------------------------------------------------------------------------------------------- */

/* The group's properties; texts are conf's, or live as long as *texts. Owns: feed_pairs_release(). */
struct feed_pairs {
    struct core_kafka_pair *pairs;
    size_t len;
    char *blacklist;
    char *id; /* transactional.id */
};
void feed_pairs_of_group(const struct feed_conf *conf, struct feed_pairs *out);
void feed_pairs_of_producer(const struct feed_conf *conf, const char *node, unsigned instance, struct feed_pairs *out);
void feed_pairs_release(struct feed_pairs *pairs);
/* Names and patterns to subscribe to. Owns: free(*out); the texts are conf's. */
void feed_conf_topics(const struct feed_conf *conf, const char *const **out, size_t *len);

/* ---- what is known of a partition ------------------------------------------------------------------------------------------ */

/* What became of one dataset's records of one day. */
struct feed_pair {
    int64_t day; /* since 1970-01-01, of the records' timestamps; 0 if they have none */
    const char *dataset;
    uint64_t indexed;
    uint64_t repeated;
    uint64_t dead;
};
#define FEED_PAIRS_MAX 64 /* of a row; then the next one begins */

/* A row of the ledger in the making. */
struct feed_row {
    struct feed_row *next; /* a newer one of the same partition */
    int64_t from;
    int64_t to;
    int64_t written_to; /* as in the open transaction, or committed */
    int64_t begun_day;  /* of the clock */
    size_t pairs_len;
    size_t pair_at; /* the one that was counted last */
    struct feed_pair pairs[FEED_PAIRS_MAX];
};

/* Where a batch's records of a partition begin, and when Kafka took the first of them. */
struct feed_point {
    int64_t offset;
    int64_t taken_ms;
};
#define FEED_POINTS_MAX 64 /* of a partition; further batches count as old as the last one that is kept */

/* A partition that is ours, and for as long as batches with its records are under way after that. */
struct feed_share {
    uint32_t magic;
    struct core_kafka_share *place; /* NULL: was given up */
    char *topic;
    int partition;
    bool is_dead_letters; /* its topic is feed.dead_letter_topic */
    bool is_losing;
    uint32_t under_way;    /* batches */
    int64_t next;          /* behind the last record taken; -1: none was, and where it begins is not known */
    int64_t done;          /* behind the last one whose batch is back; -1 as above */
    int64_t sent;          /* done, as in the open transaction */
    int64_t committed;     /* -1: nothing ever was */
    int64_t end;           /* as the group said it last, and no record came since; else -1 */
    int64_t once_end;      /* with once: -1 not known */
    int64_t letters_end;   /* with once, of dead letters: behind the last one of our own that was committed; else 0 */
    bool is_at_end;        /* with once: nothing more is wanted of it */
    bool has_left_out;     /* with once: a record behind its end was left to the next run */
    const char *dataset;   /* the last record's */
    struct feed_row *rows; /* oldest first; the last one is counted into */
    struct feed_row *row;
    struct feed_point points[FEED_POINTS_MAX]; /* for its lag: from what is committed on, oldest first */
    uint32_t points_len;
    int64_t caught_up_ns;  /* wall clock: when it was last seen without any lag; 0: never */
    uint64_t marked_batch; /* feed->batches_made when it was marked last, and where */
    uint32_t mark_at;
};
#define FEED_SHARE_MAGIC 0x66736872u

/* A record that becomes a dead letter: the engine refused its document, or it is none. In its batch's arena. */
struct feed_dead {
    struct feed_dead *next;
    const char *topic; /* the share's, copied: the share may be gone before */
    int partition;
    int64_t offset;
    struct core_span doc;
    size_t doc_len; /* as it came: doc may be its head only */
    struct core_span key;
    struct core_span id; /* 32 hex digits */
    const char *dataset;
    const char *reason;
    int64_t accepted_ms; /* of one that is unreadable; -1: none */
    int64_t letter;      /* where its dead letter lies in its partition; -1: not known (yet) */
    bool is_unreadable;
};

/* What is known of each record of a batch, in the order it was read: the batch's next event, or one that is none. */
struct feed_note {
    struct feed_share *share;
    int64_t offset;
    struct feed_dead *dead; /* NULL: the batch's next event */
};
struct feed_mark {
    struct feed_share *share;
    int64_t to; /* behind the last record of it that was read for this batch, tombstones too */
};

/* What the source knows of a batch, beside what the sinks see. One for each of the pool's. */
struct feed_side {
    struct feed_note *notes; /* CORE_BATCH_LINES_MAX */
    uint32_t notes_len;
    struct feed_mark *marks; /* CORE_BATCH_LINES_MAX */
    uint32_t marks_len;
    uint32_t records; /* notes and tombstones */
    size_t bytes;     /* of documents */
    size_t key_bytes; /* that were kept */
    uint64_t epoch;
    int64_t begun_ns;
    struct core_batch *next_held; /* waits until its dead letters are committed */
};

/* A dataset's name for the life of the process, and what was committed of it. */
struct feed_dataset {
    const char *name;
    uint64_t taken; /* indexed or repeated: since the last commit, in the open transaction, committed */
    uint64_t taken_sent;
    uint64_t taken_committed;
};
#define FEED_NAMES_MAX 4096  /* more datasets are "generic" */
#define FEED_NAMES_CAP 16384 /* power of two; at most a quarter full */

/* Sums since the last commit, or of the open transaction. */
struct feed_sums {
    uint64_t indexed;
    uint64_t repeated;
    uint64_t dead;
    uint64_t lost; /* refused dead letters: nobody writes another */
};

struct feed_deads {
    struct feed_dead *head;
    struct feed_dead *tail;
};

/* Where the commits stand. */
enum feed_state {
    FEED_WAITING, /* all is forgotten; until hold_ns, and until the batches are back */
    FEED_INIT,    /* a producer is made: what an earlier one left open is ended */
    FEED_TOPICS,  /* the topics of dead letters and of the ledger are asked for */
    FEED_READY,   /* the group is joined; no transaction is open */
    FEED_SENDING, /* rows and dead letters are given to the producer */
    FEED_OFFSETS, /* the offsets join the transaction */
    FEED_REPORTS, /* each record is waited for */
    FEED_COMMIT,
    FEED_GONE /* fail says why */
};

/* With once: every partition of the topics, whoever has it, and where it ended when our own were done with. */
struct feed_rest {
    struct core_kafka_place *places; /* NULL: not asked yet. The topics' names are seen's */
    struct core_kafka_bounds *bounds;
    size_t len;
    struct core_kafka_seen *seen;
    size_t seen_len;
    bool is_done; /* nobody has anything left to do */
    int64_t next_ns, said_ns;
};

struct feed {
    uint32_t magic;
    struct feed_env env;
    struct feed_conf conf; /* env.conf */
    struct core_stream stream;
    struct core_origin origin;
    enum feed_state state;
    struct core_fail fail; /* with FEED_GONE */
    bool is_once;
    bool is_stopped;
    bool is_paused;

    /* Kafka. */
    struct core_kafka *producer;
    struct feed_pairs producer_pairs;
    struct core_kafka_group *group;
    struct core_kafka_topic *dead_topic;
    struct core_kafka_topic *ledger_topic;
    struct core_kafka_reader *reader; /* with once: asks for ends, and for what the others of the group have done */
    unsigned topics_made;             /* answers that say so, or that we have to believe it */
    unsigned topics_asked;            /* not answered */
    bool is_broken;                   /* on_trouble said so */
    bool is_failed;                   /* a report did */
    int failed_code;
    uint64_t unreported;
    int64_t made_ns;
    int64_t hold_ns;
    unsigned failures; /* in a row */
    int64_t fenced_ns[3];
    int64_t said_ns;
    int64_t trouble_ns; /* when brokers were last complained of; 0: they answer */
    int64_t trouble_said_ns;

    /* Partitions. */
    struct feed_share **shares; /* ours, and those that batches under way still name */
    size_t shares_len;
    bool has_joined;      /* the group has given us what it will, at least once */
    int64_t losing_ns;    /* when it was asked to give up shares; 0: it is not */
    uint64_t losing_seq;  /* batches before it may have records of theirs */
    int64_t ends_next_ns; /* with once: when the ends are asked for again */
    struct feed_rest rest;

    /* Batches. */
    struct feed_side *sides; /* of the pool's batches */
    struct core_batch *filling;
    uint32_t filling_records;
    uint64_t batches_made;
    uint64_t seq;      /* pushed */
    uint64_t seq_back; /* came back */
    uint64_t epoch;    /* of batches that count */

    /* What is done and not committed. */
    struct feed_sums sums;
    struct feed_sums sums_sent;
    struct feed_deads deads; /* to be sent with the next transaction, and with the open one */
    struct feed_deads deads_sent;
    struct feed_dead *dead_at; /* of the open transaction: the next one to be sent */
    size_t rows_at;            /* of the open transaction: the share whose rows are to be sent next */
    struct core_batch *held;   /* whose dead letters are in deads; in deads_sent */
    struct core_batch *held_sent;
    bool is_dirty; /* something may be committed */
    int64_t committed_ns;
    size_t raw_bytes_max; /* of a document in its dead letter: less, once a topic took no more */
    char *scratch;        /* a row, or a dead letter */

    struct feed_dataset *datasets; /* FEED_NAMES_MAX; the first is "generic" */
    size_t datasets_len;
    struct feed_dataset *taken_last; /* the last one counted */
    uint16_t names[FEED_NAMES_CAP];  /* 1 + index into datasets; 0: free */
    struct feed_count reasons[FEED_REASONS_MAX + 1];
    size_t reasons_len;
    struct feed_sums committed;
    int64_t ends_asked_ns; /* for the lag: core_tick_ns() */
};
#define FEED_MAGIC 0x66656564u
#define FEED_SCRATCH_BYTES CORE_MIB
#define FEED_RAW_BYTES_MAX CORE_DEAD_DOCUMENT_BYTES_MAX
/* A dead letter: with key and header less than the 1,000,000 bytes that a producer sends. */
#define FEED_LETTER_BYTES_MAX (900 * CORE_KIB)
#define FEED_LOSING_LOOK_NS (20 * CORE_NS_PER_MS)

/* ---- records to batches (feed_fill.c) -------------------------------------------------------------------------------------- */

#define FEED_BATCH_BYTES CORE_MIB /* of documents and their keys; the last document may be longer */
/* A longer key is another's. It is not carried on: its dead letter, whose key it would be, must stay small enough for a topic. */
#define FEED_KEY_BYTES_MAX (4 * CORE_KIB)
#define FEED_LINGER_NS (50 * CORE_NS_PER_MS)

/* Is there a batch with room for a record? Takes one from the pool if need be. */
bool feed_fill_has_room(struct feed *feed);
void feed_fill_record(struct feed *feed, const struct core_kafka_taken *taken);
/* Hand the batch on, if it has anything in it. */
void feed_fill_push(struct feed *feed);
/* When is it to be handed on, full or not? INT64_MAX: there is nothing in it. */
int64_t feed_fill_due(const struct feed *feed);
/* It was never handed on: forget it. */
void feed_fill_drop(struct feed *feed);
/* Interned. */
struct feed_dataset *feed_dataset(struct feed *feed, struct core_span name);

/* ---- batches that come back (feed_back.c) ---------------------------------------------------------------------------------- */

/* Take what is back, count it, keep its dead letters. Returns whether there was any. */
bool feed_back_take(struct feed *feed);
/* Its dead letters are written: give the batches to the pool. */
void feed_back_give(struct feed *feed, struct core_batch **list);
/* The dead letter itself, as JSON in feed->scratch: FEED_LETTER_BYTES_MAX at most. */
struct core_span feed_dead_write(struct feed *feed, const struct feed_dead *dead, unsigned char header[16]);
void feed_dead_count(struct feed *feed, const struct feed_dead *dead);

/* ---- partitions (feed_share.c) --------------------------------------------------------------------------------------------- */

void feed_shares_gained(struct feed *feed, struct core_kafka_share *const *places, size_t len);
void feed_shares_losing(struct feed *feed, struct core_kafka_share *const *places, size_t len);
/* Release what is to be given up, when its time has come; with once ask for the ends. */
void feed_shares_turn(struct feed *feed, int64_t now);
/* If the share is nobody's and no batch names it, free it. */
void feed_share_settle(struct feed *feed, struct feed_share *share);
void feed_shares_forget(struct feed *feed); /* all of them, whatever is under way */
/* The group says that nothing is behind this offset. */
void feed_share_ended(struct feed *feed, const struct core_kafka_taken *taken);
/* With once: are all at their ends? */
bool feed_shares_at_end(const struct feed *feed);
/* The reader that asks the brokers, made with the first question. */
CORE_CHECKED enum core_err feed_reader(struct feed *feed, struct core_fail *fail);
/* A dead letter of ours is in this partition of their topic now, at this offset (-1: not known): with once, read up to it. */
void feed_shares_more_dead(struct feed *feed, int partition, int64_t offset);
/* With once: may a record of ours still become a dead letter, or is it one whose commit was not answered? */
bool feed_shares_may_die(const struct feed *feed);
/* Records that are not committed; -1: not known. */
int64_t feed_share_lag(struct feed *feed, const struct feed_share *share);

/* ---- partitions of others (feed_rest.c) ------------------------------------------------------------------------------------ */

/* Our own partitions are done with: is anything left of those that other members of the group have? Sets rest.is_done. */
void feed_rest_turn(struct feed *feed, int64_t now);
void feed_rest_forget(struct feed *feed);

/* ---- the ledger's rows (feed_ledger.c) ------------------------------------------------------------------------------------- */

enum feed_outcome { FEED_INDEXED, FEED_REPEATED, FEED_DEAD };
/* Count a record of the share at this offset; rows begin anew where they must. */
void feed_ledger_count(struct feed_share *share, int64_t offset, int64_t accepted_ms, const char *dataset,
                       enum feed_outcome outcome);
/* Everything before this offset is done. */
void feed_ledger_reach(struct feed_share *share, int64_t to, int64_t today);
/* Where the next row begins. */
void feed_ledger_begin(struct feed_share *share, int64_t from, int64_t today);
void feed_ledger_forget(struct feed_share *share);
/* Rows that were committed and are not counted into any more. */
void feed_ledger_committed(struct feed_share *share);
/* key and value of a row, both in buf. False: no room. */
bool feed_ledger_write(struct core_buf *buf, const struct feed *feed, const struct feed_share *share,
                       const struct feed_row *row, struct core_span *key, struct core_span *value);

/* ---- health, and traces (feed_health.c) ------------------------------------------------------------------------------------- */

/* The first record of the share in a batch. */
void feed_health_point(struct feed_share *share, int64_t offset, int64_t taken_ms);
/* A record's `traceparent`, if it has one, becomes a link of the batch. */
void feed_link_add(struct core_batch *batch, struct core_span traceparent);

/* ---- commits (feed_commit.c) ----------------------------------------------------------------------------------------------- */

void feed_commit_turn(struct feed *feed, int64_t now);
/* When will it have something to do by itself? */
int64_t feed_commit_due(const struct feed *feed, int64_t now);
bool feed_commit_is_open(const struct feed *feed); /* is there a transaction? */
/* Nothing that is not committed counts: forget it, leave the group, join anew later. */
void feed_forget(struct feed *feed, const char *what, const struct core_fail *why);
/* Something is wrong with the brokers; they do what they should again. */
void feed_trouble(struct feed *feed, const char *text);
void feed_trouble_over(struct feed *feed);
/* It cannot go on; feed->fail was just filled with this. */
void feed_gone(struct feed *feed, enum core_err err);

#endif
