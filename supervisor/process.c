/* supervisor/process.c: one process: what happens to it goes through the table, and what the table says is done here.
 *
 * Each process has two timers. The state's says that a time is over: for getting ready, for settling, for ending, for the
 * delay before another start. The other one looks: while it starts, whether it is ready (soon at first, then more and more
 * seldom), later whether it still lives. Its end comes by its pidfd. A child's status is looked at first, then everything
 * left in its group is killed while the zombie still holds the number, and only then is it reaped: so that nobody else's
 * group can have got the number meanwhile. A process that is not our child (adopted) has no status, and its group's number
 * may be anybody's by then: what it left is found by its cgroup or its cookie.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/engine_internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_LOOK_FIRST_NS (20 * CORE_NS_PER_MS)
#define READY_LOOK_MOST_NS (250 * CORE_NS_PER_MS)
#define WATCHDOG_LOOK_LEAST_NS CORE_NS_PER_S /* who wants a watchdog of seconds may have it; usual ones are minutes */
#define WATCHDOG_LOOKS_A_TIMEOUT 4
#define KILL_AGAIN_NS CORE_NS_PER_S
#define KILLS_UNTIL_ALARM 10
#define TRIM_AT_FIRST_NS CORE_NS_PER_S

/* ---- the two timers -------------------------------------------------------------------------------------------------- */

static double in_s(int64_t ns) {
    return (double)ns / (double)CORE_NS_PER_S;
}

static void on_starting_over(struct supervisor_process *process) {
    const struct supervisor_spec *spec = &process->held->spec;
    if (!process->is_seen_starting) { /* its signs may have been before our time; a restart of what works is worse */
        supervisor_process_step(process, SUPERVISOR_ON_READY,
                                "adopted while it started, and lives since: taken for ready");
        return;
    }
    process->is_death = true;
    supervisor_process_step(process, SUPERVISOR_ON_UNREADY, "not ready within %.3g s: stopped, which counts as a death",
                            in_s(spec->ready.timeout_ns));
}

static void on_time(void *ctx) {
    struct supervisor_process *process = ctx;
    const struct supervisor_spec *spec = &process->held->spec;
    switch (process->state) {
    case SUPERVISOR_STARTING:
        on_starting_over(process);
        break;
    case SUPERVISOR_READY:
        supervisor_process_step(process, SUPERVISOR_ON_SETTLED, "ready for %.3g s", in_s(spec->settle_ns));
        break;
    case SUPERVISOR_STOPPING:
        supervisor_process_step(process, SUPERVISOR_ON_STOP_TIMEOUT, "did not end within %.3g s of SIG%s: killed",
                                in_s(spec->stop.timeout_ns), supervisor_signal_name(spec->stop.signal));
        break;
    case SUPERVISOR_BACKOFF:
        supervisor_process_step(process, SUPERVISOR_ON_DELAY_OVER, "started again after its death");
        break;
    default:
        MUST(!"a state without a time");
    }
}

static void look_again(struct supervisor_process *process, int64_t every_ns) {
    process->look_every_ns = every_ns;
    int64_t due_ns = core_tick_ns() + every_ns;
    if (every_ns >= CORE_NS_PER_S) { /* whole seconds: many processes are then looked at in one go */
        due_ns += CORE_NS_PER_S - due_ns % CORE_NS_PER_S;
    }
    core_timer_set(process->owner->loop, &process->look, due_ns);
}

static void look_watchdog(struct supervisor_process *process) {
    struct supervisor_verdict verdict = {.is_stuck = false};
    supervisor_pulse_look(&process->pulse, &process->held->spec, &process->pid, &verdict);
    if (verdict.is_stuck && verdict.helps) {
        process->is_death = true;
        supervisor_tell_alarm(process, "%s: it is restarted", verdict.text);
        supervisor_process_step(process, SUPERVISOR_ON_STUCK, "%s: stopped, which counts as a death", verdict.text);
        return;
    }
    const bool was_quiet = process->quiet[0] != '\0';
    if (verdict.is_stuck && !was_quiet) {
        supervisor_tell_alarm(process, "%s: a restart would not help, so it is left as it is and watched",
                              verdict.text);
    }
    if (verdict.is_stuck != was_quiet) {
        (void)snprintf(process->quiet, sizeof(process->quiet), "%s", verdict.is_stuck ? verdict.text : "");
        supervisor_tell_quiet(process);
    }
    look_again(process, process->look_every_ns);
}

static void on_look(void *ctx) {
    struct supervisor_process *process = ctx;
    if (process->state != SUPERVISOR_STARTING) {
        look_watchdog(process);
    } else if (supervisor_is_ready(&process->pulse, &process->held->spec, &process->pid)) {
        supervisor_process_step(process, SUPERVISOR_ON_READY, "ready");
    } else {
        int64_t every_ns = process->look_every_ns * 5 / 4;
        look_again(process, every_ns < READY_LOOK_MOST_NS ? every_ns : READY_LOOK_MOST_NS);
    }
}

/* From ready to up the watchdog goes on as it was. */
static void arm_watchdog(struct supervisor_process *process) {
    int64_t every_ns = process->held->spec.watchdog.timeout_ns / WATCHDOG_LOOKS_A_TIMEOUT;
    if (every_ns > 0 && (process->state == SUPERVISOR_READY || !core_timer_is_set(&process->look))) {
        look_again(process, every_ns > WATCHDOG_LOOK_LEAST_NS ? every_ns : WATCHDOG_LOOK_LEAST_NS);
    }
}

void supervisor_process_arm(struct supervisor_process *process) {
    const struct supervisor_spec *spec = &process->held->spec;
    struct core_loop *loop = process->owner->loop;
    const int64_t now_ns = core_tick_ns();
    if (process->state != SUPERVISOR_UP) {
        core_timer_clear(&process->look);
    }
    switch (process->state) {
    case SUPERVISOR_STARTING:
        if (process->is_queued) {
            break;
        }
        if (spec->ready.timeout_ns > 0) {
            core_timer_set(loop, &process->timer, now_ns + spec->ready.timeout_ns);
        }
        look_again(process, spec->ready.rules_len == 0 ? 0 : READY_LOOK_FIRST_NS);
        break;
    case SUPERVISOR_READY:
        core_timer_set(loop, &process->timer, now_ns + spec->settle_ns);
        arm_watchdog(process);
        break;
    case SUPERVISOR_UP:
        arm_watchdog(process);
        break;
    case SUPERVISOR_STOPPING:
        core_timer_set(loop, &process->timer, now_ns + (process->kills > 0 ? KILL_AGAIN_NS : spec->stop.timeout_ns));
        break;
    default:
        break; /* a delay is set where it is chosen */
    }
}

/* ---- what a cell says ------------------------------------------------------------------------------------------------ */

void supervisor_process_forget_deaths(struct supervisor_process *process) {
    process->deaths_len = 0;
}

static void do_spawn(struct supervisor_process *process) {
    MUST(!supervisor_process_is_alive(process));
    process->pid = (struct supervisor_pid){.pidfd = -1, .ready_fd = -1};
    supervisor_cookie_new(process->pid.cookie);
    process->is_queued = true;
    process->is_kept = false;
    supervisor_keep_then_spawn(process->owner);
}

static void do_spawn_anew(struct supervisor_process *process) {
    supervisor_process_forget_deaths(process);
    do_spawn(process);
}

static void do_term(struct supervisor_process *process) {
    process->kills = 0;
    process->is_queued = false;
    if (supervisor_process_is_alive(process)) {
        supervisor_signal(&process->held->spec, &process->owner->cgroups, &process->pid,
                          process->held->spec.stop.signal);
    }
}

static void do_kill(struct supervisor_process *process) {
    process->kills++;
    supervisor_signal(&process->held->spec, &process->owner->cgroups, &process->pid, SIGKILL);
    if (process->kills == KILLS_UNTIL_ALARM) {
        supervisor_tell_alarm(process,
                              "pid %d does not end though it was killed %u times: it hangs in the kernel (a disk or a "
                              "driver that does not answer); it is killed on, and a restart waits for its end",
                              (int)process->pid.pid, process->kills);
    }
}

void supervisor_process_delay(struct supervisor_process *process) {
    uint32_t random = UINT32_MAX / 2;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random)) {
        random = UINT32_MAX / 2;
    }
    int64_t delay_ns =
        supervisor_delay_ns(&process->held->spec, process->deaths_len > 0 ? process->deaths_len : 1, random);
    core_timer_set(process->owner->loop, &process->timer, core_tick_ns() + delay_ns);
    size_t len = strlen(process->reason);
    (void)snprintf(process->reason + len, sizeof(process->reason) - len, "; started again in %.2g s", in_s(delay_ns));
}

static void do_alarm(struct supervisor_process *process) {
    const struct supervisor_spec *spec = &process->held->spec;
    char last[64];
    supervisor_end_text(process->last_end, last, sizeof(last));
    supervisor_tell_alarm(process,
                          "died %u times within %.4g s, the last time with %s: it stays down until a person starts "
                          "it; its output is in %s",
                          process->deaths_len, in_s(spec->restart.deaths_within_ns), last,
                          spec->output.directory != NULL ? spec->output.directory : spec->cwd);
}

static void do_nothing(struct supervisor_process *process) {
    (void)process;
}

static void (*const actions[])(struct supervisor_process *) = {
    [SUPERVISOR_NOTHING] = do_nothing,
    [SUPERVISOR_IMPOSSIBLE] = NULL,
    [SUPERVISOR_SPAWN] = do_spawn,
    [SUPERVISOR_SPAWN_ANEW] = do_spawn_anew,
    [SUPERVISOR_TERM] = do_term,
    [SUPERVISOR_KILL] = do_kill,
    [SUPERVISOR_SETTLE] = do_nothing,
    [SUPERVISOR_FORGET] = supervisor_process_forget_deaths,
    [SUPERVISOR_DELAY] = supervisor_process_delay,
    [SUPERVISOR_ALARM] = do_alarm,
    [SUPERVISOR_CLEAN] = do_nothing,
};

/* An event says how it ended if this step is about its end. A start is told when it has a pid. */
static void tell(struct supervisor_process *process, bool has_ended) {
    if (process->state != process->told && !process->is_queued) {
        enum supervisor_state from = process->told;
        process->told = process->state;
        supervisor_tell_state(process, from, has_ended ? &process->last_end : NULL);
    }
}

static bool is_about_end(enum supervisor_event event) {
    return event == SUPERVISOR_ON_DIED_AGAIN || event == SUPERVISOR_ON_DIED_OFTEN || event == SUPERVISOR_ON_DIED_LAST ||
           event == SUPERVISOR_ON_ENDED || event == SUPERVISOR_ON_ENDED_WANTED;
}

void supervisor_process_step(struct supervisor_process *process, enum supervisor_event event, const char *fmt, ...) {
    const struct supervisor_cell cell = supervisor_table[process->state][event];
    const bool has_ended = is_about_end(event);
    va_list args;
    MUST(cell.action != SUPERVISOR_IMPOSSIBLE);
    if (cell.action == SUPERVISOR_NOTHING) {
        return;
    }
    if (process->is_queued) { /* called back before it was spawned */
        process->is_queued = false;
        tell(process, false);
    }
    va_start(args, fmt);
    (void)vsnprintf(process->reason, sizeof(process->reason), fmt, args);
    va_end(args);
    if (cell.next != process->state) {
        process->since_ns = core_now_ns();
        core_timer_clear(&process->timer);
    }
    if (has_ended && cell.next == SUPERVISOR_STARTING) { /* its end and its new start: two things to tell */
        process->state = SUPERVISOR_DOWN;
        tell(process, true);
    }
    process->state = cell.next;
    actions[cell.action](process);
    supervisor_process_arm(process);
    tell(process, has_ended);
    supervisor_keep_soon(process->owner);
    supervisor_turns_soon(process->owner);
    if (process->state == SUPERVISOR_STOPPING && !supervisor_process_is_alive(process)) {
        supervisor_process_ended(process, (struct supervisor_end){.kind = SUPERVISOR_ENDED_NOT});
    }
}

/* ---- its life -------------------------------------------------------------------------------------------------------- */

static void on_pidfd(void *ctx, uint32_t events) {
    (void)events;
    supervisor_process_reap(ctx);
}

static void watch(struct supervisor_process *process) {
    struct core_fail fail;
    if (core_loop_watch(process->owner->loop, process->pid.pidfd, EPOLLIN, on_pidfd, process, &process->watch, &fail) !=
        CORE_OK) {
        process->watch = NULL;
        core_log(CORE_LEVEL_ERROR, "supervise", "a process's end will be seen late, or not at all",
                 "name=%s pid=%d reason=\"%s\" help=\"raise the limit of open files, then restart it\"",
                 supervisor_process_name(process), (int)process->pid.pid, fail.text);
    }
    supervisor_trim_by(process, core_tick_ns() + TRIM_AT_FIRST_NS);
}

void supervisor_process_spawn(struct supervisor_process *process) {
    struct core_fail fail;
    MUST(process->is_queued && process->state == SUPERVISOR_STARTING);
    process->is_queued = false;
    process->pulse = (struct supervisor_pulse){0};
    process->quiet[0] = '\0';
    supervisor_pulse_begin(&process->pulse, &process->held->spec);
    supervisor_ready_begin(&process->pulse, &process->held->spec);
    enum core_err err = supervisor_spawn(&process->held->spec, &process->owner->cgroups, &process->pid, &fail);
    if (err != CORE_OK) {
        process->pid = (struct supervisor_pid){.pidfd = -1, .ready_fd = -1};
        core_log(CORE_LEVEL_ERROR, "supervise", "a process could not be started",
                 "name=%s where=\"%s\" reason=\"%s\" effect=\"tried again as its key restart says\"",
                 supervisor_process_name(process), fail.where, fail.text);
        (void)snprintf(process->reason, sizeof(process->reason), "%.80s: %.280s", fail.where, fail.text);
        tell(process, false);
        supervisor_process_ended(process, (struct supervisor_end){.kind = SUPERVISOR_ENDED_UNBORN});
        return;
    }
    process->starts++;
    process->is_seen_starting = true;
    watch(process);
    supervisor_process_arm(process);
    tell(process, false);
    supervisor_keep_soon(process->owner);
}

void supervisor_process_resume(struct supervisor_process *process, const struct supervisor_pid *pid) {
    MUST(pid->pid > 0 && pid->pidfd >= 0);
    process->pid = *pid;
    process->is_queued = false;
    process->is_seen_starting = false;
    process->pulse = (struct supervisor_pulse){0};
    supervisor_pulse_begin(&process->pulse, &process->held->spec);
    watch(process);
    supervisor_process_arm(process);
}

void supervisor_process_reap(struct supervisor_process *process) {
    siginfo_t info = {.si_pid = 0};
    struct supervisor_end end = {.kind = SUPERVISOR_ENDED_UNKNOWN};
    MUST(supervisor_process_is_alive(process));
    const id_t id = (id_t)process->pid.pid;
    if (process->pid.is_child && waitid(P_PID, id, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
        if (info.si_pid == 0) {
            return; /* not yet */
        }
        end.kind = info.si_code == CLD_EXITED ? SUPERVISOR_ENDED_EXIT : SUPERVISOR_ENDED_SIGNAL;
        end.code = info.si_status;
        (void)kill(-process->pid.pid, SIGKILL); /* what it left of its group; elsewhere: leave() */
        (void)waitid(P_PID, id, &info, WEXITED | WNOHANG);
    }
    supervisor_process_ended(process, end);
}

/* Nothing of its last life is left, nor held by us. */
static void leave(struct supervisor_process *process) {
    struct supervisor *supervisor = process->owner;
    core_loop_unwatch(process->watch);
    process->watch = NULL;
    core_timer_clear(&process->look);
    if (process->pid.pidfd >= 0) {
        close(process->pid.pidfd);
    }
    if (process->pid.ready_fd >= 0) {
        close(process->pid.ready_fd);
    }
    const bool has_cgroup = supervisor->cgroups.root[0] != '\0';
    if (has_cgroup) {
        supervisor_cgroup_kill(&supervisor->cgroups, supervisor_process_name(process));
        supervisor_cgroup_close(&supervisor->cgroups, supervisor_process_name(process));
    }
    if (supervisor_process_is_alive(process) && (!has_cgroup || !process->pid.is_child)) {
        supervisor_sweep_add(supervisor, process->pid.cookie); /* an adopted one may be of a time without cgroups */
    }
    (void)supervisor_trim_now(process); /* what it wrote last stays until it is started again */
    process->pid = (struct supervisor_pid){.pidfd = -1, .ready_fd = -1};
    if (process->next != NULL) {
        supervisor_held_free(process->held);
        process->held = process->next;
        process->next = NULL;
    }
}

/* Times are supervisor_boot_ns(). One that lies ahead is of a state file that had the time of day: too old to count. */
static uint32_t deaths_within(const struct supervisor_process *process, int64_t now_ns) {
    uint32_t len = 0;
    for (uint32_t i = 0; i < process->deaths_len; i++) {
        int64_t age_ns = now_ns - process->deaths_ns[i];
        len += age_ns >= 0 && age_ns <= process->held->spec.restart.deaths_within_ns ? 1 : 0;
    }
    return len;
}

static void count_death(struct supervisor_process *process, int64_t now_ns) {
    process->deaths++;
    if (process->deaths_len == SUPERVISOR_DEATHS_MAX) {
        memmove(process->deaths_ns, process->deaths_ns + 1, sizeof(process->deaths_ns) - sizeof(process->deaths_ns[0]));
        process->deaths_len--;
    }
    process->deaths_ns[process->deaths_len++] = now_ns;
}

/* Is another start wanted by its policy? */
static bool is_to_go_on(const struct supervisor_process *process, const struct supervisor_end *end, bool is_ours) {
    switch (process->held->spec.restart.policy) {
    case SUPERVISOR_ALWAYS:
        return true;
    case SUPERVISOR_ON_FAILURE:
        return is_ours || end->kind != SUPERVISOR_ENDED_EXIT || end->code != 0;
    default:
        return false;
    }
}

static void died(struct supervisor_process *process, const struct supervisor_end *end, const char *how) {
    const uint32_t max = process->held->spec.restart.deaths_max;
    const bool is_ours = process->is_death;
    char before[SUPERVISOR_REASON_BYTES +
                4]; /* why we stopped it, or why it did not start, is worth more than how it ended */
    (void)snprintf(before, sizeof(before), "%s; ",
                   is_ours || end->kind == SUPERVISOR_ENDED_UNBORN ? process->reason : "");
    const char *why = is_ours || end->kind == SUPERVISOR_ENDED_UNBORN ? before : "";
    process->is_death = false;
    const int64_t now_ns = supervisor_boot_ns();
    count_death(process, now_ns);
    if (!process->is_wanted || process->owner->is_ending) {
        supervisor_process_step(process, SUPERVISOR_ON_DIED_LAST, "%sended before it was told to: %s", why, how);
    } else if (!is_to_go_on(process, end, is_ours)) {
        process->is_wanted = false;
        supervisor_process_step(process, SUPERVISOR_ON_DIED_LAST, "%s%s; by its policy it is not started again", why,
                                how);
    } else if (max > 0 && deaths_within(process, now_ns) >= max) {
        supervisor_process_step(process, SUPERVISOR_ON_DIED_OFTEN,
                                "%s%s; died too often: down until a person starts it", why, how);
    } else {
        supervisor_process_step(process, SUPERVISOR_ON_DIED_AGAIN, "%s%s", why, how);
    }
}

void supervisor_process_ended(struct supervisor_process *process, struct supervisor_end end) {
    char how[64];
    end.time_ns = core_now_ns();
    end.pid = process->pid.pid;
    end.uptime_ns = end.pid != 0 ? end.time_ns - process->pid.spawned_ns : 0;
    supervisor_end_text(end, how, sizeof(how));
    leave(process);
    if (end.kind != SUPERVISOR_ENDED_NOT) {
        process->last_end = end;
    }
    if (process->state != SUPERVISOR_STOPPING || process->is_death) {
        died(process, &end, how);
    } else if (process->is_wanted && process->turn != SUPERVISOR_TURN_STOPPING && !process->owner->is_ending) {
        supervisor_process_step(process, SUPERVISOR_ON_ENDED_WANTED, "ended (%s) and started again, as was wanted",
                                how);
    } else {
        supervisor_process_step(process, SUPERVISOR_ON_ENDED, "stopped: %s", how);
    }
}

void supervisor_end_text(struct supervisor_end end, char *out, size_t len) {
    switch (end.kind) {
    case SUPERVISOR_ENDED_EXIT:
        (void)snprintf(out, len, "exit %d", end.code);
        break;
    case SUPERVISOR_ENDED_SIGNAL:
        (void)snprintf(out, len, "signal %d (%s)", end.code, supervisor_signal_name(end.code));
        break;
    case SUPERVISOR_ENDED_UNKNOWN:
        (void)snprintf(out, len, "ended, with what status is unknown");
        break;
    case SUPERVISOR_ENDED_UNBORN:
        (void)snprintf(out, len, "could not be started");
        break;
    default:
        (void)snprintf(out, len, "not yet started");
    }
}

/* ---- being there ----------------------------------------------------------------------------------------------------- */

bool supervisor_process_is_running(const struct supervisor_process *process) {
    return process->state == SUPERVISOR_STARTING || process->state == SUPERVISOR_READY ||
           process->state == SUPERVISOR_UP;
}

struct supervisor_process *supervisor_process_new(struct supervisor *supervisor, struct supervisor_held *held) {
    struct supervisor_process *process = calloc(1, sizeof(*process));
    MUST(process != NULL);
    process->owner = supervisor;
    process->held = held;
    process->pid = (struct supervisor_pid){.pidfd = -1, .ready_fd = -1};
    process->timer = (struct core_timer){.on_time = on_time, .ctx = process};
    process->look = (struct core_timer){.on_time = on_look, .ctx = process};
    process->state = SUPERVISOR_DOWN;
    process->told = SUPERVISOR_DOWN;
    process->since_ns = core_now_ns();
    (void)snprintf(process->reason, sizeof(process->reason), "not yet started");
    return process;
}

void supervisor_process_free(struct supervisor_process *process) {
    if (process == NULL) {
        return;
    }
    core_timer_clear(&process->timer);
    core_timer_clear(&process->look);
    core_loop_unwatch(process->watch);
    if (process->pid.pidfd >= 0) {
        close(process->pid.pidfd);
    }
    if (process->pid.ready_fd >= 0) {
        close(process->pid.ready_fd);
    }
    supervisor_held_free(process->held);
    supervisor_held_free(process->next);
    free(process);
}

bool supervisor_process_respec(struct supervisor_process *process, struct supervisor_held *held) {
    const struct supervisor_held *last = process->next != NULL ? process->next : process->held;
    const bool is_changed = !core_span_eq(last->text, held->text);
    supervisor_held_free(process->next);
    process->next = NULL;
    if (core_span_eq(process->held->text, held->text)) {
        supervisor_held_free(held);
    } else if (supervisor_process_is_alive(process)) {
        process->next = held;
    } else {
        supervisor_held_free(process->held);
        process->held = held;
    }
    return is_changed;
}

/* ---- specs ----------------------------------------------------------------------------------------------------------- */

/* What a spec of this many bytes of JSON can take in memory: its texts, and a pointer or two for each. */
#define HELD_BYTES_MAX (sizeof(struct supervisor_held) + 40 * SUPERVISOR_SPEC_BYTES_MAX)

static enum core_err held_fill(struct core_arena *arena, const struct core_json_tree *json,
                               struct supervisor_held *held, struct core_fail *fail) {
    enum core_err err = supervisor_spec_read(arena, json, &held->spec, fail);
    char *text = err == CORE_OK ? core_arena_alloc(arena, SUPERVISOR_SPEC_BYTES_MAX) : NULL;
    if (err != CORE_OK || text == NULL) {
        return err != CORE_OK ? err : core_fail_set(fail, CORE_LIMIT, "spec", "the spec is too long");
    }
    struct core_buf buf = {.start = text, .pos = text, .end = text + SUPERVISOR_SPEC_BYTES_MAX};
    supervisor_spec_write(&held->spec, &buf);
    if (buf.is_full) {
        return core_fail_set(fail, CORE_LIMIT, held->spec.name, "the spec has more than %zu bytes",
                             SUPERVISOR_SPEC_BYTES_MAX);
    }
    held->text = core_buf_written(&buf);
    arena->used = (size_t)(buf.pos - arena->base); /* the rest was never touched */
    return CORE_OK;
}

enum core_err supervisor_held_new(const struct core_json_tree *json, struct supervisor_held **out,
                                  struct core_fail *fail) {
    struct core_arena arena;
    enum core_err err = core_arena_init(&arena, HELD_BYTES_MAX, fail);
    if (err != CORE_OK) {
        return err;
    }
    struct supervisor_held *held = core_arena_alloc(&arena, sizeof(*held));
    MUST(held != NULL);
    *held = (struct supervisor_held){.text = {0}};
    err = held_fill(&arena, json, held, fail);
    if (err != CORE_OK) {
        core_arena_destroy(&arena);
        return err;
    }
    held->arena = arena;
    *out = held;
    return CORE_OK;
}

void supervisor_held_free(struct supervisor_held *held) {
    if (held != NULL) {
        struct core_arena arena = held->arena; /* held lies in it */
        core_arena_destroy(&arena);
    }
}
