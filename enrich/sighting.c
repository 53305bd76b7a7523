/* enrich/sighting.c: sightings: how often each indicator was seen, each day (UTC).
 *
 *     a batch's hits -> an entry of the journal -> (every intel.sightings_every) events and Redis -> servers of feeds
 *     enrich thread     sighting_journal.c         the thread "sightings", sighting_flush.c          sighting_tell.c
 *
 * A document counts once for each indicator that it was enriched with, on the day that its @timestamp names; so the counts
 * are those that a search in the documents finds. Documents of our own log of retro matches are documents, too: what
 * looking back finds counts once, when it is told. A document that is dated in the future counts today.
 *
 * The enrich thread takes the journal by one atomic exchange and gives it back by another; the other thread changes it for an
 * empty one in between. So it never waits for more than its own write(2) of what a batch has, into the page cache.
 *
 * Crash: as sighting_journal.c says. A stop tells what there is; what Redis does not take within that time stays in its
 * journal, and is added after the next start.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/sighting_internal.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define SIGHTINGS_MAGIC 0x73696768u
#define FOLDER_MODE 0750
#define NICE 10
#define TURN_MS 200
#define STOP_S 2 /* so long a stop waits for Redis */
#define RETRY_NS (10 * CORE_NS_PER_S)
#define CROWDED_BYTES (8 * CORE_MIB) /* of a journal: it is taken before its time */
#define ENTRY_ROOM_MAX ((size_t)SIGHTING_JOURNAL_BYTES_MAX)
#define SAID_MAX 8 /* feeds, and providers, of a row */
#define US_PER_S 1000000
#define US_PER_DAY (INT64_C(86400) * US_PER_S)
#define TIME_BYTES 27

struct sightings {
    uint32_t magic;
    int64_t every_ns;
    char dir[SIGHTING_PATH_BYTES];
    char *node;
    struct core_counters *counters;
    /* The enrich thread's. */
    struct sighting_marks marks;
    bool is_failing;
    /* Between the two. */
    struct sighting_journal *_Atomic current; /* NULL: the enrich thread is writing to it */
    /* The thread's. */
    struct sighting_journal journals[2];
    struct sighting_journal *spare; /* the one that is not current; fd -1 */
    struct sighting_flush flush;
    int64_t taken_tick;
    int64_t retry_tick;
    bool is_left; /* some journals are not done */
    int stop_fd;
    int late_fd; /* a timer: Redis is not waited for any longer */
    _Atomic bool is_stopping;
    pthread_t thread;
};

/* ---- the enrich thread: times --------------------------------------------------------------------------------------------------- */

static int64_t digits(const char *text, int len) {
    int64_t value = 0;
    for (int i = 0; i < len; i++) {
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

/* Of the document's @timestamp, as core_time_iso() writes it. */
static int64_t event_us(const struct core_event *event, int64_t now_us) {
    enum { YEAR = 4, MONTH = 5, DAY = 8, HOUR = 11, MINUTE = 14, SECOND = 17, MICRO = 20, MICRO_DIGITS = 6 };
    struct core_span time = document_time(event->doc);
    if (time.len != TIME_BYTES) {
        return now_us;
    }
    int64_t day = core_days_from_civil(digits(time.ptr, YEAR), (unsigned)digits(time.ptr + MONTH, 2),
                                       (unsigned)digits(time.ptr + DAY, 2));
    int64_t seconds =
        digits(time.ptr + HOUR, 2) * 3600 + digits(time.ptr + MINUTE, 2) * 60 + digits(time.ptr + SECOND, 2);
    int64_t us = day * US_PER_DAY + seconds * US_PER_S + digits(time.ptr + MICRO, MICRO_DIGITS);
    return us < now_us ? us : now_us;
}

static int64_t day_of(int64_t us) {
    return us >= 0 ? us / US_PER_DAY : -((-us + US_PER_DAY - 1) / US_PER_DAY);
}

/* ---- the enrich thread: rows ---------------------------------------------------------------------------------------------------- */

/* One indicator of the batch, on one day. */
struct seen_key {
    uint32_t event; /* the last one that it was seen in, plus one */
    bool is_exact;  /* seen as itself; else only as a parent of what was */
    uint64_t count;
    int64_t day;
    int64_t first_us;
    int64_t last_us;
};

/* "name":["a","b"], each once. */
static void said_list(struct core_buf *buf, const char *name, struct core_span *texts, size_t len) {
    core_buf_char(buf, '"');
    core_buf_span(buf, core_span_of(name));
    core_buf_span(buf, CORE_SPAN("\":["));
    for (size_t i = 0; i < len; i++) {
        struct core_buf before = *buf;
        bool is_there = false;
        for (size_t k = 0; k < i; k++) {
            is_there = is_there || core_span_eq(texts[k], texts[i]);
        }
        if (!is_there) {
            core_buf_put(buf, ",", i > 0);
            core_buf_string(buf, texts[i]);
        }
        if (buf->is_full || buf->end - buf->pos < 64) { /* room for what must follow */
            *buf = before;
            break;
        }
    }
    core_buf_char(buf, ']');
}

static struct core_span said_write(const struct enrich_found *found, bool is_exact,
                                   char room[SIGHTING_SAID_BYTES_MAX]) {
    struct core_span feeds[SAID_MAX];
    struct core_span providers[SAID_MAX];
    size_t len = 0;
    for (size_t i = 0; i < found->providers_len && len < SAID_MAX; i++) {
        const struct enrich_provider *said = &found->providers[i];
        if (is_exact || said->subdomains) {
            feeds[len] = core_span_of(said->feed);
            providers[len++] = core_span_of(said->provider == NULL ? said->feed : said->provider);
        }
    }
    struct core_buf feeds_buf = {room, room, room + SIGHTING_SAID_BYTES_MAX / 2, false};
    said_list(&feeds_buf, "feeds", feeds, len);
    core_buf_char(&feeds_buf, ',');
    struct core_buf buf = {room, feeds_buf.pos, room + SIGHTING_SAID_BYTES_MAX, false};
    said_list(&buf, "providers", providers, len);
    MUST(!feeds_buf.is_full && !buf.is_full);
    return core_buf_written(&buf);
}

static void row_write(struct core_buf *buf, const struct enrich_found *found, const struct seen_key *seen) {
    char room[SIGHTING_SAID_BYTES_MAX];
    struct sighting_row row = {.type = found->type,
                               .day = seen->day,
                               .count = seen->count,
                               .first_us = seen->first_us,
                               .last_us = seen->last_us,
                               .value = found->value,
                               .said = said_write(found, seen->is_exact, room)};
    sighting_entry_row(buf, &row);
}

static void seen_add(struct seen_key *seen, int64_t us) {
    seen->first_us = seen->count == 0 || us < seen->first_us ? us : seen->first_us;
    seen->last_us = seen->count == 0 || us > seen->last_us ? us : seen->last_us;
    seen->day = day_of(us);
    seen->count++;
}

/* All of the batch's hits that are not counted yet. Shape: how many; *again gets those that are. */
static uint64_t rows_write(const struct match *match, struct seen_key *keys, uint64_t mark, struct core_buf *buf,
                           uint64_t *again) {
    const int64_t now_us = core_now_ns() / CORE_NS_PER_US;
    uint64_t counted = 0;
    uint32_t last = UINT32_MAX;
    int64_t us = 0;
    for (size_t i = 0; i < match->sighted_len; i++) {
        const struct sighted *sighted = &match->sighted[i];
        const struct core_event *event = &match->batch->events[sighted->event];
        struct seen_key *seen = &keys[sighted->key];
        seen->is_exact = seen->is_exact || !sighted->is_parent;
        if (seen->event == sighted->event + 1) {
            continue; /* in another field of the same document */
        }
        seen->event = sighted->event + 1;
        if (event->start < mark) {
            (*again)++;
            continue;
        }
        us = sighted->event == last ? us : event_us(event, now_us);
        last = sighted->event;
        if (seen->count > 0 && seen->day != day_of(us)) {
            row_write(buf, &match->keys[sighted->key], seen);
            seen->count = 0;
        }
        seen_add(seen, us);
        counted++;
    }
    for (size_t i = 0; i < match->keys_len; i++) {
        if (keys[i].count > 0) {
            row_write(buf, &match->keys[i], &keys[i]);
        }
    }
    return counted;
}

/* ---- the enrich thread: a batch ------------------------------------------------------------------------------------------------ */

static enum core_err batch_append(struct sightings *sightings, struct core_buf *buf, const struct core_batch *batch,
                                  uint64_t end, struct core_fail *fail) {
    struct sighting_journal *journal = atomic_exchange(&sightings->current, NULL);
    MUST(journal != NULL);
    enum core_err err = sighting_entry_append(journal, buf, batch->stream->gen, end, fail);
    atomic_store(&sightings->current, journal);
    return err;
}

/* Events come first: what cannot be written down is not counted, and that is counted and said. */
static void batch_failed(struct sightings *sightings, uint64_t lost, const struct core_fail *fail) {
    core_count(sightings->counters, CORE_COUNT_SIGHTINGS_LOST, lost);
    if (!sightings->is_failing) {
        core_log_fail(CORE_LEVEL_ERROR, "sightings",
                      "what is seen of indicators is not counted (sightings.lost says how much); events go on; see to "
                      "the disk of node.state",
                      fail);
    }
    sightings->is_failing = true;
}

void sightings_batch(struct sightings *sightings, struct match *match) {
    MUST(sightings->magic == SIGHTINGS_MAGIC);
    struct core_arena *scratch = &match->scratch;
    struct core_fail fail;
    uint64_t again = 0;
    if (match->sighted_len == 0) {
        return;
    }
    const size_t used = scratch->used;
    struct seen_key *keys = core_arena_alloc(scratch, match->keys_len * sizeof *keys);
    if (keys == NULL) {
        (void)core_fail_set(&fail, CORE_LIMIT, "sightings", "there is no room to count this batch's %zu",
                            match->keys_len);
        batch_failed(sightings, match->sighted_len, &fail);
        return;
    }
    memset(keys, 0, match->keys_len * sizeof *keys);
    char *start = scratch->base + scratch->used;
    size_t room = scratch->cap - scratch->used;
    struct core_buf buf = {start, start, start + (room < ENTRY_ROOM_MAX ? room : ENTRY_ROOM_MAX), false};
    sighting_entry_begin(&buf);
    uint64_t mark = sighting_marks_get(&sightings->marks, match->batch->stream->gen);
    uint64_t counted = rows_write(match, keys, mark, &buf, &again);
    core_count(sightings->counters, CORE_COUNT_SIGHTINGS_AGAIN, again);
    if (counted > 0) {
        uint64_t end = match->batch->events[match->sighted[match->sighted_len - 1].event].start + 1;
        if (batch_append(sightings, &buf, match->batch, end, &fail) == CORE_OK) {
            sighting_marks_set(&sightings->marks, match->batch->stream->gen, end);
            core_count(sightings->counters, CORE_COUNT_SIGHTINGS_COUNTED, counted);
            sightings->is_failing = false;
        } else {
            batch_failed(sightings, counted, &fail);
        }
    }
    scratch->used = used;
}

/* ---- the thread ------------------------------------------------------------------------------------------------------------------ */

static struct sighting_journal *current_of(struct sightings *sightings) {
    return sightings->spare == &sightings->journals[0] ? &sightings->journals[1] : &sightings->journals[0];
}

/* What was written until now is no longer written to. An empty one stays. */
static enum core_err journal_take(struct sightings *sightings, struct core_fail *fail) {
    struct sighting_journal *full = current_of(sightings);
    struct sighting_journal *expected = full;
    sightings->taken_tick = core_tick_ns();
    if (atomic_load(&full->bytes) == 0) {
        return CORE_OK;
    }
    enum core_err err = sighting_journal_new(sightings->spare, sightings->dir, fail);
    if (err != CORE_OK) {
        return err; /* it goes on where it is */
    }
    while (!atomic_compare_exchange_weak(&sightings->current, &expected, sightings->spare)) {
        expected = full; /* a batch is added within a millisecond */
        sched_yield();
    }
    sighting_journal_close(full);
    sightings->spare = full;
    sightings->is_left = true;
    return CORE_OK;
}

static void turn(struct sightings *sightings, bool is_end) {
    struct core_fail fail;
    enum core_err err = CORE_OK;
    int64_t now = core_tick_ns();
    bool is_crowded = atomic_load(&current_of(sightings)->bytes) >= CROWDED_BYTES;
    if (is_end || is_crowded || now - sightings->taken_tick >= sightings->every_ns) {
        err = journal_take(sightings, &fail);
    }
    if (err == CORE_OK && sightings->is_left && (is_end || now >= sightings->retry_tick)) {
        err = sighting_flush_run(&sightings->flush, current_of(sightings)->id, &fail);
        sightings->is_left = err != CORE_OK;
        sightings->retry_tick = err != CORE_OK ? core_tick_ns() + RETRY_NS : 0;
    }
    if (err != CORE_OK && err != CORE_NET) { /* of Redis it is said where it is noticed */
        core_log_fail(CORE_LEVEL_ERROR, "sightings",
                      "what was seen of indicators cannot be told; it is kept, and tried again in ten seconds", &fail);
    }
}

static void *sightings_run(void *arg) {
    struct sightings *sightings = arg;
    MUST(sightings->magic == SIGHTINGS_MAGIC);
    bool is_nice CORE_UNUSED = setpriority(PRIO_PROCESS, (id_t)gettid(), NICE) == 0;
    bool is_named CORE_UNUSED = pthread_setname_np(pthread_self(), "sightings") == 0;
    while (!atomic_load(&sightings->is_stopping)) {
        struct pollfd fds = {.fd = sightings->stop_fd, .events = POLLIN};
        turn(sightings, false);
        int ready = poll(&fds, 1, TURN_MS);
        MUST(ready >= 0 || errno == EINTR);
    }
    turn(sightings, true);
    return NULL;
}

/* ---- making it ------------------------------------------------------------------------------------------------------------------ */

/* Where counting has come to: what is done, and what journals of an earlier run say that are not. */
static enum core_err marks_begin(struct sightings *sightings, struct core_fail *fail) {
    struct sighting_name *names;
    size_t len;
    sightings->marks = sightings->flush.marks;
    enum core_err err = sighting_journal_list(sightings->dir, &names, &len, fail);
    for (size_t i = 0; err == CORE_OK && i < len; i++) {
        struct sighting_read read;
        err = sighting_journal_read(&read, sightings->dir, &names[i], &sightings->marks, fail);
        sighting_read_release(&read);
    }
    sightings->is_left = len > 0;
    free(names);
    return err;
}

static enum core_err parts_open(struct sightings *sightings, const struct sightings_env *env, struct core_fail *fail) {
    sightings->flush = (struct sighting_flush){.dir = sightings->dir,
                                               .node = sightings->node,
                                               .counters = env->counters,
                                               .redis = env->redis,
                                               .stop_fd = sightings->late_fd};
    if (sightings->stop_fd < 0 || sightings->late_fd < 0) {
        return core_fail_errno(fail, "eventfd", "cannot make one");
    }
    enum core_err err = CORE_OK;
    if (mkdir(sightings->dir, FOLDER_MODE) != 0 && errno != EEXIST) {
        err = core_fail_errno(fail, sightings->dir, "cannot make the folder of sightings");
    }
    err = err == CORE_OK ? sighting_flush_open(&sightings->flush, env->state_dir, fail) : err;
    err = err == CORE_OK ? marks_begin(sightings, fail) : err;
    err = err == CORE_OK ? sighting_journal_new(&sightings->journals[0], sightings->dir, fail) : err;
    return err;
}

/* A journal that nothing was written to goes. */
static void journal_end(const struct sightings *sightings, struct sighting_journal *journal) {
    if (journal->fd >= 0 && atomic_load(&journal->bytes) == 0) {
        char path[SIGHTING_PATH_BYTES];
        sighting_journal_path(sightings->dir, &(struct sighting_name){.id = journal->id}, path);
        (void)unlink(path); /* the next start takes it away, else */
    }
    sighting_journal_close(journal);
}

static void parts_close(struct sightings *sightings) {
    if (sightings->stop_fd >= 0) {
        (void)close(sightings->stop_fd);
    }
    if (sightings->late_fd >= 0) {
        (void)close(sightings->late_fd);
    }
    journal_end(sightings, &sightings->journals[0]);
    journal_end(sightings, &sightings->journals[1]);
    sighting_flush_close(&sightings->flush);
    free(sightings->node);
    sightings->magic = 0;
    free(sightings);
}

enum core_err sightings_open(struct sightings **out, const struct sightings_env *env, struct core_fail *fail) {
    struct sightings *sightings = calloc(1, sizeof *sightings);
    MUST(sightings != NULL);
    *out = NULL;
    sightings->magic = SIGHTINGS_MAGIC;
    sightings->every_ns = env->every_ns;
    sightings->counters = env->counters;
    sightings->node = strdup(env->node == NULL ? "" : env->node);
    MUST(sightings->node != NULL);
    (void)snprintf(sightings->dir, sizeof sightings->dir, "%s/sightings", env->state_dir);
    sightings->journals[0].fd = -1;
    sightings->journals[1].fd = -1;
    sightings->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sightings->late_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    sightings->spare = &sightings->journals[1];
    sightings->taken_tick = core_tick_ns();
    atomic_store(&sightings->current, &sightings->journals[0]);
    enum core_err err = parts_open(sightings, env, fail);
    if (err == CORE_OK) {
        errno = pthread_create(&sightings->thread, NULL, sightings_run, sightings);
        err = errno != 0 ? core_fail_errno(fail, "thread", "cannot start the one that counts sightings") : CORE_OK;
    }
    if (err != CORE_OK) {
        parts_close(sightings);
        return err;
    }
    *out = sightings;
    return CORE_OK;
}

void sightings_close(struct sightings *sightings) {
    if (sightings == NULL) {
        return;
    }
    MUST(sightings->magic == SIGHTINGS_MAGIC);
    const struct itimerspec late = {.it_value = {.tv_sec = STOP_S}};
    MUST(timerfd_settime(sightings->late_fd, 0, &late, NULL) == 0);
    atomic_store(&sightings->is_stopping, true);
    MUST(eventfd_write(sightings->stop_fd, 1) == 0);
    MUST(pthread_join(sightings->thread, NULL) == 0);
    parts_close(sightings);
}
