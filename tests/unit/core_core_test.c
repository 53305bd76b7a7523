/* tests/unit/core_core_test.c: failures are cut and never overrun; a broken MUST says where and aborts; hashes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_a_failure_is_cut(void **state) {
    (void)state;
    struct core_fail fail;
    char longest[2000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(core_fail_set(&fail, CORE_BAD, longest, "%s", longest), CORE_BAD);
    assert_int_equal(strlen(fail.where), sizeof fail.where - 1);
    assert_int_equal(strlen(fail.text), sizeof fail.text - 1);
    assert_int_equal(core_fail_set(NULL, CORE_NET, NULL, "nobody listens"), CORE_NET);
}

static void test_errno_in_words(void **state) {
    (void)state;
    struct core_fail fail;
    errno = ENOSPC;
    assert_int_equal(core_fail_errno(&fail, "/x", "cannot write %d bytes", 5), CORE_IO);
    assert_string_equal(fail.text, "cannot write 5 bytes: No space left on device; free some space there");
    assert_string_equal(fail.where, "/x");
    assert_int_equal(errno, ENOSPC);
    errno = EEXIST; /* its text says all there is to say */
    assert_int_equal(core_fail_errno(&fail, "/x", "no"), CORE_IO);
    assert_string_equal(fail.text, "no: File exists");
    assert_null(core_errno_help(EEXIST));
    assert_non_null(strstr(core_errno_help(EROFS), "mount it read-write again"));
}

static void test_must_aborts_and_says_where(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        MUST(1 + 1 == 3);
        _exit(0);
    }
    close(ends[1]);
    char text[600] = "";
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "core_core_test.c:"));
    assert_non_null(strstr(text, "MUST(1 + 1 == 3)"));
}

static void test_hashes(void **state) {
    (void)state;
    assert_true(core_hash64("", 0, 0) ==
                UINT64_C(0x2d06800538d394c2)); /* XXH3_64bits of nothing, by its specification */
    assert_true(core_hash64("a", 1, 0) != core_hash64("a", 1, 1));
    unsigned char digest[32];
    core_sha256("abc", 3, digest);
    assert_int_equal(digest[0], 0xba); /* FIPS 180-2, B.1 */
    assert_int_equal(digest[31], 0xad);
    struct core_sha1 *sha1 = core_sha1_new();
    for (int i = 0; i < 2; i++) { /* reused: nothing of the last one is left */
        core_sha1_of(sha1, "abc", 3, digest);
        assert_memory_equal(digest, "\xa9\x99\x3e\x36\x47\x06\x81\x6a\xba\x3e\x25\x71\x78\x50\xc2\x6c\x9c\xd0\xd8\x9d",
                            20);
    }
    core_sha1_free(sha1);
}

static void test_every_counter_is_described(void **state) {
    (void)state;
    struct core_counters counters = {0};
    for (size_t i = 0; i < CORE_COUNT__MAX; i++) {
        assert_non_null(strchr(core_counter_table[i].name, '.'));
        assert_true(strlen(core_counter_table[i].unit) > 0 && strlen(core_counter_table[i].meaning) > 10);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(core_counter_table[i].name, core_counter_table[j].name);
        }
        core_count(&counters, (enum core_counter)i, i + 1);
        assert_int_equal(core_counted(&counters, (enum core_counter)i), i + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_failure_is_cut),           cmocka_unit_test(test_errno_in_words),
        cmocka_unit_test(test_must_aborts_and_says_where), cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_every_counter_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
