/* The set of spans: what joins, what is missing, what came twice, in any order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/spans.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void add(struct spans *spans, uint64_t from, uint64_t end, uint32_t time_s) {
    struct core_fail fail;
    assert_int_equal(spans_add(spans, from, end, time_s, &fail), CORE_OK);
}

static void settle(struct spans *spans) {
    struct core_fail fail;
    assert_int_equal(spans_settle(spans, &fail), CORE_OK);
}

static void joins_in_any_order(void **state) {
    (void)state;
    struct spans spans = {0};
    struct span_gap gap;
    add(&spans, 20, 30, 3);
    add(&spans, 0, 10, 1);
    add(&spans, 10, 20, 2);
    settle(&spans);
    assert_int_equal(spans.len, 1);
    assert_null(spans.twice);
    assert_false(spans_gap(&spans, 0, 30, &gap));
    assert_true(spans_gap(&spans, 0, 31, &gap));
    assert_int_equal(gap.from, 30);
    assert_int_equal(gap.end, 31);
    assert_int_equal(gap.before_s, 3);
    assert_int_equal(gap.after_s, 0);
    spans_release(&spans);
}

static void holes_are_found_with_their_neighbours(void **state) {
    (void)state;
    struct spans spans = {0};
    struct span_gap gap;
    add(&spans, 5, 10, 7);
    add(&spans, 15, 20, 8);
    settle(&spans);
    assert_true(spans_gap(&spans, 0, 20, &gap));
    assert_int_equal(gap.from, 0);
    assert_int_equal(gap.end, 5);
    assert_int_equal(gap.before_s, 0);
    assert_int_equal(gap.after_s, 7);
    assert_true(spans_gap(&spans, gap.end, 20, &gap));
    assert_int_equal(gap.from, 10);
    assert_int_equal(gap.end, 15);
    assert_int_equal(gap.before_s, 7);
    assert_int_equal(gap.after_s, 8);
    assert_false(spans_gap(&spans, gap.end, 20, &gap));
    assert_true(spans_gap(&spans, 7, 12, &gap)); /* from the middle of one, to the middle of a hole */
    assert_int_equal(gap.from, 10);
    assert_int_equal(gap.end, 12);
    assert_true(spans_gap(&spans, 11, 12, &gap));
    assert_int_equal(gap.from, 11);
    assert_false(spans_gap(&spans, 9, 9, &gap));
    spans_release(&spans);
    assert_true(spans_gap(&spans, 3, 4, &gap)); /* nothing came at all */
    assert_int_equal(gap.from, 3);
    assert_int_equal(gap.end, 4);
}

static void bytes_that_come_again_are_told(void **state) {
    (void)state;
    struct spans spans = {0};
    add(&spans, 0, 10, 1);
    add(&spans, 10, 20, 1);
    add(&spans, 30, 40, 1);
    add(&spans, 10, 20, 2);
    add(&spans, 35, 45, 2);
    add(&spans, 10, 20, 3);
    settle(&spans);
    assert_int_equal(spans.len, 2);
    assert_non_null(spans.twice);
    assert_int_equal(spans.twice->len, 2);
    assert_int_equal(spans.twice->ones[0].from, 10);
    assert_int_equal(spans.twice->ones[0].end, 20);
    assert_int_equal(spans.twice->ones[1].from, 35);
    assert_int_equal(spans.twice->ones[1].end, 40);
    add(&spans, 0, 10, 4); /* after it was settled once */
    settle(&spans);
    assert_int_equal(spans.twice->len, 2);
    assert_int_equal(spans.twice->ones[0].from, 0);
    spans_release(&spans);
}

#define RECORDS 20000

/* Against an array with one counter a byte: random order, some left out, some twice. */
static void agrees_with_counting_bytes(void **state) {
    (void)state;
    srand(5);
    for (int round = 0; round < 20; round++) {
        static unsigned char count[RECORDS * 8];
        static struct span record[RECORDS + RECORDS / 50];
        memset(count, 0, sizeof count);
        size_t len = 0;
        uint64_t at = 0;
        for (size_t i = 0; i < RECORDS; i++) {
            uint64_t end = at + 1 + (uint64_t)(rand() % 7);
            int luck = rand() % 1000;
            for (int copies = luck == 0 ? 0 : luck == 1 ? 2 : 1; copies > 0; copies--) {
                record[len++] = (struct span){at, end, 1, 1};
            }
            at = end;
        }
        for (size_t i = len - 1; i > 0; i--) { /* mostly near their places, as partitions give them */
            size_t back = (size_t)rand() % (round % 2 == 0 ? 64 : len);
            size_t j = back > i ? 0 : i - back;
            struct span swap = record[i];
            record[i] = record[j];
            record[j] = swap;
        }
        struct spans spans = {0};
        for (size_t i = 0; i < len; i++) {
            add(&spans, record[i].from, record[i].end, 1);
            for (uint64_t b = record[i].from; b < record[i].end; b++) {
                count[b]++;
            }
        }
        settle(&spans);
        struct span_gap gap = {0};
        uint64_t hole = 0;
        for (uint64_t from = 0; spans_gap(&spans, from, at, &gap); from = gap.end) {
            for (uint64_t b = hole; b < gap.from; b++) {
                assert_int_not_equal(count[b], 0);
            }
            for (uint64_t b = gap.from; b < gap.end; b++) {
                assert_int_equal(count[b], 0);
            }
            hole = gap.end;
        }
        for (uint64_t b = hole; b < at; b++) {
            assert_int_not_equal(count[b], 0);
        }
        size_t twice = 0;
        for (uint64_t b = 0; b < at; b++) {
            twice += count[b] > 1 && (b == 0 || count[b - 1] < 2) ? 1 : 0;
        }
        assert_int_equal(spans.twice == NULL ? 0 : spans.twice->len, twice);
        spans_release(&spans);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_in_any_order),
        cmocka_unit_test(holes_are_found_with_their_neighbours),
        cmocka_unit_test(bytes_that_come_again_are_told),
        cmocka_unit_test(agrees_with_counting_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
