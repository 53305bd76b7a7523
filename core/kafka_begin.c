/* core/kafka_begin.c: where a group's reading of a partition begins.
 *
 * With isolation.level=read_committed librdkafka asks for stable offsets only: what an open transaction may still commit is
 * waited for.
 *
 * A committed offset may lie behind the end of its partition: a leader that knew less took over (unclean election), a cluster was
 * restored, or the topic was deleted and made anew. The records that are there then, and those that come until the old
 * offset is reached, have not been read. librdkafka begins at the oldest one; so it is said here that there is no
 * committed offset, and the owner, who knows records by their ids, takes what it had for repeated. A reader that is under way
 * when that happens sees it by the offsets alone: they go back. Its consumer is finished then; the next one begins here.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_group.h"
#include "core/kafka_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define ASK_MS 500 /* for each question; it is asked again */

/* What a broker grants only if a person does. */
static bool is_refusal(rd_kafka_resp_err_t code) {
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return true;
    default:
        return false;
    }
}

bool kafka_group_trouble(struct core_kafka_news *news, rd_kafka_resp_err_t code, const char *what, const char *text) {
    news->came = CORE_KAFKA_CAME_TROUBLE;
    news->is_fatal = false;
    news->is_refused = is_refusal(code);
    snprintf(news->text, sizeof news->text, "%s%s", what, text);
    return true;
}

static bool committed_ask(rd_kafka_t *handle, rd_kafka_topic_partition_list_t *list, struct core_kafka_news *news) {
    rd_kafka_resp_err_t code = rd_kafka_committed(handle, list, ASK_MS);
    for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++) {
        code = list->elems[i].err;
    }
    if (code == RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT) {
        return !kafka_group_trouble(news, code, "",
                                    "a transaction that somebody left open holds the committed offsets back");
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return !kafka_group_trouble(news, code, "the committed offsets were not told: ", rd_kafka_err2str(code));
    }
    return true;
}

/* A partition whose end is not known (its leader is away) begins at what was committed: the others do not wait for it. */
static void ends_compare(rd_kafka_t *handle, rd_kafka_topic_partition_list_t *list) {
    rd_kafka_topic_partition_list_t *ends = rd_kafka_topic_partition_list_copy(list);
    for (int i = 0; i < ends->cnt; i++) {
        ends->elems[i].offset = RD_KAFKA_OFFSET_END;
    }
    rd_kafka_resp_err_t asked = rd_kafka_offsets_for_times(handle, ends, ASK_MS);
    for (int i = 0; i < list->cnt && asked == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        const rd_kafka_topic_partition_t *end = &ends->elems[i];
        if (end->err == RD_KAFKA_RESP_ERR_NO_ERROR && end->offset >= 0 && list->elems[i].offset > end->offset) {
            core_log(CORE_LEVEL_WARN, "kafka",
                     "the committed offset lies behind the end of its partition, whose log was cut or whose topic was "
                     "made anew; it is read from the oldest record on",
                     "topic=\"%s\" partition=%d committed=%" PRId64 " end=%" PRId64, end->topic, (int)end->partition,
                     list->elems[i].offset, end->offset);
            list->elems[i].offset = RD_KAFKA_OFFSET_BEGINNING;
        }
    }
    rd_kafka_topic_partition_list_destroy(ends);
}

bool kafka_group_begin(rd_kafka_t *handle, rd_kafka_topic_partition_list_t *list, struct core_kafka_news *news) {
    if (!committed_ask(handle, list, news)) {
        return false;
    }
    ends_compare(handle, list);
    return true;
}

bool kafka_set_back_tell(const struct core_kafka_share *share, int64_t next, int64_t offset,
                         struct core_kafka_news *news) {
    char text[128];
    snprintf(text, sizeof text,
             "/%d: offsets went back from %" PRId64 " to %" PRId64 ": its log was cut, or the topic was made anew",
             share->partition, next, offset);
    kafka_group_trouble(news, RD_KAFKA_RESP_ERR_NO_ERROR, share->topic, text);
    news->is_fatal = true;
    return true;
}
