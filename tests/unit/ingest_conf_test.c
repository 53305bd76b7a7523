/* tests/unit/ingest_conf_test.c: rows that agree with their structs, and the object that `fields:` makes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "ingest/ingest.h"

struct pair {
    const char *key;
    const char *value;
    bool is_number;
};

/* The object that the pairs make, or NULL with fail filled. Owns: the caller frees. */
static char *fields_of(const struct pair *pairs, size_t len, struct core_fail *fail) {
    struct core_conf_item items[512];
    struct ingest_input input = {0};
    assert_true(len <= 512);
    for (size_t i = 0; i < len; i++) {
        items[i] = (struct core_conf_item){.key = (char *)(uintptr_t)pairs[i].key,
                                           .value = (char *)(uintptr_t)pairs[i].value,
                                           .is_number = pairs[i].is_number,
                                           .line = (int)i + 1,
                                           .column = 3};
    }
    input.fields = (struct core_conf_list){.items = items, .len = len};
    if (ingest_input_finish(&input, fail) != CORE_OK) {
        assert_null(input.fields_json);
        return NULL;
    }
    assert_ptr_equal(input.origin.fields_json, input.fields_json);
    return input.fields_json;
}

static void dots_become_objects(void **state) {
    (void)state;
    static const struct pair pairs[] = {
        {"observer.vendor", "Zeek", false},
        {"tags", "a\"b\\", false},
        {"observer.name", "tap-7", false},
        {"observer.geo.lat", "52.5", true},
        {"observer-x", "y", false},
        {"port", "443", true},
        {"on", "true", true},
        {"off", "False", true},
        {"hex", "0x10", true},
        {"quoted", "443", false},
        {"observer.geo.b.c", "1", true},
    };
    struct core_fail fail = {0};
    char *json = fields_of(pairs, sizeof(pairs) / sizeof(pairs[0]), &fail);
    assert_non_null(json);
    assert_string_equal(json,
                        "{\"hex\":\"0x10\",\"observer\":{\"geo\":{\"b\":{\"c\":1},\"lat\":52.5},\"name\":\"tap-7\","
                        "\"vendor\":\"Zeek\"},\"observer-x\":\"y\",\"off\":false,\"on\":true,\"port\":443,"
                        "\"quoted\":\"443\",\"tags\":\"a\\\"b\\\\\"}");
    free(json);
}

static void mistakes_are_refused(void **state) {
    (void)state;
    static const struct pair cases[][2] = {
        {{"a", "1", false}, {"a", "2", false}},
        {{"a", "1", false}, {"a.b", "2", false}},
        {{"x.y.z", "1", false}, {"x.y", "2", false}},
        {{"ok", "1", false}, {"a..b", "2", false}},
        {{"ok", "1", false}, {".a", "2", false}},
        {{"ok", "1", false}, {"a.", "2", false}},
        {{"ok", "1", false}, {"", "2", false}},
        {{"ok", "1", false}, {"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q", "2", false}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct core_fail fail = {0};
        assert_null(fields_of(cases[i], 2, &fail));
        assert_int_equal(fail.err, CORE_BAD);
        assert_non_null(strstr(fail.where, "fields, line "));
    }
}

static void too_much_is_refused(void **state) {
    (void)state;
    static char names[300][16];
    static struct pair pairs[300];
    static char big[70000];
    struct core_fail fail = {0};
    for (size_t i = 0; i < 300; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "f%zu", i);
        pairs[i] = (struct pair){names[i], "v", false};
    }
    assert_null(fields_of(pairs, 300, &fail));
    char *json = fields_of(pairs, 256, &fail);
    assert_non_null(json);
    free(json);
    memset(big, 'x', sizeof(big) - 1);
    const struct pair one = {"big", big, false};
    assert_null(fields_of(&one, 1, &fail));
    assert_non_null(strstr(fail.text, "bytes of JSON"));
}

static void no_fields_no_object(void **state) {
    (void)state;
    struct core_fail fail = {0};
    struct core_conf_item item = {.value = (char *)(uintptr_t) ""};
    struct ingest_input input = {.type = CORE_ORIGIN_SNORT, .keep_original = true};
    assert_int_equal(ingest_input_finish(&input, &fail), CORE_OK);
    assert_null(input.origin.fields_json);
    assert_int_equal(input.origin.type, CORE_ORIGIN_SNORT);
    assert_true(input.origin.keep_original);
    input.paths = (struct core_conf_list){.items = &item, .len = 1};
    assert_int_equal(ingest_input_finish(&input, &fail), CORE_BAD);
    ingest_input_release(NULL);
}

/* Through the parser: what a person writes, bound by the rows. */
static void the_rows_fill_the_structs(void **state) {
    (void)state;
    static const char yaml[] = "inputs:\n"
                               "  - type: zeek\n"
                               "    paths: [/a/*.log, /b/*.log]\n"
                               "    exclude: '*.tmp'\n"
                               "    start: end\n"
                               "    fields: {observer.name: tap-7}\n"
                               "    keep_original: true\n"
                               "ingest: {scan_interval: 250ms, files_max: 7, use_inotify: no}\n";
    char path[] = "/tmp/tapline-conf-XXXXXX";
    struct core_fail fail = {0};
    struct core_conf_file *file = NULL;
    struct core_conf_mistakes *mistakes = calloc(1, sizeof(*mistakes));
    const int fd = mkstemp(path);
    assert_int_equal(write(fd, yaml, sizeof(yaml) - 1), sizeof(yaml) - 1);
    close(fd);
    assert_int_equal(core_conf_open(&file, path, &fail), CORE_OK);
    const struct core_conf_node *root = core_conf_root(file);
    struct ingest_input input = {0};
    struct ingest_conf conf = {0};
    struct ingest_conf defaults = {0};
    assert_int_equal(core_conf_bind(file, core_conf_item(core_conf_get(root, "inputs"), 0), "inputs[0]",
                                    ingest_input_opts, ingest_input_opts_len, &input, mistakes),
                     CORE_OK);
    assert_int_equal(
        core_conf_bind(file, core_conf_get(root, "ingest"), "ingest", ingest_opts, ingest_opts_len, &conf, mistakes),
        CORE_OK);
    assert_int_equal(core_conf_bind(file, NULL, "ingest", ingest_opts, ingest_opts_len, &defaults, mistakes), CORE_OK);
    assert_int_equal(ingest_input_finish(&input, &fail), CORE_OK);
    assert_int_equal(input.origin.type, CORE_ORIGIN_ZEEK);
    assert_int_equal(input.paths.len, 2);
    assert_string_equal(input.paths.items[1].value, "/b/*.log");
    assert_string_equal(input.exclude.items[0].value, "*.tmp");
    assert_int_equal(input.start, INGEST_START_END);
    assert_true(input.origin.keep_original);
    assert_string_equal(input.origin.fields_json, "{\"observer\":{\"name\":\"tap-7\"}}");
    assert_int_equal(conf.scan_interval_ns, 250 * CORE_NS_PER_MS);
    assert_int_equal(conf.files_max, 7);
    assert_false(conf.use_inotify);
    assert_int_equal(defaults.scan_interval_ns, CORE_NS_PER_S);
    assert_int_equal(defaults.close_after_ns, 30 * CORE_NS_PER_S);
    assert_int_equal(defaults.checkpoint_interval_ns, CORE_NS_PER_S);
    assert_int_equal(defaults.poll_interval_ns, CORE_NS_PER_S);
    assert_int_equal(defaults.files_max, 4096);
    assert_true(defaults.use_inotify);
    ingest_input_release(&input);
    core_conf_release(ingest_opts, ingest_opts_len, &conf);
    core_conf_close(file);
    free(mistakes);
    unlink(path);
}

/* Keys as the command line sets them, and which of them agree. */
static void formats_agree_with_their_sensors(void **state) {
    (void)state;
    static const struct {
        const char *keys[4][2];
        const char *mistake; /* NULL: good */
    } cases[] = {
        {{{"type", "snort"}, {"format", "unified2"}, {"sid_msg_map", "/dev/null"}, {"gen_msg_map", "/dev/null"}}, NULL},
        {{{"type", "auto"}, {"csv_fields", "timestamp gid,sid"}, {"csv_fields", "rev"}}, NULL},
        {{{"type", "zeek"}, {"format", "unified2"}}, "unified2 is no format of zeek's"},
        {{{"format", "snort_full"}, {"csv_fields", "gid"}}, "only snort_csv has"},
        {{{"format", "snort_csv"}, {"csv_fields", " , "}}, "names no field"},
        {{{"format", "snort_csv"}, {"csv_fields", "gid,Sid"}}, "'Sid' is no field"},
        {{{"format", "snort_csv"}, {"csv_fields", "gid sid"}, {"csv_fields", "gid"}}, "'gid' stands twice"},
        {{{"format", "snort_fast"}, {"classification_config", "/c"}}, "are for unified2"},
        {{{"timezone", "America/Atlantis"}}, "knows no time zone"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct core_fail fail = {0};
        struct ingest_input input = {0};
        for (size_t k = 0; k < 4 && cases[i].keys[k][0] != NULL; k++) {
            assert_int_equal(ingest_input_set(&input, cases[i].keys[k][0], cases[i].keys[k][1], &fail), CORE_OK);
        }
        const bool is_good = cases[i].mistake == NULL;
        assert_int_equal(ingest_input_finish(&input, &fail) == CORE_OK, is_good);
        if (!is_good) {
            assert_non_null(strstr(fail.text, cases[i].mistake));
        }
        if (i == 0) {
            assert_int_equal(input.origin.format, CORE_FORMAT_UNIFIED2);
            assert_string_equal(input.origin.sid_msg_map, "/dev/null");
            assert_null(input.origin.classification_config);
        }
        if (i == 1) {
            assert_string_equal(input.origin.csv_fields, "timestamp,gid,sid,rev");
        }
        ingest_input_release(&input);
    }
    struct ingest_input input = {0};
    struct core_fail fail = {0};
    assert_int_equal(ingest_input_set(&input, "format", "unified3", &fail), CORE_BAD);
    assert_non_null(strstr(fail.text, "snort_cmg"));
    assert_int_equal(ingest_input_set(&input, "format", "snort_json", &fail), CORE_OK);
    assert_int_equal(ingest_input_finish(&input, &fail), CORE_OK);
    assert_int_equal(input.origin.type, CORE_ORIGIN_SNORT); /* the format says it */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dots_become_objects),       cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(too_much_is_refused),       cmocka_unit_test(no_fields_no_object),
        cmocka_unit_test(the_rows_fill_the_structs), cmocka_unit_test(formats_agree_with_their_sensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
