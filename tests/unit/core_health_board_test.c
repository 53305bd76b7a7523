/* Tests of core/health_board.c: rows as they are written are the rows that are read, whatever their labels are.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/health_rig.h"

#include "core/health_internal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <pthread.h>

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

static const struct core_health_row *rows_of(struct health_rig *rig, size_t *len) {
    core_arena_reset(&rig->arena, CORE_MIB);
    const struct core_health_row *rows = core_health_rows(rig->health, &rig->arena, len);
    assert_non_null(rows);
    return rows;
}

/* Every name in /metrics is there once, is one, and ends as its unit wants it. */
static void test_names(void **state) {
    (void)state;
    static char names[CORE_HEALTH_MEASURE__MAX + CORE_COUNT__MAX + CORE_HEALTH__MAX][168];
    size_t len = 0;
    for (int i = 0; i < CORE_HEALTH_MEASURE__MAX; i++) {
        core_health_metric_name((enum core_health_measure)i, names[len]);
        assert_true(core_health_measures[i].meaning[0] != '\0');
        strcat(names[len++], core_health_measures[i].only_grows ? "_total" : "");
    }
    for (int i = 0; i < CORE_COUNT__MAX; i++) {
        core_health_counter_name((enum core_counter)i, names[len]);
        bool is_bytes = strcmp(core_counter_table[i].unit, "bytes") == 0;
        assert_true(!is_bytes || strstr(names[len], "bytes") != NULL);
        strcat(names[len++], "_total");
    }
    for (int i = 0; i < CORE_HEALTH__MAX; i++) {
        const struct core_health_kind_info *info = core_health_kind_info((enum core_health_kind)i);
        assert_true(info->measures_len <= CORE_HEALTH_VALUES_MAX);
        assert_true(info->meaning[0] != '\0');
        if (info->histogram != NULL) {
            core_health_histogram_name((enum core_health_kind)i, names[len++]);
        }
    }
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(strspn(names[i], "abcdefghijklmnopqrstuvwxyz_0123456789"), strlen(names[i]));
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(names[i], names[k]);
        }
    }
    char name[160];
    core_health_metric_name(CORE_FILE_LAG, name);
    assert_string_equal(name, "tapline_file_lag_bytes");
    core_health_metric_name(CORE_FILE_LAG_SINCE, name);
    assert_string_equal(name, "tapline_file_lag_seconds");
    core_health_metric_name(CORE_FILE_LAST, name);
    assert_string_equal(name, "tapline_file_last_event_timestamp_seconds");
    core_health_metric_name(CORE_CAPTURE_LOSS, name);
    assert_string_equal(name, "tapline_capture_loss_ratio");
    core_health_histogram_name(CORE_HEALTH_LATENCY, name);
    assert_string_equal(name, "tapline_latency_seconds");
    core_health_histogram_name(CORE_HEALTH_SINK, name);
    assert_string_equal(name, "tapline_sink_latency_seconds");
    core_health_counter_name(CORE_COUNT_INGEST_BYTES, name);
    assert_string_equal(name, "tapline_ingest_bytes");
}

static void test_values(void **state) {
    struct health_rig *rig = *state;
    size_t len = 0;
    assert_true(core_health_is_due(rig->page, core_tick_ns()));
    core_health_begin(rig->page);
    struct core_health_row *row = core_health_add(rig->page, CORE_HEALTH_FILE, "/a.log", NULL, NULL);
    core_health_set(row, CORE_FILE_SIZE, 7);
    core_health_set(row, CORE_FILE_LAG_SINCE, 1000);
    (void)rows_of(rig, &len);
    assert_int_equal(len, 0); /* not yet published */
    core_health_publish(rig->page);
    assert_false(core_health_is_due(rig->page, core_tick_ns()));
    assert_true(core_health_is_due(rig->page, core_tick_ns() + CORE_HEALTH_EVERY_NS));
    assert_false(core_health_is_due(NULL, core_tick_ns()));
    const struct core_health_row *rows = rows_of(rig, &len);
    assert_int_equal(len, 1);
    assert_int_equal(core_health_get(&rows[0], CORE_FILE_SIZE), 7);
    assert_int_equal(core_health_get(&rows[0], CORE_FILE_READ), CORE_HEALTH_UNKNOWN);
    assert_int_equal(core_health_shown(&rows[0], CORE_FILE_LAG_SINCE, 5000), 4000);
    assert_int_equal(core_health_shown(&rows[0], CORE_FILE_LAG_SINCE, 500), 0); /* the clock was set back */
    assert_int_equal(core_health_shown(&rows[0], CORE_FILE_READ, 5000), CORE_HEALTH_UNKNOWN);
}

/* A page is what was written last, whole; kinds stand together; of two with the same labels the first counts. */
static void test_order(void **state) {
    struct health_rig *rig = *state;
    struct core_health_page *other = core_health_page_new(rig->health, "other");
    size_t len = 0;
    core_health_begin(rig->page);
    core_health_add(rig->page, CORE_HEALTH_SINK, "kafka", NULL, NULL);
    core_health_add(rig->page, CORE_HEALTH_FILE, "b", NULL, NULL);
    core_health_set(core_health_add(rig->page, CORE_HEALTH_FILE, "a", NULL, NULL), CORE_FILE_SIZE, 1);
    core_health_publish(rig->page);
    core_health_begin(other);
    core_health_set(core_health_add(other, CORE_HEALTH_FILE, "a", NULL, NULL), CORE_FILE_SIZE, 2);
    core_health_add(other, CORE_HEALTH_FILE, "c", NULL, NULL);
    core_health_add(other, CORE_HEALTH_STAGE, "x", "yz", NULL);
    core_health_add(other, CORE_HEALTH_STAGE, "xy", "z", NULL); /* not the same */
    core_health_publish(other);
    const struct core_health_row *rows = rows_of(rig, &len);
    static const char *const wanted[] = {"b", "a", "c", "x", "xy", "kafka"};
    assert_int_equal(len, 6);
    for (size_t i = 0; i < len; i++) {
        assert_string_equal(rows[i].labels[0], wanted[i]);
    }
    assert_int_equal(core_health_get(&rows[1], CORE_FILE_SIZE), 1);
    core_health_begin(rig->page);
    core_health_publish(rig->page);
    rows = rows_of(rig, &len);
    assert_int_equal(len, 4);
    assert_int_equal(core_health_get(&rows[0], CORE_FILE_SIZE), 2);
}

static void test_labels(void **state) {
    struct health_rig *rig = *state;
    static char lengthy[2000];
    static const struct {
        const char *given;
        const char *shown;
    } labels[] = {
        {"", ""},
        {NULL, ""},
        {"plain", "plain"},
        {"b\xc3\xbc"
         "cher",
         "b\xc3\xbc"
         "cher"},
        {"\xff", "\\xff"},
        {"a\xc3", "a\\xc3"},
        {"\xe2\x82z\xf0\x9f\x98\x80\x80", "\\xe2\\x82z\xf0\x9f\x98\x80\\x80"},
    };
    size_t len = 0;
    memset(lengthy, 'l', sizeof lengthy - 1);
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
        core_health_begin(rig->page);
        core_health_add(rig->page, CORE_HEALTH_FILE, labels[i].given, NULL, NULL);
        core_health_publish(rig->page);
        assert_string_equal(rows_of(rig, &len)[0].labels[0], labels[i].shown);
        assert_null(rows_of(rig, &len)[0].labels[1]);
    }
    core_health_begin(rig->page);
    core_health_add(rig->page, CORE_HEALTH_FILE, lengthy, NULL, NULL);
    core_health_add(rig->page, CORE_HEALTH_FILE, "\xff", NULL, NULL);
    core_health_add(rig->page, CORE_HEALTH_FILE, "\\xff", NULL, NULL); /* looks the same: would be the same series */
    core_health_publish(rig->page);
    assert_int_equal(strlen(rows_of(rig, &len)[0].labels[0]), CORE_HEALTH_LABEL_BYTES_MAX);
    assert_int_equal(len, 2);
    /* Cut, then shown: still within the maximum. */
    memset(lengthy, 0xfe, sizeof lengthy - 1);
    core_health_begin(rig->page);
    core_health_add(rig->page, CORE_HEALTH_FILE, lengthy, NULL, NULL);
    core_health_publish(rig->page);
    assert_int_equal(strlen(rows_of(rig, &len)[0].labels[0]), CORE_HEALTH_LABEL_BYTES_MAX);
}

static void test_full(void **state) {
    struct health_rig *rig = *state;
    size_t len = 0;
    core_health_begin(rig->page);
    for (int i = 0; i < CORE_HEALTH_ROWS_MAX + 3; i++) {
        char path[32];
        snprintf(path, sizeof path, "/%d", i);
        struct core_health_row *row = core_health_add(rig->page, CORE_HEALTH_FILE, path, NULL, NULL);
        assert_int_equal(row == NULL, i >= CORE_HEALTH_ROWS_MAX);
        core_health_set(row, CORE_FILE_SIZE, i);
    }
    core_health_publish(rig->page);
    const struct core_health_row *rows = rows_of(rig, &len);
    assert_int_equal(len, CORE_HEALTH_ROWS_MAX);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(core_health_get(&rows[i], CORE_FILE_SIZE), i);
    }
    assert_non_null(strstr(health_rig_document(rig, HEALTH_TEXT_BYTES - 1), "\"left_out\":3}"));
}

static void test_texts(void **state) {
    (void)state;
    static const struct {
        int64_t value;
        enum core_health_unit unit;
        const char *text;
    } texts[] = {
        {0, CORE_UNIT_NUMBER, "0"},
        {-5, CORE_UNIT_NUMBER, "-5"},
        {INT64_MAX, CORE_UNIT_BYTES, "9223372036854775807"},
        {1500000000, CORE_UNIT_NS, "1.5"},
        {1, CORE_UNIT_SINCE, "0.000000001"},
        {-1, CORE_UNIT_NS, "-0.000000001"},
        {2000000000, CORE_UNIT_TIME, "2"},
        {10000, CORE_UNIT_PPM, "0.01"},
        {1000000, CORE_UNIT_PPM, "1"},
        {1, CORE_UNIT_FLAG, "1"},
        {INT64_MAX, CORE_UNIT_NS, "9223372036.854775807"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char text[32];
        core_health_text(texts[i].value, texts[i].unit, text);
        assert_string_equal(text, texts[i].text);
    }
}

static void test_histogram(void **state) {
    (void)state;
    struct core_histogram histogram = {0};
    assert_int_equal(core_histogram_quantile_ns(&histogram, 0.5), -1);
    core_histogram_add(&histogram, -7, 1);
    core_histogram_add(&histogram, core_histogram_bounds_ns[0], 1);     /* at most 1 ms */
    core_histogram_add(&histogram, core_histogram_bounds_ns[0] + 1, 2); /* above */
    core_histogram_add(&histogram, INT64_C(4000) * CORE_NS_PER_S, 1);   /* above all bounds */
    assert_int_equal(atomic_load(&histogram.counts[0]), 2);
    assert_int_equal(atomic_load(&histogram.counts[1]), 2);
    assert_int_equal(atomic_load(&histogram.counts[CORE_HISTOGRAM_BUCKETS - 1]), 1);
    assert_int_equal(core_histogram_quantile_ns(&histogram, 0.4), core_histogram_bounds_ns[0]);
    assert_int_equal(core_histogram_quantile_ns(&histogram, 0.8), core_histogram_bounds_ns[1]);
    assert_int_equal(core_histogram_quantile_ns(&histogram, 1), core_histogram_bounds_ns[CORE_HISTOGRAM_BUCKETS - 2]);
}

static void test_sum_of_old_logs_only_grows(void **state) {
    (void)state;
    struct core_histogram histogram = {0};
    struct core_histogram_seen seen;
    const int64_t year = 365 * CORE_HISTOGRAM_NS_MAX;
    core_histogram_see(&histogram, &seen);
    assert_string_equal(seen.sum, "0");
    core_histogram_add(&histogram, 1500 * CORE_NS_PER_US, 3);
    core_histogram_see(&histogram, &seen);
    assert_string_equal(seen.sum, "0.0045");
    uint64_t before = 0;
    for (int i = 0; i < 1000000; i++) { /* in ns, and as old as they are, a few dozen would have been too many */
        core_histogram_add(&histogram, 50 * year, 2);
        uint64_t now = atomic_load(&histogram.sum_us);
        assert_true(now > before);
        before = now;
    }
    core_histogram_see(&histogram, &seen);
    assert_string_equal(seen.sum, "172800000000.0045");
    core_histogram_add(&histogram, CORE_NS_PER_S, 4096); /* those that come now are seen beside them */
    core_histogram_see(&histogram, &seen);
    assert_string_equal(seen.sum, "172800004096.0045");
}

/* One thread writes a page whose rows all say the same number; readers never see two numbers in one reading. */
struct writer {
    struct core_health_page *page;
    _Atomic bool is_over;
};

static void *write_pages(void *ctx) {
    struct writer *writer = ctx;
    for (int64_t round = 1; !atomic_load(&writer->is_over); round++) {
        core_health_begin(writer->page);
        for (int i = 0; i < 50; i++) {
            char path[32];
            snprintf(path, sizeof path, "%d of %lld", i, (long long)round);
            core_health_set(core_health_add(writer->page, CORE_HEALTH_FILE, path, NULL, NULL), CORE_FILE_SIZE, round);
        }
        core_health_publish(writer->page);
    }
    return NULL;
}

static void test_whole_pages(void **state) {
    struct health_rig *rig = *state;
    struct writer writer = {.page = rig->page};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_pages, &writer), 0);
    int64_t last = 0;
    size_t readings = 0;
    while (readings < 300) {
        size_t len = 0;
        const struct core_health_row *rows = rows_of(rig, &len);
        if (len == 0) {
            continue; /* not begun */
        }
        readings++;
        assert_int_equal(len, 50);
        int64_t round = core_health_get(&rows[0], CORE_FILE_SIZE);
        assert_true(round >= last);
        last = round;
        for (size_t i = 0; i < len; i++) {
            char path[32];
            snprintf(path, sizeof path, "%zu of %lld", i, (long long)round);
            assert_string_equal(rows[i].labels[0], path);
            assert_int_equal(core_health_get(&rows[i], CORE_FILE_SIZE), round);
        }
    }
    atomic_store(&writer.is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test_setup_teardown(test_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_labels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_sum_of_old_logs_only_grows),
        cmocka_unit_test_setup_teardown(test_whole_pages, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
