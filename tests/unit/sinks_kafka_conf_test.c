/* tests/unit/sinks_kafka_conf_test.c: which properties pass, and where each mistake is said to stand.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/sinks_testing.h"

#define SERVERS "      bootstrap.servers: \"127.0.0.1:1\"\n"

/* One mistake, at this line, with these words. */
static void expect_mistake(const char *yaml, int line, const char *words) {
    struct rig rig;
    char where[32];
    assert_int_equal(rig_conf(&rig, yaml, 1), CORE_BAD);
    if (rig.mistakes.len != 1 || strstr(rig.mistakes.fails[0].text, words) == NULL) {
        fail_msg("%zu mistakes; %s: %s", rig.mistakes.len, rig.mistakes.fails[0].where, rig.mistakes.fails[0].text);
    }
    snprintf(where, sizeof where, ":%d:", line);
    if (strstr(rig.mistakes.fails[0].where, where) == NULL) {
        fail_msg("%s is not at line %d", rig.mistakes.fails[0].where, line);
    }
    rig_close(&rig);
}

static void expect_right(const char *yaml) {
    struct rig rig;
    if (rig_conf(&rig, yaml, 1) != CORE_OK) {
        fail_msg("%s: %s", rig.mistakes.fails[0].where, rig.mistakes.fails[0].text);
    }
    rig_close(&rig);
}

static void test_what_passes(void **state) {
    (void)state;
    expect_right("kafka:\n  rdkafka:\n" SERVERS);
    expect_right("kafka:\n  rdkafka:\n" SERVERS "      acks: -1\n      enable.idempotence: true\n"
                 "      message.timeout.ms: 0\n      partitioner: murmur2_random\n      linger.ms: 5\n"
                 "      compression.codec: zstd\n      sasl.mechanisms: PLAIN\n      security.protocol: sasl_ssl\n"
                 "      sasl.username: a\n      sasl.password: b\n");
    expect_right("kafka:\n  topic: all\n  dead_letter_topic: \"x.%{event.dataset}\"\n  create_topics: no\n"
                 "  rdkafka:\n      metadata.broker.list: a,b:9092\n");
}

static void test_what_would_weaken_the_promise(void **state) {
    (void)state;
    static const char *const weak[] = {"acks: 1",
                                       "acks: 0",
                                       "request.required.acks: 1",
                                       "enable.idempotence: false",
                                       "message.timeout.ms: 300000",
                                       "delivery.timeout.ms: 1",
                                       "retries: 1",
                                       "message.send.max.retries: 0",
                                       "partitioner: consistent_random",
                                       "partitioner: fnv1a",
                                       "delivery.report.only.error: true",
                                       "transactional.id: t",
                                       "log.queue: true"};
    for (size_t i = 0; i < sizeof weak / sizeof weak[0]; i++) {
        char yaml[256];
        char name[64];
        snprintf(yaml, sizeof yaml, "kafka:\n  rdkafka:\n" SERVERS "      %s\n", weak[i]);
        snprintf(name, sizeof name, "rdkafka.%.*s ", (int)strcspn(weak[i], ":"), weak[i]);
        expect_mistake(yaml, 4, name);
    }
}

static void test_what_librdkafka_refuses(void **state) {
    (void)state;
    expect_mistake("kafka:\n  rdkafka:\n" SERVERS "      linger.mss: 5\n", 4, "did you mean \"linger.ms\"?");
    expect_mistake("kafka:\n  rdkafka:\n" SERVERS "      linger.ms: soon\n", 4, "Invalid value");
    expect_mistake("kafka:\n  rdkafka:\n" SERVERS "      linger.ms: 99999999\n", 4, "range");
    expect_mistake("kafka:\n  rdkafka:\n" SERVERS "      compression.codec: rar\n", 4, "rar");
}

static void test_what_does_not_fit_together(void **state) {
    (void)state;
    expect_mistake("kafka:\n  rdkafka:\n" SERVERS "      max.in.flight: 6\n", 3, "max.in.flight");
    expect_mistake("kafka:\n  rdkafka:\n" SERVERS "      security.protocol: ssl\n      ssl.ca.location: /no/ca.pem\n",
                   3, "ssl.ca.location failed");
}

static void test_what_is_missing_or_no_name(void **state) {
    (void)state;
    expect_mistake("kafka:\n  rdkafka:\n      linger.ms: 5\n", 3, "bootstrap.servers is missing");
    expect_mistake("kafka:\n  topic: \"a b\"\n  rdkafka:\n" SERVERS, 2, "is no topic's name");
    expect_mistake("kafka:\n  topic: \"t.%{event.module}\"\n  rdkafka:\n" SERVERS, 2, "%{event.module}");
    expect_mistake("kafka:\n  dead_letter_topic: \"..\"\n  rdkafka:\n" SERVERS, 2, "is no topic's name");
}

static void test_exactly_once_keys(void **state) {
    (void)state;
    struct rig rig;
    struct sink_kafka_places places;
    expect_mistake("kafka:\n  checkpoint_topic: \"a.%{event.dataset}\"\n  rdkafka:\n" SERVERS, 2, "it is one topic");
    expect_mistake("kafka:\n  delivery: twice\n  rdkafka:\n" SERVERS, 2, "exactly_once");
    expect_mistake("kafka:\n  transaction_interval: 2m\n  rdkafka:\n" SERVERS, 2, "60s");
    expect_mistake("kafka:\n  rdkafka:\n" SERVERS "      transactional.id: x\n", 4, "node's name");
    expect_mistake("kafka:\n  rdkafka:\n" SERVERS "      transaction.timeout.ms: 7\n", 4, "use transaction_timeout");
    assert_int_equal(rig_conf(&rig, "kafka:\n  checkpoint_topic: positions\n  rdkafka:\n" SERVERS, 1), CORE_OK);
    assert_true(rig.ops->keeps_positions(rig.conf));
    assert_int_equal(sink_kafka_places(rig.conf, &places), CORE_OK);
    assert_string_equal(places.checkpoint_topic, "positions");
    assert_string_equal(places.dead_letter_topic, "tapline.deadletter");
    assert_true(places.pairs_len > 0);
    assert_true(sink_topic_fits(places.topic, "tapline.zeek.connection"));
    assert_false(sink_topic_fits(places.topic, "tapline."));
    assert_false(sink_topic_fits(places.topic, "other.zeek.connection"));
    assert_true(sink_topic_fits("a.%{event.dataset}.b", "a.b.b.b"));
    assert_false(sink_topic_fits("a.%{event.dataset}.b", "a.b.c"));
    assert_true(sink_topic_fits("fixed", "fixed"));
    sink_kafka_places_release(&places);
    rig_close(&rig);
    assert_int_equal(rig_conf(&rig, "kafka:\n  delivery: at_least_once\n  rdkafka:\n" SERVERS, 1), CORE_OK);
    assert_false(rig.ops->keeps_positions(rig.conf));
    assert_int_equal(sink_kafka_places(rig.conf, &places), CORE_GONE);
    sink_kafka_places_release(&places);
    rig_close(&rig);
}

static void test_nobody_is_there(void **state) {
    (void)state;
    struct rig rig;
    struct core_fail fail = {0};
    assert_int_equal(rig_conf(&rig, "kafka:\n  rdkafka:\n" SERVERS, 1), CORE_OK);
    assert_int_equal(rig.ops->connect(rig.conf, 1500, &fail), CORE_NET);
    assert_string_equal(fail.where, "127.0.0.1:1");
    assert_non_null(strstr(fail.text, "no broker answered within 1500 ms"));
    assert_non_null(strstr(fail.text, "Connection refused"));
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_passes),
        cmocka_unit_test(test_what_would_weaken_the_promise),
        cmocka_unit_test(test_what_librdkafka_refuses),
        cmocka_unit_test(test_what_does_not_fit_together),
        cmocka_unit_test(test_what_is_missing_or_no_name),
        cmocka_unit_test(test_exactly_once_keys),
        cmocka_unit_test(test_nobody_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
