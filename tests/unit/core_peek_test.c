/* Where a document's time and dataset are found, and where they are not.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/peek.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct peeked {
    const char *doc;
    bool is_object;
    const char *timestamp; /* NULL: not found */
    const char *dataset;
};

static const struct peeked peeks[] = {
    {"{\"@timestamp\":\"t\",\"ecs\":{\"version\":\"8\"},\"event\":{\"kind\":\"event\",\"dataset\":\"zeek.dns\"},\"x\":"
     "1}",
     true, "t", "zeek.dns"},
    {"{\"event\":{\"dataset\":\"d\"},\"@timestamp\":\"t\"}", true, "t", "d"},
    {"{\"event.dataset\":\"d\",\"@timestamp\":\"t\"}", true, "t", "d"},
    {" \t{ \"a\" : [ { \"}\" : \"]\" } , 1 ] , \"event\" : { \"a\" : { \"dataset\" : \"no\" } , \"dataset\" : \"d\" } "
     "} ",
     true, NULL, "d"},
    {"{\"a\":\"\\\"@timestamp\\\":\\\"no\\\"\",\"@timestamp\":\"t\\u0041\\\\\"}", true, "t\\u0041\\\\", NULL},
    {"{\"@timestamp\":17,\"event\":{\"dataset\":[\"d\"]}}", true, NULL, NULL},
    {"{\"@timestamp\":\"first\",\"@timestamp\":\"second\",\"event\":\"text\",\"event\":{\"dataset\":\"d\"}}", true,
     "first", "d"},
    {"{\"dataset\":\"no\",\"event\":{}}", true, NULL, NULL},
    {"{\"@timestamp\":\"t\",\"x\":\"\xc3\xa9\xff\x01\",\"event\":{\"dataset\":\"d\xc3\xa9\"}}", true, "t", "d\xc3\xa9"},
    {"{}", true, NULL, NULL},
    {"{\"a\":null,\"b\":true,\"c\":-1.5e3}", true, NULL, NULL},
    {"{\"@timestamp\":\"t\"", false, "t", NULL},
    {"{\"@timestamp\":\"t", false, NULL, NULL},
    {"{\"@timestamp\":\"t\\", false, NULL, NULL},
    {"{\"a\":[[}", false, NULL, NULL},
    {"{\"a\"}", false, NULL, NULL},
    {"{\"a\":}", false, NULL, NULL},
    {"{\"a\":1 \"b\":2}", false, NULL, NULL},
    /* yajl takes these two for blanks; JSON does not, and no more does Elasticsearch. */
    {"{\"a\"\v:1}", false, NULL, NULL},
    {"{\f}", false, NULL, NULL},
    {"[1]", false, NULL, NULL},
    {"\"@timestamp\"", false, NULL, NULL},
    {"", false, NULL, NULL},
    {"   ", false, NULL, NULL},
};

static void assert_span(struct core_span found, const char *expected, const char *doc) {
    if (!core_span_is(found, expected == NULL ? "" : expected)) {
        fail_msg("%s: found \"%.*s\"", doc, (int)found.len, found.len == 0 ? "" : found.ptr);
    }
}

static void time_and_dataset_are_found_where_they_belong(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof peeks / sizeof peeks[0]; i++) {
        struct core_peek peek;
        size_t len = strlen(peeks[i].doc);
        char *exact = malloc(len + 1); /* so that a sanitizer sees a byte too many */
        assert_non_null(exact);
        char *copy = memcpy(realloc(exact, len == 0 ? 1 : len), peeks[i].doc, len);
        bool is_object = core_peek((struct core_span){copy, len}, &peek);
        if (is_object != peeks[i].is_object) {
            fail_msg("%s", peeks[i].doc);
        }
        assert_span(peek.timestamp, peeks[i].timestamp, peeks[i].doc);
        assert_span(peek.dataset, peeks[i].dataset, peeks[i].doc);
        free(copy);
    }
}

static void a_member_of_the_top_is_found_by_how_it_begins(void **state) {
    (void)state;
    const struct core_span prefix = CORE_SPAN("data_stream");
    assert_true(core_peek_has(CORE_SPAN("{\"a\":{\"b\":[1,{}]},\"data_stream\":{}}"), prefix));
    assert_true(core_peek_has(CORE_SPAN("{\"data_stream.type\":\"x\"}"), prefix));
    assert_false(core_peek_has(CORE_SPAN("{\"a\":{\"data_stream\":1},\"b\":\"data_stream\"}"), prefix));
    assert_false(core_peek_has(CORE_SPAN("{\"a\":{\"data_stream\":1}"), prefix));
    assert_false(core_peek_has(CORE_SPAN(""), prefix));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_and_dataset_are_found_where_they_belong),
        cmocka_unit_test(a_member_of_the_top_is_found_by_how_it_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
