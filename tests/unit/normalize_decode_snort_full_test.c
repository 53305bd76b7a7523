/* Stands for normalize/decode_snort_full.c: alert_full and cmg, records of several lines.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

static const char *const maps = "configs";

static void tcp_with_every_header(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert_full.txt");
    rig_record(&rig, "[**] [116:401:1] \"(tcp) Nmap XMAS [attack] detected\" [**]\n"
                     "[Classification: Attempted Information Leak] [Priority: 2] \n"
                     "11/21-03:02:22.764597 10.20.0.66:56245 -> 10.20.0.10:80\n"
                     "TCP TTL:37 TOS:0xC0 ID:34986 IpLen:20 DgmLen:60 DF MF\n"
                     "**U*P**F Seq: 0x39E74141  Ack: 0x0  Win: 0x400  TcpLen: 40  UrgPtr: 0x7\n"
                     "TCP Options (5) => MSS: 1460 SackOK  TS: 2748034302 0 NOP WS: 10 \n"
                     "[Xref => http://www.example.org/1][Xref => http://cve.example.org/cgi?name=2004-0790]\n");
    rig_expect(&rig, 0, "\"@timestamp\":\"2026-11-21T03:02:22.764597Z\"");
    rig_expect(&rig, 0, "\"severity\":2");
    rig_expect(&rig, 0, "\"source\":{\"address\":\"10.20.0.66\",\"ip\":\"10.20.0.66\",\"port\":56245}");
    rig_expect(&rig, 0, "\"destination\":{\"address\":\"10.20.0.10\",\"ip\":\"10.20.0.10\",\"port\":80}");
    rig_expect(&rig, 0, "\"transport\":\"tcp\"");
    rig_expect(&rig, 0, "\"community_id\":\"1:");
    rig_expect(&rig, 0, "\"bytes\":60");
    rig_expect(&rig, 0, "\"description\":\"(tcp) Nmap XMAS [attack] detected\"");
    rig_expect(&rig, 0, "\"category\":\"Attempted Information Leak\"");
    rig_expect(&rig, 0, "\"reference\":[\"http://www.example.org/1\",\"http://cve.example.org/cgi?name=2004-0790\"]");
    rig_expect(&rig, 0, "\"ip\":{\"flags\":\"DF MF\",\"id\":34986,\"length\":20,\"tos\":192,\"ttl\":37}");
    rig_expect(
        &rig, 0,
        "\"tcp\":{\"ack\":0,\"flags\":\"UPF\",\"length\":40,\"options\":\"MSS: 1460 SackOK  TS: 2748034302 0 NOP WS: "
        "10\",\"seq\":971456833,\"urgent\":7,\"window\":1024}");
    rig_expect_not(&rig, 0, "packet_text");
    rig_close(&rig);
}

/* What stands between the lines of the dump is the other packet's, not this one's. */
static void icmp_error_with_what_it_came_for(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert_full.txt");
    rig_record(&rig, "[**] [1:1000003:1] \"LOCAL ICMP destination unreachable\" [**]\n"
                     "[Classification: Misc activity] [Priority: 3] \n"
                     "11/21-02:58:51.749482 10.20.0.12 -> 10.20.0.2\n"
                     "ICMP TTL:64 TOS:0xC0 ID:48132 IpLen:20 DgmLen:113\n"
                     "Type:3  Code:3  DESTINATION UNREACHABLE: PORT UNREACHABLE\n"
                     "** ORIGINAL DATAGRAM DUMP:\n"
                     "10.20.0.2:35018 -> 10.20.0.12:53\n"
                     "UDP TTL:17 TOS:0x0 ID:798 IpLen:20 DgmLen:85\n"
                     "Len: 57  Csum: 64686\n"
                     "(57 more bytes of original packet)\n"
                     "** END OF DUMP\n");
    rig_expect(&rig, 0, "\"source\":{\"address\":\"10.20.0.12\",\"ip\":\"10.20.0.12\"}");
    rig_expect(&rig, 0, "\"transport\":\"icmp\"");
    rig_expect(&rig, 0, "\"ttl\":64");
    rig_expect_not(&rig, 0, "\"udp\"");
    rig_expect(&rig, 0, "\"code\":3,\"original\":\"10.20.0.2:35018 -> 10.20.0.12:53\\nUDP TTL:17");
    rig_expect(&rig, 0, "\"text\":\"DESTINATION UNREACHABLE: PORT UNREACHABLE\",\"type\":3");
    rig_expect(&rig, 0, "\"community_id\":\"1:"); /* type and code are known */
    rig_record(&rig, "[**] [1:1000001:1] Pinging... [**]\n[Priority: 0] \n11/21-02:58:39.101903 fd20::2 -> fd20::10\n"
                     "IPV6-ICMP TTL:64 TOS:0x0 ID:0 IpLen:40 DgmLen:104\nType:128  Code:0  ID:7   Seq:9  ECHO\n");
    rig_expect(&rig, 0, "\"icmp\":{\"code\":0,\"id\":7,\"seq\":9,\"text\":\"ECHO\",\"type\":128}");
    rig_expect(&rig, 0, "\"transport\":\"icmp\",\"type\":\"ipv6\"");
    rig_expect(&rig, 0, "\"severity\":0");
    rig_expect(&rig, 0, "\"name\":\"Pinging...\"");
    rig_close(&rig);
}

static void short_and_odd_ones(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert_full.txt");
    /* a rebuilt packet: no addresses, no class */
    rig_record(&rig, "[**] [112:1:1] \"(arp_spoof) unicast ARP request\" [**]\n11/21-02:58:44.340179 \n");
    assert_false(rig.batch->events[0].is_dead);
    rig_expect(&rig, 0, "\"@timestamp\":\"2026-11-21T02:58:44.340179Z\"");
    rig_expect(&rig, 0, "\"id\":\"1\"");
    rig_expect_not(&rig, 0, "\"source\"");
    /* what is no TCP, UDP or ICMP is `ip` in every format; its name stands beside */
    rig_record(&rig,
               "[**] [116:160:1] \"(gre) x\" [**]\n[Priority: 3] \n11/21-03:02:55.832528 10.20.0.66 -> 10.20.0.10\n"
               "GRE TTL:41 TOS:0x0 ID:43789 IpLen:20 DgmLen:20\n");
    rig_expect(&rig, 0, "\"protocol\":\"GRE\"");
    rig_expect(&rig, 0, "\"transport\":\"ip\"");
    rig_expect_not(&rig, 0, "community_id");
    /* a fragment, with the Ethernet header (snort -e) on the stamp's line, IPv6 ports, and a line nobody knows */
    rig_record(&rig, "[**] [123:8:1] \"(stream_ip) x\" [**]\n[Priority: 3] \n"
                     "26/11/21-03:02:55.832528 02:00:00:00:00:02 -> 02:00:00:00:00:10 type:0x86DD len:0x62\n"
                     "fd20::2:47678 -> fd20::10:80\nUDP TTL:41 TOS:0x0 ID:43789 IpLen:40 DgmLen:120 MF\n"
                     "Frag Offset: 0x00B9   Frag Size: 0x0014\nLen: 53\nORIGINAL DATAGRAM TRUNCATED\n");
    rig_expect(&rig, 0, "\"fragment\":{\"offset\":185,\"size\":20}");
    rig_expect(&rig, 0, "\"mac\":\"02-00-00-00-00-02\",\"port\":47678");
    rig_expect(&rig, 0, "\"eth\":{\"length\":98}");
    rig_expect(&rig, 0, "\"udp\":{\"length\":61}");
    rig_expect(&rig, 0, "\"packet_text\":\"ORIGINAL DATAGRAM TRUNCATED\"");
    rig_close(&rig);
}

static void broken_ones_are_dead(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"[**] [1:2:3] \"x\" [**]\n[Priority: 3] \n", "ends before its time"},
        {"[**] [1:2] \"x\" [**]\n11/21-02:58:44.340179 \n", "does not begin"},
        {"[**] [1:2:3] \"x\n11/21-02:58:44.340179 \n", "does not begin"},
        {"[**] [1:2:3] \"x\" [**]\nhello\n11/21-02:58:44.340179 \n", "goes on with \\\"hello"},
        {"[**] [1:2:3] \"x\" [**]\n11/31-02:58:44.340179 \n", "is no time as Snort writes it"},
    };
    struct rig rig;
    rig_open(&rig, maps, "alert_full.txt");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rig_record(&rig, cases[i].text);
        assert_true(rig.batch->events[0].is_dead);
        rig_expect(&rig, 0, cases[i].why);
    }
    rig.origin = (struct core_origin){.type = CORE_ORIGIN_SNORT, .format = CORE_FORMAT_SNORT_FULL};
    rig_record(&rig, "11/21-02:58:39.101903 [**] [1:2:3] \"x\" [**] [Priority: 3] {TCP} 1.2.3.4:5 -> 1.2.3.4:6");
    rig_expect(&rig, 0, "no full alert");
    rig_close(&rig);
}

static void cmg_has_headers_and_bytes(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "stdout.txt");
    rig_record(&rig,
               "11/21-02:58:51.600824 [**] [1:1000008:1] \"LOCAL DNS query\" [**] [Classification: Potentially Bad "
               "Traffic] [Priority: 2] {UDP} 10.20.0.2:58968 -> 10.20.0.10:53\n"
               "02:00:00:00:00:02 -> 02:00:00:00:00:10 type:0x800 len:0x5F\n"
               "10.20.0.2:58968 -> 10.20.0.10:53 UDP TTL:64 TOS:0x0 ID:12383 IpLen:20 DgmLen:81\n"
               "Len: 53\n"
               "\n"
               "dns.raw[5]:\n"
               "- - - - - - - - - - - -  - - - - - - - - - - - -  - - - - - - - - -\n"
               "D9 A1 01 20 5B                                    ... [\n"
               "- - - - - - - - - - - -  - - - - - - - - - - - -  - - - - - - - - -\n");
    assert_false(rig.batch->events[0].is_dead);
    rig_expect(&rig, 0, "\"mac\":\"02-00-00-00-00-10\",\"port\":53");
    rig_expect(&rig, 0, "\"eth\":{\"length\":95}");
    rig_expect(&rig, 0, "\"eth_type\":\"0x800\"");
    rig_expect(&rig, 0, "\"ip\":{\"id\":12383,\"length\":20,\"tos\":0,\"ttl\":64}");
    rig_expect(&rig, 0, "\"udp\":{\"length\":61}");
    rig_expect(&rig, 0, "\"dump\":\"dns.raw[5]:\\n- -");
    rig_expect(&rig, 0, "D9 A1 01 20 5B");
    rig_expect(&rig, 0, "\"community_id\":\"1:");
    /* Snort may print an inspector's buffers before the headers: they are found behind the bytes, too */
    rig_record(&rig,
               "11/21-02:59:13.775555 [**] [119:31:1] \"x\" [**] [Priority: 3] {TCP} fd20::2:47900 -> fd20::10:80\n"
               "\nhttp_inspect.http_method[3]:\n- - - - \n46 4F 4F     Type:8 \n- - - -\n\n"
               "fd20::2:47900 -> fd20::10:80 TCP TTL:63 TOS:0x0 ID:0 IpLen:40 DgmLen:256\n"
               "***AP*** Seq: 0x6BF6627C  Ack: 0x99287C90  Win: 0x40  TcpLen: 32\n\nsnort.raw[1]:\n- -\n46   F\n");
    rig_expect(&rig, 0, "\"ttl\":63");
    rig_expect(&rig, 0, "\"flags\":\"AP\"");
    rig_expect(&rig, 0, "snort.raw[1]");
    rig_expect_not(&rig, 0, "\"icmp\"");
    rig_expect_not(&rig, 0, "packet_text");
    /* the line alone, without what follows: a fast alert */
    rig_record(&rig, "11/21-02:58:44.340179 [**] [112:1:1] \"(arp_spoof) x\" [**] [Priority: 3] {ARP}  -> \n\n\n");
    rig_expect(&rig, 0, "\"transport\":\"arp\"");
    rig_expect_not(&rig, 0, "\"source\"");
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp_with_every_header),     cmocka_unit_test(icmp_error_with_what_it_came_for),
        cmocka_unit_test(short_and_odd_ones),        cmocka_unit_test(broken_ones_are_dead),
        cmocka_unit_test(cmg_has_headers_and_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
