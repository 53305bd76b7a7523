/* core/steady_wait.c: waiting that a jump of the clock does not lengthen, for librdkafka's threads.
 *
 * librdkafka waits by cnd_timedwait(), which by the C standard goes by the clock of the wall. Set that back by a day (date -s,
 * the first word of an NTP server, a virtual machine that is resumed) while a thread of it waits 100 ms, and it waits a day:
 * seen in rd_kafka_abort_transaction(), which ours had called with 100 ms, and in its main thread. This definition stands
 * before libc's and waits by CLOCK_MONOTONIC for as long as was meant when the wait began. A caller that is woken for nothing
 * and waits on until the same moment keeps what is left of the first wait; which moment that was is remembered by thread.
 * glibc's mtx_t and cnd_t are its pthread types under other names. (A jump within the microsecond between librdkafka's look
 * at the clock and ours is not seen.)
 * Source: C17 7.26.3.5; pthread_cond_clockwait in POSIX.1-2024; librdkafka tinycthread_extra.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <errno.h>
#include <pthread.h>
#include <threads.h>
#include <time.h>

_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t), "a mutex fits");
_Static_assert(sizeof(cnd_t) >= sizeof(pthread_cond_t), "a condition fits");

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): libc's names are no names for a reader */
int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until) {
    static _Thread_local struct {
        struct timespec until; /* of the last wait of this thread */
        int64_t tick_ns;       /* the moment of CLOCK_MONOTONIC that was meant */
    } last;
    if (last.until.tv_sec != until->tv_sec || last.until.tv_nsec != until->tv_nsec) {
        last.until = *until;
        last.tick_ns = core_tick_ns() + (int64_t)until->tv_sec * CORE_NS_PER_S + until->tv_nsec - core_now_ns();
    }
    const int64_t tick_ns = last.tick_ns < 0 ? 0 : last.tick_ns;
    const struct timespec tick = {.tv_sec = tick_ns / CORE_NS_PER_S, .tv_nsec = tick_ns % CORE_NS_PER_S};
    const int error =
        pthread_cond_clockwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, CLOCK_MONOTONIC, &tick);
    return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}
