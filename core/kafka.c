/* core/kafka.c: the producer: its life, its topics, what becomes of each record.
 *
 * Design: no callback of ours runs in a thread of librdkafka's except the partitioner and the log. Everything else
 * (delivery reports, errors, answers to requests) is an event in one queue, which the owner's thread empties in
 * core_kafka_poll(); librdkafka writes to an eventfd when that queue stops being empty, so the owner can sleep in poll(2)
 * on this and on its own doorbell together.
 *
 * Payloads are sent by reference (neither F_COPY nor F_FREE): they must stay as they are until their report, which is
 * what a batch's life is. The report carries the record's ticket, a number, so nothing is allocated by us per record.
 *
 * The partitioner is librdkafka's own murmur2, called through ours for one reason: it is told the topic's number of
 * partitions, which is otherwise only to be had by asking a broker and waiting.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAKE_TIMEOUT_MS 10000
#define HEADERS_MAX 2
#define CODE_SUPPOSED (-200000) /* ours, beyond librdkafka's and the sink's */

/* ---- life ------------------------------------------------------------------------------------------------------------ */

enum core_err core_kafka_open(struct core_kafka **out, const struct core_kafka_pair *pairs, size_t len,
                              const struct core_kafka_calls *calls, void *ctx, struct core_fail *fail) {
    MUST(calls->on_report != NULL && calls->on_made != NULL && calls->on_trouble != NULL);
    struct core_kafka *kafka = calloc(1, sizeof *kafka);
    MUST(kafka != NULL);
    *kafka = (struct core_kafka){.magic = KAFKA_MAGIC, .fd = -1, .calls = calls, .ctx = ctx};
    rd_kafka_conf_t *conf = NULL;
    enum core_err err = CORE_OK;
    kafka_stats_init(&kafka->stats);
    kafka->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (kafka->fd < 0) {
        err = core_fail_errno(fail, "eventfd", "cannot make a producer; raise the limit of open files");
        goto out;
    }
    err = core_kafka_conf_make(&conf, RD_KAFKA_PRODUCER, pairs, len, fail);
    if (err != CORE_OK) {
        goto out;
    }
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_CREATETOPICS_RESULT |
                                       RD_KAFKA_EVENT_STATS);
    err = core_kafka_handle_new(&kafka->handle, RD_KAFKA_PRODUCER, conf, fail);
    if (err != CORE_OK) {
        goto out;
    }
    kafka->queue = rd_kafka_queue_get_main(kafka->handle);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(kafka->queue, kafka->fd, &one, sizeof one);
    *out = kafka;
    kafka = NULL;
out:
    core_kafka_close(kafka);
    return err;
}

int core_kafka_fd(const struct core_kafka *kafka) {
    MUST(kafka->magic == KAFKA_MAGIC);
    return kafka->fd;
}

void core_kafka_close(struct core_kafka *kafka) {
    if (kafka == NULL) {
        return;
    }
    MUST(kafka->magic == KAFKA_MAGIC);
    if (kafka->queue != NULL) {
        rd_kafka_queue_io_event_enable(kafka->queue, -1, NULL, 0);
    }
    if (kafka->handle != NULL) {
        core_kafka_txn_leave(kafka);
        /* What is queued or in flight points into batches that live on: let go of it before the threads end. */
        rd_kafka_resp_err_t purged = rd_kafka_purge(kafka->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        (void)purged; /* refuses only consumers */
    }
    for (struct core_kafka_topic *topic = kafka->topics; topic != NULL; topic = topic->next) {
        if (topic->handle != NULL) {
            rd_kafka_topic_destroy(topic->handle);
        }
    }
    if (kafka->queue != NULL) {
        rd_kafka_queue_destroy(kafka->queue);
    }
    if (kafka->handle != NULL) {
        rd_kafka_destroy(kafka->handle);
    }
    while (kafka->topics != NULL) { /* last: until the threads ended, the partitioner may have written to them */
        struct core_kafka_topic *topic = kafka->topics;
        kafka->topics = topic->next;
        free(topic);
    }
    if (kafka->fd >= 0) {
        MUST(close(kafka->fd) == 0);
    }
    kafka_stats_free(&kafka->stats);
    kafka->magic = 0;
    free(kafka);
}

/* ---- topics ---------------------------------------------------------------------------------------------------------- */

/* Thread: the owner's in core_kafka_send(), or librdkafka's when a topic's metadata arrives. */
static int32_t partition_of(const rd_kafka_topic_t *handle, const void *key, size_t key_len, int32_t partitions,
                            void *topic_ptr, void *ticket) {
    struct core_kafka_topic *topic = topic_ptr;
    if (atomic_load_explicit(&topic->partitions, memory_order_relaxed) != partitions) {
        atomic_store_explicit(&topic->partitions, partitions, memory_order_relaxed);
    }
    return rd_kafka_msg_partitioner_murmur2(handle, key, key_len, partitions, topic_ptr, ticket);
}

struct core_kafka_topic *core_kafka_topic_open(struct core_kafka *kafka, const char *name, void *owner) {
    MUST(kafka->magic == KAFKA_MAGIC);
    size_t size = strlen(name) + 1;
    struct core_kafka_topic *topic = calloc(1, sizeof *topic + size);
    MUST(topic != NULL);
    memcpy(topic->name, name, size);
    topic->owner = owner;
    topic->next = kafka->topics;
    kafka->topics = topic;
    return topic;
}

/* librdkafka asks for a topic's metadata as soon as it has a handle, and a topic that is not there yet is asked for again
 * only a second later. So the handle is made with the first record, when the topic has been made. */
static bool topic_has_handle(struct core_kafka *kafka, struct core_kafka_topic *topic) {
    if (topic->handle != NULL) {
        return true;
    }
    rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(kafka->handle);
    rd_kafka_topic_conf_set_partitioner_cb(conf, partition_of);
    rd_kafka_topic_conf_set_opaque(conf, topic);
    topic->handle = rd_kafka_topic_new(kafka->handle, topic->name, conf);
    if (topic->handle == NULL) { /* not a topic's name */
        rd_kafka_topic_conf_destroy(conf);
    }
    return topic->handle != NULL;
}

void *core_kafka_topic_owner(const struct core_kafka_topic *topic) {
    MUST(topic != NULL);
    return topic->owner;
}

int core_kafka_topic_partitions(const struct core_kafka_topic *topic) {
    MUST(topic != NULL);
    return atomic_load_explicit(&topic->partitions, memory_order_relaxed);
}

void core_kafka_topic_make(struct core_kafka *kafka, struct core_kafka_topic *topic,
                           const struct core_kafka_wish *wish) {
    MUST(kafka->magic == KAFKA_MAGIC);
    MUST(wish->partitions > 0 && wish->replication >= 0);
    char text[KAFKA_ERROR_BYTES] = "";
    rd_kafka_NewTopic_t *wanted = rd_kafka_NewTopic_new(
        topic->name, wish->partitions, wish->replication == 0 ? -1 : wish->replication, text, sizeof text);
    if (wanted == NULL) {
        kafka->calls->on_made(kafka->ctx, topic, CORE_KAFKA_NOT_MADE, text);
        return;
    }
    for (size_t i = 0; i < wish->config_len; i++) {
        rd_kafka_resp_err_t set = rd_kafka_NewTopic_set_config(wanted, wish->config[i].key, wish->config[i].value);
        MUST(set == RD_KAFKA_RESP_ERR_NO_ERROR); /* only a name that is none is refused here */
    }
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(kafka->handle, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    MUST(rd_kafka_AdminOptions_set_request_timeout(options, MAKE_TIMEOUT_MS, text, sizeof text) == 0);
    rd_kafka_AdminOptions_set_opaque(options, topic);
    rd_kafka_CreateTopics(kafka->handle, &wanted, 1, options, kafka->queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy(wanted);
}

int core_kafka_partition_of(struct core_span key, int partitions) {
    MUST(partitions > 0);
    return (int)rd_kafka_msg_partitioner_murmur2(NULL, key.ptr, key.len, partitions, NULL, NULL);
}

static enum core_kafka_made made_of(rd_kafka_resp_err_t code) {
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS:
        return CORE_KAFKA_MADE;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICA_ASSIGNMENT:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_REQUEST:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
        return CORE_KAFKA_NOT_MADE;
    default: /* timeouts, no controller, or too few brokers for the replication factor just now */
        return CORE_KAFKA_NOT_YET;
    }
}

static void take_made(struct core_kafka *kafka, rd_kafka_event_t *event) {
    struct core_kafka_topic *topic = rd_kafka_event_opaque(event);
    MUST(topic != NULL);
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const char *text = rd_kafka_event_error_string(event);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        size_t len = 0;
        const rd_kafka_topic_result_t **results =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &len);
        MUST(len == 1);
        code = rd_kafka_topic_result_error(results[0]);
        text = rd_kafka_topic_result_error_string(results[0]);
    }
    kafka->calls->on_made(kafka->ctx, topic, made_of(code), text != NULL ? text : rd_kafka_err2str(code));
}

/* ---- records --------------------------------------------------------------------------------------------------------- */

static enum core_kafka_fate fate_of(int code) {
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return CORE_KAFKA_ACCEPTED;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
        return CORE_KAFKA_FULL;
    case RD_KAFKA_RESP_ERR__FATAL:
        return CORE_KAFKA_FATAL;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        return CORE_KAFKA_TOPIC;
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR__KEY_SERIALIZATION:
    case RD_KAFKA_RESP_ERR__VALUE_SERIALIZATION:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
        return CORE_KAFKA_RECORD;
    default: /* purged, out of sequence, only supposed to be there, not enough replicas …: passing, or followed by a fatal
                error. A timestamp, too: it is the time of sending, so the clock is wrong, not the record */
        return CORE_KAFKA_AGAIN;
    }
}

static void header_add(rd_kafka_headers_t *headers, const char *name, struct core_span value) {
    rd_kafka_resp_err_t added = rd_kafka_header_add(headers, name, -1, value.ptr, (ssize_t)value.len);
    MUST(added == RD_KAFKA_RESP_ERR_NO_ERROR); /* refuses only headers that may not be changed */
}

/* NULL: the record has none. Owns: the caller's, until a record was sent with them. */
static rd_kafka_headers_t *headers_make(const struct core_kafka_record *record) {
    if (record->header_name == NULL && record->traceparent.len == 0) {
        return NULL;
    }
    rd_kafka_headers_t *headers = rd_kafka_headers_new(HEADERS_MAX);
    MUST(headers != NULL);
    if (record->header_name != NULL) {
        header_add(headers, record->header_name, record->header);
    }
    if (record->traceparent.len > 0) {
        header_add(headers, "traceparent", record->traceparent);
    }
    return headers;
}

enum core_kafka_fate core_kafka_send(struct core_kafka *kafka, struct core_kafka_topic *topic,
                                     const struct core_kafka_record *record, int *code) {
    MUST(kafka->magic == KAFKA_MAGIC);
    if (!topic_has_handle(kafka, topic)) {
        *code = (int)RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION;
        return CORE_KAFKA_TOPIC;
    }
    /* Our own object: one that librdkafka 2.0.2 makes of single headers is freed twice when the topic refuses the record. */
    rd_kafka_headers_t *headers = headers_make(record);
    /* The unions' members are not const, though librdkafka writes to none of them. A value that is NULL is a tombstone. */
    const rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic->handle},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = record->has_partition ? record->partition : RD_KAFKA_PARTITION_UA},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = record->is_copied ? RD_KAFKA_MSG_F_COPY : 0},
        {.vtype = RD_KAFKA_VTYPE_VALUE,
         .u.mem = {.ptr = record->is_tombstone ? NULL : (void *)(uintptr_t)record->value.ptr,
                   .size = record->is_tombstone ? 0 : record->value.len}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {.ptr = (void *)(uintptr_t)record->key.ptr, .size = record->key.len}},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = (void *)(uintptr_t)record->ticket},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    size_t parts_len = sizeof parts / sizeof parts[0] - (headers == NULL ? 1 : 0);
    rd_kafka_error_t *error = rd_kafka_produceva(kafka->handle, parts, parts_len);
    if (error == NULL) {
        *code = 0;
        return CORE_KAFKA_ACCEPTED;
    }
    if (headers != NULL) {
        rd_kafka_headers_destroy(headers);
    }
    rd_kafka_resp_err_t why = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    *code = (int)why;
    return fate_of(*code);
}

/* A batch whose answer was an error, or none, is reported as accepted as soon as a later one of its partition is: librdkafka
 * supposes that the broker would have refused a gap. It does not refuse the one that comes first of all: a broker before 4.5
 * takes whatever a producer begins with (KAFKA-15591), as when a new leader is asked a moment too early and then in time. The
 * records of the earlier batch are lost then, unless they are sent again; they may come twice, and with one id. (In a transaction
 * librdkafka 2.0.2 asks for an abort itself.) An offset comes with an answer of its own only. */
static int code_of(const rd_kafka_message_t *report) {
    bool is_supposed = report->err == RD_KAFKA_RESP_ERR_NO_ERROR && report->offset < 0;
    return is_supposed ? CODE_SUPPOSED : (int)report->err;
}

static void take_reports(struct core_kafka *kafka, rd_kafka_event_t *event) {
    const rd_kafka_message_t *report;
    bool is_answered = false;
    while ((report = rd_kafka_event_message_next(event)) != NULL) {
        int code = code_of(report);
        kafka->calls->on_report(kafka->ctx, (uint64_t)(uintptr_t)report->_private, fate_of(code), code,
                                code == 0 ? report->offset : -1);
        if (report->err == RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP) {
            kafka->calls->on_trouble(kafka->ctx, false, core_kafka_text((int)report->err)); /* an abort hides why */
        }
        is_answered = is_answered || report->err == RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    if (is_answered) {
        kafka_stats_answered(&kafka->stats);
    }
}

/* Has the producer failed for good? The event or answer that says so carries only the first cause's code. */
static bool is_finished(const struct core_kafka *kafka, char *text, size_t text_len) {
    return rd_kafka_fatal_error(kafka->handle, text, text_len) != RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void take_trouble(struct core_kafka *kafka, rd_kafka_event_t *event) {
    char text[KAFKA_ERROR_BYTES] = "";
    kafka_stats_error(&kafka->stats, (int)rd_kafka_event_error(event), rd_kafka_event_error_string(event));
    if (is_finished(kafka, text, sizeof text)) {
        kafka->calls->on_trouble(kafka->ctx, true, text);
    } else {
        kafka->calls->on_trouble(kafka->ctx, false, rd_kafka_event_error_string(event));
    }
}

void core_kafka_poll(struct core_kafka *kafka) {
    MUST(kafka->magic == KAFKA_MAGIC);
    uint64_t rung;
    ssize_t got = read(kafka->fd, &rung, sizeof rung); /* before the queue is emptied: no event is missed */
    MUST(got == (ssize_t)sizeof rung || errno == EAGAIN || errno == EINTR);
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(kafka->queue, 0)) != NULL) {
        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_DR:
            take_reports(kafka, event);
            break;
        case RD_KAFKA_EVENT_ERROR:
            take_trouble(kafka, event);
            break;
        case RD_KAFKA_EVENT_CREATETOPICS_RESULT:
            take_made(kafka, event);
            break;
        case RD_KAFKA_EVENT_STATS:
            kafka_stats_read(&kafka->stats, core_span_of(rd_kafka_event_stats(event)));
            break;
        default: /* nothing else was asked for */
            break;
        }
        rd_kafka_event_destroy(event);
    }
}

void core_kafka_hurry(struct core_kafka *kafka, int timeout_ms) {
    MUST(kafka->magic == KAFKA_MAGIC);
    /* "timed out": reports are events here, and wait to be polled */
    rd_kafka_resp_err_t flushed CORE_UNUSED = rd_kafka_flush(kafka->handle, timeout_ms);
}

const char *core_kafka_text(int code) {
    if (code == RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP) {
        return "the broker refuses the time of sending: this machine's clock is ahead of the broker's by more than "
               "message.timestamp.after.max.ms (an hour, unless set); see to the clock (timedatectl)";
    }
    if (code == CODE_SUPPOSED) {
        return "the broker has not said where it is (was its partition given to another leader?): it may be lost";
    }
    return rd_kafka_err2str((rd_kafka_resp_err_t)code);
}

bool core_kafka_is_topic(int code) {
    return fate_of(code) == CORE_KAFKA_TOPIC;
}

bool core_kafka_is_size(int code) {
    return code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || code == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE ||
           code == RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE;
}

bool core_kafka_is_denied(int code) {
    switch (code) {
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
        return true;
    default:
        return false;
    }
}
