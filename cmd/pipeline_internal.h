/* cmd/pipeline_internal.h: what the files of the pipeline share. pipeline.c tells the design.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_PIPELINE_INTERNAL_H
#define TAPLINE_CMD_PIPELINE_INTERNAL_H

#include "cmd/pipeline.h"
#include "core/queue.h"
#include "core/rpc.h"

#include <pthread.h>

#define PIPELINE_WORKERS_MAX 64
#define PIPELINE_DATASETS_MAX 256 /* beyond that they are counted together */

/* Written by main only, in this order; read by all. */
enum pipeline_phase {
    PIPELINE_RUNNING,
    PIPELINE_STOPPING, /* ingest reads no more; what is under way goes on */
    PIPELINE_QUIT      /* every thread leaves its loop */
};

/* One reload at a time. Who may touch the rest of struct pipeline_reload follows from the step. */
enum pipeline_reload_step {
    RELOAD_NONE,    /* main's */
    RELOAD_INGEST,  /* ingest's: take next_config's inputs */
    RELOAD_REFUSED, /* main's: ingest would not, see fail */
    RELOAD_TAKEN,   /* main's: tell the workers */
    RELOAD_WORKERS /* each worker's: take next_maps; the last one gives it back as RELOAD_DONE */,
    RELOAD_DONE /* main's: nobody uses the old config and maps; free them */
};

struct pipeline_reload {
    _Atomic int step;
    _Atomic uint32_t workers_left;
    struct config *next_config;
    struct normalize_maps *next_maps;
    struct core_fail fail;
    bool is_wanted;  /* main's: another SIGHUP came meanwhile */
    unsigned number; /* main's: SIGHUPs answered, so that the log does not fold two answers into one */
};

/* What a thread counts of itself, and where it shows that (cmd/pipeline_health.c). */
struct pipeline_meter {
    struct core_health_page *page;
    uint64_t in, out, batches;
    int64_t begun_tick;
    int64_t waited_ns; /* in all */
    int64_t due_tick;  /* the page is shown no sooner */
    bool is_stale;     /* the page does not show all that was counted */
};

/* A thread of the pipeline. */
struct pipeline_thread {
    pthread_t id;
    bool is_started;
    _Atomic bool is_ended;
    _Atomic bool is_failed; /* fail is set; the process ends with pipeline_exit() of it */
    struct core_fail fail;
    struct core_bell bell; /* its queues ring it; so does main, for a new phase or a reload */
    struct pipeline_meter meter;
};

struct pipeline_worker {
    uint32_t magic;
    struct pipeline *pipeline;
    struct pipeline_thread thread;
    struct core_queue in;   /* producer: ingest; consumer: this worker */
    struct core_queue *out; /* enrich's or the first sink's ins[of this worker] */
    struct normalize_worker *normalize;
    _Atomic bool wants_maps; /* set by main in RELOAD_WORKERS, cleared by the worker */
};
#define PIPELINE_WORKER_MAGIC 0x77726b72u

struct pipeline;

struct pipeline_tap;

/* A kind of source: what the pipeline asks of it, and what comes between it and the sinks (cmd/pipeline_source.c). All but
 * open and lock are the ingest thread's. */
struct pipeline_source {
    const char *stage;         /* the command's name, in the log */
    const char *service;       /* service.name of the log as JSON */
    const char *positions;     /* who remembers them, if no sink does */
    enum core_counter records; /* how many were read */
    enum config_wants wants;   /* of the config, when it is read again */
    bool has_workers;          /* maps, workers, intelligence */
    bool counts_commits;       /* it says itself what was accepted (pipeline_report.feed) */
    /* What this process must have for itself. */
    enum core_err (*lock)(struct pipeline *pipeline, struct core_fail *fail);
    enum core_err (*open)(struct pipeline *pipeline, struct core_fail *fail);
    enum core_err (*turn)(struct pipeline *pipeline, int timeout_ms, struct core_fail *fail);
    enum core_err (*reload)(struct pipeline *pipeline, const struct config *next, struct core_fail *fail);
    void (*stop)(struct pipeline *pipeline);
    bool (*is_drained)(const struct pipeline *pipeline);
    uint64_t (*outstanding)(const struct pipeline *pipeline);
    void (*health)(struct pipeline *pipeline, struct core_health_page *page); /* its rows and complaints */
    int64_t (*waited_ns)(const struct pipeline *pipeline); /* NULL: not known; busy is processor time then */
    void (*log)(struct pipeline *pipeline);                /* what is only its to tell; NULL: nothing */
    void (*close)(struct pipeline *pipeline);
};
extern const struct pipeline_source *const pipeline_sources[]; /* by enum pipeline_kind */

/* What intelligence knows, between the workers and the first sink; only if the config names any (cmd/pipeline_enrich.c). */
struct pipeline_enrich {
    uint32_t magic;
    struct pipeline *pipeline;
    struct pipeline_thread thread;
    bool is_on;
    struct core_queue *ins; /* producer: a worker each; consumer: enrich */
    uint32_t ins_len;
    uint32_t ins_at;
    struct core_queue *out; /* the first sink's ins[0] */
    /* The config's, by value: a reload frees the struct they came from and keeps what they point to. */
    struct enrich_conf conf;
    struct enrich_redis_conf redis;
    struct enrich *enrich;
    struct ingest_input own;     /* our own logs */
    struct ingest_input *inputs; /* the config's and that one */
    struct core_batch *held;     /* enrich_batch() said CORE_AGAIN: asked again before any other */
    bool has_begun;              /* the filter is there, or has been waited for long enough */
    _Atomic bool has_given_up;   /* a stop came before that: no batch has passed, and none will */
    int64_t came_tick;           /* when the first batch came; 0: none yet */
    int64_t waited_ns;           /* for how long it waited */
    int64_t looked_tick;         /* when the state was last looked at */
    struct enrich_status status;
    bool is_told;           /* status.state was */
    _Atomic int state;      /* status.state, for what main shows */
    _Atomic bool wants_log; /* set by main: SIGUSR1 */
};
#define PIPELINE_ENRICH_MAGIC 0x70656e72u

struct pipeline_sink {
    uint32_t magic;
    struct pipeline *pipeline;
    struct pipeline_thread thread;
    struct core_queue *ins; /* the first sink: one from each worker, or from enrich; the others: from the sink before */
    uint32_t ins_len;
    uint32_t ins_at;        /* the next one to look into: nobody waits behind a busy neighbour */
    struct core_queue *out; /* the next sink's ins[0], or returns */
    const struct sink_ops *ops;
    struct sink_env env;
    struct sink *sink;
    struct core_batch *offered; /* the sink said CORE_AGAIN: offered again before any other */
    uint32_t held;              /* batches the sink has */
    bool is_flushed;            /* since the last batch it took, or there was none */
    bool is_last;
    uint64_t in_flight;   /* documents it has */
    uint64_t accepted;    /* documents it gave back */
    int64_t waiting_tick; /* since when it accepts nothing though documents wait; 0: none wait */
    bool shows_waiting;   /* its row has that */
    uint64_t committed;   /* the keeper's last transaction that was seen */
    struct core_histogram latency;
};
#define PIPELINE_SINK_MAGIC 0x736e6b72u

/* ---- what is noted of what passes (cmd/pipeline_notes.c) ------------------------------------------------------------------ */

#define PIPELINE_DEADS_MAX 64 /* reasons; beyond that they are counted together */
#define PIPELINE_DEAD_SECONDS 60
#define PIPELINE_CAPTURES_MAX 256

struct pipeline_dead {
    char stage[32];
    char reason[104];
    char path[512]; /* the last one's file */
    char text[256]; /* its reason, in words */
    uint64_t records;
    int64_t last_tick;
    int64_t last_ns;
    struct {
        int64_t at; /* core_tick_ns() in seconds */
        uint64_t count;
    } seconds[PIPELINE_DEAD_SECONDS];
};

/* -1: not known. */
struct pipeline_capture {
    char sensor[256];
    const char *source;
    int64_t received, dropped, loss_ppm, last_ns;
};

enum pipeline_step {
    PIPELINE_EVENT_READ,
    PIPELINE_READ_ACCEPTED,
    PIPELINE_EVENT_ACCEPTED,
    PIPELINE_ACCEPTED_INDEXED, /* from here on a feeder's */
    PIPELINE_EVENT_INDEXED,
    PIPELINE_STEP__MAX
};

enum pipeline_capture_kind {
    PIPELINE_CAPTURE_NONE,
    PIPELINE_CAPTURE_STATS,
    PIPELINE_CAPTURE_LOSS,
    PIPELINE_CAPTURE_EVE
};

struct pipeline_notes {
    struct core_histogram steps[PIPELINE_STEP__MAX];
    uint64_t *dead_before; /* by the batch's place in the pool: its dead letters so far. Whose the batch is */
    char kept_in[512];     /* where dead letters go, in words */
    char keeper[256];      /* who keeps positions, if a sink does: "Kafka (127.0.0.1:9092)" */
    pthread_mutex_t lock;  /* of the rest */
    struct pipeline_dead deads[PIPELINE_DEADS_MAX + 1];
    size_t deads_len;
    struct pipeline_capture captures[PIPELINE_CAPTURES_MAX];
    size_t captures_len;
};

struct pipeline {
    uint32_t magic;
    struct pipeline_options options;
    const struct pipeline_source *source;
    struct config *config;       /* main's; others see parts of it that outlive their use */
    struct normalize_maps *maps; /* main's */
    char *node;                  /* both outlive every reload: node.name and node.state need a restart */
    char *state;
    struct core_counters counters;
    struct core_pool pool; /* ingest's */
    struct ingest *ingest; /* the source: one of these two; ingest's while it runs */
    struct feed *feed;
    unsigned instance;             /* of a feeder: its number on this node */
    struct feed_summary *summary;  /* of a feeder: made when it is closed, or told */
    _Atomic bool wants_source_log; /* set by main: SIGUSR1 */
    struct pipeline_thread ingest_thread;
    uint64_t pushed;           /* ingest's: batches, ever */
    struct core_queue returns; /* producer: the last sink; consumer: ingest */
    struct core_commit commit; /* between ingest and the last sink, if that keeps the positions */
    bool has_keeper;
    struct pipeline_worker *workers;
    uint32_t workers_len;
    struct pipeline_enrich enrich;
    struct pipeline_sink sinks[CONFIG_SINKS_MAX];
    uint32_t sinks_len;
    _Atomic int phase;            /* enum pipeline_phase */
    _Atomic uint64_t outstanding; /* written by ingest, for what main tells */
    struct pipeline_reload reload;
    int lock_fd;
    int signal_fd;
    int control_fd;         /* eventfd that wakes main: a thread ended, a reload went a step on */
    struct core_loop *loop; /* main's: the two above, and what health and the control socket have */
    struct core_watch *watches[2];
    struct core_health *health;
    struct core_rpc_server *control; /* NULL: cannot be had */
    struct pipeline_notes notes;
    uint64_t dead_told; /* the source's: dead letters of the feeder that notes have */
    int64_t start_ns;
    int64_t end_ns;
    int64_t stop_deadline_ns; /* core_tick_ns(); 0 before SIGTERM */
    bool is_tty_dirty;        /* a progress line stands there without its '\n' */
    /* The last sink's thread counts; main reads after it ended. The last row is for all that came too late. */
    struct pipeline_dataset datasets[PIPELINE_DATASETS_MAX + 1];
    size_t datasets_len;
    uint64_t pending; /* the sum of their pending events, all of this transaction and epoch */
    uint64_t pending_txn;
    uint64_t pending_epoch;
    _Atomic uint64_t events;  /* for progress */
    _Atomic uint32_t watched; /* bit by enum pipeline_point: somebody looks at what passes there */
    struct pipeline_tap *tap; /* cmd/pipeline_tap.c's own */
};
#define PIPELINE_MAGIC 0x7069706cu

/* cmd/pipeline_state.c: make dir if only its last part is missing, and lock it for this process, as far as this name goes.
 * Errors: CORE_LOCKED, fail names the holder's pid · CORE_IO. Owns: close(*lock_fd) unlocks. */
CORE_CHECKED enum core_err pipeline_state_lock(const char *dir, const char *name, int *lock_fd, struct core_fail *fail);

/* cmd/pipeline_enrich.c. open: nothing is done without intelligence in the config; waits for no server. close: also after
 * a failed open. main: the loop. */
CORE_CHECKED enum core_err pipeline_enrich_open(struct pipeline *pipeline, struct core_fail *fail);
void *pipeline_enrich_main(void *arg);
/* What ingest shall read: the config's inputs and our own logs. Owns: the stage's until the next call. */
const struct ingest_input *pipeline_enrich_inputs(struct pipeline *pipeline, const struct config *config,
                                                  size_t *inputs_len);
void pipeline_enrich_close(struct pipeline_enrich *stage);
/* Have it tell its state in the log. Thread: main. */
void pipeline_enrich_log(struct pipeline_enrich *stage);

/* cmd/pipeline_threads.c: the loops. arg is the struct pipeline, pipeline_worker or pipeline_sink. */
void *pipeline_ingest_main(void *arg);
void *pipeline_worker_main(void *arg);
void *pipeline_sink_main(void *arg);
/* NULL without a keeper of positions. */
struct core_commit *pipeline_commit(struct pipeline *pipeline);
enum pipeline_phase pipeline_phase_of(struct pipeline *pipeline);
/* The last thing a thread does: main joins it now or later. */
void *pipeline_thread_end(struct pipeline *pipeline, struct pipeline_thread *thread);
/* Wake a thread for something that is in no queue. Unlike core_bell_ring() it wakes one that is about to sleep, too. */
void pipeline_poke(int event_fd);

/* cmd/pipeline_health.c: the board. open: before the pages of any thread; begin: with all threads running; end: with none, and
 * before anything that has a histogram goes away. Takes what was never opened. Thread: main. */
void pipeline_health_open(struct pipeline *pipeline);
void pipeline_health_begin(struct pipeline *pipeline);
void pipeline_health_end(struct pipeline *pipeline);
/* A page for each thread; with all stages open, before threads run. */
void pipeline_pages_open(struct pipeline *pipeline);
/* Show how the thread is, if it is time. now: core_tick_ns(). Thread: that one. */
void pipeline_show_ingest(struct pipeline *pipeline, int64_t now);
void pipeline_show_worker(struct pipeline_worker *worker, int64_t now);
void pipeline_show_enrich(struct pipeline_enrich *stage, int64_t now);
void pipeline_show_sink(struct pipeline_sink *sink, int64_t now);
/* It is about to be given a batch, which may take it long: from then on nobody hears of it. */
void pipeline_show_sink_waiting(struct pipeline_sink *sink, int64_t now);
/* The last time: without what the stage below shows, which is about to go away. */
void pipeline_show_enrich_last(struct pipeline_enrich *stage);
void pipeline_show_sink_last(struct pipeline_sink *sink);

/* cmd/pipeline_notes.c. close: takes what was never opened. */
void pipeline_notes_open(struct pipeline *pipeline);
void pipeline_notes_close(struct pipeline *pipeline);
void pipeline_notes_show(struct pipeline *pipeline, struct core_health_page *page); /* thread: the source's */
/* Dead letters of a batch: those that normalize made (there are some), those that a sink was refused (there may be), those that
 * a feeder has committed. Thread: that which has the batch, or the source's. */
void pipeline_note_unread(struct pipeline *pipeline, const struct core_batch *batch);
void pipeline_note_refused(struct pipeline *pipeline, const char *stage, const struct core_batch *batch);
void pipeline_note_summary(struct pipeline *pipeline, const struct feed_summary *summary);
/* It was accepted now. Thread: the last sink's, as of the next two. */
void pipeline_note_times(struct pipeline *pipeline, const struct core_batch *batch, int64_t now);
enum pipeline_capture_kind pipeline_capture_of(const char *dataset);
void pipeline_note_capture(struct pipeline *pipeline, enum pipeline_capture_kind kind, const struct core_batch *batch,
                           const struct core_event *event);

/* cmd/pipeline_control.c: the control socket. Where none can be had, that is said. Thread: main. */
void pipeline_control_begin(struct pipeline *pipeline);
void pipeline_control_end(struct pipeline *pipeline);

/* cmd/pipeline_tap.c: method `tap` of the control socket; ctx: the pipeline. Thread: main. */
void pipeline_tap_call(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params);
void pipeline_tap_end(struct pipeline *pipeline);  /* answers all who watch; before the control socket goes */
void pipeline_tap_free(struct pipeline *pipeline); /* after that, with no thread left */
/* A batch passes a point that is watched. Thread: that which has the batch. */
void pipeline_watched(struct pipeline *pipeline, int point, struct core_batch *batch);

/* cmd/pipeline_trace.c. push: the source hands it on. delivered: the last sink gives it back; before it goes anywhere. Thread: that
 * which has the batch. */
void pipeline_trace_push(struct pipeline *pipeline, struct core_batch *batch);
void pipeline_trace_delivered(struct pipeline *pipeline, const struct core_batch *batch);

/* Where a batch passes that somebody may watch (`tapline tap`). */
enum pipeline_point {
    PIPELINE_AT_WORKER,     /* lines, no events yet */
    PIPELINE_AT_NORMALIZED, /* events, as the map made them */
    PIPELINE_AT_ENRICHED,   /* the same with what intelligence says */
    PIPELINE_AT_DELIVERED,  /* every sink has given it back */
    PIPELINE_POINT__MAX
};
/* A batch passes a point. Costs a load while nobody looks. Thread: that which has the batch. */
static inline void pipeline_passes(struct pipeline *pipeline, enum pipeline_point point, struct core_batch *batch) {
    if ((atomic_load_explicit(&pipeline->watched, memory_order_relaxed) & 1U << point) != 0) {
        pipeline_watched(pipeline, (int)point, batch);
    }
}

/* cmd/pipeline_reload.c. Thread: main. */
void pipeline_reload_start(struct pipeline *pipeline); /* SIGHUP */
void pipeline_reload_step(struct pipeline *pipeline);  /* control_fd was readable */
void pipeline_reload_drop(struct pipeline *pipeline);  /* at the end, with no thread left */

#endif
