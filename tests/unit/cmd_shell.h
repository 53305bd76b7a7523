/* tests/unit/cmd_shell.h: for tests that start the program as a person starts it: its exit code, stdout and stderr are
 * looked at. $TAPLINE names the program (tests/unit/CMakeLists.txt sets it).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_CMD_SHELL_H
#define TAPLINE_TESTS_CMD_SHELL_H

#include "core/core.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/tapline_cmd_test.XXXXXX";
static char out[262144];

/* Run a shell command in dir; its stdout is in out. Returns the exit code. */
CORE_UNUSED static int sh(const char *line) {
    char whole[4096];
    (void)snprintf(whole, sizeof(whole), "cd %s && { %s\n}", dir, line);
    FILE *pipe = popen(whole, "re");
    assert_non_null(pipe);
    out[fread(out, 1, sizeof(out) - 1, pipe)] = '\0';
    int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

CORE_UNUSED static void says(const char *text) {
    if (strstr(out, text) == NULL) {
        fail_msg("\"%s\" is not in: %s", text, out);
    }
}

CORE_UNUSED static void says_not(const char *text) {
    if (strstr(out, text) != NULL) {
        fail_msg("\"%s\" is in: %s", text, out);
    }
}

CORE_UNUSED static void put(const char *name, const char *text) {
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

#define SHELL_MAIN(...)                                                                                                \
    int main(void) {                                                                                                   \
        const struct CMUnitTest tests[] = {__VA_ARGS__};                                                               \
        if (getenv("TAPLINE") == NULL || mkdtemp(dir) == NULL) {                                                       \
            (void)fprintf(stderr, "TAPLINE must name the program\n");                                                  \
            return 1;                                                                                                  \
        }                                                                                                              \
        int failed = cmocka_run_group_tests(tests, NULL, NULL);                                                        \
        (void)sh("rm -rf \"$PWD\"");                                                                                   \
        return failed;                                                                                                 \
    }

#endif
