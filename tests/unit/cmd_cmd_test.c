/* tests/unit/cmd_cmd_test.c: options by rows, help, where the maps are (cmd/cmd.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <setjmp.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const struct cmd_option options[] = {
    {"config", 'c', "FILE", "A file."}, {"once", 0, NULL, "A switch."}, {"verbose", 'v', NULL, "Another."}, {0}};
static const struct cmd command = {
    .name = "map explain", .summary = "s", .args = "[FILE…]", .about = "a", .example = "one\ntwo", .options = options};
static const struct cmd no_files = {
    .name = "version", .summary = "s", .args = "", .about = "a", .example = "e", .options = options};

/* Words to argv; the strings are never written to. */
static int words(char **argv, const char *const *list) {
    int n = 0;
    for (; list[n] != NULL; n++) {
        argv[n] = (char *)(uintptr_t)list[n];
    }
    argv[n] = NULL;
    return n;
}

static bool parse(const struct cmd *cmd, const char *const *list, struct cmd_args *args, int *code) {
    static char *argv[32];
    return cmd_parse(cmd, words(argv, list), argv, args, code);
}

/* What f prints on a stream, as text. */
static char *printed(FILE *stream, bool (*f)(const char *const *), const char *const *list) {
    static char text[8192];
    FILE *file = tmpfile();
    assert_non_null(file);
    (void)fflush(stream);
    int saved = dup(fileno(stream));
    assert_true(dup2(fileno(file), fileno(stream)) >= 0);
    (void)f(list);
    (void)fflush(stream);
    assert_true(dup2(saved, fileno(stream)) >= 0);
    (void)close(saved);
    rewind(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    (void)fclose(file);
    return text;
}

static int printed_code;
static bool parse_quietly(const char *const *list) {
    struct cmd_args args;
    return parse(&command, list, &args, &printed_code);
}

static void test_options_and_files(void **state) {
    (void)state;
    struct cmd_args args;
    int code = -1;
    assert_true(
        parse(&command, (const char *[]){"explain", "a", "-c", "x.yml", "--once", "-", "b", NULL}, &args, &code));
    assert_string_equal(cmd_value(&command, &args, "config"), "x.yml");
    assert_non_null(cmd_value(&command, &args, "once"));
    assert_null(cmd_value(&command, &args, "verbose"));
    assert_int_equal(args.files_len, 3);
    assert_string_equal(args.files[0], "a");
    assert_string_equal(args.files[1], "-");
    assert_string_equal(args.files[2], "b");
}

static void test_forms(void **state) {
    (void)state;
    struct cmd_args args;
    int code = -1;
    assert_true(parse(&command, (const char *[]){"x", "--config=a=b", NULL}, &args, &code));
    assert_string_equal(cmd_value(&command, &args, "config"), "a=b");
    assert_true(parse(&command, (const char *[]){"x", "-vcfile", NULL}, &args, &code));
    assert_string_equal(cmd_value(&command, &args, "config"), "file");
    assert_non_null(cmd_value(&command, &args, "verbose"));
    assert_true(parse(&command, (const char *[]){"x", "-c", "one", "-c", "two", NULL}, &args, &code));
    assert_string_equal(cmd_value(&command, &args, "config"), "two");
    assert_true(parse(&command, (const char *[]){"x", "--", "--once", NULL}, &args, &code));
    assert_null(cmd_value(&command, &args, "once"));
    assert_string_equal(args.files[0], "--once");
    assert_true(parse(&command, (const char *[]){"x", "--config", "--once", NULL}, &args, &code));
    assert_string_equal(cmd_value(&command, &args, "config"), "--once");
    assert_true(parse(&command, (const char *[]){"x", NULL}, &args, &code));
    assert_int_equal(args.files_len, 0);
}

static void test_wrong(void **state) {
    (void)state;
    static const struct {
        const char *words[4];
        const char *says;
    } cases[] = {
        {{"x", "--confg", "y", NULL}, "no option --confg, did you mean --config?"},
        {{"x", "--hepl", NULL}, "did you mean --help?"},
        {{"x", "--zzz=1", NULL}, "no option --zzz; `tapline map explain --help`"},
        {{"x", "-q", NULL}, "no option -q"},
        {{"x", "-c", NULL}, "--config needs a value: --config FILE"},
        {{"x", "--once=1", NULL}, "--once takes no value"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *text = printed(stderr, parse_quietly, cases[i].words);
        assert_int_equal(printed_code, CORE_EXIT_USAGE);
        if (strstr(text, cases[i].says) == NULL) {
            fail_msg("\"%s\" does not say \"%s\"", text, cases[i].says);
        }
    }
    struct cmd_args args;
    int code = -1;
    assert_false(parse(&no_files, (const char *[]){"version", "x", NULL}, &args, &code));
    assert_int_equal(code, CORE_EXIT_USAGE);
}

static void test_help(void **state) {
    (void)state;
    static const char *const forms[] = {"--help", "-h", "-vh"};
    for (size_t i = 0; i < 3; i++) {
        const char *text = printed(stdout, parse_quietly, (const char *[]){"x", forms[i], NULL});
        assert_int_equal(printed_code, CORE_EXIT_DONE);
        assert_non_null(strstr(text, "Usage: tapline map explain [OPTION…] [FILE…]"));
        assert_non_null(strstr(text, "  -c, --config FILE         A file."));
        assert_non_null(strstr(text, "      --once                A switch."));
        assert_non_null(strstr(text, "  one\n  two\n"));
    }
}

/* Each row of each command can be parsed, and its page can be printed: names unique, letters unique, texts there. */
static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; cmd_table[i] != NULL; i++) {
        const struct cmd *cmd = cmd_table[i];
        assert_non_null(cmd->run);
        assert_true(strlen(cmd->summary) > 0 && strlen(cmd->about) > 0);
        assert_non_null(strstr(cmd->example, cmd->name));
        for (size_t k = 0; cmd->options[k].name != NULL; k++) {
            assert_true(cmd->options[k].letter != 'h' && strlen(cmd->options[k].help) > 0);
            for (size_t j = 0; j < k; j++) {
                assert_string_not_equal(cmd->options[k].name, cmd->options[j].name);
                assert_true(cmd->options[k].letter == 0 || cmd->options[k].letter != cmd->options[j].letter);
            }
        }
    }
}

static void test_maps_dir(void **state) {
    (void)state;
    char path[8192];
    assert_int_equal(unsetenv("TAPLINE_MAPS"), 0);
    (void)snprintf(path, sizeof(path), "%s/logs.table", cmd_maps_dir()); /* this program is in a build tree */
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(setenv("TAPLINE_MAPS", "/some/where", 1), 0);
    assert_string_equal(cmd_maps_dir(), "/some/where");
    assert_int_equal(setenv("TAPLINE_MAPS", "", 1), 0);
    assert_string_not_equal(cmd_maps_dir(), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_and_files),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_maps_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
