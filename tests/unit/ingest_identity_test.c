/* tests/unit/ingest_identity_test.c: which bytes are which: a generation that goes on under another name, in another inode,
 * compressed; and what is merely alike.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ingest_rig.h"

#include <zlib.h>

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

static void make_dir(const char *name) {
    char path[192];
    rig_path(&rig, name, path);
    assert_int_equal(mkdir(path, 0700), 0);
}

static size_t read_all(const char *name, char *out, size_t cap) {
    char path[192];
    rig_path(&rig, name, path);
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    const ssize_t len = read(fd, out, cap);
    assert_true(len >= 0 && (size_t)len < cap);
    close(fd);
    return (size_t)len;
}

static char copy_room[8 * CORE_MIB];

/* cp: another inode with the same bytes. */
static void copy(const char *from, const char *to) {
    rig_write(&rig, to, O_TRUNC, copy_room, read_all(from, copy_room, sizeof(copy_room)));
}

/* gzip -c from > to; part of it only when part > 0. */
static void compress_to(const char *from, const char *to, double part) {
    char path[192];
    struct stat st;
    rig_path(&rig, to, path);
    const size_t len = read_all(from, copy_room, sizeof(copy_room));
    gzFile gz = gzopen(path, "wb6");
    assert_int_equal(gzwrite(gz, copy_room, (unsigned)len), (int)len);
    assert_int_equal(gzclose(gz), Z_OK);
    if (part > 0) {
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(truncate(path, (off_t)((double)st.st_size * part)), 0);
    }
}

/* Lines that do not compress away, so that a cut .gz has some of them. */
static void append_lines(const char *name, const char *word, int from, int to) {
    char line[64];
    uint32_t noise = 12345;
    for (int i = from; i < to; i++) {
        noise = (noise + (uint32_t)i) * 1103515245u + 12345u;
        (void)snprintf(line, sizeof(line), "%s %d %08x%08x\n", word, i, noise, noise * 2654435761u);
        rig_append(&rig, name, line);
    }
}

/* Each of `word from` … `word to - 1` came by once. */
static void assert_once(const char *word, int from, int to) {
    char want[64];
    for (int i = from; i < to; i++) {
        const int len = snprintf(want, sizeof(want), "%s %d ", word, i);
        size_t n = 0;
        for (size_t k = 0; k < rig.seen_len; k++) {
            n += rig_is_record(&rig.seen[k]) && strncmp(rig.seen[k].text, want, (size_t)len) == 0;
        }
        if (n != 1) {
            fail_msg("\"%s\" came by %zu times", want, n);
        }
    }
}

static const struct rig_line *find_start(const char *start) {
    for (size_t i = 0; i < rig.seen_len; i++) {
        if (strncmp(rig.seen[i].text, start, strlen(start)) == 0) {
            return &rig.seen[i];
        }
    }
    fail_msg("no line \"%s…\"", start);
    return NULL;
}

/* ---- moved ------------------------------------------------------------------------------------------------------------------ */

static void moved_over_a_mount_while_we_were_down(void **state) {
    (void)state;
    rig_glob(&rig, 0, "*.log");
    append_lines("a.log", "r", 0, 10);
    rig_open(&rig);
    rig_settle(&rig);
    const uint64_t gen = find_start("r 0 ")->gen;
    rig_stop(&rig);
    append_lines("a.log", "r", 10, 20);
    copy("a.log", "moved.log");
    rig_unlink(&rig, "a.log");
    append_lines("a.log", "n", 0, 5);
    rig_open(&rig);
    rig_settle(&rig);
    assert_once("r", 0, 20);
    assert_once("n", 0, 5);
    assert_int_equal(find_start("r 19 ")->gen, gen);
    assert_non_null(strstr(find_start("r 19 ")->path, "/a.log")); /* log.file.path stays the first */
    assert_int_not_equal(find_start("n 0 ")->gen, gen);
}

static void moved_over_a_mount_while_we_read(void **state) {
    (void)state;
    rig.conf.close_after_ns = 3600 * CORE_NS_PER_S;
    append_lines("a.log", "r", 0, 10);
    rig_open(&rig);
    rig_settle(&rig);
    copy("a.log", "moved.log"); /* mv: the copy is there before the original goes */
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 10);
    append_lines("moved.log", "r", 10, 12);
    rig_unlink(&rig, "a.log");
    rig.ingest->conf.close_after_ns = 0;
    rig_settle(&rig);
    rig_settle(&rig);
    assert_once("r", 0, 12);
    assert_int_equal(find_start("r 11 ")->gen, find_start("r 0 ")->gen);
}

static void what_is_equal_and_stays_is_another_file(void **state) {
    (void)state;
    rig.conf.close_after_ns = 1000 * CORE_NS_PER_S;
    append_lines("a.log", "r", 0, 3);
    rig_open(&rig);
    rig_settle(&rig);
    copy("a.log", "other.log");
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 3); /* it may be a copy in the making */
    for (struct ingest_file *file = rig.ingest->files; file != NULL; file = file->next) {
        file->hold.tick -= 100 * CORE_NS_PER_S; /* a tenth of close_after is over */
    }
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 6);
    append_lines("a.log", "r", 3, 4);
    append_lines("other.log", "o", 0, 1);
    rig_settle(&rig);
    assert_once("r", 3, 4);
    assert_once("o", 0, 1);
    assert_int_not_equal(find_start("o 0 ")->gen, find_start("r 3 ")->gen);
}

/* With --once nobody comes back: what is alike under another name is read, and a .gz beside its original is not. */
static void once_reads_what_is_equal(void **state) {
    (void)state;
    rig_glob(&rig, 1, "*.gz");
    append_lines("a.log", "r", 0, 3);
    copy("a.log", "other.log");
    compress_to("a.log", "a.log.gz", 0);
    rig_open(&rig);
    ingest_set_once(rig.ingest);
    for (int i = 0; i < 100 && !ingest_is_drained(rig.ingest); i++) {
        rig_turn(&rig);
    }
    assert_true(ingest_is_drained(rig.ingest));
    assert_int_equal(rig_records(&rig), 6);
}

static void files_of_the_same_first_record(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "{\"same\":1}\na2\na3\n");
    rig_open(&rig);
    rig_settle(&rig);
    const uint64_t gen = rig_find(&rig, "a2")->gen;
    rig_stop(&rig);
    rig_unlink(&rig, "a.log");
    rig_append(&rig, "a.log",
               "{\"same\":1}\nb2\nb3\nb4\n"); /* the same name and first record: the sensor was restarted */
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "{\"same\":1}|b2|b3|b4|");
    assert_int_not_equal(rig_find(&rig, "b2")->gen, gen); /* else two records had one id */
}

/* What Zeek's loaded_scripts.log is after each restart: the same records at its beginning. */
static void the_next_log_begins_like_the_one_before(void **state) {
    (void)state;
    rig.conf.close_after_ns = 3600 * CORE_NS_PER_S;
    rig_append(&rig, "a.log", "#fields\tx\nsame\n");
    append_lines("a.log", "r", 0, 90);
    rig_open(&rig);
    rig_settle(&rig);
    rig_rename(&rig, "a.log", "a.1.log");
    rig_append(&rig, "a.log", "#fields\tx\nsame\n");
    append_lines("a.log", "n", 0, 60); /* still shorter than the other */
    rig_settle(&rig);
    assert_once("r", 0, 90);
    assert_once("n", 0, 60);
    assert_int_equal(rig_count(&rig, "same"), 2);
    assert_int_not_equal(find_start("n 0 ")->gen, find_start("r 0 ")->gen);
}

static void renamed_into_the_archive_while_we_were_down(void **state) {
    (void)state;
    make_dir("arch");
    rig_archive(&rig, "arch/*");
    append_lines("a.log", "r", 0, 10);
    rig_open(&rig);
    rig_settle(&rig);
    rig_stop(&rig);
    append_lines("a.log", "r", 10, 20);
    rig_rename(&rig, "a.log", "arch/a.2026.log");
    rig_open(&rig);
    rig_settle(&rig);
    assert_once("r", 0, 20);
    assert_int_equal(find_start("r 19 ")->gen, find_start("r 0 ")->gen);
}

/* Three logs in a row of the same name and first record: one forgotten before the next comes, one while we were down. */
static void generations_never_share_a_number(void **state) {
    (void)state;
    uint64_t gens[3];
    for (int i = 0; i < 3; i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "same\nsecond %d\n", i);
        rig_append(&rig, "a.log", text);
        if (rig.ingest == NULL) {
            rig_open(&rig);
        }
        rig_settle(&rig);
        (void)snprintf(text, sizeof(text), "second %d", i);
        gens[i] = rig_find(&rig, text)->gen;
        if (i == 0) {
            rig_unlink(&rig, "a.log");
            rig_settle(&rig);
            for (struct ingest_file *file = rig.ingest->files; file != NULL; file = file->next) {
                file->quiet_tick -= 2 * INGEST_FORGET_NS;
            }
            rig_settle(&rig);
            assert_int_equal(rig.ingest->files_len, 0);
        } else if (i == 1) {
            rig_stop(&rig);
            rig_unlink(&rig, "a.log");
        }
    }
    assert_int_equal(rig_records(&rig), 6);
    assert_int_not_equal(gens[0], gens[1]);
    assert_int_not_equal(gens[1], gens[2]);
    assert_int_not_equal(gens[0], gens[2]);
}

static void a_shorter_file_in_its_place(void **state) {
    (void)state;
    append_lines("a.log", "r", 0, 10);
    rig_open(&rig);
    rig_settle(&rig);
    rig_stop(&rig);
    rig_append(&rig, "new.tmp", "n1\n");
    rig_rename(&rig, "new.tmp", "a.log");
    rig_open(&rig);
    rig_settle(&rig);
    assert_once("r", 0, 10);
    assert_int_equal(rig_count(&rig, "n1"), 1);
}

/* ---- compressed -------------------------------------------------------------------------------------------------------------- */

static void rotated_and_compressed_while_we_were_down(void **state) {
    (void)state;
    rig_glob(&rig, 0, "conn*.log");
    rig_glob(&rig, 1, "conn*.log.gz");
    rig_append(&rig, "conn.log", "#fields\tx\n");
    append_lines("conn.log", "r", 0, 100);
    rig_open(&rig);
    rig_settle(&rig);
    const uint64_t gen = find_start("r 0 ")->gen;
    rig_stop(&rig);
    append_lines("conn.log", "r", 100, 150);
    rig_append(&rig, "conn.log", "#close\tx\n");
    compress_to("conn.log", "conn.2026-11-21-03-04-20.log.gz", 0);
    rig_unlink(&rig, "conn.log");
    rig_append(&rig, "conn.log", "#fields\tx\n");
    append_lines("conn.log", "n", 0, 5);
    rig_open(&rig);
    rig_settle(&rig);
    assert_once("r", 0, 150);
    assert_once("n", 0, 5);
    assert_int_equal(find_start("r 149 ")->gen, gen);
    rig_stop(&rig);
    rig_open(&rig); /* and that is remembered */
    rig_settle(&rig);
    assert_once("r", 0, 150);
}

/* The inode of the rotated file is used again, by the next log: forced by writing into the same one. */
static void compressed_and_its_inode_used_again(void **state) {
    (void)state;
    rig_glob(&rig, 0, "a.*");
    append_lines("a.log", "r", 0, 100);
    rig_open(&rig);
    rig_settle(&rig);
    rig_stop(&rig);
    append_lines("a.log", "r", 100, 120);
    compress_to("a.log", "a.old.gz", 0);
    rig_write(&rig, "a.log", O_TRUNC, "", 0);
    append_lines("a.log", "n", 0, 300);
    rig_open(&rig);
    rig_settle(&rig);
    assert_once("r", 0, 120);
    assert_once("n", 0, 300);
}

static void gzip_at_work_beside_its_original(void **state) {
    (void)state;
    rig_glob(&rig, 0, "a.*");
    append_lines("a.1", "r", 0, 200);
    rig_open(&rig);
    rig_settle(&rig);
    append_lines("a.1", "r", 200, 210);
    for (int i = 1; i < 4; i++) { /* X.gz grows while X is there */
        compress_to("a.1", "a.1.gz", 0.25 * i);
        rig_settle(&rig);
    }
    compress_to("a.1", "a.1.gz", 0);
    rig_settle(&rig);
    assert_once("r", 0, 210);
    rig_unlink(&rig, "a.1");
    rig_settle(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 210);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_FILES_FAILED), 0);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 0);
    rig_stop(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 210);
}

/* Both are there at the very first look: the .gz is not read beside its original. */
/* All within one scan's interval: a file found with its header only gets records, is renamed, compressed and deleted. */
static void compressed_before_its_first_record_was_seen(void **state) {
    (void)state;
    rig_glob(&rig, 0, "a.log");
    rig_glob(&rig, 1, "old*.gz");
    rig_append(&rig, "a.log", "#fields\tx\n");
    rig_open(&rig);
    rig_settle(&rig);
    append_lines("a.log", "r", 0, 6);
    rig_rename(&rig, "a.log", "old-0.log");
    compress_to("old-0.log", "old-0.log.gz", 0);
    rig_unlink(&rig, "old-0.log");
    rig_settle(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 6);
    assert_once("r", 0, 6);
    assert_non_null(strstr(find_start("r 0 ")->path, "/a.log"));
}

static void gzip_at_work_when_we_start(void **state) {
    (void)state;
    rig_glob(&rig, 0, "a.*");
    append_lines("a.1", "r", 0, 200);
    compress_to("a.1", "a.1.gz", 0.5);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 200);
    compress_to("a.1", "a.1.gz", 0);
    rig_kill(&rig);
    rig_unlink(&rig, "a.1");
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 200);
    assert_once("r", 0, 200);
}

static void a_gz_that_grows_is_no_trouble_and_no_dead_end(void **state) {
    (void)state;
    rig.conf.close_after_ns = 3600 * CORE_NS_PER_S;
    rig_glob(&rig, 0, "*.gz");
    append_lines("src", "r", 0, 400);
    compress_to("src", "x.gz", 0.3);
    rig_open(&rig);
    rig_settle(&rig);
    compress_to("src", "x.gz", 0.9);
    rig_settle(&rig);
    assert_true(rig_records(&rig) > 100);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_FILES_FAILED), 0);
    compress_to("src", "x.gz", 0);
    rig.ingest->conf.close_after_ns = 0;
    for (struct ingest_file *file = rig.ingest->files; file != NULL; file = file->next) {
        file->judge_tick = file->judge_tick == 0 ? 0 : 1; /* it has stood still */
    }
    rig_settle(&rig);
    assert_once("r", 0, 400);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_FILES_FAILED), 0);
}

/* ---- archives ---------------------------------------------------------------------------------------------------------------- */

static void an_archive_finishes_what_is_gone_and_nothing_else(void **state) {
    (void)state;
    make_dir("arch");
    rig_glob(&rig, 0, "*.log");
    rig_archive(&rig, "arch/*");
    append_lines("conn.log", "r", 0, 50);
    append_lines("dns.log", "d", 0, 50);
    append_lines("arch/stranger.log", "s", 0, 5);
    rig_open(&rig);
    rig_settle(&rig);
    const uint64_t gen = find_start("r 0 ")->gen;
    rig_stop(&rig);
    append_lines("conn.log", "r", 50, 80);
    compress_to("conn.log", "arch/conn.03:00:00-04:00:00.log.gz", 0);
    rig_unlink(&rig, "conn.log");
    append_lines("dns.log", "d", 50, 60);
    copy("dns.log", "arch/dns.03:00:00-04:00:00.log");
    rig_append(&rig, "arch/dns.03:00:00-04:00:00.log", "d 60 unfinished");
    rig_unlink(&rig, "dns.log");
    append_lines("conn.log", "n", 0, 5);
    rig_open(&rig);
    rig_settle(&rig);
    rig_settle(&rig);
    assert_once("r", 0, 80);
    assert_once("d", 0, 61);
    assert_once("n", 0, 5);
    assert_int_equal(find_start("r 79 ")->gen, gen);
    assert_int_equal(rig_records(&rig), 80 + 61 + 5);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 0);
    rig_stop(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 80 + 61 + 5);
}

static void archives_are_not_looked_at_while_nothing_is_missing(void **state) {
    (void)state;
    make_dir("arch");
    rig_archive(&rig, "arch/*");
    append_lines("arch/x.log", "s", 0, 5);
    append_lines("a.log", "r", 0, 5);
    rig_open(&rig);
    rig_settle(&rig);
    assert_null(rig.ingest->archive_seen);
    assert_int_equal(rig.ingest->archive_tick, INT64_MAX);
    assert_int_equal(rig_records(&rig), 5);
}

/* A file that was found and not read yet goes to the archive: it is known by its first record. */
static void what_was_never_read_is_found_in_the_archive(void **state) {
    (void)state;
    make_dir("arch");
    rig_archive(&rig, "arch/*");
    rig.is_holding = true;
    char line[4096];
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (int i = 0; i < 1000; i++) {
        rig_write(&rig, "busy.log", O_APPEND, line, sizeof(line)); /* takes the whole pool */
    }
    rig_open(&rig);
    rig_settle(&rig);
    append_lines("a.log", "r", 0, 20);
    rig_settle(&rig);
    assert_int_equal(rig.pool.free_len, 0);
    rig_kill(&rig);
    compress_to("a.log", "arch/a.log.gz", 0);
    rig_unlink(&rig, "a.log");
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    assert_once("r", 0, 20);
}

/* A file in the archive has the inode of one that was read to its end, deleted, and is remembered. */
static void an_archived_file_in_an_inode_that_is_used_again(void **state) {
    (void)state;
    char path[192];
    struct stat st;
    make_dir("arch");
    rig_archive(&rig, "arch/*");
    append_lines("done.log", "d", 0, 5);
    append_lines("a.log", "r", 0, 10);
    rig_open(&rig);
    rig_settle(&rig);
    rig_unlink(&rig, "done.log");
    rig_settle(&rig);
    rig_stop(&rig);
    append_lines("a.log", "r", 10, 20);
    compress_to("a.log", "arch/a.log.gz", 0);
    rig_unlink(&rig, "a.log");
    rig_open(&rig);
    rig_path(&rig, "arch/a.log.gz", path);
    assert_int_equal(stat(path, &st), 0);
    rig_path(&rig, "done.log", path);
    struct ingest_file *done = rig.ingest->files;
    while (done != NULL && strcmp(done->path, path) != 0) {
        done = done->next;
    }
    assert_non_null(done);
    assert_true(done->is_over);
    ingest_file_set_inode(rig.ingest, done, st.st_dev, st.st_ino);
    done->born_ns = 1;
    rig_settle(&rig);
    assert_once("r", 0, 20);
    assert_once("d", 0, 5);
}

/* ---- ends -------------------------------------------------------------------------------------------------------------------- */

static void the_last_line_of_a_rotated_file_is_an_event(void **state) {
    (void)state;
    rig_glob(&rig, 0, "a.log");
    rig_append(&rig, "a.log", "r1\nlast");
    rig_open(&rig);
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|");
    rig_rename(&rig, "a.log", "a.old");
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|"); /* nothing took its place: it may go on */
    rig_append(&rig, "a.log", "n1\n");
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "last"), 1);
    assert_int_equal(rig_find(&rig, "last")->end, 7);
    rig_append(&rig, "a.old", " and more\nr3\n"); /* it goes on after all: no byte comes twice */
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, " and more"), 1);
    assert_int_equal(rig_find(&rig, " and more")->start, 7);
    assert_int_equal(rig_count(&rig, "r3"), 1);
    assert_int_equal(rig_records(&rig), 5);
}

static void the_last_line_of_a_deleted_file_is_an_event(void **state) {
    (void)state;
    rig_append(&rig, "a.log", "r1\nlast");
    rig_open(&rig);
    rig_settle(&rig);
    rig_unlink(&rig, "a.log");
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|last|");
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 0);
}

static void a_live_files_unfinished_line_waits_when_its_input_is_dropped(void **state) {
    (void)state;
    struct core_fail fail = {0};
    rig_append(&rig, "a.log", "r1\nlast");
    rig_open(&rig);
    rig_settle(&rig);
    rig_glob(&rig, 0, "none*");
    const struct ingest_env env = rig_env(&rig);
    assert_int_equal(ingest_reload(rig.ingest, &env, &fail), CORE_OK);
    rig_settle(&rig);
    rig_assert_lines(&rig, "r1|");
}

static void close_ends_a_log_at_once(void **state) {
    (void)state;
    rig.conf.close_after_ns = 3600 * CORE_NS_PER_S;
    rig_append(&rig, "a.log", "#fields\tx\nr1\n");
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig.lasts, 0);
    rig_append(&rig, "a.log", "#close\t2026\n");
    rig_settle(&rig);
    assert_int_equal(rig.lasts, 1);
    assert_int_equal(rig.ingest->open_len, 0);
    assert_true(rig.ingest->files->is_over);
    rig_append(&rig, "a.log", "#fields\tx\nr2\n"); /* to be safe: it goes on */
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "r2"), 1);
    assert_int_equal(rig_find(&rig, "r2")->gen, rig_find(&rig, "r1")->gen);
    assert_false(rig.ingest->files->is_over);
    assert_int_equal(rig_records(&rig), 2);
}

/* ---- copytruncate, directories, links ------------------------------------------------------------------------------------- */

static void copytruncate_with_a_copy_that_is_matched(void **state) {
    (void)state;
    rig_glob(&rig, 0, "a.log*");
    append_lines("a.log", "r", 0, 20);
    rig_open(&rig);
    rig_settle(&rig);
    append_lines("a.log", "r", 20, 30);
    copy("a.log", "a.log.1");
    rig_write(&rig, "a.log", O_TRUNC, "", 0); /* r 20 … 29 were not read here */
    append_lines("a.log", "n", 0, 3);
    rig_settle(&rig);
    rig_settle(&rig);
    assert_once("r", 0, 30);
    assert_once("n", 0, 3);
    assert_int_equal(rig_records(&rig), 33);
    assert_int_equal(find_start("r 29 ")->gen, find_start("r 0 ")->gen);
}

/* What was seen of the bytes that took their place is not missed. */
static void a_longer_file_in_its_inode_is_no_loss(void **state) {
    (void)state;
    make_dir("arch");
    rig_archive(&rig, "arch/*");
    append_lines("a.log", "r", 0, 5);
    rig_open(&rig);
    rig_settle(&rig);
    rig_write(&rig, "a.log", O_TRUNC, "", 0);
    append_lines("a.log", "n", 0, 100);
    rig_settle(&rig);
    assert_once("n", 0, 100);
    for (struct ingest_file *file = rig.ingest->files; file != NULL; file = file->next) {
        assert_int_equal(ingest_file_unread(file), 0);
    }
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 0);
}

static void a_directory_vanishes_and_returns(void **state) {
    (void)state;
    make_dir("logs");
    rig_glob(&rig, 0, "logs/*.log");
    append_lines("logs/a.log", "r", 0, 5);
    rig_open(&rig);
    rig_settle(&rig);
    rig_stop(&rig);
    rig_rename(&rig, "logs", "away");
    rig_open(&rig);
    rig_settle(&rig);
    append_lines("away/a.log", "r", 5, 8);
    rig_rename(&rig, "away", "logs");
    rig_settle(&rig);
    assert_once("r", 0, 8);
}

/* No scan ever saw it under the name that the glob gives: inotify tells where it went. */
static void made_and_renamed_between_two_scans(void **state) {
    (void)state;
    rig.conf.use_inotify = true;
    rig.conf.scan_interval_ns = 3600 * CORE_NS_PER_S;
    append_lines("a.log", "r", 0, 3);
    rig_open(&rig);
    for (int i = 0; i < 200 && rig_records(&rig) < 3; i++) {
        rig_turn(&rig);
    }
    append_lines("b.log", "n", 0, 5);
    rig_rename(&rig, "b.log", "b.2026.old");
    for (int i = 0; i < 500 && rig_records(&rig) < 8; i++) {
        rig_turn(&rig);
    }
    assert_once("n", 0, 5);
    assert_non_null(strstr(find_start("n 0 ")->path, "/b.log"));
}

/* It is heard of that a file was renamed, whose inode a file has that waits to be read, and is no more there. */
static void a_renamed_file_in_the_inode_of_one_that_waits(void **state) {
    (void)state;
    char from[192];
    char to[192];
    struct stat st;
    append_lines("a.log", "r", 0, 3);
    rig_open(&rig);
    rig_settle(&rig);
    struct ingest_file *waits = rig.ingest->files;
    rig_unlink(&rig, "a.log");
    append_lines("b.old", "n", 0, 5);
    rig_path(&rig, "b.log", from);
    rig_path(&rig, "b.old", to);
    assert_int_equal(stat(to, &st), 0);
    ingest_file_close(rig.ingest, waits);
    ingest_file_set_inode(rig.ingest, waits, 0, 0);
    ingest_file_set_inode(rig.ingest, waits, st.st_dev, st.st_ino);
    waits->born_ns = 1;
    ingest_file_queue(rig.ingest, waits, INGEST_QUEUE_READY);
    ingest_scan_moved(rig.ingest, from, to);
    rig_settle(&rig);
    assert_once("n", 0, 5);
    assert_once("r", 0, 3);
}

static void a_hard_link_elsewhere_is_the_same_file(void **state) {
    (void)state;
    char a[192];
    char b[192];
    make_dir("other");
    append_lines("a.log", "r", 0, 5);
    rig_path(&rig, "a.log", a);
    rig_path(&rig, "other/link", b);
    assert_int_equal(link(a, b), 0);
    rig_open(&rig);
    rig_settle(&rig);
    rig_unlink(&rig, "a.log"); /* its bytes are still at other/link */
    rig_settle(&rig);
    append_lines("other/link", "r", 5, 8);
    rig_rename(&rig, "other/link", "b.log");
    rig_settle(&rig);
    rig_settle(&rig);
    assert_once("r", 0, 8);
    assert_int_equal(find_start("r 7 ")->gen, find_start("r 0 ")->gen);
}

static void a_symlink_flips_between_two_files(void **state) {
    (void)state;
    char link_path[192];
    char target[192];
    make_dir("real");
    append_lines("real/one", "r", 0, 5);
    append_lines("real/two", "t", 0, 5);
    rig_path(&rig, "cur.log", link_path);
    rig_open(&rig);
    for (int i = 0; i < 6; i++) {
        rig_path(&rig, i % 2 == 0 ? "real/one" : "real/two", target);
        (void)unlink(link_path);
        assert_int_equal(symlink(target, link_path), 0);
        append_lines(i % 2 == 0 ? "real/one" : "real/two", i % 2 == 0 ? "r" : "t", 5 + i, 6 + i);
        rig_settle(&rig);
    }
    assert_once("r", 0, 6);
    assert_once("t", 0, 5);
    assert_once("t", 6, 7);
    assert_int_equal(rig_records(&rig), 16);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(moved_over_a_mount_while_we_were_down),
        TEST(moved_over_a_mount_while_we_read),
        TEST(what_is_equal_and_stays_is_another_file),
        TEST(once_reads_what_is_equal),
        TEST(files_of_the_same_first_record),
        TEST(the_next_log_begins_like_the_one_before),
        TEST(renamed_into_the_archive_while_we_were_down),
        TEST(generations_never_share_a_number),
        TEST(a_shorter_file_in_its_place),
        TEST(rotated_and_compressed_while_we_were_down),
        TEST(compressed_and_its_inode_used_again),
        TEST(gzip_at_work_beside_its_original),
        TEST(compressed_before_its_first_record_was_seen),
        TEST(gzip_at_work_when_we_start),
        TEST(a_gz_that_grows_is_no_trouble_and_no_dead_end),
        TEST(an_archive_finishes_what_is_gone_and_nothing_else),
        TEST(archives_are_not_looked_at_while_nothing_is_missing),
        TEST(what_was_never_read_is_found_in_the_archive),
        TEST(an_archived_file_in_an_inode_that_is_used_again),
        TEST(the_last_line_of_a_rotated_file_is_an_event),
        TEST(the_last_line_of_a_deleted_file_is_an_event),
        TEST(a_live_files_unfinished_line_waits_when_its_input_is_dropped),
        TEST(close_ends_a_log_at_once),
        TEST(copytruncate_with_a_copy_that_is_matched),
        TEST(a_longer_file_in_its_inode_is_no_loss),
        TEST(a_directory_vanishes_and_returns),
        TEST(made_and_renamed_between_two_scans),
        TEST(a_renamed_file_in_the_inode_of_one_that_waits),
        TEST(a_hard_link_elsewhere_is_the_same_file),
        TEST(a_symlink_flips_between_two_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
