/* core/loop.c: one epoll, one heap of times, one signalfd.
 *
 * A round waits until a descriptor has something or the earliest time has come, calls back what descriptors have, then the
 * times that were due when the wait ended. A time that is set meanwhile is not due in the same round, whatever it says:
 * a callback that sets itself again and again cannot keep others waiting.
 *
 * What epoll_wait(2) returned may be about a watch that an earlier callback of the same round took away. So a watch that is
 * taken away within a round is only marked, and freed when the outermost round ends (rounds nest: a callback may run the
 * loop itself to wait for one answer).
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loop.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOP_EVENTS_A_ROUND 64
#define LOOP_SIGNALS_A_READ 16
#define LOOP_TIMERS_AT_FIRST 16

struct core_watch {
    struct core_loop *loop;
    core_loop_on_fd *on_fd; /* NULL: taken away */
    void *ctx;
    struct core_watch *next; /* in the list of those taken away */
    uint32_t events;
    int fd;
};

struct core_loop {
    struct core_timer **timers; /* a heap: none is due before its parent, (slot - 1) / 2 */
    size_t timers_len;
    size_t timers_cap;
    struct core_watch *taken_away;
    size_t watches_len;
    struct core_watch *signals;
    core_loop_on_signal *on_signal;
    void *on_signal_ctx;
    int64_t round_ns; /* when the last wait ended */
    unsigned depth;   /* of rounds under way */
    int epoll_fd;
    int signal_fd;
    bool is_stopping;
};

enum core_err core_loop_new(struct core_loop **out, struct core_fail *fail) {
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        return core_fail_errno(fail, "epoll", "cannot wait for files and times");
    }
    struct core_loop *loop = calloc(1, sizeof(*loop));
    MUST(loop != NULL);
    loop->epoll_fd = epoll_fd;
    loop->signal_fd = -1;
    *out = loop;
    return CORE_OK;
}

static void free_taken_away(struct core_loop *loop) {
    while (loop->taken_away != NULL) {
        struct core_watch *watch = loop->taken_away;
        loop->taken_away = watch->next;
        free(watch);
    }
}

void core_loop_free(struct core_loop *loop) {
    if (loop == NULL) {
        return;
    }
    MUST(loop->depth == 0);
    core_loop_unwatch(loop->signals);
    MUST(loop->watches_len == 0);
    for (size_t i = 0; i < loop->timers_len; i++) {
        loop->timers[i]->loop = NULL;
    }
    if (loop->signal_fd >= 0) {
        close(loop->signal_fd);
    }
    close(loop->epoll_fd);
    free(loop->timers);
    free(loop);
}

/* ---- descriptors --------------------------------------------------------------------------------------------------- */

enum core_err core_loop_watch(struct core_loop *loop, int fd, uint32_t events, core_loop_on_fd *on_fd, void *ctx,
                              struct core_watch **out, struct core_fail *fail) {
    MUST(on_fd != NULL);
    MUST(fd >= 0);
    if (loop->watches_len == CORE_LOOP_WATCHES_MAX) {
        return core_fail_set(fail, CORE_LIMIT, "epoll", "%d descriptors are watched already, which is all there may be",
                             CORE_LOOP_WATCHES_MAX);
    }
    struct core_watch *watch = calloc(1, sizeof(*watch));
    MUST(watch != NULL);
    *watch = (struct core_watch){.loop = loop, .on_fd = on_fd, .ctx = ctx, .events = events, .fd = fd};
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        free(watch);
        return core_fail_errno(fail, "epoll", "cannot watch descriptor %d", fd);
    }
    loop->watches_len++;
    *out = watch;
    return CORE_OK;
}

void core_loop_rewatch(struct core_watch *watch, uint32_t events) {
    MUST(watch->on_fd != NULL);
    if (watch->events == events) {
        return;
    }
    struct epoll_event event = {.events = events, .data.ptr = watch};
    MUST(epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) == 0);
    watch->events = events;
}

void core_loop_unwatch(struct core_watch *watch) {
    if (watch == NULL) {
        return;
    }
    struct core_loop *loop = watch->loop;
    MUST(watch->on_fd != NULL);
    MUST(epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL) == 0);
    watch->on_fd = NULL;
    loop->watches_len--;
    watch->next = loop->taken_away;
    loop->taken_away = watch;
    if (loop->depth == 0) {
        free_taken_away(loop);
    }
}

/* ---- times --------------------------------------------------------------------------------------------------------- */

static void timer_put(struct core_loop *loop, size_t slot, struct core_timer *timer) {
    loop->timers[slot] = timer;
    timer->slot = slot;
}

static void timer_move(struct core_loop *loop, struct core_timer *timer) {
    size_t slot = timer->slot;
    while (slot > 0 && timer->due_ns < loop->timers[(slot - 1) / 2]->due_ns) {
        timer_put(loop, slot, loop->timers[(slot - 1) / 2]);
        slot = (slot - 1) / 2;
    }
    for (size_t child = 2 * slot + 1; child < loop->timers_len; child = 2 * slot + 1) {
        if (child + 1 < loop->timers_len && loop->timers[child + 1]->due_ns < loop->timers[child]->due_ns) {
            child++;
        }
        if (timer->due_ns <= loop->timers[child]->due_ns) {
            break;
        }
        timer_put(loop, slot, loop->timers[child]);
        slot = child;
    }
    timer_put(loop, slot, timer);
}

void core_timer_set(struct core_loop *loop, struct core_timer *timer, int64_t due_ns) {
    MUST(timer->on_time != NULL);
    MUST(timer->loop == NULL || timer->loop == loop);
    if (timer->loop == NULL) {
        if (loop->timers_len == loop->timers_cap) {
            loop->timers_cap = loop->timers_cap == 0 ? LOOP_TIMERS_AT_FIRST : 2 * loop->timers_cap;
            loop->timers = realloc(loop->timers, loop->timers_cap * sizeof(struct core_timer *));
            MUST(loop->timers != NULL);
        }
        timer->loop = loop;
        timer_put(loop, loop->timers_len++, timer);
    }
    timer->due_ns = due_ns > loop->round_ns ? due_ns : loop->round_ns + 1; /* in the next round, see above */
    timer_move(loop, timer);
}

void core_timer_clear(struct core_timer *timer) {
    struct core_loop *loop = timer->loop;
    if (loop == NULL) {
        return;
    }
    MUST(timer->slot < loop->timers_len && loop->timers[timer->slot] == timer);
    struct core_timer *last = loop->timers[--loop->timers_len];
    timer->loop = NULL;
    if (last != timer) {
        timer_put(loop, timer->slot, last);
        timer_move(loop, last);
    }
}

static void call_times(struct core_loop *loop) {
    const int64_t round_ns = loop->round_ns;
    while (loop->timers_len > 0 && loop->timers[0]->due_ns <= round_ns) {
        struct core_timer *timer = loop->timers[0];
        core_timer_clear(timer);
        timer->on_time(timer->ctx);
    }
}

/* ---- signals ------------------------------------------------------------------------------------------------------- */

static void on_signal_fd(void *ctx, uint32_t events) {
    struct core_loop *loop = ctx;
    struct signalfd_siginfo infos[LOOP_SIGNALS_A_READ];
    (void)events;
    ssize_t len = read(loop->signal_fd, infos, sizeof(infos));
    for (size_t i = 0; len > 0 && i < (size_t)len / sizeof(infos[0]); i++) {
        loop->on_signal(loop->on_signal_ctx, (int)infos[i].ssi_signo);
    }
}

enum core_err core_loop_signals(struct core_loop *loop, const int *numbers, size_t len, core_loop_on_signal *on_signal,
                                void *ctx, struct core_fail *fail) {
    sigset_t set;
    MUST(on_signal != NULL);
    MUST(loop->signal_fd < 0);
    MUST(sigemptyset(&set) == 0);
    for (size_t i = 0; i < len; i++) {
        MUST(sigaddset(&set, numbers[i]) == 0);
    }
    int signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signal_fd < 0) {
        return core_fail_errno(fail, "signalfd", "cannot wait for signals");
    }
    enum core_err err = core_loop_watch(loop, signal_fd, EPOLLIN, on_signal_fd, loop, &loop->signals, fail);
    if (err != CORE_OK) {
        close(signal_fd);
        return err;
    }
    MUST(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    loop->signal_fd = signal_fd;
    loop->on_signal = on_signal;
    loop->on_signal_ctx = ctx;
    return CORE_OK;
}

/* libc refuses to touch the signals that it uses for its own threads (32, 33), and whoever started us may have left them
 * ignored, which lasts over exec: the system call resets those. A handler of libc's is left to it: exec ends it anyway, and until
 * then a change of user may need it. Shape: the kernel's layout of every machine begins with the handler, and all zeros is SIG_DFL. */
static void libc_signal_reset(int number) {
    const size_t set_bytes = (size_t)(NSIG - 1) / CHAR_BIT;
    const unsigned char by_default[64] = {0};
    union {
        void (*handler)(int);
        unsigned char bytes[64];
    } now = {.bytes = {0}};
    if (syscall(SYS_rt_sigaction, number, NULL, &now, set_bytes) == 0 && now.handler == SIG_IGN) {
        (void)syscall(SYS_rt_sigaction, number, by_default, NULL, set_bytes);
    }
}

void core_loop_signals_reset(void) {
    const struct sigaction by_default = {.sa_handler = SIG_DFL};
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++) {
        if (sigaction(number, &by_default, NULL) != 0) { /* SIGKILL, SIGSTOP and libc's own */
            libc_signal_reset(number);
        }
    }
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- running ------------------------------------------------------------------------------------------------------- */

/* For epoll_wait(2), rounded up: a time is never early. */
static int wait_ms(const struct core_loop *loop, int64_t timeout_ns) {
    if (loop->timers_len > 0) {
        int64_t left_ns = loop->timers[0]->due_ns - core_tick_ns();
        left_ns = left_ns < 0 ? 0 : left_ns;
        timeout_ns = timeout_ns < 0 || left_ns < timeout_ns ? left_ns : timeout_ns;
    }
    if (timeout_ns < 0) {
        return -1;
    }
    int64_t ms = timeout_ns / CORE_NS_PER_MS + (timeout_ns % CORE_NS_PER_MS != 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

enum core_err core_loop_once(struct core_loop *loop, int64_t timeout_ns, struct core_fail *fail) {
    struct epoll_event events[LOOP_EVENTS_A_ROUND];
    int len = epoll_wait(loop->epoll_fd, events, LOOP_EVENTS_A_ROUND, wait_ms(loop, timeout_ns));
    if (len < 0 && errno != EINTR) {
        return core_fail_errno(fail, "epoll", "cannot wait for files and times");
    }
    loop->round_ns = core_tick_ns();
    loop->depth++;
    for (int i = 0; i < len; i++) {
        struct core_watch *watch = events[i].data.ptr;
        uint32_t wanted = events[i].events & (watch->events | EPOLLERR | EPOLLHUP);
        if (watch->on_fd != NULL && wanted != 0) {
            watch->on_fd(watch->ctx, wanted);
        }
    }
    call_times(loop);
    if (--loop->depth == 0) {
        free_taken_away(loop);
    }
    return CORE_OK;
}

enum core_err core_loop_run(struct core_loop *loop, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    while (err == CORE_OK && !loop->is_stopping) {
        err = core_loop_once(loop, -1, fail);
    }
    loop->is_stopping = false;
    return err;
}

void core_loop_stop(struct core_loop *loop) {
    loop->is_stopping = true;
}
