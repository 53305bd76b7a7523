/* tests/unit/sinks_kafka_txn_test.c: exactly-once delivery, and what a real broker cannot be asked for: a commit whose answer
 * says that somebody else has the node, a coordinator that refuses, records refused of a whole batch. The broker is librdkafka's
 * mock, which shows a reader what was aborted, too; what a foreign reader sees is proved in tests/integration.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_read.h"
#include "tests/unit/health_look.h"
#include "tests/unit/sinks_testing.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

enum { PRODUCE = 0, INIT_PRODUCER_ID = 22, ADD_PARTITIONS = 24, END_TXN = 26 };

#define LATE_MS 600
#define LATE_COMMIT_MS 2500 /* a call of a commit waits for a second, a turn makes up to two */

static rd_kafka_t *host; /* the mock lives in it */
static rd_kafka_mock_cluster_t *mock;
static char servers[256];
static struct core_commit commit;
static struct core_bell bell;

static int mock_begin(void **state) {
    (void)state;
    char text[256];
    struct core_fail fail;
    host = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text);
    assert_non_null(host);
    mock = rd_kafka_mock_cluster_new(host, 1);
    assert_non_null(mock);
    snprintf(servers, sizeof servers, "%s", rd_kafka_mock_cluster_bootstraps(mock));
    assert_int_equal(core_bell_init(&bell, &fail), CORE_OK);
    static const char *const topics[] = {"tapline.checkpoint", "tapline.deadletter", "tapline.x"};
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        assert_int_equal(rd_kafka_mock_topic_create(mock, topics[i], 1, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    return 0;
}

static int mock_end(void **state) {
    (void)state;
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(host);
    core_bell_destroy(&bell);
    free(commit.positions);
    commit.positions = NULL;
    return 0;
}

static void sink_open_with(struct rig *rig, const char *more, const char *rdkafka) {
    char yaml[1024];
    struct core_fail fail = {0};
    snprintf(yaml, sizeof yaml,
             "kafka:\n  create_topics: no\n%s  rdkafka:\n    bootstrap.servers: \"%s\"\n    linger.ms: 1\n"
             "    topic.metadata.propagation.max.ms: 300\n    retry.backoff.ms: 10\n%s",
             more, servers, rdkafka);
    assert_int_equal(rig_conf(rig, yaml, 8), CORE_OK);
    free(commit.positions);
    commit = (struct core_commit){.bell = &bell};
    rig->env.commit = &commit;
    assert_int_equal(rig->ops->open(&rig->sink, rig->conf, &rig->env, &fail), CORE_OK);
}

static void sink_open(struct rig *rig, const char *more) {
    sink_open_with(rig, more, "");
}

static bool is_recovered(struct rig *rig) {
    (void)rig;
    return atomic_load(&commit.state) != CORE_COMMIT_WAITS;
}

static bool is_committed_once(struct rig *rig) {
    (void)rig;
    return atomic_load(&commit.committed) == 1;
}

static bool is_committed_twice(struct rig *rig) {
    (void)rig;
    return atomic_load(&commit.committed) == 2;
}

static bool is_aborted_once(struct rig *rig) {
    (void)rig;
    return atomic_load(&commit.epoch) == 1;
}

static bool is_gone(struct rig *rig) {
    struct core_fail fail;
    return rig->ops->is_gone(rig->sink, &fail);
}

/* Poll until it is so; no batch may come back meanwhile. */
static void wait_until(struct rig *rig, bool (*is_so)(struct rig *)) {
    int64_t until = core_tick_ns() + 60 * CORE_NS_PER_S;
    struct core_batch *done = NULL;
    while (!is_so(rig)) {
        assert_int_equal(rig->ops->poll(rig->sink, &done, 1, 20), 0);
        assert_true(core_tick_ns() < until);
    }
}

/* A batch of records with the line of its file's position. */
static struct core_batch *numbers(struct rig *rig, unsigned first, unsigned len) {
    struct core_batch *batch = rig_numbers(rig, "x", first, len);
    char line[128];
    int line_len =
        snprintf(line, sizeof line, "file gen=0123456789abcdef pos=%llu\n", (unsigned long long)batch->accepted_end);
    char *copy = core_arena_copy(&batch->arena, (struct core_span){line, (size_t)line_len});
    batch->position = (struct core_span){copy, (size_t)line_len};
    batch->tally = (struct core_tally){.records = len, .events = len};
    batch->open_from = batch->accepted_end;
    batch->epoch = atomic_load(&commit.epoch);
    return batch;
}

static void give(struct rig *rig, struct core_batch *batch) {
    assert_int_equal(rig->ops->send(rig->sink, batch), CORE_OK);
}

static struct core_batch *back(struct rig *rig) {
    struct core_batch *batch = rig_wait(rig, 60000);
    assert_non_null(batch);
    return batch;
}

/* Time for another producer to come. */
static void settle(struct rig *rig) {
    int64_t until = core_tick_ns() + 2 * CORE_NS_PER_S;
    struct core_batch *done = NULL;
    while (core_tick_ns() < until) {
        assert_int_equal(rig->ops->poll(rig->sink, &done, 1, 20), 0);
    }
}

static void test_commit_and_recover(void **state) {
    (void)state;
    struct rig rig;
    sink_open(&rig, "");
    assert_true(rig.ops->keeps_positions(rig.conf));
    wait_until(&rig, is_recovered);
    assert_int_equal(atomic_load(&commit.state), CORE_COMMIT_RECOVERED);
    assert_int_equal(commit.positions_len, 0);
    struct core_batch *batch = numbers(&rig, 0, 100);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    assert_int_equal(batch->txn, 1);
    core_pool_give(&rig.pool, batch);
    rig.ops->flush(rig.sink);
    wait_until(&rig, is_committed_once);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 100);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_TRANSACTIONS), 1);
    struct core_stream control = {.magic = CORE_STREAM_MAGIC, .path = ""};
    batch = numbers(&rig, 0, 0);
    batch->stream = &control;
    batch->position = CORE_SPAN("over gen=00000000000000aa path=/a\nover gen=00000000000000bb path=/b\n"
                                "over gen=00000000000000cc path=/c\ngone gen=00000000000000bb\n");
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    assert_int_equal(batch->txn, 2);
    rig.ops->flush(rig.sink);
    int64_t until = core_tick_ns() + 60 * CORE_NS_PER_S;
    while (atomic_load(&commit.committed) < 2) {
        struct core_batch *done = NULL;
        assert_int_equal(rig.ops->poll(rig.sink, &done, 1, 20), 0);
        assert_true(core_tick_ns() < until);
    }
    rig_close(&rig);
    sink_open(&rig, "");
    wait_until(&rig, is_recovered);
    assert_string_equal(
        commit.positions,
        "file gen=0123456789abcdef pos=10000 from=10000 records=100 events=100 dead=0 dropped=0 lost=0\n"
        "over gen=00000000000000aa path=/a\nover gen=00000000000000cc path=/c\n");
    rig_close(&rig);
}

/* A batch without anything, behind one of its stream that no transaction has yet, keeps none from beginning. */
static void test_an_empty_batch_behind_a_waiting_one(void **state) {
    (void)state;
    struct rig rig;
    sink_open(&rig, "");
    struct core_batch *first = numbers(&rig, 0, 10); /* both come before the sink has even a producer */
    struct core_batch *last = rig_batch(&rig);
    last->is_last = true;
    give(&rig, first);
    give(&rig, last);
    assert_ptr_equal(back(&rig), first);
    assert_ptr_equal(back(&rig), last);
    assert_int_equal(first->txn, 1);
    assert_int_equal(last->txn, 0);
    rig.ops->flush(rig.sink);
    wait_until(&rig, is_committed_once);
    rig_close(&rig);
}

/* Refused in company: everything goes back, and again one by one; nobody was guilty. */
static void test_refused_in_company(void **state) {
    (void)state;
    struct rig rig;
    sink_open(&rig, "");
    wait_until(&rig, is_recovered);
    rd_kafka_mock_push_request_errors(mock, PRODUCE, 1, RD_KAFKA_RESP_ERR_INVALID_RECORD);
    struct core_batch *first = numbers(&rig, 0, 50);
    struct core_batch *second = numbers(&rig, 50, 50);
    give(&rig, first);
    give(&rig, second);
    assert_ptr_equal(back(&rig), first);
    assert_true(is_aborted_once(&rig)); /* before the first goes back */
    assert_int_equal(first->txn, 0);
    assert_ptr_equal(back(&rig), second);
    assert_int_equal(second->txn, 0);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_TRANSACTIONS_ABORTED), 1);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 0);
    rig.position = 0; /* read again, in the new epoch */
    rig.stream.tally = (struct core_tally){0};
    core_pool_give(&rig.pool, first);
    core_pool_give(&rig.pool, second);
    for (unsigned i = 0; i < 2; i++) {
        struct core_batch *batch = numbers(&rig, 50 * i, 50);
        assert_int_equal(batch->epoch, 1);
        give(&rig, batch);
    }
    assert_int_equal(back(&rig)->txn, 2);
    assert_int_equal(back(&rig)->txn, 3); /* one batch a transaction while there are suspects */
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_REFUSED), 0);
    rig_close(&rig);
}

/* Refused alone: a dead letter the next time, and the tally knows. */
static void test_refused_alone(void **state) {
    (void)state;
    struct rig rig;
    sink_open(&rig, "");
    wait_until(&rig, is_recovered);
    /* First in company (of itself), then alone. The mock may refuse a position instead, or, when the machine is busy, the
     * claim of the next producer: then it is tried again. */
    for (unsigned tries = 0; tries < 12 && rig_counted(&rig, CORE_COUNT_SINK_REFUSED) == 0; tries++) {
        settle(&rig); /* the refusal is not for another producer's claim */
        rd_kafka_mock_push_request_errors(mock, PRODUCE, 1, RD_KAFKA_RESP_ERR_INVALID_RECORD);
        rig.position = 0;
        struct core_batch *batch = numbers(&rig, 7, 1);
        give(&rig, batch);
        assert_ptr_equal(back(&rig), batch);
        assert_true(batch->txn == 0 || rig_counted(&rig, CORE_COUNT_SINK_REFUSED) == 0);
        core_pool_give(&rig.pool, batch);
    }
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_REFUSED), 1);
    assert_true(atomic_load(&commit.epoch) >= 2);
    rig.position = 0;
    rig.stream.tally = (struct core_tally){0};
    struct core_batch *batch = numbers(&rig, 7, 1);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    assert_true(batch->txn > 2);
    assert_int_equal(batch->tally.events, 0);
    assert_int_equal(batch->tally.dead, 1);
    assert_int_equal(rig.stream.tally.dead, 1);
    rig_close(&rig);
}

/* The answer to a commit is lost with its producer: the owner record says that it was done. */
static void test_a_commit_that_was_done(void **state) {
    (void)state;
    struct rig rig;
    sink_open(&rig, "");
    wait_until(&rig, is_recovered);
    rd_kafka_mock_push_request_errors(mock, END_TXN, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
    struct core_batch *batch = numbers(&rig, 0, 10);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    assert_int_equal(batch->txn, 1);
    wait_until(&rig, is_committed_once);
    assert_int_equal(atomic_load(&commit.epoch), 0);
    assert_false(is_gone(&rig));
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_PRODUCERS_REMADE), 1);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 10);
    rig_close(&rig);
}

/* The same, and the producer that is to find it out is lost before it could. */
static void test_a_commit_that_was_done_and_a_second_loss(void **state) {
    (void)state;
    struct rig rig;
    sink_open(&rig, "");
    wait_until(&rig, is_recovered);
    rd_kafka_mock_push_request_errors(mock, END_TXN, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
    rd_kafka_mock_push_request_errors(mock, INIT_PRODUCER_ID, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
    struct core_batch *batch = numbers(&rig, 0, 10);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    wait_until(&rig, is_committed_once);
    assert_int_equal(atomic_load(&commit.epoch), 0);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_PRODUCERS_REMADE), 2);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 10);
    rig_close(&rig);
}

static size_t swept; /* records that end what was left open */

static void count_swept(void) {
    const struct core_kafka_pair pairs[] = {{"bootstrap.servers", servers}};
    const struct core_kafka_place place = {"tapline.x", 0, CORE_KAFKA_BEGINNING};
    struct core_kafka_reader *reader = NULL;
    struct core_kafka_got got;
    struct core_fail fail;
    swept = 0;
    assert_int_equal(core_kafka_reader_open(&reader, pairs, 1, &fail), CORE_OK);
    assert_int_equal(core_kafka_reader_assign(reader, &place, 1, false, 10000, &fail), CORE_OK);
    while (core_kafka_reader_next(reader, 5000, &got, &fail) == CORE_OK) {
        swept += core_span_is(got.key, "tapline: ends what was left open") ? 1 : 0;
    }
    core_kafka_reader_close(reader);
}

/* Does the sink say of itself that its producer was shut out? */
static bool says_fenced(struct rig *rig) {
    struct health_rig board = {0};
    assert_int_equal(health_rig_new(&board), 0);
    core_health_begin(board.page);
    rig->ops->health(rig->sink, board.page);
    core_health_publish(board.page);
    const char *text = health_look_complaint(&board, "producer_fenced");
    bool is_said = text != NULL;
    assert_true(!is_said || strstr(text, "node test") != NULL);
    health_rig_free(&board);
    return is_said;
}

/* Records under way when the coordinator says this: they are read again, and the first thing that is done to their partitions
 * is an abort, so that the next commit cannot commit what was left there. */
static void fail_with(rd_kafka_resp_err_t error, uint64_t remade) {
    struct rig rig;
    sink_open(&rig, "");
    wait_until(&rig, is_recovered);
    struct core_batch *batch = numbers(&rig, 0, 10); /* so that the number of partitions is known */
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    core_pool_give(&rig.pool, batch);
    rig.ops->flush(rig.sink);
    wait_until(&rig, is_committed_once);
    rd_kafka_mock_push_request_errors(mock, ADD_PARTITIONS, 1, error);
    batch = numbers(&rig, 10, 10);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    assert_int_equal(batch->txn, 0);
    assert_int_equal(atomic_load(&commit.epoch), 1);
    assert_int_equal(says_fenced(&rig), remade == 1);
    core_pool_give(&rig.pool, batch);
    rig.position = 1000;
    batch = numbers(&rig, 10, 10);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    assert_int_equal(batch->txn, 3);
    assert_false(says_fenced(&rig));
    count_swept();
    assert_int_equal(swept, 1);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_PRODUCERS_REMADE), remade);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_TRANSACTIONS_ABORTED), 1);
    rig_close(&rig);
}

static void test_shut_out_with_records_under_way(void **state) {
    (void)state;
    fail_with(RD_KAFKA_RESP_ERR_PRODUCER_FENCED, 1);
}

static void test_aborted_and_nobody_knows_why(void **state) {
    (void)state;
    fail_with(RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, 0);
}

/* The first record has no answer of its own, only the second: it may be lost, so nothing of both counts. (In a transaction
 * librdkafka says so itself; without one it does not, see core/kafka.c.) */
static void test_supposed_to_be_there(void **state) {
    (void)state;
    struct rig rig;
    sink_open_with(&rig, "", "    batch.num.messages: 1\n");
    wait_until(&rig, is_recovered);
    assert_int_equal(rd_kafka_mock_broker_push_request_error_rtts(mock, 1, PRODUCE, 2,
                                                                  RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 2000,
                                                                  RD_KAFKA_RESP_ERR_NO_ERROR, 4000),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    struct core_batch *batch = numbers(&rig, 0, 2);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    assert_int_equal(batch->txn, 0);
    assert_true(is_aborted_once(&rig));
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 0);
    rig.position = 0; /* read again, in the new epoch */
    rig.stream.tally = (struct core_tally){0};
    core_pool_give(&rig.pool, batch);
    give(&rig, numbers(&rig, 0, 2));
    assert_int_equal(back(&rig)->txn, 2);
    rig.ops->flush(rig.sink);
    wait_until(&rig, is_committed_twice);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 2);
    rig_close(&rig);
}

static int16_t awaited; /* the request that has_asked asks for */

static void answer_once(int16_t request, rd_kafka_resp_err_t err, int late_ms) {
    awaited = request;
    assert_int_equal(rd_kafka_mock_broker_push_request_error_rtts(mock, 1, request, 1, err, late_ms),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
}

static void answer_late(int16_t request, int late_ms) {
    answer_once(request, RD_KAFKA_RESP_ERR_NO_ERROR, late_ms);
}

static bool has_asked(struct rig *rig) {
    (void)rig;
    size_t left = 0;
    assert_int_equal(rd_kafka_mock_broker_error_stack_cnt(mock, 1, awaited, &left), RD_KAFKA_RESP_ERR_NO_ERROR);
    return left == 0;
}

/* The end comes when a commit was asked for and is not answered: it is waited for, and counts. */
static void test_closed_in_a_commit(void **state) {
    (void)state;
    struct rig rig;
    sink_open(&rig, "");
    wait_until(&rig, is_recovered);
    answer_late(END_TXN, LATE_COMMIT_MS);
    struct core_batch *batch = numbers(&rig, 0, 10);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    rig.ops->flush(rig.sink);
    wait_until(&rig, has_asked);
    assert_false(is_committed_once(&rig));
    rig_close(&rig);
    assert_true(is_committed_once(NULL));
}

/* The end comes while the partitions of a lost transaction are swept: each has its record, before the abort. */
static void test_closed_in_a_sweep(void **state) {
    (void)state;
    struct rig rig;
    sink_open(&rig, "");
    wait_until(&rig, is_recovered);
    struct core_batch *batch = numbers(&rig, 0, 10);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    core_pool_give(&rig.pool, batch);
    rig.ops->flush(rig.sink);
    wait_until(&rig, is_committed_once);
    rd_kafka_mock_push_request_errors(mock, ADD_PARTITIONS, 1, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING);
    give(&rig, numbers(&rig, 10, 10));
    assert_int_equal(back(&rig)->txn, 0);
    assert_true(is_aborted_once(&rig));
    answer_late(ADD_PARTITIONS, LATE_MS);
    wait_until(&rig, has_asked);
    rig_close(&rig);
    count_swept();
    assert_int_equal(swept, 1);
}

static void owner_write_of(const char *key) {
    char text[256];
    static char owner[] =
        "owner instance=00000000000000ff txn=5 host=elsewhere pid=4711 version=1 started=2026-11-21T00:00:00Z";
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", servers, text, sizeof text), RD_KAFKA_CONF_OK);
    rd_kafka_t *other = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    assert_int_equal(rd_kafka_producev(other, RD_KAFKA_V_TOPIC("tapline.checkpoint"), RD_KAFKA_V_PARTITION(0),
                                       RD_KAFKA_V_KEY(key, strlen(key)), RD_KAFKA_V_VALUE(owner, sizeof owner - 1),
                                       RD_KAFKA_V_END),
                     0);
    assert_int_equal(rd_kafka_flush(other, 60000), 0);
    rd_kafka_destroy(other);
}

static void owner_write(void) {
    owner_write_of("test/owner");
}

static bool has_looked_once(struct rig *rig) {
    (void)rig;
    static int64_t until;
    until = until == 0 ? core_tick_ns() + 6 * CORE_NS_PER_S : until;
    return core_tick_ns() > until;
}

/* With nothing to send, no broker has a reason to tell it that it was shut out. Other nodes' owners and its own are none. */
static void test_an_idle_one_sees_that_another_has_the_node(void **state) {
    (void)state;
    struct rig rig;
    struct core_fail fail = {0};
    sink_open(&rig, "");
    wait_until(&rig, is_recovered);
    struct core_batch *batch = numbers(&rig, 0, 10);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    rig.ops->flush(rig.sink);
    wait_until(&rig, is_committed_once);
    owner_write_of("testament/owner");
    wait_until(&rig, has_looked_once);
    assert_false(is_gone(&rig));
    owner_write();
    wait_until(&rig, is_gone);
    assert_true(rig.ops->is_gone(rig.sink, &fail));
    assert_int_equal(fail.err, CORE_LOCKED);
    assert_non_null(strstr(fail.text, "host elsewhere, pid 4711"));
    rig_close(&rig);
}

/* Shut out before it ever read who has the node: the last owner, who is long dead, is nobody who took it over. */
static void test_shut_out_at_its_start(void **state) {
    (void)state;
    struct rig rig;
    owner_write();
    rd_kafka_mock_push_request_errors(mock, INIT_PRODUCER_ID, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
    sink_open(&rig, "");
    wait_until(&rig, is_recovered);
    assert_false(is_gone(&rig));
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_PRODUCERS_REMADE), 1);
    rig_close(&rig);
}

/* The same, but another instance has written its name since. */
static void test_another_has_the_node(void **state) {
    (void)state;
    struct rig rig;
    struct core_fail fail = {0};
    sink_open(&rig, "");
    wait_until(&rig, is_recovered);
    owner_write();
    answer_once(END_TXN, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, 0);
    struct core_batch *batch = numbers(&rig, 0, 10);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    /* the mock shows the owner record of the transaction, too, which is the last one: so it is the other's turn again */
    wait_until(&rig, has_asked);
    owner_write();
    wait_until(&rig, is_gone);
    assert_true(rig.ops->is_gone(rig.sink, &fail));
    assert_int_equal(fail.err, CORE_LOCKED);
    assert_non_null(strstr(fail.text, "elsewhere"));
    assert_non_null(strstr(fail.text, "4711"));
    assert_int_equal(atomic_load(&commit.committed), 0);
    rig_close(&rig);
}

static void test_no_right_to(void **state) {
    (void)state;
    struct rig rig;
    struct core_fail fail = {0};
    rd_kafka_mock_push_request_errors(mock, INIT_PRODUCER_ID, 1,
                                      RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    sink_open(&rig, "  delivery: exactly_once\n");
    wait_until(&rig, is_gone);
    assert_true(rig.ops->is_gone(rig.sink, &fail));
    assert_int_equal(fail.err, CORE_BAD);
    assert_non_null(strstr(fail.text, "tapline/test"));
    rig_close(&rig);
}

/* A broker that came up a moment ago says of topics it has not heard of yet that there are none. */
static void test_positions_that_a_broker_does_not_know_of_yet(void **state) {
    (void)state;
    struct rig rig;
    rd_kafka_mock_topic_set_error(mock, "tapline.checkpoint", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    sink_open(&rig, "  delivery: auto\n");
    settle(&rig);
    assert_int_equal(atomic_load(&commit.state), CORE_COMMIT_WAITS);
    rd_kafka_mock_topic_set_error(mock, "tapline.checkpoint", RD_KAFKA_RESP_ERR_NO_ERROR);
    wait_until(&rig, is_recovered);
    assert_int_equal(atomic_load(&commit.state), CORE_COMMIT_RECOVERED);
    rig_close(&rig);
}

/* And when it stays so, there is none. */
static void test_without_a_topic_of_positions(void **state) {
    (void)state;
    struct rig rig;
    rd_kafka_mock_topic_set_error(mock, "tapline.checkpoint", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    sink_open(&rig, "  delivery: exactly_once\n");
    wait_until(&rig, is_gone);
    rig_close(&rig);
}

/* With auto the same is a warning, and records go at least once. */
static void test_no_right_to_and_auto(void **state) {
    (void)state;
    struct rig rig;
    rd_kafka_mock_push_request_errors(mock, INIT_PRODUCER_ID, 1,
                                      RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    sink_open(&rig, "  delivery: auto\n");
    struct core_batch *batch = numbers(&rig, 0, 10);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    assert_int_equal(atomic_load(&commit.state), CORE_COMMIT_OFF);
    assert_int_equal(batch->txn, 0);
    assert_int_equal(atomic_load(&commit.epoch), 0);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 10);
    assert_false(is_gone(&rig));
    rig_close(&rig);
}

/* A topic that may not be written makes every transaction with it fail, and nobody says which it is: each is tried alone. */
static void test_a_topic_that_may_not_be_written(void **state) {
    (void)state;
    struct rig rig;
    sink_open(&rig, "");
    wait_until(&rig, is_recovered);
    settle(&rig);
    for (int i = 0; i < 2; i++) { /* the batch's, and the one that tries */
        rd_kafka_mock_push_request_errors(mock, ADD_PARTITIONS, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    }
    struct core_batch *batch = numbers(&rig, 0, 10);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    assert_int_equal(batch->txn, 0);
    assert_int_equal(atomic_load(&commit.epoch), 1);
    core_pool_give(&rig.pool, batch);
    rig.position = 0;
    rig.stream.tally = (struct core_tally){0};
    batch = numbers(&rig, 0, 10);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    assert_int_equal(batch->txn, 2);
    assert_int_equal(batch->tally.dead, 10); /* without a try: that would have been the next abort */
    rig.ops->flush(rig.sink);
    int64_t until = core_tick_ns() + 60 * CORE_NS_PER_S;
    while (atomic_load(&commit.committed) < 2) {
        struct core_batch *done = NULL;
        assert_int_equal(rig.ops->poll(rig.sink, &done, 1, 20), 0);
        assert_true(core_tick_ns() < until);
    }
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_DEAD), 10);
    rig_close(&rig);
}

static void test_at_least_once_keeps_nothing(void **state) {
    (void)state;
    struct rig rig;
    sink_open(&rig, "  delivery: at_least_once\n");
    assert_false(rig.ops->keeps_positions(rig.conf));
    struct core_batch *batch = numbers(&rig, 0, 10);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    assert_int_equal(batch->txn, 0);
    rig_close(&rig);
}

/* What comes of an older epoch goes back unsent. */
static void test_a_batch_of_an_older_epoch(void **state) {
    (void)state;
    struct rig rig;
    sink_open(&rig, "");
    wait_until(&rig, is_recovered);
    struct core_batch *batch = numbers(&rig, 0, 10);
    atomic_store(&commit.epoch, 1);
    give(&rig, batch);
    assert_ptr_equal(back(&rig), batch);
    assert_int_equal(batch->txn, 0);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 0);
    rig_close(&rig);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mock_begin, mock_end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_commit_and_recover),
        TEST(test_an_empty_batch_behind_a_waiting_one),
        TEST(test_refused_in_company),
        TEST(test_refused_alone),
        TEST(test_a_commit_that_was_done),
        TEST(test_a_commit_that_was_done_and_a_second_loss),
        TEST(test_shut_out_at_its_start),
        TEST(test_shut_out_with_records_under_way),
        TEST(test_aborted_and_nobody_knows_why),
        TEST(test_supposed_to_be_there),
        TEST(test_closed_in_a_commit),
        TEST(test_closed_in_a_sweep),
        TEST(test_another_has_the_node),
        TEST(test_an_idle_one_sees_that_another_has_the_node),
        TEST(test_no_right_to),
        TEST(test_no_right_to_and_auto),
        TEST(test_positions_that_a_broker_does_not_know_of_yet),
        TEST(test_without_a_topic_of_positions),
        TEST(test_a_topic_that_may_not_be_written),
        TEST(test_at_least_once_keeps_nothing),
        TEST(test_a_batch_of_an_older_epoch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
