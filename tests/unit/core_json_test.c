/* Stands for core/json.c: what is written is valid JSON whatever the bytes; what is read is exactly one value.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/json.h"

#include <stdio.h>

static void strings_are_valid_whatever_the_bytes(void **state) {
    (void)state;
    static const struct {
        struct core_span in;
        const char *out;
    } cases[] = {
        {{"plain", 5}, "\"plain\""},
        {{"a\"b\\c", 5}, "\"a\\\"b\\\\c\""},
        {{"\n\r\t\b\f\x01\x1f\x7f", 8}, "\"\\n\\r\\t\\u0008\\u000c\\u0001\\u001f\\u007f\""},
        {{"a\0b", 3}, "\"a\\u0000b\""},
        {{"\xc3\xbc", 2}, "\"\xc3\xbc\""},
        {{"\xf0\x9f\x98\x84", 4}, "\"\xf0\x9f\x98\x84\""},
        {{"\xfc", 1}, "\"\\\\xfc\""},
        {{"\xc3", 1}, "\"\\\\xc3\""},
        {{"\xc0\x80", 2}, "\"\\\\xc0\\\\x80\""},                       /* overlong */
        {{"\xed\xa0\x80", 3}, "\"\\\\xed\\\\xa0\\\\x80\""},            /* a surrogate */
        {{"\xf4\x90\x80\x80", 4}, "\"\\\\xf4\\\\x90\\\\x80\\\\x80\""}, /* past U+10FFFF */
        {{"\xe2\x82x", 3}, "\"\\\\xe2\\\\x82x\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[128];
        struct core_buf buf = {.start = out, .pos = out, .end = out + sizeof(out)};
        core_buf_string(&buf, cases[i].in);
        struct core_span got = core_buf_written(&buf);
        if (!core_span_is(got, cases[i].out)) {
            fail_msg("%zu: %.*s", i, (int)got.len, got.ptr);
        }
    }
}

static void writer_stops_at_its_end(void **state) {
    (void)state;
    for (size_t room = 0; room < 12; room++) {
        char out[16];
        memset(out, '#', sizeof(out));
        struct core_buf buf = {.start = out, .pos = out, .end = out + room};
        core_buf_string(&buf, CORE_SPAN("0123456789"));
        assert_int_equal(buf.is_full, room < 12);
        assert_int_equal(out[room], '#');
    }
}

static void numbers(void **state) {
    (void)state;
    static const char *const good[] = {"0", "-0", "10", "1.5", "-1.5e-7", "1E+9", "18446744073709551616"};
    static const char *const bad[] = {"", "-", "01", ".5", "1.", "1e", "+1", "nan", "0x1", "1 "};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(core_json_is_number(core_span_of(good[i])));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(core_json_is_number(core_span_of(bad[i])));
    }
    char out[32];
    struct core_buf buf = {.start = out, .pos = out, .end = out + sizeof(out)};
    core_buf_i64(&buf, INT64_MIN);
    assert_true(core_span_is(core_buf_written(&buf), "-9223372036854775808"));
    buf.pos = buf.start;
    core_buf_u64(&buf, UINT64_MAX);
    assert_true(core_span_is(core_buf_written(&buf), "18446744073709551615"));
}

static void base64(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < 5; i++) {
        char out[32];
        struct core_buf buf = {.start = out, .pos = out, .end = out + sizeof(out)};
        core_buf_base64(&buf, core_span_of(cases[i][0]));
        assert_true(core_span_is(core_buf_written(&buf), cases[i][1]));
    }
}

/* ---- reading: events as one line of text ------------------------------------------------------------------------------- */

struct heard {
    char text[512];
    size_t len;
    bool stops_at_number;
};

static bool hear(struct heard *heard, const char *what, struct core_span text) {
    int n = snprintf(heard->text + heard->len, sizeof(heard->text) - heard->len, "%s%.*s ", what, (int)text.len,
                     text.len == 0 ? "" : text.ptr);
    heard->len += (size_t)n;
    return heard->len < sizeof(heard->text);
}

static bool on_null(void *ctx) {
    return hear(ctx, "null", CORE_SPAN(""));
}

static bool on_bool(void *ctx, bool value) {
    return hear(ctx, value ? "true" : "false", CORE_SPAN(""));
}

static bool on_number(void *ctx, struct core_span text) {
    struct heard *heard = ctx;
    return hear(ctx, "#", text) && !heard->stops_at_number;
}

static bool on_string(void *ctx, struct core_span text) {
    return hear(ctx, "$", text);
}

static bool on_key(void *ctx, struct core_span text) {
    return hear(ctx, "@", text);
}

static bool on_map(void *ctx, bool is_start) {
    return hear(ctx, is_start ? "{" : "}", CORE_SPAN(""));
}

static bool on_array(void *ctx, bool is_start) {
    return hear(ctx, is_start ? "[" : "]", CORE_SPAN(""));
}

static const struct core_json_calls calls = {on_null, on_bool, on_number, on_string, on_key, on_map, on_array};

static void exactly_one_value(void **state) {
    (void)state;
    struct heard heard;
    struct core_json_reader *reader = core_json_reader_new(&calls, &heard);
    static const struct {
        const char *in;
        const char *out; /* NULL: refused */
    } cases[] = {
        {"{\"a\":[1,2.50,-3e7,null,true],\"b\":{\"c\":\"x\\u00fc\\n\"}}",
         "{ @a [ #1 #2.50 #-3e7 null true ] @b { @c $x\xc3\xbc\n } } "},
        {"{}", "{ } "},
        {"{", NULL},
        {"{}", "{ } "}, /* the reader is whole again after a refusal */
        {"{} {}", NULL},
        {"{}x", NULL},
        {"{}\"", NULL}, /* what is unfinished here is not the beginning of the next */
        {"{}-0.5", NULL},
        {"{}", "{ } "},
        {"", NULL},
        {"7", "#7 "},
        {"{\"a\":\"\xfc\"}", "{ @a $\xfc } "},
        {"{\"a\":tru}", NULL},
        {"{\"a\":\"\t\"}", NULL},
        {"  {\"a\":1}  ", "{ @a #1 } "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct core_fail fail = {0};
        memset(&heard, 0, sizeof(heard));
        enum core_err err = core_json_read(reader, core_span_of(cases[i].in), &fail);
        assert_int_equal(err, cases[i].out == NULL ? CORE_BAD : CORE_OK);
        if (cases[i].out != NULL) {
            assert_string_equal(heard.text, cases[i].out);
        } else {
            assert_true(strlen(fail.text) > 0);
        }
    }
    core_json_reader_free(reader);
}

static void depth_is_bounded(void **state) {
    (void)state;
    struct heard heard;
    struct core_json_reader *reader = core_json_reader_new(&calls, &heard);
    char text[256];
    for (size_t depth = 63; depth < 67; depth++) {
        struct core_fail fail = {0};
        memset(&heard, 0, sizeof(heard));
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        enum core_err err = core_json_read(reader, (struct core_span){text, depth * 2}, &fail);
        assert_int_equal(err, depth <= 64 ? CORE_OK : CORE_BAD);
    }
    core_json_reader_free(reader);
}

static void a_callback_can_stop(void **state) {
    (void)state;
    struct heard heard = {.stops_at_number = true};
    struct core_json_reader *reader = core_json_reader_new(&calls, &heard);
    struct core_fail fail = {0};
    assert_int_equal(core_json_read(reader, CORE_SPAN("{\"a\":1,\"b\":2}"), &fail), CORE_BAD);
    assert_string_equal(heard.text, "{ @a #1 ");
    core_json_reader_free(reader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_valid_whatever_the_bytes),
        cmocka_unit_test(writer_stops_at_its_end),
        cmocka_unit_test(numbers),
        cmocka_unit_test(base64),
        cmocka_unit_test(exactly_one_value),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(a_callback_can_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
