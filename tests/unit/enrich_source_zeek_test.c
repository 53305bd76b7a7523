/* tests/unit/enrich_source_zeek_test.c: files of Zeek's intelligence framework.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/enrich_source_rig.h"

#define HEADER "#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\tmeta.url\n"

static void test_types(void **state) {
    (void)state;
    rig_expect(&source_zeek,
               "#fields\tindicator\tindicator_type\tmeta.source\n"
               "192.0.2.7\tIntel::ADDR\ta\n"
               "192.0.2.77/24\tIntel::SUBNET\ta\n"
               "http://Evil.Example/A\tIntel::URL\ta\n"
               "BadBot 1.0\tIntel::SOFTWARE\ta\n"
               "A@evil.example\tIntel::EMAIL\ta\n"
               "Evil.Example\tIntel::DOMAIN\ta\n"
               "Bob\tIntel::USER_NAME\ta\n"
               "DC15FBC14C5669A758B46A5A8A7546B1BA851D4C\tIntel::CERT_HASH\ta\n"
               "9b29f7bcb95eb2238c1c23bacd9a0071\tIntel::PUBKEY_HASH\ta\n"
               "44d88612fea8a8f36de82e1278abb02f\tIntel::FILE_HASH\ta\n"
               "a.exe\tIntel::FILE_NAME\ta\n"
               "6734f37431670b3ab4292b8f60f29984\tIntel::JA3\ta\n"
               "x\tIntel::ONION\ta\n",
               NULL,
               "ip 192.0.2.7 provider=a\n"
               "cidr 192.0.2.0/24 provider=a\n"
               "url evil.example/A provider=a\n"
               "software BadBot 1.0 provider=a\n"
               "email a@evil.example provider=a\n"
               "domain evil.example provider=a\n"
               "user Bob provider=a\n"
               "cert_hash dc15fbc14c5669a758b46a5a8a7546b1ba851d4c provider=a\n"
               "pubkey_hash 9b:29:f7:bc:b9:5e:b2:23:8c:1c:23:ba:cd:9a:00:71 provider=a\n"
               "file_hash 44d88612fea8a8f36de82e1278abb02f provider=a\n"
               "file_name a.exe provider=a\n"
               "ja3 6734f37431670b3ab4292b8f60f29984 provider=a\n"
               "! 14 x: its type is none of those that are looked for\n");
}

static void test_columns_in_any_order(void **state) {
    (void)state;
    rig_expect(
        &source_zeek,
        "# a comment\r\n"
        "#fields\tmeta.cif_confidence\tmeta.desc\tindicator_type\tmeta.x\tindicator\tmeta.source\tmeta.url\t"
        "meta.cif_tags\tmeta.cif_description\tmeta.cif_firstseen\tmeta.cif_lastseen\tmeta.do_notice\r\n"
        "\r\n"
        "99.5\ta desc\tIntel::ADDR\tz\t192.0.2.7\tcorp\thttps://x/1\tbotnet,c2\tseen\t2026-01-01T00:00:00Z\t"
        "2026-03-01\tT\r\n"
        "-\t-\tIntel::ADDR\t-\t192.0.2.8\t-\t-\t(empty)\t-\t1767225600\t1767225600.5\tF\r\n"
        "# another\r\n"
        "101\ttab\\x09here\tIntel::ADDR\tz\t192.0.2.9\tcorp\n",
        NULL,
        "ip 192.0.2.7 provider=corp confidence=100 description=a desc; seen reference=https://x/1 tags=botnet,c2 "
        "first=1767225600 last=1772323200\n"
        "ip 192.0.2.8 first=1767225600 last=1767225600\n"
        "ip 192.0.2.9 provider=corp description=tab\there\n");
}

static void test_one_indicator_of_two_sources(void **state) {
    (void)state;
    rig_expect(&source_zeek, HEADER "192.0.2.7\tIntel::ADDR\ta\tx\t-\n192.0.2.7\tIntel::ADDR\tb\tx\t-\n", NULL,
               "ip 192.0.2.7 provider=a description=x\nip 192.0.2.7 provider=b description=x\n");
}

static void test_a_second_header(void **state) {
    (void)state;
    rig_expect(&source_zeek,
               HEADER "192.0.2.7\tIntel::ADDR\ta\tx\t-\n#fields\tindicator_type\tindicator\nIntel::ADDR\t192.0.2.8\n",
               NULL, "ip 192.0.2.7 provider=a description=x\nip 192.0.2.8\n");
}

static void test_what_is_no_indicator(void **state) {
    (void)state;
    rig_expect(&source_zeek,
               "#fields\tindicator\tindicator_type\tmeta.source\tmeta.remove\tmeta.whitelist\n"
               "192.0.2.7\tIntel::ADDR\ta\tT\tF\n"
               "192.0.2.8\tIntel::ADDR\ta\tF\tT\n"
               "192.0.2.9\n"
               "not an address\tIntel::ADDR\ta\tF\tF\n"
               "-\tIntel::ADDR\ta\tF\tF\n"
               "192.0.2.10\tIntel::ADDR\ta\tF\tF\n",
               NULL,
               "! 2 192.0.2.7: the file takes it back (meta.remove)\n"
               "! 3 192.0.2.8: the file excepts it (meta.whitelist); tapline intel allow does\n"
               "! 4 192.0.2.9: it has no type: there are fewer columns than #fields names, or other ones\n"
               "! 5 not an address: it is no IP address\n"
               "! 6 : it is empty\n"
               "ip 192.0.2.10 provider=a\n");
}

static void test_no_header(void **state) {
    (void)state;
    rig_expect_bad(&source_zeek, "192.0.2.7\tIntel::ADDR\ta\n", NULL, "no #fields line");
    rig_expect_bad(&source_zeek, "#fields indicator indicator_type\n", NULL, "tabs between");
    rig_expect_bad(&source_zeek, "#fields\tindicator\tmeta.source\n", NULL, "indicator_type");
}

static void test_what_the_feed_says_of_those_that_do_not(void **state) {
    (void)state;
    struct enrich_feed_conf feed = {.tlp = (char[]){"tlp:white"}, .confidence = (char[]){"7.5"}, .subdomains = true};
    rig_expect(&source_zeek,
               "#fields\tindicator\tindicator_type\tmeta.source\tmeta.cif_confidence\n"
               "evil.example\tIntel::DOMAIN\ta\t10\n"
               "192.0.2.7\tIntel::ADDR\ta\t-\n",
               &feed,
               "domain evil.example provider=a confidence=10 tlp=CLEAR subdomains=yes\n"
               "ip 192.0.2.7 provider=a confidence=75 tlp=CLEAR\n");
}

static void test_expiry_of_the_feed(void **state) {
    (void)state;
    struct source_rig *rig = calloc(1, sizeof(*rig));
    struct core_fail fail = {0};
    int64_t day = INT64_C(86400);
    struct enrich_feed_conf feed = {.expire_after_ns = 8 * day * CORE_NS_PER_S};
    assert_non_null(rig);
    int64_t now = core_now_ns() / CORE_NS_PER_S;
    assert_int_equal(rig_read(rig, &source_zeek, HEADER "192.0.2.7\tIntel::ADDR\ta\tx\t-\n", &feed, &fail), CORE_OK);
    const char *expires = strstr(rig->said, "expires=");
    assert_non_null(expires);
    int64_t at = strtoll(expires + strlen("expires="), NULL, 10);
    assert_true(at >= now + 8 * day && at <= now + 9 * day + 2);
    assert_int_equal(at % day, 0); /* in steps, so that reading it again soon changes nothing */
    free(rig);
}

static void test_texts_are_cut_and_made_utf8(void **state) {
    (void)state;
    struct source_rig *rig = calloc(1, sizeof(*rig));
    struct core_fail fail = {0};
    char text[4096];
    char desc[1200];
    assert_non_null(rig);
    memset(desc, 'x', sizeof(desc));
    memcpy(desc + 1023, "\xc3\xbc", 2); /* across the edge */
    int len = snprintf(text, sizeof(text),
                       HEADER "192.0.2.7\tIntel::ADDR\tGr\xfc\xdf"
                              "e\t%.*s\t-\n",
                       (int)sizeof(desc), desc);
    assert_true(len > 0 && (size_t)len < sizeof(text));
    assert_int_equal(rig_read(rig, &source_zeek, text, NULL, &fail), CORE_OK);
    assert_non_null(strstr(rig->said, "provider=Gr\\xfc\\xdfe description="));
    assert_int_equal(strlen(strstr(rig->said, "description=")), strlen("description=") + 1023 + 1);
    free(rig);
}

static void test_stop(void **state) {
    (void)state;
    struct source_rig *rig = calloc(1, sizeof(*rig));
    struct core_fail fail = {0};
    assert_non_null(rig);
    rig->stop_after = 1;
    assert_int_equal(rig_read(rig, &source_zeek,
                              HEADER "192.0.2.7\tIntel::ADDR\ta\tx\t-\n192.0.2.8\tIntel::ADDR\ta\tx\t-\n", NULL, &fail),
                     CORE_AGAIN);
    assert_int_equal(rig->items, 1);
    free(rig);
}

static void test_looks(void **state) {
    (void)state;
    assert_int_equal(source_zeek.looks(core_span_of("# c\n" HEADER)), 100);
    assert_int_equal(source_zeek.looks(core_span_of("#fields\tts\tuid\n")), 0);
    assert_int_equal(source_zeek.looks(core_span_of("192.0.2.7\n" HEADER)), 0);
    assert_int_equal(source_zeek.looks(core_span_of("")), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_columns_in_any_order),
        cmocka_unit_test(test_one_indicator_of_two_sources),
        cmocka_unit_test(test_a_second_header),
        cmocka_unit_test(test_what_is_no_indicator),
        cmocka_unit_test(test_no_header),
        cmocka_unit_test(test_what_the_feed_says_of_those_that_do_not),
        cmocka_unit_test(test_expiry_of_the_feed),
        cmocka_unit_test(test_texts_are_cut_and_made_utf8),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
