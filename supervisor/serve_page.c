/* supervisor/serve_page.c: what Main has over HTTP beside /metrics: the page, its numbers, its buttons.
 *
 *   GET  /, /page.js …    files that lie in the program (configs/page)
 *   GET  /api/health      how everything is, as method health.all says it
 *   GET  /api/events      the same each second, as server-sent events "health"
 *   POST /api/control     {"action":"start|stop|restart|check","node":"name"}: only with the control token (serve.token)
 *
 * Numbers are for whoever is on this host; control is for who knows the token, which no browser sends by itself: it stands in the
 * header Authorization, so that no form and no page of others can use it. Beside it the request must be JSON and, where the
 * browser says where it comes from (Origin, Sec-Fetch-Site), from our own page; that Host is a loopback name core/httpd has seen
 * to. A wrong token makes the next tries wait: they are answered 429 without being looked at. check does nothing but tell that
 * the token is right.
 *
 * What is asked for goes through the table of the control channel, as if `tapline start` had asked; the answer comes when the
 * node is where it should be, and does not depend on anybody still waiting for it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/httpd.h"
#include "supervisor/serve_health_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define WATCHERS_MAX 12
#define CONTROLS_MAX 4 /* the server's other streams */
#define WAIT_MIN_NS CORE_NS_PER_S
#define WAIT_MAX_NS (10 * CORE_NS_PER_S)
#define ERROR_BYTES_MAX 1024
#define ANSWER_BYTES_MAX (2 * CORE_KIB + 6 * ERROR_BYTES_MAX)
#define PARAMS_BYTES_MAX 512
#define ORIGIN_BYTES_MAX 300
#define ARENA_BYTES (CORE_HTTPD_BODY_BYTES_MAX * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN)
#define EVENT_HEAD "event: health\ndata: "

enum { HTTP_OK = 200, HTTP_BAD = 400, HTTP_WHO = 401, HTTP_DENIED = 403, HTTP_UNKNOWN = 404, HTTP_CONFLICT = 409 };
enum { HTTP_NOT_JSON = 415, HTTP_TOO_MANY = 429, HTTP_FAILED = 500, HTTP_AWAY = 503 };

static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
static const char json_type[] = "application/json";

/* Somebody who watches. */
struct watcher {
    struct serve_page *page;
    struct watcher *next;
    struct core_httpd_stream *stream;
};
/* Something that was asked for and is not done. */
struct control {
    struct serve_page *page;
    struct control *next;
    struct core_httpd_stream *stream; /* NULL: not yet, or nobody waits any more */
    char action[16];
    char node[SUPERVISOR_NAME_BYTES_MAX + 1];
    bool is_begun; /* from now on the answer goes to the stream */
    bool is_done;
    int status; /* of what was done before that */
    char answer[ANSWER_BYTES_MAX];
    size_t answer_len;
};
struct serve_page {
    struct serve_health *health;
    struct watcher *watchers;
    size_t watchers_len;
    struct control *controls;
    size_t controls_len;
    struct core_arena arena; /* of a request */
    int64_t wait_ns;         /* after the last wrong token; 0: there was none since the last right one */
    int64_t wait_until_tick;
    char *event; /* room for one */
};

/* ---- who asks -------------------------------------------------------------------------------------------------------------- */

/* Does the browser say that it is our own page which asks, or (by_hand) that somebody has typed the address? Programs that are no
 * browsers say nothing. */
static bool is_our_page(struct core_httpd_request *request, bool by_hand) {
    const char *origin = core_httpd_header(request, "Origin");
    const char *site = core_httpd_header(request, "Sec-Fetch-Site");
    const char *host = core_httpd_header(request, "Host");
    char ours[ORIGIN_BYTES_MAX];
    if (site != NULL && strcmp(site, "same-origin") != 0 && !(by_hand && strcmp(site, "none") == 0)) {
        return false;
    }
    if (origin == NULL) {
        return true;
    }
    int len = snprintf(ours, sizeof(ours), "http://%s", host != NULL ? host : "");
    return len > 0 && (size_t)len < sizeof(ours) && strcasecmp(origin, ours) == 0;
}

static void refuse(struct core_httpd_request *request, int status, const char *const *headers, const char *text) {
    char bytes[ANSWER_BYTES_MAX];
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    core_buf_span(&out, CORE_SPAN("{\"error\":"));
    core_buf_string(&out, core_utf8_cut(core_span_of(text), ERROR_BYTES_MAX));
    core_buf_char(&out, '}');
    MUST(!out.is_full);
    core_httpd_reply(request, status, json_type, headers, core_buf_written(&out));
}

/* False: answered already. */
static bool may_read(struct core_httpd_request *request) {
    bool may = is_our_page(request, true);
    if (!may) {
        refuse(request, HTTP_DENIED, NULL,
               "these numbers are for tapline's own page, and this request is from another");
    }
    return may;
}

/* ---- the page and its numbers -------------------------------------------------------------------------------------------- */

static void answer_file(void *ctx, struct core_httpd_request *request) {
    static const char *const headers[] = {"Referrer-Policy: no-referrer", "Cross-Origin-Resource-Policy: same-origin",
                                          "Cross-Origin-Opener-Policy: same-origin", "X-Frame-Options: DENY", NULL};
    const struct serve_page_file *file = ctx;
    core_httpd_reply(request, HTTP_OK, file->type, headers,
                     (struct core_span){.ptr = (const char *)file->bytes, .len = file->len});
}

static void answer_health(void *ctx, struct core_httpd_request *request) {
    struct serve_page *page = ctx;
    if (may_read(request)) {
        core_httpd_reply(request, HTTP_OK, json_type, NULL, serve_health_json(page->health));
    }
}

/* JSON has no newline, so it is one line of data. */
static struct core_span event_make(struct serve_page *page) {
    struct core_span json = serve_health_json(page->health);
    struct core_buf out = {.start = page->event,
                           .pos = page->event,
                           .end = page->event + CORE_RPC_LINE_BYTES_MAX + sizeof(EVENT_HEAD) + 2};
    MUST(json.len <= CORE_RPC_LINE_BYTES_MAX);
    core_buf_span(&out, CORE_SPAN(EVENT_HEAD));
    core_buf_span(&out, json);
    core_buf_span(&out, CORE_SPAN("\n\n"));
    return core_buf_written(&out);
}

static void watcher_forget(void *ctx) {
    struct watcher *watcher = ctx;
    struct watcher **at = &watcher->page->watchers;
    while (*at != watcher) {
        MUST(*at != NULL);
        at = &(*at)->next;
    }
    *at = watcher->next;
    watcher->page->watchers_len--;
    free(watcher);
}

static void answer_events(void *ctx, struct core_httpd_request *request) {
    struct serve_page *page = ctx;
    if (!may_read(request)) {
        return;
    }
    if (page->watchers_len >= WATCHERS_MAX) {
        refuse(request, HTTP_AWAY, NULL, "so many pages are open that no other one is told; close one");
        return;
    }
    struct watcher *watcher = calloc(1, sizeof(*watcher));
    MUST(watcher != NULL);
    watcher->page = page;
    watcher->stream = core_httpd_stream(request, "text/event-stream", watcher_forget, watcher);
    if (watcher->stream == NULL) {
        free(watcher);
        return;
    }
    watcher->next = page->watchers;
    page->watchers = watcher;
    page->watchers_len++;
    core_httpd_stream_write(watcher->stream, CORE_SPAN("retry: 2000\n\n"));
    core_httpd_stream_write(watcher->stream, event_make(page));
}

/* ---- control: may they? -------------------------------------------------------------------------------------------------------- */

/* In a time that does not tell how much of it was right. */
static bool is_same(const char *said, const char *token) {
    size_t said_len = strlen(said);
    size_t token_len = strlen(token);
    volatile unsigned char differs = said_len == token_len ? 0 : 1;
    for (size_t i = 0; i < said_len; i++) {
        differs |= (unsigned char)(said[i] ^ token[token_len == 0 ? 0 : i % token_len]);
    }
    return differs == 0 && token_len > 0;
}

static bool is_json(const char *type) {
    size_t len = sizeof(json_type) - 1;
    return type != NULL && strncasecmp(type, json_type, len) == 0 && strchr("; \t", type[len]) != NULL;
}

/* The token of "Bearer …"; NULL: there is none. */
static const char *token_said(struct core_httpd_request *request) {
    static const char scheme[] = "Bearer ";
    const char *said = core_httpd_header(request, "Authorization");
    return said != NULL && strncasecmp(said, scheme, sizeof(scheme) - 1) == 0 ? said + sizeof(scheme) - 1 : NULL;
}

static void token_was_wrong(struct serve_page *page, struct core_httpd_request *request) {
    page->wait_ns = page->wait_ns == 0                ? WAIT_MIN_NS
                    : page->wait_ns * 2 < WAIT_MAX_NS ? page->wait_ns * 2
                                                      : WAIT_MAX_NS;
    page->wait_until_tick = core_tick_ns() + page->wait_ns;
    core_log(CORE_LEVEL_WARN, "serve", "the page was used with a wrong control token",
             "effect=\"nothing was done, and no token is looked at for a while\" help=\"if that was nobody of you, see "
             "who is on this host; the token is serve.token\"");
    refuse(request, HTTP_DENIED, NULL, "this is not the control token: it is serve.token of the configuration");
}

/* False: answered already. */
static bool may_control(struct serve_page *page, struct core_httpd_request *request) {
    static const char *const who[] = {"WWW-Authenticate: Bearer realm=\"tapline\"", NULL};
    const char *token = page->health->serve->conf->token;
    if (!is_our_page(request, false)) {
        refuse(request, HTTP_DENIED, NULL,
               "only tapline's own page may ask for this, and this request is from another");
        return false;
    }
    if (token == NULL || token[0] == '\0') {
        refuse(request, HTTP_DENIED, NULL,
               "control by the page is off: serve.token is not set; use tapline start, stop, restart, or set it and "
               "restart tapline serve");
        return false;
    }
    const char *said = token_said(request);
    if (said == NULL) {
        refuse(request, HTTP_WHO, who, "this needs the control token, as header Authorization: Bearer TOKEN");
        return false;
    }
    int64_t left_ns = page->wait_until_tick - core_tick_ns();
    if (left_ns > 0) {
        char retry[64];
        const char *const headers[] = {retry, NULL};
        (void)snprintf(retry, sizeof(retry), "Retry-After: %lld",
                       (long long)((left_ns + CORE_NS_PER_S - 1) / CORE_NS_PER_S));
        refuse(request, HTTP_TOO_MANY, headers, "a wrong token was tried right before; try again in some seconds");
        return false;
    }
    if (!is_same(said, token)) {
        token_was_wrong(page, request);
        return false;
    }
    page->wait_ns = 0;
    if (!is_json(core_httpd_header(request, "Content-Type"))) {
        refuse(request, HTTP_NOT_JSON, NULL, "the request has to be JSON: Content-Type: application/json");
        return false;
    }
    return true;
}

/* ---- control: done ----------------------------------------------------------------------------------------------------------------- */

static void control_free(struct control *control) {
    struct control **at = &control->page->controls;
    while (*at != control) {
        MUST(*at != NULL);
        at = &(*at)->next;
    }
    *at = control->next;
    control->page->controls_len--;
    free(control);
}

static void on_reader_gone(void *ctx) {
    struct control *control = ctx;
    control->stream = NULL; /* what was asked for is done all the same */
}

static int status_of(int64_t code) {
    switch (code) {
    case 0:
        return HTTP_OK;
    case CORE_RPC_UNKNOWN:
        return HTTP_UNKNOWN;
    case CORE_RPC_BAD_PARAMS:
        return HTTP_BAD;
    case CORE_RPC_REFUSED:
        return HTTP_CONFLICT;
    default:
        return HTTP_FAILED;
    }
}

static void on_outcome(void *ctx, const struct core_rpc_outcome *outcome) {
    struct control *control = ctx;
    struct core_buf out = {.start = control->answer, .pos = control->answer, .end = control->answer + ANSWER_BYTES_MAX};
    if (outcome->code == 0) {
        core_buf_span(&out, outcome->result);
    } else {
        core_buf_span(&out, CORE_SPAN("{\"error\":"));
        core_buf_string(&out, core_utf8_cut(core_span_of(outcome->text), ERROR_BYTES_MAX));
        core_buf_char(&out, '}');
    }
    MUST(!out.is_full); /* one node's */
    control->answer_len = core_buf_written(&out).len;
    control->status = status_of(outcome->code);
    control->is_done = true;
    core_log(CORE_LEVEL_INFO, "serve", "the page's wish is answered", "action=%s node=%s done=%s why=\"%s\"",
             control->action, control->node, outcome->code == 0 ? "yes" : "no", outcome->text);
    if (control->is_begun) {
        if (control->stream != NULL) {
            core_httpd_stream_write(control->stream, core_buf_written(&out));
            core_httpd_stream_end(control->stream);
        }
        control_free(control);
    }
}

/* Asked, and answered when it is done: at once if it was refused at once. */
static void control_begin(struct serve_page *page, struct core_httpd_request *request, const char *action,
                          const char *node) {
    char params[PARAMS_BYTES_MAX];
    struct core_buf out = {.start = params, .pos = params, .end = params + sizeof(params)};
    struct core_json_tree *tree = NULL;
    struct core_fail fail = {0};
    core_buf_span(&out, CORE_SPAN("{\"nodes\":["));
    core_buf_string(&out, core_span_of(node));
    core_buf_span(&out,
                  CORE_SPAN("],\"exact\":true}")); /* a name may be a type's or a group's, too: one row, one node */
    MUST(!out.is_full);
    MUST(core_json_tree_read(&page->arena, core_buf_written(&out), &tree, &fail) == CORE_OK);
    struct control *control = calloc(1, sizeof(*control));
    MUST(control != NULL);
    control->page = page;
    control->next = page->controls;
    page->controls = control;
    page->controls_len++;
    (void)snprintf(control->action, sizeof(control->action), "%s", action);
    (void)snprintf(control->node, sizeof(control->node), "%s", node);
    core_log(CORE_LEVEL_INFO, "serve", "the page was used to control", "action=%s node=%s by=\"the control token\"",
             action, node);
    core_rpc_server_ask(page->health->serve->server, action, tree, "the page, by the control token", on_outcome,
                        control);
    if (control->is_done) {
        core_httpd_reply(request, control->status, json_type, NULL,
                         (struct core_span){.ptr = control->answer, .len = control->answer_len});
        control_free(control);
        return;
    }
    control->is_begun = true;
    control->stream = core_httpd_stream(request, json_type, on_reader_gone, control);
}

static bool has_node(struct serve *serve, struct core_span node) {
    return node.len <= SUPERVISOR_NAME_BYTES_MAX && memchr(node.ptr, '\0', node.len) == NULL &&
           (serve_process_find(serve, node) != NULL || sensors_plan_find(&serve->deployed, node) != NULL);
}

static void answer_control(void *ctx, struct core_httpd_request *request) {
    static const char *const actions[] = {"start", "stop", "restart", "check"};
    static const size_t actions_len = sizeof(actions) / sizeof(actions[0]);
    struct serve_page *page = ctx;
    struct serve *serve = page->health->serve;
    struct core_json_tree *body = NULL;
    struct core_fail fail = {0};
    size_t i = 0;
    if (!may_control(page, request)) {
        return;
    }
    core_arena_reset(&page->arena, CORE_JSON_TREE_BYTES_MIN);
    if (core_json_tree_read(&page->arena, core_httpd_body(request), &body, &fail) != CORE_OK) {
        refuse(request, HTTP_BAD, NULL, "the request is no JSON");
        return;
    }
    struct core_span action = core_json_tree_text(body, "action");
    struct core_span node = core_json_tree_text(body, "node");
    while (i < actions_len && !core_span_is(action, actions[i])) {
        i++;
    }
    if (i == actions_len) {
        refuse(request, HTTP_BAD, NULL, "action is one of start, stop, restart, check");
    } else if (i == actions_len - 1) {
        core_httpd_reply(request, HTTP_OK, json_type, NULL, CORE_SPAN("{\"ok\":true}"));
    } else if (serve->server == NULL || !serve->is_linked) {
        refuse(request, HTTP_AWAY, NULL,
               "no Supervisor answers now; try again in a second, and see the log of tapline serve");
    } else if (node.len == 0 || !has_node(serve, node)) {
        refuse(request, HTTP_UNKNOWN, NULL, "there is no such node: give its whole name, as tapline status shows it");
    } else if (page->controls_len >= CONTROLS_MAX) {
        refuse(request, HTTP_AWAY, NULL, "several such wishes are being worked at; ask again when one is done");
    } else {
        control_begin(page, request, actions[i], node.ptr); /* a NUL follows a tree's text */
    }
}

/* ---- life -------------------------------------------------------------------------------------------------------------------------- */

static void on_httpd(void *ctx, struct core_httpd *httpd) {
    struct serve_page *page = ctx;
    for (size_t i = 0; i < serve_page_files_len; i++) {
        const struct serve_page_file *file = &serve_page_files[i];
        core_httpd_route(httpd, "GET", file->path, answer_file, (void *)(uintptr_t)file);
    }
    core_httpd_route(httpd, "GET", "/api/health", answer_health, page);
    core_httpd_route(httpd, "GET", "/api/events", answer_events, page);
    core_httpd_route(httpd, "POST", "/api/control", answer_control, page);
    core_httpd_csp(httpd, policy);
}

void serve_page_turn(struct serve_page *page) {
    if (page->watchers == NULL) {
        return;
    }
    struct core_span event = event_make(page);
    for (struct watcher *watcher = page->watchers; watcher != NULL;) {
        struct watcher *next = watcher->next; /* one that is too slow goes within the call */
        core_httpd_stream_write(watcher->stream, event);
        watcher = next;
    }
}

struct serve_page *serve_page_new(struct serve_health *health) {
    struct serve_page *page = calloc(1, sizeof(*page));
    struct core_fail fail;
    MUST(page != NULL);
    page->health = health;
    page->event = malloc(CORE_RPC_LINE_BYTES_MAX + sizeof(EVENT_HEAD) + 2);
    MUST(page->event != NULL);
    MUST(core_arena_init(&page->arena, ARENA_BYTES, &fail) == CORE_OK);
    core_health_on_httpd(health->board, on_httpd, page);
    return page;
}

void serve_page_free(struct serve_page *page) {
    MUST(page->watchers == NULL); /* each was told when the server ended its streams */
    MUST(page->controls == NULL); /* all who waited were refused before */
    core_arena_destroy(&page->arena);
    free(page->event);
    free(page);
}
