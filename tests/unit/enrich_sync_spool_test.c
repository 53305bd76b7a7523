/* What a feed names, kept until all of it was read: in order, once, whole.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/sync_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define MANY 100000

static struct enrich_item item_of(const char *value, const char *provider) {
    struct enrich_item item = source_item(CORE_INDICATOR_DOMAIN, core_span_of(value));
    item.said.feed = "feed";
    item.said.provider = provider;
    return item;
}

static struct sync_spool *spool_new(uint64_t items_max) {
    struct sync_spool *spool = NULL;
    struct core_fail fail;
    assert_int_equal(sync_spool_open(&spool, "feed", items_max, &fail), CORE_OK);
    return spool;
}

static enum core_err add(struct sync_spool *spool, const char *value, const char *provider, bool is_gone) {
    struct core_fail fail;
    struct enrich_item item = item_of(value, provider);
    return sync_spool_add(spool, &item, is_gone, &fail);
}

static void test_all_of_an_item(void **state) {
    (void)state;
    struct sync_spool *spool = spool_new(10);
    struct core_fail fail;
    struct enrich_item item = item_of("evil.example", "corp"), back;
    char longest[ENRICH_TEXT_BYTES_MAX + 1];
    bool is_gone = true;
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    item.said.tlp = "AMBER+STRICT";
    item.said.description = longest;
    item.said.reference = "";
    item.said.id = "u-1";
    item.said.confidence_tenths = 75;
    item.said.first_seen = 1;
    item.said.last_seen = INT64_C(1) << 40;
    item.said.expires = -1;
    item.said.subdomains = true;
    assert_int_equal(sync_spool_add(spool, &item, false, &fail), CORE_OK);
    assert_int_equal(add(spool, "b.example", "corp", true), CORE_OK);
    assert_int_equal(sync_spool_rewind(spool, &fail), CORE_OK);
    assert_int_equal(sync_spool_next(spool, &back, &is_gone, &fail), CORE_OK);
    assert_false(is_gone);
    assert_int_equal(back.type, CORE_INDICATOR_DOMAIN);
    assert_true(core_span_is(back.value, "evil.example"));
    assert_string_equal(back.said.feed, "feed");
    assert_string_equal(back.said.provider, "corp");
    assert_string_equal(back.said.tlp, "AMBER+STRICT");
    assert_string_equal(back.said.description, longest);
    assert_string_equal(back.said.reference, "");
    assert_null(back.said.tags);
    assert_string_equal(back.said.id, "u-1");
    assert_int_equal(back.said.confidence_tenths, 75);
    assert_true(back.said.first_seen == 1 && back.said.last_seen == INT64_C(1) << 40 && back.said.expires == -1);
    assert_true(back.said.subdomains);
    assert_int_equal(sync_spool_next(spool, &back, &is_gone, &fail), CORE_OK);
    assert_true(is_gone && core_span_is(back.value, "b.example"));
    assert_int_equal(back.said.confidence_tenths, ENRICH_CONFIDENCE_NONE);
    assert_int_equal(sync_spool_next(spool, &back, &is_gone, &fail), CORE_GONE);
    sync_spool_close(spool);
    sync_spool_close(NULL);
}

static void test_once_each(void **state) {
    (void)state;
    struct sync_spool *spool = spool_new(3);
    assert_int_equal(add(spool, "a.example", "x", true), CORE_OK); /* what is gone takes no place */
    assert_int_equal(add(spool, "a.example", "x", false), CORE_OK);
    assert_int_equal(add(spool, "a.example", "x", false), CORE_AGAIN);
    assert_int_equal(add(spool, "a.example", "y", false), CORE_OK);
    assert_int_equal(add(spool, "b.example", "x", false), CORE_OK);
    assert_int_equal(add(spool, "c.example", "x", false), CORE_LIMIT);
    assert_int_equal(add(spool, "a.example", "x", false), CORE_AGAIN);
    assert_int_equal(sync_spool_items(spool), 3);
    assert_true(sync_spool_has(spool, CORE_INDICATOR_DOMAIN, CORE_SPAN("a.example"), "y"));
    assert_false(sync_spool_has(spool, CORE_INDICATOR_DOMAIN, CORE_SPAN("b.example"), "y"));
    assert_false(sync_spool_has(spool, CORE_INDICATOR_URL, CORE_SPAN("a.example"), "x"));
    sync_spool_close(spool);
}

/* Forwards or backwards: the same names, the same print; and all are there. */
static void test_many(void **state) {
    (void)state;
    struct sync_spool *there = spool_new(MANY), *back = spool_new(MANY);
    struct core_fail fail;
    struct enrich_item item;
    bool is_gone;
    char value[32];
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(value, sizeof value, "h%d.example", i);
        assert_int_equal(add(there, value, "p", false), CORE_OK);
        (void)snprintf(value, sizeof value, "h%d.example", MANY - 1 - i);
        assert_int_equal(add(back, value, "p", false), CORE_OK);
        assert_true(i == MANY - 1 || sync_spool_print(there) != sync_spool_print(back));
    }
    assert_true(sync_spool_print(there) == sync_spool_print(back));
    assert_int_equal(sync_spool_rewind(there, &fail), CORE_OK);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(value, sizeof value, "h%d.example", i);
        assert_int_equal(sync_spool_next(there, &item, &is_gone, &fail), CORE_OK);
        assert_true(core_span_is(item.value, value));
        assert_true(sync_spool_has(back, item.type, item.value, item.said.provider));
    }
    assert_int_equal(sync_spool_next(there, &item, &is_gone, &fail), CORE_GONE);
    assert_false(sync_spool_has(back, CORE_INDICATOR_DOMAIN, CORE_SPAN("h-1.example"), "p"));
    sync_spool_close(there);
    sync_spool_close(back);
}

static void test_no_room_for_it(void **state) {
    (void)state;
    struct sync_spool *spool = NULL;
    struct core_fail fail;
    assert_int_equal(setenv("TMPDIR", "/nonexistent/folder", 1), 0);
    assert_int_equal(sync_spool_open(&spool, "feed", 1, &fail), CORE_IO);
    assert_null(spool);
    assert_non_null(strstr(fail.text, "keeps a feed"));
    assert_int_equal(unsetenv("TMPDIR"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_of_an_item),
        cmocka_unit_test(test_once_each),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_no_room_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
