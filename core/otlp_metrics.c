/* core/otlp_metrics.c: all that /metrics shows, as OTLP's metrics: gauges, cumulative sums, histograms with explicit bounds. The
 * names are those of /metrics without _total, so that both ways lead to the same series in Prometheus.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/otlp_internal.h"

#include <stdio.h>
#include <unistd.h>

#define OTLP_NAME_BYTES 160
#define OTLP_END_BYTES 64

struct writing {
    struct core_buf *out;
    const struct core_health *health;
    int64_t now_ns;
    bool is_first; /* of all metrics */
};

static void number_put(struct core_buf *out, const char *name, int64_t number) {
    core_buf_char(out, '"');
    core_buf_span(out, core_span_of(name));
    core_buf_span(out, CORE_SPAN("\":\""));
    core_buf_i64(out, number);
    core_buf_char(out, '"');
}

void otlp_head_write(struct core_buf *out, const struct core_health *health, const char *array, const char *scopes,
                     const char *items) {
    char host[256] = {0};
    char service[64];
    char instance[300];
    const struct core_health_env *env = &health->env;
    (void)snprintf(service, sizeof service, "tapline-%s", env->process);
    (void)snprintf(instance, sizeof instance, "%s/%s-%u", env->node, env->process, env->instance);
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') {
        (void)snprintf(host, sizeof host, "localhost");
    }
    const struct {
        const char *key;
        const char *text;
    } attributes[] = {{"service.name", service},
                      {"service.instance.id", instance},
                      {"service.version", env->version == NULL ? "" : env->version},
                      {"host.name", host},
                      {"tapline.node", env->node}};
    core_buf_span(out, CORE_SPAN("{\""));
    core_buf_span(out, core_span_of(array));
    core_buf_span(out, CORE_SPAN("\":[{\"resource\":{\"attributes\":["));
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
        core_buf_span(out, i == 0 ? CORE_SPAN("") : CORE_SPAN(","));
        otlp_attribute_write(out, attributes[i].key, attributes[i].text);
    }
    core_buf_span(out, CORE_SPAN("]},\""));
    core_buf_span(out, core_span_of(scopes));
    core_buf_span(out, CORE_SPAN("\":[{\"scope\":{\"name\":\"tapline\",\"version\":"));
    core_buf_string(out, core_span_of(env->version == NULL ? "" : env->version));
    core_buf_span(out, CORE_SPAN("},\""));
    core_buf_span(out, core_span_of(items));
    core_buf_span(out, CORE_SPAN("\":["));
}

/* ---- points ------------------------------------------------------------------------------------------------------------------ */

static void labels_put(struct core_buf *out, const struct core_health_row *row) {
    const struct core_health_kind_info *info = core_health_kind_info(row->kind);
    core_buf_span(out, CORE_SPAN("\"attributes\":["));
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX && info->label_names[i] != NULL; i++) {
        core_buf_span(out, i == 0 ? CORE_SPAN("") : CORE_SPAN(","));
        otlp_attribute_write(out, info->label_names[i], row->labels[i]);
    }
    core_buf_span(out, CORE_SPAN("],"));
}

static void times_put(const struct writing *to) {
    number_put(to->out, "startTimeUnixNano", to->health->started_ns);
    core_buf_char(to->out, ',');
    number_put(to->out, "timeUnixNano", to->now_ns);
    core_buf_char(to->out, ',');
}

static void value_put(struct core_buf *out, int64_t shown, enum core_health_unit unit) {
    char text[32];
    bool is_whole = unit == CORE_UNIT_NUMBER || unit == CORE_UNIT_BYTES || unit == CORE_UNIT_FLAG;
    core_health_text(shown, unit, text);
    core_buf_span(out, is_whole ? CORE_SPAN("\"asInt\":\"") : CORE_SPAN("\"asDouble\":"));
    core_buf_span(out, core_span_of(text));
    core_buf_span(out, is_whole ? CORE_SPAN("\"") : CORE_SPAN(""));
}

static const char *unit_of(enum core_health_unit unit) {
    switch (unit) {
    case CORE_UNIT_BYTES:
        return "By";
    case CORE_UNIT_NS:
    case CORE_UNIT_TIME:
    case CORE_UNIT_SINCE:
        return "s";
    case CORE_UNIT_PPM:
        return "1";
    case CORE_UNIT_NUMBER:
    case CORE_UNIT_FLAG:
        break;
    }
    return "";
}

/* `{"name":…,"gauge":{"dataPoints":[`, with what is in front of it. */
static void metric_begin(const struct writing *to, const char *name, const char *unit, const char *meaning,
                         const char *shape) {
    core_buf_span(to->out, to->is_first ? CORE_SPAN("{\"name\":") : CORE_SPAN(",{\"name\":"));
    core_buf_string(to->out, core_span_of(name));
    core_buf_span(to->out, CORE_SPAN(",\"unit\":"));
    core_buf_string(to->out, core_span_of(unit));
    core_buf_span(to->out, CORE_SPAN(",\"description\":"));
    core_buf_string(to->out, core_span_of(meaning));
    core_buf_span(to->out, core_span_of(shape));
}

#define SHAPE_GAUGE ",\"gauge\":{\"dataPoints\":["
#define SHAPE_SUM ",\"sum\":{\"aggregationTemporality\":2,\"isMonotonic\":true,\"dataPoints\":["
#define SHAPE_HISTOGRAM ",\"histogram\":{\"aggregationTemporality\":2,\"dataPoints\":["

/* A metric that does not fit whole is taken back. */
static void metric_end(struct writing *to, char *before, size_t points) {
    core_buf_span(to->out, CORE_SPAN("]}}"));
    if (to->out->is_full || points == 0) {
        to->out->is_full = false;
        to->out->pos = before;
    } else {
        to->is_first = false;
    }
}

static void measure_put(struct writing *to, enum core_health_measure measure) {
    const struct core_health_measure_info *info = &core_health_measures[measure];
    const struct core_health *health = to->health;
    char name[OTLP_NAME_BYTES];
    char *before = to->out->pos;
    size_t points = 0;
    core_health_metric_name(measure, name);
    metric_begin(to, name, unit_of(info->unit), info->meaning, info->only_grows ? SHAPE_SUM : SHAPE_GAUGE);
    for (size_t i = 0; i < health->rows_len; i++) {
        const struct core_health_row *row = &health->rows[i];
        int64_t shown = row->kind == info->kind ? core_health_shown(row, measure, to->now_ns) : CORE_HEALTH_UNKNOWN;
        if (shown != CORE_HEALTH_UNKNOWN) {
            core_buf_span(to->out, points++ == 0 ? CORE_SPAN("{") : CORE_SPAN(",{"));
            labels_put(to->out, row);
            times_put(to);
            value_put(to->out, shown, info->unit);
            core_buf_char(to->out, '}');
        }
    }
    metric_end(to, before, points);
}

static void histogram_point_put(const struct writing *to, const struct core_health_row *row) {
    struct core_histogram_seen seen;
    char text[32];
    core_histogram_see(row->histogram, &seen);
    labels_put(to->out, row);
    times_put(to);
    number_put(to->out, "count", (int64_t)seen.up_to[CORE_HISTOGRAM_BUCKETS - 1]);
    core_buf_span(to->out, CORE_SPAN(",\"sum\":"));
    core_buf_span(to->out, core_span_of(seen.sum));
    core_buf_span(to->out, CORE_SPAN(",\"bucketCounts\":["));
    for (size_t i = 0; i < CORE_HISTOGRAM_BUCKETS; i++) {
        core_buf_span(to->out, i == 0 ? CORE_SPAN("\"") : CORE_SPAN(",\""));
        core_buf_u64(to->out, seen.up_to[i] - (i == 0 ? 0 : seen.up_to[i - 1]));
        core_buf_char(to->out, '"');
    }
    core_buf_span(to->out, CORE_SPAN("],\"explicitBounds\":["));
    for (size_t i = 0; i < CORE_HISTOGRAM_BUCKETS - 1; i++) {
        core_health_text(core_histogram_bounds_ns[i], CORE_UNIT_NS, text);
        core_buf_span(to->out, i == 0 ? CORE_SPAN("") : CORE_SPAN(","));
        core_buf_span(to->out, core_span_of(text));
    }
    core_buf_char(to->out, ']');
}

static void histogram_put(struct writing *to, enum core_health_kind kind) {
    char name[OTLP_NAME_BYTES];
    char *before = to->out->pos;
    size_t points = 0;
    core_health_histogram_name(kind, name);
    metric_begin(to, name, "s", core_health_kind_info(kind)->histogram_meaning, SHAPE_HISTOGRAM);
    for (size_t i = 0; i < to->health->rows_len; i++) {
        const struct core_health_row *row = &to->health->rows[i];
        if (row->kind == kind && row->histogram != NULL) {
            core_buf_span(to->out, points++ == 0 ? CORE_SPAN("{") : CORE_SPAN(",{"));
            histogram_point_put(to, row);
            core_buf_char(to->out, '}');
        }
    }
    metric_end(to, before, points);
}

static void counter_put(struct writing *to, enum core_counter counter) {
    char name[OTLP_NAME_BYTES];
    char *before = to->out->pos;
    core_health_counter_name(counter, name);
    const char *unit = strcmp(core_counter_table[counter].unit, "bytes") == 0 ? "By" : "";
    metric_begin(to, name, unit, core_counter_table[counter].meaning, SHAPE_SUM);
    core_buf_char(to->out, '{');
    times_put(to);
    value_put(to->out, (int64_t)core_counted(to->health->env.counters, counter), CORE_UNIT_NUMBER);
    core_buf_char(to->out, '}');
    metric_end(to, before, 1);
}

void otlp_metrics_write(struct core_buf *out, const struct core_health *health) {
    struct writing to = {.out = out, .health = health, .now_ns = core_now_ns(), .is_first = true};
    otlp_head_write(out, health, "resourceMetrics", "scopeMetrics", "metrics");
    MUST(!out->is_full);
    out->end -= OTLP_END_BYTES;
    for (int i = 0; health->env.counters != NULL && i < CORE_COUNT__MAX; i++) {
        counter_put(&to, (enum core_counter)i);
    }
    for (int i = 0; i < CORE_HEALTH_MEASURE__MAX; i++) {
        measure_put(&to, (enum core_health_measure)i);
    }
    for (int kind = 0; kind < CORE_HEALTH__MAX; kind++) {
        if (core_health_kind_info((enum core_health_kind)kind)->histogram != NULL) {
            histogram_put(&to, (enum core_health_kind)kind);
        }
    }
    out->end += OTLP_END_BYTES;
    core_buf_span(out, CORE_SPAN("]}]}]}"));
}
