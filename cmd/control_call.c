/* cmd/control_call.c: one session with Main: the connection, one question at a time, its progress, and Ctrl-C.
 *
 * SIGINT is blocked for the life of the process and read from a descriptor, so that Ctrl-C ends the waiting, not the session:
 * in the shell the prompt comes back, and what was asked of Main goes on there. A connection that has ended is made anew by the
 * next question; Main may be replaced at any time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/control.h"

#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define LINE_BYTES 1024
#define ROUNDS 4 /* of the loop: an end is noticed in one and told in a later one */

/* ---- progress --------------------------------------------------------------------------------------------------------------- */

static void progress_clear(struct control *control) {
    if (control->progress.is_shown) {
        (void)fputs("\r\033[K", stderr);
        (void)fflush(stderr);
        control->progress.is_shown = false;
    }
}

/* On a terminal cut to one line: what is longer could not be taken back. */
static void progress_show(struct control *control, char *line) {
    control_text_clean(line);
    if (!control->progress.is_terminal) {
        (void)fprintf(stderr, "%s\n", line);
        return;
    }
    size_t columns = control_terminal_columns(STDERR_FILENO);
    struct core_span shown = core_utf8_cut(core_span_of(line), columns > 1 ? columns - 1 : LINE_BYTES);
    (void)fprintf(stderr, "\r\033[K%.*s", (int)shown.len, shown.ptr);
    (void)fflush(stderr);
    control->progress.is_shown = true;
}

/* {"name":…,"state":…,"reason":…} of a node, or {"text":…} of a step; each may have more. */
static void on_progress(void *ctx, struct core_span id CORE_UNUSED, const struct core_json_tree *params) {
    struct core_span name = core_json_tree_text(params, "name");
    struct core_span state = core_json_tree_text(params, "state");
    struct core_span text = core_json_tree_text(params, "text");
    struct core_span reason = core_json_tree_text(params, "reason");
    struct core_span said = text.len > 0 ? text : reason;
    char line[LINE_BYTES];
    (void)snprintf(line, sizeof(line), "%.*s%s%.*s%s%.*s", (int)name.len, name.ptr == NULL ? "" : name.ptr,
                   name.len > 0 && state.len + said.len > 0 ? ": " : "", (int)state.len,
                   state.ptr == NULL ? "" : state.ptr, state.len > 0 && said.len > 0 ? ", " : "", (int)said.len,
                   said.ptr == NULL ? "" : said.ptr);
    if (line[0] != '\0') {
        progress_show(ctx, line);
    }
}

/* ---- the session -------------------------------------------------------------------------------------------------------------- */

bool control_open(struct control *control) {
    struct core_fail fail = {0};
    sigset_t interrupt;
    control->interrupt_fd = -1;
    control->progress.is_terminal = isatty(STDERR_FILENO) == 1;
    if (core_loop_new(&control->loop, &fail) != CORE_OK) {
        (void)fprintf(stderr, "tapline: %s: %s\n", fail.where, fail.text);
        return false;
    }
    (void)sigemptyset(&interrupt);
    (void)sigaddset(&interrupt, SIGINT);
    if (sigprocmask(SIG_BLOCK, &interrupt, NULL) == 0) {
        control->interrupt_fd = signalfd(-1, &interrupt, SFD_CLOEXEC | SFD_NONBLOCK);
    }
    if (control->interrupt_fd < 0) {
        perror("tapline: Ctrl-C cannot be listened to");
        return false;
    }
    return true;
}

static void control_disconnect(struct control *control) {
    core_rpc_client_free(control->client);
    control->client = NULL;
    control->is_closed = false;
}

void control_close(struct control *control) {
    if (control->loop != NULL) {
        control_disconnect(control);
        core_loop_free(control->loop);
        control->loop = NULL;
    }
    if (control->interrupt_fd > 0) {
        (void)close(control->interrupt_fd);
        control->interrupt_fd = -1;
    }
}

static void on_event(void *ctx, const struct core_json_tree *params) {
    struct control *control = ctx;
    if (control->on_event != NULL) {
        control->on_event(control->event_ctx, params);
    }
}

static void on_closed(void *ctx, const struct core_fail *why CORE_UNUSED) {
    struct control *control = ctx;
    control->is_closed = true; /* who waited was told before */
}

static const struct core_rpc_client_calls client_calls = {
    .on_event = on_event, .on_progress = on_progress, .on_closed = on_closed};

enum core_err control_connect(struct control *control, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    /* Did it end while nobody looked, at the prompt? */
    for (int i = 0; i < ROUNDS && control->client != NULL && err == CORE_OK && !control->is_closed; i++) {
        err = core_loop_once(control->loop, 0, fail);
    }
    if (err != CORE_OK || control->is_closed) {
        control_disconnect(control);
    }
    if (control->client != NULL) {
        return CORE_OK;
    }
    return core_rpc_client_new(&control->client, control->loop, control->address,
                               control->token[0] == '\0' ? NULL : control->token, &client_calls, control, fail);
}

int control_tell_unreachable(const struct control *control, const struct core_fail *fail) {
    (void)fprintf(
        stderr,
        "tapline: Main does not answer at %s: %s\n"
        "  Sensors run on without it. Start it: systemctl start tapline (or rc-service tapline start, or tapline "
        "serve -c FILE);\n  if it listens elsewhere, say where: --socket PATH, or -c FILE.\n",
        control->address, fail->text);
    return CORE_EXIT_SYSTEM;
}

/* ---- waiting ------------------------------------------------------------------------------------------------------------------ */

static void on_interrupt(void *ctx, uint32_t events CORE_UNUSED) {
    struct control *control = ctx;
    struct signalfd_siginfo info;
    while (read(control->interrupt_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        control->is_interrupted = true;
    }
}

/* Run the loop until *is_done, Ctrl-C, or the tick deadline_ns (0: none). */
static enum core_err wait_until(struct control *control, const bool *is_done, int64_t deadline_ns,
                                struct core_fail *fail) {
    struct core_watch *watch = NULL;
    control->is_interrupted = false;
    enum core_err err =
        core_loop_watch(control->loop, control->interrupt_fd, EPOLLIN, on_interrupt, control, &watch, fail);
    while (err == CORE_OK && !*is_done && !control->is_interrupted) {
        int64_t left_ns = deadline_ns == 0 ? -1 : deadline_ns - core_tick_ns();
        if (deadline_ns != 0 && left_ns <= 0) {
            break;
        }
        err = core_loop_once(control->loop, left_ns, fail);
    }
    core_loop_unwatch(watch);
    return err;
}

bool control_wait(struct control *control, int64_t timeout_ns) {
    struct core_fail fail = {0};
    enum core_err err = wait_until(control, &control->is_closed, core_tick_ns() + timeout_ns, &fail);
    MUST(err == CORE_OK || fail.err != CORE_OK);
    return err == CORE_OK && !control->is_interrupted;
}

/* ---- one question --------------------------------------------------------------------------------------------------------------- */

/* Lives until the answer came; if nobody waits for that any more the connection is closed. */
struct asking {
    struct control *control;
    const struct control_question *question;
    int code;
    bool is_answered;
};

static int exit_of(int64_t code) {
    switch (code) {
    case CORE_RPC_BAD_PARAMS:
    case CORE_RPC_UNKNOWN:
        return CORE_EXIT_USAGE;
    case CORE_RPC_REFUSED:
        return CORE_EXIT_NO;
    default:
        return CORE_EXIT_SYSTEM;
    }
}

static void tell_refused(const struct asking *asking, const struct core_rpc_answer *answer) {
    char text[LINE_BYTES];
    if (answer->code == 0) {
        (void)snprintf(
            text, sizeof(text),
            "Main went away before it answered; what it had begun may be half done: see `tapline status`, and "
            "ask again");
    } else if (answer->code == CORE_RPC_NO_METHOD) {
        (void)snprintf(text, sizeof(text),
                       "the Main that runs knows no method \"%s\": it is of another version; restart it (no sensor is "
                       "touched by that)",
                       asking->question->method);
    } else {
        (void)snprintf(text, sizeof(text), "%.*s", (int)answer->text.len, answer->text.ptr);
    }
    control_text_clean(text);
    (void)fprintf(stderr, "tapline: %s\n", text);
}

static void on_answer(void *ctx, const struct core_rpc_answer *answer) {
    struct asking *asking = ctx;
    asking->is_answered = true;
    progress_clear(asking->control);
    if (answer->result != NULL) {
        asking->code = asking->question->on_result(asking->question->ctx, answer->result);
        return;
    }
    asking->code = exit_of(answer->code);
    if (!asking->question->is_quiet) {
        tell_refused(asking, answer);
    }
}

int control_ask(struct control *control, const struct control_question *question) {
    struct core_fail fail = {0};
    struct asking asking = {.control = control, .question = question};
    control->is_interrupted = false;
    enum core_err err = control_connect(control, &fail);
    if (err != CORE_OK) {
        return question->is_quiet ? CORE_EXIT_SYSTEM : control_tell_unreachable(control, &fail);
    }
    (void)core_rpc_call(control->client, question->method, question->params, on_answer, &asking);
    err = wait_until(control, &asking.is_answered, 0, &fail);
    progress_clear(control);
    if (!asking.is_answered || control->is_closed) {
        control_disconnect(control); /* an answer to nobody would come on it */
    }
    if (asking.is_answered) {
        return asking.code;
    }
    if (err != CORE_OK) {
        (void)fprintf(stderr, "tapline: %s: %s\n", fail.where, fail.text);
        return CORE_EXIT_SYSTEM;
    }
    if (!question->is_quiet) {
        (void)fprintf(stderr,
                      "tapline: not waited for any more; Main goes on with it: `tapline status`, `tapline events`\n");
    }
    return CORE_EXIT_NO;
}
