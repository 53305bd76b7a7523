/* Stands for normalize/derive_log.c: verbs, outcomes, joined texts and numbers, of scalars and of lists, in both formats.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/maps_dir.h"

static int dir_make(void **state) {
    (void)state;
    if (dir_make_with("event.action\tkeyword\t\tdone\nevent.outcome\tkeyword\t\tworked\nmessage\tkeyword\t\twords\n"
                      "zeek.t.lost\tdouble\t\tpercent\nzeek.t.edges\tkeyword\tarray\tbounds\n") != 0) {
        return -1;
    }
    put("maps/zeek.t.map", "log zeek.t\n"
                           "- derive event.action verb(action, ::)\n"
                           "- derive event.action verb(command, OFPFC_)\n"
                           "- derive event.action verb(opcode)\n"
                           "- derive event.outcome outcome(result, Connection Accepted)\n"
                           "- derive message join(vals)\n"
                           "- derive zeek.t.lost number(lost)\n"
                           "- derive zeek.t.edges bounds(edges)\n"
                           "* keep zeek.t.*\n");
    return 0;
}

static void what_json_records_say(void **state) {
    (void)state;
    static const struct {
        const char *line;
        const char *want;
    } cases[] = {
        {"{\"_path\":\"t\",\"action\":\"NetControl::DROP\"}", "\"event\":{\"action\":\"drop\""},
        {"{\"_path\":\"t\",\"action\":\"A::B::Seen_Again\"}", "\"event\":{\"action\":\"seen_again\""},
        {"{\"_path\":\"t\",\"action\":\"plain\"}", "\"event\":{\"action\":\"plain\""},
        {"{\"_path\":\"t\",\"action\":\"Odd::\"}", "\"event\":{\"action\":\"odd::\""},
        {"{\"_path\":\"t\",\"action\":\":\"}", "\"event\":{\"action\":\":\""},
        {"{\"_path\":\"t\",\"command\":\"OpenFlow::OFPFC_DELETE\"}", "\"event\":{\"action\":\"delete\""},
        {"{\"_path\":\"t\",\"opcode\":\"Bind Simple\"}", "\"event\":{\"action\":\"bind simple\""},
        {"{\"_path\":\"t\",\"opcode\":[\"Bind\",\"Unbind\"]}", "\"event\":{\"action\":\"bind\""},
        {"{\"_path\":\"t\",\"result\":\"Connection Accepted\"}", "\"outcome\":\"success\""},
        {"{\"_path\":\"t\",\"result\":\"Refused\"}", "\"outcome\":\"failure\""},
        {"{\"_path\":\"t\",\"result\":[\"Connection Accepted\"]}", "\"outcome\":\"success\""},
        {"{\"_path\":\"t\",\"vals\":[\"a \\\"b\\\"\",\"\",\"T\"]}", "\"message\":\"a \\\"b\\\", , T\""},
        {"{\"_path\":\"t\",\"vals\":[\"\",\"b\"]}", "\"message\":\", b\""},
        {"{\"_path\":\"t\",\"vals\":\"one\"}", "\"message\":\"one\""},
        {"{\"_path\":\"t\",\"lost\":\"0.250%\"}", "\"lost\":0.250}"},
        {"{\"_path\":\"t\",\"edges\":[0.5,10.0,null]}", "\"edges\":[\"0.5\",\"10.0\",\"inf\"]"},
        {"{\"_path\":\"t\",\"lost\":12.5}", "\"lost\":12.5}"},
    };
    struct rig rig;
    rig_open(&rig, dir, "t.log");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rig_text(&rig, cases[i].line);
        assert_int_equal(rig.batch->events_len, 1);
        assert_false(rig.batch->events[0].is_dead);
        rig_expect(&rig, 0, cases[i].want);
    }
    rig_close(&rig);
}

static void what_tsv_records_say(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, dir, "t.log");
    rig_text(&rig, "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tt\n"
                   "#fields\taction\topcode\tresult\tvals\tlost\tedges\n"
                   "#types\tenum\tset[string]\tstring\tvector[string]\tstring\tvector[double]\n"
                   "-\tbind,search\t-\thello,2,T\t0.000%\t0.5,inf\n"
                   "-\t(empty)\t-\t(empty)\t-\t-\n");
    assert_int_equal(rig.batch->events_len, 2);
    rig_expect(&rig, 0, "\"event\":{\"action\":\"bind\"");
    rig_expect(&rig, 0, "\"message\":\"hello, 2, T\"");
    rig_expect(&rig, 0, "\"lost\":0.000");
    rig_expect(&rig, 0, "\"edges\":[\"0.5\",\"inf\"]");
    rig_expect_not(&rig, 0, "outcome");
    rig_expect_not(&rig, 1, "action");
    rig_expect_not(&rig, 1, "message");
    rig_expect_not(&rig, 1, "lost");
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_json_records_say),
        cmocka_unit_test(what_tsv_records_say),
    };
    return cmocka_run_group_tests(tests, dir_make, dir_remove);
}
