/* cmd/top_data.c: the documents of all processes, two of each: what is now, what was before, and so the rates; and what each
 * measure was for a while.
 *
 * A row is found again by a hash of its process, kind and labels. Rows mostly come in the same order, so the one before is looked
 * for where it ought to be first.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/top.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_BYTES_MAX (2 * CORE_MIB)
#define ARENA_BYTES (CORE_MIB * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN) /* address space */
#define LATE_NS (5 * CORE_NS_PER_S) /* a document that is older than this is not late: a clock was set back */
#define FORGET_NS (60 * CORE_NS_PER_S)
#define SERIES_BEGIN 256 /* power of two */

const char *const top_state_words[3] = {"ok", "degraded", "failing"};

/* A row's history: `len` documents of all measures of its kind. */
struct series {
    uint64_t key; /* 0: free */
    size_t len;
    size_t at; /* the next one's place */
    int64_t tick;
    float *values; /* TOP_HISTORY of each measure */
};

struct top_data {
    struct top_process *processes[TOP_PROCESSES_MAX];
    size_t processes_len;
    char *text;            /* of a document that is copied */
    struct series *series; /* open addressing */
    size_t series_len, series_cap;
};

struct top_data *top_data_new(void) {
    struct top_data *data = calloc(1, sizeof(*data));
    MUST(data != NULL);
    data->text = malloc(TEXT_BYTES_MAX);
    MUST(data->text != NULL);
    data->series_cap = SERIES_BEGIN;
    data->series = calloc(data->series_cap, sizeof(*data->series));
    MUST(data->series != NULL);
    return data;
}

static void process_free(struct top_process *process) {
    core_arena_destroy(&process->snapshots[0].arena);
    core_arena_destroy(&process->snapshots[1].arena);
    free(process);
}

void top_data_free(struct top_data *data) {
    if (data == NULL) {
        return;
    }
    for (size_t i = 0; i < data->processes_len; i++) {
        process_free(data->processes[i]);
    }
    for (size_t i = 0; i < data->series_cap; i++) {
        free(data->series[i].values);
    }
    free(data->series);
    free(data->text);
    free(data);
}

size_t top_data_processes(const struct top_data *data) {
    return data->processes_len;
}

const struct top_process *top_data_process(const struct top_data *data, size_t i) {
    MUST(i < data->processes_len);
    return data->processes[i];
}

int64_t top_silent_ns(const struct top_process *process) {
    int64_t silent = core_tick_ns() - process->came_tick;
    return silent > TOP_SILENT_NS ? silent : 0;
}

/* ---- values ---------------------------------------------------------------------------------------------------------------------- */

static bool number_of(const struct core_json_tree *object, const char *name, double *out) {
    const struct core_json_tree *member = core_json_tree_get(object, name);
    if (member == NULL || (member->kind != CORE_JSON_NUMBER && member->kind != CORE_JSON_BOOL)) {
        return false;
    }
    *out =
        member->kind == CORE_JSON_BOOL ? (core_span_is(member->text, "true") ? 1 : 0) : strtod(member->text.ptr, NULL);
    return true;
}

struct core_span top_label(const struct top_row *row, size_t i) {
    const char *name = core_health_kind_info(row->kind)->label_names[i];
    return name == NULL ? (struct core_span){.ptr = "", .len = 0} : core_json_tree_text(row->now, name);
}

bool top_value(const struct top_row *row, enum core_health_measure measure, double *out) {
    char name[64];
    core_health_measure_name(measure, name);
    return number_of(row->now, name, out);
}

static bool rate_of(const struct core_json_tree *now, const struct core_json_tree *before, const char *name,
                    double seconds, double *out) {
    double is;
    double was;
    if (seconds <= 0 || before == NULL || !number_of(now, name, &is) || !number_of(before, name, &was) || is < was) {
        return false;
    }
    *out = (is - was) / seconds;
    return true;
}

bool top_rate(const struct top_row *row, enum core_health_measure measure, double *out) {
    char name[64];
    core_health_measure_name(measure, name);
    return rate_of(row->now, row->before, name, row->process->seconds, out);
}

bool top_quantile(const struct top_row *row, const char *name, double *out) {
    const char *histogram = core_health_kind_info(row->kind)->histogram;
    const struct core_json_tree *times = histogram == NULL ? NULL : core_json_tree_get(row->now, histogram);
    times = times == NULL ? core_json_tree_get(row->now, "latency") : times;
    return times != NULL && number_of(times, name, out);
}

bool top_counter_rate(const struct top_process *process, const char *name, double *out) {
    const struct core_json_tree *before = process->snapshots[1 - process->at].document;
    return rate_of(core_json_tree_get(top_now(process), "counters"), core_json_tree_get(before, "counters"), name,
                   process->seconds, out);
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------------ */

static uint64_t key_of(const struct top_process *process, enum core_health_kind kind,
                       const struct core_json_tree *row) {
    const struct core_health_kind_info *info = core_health_kind_info(kind);
    uint64_t key = core_hash64(process->name, strlen(process->name), (uint64_t)kind + 1);
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX && info->label_names[i] != NULL; i++) {
        struct core_span label = core_json_tree_text(row, info->label_names[i]);
        key = core_hash64(label.len == 0 ? "" : label.ptr, label.len, key);
    }
    return key == 0 ? 1 : key;
}

static const struct core_json_tree *rows_of(const struct core_json_tree *document, enum core_health_kind kind) {
    const struct core_json_tree *rows = core_json_tree_get(document, "rows");
    const struct core_json_tree *list = core_json_tree_get(rows, core_health_kind_info(kind)->name);
    return list == NULL || list->kind != CORE_JSON_ARRAY ? NULL : list->first;
}

static bool has_same_labels(enum core_health_kind kind, const struct core_json_tree *a,
                            const struct core_json_tree *b) {
    const struct core_health_kind_info *info = core_health_kind_info(kind);
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX && info->label_names[i] != NULL; i++) {
        if (!core_span_eq(core_json_tree_text(a, info->label_names[i]), core_json_tree_text(b, info->label_names[i]))) {
            return false;
        }
    }
    return true;
}

/* The same row in the document before. *at: where it ought to be; it is put behind the one found. */
static const struct core_json_tree *row_before(enum core_health_kind kind, const struct core_json_tree *row,
                                               const struct core_json_tree *first, const struct core_json_tree **at) {
    const struct core_json_tree *found = *at;
    if (found == NULL || !has_same_labels(kind, row, found)) {
        for (found = first; found != NULL && !has_same_labels(kind, row, found);) {
            found = found->next;
        }
    }
    *at = found == NULL ? *at : found->next;
    return found;
}

/* ---- history ------------------------------------------------------------------------------------------------------------------------ */

static struct series *series_slot(struct series *all, size_t cap, uint64_t key) {
    size_t at = (size_t)key & (cap - 1);
    while (all[at].key != 0 && all[at].key != key) {
        at = (at + 1) & (cap - 1);
    }
    return &all[at];
}

/* Grown, and without those of rows that went a while ago. */
static void series_grow(struct top_data *data) {
    size_t cap = data->series_cap * 2;
    struct series *all = calloc(cap, sizeof(*all));
    MUST(all != NULL);
    int64_t oldest = core_tick_ns() - FORGET_NS;
    data->series_len = 0;
    for (size_t i = 0; i < data->series_cap; i++) {
        struct series *series = &data->series[i];
        if (series->key != 0 && series->tick >= oldest) {
            *series_slot(all, cap, series->key) = *series;
            data->series_len++;
        } else {
            free(series->values);
        }
    }
    free(data->series);
    data->series = all;
    data->series_cap = cap;
}

static void history_add(struct top_data *data, const struct top_row *row) {
    const struct core_health_kind_info *info = core_health_kind_info(row->kind);
    if (data->series_len * 2 >= data->series_cap) {
        series_grow(data);
    }
    struct series *series = series_slot(data->series, data->series_cap, row->key);
    if (series->key == 0) {
        *series = (struct series){.key = row->key};
        series->values = calloc((size_t)info->measures_len * TOP_HISTORY, sizeof(*series->values));
        MUST(series->values != NULL || info->measures_len == 0);
        data->series_len++;
    }
    series->tick = core_tick_ns();
    for (int i = 0; i < info->measures_len; i++) {
        const enum core_health_measure measure = (enum core_health_measure)(info->first_measure + i);
        double value = 0;
        bool is_known =
            core_health_measures[measure].only_grows ? top_rate(row, measure, &value) : top_value(row, measure, &value);
        series->values[(size_t)i * TOP_HISTORY + series->at] = is_known ? (float)value : NAN;
    }
    series->at = (series->at + 1) % TOP_HISTORY;
    series->len += series->len < TOP_HISTORY ? 1 : 0;
}

size_t top_history(const struct top_data *data, const struct top_row *row, enum core_health_measure measure,
                   float out[TOP_HISTORY]) {
    const struct series *series = series_slot(data->series, data->series_cap, row->key);
    int i = (int)measure - core_health_kind_info(row->kind)->first_measure;
    if (series->key == 0 || i < 0) {
        return 0;
    }
    for (size_t n = 0; n < series->len; n++) {
        size_t at = (series->at + TOP_HISTORY - series->len + n) % TOP_HISTORY;
        out[n] = series->values[(size_t)i * TOP_HISTORY + at];
    }
    return series->len;
}

/* ---- documents come ------------------------------------------------------------------------------------------------------------------- */

/* Digits at a place of a text; -1: there is something else. */
static int64_t digits_at(struct core_span text, size_t at, size_t len) {
    int64_t number = 0;
    for (size_t i = at; i < at + len; i++) {
        if (i >= text.len || !core_is_digit(text.ptr[i])) {
            return -1;
        }
        number = number * 10 + (text.ptr[i] - '0');
    }
    return number;
}

/* "2026-11-22T08:30:00.123456Z", as core_time_iso() writes it; 0: it is none. */
static int64_t time_of(struct core_span text) {
    static const struct { size_t at, len; } places[] = {{0, 4}, {5, 2}, {8, 2}, {11, 2}, {14, 2}, {17, 2}, {20, 6}};
    int64_t parts[sizeof(places) / sizeof(places[0])];
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        parts[i] = digits_at(text, places[i].at, places[i].len);
        if (parts[i] < 0 && places[i].len != 6) {
            return 0;
        }
        parts[i] = parts[i] < 0 ? 0 : parts[i]; /* no fraction */
    }
    int64_t days = core_days_from_civil(parts[0], (unsigned)parts[1], (unsigned)parts[2]);
    int64_t seconds = ((days * 24 + parts[3]) * 60 + parts[4]) * 60 + parts[5];
    return seconds * CORE_NS_PER_S + parts[6] * CORE_NS_PER_US;
}

bool top_document_name(const struct core_json_tree *document, char out[TOP_NAME_BYTES]) {
    struct core_span word = core_json_tree_text(document, "process");
    int64_t instance = core_json_tree_integer(document, "instance", 0);
    bool is_one_of_several = core_span_is(word, "feed") || instance > 0;
    if (word.len == 0 || word.len > TOP_NAME_BYTES - 24) {
        return false;
    }
    (void)snprintf(out, TOP_NAME_BYTES, is_one_of_several ? "%.*s-%lld" : "%.*s", (int)word.len, word.ptr,
                   (long long)instance);
    return true;
}

static struct top_process *process_of(struct top_data *data, const struct core_json_tree *document) {
    char name[TOP_NAME_BYTES];
    if (!top_document_name(document, name)) {
        return NULL;
    }
    for (size_t i = 0; i < data->processes_len; i++) {
        if (strcmp(data->processes[i]->name, name) == 0) {
            return data->processes[i];
        }
    }
    struct core_fail fail;
    if (data->processes_len == TOP_PROCESSES_MAX) {
        return NULL;
    }
    struct top_process *process = calloc(1, sizeof(*process));
    MUST(process != NULL);
    MUST(core_arena_init(&process->snapshots[0].arena, ARENA_BYTES, &fail) == CORE_OK);
    MUST(core_arena_init(&process->snapshots[1].arena, ARENA_BYTES, &fail) == CORE_OK);
    memcpy(process->name, name, sizeof(name));
    data->processes[data->processes_len++] = process;
    return process;
}

void top_data_take(struct top_data *data, const struct core_json_tree *document) {
    struct top_process *process = process_of(data, document);
    struct core_buf out = {.start = data->text, .pos = data->text, .end = data->text + TEXT_BYTES_MAX};
    struct core_fail fail;
    struct core_json_tree *copy = NULL;
    if (process == NULL) {
        return;
    }
    process->came_tick = core_tick_ns();
    int64_t time_ns = time_of(core_json_tree_text(document, "time"));
    int64_t late_ns = process->snapshots[process->at].time_ns - time_ns; /* Main's may be older than its own last one */
    if (top_now(process) != NULL && late_ns >= 0 && late_ns < LATE_NS) {
        return;
    }
    struct top_snapshot *next = &process->snapshots[top_now(process) == NULL ? process->at : 1 - process->at];
    core_json_put_tree(&out, document);
    next->document = NULL;
    core_arena_reset(&next->arena, CORE_MIB);
    if (out.is_full || core_json_tree_read(&next->arena, core_buf_written(&out), &copy, &fail) != CORE_OK) {
        process->seconds = 0;
        return; /* longer than any answer can be */
    }
    const struct top_snapshot *last = &process->snapshots[process->at];
    process->seconds =
        last == next || last->document == NULL ? 0 : (double)(time_ns - last->time_ns) / (double)CORE_NS_PER_S;
    next->document = copy;
    next->time_ns = time_ns;
    process->at = (unsigned)(next - process->snapshots);
    for (int kind = 0; kind < CORE_HEALTH__MAX; kind++) {
        const struct core_json_tree *first =
            rows_of(process->snapshots[1 - process->at].document, (enum core_health_kind)kind);
        const struct core_json_tree *at = first;
        for (const struct core_json_tree *row = rows_of(copy, (enum core_health_kind)kind); row != NULL;
             row = row->next) {
            const struct top_row one = {.process = process,
                                        .now = row,
                                        .before = row_before((enum core_health_kind)kind, row, first, &at),
                                        .kind = (enum core_health_kind)kind,
                                        .key = key_of(process, (enum core_health_kind)kind, row)};
            history_add(data, &one);
        }
    }
}

void top_data_turn(struct top_data *data) {
    for (size_t i = data->processes_len; i > 0; i--) {
        if (core_tick_ns() - data->processes[i - 1]->came_tick > FORGET_NS) {
            process_free(data->processes[i - 1]);
            data->processes[i - 1] = data->processes[--data->processes_len];
        }
    }
}

/* ---- problems ---------------------------------------------------------------------------------------------------------------------------- */

static int severity_of(const struct core_json_tree *problem) {
    struct core_span word = core_json_tree_text(problem, "severity");
    return core_span_is(word, "error")  ? CORE_HEALTH_ERROR
           : core_span_is(word, "warn") ? CORE_HEALTH_WARN
                                        : CORE_HEALTH_INFO;
}

static const struct core_json_tree *problems_of(const struct top_process *process) {
    const struct core_json_tree *list = core_json_tree_get(top_now(process), "problems");
    return list == NULL || list->kind != CORE_JSON_ARRAY ? NULL : list->first;
}

static int by_severity(const void *a, const void *b) {
    const struct top_problem *left = a;
    const struct top_problem *right = b;
    if (left->severity != right->severity) {
        return right->severity - left->severity;
    }
    struct core_span l = core_json_tree_text(left->problem, "since");
    struct core_span r = core_json_tree_text(right->problem, "since");
    return strcmp(l.len == 0 ? "" : l.ptr, r.len == 0 ? "" : r.ptr);
}

size_t top_problems(const struct top_data *data, struct top_problem *out, size_t max) {
    size_t len = 0;
    for (size_t i = 0; i < data->processes_len; i++) {
        const struct core_json_tree *problem = problems_of(data->processes[i]);
        for (; problem != NULL && len < max; problem = problem->next) {
            out[len++] = (struct top_problem){data->processes[i], problem, severity_of(problem)};
        }
    }
    if (len > 0) {
        qsort(out, len, sizeof(out[0]), by_severity);
    }
    return len;
}

double top_problem_seconds(const struct top_problem *problem) {
    int64_t since_ns = time_of(core_json_tree_text(problem->problem, "since"));
    return since_ns == 0 ? 0 : (double)(core_now_ns() - since_ns) / (double)CORE_NS_PER_S;
}

bool top_problem_names(const struct top_problem *problem, const struct top_row *row) {
    const struct core_health_kind_info *info = core_health_kind_info(row->kind);
    return problem->process == row->process &&
           core_span_is(core_json_tree_text(problem->problem, "kind"), info->name) &&
           has_same_labels(row->kind, row->now, core_json_tree_get(problem->problem, "labels"));
}

bool top_problem_row(struct top_data *data, const struct top_problem *problem, struct top_row *out) {
    struct core_span name = core_json_tree_text(problem->problem, "kind");
    struct top_rows rows = {0};
    bool is_found = false;
    for (int kind = 0; kind < CORE_HEALTH__MAX && !is_found; kind++) {
        if (!core_span_is(name, core_health_kind_info((enum core_health_kind)kind)->name)) {
            continue;
        }
        top_rows_take(data, (enum core_health_kind)kind, NULL, &rows);
        for (size_t i = 0; i < rows.len && !is_found; i++) {
            is_found = top_problem_names(problem, &rows.all[i]);
            *out = is_found ? rows.all[i] : *out;
        }
    }
    top_rows_free(&rows);
    return is_found;
}

int top_process_state(const struct top_process *process) {
    struct core_span word = core_json_tree_text(top_now(process), "state");
    if (top_silent_ns(process) > 0) {
        return 2;
    }
    return core_span_is(word, top_state_words[0]) ? 0 : core_span_is(word, top_state_words[1]) ? 1 : 2;
}

int top_state(const struct top_data *data) {
    int worst = data->processes_len == 0 ? 2 : 0;
    for (size_t i = 0; i < data->processes_len; i++) {
        int state = top_process_state(data->processes[i]);
        worst = state > worst ? state : worst;
    }
    return worst;
}

/* ---- all rows of a kind -------------------------------------------------------------------------------------------------------------------- */

/* The worst problem that names this row. */
static int row_severity(const struct top_process *process, enum core_health_kind kind,
                        const struct core_json_tree *row) {
    const struct core_health_kind_info *info = core_health_kind_info(kind);
    int worst = -1;
    for (const struct core_json_tree *problem = problems_of(process); problem != NULL; problem = problem->next) {
        const struct core_json_tree *labels = core_json_tree_get(problem, "labels");
        if (core_span_is(core_json_tree_text(problem, "kind"), info->name) && info->label_names[0] != NULL &&
            severity_of(problem) > worst && has_same_labels(kind, row, labels)) {
            worst = severity_of(problem);
        }
    }
    return worst;
}

static bool holds(struct core_span text, const char *filter) {
    size_t len = strlen(filter);
    for (size_t i = 0; i + len <= text.len; i++) {
        size_t same = 0;
        while (same < len && core_lower(text.ptr[i + same]) == core_lower(filter[same])) {
            same++;
        }
        if (same == len) {
            return true;
        }
    }
    return len == 0;
}

static bool is_wanted(const struct top_row *row, const char *filter) {
    if (filter == NULL || filter[0] == '\0' || holds(core_span_of(row->process->name), filter)) {
        return true;
    }
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX; i++) {
        if (holds(top_label(row, i), filter)) {
            return true;
        }
    }
    return false;
}

void top_rows_take(struct top_data *data, enum core_health_kind kind, const char *filter, struct top_rows *out) {
    out->len = 0;
    for (size_t i = 0; i < data->processes_len; i++) {
        const struct top_process *process = data->processes[i];
        const struct core_json_tree *first = rows_of(process->snapshots[1 - process->at].document, kind);
        const struct core_json_tree *at = first;
        for (const struct core_json_tree *row = rows_of(top_now(process), kind); row != NULL; row = row->next) {
            const struct top_row one = {.process = process,
                                        .now = row,
                                        .before = row_before(kind, row, first, &at),
                                        .kind = kind,
                                        .key = key_of(process, kind, row),
                                        .severity = row_severity(process, kind, row)};
            if (!is_wanted(&one, filter)) {
                continue;
            }
            if (out->len == out->cap) {
                out->cap = out->cap == 0 ? 64 : out->cap * 2;
                out->all = realloc(out->all, out->cap * sizeof(*out->all));
                MUST(out->all != NULL);
            }
            out->all[out->len++] = one;
        }
    }
}

void top_rows_free(struct top_rows *rows) {
    free(rows->all);
    *rows = (struct top_rows){0};
}

bool top_row_find(struct top_data *data, enum core_health_kind kind, uint64_t key, struct top_row *out) {
    struct top_rows rows = {0};
    bool is_found = false;
    top_rows_take(data, kind, NULL, &rows);
    for (size_t i = 0; i < rows.len && !is_found; i++) {
        is_found = rows.all[i].key == key;
        *out = is_found ? rows.all[i] : *out;
    }
    top_rows_free(&rows);
    return is_found;
}
