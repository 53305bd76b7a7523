/* Work in threads: done is called by the loop, at the end too; and what happens when the system has no thread or descriptor left.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_diag_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define PATIENCE_NS (60 * CORE_NS_PER_S)

static const char *lacking = ""; /* the call that fails */

int __real_eventfd(unsigned int count, int flags);
int __wrap_eventfd(unsigned int count, int flags);
int __wrap_eventfd(unsigned int count, int flags) {
    errno = EMFILE;
    return strcmp(lacking, "eventfd") == 0 ? -1 : __real_eventfd(count, flags);
}

int __real_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event) {
    errno = ENOSPC;
    return op == EPOLL_CTL_ADD && strcmp(lacking, "epoll_ctl") == 0 ? -1 : __real_epoll_ctl(epoll_fd, op, fd, event);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg) {
    return strcmp(lacking, "pthread_create") == 0 ? EAGAIN : __real_pthread_create(thread, attr, run, arg);
}

struct world {
    struct serve serve;
    struct serve_diag diag;
    atomic_int runs;
    int dones;
    int stops;
};

static int setup(void **state) {
    struct world *world = calloc(1, sizeof(*world));
    struct core_fail fail = {0};
    assert_non_null(world);
    assert_int_equal(core_loop_new(&world->serve.loop, &fail), CORE_OK);
    world->serve.crash = &world->diag;
    *state = world;
    return 0;
}

static int teardown(void **state) {
    struct world *world = *state;
    lacking = "";
    core_loop_free(world->serve.loop);
    free(world);
    return 0;
}

static void run(void *ctx, const atomic_bool *stop) {
    struct world *world = ctx;
    (void)stop;
    atomic_fetch_add(&world->runs, 1);
}

static void done(void *ctx, bool is_stopped) {
    struct world *world = ctx;
    world->dones++;
    world->stops += is_stopped ? 1 : 0;
}

static bool start(struct world *world) {
    return serve_work_start(&world->serve, &(struct serve_job){.run = run, .done = done, .ctx = world});
}

static size_t descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    size_t len = 0;
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        len++;
    }
    assert_int_equal(closedir(dir), 0);
    return len;
}

static void done_is_called_by_the_loop(void **state) {
    struct world *world = *state;
    struct core_fail fail = {0};
    int64_t until = core_tick_ns() + PATIENCE_NS;
    assert_true(start(world));
    assert_int_equal(world->dones, 0);
    while (world->dones == 0) {
        assert_true(core_tick_ns() < until);
        assert_int_equal(core_loop_once(world->serve.loop, CORE_NS_PER_S, &fail), CORE_OK);
    }
    assert_int_equal(world->runs, 1);
    assert_int_equal(world->dones, 1);
    assert_int_equal(world->stops, 0);
    assert_null(world->diag.works);
}

static void at_the_end_all_is_waited_for(void **state) {
    struct world *world = *state;
    assert_true(start(world));
    assert_true(start(world));
    serve_work_end_all(&world->serve);
    assert_int_equal(world->runs, 2);
    assert_int_equal(world->stops, 2);
    assert_null(world->diag.works);
}

static void what_is_not_left_is_told(void **state) {
    struct world *world = *state;
    static const char *const calls[] = {"eventfd", "epoll_ctl", "pthread_create"};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        size_t before = descriptors();
        lacking = calls[i];
        assert_false(start(world));
        lacking = "";
        assert_null(world->diag.works);
        assert_int_equal(descriptors(), before);
    }
    assert_int_equal(world->runs, 0);
    assert_int_equal(world->dones, 0);
    done_is_called_by_the_loop(state); /* when there is one again */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(done_is_called_by_the_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(at_the_end_all_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_left_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
