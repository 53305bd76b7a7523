/* tests/unit/core_conf_test.c: tapline.yml as a tree (core/conf.c): places, refusals, anchors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/conf.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char conf_path[] = "/tmp/core_conf_test.XXXXXX";

static void conf_write(const char *bytes, size_t len) {
    FILE *out = fopen(conf_path, "we");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
}

static struct core_conf_file *conf_good(const char *text) {
    struct core_conf_file *file = NULL;
    struct core_fail fail = {0};
    conf_write(text, strlen(text));
    if (core_conf_open(&file, conf_path, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
    return file;
}

/* The text must be refused at line:column with these words. */
static void conf_bad_bytes(const char *bytes, size_t len, const char *place, const char *words) {
    struct core_conf_file *file = NULL;
    struct core_fail fail = {0};
    char where[300];
    conf_write(bytes, len);
    assert_int_equal(core_conf_open(&file, conf_path, &fail), CORE_BAD);
    assert_null(file);
    (void)snprintf(where, sizeof(where), "%s%s", conf_path, place);
    assert_string_equal(fail.where, where);
    if (strstr(fail.text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", fail.text, words);
    }
}

static void conf_bad(const char *text, const char *place, const char *words) {
    conf_bad_bytes(text, strlen(text), place, words);
}

static void conf_at(const struct core_conf_file *file, const struct core_conf_node *node, const char *place) {
    char where[300];
    char want[300];
    core_conf_where(file, node, where, sizeof(where));
    (void)snprintf(want, sizeof(want), "%s%s", conf_path, place);
    assert_string_equal(where, want);
}

static void test_places(void **state) {
    (void)state;
    struct core_conf_file *file = conf_good("node:\n  name: x\n\ninputs:\n  - type: zeek\n    paths: [a, b]\n  -\n");
    const struct core_conf_node *root = core_conf_root(file);
    assert_string_equal(core_conf_path(file), conf_path);
    conf_at(file, root, ":1:1");
    conf_at(file, core_conf_get(core_conf_get(root, "node"), "name"), ":2:9");
    const struct core_conf_node *inputs = core_conf_get(root, "inputs");
    assert_true(core_conf_is_sequence(inputs));
    assert_int_equal(core_conf_len(inputs), 2);
    conf_at(file, core_conf_item(inputs, 0), ":5:5");
    assert_true(core_conf_is_map(core_conf_item(inputs, 0)));
    conf_at(file, core_conf_get(core_conf_item(inputs, 0), "paths"), ":6:12");
    assert_true(core_conf_is_null(core_conf_item(inputs, 1)));
    const struct core_conf_node *value = NULL;
    assert_string_equal(core_conf_member(root, 1, &value), "inputs");
    assert_ptr_equal(value, inputs);
    assert_null(core_conf_get(root, "outputs"));
    assert_null(core_conf_get(inputs, "x"));
    conf_at(file, NULL, "");
    core_conf_close(file);
}

static void test_bom_crlf_json(void **state) {
    (void)state;
    struct core_conf_file *file = conf_good("\xef\xbb\xbf{\"a\": {\"b\": [1, 2]}}\r\n");
    assert_int_equal(core_conf_len(core_conf_get(core_conf_get(core_conf_root(file), "a"), "b")), 2);
    core_conf_close(file);
}

static void test_empty(void **state) {
    (void)state;
    static const char *const texts[] = {"", "\n\n", "# nothing\n", "---\n", "~\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct core_conf_file *file = conf_good(texts[i]);
        assert_true(core_conf_is_map(core_conf_root(file)));
        assert_int_equal(core_conf_len(core_conf_root(file)), 0);
        core_conf_close(file);
    }
}

static void test_refused(void **state) {
    (void)state;
    conf_bad("a: 1\nb: 2\na: 3\n", ":3:1", "\"a\" is there twice, first in line 1");
    conf_bad("x:\n  a: 1\n  \"a\": 3\n", ":3:3", "twice");
    conf_bad("a: 1\n---\nb: 1\n", ":2:1", "second document");
    conf_bad("a: 1\n%YAML 1.2\n", ":2:1", "YAML directive");
    conf_bad("%%%#\n", ":1:1", "YAML directive");
    conf_bad("a: 1\nb: M\xfcller\n", ":2:5", "no UTF-8");
    conf_bad("a: 1\n\tb: 2\n", ":1:4", "a tab is used to indent");
    conf_bad("a: @/run/x\n", ":1:4", "put the value in quotes");
    conf_bad("a: b: c\n", ":1:5", "nested");
    conf_bad("node:\n  name: a\n state: b\n", ":3:2", "indentation");
    conf_bad("a: !!str 5\n", ":1:10", "tags");
    conf_bad("- a\n", ":1:1", "key: value");
    conf_bad("text\n", ":1:1", "key: value");
    conf_bad("? [a, b]\n: c\n", ":1:3", "must be a word");
    conf_bad(": c\n", ":1:1", "key is missing");
    conf_bad("a: \"x\\0y\"\n", ":1:4", "NUL");
    conf_bad("a: \"x\xffy\"\n", ":1:6", "no UTF-8");
    conf_bad_bytes("a: b\0c\nd: e\n", 12, ":1:5", "NUL");
}

static void test_anchors(void **state) {
    (void)state;
    struct core_conf_file *file =
        conf_good("base: &b {x: 1, y: 2}\none: *b\ntwo:\n  y: 3\n  <<: *b\n  z: 4\nthree:\n  <<: *b\n  x: 5\n");
    const struct core_conf_node *root = core_conf_root(file);
    assert_ptr_equal(core_conf_get(root, "one"), core_conf_get(root, "base"));
    const struct core_conf_node *two = core_conf_get(root, "two");
    assert_int_equal(core_conf_len(two), 3);
    conf_at(file, core_conf_get(two, "y"), ":4:6");
    conf_at(file, core_conf_get(two, "x"), ":1:14");
    conf_at(file, core_conf_get(core_conf_get(root, "three"), "x"), ":9:6");
    core_conf_close(file);
    conf_bad("a: *nobody\n", ":1:5", "no anchor stands above for the alias *nobody");
    conf_bad("a: &x {b: *x}\n", ":1:12", "cannot contain itself");
    conf_bad("a:\n  <<: 5\n", ":2:3", "\"<<\"");
    conf_bad("a:\n  <<: {b: 1}\n", ":2:3", "takes an alias");
}

/* Aliases are shared, not copied: what would be 10^9 nodes in some readers is 20 here. */
static void test_laughs(void **state) {
    (void)state;
    char text[2048] = "a0: &a0 [x, x]\n";
    for (int i = 1; i < 30; i++) {
        char line[64];
        (void)snprintf(line, sizeof(line), "a%d: &a%d [*a%d, *a%d]\n", i, i, i - 1, i - 1);
        strcat(text, line);
    }
    struct core_conf_file *file = conf_good(text);
    assert_int_equal(core_conf_len(core_conf_root(file)), 30);
    core_conf_close(file);
}

static void test_limits(void **state) {
    (void)state;
    char deep[200] = "a: ";
    memset(deep + 3, '[', 100);
    conf_bad(deep, ":1:35", "too deeply");
    size_t len = 3 * (1 << 20);
    char *big = malloc(len);
    assert_non_null(big);
    memset(big, ' ', len);
    conf_bad_bytes(big, len, "", "longer than 1 MiB");
    size_t used = (size_t)snprintf(big, len, "a: [");
    for (int i = 0; i < 20000; i++) {
        used += (size_t)snprintf(big + used, len - used, "1,");
    }
    used += (size_t)snprintf(big + used, len - used, "]\n");
    conf_bad_bytes(big, used, "", "too large");
    free(big);
}

static void test_unreadable(void **state) {
    (void)state;
    struct core_conf_file *file = NULL;
    struct core_fail fail = {0};
    assert_int_equal(core_conf_open(&file, "/nonexistent/tapline.yml", &fail), CORE_IO);
    assert_string_equal(fail.where, "/nonexistent/tapline.yml");
    assert_non_null(strstr(fail.text, "No such file"));
    assert_int_equal(core_conf_open(&file, "/tmp", &fail), CORE_IO);
    assert_null(file);
    core_conf_close(NULL);
}

static void test_mistakes_are_bounded(void **state) {
    (void)state;
    struct core_conf_file *file = conf_good("a: 1\n");
    struct core_conf_mistakes mistakes = {0};
    for (int i = 0; i < 140; i++) {
        core_conf_mistake(file, core_conf_get(core_conf_root(file), "a"), &mistakes, "no %d", i);
    }
    assert_int_equal(mistakes.len, 128);
    assert_string_equal(mistakes.fails[127].text, "no 127");
    assert_non_null(strstr(mistakes.fails[0].where, ":1:4"));
    core_conf_close(file);
}

int main(void) {
    int fd = mkstemp(conf_path);
    if (fd < 0) {
        return 1;
    }
    (void)close(fd);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_bom_crlf_json),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_anchors),
        cmocka_unit_test(test_laughs),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_mistakes_are_bounded),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(conf_path);
    return failed;
}
