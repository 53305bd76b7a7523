/* Stands for normalize/decode_snort_csv.c: the default columns of Snort 2, Snort 3 and pfSense, columns that are named,
 * messages that nobody escaped.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

static const char *const maps = "configs";

static void default_columns_are_known(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert.csv");
    rig_text(
        &rig,
        "01/27/16-16:01:04.877970 ,129,12,1,\"Consecutive TCP small segments, many\",TCP,10.0.2.2,56642,10.0.2.15,22,"
        "52:54:00:12:35:02,08:00:27:7F:93:2D,0x4E,***AP***,0x9AFF3D7,0xC8761D52,,0xFFFF,64,0,59677,64,65536,,,,\n"
        "11/21-02:58:39.101903, 111, ICMP, raw, 84, C2S, 10.20.0.2:0, 10.20.0.10:0, 1:1000001:1, allow\n"
        "11/21-02:58:44.340179, 164, ARP, raw, 0, UNK, :0, :0, 112:1:1, drop\n"
        "09/03/21-12:37:16.428952 ,1,2403488,68499,\"ET CINS group 95\",TCP,89.248.168.157,36847,104.5.30.130,91,"
        "54321,Misc Attack,2,alert,Allow\n"
        "09/03/21-16:29:03.494387 ,1,477,3,\"ICMP Packet\",ICMP,104.5.30.130,,104.5.30.1,,40546,,0\n");
    for (uint32_t i = 0; i < 5; i++) {
        assert_false(rig.batch->events[i].is_dead);
        assert_string_equal(rig.batch->events[i].dataset, "snort.log");
    }
    rig_expect(&rig, 0, "\"@timestamp\":\"2016-01-27T16:01:04.877970Z\"");
    rig_expect(&rig, 0, "\"ip\":\"10.0.2.2\",\"mac\":\"52-54-00-12-35-02\",\"port\":56642");
    rig_expect(
        &rig, 0,
        "\"rule\":{\"description\":\"Consecutive TCP small segments, many\",\"id\":\"12\",\"name\":\"Consecutive TCP "
        "small segments, many\",\"version\":\"1\"}");
    rig_expect(&rig, 0,
               "\"eth\":{\"length\":78},\"gid\":129,\"ip\":{\"id\":59677,\"length\":65536,\"tos\":0,\"ttl\":64}");
    rig_expect(&rig, 0, "\"tcp\":{\"ack\":3363183954,\"flags\":\"AP\",\"seq\":162526167,\"window\":65535}");
    rig_expect(&rig, 1, "\"@timestamp\":\"2026-11-21T02:58:39.101903Z\"");
    rig_expect(&rig, 1, "\"rule\":{\"id\":\"1000001\",\"version\":\"1\"}");
    rig_expect(&rig, 1, "\"type\":[\"allowed\",\"info\"]");
    rig_expect(&rig, 1, "\"source\":{\"address\":\"10.20.0.2\",\"ip\":\"10.20.0.2\"}");
    rig_expect_not(&rig, 2, "\"source\"");
    rig_expect(&rig, 2, "\"denied\"");
    rig_expect(&rig, 3, "\"@timestamp\":\"2021-09-03T12:37:16.428952Z\"");
    rig_expect(&rig, 3, "\"category\":\"Misc Attack\"");
    rig_expect(&rig, 3, "\"severity\":2");
    rig_expect(&rig, 3, "\"action\":\"allow\"");
    rig_expect(&rig, 4, "\"severity\":0");
    rig_expect_not(&rig, 4, "\"port\"");
    rig_close(&rig);
}

/* Snort 3 escapes nothing: quotes and commas of a message are told from columns by counting from both ends. */
static void messages_hold_anything(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert_csv.txt");
    rig.origin.csv_fields = "timestamp,seconds,class,b64_data,msg,proto,src_addr,nobody_knows,action";
    rig_text(
        &rig,
        "11/21-02:59:48.259998, 1795229988, Access, \"SG9z\", \"agent \"BadBot\", known, bad\", TCP, 10.20.0.2, x, "
        "allow\n"
        "11/21-02:59:48.259998, 1795229988, none, \"\", \"DCC SEND \\ tab\there\", TCP, fd20::2, , drop\n"
        "11/21-02:59:48.259998, 1795229988, none, \"\", \"one too few\", TCP, fd20::2, drop\n"
        "11/21-02:59:48.259998, 1795229988, none\n"
        "11/21-02:59:48.259998, 1795229988, none, \"\", \"two too many\", a, b, TCP, fd20::2, , drop\n");
    rig_expect(&rig, 0, "\"name\":\"agent \\\"BadBot\\\", known, bad\"");
    rig_expect(&rig, 0, "\"category\":\"Access\"");
    rig_expect(&rig, 0, "\"b64_data\":\"SG9z\"");
    rig_expect(&rig, 0, "\"nobody_knows\":\"x\"");
    rig_expect(&rig, 1, "\"name\":\"DCC SEND \\\\ tab\\there\"");
    rig_expect(&rig, 1, "\"ip\":\"fd20::2\"");
    rig_expect_not(&rig, 1, "b64_data");
    rig_expect_not(&rig, 1, "category\":\"none");
    for (uint32_t i = 2; i < 5; i++) {
        assert_true(rig.batch->events[i].is_dead);
        rig_expect(&rig, i, "csv_fields");
    }
    rig_close(&rig);
}

/* Snort 2 writes \" for a quote. */
static void escaped_messages(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert.csv");
    rig_text(&rig,
             "09/03/21-12:37:16.428952 ,1,24,6,\"say \\\"hi\\\", C:\\\\x\",TCP,1.2.3.4,5,1.2.3.5,6,7,Misc Attack,2\n");
    assert_false(rig.batch->events[0].is_dead);
    rig_expect(&rig, 0, "\"name\":\"say \\\"hi\\\", C:\\\\x\"");
    rig_close(&rig);
}

static void a_header_names_columns(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert_csv.txt");
    rig_text(&rig, "#timestamp, gid, sid, \"msg\", src_addr\n"
                   "11/21-02:59:48.259998, 1, 7, \"x, y\", 10.20.0.2\n"
                   "#sid,src,timestamp\n"
                   "9,10.20.0.3,11/21-02:59:48.259998\n"
                   "# a comment, of people\n"
                   "10,10.20.0.4,11/21-02:59:49.259998\n");
    assert_int_equal(rig.batch->events_len, 3);
    rig_expect(&rig, 0, "\"rule\":{\"description\":\"x, y\",\"id\":\"7\",\"name\":\"x, y\"}");
    rig_expect(&rig, 1, "\"ip\":\"10.20.0.3\"");
    rig_expect(&rig, 1, "\"@timestamp\":\"2026-11-21T02:59:48.259998Z\"");
    rig_expect(&rig, 2, "\"ip\":\"10.20.0.4\"");
    rig_close(&rig);
}

static void other_separators(void **state) {
    (void)state;
    static const char *const separators[] = {"|", " | ", "\t", ";", "; ", ","};
    for (size_t i = 0; i < sizeof(separators) / sizeof(separators[0]); i++) {
        const char *s = separators[i];
        struct rig rig;
        char line[256];
        rig_open(&rig, maps, "alert_csv.txt");
        rig.origin = (struct core_origin){
            .type = CORE_ORIGIN_SNORT, .format = CORE_FORMAT_SNORT_CSV, .csv_fields = "timestamp,gid,class,msg,sid"};
        snprintf(line, sizeof(line), "11/21-02:59:48.259998%s1%s%s\"a%s \"b\", c\"%s9\n", s, s, s, s, s);
        rig_text(&rig, line);
        assert_false(rig.batch->events[0].is_dead);
        rig_expect(&rig, 0, "\\\"b\\\", c\"");
        rig_expect(&rig, 0, "\"id\":\"9\"");
        rig_expect(&rig, 0, "\"gid\":1");
        rig_close(&rig);
    }
}

/* A comment with commas names no columns; neither does one in a Zeek log. */
static void comments_are_no_headers(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert_csv.txt");
    rig_text(&rig, "#one,two,three\n"
                   "11/21-02:58:39.101903, 111, ICMP, raw, 84, C2S, 10.20.0.2:0, 10.20.0.10:0, 1:1000001:1, allow\n");
    rig_expect(&rig, 0, "\"id\":\"1000001\"");
    rig_close(&rig);
    rig_open(&rig, maps, "conn.log");
    rig_text(&rig,
             "#separator "
             "\\x09\n#path\tconn\n#fields\tts\tuid\n#types\ttime\tstring\n1.0\tCx\n#close\t2026\n#sid,gid\n1,2\n");
    assert_false(rig.batch->events[0].is_dead);
    assert_true(rig.batch->events[1].is_dead);
    rig_close(&rig);
}

static void unknown_columns_are_dead(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "alert_csv.txt");
    rig_text(&rig, "11/21-02:59:48.259998, 1, 7, x\n");
    assert_true(rig.batch->events[0].is_dead);
    rig_expect(&rig, 0, "a csv alert of 4 columns that nobody named");
    rig_close(&rig);
}

/* Of a million quotes that open a column none closes one: that is found once (it took minutes). */
static void open_quotes_take_no_time(void **state) {
    (void)state;
    static const char head[] = "11/21-02:59:48.259998 ";
    const size_t columns = 300000;
    const size_t len = strlen(head) + 4 * columns;
    const int64_t began = core_tick_ns();
    char *line = malloc(len + 2);
    struct rig rig;
    assert_non_null(line);
    memcpy(line, head, sizeof(head));
    for (size_t i = 0; i < columns; i++) {
        memcpy(line + strlen(head) + 4 * i, ",\"ab", 5);
    }
    memcpy(line + len, "\n", 2);
    rig_open(&rig, maps, "alert_csv.txt");
    rig_text(&rig, line);
    assert_true(rig.batch->events[0].is_dead);
    rig_expect(&rig, 0, "a csv alert of 300001 columns that nobody named");
    assert_true(core_tick_ns() - began < 20 * CORE_NS_PER_S);
    rig_close(&rig);
    free(line);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_columns_are_known), cmocka_unit_test(messages_hold_anything),
        cmocka_unit_test(escaped_messages),          cmocka_unit_test(a_header_names_columns),
        cmocka_unit_test(other_separators),          cmocka_unit_test(comments_are_no_headers),
        cmocka_unit_test(unknown_columns_are_dead),  cmocka_unit_test(open_quotes_take_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
