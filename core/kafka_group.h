/* core/kafka_group.h: a consumer that shares topics with others of its group, and commits by a producer's transaction.
 *
 * read_committed; cooperative rebalancing; nothing is committed by itself. What comes is one of a few kinds of things
 * (enum core_kafka_came), taken by the owner's own thread; no call of ours runs in librdkafka's. When partitions are to be
 * given up the group waits (within max.poll.interval.ms) until the owner has let go of them, so that it can commit first.
 * Where a group has no offset yet, reading begins at the oldest record.
 *
 * Offsets that an open transaction holds are not told by the broker until that transaction has ended (KIP-447). So after a
 * kill in the middle of a commit nothing is read twice, and nothing is read at all until the transactional id of the killed
 * is used again (core_kafka_txn_init() ends what was open) or its transaction.timeout.ms is over: call init before open.
 *
 *   open -> next … (records, gained, losing -> release) -> offsets in a transaction (kafka_txn.c) -> … -> close
 *
 * Thread: one thread calls everything of one group consumer; the transaction's calls are its producer's (same thread).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_KAFKA_GROUP_H
#define TAPLINE_CORE_KAFKA_GROUP_H

#include "core/kafka.h"

struct core_kafka_group;

enum core_kafka_came {
    CORE_KAFKA_CAME_NOTHING, /* within timeout_ms */
    CORE_KAFKA_CAME_RECORD,
    CORE_KAFKA_CAME_END, /* taken.share was read up to taken.offset, and just now there is nothing behind. The marks of
                               transactions may lie before it, behind the last record; a commit may say it */
    CORE_KAFKA_CAME_GAINED, /* shares are ours from now on; records follow. None: nothing more for us, as of now */
    CORE_KAFKA_CAME_LOSING, /* shares are to be given up, no records of theirs follow: commit, then release() */
    CORE_KAFKA_CAME_LOST, /* shares are another's already (we were away too long): commit nothing of them, release() */
    CORE_KAFKA_CAME_TROUBLE /* text says what: brokers away, a topic unreadable. It heals by itself or is told again */
};

/* A partition of ours. Owns: the group's; the same pointer from GAINED until the release. */
struct core_kafka_share {
    const char *topic;
    int partition;
    int64_t offset; /* the first that is read, as committed; -1: none was, and reading begins at the oldest record */
    void *owner;    /* the caller's */
};

/* A record. Spans are valid until the next call with this group. */
struct core_kafka_taken {
    struct core_kafka_share *share;
    int64_t offset;       /* offsets of one partition grow, with gaps */
    int64_t timestamp_ms; /* since the epoch; -1: none */
    struct core_span key;
    struct core_span value;
    struct core_span header;      /* `tapline`; len 0: has none */
    struct core_span traceparent; /* the same, of that name */
    bool is_tombstone;
};

struct core_kafka_news {
    enum core_kafka_came came;
    struct core_kafka_taken taken;
    struct core_kafka_share *const *shares; /* GAINED, LOSING, LOST; valid until the next call */
    size_t shares_len;
    bool is_fatal;   /* TROUBLE: this consumer can do nothing any more: close it */
    bool is_refused; /* TROUBLE: credentials or rights are missing: a person must act; a restart would not help */
    char text[512];
};

struct core_kafka_group_conf {
    const struct core_kafka_pair *pairs; /* bootstrap.servers, security …; what only a producer has is left out */
    size_t pairs_len;
    const char *group;         /* group.id */
    const char *const *topics; /* names, or patterns that begin with '^' (librdkafka's regular expressions) */
    size_t topics_len;
    uint64_t queued_bytes; /* fetched ahead at most, of all partitions */
    bool wants_statistics; /* each second, unless the pairs say otherwise */
};

/* Make a consumer and join; brokers are contacted in the background. Errors: CORE_BAD a property or a pattern; CORE_IO. */
CORE_CHECKED enum core_err core_kafka_group_open(struct core_kafka_group **out,
                                                 const struct core_kafka_group_conf *conf, struct core_fail *fail);
/* Readable when next() has something. */
int core_kafka_group_fd(const struct core_kafka_group *group);
/* What comes next, at most after timeout_ms (0: no wait; but half a second when shares are gained and their offsets are
 * asked for). Also says to the group that we are alive: call it at least each minute, after pause(true) too. Between LOSING
 * or LOST and the release records of other shares may come, but no other rebalance. Wait for the fd only after NOTHING. */
void core_kafka_group_next(struct core_kafka_group *group, int timeout_ms, struct core_kafka_news *news);
/* Stop and resume the records of all partitions, also of those gained later; for when there is no room. Costs nothing:
 * what was fetched ahead stays. */
void core_kafka_group_pause(struct core_kafka_group *group, bool is_paused);
/* The answer to LOSING and LOST: the shares are gone, their pointers too. */
void core_kafka_group_release(struct core_kafka_group *group);
/* For how many records do the committed offsets lag behind, as last known; -1: not known. For share alone. */
int64_t core_kafka_group_lag(struct core_kafka_group *group, const struct core_kafka_share *share, int64_t offset);
/* Ask the brokers where the partitions end, so that the lag is known although nothing is fetched. Waits up to timeout_ms. */
void core_kafka_group_ends(struct core_kafka_group *group, int timeout_ms);
/* As core_kafka_health() and core_kafka_look(). */
void core_kafka_group_health(const struct core_kafka_group *group, const char *client, struct core_health_page *page);
void core_kafka_group_look(const struct core_kafka_group *group, struct core_kafka_look *out);
/* Leaves the group; commits nothing. May take some seconds. Takes NULL. */
void core_kafka_group_close(struct core_kafka_group *group);

/* Where a share's reading stands: the offset of the first record that is not done. */
struct core_kafka_done {
    const struct core_kafka_share *share;
    int64_t offset;
};
/* Make these offsets part of the producer's open transaction: they count if it is committed, and not otherwise. Another
 * instance that took the place over meanwhile makes it fail (ABORT or FENCED): then nothing of the transaction counts.
 * Results and timeout: as core_kafka_txn_commit(); and ABORT when the group has given our membership up, or LOST was told
 * and is not released: a broker would take such offsets unasked. */
CORE_CHECKED enum core_kafka_txn core_kafka_txn_offsets(struct core_kafka *kafka, struct core_kafka_group *group,
                                                        const struct core_kafka_done *done, size_t len, int timeout_ms,
                                                        struct core_fail *why);

#endif
