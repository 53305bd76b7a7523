/* Stands for normalize/derive_eve.c, through the shipped maps: what becomes of each form that Suricata's records have had.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

#define HEAD                                                                                                           \
    "{\"timestamp\":\"2026-11-21T05:38:55.549713+0200\",\"src_ip\":\"192.0.2.1\",\"src_port\":5353,\"dest_ip\":"       \
    "\"192.0.2.53\",\"dest_port\":53,\"proto\":\"UDP\",\"event_type\":"

/* A record's own part; what its document has, then what it has not; both end with NULL. */
static const struct {
    const char *record;
    const char *has[8];
    const char *has_not[4];
} cases[] = {
    /* dns, version 1: each answer is an event */
    {"\"dns\",\"dns\":{\"type\":\"answer\",\"id\":7,\"rcode\":\"NOERROR\",\"rrname\":\"a.example.org\",\"rrtype\":"
     "\"A\",\"ttl\":60,"
     "\"rdata\":\"198.51.100.7\"}}",
     {"\"answers\":[{\"name\":\"a.example.org\",\"type\":\"A\",\"ttl\":60,\"data\":\"198.51.100.7\"}]",
      "\"resolved_ip\":[\"198.51.100.7\"]", "\"id\":\"7\"", "\"outcome\":\"success\"", "\"type\":\"answer\"",
      "\"related\":{\"hosts\":[\"a.example.org\"],\"ip\":[\"192.0.2.1\",\"192.0.2.53\",\"198.51.100.7\"]}",
      "\"@timestamp\":\"2026-11-21T03:38:55.549713Z\""},
     {NULL}},
    {"\"dns\",\"dns\":{\"type\":\"query\",\"id\":7,\"rrname\":\"a.example.org\",\"rrtype\":\"A\",\"tx_id\":0}}",
     {"\"question\":{\"name\":\"a.example.org\",\"registered_domain\":\"example.org\",\"subdomain\":\"a\",\"top_level_"
      "domain\":"
      "\"org\",\"type\":\"A\"}"},
     {"\"answers\"", "\"outcome\"", "\"resolved_ip\""}},
    /* version 2 */
    {"\"dns\",\"dns\":{\"version\":2,\"type\":\"answer\",\"id\":8,\"flags\":\"8180\",\"qr\":true,\"rd\":true,\"ra\":"
     "true,\"aa\":false,"
     "\"rcode\":\"NXDOMAIN\",\"rrname\":\"b.example.org\",\"rrtype\":\"MX\",\"answers\":[{\"rrname\":\"b\\\"\\\\.org\","
     "\"rrtype\":\"SOA\","
     "\"ttl\":5,\"soa\":{\"mname\":\"x,{]\\\"\",\"serial\":1}},{\"rrname\":\"c\",\"rrtype\":\"AAAA\",\"ttl\":6,"
     "\"rdata\":\"2001:db8::1\"}]}}",
     {"\"answers\":[{\"name\":\"b\\\"\\\\.org\",\"type\":\"SOA\",\"ttl\":5},{\"name\":\"c\",\"type\":\"AAAA\",\"ttl\":"
      "6,\"data\":"
      "\"2001:db8::1\"}]",
      "\"header_flags\":[\"RD\",\"RA\"]", "\"resolved_ip\":[\"2001:db8::1\"]", "\"outcome\":\"failure\"",
      "\"response_code\":\"NXDOMAIN\"", "{\"mname\":\"x,{]\\\"\",\"serial\":1}"},
     {NULL}},
    /* version 3: questions are a list */
    {"\"dns\",\"dns\":{\"version\":3,\"type\":\"request\",\"id\":9,\"queries\":[{\"rrname\":\"C.example.co.uk\","
     "\"rrtype\":\"A\"}]}}",
     {"\"question\":{\"name\":\"C.example.co.uk\",\"registered_domain\":\"example.co.uk\",\"subdomain\":\"c\",\"top_"
      "level_domain\":"
      "\"co.uk\",\"type\":\"A\"}",
      "\"type\":\"query\"", "\"hosts\":[\"C.example.co.uk\"]"},
     {NULL}},
    {"\"dns\",\"dns\":{\"version\":3,\"type\":\"response\",\"rcode\":\"NOERROR\",\"queries\":[{\"rrname\":"
     "\"a\\\\b\\u0001.example\","
     "\"rrtype\":\"TXT\"}]}}",
     {"\"name\":\"a\\\\b\\u0001.example\"", "\"dns\":{", "\"type\":\"answer\""},
     {NULL}},
    /* an alert's dns */
    {"\"alert\",\"alert\":{\"action\":\"blocked\",\"signature_id\":1},\"dns\":{\"query\":[{\"type\":\"query\",\"id\":1,"
     "\"rrname\":"
     "\"evil.example\",\"rrtype\":\"A\"}]}}",
     {"\"name\":\"evil.example\"", "\"type\":\"query\"", "\"kind\":\"alert\"", "\"type\":[\"info\",\"denied\"]",
      "\"category\":[\"network\",\"intrusion_detection\"]"},
     {"\"outcome\""}},
    {"\"tls\",\"tls\":{\"version\":\"TLS "
     "1.3\",\"fingerprint\":\"9e:e9:0a\",\"serial\":\"0A:1b\",\"ja3\":{\"hash\":\"j\"},\"sni\":\"s.example\"}}",
     {"\"sha1\":\"9EE90A\"", "\"serial_number\":\"0A1B\"", "\"version\":\"1.3\"", "\"version_protocol\":\"tls\"",
      "\"related\":{\"hash\":[\"j\",\"9EE90A\",\"9ee90a\"],\"hosts\":[\"s.example\"]", "\"protocol\":\"tls\""},
     {NULL}},
    /* addresses written in full are the same hosts as every other sensor's */
    {"\"dns\",\"dns\":{\"version\":2,\"type\":\"answer\",\"rcode\":\"NOERROR\",\"rrname\":\"a.example.org\","
     "\"answers\":"
     "[{\"rrname\":\"a.example.org\",\"rrtype\":\"AAAA\",\"ttl\":6,"
     "\"rdata\":\"2001:0db8:0000:0000:0000:0000:0000:0001\"},"
     "{\"rrname\":\"a.example.org\",\"rrtype\":\"TXT\",\"ttl\":6,\"rdata\":\"zzzz:0db8:0000:0000:0000:0000:0000:0001\"}"
     "]}}",
     {"\"data\":\"2001:db8::1\"", "\"data\":\"zzzz:0db8:0000:0000:0000:0000:0000:0001\"",
      "\"resolved_ip\":[\"2001:db8::1\"]", "\"ip\":[\"192.0.2.1\",\"192.0.2.53\",\"2001:db8::1\"]"},
     {NULL}},
    /* an alert of a packet to the client: its source is the server */
    {"\"alert\",\"direction\":\"to_client\",\"alert\":{\"action\":\"allowed\",\"signature_id\":1},\"flow\":{\"pkts_"
     "toserver\":1,"
     "\"pkts_toclient\":2,\"bytes_toserver\":30,\"bytes_toclient\":40,"
     "\"src_ip\":\"2001:0db8:0000:0000:0000:0000:0000:0001\"}}",
     {"\"source\":{\"address\":\"192.0.2.1\",\"bytes\":40,\"ip\":\"192.0.2.1\",\"packets\":2",
      "\"destination\":{\"address\":\"192.0.2.53\",\"bytes\":30,\"ip\":\"192.0.2.53\",\"packets\":1", "\"bytes\":70",
      "\"src_ip\":\"2001:db8::1\""},
     {"pkts_to"}},
    {"\"alert\",\"direction\":\"to_server\",\"alert\":{\"action\":\"allowed\"},\"flow\":{\"pkts_toserver\":1,\"bytes_"
     "toserver\":"
     "30}}",
     {"\"source\":{\"address\":\"192.0.2.1\",\"bytes\":30,\"ip\":\"192.0.2.1\",\"packets\":1"},
     {"pkts_to"}},
    {"\"fileinfo\",\"fileinfo\":{\"filename\":\"/a/b.exe\"}}", {"\"name\":\"b.exe\"", "\"path\":\"/a/b.exe\""}, {NULL}},
    {"\"fileinfo\",\"fileinfo\":{\"filename\":\"a\\\\c.txt\"}}", {"\"name\":\"c.txt\""}, {NULL}},
    {"\"fileinfo\",\"fileinfo\":{\"filename\":\"/\"}}", {"\"path\":\"/\""}, {"\"name\""}},
    /* Suricata quotes no comma */
    {"\"tls\",\"tls\":{\"subject\":\"CN=a+b, O=Corp, GmbH, X, C=DE,\"}}",
     {"\"common_name\":[\"a+b\"]", "\"organization\":[\"Corp, GmbH, X\"]", "\"country\":[\"DE\"]"},
     {NULL}},
    {"\"smtp\",\"smtp\":{\"mail_from\":\"<a@example.org>\",\"rcpt_to\":[\"<b@example.org>\",\"c@example.org\"]},"
     "\"email\":{\"from\":"
     "\"Ann <ann@example.org>\",\"cc\":[\"D \\\"<x>\\\" <d@example.org>\"]}}",
     {"\"sender\":{\"address\":[\"a@example.org\"]}", "\"to\":{\"address\":[\"b@example.org\",\"c@example.org\"]}",
      "\"from\":{\"address\":[\"ann@example.org\"]}", "\"cc\":{\"address\":[\"d@example.org\"]}",
      "\"from\":\"Ann <ann@example.org>\""},
     {NULL}},
    {"\"flow\",\"vlan\":[40,41],\"flow\":{\"start\":\"2026-11-21T05:00:00.000001+0200\",\"end\":\"2026-11-21T03:00:02."
     "000000+0000\","
     "\"bytes_toserver\":3,\"bytes_toclient\":4}}",
     {"\"duration\":1999999000", "\"vlan\":{\"id\":\"40\"}", "\"inner\":{\"vlan\":{\"id\":\"41\"}}", "\"bytes\":7",
      "\"start\":\"2026-11-21T03:00:00.000001Z\""},
     {NULL}},
    {"\"netflow\",\"netflow\":{\"start\":\"2026-11-21T05:00:00.000000+0200\",\"end\":\"2026-11-21T04:59:59.000000+"
     "0200\",\"pkts\":2,"
     "\"bytes\":9}}",
     {"\"bytes\":9", "\"packets\":2"},
     {"\"duration\""}}, /* the clock went back */
    {"\"smb\",\"smb\":{\"command\":\"SMB2_COMMAND_READ\",\"status\":\"STATUS_ACCESS_DENIED\",\"ntlmssp\":{\"user\":"
     "\"\",\"domain\":\"\"}}}",
     {"\"action\":\"read\"", "\"outcome\":\"failure\"", "\"protocol\":\"smb\""},
     {"\"user\":{\"", "\"related\":{\"user\""}},
    {"\"krb5\",\"krb5\":{\"cname\":\"alice\",\"realm\":\"EXAMPLE.ORG\",\"error_code\":\"KDC_ERR_X\",\"msg_type\":\"KRB_"
     "AS_REQ\"}}",
     {"\"user\":{\"domain\":\"EXAMPLE.ORG\",\"name\":\"alice\"}", "\"outcome\":\"failure\"",
      "\"action\":\"krb_as_req\""},
     {NULL}},
    {"\"modbus\",\"modbus\":{\"id\":1}}", {"\"protocol\":\"modbus\"", "\"modbus\":{\"id\":1}"}, {NULL}},
    {"\"something_new\",\"x\":{\"y\":[{\"z\":1}]}}",
     {"\"event_type\":\"something_new\"", "\"y\":[{\"z\":1}]", "\"dataset\":\"suricata.eve\""},
     {NULL}},
};

static void each_form_becomes_the_same(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, "configs", "/eve.json");
    for (size_t round = 0; round < 2; round++) { /* with plans new, and with plans there */
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            char line[2048];
            snprintf(line, sizeof(line), "%s%s\n", HEAD, cases[i].record);
            rig_text(&rig, line);
            if (rig.batch->events[0].is_dead) {
                fail_msg("%.*s", (int)rig.batch->events[0].doc.len, rig.batch->events[0].doc.ptr);
            }
            for (size_t k = 0; k < 8 && cases[i].has[k] != NULL; k++) {
                rig_expect(&rig, 0, cases[i].has[k]);
            }
            for (size_t k = 0; k < 4 && cases[i].has_not[k] != NULL; k++) {
                rig_expect_not(&rig, 0, cases[i].has_not[k]);
            }
        }
    }
    rig_close(&rig);
}

/* All of them in one batch: each gets its own type's map, wherever event_type stands. */
static void types_are_mixed(void **state) {
    (void)state;
    struct rig rig;
    char text[8192];
    size_t len = 0;
    rig_open(&rig, "configs", "/eve.json");
    for (unsigned i = 0; i < 30; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s\n", HEAD,
                                i % 3 == 0   ? "\"http\",\"http\":{\"http_method\":\"GET\"}}"
                                : i % 3 == 1 ? "\"stats\",\"stats\":{\"uptime\":1}}"
                                             : "\"ssh\",\"x\":\"\\\"event_type\\\":\\\"stats\\\"\"}");
    }
    len += (size_t)snprintf(
        text + len, sizeof(text) - len,
        "{\"timestamp\":\"2026-11-21T05:38:55.549713+0200\",\"pad\":\"%0600d\",\"event_type\":\"stats\"}\n", 0);
    rig_run(&rig, text, len);
    assert_int_equal(rig.batch->events_len, 31);
    for (uint32_t i = 0; i < 30; i++) {
        rig_expect(&rig, i,
                   i % 3 == 0   ? "\"category\":[\"network\",\"web\"]"
                   : i % 3 == 1 ? "\"kind\":\"metric\""
                                : "\"protocol\":\"ssh\"");
    }
    rig_expect(&rig, 30, "\"kind\":\"metric\"");
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_becomes_the_same),
        cmocka_unit_test(types_are_mixed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
