/* tests/unit/core_json_tree_test.c: JSON as a tree.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/json_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

static struct core_arena arena;

static int setup(void **state) {
    (void)state;
    struct core_fail fail = {0};
    return core_arena_init(&arena, CORE_MIB, &fail) == CORE_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    core_arena_destroy(&arena);
    return 0;
}

static void test_a_tree(void **state) {
    (void)state;
    struct core_json_tree *tree = NULL;
    struct core_fail fail = {0};
    assert_int_equal(core_json_tree_read(
                         &arena, CORE_SPAN("{\"a\":[1.50,null,true],\"b\":{\"c\":\"x\\u00fc\\n\"},\"e\":\"\",\"a\":2}"),
                         &tree, &fail),
                     CORE_OK);
    assert_int_equal(tree->kind, CORE_JSON_OBJECT);
    const struct core_json_tree *list = core_json_tree_get(tree, "a"); /* the first of two */
    assert_int_equal(list->kind, CORE_JSON_ARRAY);
    assert_true(core_span_is(list->first->text, "1.50")); /* as it stood */
    assert_int_equal(list->first->next->kind, CORE_JSON_NULL);
    assert_true(core_span_is(list->last->text, "true"));
    assert_null(list->last->next);
    assert_true(core_span_is(core_json_tree_text(core_json_tree_get(tree, "b"), "c"), "x\xc3\xbc\n"));
    assert_int_equal(core_json_tree_text(tree, "e").len, 0);
    assert_int_equal(core_json_tree_text(tree, "a").len, 0); /* no text */
    assert_null(core_json_tree_get(tree, "nothing"));
    assert_null(core_json_tree_get(list, "a"));
    assert_null(core_json_tree_get(NULL, "a"));
    assert_int_equal(core_json_tree_text(NULL, "a").len, 0);
}

static void test_what_is_none(void **state) {
    (void)state;
    static const char *const wrong[] = {"", "{", "[1,]", "{\"a\"}", "1 2", "nul"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct core_json_tree *tree = NULL;
        struct core_fail fail = {0};
        assert_int_equal(core_json_tree_read(&arena, core_span_of(wrong[i]), &tree, &fail), CORE_BAD);
        assert_null(tree);
    }
}

/* The stated room is enough for the text that needs most of it; less than that is told. */
static void test_room(void **state) {
    (void)state;
    enum { TEXT_BYTES = 100001 };
    static const char *const patterns[] = {"1,", "\"\",", "{\"\":0},", "[],", "{},"};
    for (size_t p = 0; p < sizeof(patterns) / sizeof(patterns[0]); p++) {
        char *text = malloc(TEXT_BYTES);
        struct core_arena room = {0};
        struct core_json_tree *tree = NULL;
        struct core_fail fail = {0};
        size_t len = 1;
        assert_non_null(text);
        text[0] = '[';
        while (len + strlen(patterns[p]) <= TEXT_BYTES) {
            memcpy(text + len, patterns[p], strlen(patterns[p]));
            len += strlen(patterns[p]);
        }
        text[len - 1] = ']'; /* for the last comma */
        struct core_span json = {text, len};
        assert_int_equal(core_arena_init(&room, len * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN, &fail),
                         CORE_OK);
        assert_int_equal(core_json_tree_read(&room, json, &tree, &fail), CORE_OK);
        core_arena_destroy(&room);
        assert_int_equal(core_arena_init(&room, 4096, &fail), CORE_OK);
        assert_int_equal(core_json_tree_read(&room, json, &tree, &fail), CORE_LIMIT);
        core_arena_destroy(&room);
        free(text);
    }
}

static void test_numbers_and_truths(void **state) {
    (void)state;
    struct core_json_tree *tree = NULL;
    struct core_fail fail = {0};
    assert_int_equal(core_json_tree_read(&arena, CORE_SPAN("{\"n\":-12,\"f\":3.9,\"t\":\"7\",\"y\":true,\"no\":false}"),
                                         &tree, &fail),
                     CORE_OK);
    assert_int_equal(core_json_tree_integer(tree, "n", 1), -12);
    assert_int_equal(core_json_tree_integer(tree, "f", 1), 3);
    assert_int_equal(core_json_tree_integer(tree, "t", 1), 1); /* a text is no number */
    assert_int_equal(core_json_tree_integer(tree, "none", -1), -1);
    assert_int_equal(core_json_tree_integer(NULL, "n", 5), 5);
    assert_true(core_json_tree_is_true(tree, "y"));
    assert_false(core_json_tree_is_true(tree, "no"));
    assert_false(core_json_tree_is_true(tree, "n"));
    assert_false(core_json_tree_is_true(tree, "none"));
}

static void test_json_again(void **state) {
    static const char json[] = "{\"a\":[1,-2.5e3,\"x\\ny\",null,true,{}],\"b\":{\"c\":[]}}";
    struct core_fail fail = {0};
    struct core_json_tree *tree = NULL;
    char bytes[256];
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    (void)state;
    assert_int_equal(core_json_tree_read(&arena, CORE_SPAN(json), &tree, &fail), CORE_OK);
    core_json_put_tree(&out, tree);
    assert_true(core_span_is(core_buf_written(&out), json));
    out.pos = out.start;
    core_json_put_text(&out, "kind", CORE_SPAN("link"));
    core_json_put_key(&out, "in");
    core_buf_char(&out, '{');
    core_json_put_number(&out, "n", -3);
    core_json_put_bool(&out, "is", true);
    core_buf_char(&out, '}');
    core_json_put_bool(&out, "is", false);
    assert_true(core_span_is(core_buf_written(&out), "\"kind\":\"link\",\"in\":{\"n\":-3,\"is\":true},\"is\":false"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_tree), cmocka_unit_test(test_what_is_none),
                                       cmocka_unit_test(test_numbers_and_truths), cmocka_unit_test(test_json_again),
                                       cmocka_unit_test(test_room)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
