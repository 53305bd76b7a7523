/* supervisor/supervise.c: the Supervisor as a whole: its start, its loop, its end.
 *
 * Start: the lock (one Supervisor a state directory), the state file, the control channel, then what runs already is adopted
 * and what is wanted is started. In this order: whoever reaches the channel finds all processes in it.
 *
 * Signals: SIGTERM and SIGINT stop all processes by turns, then end it (what a service manager means by stop; what was wanted
 * stays wanted, so the next start brings it back). SIGHUP executes the program anew, which keeps everything. SIGKILL, or a
 * crash, leaves all processes running, and the next Supervisor adopts them. One thread; nothing here blocks but the writing of
 * the state file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/engine_internal.h"

#include "core/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENT_BYTES_MAX ((size_t)4096)
#define LOCK_PATIENCE_NS (3 * CORE_NS_PER_S)
#define LOCK_PAUSE_US 20000
#define TRIM_EVERY_NS (10 * CORE_NS_PER_S)
#define TRIM_FLOOD_NS (100 * CORE_NS_PER_MS)
#define LOG_EVERY_NS (10 * CORE_NS_PER_S)
#define STAT_BLOCK_BYTES 512 /* of st_blocks */

/* ---- processes by name ------------------------------------------------------------------------------------------------- */

/* Where it is, or belongs. */
static size_t place_of(const struct supervisor *supervisor, struct core_span name, bool *is_there) {
    size_t low = 0;
    size_t high = supervisor->processes_len;
    *is_there = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct core_span its = core_span_of(supervisor_process_name(supervisor->processes[middle]));
        int order = memcmp(its.ptr, name.ptr, its.len < name.len ? its.len : name.len);
        if (order == 0 && its.len == name.len) {
            *is_there = true;
            return middle;
        }
        bool is_before = order < 0 || (order == 0 && its.len < name.len);
        low = is_before ? middle + 1 : low;
        high = is_before ? high : middle;
    }
    return low;
}

struct supervisor_process *supervisor_find(const struct supervisor *supervisor, struct core_span name) {
    bool is_there = false;
    size_t at = name.len == 0 ? 0 : place_of(supervisor, name, &is_there);
    return is_there ? supervisor->processes[at] : NULL;
}

void supervisor_add(struct supervisor *supervisor, struct supervisor_process *process) {
    bool is_there = false;
    MUST(supervisor->processes_len < SUPERVISOR_PROCESSES_MAX);
    size_t at = place_of(supervisor, core_span_of(supervisor_process_name(process)), &is_there);
    MUST(!is_there);
    struct supervisor_process **slot = supervisor->processes + at;
    memmove(slot + 1, slot, (supervisor->processes_len - at) * sizeof(*slot));
    *slot = process;
    supervisor->processes_len++;
}

void supervisor_remove(struct supervisor *supervisor, struct supervisor_process *process) {
    bool is_there = false;
    size_t at = place_of(supervisor, core_span_of(supervisor_process_name(process)), &is_there);
    MUST(is_there);
    struct supervisor_process **slot = supervisor->processes + at;
    supervisor->processes_len--;
    memmove(slot, slot + 1, (supervisor->processes_len - at) * sizeof(*slot));
    supervisor_process_free(process);
}

/* ---- telling ----------------------------------------------------------------------------------------------------------- */

static void put(struct core_buf *buf, const char *text) {
    core_buf_put(buf, text, strlen(text));
}

void supervisor_time_put(struct core_buf *buf, int64_t ns) {
    char text[27];
    MUST(core_time_iso(ns, text));
    core_buf_string(buf, (struct core_span){.ptr = text, .len = sizeof(text)});
}

void supervisor_end_put(struct core_buf *buf, const struct supervisor_end *end) {
    static const char *const keys[] = {
        [SUPERVISOR_ENDED_EXIT] = "\"exit\":",
        [SUPERVISOR_ENDED_SIGNAL] = "\"signal\":",
        [SUPERVISOR_ENDED_UNKNOWN] = "\"unknown\":true",
        [SUPERVISOR_ENDED_UNBORN] = "\"not_started\":true",
    };
    MUST(end->kind != SUPERVISOR_ENDED_NOT);
    put(buf, keys[end->kind]);
    if (end->kind == SUPERVISOR_ENDED_EXIT || end->kind == SUPERVISOR_ENDED_SIGNAL) {
        core_buf_i64(buf, end->code);
    }
}

static void tell_line(struct supervisor *supervisor, const struct core_buf *buf) {
    MUST(!buf->is_full);
    if (supervisor->server != NULL) {
        core_rpc_event(supervisor->server, core_buf_written(buf));
    }
}

void supervisor_tell_state(struct supervisor_process *process, enum supervisor_state from,
                           const struct supervisor_end *end) {
    char text[EVENT_BYTES_MAX];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    const char *name = supervisor_process_name(process);
    put(&buf, "\"kind\":\"state\",\"name\":");
    core_buf_string(&buf, core_span_of(name));
    put(&buf, ",\"from\":\"");
    put(&buf, supervisor_state_names[from]);
    put(&buf, "\",\"to\":\"");
    put(&buf, supervisor_state_names[process->state]);
    put(&buf, "\",\"pid\":");
    core_buf_i64(&buf, process->pid.pid);
    put(&buf, ",\"is_wanted\":");
    put(&buf, process->is_wanted ? "true" : "false");
    put(&buf, ",\"is_changed\":");
    put(&buf, process->next != NULL ? "true" : "false");
    put(&buf, ",\"adopted\":");
    put(&buf, supervisor_process_is_alive(process) && !process->pid.is_child ? "true" : "false");
    put(&buf, ",\"reason\":");
    core_buf_string(&buf, core_span_of(process->reason));
    if (end != NULL && end->kind != SUPERVISOR_ENDED_NOT) {
        put(&buf, ",");
        supervisor_end_put(&buf, end);
        put(&buf, ",\"ended_pid\":");
        core_buf_i64(&buf, end->pid);
        put(&buf, ",\"uptime_ns\":");
        core_buf_i64(&buf, end->uptime_ns);
    }
    tell_line(process->owner, &buf);
    char what[SUPERVISOR_NAME_BYTES_MAX + 64];
    (void)snprintf(what, sizeof(what), "process %s: %s to %s", name, supervisor_state_names[from],
                   supervisor_state_names[process->state]);
    core_log(CORE_LEVEL_INFO, "supervise", what, "pid=%d reason=\"%s\"", (int)process->pid.pid, process->reason);
}

void supervisor_tell_alarm(struct supervisor_process *process, const char *fmt, ...) {
    char words[768];
    char text[EVENT_BYTES_MAX];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(words, sizeof(words), fmt, args);
    va_end(args);
    put(&buf, "\"kind\":\"alarm\",\"name\":");
    core_buf_string(&buf, core_span_of(supervisor_process_name(process)));
    put(&buf, ",\"text\":");
    core_buf_string(&buf, core_utf8_cut(core_span_of(words), 512));
    tell_line(process->owner, &buf);
    core_log(CORE_LEVEL_ERROR, "supervise", "a process needs a person", "name=%s text=\"%s\"",
             supervisor_process_name(process), words);
}

void supervisor_tell_quiet(struct supervisor_process *process) {
    char text[EVENT_BYTES_MAX];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    put(&buf, "\"kind\":\"quiet\",\"name\":");
    core_buf_string(&buf, core_span_of(supervisor_process_name(process)));
    put(&buf, ",\"text\":");
    core_buf_string(&buf, core_span_of(process->quiet));
    tell_line(process->owner, &buf);
}

void supervisor_tell(struct supervisor *supervisor, enum core_level level, const char *fmt, ...) {
    char words[768];
    char text[EVENT_BYTES_MAX];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(words, sizeof(words), fmt, args);
    va_end(args);
    put(&buf, "\"kind\":\"supervisor\",\"text\":");
    core_buf_string(&buf, core_utf8_cut(core_span_of(words), 512));
    tell_line(supervisor, &buf);
    core_log(level, "supervise", words, "pid=%d", (int)getpid());
}

/* ---- what is done now and then ------------------------------------------------------------------------------------------- */

/* What a file takes on the disk: one whose front is a hole is long and takes little. */
static uint64_t disk_bytes(const char *path) {
    struct stat status;
    if (stat(path, &status) != 0) {
        return 0;
    }
    uint64_t used = (uint64_t)status.st_blocks * STAT_BLOCK_BYTES;
    return used < (uint64_t)status.st_size ? used : (uint64_t)status.st_size;
}

bool supervisor_trim_now(struct supervisor_process *process) {
    bool has_helped = false;
    for (int which = 0; which < 2; which++) {
        char path[SUPERVISOR_PATH_BYTES_MAX];
        supervisor_output_path(&process->held->spec, which, path);
        const uint64_t before = disk_bytes(path);
        if (before <= process->held->spec.output.bytes_max) {
            continue;
        }
        off_t moved = (off_t)supervisor_output_trim(&process->held->spec, which);
        off_t *const marks[] = {&process->pid.output_from[which], &process->pulse.output_read[which]};
        for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
            *marks[i] = *marks[i] > moved ? *marks[i] - moved : 0;
        }
        has_helped = has_helped || moved > 0 || disk_bytes(path) < before;
    }
    return has_helped;
}

/* One that writes a lot is looked at often, and less and less often when it writes no more: right after a trim, which its writer
 * had to wait for, a file is short whatever is to come. All others together, so that we wake up once for them. */
static void trim(struct supervisor_process *process) {
    if (supervisor_trim_now(process)) {
        process->trim_every_ns = TRIM_FLOOD_NS;
    } else {
        const bool is_calm = process->trim_every_ns == 0 || process->trim_every_ns > TRIM_EVERY_NS / 2;
        process->trim_every_ns = is_calm ? TRIM_EVERY_NS : 2 * process->trim_every_ns;
    }
    const int64_t now_ns = core_tick_ns(); /* a trim can take its time */
    process->trim_due_ns = now_ns + process->trim_every_ns;
    if (process->trim_every_ns == TRIM_EVERY_NS) {
        process->trim_due_ns -= process->trim_due_ns % TRIM_EVERY_NS;
    }
}

static void on_trim(void *ctx) {
    struct supervisor *supervisor = ctx;
    const int64_t now_ns = core_tick_ns();
    int64_t next_ns = now_ns + TRIM_EVERY_NS;
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        struct supervisor_process *process = supervisor->processes[i];
        if (!supervisor_process_is_alive(process)) {
            continue;
        }
        if (process->trim_due_ns <= now_ns) {
            trim(process);
        }
        next_ns = process->trim_due_ns < next_ns ? process->trim_due_ns : next_ns;
    }
    core_timer_set(supervisor->loop, &supervisor->trim_timer, next_ns);
}

void supervisor_trim_by(struct supervisor_process *process, int64_t due_ns) {
    struct supervisor *supervisor = process->owner;
    process->trim_due_ns = due_ns;
    if (!core_timer_is_set(&supervisor->trim_timer) || supervisor->trim_timer.due_ns > due_ns) {
        core_timer_set(supervisor->loop, &supervisor->trim_timer, due_ns);
    }
}

static void on_notify(void *ctx) {
    struct supervisor *supervisor = ctx;
    core_notify("WATCHDOG=1");
    core_timer_set(supervisor->loop, &supervisor->notify_timer, core_tick_ns() + core_notify_watchdog_ns() / 3);
}

/* What was folded is told when its time is over, also if nothing else is. Seldom, for a Supervisor mostly sleeps. */
static void on_log(void *ctx) {
    struct supervisor *supervisor = ctx;
    core_log_tick();
    core_timer_set(supervisor->loop, &supervisor->log_timer, core_tick_ns() + LOG_EVERY_NS);
}

static void on_turns(void *ctx) {
    supervisor_turns_go(ctx);
}

static void on_upgrade(void *ctx) {
    supervisor_reexec(ctx);
}

static void on_signal(void *ctx, int number) {
    struct supervisor *supervisor = ctx;
    switch (number) {
    case SIGCHLD:
        supervisor_sweep_reap(supervisor);
        break;
    case SIGHUP:
        core_timer_set(supervisor->loop, &supervisor->upgrade_timer, core_tick_ns());
        break;
    default:
        core_notify("STOPPING=1");
        supervisor_tell(supervisor, CORE_LEVEL_INFO,
                        "SIG%s: all processes are stopped, those of the lowest order first, then the Supervisor ends",
                        supervisor_signal_name(number));
        supervisor_turns_end(supervisor);
    }
}

/* ---- start and end --------------------------------------------------------------------------------------------------------- */

static void who_holds(int fd, char *out, size_t len) {
    char pid[32] = "";
    ssize_t got = pread(fd, pid, sizeof(pid) - 1, 0);
    long number = got > 0 ? strtol(pid, NULL, 10) : 0;
    (void)snprintf(out, len, number > 0 ? "process %ld" : "another process", number);
}

/* One that was killed a moment ago may hold it a moment longer: a child that it had forked holds it until that is executed. So
 * whoever has the lock knows that nothing of the one before is between fork and exec, where no cookie could be seen. */
static enum core_err lock_state(const char *dir, int *fd, struct core_fail *fail) {
    char path[SUPERVISOR_PATH_BYTES_MAX];
    char pid[32];
    if (mkdir(dir, 0750) != 0 && errno != EEXIST) {
        return core_fail_errno(fail, dir, "cannot make the directory of the state file");
    }
    if (snprintf(path, sizeof(path), "%s/supervisor.lock", dir) >= (int)sizeof(path)) {
        return core_fail_set(fail, CORE_BAD, dir, "the path is too long");
    }
    if (*fd < 0) {
        *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    }
    if (*fd < 0) {
        return core_fail_errno(fail, path, "cannot open the lock");
    }
    for (int64_t until_ns = core_tick_ns() + LOCK_PATIENCE_NS; flock(*fd, LOCK_EX | LOCK_NB) != 0;) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return core_fail_errno(fail, path, "cannot lock it");
        }
        if (core_tick_ns() > until_ns) {
            char who[64];
            who_holds(*fd, who, sizeof(who));
            return core_fail_set(
                fail, CORE_LOCKED, path,
                "%s is the Supervisor of this directory already; this one ends. Speak to that one, stop it, or "
                "give this one another --state",
                who);
        }
        (void)usleep(LOCK_PAUSE_US);
    }
    int len = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(*fd, 0) != 0 || pwrite(*fd, pid, (size_t)len, 0) != len) {
        core_log(CORE_LEVEL_WARN, "supervise", "the lock does not say who holds it", "file=%s error=\"%s\"", path,
                 strerror(errno));
    }
    return CORE_OK;
}

static enum core_err listen_to(struct supervisor *supervisor, int inherited_fd, const char *instance, uint64_t next_seq,
                               struct core_fail *fail) {
    const struct core_rpc_server_conf conf = {
        .service = "supervisor",
        .version = TAPLINE_VERSION,
        .path = supervisor->options->socket,
        .group = supervisor->options->group,
        .inherited_fd = inherited_fd,
        .next_seq = next_seq,
        .instance = instance[0] != '\0' ? instance : NULL,
        .methods = supervisor_methods,
        .methods_len = supervisor_methods_len,
        .ctx = supervisor,
    };
    return core_rpc_server_new(&supervisor->server, supervisor->loop, &conf, fail);
}

static enum core_err begin(struct supervisor *supervisor, struct core_fail *fail) {
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
    struct supervisor_heritage *heritage = &supervisor->heritage;
    char instance[64] = "";
    uint64_t next_seq = 0;
    supervisor_heritage_take(heritage);
    supervisor->lock_fd = heritage->lock_fd;
    enum core_err err = core_arena_init(&supervisor->scratch, SUPERVISOR_SCRATCH_BYTES, fail);
    err = err == CORE_OK ? core_loop_new(&supervisor->loop, fail) : err;
    err = err == CORE_OK ? lock_state(supervisor->options->state, &supervisor->lock_fd, fail) : err;
    err = err == CORE_OK ? core_loop_signals(supervisor->loop, signals, sizeof(signals) / sizeof(signals[0]), on_signal,
                                             supervisor, fail)
                         : err;
    if (err != CORE_OK) {
        return err;
    }
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
        return core_fail_errno(fail, "prctl", "cannot become the parent of orphans");
    }
    supervisor_cgroups_find(&supervisor->cgroups, supervisor->options->cgroup, supervisor->options->state);
    err = supervisor_keep_load(supervisor, heritage->listen_fd >= 0, instance, &next_seq, fail);
    err = err == CORE_OK ? listen_to(supervisor, heritage->listen_fd, instance, next_seq, fail) : err;
    if (err == CORE_OK) {
        err = supervisor_keep_resume(supervisor, fail);
    }
    if (err == CORE_OK) {
        supervisor_sweep_reap(supervisor); /* what ended while a signal could not tell */
    }
    return err;
}

static void end(struct supervisor *supervisor) {
    core_rpc_server_free(supervisor->server, false);
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        supervisor_process_free(supervisor->processes[i]);
    }
    supervisor_cgroups_leave(&supervisor->cgroups);
    free(supervisor->processes);
    free(supervisor->sweep_cookies);
    free(supervisor->program);
    supervisor_heritage_free(&supervisor->heritage);
    core_loop_free(supervisor->loop);
    core_arena_destroy(&supervisor->scratch);
    if (supervisor->lock_fd >= 0) {
        close(supervisor->lock_fd);
    }
}

static enum core_exit run(struct supervisor *supervisor) {
    struct core_fail fail;
    enum core_err err = begin(supervisor, &fail);
    if (err == CORE_OK) {
        core_log(CORE_LEVEL_INFO, "supervise", "the Supervisor is there",
                 "pid=%d socket=%s state=%s processes=%zu cgroup=%s", (int)getpid(), supervisor->options->socket,
                 supervisor->options->state, supervisor->processes_len,
                 supervisor->cgroups.root[0] != '\0' ? supervisor->cgroups.root : "none");
        on_log(supervisor);
        core_notify("READY=1");
        if (core_notify_watchdog_ns() > 0) {
            on_notify(supervisor);
        }
        err = core_loop_run(supervisor->loop, &fail);
        err = supervisor_keep_flush(supervisor) != CORE_OK && err == CORE_OK ? CORE_IO : err;
        core_log(CORE_LEVEL_INFO, "supervise", "the Supervisor ends", "pid=%d", (int)getpid());
        return err == CORE_OK ? CORE_EXIT_DONE : CORE_EXIT_SYSTEM;
    }
    core_log_fail(CORE_LEVEL_ERROR, "supervise", "the Supervisor cannot start; nothing was touched", &fail);
    return err == CORE_BAD ? CORE_EXIT_USAGE : CORE_EXIT_SYSTEM;
}

int supervisor_main(const struct supervisor_options *options) {
    struct supervisor supervisor = {.options = options, .lock_fd = -1, .started_ns = core_now_ns()};
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_TRIM_THRESHOLD, 64 * 1024); /* what a long answer took is given back */
    core_log_format((enum core_log_format)options->log_format, "tapline-supervise");
    supervisor.program = strdup(options->program);
    supervisor.processes = calloc(SUPERVISOR_PROCESSES_MAX, sizeof(struct supervisor_process *));
    MUST(supervisor.program != NULL && supervisor.processes != NULL);
    supervisor.turns_timer = (struct core_timer){.on_time = on_turns, .ctx = &supervisor};
    supervisor.trim_timer = (struct core_timer){.on_time = on_trim, .ctx = &supervisor};
    supervisor.notify_timer = (struct core_timer){.on_time = on_notify, .ctx = &supervisor};
    supervisor.log_timer = (struct core_timer){.on_time = on_log, .ctx = &supervisor};
    supervisor.upgrade_timer = (struct core_timer){.on_time = on_upgrade, .ctx = &supervisor};
    supervisor_keep_begin(&supervisor);
    enum core_exit code = run(&supervisor);
    end(&supervisor);
    core_log_flush();
    return (int)code;
}

int supervisor_check(const struct supervisor_options *options) {
    struct core_fail fail;
    if (supervisor_keep_check(options->state, &fail) == CORE_OK) {
        return CORE_EXIT_DONE;
    }
    core_log_fail(CORE_LEVEL_ERROR, "supervise", "this program cannot go on with the state file", &fail);
    core_log_flush();
    return CORE_EXIT_NO;
}
