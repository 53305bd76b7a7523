/* tests/unit/sinks_stdout_test.c: lines into a pipe: slow readers, readers that go away, dead letters.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/sinks_testing.h"

#include <fcntl.h>
#include <pthread.h>

/* stdout of what runs between begin and end is this pipe. */
static int ends[2];
static int saved_fd;

static void pipe_begin(void) {
    assert_int_equal(pipe(ends), 0);
    fflush(stdout);
    saved_fd = dup(STDOUT_FILENO);
    assert_true(dup2(ends[1], STDOUT_FILENO) >= 0);
    close(ends[1]);
}

static void pipe_end(void) {
    assert_true(dup2(saved_fd, STDOUT_FILENO) >= 0);
    close(saved_fd);
}

static void test_dead_letters_are_documents_too(void **state) {
    (void)state;
    struct rig rig;
    char text[256] = "";
    pipe_begin();
    rig_open(&rig, "stdout: {}\n", 2);
    struct core_batch *batch = rig_numbers(&rig, "x", 0, 3);
    batch->events[1].is_dead = true;
    assert_int_equal(rig.ops->send(rig.sink, batch), CORE_OK);
    assert_ptr_equal(rig_wait(&rig, 1000), batch);
    core_pool_give(&rig.pool, batch);
    rig_close(&rig);
    pipe_end();
    assert_int_equal(read(ends[0], text, sizeof text - 1), 24);
    close(ends[0]);
    assert_string_equal(text, "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n");
}

static void test_dead_letters_into_a_file(void **state) {
    (void)state;
    struct rig rig;
    char text[256] = "";
    char path[] = "/tmp/tapline-dead-XXXXXX";
    close(mkstemp(path));
    snprintf(text, sizeof text, "stdout: {dead_letter: \"%s\"}\n", path);
    pipe_begin();
    rig_open(&rig, text, 2);
    struct core_batch *batch = rig_numbers(&rig, "x", 0, 3);
    batch->events[1].is_dead = true;
    assert_int_equal(rig.ops->send(rig.sink, batch), CORE_OK);
    assert_ptr_equal(rig_wait(&rig, 1000), batch);
    core_pool_give(&rig.pool, batch);
    rig_close(&rig);
    pipe_end();
    memset(text, 0, sizeof text);
    assert_int_equal(read(ends[0], text, sizeof text - 1), 16);
    close(ends[0]);
    assert_string_equal(text, "{\"n\":0}\n{\"n\":2}\n");
    int fd = open(path, O_RDONLY);
    memset(text, 0, sizeof text);
    assert_int_equal(read(fd, text, sizeof text - 1), 8);
    assert_string_equal(text, "{\"n\":1}\n");
    close(fd);
    unlink(path);
}

/* A reader that takes a few odd bytes at a time. */
static void *read_slowly(void *arg) {
    char *text = arg;
    size_t len = 0;
    ssize_t got;
    while ((got = read(ends[0], text + len, 777)) > 0) {
        len += (size_t)got;
    }
    text[len] = '\0';
    return NULL;
}

static void slow_reader(bool is_blocking) {
    struct rig rig;
    pthread_t thread;
    static char text[4 * CORE_MIB];
    static char doc[1500];
    memset(doc, 'd', sizeof doc);
    pipe_begin();
    if (!is_blocking) { /* as some parents leave it: writes come short and then EAGAIN */
        assert_int_equal(fcntl(STDOUT_FILENO, F_SETFL, O_NONBLOCK), 0);
    }
    assert_int_equal(pthread_create(&thread, NULL, read_slowly, text), 0);
    rig_open(&rig, "stdout: {}\n", 1);
    struct core_batch *batch = rig_batch(&rig);
    for (int i = 0; i < 1200; i++) {
        rig_event(&rig, batch, "x", (struct core_span){doc, sizeof doc});
    }
    assert_int_equal(rig.ops->send(rig.sink, batch), CORE_OK);
    assert_ptr_equal(rig_wait(&rig, 30000), batch);
    core_pool_give(&rig.pool, batch);
    rig_close(&rig);
    pipe_end();
    assert_int_equal(pthread_join(thread, NULL), 0);
    close(ends[0]);
    assert_int_equal(strlen(text), 1200 * 1501);
    for (size_t i = 0; i < 1200; i++) {
        assert_memory_equal(text + i * 1501, doc, sizeof doc);
        assert_int_equal(text[i * 1501 + 1500], '\n');
    }
}

static void test_a_slow_reader(void **state) {
    (void)state;
    slow_reader(true);
}

static void test_a_slow_reader_of_a_pipe_that_does_not_block(void **state) {
    (void)state;
    slow_reader(false);
}

static void test_a_reader_that_is_gone(void **state) {
    (void)state;
    struct rig rig;
    struct core_fail fail = {0};
    pipe_begin();
    rig_open(&rig, "stdout: {}\n", 1);
    assert_false(rig.ops->is_gone(rig.sink, &fail));
    close(ends[0]);
    struct core_batch *batch = rig_numbers(&rig, "x", 0, 3);
    assert_int_equal(rig.ops->send(rig.sink, batch), CORE_OK);
    struct core_batch *done = NULL;
    assert_int_equal(rig.ops->poll(rig.sink, &done, 1, 0), 0);
    assert_true(rig.ops->is_gone(rig.sink, &fail));
    assert_non_null(strstr(fail.text, "stdout is gone"));
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 0);
    rig_close(&rig);
    pipe_end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dead_letters_are_documents_too),
        cmocka_unit_test(test_dead_letters_into_a_file),
        cmocka_unit_test(test_a_slow_reader),
        cmocka_unit_test(test_a_slow_reader_of_a_pipe_that_does_not_block),
        cmocka_unit_test(test_a_reader_that_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
