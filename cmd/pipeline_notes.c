/* cmd/pipeline_notes.c: what the pipeline writes down of what passes: dead letters by reason, how long events took, and what
 * sensors say of their own packets.
 *
 * Each is noted by the thread that has the batch, and shown on the page of the ingest thread, which there is one of. Times are
 * histograms, which take no lock; dead letters and sensors' reports are rare, and have a mutex.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pipeline_internal.h"
#include "core/json_tree.h"
#include "core/peek.h"
#include "ingest/feed.h"

#include <stdio.h>
#include <stdlib.h>

#define DEAD_SHOWN_NS (60 * CORE_NS_PER_S) /* a dead letter is a problem for so long */
#define OTHERS "(others)"
#define STAMP_BYTES_MIN 20 /* without a fraction */
#define YEAR_MIN 1970
#define YEAR_MAX 2261 /* ns since the epoch end in the year after */
#define PPM 1000000
#define PPM_OF_PERCENT 10000.0
#define REPORT_BYTES_MAX (256 * CORE_KIB) /* a report that is longer is left out */

/* ---- dead letters ---------------------------------------------------------------------------------------------------------- */

/* The row of this reason; a new one, or that of all others. Under the lock. */
static struct pipeline_dead *dead_row(struct pipeline_notes *notes, const char *stage, const char *reason) {
    for (size_t i = 0; i < notes->deads_len; i++) {
        if (strcmp(notes->deads[i].reason, reason) == 0 && strcmp(notes->deads[i].stage, stage) == 0) {
            return &notes->deads[i];
        }
    }
    bool has_room = notes->deads_len < PIPELINE_DEADS_MAX;
    struct pipeline_dead *row = &notes->deads[has_room ? notes->deads_len : PIPELINE_DEADS_MAX];
    notes->deads_len += has_room ? 1 : 0;
    (void)snprintf(row->stage, sizeof(row->stage), "%s", has_room ? stage : OTHERS);
    (void)snprintf(row->reason, sizeof(row->reason), "%s", has_room ? reason : OTHERS);
    return row;
}

/* So many in this second: those of the last minute are summed up when they are shown. */
static void dead_add(struct pipeline_dead *row, uint64_t count, int64_t now) {
    int64_t second = now / CORE_NS_PER_S;
    size_t slot = (size_t)(second % PIPELINE_DEAD_SECONDS);
    if (row->seconds[slot].at != second) {
        row->seconds[slot].at = second;
        row->seconds[slot].count = 0;
    }
    row->seconds[slot].count += count;
    row->records += count;
    row->last_tick = now;
    row->last_ns = core_now_ns();
}

/* The engine's own word for what it does not take: "mapper_parsing_exception" of "mapper_parsing_exception: failed to …". */
static void refusal_word(const char *text, char *out, size_t out_len) {
    size_t len = 0;
    while (text != NULL && len + 1 < out_len && (text[len] == '_' || (text[len] >= 'a' && text[len] <= 'z'))) {
        out[len] = text[len];
        len++;
    }
    out[len] = '\0';
    if (len == 0) {
        (void)snprintf(out, out_len, "refused");
    }
}

/* Some of a batch that have one reason; text: the last one's, in words, or NULL. */
struct news {
    const char *stage;
    const char *reason;
    const char *text;
    uint64_t count;
};

static void dead_note(struct pipeline *pipeline, const struct core_batch *batch, const struct news *news) {
    struct pipeline_notes *notes = &pipeline->notes;
    MUST(pthread_mutex_lock(&notes->lock) == 0);
    struct pipeline_dead *row = dead_row(notes, news->stage, news->reason);
    dead_add(row, news->count, core_tick_ns());
    (void)snprintf(row->path, sizeof(row->path), "%s", batch->stream->path);
    (void)snprintf(row->text, sizeof(row->text), "%s", news->text == NULL ? news->reason : news->text);
    MUST(pthread_mutex_unlock(&notes->lock) == 0);
}

void pipeline_note_unread(struct pipeline *pipeline, const struct core_batch *batch) {
    struct news news = {.stage = "normalize"}; /* a run with one reason: what is fed garbage has many */
    for (uint32_t i = 0; i < batch->events_len; i++) {
        const struct core_event *event = &batch->events[i];
        if (!event->is_dead) {
            continue;
        }
        if (news.count > 0 && news.reason != event->reason) {
            dead_note(pipeline, batch, &news);
            news.count = 0;
        }
        news.reason = event->reason;
        news.text = event->refusal;
        news.count++;
    }
    if (news.count > 0) {
        dead_note(pipeline, batch, &news);
    }
    pipeline->notes.dead_before[batch - pipeline->pool.batches] = batch->tally.dead;
}

void pipeline_note_refused(struct pipeline *pipeline, const char *stage, const struct core_batch *batch) {
    uint64_t *before = &pipeline->notes.dead_before[batch - pipeline->pool.batches];
    uint64_t refused = batch->tally.dead > *before ? batch->tally.dead - *before : 0;
    char reason[64];
    for (uint32_t i = 0; i < batch->events_len && refused > 0; i++) {
        const struct core_event *event = &batch->events[i];
        if (event->fate == CORE_FATE_REFUSED && !event->is_dead) {
            refusal_word(event->refusal, reason, sizeof(reason));
            dead_note(pipeline, batch,
                      &(struct news){.stage = stage, .reason = reason, .text = event->refusal, .count = 1});
            refused--;
        }
    }
    if (refused > 0) {
        dead_note(
            pipeline, batch,
            &(struct news){
                .stage = stage, .reason = "refused", .text = "the server refused the document", .count = refused});
    }
    *before = batch->tally.dead;
}

void pipeline_note_summary(struct pipeline *pipeline, const struct feed_summary *summary) {
    struct pipeline_notes *notes = &pipeline->notes;
    int64_t now = core_tick_ns();
    MUST(pthread_mutex_lock(&notes->lock) == 0);
    for (size_t i = 0; i < summary->reasons_len; i++) {
        struct pipeline_dead *row = dead_row(notes, pipeline->source->stage, summary->reasons[i].name);
        if (summary->reasons[i].count > row->records) {
            dead_add(row, summary->reasons[i].count - row->records, now);
            (void)snprintf(row->text, sizeof(row->text), "%s", summary->reasons[i].name);
        }
    }
    MUST(pthread_mutex_unlock(&notes->lock) == 0);
}

static uint64_t dead_lately(const struct pipeline_dead *row, int64_t now) {
    uint64_t sum = 0;
    for (size_t i = 0; i < PIPELINE_DEAD_SECONDS; i++) {
        sum += now / CORE_NS_PER_S - row->seconds[i].at < PIPELINE_DEAD_SECONDS ? row->seconds[i].count : 0;
    }
    return sum;
}

static void dead_show(const struct pipeline *pipeline, struct core_health_page *page, const struct pipeline_dead *dead,
                      int64_t now) {
    struct core_health_row *row = core_health_add(page, CORE_HEALTH_DEAD, dead->stage, dead->reason, NULL);
    core_health_set(row, CORE_DEAD_RECORDS, (int64_t)dead->records);
    core_health_set(row, CORE_DEAD_LAST, dead->last_ns);
    if (now - dead->last_tick < DEAD_SHOWN_NS) {
        core_health_complain(page, "dead_letters", CORE_HEALTH_DEAD, dead->stage, dead->reason, NULL,
                             "%llu records became dead letters in the last minute (%llu since the start), the last one "
                             "of %s: %s. They are kept in %s",
                             (unsigned long long)dead_lately(dead, now), (unsigned long long)dead->records,
                             dead->path[0] == '\0' ? "Kafka" : dead->path, dead->text, pipeline->notes.kept_in);
    }
}

/* ---- how long events took ---------------------------------------------------------------------------------------------------- */

static bool digits_read(const char *text, size_t len, int64_t *out) {
    *out = 0;
    for (size_t i = 0; i < len; i++) {
        if (!core_is_digit(text[i])) {
            return false;
        }
        *out = *out * 10 + (text[i] - '0');
    }
    return true;
}

/* "2026-11-21T03:16:47.084988Z", with or without a fraction. 0: it is something else. */
static int64_t stamp_read(struct core_span doc) {
    struct core_peek peek;
    int64_t parts[6]; /* year … second */
    static const struct {
        size_t at;
        size_t len;
    } places[6] = {{0, 4}, {5, 2}, {8, 2}, {11, 2}, {14, 2}, {17, 2}};
    if (!core_peek(doc, &peek) || peek.timestamp.len < STAMP_BYTES_MIN ||
        peek.timestamp.ptr[peek.timestamp.len - 1] != 'Z') {
        return 0;
    }
    const char *text = peek.timestamp.ptr;
    for (size_t i = 0; i < 6; i++) {
        if (!digits_read(text + places[i].at, places[i].len, &parts[i])) {
            return 0;
        }
    }
    if (parts[0] < YEAR_MIN || parts[0] > YEAR_MAX || parts[1] < 1 || parts[1] > 12 || parts[2] < 1 || parts[2] > 31) {
        return 0;
    }
    int64_t ns = 0;
    int64_t unit = CORE_NS_PER_S;
    for (size_t i = STAMP_BYTES_MIN; i + 1 < peek.timestamp.len && core_is_digit(text[i]); i++) {
        unit /= 10;
        ns += (text[i] - '0') * unit;
    }
    int64_t days = core_days_from_civil(parts[0], (unsigned)parts[1], (unsigned)parts[2]);
    return (((days * 24 + parts[3]) * 60 + parts[4]) * 60 + parts[5]) * CORE_NS_PER_S + ns;
}

static void took(struct pipeline *pipeline, enum pipeline_step step, int64_t from_ns, int64_t to_ns, uint64_t times) {
    core_histogram_add(&pipeline->notes.steps[step], to_ns - from_ns, times);
}

/* The first event of a batch and its last one. */
void pipeline_note_times(struct pipeline *pipeline, const struct core_batch *batch, int64_t now) {
    if (batch->events_len == 0) {
        return;
    }
    int64_t wall_ns = core_now_ns();
    int64_t read_tick = batch->stamps[CORE_STAMP_READ];
    bool is_feed = pipeline->options.kind == PIPELINE_FEED;
    if (!is_feed && read_tick != 0) {
        took(pipeline, PIPELINE_READ_ACCEPTED, read_tick, now, batch->events_len);
    }
    uint32_t last = batch->events_len - 1;
    for (uint32_t i = 0; i <= last; i += last > i ? last - i : 1) {
        const struct core_event *event = &batch->events[i];
        bool is_there = !event->is_dead && event->fate != CORE_FATE_REFUSED;
        int64_t stamp_ns = is_there ? stamp_read(event->doc) : 0;
        int64_t taken_ms = is_feed && is_there ? feed_time_ms(event->accepted_ms) : 0;
        if (taken_ms != 0) {
            took(pipeline, PIPELINE_ACCEPTED_INDEXED, taken_ms * CORE_NS_PER_MS, wall_ns, 1);
        }
        if (stamp_ns != 0) {
            took(pipeline, is_feed ? PIPELINE_EVENT_INDEXED : PIPELINE_EVENT_ACCEPTED, stamp_ns, wall_ns, 1);
        }
        if (stamp_ns != 0 && !is_feed && read_tick != 0) {
            took(pipeline, PIPELINE_EVENT_READ, stamp_ns, wall_ns - (now - read_tick), 1);
        }
    }
}

static void times_show(const struct pipeline *pipeline, struct core_health_page *page) {
    static const char *const names[PIPELINE_STEP__MAX] = {[PIPELINE_EVENT_READ] = "event_read",
                                                          [PIPELINE_READ_ACCEPTED] = "read_accepted",
                                                          [PIPELINE_EVENT_ACCEPTED] = "event_accepted",
                                                          [PIPELINE_ACCEPTED_INDEXED] = "accepted_indexed",
                                                          [PIPELINE_EVENT_INDEXED] = "event_indexed"};
    bool is_feed = pipeline->options.kind == PIPELINE_FEED;
    for (int step = 0; step < PIPELINE_STEP__MAX; step++) {
        if (is_feed != (step >= PIPELINE_ACCEPTED_INDEXED)) {
            continue;
        }
        struct core_health_row *row = core_health_add(page, CORE_HEALTH_LATENCY, names[step], NULL, NULL);
        if (row != NULL) {
            row->histogram = &pipeline->notes.steps[step];
        }
    }
}

/* ---- what sensors say of their own packets -------------------------------------------------------------------------------------- */

enum pipeline_capture_kind pipeline_capture_of(const char *dataset) {
    return strcmp(dataset, "zeek.stats") == 0          ? PIPELINE_CAPTURE_STATS
           : strcmp(dataset, "zeek.capture_loss") == 0 ? PIPELINE_CAPTURE_LOSS
           : strcmp(dataset, "suricata.eve") == 0      ? PIPELINE_CAPTURE_EVE
                                                       : PIPELINE_CAPTURE_NONE;
}

static const struct core_json_tree *walk(const struct core_json_tree *at, const char *const *keys) {
    for (; *keys != NULL && at != NULL; keys++) {
        at = core_json_tree_get(at, *keys);
    }
    return at;
}

/* The row of this sensor. Under the lock. NULL: there are too many. */
static struct pipeline_capture *capture_row(struct pipeline_notes *notes, struct core_span sensor, const char *source) {
    for (size_t i = 0; i < notes->captures_len; i++) {
        if (core_span_is(sensor, notes->captures[i].sensor) && strcmp(notes->captures[i].source, source) == 0) {
            return &notes->captures[i];
        }
    }
    if (notes->captures_len == PIPELINE_CAPTURES_MAX || sensor.len == 0 ||
        sensor.len >= sizeof(notes->captures[0].sensor)) {
        return NULL;
    }
    struct pipeline_capture *row = &notes->captures[notes->captures_len++];
    *row = (struct pipeline_capture){.source = source, .received = -1, .dropped = -1, .loss_ppm = -1};
    memcpy(row->sensor, sensor.ptr, sensor.len);
    return row;
}

static int64_t ppm_of(int64_t dropped, int64_t all) {
    return all <= 0 || dropped <= 0 ? 0 : dropped >= all ? PPM : (int64_t)((double)dropped / (double)all * PPM);
}

/* Zeek counts anew in each interval; Suricata counts since its start. */
static void capture_count(struct pipeline_capture *row, int64_t received, int64_t dropped, bool is_interval) {
    int64_t before_received = row->received < 0 ? 0 : row->received;
    int64_t before_dropped = row->dropped < 0 ? 0 : row->dropped;
    if (is_interval) {
        row->received = before_received + received;
        row->dropped = dropped < 0 ? row->dropped : before_dropped + dropped;
        row->loss_ppm = dropped < 0 ? row->loss_ppm : ppm_of(dropped, received + dropped);
        return;
    }
    bool is_anew = received < before_received || dropped < before_dropped; /* the sensor was started again */
    int64_t more_received = is_anew ? received : received - before_received;
    int64_t more_dropped = is_anew ? dropped : dropped - before_dropped;
    row->loss_ppm = ppm_of(more_dropped, more_received);
    row->received = received;
    row->dropped = dropped;
}

static void zeek_stats_note(struct pipeline_notes *notes, const struct core_json_tree *doc) {
    const struct core_json_tree *stats = walk(doc, (const char *const[]){"zeek", "stats", NULL});
    const struct core_json_tree *packets = core_json_tree_get(stats, "packets");
    int64_t received = core_json_tree_integer(packets, "processed", -1);
    struct pipeline_capture *row = capture_row(notes, core_json_tree_text(stats, "peer"), "stats");
    if (row != NULL && received >= 0) {
        capture_count(row, received, core_json_tree_integer(packets, "dropped", -1), true);
        row->last_ns = core_now_ns();
    }
}

static void zeek_loss_note(struct pipeline_notes *notes, const struct core_json_tree *doc) {
    const struct core_json_tree *loss = walk(doc, (const char *const[]){"zeek", "capture_loss", NULL});
    const struct core_json_tree *percent = core_json_tree_get(loss, "percent_lost");
    struct pipeline_capture *row = capture_row(notes, core_json_tree_text(loss, "peer"), "capture_loss");
    if (row != NULL && percent != NULL && percent->text.ptr != NULL) {
        row->loss_ppm = (int64_t)(strtod(percent->text.ptr, NULL) * PPM_OF_PERCENT);
        row->last_ns = core_now_ns();
    }
}

static void eve_note(struct pipeline_notes *notes, const struct core_json_tree *doc, const char *path) {
    const struct core_json_tree *stats = walk(doc, (const char *const[]){"suricata", "eve", "stats", NULL});
    const struct core_json_tree *capture = core_json_tree_get(stats, "capture");
    int64_t received = core_json_tree_integer(capture, "kernel_packets", -1);
    if (received < 0) { /* a pcap, or a capture without counts of the kernel's: what was decoded */
        received = core_json_tree_integer(core_json_tree_get(stats, "decoder"), "pkts", -1);
    }
    struct pipeline_capture *row = capture_row(notes, core_span_of(path), "eve");
    if (row != NULL && received >= 0) {
        capture_count(row, received, core_json_tree_integer(capture, "kernel_drops", 0), false);
        row->last_ns = core_now_ns();
    }
}

void pipeline_note_capture(struct pipeline *pipeline, enum pipeline_capture_kind kind, const struct core_batch *batch,
                           const struct core_event *event) {
    static const char eve_stats[] = "\"event_type\":\"stats\"";
    struct pipeline_notes *notes = &pipeline->notes;
    if (event->doc.len > REPORT_BYTES_MAX ||
        (kind == PIPELINE_CAPTURE_EVE &&
         (event->key.len > 0 || memmem(event->doc.ptr, event->doc.len, eve_stats, sizeof(eve_stats) - 1) == NULL))) {
        return;
    }
    struct core_arena arena = {0};
    struct core_json_tree *doc = NULL;
    struct core_fail fail;
    size_t room = event->doc.len * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN;
    if (core_arena_init(&arena, room, &fail) != CORE_OK) {
        return;
    }
    if (core_json_tree_read(&arena, event->doc, &doc, &fail) == CORE_OK) {
        MUST(pthread_mutex_lock(&notes->lock) == 0);
        if (kind == PIPELINE_CAPTURE_STATS) {
            zeek_stats_note(notes, doc);
        } else if (kind == PIPELINE_CAPTURE_LOSS) {
            zeek_loss_note(notes, doc);
        } else {
            eve_note(notes, doc, batch->stream->path);
        }
        MUST(pthread_mutex_unlock(&notes->lock) == 0);
    }
    core_arena_destroy(&arena);
}

static int64_t known_or_not(int64_t value) {
    return value < 0 ? CORE_HEALTH_UNKNOWN : value;
}

static void capture_show(struct core_health_page *page, const struct pipeline_capture *capture) {
    struct core_health_row *row = core_health_add(page, CORE_HEALTH_CAPTURE, capture->sensor, capture->source, NULL);
    core_health_set(row, CORE_CAPTURE_RECEIVED, known_or_not(capture->received));
    core_health_set(row, CORE_CAPTURE_DROPPED, known_or_not(capture->dropped));
    core_health_set(row, CORE_CAPTURE_LOSS, known_or_not(capture->loss_ppm));
    core_health_set(row, CORE_CAPTURE_LAST, capture->last_ns == 0 ? CORE_HEALTH_UNKNOWN : capture->last_ns);
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------- */

static void kept_in_make(struct pipeline *pipeline) {
    char *out = pipeline->notes.kept_in;
    const size_t room = sizeof(pipeline->notes.kept_in);
    out[0] = '\0';
    for (size_t i = 0; i < pipeline->config->sinks_len; i++) {
        const struct config_sink *sink = &pipeline->config->sinks[i];
        struct sink_kafka_places places = {0};
        size_t used = strlen(out);
        if (strcmp(sink->ops->name, "kafka") == 0) {
            enum core_err err = sink_kafka_places(sink->conf, &places);
            MUST(err == CORE_OK || err == CORE_GONE);
            (void)snprintf(out + used, room - used, "%sKafka's topic %s", used == 0 ? "" : " and ",
                           places.dead_letter_topic);
            sink_kafka_places_release(&places);
        } else if (pipeline->options.kind == PIPELINE_RUN) {
            (void)snprintf(out + used, room - used, "%ssinks.%s", used == 0 ? "" : " and ", sink->ops->name);
        }
    }
    if (pipeline->options.kind == PIPELINE_FEED) {
        (void)snprintf(out, room, "Kafka's topic %s", pipeline->config->feed.dead_letter_topic);
    }
}

void pipeline_notes_open(struct pipeline *pipeline) {
    MUST(pthread_mutex_init(&pipeline->notes.lock, NULL) == 0);
    pipeline->notes.dead_before = calloc(pipeline->pool.len, sizeof(*pipeline->notes.dead_before));
    MUST(pipeline->notes.dead_before != NULL);
    kept_in_make(pipeline);
}

void pipeline_notes_close(struct pipeline *pipeline) {
    if (pipeline->notes.dead_before != NULL) {
        free(pipeline->notes.dead_before);
        MUST(pthread_mutex_destroy(&pipeline->notes.lock) == 0);
    }
}

void pipeline_notes_show(struct pipeline *pipeline, struct core_health_page *page) {
    struct pipeline_notes *notes = &pipeline->notes;
    int64_t now = core_tick_ns();
    times_show(pipeline, page);
    MUST(pthread_mutex_lock(&notes->lock) == 0);
    for (size_t i = 0; i < notes->deads_len; i++) {
        dead_show(pipeline, page, &notes->deads[i], now);
    }
    if (notes->deads[PIPELINE_DEADS_MAX].records > 0) {
        dead_show(pipeline, page, &notes->deads[PIPELINE_DEADS_MAX], now);
    }
    for (size_t i = 0; i < notes->captures_len; i++) {
        capture_show(page, &notes->captures[i]);
    }
    MUST(pthread_mutex_unlock(&notes->lock) == 0);
}
