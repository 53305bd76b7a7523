/* core/steady_wait.c: what stands before libc's cnd_timedwait(). That a jump of the clock does not matter is shown with a clock
 * that jumps, in tests/fault/test_world_kafka.py.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <setjmp.h>
#include <threads.h>
#include <time.h>

#include <cmocka.h>

#define SHORT_NS (50 * CORE_NS_PER_MS)

struct meeting {
    mtx_t lock;
    cnd_t condition;
    bool is_there;
};

static struct timespec after(int64_t ns) {
    const int64_t at = core_now_ns() + ns;
    return (struct timespec){.tv_sec = at / CORE_NS_PER_S, .tv_nsec = at % CORE_NS_PER_S};
}

static void meeting_init(struct meeting *meeting) {
    assert_int_equal(mtx_init(&meeting->lock, mtx_plain), thrd_success);
    assert_int_equal(cnd_init(&meeting->condition), thrd_success);
    meeting->is_there = false;
}

static void test_it_is_over_when_it_was_meant_to_be(void **state) {
    (void)state;
    struct meeting meeting;
    meeting_init(&meeting);
    assert_int_equal(mtx_lock(&meeting.lock), thrd_success);
    const int64_t begun = core_tick_ns();
    const struct timespec until = after(SHORT_NS);
    int rc = thrd_success;
    while (rc == thrd_success) { /* woken for nothing is allowed */
        rc = cnd_timedwait(&meeting.condition, &meeting.lock, &until);
    }
    const int64_t took = core_tick_ns() - begun;
    assert_int_equal(rc, thrd_timedout);
    assert_true(took >= SHORT_NS - CORE_NS_PER_MS && took < 100 * SHORT_NS);
    const struct timespec past = after(-SHORT_NS); /* a moment that is over is not waited for */
    assert_int_equal(cnd_timedwait(&meeting.condition, &meeting.lock, &past), thrd_timedout);
    const struct timespec long_past = {.tv_sec = 1};
    assert_int_equal(cnd_timedwait(&meeting.condition, &meeting.lock, &long_past), thrd_timedout);
    assert_true(core_tick_ns() - begun - took < 100 * SHORT_NS);
    assert_int_equal(mtx_unlock(&meeting.lock), thrd_success);
}

static int come(void *meeting_ptr) {
    struct meeting *meeting = meeting_ptr;
    assert_int_equal(mtx_lock(&meeting->lock), thrd_success);
    meeting->is_there = true;
    assert_int_equal(cnd_signal(&meeting->condition), thrd_success);
    assert_int_equal(mtx_unlock(&meeting->lock), thrd_success);
    return 0;
}

static void test_who_is_woken_does_not_wait_on(void **state) {
    (void)state;
    struct meeting meeting;
    thrd_t other;
    meeting_init(&meeting);
    const int64_t begun = core_tick_ns();
    assert_int_equal(mtx_lock(&meeting.lock), thrd_success);
    assert_int_equal(thrd_create(&other, come, &meeting), thrd_success);
    const struct timespec until = after(3600 * CORE_NS_PER_S);
    while (!meeting.is_there) {
        assert_int_equal(cnd_timedwait(&meeting.condition, &meeting.lock, &until), thrd_success);
    }
    assert_int_equal(mtx_unlock(&meeting.lock), thrd_success);
    assert_int_equal(thrd_join(other, NULL), thrd_success);
    assert_true(core_tick_ns() - begun < 60 * CORE_NS_PER_S);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_over_when_it_was_meant_to_be),
        cmocka_unit_test(test_who_is_woken_does_not_wait_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
