/* supervisor/deploy_check.c: before anything is deployed the sensors' own programs judge their scripts and rules: `zeek -a`,
 * `suricata -T`, `snort -T`.
 *
 * What is checked must not be seen by a running sensor yet: the plan's generated files are written to a directory beside the real
 * one, and the same text is replaced in the files, the arguments and the environment. Nodes that would be checked by the same
 * command are checked once. Two run at a time: each takes a core and, for a large rule set, a minute.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/deploy_internal.h"
#include "supervisor/sensors_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECKS_AT_ONCE 2
#define CHECK_TIMEOUT_NS (300 * CORE_NS_PER_S)
#define CHECK_TEXT_MAX 4000 /* bytes of its output that are kept: the last ones */
#define CHECK_NODES_BYTES 1024
#define CHECK_ARENA_BYTES (64 * CORE_MIB)

struct check_run {
    struct deploy_check *check;
    const struct sensors_node *node; /* the first of those it is for */
    struct serve_child *child;
    char nodes[CHECK_NODES_BYTES];
    bool is_started;
    bool is_done;
    bool is_ok;
    char text[CHECK_TEXT_MAX + 1];
};

struct deploy_check {
    struct serve *serve;
    struct core_arena arena;
    struct check_run *runs;
    size_t runs_len;
    char real[SENSORS_PATH_BYTES_MAX];
    char beside[SENSORS_PATH_BYTES_MAX];
    struct core_timer timer; /* on_done is never called from deploy_check_start() */
    void (*on_progress)(void *ctx, const char *nodes, bool is_ok);
    void (*on_done)(void *ctx);
    void *ctx;
};

/* The text with every path below the real directory turned to the one beside it. NULL: the arena is full. */
static const char *replaced(struct deploy_check *check, struct core_span text, size_t *len) {
    size_t real_len = strlen(check->real);
    size_t beside_len = strlen(check->beside);
    size_t hits = 0;
    for (size_t i = 0; i + real_len <= text.len; i++) {
        hits += memcmp(text.ptr + i, check->real, real_len) == 0 ? 1 : 0;
    }
    char *out = core_arena_alloc(&check->arena, text.len + hits * (beside_len - real_len) + 1);
    size_t at = 0;
    for (size_t i = 0; out != NULL && i < text.len;) {
        if (i + real_len <= text.len && memcmp(text.ptr + i, check->real, real_len) == 0) {
            memcpy(out + at, check->beside, beside_len);
            at += beside_len;
            i += real_len;
        } else {
            out[at++] = text.ptr[i++];
        }
    }
    if (out != NULL) {
        out[at] = '\0';
        *len = at;
    }
    return out;
}

static bool files_write(struct deploy_check *check, const struct sensors_plan *plan, struct core_fail *fail) {
    struct sensors_plan beside = {.files_len = plan->files_len};
    const struct sensors_plan none = {0};
    beside.files = core_arena_alloc(&check->arena, (plan->files_len + 1) * sizeof(*beside.files));
    for (size_t i = 0; beside.files != NULL && i < plan->files_len; i++) {
        size_t path_len = 0;
        struct sensors_file *file = &beside.files[i];
        *file = plan->files[i];
        file->path = replaced(check, core_span_of(plan->files[i].path), &path_len);
        file->content.ptr = replaced(check, plan->files[i].content, &file->content.len);
        if (file->path == NULL || file->content.ptr == NULL) {
            beside.files = NULL;
        }
    }
    if (beside.files == NULL) {
        (void)core_fail_set(fail, CORE_LIMIT, check->beside, "the generated files are too large to be checked");
        return false;
    }
    return deploy_files_write(&none, &beside, fail) == CORE_OK && deploy_directory_make(check->beside, fail) == CORE_OK;
}

/* ---- runs ------------------------------------------------------------------------------------------------------------------ */

static void runs_go_on(struct deploy_check *check);

static void run_end(struct check_run *run, bool is_ok, struct core_span text) {
    struct core_span trimmed = core_span_trim(text);
    if (trimmed.len > CHECK_TEXT_MAX) { /* the reason is said last */
        trimmed.ptr += trimmed.len - CHECK_TEXT_MAX;
        trimmed.len = CHECK_TEXT_MAX;
    }
    memcpy(run->text, trimmed.len > 0 ? trimmed.ptr : "", trimmed.len);
    run->text[trimmed.len] = '\0';
    run->is_done = true;
    run->is_ok = is_ok;
    if (run->check->on_progress != NULL) {
        run->check->on_progress(run->check->ctx, run->nodes, is_ok);
    }
}

static void on_child_end(void *ctx, const struct serve_child_end *end) {
    struct check_run *run = ctx;
    run->child = NULL;
    if (end->is_timed_out) {
        char text[128];
        (void)snprintf(text, sizeof(text), "did not end within %d s and was killed",
                       (int)(CHECK_TIMEOUT_NS / CORE_NS_PER_S));
        run_end(run, false, core_span_of(text));
    } else {
        run_end(run, end->status == 0, end->text);
    }
    runs_go_on(run->check);
}

/* argv and env of the node, with the directory beside. False: the arena is full. */
static bool run_words(struct check_run *run, const char *argv[SUPERVISOR_ARGS_MAX + 1],
                      const char *env[SUPERVISOR_ENV_MAX + 1]) {
    struct deploy_check *check = run->check;
    const struct supervisor_spec *spec = &run->node->spec;
    size_t len = 0;
    size_t i = 0;
    for (; run->node->check[i] != NULL; i++) {
        argv[i] = replaced(check, core_span_of(run->node->check[i]), &len);
        if (argv[i] == NULL) {
            return false;
        }
    }
    argv[i] = NULL;
    for (i = 0; i < spec->env_len && i < SUPERVISOR_ENV_MAX; i++) {
        size_t room = strlen(spec->env[i].key) + strlen(spec->env[i].value) + 2;
        char *pair = core_arena_alloc(&check->arena, room);
        if (pair == NULL) {
            return false;
        }
        (void)snprintf(pair, room, "%s=%s", spec->env[i].key, spec->env[i].value);
        env[i] = replaced(check, core_span_of(pair), &len);
        if (env[i] == NULL) {
            return false;
        }
    }
    env[i] = NULL;
    return true;
}

static void run_start(struct check_run *run) {
    const char *argv[SUPERVISOR_ARGS_MAX + 1];
    const char *env[SUPERVISOR_ENV_MAX + 1];
    run->is_started = true;
    if (!run_words(run, argv, env)) {
        run_end(run, false, CORE_SPAN("its arguments and environment are too large to be checked"));
        return;
    }
    const struct serve_child_run child = {.argv = argv,
                                          .cwd = run->check->beside,
                                          .env = env,
                                          .timeout_ns = CHECK_TIMEOUT_NS,
                                          .on_end = on_child_end,
                                          .ctx = run};
    run->child = serve_child_start(run->check->serve, &child);
}

static void runs_go_on(struct deploy_check *check) {
    size_t under_way = 0;
    size_t left = 0;
    for (size_t i = 0; i < check->runs_len; i++) {
        struct check_run *run = &check->runs[i];
        under_way += run->is_started && !run->is_done ? 1 : 0;
    }
    for (size_t i = 0; i < check->runs_len; i++) {
        struct check_run *run = &check->runs[i];
        if (!run->is_started && under_way < CHECKS_AT_ONCE) {
            run_start(run);
            under_way += run->is_done ? 0 : 1;
        }
        left += run->is_done ? 0 : 1;
    }
    if (left == 0 && !core_timer_is_set(&check->timer)) {
        core_timer_set(check->serve->loop, &check->timer, core_tick_ns());
    }
}

static void on_all_done(void *ctx) {
    struct deploy_check *check = ctx;
    check->on_done(check->ctx);
}

/* ---- start and end ------------------------------------------------------------------------------------------------------------ */

static const char *key_of(const struct sensors_node *node) {
    return node->check_key != NULL && node->check_key[0] != '\0' ? node->check_key : node->name;
}

static void run_add(struct deploy_check *check, const struct sensors_node *node) {
    for (size_t i = 0; i < check->runs_len; i++) {
        struct check_run *run = &check->runs[i];
        if (strcmp(key_of(run->node), key_of(node)) == 0) {
            size_t used = strlen(run->nodes);
            (void)snprintf(run->nodes + used, sizeof(run->nodes) - used, " %s", node->name);
            return;
        }
    }
    struct check_run *run = &check->runs[check->runs_len++];
    *run = (struct check_run){.check = check, .node = node};
    (void)snprintf(run->nodes, sizeof(run->nodes), "%s", node->name);
}

struct deploy_check *deploy_check_start(struct serve *serve, const struct sensors_plan *plan,
                                        bool (*is_meant)(void *ctx, const struct sensors_node *node),
                                        void (*on_progress)(void *ctx, const char *nodes, bool is_ok),
                                        void (*on_done)(void *ctx), void *ctx) {
    struct core_fail fail = {0};
    struct deploy_check *check = calloc(1, sizeof(*check));
    MUST(check != NULL);
    check->serve = serve;
    check->on_progress = on_progress;
    check->on_done = on_done;
    check->ctx = ctx;
    check->timer = (struct core_timer){.on_time = on_all_done, .ctx = check};
    check->runs = calloc(plan->nodes_len + 1, sizeof(*check->runs));
    MUST(check->runs != NULL);
    (void)snprintf(check->real, sizeof(check->real), "%s/" SENSORS_SITE_DIR, serve->sensors->directory);
    (void)snprintf(check->beside, sizeof(check->beside), "%s/" SENSORS_SITE_DIR "-check", serve->sensors->directory);
    for (size_t i = 0; i < plan->nodes_len; i++) {
        const struct sensors_node *node = &plan->nodes[i];
        if (node->check[0] != NULL && (is_meant == NULL || is_meant(ctx, node))) {
            run_add(check, node);
        }
    }
    bool is_written = core_arena_init(&check->arena, CHECK_ARENA_BYTES, &fail) == CORE_OK &&
                      (check->runs_len == 0 || files_write(check, plan, &fail));
    for (size_t i = 0; !is_written && i < check->runs_len; i++) {
        char text[sizeof(fail.where) + sizeof(fail.text) + 4];
        (void)snprintf(text, sizeof(text), "%s: %s", fail.where, fail.text);
        check->runs[i].is_started = true;
        run_end(&check->runs[i], false, core_span_of(text));
    }
    runs_go_on(check);
    return check;
}

bool deploy_check_is_ok(const struct deploy_check *check) {
    for (size_t i = 0; i < check->runs_len; i++) {
        if (!check->runs[i].is_ok) {
            return false;
        }
    }
    return true;
}

void deploy_check_put(const struct deploy_check *check, struct core_buf *out) {
    core_buf_char(out, '[');
    for (size_t i = 0; i < check->runs_len; i++) {
        const struct check_run *run = &check->runs[i];
        core_buf_put(out, ",", i == 0 ? 0 : 1);
        core_buf_char(out, '{');
        core_json_put_text(out, "name", core_span_of(run->nodes));
        core_json_put_text(out, "program", core_span_of(run->node->check[0]));
        core_json_put_bool(out, "ok", run->is_ok);
        core_json_put_text(out, "text", core_span_of(run->text));
        core_buf_char(out, '}');
    }
    core_buf_char(out, ']');
}

void deploy_check_free(struct deploy_check *check) {
    if (check == NULL) {
        return;
    }
    for (size_t i = 0; i < check->runs_len; i++) {
        serve_child_stop(check->runs[i].child);
    }
    core_timer_clear(&check->timer);
    core_arena_destroy(&check->arena);
    free(check->runs);
    free(check);
}
