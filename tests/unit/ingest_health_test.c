/* Tests for ingest/health.c: rows of logs: what is behind, by how much and since when; what is done with has none; one row for all
 * generations of a name; and what is complained of.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest_rig.h"

#include "core/health_internal.h"

#include <sys/time.h>
#include <zlib.h>

static struct core_loop *loop;
static struct core_health *health;
static struct core_health_page *page;
static struct core_arena arena;

static void board_open(void) {
    struct core_fail fail = {0};
    assert_int_equal(core_loop_new(&loop, &fail), CORE_OK);
    const struct core_health_env env = {.process = "run", .node = "n", .version = "0", .loop = loop};
    health = core_health_new(&env);
    page = core_health_page_new(health, "ingest");
    assert_int_equal(core_arena_init(&arena, 64 * CORE_MIB, &fail), CORE_OK);
}

static void board_close(void) {
    core_health_free(health);
    core_loop_free(loop);
    core_arena_destroy(&arena);
}

/* The row of a log now; NULL: there is none. */
static const struct core_health_row *row_of(struct rig *rig, const char *name) {
    char path[192];
    size_t len = 0;
    rig_path(rig, name, path);
    core_health_begin(page);
    ingest_health(rig->ingest, page);
    core_health_publish(page);
    core_arena_reset(&arena, CORE_MIB);
    const struct core_health_row *rows = core_health_rows(health, &arena, &len);
    const struct core_health_row *found = NULL;
    for (size_t i = 0; i < len; i++) {
        if (rows[i].kind == CORE_HEALTH_FILE &&
            (strcmp(rows[i].labels[0], path) == 0 || strcmp(rows[i].labels[0], name) == 0)) {
            assert_null(found);
            found = &rows[i];
        }
    }
    return found;
}

static int64_t get(struct rig *rig, const char *name, enum core_health_measure measure) {
    const struct core_health_row *row = row_of(rig, name);
    assert_non_null(row);
    return core_health_get(row, measure);
}

static const char *complaint_of(struct rig *rig, const char *code) {
    size_t len = 0;
    (void)row_of(rig, "x");
    const struct core_health_complaint *all = core_health_complaints(health, &arena, &len);
    for (size_t i = 0; i < len; i++) {
        if (strcmp(all[i].code, code) == 0) {
            return all[i].text;
        }
    }
    return NULL;
}

static void put(struct rig *rig, const char *name, const char *text, const char *mode) {
    char path[192];
    rig_path(rig, name, path);
    FILE *file = fopen(path, mode);
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_lag_of_a_log(void **state) {
    (void)state;
    struct rig rig;
    rig_setup(&rig, 4);
    put(&rig, "a.log", "one\ntwo\n", "w");
    rig_open(&rig);
    assert_null(row_of(&rig, "a.log")); /* nobody has looked yet */
    rig.is_holding = true;
    rig_settle(&rig);
    const int64_t before = core_now_ns();
    assert_int_equal(get(&rig, "a.log", CORE_FILE_SIZE), 8);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_READ), 8);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_ACCEPTED), 0);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_LAG), 8);
    assert_in_range(get(&rig, "a.log", CORE_FILE_LAG_SINCE), before - 5 * CORE_NS_PER_S, before);
    rig.is_holding = false;
    rig_settle(&rig);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_LAG), 0);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_LAG_SINCE), 0);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_ACCEPTED), 8);
    rig_stop(&rig);
    rig_teardown(&rig);
}

static void test_what_is_no_record_is_no_lag(void **state) {
    (void)state;
    struct rig rig;
    rig_setup(&rig, 4);
    put(&rig, "a.log", "one\n\n\n", "w");      /* blank lines behind the last record */
    put(&rig, "b.log", "one\nhalf a li", "w"); /* a line that is not whole */
    put(&rig, "c.log", "", "w");               /* nothing yet */
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_LAG), 0);
    assert_int_equal(get(&rig, "b.log", CORE_FILE_LAG), 0);
    assert_int_equal(get(&rig, "b.log", CORE_FILE_ACCEPTED), 4);
    assert_int_equal(get(&rig, "c.log", CORE_FILE_LAG), 0);
    rig.is_holding = true;
    put(&rig, "b.log", "ne\n", "a");
    assert_int_equal(get(&rig, "b.log", CORE_FILE_LAG), 12); /* it may be whole now */
    rig_settle(&rig);
    assert_int_equal(get(&rig, "b.log", CORE_FILE_LAG), 12);
    rig_stop(&rig);
    rig_teardown(&rig);
}

static void test_a_rotated_log_counts_with_its_heir(void **state) {
    (void)state;
    struct rig rig;
    char from[192];
    char to[192];
    rig_setup(&rig, 8);
    rig.conf.close_after_ns = 10 * CORE_NS_PER_S;
    put(&rig, "a.log", "one\n", "w");
    rig_open(&rig);
    rig.is_holding = true;
    rig_settle(&rig);
    rig_path(&rig, "a.log", from);
    rig_path(&rig, "a.1", to);
    assert_int_equal(rename(from, to), 0);
    put(&rig, "a.log", "three\n", "w");
    rig_settle(&rig);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_SIZE), 10);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_LAG), 10);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_ROTATIONS), 1);
    assert_null(row_of(&rig, "a.1"));
    rig.is_holding = false;
    rig_settle(&rig);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_LAG), 0);
    rig.ingest->conf.close_after_ns = 0; /* it has stood still for long enough: it is over */
    rig_settle(&rig);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_SIZE), 6);
    assert_int_equal(unlink(to), 0); /* it had left its name before: that is no other rotation */
    rig_settle(&rig);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_ROTATIONS), 1);
    rig_stop(&rig);
    rig_teardown(&rig);
}

static void test_a_restart_knows_how_old_a_backlog_is(void **state) {
    (void)state;
    struct rig rig;
    char path[192];
    rig_setup(&rig, 4);
    put(&rig, "a.log", "one\ntwo\n", "w");
    rig_open(&rig);
    rig.is_holding = true;
    rig_settle(&rig);
    rig_kill(&rig);
    rig_path(&rig, "a.log", path);
    const int64_t now = core_now_ns();
    const struct timeval old[2] = {{.tv_sec = now / CORE_NS_PER_S - 3600}, {.tv_sec = now / CORE_NS_PER_S - 3600}};
    assert_int_equal(utimes(path, old), 0); /* it was last written an hour ago */
    rig_open(&rig);
    rig.is_holding = true;
    rig_settle(&rig);
    const int64_t since = get(&rig, "a.log", CORE_FILE_LAG_SINCE);
    assert_in_range(since, now - 3602 * CORE_NS_PER_S, now - 3598 * CORE_NS_PER_S);
    rig_stop(&rig);
    rig_teardown(&rig);
}

static void test_truncated_in_place(void **state) {
    (void)state;
    struct rig rig;
    rig_setup(&rig, 8);
    put(&rig, "a.log", "one\ntwo\nthree\n", "w");
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_LAG), 0);
    const int64_t before = core_now_ns();
    rig.is_holding = true;
    put(&rig, "a.log", "four\n", "w");
    rig_settle(&rig);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_SIZE), 5);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_LAG), 5);
    assert_int_equal(get(&rig, "a.log", CORE_FILE_ROTATIONS), 1);
    assert_in_range(get(&rig, "a.log", CORE_FILE_LAG_SINCE), before - CORE_NS_PER_S, core_now_ns());
    rig_stop(&rig);
    rig_teardown(&rig);
}

static void gz_put(struct rig *rig, const char *name, size_t lines) {
    char path[192];
    rig_path(rig, name, path);
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    for (size_t i = 0; i < lines; i++) {
        assert_true(gzprintf(file, "line %zu %zu %zu\n", i, i * 7919 % 10007, i * i) > 0);
    }
    assert_int_equal(gzclose(file), Z_OK);
}

static void test_a_gz_is_measured_packed(void **state) {
    (void)state;
    struct rig rig;
    rig_setup(&rig, 8);
    rig_glob(&rig, 0, "*.gz");
    gz_put(&rig, "a.gz", 30000);
    rig_open(&rig);
    rig.is_holding = true;
    rig_settle(&rig);
    const int64_t size = get(&rig, "a.gz", CORE_FILE_SIZE);
    assert_true(size > 100000 && size < 700000);
    assert_int_equal(get(&rig, "a.gz", CORE_FILE_LAG), size);
    rig.is_holding = false;
    rig_settle(&rig);
    assert_null(row_of(&rig, "a.gz")); /* read to its end, and nothing follows */
    rig_stop(&rig);
    rig_teardown(&rig);
}

static void test_more_logs_than_rows(void **state) {
    (void)state;
    struct rig rig;
    char name[32];
    char text[64];
    size_t len = 0;
    size_t files = 0;
    rig_setup(&rig, 16);
    for (int i = 0; i < 2100; i++) {
        (void)snprintf(name, sizeof(name), "%d.log", i);
        (void)snprintf(text, sizeof(text), "%04d%s\n", i, i == 2099 ? " is a longer line" : "");
        put(&rig, name, text, "w");
    }
    rig_open(&rig);
    rig.is_holding = true;
    rig_settle(&rig);
    assert_int_equal(get(&rig, "2099.log", CORE_FILE_LAG), 22); /* those with most lag have a row */
    assert_int_equal(get(&rig, "(others)", CORE_FILE_LAG), 100 * 5);
    const struct core_health_row *rows = core_health_rows(health, &arena, &len);
    for (size_t i = 0; i < len; i++) {
        files += rows[i].kind == CORE_HEALTH_FILE ? 1 : 0;
    }
    assert_int_equal(files, 2001);
    rig_kill(&rig);
    rig_teardown(&rig);
}

static void test_complaints(void **state) {
    (void)state;
    struct rig rig;
    char path[192];
    rig_setup(&rig, 8);
    rig_glob(&rig, 0, "*.gz");
    gz_put(&rig, "a.gz", 3000);
    rig_path(&rig, "a.gz", path);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 4000, SEEK_SET), 0);
    assert_true(fputs("damaged damaged damaged", file) >= 0);
    assert_int_equal(fclose(file), 0);
    core_log_level(CORE_LEVEL_ERROR);
    rig_open(&rig);
    assert_null(complaint_of(&rig, "file_unreadable"));
    rig_settle(&rig);
    const char *text = complaint_of(&rig, "file_unreadable");
    assert_non_null(text);
    assert_non_null(strstr(text, "a.gz"));
    assert_int_equal(get(&rig, "a.gz", CORE_FILE_FAILED), 1);
    gz_put(&rig, "a.gz", 10); /* a whole one in its place */
    rig_settle(&rig);
    assert_null(complaint_of(&rig, "file_unreadable"));
    /* The state directory goes: nothing can be written down. */
    assert_null(complaint_of(&rig, "state_unwritable"));
    char away[100];
    (void)snprintf(away, sizeof(away), "%s.away", rig.state);
    assert_int_equal(rename(rig.state, away), 0);
    gz_put(&rig, "b.gz", 10);
    rig_settle(&rig);
    text = complaint_of(&rig, "state_unwritable");
    assert_non_null(text);
    assert_non_null(strstr(text, rig.state));
    assert_int_equal(rename(away, rig.state), 0);
    rig_settle(&rig);
    assert_null(complaint_of(&rig, "state_unwritable"));
    rig_stop(&rig);
    rig_teardown(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lag_of_a_log),
        cmocka_unit_test(test_what_is_no_record_is_no_lag),
        cmocka_unit_test(test_a_rotated_log_counts_with_its_heir),
        cmocka_unit_test(test_a_restart_knows_how_old_a_backlog_is),
        cmocka_unit_test(test_truncated_in_place),
        cmocka_unit_test(test_a_gz_is_measured_packed),
        cmocka_unit_test(test_more_logs_than_rows),
        cmocka_unit_test(test_complaints),
    };
    board_open();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    board_close();
    return failed;
}
