/* tests/unit/sinks_kafka_test.c: what a real broker cannot be asked for: refusals of each kind, errors that pass, a
 * producer that fails for good. The broker is librdkafka's mock, in this process; that records arrive once and in order
 * is proved against a real one in tests/integration.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/sinks_testing.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

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
    return 0;
}

static int mock_end(void **state) {
    (void)state;
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(host);
    return 0;
}

static void topic_make(const char *name, int partitions) {
    assert_int_equal(rd_kafka_mock_topic_create(mock, name, partitions, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* The mock has no CreateTopics, so topics are made beforehand. */
static void open_sink(struct rig *rig, const char *properties, uint32_t batches) {
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "kafka:\n  create_topics: no\n  rdkafka:\n    bootstrap.servers: \"%s\"\n    linger.ms: 1\n"
             "    topic.metadata.propagation.max.ms: 300\n    retry.backoff.ms: 10\n%s",
             servers, properties);
    rig_open(rig, yaml, batches);
}

/* All records of a topic, read by a consumer of its own, and what is asked of them. */
struct read {
    size_t len;
    char values[4096][256];
    char keys[4096][64];
    int32_t partitions[4096];
    unsigned char headers[4096][32];
    size_t header_lens[4096];
    char traces[4096][64]; /* "": none */
};
static struct read got;

static void take_message(const rd_kafka_message_t *message) {
    const void *header = NULL;
    size_t header_len = 0;
    rd_kafka_headers_t *headers = NULL;
    size_t i = got.len++;
    assert_true(i < 4096);
    assert_int_equal(rd_kafka_message_headers(message, &headers), RD_KAFKA_RESP_ERR_NO_ERROR);
    const void *trace = NULL;
    size_t trace_len = 0;
    bool is_traced = rd_kafka_header_get_last(headers, "traceparent", &trace, &trace_len) == RD_KAFKA_RESP_ERR_NO_ERROR;
    assert_int_equal(rd_kafka_header_cnt(headers), is_traced ? 2 : 1);
    snprintf(got.traces[i], sizeof got.traces[i], "%.*s", (int)trace_len, is_traced ? (const char *)trace : "");
    assert_int_equal(rd_kafka_header_get_last(headers, "tapline", &header, &header_len), RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_true(header_len == 24 || header_len == 32);
    memcpy(got.headers[i], header, header_len);
    got.header_lens[i] = header_len;
    snprintf(got.values[i], sizeof got.values[i], "%.*s", (int)message->len, (const char *)message->payload);
    snprintf(got.keys[i], sizeof got.keys[i], "%.*s", (int)message->key_len, (const char *)message->key);
    got.partitions[i] = message->partition;
}

static void read_topic(const char *name, int partitions) {
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    got.len = 0;
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", servers, text, sizeof text), RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(conf, "group.id", "test", text, sizeof text), RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(conf, "enable.partition.eof", "true", text, sizeof text), RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(conf, "auto.offset.reset", "earliest", text, sizeof text), RD_KAFKA_CONF_OK);
    rd_kafka_t *consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    assert_non_null(consumer);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int i = 0; i < partitions; i++) {
        rd_kafka_topic_partition_list_add(list, name, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    assert_int_equal(rd_kafka_assign(consumer, list), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(list);
    for (int ends = 0; ends < partitions;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 5000);
        assert_non_null(message);
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            ends++;
        } else if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            take_message(message);
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_destroy(consumer);
}

static void deliver(struct rig *rig, struct core_batch *batch) {
    assert_int_equal(rig->ops->send(rig->sink, batch), CORE_OK);
    assert_ptr_equal(rig_wait(rig, 15000), batch);
    core_pool_give(&rig->pool, batch);
}

static void test_key_header_partition(void **state) {
    (void)state;
    struct rig rig;
    topic_make("tapline.zeek.connection", 3);
    topic_make("tapline.zeek.dns", 3);
    open_sink(&rig, "", 2);
    struct core_batch *batch = rig_numbers(&rig, "zeek.connection", 0, 3);
    batch->events[1].key = CORE_SPAN("1:abc=");
    batch->events[2].key = CORE_SPAN("1:abc=");
    batch->events[2].dataset = "zeek.dns";
    batch->events[1].from = 50; /* records were dropped by rule between the first and this one */
    deliver(&rig, batch);
    read_topic("tapline.zeek.dns", 3);
    assert_int_equal(got.len, 1);
    int32_t partition = got.partitions[0];
    read_topic("tapline.zeek.connection", 3);
    assert_int_equal(got.len, 2);
    size_t plain = strcmp(got.keys[0], "1:abc=") == 0 ? 1 : 0;
    assert_string_equal(got.keys[1 - plain], "1:abc=");
    assert_int_equal(got.partitions[1 - plain], partition);
    assert_string_equal(got.keys[plain], "0123456789abcdef0000000000000000");
    assert_int_equal(got.header_lens[plain], 24);
    assert_int_equal(got.header_lens[1 - plain], 32);
    assert_memory_equal(got.headers[1 - plain] + 8, "\0\0\0\0\0\0\0\x64\0\0\0\0\0\0\0\xc8\0\0\0\0\0\0\0\x32", 24);
    assert_memory_equal(got.headers[plain], "\x01\x23\x45\x67\x89\xab\xcd\xef\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x64", 24);
    rig_close(&rig);
}

/* Records of a traced batch say so, those of others have no such header. */
static void test_traceparent(void **state) {
    (void)state;
    struct rig rig;
    topic_make("tapline.traced", 1);
    open_sink(&rig, "", 2);
    struct core_batch *batch = rig_numbers(&rig, "traced", 0, 3);
    batch->trace = (struct core_trace){
        .is_sampled = true,
        .trace_id = {0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36},
        .span_id = {0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7}};
    deliver(&rig, batch);
    batch = rig_numbers(&rig, "traced", 3, 2);
    assert_false(batch->trace.is_sampled);
    deliver(&rig, batch);
    read_topic("tapline.traced", 1);
    assert_int_equal(got.len, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(got.traces[i], i < 3 ? "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" : "");
    }
    rig_close(&rig);
}

/* All its records were dropped by rule: it passes, also between batches that have some. */
static void test_a_batch_of_nothing(void **state) {
    (void)state;
    struct rig rig;
    topic_make("tapline.nothing", 1);
    open_sink(&rig, "", 3);
    deliver(&rig, rig_numbers(&rig, "nothing", 0, 0));
    deliver(&rig, rig_numbers(&rig, "nothing", 0, 2));
    deliver(&rig, rig_numbers(&rig, "nothing", 2, 2));
    read_topic("tapline.nothing", 1);
    assert_int_equal(got.len, 4);
    rig_close(&rig);
}

/* murmur2 as Java has it: org.apache.kafka.common.utils.UtilsTest: murmur2("21") = -973932308, & 0x7fffffff, % 3. */
static void test_partitions_are_javas(void **state) {
    (void)state;
    struct rig rig;
    topic_make("tapline.x", 3);
    open_sink(&rig, "", 2);
    struct core_batch *batch = rig_numbers(&rig, "x", 0, 3);
    batch->events[0].key = CORE_SPAN("21");
    batch->events[1].key = CORE_SPAN("foobar");                   /* murmur2 -790332482 */
    batch->events[2].key = CORE_SPAN("a-little-bit-long-string"); /* murmur2 -985981536 */
    deliver(&rig, batch);
    read_topic("tapline.x", 3);
    assert_int_equal(got.len, 3);
    for (size_t i = 0; i < 3; i++) {
        int32_t hash = strcmp(got.keys[i], "21") == 0       ? -973932308
                       : strcmp(got.keys[i], "foobar") == 0 ? -790332482
                                                            : -985981536;
        assert_int_equal(got.partitions[i], (hash & 0x7fffffff) % 3);
    }
    rig_close(&rig);
}

static void test_errors_that_pass(void **state) {
    (void)state;
    struct rig rig;
    topic_make("tapline.x", 1);
    rd_kafka_mock_push_request_errors(mock, 0 /* Produce */, 4, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                      RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                                      RD_KAFKA_RESP_ERR__TRANSPORT);
    open_sink(&rig, "", 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(rig.ops->send(rig.sink, rig_numbers(&rig, "x", i * 500, 500)), CORE_OK);
    }
    for (unsigned i = 0; i < 4; i++) {
        struct core_batch *batch = rig_wait(&rig, 15000);
        assert_non_null(batch);
        assert_int_equal(batch->seq, i); /* in order within the stream */
        core_pool_give(&rig.pool, batch);
    }
    read_topic("tapline.x", 1);
    assert_int_equal(got.len, 2000);
    for (unsigned i = 0; i < 2000; i++) {
        char expected[32];
        snprintf(expected, sizeof expected, "{\"n\":%u}", i);
        assert_string_equal(got.values[i], expected);
    }
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 2000);
    rig_close(&rig);
}

/* The first record has no answer of its own, only the second: it may be lost, so it is sent again. */
static void test_supposed_to_be_there(void **state) {
    (void)state;
    struct rig rig;
    topic_make("tapline.x", 1);
    assert_int_equal(rd_kafka_mock_broker_push_request_error_rtts(mock, 1, 0 /* Produce */, 2,
                                                                  RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 200,
                                                                  RD_KAFKA_RESP_ERR_NO_ERROR, 400),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    open_sink(&rig, "    batch.num.messages: 1\n", 4);
    deliver(&rig, rig_numbers(&rig, "x", 0, 2));
    read_topic("tapline.x", 1);
    assert_int_equal(got.len, 2);
    assert_string_equal(got.values[0], "{\"n\":1}");
    assert_string_equal(got.values[1], "{\"n\":0}");
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 2);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_RETRIES), 1);
    rig_close(&rig);
}

/* The whole batch is refused once: sent alone, each is accepted, and none is a dead letter. */
static void test_in_bad_company(void **state) {
    (void)state;
    struct rig rig;
    topic_make("tapline.x", 1);
    topic_make("tapline.deadletter", 1);
    open_sink(&rig, "", 2);
    rd_kafka_mock_push_request_errors(mock, 0, 1, RD_KAFKA_RESP_ERR_INVALID_RECORD);
    deliver(&rig, rig_numbers(&rig, "x", 0, 50));
    read_topic("tapline.x", 1);
    assert_int_equal(got.len, 50);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_REFUSED), 0);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 50);
    rig_close(&rig);
}

static void test_refused_even_alone(void **state) {
    (void)state;
    struct rig rig;
    topic_make("tapline.x", 1);
    topic_make("tapline.deadletter", 1);
    open_sink(&rig, "", 2);
    rd_kafka_mock_push_request_errors(mock, 0, 2, RD_KAFKA_RESP_ERR_INVALID_RECORD, RD_KAFKA_RESP_ERR_INVALID_RECORD);
    deliver(&rig, rig_numbers(&rig, "x", 7, 1));
    deliver(&rig, rig_numbers(&rig, "x", 8, 1));
    read_topic("tapline.x", 1);
    assert_int_equal(got.len, 1);
    assert_string_equal(got.values[0], "{\"n\":8}");
    read_topic("tapline.deadletter", 1);
    assert_int_equal(got.len, 1);
    assert_non_null(strstr(got.values[0], "\"kind\":\"pipeline_error\""));
    assert_non_null(strstr(got.values[0], "\"original\":\"{\\\"n\\\":7}\""));
    assert_string_equal(got.keys[0], "0123456789abcdef0000000000000000");
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_REFUSED), 1);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_DEAD), 1);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 1);
    rig_close(&rig);
}

/* Larger than librdkafka itself takes; and a limit so low that even the dead letter must be cut short, or dropped. */
static void test_too_large(void **state) {
    (void)state;
    struct rig rig;
    static char doc[300000];
    memset(doc, 'x', sizeof doc);
    topic_make("tapline.x", 1);
    topic_make("tapline.deadletter", 1);
    open_sink(&rig, "    message.max.bytes: 100000\n", 2);
    struct core_batch *batch = rig_numbers(&rig, "x", 0, 3);
    batch->events[1].doc = (struct core_span){doc, sizeof doc};
    deliver(&rig, batch);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_DEAD), 1);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 2);
    rig_close(&rig);
    open_sink(&rig, "    message.max.bytes: 1500\n", 2);
    batch = rig_numbers(&rig, "x", 0, 3);
    batch->events[2].doc = (struct core_span){doc, sizeof doc};
    deliver(&rig, batch);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_DEAD), 1);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_DROPPED), 0);
    rig.stream.path = doc; /* a path that leaves no room for anything */
    doc[3000] = '\0';
    batch = rig_numbers(&rig, "x", 0, 3);
    batch->events[0].doc = (struct core_span){doc, 3000};
    deliver(&rig, batch);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_DROPPED), 1);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 4);
    rig_close(&rig);
    read_topic("tapline.deadletter", 1);
    assert_int_equal(got.len, 2);
}

static void test_a_topic_not_to_be_had(void **state) {
    (void)state;
    struct rig rig;
    topic_make("tapline.x", 1);
    topic_make("tapline.missing", 1);
    topic_make("tapline.deadletter", 1);
    rd_kafka_mock_topic_set_error(mock, "tapline.missing", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    open_sink(&rig, "", 3);
    struct core_batch *missing = rig_numbers(&rig, "missing", 0, 10);
    struct core_batch *fine = rig_numbers(&rig, "x", 10, 10);
    assert_int_equal(rig.ops->send(rig.sink, missing), CORE_OK);
    assert_int_equal(rig.ops->send(rig.sink, fine), CORE_OK);
    assert_ptr_equal(rig_wait(&rig, 15000), missing);
    assert_ptr_equal(rig_wait(&rig, 15000), fine);
    read_topic("tapline.deadletter", 1);
    assert_int_equal(got.len, 10);
    read_topic("tapline.x", 1);
    assert_int_equal(got.len, 10);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_DEAD), 10);
    rig_close(&rig);
}

/* Dead letters that cannot be delivered are kept, not dropped; other streams go on meanwhile. */
static void test_no_topic_for_dead_letters(void **state) {
    (void)state;
    struct rig rig;
    struct core_stream other = {.magic = CORE_STREAM_MAGIC, .gen = 2, .path = "/logs/other.log"};
    topic_make("tapline.x", 1);
    topic_make("tapline.deadletter", 1);
    rd_kafka_mock_topic_set_error(mock, "tapline.deadletter", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    open_sink(&rig, "    topic.metadata.refresh.interval.ms: 200\n", 3);
    struct core_batch *dead = rig_numbers(&rig, "tapline.deadletter", 0, 2);
    dead->events[0].is_dead = true;
    struct core_batch *fine = rig_numbers(&rig, "x", 10, 10);
    fine->stream = &other;
    assert_int_equal(rig.ops->send(rig.sink, dead), CORE_OK);
    assert_int_equal(rig.ops->send(rig.sink, fine), CORE_OK);
    assert_ptr_equal(rig_wait(&rig, 5000), fine);
    assert_null(rig_wait(&rig, 1500));
    rd_kafka_mock_topic_set_error(mock, "tapline.deadletter", RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_ptr_equal(rig_wait(&rig, 20000), dead);
    read_topic("tapline.deadletter", 1);
    assert_int_equal(got.len, 2);
    rig_close(&rig);
}

/* The broker says that sequence numbers do not fit: librdkafka gives the producer up. Another one sends the rest. */
static void test_a_producer_that_failed_for_good(void **state) {
    (void)state;
    struct rig rig;
    bool is_seen[2000] = {false};
    topic_make("tapline.x", 1);
    open_sink(&rig, "", 4);
    deliver(&rig, rig_numbers(&rig, "x", 0, 500));
    rd_kafka_mock_push_request_errors(mock, 0, 1, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(rig.ops->send(rig.sink, rig_numbers(&rig, "x", i * 500, 500)), CORE_OK);
    }
    for (unsigned i = 1; i < 4; i++) {
        struct core_batch *batch = rig_wait(&rig, 20000);
        assert_non_null(batch);
        assert_int_equal(batch->seq, i);
        core_pool_give(&rig.pool, batch);
    }
    read_topic("tapline.x", 1);
    for (size_t i = 0; i < got.len; i++) {
        is_seen[strtoul(got.values[i] + 5, NULL, 10)] = true;
    }
    for (size_t i = 0; i < 2000; i++) {
        assert_true(is_seen[i]);
    }
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 2000);
    assert_true(rig_counted(&rig, CORE_COUNT_SINK_RETRIES) > 0);
    rig_close(&rig);
}

/* A queue far smaller than the batches: it is offered again, in order. */
static void test_a_full_queue(void **state) {
    (void)state;
    struct rig rig;
    topic_make("tapline.x", 1);
    open_sink(&rig, "    queue.buffering.max.messages: 100\n", 2);
    assert_int_equal(rig.ops->send(rig.sink, rig_numbers(&rig, "x", 0, 2000)), CORE_OK);
    assert_int_equal(rig.ops->send(rig.sink, rig_numbers(&rig, "x", 2000, 2000)), CORE_OK);
    assert_non_null(rig_wait(&rig, 15000));
    assert_non_null(rig_wait(&rig, 15000));
    read_topic("tapline.x", 1);
    assert_int_equal(got.len, 4000);
    for (unsigned i = 0; i < 4000; i++) {
        assert_int_equal(strtoul(got.values[i] + 5, NULL, 10), i);
    }
    assert_true(rig_counted(&rig, CORE_COUNT_SINK_RETRIES) > 0);
    rig_close(&rig);
}

/* Closing with records under way must not touch their memory afterwards (the sanitizers watch). */
static void test_close_in_the_middle(void **state) {
    (void)state;
    struct rig rig;
    topic_make("tapline.x", 1);
    rd_kafka_mock_broker_set_rtt(mock, 1, 500);
    open_sink(&rig, "", 2);
    assert_int_equal(rig.ops->send(rig.sink, rig_numbers(&rig, "x", 0, 2000)), CORE_OK);
    assert_null(rig_wait(&rig, 100));
    rig_close(&rig);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mock_begin, mock_end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_key_header_partition),
        TEST(test_traceparent),
        TEST(test_a_batch_of_nothing),
        TEST(test_partitions_are_javas),
        TEST(test_errors_that_pass),
        TEST(test_supposed_to_be_there),
        TEST(test_in_bad_company),
        TEST(test_refused_even_alone),
        TEST(test_too_large),
        TEST(test_a_topic_not_to_be_had),
        TEST(test_no_topic_for_dead_letters),
        TEST(test_a_producer_that_failed_for_good),
        TEST(test_a_full_queue),
        TEST(test_close_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
