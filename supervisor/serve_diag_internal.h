/* supervisor/serve_diag_internal.h: between the files of Main that say how sensors and the machine are.
 *
 *   serve_crash.c   a death, from the event to the report      serve_report.c  what a report says
 *   serve_reports.c the reports that are kept                  serve_outbox.c  those that are still to be mailed or posted
 *   serve_stats.c   netstats, capstats, df                     serve_capture.c where their numbers come from
 *   serve_disk.c    what goes from the archive when            serve_archive.c the archive's files, oldest first
 *   serve_work.c    what may take long goes to a thread
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SUPERVISOR_SERVE_DIAG_INTERNAL_H
#define TAPLINE_SUPERVISOR_SERVE_DIAG_INTERNAL_H

#include "supervisor/serve_internal.h"

#define SERVE_PATH_BYTES_MAX 4096
#define SERVE_REPORT_NAME_BYTES_MAX (SUPERVISOR_NAME_BYTES_MAX + 32) /* 20261122T040506.123456Z-NODE */
#define SERVE_TAIL_LINES 200                                         /* of each output, in a report */

/* ---- serve_work.c ------------------------------------------------------------------------------------------------------ */

/* A piece of work in a thread of its own: run() there, then done() from the loop. run() touches nothing of struct serve: it
 * has copies of what it needs in ctx. It looks at *stop now and then: true: nobody waits for it any more.
 * Owns: the job goes after done(). serve_work_end_all() waits for all there are and calls done() with is_stopped. */
struct serve_job {
    void (*run)(void *ctx, const atomic_bool *stop);
    void (*done)(void *ctx, bool is_stopped);
    void *ctx;
};
/* Never from run(). False: no thread or descriptor is left for it, which was logged; nothing of the job is called, and ctx is
 * the caller's as before. */
CORE_CHECKED bool serve_work_start(struct serve *serve, const struct serve_job *job);
void serve_work_end_all(struct serve *serve);

/* ---- serve_crash.c: what serve->crash is ------------------------------------------------------------------------------- */

struct work;
struct crash;
struct sending;
struct serve_diag {
    struct work *works;    /* serve_work.c */
    struct crash *crashes; /* deaths whose report is not written yet, newest first */
    struct core_timer outbox_timer;
    bool is_outbox_busy;
    struct serve_child *mailer; /* sendmail at work; NULL: none */
    struct sending *mail;       /* what it has */
    bool is_ending;
    unsigned stats_jobs; /* serve_stats.c: under way */
    bool is_disk_low;    /* told */
    int64_t disk_told_tick;
};
struct serve_diag *serve_diag_of(struct serve *serve);
struct work **serve_diag_works(struct serve *serve);
/* Where the kernel puts cores of a process in cwd, as a glob; pattern: kernel.core_pattern. False: why none can be looked for. */
bool serve_core_glob(const char *pattern, const char *cwd, char out[SERVE_PATH_BYTES_MAX], char why[256]);

/* ---- serve_report.c ---------------------------------------------------------------------------------------------------- */

/* What is known of a death. Texts are malloc'ed (serve_report_release()), NULL: not known. */
struct serve_report {
    char name[SERVE_REPORT_NAME_BYTES_MAX];
    char node[SUPERVISOR_NAME_BYTES_MAX + 1];
    const char *type;    /* static */
    char *time;          /* as the event has it */
    char *end;           /* "exit 1", "signal 11 (SEGV)", "unknown: adopted", "the start failed" */
    int64_t signal;      /* 0: none */
    int64_t exit_status; /* -1: none */
    bool is_latched;     /* it stays down until a person starts it */
    bool starts_again;   /* after a delay */
    char *reason;        /* the Supervisor's words: also the watchdog's diagnosis */
    int64_t pid;         /* 0: not told */
    int64_t uptime_ns;   /* -1: not told */
    uint64_t starts;
    uint64_t deaths;
    uint64_t rss_bytes;
    char *spec; /* JSON, secrets masked */
    char *cwd;
    char *output;    /* directory of stdout.log and stderr.log */
    char *core;      /* path of the core file */
    char *backtrace; /* or why there is none */
    bool has_backtrace;
    char *program; /* the path that was run */
    char *program_version;
    const char *tapline_version;
    const char *disks[5]; /* paths whose file systems are named */
};
void serve_report_release(struct serve_report *report);
/* The last lines of a file, at most lines_max and bytes_max; *is_cut: there are more. Owns: malloc'ed; NULL: it cannot be
 * read (errno). A line that is longer than bytes_max is cut at its beginning. */
char *serve_tail_read(const char *path, size_t lines_max, size_t bytes_max, bool *is_cut);
/* report.json and report.txt, neither longer than bytes_max: outputs give way first. Owns: both are malloc'ed. */
void serve_report_write(const struct serve_report *report, size_t bytes_max, struct core_span *json,
                        struct core_span *text);
/* A spec with what looks like a secret replaced by ***: values of environment variables by their names, and of arguments by
 * theirs (--password=x, --password x, scheme://user:x@host). */
void serve_spec_mask(const struct core_json_tree *spec, struct core_buf *out);
bool serve_name_is_secret(struct core_span name); /* of a variable or an option */

/* ---- serve_reports.c --------------------------------------------------------------------------------------------------- */

void serve_reports_dir(const struct serve *serve, char out[SERVE_PATH_BYTES_MAX]);
bool serve_report_name_is(const char *name); /* one that we have given */
/* The names of the reports, oldest first. Owns: free() each and the array. */
size_t serve_reports_list(const char *dir, char ***names);
void serve_reports_list_free(char **names, size_t len);
bool serve_report_exists(const struct serve *serve, const char *name);
/* Write it whole or not at all: a directory beside, then renamed. summary: what diag.list says of it. marks: files that say
 * where it is still to be sent, NULL-terminated. Errors: CORE_IO. */
struct serve_report_files {
    struct core_span json;
    struct core_span text;
    struct core_span summary;
    const char *marks[3];
};
CORE_CHECKED enum core_err serve_report_save(const struct serve *serve, const char *name,
                                             const struct serve_report_files *files, struct core_fail *fail);
/* Remove the oldest until at most keep are left; how many went. */
size_t serve_reports_trim(const char *dir, size_t keep);

/* What a Main that was killed left half written. */
void serve_reports_tidy(const char *dir);

/* ---- serve_outbox.c ---------------------------------------------------------------------------------------------------- */

#define SERVE_MARK_MAIL "unsent.mail"
#define SERVE_MARK_POST "unsent.post"
/* Look for what is still to be sent, and send it, one after the other. Called when something may be there. */
void serve_outbox_look(struct serve *serve);
void serve_outbox_end(struct serve *serve);

/* ---- serve_capture.c: any thread --------------------------------------------------------------------------------------- */

struct serve_capture { /* counts since the sensor began, or of the interface since it came up */
    bool is_there;
    uint64_t received;
    uint64_t dropped;
    uint64_t link; /* seen on the link; 0: not told */
    uint64_t bytes;
    char source[32]; /* "telemetry", "eve", "stats.log", "interface" */
    char as_of[40];  /* when the sensor said so; "": now */
    char note[512];  /* why not, or what to keep in mind */
};
/* Suricata's: the last stats record of eve.json, or the last block of stats.log, in its directory. */
void serve_capture_suricata(const char *directory, struct serve_capture *out);
/* Zeek's, out of the members that env->netstats wrote. */
void serve_capture_telemetry(struct core_span members, struct serve_capture *out);
struct serve_interface {
    uint64_t packets;
    uint64_t bytes;
    uint64_t dropped;
    bool is_up;
};
/* What the kernel counts at an interface ("af_packet::eth0" is eth0), under directory (NULL: /sys/class/net). */
bool serve_interface_read(const char *directory, const char *interface, struct serve_interface *out);
const char *serve_interface_name(const char *interface);
/* The last percent_lost of capture_loss.log there, of that peer (NULL: any). False: none. */
bool serve_capture_loss(const char *directory, const char *peer, double *percent);

/* ---- serve_archive.c: any thread --------------------------------------------------------------------------------------- */

struct serve_disk_want {
    const char *archive;
    int64_t keep_ns;   /* 0: for ever */
    uint64_t free_min; /* 0: as it comes */
    bool (*is_delivered)(void *ctx, const char *path);
    void *ctx;
    const atomic_bool *stop;
    /* bytes free on the file system of path; NULL: statvfs(). */
    bool (*free_bytes)(void *ctx, const char *path, uint64_t *bytes);
};
struct serve_disk_done {
    uint64_t files; /* seen */
    uint64_t removed;
    uint64_t removed_bytes;
    uint64_t undelivered; /* were due, and stay: not known to be delivered */
    uint64_t undelivered_bytes;
    uint64_t failed;             /* could not be removed; text says why of the last one */
    uint64_t free_bytes;         /* afterwards */
    bool is_low;                 /* still less free than wanted */
    char undelivered_first[512]; /* the oldest of them */
    char text[512];
};
/* Remove what is due: what is older than keep_ns, then the oldest until free_min is free; only files that is_delivered() is
 * sure of. Symlinks below the archive are neither followed nor removed. Errors: CORE_IO the archive cannot be read. */
CORE_CHECKED enum core_err serve_archive_expire(const struct serve_disk_want *want, struct serve_disk_done *done,
                                                struct core_fail *fail);

#endif
