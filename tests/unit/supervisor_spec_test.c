/* tests/unit/supervisor_spec_test.c: what a process is to be, from JSON and to JSON.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#define ROOM (8 * CORE_MIB)

static struct core_arena arena;
static char text[2 * SUPERVISOR_SPEC_BYTES_MAX];

static int setup(void **state) {
    (void)state;
    return core_arena_init(&arena, ROOM, NULL) == CORE_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    core_arena_destroy(&arena);
    return 0;
}

static enum core_err read_spec(const char *json, struct supervisor_spec *spec, struct core_fail *fail) {
    struct core_json_tree *tree = NULL;
    core_arena_reset(&arena, ROOM);
    assert_int_equal(core_json_tree_read(&arena, core_span_of(json), &tree, fail), CORE_OK);
    return supervisor_spec_read(&arena, tree, spec, fail);
}

static const char *write_spec(const struct supervisor_spec *spec) {
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text) - 1};
    supervisor_spec_write(spec, &buf);
    assert_false(buf.is_full);
    *buf.pos = '\0';
    return text;
}

static const char *again(const char *json) {
    struct supervisor_spec spec;
    struct core_fail fail = {0};
    if (read_spec(json, &spec, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
    return write_spec(&spec);
}

/* Each member otherwise than by default, in the order of supervisor.h. */
static const char whole[] =
    "{\"name\":\"zeek-1\",\"argv\":[\"zeek\",\"-i\",\"eth0\",\"\"],\"group\":\"workers\",\"order\":20,\"cwd\":\"/var/"
    "spool/zeek\","
    "\"env\":{\"ZEEK_PATH\":\"/opt/zeek\",\"EMPTY\":\"\"},\"user\":\"zeek\",\"groups\":[\"tapline\"],"
    "\"capabilities\":[\"cap_net_raw\"],\"umask\":\"0022\",\"nice\":-5,\"cpus\":[3,1,1023],\"memory_max_bytes\":"
    "8589934592,"
    "\"cpu_max_percent\":150,\"limits\":{\"nofile\":\"65536\",\"core\":\"unlimited\"},"
    "\"output\":{\"directory\":\"/var/log/zeek\",\"bytes_max\":1048576},\"logs\":[\"/var/spool/zeek/*.log\"],"
    "\"ready\":{\"rules\":[\"output listening "
    "on\",\"log_written\"],\"timeout_ns\":90000000000},\"settle_ns\":5000000000,"
    "\"watchdog\":{\"timeout_ns\":60000000000,\"counter\":\"/sys/class/net/eth0/statistics/rx_packets\","
    "\"interface\":\"eth0\"},\"restart\":{\"policy\":\"on_failure\",\"delay_min_ns\":2000000000,"
    "\"delay_max_ns\":30000000000,\"deaths_max\":3,\"deaths_within_ns\":120000000000},"
    "\"stop\":{\"signal\":\"INT\",\"timeout_ns\":10000000000}}";

static void test_a_whole_one(void **state) {
    (void)state;
    struct supervisor_spec spec;
    struct core_fail fail = {0};
    assert_int_equal(read_spec(whole, &spec, &fail), CORE_OK);
    assert_string_equal(spec.name, "zeek-1");
    assert_string_equal(spec.argv[2], "eth0");
    assert_string_equal(spec.argv[3], ""); /* an argument may be empty */
    assert_null(spec.argv[4]);
    assert_string_equal(spec.group, "workers");
    assert_int_equal(spec.order, 20);
    assert_string_equal(spec.cwd, "/var/spool/zeek");
    assert_int_equal(spec.env_len, 2);
    assert_string_equal(spec.env[0].key, "ZEEK_PATH");
    assert_string_equal(spec.env[0].value, "/opt/zeek");
    assert_string_equal(spec.user, "zeek");
    assert_string_equal(spec.groups[0], "tapline");
    assert_string_equal(spec.capabilities[0], "cap_net_raw");
    assert_null(spec.capabilities[1]);
    assert_int_equal(spec.umask, 0022);
    assert_int_equal(spec.nice, -5);
    assert_int_equal(spec.cpus_len, 3);
    assert_int_equal(spec.cpus[2], 1023);
    assert_int_equal(spec.memory_max_bytes, UINT64_C(8589934592));
    assert_int_equal(spec.cpu_max_percent, 150);
    assert_int_equal(spec.limits_len, 2);
    assert_string_equal(spec.limits[1].value, "unlimited");
    assert_string_equal(spec.output.directory, "/var/log/zeek");
    assert_int_equal(spec.output.bytes_max, CORE_MIB);
    assert_string_equal(spec.logs[0], "/var/spool/zeek/*.log");
    assert_int_equal(spec.ready.rules_len, 2);
    assert_string_equal(spec.ready.rules[0], "output listening on");
    assert_int_equal(spec.ready.timeout_ns, 90 * CORE_NS_PER_S);
    assert_int_equal(spec.settle_ns, 5 * CORE_NS_PER_S);
    assert_int_equal(spec.watchdog.timeout_ns, 60 * CORE_NS_PER_S);
    assert_string_equal(spec.watchdog.interface, "eth0");
    assert_int_equal(spec.restart.policy, SUPERVISOR_ON_FAILURE);
    assert_int_equal(spec.restart.delay_min_ns, 2 * CORE_NS_PER_S);
    assert_int_equal(spec.restart.deaths_max, 3);
    assert_int_equal(spec.stop.signal, SIGINT);
    assert_string_equal(write_spec(&spec), whole);
}

static void test_defaults_are_left_out(void **state) {
    (void)state;
    static const char least[] = "{\"name\":\"a\",\"argv\":[\"/bin/true\"]}";
    assert_string_equal(again(least), least);
    assert_string_equal(
        again("{\"stop\":{\"timeout_ns\":30000000000,\"signal\":\"15\"},\"restart\":{\"deaths_within_ns\":300000000000,"
              "\"deaths_max\":5,\"delay_max_ns\":60000000000,\"delay_min_ns\":1000000000,\"policy\":\"always\"},"
              "\"watchdog\":{\"timeout_ns\":0},\"settle_ns\":10000000000,\"ready\":{\"rules\":[],\"timeout_ns\":"
              "60000000000},"
              "\"logs\":[],\"output\":{\"bytes_max\":8388608,\"directory\":\"/\"},\"limits\":{},\"cpu_max_percent\":0,"
              "\"memory_max_bytes\":0,\"cpus\":[],\"nice\":0,\"umask\":\"27\",\"env\":{},\"cwd\":\"/\",\"order\":50,"
              "\"group\":\"\",\"argv\":[\"/bin/true\"],\"name\":\"a\"}"),
        least);
    struct supervisor_spec spec;
    assert_int_equal(read_spec(least, &spec, NULL), CORE_OK);
    assert_null(spec.user);
    assert_null(spec.groups);
    assert_null(spec.capabilities);
    assert_null(spec.logs[0]);
    assert_string_equal(spec.output.directory, "/"); /* cwd */
    assert_int_equal(spec.umask, 0027);
}

/* To ask for none is something else than to ask for nothing. */
static void test_empty_is_not_absent(void **state) {
    (void)state;
    static const char none[] = "{\"name\":\"a\",\"argv\":[\"x\"],\"groups\":[],\"capabilities\":[]}";
    assert_string_equal(again(none), none);
}

static void test_the_output_follows_cwd(void **state) {
    (void)state;
    static const char plain[] = "{\"name\":\"a\",\"argv\":[\"x\"],\"cwd\":\"/srv\"}";
    struct supervisor_spec spec;
    assert_string_equal(again("{\"name\":\"a\",\"argv\":[\"x\"],\"output\":{\"directory\":\"/srv\"},\"cwd\":\"/srv\"}"),
                        plain);
    assert_int_equal(read_spec(plain, &spec, NULL), CORE_OK);
    assert_string_equal(spec.output.directory, "/srv");
    static const char other[] = "{\"name\":\"a\",\"argv\":[\"x\"],\"cwd\":\"/srv\",\"output\":{\"directory\":\"/\"}}";
    assert_string_equal(again(other), other);
    supervisor_spec_init(&spec); /* one that was made by hand */
    const char *const argv[] = {"x", NULL};
    spec.name = "a";
    spec.argv = argv;
    spec.cwd = "/srv";
    assert_string_equal(write_spec(&spec), plain);
}

static void test_words_that_need_care(void **state) {
    (void)state;
    static const char odd[] =
        "{\"name\":\"a\",\"argv\":[\"x\",\"\\\"\\\\\\n\\u0001\xc3\xbc\"],\"stop\":{\"signal\":\"35\"}}";
    const char *first = again(odd);
    char copy[256];
    (void)snprintf(copy, sizeof(copy), "%s", first);
    assert_string_equal(again(copy), copy);
    assert_non_null(strstr(copy, "\"signal\":\"35\"")); /* a realtime signal has no name */
}

#define WITH(member) "{\"name\":\"a\",\"argv\":[\"x\"]," member "}"
static const struct {
    const char *json;
    const char *named; /* in quotes, in the message */
} wrong[] = {
    {"{\"argv\":[\"x\"]}", "\"name\""},
    {"{\"name\":\"a\"}", "\"argv\""},
    {"{\"name\":\"\",\"argv\":[\"x\"]}", "\"name\""},
    {"{\"name\":\"-a\",\"argv\":[\"x\"]}", "\"name\""},
    {"{\"name\":\"..\",\"argv\":[\"x\"]}", "\"name\""},
    {"{\"name\":\"a/b\",\"argv\":[\"x\"]}", "\"name\""},
    {"{\"name\":\"a\\u0000b\",\"argv\":[\"x\"]}", "\"name\""},
    {"{\"name\":\"\xc3\xbc\",\"argv\":[\"x\"]}", "\"name\""},
    {"{\"name\":7,\"argv\":[\"x\"]}", "\"name\""},
    {"{\"name\":\"a\",\"argv\":[]}", "\"argv\""},
    {"{\"name\":\"a\",\"argv\":[\"\"]}", "\"argv\""},
    {"{\"name\":\"a\",\"argv\":\"x\"}", "\"argv\""},
    {"{\"name\":\"a\",\"argv\":[\"x\",7]}", "\"argv\""},
    {"{\"name\":\"a\",\"argv\":[\"x\",\"b\\u0000c\"]}", "\"argv\""},
    {"{\"name\":\"a\",\"argv\":[\"x\",\"\xff\"]}", "\"argv\""},
    {WITH("\"name\":\"b\""), "\"name\""},
    {WITH("\"colour\":1"), "\"colour\""},
    {WITH("\"\":1"), "\"\""},
    {WITH("\"stop.signal\":\"INT\""), "\"stop.signal\""},
    {WITH("\"stop\":{\"wait\":1}"), "\"stop.wait\""},
    {WITH("\"stop\":{\"\":1}"), "\"stop.\""},
    {WITH("\"stop\":\"INT\""), "\"stop\""},
    {WITH("\"stop\":{},\"stop\":{}"), "\"stop\""},
    {WITH("\"stop\":{\"signal\":\"INT\",\"signal\":\"HUP\"}"), "\"stop.signal\""},
    {WITH("\"stop\":{\"signal\":\"NONE\"}"), "\"stop.signal\""},
    {WITH("\"stop\":{\"signal\":15}"), "\"stop.signal\""},
    {WITH("\"stop\":{\"signal\":\"0\"}"), "\"stop.signal\""},
    {WITH("\"stop\":{\"timeout_ns\":0}"), "\"stop.timeout_ns\""},
    {WITH("\"stop\":{\"timeout_ns\":1.5e9}"), "\"stop.timeout_ns\""},
    {WITH("\"stop\":{\"timeout_ns\":\"30s\"}"), "\"stop.timeout_ns\""},
    {WITH("\"settle_ns\":-1"), "\"settle_ns\""},
    {WITH("\"settle_ns\":9223372036854775808"), "\"settle_ns\""},
    {WITH("\"settle_ns\":99999999999999999999999"), "\"settle_ns\""},
    {WITH("\"settle_ns\":null"), "\"settle_ns\""},
    {WITH("\"group\":\"a b\""), "\"group\""},
    {WITH("\"group\":null"), "\"group\""},
    {WITH("\"order\":1000001"), "\"order\""},
    {WITH("\"cwd\":\"here\""), "\"cwd\""},
    {WITH("\"env\":[\"A=b\"]"), "\"env\""},
    {WITH("\"env\":{\"A\":7}"), "\"env.A\""},
    {WITH("\"env\":{\"\":\"b\"}"), "\"env.\""},
    {WITH("\"env\":{\"A=\":\"b\"}"), "\"env.A=\""},
    {WITH("\"env\":{\"A\\u0000B\":\"b\"}"), "\"env.A"},
    {WITH("\"env\":{\"A\":\"b\",\"A\":\"c\"}"), "\"env.A\""},
    {WITH("\"env\":{\"TAPLINE_COOKIE\":\"b\"}"), "\"env.TAPLINE_COOKIE\""},
    {WITH("\"user\":\"\""), "\"user\""},
    {WITH("\"groups\":[\"\"]"), "\"groups\""},
    {WITH("\"capabilities\":[\"net_raw\"]"), "\"capabilities\""},
    {WITH("\"umask\":27"), "\"umask\""},
    {WITH("\"umask\":\"\""), "\"umask\""},
    {WITH("\"umask\":\"0028\""), "\"umask\""},
    {WITH("\"umask\":\"1000\""), "\"umask\""},
    {WITH("\"umask\":\"002\\u00007\""), "\"umask\""},
    {WITH("\"nice\":20"), "\"nice\""},
    {WITH("\"cpus\":[1024]"), "\"cpus\""},
    {WITH("\"cpus\":{}"), "\"cpus\""},
    {WITH("\"cpus\":[-1]"), "\"cpus\""},
    {WITH("\"memory_max_bytes\":-1"), "\"memory_max_bytes\""},
    {WITH("\"limits\":{\"files\":\"7\"}"), "\"limits.files\""},
    {WITH("\"limits\":{\"nofile\":\"many\"}"), "\"limits.nofile\""},
    {WITH("\"limits\":{\"nofile\":7}"), "\"limits.nofile\""},
    {WITH("\"output\":{\"directory\":\"\"}"), "\"output.directory\""},
    {WITH("\"output\":{\"bytes_max\":1023}"), "\"output.bytes_max\""},
    {WITH("\"logs\":[\"\"]"), "\"logs\""},
    {WITH("\"ready\":{\"rules\":[\"soon\"]}"), "\"ready.rules\""},
    {WITH("\"ready\":{\"rules\":[\"fd\",\"fd\",\"fd\",\"fd\",\"fd\"]}"), "\"ready.rules\""},
    {WITH("\"watchdog\":{\"counter\":\"rx\"}"), "\"watchdog.counter\""},
    {WITH("\"restart\":{\"policy\":\"sometimes\"}"), "\"restart.policy\""},
    {WITH("\"restart\":{\"delay_min_ns\":0}"), "\"restart.delay_min_ns\""},
    {WITH("\"restart\":{\"delay_min_ns\":61000000000}"), "\"restart.delay_min_ns\""},
    {WITH("\"restart\":{\"deaths_max\":0}"), "\"restart.deaths_max\""},
    {WITH("\"restart\":{\"deaths_max\":17}"), "\"restart.deaths_max\""},
    {"[]", "object"},
};

static void test_what_is_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct supervisor_spec spec;
        struct core_fail fail = {0};
        if (read_spec(wrong[i].json, &spec, &fail) != CORE_BAD || strstr(fail.text, wrong[i].named) == NULL) {
            fail_msg("%s: \"%s\", without %s", wrong[i].json, fail.text, wrong[i].named);
        }
    }
}

static void test_whose_fault(void **state) {
    (void)state;
    struct supervisor_spec spec;
    struct core_fail fail = {0};
    assert_int_equal(read_spec("{\"nice\":99,\"argv\":[\"x\"],\"name\":\"zeek-1\"}", &spec, &fail), CORE_BAD);
    assert_string_equal(fail.where, "zeek-1");
    assert_string_equal(fail.text, "\"nice\" of the process must be a whole number from -20 to 19");
    assert_int_equal(supervisor_spec_read(&arena, NULL, &spec, &fail), CORE_BAD);
}

/* {"name":"a","argv":["x"],"<member>":<open><each>,<each>…<close>} */
static const char *many(const char *open, const char *each, size_t len, const char *close) {
    static char json[4 * SUPERVISOR_SPEC_BYTES_MAX];
    size_t at = (size_t)snprintf(json, sizeof(json), "{\"name\":\"a\",%s", open);
    for (size_t i = 0; i < len; i++) {
        at += (size_t)snprintf(json + at, sizeof(json) - at, "%s", i == 0 ? "" : ",");
        const char *hash = strchr(each, '#'); /* the number, so that names differ */
        at += hash == NULL
                  ? (size_t)snprintf(json + at, sizeof(json) - at, "%s", each)
                  : (size_t)snprintf(json + at, sizeof(json) - at, "%.*s%zu%s", (int)(hash - each), each, i, hash + 1);
    }
    at += (size_t)snprintf(json + at, sizeof(json) - at, "%s}", close);
    assert_true(at < sizeof(json));
    return json;
}

static void test_how_many(void **state) {
    (void)state;
    static const struct {
        const char *open;
        const char *each;
        const char *close;
        size_t max;
    } lists[] = {
        {"\"argv\":[", "\"x\"", "]", SUPERVISOR_ARGS_MAX},
        {"\"argv\":[\"x\"],\"env\":{", "\"A#\":\"\"", "}", SUPERVISOR_ENV_MAX},
        {"\"argv\":[\"x\"],\"cpus\":[", "7", "]", SUPERVISOR_CPUS_MAX},
        {"\"argv\":[\"x\"],\"ready\":{\"rules\":[", "\"after 5s\"", "]}", SUPERVISOR_READY_MAX},
        {"\"argv\":[\"x\"],\"logs\":[", "\"*\"", "]", 64},
    };
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct supervisor_spec spec;
        const char *json = many(lists[i].open, lists[i].each, lists[i].max, lists[i].close);
        assert_int_equal(read_spec(json, &spec, NULL), CORE_OK);
        json = many(lists[i].open, lists[i].each, lists[i].max + 1, lists[i].close);
        assert_int_equal(read_spec(json, &spec, NULL), CORE_BAD);
    }
}

static void test_how_large(void **state) {
    (void)state;
    static char argument[1024];
    struct supervisor_spec spec;
    struct core_fail fail = {0};
    memset(argument, 'x', sizeof(argument) - 1);
    argument[0] = argument[sizeof(argument) - 2] = '"';
    assert_int_equal(read_spec(many("\"argv\":[", argument, 60, "]"), &spec, &fail), CORE_OK);
    assert_true(strlen(write_spec(&spec)) < SUPERVISOR_SPEC_BYTES_MAX);
    assert_int_equal(read_spec(many("\"argv\":[", argument, 66, "]"), &spec, &fail), CORE_LIMIT);
    assert_non_null(strstr(fail.text, "65536"));
}

static void test_no_room(void **state) {
    (void)state;
    struct core_arena small;
    struct core_json_tree *tree = NULL;
    struct supervisor_spec spec;
    struct core_fail fail = {0};
    core_arena_reset(&arena, ROOM);
    assert_int_equal(core_json_tree_read(&arena, core_span_of(whole), &tree, NULL), CORE_OK);
    assert_int_equal(core_arena_init(&small, 4096, NULL), CORE_OK);
    size_t left = 0;
    enum core_err err = CORE_LIMIT;
    for (; left <= 4096 && err != CORE_OK; left += 8) { /* wherever the room ends, it is told */
        small.used = small.cap - left;
        err = supervisor_spec_read(&small, tree, &spec, &fail);
        assert_true(err == CORE_OK || err == CORE_LIMIT);
    }
    assert_int_equal(err, CORE_OK);
    assert_true(left > 500);
    core_arena_destroy(&small);
}

static void test_signals(void **state) {
    (void)state;
    assert_int_equal(supervisor_signal_of("TERM"), SIGTERM);
    assert_int_equal(supervisor_signal_of("SIGTERM"), SIGTERM);
    assert_int_equal(supervisor_signal_of("15"), SIGTERM);
    assert_int_equal(supervisor_signal_of("USR2"), SIGUSR2);
    static const char *const none[] = {"", "0", "65", "-1", "term", "SIG", "SIG15", "15 ", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_int_equal(supervisor_signal_of(none[i]), 0);
    }
    assert_string_equal(supervisor_signal_name(SIGKILL), "KILL");
    assert_string_equal(supervisor_signal_name(0), "?");
    for (int number = 1; number < 32; number++) {
        const char *name = supervisor_signal_name(number);
        assert_true(*name == '?' || supervisor_signal_of(name) == number);
    }
}

static void test_rules(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool is_good;
        enum supervisor_ready_rule rule;
        const char *rest;
    } cases[] = {
        {"after 5s", true, SUPERVISOR_READY_AFTER, "5s"},
        {"after 5", false, 0, NULL},
        {"after", false, 0, NULL},
        {"file /run/x y", true, SUPERVISOR_READY_FILE, "/run/x y"},
        {"file x", false, 0, NULL},
        {"fd", true, SUPERVISOR_READY_FD, ""},
        {"fd 3", false, 0, NULL},
        {"tcp 80", true, SUPERVISOR_READY_TCP, "80"},
        {"tcp ::1:80", true, SUPERVISOR_READY_TCP, "::1:80"},
        {"tcp 127.0.0.1:65535", true, SUPERVISOR_READY_TCP, "127.0.0.1:65535"},
        {"tcp 65536", false, 0, NULL},
        {"tcp :80", false, 0, NULL},
        {"tcp host:", false, 0, NULL},
        {"tcp 0", false, 0, NULL},
        {"output listening on", true, SUPERVISOR_READY_OUTPUT, "listening on"},
        {"output ", false, 0, NULL},
        {"log_written", true, SUPERVISOR_READY_LOG_WRITTEN, ""},
        {"log", false, 0, NULL},
        {"", false, 0, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum supervisor_ready_rule rule = SUPERVISOR_READY_AFTER;
        const char *rest = NULL;
        if (supervisor_rule_read(cases[i].text, &rule, &rest) != cases[i].is_good) {
            fail_msg("\"%s\"", cases[i].text);
        }
        if (cases[i].is_good) {
            assert_int_equal(rule, cases[i].rule);
            assert_string_equal(rest, cases[i].rest);
        }
    }
}

static void test_durations_and_limits(void **state) {
    (void)state;
    assert_int_equal(supervisor_duration_ns("5s"), 5 * CORE_NS_PER_S);
    assert_int_equal(supervisor_duration_ns("250ms"), 250 * CORE_NS_PER_MS);
    assert_int_equal(supervisor_duration_ns("2m"), 120 * CORE_NS_PER_S);
    assert_int_equal(supervisor_duration_ns("1h"), 3600 * CORE_NS_PER_S);
    assert_int_equal(supervisor_duration_ns("0s"), 0);
    static const char *const none[] = {
        "", "s", "5", "-5s", "5 s", "5sec", "1.5s", "9999999999h", "99999999999999999999s"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_int_equal(supervisor_duration_ns(none[i]), -1);
    }
    uint64_t value = 0;
    assert_int_equal(supervisor_limit_of("nofile"), RLIMIT_NOFILE);
    assert_int_equal(supervisor_limit_of("NOFILE"), -1);
    assert_true(supervisor_limit_value("0", &value) && value == 0);
    assert_true(supervisor_limit_value("65536", &value) && value == 65536);
    assert_true(supervisor_limit_value("unlimited", &value) && value == RLIM_INFINITY);
    assert_false(supervisor_limit_value("", &value));
    assert_false(supervisor_limit_value("-1", &value));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_one),
        cmocka_unit_test(test_defaults_are_left_out),
        cmocka_unit_test(test_empty_is_not_absent),
        cmocka_unit_test(test_the_output_follows_cwd),
        cmocka_unit_test(test_words_that_need_care),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_whose_fault),
        cmocka_unit_test(test_how_many),
        cmocka_unit_test(test_how_large),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_durations_and_limits),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
