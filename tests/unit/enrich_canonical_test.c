/* tests/unit/enrich_canonical_test.c: one form for what names the same thing; reasons for what names nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/enrich_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

struct row {
    const char *type;
    const char *in;
    const char *type_out; /* NULL: refused */
    const char *out;      /* or a piece of the reason */
};

static const struct row rows[] = {
    {"ip", "192.0.2.7", "ip", "192.0.2.7"},
    {"ip", "  192.0.2.7\r\n", "ip", "192.0.2.7"},
    {"ip", "::FFFF:192.0.2.7", "ip", "192.0.2.7"},
    {"ip", "2001:DB8:0:0:0::1", "ip", "2001:db8::1"},
    {"ip", "[2001:db8::1]", "ip", "2001:db8::1"},
    {"ip", "192.0.2.07", NULL, "no IP address"},
    {"ip", "192.0.2.256", NULL, "no IP address"},
    {"ip", "192.0.2", NULL, "no IP address"},
    {"ip", "192.0.2.7:80", NULL, "no IP address"},
    {"ip", "fe80::1%eth0", NULL, "no IP address"},
    {"ip", "1.2.3.4-1.2.3.9", NULL, "no IP address"},
    {"ip", "192.0.2.7/32", "ip", "192.0.2.7"},
    {"ip", "192.0.2.7/24", "cidr", "192.0.2.0/24"},
    {"cidr", "192.0.2.255/25", "cidr", "192.0.2.128/25"},
    {"cidr", "192.0.2.7", "ip", "192.0.2.7"},
    {"cidr", "2001:db8:ffff::1/33", "cidr", "2001:db8:8000::/33"},
    {"cidr", "2001:db8::1/128", "ip", "2001:db8::1"},
    {"cidr", "::ffff:192.0.2.77/120", "cidr", "192.0.2.0/24"},
    {"cidr", "::ffff:192.0.2.77/128", "ip", "192.0.2.77"},
    {"cidr", "::ffff:0:0/90", "cidr", "::ffc0:0:0/90"},
    {"cidr", "10.0.0.0/33", NULL, "more bits"},
    {"cidr", "10.0.0.0/0", NULL, "all addresses"},
    {"cidr", "::/0", NULL, "all addresses"},
    {"cidr", "10.0.0.0/", NULL, "no network"},
    {"cidr", "10.0.0.0/8/8", NULL, "no network"},
    {"cidr", "10.0.0.0/1a", NULL, "no network"},
    {"cidr", "10.0.0.0-10.0.0.9", NULL, "no network"},
    {"domain", "Evil.Example.", "domain", "evil.example"},
    {"domain", "evil.example", "domain", "evil.example"},
    {"domain", "_dmarc.Evil.example", "domain", "_dmarc.evil.example"},
    {"domain", "localhost", "domain", "localhost"},
    {"domain",
     "B\xc3\xbc"
     "cher.example",
     "domain", "xn--bcher-kva.example"},
    {"domain",
     "stra\xc3\x9f"
     "e.example",
     "domain", "xn--strae-oqa.example"}, /* transitional would be "strasse" */
    {"domain",
     "evil\xe3\x80\x82"
     "example",
     "domain", "evil.example"},                        /* an ideographic full stop */
    {"domain", "\xef\xbc\x91.2.3.4", "ip", "1.2.3.4"}, /* a wide digit */
    {"domain", "192.0.2.7", "ip", "192.0.2.7"},
    {"domain", "2001:db8::1", "ip", "2001:db8::1"},
    {"domain", "\xff\xfe.example", NULL, "no host name"},
    {"domain", "*.evil.example", NULL, "no host name"},
    {"domain", ".evil.example", NULL, "no host name"},
    {"domain", "evil..example", NULL, "no host name"},
    {"domain", "evil.example..", NULL, "no host name"},
    {"domain", ".", NULL, "no host name"},
    {"domain", "evil example", NULL, "no host name"},
    {"domain", "evil.example/x", NULL, "no host name"},
    {"domain", "evil.example:80", NULL, "no host name"},
    {"domain", "1.2.3", NULL, "a number"},
    {"url", "http://Evil.Example/Path?Q=1", "url", "evil.example/Path?Q=1"},
    {"url", "evil.example/a", "url", "evil.example/a"},
    {"url", "HTTPS://evil.example:443/a", "url", "evil.example/a"},
    {"url", "https://evil.example:8443/a", "url", "evil.example:8443/a"},
    {"url", "evil.example:80/a", "url", "evil.example/a"},
    {"url", "https://evil.example:80/a", "url", "evil.example/a"}, /* without its scheme nothing tells them apart */
    {"url", "evil.example:443/a", "url", "evil.example:443/a"},
    {"url", "http://evil.example:0080/a", "url", "evil.example/a"},
    {"url", "ftp://u:p@evil.example:21/a", "url", "evil.example/a"},
    {"url", "http://u@x:p@evil.example/a@b", "url", "evil.example/a@b"},
    {"url", "http://evil.example", "url", "evil.example/"},
    {"url", "http://evil.example?a=b", "url", "evil.example/?a=b"},
    {"url", "http://evil.example/a#b", "url", "evil.example/a"},
    {"url", "http://evil.example/a #b", "url", "evil.example/a"},
    {"url", "http://evil.example#b", "url", "evil.example/"},
    {"url", "http://evil.example./a", "url", "evil.example/a"},
    {"url", "http://[2001:DB8::1]:8080/a", "url", "[2001:db8::1]:8080/a"},
    {"url", "http://192.0.2.7/a b", "url", "192.0.2.7/a b"},
    {"url",
     "http://b\xc3\xbc"
     "cher.example/\xc3\xbc",
     "url", "xn--bcher-kva.example/\xc3\xbc"},
    {"url", "http:///a", NULL, "no URL"},
    {"url", "/a/b", NULL, "no URL"},
    {"url", "http://evil example/", NULL, "no URL"},
    {"url", "http://evil.example:999999/", NULL, "port"},
    {"email", "Someone@Evil.Example", "email", "someone@evil.example"},
    {"email", "\"Some One\" <Someone@evil.example>", "email", "someone@evil.example"},
    {"email", "<a@evil.example>", "email", "a@evil.example"},
    {"email", "mailto:a@evil.example", "email", "a@evil.example"},
    {"email",
     "a@b\xc3\xbc"
     "cher.example",
     "email", "a@xn--bcher-kva.example"},
    {"email", "a@[192.0.2.7]", "email", "a@192.0.2.7"},
    {"email", "a@192.0.2.7", "email", "a@192.0.2.7"},
    {"email", "root@localhost", "email", "root@localhost"},
    {"email", "@evil.example", NULL, "no e-mail"},
    {"email", "a@", NULL, "no e-mail"},
    {"email", "a>b@evil.example", NULL, "no e-mail"},
    {"email", "evil.example", NULL, "no e-mail"},
    {"file_hash", "44D88612FEA8A8F36DE82E1278ABB02F", "file_hash", "44d88612fea8a8f36de82e1278abb02f"},
    {"cert_hash", "DA:39:A3:EE:5E:6B:4B:0D:32:55:BF:EF:95:60:18:90:AF:D8:07:09", "cert_hash",
     "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
    {"file_hash", "44d88612fea8a8f36de82e1278abb02", NULL, "no MD5"},
    {"file_hash", "44d88612fea8a8f36de82e1278abb02g", NULL, "no MD5"},
    {"file_hash", "3:hMCEqNE:xyz", NULL, "no MD5"},
    {"pubkey_hash", "9b29f7bcb95eb2238c1c23bacd9a0071", "pubkey_hash",
     "9b:29:f7:bc:b9:5e:b2:23:8c:1c:23:ba:cd:9a:00:71"},
    {"pubkey_hash", "MD5:9B:29:F7:BC:B9:5E:B2:23:8C:1C:23:BA:CD:9A:00:71", "pubkey_hash",
     "9b:29:f7:bc:b9:5e:b2:23:8c:1c:23:ba:cd:9a:00:71"},
    {"pubkey_hash", "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "pubkey_hash",
     "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"},
    {"pubkey_hash", "SHA256:47DEQpj8HBSa", NULL, "no key's hash"},
    {"pubkey_hash", "9b29", NULL, "no key's hash"},
    {"ja3", "6734F37431670B3AB4292B8F60F29984", "ja3", "6734f37431670b3ab4292b8f60f29984"},
    {"ja3", "6734", NULL, "no JA3"},
    {"user", " Bob ", "user", "Bob"},
    {"file_name", "Invoice 2026.exe", "file_name", "Invoice 2026.exe"},
    {"software", "BadMailer 1.0", "software", "BadMailer 1.0"},
    {"user", "", NULL, "empty"},
    {"user", " \t", NULL, "empty"},
};

static void test_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char room[ENRICH_VALUE_BYTES_MAX];
        enum core_indicator type = core_indicator_of(core_span_of(rows[i].type));
        struct core_span out = {0};
        const char *why = NULL;
        bool is_one = enrich_canonical(&type, core_span_of(rows[i].in), room, &out, &why);
        print_message("%s %s -> %s %.*s\n", rows[i].type, rows[i].in, is_one ? core_indicator_word(type) : why,
                      is_one ? (int)out.len : 0, is_one ? out.ptr : "");
        assert_int_equal(is_one, rows[i].type_out != NULL);
        if (is_one) {
            assert_string_equal(core_indicator_word(type), rows[i].type_out);
            assert_true(core_span_is(out, rows[i].out));
        } else {
            assert_non_null(strstr(why, rows[i].out));
        }
    }
}

static void test_what_is_canonical_is_not_copied(void **state) {
    (void)state;
    static const char *const same[][2] = {{"ip", "192.0.2.7"}, {"domain", "www.evil.example"}, {"user", "bob"}};
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        char room[ENRICH_VALUE_BYTES_MAX];
        enum core_indicator type = core_indicator_of(core_span_of(same[i][0]));
        struct core_span out;
        const char *why;
        assert_true(enrich_canonical(&type, core_span_of(same[i][1]), room, &out, &why));
        assert_ptr_equal(out.ptr, same[i][1]);
    }
}

static void test_limits(void **state) {
    (void)state;
    char text[ENRICH_VALUE_BYTES_MAX + 2];
    char room[ENRICH_VALUE_BYTES_MAX];
    struct core_span out;
    const char *why;
    memset(text, 'a', sizeof(text));
    enum core_indicator type = CORE_INDICATOR_USER;
    assert_true(enrich_canonical(&type, (struct core_span){text, ENRICH_VALUE_BYTES_MAX}, room, &out, &why));
    assert_false(enrich_canonical(&type, (struct core_span){text, ENRICH_VALUE_BYTES_MAX + 1}, room, &out, &why));
    assert_non_null(strstr(why, "2048"));
    for (size_t i = 63; i < sizeof(text); i += 64) {
        text[i] = '.';
    }
    type = CORE_INDICATOR_DOMAIN;
    assert_true(enrich_canonical(&type, (struct core_span){text, 253}, room, &out, &why));
    assert_false(enrich_canonical(&type, (struct core_span){text, 254}, room, &out, &why));
    assert_non_null(strstr(why, "253"));
    text[63] = 'a';
    assert_false(enrich_canonical(&type, (struct core_span){text, 100}, room, &out, &why));
    type = CORE_INDICATOR_URL; /* "/" more than there is room for */
    memset(text, 'a', sizeof(text));
    memcpy(text, "a.example?", strlen("a.example?"));
    assert_false(enrich_canonical(&type, (struct core_span){text, ENRICH_VALUE_BYTES_MAX}, room, &out, &why));
    assert_true(enrich_canonical(&type, (struct core_span){text, ENRICH_VALUE_BYTES_MAX - 1}, room, &out, &why));
    assert_int_equal(out.len, ENRICH_VALUE_BYTES_MAX);
}

/* Each network of random bits against arithmetic of its own. */
static void test_masks(void **state) {
    (void)state;
    srandom(7);
    for (int round = 0; round < 20000; round++) {
        unsigned bits = 1 + (unsigned)random() % 32;
        uint32_t address = (uint32_t)random() * 2654435761u;
        uint32_t masked = address & (bits == 32 ? UINT32_MAX : ~(UINT32_MAX >> bits));
        char in[64];
        char expected[64];
        char room[ENRICH_VALUE_BYTES_MAX];
        snprintf(in, sizeof(in), "%u.%u.%u.%u/%u", address >> 24, address >> 16 & 255, address >> 8 & 255,
                 address & 255, bits);
        int len = snprintf(expected, sizeof(expected), "%u.%u.%u.%u", masked >> 24, masked >> 16 & 255,
                           masked >> 8 & 255, masked & 255);
        if (bits < 32) {
            snprintf(expected + len, sizeof(expected) - (size_t)len, "/%u", bits);
        }
        enum core_indicator type = CORE_INDICATOR_CIDR;
        struct core_span out;
        const char *why;
        assert_true(enrich_canonical(&type, core_span_of(in), room, &out, &why));
        assert_true(core_span_is(out, expected));
        assert_int_equal(type, bits < 32 ? CORE_INDICATOR_CIDR : CORE_INDICATOR_IP);
    }
}

/* What is canonical stays as it is, whatever it was made from. */
static void test_idempotent(void **state) {
    (void)state;
    static const char *const pieces[] = {
        "http://", "https://", "evil",     ".example", "EVIL", ".",       ":80", ":443", "/", "?",
        "#",       "@",        "[",        "]",        "::",   "1.2.3.4", "/24", " ",    "<", ">",
        "mailto:", "%20",      "\xc3\xbc", "\xff",     "255",  "ffff:",   "a:b", "\\"};
    srandom(11);
    size_t accepted = 0;
    for (int round = 0; round < 200000; round++) {
        char text[256];
        size_t len = 0;
        for (long n = 1 + random() % 6; n > 0; n--) {
            const char *piece = pieces[(size_t)random() % (sizeof(pieces) / sizeof(pieces[0]))];
            memcpy(text + len, piece, strlen(piece));
            len += strlen(piece);
        }
        enum core_indicator type = CORE_INDICATOR_IP + (enum core_indicator)(random() % (CORE_INDICATOR__MAX - 1));
        char room[ENRICH_VALUE_BYTES_MAX];
        char again_room[ENRICH_VALUE_BYTES_MAX];
        struct core_span out;
        struct core_span again;
        const char *why;
        if (!enrich_canonical(&type, (struct core_span){text, len}, room, &out, &why)) {
            assert_non_null(why);
            continue;
        }
        accepted++;
        enum core_indicator again_type = type;
        assert_true(enrich_canonical(&again_type, out, again_room, &again, &why));
        assert_int_equal(again_type, type);
        assert_true(core_span_eq(again, out));
    }
    assert_true(accepted > 20000);
}

static void test_guess(void **state) {
    (void)state;
    static const char *const guesses[][2] = {
        {"192.0.2.7", "ip"},
        {"::1", "ip"},
        {"10.0.0.0/8", "cidr"},
        {"10.0.0.1/32", "ip"},
        {"0.0.0.0/0", "cidr"},
        {"10.0.0.0/99", "cidr"},
        {"evil.example", "domain"},
        {"Evil.Example.", "domain"},
        {"http://evil.example", "url"},
        {"evil.example/a.exe", "url"},
        {"evil.example:8080/a", "url"},
        {"a@evil.example", "email"},
        {"44d88612fea8a8f36de82e1278abb02f", "file_hash"},
        {"DA:39:A3:EE:5E:6B:4B:0D:32:55:BF:EF:95:60:18:90:AF:D8:07:09", "cert_hash"},
        {"9b:29:f7:bc:b9:5e:b2:23:8c:1c:23:ba:cd:9a:00:71", "pubkey_hash"},
        {"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", "pubkey_hash"},
        {"dropper.exe", "file_name"},
        {"Mozilla/4.0 (compatible; BadBot/6.6)", ""},
        {"bob", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof(guesses) / sizeof(guesses[0]); i++) {
        print_message("%s\n", guesses[i][0]);
        assert_string_equal(core_indicator_word(enrich_guess(core_span_of(guesses[i][0]))), guesses[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),  cmocka_unit_test(test_what_is_canonical_is_not_copied),
        cmocka_unit_test(test_masks), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_guess), cmocka_unit_test(test_idempotent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
