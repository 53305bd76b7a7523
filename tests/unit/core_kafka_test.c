/* tests/unit/core_kafka_test.c: what a producer does with a record that its topic cannot take. The broker is librdkafka's mock.
 *
 * librdkafka 2.0.2 frees the headers of such a record twice if it made them itself; what is allocated next shares its memory with
 * something else then, and a record's report comes with another's ticket. The address sanitizer says so at once, and free() of
 * a plain build mostly later: so many records are refused here, between others that must come back as they went.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <unistd.h>

#define GOOD "tapline.good"
#define GONE "tapline.gone"
#define ROUNDS 2000
#define LATE_MS 30000

static rd_kafka_t *host; /* the mock lives in it */
static rd_kafka_mock_cluster_t *mock;
static char servers[256];

static int mock_begin(void **state) {
    (void)state;
    char text[256];
    host = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text);
    assert_non_null(host);
    mock = rd_kafka_mock_cluster_new(host, 1);
    assert_non_null(mock);
    snprintf(servers, sizeof servers, "%s", rd_kafka_mock_cluster_bootstraps(mock));
    assert_int_equal(rd_kafka_mock_topic_create(mock, GOOD, 1, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_mock_topic_set_error(mock, GONE, RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION); /* refused without a chance */
    return 0;
}

static int mock_end(void **state) {
    (void)state;
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(host);
    return 0;
}

struct seen {
    unsigned accepted[ROUNDS]; /* of each ticket */
    unsigned accepted_all;
    unsigned refused;
};

static void on_report(void *ctx, uint64_t ticket, enum core_kafka_fate fate, int code, int64_t offset) {
    (void)code;
    (void)offset;
    struct seen *seen = ctx;
    assert_true(ticket < ROUNDS);
    if (fate == CORE_KAFKA_ACCEPTED) {
        seen->accepted[ticket]++;
        seen->accepted_all++;
    } else {
        assert_int_equal(fate, CORE_KAFKA_TOPIC);
        seen->refused++;
    }
}

static void on_made(void *ctx, struct core_kafka_topic *topic, enum core_kafka_made made, const char *text) {
    (void)ctx;
    (void)topic;
    (void)made;
    (void)text;
}

static void on_trouble(void *ctx, bool is_fatal, const char *text) {
    (void)ctx;
    (void)text;
    assert_false(is_fatal);
}

static const struct core_kafka_calls calls = {.on_report = on_report, .on_made = on_made, .on_trouble = on_trouble};

static enum core_kafka_fate send_one(struct core_kafka *kafka, struct core_kafka_topic *topic, uint64_t ticket) {
    const struct core_kafka_record record = {
        .value = CORE_SPAN("v"),
        .key = CORE_SPAN("k"),
        .header_name = "tapline",
        .header = CORE_SPAN("0123456789abcdef01234567"),
        .traceparent = CORE_SPAN("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        .ticket = ticket,
        .is_copied = true,
    };
    int code = 0;
    return core_kafka_send(kafka, topic, &record, &code);
}

static void wait_for(struct core_kafka *kafka, const unsigned *count, unsigned wanted) {
    int64_t until_ns = core_tick_ns() + LATE_MS * CORE_NS_PER_MS;
    while (*count < wanted) {
        core_kafka_poll(kafka);
        (void)usleep(1000);
        assert_true(core_tick_ns() < until_ns);
    }
}

static void test_refused_at_once(void **state) {
    (void)state;
    const struct core_kafka_pair pairs[] = {{"bootstrap.servers", servers}};
    static struct seen seen;
    struct core_kafka *kafka = NULL;
    struct core_fail fail;
    assert_int_equal(core_kafka_open(&kafka, pairs, 1, &calls, &seen, &fail), CORE_OK);
    struct core_kafka_topic *good = core_kafka_topic_open(kafka, GOOD, NULL);
    struct core_kafka_topic *gone = core_kafka_topic_open(kafka, GONE, NULL);
    assert_int_equal(send_one(kafka, gone, 0), CORE_KAFKA_ACCEPTED); /* nobody knows yet */
    wait_for(kafka, &seen.refused, 1);
    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_int_equal(send_one(kafka, gone, i), CORE_KAFKA_TOPIC);
        assert_int_equal(send_one(kafka, good, i), CORE_KAFKA_ACCEPTED);
        core_kafka_poll(kafka);
    }
    wait_for(kafka, &seen.accepted_all, ROUNDS);
    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_int_equal(seen.accepted[i], 1);
    }
    assert_int_equal(seen.refused, 1);
    core_kafka_close(kafka);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_refused_at_once, mock_begin, mock_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
