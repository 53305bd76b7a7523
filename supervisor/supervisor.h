/* supervisor/supervisor.h: the Supervisor: it starts processes and keeps them running, and does nothing else.
 *
 * A process of its own (`tapline supervise`), told over its control channel (core/rpc.h) by Main (`tapline serve`) which
 * processes there are. It reads no configuration and knows no secret. Whatever happens to Main touches no process; whatever
 * happens to the Supervisor does not either: processes write into files, are found again by what the state file says, and are
 * adopted.
 *
 * Methods:   process.list {} · process.set {process spec} · process.remove {name} · process.start|stop|restart {names} ·
 *            process.kill {names, signal} · supervisor.stop {processes: bool} · supervisor.upgrade {program?} ·
 *            supervisor.info {}
 * Events:    kind "state": name, from, to, pid, is_wanted, is_changed, adopted, reason, and on an end exit, signal, unknown or
 *            not_started, with ended_pid and uptime_ns · kind "alarm": name, text · kind "quiet": name, text (why it is silent,
 *            as the watchdog has it; "": it is no more) · kind "supervisor": text
 * Answers come when the state file has what they say (at once, that is), and tell what is being done; that it was done is an
 * event. supervisor/methods.c has the parameters and results.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SUPERVISOR_SUPERVISOR_H
#define TAPLINE_SUPERVISOR_SUPERVISOR_H

#include "core/json_tree.h"

#define SUPERVISOR_PROCESSES_MAX 512
#define SUPERVISOR_NAME_BYTES_MAX 64 /* of a process: letters, digits, '-', '_', '.'; begins with a letter or digit */
#define SUPERVISOR_SPEC_BYTES_MAX ((size_t)64 * 1024)
#define SUPERVISOR_ARGS_MAX 256
#define SUPERVISOR_ENV_MAX 128
#define SUPERVISOR_READY_MAX 4
#define SUPERVISOR_CPUS_MAX 1024

/* ---- states: supervisor/table.c has the table ----------------------------------------------------------------------- */

enum supervisor_state {
    SUPERVISOR_DOWN,     /* not running, not wanted */
    SUPERVISOR_STARTING, /* running, its readiness not yet seen */
    SUPERVISOR_READY,    /* its readiness seen; not yet long enough up for its deaths to be forgotten */
    SUPERVISOR_UP,       /* ready for settle_ns */
    SUPERVISOR_STOPPING, /* told to end */
    SUPERVISOR_BACKOFF,  /* died, will be started again when its delay is over */
    SUPERVISOR_LATCHED,  /* died too often: down until a person starts it */
    SUPERVISOR_STATE__MAX
};
extern const char *const supervisor_state_names[SUPERVISOR_STATE__MAX]; /* "down", "starting" … */

/* ---- what a process is to be ----------------------------------------------------------------------------------------- */

enum supervisor_policy { SUPERVISOR_ALWAYS, SUPERVISOR_ON_FAILURE, SUPERVISOR_NEVER };

struct supervisor_pair {
    const char *key;
    const char *value;
};

enum supervisor_ready_rule {
    SUPERVISOR_READY_AFTER, /* "after 5s": has lived so long */
    SUPERVISOR_READY_FILE,  /* "file PATH": the file is there, another than before the start, or changed */
    SUPERVISOR_READY_FD, /* "fd": a line written to the descriptor that $TAPLINE_READY_FD names (s6's way), or READY=1 */
    SUPERVISOR_READY_TCP,        /* "tcp [HOST:]PORT": somebody listens there (loopback without HOST) */
    SUPERVISOR_READY_OUTPUT,     /* "output TEXT": its output since the start has TEXT */
    SUPERVISOR_READY_LOG_WRITTEN /* "log_written": a file that `logs` matches has grown since the start */
};

/* All members but name and argv have defaults. On the wire and in the state file it is JSON with the same names, nested at
 * the dots; times are ns, sizes bytes, both as numbers. Unknown members are refused. */
struct supervisor_spec {
    const char *name;
    const char *const *argv; /* NULL-terminated; argv[0] is a path, or looked up in PATH of its env */
    const char *group;       /* "" or a word to address several by, e.g. "workers" */
    int64_t order;           /* stopped from low to high, started from high to low; equal ones at once; default 50 */
    const char *cwd;         /* made if its parent exists (mode 0750, owner user); default "/" */
    const struct supervisor_pair *env; /* added to PATH, HOME, USER, LOGNAME, SHELL, LANG */
    size_t env_len;
    const char *user;          /* NULL: as the Supervisor */
    const char *const *groups; /* NULL: those of the user */
    const char *const
        *capabilities; /* ambient, and all that is kept: "cap_net_raw"; NULL: none if user is set, else as is */
    uint32_t umask;    /* JSON: "0027" as text; default 0027 */
    int nice;          /* -20 … 19 */
    uint16_t cpus[SUPERVISOR_CPUS_MAX];
    size_t cpus_len;                      /* 0: any */
    uint64_t memory_max_bytes;            /* cgroup's memory.max, else RLIMIT_AS; 0: none */
    uint32_t cpu_max_percent;             /* of one core, by cgroup's cpu.max; 0: none */
    const struct supervisor_pair *limits; /* rlimits: "nofile": "65536", "core": "unlimited", "memlock" … soft = hard */
    size_t limits_len;
    struct {
        const char *directory; /* DIR/stdout.log and DIR/stderr.log, append-only; default cwd (NULL after init) */
        uint64_t bytes_max;    /* of each: trimmed to its last half when longer; default 8 MiB */
    } output;
    const char *const *logs; /* glob patterns of the files it writes, for log_written and the watchdog; never NULL */
    struct {
        const char *rules[SUPERVISOR_READY_MAX]; /* as text; all must hold; none: ready at once */
        size_t rules_len;
        int64_t
            timeout_ns; /* not ready so long after the start: stopped and counted as a death; 0: never; default 60 s */
    } ready;
    int64_t settle_ns; /* ready so long: up, and earlier deaths forgotten; default 10 s */
    struct {
        int64_t
            timeout_ns; /* so long without a sign of life: stuck; 0: no watchdog. Signs: growth of logs; without interface
                               also a change of counter, without counter either more than 1 % of a CPU */
        const char *counter; /* a file with a number that grows with its work; NULL: none */
        const char
            *interface; /* where its packets come from. Silence while few come (10 a second, or as counter says) is no
                                  fault; while it is down or gone no restart helps; NULL: none */
    } watchdog;
    struct {
        enum supervisor_policy policy; /* "always" (default), "on_failure", "never" */
        int64_t delay_min_ns;          /* default 1 s; doubles with each death, ± 20 % */
        int64_t delay_max_ns;          /* default 60 s */
        uint32_t deaths_max;           /* so many deaths (at most 16) … default 5 */
        int64_t deaths_within_ns;      /* … in so long latch it; default 300 s */
    } restart;
    struct {
        int signal;         /* JSON: "TERM"; default SIGTERM */
        int64_t timeout_ns; /* then SIGKILL to the whole group; default 30 s */
    } stop;
};

/* Take a spec out of JSON. Owns: everything lies in the arena (also after an error). Errors: CORE_BAD: fail->text names the
 * member and what it should be · CORE_LIMIT. Thread: any. */
CORE_CHECKED enum core_err supervisor_spec_read(struct core_arena *arena, const struct core_json_tree *json,
                                                struct supervisor_spec *out, struct core_fail *fail);
/* The one way to write a spec, defaults left out, members in the order above: equal specs have equal texts. */
void supervisor_spec_write(const struct supervisor_spec *spec, struct core_buf *out);
void supervisor_spec_init(struct supervisor_spec *spec); /* all defaults; name and argv NULL */
/* Is this a rule of readiness? Else why says what it should be. Thread: any. */
CORE_CHECKED bool supervisor_ready_is_rule(const char *text, char *why, size_t why_cap);
/* "TERM", "SIGTERM" or "15" to a number; 0: none of these. */
int supervisor_signal_of(const char *text);
const char *supervisor_signal_name(int number); /* "TERM"; "?" */

/* ---- the program ------------------------------------------------------------------------------------------------------- */

#define SUPERVISOR_SOCKET "/run/tapline/supervisor.sock"
#define SUPERVISOR_STATE "/var/lib/tapline/supervisor"

struct supervisor_options {
    const char *socket;  /* the control channel */
    const char *state;   /* directory of the state file and the lock */
    const char *group;   /* whose members may speak; NULL: root and our own user only */
    const char *cgroup;  /* below which cgroup v2 directory; NULL: found out */
    int log_format;      /* enum core_log_format */
    const char *program; /* what an upgrade executes: this program's path */
    int argc;
    char **argv; /* as it was started, for the same */
};
/* Run until told to end. Returns enum core_exit. */
int supervisor_main(const struct supervisor_options *options);
/* Can this program go on with the state file that is there? Changes nothing. Returns enum core_exit; why not is in the log. */
int supervisor_check(const struct supervisor_options *options);
/* Method i of those that it answers, for the reference. False: there are no more. */
CORE_CHECKED bool supervisor_method_at(size_t i, const char **name, const char **summary);

#endif
