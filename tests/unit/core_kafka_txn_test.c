/* tests/unit/core_kafka_txn_test.c: how a producer ends with a transaction open. The broker is librdkafka's mock.
 *
 * librdkafka's main thread hands a request over to the coordinator's thread, and counts it a moment later. Ended within
 * that moment, librdkafka 2.0.2 finds a request that was never counted and aborts the process. A test that waits for this
 * moment waits long, so it is made long here: this mtx_unlock() stands before libc's and lets those threads rest after it.
 * (Weak: under ThreadSanitizer that of core/tsan_threads.c stands, and the moment is as short as it is.)
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <stdio.h>
#include <threads.h>
#include <unistd.h>

enum { PRODUCE = 0, ADD_PARTITIONS = 24, END_TXN = 26 };

#define TOPIC "tapline.x"
#define MAIN_REST_US 20000
#define BROKER_REST_US 3000
#define LEAVE_MS 2000 /* as long as a close waits for what is open */
#define LATE_MS 12000

static rd_kafka_t *host; /* the mock lives in it */
static rd_kafka_mock_cluster_t *mock;
static char servers[256];
static atomic_bool is_slow;

__attribute__((weak)) int mtx_unlock(mtx_t *mutex) {
    static int (*_Atomic real)(mtx_t *);
    if (atomic_load(&real) == NULL) {
        atomic_store(&real, (int (*)(mtx_t *))dlsym(RTLD_NEXT, "mtx_unlock"));
    }
    int unlocked = atomic_load(&real)(mutex);
    char name[16] = "";
    if (atomic_load(&is_slow) && pthread_getname_np(pthread_self(), name, sizeof name) == 0) {
        bool is_main = strcmp(name, "rdk:main") == 0;
        bool is_broker = strncmp(name, "rdk:broker", strlen("rdk:broker")) == 0;
        (void)usleep(is_main ? MAIN_REST_US : is_broker ? BROKER_REST_US : 0);
    }
    return unlocked;
}

static int mock_begin(void **state) {
    (void)state;
    char text[256];
    host = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text);
    assert_non_null(host);
    mock = rd_kafka_mock_cluster_new(host, 1);
    assert_non_null(mock);
    snprintf(servers, sizeof servers, "%s", rd_kafka_mock_cluster_bootstraps(mock));
    assert_int_equal(rd_kafka_mock_topic_create(mock, TOPIC, 1, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    return 0;
}

static int mock_end(void **state) {
    (void)state;
    atomic_store(&is_slow, false);
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(host);
    return 0;
}

struct seen {
    unsigned accepted;
};

static void on_report(void *ctx, uint64_t ticket, enum core_kafka_fate fate, int code, int64_t offset) {
    (void)ticket;
    (void)code;
    (void)offset;
    struct seen *seen = ctx;
    seen->accepted += fate == CORE_KAFKA_ACCEPTED ? 1 : 0;
}

static void on_made(void *ctx, struct core_kafka_topic *topic, enum core_kafka_made made, const char *text) {
    (void)ctx;
    (void)topic;
    (void)made;
    (void)text;
}

static void on_trouble(void *ctx, bool is_fatal, const char *text) {
    (void)ctx;
    (void)is_fatal;
    (void)text;
}

static const struct core_kafka_calls calls = {.on_report = on_report, .on_made = on_made, .on_trouble = on_trouble};

static void send_one(struct core_kafka *kafka, struct core_kafka_topic *topic) {
    const struct core_kafka_record record = {.value = CORE_SPAN("v"), .key = CORE_SPAN("k"), .is_copied = true};
    int code = 0;
    assert_int_equal(core_kafka_send(kafka, topic, &record, &code), CORE_KAFKA_ACCEPTED);
}

static void wait_accepted(struct core_kafka *kafka, const struct seen *seen, unsigned count) {
    int64_t until_ns = core_tick_ns() + 20 * CORE_NS_PER_S;
    while (seen->accepted < count) {
        core_kafka_poll(kafka);
        (void)usleep(1000);
        assert_true(core_tick_ns() < until_ns);
    }
}

/* A producer that has a record accepted, asks for its commit, and has the answer `wanted`. It knows the topic and its coordinator
 * then. */
static struct core_kafka *producer_with(struct seen *seen, struct core_kafka_topic **topic,
                                        enum core_kafka_txn wanted) {
    const struct core_kafka_pair pairs[] = {
        {"bootstrap.servers", servers}, {"transactional.id", "t"}, {"linger.ms", "0"}, {"retry.backoff.ms", "10"}};
    struct core_kafka *kafka = NULL;
    struct core_fail fail;
    seen->accepted = 0;
    assert_int_equal(core_kafka_open(&kafka, pairs, sizeof pairs / sizeof pairs[0], &calls, seen, &fail), CORE_OK);
    *topic = core_kafka_topic_open(kafka, TOPIC, NULL);
    assert_int_equal(core_kafka_txn_init(kafka, 10000, &fail), CORE_KAFKA_TXN_OK);
    assert_int_equal(core_kafka_txn_begin(kafka, &fail), CORE_KAFKA_TXN_OK);
    send_one(kafka, *topic);
    wait_accepted(kafka, seen, 1);
    assert_int_equal(core_kafka_txn_commit(kafka, 10000, &fail), wanted);
    return kafka;
}

static struct core_kafka *producer(struct seen *seen, struct core_kafka_topic **topic) {
    return producer_with(seen, topic, CORE_KAFKA_TXN_OK);
}

static void begin_and_send(struct core_kafka *kafka, struct core_kafka_topic *topic, bool then_slow) {
    struct core_fail fail;
    assert_int_equal(core_kafka_txn_begin(kafka, &fail), CORE_KAFKA_TXN_OK);
    atomic_store(&is_slow, then_slow);
    send_one(kafka, topic);
    core_kafka_hurry(kafka, 1);
}

static int64_t close_ms(struct core_kafka *kafka) {
    int64_t began_ns = core_tick_ns();
    core_kafka_close(kafka);
    return (core_tick_ns() - began_ns) / CORE_NS_PER_MS;
}

static void test_closed_as_its_first_record_is_sent(void **state) {
    (void)state;
    struct seen seen = {0};
    struct core_kafka_topic *topic = NULL;
    struct core_kafka *kafka = producer(&seen, &topic);
    begin_and_send(kafka, topic, true);
    core_kafka_close(kafka);
}

static void test_shut_out_as_its_first_record_is_sent(void **state) {
    (void)state;
    struct seen seen = {0};
    struct core_kafka_topic *topic = NULL;
    struct core_kafka *kafka = producer(&seen, &topic);
    rd_kafka_mock_push_request_errors(mock, ADD_PARTITIONS, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
    begin_and_send(kafka, topic, true);
    core_kafka_close(kafka);
}

/* The mock's next answer to an end of a transaction is "shut out". The abort of the one that is closed takes it, so the commit of
 * the next is well. */
static void test_what_is_open_is_aborted(void **state) {
    (void)state;
    struct seen seen = {0};
    struct core_kafka_topic *topic = NULL;
    struct core_kafka *kafka = producer(&seen, &topic);
    rd_kafka_mock_push_request_errors(mock, END_TXN, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
    begin_and_send(kafka, topic, false);
    wait_accepted(kafka, &seen, 2);
    core_kafka_close(kafka);
    core_kafka_close(producer(&seen, &topic)); /* commits */
}

static void test_one_that_was_committed_is_not_aborted(void **state) {
    (void)state;
    struct seen seen = {0};
    struct core_kafka_topic *topic = NULL;
    struct core_fail fail;
    struct core_kafka *kafka = producer(&seen, &topic);
    assert_int_equal(core_kafka_txn_begin(kafka, &fail), CORE_KAFKA_TXN_OK);
    assert_int_equal(core_kafka_txn_abort(kafka, 10000, &fail), CORE_KAFKA_TXN_OK);
    rd_kafka_mock_push_request_errors(mock, END_TXN, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
    core_kafka_close(kafka);
    core_kafka_close(producer_with(&seen, &topic, CORE_KAFKA_TXN_FENCED)); /* nobody had asked before */
}

/* Whatever is not answered, it ends, and soon. */
static void test_brokers_that_do_not_answer(void **state) {
    (void)state;
    static const int16_t requests[] = {ADD_PARTITIONS, PRODUCE, END_TXN};
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct seen seen = {0};
        struct core_kafka_topic *topic = NULL;
        struct core_kafka *kafka = producer(&seen, &topic);
        assert_int_equal(
            rd_kafka_mock_broker_push_request_error_rtts(mock, 1, requests[i], 1, RD_KAFKA_RESP_ERR_NO_ERROR, LATE_MS),
            RD_KAFKA_RESP_ERR_NO_ERROR);
        begin_and_send(kafka, topic, false);
        size_t left = requests[i] == END_TXN ? 0 : 1;
        while (left > 0) { /* until it was asked; the end of the transaction is for the close to ask */
            assert_int_equal(rd_kafka_mock_broker_error_stack_cnt(mock, 1, requests[i], &left),
                             RD_KAFKA_RESP_ERR_NO_ERROR);
            (void)usleep(1000);
        }
        if (requests[i] == END_TXN) {
            wait_accepted(kafka, &seen, 2);
        }
        assert_in_range(close_ms(kafka), LEAVE_MS - 100, LATE_MS - 500);
    }
}

static void test_brokers_gone(void **state) {
    (void)state;
    struct seen seen = {0};
    struct core_kafka_topic *topic = NULL;
    struct core_kafka *kafka = producer(&seen, &topic);
    assert_int_equal(rd_kafka_mock_broker_set_down(mock, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    begin_and_send(kafka, topic, false);
    assert_in_range(close_ms(kafka), 0, LATE_MS - 500);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mock_begin, mock_end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_closed_as_its_first_record_is_sent),
        TEST(test_shut_out_as_its_first_record_is_sent),
        TEST(test_what_is_open_is_aborted),
        TEST(test_one_that_was_committed_is_not_aborted),
        TEST(test_brokers_that_do_not_answer),
        TEST(test_brokers_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
