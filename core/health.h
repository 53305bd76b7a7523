/* core/health.h: what a process knows of its own health: rows of numbers, put down by the threads that own them, read by
 * whoever shows them; the problems that follow; and how both leave the process.
 *
 *   threads --rows--> pages --read--> document (JSON)  -> control socket (tapline top, Main's page), health log, topic
 *                               |---> /metrics (text)  -> Prometheus, OTLP
 *                               '---> rules -> problems (in all of these, and /readyz)
 *
 * counters.def names all numbers. A *kind* of row is a thing there are several of (a file, a stage, a sink); labels say which
 * one; its measures are int64, UNKNOWN until set, and an unknown one is not shown. Each thread that has rows has a *page* and
 * writes all of its rows anew, about twice a second and at once when a state changes (CORE_HEALTH_EVERY_NS); readers always
 * get whole pages. Nothing here is on the data path: what is counted there is counted by core_count() and core_histogram_add().
 *
 * Thread: new, begin, turn, free and all readers: the process's main thread. Pages: each its own thread's.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_HEALTH_H
#define TAPLINE_CORE_HEALTH_H

#include "core/conf.h"
#include "core/json.h"
#include "core/loop.h"

#define CORE_HEALTH_EVERY_NS (CORE_NS_PER_S / 2)
#define CORE_HEALTH_ROWS_MAX 8192 /* of a page; what is beyond is left out, and counted in the document's "left_out" */
#define CORE_HEALTH_LABELS_MAX 3
#define CORE_HEALTH_LABEL_BYTES_MAX 512 /* a longer one is cut */
#define CORE_HEALTH_UNKNOWN INT64_MIN

/* ---- kinds and measures, from counters.def -------------------------------------------------------------------------- */

enum core_health_kind {
#define KIND(id, name, labels, meaning) CORE_HEALTH_##id,
#include "core/counters.def"
    CORE_HEALTH__MAX
};

/* CORE_FILE_SIZE, CORE_STAGE_BUSY …: all measures of all kinds in one row of numbers. */
enum core_health_measure {
#define GAUGE(kind, id, name, unit, meaning) CORE_##kind##_##id,
#define COUNT(kind, id, name, unit, meaning) CORE_##kind##_##id,
#include "core/counters.def"
    CORE_HEALTH_MEASURE__MAX
};

enum core_health_unit {
    CORE_UNIT_NUMBER,
    CORE_UNIT_BYTES,
    CORE_UNIT_NS,
    CORE_UNIT_TIME,
    CORE_UNIT_SINCE,
    CORE_UNIT_PPM,
    CORE_UNIT_FLAG
};

struct core_health_kind_info {
    const char *name;
    const char *label_names[CORE_HEALTH_LABELS_MAX]; /* NULL past the last */
    const char *meaning;
    int first_measure; /* in core_health_measures */
    int measures_len;
    const char *histogram; /* NULL: none */
    const char *histogram_meaning;
};
struct core_health_measure_info {
    enum core_health_kind kind;
    const char *name;
    enum core_health_unit unit;
    bool only_grows;
    const char *meaning;
};
extern const struct core_health_measure_info core_health_measures[CORE_HEALTH_MEASURE__MAX];
/* "lag_bytes", "busy_seconds": a measure's whole name; the same for a counter of the process with '.' as '_'. NUL-terminated. */
void core_health_measure_name(enum core_health_measure measure, char out[64]);
/* Thread: any. */
const struct core_health_kind_info *core_health_kind_info(enum core_health_kind kind);

#define CORE_HEALTH_VALUES_MAX 12 /* measures of one kind */

/* ---- histograms of times ----------------------------------------------------------------------------------------------- */

#define CORE_HISTOGRAM_BUCKETS 18
#define CORE_HISTOGRAM_NS_MAX (24 * 3600 * CORE_NS_PER_S)
extern const int64_t
    core_histogram_bounds_ns[CORE_HISTOGRAM_BUCKETS - 1]; /* 1 ms … 1 h; the last bucket has all above */

/* Zeroed at first. Thread: any adds, any reads. Units: in ns the sum would be full within days. */
struct core_histogram {
    _Atomic uint64_t counts[CORE_HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum_us;
};
/* Below 0 counts as 0; in the sum, above CORE_HISTOGRAM_NS_MAX as that: logs of years ago would fill it. */
void core_histogram_add(struct core_histogram *histogram, int64_t ns, uint64_t times);
/* What share of the times was at most the result, e.g. share 0.99; interpolated in its bucket; -1: there are none. */
int64_t core_histogram_quantile_ns(const struct core_histogram *histogram, double share);

/* ---- writing rows ------------------------------------------------------------------------------------------------------ */

struct core_health;
struct core_health_page;

struct core_health_row {
    enum core_health_kind kind;
    const char *labels[CORE_HEALTH_LABELS_MAX]; /* NULL past the last */
    int64_t values[CORE_HEALTH_VALUES_MAX];     /* by measure - first_measure: use core_health_set() */
    const struct core_histogram *histogram;     /* outlives the board; NULL: none */
};

/* A page of its own for a thread. owner: a word for messages. Owns: the board's. Thread: main, before the thread starts. */
struct core_health_page *core_health_page_new(struct core_health *health, const char *owner);
/* Is it time again (CORE_HEALTH_EVERY_NS since the last publish)? now: core_tick_ns(). Takes NULL (false). */
bool core_health_is_due(const struct core_health_page *page, int64_t now);
/* Begin all rows anew. */
void core_health_begin(struct core_health_page *page);
/* Add a row: labels are copied, all values UNKNOWN. NULL label texts are "". Returns NULL when the page is full. Two rows of one
 * kind never have the same labels: the second one is our bug, and is left out of what is shown. */
struct core_health_row *core_health_add(struct core_health_page *page, enum core_health_kind kind, const char *label0,
                                        const char *label1, const char *label2);
void core_health_set(struct core_health_row *row, enum core_health_measure measure, int64_t value); /* takes NULL */
/* Readers see these rows from now on. */
void core_health_publish(struct core_health_page *page);

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

/* All rows of all pages as they are now, in the order of kinds, then of pages. Shape: *len rows. Owns: everything lies in the
 * arena; NULL: it is full. A SINCE stays a time; core_health_shown() makes an age of it. */
const struct core_health_row *core_health_rows(struct core_health *health, struct core_arena *arena, size_t *len);
int64_t core_health_get(const struct core_health_row *row, enum core_health_measure measure); /* UNKNOWN: it is */
/* As it is shown: SINCE as its age in ns (0 for 0, never below 0). */
int64_t core_health_shown(const struct core_health_row *row, enum core_health_measure measure, int64_t now_ns);
/* The text of a shown value: seconds, ratios with a point, exact. Shape: NUL-terminated. */
void core_health_text(int64_t shown, enum core_health_unit unit, char out[32]);

/* ---- problems --------------------------------------------------------------------------------------------------------------- */

enum core_health_severity { CORE_HEALTH_INFO, CORE_HEALTH_WARN, CORE_HEALTH_ERROR };

/* What is wrong, in words for the person at 3 a.m. The codes are those of core/health_rules.c's table and of
 * docs/troubleshooting; alert rules have the same. */
struct core_health_problem {
    const char *code; /* static: "sink_stalled" */
    enum core_health_severity severity;
    const char *component;                      /* "sink kafka", "file /var/log/zeek/conn.log", "sensor zeek-1" */
    int64_t since_ns;                           /* wall clock */
    const char *text;                           /* what happens, with numbers and names */
    const char *help;                           /* what a person can do; static */
    enum core_health_kind kind;                 /* of the row it is about … */
    const char *labels[CORE_HEALTH_LABELS_MAX]; /* … and which one: so that whoever draws can colour it */
};
/* Row i of the table of all there can be, for the reference. False: there are no more. Thread: any. */
CORE_CHECKED bool core_health_rule_at(size_t i, const char **code, enum core_health_severity *severity,
                                      const char **meaning, const char **help);
/* As of the last turn, worst first, then oldest. Valid until the next turn. */
const struct core_health_problem *core_health_problems(const struct core_health *health, size_t *len);
/* Rows alone do not say everything: who knows of a problem by himself (a disk that is full, a server's refusal) says it here,
 * and again within five seconds as long as it lasts; core_health_publish() of the page clears those not said again. code: one
 * of the table's; text is copied, kind and labels say of which row. Thread: the page's. */
void core_health_complain(struct core_health_page *page, const char *code, enum core_health_kind kind,
                          const char *label0, const char *label1, const char *label2, const char *fmt, ...)
    CORE_PRINTF(7, 8);

/* A moment for such a text, to the second: "2026-11-22T08:30:00Z". Shape: NUL-terminated. Thread: any. */
void core_health_since(int64_t wall_ns, char out[21]);

/* ---- the process's own ------------------------------------------------------------------------------------------------------- */

/* Section `health:`. */
struct core_health_conf {
    bool is_on;             /* the file has the section: is set by who reads it */
    char *serve;            /* "127.0.0.1:9600": where `tapline serve` listens; "off": nowhere. Loopback only */
    char *run;              /* default 127.0.0.1:9601 */
    char *feed;             /* default 127.0.0.1:9602; further feeders of this node.state: the next ports */
    char *intel_sync;       /* default 127.0.0.1:9699 */
    char *log_dir;          /* of health-<process>.ndjson; default node.state */
    uint64_t log_bytes_max; /* of one; then it becomes health-<process>.ndjson.1; default 16 MiB */
    char *topic;            /* default tapline.health; "": none */
    int64_t interval_ns;    /* of lines in the health log; default 10 s */
    int64_t lag_max_ns;     /* a file that is further behind is a problem; default 60 s */
    int64_t
        stall_after_ns; /* a sink that accepts nothing for so long though something waits is a problem; default 5 s */
    uint64_t loss_max_ppm;         /* lost packets of a sensor beyond this are a problem; default 10000 (1 %) */
    struct core_conf_list rdkafka; /* of the topic's own producer, over what sinks.kafka or feed says */
    char *otlp;                    /* "http://127.0.0.1:4318": traces and metrics go there; NULL: nowhere */
    uint64_t otlp_share;           /* one batch in so many is traced; default 1000; 0: only slow ones */
    int64_t otlp_slow_ns;          /* a batch that took longer from read to accepted is always traced; default 5 s */
    bool otlp_metrics;             /* metrics too, each interval; default yes */
};
extern const struct core_opt core_health_opts[];
extern const size_t core_health_opts_len;
void core_health_conf_check(const struct core_health_conf *conf, const struct core_conf_file *file,
                            const struct core_conf_node *node, struct core_conf_mistakes *mistakes);

struct core_kafka_pair;

struct core_health_env {
    const char *process; /* "run", "feed", "serve", "intel-sync" */
    unsigned instance;   /* of feeders; else 0 */
    const char *node;    /* node.name */
    const char *state;   /* node.state; NULL: none */
    const char *version;
    struct core_loop *loop;               /* main's; begin() puts its timers and descriptors there */
    const struct core_counters *counters; /* NULL: has none */
    const struct core_health_conf *conf;  /* outlives it; NULL or !is_on: nothing listens, no log, no topic */
    const struct core_kafka_pair *kafka;  /* how the topic's brokers are reached; copied */
    size_t kafka_len;                     /* 0: no topic */
};

/* Make the board: pages can be made and rows written; nothing runs yet. Never fails (MUST). Owns: core_health_free(). */
struct core_health *core_health_new(const struct core_health_env *env);
/* Listen, open the log and the topic, look each second. What cannot be had (a port in use, a full disk) is said and tried again,
 * and never ends the process. */
void core_health_begin_serving(struct core_health *health);
/* The last line of the log says that it ends; at most a second is waited for the topic. */
void core_health_free(struct core_health *health); /* takes NULL */
/* A new configuration (SIGHUP): intervals and limits; addresses need a restart. */
void core_health_reload(struct core_health *health, const struct core_health_conf *conf);

#define CORE_HEALTH_DATASET "tapline.health"
/* The fields of a line of the health log, for the exported schemas. */
struct core_health_field {
    const char *name;
    bool is_required; /* every line has it */
};
extern const struct core_health_field core_health_fields[];
extern const size_t core_health_fields_len;

/* The health document: one JSON object.
 *   {"node":…,"process":"run","instance":0,"pid":N,"version":…,"started":ISO,"time":ISO,"state":"ok|degraded|failing",
 *    "ready":bool,"left_out":N,
 *    "problems":[{"code","severity":"info|warn|error","component","since":ISO,"text","help","kind","labels":{…}}],
 *    "counters":{"ingest.bytes":N,…},
 *    "rows":{"file":[{"path":…,"size_bytes":N,…,"lag_bytes":N,"lag_seconds":1.234}],"stage":[…],…}}
 * Members of a row are its labels and known measures by their whole names (seconds and ratios as decimals); a histogram is
 * "latency":{"count":N,"sum":S,"p50":S,"p90":S,"p99":S,"buckets":[[0.001,N],…,["+Inf",N]]} (cumulative; without times no
 * p50 …). Problems are no rows. A document fits into what room there is (give it CORE_HEALTH_DOCUMENT_BYTES): rows beyond are
 * counted in "left_out", files first. */
#define CORE_HEALTH_DOCUMENT_BYTES (1000 * CORE_KIB) /* an answer over a control socket has 1 MiB */
void core_health_document(struct core_health *health, struct core_buf *out);
/* The exposition, for /metrics. is_open: OpenMetrics 1.0.0 (ends with # EOF), else Prometheus text 0.0.4. */
void core_health_exposition(struct core_health *health, bool is_open, struct core_buf *out);

/* The names there, without _total or _bucket: tapline_<kind>_<measure's whole name>. Thread: any. */
void core_health_metric_name(enum core_health_measure measure, char out[160]);
void core_health_histogram_name(enum core_health_kind kind, char out[160]); /* of a kind that has one */
void core_health_counter_name(enum core_counter counter, char out[160]);

struct core_httpd;
/* Its HTTP server; NULL: none, or not yet: a port in use is tried again. */
struct core_httpd *core_health_httpd(struct core_health *health);
/* Called once when it listens (at once, if it does already), so that Main can add its routes (core/httpd.h); one at most. */
void core_health_on_httpd(struct core_health *health, void (*on_httpd)(void *ctx, struct core_httpd *httpd), void *ctx);
/* Called at the end of each turn (once a second), problems and rows being those of now; one at most. */
void core_health_on_turn(struct core_health *health, void (*on_turn)(void *ctx), void *ctx);

#endif
