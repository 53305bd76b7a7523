/* tests/unit/ingest_checkpoint_test.c: what is remembered over a restart, and what is not believed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ingest_rig.h"

static struct rig rig;

static int setup(void **state) {
    (void)state;
    rig_setup(&rig, 4);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    rig_teardown(&rig);
    return 0;
}

static size_t read_checkpoint(char *bytes, size_t cap) {
    char path[192];
    rig_path(&rig, "state/checkpoint", path);
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    const ssize_t len = read(fd, bytes, cap);
    assert_true(len > 0 && (size_t)len < cap);
    close(fd);
    return (size_t)len;
}

static enum core_err try_open(struct core_fail *fail) {
    const struct ingest_env env = rig_env(&rig);
    struct ingest *ingest = NULL;
    const enum core_err err = ingest_open(&ingest, &env, fail);
    if (err == CORE_OK) {
        ingest->is_dirty = false;
        ingest_close(ingest);
    } else {
        assert_null(ingest);
    }
    return err;
}

static void make_some(void) {
    rig_append(&rig, "plain.log", "#fields\ta\nr1\nr2\n");
    rig_append(&rig, "with space%41\n\x01\xc3\xa9.log", "x1\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_stop(&rig);
}

static void every_field_comes_back(void **state) {
    (void)state;
    make_some();
    rig_open(&rig);
    assert_int_equal(rig.ingest->files_len, 2);
    char path[192];
    rig_path(&rig, "with space%41\n\x01\xc3\xa9.log", path);
    const struct ingest_file *odd = ingest_file_by_path(rig.ingest, path);
    assert_non_null(odd);
    assert_string_equal(odd->memory.first_path, path);
    rig_path(&rig, "plain.log", path);
    const struct ingest_file *file = ingest_file_by_path(rig.ingest, path);
    struct stat st;
    assert_non_null(file);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(file->dev, st.st_dev);
    assert_int_equal(file->ino, st.st_ino);
    assert_int_equal(file->memory.gen, rig_find(&rig, "r1")->gen);
    assert_int_equal(file->memory.mtime_ns, st.st_mtim.tv_sec * CORE_NS_PER_S + st.st_mtim.tv_nsec);
    assert_int_equal(file->memory.first.at, 10);
    assert_int_equal(file->memory.first.len, 2);
    assert_int_equal(file->memory.first.hash, core_hash64("r1", 2, 0));
    const struct ingest_mark *mark = &file->memory.accepted;
    assert_int_equal(mark->pos, 16);
    assert_int_equal(mark->number, 3);
    assert_int_equal(mark->header_at, 0);
    assert_int_equal(mark->header_len, 10);
    assert_int_equal(mark->marker_len, 16);
    assert_int_equal(mark->marker, core_hash64("#fields\ta\nr1\nr2\n", 16, 0));
}

static void no_checkpoint_is_a_first_start(void **state) {
    (void)state;
    struct core_fail fail = {0};
    assert_int_equal(try_open(&fail), CORE_OK);
}

static void damage_is_never_believed(void **state) {
    (void)state;
    static char good[8192];
    struct core_fail fail = {0};
    make_some();
    const size_t len = read_checkpoint(good, sizeof(good));
    assert_int_equal(try_open(&fail), CORE_OK);
    for (size_t i = 0; i < len; i++) {
        char bad[8192];
        memcpy(bad, good, len);
        bad[i] = (char)(bad[i] ^ 0x04);
        rig_write(&rig, "state/checkpoint", O_TRUNC, bad, len);
        assert_int_equal(try_open(&fail), CORE_BAD);
    }
    for (size_t i = 0; i < len; i++) {
        rig_write(&rig, "state/checkpoint", O_TRUNC, good, i);
        assert_int_equal(try_open(&fail), CORE_BAD);
    }
    assert_non_null(strstr(fail.where, "/state/checkpoint"));
    assert_non_null(strstr(fail.text, "damaged"));
    assert_non_null(strstr(fail.text, "move the file away"));
    rig_write(&rig, "state/checkpoint", O_TRUNC, good, len);
    rig_write(&rig, "state/checkpoint", O_APPEND, "x\n", 2);
    assert_int_equal(try_open(&fail), CORE_BAD);
}

/* One that tapline 0.1 wrote, without accounts: they begin where it stood. */
static void the_format_before_is_read(void **state) {
    (void)state;
    static char text[4096];
    struct core_fail fail = {0};
    make_some();
    const size_t len = read_checkpoint(text, sizeof(text) - 1);
    text[len] = '\0';
    char old[4096] = "tapline-checkpoint 1\n";
    for (char *line = strchr(text, '\n') + 1; strncmp(line, "end ", 4) != 0; line = strchr(line, '\n') + 1) {
        char *account = strstr(line, " from=");
        char *begin = strstr(line, " done=");
        const char *path = strstr(line, " path=");
        char *nl = strchr(line, '\n');
        if (strncmp(line, "file ", 5) == 0) {
            assert_true(begin != NULL && begin < path && account != NULL && account < nl);
            (void)snprintf(old + strlen(old), sizeof(old) - strlen(old), "%.*s%.*s\n", (int)(begin - line), line,
                           (int)(account - path), path);
        } else {
            (void)snprintf(old + strlen(old), sizeof(old) - strlen(old), "%.*s\n", (int)(nl - line), line);
        }
    }
    assert_null(strstr(old, "begin="));
    assert_null(strstr(old, "records="));
    const uint64_t hash = core_hash64(old, strlen(old), 0);
    size_t lines = 0;
    for (const char *at = strchr(old, '\n') + 1; *at != '\0'; at = strchr(at, '\n') + 1) {
        lines++;
    }
    (void)snprintf(old + strlen(old), sizeof(old) - strlen(old), "end %zu %016llx\n", lines, (unsigned long long)hash);
    rig_write(&rig, "state/checkpoint", O_TRUNC, old, strlen(old));
    assert_int_equal(try_open(&fail), CORE_OK);
    rig_forget(&rig);
    rig_open(&rig);
    rig_append(&rig, "plain.log", "r3\n");
    rig_settle(&rig);
    rig_assert_lines(&rig, "#fields\ta|r3|");
    char path[192];
    rig_path(&rig, "plain.log", path);
    const struct ingest_memory *memory = &ingest_file_by_path(rig.ingest, path)->memory;
    assert_int_equal(memory->begin, 16);
    assert_int_equal(memory->open_from, 19);
    assert_int_equal(memory->tally.records, 1);
}

/* The account is of all records since the beginning, over restarts. */
static void accounts_go_on(void **state) {
    (void)state;
    char path[192];
    make_some();
    rig_open(&rig);
    rig_append(&rig, "plain.log", "r3\n");
    rig_settle(&rig);
    rig_stop(&rig);
    rig_open(&rig);
    rig_path(&rig, "plain.log", path);
    const struct ingest_memory *memory = &ingest_file_by_path(rig.ingest, path)->memory;
    assert_int_equal(memory->begin, 0);
    assert_int_equal(memory->open_from, 19);
    assert_int_equal(memory->tally.records, 3);
}

/* A line that the checksum covers but that says nothing: a bug or a newer version wrote it. */
static void a_line_of_another_kind_is_refused(void **state) {
    (void)state;
    static const char body[] = "tapline-checkpoint 2\nwhat is this\n";
    char text[256];
    struct core_fail fail = {0};
    const int len =
        snprintf(text, sizeof(text), "%send 1 %016llx\n", body, (unsigned long long)core_hash64(body, strlen(body), 0));
    rig_write(&rig, "state/checkpoint", O_TRUNC, text, (size_t)len);
    assert_int_equal(try_open(&fail), CORE_BAD);
    assert_non_null(strstr(fail.text, "line 2"));
}

static void half_a_write_leaves_the_old_one(void **state) {
    (void)state;
    make_some();
    rig_append(&rig, "state/checkpoint.tmp", "half");
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 0);
}

/* The state directory cannot be written: what is new waits, what is known goes on, nothing is lost when it is over. */
static void a_checkpoint_that_cannot_be_written(void **state) {
    (void)state;
    char path[192];
    rig_append(&rig, "known.log", "k1\n");
    rig_open(&rig);
    rig_settle(&rig);
    rig_path(&rig, "state/checkpoint.tmp", path);
    assert_int_equal(mkdir(path, 0700), 0);
    rig_append(&rig, "known.log", "k2\n");
    rig_append(&rig, "new.log", "n1\n");
    rig.conf.checkpoint_interval_ns = 0;
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "k2"), 1);
    assert_int_equal(rig_count(&rig, "n1"), 0);
    assert_int_equal(ingest_outstanding(rig.ingest), 1);
    assert_int_equal(rmdir(path), 0);
    rig_settle(&rig);
    assert_int_equal(rig_count(&rig, "n1"), 1);
    rig_kill(&rig);
    rig_forget(&rig);
    rig_open(&rig);
    rig_settle(&rig);
    assert_int_equal(rig_records(&rig), 0);
}

static void once_gives_up_when_it_cannot_remember(void **state) {
    (void)state;
    char path[192];
    struct core_fail fail = {0};
    rig_path(&rig, "state/checkpoint.tmp", path);
    assert_int_equal(mkdir(path, 0700), 0);
    rig_append(&rig, "a.log", "r1\n");
    rig_open(&rig);
    ingest_set_once(rig.ingest);
    assert_int_equal(ingest_turn(rig.ingest, 0, &fail), CORE_IO);
    assert_string_equal(fail.where, rig.state);
    assert_false(ingest_is_drained(rig.ingest));
    assert_int_equal(rig_records(&rig), 0);
    assert_int_equal(rmdir(path), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_field_comes_back),
        TEST(no_checkpoint_is_a_first_start),
        TEST(damage_is_never_believed),
        TEST(the_format_before_is_read),
        TEST(accounts_go_on),
        TEST(a_line_of_another_kind_is_refused),
        TEST(half_a_write_leaves_the_old_one),
        TEST(a_checkpoint_that_cannot_be_written),
        TEST(once_gives_up_when_it_cannot_remember),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
