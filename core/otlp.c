/* core/otlp.c: the sender of traces and metrics: a bounded buffer, and a thread that posts what is in it.
 *
 * Spans come from the pipeline's threads as they end; metrics from main, each interval. Both are text already when they are put
 * here under a mutex that nobody holds for longer than it takes to copy some kilobytes. The thread takes all there is, and posts
 * without the mutex. A request that fails is not sent again: a collector that was away misses some traces, and no more.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/http.h"
#include "core/otlp_internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define OTLP_SPANS_BYTES_MAX ((size_t)512 * 1024) /* that wait */
#define OTLP_SPANS_BYTES_ONCE ((size_t)64 * 1024) /* of one call */
#define OTLP_METRICS_BYTES_MAX (32 * CORE_MIB)    /* address space */
#define OTLP_HEAD_BYTES ((size_t)8 * 1024)
#define OTLP_POST_EVERY_NS CORE_NS_PER_S
#define OTLP_TIMEOUT_MS 5000
#define OTLP_LAST_NS CORE_NS_PER_S /* at the end of the process */
#define OTLP_ANSWER_BYTES_MAX ((size_t)64 * 1024)

struct core_otlp {
    struct core_health *health;
    char url_traces[512];
    char url_metrics[512];
    struct core_http_session *session; /* the thread's */
    _Atomic uint64_t share;
    _Atomic int64_t slow_ns;
    uint64_t asked; /* core_otlp_samples()'s */
    _Atomic uint64_t spans_sent, spans_dropped, posts, posts_failed;
    _Atomic int is_up; /* -1: nothing was sent yet */
    pthread_t thread;
    bool is_started;
    int64_t next_metrics_ns; /* main's */
    pthread_mutex_t lock;    /* of all below */
    pthread_cond_t news;
    bool is_ending;
    int64_t last_ns;                    /* core_tick_ns(): no request goes on beyond; 0: it may */
    char *spans[2];                     /* the one that is filled, and the thread's */
    size_t spans_len, spans_bytes;      /* of the first */
    char *metrics;                      /* waiting; NULL: none */
    size_t metrics_len;                 /* its bytes */
    char why[sizeof(struct core_fail)]; /* the last failure, in words */
};

/* ---- the thread ------------------------------------------------------------------------------------------------------------- */

static bool goes_on(void *ctx) {
    struct core_otlp *otlp = ctx;
    MUST(pthread_mutex_lock(&otlp->lock) == 0);
    bool is_over = otlp->last_ns != 0 && core_tick_ns() > otlp->last_ns;
    MUST(pthread_mutex_unlock(&otlp->lock) == 0);
    return !is_over;
}

static void failed_tell(struct core_otlp *otlp, const struct core_fail *fail) {
    MUST(pthread_mutex_lock(&otlp->lock) == 0);
    (void)snprintf(otlp->why, sizeof otlp->why, "%.255s: %.767s", fail->where, fail->text);
    MUST(pthread_mutex_unlock(&otlp->lock) == 0);
    if (atomic_exchange(&otlp->is_up, 0) != 0) {
        core_log_fail(CORE_LEVEL_WARN, "otlp",
                      "the collector does not take what is sent; traces and metrics are dropped until it does, and "
                      "nothing else waits: see that it runs and takes OTLP/HTTP JSON there",
                      fail);
    }
}

static bool post(struct core_otlp *otlp, const char *url, struct core_span body) {
    static const struct core_http_header headers[] = {{"Content-Type", "application/json"}};
    struct core_fail fail = {0};
    struct core_http_answer answer = {0};
    const struct core_http_request request = {.url = url,
                                              .headers = headers,
                                              .headers_len = 1,
                                              .body = body,
                                              .session = otlp->session,
                                              .timeout_ms = OTLP_TIMEOUT_MS,
                                              .bytes_max = OTLP_ANSWER_BYTES_MAX,
                                              .goes_on = goes_on,
                                              .ctx = otlp};
    bool is_taken = core_http_send(&request, &answer, &fail) == CORE_OK;
    core_http_answer_release(&answer);
    atomic_fetch_add(&otlp->posts, 1);
    if (!is_taken) {
        atomic_fetch_add(&otlp->posts_failed, 1);
        failed_tell(otlp, &fail);
    } else if (atomic_exchange(&otlp->is_up, 1) == 0) {
        core_log(CORE_LEVEL_INFO, "otlp", "the collector takes what is sent again", "url=%s", url);
    }
    return is_taken;
}

static void spans_post(struct core_otlp *otlp, char *room, const char *spans, size_t bytes, size_t len) {
    struct core_buf out = {
        .start = room, .pos = room, .end = room + OTLP_HEAD_BYTES + OTLP_SPANS_BYTES_MAX + OTLP_HEAD_BYTES};
    otlp_head_write(&out, otlp->health, "resourceSpans", "scopeSpans", "spans");
    core_buf_put(&out, spans, bytes);
    core_buf_span(&out, CORE_SPAN("]}]}]}"));
    MUST(!out.is_full);
    bool is_taken = post(otlp, otlp->url_traces, core_buf_written(&out));
    atomic_fetch_add(is_taken ? &otlp->spans_sent : &otlp->spans_dropped, len);
}

/* Sleeps with the mutex until there is something, and it is time. */
static void news_wait(struct core_otlp *otlp, int64_t due_ns) {
    bool is_time = false;
    while (!otlp->is_ending && (!is_time || (otlp->spans_len == 0 && otlp->metrics == NULL))) {
        int64_t now = core_tick_ns();
        is_time = now >= due_ns;
        if (!is_time) {
            struct timespec until = {.tv_sec = due_ns / CORE_NS_PER_S, .tv_nsec = due_ns % CORE_NS_PER_S};
            int slept CORE_UNUSED = pthread_cond_timedwait(&otlp->news, &otlp->lock, &until);
        } else if (otlp->spans_len == 0 && otlp->metrics == NULL) {
            MUST(pthread_cond_wait(&otlp->news, &otlp->lock) == 0);
        }
    }
}

static void *sender_main(void *arg) {
    struct core_otlp *otlp = arg;
    char *room = malloc(OTLP_HEAD_BYTES + OTLP_SPANS_BYTES_MAX + OTLP_HEAD_BYTES);
    MUST(room != NULL);
    int64_t due_ns = core_tick_ns();
    for (bool is_last = false; !is_last;) {
        MUST(pthread_mutex_lock(&otlp->lock) == 0);
        news_wait(otlp, due_ns);
        due_ns = core_tick_ns() + OTLP_POST_EVERY_NS;
        is_last = otlp->is_ending;
        char *spans = otlp->spans[0];
        size_t len = otlp->spans_len;
        size_t bytes = otlp->spans_bytes;
        char *metrics = otlp->metrics;
        size_t metrics_len = otlp->metrics_len;
        otlp->spans[0] = otlp->spans[1];
        otlp->spans[1] = spans;
        otlp->spans_len = otlp->spans_bytes = 0;
        otlp->metrics = NULL;
        MUST(pthread_mutex_unlock(&otlp->lock) == 0);
        if (len > 0) {
            spans_post(otlp, room, spans, bytes, len);
        }
        if (metrics != NULL) {
            (void)post(otlp, otlp->url_metrics, (struct core_span){.ptr = metrics, .len = metrics_len});
            free(metrics);
        }
    }
    free(room);
    return NULL;
}

/* ---- what comes --------------------------------------------------------------------------------------------------------------- */

bool core_otlp_samples(struct core_otlp *otlp) {
    uint64_t share = atomic_load_explicit(&otlp->share, memory_order_relaxed);
    return share > 0 && otlp->asked++ % share == 0;
}

bool core_otlp_is_slow(const struct core_otlp *otlp, int64_t ns) {
    return ns > atomic_load_explicit(&otlp->slow_ns, memory_order_relaxed);
}

void core_otlp_spans(struct core_otlp *otlp, const struct core_otlp_span *spans, size_t len) {
    char text[OTLP_SPANS_BYTES_ONCE];
    struct core_buf out = {.start = text, .pos = text, .end = text + sizeof text};
    otlp_spans_write(&out, spans, len);
    size_t bytes = (size_t)(out.pos - out.start);
    MUST(pthread_mutex_lock(&otlp->lock) == 0);
    bool fits = !out.is_full && bytes + 1 <= OTLP_SPANS_BYTES_MAX - otlp->spans_bytes;
    if (fits) {
        char *to = otlp->spans[0] + otlp->spans_bytes;
        if (otlp->spans_len > 0) {
            *to++ = ',';
            otlp->spans_bytes++;
        }
        memcpy(to, text, bytes);
        otlp->spans_bytes += bytes;
        otlp->spans_len += len;
        MUST(pthread_cond_signal(&otlp->news) == 0);
    }
    MUST(pthread_mutex_unlock(&otlp->lock) == 0);
    if (!fits) {
        atomic_fetch_add(&otlp->spans_dropped, len);
    }
}

static void metrics_add(struct core_otlp *otlp) {
    struct core_arena arena;
    struct core_fail fail;
    MUST(core_arena_init(&arena, OTLP_METRICS_BYTES_MAX, &fail) == CORE_OK);
    char *room = core_arena_alloc(&arena, OTLP_METRICS_BYTES_MAX);
    MUST(room != NULL);
    struct core_buf out = {.start = room, .pos = room, .end = room + OTLP_METRICS_BYTES_MAX};
    otlp_metrics_write(&out, otlp->health);
    size_t len = (size_t)(out.pos - out.start);
    char *copy = malloc(len);
    MUST(copy != NULL);
    memcpy(copy, room, len);
    core_arena_destroy(&arena);
    MUST(pthread_mutex_lock(&otlp->lock) == 0);
    char *late = otlp->metrics; /* those of the last interval are still here: these are newer, and say the same */
    otlp->metrics = copy;
    otlp->metrics_len = len;
    MUST(pthread_cond_signal(&otlp->news) == 0);
    MUST(pthread_mutex_unlock(&otlp->lock) == 0);
    free(late);
}

/* ---- its life ------------------------------------------------------------------------------------------------------------------ */

struct core_otlp *core_health_otlp(struct core_health *health) {
    return health->otlp;
}

static void url_write(char out[512], const char *base, const char *path) {
    size_t len = strlen(base);
    while (len > 0 && base[len - 1] == '/') {
        len--;
    }
    (void)snprintf(out, 512, "%.*s%s", (int)(len < 400 ? len : 400), base, path);
}

void core_otlp_open(struct core_health *health) {
    if (!health->conf.is_on || health->conf.otlp == NULL) {
        return;
    }
    struct core_otlp *otlp = calloc(1, sizeof *otlp);
    pthread_condattr_t attributes;
    MUST(otlp != NULL);
    health->otlp = otlp;
    otlp->health = health;
    url_write(otlp->url_traces, health->conf.otlp, "/v1/traces");
    url_write(otlp->url_metrics, health->conf.otlp, "/v1/metrics");
    otlp->session = core_http_session_new();
    atomic_store(&otlp->is_up, -1);
    for (size_t i = 0; i < 2; i++) {
        otlp->spans[i] = malloc(OTLP_SPANS_BYTES_MAX);
        MUST(otlp->spans[i] != NULL);
    }
    MUST(pthread_mutex_init(&otlp->lock, NULL) == 0);
    MUST(pthread_condattr_init(&attributes) == 0);
    MUST(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    MUST(pthread_cond_init(&otlp->news, &attributes) == 0);
    MUST(pthread_condattr_destroy(&attributes) == 0);
    core_otlp_reload(health);
}

void core_otlp_reload(struct core_health *health) {
    if (health->otlp != NULL) {
        atomic_store(&health->otlp->share, health->conf.otlp_share);
        atomic_store(&health->otlp->slow_ns, health->conf.otlp_slow_ns);
    }
}

static void sender_start(struct core_otlp *otlp) {
    sigset_t all;
    sigset_t before;
    MUST(sigfillset(&all) == 0);
    MUST(pthread_sigmask(SIG_SETMASK, &all, &before) == 0); /* signals are main's */
    otlp->is_started = pthread_create(&otlp->thread, NULL, sender_main, otlp) == 0;
    MUST(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}

void core_otlp_turn(struct core_health *health) {
    struct core_otlp *otlp = health->otlp;
    if (otlp == NULL) {
        return;
    }
    if (!otlp->is_started) {
        sender_start(otlp); /* tried again a second later, if there is no room for a thread now */
    }
    int64_t now = core_tick_ns();
    if (health->conf.otlp_metrics && now >= otlp->next_metrics_ns) {
        otlp->next_metrics_ns = now + health->conf.interval_ns;
        metrics_add(otlp);
    }
}

void core_otlp_show(struct core_health *health, struct core_health_page *page) {
    struct core_otlp *otlp = health->otlp;
    if (otlp == NULL) {
        return;
    }
    int is_up = atomic_load(&otlp->is_up);
    struct core_health_row *row = core_health_add(page, CORE_HEALTH_OTLP, NULL, NULL, NULL);
    core_health_set(row, CORE_OTLP_UP, is_up < 0 ? CORE_HEALTH_UNKNOWN : is_up);
    core_health_set(row, CORE_OTLP_SPANS, (int64_t)atomic_load(&otlp->spans_sent));
    core_health_set(row, CORE_OTLP_DROPPED, (int64_t)atomic_load(&otlp->spans_dropped));
    core_health_set(row, CORE_OTLP_POSTS, (int64_t)atomic_load(&otlp->posts));
    core_health_set(row, CORE_OTLP_FAILED, (int64_t)atomic_load(&otlp->posts_failed));
    if (is_up == 0) {
        MUST(pthread_mutex_lock(&otlp->lock) == 0);
        core_health_complain(page, "otlp_unreachable", CORE_HEALTH_PROCESS, NULL, NULL, NULL,
                             "traces and metrics are dropped: %s", otlp->why);
        MUST(pthread_mutex_unlock(&otlp->lock) == 0);
    }
}

void core_otlp_free(struct core_health *health) {
    struct core_otlp *otlp = health->otlp;
    if (otlp == NULL) {
        return;
    }
    if (otlp->is_started) {
        MUST(pthread_mutex_lock(&otlp->lock) == 0);
        otlp->is_ending = true;
        otlp->last_ns = core_tick_ns() + OTLP_LAST_NS;
        MUST(pthread_cond_signal(&otlp->news) == 0);
        MUST(pthread_mutex_unlock(&otlp->lock) == 0);
        MUST(pthread_join(otlp->thread, NULL) == 0);
    }
    core_http_session_free(otlp->session);
    MUST(pthread_cond_destroy(&otlp->news) == 0);
    MUST(pthread_mutex_destroy(&otlp->lock) == 0);
    free(otlp->spans[0]);
    free(otlp->spans[1]);
    free(otlp->metrics);
    free(otlp);
    health->otlp = NULL;
}
