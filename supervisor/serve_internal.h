/* supervisor/serve_internal.h: between the files of Main.
 *
 *   serve.c         start, loop, signals, service manager    serve_link.c    the line to the Supervisor, and its mirror
 *   serve_methods.c what people can ask                      serve_conf.c    section `serve:`
 *   serve_wait.c    start/stop/restart until it is done, with progress
 *   serve_child.c   programs run by Main itself                serve_small.c   texts, files
 *   deploy.c        check, compare, write, set, restart, roll back
 *   serve_crash.c   crash reports                            serve_stats.c   netstats, capstats, df
 *   serve_disk.c    expiry of archives                       serve_logs.c    logs.read
 *   serve_health.c  the board: how everything is, with serve_peers.c (other processes), serve_captures.c (Zeek's packets) and
 *                   serve_page.c (the page, its events, its buttons)
 *   sensors*.c      section `sensors:` and the plan          zeekctl*.c      node.cfg, networks.cfg, zeekctl.cfg
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SUPERVISOR_SERVE_INTERNAL_H
#define TAPLINE_SUPERVISOR_SERVE_INTERNAL_H

#include "core/rpc.h"
#include "supervisor/serve.h"

/* What the Supervisor said of a process last. */
struct serve_process {
    char name[SUPERVISOR_NAME_BYTES_MAX + 1];
    char group[SUPERVISOR_NAME_BYTES_MAX + 1];
    enum supervisor_state state;
    bool is_wanted;
    bool is_changed; /* its spec is another than the running one's */
    bool is_adopted;
    int64_t pid; /* 0: none */
    int64_t since_ns;
    uint64_t starts;
    uint64_t deaths;
    int64_t died_ns; /* when this Main last saw it end by itself; 0: never */
    uint64_t rss_bytes;
    double cpu_seconds;
    uint64_t threads;
    char reason[256];  /* of its state, for people */
    char quiet[256];   /* why it is silent, as the Supervisor's watchdog has it; "": it is not */
    char last_end[64]; /* "exit 1", "signal 11 (SEGV)", "unknown", "" */
    char *spec;        /* JSON; malloc'ed; NULL: not told */
};

struct deploy; /* one under way, deploy.c's own */
struct serve_wait;
struct serve_line;
struct started;
struct early_event;
struct serve_health;

struct serve {
    const struct serve_env *env;
    struct core_loop *loop;
    struct core_rpc_server *server;
    struct core_rpc_client *link; /* NULL: no Supervisor now */
    bool is_linked;               /* hello and list were answered */
    struct serve_conf *conf;      /* the file as it was read last */
    struct sensors_conf *sensors;
    struct core_arena deployed_arena;
    struct sensors_plan deployed;    /* what is deployed: nodes_len 0: nothing yet */
    struct serve_process *processes; /* the mirror, sorted by name */
    size_t processes_len;
    struct deploy *deploy; /* NULL: none under way */
    struct core_timer link_timer;
    struct core_timer disk_timer;
    struct core_timer notify_timer;
    uint64_t events_seen; /* of the Supervisor: the last one's number; kept in <state>/events.seen */
    char events_instance[64];
    void *crash;                 /* serve_crash.c's own */
    struct serve_health *health; /* serve_health.c's own */
    uint64_t
        crash_oldest; /* number of the oldest event whose report is not written yet; 0: none. Kept back from events.seen, so
                            * that the next Main is told of that death again */
    struct serve_wait *waits;     /* requests that wait for states; serve_wait.c's own */
    struct serve_line *line;      /* serve_link.c's own */
    struct early_event *early;    /* from before the server opened; serve_methods.c\'s own */
    struct started *started;      /* the Supervisor that we started, while it lives; serve_child.c's own */
    const char *group;            /* conf->group, if there is such a group; else NULL */
    struct core_timer open_timer; /* when the server opens though no Supervisor has answered */
    int lock_fd;                  /* of <state>/main.lock */
    bool is_ending;               /* the Supervisor is going for good: no new one */
    int exit_code;
};

/* ---- serve.c: another configuration, as env->load() gave it ---------------------------------------------------------------------- */
/* Has a key changed that only a restart can take over? Then which one. */
CORE_CHECKED bool serve_conf_needs_restart(const struct serve *serve, const struct serve_conf *next,
                                           const char **section, const char **key);
void serve_conf_swap(struct serve *serve, struct serve_conf *conf,
                     struct sensors_conf *sensors); /* releases the one before */

/* ---- serve_link.c: everything that needs the Supervisor is refused with a clear text while there is none ---------------------- */
void serve_link_begin(struct serve *serve); /* connect, or start a Supervisor, and try again by timer */
void serve_link_end(struct serve *serve);
/* From within: a line is there and the mirror is whole; the Supervisor has gone as it was told to. serve.c's. */
void serve_on_linked(struct serve *serve);
void serve_on_supervisor_gone(struct serve *serve);
/* Start a Supervisor, detached; what it says goes to <state>/supervisor.log. serve_child.c's. */
void serve_supervisor_start(struct serve *serve);
void serve_supervisor_forget(struct serve *serve); /* it goes on */
/* A fresh process.list's result becomes the mirror. False: it is none. */
bool serve_mirror_take(struct serve *serve, const struct core_json_tree *result);
struct serve_process *serve_process_find(struct serve *serve, struct core_span name); /* NULL: none */
/* Call the Supervisor; on_answer may get code 0 (line broken). */
void serve_ask(struct serve *serve, const char *method, struct core_span params, core_rpc_on_answer *on_answer,
               void *ctx);

/* ---- who listens to changes of the mirror: called after it was changed ------------------------------------------------------- */
void serve_wait_on_state(struct serve *serve, const struct serve_process *process);
void deploy_on_state(struct serve *serve, const struct serve_process *process);
/* An end that nobody asked for: exit status, signal, or unknown; event is the Supervisor's. One while Main was away is told, too:
 * then process is what it is now. */
void serve_crash_on_end(struct serve *serve, const struct serve_process *process, const struct core_json_tree *event);

/* ---- serve_health.c: how everything is ---------------------------------------------------------------------------------------- */
void serve_health_begin(struct serve *serve);
void serve_health_end(struct serve *serve);
void serve_health_reload(struct serve *serve);   /* serve->conf is another */
void serve_health_on_state(struct serve *serve); /* the mirror has changed: its rows are written anew, soon */

/* ---- methods: the functions of the table ---------------------------------------------------------------------------------------- */
typedef void serve_method(void *ctx, struct core_rpc_request *request,
                          const struct core_json_tree *params); /* ctx: struct serve */
serve_method serve_status, serve_nodes, serve_start, serve_stop, serve_restart, serve_kill, serve_logs_read;
serve_method serve_shutdown;
serve_method serve_check, serve_deploy;
serve_method serve_diag_list, serve_diag_show;
serve_method serve_netstats, serve_capstats, serve_df;
serve_method serve_health_all;

/* The deployed nodes that the words in params.nodes mean (none given: all); false: refused already (an unknown word). *picked
 * is malloc'ed: indexes into deployed.nodes. */
CORE_CHECKED bool serve_pick(struct serve *serve, struct core_rpc_request *request, const struct core_json_tree *params,
                             size_t **picked, size_t *picked_len);

/* Is there a line to the Supervisor? False: refused already. */
CORE_CHECKED bool serve_needs_link(struct serve *serve, struct core_rpc_request *request);
/* The same for what is told to the Supervisor: names of deployed nodes, and of others that it has and that a word names whole.
 * Owns: *names is malloc'ed, what it points to is not: use it before anything else happens. */
CORE_CHECKED bool serve_names_pick(struct serve *serve, struct core_rpc_request *request,
                                   const struct core_json_tree *params, bool needs_words, const char ***names,
                                   size_t *names_len);
extern const struct core_rpc_method serve_methods[];
extern const size_t serve_methods_len;

/* ---- serve_wait.c ------------------------------------------------------------------------------------------------------------ */

/* The Supervisor has gone: was a shutdown done? */
bool serve_wait_on_gone(struct serve *serve);
void serve_wait_end(struct serve *serve); /* nobody waits any more: all are refused */

/* ---- deploy.c -------------------------------------------------------------------------------------------------------------------- */
/* Read <state>/deployed.json (what was deployed last, whole plan) into serve->deployed. No file: nothing deployed. */
CORE_CHECKED enum core_err deploy_load(struct serve *serve, struct core_fail *fail);
/* Deploy without a request, at Main's first start. */
void deploy_begin(struct serve *serve);
/* A deploy that was cut short (Main was killed, the line broke) is undone. True: that, or another, is under way now. */
bool deploy_resume(struct serve *serve);
/* Main ends: one that is under way is given up here (the next Main goes on with it) and its request refused. */
void deploy_end(struct serve *serve);

/* ---- serve_crash.c, serve_disk.c -------------------------------------------------------------------------------------------------- */
void serve_crash_open(struct serve *serve);
void serve_crash_close(struct serve *serve);
void serve_disk_begin(struct serve *serve); /* its timer */

/* ---- serve_child.c ------------------------------------------------------------------------------------------------------------- */

#define SERVE_CHILD_BYTES_MAX (256 * CORE_KIB)

/* Run a program without waiting, its status and output (both streams as they came, the first SERVE_CHILD_BYTES_MAX of it) to
 * on_end from the loop; killed with all its group after timeout_ns. Used for zeek -a, gdb, sendmail. */
struct serve_child_end {
    int status; /* as waitpid() has it; -1: it could not be started, see text */
    bool is_timed_out;
    struct core_span text; /* valid during the call */
};
struct serve_child_run {
    const char *const *argv; /* NULL-terminated; argv[0] is a path, or looked up in PATH */
    const char *cwd;         /* NULL: as Main */
    const char *const *env;  /* "NAME=value", added to Main's own; NULL: none */
    struct core_span input;  /* its stdin; empty: /dev/null; copied */
    int64_t timeout_ns;
    void (*on_end)(void *ctx, const struct serve_child_end *end); /* once, never from within serve_child_start() */
    void *ctx;
};
struct serve_child;
/* Never NULL (MUST): what fails is told by on_end. Owns: freed after on_end, or by serve_child_stop(). */
struct serve_child *serve_child_start(struct serve *serve, const struct serve_child_run *run);
void serve_child_stop(struct serve_child *child); /* takes NULL; killed, and on_end is not called any more */

/* ---- small things ---------------------------------------------------------------------------------------------------------------- */

char *serve_copy(const char *text); /* malloc'ed; NULL of NULL */
/* Where the last so many lines of a text begin, at least 1; one without its newline is one, too. */
size_t serve_lines_begin(struct core_span text, uint64_t lines);
/* The whole of a file (at most bytes_max), or write it whole: temp, fsync, rename, fsync of the directory. Errors: CORE_GONE
 * there is none · CORE_LIMIT it is longer · CORE_IO. Owns: *out is malloc'ed, with a NUL behind its len bytes. */
CORE_CHECKED enum core_err serve_file_read(const char *path, size_t bytes_max, struct core_span *out,
                                           struct core_fail *fail);
CORE_CHECKED enum core_err serve_file_write(const char *path, struct core_span content, struct core_fail *fail);
/* An event of our own to all who listen: members is the inside of an object, kind first. Kept until the server is open. */
void serve_event(struct serve *serve, struct core_span members);
void serve_events_flush(struct serve *serve); /* the server is open, or never will be */

#endif
