/* cmd/top_once.c: `tapline top --once`: everything as tables for people, or as one JSON object for programs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/json_tree.h"
#include "cmd/top.h"

#include <stdio.h>
#include <stdlib.h>

static void lines_print(const struct top_lines *lines) {
    for (size_t i = 0; i < lines->len; i++) {
        const char *text = lines->all[i].text;
        size_t len = strlen(text);
        while (len > 0 && text[len - 1] == ' ') {
            len--;
        }
        (void)printf("%.*s\n", (int)len, text);
    }
}

void top_once_text(struct top_data *data, const struct top_source *source, size_t width) {
    struct top_state state;
    struct top_lines lines = {.width = width < TOP_LINE_BYTES / 4 ? width : TOP_LINE_BYTES / 4};
    char title[TOP_LINE_BYTES];
    top_state_begin(&state);
    state.is_once = true;
    top_title(data, source, &state, title, sizeof(title));
    (void)printf("%s\n", title);
    for (int view = 0; view < TOP_VIEW__MAX; view++) {
        size_t tables[TOP_TABLES_MAX];
        size_t len = top_view_tables((enum top_view)view, tables);
        bool has_rows = view == TOP_OVERVIEW;
        for (size_t i = 0; i < len && !has_rows; i++) {
            struct top_rows rows = {0};
            top_rows_take(data, top_tables[tables[i]].kind, NULL, &rows);
            has_rows = rows.len > 0;
            top_rows_free(&rows);
        }
        if (has_rows) {
            state.view = (enum top_view)view;
            top_view_draw(data, source, &state, &lines);
            (void)printf("\n");
            lines_print(&lines);
        }
    }
    free(lines.all);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------------------- */

static void string_print(struct core_span text) {
    const struct core_json_tree tree = {.kind = CORE_JSON_STRING, .text = text};
    json_tree_print(stdout, &tree);
}

/* What of a row grows, and positions, per second. Returns whether there was anything. */
static void rates_print(const struct top_row *row, const char *before) {
    const struct core_health_kind_info *info = core_health_kind_info(row->kind);
    (void)fputs(before, stdout);
    const char *comma = "{";
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX && info->label_names[i] != NULL; i++) {
        (void)printf("%s\"%s\":", comma, info->label_names[i]);
        string_print(top_label(row, i));
        comma = ",";
    }
    for (int i = 0; i < info->measures_len; i++) {
        const enum core_health_measure measure = (enum core_health_measure)(info->first_measure + i);
        bool is_position =
            measure == CORE_FILE_READ || measure == CORE_FILE_ACCEPTED || measure == CORE_CONSUMED_POSITION;
        char name[64];
        double rate;
        if ((core_health_measures[measure].only_grows || is_position) && top_rate(row, measure, &rate)) {
            core_health_measure_name(measure, name);
            (void)printf("%s\"%s\":%.6g", comma, name, rate);
            comma = ",";
        }
    }
    (void)fputs(comma[0] == '{' ? "{}" : "}", stdout);
}

static void counters_print(const struct top_process *process) {
    const char *comma = "";
    const struct core_json_tree *counters = core_json_tree_get(top_now(process), "counters");
    for (const struct core_json_tree *one = counters == NULL ? NULL : counters->first; one != NULL; one = one->next) {
        double rate;
        if (top_counter_rate(process, one->key.ptr, &rate)) {
            (void)fputs(comma, stdout);
            string_print(one->key);
            (void)printf(":%.6g", rate);
            comma = ",";
        }
    }
}

static void kind_print(struct top_data *data, const struct top_process *process, enum core_health_kind kind,
                       bool *is_first) {
    struct top_rows rows = {0};
    const char *before = "";
    top_rows_take(data, kind, NULL, &rows);
    for (size_t i = 0; i < rows.len; i++) {
        if (rows.all[i].process == process && rows.all[i].before != NULL) {
            if (before[0] == '\0') {
                (void)printf("%s\"%s\":[", *is_first ? "" : ",", core_health_kind_info(kind)->name);
                *is_first = false;
            }
            rates_print(&rows.all[i], before);
            before = ",";
        }
    }
    if (before[0] != '\0') {
        (void)fputc(']', stdout);
    }
    top_rows_free(&rows);
}

void top_once_json(struct top_data *data) {
    char time[27];
    MUST(core_time_iso(core_now_ns(), time));
    (void)printf("{\"time\":\"%.*s\",\"state\":\"%s\",\"documents\":[", (int)sizeof(time), time,
                 top_state_words[top_state(data)]);
    for (size_t i = 0; i < top_data_processes(data); i++) {
        (void)fputs(i == 0 ? "" : ",", stdout);
        json_tree_print(stdout, top_now(top_data_process(data, i)));
    }
    (void)fputs("],\"rates\":[", stdout);
    for (size_t i = 0; i < top_data_processes(data); i++) {
        const struct top_process *process = top_data_process(data, i);
        bool is_first = true;
        (void)printf("%s{\"process\":", i == 0 ? "" : ",");
        string_print(core_span_of(process->name));
        (void)printf(",\"seconds\":%.6g,\"counters\":{", process->seconds);
        counters_print(process);
        (void)fputs("},\"rows\":{", stdout);
        for (int kind = 0; kind < CORE_HEALTH__MAX; kind++) {
            kind_print(data, process, (enum core_health_kind)kind, &is_first);
        }
        (void)fputs("}}", stdout);
    }
    (void)fputs("]}\n", stdout);
}
