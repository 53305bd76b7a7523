/* core/kafka_group.c: the consumer that shares topics with others of its group.
 *
 * Two queues of librdkafka's are read. What concerns the group (partitions gained and to be given up, errors) comes by the
 * consumer's queue; records do not: each partition's own queue is forwarded to one of ours before it is assigned. So a
 * rebalance is seen at once, however many records wait, and also while nobody wants records; pause() is not to look into
 * that queue, and what stops the fetching then is its limit (queued.max.messages.kbytes).
 *
 * A rebalance is an event that waits for its answer: rd_kafka_incremental_assign() or _unassign(). Between LOSING and the
 * owner's release() it is kept, and no other is taken; the queue of a partition that leaves is cut off from ours, so that
 * what is fetched meanwhile is nobody's. Behind that a record is given only if its partition is ours, and its offset behind
 * what was given before.
 *
 * Where partitions that are gained begin is asked for (kafka_begin.c), and not left to the assignment, because the owner must know
 * it: it joins its ledger's rows.
 *
 * Thread: the owner's; librdkafka's own threads run behind the queues.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_group.h"
#include "core/kafka_internal.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define GROUP_MAGIC 0x6b677270u
#define BUNDLE_MAX 512
#define HEADER_NAME "tapline"
#define HEADER_TRACE "traceparent"
#define WAKE_MS 100   /* for a question whose answer does not matter */
#define CLOSE_MS 5000 /* for the coordinator to take our leave */
#define CLOSE_STEP_MS 100
#define FETCH_BYTES_LEAST 1000000 /* librdkafka's own least: a record may be as long */
#define RECORD_BYTES_LEAST 512    /* a shorter one costs as much as this, with what librdkafka keeps beside it */

struct group_share {
    struct core_kafka_share is;
    rd_kafka_queue_t *queue; /* the partition's own */
    int64_t next;            /* offsets before it were given */
    int64_t end;             /* as last told by END, if nothing came since; else -1 */
    int64_t asked_end;       /* as last asked for; -1: never */
    bool is_leaving;
    char name[];
};

struct core_kafka_group {
    uint32_t magic;
    int fd;
    bool is_paused;
    bool is_lost; /* with asked */
    bool has_had; /* a share, which may have been empty: it has been told once what is its */
    rd_kafka_t *handle;
    rd_kafka_queue_t *events;
    rd_kafka_queue_t *records;
    struct group_share **shares;
    size_t shares_len;
    struct group_share **table; /* by topic and partition; more than half empty */
    size_t table_len;
    struct group_share *last; /* the last record's, and its topic's handle */
    const rd_kafka_topic_t *last_topic;
    rd_kafka_event_t *gaining; /* partitions whose committed offsets are not known yet */
    rd_kafka_event_t *asked;   /* partitions that the owner is to release */
    rd_kafka_event_t *held;    /* a rebalance that came before that was done */
    struct core_kafka_share **told;
    rd_kafka_message_t *bundle[BUNDLE_MAX];
    size_t bundle_len;
    size_t bundle_at;
    uint64_t queued_bytes;     /* as configured */
    uint64_t record_bytes;     /* of one, about */
    bool is_filled;            /* the queue was, since the last wake */
    rd_kafka_message_t *given; /* what the last record's spans point into */
    struct kafka_stats stats;
};

/* ---- shares ----------------------------------------------------------------------------------------------------------- */

static size_t table_slot(const struct core_kafka_group *group, const char *topic, int partition) {
    MUST(group->table_len > 0);
    size_t at = core_hash64(topic, strlen(topic), (uint64_t)partition) & (group->table_len - 1);
    while (group->table[at] != NULL &&
           (group->table[at]->is.partition != partition || strcmp(group->table[at]->name, topic) != 0)) {
        at = (at + 1) & (group->table_len - 1);
    }
    return at;
}

static struct group_share *share_find(const struct core_kafka_group *group, const char *topic, int partition) {
    return group->shares_len == 0 ? NULL : group->table[table_slot(group, topic, partition)];
}

static void table_make(struct core_kafka_group *group) {
    free(group->table);
    group->table_len = 2;
    while (group->table_len < 2 * group->shares_len + 1) {
        group->table_len *= 2;
    }
    group->table = calloc(group->table_len, sizeof(struct group_share *));
    MUST(group->table != NULL);
    for (size_t i = 0; i < group->shares_len; i++) {
        group->table[table_slot(group, group->shares[i]->name, group->shares[i]->is.partition)] = group->shares[i];
    }
    group->last = NULL;
    group->last_topic = NULL;
}

/* Whose is it? NULL: not ours, or not any more. */
static struct group_share *share_of(struct core_kafka_group *group, const rd_kafka_message_t *message) {
    if (message->rkt == NULL) {
        return NULL;
    }
    struct group_share *share = group->last;
    if (share == NULL || group->last_topic != message->rkt || share->is.partition != message->partition) {
        share = share_find(group, rd_kafka_topic_name(message->rkt), message->partition);
        group->last = share;
        group->last_topic = message->rkt;
    }
    return share == NULL || share->is_leaving ? NULL : share;
}

static void share_free(struct group_share *share) {
    rd_kafka_queue_destroy(share->queue);
    free(share);
}

/* Its records come to our queue from now on; they are not fetched before it is assigned. */
static struct group_share *share_add(struct core_kafka_group *group, const rd_kafka_topic_partition_t *place) {
    MUST(share_find(group, place->topic, place->partition) == NULL);
    size_t size = strlen(place->topic) + 1;
    struct group_share *share = calloc(1, sizeof *share + size);
    struct group_share **shares = realloc(group->shares, (group->shares_len + 1) * sizeof(struct group_share *));
    MUST(share != NULL && shares != NULL);
    memcpy(share->name, place->topic, size);
    share->is = (struct core_kafka_share){.topic = share->name, .partition = place->partition, .offset = -1};
    share->end = share->asked_end = -1;
    if (place->offset >= 0) {
        share->is.offset = share->next = place->offset;
    }
    share->queue = rd_kafka_queue_get_partition(group->handle, place->topic, place->partition);
    MUST(share->queue != NULL);
    rd_kafka_queue_forward(share->queue, group->records);
    group->shares = shares;
    group->shares[group->shares_len++] = share;
    table_make(group);
    return share;
}

/* Room to tell so many shares. */
static void told_reserve(struct core_kafka_group *group, size_t len) {
    free(group->told);
    group->told = calloc(len + 1, sizeof(struct core_kafka_share *));
    MUST(group->told != NULL);
}

static void given_drop(struct core_kafka_group *group) {
    if (group->given != NULL) {
        rd_kafka_message_destroy(group->given);
        group->given = NULL;
    }
}

/* What was taken from the queue in a bundle and is nobody's any more. */
static void bundle_sift(struct core_kafka_group *group) {
    size_t kept = group->bundle_at;
    for (size_t i = group->bundle_at; i < group->bundle_len; i++) {
        rd_kafka_message_t *message = group->bundle[i];
        if (message->rkt != NULL && share_of(group, message) == NULL) {
            rd_kafka_message_destroy(message);
        } else {
            group->bundle[kept++] = message;
        }
    }
    group->bundle_len = kept;
}

/* ---- life --------------------------------------------------------------------------------------------------------------- */

/* What the caller's properties may say otherwise. */
static const struct core_kafka_pair group_defaults[] = {
    {"session.timeout.ms", "10000"},                 /* how long the others wait for one that was killed */
    {"topic.metadata.refresh.interval.ms", "10000"}, /* how late a topic that a pattern fits is seen */
    {"fetch.wait.max.ms", "100"},                    /* how late the end is seen, and what a start has to wait for */
    {"max.partition.fetch.bytes", "1048576"},
    {"statistics.interval.ms", "1000"}, /* the last one: left out if nobody wants them */
};
/* What they may not: what the header promises rests on it. */
static const struct core_kafka_pair group_musts[] = {
    {"isolation.level", "read_committed"}, {"partition.assignment.strategy", "cooperative-sticky"},
    {"enable.auto.commit", "false"},       {"enable.auto.offset.store", "false"},
    {"auto.offset.reset", "earliest"},     {"enable.partition.eof", "true"},
    {"allow.auto.create.topics", "false"},
};
#define DEFAULTS_LEN (sizeof group_defaults / sizeof group_defaults[0])
#define MUSTS_LEN (sizeof group_musts / sizeof group_musts[0])
#define LIMITS_LEN 4

/* One answer may be a sixteenth of what is fetched ahead, since it is compressed and that is not. */
static enum core_err group_conf_make(rd_kafka_conf_t **out, const struct core_kafka_group_conf *conf,
                                     struct core_fail *fail) {
    char kbytes[24], fetch_bytes[24], records[24];
    uint64_t fetch = conf->queued_bytes / 16 < FETCH_BYTES_LEAST ? FETCH_BYTES_LEAST : conf->queued_bytes / 16;
    snprintf(kbytes, sizeof kbytes, "%llu", (unsigned long long)(conf->queued_bytes / 1024));
    snprintf(fetch_bytes, sizeof fetch_bytes, "%llu", (unsigned long long)fetch);
    snprintf(records, sizeof records, "%llu", (unsigned long long)(conf->queued_bytes / RECORD_BYTES_LEAST));
    const struct core_kafka_pair limits[LIMITS_LEN] = {{"queued.max.messages.kbytes", kbytes},
                                                       {"queued.min.messages", records},
                                                       {"fetch.max.bytes", fetch_bytes},
                                                       {"group.id", conf->group}};
    struct core_kafka_pair *all = calloc(DEFAULTS_LEN + conf->pairs_len + MUSTS_LEN + LIMITS_LEN, sizeof *all);
    MUST(all != NULL);
    size_t len = 0;
    memcpy(all, group_defaults, sizeof group_defaults);
    len += DEFAULTS_LEN - (conf->wants_statistics ? 0 : 1);
    memcpy(all + len, conf->pairs, conf->pairs_len * sizeof *all);
    len += conf->pairs_len;
    memcpy(all + len, group_musts, sizeof group_musts);
    len += MUSTS_LEN;
    memcpy(all + len, limits, sizeof limits);
    len += LIMITS_LEN;
    enum core_err err = core_kafka_conf_make(out, RD_KAFKA_CONSUMER, all, len, fail);
    free(all);
    if (err == CORE_OK) {
        rd_kafka_conf_set_events(*out, RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS);
    }
    return err;
}

static enum core_err group_subscribe(struct core_kafka_group *group, const struct core_kafka_group_conf *conf,
                                     struct core_fail *fail) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)conf->topics_len);
    for (size_t i = 0; i < conf->topics_len; i++) {
        rd_kafka_topic_partition_list_add(list, conf->topics[i], RD_KAFKA_PARTITION_UA);
    }
    rd_kafka_resp_err_t code = rd_kafka_subscribe(group->handle, list);
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR
               ? CORE_OK
               : core_fail_set(fail, code == RD_KAFKA_RESP_ERR__INVALID_ARG ? CORE_BAD : CORE_IO, conf->group,
                               "cannot subscribe to the topics: %s; look at their names and patterns",
                               rd_kafka_err2str(code));
}

enum core_err core_kafka_group_open(struct core_kafka_group **out, const struct core_kafka_group_conf *conf,
                                    struct core_fail *fail) {
    MUST(out != NULL && conf->group != NULL);
    MUST(conf->topics_len > 0);
    struct core_kafka_group *group = calloc(1, sizeof *group);
    MUST(group != NULL);
    group->magic = GROUP_MAGIC;
    group->queued_bytes = conf->queued_bytes;
    kafka_stats_init(&group->stats);
    rd_kafka_conf_t *made = NULL;
    enum core_err err = CORE_OK;
    group->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (group->fd < 0) {
        err = core_fail_errno(fail, "eventfd", "cannot make a consumer; raise the limit of open files");
        goto out;
    }
    err = group_conf_make(&made, conf, fail);
    if (err != CORE_OK) {
        goto out;
    }
    err = core_kafka_handle_new(&group->handle, RD_KAFKA_CONSUMER, made, fail);
    if (err != CORE_OK) {
        goto out;
    }
    rd_kafka_resp_err_t joined CORE_UNUSED = rd_kafka_poll_set_consumer(group->handle); /* errors come there, too */
    group->events = rd_kafka_queue_get_consumer(group->handle);
    group->records = rd_kafka_queue_new(group->handle);
    MUST(group->events != NULL);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(group->events, group->fd, &one, sizeof one);
    rd_kafka_queue_io_event_enable(group->records, group->fd, &one, sizeof one);
    err = group_subscribe(group, conf, fail);
    if (err == CORE_OK) {
        *out = group;
        group = NULL;
    }
out:
    core_kafka_group_close(group);
    return err;
}

int core_kafka_group_fd(const struct core_kafka_group *group) {
    MUST(group->magic == GROUP_MAGIC);
    return group->fd;
}

static void error_drop(rd_kafka_error_t *error) {
    if (error != NULL) { /* only a consumer that has failed for good answers so, and it says that by itself */
        core_log(CORE_LEVEL_DEBUG, "kafka", "the group's answer was not taken", "text=\"%s\"",
                 rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
    }
}

static bool is_gain(rd_kafka_event_t *rebalance) {
    return rd_kafka_event_error(rebalance) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
}

/* Answer a rebalance, as it is, and forget it. */
static void rebalance_answer(struct core_kafka_group *group, rd_kafka_event_t *event) {
    if (is_gain(event)) {
        error_drop(rd_kafka_incremental_assign(group->handle, rd_kafka_event_topic_partition_list(event)));
    } else {
        error_drop(rd_kafka_incremental_unassign(group->handle, rd_kafka_event_topic_partition_list(event)));
    }
    rd_kafka_event_destroy(event);
}

/* On the way out: a rebalance is answered, all else is dropped. Takes NULL. */
static void event_answer(struct core_kafka_group *group, rd_kafka_event_t *event) {
    if (event != NULL && rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE) {
        group->has_had = group->has_had || is_gain(event);
        rebalance_answer(group, event);
    } else {
        rd_kafka_event_destroy(event); /* takes NULL */
    }
}

/* Of the group, as far as the coordinator knows. */
static bool is_member(struct core_kafka_group *group) {
    char *id = rd_kafka_memberid(group->handle);
    bool has_id = id != NULL && id[0] != '\0';
    rd_kafka_mem_free(group->handle, id);
    return has_id;
}

/* Say farewell, so that the others need not wait for the session to end. The queue must be another than the consumer's own,
 * which librdkafka forwards to it.
 *
 * What was asked must be answered before the farewell: librdkafka 2.0.2 takes an answer to "these are yours" that comes behind it
 * for the opposite, and then waits for the answer for ever ("waiting for assign call"), and so would who destroys it. What is
 * asked in the very moment between cannot be helped: false, it has not closed, and must not be destroyed. Nor may a member that
 * has not been told its first share: there is nothing to free then, which ends the process. So that is waited for. */
static bool group_leave(struct core_kafka_group *group) {
    if (group->gaining != NULL) {
        rebalance_answer(group, group->gaining);
    }
    if (group->asked != NULL) {
        rebalance_answer(group, group->asked);
    }
    if (group->held != NULL) {
        rebalance_answer(group, group->held);
    }
    int64_t until_ns = core_tick_ns() + CLOSE_MS * CORE_NS_PER_MS;
    while (!group->has_had && is_member(group)) {
        if (core_tick_ns() >= until_ns) {
            return false;
        }
        event_answer(group, rd_kafka_queue_poll(group->events, CLOSE_STEP_MS));
    }
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(group->events, 0)) != NULL) {
        event_answer(group, event);
    }
    rd_kafka_queue_t *queue = rd_kafka_queue_new(group->handle);
    error_drop(rd_kafka_consumer_close_queue(group->handle, queue));
    until_ns = core_tick_ns() + CLOSE_MS * CORE_NS_PER_MS;
    while (!rd_kafka_consumer_closed(group->handle) && core_tick_ns() < until_ns) {
        event_answer(group, rd_kafka_queue_poll(queue, CLOSE_STEP_MS));
    }
    rd_kafka_queue_destroy(queue);
    return rd_kafka_consumer_closed(group->handle) != 0;
}

void core_kafka_group_close(struct core_kafka_group *group) {
    if (group == NULL) {
        return;
    }
    MUST(group->magic == GROUP_MAGIC);
    bool is_closed = true;
    given_drop(group);
    while (group->bundle_at < group->bundle_len) {
        rd_kafka_message_destroy(group->bundle[group->bundle_at++]);
    }
    if (group->events != NULL) {
        rd_kafka_queue_io_event_enable(group->events, -1, NULL, 0);
        rd_kafka_queue_io_event_enable(group->records, -1, NULL, 0);
        is_closed = group_leave(group);
        rd_kafka_queue_destroy(group->events);
        rd_kafka_queue_destroy(group->records);
    }
    for (size_t i = 0; i < group->shares_len; i++) {
        share_free(group->shares[i]);
    }
    if (group->handle != NULL && is_closed) {
        rd_kafka_destroy_flags(group->handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    } else if (group->handle != NULL) {
        core_log(CORE_LEVEL_WARN, "kafka",
                 "a consumer does not close; it is left behind until the process ends, and the group misses it then",
                 "%s", "");
    }
    if (group->fd >= 0) {
        close(group->fd);
    }
    free(group->shares);
    free(group->table);
    free(group->told);
    kafka_stats_free(&group->stats);
    group->magic = 0;
    free(group);
}

/* ---- rebalances ----------------------------------------------------------------------------------------------------------- */

/* Partitions were assigned: find out where they were left, and begin there. True: news has something to tell. */
static bool gain(struct core_kafka_group *group, struct core_kafka_news *news) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(group->gaining);
    if (list->cnt > 0 && !kafka_group_begin(group->handle, list, news)) {
        return true;
    }
    told_reserve(group, (size_t)list->cnt);
    for (int i = 0; i < list->cnt; i++) {
        group->told[i] = &share_add(group, &list->elems[i])->is;
    }
    news->came = CORE_KAFKA_CAME_GAINED;
    news->shares = group->told;
    news->shares_len = (size_t)list->cnt;
    rebalance_answer(group, group->gaining);
    group->gaining = NULL;
    return true;
}

/* Partitions are to be given up: tell the owner, who answers with a release. Those it never heard of are let go at once. */
static bool lose(struct core_kafka_group *group, struct core_kafka_news *news) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(group->asked);
    size_t len = 0;
    group->is_lost = rd_kafka_assignment_lost(group->handle) != 0;
    told_reserve(group, (size_t)list->cnt);
    for (int i = 0; i < list->cnt; i++) {
        struct group_share *share = share_find(group, list->elems[i].topic, list->elems[i].partition);
        if (share != NULL) {
            share->is_leaving = true;
            rd_kafka_queue_forward(share->queue, NULL);
            group->told[len++] = &share->is;
        }
    }
    if (len == 0) {
        core_kafka_group_release(group);
        return false;
    }
    bundle_sift(group);
    news->came = group->is_lost ? CORE_KAFKA_CAME_LOST : CORE_KAFKA_CAME_LOSING;
    news->shares = group->told;
    news->shares_len = len;
    return true;
}

void core_kafka_group_release(struct core_kafka_group *group) {
    MUST(group->magic == GROUP_MAGIC);
    MUST(group->asked != NULL);
    rebalance_answer(group, group->asked);
    group->asked = NULL;
    group->is_lost = false;
    size_t kept = 0;
    for (size_t i = 0; i < group->shares_len; i++) {
        struct group_share *share = group->shares[i];
        if (share->is_leaving) {
            rd_kafka_queue_forward(share->queue, group->records); /* what it holds is dropped there */
            share_free(share);
        } else {
            group->shares[kept++] = share;
        }
    }
    group->shares_len = kept;
    table_make(group);
    bundle_sift(group);
}

static bool rebalance_take(struct core_kafka_group *group, rd_kafka_event_t *event, struct core_kafka_news *news) {
    bool has_gained = is_gain(event);
    group->has_had = group->has_had || has_gained;
    *(has_gained ? &group->gaining : &group->asked) = event;
    return has_gained ? gain(group, news) : lose(group, news);
}

/* One rebalance after the other. */
static bool is_rebalancing(const struct core_kafka_group *group) {
    return group->gaining != NULL || group->asked != NULL;
}

/* What concerns the group. True: news has something to tell. The queue is looked into also while the owner has not released
 * what it was asked for, or offsets are not known yet: that is what says that we are alive (max.poll.interval.ms), and what is
 * wrong with the brokers meanwhile is known. */
static bool event_take(struct core_kafka_group *group, struct core_kafka_news *news) {
    rd_kafka_event_t *event = group->held;
    if (event != NULL && !is_rebalancing(group)) {
        group->held = NULL;
        return rebalance_take(group, event, news);
    }
    while (group->held == NULL && (event = rd_kafka_queue_poll(group->events, 0)) != NULL) {
        bool is_told = false;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE && is_rebalancing(group)) {
            group->held = event;
        } else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE) {
            is_told = rebalance_take(group, event, news);
        } else {
            if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_STATS) {
                kafka_stats_read(&group->stats, core_span_of(rd_kafka_event_stats(event)));
            } else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR) {
                kafka_stats_error(&group->stats, (int)rd_kafka_event_error(event), rd_kafka_event_error_string(event));
                is_told =
                    kafka_group_trouble(news, rd_kafka_event_error(event), "", rd_kafka_event_error_string(event));
                news->is_fatal = rd_kafka_event_error_is_fatal(event) != 0;
            }
            rd_kafka_event_destroy(event);
        }
        if (is_told) {
            return true;
        }
    }
    return group->gaining != NULL && gain(group, news);
}

/* ---- records ---------------------------------------------------------------------------------------------------------------- */

/* The last one of that name. */
static struct core_span header_of(const rd_kafka_headers_t *headers, const char *name) {
    const void *value = NULL;
    size_t len = 0;
    if (rd_kafka_header_get_last(headers, name, &value, &len) != RD_KAFKA_RESP_ERR_NO_ERROR || value == NULL) {
        return (struct core_span){0};
    }
    return (struct core_span){.ptr = value, .len = len};
}

static void record_fill(struct group_share *share, const rd_kafka_message_t *message, struct core_kafka_taken *taken) {
    rd_kafka_timestamp_type_t kind;
    int64_t timestamp_ms = rd_kafka_message_timestamp(message, &kind);
    rd_kafka_headers_t *headers = NULL;
    bool has_headers = rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR;
    *taken = (struct core_kafka_taken){
        .share = &share->is,
        .offset = message->offset,
        .timestamp_ms = kind == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : timestamp_ms,
        .key = {.ptr = message->key, .len = message->key == NULL ? 0 : message->key_len},
        .value = {.ptr = message->payload, .len = message->payload == NULL ? 0 : message->len},
        .header = has_headers ? header_of(headers, HEADER_NAME) : (struct core_span){0},
        .traceparent = has_headers ? header_of(headers, HEADER_TRACE) : (struct core_span){0},
        .is_tombstone = message->payload == NULL,
    };
}

/* A thing of the bundle. True: it is a record, or news of another kind. Owns: the message. */
static bool message_take(struct core_kafka_group *group, rd_kafka_message_t *message, struct core_kafka_news *news) {
    struct group_share *share = share_of(group, message);
    bool is_told = false;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (share != NULL && message->offset + 1 < share->next) { /* the last one itself may come twice */
            is_told = kafka_set_back_tell(&share->is, share->next, message->offset, news);
        } else if (share != NULL && message->offset >= share->next) {
            share->next = message->offset + 1;
            share->end = -1;
            group->given = message;
            news->came = CORE_KAFKA_CAME_RECORD;
            record_fill(share, message, &news->taken);
            return true;
        }
    } else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (share != NULL && message->offset >= share->next) {
            share->end = message->offset;
            news->came = CORE_KAFKA_CAME_END;
            news->taken = (struct core_kafka_taken){.share = &share->is, .offset = message->offset};
            is_told = true;
        }
    } else {
        char where[300] = "";
        if (message->rkt != NULL) {
            snprintf(where, sizeof where, "%s, partition %d: ", rd_kafka_topic_name(message->rkt),
                     (int)message->partition);
        }
        is_told = kafka_group_trouble(news, message->err, where, rd_kafka_message_errstr(message));
    }
    rd_kafka_message_destroy(message);
    return is_told;
}

static bool bundle_take(struct core_kafka_group *group, struct core_kafka_news *news) {
    while (!group->is_paused && group->bundle_at < group->bundle_len) {
        if (message_take(group, group->bundle[group->bundle_at++], news)) {
            return true;
        }
    }
    return false;
}

/* Room was made for what is to be fetched ahead, but librdkafka's broker threads do not see that: one that finds the queue
 * full sleeps up to a second, which is longer than a full queue lasts (2.0.2; later ones have fetch.queue.backoff.ms). Any
 * request wakes them: where the partitions' ends are is a cheap one, and asks the leaders of all. */
static void fetch_wake(struct core_kafka_group *group) {
    core_kafka_group_ends(group, WAKE_MS);
}

void core_kafka_group_ends(struct core_kafka_group *group, int timeout_ms) {
    MUST(group->magic == GROUP_MAGIC);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)group->shares_len);
    for (size_t i = 0; i < group->shares_len; i++) {
        rd_kafka_topic_partition_list_add(list, group->shares[i]->name, group->shares[i]->is.partition)->offset =
            RD_KAFKA_OFFSET_END;
    }
    rd_kafka_resp_err_t asked = rd_kafka_offsets_for_times(group->handle, list, timeout_ms);
    for (int i = 0; i < list->cnt && asked == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        struct group_share *share = share_find(group, list->elems[i].topic, list->elems[i].partition);
        if (share != NULL && list->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR && list->elems[i].offset >= 0) {
            share->asked_end = list->elems[i].offset;
        }
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* After the queue was full (as far as can be said from the lengths of the records that were given lately): is it half empty? */
static bool is_drained(struct core_kafka_group *group) {
    uint64_t len = rd_kafka_queue_length(group->records);
    uint64_t record_bytes = group->record_bytes < RECORD_BYTES_LEAST ? RECORD_BYTES_LEAST : group->record_bytes;
    uint64_t most = group->queued_bytes / record_bytes;
    group->is_filled = group->is_filled || len * 10 >= most * 7;
    if (!group->is_filled || len * 2 >= most) {
        return false;
    }
    group->is_filled = false;
    return true;
}

/* Without waiting. One by one: librdkafka's call for many (before 2.1.0) moves the consumer's position with each record that
 * it collects, but gives none before it has all; a rebalance in between lets all partitions begin again at their
 * positions, and throws away what was collected. Those records would never come. */
static bool bundle_fetch(struct core_kafka_group *group) {
    if (group->is_paused) {
        return false;
    }
    MUST(group->bundle_at == group->bundle_len);
    if (is_drained(group)) {
        fetch_wake(group);
    }
    group->bundle_at = group->bundle_len = 0;
    rd_kafka_message_t *one = rd_kafka_consume_queue(group->records, 0);
    while (one != NULL) {
        group->bundle[group->bundle_len++] = one;
        one = group->bundle_len < BUNDLE_MAX ? rd_kafka_consume_queue(group->records, 0) : NULL;
    }
    if (group->bundle_len > 0 && group->bundle[0]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        /* slowly, from one record of each bundle */
        group->record_bytes += (group->bundle[0]->len + group->bundle[0]->key_len) / 8 - group->record_bytes / 8;
    }
    return group->bundle_len > 0;
}

/* Anything that is there already. */
static bool take(struct core_kafka_group *group, struct core_kafka_news *news) {
    do {
        if (bundle_take(group, news) || event_take(group, news)) {
            return true;
        }
    } while (bundle_fetch(group));
    return false;
}

static void fd_drain(const struct core_kafka_group *group) {
    uint64_t count;
    ssize_t got CORE_UNUSED = read(group->fd, &count, sizeof count); /* nothing there: as good */
}

/* There may be more. */
static void fd_arm(const struct core_kafka_group *group) {
    static const uint64_t one = 1;
    ssize_t put CORE_UNUSED = write(group->fd, &one, sizeof one);
}

void core_kafka_group_next(struct core_kafka_group *group, int timeout_ms, struct core_kafka_news *news) {
    MUST(group->magic == GROUP_MAGIC);
    given_drop(group);
    if (take(group, news)) {
        return;
    }
    int64_t until_ns = core_tick_ns() + timeout_ms * CORE_NS_PER_MS;
    for (;;) {
        fd_drain(group); /* before the look, so that what comes behind it wakes us */
        if (take(group, news)) {
            fd_arm(group);
            return;
        }
        int64_t left_ms = (until_ns - core_tick_ns() + CORE_NS_PER_MS - 1) / CORE_NS_PER_MS;
        struct pollfd wait = {.fd = group->fd, .events = POLLIN};
        if (left_ms <= 0 || poll(&wait, 1, (int)left_ms) <= 0) {
            break;
        }
    }
    news->came = CORE_KAFKA_CAME_NOTHING;
}

void core_kafka_group_pause(struct core_kafka_group *group, bool is_paused) {
    MUST(group->magic == GROUP_MAGIC);
    if (group->is_paused && !is_paused) {
        fd_arm(group);
    }
    group->is_paused = is_paused;
}

void core_kafka_group_health(const struct core_kafka_group *group, const char *client, struct core_health_page *page) {
    MUST(group->magic == GROUP_MAGIC);
    kafka_stats_rows(&group->stats, client, page);
}

void core_kafka_group_look(const struct core_kafka_group *group, struct core_kafka_look *out) {
    MUST(group->magic == GROUP_MAGIC);
    kafka_stats_look(&group->stats, out);
}

int64_t core_kafka_group_lag(struct core_kafka_group *group, const struct core_kafka_share *share, int64_t offset) {
    MUST(group->magic == GROUP_MAGIC);
    int64_t low = RD_KAFKA_OFFSET_INVALID;
    int64_t high = RD_KAFKA_OFFSET_INVALID;
    const struct group_share *own = share_find(group, share->topic, share->partition);
    if (own != NULL && own->end >= 0 && offset >= own->end) {
        return 0; /* what is behind are marks of transactions, if anything */
    }
    if (rd_kafka_get_watermark_offsets(group->handle, share->topic, share->partition, &low, &high) !=
        RD_KAFKA_RESP_ERR_NO_ERROR) {
        high = -1;
    }
    if (own != NULL && own->asked_end > high) { /* nothing was fetched since */
        high = own->asked_end;
    }
    if (high < 0 || offset < 0) {
        return -1;
    }
    return high > offset ? high - offset : 0;
}

/* ---- the transaction's ------------------------------------------------------------------------------------------------------- */

/* The group's name for us, as of now; NULL: none, the group has given us up. Owns: rd_kafka_mem_free(). */
static char *member(struct core_kafka_group *group) {
    char *name = rd_kafka_memberid(group->handle);
    if (name != NULL && name[0] == '\0') {
        rd_kafka_mem_free(group->handle, name);
        name = NULL;
    }
    return name;
}

rd_kafka_consumer_group_metadata_t *core_kafka_group_metadata(struct core_kafka_group *group) {
    MUST(group->magic == GROUP_MAGIC);
    if (group->is_lost || rd_kafka_assignment_lost(group->handle) != 0) {
        return NULL;
    }
    char *before = member(group);
    rd_kafka_consumer_group_metadata_t *metadata = rd_kafka_consumer_group_metadata(group->handle);
    char *after = member(group);
    bool is_same = before != NULL && after != NULL && strcmp(before, after) == 0;
    if (metadata != NULL && !is_same) {
        rd_kafka_consumer_group_metadata_destroy(metadata);
        metadata = NULL;
    }
    if (before != NULL) {
        rd_kafka_mem_free(group->handle, before);
    }
    if (after != NULL) {
        rd_kafka_mem_free(group->handle, after);
    }
    return metadata;
}
