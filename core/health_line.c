/* core/health_line.c: what a line of the health log says: an ECS document of dataset tapline.health.
 *
 * It is made from the rows and problems of the turn: how the process is (service.state, error), what is worst (the lag of the
 * file or partition that is furthest behind, the sink that stalls), and totals with their rates since the line before. Whoever
 * wants each file's numbers has /metrics; a line is for people and for a search engine, and has a size that is known.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_log_internal.h"

#include <stdio.h>
#include <unistd.h>

#define PROBLEMS_TOLD_MAX 32
#define TEXT_BYTES_MAX 700

const struct core_health_field core_health_fields[] = {
    {"@timestamp", true},
    {"ecs.version", true},
    {"error.code", false},
    {"error.message", false},
    {"event.category", true},
    {"event.dataset", true},
    {"event.kind", true},
    {"event.module", true},
    {"event.outcome", true},
    {"event.type", true},
    {"host.hostname", true},
    {"message", true},
    {"observer.name", true},
    {"observer.product", true},
    {"process.pid", true},
    {"service.name", true},
    {"service.node.name", true},
    {"service.state", true},
    {"service.type", true},
    {"service.version", true},
    {"tapline.health.capture.loss", false},
    {"tapline.health.capture.sensor", false},
    {"tapline.health.cpu", false},
    {"tapline.health.files", false},
    {"tapline.health.instance", true},
    {"tapline.health.intel.indicators", false},
    {"tapline.health.intel.state", false},
    {"tapline.health.lag.bytes", false},
    {"tapline.health.lag.records", false},
    {"tapline.health.lag.seconds", false},
    {"tapline.health.lag.where", false},
    {"tapline.health.latency_seconds", false},
    {"tapline.health.line", true},
    {"tapline.health.memory_bytes", false},
    {"tapline.health.problem.code", false},
    {"tapline.health.problem.component", false},
    {"tapline.health.problem.count", true},
    {"tapline.health.problem.text", false},
    {"tapline.health.process", true},
    {"tapline.health.rate.accepted", false},
    {"tapline.health.rate.dead", false},
    {"tapline.health.rate.read_bytes", false},
    {"tapline.health.rate.records", false},
    {"tapline.health.ready", true},
    {"tapline.health.sensors.running", false},
    {"tapline.health.sensors.wanted", false},
    {"tapline.health.sink.down", false},
    {"tapline.health.sink.in_flight", false},
    {"tapline.health.sink.stalled_seconds", false},
    {"tapline.health.state_free_bytes", false},
    {"tapline.health.total.accepted", false},
    {"tapline.health.total.dead", false},
    {"tapline.health.total.lost_bytes", false},
    {"tapline.health.total.read_bytes", false},
    {"tapline.health.total.records", false},
    {"tapline.health.uptime_seconds", true},
};
const size_t core_health_fields_len = sizeof(core_health_fields) / sizeof(core_health_fields[0]);

/* ---- what there is to say --------------------------------------------------------------------------------------------------- */

/* All rows in a few numbers; UNKNOWN: no row says it. */
struct sums {
    int64_t files, lag_bytes, lag_records, lag_ns;
    const char *lag_topic; /* with lag_where, a partition; NULL: lag_where is a file */
    const char *lag_where;
    int64_t in_flight, stalled_ns;
    const char *down[8];
    size_t down_len;
    int64_t rss, cpu_ns, state_free;
    int64_t intel_state, indicators;
    int64_t wanted, running;
    int64_t loss_ppm;
    const char *loss_sensor;
    const struct core_histogram *latency;
};

static void add(int64_t *sum, int64_t value) {
    if (value != CORE_HEALTH_UNKNOWN) {
        *sum = *sum == CORE_HEALTH_UNKNOWN ? value : *sum + value;
    }
}

static bool is_more(int64_t value, int64_t than) {
    return value != CORE_HEALTH_UNKNOWN && (than == CORE_HEALTH_UNKNOWN || value > than);
}

static void lag_take(struct sums *sums, const struct core_health_row *row, int64_t now_ns) {
    bool is_file = row->kind == CORE_HEALTH_FILE;
    int64_t lag_ns = core_health_shown(row, is_file ? CORE_FILE_LAG_SINCE : CORE_CONSUMED_LAG_SINCE, now_ns);
    add(is_file ? &sums->lag_bytes : &sums->lag_records,
        core_health_get(row, is_file ? CORE_FILE_LAG : CORE_CONSUMED_LAG));
    if (is_file) {
        add(&sums->files, 1);
    }
    if (is_more(lag_ns, sums->lag_ns)) {
        sums->lag_ns = lag_ns;
        sums->lag_topic = is_file ? NULL : row->labels[1];
        sums->lag_where = is_file ? row->labels[0] : row->labels[2];
    }
}

static void sink_take(struct sums *sums, const struct core_health_row *row, int64_t now_ns) {
    int64_t stalled_ns = core_health_shown(row, CORE_SINK_STALLED_SINCE, now_ns);
    add(&sums->in_flight, core_health_get(row, CORE_SINK_IN_FLIGHT));
    sums->stalled_ns = is_more(stalled_ns, sums->stalled_ns) ? stalled_ns : sums->stalled_ns;
    if (core_health_get(row, CORE_SINK_UP) == 0 && sums->down_len < sizeof(sums->down) / sizeof(sums->down[0])) {
        sums->down[sums->down_len++] = row->labels[0];
    }
}

static void row_take(struct sums *sums, const struct core_health_row *row, int64_t now_ns) {
    switch (row->kind) {
    case CORE_HEALTH_FILE:
    case CORE_HEALTH_CONSUMED:
        lag_take(sums, row, now_ns);
        break;
    case CORE_HEALTH_SINK:
        sink_take(sums, row, now_ns);
        break;
    case CORE_HEALTH_PROCESS:
        sums->rss = core_health_get(row, CORE_PROCESS_RSS);
        sums->cpu_ns = core_health_get(row, CORE_PROCESS_CPU);
        sums->state_free = core_health_get(row, CORE_PROCESS_STATE_FREE);
        break;
    case CORE_HEALTH_INTEL:
        sums->intel_state = core_health_get(row, CORE_INTEL_STATE);
        sums->indicators = core_health_get(row, CORE_INTEL_INDICATORS);
        break;
    case CORE_HEALTH_SUPERVISED:
        add(&sums->wanted, core_health_get(row, CORE_SUPERVISED_WANTED));
        add(&sums->running, core_health_get(row, CORE_SUPERVISED_RUNNING));
        break;
    case CORE_HEALTH_CAPTURE:
        if (is_more(core_health_get(row, CORE_CAPTURE_LOSS), sums->loss_ppm)) {
            sums->loss_ppm = core_health_get(row, CORE_CAPTURE_LOSS);
            sums->loss_sensor = row->labels[0];
        }
        break;
    case CORE_HEALTH_LATENCY:
        if (strcmp(row->labels[0], "event_accepted") == 0 || strcmp(row->labels[0], "event_indexed") == 0) {
            sums->latency = row->histogram;
        }
        break;
    default:
        break;
    }
}

static void rows_sum(struct sums *sums, const struct core_health *health, int64_t now_ns) {
    int64_t no = CORE_HEALTH_UNKNOWN;
    *sums = (struct sums){.files = no,
                          .lag_bytes = no,
                          .lag_records = no,
                          .lag_ns = no,
                          .in_flight = no,
                          .stalled_ns = no,
                          .rss = no,
                          .cpu_ns = no,
                          .state_free = no,
                          .intel_state = no,
                          .indicators = no,
                          .wanted = no,
                          .running = no,
                          .loss_ppm = no};
    for (size_t i = 0; i < health->rows_len; i++) {
        row_take(sums, &health->rows[i], now_ns);
    }
}

/* ---- JSON -------------------------------------------------------------------------------------------------------------------- */

/* An object that is being written: its members have commas between them, and it is only there if it has any. */
struct object {
    struct core_buf *out;
    const char *name; /* NULL: the document itself */
    bool has_members;
};

static void text_put(struct core_buf *out, const char *text) {
    core_buf_span(out, core_span_of(text));
}

static void member(struct object *object, const char *name) {
    if (!object->has_members && object->name != NULL) {
        core_buf_char(object->out, ',');
        core_buf_string(object->out, core_span_of(object->name));
        core_buf_char(object->out, ':');
    }
    core_buf_char(object->out, object->has_members ? ',' : '{');
    core_buf_string(object->out, core_span_of(name));
    core_buf_char(object->out, ':');
    object->has_members = true;
}

static void object_end(struct object *object) {
    if (object->has_members) {
        core_buf_char(object->out, '}');
    }
}

static void put_text(struct object *object, const char *name, const char *text) {
    if (text != NULL) {
        member(object, name);
        core_buf_string(object->out, core_utf8_cut(core_span_of(text), TEXT_BYTES_MAX));
    }
}

static void put_number(struct object *object, const char *name, int64_t value, enum core_health_unit unit) {
    if (value != CORE_HEALTH_UNKNOWN) {
        char text[32];
        member(object, name);
        core_health_text(value, unit, text);
        text_put(object->out, text);
    }
}

static struct object inner(struct object *object, const char *name) {
    return (struct object){.out = object->out, .name = name};
}

static void put_rate(struct object *object, const char *name, uint64_t now, uint64_t before, int64_t passed_ns) {
    char text[48];
    double rate = now > before ? (double)(now - before) / ((double)passed_ns / (double)CORE_NS_PER_S) : 0;
    (void)snprintf(text, sizeof text, "%.3f", rate);
    member(object, name);
    text_put(object->out, text);
}

/* ---- the parts ------------------------------------------------------------------------------------------------------------------ */

static void put_event(struct core_buf *out, const struct core_health *health, enum health_line why, bool is_failing) {
    static const char *const types[] = {[HEALTH_LINE_START] = "start",
                                        [HEALTH_LINE_INTERVAL] = "info",
                                        [HEALTH_LINE_CHANGE] = "change",
                                        [HEALTH_LINE_STOP] = "end"};
    size_t problems_len = 0;
    (void)core_health_problems(health, &problems_len);
    const char *kind = why == HEALTH_LINE_INTERVAL                     ? "metric"
                       : why == HEALTH_LINE_CHANGE && problems_len > 0 ? "alert"
                                                                       : "state";
    text_put(out, ",\"ecs\":{\"version\":\"" CORE_ECS_VERSION "\"},\"event\":{\"kind\":\"");
    text_put(out, kind);
    text_put(out, "\",\"category\":[\"process\"],\"type\":[\"");
    text_put(out, types[why]);
    text_put(out, "\"],\"module\":\"tapline\",\"dataset\":\"" CORE_HEALTH_DATASET "\",\"outcome\":\"");
    text_put(out, is_failing ? "failure\"}" : "success\"}");
}

static void put_service(struct core_buf *out, const struct core_health *health) {
    char host[256] = "localhost";
    char name[64];
    (void)gethostname(host, sizeof(host) - 1);
    host[sizeof(host) - 1] = '\0';
    (void)snprintf(name, sizeof name, "tapline-%s", health->env.process);
    text_put(out, ",\"service\":{\"name\":");
    core_buf_string(out, core_span_of(name));
    text_put(out, ",\"type\":\"tapline\",\"state\":");
    core_buf_string(out, core_span_of(core_health_state(health)));
    text_put(out, ",\"version\":");
    core_buf_string(out, core_span_of(health->env.version == NULL ? "" : health->env.version));
    text_put(out, ",\"node\":{\"name\":");
    core_buf_string(out, core_span_of(health->env.node));
    text_put(out, "}},\"host\":{\"hostname\":");
    core_buf_string(out, core_span_of(host));
    text_put(out, "},\"observer\":{\"name\":");
    core_buf_string(out, core_span_of(health->env.node));
    text_put(out, ",\"product\":\"tapline\"},\"process\":{\"pid\":");
    core_buf_i64(out, (int64_t)getpid());
    core_buf_char(out, '}');
}

/* What the line says in one sentence, and the worst problem. */
static void put_message(struct core_buf *out, const struct core_health *health, enum health_line why) {
    static const char *const words[] = {[HEALTH_LINE_START] = "started; ",
                                        [HEALTH_LINE_INTERVAL] = "",
                                        [HEALTH_LINE_CHANGE] = "",
                                        [HEALTH_LINE_STOP] = "ends; "};
    size_t len = 0;
    const struct core_health_problem *problems = core_health_problems(health, &len);
    char text[TEXT_BYTES_MAX + 256];
    (void)snprintf(text, sizeof text, "tapline %s %sis %s%s%.*s", health->env.process, words[why],
                   core_health_state(health), len > 0 ? ": " : "", TEXT_BYTES_MAX, len > 0 ? problems[0].text : "");
    text_put(out, ",\"message\":");
    core_buf_string(out, core_span_of(text));
    if (len > 0) {
        struct object error = {.out = out, .name = "error"};
        put_text(&error, "code", problems[0].code);
        put_text(&error, "message", problems[0].text);
        object_end(&error);
    }
}

static void put_problems(struct object *object, const struct core_health *health, size_t told_max) {
    size_t len = 0;
    const struct core_health_problem *problems = core_health_problems(health, &len);
    size_t told = len < told_max ? len : told_max;
    struct object problem = inner(object, "problem");
    put_number(&problem, "count", (int64_t)len, CORE_UNIT_NUMBER);
    for (int part = 0; part < 3 && told > 0; part++) {
        member(&problem, part == 0 ? "code" : part == 1 ? "component" : "text");
        for (size_t i = 0; i < told; i++) {
            const char *text = part == 0 ? problems[i].code : part == 1 ? problems[i].component : problems[i].text;
            core_buf_char(object->out, i == 0 ? '[' : ',');
            core_buf_string(object->out, core_utf8_cut(core_span_of(text), TEXT_BYTES_MAX));
        }
        core_buf_char(object->out, ']');
    }
    object_end(&problem);
}

static void put_sums(struct object *object, const struct sums *sums) {
    static const char *const intel_words[] = {NULL, "building", "ready", "stale", "unavailable"};
    put_number(object, "files", sums->files, CORE_UNIT_NUMBER);
    struct object lag = inner(object, "lag");
    char where[2 * CORE_HEALTH_LABEL_BYTES_MAX + 4];
    (void)snprintf(where, sizeof where, "%s%s%s", sums->lag_topic == NULL ? "" : sums->lag_topic,
                   sums->lag_topic == NULL ? "" : "/", sums->lag_where == NULL ? "" : sums->lag_where);
    put_number(&lag, "bytes", sums->lag_bytes, CORE_UNIT_BYTES);
    put_number(&lag, "records", sums->lag_records, CORE_UNIT_NUMBER);
    put_number(&lag, "seconds", sums->lag_ns, CORE_UNIT_NS);
    put_text(&lag, "where", sums->lag_ns != CORE_HEALTH_UNKNOWN && sums->lag_ns > 0 ? where : NULL);
    object_end(&lag);
    struct object sink = inner(object, "sink");
    put_number(&sink, "in_flight", sums->in_flight, CORE_UNIT_NUMBER);
    put_number(&sink, "stalled_seconds", sums->stalled_ns, CORE_UNIT_NS);
    for (size_t i = 0; i < sums->down_len; i++) {
        if (i == 0) {
            member(&sink, "down");
        }
        core_buf_char(object->out, i == 0 ? '[' : ',');
        core_buf_string(object->out, core_span_of(sums->down[i]));
    }
    if (sums->down_len > 0) {
        core_buf_char(object->out, ']');
    }
    object_end(&sink);
    struct object intel = inner(object, "intel");
    bool is_known =
        sums->intel_state > 0 && sums->intel_state < (int64_t)(sizeof(intel_words) / sizeof(intel_words[0]));
    put_text(&intel, "state", is_known ? intel_words[sums->intel_state] : NULL);
    put_number(&intel, "indicators", sums->indicators, CORE_UNIT_NUMBER);
    object_end(&intel);
    struct object sensors = inner(object, "sensors");
    put_number(&sensors, "wanted", sums->wanted, CORE_UNIT_NUMBER);
    put_number(&sensors, "running", sums->running, CORE_UNIT_NUMBER);
    object_end(&sensors);
    struct object capture = inner(object, "capture");
    put_number(&capture, "loss", sums->loss_ppm, CORE_UNIT_PPM);
    put_text(&capture, "sensor", sums->loss_sensor);
    object_end(&capture);
    put_number(object, "memory_bytes", sums->rss, CORE_UNIT_BYTES);
    put_number(object, "state_free_bytes", sums->state_free, CORE_UNIT_BYTES);
}

static void before_take(struct health_before *now, const struct core_health *health, const struct sums *sums) {
    const struct core_counters *counters = health->env.counters;
    *now = (struct health_before){.tick_ns = core_tick_ns(), .cpu_ns = sums->cpu_ns};
    if (counters != NULL) {
        now->read_bytes =
            core_counted(counters, CORE_COUNT_INGEST_BYTES) + core_counted(counters, CORE_COUNT_FEED_BYTES);
        now->records =
            core_counted(counters, CORE_COUNT_INGEST_LINES) + core_counted(counters, CORE_COUNT_FEED_RECORDS);
        now->accepted = core_counted(counters, CORE_COUNT_SINK_ACCEPTED);
        now->dead = core_counted(counters, CORE_COUNT_NORMALIZE_DEAD) +
                    core_counted(counters, CORE_COUNT_SINK_REFUSED) + core_counted(counters, CORE_COUNT_FEED_DEAD);
    }
    for (size_t i = 0; sums->latency != NULL && i < CORE_HISTOGRAM_BUCKETS; i++) {
        now->latency_count += atomic_load_explicit(&sums->latency->counts[i], memory_order_relaxed);
    }
    now->latency_sum_us =
        sums->latency == NULL ? 0 : atomic_load_explicit(&sums->latency->sum_us, memory_order_relaxed);
}

static void put_totals(struct object *object, const struct core_health *health, const struct health_before *now,
                       const struct health_before *before) {
    const struct core_counters *counters = health->env.counters;
    int64_t passed_ns = before->tick_ns == 0 ? 0 : now->tick_ns - before->tick_ns;
    if (counters != NULL) {
        struct object total = inner(object, "total");
        put_number(&total, "read_bytes", (int64_t)now->read_bytes, CORE_UNIT_BYTES);
        put_number(&total, "records", (int64_t)now->records, CORE_UNIT_NUMBER);
        put_number(&total, "accepted", (int64_t)now->accepted, CORE_UNIT_NUMBER);
        put_number(&total, "dead", (int64_t)now->dead, CORE_UNIT_NUMBER);
        put_number(&total, "lost_bytes",
                   (int64_t)(core_counted(counters, CORE_COUNT_INGEST_BYTES_LOST) +
                             core_counted(counters, CORE_COUNT_SPOOL_BYTES_LOST)),
                   CORE_UNIT_BYTES);
        object_end(&total);
    }
    if (counters != NULL && passed_ns > 0) {
        struct object rate = inner(object, "rate");
        put_rate(&rate, "read_bytes", now->read_bytes, before->read_bytes, passed_ns);
        put_rate(&rate, "records", now->records, before->records, passed_ns);
        put_rate(&rate, "accepted", now->accepted, before->accepted, passed_ns);
        put_rate(&rate, "dead", now->dead, before->dead, passed_ns);
        object_end(&rate);
    }
    if (passed_ns > 0 && now->cpu_ns != CORE_HEALTH_UNKNOWN && before->cpu_ns != CORE_HEALTH_UNKNOWN) {
        char text[48];
        (void)snprintf(text, sizeof text, "%.4f", (double)(now->cpu_ns - before->cpu_ns) / (double)passed_ns);
        member(object, "cpu");
        text_put(object->out, text);
    }
    if (now->latency_count > before->latency_count && now->latency_sum_us >= before->latency_sum_us) {
        uint64_t mean_us =
            (now->latency_sum_us - before->latency_sum_us) / (now->latency_count - before->latency_count);
        put_number(object, "latency_seconds", (int64_t)mean_us * CORE_NS_PER_US, CORE_UNIT_NS);
    }
}

static void put_own(struct core_buf *out, const struct core_health *health, enum health_line why,
                    const struct sums *sums, const struct health_before *now, const struct health_before *before,
                    size_t told_max) {
    static const char *const words[] = {[HEALTH_LINE_START] = "start",
                                        [HEALTH_LINE_INTERVAL] = "interval",
                                        [HEALTH_LINE_CHANGE] = "change",
                                        [HEALTH_LINE_STOP] = "stop"};
    text_put(out, ",\"tapline\":{\"health\":");
    struct object own = {.out = out};
    put_text(&own, "process", health->env.process);
    put_number(&own, "instance", (int64_t)health->env.instance, CORE_UNIT_NUMBER);
    put_text(&own, "line", words[why]);
    member(&own, "ready");
    text_put(out, core_health_is_ready(health) ? "true" : "false");
    int64_t uptime_ns = core_now_ns() - health->started_ns;
    put_number(&own, "uptime_seconds", uptime_ns > 0 ? uptime_ns : 0, CORE_UNIT_NS);
    put_problems(&own, health, told_max);
    put_sums(&own, sums);
    put_totals(&own, health, now, before);
    object_end(&own);
    core_buf_char(out, '}');
}

void health_line_write(const struct core_health *health, enum health_line why, int64_t now_ns,
                       struct health_before *before, struct core_buf *out) {
    char iso[27];
    struct sums sums;
    struct health_before now;
    char *start = out->pos;
    MUST(core_time_iso(now_ns, iso));
    rows_sum(&sums, health, now_ns);
    before_take(&now, health, &sums);
    bool is_failing = strcmp(core_health_state(health), "failing") == 0;
    for (size_t told_max = PROBLEMS_TOLD_MAX;; told_max /= 2) {
        text_put(out, "{\"@timestamp\":\"");
        core_buf_put(out, iso, sizeof iso);
        core_buf_char(out, '"');
        put_event(out, health, why, is_failing);
        put_service(out, health);
        put_message(out, health, why);
        put_own(out, health, why, &sums, &now, before, told_max);
        core_buf_char(out, '}');
        if (!out->is_full || told_max == 0) {
            break;
        }
        out->pos = start; /* fewer problems then: their number is told in any case */
        out->is_full = false;
    }
    MUST(!out->is_full); /* without problems it has a few fields of bounded length */
    *before = now;
}
