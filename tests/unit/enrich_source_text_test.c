/* tests/unit/enrich_source_text_test.c: times, words and defanged texts of other people's files.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/json.h"
#include "tests/unit/enrich_source_rig.h"

static void test_times(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {
        {"2026-01-01T00:00:00Z", 1767225600},
        {"2026-01-01T00:00:00.123456Z", 1767225600},
        {"2026-01-01T00:00:00", 1767225600},
        {"2026-01-01t00:00:00z", 1767225600},
        {"2026-01-01 00:00:00 UTC", 1767225600},
        {"2026-01-01 00:00", 1767225600},
        {"2026-01-01T02:00:00+02:00", 1767225600},
        {"2025-12-31T22:30:00-0130", 1767225600},
        {"2026-01-01T02:00:00+02", 1767225600},
        {"2026-01-01", 1767225600},
        {"2026/01/01", 1767225600},
        {"20260101", 1767225600},
        {"1767225600", 1767225600},
        {"1767225600.75", 1767225600},
        {"1767225600123", 1767225600},
        {"1767225600123456", 1767225600},
        {" 1767225600\n", 1767225600},
        {"0", 0},
        {"", 0},
        {"-", 0},
        {"yesterday", 0},
        {"2026-13-01", 0},
        {"2026-01-01T25:00:00Z", 0},
        {"2026-01-01T00:00:00X", 0},
        {"2026-01-01T00:00:00.Z", 0},
        {"17672x", 0},
        {"1.2.3", 0},
        {"1900-01-01", 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        print_message("%s\n", rows[i].text);
        assert_true(source_time(core_span_of(rows[i].text)) == rows[i].seconds);
    }
}

static void test_markings(void **state) {
    (void)state;
    assert_string_equal(source_tlp(core_span_of("TLP:WHITE")), "CLEAR");
    assert_string_equal(source_tlp(core_span_of("tlp: amber+strict")), "AMBER+STRICT");
    assert_string_equal(source_tlp(core_span_of("Red")), "RED");
    assert_null(source_tlp(core_span_of("blue")));
    assert_null(source_tlp(core_span_of("")));
}

static void test_confidence(void **state) {
    (void)state;
    assert_int_equal(source_confidence(core_span_of("85"), 100), 85);
    assert_int_equal(source_confidence(core_span_of("99.5"), 100), 100);
    assert_int_equal(source_confidence(core_span_of("99.4"), 100), 99);
    assert_int_equal(source_confidence(core_span_of("7.5"), 10), 75);
    assert_int_equal(source_confidence(core_span_of("0"), 10), 0);
    assert_int_equal(source_confidence(core_span_of("3"), 5), 60);
    assert_int_equal(source_confidence(core_span_of("0.123456789"), 1), 12);
    static const char *const none[] = {"", "-", "-1", "101", "1e2", "high", ".5", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_int_equal(source_confidence(core_span_of(none[i]), 100), ENRICH_CONFIDENCE_NONE);
    }
}

static void test_refang(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"hxxps://evil[.]example/a", "https://evil.example/a"},
        {"hXXp[:]//evil(.)example", "http://evil.example"},
        {"evil[dot]example", "evil.example"},
        {"a[at]evil[.]example", "a@evil.example"},
        {"1[.]2[.]3[.]4", "1.2.3.4"},
        {"https[://]evil.example", "https://evil.example"},
        {"http://[2001:db8::1]/", "http://[2001:db8::1]/"},
        {"evil.example", "evil.example"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char room[128];
        print_message("%s\n", rows[i][0]);
        assert_true(core_span_is(source_refang(core_span_of(rows[i][0]), room), rows[i][1]));
    }
}

static void test_show(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"evil.example", "evil.example"},
        {"a\nb\x1b[31m\"c\\", "a\\x0ab\\x1b[31m\\x22c\\x5c"},
        {"Gr\xfc\xdf e", "Gr\\xfc\\xdf e"},
        {"Gr\xc3\xbc\xc3\x9f"
         "e",
         "Gr\xc3\xbc\xc3\x9f"
         "e"},
        {"", ""},
    };
    char out[40];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        source_show(core_span_of(rows[i][0]), out, sizeof(out));
        assert_string_equal(out, rows[i][1]);
    }
    for (size_t len = 0; len < 60; len++) { /* never within a character, never too long */
        char text[128];
        for (size_t i = 0; i < len; i++) {
            memcpy(text + 2 * i, "\xc3\xbc", 2);
        }
        source_show((struct core_span){text, 2 * len}, out, sizeof(out));
        assert_true(strlen(out) < sizeof(out));
        assert_true(core_utf8_is_valid(core_span_of(out)));
        assert_int_equal(strstr(out, "…") != NULL, 2 * len > sizeof(out) - sizeof("…"));
    }
}

static void test_types(void **state) {
    (void)state;
    assert_int_equal(source_type_of(core_span_of("Intel::SUBNET")), CORE_INDICATOR_CIDR);
    assert_int_equal(source_type_of(core_span_of("FileHash-SHA256")), CORE_INDICATOR_FILE_HASH);
    assert_int_equal(source_type_of(core_span_of("fqdn")), CORE_INDICATOR_DOMAIN);
    assert_int_equal(source_type_of(core_span_of("ja3")), CORE_INDICATOR_JA3);
    assert_int_equal(source_type_of(core_span_of("weather")), CORE_INDICATOR_NONE);
    assert_int_equal(source_type_of(core_span_of("")), CORE_INDICATOR_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),  cmocka_unit_test(test_markings), cmocka_unit_test(test_confidence),
        cmocka_unit_test(test_refang), cmocka_unit_test(test_types),    cmocka_unit_test(test_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
