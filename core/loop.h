/* core/loop.h: waiting for files, signals and times in one thread: what the programs that control others are built on.
 *
 * Everything is called back from core_loop_run(), one after the other, never from a signal handler and never from within a
 * core_loop_*() call. A callback may set, clear, watch and unwatch anything, also itself.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_LOOP_H
#define TAPLINE_CORE_LOOP_H

#include "core/core.h"

#include <sys/epoll.h>

#define CORE_LOOP_WATCHES_MAX 4096

struct core_loop;
struct core_watch; /* a watched descriptor */

/* Owns: core_loop_free(*out), after everything that uses it. Errors: CORE_IO. Thread: its owner's, as everything here. */
CORE_CHECKED enum core_err core_loop_new(struct core_loop **out, struct core_fail *fail);
void core_loop_free(struct core_loop *loop); /* takes NULL */

/* events: EPOLLIN, EPOLLOUT, as they came. */
typedef void core_loop_on_fd(void *ctx, uint32_t events);
/* Watch a descriptor (level-triggered) for EPOLLIN and/or EPOLLOUT. The descriptor stays the caller's: unwatch, then close.
 * Errors: CORE_LIMIT, CORE_IO (a regular file cannot be watched). */
CORE_CHECKED enum core_err core_loop_watch(struct core_loop *loop, int fd, uint32_t events, core_loop_on_fd *on_fd,
                                           void *ctx, struct core_watch **out, struct core_fail *fail);
void core_loop_rewatch(struct core_watch *watch, uint32_t events); /* 0: only errors and hang-ups */
void core_loop_unwatch(struct core_watch *watch);                  /* takes NULL; its callback is not called any more */

typedef void core_loop_on_time(void *ctx);
/* A time to be called back at. Lies in its owner's struct, zeroed at first; clear it before that dies. */
struct core_timer {
    core_loop_on_time *on_time;
    void *ctx;
    struct core_loop *loop; /* while it is set */
    int64_t due_ns;         /* core_tick_ns() */
    size_t slot;            /* the loop's own */
};
/* Call on_time(ctx) once, not before due_ns (core_tick_ns()), and not within the round that is under way, so that a timer
 * which is set again and again holds up nobody. A set timer is moved. */
void core_timer_set(struct core_loop *loop, struct core_timer *timer, int64_t due_ns);
void core_timer_clear(struct core_timer *timer); /* one that is not set is left alone */
static inline bool core_timer_is_set(const struct core_timer *timer) {
    return timer->loop != NULL;
}

typedef void core_loop_on_signal(void *ctx, int number);
/* Block these signals in this thread and have them called back instead (signalfd; children must unblock them: see
 * core_loop_signals_reset()). They stay blocked when the loop is gone. Once a loop. */
CORE_CHECKED enum core_err core_loop_signals(struct core_loop *loop, const int *numbers, size_t len,
                                             core_loop_on_signal *on_signal, void *ctx, struct core_fail *fail);
/* In a child between fork and exec: no signal blocked, all as by default (SIGPIPE and libc's own, too). Async-signal-safe. */
void core_loop_signals_reset(void);

/* Call back what comes, until core_loop_stop(). Errors: CORE_IO. */
CORE_CHECKED enum core_err core_loop_run(struct core_loop *loop, struct core_fail *fail);
/* One round: wait at most timeout_ns (0: do not wait; below 0: for ever), call back what is due, return. */
CORE_CHECKED enum core_err core_loop_once(struct core_loop *loop, int64_t timeout_ns, struct core_fail *fail);
void core_loop_stop(struct core_loop *loop);

#endif
