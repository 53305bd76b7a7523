/* core/health_serve.c: /metrics, /healthz, /readyz and /health over HTTP, and the row of the process itself.
 *
 * A port that is in use is no reason to stop shipping logs: it is said once, is a problem, and is tried again each ten seconds.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"

#include "core/httpd.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define SERVE_AGAIN_NS (10 * CORE_NS_PER_S)
#define SERVE_TEXT_BYTES_MAX (64 * CORE_MIB) /* of an answer: address space */
#define SERVE_KEPT_BYTES CORE_MIB

struct core_health_serve {
    struct core_httpd *httpd; /* NULL: not yet */
    struct core_arena text;   /* answers are written here */
    char address[128];
    int64_t next_try_ns;
    bool is_told; /* that it cannot be had */
    struct core_fail fail;
};

/* ---- the process's own row --------------------------------------------------------------------------------------------------- */

static int64_t rss_bytes(void) {
    char line[256];
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) {
        return CORE_HEALTH_UNKNOWN;
    }
    bool is_read = fgets(line, sizeof line, file) != NULL;
    (void)fclose(file);
    const char *resident = is_read ? strchr(line, ' ') : NULL; /* the second number, in pages */
    return resident != NULL ? strtoll(resident, NULL, 10) * sysconf(_SC_PAGESIZE) : CORE_HEALTH_UNKNOWN;
}

static int64_t cpu_ns(void) {
    struct timespec used = {0};
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0 ? (int64_t)used.tv_sec * CORE_NS_PER_S + used.tv_nsec
                                                               : CORE_HEALTH_UNKNOWN;
}

static int64_t fds_open(void) {
    int64_t len = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) {
        return CORE_HEALTH_UNKNOWN;
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        len += entry->d_name[0] != '.' ? 1 : 0;
    }
    (void)closedir(dir);
    return len - 1; /* the one that looks */
}

static int64_t free_bytes(const char *path) {
    struct statvfs found;
    return path != NULL && statvfs(path, &found) == 0 ? (int64_t)((uint64_t)found.f_bavail * found.f_frsize)
                                                      : CORE_HEALTH_UNKNOWN;
}

void core_health_own_measure(struct core_health *health) {
    health->own_rss = rss_bytes();
    health->own_cpu_ns = cpu_ns();
    health->own_fds = fds_open();
    health->own_free = free_bytes(health->env.state);
}

void core_health_own_write(struct core_health *health) {
    struct core_health_page *page = health->own;
    size_t len = 0;
    const struct core_health_problem *problems = core_health_problems(health, &len);
    core_health_begin(page);
    struct core_health_row *row = core_health_add(page, CORE_HEALTH_PROCESS, NULL, NULL, NULL);
    core_health_set(row, CORE_PROCESS_START, health->started_ns);
    core_health_set(row, CORE_PROCESS_RSS, health->own_rss);
    core_health_set(row, CORE_PROCESS_CPU, health->own_cpu_ns);
    core_health_set(row, CORE_PROCESS_FDS, health->own_fds);
    core_health_set(row, CORE_PROCESS_STATE_FREE, health->own_free);
    core_health_set(row, CORE_PROCESS_PROBLEMS, (int64_t)len);
    core_health_set(row, CORE_PROCESS_READY, core_health_is_ready(health) ? 1 : 0);
    for (size_t i = 0; i < len; i++) {
        row = core_health_add(page, CORE_HEALTH_PROBLEM, problems[i].code,
                              core_health_severity_word(problems[i].severity), problems[i].component);
        core_health_set(row, CORE_PROBLEM_SINCE, problems[i].since_ns);
    }
    if (health->serve != NULL && health->serve->is_told) {
        core_health_complain(page, "port_taken", CORE_HEALTH_PROCESS, NULL, NULL, NULL,
                             "/metrics and /readyz are not served at %s: %s; tried again each 10 s",
                             health->serve->address, health->serve->fail.text);
    }
    core_otlp_show(health, page);
    core_health_publish(page);
}

/* ---- answers ------------------------------------------------------------------------------------------------------------------- */

static struct core_buf text_begin(struct core_health_serve *serve) {
    core_arena_reset(&serve->text, SERVE_KEPT_BYTES);
    char *start = core_arena_alloc(&serve->text, SERVE_TEXT_BYTES_MAX);
    MUST(start != NULL);
    return (struct core_buf){.start = start, .pos = start, .end = start + SERVE_TEXT_BYTES_MAX};
}

static void on_metrics(void *ctx, struct core_httpd_request *request) {
    struct core_health *health = ctx;
    const char *accept = core_httpd_header(request, "Accept");
    bool is_open = accept != NULL && strstr(accept, "application/openmetrics-text") != NULL;
    struct core_buf text = text_begin(health->serve);
    core_health_exposition(health, is_open, &text);
    core_httpd_reply(request, 200,
                     is_open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                             : "text/plain; version=0.0.4; charset=utf-8",
                     NULL, core_buf_written(&text));
}

static void on_healthz(void *ctx, struct core_httpd_request *request) {
    (void)ctx;
    core_httpd_reply(request, 200, "text/plain; charset=utf-8", NULL, CORE_SPAN("ok\n"));
}

static void on_readyz(void *ctx, struct core_httpd_request *request) {
    struct core_health *health = ctx;
    size_t len = 0;
    const struct core_health_problem *problems = core_health_problems(health, &len);
    bool is_ready = core_health_is_ready(health);
    struct core_buf text = text_begin(health->serve);
    core_buf_span(&text,
                  is_ready ? CORE_SPAN("{\"ready\":true,\"state\":\"") : CORE_SPAN("{\"ready\":false,\"state\":\""));
    core_buf_span(&text, core_span_of(core_health_state(health)));
    core_buf_span(&text, CORE_SPAN("\",\"problems\":["));
    for (size_t i = 0; i < len; i++) {
        core_buf_span(&text, i == 0 ? CORE_SPAN("") : CORE_SPAN(","));
        core_health_problem_put(&text, &problems[i]);
    }
    core_buf_span(&text, CORE_SPAN("]}\n"));
    core_httpd_reply(request, is_ready ? 200 : 503, "application/json", NULL, core_buf_written(&text));
}

static void on_document(void *ctx, struct core_httpd_request *request) {
    struct core_health *health = ctx;
    struct core_buf text = text_begin(health->serve);
    core_health_document(health, &text);
    core_httpd_reply(request, 200, "application/json", NULL, core_buf_written(&text));
}

/* ---- listening ----------------------------------------------------------------------------------------------------------------- */

bool core_health_address(const struct core_health_conf *conf, const char *process, unsigned instance, char out[128]) {
    const char *text = strcmp(process, "run") == 0     ? conf->run
                       : strcmp(process, "feed") == 0  ? conf->feed
                       : strcmp(process, "serve") == 0 ? conf->serve
                                                       : conf->intel_sync;
    const char *colon = text == NULL ? NULL : strrchr(text, ':');
    if (colon == NULL || strcmp(text, "off") == 0) {
        return false;
    }
    unsigned long port = strtoul(colon + 1, NULL, 10);
    port += port == 0 ? 0 : instance;
    int len = snprintf(out, 128, "%.*s:%lu", (int)(colon - text), text, port);
    return len > 0 && len < 128;
}

static void listen_try(struct core_health *health) {
    struct core_health_serve *serve = health->serve;
    struct core_fail fail = {0};
    if (core_httpd_new(&serve->httpd, health->env.loop, serve->address, &fail) != CORE_OK) {
        serve->next_try_ns = core_tick_ns() + SERVE_AGAIN_NS;
        if (!serve->is_told) {
            core_log_fail(CORE_LEVEL_WARN, "health",
                          "/metrics and /readyz are not served; everything else goes on, and it is tried again each 10 "
                          "s: another program may have the port, then section health of the configuration can name "
                          "another one",
                          &fail);
        }
        serve->is_told = true;
        serve->fail = fail;
        return;
    }
    serve->is_told = false;
    core_httpd_route(serve->httpd, "GET", "/metrics", on_metrics, health);
    core_httpd_route(serve->httpd, "GET", "/healthz", on_healthz, health);
    core_httpd_route(serve->httpd, "GET", "/readyz", on_readyz, health);
    core_httpd_route(serve->httpd, "GET", "/health", on_document, health);
    core_log(CORE_LEVEL_INFO, "health", "serves /metrics, /healthz, /readyz and /health", "port=%d",
             core_httpd_port(serve->httpd));
    if (health->on_httpd != NULL) {
        health->on_httpd(health->on_httpd_ctx, serve->httpd);
    }
}

void core_health_serve_turn(struct core_health *health) {
    char address[128];
    if (!health->conf.is_on ||
        !core_health_address(&health->conf, health->env.process, health->env.instance, address)) {
        return;
    }
    if (health->serve == NULL) {
        struct core_fail fail;
        health->serve = calloc(1, sizeof *health->serve);
        MUST(health->serve != NULL);
        memcpy(health->serve->address, address, sizeof address);
        MUST(core_arena_init(&health->serve->text, SERVE_TEXT_BYTES_MAX, &fail) == CORE_OK);
    }
    if (health->serve->httpd == NULL && core_tick_ns() >= health->serve->next_try_ns) {
        listen_try(health);
    }
}

void core_health_serve_free(struct core_health *health) {
    if (health->serve != NULL) {
        core_httpd_free(health->serve->httpd);
        core_arena_destroy(&health->serve->text);
        free(health->serve);
        health->serve = NULL;
    }
}

struct core_httpd *core_health_httpd(struct core_health *health) {
    return health->serve == NULL ? NULL : health->serve->httpd;
}

void core_health_on_httpd(struct core_health *health, void (*on_httpd)(void *ctx, struct core_httpd *httpd),
                          void *ctx) {
    health->on_httpd = on_httpd;
    health->on_httpd_ctx = ctx;
    if (core_health_httpd(health) != NULL) {
        on_httpd(ctx, core_health_httpd(health));
    }
}
