/* tests/bench/null_engine.c: what answers like a search engine and does nothing: so that a feeder's cost is its own.
 *
 *   null_engine [BODIES]
 *
 * Listens on a free port of 127.0.0.1 and prints it. Answers each _bulk as if all of its documents had been taken (as it looks
 * with filter_path=items.*.status), GET / and the question for templates as Elasticsearch does. With BODIES each bulk's body is
 * kept there: its length (64 bits, this machine's order), then its bytes, unpacked; and each answer takes a while, as a real
 * engine's does, so that the bulks get as full as one gets them. SIGTERM: prints how many documents and
 * requests came, and ends. A thread for each connection.
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#define TAKEN "{\"create\":{\"status\":201}}"
#define BODY_BYTES_MAX ((size_t)64 << 20)
#define ITEMS_MAX ((size_t)1 << 20)
#define KEPT_PAUSE_US 200000

static const char root[] =
    "{\"name\":\"null\",\"cluster_name\":\"null\",\"version\":{\"number\":\"8.19.0\",\"build_flavor\":"
    "\"default\"},\"tagline\":\"You Know, for Search\"}";
static const char templates[] =
    "{\"index_templates\":[{\"name\":\"tapline-conn\",\"index_template\":{\"version\":1}}]}";

static atomic_ullong documents;
static atomic_ullong requests;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *bodies;

static _Noreturn void die(const char *what) {
    perror(what);
    exit(1);
}

static int write_all(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t got = send(fd, bytes, len, MSG_NOSIGNAL);
        if (got <= 0) {
            return 0;
        }
        bytes += got;
        len -= (size_t)got;
    }
    return 1;
}

static int answer(int fd, const char *body, size_t len) {
    char head[256];
    int head_len = snprintf(head, sizeof head,
                            "HTTP/1.1 200 OK\r\nX-Elastic-Product: Elasticsearch\r\nContent-Type: application/json\r\n"
                            "Content-Length: %zu\r\n\r\n",
                            len);
    return write_all(fd, head, (size_t)head_len) && write_all(fd, body, len);
}

static size_t unpack(char *out, const char *in, size_t len) {
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)in,
                       .avail_in = (uInt)len,
                       .next_out = (Bytef *)out,
                       .avail_out = (uInt)BODY_BYTES_MAX};
    if (inflateInit2(&stream, 15 + 32) != Z_OK || inflate(&stream, Z_FINISH) != Z_STREAM_END) {
        fprintf(stderr, "null_engine: a body is no gzip\n");
        exit(1);
    }
    size_t unpacked = stream.total_out;
    inflateEnd(&stream);
    return unpacked;
}

/* Two lines a document. */
static size_t items_of(const char *body, size_t len) {
    size_t lines = 0;
    const char *end = body + len;
    for (const char *at = memchr(body, '\n', len); at != NULL; at = memchr(at, '\n', (size_t)(end - at))) {
        lines++;
        at++;
    }
    return lines / 2;
}

static int bulk(int fd, const char *body, size_t len, char *out) {
    size_t items = items_of(body, len);
    char *at = out;
    if (items == 0 || items > ITEMS_MAX) {
        fprintf(stderr, "null_engine: a bulk of %zu documents\n", items);
        exit(1);
    }
    if (bodies != NULL) {
        uint64_t frame = len;
        pthread_mutex_lock(&lock);
        if (fwrite(&frame, sizeof frame, 1, bodies) != 1 || fwrite(body, 1, len, bodies) != len) {
            die("bodies");
        }
        pthread_mutex_unlock(&lock);
        usleep(KEPT_PAUSE_US);
    }
    at = stpcpy(at, "{\"errors\":false,\"items\":[");
    for (size_t i = 0; i < items; i++) {
        at = stpcpy(at, i == 0 ? TAKEN : "," TAKEN);
    }
    at = stpcpy(at, "]}");
    atomic_fetch_add(&documents, items);
    atomic_fetch_add(&requests, 1);
    return answer(fd, out, (size_t)(at - out));
}

static int serve_one(int fd, char *in, char *unpacked, char *out) {
    size_t len = 0;
    char *end = NULL;
    while (end == NULL) {
        ssize_t got = len < 65536 ? recv(fd, in + len, 65536 - len, 0) : 0;
        if (got <= 0) {
            return 0;
        }
        len += (size_t)got;
        in[len] = '\0';
        end = strstr(in, "\r\n\r\n");
    }
    *end = '\0';
    const char *length = strcasestr(in, "\r\ncontent-length:");
    int is_gzip = strcasestr(in, "\r\ncontent-encoding: gzip") != NULL;
    size_t head_len = (size_t)(end + 4 - in);
    size_t body_len = length == NULL ? 0 : strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
    if (head_len + body_len > BODY_BYTES_MAX) {
        fprintf(stderr, "null_engine: a body of %zu bytes\n", body_len);
        exit(1);
    }
    while (len < head_len + body_len) {
        ssize_t got = recv(fd, in + len, head_len + body_len - len, 0);
        if (got <= 0) {
            return 0;
        }
        len += (size_t)got;
    }
    if (strncmp(in, "POST ", 5) == 0 && strstr(in, "/_bulk") != NULL) {
        const char *body = in + head_len;
        if (is_gzip) {
            body_len = unpack(unpacked, body, body_len);
            body = unpacked;
        }
        return bulk(fd, body, body_len, out);
    }
    return strstr(in, "_index_template") != NULL ? answer(fd, templates, sizeof templates - 1)
                                                 : answer(fd, root, sizeof root - 1);
}

static void *serve(void *fd_ptr) {
    int fd = (int)(intptr_t)fd_ptr;
    char *in = malloc(BODY_BYTES_MAX + 1);
    char *unpacked = malloc(BODY_BYTES_MAX);
    char *out = malloc(ITEMS_MAX * sizeof TAKEN + 100);
    if (in == NULL || unpacked == NULL || out == NULL) {
        die("malloc");
    }
    while (serve_one(fd, in, unpacked, out)) {
    }
    free(in);
    free(unpacked);
    free(out);
    close(fd);
    return NULL;
}

static void *accept_all(void *fd_ptr) {
    for (int fd = (int)(intptr_t)fd_ptr;;) {
        pthread_t thread;
        int client = accept(fd, NULL, NULL);
        if (client < 0 || pthread_create(&thread, NULL, serve, (void *)(intptr_t)client) != 0) {
            die("accept");
        }
        pthread_detach(thread);
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_len = sizeof address;
    pthread_t thread;
    sigset_t term;
    int which = 0;
    if (argc > 1 && (bodies = fopen(argv[1], "w")) == NULL) {
        die(argv[1]);
    }
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, NULL);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &address_len) != 0) {
        die("listen");
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    if (pthread_create(&thread, NULL, accept_all, (void *)(intptr_t)fd) != 0) {
        die("pthread_create");
    }
    sigwait(&term, &which);
    pthread_mutex_lock(&lock);
    if (bodies != NULL && fclose(bodies) != 0) {
        die("bodies");
    }
    printf("%llu %llu\n", documents, requests);
    return 0;
}
