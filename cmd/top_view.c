/* cmd/top_view.c: what is on the screen: problems first, then who works how much; tables; one row with its past; help.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/top.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PROBLEMS_MAX 256
#define NAME_CELLS 29 /* "last_event_timestamp_seconds" */
#define NUMBER_CELLS 12
#define BAR_CELLS_MAX 40

const char *const top_view_names[TOP_VIEW__MAX] = {"Overview", "Sensors",    "Logs", "Stages",
                                                   "Sinks",    "Partitions", "Intel"};

/* ---- what a person chooses ------------------------------------------------------------------------------------------------------- */

void top_state_begin(struct top_state *state) {
    *state = (struct top_state){0};
    for (size_t i = 0; i < top_tables_len; i++) {
        state->sorts[i] = (struct top_sort){top_tables[i].sort, top_tables[i].is_down};
    }
}

size_t top_view_tables(enum top_view view, size_t out[TOP_TABLES_MAX]) {
    static const enum top_view views[CORE_HEALTH__MAX] = {
        [CORE_HEALTH_PROCESS] = TOP_OVERVIEW,    [CORE_HEALTH_LATENCY] = TOP_OVERVIEW,
        [CORE_HEALTH_SUPERVISED] = TOP_SENSORS,  [CORE_HEALTH_CAPTURE] = TOP_SENSORS,
        [CORE_HEALTH_FILE] = TOP_LOGS,           [CORE_HEALTH_STAGE] = TOP_STAGES,
        [CORE_HEALTH_DEAD] = TOP_STAGES,         [CORE_HEALTH_SINK] = TOP_SINKS,
        [CORE_HEALTH_RETRY] = TOP_SINKS,         [CORE_HEALTH_ENDPOINT] = TOP_SINKS,
        [CORE_HEALTH_BROKER] = TOP_SINKS,        [CORE_HEALTH_CONSUMED] = TOP_PARTITIONS,
        [CORE_HEALTH_PRODUCED] = TOP_PARTITIONS, [CORE_HEALTH_INTEL] = TOP_INTEL_VIEW,
        [CORE_HEALTH_SYNCED] = TOP_INTEL_VIEW,
    };
    size_t len = 0;
    for (size_t i = 0; i < top_tables_len; i++) {
        bool is_too = view == TOP_OVERVIEW && top_tables[i].kind == CORE_HEALTH_SINK; /* who is behind is seen there */
        if (views[top_tables[i].kind] == view || is_too) {
            out[len++] = i;
        }
    }
    return len;
}

/* ---- the first line ----------------------------------------------------------------------------------------------------------------- */

static void upper(const char *word, char *out, size_t out_len) {
    size_t i = 0;
    for (; word[i] != '\0' && i + 1 < out_len; i++) {
        out[i] = word[i] >= 'a' && word[i] <= 'z' ? (char)(word[i] - 'a' + 'A') : word[i];
    }
    out[i] = '\0';
}

void top_title(struct top_data *data, const struct top_source *source, const struct top_state *state, char *out,
               size_t out_len) {
    char node[128] = "";
    char word[16];
    char from[256];
    char clock[16] = "";
    struct top_problem problems[PROBLEMS_MAX];
    struct tm local;
    time_t now = time(NULL);
    size_t len = top_problems(data, problems, PROBLEMS_MAX);
    if (top_data_processes(data) > 0) {
        top_clean(core_json_tree_text(top_now(top_data_process(data, 0)), "node"), node, sizeof(node));
    }
    if (localtime_r(&now, &local) != NULL) {
        (void)strftime(clock, sizeof(clock), "%H:%M:%S", &local);
    }
    upper(top_state_words[top_state(data)], word, sizeof(word));
    top_source_tell(source, from, sizeof(from));
    (void)snprintf(out, out_len, "tapline top  %s  %s, %zu problem%s  %s%s  by %s", node, word, len,
                   len == 1 ? "" : "s", clock, state->is_paused ? "  PAUSED" : "", from);
}

/* ---- problems -------------------------------------------------------------------------------------------------------------------------- */

static void problem_draw(struct top_data *data, const struct top_problem *problem, struct top_lines *lines) {
    static const char *const words[] = {"INFO ", "WARN ", "ERROR"};
    static const enum top_look looks[] = {TOP_PLAIN, TOP_WARN, TOP_ERROR};
    char component[512];
    char code[64];
    char since[32];
    struct top_row row;
    top_clean(core_json_tree_text(problem->problem, "component"), component, sizeof(component));
    top_clean(core_json_tree_text(problem->problem, "code"), code, sizeof(code));
    top_form(TOP_SECONDS, top_problem_seconds(problem), since, sizeof(since));
    top_line_print(lines, looks[problem->severity], "%s %s (%s), for %s: %s", words[problem->severity], component,
                   problem->process->name, since, code);
    if (top_problem_row(data, problem, &row)) {
        struct top_line *line = &lines->all[lines->len - 1];
        line->key = row.key;
        line->kind = row.kind;
        line->choice = core_hash64(code, strlen(code), row.key) | 1;
    }
    top_line_wrap(lines, TOP_PLAIN, 2, core_json_tree_text(problem->problem, "text"));
    top_line_wrap(lines, TOP_BOLD, 2, core_json_tree_text(problem->problem, "help"));
}

static void silent_draw(const struct top_data *data, struct top_lines *lines) {
    for (size_t i = 0; i < top_data_processes(data); i++) {
        const struct top_process *process = top_data_process(data, i);
        char since[32];
        if (top_silent_ns(process) > 0) {
            top_form(TOP_SECONDS, (double)top_silent_ns(process) / (double)CORE_NS_PER_S, since, sizeof(since));
            top_line_print(lines, TOP_ERROR, "ERROR process %s has not answered for %s", process->name, since);
            top_line_wrap(lines, TOP_PLAIN, 2, CORE_SPAN("What is shown of it is as old as that."));
            top_line_wrap(
                lines, TOP_BOLD, 2,
                CORE_SPAN("Is it running? tapline status, or systemctl status; its own log says why it ended."));
        }
    }
}

static void problems_draw(struct top_data *data, const struct top_source *source, struct top_lines *lines) {
    struct top_problem problems[PROBLEMS_MAX];
    size_t len = top_problems(data, problems, PROBLEMS_MAX);
    if (top_data_processes(data) == 0) {
        char from[512];
        top_source_tell(source, from, sizeof(from));
        top_line_print(lines, TOP_ERROR, "No process of tapline answers. Asked: %s", from);
        top_line_wrap(
            lines, TOP_PLAIN, 2,
            CORE_SPAN("Processes listen on sockets in node.state, Main on serve.socket. Say whose configuration it "
                      "is (-c FILE), start them, and be root, their user, or in the group tapline."));
        return;
    }
    size_t before = lines->len;
    silent_draw(data, lines);
    for (size_t i = 0; i < len; i++) {
        problem_draw(data, &problems[i], lines);
    }
    if (lines->len == before) {
        top_line_print(lines, TOP_GOOD, "No problems.");
    }
}

/* ---- tables ------------------------------------------------------------------------------------------------------------------------------ */

static void tables_draw(struct top_data *data, const struct top_state *state, enum top_view view,
                        struct top_lines *lines) {
    size_t tables[TOP_TABLES_MAX];
    size_t len = top_view_tables(view, tables);
    size_t begin = lines->len;
    for (size_t i = 0; i < len; i++) {
        const struct top_table *table = &top_tables[tables[i]];
        size_t before = lines->len;
        if (state->is_once && view != TOP_OVERVIEW && table->kind == CORE_HEALTH_SINK) {
            continue; /* shown already */
        }
        top_line_print(lines, TOP_PLAIN, "%s", "");
        top_line_print(lines, TOP_BOLD, "%s", table->title);
        size_t head = lines->len;
        top_table_draw(data, table, &state->sorts[tables[i]], state->filter, lines);
        if (lines->len == head) {
            lines->len = before; /* nothing of that kind */
        } else if (before == 0) {
            memmove(&lines->all[0], &lines->all[1], --lines->len * sizeof(lines->all[0]));
        }
    }
    if (lines->len == begin && view != TOP_OVERVIEW) {
        top_line_print(lines, TOP_PLAIN,
                       state->filter[0] == '\0' ? "Nothing of this kind: no process here has it."
                                                : "Nothing here fits the filter (/ changes it).");
    }
}

/* ---- one row -------------------------------------------------------------------------------------------------------------------------------- */

static void measure_draw(const struct top_data *data, const struct top_row *row, enum core_health_measure measure,
                         struct top_lines *lines) {
    const struct core_health_measure_info *info = &core_health_measures[measure];
    char name[80];
    char number[32] = "-";
    char past[TOP_HISTORY * 4];
    float values[TOP_HISTORY];
    double value;
    double rate;
    core_health_measure_name(measure, name);
    if (top_value(row, measure, &value) && (info->unit != CORE_UNIT_TIME || value > 0)) {
        top_form(top_form_of(measure), value, number, sizeof(number));
    }
    struct top_line *line = top_line_add(lines, TOP_PLAIN);
    size_t at = 0;
    top_put(line->text, &at, name, NAME_CELLS, false, false);
    top_put(line->text, &at, number, NUMBER_CELLS, true, false);
    if (info->only_grows) {
        bool is_known = top_rate(row, measure, &rate);
        top_form(info->unit == CORE_UNIT_NS      ? TOP_PERCENT
                 : info->unit == CORE_UNIT_BYTES ? TOP_BYTES
                                                 : TOP_NUMBER,
                 is_known ? rate : 0, number, sizeof(number));
        (void)strncat(number, info->unit == CORE_UNIT_NS ? "" : "/s", 3);
        top_put(line->text, &at, is_known ? number : "-", NUMBER_CELLS - 2, true, false);
    } else {
        top_put(line->text, &at, "", NUMBER_CELLS - 2, false, false);
    }
    size_t room = lines->width > NAME_CELLS + 2 * NUMBER_CELLS ? lines->width - NAME_CELLS - 2 * NUMBER_CELLS : 0;
    size_t len = info->unit == CORE_UNIT_TIME ? 0 : top_history(data, row, measure, values); /* a time only grows */
    size_t shown = len < room ? len : room;
    top_sparkline(values + (len - shown), shown, past, sizeof(past));
    top_put(line->text, &at, "", 2, false, false);
    top_put(line->text, &at, past, shown, false, false);
    top_line_wrap(lines, TOP_DIM, 2, core_span_of(info->meaning));
}

/* How many took how long: [[0.001,N],…,["+Inf",N]], each with those before it. */
static void histogram_draw(const struct top_row *row, struct top_lines *lines) {
    const char *name = core_health_kind_info(row->kind)->histogram;
    const struct core_json_tree *times = name == NULL ? NULL : core_json_tree_get(row->now, name);
    times = times == NULL ? core_json_tree_get(row->now, "latency") : times;
    const struct core_json_tree *buckets = core_json_tree_get(times, "buckets");
    double all = (double)core_json_tree_integer(times, "count", 0);
    if (name == NULL || buckets == NULL || all <= 0) {
        return;
    }
    double before = 0;
    top_line_print(lines, TOP_BOLD, "%s: how many took at most so long", name);
    for (const struct core_json_tree *one = buckets->first; one != NULL && one->first != NULL; one = one->next) {
        char bound[32] = "longer";
        char count[32];
        char bar[BAR_CELLS_MAX + 1];
        double upto = one->last->kind == CORE_JSON_NUMBER ? (double)strtod(one->last->text.ptr, NULL) : before;
        size_t cells = (size_t)((upto - before) / all * BAR_CELLS_MAX + 0.999);
        if (one->first->kind == CORE_JSON_NUMBER) {
            top_form(TOP_SECONDS, strtod(one->first->text.ptr, NULL), bound, sizeof(bound));
        }
        if (upto > before) {
            memset(bar, '#', cells < BAR_CELLS_MAX ? cells : BAR_CELLS_MAX);
            bar[cells < BAR_CELLS_MAX ? cells : BAR_CELLS_MAX] = '\0';
            top_form(TOP_NUMBER, upto - before, count, sizeof(count));
            top_line_print(lines, TOP_PLAIN, "%8s %8s %s", bound, count, bar);
        }
        before = upto;
    }
}

static void row_title(const struct top_row *row, char *out, size_t out_len) {
    size_t at = 0;
    int len = snprintf(out, out_len, "%s of %s", core_health_kind_info(row->kind)->name, row->process->name);
    at += len < 0 ? 0 : (size_t)len;
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX && at < out_len; i++) {
        char label[CORE_HEALTH_LABEL_BYTES_MAX + 8];
        top_clean(top_label(row, i), label, sizeof(label));
        len = label[0] == '\0' ? 0 : snprintf(out + at, out_len - at, "  %s", label);
        at += len < 0 ? 0 : (size_t)len;
    }
}

static void one_draw(struct top_data *data, const struct top_state *state, struct top_lines *lines) {
    struct top_row row;
    struct top_problem problems[PROBLEMS_MAX];
    char title[2 * TOP_LINE_BYTES];
    size_t len = top_problems(data, problems, PROBLEMS_MAX);
    if (!top_row_find(data, state->one_kind, state->one_key, &row)) {
        top_line_print(lines, TOP_PLAIN, "It is not there any more. Esc goes back.");
        return;
    }
    const struct core_health_kind_info *info = core_health_kind_info(row.kind);
    row_title(&row, title, sizeof(title));
    top_line_wrap(lines, TOP_BOLD, 0, core_span_of(title));
    top_line_wrap(lines, TOP_DIM, 0, core_span_of(info->meaning));
    for (size_t i = 0; i < len; i++) {
        if (top_problem_names(&problems[i], &row)) {
            problem_draw(data, &problems[i], lines);
        }
    }
    for (size_t i = 0; i < lines->len; i++) {
        lines->all[i].choice = 0; /* nothing to choose: arrows scroll */
    }
    top_line_print(lines, TOP_PLAIN, "%s", "");
    for (int i = 0; i < info->measures_len; i++) {
        measure_draw(data, &row, (enum core_health_measure)(info->first_measure + i), lines);
    }
    histogram_draw(&row, lines);
}

/* ---- all ---------------------------------------------------------------------------------------------------------------------------------------- */

static void help_draw(struct top_lines *lines) {
    static const char *const texts[] = {
        "1 to 7, Tab     views: Overview, Sensors, Logs, Stages, Sinks, Partitions, Intel",
        "Up, Down, PgUp, PgDn, Home, End     choose a row, or scroll",
        "Enter           all about the chosen row, and its last minute; Esc or Left goes back",
        "s               sort by the next column of the chosen row's table",
        "r               the other way round",
        "/               show only rows that hold a text; Enter keeps it, Esc takes it away",
        "p               pause: the numbers stay as they are",
        "h or ?          this help",
        "q               quit",
        "",
        "! and ? before a row: it has a problem (error, warning).",
        "In/s, Out/s: records read, documents accepted, per second.",
        "Lag: bytes (or records) that are not accepted yet. Behind: the age of the oldest of them.",
        "- is not known (yet): rates need two answers of a process.",
        "Every number is explained by Enter, and in the reference of metrics.",
    };
    top_line_print(lines, TOP_BOLD, "Keys");
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i][0] == '\0') {
            (void)top_line_add(lines, TOP_PLAIN);
        } else {
            top_line_wrap(lines, TOP_PLAIN, 0, core_span_of(texts[i]));
        }
    }
}

void top_view_draw(struct top_data *data, const struct top_source *source, const struct top_state *state,
                   struct top_lines *lines) {
    lines->len = 0;
    if (state->is_help) {
        help_draw(lines);
    } else if (state->is_one) {
        one_draw(data, state, lines);
    } else if (state->view == TOP_OVERVIEW || top_data_processes(data) == 0) {
        problems_draw(data, source, lines);
        tables_draw(data, state, TOP_OVERVIEW, lines);
    } else {
        tables_draw(data, state, state->view, lines);
    }
}
