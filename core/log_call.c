/* core/log_call.c: method `log.level` of every process's control channel: what is told on its stderr, changed while it runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/rpc.h"

#include <stdio.h>

#define STAGE_BYTES_MAX 31
#define LEVELS_TEXT_BYTES 1024 /* CORE_LOG_STAGES_MAX stages and their levels */

static void answer(struct core_rpc_request *request) {
    char text[LEVELS_TEXT_BYTES];
    char json[2 * LEVELS_TEXT_BYTES];
    struct core_buf buf = {.start = json, .pos = json, .end = json + sizeof(json)};
    core_log_level_text(text, sizeof(text));
    core_buf_span(&buf, CORE_SPAN("{\"level\":"));
    core_buf_string(&buf, core_span_of(text));
    core_buf_char(&buf, '}');
    MUST(!buf.is_full);
    core_rpc_result(request, core_buf_written(&buf));
}

/* Returns false: it is none, and there is an answer. */
static bool level_read(struct core_rpc_request *request, struct core_span text, enum core_level *level) {
    for (int i = 0; core_level_names[i] != NULL; i++) {
        if (core_span_is(text, core_level_names[i])) {
            *level = (enum core_level)i;
            return true;
        }
    }
    core_rpc_refuse(request, CORE_RPC_BAD_PARAMS,
                    "level is one of error, warn, info, debug, or file for what the configuration says");
    return false;
}

/* A stage's name goes into messages: letters, digits and dashes. */
static bool stage_read(struct core_rpc_request *request, struct core_span text, char stage[STAGE_BYTES_MAX + 1]) {
    bool is_name = text.len > 0 && text.len <= STAGE_BYTES_MAX;
    for (size_t i = 0; i < text.len && is_name; i++) {
        char c = text.ptr[i];
        is_name = (c >= 'a' && c <= 'z') || core_is_digit(c) || c == '_' || c == '-' || c == '.';
    }
    if (!is_name) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS,
                        "stage is the third word of a line of the log, such as ingest, kafka or serve");
        return false;
    }
    memcpy(stage, text.ptr, text.len);
    stage[text.len] = '\0';
    return true;
}

void core_rpc_log_level(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    (void)ctx;
    struct core_span wanted = core_json_tree_text(params, "level");
    struct core_span of = core_json_tree_text(params, "stage");
    enum core_level level = CORE_LEVEL_INFO;
    char stage[STAGE_BYTES_MAX + 1] = "";
    bool is_reset = core_span_is(wanted, "file");
    if (core_json_tree_get(params, "level") == NULL) {
        answer(request);
        return;
    }
    if ((!is_reset && !level_read(request, wanted, &level)) ||
        (core_json_tree_get(params, "stage") != NULL && !stage_read(request, of, stage))) {
        return;
    }
    if (is_reset) {
        core_log_level_reset();
    }
    struct core_fail fail;
    if (!is_reset && core_log_level_now(stage[0] != '\0' ? stage : NULL, level, &fail) != CORE_OK) {
        core_rpc_refuse(request, CORE_RPC_REFUSED, "%s: %s", fail.where, fail.text);
        return;
    }
    char text[LEVELS_TEXT_BYTES];
    core_log_level_text(text, sizeof(text));
    core_log(CORE_LEVEL_INFO, "log", "what is told changes", "level=\"%s\" by=\"%s\"", text,
             core_rpc_request_who(request));
    answer(request);
}
