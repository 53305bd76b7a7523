/* supervisor/serve_health.c: Main's board: how the supervised processes are, and all other processes of tapline on this host.
 *
 * The Supervisor stays small: it serves nothing. Main has its states in the mirror anyway, and reads each process's memory,
 * processor time and whether it is frozen from /proc itself, once a second and soon after each change of state. Where Main
 * knows the words for what is wrong (the end of a process, the watchdog's diagnosis) it complains; what follows from numbers
 * alone is for core/health_rules.c.
 *
 * Everything is in Main's one thread, but for Zeek's telemetry (serve_captures.c), which may have to be waited for. Nothing is
 * kept over a restart: the next Main reads it all again within a second or two.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_health_internal.h"
#include "supervisor/supervisor_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ALL_BYTES_MAX (CORE_RPC_LINE_BYTES_MAX - 8 * CORE_KIB) /* one line of the control channel */
#define OWN_BYTES_MAX (ALL_BYTES_MAX / 2)
#define ALL_OLD_NS (CORE_NS_PER_S / 4)
#define AWAY_AFTER_NS (2 * CORE_NS_PER_S) /* a Supervisor that is replaced is away for a moment, too */
#define DOWN_AFTER_NS CORE_NS_PER_S       /* between two states of a start it is down, too */
#define DIED_NS (5 * CORE_NS_PER_S)       /* a death is told for so long, also of one that is back at once */
#define SOON_NS (10 * CORE_NS_PER_MS)     /* several changes are one look */
#define AGAIN_NS (CORE_NS_PER_S / 4)      /* … and a start of hundreds of nodes is a few */

/* ---- supervised processes --------------------------------------------------------------------------------------------- */

static bool is_up(const struct serve_process *process) {
    return process->state == SUPERVISOR_READY || process->state == SUPERVISOR_UP;
}

/* What is wrong with it, in the words that the Supervisor has for it. */
static void process_complain(struct core_health_page *page, const struct serve_process *process, char state) {
    const char *name = process->name;
    const char *group = process->group;
    const char *why = process->reason[0] != '\0' ? process->reason : process->last_end;
    if (is_up(process) && (state == 'T' || state == 't')) {
        core_health_complain(page, "sensor_frozen", CORE_HEALTH_SUPERVISED, name, group, NULL,
                             "%s (pid %" PRId64 ") is %s: it does nothing until it is continued or restarted", name,
                             process->pid,
                             state == 'T' ? "stopped by a signal (SIGSTOP)" : "held by a debugger (ptrace)");
    } else if (is_up(process) && process->quiet[0] != '\0') {
        core_health_complain(page, "sensor_silent", CORE_HEALTH_SUPERVISED, name, group, NULL,
                             "%s (pid %" PRId64 "): %s", name, process->pid, process->quiet);
    } else if (process->state == SUPERVISOR_LATCHED) {
        core_health_complain(page, "sensor_latched", CORE_HEALTH_SUPERVISED, name, group, NULL,
                             "%s died too often and stays down until a person starts it%s%s%s%s", name,
                             why[0] != '\0' ? ": " : "", why, process->last_end[0] != '\0' ? "; last end: " : "",
                             process->last_end);
    } else if (process->state == SUPERVISOR_BACKOFF) {
        core_health_complain(page, "sensor_restarting", CORE_HEALTH_SUPERVISED, name, group, NULL,
                             "%s died (%" PRIu64 " times so far)%s%s", name, process->deaths,
                             why[0] != '\0' ? ": " : "", why);
    } else if (process->is_wanted && process->died_ns != 0 && core_now_ns() - process->died_ns < DIED_NS) {
        core_health_complain(page, "sensor_restarting", CORE_HEALTH_SUPERVISED, name, group, NULL,
                             "%s died (%" PRIu64 " times so far), the last time with %s, and was started again", name,
                             process->deaths, process->last_end);
    } else if (process->state == SUPERVISOR_DOWN && process->is_wanted &&
               core_now_ns() - process->since_ns > DOWN_AFTER_NS) {
        core_health_complain(page, "sensor_down", CORE_HEALTH_SUPERVISED, name, group, NULL,
                             "%s is to run and does not%s%s", name, why[0] != '\0' ? ": " : "", why);
    }
}

static void process_write(struct serve_health *health, const struct serve_process *process) {
    const int64_t tick_ns = CORE_NS_PER_S / sysconf(_SC_CLK_TCK);
    struct core_health_page *page = health->page;
    struct supervisor_usage usage = {0};
    bool is_there = process->pid > 0 && supervisor_usage_of((pid_t)process->pid, &usage);
    bool is_running = is_there && strchr("TtZX", usage.state) == NULL;
    struct core_health_row *row = core_health_add(page, CORE_HEALTH_SUPERVISED, process->name, process->group, NULL);
    core_health_set(row, CORE_SUPERVISED_STATE, process->state);
    core_health_set(row, CORE_SUPERVISED_WANTED, process->is_wanted ? 1 : 0);
    core_health_set(row, CORE_SUPERVISED_RUNNING, is_running ? 1 : 0);
    core_health_set(row, CORE_SUPERVISED_RESTARTS, process->starts > 0 ? (int64_t)process->starts - 1 : 0);
    if (is_there) {
        core_health_set(row, CORE_SUPERVISED_START, health->boot_ns + (int64_t)usage.start_ticks * tick_ns);
        core_health_set(row, CORE_SUPERVISED_RSS, (int64_t)usage.rss_bytes);
        core_health_set(row, CORE_SUPERVISED_CPU, (int64_t)usage.cpu_ticks * tick_ns);
    }
    process_complain(page, process, usage.state);
}

static void link_complain(struct serve_health *health) {
    const struct serve *serve = health->serve;
    int64_t now = core_now_ns();
    if (serve->is_linked) {
        health->away_ns = 0;
        return;
    }
    health->away_ns = health->away_ns == 0 ? now : health->away_ns;
    if (now - health->away_ns >= AWAY_AFTER_NS) {
        core_health_complain(
            health->page, "supervisor_away", CORE_HEALTH_PROCESS, NULL, NULL, NULL,
            "no Supervisor answers at %s: what runs goes on, but nothing can be started or stopped, and "
            "nothing that dies is started again. %s",
            serve->conf->supervisor_socket,
            serve->conf->starts_supervisor ? "It is started again and again; the Supervisor's log says why it ends"
                                           : "Its service has to be started (serve.starts_supervisor is no)");
    }
}

/* ---- looking ------------------------------------------------------------------------------------------------------------ */

static void look(void *ctx) {
    struct serve_health *health = ctx;
    struct serve *serve = health->serve;
    health->look_tick = core_tick_ns();
    core_timer_set(serve->loop, &health->look_timer, health->look_tick + SERVE_LOOK_NS);
    serve_peers_turn(health->peers);
    serve_captures_turn(health->captures);
    core_health_begin(health->page);
    for (size_t i = 0; i < serve->processes_len; i++) {
        process_write(health, &serve->processes[i]);
    }
    link_complain(health);
    serve_peers_write(health->peers, health->page);
    serve_captures_write(health->captures, health->page);
    core_health_publish(health->page);
}

void serve_health_on_state(struct serve *serve) {
    if (serve->health != NULL) {
        int64_t soon_ns = core_tick_ns() + SOON_NS;
        int64_t again_ns = serve->health->look_tick + AGAIN_NS;
        int64_t due_ns = soon_ns > again_ns ? soon_ns : again_ns;
        struct core_timer *timer = &serve->health->look_timer;
        if (!core_timer_is_set(timer) || timer->due_ns > due_ns) {
            core_timer_set(serve->loop, timer, due_ns);
        }
    }
}

/* ---- what is told --------------------------------------------------------------------------------------------------------- */

struct core_span serve_health_json(struct serve_health *health) {
    int64_t now = core_tick_ns();
    if (health->all_len == 0 || now - health->all_tick >= ALL_OLD_NS) {
        const char *token = health->serve->conf->token;
        struct core_buf own = {.start = health->own, .pos = health->own, .end = health->own + OWN_BYTES_MAX};
        struct core_buf out = {.start = health->all, .pos = health->all, .end = health->all + ALL_BYTES_MAX};
        core_health_document(health->board, &own);
        core_buf_char(&out, '{');
        core_json_put_bool(&out, "control", token != NULL && token[0] != '\0');
        core_buf_span(&out, CORE_SPAN(",\"processes\":["));
        MUST(!own.is_full);
        core_buf_span(&out, core_buf_written(&own));
        out.end -= 2;
        serve_peers_put(health->peers, &out);
        out.end += 2;
        core_buf_span(&out, CORE_SPAN("]}"));
        MUST(!out.is_full);
        health->all_len = core_buf_written(&out).len;
        health->all_tick = now;
    }
    return (struct core_span){.ptr = health->all, .len = health->all_len};
}

void serve_health_all(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct serve *serve = ctx;
    (void)params;
    core_rpc_result(request, serve_health_json(serve->health));
}

static void on_turn(void *ctx) {
    struct serve_health *health = ctx;
    serve_page_turn(health->http);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------ */

void serve_health_begin(struct serve *serve) {
    struct timespec since_boot;
    struct serve_health *health = calloc(1, sizeof(*health));
    MUST(health != NULL);
    MUST(serve->env->health != NULL);
    MUST(clock_gettime(CLOCK_BOOTTIME, &since_boot) == 0);
    const char *node = NULL;
    struct core_health_env env = {.process = "serve",
                                  .state = serve->env->state != NULL ? serve->env->state(serve->env->ctx) : NULL,
                                  .version = serve->env->version,
                                  .loop = serve->loop,
                                  .conf = serve->env->health(serve->env->ctx, serve->conf, &node)};
    env.node = node;
    *health = (struct serve_health){.serve = serve,
                                    .board = core_health_new(&env),
                                    .look_timer = {.on_time = look, .ctx = health},
                                    .own = malloc(OWN_BYTES_MAX),
                                    .all = malloc(ALL_BYTES_MAX)};
    MUST(health->own != NULL);
    MUST(health->all != NULL);
    health->boot_ns = core_now_ns() - (since_boot.tv_sec * CORE_NS_PER_S + since_boot.tv_nsec);
    health->page = core_health_page_new(health->board, "serve");
    health->peers = serve_peers_new(health);
    health->captures = serve_captures_new(health);
    health->http = serve_page_new(health);
    serve->health = health;
    core_health_on_turn(health->board, on_turn, health);
    look(health);
    core_health_begin_serving(health->board);
}

void serve_health_reload(struct serve *serve) {
    const char *node = NULL;
    core_health_reload(serve->health->board, serve->env->health(serve->env->ctx, serve->conf, &node));
}

void serve_health_end(struct serve *serve) {
    struct serve_health *health = serve->health;
    if (health == NULL) {
        return;
    }
    serve->health = NULL;
    core_timer_clear(&health->look_timer);
    core_health_free(health->board);
    serve_page_free(health->http);
    serve_captures_free(health->captures);
    serve_peers_free(health->peers);
    free(health->own);
    free(health->all);
    free(health);
}
