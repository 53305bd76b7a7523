/* tests/unit/cmd_map_test_test.c: `tapline map test`: it finds every kind of difference, and what is none it lets pass.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cmd_shell.h"

static const char record[] =
    "{\"ts\":1.5,\"a\":\"x\",\"n\":1.50,\"l\":[\"p\",\"q\"],\"h\":\"b.example\",\"g\":\"a.example\"}\n";
static const char good[] =
    "{\"zeek\":{\"t\":{\"n\":1.5,\"a\":\"x\",\"l\":[\"p\",\"q\"]}},\"related\":{\"hosts\":[\"a.example\",\"b.example\"]"
    "},"
    "\"event\":{\"kind\":\"event\",\"dataset\":\"zeek.t\"},\"@timestamp\":\"1970-01-01T00:00:01.500000Z\","
    "\"log\":{\"file\":{\"path\":\"t.log\"},\"offset\":0}}\n";

static void maps_put(void) {
    assert_int_equal(sh("rm -rf base cases && mkdir -p base/maps cases/one cases/two"), 0);
    put("base/schema.tsv", "@timestamp\tdate\t\twhen\nevent.kind\tkeyword\t\ta\nrelated.hosts\tkeyword\tlist\ta\n");
    put("base/logs.table", "zeek * zeek.t zeek.%\nsnort * zeek.t snort.log\nsuricata * zeek.t suricata.eve\n");
    put("base/maps/zeek.t.map", "log zeek.t\nts time @timestamp\nh string related.hosts\ng string related.hosts\n"
                                "- const event.kind event\n* keep zeek.%.*\n");
}

static int test_run(const char *log, const char *expected) {
    maps_put();
    put("cases/one/t.log", log);
    put("cases/one/out.ndjson", expected);
    put("cases/two/t.log", record);
    put("cases/two/out.ndjson", good);
    return sh("$TAPLINE map test --maps base cases 2>&1");
}

static void test_same(void **state) {
    (void)state;
    assert_int_equal(test_run(record, good), 0);
    says("ok   one\nok   two\n2 cases, 0 failed\n");
    assert_int_equal(sh("$TAPLINE map test --maps base cases/one cases 2>&1"), 0);
    says("ok   cases/one\nok   one\nok   two\n3 cases, 0 failed\n");
    assert_int_equal(sh("$TAPLINE map test -q --maps base cases 2>&1"), 0);
    says_not("ok");
}

/* The good document with one text in another's place. */
static void differs(const char *text, const char *other, const char *minus, const char *plus) {
    char expected[1024];
    const char *at = strstr(good, text);
    assert_non_null(at);
    (void)snprintf(expected, sizeof(expected), "%.*s%s%s", (int)(at - good), good, other, at + strlen(text));
    assert_int_equal(test_run(record, expected), 1);
    says("FAIL one\n    document 1:\n");
    says(minus);
    says(plus);
    says("ok   two\n2 cases, 1 failed ( - expected, + came )\n");
}

static void test_differences(void **state) {
    (void)state;
    differs("\"a\":\"x\"", "\"a\":\"y\"", "      - zeek.t.a: \"y\"\n", "      + zeek.t.a: \"x\"\n");
    differs("1.5,", "1.51,", "      - zeek.t.n: 1.51\n", "      + zeek.t.n: 1.50\n");
    differs("\"n\":1.5,", "", "", "      + zeek.t.n: 1.50\n");
    differs("\"n\":1.5,", "\"n\":1.5,\"o\":{\"p\":true},", "      - zeek.t.o.p: true\n", "");
    differs("[\"p\",\"q\"]", "[\"q\",\"p\"]", "      - zeek.t.l: [\"q\", \"p\"]\n",
            "      + zeek.t.l: [\"p\", \"q\"]\n");
    differs("\"a.example\",", "", "      - related.hosts: [\"b.example\"]\n", "      + related.hosts: [");
    differs("\"offset\":0", "\"offset\":\"0\"", "      - log.offset: \"0\"\n", "      + log.offset: 0\n");
}

static void test_documents_and_letters(void **state) {
    (void)state;
    char two[1024];
    (void)snprintf(two, sizeof(two), "%s%s", good, good);
    assert_int_equal(test_run(record, two), 1);
    says("    1 more documents were expected than came\n");
    (void)snprintf(two, sizeof(two), "%s%s", record, record);
    assert_int_equal(test_run(two, good), 1);
    says("    document 2 was not expected:\n");
    assert_int_equal(test_run("{\"ts\":\"never\"}\n", "{\"dead\":\"^field ts: .never. is no time$\"}\n"), 0);
    assert_int_equal(test_run("{\"ts\":\"never\"}\n", "{\"dead\":\"^field x\"}\n"), 1);
    says("    a dead letter for another reason:\n      - ^field x\n      + field ts: \"never\" is no time\n");
    assert_int_equal(test_run("{\"ts\":\"never\"}\n", "\n"), 1);
    says("    a dead letter that was not expected: field ts");
    assert_int_equal(test_run(record, "{\"dead\":\"x\"}\n"), 1);
    says("    a dead letter was expected and none came: x\n");
}

static void test_settings(void **state) {
    (void)state;
    maps_put();
    put("cases/one/t.log", "{\"a\":1}\n");
    put("cases/one/case.json", "{\"mtime\":\"2026-11-21T04:00:00Z\",\"type\":\"zeek\",\"keep_original\":true}");
    put("cases/one/out.ndjson", "{\"zeek\":{\"t\":{\"a\":1}},\"event\":{\"kind\":\"event\",\"dataset\":\"zeek.t\","
                                "\"original\":\"{\\\"a\\\":1}\"},\"@timestamp\":\"2026-11-21T04:00:00.000000Z\","
                                "\"log\":{\"file\":{\"path\":\"t.log\"},\"offset\":0}}\n");
    assert_int_equal(sh("$TAPLINE map test --maps base cases/one 2>&1"), 0);
    put("cases/one/case.json", "{\"mtme\":\"2026-11-21T04:00:00Z\"}");
    assert_int_equal(sh("$TAPLINE map test --maps base cases/one 2>&1"), 1);
    says("case.json: \"mtme\" is none of mtime");
    put("cases/one/case.json", "{\"type\":\"zek\"}");
    assert_int_equal(sh("$TAPLINE map test --maps base cases/one 2>&1"), 1);
    says("case.json: type: ");
    put("cases/one/case.json", "[");
    assert_int_equal(sh("$TAPLINE map test --maps base cases/one 2>&1"), 1);
    says("case.json is no JSON object");
    put("cases/one/second.log", "");
    assert_int_equal(sh("$TAPLINE map test --maps base cases/one 2>&1"), 1);
    says("here are 2 other files");
    assert_int_equal(sh("$TAPLINE map test --maps base base 2>&1"), 100);
    says("base: no case");
    assert_int_equal(sh("$TAPLINE map test --maps base 2>&1"), 100);
    assert_int_equal(sh("$TAPLINE map test --maps base nowhere 2>&1"), 100);
}

/* A case that is a link to a folder elsewhere: those behind it are run all the same. */
static void test_linked_cases(void **state) {
    (void)state;
    assert_int_equal(test_run(record, good), 0);
    assert_int_equal(sh("mkdir -p elsewhere && rm -rf elsewhere/one && mv cases/one elsewhere/one && "
                        "ln -s ../elsewhere/one cases/one && $TAPLINE map test --maps base cases 2>&1"),
                     0);
    says("ok   one\nok   two\n2 cases, 0 failed\n");
}

SHELL_MAIN(cmocka_unit_test(test_same), cmocka_unit_test(test_differences),
           cmocka_unit_test(test_documents_and_letters), cmocka_unit_test(test_settings),
           cmocka_unit_test(test_linked_cases))
