/* supervisor/serve_child.c: programs that Main runs itself, without waiting: short ones, whose output and end are told, and the
 * Supervisor, which outlives it.
 *
 * Each is the leader of a session of its own, so that a signal to Main's terminal is not one to it and all of it can be killed at
 * once. An end is seen by its pidfd; output by a pipe, which is not waited for longer than the program lives (something that it
 * left behind may hold the other end). Input lies in memory that has a descriptor, so nothing has to be fed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_BYTES 16384
#define PATH_BYTES_MAX 4096
#define LOG_BYTES_MAX ((off_t)8 * 1024 * 1024) /* of supervisor.log, when a Supervisor is started */
#define LOG_MODE 0640

struct serve_child {
    struct core_loop *loop;
    pid_t pid; /* 0: it could not be started */
    int pidfd;
    int output;
    struct core_watch *end_watch;
    struct core_watch *output_watch;
    struct core_timer timer;
    void (*on_end)(void *ctx, const struct serve_child_end *end);
    void *ctx;
    bool is_timed_out;
    size_t text_len;
    char text[SERVE_CHILD_BYTES_MAX + 1];
};

/* ---- starting --------------------------------------------------------------------------------------------------------------- */

/* What posix_spawn() is told. fds: for 0, 1, 2. */
struct start {
    const char *const *argv;
    const char *cwd;
    const char *const *env;
    int fds[3];
};

static bool env_has(const char *const *env, size_t len, const char *pair) {
    size_t name_len = strcspn(pair, "=") + 1;
    for (size_t i = 0; i < len; i++) {
        if (strncmp(env[i], pair, name_len) == 0) {
            return true;
        }
    }
    return false;
}

/* Our own and these; a name twice would be one thing to one program and another to the next. */
static char **env_joined(const char *const *more) {
    size_t len = 0;
    size_t more_len = 0;
    while (environ[len] != NULL) {
        len++;
    }
    while (more != NULL && more[more_len] != NULL) {
        more_len++;
    }
    char **joined = calloc(len + more_len + 1, sizeof(*joined));
    MUST(joined != NULL);
    size_t at = 0;
    for (size_t i = 0; i < more_len; i++) {
        joined[at++] = (char *)(uintptr_t)more[i];
    }
    for (size_t i = 0; i < len; i++) {
        if (!env_has(more, more_len, environ[i])) {
            joined[at++] = environ[i];
        }
    }
    return joined;
}

/* Errors: the number of an errno; 0: it runs. */
static int start_spawn(const struct start *start, pid_t *pid) {
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t actions;
    sigset_t none;
    sigset_t all;
    char **env = env_joined(start->env);
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int err = posix_spawnattr_init(&attr);
    MUST(err == 0);
    err = posix_spawn_file_actions_init(&actions);
    MUST(err == 0);
    err = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    MUST(err == 0);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    (void)posix_spawnattr_setsigdefault(&attr, &all);
    for (int fd = 0; fd < 3 && err == 0; fd++) {
        err = posix_spawn_file_actions_adddup2(&actions, start->fds[fd], fd);
    }
    if (err == 0 && start->cwd != NULL) {
        err = posix_spawn_file_actions_addchdir_np(&actions, start->cwd);
    }
    if (err == 0) {
        err = posix_spawnp(pid, start->argv[0], &actions, &attr, (char *const *)(uintptr_t)start->argv, env);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attr);
    free(env);
    return err;
}

static int pidfd_of(pid_t pid) {
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int input_open(struct core_span input) {
    if (input.len == 0) {
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    int fd = memfd_create("input", MFD_CLOEXEC);
    while (fd >= 0 && input.len > 0) {
        ssize_t n = write(fd, input.ptr, input.len);
        if (n < 0 && errno != EINTR) {
            (void)close(fd);
            return -1;
        }
        input.ptr += n > 0 ? n : 0;
        input.len -= n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0 && lseek(fd, 0, SEEK_SET) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void fd_close(int fd) {
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* ---- output and end ---------------------------------------------------------------------------------------------------------- */

static void child_free(struct serve_child *child) {
    core_timer_clear(&child->timer);
    core_loop_unwatch(child->end_watch);
    core_loop_unwatch(child->output_watch);
    fd_close(child->pidfd);
    fd_close(child->output);
    free(child);
}

/* Take what there is; what is too much is read and dropped, or the program would wait for ever. False: no more will come. */
static bool child_read(struct serve_child *child) {
    char bytes[READ_BYTES];
    for (;;) {
        ssize_t n = read(child->output, bytes, sizeof(bytes));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 && errno == EAGAIN;
        }
        size_t room = SERVE_CHILD_BYTES_MAX - child->text_len;
        size_t take = (size_t)n < room ? (size_t)n : room;
        memcpy(child->text + child->text_len, bytes, take);
        child->text_len += take;
    }
}

static void child_on_output(void *ctx, uint32_t events) {
    struct serve_child *child = ctx;
    (void)events;
    if (!child_read(child)) {
        core_loop_unwatch(child->output_watch);
        child->output_watch = NULL;
    }
}

static void child_tell(struct serve_child *child, int status) {
    child->text[child->text_len] = '\0';
    const struct serve_child_end end = {
        .status = status, .is_timed_out = child->is_timed_out, .text = {.ptr = child->text, .len = child->text_len}};
    child->on_end(child->ctx, &end);
    child_free(child);
}

static void child_on_end(void *ctx, uint32_t events) {
    struct serve_child *child = ctx;
    int status = 0;
    (void)events;
    MUST(child->pid > 0); /* or the kill were one of our own group */
    /* What it left behind; before the wait, while its number is still its own. */
    (void)kill(-child->pid, SIGKILL);
    if (waitpid(child->pid, &status, WNOHANG) != child->pid) {
        return;
    }
    (void)child_read(child);
    child_tell(child, status);
}

/* Too long; or it never began. */
static void child_on_time(void *ctx) {
    struct serve_child *child = ctx;
    if (child->pid == 0) {
        child_tell(child, -1);
        return;
    }
    child->is_timed_out = true;
    (void)kill(-child->pid, SIGKILL);
}

/* Its end, which may be there already, is not to be seen any more: what is told is that it never began. */
static void child_fail(struct serve_child *child, const char *what, const char *step, const char *why) {
    core_loop_unwatch(child->end_watch);
    core_loop_unwatch(child->output_watch);
    fd_close(child->pidfd);
    child->end_watch = NULL;
    child->output_watch = NULL;
    child->pidfd = -1;
    child->pid = 0;
    child->text_len = (size_t)snprintf(child->text, sizeof(child->text), "%s: %s: %s", what, step, why);
    core_timer_set(child->loop, &child->timer, core_tick_ns());
}

static enum core_err child_watch(struct serve_child *child, struct core_fail *fail) {
    child->pidfd = pidfd_of(child->pid);
    if (child->pidfd < 0) {
        return core_fail_errno(fail, "pidfd", "cannot be opened");
    }
    enum core_err err =
        core_loop_watch(child->loop, child->pidfd, EPOLLIN, child_on_end, child, &child->end_watch, fail);
    return err != CORE_OK ? err
                          : core_loop_watch(child->loop, child->output, EPOLLIN, child_on_output, child,
                                            &child->output_watch, fail);
}

struct serve_child *serve_child_start(struct serve *serve, const struct serve_child_run *run) {
    MUST(run->argv != NULL && run->argv[0] != NULL);
    MUST(run->on_end != NULL);
    struct serve_child *child = malloc(sizeof(*child));
    MUST(child != NULL);
    child->text_len = 0; /* and not a quarter of a MiB of zeros */
    child->loop = serve->loop;
    child->pid = 0;
    child->pidfd = -1;
    child->output = -1;
    child->end_watch = NULL;
    child->output_watch = NULL;
    child->timer = (struct core_timer){.on_time = child_on_time, .ctx = child};
    child->on_end = run->on_end;
    child->ctx = run->ctx;
    child->is_timed_out = false;
    struct core_fail fail = {0};
    int ends[2] = {-1, -1};
    struct start start = {.argv = run->argv, .cwd = run->cwd, .env = run->env, .fds = {-1, -1, -1}};
    start.fds[0] = input_open(run->input);
    if (start.fds[0] < 0 || pipe2(ends, O_CLOEXEC) != 0) {
        child_fail(child, run->argv[0], "cannot be given input and output", strerror(errno));
        goto out;
    }
    start.fds[1] = ends[1];
    start.fds[2] = ends[1];
    child->output = ends[0];
    int err = fcntl(child->output, F_SETFL, O_NONBLOCK) == 0 ? start_spawn(&start, &child->pid) : errno;
    if (err != 0) {
        child_fail(child, run->argv[0], "cannot be started", strerror(err));
        goto out;
    }
    if (child_watch(child, &fail) != CORE_OK) {
        (void)kill(-child->pid, SIGKILL);
        (void)waitpid(child->pid, NULL, 0);
        child_fail(child, run->argv[0], "cannot be watched, so it was ended", fail.text);
        goto out;
    }
    core_timer_set(child->loop, &child->timer, core_tick_ns() + run->timeout_ns);
out:
    fd_close(start.fds[0]);
    fd_close(ends[1]);
    return child;
}

void serve_child_stop(struct serve_child *child) {
    if (child == NULL) {
        return;
    }
    if (child->pid != 0) {
        (void)kill(-child->pid, SIGKILL);
        (void)waitpid(child->pid, NULL, 0);
    }
    child_free(child);
}

/* ---- the Supervisor ------------------------------------------------------------------------------------------------------------ */

/* One that we have started, while we live. Whoever comes after us only has its socket. */
struct started {
    struct serve *serve;
    pid_t pid;
    int pidfd;
    struct core_watch *watch;
};

static void started_on_end(void *ctx, uint32_t events) {
    struct started *started = ctx;
    int status = 0;
    (void)events;
    if (waitpid(started->pid, &status, WNOHANG) != started->pid) {
        return;
    }
    if (!started->serve->is_ending) {
        core_log(CORE_LEVEL_ERROR, "serve", "the Supervisor has ended", "pid=%d %s=%d see=%s/supervisor.log",
                 (int)started->pid, WIFSIGNALED(status) ? "signal" : "exit",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), started->serve->conf->state);
    }
    core_loop_unwatch(started->watch);
    (void)close(started->pidfd);
    if (started->serve->started == started) {
        started->serve->started = NULL;
    }
    free(started);
}

void serve_supervisor_forget(struct serve *serve) {
    if (serve->started != NULL) {
        core_loop_unwatch(serve->started->watch);
        (void)close(serve->started->pidfd);
        free(serve->started);
        serve->started = NULL;
    }
}

static int log_open(const struct serve *serve, struct core_fail *fail) {
    char path[PATH_BYTES_MAX];
    char old[PATH_BYTES_MAX + 4];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/supervisor.log", serve->conf->state);
    (void)snprintf(old, sizeof(old), "%s.old", path);
    if (stat(path, &st) == 0 && st.st_size > LOG_BYTES_MAX) {
        (void)rename(path, old);
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, LOG_MODE);
    if (fd < 0) { /* filled here: what the caller does needs no more than the words */
        enum core_err err CORE_UNUSED = core_fail_errno(fail, path, "cannot be opened");
    }
    return fd;
}

void serve_supervisor_start(struct serve *serve) {
    const struct serve_conf *conf = serve->conf;
    struct core_fail fail = {0};
    const char *argv[10] = {serve->env->supervise, "--socket", conf->supervisor_socket, "--state", conf->state};
    size_t argv_len = 5;
    if (serve->group != NULL) {
        argv[argv_len++] = "--group";
        argv[argv_len++] = serve->group;
    }
    if (core_log_format_now() != CORE_LOG_LOGFMT) {
        argv[argv_len++] = "--log-format";
        argv[argv_len++] = core_log_format_names[core_log_format_now()];
    }
    if (serve->started != NULL) {
        return; /* it has not ended: it is on its way, or too busy to answer */
    }
    struct started *started = calloc(1, sizeof(*started));
    MUST(started != NULL);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int log = log_open(serve, &fail);
    struct start start = {.argv = argv, .cwd = "/", .fds = {null, log, log}};
    int err = null < 0 || log < 0 ? errno : start_spawn(&start, &started->pid);
    if (err != 0) {
        core_log(CORE_LEVEL_ERROR, "serve", "cannot start the Supervisor",
                 "program=%s why=\"%s%s%s\" effect=\"tried again; running sensors go on\"", serve->env->supervise,
                 strerror(err), log < 0 ? "; " : "", log < 0 ? fail.text : "");
        free(started);
    } else {
        core_log(CORE_LEVEL_INFO, "serve", "a Supervisor was started", "pid=%d socket=%s log=%s/supervisor.log",
                 (int)started->pid, conf->supervisor_socket, conf->state);
        started->serve = serve;
        started->pidfd = pidfd_of(started->pid);
        if (started->pidfd >= 0 && core_loop_watch(serve->loop, started->pidfd, EPOLLIN, started_on_end, started,
                                                   &started->watch, &fail) == CORE_OK) {
            serve->started = started;
        } else { /* its end will not be seen; its absence will */
            fd_close(started->pidfd);
            free(started);
        }
    }
    fd_close(null);
    fd_close(log);
}
