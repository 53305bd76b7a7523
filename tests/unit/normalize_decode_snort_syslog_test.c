/* Stands for normalize/decode_snort_syslog.c: alerts behind every kind of syslog header.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

static const char *const maps = "configs";

static void headers_of_every_kind(void **state) {
    (void)state;
    static const struct {
        const char *head;
        const char *iso;
        const char *part; /* NULL: none */
    } cases[] = {
        {"<169>Nov 21 03:16:42 snort[30300]: ", "2026-11-21T03:16:42.000000Z",
         "\"process\":{\"name\":\"snort\",\"pid\":30300}"},
        {"Nov  1 03:16:42 sensor1 snort: ", "2026-11-01T03:16:42.000000Z", "\"name\":\"sensor1\""},
        {"Dec 31 23:59:59 192.0.2.7 auth.alert snort[7]: ", "2025-12-31T23:59:59.000000Z", "\"name\":\"192.0.2.7\""},
        {"Nov 21 2019 03:16:42 sensor1 snort: ", "2019-11-21T03:16:42.000000Z", NULL},
        {"2026-11-21T03:16:42.123456+01:00 sensor1 snort[7]: ", "2026-11-21T02:16:42.123456Z", NULL},
        {"2026-11-21T03:16:42.5 sensor1 snort[7]: ", "2026-11-21T03:16:42.500000Z", NULL},
        {"<33>1 2026-11-21T03:16:42.003Z sensor1 snort 1234 - - ", "2026-11-21T03:16:42.003000Z",
         "\"process\":{\"name\":\"snort\",\"pid\":1234}"},
        {"<33>1 2026-11-21T03:16:42Z sensor1 barnyard2 - ID7 [a@1 b=\"c d\"][e@2 f=\"g\"] ",
         "2026-11-21T03:16:42.000000Z", "\"name\":\"barnyard2\""},
        {"<33>1 - - snort - - - \xEF\xBB\xBF", "2026-11-21T02:58:30.000000Z", "\"syslog\":{\"priority\":33}"},
        {"<33>snort: ", "2026-11-21T02:58:30.000000Z", "\"syslog\":{\"priority\":33}"},
    };
    struct rig rig;
    rig_open(&rig, maps, "messages.log");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[512];
        char want[64];
        snprintf(line, sizeof(line),
                 "%s[1:1000001:7] \"a [b] {c}\" [Classification: Misc activity] [Priority: 2] {TCP} 10.20.0.2:5 -> "
                 "fd20::10:80",
                 cases[i].head);
        snprintf(want, sizeof(want), "\"@timestamp\":\"%s\"", cases[i].iso);
        rig_text(&rig, line);
        rig_expect(&rig, 0, want);
        rig_expect(&rig, 0,
                   "\"rule\":{\"category\":\"Misc activity\",\"description\":\"a [b] {c}\",\"id\":\"1000001\",");
        rig_expect(&rig, 0, "\"severity\":2");
        rig_expect(&rig, 0, "\"source\":{\"address\":\"10.20.0.2\",\"ip\":\"10.20.0.2\",\"port\":5}");
        rig_expect(&rig, 0, "\"destination\":{\"address\":\"fd20::10\",\"ip\":\"fd20::10\",\"port\":80}");
        if (cases[i].part != NULL) {
            rig_expect(&rig, 0, cases[i].part);
        }
    }
    rig_close(&rig);
}

static void bodies_of_every_kind(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "messages.log");
    rig_text(
        &rig,
        "Sep  5 16:05:26 dev snort: [1:1000016:0] TCP Connection [Priority: 3] {TCP} 10.50.20.59:58720 -> "
        "10.50.10.190:22\n"
        "Sep  5 16:02:55 dev snort: [1:1000015:0] Pinging... [Classification: Misc activity] [Priority: 3]: <eth0> "
        "{ICMP} 10.50.10.88 -> 175.16.199.1\n"
        "<169>Nov 21 03:16:42 snort[30300]: \"(arp_spoof) unicast ARP request\"\n"
        "<169>Nov 21 03:16:42 snort[1]: [1:1000022:1] \"v6\" [Classification: x] [Priority: 3] {IPV6-ICMP} fd20::2 -> "
        "fd20::10\n"
        "Nov 21 03:16:42 sensor1 suricata[9]: [1:2000001:1] LOCAL ICMP [Classification: x] [Priority: 3] {ICMP} "
        "10.20.0.2:8 -> 10.20.0.10:0\n");
    rig_expect(&rig, 0, "\"name\":\"TCP Connection\"");
    rig_expect(&rig, 0, "\"port\":58720");
    rig_expect_not(&rig, 0, "\"category\":\"");
    rig_expect(&rig, 1, "\"interface\":{\"name\":\"eth0\"}");
    rig_expect(&rig, 1, "\"name\":\"Pinging...\"");
    rig_expect(&rig, 2, "\"rule\":{\"description\":\"(arp_spoof) unicast ARP request\",\"name\":\"(arp_spoof)");
    rig_expect_not(&rig, 2, "\"transport\"");
    rig_expect(&rig, 3, "\"transport\":\"icmp\",\"type\":\"ipv6\"");
    assert_string_equal(rig.batch->events[4].dataset, "suricata.eve");
    rig_expect(&rig, 4, "\"icmp_code\":0,\"icmp_type\":8");
    rig_close(&rig);
}

static void what_is_no_alert_is_dead(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "messages.log");
    rig_text(&rig,
             "Nov 21 03:16:42 sensor1 sshd[9]: \"Accepted\" password for root\n"
             "Nov 21 03:16:42 sensor1 snort[9]: Initializing rule chains...\n"
             "<1695>Nov 21 03:16:42 snort: [1:2:3\n"
             "<169>Nov 21 03:16:42 snort[1]: [1:22:1] \"cut off\" [Classification: x] [Priority: 3] {TCP} fd20::2\n");
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(rig.batch->events[i].is_dead);
    }
    rig_expect(&rig, 0, "nor an alert of Snort or Suricata");
    rig_expect(&rig, 3, "without \\\"{PROTO} source -> destination\\\"");
    rig.origin = (struct core_origin){.type = CORE_ORIGIN_SNORT, .format = CORE_FORMAT_SNORT_SYSLOG};
    rig_text(&rig, "Nov 21 03:16:42 sensor1 snort[9]: Initializing rule chains...\n");
    rig_expect(&rig, 0, "no alert in syslog");
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_of_every_kind),
        cmocka_unit_test(bodies_of_every_kind),
        cmocka_unit_test(what_is_no_alert_is_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
