/* Stands for normalize/derive_domain.c and core/psl.c: the parts of names, as the test cases of publicsuffix.org have them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

/* registered NULL: no parts at all. */
static const struct {
    const char *name;
    const char *registered;
    const char *subdomain;
    const char *suffix;
} cases[] = {
    {"www.example.com", "example.com", "www", "com"},
    {"example.com", "example.com", NULL, "com"},
    {"a.b.example.co.uk", "example.co.uk", "a.b", "co.uk"},
    {"WWW.Example.COM", "example.com", "www", "com"},
    {"www.example.com.", "example.com", "www", "com"},
    {"user.github.io", "user.github.io", NULL, "github.io"}, /* a company's rule */
    {"b.c.kobe.jp", "b.c.kobe.jp", NULL, "c.kobe.jp"},       /* *.kobe.jp */
    {"www.city.kobe.jp", "city.kobe.jp", "www", "kobe.jp"},  /* !city.kobe.jp */
    {"www.ck", "www.ck", NULL, "ck"},
    {"printer.office.lan", "office.lan", "printer", "lan"}, /* no rule: the last label */
    {"_ldap._tcp.dc01.corp.example", "corp.example", "_ldap._tcp.dc01", "example"},
    {"www.xn--85x722f.xn--fiqs8s", "xn--85x722f.xn--fiqs8s", "www", "xn--fiqs8s"}, /* A-labels */
    {"x.xn--85x722f.com.cn", "xn--85x722f.com.cn", "x", "com.cn"},
    {"1.2.0.192.in-addr.arpa", "192.in-addr.arpa", "1.2.0", "in-addr.arpa"},
    {"a_b.example.org", "example.org", "a_b", "org"},
    {"nul\\u0000byte.example.com", "example.com", "nul\\u0000byte", "com"},
    {"com", NULL, NULL, NULL},
    {"co.uk", NULL, NULL, NULL},
    {"localhost", NULL, NULL, NULL},
    {"192.0.2.1", NULL, NULL, NULL},
    {"2001:db8::1", NULL, NULL, NULL},
    {"a..com", NULL, NULL, NULL},
    {".example.com", NULL, NULL, NULL},
    {".", NULL, NULL, NULL},
};

static void expect_part(const struct rig *rig, uint32_t i, const char *part, const char *value) {
    char text[160];
    if (value == NULL) {
        snprintf(text, sizeof(text), "\"%s\"", part);
        rig_expect_not(rig, i, text);
        return;
    }
    snprintf(text, sizeof(text), "\"%s\":\"%s\"", part, value);
    rig_expect(rig, i, text);
}

static void names_have_their_parts(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, "configs", "/dns.log");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[256];
        snprintf(line, sizeof(line), "{\"ts\":1.5,\"query\":\"%s\"}\n{\"ts\":2.5,\"query\":\"%s\"}\n", cases[i].name,
                 cases[i].name);
        rig_text(&rig, line);
        for (uint32_t e = 0; e < 2; e++) { /* the second comes from what was remembered */
            expect_part(&rig, e, "name", cases[i].name);
            expect_part(&rig, e, "registered_domain", cases[i].registered);
            expect_part(&rig, e, "subdomain", cases[i].subdomain);
            expect_part(&rig, e, "top_level_domain", cases[i].suffix);
        }
    }
    rig_close(&rig);
}

/* Names that share a place in the table, and some too long for it, do not take each other's parts. */
static void many_names_stay_apart(void **state) {
    (void)state;
    struct rig rig;
    char line[2048];
    char label[70];
    rig_open(&rig, "configs", "/dns.log");
    for (unsigned i = 0; i < 20000; i++) {
        char expected[96];
        unsigned n = i * 7919U % 9000U;
        memset(label, 'a', sizeof(label));
        label[n % 64] = '\0';
        snprintf(line, sizeof(line), "{\"ts\":1.5,\"query\":\"%s%u.sub%s.h%u.co.uk\"}\n", label, n, label, n);
        rig_text(&rig, line);
        snprintf(expected, sizeof(expected), "\"registered_domain\":\"h%u.co.uk\"", n);
        rig_expect(&rig, 0, expected);
    }
    memset(line, 0, sizeof(line));
    snprintf(line, sizeof(line), "{\"ts\":1.5,\"query\":\"");
    memset(line + strlen(line), 'x', 1100);
    strcat(line, ".example.com\"}\n");
    rig_text(&rig, line);
    rig_expect_not(&rig, 0, "registered_domain");
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_have_their_parts),
        cmocka_unit_test(many_names_stay_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
