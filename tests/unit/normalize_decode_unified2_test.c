/* tests/unit/normalize_decode_unified2_test.c: unified2 records made by hand, byte by byte as Snort's headers have them, and
 * the files of names.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct rig rig;
static char bytes[64 * 1024];
static size_t len;
static char dir[] = "/tmp/tapline-unified2-XXXXXX";

static void b8(unsigned v) {
    bytes[len++] = (char)v;
}

static void b16(unsigned v) {
    b8(v >> 8);
    b8(v & 0xff);
}

static void b32(uint32_t v) {
    b16(v >> 16);
    b16(v & 0xffff);
}

static void raw(const char *text, size_t n) {
    memcpy(bytes + len, text, n);
    len += n;
}

/* A header whose length stands once the body is there. */
static size_t open_record(uint32_t type) {
    b32(type);
    b32(0);
    return len;
}

static void close_record(size_t at) {
    const size_t end = len;
    len = at - 4;
    b32((uint32_t)(end - at));
    len = end;
}

/* The part that all events begin with; type 114 has gid before sid. */
static void event_head(bool is_event3, uint32_t gid, uint32_t sid, uint32_t class_id, uint32_t priority) {
    const uint32_t words[] = {3, 77,       1795229919, 101903, is_event3 ? gid : sid, is_event3 ? sid : gid,
                              5, class_id, priority};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        b32(words[i]);
    }
}

/* Types 7 to 105 from the addresses on. */
static void event_tail(uint32_t type, unsigned proto, unsigned blocked) {
    const bool is_ipv6 = type == 72 || type == 100 || type == 105;
    if (is_ipv6) {
        raw("\xfd\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\2\xfd\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\x10", 32);
    } else {
        raw("\x0a\x14\0\2\x0a\x14\0\x0a", 8);
    }
    b16(4000);
    b16(80);
    b8(proto);
    b8(0x20);
    b8(2);
    b8(blocked);
    if (type >= 99) {
        b32(1234);
    }
    if (type >= 104) {
        b16(42);
        b16(9);
    }
}

static void event(uint32_t type, unsigned proto, unsigned blocked) {
    const size_t at = open_record(type);
    event_head(false, 1, 1000001, 31, 3);
    event_tail(type, proto, blocked);
    close_record(at);
}

static void packet(uint32_t linktype, const char *data, size_t n, uint32_t said) {
    const size_t at = open_record(2);
    const uint32_t words[] = {3, 77, 1795229919, 1795229920, 7, linktype, said};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        b32(words[i]);
    }
    raw(data, n);
    close_record(at);
}

static void extra(uint32_t type, const char *data, size_t n) {
    const size_t at = open_record(110);
    const uint32_t words[] = {4, 32 + (uint32_t)n, 3, 77, 1795229919, type, 1, 8 + (uint32_t)n};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        b32(words[i]);
    }
    raw(data, n);
    close_record(at);
}

/* What was put together, as one record. Returns the document. */
static const char *run(void) {
    static char doc[256 * 1024];
    if (rig.batch != NULL) {
        core_pool_give(&rig.pool, rig.batch);
    }
    rig.batch = core_pool_take(&rig.pool);
    assert_non_null(rig.batch);
    struct core_batch *batch = rig.batch;
    memcpy(batch->segment, bytes, len);
    batch->segment_len = len;
    batch->stream = &rig.stream;
    batch->lines[0] = (struct core_line){.text = {batch->segment, len}, .end = len, .flags = CORE_LINE_UNIFIED2};
    batch->lines_len = 1;
    normalize_batch(rig.worker, batch);
    assert_int_equal(batch->events_len, 1);
    assert_true(batch->events[0].doc.len < sizeof(doc));
    memcpy(doc, batch->events[0].doc.ptr, batch->events[0].doc.len);
    doc[batch->events[0].doc.len] = '\0';
    len = 0;
    return doc;
}

static bool is_dead(void) {
    return rig.batch->events[0].is_dead;
}

static void says(const char *doc, const char *text) {
    if (strstr(doc, text) == NULL) {
        fail_msg("\"%s\" is not in: %s", text, doc);
    }
}

static void says_not(const char *doc, const char *text) {
    if (strstr(doc, text) != NULL) {
        fail_msg("\"%s\" is in: %s", text, doc);
    }
}

/* Another stream, as when a new file begins: names are looked at then. */
static void next_stream(void) {
    struct core_batch *batch = rig.batch != NULL ? rig.batch : core_pool_take(&rig.pool);
    batch->stream = &rig.stream;
    batch->lines_len = 0;
    batch->is_last = true;
    normalize_batch(rig.worker, batch);
    core_pool_give(&rig.pool, batch);
    rig.batch = NULL;
}

static int setup(void **state) {
    (void)state;
    core_log_level(CORE_LEVEL_ERROR);
    rig_open(&rig, "configs", "/var/log/snort/unified2.log");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int teardown(void **state) {
    (void)state;
    rig_close(&rig);
    (void)rmdir(dir);
    return 0;
}

/* ---- tests --------------------------------------------------------------------------------------------------------------- */

static void every_type_of_event(void **state) {
    (void)state;
    static const uint32_t types[] = {7, 72, 99, 100, 104, 105};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        const bool is_ipv6 = types[i] == 72 || types[i] == 100 || types[i] == 105;
        event(types[i], 6, 1);
        const char *doc = run();
        assert_false(is_dead());
        says(doc, "\"@timestamp\":\"2026-11-21T02:58:39.101903Z\"");
        says(doc, is_ipv6 ? "\"ip\":\"fd20::2\",\"port\":4000" : "\"ip\":\"10.20.0.2\",\"port\":4000");
        says(doc, is_ipv6 ? "\"ip\":\"fd20::10\",\"port\":80" : "\"ip\":\"10.20.0.10\",\"port\":80");
        says(doc, "\"transport\":\"tcp\"");
        says(doc, "\"rule\":{\"id\":\"1000001\",\"version\":\"5\"}");
        says(doc, "\"severity\":3");
        says(doc, "\"action\":\"drop\"");
        says(doc, "\"classification_id\":31");
        says(doc, "\"event_id\":77");
        says(doc, "\"sensor_id\":3");
        says(doc, "\"gid\":1");
        says(doc, "\"impact\":2,\"impact_flag\":32");
        says(doc, "\"community_id\":\"1:");
        (types[i] >= 99 ? says : says_not)(doc, "\"mpls\":1234");
        (types[i] >= 104 ? says : says_not)(doc, "\"vlan\":{\"id\":\"42\"}");
        (types[i] >= 104 ? says : says_not)(doc, "\"policy\":{\"detection\":9}");
    }
}

static void the_event_of_snort_3(void **state) {
    (void)state;
    static const struct {
        unsigned status, action;
        const char *says;
    } actions[] = {{0, 1, "\"action\":\"allow\""},
                   {0, 6, "\"action\":\"block\""},
                   {2, 5, "\"action\":\"would_drop\""},
                   {1, 7, "\"action\":\"cant_reset\""}};
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        const size_t at = open_record(114);
        event_head(true, 3, 1000002, 0, 2);
        b32(11);
        b32(12);
        b32(13);
        raw("\x0a\x14\0\2\0\0\0\0\0\0\0\0\0\0\0\0\xfd\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\x10", 32);
        b32(0);
        b16(8);
        b16(0);
        b16(0);
        b16(0);
        b8(0x46);
        b8(1);
        b8(actions[i].status);
        b8(actions[i].action);
        raw("ping\0junk", 9);
        while (len < at + 160) {
            b8(0);
        }
        raw("\0\0\0\x10\0\0\0\0", 8);
        close_record(at);
        const char *doc = run();
        says(doc, actions[i].says);
        says(doc, "\"ip\":\"10.20.0.2\"");
        says(doc, "\"ip\":\"fd20::10\"");
        says(doc, "\"icmp\":{\"code\":0,\"type\":8}");
        says(doc, "\"gid\":3");
        says(doc, "\"rule\":{\"id\":\"1000002\"");
        says(doc, "\"policy\":{\"context\":11,\"detection\":13,\"inspection\":12}");
        says(doc, "\"appid\":\"ping\"");
        says(doc, "\"event_tail\":\"AAAAEA==\"");
        says_not(doc, "classification_id");
    }
}

/* ARP: no addresses, no protocol; the packet knows. */
static void an_event_without_ip(void **state) {
    (void)state;
    const size_t at = open_record(104);
    event_head(false, 112, 1, 0, 3);
    raw("\0\0\0\0\0\0\0\0\0\0\0\0\xff\0\0\0\0\0\0\0\0\0\0\0", 24);
    close_record(at);
    packet(1, "\2\0\0\0\0\2\2\0\0\0\0\x10\x08\x06\0\1", 16, 42);
    const char *doc = run();
    says(doc, "\"transport\":\"arp\"");
    says(doc, "\"source\":{\"mac\":\"02-00-00-00-00-10\"}");
    says(doc, "\"eth\":{\"length\":42}");
    says_not(doc, "\"ip\":\"0.0.0.0\"");
}

static const char tcp_packet[] = "\2\0\0\0\0\x10\2\0\0\0\0\2\x81\0\0\7\x08\0"                       /* 18 */
                                 "\x45\x10\0\x2c\x12\x34\x40\0\x40\6\0\0\x0a\x14\0\2\x0a\x14\0\x0a" /* 20 */
                                 "\x0f\xa0\0\x50\0\0\0\1\0\0\0\2\x60\x12\1\0\0\0\0\0\2\4\5\xb4";    /* 24 */

static void what_a_packet_says(void **state) {
    (void)state;
    event(104, 6, 0);
    packet(1, tcp_packet, sizeof(tcp_packet) - 1, 62);
    packet(1, tcp_packet, 14, 1500);
    const char *doc = run();
    says(doc, "\"mac\":\"02-00-00-00-00-02\"");
    says(doc, "\"eth_type\":\"0x8100\"");
    says(doc, "\"ip\":{\"id\":4660,\"tos\":16,\"ttl\":64}");
    says(doc, "\"tcp\":{\"ack\":2,\"flags\":\"AS\",\"length\":24,\"seq\":1,\"window\":256}");
    says(doc, "\"bytes\":44");
    says(doc, "\"length\":[62,1500]");
    says(doc, "\"time\":[\"2026-11-21T02:58:40.000007Z\",\"2026-11-21T02:58:40.000007Z\"]");
    says(doc, "\"vlan\":{\"id\":\"42\"}"); /* the event's own */
    /* IPv6 with a hop-by-hop header, on a bare link; ICMP's type and code come from it. */
    event(105, 58, 0);
    static const char ip6[] = "\x60\0\0\0\0\x10\0\x40\xfd\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\2"
                              "\xfd\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\x3a\0\1\4\0\0\0\0\x80\0\0\0\0\7\0\x09";
    packet(101, ip6, sizeof(ip6) - 1, 56);
    doc = run();
    says(doc, "\"icmp\":{\"code\":0,\"id\":7,\"seq\":9,\"type\":128}");
    says(doc, "\"transport\":\"icmp\"");
    says_not(doc, "\"mac\"");
}

/* Cut anywhere, a packet gives what can be read and nothing else. */
static void a_packet_cut_anywhere(void **state) {
    (void)state;
    for (size_t n = 0; n < sizeof(tcp_packet) - 1; n++) {
        event(104, 6, 0);
        packet(1, tcp_packet, n, 62);
        const char *doc = run();
        assert_false(is_dead());
        (n >= 38 ? says : says_not)(doc, "\"ttl\":64");
        (n >= 58 ? says : says_not)(doc, "\"window\":256");
        (n >= 14 ? says : says_not)(doc, "\"mac\"");
    }
}

/* Snort 3's legacy events on packets it rebuilt: half an address, and a packet whose headers are made up. */
static void a_rebuilt_ipv6_packet(void **state) {
    (void)state;
    const size_t at = open_record(104);
    event_head(false, 119, 31, 0, 3);
    raw("\0\0\0\2\0\0\0\x10\x0f\xa0\0\x50\6\0\0\0\0\0\0\0\0\0\0\1", 24);
    close_record(at);
    packet(1,
           "\xff\2\1\x0a\x0b\x0c\xff\2\1\x0a\x0b\x0c\x86\xdd\x60\0\0\0\0\x22\6\x40\xfd\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\2"
           "\xfd\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\x0f\xa0\0\x50",
           58, 88);
    const char *doc = run();
    says(doc, "\"ip\":\"fd20::2\"");
    says(doc, "\"ip\":\"fd20::10\"");
    says(doc, "\"type\":\"ipv6\"");
    says_not(doc, "\"mac\"");
    says_not(doc, "\"ttl\"");
}

static void extra_data_joins_its_event(void **state) {
    (void)state;
    event(104, 6, 0);
    extra(1, "\xc0\0\2\1", 4);
    extra(2, "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
    extra(9, "/login", 6);
    extra(10, "www.example.com", 15);
    extra(6, "a@b.example", 11);
    extra(4, "\x1f\xff!", 3);
    extra(99, "later", 5);
    extra(1, "\1\2", 2); /* no address */
    const char *doc = run();
    assert_false(is_dead());
    says(doc, "\"client_ip\":[\"192.0.2.1\",\"2001:db8::1\"]");
    says(doc, "\"forwarded_ip\":\"192.0.2.1\"");
    says(doc, "\"http\":{\"host\":[\"www.example.com\"],\"uri\":[\"/login\"]}");
    says(doc, "\"smtp\":{\"mail_from\":[\"a@b.example\"]}");
    says(doc, "\"other\":{\"data\":[\"bGF0ZXI=\",\"AQI=\"],\"type\":[99,1]}");
    says(doc, "\"hosts\":[\"www.example.com\"]");
    /* Alone it is no alert, but what it says stays. */
    extra(10, "www.example.com", 15);
    doc = run();
    says(doc, "\"kind\":\"event\"");
    says(doc, "\"event_id\":77");
    says(doc, "\"@timestamp\":\"2026-11-21T02:58:39.000000Z\"");
    packet(1, tcp_packet, sizeof(tcp_packet) - 1, 62);
    doc = run();
    says(doc, "\"kind\":\"event\"");
    says(doc, "\"ip\":\"10.20.0.2\",\"mac\":\"02-00-00-00-00-02\",\"port\":4000");
    says(doc, "\"@timestamp\":\"2026-11-21T02:58:40.000007Z\"");
}

static void what_is_refused(void **state) {
    (void)state;
    raw("\0\0\0h\0\0", 6);
    says(run(), "cut off: 2 bytes of a unified2 record's header are missing, 6 are there");
    assert_true(is_dead());
    event(104, 6, 0);
    len -= 8;
    says(run(), "cut off: 8 bytes of a unified2 record (type 104, 68 bytes) are missing");
    raw("\0\0\0\x71\0\0\0\4abcd", 12);
    says(run(), "type 113, which counts applications");
    raw("\0\0\0\x72\0\0\0\4abcd", 12); /* an event of four bytes */
    says(run(), "12 bytes that are no unified2 record (type 114, length 4)");
    raw("garbage", 7);
    says(run(), "cut off");
    raw("\xff\xff\xff\xff\xff\xff\xff\xff...", 11);
    says(run(), "11 bytes that are no unified2 record");
    event(104, 6, 0);
    raw("xyz", 3); /* ingest never frames this, but nothing may be read behind the end */
    says(run(), "cut off");
    assert_true(is_dead());
}

static void the_original_is_base64(void **state) {
    (void)state;
    rig.origin.keep_original = true;
    event(7, 6, 0);
    says(run(), "\"original\":\"AAAABwAAADQAAAADAAAATWsBCN8AAY4P");
    rig.origin.keep_original = false;
}

/* ---- names ------------------------------------------------------------------------------------------------------------------ */

static void write_file(const char *name, const char *text, char path[128]) {
    snprintf(path, 128, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static const char *rule_event(uint32_t gid, uint32_t sid, uint32_t class_id, uint32_t priority) {
    const size_t at = open_record(104);
    event_head(false, gid, sid, class_id, priority);
    event_tail(104, 6, 0);
    close_record(at);
    return run();
}

static void names_of_rules_and_classes(void **state) {
    (void)state;
    char sid[128];
    char gen[128];
    char class[128];
    write_file("sid-msg.map",
               "# comment\n\n648 || GPL \"NOOP\" x86 || arachnids,181 || url,a.example/?a=1\r\n"
               "broken line\n648x || no number\n9 || old\n9 || new\n12 || no reference\n",
               sid);
    write_file("gen-msg.map", "# c\n116 || 5 || (ipv4) header || more\n", gen);
    write_file("classification.config",
               "# c\nconfig classification: not-suspicious,Not, really,3\n"
               "config classification:unknown,Unknown Traffic,4\n",
               class);
    rig.origin = (struct core_origin){.sid_msg_map = sid, .gen_msg_map = gen, .classification_config = class};
    next_stream();
    const char *doc = rule_event(1, 648, 1, 2);
    says(doc, "\"description\":\"GPL \\\"NOOP\\\" x86\"");
    says(doc, "\"reference\":[\"arachnids,181\",\"url,a.example/?a=1\"]");
    says(doc, "\"category\":\"Not, really\"");
    says(doc, "\"severity\":2");
    says(rule_event(3, 12, 2, 0), "\"description\":\"no reference\""); /* gid 3 stands among those of gid 1 */
    says(rule_event(1, 9, 2, 0), "\"description\":\"new\"");
    says(rule_event(1, 9, 2, 0), "\"severity\":4"); /* the class's own */
    says(rule_event(116, 5, 0, 3), "\"description\":\"(ipv4) header || more\"");
    says_not(rule_event(116, 648, 3, 3), "\"description\"");
    says_not(rule_event(1, 648, 3, 3), "\"category\":\""); /* a class beyond the last */
    /* v2, in the same place: read again with the next file. */
    write_file("sid-msg.map", "#v2\n1 || 648 || 7 || unknown || 2 || second version || cve,2003-0352\n", sid);
    says(rule_event(1, 648, 0, 3), "GPL");
    next_stream();
    doc = rule_event(1, 648, 0, 3);
    says(doc, "\"description\":\"second version\"");
    says(doc, "\"reference\":[\"cve,2003-0352\"]");
    says(doc, "\"category\":\"Unknown Traffic\"");
    says_not(rule_event(1, 9, 0, 3), "\"description\"");
    /* Gone: what was read stays; another that is not there costs its names only. */
    unlink(sid);
    next_stream();
    says(rule_event(1, 648, 0, 3), "second version");
    rig.origin.gen_msg_map = "/nowhere/gen-msg.map";
    next_stream();
    doc = rule_event(1, 648, 2, 3);
    assert_false(is_dead());
    says(doc, "\"category\":\"Unknown Traffic\"");
    unlink(gen);
    unlink(class);
    rig.origin = (struct core_origin){0};
    next_stream();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_of_event),        cmocka_unit_test(the_event_of_snort_3),
        cmocka_unit_test(an_event_without_ip),        cmocka_unit_test(what_a_packet_says),
        cmocka_unit_test(a_packet_cut_anywhere),      cmocka_unit_test(a_rebuilt_ipv6_packet),
        cmocka_unit_test(extra_data_joins_its_event), cmocka_unit_test(what_is_refused),
        cmocka_unit_test(the_original_is_base64),     cmocka_unit_test(names_of_rules_and_classes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
