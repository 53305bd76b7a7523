/* tests/unit/cmd_config_show_test.c: the configuration, with defaults and origins (cmd/config_show.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cmd_shell.h"

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

/* The example that is installed has no mistake, with or without its second sink. */
static void test_example(void **state) {
    (void)state;
    assert_int_equal(sh("$TAPLINE config show -c \"$OLDPWD/configs/tapline.yml.example\" 2>&1"), 0);
    says("path: \"/var/log/tapline/documents.ndjson\"  # ");
    assert_int_equal(sh("sed -E 's/^  # (kafka:|  topic:|  rdkafka:|    bootstrap)/  \\1/' "
                        "\"$OLDPWD/configs/tapline.yml.example\" >all.yml && $TAPLINE config show -c all.yml 2>&1"),
                     0);
    says("bootstrap.servers");
}

SHELL_MAIN(cmocka_unit_test(test_config_show), cmocka_unit_test(test_example))
