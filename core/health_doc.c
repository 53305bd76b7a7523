/* core/health_doc.c: the health document.
 *
 * Whoever asks gives the room. A document always fits: rows for which there is no room are left out, files last of all kinds,
 * since there may be thousands, and "left_out" at the end says how many.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"

#include <unistd.h>

#define DOC_END_BYTES 128 /* kept for what stands behind the rows */

static void name_put(struct core_buf *out, const char *name) {
    core_buf_string(out, core_span_of(name));
    core_buf_char(out, ':');
}

static void member_string(struct core_buf *out, const char *name, const char *text) {
    name_put(out, name);
    core_buf_string(out, core_span_of(text));
}

static void member_time(struct core_buf *out, const char *name, int64_t ns) {
    char iso[27];
    MUST(core_time_iso(ns, iso));
    name_put(out, name);
    core_buf_string(out, (struct core_span){.ptr = iso, .len = sizeof iso});
}

static void comma(struct core_buf *out) {
    core_buf_char(out, ',');
}

/* ---- problems --------------------------------------------------------------------------------------------------------------- */

void core_health_problem_put(struct core_buf *out, const struct core_health_problem *problem) {
    const struct core_health_kind_info *info = core_health_kind_info(problem->kind);
    core_buf_char(out, '{');
    member_string(out, "code", problem->code);
    comma(out);
    member_string(out, "severity", core_health_severity_word(problem->severity));
    comma(out);
    member_string(out, "component", problem->component);
    comma(out);
    member_time(out, "since", problem->since_ns);
    comma(out);
    member_string(out, "text", problem->text);
    comma(out);
    member_string(out, "help", problem->help);
    comma(out);
    member_string(out, "kind", info->name);
    core_buf_span(out, CORE_SPAN(",\"labels\":{"));
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX && info->label_names[i] != NULL && problem->labels[i] != NULL; i++) {
        if (i > 0) {
            comma(out);
        }
        member_string(out, info->label_names[i], problem->labels[i]);
    }
    core_buf_span(out, CORE_SPAN("}}"));
}

const char *core_health_severity_word(enum core_health_severity severity) {
    return severity == CORE_HEALTH_ERROR ? "error" : severity == CORE_HEALTH_WARN ? "warn" : "info";
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------- */

static void value_put(struct core_buf *out, int64_t shown, enum core_health_unit unit) {
    char text[32];
    core_health_text(shown, unit, text);
    core_buf_span(out, core_span_of(text));
}

static void quantile_put(struct core_buf *out, const struct core_histogram *histogram, const char *name, double share) {
    int64_t ns = core_histogram_quantile_ns(histogram, share);
    if (ns >= 0) {
        comma(out);
        name_put(out, name);
        value_put(out, ns, CORE_UNIT_NS);
    }
}

static void histogram_put(struct core_buf *out, const char *name, const struct core_histogram *histogram) {
    struct core_histogram_seen seen;
    core_histogram_see(histogram, &seen);
    name_put(out, name);
    core_buf_span(out, CORE_SPAN("{\"count\":"));
    core_buf_u64(out, seen.up_to[CORE_HISTOGRAM_BUCKETS - 1]);
    core_buf_span(out, CORE_SPAN(",\"sum\":"));
    core_buf_span(out, core_span_of(seen.sum));
    quantile_put(out, histogram, "p50", 0.5);
    quantile_put(out, histogram, "p90", 0.9);
    quantile_put(out, histogram, "p99", 0.99);
    core_buf_span(out, CORE_SPAN(",\"buckets\":["));
    for (size_t i = 0; i < CORE_HISTOGRAM_BUCKETS; i++) {
        core_buf_span(out, i == 0 ? CORE_SPAN("[") : CORE_SPAN(",["));
        if (i < CORE_HISTOGRAM_BUCKETS - 1) {
            value_put(out, core_histogram_bounds_ns[i], CORE_UNIT_NS);
        } else {
            core_buf_span(out, CORE_SPAN("\"+Inf\""));
        }
        comma(out);
        core_buf_u64(out, seen.up_to[i]);
        core_buf_char(out, ']');
    }
    core_buf_span(out, CORE_SPAN("]}"));
}

static void row_put(struct core_buf *out, const struct core_health_row *row, int64_t now_ns) {
    const struct core_health_kind_info *info = core_health_kind_info(row->kind);
    bool is_first = true;
    core_buf_char(out, '{');
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX && info->label_names[i] != NULL; i++) {
        core_buf_span(out, is_first ? CORE_SPAN("") : CORE_SPAN(","));
        is_first = false;
        member_string(out, info->label_names[i], row->labels[i]);
    }
    for (int i = 0; i < info->measures_len; i++) {
        enum core_health_measure measure = (enum core_health_measure)(info->first_measure + i);
        int64_t shown = core_health_shown(row, measure, now_ns);
        if (shown != CORE_HEALTH_UNKNOWN) {
            char name[64];
            core_health_measure_name(measure, name);
            core_buf_span(out, is_first ? CORE_SPAN("") : CORE_SPAN(","));
            is_first = false;
            name_put(out, name);
            value_put(out, shown, core_health_measures[measure].unit);
        }
    }
    if (row->histogram != NULL) {
        core_buf_span(out, is_first ? CORE_SPAN("") : CORE_SPAN(","));
        histogram_put(out, info->histogram, row->histogram);
    }
    core_buf_char(out, '}');
}

/* All rows of a kind that there is room for. Returns how many there was none for. */
static uint64_t kind_put(struct core_buf *out, enum core_health_kind kind, const struct core_health_row *rows,
                         size_t len, bool *is_first_kind) {
    int64_t now_ns = core_now_ns();
    bool is_first = true;
    uint64_t left_out = 0;
    char *end = out->end;
    out->end -= 1; /* for the bracket */
    for (size_t i = 0; i < len; i++) {
        if (rows[i].kind != kind) {
            continue;
        }
        char *before = out->pos;
        if (is_first) {
            core_buf_span(out, *is_first_kind ? CORE_SPAN("") : CORE_SPAN(","));
            name_put(out, core_health_kind_info(kind)->name);
        }
        core_buf_char(out, is_first ? '[' : ',');
        row_put(out, &rows[i], now_ns);
        if (out->is_full) {
            out->is_full = false;
            out->pos = before;
            left_out++;
            continue;
        }
        is_first = false;
        *is_first_kind = false;
    }
    out->end = end;
    if (!is_first) {
        core_buf_char(out, ']');
    }
    return left_out;
}

static uint64_t rows_put(struct core_buf *out, const struct core_health_row *rows, size_t len) {
    bool is_first_kind = true;
    uint64_t left_out = 0;
    core_buf_span(out, CORE_SPAN(",\"rows\":{"));
    for (int kind = 0; kind < CORE_HEALTH__MAX; kind++) {
        if (kind != CORE_HEALTH_FILE && kind != CORE_HEALTH_PROBLEM) { /* problems have a member of their own */
            left_out += kind_put(out, (enum core_health_kind)kind, rows, len, &is_first_kind);
        }
    }
    return left_out + kind_put(out, CORE_HEALTH_FILE, rows, len, &is_first_kind);
}

/* ---- the whole --------------------------------------------------------------------------------------------------------------- */

static void counters_put(struct core_buf *out, const struct core_counters *counters) {
    core_buf_span(out, CORE_SPAN(",\"counters\":{"));
    for (int i = 0; counters != NULL && i < CORE_COUNT__MAX; i++) {
        core_buf_span(out, i == 0 ? CORE_SPAN("") : CORE_SPAN(","));
        name_put(out, core_counter_table[i].name);
        core_buf_u64(out, core_counted(counters, (enum core_counter)i));
    }
    core_buf_char(out, '}');
}

static void head_put(struct core_health *health, struct core_buf *out) {
    size_t problems_len = 0;
    const struct core_health_problem *problems = core_health_problems(health, &problems_len);
    core_buf_char(out, '{');
    member_string(out, "node", health->env.node);
    comma(out);
    member_string(out, "process", health->env.process);
    comma(out);
    name_put(out, "instance");
    core_buf_u64(out, health->env.instance);
    comma(out);
    name_put(out, "pid");
    core_buf_i64(out, getpid());
    comma(out);
    member_string(out, "version", health->env.version == NULL ? "" : health->env.version);
    comma(out);
    member_time(out, "started", health->started_ns);
    comma(out);
    member_time(out, "time", core_now_ns());
    comma(out);
    member_string(out, "state", core_health_state(health));
    comma(out);
    name_put(out, "ready");
    core_buf_span(out, core_health_is_ready(health) ? CORE_SPAN("true") : CORE_SPAN("false"));
    core_buf_span(out, CORE_SPAN(",\"problems\":["));
    for (size_t i = 0; i < problems_len; i++) {
        core_buf_span(out, i == 0 ? CORE_SPAN("") : CORE_SPAN(","));
        core_health_problem_put(out, &problems[i]);
    }
    core_buf_char(out, ']');
    counters_put(out, health->env.counters);
}

void core_health_document(struct core_health *health, struct core_buf *out) {
    struct core_arena arena;
    struct core_fail fail;
    MUST(out->end - out->start > DOC_END_BYTES);
    MUST(core_arena_init(&arena, CORE_HEALTH_ARENA_BYTES, &fail) == CORE_OK);
    size_t len = 0;
    const struct core_health_row *rows = core_health_rows(health, &arena, &len);
    head_put(health, out);
    if (!out->is_full) {
        out->end -= DOC_END_BYTES;
        uint64_t left_out = rows_put(out, rows, rows == NULL ? 0 : len);
        out->end += DOC_END_BYTES;
        core_buf_span(out, CORE_SPAN("},\"left_out\":"));
        core_buf_u64(out, health->left_out + left_out);
        core_buf_char(out, '}');
    }
    core_arena_destroy(&arena);
}
