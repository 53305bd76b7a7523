/* Stands for normalize/maps.c, map.c and plan.c: every mistake has its place, and rows do what FORMAT.md says.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/maps_dir.h"

static int dir_make(void **state) {
    (void)state;
    return dir_make_with(
        "@timestamp\tdate\t\t\nsource.ip\tip\t\t\nsource.port\tlong\t\t\nrelated.ip\tip\tlist\t\n"
        "event.type\tkeyword\tlist\t\nevent.kind\tkeyword\t\t\nevent.duration\tlong\t\t\n"
        "network.transport\tkeyword\t\t\nzeek.a\tkeyword\t\t\nzeek.t.h\tkeyword\t\t\nzeek.t.d\tlong\t\t\n"
        "zeek.t.l\tkeyword\tarray\t\nzeek.t.words\tkeyword\teither\t\nzeek.t.state\tkeyword\t\t\nzeek.t."
        "n\tkeyword\t\t\n");
}

struct mistake {
    const char *row;
    const char *place; /* line:column */
    const char *text;
};

static void each_mistake_has_its_place(void **state) {
    (void)state;
    static const struct mistake cases[] = {
        {"a string source.iq", "2:10", "\"source.iq\" is not in schema.tsv"},
        {"a strin zeek.a", "2:3", "\"strin\" is no type"},
        {"a count source.ip", "2:3", "count cannot be written to source.ip"},
        {"a string zeek.a loewr", "2:17", "did you mean \"lower\""},
        {"a string zeek.a via nowhere", ":1", "there is no table \"nowhere\""},
        {"a string zeek.a unless b ~ c", "2:26", "= or != belongs here"},
        {"a string zeek.a split ab", "2:23", "split cuts at one character"},
        {"a string zeek.a unit ns", "2:22", "the only unit is ns, of an interval"},
        {"a string", "2:9", "the document's field belongs here"},
        {"a", "2:2", "a row is: from, type, to, how"},
        {"- derive event.kind nothing(a)", "2:21", "there is no function \"nothing\""},
        {"- derive event.kind first(a, b)", "2:", "does not take 2 arguments"},
        {"- const source.port abc", "2:21", "source.port is a number"},
        {"* keep zeek.t", "2:8", "a keep row is"},
        {"log zeek.other", "2:5", "this file is the map \"zeek.t\""},
        {"include nothing", "2:9", "the map \"nothing\" cannot be read"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];
        struct normalize_maps *maps = NULL;
        struct core_conf_mistakes mistakes = {0};
        snprintf(text, sizeof(text), "# a map\n%s\n", cases[i].row);
        put("maps/zeek.t.map", text);
        assert_int_not_equal(normalize_maps_open(&maps, &(struct normalize_conf){.maps = dir}, NULL, &mistakes),
                             CORE_OK);
        assert_null(maps);
        bool is_found = false;
        for (size_t m = 0; m < mistakes.len; m++) {
            is_found = is_found || (strstr(mistakes.fails[m].text, cases[i].text) != NULL &&
                                    strstr(mistakes.fails[m].where, cases[i].place) != NULL);
        }
        if (!is_found) {
            fail_msg("%s: %s: %s", cases[i].row, mistakes.fails[0].where, mistakes.fails[0].text);
        }
    }
}

/* A file that the size of files allows, whose lines do not fit into memory as rows: a mistake of its writer's, not a bug. */
static void too_many_rows_are_refused(void **state) {
    (void)state;
    const size_t lines = 3 * CORE_MIB;
    char *text = malloc(lines + 1);
    struct normalize_maps *maps = NULL;
    struct core_conf_mistakes mistakes = {0};
    assert_non_null(text);
    memset(text, '\n', lines);
    text[lines] = '\0';
    put("maps/zeek.t.map", "log zeek.t\n");
    put("maps/zeek.c.map", text);
    put("logs.table", text);
    assert_int_equal(normalize_maps_open(&maps, &(struct normalize_conf){.maps = dir}, NULL, &mistakes), CORE_BAD);
    assert_null(maps);
    assert_string_equal(mistakes.fails[0].where, dir);
    assert_non_null(strstr(mistakes.fails[0].text, "too large"));
    free(text);
    put("logs.table", logs_table);
    put("maps/zeek.c.map", "log zeek.c\n");
    assert_int_equal(normalize_maps_open(&maps, &(struct normalize_conf){.maps = dir}, NULL, &mistakes), CORE_OK);
    normalize_maps_close(maps);
}

/* An editor that truncates and writes, and a SIGHUP between: records would lose all their fields. */
static void an_empty_map_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"", "# zeek.t\n", "* keep zeek.%.*\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct normalize_maps *maps = NULL;
        struct core_conf_mistakes mistakes = {0};
        put("maps/zeek.t.map", texts[i]);
        assert_int_equal(normalize_maps_open(&maps, &(struct normalize_conf){.maps = dir}, NULL, &mistakes), CORE_BAD);
        assert_null(maps);
        assert_int_equal(mistakes.len, 1);
        assert_non_null(strstr(mistakes.fails[0].where, "zeek.t.map:1:1"));
        assert_non_null(strstr(mistakes.fails[0].text, "no row `log zeek.t`"));
    }
}

static void rows_do_what_they_say(void **state) {
    (void)state;
    struct rig rig;
    put("maps/zeek.c.map",
        "log zeek.c\nts time @timestamp\np port source.port unless proto = icmp\n- const event.kind event\n"
        "- const event.type info\n");
    put("maps/zeek.t.map", "log zeek.t\ninclude zeek.c\nalias addr,src h\n"
                           "h addr source.ip also related.ip also zeek.t.h\n"
                           "h2 addr related.ip\n"
                           "d interval event.duration unit ns also zeek.t.d\n"
                           "w string zeek.t.words split ;\n"
                           "s string zeek.t.state also event.type via kinds\n"
                           "n string zeek.t.n unset none\n"
                           "proto enum network.transport lower\n"
                           "- const event.kind alert\n"
                           "* keep zeek.t.*\n"
                           "table kinds\n  A start,end\n  * other\n");
    rig_open(&rig, dir, "t.log");
    rig_text(&rig,
             "{\"ts\":1.5,\"h\":\"1.2.3.4\",\"h2\":\"1.2.3.4\",\"p\":80,\"proto\":\"TCP\",\"d\":0.25,\"w\":\"a;b\","
             "\"s\":\"A\","
             "\"n\":\"none\"}\n"
             "{\"ts\":1.5,\"src\":\"no address\",\"p\":8,\"proto\":\"icmp\",\"w\":\"a\",\"s\":\"Z\",\"n\":\"x\"}\n");
    rig_expect(&rig, 0, "\"kind\":\"alert\"");
    rig_expect(&rig, 0, "\"type\":[\"start\",\"end\",\"info\"]");
    rig_expect(&rig, 0, "\"related\":{\"ip\":[\"1.2.3.4\"]}");
    rig_expect(&rig, 0, "\"duration\":250000000");
    rig_expect(&rig, 0, "\"transport\":\"tcp\"");
    rig_expect(&rig, 0, "\"t\":{\"d\":250000000,\"h\":\"1.2.3.4\",\"state\":\"A\",\"words\":[\"a\",\"b\"]}");
    rig_expect(&rig, 0, "\"port\":80");
    rig_expect(&rig, 1, "\"type\":[\"other\",\"info\"]");
    rig_expect_not(&rig, 1, "\"source\"");
    rig_expect(&rig, 1, "\"t\":{\"h\":\"no address\",\"n\":\"x\",\"p\":8,\"state\":\"Z\",\"words\":\"a\"}");
    rig_close(&rig);
}

/* A list collects each value once, an array is what the sensor has. */
static void arrays_stay_as_they_are(void **state) {
    (void)state;
    struct rig rig;
    put("maps/zeek.t.map", "log zeek.t\nts time @timestamp\nl vector[string] zeek.t.l also event.type\n"
                           "- const event.kind event\n");
    rig_open(&rig, dir, "t.log");
    rig_text(&rig, "{\"ts\":1.5,\"l\":[\"b\",\"a\",\"b\"]}\n{\"ts\":1.5,\"l\":[]}\n");
    rig_expect(&rig, 0, "\"l\":[\"b\",\"a\",\"b\"]");
    rig_expect(&rig, 0, "\"type\":[\"b\",\"a\"]");
    rig_expect(&rig, 1, "\"l\":[]");
    rig_expect_not(&rig, 1, "\"type\"");
    rig_close(&rig);
}

static void input_fields_win(void **state) {
    (void)state;
    struct rig rig;
    put("maps/zeek.t.map", "log zeek.t\nts time @timestamp\n- const event.kind event\n* keep zeek.t.*\n");
    rig_open(&rig, dir, "t.log");
    rig.origin.fields_json = "{\"event\":{\"kind\":\"mine\"},\"zeek\":{\"t\":{\"a\":7}},\"tags\":[\"x\",\"y\"]}";
    rig.origin.keep_original = true;
    rig_text(&rig, "{\"ts\":1.5,\"a\":\"theirs\"}\n");
    rig_expect(&rig, 0, "\"kind\":\"mine\"");
    rig_expect(&rig, 0, "\"a\":7");
    rig_expect(&rig, 0, "\"tags\":[\"x\",\"y\"]");
    rig_expect(&rig, 0, "\"original\":\"{\\\"ts\\\":1.5,\\\"a\\\":\\\"theirs\\\"}\"");
    rig_close(&rig);
}

static void shipped_maps_are_good(void **state) {
    (void)state;
    struct normalize_maps *maps = NULL;
    struct core_conf_mistakes mistakes = {0};
    if (normalize_maps_check(&maps, &(struct normalize_conf){.maps = (char[]){"configs"}}, &mistakes) != CORE_OK) {
        fail_msg("%s: %s", mistakes.fails[0].where, mistakes.fails[0].text);
    }
    normalize_maps_close(maps);
}

/* What tapline writes itself is read by rows of its own, if there are any; else as a log of Zeek's. */
static void our_own_logs_have_rows_of_their_own(void **state) {
    (void)state;
    static const char *const rows[] = {"", "tapline retro* zeek.t tapline.match\ntapline * zeek.t tapline.%\n"};
    static const char *const datasets[] = {"zeek.retro", "tapline.match"};
    put("maps/zeek.t.map", "log zeek.t\nts time @timestamp\na string zeek.a\n");
    for (size_t i = 0; i < 2; i++) {
        struct rig rig;
        char table[512];
        snprintf(table, sizeof(table), "%s%s", logs_table, rows[i]);
        put("logs.table", table);
        rig_open(&rig, dir, "/var/lib/retro.log");
        rig.origin.type = CORE_ORIGIN_TAPLINE;
        rig_text(&rig, "{\"ts\":1795229910.5,\"timestamp\":\"x\",\"event_type\":\"alert\",\"a\":\"b\"}\n");
        assert_false(rig.batch->events[0].is_dead);
        assert_string_equal(rig.batch->events[0].dataset, datasets[i]);
        rig_close(&rig);
    }
    struct normalize_maps *maps = NULL;
    struct core_conf_mistakes mistakes = {0};
    put("logs.table", "zeek * zeek.t zeek.%\nsnort * zeek.t snort.log\nsuricata * zeek.t suricata.eve\n"
                      "tapline retro zeek.t tapline.match\n");
    assert_int_equal(normalize_maps_open(&maps, &(struct normalize_conf){.maps = dir}, NULL, &mistakes), CORE_BAD);
    assert_non_null(strstr(mistakes.fails[0].text, "no row \"tapline  *\""));
    put("logs.table", logs_table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_own_logs_have_rows_of_their_own),
        cmocka_unit_test(each_mistake_has_its_place),
        cmocka_unit_test(rows_do_what_they_say),
        cmocka_unit_test(arrays_stay_as_they_are),
        cmocka_unit_test(input_fields_win),
        cmocka_unit_test(shipped_maps_are_good),
        cmocka_unit_test(too_many_rows_are_refused),
        cmocka_unit_test(an_empty_map_is_refused),
    };
    return cmocka_run_group_tests(tests, dir_make, dir_remove);
}
