/* tests/unit/core_kafka_stats_test.c: librdkafka's statistics as rows, and whether any broker answers: from texts as it writes
 * them, and from its own mock broker that goes away and comes back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_group.h"
#include "core/kafka_internal.h"
#include "tests/unit/health_look.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <librdkafka/rdkafka_mock.h>

#define PATIENCE_NS (30 * CORE_NS_PER_S)

#define WINDOW(avg, p99, cnt)                                                                                          \
    "{\"min\":1,\"max\":9,\"avg\":" #avg                                                                               \
    ",\"sum\":1,\"stddev\":0,\"p50\":1,\"p75\":1,\"p90\":1,\"p95\":1,\"p99\":" #p99                                    \
    ",\"p99_99\":9,\"outofrange\":0,\"hdrsize\":1,\"cnt\":" #cnt "}"
#define BROKER(name, id, source, state, rtt, leads)                                                                    \
    "\"" name "\":{\"name\":\"" name "\",\"nodeid\":" #id ",\"nodename\":\"n\",\"source\":\"" source                   \
    "\",\"state\":\"" state "\",\"stateage\":5,\"outbuf_cnt\":1,\"outbuf_msg_cnt\":2,\"waitresp_cnt\":1,"              \
    "\"waitresp_msg_cnt\":3,\"tx\":9,\"txbytes\":99,\"txerrs\":4,\"txretries\":5,\"req_timeouts\":0,\"int_"            \
    "latency\":" WINDOW(70, 80, 1) ",\"outbuf_latency\":" WINDOW(1, 1, 1) ",\"rtt\":" rtt ",\"throttle\":" WINDOW(     \
        0, 0, 0) ",\"req\":{\"Produce\":7,\"txerrs\":1},\"toppars\":{" leads "}}"
#define LEADS "\"t-0\":{\"topic\":\"t\",\"partition\":0}"
#define PARTITION(number, queue, messages, bytes)                                                                      \
    "\"" #number "\":{\"partition\":" #number ",\"broker\":1,\"leader\":1,\"msgq_cnt\":" #queue ",\"msgq_bytes\":1,"   \
    "\"xmit_msgq_cnt\":1,\"fetchq_cnt\":0,\"fetch_state\":\"none\",\"txmsgs\":" #messages ",\"txbytes\":" #bytes       \
    ",\"msgs\":1,\"acked_msgid\":1}"
#define QUIET "\"3\":{\"partition\":3,\"msgq_cnt\":0,\"xmit_msgq_cnt\":0,\"txmsgs\":0,\"txbytes\":0}"
#define TEXT(brokers, partitions)                                                                                      \
    "{\"name\":\"rdkafka#producer-1\",\"type\":\"producer\",\"ts\":1,\"txmsgs\":99,\"brokers\":{" brokers              \
    "},\"topics\":{\"t\":{\"topic\":\"t\",\"age\":1,\"metadata_age\":1,\"batchsize\":" WINDOW(                         \
        1, 1, 1) ",\"partitions\":{" partitions "}}},\"eos\":{\"idemp_state\":\"Assigned\",\"txmsgs\":3}}"

static int set_up(void **state) {
    struct health_rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    *state = rig;
    return health_rig_new(rig);
}

static int tear_down(void **state) {
    health_rig_free(*state);
    free(*state);
    return 0;
}

static void show(struct health_rig *rig, const struct kafka_stats *stats) {
    core_health_begin(rig->page);
    kafka_stats_rows(stats, "kafka", rig->page);
    core_health_publish(rig->page);
}

static int64_t broker(struct health_rig *rig, enum core_health_measure measure, const char *name) {
    return health_look(rig, measure, "kafka", name, NULL);
}

static void read_text(struct kafka_stats *stats, const char *text) {
    kafka_stats_read(stats, core_span_of(text));
}

static const char three[] =
    TEXT(BROKER("a:9092/1", 1, "learned", "UP", WINDOW(500, 900, 3), LEADS) "," BROKER(
             "b:9092/2", 2, "learned", "TRY_CONNECT", WINDOW(0, 0, 0),
             LEADS) "," BROKER("c:9092/3", 3, "learned", "INIT", WINDOW(0, 0, 0),
                               "") "," BROKER("a:9092/bootstrap", -1, "configured", "DOWN", WINDOW(0, 0, 0),
                                              "") "," BROKER(":0/internal", -1, "internal", "UP", WINDOW(0, 0, 0),
                                                             "") "," BROKER("TxnCoordinator", -1, "logical", "UP",
                                                                            WINDOW(0, 0, 0), ""),
         PARTITION(0, 4, 30, 3000) "," PARTITION(1, 0, 7, 70) "," QUIET "," PARTITION(-1, 9, 9, 9));

static void test_rows_of_a_text(void **state) {
    struct health_rig *rig = *state;
    struct kafka_stats stats;
    struct core_kafka_look look;
    kafka_stats_init(&stats);
    kafka_stats_look(&stats, &look);
    assert_int_equal(look.up, -1);
    read_text(&stats, three);
    show(rig, &stats);
    assert_int_equal(health_look_count(rig, CORE_HEALTH_BROKER), 3); /* neither its own queue nor who only was asked */
    assert_int_equal(broker(rig, CORE_BROKER_UP, "a:9092/1"), 1);
    assert_int_equal(broker(rig, CORE_BROKER_UP, "b:9092/2"), 0);                   /* leads a partition of ours */
    assert_int_equal(broker(rig, CORE_BROKER_UP, "c:9092/3"), CORE_HEALTH_UNKNOWN); /* nobody needs it */
    assert_int_equal(broker(rig, CORE_BROKER_RTT, "a:9092/1"), 500 * CORE_NS_PER_US);
    assert_int_equal(broker(rig, CORE_BROKER_RTT_P99, "a:9092/1"), 900 * CORE_NS_PER_US);
    assert_int_equal(broker(rig, CORE_BROKER_RTT, "b:9092/2"), CORE_HEALTH_UNKNOWN);
    assert_int_equal(broker(rig, CORE_BROKER_INT_LATENCY, "a:9092/1"), 70 * CORE_NS_PER_US);
    assert_int_equal(broker(rig, CORE_BROKER_OUTBUF, "a:9092/1"), 2);
    assert_int_equal(broker(rig, CORE_BROKER_WAITRESP, "a:9092/1"), 3);
    assert_int_equal(broker(rig, CORE_BROKER_TX_ERRORS, "a:9092/1"), 4);
    assert_int_equal(broker(rig, CORE_BROKER_RETRIES, "a:9092/1"), 5);
    assert_int_equal(health_look_count(rig, CORE_HEALTH_PRODUCED), 2); /* those with traffic */
    assert_int_equal(health_look(rig, CORE_PRODUCED_QUEUED, "kafka", "t", "0"), 5);
    assert_int_equal(health_look(rig, CORE_PRODUCED_MESSAGES, "kafka", "t", "0"), 30);
    assert_int_equal(health_look(rig, CORE_PRODUCED_BYTES, "kafka", "t", "1"), 70);
    kafka_stats_look(&stats, &look);
    assert_int_equal(look.up, 1);
    kafka_stats_free(&stats);
}

static void test_what_an_interval_without_requests_leaves(void **state) {
    struct health_rig *rig = *state;
    struct kafka_stats stats;
    kafka_stats_init(&stats);
    read_text(&stats, three);
    read_text(&stats, TEXT(BROKER("a:9092/1", 1, "learned", "UP", WINDOW(0, 0, 0), LEADS), QUIET));
    show(rig, &stats);
    assert_int_equal(broker(rig, CORE_BROKER_RTT, "a:9092/1"), 500 * CORE_NS_PER_US);
    assert_int_equal(health_look_count(rig, CORE_HEALTH_BROKER), 1);
    assert_int_equal(health_look_count(rig, CORE_HEALTH_PRODUCED), 0);
    read_text(&stats, "{\"brokers\":{\"a:9092/1\":{\"nodeid\":"); /* half a text: what was known stays */
    show(rig, &stats);
    assert_int_equal(broker(rig, CORE_BROKER_UP, "a:9092/1"), 1);
    kafka_stats_free(&stats);
}

/* Some releases say that messages wait since the clock began, or a time below zero: that is no time at all. */
static void test_waits_that_are_none(void **state) {
    struct health_rig *rig = *state;
    char text[512];
    const int64_t waits_us[] = {core_tick_ns() / CORE_NS_PER_US, -9223372036854775LL, 1500};
    for (size_t i = 0; i < 3; i++) {
        struct kafka_stats stats;
        kafka_stats_init(&stats);
        snprintf(text, sizeof text,
                 "{\"brokers\":{\"a:1/1\":{\"nodeid\":1,\"state\":\"UP\",\"int_latency\":{\"avg\":%lld,\"cnt\":3}}}}",
                 (long long)waits_us[i]);
        read_text(&stats, text);
        show(rig, &stats);
        assert_int_equal(broker(rig, CORE_BROKER_INT_LATENCY, "a:1/1"),
                         i < 2 ? CORE_HEALTH_UNKNOWN : 1500 * CORE_NS_PER_US);
        kafka_stats_free(&stats);
    }
}

#define AWAY TEXT(BROKER("a:9092/1", 1, "learned", "TRY_CONNECT", WINDOW(0, 0, 0), ""), QUIET)

static void test_down_and_up(void **state) {
    struct health_rig *rig = *state;
    struct kafka_stats stats;
    struct core_kafka_look look;
    kafka_stats_init(&stats);
    read_text(&stats, AWAY); /* a start: nobody was reached, and nothing has failed yet */
    kafka_stats_look(&stats, &look);
    assert_int_equal(look.up, -1);
    kafka_stats_error(&stats, RD_KAFKA_RESP_ERR__TRANSPORT, "a:9092/1: Connect to ipv4#127.0.0.1:9092 failed: refused");
    show(rig, &stats);
    assert_int_equal(broker(rig, CORE_BROKER_UP, "a:9092/1"), 0);
    read_text(&stats, AWAY);
    kafka_stats_look(&stats, &look);
    assert_int_equal(look.up, 0);
    assert_true(look.down_since_ns > 0 && !look.is_denied);
    assert_non_null(strstr(look.why, "refused"));
    int64_t since_ns = look.down_since_ns;
    kafka_stats_error(&stats, RD_KAFKA_RESP_ERR__AUTHENTICATION, "a:9092/1: SASL authentication error");
    kafka_stats_error(&stats, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, "1/1 brokers are down");
    kafka_stats_look(&stats, &look);
    assert_true(look.up == 0 && look.is_denied && look.down_since_ns == since_ns);
    assert_non_null(strstr(look.why, "SASL"));
    kafka_stats_answered(&stats);
    kafka_stats_look(&stats, &look);
    assert_true(look.up == 1 && !look.is_denied && look.why[0] == '\0');
    kafka_stats_error(&stats, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "t: not authorized"); /* somebody said so */
    kafka_stats_look(&stats, &look);
    assert_int_equal(look.up, 1);
    kafka_stats_free(&stats);
}

/* More than is kept is left out, and nothing else happens. */
static void test_many(void **state) {
    struct health_rig *rig = *state;
    struct kafka_stats stats;
    size_t room = 16 * CORE_MIB;
    char *text = malloc(room);
    assert_non_null(text);
    size_t len = (size_t)snprintf(text, room, "{\"brokers\":{");
    for (int i = 0; i < 200; i++) {
        len += (size_t)snprintf(text + len, room - len, "%s\"h%d:9092/%d\":{\"nodeid\":%d,\"state\":\"UP\"}",
                                i == 0 ? "" : ",", i, i, i);
    }
    len += (size_t)snprintf(text + len, room - len, "},\"topics\":{");
    for (int i = 0; i < 3000; i++) {
        len += (size_t)snprintf(text + len, room - len, "%s\"topic-%d\":{\"partitions\":{\"0\":{\"txmsgs\":1}}}",
                                i == 0 ? "" : ",", i);
    }
    len += (size_t)snprintf(text + len, room - len, "}}");
    assert_true(len < room);
    kafka_stats_init(&stats);
    read_text(&stats, text);
    show(rig, &stats);
    assert_int_equal(health_look_count(rig, CORE_HEALTH_BROKER), KAFKA_STATS_BROKERS_MAX);
    assert_int_equal(health_look_count(rig, CORE_HEALTH_PRODUCED), KAFKA_STATS_PARTITIONS_MAX);
    kafka_stats_free(&stats);
    free(text);
}

/* ---- librdkafka itself -------------------------------------------------------------------------------------------------------- */

struct world {
    rd_kafka_t *host;
    rd_kafka_mock_cluster_t *mock;
    char servers[256];
    int accepted;
};

static void on_report(void *ctx, uint64_t ticket, enum core_kafka_fate fate, int code, int64_t offset) {
    struct world *world = ctx;
    (void)ticket;
    (void)code;
    (void)offset;
    world->accepted += fate == CORE_KAFKA_ACCEPTED ? 1 : 0;
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

static void world_open(struct world *world) {
    char text[256];
    *world = (struct world){.host = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text)};
    assert_non_null(world->host);
    world->mock = rd_kafka_mock_cluster_new(world->host, 1);
    assert_non_null(world->mock);
    assert_int_equal(rd_kafka_mock_topic_create(world->mock, "t", 1, 1), 0);
    snprintf(world->servers, sizeof world->servers, "%s", rd_kafka_mock_cluster_bootstraps(world->mock));
}

static void world_close(struct world *world) {
    rd_kafka_mock_cluster_destroy(world->mock);
    rd_kafka_destroy(world->host);
}

static void send_one(struct core_kafka *kafka, struct core_kafka_topic *topic) {
    const struct core_kafka_record record = {.value = CORE_SPAN("value"), .key = CORE_SPAN("key"), .is_copied = true};
    int code = 0;
    assert_int_equal(core_kafka_send(kafka, topic, &record, &code), CORE_KAFKA_ACCEPTED);
}

static int up_of(struct core_kafka *kafka) {
    struct core_kafka_look look;
    core_kafka_poll(kafka);
    core_kafka_look(kafka, &look);
    return look.up;
}

#define UNTIL(what)                                                                                                    \
    for (int64_t until_ = core_tick_ns() + PATIENCE_NS; !(what);) {                                                    \
        assert_true(core_tick_ns() < until_);                                                                          \
        assert_int_equal(nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL), 0);                                  \
    }

static void test_a_broker_goes_and_comes(void **state) {
    struct health_rig *rig = *state;
    struct world world;
    struct core_fail fail;
    struct core_kafka *kafka = NULL;
    struct core_kafka_look look;
    world_open(&world);
    const struct core_kafka_pair pairs[] = {{"bootstrap.servers", world.servers},
                                            {"statistics.interval.ms", "100"},
                                            {"linger.ms", "1"},
                                            {"reconnect.backoff.max.ms", "200"}};
    assert_int_equal(core_kafka_open(&kafka, pairs, 4, &calls, &world, &fail), CORE_OK);
    struct core_kafka_topic *topic = core_kafka_topic_open(kafka, "t", NULL);
    for (int i = 0; i < 3; i++) {
        send_one(kafka, topic);
    }
    UNTIL(up_of(kafka) == 1 && world.accepted == 3 && kafka->stats.partitions_len == 1);
    core_health_begin(rig->page);
    core_kafka_health(kafka, "kafka", rig->page);
    core_health_publish(rig->page);
    assert_int_equal(health_look(rig, CORE_PRODUCED_MESSAGES, "kafka", "t", "0"), 3);
    assert_int_equal(health_look_count(rig, CORE_HEALTH_BROKER), 1);
    assert_int_equal(health_look(rig, CORE_BROKER_UP, "kafka", NULL, NULL), 1);
    assert_true(health_look(rig, CORE_BROKER_RTT, "kafka", NULL, NULL) > 0);
    int64_t waited_ns = health_look(rig, CORE_BROKER_INT_LATENCY, "kafka", NULL, NULL);
    assert_true(waited_ns == CORE_HEALTH_UNKNOWN || (waited_ns >= 0 && waited_ns < PATIENCE_NS));
    assert_int_equal(rd_kafka_mock_broker_set_down(world.mock, 1), 0);
    UNTIL(up_of(kafka) == 0);
    core_kafka_look(kafka, &look);
    assert_non_null(strstr(look.why, "127.0.0.1"));
    send_one(kafka, topic);
    assert_int_equal(rd_kafka_mock_broker_set_up(world.mock, 1), 0);
    UNTIL(up_of(kafka) == 1 && world.accepted == 4);
    core_kafka_close(kafka);
    world_close(&world);
}

/* Nobody wants statistics: no rows; that all are gone, and that one answers, is known all the same. */
static void test_without_statistics(void **state) {
    struct health_rig *rig = *state;
    struct world world;
    struct core_fail fail;
    struct core_kafka *kafka = NULL;
    world_open(&world);
    const struct core_kafka_pair pairs[] = {
        {"bootstrap.servers", world.servers}, {"linger.ms", "1"}, {"reconnect.backoff.max.ms", "200"}};
    assert_int_equal(core_kafka_open(&kafka, pairs, 3, &calls, &world, &fail), CORE_OK);
    struct core_kafka_topic *topic = core_kafka_topic_open(kafka, "t", NULL);
    send_one(kafka, topic);
    UNTIL(up_of(kafka) == 1);
    assert_int_equal(rd_kafka_mock_broker_set_down(world.mock, 1), 0);
    UNTIL(up_of(kafka) == 0);
    send_one(kafka, topic);
    assert_int_equal(rd_kafka_mock_broker_set_up(world.mock, 1), 0);
    UNTIL(up_of(kafka) == 1);
    core_health_begin(rig->page);
    core_kafka_health(kafka, "kafka", rig->page);
    core_health_publish(rig->page);
    assert_int_equal(health_look_count(rig, CORE_HEALTH_BROKER), 0);
    core_kafka_close(kafka);
    world_close(&world);
}

static void test_a_group_s_reader(void **state) {
    struct health_rig *rig = *state;
    struct world world;
    struct core_fail fail;
    struct core_kafka_group *group = NULL;
    struct core_kafka_news news;
    struct core_kafka_look look = {.up = -1};
    const char *const topics[] = {"t"};
    world_open(&world);
    const struct core_kafka_pair pairs[] = {
        {"bootstrap.servers", world.servers}, {"statistics.interval.ms", "100"}, {"reconnect.backoff.max.ms", "200"}};
    const struct core_kafka_group_conf conf = {.pairs = pairs,
                                               .pairs_len = 3,
                                               .group = "g",
                                               .topics = topics,
                                               .topics_len = 1,
                                               .queued_bytes = 16 * CORE_MIB,
                                               .wants_statistics = true};
    assert_int_equal(core_kafka_group_open(&group, &conf, &fail), CORE_OK);
    UNTIL((core_kafka_group_next(group, 10, &news), core_kafka_group_look(group, &look), look.up == 1));
    core_health_begin(rig->page);
    core_kafka_group_health(group, "feed", rig->page);
    core_health_publish(rig->page);
    assert_int_equal(health_look(rig, CORE_BROKER_UP, "feed", NULL, NULL), 1);
    assert_int_equal(rd_kafka_mock_broker_set_down(world.mock, 1), 0);
    UNTIL((core_kafka_group_next(group, 10, &news), core_kafka_group_look(group, &look), look.up == 0));
    assert_int_equal(rd_kafka_mock_broker_set_up(world.mock, 1), 0);
    UNTIL((core_kafka_group_next(group, 10, &news), core_kafka_group_look(group, &look), look.up == 1));
    core_kafka_group_close(group);
    world_close(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows_of_a_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_an_interval_without_requests_leaves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_waits_that_are_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_down_and_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_broker_goes_and_comes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_statistics, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_group_s_reader, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("kafka_stats", tests, NULL, NULL);
}
