/* tests/unit/ingest_feed_ledger_test.c: which day a row counts a record to when its timestamp is none to count with.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/feed_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define DAY_MS INT64_C(86400000)

/* Microseconds as if they were milliseconds, the worst there is, and none. */
static const int64_t none[] = {INT64_C(1763769600000000), INT64_MAX, INT64_MIN, -1, 0};
#define NONE_LEN (sizeof none / sizeof none[0])

/* A day's first moment. */
static int64_t ms_of(int64_t year, unsigned month, unsigned day) {
    return core_days_from_civil(year, month, day) * DAY_MS;
}

static void test_the_bounds_of_time(void **state) {
    (void)state;
    const int64_t end = ms_of(2262, 1, 1);
    for (size_t i = 0; i < NONE_LEN; i++) {
        assert_int_equal(feed_time_ms(none[i]), 0);
        assert_int_equal(feed_day_of(none[i]), 0);
    }
    assert_int_equal(feed_time_ms(end), 0);
    assert_int_equal(feed_time_ms(end - 1), end - 1);
    assert_int_equal(feed_day_of(end - 1), core_days_from_civil(2261, 12, 31));
    assert_int_equal(feed_day_of(DAY_MS - 1), 0);
    assert_int_equal(feed_day_of(DAY_MS), 1);
}

static void test_times_that_are_none_are_counted_as_none(void **state) {
    (void)state;
    static char topic[] = "t";
    static char group[] = "g";
    static const char dataset[] = "a";
    static const struct feed_conf conf = {.group = group};
    static const struct feed feed = {.env = {.node = "n", .conf = &conf}};
    static struct feed_share share = {.topic = topic};
    static char bytes[FEED_SCRATCH_BYTES];
    struct core_buf buf = {.start = bytes, .pos = bytes, .end = bytes + sizeof bytes};
    struct core_span key;
    struct core_span value;
    feed_ledger_begin(&share, 0, 0);
    for (size_t i = 0; i < NONE_LEN; i++) {
        feed_ledger_count(&share, (int64_t)i, none[i], dataset, FEED_INDEXED);
    }
    feed_ledger_count(&share, NONE_LEN, ms_of(2261, 12, 31), dataset, FEED_INDEXED);
    assert_true(feed_ledger_write(&buf, &feed, &share, share.row, &key, &value));
    static const char want[] = "\"days\":{\"1970-01-01\":{\"a\":{\"indexed\":5,\"repeated\":0,\"dead\":0}},"
                               "\"2261-12-31\":{\"a\":{\"indexed\":1,\"repeated\":0,\"dead\":0}}}}";
    assert_in_range(value.len, sizeof want, sizeof bytes);
    assert_memory_equal(value.ptr + value.len - (sizeof want - 1), want, sizeof want - 1);
    feed_ledger_forget(&share);
}

/* Else the age of the lag would be counted from it. */
static void test_a_point_of_no_time(void **state) {
    (void)state;
    static struct feed_share share;
    for (size_t i = 0; i < NONE_LEN; i++) {
        feed_health_point(&share, (int64_t)i, none[i]);
        assert_int_equal(share.points[i].taken_ms, 0);
    }
    feed_health_point(&share, NONE_LEN, DAY_MS);
    assert_int_equal(share.points[NONE_LEN].taken_ms, DAY_MS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_bounds_of_time),
        cmocka_unit_test(test_times_that_are_none_are_counted_as_none),
        cmocka_unit_test(test_a_point_of_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
