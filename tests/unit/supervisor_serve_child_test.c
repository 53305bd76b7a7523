/* Programs that Main runs itself: real ones, that print, read, fail, hang and leave children behind.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_internal.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_NS (60 * CORE_NS_PER_S)

struct world {
    struct serve serve;
    int ends;
    int status;
    bool is_timed_out;
    size_t text_len;
    char text[SERVE_CHILD_BYTES_MAX + 1];
};

static int setup(void **state) {
    struct world *world = calloc(1, sizeof(*world));
    struct core_fail fail = {0};
    assert_non_null(world);
    assert_int_equal(core_loop_new(&world->serve.loop, &fail), CORE_OK);
    *state = world;
    return 0;
}

static int teardown(void **state) {
    struct world *world = *state;
    core_loop_free(world->serve.loop);
    free(world);
    return 0;
}

static void on_end(void *ctx, const struct serve_child_end *end) {
    struct world *world = ctx;
    world->ends++;
    world->status = end->status;
    world->is_timed_out = end->is_timed_out;
    world->text_len = end->text.len;
    memcpy(world->text, end->text.ptr, end->text.len);
    world->text[end->text.len] = '\0';
}

static struct serve_child *start(struct world *world, const struct serve_child_run *how, const char *script) {
    const char *argv[] = {"sh", "-c", script, NULL};
    struct serve_child_run run = *how;
    run.argv = run.argv == NULL ? argv : run.argv;
    run.timeout_ns = run.timeout_ns == 0 ? PATIENCE_NS : run.timeout_ns;
    run.on_end = on_end;
    run.ctx = world;
    struct serve_child *child = serve_child_start(&world->serve, &run);
    assert_non_null(child);
    assert_int_equal(world->ends, 0); /* never from within */
    return child;
}

static void wait_for_end(struct world *world) {
    int64_t deadline = core_tick_ns() + PATIENCE_NS;
    struct core_fail fail = {0};
    while (world->ends == 0) {
        assert_true(core_tick_ns() < deadline);
        assert_int_equal(core_loop_once(world->serve.loop, CORE_NS_PER_S, &fail), CORE_OK);
    }
    assert_int_equal(world->ends, 1);
}

static void test_output_and_status(void **state) {
    struct world *world = *state;
    start(world, &(struct serve_child_run){0}, "echo out; echo err >&2; exit 3");
    wait_for_end(world);
    assert_true(WIFEXITED(world->status));
    assert_int_equal(WEXITSTATUS(world->status), 3);
    assert_string_equal(world->text, "out\nerr\n");
    assert_false(world->is_timed_out);
}

static void test_signal(void **state) {
    struct world *world = *state;
    start(world, &(struct serve_child_run){0}, "kill -SEGV $$");
    wait_for_end(world);
    assert_true(WIFSIGNALED(world->status));
    assert_int_equal(WTERMSIG(world->status), SIGSEGV);
}

static void test_input_directory_and_environment(void **state) {
    struct world *world = *state;
    const char *env[] = {"GREETING=good day", "HOME=/nowhere", NULL};
    start(world, &(struct serve_child_run){.cwd = "/usr", .env = env, .input = CORE_SPAN("from: us\n\nhello\n")},
          "pwd; echo $GREETING $HOME; cat; test -n \"$PATH\" && echo path");
    wait_for_end(world);
    assert_string_equal(world->text, "/usr\ngood day /nowhere\nfrom: us\n\nhello\npath\n");
}

static void test_without_input_it_reads_nothing(void **state) {
    struct world *world = *state;
    start(world, &(struct serve_child_run){0}, "cat; echo end");
    wait_for_end(world);
    assert_string_equal(world->text, "end\n");
}

static void test_what_is_not_there(void **state) {
    struct world *world = *state;
    const char *argv[] = {"/nowhere/zeek", NULL};
    start(world, &(struct serve_child_run){.argv = argv}, NULL);
    wait_for_end(world);
    assert_int_equal(world->status, -1);
    assert_non_null(strstr(world->text, "/nowhere/zeek"));
    assert_non_null(strstr(world->text, "No such file"));
}

static void test_too_long(void **state) {
    struct world *world = *state;
    int64_t began = core_tick_ns();
    start(world, &(struct serve_child_run){.timeout_ns = 200 * CORE_NS_PER_MS},
          "trap '' TERM; echo here; sleep 1000 & wait");
    wait_for_end(world);
    assert_true(world->is_timed_out);
    assert_true(WIFSIGNALED(world->status));
    assert_string_equal(world->text, "here\n");
    assert_true(core_tick_ns() - began < PATIENCE_NS);
}

static void test_too_much_output(void **state) {
    struct world *world = *state;
    start(world, &(struct serve_child_run){0}, "head -c 2000000 /dev/zero | tr '\\0' x; exit 5");
    wait_for_end(world);
    assert_int_equal(WEXITSTATUS(world->status), 5); /* and not stuck in a full pipe */
    assert_int_equal(world->text_len, SERVE_CHILD_BYTES_MAX);
}

/* Somebody who holds its output open is not waited for, and goes with it. */
static void test_what_it_leaves_behind(void **state) {
    struct world *world = *state;
    start(world, &(struct serve_child_run){0}, "sleep 1000 & echo $!");
    wait_for_end(world);
    pid_t left = (pid_t)strtol(world->text, NULL, 10);
    assert_true(left > 0);
    for (int i = 0; i < 3000 && kill(left, 0) == 0; i++) {
        char path[64];
        char stat[256] = "";
        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)left);
        FILE *file = fopen(path, "r");
        if (file == NULL || fgets(stat, sizeof(stat), file) == NULL || strstr(stat, ") Z") != NULL) {
            if (file != NULL) {
                (void)fclose(file);
            }
            return; /* dead; whoever inherits it reaps it */
        }
        (void)fclose(file);
        (void)usleep(10000);
    }
    assert_int_equal(kill(left, 0), -1);
}

static void test_signals_are_its_own(void **state) {
    struct world *world = *state;
    sigset_t blocked;
    sigset_t before;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &blocked, &before), 0);
    start(world, &(struct serve_child_run){0}, "kill -TERM $$; echo survived");
    wait_for_end(world);
    assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
    assert_true(WIFSIGNALED(world->status));
    assert_int_equal(WTERMSIG(world->status), SIGTERM);
    assert_string_equal(world->text, "");
}

static unsigned adds; /* descriptors that may still be watched, and then there is no memory for another; 0: no limit */

int __real_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event) {
    if (op == EPOLL_CTL_ADD && adds > 0 && --adds == 0) {
        errno = ENOMEM;
        return -1;
    }
    return __real_epoll_ctl(epoll_fd, op, fd, event);
}

/* In a process group of its own, for a word to group 0 would reach all of ours. The exit status; 0: as it should be. */
static int start_unwatched(unsigned which) {
    struct world *world = calloc(1, sizeof(*world));
    struct core_fail fail = {0};
    if (setpgid(0, 0) != 0 || world == NULL || core_loop_new(&world->serve.loop, &fail) != CORE_OK) {
        return 1;
    }
    const char *argv[] = {"sleep", "1000", NULL};
    const struct serve_child_run run = {.argv = argv, .timeout_ns = PATIENCE_NS, .on_end = on_end, .ctx = world};
    adds = which;
    (void)serve_child_start(&world->serve, &run);
    adds = 0;
    for (int round = 0; round < 3; round++) {
        if (core_loop_once(world->serve.loop, 50 * CORE_NS_PER_MS, &fail) != CORE_OK) {
            return 2;
        }
    }
    bool is_told = world->ends == 1 && world->status == -1 && strstr(world->text, "Cannot allocate memory") != NULL;
    core_loop_free(world->serve.loop); /* nothing is watched any more */
    free(world);
    return is_told ? 0 : 3;
}

/* Its end is watched and its output cannot be, or neither: nobody else is killed for it, and it is told once, with the reason. */
static void test_what_cannot_be_watched(void **state) {
    (void)state;
    for (unsigned which = 1; which <= 2; which++) {
        int status = 0;
        pid_t starter = fork();
        if (starter == 0) {
            _exit(start_unwatched(which));
        }
        assert_int_equal(waitpid(starter, &status, 0), starter);
        assert_int_equal(status, 0);
    }
}

static void test_stopped_says_nothing(void **state) {
    struct world *world = *state;
    struct core_fail fail = {0};
    struct serve_child *child = start(world, &(struct serve_child_run){0}, "echo here; sleep 1000");
    assert_int_equal(core_loop_once(world->serve.loop, CORE_NS_PER_S, &fail), CORE_OK);
    serve_child_stop(child);
    serve_child_stop(NULL);
    assert_int_equal(core_loop_once(world->serve.loop, 50 * CORE_NS_PER_MS, &fail), CORE_OK);
    assert_int_equal(world->ends, 0);
}

static void test_files_are_whole(void **state) {
    char dir[] = "/tmp/tapline-serve-XXXXXX";
    char path[64];
    struct core_span text = {0};
    struct core_fail fail = {0};
    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/file", dir);
    assert_int_equal(serve_file_read(path, 100, &text, &fail), CORE_GONE);
    assert_int_equal(serve_file_write(path, CORE_SPAN("one"), &fail), CORE_OK);
    assert_int_equal(serve_file_write(path, CORE_SPAN("another"), &fail), CORE_OK);
    assert_int_equal(serve_file_read(path, 100, &text, &fail), CORE_OK);
    assert_string_equal(text.ptr, "another");
    free((void *)(uintptr_t)text.ptr);
    assert_int_equal(serve_file_read(path, 6, &text, &fail), CORE_LIMIT);
    assert_int_equal(serve_file_read(dir, 100, &text, &fail), CORE_IO);
    assert_int_equal(serve_file_write("/nowhere/file", CORE_SPAN("one"), &fail), CORE_IO);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0); /* nothing is left beside it */
}

static void test_the_last_lines_of_a_text(void **state) {
    (void)state;
    assert_int_equal(serve_lines_begin(CORE_SPAN(""), 1), 0);
    assert_int_equal(serve_lines_begin(CORE_SPAN("a\nb\nc\n"), 1), 4);
    assert_int_equal(serve_lines_begin(CORE_SPAN("a\nb\nc"), 1), 4); /* unfinished: a line, too */
    assert_int_equal(serve_lines_begin(CORE_SPAN("a\nb\nc\n"), 2), 2);
    assert_int_equal(serve_lines_begin(CORE_SPAN("a\nb\nc\n"), 3), 0);
    assert_int_equal(serve_lines_begin(CORE_SPAN("a\nb\nc\n"), 9), 0);
    assert_int_equal(serve_lines_begin(CORE_SPAN("\n\n\n"), 2), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_output_and_status, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_input_directory_and_environment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_input_it_reads_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_long, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_much_output, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_it_leaves_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signals_are_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_watched, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stopped_says_nothing, setup, teardown),
        cmocka_unit_test(test_files_are_whole),
        cmocka_unit_test(test_the_last_lines_of_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
