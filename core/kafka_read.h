/* core/kafka_read.h: reads topics: a consumer without a group, which commits nothing and leaves no trace.
 *
 * What it sees is what any reader with isolation.level=read_committed sees: records of an aborted or open transaction are
 * not there. It reads the partitions it is told, from a place it is told, to the end they had when it began, or for ever.
 *
 *   open -> topics -> assign -> next … until CORE_GONE -> close        (assign again: another set of places)
 *
 * Thread: one thread calls everything of one reader; librdkafka's own threads run behind it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_KAFKA_READ_H
#define TAPLINE_CORE_KAFKA_READ_H

#include "core/kafka.h"

struct core_kafka_reader;

/* A topic that a broker named. */
struct core_kafka_seen {
    char *name;
    int partitions;
};

#define CORE_KAFKA_BEGINNING (-1) /* the oldest record that is still there */

/* A partition to read, and the first offset wanted. An offset that is not there any more is as good as BEGINNING. */
struct core_kafka_place {
    const char *topic;
    int partition;
    int64_t offset;
};

/* A record. Texts and spans are valid until the next call with this reader. */
struct core_kafka_got {
    size_t place; /* index into what was assigned */
    const char *topic;
    int partition;
    int64_t offset;       /* offsets of one partition grow, with gaps */
    int64_t timestamp_ms; /* since the epoch; -1: none */
    struct core_span key;
    struct core_span value;
    struct core_span header; /* `tapline`; len 0: has none */
    bool is_tombstone;       /* it has no value: its key is deleted */
};

/* Make a reader; contacts brokers in the background. pairs: as for a producer (what only a producer has is left out);
 * security and bootstrap.servers are the same. Errors: CORE_BAD a property; CORE_IO no thread. */
CORE_CHECKED enum core_err core_kafka_reader_open(struct core_kafka_reader **out, const struct core_kafka_pair *pairs,
                                                  size_t len, struct core_fail *fail);
/* The same, but it sees records of open and aborted transactions, too: its bounds say what was written, not what was
 * committed. */
CORE_CHECKED enum core_err core_kafka_reader_open_loose(struct core_kafka_reader **out,
                                                        const struct core_kafka_pair *pairs, size_t len,
                                                        struct core_fail *fail);
/* May take a second while librdkafka's threads end. Takes NULL. */
void core_kafka_reader_close(struct core_kafka_reader *reader);

/* All topics that these credentials may see, internal ones too.
 * Owns:    core_kafka_seen_free(*out, *len).
 * Errors:  CORE_NET no broker answered within timeout_ms; call again. */
CORE_CHECKED enum core_err core_kafka_reader_topics(struct core_kafka_reader *reader, int timeout_ms,
                                                    struct core_kafka_seen **out, size_t *len, struct core_fail *fail);
/* The same for one topic. Errors: CORE_GONE there is no such topic; CORE_NET no broker answered, or no right to see it. */
CORE_CHECKED enum core_err core_kafka_reader_topic(struct core_kafka_reader *reader, const char *topic, int timeout_ms,
                                                   int *partitions, struct core_fail *fail);
void core_kafka_seen_free(struct core_kafka_seen *seen, size_t len); /* takes NULL */

/* The offsets a partition has: [low, high). high is behind the last record that read_committed shows, or would. */
struct core_kafka_bounds {
    int64_t low;
    int64_t high;
};
/* Those of many partitions, asked in two requests a broker; bounds has len of them.
 * Errors: CORE_NET no answer within timeout_ms, of one of them. */
CORE_CHECKED enum core_err core_kafka_reader_bounds(struct core_kafka_reader *reader,
                                                    const struct core_kafka_place *places, size_t len, int timeout_ms,
                                                    struct core_kafka_bounds *bounds, struct core_fail *fail);

/* Where a group has left off: the offset that its member would begin at; CORE_KAFKA_BEGINNING: it has committed none there. The
 * group is the pair group.id given at open; the reader is no member of it.
 * Errors: CORE_NET no answer within timeout_ms, no right to see it, or a transaction that is open holds the offsets back. */
CORE_CHECKED enum core_err core_kafka_reader_committed(struct core_kafka_reader *reader,
                                                       const struct core_kafka_place *places, size_t len,
                                                       int timeout_ms, int64_t *offsets, struct core_fail *fail);

/* Read these places, and nothing that was assigned before. Their present ends are asked for at once and become the ends of
 * reading, unless follows. What place.topic points to is copied.
 * Errors: CORE_NET a partition's leader did not answer within timeout_ms, or there is no such topic or partition: nothing
 * is assigned then. */
CORE_CHECKED enum core_err core_kafka_reader_assign(struct core_kafka_reader *reader,
                                                    const struct core_kafka_place *places, size_t len, bool follows,
                                                    int timeout_ms, struct core_fail *fail);
/* The next record of any place; those of one partition come in order.
 * Units:   waits up to timeout_ms (0: no wait) if none is there.
 * Errors:  CORE_AGAIN nothing yet: brokers are slow or away (core_kafka_reader_complaint() may know more)
 *          CORE_GONE  every place was read to its end; never with follows
 *          CORE_NET   a partition cannot be read (no right to, deleted); others may go on. */
CORE_CHECKED enum core_err core_kafka_reader_next(struct core_kafka_reader *reader, int timeout_ms,
                                                  struct core_kafka_got *got, struct core_fail *fail);
/* Was this place read to its end? With follows: is nothing newer there just now? */
bool core_kafka_reader_is_at_end(const struct core_kafka_reader *reader, size_t place);
/* What librdkafka last complained of since this was last asked; "" if nothing. Valid until the next call. */
const char *core_kafka_reader_complaint(struct core_kafka_reader *reader);

#endif
