/* core/rpc_server.c: one end of the control channel: who may ask, and what they ask.
 *
 * A peer is a connection with a name. Its requests under way hang on it (rpc_request.c); what it wants beyond answers is
 * whether it subscribed to events (rpc_events.c).
 *
 * Nobody is trusted before they are known: peers of a Unix socket by the kernel's word, others by the token. Who is not let
 * in gets one answer that says so; who says nothing at all is let go after some seconds, and strangers have but a part of the
 * places.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/rpc_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVER_REQUESTS_MAX 256                       /* under way, of one peer */
#define SERVER_STRANGERS_MAX (CORE_RPC_PEERS_MAX / 4) /* not known yet; they cannot keep others out */
#define SERVER_SILENCE_NS (10 * CORE_NS_PER_S)
#define SERVER_ACCEPT_PAUSE_NS CORE_NS_PER_S

/* ---- methods of the server's own ----------------------------------------------------------------------------------- */

static void hello(const struct core_rpc_server *server, struct core_rpc_request *request) {
    char text[CORE_KIB];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    core_buf_span(&buf, CORE_SPAN("{\"service\":"));
    core_buf_string(&buf, core_span_of(server->conf.service));
    core_buf_span(&buf, CORE_SPAN(",\"protocol\":"));
    core_buf_u64(&buf, CORE_RPC_PROTOCOL);
    core_buf_span(&buf, CORE_SPAN(",\"version\":"));
    core_buf_string(&buf, core_span_of(server->conf.version));
    core_buf_span(&buf, CORE_SPAN(",\"pid\":"));
    core_buf_u64(&buf, (uint64_t)getpid());
    core_buf_span(&buf, CORE_SPAN(",\"instance\":"));
    core_buf_string(&buf, core_span_of(server->instance));
    core_buf_char(&buf, '}');
    MUST(!buf.is_full);
    core_rpc_result(request, core_buf_written(&buf));
}

/* The table, for people and for shells that complete words. */
static void tell_methods(const struct core_rpc_server *server, struct core_rpc_request *request) {
    const size_t len = server->conf.methods_len;
    size_t cap = RPC_ENVELOPE_BYTES;
    for (size_t i = 0; i < len; i++) {
        cap += RPC_ENVELOPE_BYTES +
               RPC_ESCAPE * (strlen(server->conf.methods[i].name) + strlen(server->conf.methods[i].summary));
    }
    char *text = malloc(cap);
    MUST(text != NULL);
    struct core_buf buf = {.start = text, .pos = text, .end = text + cap};
    core_buf_span(&buf, CORE_SPAN("{\"methods\":["));
    for (size_t i = 0; i < len; i++) {
        core_buf_span(&buf, i == 0 ? CORE_SPAN("{\"name\":") : CORE_SPAN(",{\"name\":"));
        core_buf_string(&buf, core_span_of(server->conf.methods[i].name));
        core_buf_span(&buf, CORE_SPAN(",\"summary\":"));
        core_buf_string(&buf, core_span_of(server->conf.methods[i].summary));
        core_buf_char(&buf, '}');
    }
    core_buf_span(&buf, CORE_SPAN("]}"));
    MUST(!buf.is_full);
    core_rpc_result(request, core_buf_written(&buf));
    free(text);
}

/* One answer, then they go. */
static void turn_away(struct rpc_peer *peer, struct core_rpc_request *request, const char *why) {
    core_log(CORE_LEVEL_WARN, "rpc", "somebody who may not speak here was turned away",
             "service=%s who=\"%s\" why=\"%s\"", peer->server->conf.service, peer->who, why);
    core_rpc_refuse(request, CORE_RPC_DENIED, "%s (you are %s)", why, peer->who);
    rpc_conn_finish(peer->conn);
}

/* The first word over TCP. True: go on with it as with any other. */
static bool is_let_in(struct rpc_peer *peer, struct core_rpc_request *request, const struct core_rpc_message *message) {
    const struct core_rpc_server *server = peer->server;
    if (peer->trust == RPC_TRUST_FULL) {
        return true;
    }
    if (peer->trust == RPC_TRUST_NONE) {
        turn_away(peer, request, "only root, the user this runs as and the members of its group may speak here");
        return false;
    }
    if (!core_span_is(message->method, "auth")) {
        turn_away(peer, request, "over TCP the first request is auth, with the token");
        return false;
    }
    if (!rpc_auth_token(core_json_tree_text(message->params, "token"), core_span_of(server->conf.token))) {
        turn_away(peer, request, "this is not the token");
        return false;
    }
    peer->trust = RPC_TRUST_FULL;
    core_timer_clear(&peer->silence);
    return true;
}

/* True: it was one of them, and is answered. */
static bool is_own_method(struct rpc_peer *peer, struct core_rpc_request *request,
                          const struct core_rpc_message *message) {
    if (core_span_is(message->method, "hello")) {
        hello(peer->server, request);
    } else if (core_span_is(message->method, "methods")) {
        tell_methods(peer->server, request);
    } else if (core_span_is(message->method, "events.subscribe")) {
        rpc_events_subscribe(peer->server, request, message->params);
    } else if (core_span_is(message->method, "events.unsubscribe")) {
        peer->is_subscribed = false;
        core_rpc_result(request, CORE_SPAN("{}"));
    } else if (core_span_is(message->method, "auth")) {
        core_rpc_result(request, CORE_SPAN("{}"));
    } else {
        return false;
    }
    return true;
}

/* ---- peers --------------------------------------------------------------------------------------------------------- */

static void call_method(struct rpc_peer *peer, const struct core_rpc_message *message) {
    struct core_rpc_server *server = peer->server;
    struct core_rpc_request *request = rpc_request_new(peer, message->id);
    if (!is_let_in(peer, request, message) || is_own_method(peer, request, message)) {
        return;
    }
    if (peer->requests_len > SERVER_REQUESTS_MAX) {
        core_rpc_refuse(request, CORE_RPC_REFUSED, "%d requests of yours are under way; wait for an answer first",
                        SERVER_REQUESTS_MAX);
        return;
    }
    for (size_t i = 0; i < server->conf.methods_len; i++) {
        if (core_span_is(message->method, server->conf.methods[i].name)) {
            server->conf.methods[i].call(server->conf.ctx, request, message->params);
            return;
        }
    }
    const struct core_span name = core_utf8_cut(message->method, RPC_WHO_BYTES);
    core_rpc_refuse(request, CORE_RPC_NO_METHOD, "%s has no method %.*s", server->conf.service, (int)name.len,
                    name.ptr);
}

static void on_peer_line(void *ctx, struct core_span line) {
    struct rpc_peer *peer = ctx;
    struct core_rpc_server *server = peer->server;
    const size_t used_before = server->arena.used;
    struct core_rpc_message message;
    enum core_rpc_code code = CORE_RPC_PARSE;
    struct core_fail fail = {0};
    server->depth++;
    if (core_rpc_read(&server->arena, line, &message, &code, &fail) != CORE_OK) {
        rpc_peer_error(peer, CORE_SPAN("null"), code, fail.text, (struct core_span){"", 0});
        if (peer->trust != RPC_TRUST_FULL) {
            rpc_conn_finish(peer->conn);
        }
    } else if (message.kind == CORE_RPC_REQUEST || message.kind == CORE_RPC_NOTIFICATION) {
        call_method(peer, &message); /* peer may be gone */
    }
    server->depth--;
    rpc_arena_leave(&server->arena, used_before);
}

static void on_peer_too_long(void *ctx) {
    struct rpc_peer *peer = ctx;
    char text[RPC_WHO_BYTES];
    (void)snprintf(text, sizeof(text), "a line has at most %zu bytes; this connection ends", CORE_RPC_LINE_BYTES_MAX);
    rpc_peer_error(peer, CORE_SPAN("null"), CORE_RPC_INVALID, text, (struct core_span){"", 0});
    rpc_conn_finish(peer->conn);
}

static void on_peer_eof(void *ctx) {
    struct rpc_peer *peer = ctx;
    peer->is_leaving = true;
    if (peer->is_tcp) {
        peer->is_subscribed = false; /* nothing tells whether they still listen; over a Unix socket the kernel does */
    }
    rpc_peer_settle(peer);
}

static void peer_free(struct rpc_peer *peer) {
    struct rpc_peer **at = &peer->server->peers;
    while (*at != peer) {
        at = &(*at)->next;
    }
    *at = peer->next;
    peer->server->peers_len--;
    while (peer->requests != NULL) {
        rpc_request_unlink(peer->requests);
    }
    core_timer_clear(&peer->silence);
    rpc_conn_free(peer->conn);
    free(peer);
}

static void on_peer_end(void *ctx, const struct core_fail *why) {
    struct rpc_peer *peer = ctx;
    if (why->err == CORE_LIMIT || why->err == CORE_IO) {
        core_log(CORE_LEVEL_WARN, "rpc", "a connection was ended; they may connect again",
                 "service=%s who=\"%s\" why=\"%s\"", peer->server->conf.service, peer->who, why->text);
    }
    peer_free(peer);
}

static void on_silence(void *ctx) {
    struct rpc_peer *peer = ctx;
    rpc_conn_end(peer->conn, CORE_GONE, "it did not say who it is");
}

static const struct rpc_conn_calls peer_calls = {on_peer_line, on_peer_too_long, on_peer_eof, on_peer_end};

/* ---- doors --------------------------------------------------------------------------------------------------------- */

static void say_full(int fd) {
    static const char full[] = "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"as many are "
                               "connected as there may be; try again when one has gone\"}}\n";
    (void)send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void name_tcp_peer(int fd, char who[RPC_WHO_BYTES]) {
    struct rpc_address address = {.len = sizeof(address.room)};
    char host[INET6_ADDRSTRLEN] = "";
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    if (getpeername(fd, &address.any, &address.len) != 0) {
        (void)snprintf(who, RPC_WHO_BYTES, "TCP, already gone");
    } else if (address.any.sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, &address.room, sizeof(v6));
        (void)snprintf(who, RPC_WHO_BYTES, "[%s]:%u", inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host)),
                       ntohs(v6.sin6_port));
    } else {
        struct sockaddr_in v4;
        memcpy(&v4, &address.room, sizeof(v4));
        (void)snprintf(who, RPC_WHO_BYTES, "%s:%u", inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host)),
                       ntohs(v4.sin_port));
    }
}

static bool is_full(const struct core_rpc_server *server, enum rpc_trust trust) {
    size_t strangers = 0;
    for (const struct rpc_peer *peer = server->peers; peer != NULL; peer = peer->next) {
        strangers += peer->trust != RPC_TRUST_FULL;
    }
    return server->peers_len == CORE_RPC_PEERS_MAX || (trust != RPC_TRUST_FULL && strangers >= SERVER_STRANGERS_MAX);
}

static void peer_add(struct rpc_door *door, int fd) {
    struct core_rpc_server *server = door->server;
    struct core_fail fail;
    char who[RPC_WHO_BYTES];
    enum rpc_trust trust = RPC_TRUST_TOKEN_AWAITED;
    if (door->is_tcp) {
        name_tcp_peer(fd, who);
    } else {
        trust = rpc_auth_peer(fd, server->group, who) ? RPC_TRUST_FULL : RPC_TRUST_NONE;
    }
    if (is_full(server, trust)) {
        core_log(CORE_LEVEL_WARN, "rpc", "somebody was turned away: as many are connected as there may be",
                 "service=%s who=\"%s\" connections=%zu hint=\"see who holds them: ss -xp\"", server->conf.service, who,
                 server->peers_len);
        say_full(fd);
        close(fd);
        return;
    }
    struct rpc_peer *peer = calloc(1, sizeof(*peer));
    MUST(peer != NULL);
    peer->server = server;
    peer->is_tcp = door->is_tcp;
    peer->trust = trust;
    memcpy(peer->who, who, sizeof(peer->who));
    if (rpc_conn_new(&peer->conn, server->loop, fd, peer->who, &fail) != CORE_OK) {
        core_log_fail(CORE_LEVEL_WARN, "rpc", "a connection cannot be taken", &fail);
        close(fd);
        free(peer);
        return;
    }
    rpc_conn_listen(peer->conn, &peer_calls, peer);
    peer->silence = (struct core_timer){.on_time = on_silence, .ctx = peer};
    if (peer->trust != RPC_TRUST_FULL) {
        core_timer_set(server->loop, &peer->silence, core_tick_ns() + SERVER_SILENCE_NS);
    }
    peer->next = server->peers;
    server->peers = peer;
    server->peers_len++;
}

static void on_door(void *ctx, uint32_t events) {
    struct rpc_door *door = ctx;
    (void)events;
    for (int i = 0; i < CORE_RPC_PEERS_MAX; i++) {
        int fd = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            peer_add(door, fd);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            struct core_fail fail;
            (void)core_fail_errno(&fail, door->is_tcp ? door->server->conf.listen : door->server->conf.path,
                                  "cannot take a connection; trying again in a second");
            core_log_fail(CORE_LEVEL_WARN, "rpc", "nobody can connect now", &fail);
            core_loop_rewatch(door->watch, 0);
            core_timer_set(door->server->loop, &door->pause, core_tick_ns() + SERVER_ACCEPT_PAUSE_NS);
            return;
        }
    }
}

static void on_pause_over(void *ctx) {
    struct rpc_door *door = ctx;
    core_loop_rewatch(door->watch, EPOLLIN);
}

static enum core_err door_open(struct rpc_door *door, struct core_rpc_server *server, int fd, bool is_tcp,
                               struct core_fail *fail) {
    *door = (struct rpc_door){.server = server, .fd = fd, .is_tcp = is_tcp};
    door->pause = (struct core_timer){.on_time = on_pause_over, .ctx = door};
    return core_loop_watch(server->loop, fd, EPOLLIN, on_door, door, &door->watch, fail);
}

static void door_close(struct rpc_door *door, bool keep) {
    core_loop_unwatch(door->watch);
    core_timer_clear(&door->pause);
    if (door->fd >= 0 && !keep) {
        close(door->fd);
    }
    door->fd = -1;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static enum core_err inherited_check(int fd, const char *path, struct core_fail *fail) {
    int is_listening = 0;
    int domain = 0;
    socklen_t len = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0 || is_listening == 0 || domain != AF_UNIX) {
        return core_fail_set(fail, CORE_BAD, path, "descriptor %d, taken over, is no listening Unix socket", fd);
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        return core_fail_errno(fail, path, "cannot take over descriptor %d", fd);
    }
    return CORE_OK;
}

static enum core_err open_local(struct core_rpc_server *server, struct core_fail *fail) {
    struct rpc_address address;
    struct stat made;
    const char *path = server->conf.path;
    int fd = server->conf.inherited_fd;
    enum core_err err = fd >= 0 ? inherited_check(fd, path, fail) : rpc_address_read(path, &address, fail);
    if (err == CORE_OK && fd < 0) {
        err = rpc_address_listen(&address, path, server->group, &fd, fail);
    }
    if (err != CORE_OK) {
        return err;
    }
    if (stat(path, &made) == 0) {
        server->socket_dev = made.st_dev;
        server->socket_ino = made.st_ino;
    }
    return door_open(&server->local, server, fd, false, fail);
}

static enum core_err open_tcp(struct core_rpc_server *server, struct core_fail *fail) {
    struct rpc_address address;
    char text[RPC_WHO_BYTES];
    const char *listen_at = server->conf.listen;
    int fd = -1;
    if (server->conf.token == NULL || server->conf.token[0] == '\0') {
        return core_fail_set(fail, CORE_BAD, listen_at,
                             "listening on TCP needs a token, or anybody could command sensors");
    }
    (void)snprintf(text, sizeof(text), "tcp:%s", listen_at);
    enum core_err err = rpc_address_read(text, &address, fail);
    if (err == CORE_OK) {
        err = rpc_address_listen(&address, listen_at, (gid_t)-1, &fd, fail);
    }
    if (err != CORE_OK) {
        return err;
    }
    address.len = sizeof(address.room);
    MUST(getsockname(fd, &address.any, &address.len) == 0);
    struct sockaddr_in with_port; /* the port is at the same place in both */
    memcpy(&with_port, &address.room, sizeof(with_port));
    server->port = ntohs(with_port.sin_port);
    return door_open(&server->tcp, server, fd, true, fail);
}

static char *text_copy(const char *text) {
    char *copy = text == NULL ? NULL : strdup(text);
    MUST(text == NULL || copy != NULL);
    return copy;
}

static void conf_copy(struct core_rpc_server *server, const struct core_rpc_server_conf *conf) {
    server->conf = *conf;
    server->conf.service = text_copy(conf->service);
    server->conf.version = text_copy(conf->version);
    server->conf.path = text_copy(conf->path);
    server->conf.listen = text_copy(conf->listen);
    server->conf.token = text_copy(conf->token);
    server->conf.group = NULL;
    server->conf.instance = NULL;
    server->next_seq = server->first_seq = conf->next_seq == 0 ? 1 : conf->next_seq;
    if (conf->instance != NULL) {
        MUST(strlen(conf->instance) < sizeof(server->instance));
        (void)snprintf(server->instance, sizeof(server->instance), "%s", conf->instance);
        return;
    }
    uint64_t random = 0;
    MUST(getrandom(&random, sizeof(random), 0) == sizeof(random));
    (void)snprintf(server->instance, sizeof(server->instance), "%016llx", (unsigned long long)random);
}

enum core_err core_rpc_server_new(struct core_rpc_server **out, struct core_loop *loop,
                                  const struct core_rpc_server_conf *conf, struct core_fail *fail) {
    MUST(conf->service != NULL && conf->version != NULL && conf->path != NULL);
    struct core_rpc_server *server = calloc(1, sizeof(*server));
    MUST(server != NULL);
    server->loop = loop;
    server->group = (gid_t)-1;
    server->local.fd = server->tcp.fd = -1;
    conf_copy(server, conf);
    enum core_err err = core_arena_init(&server->arena, RPC_ARENA_BYTES, fail);
    if (err == CORE_OK && conf->group != NULL) {
        err = rpc_auth_group(conf->group, &server->group, fail);
    }
    if (err == CORE_OK) {
        err = open_local(server, fail);
    }
    if (err == CORE_OK && conf->listen != NULL) {
        err = open_tcp(server, fail);
    }
    if (err != CORE_OK) {
        core_rpc_server_free(server, conf->inherited_fd >= 0);
        return err;
    }
    *out = server;
    return CORE_OK;
}

void core_rpc_server_free(struct core_rpc_server *server, bool keep_socket) {
    struct stat there;
    if (server == NULL) {
        return;
    }
    MUST(server->depth == 0);
    for (struct rpc_peer *peer = server->peers, *next = NULL; peer != NULL; peer = next) {
        next = peer->next;
        peer_free(peer); /* what the sockets took is on its way */
    }
    if (server->local.fd >= 0 && !keep_socket && stat(server->conf.path, &there) == 0 &&
        there.st_dev == server->socket_dev && there.st_ino == server->socket_ino) {
        (void)unlink(server->conf.path); /* else somebody finds it stale, and replaces it */
    }
    door_close(&server->local, keep_socket);
    door_close(&server->tcp, false);
    rpc_events_drop(server);
    core_arena_destroy(&server->arena);
    free((void *)(uintptr_t)server->conf.service);
    free((void *)(uintptr_t)server->conf.version);
    free((void *)(uintptr_t)server->conf.path);
    free((void *)(uintptr_t)server->conf.listen);
    free((void *)(uintptr_t)server->conf.token);
    free(server);
}

int core_rpc_server_fd(const struct core_rpc_server *server) {
    return server->local.fd;
}

int core_rpc_server_port(const struct core_rpc_server *server) {
    return server->port;
}

const char *core_rpc_server_instance(const struct core_rpc_server *server) {
    return server->instance;
}

uint64_t core_rpc_server_next_seq(const struct core_rpc_server *server) {
    return server->next_seq;
}

size_t core_rpc_server_subscribers(const struct core_rpc_server *server) {
    size_t len = 0;
    for (const struct rpc_peer *peer = server->peers; peer != NULL; peer = peer->next) {
        len += peer->is_subscribed && !rpc_conn_is_ended(peer->conn);
    }
    return len;
}
