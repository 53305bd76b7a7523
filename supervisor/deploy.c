/* supervisor/deploy.c: what the configuration says becomes what runs: check, compare, write, set, restart what changed; and all
 * the way back by itself if a node does not become ready.
 *
 * Phases: CHECKING, then (or at once, on the way back) STOPPING what is to go, SETTING the specs of what is new or has changed,
 * STARTING, and WAITING until each is ready. The way back is the same with the two plans exchanged; it restarts only what was
 * touched on the way there. Nothing here waits: each step ends in a call-back.
 *
 * What survives a kill of Main: deployed.json is the plan that is deployed, whole; it is replaced only when all is ready. Before
 * anything is touched, deploy.pending says what is under way: the next Main that finds it goes back to deployed.json. Without a
 * deployed.json there is nothing to go back to, and the next deploy makes a whole of it.
 *
 * A node that a person has stopped gets its new spec, but is not started: a deploy changes what runs, not whether it does.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/deploy_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAIL_BYTES 800                      /* of its output, where a node did not become ready */
#define WAIT_MORE_NS (60 * CORE_NS_PER_S)   /* beside what the nodes' own times add up to */
#define WAIT_NEVER_NS (600 * CORE_NS_PER_S) /* for one that may take for ever to be ready */
#define PATH_BYTES_MAX 4096

static void phase_begin(struct deploy *deploy, enum deploy_phase phase);

/* ---- names and files ------------------------------------------------------------------------------------------------------- */

static void state_path(const struct serve *serve, const char *name, char out[PATH_BYTES_MAX]) {
    (void)snprintf(out, PATH_BYTES_MAX, "%s/%s", serve->conf->state, name);
}

static void pending_remove(struct serve *serve) {
    char path[PATH_BYTES_MAX];
    state_path(serve, "deploy.pending", path);
    if (unlink(path) != 0 && errno != ENOENT) {
        core_log(
            CORE_LEVEL_ERROR, "deploy", "the mark of a deploy under way cannot be removed",
            "path=%s error=\"%s\" effect=\"the next start goes back to what was deployed before\" help=\"remove it\"",
            path, strerror(errno));
    }
}

static struct serve_process *process_of(const struct deploy *deploy, const struct deploy_row *row) {
    return serve_process_find(deploy->serve, core_span_of(row->name));
}

/* ---- the end --------------------------------------------------------------------------------------------------------------------- */

static void deploy_free(struct deploy *deploy) {
    deploy->serve->deploy = NULL;
    core_timer_clear(&deploy->timer);
    deploy_check_free(deploy->check);
    core_arena_destroy(&deploy->arena);
    free(deploy);
}

static void deploy_done(struct deploy *deploy) {
    if (deploy->request != NULL) {
        deploy_answer(deploy);
    }
    deploy_free(deploy);
}

static size_t changes_count(const struct deploy *deploy) {
    size_t count = 0;
    for (size_t i = 0; i < deploy->rows_len; i++) {
        count += deploy->rows[i].change != DEPLOY_SAME ? 1 : 0;
    }
    return count;
}

static void deploy_succeed(struct deploy *deploy) {
    struct serve *serve = deploy->serve;
    struct core_fail fail = {0};
    char path[PATH_BYTES_MAX];
    char text[128];
    state_path(serve, "deployed.json", path);
    if (deploy_plan_save(&deploy->to, path, &fail) != CORE_OK) {
        core_log_fail(CORE_LEVEL_ERROR, "deploy",
                      "all is ready, but what was deployed cannot be kept: the next start goes back", &fail);
        deploy->has_failed = true;
        (void)snprintf(deploy->failed, sizeof(deploy->failed), "all is ready, but %s: %s; the next start goes back",
                       fail.where, fail.text);
    } else {
        pending_remove(serve);
    }
    (void)snprintf(text, sizeof(text), "deployed: %zu nodes, %zu of them changed", deploy->to.nodes_len,
                   changes_count(deploy));
    core_log(CORE_LEVEL_INFO, "deploy", text, "%s", "");
    deploy_event_tell(deploy, text);
    if (deploy->request != NULL) {
        deploy_answer(deploy);
    }
    core_arena_destroy(&serve->deployed_arena);
    serve->deployed_arena = deploy->arena;
    serve->deployed = deploy->to;
    deploy->arena = (struct core_arena){0};
    deploy_free(deploy);
}

/* The Supervisor went away: what is half done is put back when it is there again. */
static void deploy_cut(struct deploy *deploy) {
    deploy->is_cut = true;
    deploy->has_failed = true;
    (void)snprintf(deploy->failed, sizeof(deploy->failed),
                   "the Supervisor went away in the middle of it; all is put back as it was when it answers again");
    core_log(CORE_LEVEL_ERROR, "deploy", "cut short", "what=\"%s\"", deploy->failed);
    deploy_done(deploy);
}

static void deploy_fail(struct deploy *deploy, const char *fmt, ...) CORE_PRINTF(2, 3);
static void deploy_fail(struct deploy *deploy, const char *fmt, ...) {
    char text[DEPLOY_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    core_timer_clear(&deploy->timer);
    deploy->has_failed = true;
    if (deploy->is_back) { /* the first reason is the one that counts */
        core_log(
            CORE_LEVEL_ERROR, "deploy", "the way back has failed, too",
            "what=\"%s\" effect=\"it stays as it is now\" help=\"tapline status; mend the cause, then tapline deploy\"",
            text);
        pending_remove(deploy->serve);
        deploy_event_tell(deploy, deploy->failed);
        deploy_done(deploy);
        return;
    }
    (void)snprintf(deploy->failed, sizeof(deploy->failed), "%s", text);
    core_log(CORE_LEVEL_ERROR, "deploy", "failed", "what=\"%s\" effect=\"all is put back as it was\"", text);
    deploy_progress(deploy, "", "rolling back", text);
    deploy->is_back = true;
    phase_begin(deploy, DEPLOY_STOPPING);
}

/* ---- what the Supervisor is told ------------------------------------------------------------------------------------------------- */

static void on_told(void *ctx, const struct core_rpc_answer *told) {
    struct deploy *deploy = ctx;
    MUST(deploy->asked > 0);
    deploy->asked--;
    if (told->result == NULL && told->code == 0) {
        deploy->is_cut = true;
    } else if (told->result == NULL && deploy->is_back) {
        core_log(CORE_LEVEL_WARN, "deploy", "the Supervisor refuses a step of the way back", "what=\"%.*s\"",
                 (int)told->text.len, told->text.len == 0 ? "" : told->text.ptr);
    } else if (told->result == NULL && !deploy->has_failed) {
        deploy->has_failed = true;
        (void)snprintf(deploy->failed, sizeof(deploy->failed), "the Supervisor refused: %.*s", (int)told->text.len,
                       told->text.len == 0 ? "" : told->text.ptr);
    }
    if (deploy->asked > 0) {
        return; /* all answers first: nothing is under way then */
    }
    if (deploy->is_cut) {
        deploy_cut(deploy);
        return;
    }
    if (deploy->has_failed && !deploy->is_back) {
        char text[sizeof(deploy->failed)];
        memcpy(text, deploy->failed, sizeof(text));
        deploy_fail(deploy, "%s", text);
        return;
    }
    phase_begin(deploy, deploy->phase + 1);
}

static void ask(struct deploy *deploy, const char *method, struct core_span params) {
    deploy->asked++;
    serve_ask(deploy->serve, method, params, on_told, deploy);
}

/* {"names":[…]} of the rows that are_meant says; nothing if there are none. */
static void ask_names(struct deploy *deploy, const char *method,
                      bool (*is_meant)(const struct deploy *deploy, const struct deploy_row *row)) {
    size_t room = (deploy->rows_len + 1) * (SUPERVISOR_NAME_BYTES_MAX + 8);
    char *bytes = malloc(room);
    MUST(bytes != NULL);
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + room};
    size_t len = 0;
    core_buf_span(&out, CORE_SPAN("{\"names\":["));
    for (size_t i = 0; i < deploy->rows_len; i++) {
        struct deploy_row *row = &deploy->rows[i];
        if (is_meant(deploy, row)) {
            const struct serve_process *process = process_of(deploy, row);
            core_buf_put(&out, ",", len++ == 0 ? 0 : 1);
            core_buf_string(&out, core_span_of(row->name));
            row->is_touched = true;
            row->is_waited = true;
            row->starts = process != NULL ? process->starts : 0;
            row->state = process != NULL ? process->state : SUPERVISOR_DOWN;
            row->text[0] = '\0';
        }
    }
    core_buf_span(&out, CORE_SPAN("]}"));
    MUST(!out.is_full);
    if (len > 0) {
        ask(deploy, method, core_buf_written(&out));
    }
    free(bytes);
}

/* Does the row's node change on this way? */
static bool is_moved(const struct deploy *deploy, const struct deploy_row *row) {
    return row->change != DEPLOY_SAME && (!deploy->is_back || row->is_touched || row->change == DEPLOY_ADDED);
}

static bool is_to_go(const struct deploy *deploy, const struct deploy_row *row) {
    return is_moved(deploy, row) && deploy_target(deploy, row) == NULL && process_of(deploy, row) != NULL;
}

static bool is_to_start(const struct deploy *deploy, const struct deploy_row *row) {
    if (!is_moved(deploy, row) || deploy_target(deploy, row) == NULL) {
        return false;
    }
    const bool is_new = row->change == DEPLOY_ADDED && !deploy->is_back;
    const bool is_again = row->change == DEPLOY_REMOVED && deploy->is_back && row->was_wanted;
    return is_new || is_again;
}

static bool is_to_restart(const struct deploy *deploy, const struct deploy_row *row) {
    return is_moved(deploy, row) && row->change == DEPLOY_CHANGED && row->was_wanted;
}

static void set_specs(struct deploy *deploy) {
    for (size_t i = 0; i < deploy->rows_len; i++) {
        const struct deploy_row *row = &deploy->rows[i];
        const struct sensors_node *target = deploy_target(deploy, row);
        if (target == NULL && is_to_go(deploy, row)) {
            char bytes[SUPERVISOR_NAME_BYTES_MAX + 32];
            int len = snprintf(bytes, sizeof(bytes), "{\"name\":\"%s\"}", row->name);
            ask(deploy, "process.remove", (struct core_span){bytes, (size_t)len});
        } else if (target != NULL && row->change != DEPLOY_SAME) {
            ask(deploy, "process.set", target->spec_json);
        }
    }
}

/* ---- waiting ------------------------------------------------------------------------------------------------------------------------- */

/* The end of a file of output, in one line. */
static void tail_add(const char *directory, const char *name, char *out, size_t room) {
    char path[PATH_BYTES_MAX];
    char bytes[TAIL_BYTES + 1];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    off_t from = st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0;
    ssize_t got = pread(fd, bytes, TAIL_BYTES, from);
    (void)close(fd);
    struct core_span text = core_span_trim((struct core_span){bytes, got > 0 ? (size_t)got : 0});
    if (text.len > 0) {
        size_t used = strlen(out);
        (void)snprintf(out + used, room - used, "; %s ends with: %.*s", name, (int)text.len, text.ptr);
    }
}

static void node_failed(struct deploy *deploy, struct deploy_row *row, const char *why) {
    const struct sensors_node *target = deploy_target(deploy, row);
    (void)snprintf(row->text, sizeof(row->text), "%s", why);
    if (target != NULL) {
        const char *directory =
            target->spec.output.directory != NULL ? target->spec.output.directory : target->spec.cwd;
        tail_add(directory, "stderr.log", row->text, sizeof(row->text));
        tail_add(directory, "stdout.log", row->text, sizeof(row->text));
    }
    deploy_fail(deploy, "%s did not become ready: %s", row->name, row->text);
}

static bool is_waiting(const struct deploy *deploy) {
    for (size_t i = 0; i < deploy->rows_len; i++) {
        if (deploy->rows[i].is_waited) {
            return true;
        }
    }
    return false;
}

static void wait_over(void *ctx) {
    struct deploy *deploy = ctx;
    for (size_t i = 0; i < deploy->rows_len; i++) {
        struct deploy_row *row = &deploy->rows[i];
        if (row->is_waited) {
            row->is_waited = false;
            if (deploy_target(deploy, row) == NULL) {
                deploy_fail(deploy, "%s did not go down in its time", row->name);
            } else {
                node_failed(deploy, row, "its time is over");
            }
            return;
        }
    }
}

/* As long as the slowest may take, one order after the other. */
static void wait_begin(struct deploy *deploy) {
    int64_t time_ns = WAIT_MORE_NS;
    for (size_t i = 0; i < deploy->rows_len; i++) {
        const struct deploy_row *row = &deploy->rows[i];
        if (row->is_waited) {
            const struct supervisor_spec *spec = row->to != NULL ? &row->to->spec : &row->from->spec;
            time_ns += spec->stop.timeout_ns + (spec->ready.timeout_ns > 0 ? spec->ready.timeout_ns : WAIT_NEVER_NS);
        }
    }
    core_timer_set(deploy->serve->loop, &deploy->timer, core_tick_ns() + time_ns);
}

static void row_judge(struct deploy *deploy, struct deploy_row *row, const struct serve_process *process) {
    const bool is_new = process->starts != row->starts;
    row->state = process->state;
    switch (process->state) {
    case SUPERVISOR_READY:
    case SUPERVISOR_UP:
        if (deploy_target(deploy, row) != NULL && is_new) {
            row->is_waited = false;
            (void)snprintf(row->text, sizeof(row->text), "%s", process->reason);
        }
        break;
    case SUPERVISOR_DOWN:
        if (deploy_target(deploy, row) == NULL) {
            row->is_waited = false;
        } else if (is_new) {
            row->is_waited = false;
            node_failed(deploy, row, process->reason);
        }
        break;
    case SUPERVISOR_BACKOFF:
    case SUPERVISOR_LATCHED:
        if (deploy_target(deploy, row) != NULL) {
            row->is_waited = false;
            node_failed(deploy, row, process->reason[0] != '\0' ? process->reason : process->last_end);
        }
        break;
    case SUPERVISOR_STARTING:
    case SUPERVISOR_STOPPING:
    case SUPERVISOR_STATE__MAX:
        break;
    }
}

void deploy_on_state(struct serve *serve, const struct serve_process *process) {
    struct deploy *deploy = serve->deploy;
    if (deploy == NULL || deploy->phase == DEPLOY_CHECKING) {
        return;
    }
    for (size_t i = 0; i < deploy->rows_len; i++) {
        struct deploy_row *row = &deploy->rows[i];
        if (row->is_waited && strcmp(row->name, process->name) == 0) {
            deploy_progress(deploy, row->name, supervisor_state_names[process->state], process->reason);
            enum deploy_phase phase = deploy->phase;
            const bool is_back = deploy->is_back;
            row_judge(deploy, row, process);
            if (serve->deploy != deploy || deploy->phase != phase || deploy->is_back != is_back) {
                return; /* it has failed: another way, or the end */
            }
            break;
        }
    }
    if (deploy->asked == 0 && !is_waiting(deploy)) {
        phase_begin(deploy, deploy->phase == DEPLOY_WAITING ? DEPLOY_WAITING : deploy->phase + 1);
    }
}

/* ---- phases ---------------------------------------------------------------------------------------------------------------------------- */

static void ways_begin(struct deploy *deploy) {
    struct core_fail fail = {0};
    const struct sensors_plan *away = deploy->is_back ? &deploy->to : &deploy->from;
    const struct sensors_plan *there = deploy->is_back ? &deploy->from : &deploy->to;
    for (size_t i = 0; i < deploy->rows_len; i++) {
        struct deploy_row *row = &deploy->rows[i];
        const struct serve_process *process = process_of(deploy, row);
        row->is_waited = false;
        if (!deploy->is_back) {
            row->was_wanted = process != NULL && process->is_wanted;
        }
    }
    if (deploy_directory_make(deploy->serve->sensors->directory, &fail) != CORE_OK ||
        deploy_files_write(away, there, &fail) != CORE_OK) {
        deploy_fail(deploy, "%s: %s", fail.where, fail.text);
    }
}

/* A phase that has nothing to do is passed. */
static void phase_begin(struct deploy *deploy, enum deploy_phase phase) {
    const struct serve *serve = deploy->serve;
    const bool is_back = deploy->is_back;
    deploy->phase = phase;
    switch (phase) {
    case DEPLOY_CHECKING:
        MUST(!"a deploy begins with it");
        break;
    case DEPLOY_STOPPING:
        ways_begin(deploy);
        if (serve->deploy != deploy || deploy->is_back != is_back) {
            return;
        }
        ask_names(deploy, "process.stop", is_to_go);
        wait_begin(deploy);
        for (size_t i = 0; i < deploy->rows_len; i++) { /* what is down already has nothing more to tell */
            struct deploy_row *row = &deploy->rows[i];
            row->is_waited = row->is_waited && row->state != SUPERVISOR_DOWN;
        }
        break;
    case DEPLOY_SETTING:
        if (is_waiting(deploy)) { /* answered, but not yet all down: deploy_on_state() goes on */
            deploy->phase = DEPLOY_STOPPING;
            return;
        }
        set_specs(deploy);
        break;
    case DEPLOY_STARTING:
        ask_names(deploy, "process.start", is_to_start);
        ask_names(deploy, "process.restart", is_to_restart);
        wait_begin(deploy);
        break;
    case DEPLOY_WAITING:
        if (is_waiting(deploy)) {
            return;
        }
        core_timer_clear(&deploy->timer);
        if (deploy->is_back) {
            pending_remove(deploy->serve);
            deploy_event_tell(deploy, deploy->failed);
            core_log(CORE_LEVEL_WARN, "deploy", "all is as it was before", "because=\"%s\"", deploy->failed);
            deploy_done(deploy);
        } else {
            deploy_succeed(deploy);
        }
        return;
    }
    if (deploy->asked == 0 && !is_waiting(deploy)) {
        phase_begin(deploy, phase + 1);
    }
}

/* All is checked and compared: from here on things are touched. */
static void deploy_go(struct deploy *deploy) {
    struct core_fail fail = {0};
    char path[PATH_BYTES_MAX];
    state_path(deploy->serve, "deploy.pending", path);
    if (deploy_plan_save(&deploy->to, path, &fail) != CORE_OK) {
        deploy->has_failed = true;
        (void)snprintf(deploy->failed, sizeof(deploy->failed), "nothing was touched: %s: %s", fail.where, fail.text);
        core_log(CORE_LEVEL_ERROR, "deploy", "failed", "what=\"%s\"", deploy->failed);
        deploy_done(deploy);
        return;
    }
    phase_begin(deploy, DEPLOY_STOPPING);
}

/* ---- checks ---------------------------------------------------------------------------------------------------------------------------------- */

static bool is_to_check(void *ctx, const struct sensors_node *node) {
    const struct deploy *deploy = ctx;
    if (deploy->is_check_only) {
        bool is_meant = deploy->words == NULL;
        for (const struct core_json_tree *word = deploy->words != NULL ? deploy->words->first : NULL; word != NULL;
             word = word->next) {
            is_meant = is_meant || sensors_node_is_meant(node, word->text);
        }
        return is_meant;
    }
    for (size_t i = 0; i < deploy->rows_len; i++) {
        if (deploy->rows[i].to == node) {
            return deploy->rows[i].change != DEPLOY_SAME;
        }
    }
    return false;
}

static void on_check_progress(void *ctx, const char *nodes, bool is_ok) {
    deploy_progress(ctx, nodes, is_ok ? "checked" : "check failed", "");
}

static void on_checked(void *ctx) {
    struct deploy *deploy = ctx;
    deploy->has_failed = !deploy_check_is_ok(deploy->check);
    if (deploy->has_failed) {
        (void)snprintf(deploy->failed, sizeof(deploy->failed), "a check failed%s",
                       deploy->is_check_only || deploy->is_dry ? "" : ", so nothing was touched");
    }
    if (deploy->has_failed && !deploy->is_check_only) {
        core_log(CORE_LEVEL_ERROR, "deploy", "a check failed, so nothing was touched",
                 "help=\"tapline check --sensors\"");
    }
    if (deploy->has_failed || deploy->is_check_only || deploy->is_dry) {
        deploy_done(deploy);
        return;
    }
    if (!deploy->serve->is_linked) {
        deploy->has_failed = true;
        (void)snprintf(deploy->failed, sizeof(deploy->failed), "no Supervisor answers now, so nothing was touched");
        deploy_done(deploy);
        return;
    }
    deploy_go(deploy);
}

/* ---- the plan ------------------------------------------------------------------------------------------------------------------------------------ */

/* The file as it is now, its sections in place of those we have. */
static bool conf_fresh(struct serve *serve, struct core_conf_mistakes *mistakes) {
    struct serve_conf *conf = NULL;
    struct sensors_conf *sensors = NULL;
    const char *key = NULL;
    if (serve->env->load(serve->env->ctx, &conf, &sensors, mistakes) != CORE_OK) {
        return false;
    }
    if (!core_conf_same_restart(serve_opts, serve_opts_len, serve->conf, conf, &key)) {
        MUST(mistakes->len < sizeof(mistakes->fails) / sizeof(mistakes->fails[0]));
        (void)core_fail_set(&mistakes->fails[mistakes->len++], CORE_BAD, serve->env->path,
                            "serve.%s has changed, which needs a restart of tapline serve first (it touches no sensor)",
                            key);
        serve->env->release(serve->env->ctx, conf, sensors);
        return false;
    }
    serve->env->release(serve->env->ctx, serve->conf, serve->sensors);
    serve->conf = conf;
    serve->sensors = sensors;
    return true;
}

static void refuse_mistakes(struct core_rpc_request *request, const struct core_conf_mistakes *mistakes) {
    const struct core_fail *first = &mistakes->fails[0];
    for (size_t i = 0; i < mistakes->len; i++) {
        core_log(CORE_LEVEL_ERROR, "deploy", "the configuration has a mistake", "where=%s what=\"%s\"",
                 mistakes->fails[i].where, mistakes->fails[i].text);
    }
    if (request != NULL) {
        core_rpc_refuse(request, CORE_RPC_FAILED, "%s: %s (%zu mistakes in all; nothing was touched)", first->where,
                        first->text, mistakes->len);
    }
}

/* False: refused. */
static bool deploy_prepare(struct deploy *deploy, bool is_forced, const struct core_json_tree *words) {
    struct serve *serve = deploy->serve;
    struct core_fail fail = {0};
    struct core_conf_mistakes *mistakes = calloc(1, sizeof(*mistakes));
    MUST(mistakes != NULL);
    bool is_made = core_arena_init(&deploy->arena, DEPLOY_PLAN_BYTES_MAX, &fail) == CORE_OK &&
                   conf_fresh(serve, mistakes) &&
                   sensors_plan_make(serve->sensors, &deploy->arena, &deploy->to, mistakes) == CORE_OK;
    if (!is_made && mistakes->len > 0) {
        refuse_mistakes(deploy->request, mistakes);
    }
    const bool is_said = mistakes->len > 0;
    free(mistakes);
    deploy->from = serve->deployed;
    if (is_made) {
        is_made =
            (deploy->is_check_only || deploy_plan_narrow(&deploy->arena, &deploy->from, &deploy->to, words)) &&
            deploy_compare(&deploy->arena, &deploy->from, &deploy->to, is_forced, &deploy->rows, &deploy->rows_len);
    }
    if (!is_made && !is_said && deploy->request != NULL) {
        core_rpc_refuse(deploy->request, CORE_RPC_FAILED, "the plan needs more than %zu MiB: deploy fewer nodes",
                        DEPLOY_PLAN_BYTES_MAX / CORE_MIB);
    }
    return is_made;
}

static struct deploy *deploy_new(struct serve *serve, struct core_rpc_request *request) {
    struct deploy *deploy = calloc(1, sizeof(*deploy));
    MUST(deploy != NULL);
    deploy->serve = serve;
    deploy->request = request;
    deploy->timer = (struct core_timer){.on_time = wait_over, .ctx = deploy};
    serve->deploy = deploy;
    return deploy;
}

/* The words of params.nodes, kept: params live as long as the call. */
static const struct core_json_tree *words_keep(struct deploy *deploy, const struct core_json_tree *nodes) {
    char bytes[8192];
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    struct core_json_tree *kept = NULL;
    struct core_fail fail;
    serve_json_put(&out, nodes);
    char *text = out.is_full ? NULL : core_arena_copy(&deploy->arena, core_buf_written(&out));
    if (text == NULL || core_json_tree_read(&deploy->arena, core_span_of(text), &kept, &fail) != CORE_OK) {
        return NULL;
    }
    return kept;
}

static bool is_true(const struct core_json_tree *params, const char *key) {
    const struct core_json_tree *value = core_json_tree_get(params, key);
    return value != NULL && value->kind == CORE_JSON_BOOL && core_span_is(value->text, "true");
}

/* Each word must mean a node, deployed or planned. */
static bool words_are_known(struct deploy *deploy, const struct core_json_tree *words) {
    for (const struct core_json_tree *word = words != NULL ? words->first : NULL; word != NULL; word = word->next) {
        bool is_known = false;
        for (size_t i = 0; i < deploy->rows_len && !is_known; i++) {
            const struct deploy_row *row = &deploy->rows[i];
            is_known = (row->to != NULL && sensors_node_is_meant(row->to, word->text)) ||
                       (row->from != NULL && sensors_node_is_meant(row->from, word->text));
        }
        if (!is_known) {
            core_rpc_refuse(deploy->request, CORE_RPC_UNKNOWN,
                            "no node, group or type is named \"%.*s\", neither in the configuration nor deployed",
                            (int)word->text.len, word->text.ptr);
            return false;
        }
    }
    return true;
}

static void begin(struct serve *serve, struct core_rpc_request *request, const struct core_json_tree *params,
                  bool is_check_only) {
    const struct core_json_tree *nodes = core_json_tree_get(params, "nodes");
    if (serve->deploy != NULL) {
        if (request != NULL) {
            core_rpc_refuse(request, CORE_RPC_REFUSED, "a deploy or a check is under way: wait for its end");
        }
        return;
    }
    if (nodes != NULL && nodes->kind != CORE_JSON_ARRAY) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "nodes: an array of names, groups or types");
        return;
    }
    if (nodes != NULL && nodes->first == NULL) {
        nodes = NULL;
    }
    struct deploy *deploy = deploy_new(serve, request);
    deploy->is_check_only = is_check_only;
    deploy->is_dry = is_true(params, "dry_run");
    if (!deploy_prepare(deploy, is_true(params, "force"), nodes) || !words_are_known(deploy, nodes)) {
        deploy_free(deploy);
        return;
    }
    if (nodes != NULL) {
        deploy->words = words_keep(deploy, nodes);
        if (deploy->words == NULL) {
            core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "nodes: more words than can be kept");
            deploy_free(deploy);
            return;
        }
    }
    deploy->check = deploy_check_start(serve, &deploy->to, is_to_check, on_check_progress, on_checked, deploy);
}

void serve_check(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    begin(ctx, request, params, true);
}

void serve_deploy(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct serve *serve = ctx;
    if (is_true(params, "dry_run") || serve_needs_link(serve, request)) {
        begin(serve, request, params, false);
    }
}

void deploy_begin(struct serve *serve) {
    core_log(CORE_LEVEL_INFO, "deploy", "nothing was ever deployed here, so the configuration is",
             "file=%s help=\"serve.deploys: no, for a deploy by hand only\"", serve->env->path);
    begin(serve, NULL, NULL, false);
}

/* ---- over the life of Main -------------------------------------------------------------------------------------------------------------------- */

enum core_err deploy_load(struct serve *serve, struct core_fail *fail) {
    char path[PATH_BYTES_MAX];
    state_path(serve, "deployed.json", path);
    enum core_err err = core_arena_init(&serve->deployed_arena, DEPLOY_PLAN_BYTES_MAX, fail);
    if (err != CORE_OK) {
        return err;
    }
    err = deploy_plan_load(path, &serve->deployed_arena, &serve->deployed, fail);
    return err == CORE_GONE ? CORE_OK : err;
}

/* A Main before us was killed in the middle of a deploy, or the line broke in it: the way back. */
bool deploy_resume(struct serve *serve) {
    char path[PATH_BYTES_MAX];
    struct core_fail fail = {0};
    state_path(serve, "deploy.pending", path);
    if (serve->deploy != NULL || access(path, F_OK) != 0) {
        return serve->deploy != NULL;
    }
    if (serve->deployed.nodes_len == 0) {
        pending_remove(serve);
        return false;
    }
    struct deploy *deploy = deploy_new(serve, NULL);
    deploy->from = serve->deployed;
    if (core_arena_init(&deploy->arena, DEPLOY_PLAN_BYTES_MAX, &fail) != CORE_OK ||
        deploy_plan_load(path, &deploy->arena, &deploy->to, &fail) != CORE_OK ||
        !deploy_compare(&deploy->arena, &deploy->from, &deploy->to, false, &deploy->rows, &deploy->rows_len)) {
        core_log_fail(CORE_LEVEL_ERROR, "deploy",
                      "what a deploy that was cut short was to do cannot be read: what was deployed before counts",
                      &fail);
        pending_remove(serve);
        deploy_free(deploy);
        return false;
    }
    core_log(CORE_LEVEL_WARN, "deploy", "a deploy was cut short: all is put back as it was", "file=%s", path);
    (void)snprintf(deploy->failed, sizeof(deploy->failed), "a deploy was cut short");
    deploy->has_failed = true;
    deploy->is_back = true;
    for (size_t i = 0; i < deploy->rows_len; i++) {
        struct deploy_row *row = &deploy->rows[i];
        const struct serve_process *process = process_of(deploy, row);
        row->is_touched = row->change != DEPLOY_SAME;
        row->was_wanted = row->change == DEPLOY_REMOVED || (process != NULL && process->is_wanted);
    }
    phase_begin(deploy, DEPLOY_STOPPING);
    return true;
}

void deploy_end(struct serve *serve) {
    struct deploy *deploy = serve->deploy;
    if (deploy == NULL) {
        return;
    }
    if (deploy->request != NULL) {
        core_rpc_refuse(deploy->request, CORE_RPC_FAILED, "tapline serve ends; %s",
                        deploy->phase == DEPLOY_CHECKING ? "nothing was touched"
                                                         : "the next one puts back what was deployed before");
    }
    deploy_free(deploy);
}
