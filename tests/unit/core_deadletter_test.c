/* tests/unit/core_deadletter_test.c: a dead letter says why, is always valid JSON, and can be traced to its record.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/deadletter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

static struct core_stream stream = {.magic = CORE_STREAM_MAGIC, .gen = 0xabcu, .path = "/logs/a\"b.log"};

static bool ignore_null(void *ctx) {
    (void)ctx;
    return true;
}

static bool ignore_bool(void *ctx, bool value) {
    (void)ctx, (void)value;
    return true;
}

static bool ignore_text(void *ctx, struct core_span text) {
    (void)ctx, (void)text;
    return true;
}

static const struct core_json_calls calls = {.on_null = ignore_null,
                                             .on_bool = ignore_bool,
                                             .on_number = ignore_text,
                                             .on_string = ignore_text,
                                             .on_key = ignore_text,
                                             .on_map = ignore_bool,
                                             .on_array = ignore_bool};

/* The document as a string, checked to be one JSON value in UTF-8. Freed by the caller. */
static char *written(const struct core_dead *dead) {
    char *text = calloc(1, 2 * CORE_MIB);
    assert_non_null(text);
    struct core_buf buf = {.start = text, .pos = text, .end = text + 2 * CORE_MIB - 1};
    core_dead_write(&buf, &stream, dead, INT64_C(1000000000));
    assert_false(buf.is_full);
    struct core_json_reader *reader = core_json_reader_new(&calls, NULL);
    struct core_fail fail;
    assert_int_equal(core_json_read(reader, core_buf_written(&buf), &fail), CORE_OK);
    core_json_reader_free(reader);
    assert_true(core_utf8_is_valid(core_buf_written(&buf)));
    return text;
}

static void expect_has(const char *text, const char *part) {
    if (strstr(text, part) == NULL) {
        fail_msg("%s is not in %.2000s", part, text);
    }
}

static void test_text_stands_as_it_was(void **state) {
    (void)state;
    char *text = written(&(struct core_dead){.reason = "no \"#fields\" before it",
                                             .raw = CORE_SPAN("a\tb\xc3\xbc"),
                                             .line_number = 12,
                                             .start = 100,
                                             .end = 105});
    assert_string_equal(
        text,
        "{\"@timestamp\":\"1970-01-01T00:00:01.000000Z\",\"ecs\":{\"version\":\"8.17.0\"},\"event\":{\"kind\":"
        "\"pipeline_error\",\"module\":\"tapline\",\"dataset\":\"tapline.deadletter\",\"original\":\"a\\tb\xc3\xbc\"},"
        "\"error\":{\"message\":\"no \\\"#fields\\\" before it\"},\"log\":{\"file\":{\"path\":\"/logs/a\\\"b.log\","
        "\"line\":12},\"offset\":100},\"tapline\":{\"id\":\"0000000000000abc0000000000000064\",\"start\":100,"
        "\"end\":105}}");
    free(text);
}

static void test_bytes_that_are_no_text_become_base64(void **state) {
    (void)state;
    char *text = written(&(struct core_dead){.reason = "bad", .raw = CORE_SPAN("\xff\xfe\0x"), .start = 0, .end = 4});
    expect_has(text, "\"original_base64\":\"//4AeA==\"");
    assert_null(strstr(text, "\"original\":"));
    assert_null(strstr(text, "\"line\""));
    assert_null(strstr(text, "original_bytes"));
    free(text);
}

/* sha256 of 70,000 times 'a': by sha256sum. */
#define SHA_70000 "66915c0872933db504e7578828dd85b7e74a4e0a061f9756793b89c4151bd4b5"

static void test_long_ones_are_cut_and_recognisable(void **state) {
    (void)state;
    static char raw[70000];
    memset(raw, 'a', sizeof raw);
    struct core_dead dead = {.reason = "long", .raw = {.ptr = raw, .len = sizeof raw}};
    char *text = written(&dead);
    expect_has(text, "\"original_bytes\":70000,\"original_sha256\":\"" SHA_70000 "\"}");
    assert_true(strlen(text) > CORE_DEAD_RAW_BYTES_MAX && strlen(text) < CORE_DEAD_RAW_BYTES_MAX + 1000);
    free(text);
    dead.raw_len = 90000; /* ingest itself kept only the head */
    text = written(&dead);
    expect_has(text, "\"original_bytes\":90000,\"original_sha256\":\"" SHA_70000 "\",\"original_sha256_bytes\":70000}");
    free(text);
    dead.raw_bytes_max = 100;
    text = written(&dead);
    assert_true(strlen(text) < 1000);
    free(text);
}

/* The cut falls on every byte of a four-byte character in turn: text stays text. */
static void test_a_character_is_not_cut_in_two(void **state) {
    (void)state;
    static char raw[CORE_DEAD_RAW_BYTES_MAX + 64];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(raw, 'a', shift);
        for (size_t at = shift; at + 4 <= sizeof raw; at += 4) {
            memcpy(raw + at, "\xf0\x9f\x90\x81", 4);
        }
        char *text = written(&(struct core_dead){.reason = "cut", .raw = {.ptr = raw, .len = sizeof raw - 4}});
        expect_has(text, "\"original\":\"");
        free(text);
    }
}

static void test_of_kafka_says_where_it_lies(void **state) {
    (void)state;
    static char raw[CORE_DEAD_DOCUMENT_BYTES_MAX];
    memset(raw, '"', sizeof raw); /* the worst: each becomes two */
    const struct core_dead_source source = {
        .kind = "refused", .topic = "tapline.zeek.dns", .partition = 3, .offset = 77, .dataset = "zeek.dns"};
    struct core_dead dead = {.reason = "mapper_parsing_exception: no",
                             .raw = {.ptr = raw, .len = sizeof raw},
                             .raw_bytes_max = CORE_DEAD_DOCUMENT_BYTES_MAX,
                             .start = 9,
                             .source = &source};
    char *text = written(&dead);
    expect_has(text, "\"tapline\":{\"id\":\"0000000000000abc0000000000000009\",\"kind\":\"refused\",\"topic\":"
                     "\"tapline.zeek.dns\",\"partition\":3,\"offset\":77,\"dataset\":\"zeek.dns\"}}");
    assert_null(strstr(text, "\"log\":"));
    assert_null(strstr(text, "original_bytes"));
    assert_true(strlen(text) < 1000000); /* what librdkafka and a broker take, if nobody says otherwise */
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_stands_as_it_was),
        cmocka_unit_test(test_bytes_that_are_no_text_become_base64),
        cmocka_unit_test(test_long_ones_are_cut_and_recognisable),
        cmocka_unit_test(test_a_character_is_not_cut_in_two),
        cmocka_unit_test(test_of_kafka_says_where_it_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
