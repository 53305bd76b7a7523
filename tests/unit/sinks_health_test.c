/* tests/unit/sinks_health_test.c: what sinks tell of themselves: whether they are up, why they try again, and what is wrong, with
 * the names that a person needs. Kafka is librdkafka's mock, disks fail by an fdatasync() of ours, the search engine is a small one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/health_look.h"
#include "tests/unit/sinks_elastic_rig.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#define WAIT_MS 20000

static struct health_rig board;
static rd_kafka_t *host;
static rd_kafka_mock_cluster_t *mock;
static char servers[256];

static int set_up(void **state) {
    char text[256];
    (void)state;
    board = (struct health_rig){0};
    host = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text);
    assert_non_null(host);
    mock = rd_kafka_mock_cluster_new(host, 1);
    assert_non_null(mock);
    snprintf(servers, sizeof servers, "%s", rd_kafka_mock_cluster_bootstraps(mock));
    return health_rig_new(&board);
}

static int tear_down(void **state) {
    (void)state;
    health_rig_free(&board);
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(host);
    return 0;
}

static void look(struct rig *rig) {
    core_health_begin(board.page);
    rig->ops->health(rig->sink, board.page);
    core_health_publish(board.page);
}

static int up_of(struct rig *rig) {
    return rig->ops->is_up(rig->sink);
}

/* Poll the sink until this is so. A batch that comes back meanwhile goes to the pool. */
#define UNTIL(rig, what)                                                                                               \
    for (int64_t until_ = core_tick_ns() + WAIT_MS * CORE_NS_PER_MS; !(what);) {                                       \
        struct core_batch *back_ = rig_wait(rig, 20);                                                                  \
        assert_true(core_tick_ns() < until_);                                                                          \
        if (back_ != NULL) {                                                                                           \
            core_pool_give(&(rig)->pool, back_);                                                                       \
        }                                                                                                              \
    }

static int64_t retries(const char *sink, const char *cause) {
    return health_look(&board, CORE_RETRY_TIMES, sink, cause, NULL);
}

/* ---- Kafka ------------------------------------------------------------------------------------------------------------------ */

static void kafka_open(struct rig *rig, const char *more) {
    char yaml[1024];
    struct core_fail fail = {0};
    snprintf(yaml, sizeof yaml,
             "kafka:\n  create_topics: no\n  rdkafka:\n    bootstrap.servers: \"%s\"\n    linger.ms: 1\n"
             "    topic.metadata.propagation.max.ms: 300\n    retry.backoff.ms: 10\n"
             "    reconnect.backoff.max.ms: 200\n%s",
             servers, more);
    assert_int_equal(rig_conf(rig, yaml, 4), CORE_OK);
    rig->env.wants_statistics = true;
    assert_int_equal(rig->ops->open(&rig->sink, rig->conf, &rig->env, &fail), CORE_OK);
}

static void test_kafka_away_and_back(void **state) {
    (void)state;
    struct rig rig;
    assert_int_equal(rd_kafka_mock_topic_create(mock, "tapline.x", 1, 1), 0);
    kafka_open(&rig, "    statistics.interval.ms: 100\n"); /* the site's own interval is the one that counts */
    assert_int_equal(up_of(&rig), -1);
    assert_int_equal(rig.ops->send(rig.sink, rig_numbers(&rig, "x", 0, 10)), CORE_OK);
    UNTIL(&rig, up_of(&rig) == 1 && (look(&rig), health_look_count(&board, CORE_HEALTH_PRODUCED) == 1));
    assert_int_equal(health_look(&board, CORE_PRODUCED_MESSAGES, "kafka", "tapline.x", "0"), 10);
    assert_int_equal(health_look(&board, CORE_BROKER_UP, "kafka", NULL, NULL), 1);
    assert_int_equal(retries("kafka", "broker"), 0);
    assert_null(health_look_complaint(&board, "sink_unreachable"));
    assert_int_equal(rd_kafka_mock_broker_set_down(mock, 1), 0);
    assert_int_equal(rig.ops->send(rig.sink, rig_numbers(&rig, "x", 10, 7)), CORE_OK);
    UNTIL(&rig, up_of(&rig) == 0);
    look(&rig);
    const char *text = health_look_complaint(&board, "sink_unreachable");
    assert_non_null(text);
    assert_non_null(strstr(text, servers));
    assert_non_null(strstr(text, " 7 records wait"));
    assert_int_equal(rd_kafka_mock_broker_set_up(mock, 1), 0);
    UNTIL(&rig, up_of(&rig) == 1 && rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED) == 17);
    look(&rig);
    assert_null(health_look_complaint(&board, "sink_unreachable"));
    rig_close(&rig);
}

static void test_kafka_topics_and_causes(void **state) {
    (void)state;
    struct rig rig;
    assert_int_equal(rd_kafka_mock_topic_create(mock, "tapline.missing", 1, 1), 0);
    assert_int_equal(rd_kafka_mock_topic_create(mock, "tapline.x", 1, 1), 0);
    assert_int_equal(rd_kafka_mock_topic_create(mock, "tapline.deadletter", 1, 1), 0);
    rd_kafka_mock_topic_set_error(mock, "tapline.missing", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    kafka_open(&rig, "    queue.buffering.max.messages: 20\n");
    assert_int_equal(rig.ops->send(rig.sink, rig_numbers(&rig, "missing", 0, 10)), CORE_OK);
    UNTIL(&rig, rig_counted(&rig, CORE_COUNT_SINK_DEAD) == 10);
    look(&rig);
    const char *text = health_look_complaint(&board, "topic_missing");
    assert_non_null(text);
    assert_non_null(strstr(text, "tapline.missing"));
    assert_non_null(strstr(text, "dead letters"));
    assert_int_equal(rig.ops->send(rig.sink, rig_numbers(&rig, "x", 10, 200)), CORE_OK);
    UNTIL(&rig, rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED) == 200);
    look(&rig);
    assert_true(retries("kafka", "queue_full") > 0);
    int64_t sum = 0;
    static const char *const causes[] = {"queue_full", "broker", "topic", "transaction", "producer"};
    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        sum += retries("kafka", causes[i]);
    }
    assert_int_equal(sum, rig_counted(&rig, CORE_COUNT_SINK_RETRIES));
    rig_close(&rig);
}

/* ---- files ------------------------------------------------------------------------------------------------------------------- */

static int sync_error; /* what fdatasync() says; 0: nothing is wrong */

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd) {
    errno = sync_error;
    return sync_error == 0 ? __real_fdatasync(fd) : -1;
}

static void file_fails(int error, const char *code, const char *cause) {
    struct rig rig;
    char dir[] = "/tmp/tapline-health-XXXXXX";
    char path[128];
    char yaml[256];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/out", dir);
    snprintf(yaml, sizeof yaml, "file:\n  path: %s\n  sync_interval: 0\n", path);
    rig_open(&rig, yaml, 2);
    assert_int_equal(up_of(&rig), 1);
    sync_error = error;
    assert_int_equal(rig.ops->send(rig.sink, rig_numbers(&rig, "x", 0, 3)), CORE_OK);
    UNTIL(&rig, up_of(&rig) == 0);
    look(&rig);
    const char *text = health_look_complaint(&board, code);
    assert_non_null(text);
    assert_non_null(strstr(text, path));
    assert_non_null(strstr(text, strerror(error)));
    assert_true(retries("file", cause) > 0);
    assert_int_equal(retries("file", "disk_full") + retries("file", "output"), retries("file", cause));
    sync_error = 0;
    UNTIL(&rig, up_of(&rig) == 1 && rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED) == 3);
    look(&rig);
    assert_null(health_look_complaint(&board, code));
    rig_close(&rig);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void test_a_full_disk(void **state) {
    (void)state;
    file_fails(ENOSPC, "disk_full", "disk_full");
}

static void test_a_bad_disk(void **state) {
    (void)state;
    file_fails(EIO, "sink_unreachable", "output");
}

/* ---- a search engine -------------------------------------------------------------------------------------------------------- */

static const char *busy_thrice(struct engine *engine, unsigned number, size_t bytes, unsigned items) {
    (void)engine;
    (void)bytes;
    (void)items;
    return number <= 3   ? "HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n"
           : number <= 4 ? "HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n"
                         : NULL;
}

static void test_an_engine_that_is_busy(void **state) {
    (void)state;
    struct rig rig;
    struct engine *engine = engine_new(0);
    engine->whole = busy_thrice;
    engine_rig(engine, &rig, "", 2);
    assert_int_equal(up_of(&rig), -1);
    engine_send(&rig, engine_batch(&rig, "zeek.dns", 0, 5));
    UNTIL(&rig, rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED) == 5);
    look(&rig);
    assert_int_equal(up_of(&rig), 1);
    assert_int_equal(retries("elasticsearch", "http_429"), 3);
    assert_int_equal(retries("elasticsearch", "http_5xx"), 1);
    assert_int_equal(retries("elasticsearch", "connection"), 0);
    assert_int_equal(health_look_count(&board, CORE_HEALTH_ENDPOINT), 1);
    assert_int_equal(health_look(&board, CORE_ENDPOINT_REQUESTS, "elasticsearch", NULL, NULL), 5);
    assert_int_equal(health_look(&board, CORE_ENDPOINT_UP, "elasticsearch", NULL, NULL), 1);
    const struct core_health_row *row = health_look_row(&board, CORE_HEALTH_ENDPOINT, "elasticsearch", NULL, NULL);
    assert_true(core_histogram_quantile_ns(row->histogram, 0.5) >= 0);
    assert_non_null(strstr(row->labels[1], "127.0.0.1"));
    rig_close(&rig);
    engine_free(engine);
}

static const char *blocked_first(struct engine *engine, const struct engine_line *line, unsigned tries) {
    (void)engine;
    (void)line;
    return tries <= 2
               ? "\"status\":429,\"error\":{\"type\":\"cluster_block_exception\",\"reason\":\"index [x] blocked by: "
                 "[TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete "
                 "block];\"}"
               : NULL;
}

static void test_an_engine_whose_disk_is_full(void **state) {
    (void)state;
    struct rig rig;
    struct engine *engine = engine_new(0);
    engine->item = blocked_first;
    engine_rig(engine, &rig, "", 2);
    engine_send(&rig, engine_batch(&rig, "zeek.dns", 0, 5));
    UNTIL(&rig, (look(&rig), health_look_complaint(&board, "sink_stalled") != NULL));
    const char *text = health_look_complaint(&board, "sink_stalled");
    assert_non_null(strstr(text, "flood-stage"));
    assert_non_null(strstr(text, "127.0.0.1"));
    assert_non_null(strstr(text, " 5 wait"));
    UNTIL(&rig, rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED) == 5);
    look(&rig);
    assert_null(health_look_complaint(&board, "sink_stalled"));
    assert_true(retries("elasticsearch", "blocked") > 0);
    rig_close(&rig);
    engine_free(engine);
}

static void test_no_engine(void **state) {
    (void)state;
    struct rig rig;
    struct engine *engine = engine_new(0);
    engine_rig(engine, &rig, "", 2);
    int port = engine->server.port;
    engine_free(engine);
    assert_int_equal(rig.ops->send(rig.sink, engine_batch(&rig, "zeek.dns", 0, 5)), CORE_OK);
    UNTIL(&rig, up_of(&rig) == 0);
    look(&rig);
    const char *text = health_look_complaint(&board, "sink_unreachable");
    char node[64];
    snprintf(node, sizeof node, "127.0.0.1:%d", port);
    assert_non_null(text);
    assert_non_null(strstr(text, node));
    assert_int_equal(health_look(&board, CORE_ENDPOINT_UP, "elasticsearch", NULL, NULL), 0);
    engine = engine_new(port);
    UNTIL(&rig, rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED) == 5);
    look(&rig);
    assert_int_equal(up_of(&rig), 1);
    assert_null(health_look_complaint(&board, "sink_unreachable"));
    rig_close(&rig);
    engine_free(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kafka_away_and_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kafka_topics_and_causes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_bad_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_engine_that_is_busy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_engine_whose_disk_is_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_engine, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("sinks_health", tests, NULL, NULL);
}
