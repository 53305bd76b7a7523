/* Stands for normalize/decode_tsv.c: headers of every kind, escapes, markers, lists.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

#include "normalize/normalize_internal.h"

static const char *const maps = "configs";

static void escapes_read_as_json_prints_them(void **state) {
    (void)state;
    static const struct {
        const char *in;
        const char *out;
    } cases[] = {
        {"plain", "plain"},
        {"a\\x2db", "a-b"},
        {"\\x09\\x0a", "\t\n"},
        {"back\\\\slash", "back\\slash"},
        {"nul\\x00byte", "nul\\x00byte"}, /* as Zeek's JSON writer shows it */
        {"esc\\x1b[31m", "esc\\x1b[31m"},
        {"\\xc3\\xbc", "\xc3\xbc"}, /* Bro escaped valid UTF-8 too */
        {"\xc3\xbc", "\xc3\xbc"},
        {"\\xfc", "\\xfc"}, /* no UTF-8: the byte stays readable */
        {"\xfc", "\\xfc"},
        {"\xc3\xbc\\xff", "\\xc3\\xbc\\xff"}, /* one bad byte shows all, as Zeek does */
        {"\\xFC", "\\xfc"},
        {"cut\\x4", "cut\\x4"},
        {"\\", "\\"},
        {"\\0", "\\0"},
        {"\x7f", "\\x7f"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[256];
        size_t len = zeek_unescape(core_span_of(cases[i].in), out);
        if (len != strlen(cases[i].out) || memcmp(out, cases[i].out, len) != 0) {
            fail_msg("%s: %.*s", cases[i].in, (int)len, out);
        }
    }
}

static void markers_and_lists(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "x.log");
    rig_text(&rig, "#separator \\x09\n#set_separator\t,\n#empty_field\tEMPTY\n#unset_field\tNIL\n#path\ttest\n"
                   "#fields\tts\ta\tb\tc\td\n#types\ttime\tstring\tset[string]\tvector[string]\tcount\n"
                   "1.5\t-\tEMPTY\tx,NIL,EMPTY,a\\x2cb\t18446744073709551615\n"
                   "2.5\tNIL\tNIL\t(empty)\tNIL\n");
    assert_int_equal(rig.batch->events_len, 2);
    rig_expect(&rig, 0, "\"@timestamp\":\"1970-01-01T00:00:01.500000Z\"");
    rig_expect(&rig, 0, "\"test\":{\"a\":\"-\",\"b\":[],\"c\":[\"x\",null,\"\",\"a,b\"],\"d\":18446744073709551615}");
    rig_expect_not(&rig, 1, "\"a\":");
    rig_expect(&rig, 1, "\"c\":[\"(empty)\"]");
    assert_string_equal(rig.batch->events[0].dataset, "zeek.test");
    rig_close(&rig);
}

static void header_changes_in_the_middle(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "x.log");
    rig_text(&rig, "#separator \\x09\n#path\ttest\n#fields\tts\ta\n#types\ttime\tcount\n1.0\t1\n#close\t2026\n"
                   "2.0\t2\n"
                   "#separator |\n#set_separator|;\n#unset_field|-\n#empty_field|(empty)\n#path|other\n"
                   "#fields|a|b\n#types|count|set[count]\n3|4;5\n");
    assert_int_equal(rig.batch->events_len, 3);
    assert_false(rig.batch->events[0].is_dead);
    assert_true(rig.batch->events[1].is_dead); /* behind #close no header is in force */
    rig_expect(&rig, 1, "no #fields header is in force here");
    rig_expect(&rig, 2, "\"other\":{\"a\":3,\"b\":[4,5]}");
    /* log.offset is where the record's bytes begin: its header's */
    assert_int_equal(rig.batch->events[0].start, 0);
    rig_close(&rig);
}

static void separator_of_two_bytes(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "x.log");
    rig_text(&rig, "#separator ||\n#set_separator||,\n#empty_field||(empty)\n#unset_field||-\n#path||ssh2\n"
                   "#fields||t||status\n#types||time||string\n1.0||fa\\x7c\\x7cure\n");
    rig_expect(&rig, 0, "\"status\":\"fa||ure\"");
    rig_expect(&rig, 0, "\"t\":\"1970-01-01T00:00:01.000000Z\"");
    rig_close(&rig);
}

static void wrong_lines_are_dead_and_alone(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "x.log");
    rig_text(&rig, "#separator \\x09\n#path\ttest\n#fields\tts\ta\n#types\ttime\tcount\n"
                   "1.0\t1\n1.0\n1.0\tx\nyesterday\t1\n1.0\t1\t2\n{\"ts\":2.0,\"a\":7}\n1.0\t2\n");
    assert_int_equal(rig.batch->events_len, 7);
    static const bool is_dead[] = {false, true, true, true, true, false, false};
    for (uint32_t i = 0; i < 7; i++) {
        assert_int_equal(rig.batch->events[i].is_dead, is_dead[i]);
    }
    rig_expect(&rig, 1, "1 columns, and the header above has 2");
    rig_expect(&rig, 2, "field a: \\\"x\\\" is no count");
    rig_expect(&rig, 3, "field ts: \\\"yesterday\\\" is no time");
    rig_expect(&rig, 4, "3 columns");
    rig_expect(&rig, 5, "\"x\":{\"a\":7}"); /* switched to JSON in the same file: named by the file */
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_NORMALIZE_DEAD), 4);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_NORMALIZE_EVENTS), 3);
    rig_close(&rig);
}

static void no_number_for_infinity(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "x.log");
    rig_text(&rig, "#separator \\x09\n#path\ttest\n#fields\td\n#types\tdouble\ninf\n-inf\nnan\n1.123457\n-0.0\n");
    rig_expect(&rig, 0, "\"d\":\"inf\"");
    rig_expect(&rig, 2, "\"d\":\"nan\"");
    rig_expect(&rig, 3, "\"d\":1.123457");
    rig_expect(&rig, 4, "\"d\":-0.0");
    rig_close(&rig);
}

/* A head and one line, of so many columns each; a column's value is its name. Names are distinct where they may matter, and
 * short where the head would be too long. */
static size_t wide_text(char *out, size_t room, size_t columns, bool is_plain, const char *separator) {
    const size_t names = columns > 2 * COLUMNS_MAX ? 256 : columns;
    size_t at = (size_t)snprintf(out, room, "#separator %s\n#path%swide\n#fields", separator, separator);
    for (size_t i = 0; i < columns; i++) {
        at += (size_t)snprintf(out + at, room - at, "%s%zx", separator, i % names);
    }
    at += (size_t)snprintf(out + at, room - at, "\n");
    for (size_t i = 0; i < columns; i++) {
        at +=
            (size_t)snprintf(out + at, room - at, "%s%s%zx", i == 0 ? "" : separator, is_plain ? "" : "\"", i % names);
    }
    assert_true(at + 1 < room);
    return at;
}

static void columns_have_a_limit(void **state) {
    (void)state;
    static const size_t columns[] = {COLUMNS_MAX - 1, COLUMNS_MAX, COLUMNS_MAX + 1, 2200, 4200, 60000};
    static const char *const separators[] = {"|", "||"};
    size_t room = 1024 * 1024;
    char *text = malloc(room);
    assert_non_null(text);
    for (size_t i = 0; i < 4 * sizeof(columns) / sizeof(columns[0]); i++) {
        size_t n = columns[i / 4];
        bool is_plain = i % 2 == 0;
        struct rig rig;
        rig_open(&rig, maps, "x.log");
        size_t len = wide_text(text, room, n, is_plain, separators[i / 2 % 2]);
        len += (size_t)snprintf(text + len, room - len, "\n#fields%sa\n7\n", separators[i / 2 % 2]);
        rig_run(&rig, text, len);
        assert_int_equal(rig.batch->events_len, 2);
        if (n > COLUMNS_MAX) {
            assert_true(rig.batch->events[0].is_dead);
            rig_expect(&rig, 0, "more than 2048 distinct fields");
        } else {
            char last[64];
            (void)snprintf(last, sizeof(last), "\"%zx\":\"%s%zx\"", n - 1, is_plain ? "" : "\\\"", n - 1);
            assert_false(rig.batch->events[0].is_dead);
            rig_expect(&rig, 0, last);
        }
        assert_false(rig.batch->events[1].is_dead); /* the next head counts again */
        rig_expect(&rig, 1, "\"a\":\"7\"");
        rig_close(&rig);
    }
    free(text);
}

/* A record without a time takes #open, and without that the file's. */
static void time_of_the_log(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, maps, "loaded_scripts.log");
    rig_text(&rig,
             "#separator \\x09\n#path\tloaded_scripts\n#open\t2026-11-21-03-16-01\n#fields\tname\n#types\tstring\nx\n");
    rig_expect(&rig, 0, "\"@timestamp\":\"2026-11-21T03:16:01.000000Z\"");
    rig_text(&rig, "{\"name\":\"y\"}");
    rig_close(&rig);
    rig_open(&rig, maps, "loaded_scripts.log");
    rig_text(&rig, "{\"name\":\"y\"}");
    rig_expect(&rig, 0, "\"@timestamp\":\"2026-11-21T02:58:30.000000Z\"");
    rig_expect(&rig, 0, "\"dataset\":\"zeek.loaded_scripts\"");
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_read_as_json_prints_them),
        cmocka_unit_test(markers_and_lists),
        cmocka_unit_test(header_changes_in_the_middle),
        cmocka_unit_test(separator_of_two_bytes),
        cmocka_unit_test(wrong_lines_are_dead_and_alone),
        cmocka_unit_test(no_number_for_infinity),
        cmocka_unit_test(columns_have_a_limit),
        cmocka_unit_test(time_of_the_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
