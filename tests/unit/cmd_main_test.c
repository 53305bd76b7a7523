/* tests/unit/cmd_main_test.c: subcommands found and not found, a stdout that fails (cmd/main.c, cmd/version.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cmd_shell.h"

static void test_dispatch(void **state) {
    (void)state;
    assert_int_equal(sh("$TAPLINE --version"), 0);
    says("tapline 0.");
    assert_int_equal(sh("$TAPLINE version --json"), 0);
    says("{\"name\":\"tapline\",\"version\":\"0.");
    assert_int_equal(sh("$TAPLINE --help"), 0);
    says("map explain");
    assert_int_equal(sh("$TAPLINE help map explain"), 0);
    says("Usage: tapline map explain");
    assert_int_equal(sh("$TAPLINE 2>&1"), 100);
    says("Usage: tapline COMMAND");
    assert_int_equal(sh("$TAPLINE normalise 2>&1"), 100);
    says("did you mean \"normalize\"?");
    assert_int_equal(sh("$TAPLINE config 2>&1"), 100);
    says("tapline config show");
    assert_int_equal(sh("$TAPLINE config shwo 2>&1"), 100);
    says("no command \"config shwo\"");
    assert_int_equal(sh("$TAPLINE version x 2>&1"), 100);
    assert_int_equal(sh("$TAPLINE help intel shwo 2>&1"), 100);
    says("no command \"intel shwo\"");
}

static void test_help_of_a_group(void **state) {
    (void)state;
    static const char *const lines[] = {"$TAPLINE intel --help", "$TAPLINE intel -h", "$TAPLINE intel help",
                                        "$TAPLINE help intel"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        assert_int_equal(sh(lines[i]), 0);
        says("tapline intel sync     bring the store up to date with the feeds");
        says("tapline intel export");
        says_not("tapline map");
    }
    assert_int_equal(sh("$TAPLINE map --help"), 0);
    says("tapline map explain");
    assert_int_equal(sh("$TAPLINE config --help"), 0);
    says("tapline config show");
    assert_int_equal(sh("$TAPLINE intel 2>&1"), 100);
    says("tapline intel sync     bring the store up to date with the feeds");
}

static void test_stdout_that_fails(void **state) {
    (void)state;
    assert_int_equal(sh("$TAPLINE version 2>&1 >/dev/full"), 111);
    says("cannot write to stdout: No space left on device");
    assert_int_equal(sh("( $TAPLINE reference options; echo $? >code ) 2>err | true; cat err code"), 0);
    says_not("tapline:"); /* a reader that goes away is neither a crash nor news */
}

SHELL_MAIN(cmocka_unit_test(test_dispatch), cmocka_unit_test(test_help_of_a_group),
           cmocka_unit_test(test_stdout_that_fails))
