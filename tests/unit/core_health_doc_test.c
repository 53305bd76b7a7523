/* Tests of core/health_doc.c: the document is JSON, says what the board says, and fits into what room there is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/health_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <unistd.h>

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

static const struct core_json_tree *read_document(struct health_rig *rig, size_t room) {
    struct core_json_tree *tree = NULL;
    struct core_fail fail = {0};
    const char *text = health_rig_document(rig, room);
    core_arena_reset(&rig->arena, CORE_MIB);
    if (core_json_tree_read(&rig->arena, core_span_of(text), &tree, &fail) != CORE_OK) {
        fail_msg("%s: %.500s", fail.text, text);
    }
    return tree;
}

static size_t members_len(const struct core_json_tree *tree) {
    size_t len = 0;
    for (const struct core_json_tree *at = tree == NULL ? NULL : tree->first; at != NULL; at = at->next) {
        len++;
    }
    return len;
}

static void test_head(void **state) {
    struct health_rig *rig = *state;
    core_count(&rig->counters, CORE_COUNT_INGEST_BYTES, 12345);
    const struct core_json_tree *tree = read_document(rig, CORE_HEALTH_DOCUMENT_BYTES);
    assert_true(core_span_is(core_json_tree_text(tree, "node"), "sensor \"1\"\\"));
    assert_true(core_span_is(core_json_tree_text(tree, "process"), "run"));
    assert_int_equal(core_json_tree_integer(tree, "instance", -1), 0);
    assert_int_equal(core_json_tree_integer(tree, "pid", -1), getpid());
    assert_true(core_span_is(core_json_tree_text(tree, "version"), "0.1.0"));
    assert_int_equal(core_json_tree_text(tree, "started").len, 27);
    assert_int_equal(core_json_tree_text(tree, "time").len, 27);
    assert_true(core_span_is(core_json_tree_text(tree, "state"), "ok"));
    assert_int_equal(core_json_tree_integer(tree, "left_out", -1), 0);
    const struct core_json_tree *counters = core_json_tree_get(tree, "counters");
    assert_int_equal(core_json_tree_integer(counters, "ingest.bytes", -1), 12345);
    assert_int_equal(core_json_tree_integer(counters, "sink.accepted", -1), 0);
    assert_int_equal(members_len(counters), CORE_COUNT__MAX);
    assert_int_equal(members_len(core_json_tree_get(tree, "rows")), 0);
}

static void test_rows(void **state) {
    struct health_rig *rig = *state;
    struct core_histogram histogram = {0};
    core_histogram_add(&histogram, 2 * CORE_NS_PER_MS, 3);
    core_histogram_add(&histogram, 2 * CORE_NS_PER_S, 1);
    core_health_begin(rig->page);
    struct core_health_row *row = core_health_add(rig->page, CORE_HEALTH_FILE, "/a\xff\"b", NULL, NULL);
    core_health_set(row, CORE_FILE_SIZE, 100);
    core_health_set(row, CORE_FILE_LAG_SINCE, core_now_ns() - 1500 * CORE_NS_PER_MS);
    core_health_set(row, CORE_FILE_FAILED, 0);
    row = core_health_add(rig->page, CORE_HEALTH_SINK, "kafka", NULL, NULL);
    row->histogram = &histogram;
    core_health_set(core_health_add(rig->page, CORE_HEALTH_CAPTURE, "zeek-1", "stats", NULL), CORE_CAPTURE_LOSS, 12500);
    core_health_publish(rig->page);
    const struct core_json_tree *tree = read_document(rig, CORE_HEALTH_DOCUMENT_BYTES);
    const struct core_json_tree *rows = core_json_tree_get(tree, "rows");
    const struct core_json_tree *file = core_json_tree_get(rows, "file")->first;
    assert_true(core_span_is(core_json_tree_text(file, "path"), "/a\\xff\"b"));
    assert_int_equal(core_json_tree_integer(file, "size_bytes", -1), 100);
    assert_int_equal(core_json_tree_integer(file, "failed", -1), 0);
    assert_null(core_json_tree_get(file, "read_position_bytes"));
    double lag = strtod(core_json_tree_get(file, "lag_seconds")->text.ptr, NULL);
    assert_true(lag >= 1.5 && lag < 5);
    const struct core_json_tree *latency = core_json_tree_get(core_json_tree_get(rows, "sink")->first, "latency");
    assert_int_equal(core_json_tree_integer(latency, "count", -1), 4);
    assert_true(core_span_is(core_json_tree_get(latency, "sum")->text, "2.006"));
    assert_true(strtod(core_json_tree_get(latency, "p50")->text.ptr, NULL) <= 0.0025);
    assert_true(strtod(core_json_tree_get(latency, "p99")->text.ptr, NULL) > 1);
    const struct core_json_tree *buckets = core_json_tree_get(latency, "buckets");
    assert_int_equal(members_len(buckets), CORE_HISTOGRAM_BUCKETS);
    assert_true(core_span_is(buckets->first->first->text, "0.001"));
    assert_true(core_span_is(buckets->first->last->text, "0"));
    assert_true(core_span_is(buckets->last->first->text, "+Inf"));
    assert_true(core_span_is(buckets->last->last->text, "4"));
    const struct core_json_tree *capture = core_json_tree_get(rows, "capture")->first;
    assert_true(core_span_is(core_json_tree_get(capture, "loss_ratio")->text, "0.0125"));
    atomic_store(&histogram.counts[1], 0);
    atomic_store(&histogram.counts[10], 0);
    tree = read_document(rig, CORE_HEALTH_DOCUMENT_BYTES);
    latency = core_json_tree_get(core_json_tree_get(core_json_tree_get(tree, "rows"), "sink")->first, "latency");
    assert_null(core_json_tree_get(latency, "p50")); /* without times there is no quantile */
}

/* Whatever the room: JSON, and no row is lost without being counted. Files give way to all others. */
static void test_room(void **state) {
    struct health_rig *rig = *state;
    core_health_begin(rig->page);
    for (int i = 0; i < 400; i++) {
        char path[32];
        snprintf(path, sizeof path, "/file-%d", i);
        core_health_set(core_health_add(rig->page, CORE_HEALTH_FILE, path, NULL, NULL), CORE_FILE_SIZE, i);
    }
    for (int i = 0; i < 5; i++) {
        char worker[16];
        snprintf(worker, sizeof worker, "%d", i);
        core_health_set(core_health_add(rig->page, CORE_HEALTH_STAGE, "normalize", worker, NULL), CORE_STAGE_IN, i);
    }
    core_health_publish(rig->page);
    size_t whole = strlen(health_rig_document(rig, CORE_HEALTH_DOCUMENT_BYTES));
    size_t without_rows = whole;
    for (size_t room = 5 * CORE_KIB; room < whole + 300; room += 97) {
        const struct core_json_tree *tree = read_document(rig, room);
        const struct core_json_tree *rows = core_json_tree_get(tree, "rows");
        size_t files = members_len(core_json_tree_get(rows, "file"));
        size_t stages = members_len(core_json_tree_get(rows, "stage"));
        assert_int_equal(files + stages + (size_t)core_json_tree_integer(tree, "left_out", -1), 405);
        assert_true(files == 0 || stages == 5);
        without_rows = files + stages < without_rows ? files + stages : without_rows;
    }
    assert_true(without_rows < 100); /* the small rooms were small indeed */
    assert_int_equal(core_json_tree_integer(read_document(rig, whole + 200), "left_out", -1), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_head, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_room, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
