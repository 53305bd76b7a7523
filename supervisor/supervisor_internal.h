/* supervisor/supervisor_internal.h: between the files of the Supervisor.
 *
 *   table.c    states × events, pure data                 spec.c     what a process is to be, as JSON (its words: spec_words.c)
 *   spawn.c    fork to exec: user, limits, output         cgroup.c   cgroup v2, where it is there
 *   ready.c    rules of readiness                         output.c   output files and their trimming
 *   watch.c    watchdog, diagnosis                        caps.c     capabilities
 *   state.c    the state file                             adopt.c    is this pid still that process?
 *   process.c  one process: events through the table      supervise.c the loop, order of stopping, upgrade
 *   methods.c  what Main can tell it
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SUPERVISOR_SUPERVISOR_INTERNAL_H
#define TAPLINE_SUPERVISOR_SUPERVISOR_INTERNAL_H

#include "core/rpc.h"
#include "supervisor/supervisor.h"

#include <sys/types.h>

/* ---- table.c ----------------------------------------------------------------------------------------------------------- */

enum supervisor_event {
    SUPERVISOR_ON_START,   /* a person (or Main) wants it up */
    SUPERVISOR_ON_STOP,    /* … wants it down */
    SUPERVISOR_ON_RESTART, /* … wants it ended and started */
    SUPERVISOR_ON_READY,   /* its rules hold */
    SUPERVISOR_ON_UNREADY, /* ready.timeout is over */
    SUPERVISOR_ON_SETTLED, /* settle is over */
    SUPERVISOR_ON_STUCK,   /* the watchdog's diagnosis says: restart */
    /* The three deaths: it ended and nobody had asked for that; or no process came of a start; or it ended while stopping, but
     * the stopping was UNREADY's or STUCK's and it is still wanted up. */
    SUPERVISOR_ON_DIED_AGAIN,   /* ended, and by its policy is to be started after a delay */
    SUPERVISOR_ON_DIED_OFTEN,   /* ended, the deaths_max-th time within deaths_within */
    SUPERVISOR_ON_DIED_LAST,    /* ended, and by its policy that was all */
    SUPERVISOR_ON_ENDED_WANTED, /* ended while stopping, and is wanted up: a restart */
    SUPERVISOR_ON_ENDED,        /* ended while stopping, and is wanted down */
    SUPERVISOR_ON_DELAY_OVER,   /* the backoff's delay */
    SUPERVISOR_ON_STOP_TIMEOUT, /* stop.timeout is over */
    SUPERVISOR_EVENT__MAX
};
extern const char *const supervisor_event_names[SUPERVISOR_EVENT__MAX];

/* What a cell tells process.c to do; one each. */
enum supervisor_action {
    SUPERVISOR_NOTHING,    /* the event says nothing new here */
    SUPERVISOR_IMPOSSIBLE, /* cannot come in this state: MUST */
    SUPERVISOR_SPAWN,      /* start it; its timers */
    SUPERVISOR_SPAWN_ANEW, /* the same, deaths forgotten (by hand) */
    SUPERVISOR_TERM,       /* signal stop.signal, start stop.timeout */
    SUPERVISOR_KILL,       /* SIGKILL to the whole group */
    SUPERVISOR_SETTLE,     /* start settle and watchdog */
    SUPERVISOR_FORGET,     /* deaths forgotten */
    SUPERVISOR_DELAY,      /* clean up after it, start the delay */
    SUPERVISOR_ALARM,      /* clean up after it, tell people */
    SUPERVISOR_CLEAN       /* clean up after it: cgroup, timers, pidfd */
};
struct supervisor_cell {
    enum supervisor_action action;
    enum supervisor_state next;
};
extern const struct supervisor_cell supervisor_table[SUPERVISOR_STATE__MAX][SUPERVISOR_EVENT__MAX];

/* The delay before start number deaths + 1, deaths >= 1: delay_min doubled with each, at most delay_max, and then ± 20 % by
 * random (0 … UINT32_MAX): what died together does not come back together, at the maximum neither. */
int64_t supervisor_delay_ns(const struct supervisor_spec *spec, uint32_t deaths, uint32_t random);

/* ---- spec.c, spec_words.c ------------------------------------------------------------------------------------------------- */

#define SUPERVISOR_PATH_BYTES_MAX 4096
#define SUPERVISOR_READY_TEXT_BYTES_MAX 128 /* of "output TEXT" */
#define SUPERVISOR_HOST_BYTES_MAX 64
#define SUPERVISOR_NS_MAX (INT64_C(366) * 24 * 3600 * CORE_NS_PER_S) /* longest time that can be asked for */

bool supervisor_name_is_good(struct core_span name);
bool supervisor_path_is_good(const char *text);              /* from the root, not too long */
int64_t supervisor_number_of(const char *text, int64_t max); /* only digits, at most max; -1: something else */
/* A whole number from min to max. False: something else, or json is NULL. */
CORE_CHECKED bool supervisor_json_integer(const struct core_json_tree *json, int64_t min, int64_t max, int64_t *out);
/* A rule of readiness and what follows its word: "tcp 80" is SUPERVISOR_READY_TCP and "80". False: it is none; in a spec that
 * was read all are good. */
CORE_CHECKED bool supervisor_rule_read(const char *text, enum supervisor_ready_rule *rule, const char **rest);
/* "[ADDRESS:]PORT", an IPv6 address with or without []; host is "" without one. False: it is something else, e.g. a name. */
CORE_CHECKED bool supervisor_tcp_of(const char *text, char host[SUPERVISOR_HOST_BYTES_MAX], uint16_t *port);
int64_t supervisor_duration_ns(const char *text); /* "5s", also ms, m, h; -1: it is none */
/* "nofile" to RLIMIT_NOFILE; -1: no such limit. Its value: a number or "unlimited"; false: neither. */
int supervisor_limit_of(const char *name);
CORE_CHECKED bool supervisor_limit_value(const char *text, uint64_t *out);

/* ---- spawn.c, cgroup.c, output.c ---------------------------------------------------------------------------------------- */

#define SUPERVISOR_COOKIE_BYTES 33 /* 32 hex digits and NUL; the process has it as $TAPLINE_COOKIE */

/* A running process, as much of it as finds it again. */
struct supervisor_pid {
    pid_t pid;            /* 0: none */
    int pidfd;            /* -1: none */
    uint64_t start_ticks; /* field 22 of /proc/PID/stat, clock ticks since boot */
    char cookie[SUPERVISOR_COOKIE_BYTES];
    bool is_child;        /* else adopted: no exit status to be had */
    int ready_fd;         /* for the rule "fd": a memfd, looked at by is_ready (a pipe would break with us); -1 */
    int64_t spawned_ns;   /* core_now_ns() */
    off_t output_from[2]; /* lengths of stdout.log and stderr.log at the start */
};

/* Which parts of cgroup v2 can be used here. */
struct supervisor_cgroups {
    char root[SUPERVISOR_PATH_BYTES_MAX]; /* "" : none; one directory a process below it */
    bool has_memory;
    bool has_cpu;
    bool has_cpuset;
    bool is_made; /* root is our own work, not a directory that was given */
};
/* Find or make the directory for our processes: wanted (options.cgroup, NULL: none), else <our own cgroup>/processes-ID with the
 * Supervisor itself moved into …/supervisor, since v2 allows no processes beside children with controllers. ID follows from
 * the state directory: two Supervisors under one cgroup never meet, and a new one finds the directory of the one before it.
 * Without v2, or without the right to write there: root "", one info line that says what is used instead. */
void supervisor_cgroups_find(struct supervisor_cgroups *cgroups, const char *wanted, const char *state);
/* At our own end: remove the directory if we made it and nothing is in it any more. */
void supervisor_cgroups_leave(const struct supervisor_cgroups *cgroups);
/* For the process about to be started: make it, set limits; *fd is the directory (for clone3's CLONE_INTO_CGROUP or cgroup.procs);
 * -1 where there are none. */
CORE_CHECKED enum core_err supervisor_cgroup_open(const struct supervisor_cgroups *cgroups,
                                                  const struct supervisor_spec *spec, int *fd, struct core_fail *fail);
void supervisor_cgroup_kill(const struct supervisor_cgroups *cgroups, const char *name); /* everything left in it */
void supervisor_cgroup_close(const struct supervisor_cgroups *cgroups,
                             const char *name); /* remove it; busy is no error */

/* Start it: a child in a session and process group of its own, pidfd open, output appended to its files, everything of spec
 * done. Its cookie is out->cookie if the caller has put one there (so that it can be saved before), else a new one. The child
 * reports what fails between fork and exec through a CLOEXEC pipe, so an error here means: nothing runs.
 * Errors: CORE_IO, CORE_BAD (no such user, capability …): fail->text says which step. */
CORE_CHECKED enum core_err supervisor_spawn(const struct supervisor_spec *spec,
                                            const struct supervisor_cgroups *cgroups, struct supervisor_pid *out,
                                            struct core_fail *fail);
/* To the whole process group. SIGKILL also to all that is left of it elsewhere: in its cgroup, or with its cookie in the
 * environment, even when the process itself is gone. A process that is gone is no error. */
void supervisor_signal(const struct supervisor_spec *spec, const struct supervisor_cgroups *cgroups,
                       const struct supervisor_pid *pid, int number);

/* Whom a process runs as; texts are cut where they are too long to be true. */
struct supervisor_user {
    uid_t uid;
    gid_t gid;
    char name[64];
    char home[256];
    char shell[256];
};
/* name NULL: whom we run as ourselves. Errors: CORE_BAD no such user. */
CORE_CHECKED enum core_err supervisor_user_find(const char *name, struct supervisor_user *out, struct core_fail *fail);

/* ---- caps.c: capabilities as masks, bit i for capability i ---- */

/* What spec asks for; *is_kept: nothing is asked, all stays as it is. program: the file to be executed, for it may have what
 * the Supervisor has not. Errors: CORE_BAD no such capability, or nobody here can give it. */
CORE_CHECKED enum core_err supervisor_caps_wanted(const struct supervisor_spec *spec, const char *program,
                                                  uint64_t *mask, bool *is_kept, struct core_fail *fail);
/* In the child, as root: nothing but mask can ever be had again. In the child, as the user: have mask, also after exec. Of
 * mask only what the Supervisor has. False: errno. */
CORE_CHECKED bool supervisor_caps_bound(uint64_t mask);
CORE_CHECKED bool supervisor_caps_take(uint64_t mask);

/* Paths of the two files of output. */
void supervisor_output_path(const struct supervisor_spec *spec, int which, char out[SUPERVISOR_PATH_BYTES_MAX]);
/* Cut files longer than bytes_max to their last half, at a line's start, while the process goes on appending (O_APPEND; no
 * byte written meanwhile is lost: see the file). Returns by how many bytes all that is left has moved to the front: take them
 * off output_from and output_read (0 also where a file system can only make a hole there: then nothing moves). */
uint64_t supervisor_output_trim(const struct supervisor_spec *spec, int which);

/* ---- ready.c, watch.c ---------------------------------------------------------------------------------------------------- */

enum supervisor_interface {
    SUPERVISOR_INTERFACE_UP,
    SUPERVISOR_INTERFACE_NO_CARRIER,
    SUPERVISOR_INTERFACE_DOWN,
    SUPERVISOR_INTERFACE_GONE
};

/* What the file of a rule "file" was like. */
struct supervisor_file_mark {
    bool is_taken; /* else the process was adopted: nobody looked */
    bool is_there;
    dev_t device;
    ino_t inode;
    int64_t changed_ns;
};

/* What was seen of a process's life. Zero it at the start. Times are core_tick_ns(). */
struct supervisor_pulse {
    uint64_t logs_bytes;   /* of all its logs together */
    uint64_t counter_mark; /* at the last sign of life */
    uint64_t cpu_ticks;    /* at the last look */
    int64_t looked_ns;     /* the last look */
    int64_t alive_ns;      /* the last sign of life, or of there being nothing to do */
    int64_t logs_ns;       /* the last growth of logs_bytes */
    enum supervisor_interface interface;
    bool has_mark;
    bool was_away;        /* its interface was down or gone when it was last told */
    unsigned rules_held;  /* bit i: rule i has held once */
    off_t output_read[2]; /* looked through so far */
    size_t output_tail_len[2];
    char output_tail[2][SUPERVISOR_READY_TEXT_BYTES_MAX];    /* of that the end: a TEXT across two looks is found */
    struct supervisor_file_mark files[SUPERVISOR_READY_MAX]; /* by rule, before the start */
};
/* Start marking, right before the start (or at an adoption): what the logs are like now. */
void supervisor_pulse_begin(struct supervisor_pulse *pulse, const struct supervisor_spec *spec);
/* Right before the start, not at an adoption: what the files of rules are like now. */
void supervisor_ready_begin(struct supervisor_pulse *pulse, const struct supervisor_spec *spec);
/* Have all rules of readiness held, each at least once? Cheap enough to be asked every 50 ms of one starting process. Of an
 * adopted process the rule "fd" is taken to hold: its word went to the Supervisor before. */
bool supervisor_is_ready(struct supervisor_pulse *pulse, const struct supervisor_spec *spec,
                         const struct supervisor_pid *pid);
/* Has it shown life since the last look? Else, when watchdog.timeout is over: is_stuck, and a diagnosis in words ("interface
 * eth0 is down; no log line for 61 s; process sleeps"). Look every timeout/4, but not more often than every 5 s. */
struct supervisor_verdict {
    bool is_stuck; /* at each look, as long as it lasts */
    bool helps;    /* a restart can mend it: false while the interface is away (then it is told once, and watched) */
    char text[256];
};
void supervisor_pulse_look(struct supervisor_pulse *pulse, const struct supervisor_spec *spec,
                           const struct supervisor_pid *pid, struct supervisor_verdict *out);
/* Bytes of all files that spec->logs matches (relative patterns: in cwd), together. */
uint64_t supervisor_logs_bytes(const struct supervisor_spec *spec);
/* CPU time (ticks), resident bytes and threads of a pid; false: gone, or not to be read now: errno. */
struct supervisor_usage {
    uint64_t cpu_ticks;
    uint64_t rss_bytes;
    uint64_t threads;
    uint64_t start_ticks;
    char state; /* R S D Z T … */
};
CORE_CHECKED bool supervisor_usage_of(pid_t pid, struct supervisor_usage *out);

/* ---- state.c, adopt.c ------------------------------------------------------------------------------------------------------ */

#define SUPERVISOR_DEATHS_MAX 16 /* most that restart.deaths_max can be */
#define SUPERVISOR_BOOT_ID_BYTES 40
#define SUPERVISOR_END_NONE (-1)
#define SUPERVISOR_END_UNKNOWN (-2)

/* One process as the state file has it. */
struct supervisor_row {
    struct core_span spec;         /* its JSON */
    struct core_span running_spec; /* what the running process was started with; empty: spec */
    bool is_wanted;
    enum supervisor_state state;
    struct supervisor_pid
        pid; /* pid 0 and no cookie: none; pid 0 and a cookie: about to be started; no descriptors are kept */
    int64_t state_since_ns; /* core_now_ns() */
    uint32_t deaths_len;    /* times of the last deaths, those that may still latch it: supervisor_boot_ns() */
    int64_t deaths_ns[SUPERVISOR_DEATHS_MAX];
    uint64_t deaths; /* all there were */
    uint64_t starts;
    int64_t end_ns; /* core_now_ns() of the last end; 0: none yet */
    int end_status; /* of it, as wait(2) says it; SUPERVISOR_END_NONE, SUPERVISOR_END_UNKNOWN (adopted) */
};
struct supervisor_saved {
    char boot_id[SUPERVISOR_BOOT_ID_BYTES]; /* another: every pid is gone */
    char instance[64];                      /* of the events */
    uint64_t next_seq;
    struct supervisor_row *rows;
    size_t rows_len;
};
/* Write temp, fsync, rename, fsync the directory. A checksum line ends it. Errors: CORE_IO. */
CORE_CHECKED enum core_err supervisor_state_save(const char *dir, const struct supervisor_saved *saved,
                                                 struct core_fail *fail);
/* Owns: everything lies in the arena. No file: CORE_OK and no rows. A file that is cut or damaged: CORE_BAD; the caller sets
 * it aside as supervisor.state.damaged, says so, and goes on with the one before it (supervisor.state.old) if that is whole. */
CORE_CHECKED enum core_err supervisor_state_load(const char *dir, struct core_arena *arena,
                                                 struct supervisor_saved *out, struct core_fail *fail);
/* The same from the text of the file; dir is for fail. */
CORE_CHECKED enum core_err supervisor_state_parse(struct core_span text, const char *dir, struct core_arena *arena,
                                                  struct supervisor_saved *out, struct core_fail *fail);
/* What the caller does then: supervisor.state becomes supervisor.state.damaged, supervisor.state.old (if there is one) becomes
 * supervisor.state, to be loaded. Errors: CORE_IO. */
CORE_CHECKED enum core_err supervisor_state_set_aside(const char *dir, struct core_fail *fail);
/* Is the saved pid still that process (start time and cookie)? Then out has a pidfd, and is_child says whether it is our own
 * child still (after an exec of ours): then its exit status can be had.
 * Errors: CORE_GONE it is not · CORE_IO nobody can say now (descriptors, memory): it may be. Out is left alone. */
CORE_CHECKED enum core_err supervisor_adopt(const struct supervisor_pid *saved, struct supervisor_pid *out,
                                            struct core_fail *fail);
/* No descriptor or memory was to be had: what could not be read may be there all the same. */
bool supervisor_is_shortage(int error);
/* CLOCK_BOOTTIME: time in which the machine slept counts, and nobody sets it. */
int64_t supervisor_boot_ns(void);
/* A new random cookie. */
void supervisor_cookie_new(char out[SUPERVISOR_COOKIE_BYTES]);
/* The boot's id; "" where there is none. Errors: CORE_IO: it could not be read now. */
CORE_CHECKED enum core_err supervisor_boot_id(char out[SUPERVISOR_BOOT_ID_BYTES], struct core_fail *fail);

#endif
