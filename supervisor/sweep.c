/* supervisor/sweep.c: what processes leave behind: their orphans.
 *
 * A process's group is killed when it ends. What has left the group (a daemon that made a session of its own) is found by the
 * cookie in its environment: once for all processes that ended at about the same time, and again until nothing is found, since
 * something that forks may be faster than one look. With cgroups nothing of this is needed: a kernel knows better.
 *
 * We are a subreaper, so orphans of ours become children of ours; they are reaped when they end. waitid(2) is asked about any
 * child without reaping it, so that the status of a process of the table is never taken by mistake.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/engine_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENVIRON_BYTES_MAX ((size_t)256 * 1024)
#define EXEC_LOOKS 20
#define EXEC_PAUSE_US 100
#define SWEEP_FIRST_NS (20 * CORE_NS_PER_MS)
#define SWEEP_AGAIN_NS (100 * CORE_NS_PER_MS)
#define SWEEP_LATER_NS CORE_NS_PER_S /* until there are descriptors again */
#define SWEEP_ROUNDS_MAX 50
#define VARIABLE "TAPLINE_COOKIE="

/* error: why it could not be read; 0: it could. */
static size_t read_environ(pid_t pid, char *room, int *error) {
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t got = fd < 0 ? -1 : 1;
    while (got > 0 && len < ENVIRON_BYTES_MAX - 1 && (got = read(fd, room + len, ENVIRON_BYTES_MAX - 1 - len)) > 0) {
        len += (size_t)got;
    }
    *error = got < 0 ? errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    room[len] = '\0';
    return len;
}

/* Nothing to be read: in the middle of an exec that is so for a moment. Kernel threads and zombies have no program either. */
static bool is_in_exec(pid_t pid) {
    char path[64];
    char program[2];
    (void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    return readlink(path, program, sizeof(program)) > 0;
}

/* The cookie in a process's environment; false: it has none, or it is not to be read (error: why, or 0). */
static bool cookie_of(pid_t pid, char *room, char out[SUPERVISOR_COOKIE_BYTES], int *error) {
    size_t len = read_environ(pid, room, error);
    for (int looks = 0; len == 0 && looks < EXEC_LOOKS && is_in_exec(pid); looks++) {
        (void)usleep(EXEC_PAUSE_US);
        len = read_environ(pid, room, error);
    }
    for (size_t at = 0; at < len; at += strlen(room + at) + 1) {
        if (strncmp(room + at, VARIABLE, sizeof(VARIABLE) - 1) == 0 &&
            strlen(room + at + sizeof(VARIABLE) - 1) == SUPERVISOR_COOKIE_BYTES - 1) {
            memcpy(out, room + at + sizeof(VARIABLE) - 1, SUPERVISOR_COOKIE_BYTES);
            return true;
        }
    }
    return false;
}

/* What to do with a process that has a cookie; false: look no further. */
typedef bool sweep_each(void *ctx, pid_t pid, const char *cookie);

/* CORE_IO: for want of a descriptor or memory there may be some that were not seen. */
static enum core_err each_with_cookie(sweep_each *each, void *ctx, struct core_fail *fail) {
    char cookie[SUPERVISOR_COOKIE_BYTES];
    DIR *proc = opendir("/proc");
    int error = proc == NULL ? errno : 0;
    char *room = malloc(ENVIRON_BYTES_MAX);
    MUST(room != NULL);
    const struct dirent *entry = NULL;
    while (proc != NULL && (entry = readdir(proc)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        int its_error = 0;
        if (!core_is_digit(entry->d_name[0]) || pid == getpid()) {
            continue;
        }
        if (cookie_of(pid, room, cookie, &its_error) && !each(ctx, pid, cookie)) {
            break;
        }
        error = supervisor_is_shortage(its_error) ? its_error : error;
    }
    free(room);
    if (proc != NULL) {
        (void)closedir(proc);
    }
    errno = error;
    return error == 0 ? CORE_OK : core_fail_errno(fail, "/proc", "cannot look at all processes");
}

/* ---- killing what is left -------------------------------------------------------------------------------------------- */

struct sweep {
    struct supervisor *supervisor;
    char *room;
    unsigned found;
    bool is_short; /* of descriptors or memory: there may be more */
};

static bool is_listed(const struct supervisor *supervisor, const char *cookie) {
    for (size_t i = 0; i < supervisor->sweep_len; i++) {
        if (strcmp(supervisor->sweep_cookies[i], cookie) == 0) {
            return true;
        }
    }
    return false;
}

/* By a pidfd, and the environment read once more: the number may be another's by now. */
static bool kill_listed(void *ctx, pid_t pid, const char *cookie) {
    struct sweep *sweep = ctx;
    char again[SUPERVISOR_COOKIE_BYTES];
    int error = 0;
    if (!is_listed(sweep->supervisor, cookie)) {
        return true;
    }
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        sweep->is_short = sweep->is_short || supervisor_is_shortage(errno);
        return true;
    }
    if (cookie_of(pid, sweep->room, again, &error) && strcmp(cookie, again) == 0 &&
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0) {
        sweep->found++;
    }
    sweep->is_short = sweep->is_short || supervisor_is_shortage(error);
    close(pidfd);
    return true;
}

static void on_sweep(void *ctx) {
    struct supervisor *supervisor = ctx;
    struct sweep sweep = {.supervisor = supervisor, .room = malloc(ENVIRON_BYTES_MAX)};
    MUST(sweep.room != NULL);
    sweep.is_short = each_with_cookie(kill_listed, &sweep, NULL) != CORE_OK || sweep.is_short;
    free(sweep.room);
    if (sweep.found > 0 && ++supervisor->sweep_rounds < SWEEP_ROUNDS_MAX) {
        core_timer_set(supervisor->loop, &supervisor->sweep_timer, core_tick_ns() + SWEEP_AGAIN_NS);
        return;
    }
    if (sweep.found > 0) {
        supervisor_tell(supervisor, CORE_LEVEL_ERROR,
                        "processes that were left behind come again as fast as they are killed; they are let be: "
                        "look for TAPLINE_COOKIE in /proc/*/environ");
    } else if (sweep.is_short) {
        core_timer_set(supervisor->loop, &supervisor->sweep_timer, core_tick_ns() + SWEEP_LATER_NS);
        return;
    }
    free(supervisor->sweep_cookies);
    supervisor->sweep_cookies = NULL;
    supervisor->sweep_len = 0;
    supervisor->sweep_cap = 0;
}

void supervisor_sweep_add(struct supervisor *supervisor, const char *cookie) {
    if (supervisor->sweep_len == supervisor->sweep_cap) {
        supervisor->sweep_cap = supervisor->sweep_cap == 0 ? 8 : 2 * supervisor->sweep_cap;
        supervisor->sweep_cookies =
            realloc(supervisor->sweep_cookies, supervisor->sweep_cap * sizeof(supervisor->sweep_cookies[0]));
        MUST(supervisor->sweep_cookies != NULL);
    }
    memcpy(supervisor->sweep_cookies[supervisor->sweep_len++], cookie, SUPERVISOR_COOKIE_BYTES);
    supervisor->sweep_rounds = 0;
    supervisor->sweep_timer.on_time = on_sweep;
    supervisor->sweep_timer.ctx = supervisor;
    if (!core_timer_is_set(&supervisor->sweep_timer)) {
        core_timer_set(supervisor->loop, &supervisor->sweep_timer, core_tick_ns() + SWEEP_FIRST_NS);
    }
}

/* ---- finding one that nobody wrote down ------------------------------------------------------------------------------- */

struct finding {
    const char *cookie;
    pid_t pid;
    uint64_t start_ticks;
    int error; /* why one with this cookie could not be looked at */
};

/* Its children have the cookie too; it was there before them. */
static bool find_first(void *ctx, pid_t pid, const char *cookie) {
    struct finding *finding = ctx;
    struct supervisor_usage usage;
    if (strcmp(cookie, finding->cookie) != 0 || getpgid(pid) != pid) {
        return true;
    }
    if (!supervisor_usage_of(pid, &usage)) {
        finding->error = supervisor_is_shortage(errno) ? errno : finding->error;
    } else if (finding->pid == 0 || usage.start_ticks < finding->start_ticks) {
        finding->pid = pid;
        finding->start_ticks = usage.start_ticks;
    }
    return true;
}

enum core_err supervisor_sweep_find(struct supervisor_pid *pid, struct core_fail *fail) {
    struct finding finding = {.cookie = pid->cookie};
    const enum core_err err = each_with_cookie(find_first, &finding, fail);
    pid->pid = finding.pid;
    pid->start_ticks = finding.start_ticks;
    if (err == CORE_OK && finding.error != 0) {
        errno = finding.error;
        return core_fail_errno(fail, "/proc", "cannot look at all processes");
    }
    return err;
}

static bool find_any(void *ctx, pid_t pid, const char *cookie) {
    (void)cookie;
    *(pid_t *)ctx = pid;
    return false;
}

enum core_err supervisor_sweep_any(pid_t *pid, struct core_fail *fail) {
    *pid = 0;
    return each_with_cookie(find_any, pid, fail);
}

/* ---- orphans --------------------------------------------------------------------------------------------------------- */

static struct supervisor_process *process_of(const struct supervisor *supervisor, pid_t pid) {
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        if (supervisor->processes[i]->pid.pid == pid) {
            return supervisor->processes[i];
        }
    }
    return NULL;
}

void supervisor_sweep_reap(struct supervisor *supervisor) {
    siginfo_t info = {.si_pid = 0};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
        struct supervisor_process *process = process_of(supervisor, info.si_pid);
        if (process != NULL) {
            supervisor_process_reap(process);
        } else {
            (void)waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG);
        }
        info.si_pid = 0;
    }
}
