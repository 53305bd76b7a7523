/* core/httpd.c: a small HTTP server in a core_loop, by libmicrohttpd.
 *
 * libmicrohttpd has no thread here: its epoll descriptor is watched by the loop like any other, and the time it asks for is a
 * timer. What it calls back (a request, the end of one, "more of this stream") comes from within MHD_run(), so from the loop.
 *
 * A stream is a queue of bytes. While it is empty its connection is suspended: libmicrohttpd looks at it again when something
 * is written. A reader that takes nothing fills the queue; at its maximum the socket is shut down, which ends the connection
 * wherever it stands. A stream belongs to two, the connection and libmicrohttpd's response, and dies with the second.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/httpd.h"

#include "core/rpc_internal.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>

#define HTTPD_CONNECTIONS_MAX 64
#define HTTPD_IDLE_S 30
#define HTTPD_CROWDED_MS 100
#define HTTPD_HEAD_BYTES_MAX ((size_t)32 * 1024)
#define HTTPD_ROUTES_MAX 32
#define HTTPD_STREAM_PART_BYTES ((size_t)16 * 1024)

struct route {
    const char *method;
    const char *path;
    core_httpd_answer *answer;
    void *ctx;
};

struct core_httpd {
    struct core_loop *loop;
    struct MHD_Daemon *daemon;
    struct core_watch *watch;
    struct core_timer timer;
    int port;
    bool is_running; /* within MHD_run() */
    struct route routes[HTTPD_ROUTES_MAX];
    size_t routes_len;
    const char *csp;
    struct core_httpd_stream *streams;
    size_t streams_len;
};

struct core_httpd_request {
    struct core_httpd *httpd;
    struct MHD_Connection *connection;
    const struct route *route;
    char *body;
    size_t body_len;
    bool is_too_long;
    bool is_answered;
    struct core_httpd_stream *stream;
};

struct core_httpd_stream {
    struct core_httpd *httpd;
    struct MHD_Connection *connection; /* NULL: it has ended */
    void (*on_closed)(void *ctx);
    void *ctx;
    char *bytes; /* from `at` on, `len` of them wait */
    size_t at, len, cap;
    bool is_suspended;
    bool is_ended;  /* by its owner: what waits is sent, then it ends */
    bool is_broken; /* its reader was too slow */
    unsigned owners;
    struct core_httpd_stream *next;
};

/* ---- the loop ------------------------------------------------------------------------------------------------------------- */

static bool is_crowded(const struct core_httpd *httpd) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(httpd->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info != NULL && info->num_connections >= HTTPD_CONNECTIONS_MAX;
}

static void run(struct core_httpd *httpd) {
    MHD_UNSIGNED_LONG_LONG wait_ms = HTTPD_IDLE_S * 1000ULL;
    MUST(!httpd->is_running);
    /* At its limit it takes its eyes off the listening socket, and looks there again in the run behind the one in which a
     * connection ended; nothing but a timer brings that one about. */
    bool was_crowded = is_crowded(httpd);
    httpd->is_running = true;
    (void)MHD_run(httpd->daemon); /* one connection's error is that connection's end, which it sees to */
    httpd->is_running = false;
    bool is_waited = MHD_get_timeout(httpd->daemon, &wait_ms) == MHD_YES;
    if (is_waited || was_crowded) {
        const unsigned long long most_ms = was_crowded ? HTTPD_CROWDED_MS : HTTPD_IDLE_S * 1000ULL;
        wait_ms = wait_ms > most_ms ? most_ms : wait_ms;
        core_timer_set(httpd->loop, &httpd->timer, core_tick_ns() + (int64_t)wait_ms * CORE_NS_PER_MS);
    } else {
        core_timer_clear(&httpd->timer);
    }
}

static void on_fd(void *ctx, uint32_t events) {
    (void)events;
    run(ctx);
}

static void on_time(void *ctx) {
    run(ctx);
}

/* From outside of MHD_run(): there is something to do. Within, it is seen anyway when that is over. */
static void run_soon(struct core_httpd *httpd) {
    core_timer_set(httpd->loop, &httpd->timer, core_tick_ns());
}

/* ---- answers --------------------------------------------------------------------------------------------------------------- */

static void header_add(struct MHD_Response *response, const char *line) {
    char name[64];
    const char *colon = strchr(line, ':');
    MUST(colon != NULL && (size_t)(colon - line) < sizeof name);
    memcpy(name, line, (size_t)(colon - line));
    name[colon - line] = '\0';
    const char *value = colon + 1 + strspn(colon + 1, " ");
    MUST(MHD_add_response_header(response, name, value) == MHD_YES);
}

static void answer_queue(struct core_httpd_request *request, int status, const char *content_type,
                         struct MHD_Response *response) {
    MUST(!request->is_answered);
    header_add(response, "X-Content-Type-Options: nosniff");
    header_add(response, "Cache-Control: no-store");
    MUST(MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type) == MHD_YES);
    if (strncmp(content_type, "text/html", strlen("text/html")) == 0) {
        MUST(MHD_add_response_header(response, "Content-Security-Policy", request->httpd->csp) == MHD_YES);
    }
    /* No memory left of the connection's own is the only reason for MHD_NO, and then it closes it. */
    (void)MHD_queue_response(request->connection, (unsigned)status, response);
    MHD_destroy_response(response);
    request->is_answered = true;
}

void core_httpd_reply(struct core_httpd_request *request, int status, const char *content_type,
                      const char *const *headers, struct core_span body) {
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)body.ptr, MHD_RESPMEM_MUST_COPY);
    MUST(response != NULL);
    for (size_t i = 0; headers != NULL && headers[i] != NULL; i++) {
        header_add(response, headers[i]);
    }
    answer_queue(request, status, content_type, response);
}

static void refuse(struct core_httpd_request *request, int status, const char *header, const char *why) {
    const char *const headers[] = {header, NULL};
    core_httpd_reply(request, status, "text/plain; charset=utf-8", headers, core_span_of(why));
}

/* ---- requests -------------------------------------------------------------------------------------------------------------- */

/* "localhost", "127.0.0.1:9600", "[::1]:9600": a name that cannot have been made to point here by somebody else. */
static bool is_own_host(const char *host) {
    struct core_span name = host == NULL ? (struct core_span){0} : core_span_of(host);
    const char *colon = core_span_chr(name, ':');
    uint32_t address = 0;
    if (core_span_starts(name, CORE_SPAN("[::1]"))) {
        return name.len == strlen("[::1]") || name.ptr[strlen("[::1]")] == ':';
    }
    name.len = colon == NULL ? name.len : (size_t)(colon - name.ptr);
    return (name.len == strlen("localhost") && strncasecmp(name.ptr, "localhost", name.len) == 0) ||
           (core_ipv4_read(name, &address) && address >> 24 == IN_LOOPBACKNET);
}

static bool route_fits(const struct route *route, const char *method) {
    return strcmp(route->method, method) == 0 || (strcmp(route->method, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

/* "Allow: GET, HEAD, POST" */
static void allow_write(const struct core_httpd *httpd, const char *path, char out[64]) {
    int len = snprintf(out, 64, "Allow:");
    for (size_t i = 0; i < httpd->routes_len; i++) {
        if (strcmp(httpd->routes[i].path, path) == 0) {
            len += snprintf(out + len, 64 - (size_t)len, "%s %s%s", len > (int)strlen("Allow:") ? "," : "",
                            httpd->routes[i].method, strcmp(httpd->routes[i].method, "GET") == 0 ? ", HEAD" : "");
            MUST(len < 64);
        }
    }
}

/* Which route has it, or an answer that there is none. */
static void route_find(struct core_httpd_request *request, const char *method, const char *path) {
    struct core_httpd *httpd = request->httpd;
    bool is_path = false;
    for (size_t i = 0; i < httpd->routes_len; i++) {
        bool is_here = strcmp(httpd->routes[i].path, path) == 0;
        is_path = is_path || is_here;
        if (is_here && route_fits(&httpd->routes[i], method)) {
            request->route = &httpd->routes[i];
            return;
        }
    }
    if (is_path) {
        char allow[64];
        allow_write(httpd, path, allow);
        refuse(request, MHD_HTTP_METHOD_NOT_ALLOWED, allow, "This method is not for this address.\n");
    } else {
        refuse(request, MHD_HTTP_NOT_FOUND, NULL, "There is nothing here.\n");
    }
}

static void refuse_length(struct core_httpd_request *request) {
    refuse(request, MHD_HTTP_CONTENT_TOO_LARGE, NULL, "The request is too long.\n");
}

static void request_begin(struct core_httpd_request *request, const char *method, const char *path) {
    const char *length = core_httpd_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (!is_own_host(core_httpd_header(request, MHD_HTTP_HEADER_HOST))) {
        refuse(request, MHD_HTTP_FORBIDDEN, NULL,
               "Only 127.0.0.1, [::1] and localhost are names of this server; use one of them.\n");
        return;
    }
    route_find(request, method, path);
    if (!request->is_answered && length != NULL && strtoull(length, NULL, 10) > CORE_HTTPD_BODY_BYTES_MAX) {
        refuse_length(request);
    }
}

static void body_add(struct core_httpd_request *request, const char *bytes, size_t len) {
    if (len > CORE_HTTPD_BODY_BYTES_MAX - request->body_len) {
        request->is_too_long = true;
        return;
    }
    char *grown = realloc(request->body, request->body_len + len);
    MUST(grown != NULL);
    memcpy(grown + request->body_len, bytes, len);
    request->body = grown;
    request->body_len += len;
}

/* libmicrohttpd calls this when the head of a request is there, then for each part of its body, then once more. */
// NOLINTNEXTLINE(readability-function-size): its number of parameters is libmicrohttpd's
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *bytes, size_t *len, void **memory) {
    struct core_httpd_request *request = *memory;
    (void)version;
    if (request == NULL) {
        request = calloc(1, sizeof *request);
        MUST(request != NULL);
        *request = (struct core_httpd_request){.httpd = ctx, .connection = connection};
        *memory = request;
        request_begin(request, method, path);
    } else if (*len > 0) {
        body_add(request, bytes, *len);
        *len = 0;
    } else if (request->is_too_long) {
        refuse_length(request);
    } else if (!request->is_answered) {
        request->route->answer(request->route->ctx, request);
        MUST(request->is_answered);
    }
    return MHD_YES;
}

const char *core_httpd_header(const struct core_httpd_request *request, const char *name) {
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *core_httpd_query(const struct core_httpd_request *request, const char *name) {
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

struct core_span core_httpd_body(const struct core_httpd_request *request) {
    return (struct core_span){.ptr = request->body, .len = request->body_len};
}

/* ---- streams --------------------------------------------------------------------------------------------------------------- */

static void stream_let_go(void *ctx) {
    struct core_httpd_stream *stream = ctx;
    if (--stream->owners == 0) {
        free(stream->bytes);
        free(stream);
    }
}

static ssize_t on_more(void *ctx, uint64_t position, char *out, size_t max) {
    struct core_httpd_stream *stream = ctx;
    (void)position;
    if (stream->len > 0 && !stream->is_broken) {
        size_t len = stream->len < max ? stream->len : max;
        memcpy(out, stream->bytes + stream->at, len);
        stream->at += len;
        stream->len -= len;
        stream->at = stream->len == 0 ? 0 : stream->at;
        return (ssize_t)len;
    }
    if (stream->is_ended || stream->is_broken) {
        return stream->is_broken ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
    }
    stream->is_suspended = true;
    MHD_suspend_connection(stream->connection);
    return 0;
}

struct core_httpd_stream *core_httpd_stream(struct core_httpd_request *request, const char *content_type,
                                            void (*on_closed)(void *ctx), void *ctx) {
    struct core_httpd *httpd = request->httpd;
    if (httpd->streams_len >= CORE_HTTPD_STREAMS_MAX) {
        refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, "Retry-After: 10",
               "As many as may be are looking already; close one of these pages.\n");
        return NULL;
    }
    struct core_httpd_stream *stream = calloc(1, sizeof *stream);
    MUST(stream != NULL);
    *stream = (struct core_httpd_stream){.httpd = httpd,
                                         .connection = request->connection,
                                         .on_closed = on_closed,
                                         .ctx = ctx,
                                         .owners = 2,
                                         .next = httpd->streams};
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, HTTPD_STREAM_PART_BYTES, on_more, stream, stream_let_go);
    MUST(response != NULL);
    MUST(MHD_set_connection_option(request->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0U) == MHD_YES);
    httpd->streams = stream;
    httpd->streams_len++;
    request->stream = stream;
    answer_queue(request, MHD_HTTP_OK, content_type, response);
    return stream;
}

static void stream_wake(struct core_httpd_stream *stream) {
    if (stream->is_suspended && stream->connection != NULL) {
        stream->is_suspended = false;
        MHD_resume_connection(stream->connection);
    }
    run_soon(stream->httpd);
}

/* Whatever its socket is waiting for ends now, and with it the connection. */
static void stream_break(struct core_httpd_stream *stream) {
    const union MHD_ConnectionInfo *info =
        stream->connection == NULL ? NULL
                                   : MHD_get_connection_info(stream->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    stream->is_broken = true;
    if (info != NULL) {
        (void)shutdown(info->connect_fd, SHUT_RDWR);
    }
    stream_wake(stream);
}

void core_httpd_stream_write(struct core_httpd_stream *stream, struct core_span bytes) {
    MUST(!stream->is_ended);
    if (stream->is_broken || stream->connection == NULL || bytes.len == 0) {
        return;
    }
    if (bytes.len > CORE_HTTPD_QUEUED_BYTES_MAX - stream->len) {
        stream_break(stream);
        return;
    }
    if (stream->at > 0 && stream->at + stream->len + bytes.len > stream->cap) {
        memmove(stream->bytes, stream->bytes + stream->at, stream->len);
        stream->at = 0;
    }
    if (stream->len + bytes.len > stream->cap) {
        size_t cap = (stream->len + bytes.len) * 2;
        char *grown = realloc(stream->bytes, cap);
        MUST(grown != NULL);
        stream->bytes = grown;
        stream->cap = cap;
    }
    memcpy(stream->bytes + stream->at + stream->len, bytes.ptr, bytes.len);
    stream->len += bytes.len;
    stream_wake(stream);
}

void core_httpd_stream_end(struct core_httpd_stream *stream) {
    stream->is_ended = true;
    stream_wake(stream);
}

/* Its connection is over, whoever wanted that. */
static void stream_closed(struct core_httpd *httpd, struct core_httpd_stream *stream) {
    struct core_httpd_stream **at = &httpd->streams;
    while (*at != stream) {
        MUST(*at != NULL);
        at = &(*at)->next;
    }
    *at = stream->next;
    httpd->streams_len--;
    stream->connection = NULL;
    if (!stream->is_ended && stream->on_closed != NULL) {
        stream->on_closed(stream->ctx);
    }
    stream_let_go(stream);
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **memory,
                         enum MHD_RequestTerminationCode how) {
    struct core_httpd_request *request = *memory;
    (void)connection;
    (void)how;
    if (request == NULL) {
        return;
    }
    if (request->stream != NULL) {
        stream_closed(ctx, request->stream);
        (void)MHD_set_connection_option(request->connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)HTTPD_IDLE_S);
    }
    free(request->body);
    free(request);
    *memory = NULL;
}

/* ---- the server ------------------------------------------------------------------------------------------------------------ */

static enum core_err listen_on(struct core_httpd *httpd, const char *address_text, int *fd, struct core_fail *fail) {
    struct rpc_address address;
    char text[128];
    int len = snprintf(text, sizeof text, "tcp:%s", address_text);
    if (len < 0 || (size_t)len >= sizeof text) {
        return core_fail_set(fail, CORE_BAD, address_text, "no address and port: write 127.0.0.1:9600 or [::1]:9600");
    }
    enum core_err err = rpc_address_read(text, &address, fail);
    err = err == CORE_OK ? rpc_address_listen(&address, address_text, (gid_t)-1, fd, fail) : err;
    if (err == CORE_OK) {
        socklen_t room = sizeof address.room;
        MUST(getsockname(*fd, &address.any, &room) == 0);
        httpd->port = ntohs(address.any.sa_family == AF_INET6
                                ? ((const struct sockaddr_in6 *)(const void *)&address.room)->sin6_port
                                : ((const struct sockaddr_in *)(const void *)&address.room)->sin_port);
    }
    return err;
}

enum core_err core_httpd_new(struct core_httpd **out, struct core_loop *loop, const char *address,
                             struct core_fail *fail) {
    int fd = -1;
    struct core_httpd *httpd = calloc(1, sizeof *httpd);
    MUST(httpd != NULL);
    httpd->loop = loop;
    httpd->csp = "default-src 'none'";
    httpd->timer = (struct core_timer){.on_time = on_time, .ctx = httpd};
    enum core_err err = listen_on(httpd, address, &fd, fail);
    if (err != CORE_OK) {
        goto out;
    }
    httpd->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, httpd, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTPD_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)HTTPD_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTPD_HEAD_BYTES_MAX, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, httpd, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (httpd->daemon == NULL) {
        err = core_fail_set(fail, CORE_IO, address, "cannot start an HTTP server: no memory or descriptors are left");
        goto out;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(httpd->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    MUST(info != NULL);
    err = core_loop_watch(loop, info->epoll_fd, EPOLLIN, on_fd, httpd, &httpd->watch, fail);
out:
    if (err == CORE_OK) {
        *out = httpd;
    } else {
        core_httpd_free(httpd);
    }
    return err;
}

void core_httpd_free(struct core_httpd *httpd) {
    if (httpd == NULL) {
        return;
    }
    MUST(!httpd->is_running);
    if (httpd->daemon != NULL) {
        /* A suspended connection cannot be closed: all are woken to find that they are over. */
        for (struct core_httpd_stream *stream = httpd->streams; stream != NULL; stream = stream->next) {
            stream->is_broken = stream->is_broken || !stream->is_ended;
            stream_wake(stream);
        }
        run(httpd);
        core_loop_unwatch(httpd->watch);
        httpd->is_running = true;
        MHD_stop_daemon(httpd->daemon);
        httpd->is_running = false;
    }
    core_timer_clear(&httpd->timer);
    free(httpd);
}

int core_httpd_port(const struct core_httpd *httpd) {
    return httpd->port;
}

void core_httpd_route(struct core_httpd *httpd, const char *method, const char *path, core_httpd_answer *answer,
                      void *ctx) {
    MUST(httpd->routes_len < HTTPD_ROUTES_MAX);
    httpd->routes[httpd->routes_len++] = (struct route){.method = method, .path = path, .answer = answer, .ctx = ctx};
}

void core_httpd_csp(struct core_httpd *httpd, const char *policy) {
    httpd->csp = policy;
}
