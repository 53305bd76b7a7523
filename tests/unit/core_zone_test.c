/* Stands for core/zone.c: clocks that go forward and back, zones with half hours, times before 1970 and far ahead.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/zone.h"

struct civil {
    int year;
    unsigned month;
    unsigned day;
    int hour;
    int minute;
    int second;
};

static int64_t seconds_of(struct civil t) {
    return core_days_from_civil(t.year, t.month, t.day) * 86400 + t.hour * 3600 + t.minute * 60 + t.second;
}

struct row {
    const char *zone;
    struct civil shown; /* what the clocks show */
    struct civil utc;
};

static const struct row rows[] = {
    {"UTC", {2026, 11, 21, 2, 58, 39}, {2026, 11, 21, 2, 58, 39}},
    {"America/Chicago", {2026, 1, 15, 12, 0, 0}, {2026, 1, 15, 18, 0, 0}},
    {"America/Chicago", {2026, 7, 15, 12, 0, 0}, {2026, 7, 15, 17, 0, 0}},
    /* 2026-03-08: 02:00 CST becomes 03:00 CDT at 08:00 UTC */
    {"America/Chicago", {2026, 3, 8, 0, 0, 0}, {2026, 3, 8, 6, 0, 0}},
    {"America/Chicago", {2026, 3, 8, 1, 59, 59}, {2026, 3, 8, 7, 59, 59}},
    {"America/Chicago", {2026, 3, 8, 2, 30, 0}, {2026, 3, 8, 8, 30, 0}}, /* there was no such hour */
    {"America/Chicago", {2026, 3, 8, 3, 0, 0}, {2026, 3, 8, 8, 0, 0}},
    {"America/Chicago", {2026, 3, 8, 23, 59, 59}, {2026, 3, 9, 4, 59, 59}},
    /* 2026-11-01: 02:00 CDT becomes 01:00 CST at 07:00 UTC */
    {"America/Chicago", {2026, 11, 1, 0, 59, 59}, {2026, 11, 1, 5, 59, 59}},
    {"America/Chicago", {2026, 11, 1, 1, 30, 0}, {2026, 11, 1, 6, 30, 0}}, /* twice: the first */
    {"America/Chicago", {2026, 11, 1, 1, 59, 59}, {2026, 11, 1, 6, 59, 59}},
    {"America/Chicago", {2026, 11, 1, 2, 0, 0}, {2026, 11, 1, 8, 0, 0}},
    /* Lord Howe's clocks move by half an hour: 2026-10-04 02:00 (+10:30) becomes 02:30 (+11:00); 2026-04-05 02:00 -> 01:30 */
    {"Australia/Lord_Howe", {2026, 7, 1, 12, 0, 0}, {2026, 7, 1, 1, 30, 0}},
    {"Australia/Lord_Howe", {2026, 10, 4, 1, 59, 59}, {2026, 10, 3, 15, 29, 59}},
    {"Australia/Lord_Howe", {2026, 10, 4, 2, 15, 0}, {2026, 10, 3, 15, 45, 0}},
    {"Australia/Lord_Howe", {2026, 10, 4, 2, 30, 0}, {2026, 10, 3, 15, 30, 0}},
    {"Australia/Lord_Howe", {2026, 4, 5, 1, 45, 0}, {2026, 4, 4, 14, 45, 0}},
    {"Australia/Lord_Howe", {2026, 4, 5, 2, 0, 0}, {2026, 4, 4, 15, 30, 0}},
    /* a day that was left out: Samoa went from 2011-12-29 to 2011-12-31 */
    {"Pacific/Apia", {2011, 12, 29, 23, 0, 0}, {2011, 12, 30, 9, 0, 0}},
    {"Pacific/Apia", {2011, 12, 31, 1, 0, 0}, {2011, 12, 30, 11, 0, 0}},
    {"Asia/Kathmandu", {2026, 5, 5, 5, 45, 0}, {2026, 5, 5, 0, 0, 0}},
    /* before 1970, and before there were zones: Chicago's own mean time, -5:50:36 */
    {"America/Chicago", {1969, 7, 20, 15, 17, 40}, {1969, 7, 20, 20, 17, 40}},
    {"America/Chicago", {1880, 1, 1, 0, 0, 0}, {1880, 1, 1, 5, 50, 36}},
    /* far ahead: the rule in force goes on */
    {"America/Chicago", {2100, 7, 15, 12, 0, 0}, {2100, 7, 15, 17, 0, 0}},
    {"America/Chicago", {2100, 1, 15, 12, 0, 0}, {2100, 1, 15, 18, 0, 0}},
    {"Etc/GMT-2", {2026, 11, 21, 2, 0, 0}, {2026, 11, 21, 0, 0, 0}},
};

static void check_row(struct core_zone *zone, const struct row *row) {
    int64_t fraction = 101903000;
    int64_t got = core_zone_to_utc(zone, seconds_of(row->shown) * CORE_NS_PER_S + fraction);
    int64_t want = seconds_of(row->utc) * CORE_NS_PER_S + fraction;
    if (got != want) {
        fail_msg("%s %d-%02u-%02u %02d:%02d:%02d is off by %lld s", row->zone, row->shown.year, row->shown.month,
                 row->shown.day, row->shown.hour, row->shown.minute, row->shown.second,
                 (long long)((got - want) / CORE_NS_PER_S));
    }
}

static void clocks_become_instants(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct core_zone *zone = NULL;
        struct core_fail fail = {0};
        assert_int_equal(core_zone_open(&zone, rows[i].zone, &fail), CORE_OK);
        check_row(zone, &rows[i]);
        core_zone_close(zone);
    }
}

/* What is remembered of one day must not be used for another: the same zone, days in any order. */
static void one_zone_serves_all_days(void **state) {
    (void)state;
    struct core_zone *zone = NULL;
    struct core_fail fail = {0};
    assert_int_equal(core_zone_open(&zone, "America/Chicago", &fail), CORE_OK);
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            size_t at = round == 1 ? sizeof(rows) / sizeof(rows[0]) - 1 - i : i;
            if (strcmp(rows[at].zone, "America/Chicago") == 0) {
                check_row(zone, &rows[at]);
            }
        }
    }
    core_zone_close(zone);
}

static void other_names_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {
        "",     "America/Chigago", "../../etc/passwd", "/usr/share/zoneinfo/UTC", "Mars/Phobos", "America/Chicago ",
        "UTC\n"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct core_zone *zone = NULL;
        struct core_fail fail = {0};
        if (core_zone_open(&zone, names[i], &fail) != CORE_BAD) {
            fail_msg("\"%s\" was taken for a zone", names[i]);
        }
        assert_null(zone);
        assert_non_null(strstr(fail.text, "knows no time zone"));
    }
    core_zone_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_become_instants),
        cmocka_unit_test(one_zone_serves_all_days),
        cmocka_unit_test(other_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
