/* supervisor/serve_wait.c: start, stop, restart, kill, shutdown: told to the Supervisor, and answered when it is done.
 *
 * The Supervisor answers at once and does the rest by itself, in the order of its processes; a wait follows the states of its
 * nodes in the mirror until each has come to where it should be, or has failed to. Who asks is told of each state on the way.
 * The wait goes on when its client has gone, and when the line to the Supervisor was lost for a while; it only watches, so that
 * Main may be killed meanwhile without harm.
 *
 * A node has been started since the question if its number of starts or its pid has changed. Its state alone cannot tell: one
 * that is in backoff when it is started by hand is so until its first event.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define WAIT_NODE_JSON_BYTES 2048 /* of a node in an answer: name and reason, escaped */
#define WAIT_MORE_NS (30 * CORE_NS_PER_S)
#define WAIT_NEVER_NS (600 * CORE_NS_PER_S) /* for one that may take for ever to be ready */

enum wait_action { WAIT_START, WAIT_STOP, WAIT_RESTART, WAIT_KILL, WAIT_SHUTDOWN, WAIT_ACTION__MAX };

static const struct {
    const char *method; /* of the Supervisor */
    bool ends_up;       /* done when it is ready; else when it is down */
    bool needs_start;   /* … and only one that was started since */
    bool needs_words;
} wait_actions[WAIT_ACTION__MAX] = {
    [WAIT_START] = {"process.start", true, false, false},       [WAIT_STOP] = {"process.stop", false, false, false},
    [WAIT_RESTART] = {"process.restart", true, true, false},    [WAIT_KILL] = {"process.stop", false, false, true},
    [WAIT_SHUTDOWN] = {"supervisor.stop", false, false, false},
};

struct wait_node {
    char name[SUPERVISOR_NAME_BYTES_MAX + 1];
    uint64_t starts; /* when it was asked for */
    int64_t pid;     /* the same */
    bool is_started; /* since */
    bool is_done;
    bool is_ok;
    enum supervisor_state state;
    char reason[256];
};

struct serve_wait {
    struct serve *serve;
    struct serve_wait *next;
    struct core_rpc_request *request;
    enum wait_action action;
    struct wait_node *nodes;
    size_t nodes_len;
    size_t left; /* not done yet */
    struct core_timer timer;
    bool is_told; /* the Supervisor has answered */
};

static void wait_free(struct serve_wait *wait) {
    struct serve_wait **at = &wait->serve->waits;
    while (*at != wait) {
        MUST(*at != NULL);
        at = &(*at)->next;
    }
    *at = wait->next;
    core_timer_clear(&wait->timer);
    free(wait->nodes);
    free(wait);
}

/* ---- the answer ----------------------------------------------------------------------------------------------------------- */

static void node_put(struct core_buf *out, const struct wait_node *node) {
    core_buf_char(out, '{');
    core_json_put_text(out, "name", core_span_of(node->name));
    core_json_put_text(out, "state", core_span_of(supervisor_state_names[node->state]));
    core_json_put_bool(out, "ok", node->is_ok);
    core_json_put_text(out, "reason", core_span_of(node->reason));
    core_buf_char(out, '}');
}

static void wait_answer(struct serve_wait *wait) {
    size_t room = (wait->nodes_len + 1) * WAIT_NODE_JSON_BYTES;
    char *bytes = malloc(room);
    MUST(bytes != NULL);
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + room};
    core_buf_span(&out, CORE_SPAN("{\"nodes\":["));
    for (size_t i = 0; i < wait->nodes_len; i++) {
        core_buf_put(&out, ",", i == 0 ? 0 : 1);
        node_put(&out, &wait->nodes[i]);
    }
    core_buf_span(&out, CORE_SPAN("]}"));
    MUST(!out.is_full);
    core_rpc_result(wait->request, core_buf_written(&out));
    free(bytes);
    wait_free(wait);
}

static void wait_answer_if_done(struct serve_wait *wait) {
    /* of a shutdown, when the Supervisor has gone: serve_wait_on_gone() */
    if (wait->is_told && wait->left == 0 && wait->action != WAIT_SHUTDOWN) {
        wait_answer(wait);
    }
}

/* ---- states ---------------------------------------------------------------------------------------------------------------- */

static void node_done(struct serve_wait *wait, struct wait_node *node, bool is_ok, const char *reason) {
    node->is_done = true;
    node->is_ok = is_ok;
    (void)snprintf(node->reason, sizeof(node->reason), "%s", reason);
    wait->left--;
}

static void node_judge(struct serve_wait *wait, struct wait_node *node, const struct serve_process *process) {
    bool ends_up = wait_actions[wait->action].ends_up;
    if (process == NULL) {
        node->state = SUPERVISOR_DOWN;
        node_done(wait, node, !ends_up, "the Supervisor does not have it");
        return;
    }
    node->state = process->state;
    node->is_started =
        node->is_started || process->starts != node->starts || (process->pid != 0 && process->pid != node->pid);
    bool counts = node->is_started || !wait_actions[wait->action].needs_start;
    switch (process->state) {
    case SUPERVISOR_READY:
    case SUPERVISOR_UP:
        if (ends_up && counts) {
            node_done(wait, node, true, process->reason);
        }
        break;
    case SUPERVISOR_DOWN:
        if (!ends_up || node->is_started) {
            node_done(wait, node, !ends_up, process->reason);
        }
        break;
    case SUPERVISOR_BACKOFF:
    case SUPERVISOR_LATCHED:
        if (ends_up && node->is_started) {
            node_done(wait, node, false, process->reason[0] != '\0' ? process->reason : process->last_end);
        }
        break;
    case SUPERVISOR_STARTING:
    case SUPERVISOR_STOPPING:
        break; /* on its way */
    case SUPERVISOR_STATE__MAX:
        MUST(!"a state");
    }
}

static void wait_progress(struct serve_wait *wait, const struct serve_process *process) {
    char bytes[WAIT_NODE_JSON_BYTES];
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    core_json_put_text(&out, "name", core_span_of(process->name));
    core_json_put_text(&out, "state", core_span_of(supervisor_state_names[process->state]));
    core_json_put_text(&out, "reason", core_span_of(process->reason));
    core_rpc_progress(wait->request, core_buf_written(&out));
}

void serve_wait_on_state(struct serve *serve, const struct serve_process *process) {
    struct serve_wait *next = NULL;
    for (struct serve_wait *wait = serve->waits; wait != NULL; wait = next) {
        next = wait->next;
        for (size_t i = 0; i < wait->nodes_len; i++) {
            struct wait_node *node = &wait->nodes[i];
            if (!node->is_done && strcmp(node->name, process->name) == 0) {
                wait_progress(wait, process);
                node_judge(wait, node, process);
                break;
            }
        }
        wait_answer_if_done(wait);
    }
}

/* Time is over: say how far each has come. */
static void wait_on_time(void *ctx) {
    struct serve_wait *wait = ctx;
    if (!wait->is_told) { /* its answer is still to come, and must find us */
        core_timer_set(wait->serve->loop, &wait->timer, core_tick_ns() + WAIT_MORE_NS);
        return;
    }
    for (size_t i = 0; i < wait->nodes_len; i++) {
        if (!wait->nodes[i].is_done) {
            node_done(wait, &wait->nodes[i], false, "not done within its time; the Supervisor goes on trying");
        }
    }
    wait_answer(wait);
}

/* ---- asking ---------------------------------------------------------------------------------------------------------------- */

static void wait_on_answer(void *ctx, const struct core_rpc_answer *answer) {
    struct serve_wait *wait = ctx;
    if (answer->result == NULL) {
        wait->serve->is_ending = wait->serve->is_ending && wait->action != WAIT_SHUTDOWN;
        if (answer->code == 0) {
            core_rpc_refuse(wait->request, CORE_RPC_FAILED,
                            "the Supervisor went away before it had answered; see `tapline status`, and ask again");
        } else {
            core_rpc_refuse(wait->request, (enum core_rpc_code)answer->code, "%.*s", (int)answer->text.len,
                            answer->text.ptr);
        }
        wait_free(wait);
        return;
    }
    wait->is_told = true;
    for (size_t i = 0; i < wait->nodes_len; i++) {
        struct wait_node *node = &wait->nodes[i];
        if (!node->is_done) {
            node_judge(wait, node, serve_process_find(wait->serve, core_span_of(node->name)));
        }
    }
    wait_answer_if_done(wait);
}

static const struct supervisor_spec *spec_of(const struct serve_wait *wait, const struct wait_node *node) {
    const struct sensors_node *found = sensors_plan_find(&wait->serve->deployed, core_span_of(node->name));
    return found == NULL ? NULL : &found->spec;
}

/* One order after the other, each as long as its slowest. */
static int64_t wait_time_ns(const struct serve_wait *wait) {
    int64_t orders[SUPERVISOR_PROCESSES_MAX] = {0};
    int64_t slowest[SUPERVISOR_PROCESSES_MAX] = {0};
    size_t orders_len = 0;
    int64_t sum = WAIT_MORE_NS;
    for (size_t i = 0; i < wait->nodes_len; i++) {
        const struct supervisor_spec *spec = spec_of(wait, &wait->nodes[i]);
        int64_t order = spec == NULL ? 0 : spec->order;
        int64_t stop = spec == NULL ? WAIT_MORE_NS : spec->stop.timeout_ns;
        int64_t ready = spec == NULL ? 0 : spec->ready.timeout_ns > 0 ? spec->ready.timeout_ns : WAIT_NEVER_NS;
        int64_t needs = stop + (wait_actions[wait->action].ends_up ? ready : 0);
        size_t at = 0;
        while (at < orders_len && orders[at] != order) {
            at++;
        }
        if (at == orders_len) {
            MUST(orders_len < SUPERVISOR_PROCESSES_MAX);
            orders[orders_len++] = order;
        }
        if (needs > slowest[at]) {
            sum += needs - slowest[at];
            slowest[at] = needs;
        }
    }
    return sum;
}

/* {"names":[…]}, {"names":[…],"signal":"KILL"}; sent. */
static void wait_tell(struct serve_wait *wait, const char *method, const char *signal, core_rpc_on_answer *on_answer) {
    size_t room = (wait->nodes_len + 1) * (SUPERVISOR_NAME_BYTES_MAX + 16) + 64;
    char *bytes = malloc(room);
    MUST(bytes != NULL);
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + room};
    if (wait->action == WAIT_SHUTDOWN) {
        core_buf_span(&out, CORE_SPAN("{\"processes\":true}"));
    } else {
        core_buf_span(&out, CORE_SPAN("{\"names\":["));
        for (size_t i = 0; i < wait->nodes_len; i++) {
            core_buf_put(&out, ",", i == 0 ? 0 : 1);
            core_buf_string(&out, core_span_of(wait->nodes[i].name));
        }
        core_buf_char(&out, ']');
        if (signal != NULL) {
            core_json_put_text(&out, "signal", core_span_of(signal));
        }
        core_buf_char(&out, '}');
    }
    MUST(!out.is_full);
    serve_ask(wait->serve, method, core_buf_written(&out), on_answer, wait);
    free(bytes);
}

/* Owns: takes names (malloc'ed), as serve_names_pick() gives them. */
static struct serve_wait *wait_new(struct serve *serve, struct core_rpc_request *request, enum wait_action action,
                                   const char **names, size_t names_len) {
    struct serve_wait *wait = calloc(1, sizeof(*wait));
    MUST(wait != NULL);
    *wait = (struct serve_wait){.serve = serve,
                                .next = serve->waits,
                                .request = request,
                                .action = action,
                                .nodes = calloc(names_len + 1, sizeof(*wait->nodes)),
                                .nodes_len = names_len,
                                .left = names_len,
                                .timer = {.on_time = wait_on_time, .ctx = wait}};
    MUST(wait->nodes != NULL);
    for (size_t i = 0; i < names_len; i++) {
        const struct serve_process *process = serve_process_find(serve, core_span_of(names[i]));
        (void)snprintf(wait->nodes[i].name, sizeof(wait->nodes[i].name), "%s", names[i]);
        wait->nodes[i].starts = process == NULL ? 0 : process->starts;
        wait->nodes[i].pid = process == NULL ? 0 : process->pid;
    }
    serve->waits = wait;
    if (action != WAIT_SHUTDOWN) { /* which ends with the Supervisor, however long its processes take */
        core_timer_set(serve->loop, &wait->timer, core_tick_ns() + wait_time_ns(wait));
    }
    free(names);
    return wait;
}

/* NULL: refused. */
static struct serve_wait *wait_begin(struct serve *serve, struct core_rpc_request *request,
                                     const struct core_json_tree *params, enum wait_action action) {
    const char **names = NULL;
    size_t names_len = 0;
    if (!serve_needs_link(serve, request) ||
        !serve_names_pick(serve, request, params, wait_actions[action].needs_words, &names, &names_len)) {
        return NULL;
    }
    core_log(CORE_LEVEL_INFO, "serve", "asked to control", "method=%s nodes=%zu by=\"%s\"", wait_actions[action].method,
             names_len, core_rpc_request_who(request));
    struct serve_wait *wait = wait_new(serve, request, action, names, names_len);
    wait_tell(wait, wait_actions[action].method, NULL, wait_on_answer);
    return wait;
}

void serve_start(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    (void)wait_begin(ctx, request, params, WAIT_START);
}

void serve_stop(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    (void)wait_begin(ctx, request, params, WAIT_STOP);
}

void serve_restart(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    (void)wait_begin(ctx, request, params, WAIT_RESTART);
}

/* ---- kill -------------------------------------------------------------------------------------------------------------------- */

/* A signal was sent: nothing to wait for. */
static void on_signalled(void *ctx, const struct core_rpc_answer *answer) {
    struct serve_wait *wait = ctx;
    if (answer->result == NULL) {
        wait_on_answer(wait, answer);
        return;
    }
    for (size_t i = 0; i < wait->nodes_len; i++) {
        const struct serve_process *process = serve_process_find(wait->serve, core_span_of(wait->nodes[i].name));
        wait->nodes[i].state = process == NULL ? SUPERVISOR_DOWN : process->state;
        node_done(wait, &wait->nodes[i], process != NULL && process->pid != 0,
                  process != NULL && process->pid != 0 ? "the signal was sent" : "it is not running");
    }
    wait_answer(wait);
}

/* The stop, which went before, answers; what this cannot kill any more has ended. */
static void on_killed(void *ctx, const struct core_rpc_answer *answer) {
    (void)ctx;
    if (answer->result == NULL && answer->code != 0) {
        core_log(CORE_LEVEL_WARN, "serve", "the Supervisor refuses to kill", "why=\"%.*s\" effect=\"they are stopped\"",
                 (int)answer->text.len, answer->text.ptr);
    }
}

void serve_kill(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct serve *serve = ctx;
    struct core_span signal = core_json_tree_text(params, "signal");
    if (signal.len == 0) {
        struct serve_wait *wait = wait_begin(serve, request, params, WAIT_KILL);
        if (wait != NULL) {
            wait_tell(wait, "process.kill", "KILL", on_killed);
        }
        return;
    }
    const char **names = NULL;
    size_t names_len = 0;
    if (supervisor_signal_of(signal.ptr) == 0) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "\"%.*s\" is no signal: write it as TERM, HUP, USR1 or by number",
                        (int)signal.len, signal.ptr);
        return;
    }
    if (!serve_needs_link(serve, request) || !serve_names_pick(serve, request, params, true, &names, &names_len)) {
        return;
    }
    struct serve_wait *wait = wait_new(serve, request, WAIT_KILL, names, names_len);
    wait_tell(wait, "process.kill", supervisor_signal_name(supervisor_signal_of(signal.ptr)), on_signalled);
}

/* ---- the end of all ------------------------------------------------------------------------------------------------------------ */

void serve_shutdown(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct serve *serve = ctx;
    (void)params;
    if (!serve_needs_link(serve, request)) {
        return;
    }
    if (serve->is_ending) {
        core_rpc_refuse(request, CORE_RPC_REFUSED, "a shutdown is under way");
        return;
    }
    const char **names = calloc(serve->processes_len + 1, sizeof(*names));
    MUST(names != NULL);
    for (size_t i = 0; i < serve->processes_len; i++) {
        names[i] = serve->processes[i].name;
    }
    core_log(CORE_LEVEL_INFO, "serve", "shutdown: all nodes in their order, then the Supervisor, then this program",
             "by=\"%s\"", core_rpc_request_who(request));
    serve->is_ending = true;
    struct serve_wait *wait = wait_new(serve, request, WAIT_SHUTDOWN, names, serve->processes_len);
    wait_tell(wait, wait_actions[WAIT_SHUTDOWN].method, NULL, wait_on_answer);
}

bool serve_wait_on_gone(struct serve *serve) {
    struct serve_wait *wait = serve->waits;
    while (wait != NULL && wait->action != WAIT_SHUTDOWN) {
        wait = wait->next;
    }
    if (wait == NULL) {
        return true;
    }
    bool are_all_down = true;
    for (size_t i = 0; i < wait->nodes_len; i++) {
        struct wait_node *node = &wait->nodes[i];
        bool has_ended = node->is_done || node->state == SUPERVISOR_BACKOFF || node->state == SUPERVISOR_LATCHED;
        are_all_down = are_all_down && has_ended;
        if (!node->is_done) {
            node_done(wait, node, has_ended,
                      has_ended ? "it was not running" : "the Supervisor went away before it was down");
        }
    }
    wait_answer(wait);
    return are_all_down;
}

void serve_wait_end(struct serve *serve) {
    struct serve_wait *next = NULL;
    for (struct serve_wait *wait = serve->waits; wait != NULL; wait = next) {
        next = wait->next;
        core_rpc_refuse(wait->request, CORE_RPC_FAILED,
                        "tapline serve ends; the Supervisor goes on with what it was told");
        wait_free(wait);
    }
}
