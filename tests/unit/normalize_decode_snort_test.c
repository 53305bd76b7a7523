/* Stands for normalize/decode_snort.c and derive_snort.c: fast alerts of every shape, stamps without a year.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

static const char *const maps = "configs";

static void fast_alerts_of_every_shape(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert_fast.txt");
    rig_text(
        &rig,
        "11/21-02:58:39.101903 [**] [1:1000001:7] \"quoted\" [**] [Classification: Generic] [Priority: 3] {TCP} "
        "10.20.0.2:51514 -> 10.20.0.10:80\n"
        "09/16-12:34:56.789012 [**] [1:1:1] bare [**] message [**] [Priority: 1] {UDP} fd20::2:47678 -> fd20::10:0\n"
        "12/28-12:55:38.885027 [**] [1:408:8] \"no priority\" [**] [Classification: Misc activity] {ICMP} "
        "2001:4860:4860:0:0:0:0:8888 -> 2001:df1:c200:c:0:0:0:35\n"
        "11/21-02:58:44.340179 [**] [112:1:1] \"(arp_spoof) unicast ARP request\" [**] [Priority: 3] {ARP}  -> \n"
        "09/16-12:38:10.666666 [**] [1:1000015:1] flood [**] [Priority: 1] {ICMP} 10.0.0.51:0 -> 10.0.0.30:0\n");
    assert_int_equal(rig.batch->events_len, 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_false(rig.batch->events[i].is_dead);
        assert_string_equal(rig.batch->events[i].dataset, "snort.log");
    }
    rig_expect(&rig, 0, "\"@timestamp\":\"2026-11-21T02:58:39.101903Z\"");
    rig_expect(&rig, 0, "\"source\":{\"address\":\"10.20.0.2\",\"ip\":\"10.20.0.2\",\"port\":51514}");
    rig_expect(&rig, 0,
               "\"rule\":{\"category\":\"Generic\",\"description\":\"quoted\",\"id\":\"1000001\",\"name\":\"quoted\","
               "\"version\":\"7\"}");
    rig_expect(&rig, 0, "\"severity\":3");
    rig_expect(&rig, 1, "\"description\":\"bare [**] message\"");
    rig_expect(&rig, 1, "\"source\":{\"address\":\"fd20::2\",\"ip\":\"fd20::2\",\"port\":47678}");
    rig_expect(&rig, 1, "\"destination\":{\"address\":\"fd20::10\",\"ip\":\"fd20::10\",\"port\":0}");
    rig_expect(&rig, 2, "\"ip\":\"2001:4860:4860:0:0:0:0:8888\"}");
    rig_expect_not(&rig, 2, "\"severity\"");
    rig_expect_not(&rig, 3, "\"source\"");
    rig_expect(&rig, 4, "\"source\":{\"address\":\"10.0.0.51\",\"ip\":\"10.0.0.51\"}"); /* :0 of ICMP is no port */
    rig_close(&rig);
}

/* The year that puts a stamp nearest the file's time, and never one that is yet to come. */
static void years_are_near_the_file(void **state) {
    (void)state;
    static const struct {
        int64_t days; /* the file's time, since 1970 */
        const char *stamp;
        const char *iso;
    } cases[] = {
        {18262, "12/31-23:59:59.000001", "2019-12-31T23:59:59.000001Z"}, /* written 2020-01-01 */
        {18262, "01/01-00:00:01.000000", "2020-01-01T00:00:01.000000Z"},
        {18321, "02/29-12:00:00.500000", "2020-02-29T12:00:00.500000Z"},
        {18262, "26/11/21-02:58:39.101903", "2026-11-21T02:58:39.101903Z"}, /* snort -y */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig rig;
        char line[256];
        char want[64];
        rig_open(&rig, maps, "alert_fast.txt");
        rig.stream.mtime_ns = cases[i].days * 86400 * CORE_NS_PER_S;
        snprintf(line, sizeof(line), "%s [**] [1:1:1] x [**] [Priority: 1] {TCP} 1.2.3.4:1 -> 1.2.3.5:2",
                 cases[i].stamp);
        snprintf(want, sizeof(want), "\"@timestamp\":\"%s\"", cases[i].iso);
        rig_text(&rig, line);
        rig_expect(&rig, 0, want);
        rig_close(&rig);
    }
}

/* `seconds` is UTC and exact; the stamp's zone and year are not known: only its microseconds count. */
static void seconds_win(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert_json.txt");
    rig_text(&rig,
             "{ \"timestamp\" : \"01/16-19:03:23.476194\", \"seconds\" : 1263690203, \"rule\" : \"116:408:1\", "
             "\"src_ap\" : \"1.2.3.4:80\", \"dst_ap\" : \"fd20::2:443\", \"proto\" : \"TCP\", \"action\" : \"drop\" }");
    rig_expect(&rig, 0, "\"@timestamp\":\"2010-01-17T01:03:23.476194Z\"");
    rig_expect(&rig, 0, "\"rule\":{\"id\":\"408\",\"version\":\"1\"}");
    rig_expect(&rig, 0, "\"gid\":116");
    rig_expect(&rig, 0, "\"destination\":{\"address\":\"fd20::2\",\"ip\":\"fd20::2\",\"port\":443}");
    rig_expect(&rig, 0, "\"denied\"");
    rig_close(&rig);
}

static void broken_alerts_are_dead(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert_fast.txt");
    rig_text(&rig, "11/21-02:58:39.101903 [**] [1:2] \"x\" [**] [Priority: 3] {TCP} 1.2.3.4:5 -> 1.2.3.4:6\n"
                   "11/21-02:58:39.101903 [**] [1:2:3] \"cut off [Prior\n"
                   "11/21-02:58:39.101903 [**] [1:2:3] \"x\" [**] [Priority: 3] {TCP} 1.2.3.4:5\n"
                   "13/41-02:58:39.101903 [**] [1:2:3] \"x\" [**] [Priority: 3] {TCP} 1.2.3.4:5 -> 1.2.3.4:6\n"
                   "hello\n");
    for (uint32_t i = 0; i < 5; i++) {
        assert_true(rig.batch->events[i].is_dead);
    }
    rig_expect(&rig, 0, "without \\\"[gid:sid:rev] message [**]\\\"");
    rig_expect(&rig, 2, "without \\\"{PROTO} source -> destination\\\"");
    rig_expect(&rig, 3, "is no time as Snort writes it");
    rig_expect(&rig, 4, "neither Zeek TSV");
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_alerts_of_every_shape),
        cmocka_unit_test(years_are_near_the_file),
        cmocka_unit_test(seconds_win),
        cmocka_unit_test(broken_alerts_are_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
