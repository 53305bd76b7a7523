/* tests/unit/ingest_spool_test.c: rotated files are copied while nothing can be delivered, and read from there, whatever
 * happens in between.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ingest_keeper.h"

#define FILL_BYTES (8 * CORE_MIB) /* more than the pool holds */

static struct rig rig;
static struct keeper keeper;

static int setup(void **state) {
    (void)state;
    rig_setup(&rig, 4);
    rig.spool = (struct ingest_spool_conf){.size_max = 64 * CORE_MIB, .after_ns = CORE_NS_PER_MS};
    return 0;
}

static int teardown(void **state) {
    (void)state;
    rig_teardown(&rig);
    return 0;
}

static int setup_keeper(void **state) {
    (void)setup(state);
    keeper_setup(&keeper, &rig);
    return 0;
}

static int teardown_keeper(void **state) {
    (void)state;
    keeper_teardown(&keeper, &rig);
    return 0;
}

/* Lines that do not compress well. */
static void append_lines(const char *name, const char *word, int from, int to) {
    char line[80];
    uint64_t noise = 88172645463325252u + (uint64_t)word[0];
    for (int i = from; i < to; i++) {
        noise = core_hash64(&noise, sizeof(noise), (uint64_t)i);
        (void)snprintf(line, sizeof(line), "%s %d %016llx\n", word, i, (unsigned long long)noise);
        rig_append(&rig, name, line);
    }
}

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

/* The sink goes away, and a busy file takes all batches. */
static void go_away(void) {
    char *bytes = malloc(FILL_BYTES);
    memset(bytes, 'x', FILL_BYTES);
    for (size_t i = 1023; i < FILL_BYTES; i += 1024) {
        bytes[i] = '\n';
    }
    rig.is_holding = true;
    rig_write(&rig, "busy.log", O_APPEND, bytes, FILL_BYTES);
    free(bytes);
    for (int i = 0; rig.pool.free_len > 0; i++) {
        assert_true(i < 1000);
        rig.ingest->scan_tick = 0;
        rig_turn(&rig);
    }
}

static void turns(int n) {
    for (int i = 0; i < n; i++) {
        rig.ingest->scan_tick = 0;
        rig_turn(&rig);
    }
}

/* Turns until so many copies were made. */
static void wait_copies(uint64_t copies) {
    for (int i = 0; core_counted(&rig.counters, CORE_COUNT_SPOOL_COPIES) < copies; i++) {
        assert_true(i < 3000);
        turns(1);
    }
}

/* How many files there are in the spool; the first one's path. */
static size_t copies_now(char path[512]) {
    char dir_path[192];
    size_t n = 0;
    (void)snprintf(dir_path, sizeof(dir_path), "%s/spool", rig.state);
    DIR *dir = opendir(dir_path);
    for (const struct dirent *e = dir == NULL ? NULL : readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] != '.') {
            n++;
            (void)snprintf(path, 512, "%s/%s", dir_path, e->d_name);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n;
}

static void come_back(void) {
    rig.is_holding = false;
    rig_settle(&rig);
    turns(20);
}

static void a_deleted_file_is_copied_and_read_from_there(void **state) {
    (void)state;
    char path[512];
    rig_open(&rig);
    go_away();
    rig_append(&rig, "a.log", "#fields\tx\n");
    append_lines("a.log", "r", 0, 200);
    turns(3);
    rig_unlink(&rig, "a.log");
    wait_copies(1);
    assert_int_equal(copies_now(path), 1);
    assert_int_equal(rig.ingest->open_len, 1); /* busy.log: the deleted one gives back its disk space */
    come_back();
    assert_once("r", 0, 200);
    assert_non_null(strstr(rig_find(&rig, "#fields\tx")->path, "/a.log"));
    assert_int_equal(copies_now(path), 0);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_SPOOL_READ), 1);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 0);
}

/* Its archive has a name that tells nothing, and outlives the original: it is not read beside the copy, whoever asks. */
static void an_archive_beside_the_copy(void **state) {
    (void)state;
    char log[192];
    char command[512];
    rig_path(&rig, "arch", log);
    assert_int_equal(mkdir(log, 0700), 0);
    rig_glob(&rig, 1, "arch/*.gz");
    rig_open(&rig);
    go_away();
    append_lines("a.log", "r", 0, 200);
    turns(3);
    rig_path(&rig, "a.log", log);
    (void)snprintf(command, sizeof(command), "gzip -c %s > %s/other.tmp", log, rig.dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    rig_unlink(&rig, "a.log");
    rig_rename(&rig, "other.tmp", "arch/other.gz");
    wait_copies(1);
    turns(3);
    rig_kill(&rig);
    rig_forget(&rig);
    rig.is_holding = true;
    rig_open(&rig);
    go_away();
    turns(20);
    come_back();
    assert_once("r", 0, 200);
}

/* Found in the moment in which its sensor made it, when it had no byte yet; then there is no batch to read it with. */
static void a_file_that_was_found_empty(void **state) {
    (void)state;
    char path[512];
    rig_open(&rig);
    go_away();
    rig_append(&rig, "a.log", "");
    turns(3);
    append_lines("a.log", "r", 0, 200);
    turns(3);
    rig_unlink(&rig, "a.log");
    wait_copies(1);
    come_back();
    assert_once("r", 0, 200);
    assert_int_equal(copies_now(path), 0);
}

/* Read halfway, then copied: the header is far before the copy's first byte. Killed on top of that. */
static void the_rest_of_a_file_is_copied_and_outlives_us(void **state) {
    (void)state;
    char path[512];
    rig_append(&rig, "a.log", "#fields\tx\n");
    append_lines("a.log", "r", 0, 300);
    rig_open(&rig);
    rig_settle(&rig);
    assert_once("r", 0, 300);
    const struct rig_line before = rig.seen[rig.seen_len - 1];
    const uint64_t end = before.end;
    const uint64_t gen = before.gen;
    go_away();
    append_lines("a.log", "r", 300, 400);
    rig_append(&rig, "a.log", "r 400 unfinished");
    turns(3);
    rig_unlink(&rig, "a.log");
    wait_copies(1);
    assert_int_equal(copies_now(path), 1);
    rig_kill(&rig);
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    turns(20);
    assert_once("r", 300, 401);
    const struct rig_line *header = rig_find(&rig, "#fields\tx");
    assert_int_equal(header->flags, CORE_LINE_CONTEXT | CORE_LINE_REPLAYED);
    assert_int_equal(header[1].start, end);
    assert_int_equal(header[1].gen, gen);
    assert_int_equal(copies_now(path), 0);
    rig_stop(&rig);
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 0);
}

/* It grew while no batch was free: it stands still all the same, though it was not read since. */
static void a_file_that_grew_behind_its_last_read(void **state) {
    (void)state;
    rig.conf.close_after_ns = 20 * CORE_NS_PER_MS;
    append_lines("a.log", "r", 0, 10);
    rig_open(&rig);
    rig_settle(&rig);
    go_away();
    append_lines("a.log", "r", 10, 200);
    turns(2);
    rig_unlink(&rig, "a.log");
    wait_copies(1);
    come_back();
    assert_once("r", 0, 200);
}

static size_t slurp(const char *path, char *out, size_t cap) {
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    const ssize_t len = read(fd, out, cap);
    assert_true(len >= 0 && (size_t)len < cap);
    close(fd);
    return (size_t)len;
}

static void spill(const char *path, const char *bytes, size_t len) {
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

/* kill -9 between the copy's rename and the checkpoint that names it. */
static void a_copy_that_the_checkpoint_does_not_know(void **state) {
    (void)state;
    static char text[64 * 1024];
    char path[512];
    char checkpoint[192];
    char tmp[192];
    (void)snprintf(checkpoint, sizeof(checkpoint), "%s/checkpoint", rig.state);
    rig_open(&rig);
    go_away();
    append_lines("a.log", "r", 0, 200);
    append_lines("b.log", "s", 0, 200);
    turns(5);
    const size_t len = slurp(checkpoint, text, sizeof(text));
    rig_unlink(&rig, "a.log");
    rig_rename(&rig, "b.log", "b.old"); /* this one still has its bytes */
    rig_append(&rig, "b.log", "n1\n");
    wait_copies(2);
    (void)snprintf(tmp, sizeof(tmp), "%s/spool/copy.tmp", rig.state);
    spill(tmp, "half", 4);
    rig_kill(&rig);
    spill(checkpoint, text, len);
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    turns(20);
    assert_once("r", 0, 200);
    assert_once("s", 0, 200);
    assert_int_equal(rig_count(&rig, "n1"), 1);
    assert_int_equal(copies_now(path), 0);
}

/* A file that was read to its end and deleted, and is remembered by an inode that is used again. */
static struct ingest_file *remembered(const char *name) {
    char path[192];
    rig_path(&rig, name, path);
    for (struct ingest_file *file = rig.ingest->files; file != NULL; file = file->next) {
        if (strcmp(file->path, path) == 0) {
            assert_true(file->source.fd < 0);
            return file;
        }
    }
    fail_msg("%s is forgotten", name);
    return NULL;
}

static void give_inode(struct ingest_file *file, const struct stat *st) {
    ingest_file_set_inode(rig.ingest, file, st->st_dev, st->st_ino);
    file->born_ns = 1;
}

static void a_copy_gets_the_inode_of_a_remembered_file(void **state) {
    (void)state;
    struct stat st;
    rig_append(&rig, "old.log", "o1\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_unlink(&rig, "old.log");
    rig_settle(&rig);
    go_away();
    append_lines("a.log", "r", 0, 60000); /* more than is copied in a turn */
    turns(3);
    rig_unlink(&rig, "a.log");
    for (int i = 0; rig.ingest->spool.copy.out_fd < 0; i++) {
        assert_true(i < 3000);
        turns(1);
    }
    assert_int_equal(fstat(rig.ingest->spool.copy.out_fd, &st), 0);
    give_inode(remembered("old.log"), &st);
    wait_copies(1);
    assert_int_equal(remembered("old.log")->ino, 0);
    come_back();
    assert_once("r", 0, 20);
    assert_once("r", 59980, 60000);
    assert_int_equal(rig_count(&rig, "o1"), 1);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 0);
}

/* The same, and killed before the checkpoint knew of the copy. */
static void an_unknown_copy_has_the_inode_of_a_remembered_file(void **state) {
    (void)state;
    static char text[64 * 1024];
    char path[512];
    char checkpoint[192];
    struct stat st;
    (void)snprintf(checkpoint, sizeof(checkpoint), "%s/checkpoint", rig.state);
    rig_append(&rig, "old.log", "o1\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_unlink(&rig, "old.log");
    rig_settle(&rig);
    go_away();
    append_lines("a.log", "r", 0, 200);
    turns(5);
    const size_t len = slurp(checkpoint, text, sizeof(text));
    rig_unlink(&rig, "a.log");
    wait_copies(1);
    assert_int_equal(copies_now(path), 1);
    rig_kill(&rig);
    spill(checkpoint, text, len);
    rig_forget(&rig);
    rig_open(&rig);
    assert_int_equal(stat(path, &st), 0);
    give_inode(remembered("old.log"), &st);
    rig_settle(&rig);
    turns(20);
    assert_once("r", 0, 200);
    assert_int_equal(copies_now(path), 0);
}

static void block_makes_no_copy_and_loses_nothing(void **state) {
    (void)state;
    char path[512];
    rig.spool.size_max = 1000;
    rig_open(&rig);
    go_away();
    append_lines("a.log", "r", 0, 500);
    turns(3);
    rig_unlink(&rig, "a.log");
    turns(100);
    assert_true(rig.ingest->spool.is_full_told);
    assert_int_equal(copies_now(path), 0);
    assert_int_equal(rig.ingest->open_len, 2);
    come_back();
    assert_once("r", 0, 500);
}

static void drop_oldest_counts_what_it_gives_up(void **state) {
    (void)state;
    char path[512];
    rig.spool.when_full = INGEST_SPOOL_DROP_OLDEST;
    rig.spool.size_max = 9000; /* one copy, not two */
    rig_open(&rig);
    go_away();
    append_lines("a.log", "r", 0, 500);
    turns(3);
    rig_unlink(&rig, "a.log");
    wait_copies(1);
    append_lines("b.log", "s", 0, 500);
    turns(3);
    rig_unlink(&rig, "b.log");
    wait_copies(2);
    assert_int_equal(copies_now(path), 1);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_SPOOL_LINES_LOST), 500);
    assert_true(core_counted(&rig.counters, CORE_COUNT_SPOOL_BYTES_LOST) > 10000);
    come_back();
    assert_once("s", 0, 500);
    assert_int_equal(copies_now(path), 0);
    for (size_t i = 0; i < rig.seen_len; i++) {
        assert_int_not_equal(rig.seen[i].text[0], 'r');
    }
}

/* Ten lines of the copy are delivered when it is given up. */
static void what_was_delivered_of_a_copy_is_not_counted(void **state) {
    (void)state;
    rig.spool.when_full = INGEST_SPOOL_DROP_OLDEST;
    rig.spool.size_max = 9000;
    rig_open(&rig);
    go_away();
    append_lines("a.log", "r", 0, 500);
    turns(3);
    rig_unlink(&rig, "a.log");
    wait_copies(1);
    struct ingest_file *file = rig.ingest->files;
    while (file != NULL && !ingest_spool_has(rig.ingest, file->path)) {
        file = file->next;
    }
    assert_non_null(file);
    file->memory.accepted = (struct ingest_mark){.pos = 10 * strlen("r 0 0123456789abcdef\n"), .number = 10};
    append_lines("b.log", "s", 0, 500);
    turns(3);
    rig_unlink(&rig, "b.log");
    wait_copies(2);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_SPOOL_LINES_LOST), 490);
}

static void damage(const char *path) {
    static char bytes[256 * 1024];
    const size_t len = slurp(path, bytes, sizeof(bytes));
    memset(bytes + len / 2, 0x55, 40);
    spill(path, bytes, len);
}

static void a_damaged_copy_whose_original_is_there(void **state) {
    (void)state;
    char path[512];
    rig_open(&rig);
    go_away();
    append_lines("a.log", "r", 0, 3000);
    turns(3);
    rig_rename(&rig, "a.log", "a.old");
    rig_append(&rig, "a.log", "n1\n");
    wait_copies(1);
    assert_int_equal(copies_now(path), 1);
    damage(path);
    come_back();
    assert_once("r", 0, 3000);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_SPOOL_DAMAGED), 1);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 0);
    assert_int_equal(copies_now(path), 0);
}

static void a_damaged_copy_whose_original_is_gone(void **state) {
    (void)state;
    char path[512];
    rig_open(&rig);
    go_away();
    append_lines("a.log", "r", 0, 3000);
    turns(3);
    rig_unlink(&rig, "a.log");
    wait_copies(1);
    assert_int_equal(copies_now(path), 1);
    damage(path);
    come_back();
    size_t got = 0;
    uint64_t end = 0;
    for (size_t i = 0; i < rig.seen_len; i++) {
        got += rig.seen[i].text[0] == 'r';
        end = rig.seen[i].text[0] == 'r' ? rig.seen[i].end : end;
    }
    assert_true(got < 3000);
    assert_once("r", 0, (int)got); /* what is before the damage */
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_SPOOL_DAMAGED), 1);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_SPOOL_BYTES_LOST),
                     rig_find(&rig, rig.seen[0].text) ? core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST) : 0);
    assert_true(core_counted(&rig.counters, CORE_COUNT_SPOOL_BYTES_LOST) > 0);
    assert_int_equal(copies_now(path), 1); /* the damaged one, aside */
    assert_non_null(strstr(path, ".damaged"));
    assert_true(end > 0 || got == 0);
}

static void a_spool_that_cannot_be_written(void **state) {
    (void)state;
    char dir[192];
    rig_open(&rig);
    (void)snprintf(dir, sizeof(dir), "%s/spool", rig.state);
    spill(dir, "a file", 6); /* where the directory should be */
    go_away();
    append_lines("a.log", "r", 0, 100);
    turns(3);
    rig_unlink(&rig, "a.log");
    turns(50);
    assert_true(rig.ingest->spool.retry_tick > 0);
    come_back();
    assert_once("r", 0, 100);
}

/* Half of a file is delivered and not committed; it is deleted and copied; then the transaction comes to nothing. */
static void begin_aborted(void) {
    rig_append(&rig, "a.log", "#fields\tx\n");
    append_lines("a.log", "r", 0, 5000);
    rig_open(&rig);
    keeper_read(&keeper);
    keeper_send(&keeper, 1);
    go_away();
    turns(3);
    rig_unlink(&rig, "a.log");
    wait_copies(1);
}

static void assert_all_committed_once(int lines) {
    char text[80];
    uint64_t noise = 88172645463325252u + (uint64_t)'r';
    for (int i = 0; i < lines; i++) {
        noise = core_hash64(&noise, sizeof(noise), (uint64_t)i);
        (void)snprintf(text, sizeof(text), "r %d %016llx", i, (unsigned long long)noise);
        assert_int_equal(keeper_count(&keeper, text), 1);
    }
    keeper_assert_joined(&keeper);
}

static void an_abort_behind_the_copying(void **state) {
    (void)state;
    char path[512];
    begin_aborted();
    keeper_abort(&keeper);
    keeper_settle(&keeper);
    turns(20);
    keeper_settle(&keeper);
    assert_all_committed_once(5000);
    assert_int_equal(copies_now(path), 0);
    keeper_stop(&keeper);
}

static void killed_behind_the_copying(void **state) {
    (void)state;
    char path[512];
    begin_aborted();
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
    keeper_settle(&keeper);
    turns(20);
    keeper_settle(&keeper);
    assert_all_committed_once(5000);
    assert_int_equal(copies_now(path), 0);
    keeper_stop(&keeper);
}

/* What a broker acknowledged, and a copy was made behind, it has lost: a.log is deleted, 1000 lines are committed as far as the
 * keeper knows now, and the copy begins behind line 2000. Returns the bytes between. */
static uint64_t begin_behind(void) {
    rig.conf.scan_interval_ns = CORE_NS_PER_MS;
    rig_append(&rig, "a.log", "#fields\tx\n");
    append_lines("a.log", "r", 0, 1000);
    rig_open(&rig);
    keeper_settle(&keeper);
    assert_int_equal(keeper.done.lines_len, 1);
    const uint64_t gen = keeper.done.lines[0].gen;
    const uint64_t before = rig.ingest->files->memory.accepted.pos;
    char *text = strdup(keeper.done.lines[0].text);
    append_lines("a.log", "r", 1000, 2000);
    keeper_settle(&keeper);
    const uint64_t behind = rig.ingest->files->memory.accepted.pos;
    assert_true(behind > before);
    go_away();
    append_lines("a.log", "r", 2000, 3000);
    turns(3);
    rig_unlink(&rig, "a.log");
    wait_copies(1);
    keeper_put(&keeper.done, gen, text);
    return behind - before;
}

static size_t committed(int i) {
    char word[32];
    const int len = snprintf(word, sizeof(word), "r %d ", i);
    size_t n = 0;
    for (size_t k = 0; k < keeper.done.records_len; k++) {
        n += strncmp(keeper.done.records[k].text, word, (size_t)len) == 0;
    }
    return n;
}

static void wait_no_copies(void) {
    char path[512];
    const int64_t until = core_tick_ns() + 60 * CORE_NS_PER_S;
    while (copies_now(path) > 0) {
        assert_true(core_tick_ns() < until);
        keeper_settle(&keeper);
        usleep(10000);
    }
}

static void a_position_before_the_copy(void **state) {
    (void)state;
    const uint64_t missing = begin_behind();
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
    wait_no_copies();
    assert_int_equal(committed(999), 1);
    assert_int_equal(committed(1000), 1); /* when it was acknowledged; not again */
    assert_int_equal(committed(1999), 1);
    for (int i = 2000; i < 3000; i += 111) {
        assert_int_equal(committed(i), 1);
    }
    assert_int_equal(committed(2999), 1);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_SPOOL_DAMAGED), 0);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_SPOOL_BYTES_LOST), missing);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), missing);
    const struct keeper_record *first =
        keeper.done.records; /* the first of the copy tells where it begins, not where it should */
    while (strncmp(first->text, "r 2000 ", 7) != 0) {
        first++;
    }
    assert_int_equal(first->from, first->start);
    keeper_stop(&keeper);
}

/* The checkpoint that names the copy was not written, either. */
static void a_position_before_a_copy_that_nobody_knows(void **state) {
    (void)state;
    char checkpoint[192];
    const uint64_t missing = begin_behind();
    (void)snprintf(checkpoint, sizeof(checkpoint), "%s/checkpoint", rig.state);
    assert_int_equal(unlink(checkpoint), 0);
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
    wait_no_copies();
    assert_int_equal(committed(1000), 1);
    assert_int_equal(committed(2000), 1);
    assert_int_equal(committed(2999), 1);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), missing);
    keeper_stop(&keeper);
}

/* Another file has all of it: what the keeper has not is read from there, and then the copy is not needed. */
static void a_position_before_the_copy_and_the_original_is_found(void **state) {
    (void)state;
    const uint64_t missing = begin_behind();
    assert_true(missing > 0);
    rig_append(&rig, "old.log", "#fields\tx\n");
    for (int i = 0; i < 3000; i += 1000) {
        append_lines("old.log", "r", i, i + 1000); /* byte by byte as it was written */
    }
    keeper_kill(&keeper, CORE_COMMIT_RECOVERED);
    wait_no_copies();
    assert_int_equal(committed(999), 1);
    assert_int_equal(committed(1000), 2); /* the keeper says that it has it not */
    assert_int_equal(committed(1999), 2);
    assert_int_equal(committed(2000), 1);
    assert_int_equal(committed(2999), 1);
    assert_int_equal(core_counted(&rig.counters, CORE_COUNT_INGEST_BYTES_LOST), 0);
    keeper_stop(&keeper);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_deleted_file_is_copied_and_read_from_there),
        TEST(an_archive_beside_the_copy),
        TEST(a_file_that_was_found_empty),
        TEST(the_rest_of_a_file_is_copied_and_outlives_us),
        TEST(a_file_that_grew_behind_its_last_read),
        TEST(a_copy_that_the_checkpoint_does_not_know),
        TEST(a_copy_gets_the_inode_of_a_remembered_file),
        TEST(an_unknown_copy_has_the_inode_of_a_remembered_file),
        TEST(block_makes_no_copy_and_loses_nothing),
        TEST(drop_oldest_counts_what_it_gives_up),
        TEST(what_was_delivered_of_a_copy_is_not_counted),
        TEST(a_damaged_copy_whose_original_is_there),
        TEST(a_damaged_copy_whose_original_is_gone),
        TEST(a_spool_that_cannot_be_written),
        cmocka_unit_test_setup_teardown(an_abort_behind_the_copying, setup_keeper, teardown_keeper),
        cmocka_unit_test_setup_teardown(killed_behind_the_copying, setup_keeper, teardown_keeper),
        cmocka_unit_test_setup_teardown(a_position_before_the_copy, setup_keeper, teardown_keeper),
        cmocka_unit_test_setup_teardown(a_position_before_a_copy_that_nobody_knows, setup_keeper, teardown_keeper),
        cmocka_unit_test_setup_teardown(a_position_before_the_copy_and_the_original_is_found, setup_keeper,
                                        teardown_keeper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
