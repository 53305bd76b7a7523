/* supervisor/deploy.c: what the configuration says becomes what runs: check, compare, write, set, restart what changed; and all
 * the way back by itself if a node does not become ready. Here is what leads there (the configuration, the comparison, the
 * checks); the steps themselves are in deploy_steps.c.
 *
 * What survives a kill of Main: deployed.json is the plan that is deployed, whole; it is replaced only when all is ready. Before
 * anything is touched, deploy.pending says what is under way: the next Main that finds it goes back to deployed.json. Without a
 * deployed.json there is nothing to go back to, and it goes on with what is in deploy.pending, which was checked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/deploy_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PATH_BYTES_MAX 4096

void deploy_state_path(const struct serve *serve, const char *name, char *out, size_t room) {
    (void)snprintf(out, room, "%s/%s", serve->conf->state, name);
}

void deploy_mark_remove(struct serve *serve) {
    char path[PATH_BYTES_MAX];
    deploy_state_path(serve, "deploy.pending", path, sizeof(path));
    if (unlink(path) != 0 && errno != ENOENT) {
        core_log(
            CORE_LEVEL_ERROR, "deploy", "the mark of a deploy under way cannot be removed",
            "path=%s error=\"%s\" effect=\"the next start goes back to what was deployed before\" help=\"remove it\"",
            path, strerror(errno));
    }
}

void deploy_free(struct deploy *deploy) {
    deploy->serve->deploy = NULL;
    core_timer_clear(&deploy->timer);
    deploy_check_free(deploy->check);
    core_arena_destroy(&deploy->arena);
    free(deploy);
}

static void deploy_done(struct deploy *deploy) {
    deploy_answer(deploy);
    deploy_free(deploy);
}

/* Names of nodes that are to go and that a person had stopped: the way back must not start them. NULL: the arena is full. */
static const char *unwanted_names(struct deploy *deploy) {
    size_t room = deploy->rows_len * (SUPERVISOR_NAME_BYTES_MAX + 1) + 1;
    char *names = core_arena_alloc(&deploy->arena, room);
    size_t used = 0;
    for (size_t i = 0; names != NULL && i < deploy->rows_len; i++) {
        const struct deploy_row *row = &deploy->rows[i];
        if (row->change == DEPLOY_REMOVED && !row->was_wanted) {
            used += (size_t)snprintf(names + used, room - used, "%s%s", used == 0 ? "" : " ", row->name);
        }
    }
    if (names != NULL) {
        names[used] = '\0';
    }
    return names;
}

/* All is checked and compared: from here on things are touched. */
static void deploy_go(struct deploy *deploy) {
    struct core_fail fail = {.where = "deploy", .text = "out of memory"};
    char path[PATH_BYTES_MAX];
    deploy_state_path(deploy->serve, "deploy.pending", path, sizeof(path));
    for (size_t i = 0; i < deploy->rows_len; i++) {
        struct deploy_row *row = &deploy->rows[i];
        const struct serve_process *process = serve_process_find(deploy->serve, core_span_of(row->name));
        row->was_wanted = process != NULL && process->is_wanted;
    }
    const char *unwanted = unwanted_names(deploy);
    if (unwanted == NULL || deploy_plan_save(&deploy->to, unwanted, path, &fail) != CORE_OK) {
        deploy->has_failed = true;
        (void)snprintf(deploy->failed, sizeof(deploy->failed), "nothing was touched: %s: %s", fail.where, fail.text);
        core_log(CORE_LEVEL_ERROR, "deploy", "failed", "what=\"%s\"", deploy->failed);
        deploy_done(deploy);
        return;
    }
    deploy_steps_begin(deploy);
}

/* ---- checks ------------------------------------------------------------------------------------------------ */

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

/* ---- the plan ------------------------------------------------------------------------------------------------ */

/* The file as it is now, its sections in place of those we have. */
static bool conf_fresh(struct serve *serve, struct core_conf_mistakes *mistakes) {
    struct serve_conf *conf = NULL;
    struct sensors_conf *sensors = NULL;
    const char *section = NULL;
    const char *key = NULL;
    if (serve->env->load(serve->env->ctx, &conf, &sensors, mistakes) != CORE_OK) {
        return false;
    }
    if (serve_conf_needs_restart(serve, conf, &section, &key)) {
        MUST(mistakes->len < sizeof(mistakes->fails) / sizeof(mistakes->fails[0]));
        (void)core_fail_set(&mistakes->fails[mistakes->len++], CORE_BAD, serve->env->path,
                            "%s.%s has changed, which needs a restart of tapline serve first (it touches no sensor)",
                            section, key);
        serve->env->release(serve->env->ctx, conf, sensors);
        return false;
    }
    serve_conf_swap(serve, conf, sensors);
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
    bool is_made = core_arena_init(&deploy->arena, DEPLOY_ARENA_BYTES_MAX, &fail) == CORE_OK &&
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
    if (!is_made && !is_said) {
        core_log(CORE_LEVEL_ERROR, "deploy", "the plan is too large, so nothing was touched", "nodes=%zu max_mib=%zu",
                 deploy->to.nodes_len, DEPLOY_ARENA_BYTES_MAX / CORE_MIB);
    }
    if (!is_made && !is_said && deploy->request != NULL) {
        core_rpc_refuse(deploy->request, CORE_RPC_FAILED, "the plan needs more than %zu MiB: deploy fewer nodes",
                        DEPLOY_ARENA_BYTES_MAX / CORE_MIB);
    }
    return is_made;
}

static struct deploy *deploy_new(struct serve *serve, struct core_rpc_request *request) {
    struct deploy *deploy = calloc(1, sizeof(*deploy));
    MUST(deploy != NULL);
    deploy->serve = serve;
    deploy->request = request;
    serve->deploy = deploy;
    return deploy;
}

/* The words of params.nodes, kept: params live as long as the call. */
static const struct core_json_tree *words_keep(struct deploy *deploy, const struct core_json_tree *nodes) {
    char bytes[8192];
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    struct core_json_tree *kept = NULL;
    struct core_fail fail;
    core_json_put_tree(&out, nodes);
    char *text = out.is_full ? NULL : core_arena_copy(&deploy->arena, core_buf_written(&out));
    if (text == NULL || core_json_tree_read(&deploy->arena, core_span_of(text), &kept, &fail) != CORE_OK) {
        return NULL;
    }
    return kept;
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
    deploy->is_dry = core_json_tree_is_true(params, "dry_run");
    if (!deploy_prepare(deploy, core_json_tree_is_true(params, "force"), nodes) || !words_are_known(deploy, nodes)) {
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
    if (core_json_tree_is_true(params, "dry_run") || serve_needs_link(serve, request)) {
        begin(serve, request, params, false);
    }
}

void deploy_begin(struct serve *serve) {
    core_log(CORE_LEVEL_INFO, "deploy", "nothing was ever deployed here, so the configuration is",
             "file=%s help=\"serve.deploys: no, for a deploy by hand only\"", serve->env->path);
    begin(serve, NULL, NULL, false);
}

/* ---- over the life of Main -------------------------------------------------------------------------------------------------------------------- */

/* It cannot be used: what is configured is then deployed anew, which touches no process that runs as it should. */
static void plan_set_aside(const char *path, const struct core_fail *fail) {
    char aside[PATH_BYTES_MAX + sizeof(".damaged")];
    (void)snprintf(aside, sizeof(aside), "%s.damaged", path);
    const bool is_aside = rename(path, aside) == 0;
    core_log(CORE_LEVEL_ERROR, "deploy", "what was deployed cannot be read, so it counts as never deployed",
             "path=%s why=\"%s\" kept_as=%s effect=\"processes run on; those that the configuration has not are shown "
             "as not deployed\" help=\"tapline deploy\"",
             path, fail->text, is_aside ? aside : path);
}

enum core_err deploy_load(struct serve *serve, struct core_fail *fail) {
    char path[PATH_BYTES_MAX];
    deploy_state_path(serve, "deployed.json", path, sizeof(path));
    enum core_err err = core_arena_init(&serve->deployed_arena, DEPLOY_ARENA_BYTES_MAX, fail);
    if (err != CORE_OK) {
        return err;
    }
    err = deploy_plan_load(path, &serve->deployed_arena, &serve->deployed, NULL, fail);
    if (err == CORE_BAD || err == CORE_LIMIT) {
        plan_set_aside(path, fail);
        serve->deployed = (struct sensors_plan){0};
        core_arena_reset(&serve->deployed_arena, 0);
        err = CORE_OK;
    }
    return err == CORE_GONE ? CORE_OK : err;
}

static bool is_any_different(const struct deploy *deploy) {
    for (size_t i = 0; i < deploy->rows_len; i++) {
        if (deploy->rows[i].change != DEPLOY_SAME) {
            return true;
        }
    }
    return false;
}

/* What was under way, out of its mark. False: it cannot be known. */
static bool resume_load(struct deploy *deploy, const char *path) {
    struct core_fail fail = {.where = "deploy.pending", .text = "too large"};
    const char *unwanted = "";
    deploy->from = deploy->serve->deployed;
    if (core_arena_init(&deploy->arena, DEPLOY_ARENA_BYTES_MAX, &fail) != CORE_OK ||
        deploy_plan_load(path, &deploy->arena, &deploy->to, &unwanted, &fail) != CORE_OK ||
        !deploy_compare(&deploy->arena, &deploy->from, &deploy->to, false, &deploy->rows, &deploy->rows_len)) {
        core_log_fail(CORE_LEVEL_ERROR, "deploy",
                      "what a deploy that was cut short was to do cannot be read: what was deployed before counts",
                      &fail);
        return false;
    }
    for (size_t i = 0; i < deploy->rows_len; i++) {
        struct deploy_row *row = &deploy->rows[i];
        const struct serve_process *process = serve_process_find(deploy->serve, core_span_of(row->name));
        row->is_touched = row->change != DEPLOY_SAME;
        row->was_wanted = row->change == DEPLOY_REMOVED ? !deploy_names_have(unwanted, row->name)
                                                        : process != NULL && process->is_wanted;
    }
    return true;
}

/* A Main before us was killed in the middle of a deploy, or the line broke in it: the way back. */
bool deploy_resume(struct serve *serve) {
    char path[PATH_BYTES_MAX];
    struct deploy *deploy = serve->deploy;
    if (deploy != NULL && deploy->phase == DEPLOY_CHECKING) {
        return false; /* it has touched nothing yet */
    }
    if (deploy != NULL && deploy->asked > 0) {
        deploy->is_cut = true;
        deploy->resumes = true;
        return true;
    }
    if (deploy != NULL) {
        deploy_cut(deploy);
    }
    deploy_state_path(serve, "deploy.pending", path, sizeof(path));
    if (access(path, F_OK) != 0) {
        return false;
    }
    deploy = deploy_new(serve, NULL);
    if (!resume_load(deploy, path) || !is_any_different(deploy)) { /* the same: killed after its last step but one */
        deploy_mark_remove(serve);
        deploy_free(deploy);
        return false;
    }
    deploy->is_back = serve->deployed.nodes_len > 0;
    deploy->has_failed = deploy->is_back;
    core_log(CORE_LEVEL_WARN, "deploy", "a deploy was cut short", "file=%s effect=\"%s\"", path,
             deploy->is_back ? "all is put back as it was" : "it goes on: nothing was deployed before");
    (void)snprintf(deploy->failed, sizeof(deploy->failed), "%s", deploy->is_back ? "a deploy was cut short" : "");
    deploy_steps_begin(deploy);
    return serve->deploy != NULL;
}

void deploy_end(struct serve *serve) {
    struct deploy *deploy = serve->deploy;
    if (deploy == NULL) {
        return;
    }
    if (deploy->request != NULL) {
        core_rpc_refuse(deploy->request, CORE_RPC_FAILED, "tapline serve ends; %s",
                        deploy->phase == DEPLOY_CHECKING ? "nothing was touched"
                                                         : "what is half done is the next one's to make whole");
    }
    deploy_free(deploy);
}
