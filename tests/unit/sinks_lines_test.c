/* tests/unit/sinks_lines_test.c: a disk that fails a sync: what was not committed is taken back and written again, in
 * every output, once. fdatasync() is wrapped by the linker, since no real disk can be asked to fail.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/sinks_testing.h"

#include <errno.h>

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

static int calls;       /* so far */
static int fail_from;   /* the first call that fails; 0: none */
static int fail_number; /* how many fail */

int __wrap_fdatasync(int fd) {
    calls++;
    if (fail_from != 0 && calls >= fail_from && calls < fail_from + fail_number) {
        errno = EIO;
        return -1;
    }
    return __real_fdatasync(fd);
}

static char dir[64];

static const char *read_all(const char *name) {
    static char text[CORE_MIB];
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "r");
    size_t len = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    text[len] = '\0';
    if (file != NULL) {
        fclose(file);
    }
    unlink(path);
    return text;
}

/* Two outputs, three batches, with failures at every possible sync: each line exactly once, in order, whenever it was. */
static void run(int from, int number, const char *more) {
    struct rig rig;
    char text[512];
    struct core_batch *sent[3];
    snprintf(dir, sizeof dir, "/tmp/tapline-lines-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(text, sizeof text, "file:\n  path: \"%s/%%{event.dataset}\"\n%s", dir, more);
    rig_open(&rig, text, 3);
    calls = 0;
    fail_from = from;
    fail_number = number;
    for (unsigned i = 0; i < 3; i++) {
        sent[i] = rig_numbers(&rig, "a", 4 * i, 4);
        sent[i]->events[1].dataset = "b";
        sent[i]->events[2].dataset = "b";
        assert_int_equal(rig.ops->send(rig.sink, sent[i]), CORE_OK);
        rig.ops->flush(rig.sink);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_ptr_equal(rig_wait(&rig, 5000), sent[i]);
        core_pool_give(&rig.pool, sent[i]);
    }
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 12);
    assert_true(number == 0 || rig_counted(&rig, CORE_COUNT_SINK_RETRIES) > 0);
    fail_from = 0;
    assert_string_equal(read_all("a"), "{\"n\":0}\n{\"n\":3}\n{\"n\":4}\n{\"n\":7}\n{\"n\":8}\n{\"n\":11}\n");
    assert_string_equal(read_all("b"), "{\"n\":1}\n{\"n\":2}\n{\"n\":5}\n{\"n\":6}\n{\"n\":9}\n{\"n\":10}\n");
    rig_close(&rig);
    assert_int_equal(rmdir(dir), 0);
}

static void test_no_failure(void **state) {
    (void)state;
    run(0, 0, "  sync_interval: 0\n");
}

static void test_a_failure_at_each_sync(void **state) {
    (void)state;
    for (int from = 1; from <= 6; from++) {
        run(from, 1, "  sync_interval: 0\n");
    }
}

static void test_failures_in_a_row(void **state) {
    (void)state;
    run(2, 3, "  sync_interval: 0\n");
}

static void test_all_in_one_commit(void **state) {
    (void)state;
    run(1, 2, "  sync_interval: 50ms\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_failure),
        cmocka_unit_test(test_a_failure_at_each_sync),
        cmocka_unit_test(test_failures_in_a_row),
        cmocka_unit_test(test_all_in_one_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
