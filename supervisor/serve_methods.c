/* supervisor/serve_methods.c: what people can ask Main: the table, words for nodes, status.
 *
 * What needs a state asks the Supervisor for it, so an answer is never older than its question; what needs none is answered
 * from what was deployed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_internal.h"
#include "supervisor/supervisor_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define STATUS_NODE_BYTES 3072 /* of a node in an answer: names, interface and reason, escaped */
#define STATUS_HEAD_BYTES 8192
#define TIME_BYTES 27

const struct core_rpc_method serve_methods[] = {
    {"status", "How the nodes are: {nodes: [words]}, none: all. Result: {supervisor, nodes: [{name, type, state, …}]}.",
     serve_status},
    {"nodes",
     "What is deployed: {nodes: [words]}. Result: {nodes: [{name, type, host, interface, group, directory, …}]}.",
     serve_nodes},
    {"start",
     "Start nodes: {nodes: [words], exact}, none: all; with exact a word is the name of one node. Result, when all are "
     "ready or have failed: {nodes: [{name, state, ok, reason}]}; progress {name, state, reason}.",
     serve_start},
    {"stop", "Stop nodes, workers before proxies before managers: as start.", serve_stop},
    {"restart", "Stop and start nodes: as start.", serve_restart},
    {"kill", "{nodes: [words], signal}: send a signal; without signal, end them at once, and they stay down.",
     serve_kill},
    {"check",
     "{nodes: [words]}: have zeek -a, suricata -T, snort -T judge what a deploy would run. Result: {ok, checks: "
     "[{name, program, ok, text}]}.",
     serve_check},
    {"deploy",
     "{nodes: [words], dry_run, force}: check, write files, start what is new, restart what changed, and put all back "
     "if a node does not become ready. Result: {ok, rolled_back, text, changes, files, nodes: [{name, state, ok, "
     "reason}], checks, warnings}.",
     serve_deploy},
    {"shutdown", "Stop all nodes in their order, then the Supervisor, then tapline serve itself.", serve_shutdown},
    {"logs.read",
     "{node, file, offset | lines}: a part of a file in a node's directory, at most 256 KiB. Result: {text, offset, "
     "next, "
     "size, inode, is_whole}; next is the offset to ask with.",
     serve_logs_read},
    {"log.level", CORE_RPC_LOG_LEVEL, core_rpc_log_level},
    {"diag.list",
     "Crash reports, newest first: {nodes: [words]}, none: all. Result: {directory, reports: [{name, node, time, end, "
     "text, …}]}.",
     serve_diag_list},
    {"diag.show",
     "One report: {report: name or node}; a node's newest. Result: {name, node, directory, text, details}.",
     serve_diag_show},
    {"netstats",
     "Packets received and dropped by sensor: {nodes: [words]}. Result: {nodes: [{name, source, received, dropped, "
     "…}]}.",
     serve_netstats},
    {"capstats",
     "What comes in at their interfaces now: {nodes: [words]}. Result: {interfaces: [{interface, nodes, packets_per_s, "
     "…}]}.",
     serve_capstats},
    {"df",
     "Room on the file systems in use. Result: {filesystems: [{path, what, size_bytes, used_bytes, free_bytes, …}]}.",
     serve_df},
    {"health.all",
     "How everything is: health documents of this process and of all others of tapline here. Result: {control, "
     "processes: "
     "[document]}.",
     serve_health_all},
};
const size_t serve_methods_len = sizeof(serve_methods) / sizeof(serve_methods[0]);

bool serve_method_at(size_t i, const char **name, const char **summary) {
    if (i >= serve_methods_len) {
        return false;
    }
    *name = serve_methods[i].name;
    *summary = serve_methods[i].summary;
    return true;
}

/* An event from before the server opened: what happened while no Main was there. */
struct early_event {
    struct early_event *next;
    size_t len;
    char members[];
};

void serve_event(struct serve *serve, struct core_span members) {
    if (serve->server != NULL) {
        core_rpc_event(serve->server, members);
        return;
    }
    size_t kept = 0;
    struct early_event **at = &serve->early;
    for (; *at != NULL; at = &(*at)->next) {
        kept++;
    }
    if (kept < CORE_RPC_EVENTS_KEPT) { /* the server would not keep more either */
        *at = malloc(sizeof(**at) + members.len);
        MUST(*at != NULL);
        (*at)->next = NULL;
        (*at)->len = members.len;
        memcpy((*at)->members, members.ptr, members.len);
    }
}

void serve_events_flush(struct serve *serve) {
    while (serve->early != NULL) {
        struct early_event *event = serve->early;
        serve->early = event->next;
        if (serve->server != NULL) {
            core_rpc_event(serve->server, (struct core_span){event->members, event->len});
        }
        free(event);
    }
}

bool serve_needs_link(struct serve *serve, struct core_rpc_request *request) {
    if (!serve->is_linked) {
        core_rpc_refuse(
            request, CORE_RPC_REFUSED,
            "no Supervisor answers at %s now; sensors go on as they are. %s Ask again in a second, and see the "
            "log of tapline serve",
            serve->conf->supervisor_socket,
            serve->conf->starts_supervisor ? "One is being started."
                                           : "Start its service (serve.starts_supervisor is no).");
    }
    return serve->is_linked;
}

/* ---- words ------------------------------------------------------------------------------------------------------------------- */

/* params.nodes: absent, a word, or a list of words. False: it is something else, and refused. */
static bool words_of(struct core_rpc_request *request, const struct core_json_tree *params,
                     const struct core_json_tree **first) {
    const struct core_json_tree *nodes = core_json_tree_get(params, "nodes");
    *first = NULL;
    if (nodes == NULL || nodes->kind == CORE_JSON_NULL) {
        return true;
    }
    if (nodes->kind != CORE_JSON_ARRAY) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "nodes is a list of words: names, groups, types or \"all\"");
        return false;
    }
    for (const struct core_json_tree *word = nodes->first; word != NULL; word = word->next) {
        if (word->kind != CORE_JSON_STRING || word->text.len == 0) {
            core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "nodes has something in it that is no word");
            return false;
        }
    }
    *first = nodes->first;
    return true;
}

static void refuse_word(struct serve *serve, struct core_rpc_request *request, struct core_span word) {
    const char *names[SENSORS_NODES_MAX] = {NULL};
    size_t len = 0;
    for (; len < serve->deployed.nodes_len && len < SENSORS_NODES_MAX; len++) {
        names[len] = serve->deployed.nodes[len].name;
    }
    const char *near = core_conf_nearest(word.ptr, names, len);
    if (len == 0) {
        core_rpc_refuse(request, CORE_RPC_UNKNOWN, "no node is deployed, so none is meant by \"%.*s\": tapline deploy",
                        (int)word.len, word.ptr);
    } else if (near != NULL) {
        core_rpc_refuse(request, CORE_RPC_UNKNOWN, "no node, group or type is named \"%.*s\", did you mean \"%s\"?",
                        (int)word.len, word.ptr, near);
    } else {
        core_rpc_refuse(request, CORE_RPC_UNKNOWN,
                        "no node, group or type is named \"%.*s\": `tapline nodes` lists what is deployed",
                        (int)word.len, word.ptr);
    }
}

/* Mark those that a word means. False: none. */
static bool word_mark(const struct serve *serve, struct core_span word, bool is_name, bool *marks) {
    bool is_any = !is_name && core_span_is(word, "all") && serve->deployed.nodes_len == 0;
    for (size_t i = 0; i < serve->deployed.nodes_len; i++) {
        const struct sensors_node *node = &serve->deployed.nodes[i];
        if (is_name ? core_span_is(word, node->name) : sensors_node_is_meant(node, word)) {
            marks[i] = true;
            is_any = true;
        }
    }
    return is_any;
}

bool serve_pick(struct serve *serve, struct core_rpc_request *request, const struct core_json_tree *params,
                size_t **picked, size_t *picked_len) {
    const struct core_json_tree *word = NULL;
    if (!words_of(request, params, &word)) {
        return false;
    }
    bool is_all = word == NULL;
    bool marks[SENSORS_NODES_MAX] = {false};
    for (; word != NULL; word = word->next) {
        if (!word_mark(serve, word->text, false, marks)) {
            refuse_word(serve, request, word->text);
            return false;
        }
    }
    *picked = calloc(serve->deployed.nodes_len + 1, sizeof(**picked));
    MUST(*picked != NULL);
    *picked_len = 0;
    for (size_t i = 0; i < serve->deployed.nodes_len; i++) {
        if (is_all || marks[i]) {
            (*picked)[(*picked_len)++] = i;
        }
    }
    return true;
}

static bool is_deployed(const struct serve *serve, const char *name) {
    return sensors_plan_find(&serve->deployed, core_span_of(name)) != NULL;
}

bool serve_names_pick(struct serve *serve, struct core_rpc_request *request, const struct core_json_tree *params,
                      bool needs_words, const char ***names, size_t *names_len) {
    const struct core_json_tree *first = NULL;
    if (!words_of(request, params, &first)) {
        return false;
    }
    if (first == NULL && needs_words) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "say which nodes: names, groups, types or \"all\"");
        return false;
    }
    bool is_name = core_json_tree_is_true(params, "exact");
    bool marks[SENSORS_NODES_MAX] = {false};
    *names = calloc(serve->deployed.nodes_len + serve->processes_len + 1, sizeof(**names));
    MUST(*names != NULL);
    *names_len = 0;
    for (const struct core_json_tree *word = first; word != NULL; word = word->next) {
        const struct serve_process *process = serve_process_find(serve, word->text);
        bool is_stranger = process != NULL && !is_deployed(serve, process->name);
        if (is_stranger && *names_len < serve->processes_len) {
            (*names)[(*names_len)++] = process->name;
        } else if (!word_mark(serve, word->text, is_name, marks)) {
            refuse_word(serve, request, word->text);
            free(*names);
            return false;
        }
    }
    for (size_t i = 0; i < serve->deployed.nodes_len; i++) {
        if (first == NULL || marks[i]) {
            (*names)[(*names_len)++] = serve->deployed.nodes[i].name;
        }
    }
    return true;
}

/* ---- status ------------------------------------------------------------------------------------------------------------------- */

struct status {
    struct serve *serve;
    struct core_rpc_request *request;
    bool is_all;
    size_t names_len;
    char (*names)[SUPERVISOR_NAME_BYTES_MAX + 1];
};

static void time_put(struct core_buf *out, const char *key, int64_t ns) {
    char text[TIME_BYTES];
    bool is_said = ns > 0 && core_time_iso(ns, text);
    if (is_said) {
        core_json_put_text(out, key, (struct core_span){text, sizeof(text)});
    } else {
        core_buf_char(out, ',');
        core_buf_string(out, core_span_of(key));
        core_buf_span(out, CORE_SPAN(":null"));
    }
}

/* How long this pid has been running; 0: it is gone, or none. */
static int64_t uptime_ns(int64_t pid) {
    struct supervisor_usage usage;
    struct timespec now;
    long per_second = sysconf(_SC_CLK_TCK);
    if (pid <= 0 || !supervisor_usage_of((pid_t)pid, &usage) || clock_gettime(CLOCK_BOOTTIME, &now) != 0) {
        return 0;
    }
    MUST(per_second > 0);
    int64_t started = (int64_t)usage.start_ticks * (CORE_NS_PER_S / per_second);
    int64_t uptime = now.tv_sec * CORE_NS_PER_S + now.tv_nsec - started;
    return uptime > 0 ? uptime : 0;
}

static void process_put(struct core_buf *out, const struct serve_process *process) {
    char seconds[32];
    int len = snprintf(seconds, sizeof(seconds), ",\"cpu_seconds\":%.3f", process->cpu_seconds);
    core_json_put_text(out, "state", core_span_of(supervisor_state_names[process->state]));
    core_json_put_bool(out, "is_wanted", process->is_wanted);
    if (process->pid > 0) {
        core_json_put_number(out, "pid", process->pid);
    } else {
        core_buf_span(out, CORE_SPAN(",\"pid\":null"));
    }
    time_put(out, "since", process->since_ns);
    core_json_put_number(out, "uptime_ns", uptime_ns(process->pid));
    core_json_put_number(out, "starts", (int64_t)process->starts);
    core_json_put_number(out, "deaths", (int64_t)process->deaths);
    core_json_put_text(out, "last_end", core_span_of(process->last_end));
    core_json_put_text(out, "reason", core_span_of(process->reason));
    core_json_put_number(out, "rss_bytes", (int64_t)process->rss_bytes);
    core_buf_put(out, seconds, (size_t)len);
    core_json_put_number(out, "threads", (int64_t)process->threads);
    core_json_put_bool(out, "is_changed", process->is_changed);
    core_json_put_bool(out, "is_adopted", process->is_adopted);
}

static void node_put(struct core_buf *out, const struct sensors_node *node) {
    core_json_put_text(out, "name", core_span_of(node->name));
    core_json_put_text(out, "type", core_span_of(sensor_type_names[node->type]));
    core_json_put_text(out, "host", core_span_of(node->host));
    core_json_put_text(out, "interface", core_span_of(node->interface));
    core_json_put_text(out, "group", core_span_of(node->spec.group != NULL ? node->spec.group : ""));
}

static void status_put(struct core_buf *out, struct serve *serve, const char *name) {
    static const struct serve_process none = {.state = SUPERVISOR_DOWN, .reason = "the Supervisor does not have it"};
    const struct sensors_node *node = sensors_plan_find(&serve->deployed, core_span_of(name));
    const struct serve_process *process = serve_process_find(serve, core_span_of(name));
    if (node == NULL && process == NULL) {
        return; /* both gone since the question */
    }
    core_buf_put(out, ",", out->pos[-1] == '[' ? 0 : 1);
    core_buf_char(out, '{');
    if (node != NULL) {
        node_put(out, node);
    } else {
        core_json_put_text(out, "name", core_span_of(name));
        core_json_put_text(out, "type", core_span_of(sensor_type_names[SENSOR_PROGRAM]));
        core_json_put_text(out, "host", CORE_SPAN("localhost"));
        core_json_put_text(out, "interface", CORE_SPAN(""));
        core_json_put_text(out, "group", core_span_of(process->group));
    }
    process_put(out, process != NULL ? process : &none);
    core_json_put_bool(out, "is_deployed", node != NULL);
    core_buf_char(out, '}');
}

static void supervisor_put(struct core_buf *out, const struct serve *serve) {
    core_buf_span(out, CORE_SPAN("{\"supervisor\":{"));
    core_json_put_bool(out, "is_linked", serve->is_linked);
    core_json_put_text(out, "socket", core_span_of(serve->conf->supervisor_socket));
    core_json_put_text(out, "instance", core_span_of(serve->events_instance));
    core_buf_span(out, CORE_SPAN("},\"nodes\":["));
}

static bool is_named(const struct status *status, const char *name) {
    for (size_t i = 0; i < status->names_len; i++) {
        if (strcmp(status->names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void on_list(void *ctx, const struct core_rpc_answer *answer) {
    struct status *status = ctx;
    struct serve *serve = status->serve;
    if (answer->result == NULL || !serve_mirror_take(serve, answer->result)) {
        core_rpc_refuse(status->request, CORE_RPC_FAILED, "the Supervisor did not say how its processes are: %.*s",
                        (int)answer->text.len, answer->text.ptr);
        goto out;
    }
    size_t room = STATUS_HEAD_BYTES + (status->names_len + serve->processes_len) * STATUS_NODE_BYTES;
    char *bytes = malloc(room);
    MUST(bytes != NULL);
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + room};
    supervisor_put(&out, serve);
    for (size_t i = 0; i < status->names_len; i++) {
        status_put(&out, serve, status->names[i]);
    }
    for (size_t i = 0; status->is_all && i < serve->processes_len; i++) { /* strangers, and what was deployed since */
        if (!is_named(status, serve->processes[i].name)) {
            status_put(&out, serve, serve->processes[i].name);
        }
    }
    core_buf_span(&out, CORE_SPAN("]}"));
    MUST(!out.is_full);
    core_rpc_result(status->request, core_buf_written(&out));
    free(bytes);
out:
    free(status->names);
    free(status);
}

void serve_status(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct serve *serve = ctx;
    const char **names = NULL;
    size_t names_len = 0;
    const struct core_json_tree *word = NULL;
    if (!serve_needs_link(serve, request) || !serve_names_pick(serve, request, params, false, &names, &names_len)) {
        return;
    }
    bool is_said = words_of(request, params, &word);
    MUST(is_said); /* as serve_names_pick() found */
    struct status *status = calloc(1, sizeof(*status));
    MUST(status != NULL);
    *status = (struct status){.serve = serve, .request = request, .names_len = names_len};
    status->names = calloc(names_len + 1, sizeof(*status->names));
    MUST(status->names != NULL);
    status->is_all = word == NULL;
    for (; word != NULL; word = word->next) {
        status->is_all = status->is_all || core_span_is(word->text, "all");
    }
    for (size_t i = 0; i < names_len; i++) {
        (void)snprintf(status->names[i], sizeof(status->names[i]), "%s", names[i]);
    }
    free(names);
    serve_ask(serve, "process.list", CORE_SPAN("{\"spec\":false}"), on_list, status);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------------------ */

void serve_nodes(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct serve *serve = ctx;
    size_t *picked = NULL;
    size_t picked_len = 0;
    if (!serve_pick(serve, request, params, &picked, &picked_len)) {
        return;
    }
    size_t room = STATUS_HEAD_BYTES;
    for (size_t i = 0; i < picked_len; i++) {
        room += STATUS_NODE_BYTES + serve->deployed.nodes[picked[i]].spec_json.len;
    }
    char *bytes = malloc(room);
    MUST(bytes != NULL);
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + room};
    core_buf_span(&out, CORE_SPAN("{\"nodes\":["));
    for (size_t i = 0; i < picked_len; i++) {
        const struct sensors_node *node = &serve->deployed.nodes[picked[i]];
        core_buf_put(&out, ",", i == 0 ? 0 : 1);
        core_buf_char(&out, '{');
        node_put(&out, node);
        core_json_put_text(&out, "directory", core_span_of(node->directory));
        core_json_put_text(&out, "metrics_url", core_span_of(node->metrics_url));
        core_json_put_number(&out, "order", node->spec.order);
        core_buf_span(&out, CORE_SPAN(",\"spec\":"));
        core_buf_span(&out, node->spec_json);
        core_buf_char(&out, '}');
    }
    core_buf_span(&out, CORE_SPAN("]}"));
    if (out.is_full || core_buf_written(&out).len > CORE_RPC_LINE_BYTES_MAX - STATUS_HEAD_BYTES) {
        core_rpc_refuse(request, CORE_RPC_FAILED, "the answer would be too long; ask for fewer nodes at once");
    } else {
        core_rpc_result(request, core_buf_written(&out));
    }
    free(bytes);
    free(picked);
}
