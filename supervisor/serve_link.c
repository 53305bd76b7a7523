/* supervisor/serve_link.c: Main's line to the Supervisor, and the mirror of what it said.
 *
 * Steps of a new line: hello (another protocol is refused) · process.list, so that there are processes to speak of ·
 * events.subscribe since the last event that any Main has seen · process.list again: a line is in order, so this list is
 * newer than every event that was sent after it was asked for, and older than none before; it is the mirror from then on, and
 * events move it. Then the Supervisor is told of deployed nodes that it has not, or has otherwise. A line that is lost is
 * looked for every RETRY_NS; if nobody is there a Supervisor is started, detached: it outlives us.
 *
 * <state>/events.seen has the number of the last event that was seen and followed up, so that a death while no Main was
 * there is reported by the next one. It lags behind, never ahead.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RETRY_NS (50 * CORE_NS_PER_MS)
#define RETRY_STRANGER_NS (5 * CORE_NS_PER_S) /* somebody answers, in a way that we cannot use */
#define RELIST_NS (20 * CORE_NS_PER_MS)
#define SEEN_NS CORE_NS_PER_S
#define START_DELAY_MIN_NS (500 * CORE_NS_PER_MS)
#define START_DELAY_MAX_NS (30 * CORE_NS_PER_S)
#define TELL_AFTER_NS (2 * CORE_NS_PER_S) /* a Supervisor that takes longer to answer is told to people once more */
#define SEEN_BYTES_MAX 256
#define PATH_BYTES_MAX 4096
#define EVENT_BYTES_MAX (64 * CORE_KIB)
#define SPEC_ARENA_BYTES (4 * CORE_MIB)

/* A question without a line to ask it by: answered from the loop, as all are. */
struct unasked {
    struct serve_line *line;
    struct unasked *next;
    struct core_timer timer;
    core_rpc_on_answer *on_answer;
    void *ctx;
};

struct serve_line {
    struct serve *serve;
    struct core_timer relist_timer;
    struct core_timer seen_timer;
    struct unasked *unasked;
    struct core_arena arena; /* for specs that are read; reset after each */
    uint64_t seen_written;   /* what events.seen has */
    char hello_instance[64]; /* of the Supervisor that is there */
    int64_t lost_ns;         /* core_tick_ns() when the line was lost; 0: there is one */
    int64_t start_due_ns;    /* core_tick_ns(): not before it is one more Supervisor started */
    int64_t start_delay_ns;
    int64_t retry_ns;
    bool is_told; /* that nobody answers, by this loss */
    bool is_told_late;
    bool is_relisting;
};

static void line_try(void *ctx);

/* ---- events.seen ---------------------------------------------------------------------------------------------------------- */

static bool seen_path(const struct serve *serve, char out[PATH_BYTES_MAX]) {
    return (size_t)snprintf(out, PATH_BYTES_MAX, "%s/events.seen", serve->conf->state) < PATH_BYTES_MAX;
}

static void seen_load(struct serve *serve) {
    char path[PATH_BYTES_MAX];
    struct core_span text = {0};
    struct core_fail fail = {0};
    enum core_err err = seen_path(serve, path) ? serve_file_read(path, SEEN_BYTES_MAX, &text, &fail) : CORE_GONE;
    if (err == CORE_OK) {
        const char *blank = core_span_chr(text, ' ');
        size_t len = blank == NULL ? 0 : (size_t)(blank - text.ptr);
        if (len > 0 && len < sizeof(serve->events_instance)) { /* else it is damaged: all is told again */
            memcpy(serve->events_instance, text.ptr, len);
            serve->events_seen = strtoull(blank, NULL, 10);
            serve->line->seen_written = serve->events_seen;
        }
    } else if (err != CORE_GONE) {
        core_log(CORE_LEVEL_WARN, "serve", "cannot read which events were seen",
                 "file=%s why=\"%s\" effect=\"events may be told twice\"", path, fail.text);
    }
    free((void *)(uintptr_t)text.ptr);
}

static uint64_t seen_followed_up(const struct serve *serve) {
    return serve->crash_oldest != 0 && serve->crash_oldest <= serve->events_seen ? serve->crash_oldest - 1
                                                                                 : serve->events_seen;
}

static void seen_save(struct serve *serve) {
    char path[PATH_BYTES_MAX];
    char text[SEEN_BYTES_MAX];
    struct core_fail fail = {0};
    uint64_t seq = seen_followed_up(serve);
    if (seq == serve->line->seen_written || !seen_path(serve, path)) {
        return;
    }
    int len = snprintf(text, sizeof(text), "%s %" PRIu64 "\n", serve->events_instance, seq);
    if (serve_file_write(path, (struct core_span){text, (size_t)len}, &fail) == CORE_OK) {
        serve->line->seen_written = seq;
    } else {
        core_log(CORE_LEVEL_WARN, "serve", "cannot write which events were seen",
                 "file=%s why=\"%s\" effect=\"the next start may tell some twice; tried again at the next event\"",
                 fail.where, fail.text);
    }
}

static void seen_on_time(void *ctx) {
    struct serve *serve = ctx;
    seen_save(serve);
    if (serve->line->seen_written != serve->events_seen) { /* some are still being followed up */
        core_timer_set(serve->loop, &serve->line->seen_timer, core_tick_ns() + SEEN_NS);
    }
}

/* ---- the mirror ------------------------------------------------------------------------------------------------------------ */

static void process_free(struct serve_process *process) {
    free(process->spec);
}

static void mirror_free(struct serve *serve) {
    for (size_t i = 0; i < serve->processes_len; i++) {
        process_free(&serve->processes[i]);
    }
    free(serve->processes);
    serve->processes = NULL;
    serve->processes_len = 0;
}

static int by_name(const void *a, const void *b) {
    const struct serve_process *left = a;
    const struct serve_process *right = b;
    return strcmp(left->name, right->name);
}

struct serve_process *serve_process_find(struct serve *serve, struct core_span name) {
    struct serve_process key = {0};
    if (name.len == 0 || name.len >= sizeof(key.name) || serve->processes_len == 0) {
        return NULL;
    }
    memcpy(key.name, name.ptr, name.len);
    return bsearch(&key, serve->processes, serve->processes_len, sizeof(key), by_name);
}

static void text_copy(char *out, size_t out_len, struct core_span text) {
    text = core_utf8_cut(text, out_len - 1);
    if (text.len > 0) {
        memcpy(out, text.ptr, text.len);
    }
    out[text.len] = '\0';
}

static bool bool_of(const struct core_json_tree *object, const char *key) {
    const struct core_json_tree *member = core_json_tree_get(object, key);
    return member != NULL && member->kind == CORE_JSON_BOOL && core_span_is(member->text, "true");
}

/* "2026-11-22T04:00:00.000000Z" as ns since the epoch; 0: it is none. */
static int64_t time_of(struct core_span text) {
    static const char form[] = "dddd-dd-ddTdd:dd:dd.ddddddZ";
    int64_t parts[8] = {0}; /* between what is no digit */
    size_t part = 0;
    if (text.len != sizeof(form) - 1) {
        return 0;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (form[i] == 'd' ? !core_is_digit(text.ptr[i]) : text.ptr[i] != form[i]) {
            return 0;
        }
        if (form[i] != 'd') {
            part++;
        } else {
            parts[part] = parts[part] * 10 + (text.ptr[i] - '0');
        }
    }
    int64_t days = core_days_from_civil(parts[0], (unsigned)parts[1], (unsigned)parts[2]);
    int64_t seconds = ((days * 24 + parts[3]) * 60 + parts[4]) * 60 + parts[5];
    return seconds * CORE_NS_PER_S + parts[6] * CORE_NS_PER_US;
}

static bool state_of(struct core_span text, enum supervisor_state *out) {
    for (int i = 0; i < SUPERVISOR_STATE__MAX; i++) {
        if (core_span_is(text, supervisor_state_names[i])) {
            *out = (enum supervisor_state)i;
            return true;
        }
    }
    return false;
}

/* {"exit":1}, {"signal":"SEGV"} or {"signal":11}, {"unknown":true}, {"not_started":true} as people say it; "" if there was no end. */
static void end_of(const struct core_json_tree *object, char out[64]) {
    const struct core_json_tree *code = core_json_tree_get(object, "exit");
    const struct core_json_tree *signal = core_json_tree_get(object, "signal");
    out[0] = '\0';
    if (code != NULL && code->kind == CORE_JSON_NUMBER) {
        (void)snprintf(out, 64, "exit %.*s", (int)code->text.len, code->text.ptr);
    } else if (signal != NULL && (signal->kind == CORE_JSON_NUMBER || signal->kind == CORE_JSON_STRING)) {
        int number = supervisor_signal_of(signal->text.ptr);
        (void)snprintf(out, 64, "signal %d (%s)", number, supervisor_signal_name(number));
    } else if (core_json_tree_get(object, "unknown") != NULL) {
        (void)snprintf(out, 64, "unknown");
    } else if (core_json_tree_get(object, "not_started") != NULL) {
        (void)snprintf(out, 64, "not started");
    }
}

/* The spec in the one way to write it, so that it can be compared; malloc'ed; NULL: it is none. */
static char *spec_text(struct serve_line *line, const struct core_json_tree *json) {
    struct supervisor_spec spec;
    struct core_fail fail = {0};
    if (json == NULL || supervisor_spec_read(&line->arena, json, &spec, &fail) != CORE_OK) {
        core_arena_reset(&line->arena, 0);
        return NULL;
    }
    char *text = malloc(SUPERVISOR_SPEC_BYTES_MAX + 1);
    MUST(text != NULL);
    struct core_buf buf = {.start = text, .pos = text, .end = text + SUPERVISOR_SPEC_BYTES_MAX};
    supervisor_spec_write(&spec, &buf);
    core_arena_reset(&line->arena, CORE_MIB);
    *buf.pos = '\0';
    char *copy = buf.is_full ? NULL : strdup(text);
    free(text);
    return copy;
}

static void process_read(struct serve *serve, const struct core_json_tree *row, struct serve_process *out) {
    const struct core_json_tree *cpu = core_json_tree_get(row, "cpu_seconds");
    *out = (struct serve_process){.is_wanted = bool_of(row, "is_wanted"),
                                  .is_changed = bool_of(row, "is_changed"),
                                  .is_adopted = bool_of(row, "adopted") || bool_of(row, "is_adopted"),
                                  .pid = core_json_tree_integer(row, "pid", 0),
                                  .since_ns = time_of(core_json_tree_text(row, "since")),
                                  .starts = (uint64_t)core_json_tree_integer(row, "starts", 0),
                                  .deaths = (uint64_t)core_json_tree_integer(row, "deaths", 0),
                                  .rss_bytes = (uint64_t)core_json_tree_integer(row, "rss_bytes", 0),
                                  .cpu_seconds =
                                      cpu != NULL && cpu->kind == CORE_JSON_NUMBER ? strtod(cpu->text.ptr, NULL) : 0,
                                  .threads = (uint64_t)core_json_tree_integer(row, "threads", 0),
                                  .spec = spec_text(serve->line, core_json_tree_get(row, "spec"))};
    text_copy(out->name, sizeof(out->name), core_json_tree_text(row, "name"));
    text_copy(out->group, sizeof(out->group), core_json_tree_text(row, "group"));
    text_copy(out->reason, sizeof(out->reason), core_json_tree_text(row, "reason"));
    text_copy(out->quiet, sizeof(out->quiet), core_json_tree_text(row, "quiet"));
    end_of(core_json_tree_get(row, "last_end"), out->last_end);
    struct serve_process *before = serve_process_find(serve, core_span_of(out->name));
    out->died_ns = before != NULL ? before->died_ns : 0;
    if (out->spec == NULL && before != NULL) { /* a list without specs: they are what they were */
        out->spec = before->spec;
        before->spec = NULL;
    }
    if (!state_of(core_json_tree_text(row, "state"), &out->state)) {
        core_log(CORE_LEVEL_WARN, "serve", "the Supervisor names a state that this program does not know",
                 "process=%s effect=\"shown as down\"", out->name);
    }
}

/* Take process.list's result for the mirror. False: it is none. */
static bool mirror_set(struct serve *serve, const struct core_json_tree *result) {
    const struct core_json_tree *rows = core_json_tree_get(result, "processes");
    if (rows == NULL || rows->kind != CORE_JSON_ARRAY) {
        return false;
    }
    size_t len = 0;
    for (const struct core_json_tree *row = rows->first; row != NULL; row = row->next) {
        len++;
    }
    struct serve_process *processes = calloc(len + 1, sizeof(*processes));
    MUST(processes != NULL);
    size_t at = 0;
    for (const struct core_json_tree *row = rows->first; row != NULL; row = row->next) {
        process_read(serve, row, &processes[at++]);
    }
    qsort(processes, len, sizeof(*processes), by_name);
    mirror_free(serve);
    serve->processes = processes;
    serve->processes_len = len;
    serve_health_on_state(serve);
    return true;
}

/* A process that was set since the last list. */
static struct serve_process *mirror_add(struct serve *serve, struct core_span name) {
    if (name.len == 0 || name.len > SUPERVISOR_NAME_BYTES_MAX) {
        return NULL;
    }
    serve->processes = reallocarray(serve->processes, serve->processes_len + 2, sizeof(*serve->processes));
    MUST(serve->processes != NULL);
    serve->processes[serve->processes_len] = (struct serve_process){0};
    text_copy(serve->processes[serve->processes_len++].name, SUPERVISOR_NAME_BYTES_MAX + 1, name);
    qsort(serve->processes, serve->processes_len, sizeof(*serve->processes), by_name);
    return serve_process_find(serve, name);
}

/* ---- events ------------------------------------------------------------------------------------------------------------------ */

/* To our own listeners: the same members; number and time are ours, theirs is `happened`. */
static void event_pass_on(struct serve *serve, const struct core_json_tree *event) {
    char *bytes = malloc(EVENT_BYTES_MAX);
    MUST(bytes != NULL);
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + EVENT_BYTES_MAX};
    for (const struct core_json_tree *member = event->first; member != NULL; member = member->next) {
        if (core_span_is(member->key, "seq")) {
            continue;
        }
        core_buf_put(&out, ",", out.pos == out.start ? 0 : 1);
        core_buf_string(&out, core_span_is(member->key, "time") ? CORE_SPAN("happened") : member->key);
        core_buf_char(&out, ':');
        core_json_put_tree(&out, member);
    }
    if (!out.is_full) {
        serve_event(serve, core_buf_written(&out));
    }
    free(bytes);
}

/* Did it end by itself, and not as by its policy it may? */
static bool is_crash(const struct core_json_tree *event, enum supervisor_state from, enum supervisor_state to) {
    const struct core_json_tree *code = core_json_tree_get(event, "exit");
    bool has_ended = code != NULL || core_json_tree_get(event, "signal") != NULL ||
                     core_json_tree_get(event, "unknown") != NULL || core_json_tree_get(event, "not_started") != NULL;
    bool was_told = from == SUPERVISOR_STOPPING && (to == SUPERVISOR_DOWN || to == SUPERVISOR_STARTING);
    bool is_done = to == SUPERVISOR_DOWN && code != NULL && core_span_is(code->text, "0");
    return has_ended && !was_told && !is_done;
}

static void event_state(struct serve *serve, const struct core_json_tree *event) {
    struct core_span name = core_json_tree_text(event, "name");
    struct serve_process *process = serve_process_find(serve, name);
    enum supervisor_state from = SUPERVISOR_DOWN;
    enum supervisor_state to = SUPERVISOR_DOWN;
    char end[64];
    if (process == NULL) {
        process = mirror_add(serve, name);
    }
    if (process == NULL || !state_of(core_json_tree_text(event, "from"), &from) ||
        !state_of(core_json_tree_text(event, "to"), &to)) {
        return;
    }
    process->state = to;
    process->pid = core_json_tree_integer(event, "pid", 0);
    process->since_ns = time_of(core_json_tree_text(event, "time"));
    text_copy(process->reason, sizeof(process->reason), core_json_tree_text(event, "reason"));
    if (to == SUPERVISOR_STARTING) {
        process->starts++;
        process->quiet[0] = '\0';
    }
    process->is_wanted = bool_of(event, "is_wanted");
    process->is_changed = bool_of(event, "is_changed");
    process->is_adopted = bool_of(event, "adopted");
    end_of(event, end);
    if (end[0] != '\0') {
        memcpy(process->last_end, end, sizeof(end));
    }
    serve_health_on_state(serve);
    if (is_crash(event, from, to)) {
        process->deaths++;
        process->died_ns = core_now_ns();
        serve_crash_on_end(serve, process, event);
    }
    if (serve->is_linked) { /* else the list to come is newer than this */
        serve_wait_on_state(serve, process);
        deploy_on_state(serve, process);
    }
}

static void event_quiet(struct serve *serve, const struct core_json_tree *event) {
    struct serve_process *process = serve_process_find(serve, core_json_tree_text(event, "name"));
    if (process != NULL) {
        text_copy(process->quiet, sizeof(process->quiet), core_json_tree_text(event, "text"));
        serve_health_on_state(serve);
    }
}

static void line_on_event(void *ctx, const struct core_json_tree *params) {
    struct serve *serve = ctx;
    uint64_t seq = (uint64_t)core_json_tree_integer(params, "seq", 0);
    if (seq <= serve->events_seen) {
        return;
    }
    serve->events_seen = seq;
    if (!core_timer_is_set(&serve->line->seen_timer)) {
        core_timer_set(serve->loop, &serve->line->seen_timer, core_tick_ns() + SEEN_NS);
    }
    struct core_span kind = core_json_tree_text(params, "kind");
    if (core_span_is(kind, "state")) {
        event_state(serve, params);
    } else if (core_span_is(kind, "quiet")) {
        event_quiet(serve, params);
    } else if (core_span_is(kind, "alarm")) {
        struct core_span name = core_json_tree_text(params, "name");
        struct core_span text = core_json_tree_text(params, "text");
        core_log(CORE_LEVEL_ERROR, "serve", "alarm",
                 "node=%.*s text=\"%.*s\" help=\"tapline diag; tapline start %.*s\"", (int)name.len, name.ptr,
                 (int)text.len, text.ptr, (int)name.len, name.ptr);
    }
    event_pass_on(serve, params);
}

/* ---- what is deployed is what the Supervisor has ------------------------------------------------------------------------------ */

struct told {
    char name[SUPERVISOR_NAME_BYTES_MAX + 1];
};

static void on_told(void *ctx, const struct core_rpc_answer *answer) {
    struct told *told = ctx;
    if (answer->result == NULL && answer->code != 0) {
        core_log(CORE_LEVEL_ERROR, "serve", "the Supervisor refuses what was deployed",
                 "node=%s why=\"%.*s\" help=\"tapline deploy\"", told->name, (int)answer->text.len, answer->text.ptr);
    }
    free(told);
}

static void tell_one(struct serve *serve, const char *name, const char *method, struct core_span params) {
    struct told *told = calloc(1, sizeof(*told));
    MUST(told != NULL);
    text_copy(told->name, sizeof(told->name), core_span_of(name));
    serve_ask(serve, method, params, on_told, told);
}

/* A node that the Supervisor has never heard of was lost with its state file; what is deployed is to run. */
static void tell_deployed(struct serve *serve) {
    char *bytes = malloc(EVENT_BYTES_MAX);
    MUST(bytes != NULL);
    struct core_buf names = {.start = bytes, .pos = bytes, .end = bytes + EVENT_BYTES_MAX};
    size_t lost = 0;
    core_buf_span(&names, CORE_SPAN("{\"names\":["));
    for (size_t i = 0; i < serve->deployed.nodes_len; i++) {
        const struct sensors_node *node = &serve->deployed.nodes[i];
        const struct serve_process *process = serve_process_find(serve, core_span_of(node->name));
        if (process == NULL || process->spec == NULL || !core_span_is(node->spec_json, process->spec)) {
            tell_one(serve, node->name, "process.set", node->spec_json);
        }
        if (process == NULL) {
            core_buf_put(&names, ",", lost++ == 0 ? 0 : 1);
            core_buf_string(&names, core_span_of(node->name));
        }
    }
    core_buf_span(&names, CORE_SPAN("]}"));
    if (lost > 0 && !names.is_full) {
        core_log(CORE_LEVEL_WARN, "serve", "the Supervisor did not know deployed nodes, they are started", "nodes=%zu",
                 lost);
        tell_one(serve, "(all)", "process.start", core_buf_written(&names));
    }
    free(bytes);
}

/* ---- a new line, step by step ---------------------------------------------------------------------------------------------------- */

static void line_say(struct serve *serve, bool is_linked, const char *text) {
    char bytes[1024];
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    core_json_put_text(&out, "kind", CORE_SPAN("link"));
    core_json_put_bool(&out, "is_linked", is_linked);
    core_json_put_text(&out, "text", core_span_of(text));
    serve_event(serve, core_buf_written(&out));
}

/* Give the line up and try anew, later: never from within the client's own call. */
static void line_drop(struct serve *serve, int64_t after_ns) {
    serve->is_linked = false;
    core_timer_set(serve->loop, &serve->link_timer, core_tick_ns() + after_ns);
}

/* The answer is of no use. */
static void line_refused(struct serve *serve, const char *what, const struct core_rpc_answer *answer) {
    if (answer->result == NULL && answer->code == 0) {
        return; /* the line broke: line_on_closed() follows */
    }
    core_log(CORE_LEVEL_ERROR, "serve", "the Supervisor does not answer as this program can use",
             "socket=%s asked=%s answer=\"%.*s\" effect=\"asked again in 5 s\" help=\"are both of one version? tapline "
             "version\"",
             serve->conf->supervisor_socket, what, (int)answer->text.len, answer->text.ptr);
    line_drop(serve, RETRY_STRANGER_NS);
}

static void line_is_made(struct serve *serve) {
    struct serve_line *line = serve->line;
    size_t strangers = 0;
    serve->is_linked = true;
    line->start_delay_ns = START_DELAY_MIN_NS;
    line->start_due_ns = 0;
    line->retry_ns = RETRY_NS;
    core_log(CORE_LEVEL_INFO, "serve", "linked to the Supervisor", "socket=%s processes=%zu deployed=%zu",
             serve->conf->supervisor_socket, serve->processes_len, serve->deployed.nodes_len);
    line->lost_ns = 0;
    line->is_told = false;
    line->is_told_late = false;
    for (size_t i = 0; i < serve->processes_len; i++) {
        if (sensors_plan_find(&serve->deployed, core_span_of(serve->processes[i].name)) == NULL) {
            strangers++;
        }
    }
    if (strangers > 0 && serve->deployed.nodes_len > 0 && serve->deploy == NULL) {
        core_log(CORE_LEVEL_WARN, "serve", "the Supervisor has processes that were not deployed from here",
                 "processes=%zu effect=\"they are shown by status and left alone\"", strangers);
    }
    line_say(serve, true, "linked to the Supervisor");
    if (!deploy_resume(serve)) {
        tell_deployed(serve);
    }
    for (size_t i = 0; i < serve->processes_len; i++) { /* what has changed meanwhile */
        serve_wait_on_state(serve, &serve->processes[i]);
        deploy_on_state(serve, &serve->processes[i]);
    }
    serve_on_linked(serve);
}

static void on_second_list(void *ctx, const struct core_rpc_answer *answer) {
    struct serve *serve = ctx;
    if (answer->result == NULL || !mirror_set(serve, answer->result)) {
        line_refused(serve, "process.list", answer);
        return;
    }
    line_is_made(serve);
}

static void on_subscribed(void *ctx, const struct core_rpc_answer *answer) {
    struct serve *serve = ctx;
    if (answer->result == NULL) {
        line_refused(serve, "events.subscribe", answer);
        return;
    }
    core_rpc_call(serve->link, "process.list", CORE_SPAN("{}"), on_second_list, serve);
}

static void on_first_list(void *ctx, const struct core_rpc_answer *answer) {
    struct serve *serve = ctx;
    char params[64];
    if (answer->result == NULL || !mirror_set(serve, answer->result)) {
        line_refused(serve, "process.list", answer);
        return;
    }
    int len = snprintf(params, sizeof(params), "{\"since\":%" PRIu64 "}", serve->events_seen);
    core_rpc_call(serve->link, "events.subscribe", (struct core_span){params, (size_t)len}, on_subscribed, serve);
}

static void on_hello(void *ctx, const struct core_rpc_answer *answer) {
    struct serve *serve = ctx;
    struct core_span instance = core_json_tree_text(answer->result, "instance");
    bool is_ours = core_span_is(core_json_tree_text(answer->result, "service"), "supervisor") &&
                   core_json_tree_integer(answer->result, "protocol", 0) == CORE_RPC_PROTOCOL;
    if (!is_ours) {
        line_refused(serve, "hello", answer);
        return;
    }
    if (!core_span_is(instance, serve->events_instance)) { /* other events, numbered anew */
        text_copy(serve->events_instance, sizeof(serve->events_instance), instance);
        serve->events_seen = 0;
        serve->line->seen_written = 0;
    }
    core_rpc_call(serve->link, "process.list", CORE_SPAN("{}"), on_first_list, serve);
}

static void line_on_closed(void *ctx, const struct core_fail *why) {
    struct serve *serve = ctx;
    bool was_linked = serve->is_linked;
    line_drop(serve, 0);
    if (was_linked && !serve->is_ending) {
        serve->line->lost_ns = core_tick_ns();
        serve->line->is_told = true;
        core_log(CORE_LEVEL_WARN, "serve", "the line to the Supervisor is lost, it is looked for",
                 "socket=%s why=\"%s\" effect=\"sensors go on; nothing can be started or stopped meanwhile\"",
                 serve->conf->supervisor_socket, why != NULL ? why->text : "");
        line_say(serve, false, "the line to the Supervisor is lost");
    }
    if (serve->is_ending && was_linked) {
        serve_on_supervisor_gone(serve);
    }
}

/* Nobody answers at the socket. */
static void line_absent(struct serve *serve, const struct core_fail *fail) {
    struct serve_line *line = serve->line;
    int64_t now = core_tick_ns();
    if (line->lost_ns == 0) {
        line->lost_ns = now;
    }
    if (!line->is_told && !serve->conf->starts_supervisor) {
        line->is_told = true;
        core_log(CORE_LEVEL_WARN, "serve", "no Supervisor answers",
                 "socket=%s why=\"%s\" effect=\"it is asked again and again\" help=\"start its service, or set "
                 "serve.starts_supervisor\"",
                 serve->conf->supervisor_socket, fail->text);
    }
    if (serve->conf->starts_supervisor && now >= line->start_due_ns) {
        line->start_due_ns = now + line->start_delay_ns;
        line->start_delay_ns =
            line->start_delay_ns * 2 < START_DELAY_MAX_NS ? line->start_delay_ns * 2 : START_DELAY_MAX_NS;
        serve_supervisor_start(serve);
    }
    if (now - line->lost_ns > TELL_AFTER_NS && !line->is_told_late) {
        line->is_told_late = true;
        core_log(CORE_LEVEL_ERROR, "serve", "still no Supervisor answers",
                 "socket=%s why=\"%s\" effect=\"tried again and again; running sensors go on\" help=\"see "
                 "%s/supervisor.log\"",
                 serve->conf->supervisor_socket, fail->text, serve->conf->state);
    }
}

static void line_try(void *ctx) {
    static const struct core_rpc_client_calls calls = {.on_event = line_on_event, .on_closed = line_on_closed};
    struct serve *serve = ctx;
    struct core_fail fail = {0};
    core_rpc_client_free(serve->link);
    serve->link = NULL;
    if (serve->is_ending) {
        return;
    }
    if (core_rpc_client_new(&serve->link, serve->loop, serve->conf->supervisor_socket, NULL, &calls, serve, &fail) !=
        CORE_OK) {
        serve->link = NULL;
        line_absent(serve, &fail);
        core_timer_set(serve->loop, &serve->link_timer, core_tick_ns() + RETRY_NS);
        return;
    }
    core_rpc_call(serve->link, "hello", (struct core_span){0}, on_hello, serve);
}

/* ---- asking ---------------------------------------------------------------------------------------------------------------------- */

static void on_relisted(void *ctx, const struct core_rpc_answer *answer) {
    struct serve *serve = ctx;
    serve->line->is_relisting = false;
    if (answer->result != NULL && serve->is_linked && !mirror_set(serve, answer->result)) {
        line_refused(serve, "process.list", answer);
    }
}

static void relist_on_time(void *ctx) {
    struct serve *serve = ctx;
    if (serve->is_linked && !serve->line->is_relisting) {
        serve->line->is_relisting = true;
        core_rpc_call(serve->link, "process.list", CORE_SPAN("{}"), on_relisted, serve);
    }
}

bool serve_mirror_take(struct serve *serve, const struct core_json_tree *result) {
    return mirror_set(serve, result);
}

static void unasked_on_time(void *ctx) {
    struct unasked *unasked = ctx;
    struct unasked **at = &unasked->line->unasked;
    while (*at != unasked) {
        at = &(*at)->next;
    }
    *at = unasked->next;
    const struct core_rpc_answer answer = {.text = CORE_SPAN("no Supervisor answers")};
    unasked->on_answer(unasked->ctx, &answer);
    free(unasked);
}

/* Does it change what no event tells of? Who is to start and waits for its turn stays down, and who is called back then, too: that
 * it is wanted, or is no more, only the list has. */
static bool is_untold(const char *method) {
    static const char *const methods[] = {"process.set", "process.remove", "process.start", "process.restart",
                                          "process.stop"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (strcmp(method, methods[i]) == 0) {
            return true;
        }
    }
    return false;
}

void serve_ask(struct serve *serve, const char *method, struct core_span params, core_rpc_on_answer *on_answer,
               void *ctx) {
    struct serve_line *line = serve->line;
    if (serve->is_linked) {
        core_rpc_call(serve->link, method, params, on_answer, ctx);
        if (is_untold(method) && !core_timer_is_set(&line->relist_timer)) {
            core_timer_set(serve->loop, &line->relist_timer, core_tick_ns() + RELIST_NS);
        }
        return;
    }
    struct unasked *unasked = calloc(1, sizeof(*unasked));
    MUST(unasked != NULL);
    *unasked = (struct unasked){.line = line, .next = line->unasked, .on_answer = on_answer, .ctx = ctx};
    unasked->timer = (struct core_timer){.on_time = unasked_on_time, .ctx = unasked};
    line->unasked = unasked;
    core_timer_set(serve->loop, &unasked->timer, core_tick_ns());
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

void serve_link_begin(struct serve *serve) {
    struct core_fail fail = {0};
    struct serve_line *line = calloc(1, sizeof(*line));
    MUST(line != NULL);
    line->serve = serve;
    line->start_delay_ns = START_DELAY_MIN_NS;
    line->relist_timer = (struct core_timer){.on_time = relist_on_time, .ctx = serve};
    line->seen_timer = (struct core_timer){.on_time = seen_on_time, .ctx = serve};
    enum core_err err = core_arena_init(&line->arena, SPEC_ARENA_BYTES, &fail);
    MUST(err == CORE_OK); /* address space only */
    serve->line = line;
    serve->link_timer = (struct core_timer){.on_time = line_try, .ctx = serve};
    seen_load(serve);
    line_try(serve);
}

void serve_link_end(struct serve *serve) {
    struct serve_line *line = serve->line;
    if (line == NULL) {
        return;
    }
    seen_save(serve);
    core_timer_clear(&serve->link_timer);
    core_timer_clear(&line->relist_timer);
    core_timer_clear(&line->seen_timer);
    serve->is_linked = false;
    core_rpc_client_free(serve->link);
    serve->link = NULL;
    while (line->unasked != NULL) {
        struct unasked *next = line->unasked->next;
        core_timer_clear(&line->unasked->timer);
        free(line->unasked);
        line->unasked = next;
    }
    mirror_free(serve);
    core_arena_destroy(&line->arena);
    free(line);
    serve->line = NULL;
}
