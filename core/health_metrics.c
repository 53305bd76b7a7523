/* core/health_metrics.c: the exposition for /metrics: Prometheus' text format, or OpenMetrics, which is stricter.
 *
 * A measure is a family; its rows are the samples, told apart by labels. Which process and host it is, Prometheus knows by itself
 * (job, instance). A family without samples is not shown. A sample that finds no room is left out whole.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"

#include <stdio.h>

#define METRICS_NAME_BYTES 160
#define METRICS_END_BYTES 16 /* kept for # EOF */

struct exposition {
    struct core_buf *out;
    bool is_open;
    int64_t now_ns;
    const struct core_health_row *rows;
    size_t rows_len;
};

/* ---- texts ------------------------------------------------------------------------------------------------------------------- */

/* With \, newline and, if asked, " as the formats want them. */
static void escaped_put(struct core_buf *out, const char *text, bool is_quoted) {
    for (; *text != '\0'; text++) {
        if (*text == '\\' || (*text == '"' && is_quoted)) {
            core_buf_char(out, '\\');
            core_buf_char(out, *text);
        } else if (*text == '\n') {
            core_buf_span(out, CORE_SPAN("\\n"));
        } else {
            core_buf_char(out, *text);
        }
    }
}

static void text_put(struct core_buf *out, const char *text) {
    core_buf_span(out, core_span_of(text));
}

struct family {
    const char *name; /* without _total */
    const char *type; /* "counter", "gauge", "histogram" */
    const char *unit; /* ""; else name ends with it */
    const char *meaning;
};

static void head_line(const struct exposition *to, const char *what, const struct family *family) {
    core_buf_span(to->out, CORE_SPAN("# "));
    text_put(to->out, what);
    core_buf_char(to->out, ' ');
    text_put(to->out, family->name);
    text_put(to->out, !to->is_open && strcmp(family->type, "counter") == 0 ? "_total" : "");
    core_buf_char(to->out, ' ');
}

static void family_head(const struct exposition *to, const struct family *family) {
    head_line(to, "HELP", family);
    escaped_put(to->out, family->meaning, to->is_open);
    core_buf_char(to->out, '\n');
    head_line(to, "TYPE", family);
    text_put(to->out, family->type);
    core_buf_char(to->out, '\n');
    if (to->is_open && family->unit[0] != '\0') {
        head_line(to, "UNIT", family);
        text_put(to->out, family->unit);
        core_buf_char(to->out, '\n');
    }
}

/* `{path="…",le="0.1"}`, or nothing. */
static void labels_put(struct core_buf *out, const struct core_health_row *row, const char *le) {
    const struct core_health_kind_info *info = core_health_kind_info(row->kind);
    bool is_first = true;
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX && info->label_names[i] != NULL; i++) {
        core_buf_char(out, is_first ? '{' : ',');
        is_first = false;
        text_put(out, info->label_names[i]);
        core_buf_span(out, CORE_SPAN("=\""));
        escaped_put(out, row->labels[i], true);
        core_buf_char(out, '"');
    }
    if (le != NULL) {
        core_buf_char(out, is_first ? '{' : ',');
        is_first = false;
        core_buf_span(out, CORE_SPAN("le=\""));
        text_put(out, le);
        core_buf_char(out, '"');
    }
    core_buf_span(out, is_first ? CORE_SPAN("") : CORE_SPAN("}"));
}

/* ---- measures ------------------------------------------------------------------------------------------------------------------ */

const char *core_health_unit_word(enum core_health_unit unit) {
    switch (unit) {
    case CORE_UNIT_BYTES:
        return "bytes";
    case CORE_UNIT_NS:
    case CORE_UNIT_TIME:
    case CORE_UNIT_SINCE:
        return "seconds";
    case CORE_UNIT_PPM:
        return "ratio";
    case CORE_UNIT_NUMBER:
    case CORE_UNIT_FLAG:
        break;
    }
    return "";
}

void core_health_metric_name(enum core_health_measure measure, char out[160]) {
    char name[64];
    core_health_measure_name(measure, name);
    int len = snprintf(out, METRICS_NAME_BYTES, "tapline_%s_%s",
                       core_health_kind_info(core_health_measures[measure].kind)->name, name);
    MUST(len > 0 && len < METRICS_NAME_BYTES);
}

void core_health_histogram_name(enum core_health_kind kind, char out[160]) {
    const struct core_health_kind_info *info = core_health_kind_info(kind);
    MUST(info->histogram != NULL);
    bool is_same = strcmp(info->name, info->histogram) == 0;
    int len = snprintf(out, METRICS_NAME_BYTES, "tapline_%s%s%s_seconds", info->name, is_same ? "" : "_",
                       is_same ? "" : info->histogram);
    MUST(len > 0 && len < METRICS_NAME_BYTES);
}

void core_health_counter_name(enum core_counter counter, char out[160]) {
    int len = snprintf(out, METRICS_NAME_BYTES, "tapline_%s", core_counter_table[counter].name);
    MUST(len > 0 && len < METRICS_NAME_BYTES);
    for (char *at = out; *at != '\0'; at++) {
        *at = *at == '.' ? '_' : *at;
    }
}

/* A sample that does not fit whole is taken back. */
static void sample_end(struct core_buf *out, char *before) {
    core_buf_char(out, '\n');
    if (out->is_full) {
        out->is_full = false;
        out->pos = before;
    }
}

static void measure_put(const struct exposition *to, enum core_health_measure measure) {
    const struct core_health_measure_info *info = &core_health_measures[measure];
    char name[METRICS_NAME_BYTES];
    bool is_headed = false;
    core_health_metric_name(measure, name);
    const struct family family = {.name = name,
                                  .type = info->only_grows ? "counter" : "gauge",
                                  .unit = core_health_unit_word(info->unit),
                                  .meaning = info->meaning};
    for (size_t i = 0; i < to->rows_len; i++) {
        if (to->rows[i].kind != info->kind) {
            continue;
        }
        int64_t shown = core_health_shown(&to->rows[i], measure, to->now_ns);
        if (shown == CORE_HEALTH_UNKNOWN) {
            continue;
        }
        char value[32];
        char *before = to->out->pos;
        if (!is_headed) {
            family_head(to, &family);
        }
        text_put(to->out, name);
        text_put(to->out, info->only_grows ? "_total" : "");
        labels_put(to->out, &to->rows[i], NULL);
        core_health_text(shown, info->unit, value);
        core_buf_char(to->out, ' ');
        text_put(to->out, value);
        sample_end(to->out, before);
        is_headed = is_headed || to->out->pos != before;
    }
}

/* ---- histograms ---------------------------------------------------------------------------------------------------------------- */

/* As OpenMetrics wants it: 1 is 1.0, so that both formats make the same series. */
static void bound_text(size_t i, char out[32]) {
    if (i == CORE_HISTOGRAM_BUCKETS - 1) {
        memcpy(out, "+Inf", sizeof "+Inf");
        return;
    }
    core_health_text(core_histogram_bounds_ns[i], CORE_UNIT_NS, out);
    if (strchr(out, '.') == NULL) {
        size_t len = strlen(out);
        memcpy(out + len, ".0", sizeof ".0");
    }
}

static void histogram_row_put(const struct exposition *to, const char *name, const struct core_health_row *row) {
    struct core_histogram_seen seen;
    char text[32];
    core_histogram_see(row->histogram, &seen);
    for (size_t i = 0; i < CORE_HISTOGRAM_BUCKETS; i++) {
        bound_text(i, text);
        text_put(to->out, name);
        core_buf_span(to->out, CORE_SPAN("_bucket"));
        labels_put(to->out, row, text);
        core_buf_char(to->out, ' ');
        core_buf_u64(to->out, seen.up_to[i]);
        core_buf_char(to->out, '\n');
    }
    text_put(to->out, name);
    core_buf_span(to->out, CORE_SPAN("_sum"));
    labels_put(to->out, row, NULL);
    core_buf_char(to->out, ' ');
    text_put(to->out, seen.sum);
    core_buf_char(to->out, '\n');
    text_put(to->out, name);
    core_buf_span(to->out, CORE_SPAN("_count"));
    labels_put(to->out, row, NULL);
    core_buf_char(to->out, ' ');
    core_buf_u64(to->out, seen.up_to[CORE_HISTOGRAM_BUCKETS - 1]);
}

static void histograms_put(const struct exposition *to, enum core_health_kind kind) {
    const struct core_health_kind_info *info = core_health_kind_info(kind);
    char name[METRICS_NAME_BYTES];
    bool is_headed = false;
    core_health_histogram_name(kind, name);
    const struct family family = {
        .name = name, .type = "histogram", .unit = "seconds", .meaning = info->histogram_meaning};
    for (size_t i = 0; i < to->rows_len; i++) {
        if (to->rows[i].kind != kind || to->rows[i].histogram == NULL) {
            continue;
        }
        char *before = to->out->pos;
        if (!is_headed) {
            family_head(to, &family);
        }
        histogram_row_put(to, name, &to->rows[i]);
        sample_end(to->out, before);
        is_headed = is_headed || to->out->pos != before;
    }
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------- */

static void build_put(const struct exposition *to, const struct core_health_env *env) {
    const struct family family = {.name = "tapline_build_info",
                                  .type = "gauge",
                                  .unit = "",
                                  .meaning = "Always 1; its labels say which program, process and node this is"};
    family_head(to, &family);
    core_buf_span(to->out, CORE_SPAN("tapline_build_info{version=\""));
    escaped_put(to->out, env->version == NULL ? "" : env->version, true);
    core_buf_span(to->out, CORE_SPAN("\",process=\""));
    escaped_put(to->out, env->process, true);
    core_buf_span(to->out, CORE_SPAN("\",node=\""));
    escaped_put(to->out, env->node, true);
    core_buf_span(to->out, CORE_SPAN("\"} 1\n"));
}

static void counters_put(const struct exposition *to, const struct core_counters *counters) {
    for (int i = 0; counters != NULL && i < CORE_COUNT__MAX; i++) {
        char name[METRICS_NAME_BYTES];
        core_health_counter_name((enum core_counter)i, name);
        const char *unit = strlen(name) > 6 && strcmp(name + strlen(name) - 6, "_bytes") == 0 ? "bytes" : "";
        const struct family family = {
            .name = name, .type = "counter", .unit = unit, .meaning = core_counter_table[i].meaning};
        char *before = to->out->pos;
        family_head(to, &family);
        text_put(to->out, name);
        core_buf_span(to->out, CORE_SPAN("_total "));
        core_buf_u64(to->out, core_counted(counters, (enum core_counter)i));
        sample_end(to->out, before);
    }
}

void core_health_exposition(struct core_health *health, bool is_open, struct core_buf *out) {
    struct core_arena arena;
    struct core_fail fail;
    MUST(core_arena_init(&arena, CORE_HEALTH_ARENA_BYTES, &fail) == CORE_OK);
    struct exposition to = {.out = out, .is_open = is_open, .now_ns = core_now_ns()};
    to.rows = core_health_rows(health, &arena, &to.rows_len);
    MUST(out->end - out->start > METRICS_END_BYTES);
    out->end -= METRICS_END_BYTES;
    build_put(&to, &health->env);
    counters_put(&to, health->env.counters);
    for (int kind = 0; kind < CORE_HEALTH__MAX; kind++) {
        const struct core_health_kind_info *info = core_health_kind_info((enum core_health_kind)kind);
        for (int i = 0; i < info->measures_len; i++) {
            measure_put(&to, (enum core_health_measure)(info->first_measure + i));
        }
        if (info->histogram != NULL) {
            histograms_put(&to, (enum core_health_kind)kind);
        }
    }
    out->end += METRICS_END_BYTES;
    core_buf_span(out, is_open ? CORE_SPAN("# EOF\n") : CORE_SPAN(""));
    core_arena_destroy(&arena);
}
