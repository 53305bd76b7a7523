/* tests/unit/ingest_over_test.c: what is over beside a keeper of positions: it is written down, told, known again, and bounded.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ingest_keeper.h"

static struct rig rig;
static struct keeper keeper;

static int setup(void **state) {
    (void)state;
    rig_setup(&rig, 8);
    rig.conf.remember_ns = 3600 * CORE_NS_PER_S;
    keeper_setup(&keeper, &rig);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    keeper_teardown(&keeper, &rig);
    return 0;
}

/* Forget the file of this name, as after a long time. */
static void forget(const char *name) {
    struct ingest_file *file = rig_file(&rig, name);
    assert_null(file->stream);
    ingest_ledger_over(rig.ingest, file);
    ingest_file_free(rig.ingest, file);
}

/* It is gone, all of it is committed, and it is forgotten. */
static void remove_and_forget(const char *name) {
    rig_unlink(&rig, name);
    for (int i = 0; i < 100 && rig_file(&rig, name)->stream != NULL; i++) {
        keeper_settle(&keeper);
    }
    forget(name);
    keeper_settle(&keeper);
}

struct rows {
    struct ingest_ledger_row last;
    size_t len, over;
    uint64_t records;
};

static void on_row(void *ctx, const struct ingest_ledger_row *row) {
    struct rows *rows = ctx;
    rows->last = *row;
    rows->last.path = rows->last.first_path = NULL;
    rows->len++;
    rows->over += row->is_over ? 1 : 0;
    rows->records += row->tally.records;
}

static struct rows read_rows(void) {
    struct rows rows = {0};
    struct core_fail fail = {0};
    assert_int_equal(ingest_ledger_read(rig.state, on_row, &rows, &fail), CORE_OK);
    return rows;
}

static void a_finished_file_is_written_down_and_told(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\n~a2\n");
    rig_append(&rig, "b.log", "b1\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    const uint64_t gen = rig_find(&rig, "a1")->gen;
    rig_unlink(&rig, "a.log");
    for (int i = 0; i < 100 && rig_file(&rig, "a.log")->stream != NULL; i++) {
        keeper_settle(&keeper);
    }
    forget("a.log");
    keeper_read(&keeper);
    assert_int_equal(rig.out_len, 1);
    keeper_send(&keeper, 1);
    keeper_abort(&keeper); /* the lines are carried again */
    keeper_settle(&keeper);
    assert_int_equal(rig.ingest->commit.lines.len, 0);
    char room[1024];
    struct ingest_ledger_row row;
    assert_true(keeper_row(&keeper, gen, room, &row));
    assert_true(row.is_over);
    assert_true(row.over_ns > 0);
    assert_int_equal(row.tally.records, 2);
    assert_int_equal(row.tally.dropped, 1);
    const struct rows rows = read_rows();
    assert_int_equal(rows.len, 2);
    assert_int_equal(rows.over, 1);
    assert_int_equal(rows.records, 3);
    /* A new process knows that it is over, and when to forget it. */
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
    keeper_settle(&keeper);
    assert_int_equal(rig.ingest->files_len, 1);
    assert_int_equal(keeper.gone, 0);
    rig.ingest->conf.remember_ns = 0;
    rig.ingest->commit.gone_tick = 0;
    keeper_settle(&keeper);
    assert_int_equal(keeper.gone, 1);
    assert_null(keeper_find(&keeper.done, gen));
    assert_int_equal(rig.ingest->commit.overs_len, 0);
    keeper_stop(&keeper);
}

static void a_half_written_line_is_passed_over(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\n");
    rig_append(&rig, "b.log", "b1\n");
    rig_append(&rig, "state/ledger", "over gen=00000000000000");
    rig_open(&rig);
    keeper_settle(&keeper);
    remove_and_forget("a.log");
    const struct rows rows = read_rows();
    assert_int_equal(rows.len, 2);
    assert_int_equal(rows.over, 1);
}

static void the_ledger_is_bounded(void **state) {
    (void)state;
    char path[192];
    struct stat st;
    rig_append(&rig, "a.log", "a1\n");
    rig_path(&rig, "state/ledger", path);
    rig_write(&rig, "state/ledger", O_TRUNC, "x\n", 2);
    assert_int_equal(truncate(path, (off_t)INGEST_LEDGER_BYTES_MAX), 0);
    rig_open(&rig);
    keeper_settle(&keeper);
    remove_and_forget("a.log");
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 0 && st.st_size < 4096);
    rig_path(&rig, "state/ledger.old", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, INGEST_LEDGER_BYTES_MAX);
}

/* Their numbers are known, so that no later log gets one of them: here, and by the keeper. */
static void finished_generations_are_known(void **state) {
    (void)state;
    char path[192];
    rig_append(&rig, "a.log", "a1\n");
    rig_append(&rig, "b.log", "b1\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    const uint64_t a = rig_find(&rig, "a1")->gen;
    const uint64_t b = rig_find(&rig, "b1")->gen;
    assert_true(ingest_gen_is_known(rig.ingest, NULL, a));
    assert_false(ingest_gen_is_known(rig.ingest, rig_file(&rig, "a.log"), a));
    rig_unlink(&rig, "a.log");
    for (int i = 0; i < 100 && rig_file(&rig, "a.log")->stream != NULL; i++) {
        keeper_settle(&keeper);
    }
    forget("a.log");
    keeper_settle(&keeper);
    assert_true(ingest_gen_is_known(rig.ingest, NULL, a));
    keeper_stop(&keeper);
    for (int i = 0; i < 2; i++) {
        keeper_start(&keeper, i == 0 ? CORE_COMMIT_WAITS : CORE_COMMIT_RECOVERED);
        rig_open(&rig);
        rig_turn(&rig);
        assert_true(ingest_gen_is_known(rig.ingest, NULL, a));
        assert_true(ingest_gen_is_known(rig.ingest, NULL, b));
        assert_true(ingest_gen_is_known(rig.ingest, NULL, 0));
        assert_false(ingest_gen_is_known(rig.ingest, NULL, a + 1));
        ingest_close(rig.ingest);
        rig.ingest = NULL;
        rig_path(&rig, "state/ledger", path);
        assert_true(i == 1 || unlink(path) == 0); /* then only the keeper knows */
    }
}

static void many_numbers_are_kept_apart(void **state) {
    (void)state;
    struct ingest_gens gens = {0};
    assert_false(ingest_gens_has(&gens, 1));
    for (uint64_t i = 1; i <= 5000; i++) {
        ingest_gens_add(&gens, i * 1024);
        ingest_gens_add(&gens, i * 1024);
    }
    assert_int_equal(gens.len, 5000);
    for (uint64_t i = 1; i <= 5000; i++) {
        assert_true(ingest_gens_has(&gens, i * 1024));
        assert_false(ingest_gens_has(&gens, i * 1024 + 1));
    }
    free(gens.slots);
}

static void accounts_that_do_not_agree_are_told(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\na2\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    struct ingest_file *file = rig_file(&rig, "a.log");
    rig.ingest->ledger_tick = 1;
    rig_turn(&rig);
    assert_int_equal(file->told_difference, 0);
    assert_true(rig.ingest->ledger_tick > core_tick_ns());
    file->memory.tally.events--; /* one was not delivered */
    rig.ingest->ledger_tick = 1;
    rig_turn(&rig);
    assert_int_equal(file->told_difference, 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_finished_file_is_written_down_and_told),
        TEST(a_half_written_line_is_passed_over),
        TEST(the_ledger_is_bounded),
        TEST(finished_generations_are_known),
        TEST(many_numbers_are_kept_apart),
        TEST(accounts_that_do_not_agree_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
