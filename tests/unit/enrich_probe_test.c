/* tests/unit/enrich_probe_test.c: what is asked of an observable: in its canonical form, by whichever way that was found; each
 * network it is in and no other; each parent; and nothing that there are no indicators of.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>

static const struct probe_used all = {
    .types = UINT32_MAX, .parents = UINT64_MAX, .v4 = UINT64_C(0xfffffffe), .v6 = {UINT64_MAX - 1, UINT64_MAX}};
static const struct probe itself = {.as = PROBE_AS_IT_IS};

static uint64_t seed = 42;

static uint32_t random_below(uint32_t limit) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed >> 33) % limit);
}

static struct core_observable observable_of(enum core_indicator type, const char *text) {
    return (struct core_observable){.ptr = text, .len = (uint32_t)strlen(text), .field = "f", .type = (uint8_t)type};
}

/* ---- the canonical form -------------------------------------------------------------------------------------------------------- */

/* What the quick look says is what enrich_canonical() says; where it takes what is none, no indicator can be that. */
static void check_canonical(enum core_indicator type, const char *text) {
    char probe_room[ENRICH_VALUE_BYTES_MAX];
    char room[ENRICH_VALUE_BYTES_MAX];
    const struct core_observable observable = observable_of(type, text);
    enum core_indicator probe_type;
    enum core_indicator canonical_type = type;
    struct core_span value;
    struct core_span canonical;
    const char *why;
    bool is_asked = probe_value(&observable, &itself, probe_room, &probe_type, &value);
    bool is_one = enrich_canonical(&canonical_type, core_span_of(text), room, &canonical, &why);
    is_one = is_one && canonical_type != CORE_INDICATOR_CIDR;
    if (is_one) {
        if (!is_asked || probe_type != canonical_type || !core_span_eq(value, canonical)) {
            fail_msg("%s \"%s\": canonical is %.*s, asked is %.*s", core_indicator_word(type), text, (int)canonical.len,
                     canonical.ptr, is_asked ? (int)value.len : 0, is_asked ? value.ptr : "");
        }
    } else if (is_asked) {
        enum core_indicator again = probe_type;
        struct core_span out;
        if (enrich_canonical(&again, value, room, &out, &why) && again == probe_type && core_span_eq(out, value)) {
            fail_msg("%s \"%s\" is none, but %.*s is asked", core_indicator_word(type), text, (int)value.len,
                     value.ptr);
        }
    }
}

static const struct {
    enum core_indicator type;
    const char *text;
} spelled[] = {
    {CORE_INDICATOR_IP, "192.0.2.1"},
    {CORE_INDICATOR_IP, "192.0.02.1"},
    {CORE_INDICATOR_IP, "192.0.2"},
    {CORE_INDICATOR_IP, "192.0.2.256"},
    {CORE_INDICATOR_IP, "192.0.2.1/32"},
    {CORE_INDICATOR_IP, "192.0.2.0/24"},
    {CORE_INDICATOR_IP, "192.0.2.1 "},
    {CORE_INDICATOR_IP, "2001:db8::1"},
    {CORE_INDICATOR_IP, "2001:DB8::1"},
    {CORE_INDICATOR_IP, "2001:db8:0:0:0:0:0:1"},
    {CORE_INDICATOR_IP, "2001:0db8::1"},
    {CORE_INDICATOR_IP, "2001:db8:0:1:1:1:1:1"},
    {CORE_INDICATOR_IP, "2001:db8::1:1:1:1:1"},
    {CORE_INDICATOR_IP, "2001:db8::0:1"},
    {CORE_INDICATOR_IP, "2001:db8:0::1"},
    {CORE_INDICATOR_IP, "2001:0:0:1::1"},
    {CORE_INDICATOR_IP, "2001:0:0:1:0:0:0:1"},
    {CORE_INDICATOR_IP, "1::2::3"},
    {CORE_INDICATOR_IP, "1:2:3:4:5:6:7:8:9"},
    {CORE_INDICATOR_IP, "1:2:3:4:5:6:7"},
    {CORE_INDICATOR_IP, "2001:db8::"},
    {CORE_INDICATOR_IP, "::"},
    {CORE_INDICATOR_IP, "::1"},
    {CORE_INDICATOR_IP, "::ffff:192.0.2.1"},
    {CORE_INDICATOR_IP, "::ffff:c000:201"},
    {CORE_INDICATOR_IP, "0:0:0:0:0:ffff:c000:201"},
    {CORE_INDICATOR_IP, "[2001:db8::1]"},
    {CORE_INDICATOR_IP, "fe80::1%eth0"},
    {CORE_INDICATOR_IP, "-"},
    {CORE_INDICATOR_IP, ":"},
    {CORE_INDICATOR_IP, "abcd"},
    {CORE_INDICATOR_DOMAIN, "evil.example"},
    {CORE_INDICATOR_DOMAIN, "Evil.Example."},
    {CORE_INDICATOR_DOMAIN, "evil.example."},
    {CORE_INDICATOR_DOMAIN, ".evil.example"},
    {CORE_INDICATOR_DOMAIN, "evil..example"},
    {CORE_INDICATOR_DOMAIN, "_dns._tcp.evil.example"},
    {CORE_INDICATOR_DOMAIN, "host1"},
    {CORE_INDICATOR_DOMAIN, "a.b1"},
    {CORE_INDICATOR_DOMAIN, "192.0.2.1"},
    {CORE_INDICATOR_DOMAIN, "192.0.2.a"},
    {CORE_INDICATOR_DOMAIN, "2001:db8::1"},
    {CORE_INDICATOR_DOMAIN, "b\xc3\xbc"
                            "cher.example"},
    {CORE_INDICATOR_DOMAIN, "a.b\xff"},
    {CORE_INDICATOR_DOMAIN, " evil.example"},
    {CORE_INDICATOR_DOMAIN, "."},
    {CORE_INDICATOR_URL, "evil.example/a/b?c=d"},
    {CORE_INDICATOR_URL, "http://evil.example/a/b?c=d"},
    {CORE_INDICATOR_URL, "http://evil.example:80/a"},
    {CORE_INDICATOR_URL, "http://http://evil.example/a"},
    {CORE_INDICATOR_URL, "http:///a"},
    {CORE_INDICATOR_URL, "https://evil.example/a"},
    {CORE_INDICATOR_URL, "evil.example:80/a"},
    {CORE_INDICATOR_URL, "evil.example:8080/a"},
    {CORE_INDICATOR_URL, "evil.example"},
    {CORE_INDICATOR_URL, "evil.example?a/b"},
    {CORE_INDICATOR_URL, "evil.example/a#b"},
    {CORE_INDICATOR_URL, "evil.example/a "},
    {CORE_INDICATOR_URL, "user@evil.example/a"},
    {CORE_INDICATOR_URL, "192.0.2.1/a"},
    {CORE_INDICATOR_URL, "Evil.Example/A"},
    {CORE_INDICATOR_URL, "evil.example./A"},
    {CORE_INDICATOR_URL, "/a"},
    {CORE_INDICATOR_URL, "evil.example/http://other.example/"},
    {CORE_INDICATOR_EMAIL, "Someone <Eve@Evil.Example>"},
    {CORE_INDICATOR_FILE_HASH, "D41D8CD98F00B204E9800998ECF8427E"},
    {CORE_INDICATOR_FILE_HASH, "d41d8cd98f00b204e9800998ecf8427e"},
    {CORE_INDICATOR_FILE_HASH, "d41d8cd98f00b204e9800998ecf8427"},
    {CORE_INDICATOR_CERT_HASH, "da:39:a3:ee:5e:6b:4b:0d:32:55:bf:ef:95:60:18:90:af:d8:07:09"},
    {CORE_INDICATOR_JA3, "d41d8cd98f00b204e9800998ecf8427e"},
    {CORE_INDICATOR_JA3, "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
    {CORE_INDICATOR_PUBKEY_HASH, "d41d8cd98f00b204e9800998ecf8427e"},
    {CORE_INDICATOR_USER, " eve "},
    {CORE_INDICATOR_FILE_NAME, "Invoice.pdf.exe"},
    {CORE_INDICATOR_SOFTWARE, "EvilAgent/1.0"},
};

static void test_canonical_by_either_way(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof spelled / sizeof spelled[0]; i++) {
        check_canonical(spelled[i].type, spelled[i].text);
    }
}

/* Short texts of few letters are all kinds of addresses, names and near misses. */
static void test_canonical_of_a_million_texts(void **state) {
    (void)state;
    static const struct {
        enum core_indicator type;
        const char *letters;
        uint32_t len_max;
    } kinds[] = {
        {CORE_INDICATOR_IP, "0123.", 15},      {CORE_INDICATOR_IP, "00:::1fA", 14},
        {CORE_INDICATOR_DOMAIN, "ab1.-", 9},   {CORE_INDICATOR_DOMAIN, "aA1..:", 7},
        {CORE_INDICATOR_URL, "a1./:?#@ ", 9},  {CORE_INDICATOR_URL, "aa..//:", 8},
        {CORE_INDICATOR_EMAIL, "aB.@< >1", 9},
    };
    for (unsigned round = 0; round < 150000; round++) {
        for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
            char text[32];
            uint32_t len = random_below(kinds[kind].len_max) + 1;
            for (uint32_t i = 0; i < len; i++) {
                text[i] = kinds[kind].letters[random_below((uint32_t)strlen(kinds[kind].letters))];
            }
            text[len] = '\0';
            check_canonical(kinds[kind].type, text);
        }
    }
}

static void test_canonical_of_addresses(void **state) {
    (void)state;
    for (unsigned round = 0; round < 100000; round++) {
        unsigned char bytes[16];
        char text[INET6_ADDRSTRLEN];
        char full[64];
        size_t len = 0;
        for (unsigned group = 0; group < 8; group++) {
            bool is_zero = random_below(2) == 0;
            bytes[2 * group] = (unsigned char)(is_zero ? 0 : random_below(256) * random_below(2));
            bytes[2 * group + 1] = (unsigned char)(is_zero ? 0 : random_below(256));
            len += (size_t)snprintf(full + len, sizeof full - len, random_below(2) ? "%s%x" : "%s%X",
                                    group == 0 ? "" : ":", (unsigned)(bytes[2 * group] << 8 | bytes[2 * group + 1]));
        }
        assert_non_null(inet_ntop(AF_INET6, bytes, text, sizeof text));
        check_canonical(CORE_INDICATOR_IP, text);
        check_canonical(CORE_INDICATOR_IP, full);
        check_canonical(CORE_INDICATOR_DOMAIN, text);
        assert_non_null(inet_ntop(AF_INET, bytes + 12, text, sizeof text));
        check_canonical(CORE_INDICATOR_IP, text);
    }
}

/* ---- networks ------------------------------------------------------------------------------------------------------------------- */

/* The keys of all probes, one a line. */
static void keys_of(enum core_indicator type, const char *text, const struct probe_used *used, char *out,
                    size_t out_len) {
    const struct core_observable observable = observable_of(type, text);
    struct probe probes[PROBES_MAX];
    size_t len = probe_make(&observable, used, probes);
    size_t at = 0;
    out[0] = '\0';
    assert_true(len <= PROBES_MAX);
    for (size_t i = 0; i < len; i++) {
        char room[ENRICH_VALUE_BYTES_MAX];
        enum core_indicator key_type;
        struct core_span value;
        assert_true(probe_value(&observable, &probes[i], room, &key_type, &value));
        bool is_parent = probes[i].as == PROBE_AS_PARENT;
        /* The hash is the one under which such an indicator is added. */
        assert_true(probes[i].hash == probe_hash(key_type, is_parent ? PROBE_PARENT : PROBE_EXACT, value));
        at += (size_t)snprintf(out + at, out_len - at, "%s:%.*s%s\n", core_indicator_word(key_type), (int)value.len,
                               value.ptr, is_parent ? " and below" : "");
    }
}

static void add(struct probe_use *use, struct filter *filter, enum core_indicator type, const char *value,
                bool subdomains) {
    assert_true(probe_add(use, filter, type, core_span_of(value), subdomains));
}

static void test_only_what_is_in_use(void **state) {
    (void)state;
    struct probe_use use = {0};
    struct filter *filter;
    struct probe_used used = probe_used_of(&use);
    char keys[4096];
    assert_int_equal(filter_new(&filter, 100, NULL), CORE_OK);
    keys_of(CORE_INDICATOR_IP, "192.0.2.1", &used, keys, sizeof keys);
    assert_string_equal(keys, "");
    keys_of(CORE_INDICATOR_DOMAIN, "www.evil.example", &used, keys, sizeof keys);
    assert_string_equal(keys, "");

    add(&use, filter, CORE_INDICATOR_CIDR, "192.0.0.0/16", false);
    add(&use, filter, CORE_INDICATOR_CIDR, "10.0.0.0/9", false);
    add(&use, filter, CORE_INDICATOR_CIDR, "2001:db8::/32", false);
    add(&use, filter, CORE_INDICATOR_CIDR, "2001:db8::/65", false);
    used = probe_used_of(&use);
    keys_of(CORE_INDICATOR_IP, "192.0.2.1", &used, keys, sizeof keys);
    assert_string_equal(keys, "cidr:192.0.0.0/16\ncidr:192.0.0.0/9\n");
    keys_of(CORE_INDICATOR_IP, "2001:db8::ffff:0:0:1", &used, keys, sizeof keys);
    assert_string_equal(keys, "cidr:2001:db8:0:0:8000::/65\ncidr:2001:db8::/32\n");
    keys_of(CORE_INDICATOR_DOMAIN, "192.0.2.1", &used, keys, sizeof keys); /* an address where a name is expected */
    assert_string_equal(keys, "cidr:192.0.0.0/16\ncidr:192.0.0.0/9\n");

    add(&use, filter, CORE_INDICATOR_IP, "192.0.2.1", false);
    add(&use, filter, CORE_INDICATOR_DOMAIN, "a.evil.example", true);
    used = probe_used_of(&use);
    keys_of(CORE_INDICATOR_IP, "::ffff:192.0.2.1", &used, keys, sizeof keys);
    assert_string_equal(keys, "ip:192.0.2.1\ncidr:192.0.0.0/16\ncidr:192.0.0.0/9\n");
    keys_of(CORE_INDICATOR_DOMAIN, "x.A.evil.example.", &used, keys, sizeof keys);
    assert_string_equal(keys, "domain:a.evil.example and below\n");
    keys_of(CORE_INDICATOR_DOMAIN, "a.evil.example", &used, keys, sizeof keys);
    assert_string_equal(keys, "domain:a.evil.example and below\n");

    add(&use, filter, CORE_INDICATOR_DOMAIN, "evil.example", false);
    add(&use, filter, CORE_INDICATOR_DOMAIN, "tld", true);
    used = probe_used_of(&use);
    keys_of(CORE_INDICATOR_DOMAIN, "x.a.evil.example", &used, keys, sizeof keys);
    assert_string_equal(keys, "domain:x.a.evil.example\ndomain:a.evil.example and below\ndomain:example and below\n");
    keys_of(CORE_INDICATOR_USER, "eve", &used, keys, sizeof keys);
    assert_string_equal(keys, "");
    filter_free(filter);
}

static void test_networks_contain_their_addresses(void **state) {
    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        unsigned char bytes[16];
        char text[INET6_ADDRSTRLEN];
        char room[NETWORK_TEXT_BYTES];
        struct network address;
        struct network network;
        bool is_v6 = random_below(2) == 0;
        unsigned bits = random_below(is_v6 ? 129 : 33);
        for (unsigned i = 0; i < 16; i++) {
            bytes[i] = (unsigned char)random_below(256);
        }
        assert_non_null(inet_ntop(is_v6 ? AF_INET6 : AF_INET, bytes, text, sizeof text));
        assert_true(network_read(core_span_of(text), &address));
        network = network_of(address, bits);
        for (unsigned bit = bits; bit < (is_v6 ? 128 : 32); bit++) {
            bytes[bit / 8] &= (unsigned char)~(0x80 >> bit % 8);
        }
        char expected[NETWORK_TEXT_BYTES];
        assert_non_null(inet_ntop(is_v6 ? AF_INET6 : AF_INET, bytes, expected, sizeof expected));
        if (bits < (is_v6 ? 128 : 32)) {
            char slash[8];
            assert_true(snprintf(slash, sizeof slash, "/%u", bits) > 0);
            strcat(expected, slash);
        }
        struct core_span written = network_text(network, room);
        assert_int_equal(written.len, strlen(expected));
        assert_memory_equal(written.ptr, expected, written.len);
        struct network again;
        assert_true(network_read(written, &again));
        assert_true(again.high == network.high && again.low == network.low);
        assert_true(again.bits == network.bits && again.is_v6 == network.is_v6);
    }
}

/* Networks of every width: each address in one asks for it, wherever else there are none. */
static void test_an_address_asks_for_its_network(void **state) {
    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        bool is_v6 = random_below(2) == 0;
        unsigned bits = 1 + random_below(is_v6 ? 127 : 31);
        struct network address = {.bits = is_v6 ? 128 : 32, .is_v6 = is_v6};
        address.high = (uint64_t)random_below(1U << 31) << 33 | (is_v6 ? random_below(1U << 31) : 0);
        address.low = is_v6 ? (uint64_t)random_below(1U << 31) << 33 | random_below(1U << 31) : 0;
        if (is_v6) {
            address.high |= UINT64_C(1) << 63; /* no IPv4 in IPv6 */
        }
        struct probe_use use = {0};
        struct filter *filter;
        char room[NETWORK_TEXT_BYTES];
        char text[NETWORK_TEXT_BYTES];
        char keys[4096];
        char expected[128];
        assert_int_equal(filter_new(&filter, 10, NULL), CORE_OK);
        struct core_span network = network_text(network_of(address, bits), room);
        assert_true(probe_add(&use, filter, CORE_INDICATOR_CIDR, network, false));
        struct probe_used used = probe_used_of(&use);
        struct core_span written = network_text(address, text);
        text[written.len] = '\0';
        assert_true(snprintf(expected, sizeof expected, "cidr:%.*s\n", (int)network.len, network.ptr) > 0);
        keys_of(CORE_INDICATOR_IP, text, &used, keys, sizeof keys);
        assert_string_equal(keys, expected);
        filter_free(filter);
    }
}

static void test_no_network(void **state) {
    (void)state;
    static const char *const texts[] = {"",          "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/x",  "1.2.3/8",
                                        "1.2.3.4.5", "1.2.3.04", "::1/129",    "/8",         "1.2.3.4/8/8",
                                        "::1::",     "1.2.3.4 ", "1.2.3.256",  "2001:db8::g"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct network network;
        if (network_read(core_span_of(texts[i]), &network)) {
            fail_msg("\"%s\" was read as a network", texts[i]);
        }
    }
}

static void test_the_most_questions_there_can_be(void **state) {
    (void)state;
    char keys[65536];
    char domain[254];
    for (size_t i = 0; i < sizeof domain - 1; i++) {
        domain[i] = i % 2 == 0 ? 'a' : '.';
    }
    domain[253] = '\0';
    keys_of(CORE_INDICATOR_DOMAIN, domain, &all, keys, sizeof keys); /* 127 labels */
    size_t lines = 0;
    for (const char *c = keys; *c != '\0'; c++) {
        lines += *c == '\n';
    }
    assert_int_equal(lines, 128);
    keys_of(CORE_INDICATOR_IP, "2001:db8::1", &all, keys, sizeof keys);
    lines = 0;
    for (const char *c = keys; *c != '\0'; c++) {
        lines += *c == '\n';
    }
    assert_int_equal(lines, 128); /* /1 to /127, and itself */
}

static void test_what_is_too_long_is_not_asked(void **state) {
    (void)state;
    static char text[ENRICH_VALUE_BYTES_MAX + 2];
    struct probe probes[PROBES_MAX];
    memset(text, 'a', sizeof text - 1);
    const struct core_observable longer = observable_of(CORE_INDICATOR_SOFTWARE, text);
    assert_int_equal(probe_make(&longer, &all, probes), 0);
    const struct core_observable longest = observable_of(CORE_INDICATOR_SOFTWARE, text + 1);
    assert_int_equal(probe_make(&longest, &all, probes), 1);
}

static void test_probes_for_commands(void **state) {
    (void)state;
    struct core_arena arena;
    struct enrich_probe probes[ENRICH_PROBES_MAX];
    assert_int_equal(core_arena_init(&arena, CORE_MIB, NULL), CORE_OK);
    assert_int_equal(enrich_probes(CORE_INDICATOR_DOMAIN, CORE_SPAN("www.Evil.example"), &arena, probes), 3);
    assert_true(core_span_is(probes[0].value, "www.evil.example") && !probes[0].is_parent);
    assert_true(core_span_is(probes[1].value, "evil.example") && probes[1].is_parent);
    assert_true(core_span_is(probes[2].value, "example") && probes[2].is_parent);
    assert_int_equal(enrich_probes(CORE_INDICATOR_IP, CORE_SPAN("192.0.2.1"), &arena, probes), 32);
    assert_int_equal(probes[1].type, CORE_INDICATOR_CIDR);
    assert_true(core_span_is(probes[1].value, "192.0.2.0/31"));
    assert_true(core_span_is(probes[31].value, "128.0.0.0/1"));
    assert_int_equal(enrich_probes(CORE_INDICATOR_IP, CORE_SPAN("none"), &arena, probes), 0);
    core_arena_destroy(&arena);
}

/* ---- the allow-list ------------------------------------------------------------------------------------------------------------ */

static bool has(const struct allow *allow, enum core_indicator type, const char *value) {
    return allow_has(allow, type, core_span_of(value));
}

static void test_the_allow_list(void **state) {
    (void)state;
    struct allow *allow = allow_new();
    assert_false(has(allow, CORE_INDICATOR_IP, "192.0.2.1"));
    assert_true(allow_set(allow, CORE_INDICATOR_IP, CORE_SPAN("192.0.2.1"), true));
    assert_true(allow_set(allow, CORE_INDICATOR_CIDR, CORE_SPAN("198.51.100.0/24"), true));
    assert_true(allow_set(allow, CORE_INDICATOR_CIDR, CORE_SPAN("2001:db8::/33"), true));
    assert_true(allow_set(allow, CORE_INDICATOR_DOMAIN, CORE_SPAN("good.example"), true));
    assert_true(allow_set(allow, CORE_INDICATOR_DOMAIN, CORE_SPAN("good.example"), true));
    assert_int_equal(allow_len(allow), 4);
    struct allow *copy = allow_copy(allow);
    assert_true(allow_set(allow, CORE_INDICATOR_DOMAIN, CORE_SPAN("good.example"), false));
    assert_true(allow_set(allow, CORE_INDICATOR_CIDR, CORE_SPAN("198.51.100.0/24"), false));
    assert_true(allow_set(allow, CORE_INDICATOR_IP, CORE_SPAN("192.0.2.9"), false));
    assert_int_equal(allow_len(allow), 2);
    assert_true(has(copy, CORE_INDICATOR_IP, "192.0.2.1"));
    assert_false(has(copy, CORE_INDICATOR_IP, "192.0.2.2"));
    assert_true(has(copy, CORE_INDICATOR_IP, "198.51.100.255"));
    assert_false(has(copy, CORE_INDICATOR_IP, "198.51.101.0"));
    assert_true(has(copy, CORE_INDICATOR_IP, "2001:db8:7fff::1"));
    assert_false(has(copy, CORE_INDICATOR_IP, "2001:db8:8000::1"));
    assert_true(has(copy, CORE_INDICATOR_DOMAIN, "good.example"));
    assert_true(has(copy, CORE_INDICATOR_DOMAIN, "www.good.example"));
    assert_false(has(copy, CORE_INDICATOR_DOMAIN, "notgood.example"));
    assert_false(has(copy, CORE_INDICATOR_DOMAIN, "example"));
    assert_false(has(copy, CORE_INDICATOR_URL, "good.example/")); /* a URL is more than its host */
    assert_false(has(allow, CORE_INDICATOR_DOMAIN, "www.good.example"));
    assert_false(has(allow, CORE_INDICATOR_IP, "198.51.100.255"));
    assert_true(has(allow, CORE_INDICATOR_IP, "192.0.2.1"));
    assert_true(allow_set(allow, CORE_INDICATOR_DOMAIN, CORE_SPAN("good.example"), true)); /* again */
    assert_true(has(allow, CORE_INDICATOR_DOMAIN, "www.good.example"));
    allow_free(copy);
    allow_free(allow);
    allow_free(NULL);
}

/* Of what is no address and no name just that value is silenced: a false hash of a feed, one URL of a host. */
static void test_the_allow_list_takes_every_type(void **state) {
    (void)state;
    static const char sha256[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    struct allow *allow = allow_new();
    char path[ENRICH_VALUE_BYTES_MAX];
    memset(path, 'p', sizeof path);
    const struct core_span longest = {path, sizeof path};
    assert_true(allow_set(allow, CORE_INDICATOR_FILE_HASH, core_span_of(sha256), true));
    assert_true(allow_set(allow, CORE_INDICATOR_URL, CORE_SPAN("good.example/a.b"), true));
    assert_true(allow_set(allow, CORE_INDICATOR_EMAIL, CORE_SPAN("a@good.example"), true));
    assert_true(allow_set(allow, CORE_INDICATOR_FILE_NAME, longest, true));
    assert_true(has(allow, CORE_INDICATOR_FILE_HASH, sha256));
    assert_false(has(allow, CORE_INDICATOR_CERT_HASH, sha256));
    assert_true(has(allow, CORE_INDICATOR_URL, "good.example/a.b"));
    assert_false(has(allow, CORE_INDICATOR_URL, "x.good.example/a.b"));
    assert_false(has(allow, CORE_INDICATOR_URL, "good.example/a"));
    assert_false(has(allow, CORE_INDICATOR_URL, "b"));
    assert_true(has(allow, CORE_INDICATOR_EMAIL, "a@good.example"));
    assert_false(has(allow, CORE_INDICATOR_EMAIL, "b.a@good.example"));
    assert_false(has(allow, CORE_INDICATOR_DOMAIN, "good.example"));
    assert_true(allow_has(allow, CORE_INDICATOR_FILE_NAME, longest));
    assert_false(allow_has(allow, CORE_INDICATOR_FILE_NAME, (struct core_span){path, sizeof path - 1}));
    assert_true(allow_set(allow, CORE_INDICATOR_FILE_HASH, core_span_of(sha256), false));
    assert_false(has(allow, CORE_INDICATOR_FILE_HASH, sha256));
    assert_int_equal(allow_len(allow), 3);
    allow_free(allow);
}

static void test_a_long_allow_list(void **state) {
    (void)state;
    struct allow *allow = allow_new();
    char name[64];
    for (unsigned i = 0; i < 20000; i++) {
        assert_true(snprintf(name, sizeof name, "host%u.example", i) > 0);
        assert_true(allow_set(allow, CORE_INDICATOR_DOMAIN, core_span_of(name), true));
    }
    for (unsigned i = 0; i < 20000; i += 2) {
        assert_true(snprintf(name, sizeof name, "host%u.example", i) > 0);
        assert_true(allow_set(allow, CORE_INDICATOR_DOMAIN, core_span_of(name), false));
    }
    assert_int_equal(allow_len(allow), 10000);
    for (unsigned i = 0; i < 20000; i++) {
        assert_true(snprintf(name, sizeof name, "www.host%u.example", i) > 0);
        assert_int_equal(has(allow, CORE_INDICATOR_DOMAIN, name), i % 2 == 1);
    }
    allow_free(allow);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical_by_either_way),
        cmocka_unit_test(test_canonical_of_a_million_texts),
        cmocka_unit_test(test_canonical_of_addresses),
        cmocka_unit_test(test_only_what_is_in_use),
        cmocka_unit_test(test_networks_contain_their_addresses),
        cmocka_unit_test(test_an_address_asks_for_its_network),
        cmocka_unit_test(test_no_network),
        cmocka_unit_test(test_the_most_questions_there_can_be),
        cmocka_unit_test(test_what_is_too_long_is_not_asked),
        cmocka_unit_test(test_probes_for_commands),
        cmocka_unit_test(test_the_allow_list),
        cmocka_unit_test(test_the_allow_list_takes_every_type),
        cmocka_unit_test(test_a_long_allow_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
