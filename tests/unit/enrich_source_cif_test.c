/* Answers of the Collective Intelligence Framework, of each version and in each form they come in.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/enrich_source_rig.h"

static char version_key[] = "version";

static struct core_conf_item version_of(char *number) {
    return (struct core_conf_item){.key = version_key, .value = number};
}

#define ROW3                                                                                                           \
    "{\"indicator\":\"192.0.2.7\",\"itype\":\"ipv4\",\"provider\":\"csirtg.io\",\"confidence\":8,\"tlp\":\"amber\","   \
    "\"tags\":[\"botnet\",\"c2\"],\"group\":\"everyone\",\"description\":\"seen\",\"rdata\":\"evil.example\","         \
    "\"firsttime\":\"2026-11-01T00:00:00.000000Z\",\"lasttime\":\"2026-11-02T00:00:00Z\","                             \
    "\"reporttime\":\"2026-11-03T00:00:00Z\"}"
#define SAID3                                                                                                          \
    "ip 192.0.2.7 provider=csirtg.io confidence=80 tlp=AMBER description=seen; rdata evil.example tags=botnet,c2 "     \
    "first=1793491200 last=1793577600\n"

static void test_a_row(void **state) {
    (void)state;
    rig_expect(&source_cif, "{\"message\":\"success\",\"data\":[" ROW3 "]}", NULL, SAID3);
    rig_expect(&source_cif, "[" ROW3 "]", NULL, SAID3);
    rig_expect(&source_cif, "{\"data\":{\"hits\":{\"hits\":[{\"_source\":" ROW3 "}]}}}", NULL, SAID3);
    rig_expect(&source_cif, "{\"data\":[]}", NULL, "");
    rig_expect(&source_cif, "{\"data\":\"{}\"}", NULL, "");
    rig_expect(&source_cif, "[]", NULL, "");
}

static void test_data_as_text(void **state) {
    (void)state;
    rig_expect(&source_cif, "{\"data\":\"[{\\\"indicator\\\":\\\"192.0.2.7\\\",\\\"itype\\\":\\\"ipv4\\\"}]\"}", NULL,
               "ip 192.0.2.7\n");
    /* printf '[{"indicator":"192.0.2.7","itype":"ipv4"}]' | gzip -n | base64 -w0 */
    rig_expect(&source_cif,
               "{\"data\":\"H4sIAAAAAAAAA4uuVsrMS8lMTizJL1KyUjK0NNIz0DPSM1fSUcosqSxIBYplFpSZKNXGAgDzYPYeKgAAAA==\"}",
               NULL, "ip 192.0.2.7\n");
    rig_expect_bad(&source_cif, "{\"data\":\"H4sIAAAAAAAAA4uuVsrMS8lMTizJL1KyUjK0NNIz0jNX0lHKLKksSAUK\"}", NULL, "");
    rig_expect_bad(&source_cif, "{\"data\":\"what?\"}", NULL, "neither JSON nor base64");
}

static void test_types(void **state) {
    (void)state;
    rig_expect(
        &source_cif,
        "[{\"indicator\":\"203.0.113.0/24\",\"itype\":\"ipv4\"},{\"indicator\":\"2001:db8::7\",\"itype\":\"ipv6\"},"
        "{\"indicator\":\"EVIL.example\",\"itype\":\"fqdn\"},{\"observable\":\"x.example\",\"otype\":\"fqdn\"},"
        "{\"indicator\":\"http://evil.example/a\",\"itype\":\"url\"},"
        "{\"indicator\":\"64512\",\"itype\":\"asn\"},{\"indicator\":\"192.0.2.300\",\"itype\":\"ipv4\"}]",
        NULL,
        "cidr 203.0.113.0/24\nip 2001:db8::7\ndomain evil.example\ndomain x.example\nurl evil.example/a\n"
        "! 6 64512: its itype is none that a log of the network can show\n"
        "! 7 192.0.2.300: it is no IP address\n");
}

static void test_what_is_none(void **state) {
    (void)state;
    rig_expect(&source_cif,
               "[{\"indicator\":\"192.0.2.1\",\"itype\":\"ipv4\",\"tags\":[\"whitelist\"]},"
               "{\"indicator\":\"192.0.2.2\",\"itype\":\"ipv4\",\"tags\":[\"x\",\"search\"]},"
               "{\"indicator\":\"192.0.2.3\",\"itype\":\"ipv4\",\"tags\":\"x,pdns\"},"
               "{\"indicator\":\"192.0.2.4\",\"itype\":\"ipv4\",\"tags\":\"whitelisted\"}]",
               NULL,
               "! 1 192.0.2.1: its tags say that it is none: whitelist, search, pdns or sighting\n"
               "! 2 192.0.2.2: its tags say that it is none: whitelist, search, pdns or sighting\n"
               "! 3 192.0.2.3: its tags say that it is none: whitelist, search, pdns or sighting\n"
               "ip 192.0.2.4 tags=whitelisted\n");
}

static void test_scales(void **state) {
    (void)state;
    struct core_conf_item five = version_of((char[]){"5"}), v4 = version_of((char[]){"v4"});
    struct core_conf_item hundred[] = {version_of((char[]){"3"}), {.key = (char[]){"scale"}, .value = (char[]){"100"}}};
    const char *rows = "[{\"indicator\":\"192.0.2.1\",\"itype\":\"ipv4\",\"confidence\":3},"
                       "{\"indicator\":\"192.0.2.2\",\"itype\":\"ipv4\",\"confidence\":\"3.0\"},"
                       "{\"indicator\":\"192.0.2.3\",\"itype\":\"ipv4\",\"confidence\":85}]";
    rig_expect(&source_cif, rows, NULL,
               "ip 192.0.2.1 confidence=30\nip 192.0.2.2 confidence=30\nip 192.0.2.3 confidence=85\n");
    rig_expect(&source_cif, rows, &(struct enrich_feed_conf){.options = {&v4, 1}},
               "ip 192.0.2.1 confidence=30\nip 192.0.2.2 confidence=30\nip 192.0.2.3 confidence=85\n");
    rig_expect(&source_cif, rows, &(struct enrich_feed_conf){.options = {&five, 1}},
               "ip 192.0.2.1 confidence=75\nip 192.0.2.2 confidence=75\nip 192.0.2.3 confidence=85\n");
    rig_expect(&source_cif, rows, &(struct enrich_feed_conf){.options = {hundred, 2}},
               "ip 192.0.2.1 confidence=3\nip 192.0.2.2 confidence=3\nip 192.0.2.3 confidence=85\n");
}

static void test_times_of_version_5_and_a_group(void **state) {
    (void)state;
    rig_expect(
        &source_cif,
        "[{\"indicator\":\"192.0.2.1\",\"itype\":\"ipv4\",\"group\":[\"partners\"],\"first_at\":1793491200,"
        "\"last_at\":\"2026-11-02 00:00:00\",\"uuid\":\"u-1\",\"tlp\":\"white\",\"reference\":\"https://r.example\"}]",
        NULL,
        "ip 192.0.2.1 tlp=CLEAR reference=https://r.example tags=group:partners first=1793491200 last=1793577600 "
        "id=u-1\n");
}

static void test_no_answer_of_cif(void **state) {
    (void)state;
    struct core_conf_item two = version_of((char[]){"2"});
    rig_expect_bad(&source_cif, "", NULL, "empty");
    rig_expect_bad(&source_cif, "[{\"indicator\":", NULL, "no JSON");
    rig_expect_bad(&source_cif, "{\"answer\":42}", NULL, "no list");
    rig_expect_bad(&source_cif, "{\"status\":\"failed\",\"message\":\"go away\"}", NULL, "go away");
    rig_expect_bad(&source_cif, "<html>log in</html>", NULL, "web page");
    rig_expect_bad(&source_cif, "[]", &(struct enrich_feed_conf){.name = (char[]){"c"}, .options = {&two, 1}},
                   "no version");
}

static void test_how_it_looks(void **state) {
    (void)state;
    assert_true(source_cif.looks(core_span_of("[" ROW3 "]")) > 0);
    assert_int_equal(source_cif.looks(core_span_of("{\"Event\":{\"itype\":1}}")), 0);
    assert_int_equal(source_cif.looks(core_span_of("itype,reporttime\n")), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_row),
        cmocka_unit_test(test_data_as_text),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_scales),
        cmocka_unit_test(test_times_of_version_5_and_a_group),
        cmocka_unit_test(test_no_answer_of_cif),
        cmocka_unit_test(test_how_it_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
