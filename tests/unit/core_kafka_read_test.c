/* tests/unit/core_kafka_read_test.c: the reader: what is there, from where to where, and what it says at the end. The broker
 * is librdkafka's mock; what a transaction hides is proved against a real one (tests/integration).
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>

enum { LIST_OFFSETS = 2 }; /* the number of that request */

static rd_kafka_t *host; /* a producer; the mock lives in it */
static rd_kafka_mock_cluster_t *mock;
static char servers[256];

static int mock_begin(void **state) {
    (void)state;
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
    return 0;
}

static int mock_end(void **state) {
    rd_kafka_destroy(host);
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(*state);
    return 0;
}

static void produce(const char *topic, int partition, const char *key, const char *value, const char *header) {
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
    size_t value_len = value == NULL ? 0 : strlen(value);
    if (header != NULL) {
        assert_int_equal(rd_kafka_header_add(headers, "tapline", -1, header, -1), 0);
    }
    assert_int_equal(rd_kafka_producev(host, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, strlen(key)),
                                       RD_KAFKA_V_VALUE((void *)(uintptr_t)value, value_len),
                                       RD_KAFKA_V_TIMESTAMP(1795229910536), RD_KAFKA_V_HEADERS(headers),
                                       RD_KAFKA_V_END),
                     0);
    assert_int_equal(rd_kafka_flush(host, 10000), 0);
}

static struct core_kafka_reader *reader_open(void) {
    /* what a producer has is no matter: it is left out */
    const struct core_kafka_pair pairs[] = {{"bootstrap.servers", servers}, {"linger.ms", "5"}, {"acks", "all"}};
    struct core_kafka_reader *reader = NULL;
    struct core_fail fail;
    assert_int_equal(core_kafka_reader_open(&reader, pairs, 3, &fail), CORE_OK);
    return reader;
}

static void test_topics(void **state) {
    (void)state;
    struct core_fail fail;
    struct core_kafka_seen *seen = NULL;
    size_t len = 0;
    int partitions = 0;
    assert_int_equal(rd_kafka_mock_topic_create(mock, "a", 3, 1), 0);
    assert_int_equal(rd_kafka_mock_topic_create(mock, "b", 1, 1), 0);
    struct core_kafka_reader *reader = reader_open();
    assert_int_equal(core_kafka_reader_topics(reader, 10000, &seen, &len, &fail), CORE_OK);
    assert_int_equal(len, 2);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(seen[i].partitions, strcmp(seen[i].name, "a") == 0 ? 3 : 1);
    }
    core_kafka_seen_free(seen, len);
    assert_int_equal(core_kafka_reader_topic(reader, "a", 10000, &partitions, &fail), CORE_OK);
    assert_int_equal(partitions, 3);
    core_kafka_reader_close(reader);
    core_kafka_reader_close(NULL);
}

static void test_records_to_the_end(void **state) {
    (void)state;
    struct core_fail fail;
    struct core_kafka_got got;
    assert_int_equal(rd_kafka_mock_topic_create(mock, "a", 3, 1), 0);
    produce("a", 0, "k0", "old", "h");
    produce("a", 0, "k1", "one", NULL);
    produce("a", 0, "k2", NULL, NULL);
    produce("a", 2, "k3", "three", "header");
    struct core_kafka_reader *reader = reader_open();
    const struct core_kafka_place places[] = {
        {"a", 0, 1}, {"a", 1, CORE_KAFKA_BEGINNING}, {"a", 2, CORE_KAFKA_BEGINNING}};
    struct core_kafka_bounds bounds[3];
    assert_int_equal(core_kafka_reader_bounds(reader, places, 3, 10000, bounds, &fail), CORE_OK);
    assert_int_equal(bounds[0].low, 0);
    assert_int_equal(bounds[0].high, 3);
    assert_int_equal(bounds[1].high, 0);
    assert_int_equal(bounds[2].high, 1);
    assert_int_equal(core_kafka_reader_assign(reader, places, 3, false, 10000, &fail), CORE_OK);
    produce("a", 0, "k4", "younger than the first look", NULL);
    assert_true(core_kafka_reader_is_at_end(reader, 1));
    int seen = 0;
    enum core_err err;
    while ((err = core_kafka_reader_next(reader, 10000, &got, &fail)) == CORE_OK) {
        assert_string_equal(got.topic, "a");
        assert_int_equal(got.timestamp_ms, 1795229910536);
        assert_int_equal(got.partition, got.place);
        if (core_span_is(got.key, "k1")) {
            assert_int_equal(got.offset, 1);
            assert_true(core_span_is(got.value, "one"));
            assert_int_equal(got.header.len, 0);
            assert_false(got.is_tombstone);
        } else if (core_span_is(got.key, "k2")) {
            assert_true(got.is_tombstone);
        } else {
            assert_true(core_span_is(got.key, "k3"));
            assert_true(core_span_is(got.header, "header"));
        }
        seen++;
    }
    assert_int_equal(err, CORE_GONE);
    assert_int_equal(seen, 3);
    core_kafka_reader_close(reader);
}

/* Assigned again with follows: it goes on where others have written, and never ends. */
static void test_follow(void **state) {
    (void)state;
    struct core_fail fail;
    struct core_kafka_got got;
    assert_int_equal(rd_kafka_mock_topic_create(mock, "a", 1, 1), 0);
    produce("a", 0, "k0", "zero", NULL);
    struct core_kafka_reader *reader = reader_open();
    const struct core_kafka_place place = {"a", 0, CORE_KAFKA_BEGINNING};
    assert_int_equal(core_kafka_reader_assign(reader, &place, 1, false, 10000, &fail), CORE_OK);
    assert_int_equal(core_kafka_reader_next(reader, 10000, &got, &fail), CORE_OK);
    assert_int_equal(core_kafka_reader_next(reader, 10000, &got, &fail), CORE_GONE);
    assert_int_equal(core_kafka_reader_assign(reader, &place, 1, true, 10000, &fail), CORE_OK);
    assert_int_equal(core_kafka_reader_next(reader, 10000, &got, &fail), CORE_OK);
    assert_int_equal(core_kafka_reader_next(reader, 2000, &got, &fail), CORE_AGAIN);
    assert_true(core_kafka_reader_is_at_end(reader, 0));
    produce("a", 0, "k1", "one", NULL);
    assert_int_equal(core_kafka_reader_next(reader, 10000, &got, &fail), CORE_OK);
    assert_true(core_span_is(got.value, "one"));
    core_kafka_reader_close(reader);
}

static void test_no_such_topic(void **state) {
    (void)state;
    struct core_fail fail = {0};
    struct core_kafka_reader *reader = reader_open();
    const struct core_kafka_place place = {"none", 7, CORE_KAFKA_BEGINNING};
    rd_kafka_mock_topic_set_error(mock, "none", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    assert_int_equal(core_kafka_reader_assign(reader, &place, 1, false, 2000, &fail), CORE_NET);
    assert_true(strlen(fail.text) > 0);
    core_kafka_reader_close(reader);
}

/* Who leads a partition may have changed since it was last asked: that is asked again, as long as there is time. */
static void test_a_leader_that_is_none(void **state) {
    (void)state;
    struct core_fail fail = {0};
    struct core_kafka_bounds bounds;
    assert_int_equal(rd_kafka_mock_topic_create(mock, "a", 1, 1), 0);
    produce("a", 0, "k0", "one", "h");
    struct core_kafka_reader *reader = reader_open();
    const struct core_kafka_place there = {"a", 0, CORE_KAFKA_BEGINNING};
    const struct core_kafka_place none = {"a", 9, CORE_KAFKA_BEGINNING};
    rd_kafka_mock_push_request_errors(mock, LIST_OFFSETS, 2, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                      RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    assert_int_equal(core_kafka_reader_bounds(reader, &there, 1, 30000, &bounds, &fail), CORE_OK);
    assert_int_equal(bounds.high, 1);
    const int64_t began = core_tick_ns();
    assert_int_equal(core_kafka_reader_bounds(reader, &none, 1, 500, &bounds, &fail), CORE_NET);
    assert_true(core_tick_ns() - began < 30 * CORE_NS_PER_S);
    core_kafka_reader_close(reader);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mock_begin, mock_end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_topics),        TEST(test_records_to_the_end),    TEST(test_follow),
        TEST(test_no_such_topic), TEST(test_a_leader_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
