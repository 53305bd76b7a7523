/* Tests of core/loop.c: who is called, in which order, and that anything may be taken away while it is under way.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMERS 500

struct rig {
    struct core_loop *loop;
    int ends[2][2]; /* two socket pairs: [i][0] is watched, [i][1] writes */
    struct core_watch *watches[2];
    int calls[2];
    uint32_t events;
    bool both_go; /* the first who is called takes both away */
};

static void on_fd(struct rig *rig, int which, uint32_t events) {
    char byte = 0;
    rig->calls[which]++;
    rig->events = events;
    if (rig->both_go) {
        core_loop_unwatch(rig->watches[0]);
        core_loop_unwatch(rig->watches[1]);
        rig->watches[0] = rig->watches[1] = NULL;
        return;
    }
    if ((events & EPOLLIN) != 0) {
        (void)!read(rig->ends[which][0], &byte, 1);
    }
}

static void on_first(void *ctx, uint32_t events) {
    on_fd(ctx, 0, events);
}

static void on_second(void *ctx, uint32_t events) {
    on_fd(ctx, 1, events);
}

static void once(struct core_loop *loop, int64_t timeout_ns) {
    struct core_fail fail = {0};
    assert_int_equal(core_loop_once(loop, timeout_ns, &fail), CORE_OK);
}

static int set_up(void **state) {
    static core_loop_on_fd *const on[2] = {on_first, on_second};
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    assert_int_equal(core_loop_new(&rig->loop, NULL), CORE_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, rig->ends[i]), 0);
        assert_int_equal(core_loop_watch(rig->loop, rig->ends[i][0], EPOLLIN, on[i], rig, &rig->watches[i], NULL),
                         CORE_OK);
    }
    *state = rig;
    return 0;
}

static int tear_down(void **state) {
    struct rig *rig = *state;
    for (int i = 0; i < 2; i++) {
        core_loop_unwatch(rig->watches[i]);
        close(rig->ends[i][0]);
        close(rig->ends[i][1]);
    }
    core_loop_free(rig->loop);
    free(rig);
    return 0;
}

static void test_a_descriptor_is_called_back_while_it_has_something(void **state) {
    struct rig *rig = *state;
    once(rig->loop, 0);
    assert_int_equal(rig->calls[0], 0);
    assert_int_equal(write(rig->ends[0][1], "ab", 2), 2);
    once(rig->loop, -1);
    once(rig->loop, -1);
    once(rig->loop, 0);
    assert_int_equal(rig->calls[0], 2); /* a byte each */
    assert_int_equal(rig->calls[1], 0);
    core_loop_rewatch(rig->watches[0], 0);
    assert_int_equal(write(rig->ends[0][1], "c", 1), 1);
    once(rig->loop, 0);
    assert_int_equal(rig->calls[0], 2);
    core_loop_rewatch(rig->watches[0], EPOLLIN | EPOLLOUT);
    once(rig->loop, -1);
    assert_int_equal(rig->calls[0], 3);
    assert_int_equal(rig->events, EPOLLIN | EPOLLOUT);
    core_loop_rewatch(rig->watches[1], 0);
    close(rig->ends[1][1]);
    rig->ends[1][1] = -1;
    core_loop_rewatch(rig->watches[0], 0);
    once(rig->loop, -1);
    assert_int_equal(rig->calls[1], 1); /* a hang-up is always told */
    assert_true((rig->events & EPOLLHUP) != 0);
}

static void test_what_is_taken_away_within_a_round_is_not_called(void **state) {
    struct rig *rig = *state;
    rig->both_go = true;
    assert_int_equal(write(rig->ends[0][1], "a", 1), 1);
    assert_int_equal(write(rig->ends[1][1], "a", 1), 1);
    once(rig->loop, -1);
    once(rig->loop, 0);
    assert_int_equal(rig->calls[0] + rig->calls[1], 1);
}

static void test_a_regular_file_cannot_be_watched(void **state) {
    struct rig *rig = *state;
    struct core_watch *watch = NULL;
    struct core_fail fail = {0};
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_int_equal(core_loop_watch(rig->loop, fd, EPOLLIN, on_first, rig, &watch, &fail), CORE_IO);
    assert_true(fail.text[0] != '\0');
    close(fd);
}

/* ---- times --------------------------------------------------------------------------------------------------------- */

struct alarm {
    struct core_timer timer;
    struct clock *clock;
    int64_t wanted_ns;
    bool is_kept; /* was not cleared */
};

struct clock {
    struct core_loop *loop;
    struct alarm alarms[TIMERS];
    int64_t last_ns; /* the latest one called was to come at */
    int called;
    int wrong;
    int repeats;
};

static void on_alarm(void *ctx) {
    struct alarm *alarm = ctx;
    struct clock *clock = alarm->clock;
    clock->wrong += !alarm->is_kept || alarm->wanted_ns < clock->last_ns || core_tick_ns() < alarm->wanted_ns;
    clock->last_ns = alarm->wanted_ns;
    clock->called++;
}

static void test_times_come_in_their_order_and_never_early(void **state) {
    struct rig *rig = *state;
    struct clock *clock = calloc(1, sizeof(*clock));
    const int64_t now_ns = core_tick_ns();
    int kept = 0;
    uint32_t random = 7;
    assert_non_null(clock);
    for (int i = 0; i < TIMERS; i++) {
        struct alarm *alarm = &clock->alarms[i];
        *alarm = (struct alarm){.timer = {.on_time = on_alarm, .ctx = alarm}, .clock = clock, .is_kept = i % 5 != 0};
        core_timer_set(rig->loop, &alarm->timer, now_ns + i);
    }
    for (int i = 0; i < TIMERS; i++) { /* moved, and some taken out of the heap's middle */
        struct alarm *alarm = &clock->alarms[i];
        random = random * 1664525 + 1013904223;
        alarm->wanted_ns = now_ns + 20 * CORE_NS_PER_MS + (int64_t)(random >> 8) % (80 * CORE_NS_PER_MS);
        core_timer_set(rig->loop, &alarm->timer, alarm->wanted_ns);
        assert_true(core_timer_is_set(&alarm->timer));
        kept += alarm->is_kept;
        if (!alarm->is_kept) {
            core_timer_clear(&alarm->timer);
            core_timer_clear(&alarm->timer);
        }
    }
    while (clock->called < kept) {
        once(rig->loop, -1);
    }
    assert_int_equal(clock->wrong, 0);
    once(rig->loop, 0);
    assert_int_equal(clock->called, kept);
    free(clock);
}

static void on_again(void *ctx) {
    struct alarm *alarm = ctx;
    alarm->clock->repeats++;
    core_timer_set(alarm->clock->loop, &alarm->timer, 0);
}

static void test_a_timer_that_sets_itself_holds_nobody_up(void **state) {
    struct rig *rig = *state;
    struct clock *clock = calloc(1, sizeof(*clock));
    assert_non_null(clock);
    clock->loop = rig->loop;
    struct alarm *alarm = &clock->alarms[0];
    *alarm = (struct alarm){.timer = {.on_time = on_again, .ctx = alarm}, .clock = clock};
    core_timer_set(rig->loop, &alarm->timer, 0);
    assert_int_equal(write(rig->ends[0][1], "a", 1), 1);
    once(rig->loop, -1);
    assert_int_equal(clock->repeats, 1);
    assert_int_equal(rig->calls[0], 1);
    once(rig->loop, -1);
    assert_int_equal(clock->repeats, 2);
    core_timer_clear(&alarm->timer);
    free(clock);
}

/* The other timer, which is due in the same round, goes. */
static void on_take_other(void *ctx) {
    struct alarm *alarm = ctx;
    alarm->clock->called++;
    core_timer_clear(&alarm->clock->alarms[0].timer);
    core_timer_clear(&alarm->clock->alarms[1].timer);
}

static void test_a_timer_may_clear_another_that_is_due(void **state) {
    struct rig *rig = *state;
    struct clock *clock = calloc(1, sizeof(*clock));
    assert_non_null(clock);
    for (int i = 0; i < 2; i++) {
        struct alarm *alarm = &clock->alarms[i];
        *alarm = (struct alarm){.timer = {.on_time = on_take_other, .ctx = alarm}, .clock = clock};
        core_timer_set(rig->loop, &alarm->timer, 0);
    }
    once(rig->loop, -1);
    once(rig->loop, 0);
    assert_int_equal(clock->called, 1);
    free(clock);
}

/* ---- signals, stopping --------------------------------------------------------------------------------------------- */

struct heard {
    struct core_loop *loop;
    int numbers[2];
    int len;
};

static void on_signal(void *ctx, int number) {
    struct heard *heard = ctx;
    heard->numbers[heard->len++ % 2] = number;
    if (number == SIGUSR2) {
        core_loop_stop(heard->loop);
    }
}

/* 0: it dies of the signal as by default. */
static int child_after_reset(void) {
    pid_t pid = fork();
    if (pid == 0) {
        core_loop_signals_reset();
        raise(SIGUSR1);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1 ? 0 : 1;
}

static void test_signals_are_called_back_and_a_child_has_its_own_again(void **state) {
    struct rig *rig = *state;
    const int numbers[] = {SIGUSR1, SIGUSR2};
    struct heard heard = {.loop = rig->loop};
    sigset_t before;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
    assert_int_equal(core_loop_signals(rig->loop, numbers, 2, on_signal, &heard, NULL), CORE_OK);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(heard.len, 0);
    assert_int_equal(raise(SIGUSR2), 0);
    assert_int_equal(core_loop_run(rig->loop, NULL), CORE_OK);
    assert_int_equal(heard.len, 2);
    assert_int_equal(heard.numbers[0] + heard.numbers[1], SIGUSR1 + SIGUSR2);
    assert_int_equal(child_after_reset(), 0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
}

static void test_stop_before_run_counts(void **state) {
    struct rig *rig = *state;
    core_loop_stop(rig->loop);
    assert_int_equal(core_loop_run(rig->loop, NULL), CORE_OK); /* else it would never come back */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_descriptor_is_called_back_while_it_has_something, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_taken_away_within_a_round_is_not_called, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_regular_file_cannot_be_watched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_times_come_in_their_order_and_never_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_timer_that_sets_itself_holds_nobody_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_timer_may_clear_another_that_is_due, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_signals_are_called_back_and_a_child_has_its_own_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_before_run_counts, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
