/* core/health_internal.h: between the files of health:
 *
 *   health.c        what a process has: made, begun, a turn each second, ended
 *   health_board.c  tables, pages, rows            health_rules*.c  which rows are problems
 *   health_doc.c    the document                   health_metrics.c the exposition
 *   health_serve.c  /metrics, /healthz, /readyz    health_log.c     the health log: file and topic
 *   health_conf.c   section `health:`              otlp*.c          metrics and traces to a collector
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_HEALTH_INTERNAL_H
#define TAPLINE_CORE_HEALTH_INTERNAL_H

#include "core/health.h"

#include <pthread.h>

#define CORE_HEALTH_COMPLAINTS_MAX 256
#define CORE_HEALTH_ARENA_BYTES (64 * CORE_MIB) /* of a reading: address space */

struct core_health_complaint {
    const char *code;
    enum core_health_kind kind;
    const char *labels[CORE_HEALTH_LABELS_MAX];
    const char *text;
};

struct core_health_set {
    struct core_health_row *rows;
    size_t rows_len, rows_cap;
    struct core_health_complaint *complaints;
    size_t complaints_len, complaints_cap;
    uint64_t left_out;
    struct core_arena texts;
};

struct core_health_page {
    const char *owner;
    pthread_mutex_t lock; /* of `shown` */
    struct core_health_set sets[2];
    struct core_health_set *writing; /* the thread's */
    struct core_health_set *shown;   /* readers' */
    int64_t published_ns;            /* core_tick_ns(); the thread's */
    struct core_health_page *next;
};

struct core_health {
    struct core_health_env env;   /* texts copied */
    struct core_health_conf conf; /* by value; texts are the config's, which outlives us (or a reload's) */
    int64_t started_ns;           /* wall clock */
    struct core_health_page *pages;
    struct core_health_page *own; /* row `process`, written by the turn */
    uint64_t left_out;            /* of the last reading */
    struct core_timer turn;
    void (*on_turn)(void *ctx);
    void *on_turn_ctx;
    void (*on_httpd)(void *ctx, struct core_httpd *httpd);
    void *on_httpd_ctx;
    int64_t own_rss, own_cpu_ns, own_fds, own_free; /* of row `process`, as last measured */
    /* The last turn's: rows, and what follows from them. Both live until the next turn. */
    struct core_arena arena;
    const struct core_health_row *rows;
    size_t rows_len;
    struct core_health_rules *rules; /* health_rules.c's own */
    struct core_health_serve *serve; /* health_serve.c's own; NULL: nothing listens */
    struct core_health_log *log;     /* health_log.c's own; NULL: none */
    struct core_otlp *otlp;          /* otlp.c's own; NULL: none */
};

/* ---- health_board.c ------------------------------------------------------------------------------------------------------ */
void core_health_page_free(struct core_health_page *page);
/* A histogram as it is read: how many were at most each bound, the last one: all. */
struct core_histogram_seen {
    uint64_t up_to[CORE_HISTOGRAM_BUCKETS];
    char sum[32]; /* of all times, in seconds, exact to the microsecond */
};
void core_histogram_see(const struct core_histogram *histogram, struct core_histogram_seen *out);
/* What threads complain of now. Owns: in the arena. */
const struct core_health_complaint *core_health_complaints(struct core_health *health, struct core_arena *arena,
                                                           size_t *len);

/* ---- health_doc.c, too -------------------------------------------------------------------------------------------------------- */
/* A problem as an object of the document has it. */
void core_health_problem_put(struct core_buf *out, const struct core_health_problem *problem);
const char *core_health_severity_word(enum core_health_severity severity); /* "info", "warn", "error" */

/* ---- health_metrics.c, too: names, without _total or _bucket; public for the reference and OTLP -------------------------------- */
const char *core_health_unit_word(enum core_health_unit unit); /* "bytes", "seconds", "ratio", "" */

/* ---- health_conf.c, too ------------------------------------------------------------------------------------------------------- */
/* The limits of a file without the section: what is a problem is one all the same. */
void core_health_conf_limits(struct core_health_conf *conf);

/* ---- health_serve.c, too: row `process` ------------------------------------------------------------------------------------- */
void core_health_own_measure(struct core_health *health);
/* With the problems of now. */
void core_health_own_write(struct core_health *health);
/* Where a process listens, from its conf. False: nowhere. */
CORE_CHECKED bool core_health_address(const struct core_health_conf *conf, const char *process, unsigned instance,
                                      char out[128]);

/* ---- health_rules.c: problems, from health->rows and complaints ------------------------------------------------------------ */
struct core_health_rules *core_health_rules_new(void);
void core_health_rules_free(struct core_health_rules *rules);
/* Look at health->rows; true: the problems are not those of the last turn (one came or went). */
bool core_health_rules_turn(struct core_health *health);
bool core_health_is_ready(const struct core_health *health);
const char *core_health_state(const struct core_health *health); /* "ok", "degraded", "failing" */

/* ---- health_serve.c -------------------------------------------------------------------------------------------------------- */
void core_health_serve_turn(struct core_health *health); /* listens, if it should and does not yet (each 10 s) */
void core_health_serve_free(struct core_health *health);

/* ---- health_log.c: a line each interval, and at each change ------------------------------------------------------------------ */
void core_health_log_turn(struct core_health *health, bool is_changed);
void core_health_log_free(struct core_health *health); /* with the last line */

/* ---- otlp.c ------------------------------------------------------------------------------------------------------------------- */
void core_otlp_open(struct core_health *health); /* with the board, before there are threads */
void core_otlp_reload(struct core_health *health);
void core_otlp_turn(struct core_health *health);                                /* metrics, each interval, if wanted */
void core_otlp_show(struct core_health *health, struct core_health_page *page); /* its row, its complaint */
void core_otlp_free(struct core_health *health);

#endif
