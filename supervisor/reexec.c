/* supervisor/reexec.c: an upgrade: the program executes its successor in its own place.
 *
 * The process stays the same, so its children stay its children, and their exit statuses can still be had. What goes over: the
 * state file, written a moment before; the listening socket and the lock, left open and named in the environment; the pipes
 * on which starting processes will say that they are ready. Connections of clients end, and are made again.
 *
 * First the successor is asked, as a child, whether it runs at all and can read the state file. What cannot take over is not
 * executed: then people are told, and everything goes on as before.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/engine_internal.h"

#include "core/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define VARIABLE "TAPLINE_SUPERVISOR_HERITAGE" /* "PID LISTEN-FD LOCK-FD COOKIE=FD COOKIE=FD …" */
#define TRY_MS 3000

/* ---- taking over ------------------------------------------------------------------------------------------------------- */

static bool close_on_exec(int fd, bool is_wanted) {
    int flags = fcntl(fd, F_GETFD);
    return flags >= 0 && fcntl(fd, F_SETFD, is_wanted ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC) == 0;
}

void supervisor_heritage_take(struct supervisor_heritage *heritage) {
    const char *text = getenv(VARIABLE);
    int pid = 0;
    int listen_fd = -1;
    int lock_fd = -1;
    int len = 0;
    *heritage = (struct supervisor_heritage){.listen_fd = -1, .lock_fd = -1};
    /* NOLINTNEXTLINE(cert-err34-c): our own words, and the pid checks them */
    if (text != NULL && sscanf(text, "%d %d %d%n", &pid, &listen_fd, &lock_fd, &len) == 3 && pid == getpid() &&
        close_on_exec(listen_fd, true) && close_on_exec(lock_fd, true)) {
        heritage->listen_fd = listen_fd;
        heritage->lock_fd = lock_fd;
        heritage->ready_fds = strdup(text + len);
    }
    (void)unsetenv(VARIABLE);
}

int supervisor_heritage_ready_fd(const struct supervisor_heritage *heritage, const char *cookie) {
    const char *at = heritage->ready_fds == NULL || cookie[0] == '\0' ? NULL : strstr(heritage->ready_fds, cookie);
    if (at == NULL || at[strlen(cookie)] != '=') {
        return -1;
    }
    int fd = (int)strtol(at + strlen(cookie) + 1, NULL, 10);
    return close_on_exec(fd, true) ? fd : -1;
}

void supervisor_heritage_free(struct supervisor_heritage *heritage) {
    free(heritage->ready_fds);
    heritage->ready_fds = NULL;
}

/* ---- handing over ------------------------------------------------------------------------------------------------------ */

/* Wait for a child, not for ever. Its status; -1: it took too long, and was killed. */
static int wait_for(pid_t pid) {
    int status = -1;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
    bool has_ended = pidfd >= 0 && poll(&poll_fd, 1, TRY_MS) == 1;
    if (!has_ended) {
        (void)kill(pid, SIGKILL);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (pidfd >= 0) {
        close(pidfd);
    }
    return has_ended ? status : -1;
}

enum core_err supervisor_reexec_try(const struct supervisor *supervisor, const char *program, struct core_fail *fail) {
    char *argv[] = {(char *)(uintptr_t)program, (char[]){"--check-state"}, (char[]){"--state"},
                    (char *)(uintptr_t)supervisor->options->state, NULL};
    posix_spawnattr_t attr;
    sigset_t signals;
    pid_t pid = 0;
    MUST(sigemptyset(&signals) == 0);
    MUST(posix_spawnattr_init(&attr) == 0);
    MUST(posix_spawnattr_setsigmask(&attr, &signals) == 0);
    MUST(posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK) == 0);
    int error = program[0] != '/' ? EINVAL : posix_spawn(&pid, program, NULL, &attr, argv, environ);
    (void)posix_spawnattr_destroy(&attr);
    if (error != 0) {
        return core_fail_set(fail, CORE_BAD, program, "cannot be executed: %s%s", strerror(error),
                             program[0] != '/' ? " (the path must begin with /)" : "");
    }
    int status = wait_for(pid);
    if (status < 0) {
        return core_fail_set(fail, CORE_BAD, program, "did not say within %d s whether it can take over",
                             TRY_MS / 1000);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return core_fail_set(fail, CORE_BAD, program,
                             "cannot take over: asked with --check-state it ended with %s %d; its words are in the log",
                             WIFEXITED(status) ? "exit status" : "signal",
                             WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    }
    return CORE_OK;
}

/* Descriptors that go over, or (is_kept false) do not after all. Returns the text for the environment; malloc'ed. */
static char *hand_over(const struct supervisor *supervisor, bool is_kept) {
    const size_t cap = 64 + supervisor->processes_len * (SUPERVISOR_COOKIE_BYTES + 16);
    int listen_fd = core_rpc_server_fd(supervisor->server);
    char *text = malloc(cap);
    MUST(text != NULL);
    MUST(close_on_exec(listen_fd, !is_kept));
    MUST(close_on_exec(supervisor->lock_fd, !is_kept));
    size_t len = (size_t)snprintf(text, cap, "%d %d %d", (int)getpid(), listen_fd, supervisor->lock_fd);
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        const struct supervisor_pid *pid = &supervisor->processes[i]->pid;
        if (pid->ready_fd >= 0) {
            MUST(close_on_exec(pid->ready_fd, !is_kept));
            len += (size_t)snprintf(text + len, cap - len, " %s=%d", pid->cookie, pid->ready_fd);
        }
    }
    return text;
}

void supervisor_reexec(struct supervisor *supervisor) {
    const struct supervisor_options *options = supervisor->options;
    struct core_fail fail;
    if (supervisor->is_ending) {
        return;
    }
    if (supervisor_reexec_try(supervisor, supervisor->program, &fail) != CORE_OK) {
        supervisor_tell(supervisor, CORE_LEVEL_ERROR, "no upgrade: %s %s; everything goes on as before", fail.where,
                        fail.text);
        return;
    }
    supervisor_tell(supervisor, CORE_LEVEL_INFO, "executes %s anew; processes run on, connections are to be made again",
                    supervisor->program);
    if (supervisor_keep_flush(supervisor) != CORE_OK) {
        supervisor_tell(supervisor, CORE_LEVEL_ERROR,
                        "no upgrade while the state file cannot be written; everything goes on as before");
        return;
    }
    char *heritage = hand_over(supervisor, true);
    char **argv = calloc((size_t)options->argc + 1, sizeof(char *));
    MUST(argv != NULL);
    for (int i = 1; i < options->argc; i++) {
        argv[i] = options->argv[i];
    }
    argv[0] = supervisor->program;
    MUST(setenv(VARIABLE, heritage, 1) == 0);
    core_log_flush();
    (void)execv(supervisor->program, argv);
    int error = errno;
    free(argv);
    free(heritage);
    free(hand_over(supervisor, false));
    MUST(unsetenv(VARIABLE) == 0);
    supervisor_tell(supervisor, CORE_LEVEL_ERROR, "no upgrade: %s cannot be executed: %s; everything goes on as before",
                    supervisor->program, strerror(error));
}
