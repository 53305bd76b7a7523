/* Tests of core/health_metrics.c: families, samples and texts of the exposition, in both formats. That Prometheus takes it as it is,
 * tests/integration/test_health_http.py proves.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/health_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

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

static void assert_has(const char *text, const char *line) {
    if (strstr(text, line) == NULL) {
        fail_msg("there is no \"%s\" in:\n%s", line, text);
    }
}

static void rows_write(struct health_rig *rig, struct core_histogram *histogram) {
    core_health_begin(rig->page);
    struct core_health_row *row = core_health_add(rig->page, CORE_HEALTH_FILE, "/a \"b\\c\nd", NULL, NULL);
    core_health_set(row, CORE_FILE_SIZE, 100);
    core_health_set(row, CORE_FILE_ROTATIONS, 2);
    row = core_health_add(rig->page, CORE_HEALTH_FILE, "/z", NULL, NULL);
    core_health_set(row, CORE_FILE_SIZE, 3);
    row = core_health_add(rig->page, CORE_HEALTH_SINK, "kafka", NULL, NULL);
    core_health_set(row, CORE_SINK_UP, 1);
    row->histogram = histogram;
    core_health_publish(rig->page);
}

static void test_text(void **state) {
    struct health_rig *rig = *state;
    struct core_histogram histogram = {0};
    core_histogram_add(&histogram, 2 * CORE_NS_PER_MS, 3);
    core_histogram_add(&histogram, INT64_C(7200) * CORE_NS_PER_S, 1);
    core_count(&rig->counters, CORE_COUNT_INGEST_BYTES, 77);
    rows_write(rig, &histogram);
    const char *text = health_rig_exposition(rig, false, HEALTH_TEXT_BYTES - 1);
    assert_has(text, "tapline_build_info{version=\"0.1.0\",process=\"run\",node=\"sensor \\\"1\\\"\\\\\"} 1\n");
    assert_has(text, "# TYPE tapline_ingest_bytes_total counter\ntapline_ingest_bytes_total 77\n");
    assert_has(text, "# HELP tapline_file_size_bytes its size as last looked at; of a .gz packed\n"
                     "# TYPE tapline_file_size_bytes gauge\n"
                     "tapline_file_size_bytes{path=\"/a \\\"b\\\\c\\nd\"} 100\n"
                     "tapline_file_size_bytes{path=\"/z\"} 3\n");
    assert_has(text, "# TYPE tapline_file_rotations_total counter\n"
                     "tapline_file_rotations_total{path=\"/a \\\"b\\\\c\\nd\"} 2\n#");
    assert_null(strstr(text, "tapline_file_read_position_bytes")); /* nobody said it */
    assert_null(strstr(text, "# UNIT"));
    assert_null(strstr(text, "# EOF"));
    assert_has(text, "# TYPE tapline_sink_latency_seconds histogram\n"
                     "tapline_sink_latency_seconds_bucket{sink=\"kafka\",le=\"0.001\"} 0\n"
                     "tapline_sink_latency_seconds_bucket{sink=\"kafka\",le=\"0.0025\"} 3\n");
    assert_has(text, "{sink=\"kafka\",le=\"1.0\"} 3\n");
    assert_has(text, "{sink=\"kafka\",le=\"3600.0\"} 3\n"
                     "tapline_sink_latency_seconds_bucket{sink=\"kafka\",le=\"+Inf\"} 4\n"
                     "tapline_sink_latency_seconds_sum{sink=\"kafka\"} 7200.006\n"
                     "tapline_sink_latency_seconds_count{sink=\"kafka\"} 4\n");
}

static void test_open(void **state) {
    struct health_rig *rig = *state;
    struct core_histogram histogram = {0};
    rows_write(rig, &histogram);
    const char *text = health_rig_exposition(rig, true, HEALTH_TEXT_BYTES - 1);
    assert_has(text, "# TYPE tapline_ingest_bytes counter\n# UNIT tapline_ingest_bytes bytes\n"
                     "tapline_ingest_bytes_total 0\n");
    assert_has(text, "# TYPE tapline_ingest_bytes_lost counter\ntapline_ingest_bytes_lost_total 0\n");
    assert_has(text, "# TYPE tapline_file_size_bytes gauge\n# UNIT tapline_file_size_bytes bytes\n");
    assert_has(text, "# TYPE tapline_file_rotations counter\ntapline_file_rotations_total{");
    assert_has(text, "# UNIT tapline_sink_latency_seconds seconds\n");
    assert_string_equal(text + strlen(text) - 7, "\n# EOF\n");
}

/* Too little room: whole samples go, what stays is well-formed to its last line. */
static void test_room(void **state) {
    struct health_rig *rig = *state;
    struct core_histogram histogram = {0};
    rows_write(rig, &histogram);
    size_t whole = strlen(health_rig_exposition(rig, true, HEALTH_TEXT_BYTES - 1));
    for (size_t room = 400; room < whole + 20; room += 41) {
        const char *text = health_rig_exposition(rig, true, room);
        assert_string_equal(text + strlen(text) - 7, "\n# EOF\n");
        for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
            assert_true(strncmp(line, "# ", 2) == 0 || strncmp(line, "tapline_", 8) == 0);
            size_t len = strcspn(line, "\n");
            assert_true(line[0] == '#' || core_is_digit(line[len - 1]));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_room, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
