/* tests/unit/ingest_gz_test.c: rotated logs as .gz: read once, a few at a time, from the middle, and while they are written.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ingest_rig.h"

#include <zlib.h>

#define LARGE_LINE_BYTES 1024

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

/* A .gz of these lines, cut to part of its bytes when that is not 0. */
static void write_gz(const char *name, const char *const *parts, size_t len, double part) {
    char path[192];
    rig_path(&rig, name, path);
    gzFile gz = gzopen(path, "wb6");
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(gzputs(gz, parts[i]), (int)strlen(parts[i]));
    }
    assert_int_equal(gzclose(gz), Z_OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    if (part > 0) {
        assert_int_equal(truncate(path, (off_t)((double)st.st_size * part)), 0);
    }
}

static void a_gz_is_read_once_and_its_last_line_needs_no_newline(void **state) {
    (void)state;
    static const char *const parts[] = {"#fields\tx\nr1\n", "r2\nr3"};
    rig_glob(&rig, 0, "*");
    write_gz("a.log.1", parts, 2, 0); /* by content, not by name */
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "#fields\tx|r1|r2|r3|");
    assert_int_equal(rig_find(&rig, "r3")->end, 18);
    assert_int_equal(rig.lasts, 1);
    assert_int_equal(rig.ingest->open_len, 0);
    rig_kill(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 3);
}

static void many_gz_files_are_read_a_few_at_a_time(void **state) {
    (void)state;
    char name[32];
    char text[32];
    const char *const parts[] = {text};
    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof(name), "f%d.log", i);
        (void)snprintf(text, sizeof(text), "line of %d\n", i);
        write_gz(name, parts, 1, 0);
    }
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 20);
    assert_int_equal(rig.ingest->gz_len, 0);
}

/* 3000 records of 1 KiB, more than the pool holds. */
static void write_large_gz(const char *name) {
    char path[192];
    char line[LARGE_LINE_BYTES];
    memset(line, 'x', sizeof(line));
    rig_path(&rig, name, path);
    gzFile gz = gzopen(path, "wb0"); /* not all of it fits in what is read ahead */
    assert_true(gzputs(gz, "#fields\ta\n") > 0);
    for (int i = 0; i < 3000; i++) {
        (void)snprintf(line, sizeof(line), "record %d ", i);
        line[strlen(line)] = 'x';
        line[sizeof(line) - 1] = '\n';
        assert_int_equal(gzwrite(gz, line, sizeof(line)), sizeof(line));
    }
    assert_int_equal(gzclose(gz), Z_OK);
}

/* Killed in the middle of a .gz: read on from the accepted position, with the header that is far behind. */
static void restart_in_the_middle_of_a_gz(void **state) {
    (void)state;
    write_large_gz("a.log");
    rig.is_holding = true;
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig.out_len, rig.pool.len);
    for (int i = 0; i < 3; i++) {
        rig.is_holding = false;
        struct core_batch *batch = rig_returned(&rig);
        rig.is_holding = true;
        ingest_stream_back(rig.ingest, batch);
    }
    const uint64_t accepted = rig.ingest->files->memory.accepted.pos;
    assert_true(accepted > 500000);
    rig_turn(&rig);
    rig_kill(&rig);
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig.seen[0].flags, CORE_LINE_CONTEXT | CORE_LINE_REPLAYED);
    assert_int_equal(rig.seen[1].start, accepted);
    assert_int_equal(rig.seen[1].number, (accepted - 10) / LARGE_LINE_BYTES + 2);
    assert_int_equal(rig_records(&rig), 3000 - (accepted - 10) / LARGE_LINE_BYTES);
}

/* A read that failed for a moment is tried again, though the file does not change. */
static void a_read_of_a_gz_that_failed_is_tried_again(void **state) {
    (void)state;
    char path[192];
    write_large_gz("a.log");
    rig.is_holding = true;
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig.out_len, rig.pool.len);
    rig_path(&rig, "a.log", path);
    const int fd = open(path, O_WRONLY); /* the same file, but reading is an error */
    assert_int_equal(dup2(fd, rig.ingest->files->source.fd), rig.ingest->files->source.fd);
    close(fd);
    rig.is_holding = false;
    rig_settle(&rig);
    rig_settle(&rig);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_FILES_FAILED), 1);
    assert_int_equal(rig_records(&rig), 3000);
    assert_int_equal(rig.ingest->gz_len, 0);
}

static void a_gz_still_being_written_is_read_on_when_it_is_whole(void **state) {
    (void)state;
    char whole[200][64];
    const char *parts[200];
    for (int i = 0; i < 200; i++) {
        (void)snprintf(whole[i], sizeof(whole[i]), "record %d %d\n", i, i * 7919 % 1009);
        parts[i] = whole[i];
    }
    write_gz("a.log", parts, 200, 0.5);
    rig_open(&rig);
    core_log_level(CORE_LEVEL_ERROR);
    rig_settle(&rig);
    const size_t before = rig_records(&rig);
    assert_true(before < 200);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_FILES_FAILED), 1);
    write_gz("a.log", parts, 200, 0);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 200);
    assert_int_equal(rig_count(&rig, "record 0 0"), 1);
}

/* What an archive continues has batches under way, and was found once already: it waits for them. */
static void an_archive_is_found_again_while_batches_are_under_way(void **state) {
    (void)state;
    static const char *const parts[] = {"r1\nr2\n", "r3\n"};
    char path[192];
    rig_path(&rig, "arch", path);
    assert_int_equal(mkdir(path, 0700), 0);
    rig_archive(&rig, "arch/*");
    rig_append(&rig, "a.log", "r1\nr2\n");
    rig.is_holding = true;
    rig_open(&rig);
    rig_settle(&rig);
    rig_append(&rig, "arch/a.1", "r1\nr2\nr3\n");
    rig_write(&rig, "a.log", O_TRUNC, "n1\nn2\nn3\nn4\n", 12);
    rig_settle(&rig);
    write_gz("gz.tmp", parts, 2, 0); /* before a.1 gives its inode free */
    rig_unlink(&rig, "arch/a.1");
    rig_rename(&rig, "gz.tmp", "arch/a.1.gz");
    rig.ingest->archive_tick = 0;
    rig_settle(&rig);
    rig.is_holding = false;
    rig.ingest->archive_tick = 0;
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "r3"), 1);
    assert_int_equal(rig_records(&rig), 7);
}

/* A file of `#` lines only leaves nothing behind when it is replaced, and the generation remembered last is another's. */
static void what_is_replaced_without_a_record_leaves_others_alone(void **state) {
    (void)state;
    rig_archive(&rig, "arch/*");
    rig_append(&rig, "a.log", "r1\nr2\n");
    rig_append(&rig, "b.log", "#fields\tx\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_write(&rig, "a.log", O_TRUNC, "n1\nn2\nn3\n", 9);
    rig_settle(&rig);
    struct ingest_file *orphan = rig.ingest->files;
    assert_int_equal(orphan->ino, 0);
    const ino_t was_ino = orphan->was_ino;
    rig_file(&rig, "b.log")->is_settled = true; /* as when a copy of it has waited long enough */
    rig_append(&rig, "b.log", "#types\ty\n");
    rig_settle(&rig);
    rig_write(&rig, "b.log", O_TRUNC, "#other\tyy\n#names\tzz\n", 20);
    rig_settle(&rig);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_FILES_TRUNCATED), 2);
    assert_int_equal(orphan->was_ino, was_ino);
    assert_false(orphan->is_over);
}

/* Truncated under Zeek, which goes on at its old offset: its first record stands behind a hole. */
static void a_log_that_begins_with_a_hole_is_found_again(void **state) {
    (void)state;
    const size_t hole = 5 * CORE_MIB;
    char *nuls = calloc(1, hole);
    char path[192];
    assert_non_null(nuls);
    rig_glob(&rig, 1, "old*.gz");
    rig_write(&rig, "a.log", O_APPEND, nuls, hole);
    rig_append(&rig, "a.log", "r1\nr2\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_path(&rig, "gz.tmp", path);
    gzFile gz = gzopen(path, "wb1");
    assert_int_equal(gzwrite(gz, nuls, (unsigned)hole), (int)hole);
    assert_true(gzputs(gz, "r1\nr2\n") > 0);
    assert_int_equal(gzclose(gz), Z_OK);
    free(nuls);
    rig_unlink(&rig, "a.log");
    rig_rename(&rig, "gz.tmp", "old.gz");
    rig_settle(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|r2|");
}

/* As a user whom permissions hold for. */
static void drop_root(void) {
    if (geteuid() == 0) {
        assert_int_equal(chmod(rig.dir, 0777), 0);
        assert_int_equal(chmod(rig.state, 0777), 0);
        assert_int_equal(seteuid(65534), 0);
    }
}

static int teardown_root(void **state) {
    if (getuid() == 0) {
        assert_int_equal(seteuid(0), 0);
    }
    return teardown(state);
}

static void set_mode(const char *name, mode_t mode) {
    char path[192];
    const uid_t uid = geteuid();
    rig_path(&rig, name, path);
    assert_int_equal(getuid() == 0 ? seteuid(0) : 0, 0);
    assert_int_equal(chmod(path, mode), 0);
    assert_int_equal(getuid() == 0 ? seteuid(uid) : 0, 0);
}

/* gzip gives X.gz the mode of X when it is whole; until then nobody else can open it. */
static void a_gz_that_cannot_be_opened_yet_may_be_anothers_rest(void **state) {
    (void)state;
    static const char *const parts[] = {"r1\nr2\n", "r3\n"};
    rig_glob(&rig, 0, "a.*");
    rig_glob(&rig, 1, "other.log");
    rig_append(&rig, "a.log", "r1\nr2\n");
    set_mode("a.log", 0644);
    drop_root();
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|r2|");
    write_gz("a.gz", parts, 2, 0);
    set_mode("a.gz", 0);
    rig_append(&rig, "other.log", "o1\n");
    rig_settle(&rig);
    rig_unlink(&rig, "a.log");
    rig_settle(&rig);
    rig_settle(&rig);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_FILES_FAILED), 1); /* told once */
    assert_int_equal(rig_count(&rig, "o1"), 1);                                       /* its neighbours go on */
    set_mode("a.gz", 0644);
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|r2|o1|r3|");
    assert_int_equal(rig_find(&rig, "r3")->gen, rig_find(&rig, "r1")->gen);
    rig_append(&rig, "other.log", "o2\n");
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 5);
}

/* The same in an archive, whose files are forgotten between two looks. */
static void an_archive_that_cannot_be_opened_yet_is_looked_into_again(void **state) {
    (void)state;
    static const char *const parts[] = {"r1\nr2\n", "r3\n"};
    char path[192];
    rig_path(&rig, "arch", path);
    assert_int_equal(mkdir(path, 0777), 0);
    set_mode("arch", 0777);
    rig_archive(&rig, "arch/*");
    rig_append(&rig, "a.log", "r1\nr2\n");
    set_mode("a.log", 0644);
    drop_root();
    rig_open(&rig);
    rig_settle(&rig);
    rig_stop(&rig);
    write_gz("arch/a.gz", parts, 2, 0);
    set_mode("arch/a.gz", 0);
    rig_unlink(&rig, "a.log");
    rig_open(&rig);
    for (int i = 0; i < 5; i++) {
        rig.ingest->archive_tick = 0;
        rig_settle(&rig);
    }
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_FILES_FAILED), 1);
    set_mode("arch/a.gz", 0644);
    rig.ingest->archive_tick = 0;
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|r2|r3|");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_gz_is_read_once_and_its_last_line_needs_no_newline),
        TEST(many_gz_files_are_read_a_few_at_a_time),
        TEST(restart_in_the_middle_of_a_gz),
        TEST(a_read_of_a_gz_that_failed_is_tried_again),
        TEST(a_gz_still_being_written_is_read_on_when_it_is_whole),
        TEST(an_archive_is_found_again_while_batches_are_under_way),
        TEST(what_is_replaced_without_a_record_leaves_others_alone),
        TEST(a_log_that_begins_with_a_hole_is_found_again),
        cmocka_unit_test_setup_teardown(a_gz_that_cannot_be_opened_yet_may_be_anothers_rest, setup, teardown_root),
        cmocka_unit_test_setup_teardown(an_archive_that_cannot_be_opened_yet_is_looked_into_again, setup,
                                        teardown_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
