/* What Main keeps of another process's health document: all of it, in other words, as long as there is room; then fewer rows of each
 * kind, which it counts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_health_internal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_BYTES (4 * CORE_MIB)

struct rig {
    struct core_arena arena;
    char *text; /* what they say */
    char *kept; /* what we make of it */
};

static int setup(void **state) {
    struct rig *rig = calloc(1, sizeof(*rig));
    struct core_fail fail;
    assert_non_null(rig);
    assert_int_equal(core_arena_init(&rig->arena, TEXT_BYTES * CORE_JSON_TREE_PER_BYTE, &fail), CORE_OK);
    rig->text = malloc(TEXT_BYTES);
    rig->kept = malloc(TEXT_BYTES);
    assert_non_null(rig->text);
    assert_non_null(rig->kept);
    *state = rig;
    return 0;
}

static int teardown(void **state) {
    struct rig *rig = *state;
    core_arena_destroy(&rig->arena);
    free(rig->text);
    free(rig->kept);
    free(rig);
    return 0;
}

static const struct core_json_tree *tree_of(struct rig *rig, struct core_span text) {
    struct core_json_tree *tree = NULL;
    struct core_fail fail;
    if (core_json_tree_read(&rig->arena, text, &tree, &fail) != CORE_OK) {
        fail_msg("%s", fail.text);
    }
    return tree;
}

static const struct core_json_tree *document_with(struct rig *rig, size_t files, size_t path_len) {
    struct core_buf out = {.start = rig->text, .pos = rig->text, .end = rig->text + TEXT_BYTES};
    char path[512];
    memset(path, 'p', sizeof(path));
    core_buf_span(&out,
                  CORE_SPAN("{\"process\":\"run\",\"pid\":7,\"left_out\":3,\"problems\":[{\"code\":\"file_lag\"}],"
                            "\"rows\":{\"sink\":[{\"sink\":\"kafka\",\"up\":1}],\"file\":["));
    for (size_t i = 0; i < files; i++) {
        core_buf_put(&out, ",", i == 0 ? 0 : 1);
        core_buf_span(&out, CORE_SPAN("{\"n\":"));
        core_buf_u64(&out, i);
        core_buf_span(&out, CORE_SPAN(",\"path\":"));
        core_buf_string(&out, (struct core_span){.ptr = path, .len = path_len});
        core_buf_char(&out, '}');
    }
    core_buf_span(&out, CORE_SPAN("]},\"state\":\"ok\"}"));
    assert_false(out.is_full);
    return tree_of(rig, core_buf_written(&out));
}

static struct core_span kept_of(struct rig *rig, const struct core_json_tree *document, size_t room, size_t *rows_at) {
    struct core_buf out = {.start = rig->kept, .pos = rig->kept, .end = rig->kept + room};
    assert_true(serve_peer_document(document, &out, rows_at));
    assert_false(out.is_full);
    return core_buf_written(&out);
}

static size_t files_of(const struct core_json_tree *document) {
    size_t len = 0;
    const struct core_json_tree *rows = core_json_tree_get(core_json_tree_get(document, "rows"), "file");
    for (const struct core_json_tree *row = rows->first; row != NULL; row = row->next) {
        assert_int_equal(core_json_tree_integer(row, "n", -1), len); /* the first ones, in their order */
        len++;
    }
    return len;
}

static void test_a_document_with_room_stays_whole(void **state) {
    struct rig *rig = *state;
    size_t rows_at = 0;
    struct core_span kept = kept_of(rig, document_with(rig, 20, 40), TEXT_BYTES, &rows_at);
    assert_memory_equal(kept.ptr + rows_at, ",\"rows\":", 8);
    const struct core_json_tree *tree = tree_of(rig, kept);
    assert_int_equal(files_of(tree), 20);
    assert_int_equal(core_json_tree_integer(tree, "left_out", -1), 3);
    assert_int_equal(core_json_tree_integer(tree, "pid", -1), 7);
    assert_true(core_span_is(core_json_tree_text(tree, "state"), "ok"));
    assert_non_null(core_json_tree_get(tree, "problems")->first);
}

static void test_more_rows_than_are_shown_are_counted(void **state) {
    struct rig *rig = *state;
    size_t rows_at = 0;
    const struct core_json_tree *tree = tree_of(rig, kept_of(rig, document_with(rig, 1500, 10), TEXT_BYTES, &rows_at));
    assert_int_equal(files_of(tree), 1000);
    assert_int_equal(core_json_tree_integer(tree, "left_out", -1), 3 + 500);
}

static void test_without_room_there_are_fewer_rows_and_then_none(void **state) {
    struct rig *rig = *state;
    const struct core_json_tree *document = document_with(rig, 800, 500);
    size_t files_before = 801;
    for (size_t room = 400 * CORE_KIB; room >= CORE_KIB; room /= 2) {
        size_t rows_at = 0;
        const struct core_json_tree *tree = tree_of(rig, kept_of(rig, document, room, &rows_at));
        size_t files = files_of(tree);
        assert_true(files < files_before);
        bool has_sink = core_json_tree_get(core_json_tree_get(tree, "rows"), "sink")->first != NULL;
        assert_int_equal(core_json_tree_integer(tree, "left_out", -1), 3 + (800 - files) + (has_sink ? 0 : 1));
        files_before = files == 0 ? 1 : files;
    }
    struct core_buf out = {.start = rig->kept, .pos = rig->kept, .end = rig->kept + 20};
    size_t rows_at = 0;
    assert_false(serve_peer_document(document, &out, &rows_at));
    assert_ptr_equal(out.pos, out.start);
}

static void test_what_is_no_document_of_ours_does_no_harm(void **state) {
    struct rig *rig = *state;
    static const char *const texts[] = {"{}", "{\"rows\":7}", "{\"rows\":{\"file\":7}}",
                                        "{\"rows\":{\"file\":[1,2]},\"left_out\":\"x\"}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        size_t rows_at = 0;
        struct core_span kept = kept_of(rig, tree_of(rig, core_span_of(texts[i])), CORE_KIB, &rows_at);
        assert_non_null(core_json_tree_get(tree_of(rig, kept), "rows"));
    }
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        ROW(test_a_document_with_room_stays_whole),
        ROW(test_more_rows_than_are_shown_are_counted),
        ROW(test_without_room_there_are_fewer_rows_and_then_none),
        ROW(test_what_is_no_document_of_ours_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
