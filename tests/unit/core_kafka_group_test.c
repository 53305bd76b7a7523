/* tests/unit/core_kafka_group_test.c: a member of a group: what comes to it in which order, handing over, and offsets inside a
 * transaction. The broker is librdkafka's mock; deaths and open transactions are proved against a real one (tests/integration).
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <stdio.h>

#define PATIENCE_NS (120 * CORE_NS_PER_S)
#define CALL_MS 10000
#define JOIN_MS 3000 /* the mock waits so long for others to join */

static rd_kafka_t *host; /* a producer; the mock lives in another */
static rd_kafka_mock_cluster_t *mock;
static char servers[256];

static int mock_begin(void **state) {
    char text[256];
    rd_kafka_t *cluster_host = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text);
    assert_non_null(cluster_host);
    mock = rd_kafka_mock_cluster_new(cluster_host, 1);
    assert_non_null(mock);
    *state = cluster_host;
    snprintf(servers, sizeof servers, "%s", rd_kafka_mock_cluster_bootstraps(mock));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", servers, text, sizeof text), RD_KAFKA_CONF_OK);
    host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    assert_non_null(host);
    assert_int_equal(rd_kafka_mock_topic_create(mock, "in.a", 2, 1), 0);
    return 0;
}

static int mock_end(void **state) {
    rd_kafka_destroy(host);
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(*state);
    return 0;
}

static void produce(int partition, int count) {
    for (int i = 0; i < count; i++) {
        rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
        assert_int_equal(rd_kafka_header_add(headers, "tapline", -1, "header", -1), 0);
        assert_int_equal(rd_kafka_producev(host, RD_KAFKA_V_TOPIC("in.a"), RD_KAFKA_V_PARTITION(partition),
                                           RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY("key", 3),
                                           RD_KAFKA_V_VALUE("value", 5), RD_KAFKA_V_TIMESTAMP(1795229910536),
                                           RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END),
                         0);
    }
    assert_int_equal(rd_kafka_flush(host, CALL_MS), 0);
}

static struct core_kafka_group *group_open(void) {
    /* what a producer has is no matter: it is left out; what would weaken the promise is not taken */
    const struct core_kafka_pair pairs[] = {{"bootstrap.servers", servers},
                                            {"linger.ms", "5"},
                                            {"isolation.level", "read_uncommitted"},
                                            {"session.timeout.ms", "6000"},
                                            {"heartbeat.interval.ms", "200"}};
    const char *const topics[] = {"^in\\..*"};
    const struct core_kafka_group_conf conf = {
        .pairs = pairs, .pairs_len = 5, .group = "g", .topics = topics, .topics_len = 1, .queued_bytes = 16 * CORE_MIB};
    struct core_kafka_group *group = NULL;
    struct core_fail fail;
    assert_int_equal(core_kafka_group_open(&group, &conf, &fail), CORE_OK);
    return group;
}

/* The next that is of this kind; records and ends before it are passed over. */
static void wait_for(struct core_kafka_group *group, enum core_kafka_came came, struct core_kafka_news *news) {
    int64_t until = core_tick_ns() + PATIENCE_NS;
    do {
        core_kafka_group_next(group, 100, news);
        assert_true(core_tick_ns() < until);
        assert_true(news->came == came || news->came == CORE_KAFKA_CAME_NOTHING ||
                    news->came == CORE_KAFKA_CAME_RECORD || news->came == CORE_KAFKA_CAME_END ||
                    news->came == CORE_KAFKA_CAME_GAINED);
    } while (news->came != came);
}

static void test_records_and_ends(void **state) {
    (void)state;
    struct core_kafka_news news;
    produce(0, 3);
    struct core_kafka_group *group = group_open();
    wait_for(group, CORE_KAFKA_CAME_GAINED, &news);
    assert_int_equal(news.shares_len, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(news.shares[i]->topic, "in.a");
        assert_int_equal(news.shares[i]->offset, -1);
        news.shares[i]->owner = &news;
    }
    int records = 0;
    for (int ends = 0; ends < 2;) {
        core_kafka_group_next(group, 100, &news);
        if (news.came == CORE_KAFKA_CAME_RECORD) {
            assert_ptr_equal(news.taken.share->owner, &news);
            assert_int_equal(news.taken.share->partition, 0);
            assert_int_equal(news.taken.offset, records++);
            assert_int_equal(news.taken.timestamp_ms, 1795229910536);
            assert_true(core_span_is(news.taken.key, "key"));
            assert_true(core_span_is(news.taken.value, "value"));
            assert_true(core_span_is(news.taken.header, "header"));
            assert_false(news.taken.is_tombstone);
        } else if (news.came == CORE_KAFKA_CAME_END) {
            assert_int_equal(news.taken.offset, news.taken.share->partition == 0 ? 3 : 0);
            assert_int_equal(core_kafka_group_lag(group, news.taken.share, news.taken.offset), 0);
            ends++;
        } else {
            assert_int_equal(news.came, CORE_KAFKA_CAME_NOTHING);
        }
    }
    assert_int_equal(records, 3);
    core_kafka_group_close(group);
    core_kafka_group_close(NULL);
}

static void test_paused_keeps_what_it_has(void **state) {
    (void)state;
    struct core_kafka_news news;
    produce(0, 2000);
    struct core_kafka_group *group = group_open();
    wait_for(group, CORE_KAFKA_CAME_RECORD, &news);
    core_kafka_group_pause(group, true);
    for (int i = 0; i < 5; i++) {
        core_kafka_group_next(group, 50, &news);
        assert_int_equal(news.came, CORE_KAFKA_CAME_NOTHING);
    }
    core_kafka_group_pause(group, false);
    struct pollfd wait = {.fd = core_kafka_group_fd(group), .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 0), 1);
    for (int64_t offset = 1; offset < 2000; offset++) { /* none twice, none left out */
        wait_for(group, CORE_KAFKA_CAME_RECORD, &news);
        assert_int_equal(news.taken.offset, offset);
    }
    core_kafka_group_close(group);
}

/* A second member gets a partition after the first has let go of it, and none of its records comes to the first any more. */
static void test_handover(void **state) {
    (void)state;
    struct core_kafka_news news;
    produce(0, 10);
    produce(1, 10);
    struct core_kafka_group *first = group_open();
    wait_for(first, CORE_KAFKA_CAME_GAINED, &news);
    struct core_kafka_group *second = group_open();
    int64_t until = core_tick_ns() + PATIENCE_NS;
    struct core_kafka_news other = {.came = CORE_KAFKA_CAME_NOTHING};
    do { /* neither gets anywhere without the other */
        core_kafka_group_next(first, 50, &news);
        core_kafka_group_next(second, 50, &other);
        assert_true(core_tick_ns() < until);
    } while (news.came != CORE_KAFKA_CAME_LOSING);
    assert_int_equal(news.shares_len, 1);
    int lost = news.shares[0]->partition;
    produce(lost, 5);
    for (int i = 0; i < 10; i++) {
        core_kafka_group_next(first, 20, &news);
        assert_true(news.came != CORE_KAFKA_CAME_RECORD || news.taken.share->partition != lost);
    }
    core_kafka_group_release(first);
    do {
        core_kafka_group_next(first, 50, &news);
        core_kafka_group_next(second, 50, &other);
        assert_true(core_tick_ns() < until);
    } while (other.came != CORE_KAFKA_CAME_RECORD);
    assert_int_equal(other.taken.share->partition, lost);
    assert_int_equal(other.taken.offset, 0);
    core_kafka_group_close(second);
    core_kafka_group_close(first);
}

static void on_report(void *ctx, uint64_t ticket, enum core_kafka_fate fate, int code, int64_t offset) {
    (void)ctx, (void)ticket, (void)fate, (void)code, (void)offset;
}
static void on_made(void *ctx, struct core_kafka_topic *topic, enum core_kafka_made made, const char *text) {
    (void)ctx, (void)topic, (void)made, (void)text;
}
static void on_trouble(void *ctx, bool is_fatal, const char *text) {
    (void)ctx, (void)is_fatal, (void)text;
}

/* The mock does not give a transaction's offsets back, so here it is only seen that they are taken, and judged by who we are:
 * somebody who is no member yet is refused before a broker is asked. */
static void test_offsets_need_a_member(void **state) {
    (void)state;
    static const struct core_kafka_calls calls = {on_report, on_made, on_trouble};
    const struct core_kafka_pair pairs[] = {{"bootstrap.servers", servers}, {"transactional.id", "t"}};
    struct core_kafka *kafka = NULL;
    struct core_fail fail = {0};
    struct core_kafka_news news;
    produce(0, 3);
    assert_int_equal(core_kafka_open(&kafka, pairs, 2, &calls, NULL, &fail), CORE_OK);
    assert_int_equal(core_kafka_txn_init(kafka, CALL_MS, &fail), CORE_KAFKA_TXN_OK);
    assert_int_equal(core_kafka_txn_begin(kafka, &fail), CORE_KAFKA_TXN_OK);
    struct core_kafka_group *group = group_open();
    struct core_kafka_share nobodys = {.topic = "in.a", .partition = 0, .offset = -1};
    struct core_kafka_done done = {&nobodys, 1};
    assert_int_equal(core_kafka_txn_offsets(kafka, group, &done, 1, CALL_MS, &fail), CORE_KAFKA_TXN_ABORT);
    assert_non_null(strstr(fail.text, "given this member up"));
    wait_for(group, CORE_KAFKA_CAME_RECORD, &news);
    done = (struct core_kafka_done){news.taken.share, news.taken.offset + 1};
    assert_int_equal(core_kafka_txn_offsets(kafka, group, &done, 1, CALL_MS, &fail), CORE_KAFKA_TXN_OK);
    assert_int_equal(core_kafka_txn_commit(kafka, CALL_MS, &fail), CORE_KAFKA_TXN_OK);
    core_kafka_close(kafka);
    core_kafka_group_close(group);
}

static void test_refused(void **state) {
    (void)state;
    const struct core_kafka_pair pairs[] = {{"bootstrap.servers", servers}, {"no.such", "1"}};
    const char *const bad[] = {"^in\\.("};
    struct core_kafka_group_conf conf = {
        .pairs = pairs, .pairs_len = 2, .group = "g", .topics = bad, .topics_len = 1, .queued_bytes = 16 * CORE_MIB};
    struct core_kafka_group *group = NULL;
    struct core_fail fail = {0};
    assert_int_equal(core_kafka_group_open(&group, &conf, &fail), CORE_BAD);
    assert_non_null(strstr(fail.text, "no.such"));
    conf.pairs_len = 1;
    assert_int_equal(core_kafka_group_open(&group, &conf, &fail), CORE_BAD);
    assert_null(group);
}

/* Ended while it is a member and its first share is under way: librdkafka 2.0.2 has nothing to free then, and aborts the process. */
static void test_closed_before_the_first_share(void **state) {
    (void)state;
    enum { SYNC_GROUP = 14, REST_MS = 600, SYNC_MS = 1500 };
    for (int wait_ms = REST_MS; wait_ms < SYNC_MS; wait_ms += REST_MS) {
        struct core_kafka_news news;
        assert_int_equal(
            rd_kafka_mock_broker_push_request_error_rtts(mock, 1, SYNC_GROUP, 1, RD_KAFKA_RESP_ERR_NO_ERROR, SYNC_MS),
            0);
        struct core_kafka_group *group = group_open();
        int64_t until = core_tick_ns() + JOIN_MS * CORE_NS_PER_MS + wait_ms * CORE_NS_PER_MS;
        while (core_tick_ns() < until) {
            core_kafka_group_next(group, 50, &news);
            if (core_tick_ns() < until) { /* a machine that stood still may be past the answer */
                assert_int_equal(news.came, CORE_KAFKA_CAME_NOTHING);
            }
        }
        core_kafka_group_close(group);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mock_begin, mock_end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_records_and_ends), TEST(test_paused_keeps_what_it_has),
        TEST(test_handover),         TEST(test_offsets_need_a_member),
        TEST(test_refused),          TEST(test_closed_before_the_first_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
