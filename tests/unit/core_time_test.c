/* tests/unit/core_time_test.c: dates against the system's own gmtime, and known instants.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <time.h>

static void expect_iso(int64_t ns, const char *expected) {
    char text[28] = "";
    assert_true(core_time_iso(ns, text));
    text[27] = '\0';
    assert_string_equal(text, expected);
}

static void test_known_instants(void **state) {
    (void)state;
    expect_iso(0, "1970-01-01T00:00:00.000000Z");
    expect_iso(-1, "1969-12-31T23:59:59.999999Z");
    expect_iso(-1000, "1969-12-31T23:59:59.999999Z");
    expect_iso(-1001, "1969-12-31T23:59:59.999998Z");
    expect_iso(INT64_C(1795057110536622999), "2026-11-19T02:58:30.536622Z");
    expect_iso(INT64_C(951782400000000000), "2000-02-29T00:00:00.000000Z");
    expect_iso(INT64_C(4107542400) * CORE_NS_PER_S, "2100-03-01T00:00:00.000000Z");
    expect_iso(INT64_MAX, "2262-04-11T23:47:16.854775Z");
    expect_iso(INT64_MIN, "1677-09-21T00:12:43.145224Z");
}

/* Every day there is, and odd moments of it: the same as gmtime_r and timegm. */
static void test_every_day_agrees_with_libc(void **state) {
    (void)state;
    for (int64_t day = -106000; day <= 106000; day++) {
        int64_t seconds = day * 86400 + (day * 7919 % 86400 + 86400) % 86400;
        time_t libc_seconds = (time_t)seconds;
        struct tm tm;
        assert_non_null(gmtime_r(&libc_seconds, &tm));
        char expected[64];
        snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02d.000000Z", tm.tm_year + 1900, tm.tm_mon + 1,
                 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        expect_iso(seconds * CORE_NS_PER_S, expected);
        tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
        assert_int_equal(core_days_from_civil(tm.tm_year + 1900, (unsigned)tm.tm_mon + 1, (unsigned)tm.tm_mday),
                         timegm(&tm) / 86400);
    }
}

static void test_days_before_the_era(void **state) {
    (void)state;
    assert_int_equal(core_days_from_civil(1970, 1, 1), 0);
    assert_int_equal(core_days_from_civil(1969, 12, 31), -1);
    assert_int_equal(core_days_from_civil(0, 3, 1), -719468);
    assert_int_equal(core_days_from_civil(0, 2, 29), -719469);
    assert_int_equal(core_days_from_civil(-1, 12, 31), -719529);
}

static void test_ticks_do_not_go_back(void **state) {
    (void)state;
    int64_t before = core_tick_ns();
    for (int i = 0; i < 1000; i++) {
        int64_t now = core_tick_ns();
        assert_true(now >= before);
        before = now;
    }
    assert_true(core_now_ns() > INT64_C(1700000000) * CORE_NS_PER_S);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_instants),
        cmocka_unit_test(test_every_day_agrees_with_libc),
        cmocka_unit_test(test_days_before_the_era),
        cmocka_unit_test(test_ticks_do_not_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
