/* core/kafka_read.c: the reader: librdkafka's consumer without a group.
 *
 * The older of librdkafka's two consumer interfaces is used (a queue and partitions that are started one by one), because
 * the newer one cannot be had without a group: it would ask for the group's coordinator, which needs a right of its own.
 * All partitions are forwarded to one queue of ours, from which records are taken in bundles and given out one by one.
 *
 * Where a partition ends is asked of its leader before reading starts. Whether that end is reached is not told by offsets
 * alone: behind the last record there may be the marks of a transaction, which take offsets and are never shown. So a
 * partition is finished when a record at or behind the last offset came, or when librdkafka says that it is at the end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_read.h"
#include "core/kafka_internal.h"

#include <stdlib.h>
#include <unistd.h>

#define READER_MAGIC 0x6b726561u
#define BUNDLE_MAX 512
#define PASSING_PAUSE_MS 50
#define HEADER_NAME "tapline"

struct reader_place {
    int partition;
    int64_t end; /* offsets before it are read; INT64_MAX: follows */
    bool is_started;
    bool is_at_end;
    size_t next_of_topic; /* index + 1; 0: none */
};

struct reader_topic {
    struct reader_topic *next;
    rd_kafka_topic_t *handle;
    size_t first; /* of its places: index + 1; 0: none */
    char name[];
};

struct core_kafka_reader {
    uint32_t magic;
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue;
    struct reader_topic *topics;
    struct reader_topic *last; /* of the last record; NULL: none yet */
    struct reader_place *places;
    size_t places_len;
    size_t open; /* places not at their end */
    bool follows;
    rd_kafka_message_t *bundle[BUNDLE_MAX];
    size_t bundle_len;
    size_t bundle_at;
    rd_kafka_message_t *given; /* what the last record's spans point into */
    char complaint[KAFKA_ERROR_BYTES];
};

/* ---- life ------------------------------------------------------------------------------------------------------------- */

static const struct core_kafka_pair reader_pairs[] = {
    {"enable.partition.eof", "true"},
    {"auto.offset.reset", "earliest"},
    {"enable.auto.commit",
     "false"}, /* how long a broker may keep a question that has no answer yet: so late is an end seen behind a transaction's mark */
    {"fetch.wait.max.ms", "100"},
};
#define READER_PAIRS_LEN (sizeof reader_pairs / sizeof reader_pairs[0])

static enum core_err reader_open(struct core_kafka_reader **out, const struct core_kafka_pair *pairs, size_t len,
                                 const char *isolation, struct core_fail *fail) {
    MUST(out != NULL);
    struct core_kafka_reader *reader = calloc(1, sizeof *reader);
    struct core_kafka_pair *all = calloc(len + READER_PAIRS_LEN + 1, sizeof *all);
    MUST(reader != NULL && all != NULL);
    reader->magic = READER_MAGIC;
    memcpy(all, pairs, len * sizeof *all);
    memcpy(all + len, reader_pairs, sizeof reader_pairs);
    all[len + READER_PAIRS_LEN] = (struct core_kafka_pair){"isolation.level", isolation};
    rd_kafka_conf_t *conf = NULL;
    enum core_err err = core_kafka_conf_make(&conf, RD_KAFKA_CONSUMER, all, len + READER_PAIRS_LEN + 1, fail);
    if (err == CORE_OK) {
        err = core_kafka_handle_new(&reader->handle, RD_KAFKA_CONSUMER, conf, fail);
    }
    free(all);
    if (err != CORE_OK) {
        core_kafka_reader_close(reader);
        return err;
    }
    reader->queue = rd_kafka_queue_new(reader->handle);
    *out = reader;
    return CORE_OK;
}

enum core_err core_kafka_reader_open(struct core_kafka_reader **out, const struct core_kafka_pair *pairs, size_t len,
                                     struct core_fail *fail) {
    return reader_open(out, pairs, len, "read_committed", fail);
}

enum core_err core_kafka_reader_open_loose(struct core_kafka_reader **out, const struct core_kafka_pair *pairs,
                                           size_t len, struct core_fail *fail) {
    return reader_open(out, pairs, len, "read_uncommitted", fail);
}

static void given_drop(struct core_kafka_reader *reader) {
    if (reader->given != NULL) {
        rd_kafka_message_destroy(reader->given);
        reader->given = NULL;
    }
}

static void place_stop(struct reader_place *place, rd_kafka_topic_t *handle) {
    if (place->is_started) {
        MUST(handle != NULL);
        int stopped = rd_kafka_consume_stop(handle, place->partition);
        (void)stopped; /* fails only for a partition that was never started */
        place->is_started = false;
    }
}

/* Stop every partition and forget what came of them. */
static void places_drop(struct core_kafka_reader *reader) {
    given_drop(reader);
    reader->last = NULL;
    while (reader->bundle_at < reader->bundle_len) {
        rd_kafka_message_destroy(reader->bundle[reader->bundle_at++]);
    }
    while (reader->topics != NULL) {
        struct reader_topic *topic = reader->topics;
        reader->topics = topic->next;
        for (size_t at = topic->first; at != 0; at = reader->places[at - 1].next_of_topic) {
            place_stop(&reader->places[at - 1], topic->handle);
        }
        if (topic->handle != NULL) {
            rd_kafka_topic_destroy(topic->handle);
        }
        free(topic);
    }
    free(reader->places);
    reader->places = NULL;
    reader->places_len = reader->open = 0;
    if (reader->queue != NULL) { /* what a stopped partition left behind must not be taken for the next one's */
        rd_kafka_queue_destroy(reader->queue);
        reader->queue = NULL;
    }
}

void core_kafka_reader_close(struct core_kafka_reader *reader) {
    if (reader == NULL) {
        return;
    }
    MUST(reader->magic == READER_MAGIC);
    places_drop(reader);
    if (reader->handle != NULL) {
        rd_kafka_destroy(reader->handle);
    }
    reader->magic = 0;
    free(reader);
}

const char *core_kafka_reader_complaint(struct core_kafka_reader *reader) {
    MUST(reader->magic == READER_MAGIC);
    char text[KAFKA_ERROR_BYTES] = "";
    core_kafka_last_complaint(reader->handle, text, sizeof text);
    const char *said = strncmp(text, "; ", 2) == 0 ? text + 2 : text;
    memcpy(reader->complaint, said, strlen(said) + 1);
    return reader->complaint;
}

static enum core_err reader_fail(struct core_kafka_reader *reader, const char *where, const char *what, int code,
                                 struct core_fail *fail) {
    const char *more = core_kafka_reader_complaint(reader);
    return core_fail_set(fail, CORE_NET, where, "%s: %s%s%s", what, rd_kafka_err2str((rd_kafka_resp_err_t)code),
                         more[0] == '\0' ? "" : "; ", more);
}

/* ---- what is there ------------------------------------------------------------------------------------------------------ */

enum core_err core_kafka_reader_topics(struct core_kafka_reader *reader, int timeout_ms, struct core_kafka_seen **out,
                                       size_t *len, struct core_fail *fail) {
    MUST(reader->magic == READER_MAGIC);
    MUST(out != NULL && len != NULL);
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(reader->handle, 1, NULL, &metadata, timeout_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return reader_fail(reader, "brokers", "no broker told its topics", code, fail);
    }
    *len = 0;
    *out = calloc((size_t)metadata->topic_cnt + 1, sizeof **out);
    MUST(*out != NULL);
    for (int i = 0; i < metadata->topic_cnt; i++) {
        char *name = strdup(metadata->topics[i].topic);
        MUST(name != NULL);
        (*out)[(*len)++] = (struct core_kafka_seen){.name = name, .partitions = metadata->topics[i].partition_cnt};
    }
    rd_kafka_metadata_destroy(metadata);
    return CORE_OK;
}

void core_kafka_seen_free(struct core_kafka_seen *seen, size_t len) {
    for (size_t i = 0; seen != NULL && i < len; i++) {
        free(seen[i].name);
    }
    free(seen);
}

enum core_err core_kafka_reader_topic(struct core_kafka_reader *reader, const char *topic, int timeout_ms,
                                      int *partitions, struct core_fail *fail) {
    MUST(reader->magic == READER_MAGIC);
    rd_kafka_topic_t *handle = rd_kafka_topic_new(reader->handle, topic, NULL);
    if (handle == NULL) {
        return core_fail_set(fail, CORE_GONE, topic, "not a topic's name");
    }
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(reader->handle, 0, handle, &metadata, timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        MUST(metadata->topic_cnt == 1);
        code = metadata->topics[0].err;
        *partitions = metadata->topics[0].partition_cnt;
        rd_kafka_metadata_destroy(metadata);
    }
    rd_kafka_topic_destroy(handle);
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC) {
        return core_fail_set(fail, CORE_GONE, topic, "there is no such topic");
    }
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? CORE_OK
                                              : reader_fail(reader, topic, "the topic cannot be seen", code, fail);
}

/* ---- assign --------------------------------------------------------------------------------------------------------------- */

/* What a broker or the library says while a leader is not known, or not to it: of a topic made a moment ago, of a leader that has
 * changed. It is over in a moment, mostly. */
static bool is_passing(rd_kafka_resp_err_t code) {
    return code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
           code == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
}

/* time: what offsets are asked by: "the offset at this time", where -1 is the end of time and -2 its beginning. */
struct question {
    const struct core_kafka_place *places;
    size_t len;
    int64_t time;
};

/* *code: what the trouble is. */
static enum core_err offsets_ask_once(struct core_kafka_reader *reader, const struct question *question, int timeout_ms,
                                      int64_t *offsets, rd_kafka_resp_err_t *code, struct core_fail *fail) {
    const struct core_kafka_place *places = question->places;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)question->len);
    for (size_t i = 0; i < question->len; i++) {
        rd_kafka_topic_partition_list_add(list, places[i].topic, places[i].partition)->offset = question->time;
    }
    enum core_err err = CORE_OK;
    *code = rd_kafka_offsets_for_times(reader->handle, list, timeout_ms);
    if (*code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        err = reader_fail(reader, "brokers", "the offsets of the partitions were not told", *code, fail);
    }
    for (size_t i = 0; err == CORE_OK && i < question->len; i++) {
        const rd_kafka_topic_partition_t *found =
            rd_kafka_topic_partition_list_find(list, places[i].topic, places[i].partition);
        MUST(found != NULL);
        if (found->err != RD_KAFKA_RESP_ERR_NO_ERROR || found->offset < 0) {
            *code = found->err;
            err = reader_fail(reader, places[i].topic, "the partition's offset was not told", found->err, fail);
        }
        offsets[i] = found->offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return err;
}

static enum core_err offsets_ask(struct core_kafka_reader *reader, const struct question *question, int timeout_ms,
                                 int64_t *offsets, struct core_fail *fail) {
    const int64_t until = core_tick_ns() + timeout_ms * CORE_NS_PER_MS;
    int left_ms = timeout_ms;
    for (;;) {
        rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
        enum core_err err = offsets_ask_once(reader, question, left_ms, offsets, &code, fail);
        left_ms = (int)((until - core_tick_ns()) / CORE_NS_PER_MS) - PASSING_PAUSE_MS;
        if (err == CORE_OK || !is_passing(code) || left_ms <= 0) {
            return err;
        }
        (void)usleep(PASSING_PAUSE_MS * 1000);
    }
}

enum core_err core_kafka_reader_bounds(struct core_kafka_reader *reader, const struct core_kafka_place *places,
                                       size_t len, int timeout_ms, struct core_kafka_bounds *bounds,
                                       struct core_fail *fail) {
    MUST(reader->magic == READER_MAGIC);
    int64_t *offsets = calloc(len + 1, sizeof *offsets);
    MUST(offsets != NULL);
    const struct question lows = {places, len, RD_KAFKA_OFFSET_BEGINNING};
    const struct question highs = {places, len, RD_KAFKA_OFFSET_END};
    enum core_err err = len == 0 ? CORE_OK : offsets_ask(reader, &lows, timeout_ms, offsets, fail);
    for (size_t i = 0; err == CORE_OK && i < len; i++) {
        bounds[i].low = offsets[i];
    }
    if (err == CORE_OK && len > 0) {
        err = offsets_ask(reader, &highs, timeout_ms, offsets, fail);
    }
    for (size_t i = 0; err == CORE_OK && i < len; i++) {
        bounds[i].high = offsets[i];
    }
    free(offsets);
    return err;
}

enum core_err core_kafka_reader_committed(struct core_kafka_reader *reader, const struct core_kafka_place *places,
                                          size_t len, int timeout_ms, int64_t *offsets, struct core_fail *fail) {
    MUST(reader->magic == READER_MAGIC);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)len);
    for (size_t i = 0; i < len; i++) {
        rd_kafka_topic_partition_list_add(list, places[i].topic, places[i].partition);
    }
    rd_kafka_resp_err_t code =
        len == 0 ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_committed(reader->handle, list, timeout_ms);
    for (int i = 0; i < list->cnt; i++) {
        code = code == RD_KAFKA_RESP_ERR_NO_ERROR ? list->elems[i].err : code;
        offsets[i] = list->elems[i].offset < 0 ? CORE_KAFKA_BEGINNING : list->elems[i].offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR
               ? CORE_OK
               : reader_fail(reader, "brokers", "the group's committed offsets were not told", code, fail);
}

/* With follows too: it says what cannot be read. */
static enum core_err ends_ask(struct core_kafka_reader *reader, const struct core_kafka_place *places, int timeout_ms,
                              struct core_fail *fail) {
    int64_t *ends = calloc(reader->places_len + 1, sizeof *ends);
    MUST(ends != NULL);
    const struct question question = {places, reader->places_len, RD_KAFKA_OFFSET_END};
    enum core_err err = offsets_ask(reader, &question, timeout_ms, ends, fail);
    for (size_t i = 0; err == CORE_OK && i < reader->places_len; i++) {
        reader->places[i].end = ends[i];
    }
    free(ends);
    return err;
}

static struct reader_topic *topic_of(struct core_kafka_reader *reader, const char *name) {
    struct reader_topic *topic = reader->topics;
    while (topic != NULL && strcmp(topic->name, name) != 0) {
        topic = topic->next;
    }
    if (topic != NULL) {
        return topic;
    }
    size_t size = strlen(name) + 1;
    topic = calloc(1, sizeof *topic + size);
    MUST(topic != NULL);
    memcpy(topic->name, name, size);
    topic->handle = rd_kafka_topic_new(reader->handle, name, NULL);
    if (topic->handle == NULL) {
        free(topic);
        return NULL;
    }
    topic->next = reader->topics;
    reader->topics = topic;
    return topic;
}

static void place_end(struct core_kafka_reader *reader, struct reader_place *place) {
    if (!place->is_at_end) {
        MUST(reader->open > 0);
        place->is_at_end = true;
        reader->open--;
    }
}

static enum core_err place_start(struct core_kafka_reader *reader, const struct core_kafka_place *wanted, size_t i,
                                 struct core_fail *fail) {
    struct reader_place *place = &reader->places[i];
    struct reader_topic *topic = topic_of(reader, wanted->topic);
    if (topic == NULL) {
        return core_fail_set(fail, CORE_NET, wanted->topic, "not a topic's name");
    }
    place->partition = wanted->partition;
    place->next_of_topic = topic->first;
    topic->first = i + 1;
    if (place->end == 0) { /* nothing was ever written there */
        place_end(reader, place);
        return CORE_OK;
    }
    int64_t from = wanted->offset == CORE_KAFKA_BEGINNING ? RD_KAFKA_OFFSET_BEGINNING : wanted->offset;
    if (rd_kafka_consume_start_queue(topic->handle, wanted->partition, from, reader->queue) != 0) {
        return reader_fail(reader, wanted->topic, "cannot read a partition", rd_kafka_last_error(), fail);
    }
    place->is_started = true;
    return CORE_OK;
}

enum core_err core_kafka_reader_assign(struct core_kafka_reader *reader, const struct core_kafka_place *places,
                                       size_t len, bool follows, int timeout_ms, struct core_fail *fail) {
    MUST(reader->magic == READER_MAGIC);
    MUST(timeout_ms > 0);
    places_drop(reader);
    reader->queue = rd_kafka_queue_new(reader->handle);
    reader->places = calloc(len + 1, sizeof *reader->places);
    MUST(reader->places != NULL);
    reader->places_len = reader->open = len;
    reader->follows = follows;
    enum core_err err = CORE_OK;
    if (len > 0) {
        err = ends_ask(reader, places, timeout_ms, fail);
    }
    for (size_t i = 0; err == CORE_OK && i < len; i++) {
        reader->places[i].end = follows ? INT64_MAX : reader->places[i].end;
        err = place_start(reader, &places[i], i, fail);
    }
    if (err != CORE_OK) {
        places_drop(reader);
    }
    return err;
}

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

/* By the name: a topic that librdkafka knew before we opened it (from a question about its offsets, or from the places
 * before these) keeps the opaque it had then. */
static struct reader_place *place_of(struct core_kafka_reader *reader, const rd_kafka_message_t *message) {
    const char *name = rd_kafka_topic_name(message->rkt);
    struct reader_topic *topic = reader->last;
    if (topic == NULL || strcmp(topic->name, name) != 0) {
        for (topic = reader->topics; topic != NULL && strcmp(topic->name, name) != 0;) {
            topic = topic->next;
        }
        MUST(topic != NULL);
        reader->last = topic;
    }
    size_t at = topic->first;
    while (at != 0 && reader->places[at - 1].partition != message->partition) {
        at = reader->places[at - 1].next_of_topic;
    }
    MUST(at != 0);
    return &reader->places[at - 1];
}

/* A record, or what librdkafka says of a partition; NULL: nothing within timeout_ms. A bundle is asked for without waiting:
 * librdkafka would wait until it is full. */
static rd_kafka_message_t *message_next(struct core_kafka_reader *reader, int timeout_ms) {
    if (reader->bundle_at == reader->bundle_len) {
        ssize_t got = rd_kafka_consume_batch_queue(reader->queue, 0, reader->bundle, BUNDLE_MAX);
        reader->bundle_len = got > 0 ? (size_t)got : 0;
        reader->bundle_at = 0;
    }
    if (reader->bundle_at < reader->bundle_len) {
        return reader->bundle[reader->bundle_at++];
    }
    return timeout_ms == 0 ? NULL : rd_kafka_consume_queue(reader->queue, timeout_ms);
}

static void got_fill(const struct core_kafka_reader *reader, const struct reader_place *place,
                     const rd_kafka_message_t *message, struct core_kafka_got *got) {
    rd_kafka_timestamp_type_t kind;
    int64_t timestamp_ms = rd_kafka_message_timestamp(message, &kind);
    rd_kafka_headers_t *headers = NULL;
    const void *header = NULL;
    size_t header_len = 0;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_header_get_last(headers, HEADER_NAME, &header, &header_len) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        header = NULL;
        header_len = 0;
    }
    *got = (struct core_kafka_got){
        .place = (size_t)(place - reader->places),
        .topic = rd_kafka_topic_name(message->rkt),
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = kind == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : timestamp_ms,
        .key = {.ptr = message->key, .len = message->key == NULL ? 0 : message->key_len},
        .value = {.ptr = message->payload, .len = message->payload == NULL ? 0 : message->len},
        .header = {.ptr = header, .len = header_len},
        .is_tombstone = message->payload == NULL,
    };
}

/* One thing librdkafka gave. CORE_AGAIN: it was nothing for the caller. Owns: the message, if it is a record. */
static enum core_err message_take(struct core_kafka_reader *reader, rd_kafka_message_t *message,
                                  struct core_kafka_got *got, struct core_fail *fail) {
    enum core_err err = CORE_AGAIN;
    struct reader_place *place = message->rkt == NULL ? NULL : place_of(reader, message);
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (message->offset >= place->end) { /* younger than the first look */
            place_end(reader, place);
            place_stop(place, message->rkt);
        } else {
            place->is_at_end = place->is_at_end && !reader->follows;
            reader->given = message;
            got_fill(reader, place, message, got);
            if (message->offset == place->end - 1) {
                place_end(reader, place);
            }
            return CORE_OK;
        }
    } else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (!reader->follows) {
            place_end(reader, place);
        } else {
            place->is_at_end = true;
        }
    } else if (place != NULL) {
        err = core_fail_set(fail, CORE_NET, rd_kafka_topic_name(message->rkt), "partition %d cannot be read: %s",
                            (int)message->partition, rd_kafka_message_errstr(message));
    }
    rd_kafka_message_destroy(message);
    return err;
}

enum core_err core_kafka_reader_next(struct core_kafka_reader *reader, int timeout_ms, struct core_kafka_got *got,
                                     struct core_fail *fail) {
    MUST(reader->magic == READER_MAGIC);
    MUST(got != NULL);
    given_drop(reader);
    int64_t until_ns = core_tick_ns() + (int64_t)timeout_ms * CORE_NS_PER_MS;
    while (reader->follows || reader->open > 0) {
        int64_t left_ms = (until_ns - core_tick_ns() + CORE_NS_PER_MS - 1) / CORE_NS_PER_MS;
        rd_kafka_message_t *message = message_next(reader, left_ms < 0 ? 0 : (int)left_ms);
        if (message == NULL) {
            return CORE_AGAIN;
        }
        enum core_err err = message_take(reader, message, got, fail);
        if (err != CORE_AGAIN) {
            return err;
        }
    }
    return CORE_GONE;
}

bool core_kafka_reader_is_at_end(const struct core_kafka_reader *reader, size_t place) {
    MUST(reader->magic == READER_MAGIC);
    MUST(place < reader->places_len);
    return reader->places[place].is_at_end;
}
