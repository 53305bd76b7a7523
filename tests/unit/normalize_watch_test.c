/* tests/unit/normalize_watch_test.c: records as their source wrote them, for who watches (normalize/watch.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

#define HEADER "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n"
#define FIELDS "#fields\tts\tuid\tid.orig_h\tquery\tanswers\n#types\ttime\tstring\taddr\tstring\tvector[string]\n"

struct seen {
    char records[8][512];
    char datasets[8][64];
    size_t len;
    size_t asked;
    bool wants;
};

static bool on_wants(void *ctx, const struct core_line *line) {
    struct seen *seen = ctx;
    assert_true(line->text.len > 0);
    seen->asked++;
    return seen->wants;
}

static void on_record(void *ctx, const char *dataset, struct core_span record) {
    struct seen *seen = ctx;
    assert_true(seen->len < 8);
    (void)snprintf(seen->records[seen->len], sizeof(seen->records[0]), "%.*s", (int)record.len,
                   record.len == 0 ? "" : record.ptr);
    (void)snprintf(seen->datasets[seen->len++], sizeof(seen->datasets[0]), "%s", dataset);
}

static void watched_run(struct rig *rig, struct seen *seen, const char *text) {
    const struct normalize_watch watch = {.wants = on_wants, .record = on_record, .ctx = seen};
    *seen = (struct seen){.wants = seen->wants};
    normalize_worker_watch(rig->worker, &watch);
    rig_run(rig, text, strlen(text));
}

static void a_record_has_its_sources_names(void **state) {
    (void)state;
    struct rig rig;
    struct seen seen = {.wants = true};
    rig_open(&rig, "configs", "/logs/dns.log");
    watched_run(&rig, &seen,
                HEADER FIELDS
                "1795229910.5\tC1\t10.0.0.1\ta\\x09\"b\t-\n1795229911.5\tC2\t10.0.0.2\t-\tx,y\nno record\n");
    assert_int_equal(seen.len, 2); /* what cannot be decoded is no record */
    assert_string_equal(seen.records[0],
                        "{\"ts\":\"1795229910.5\",\"uid\":\"C1\",\"id.orig_h\":\"10.0.0.1\",\"query\":\"a\\t\\\"b\"}");
    assert_string_equal(
        seen.records[1],
        "{\"ts\":\"1795229911.5\",\"uid\":\"C2\",\"id.orig_h\":\"10.0.0.2\",\"answers\":[\"x\",\"y\"]}");
    assert_string_equal(seen.datasets[0], "zeek.dns");
    assert_int_equal(rig.batch->events_len, 3);
    assert_true(rig.batch->events[2].is_dead);
    rig_close(&rig);
}

static void json_keeps_its_types(void **state) {
    (void)state;
    struct rig rig;
    struct seen seen = {.wants = true};
    rig_open(&rig, "configs", "/logs/eve.json");
    watched_run(&rig, &seen, "{\"_path\":\"dns\",\"ts\":1795229910.5,\"uid\":\"C1\",\"AA\":true,\"TTLs\":[1.5,2]}\n");
    assert_int_equal(seen.len, 1);
    assert_non_null(strstr(seen.records[0], "\"ts\":1795229910.5"));
    assert_non_null(strstr(seen.records[0], "\"AA\":true"));
    assert_non_null(strstr(seen.records[0], "\"TTLs\":[1.5,2]"));
    rig_close(&rig);
}

static void only_one_batch_is_watched_and_documents_stay_the_same(void **state) {
    (void)state;
    struct rig rig;
    struct seen seen = {.wants = false};
    char document[2048];
    static const char text[] = HEADER FIELDS "1795229910.5\tC1\t10.0.0.1\tq\t-\n";
    rig_open(&rig, "configs", "/logs/dns.log");
    rig_run(&rig, text, strlen(text));
    (void)snprintf(document, sizeof(document), "%.*s", (int)rig.batch->events[0].doc.len, rig.batch->events[0].doc.ptr);
    watched_run(&rig, &seen, "1795229910.5\tC1\t10.0.0.1\tq\t-\n");
    assert_int_equal(seen.asked, 1);
    assert_int_equal(seen.len, 0); /* not wanted */
    seen.wants = true;
    watched_run(&rig, &seen, text);
    assert_int_equal(seen.len, 1);
    assert_int_equal(rig.batch->events[0].doc.len, strlen(document));
    assert_memory_equal(rig.batch->events[0].doc.ptr, document, strlen(document));
    rig_run(&rig, text, strlen(text));
    assert_int_equal(seen.len, 1);
    assert_int_equal(seen.asked, 1);
    rig_close(&rig);
}

static void a_record_that_is_too_long_is_told_as_empty(void **state) {
    (void)state;
    struct rig rig;
    struct seen seen = {.wants = true};
    size_t len = NORMALIZE_WATCH_BYTES_MAX + 100;
    char *text = malloc(len + 512);
    assert_non_null(text);
    int at = snprintf(text, 512, "%s1795229910.5\tC1\t10.0.0.1\t", HEADER FIELDS);
    memset(text + at, 'q', len);
    memcpy(text + (size_t)at + len, "\t-\n", 4);
    rig_open(&rig, "configs", "/logs/dns.log");
    watched_run(&rig, &seen, text);
    assert_int_equal(seen.len, 1);
    assert_string_equal(seen.records[0], "");
    rig_close(&rig);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_has_its_sources_names),
        cmocka_unit_test(json_keeps_its_types),
        cmocka_unit_test(only_one_batch_is_watched_and_documents_stay_the_same),
        cmocka_unit_test(a_record_that_is_too_long_is_told_as_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
