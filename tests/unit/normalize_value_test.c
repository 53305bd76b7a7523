/* Stands for normalize/value.c and normalize/address.c: exact decimals, times in every form sensors write, addresses, types.
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "normalize/normalize_internal.h"

struct time_case {
    const char *text;
    bool is_number;
    bool is_good;
    int64_t ns;
};

static void decimals_are_exact(void **state) {
    (void)state;
    static const struct time_case cases[] = {
        {"1795229910.536622", true, true, INT64_C(1795229910536622000)},
        {"4.006830930709839", true, true, 4006831000}, /* JSON prints a double's noise */
        {"9.5367431640625e-7", true, true, 1000},
        {"0.0078125", true, true, 7812000},  /* a tie goes to even: 0.007812 */
        {"0.0234375", true, true, 23438000}, /* 0.0234375 -> 0.023438 */
        {"-315619200.0", true, true, INT64_C(-315619200000000000)},
        {"-0.0000005", true, true, 0},
        {"5", true, true, 5000000000},
        {".5", true, true, 500000000},
        {"1e3", true, true, 1000000000000},
        {"0", true, true, 0},
        {"0.000000", true, true, 0},
        {"9223372036.854775", true, true, INT64_C(9223372036854775000)},
        {"92233720369.0", true, false, 0}, /* past what int64 ns can say */
        {"1e300", true, false, 0},
        {"", true, false, 0},
        {"-", true, false, 0},
        {".", true, false, 0},
        {"1.2.3", true, false, 0},
        {"12x", true, false, 0},
        {"1e", true, false, 0},
        {"nan", true, false, 0},
        {"XXXXXXXXXX.XXXXXX", true, false, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t ns = -1;
        bool is_good = decimal_to_ns(core_span_of(cases[i].text), &ns);
        if (is_good != cases[i].is_good || (is_good && ns != cases[i].ns)) {
            fail_msg("%s: %d %lld", cases[i].text, is_good, (long long)ns);
        }
    }
}

static void times_in_every_form(void **state) {
    (void)state;
    static const struct time_case cases[] = {
        {"1795229910.536622", true, true, INT64_C(1795229910536622000)},
        {"1795229910536", true, true, INT64_C(1795229910536000000)}, /* JSON::TS_MILLIS */
        {"-315619200000", true, true, INT64_C(-315619200000000000)},
        {"18446743758090351616", true, true, INT64_C(-315619200000000000)}, /* the same, unsigned */
        {"-9223372036854775808", true, false, 0},
        {"-18446744073709551615", true, false, 0}, /* no wrap of one millisecond */
        {"2026-11-21T02:58:30.536622Z", false, true, INT64_C(1795229910536622000)},
        {"2026-11-21T02:58:30Z", false, true, INT64_C(1795229910000000000)},
        {"2026-11-21T03:58:30.536622+01:00", false, true, INT64_C(1795229910536622000)},
        {"2026-11-20T21:58:30.536622-0500", false, true, INT64_C(1795229910536622000)},
        {"1960-01-01T00:00:00.000000Z", false, true, INT64_C(-315619200000000000)},
        {"2026-13-01T00:00:00Z", false, false, 0},
        {"2026-11-21", false, false, 0},
        {"2026-11-21T02:58:30.Z", false, false, 0},
        {"2026-11-21T02:58:30 CET", false, false, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t ns = -1;
        bool is_good = time_to_ns(core_span_of(cases[i].text), cases[i].is_number, &ns);
        if (is_good != cases[i].is_good || (is_good && ns != cases[i].ns)) {
            fail_msg("%s: %d %lld", cases[i].text, is_good, (long long)ns);
        }
    }
}

static void intervals_have_six_digits(void **state) {
    (void)state;
    static const struct {
        int64_t ns;
        const char *text;
    } cases[] = {{4006831000, "4.006831"}, {0, "0.000000"}, {-1500000000, "-1.500000"}, {1000, "0.000001"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[24];
        size_t len = interval_text(cases[i].ns, text);
        assert_int_equal(len, strlen(cases[i].text));
        assert_memory_equal(text, cases[i].text, len);
    }
}

static void addresses(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int len;
    } cases[] = {
        {"10.20.0.2", 4},  {"255.255.255.255", 4},
        {"0.0.0.0", 4},    {"256.1.1.1", 0},
        {"1.2.3", 0},      {"1.2.3.4.5", 0},
        {"1..2.3", 0},     {"", 0},
        {"1.2.3.4 ", 0},   {"fd20::2", 16},
        {"::", 16},        {"::ffff:1.2.3.4", 16},
        {"fe80::1%lo", 0}, {"fd20:::2", 0},
        {"[fd20::2]", 0},  {"www.example.com", 0},
        {"1.2.3.4/24", 0}, {"::1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ip_addr ip;
        bool is_good = ip_parse(core_span_of(cases[i].text), &ip);
        if (is_good != (cases[i].len > 0) || ip.len != cases[i].len) {
            fail_msg("%s: %d", cases[i].text, ip.len);
        }
    }
    struct ip_addr ip;
    assert_false(ip_parse((struct core_span){"::1\0x", 5}, &ip)); /* a NUL inside is no end */
}

/* Texts of which about half are addresses, against what the C library says of them. */
static void addresses_as_the_library(void **state) {
    (void)state;
    static const char *const parts[] = {":", "::", "0", "f", "aB", "1f9", "fd20", "12345", "g", ".", "192.0.2.1", "%"};
    uint32_t random = 1;
    unsigned good = 0;
    for (int i = 0; i < 200000; i++) {
        char text[128] = "";
        struct ip_addr ip;
        uint8_t bytes[16];
        random = random * 1664525 + 1013904223;
        size_t len = (random >> 16) % 9 + 1;
        for (size_t part = 0; part < len; part++) {
            random = random * 1664525 + 1013904223;
            size_t pick = (random >> 16) % 64; /* mostly of the first seven */
            strcat(text, parts[pick < 12 ? pick : pick % 7]);
            strcat(text, pick % 7 > 1 && part + 1 < len ? ":" : "");
        }
        if (strchr(text, ':') == NULL) {
            continue;
        }
        bool is_good = strlen(text) < 46 && inet_pton(AF_INET6, text, bytes) == 1;
        good += is_good;
        bool is_same = ip_parse(core_span_of(text), &ip) == is_good;
        if (!is_same || (is_good && (ip.len != 16 || memcmp(ip.bytes, bytes, 16) != 0))) {
            fail_msg("%s: %d", text, is_good);
        }
    }
    assert_true(good > 10000);
}

static void type_words(void **state) {
    (void)state;
    bool is_known;
    struct declared d = declared_parse(CORE_SPAN("set[addr]"), &is_known);
    assert_true(is_known && d.is_list && d.type == TYPE_ADDR);
    d = declared_parse(CORE_SPAN("table[count]"), &is_known); /* Bro 2.1's word for a set */
    assert_true(is_known && d.is_list && d.type == TYPE_COUNT);
    d = declared_parse(CORE_SPAN("func"), &is_known);
    assert_false(is_known);
    assert_int_equal(d.type, TYPE_STRING);
    assert_string_equal(field_type_name(TYPE_INTERVAL), "interval");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimals_are_exact),        cmocka_unit_test(times_in_every_form),
        cmocka_unit_test(intervals_have_six_digits), cmocka_unit_test(addresses),
        cmocka_unit_test(addresses_as_the_library),  cmocka_unit_test(type_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
