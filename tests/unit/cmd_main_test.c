/* tests/unit/cmd_main_test.c: the program as a whole (cmd/main.c, version.c, config_show.c, reference.c, replay.c): it is
 * started as a person starts it, and its exit code, stdout and stderr are looked at. $TAPLINE names it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/cmd_main_test.XXXXXX";
static char out[65536];

/* Run a shell command in dir; its stdout is in out. Returns the exit code. */
static int sh(const char *line) {
    char whole[4096];
    (void)snprintf(whole, sizeof(whole), "cd %s && { %s\n}", dir, line);
    FILE *pipe = popen(whole, "re");
    assert_non_null(pipe);
    out[fread(out, 1, sizeof(out) - 1, pipe)] = '\0';
    int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void says(const char *text) {
    if (strstr(out, text) == NULL) {
        fail_msg("\"%s\" is not in: %s", text, out);
    }
}

static void says_not(const char *text) {
    if (strstr(out, text) != NULL) {
        fail_msg("\"%s\" is in: %s", text, out);
    }
}

static void put(const char *name, const char *text) {
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

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
}

static void test_stdout_that_fails(void **state) {
    (void)state;
    assert_int_equal(sh("$TAPLINE version 2>&1 >/dev/full"), 111);
    says("cannot write to stdout: No space left on device");
    assert_int_equal(sh("( $TAPLINE reference options; echo $? >code ) 2>err | true; cat err code"), 0);
    says_not("tapline:"); /* a reader that goes away is neither a crash nor news */
}

static void test_config_show(void **state) {
    (void)state;
    put("pw", "geheim\n");
    assert_int_equal(sh("chmod 600 pw"), 0);
    char text[1024];
    (void)snprintf(
        text, sizeof(text),
        "node: {name: s1}\ninputs:\n  - type: zeek\n    paths: [/a/*.log]\n    fields: {n: 5, s: '5'}\nsinks:\n"
        "  kafka:\n    rdkafka: {bootstrap.servers: 'b:1', sasl.password: '@%s/pw', ssl.key.password: klar}\n",
        dir);
    put("c.yml", text);
    assert_int_equal(sh("$TAPLINE config show -c c.yml 2>&1"), 0);
    says("node:\n  name: \"s1\"  # c.yml:1:14\n");
    says("  - type: zeek  # c.yml:3:11\n    paths: [\"/a/*.log\"]  # c.yml:4:12\n");
    says("    start: beginning  # default\n");
    says("fields: {\"n\": 5, \"s\": \"5\"}");
    says("\"sasl.password\": \"***\", \"ssl.key.password\": \"***\"");
    says_not("geheim");
    says_not("klar");
    /* What it prints means the same again. */
    assert_int_equal(
        sh("$TAPLINE config show -c c.yml | sed 's/ *# .*//' >d.yml && $TAPLINE config show -c d.yml | sed "
           "'s/ *# .*//' >e.yml && cmp d.yml e.yml"),
        0);
    assert_int_equal(sh("$TAPLINE config show --json -c c.yml | python3 -c 'import json,sys; d=json.load(sys.stdin); "
                        "print(d[\"inputs[0].fields\"][\"value\"][\"n\"], d[\"node.name\"][\"origin\"])'"),
                     0);
    says("5 c.yml:1:14");
    put("bad.yml", "node: {nam: s1}\nsinks: {file: {path: /x}}\n");
    assert_int_equal(sh("$TAPLINE config show -c bad.yml 2>&1"), 100);
    says("bad.yml:1:8: unknown key \"nam\" in node, did you mean \"name\"?");
    says("inputs is missing");
    assert_int_equal(sh("$TAPLINE config show 2>&1"), 100);
}

static void test_reference(void **state) {
    (void)state;
    assert_int_equal(sh("$TAPLINE reference options"), 0);
    says("   * - ``stop_timeout``\n");
    says("sinks.kafka\n-----------\n");
    assert_int_equal(sh("$TAPLINE reference counters"), 0);
    says("   * - ``ingest.bytes``\n     - bytes\n     - bytes read from files (decompressed)\n");
    assert_int_equal(sh("$TAPLINE reference fields"), 0);
    says("   * - ``related.ip``\n     - ip, a list\n");
    assert_int_equal(sh("$TAPLINE reference fields --maps /nonexistent 2>&1"), 111);
    says("/nonexistent/schema.tsv: cannot open it");
    assert_int_equal(sh("$TAPLINE reference commands"), 0);
    says("tapline map explain\n-------------------\n");
    assert_int_equal(sh("$TAPLINE reference man"), 0);
    says("map-explain\t");
    assert_int_equal(sh("$TAPLINE reference man config-show"), 0);
    says("tapline config show\n===================\n");
    assert_int_equal(sh("$TAPLINE reference man nothing 2>&1"), 100);
    assert_int_equal(sh("$TAPLINE reference option 2>&1"), 100);
    assert_int_equal(sh("$TAPLINE reference options counters 2>&1"), 100);
}

int main(void) {
    if (getenv("TAPLINE") == NULL || mkdtemp(dir) == NULL) {
        (void)fprintf(stderr, "TAPLINE must name the program\n");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dispatch),
        cmocka_unit_test(test_stdout_that_fails),
        cmocka_unit_test(test_config_show),
        cmocka_unit_test(test_reference),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)sh("rm -rf \"$PWD\"");
    return failed;
}
