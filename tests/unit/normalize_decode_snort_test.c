/* Stands for normalize/decode_snort.c and derive_snort.c: fast alerts of every shape, of Snort and Suricata.
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

/* alert_json's default fields: endpoints and rule in one piece each. */
static void pairs_and_triples(void **state) {
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

static void marks_interfaces_and_references(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert");
    rig_text(&rig,
             "08/22-11:22:33.123456 [Drop] [**] [1:2:3]  <eth0> <script> seen [**] [Classification: x] [Priority: 1] "
             "{PROTO:255} 10.0.0.1 -> 10.0.0.2\n"
             "08/22-11:22:33.123456 [wDrop] [**] [1:2:3] <not an interface> [**] [Priority: 1] [AppID: http] {TCP} "
             "10.0.0.1:1 -> 10.0.0.2:2\n");
    rig_expect(&rig, 0, "\"action\":\"drop\"");
    rig_expect(&rig, 0, "\"denied\"");
    rig_expect(&rig, 0, "\"interface\":{\"name\":\"eth0\"}");
    rig_expect(&rig, 0, "\"name\":\"<script> seen\"");
    rig_expect(&rig, 0, "\"protocol\":\"PROTO:255\"");
    rig_expect(&rig, 0, "\"transport\":\"ip\"");
    rig_expect(&rig, 1, "\"action\":\"would_drop\"");
    rig_expect(&rig, 1, "\"allowed\"");
    rig_expect(&rig, 1, "\"name\":\"<not an interface>\"");
    rig_expect(&rig, 1, "\"appid\":\"http\"");
    rig_close(&rig);
}

/* Told by the four digits of its year; named and told as eve.json's alerts are. */
static void suricata_s_fast_log(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "fast.log");
    rig_text(
        &rig,
        "11/21/2026-02:58:40.378321  [**] [1:2000022:1] LOCAL ICMPv6 [**] [Classification: Generic ICMP event] "
        "[Priority: 3] {IPv6-ICMP} fd20:0000:0000:0000:0000:0000:0000:0002:128 -> "
        "fd20:0000:0000:0000:0000:0000:0000:0010:0\n"
        "11/21/2026-02:58:40.378321  [wDrop] [**] [1:6:1] (null) [**] [Classification: (null)] [Priority: 3] {6} "
        "82.165.177.154:80 -> 10.16.1.11:54186\n"
        "11/21/2026-02:58:40.378321  [Drop] [**] [1:6:1] x [**] [Priority: 3] {UDP} 10.0.0.1:1 -> 10.0.0.2:2\n"
        "11/21/2026-02:58:40.378321  [**] [1:2200000:2] SURICATA IPv4 [**] too small [**] [Classification: Generic "
        "Protocol Command Decode] [Priority: 3] [**] [Raw pkt: 45 00 01] [pcap file packet: 7]\n");
    for (uint32_t i = 0; i < 4; i++) {
        assert_string_equal(rig.batch->events[i].dataset, "suricata.eve");
        rig_expect(&rig, i, "\"module\":\"suricata\"");
    }
    rig_expect(&rig, 0, "\"@timestamp\":\"2026-11-21T02:58:40.378321Z\"");
    rig_expect(&rig, 0, "\"community_id\":\"1:XAR+9Pu2SM0vPDMj27s//UIbloc=\"");
    rig_expect(&rig, 0, "\"transport\":\"ipv6-icmp\"");
    rig_expect(&rig, 0, "\"icmp_code\":0,\"icmp_type\":128");
    rig_expect(&rig, 0, "\"action\":\"allowed\"");
    rig_expect(&rig, 0, "\"type\":[\"info\",\"allowed\"]");
    rig_expect(&rig, 0, "\"message\":\"Generic ICMP event\"");
    rig_expect(&rig, 1, "\"transport\":\"tcp\"");
    rig_expect(&rig, 1, "\"port\":54186");
    rig_expect(&rig, 1, "\"rule\":{\"id\":\"6\",\"version\":\"1\"}");
    rig_expect(&rig, 1, "\"action\":\"allowed\"");
    rig_expect(&rig, 2, "\"action\":\"blocked\"");
    rig_expect(&rig, 2, "\"denied\"");
    rig_expect_not(&rig, 2, "\"allowed\"");
    rig_expect(&rig, 3, "\"name\":\"SURICATA IPv4 [**] too small\"");
    rig_expect(&rig, 3, "\"category\":\"Generic Protocol Command Decode\"");
    rig_expect(&rig, 3, "\"severity\":3");
    rig_expect(&rig, 3, "\"pcap_cnt\":7,\"raw_pkt\":\"45 00 01\"");
    rig_close(&rig);
}

/* Whichever fields alert_json was told to write: its stamp gives it away. */
static void any_fields_of_alert_json(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "out.json");
    rig_text(&rig, "{ \"timestamp\" : \"11/21-02:58:39.101903\", \"msg\" : \"say \"hi\", you\", \"src_addr\" : "
                   "\"10.0.0.1\", \"mpls\" : 7, \"sgt\" : 8, \"geneve_vni\" : 9, \"target\" : \"src\" }\n"
                   "{ \"timestamp\" : \"26/11/21-02:58:39.101903\", \"dst_port\" : 80, \"vlan\" : 40 }\n"
                   "{ \"timestamp\" : \"2026-11-21T02:58:39\", \"dst_port\" : 80 }\n");
    assert_string_equal(rig.batch->events[0].dataset, "snort.log");
    assert_string_equal(rig.batch->events[1].dataset, "snort.log");
    assert_string_equal(rig.batch->events[2].dataset, "zeek.out");
    rig_expect(&rig, 0, "\"name\":\"say \\\"hi\\\", you\"");
    rig_expect(&rig, 0, "\"geneve_vni\":\"9\",\"mpls\":7,\"sgt\":8,\"target\":\"src\"");
    rig_expect(&rig, 1, "\"@timestamp\":\"2026-11-21T02:58:39.101903Z\"");
    rig_expect(&rig, 1, "\"vlan\":{\"id\":\"40\"}");
    rig_close(&rig);
}

/* What an input says of its format holds: anything else there is a dead letter. */
static void named_formats(void **state) {
    (void)state;
    static const enum core_format named[] = {CORE_FORMAT_SNORT_FAST, CORE_FORMAT_SNORT_FULL, CORE_FORMAT_SNORT_CSV,
                                             CORE_FORMAT_SNORT_SYSLOG, CORE_FORMAT_SURICATA_FAST};
    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        bool is_fast = named[i] == CORE_FORMAT_SNORT_FAST || named[i] == CORE_FORMAT_SURICATA_FAST;
        bool is_suricata = named[i] == CORE_FORMAT_SURICATA_FAST;
        struct rig rig;
        rig_open(&rig, maps, "alerts");
        rig.origin.format = named[i];
        rig.origin.type = is_suricata ? CORE_ORIGIN_SURICATA : CORE_ORIGIN_SNORT;
        rig_text(&rig, "{ \"timestamp\" : \"11/21-02:58:39.101903\", \"rule\" : \"1:2:3\" }\n"
                       "11/21-02:58:39.101903 [**] [1:2:3] x [**] [Priority: 3] {TCP} 1.2.3.4:5 -> 1.2.3.4:6\n"
                       "hello\n");
        assert_true(rig.batch->events[0].is_dead);
        assert_int_equal(rig.batch->events[1].is_dead, !is_fast);
        assert_true(rig.batch->events[2].is_dead);
        if (is_fast) {
            assert_string_equal(rig.batch->events[1].dataset, is_suricata ? "suricata.eve" : "snort.log");
            rig_expect(&rig, 2, "no fast alert");
        }
        rig_close(&rig);
    }
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
    rig_expect(&rig, 4, "nor an alert of Snort or Suricata");
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_alerts_of_every_shape),      cmocka_unit_test(pairs_and_triples),
        cmocka_unit_test(marks_interfaces_and_references), cmocka_unit_test(suricata_s_fast_log),
        cmocka_unit_test(any_fields_of_alert_json),        cmocka_unit_test(named_formats),
        cmocka_unit_test(broken_alerts_are_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
