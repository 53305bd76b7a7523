/* tests/unit/sinks_file_test.c: the file sink on a real file system: order, accepted only when synced, rotation, torn
 * lines, a disk that is full (a file size limit and /dev/full stand in for it), files moved away by others.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/folder.h"
#include "tests/unit/sinks_testing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

static char dir[64];

static int make_dir(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tapline-file-XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int remove_dir(void **state) {
    (void)state;
    return folder_remove(dir);
}

/* `file:` with path `name` in the test's folder, and more keys as YAML lines. */
static const char *yaml(const char *name, const char *more) {
    static char text[1024];
    snprintf(text, sizeof text, "file:\n  path: \"%s/%s\"\n%s", dir, name, more);
    return text;
}

static char *path_in(const char *name) {
    static char path[2][256];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

/* Contents; "" if there is none. */
static const char *read_all(const char *name) {
    static char text[CORE_MIB];
    FILE *file = fopen(path_in(name), "r");
    size_t len = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    text[len] = '\0';
    if (file != NULL) {
        fclose(file);
    }
    return text;
}

static void write_all(const char *name, const char *text) {
    FILE *file = fopen(path_in(name), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* Do the files' contents, in the order of their names and the plain one last, count from 0 to len-1? */
static void expect_numbers(const char *text, unsigned first, unsigned len) {
    for (unsigned i = first; i < first + len; i++) {
        char line[64];
        int line_len = snprintf(line, sizeof line, "{\"n\":%u}\n", i);
        if (strncmp(text, line, (size_t)line_len) != 0) {
            fail_msg("expected %.*s, found %.40s", line_len - 1, line, text);
        }
        text += line_len;
    }
    assert_string_equal(text, "");
}

/* Send, flush, and take back. */
static void deliver(struct rig *rig, struct core_batch *batch) {
    assert_int_equal(rig->ops->send(rig->sink, batch), CORE_OK);
    rig->ops->flush(rig->sink);
    assert_ptr_equal(rig_wait(rig, 2000), batch);
    core_pool_give(&rig->pool, batch);
}

static void test_documents_in_order_each_a_line(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, yaml("deep/er/out.ndjson", ""), 4);
    deliver(&rig, rig_numbers(&rig, "zeek.connection", 0, CORE_BATCH_LINES_MAX));
    deliver(&rig, rig_numbers(&rig, "zeek.dns", CORE_BATCH_LINES_MAX, 3));
    struct core_batch *empty = rig_batch(&rig);
    deliver(&rig, empty);
    expect_numbers(read_all("deep/er/out.ndjson"), 0, CORE_BATCH_LINES_MAX + 3);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), CORE_BATCH_LINES_MAX + 3);
    rig_close(&rig);
}

static void test_accepted_only_after_the_sync(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, yaml("out", "  sync_interval: 300ms\n"), 4);
    struct core_batch *batch = rig_numbers(&rig, "x", 0, 2);
    int64_t start = core_tick_ns();
    assert_int_equal(rig.ops->send(rig.sink, batch), CORE_OK);
    assert_string_equal(read_all("out"), "{\"n\":0}\n{\"n\":1}\n"); /* written … */
    struct core_batch *done = NULL;
    if (rig.ops->poll(rig.sink, &done, 1, 0) ==
        0) { /* … but not given back, unless the machine stood still for so long */
        assert_ptr_equal(rig_wait(&rig, 60000), batch);
    }
    assert_true(core_tick_ns() - start >= 300 * CORE_NS_PER_MS);
    core_pool_give(&rig.pool, batch);
    rig_close(&rig);
}

/* All batches there are wait for a sync: it must come at once, or a big pool would be as slow as sync_interval. */
static void test_much_to_sync_does_not_wait(void **state) {
    (void)state;
    struct rig rig;
    static char doc[1024];
    memset(doc, 'x', sizeof doc);
    rig_open(&rig, yaml("out", "  sync_interval: 1h\n"), 1);
    for (int round = 0; round < 3; round++) {
        struct core_batch *batch = rig_batch(&rig);
        for (int i = 0; i < 1100; i++) {
            rig_event(&rig, batch, "x", (struct core_span){doc, sizeof doc});
        }
        assert_int_equal(rig.ops->send(rig.sink, batch), CORE_OK);
        assert_ptr_equal(rig_wait(&rig, 2000), batch);
        core_pool_give(&rig.pool, batch);
    }
    rig_close(&rig);
}

static void test_dead_letters_beside_the_documents(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, yaml("out", ""), 4);
    struct core_batch *batch = rig_numbers(&rig, "x", 0, 3);
    batch->events[1].is_dead = true;
    batch->events[1].dataset = "tapline.deadletter";
    deliver(&rig, batch);
    assert_string_equal(read_all("out"), "{\"n\":0}\n{\"n\":2}\n");
    assert_string_equal(read_all("out.deadletter"), "{\"n\":1}\n");
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 2);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_DEAD), 1);
    rig_close(&rig);
}

static void test_a_file_for_each_dataset(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, yaml("%{event.dataset}.ndjson", ""), 4);
    struct core_batch *batch = rig_numbers(&rig, "zeek.connection", 0, 5);
    batch->events[1].dataset = "../../etc/passwd";
    batch->events[2].dataset = "zeek.dns";
    batch->events[4].is_dead = true;
    deliver(&rig, batch);
    assert_string_equal(read_all("zeek.connection.ndjson"), "{\"n\":0}\n{\"n\":3}\n");
    assert_string_equal(read_all("zeek.dns.ndjson"), "{\"n\":2}\n");
    assert_string_equal(read_all("_.._.._etc_passwd.ndjson") /* stays in its folder */, "");
    assert_string_equal(read_all("_._.._etc_passwd.ndjson"), "{\"n\":1}\n");
    assert_string_equal(read_all("tapline.deadletter.ndjson"), "{\"n\":4}\n");
    rig_close(&rig);
}

/* More datasets than outputs may be open. */
static void test_many_datasets(void **state) {
    (void)state;
    struct rig rig;
    static char names[600][16];
    rig_open(&rig, yaml("%{event.dataset}", ""), 4);
    for (unsigned round = 0; round < 2; round++) {
        struct core_batch *batch = rig_numbers(&rig, "x", round * 600, 600);
        for (unsigned i = 0; i < 600; i++) {
            snprintf(names[i], sizeof names[i], "set%u", i);
            batch->events[i].dataset = names[i];
        }
        deliver(&rig, batch);
    }
    for (unsigned i = 0; i < 600; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "{\"n\":%u}\n{\"n\":%u}\n", i, 600 + i);
        assert_string_equal(read_all(names[i]), expected);
    }
    rig_close(&rig);
}

static void test_a_torn_last_line_is_cut_off(void **state) {
    (void)state;
    struct rig rig;
    write_all("out", "{\"n\":0}\n{\"n\":1}\n{\"n\":2");
    rig_open(&rig, yaml("out", ""), 2);
    deliver(&rig, rig_numbers(&rig, "x", 2, 2));
    expect_numbers(read_all("out"), 0, 4);
    rig_close(&rig);
    write_all("out", "{\"n\":"); /* nothing whole in it */
    rig_open(&rig, yaml("out", ""), 2);
    deliver(&rig, rig_numbers(&rig, "x", 0, 1));
    expect_numbers(read_all("out"), 0, 1);
    rig_close(&rig);
}

static enum core_err try_open(const char *text, struct core_fail *fail) {
    struct rig rig;
    assert_int_equal(rig_conf(&rig, text, 1), CORE_OK);
    enum core_err err = rig.ops->open(&rig.sink, rig.conf, &rig.env, fail);
    if (err != CORE_OK) {
        rig.sink = NULL;
    }
    rig_close(&rig);
    return err;
}

static void test_what_is_refused_at_open(void **state) {
    (void)state;
    struct core_fail fail;
    assert_int_equal(mkdir(path_in("folder"), 0755), 0);
    assert_int_equal(try_open(yaml("folder", ""), &fail), CORE_IO);
    assert_non_null(strstr(fail.text, "Is a directory"));
    write_all("plain", "x\n");
    assert_int_equal(try_open(yaml("plain/out", ""), &fail), CORE_IO);
    FILE *file = fopen(path_in("blob"), "w");
    assert_non_null(file);
    for (size_t i = 0; i < CORE_DOC_BYTES_MAX + CORE_MIB; i++) {
        fputc('x', file);
    }
    fclose(file);
    assert_int_equal(try_open(yaml("blob", ""), &fail), CORE_BAD);
    int other = open(path_in("plain"), O_RDWR);
    assert_int_equal(flock(other, LOCK_EX), 0);
    assert_int_equal(try_open(yaml("plain", ""), &fail), CORE_LOCKED);
    close(other);
    assert_int_equal(try_open(yaml("plain", ""), &fail), CORE_OK);
}

static void test_wrong_variables_are_mistakes(void **state) {
    (void)state;
    struct rig rig;
    assert_int_equal(rig_conf(&rig, yaml("%{event.datasets}", "  dead_letter: \"/x/%{host}\"\n"), 1), CORE_BAD);
    assert_int_equal(rig.mistakes.len, 2);
    assert_non_null(strstr(rig.mistakes.fails[0].where, ":2:"));
    assert_non_null(strstr(rig.mistakes.fails[0].text, "%{event.datasets}"));
    assert_non_null(strstr(rig.mistakes.fails[1].where, ":3:"));
    rig_close(&rig);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_rotated(const struct dirent *entry) {
    return strncmp(entry->d_name, "out.2", 5) == 0;
}

/* Names of rotated files of `out`, sorted; the plain stamp sorts before its .1. Returns how many; freed by the caller. */
static int rotated(struct dirent ***names) {
    int len = scandir(dir, names, is_rotated, by_name);
    assert_true(len >= 0);
    return len;
}

static void free_names(struct dirent **names, int len) {
    for (int i = 0; i < len; i++) {
        free(names[i]);
    }
    free(names);
}

static void test_rotation_by_size_loses_nothing(void **state) {
    (void)state;
    struct rig rig;
    struct dirent **names = NULL;
    rig_open(&rig, yaml("out", "  rotate_size: 100B\n"), 4);
    deliver(&rig, rig_numbers(&rig, "x", 0, 50));
    int len = rotated(&names); /* all within a second or two: .1, .2 … beside the stamp */
    assert_int_equal(len, 4);
    unsigned lines = 0;
    for (int i = 0; i < len; i++) {
        const char *text = read_all(names[i]->d_name);
        assert_true(strlen(text) <= 100 && strlen(text) > 80);
        for (const char *c = text; *c != '\0'; c++) {
            lines += *c == '\n' ? 1 : 0;
        }
    }
    for (const char *c = read_all("out"); *c != '\0'; c++) {
        lines += *c == '\n' ? 1 : 0;
    }
    assert_int_equal(lines, 50);
    free_names(names, len);
    rig_close(&rig);
}

static void test_rotation_keeps_the_newest(void **state) {
    (void)state;
    struct rig rig;
    struct dirent **names = NULL;
    write_all("out.20200101-000000", "oldest\n");
    write_all("out.20200101-000000.2", "older\n");
    write_all("out.2020-notes.txt", "not ours\n");
    write_all("out.20200101-000000.gz", "not ours\n");
    rig_open(&rig, yaml("out", "  rotate_size: 100B\n  rotate_keep: 2\n"), 4);
    deliver(&rig, rig_numbers(&rig, "x", 0, 50));
    int len = rotated(&names);
    assert_int_equal(len, 4);
    free_names(names, len);
    assert_int_equal(access(path_in("out.20200101-000000"), F_OK), -1);
    assert_int_equal(access(path_in("out.20200101-000000.2"), F_OK), -1);
    assert_int_equal(access(path_in("out.2020-notes.txt"), F_OK), 0);
    assert_int_equal(access(path_in("out.20200101-000000.gz"), F_OK), 0);
    rig_close(&rig);
}

static void test_rotation_within_a_second_keeps_the_newest(void **state) {
    (void)state;
    struct rig rig;
    struct dirent **names = NULL;
    rig_open(&rig, yaml("out", "  rotate_size: 100B\n  rotate_keep: 2\n"), 4);
    deliver(&rig,
            rig_numbers(&rig, "x", 0, 200)); /* more files than stay: a number that is free again is not the next */
    int len = rotated(&names);
    assert_int_equal(len, 2);
    free_names(names, len);
    const unsigned first = (unsigned)strtoul(strchr(read_all("out"), ':') + 1, NULL, 10);
    rig_close(&rig);
    len = rotated(&names);
    unsigned newest = 0;
    for (int i = 0; i < len; i++) {
        for (const char *at = strchr(read_all(names[i]->d_name), ':'); at != NULL; at = strchr(at + 1, ':')) {
            const unsigned number = (unsigned)strtoul(at + 1, NULL, 10);
            newest = number > newest ? number : newest;
        }
    }
    assert_int_equal(newest + 1, first);
    free_names(names, len);
}

static void test_rotation_after_the_clock_went_back(void **state) {
    (void)state;
    struct rig rig;
    struct dirent **names = NULL;
    write_all("out.29991231-235959", "{\"n\":0}\n"); /* rotated when the clock was wrong */
    rig_open(&rig, yaml("out", "  rotate_size: 20B\n  rotate_keep: 2\n"), 4);
    deliver(&rig, rig_numbers(&rig, "x", 1, 4)); /* two lines a file */
    int len = rotated(&names);
    assert_int_equal(len, 2);
    assert_string_equal(names[1]->d_name, "out.29991231-235959.1"); /* not removed as the oldest */
    expect_numbers(read_all(names[1]->d_name), 1, 2);
    free_names(names, len);
    rig_close(&rig);
}

static void test_rotation_by_time(void **state) {
    (void)state;
    struct rig rig;
    struct dirent **names = NULL;
    write_all("out", "{\"n\":0}\n");
    struct timespec yesterday[2] = {{.tv_sec = time(NULL) - 86400}, {.tv_sec = time(NULL) - 86400}};
    assert_int_equal(utimensat(AT_FDCWD, path_in("out"), yesterday, 0), 0);
    rig_open(&rig, yaml("out", "  rotate_interval: 1h\n"), 4);
    deliver(&rig, rig_numbers(&rig, "x", 1, 3));
    int len = rotated(&names);
    assert_int_equal(len, 1);
    assert_string_equal(read_all(names[0]->d_name), "{\"n\":0}\n");
    expect_numbers(read_all("out"), 1, 3);
    free_names(names, len);
    rig_close(&rig);
}

static void test_a_file_moved_away_is_made_again(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, yaml("out", "  sync_interval: 0\n"), 4);
    deliver(&rig, rig_numbers(&rig, "x", 0, 1));
    assert_int_equal(rename(path_in("out"), path_in("moved")), 0);
    usleep(1100 * 1000); /* it looks once a second */
    deliver(&rig, rig_numbers(&rig, "x", 1, 1));
    deliver(&rig, rig_numbers(&rig, "x", 2, 1));
    expect_numbers(read_all("moved"), 0, 2);
    expect_numbers(read_all("out"), 2, 1);
    rig_close(&rig);
}

/* A limit of this process stands in for a full disk: writes come short, then fail, until it is lifted. */
static void test_a_full_disk_is_waited_for(void **state) {
    (void)state;
    struct rig rig;
    struct rlimit before;
    struct rlimit tight;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    rig_open(&rig, yaml("out", ""), 4);
    deliver(&rig, rig_numbers(&rig, "x", 0, 10)); /* 80 bytes */
    tight = (struct rlimit){.rlim_cur = 100, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    struct core_batch *batch = rig_numbers(&rig, "x", 10, 200);
    assert_int_equal(rig.ops->send(rig.sink, batch), CORE_OK);
    rig.ops->flush(rig.sink);
    assert_null(rig_wait(&rig, 400));
    const char *text = read_all("out");
    assert_int_equal(strlen(text), 98); /* 80 + 2 lines of 9: no half line stays */
    expect_numbers(text, 0, 12);
    assert_true(rig_counted(&rig, CORE_COUNT_SINK_RETRIES) >= 2);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    rig.ops->flush(rig.sink);
    assert_ptr_equal(rig_wait(&rig, 5000), batch);
    expect_numbers(read_all("out"), 0, 210);
    core_pool_give(&rig.pool, batch);
    rig_close(&rig);
}

static void test_a_device_that_is_always_full(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, "file:\n  path: /dev/full\n", 2);
    struct core_batch *batch = rig_numbers(&rig, "x", 0, 1);
    assert_int_equal(rig.ops->send(rig.sink, batch), CORE_OK);
    rig.ops->flush(rig.sink);
    assert_null(rig_wait(&rig, 300));
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 0);
    assert_true(rig_counted(&rig, CORE_COUNT_SINK_RETRIES) >= 1);
    rig_close(&rig);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_documents_in_order_each_a_line),
        TEST(test_accepted_only_after_the_sync),
        TEST(test_much_to_sync_does_not_wait),
        TEST(test_dead_letters_beside_the_documents),
        TEST(test_a_file_for_each_dataset),
        TEST(test_many_datasets),
        TEST(test_a_torn_last_line_is_cut_off),
        TEST(test_what_is_refused_at_open),
        TEST(test_wrong_variables_are_mistakes),
        TEST(test_rotation_by_size_loses_nothing),
        TEST(test_rotation_keeps_the_newest),
        TEST(test_rotation_within_a_second_keeps_the_newest),
        TEST(test_rotation_after_the_clock_went_back),
        TEST(test_rotation_by_time),
        TEST(test_a_file_moved_away_is_made_again),
        TEST(test_a_full_disk_is_waited_for),
        TEST(test_a_device_that_is_always_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
