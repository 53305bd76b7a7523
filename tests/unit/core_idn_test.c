/* tests/unit/core_idn_test.c: host names in other letters, as DNS asks for them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/idn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void test_names(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"b\xc3\xbc"
         "cher.example",
         "xn--bcher-kva.example"},
        {"B\xc3\x9c"
         "CHER.example",
         "xn--bcher-kva.example"},
        {"fu\xc3\x9f"
         "ball.example",
         "xn--fuball-cta.example"}, /* non-transitional: not "fussball" */
        {"\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80.\xd1\x80\xd1\x84", "xn--e1afmkfd.xn--p1ai"},
        {"evil.example", "evil.example"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[256];
        size_t len = 0;
        assert_true(core_idn_ascii(core_span_of(rows[i][0]), out, sizeof(out), &len));
        assert_true(core_span_is((struct core_span){out, len}, rows[i][1]));
    }
}

static void test_what_is_none(void **state) {
    (void)state;
    char out[256];
    char small[8];
    size_t len = 0;
    char longest[CORE_IDN_BYTES_MAX + 1];
    memset(longest, 'a', sizeof(longest));
    assert_false(core_idn_ascii(core_span_of(""), out, sizeof(out), &len));
    assert_false(core_idn_ascii(core_span_of("\xff\xfe"), out, sizeof(out), &len));
    assert_false(core_idn_ascii((struct core_span){"a\0b", 3}, out, sizeof(out), &len));
    assert_false(core_idn_ascii((struct core_span){longest, sizeof(longest)}, out, sizeof(out), &len));
    assert_false(core_idn_ascii(core_span_of("b\xc3\xbc"
                                             "cher.example"),
                                small, sizeof(small), &len));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_what_is_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
