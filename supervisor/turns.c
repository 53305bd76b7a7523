/* supervisor/turns.c: the order of stopping and starting.
 *
 * Those of low order are stopped first (the workers, then the proxies, then the logger and the manager; what ships the last
 * lines has the highest), and started last. Who is told to stop or start gets a turn. supervisor_turns_go() looks over all
 * turns and lets those go whose time has come: of those that are to stop the lowest order, while none of a lower one is still
 * ending; of those that are to start the highest, while none of a higher one is still getting ready. It is called after every
 * change, so turns of several requests simply mix, and what a later request says replaces what an earlier one said.
 *
 * Nobody is waited for without end: not longer for a start than ready.timeout, not longer for a stop than stop.timeout and a
 * moment for SIGKILL to work.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/engine_internal.h"

#include "core/notify.h"

#include <stdio.h>

#define KILL_WORKS_NS (10 * CORE_NS_PER_S)
#define LAST_STEPS_NS (30 * CORE_NS_PER_S) /* what the Supervisor itself does behind the last of an order */

/* Seldom seen: most go at once, and then have another reason. */
static void wait_for_turn(struct supervisor_process *process, const char *reason) {
    (void)snprintf(process->reason, sizeof(process->reason), "%s", reason);
}

void supervisor_turns_start(struct supervisor_process *process) {
    process->is_wanted = true;
    process->is_death = false;
    if (process->turn == SUPERVISOR_TURN_STOPPING) {
        process->starts_after = true;
    } else if (process->state == SUPERVISOR_STOPPING || supervisor_process_is_running(process)) {
        process->turn = process->turn == SUPERVISOR_TURN_STOP ? SUPERVISOR_TURN_NONE : process->turn;
    } else {
        process->turn = SUPERVISOR_TURN_START;
        wait_for_turn(process, "wanted; waits until those of higher order are ready");
    }
    supervisor_keep_soon(process->owner);
}

static void stop_by_turn(struct supervisor_process *process, bool starts_after) {
    process->is_death = false;
    process->starts_after = starts_after;
    if (process->state == SUPERVISOR_STOPPING) {
        process->turn = SUPERVISOR_TURN_STOPPING;
        process->turn_until_ns = core_tick_ns() + process->held->spec.stop.timeout_ns + KILL_WORKS_NS;
    } else if (supervisor_process_is_running(process)) {
        process->turn = SUPERVISOR_TURN_STOP;
        wait_for_turn(process, "to be stopped; waits until those of lower order have ended");
    } else {
        process->turn = starts_after ? SUPERVISOR_TURN_START : SUPERVISOR_TURN_NONE;
    }
    supervisor_keep_soon(process->owner);
}

void supervisor_turns_stop(struct supervisor_process *process) {
    process->is_wanted = false;
    stop_by_turn(process, false);
    if (process->turn == SUPERVISOR_TURN_NONE) {
        supervisor_process_step(process, SUPERVISOR_ON_STOP, "stopped before it was started again");
    }
}

void supervisor_turns_restart(struct supervisor_process *process, bool by_turns) {
    process->is_wanted = true;
    if (by_turns) {
        stop_by_turn(process, true);
    } else if (supervisor_process_is_running(process)) {
        process->turn = SUPERVISOR_TURN_NONE;
        supervisor_process_step(process, SUPERVISOR_ON_RESTART, "stopped for a restart");
    } else {
        supervisor_turns_start(process);
    }
}

/* ---- whose turn it is ------------------------------------------------------------------------------------------------ */

/* Is it over: has what others wait for happened, or have they waited long enough? */
static bool is_over(const struct supervisor_process *process, int64_t now_ns) {
    switch (process->turn) {
    case SUPERVISOR_TURN_STOPPING:
        return !supervisor_process_is_alive(process) || now_ns >= process->turn_until_ns;
    case SUPERVISOR_TURN_STARTING:
        return (process->state != SUPERVISOR_STARTING && process->state != SUPERVISOR_BACKOFF) ||
               now_ns >= process->turn_until_ns;
    default:
        return false;
    }
}

static void end_turns(struct supervisor *supervisor, int64_t now_ns) {
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        struct supervisor_process *process = supervisor->processes[i];
        if (!is_over(process, now_ns)) {
            continue;
        }
        bool is_stopped = process->turn == SUPERVISOR_TURN_STOPPING;
        if (is_stopped && supervisor_process_is_alive(process)) {
            supervisor_tell_alarm(process, "pid %d has not ended; the others do not wait for it any longer",
                                  (int)process->pid.pid);
        }
        process->turn =
            is_stopped && process->starts_after && process->is_wanted ? SUPERVISOR_TURN_START : SUPERVISOR_TURN_NONE;
        process->starts_after = false;
    }
}

/* The lowest (or highest) order among those whose turn is one of these two. False: there is none. */
static bool order_of(const struct supervisor *supervisor, enum supervisor_turn waits, enum supervisor_turn goes,
                     bool is_lowest, int64_t *order) {
    bool is_any = false;
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        const struct supervisor_process *process = supervisor->processes[i];
        const int64_t its = process->held->spec.order;
        if (process->turn != waits && process->turn != goes) {
            continue;
        }
        if (!is_any || (is_lowest ? its < *order : its > *order)) {
            *order = its;
        }
        is_any = true;
    }
    return is_any;
}

static void stop_lowest(struct supervisor *supervisor, int64_t now_ns) {
    int64_t order = 0;
    if (!order_of(supervisor, SUPERVISOR_TURN_STOP, SUPERVISOR_TURN_STOPPING, true, &order)) {
        return;
    }
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        struct supervisor_process *process = supervisor->processes[i];
        if (process->turn == SUPERVISOR_TURN_STOP && process->held->spec.order == order) {
            process->turn = SUPERVISOR_TURN_STOPPING;
            process->turn_until_ns = now_ns + process->held->spec.stop.timeout_ns + KILL_WORKS_NS;
            supervisor_process_step(process, SUPERVISOR_ON_STOP, "%s",
                                    supervisor->is_ending   ? "stopped with the Supervisor"
                                    : process->starts_after ? "stopped for a restart"
                                                            : "stopped, as was wanted");
        }
    }
}

static bool is_restarting(const struct supervisor *supervisor) {
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        const struct supervisor_process *process = supervisor->processes[i];
        if (process->starts_after &&
            (process->turn == SUPERVISOR_TURN_STOP || process->turn == SUPERVISOR_TURN_STOPPING)) {
            return true;
        }
    }
    return false;
}

/* Not while a restart by turns is still in its first half: all of it ends before any of it begins. */
static void start_highest(struct supervisor *supervisor, int64_t now_ns) {
    int64_t order = 0;
    if (is_restarting(supervisor) ||
        !order_of(supervisor, SUPERVISOR_TURN_START, SUPERVISOR_TURN_STARTING, false, &order)) {
        return;
    }
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        struct supervisor_process *process = supervisor->processes[i];
        if (process->turn == SUPERVISOR_TURN_START && process->held->spec.order == order) {
            const int64_t timeout_ns = process->held->spec.ready.timeout_ns;
            process->turn = SUPERVISOR_TURN_STARTING;
            process->turn_until_ns = timeout_ns > 0 ? now_ns + timeout_ns : INT64_MAX;
            supervisor_process_step(process, SUPERVISOR_ON_START, "started, as was wanted");
        }
    }
}

/* How long this order may take only we know: a service manager whose patience ends before would kill the Supervisor, and those
 * of the orders behind would run on with nobody to look after them. */
static void ask_for_time(int64_t until_ns, int64_t now_ns) {
    char text[64];
    (void)snprintf(text, sizeof(text), "EXTEND_TIMEOUT_USEC=%lld",
                   (long long)((until_ns - now_ns + LAST_STEPS_NS) / 1000));
    (void)core_notify(text);
}

void supervisor_turns_go(struct supervisor *supervisor) {
    const int64_t now_ns = core_tick_ns();
    int64_t next_ns = INT64_MAX;
    int64_t stops_until_ns = now_ns;
    bool is_stopping = false;
    end_turns(supervisor, now_ns);
    stop_lowest(supervisor, now_ns);
    start_highest(supervisor, now_ns);
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        const struct supervisor_process *process = supervisor->processes[i];
        bool is_waited_for = process->turn == SUPERVISOR_TURN_STOPPING || process->turn == SUPERVISOR_TURN_STARTING;
        if (is_waited_for && process->turn_until_ns < next_ns) {
            next_ns = process->turn_until_ns;
        }
        next_ns = is_over(process, now_ns) ? now_ns : next_ns; /* such as one that had ended before its turn */
        is_stopping |= process->turn == SUPERVISOR_TURN_STOP || process->turn == SUPERVISOR_TURN_STOPPING;
        if (process->turn == SUPERVISOR_TURN_STOPPING && process->turn_until_ns > stops_until_ns) {
            stops_until_ns = process->turn_until_ns;
        }
    }
    if (supervisor->is_ending && is_stopping) {
        ask_for_time(stops_until_ns, now_ns);
    }
    if (supervisor->is_ending && !is_stopping) {
        core_loop_stop(supervisor->loop);
    } else if (next_ns != INT64_MAX &&
               (!core_timer_is_set(&supervisor->turns_timer) || supervisor->turns_timer.due_ns > next_ns)) {
        core_timer_set(supervisor->loop, &supervisor->turns_timer, next_ns);
    }
}

void supervisor_turns_soon(struct supervisor *supervisor) {
    core_timer_set(supervisor->loop, &supervisor->turns_timer, core_tick_ns());
}

void supervisor_turns_end(struct supervisor *supervisor) {
    if (supervisor->is_ending) {
        return;
    }
    supervisor->is_ending = true;
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        struct supervisor_process *process = supervisor->processes[i];
        if (process->state == SUPERVISOR_BACKOFF) { /* the next Supervisor goes on with it */
            core_timer_clear(&process->timer);
        }
        stop_by_turn(process, false);
    }
    supervisor_turns_soon(supervisor);
}
