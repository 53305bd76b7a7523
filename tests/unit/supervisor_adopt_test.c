/* tests/unit/supervisor_adopt_test.c: real processes, found again or not.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define COOKIE "00112233445566778899aabbccddeeff"
#define VARIABLE "TAPLINE_COOKIE=" COOKIE
#define PADDING_MAX 8192
#define NOBODY 65534

/* A `sleep` with this environment; is_orphan: whose parent is not us. It ends with the test at the latest. */
static pid_t start_sleep(char *const env[], bool is_orphan) {
    int said[2];
    pid_t pid = 0;
    assert_int_equal(pipe2(said, O_CLOEXEC), 0); /* written to if exec fails; closed by it if not */
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (is_orphan) {
            const pid_t grandchild = fork();
            if (grandchild != 0) {
                (void)!write(said[1], &grandchild, sizeof(grandchild));
                _exit(0);
            }
        }
        (void)prctl(PR_SET_PDEATHSIG, is_orphan ? 0 : SIGKILL);
        (void)execle("/bin/sleep", "sleep", "60", (char *)NULL, env);
        _exit(127);
    }
    (void)close(said[1]);
    if (is_orphan) {
        assert_int_equal(read(said[0], &pid, sizeof(pid)), sizeof(pid));
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
    char byte;
    assert_int_equal(read(said[0], &byte, 1), 0); /* exec is done */
    (void)close(said[0]);
    return is_orphan ? pid : child;
}

static struct supervisor_pid saved_of(pid_t pid, const char *cookie) {
    struct supervisor_pid saved = {.pid = pid, .pidfd = -1, .ready_fd = 77, .spawned_ns = 5, .output_from = {3, 4}};
    struct supervisor_usage usage;
    assert_true(supervisor_usage_of(pid, &usage));
    saved.start_ticks = usage.start_ticks;
    (void)snprintf(saved.cookie, sizeof(saved.cookie), "%s", cookie);
    return saved;
}

static bool is_adopted(const struct supervisor_pid *saved) {
    struct supervisor_pid out = {0};
    const enum core_err err = supervisor_adopt(saved, &out, NULL);
    if (err != CORE_OK) {
        assert_int_equal(err, CORE_GONE);
        assert_int_equal(out.pid, 0); /* left alone */
        return false;
    }
    (void)close(out.pidfd);
    return true;
}

static void end_child(pid_t pid) {
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_our_child(void **state) {
    (void)state;
    char *env[] = {"PATH=/bin", VARIABLE, "LANG=C", NULL};
    const pid_t pid = start_sleep(env, false);
    const struct supervisor_pid saved = saved_of(pid, COOKIE);
    struct supervisor_pid out = {0};
    assert_int_equal(supervisor_adopt(&saved, &out, NULL), CORE_OK);
    assert_int_equal(out.pid, pid);
    assert_true(out.is_child); /* its status can be had */
    assert_int_equal(out.ready_fd, -1);
    assert_int_equal(out.spawned_ns, 5);
    assert_int_equal(out.output_from[1], 4);
    assert_true((fcntl(out.pidfd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(syscall(SYS_pidfd_send_signal, out.pidfd, SIGTERM, NULL, 0), 0); /* it is the right one's */
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WTERMSIG(status), SIGTERM);
    (void)close(out.pidfd);
    assert_false(is_adopted(&saved)); /* gone */
}

static void test_somebody_elses_child(void **state) {
    (void)state;
    char *env[] = {VARIABLE, NULL};
    const pid_t pid = start_sleep(env, true);
    const struct supervisor_pid saved = saved_of(pid, COOKIE);
    struct supervisor_pid out = {0};
    const bool is_ours = supervisor_adopt(&saved, &out, NULL) == CORE_OK;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_true(is_ours);
    assert_false(out.is_child);
    (void)close(out.pidfd);
}

static void test_another_one(void **state) {
    (void)state;
    char *env[] = {"XTAPLINE_COOKIE=00000000000000000000000000000000", VARIABLE, NULL};
    const pid_t pid = start_sleep(env, false);
    struct supervisor_pid saved = saved_of(pid, COOKIE);
    assert_true(is_adopted(&saved));
    saved.start_ticks++;
    assert_false(is_adopted(&saved));
    saved = saved_of(pid, "00112233445566778899aabbccddeefe");
    assert_false(is_adopted(&saved));
    saved = saved_of(pid, "00112233445566778899aabbccddeef"); /* begins like it */
    assert_false(is_adopted(&saved));
    saved = saved_of(pid, "00000000000000000000000000000000"); /* of a variable that ends like it */
    assert_false(is_adopted(&saved));
    saved = saved_of(pid, "");
    assert_false(is_adopted(&saved));
    saved.pid = 0;
    assert_false(is_adopted(&saved));
    saved.pid = -1;
    assert_false(is_adopted(&saved));
    end_child(pid);
}

/* Who has written over its environment, or was executed anew without it, is known by its start time. */
static void test_no_cookie(void **state) {
    (void)state;
    char *with_other_things[] = {"A=" VARIABLE, NULL};
    char *empty[] = {NULL};
    char **envs[] = {with_other_things, empty};
    for (size_t i = 0; i < 2; i++) {
        const pid_t pid = start_sleep(envs[i], false);
        struct supervisor_pid saved = saved_of(pid, COOKIE);
        assert_true(is_adopted(&saved));
        saved.start_ticks++;
        assert_false(is_adopted(&saved));
        end_child(pid);
    }
}

/* A cookie that begins like ours is another one. */
static void test_a_longer_cookie(void **state) {
    (void)state;
    char *env[] = {VARIABLE "0", NULL};
    const pid_t pid = start_sleep(env, false);
    const struct supervisor_pid saved = saved_of(pid, COOKIE);
    assert_false(is_adopted(&saved));
    end_child(pid);
}

/* An ended process that nobody has waited for has its number and start time still. */
static void test_a_zombie(void **state) {
    (void)state;
    char *env[] = {VARIABLE, NULL};
    const pid_t pid = start_sleep(env, false);
    const struct supervisor_pid saved = saved_of(pid, COOKIE);
    siginfo_t info;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_false(is_adopted(&saved));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* The cookie wherever the reads of the environment are cut. */
static void test_a_large_environment(void **state) {
    (void)state;
    static char padding[PADDING_MAX];
    for (size_t len = 4096 - sizeof(VARIABLE) - 1; len < 4096 + 2; len += 7) {
        memset(padding, 'x', len);
        padding[1] = '=';
        padding[len] = '\0';
        char *env[] = {padding, VARIABLE, NULL};
        const pid_t pid = start_sleep(env, false);
        struct supervisor_pid saved = saved_of(pid, COOKIE);
        assert_true(is_adopted(&saved));
        saved.cookie[SUPERVISOR_COOKIE_BYTES - 2] ^= 1;
        assert_false(is_adopted(&saved));
        end_child(pid);
    }
}

/* Whose environment we may not read (here: another user's) is known by its start time. */
static void test_an_environment_that_is_not_ours_to_read(void **state) {
    (void)state;
    if (geteuid() != 0) {
        skip(); /* needs a process of another user */
    }
    char *env[] = {"A=b", NULL};
    const pid_t pid = start_sleep(env, false);
    struct supervisor_pid saved = saved_of(pid, COOKIE);
    assert_int_equal(seteuid(NOBODY), 0);
    const bool is_right = is_adopted(&saved);
    saved.start_ticks++;
    const bool is_wrong = is_adopted(&saved);
    assert_int_equal(seteuid(0), 0);
    end_child(pid);
    assert_true(is_right);
    assert_false(is_wrong);
}

static void allow_descriptors(rlim_t len) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = len;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Who has no descriptor to look with cannot say that it is gone; and whose number nobody has is gone all the same. */
static void test_too_few_descriptors(void **state) {
    (void)state;
    char *env[] = {VARIABLE, NULL};
    const pid_t pid = start_sleep(env, false);
    const struct supervisor_pid saved = saved_of(pid, COOKIE);
    struct rlimit before;
    struct core_fail fail = {.text = ""};
    struct supervisor_pid out = {0};
    char boot[SUPERVISOR_BOOT_ID_BYTES];
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const int next_fd = dup(0);
    assert_true(next_fd >= 0);
    (void)close(next_fd);
    for (rlim_t spare = 0; spare < 2; spare++) { /* none for the pidfd; one for it, and none to read with */
        allow_descriptors((rlim_t)next_fd + spare);
        const enum core_err err = supervisor_adopt(&saved, &out, &fail);
        const enum core_err boot_err = spare == 0 ? supervisor_boot_id(boot, NULL) : CORE_IO;
        allow_descriptors(before.rlim_cur);
        assert_int_equal(err, CORE_IO);
        assert_int_equal(boot_err, CORE_IO);
        assert_non_null(strstr(fail.text, strerror(EMFILE)));
        assert_int_equal(out.pid, 0); /* left alone */
        const int again_fd = dup(0);
        assert_int_equal(again_fd, next_fd); /* nothing is left open */
        (void)close(again_fd);
    }
    assert_true(is_adopted(&saved));
    end_child(pid);
    assert_false(is_adopted(&saved));
}

static void test_cookies_and_the_boot(void **state) {
    (void)state;
    char one[SUPERVISOR_COOKIE_BYTES];
    char other[SUPERVISOR_COOKIE_BYTES];
    supervisor_cookie_new(one);
    supervisor_cookie_new(other);
    assert_int_equal(strspn(one, "0123456789abcdef"), SUPERVISOR_COOKIE_BYTES - 1);
    assert_int_equal(strlen(one), SUPERVISOR_COOKIE_BYTES - 1);
    assert_string_not_equal(one, other);
    char boot[SUPERVISOR_BOOT_ID_BYTES];
    char again[SUPERVISOR_BOOT_ID_BYTES];
    assert_int_equal(supervisor_boot_id(boot, NULL), CORE_OK);
    assert_int_equal(supervisor_boot_id(again, NULL), CORE_OK);
    assert_int_equal(strlen(boot), 36);
    assert_string_equal(boot, again);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_our_child),           cmocka_unit_test(test_somebody_elses_child),
        cmocka_unit_test(test_another_one),         cmocka_unit_test(test_no_cookie),
        cmocka_unit_test(test_a_longer_cookie),     cmocka_unit_test(test_a_zombie),
        cmocka_unit_test(test_a_large_environment), cmocka_unit_test(test_an_environment_that_is_not_ours_to_read),
        cmocka_unit_test(test_too_few_descriptors), cmocka_unit_test(test_cookies_and_the_boot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
