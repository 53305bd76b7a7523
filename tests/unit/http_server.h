/* tests/unit/http_server.h: a small HTTP server of ours on 127.0.0.1, each connection a thread, with or without TLS.
 *
 * What it does is what the path says:
 *   /echo…       200, "METHOD PATH LEN HASH" of what came
 *   /together    200, once as many of these as server.together are there at the same time
 *   /slow        nothing, until the server ends
 *   /long        200 with LONG_BYTES of body
 *   /cut         half an answer, then the end of the connection
 *   /hangup      the end of the connection, without a word
 *   /last        200, then the end of the connection, which nobody was told of
 *   /busy        429 with Retry-After: 7
 *   /ill         503
 *   anything     200 "well", or 503 while server.is_ill
 * A test with more to say sets server.act, and does all of it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_HTTP_SERVER_H
#define TAPLINE_TESTS_HTTP_SERVER_H

#include "core/core.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define LONG_BYTES 5000

struct connection;

struct server {
    int fd;
    int port;
    char url[64];
    SSL_CTX *tls; /* NULL: none */
    pthread_t thread;
    atomic_uint together;
    atomic_bool is_ill;
    atomic_bool is_over;
    atomic_uint connections, requests, probes, there;
    char authorization[128]; /* of the last request with one; read it when the server has ended */
    pthread_mutex_t lock;
    /* NULL, or who answers instead; set before the first request. False: the connection ends. */
    bool (*act)(struct connection *c, const char *method, const char *path, struct core_span body);
    void *owner;
};

struct connection {
    struct server *server;
    int fd;
    SSL *ssl;
};

static ssize_t connection_read(struct connection *c, char *buf, size_t len) {
    return c->ssl != NULL ? SSL_read(c->ssl, buf, (int)len) : recv(c->fd, buf, len, 0);
}

static void connection_write(struct connection *c, const char *buf, size_t len) {
    for (ssize_t got = 1; len > 0 && got > 0; buf += got > 0 ? got : 0, len -= got > 0 ? (size_t)got : 0) {
        got = c->ssl != NULL ? SSL_write(c->ssl, buf, (int)len) : send(c->fd, buf, len, MSG_NOSIGNAL);
    }
}

static void answer(struct connection *c, const char *status, const char *headers, const char *body, size_t len) {
    char head[512];
    int head_len = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, len, headers);
    connection_write(c, head, (size_t)head_len);
    connection_write(c, body, len);
}

/* Wait until the server ends, or the client gives up. */
static void hold(struct connection *c) {
    struct pollfd hung_up = {.fd = c->fd, .events = POLLIN};
    while (!atomic_load(&c->server->is_over) && poll(&hung_up, 1, 20) == 0) {
    }
}

static bool act(struct connection *c, const char *method, const char *path, const char *body, size_t len) {
    static const char many[LONG_BYTES];
    struct server *server = c->server;
    char text[300];
    atomic_fetch_add(&server->requests, 1);
    if (server->act != NULL) {
        return server->act(c, method, path, (struct core_span){body, len});
    }
    if (strncmp(path, "/echo", 5) == 0) {
        int n = snprintf(text, sizeof text, "%s %s %zu %016llx", method, path, len,
                         (unsigned long long)core_hash64(body, len, 0));
        answer(c, "200 OK", "", text, (size_t)n);
    } else if (strcmp(path, "/together") == 0) {
        atomic_fetch_add(&server->there, 1);
        while (atomic_load(&server->there) < atomic_load(&server->together) && !atomic_load(&server->is_over)) {
            usleep(1000);
        }
        answer(c, "200 OK", "", "all", 3);
    } else if (strcmp(path, "/slow") == 0) {
        hold(c);
        return false;
    } else if (strcmp(path, "/long") == 0) {
        answer(c, "200 OK", "", many, sizeof many);
    } else if (strcmp(path, "/cut") == 0) {
        static const char half[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsesame7 and no more";
        connection_write(c, half, sizeof half - 1);
        return false;
    } else if (strcmp(path, "/hangup") == 0) {
        return false;
    } else if (strcmp(path, "/last") == 0) {
        answer(c, "200 OK", "", "last", 4);
        return false;
    } else if (strcmp(path, "/busy") == 0) {
        answer(c, "429 Too Many", "Retry-After: 7\r\n", "slow down", 9);
    } else if (strcmp(path, "/ill") == 0 || atomic_load(&server->is_ill)) {
        answer(c, "503 Ill", "", "ill", 3);
    } else {
        answer(c, "200 OK", "", "well", 4);
    }
    if (strcmp(path, "/") == 0) {
        atomic_fetch_add(&server->probes, 1);
    }
    return true;
}

/* One request: its head, then as much body as the head says. False: no more. */
static bool serve_one(struct connection *c, char *buf, size_t cap) {
    char method[16];
    char path[300];
    size_t len = 0;
    char *end = NULL;
    while (end == NULL && len + 1 < cap) {
        ssize_t got = connection_read(c, buf + len, cap - len - 1);
        if (got <= 0) {
            return false;
        }
        len += (size_t)got;
        buf[len] = '\0';
        end = strstr(buf, "\r\n\r\n");
    }
    if (end == NULL || sscanf(buf, "%15s %299s", method, path) != 2) {
        return false;
    }
    const char *length = strcasestr(buf, "\r\ncontent-length:");
    const char *authorization = strcasestr(buf, "\r\nauthorization:");
    size_t body_len = length == NULL || length > end ? 0 : strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
    size_t head_len = (size_t)(end + 4 - buf);
    if (authorization != NULL && authorization < end) {
        pthread_mutex_lock(&c->server->lock);
        snprintf(c->server->authorization, sizeof c->server->authorization, "%.*s",
                 (int)strcspn(authorization + 2, "\r"), authorization + 2);
        pthread_mutex_unlock(&c->server->lock);
    }
    while (len < head_len + body_len && len < cap) {
        ssize_t got = connection_read(c, buf + len, cap - len);
        if (got <= 0) {
            return false;
        }
        len += (size_t)got;
    }
    return act(c, method, path, buf + head_len, body_len);
}

static void *connection_run(void *connection_ptr) {
    enum { CAP = 9 * 1024 * 1024 };
    struct connection *c = connection_ptr;
    char *buf = malloc(CAP);
    if (c->server->tls != NULL) {
        c->ssl = SSL_new(c->server->tls);
        SSL_set_fd(c->ssl, c->fd);
    }
    if (buf != NULL && (c->ssl == NULL || SSL_accept(c->ssl) == 1)) {
        atomic_fetch_add(&c->server->connections, 1);
        while (serve_one(c, buf, CAP)) {
        }
    }
    free(buf);
    SSL_free(c->ssl);
    shutdown(c->fd, SHUT_RDWR);
    return NULL;
}

static void *server_run(void *server_ptr) {
    struct server *server = server_ptr;
    static _Thread_local struct connection connections[CONNECTIONS_MAX];
    pthread_t threads[CONNECTIONS_MAX];
    size_t len = 0;
    for (int fd = accept(server->fd, NULL, NULL); fd >= 0 && len < CONNECTIONS_MAX;
         fd = accept(server->fd, NULL, NULL), len++) {
        connections[len] = (struct connection){.server = server, .fd = fd};
        MUST(pthread_create(&threads[len], NULL, connection_run, &connections[len]) == 0);
    }
    for (size_t i = 0; i < len; i++) {
        shutdown(connections[i].fd, SHUT_RDWR);
        pthread_join(threads[i], NULL);
        close(connections[i].fd);
    }
    return NULL;
}

/* port 0: a free one; the port of a server that has ended: the same again. */
static void server_start(struct server *server, int port, SSL_CTX *tls) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int one = 1;
    memset(server, 0, sizeof *server);
    server->tls = tls;
    server->fd = socket(AF_INET, SOCK_STREAM, 0);
    MUST(server->fd >= 0);
    MUST(setsockopt(server->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
    MUST(bind(server->fd, (struct sockaddr *)&address, sizeof address) == 0);
    MUST(listen(server->fd, CONNECTIONS_MAX) == 0);
    MUST(getsockname(server->fd, (struct sockaddr *)&address, &len) == 0);
    MUST(pthread_mutex_init(&server->lock, NULL) == 0);
    server->port = ntohs(address.sin_port);
    snprintf(server->url, sizeof server->url, "%s://127.0.0.1:%d", tls != NULL ? "https" : "http", server->port);
    MUST(pthread_create(&server->thread, NULL, server_run, server) == 0);
}

/* Its connections are cut. */
static void server_end(struct server *server) {
    atomic_store(&server->is_over, true);
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->fd);
    pthread_mutex_destroy(&server->lock);
}

#endif
