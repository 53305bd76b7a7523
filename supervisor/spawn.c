/* supervisor/spawn.c: from fork to exec, and signals to what came of it.
 *
 * Everything that can be looked up is looked up before the fork (user, groups, program, environment, directories), so that the
 * child only makes system calls, in this order:
 *
 *   signals, session · cgroup · limits, nice, CPUs, bounding set     as the Supervisor: these may need its privilege
 *   groups, user, capabilities                                       the privilege goes
 *   working directory, output, exec                                  as the user: the kernel says what he may open
 *
 * A step that fails writes {step, errno} into a pipe that exec would have closed; the Supervisor waits for one or the other.
 * What was asked for and cannot be done is refused: nothing runs with less protection, or fewer limits, than its spec says.
 *
 * The child is a session and a process group, so a signal to the group reaches what it starts. What leaves the group is found
 * by its cgroup, or else by the cookie in its environment.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SPAWN_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define SPAWN_LANG "C.UTF-8"
#define SPAWN_ENV_OWN 8 /* cookie, ready_fd, PATH, HOME, USER, LOGNAME, SHELL, LANG */
#define SPAWN_GROUPS_MAX 256
#define SPAWN_READY_BYTES 256
#define SPAWN_READY_FD 3  /* in the process */
#define SPAWN_FDS_FROM 10 /* while it is being made */
#define SPAWN_EXEC_MS_MAX 10000
#define SPAWN_DIRECTORY_MODE 0750
#define SPAWN_OUTPUT_MODE 0640
#define SPAWN_KILL_ROUNDS 5
#define SPAWN_ENVIRON_LOOKS 20
#define SPAWN_ENVIRON_BYTES_MAX ((size_t)256 * 1024)

/* ---- steps --------------------------------------------------------------------------------------------------------------- */

enum spawn_step {
    STEP_SESSION,
    STEP_CGROUP,
    STEP_LIMIT,
    STEP_MEMORY,
    STEP_NICE,
    STEP_CPUS,
    STEP_BOUND,
    STEP_GROUPS,
    STEP_USER,
    STEP_CAPABILITIES,
    STEP_CWD,
    STEP_STDIN,
    STEP_STDOUT,
    STEP_STDERR,
    STEP_DESCRIPTORS,
    STEP_EXEC,
    STEP__MAX
};

static const struct {
    const char *what;
    const char *help; /* for EPERM and EACCES */
} steps[STEP__MAX] = {
    [STEP_SESSION] = {"cannot give it a session of its own", NULL},
    [STEP_CGROUP] = {"cannot move it into its cgroup", NULL},
    [STEP_LIMIT] = {"cannot set one of its limits", "a limit above the Supervisor's own needs root: lower it"},
    [STEP_MEMORY] = {"cannot limit its memory", "the Supervisor's own limit is lower: lower memory_max"},
    [STEP_NICE] = {"cannot set its niceness", "a niceness below the Supervisor's own needs root: leave it out"},
    [STEP_CPUS] = {"cannot pin it to its CPUs; are there so many, and may the Supervisor use them?", NULL},
    [STEP_BOUND] = {"cannot reduce the capabilities that it can get", NULL},
    [STEP_GROUPS] = {"cannot give it its groups", "other groups need root: leave them out"},
    [STEP_USER] = {"cannot become its user", "another user needs root: leave it out"},
    [STEP_CAPABILITIES] = {"cannot give it its capabilities", "run the Supervisor as root"},
    [STEP_CWD] = {"cannot go to its working directory", "its user may not enter it: give him permission"},
    [STEP_STDIN] = {"cannot open /dev/null", NULL},
    [STEP_STDOUT] = {"cannot open the file for its output", "its user may not write it: give him directory and file"},
    [STEP_STDERR] = {"cannot open the file for its errors", "its user may not write it: give him directory and file"},
    [STEP_DESCRIPTORS] = {"cannot close what is not its", NULL},
    [STEP_EXEC] = {"cannot execute its program", "its user may not execute it: give him permission"},
};

struct spawn_report {
    int step;
    int number; /* errno */
};

/* All that the child needs. */
struct spawn {
    const struct supervisor_spec *spec;
    struct supervisor_user user;
    gid_t groups[SPAWN_GROUPS_MAX];
    int groups_len; /* -1: as they are */
    uint64_t caps;
    bool caps_are_kept;
    bool limits_address_space; /* memory_max, where no cgroup can */
    struct {
        int resource;
        rlim_t value;
    } limits[RLIM_NLIMITS];
    size_t limits_len;
    char program[SUPERVISOR_PATH_BYTES_MAX];
    char output[2][SUPERVISOR_PATH_BYTES_MAX];
    char **env;
    int cgroup_fd;
    int report_fds[2];
    int ready_fd; /* -1: no rule wants it */
};

/* ---- whom ---------------------------------------------------------------------------------------------------------------- */

enum core_err supervisor_user_find(const char *name, struct supervisor_user *out, struct core_fail *fail) {
    MUST(out != NULL);
    const struct passwd *row = name != NULL ? getpwnam(name) : getpwuid(geteuid());
    if (row == NULL && name != NULL) {
        return core_fail_set(fail, CORE_BAD, name, "there is no user \"%s\" on this host: add it, or name another",
                             name);
    }
    *out = (struct supervisor_user){.uid = row != NULL ? row->pw_uid : geteuid(),
                                    .gid = row != NULL ? row->pw_gid : getegid()};
    snprintf(out->name, sizeof out->name, "%s", row != NULL ? row->pw_name : "");
    snprintf(out->home, sizeof out->home, "%s", row != NULL ? row->pw_dir : "/");
    snprintf(out->shell, sizeof out->shell, "%s", row != NULL && row->pw_shell[0] != '\0' ? row->pw_shell : "/bin/sh");
    return CORE_OK;
}

/* The groups that spec names, or those of its user; -1: as the Supervisor's. */
static enum core_err groups_find(struct spawn *spawn, struct core_fail *fail) {
    const struct supervisor_spec *spec = spawn->spec;
    spawn->groups_len = -1;
    if (spec->groups == NULL && (spec->user == NULL || geteuid() != 0)) {
        return CORE_OK;
    }
    spawn->groups_len = 0;
    if (spec->groups == NULL) {
        spawn->groups_len = SPAWN_GROUPS_MAX;
        return getgrouplist(spawn->user.name, spawn->user.gid, spawn->groups, &spawn->groups_len) >= 0
                   ? CORE_OK
                   : core_fail_set(fail, CORE_LIMIT, spec->name, "user %s is in more than %d groups", spawn->user.name,
                                   SPAWN_GROUPS_MAX);
    }
    for (size_t i = 0; spec->groups[i] != NULL; i++) {
        const struct group *row = getgrnam(spec->groups[i]);
        if (row == NULL) {
            return core_fail_set(fail, CORE_BAD, spec->name,
                                 "there is no group \"%s\" on this host: add it, or name another", spec->groups[i]);
        }
        if (spawn->groups_len == SPAWN_GROUPS_MAX) {
            return core_fail_set(fail, CORE_LIMIT, spec->name, "more than %d groups", SPAWN_GROUPS_MAX);
        }
        spawn->groups[spawn->groups_len++] = row->gr_gid;
    }
    return CORE_OK;
}

static enum core_err user_find(struct spawn *spawn, struct core_fail *fail) {
    enum core_err err = supervisor_user_find(spawn->spec->user, &spawn->user, fail);
    if (err != CORE_OK) {
        return err;
    }
    if (geteuid() != 0 && spawn->user.uid != geteuid()) {
        return core_fail_set(
            fail, CORE_BAD, spawn->spec->name,
            "cannot run as user %s: the Supervisor runs as uid %u and only root can become another user. "
            "Run the Supervisor as root, or leave the user out",
            spawn->user.name, geteuid());
    }
    return groups_find(spawn, fail);
}

/* ---- limits ---------------------------------------------------------------------------------------------------------------- */

static enum core_err limits_read(struct spawn *spawn, struct core_fail *fail) {
    for (size_t i = 0; i < spawn->spec->limits_len; i++) {
        const struct supervisor_pair *pair = &spawn->spec->limits[i];
        uint64_t value = 0;
        int resource = supervisor_limit_of(pair->key);
        if (spawn->limits_len == RLIM_NLIMITS || resource < 0 || !supervisor_limit_value(pair->value, &value)) {
            return core_fail_set(
                fail, CORE_BAD, spawn->spec->name,
                "the limit \"%s\": \"%s\" is none: names are those of setrlimit(2) in small letters without "
                "RLIMIT_ (nofile, core, memlock …), each once; values are numbers or \"unlimited\"",
                pair->key, pair->value);
        }
        spawn->limits[spawn->limits_len].resource = resource;
        spawn->limits[spawn->limits_len++].value = (rlim_t)value;
    }
    return CORE_OK;
}

/* ---- program and environment ----------------------------------------------------------------------------------------------- */

static const char *env_value(const struct supervisor_spec *spec, const char *key) {
    for (size_t i = 0; i < spec->env_len; i++) {
        if (strcmp(spec->env[i].key, key) == 0) {
            return spec->env[i].value;
        }
    }
    return NULL;
}

/* argv[0], or where PATH has it. */
static enum core_err program_find(struct spawn *spawn, struct core_fail *fail) {
    const char *name = spawn->spec->argv[0];
    if (strchr(name, '/') != NULL) {
        int len = snprintf(spawn->program, sizeof spawn->program, "%s", name);
        return len > 0 && (size_t)len < sizeof spawn->program
                   ? CORE_OK
                   : core_fail_set(fail, CORE_BAD, spawn->spec->name, "the path of its program is too long");
    }
    const char *path = env_value(spawn->spec, "PATH");
    path = path != NULL ? path : SPAWN_PATH;
    for (const char *from = path; *from != '\0';) {
        size_t len = strcspn(from, ":");
        struct stat st;
        int wrote = snprintf(spawn->program, sizeof spawn->program, "%.*s/%s", (int)len, from, name);
        if (len > 0 && wrote > 0 && (size_t)wrote < sizeof spawn->program && stat(spawn->program, &st) == 0 &&
            S_ISREG(st.st_mode) && (st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) != 0) {
            return CORE_OK;
        }
        from += len + (from[len] == ':');
    }
    return core_fail_set(
        fail, CORE_BAD, spawn->spec->name,
        "its program \"%s\" is in no directory of PATH (%s): give its path, or PATH in its environment", name, path);
}

static char *pair_text(const char *key, const char *value) {
    size_t cap = strlen(key) + strlen(value) + 2;
    char *text = malloc(cap);
    MUST(text != NULL);
    snprintf(text, cap, "%s=%s", key, value);
    return text;
}

/* Ours first, then spec's, then what spec has not said otherwise. */
static void env_make(struct spawn *spawn, const char *cookie) {
    const struct supervisor_spec *spec = spawn->spec;
    const struct supervisor_pair defaults[] = {
        {"PATH", SPAWN_PATH},          {"HOME", spawn->user.home},   {"USER", spawn->user.name},
        {"LOGNAME", spawn->user.name}, {"SHELL", spawn->user.shell}, {"LANG", SPAWN_LANG},
    };
    char ready_fd[12];
    size_t len = 0;
    spawn->env = calloc(spec->env_len + SPAWN_ENV_OWN + 1, sizeof *spawn->env);
    MUST(spawn->env != NULL);
    spawn->env[len++] = pair_text("TAPLINE_COOKIE", cookie);
    if (spawn->ready_fd >= 0) {
        snprintf(ready_fd, sizeof ready_fd, "%d", SPAWN_READY_FD);
        spawn->env[len++] = pair_text("TAPLINE_READY_FD", ready_fd);
    }
    for (size_t i = 0; i < spec->env_len; i++) {
        if (strcmp(spec->env[i].key, "TAPLINE_COOKIE") != 0 && strcmp(spec->env[i].key, "TAPLINE_READY_FD") != 0) {
            spawn->env[len++] = pair_text(spec->env[i].key, spec->env[i].value);
        }
    }
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++) {
        if (env_value(spec, defaults[i].key) == NULL) {
            spawn->env[len++] = pair_text(defaults[i].key, defaults[i].value);
        }
    }
}

static void env_free(char **env) {
    for (size_t i = 0; env != NULL && env[i] != NULL; i++) {
        free(env[i]);
    }
    free(env);
}

/* ---- directories ------------------------------------------------------------------------------------------------------------ */

/* Make it, the user's own. A link in its place is not followed: what is above may be the user's, and we may be root. */
static enum core_err directory_make(const struct spawn *spawn, const char *path, struct core_fail *fail) {
    if (path == NULL || mkdir(path, SPAWN_DIRECTORY_MODE) != 0) {
        if (path == NULL || errno == EEXIST) {
            return CORE_OK;
        }
        return core_fail_errno(fail, path, "cannot make this directory for %s", spawn->spec->name);
    }
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool is_done = fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && fchmod(fd, SPAWN_DIRECTORY_MODE) == 0 &&
                   (spawn->user.uid == geteuid() || fchown(fd, spawn->user.uid, spawn->user.gid) == 0);
    enum core_err err =
        is_done ? CORE_OK : core_fail_errno(fail, path, "cannot give this new directory to user %s", spawn->user.name);
    if (fd >= 0) {
        close(fd);
    }
    return err;
}

/* ---- in the child ------------------------------------------------------------------------------------------------------------ */

_Noreturn static void child_fail(const struct spawn *spawn, enum spawn_step step) {
    struct spawn_report report = {.step = (int)step, .number = errno};
    ssize_t wrote = write(spawn->report_fds[1], &report, sizeof report);
    (void)wrote; /* then the Supervisor is gone, and nobody asks */
    _exit(CORE_EXIT_SYSTEM);
}

static void child_limit(const struct spawn *spawn) {
    for (size_t i = 0; i < spawn->limits_len; i++) {
        struct rlimit limit = {.rlim_cur = spawn->limits[i].value, .rlim_max = spawn->limits[i].value};
        if (setrlimit((__rlimit_resource_t)spawn->limits[i].resource, &limit) != 0) {
            child_fail(spawn, STEP_LIMIT);
        }
    }
    if (spawn->limits_address_space) {
        struct rlimit limit = {.rlim_cur = spawn->spec->memory_max_bytes, .rlim_max = spawn->spec->memory_max_bytes};
        if (setrlimit(RLIMIT_AS, &limit) != 0) {
            child_fail(spawn, STEP_MEMORY);
        }
    }
    if (spawn->spec->nice != 0 && setpriority(PRIO_PROCESS, 0, spawn->spec->nice) != 0) {
        child_fail(spawn, STEP_NICE);
    }
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    for (size_t i = 0; i < spawn->spec->cpus_len; i++) {
        CPU_SET(spawn->spec->cpus[i], &cpus);
    }
    if (spawn->spec->cpus_len > 0 && sched_setaffinity(0, sizeof cpus, &cpus) != 0) {
        child_fail(spawn, STEP_CPUS);
    }
}

/* The Supervisor may be protected from the kernel's search for memory; what it starts is not, by that alone. */
static void child_unprotect(void) {
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && text[0] == '-') {
        ssize_t wrote = pwrite(fd, "0", 1, 0);
        (void)wrote; /* then it stays protected */
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void child_become(const struct spawn *spawn) {
    if (!spawn->caps_are_kept && !supervisor_caps_bound(spawn->caps)) {
        child_fail(spawn, STEP_BOUND);
    }
    if (spawn->groups_len >= 0 && setgroups((size_t)spawn->groups_len, spawn->groups) != 0) {
        child_fail(spawn, STEP_GROUPS);
    }
    bool is_other = spawn->spec->user != NULL && geteuid() == 0;
    if (is_other &&
        (prctl(PR_SET_KEEPCAPS, 1L) != 0 || setresgid(spawn->user.gid, spawn->user.gid, spawn->user.gid) != 0 ||
         setresuid(spawn->user.uid, spawn->user.uid, spawn->user.uid) != 0 || prctl(PR_SET_KEEPCAPS, 0L) != 0)) {
        child_fail(spawn, STEP_USER);
    }
    if (!spawn->caps_are_kept && !supervisor_caps_take(spawn->caps)) {
        child_fail(spawn, STEP_CAPABILITIES);
    }
}

/* Make fd the number to, open across exec. */
static bool child_move_fd(int fd, int to) {
    return fd == to ? fcntl(fd, F_SETFD, 0) == 0 : dup2(fd, to) == to && close(fd) == 0;
}

static void child_open(const struct spawn *spawn) {
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0 || !child_move_fd(null, STDIN_FILENO)) {
        child_fail(spawn, STEP_STDIN);
    }
    (void)umask(0);
    for (int which = 0; which < 2; which++) {
        struct stat st;
        int fd =
            open(spawn->output[which], O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC,
                 SPAWN_OUTPUT_MODE);
        bool is_file = fd >= 0 && fstat(fd, &st) == 0;
        if (is_file && !S_ISREG(st.st_mode)) {
            is_file = false;
            errno = EINVAL;
        }
        if (!is_file || fcntl(fd, F_SETFL, O_APPEND) != 0 || !child_move_fd(fd, STDOUT_FILENO + which)) {
            child_fail(spawn, which == 0 ? STEP_STDOUT : STEP_STDERR);
        }
    }
    (void)umask((mode_t)spawn->spec->umask);
    bool has_ready = spawn->ready_fd >= 0;
    if (has_ready && !child_move_fd(spawn->ready_fd, SPAWN_READY_FD)) {
        child_fail(spawn, STEP_DESCRIPTORS);
    }
    unsigned from = has_ready ? SPAWN_READY_FD + 1 : SPAWN_READY_FD;
    if (syscall(SYS_close_range, from, ~0U, (unsigned)CLOSE_RANGE_CLOEXEC) != 0) {
        child_fail(spawn, STEP_DESCRIPTORS);
    }
}

_Noreturn static void child_run(const struct spawn *spawn) {
    core_loop_signals_reset();
    if (setsid() < 0) {
        child_fail(spawn, STEP_SESSION);
    }
    if (spawn->cgroup_fd >= 0) {
        int fd = openat(spawn->cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1) {
            child_fail(spawn, STEP_CGROUP);
        }
        close(fd);
    }
    child_unprotect();
    child_limit(spawn);
    child_become(spawn);
    if (chdir(spawn->spec->cwd != NULL ? spawn->spec->cwd : "/") != 0) {
        child_fail(spawn, STEP_CWD);
    }
    child_open(spawn);
    (void)execve(spawn->program, (char *const *)(uintptr_t)spawn->spec->argv, spawn->env);
    child_fail(spawn, STEP_EXEC);
}

/* ---- in the Supervisor -------------------------------------------------------------------------------------------------------- */

static void fd_close(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

/* A pipe whose ends are out of the way of what the child has at 0 … 3. */
static bool pipe_make(int fds[2]) {
    int low[2];
    if (pipe2(low, O_CLOEXEC) != 0) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        fds[i] = fcntl(low[i], F_DUPFD_CLOEXEC, SPAWN_FDS_FROM);
    }
    int number = errno;
    close(low[0]);
    close(low[1]);
    errno = number;
    return fds[0] >= 0 && fds[1] >= 0;
}

static bool wants_ready_fd(const struct supervisor_spec *spec) {
    for (size_t i = 0; i < spec->ready.rules_len; i++) {
        if (strcmp(spec->ready.rules[i], "fd") == 0) {
            return true;
        }
    }
    return false;
}

/* Where the process says that it is ready: a file in memory, so that its word is never a write into a broken pipe, and sealed
 * at a size, so that it takes no more. */
static int ready_make(void) {
    int low = memfd_create("tapline-ready", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int fd = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, SPAWN_FDS_FROM);
    if (fd >= 0 && (ftruncate(fd, SPAWN_READY_BYTES) != 0 ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)) {
        close(fd);
        fd = -1;
    }
    if (low >= 0) {
        close(low);
    }
    return fd;
}

static enum core_err pipes_make(struct spawn *spawn, struct core_fail *fail) {
    bool is_done = pipe_make(spawn->report_fds);
    if (is_done && wants_ready_fd(spawn->spec)) {
        spawn->ready_fd = ready_make();
        is_done = spawn->ready_fd >= 0;
    }
    return is_done ? CORE_OK
                   : core_fail_errno(fail, spawn->spec->name, "cannot make a pipe or a file in memory to start it");
}

/* Everything before the fork. */
static enum core_err spawn_prepare(struct spawn *spawn, const struct supervisor_cgroups *cgroups, const char *cookie,
                                   struct core_fail *fail) {
    const struct supervisor_spec *spec = spawn->spec;
    enum core_err err = user_find(spawn, fail);
    err = err == CORE_OK ? limits_read(spawn, fail) : err;
    err = err == CORE_OK ? program_find(spawn, fail) : err;
    err =
        err == CORE_OK ? supervisor_caps_wanted(spec, spawn->program, &spawn->caps, &spawn->caps_are_kept, fail) : err;
    err = err == CORE_OK ? directory_make(spawn, spec->cwd, fail) : err;
    err = err == CORE_OK ? directory_make(spawn, spec->output.directory, fail) : err;
    err = err == CORE_OK ? supervisor_cgroup_open(cgroups, spec, &spawn->cgroup_fd, fail) : err;
    err = err == CORE_OK ? pipes_make(spawn, fail) : err;
    if (err == CORE_OK) {
        spawn->limits_address_space = spec->memory_max_bytes > 0 && !cgroups->has_memory;
        env_make(spawn, cookie);
        supervisor_output_path(spec, 0, spawn->output[0]);
        supervisor_output_path(spec, 1, spawn->output[1]);
    }
    return err;
}

/* What the report is about. */
static const char *step_where(const struct spawn *spawn, int step) {
    switch (step) {
    case STEP_CWD:
        return spawn->spec->cwd != NULL ? spawn->spec->cwd : "/";
    case STEP_STDOUT:
        return spawn->output[0];
    case STEP_STDERR:
        return spawn->output[1];
    case STEP_EXEC:
        return spawn->program;
    default:
        return spawn->spec->name;
    }
}

/* Wait until the child has executed its program, or has said why not. */
static enum core_err report_wait(const struct spawn *spawn, pid_t child, struct core_fail *fail) {
    struct spawn_report report;
    struct pollfd ready = {.fd = spawn->report_fds[0], .events = POLLIN};
    int polled;
    do {
        polled = poll(&ready, 1, SPAWN_EXEC_MS_MAX);
    } while (polled < 0 && errno == EINTR);
    if (polled <= 0) {
        kill(child, SIGKILL); /* reaped with the orphans, when the disk that it waits for lets it go */
        return core_fail_set(
            fail, CORE_IO, spawn->spec->name,
            "it did not get as far as its program within %d s; does a disk or a mount of its directories hang?",
            SPAWN_EXEC_MS_MAX / 1000);
    }
    ssize_t len = read(spawn->report_fds[0], &report, sizeof report);
    if (len == 0) {
        return CORE_OK;
    }
    MUST(len == (ssize_t)sizeof report);
    MUST(report.step >= 0 && report.step < STEP__MAX);
    (void)waitpid(child, NULL, 0);
    bool is_denied = report.number == EPERM || report.number == EACCES;
    const char *help = is_denied ? steps[report.step].help : NULL;
    return core_fail_set(fail, CORE_IO, step_where(spawn, report.step), "%s (process %s, user %s): %s%s%s",
                         steps[report.step].what, spawn->spec->name, spawn->user.name, strerror(report.number),
                         help != NULL ? "; " : "", help != NULL ? help : "");
}

/* What finds it again. */
static enum core_err pid_fill(const struct spawn *spawn, pid_t child, struct supervisor_pid *out,
                              struct core_fail *fail) {
    struct supervisor_usage usage;
    out->pidfd = (int)syscall(SYS_pidfd_open, child, 0U);
    if (out->pidfd < 0 || !supervisor_usage_of(child, &usage)) {
        enum core_err err =
            core_fail_errno(fail, spawn->spec->name, "started it, but cannot watch it: it was killed again");
        kill(-child, SIGKILL);
        (void)waitpid(child, NULL, 0);
        fd_close(&out->pidfd);
        return err;
    }
    out->pid = child;
    out->start_ticks = usage.start_ticks;
    out->is_child = true;
    return CORE_OK;
}

enum core_err supervisor_spawn(const struct supervisor_spec *spec, const struct supervisor_cgroups *cgroups,
                               struct supervisor_pid *out, struct core_fail *fail) {
    MUST(spec != NULL && spec->name != NULL && spec->argv != NULL && spec->argv[0] != NULL);
    MUST(cgroups != NULL && out != NULL);
    struct supervisor_pid made = {.pidfd = -1, .ready_fd = -1, .spawned_ns = core_now_ns()};
    memcpy(made.cookie, out->cookie, sizeof made.cookie);
    if (made.cookie[0] == '\0') {
        supervisor_cookie_new(made.cookie);
    }
    struct spawn *spawn = calloc(1, sizeof *spawn);
    MUST(spawn != NULL);
    *spawn = (struct spawn){.spec = spec, .cgroup_fd = -1, .report_fds = {-1, -1}, .ready_fd = -1};
    enum core_err err = spawn_prepare(spawn, cgroups, made.cookie, fail);
    if (err != CORE_OK) {
        goto out;
    }
    for (int which = 0; which < 2; which++) {
        struct stat st;
        made.output_from[which] = lstat(spawn->output[which], &st) == 0 ? st.st_size : 0;
    }
    pid_t child = fork();
    if (child == 0) {
        child_run(spawn);
    }
    if (child < 0) {
        err = core_fail_errno(fail, spec->name, "cannot start another process");
        goto out;
    }
    fd_close(&spawn->report_fds[1]);
    err = report_wait(spawn, child, fail);
    err = err == CORE_OK ? pid_fill(spawn, child, &made, fail) : err;
    if (err == CORE_OK) {
        made.ready_fd = spawn->ready_fd;
        spawn->ready_fd = -1;
    }
out:
    *out = made;
    fd_close(&spawn->cgroup_fd);
    fd_close(&spawn->report_fds[0]);
    fd_close(&spawn->report_fds[1]);
    fd_close(&spawn->ready_fd);
    env_free(spawn->env);
    free(spawn);
    return err;
}

/* ---- signals ------------------------------------------------------------------------------------------------------------------- */

/* What the process was given as its environment; 0: nothing to be read. */
static size_t environ_read(int proc_fd, const char *pid, char *bytes) {
    char path[64];
    size_t len = 0;
    ssize_t got;
    snprintf(path, sizeof path, "%.16s/environ", pid);
    int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && len < SPAWN_ENVIRON_BYTES_MAX &&
           (got = read(fd, bytes + len, SPAWN_ENVIRON_BYTES_MAX - len)) > 0) {
        len += (size_t)got;
    }
    fd_close(&fd);
    return len;
}

/* Has the process this cookie in its environment? In the middle of an exec it has none for a moment: then look again. Kernel
 * threads and zombies have none either, and no program. */
static bool has_cookie(int proc_fd, const char *pid, const char *cookie, char *bytes) {
    static const struct timespec moment = {.tv_nsec = 100000};
    char path[64];
    char program[2];
    char wanted[sizeof "TAPLINE_COOKIE=" + SUPERVISOR_COOKIE_BYTES];
    int wanted_len = snprintf(wanted, sizeof wanted, "TAPLINE_COOKIE=%s", cookie);
    size_t len = environ_read(proc_fd, pid, bytes);
    snprintf(path, sizeof path, "%.16s/exe", pid);
    for (int again = 0;
         len == 0 && again < SPAWN_ENVIRON_LOOKS && readlinkat(proc_fd, path, program, sizeof program) > 0; again++) {
        nanosleep(&moment, NULL);
        len = environ_read(proc_fd, pid, bytes);
    }
    return memmem(bytes, len, wanted, (size_t)wanted_len) != NULL;
}

/* Everything that has the cookie; returns how many. The pidfd is opened before the look at the environment: the pid cannot be
 * another's by then. */
static unsigned cookie_kill(const char *cookie, char *bytes) {
    DIR *proc = opendir("/proc");
    const struct dirent *row;
    unsigned killed = 0;
    while (proc != NULL && (row = readdir(proc)) != NULL) {
        if (!core_is_digit(row->d_name[0])) {
            continue;
        }
        pid_t pid = (pid_t)strtol(row->d_name, NULL, 10);
        int pidfd = pid == getpid() ? -1 : (int)syscall(SYS_pidfd_open, pid, 0U);
        if (pidfd >= 0 && has_cookie(dirfd(proc), row->d_name, cookie, bytes)) {
            killed += syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0U) == 0;
        }
        fd_close(&pidfd);
    }
    if (proc != NULL) {
        closedir(proc);
    }
    return killed;
}

void supervisor_signal(const struct supervisor_spec *spec, const struct supervisor_cgroups *cgroups,
                       const struct supervisor_pid *pid, int number) {
    MUST(spec != NULL && cgroups != NULL && pid != NULL);
    MUST(number > 0);
    /* While the pidfd takes a signal (a zombie's does), nobody else can have this pid or this group. */
    bool is_there = pid->pid > 1 && pid->pidfd >= 0 && syscall(SYS_pidfd_send_signal, pid->pidfd, 0, NULL, 0U) == 0;
    if (is_there && kill(-pid->pid, number) != 0) {
        (void)syscall(SYS_pidfd_send_signal, pid->pidfd, number, NULL, 0U); /* it is alone, and in another group */
    }
    if (number == SIGKILL) {
        supervisor_cgroup_kill(cgroups, spec->name);
        if (pid->cookie[0] != '\0' && (cgroups->root[0] == '\0' || !pid->is_child)) {
            char *bytes = malloc(SPAWN_ENVIRON_BYTES_MAX);
            MUST(bytes != NULL);
            for (int round = 0; round < SPAWN_KILL_ROUNDS && cookie_kill(pid->cookie, bytes) > 0; round++) {
                /* what it forked meanwhile may have a pid that was passed already */
            }
            free(bytes);
        }
    }
}
