/* supervisor/adopt.c: is this pid still the process that it was when the state file was written?
 *
 * A pid is used again; a pid with its start time (clock ticks since boot) is not, and the cookie in its environment says that
 * it is one of ours. The order leaves no gap: first a pidfd, which from then on means one process whatever becomes of the
 * number; then the two checks by number; then the pidfd is asked whether that process still lives. If it does, the number
 * was its own all the time. A zombie does not live.
 *
 * A pid with its start time is the same process as far as anybody can tell; a cookie that differs says no all the same. No cookie
 * says nothing: a process may have written over its environment (as setproctitle() does), been executed anew with an empty
 * one by a wrapper, or have file capabilities (setcap), so that only root may read it. The start time alone has to do then: to
 * start a second sensor beside the first would be the worse mistake. For the same reason what cannot be looked at for want of a
 * descriptor or memory is not taken for gone.
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

/* The value of our variable in the environment, which is a chain of texts with a NUL behind each; a longer one is cut. False:
 * it is not there. */
static bool environment_cookie(int fd, char out[SUPERVISOR_COOKIE_BYTES + 1]) {
    const size_t name_len = sizeof(COOKIE_VARIABLE) - 1;
    char bytes[4096];
    size_t at = 0; /* in the text under way */
    bool is_it = true;
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
                if (is_it && at >= name_len) {
                    const size_t value_len = at - name_len;
                    out[value_len < SUPERVISOR_COOKIE_BYTES ? value_len : SUPERVISOR_COOKIE_BYTES] = '\0';
                    return true;
                }
                at = 0;
                is_it = true;
                continue;
            }
            is_it = is_it && (at >= name_len || bytes[i] == COOKIE_VARIABLE[at]);
            if (is_it && at >= name_len && at - name_len < SUPERVISOR_COOKIE_BYTES) {
                out[at - name_len] = bytes[i];
            }
            at++;
        }
    }
}

/* What errno says of a process that could not be looked at. EINVAL: the number is a thread's of another process. */
static enum core_err unseen(pid_t pid, struct core_fail *fail) {
    if (errno == ESRCH || errno == ENOENT || errno == EINVAL) {
        return CORE_GONE;
    }
    return core_fail_errno(fail, "/proc", "cannot say whether process %d runs still", (int)pid);
}

/* CORE_GONE: it has another cookie than this one. */
static enum core_err check_cookie(pid_t pid, const char *cookie, struct core_fail *fail) {
    char path[64];
    char found[SUPERVISOR_COOKIE_BYTES + 1];
    (void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == EACCES || errno == EPERM ? CORE_OK : unseen(pid, fail);
    }
    const bool is_other = environment_cookie(fd, found) && strcmp(found, cookie) != 0;
    (void)close(fd);
    return is_other ? CORE_GONE : CORE_OK;
}

static enum core_err check_start(const struct supervisor_pid *saved, struct core_fail *fail) {
    struct supervisor_usage usage = {0};
    if (!supervisor_usage_of(saved->pid, &usage)) {
        return unseen(saved->pid, fail);
    }
    return usage.start_ticks == saved->start_ticks ? CORE_OK : CORE_GONE;
}

static enum core_err check_life(int pidfd, pid_t pid, struct core_fail *fail) {
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
    const int len = poll(&poll_fd, 1, 0);
    if (len < 0) {
        return unseen(pid, fail);
    }
    return len == 0 ? CORE_OK : CORE_GONE; /* readable: it has ended */
}

/* Its end will be told to us, and to nobody else: so it is after an exec, which changes no parent. */
static bool is_our_child(pid_t pid) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

enum core_err supervisor_adopt(const struct supervisor_pid *saved, struct supervisor_pid *out, struct core_fail *fail) {
    MUST(memchr(saved->cookie, '\0', sizeof(saved->cookie)) != NULL);
    if (saved->pid <= 0 || saved->cookie[0] == '\0') {
        return CORE_GONE;
    }
    const int pidfd = (int)syscall(SYS_pidfd_open, saved->pid, 0); /* always close-on-exec */
    if (pidfd < 0) {
        return unseen(saved->pid, fail);
    }
    enum core_err err = check_start(saved, fail);
    err = err == CORE_OK ? check_cookie(saved->pid, saved->cookie, fail) : err;
    err = err == CORE_OK ? check_life(pidfd, saved->pid, fail) : err;
    if (err != CORE_OK) {
        (void)close(pidfd);
        return err;
    }
    *out = *saved;
    out->pidfd = pidfd;
    out->ready_fd = -1;
    out->is_child = is_our_child(saved->pid);
    return CORE_OK;
}

bool supervisor_is_shortage(int error) {
    return error == EMFILE || error == ENFILE || error == ENOMEM;
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

enum core_err supervisor_boot_id(char out[SUPERVISOR_BOOT_ID_BYTES], struct core_fail *fail) {
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    memset(out, 0, SUPERVISOR_BOOT_ID_BYTES);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && supervisor_is_shortage(errno)) {
        return core_fail_errno(fail, path, "cannot say whether this is the boot that the state file is of");
    }
    const ssize_t len = fd < 0 ? 0 : read(fd, out, SUPERVISOR_BOOT_ID_BYTES - 1);
    out[len > 0 ? (size_t)len : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    if (fd >= 0) {
        (void)close(fd);
    }
    return CORE_OK;
}
