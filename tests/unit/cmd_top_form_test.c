/* tests/unit/cmd_top_form_test.c: numbers and texts of `tapline top` as cells (cmd/top_form.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/top.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void form_is(enum top_form form, double value, const char *expected) {
    char text[32];
    top_form(form, value, text, sizeof(text));
    assert_string_equal(text, expected);
}

static void numbers_are_short(void **state) {
    (void)state;
    static const struct {
        enum top_form form;
        double value;
        const char *text;
    } rows[] = {
        {TOP_NUMBER, 0, "0"},           {TOP_NUMBER, 7, "7"},          {TOP_NUMBER, 0.25, "0.2"},
        {TOP_NUMBER, 9.96, "10"},       {TOP_NUMBER, 999.4, "999"},    {TOP_NUMBER, 999.9, "1.00k"},
        {TOP_NUMBER, 1234, "1.23k"},    {TOP_NUMBER, 99949, "99.9k"},  {TOP_NUMBER, 123456, "123k"},
        {TOP_NUMBER, 999999, "1.00M"},  {TOP_NUMBER, 5e9, "5.00G"},    {TOP_NUMBER, -1234, "-1.23k"},
        {TOP_BYTES, 1023, "1023"},      {TOP_BYTES, 1024, "1.00K"},    {TOP_BYTES, 10485760, "10.0M"},
        {TOP_SECONDS, 0, "0s"},         {TOP_SECONDS, 0.0006, "1ms"},  {TOP_SECONDS, 0.25, "250ms"},
        {TOP_SECONDS, 1, "1.0s"},       {TOP_SECONDS, 59.94, "59.9s"}, {TOP_SECONDS, 125, "2m05s"},
        {TOP_SECONDS, 7384, "2h03m"},   {TOP_SECONDS, 93784, "1d02h"}, {TOP_PERCENT, 0, "0%"},
        {TOP_PERCENT, 0.0004, "0.04%"}, {TOP_PERCENT, 0.125, "12.5%"}, {TOP_PERCENT, 1, "100%"},
        {TOP_PERCENT, 2.5, "250%"},     {TOP_YES, 1, "yes"},           {TOP_YES, 0, "no"},
        {TOP_SUPERVISED, 6, "latched"}, {TOP_SUPERVISED, 7, "?"},      {TOP_INTEL, 4, "unavailable"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        form_is(rows[i].form, rows[i].value, rows[i].text);
    }
}

static void put_is(const char *text, size_t width, bool is_right, bool keeps_end, const char *expected) {
    char line[TOP_LINE_BYTES] = "";
    size_t at = 0;
    top_put(line, &at, text, width, is_right, keeps_end);
    assert_string_equal(line, expected);
    assert_int_equal(top_width(line), width);
}

static void texts_are_cut_and_filled(void **state) {
    (void)state;
    top_is_utf8 = true;
    put_is("abc", 5, false, false, "abc  ");
    put_is("abc", 5, true, false, "  abc");
    put_is("abcdef", 4, false, false, "abc…");
    put_is("abcdef", 4, false, true, "…def");
    put_is("abcdef", 1, false, false, "…");
    put_is("abc", 0, false, false, "");
    put_is("bücher", 4, false, false, "büc…");
    put_is("日本語", 4, false, false, "日… ");
    put_is("日本語", 4, false, true, "…語 ");
    put_is("日本語", 6, false, true, "日本語");
    top_is_utf8 = false;
    put_is("abcdef", 4, false, false, "abc~");
}

static void what_would_drive_a_terminal_is_not_shown(void **state) {
    (void)state;
    char text[64];
    top_is_utf8 = true;
    top_clean(CORE_SPAN("a\033[2Jb\x9b\xc2\x9b\tc\x7f\xffü"), text, sizeof(text));
    assert_string_equal(text, "a?[2Jb?? c??ü");
    top_is_utf8 = false;
    top_clean(CORE_SPAN("bücher"), text, sizeof(text));
    assert_string_equal(text, "b?cher");
    top_clean(CORE_SPAN("0123456789012345678901234567890123456789012345678901234567890123456789"), text, sizeof(text));
    assert_true(strlen(text) < sizeof(text));
}

static void a_past_is_a_line(void **state) {
    (void)state;
    const float values[] = {0, 1, 2, 4, NAN, 7};
    char text[64];
    top_is_utf8 = true;
    top_sparkline(values, 6, text, sizeof(text));
    assert_string_equal(text, "▁▂▃▅ █");
    top_is_utf8 = false;
    top_sparkline(values, 6, text, sizeof(text));
    assert_string_equal(text, "_.-+ #");
    top_sparkline(values, 0, text, sizeof(text));
    assert_string_equal(text, "");
}

static void lines_are_wrapped(void **state) {
    (void)state;
    struct top_lines lines = {.width = 12};
    top_is_utf8 = true;
    top_line_wrap(&lines, TOP_PLAIN, 2, CORE_SPAN("one two three abcdefghijklmnop x"));
    static const char *const expected[] = {"  one two", "  three", "  abcdefghij", "  klmnop x"};
    assert_int_equal(lines.len, 4);
    for (size_t i = 0; i < lines.len; i++) {
        assert_string_equal(lines.all[i].text, expected[i]);
    }
    free(lines.all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_short),
        cmocka_unit_test(texts_are_cut_and_filled),
        cmocka_unit_test(what_would_drive_a_terminal_is_not_shown),
        cmocka_unit_test(a_past_is_a_line),
        cmocka_unit_test(lines_are_wrapped),
    };
    if (setlocale(LC_CTYPE, "C.UTF-8") == NULL) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
