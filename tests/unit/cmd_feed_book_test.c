/* Rows of feeders against records of topics: what adds up, and each way in which it does not.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/feed_book.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define DAY 20779 /* 2026-11-22 */

static struct core_span span(const char *text) {
    return core_span_of(text);
}

/* A row of topic t, partition 0, with one day and dataset. */
static void row(struct feed_book *book, int64_t from, int64_t to, uint64_t indexed, uint64_t repeated, uint64_t dead) {
    struct core_fail fail;
    struct feed_cell cell = {.day = DAY, .indexed = indexed, .repeated = repeated, .dead = dead};
    struct feed_row *made = feed_book_row(book, span("t"), 0, from, to);
    assert_non_null(made);
    assert_int_equal(feed_book_count(book, made, &cell, span("zeek.dns"), &fail), CORE_OK);
}

static void take(struct feed_book *book, size_t part, int64_t from, int64_t to, const char *dataset) {
    struct core_fail fail;
    for (int64_t offset = from; offset < to; offset++) {
        assert_int_equal(feed_book_take(book, part, offset, DAY, span(dataset), &fail), CORE_OK);
    }
}

static void days_are_read_and_written(void **state) {
    (void)state;
    int32_t day = 0;
    char text[11];
    assert_true(feed_book_day_parse(span("2026-11-22"), &day));
    assert_int_equal(day, DAY);
    feed_book_day_put(day, text);
    assert_string_equal(text, "2026-11-22");
    feed_book_day_put(0, text);
    assert_string_equal(text, "1970-01-01");
    assert_false(feed_book_day_parse(span("2026-11-2"), &day));
    assert_false(feed_book_day_parse(span("2026-13-22"), &day));
    assert_false(feed_book_day_parse(span("2026-11-223"), &day));
    assert_false(feed_book_day_parse((struct core_span){0}, &day));
}

static void all_adds_up(void **state) {
    (void)state;
    struct feed_book book = {0};
    row(&book, 10, 20, 5, 1, 1); /* 7 records, and offsets of marks */
    row(&book, 0, 10, 10, 0, 0);
    assert_true(feed_book_settle(&book, FEED_BOOK_DAY_MIN));
    size_t part = feed_book_place(&book, "t", 0, 0, 25);
    take(&book, part, 0, 10, "zeek.dns");
    take(&book, part, 12, 19, "zeek.dns");
    take(&book, part, 20, 23, "zeek.http"); /* not fed yet */
    feed_book_judge(&book);
    assert_true(feed_book_is_right(&book));
    assert_int_equal(book.sums_len, 2);
    assert_string_equal(book.datasets[book.sums[0].dataset], "zeek.dns");
    assert_int_equal(book.sums[0].accepted, 17);
    assert_int_equal(book.sums[0].indexed, 15);
    assert_int_equal(book.sums[0].repeated, 1);
    assert_int_equal(book.sums[0].dead, 1);
    assert_int_equal(book.sums[0].open, 0);
    assert_int_equal(book.sums[1].open, 3);
    assert_int_equal(book.all.accepted, 20);
    assert_int_equal(book.all.open, 3);
    assert_int_equal(feed_book_difference(&book.all), 0);
    feed_book_release(&book);
}

static void a_hole_is_wrong_only_if_a_record_is_in_it(void **state) {
    (void)state;
    for (int has_record = 0; has_record < 2; has_record++) {
        struct feed_book book = {0};
        row(&book, 0, 10, 10, 0, 0);
        row(&book, 14, 20, 6, 0, 0);
        assert_false(feed_book_settle(&book, FEED_BOOK_DAY_MIN));
        size_t part = feed_book_place(&book, "t", 0, 0, 20);
        take(&book, part, 0, 10, "zeek.dns");
        take(&book, part, 11, has_record ? 13 : 11, "zeek.dns");
        take(&book, part, 14, 20, "zeek.dns");
        feed_book_judge(&book);
        assert_int_equal(feed_book_is_right(&book), !has_record);
        assert_int_equal(feed_book_difference(&book.all), has_record ? 2 : 0);
        if (has_record) {
            assert_int_equal(book.findings_len, 1);
            assert_int_equal(book.findings[0].kind, FEED_WRONG_GAP);
            assert_int_equal(book.findings[0].from, 11);
            assert_int_equal(book.findings[0].to, 13);
            assert_int_equal(book.findings[0].counted, 2);
        }
        feed_book_release(&book);
    }
}

static void records_before_the_first_row_are_a_gap(void **state) {
    (void)state;
    struct feed_book book = {0};
    row(&book, 5, 10, 5, 0, 0);
    assert_true(feed_book_settle(&book, FEED_BOOK_DAY_MIN));
    size_t part = feed_book_place(&book, "t", 0, 0, 10);
    take(&book, part, 0, 10, "zeek.dns");
    feed_book_judge(&book);
    assert_int_equal(book.wrong[FEED_WRONG_GAP], 1);
    assert_int_equal(book.findings[0].from, 0);
    assert_int_equal(book.findings[0].to, 5);
    feed_book_release(&book);
}

static void rows_that_share_offsets_are_told(void **state) {
    (void)state;
    struct feed_book book = {0};
    row(&book, 0, 30, 30, 0, 0);
    row(&book, 10, 20, 10, 0, 0); /* within the first */
    row(&book, 25, 40, 15, 0, 0);
    assert_false(feed_book_settle(&book, FEED_BOOK_DAY_MIN));
    size_t part = feed_book_place(&book, "t", 0, 0, 40);
    take(&book, part, 0, 40, "zeek.dns");
    feed_book_judge(&book);
    assert_int_equal(book.wrong[FEED_WRONG_OVERLAP], 2);
    assert_int_equal(book.wrong[FEED_WRONG_COUNT], 0); /* what is told once is not told again */
    assert_int_equal(book.findings[0].from, 10);
    assert_int_equal(book.findings[0].to, 20);
    assert_int_equal(book.findings[1].from, 25);
    assert_int_equal(book.findings[1].to, 30);
    assert_int_equal(feed_book_difference(&book.all), -15);
    feed_book_release(&book);
}

static void a_number_that_differs_is_told_with_its_row(void **state) {
    (void)state;
    struct feed_book book = {0};
    row(&book, 0, 10, 9, 0, 0);
    row(&book, 10, 20, 10, 0, 0);
    (void)feed_book_settle(&book, FEED_BOOK_DAY_MIN);
    size_t part = feed_book_place(&book, "t", 0, 0, 20);
    take(&book, part, 0, 9, "zeek.dns");
    take(&book, part, 9, 10, "zeek.http"); /* of which the row knows nothing */
    take(&book, part, 10, 18, "zeek.dns"); /* two are missing */
    feed_book_judge(&book);
    assert_int_equal(book.wrong[FEED_WRONG_COUNT], 2);
    assert_string_equal(book.datasets[book.findings[0].dataset], "zeek.http");
    assert_int_equal(book.findings[0].counted, 1);
    assert_int_equal(book.findings[0].said, 0);
    assert_int_equal(book.findings[1].from, 10);
    assert_int_equal(book.findings[1].to, 20);
    assert_int_equal(book.findings[1].counted, 8);
    assert_int_equal(book.findings[1].said, 10);
    feed_book_release(&book);
}

static void what_retention_deleted_is_not_held_against_a_row(void **state) {
    (void)state;
    struct feed_book book = {0};
    row(&book, 0, 10, 10, 0, 0);  /* wholly deleted */
    row(&book, 10, 20, 9, 1, 0);  /* its first four are */
    row(&book, 20, 30, 10, 0, 0); /* one of these has vanished, which retention does not do */
    (void)feed_book_settle(&book, FEED_BOOK_DAY_MIN);
    size_t part = feed_book_place(&book, "t", 0, 14, 30);
    take(&book, part, 14, 29, "zeek.dns");
    feed_book_judge(&book);
    assert_int_equal(book.all.deleted, 14);
    assert_int_equal(book.wrong[FEED_WRONG_COUNT], 1);
    assert_int_equal(book.findings[0].from, 20);
    assert_int_equal(feed_book_difference(&book.all), -1);
    feed_book_release(&book);
}

static void more_than_a_cut_row_says_is_wrong(void **state) {
    (void)state;
    struct feed_book book = {0};
    row(&book, 0, 10, 2, 0, 0);
    (void)feed_book_settle(&book, FEED_BOOK_DAY_MIN);
    size_t part = feed_book_place(&book, "t", 0, 5, 10);
    take(&book, part, 5, 10, "zeek.dns");
    feed_book_judge(&book);
    assert_int_equal(book.wrong[FEED_WRONG_COUNT], 1);
    feed_book_release(&book);
}

static void a_topic_that_was_made_anew_is_told(void **state) {
    (void)state;
    struct feed_book book = {0};
    row(&book, 0, 100, 100, 0, 0);
    (void)feed_book_settle(&book, FEED_BOOK_DAY_MIN);
    size_t part = feed_book_place(&book, "t", 0, 0, 7);
    take(&book, part, 0, 7, "zeek.dns");
    feed_book_judge(&book);
    assert_int_equal(book.wrong[FEED_WRONG_BEHIND], 1);
    assert_int_equal(book.findings[0].said, 7);
    assert_int_equal(book.wrong[FEED_WRONG_COUNT], 0);
    feed_book_release(&book);
}

static void a_topic_that_is_gone_is_as_if_deleted_by_retention(void **state) {
    (void)state;
    struct feed_book book = {0};
    row(&book, 0, 100, 99, 0, 1);
    (void)feed_book_settle(&book, FEED_BOOK_DAY_MIN);
    feed_book_judge(&book);
    assert_true(feed_book_is_right(&book));
    assert_int_equal(book.all.deleted, 100);
    assert_int_equal(feed_book_difference(&book.all), 0);
    feed_book_release(&book);
}

static void the_value_that_reaches_furthest_counts(void **state) {
    (void)state;
    struct feed_book book = {0};
    row(&book, 0, 5, 5, 0, 0);
    row(&book, 0, 10, 10, 0, 0);
    assert_null(feed_book_row(&book, span("t"), 0, 0, 7));
    row(&book, 0, 10, 4, 6, 0); /* the same once more */
    row(&book, 10, 20, 1, 0, 0);
    feed_book_drop(&book, span("t"), 0, 10);
    feed_book_drop(&book, span("t"), 0, 11); /* there is none */
    assert_true(feed_book_settle(&book, FEED_BOOK_DAY_MIN));
    assert_int_equal(book.rows_len, 1);
    size_t part = feed_book_place(&book, "t", 0, 0, 10);
    take(&book, part, 0, 10, "zeek.dns");
    feed_book_judge(&book);
    assert_true(feed_book_is_right(&book));
    assert_int_equal(book.all.repeated, 6);
    feed_book_release(&book);
}

static void old_rows_are_left_out(void **state) {
    (void)state;
    struct feed_book book = {0};
    struct core_fail fail;
    struct feed_cell old = {.day = DAY - 3, .indexed = 1};
    struct feed_row *first = feed_book_row(&book, span("t"), 0, 0, 10);
    assert_int_equal(feed_book_count(&book, first, &old, span("zeek.dns"), &fail), CORE_OK);
    row(&book, 10, 20, 10, 0, 0);
    assert_true(feed_book_settle(&book, DAY));
    assert_int_equal(book.rows_len, 1);
    size_t part = feed_book_place(&book, "t", 0, 0, 20);
    assert_int_equal(book.parts[part].start, 10);
    take(&book, part, 0, 20, "zeek.dns");
    feed_book_judge(&book);
    assert_true(feed_book_is_right(&book));
    assert_int_equal(book.all.accepted, 10);
    feed_book_release(&book);
}

static void more_datasets_than_there_can_be_are_refused(void **state) {
    (void)state;
    struct feed_book book = {0};
    struct core_fail fail;
    char name[16];
    enum core_err err = CORE_OK;
    size_t part = feed_book_place(&book, "t", 0, 0, 10000);
    for (int i = 0; i <= FEED_BOOK_NAMES_MAX; i++) {
        assert_int_equal(err, CORE_OK);
        (void)snprintf(name, sizeof name, "d%d", i);
        err = feed_book_take(&book, part, i, DAY, span(name), &fail);
    }
    assert_int_equal(err, CORE_LIMIT);
    feed_book_release(&book);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_are_read_and_written),
        cmocka_unit_test(all_adds_up),
        cmocka_unit_test(a_hole_is_wrong_only_if_a_record_is_in_it),
        cmocka_unit_test(records_before_the_first_row_are_a_gap),
        cmocka_unit_test(rows_that_share_offsets_are_told),
        cmocka_unit_test(a_number_that_differs_is_told_with_its_row),
        cmocka_unit_test(what_retention_deleted_is_not_held_against_a_row),
        cmocka_unit_test(more_than_a_cut_row_says_is_wrong),
        cmocka_unit_test(a_topic_that_was_made_anew_is_told),
        cmocka_unit_test(a_topic_that_is_gone_is_as_if_deleted_by_retention),
        cmocka_unit_test(the_value_that_reaches_furthest_counts),
        cmocka_unit_test(old_rows_are_left_out),
        cmocka_unit_test(more_datasets_than_there_can_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
