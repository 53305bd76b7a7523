/* supervisor/methods.c: what Main can tell the Supervisor.
 *
 * Parameters are an object; a member that a method does not know is refused, and so is a request as a whole if one name of it is
 * unknown. An answer says what is being done, and comes when the state file has it.
 *
 *   process.list {names?, spec?: bool}  {"processes":[{"name","group","order","state","is_wanted","pid","since","starts","deaths",
 *                                       "last_end":null|{"exit"|"signal"|"unknown"|"not_started","time"},"adopted","reason",
 *                                       "rss_bytes","cpu_seconds","threads","is_changed","spec"}]}, by name. is_changed: runs with
 *                                       another spec than the one shown, until its next start. spec: false leaves specs out.
 *   process.set {spec}                  {"name","is_new","is_changed","is_pending"}: pending until it is started again
 *   process.remove {name}               {"name"}; only what does not run
 *   process.start|stop|restart {names}  {"doing":[names],"nothing_to_do":[names]}
 *   process.kill {names, signal?}       the same; a signal to the whole group, "KILL" if none is given
 *   supervisor.stop {processes: bool}   {"stopping":n}: all processes first, or (false) none
 *   supervisor.upgrade {program?}       {"program"}: executed a moment later, if it says that it can take over
 *   log.level {level?, stage?}          {"level"}: core/log_call.c
 *   supervisor.info {}                  {"version","pid","instance","program","state","cgroup","started","processes","running",
 *                                       "is_ending","rss_bytes","cpu_seconds"}
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/engine_internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LIST_BYTES_MAX (CORE_RPC_LINE_BYTES_MAX - 4096)
#define UPGRADE_SOON_NS (20 * CORE_NS_PER_MS)

/* ---- parameters ---------------------------------------------------------------------------------------------------------- */

/* Is params an object (or nothing) with no members but these? Else it is refused already. */
static bool is_good(struct core_rpc_request *request, const struct core_json_tree *params, const char *const *known) {
    if (params != NULL && params->kind != CORE_JSON_OBJECT) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "params must be an object");
        return false;
    }
    for (const struct core_json_tree *member = params == NULL ? NULL : params->first; member != NULL;
         member = member->next) {
        size_t i = 0;
        while (known[i] != NULL && !core_span_is(member->key, known[i])) {
            i++;
        }
        if (known[i] == NULL) {
            core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "there is no parameter \"%.*s\"",
                            (int)core_utf8_cut(member->key, SUPERVISOR_NAME_BYTES_MAX).len, member->key.ptr);
            return false;
        }
    }
    return true;
}

/* What a member that is true or false says. False: it is something else, refused already. */
static bool get_bool(struct core_rpc_request *request, const struct core_json_tree *params, const char *name,
                     bool *out) {
    const struct core_json_tree *member = core_json_tree_get(params, name);
    if (member == NULL) {
        return true;
    }
    if (member->kind != CORE_JSON_BOOL) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "%s must be true or false", name);
        return false;
    }
    *out = core_span_is(member->text, "true");
    return true;
}

/* What a method is to be done with. */
struct picked {
    const char *method;
    struct supervisor_process *processes[SUPERVISOR_PROCESSES_MAX];
    size_t len;
};

static bool pick_one(struct supervisor *supervisor, struct core_rpc_request *request, const struct core_json_tree *name,
                     struct picked *picked) {
    if (name->kind != CORE_JSON_STRING) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "names must be names");
        return false;
    }
    struct supervisor_process *process = supervisor_find(supervisor, name->text);
    if (process == NULL) {
        struct core_span shown = core_utf8_cut(name->text, SUPERVISOR_NAME_BYTES_MAX);
        core_rpc_refuse(request, CORE_RPC_UNKNOWN, "there is no process \"%.*s\"; nothing was done", (int)shown.len,
                        shown.ptr);
        return false;
    }
    for (size_t i = 0; i < picked->len; i++) {
        if (picked->processes[i] == process) {
            return true; /* named twice */
        }
    }
    picked->processes[picked->len++] = process;
    return true;
}

/* All that params.names names; false: refused already. */
static bool pick(struct supervisor *supervisor, struct core_rpc_request *request, const struct core_json_tree *params,
                 struct picked *picked) {
    const struct core_json_tree *names = core_json_tree_get(params, "names");
    picked->len = 0;
    if (names == NULL || names->kind != CORE_JSON_ARRAY) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "names must be a list of names");
        return false;
    }
    for (const struct core_json_tree *name = names->first; name != NULL; name = name->next) {
        if (!pick_one(supervisor, request, name, picked)) {
            return false;
        }
    }
    return true;
}

static bool is_refused_at_end(const struct supervisor *supervisor, struct core_rpc_request *request) {
    if (supervisor->is_ending) {
        core_rpc_refuse(request, CORE_RPC_REFUSED, "the Supervisor is ending; start it again first");
    }
    return supervisor->is_ending;
}

/* ---- answers --------------------------------------------------------------------------------------------------------------- */

static struct core_buf scratch_buf(struct supervisor *supervisor, size_t len) {
    core_arena_reset(&supervisor->scratch, 0);
    char *text = core_arena_alloc(&supervisor->scratch, len);
    MUST(text != NULL);
    return (struct core_buf){.start = text, .pos = text, .end = text + len};
}

static void put(struct core_buf *buf, const char *text) {
    core_buf_put(buf, text, strlen(text));
}

/* With the two digits that a clock tick of 10 ms has. */
static void put_cpu(struct core_buf *buf, uint64_t ticks) {
    const uint64_t a_second = (uint64_t)sysconf(_SC_CLK_TCK);
    char text[32];
    (void)snprintf(text, sizeof(text), "%.2f", (double)ticks / (double)a_second);
    core_json_put_key(buf, "cpu_seconds");
    put(buf, text);
}

static void put_usage(struct core_buf *buf, pid_t pid) {
    struct supervisor_usage usage = {.rss_bytes = 0};
    if (pid == 0 || !supervisor_usage_of(pid, &usage)) {
        usage = (struct supervisor_usage){.rss_bytes = 0};
    }
    core_json_put_number(buf, "rss_bytes", (int64_t)usage.rss_bytes);
    put_cpu(buf, usage.cpu_ticks);
    core_json_put_number(buf, "threads", (int64_t)usage.threads);
}

static void put_process(struct core_buf *buf, const struct supervisor_process *process, bool with_spec) {
    const struct supervisor_held *held = process->next != NULL ? process->next : process->held;
    core_buf_char(buf, '{');
    core_json_put_text(buf, "name", core_span_of(held->spec.name));
    core_json_put_text(buf, "group", core_span_of(held->spec.group != NULL ? held->spec.group : ""));
    core_json_put_number(buf, "order", held->spec.order);
    core_json_put_text(buf, "state", core_span_of(supervisor_state_names[process->state]));
    core_json_put_bool(buf, "is_wanted", process->is_wanted);
    core_json_put_number(buf, "pid", process->pid.pid);
    core_json_put_key(buf, "since");
    supervisor_time_put(buf, process->since_ns);
    core_json_put_number(buf, "starts", (int64_t)process->starts);
    core_json_put_number(buf, "deaths", (int64_t)process->deaths);
    core_json_put_key(buf, "last_end");
    if (process->last_end.kind == SUPERVISOR_ENDED_NOT) {
        put(buf, "null");
    } else {
        core_buf_char(buf, '{');
        supervisor_end_put(buf, &process->last_end);
        core_json_put_key(buf, "time");
        supervisor_time_put(buf, process->last_end.time_ns);
        core_buf_char(buf, '}');
    }
    core_json_put_bool(buf, "adopted", supervisor_process_is_alive(process) && !process->pid.is_child);
    core_json_put_text(buf, "reason", core_span_of(process->reason));
    core_json_put_text(buf, "quiet", core_span_of(process->quiet));
    put_usage(buf, process->pid.pid);
    core_json_put_bool(buf, "is_changed", process->next != NULL);
    if (with_spec) {
        core_json_put_key(buf, "spec");
        core_buf_span(buf, held->text);
    }
    core_buf_char(buf, '}');
}

/* ---- processes ------------------------------------------------------------------------------------------------------------- */

static void list(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    static const char *const known[] = {"names", "spec", NULL};
    struct supervisor *supervisor = ctx;
    struct picked picked = {.len = 0};
    bool with_spec = true;
    bool is_all = core_json_tree_get(params, "names") == NULL;
    if (!is_good(request, params, known) || !get_bool(request, params, "spec", &with_spec) ||
        (!is_all && !pick(supervisor, request, params, &picked))) {
        return;
    }
    struct core_buf buf = scratch_buf(supervisor, LIST_BYTES_MAX);
    struct supervisor_process **processes = is_all ? supervisor->processes : picked.processes;
    put(&buf, "{\"processes\":[");
    for (size_t i = 0; i < (is_all ? supervisor->processes_len : picked.len); i++) {
        put(&buf, i > 0 ? "," : "");
        put_process(&buf, processes[i], with_spec);
    }
    put(&buf, "]}");
    if (buf.is_full) {
        core_rpc_refuse(
            request, CORE_RPC_REFUSED,
            "the list would be longer than a line may be; ask without specs (\"spec\":false) or for some names");
    } else {
        core_rpc_result(request, core_buf_written(&buf));
    }
    core_arena_reset(&supervisor->scratch, 0);
}

static void set(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct supervisor *supervisor = ctx;
    struct supervisor_held *held = NULL;
    struct core_fail fail;
    if (params == NULL || params->kind != CORE_JSON_OBJECT) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "params must be the spec of a process");
        return;
    }
    if (is_refused_at_end(supervisor, request)) {
        return;
    }
    if (supervisor_held_new(params, &held, &fail) != CORE_OK) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "%s: %s", fail.where, fail.text);
        return;
    }
    struct supervisor_process *process = supervisor_find(supervisor, core_span_of(held->spec.name));
    const bool is_new = process == NULL;
    bool is_changed = true;
    if (is_new && supervisor->processes_len == SUPERVISOR_PROCESSES_MAX) {
        supervisor_held_free(held);
        core_rpc_refuse(request, CORE_RPC_REFUSED, "there are %d processes already, which is all there may be",
                        SUPERVISOR_PROCESSES_MAX);
        return;
    }
    if (is_new) {
        process = supervisor_process_new(supervisor, held);
        supervisor_add(supervisor, process);
    } else {
        is_changed = supervisor_process_respec(process, held);
    }
    struct core_buf buf = scratch_buf(supervisor, CORE_KIB);
    core_buf_char(&buf, '{');
    core_json_put_text(&buf, "name", core_span_of(supervisor_process_name(process)));
    core_json_put_bool(&buf, "is_new", is_new);
    core_json_put_bool(&buf, "is_changed", is_changed);
    core_json_put_bool(&buf, "is_pending", process->next != NULL);
    core_buf_char(&buf, '}');
    supervisor_keep_then_answer(supervisor, request, core_buf_written(&buf));
}

static void remove_one(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    static const char *const known[] = {"name", NULL};
    struct supervisor *supervisor = ctx;
    if (!is_good(request, params, known)) {
        return;
    }
    struct core_span name = core_json_tree_text(params, "name");
    struct supervisor_process *process = supervisor_find(supervisor, name);
    if (process == NULL) {
        core_rpc_refuse(request, CORE_RPC_UNKNOWN, "there is no process \"%.*s\"",
                        (int)core_utf8_cut(name, SUPERVISOR_NAME_BYTES_MAX).len, name.len > 0 ? name.ptr : "");
        return;
    }
    if (process->state == SUPERVISOR_STOPPING || supervisor_process_is_running(process)) {
        core_rpc_refuse(request, CORE_RPC_REFUSED, "%s is %s (pid %d); stop it first", supervisor_process_name(process),
                        supervisor_state_names[process->state], (int)process->pid.pid);
        return;
    }
    struct core_buf buf = scratch_buf(supervisor, CORE_KIB);
    core_buf_char(&buf, '{');
    core_json_put_text(&buf, "name", core_span_of(supervisor_process_name(process)));
    core_buf_char(&buf, '}');
    supervisor_remove(supervisor, process);
    supervisor_turns_soon(supervisor);
    supervisor_keep_then_answer(supervisor, request, core_buf_written(&buf));
}

/* What is asked of each; true: something is done. */
typedef bool each_do(struct supervisor_process *process, const void *how);

static void for_each(struct supervisor *supervisor, struct core_rpc_request *request, const struct picked *picked,
                     each_do *each, const void *how) {
    bool is_done[SUPERVISOR_PROCESSES_MAX];
    core_log(CORE_LEVEL_INFO, "supervise", "asked over the control channel", "method=%s processes=%zu who=\"%s\"",
             picked->method, picked->len, core_rpc_request_who(request));
    for (size_t i = 0; i < picked->len; i++) {
        is_done[i] = each(picked->processes[i], how);
    }
    supervisor_turns_go(supervisor);
    struct core_buf buf = scratch_buf(supervisor, SUPERVISOR_PROCESSES_MAX * (SUPERVISOR_NAME_BYTES_MAX + 8));
    for (int pass = 0; pass < 2; pass++) {
        bool is_first = true;
        put(&buf, pass == 0 ? "{\"doing\":[" : "],\"nothing_to_do\":[");
        for (size_t i = 0; i < picked->len; i++) {
            if (is_done[i] == (pass == 0)) {
                put(&buf, is_first ? "" : ",");
                core_buf_string(&buf, core_span_of(supervisor_process_name(picked->processes[i])));
                is_first = false;
            }
        }
    }
    put(&buf, "]}");
    supervisor_keep_then_answer(supervisor, request, core_buf_written(&buf));
    core_arena_reset(&supervisor->scratch, 0);
}

static const char *const names_only[] = {"names", NULL};

static bool start_one(struct supervisor_process *process, const void *how) {
    (void)how;
    bool is_running = supervisor_process_is_running(process) && process->turn != SUPERVISOR_TURN_STOP;
    supervisor_turns_start(process);
    return !is_running;
}

static void start(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct picked picked = {.method = "process.start"};
    if (is_good(request, params, names_only) && !is_refused_at_end(ctx, request) &&
        pick(ctx, request, params, &picked)) {
        for_each(ctx, request, &picked, start_one, NULL);
    }
}

static bool stop_one(struct supervisor_process *process, const void *how) {
    (void)how;
    bool is_down = process->state == SUPERVISOR_DOWN && process->turn == SUPERVISOR_TURN_NONE;
    supervisor_turns_stop(process);
    return !is_down;
}

static void stop(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct picked picked = {.method = "process.stop"};
    if (is_good(request, params, names_only) && !is_refused_at_end(ctx, request) &&
        pick(ctx, request, params, &picked)) {
        for_each(ctx, request, &picked, stop_one, NULL);
    }
}

static bool restart_one(struct supervisor_process *process, const void *how) {
    supervisor_turns_restart(process, *(const bool *)how);
    return true;
}

static void restart(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct picked picked = {.method = "process.restart"};
    bool by_turns = false;
    if (!is_good(request, params, names_only) || is_refused_at_end(ctx, request) ||
        !pick(ctx, request, params, &picked)) {
        return;
    }
    for (size_t i = 1; i < picked.len; i++) {
        by_turns |= picked.processes[i]->held->spec.order != picked.processes[0]->held->spec.order;
    }
    for_each(ctx, request, &picked, restart_one, &by_turns);
}

static bool kill_one(struct supervisor_process *process, const void *how) {
    if (supervisor_process_is_alive(process)) {
        supervisor_signal(&process->held->spec, &process->owner->cgroups, &process->pid, *(const int *)how);
    }
    return supervisor_process_is_alive(process);
}

static void kill_them(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    static const char *const known[] = {"names", "signal", NULL};
    struct picked picked = {.method = "process.kill"};
    const struct core_json_tree *word = core_json_tree_get(params, "signal");
    int number = word == NULL ? SIGKILL : 0;
    if (word != NULL && word->kind == CORE_JSON_STRING) {
        number = supervisor_signal_of(word->text.ptr);
    }
    if (!is_good(request, params, known)) {
        return;
    }
    if (number == 0) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "signal must be the name of a signal, such as \"TERM\"");
        return;
    }
    if (pick(ctx, request, params, &picked)) {
        for_each(ctx, request, &picked, kill_one, &number);
    }
}

/* ---- the Supervisor itself --------------------------------------------------------------------------------------------------- */

static void stop_all(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    static const char *const known[] = {"processes", NULL};
    struct supervisor *supervisor = ctx;
    bool with_processes = true;
    if (!is_good(request, params, known) || !get_bool(request, params, "processes", &with_processes)) {
        return;
    }
    if (core_json_tree_get(params, "processes") == NULL) {
        core_rpc_refuse(
            request, CORE_RPC_BAD_PARAMS,
            "processes must be true (all are stopped first) or false (all run on, for the next Supervisor)");
        return;
    }
    size_t alive = 0;
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        alive += supervisor_process_is_alive(supervisor->processes[i]) ? 1 : 0;
    }
    struct core_buf buf = scratch_buf(supervisor, CORE_KIB);
    core_buf_char(&buf, '{');
    core_json_put_number(&buf, "stopping", with_processes ? (int64_t)alive : 0);
    core_buf_char(&buf, '}');
    supervisor_tell(supervisor, CORE_LEVEL_INFO, "ends, as %s wants it; %s", core_rpc_request_who(request),
                    with_processes ? "all processes are stopped before" : "processes run on");
    core_rpc_result(request, core_buf_written(&buf));
    if (with_processes) {
        supervisor_turns_end(supervisor);
    } else {
        core_loop_stop(supervisor->loop);
    }
}

static void upgrade(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    static const char *const known[] = {"program", NULL};
    struct supervisor *supervisor = ctx;
    const struct core_json_tree *program = core_json_tree_get(params, "program");
    struct core_fail fail;
    if (!is_good(request, params, known) || is_refused_at_end(supervisor, request)) {
        return;
    }
    if (program != NULL && (program->kind != CORE_JSON_STRING || program->text.len == 0)) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "program must be a path");
        return;
    }
    const char *path = program != NULL ? program->text.ptr : supervisor->program;
    if (supervisor_reexec_try(supervisor, path, &fail) != CORE_OK) {
        core_rpc_refuse(request, CORE_RPC_FAILED, "%s %s; everything goes on as before", fail.where, fail.text);
        return;
    }
    struct core_buf buf = scratch_buf(supervisor, 8 * (size_t)SUPERVISOR_PATH_BYTES_MAX);
    core_buf_char(&buf, '{');
    core_json_put_text(&buf, "program", core_span_of(path));
    core_buf_char(&buf, '}');
    if (program != NULL) {
        free(supervisor->program);
        supervisor->program = strdup(path);
        MUST(supervisor->program != NULL);
    }
    core_rpc_result(request, core_buf_written(&buf));
    core_timer_set(supervisor->loop, &supervisor->upgrade_timer, core_tick_ns() + UPGRADE_SOON_NS);
}

static void info(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    static const char *const known[] = {NULL};
    struct supervisor *supervisor = ctx;
    size_t running = 0;
    if (!is_good(request, params, known)) {
        return;
    }
    for (size_t i = 0; i < supervisor->processes_len; i++) {
        running += supervisor_process_is_alive(supervisor->processes[i]) ? 1 : 0;
    }
    struct core_buf buf = scratch_buf(supervisor, 64 * CORE_KIB);
    core_buf_char(&buf, '{');
    core_json_put_text(&buf, "version", core_span_of(TAPLINE_VERSION));
    core_json_put_number(&buf, "pid", getpid());
    core_json_put_text(&buf, "instance", core_span_of(core_rpc_server_instance(supervisor->server)));
    core_json_put_text(&buf, "program", core_span_of(supervisor->program));
    core_json_put_text(&buf, "state", core_span_of(supervisor->options->state));
    core_json_put_text(&buf, "cgroup", core_span_of(supervisor->cgroups.root));
    core_json_put_key(&buf, "started");
    supervisor_time_put(&buf, supervisor->started_ns);
    core_json_put_number(&buf, "processes", (int64_t)supervisor->processes_len);
    core_json_put_number(&buf, "running", (int64_t)running);
    core_json_put_bool(&buf, "is_ending", supervisor->is_ending);
    put_usage(&buf, getpid());
    core_buf_char(&buf, '}');
    core_rpc_result(request, core_buf_written(&buf));
    core_arena_reset(&supervisor->scratch, 0);
}

const struct core_rpc_method supervisor_methods[] = {
    {.name = "log.level", .summary = CORE_RPC_LOG_LEVEL, .call = core_rpc_log_level},
    {.name = "process.list",
     .summary = "Processes: {names, spec}, none: all; with spec false their specs are left out. Result: {processes: "
                "[{name, group, order, state, "
                "is_wanted, pid, since, starts, deaths, last_end, adopted, reason, rss_bytes, cpu_seconds, threads, "
                "is_changed, spec}]}.",
     .call = list},
    {.name = "process.set",
     .summary = "Take a process: {spec}; one that runs goes on as it is until its next start. Result: {name, is_new, "
                "is_changed, is_pending}.",
     .call = set},
    {.name = "process.remove",
     .summary = "Forget a process that does not run: {name}. Result: {name}.",
     .call = remove_one},
    {.name = "process.start",
     .summary = "Want these up, started by turns, high order first: {names}. Result: {doing: [names], nothing_to_do: "
                "[names]}.",
     .call = start},
    {.name = "process.stop", .summary = "Want these down, stopped by turns, low order first: as start.", .call = stop},
    {.name = "process.restart", .summary = "Stop these by turns, then start them by turns: as start.", .call = restart},
    {.name = "process.kill",
     .summary = "A signal to the whole process groups of these: {names, signal}, KILL if none is named: as start.",
     .call = kill_them},
    {.name = "supervisor.stop",
     .summary = "End the Supervisor: {processes}: true, all processes first; false, they live on, and the next "
                "Supervisor adopts them. "
                "Result: {stopping: number}.",
     .call = stop_all},
    {.name = "supervisor.upgrade",
     .summary = "Execute its program anew, in the same process, if that says that it can take over: {program}, none: "
                "the one it was started "
                "from. Processes run on. Result: {program}.",
     .call = upgrade},
    {.name = "supervisor.info",
     .summary = "Of the Supervisor itself. Result: {version, pid, instance, program, state, cgroup, started, "
                "processes, running, is_ending, "
                "rss_bytes, cpu_seconds}.",
     .call = info},
};
const size_t supervisor_methods_len = sizeof(supervisor_methods) / sizeof(supervisor_methods[0]);

bool supervisor_method_at(size_t i, const char **name, const char **summary) {
    if (i >= supervisor_methods_len) {
        return false;
    }
    *name = supervisor_methods[i].name;
    *summary = supervisor_methods[i].summary;
    return true;
}
