/* cmd/control.c: runs one row of the table: where Main is, the words as params, the result on stdout, the exit code.
 *
 * Exit codes: 0 all is well · 1 the answer is no (a node is not up, a start failed, Main refused) · 100 called wrongly (also: no
 * such node) · 111 Main does not answer, or the system failed underneath.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/control.h"
#include "cmd/json_tree.h"
#include "supervisor/serve.h"

#include <stdio.h>
#include <stdlib.h>

#define MEMBERS_BYTES 1024 /* of what a row puts beside nodes, with one option's text */
#define JSON_ESCAPE 6

const char *control_value(const struct control_call *call, const char *name) {
    const struct cmd_option *options = call->row->cmd->options;
    for (size_t i = 0; options[i].name != NULL; i++) {
        if (strcmp(options[i].name, name) == 0) {
            return call->args.values[i];
        }
    }
    return NULL;
}

bool control_is_json(const struct control_call *call) {
    return control_value(call, "json") != NULL;
}

const struct control_row *control_row_find(const char *name) {
    for (size_t i = 0; i < control_rows_len; i++) {
        if (strcmp(control_rows[i].cmd->name, name) == 0) {
            return &control_rows[i];
        }
    }
    return NULL;
}

/* ---- where Main is ------------------------------------------------------------------------------------------------------------ */

/* Returns false: the text is too long; said. */
static bool text_take(char *out, size_t out_len, const char *text, const char *what) {
    int len = snprintf(out, out_len, "%s", text);
    if (len < 0 || (size_t)len >= out_len) {
        (void)fprintf(stderr, "tapline: %s is longer than %zu bytes\n", what, out_len - 1);
        return false;
    }
    return true;
}

/* serve.socket and serve.token of a configuration. The rest of the file is not looked at: sensors are to be asked about also
 * while somebody is at work on it. */
static bool config_take(struct control *control, const char *path) {
    struct core_conf_mistakes mistakes = {0};
    struct core_conf_file *file = NULL;
    struct serve_conf serve = {0};
    bool is_taken = false;
    if (core_conf_open(&file, path, &mistakes.fails[0]) != CORE_OK) {
        mistakes.len = 1;
        goto out;
    }
    const struct core_conf_node *node = core_conf_get(core_conf_root(file), "serve");
    is_taken = core_conf_bind(file, node, "serve", serve_opts, serve_opts_len, &serve, &mistakes) == CORE_OK &&
               text_take(control->address, sizeof(control->address), serve.socket, "serve.socket") &&
               (serve.token == NULL || text_take(control->token, sizeof(control->token), serve.token, "serve.token"));
out:
    cmd_print_mistakes(&mistakes);
    core_conf_release(serve_opts, serve_opts_len, &serve);
    core_conf_close(file);
    return is_taken;
}

bool control_locate(struct control *control, const char *socket_path, const char *config_path, int *exit_code) {
    const char *token = getenv("TAPLINE_TOKEN");
    const char *path = socket_path != NULL ? socket_path : getenv("TAPLINE_SOCKET");
    *exit_code = CORE_EXIT_USAGE;
    bool is_said = path != NULL && path[0] != '\0';
    if (config_path != NULL && !config_take(control, config_path)) {
        return false;
    }
    if (!is_said && config_path == NULL) {
        path = CONTROL_SOCKET;
        is_said = true;
    }
    if (is_said && !text_take(control->address, sizeof(control->address), path, "the socket's path")) {
        return false;
    }
    return token == NULL || token[0] == '\0' ||
           text_take(control->token, sizeof(control->token), token, "$TAPLINE_TOKEN");
}

/* ---- params --------------------------------------------------------------------------------------------------------------------- */

struct core_span control_params(const struct control_call *call, char **words, int words_len) {
    size_t room = MEMBERS_BYTES;
    for (size_t i = 0; call->row->cmd->options[i].name != NULL; i++) {
        room += call->args.values[i] == NULL ? 0 : strlen(call->args.values[i]) * JSON_ESCAPE;
    }
    for (int i = 0; i < words_len; i++) {
        room += strlen(words[i]) * JSON_ESCAPE + sizeof(",\"\"");
    }
    char *bytes = malloc(room);
    MUST(bytes != NULL);
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + room};
    core_buf_char(&out, '{');
    for (int i = 0; i < words_len; i++) {
        core_buf_span(&out, i == 0 ? CORE_SPAN("\"nodes\":[") : CORE_SPAN(","));
        core_buf_string(&out, core_span_of(words[i]));
    }
    core_buf_put(&out, "]", words_len > 0 ? 1 : 0);
    if (call->row->params != NULL) {
        char *before = out.pos;
        core_buf_put(&out, ",", words_len > 0 ? 1 : 0);
        char *begin = out.pos;
        call->row->params(call, &out);
        out.pos = out.pos == begin ? before : out.pos;
    }
    core_buf_char(&out, '}');
    MUST(!out.is_full);
    return core_buf_written(&out);
}

/* "-KILL", "-9": the signal of kill, taken out of the words before options are read, as kill(1) has it. */
static int signal_take(struct control_call *call, int argc, char **argv) {
    int len = 0;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        bool is_signal = i > 0 && word[0] == '-' && ((word[1] >= 'A' && word[1] <= 'Z') || core_is_digit(word[1]));
        if (is_signal) {
            call->signal = word + 1;
        } else {
            argv[len++] = argv[i];
        }
    }
    return len;
}

/* ---- one command ------------------------------------------------------------------------------------------------------------------ */

static int on_result(void *ctx, const struct core_json_tree *result) {
    const struct control_call *call = ctx;
    if (control_is_json(call)) {
        json_tree_print(stdout, result);
        (void)fputc('\n', stdout);
    } else {
        call->row->print(call, result);
    }
    (void)fflush(stdout); /* main() looks at the stream's error at the end */
    return call->row->judge == NULL ? CORE_EXIT_DONE : call->row->judge(result);
}

/* Are these as many words as the row takes? */
static bool words_are_right(const struct control_call *call) {
    const struct control_row *row = call->row;
    const char *name = row->cmd->name;
    if (row->words == CONTROL_NODES_NEEDED && call->args.files_len == 0) {
        (void)fprintf(stderr, "tapline %s: which nodes? names, groups, types (`tapline nodes` has them) or all\n",
                      name);
        return false;
    }
    if (row->words == CONTROL_NODE_FILE && call->args.files_len > 2) {
        (void)fprintf(stderr, "tapline %s: takes a node and a file of it, but \"%s\" was given, too\n", name,
                      call->args.files[2]);
        return false;
    }
    return true;
}

static int call_do(struct control_call *call) {
    if (!words_are_right(call)) {
        return CORE_EXIT_USAGE;
    }
    if (call->row->run != NULL) {
        return call->row->run(call);
    }
    const char *method = call->row->method_of == NULL ? call->row->method : call->row->method_of(call);
    if (method == NULL) {
        return CORE_EXIT_USAGE;
    }
    struct core_span params = control_params(call, call->args.files, call->args.files_len);
    const struct control_question question = {method, params, on_result, call, false};
    int code = control_ask(call->control, &question);
    free((void *)(uintptr_t)params.ptr);
    return code;
}

/* Read what was given. Returns false: *code is all there is to it. */
static bool call_read(struct control_call *call, int argc, char **argv, int *code) {
    argc = call->row->takes_signal ? signal_take(call, argc, argv) : argc;
    return cmd_parse(call->row->cmd, argc, argv, &call->args, code);
}

int control_run(struct control *control, const struct control_row *row, int argc, char **argv) {
    struct control_call call = {.control = control, .row = row};
    int code = CORE_EXIT_USAGE;
    if (!call_read(&call, argc, argv, &code)) {
        return code;
    }
    if (control_value(&call, "socket") != NULL || control_value(&call, "config") != NULL) {
        (void)fprintf(stderr,
                      "tapline %s: which Main the shell talks to was said when it was started: tapline shell "
                      "--socket PATH\n",
                      row->cmd->name);
        return CORE_EXIT_USAGE;
    }
    return call_do(&call);
}

int control_main(const struct cmd *cmd, int argc, char **argv) {
    struct control control = {0};
    struct control_call call = {.control = &control, .row = control_row_find(cmd->name)};
    int code = CORE_EXIT_USAGE;
    MUST(call.row != NULL);
    if (!call_read(&call, argc, argv, &code) ||
        !control_locate(&control, control_value(&call, "socket"), control_value(&call, "config"), &code)) {
        return code;
    }
    code = control_open(&control) ? call_do(&call) : CORE_EXIT_SYSTEM;
    control_close(&control);
    return code;
}

/* For control_check_sensors(): kept instead of printed. */
static int on_checked(void *ctx, const struct core_json_tree *result) {
    char **json = ctx;
    size_t len = 0;
    FILE *out = open_memstream(json, &len);
    MUST(out != NULL);
    json_tree_print(out, result);
    MUST(fclose(out) == 0);
    return control_judge_check(result);
}

int control_check_sensors(const char *config_path, char **json) {
    struct control control = {0};
    struct control_call call = {.control = &control, .row = control_row_find("check")};
    int code = CORE_EXIT_USAGE;
    MUST(call.row != NULL);
    if (!control_locate(&control, NULL, config_path, &code)) {
        return code;
    }
    code = CORE_EXIT_SYSTEM;
    if (control_open(&control)) {
        const struct control_question question = {call.row->method, {0}, on_checked, json, false};
        code = json == NULL ? call_do(&call) : control_ask(&control, &question);
    }
    control_close(&control);
    return code;
}
