/* supervisor/deploy_steps.c: a deploy's steps, from the first thing that is touched to the last, and the way back.
 *
 * Phases: STOPPING what is to go, SETTING the specs of what is new or has changed, STARTING until each is ready. The way back is
 * the same with the two plans exchanged; it restarts only what runs otherwise than before. Nothing here waits: go_on() is called
 * when the Supervisor has answered everything and whenever the mirror changes; it looks at all nodes that are waited for, and
 * begins the next phase when there are none. What fails on the way there is noted and turned from at the next go_on(), so never
 * while an answer is still to come; what fails on the way back is noted, and the way is gone to its end. So is the first deploy
 * of all: there is nothing to go back to, and a node that fails is no reason to stop the others.
 *
 * A node that a person has stopped gets its new spec, but is not started: a deploy changes what runs, not whether it does. One
 * that a person stops meanwhile is no failure.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/deploy_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAIL_BYTES 800                      /* of its output, where a node did not become ready */
#define WAIT_MORE_NS (60 * CORE_NS_PER_S)   /* beside what the nodes' own times add up to */
#define WAIT_NEVER_NS (600 * CORE_NS_PER_S) /* for one that may take for ever to be ready */
#define ASK_AGAIN_NS CORE_NS_PER_S
#define PATH_BYTES_MAX 4096

static void go_on(struct deploy *deploy);

static struct serve_process *process_of(const struct deploy *deploy, const struct deploy_row *row) {
    return serve_process_find(deploy->serve, core_span_of(row->name));
}

static bool has_way_back(const struct deploy *deploy) {
    return deploy->from.nodes_len > 0;
}

/* ---- the end ---------------------------------------------------------------------------------------------------------------- */

static size_t changes_count(const struct deploy *deploy) {
    size_t count = 0;
    for (size_t i = 0; i < deploy->rows_len; i++) {
        count += deploy->rows[i].change != DEPLOY_SAME ? 1 : 0;
    }
    return count;
}

/* What was to be deployed is: also the first time, when nodes have failed. */
static void steps_done(struct deploy *deploy) {
    struct serve *serve = deploy->serve;
    struct core_fail fail = {0};
    char path[PATH_BYTES_MAX];
    char text[128];
    deploy_state_path(serve, "deployed.json", path, sizeof(path));
    if (deploy_plan_save(&deploy->to, "", path, &fail) != CORE_OK) {
        core_log_fail(CORE_LEVEL_ERROR, "deploy", "what was deployed cannot be kept: the next start goes back", &fail);
        deploy->has_failed = true;
        (void)snprintf(deploy->failed, sizeof(deploy->failed),
                       "all of it runs, but %s: %s; the next tapline serve goes back", fail.where, fail.text);
    } else {
        deploy_mark_remove(serve);
    }
    (void)snprintf(text, sizeof(text), "deployed: %zu nodes, %zu of them changed", deploy->to.nodes_len,
                   changes_count(deploy));
    core_log(CORE_LEVEL_INFO, "deploy", text, "%s", "");
    deploy_event_tell(deploy, deploy->has_failed ? deploy->failed : text);
    deploy_answer(deploy);
    core_arena_destroy(&serve->deployed_arena);
    serve->deployed_arena = deploy->arena;
    serve->deployed = deploy->to;
    deploy->arena = (struct core_arena){0};
    deploy_free(deploy);
}

static void steps_back_done(struct deploy *deploy) {
    if (!deploy->keeps_mark) {
        deploy_mark_remove(deploy->serve);
    }
    if (deploy->back_failed[0] == '\0') {
        core_log(CORE_LEVEL_WARN, "deploy", "all is as it was before", "because=\"%s\"", deploy->failed);
    } else {
        core_log(CORE_LEVEL_ERROR, "deploy", "on the way back, too, something failed",
                 "what=\"%s\" help=\"tapline status; mend the cause, then tapline deploy\"", deploy->back_failed);
    }
    deploy_event_tell(deploy, deploy->failed);
    deploy_answer(deploy);
    deploy_free(deploy);
}

void deploy_cut(struct deploy *deploy) {
    struct serve *serve = deploy->serve;
    const bool resumes = deploy->resumes;
    deploy->is_cut = true;
    deploy->has_failed = true;
    (void)snprintf(deploy->failed, sizeof(deploy->failed),
                   "the Supervisor went away in the middle of it; when it answers again, %s",
                   has_way_back(deploy) ? "all is put back as it was" : "the deploy goes on");
    core_log(CORE_LEVEL_ERROR, "deploy", "cut short", "what=\"%s\"", deploy->failed);
    deploy_answer(deploy);
    deploy_free(deploy);
    if (resumes) {
        (void)deploy_resume(serve);
    }
}

/* ---- what fails --------------------------------------------------------------------------------------------------------------- */

/* who, what it did not do, why. */
static void step_failed(struct deploy *deploy, const char *who, const char *what, const char *why) {
    char text[DEPLOY_TEXT_BYTES];
    (void)snprintf(text, sizeof(text), "%s%s: %s", who, what, why);
    deploy->has_failed = true;
    if (deploy->is_back) {
        core_log(CORE_LEVEL_ERROR, "deploy", "failed on the way back", "what=\"%s\" effect=\"the way is gone on\"",
                 text);
        if (deploy->back_failed[0] == '\0') {
            (void)snprintf(deploy->back_failed, sizeof(deploy->back_failed), "%s", text);
        }
        return;
    }
    core_log(CORE_LEVEL_ERROR, "deploy", "failed", "what=\"%s\" effect=\"%s\"", text,
             has_way_back(deploy)  ? "all is put back as it was"
             : deploy->is_given_up ? "nothing was started"
                                   : "it goes on: nothing was deployed before, so there is nothing to go back to");
    if (deploy->failed[0] == '\0') { /* the first reason is the one that counts */
        (void)snprintf(deploy->failed, sizeof(deploy->failed), "%s%s", text,
                       has_way_back(deploy)  ? ""
                       : deploy->is_given_up ? "; nothing was started"
                                             : "; nothing was deployed before, so the rest was deployed without it");
        deploy->is_turning = has_way_back(deploy);
    }
}

/* The end of a file of output. */
static void tail_add(const char *directory, const char *name, char *out, size_t room) {
    char path[PATH_BYTES_MAX];
    char bytes[TAIL_BYTES + 1];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return;
    }
    ssize_t got = 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        got = pread(fd, bytes, TAIL_BYTES, st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0);
    }
    (void)close(fd);
    struct core_span text = core_span_trim((struct core_span){bytes, got > 0 ? (size_t)got : 0});
    if (text.len > 0) {
        size_t used = strlen(out);
        (void)snprintf(out + used, room - used, "; %s ends with: %.*s", name, (int)text.len, text.ptr);
    }
}

static void row_failed(struct deploy *deploy, struct deploy_row *row, const char *why) {
    const struct sensors_node *target = deploy_target(deploy, row);
    row->is_waited = false;
    row->is_failed = true;
    (void)snprintf(row->text, sizeof(row->text), "%s", why);
    if (target == NULL) {
        step_failed(deploy, row->name, " did not go down", row->text);
        return;
    }
    const char *directory = target->spec.output.directory != NULL ? target->spec.output.directory : target->spec.cwd;
    tail_add(directory, "stderr.log", row->text, sizeof(row->text));
    tail_add(directory, "stdout.log", row->text, sizeof(row->text));
    step_failed(deploy, row->name, " did not become ready", row->text);
}

/* ---- what the Supervisor is told ------------------------------------------------------------------------------------------------ */

static void told(struct deploy *deploy, const struct core_rpc_answer *answer) {
    MUST(deploy->asked > 0);
    deploy->asked--;
    if (answer->result == NULL && answer->code == 0) {
        deploy->is_cut = true;
    } else if (answer->result == NULL) {
        char why[DEPLOY_TEXT_BYTES];
        (void)snprintf(why, sizeof(why), "%.*s", (int)answer->text.len, answer->text.len == 0 ? "" : answer->text.ptr);
        step_failed(deploy, "the Supervisor", " refused", why);
    }
    if (deploy->asked > 0) {
        return; /* all answers first: nothing is under way then */
    }
    if (deploy->is_cut) {
        deploy_cut(deploy);
    } else {
        go_on(deploy);
    }
}

static void on_told(void *ctx, const struct core_rpc_answer *answer) {
    told(ctx, answer);
}

static void on_set(void *ctx, const struct core_rpc_answer *answer) {
    struct deploy_row *row = ctx;
    const struct core_json_tree *is_pending = core_json_tree_get(answer->result, "is_pending");
    row->is_pending =
        is_pending != NULL && is_pending->kind == CORE_JSON_BOOL && core_span_is(is_pending->text, "true");
    row->is_set = row->is_set || answer->result != NULL;
    told(row->deploy, answer);
}

static void ask(struct deploy *deploy, const char *method, struct core_span params) {
    deploy->asked++;
    serve_ask(deploy->serve, method, params, on_told, deploy);
}

static void row_wait(struct deploy *deploy, struct deploy_row *row, bool needs_start) {
    const struct serve_process *process = process_of(deploy, row);
    row->is_touched = true;
    row->is_waited = true;
    row->needs_start = needs_start;
    row->is_started = false;
    row->is_failed = false;
    row->starts = process != NULL ? process->starts : 0;
    row->pid = process != NULL ? process->pid : 0;
    row->state = process != NULL ? process->state : SUPERVISOR_DOWN;
    row->text[0] = '\0';
}

/* {"names":[…]} of the rows that is_meant says; nothing if there are none. */
static void ask_names(struct deploy *deploy, const char *method, bool needs_start,
                      bool (*is_meant)(const struct deploy *deploy, const struct deploy_row *row)) {
    size_t room = (deploy->rows_len + 1) * (SUPERVISOR_NAME_BYTES_MAX + 8) + 16;
    char *bytes = malloc(room);
    MUST(bytes != NULL);
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + room};
    size_t len = 0;
    core_buf_span(&out, CORE_SPAN("{\"names\":["));
    for (size_t i = 0; i < deploy->rows_len; i++) {
        struct deploy_row *row = &deploy->rows[i];
        if (!row->is_waited && is_meant(deploy, row)) {
            core_buf_put(&out, ",", len++ == 0 ? 0 : 1);
            core_buf_string(&out, core_span_of(row->name));
            row_wait(deploy, row, needs_start);
        }
    }
    core_buf_span(&out, CORE_SPAN("]}"));
    MUST(!out.is_full);
    if (len > 0) {
        ask(deploy, method, core_buf_written(&out));
    }
    free(bytes);
}

static bool is_to_go(const struct deploy *deploy, const struct deploy_row *row) {
    return deploy_target(deploy, row) == NULL && (row->is_set || process_of(deploy, row) != NULL);
}

/* Is its process to run now, of those that this deploy is about? On the way back only what was touched on the way there. */
static bool is_to_run(const struct deploy *deploy, const struct deploy_row *row) {
    if (row->change == DEPLOY_SAME || deploy_target(deploy, row) == NULL || (deploy->is_back && !row->is_touched)) {
        return false;
    }
    return row->change == DEPLOY_ADDED || row->was_wanted;
}

/* One that runs already has to be restarted for its new spec or files; on the way back it may never have had them. */
static bool is_to_restart(const struct deploy *deploy, const struct deploy_row *row) {
    const bool is_changed = row->change == DEPLOY_CHANGED && (!deploy->is_back || row->has_other_files);
    return is_to_run(deploy, row) && (row->is_pending || is_changed);
}

static void ask_specs(struct deploy *deploy) {
    for (size_t i = 0; i < deploy->rows_len; i++) {
        struct deploy_row *row = &deploy->rows[i];
        const struct sensors_node *target = deploy_target(deploy, row);
        row->is_pending = false;
        if (is_to_go(deploy, row)) {
            char bytes[SUPERVISOR_NAME_BYTES_MAX + 32];
            int len = snprintf(bytes, sizeof(bytes), "{\"name\":\"%s\"}", row->name);
            ask(deploy, "process.remove", (struct core_span){bytes, (size_t)len});
        } else if (target != NULL && row->change != DEPLOY_SAME) {
            deploy->asked++;
            serve_ask(deploy->serve, "process.set", target->spec_json, on_set, row);
        }
    }
}

/* ---- waiting -------------------------------------------------------------------------------------------------------------------- */

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
    if (deploy->asked > 0) { /* its answer must find us */
        core_timer_set(deploy->serve->loop, &deploy->timer, core_tick_ns() + ASK_AGAIN_NS);
        return;
    }
    for (size_t i = 0; i < deploy->rows_len; i++) {
        if (deploy->rows[i].is_waited) {
            row_failed(deploy, &deploy->rows[i], "its time is over");
        }
    }
    go_on(deploy);
}

/* As long as all may take, one after the other. */
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

static void judge_to_go(struct deploy_row *row, const struct serve_process *process) {
    if (process == NULL || process->state == SUPERVISOR_DOWN) {
        row->state = SUPERVISOR_DOWN;
        row->is_waited = false;
    }
}

static void judge_to_run(struct deploy *deploy, struct deploy_row *row, const struct serve_process *process) {
    row->is_started =
        row->is_started || process->starts != row->starts || (process->pid != 0 && process->pid != row->pid);
    row->state = process->state;
    switch (process->state) {
    case SUPERVISOR_READY:
    case SUPERVISOR_UP:
        if (row->is_started || !row->needs_start) {
            row->is_waited = false;
            (void)snprintf(row->text, sizeof(row->text), "%s", process->reason);
        }
        break;
    case SUPERVISOR_DOWN:
    case SUPERVISOR_BACKOFF:
    case SUPERVISOR_LATCHED:
        if (row->is_started) {
            row_failed(deploy, row, process->reason[0] != '\0' ? process->reason : process->last_end);
        }
        break;
    case SUPERVISOR_STARTING:
    case SUPERVISOR_STOPPING:
    case SUPERVISOR_STATE__MAX:
        break;
    }
}

static void rows_judge(struct deploy *deploy) {
    for (size_t i = 0; i < deploy->rows_len; i++) {
        struct deploy_row *row = &deploy->rows[i];
        const struct serve_process *process = process_of(deploy, row);
        if (row->is_waited && deploy_target(deploy, row) == NULL) {
            judge_to_go(row, process);
        } else if (row->is_waited && process != NULL) {
            judge_to_run(deploy, row, process);
        }
    }
}

/* A person's stop is no failure, and holds on the way back, too. A restart keeps it wanted. */
static void row_see(struct deploy *deploy, struct deploy_row *row, const struct serve_process *process) {
    deploy_progress(deploy, row->name, supervisor_state_names[process->state], process->reason);
    if (deploy->asked == 0 && deploy_target(deploy, row) != NULL && process->state == SUPERVISOR_STOPPING &&
        !process->is_wanted) {
        row->is_waited = false;
        row->was_wanted = false;
        row->state = process->state;
        (void)snprintf(row->text, sizeof(row->text), "was stopped meanwhile");
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
            row_see(deploy, row, process);
            break;
        }
    }
    go_on(deploy);
}

/* ---- phases --------------------------------------------------------------------------------------------------------------------- */

static void files_put(struct deploy *deploy) {
    struct core_fail fail = {0};
    const struct sensors_plan *away = deploy->is_back ? &deploy->to : &deploy->from;
    const struct sensors_plan *there = deploy->is_back ? &deploy->from : &deploy->to;
    const struct sensors_conf *sensors = deploy->serve->sensors;
    if (deploy_directory_make(sensors->directory, &fail) != CORE_OK ||
        deploy_archives_make(sensors->archive, there, &fail) != CORE_OK ||
        deploy_files_write(away, there, &fail) != CORE_OK) {
        deploy->keeps_mark = deploy->is_back;
        deploy->is_given_up = !has_way_back(deploy);
        step_failed(deploy, fail.where, "", fail.text);
    }
}

static void phase_begin(struct deploy *deploy, enum deploy_phase phase) {
    MUST(phase != DEPLOY_CHECKING);
    deploy->phase = phase;
    switch (phase) {
    case DEPLOY_STOPPING:
        files_put(deploy);
        if (!deploy->is_turning && !deploy->is_given_up) {
            ask_names(deploy, "process.stop", false, is_to_go);
            wait_begin(deploy);
        }
        return;
    case DEPLOY_SETTING:
        ask_specs(deploy);
        return;
    case DEPLOY_STARTING:
        ask_names(deploy, "process.restart", true, is_to_restart);
        ask_names(deploy, "process.start", false, is_to_run); /* all others */
        wait_begin(deploy);
        return;
    case DEPLOY_CHECKING:
        break; /* touches nothing */
    }
}

static void turn_back(struct deploy *deploy) {
    deploy_progress(deploy, "", "rolling back", deploy->failed);
    deploy->is_turning = false;
    deploy->is_back = true;
    for (size_t i = 0; i < deploy->rows_len; i++) {
        deploy->rows[i].is_waited = false;
    }
    phase_begin(deploy, DEPLOY_STOPPING);
}

/* As far as it goes without an answer or a change of state. It may be over, and deploy freed, afterwards. */
static void go_on(struct deploy *deploy) {
    while (deploy->asked == 0) {
        rows_judge(deploy);
        if (deploy->is_given_up) {
            deploy_mark_remove(deploy->serve);
            deploy_answer(deploy);
            deploy_free(deploy);
            return;
        }
        if (deploy->is_turning) {
            turn_back(deploy);
        } else if (is_waiting(deploy)) {
            return;
        } else if (deploy->phase != DEPLOY_STARTING) {
            phase_begin(deploy, deploy->phase + 1);
        } else if (deploy->is_back) {
            steps_back_done(deploy);
            return;
        } else {
            steps_done(deploy);
            return;
        }
    }
}

void deploy_steps_begin(struct deploy *deploy) {
    for (size_t i = 0; i < deploy->rows_len; i++) {
        deploy->rows[i].deploy = deploy;
    }
    deploy->timer = (struct core_timer){.on_time = wait_over, .ctx = deploy};
    phase_begin(deploy, DEPLOY_STOPPING);
    go_on(deploy);
}
