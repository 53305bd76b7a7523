/* tests/unit/cmd_tap_match_test.c: what --match of `tapline tap` says (cmd/tap_match.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/tap.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char document[] = "{\"source\":{\"ip\":\"10.0.0.1\",\"port\":53,\"geo\":{\"name\":null}},\"related\":{"
                               "\"ip\":[\"10.0.0.1\",\"10.0.0.2\"]},"
                               "\"flag\":true,\"a.b\":{\"c.d\":\"x\"},\"rows\":[{\"name\":\"n1\"},{\"name\":\"n2\"}],"
                               "\"uri\":\"/a\\u0020b\\\"c\",\"f\":1.50}";

static bool fits(const char *text) {
    struct core_arena arena;
    struct core_fail fail = {0};
    struct tap_match match;
    struct core_json_tree *tree = NULL;
    assert_int_equal(core_arena_init(&arena, CORE_MIB, &fail), CORE_OK);
    assert_int_equal(core_json_tree_read(&arena, CORE_SPAN(document), &tree, &fail), CORE_OK);
    assert_true(tap_match_read(&match, core_span_of(text), TAP_EVENT, &fail));
    bool is = tap_match_fits(&match, tree);
    bool may = tap_match_may_fit(&match, CORE_SPAN(document), false);
    assert_true(may || !is); /* what a quick look rules out never fits */
    tap_match_free(&match);
    core_arena_destroy(&arena);
    return is;
}

static void fields_and_values(void **state) {
    (void)state;
    assert_true(fits("source.ip=10.0.0.1"));
    assert_false(fits("source.ip=10.0.0"));
    assert_false(fits("source.ip=10.0.0.2"));
    assert_true(fits("source.port=53"));
    assert_true(fits("f=1.50"));
    assert_false(fits("f=1.5")); /* numbers as they stand */
    assert_true(fits("flag=true"));
    assert_false(fits("flag=false"));
    assert_true(fits("source.geo.name=null"));
    assert_false(fits("source=10.0.0.1"));
    assert_false(fits("source.ip.x=10.0.0.1"));
    assert_false(fits("ip=10.0.0.1"));
    assert_false(fits("nothing=10.0.0.1"));
}

static void lists_and_dots(void **state) {
    (void)state;
    assert_true(fits("related.ip=10.0.0.2"));
    assert_false(fits("related.ip=10.0.0.3"));
    assert_true(fits("a.b.c.d=x"));
    assert_false(fits("a.b.c=x"));
    assert_true(fits("rows.name=n2"));
    assert_false(fits("rows.name=n3"));
}

static void values_that_json_writes_otherwise(void **state) {
    (void)state;
    assert_true(fits("uri=/a b\"c"));
    assert_false(fits("uri=/a b"));
    assert_false(fits("uri="));
}

static void what_is_refused(void **state) {
    (void)state;
    struct core_fail fail = {0};
    struct tap_match match;
    assert_false(tap_match_read(&match, CORE_SPAN("word"), TAP_EVENT, &fail));
    assert_non_null(strstr(fail.text, "no field=value"));
    assert_false(tap_match_read(&match, CORE_SPAN("=x"), TAP_SENT, &fail));
    assert_false(tap_match_read(&match, CORE_SPAN(""), TAP_RAW, &fail));
}

static void raw_lines_hold_any_text(void **state) {
    (void)state;
    struct core_fail fail = {0};
    struct tap_match match;
    assert_true(tap_match_read(&match, CORE_SPAN("a=b c"), TAP_RAW, &fail));
    assert_true(tap_match_may_fit(&match, CORE_SPAN("xa=b cy"), true));
    assert_false(tap_match_may_fit(&match, CORE_SPAN("a=b"), true));
    tap_match_free(&match);
    /* Of a binary record nothing can be told before it is decoded. */
    assert_true(tap_match_read(&match, CORE_SPAN("src_addr=10.0.0.1"), TAP_RECORD, &fail));
    assert_true(tap_match_may_fit(&match, CORE_SPAN("\x0a\x00\x00\x01"), true));
    assert_false(tap_match_may_fit(&match, CORE_SPAN("\x0a\x00\x00\x01"), false));
    tap_match_free(&match);
}

static void stages_by_name(void **state) {
    (void)state;
    enum tap_stage stage = TAP_STAGE__MAX;
    for (int i = 0; i < TAP_STAGE__MAX; i++) {
        assert_true(tap_stage_of(core_span_of(tap_stages[i]), &stage));
        assert_int_equal(stage, i);
    }
    assert_false(tap_stage_of(CORE_SPAN("events"), &stage));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_and_values),
        cmocka_unit_test(lists_and_dots),
        cmocka_unit_test(values_that_json_writes_otherwise),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(raw_lines_hold_any_text),
        cmocka_unit_test(stages_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
