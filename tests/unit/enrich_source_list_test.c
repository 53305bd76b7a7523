/* tests/unit/enrich_source_list_test.c: plain lists and tables.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/enrich_source_rig.h"

static void test_guessed(void **state) {
    (void)state;
    rig_expect(&source_list,
               "# a comment\n"
               "; another\n"
               "// and another\n"
               "\n"
               "192.0.2.7\r\n"
               "192.0.2.8 # a note\n"
               "192.0.2.9\t7\n"
               "198.51.100.0/24 ; a network\n"
               "2001:db8::1\n"
               "192.0.2.10:8080\n"
               "evil[.]example:443\n"
               "*.evil.example\n"
               ".evil2.example\n"
               "hxxps://evil[.]example/a#b\n"
               "1[.]2[.]3[.]4\n"
               "a[at]evil(dot)example\n"
               "44d88612fea8a8f36de82e1278abb02f  a.exe\n"
               "0.0.0.0 ads.example # a hosts file\n"
               "127.0.0.1\tads2.example\n"
               "what is this\n",
               NULL,
               "ip 192.0.2.7\n"
               "ip 192.0.2.8\n"
               "ip 192.0.2.9 description=7\n"
               "cidr 198.51.100.0/24\n"
               "ip 2001:db8::1\n"
               "ip 192.0.2.10\n"
               "domain evil.example\n"
               "domain evil.example subdomains=yes\n"
               "domain evil2.example subdomains=yes\n"
               "url evil.example/a\n"
               "ip 1.2.3.4\n"
               "email a@evil.example\n"
               "file_hash 44d88612fea8a8f36de82e1278abb02f description=a.exe\n"
               "domain ads.example\n"
               "domain ads2.example\n"
               "! 20 what: of which type it is cannot be told from it\n");
}

static void test_of_a_type(void **state) {
    (void)state;
    struct enrich_feed_conf feed = {.format = (char[]){"software"}};
    rig_expect(&source_list, "# not one\nBadBot/1.0 (a; b) # part of it\n\n", &feed,
               "software BadBot/1.0 (a; b) # part of it\n");
    feed.format = (char[]){"ja3"};
    rig_expect(&source_list, "6734f37431670b3ab4292b8f60f29984 # x\n", &feed, "ja3 6734f37431670b3ab4292b8f60f29984\n");
    feed.format = (char[]){"domain"};
    rig_expect(&source_list, "localhost\nwho?\n192.0.2.7\n192.0.2.8:80 x\n[2001:db8::1]\n", &feed,
               "domain localhost\n! 2 who?: it is no host name\n"
               "! 3 192.0.2.7: it is an address, and the list is one of domains\n"
               "! 4 192.0.2.8: it is an address, and the list is one of domains\n"
               "! 5 [2001:db8::1]: it is an address, and the list is one of domains\n");
    feed.format = (char[]){"nonsense"};
    rig_expect_bad(&source_list, "localhost\n", &feed, "nonsense");
}

/* The head that systems and block lists give a hosts file is no list of bad addresses. */
static void test_hosts_file(void **state) {
    (void)state;
    static const char hosts[] = "127.0.0.1 localhost\n"
                                "127.0.0.1 local.example # a note\n"
                                "127.0.1.1\tdesk desk.example\n"
                                "255.255.255.255 broadcasthost\n"
                                "::1 ip6-localhost ip6-loopback\n"
                                "fe80::1%lo0 localhost\n"
                                "fe00::0 ip6-localnet\n"
                                "ff02::1 ip6-allnodes\n"
                                "0.0.0.0 0.0.0.0\n"
                                "0.0.0.0 ads.example\n"
                                ":: ads2.example other.example\n";
#define NO_HOST ": it is a hosts file's line, and names no host with a dot\n"
    static const char said[] = "! 1 127.0.0.1 localhost" NO_HOST "domain local.example\n"
                               "! 3 127.0.1.1\tdesk desk.example" NO_HOST "! 4 255.255.255.255 broadcasthost" NO_HOST
                               "! 5 ::1 ip6-localhost ip6-loopback" NO_HOST "! 6 fe80::1%lo0 localhost" NO_HOST
                               "! 7 fe00::0 ip6-localnet" NO_HOST "! 8 ff02::1 ip6-allnodes" NO_HOST
                               "! 9 0.0.0.0 0.0.0.0" NO_HOST "domain ads.example\n"
                               "domain ads2.example description=other.example\n";
    rig_expect(&source_list, hosts, NULL, said);
    struct enrich_feed_conf feed = {.format = (char[]){"domain"}};
    rig_expect(&source_list, hosts, &feed, said);
    /* alone, or with a comment, or of another network, an address is what it was */
    rig_expect(&source_list, "127.0.0.1\n0.0.0.0 # any\nff02::1\n192.0.2.7 localhost\n192.0.2.8 evil.example\n", NULL,
               "ip 127.0.0.1\nip 0.0.0.0\nip ff02::1\nip 192.0.2.7 description=localhost\n"
               "ip 192.0.2.8 description=evil.example\n");
}

static void test_ranges(void **state) {
    (void)state;
    rig_expect(&source_list,
               "1.2.3.4-1.2.3.9\n"
               "10.0.0.0 - 10.255.255.255\n"
               "1.2.3.4-1.2.3.4\n"
               "255.255.255.254-255.255.255.255\n"
               "0.0.0.0-0.0.0.1\n"
               "1.2.3.9-1.2.3.4\n"
               "0.0.0.0-255.255.255.255\n",
               NULL,
               "cidr 1.2.3.4/30\ncidr 1.2.3.8/31\n"
               "cidr 10.0.0.0/8\n"
               "ip 1.2.3.4\n"
               "cidr 255.255.255.254/31\n"
               "cidr 0.0.0.0/31\n"
               "! 6 1.2.3.9-1.2.3.4: the range ends before it begins\n"
               "! 7 0.0.0.0-255.255.255.255: it is the range of all addresses\n");
}

/* Whatever the range, the networks are it: none overlap, none is missing, none is too many. */
static void test_ranges_are_exact(void **state) {
    (void)state;
    srandom(5);
    for (int round = 0; round < 2000; round++) {
        struct source_rig *rig = calloc(1, sizeof(*rig));
        struct core_fail fail = {0};
        char text[64];
        uint32_t from = (uint32_t)random() * 2u + (uint32_t)(random() & 1);
        uint32_t to = from + (uint32_t)random() % (UINT32_MAX - from == 0 ? 1 : UINT32_MAX - from);
        assert_non_null(rig);
        snprintf(text, sizeof(text), "%u.%u.%u.%u-%u.%u.%u.%u\n", from >> 24, from >> 16 & 255, from >> 8 & 255,
                 from & 255, to >> 24, to >> 16 & 255, to >> 8 & 255, to & 255);
        rig->is_brief = true;
        assert_int_equal(rig_read(rig, &source_list, text, NULL, &fail), CORE_OK);
        uint64_t at = from;
        char *rest = NULL;
        for (char *line = strtok_r(rig->said, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
            unsigned a[4];
            unsigned bits = 32;
            assert_true(sscanf(line, "%*s %u.%u.%u.%u/%u", &a[0], &a[1], &a[2], &a[3], &bits) >= 4);
            assert_true((a[0] << 24 | a[1] << 16 | a[2] << 8 | a[3]) == at);
            at += UINT64_C(1) << (32 - bits);
        }
        assert_true(at == (uint64_t)to + 1);
        free(rig);
    }
}

static void test_looks(void **state) {
    (void)state;
    assert_true(source_list.looks(core_span_of("# c\n192.0.2.7\nevil.example\n")) > 0);
    assert_int_equal(source_list.looks(core_span_of("MIT License\n\nPermission is hereby granted\n")), 0);
    assert_int_equal(source_list.looks(core_span_of("<html>")), 0);
    assert_int_equal(source_list.looks((struct core_span){"192.0.2.7\n\0\0", 12}), 0);
    assert_int_equal(source_list.looks(core_span_of("")), 0);
}

/* ---- tables --------------------------------------------------------------------------------------------------------------- */

static void test_csv_names(void **state) {
    (void)state;
    rig_expect(&source_csv,
               "ioc_value,ioc_type,Confidence,first seen,tags,comment,reporter,tlp\n"
               "192.0.2.7:80,ip:port,75,2026-01-01 00:00:00 UTC,\"a,b\",\"says \"\"hi\"\"\",me,amber\n"
               "evil[.]example,domain,,,,,,\n"
               "1,weather,,,,,,\n"
               "\"two\nlines\",domain,,,,,,\n"
               "# a comment, \"\n"
               "a.b,domain\n"
               "\"never closed,domain\n"
               "b.c,domain\n",
               NULL,
               "ip 192.0.2.7 provider=me confidence=75 tlp=AMBER description=says \"hi\" tags=a,b first=1767225600\n"
               "domain evil.example\n"
               "! 4 1: its type is none of those that are looked for\n"
               "! 5 two\nlines: it is no host name\n"
               "domain a.b\n"
               "! 9 \"never closed,domain: a quote in it is not closed\n"
               "domain b.c\n");
}

/* As abuse.ch writes it: names in the last comment; text in quotes behind blanks. */
static void test_csv_names_in_a_comment(void **state) {
    (void)state;
    rig_expect(
        &source_csv,
        "################\n"
        "# Terms of use: be kind, please #\n"
        "# id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter\n"
        "\"1\", \"2026-01-01 00:00:00\", \"http://192.0.2.7:81/a\", \"online\", \"\", \"malware\", \"x\", "
        "\"https://u/1\", "
        "\"r\"\n",
        NULL, "url 192.0.2.7:81/a provider=r description=malware reference=https://u/1 tags=x first=1767225600 id=1\n");
}

static void test_csv_hashes_of_one_file(void **state) {
    (void)state;
    rig_expect(&source_csv,
               "first_seen,sha256_hash,md5_hash,url\n"
               "2026-01-01,552b920c4ce22dd00748b4f7b26eb25d05867d0c3489116cd1fd4c9af72cd938,"
               "44d88612fea8a8f36de82e1278abb02f,http://innocent.example/\n"
               "2026-01-01,,,http://innocent.example/\n",
               NULL,
               "file_hash 552b920c4ce22dd00748b4f7b26eb25d05867d0c3489116cd1fd4c9af72cd938 first=1767225600\n"
               "file_hash 44d88612fea8a8f36de82e1278abb02f first=1767225600\n"
               "! 3 : its row has no indicator\n");
}

static void test_csv_options(void **state) {
    (void)state;
    struct core_conf_item items[] = {{.key = (char[]){"value"}, .value = (char[]){"2"}},
                                     {.key = (char[]){"type"}, .value = (char[]){"user"}},
                                     {.key = (char[]){"separator"}, .value = (char[]){"tab"}},
                                     {.key = (char[]){"no_names"}, .value = (char[]){"true"}},
                                     {.key = (char[]){"confidence"}, .value = (char[]){"1"}},
                                     {.key = (char[]){"confidence_max"}, .value = (char[]){"5"}}};
    struct enrich_feed_conf feed = {.options = {items, sizeof(items) / sizeof(items[0])}};
    rig_expect(&source_csv, "3\tBob, the\n4\tEve\n", &feed, "user Bob, the confidence=60\nuser Eve confidence=80\n");
    feed.options.len = 2;
    items[0].value = (char[]){"who"};
    rig_expect_bad(&source_csv, "a,b\n1,2\n", &feed, "no column \"who\"");
    rig_expect(&source_csv, "a,who\n1,Bob\n", &feed, "user Bob\n");
}

static void test_csv_without_names(void **state) {
    (void)state;
    rig_expect_bad(&source_csv, "a,b\n1,2\n", NULL, "names no column");
    assert_int_equal(source_csv.looks(core_span_of("a,b\n1,2\n")), 0);
    assert_true(source_csv.looks(core_span_of("url,b\nx,2\n")) > source_list.looks(core_span_of("url,b\nx,2\n")));
    assert_true(source_csv.looks(core_span_of("# id,url\nx,2\n")) > 0);
    assert_int_equal(source_csv.looks(core_span_of("")), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guessed),
        cmocka_unit_test(test_of_a_type),
        cmocka_unit_test(test_hosts_file),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_ranges_are_exact),
        cmocka_unit_test(test_looks),
        cmocka_unit_test(test_csv_names),
        cmocka_unit_test(test_csv_names_in_a_comment),
        cmocka_unit_test(test_csv_hashes_of_one_file),
        cmocka_unit_test(test_csv_options),
        cmocka_unit_test(test_csv_without_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
