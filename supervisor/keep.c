/* supervisor/keep.c: the state file: when it is written, and what a new Supervisor makes of it.
 *
 * It is written before anything depends on it: before an answer says that something is wanted, and before a process is
 * spawned (its cookie is in the file by then, so whoever is killed right after the spawn leaves enough for the process to be
 * found). What merely happened follows within SAVE_LATEST_NS. All that came meanwhile goes into one writing, so that a hundred
 * starts at once are a few writings and not a hundred. A file that cannot be written stops nothing: processes are kept
 * running, answers carry a warning, people are told, and it is tried again.
 *
 * A new Supervisor looks at each process of the file. One that runs is adopted in the state it was in. One that does not has
 * died meanwhile, and its policy is applied as if it had died now. One that was about to be started may have been: it is
 * looked for by its cookie. After a boot nothing can run, and what is wanted is started. All are looked at before anything is
 * done about one: when nobody can say of one whether it runs (no descriptor, no memory), this Supervisor ends, all processes
 * run on, and the next one asks again. To take one for dead would start it a second time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/engine_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAVE_SOON_NS (20 * CORE_NS_PER_MS)    /* after a quiet time */
#define SAVE_LATEST_NS (250 * CORE_NS_PER_MS) /* when there is a lot to write */
#define SAVE_PAUSE_NS (20 * CORE_NS_PER_MS)   /* between two writings that starts wait for */
#define SAVE_AGAIN_NS (5 * CORE_NS_PER_S)
#define SPAWN_ROUND_NS (15 * CORE_NS_PER_MS) /* then the loop looks at what else there is */
#define SEQ_LEAP 100000                      /* more events than can be told between two writings */
#define FIND_PATIENCE_NS (3 * CORE_NS_PER_S) /* a shortage mostly is over by then */
#define FIND_PAUSE_US 100000
#define LOAD_BYTES (SUPERVISOR_PROCESSES_MAX * (2 * SUPERVISOR_SPEC_BYTES_MAX + 4096))
#define FORMAT_WORD "tapline-supervisor-state "

/* ---- writing ----------------------------------------------------------------------------------------------------------- */

static int status_of(const struct supervisor_end *end) {
    switch (end->kind) {
    case SUPERVISOR_ENDED_EXIT:
        return W_EXITCODE(end->code, 0);
    case SUPERVISOR_ENDED_SIGNAL:
        return W_EXITCODE(0, end->code);
    case SUPERVISOR_ENDED_UNKNOWN:
        return SUPERVISOR_END_UNKNOWN;
    default:
        return SUPERVISOR_END_NONE; /* with a time: a start that failed */
    }
}

static struct supervisor_end end_of(const struct supervisor_row *row) {
    struct supervisor_end end = {.kind = SUPERVISOR_ENDED_NOT, .time_ns = row->end_ns};
    if (row->end_ns == 0) {
        return end;
    }
    if (row->end_status < 0) {
        end.kind = row->end_status == SUPERVISOR_END_UNKNOWN ? SUPERVISOR_ENDED_UNKNOWN : SUPERVISOR_ENDED_UNBORN;
    } else if (WIFSIGNALED(row->end_status)) {
        end.kind = SUPERVISOR_ENDED_SIGNAL;
        end.code = WTERMSIG(row->end_status);
    } else {
        end.kind = SUPERVISOR_ENDED_EXIT;
        end.code = WEXITSTATUS(row->end_status);
    }
    return end;
}

static void row_of(const struct supervisor_process *process, struct supervisor_row *row) {
    *row = (struct supervisor_row){
        .spec = process->next != NULL ? process->next->text : process->held->text,
        .running_spec = process->next != NULL ? process->held->text : (struct core_span){.ptr = NULL},
        .is_wanted = process->is_wanted,
        .state = process->state,
        .pid = process->pid,
        .state_since_ns = process->since_ns,
        .deaths_len = process->deaths_len,
        .deaths = process->deaths,
        .starts = process->starts,
        .end_ns = process->last_end.time_ns,
        .end_status = status_of(&process->last_end),
    };
    memcpy(row->deaths_ns, process->deaths_ns, sizeof(row->deaths_ns));
}

static enum core_err save(struct supervisor *supervisor, struct core_fail *fail) {
    struct supervisor_saved saved = {.rows_len = supervisor->processes_len};
    memcpy(saved.boot_id, supervisor->boot_id, sizeof(saved.boot_id));
    (void)snprintf(saved.instance, sizeof(saved.instance), "%s", core_rpc_server_instance(supervisor->server));
    saved.next_seq = core_rpc_server_next_seq(supervisor->server);
    saved.rows = calloc(saved.rows_len + 1, sizeof(saved.rows[0]));
    MUST(saved.rows != NULL);
    for (size_t i = 0; i < saved.rows_len; i++) {
        row_of(supervisor->processes[i], &saved.rows[i]);
    }
    enum core_err err = supervisor_state_save(supervisor->options->state, &saved, fail);
    free(saved.rows);
    return err;
}

enum core_err supervisor_keep_now(struct supervisor *supervisor) {
    struct core_fail fail;
    core_timer_clear(&supervisor->save_timer);
    enum core_err err = save(supervisor, &fail);
    supervisor->saved_ns = core_tick_ns();
    if (err != CORE_OK) {
        if (!supervisor->is_save_failing) {
            supervisor_tell(
                supervisor, CORE_LEVEL_ERROR,
                "the state file cannot be written: %s: %s; processes are kept running, but a Supervisor that is "
                "killed now would not know all of them; it is tried again every %d s",
                fail.where, fail.text, (int)(SAVE_AGAIN_NS / CORE_NS_PER_S));
        }
        core_timer_set(supervisor->loop, &supervisor->save_timer, core_tick_ns() + SAVE_AGAIN_NS);
    } else if (supervisor->is_save_failing) {
        supervisor_tell(supervisor, CORE_LEVEL_INFO, "the state file is written again");
    }
    supervisor->is_save_failing = err != CORE_OK;
    return err;
}

static void answer_all(struct supervisor *supervisor, bool is_saved) {
    for (size_t i = 0; i < supervisor->answers_len; i++) {
        char *text = supervisor->answer_texts[i];
        size_t len = strlen(text);
        MUST(len >= 2 && text[len - 1] == '}');
        if (!is_saved) { /* there is room for it: see supervisor_keep_then_answer() */
            (void)strcpy(text + len - 1, SUPERVISOR_WARNING "}");
        }
        core_rpc_result(supervisor->answers[i], core_span_of(text));
        free(text);
    }
    supervisor->answers_len = 0;
}

enum core_err supervisor_keep_flush(struct supervisor *supervisor) {
    enum core_err err = supervisor_keep_now(supervisor);
    answer_all(supervisor, err == CORE_OK);
    return err;
}

static void on_save(void *ctx) {
    struct supervisor *supervisor = ctx;
    enum core_err err = supervisor_keep_flush(supervisor);
    (void)err; /* told already; starts do not wait for a disk that is full */
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        struct supervisor_process *process = supervisor->processes[i];
        process->is_kept = process->is_queued;
        if (process->is_queued) {
            core_timer_set(supervisor->loop, &supervisor->spawn_timer, core_tick_ns());
        }
    }
}

/* Those of high order first, as they were let go. */
static void on_spawn(void *ctx) {
    struct supervisor *supervisor = ctx;
    const int64_t until_ns = core_tick_ns() + SPAWN_ROUND_NS;
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        struct supervisor_process *process = supervisor->processes[i];
        if (!process->is_queued || !process->is_kept) {
            continue;
        }
        if (core_tick_ns() > until_ns) {
            core_timer_set(supervisor->loop, &supervisor->spawn_timer, core_tick_ns());
            return;
        }
        supervisor_process_spawn(process);
    }
}

static void save_by(struct supervisor *supervisor, int64_t due_ns) {
    if (!core_timer_is_set(&supervisor->save_timer) || supervisor->save_timer.due_ns > due_ns) {
        core_timer_set(supervisor->loop, &supervisor->save_timer, due_ns);
    }
}

void supervisor_keep_begin(struct supervisor *supervisor) {
    supervisor->save_timer = (struct core_timer){.on_time = on_save, .ctx = supervisor};
    supervisor->spawn_timer = (struct core_timer){.on_time = on_spawn, .ctx = supervisor};
}

void supervisor_keep_soon(struct supervisor *supervisor) {
    const int64_t now_ns = core_tick_ns();
    save_by(supervisor, now_ns + (now_ns - supervisor->saved_ns > SAVE_LATEST_NS ? SAVE_SOON_NS : SAVE_LATEST_NS));
}

void supervisor_keep_then_spawn(struct supervisor *supervisor) {
    const int64_t now_ns = core_tick_ns();
    const int64_t next_ns = supervisor->saved_ns + SAVE_PAUSE_NS;
    save_by(supervisor, next_ns > now_ns ? next_ns : now_ns);
}

void supervisor_keep_then_answer(struct supervisor *supervisor, struct core_rpc_request *request,
                                 struct core_span json) {
    char *text = malloc(json.len + sizeof(SUPERVISOR_WARNING) + 1);
    MUST(text != NULL && json.len > 0);
    memcpy(text, json.ptr, json.len);
    text[json.len] = '\0';
    if (supervisor->answers_len == SUPERVISOR_ANSWERS_MAX) {
        on_save(supervisor);
    }
    supervisor->answers[supervisor->answers_len] = request;
    supervisor->answer_texts[supervisor->answers_len++] = text;
    save_by(supervisor, core_tick_ns());
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

/* A file of another version of the program is whole, and must not be taken for a damaged one. */
static enum core_err check_format(const char *dir, struct core_fail *fail) {
    char path[SUPERVISOR_PATH_BYTES_MAX];
    char line[64] = "";
    (void)snprintf(path, sizeof(path), "%s/supervisor.state", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);
    if (fd >= 0) {
        close(fd);
    } else if (errno != ENOENT) {
        return core_fail_errno(fail, path,
                               "cannot open the state file; without it processes that run would be started again");
    }
    const size_t word_len = sizeof(FORMAT_WORD) - 1;
    long format =
        len > (ssize_t)word_len && memcmp(line, FORMAT_WORD, word_len) == 0 ? strtol(line + word_len, NULL, 10) : 0;
    if (format > 1) {
        return core_fail_set(
            fail, CORE_BAD, path,
            "the file is of format %ld, which a later version of this program wrote; this one knows format 1. "
            "Start that version, or, if nothing of it runs any more, move the file away",
            format);
    }
    return CORE_OK;
}

/* A damaged one is set aside, and the one before it is taken. */
static enum core_err load(const char *dir, struct core_arena *arena, struct supervisor_saved *saved,
                          struct core_fail *fail) {
    enum core_err err = check_format(dir, fail);
    for (int tries = 0; err == CORE_OK && tries < 2; tries++) {
        core_arena_reset(arena, 0);
        err = supervisor_state_load(dir, arena, saved, fail);
        if (err != CORE_BAD) {
            return err;
        }
        core_log_fail(CORE_LEVEL_ERROR, "supervise",
                      "the state file is damaged: set aside as supervisor.state.damaged, the one before it is used",
                      fail);
        err = supervisor_state_set_aside(dir, fail);
    }
    if (err == CORE_OK) {
        core_arena_reset(arena, 0);
        err = supervisor_state_load(dir, arena, saved, fail);
    }
    return err;
}

/* Nothing is known though something was once: both files were damaged. What runs of it would be started a second time. */
static enum core_err check_blind(const char *dir, const struct supervisor_saved *saved, struct core_fail *fail) {
    char path[SUPERVISOR_PATH_BYTES_MAX];
    (void)snprintf(path, sizeof(path), "%s/supervisor.state.damaged", dir);
    pid_t pid = 0;
    enum core_err err = CORE_OK;
    if (saved->instance[0] == '\0' && access(path, F_OK) == 0) {
        err = supervisor_sweep_any(&pid, fail);
    }
    if (pid == 0) {
        return err;
    }
    return core_fail_set(
        fail, CORE_BAD, path,
        "the state file is damaged, there is no whole one before it, and processes of a Supervisor run (pid %d, "
        "and all that have TAPLINE_COOKIE in /proc/PID/environ): they would be started twice. End them, or "
        "remove this file if they are another Supervisor's",
        (int)pid);
}

static enum core_err held_read(struct core_arena *scratch, struct core_span json, struct supervisor_held **out,
                               struct core_fail *fail) {
    struct core_json_tree *tree = NULL;
    core_arena_reset(scratch, 0);
    enum core_err err = core_json_tree_read(scratch, json, &tree, fail);
    return err == CORE_OK ? supervisor_held_new(tree, out, fail) : err;
}

/* What it was started with; what it is to be started with next if that cannot be read: it runs, and must not run unwatched. */
static enum core_err running_of(struct supervisor *supervisor, const struct supervisor_row *row,
                                struct supervisor_held **out, struct core_fail *fail) {
    enum core_err err = held_read(&supervisor->scratch, row->running_spec, out, fail);
    if (err != CORE_BAD && err != CORE_LIMIT) {
        return err;
    }
    core_log_fail(CORE_LEVEL_WARN, "supervise",
                  "what a process was started with cannot be read: it is kept by what it is to be started with next",
                  fail);
    return held_read(&supervisor->scratch, row->spec, out, fail);
}

static enum core_err take_row(struct supervisor *supervisor, const struct supervisor_row *row, bool is_same_boot,
                              struct core_fail *fail) {
    struct supervisor_held *held = NULL;
    struct supervisor_held *running = NULL;
    enum core_err err = held_read(&supervisor->scratch, row->spec, &held, fail);
    if (err == CORE_OK && row->running_spec.len > 0 && is_same_boot) {
        err = running_of(supervisor, row, &running, fail);
    }
    if (err != CORE_OK) {
        supervisor_held_free(held);
        return err;
    }
    struct supervisor_process *process = supervisor_process_new(supervisor, running != NULL ? running : held);
    process->next = running != NULL ? held : NULL;
    process->is_wanted = row->is_wanted;
    process->starts = row->starts;
    process->deaths = row->deaths;
    process->last_end = end_of(row);
    if (is_same_boot) {
        process->state = row->state;
        process->told = row->state;
        process->since_ns = row->state_since_ns;
        process->pid = row->pid; /* as it was: supervisor_keep_resume() looks what is left of it */
        process->deaths_len = row->deaths_len;
        memcpy(process->deaths_ns, row->deaths_ns, sizeof(process->deaths_ns));
    }
    supervisor_add(supervisor, process);
    return CORE_OK;
}

enum core_err supervisor_keep_load(struct supervisor *supervisor, bool is_same, char *instance, uint64_t *next_seq,
                                   struct core_fail *fail) {
    struct core_arena arena;
    struct supervisor_saved saved = {.rows_len = 0};
    enum core_err err = core_arena_init(&arena, LOAD_BYTES, fail);
    err = err == CORE_OK ? supervisor_boot_id(supervisor->boot_id, fail) : err;
    err = err == CORE_OK ? load(supervisor->options->state, &arena, &saved, fail) : err;
    err = err == CORE_OK ? check_blind(supervisor->options->state, &saved, fail) : err;
    bool is_same_boot = strcmp(supervisor->boot_id, saved.boot_id) == 0;
    for (size_t i = 0; err == CORE_OK && i < saved.rows_len; i++) {
        err = take_row(supervisor, &saved.rows[i], is_same_boot, fail);
    }
    if (err == CORE_OK) {
        memcpy(instance, saved.instance, sizeof(saved.instance));
        *next_seq = saved.next_seq + (is_same || saved.next_seq == 0 ? 0 : SEQ_LEAP);
    }
    core_arena_destroy(&arena);
    core_arena_reset(&supervisor->scratch, 0);
    return err;
}

static enum core_err check_spec(struct core_arena *scratch, struct core_span json, struct core_fail *fail) {
    struct supervisor_held *held = NULL;
    enum core_err err = held_read(scratch, json, &held, fail);
    supervisor_held_free(held);
    return err;
}

enum core_err supervisor_keep_check(const char *dir, struct core_fail *fail) {
    struct core_arena arena;
    struct core_arena scratch = {.base = NULL};
    struct supervisor_saved saved = {.rows_len = 0};
    enum core_err err = core_arena_init(&arena, LOAD_BYTES, fail);
    if (err != CORE_OK) {
        return err;
    }
    err = check_format(dir, fail);
    err = err == CORE_OK ? core_arena_init(&scratch, SUPERVISOR_SCRATCH_BYTES, fail) : err;
    err = err == CORE_OK ? supervisor_state_load(dir, &arena, &saved, fail) : err;
    for (size_t i = 0; err == CORE_OK && i < saved.rows_len; i++) {
        err = check_spec(&scratch, saved.rows[i].spec, fail);
        if (err == CORE_OK && saved.rows[i].running_spec.len > 0) {
            err = check_spec(&scratch, saved.rows[i].running_spec, fail);
        }
    }
    core_arena_destroy(&scratch);
    core_arena_destroy(&arena);
    return err;
}

/* ---- going on ------------------------------------------------------------------------------------------------------------- */

/* Our own child of before an exec, running or a zombie that nobody has seen yet? */
static bool is_own(const struct supervisor_pid *saved) {
    siginfo_t info = {.si_pid = 0};
    struct supervisor_usage usage;
    return waitid(P_PID, (id_t)saved->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           supervisor_usage_of(saved->pid, &usage) && usage.start_ticks == saved->start_ticks;
}

/* Does it run? Then *out has it, with a pidfd. CORE_GONE: it does not. CORE_IO: nobody can say now. */
static enum core_err find(const struct supervisor_process *process, struct supervisor_pid *out,
                          struct core_fail *fail) {
    struct supervisor_pid saved = process->pid;
    saved.pidfd = -1;
    saved.ready_fd = -1;
    if (saved.pid != 0 && is_own(&saved)) {
        *out = saved;
        out->is_child = true;
        out->pidfd = (int)syscall(SYS_pidfd_open, saved.pid, 0);
        if (out->pidfd < 0) {
            return core_fail_errno(fail, "pidfd_open", "cannot watch process %d", (int)saved.pid);
        }
        return CORE_OK;
    }
    if (saved.pid == 0 && saved.cookie[0] != '\0') { /* about to be spawned: was it? */
        const enum core_err err = supervisor_sweep_find(&saved, fail);
        saved.spawned_ns = process->since_ns;
        if (err != CORE_OK) {
            return err;
        }
    }
    return supervisor_adopt(&saved, out, fail);
}

static bool is_state_of_living(enum supervisor_state state) {
    return state == SUPERVISOR_STARTING || state == SUPERVISOR_READY || state == SUPERVISOR_UP ||
           state == SUPERVISOR_STOPPING;
}

/* Something of it may be left though it is not: its group's other members, which only the cookie knows. */
static void resume_dead(struct supervisor_process *process) {
    const bool had_pid = process->pid.pid != 0;
    char cookie[SUPERVISOR_COOKIE_BYTES];
    memcpy(cookie, process->pid.cookie, sizeof(cookie));
    process->pid = (struct supervisor_pid){.pidfd = -1, .ready_fd = -1};
    if (cookie[0] != '\0') {
        supervisor_sweep_add(process->owner, cookie);
    }
    if (had_pid || process->state == SUPERVISOR_STOPPING) {
        supervisor_process_ended(process, (struct supervisor_end){.kind = SUPERVISOR_ENDED_UNKNOWN});
    } else if (is_state_of_living(process->state)) { /* it was about to be spawned */
        /* Or was, and has file capabilities: only root sees its cookie then, but its cgroup has it. */
        supervisor_cgroup_kill(&process->owner->cgroups, supervisor_process_name(process));
        process->state = SUPERVISOR_DOWN;
        process->told = SUPERVISOR_DOWN;
    }
}

/* pid: as find_all() has it. */
static void resume_one(struct supervisor_process *process, struct supervisor_pid pid, size_t *adopted) {
    if (pid.pid != 0) {
        pid.ready_fd = supervisor_heritage_ready_fd(&process->owner->heritage, pid.cookie);
        (void)snprintf(process->reason, sizeof(process->reason), "%s",
                       pid.is_child ? "kept while the Supervisor was executed anew" : "adopted: it ran already");
        process->starts += process->pid.pid == 0 ? 1 : 0; /* nobody could count that one any more */
        supervisor_process_resume(process, &pid);
        (*adopted)++;
        return;
    }
    if (process->state == SUPERVISOR_BACKOFF) {
        (void)snprintf(process->reason, sizeof(process->reason), "its start was waited for by another Supervisor");
        supervisor_process_delay(process);
    } else if (process->state == SUPERVISOR_LATCHED) {
        (void)snprintf(process->reason, sizeof(process->reason), "died too often: down until a person starts it");
    } else {
        resume_dead(process);
    }
}

/* All that run; those that do not have pid 0. CORE_IO: no descriptor is left open. */
static enum core_err find_all(const struct supervisor *supervisor, struct supervisor_pid *found,
                              struct core_fail *fail) {
    enum core_err err = CORE_OK;
    for (size_t i = 0; i < supervisor->processes_len && err == CORE_OK; i++) {
        const struct supervisor_process *process = supervisor->processes[i];
        found[i] = (struct supervisor_pid){.pidfd = -1, .ready_fd = -1};
        err = is_state_of_living(process->state) ? find(process, &found[i], fail) : CORE_GONE;
        if (err == CORE_GONE) {
            err = CORE_OK;
        } else if (err != CORE_OK) {
            for (size_t k = 0; k < i; k++) {
                if (found[k].pidfd >= 0) {
                    close(found[k].pidfd);
                }
            }
        }
    }
    return err;
}

enum core_err supervisor_keep_resume(struct supervisor *supervisor, struct core_fail *fail) {
    size_t adopted = 0;
    const int64_t until_ns = core_tick_ns() + FIND_PATIENCE_NS;
    struct supervisor_pid *found = calloc(supervisor->processes_len + 1, sizeof(*found));
    MUST(found != NULL);
    enum core_err err = find_all(supervisor, found, fail);
    while (err != CORE_OK && core_tick_ns() < until_ns) {
        (void)usleep(FIND_PAUSE_US);
        err = find_all(supervisor, found, fail);
    }
    for (size_t i = 0; i < supervisor->processes_len && err == CORE_OK; i++) {
        struct supervisor_process *process = supervisor->processes[i];
        resume_one(process, found[i], &adopted);
        if (process->state == SUPERVISOR_DOWN && process->is_wanted) {
            supervisor_turns_start(process);
        } else if (!process->is_wanted && supervisor_process_is_running(process)) {
            supervisor_turns_stop(process); /* it was still waiting for its turn */
        }
    }
    free(found);
    if (err != CORE_OK) {
        return err;
    }
    if (supervisor->processes_len > 0) {
        supervisor_tell(supervisor, CORE_LEVEL_INFO, "%zu of %zu processes run already and are kept as they are",
                        adopted, supervisor->processes_len);
    }
    supervisor_keep_soon(supervisor);
    supervisor_turns_soon(supervisor);
    return CORE_OK;
}
