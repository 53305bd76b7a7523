/* tests/unit/core_log_test.c: what reaches stderr: one line each, repeats folded, nothing hidden for good.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static char captured[CORE_MIB];

/* stderr of what runs between begin and end, as one string. */
static int saved_fd;
static FILE *taken;

static void capture_begin(void) {
    taken = tmpfile();
    assert_non_null(taken);
    saved_fd = dup(STDERR_FILENO);
    assert_true(dup2(fileno(taken), STDERR_FILENO) >= 0);
}

static void capture_end(void) {
    assert_true(dup2(saved_fd, STDERR_FILENO) >= 0);
    close(saved_fd);
    rewind(taken);
    size_t len = fread(captured, 1, sizeof captured - 1, taken);
    captured[len] = '\0';
    fclose(taken);
}

static size_t count_of(const char *part) {
    size_t count = 0;
    for (const char *at = strstr(captured, part); at != NULL; at = strstr(at + 1, part)) {
        count++;
    }
    return count;
}

static void test_a_line(void **state) {
    (void)state;
    capture_begin();
    core_log(CORE_LEVEL_WARN, "test", "a thing happened", "path=\"%s\" n=%d", "/x\ny", 3);
    capture_end();
    assert_int_equal(strlen(captured), 28 + strlen("warn test \"a thing happened\" path=\"/x?y\" n=3\n"));
    assert_string_equal(captured + 28, "warn test \"a thing happened\" path=\"/x?y\" n=3\n");
    assert_int_equal(captured[26], 'Z');
}

static void test_levels(void **state) {
    (void)state;
    capture_begin();
    core_log(CORE_LEVEL_DEBUG, "test", "unseen", "n=%d", 1);
    core_log_level(CORE_LEVEL_ERROR);
    core_log(CORE_LEVEL_WARN, "test", "unseen", "n=%d", 2);
    core_log(CORE_LEVEL_ERROR, "test", "seen", "n=%d", 3);
    core_log_level(CORE_LEVEL_INFO);
    capture_end();
    assert_int_equal(count_of("unseen"), 0);
    assert_int_equal(count_of("error test \"seen\" n=3\n"), 1);
}

static void test_the_same_words_are_folded(void **state) {
    (void)state;
    capture_begin();
    for (int i = 0; i < 1000; i++) {
        core_log(CORE_LEVEL_WARN, "test", "again", "file=%s", "a");
    }
    core_log_flush();
    core_log_flush();
    capture_end();
    assert_int_equal(count_of("\n"), 2);
    assert_int_equal(count_of("\"again\" file=a folded=999\n"), 1);
}

static void test_other_words_are_seen_a_few_times(void **state) {
    (void)state;
    capture_begin();
    for (int i = 0; i < 100; i++) {
        core_log(CORE_LEVEL_WARN, "test", "differs", "n=%d", i);
    }
    core_log(CORE_LEVEL_WARN, "test", "another heading", "n=%d", 1);
    core_log_flush();
    capture_end();
    assert_int_equal(count_of("\"differs\" n="), 6);
    assert_int_equal(count_of("\"differs\" n=4\n"), 1);
    assert_int_equal(count_of("\"differs\" n=99 folded=95\n"), 1);
    assert_int_equal(count_of("another heading"), 1);
}

/* More headings than rows: the oldest row says what it folded before it is used for another. */
static void test_no_row_is_lost(void **state) {
    (void)state;
    capture_begin();
    for (int i = 0; i < 300; i++) {
        char what[32];
        snprintf(what, sizeof what, "heading %d", i);
        core_log(CORE_LEVEL_INFO, "test", what, "x=%d", 1);
        core_log(CORE_LEVEL_INFO, "test", what, "x=%d", 1);
    }
    core_log_flush();
    capture_end();
    assert_int_equal(count_of("folded=1\n"), 300);
    assert_int_equal(count_of("\n"), 600);
}

static void test_a_failure(void **state) {
    (void)state;
    struct core_fail fail;
    capture_begin();
    assert_int_equal(core_fail_set(&fail, CORE_IO, "/a \"b\"", "no %s", "room"), CORE_IO);
    core_log_fail(CORE_LEVEL_ERROR, "test", "not written", &fail);
    capture_end();
    assert_int_equal(count_of("error test \"not written\" where=\"/a \\\"b\\\"\" reason=\"no room\"\n"), 1);
}

static void *shout(void *arg) {
    for (int i = 0; i < 2000; i++) {
        core_log(CORE_LEVEL_INFO, arg, "from many threads", "n=%d", i);
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    static char names[4][2] = {"a", "b", "c", "d"};
    pthread_t threads[4];
    capture_begin();
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, shout, names[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    core_log_flush();
    capture_end();
    assert_int_equal(count_of("\n"), 4 * 6);
    assert_int_equal(count_of(" folded=1995\n"), 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_the_same_words_are_folded),
        cmocka_unit_test(test_other_words_are_seen_a_few_times),
        cmocka_unit_test(test_no_row_is_lost),
        cmocka_unit_test(test_a_failure),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
