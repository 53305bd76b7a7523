/* tests/unit/enrich_seen_key_test.c: an observable's key says what it is, and sorts so that what an indicator names is one range.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/seen_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void test_keys_come_back(void **state) {
    (void)state;
    static const struct {
        enum core_indicator type;
        const char *text;
    } rows[] = {{CORE_INDICATOR_IP, "192.0.2.1"},       {CORE_INDICATOR_IP, "2001:db8::1"},
                {CORE_INDICATOR_DOMAIN, "example"},     {CORE_INDICATOR_DOMAIN, "a.bc.example"},
                {CORE_INDICATOR_URL, "a.example/x?y"},  {CORE_INDICATOR_EMAIL, "a@b.example"},
                {CORE_INDICATOR_USER, "Anne Smith"},    {CORE_INDICATOR_SOFTWARE, "curl/8"},
                {CORE_INDICATOR_FILE_NAME, "a.b.c.exe"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char room[SEEN_KEY_BYTES_MAX];
        char back[ENRICH_VALUE_BYTES_MAX];
        struct core_span key;
        struct core_span value;
        enum core_indicator type;
        assert_true(seen_key_write(rows[i].type, core_span_of(rows[i].text), room, &key));
        assert_true(seen_key_read(key, back, &type, &value));
        assert_int_equal(type, rows[i].type);
        assert_true(core_span_is(value, rows[i].text));
    }
}

/* What takes the short way has the key that its one form has. */
static void test_plain_addresses(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool is_plain;
    } rows[] = {
        {"0.0.0.0", true},         {"255.255.255.255", true}, {"192.0.2.10", true},     {"::", true},
        {"2001:DB8:0:0::1", true}, {"fe80::1:2:3:4", true},   {"::1.2.3.4", true},      {"::ffff:192.0.2.1", false},
        {"::ffff:0:0", false},     {"192.0.2.010", false},    {"192.0.2.256", false},   {"192.0.2", false},
        {" 192.0.2.1", false},     {"[2001:db8::1]", false},  {"192.0.2.0/24", false},  {"192.0.2.1/32", true},
        {"fe80::1%eth0", false},   {"example", false},        {"2001:db8::/32", false}, {"192.0.2.1.", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char plain_room[SEEN_KEY_BYTES_MAX];
        char room[SEEN_KEY_BYTES_MAX];
        char form[ENRICH_VALUE_BYTES_MAX];
        struct core_span plain;
        struct core_span text = core_span_of(rows[i].text);
        struct core_span key;
        enum core_indicator type = CORE_INDICATOR_IP;
        const char *why;
        assert_int_equal(seen_key_plain(text, plain_room, &plain), rows[i].is_plain);
        if (rows[i].is_plain) {
            assert_true(enrich_canonical(&type, text, form, &text, &why));
            assert_int_equal(type, CORE_INDICATOR_IP);
            assert_true(seen_key_write(type, text, room, &key));
            assert_true(core_span_eq(plain, key));
        }
    }
}

static int has(enum core_indicator type, const char *value, bool subdomains, enum core_indicator of, const char *text) {
    char room[SEEN_KEY_BYTES_MAX * 2];
    char key_room[SEEN_KEY_BYTES_MAX];
    struct seen_range range;
    struct core_span key;
    assert_true(seen_range_of(type, core_span_of(value), subdomains, room, &range));
    assert_true(seen_key_write(of, core_span_of(text), key_room, &key));
    return seen_range_has(&range, key);
}

static void test_ranges(void **state) {
    (void)state;
    assert_int_equal(has(CORE_INDICATOR_CIDR, "192.0.2.0/31", false, CORE_INDICATOR_IP, "192.0.1.255"), -1);
    assert_int_equal(has(CORE_INDICATOR_CIDR, "192.0.2.0/31", false, CORE_INDICATOR_IP, "192.0.2.0"), 0);
    assert_int_equal(has(CORE_INDICATOR_CIDR, "192.0.2.0/31", false, CORE_INDICATOR_IP, "192.0.2.1"), 0);
    assert_int_equal(has(CORE_INDICATOR_CIDR, "192.0.2.0/31", false, CORE_INDICATOR_IP, "192.0.2.2"), 1);
    assert_int_equal(has(CORE_INDICATOR_CIDR, "0.0.0.0/0", false, CORE_INDICATOR_IP, "255.255.255.255"), 0);
    assert_int_equal(has(CORE_INDICATOR_CIDR, "0.0.0.0/0", false, CORE_INDICATOR_IP, "::1"), 1);
    assert_int_equal(has(CORE_INDICATOR_CIDR, "2001:db8::/65", false, CORE_INDICATOR_IP, "2001:db8::7fff:0:0:1"), 0);
    assert_int_equal(has(CORE_INDICATOR_CIDR, "2001:db8::/65", false, CORE_INDICATOR_IP, "2001:db8::8000:0:0:1"), 1);
    assert_int_equal(has(CORE_INDICATOR_CIDR, "2001:db8::/32", false, CORE_INDICATOR_IP, "2001:db8:ffff::"), 0);
    assert_int_equal(has(CORE_INDICATOR_CIDR, "::/0", false, CORE_INDICATOR_IP, "ffff::"), 0);
    assert_int_equal(has(CORE_INDICATOR_DOMAIN, "b.example", true, CORE_INDICATOR_DOMAIN, "b.example"), 0);
    assert_int_equal(has(CORE_INDICATOR_DOMAIN, "b.example", true, CORE_INDICATOR_DOMAIN, "x.y.b.example"), 0);
    assert_int_equal(has(CORE_INDICATOR_DOMAIN, "b.example", false, CORE_INDICATOR_DOMAIN, "x.b.example"), 1);
    assert_int_equal(has(CORE_INDICATOR_DOMAIN, "b.example", true, CORE_INDICATOR_DOMAIN, "xb.example"), 1);
    assert_int_equal(has(CORE_INDICATOR_DOMAIN, "b.example", true, CORE_INDICATOR_DOMAIN, "b-x.example"), 1);
    assert_int_equal(has(CORE_INDICATOR_DOMAIN, "b.example", true, CORE_INDICATOR_DOMAIN, "example"), -1);
    assert_int_equal(has(CORE_INDICATOR_URL, "b.example/", false, CORE_INDICATOR_DOMAIN, "b.example"), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_come_back),
        cmocka_unit_test(test_plain_addresses),
        cmocka_unit_test(test_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
