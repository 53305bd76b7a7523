/* supervisor/adopt.c: is this pid still the process that it was when the state file was written?
 *
 * A pid is used again; a pid with its start time (clock ticks since boot) is not, and the cookie in its environment says that
 * it is one of ours. The order leaves no gap: first a pidfd, which from then on means one process whatever becomes of the
 * number; then the two checks by number; then the pidfd is asked whether that process still lives. If it does, the number
 * was its own all the time. A zombie does not live.
 *
 * The environment of a process with file capabilities (setcap) is readable by root only. If we may not read it, the start time
 * alone has to do: to start a second sensor beside the first would be the worse mistake. If it can be read and has another
 * cookie or none, the process is not ours.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define COOKIE_VARIABLE "TAPLINE_COOKIE="

/* One variable of the environment, which is a chain of texts with a NUL behind each. */
static bool environment_has(int fd, const char *wanted) {
    char bytes[4096];
    const size_t wanted_len = strlen(wanted);
    size_t matched = 0; /* of the text under way; past wanted_len: it is another one */
    for (;;) {
        const ssize_t len = read(fd, bytes, sizeof(bytes));
        if (len < 0 && errno == EINTR) {
            continue;
        }
        if (len <= 0) {
            return false;
        }
        for (ssize_t i = 0; i < len; i++) {
            if (bytes[i] == '\0') {
                if (matched == wanted_len) {
                    return true;
                }
                matched = 0;
            } else {
                matched = matched < wanted_len && bytes[i] == wanted[matched] ? matched + 1 : wanted_len + 1;
            }
        }
    }
}

static bool has_cookie(pid_t pid, const char *cookie) {
    char path[64];
    char wanted[sizeof(COOKIE_VARIABLE) + SUPERVISOR_COOKIE_BYTES];
    (void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
    (void)snprintf(wanted, sizeof(wanted), COOKIE_VARIABLE "%s", cookie);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == EACCES || errno == EPERM;
    }
    const bool has = environment_has(fd, wanted);
    (void)close(fd);
    return has;
}

static bool lives(int pidfd) {
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 0; /* readable: it has ended */
}

/* Its end will be told to us, and to nobody else: so it is after an exec, which changes no parent. */
static bool is_our_child(pid_t pid) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

bool supervisor_adopt(const struct supervisor_pid *saved, struct supervisor_pid *out) {
    MUST(memchr(saved->cookie, '\0', sizeof(saved->cookie)) != NULL);
    if (saved->pid <= 0 || saved->cookie[0] == '\0') {
        return false;
    }
    const int pidfd = (int)syscall(SYS_pidfd_open, saved->pid, 0); /* always close-on-exec */
    if (pidfd < 0) {
        return false;
    }
    struct supervisor_usage usage = {0};
    const bool is_it = supervisor_usage_of(saved->pid, &usage) && usage.start_ticks == saved->start_ticks &&
                       has_cookie(saved->pid, saved->cookie);
    if (!is_it || !lives(pidfd)) {
        (void)close(pidfd);
        return false;
    }
    *out = *saved;
    out->pidfd = pidfd;
    out->ready_fd = -1;
    out->is_child = is_our_child(saved->pid);
    return true;
}

void supervisor_cookie_new(char out[SUPERVISOR_COOKIE_BYTES]) {
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[(SUPERVISOR_COOKIE_BYTES - 1) / 2];
    MUST(getrandom(bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes)); /* so few bytes come whole */
    for (size_t i = 0; i < sizeof(bytes); i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 0xf];
    }
    out[SUPERVISOR_COOKIE_BYTES - 1] = '\0';
}

void supervisor_boot_id(char out[40]) {
    memset(out, 0, 40);
    const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    const ssize_t len = fd < 0 ? 0 : read(fd, out, 39);
    out[len > 0 ? (size_t)len : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    if (fd >= 0) {
        (void)close(fd);
    }
}
