/* What a crash report says: tails of outputs, secrets, its maximum; and which archived logs may go.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_diag_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static int setup(void **state) {
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/tapline-report-XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int teardown(void **state) {
    (void)state;
    return folder_remove(dir);
}

static const char *path_of(const char *name) {
    static char path[4][512];
    static unsigned next;
    char *out = path[next++ % 4];
    (void)snprintf(out, sizeof(path[0]), "%s/%s", dir, name);
    return out;
}

static void write_file(const char *name, const char *text, size_t len) {
    FILE *out = fopen(path_of(name), "w");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
}

static void write_text(const char *name, const char *text) {
    write_file(name, text, strlen(text));
}

/* ---- tails ------------------------------------------------------------------------------------------------------------------ */

static void a_tail_is_the_last_lines(void **state) {
    (void)state;
    bool is_cut = false;
    write_text("a", "one\ntwo\nthree\nfour");
    char *text = serve_tail_read(path_of("a"), 2, 1000, &is_cut);
    assert_string_equal(text, "three\nfour");
    assert_true(is_cut);
    free(text);
    text = serve_tail_read(path_of("a"), 4, 1000, &is_cut);
    assert_string_equal(text, "one\ntwo\nthree\nfour");
    assert_false(is_cut);
    free(text);
    text = serve_tail_read(path_of("a"), 9, 6, &is_cut); /* within its last bytes */
    assert_string_equal(text, "e\nfour");
    assert_true(is_cut);
    free(text);
}

static void a_tail_of_nothing_and_of_holes(void **state) {
    (void)state;
    bool is_cut = true;
    write_text("empty", "");
    char *text = serve_tail_read(path_of("empty"), 2, 1000, &is_cut);
    assert_string_equal(text, "");
    assert_false(is_cut);
    free(text);
    write_file("hole", "a\0b\n", 4);
    text = serve_tail_read(path_of("hole"), 2, 1000, &is_cut);
    assert_string_equal(text, "a?b\n");
    free(text);
    assert_null(serve_tail_read(path_of("none"), 2, 1000, &is_cut));
    assert_int_equal(symlink("a", path_of("link")), 0);
    assert_null(serve_tail_read(path_of("link"), 2, 1000, &is_cut)); /* a sensor's user must not lead us elsewhere */
}

/* ---- secrets ----------------------------------------------------------------------------------------------------------------- */

static void secrets_are_masked(void **state) {
    (void)state;
    static const char spec[] =
        "{\"name\":\"a\",\"argv\":[\"zeek\",\"--password=hunter2\",\"--api-key\",\"k123\",\"redis://u:pw9@h/0\",\"-i\","
        "\"lo\"],\"env\":{\"REDIS_PASSWORD\":\"s3cret\",\"AWS_SECRET_ACCESS_KEY\":\"zzz9\",\"GITHUB_TOKEN\":\"t0k\","
        "\"ZEEKPATH\":\"/opt/site\",\"URL\":\"https://x:y8y@host/\"},\"nice\":5}";
    struct core_arena arena = {0};
    struct core_json_tree *tree = NULL;
    struct core_fail fail = {0};
    char bytes[4096];
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes) - 1};
    assert_int_equal(core_arena_init(&arena, CORE_MIB, &fail), CORE_OK);
    assert_int_equal(core_json_tree_read(&arena, core_span_of(spec), &tree, &fail), CORE_OK);
    serve_spec_mask(tree, &out);
    assert_false(out.is_full);
    *out.pos = '\0';
    static const char *const gone[] = {"hunter2", "k123", "pw9", "s3cret", "zzz9", "t0k", "y8y"};
    static const char *const stays[] = {"/opt/site", "--password=***", "redis://***@h/0",
                                        "\"lo\"",    "\"nice\":5",     "REDIS_PASSWORD"};
    for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
        assert_null(strstr(bytes, gone[i]));
    }
    for (size_t i = 0; i < sizeof(stays) / sizeof(stays[0]); i++) {
        assert_non_null(strstr(bytes, stays[i]));
    }
    assert_int_equal(core_json_tree_read(&arena, core_span_of(bytes), &tree, &fail), CORE_OK);
    core_arena_destroy(&arena);
}

/* ---- the report --------------------------------------------------------------------------------------------------------------- */

static struct serve_report report_of(void) {
    struct serve_report report = {.type = "worker", .exit_status = 3, .uptime_ns = -1, .tapline_version = "1"};
    (void)snprintf(report.node, sizeof(report.node), "w1");
    (void)snprintf(report.name, sizeof(report.name), "20261122T040506.123456Z-w1");
    report.time = strdup("2026-11-22T04:05:06.123456Z");
    report.end = strdup("exit 3");
    report.reason = strdup("exit 3 after 2 s");
    report.cwd = strdup(dir);
    report.output = strdup(dir);
    report.backtrace = strdup("none");
    report.disks[0] = dir;
    return report;
}

static void a_report_is_json_and_has_the_outputs(void **state) {
    (void)state;
    struct serve_report report = report_of();
    struct core_span json;
    struct core_span text;
    struct core_arena arena = {0};
    struct core_json_tree *tree = NULL;
    struct core_fail fail = {0};
    write_text("stderr.log", "it \"broke\"\n");
    serve_report_write(&report, 64 * CORE_KIB, &json, &text);
    assert_int_equal(core_arena_init(&arena, 8 * CORE_MIB, &fail), CORE_OK);
    assert_int_equal(core_json_tree_read(&arena, json, &tree, &fail), CORE_OK);
    const struct core_json_tree *output = core_json_tree_get(tree, "output");
    assert_true(core_span_is(core_json_tree_text(core_json_tree_get(output, "stderr.log"), "text"), "it \"broke\"\n"));
    assert_true(core_span_is(core_json_tree_text(core_json_tree_get(output, "stdout.log"), "why"), "there is none"));
    assert_true(core_span_is(core_json_tree_get(tree, "exit")->text, "3"));
    assert_non_null(memmem(text.ptr, text.len, "it \"broke\"", 10));
    assert_non_null(memmem(text.ptr, text.len, "w1 (worker) ended: exit 3", 25));
    free((void *)(uintptr_t)json.ptr);
    free((void *)(uintptr_t)text.ptr);
    core_arena_destroy(&arena);
    serve_report_release(&report);
}

static void a_report_keeps_its_maximum(void **state) {
    (void)state;
    struct serve_report report = report_of();
    struct core_span json;
    struct core_span text;
    struct core_arena arena = {0};
    struct core_json_tree *tree = NULL;
    struct core_fail fail = {0};
    char *noise = malloc(CORE_MIB);
    assert_non_null(noise);
    memset(noise, '\x01', CORE_MIB); /* each is six bytes in JSON */
    for (size_t i = 99; i < CORE_MIB; i += 100) {
        noise[i] = '\n';
    }
    write_file("stdout.log", noise, CORE_MIB);
    write_file("stderr.log", noise, CORE_MIB);
    write_file("reporter.log", noise, CORE_MIB);
    serve_report_write(&report, 32 * CORE_KIB, &json, &text);
    assert_in_range(json.len, 10000, 32 * CORE_KIB);
    assert_in_range(text.len, 10000, 32 * CORE_KIB);
    assert_int_equal(core_arena_init(&arena, 8 * CORE_MIB, &fail), CORE_OK);
    assert_int_equal(core_json_tree_read(&arena, json, &tree, &fail), CORE_OK); /* whole */
    free((void *)(uintptr_t)json.ptr);
    free((void *)(uintptr_t)text.ptr);
    free(report.backtrace);
    report.backtrace = malloc(CORE_MIB); /* longer than all: left out, and the rest is whole */
    assert_non_null(report.backtrace);
    memset(report.backtrace, 'x', CORE_MIB - 1);
    report.backtrace[CORE_MIB - 1] = '\0';
    serve_report_write(&report, 32 * CORE_KIB, &json, &text);
    assert_int_equal(core_json_tree_read(&arena, json, &tree, &fail), CORE_OK);
    free((void *)(uintptr_t)json.ptr);
    free((void *)(uintptr_t)text.ptr);
    core_arena_destroy(&arena);
    serve_report_release(&report);
    free(noise);
}

static void names_of_reports(void **state) {
    (void)state;
    assert_true(serve_report_name_is("20261122T040506.123456Z-w1"));
    assert_false(serve_report_name_is("20261122T040506.123456Z-"));
    assert_false(serve_report_name_is("20261122T040506.123456Z-.."));
    assert_false(serve_report_name_is("20261122T040506.123456Z-a/b"));
    assert_false(serve_report_name_is("2026"));
    assert_false(serve_report_name_is(""));
}

/* ---- the archive ---------------------------------------------------------------------------------------------------------------- */

struct fake {
    const char *undelivered; /* a part of the path; NULL: none */
};

static bool fake_is_delivered(void *ctx, const char *path) {
    const struct fake *fake = ctx;
    return fake->undelivered == NULL || strstr(path, fake->undelivered) == NULL;
}

static uint64_t bytes_below(const char *path) {
    struct stat st;
    uint64_t sum = 0;
    DIR *in = opendir(path);
    for (struct dirent *entry = NULL; in != NULL && (entry = readdir(in)) != NULL;) {
        char below[1024];
        (void)snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || lstat(below, &st) != 0) {
            continue;
        }
        sum += S_ISDIR(st.st_mode) ? bytes_below(below) : S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    }
    if (in != NULL) {
        (void)closedir(in);
    }
    return sum;
}

static bool fake_free(void *ctx, const char *path, uint64_t *bytes) {
    (void)ctx;
    *bytes = 1000 - bytes_below(path);
    return true;
}

/* An archived log of 100 bytes that old. */
static void put_log(const char *name, int64_t age_s) {
    char text[100];
    memset(text, 'x', sizeof(text));
    write_file(name, text, sizeof(text));
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = core_now_ns() / CORE_NS_PER_S - age_s}};
    assert_int_equal(utimensat(AT_FDCWD, path_of(name), times, 0), 0);
}

static void make_archive(void) {
    assert_int_equal(mkdir(path_of("archive"), 0700), 0);
    assert_int_equal(mkdir(path_of("archive/old"), 0700), 0);
    assert_int_equal(mkdir(path_of("archive/new"), 0700), 0);
    put_log("archive/old/a.log", 4000);
    put_log("archive/old/b.log", 3000);
    put_log("archive/new/c.log", 200);
    put_log("archive/new/d.log", 100);
}

static struct serve_disk_done expire(int64_t keep_s, uint64_t free_min, const char *undelivered) {
    static atomic_bool stop;
    struct fake fake = {.undelivered = undelivered};
    struct serve_disk_done done;
    struct core_fail fail = {0};
    const struct serve_disk_want want = {.archive = path_of("archive"),
                                         .keep_ns = keep_s * CORE_NS_PER_S,
                                         .free_min = free_min,
                                         .is_delivered = fake_is_delivered,
                                         .ctx = &fake,
                                         .stop = &stop,
                                         .free_bytes = fake_free};
    assert_int_equal(serve_archive_expire(&want, &done, &fail), CORE_OK);
    return done;
}

static bool is_there(const char *name) {
    return access(path_of(name), F_OK) == 0;
}

static void what_is_old_and_delivered_goes(void **state) {
    (void)state;
    make_archive();
    struct serve_disk_done done = expire(1000, 0, NULL);
    assert_int_equal(done.removed, 2);
    assert_int_equal(done.removed_bytes, 200);
    assert_int_equal(done.undelivered, 0);
    assert_false(is_there("archive/old")); /* empty now */
    assert_true(is_there("archive/new/c.log"));
    assert_true(is_there("archive/new/d.log"));
}

static void what_is_not_delivered_stays(void **state) {
    (void)state;
    make_archive();
    struct serve_disk_done done = expire(50, 10000, "a.log"); /* all are old, and the disk is full whatever goes */
    assert_int_equal(done.removed, 3);
    assert_int_equal(done.undelivered, 1);
    assert_int_equal(done.undelivered_bytes, 100);
    assert_string_equal(done.undelivered_first, "old/a.log");
    assert_true(done.is_low);
    assert_true(is_there("archive/old/a.log"));
}

static void only_as_much_as_is_needed_goes_the_oldest_first(void **state) {
    (void)state;
    make_archive();
    struct serve_disk_done done = expire(0, 750, NULL); /* 600 are free */
    assert_int_equal(done.removed, 2);
    assert_false(done.is_low);
    assert_int_equal(done.free_bytes, 800);
    assert_false(is_there("archive/old/a.log"));
    assert_true(is_there("archive/new/c.log"));
    done = expire(0, 750, NULL);
    assert_int_equal(done.removed, 0);
}

static void links_lead_nowhere(void **state) {
    (void)state;
    make_archive();
    assert_int_equal(mkdir(path_of("outside"), 0700), 0);
    put_log("outside/precious.log", 9000);
    assert_int_equal(symlink(path_of("outside"), path_of("archive/link")), 0);
    assert_int_equal(symlink(path_of("outside/precious.log"), path_of("archive/one.log")), 0);
    struct serve_disk_done done = expire(10, 0, NULL);
    assert_int_equal(done.removed, 4);
    assert_true(is_there("outside/precious.log"));
    assert_true(is_there("archive/link"));
    assert_true(is_there("archive/one.log"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_tail_is_the_last_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tail_of_nothing_and_of_holes, setup, teardown),
        cmocka_unit_test(secrets_are_masked),
        cmocka_unit_test_setup_teardown(a_report_is_json_and_has_the_outputs, setup, teardown),
        cmocka_unit_test_setup_teardown(a_report_keeps_its_maximum, setup, teardown),
        cmocka_unit_test(names_of_reports),
        cmocka_unit_test_setup_teardown(what_is_old_and_delivered_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_delivered_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(only_as_much_as_is_needed_goes_the_oldest_first, setup, teardown),
        cmocka_unit_test_setup_teardown(links_lead_nowhere, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
