/* supervisor/deploy_tell.c: what a deploy says: its progress to who asked, its end to all who listen, its answer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/deploy_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define ANSWER_BYTES (4 * CORE_MIB)

const struct sensors_node *deploy_target(const struct deploy *deploy, const struct deploy_row *row) {
    return deploy->is_back ? row->from : row->to;
}

void deploy_progress(struct deploy *deploy, const char *name, const char *state, const char *reason) {
    char bytes[4096];
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    if (deploy->request == NULL) {
        return;
    }
    core_json_put_text(&out, "name", core_span_of(name));
    core_json_put_text(&out, "state", core_span_of(state));
    core_json_put_text(&out, "reason", core_span_of(reason));
    if (!out.is_full) {
        core_rpc_progress(deploy->request, core_buf_written(&out));
    }
}

void deploy_event_tell(struct deploy *deploy, const char *text) {
    char bytes[4096];
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    core_buf_span(&out, CORE_SPAN("\"kind\":\"deploy\""));
    core_json_put_bool(&out, "ok", !deploy->has_failed);
    core_json_put_text(&out, "text", core_utf8_cut(core_span_of(text), sizeof(bytes) / 4));
    if (!out.is_full) {
        serve_event(deploy->serve, core_buf_written(&out));
    }
}

static void changes_put(const struct deploy *deploy, struct core_buf *out) {
    bool is_first = true;
    core_buf_span(out, CORE_SPAN(",\"changes\":["));
    for (size_t i = 0; i < deploy->rows_len; i++) {
        const struct deploy_row *row = &deploy->rows[i];
        if (row->change == DEPLOY_SAME) {
            continue;
        }
        core_buf_put(out, ",{", is_first ? 0 : 1);
        core_buf_char(out, '{');
        is_first = false;
        core_json_put_text(out, "name", core_span_of(row->name));
        core_json_put_text(out, "change", core_span_of(deploy_change_names[row->change]));
        core_json_put_text(out, "why", core_span_of(row->members));
        core_buf_char(out, '}');
    }
    core_buf_char(out, ']');
}

static void file_put(struct core_buf *out, const struct sensors_file *file, enum deploy_change change, bool *is_first) {
    core_buf_put(out, ",", *is_first ? 0 : 1);
    *is_first = false;
    core_buf_char(out, '{');
    core_json_put_text(out, "path", core_span_of(file->path));
    core_json_put_text(out, "change", core_span_of(deploy_change_names[change]));
    core_buf_char(out, '}');
}

static void files_put(const struct deploy *deploy, struct core_buf *out) {
    bool is_first = true;
    core_buf_span(out, CORE_SPAN(",\"files\":["));
    for (size_t i = 0; i < deploy->to.files_len; i++) {
        const struct sensors_file *file = &deploy->to.files[i];
        const struct sensors_file *old = deploy_file_find(&deploy->from, file->path);
        if (old == NULL || !core_span_eq(old->content, file->content)) {
            file_put(out, file, old == NULL ? DEPLOY_ADDED : DEPLOY_CHANGED, &is_first);
        }
    }
    for (size_t i = 0; i < deploy->from.files_len; i++) {
        if (deploy_file_find(&deploy->to, deploy->from.files[i].path) == NULL) {
            file_put(out, &deploy->from.files[i], DEPLOY_REMOVED, &is_first);
        }
    }
    core_buf_char(out, ']');
}

static void nodes_put(const struct deploy *deploy, struct core_buf *out) {
    bool is_first = true;
    core_buf_span(out, CORE_SPAN(",\"nodes\":["));
    for (size_t i = 0; i < deploy->rows_len; i++) {
        const struct deploy_row *row = &deploy->rows[i];
        if (!row->is_touched) {
            continue;
        }
        core_buf_put(out, ",", is_first ? 0 : 1);
        is_first = false;
        core_buf_char(out, '{');
        core_json_put_text(out, "name", core_span_of(row->name));
        core_json_put_text(out, "state", core_span_of(supervisor_state_names[row->state]));
        core_json_put_bool(out, "ok", !row->is_failed);
        core_json_put_text(out, "reason", core_span_of(row->text));
        core_buf_char(out, '}');
    }
    core_buf_char(out, ']');
}

/* What became of it, for people; "" for what went as it should. */
static void text_put(const struct deploy *deploy, struct core_buf *out) {
    char text[sizeof(deploy->failed) + sizeof(deploy->back_failed) + 128];
    (void)snprintf(text, sizeof(text), "%s%s%s", deploy->failed,
                   !deploy->is_back || deploy->is_cut ? ""
                   : deploy->back_failed[0] == '\0'   ? "; all is as it was before"
                                                      : "; on the way back, too, something failed: ",
                   deploy->back_failed);
    core_json_put_text(out, "text", core_span_of(text));
}

void deploy_answer(struct deploy *deploy) {
    if (deploy->request == NULL) {
        return;
    }
    char *bytes = malloc(ANSWER_BYTES);
    MUST(bytes != NULL);
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + ANSWER_BYTES};
    core_buf_char(&out, '{');
    core_json_put_bool(&out, "ok", !deploy->has_failed);
    core_json_put_bool(&out, "dry_run", deploy->is_dry);
    core_json_put_bool(&out, "rolled_back", deploy->is_back && !deploy->is_cut && deploy->back_failed[0] == '\0');
    text_put(deploy, &out);
    if (!deploy->is_check_only) {
        changes_put(deploy, &out);
        files_put(deploy, &out);
        nodes_put(deploy, &out);
    }
    core_buf_span(&out, CORE_SPAN(",\"checks\":"));
    if (deploy->check != NULL) {
        deploy_check_put(deploy->check, &out);
    } else {
        core_buf_span(&out, CORE_SPAN("[]"));
    }
    core_buf_span(&out, CORE_SPAN(",\"warnings\":["));
    for (size_t i = 0; i < deploy->to.warnings_len; i++) {
        core_buf_put(&out, ",", i == 0 ? 0 : 1);
        core_buf_string(&out, core_span_of(deploy->to.warnings[i]));
    }
    core_buf_span(&out, CORE_SPAN("]}"));
    if (out.is_full || (size_t)(out.pos - out.start) > CORE_RPC_LINE_BYTES_MAX - CORE_KIB) {
        core_rpc_refuse(deploy->request, CORE_RPC_FAILED, "%s; the answer is too long to be told: see the log",
                        deploy->has_failed ? deploy->failed : "it is done");
    } else {
        core_rpc_result(deploy->request, core_buf_written(&out));
    }
    free(bytes);
}
