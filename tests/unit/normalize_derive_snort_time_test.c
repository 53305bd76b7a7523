/* Stands for normalize/derive_snort_time.c: stamps without a year or a zone, and years of two digits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

static const char *const maps = "configs";

struct row {
    int64_t days; /* the file's time, since 1970 */
    const char *stamp;
    const char *iso; /* NULL: a dead letter */
    const char *zone;
    bool is_quoted; /* Snort 3's way: the year of two digits stands first */
};

static void rows_hold(const struct row *rows, size_t len) {
    for (size_t i = 0; i < len; i++) {
        struct rig rig;
        char line[256];
        char want[64];
        rig_open(&rig, maps, "alert_fast.txt");
        rig.stream.mtime_ns = rows[i].days * 86400 * CORE_NS_PER_S;
        rig.origin.timezone = rows[i].zone;
        snprintf(line, sizeof(line), "%s [**] [1:1:1] %s [**] [Priority: 1] {TCP} 1.2.3.4:1 -> 1.2.3.5:2",
                 rows[i].stamp, rows[i].is_quoted ? "\"x\"" : "x");
        snprintf(want, sizeof(want), "\"@timestamp\":\"%s\"", rows[i].iso == NULL ? "" : rows[i].iso);
        rig_text(&rig, line);
        if (rows[i].iso == NULL) {
            assert_true(rig.batch->events[0].is_dead);
            rig_expect(&rig, 0, "is no time as Snort writes it");
        } else {
            rig_expect(&rig, 0, want);
        }
        rig_close(&rig);
    }
}

/* 18262 is 2020-01-01, 18321 2020-02-29, 20778 2026-11-21 */
static void years_are_near_the_file(void **state) {
    (void)state;
    static const struct row rows[] = {
        {18262, "12/31-23:59:59.000001", "2019-12-31T23:59:59.000001Z", NULL, false},
        {18262, "01/01-00:00:01.000000", "2020-01-01T00:00:01.000000Z", NULL, false},
        {18321, "02/29-12:00:00.500000", "2020-02-29T12:00:00.500000Z", NULL, false},
        {19782, "02/29-12:00:00.500000", "2024-02-29T12:00:00.500000Z", NULL, false}, /* 2024-02-29 */
        {19358, "02/29-12:00:00.500000", "2024-02-29T12:00:00.500000Z", NULL, false}, /* 2023-01-01 */
        {18993, "02/29-12:00:00.500000", "2020-02-29T12:00:00.500000Z", NULL, false}, /* 2022-01-01 */
        {18321, "02/30-12:00:00.500000", NULL, NULL, false},
        {18321, "13/01-12:00:00.500000", NULL, NULL, false},
        {18321, "12/01-24:00:00.500000", NULL, NULL, false},
        {18321, "12/01-23:59:60.500000", "2019-12-02T00:00:00.500000Z", NULL, false}, /* a leap second */
    };
    rows_hold(rows, sizeof(rows) / sizeof(rows[0]));
}

static void two_digits_of_a_year(void **state) {
    (void)state;
    static const struct row rows[] = {
        {20778, "26/11/21-02:58:39.101903", "2026-11-21T02:58:39.101903Z", NULL, false}, /* only one way is a date */
        {20778, "11/21/26-02:58:39.101903", "2026-11-21T02:58:39.101903Z", NULL,
         true}, /* even if the format says other */
        {20778, "10/05/10-10:08:59.667372", "2010-05-10T10:08:59.667372Z", NULL, true},
        {20778, "10/05/10-10:08:59.667372", "2010-10-05T10:08:59.667372Z", NULL, false}, /* the nearest */
        {14715, "10/05/10-10:08:59.667372", "2010-05-10T10:08:59.667372Z", NULL, false}, /* written 2010-04-16 */
        {20778, "12/11/10-10:08:59.667372", "2012-11-10T10:08:59.667372Z", NULL, true},
        {20778, "07/13/2016-22:42:07.573103", "2016-07-13T22:42:07.573103Z", NULL, false}, /* Suricata */
        {20778, "26/31/31-02:58:39.101903", NULL, NULL, false},
    };
    rows_hold(rows, sizeof(rows) / sizeof(rows[0]));
}

static void zones_are_the_input_s(void **state) {
    (void)state;
    static const struct row rows[] = {
        {20778, "11/20-20:58:39.101903", "2026-11-21T02:58:39.101903Z", "America/Chicago", false},
        {20778, "07/20-21:58:39.101903", "2026-07-21T02:58:39.101903Z", "America/Chicago", false},
        {20778, "03/08-02:30:00.000000", "2026-03-08T08:30:00.000000Z", "America/Chicago", false}, /* skipped */
        {20778, "11/01-01:30:00.000000", "2026-11-01T06:30:00.000000Z", "America/Chicago", false}, /* twice */
        {20454, "12/31-23:30:00.000000", "2026-01-01T05:30:00.000000Z", "America/Chicago", false}, /* 2026-01-01 */
        {20778, "07/13/2016-22:42:07.573103", "2016-07-13T12:12:07.573103Z", "Australia/Lord_Howe", false},
    };
    rows_hold(rows, sizeof(rows) / sizeof(rows[0]));
}

/* A file that is followed for years: its first modification time does not hold it back. */
static void years_go_on_with_the_file(void **state) {
    (void)state;
    static const struct {
        const char *stamp;
        const char *iso;
    } steps[] = {
        {"12/01-00:00:00.000000", "2019-12-01T00:00:00.000000Z"},
        {"04/01-00:00:00.000000", "2020-04-01T00:00:00.000000Z"},
        {"08/01-00:00:00.000000", "2020-08-01T00:00:00.000000Z"},
        {"12/01-00:00:00.000000", "2020-12-01T00:00:00.000000Z"},
        {"04/01-00:00:00.000000", "2021-04-01T00:00:00.000000Z"},
        {"03/31-23:59:59.000000", "2021-03-31T23:59:59.000000Z"},
    };
    struct rig rig;
    rig_open(&rig, maps, "alert_fast.txt");
    rig.stream.mtime_ns = INT64_C(18262) * 86400 * CORE_NS_PER_S;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        char line[256];
        char want[64];
        snprintf(line, sizeof(line), "%s [**] [1:1:1] x [**] [Priority: 1] {TCP} 1.2.3.4:1 -> 1.2.3.5:2",
                 steps[i].stamp);
        snprintf(want, sizeof(want), "\"@timestamp\":\"%s\"", steps[i].iso);
        rig_text(&rig, line);
        rig_expect(&rig, 0, want);
    }
    rig_close(&rig);
}

/* `seconds` is UTC and exact; the stamp's zone and year are not known: only its microseconds count. */
static void seconds_win(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert_json.txt");
    rig.origin.timezone = "America/Chicago";
    rig_text(&rig, "{ \"timestamp\" : \"01/16-19:03:23.476194\", \"seconds\" : 1263690203, \"rule\" : \"116:408:1\" }\n"
                   "{ \"seconds\" : 1263690203, \"rule\" : \"116:408:1\" }\n"
                   "{ \"timestamp\" : \"10/01/16-19:03:23.476194\", \"rule\" : \"116:408:1\" }\n"
                   "{ \"timestamp\" : \"10/01/16-19:03:23.999999\", \"seconds\" : 9223372036 }\n");
    rig_expect(&rig, 0, "\"@timestamp\":\"2010-01-17T01:03:23.476194Z\"");
    rig_expect(&rig, 1, "\"@timestamp\":\"2010-01-17T01:03:23.000000Z\"");
    rig_expect(&rig, 2,
               "\"@timestamp\":\"2010-01-17T01:03:23.476194Z\""); /* json is Snort 3's: the year stands first */
    rig_expect(&rig, 3, "\"@timestamp\":\"2010-01-17T01:03:23.999999Z\""); /* with these seconds there is no time */
    rig_close(&rig);
}

static void a_zone_that_went_makes_dead_letters(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert_fast.txt");
    rig.origin.timezone = "Mars/Phobos";
    rig_text(&rig, "11/20-20:58:39.101903 [**] [1:1:1] x [**] [Priority: 1] {TCP} 1.2.3.4:1 -> 1.2.3.5:2");
    assert_true(rig.batch->events[0].is_dead);
    rig_expect(&rig, 0, "timezone: this system knows no time zone");
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(years_are_near_the_file),
        cmocka_unit_test(two_digits_of_a_year),
        cmocka_unit_test(zones_are_the_input_s),
        cmocka_unit_test(years_go_on_with_the_file),
        cmocka_unit_test(seconds_win),
        cmocka_unit_test(a_zone_that_went_makes_dead_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
