/* tests/unit/ingest_file_test.c: files that grow, rotate, vanish and come back, with a sink that is slow or killed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ingest_rig.h"

static struct rig rig;

static int setup(void **state) {
    (void)state;
    rig_setup(&rig, 8);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    rig_teardown(&rig);
    return 0;
}

static void grows_and_keeps_positions(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "one\ntwo\nthr");
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "one|two|");
    rig_append(&rig, "a.log", "ee\n\nfour\n");
    rig_settle(&rig);
    rig_assert_lines(&rig, "one|two|three|four|");
    assert_int_equal(rig_find(&rig, "four")->start, 14);
    assert_int_equal(rig_find(&rig, "four")->end, 20);
    assert_int_equal(rig_find(&rig, "four")->number, 5);
    assert_int_equal(rig_find(&rig, "four")->gen, rig_find(&rig, "one")->gen);
}

static void the_generation_says_node_path_and_first_record(void **state) {
    (void)state;
    char path[192];
    rig_append(&rig, "a.log", "#fields\ta\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_append(&rig, "a.log", "first\n");
    rig_settle(&rig);
    rig_path(&rig, "a.log", path);
    uint64_t gen = core_hash64("node-1", sizeof("node-1"), 0);
    gen = core_hash64(path, strlen(path) + 1, gen);
    gen = core_hash64("first", 5, gen);
    assert_int_equal(rig_find(&rig, "first")->gen, gen);
}

static void restart_goes_on_with_the_header(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "#separator x\n#fields\ta\nr1\nr2\n");
    rig_open(&rig);
    rig_settle(&rig);
    const uint64_t gen = rig_find(&rig, "r1")->gen;
    rig_stop(&rig);
    rig_forget(&rig);
    rig_append(&rig, "a.log", "r3\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "#separator x|#fields\ta|r3|");
    assert_int_equal(rig.seen[0].flags, CORE_LINE_CONTEXT | CORE_LINE_REPLAYED);
    assert_int_equal(rig.seen[2].gen, gen);
    assert_int_equal(rig.seen[2].start, 29);
    assert_int_equal(rig.seen[2].number, 5);
}

static void restart_takes_the_last_header_before_the_position(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "#fields\ta\nr1\n#close\n#fields\tb\nr2\n#fields\tc\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_stop(&rig);
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    /* The header behind the last record was never accepted with a record: it comes again as it stands. */
    rig_append(&rig, "a.log", "r3\n");
    rig_settle(&rig);
    rig_assert_lines(&rig, "#close|#fields\tb|#fields\tc|r3|");
    assert_int_equal(rig.seen[1].flags, CORE_LINE_CONTEXT | CORE_LINE_REPLAYED);
    assert_int_equal(rig.seen[2].flags, CORE_LINE_CONTEXT);
    const struct rig_line *r3 = rig_find(&rig, "r3");
    assert_int_equal(r3->end - r3->start, strlen("#fields\tc\nr3\n"));
}

static void what_was_not_accepted_comes_again_with_the_same_id(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "r1\nr2\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig.is_holding = true;
    rig_append(&rig, "a.log", "#c\nr3\nr4\n");
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "r4"), 1);
    const struct rig_line before = *rig_find(&rig, "r3");
    rig_kill(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "r1"), 1);
    assert_int_equal(rig_count(&rig, "r3"), 2);
    assert_int_equal(rig_count(&rig, "r4"), 2);
    for (size_t i = 0; i < rig.seen_len; i++) {
        if (strcmp(rig.seen[i].text, "r3") == 0) {
            assert_int_equal(rig.seen[i].gen, before.gen);
            assert_int_equal(rig.seen[i].start, before.start);
            assert_int_equal(rig.seen[i].end, before.end);
        }
    }
}

static void a_generation_is_on_disk_before_its_first_batch_leaves(void **state) {
    (void)state;
    rig.is_holding = true;
    rig_append(&rig, "a.log", "r1\n");
    rig_open(&rig);
    rig_settle(&rig);
    const uint64_t gen = rig_find(&rig, "r1")->gen;
    rig_kill(&rig);
    rig_rename(&rig, "a.log", "b.log"); /* with another first path it would get another generation, were it made anew */
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_find(&rig, "r1")->gen, gen);
    assert_non_null(strstr(rig_find(&rig, "r1")->path, "/a.log"));
}

static void batches_may_come_back_in_any_order(void **state) {
    (void)state;
    char line[2048];
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (int i = 0; i < 700; i++) {
        rig_write(&rig, "a.log", O_APPEND, line, sizeof(line));
    }
    rig_open(&rig);
    rig.is_holding = true;
    rig_settle(&rig);
    assert_true(rig.out_len >= 4);
    const uint64_t outstanding = ingest_outstanding(rig.ingest);
    assert_int_equal(outstanding, rig.out_len);
    /* The newest comes back first: nothing is accepted, and no batch is free again. */
    rig.is_backwards = true;
    struct core_batch *newest = rig_returned((rig.is_holding = false, &rig));
    ingest_stream_back(rig.ingest, newest);
    assert_int_equal(rig.ingest->files->memory.accepted.pos, 0);
    rig.is_holding = false;
    rig_settle(&rig);
    assert_int_equal(rig.ingest->files->memory.accepted.pos, 700 * sizeof(line));
    assert_int_equal(rig_records(&rig), 700);
    assert_int_equal(rig.pool.free_len, rig.pool.len);
}

static void rename_goes_on_under_the_old_stream(void **state) {
    (void)state;
    rig.conf.close_after_ns = CORE_NS_PER_S * 3600;
    rig_glob(&rig, 0, "a.log");
    rig_append(&rig, "a.log", "r1\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_rename(&rig, "a.log", "a.2026.old");
    rig_settle(&rig);
    rig_append(&rig, "a.2026.old", "r2\n"); /* the sensor still has it open */
    rig_append(&rig, "a.log", "n1\n");
    rig_settle(&rig);
    rig_append(&rig, "a.2026.old", "r3\n");
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "r3"), 1);
    assert_int_equal(rig_find(&rig, "r3")->gen, rig_find(&rig, "r1")->gen);
    assert_string_equal(rig_find(&rig, "r3")->path, rig_find(&rig, "r1")->path);
    assert_int_not_equal(rig_find(&rig, "n1")->gen, rig_find(&rig, "r1")->gen);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_FILES_ROTATED), 1);
}

static void a_rename_within_the_glob_is_no_new_file(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "r1\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_rename(&rig, "a.log", "a.old.log");
    rig_append(&rig, "a.old.log", "r2\n");
    rig_append(&rig, "a.log", "n1\n");
    rig_settle(&rig);
    assert_int_equal(rig.lasts, 1);
    rig_append(&rig, "a.old.log", "r3\n"); /* after it was closed, even */
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 4);
    assert_int_equal(rig_find(&rig, "r3")->gen, rig_find(&rig, "r1")->gen);
    assert_int_equal(rig_find(&rig, "r3")->start, 6);
}

static void a_renamed_file_is_closed_when_another_took_its_place(void **state) {
    (void)state;
    rig_glob(&rig, 0, "a.log");
    rig_append(&rig, "a.log", "r1\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_rename(&rig, "a.log", "old");
    rig_settle(&rig);
    assert_int_equal(rig.lasts, 0); /* the sensor may go on in it: nothing took its place */
    rig_append(&rig, "a.log", "n1\n");
    rig_settle(&rig);
    assert_int_equal(rig.lasts, 1);
    assert_int_equal(rig.ingest->open_len, 1);
}

static void a_deleted_file_is_read_to_its_end(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "r1\n");
    rig_open(&rig);
    rig_settle(&rig);
    char path[192];
    rig_path(&rig, "a.log", path);
    const int writer = open(path, O_WRONLY | O_APPEND);
    rig_unlink(&rig, "a.log");
    assert_int_equal(write(writer, "r2\n", 3), 3);
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|r2|");
    close(writer);
    rig_settle(&rig);
    assert_int_equal(rig.lasts, 1);
    assert_int_equal(rig.ingest->files_len, 1); /* remembered: its .gz may come */
    assert_true(rig.ingest->files->is_gone);
    assert_true(rig.ingest->files->is_over);
    assert_int_equal(rig.ingest->open_len, 0);
}

/* Nobody can find it after a restart, so its batches do not wait for a checkpoint each. */
static void a_deleted_file_costs_no_checkpoint_a_batch(void **state) {
    (void)state;
    rig.conf.checkpoint_interval_ns = 3600 * CORE_NS_PER_S;
    rig.conf.close_after_ns = 3600 * CORE_NS_PER_S;
    rig_append(&rig, "a.log", "r1\n");
    rig_open(&rig);
    rig_settle(&rig);
    char path[192];
    rig_path(&rig, "a.log", path);
    const int writer = open(path, O_WRONLY | O_APPEND);
    rig_unlink(&rig, "a.log");
    rig_settle(&rig);
    rig_append(&rig, "b.log", "r1\n"); /* a checkpoint without the deleted one */
    rig_settle(&rig);
    const uint64_t before = core_counted(&rig.counters, CORE_COUNT_CHECKPOINT_WRITES);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(write(writer, "r2\n", 3), 3);
        rig_settle(&rig);
    }
    close(writer);
    assert_int_equal(rig_count(&rig, "r2"), 20);
    assert_in_range(core_counted(&rig.counters, CORE_COUNT_CHECKPOINT_WRITES) - before, 0, 2);
}

static void truncation_makes_a_new_stream(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "r1\nr2\nr3\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_write(&rig, "a.log", O_TRUNC, "n1\n", 3);
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|r2|r3|n1|");
    assert_int_equal(rig_find(&rig, "n1")->start, 0);
    assert_int_not_equal(rig_find(&rig, "n1")->gen, rig_find(&rig, "r1")->gen);
    assert_int_equal(rig.lasts, 1);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_FILES_TRUNCATED), 1);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 0);
}

static void truncation_is_seen_though_the_file_is_longer_again(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "r1\nr2\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_write(&rig, "a.log", O_TRUNC, "n1\nn2\nn3\nn4\n", 12);
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|r2|n1|n2|n3|n4|");
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 0);
}

static void truncation_in_place_leaves_nuls_before_zeeks_next_line(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "r1\nr2\nr3\n");
    rig_open(&rig);
    rig_settle(&rig);
    char path[192];
    rig_path(&rig, "a.log", path);
    assert_int_equal(truncate(path, 0), 0);
    const int writer = open(path, O_WRONLY);
    assert_int_equal(pwrite(writer, "n1\n", 3, 9), 3); /* at its old offset, as Zeek does */
    close(writer);
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|r2|r3|n1|");
    assert_int_equal(rig_find(&rig, "n1")->start, 0);
    assert_int_equal(rig_find(&rig, "n1")->end, 12);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_NUL_BYTES), 9);
}

static void bytes_lost_to_truncation_are_counted(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "r1\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_append(&rig, "a.log", "unfinished");
    rig_settle(&rig);
    rig_write(&rig, "a.log", O_TRUNC, "n\n", 2);
    rig_settle(&rig);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 10);
}

static void a_file_renamed_while_we_were_down_is_read_on(void **state) {
    (void)state;
    rig_glob(&rig, 0, "a.log");
    rig_append(&rig, "a.log", "#fields\tx\nr1\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_stop(&rig);
    rig_append(&rig, "a.log", "r2\n");
    rig_rename(&rig, "a.log", "a.2026-11-21.gone"); /* no glob matches that */
    rig_append(&rig, "a.log", "n1\n");
    const uint64_t gen = rig_find(&rig, "r1")->gen;
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "r1"), 0);
    assert_int_equal(rig_count(&rig, "r2"), 1);
    assert_int_equal(rig_count(&rig, "n1"), 1);
    assert_int_equal(rig_find(&rig, "r2")->gen, gen);
    assert_int_not_equal(rig_find(&rig, "n1")->gen, gen);
}

static void a_reused_inode_is_another_file(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "#fields\tx\nr1\nr2\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_stop(&rig);
    /* The same inode, as long as before, the same header: only its records are others. */
    rig_write(&rig, "a.log", O_TRUNC, "#fields\tx\nq1\nq2\nq3\n", 19);
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "#fields\tx|q1|q2|q3|");
}

static void the_same_first_record_but_other_bytes_before_the_position(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "same\nr1\nr2\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_stop(&rig);
    rig_write(&rig, "a.log", O_TRUNC, "same\nqqqqqqqq\nq3\n", 17);
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "same|qqqqqqqq|q3|");
}

static void start_end_skips_what_was_there_and_keeps_the_header(void **state) {
    (void)state;
    rig.input.start = INGEST_START_END;
    rig_append(&rig, "a.log", "#fields\ta\nr1\n#fields\tb\nr2\nr3");
    rig_append(&rig, "plain.log", "{1}\n{2}\n{3");
    rig_append(&rig, "empty.log", "");
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "");
    rig_append(&rig, "a.log", "x\nr4\n");
    rig_append(&rig, "plain.log", "x}\n");
    rig_append(&rig, "empty.log", "e1\n");
    rig_append(&rig, "later.log", "l1\n");
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 5);
    assert_int_equal(rig_count(&rig, "r3x"), 1);
    assert_int_equal(rig_count(&rig, "{3x}"), 1);
    assert_int_equal(rig_count(&rig, "e1"), 1);
    assert_int_equal(rig_count(&rig, "l1"), 1);
    assert_int_equal(rig_find(&rig, "#fields\tb")->flags, CORE_LINE_CONTEXT | CORE_LINE_REPLAYED);
    assert_int_equal(rig_find(&rig, "r3x")->start, 26);
    assert_int_equal(rig_find(&rig, "{3x}")->start, 8);
}

static void start_end_is_for_the_first_start_only(void **state) {
    (void)state;
    rig.input.start = INGEST_START_END;
    rig_append(&rig, "a.log", "r1\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_kill(&rig);
    rig_append(&rig, "a.log", "r2\n");
    rig_append(&rig, "b.log", "s1\n"); /* appeared while we were down */
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "r1"), 0);
    assert_int_equal(rig_count(&rig, "r2"), 1);
    assert_int_equal(rig_count(&rig, "s1"), 1);
}

/* Killed when it was found and not yet passed over: the end is where it was then. */
static void start_end_is_where_it_was_when_we_are_killed_at_once(void **state) {
    (void)state;
    struct core_fail fail = {0};
    rig.input.start = INGEST_START_END;
    rig_append(&rig, "a.log", "#fields\ta\nr1\n");
    rig_open(&rig);
    ingest_scan(rig.ingest);
    assert_int_equal(ingest_checkpoint_write(rig.ingest, &fail), CORE_OK);
    if (rig.ingest->files->born_ns == 0) {
        skip(); /* this file system does not tell births */
    }
    rig_kill(&rig);
    rig_append(&rig, "a.log", "r2\n");
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "r1"), 0);
    assert_int_equal(rig_count(&rig, "r2"), 1);
}

/* Nothing was passed over: the first fill gives lines, which nobody has yet. */
static void start_end_in_a_first_line_accepts_nothing(void **state) {
    (void)state;
    rig.input.start = INGEST_START_END;
    rig_append(&rig, "a.log", "r1 is ");
    rig_open(&rig);
    rig_settle(&rig);
    rig.is_holding = true;
    rig_append(&rig, "a.log", "half\nr2\n");
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1 is half|r2|");
    rig_kill(&rig);
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1 is half|r2|");
}

static void files_max_is_kept_and_all_are_read(void **state) {
    (void)state;
    rig.conf.files_max = 2;
    char name[32];
    char text[32];
    rig_open(&rig);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 6; i++) {
            (void)snprintf(name, sizeof(name), "f%d.log", i);
            (void)snprintf(text, sizeof(text), "f%d-%d\n", i, round);
            rig_append(&rig, name, text);
        }
        rig_settle(&rig);
        assert_true(rig.ingest->open_len <= 2);
    }
    assert_int_equal(rig_records(&rig), 18);
    assert_int_equal(rig_count(&rig, "f5-2"), 1);
}

static void once_reads_what_is_there_and_drains(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "r1\nr2\nunfinished");
    rig_append(&rig, "b.log", "");
    char path[192];
    rig_path(&rig, "dir.log", path);
    assert_int_equal(mkdir(path, 0700), 0);
    rig_open(&rig);
    ingest_set_once(rig.ingest);
    rig.is_holding = true;
    for (int i = 0; i < 20; i++) {
        rig_turn(&rig);
        assert_false(ingest_is_drained(rig.ingest));
        rig_append(&rig, "a.log", "\nlater\n"); /* not what was there */
    }
    rig.is_holding = false;
    for (int i = 0; i < 20 && !ingest_is_drained(rig.ingest); i++) {
        rig_turn(&rig);
    }
    assert_true(ingest_is_drained(rig.ingest));
    rig_assert_lines(&rig, "r1|r2|");
    assert_int_equal(rig.lasts, 1);
    ingest_close(rig.ingest);
    rig.ingest = NULL;
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "r1"), 1);
    assert_int_equal(rig_count(&rig, "unfinished"), 1);
}

static void unreadable_things_do_not_stop_the_others(void **state) {
    (void)state;
    char path[192];
    rig_path(&rig, "dir.log", path);
    assert_int_equal(mkdir(path, 0700), 0);
    rig_path(&rig, "fifo.log", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    rig_path(&rig, "loop.log", path);
    assert_int_equal(symlink(path, path), 0);
    rig_append(&rig, "a.log", "r1\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|");
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_FILES_FAILED),
                     1); /* once, not at each scan; others are no files */
}

static void two_globs_and_two_names_are_one_stream(void **state) {
    (void)state;
    char a[192];
    char b[192];
    rig_glob(&rig, 1, "a.*");
    rig_append(&rig, "a.log", "r1\n");
    rig_path(&rig, "a.log", a);
    rig_path(&rig, "b.log", b);
    assert_int_equal(symlink(a, b), 0);
    rig_open(&rig);
    rig_settle(&rig);
    rig_append(&rig, "a.log", "r2\n");
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|r2|");
    assert_int_equal(rig.ingest->files_len, 1);
}

static void excluded_files_are_not_read(void **state) {
    (void)state;
    rig.excludes[0] = (struct core_conf_item){.value = (char *)(uintptr_t) "b.*"};
    rig.input.exclude = (struct core_conf_list){.items = rig.excludes, .len = 1};
    rig_append(&rig, "a.log", "r1\n");
    rig_append(&rig, "b.log", "r2\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|");
}

static void a_busy_file_does_not_starve_the_others(void **state) {
    (void)state;
    char line[1024];
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (int i = 0; i < 4000; i++) {
        rig_write(&rig, "a.log", O_APPEND, line, sizeof(line));
    }
    rig_append(&rig, "b.log", "small\n");
    rig_open(&rig);
    rig_settle(&rig);
    size_t before = 0;
    for (size_t i = 0; strcmp(rig.seen[i].text, "small") != 0; i++) {
        before++;
    }
    assert_true(before < 600); /* two batches of the big one at most */
    assert_int_equal(rig_records(&rig), 4001);
}

static void an_input_dropped_at_reload_is_read_to_its_end_and_closed(void **state) {
    (void)state;
    struct core_fail fail = {0};
    rig_append(&rig, "a.log", "r1\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_append(&rig, "a.log", "r2\n");
    rig_glob(&rig, 0, "other*");
    rig_append(&rig, "other", "o1\n");
    const struct ingest_env env = rig_env(&rig);
    assert_int_equal(ingest_reload(rig.ingest, &env, &fail), CORE_OK);
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "r2"), 1);
    assert_int_equal(rig_count(&rig, "o1"), 1);
    assert_int_equal(rig.ingest->open_len, 1);
    assert_int_equal(rig.lasts, 1);
}

static void inotify_tells_of_new_bytes_and_files(void **state) {
    (void)state;
    rig.conf.use_inotify = true;
    rig.conf.scan_interval_ns = 3600 * CORE_NS_PER_S; /* only events can help */
    rig_append(&rig, "a.log", "r1\n");
    rig_open(&rig);
    for (int i = 0; i < 200 && rig_records(&rig) < 1; i++) {
        rig_turn(&rig);
    }
    rig_append(&rig, "a.log", "r2\n");
    rig_append(&rig, "b.log", "n1\n");
    for (int i = 0; i < 500 && rig_records(&rig) < 3; i++) {
        rig_turn(&rig);
    }
    assert_int_equal(rig_records(&rig), 3);
}

static void a_line_that_is_too_long_is_waited_for(void **state) {
    (void)state;
    const size_t len = CORE_LINE_BYTES_MAX + 100000;
    char *bytes = malloc(len);
    memset(bytes, 'L', len);
    rig_append(&rig, "a.log", "r1\n");
    rig_write(&rig, "a.log", O_APPEND, bytes, len);
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|");
    rig_write(&rig, "a.log", O_APPEND, bytes, len);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 1);
    rig_append(&rig, "a.log", "\nr2\n");
    rig_settle(&rig);
    free(bytes);
    assert_int_equal(rig_records(&rig), 3);
    assert_int_equal(rig.seen[1].flags, CORE_LINE_CUT);
    assert_int_equal(rig.seen[1].text_len, INGEST_CUT_HEAD_BYTES);
    assert_int_equal(rig.seen[1].start, 3);
    assert_int_equal(rig.seen[1].end, 3 + 2 * len + 1);
    assert_int_equal(rig_find(&rig, "r2")->start, 3 + 2 * len + 1);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_LINES_CUT), 1);
}

/* No header has a MiB: what begins with # and is so long is told as a dead letter, not passed over. */
static void a_comment_too_long_is_a_record(void **state) {
    (void)state;
    const size_t len = CORE_LINE_BYTES_MAX + 100000;
    char *bytes = malloc(len);
    memset(bytes, '#', len);
    rig_append(&rig, "a.log", "#fields\tts\nr1\n");
    rig_write(&rig, "a.log", O_APPEND, bytes, len);
    rig_append(&rig, "a.log", "\nr2\n");
    free(bytes);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 3);
    assert_int_equal(rig_find(&rig, "r2")->start, 14 + len + 1);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_LINES_CUT), 1);
}

/* After an outage: rotated files wait, and a live one is written to. */
static void backlog_is_read_oldest_first_and_live_files_have_every_second_batch(void **state) {
    (void)state;
    char line[1024];
    char name[32];
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (int i = 0; i < 4; i++) {
        char path[192];
        (void)snprintf(name, sizeof(name), "old%d.log", (i * 3) % 4); /* not in the order of their names */
        for (int k = 0; k < 700; k++) {
            (void)snprintf(line, sizeof(line), "old %d %d ", i, k);
            line[strlen(line)] = 'x';
            rig_write(&rig, name, O_APPEND, line, sizeof(line));
        }
        const struct timespec times[2] = {{.tv_sec = 1700000000 + i}, {.tv_sec = 1700000000 + i}};
        rig_path(&rig, name, path);
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    }
    for (int k = 0; k < 1400; k++) {
        (void)snprintf(line, sizeof(line), "live %d ", k);
        line[strlen(line)] = 'x';
        rig_write(&rig, "live.log", O_APPEND, line, sizeof(line));
    }
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 4 * 700 + 1400);
    int last = -1;
    size_t old_before_live_end = 0;
    bool is_live_over = false;
    for (size_t i = 0; i < rig.seen_len; i++) {
        int file = 0;
        int k = 0;
        if (sscanf(rig.seen[i].text, "old %d %d", &file, &k) == 2) {
            assert_true(file * 700 + k == last + 1); /* oldest first, each to its end */
            last = file * 700 + k;
            old_before_live_end += is_live_over ? 0 : 1;
        } else {
            is_live_over = is_live_over || strncmp(rig.seen[i].text, "live 1399 ", 10) == 0;
        }
    }
    assert_in_range(old_before_live_end, 1000, 2100); /* about as much as live lines: every second batch */
}

static bool is_original_kept; /* by the origin of the last batch with lines */

static void note_origin(struct rig *world, const struct core_batch *batch) {
    (void)world;
    is_original_kept = batch->lines_len > 0 ? batch->stream->origin->keep_original : is_original_kept;
}

/* What documents of a file carry changes at a reload, but not under batches that are with other threads: those keep their
 * stream, and what follows is a new one, so that a normalize worker forgets what it made for the old. */
static void a_reload_changes_what_is_added_once_batches_are_back(void **state) {
    (void)state;
    struct core_fail fail = {0};
    rig_append(&rig, "a.log", "#fields\ta\nr1\n");
    rig.is_holding = true;
    rig.on_batch = note_origin;
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig.out_len, 1);
    const struct core_origin *before = rig.out[0]->stream->origin;
    rig.input.origin.keep_original = true;
    const struct ingest_env env = rig_env(&rig);
    assert_int_equal(ingest_reload(rig.ingest, &env, &fail), CORE_OK);
    rig_append(&rig, "a.log", "r2\n");
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "r2"), 0); /* r2 waits */
    assert_ptr_equal(rig.out[0]->stream->origin, before);
    assert_false(before->keep_original);
    rig.is_holding = false;
    rig_settle(&rig);
    assert_int_equal(rig.lasts, 1);
    assert_true(is_original_kept);
    rig_assert_lines(&rig, "#fields\ta|r1|#fields\ta|r2|"); /* the new stream is shown the header, too */
    assert_int_equal(rig_find(&rig, "r2")->gen, rig_find(&rig, "r1")->gen);
    assert_int_equal(rig_find(&rig, "r2")->start, rig_find(&rig, "r1")->end);
}

/* While the sinks are away a file comes, is renamed out of sight, and we are restarted. */
static void a_file_never_read_is_found_after_a_restart(void **state) {
    (void)state;
    rig_glob(&rig, 0, "?.log");
    rig_append(&rig, "a.log", "");
    rig_open(&rig);
    rig_settle(&rig);
    rig_kill(&rig);
    rig_append(&rig, "a.log", "r1\n");
    rig_rename(&rig, "a.log", "moved.out");
    rig_open(&rig);
    rig_settle(&rig);
    if (rig.ingest->files != NULL && rig.ingest->files->born_ns == 0) {
        skip(); /* this file system does not tell births */
    }
    rig_assert_lines(&rig, "r1|");
    assert_non_null(strstr(rig_find(&rig, "r1")->path, "/a.log"));
}

/* Found, renamed before its turn to be opened came, and never written to again. */
static void a_file_renamed_before_it_was_opened(void **state) {
    (void)state;
    rig.conf.files_max = 1;
    rig_append(&rig, "a.log", "a1\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_append(&rig, "b.log", "b1\n");
    ingest_scan(rig.ingest);
    char path[192];
    rig_path(&rig, "b.log", path);
    const struct ingest_file *file = ingest_file_by_path(rig.ingest, path);
    assert_non_null(file);
    assert_true(file->source.fd < 0);
    assert_int_not_equal(file->queue, INGEST_QUEUE_NONE);
    rig_rename(&rig, "b.log", "c.log");
    rig.ingest->scan_tick = INT64_MAX;
    rig_turn(&rig);
    assert_int_equal(rig_count(&rig, "b1"), 0);
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "b1"), 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(grows_and_keeps_positions),
        TEST(the_generation_says_node_path_and_first_record),
        TEST(restart_goes_on_with_the_header),
        TEST(restart_takes_the_last_header_before_the_position),
        TEST(what_was_not_accepted_comes_again_with_the_same_id),
        TEST(a_generation_is_on_disk_before_its_first_batch_leaves),
        TEST(batches_may_come_back_in_any_order),
        TEST(rename_goes_on_under_the_old_stream),
        TEST(a_rename_within_the_glob_is_no_new_file),
        TEST(a_renamed_file_is_closed_when_another_took_its_place),
        TEST(a_deleted_file_is_read_to_its_end),
        TEST(a_deleted_file_costs_no_checkpoint_a_batch),
        TEST(truncation_makes_a_new_stream),
        TEST(truncation_is_seen_though_the_file_is_longer_again),
        TEST(truncation_in_place_leaves_nuls_before_zeeks_next_line),
        TEST(bytes_lost_to_truncation_are_counted),
        TEST(a_file_renamed_while_we_were_down_is_read_on),
        TEST(a_reused_inode_is_another_file),
        TEST(the_same_first_record_but_other_bytes_before_the_position),
        TEST(start_end_skips_what_was_there_and_keeps_the_header),
        TEST(start_end_is_for_the_first_start_only),
        TEST(start_end_is_where_it_was_when_we_are_killed_at_once),
        TEST(start_end_in_a_first_line_accepts_nothing),
        TEST(files_max_is_kept_and_all_are_read),
        TEST(once_reads_what_is_there_and_drains),
        TEST(unreadable_things_do_not_stop_the_others),
        TEST(two_globs_and_two_names_are_one_stream),
        TEST(excluded_files_are_not_read),
        TEST(a_busy_file_does_not_starve_the_others),
        TEST(an_input_dropped_at_reload_is_read_to_its_end_and_closed),
        TEST(inotify_tells_of_new_bytes_and_files),
        TEST(a_line_that_is_too_long_is_waited_for),
        TEST(a_comment_too_long_is_a_record),
        TEST(backlog_is_read_oldest_first_and_live_files_have_every_second_batch),
        TEST(a_reload_changes_what_is_added_once_batches_are_back),
        TEST(a_file_never_read_is_found_after_a_restart),
        TEST(a_file_renamed_before_it_was_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
