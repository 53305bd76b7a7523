/* tests/unit/ingest_commit_test.c: ingest beside a keeper of positions: what is committed is read once and never again, what
 * is aborted is read again, whatever comes between.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ingest_keeper.h"

#include <zlib.h>

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

static bool is_in_checkpoint(const char *text) {
    static char bytes[65536];
    char path[192];
    rig_path(&rig, "state/checkpoint", path);
    const int fd = open(path, O_RDONLY);
    const ssize_t len = fd < 0 ? 0 : read(fd, bytes, sizeof(bytes) - 1);
    bytes[len < 0 ? 0 : len] = '\0';
    if (fd >= 0) {
        close(fd);
    }
    return strstr(bytes, text) != NULL;
}

/* ---- beginning ----------------------------------------------------------------------------------------------------------- */

static void nothing_is_read_before_the_keeper_is_there(void **state) {
    (void)state;
    keeper_start(&keeper, CORE_COMMIT_WAITS);
    rig_append(&rig, "a.log", "a1\n");
    rig_open(&rig);
    keeper_read(&keeper);
    assert_int_equal(rig.batches, 0);
    assert_int_equal(rig.ingest->files_len, 0);
    atomic_store(&keeper.commit.state, CORE_COMMIT_RECOVERED);
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|");
}

static void a_stop_while_the_keeper_waits_is_clean(void **state) {
    (void)state;
    keeper_start(&keeper, CORE_COMMIT_WAITS);
    rig_append(&rig, "a.log", "a1\n");
    rig_open(&rig);
    keeper_read(&keeper);
    ingest_stop(rig.ingest);
    rig_turn(&rig);
    assert_true(ingest_is_drained(rig.ingest));
    assert_int_equal(ingest_outstanding(rig.ingest), 0);
    ingest_close(rig.ingest);
    rig.ingest = NULL;
}

static void without_transactions_the_checkpoint_counts(void **state) {
    (void)state;
    keeper_start(&keeper, CORE_COMMIT_OFF);
    rig_append(&rig, "a.log", "a1\n");
    rig_open(&rig);
    keeper_read(&keeper);
    assert_int_equal(rig.out_len, 1);
    assert_int_equal(rig.out[0]->position.len, 0);
    struct core_batch *batch = rig.out[0];
    rig.out_len = 0;
    keeper_normalize(batch, &keeper.open);
    keeper_give(&keeper, batch);
    rig_turn(&rig);
    assert_int_equal(rig_file(&rig, "a.log")->memory.accepted.pos, 3);
    assert_int_equal(rig_file(&rig, "a.log")->memory.tally.events, 1);
    assert_int_equal(ingest_outstanding(rig.ingest), 0);
    assert_false(is_in_checkpoint("kept by=keeper"));
}

/* ---- commits and aborts --------------------------------------------------------------------------------------------------- */

static void what_is_delivered_is_accepted_by_the_commit(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "#fields\ta\na1\n~a2\n");
    rig_open(&rig);
    keeper_read(&keeper);
    keeper_send(&keeper, 1);
    keeper_read(&keeper);
    const struct ingest_file *file = rig_file(&rig, "a.log");
    assert_int_equal(rig.out_len, 0);
    assert_int_equal(file->memory.accepted.pos, 0);
    assert_int_equal(ingest_outstanding(rig.ingest), 1);
    assert_int_equal(rig.pool.free_len, rig.pool.len);
    keeper_commit(&keeper);
    keeper_read(&keeper);
    assert_int_equal(file->memory.accepted.pos, 17);
    assert_int_equal(file->memory.open_from, 13);
    assert_int_equal(file->memory.tally.records, 2);
    assert_int_equal(file->memory.tally.events, 1);
    assert_int_equal(file->memory.tally.dropped, 1);
    assert_int_equal(ingest_outstanding(rig.ingest), 0);
    assert_true(is_in_checkpoint(" pos=17 "));
    assert_true(is_in_checkpoint(" from=13 records=2 events=1 dead=0 dropped=1 lost=0\n"));
    assert_true(is_in_checkpoint("kept by=keeper"));
    keeper_assert_joined(&keeper);
}

static void what_is_aborted_is_read_again(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "#fields\ta\na1\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    rig_append(&rig, "a.log", "a2\na3\n");
    keeper_read(&keeper);
    keeper_send(&keeper, 1);
    keeper_read(&keeper); /* it is pending */
    rig_append(&rig, "a.log", "a4\n");
    keeper_read(&keeper); /* it is with the sink */
    assert_int_equal(rig.out_len, 1);
    keeper_abort(&keeper);
    rig_append(&rig, "a.log", "a5\n");
    keeper_read(&keeper);
    assert_int_equal(rig.out_len, 1); /* nothing is read before all is back */
    assert_true(rig.ingest->commit.is_rewinding);
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|a2|a3|a4|a5|");
    keeper_assert_joined(&keeper);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_REWINDS), 1);
    /* The header was shown again to the new stream. */
    assert_int_equal(rig_find(&rig, "a2")->gen, rig_find(&rig, "a5")->gen);
    keeper_stop(&keeper);
}

/* Both are heard at once, and a batch of the first is still on its way back. */
static void a_commit_counts_although_an_abort_followed(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\n");
    rig_append(&rig, "b.log", "b1\n");
    rig_open(&rig);
    keeper_read(&keeper);
    keeper_send(&keeper, 2);
    keeper_commit(&keeper);
    rig.take = NULL; /* nothing comes back */
    rig.is_holding = true;
    rig_append(&rig, "a.log", "a2\n");
    keeper_read(&keeper);
    keeper_send(&keeper, 1);
    keeper_abort(&keeper);
    rig.take = keeper_take;
    rig.is_holding = false;
    keeper_settle(&keeper);
    assert_int_equal(keeper.done.records_len, 3);
    assert_int_equal(keeper_count(&keeper, "a1"), 1);
    assert_int_equal(keeper_count(&keeper, "b1"), 1);
    assert_int_equal(keeper_count(&keeper, "a2"), 1);
    keeper_assert_joined(&keeper);
}

/* Lines that are no records have nothing for the keeper: their batch has no transaction, and accepts nothing before its time. */
static void a_batch_without_records_accepts_nothing(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\n");
    rig_open(&rig);
    keeper_read(&keeper);
    keeper_send(&keeper, 1);
    keeper_read(&keeper);
    rig_append(&rig, "a.log", "#close\t1\n");
    keeper_read(&keeper);
    assert_int_equal(rig.out_len, 1);
    rig.out[0]->position.len = 0; /* a keeper may see that there is nothing to write */
    keeper_send(&keeper, 1);
    keeper_read(&keeper);
    assert_int_equal(rig_file(&rig, "a.log")->memory.accepted.pos, 0);
    keeper_abort(&keeper);
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|");
    keeper_assert_joined(&keeper);
}

static void aborts_without_end_are_survived(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\na2\n");
    rig_append(&rig, "b.log", "b1\n");
    rig_open(&rig);
    for (size_t i = 0; i < 50; i++) {
        keeper_read(&keeper);
        keeper_send(&keeper, i % 4);
        keeper_abort(&keeper);
        keeper_abort(&keeper);
        rig_turn(&rig);
        keeper_send(&keeper, RIG_OUT_MAX);
        keeper_read(&keeper);
    }
    keeper_settle(&keeper);
    assert_int_equal(keeper.done.records_len, 3);
    keeper_assert_joined(&keeper);
    keeper_stop(&keeper);
}

/* The state directory cannot be written: what is new leaves all the same, for its generation travels with it. */
static void delivery_does_not_wait_for_this_disk(void **state) {
    (void)state;
    char path[192];
    rig_path(&rig, "state/checkpoint.tmp", path);
    assert_int_equal(mkdir(path, 0700), 0);
    rig_append(&rig, "a.log", "a1\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|");
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
    ingest_set_once(rig.ingest); /* nor does the end */
    keeper_stop(&keeper);
    keeper_assert_records(&keeper, "a1|");
    assert_int_equal(rmdir(path), 0);
}

/* ---- files that go ------------------------------------------------------------------------------------------------------- */

static void a_deleted_file_stays_open_until_it_is_committed(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\na2\n");
    rig_open(&rig);
    keeper_read(&keeper);
    keeper_send(&keeper, 1);
    rig_unlink(&rig, "a.log");
    keeper_read(&keeper);
    assert_true(rig_file(&rig, "a.log")->source.fd >= 0);
    keeper_abort(&keeper);
    keeper_read(&keeper);
    keeper_send(&keeper, 1);
    keeper_read(&keeper);
    assert_true(rig_file(&rig, "a.log")->source.fd >= 0);
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|a2|");
    assert_int_equal(rig.ingest->open_len, 0);
}

static void write_gz(const char *name, const char *text) {
    char path[192];
    rig_path(&rig, name, path);
    gzFile gz = gzopen(path, "wb6");
    assert_non_null(gz);
    assert_int_equal(gzputs(gz, text), (int)strlen(text));
    assert_int_equal(gzclose(gz), Z_OK);
}

/* Read to their ends they rest, open but without the memory of reading; an abort reads them again, name or no name. */
static void gz_files_are_kept_open_until_they_are_committed(void **state) {
    (void)state;
    char name[32];
    char text[64];
    for (int i = 0; i < 7; i++) {
        (void)snprintf(name, sizeof(name), "g%d.log", i);
        (void)snprintf(text, sizeof(text), "g%d-1\ng%d-2\n", i, i);
        write_gz(name, text);
    }
    rig_open(&rig);
    for (int i = 0; i < 30; i++) {
        keeper_read(&keeper);
        keeper_send(&keeper, 1);
    }
    assert_int_equal(keeper.open.records_len, 14);
    assert_int_equal(rig.ingest->open_len, 7);
    assert_int_equal(rig.ingest->gz_len, 0);
    for (int i = 0; i < 7; i++) {
        (void)snprintf(name, sizeof(name), "g%d.log", i);
        rig_unlink(&rig, name);
    }
    keeper_abort(&keeper);
    keeper_settle(&keeper);
    assert_int_equal(keeper.done.records_len, 14);
    keeper_assert_joined(&keeper);
    assert_int_equal(rig.ingest->open_len, 0);
    assert_int_equal(rig.ingest->gz_len, 0);
}

/* Truncated with records in an open transaction: when that is committed, all is well. */
static void a_truncated_file_is_committed_to_its_end(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\na2\n");
    rig_open(&rig);
    keeper_read(&keeper);
    const uint64_t gen = rig_find(&rig, "a1")->gen;
    keeper_send(&keeper, 1);
    rig_write(&rig, "a.log", O_TRUNC, "x1\n", 3);
    keeper_read(&keeper);
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|a2|x1|");
    char room[1024];
    struct ingest_ledger_row row;
    assert_true(keeper_row(&keeper, gen, room, &row));
    assert_int_equal(row.pos, 6);
    assert_int_equal(row.tally.records, 2);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 0);
}

/* When it is aborted, they are lost at the source: that is all that is lost, and it is known. */
static void a_truncated_file_cannot_be_read_again(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\n");
    rig_append(&rig, "b.log", "b1\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    rig_append(&rig, "a.log", "a2\na3\n");
    rig_append(&rig, "b.log", "b2\n");
    keeper_read(&keeper);
    keeper_send(&keeper, 2);
    rig_write(&rig, "a.log", O_TRUNC, "x1\n", 3);
    keeper_read(&keeper);
    keeper_abort(&keeper);
    keeper_settle(&keeper);
    assert_int_equal(keeper_count(&keeper, "a1"), 1);
    assert_int_equal(keeper_count(&keeper, "a2"), 0);
    assert_int_equal(keeper_count(&keeper, "a3"), 0);
    assert_int_equal(keeper_count(&keeper, "x1"), 1);
    assert_int_equal(keeper_count(&keeper, "b2"), 1);
    keeper_assert_joined(&keeper);
    struct ingest_file *orphan = rig.ingest->files;
    while (orphan != NULL && orphan->ino != 0) {
        orphan = orphan->next;
    }
    assert_non_null(orphan);
    assert_int_equal(ingest_file_unread(orphan), 6); /* counted as lost when it is forgotten */
    keeper_stop(&keeper);
}

/* It was complete, and nothing was missing, so that nobody looked into the archive; the abort makes it missing again. */
static void what_was_complete_and_is_gone_is_looked_for_in_the_archive(void **state) {
    (void)state;
    char path[192];
    rig_path(&rig, "arch", path);
    assert_int_equal(mkdir(path, 0700), 0);
    rig_archive(&rig, "arch/*");
    rig_append(&rig, "a.log", "#fields\ta\na1\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    rig_append(&rig, "a.log", "a2\na3\n#close\t1\n");
    keeper_read(&keeper);
    keeper_send(&keeper, RIG_OUT_MAX);
    rig_append(&rig, "arch/a.log", "#fields\ta\na1\na2\na3\n#close\t1\n");
    rig_write(&rig, "a.log", O_TRUNC, "x1\n", 3);
    keeper_read(&keeper);
    assert_int_equal(rig.ingest->archive_tick, INT64_MAX); /* not without a reason */
    keeper_abort(&keeper);
    keeper_settle(&keeper);
    assert_int_equal(keeper_count(&keeper, "a1"), 1);
    assert_int_equal(keeper_count(&keeper, "a2"), 1);
    assert_int_equal(keeper_count(&keeper, "a3"), 1);
    assert_int_equal(keeper_count(&keeper, "x1"), 1);
    keeper_assert_joined(&keeper);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 0);
    keeper_stop(&keeper);
}

/* ---- stopping -------------------------------------------------------------------------------------------------------------- */

static void a_stop_waits_for_the_commit(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\n");
    rig_open(&rig);
    keeper_read(&keeper);
    keeper_send(&keeper, 1);
    ingest_stop(rig.ingest);
    keeper_read(&keeper);
    keeper_send(&keeper, RIG_OUT_MAX);
    keeper_read(&keeper);
    assert_false(ingest_is_drained(rig.ingest));
    assert_int_equal(ingest_outstanding(rig.ingest), 1);
    keeper_commit(&keeper);
    keeper_read(&keeper);
    assert_true(ingest_is_drained(rig.ingest));
    assert_true(is_in_checkpoint(" pos=3 "));
    ingest_close(rig.ingest);
    rig.ingest = NULL;
}

static void a_stop_with_an_abort_leaves_the_rest_to_the_next(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    rig_append(&rig, "a.log", "a2\n");
    keeper_read(&keeper);
    keeper_send(&keeper, 1);
    ingest_stop(rig.ingest);
    keeper_read(&keeper);
    keeper_abort(&keeper);
    keeper_stop(&keeper);
    keeper_assert_records(&keeper, "a1|");
    keeper_start(&keeper, CORE_COMMIT_RECOVERED);
    rig_open(&rig);
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|a2|");
}

static void once_ends_when_all_is_committed(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\na2\n");
    rig_open(&rig);
    ingest_set_once(rig.ingest);
    keeper_read(&keeper);
    keeper_send(&keeper, 1);
    keeper_read(&keeper);
    keeper_abort(&keeper);
    for (int i = 0; !ingest_is_drained(rig.ingest); i++) {
        assert_true(i < 1000);
        rig_turn(&rig);
        keeper_send(&keeper, RIG_OUT_MAX);
        rig_turn(&rig);
        if (i % 3 == 2) {
            keeper_commit(&keeper);
        }
    }
    keeper_assert_records(&keeper, "a1|a2|");
    assert_true(is_in_checkpoint(" pos=6 "));
}

/* ---- recovery --------------------------------------------------------------------------------------------------------------- */

static void remove_state(const char *name) {
    char path[192];
    rig_path(&rig, name, path);
    assert_int_equal(unlink(path), 0);
}

static void the_keepers_positions_are_enough(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "#fields\ta\na1\n~x\na2\n~y\n");
    rig_append(&rig, "b.log", "b1\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    remove_state("state/checkpoint");
    rig_rename(&rig, "a.log", "c.log");
    rig_append(&rig, "c.log", "a3\n");
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
    keeper_settle(&keeper);
    assert_int_equal(keeper.done.records_len, 4);
    assert_int_equal(keeper_count(&keeper, "a3"), 1);
    keeper_assert_joined(&keeper);
    assert_int_equal(rig_find(&rig, "a1")->gen, rig_find(&rig, "a3")->gen);
}

/* Killed between a commit and the write of the checkpoint. */
static void the_keepers_newer_position_counts(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    rig.ingest->conf.checkpoint_interval_ns = 3600 * CORE_NS_PER_S;
    rig.ingest->checkpoint_tick = INT64_MAX;
    rig_append(&rig, "a.log", "a2\n");
    keeper_settle(&keeper);
    assert_true(is_in_checkpoint(" pos=3 "));
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
    rig_append(&rig, "a.log", "a3\n");
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|a2|a3|");
    keeper_assert_joined(&keeper);
}

/* A checkpoint of at_least_once: what the keeper does not know goes on from there; where that ran ahead of a keeper that was
 * there before, it counts. */
static void a_checkpoint_without_a_keeper_goes_on(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\n");
    rig_append(&rig, "b.log", "b1\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    keeper_stop(&keeper);
    rig.commit = NULL;
    rig.take = NULL;
    rig_append(&rig, "a.log", "a2\n");
    rig_append(&rig, "c.log", "c1\n");
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 2);
    rig_stop(&rig);
    rig.commit = &keeper.commit;
    rig.take = keeper_take;
    keeper_start(&keeper, CORE_COMMIT_RECOVERED);
    rig_forget(&rig);
    rig_open(&rig);
    rig_append(&rig, "a.log", "a3\n");
    rig_append(&rig, "c.log", "c2\n");
    keeper_settle(&keeper);
    assert_int_equal(rig_records(&rig), 2);
    assert_int_equal(keeper_count(&keeper, "a3"), 1);
    assert_int_equal(keeper_count(&keeper, "c2"), 1);
}

static void positions_that_are_not_understood_are_refused(void **state) {
    (void)state;
    struct core_fail fail = {0};
    rig_append(&rig, "a.log", "a1\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    struct keeper_line *line = &keeper.done.lines[0];
    memcpy(line->text, "flie", 4);
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
    assert_int_equal(ingest_turn(rig.ingest, 0, &fail), CORE_BAD);
    assert_non_null(strstr(fail.text, "line 1"));
    assert_non_null(strstr(fail.text, "flie gen="));
    assert_int_equal(rig.batches, 1);
}

/* A file was truncated while nobody looked, and its checkpoint is lost: two generations have its inode. */
static void two_generations_of_one_inode_are_told_apart(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\na2\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    rig_write(&rig, "a.log", O_TRUNC, "x1\n", 3);
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|a2|x1|");
    remove_state("state/checkpoint");
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
    rig_append(&rig, "a.log", "x2\n");
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|a2|x1|x2|");
    keeper_assert_joined(&keeper);
}

/* The checkpoint has only seen the file; the keeper has records of it. And in between it was renamed. */
static void a_file_that_was_only_seen_is_the_keepers(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "");
    rig_open(&rig);
    for (int i = 0; i < 100 && !is_in_checkpoint("\nseen "); i++) {
        rig.ingest->scan_tick = 0;
        rig_turn(&rig);
    }
    assert_true(is_in_checkpoint("\nseen "));
    char path[192];
    rig_path(&rig, "state/checkpoint.tmp", path);
    assert_int_equal(mkdir(path, 0700), 0); /* it is not written from now on */
    rig_append(&rig, "a.log", "a1\na2\n");
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|a2|");
    assert_int_equal(rmdir(path), 0);
    assert_false(is_in_checkpoint("\nfile "));
    rig_rename(&rig, "a.log", "b.log");
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
    rig_append(&rig, "b.log", "a3\n");
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|a2|a3|");
    assert_int_equal(rig_find(&rig, "a1")->gen, rig_find(&rig, "a3")->gen);
    keeper_assert_joined(&keeper);
}

/* Killed behind the first commit of what follows a truncation, and before the checkpoint was written. */
static void a_truncation_that_only_the_keeper_heard_of(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "a1\na2\n");
    rig_open(&rig);
    keeper_settle(&keeper);
    char path[192];
    rig_path(&rig, "state/checkpoint.tmp", path);
    assert_int_equal(mkdir(path, 0700), 0); /* it is not written from now on */
    rig_write(&rig, "a.log", O_TRUNC, "x1\n", 3);
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|a2|x1|");
    assert_int_equal(rmdir(path), 0);
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
    rig_append(&rig, "a.log", "x2\n");
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|a2|x1|x2|");
    assert_int_equal(rig_find(&rig, "x1")->gen, rig_find(&rig, "x2")->gen);
    keeper_assert_joined(&keeper);
}

/* ---- another process of the node ------------------------------------------------------------------------------------------ */

static void rename_state(const char *from, const char *to) {
    char from_path[192];
    char to_path[192];
    rig_path(&rig, from, from_path);
    rig_path(&rig, to, to_path);
    assert_int_equal(rename(from_path, to_path), 0);
}

/* The first process reads a.log and is shut out before anything is committed; another one, with a state of its own, finds the
 * file under another name. */
static void begin_with_two_processes(void) {
    rig_append(&rig, "a.log", "a1\na2\n");
    rig_open(&rig);
    keeper_read(&keeper);
    assert_int_equal(rig.out_len, 1);
    assert_int_equal(rig_file(&rig, "a.log")->memory.accepted.pos, 0);
    assert_true(is_in_checkpoint("\nfile gen="));
    assert_true(is_in_checkpoint(" pos=0 "));
    rename_state("state/checkpoint", "first");
    rig_rename(&rig, "a.log", "b.log");
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
}

static void first_process_again(void) {
    rename_state("first", "state/checkpoint");
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
    keeper_settle(&keeper);
    for (int i = 0; i < 3; i++) { /* a loss would be told in the second scan */
        rig.ingest->scan_tick = 0;
        rig_turn(&rig);
    }
}

static uint64_t missing_bytes(void) {
    uint64_t bytes = 0;
    for (const struct ingest_file *file = rig.ingest->files; file != NULL; file = file->next) {
        bytes += file->is_gone ? ingest_file_unread(file) : 0;
    }
    return bytes;
}

static void what_another_process_delivered_is_not_missed(void **state) {
    (void)state;
    begin_with_two_processes();
    keeper_settle(&keeper);
    rig_append(&rig, "b.log", "a3\n");
    keeper_settle(&keeper);
    rig_rename(&rig, "b.log", "c.log");
    rig_append(&rig, "c.log", "a4\n");
    first_process_again();
    keeper_assert_records(&keeper, "a1|a2|a3|a4|");
    assert_int_equal(rig_find(&rig, "a3")->gen, rig_find(&rig, "a4")->gen);
    assert_int_equal(missing_bytes(), 0);
    assert_int_equal(rig.ingest->files_len, 1);
    keeper_assert_joined(&keeper);
}

/* Moved to another disk meanwhile: an inode of its own, and the same bytes. */
static void what_another_process_followed_elsewhere_is_not_missed(void **state) {
    (void)state;
    begin_with_two_processes();
    keeper_settle(&keeper);
    rig_append(&rig, "c.log", "a1\na2\n");
    rig_unlink(&rig, "b.log");
    keeper_settle(&keeper);
    rig_append(&rig, "c.log", "a3\n");
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "a1|a2|a3|");
    first_process_again();
    keeper_assert_records(&keeper, "a1|a2|a3|");
    assert_int_equal(missing_bytes(), 0);
    assert_int_equal(rig.ingest->files_len, 1);
}

/* And deleted, long ago. */
static void what_another_process_finished_is_not_missed(void **state) {
    (void)state;
    begin_with_two_processes();
    keeper_settle(&keeper);
    rig_unlink(&rig, "b.log");
    for (int i = 0; i < 100 && rig.ingest->files != NULL && rig.ingest->files->stream != NULL; i++) {
        keeper_settle(&keeper);
    }
    assert_int_equal(rig.ingest->files_len, 1);
    ingest_ledger_over(rig.ingest, rig.ingest->files);
    ingest_file_free(rig.ingest, rig.ingest->files);
    keeper_settle(&keeper);
    first_process_again();
    keeper_assert_records(&keeper, "a1|a2|");
    assert_int_equal(missing_bytes(), 0);
    assert_int_equal(rig.ingest->files_len, 0);
}

/* What the other process has of this inode came after a truncation: what was there before is lost, and said to be. */
static void what_nobody_delivered_is_missed(void **state) {
    (void)state;
    begin_with_two_processes();
    rig_write(&rig, "b.log", O_TRUNC, "x1\n", 3);
    keeper_settle(&keeper);
    keeper_assert_records(&keeper, "x1|");
    first_process_again();
    keeper_assert_records(&keeper, "x1|");
    assert_int_equal(missing_bytes(), 6);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_read_before_the_keeper_is_there),
        TEST(a_stop_while_the_keeper_waits_is_clean),
        TEST(without_transactions_the_checkpoint_counts),
        TEST(what_is_delivered_is_accepted_by_the_commit),
        TEST(what_is_aborted_is_read_again),
        TEST(a_commit_counts_although_an_abort_followed),
        TEST(a_batch_without_records_accepts_nothing),
        TEST(aborts_without_end_are_survived),
        TEST(delivery_does_not_wait_for_this_disk),
        TEST(a_deleted_file_stays_open_until_it_is_committed),
        TEST(gz_files_are_kept_open_until_they_are_committed),
        TEST(a_truncated_file_is_committed_to_its_end),
        TEST(a_truncated_file_cannot_be_read_again),
        TEST(what_was_complete_and_is_gone_is_looked_for_in_the_archive),
        TEST(a_stop_waits_for_the_commit),
        TEST(a_stop_with_an_abort_leaves_the_rest_to_the_next),
        TEST(once_ends_when_all_is_committed),
        TEST(the_keepers_positions_are_enough),
        TEST(the_keepers_newer_position_counts),
        TEST(a_checkpoint_without_a_keeper_goes_on),
        TEST(positions_that_are_not_understood_are_refused),
        TEST(two_generations_of_one_inode_are_told_apart),
        TEST(a_file_that_was_only_seen_is_the_keepers),
        TEST(a_truncation_that_only_the_keeper_heard_of),
        TEST(what_another_process_delivered_is_not_missed),
        TEST(what_another_process_followed_elsewhere_is_not_missed),
        TEST(what_another_process_finished_is_not_missed),
        TEST(what_nobody_delivered_is_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
