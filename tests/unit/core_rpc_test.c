/* Tests of core/rpc.c: which lines are messages, and why others are none.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/rpc_internal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static struct core_arena arena;

static int set_up(void **state) {
    (void)state;
    return core_arena_init(&arena, RPC_ARENA_BYTES, NULL) == CORE_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    core_arena_destroy(&arena);
    return 0;
}

static struct core_rpc_message read_ok(const char *line) {
    struct core_rpc_message message;
    enum core_rpc_code code;
    struct core_fail fail = {0};
    core_arena_reset(&arena, 0);
    if (core_rpc_read(&arena, core_span_of(line), &message, &code, &fail) != CORE_OK) {
        fail_msg("%s: %s", line, fail.text);
    }
    return message;
}

static void assert_text(struct core_span text, const char *is) {
    if (!core_span_is(text, is)) {
        fail_msg("%.*s, not %s", (int)text.len, text.ptr, is);
    }
}

static void test_the_four_kinds(void **state) {
    (void)state;
    struct core_rpc_message message =
        read_ok("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"a.b\",\"params\":{\"name\":\"x\"},\"more\":[]}");
    assert_int_equal(message.kind, CORE_RPC_REQUEST);
    assert_text(message.id, "7");
    assert_text(message.method, "a.b");
    assert_text(core_json_tree_text(message.params, "name"), "x");
    message = read_ok(" { \"method\" : \"a\" , \"jsonrpc\" : \"2.0\" } \r");
    assert_int_equal(message.kind, CORE_RPC_NOTIFICATION);
    assert_int_equal(message.id.len, 0);
    assert_null(message.params);
    message = read_ok("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null}");
    assert_int_equal(message.kind, CORE_RPC_RESULT);
    assert_int_equal(message.result->kind, CORE_JSON_NULL);
    message = read_ok("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"no\",\"data\":[1]}}");
    assert_int_equal(message.kind, CORE_RPC_ERROR);
    assert_text(message.id, "null");
    assert_int_equal(message.error_code, CORE_RPC_PARSE);
    assert_text(message.error_text, "no");
    assert_int_equal(message.error_data->kind, CORE_JSON_ARRAY);
}

static void test_ids_come_back_as_they_were(void **state) {
    static const struct {
        const char *id;
        const char *text;
    } rows[] = {
        {"0", "0"},
        {"-1", "-1"},
        {"1.5e3", "1.5e3"},
        {"12345678901234567890123", "12345678901234567890123"},
        {"null", "null"},
        {"\"\"", "\"\""},
        {"\"a\\\"\\n\\u0000\\u00e9\"", "\"a\\\"\\n\\u0000\xc3\xa9\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char line[256];
        (void)snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"m\"}", rows[i].id);
        assert_text(read_ok(line).id, rows[i].text);
    }
}

static void test_what_is_none_and_why(void **state) {
    static const struct {
        const char *line;
        enum core_rpc_code code;
        const char *why;
    } rows[] = {
        {"{", CORE_RPC_PARSE, "cut off"},
        {"hello", CORE_RPC_PARSE, "JSON"},
        {"{} {}", CORE_RPC_PARSE, "follow"},
        {"{\"a\":1,}", CORE_RPC_PARSE, "JSON"},
        {"{\"jsonrpc\":\"2.0\",\v\"method\":\"m\"}", CORE_RPC_PARSE, "bytes"},
        {"{\"jsonrpc\":\"2.0\",\"method\":\"m\"}\f", CORE_RPC_PARSE, "bytes"},
        {"{\"jsonrpc\":\"2.0\",\"method\":\"m\xff\"}", CORE_RPC_PARSE, "bytes"},
        {"7", CORE_RPC_INVALID, "object"},
        {"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\"}]", CORE_RPC_INVALID, "line of its own"},
        {"{\"id\":1,\"method\":\"m\"}", CORE_RPC_INVALID, "jsonrpc"},
        {"{\"jsonrpc\":2.0,\"id\":1,\"method\":\"m\"}", CORE_RPC_INVALID, "jsonrpc"},
        {"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"m\"}", CORE_RPC_INVALID, "jsonrpc"},
        {"{\"jsonrpc\":\"2.0\",\"id\":true,\"method\":\"m\"}", CORE_RPC_INVALID, "id"},
        {"{\"jsonrpc\":\"2.0\",\"id\":[1],\"method\":\"m\"}", CORE_RPC_INVALID, "id"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":5}", CORE_RPC_INVALID, "method"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\"}", CORE_RPC_INVALID, "method"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":\"x\"}", CORE_RPC_INVALID, "params"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"result\":1}", CORE_RPC_INVALID, "both"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1}", CORE_RPC_INVALID, "either"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1,\"error\":{}}", CORE_RPC_INVALID, "either"},
        {"{\"jsonrpc\":\"2.0\",\"result\":1}", CORE_RPC_INVALID, "neither"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":\"no\"}", CORE_RPC_INVALID, "code"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1.5,\"message\":\"\"}}", CORE_RPC_INVALID, "code"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":9223372036854775808,\"message\":\"\"}}", CORE_RPC_INVALID,
         "code"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1}}", CORE_RPC_INVALID, "code"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct core_rpc_message message;
        enum core_rpc_code code = 0;
        struct core_fail fail = {0};
        core_arena_reset(&arena, 0);
        enum core_err err = core_rpc_read(&arena, core_span_of(rows[i].line), &message, &code, &fail);
        if (err != CORE_BAD || code != rows[i].code || strstr(fail.text, rows[i].why) == NULL) {
            fail_msg("%s: %d %d %s", rows[i].line, err, code, fail.text);
        }
    }
}

static void test_a_nul_byte_is_no_json(void **state) {
    static const char line[] = "{\"jsonrpc\":\"2.0\",\0\"id\":1,\"method\":\"m\"}";
    struct core_rpc_message message;
    enum core_rpc_code code = 0;
    (void)state;
    assert_int_equal(
        core_rpc_read(&arena, (struct core_span){line, sizeof(line) - 1}, &message, &code, &(struct core_fail){0}),
        CORE_BAD);
    assert_int_equal(code, CORE_RPC_PARSE);
}

static void test_a_long_id_is_refused(void **state) {
    char line[RPC_ID_BYTES_MAX + 128];
    struct core_rpc_message message;
    enum core_rpc_code code = 0;
    (void)state;
    for (int i = 0; i < 2; i++) { /* a string, with its quotes, that just fits, and one that does not */
        const int len = RPC_ID_BYTES_MAX - 2 + i;
        (void)snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"id\":\"%0*d\"}", len, 7);
        core_arena_reset(&arena, 0);
        assert_int_equal(core_rpc_read(&arena, core_span_of(line), &message, &code, NULL), i == 0 ? CORE_OK : CORE_BAD);
    }
    assert_int_equal(code, CORE_RPC_INVALID);
}

static void test_a_full_arena_is_a_limit_and_the_densest_line_fits(void **state) {
    struct core_arena small = {0};
    struct core_rpc_message message;
    enum core_rpc_code code = 0;
    char *line = malloc(CORE_RPC_LINE_BYTES_MAX);
    static const char head[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":[";
    (void)state;
    assert_non_null(line);
    memset(line, ' ', CORE_RPC_LINE_BYTES_MAX);
    memcpy(line, head, sizeof(head) - 1);
    for (size_t i = sizeof(head) - 1; i < CORE_RPC_LINE_BYTES_MAX - 4; i += 2) {
        line[i] = '1';
        line[i + 1] = ',';
    }
    line[CORE_RPC_LINE_BYTES_MAX - 3] = '1'; /* behind the last comma, and maybe a blank */
    line[CORE_RPC_LINE_BYTES_MAX - 2] = ']';
    line[CORE_RPC_LINE_BYTES_MAX - 1] = '}';
    const struct core_span text = {line, CORE_RPC_LINE_BYTES_MAX};
    core_arena_reset(&arena, 0);
    assert_int_equal(core_rpc_read(&arena, text, &message, &code, NULL), CORE_OK);
    assert_int_equal(core_arena_init(&small, CORE_KIB, NULL), CORE_OK);
    assert_int_equal(core_rpc_read(&small, text, &message, &code, NULL), CORE_LIMIT);
    core_arena_destroy(&small);
    free(line);
}

static void test_a_token_is_the_token(void **state) {
    static const struct {
        const char *said;
        bool is_it;
    } rows[] = {{"secret", true},  {"secre", false},  {"secrets", false},     {"", false},
                {"Secret", false}, {"secres", false}, {"secretsecret", false}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(rpc_auth_token(core_span_of(rows[i].said), CORE_SPAN("secret")), rows[i].is_it);
    }
}

static void test_addresses(void **state) {
    static const struct {
        const char *text;
        enum core_err err;
    } rows[] = {
        {"/run/tapline/main.sock", CORE_OK},
        {"main.sock", CORE_OK},
        {"", CORE_BAD},
        {"tcp:127.0.0.1:7700", CORE_OK},
        {"tcp:127.9.9.9:0", CORE_OK},
        {"tcp:localhost:65535", CORE_OK},
        {"tcp:[::1]:7700", CORE_OK},
        {"tcp:127.0.0.1:65536", CORE_BAD},
        {"tcp:127.0.0.1:99999999999999999999", CORE_BAD},
        {"tcp:127.0.0.1:", CORE_BAD},
        {"tcp:127.0.0.1", CORE_BAD},
        {"tcp:127.0.0.1:77x", CORE_BAD},
        {"tcp:::1:7700", CORE_BAD},
        {"tcp:[::1:7700", CORE_BAD},
        {"tcp:[127.0.0.1]:7700", CORE_BAD},
        {"tcp:0.0.0.0:7700", CORE_BAD},
        {"tcp:192.0.2.1:7700", CORE_BAD},
        {"tcp:[::]:7700", CORE_BAD},
        {"tcp:[2001:db8::1]:7700", CORE_BAD},
        {"tcp:example.org:7700", CORE_BAD},
        {"tcp:", CORE_BAD},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rpc_address address;
        struct core_fail fail = {0};
        enum core_err err = rpc_address_read(rows[i].text, &address, &fail);
        if (err != rows[i].err || (err != CORE_OK && fail.text[0] == '\0')) {
            fail_msg("%s: %d %s", rows[i].text, err, fail.text);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_four_kinds),
        cmocka_unit_test(test_ids_come_back_as_they_were),
        cmocka_unit_test(test_what_is_none_and_why),
        cmocka_unit_test(test_a_nul_byte_is_no_json),
        cmocka_unit_test(test_a_long_id_is_refused),
        cmocka_unit_test(test_a_full_arena_is_a_limit_and_the_densest_line_fits),
        cmocka_unit_test(test_a_token_is_the_token),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
