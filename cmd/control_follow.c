/* cmd/control_follow.c: `tapline logs` and `tapline events`: what there is, and with -f what comes, until Ctrl-C.
 *
 * A file is read by asking Main for what stands behind the last offset, every 200 ms; files of several nodes are shown by whole
 * lines, each behind its node's name. Events come by themselves. Following goes on across a Main that is replaced or killed:
 * both know where they were (an offset; the run of events and the number in it).
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/control.h"
#include "cmd/json_tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define POLL_NS (200 * CORE_NS_PER_MS)
#define LINES_DEFAULT "20"
#define LINES_MAX 100000
#define FILE_DEFAULT "stdout.log"
#define HELD_BYTES_MAX (256 * CORE_KIB) /* of a line without its end; then it is shown in pieces */
#define INSTANCE_BYTES 64
#define TIME_BYTES 32
#define PARAMS_BYTES (4 * CORE_KIB)

/* ---- logs: one file --------------------------------------------------------------------------------------------------------- */

struct followed {
    char node[128];
    bool is_begun;   /* offset says where to go on */
    bool is_missing; /* said already */
    uint64_t offset;
    int64_t inode;
    char *held; /* the begin of a line whose end has not come yet */
    size_t held_len;
};

struct logs {
    const struct control_call *call;
    const char *file;
    uint64_t lines;
    bool is_follow;
    struct followed *all;
    size_t len;
    struct followed *now; /* the one that is asked for */
    bool is_more;         /* its answer was not all there is */
};

static void line_print(const struct followed *followed, struct core_span line) {
    (void)printf("%s: ", followed->node);
    control_text_print(line);
    (void)fputc('\n', stdout);
}

static void held_print(struct followed *followed) {
    if (followed->held_len > 0) {
        line_print(followed, (struct core_span){followed->held, followed->held_len});
        followed->held_len = 0;
    }
}

/* Text of one of several files: by whole lines, so that they do not mix. */
static void lines_print(struct followed *followed, struct core_span text) {
    while (text.len > 0) {
        const char *end = core_span_chr(text, '\n');
        struct core_span part = {text.ptr, end == NULL ? text.len : (size_t)(end - text.ptr)};
        size_t taken = part.len + (end == NULL ? 0 : 1);
        if (followed->held_len + part.len > HELD_BYTES_MAX) {
            held_print(followed);
        }
        if (end != NULL && followed->held_len == 0) {
            line_print(followed, part);
        } else {
            followed->held = realloc(followed->held, followed->held_len + part.len + 1);
            MUST(followed->held != NULL);
            memcpy(followed->held + followed->held_len, part.ptr, part.len);
            followed->held_len += part.len;
        }
        if (end != NULL) {
            held_print(followed);
        }
        text = (struct core_span){text.ptr + taken, text.len - taken};
    }
}

static int on_text(void *ctx, const struct core_json_tree *result) {
    struct logs *logs = ctx;
    struct followed *followed = logs->now;
    struct core_span text = core_json_tree_text(result, "text");
    int64_t inode = core_json_tree_integer(result, "inode", 0);
    bool is_other = followed->is_begun && inode != followed->inode;
    bool is_cut = followed->is_begun && core_json_tree_integer(result, "size", 0) < (int64_t)followed->offset;
    followed->inode = inode;
    followed->is_missing = false;
    if (is_other || is_cut) { /* what came was read at an offset of another file, or behind the end */
        followed->offset = 0;
        logs->is_more = true;
        return CORE_EXIT_DONE;
    }
    followed->is_begun = true;
    followed->offset = (uint64_t)core_json_tree_integer(result, "next", 0);
    logs->is_more = text.len > 0 && core_json_tree_integer(result, "size", 0) > (int64_t)followed->offset;
    if (control_is_json(logs->call)) {
        json_tree_print(stdout, result);
        (void)fputc('\n', stdout);
    } else if (logs->len == 1) {
        control_text_print(text);
    } else {
        lines_print(followed, text);
    }
    (void)fflush(stdout);
    return ferror(stdout) != 0 ? CORE_EXIT_SYSTEM : CORE_EXIT_DONE;
}

/* Ask once for what is new in one file. */
static int log_ask(struct logs *logs, struct followed *followed) {
    char params[PARAMS_BYTES];
    struct core_buf out = {.start = params, .pos = params, .end = params + sizeof(params)};
    core_buf_span(&out, CORE_SPAN("{\"node\":"));
    core_buf_string(&out, core_span_of(followed->node));
    core_buf_span(&out, CORE_SPAN(",\"file\":"));
    core_buf_string(&out, core_span_of(logs->file));
    core_buf_span(&out, followed->is_begun ? CORE_SPAN(",\"offset\":") : CORE_SPAN(",\"lines\":"));
    core_buf_u64(&out, followed->is_begun ? followed->offset : logs->lines);
    core_buf_char(&out, '}');
    if (out.is_full) {
        (void)fprintf(stderr, "tapline logs: the file's name is too long\n");
        return CORE_EXIT_USAGE;
    }
    logs->now = followed;
    logs->is_more = false;
    bool is_quiet = logs->is_follow && (followed->is_begun || followed->is_missing);
    const struct control_question question = {"logs.read", core_buf_written(&out), on_text, logs, is_quiet};
    return control_ask(logs->call->control, &question);
}

static int log_take(struct logs *logs, struct followed *followed) {
    int code = CORE_EXIT_DONE;
    do {
        code = log_ask(logs, followed);
    } while (code == CORE_EXIT_DONE && logs->is_more && logs->is_follow);
    followed->is_missing = code != CORE_EXIT_DONE;
    return code;
}

/* ---- logs: all of them -------------------------------------------------------------------------------------------------------- */

static int on_nodes(void *ctx, const struct core_json_tree *result) {
    struct logs *logs = ctx;
    const struct core_json_tree *nodes = core_json_tree_get(result, "nodes");
    for (const struct core_json_tree *node = nodes == NULL ? NULL : nodes->first; node != NULL; node = node->next) {
        struct core_span name = core_json_tree_text(node, "name");
        logs->all = realloc(logs->all, (logs->len + 1) * sizeof(*logs->all));
        MUST(logs->all != NULL);
        logs->all[logs->len] = (struct followed){0};
        (void)snprintf(logs->all[logs->len++].node, sizeof(logs->all[0].node), "%.*s", (int)name.len, name.ptr);
    }
    return CORE_EXIT_DONE;
}

static int logs_follow(struct logs *logs) {
    const struct control *control = logs->call->control;
    int first_failure = CORE_EXIT_DONE;
    do {
        for (size_t i = 0; i < logs->len && !control->is_interrupted; i++) {
            int code = log_take(logs, &logs->all[i]);
            if (code == CORE_EXIT_USAGE && !logs->all[i].is_begun) { /* no waiting mends that */
                return code;
            }
            first_failure = first_failure == CORE_EXIT_DONE ? code : first_failure;
        }
    } while (logs->is_follow && !control->is_interrupted && ferror(stdout) == 0 &&
             control_wait(logs->call->control, POLL_NS));
    return logs->is_follow ? CORE_EXIT_DONE : first_failure;
}

int control_run_logs(const struct control_call *call) {
    const char *lines = control_value(call, "lines");
    char *end = NULL;
    int nodes_len = call->args.files_len > 0 ? 1 : 0;
    struct logs logs = {.call = call,
                        .file = call->args.files_len > 1 ? call->args.files[1] : FILE_DEFAULT,
                        .is_follow = control_value(call, "follow") != NULL,
                        .lines = strtoull(lines == NULL ? LINES_DEFAULT : lines, &end, 10)};
    if (*end != '\0' || logs.lines > LINES_MAX || (lines != NULL && !core_is_digit(lines[0]))) {
        (void)fprintf(stderr, "tapline logs: --lines is a number from 0 to %d, not \"%s\"\n", LINES_MAX, lines);
        return CORE_EXIT_USAGE;
    }
    struct core_span params = control_params(call, call->args.files, nodes_len);
    const struct control_question question = {"nodes", params, on_nodes, &logs, false};
    int code = control_ask(call->control, &question);
    if (code == CORE_EXIT_DONE && logs.len == 0) {
        (void)fprintf(stderr, "tapline logs: no node is deployed: tapline deploy\n");
        code = CORE_EXIT_NO;
    } else if (code == CORE_EXIT_DONE) {
        code = logs_follow(&logs);
    }
    for (size_t i = 0; i < logs.len; i++) {
        if (logs.all[i].held_len > 0) {
            held_print(&logs.all[i]);
        }
        free(logs.all[i].held);
    }
    free(logs.all);
    free((void *)(uintptr_t)params.ptr);
    return code;
}

/* ---- events ---------------------------------------------------------------------------------------------------------------------- */

struct events {
    const struct control_call *call;
    char instance[INSTANCE_BYTES]; /* the run of events that seen is a number of */
    uint64_t seen;
    uint64_t wanted;        /* without -f: the last there was when we asked */
    char since[TIME_BYTES]; /* older ones are not shown; "": all */
    bool is_done;
};

static void event_print(const struct core_json_tree *event) {
    char time[TIME_BYTES];
    char texts[6][CONTROL_CELL_BYTES];
    static const char *const members[6] = {"kind", "name", "from", "to", "reason", "text"};
    control_text_of(event, "time", CONTROL_TEXT, time, sizeof(time));
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        control_text_of(event, members[i], CONTROL_TEXT, texts[i], sizeof(texts[i]));
    }
    (void)printf("%s  %-10s %-16s", time, texts[0], texts[1]);
    if (texts[3][0] != '\0') {
        (void)printf(" %s -> %s", texts[2], texts[3]);
    }
    for (size_t i = 4; i < sizeof(members) / sizeof(members[0]); i++) {
        (void)printf("%s%s", texts[i][0] == '\0' ? "" : "  ", texts[i]);
    }
    for (const struct core_json_tree *member = event->first; member != NULL; member = member->next) {
        bool is_known = core_span_is(member->key, "seq") || core_span_is(member->key, "time") ||
                        (core_span_is(member->key, "pid") && core_span_is(member->text, "0"));
        for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
            is_known = is_known || core_span_is(member->key, members[i]);
        }
        if (!is_known && (member->kind == CORE_JSON_STRING || member->kind == CORE_JSON_NUMBER)) {
            char value[CONTROL_CELL_BYTES];
            control_text_of(event, member->key.ptr, CONTROL_TEXT, value, sizeof(value));
            (void)printf("  %.*s=%s", (int)member->key.len, member->key.ptr, value);
        }
    }
    (void)fputc('\n', stdout);
}

static void on_event(void *ctx, const struct core_json_tree *event) {
    struct events *events = ctx;
    char time[TIME_BYTES];
    events->seen = (uint64_t)core_json_tree_integer(event, "seq", 0);
    events->is_done = events->seen >= events->wanted;
    control_text_of(event, "time", CONTROL_TEXT, time, sizeof(time));
    if (strcmp(time, events->since) < 0) {
        return;
    }
    if (control_is_json(events->call)) {
        json_tree_print(stdout, event);
        (void)fputc('\n', stdout);
    } else {
        event_print(event);
    }
    (void)fflush(stdout);
}

static int on_subscribed(void *ctx, const struct core_json_tree *result) {
    struct events *events = ctx;
    struct core_span instance = core_json_tree_text(result, "instance");
    if (!core_span_is(instance, events->instance)) {
        (void)snprintf(events->instance, sizeof(events->instance), "%.*s", (int)instance.len, instance.ptr);
        events->seen = 0;
    }
    uint64_t next = (uint64_t)core_json_tree_integer(result, "next", 0);
    uint64_t first = (uint64_t)core_json_tree_integer(result, "first", 0);
    events->wanted = next > 0 ? next - 1 : 0;
    events->is_done = first >= next || events->seen >= events->wanted;
    return CORE_EXIT_DONE;
}

static int subscribe(struct events *events, bool is_quiet) {
    char params[PARAMS_BYTES];
    struct core_buf out = {.start = params, .pos = params, .end = params + sizeof(params)};
    core_buf_span(&out, CORE_SPAN("{\"since\":"));
    core_buf_u64(&out, events->seen);
    if (events->instance[0] != '\0') {
        core_buf_span(&out, CORE_SPAN(",\"instance\":"));
        core_buf_string(&out, core_span_of(events->instance));
    }
    core_buf_char(&out, '}');
    MUST(!out.is_full);
    const struct control_question question = {"events.subscribe", core_buf_written(&out), on_subscribed, events,
                                              is_quiet};
    return control_ask(events->call->control, &question);
}

/* Until all that was there has come, or for ever; a Main that goes away is looked for until there is one again. */
static int events_wait(struct events *events, bool is_follow) {
    struct control *control = events->call->control;
    bool is_said = false;
    while ((is_follow || !events->is_done) && ferror(stdout) == 0) {
        if (!control_wait(control, POLL_NS)) {
            return is_follow ? CORE_EXIT_DONE : CORE_EXIT_NO;
        }
        if (control->client != NULL && !control->is_closed) {
            continue;
        }
        if (!is_follow) {
            (void)fprintf(stderr, "tapline events: Main went away before all events had come; ask again\n");
            return CORE_EXIT_SYSTEM;
        }
        if (subscribe(events, true) == CORE_EXIT_DONE) {
            is_said = false;
        } else if (!is_said) {
            (void)fprintf(stderr, "tapline events: Main went away; following goes on when there is one again\n");
            is_said = true;
        }
    }
    return CORE_EXIT_DONE;
}

int control_run_events(const struct control_call *call) {
    struct events events = {.call = call};
    const char *since = control_value(call, "since");
    int64_t since_ns = 0;
    if (since != NULL && (!cmd_since_parse(since, &since_ns) || !core_time_iso(since_ns, events.since))) {
        (void)fprintf(stderr,
                      "tapline events: --since is how long ago (10m, 24h) or when (2026-11-21, 2026-11-21T03:00:00Z), "
                      "not \"%s\"\n",
                      since);
        return CORE_EXIT_USAGE;
    }
    struct control *control = call->control;
    control->on_event = on_event;
    control->event_ctx = &events;
    int code = subscribe(&events, false);
    if (code == CORE_EXIT_DONE) {
        code = events_wait(&events, control_value(call, "follow") != NULL);
    }
    control->on_event = NULL;
    if (control->is_shell && control->client != NULL && !control->is_closed) {
        const struct control_question end = {"events.unsubscribe", {0}, on_subscribed, &events, true};
        if (control_ask(control, &end) != CORE_EXIT_DONE) {
            (void)fprintf(stderr, "tapline events: Main goes on telling of events; they are not shown\n");
        }
    }
    return code;
}
