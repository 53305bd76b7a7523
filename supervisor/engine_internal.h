/* supervisor/engine_internal.h: the Supervisor's engine: its processes, and what moves them.
 *
 *   process.c    one process: events through the table, timers, its end
 *   turns.c      who is stopped or started when, by order         sweep.c   what an ended process left behind
 *   keep.c       the state file: when it is written, and what a new Supervisor makes of it
 *   supervise.c  the loop, signals, the lock, the end             reexec.c  the next program takes over
 *   methods.c    what Main can tell it
 *
 * One thread, one loop. Whatever happens to a process goes through supervisor_process_step(), which asks the table. A start
 * is in three: the step to `starting` makes a cookie and queues it; the state file is written, so that a process is found
 * again whatever happens to us; then it is spawned.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SUPERVISOR_ENGINE_INTERNAL_H
#define TAPLINE_SUPERVISOR_ENGINE_INTERNAL_H

#include "supervisor/supervisor_internal.h"

#define SUPERVISOR_REASON_BYTES 384
#define SUPERVISOR_SCRATCH_BYTES                                                                                       \
    (16 * CORE_MIB)                /* address space: a spec of any size as a tree, a list of all processes */
#define SUPERVISOR_ANSWERS_MAX 256 /* that wait for the state file */

/* A spec in memory of its own. */
struct supervisor_held {
    struct core_arena arena;
    struct supervisor_spec spec;
    struct core_span text; /* as supervisor_spec_write() has it; in the arena */
};
/* Owns: supervisor_held_free(*out). Errors: CORE_BAD, CORE_LIMIT, CORE_IO. */
CORE_CHECKED enum core_err supervisor_held_new(const struct core_json_tree *json, struct supervisor_held **out,
                                               struct core_fail *fail);
void supervisor_held_free(struct supervisor_held *held); /* takes NULL */

enum supervisor_end_kind {
    SUPERVISOR_ENDED_NOT,     /* has not ended yet */
    SUPERVISOR_ENDED_EXIT,    /* code: exit status */
    SUPERVISOR_ENDED_SIGNAL,  /* code: signal */
    SUPERVISOR_ENDED_UNKNOWN, /* somebody else's child */
    SUPERVISOR_ENDED_UNBORN   /* a start that failed: nothing ran */
};
struct supervisor_end {
    enum supervisor_end_kind kind;
    int code;
    int64_t time_ns;   /* core_now_ns() */
    pid_t pid;         /* what it was; 0: not known any more */
    int64_t uptime_ns; /* how long it lived */
};

/* Where a process is in the order of stopping and starting. */
enum supervisor_turn {
    SUPERVISOR_TURN_NONE,
    SUPERVISOR_TURN_STOP,     /* waits until those of lower order have ended */
    SUPERVISOR_TURN_STOPPING, /* told; those of higher order wait for its end */
    SUPERVISOR_TURN_START,    /* waits until those of higher order are ready */
    SUPERVISOR_TURN_STARTING  /* started; those of lower order wait until it is ready */
};

struct supervisor;

struct supervisor_process {
    struct supervisor *owner;
    struct supervisor_held *held; /* what it runs with, or will */
    struct supervisor_held *next; /* what it will run with after its end; NULL: the same */
    struct supervisor_pid pid;
    struct core_watch *watch; /* of the pidfd */
    struct core_timer timer;  /* the state's: ready.timeout, settle, stop.timeout, delay */
    struct core_timer look;   /* readiness, watchdog */
    struct supervisor_pulse pulse;
    enum supervisor_state state;
    enum supervisor_state told; /* what the last event said */
    enum supervisor_turn turn;
    int64_t turn_until_ns; /* core_tick_ns(): then nobody waits for it any more */
    int64_t look_every_ns;
    int64_t trim_due_ns;   /* core_tick_ns() */
    int64_t trim_every_ns; /* 0: not yet looked at */
    int64_t since_ns;      /* of the state, core_now_ns() */
    uint64_t starts;
    uint64_t deaths;     /* ends that nobody asked for, all */
    uint32_t deaths_len; /* … and those not forgotten yet, the last of them */
    int64_t deaths_ns[SUPERVISOR_DEATHS_MAX];
    struct supervisor_end last_end;
    uint32_t kills; /* SIGKILLs since it was told to stop */
    bool is_wanted;
    bool is_queued;    /* `starting`, not yet spawned */
    bool is_kept;      /* … and the file has its cookie */
    bool is_death;     /* this stopping is our own doing: its end counts as a death */
    bool starts_after; /* its stop is the first half of a restart by turns */
    char quiet[256];   /* what the watchdog has said of its silence that no restart would end; "": it is not silent */
    bool is_seen_starting; /* we have spawned it ourselves, so its readiness can be judged from its start on */
    char reason[SUPERVISOR_REASON_BYTES]; /* why it is in its state, for people */
};

/* What a program that executes itself anew leaves its successor. */
struct supervisor_heritage {
    int listen_fd; /* -1: none, a new process */
    int lock_fd;
    char *ready_fds; /* " COOKIE=FD" each, or NULL */
};

struct supervisor {
    const struct supervisor_options *options;
    struct core_loop *loop;
    struct core_rpc_server *server;
    struct supervisor_cgroups cgroups;
    struct supervisor_process **processes; /* sorted by name */
    size_t processes_len;
    struct core_arena scratch; /* for what is written: reset after each use */
    char *program;             /* what an upgrade executes */
    int64_t started_ns;
    char boot_id[SUPERVISOR_BOOT_ID_BYTES];
    int lock_fd;
    struct supervisor_heritage heritage;

    /* keep.c */
    struct core_timer save_timer;
    int64_t saved_ns; /* core_tick_ns() of the last time */
    bool is_save_failing;
    struct core_rpc_request *answers[SUPERVISOR_ANSWERS_MAX];
    char *answer_texts[SUPERVISOR_ANSWERS_MAX];
    size_t answers_len;
    struct core_timer spawn_timer;

    struct core_timer turns_timer;
    struct core_timer trim_timer;
    struct core_timer notify_timer;
    struct core_timer upgrade_timer;
    struct core_timer log_timer;

    /* sweep.c */
    struct core_timer sweep_timer;
    char (*sweep_cookies)[SUPERVISOR_COOKIE_BYTES];
    size_t sweep_len;
    size_t sweep_cap;
    unsigned sweep_rounds;

    bool is_ending; /* stopping all, then itself */
};

/* ---- process.c --------------------------------------------------------------------------------------------------------- */

/* Owns: takes held. It is down and not wanted. */
struct supervisor_process *supervisor_process_new(struct supervisor *supervisor, struct supervisor_held *held);
void supervisor_process_free(struct supervisor_process *process); /* runs on, if it runs */
static inline bool supervisor_process_is_alive(const struct supervisor_process *process) {
    return process->pid.pid != 0;
}
/* starting, ready or up */
bool supervisor_process_is_running(const struct supervisor_process *process);
static inline const char *supervisor_process_name(const struct supervisor_process *process) {
    return process->held->spec.name;
}
/* An event through the table. reason: for people; also why the state is what it is from now on. */
void supervisor_process_step(struct supervisor_process *process, enum supervisor_event event, const char *fmt, ...)
    CORE_PRINTF(3, 4);
/* What was queued by a step to `starting`: spawn it now. */
void supervisor_process_spawn(struct supervisor_process *process);
/* It has a pid (with its pidfd open) that was running before we were: watch it. Its state is set already. */
void supervisor_process_resume(struct supervisor_process *process, const struct supervisor_pid *pid);
/* It has ended, or never came to be. */
void supervisor_process_ended(struct supervisor_process *process, struct supervisor_end end);
/* Start the timers of its state (but for a delay's). */
void supervisor_process_arm(struct supervisor_process *process);
/* If it is a child of ours that has ended: reap it, and see to what follows. */
void supervisor_process_reap(struct supervisor_process *process);
/* A new spec: at once, or, while it runs, at its next start. Owns: takes held. True: it is another one than before. */
bool supervisor_process_respec(struct supervisor_process *process, struct supervisor_held *held);
void supervisor_process_forget_deaths(struct supervisor_process *process);
/* The delay before another start begins now; says so in its reason. */
void supervisor_process_delay(struct supervisor_process *process);
/* "exit 1", "signal 9 (KILL)", "unknown" … */
void supervisor_end_text(struct supervisor_end end, char *out, size_t len);

/* ---- turns.c ----------------------------------------------------------------------------------------------------------- */

void supervisor_turns_start(struct supervisor_process *process);
void supervisor_turns_stop(struct supervisor_process *process);
void supervisor_turns_restart(struct supervisor_process *process, bool by_turns);
/* Let those go whose turn it is; and again whenever something has changed. */
void supervisor_turns_go(struct supervisor *supervisor);
void supervisor_turns_soon(struct supervisor *supervisor);
/* All are stopped by turns, none is started any more; then the loop ends. */
void supervisor_turns_end(struct supervisor *supervisor);

/* ---- keep.c ------------------------------------------------------------------------------------------------------------ */

void supervisor_keep_begin(struct supervisor *supervisor);
/* Something changed: write it within a fraction of a second. */
void supervisor_keep_soon(struct supervisor *supervisor);
/* A start waits for the file. */
void supervisor_keep_then_spawn(struct supervisor *supervisor);
/* Answer with this object when the file has what it says; with a warning in it if the file cannot be written. */
#define SUPERVISOR_WARNING ",\"warning\":\"done, but the state file cannot be written: see the Supervisor's log\""
void supervisor_keep_then_answer(struct supervisor *supervisor, struct core_rpc_request *request,
                                 struct core_span json);
/* Write it now. Errors: CORE_IO; told to people already. */
CORE_CHECKED enum core_err supervisor_keep_now(struct supervisor *supervisor);
/* … and answer all that waits for it. */
CORE_CHECKED enum core_err supervisor_keep_flush(struct supervisor *supervisor);
/* Could this program go on with the file that is there? Changes nothing. Errors: CORE_BAD, CORE_IO. */
CORE_CHECKED enum core_err supervisor_keep_check(const char *dir, struct core_fail *fail);
/* Make processes of what the file has; is_same: we are the same process as before, executed anew. instance: of 64 bytes.
 * Errors: CORE_IO, CORE_BAD: nothing was started and nothing may be. */
CORE_CHECKED enum core_err supervisor_keep_load(struct supervisor *supervisor, bool is_same, char *instance,
                                                uint64_t *next_seq, struct core_fail *fail);
/* Then, with the server there: adopt what runs, start what is wanted and does not. Waits some seconds for descriptors or memory
 * if there are too few to know what runs. Errors: CORE_IO: there still are; nothing was adopted, started or killed. */
CORE_CHECKED enum core_err supervisor_keep_resume(struct supervisor *supervisor, struct core_fail *fail);

/* ---- sweep.c ----------------------------------------------------------------------------------------------------------- */

/* Kill everything that still has this cookie in its environment, until nothing has. Where there are cgroups they do that. */
void supervisor_sweep_add(struct supervisor *supervisor, const char *cookie);
/* The leader of a process group with pid->cookie that was started first, and when, put into pid; 0: none.
 * Errors: CORE_IO: too few descriptors or too little memory to look at all processes. */
CORE_CHECKED enum core_err supervisor_sweep_find(struct supervisor_pid *pid, struct core_fail *fail);
/* A process that any Supervisor has started; 0: there is none. Errors: as above. */
CORE_CHECKED enum core_err supervisor_sweep_any(pid_t *pid, struct core_fail *fail);
/* Children that are not of our table (orphans that we inherited) and have ended. */
void supervisor_sweep_reap(struct supervisor *supervisor);

/* ---- supervise.c ------------------------------------------------------------------------------------------------------- */

struct supervisor_process *supervisor_find(const struct supervisor *supervisor, struct core_span name);
void supervisor_add(struct supervisor *supervisor, struct supervisor_process *process);
void supervisor_remove(struct supervisor *supervisor, struct supervisor_process *process);
/* Look at the length of its output then. Now: true if it was too long and is shorter. */
void supervisor_trim_by(struct supervisor_process *process, int64_t due_ns);
bool supervisor_trim_now(struct supervisor_process *process);
/* Events. The first also says where it was before, and how it ended if it did. */
void supervisor_tell_state(struct supervisor_process *process, enum supervisor_state from,
                           const struct supervisor_end *end);
void supervisor_tell_alarm(struct supervisor_process *process, const char *fmt, ...) CORE_PRINTF(2, 3);
void supervisor_tell_quiet(struct supervisor_process *process); /* it has become silent, or is no more */
void supervisor_tell(struct supervisor *supervisor, enum core_level level, const char *fmt, ...) CORE_PRINTF(3, 4);
/* `,"last_end":{…}`'s object, without a key. */
void supervisor_end_put(struct core_buf *buf, const struct supervisor_end *end);
void supervisor_time_put(struct core_buf *buf, int64_t ns);

/* ---- reexec.c ---------------------------------------------------------------------------------------------------------- */

/* Owns: supervisor_heritage_free(). */
void supervisor_heritage_take(struct supervisor_heritage *heritage);
/* The read end that a starting process's readiness comes by, from before; -1: none. */
int supervisor_heritage_ready_fd(const struct supervisor_heritage *heritage, const char *cookie);
void supervisor_heritage_free(struct supervisor_heritage *heritage);
/* Look whether the program can take over. Errors: CORE_BAD it cannot, and why. */
CORE_CHECKED enum core_err supervisor_reexec_try(const struct supervisor *supervisor, const char *program,
                                                 struct core_fail *fail);
/* Returns only if that failed, and everything goes on as before. */
void supervisor_reexec(struct supervisor *supervisor);

/* ---- methods.c --------------------------------------------------------------------------------------------------------- */

extern const struct core_rpc_method supervisor_methods[];
extern const size_t supervisor_methods_len;

#endif
