/* tests/unit/core_conf_bind_test.c: option rows over tapline.yml (core/conf_bind.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/conf.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct bound {
    char *name;
    char *password;
    bool is_on;
    uint64_t count;
    int64_t linger_ns;
    uint64_t limit;
    int mode;
    struct core_conf_list paths;
    struct core_conf_list fields;
    struct core_conf_list rdkafka;
};

static const char *const modes[] = {"beginning", "end", NULL};

static const struct core_opt opts[] = {
    {.key = "name",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct bound, name),
     .def = "n",
     .needs_restart = true,
     .help = "A name."},
    {.key = "password",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct bound, password),
     .is_secret = true,
     .help = "A secret."},
    {.key = "is_on", .type = CORE_OPT_BOOL, .offset = offsetof(struct bound, is_on), .def = "yes", .help = "A switch."},
    {.key = "count",
     .type = CORE_OPT_UINT,
     .offset = offsetof(struct bound, count),
     .def = "16",
     .min = "2",
     .max = "1024",
     .needs_restart = true,
     .help = "A number."},
    {.key = "linger",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct bound, linger_ns),
     .def = "5ms",
     .min = "1ms",
     .max = "1m",
     .help = "A time."},
    {.key = "limit", .type = CORE_OPT_SIZE, .offset = offsetof(struct bound, limit), .def = "1MiB", .help = "A size."},
    {.key = "mode",
     .type = CORE_OPT_ENUM,
     .offset = offsetof(struct bound, mode),
     .def = "end",
     .choices = modes,
     .help = "A choice."},
    {.key = "paths",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct bound, paths),
     .is_required = true,
     .needs_restart = true,
     .help = "The files."},
    {.key = "fields",
     .type = CORE_OPT_PAIRS,
     .offset = offsetof(struct bound, fields),
     .needs_restart = true,
     .help = "More fields."},
    {.key = "rdkafka",
     .type = CORE_OPT_PAIRS,
     .offset = offsetof(struct bound, rdkafka),
     .is_secret = true,
     .help = "Properties."},
};
#define OPTS_LEN (sizeof(opts) / sizeof(opts[0]))

static char dir[] = "/tmp/core_conf_bind_test.XXXXXX";

static void file_write(const char *name, const char *text, mode_t mode, char path[256]) {
    (void)snprintf(path, 256, "%s/%s", dir, name);
    (void)unlink(path);
    FILE *out = fopen(path, "we");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static enum core_err bind_text(const char *text, struct bound *bound, struct core_conf_mistakes *mistakes) {
    char path[256];
    struct core_conf_file *file = NULL;
    struct core_fail fail;
    memset(bound, 0, sizeof(*bound));
    memset(mistakes, 0, sizeof(*mistakes));
    file_write("c.yml", text, 0600, path);
    assert_int_equal(core_conf_open(&file, path, &fail), CORE_OK);
    enum core_err err = core_conf_bind(file, core_conf_root(file), "ingest", opts, OPTS_LEN, bound, mistakes);
    core_conf_close(file);
    return err;
}

/* Exactly one mistake, at this place, with these words. */
static void bad(const char *text, const char *place, const char *words) {
    struct bound bound;
    struct core_conf_mistakes mistakes;
    assert_int_equal(bind_text(text, &bound, &mistakes), CORE_BAD);
    core_conf_release(opts, OPTS_LEN, &bound);
    char where[300];
    (void)snprintf(where, sizeof(where), "%s/c.yml%s", dir, place);
    if (mistakes.len != 1 || strcmp(mistakes.fails[0].where, where) != 0 ||
        strstr(mistakes.fails[0].text, words) == NULL) {
        fail_msg("%zu mistakes, first: %s: %s", mistakes.len, mistakes.fails[0].where, mistakes.fails[0].text);
    }
}

static void test_defaults(void **state) {
    (void)state;
    struct bound bound;
    struct core_conf_mistakes mistakes;
    assert_int_equal(bind_text("paths: /a/*.log\ncount:\nname: ~\n", &bound, &mistakes), CORE_OK);
    assert_string_equal(bound.name, "n");
    assert_null(bound.password);
    assert_true(bound.is_on);
    assert_int_equal(bound.count, 16);
    assert_int_equal(bound.linger_ns, 5000000);
    assert_int_equal(bound.limit, 1 << 20);
    assert_int_equal(bound.mode, 1);
    assert_int_equal(bound.paths.len, 1);
    assert_string_equal(bound.paths.items[0].value, "/a/*.log");
    assert_int_equal(bound.fields.len, 0);
    core_conf_release(opts, OPTS_LEN, &bound);
    assert_null(bound.name);
    core_conf_release(opts, OPTS_LEN, &bound);
}

static void test_values(void **state) {
    (void)state;
    struct bound bound;
    struct core_conf_mistakes mistakes;
    assert_int_equal(
        bind_text("name: ''\npassword: '@x'\nis_on: OFF\ncount: '7'\nlinger: 1.5s\nlimit: 10 kB\n"
                  "mode: beginning\npaths: [a, 'b c']\n"
                  "fields: {observer.name: tap-7, n: 5, q: '5', t: true, u: yes, h: 0x10, o: 007, f: -1.5e3,\n"
                  "         labels: {env: prod, deep: {x: 1}}}\n",
                  &bound, &mistakes),
        CORE_OK);
    assert_string_equal(bound.name, "");
    assert_string_equal(bound.password, "@x");
    assert_false(bound.is_on);
    assert_int_equal(bound.count, 7);
    assert_int_equal(bound.linger_ns, 1500000000);
    assert_int_equal(bound.limit, 10000);
    assert_int_equal(bound.mode, 0);
    assert_int_equal(bound.paths.len, 2);
    assert_string_equal(bound.paths.items[1].value, "b c");
    assert_int_equal(bound.paths.items[1].line, 8);
    assert_int_equal(bound.paths.items[1].column, 12);
    static const struct {
        const char *key;
        const char *value;
        bool is_number;
    } want[] = {{"observer.name", "tap-7", false},
                {"n", "5", true},
                {"q", "5", false},
                {"t", "true", true},
                {"u", "yes", false},
                {"h", "0x10", false},
                {"o", "007", false},
                {"f", "-1.5e3", true},
                {"labels.env", "prod", false},
                {"labels.deep.x", "1", true}};
    assert_int_equal(bound.fields.len, sizeof(want) / sizeof(want[0]));
    for (size_t i = 0; i < bound.fields.len; i++) {
        assert_string_equal(bound.fields.items[i].key, want[i].key);
        assert_string_equal(bound.fields.items[i].value, want[i].value);
        assert_int_equal(bound.fields.items[i].is_number, want[i].is_number);
    }
    core_conf_release(opts, OPTS_LEN, &bound);
}

static void test_mistakes(void **state) {
    (void)state;
    bad("paths: a\nlingr: 5ms\n", ":2:1", "unknown key \"lingr\" in ingest, did you mean \"linger\"?");
    bad("paths: a\nmdoe: end\n", ":2:1", "did you mean \"mode\"?");
    bad("paths: a\nsomething_else: 1\n", ":2:1", "tapline reference options");
    bad("name: x\n", ":1:1", "\"ingest.paths\" is missing: The files.");
    bad("paths: []\n", ":1:8", "empty list");
    bad("paths:\n", ":1:1", "missing");
    bad("paths: [a, ~]\n", ":1:12", "this item is empty");
    bad("paths: [a, [b]]\n", ":1:12", "this item is a list");
    bad("paths: {a: b}\n", ":1:8", "one value, not a mapping");
    bad("paths: a\nlinger: 5\n", ":2:9", "needs a unit: is it 5ms");
    bad("paths: a\nlinger: 5x\n", ":2:9", "\"5x\" is no duration");
    bad("paths: a\nlinger: 0\n", ":2:9", "at least 1ms");
    bad("paths: a\nlinger: 2h\n", ":2:9", "at most 1m");
    bad("paths: a\nlimit: 5\n", ":2:8", "needs a unit: is it 5B");
    bad("paths: a\nlimit: 5K\n", ":2:8", "no size");
    bad("paths: a\ncount: -1\n", ":2:8", "no whole number");
    bad("paths: a\ncount: 99999999999999999999\n", ":2:8", "no whole number");
    bad("paths: a\ncount: 1\n", ":2:8", "at least 2");
    bad("paths: a\ncount: [1]\n", ":2:8", "one value, not a list");
    bad("paths: a\nis_on: maybe\n", ":2:8", "yes or no");
    bad("paths: a\nmode: begining\n", ":2:7", "did you mean \"beginning\"?");
    bad("paths: a\nmode: x\n", ":2:7", "one of: beginning, end");
    bad("paths: a\nfields: 5\n", ":2:9", "keys and values");
    bad("paths: a\nfields: {x: [1]}\n", ":2:13", "not a list");
    bad("paths: a\nfields: {x: }\n", ":2:10", "has no value");
}

static void test_all_mistakes_are_told(void **state) {
    (void)state;
    struct bound bound;
    struct core_conf_mistakes mistakes;
    assert_int_equal(bind_text("cuont: 1\nlinger: 5\ncount: 1\n", &bound, &mistakes), CORE_BAD);
    assert_int_equal(mistakes.len, 4); /* unknown, no unit, too small, paths missing */
    core_conf_release(opts, OPTS_LEN, &bound);
}

static void test_not_a_mapping(void **state) {
    (void)state;
    char path[256];
    struct core_conf_file *file = NULL;
    struct core_conf_mistakes mistakes = {0};
    struct bound bound = {0};
    file_write("c.yml", "paths: a\n", 0600, path);
    assert_int_equal(core_conf_open(&file, path, NULL), CORE_OK);
    const struct core_conf_node *scalar = core_conf_get(core_conf_root(file), "paths");
    assert_int_equal(core_conf_bind(file, scalar, "x", opts, 1, &bound, &mistakes), CORE_BAD);
    core_conf_release(opts, OPTS_LEN, &bound);
    assert_int_equal(core_conf_bind(file, NULL, "x", opts, 1, &bound, &mistakes), CORE_OK);
    assert_string_equal(bound.name, "n");
    core_conf_release(opts, OPTS_LEN, &bound);
    core_conf_close(file);
}

static void test_secrets(void **state) {
    (void)state;
    char secret[256];
    char text[2048];
    struct bound bound;
    struct core_conf_mistakes mistakes;
    file_write("pw", "geheim \r\nsecond line\n", 0600, secret);
    (void)snprintf(text, sizeof(text),
                   "paths: '@%s'\npassword: '@%s'\nfields: {x: '@%s'}\nrdkafka: {a.b: '@%s', c: d}\n", secret, secret,
                   secret, secret);
    assert_int_equal(bind_text(text, &bound, &mistakes), CORE_OK);
    assert_string_equal(bound.password, "geheim ");
    assert_string_equal(bound.rdkafka.items[0].value, "geheim ");
    assert_true(bound.rdkafka.items[0].is_secret);
    assert_false(bound.rdkafka.items[1].is_secret);
    assert_int_equal(bound.fields.items[0].value[0], '@'); /* not a secret's row: the text as it is */
    assert_int_equal(bound.paths.items[0].value[0], '@');
    core_conf_release(opts, OPTS_LEN, &bound);

    bad("paths: a\npassword: '@/nonexistent/pw'\n", ":2:11", "/nonexistent/pw, which cannot be read: No such file");
    bad("paths: a\nrdkafka: {ssl.key.password: '@/nonexistent/pw'}\n", ":2:29", "\"ssl.key.password\"");
    file_write("pw", "\nx\n", 0600, secret);
    (void)snprintf(text, sizeof(text), "paths: a\npassword: '@%s'\n", secret);
    bad(text, ":2:11", "first line is empty");
    (void)unlink(secret);
}

static void test_restart(void **state) {
    (void)state;
    struct core_conf_mistakes mistakes;
    struct bound a;
    static const struct {
        const char *text;
        const char *key; /* NULL: may be swapped */
    } cases[] = {
        {"paths: a\nfields: {x: 1}\nmode: beginning\nlimit: 3GB\n", NULL},
        {"paths: a\nfields: {x: 1}\nname: other\n", "name"},
        {"paths: a\nfields: {x: 1}\ncount: 17\n", "count"},
        {"paths: [a, b]\nfields: {x: 1}\n", "paths"},
        {"paths: a\nfields: {x: '1'}\n", "fields"},
        {"paths: a\nfields: {y: 1}\n", "fields"},
    };
    assert_int_equal(bind_text("paths: a\nfields: {x: 1}\n", &a, &mistakes), CORE_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bound b;
        const char *key = NULL;
        assert_int_equal(bind_text(cases[i].text, &b, &mistakes), CORE_OK);
        assert_int_equal(core_conf_same_restart(opts, OPTS_LEN, &a, &b, &key), cases[i].key == NULL);
        if (cases[i].key != NULL) {
            assert_string_equal(key, cases[i].key);
        }
        core_conf_release(opts, OPTS_LEN, &b);
    }
    core_conf_release(opts, OPTS_LEN, &a);
}

static void test_nearest(void **state) {
    (void)state;
    static const char *const words[] = {"linger", "limit", "paths", "a"};
    assert_string_equal(core_conf_nearest("lnger", words, 4), "linger");
    assert_string_equal(core_conf_nearest("ilnger", words, 4), "linger"); /* two neighbours swapped: one edit */
    assert_string_equal(core_conf_nearest("limit", words, 4), "limit");
    assert_null(core_conf_nearest("something", words, 4));
    assert_null(core_conf_nearest("b", words, 4)); /* everything of it would have to change */
    char endless[300];
    memset(endless, 'x', sizeof(endless));
    endless[sizeof(endless) - 1] = '\0';
    assert_null(core_conf_nearest(endless, words, 4));
}

static void test_units(void **state) {
    (void)state;
    int64_t ns = -1;
    uint64_t bytes = 1;
    assert_true(core_parse_duration("0", &ns) && ns == 0);
    assert_true(core_parse_duration("250ms", &ns) && ns == 250 * CORE_NS_PER_MS);
    assert_true(core_parse_duration("2 d", &ns) && ns == 2 * 86400 * CORE_NS_PER_S);
    assert_true(core_parse_duration("0.5h", &ns) && ns == 1800 * CORE_NS_PER_S);
    assert_true(core_parse_duration("106751d", &ns));
    static const char *const no_durations[] = {"",
                                               "5",
                                               "s",
                                               "-1s",
                                               "1.s",
                                               ".5s",
                                               "1s ",
                                               "1 s2",
                                               "1S",
                                               "1e3s",
                                               "106752d",
                                               "0.1ns",
                                               "5 ",
                                               "18446744073709551616s",
                                               "0.1234567890123s"};
    for (size_t i = 0; i < sizeof(no_durations) / sizeof(no_durations[0]); i++) {
        assert_false(core_parse_duration(no_durations[i], &ns));
    }
    assert_true(core_parse_size("0", &bytes) && bytes == 0);
    assert_true(core_parse_size("64KiB", &bytes) && bytes == 65536);
    assert_true(core_parse_size("1.5MiB", &bytes) && bytes == 1572864);
    assert_true(core_parse_size("2GB", &bytes) && bytes == UINT64_C(2000000000));
    assert_false(core_parse_size("0.3B", &bytes));
    assert_false(core_parse_size("64K", &bytes));
    assert_false(core_parse_size("17179869184GiB", &bytes));
}

int main(void) {
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),      cmocka_unit_test(test_values),
        cmocka_unit_test(test_mistakes),      cmocka_unit_test(test_all_mistakes_are_told),
        cmocka_unit_test(test_not_a_mapping), cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_restart),       cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_units),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/c.yml", dir);
    (void)unlink(path);
    (void)rmdir(dir);
    return failed;
}
