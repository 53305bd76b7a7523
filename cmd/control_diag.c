/* cmd/control_diag.c: `tapline diag`: crash reports, listed, or the newest of each node as text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/control.h"
#include "cmd/json_tree.h"

#include <stdio.h>
#include <stdlib.h>

#define REPORTS_SHOWN_MAX 64
#define REPORT_NAME_BYTES 192
#define PARAMS_BYTES (2 * CORE_KIB)

struct diag {
    const struct control_call *call;
    bool is_listed; /* the list is what was asked for */
    char shown[REPORTS_SHOWN_MAX][REPORT_NAME_BYTES];
    size_t shown_len;
    const struct core_json_tree *nodes[REPORTS_SHOWN_MAX]; /* of the reports above; valid during on_list() */
};

static void list_print(const struct diag *diag, const struct core_json_tree *result) {
    static const struct control_column columns[] = {
        {.title = "Report", .member = "name"},
        {.title = "Node", .member = "node"},
        {.title = "End", .member = "end"},
        {.title = "Diagnosis", .member = "text"},
    };
    if (control_is_json(diag->call)) {
        json_tree_print(stdout, result);
        (void)fputc('\n', stdout);
    } else {
        control_table_print(core_json_tree_get(result, "reports"), columns, sizeof(columns) / sizeof(columns[0]));
    }
}

static bool is_seen(const struct diag *diag, struct core_span node) {
    for (size_t i = 0; i < diag->shown_len; i++) {
        if (core_span_eq(core_json_tree_text(diag->nodes[i], "node"), node)) {
            return true;
        }
    }
    return false;
}

/* The list is newest first: the first of a node is its newest. */
static int on_list(void *ctx, const struct core_json_tree *result) {
    struct diag *diag = ctx;
    const struct core_json_tree *reports = core_json_tree_get(result, "reports");
    const struct core_json_tree *first = reports == NULL ? NULL : reports->first;
    if (diag->is_listed) {
        list_print(diag, result);
    }
    if (first == NULL && diag->is_listed) {
        (void)fprintf(stderr, "tapline diag: there is no crash report%s\n",
                      diag->call->args.files_len > 0 ? " of these nodes" : "");
        return CORE_EXIT_NO;
    }
    for (const struct core_json_tree *report = first; report != NULL && !diag->is_listed; report = report->next) {
        struct core_span name = core_json_tree_text(report, "name");
        if (diag->shown_len < REPORTS_SHOWN_MAX && !is_seen(diag, core_json_tree_text(report, "node"))) {
            diag->nodes[diag->shown_len] = report;
            (void)snprintf(diag->shown[diag->shown_len++], REPORT_NAME_BYTES, "%.*s", (int)name.len, name.ptr);
        }
    }
    return CORE_EXIT_DONE;
}

static int on_report(void *ctx, const struct core_json_tree *result) {
    const struct diag *diag = ctx;
    if (control_is_json(diag->call)) {
        json_tree_print(stdout, result);
        (void)fputc('\n', stdout);
    } else {
        struct core_span text = core_json_tree_text(result, "text");
        control_text_print(text);
        if (text.len > 0 && text.ptr[text.len - 1] != '\n') {
            (void)fputc('\n', stdout);
        }
    }
    return CORE_EXIT_DONE;
}

static int report_show(struct diag *diag, const char *name) {
    char params[PARAMS_BYTES];
    struct core_buf out = {.start = params, .pos = params, .end = params + sizeof(params)};
    core_buf_span(&out, CORE_SPAN("{\"report\":"));
    core_buf_string(&out, core_span_of(name));
    core_buf_char(&out, '}');
    if (out.is_full) {
        (void)fprintf(stderr, "tapline diag: no report has such a long name; `tapline diag` lists them\n");
        return CORE_EXIT_USAGE;
    }
    const struct control_question question = {"diag.show", core_buf_written(&out), on_report, diag, false};
    return control_ask(diag->call->control, &question);
}

/* Words that no report is of as nodes: names of reports, or Main says what is wrong with them. */
static int words_show(struct diag *diag) {
    int code = CORE_EXIT_DONE;
    for (int i = 0; i < diag->call->args.files_len && code == CORE_EXIT_DONE; i++) {
        code = report_show(diag, diag->call->args.files[i]);
    }
    return code == CORE_EXIT_USAGE ? CORE_EXIT_NO : code;
}

int control_run_diag(const struct control_call *call) {
    struct diag diag = {.call = call, .is_listed = call->args.files_len == 0 || control_value(call, "list") != NULL};
    struct core_span params = control_params(call, call->args.files, call->args.files_len);
    const struct control_question question = {"diag.list", params, on_list, &diag, false};
    int code = control_ask(call->control, &question);
    free((void *)(uintptr_t)params.ptr);
    if (code != CORE_EXIT_DONE || diag.is_listed) {
        return code;
    }
    if (diag.shown_len == 0) {
        return words_show(&diag);
    }
    for (size_t i = 0; i < diag.shown_len && code == CORE_EXIT_DONE; i++) {
        code = report_show(&diag, diag.shown[i]);
    }
    return code;
}
