/* supervisor/serve.c: Main: start, loop, signals, the service manager.
 *
 * Order of the start: the configuration, the lock, what was deployed last, the line to the Supervisor; the server opens as
 * soon as there is one, or OPEN_NS later without one, to say so. One thread; nothing in it waits for anything but the loop. What
 * must survive us lies in files that are whole at any time (deployed.json, events.seen, reports), so SIGKILL is one more way to
 * end: the next Main begins with what it finds.
 *
 * Source: sd_notify(3) for READY=1, RELOADING=1, WATCHDOG=1.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/notify.h"
#include "supervisor/serve_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_NS CORE_NS_PER_S
#define PLAN_BYTES_MAX (64 * CORE_MIB)
#define STATE_MODE 0750
#define LOCK_MODE 0640
#define PATH_BYTES_MAX 4096
#define NAMES_BYTES_MAX 512

/* ---- configuration ----------------------------------------------------------------------------------------------------------- */

static void mistakes_tell(const struct core_conf_mistakes *mistakes, const char *effect) {
    for (size_t i = 0; i < mistakes->len; i++) {
        core_log(CORE_LEVEL_ERROR, "serve", "the configuration has a mistake", "where=%s what=\"%s\" effect=\"%s\"",
                 mistakes->fails[i].where, mistakes->fails[i].text, effect);
    }
}

static bool conf_load(struct serve *serve, struct serve_conf **conf, struct sensors_conf **sensors,
                      const char *effect) {
    struct core_conf_mistakes *mistakes = calloc(1, sizeof(*mistakes));
    MUST(mistakes != NULL);
    bool is_loaded = serve->env->load(serve->env->ctx, conf, sensors, mistakes) == CORE_OK;
    if (!is_loaded) {
        mistakes_tell(mistakes, effect);
    }
    free(mistakes);
    return is_loaded;
}

/* Names of a comparison, cut where there are too many for a line. */
static void names_add(char names[NAMES_BYTES_MAX], const char *name) {
    size_t used = strlen(names);
    if (used + strlen(name) + 8 < NAMES_BYTES_MAX) {
        (void)snprintf(names + used, NAMES_BYTES_MAX - used, "%s%s", used == 0 ? "" : ",", name);
    } else if (used > 4 && strcmp(names + used - 4, ",...") != 0) {
        (void)snprintf(names + used, NAMES_BYTES_MAX - used, ",...");
    }
}

/* What a deploy of the file would do now, for who has just edited it. */
static void changes_tell(struct serve *serve) {
    struct core_arena arena = {0};
    struct core_fail fail = {0};
    struct sensors_plan plan = {0};
    char added[NAMES_BYTES_MAX] = "";
    char changed[NAMES_BYTES_MAX] = "";
    char removed[NAMES_BYTES_MAX] = "";
    struct core_conf_mistakes *mistakes = calloc(1, sizeof(*mistakes));
    MUST(mistakes != NULL);
    if (core_arena_init(&arena, PLAN_BYTES_MAX, &fail) != CORE_OK ||
        sensors_plan_make(serve->sensors, &arena, &plan, mistakes) != CORE_OK) {
        mistakes_tell(mistakes, "nothing changes; a deploy would be refused");
        goto out;
    }
    for (size_t i = 0; i < plan.nodes_len; i++) {
        const struct sensors_node *now = sensors_plan_find(&serve->deployed, core_span_of(plan.nodes[i].name));
        if (now == NULL) {
            names_add(added, plan.nodes[i].name);
        } else if (!core_span_eq(now->spec_json, plan.nodes[i].spec_json)) {
            names_add(changed, plan.nodes[i].name);
        }
    }
    for (size_t i = 0; i < serve->deployed.nodes_len; i++) {
        if (sensors_plan_find(&plan, core_span_of(serve->deployed.nodes[i].name)) == NULL) {
            names_add(removed, serve->deployed.nodes[i].name);
        }
    }
    core_log(CORE_LEVEL_INFO, "serve", "the configuration was read again",
             "file=%s nodes=%zu would_add=\"%s\" would_change=\"%s\" would_remove=\"%s\" help=\"%s\"", serve->env->path,
             plan.nodes_len, added, changed, removed,
             added[0] + changed[0] + removed[0] == 0 ? "all of it is deployed" : "tapline deploy");
out:
    core_arena_destroy(&arena);
    free(mistakes);
}

bool serve_conf_needs_restart(const struct serve *serve, const struct serve_conf *next, const char **section,
                              const char **key) {
    const struct serve_env *env = serve->env;
    const char *node = NULL;
    const struct core_health_conf *health_now = env->health(env->ctx, serve->conf, &node);
    const struct core_health_conf *health_next = env->health(env->ctx, next, &node);
    *section = "serve";
    if (!core_conf_same_restart(serve_opts, serve_opts_len, serve->conf, next, key)) {
        return true;
    }
    *section = "health";
    if (health_now->is_on != health_next->is_on) {
        *key = "serve"; /* the whole section came or went: this is what it is for here */
        return true;
    }
    return health_now->is_on &&
           !core_conf_same_restart(core_health_opts, core_health_opts_len, health_now, health_next, key);
}

void serve_conf_swap(struct serve *serve, struct serve_conf *conf, struct sensors_conf *sensors) {
    struct serve_conf *conf_before = serve->conf;
    struct sensors_conf *sensors_before = serve->sensors;
    serve->conf = conf;
    serve->sensors = sensors;
    serve->group = serve->group != NULL ? conf->group : NULL;
    serve_health_reload(serve); /* whose texts were those of the one before */
    serve->env->release(serve->env->ctx, conf_before, sensors_before);
}

/* SIGHUP: the new file counts from now on; nodes change by a deploy only. */
static void conf_reload(struct serve *serve) {
    static const char effect[] = "the configuration stays as it was";
    struct serve_conf *conf = NULL;
    struct sensors_conf *sensors = NULL;
    const char *section = NULL;
    const char *key = NULL;
    if (serve->deploy != NULL) {
        core_log(CORE_LEVEL_WARN, "serve", "a deploy is under way, the configuration is not read now",
                 "file=%s help=\"send SIGHUP again when it is done\"", serve->env->path);
        return;
    }
    if (!conf_load(serve, &conf, &sensors, effect)) {
        return;
    }
    if (serve_conf_needs_restart(serve, conf, &section, &key)) {
        core_log(CORE_LEVEL_WARN, "serve", "a key that needs a restart has changed",
                 "key=%s.%s effect=\"%s\" help=\"restart tapline serve: no sensor is touched by it\"", section, key,
                 effect);
        serve->env->release(serve->env->ctx, conf, sensors);
        return;
    }
    serve_conf_swap(serve, conf, sensors);
    core_log_level_reset();
    changes_tell(serve);
}

/* ---- service manager ---------------------------------------------------------------------------------------------------------- */

static void notify_status(const struct serve *serve) {
    char text[256];
    size_t up = 0;
    for (size_t i = 0; i < serve->processes_len; i++) {
        up += serve->processes[i].state == SUPERVISOR_UP || serve->processes[i].state == SUPERVISOR_READY ? 1 : 0;
    }
    (void)snprintf(text, sizeof(text), "WATCHDOG=1\nSTATUS=%s, %zu of %zu processes up",
                   serve->is_linked ? "linked to the Supervisor" : "no Supervisor answers", up, serve->processes_len);
    (void)core_notify(text);
}

static void notify_on_time(void *ctx) {
    struct serve *serve = ctx;
    notify_status(serve);
    core_timer_set(serve->loop, &serve->notify_timer, core_tick_ns() + core_notify_watchdog_ns() / 3);
}

static void notify_reloading(void) {
    char text[64];
    (void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
                   (long long)(core_tick_ns() / CORE_NS_PER_US));
    (void)core_notify(text);
}

static void serve_on_signal(void *ctx, int number) {
    struct serve *serve = ctx;
    if (number == SIGHUP) {
        notify_reloading();
        conf_reload(serve);
        (void)core_notify("READY=1");
        return;
    }
    core_log(CORE_LEVEL_INFO, "serve", "ends", "signal=%s effect=\"the Supervisor and its processes go on\"",
             supervisor_signal_name(number));
    (void)core_notify("STOPPING=1");
    core_loop_stop(serve->loop);
}

/* ---- opening ---------------------------------------------------------------------------------------------------------------------- */

/* Errors: as core_rpc_server_new(); then we cannot be of use. */
static enum core_err server_open(struct serve *serve, struct core_fail *fail) {
    const struct serve_conf *conf = serve->conf;
    const struct core_rpc_server_conf server = {.service = "main",
                                                .version = serve->env->version,
                                                .path = conf->socket,
                                                .group = serve->group,
                                                .listen = conf->listen,
                                                .token = conf->token,
                                                .inherited_fd = -1,
                                                .methods = serve_methods,
                                                .methods_len = serve_methods_len,
                                                .ctx = serve};
    enum core_err err = core_rpc_server_new(&serve->server, serve->loop, &server, fail);
    if (err != CORE_OK) {
        return err;
    }
    core_log(CORE_LEVEL_INFO, "serve", "answers", "socket=%s%s%s", conf->socket, conf->listen != NULL ? " listen=" : "",
             conf->listen != NULL ? conf->listen : "");
    serve_events_flush(serve);
    (void)core_notify("READY=1");
    notify_status(serve);
    if (core_notify_watchdog_ns() > 0) {
        core_timer_set(serve->loop, &serve->notify_timer, core_tick_ns() + core_notify_watchdog_ns() / 3);
    }
    return CORE_OK;
}

static void open_on_time(void *ctx) {
    struct serve *serve = ctx;
    struct core_fail fail = {0};
    if (serve->server == NULL && server_open(serve, &fail) != CORE_OK) {
        core_log_fail(CORE_LEVEL_ERROR, "serve", "cannot listen, so nobody could ask: ends", &fail);
        serve->exit_code = CORE_EXIT_SYSTEM;
        core_loop_stop(serve->loop);
    }
}

void serve_on_linked(struct serve *serve) {
    core_timer_clear(&serve->open_timer);
    open_on_time(serve);
    notify_status(serve);
    if (serve->conf->deploys && serve->deployed.nodes_len == 0 && serve->deploy == NULL && serve->server != NULL) {
        deploy_begin(serve);
    }
}

void serve_on_supervisor_gone(struct serve *serve) {
    if (serve_wait_on_gone(serve)) {
        core_log(CORE_LEVEL_INFO, "serve", "all is down and the Supervisor has ended: ends", "%s", "");
        (void)core_notify("STOPPING=1");
        core_loop_stop(serve->loop);
        return;
    }
    core_log(CORE_LEVEL_ERROR, "serve", "the Supervisor went away before all was down",
             "effect=\"it is looked for again, so that what still runs has one\" help=\"shut down again\"");
    serve->is_ending = false;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------ */

/* One Main for a state directory: two would tell the Supervisor two things. */
static enum core_err state_lock(struct serve *serve, struct core_fail *fail) {
    char path[PATH_BYTES_MAX];
    const char *state = serve->conf->state;
    if (mkdir(state, STATE_MODE) != 0 && errno != EEXIST) {
        return core_fail_errno(fail, state, "the directory cannot be made");
    }
    if ((size_t)snprintf(path, sizeof(path), "%s/main.lock", state) >= sizeof(path)) {
        return core_fail_set(fail, CORE_BAD, state, "the path is too long");
    }
    serve->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, LOCK_MODE);
    if (serve->lock_fd < 0) {
        return core_fail_errno(fail, path, "cannot be opened");
    }
    if (flock(serve->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK
                   ? core_fail_set(
                         fail, CORE_LOCKED, path,
                         "another tapline serve has this state directory; ask it (tapline status), or stop it")
                   : core_fail_errno(fail, path, "cannot be locked");
    }
    return CORE_OK;
}

static enum core_err serve_open(struct serve *serve, struct core_fail *fail) {
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    enum core_err err = state_lock(serve, fail);
    if (err == CORE_OK) {
        err = core_loop_new(&serve->loop, fail);
    }
    if (err == CORE_OK) {
        err =
            core_loop_signals(serve->loop, signals, sizeof(signals) / sizeof(signals[0]), serve_on_signal, serve, fail);
    }
    if (err == CORE_OK) {
        err = deploy_load(serve, fail);
    }
    if (err != CORE_OK) {
        return err;
    }
    serve->group = serve->conf->group;
    if (serve->group != NULL && getgrnam(serve->group) == NULL) {
        core_log(CORE_LEVEL_INFO, "serve", "there is no such group, only root and this user may ask", "group=%s",
                 serve->group);
        serve->group = NULL;
    }
    serve->open_timer = (struct core_timer){.on_time = open_on_time, .ctx = serve};
    serve->notify_timer = (struct core_timer){.on_time = notify_on_time, .ctx = serve};
    core_timer_set(serve->loop, &serve->open_timer, core_tick_ns() + OPEN_NS);
    serve_crash_open(serve);
    serve_health_begin(serve);
    serve_link_begin(serve);
    serve_disk_begin(serve);
    return CORE_OK;
}

static void serve_close(struct serve *serve) {
    serve_link_end(serve);
    serve_wait_end(serve);
    deploy_end(serve);
    serve_crash_close(serve);
    core_timer_clear(&serve->disk_timer);
    core_timer_clear(&serve->notify_timer);
    core_timer_clear(&serve->open_timer);
    serve_supervisor_forget(serve);
    serve_health_end(serve);
    core_rpc_server_free(serve->server, false);
    serve->server = NULL;
    serve_events_flush(serve);
    core_loop_free(serve->loop);
    core_arena_destroy(&serve->deployed_arena);
    if (serve->lock_fd >= 0) {
        (void)close(serve->lock_fd);
    }
    serve->env->release(serve->env->ctx, serve->conf, serve->sensors);
}

int serve_main(const struct serve_env *env) {
    MUST(env != NULL);
    struct serve serve = {.env = env, .lock_fd = -1, .exit_code = CORE_EXIT_DONE};
    struct core_fail fail = {0};
    if (!conf_load(&serve, &serve.conf, &serve.sensors, "nothing was started")) {
        return CORE_EXIT_USAGE;
    }
    enum core_err err = serve_open(&serve, &fail);
    if (err == CORE_OK) {
        err = core_loop_run(serve.loop, &fail);
    }
    if (err != CORE_OK) {
        core_log_fail(CORE_LEVEL_ERROR, "serve", "cannot go on", &fail);
        serve.exit_code = CORE_EXIT_SYSTEM;
    }
    serve_close(&serve);
    core_log_flush();
    return serve.exit_code;
}
