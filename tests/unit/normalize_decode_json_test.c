/* Stands for normalize/decode_json.c: names nested or not, arrays, what log it is, growth, repair.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

#include "normalize/normalize_internal.h"

static const char *const maps = "configs";

static void which_log_it_is(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "/logs/current/weird.log");
    rig_text(&rig, "{\"ts\":1.0,\"name\":\"a\"}\n"
                   "{\"_path\":\"conn\",\"ts\":1.0}\n"
                   "{\"ts\":1.0,\"_stream\":\"dns\"}\n"
                   "{\"http\":{\"ts\":1.0,\"method\":\"GET\"}}\n"
                   "{\"id\":{\"orig_h\":\"1.2.3.4\"},\"ts\":1.0}\n"
                   "{ \"timestamp\" : \"11/21-02:58:39.101903\", \"rule\" : \"1:2:3\" }\n"
                   "{\"timestamp\":\"2026-11-21T02:58:39.1+0000\",\"event_type\":\"flow\"}\n");
    static const char *const datasets[] = {"zeek.weird", "zeek.connection", "zeek.dns",    "zeek.http",
                                           "zeek.weird", "snort.log",       "suricata.eve"};
    for (uint32_t i = 0; i < 7; i++) {
        assert_false(rig.batch->events[i].is_dead);
        assert_string_equal(rig.batch->events[i].dataset, datasets[i]);
    }
    rig_expect(&rig, 4, "\"source\":{\"address\":\"1.2.3.4\",\"ip\":\"1.2.3.4\"}");
    rig_close(&rig);
}

static void names_of_endpoints_by_record(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "conn.log");
    rig_text(&rig, "{\"ts\":1.0,\"id.orig_h\":\"1.0.0.1\"}\n{\"ts\":1.0,\"id_orig_h\":\"1.0.0.2\"}\n"
                   "{\"ts\":1.0,\"id\":{\"orig_h\":\"1.0.0.3\"}}\n{\"ts\":1.0,\"src_ip\":\"1.0.0.4\"}\n"
                   "{\"ts\":1.0,\"id.orig_h\":\"1.0.0.5\",\"src_ip\":\"9.9.9.9\"}\n");
    char text[64];
    for (uint32_t i = 0; i < 5; i++) {
        snprintf(text, sizeof(text), "\"source\":{\"address\":\"1.0.0.%u\",\"ip\":\"1.0.0.%u\"}", i + 1, i + 1);
        rig_expect(&rig, i, text);
    }
    rig_expect(&rig, 4, "\"src_ip\":\"9.9.9.9\""); /* the real name was there: the other is kept */
    rig_close(&rig);
}

static void nothing_is_dropped(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "odd.log");
    rig_text(&rig,
             "{\"ts\":1.0,\"a\":{\"b\":[1,null,\"x\\u00fc\",{\"c\":[true]},[]],\"e\":{}},\"n\":1e400,\"s\":\"\\\\xfc\","
             "\"big\":12345678901234567890,\"f\":false,\"z\":null}\n"
             "{\"ts\":1.0,\"a\":1,\"a.b\":2,\"c..d\":3}\n"
             "{\"ts\":1.0,\"a\":1}\n{\"ts\":1.0,\"a.b\":2}\n");
    rig_expect(&rig, 0,
               "\"odd\":{\"a\":{\"b\":[1,null,\"x\xc3\xbc\",{\"c\":[true]},[]]},\"big\":12345678901234567890,"
               "\"f\":false,\"n\":1e400,\"s\":\"\\\\xfc\"}");
    rig_expect(&rig, 1, "\"a\":{\"b\":2,\"value\":1},\"c\":{\"_\":{\"d\":3}}"); /* a leaf that is an object too */
    rig_expect(&rig, 2, "\"odd\":{\"a\":1}");                                   /* not in this record */
    rig_expect(&rig, 3, "\"odd\":{\"a\":{\"b\":2}}");
    rig_close(&rig);
}

static void bytes_stay_readable(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "odd.log");
    rig_text(&rig, "{\"ts\":1.0,\"s\":\"M\xfcller\",\"u\":\"M\xc3\xbcller\"}\n");
    rig_expect(&rig, 0, "\"s\":\"M\\\\xfcller\",\"u\":\"M\xc3\xbcller\"");
    assert_true(core_utf8_is_valid(rig.batch->events[0].doc));
    rig_close(&rig);
}

static void broken_json_is_dead(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "odd.log");
    rig_text(&rig, "{\"ts\":1.0\n{\"ts\":1.0}\n{\"ts\":1.0} x\n[1]\n{}\n{\"ts\":\"soon\"}\n");
    static const bool is_dead[] = {true, false, true, true, false, true};
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(rig.batch->events[i].is_dead, is_dead[i]);
    }
    rig_expect(&rig, 0, "cut off: the value does not end");
    rig_close(&rig);
}

/* More distinct names than a plan holds: each record is still whole, and one with too many alone is refused. */
static void names_without_end(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "odd.log");
    char text[256];
    for (int i = 0; i < COLUMNS_MAX + 40; i++) {
        int len = snprintf(text, sizeof(text), "{\"ts\":1.0,\"k%d\":%d}\n", i, i);
        rig_run(&rig, text, (size_t)len);
        snprintf(text, sizeof(text), "\"odd\":{\"k%d\":%d}", i, i);
        rig_expect(&rig, 0, text);
    }
    size_t room = 64 * 1024;
    char *many = malloc(room);
    assert_non_null(many);
    size_t len = (size_t)snprintf(many, room, "{\"ts\":1.0");
    for (int i = 0; i < COLUMNS_MAX + 1; i++) {
        len += (size_t)snprintf(many + len, room - len, ",\"m%d\":1", i);
    }
    len += (size_t)snprintf(many + len, room - len, "}\n{\"ts\":1.0,\"k1\":1}\n");
    rig_run(&rig, many, len);
    free(many);
    assert_true(rig.batch->events[0].is_dead);
    rig_expect(&rig, 0, "more than 2048 fields");
    rig_expect(&rig, 1, "\"odd\":{\"k1\":1}");
    rig_close(&rig);
}

static void snort_msg_is_not_escaped(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert_json.txt");
    rig_text(&rig, "{ \"seconds\" : 1795229988, \"msg\" : \"agent \"BadBot\", known bad\", \"sid\" : 1 }\n"
                   "{ \"seconds\" : 1795229988, \"msg\" : \"tab\there, C:\\new\", \"sid\" : 2 }\n"
                   "{ \"seconds\" : 1795229988, \"sid\" : 3, \"msg\" : \"last \"one\"\" }\n"
                   "{ \"seconds\" : 1795229988, \"sid\" : 4, \"msg\" : \"never ends }\n");
    rig_expect(&rig, 0, "\"description\":\"agent \\\"BadBot\\\", known bad\"");
    rig_expect(&rig, 1, "\"description\":\"tab\\there, C:\\\\new\"");
    rig_expect(&rig, 2, "\"description\":\"last \\\"one\\\"\"");
    assert_true(rig.batch->events[3].is_dead);
    rig_close(&rig);
}

/* Zeek's TSV cannot tell a list of one empty text from an empty list. */
static void a_list_of_one_empty_text_is_empty(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "known_services.log");
    rig_text(&rig, "{\"ts\":1.0,\"host\":\"192.0.2.1\",\"service\":[\"\"]}\n"
                   "{\"ts\":1.0,\"host\":\"192.0.2.1\",\"service\":[]}\n"
                   "{\"ts\":1.0,\"host\":\"192.0.2.1\",\"service\":[\"\",\"DNS\"]}\n");
    for (uint32_t i = 0; i < 2; i++) {
        rig_expect(&rig, i, "\"service\":[]");
        rig_expect_not(&rig, i, "\"application\"");
    }
    rig_expect(&rig, 2, "\"service\":[\"\",\"DNS\"]");
    rig_expect(&rig, 2, "\"application\":[\"dns\"]");
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_log_it_is),          cmocka_unit_test(names_of_endpoints_by_record),
        cmocka_unit_test(nothing_is_dropped),       cmocka_unit_test(bytes_stay_readable),
        cmocka_unit_test(broken_json_is_dead),      cmocka_unit_test(names_without_end),
        cmocka_unit_test(snort_msg_is_not_escaped), cmocka_unit_test(a_list_of_one_empty_text_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
