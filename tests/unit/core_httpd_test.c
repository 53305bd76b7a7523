/* Tests of core/httpd.c with real sockets: who is answered, who is not, bodies, streams, and that nobody can hold it up.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/httpd.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (12 * CORE_MIB)
#define WAIT_NS (60 * CORE_NS_PER_S)

struct rig {
    struct core_loop *loop;
    struct core_httpd *httpd;
    char *answer; /* NUL-terminated */
    size_t answer_len;
    char seen[256]; /* what the route was asked */
    struct core_httpd_stream *stream;
    int closed;
};

static void on_hello(void *ctx, struct core_httpd_request *request) {
    struct rig *rig = ctx;
    static const char *const headers[] = {"X-More: yes", NULL};
    const char *name = core_httpd_query(request, "name");
    const char *agent = core_httpd_header(request, "user-AGENT");
    snprintf(rig->seen, sizeof rig->seen, "%s|%s", name == NULL ? "(none)" : name, agent == NULL ? "(none)" : agent);
    core_httpd_reply(request, 200, "text/plain", headers, CORE_SPAN("hello"));
}

static void on_html(void *ctx, struct core_httpd_request *request) {
    (void)ctx;
    core_httpd_reply(request, 200, "text/html; charset=utf-8", NULL, CORE_SPAN("<p>"));
}

static void on_post(void *ctx, struct core_httpd_request *request) {
    (void)ctx;
    core_httpd_reply(request, 201, "text/plain", NULL, core_httpd_body(request));
}

static void on_closed(void *ctx) {
    struct rig *rig = ctx;
    rig->closed++;
    rig->stream = NULL;
}

static void on_stream(void *ctx, struct core_httpd_request *request) {
    struct rig *rig = ctx;
    rig->stream = core_httpd_stream(request, "text/event-stream", on_closed, rig);
    if (rig->stream != NULL) {
        core_httpd_stream_write(rig->stream, CORE_SPAN("data: first\n\n"));
    }
}

static int set_up(void **state) {
    struct rig *rig = calloc(1, sizeof *rig);
    struct core_fail fail = {0};
    assert_non_null(rig);
    rig->answer = malloc(ANSWER_BYTES_MAX);
    assert_non_null(rig->answer);
    assert_int_equal(core_loop_new(&rig->loop, &fail), CORE_OK);
    assert_int_equal(core_httpd_new(&rig->httpd, rig->loop, "127.0.0.1:0", &fail), CORE_OK);
    core_httpd_route(rig->httpd, "GET", "/hello", on_hello, rig);
    core_httpd_route(rig->httpd, "GET", "/html", on_html, rig);
    core_httpd_route(rig->httpd, "POST", "/post", on_post, rig);
    core_httpd_route(rig->httpd, "GET", "/both", on_hello, rig);
    core_httpd_route(rig->httpd, "POST", "/both", on_post, rig);
    core_httpd_route(rig->httpd, "GET", "/stream", on_stream, rig);
    *state = rig;
    return 0;
}

static int tear_down(void **state) {
    struct rig *rig = *state;
    core_httpd_free(rig->httpd);
    core_loop_free(rig->loop);
    free(rig->answer);
    free(rig);
    return 0;
}

static int dial(const struct rig *rig) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)core_httpd_port(rig->httpd)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void turn(const struct rig *rig) {
    struct core_fail fail = {0};
    assert_int_equal(core_loop_once(rig->loop, 20 * CORE_NS_PER_MS, &fail), CORE_OK);
}

static void say(const struct rig *rig, int fd, const char *text) {
    size_t len = strlen(text);
    int64_t end = core_tick_ns() + WAIT_NS;
    while (len > 0 && core_tick_ns() < end) {
        ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            return; /* refused, and closed: the answer says why */
        }
        text += sent > 0 ? sent : 0;
        len -= sent > 0 ? (size_t)sent : 0;
        turn(rig);
    }
    assert_int_equal(len, 0);
}

/* Reads until the answer has this, or its connection ends. Says whether it ended. */
static bool hear(struct rig *rig, int fd, const char *until) {
    int64_t end = core_tick_ns() + WAIT_NS;
    while (core_tick_ns() < end) {
        turn(rig);
        ssize_t got = recv(fd, rig->answer + rig->answer_len, ANSWER_BYTES_MAX - rig->answer_len - 1, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            return true;
        }
        rig->answer_len += got > 0 ? (size_t)got : 0;
        rig->answer[rig->answer_len] = '\0';
        if (until != NULL && strstr(rig->answer, until) != NULL) {
            return false;
        }
    }
    fail_msg("no answer within 10 s; so far: %.300s", rig->answer);
    return false;
}

/* One request, one connection. */
static const char *ask(struct rig *rig, const char *text) {
    int fd = dial(rig);
    rig->answer_len = 0;
    rig->answer[0] = '\0';
    say(rig, fd, text);
    assert_true(hear(rig, fd, NULL));
    close(fd);
    return rig->answer;
}

#define HOST "Host: 127.0.0.1:9600\r\nConnection: close\r\n"

static void test_answers(void **state) {
    struct rig *rig = *state;
    const char *answer = ask(rig, "GET /hello?name=a%20b%26 HTTP/1.1\r\n" HOST "User-Agent: me\r\n\r\n");
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(answer, "\r\nX-More: yes\r\n"));
    assert_non_null(strstr(answer, "\r\nX-Content-Type-Options: nosniff\r\n"));
    assert_non_null(strstr(answer, "\r\nCache-Control: no-store\r\n"));
    assert_non_null(strstr(answer, "\r\nContent-Length: 5\r\n"));
    assert_non_null(strstr(answer, "\r\n\r\nhello"));
    assert_null(strstr(answer, "Content-Security-Policy"));
    assert_string_equal(rig->seen, "a b&|me");
    answer = ask(rig, "HEAD /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK\r\n"));
    assert_null(strstr(answer, "hello"));
    assert_string_equal(rig->seen, "(none)|(none)");
    answer = ask(rig, "GET /html HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(strstr(answer, "\r\nContent-Security-Policy: default-src 'none'\r\n"));
    core_httpd_csp(rig->httpd, "default-src 'self'");
    assert_non_null(strstr(ask(rig, "GET /html HTTP/1.1\r\n" HOST "\r\n"), "Policy: default-src 'self'\r\n"));
}

static void test_not_there(void **state) {
    struct rig *rig = *state;
    assert_non_null(strstr(ask(rig, "GET /hello/ HTTP/1.1\r\n" HOST "\r\n"), " 404 "));
    assert_non_null(strstr(ask(rig, "GET / HTTP/1.1\r\n" HOST "\r\n"), " 404 "));
    const char *answer = ask(rig, "DELETE /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(strstr(answer, " 405 "));
    assert_non_null(strstr(answer, "\r\nAllow: GET, HEAD\r\n"));
    answer = ask(rig, "PUT /both HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nab");
    assert_non_null(strstr(answer, " 405 "));
    assert_non_null(strstr(answer, "\r\nAllow: GET, HEAD, POST\r\n"));
    assert_non_null(strstr(ask(rig, "GET /post HTTP/1.1\r\n" HOST "\r\n"), "\r\nAllow: POST\r\n"));
}

/* A page elsewhere whose name was made to point here. */
static void test_hosts(void **state) {
    struct rig *rig = *state;
    static const struct {
        const char *host;
        bool is_ours;
    } hosts[] = {
        {"localhost", true},       {"LocalHost:9600", true}, {"127.0.0.1", true},     {"127.3.4.5:80", true},
        {"[::1]", true},           {"[::1]:9600", true},     {"evil.example", false}, {"localhost.evil.example", false},
        {"127.0.0.1.evil", false}, {"10.0.0.1", false},      {"[::2]", false},        {"[::1]evil", false},
        {"localhosts", false},     {"0.0.0.0", false},       {"1270.0.1", false},
    };
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "GET /hello HTTP/1.1\r\nConnection: close\r\nHost: %s\r\n\r\n", hosts[i].host);
        rig->seen[0] = '\0';
        assert_non_null(strstr(ask(rig, text), hosts[i].is_ours ? " 200 " : " 403 "));
        assert_int_equal(rig->seen[0] != '\0', hosts[i].is_ours);
    }
    assert_null(strstr(ask(rig, "GET /hello HTTP/1.0\r\n\r\n"), " 200 "));
    assert_null(strstr(ask(rig, "GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n"), " 200 "));
}

static void test_bodies(void **state) {
    struct rig *rig = *state;
    assert_non_null(
        strstr(ask(rig, "POST /post HTTP/1.1\r\n" HOST "Content-Length: 6\r\n\r\nabc\ndf"), "\r\n\r\nabc\ndf"));
    assert_non_null(strstr(ask(rig, "POST /post HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                                    "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
                           "\r\n\r\nabcde"));
    assert_non_null(strstr(ask(rig, "POST /post HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"), " 201 "));
    char *text = malloc(4 * CORE_HTTPD_BODY_BYTES_MAX);
    assert_non_null(text);
    int head =
        snprintf(text, 256, "POST /post HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", CORE_HTTPD_BODY_BYTES_MAX);
    memset(text + head, 'x', CORE_HTTPD_BODY_BYTES_MAX);
    text[(size_t)head + CORE_HTTPD_BODY_BYTES_MAX] = '\0';
    assert_non_null(strstr(ask(rig, text), " 201 "));
    assert_int_equal(rig->answer + rig->answer_len - strstr(rig->answer, "\r\n\r\n") - 4, CORE_HTTPD_BODY_BYTES_MAX);
    /* Too long, and says so at once … */
    snprintf(text, 256, "POST /post HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", CORE_HTTPD_BODY_BYTES_MAX + 1);
    assert_non_null(strstr(ask(rig, text), " 413 "));
    /* … or does not say how long it will be. */
    head = snprintf(text, 256, "POST /post HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 17; i++) {
        head += snprintf(text + head, 16, "1000\r\n");
        memset(text + head, 'y', 4096);
        head += 4096;
        head += snprintf(text + head, 16, "\r\n");
    }
    snprintf(text + head, 16, "0\r\n\r\n");
    assert_non_null(strstr(ask(rig, text), " 413 "));
    free(text);
}

/* A body in small pieces, and a second request on the same connection. */
static void test_keep_alive(void **state) {
    struct rig *rig = *state;
    int fd = dial(rig);
    rig->answer_len = 0;
    say(rig, fd, "POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n");
    say(rig, fd, "a");
    say(rig, fd, "bc");
    assert_false(hear(rig, fd, "\r\n\r\nabc"));
    say(rig, fd, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_false(hear(rig, fd, "\r\n\r\nhello"));
    close(fd);
}

static void test_stream(void **state) {
    struct rig *rig = *state;
    int fd = dial(rig);
    rig->answer_len = 0;
    say(rig, fd, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_false(hear(rig, fd, "data: first\n\n"));
    assert_non_null(strstr(rig->answer, "Content-Type: text/event-stream\r\n"));
    assert_non_null(rig->stream);
    /* While it is quiet the loop sleeps: one round takes as long as it is told. */
    int64_t start = core_tick_ns();
    for (int i = 0; i < 10; i++) {
        turn(rig);
    }
    assert_true(core_tick_ns() - start > 150 * CORE_NS_PER_MS);
    core_httpd_stream_write(rig->stream, CORE_SPAN("data: se"));
    core_httpd_stream_write(rig->stream, CORE_SPAN("cond\n\n"));
    assert_false(hear(rig, fd, "data: second\n\n"));
    core_httpd_stream_write(rig->stream, CORE_SPAN("data: last\n\n"));
    core_httpd_stream_end(rig->stream);
    rig->stream = NULL;
    assert_false(hear(rig, fd, "data: last\n\n\r\n0\r\n\r\n"));
    assert_int_equal(rig->closed, 0);
    close(fd);
}

static void test_stream_reader_goes(void **state) {
    struct rig *rig = *state;
    int fd = dial(rig);
    rig->answer_len = 0;
    say(rig, fd, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_false(hear(rig, fd, "data: first\n\n"));
    close(fd);
    for (int i = 0; i < 100 && rig->stream != NULL; i++) {
        core_httpd_stream_write(rig->stream, CORE_SPAN("data: more\n\n"));
        turn(rig);
    }
    assert_null(rig->stream);
    assert_int_equal(rig->closed, 1);
}

/* Who takes nothing is let go, and the server answers others meanwhile. */
static void test_stream_reader_is_slow(void **state) {
    struct rig *rig = *state;
    static char part[256 * 1024];
    int fd = dial(rig);
    memset(part, 'x', sizeof part);
    rig->answer_len = 0;
    say(rig, fd, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_false(hear(rig, fd, "data: first\n\n"));
    size_t written = 0;
    while (rig->stream != NULL && written < 64 * CORE_MIB) {
        core_httpd_stream_write(rig->stream, (struct core_span){.ptr = part, .len = sizeof part});
        written += sizeof part;
        turn(rig);
        turn(rig);
    }
    assert_null(rig->stream);
    assert_int_equal(rig->closed, 1);
    assert_true(written > CORE_HTTPD_QUEUED_BYTES_MAX);
    assert_non_null(strstr(ask(rig, "GET /hello HTTP/1.1\r\n" HOST "\r\n"), " 200 "));
    close(fd);
}

static void test_streams_max(void **state) {
    struct rig *rig = *state;
    int fds[CORE_HTTPD_STREAMS_MAX];
    for (size_t i = 0; i < CORE_HTTPD_STREAMS_MAX; i++) {
        fds[i] = dial(rig);
        rig->answer_len = 0;
        say(rig, fds[i], "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_false(hear(rig, fds[i], "data: first\n\n"));
    }
    assert_non_null(strstr(ask(rig, "GET /stream HTTP/1.1\r\n" HOST "\r\n"), " 503 "));
    assert_non_null(strstr(ask(rig, "GET /hello HTTP/1.1\r\n" HOST "\r\n"), " 200 "));
    /* The server ends with all of them open: each is told. */
    core_httpd_free(rig->httpd);
    rig->httpd = NULL;
    assert_int_equal(rig->closed, CORE_HTTPD_STREAMS_MAX);
    for (size_t i = 0; i < CORE_HTTPD_STREAMS_MAX; i++) {
        close(fds[i]);
    }
}

/* More connections than there may be wait; when the silent ones go, they are answered. */
static void test_connections_max(void **state) {
    struct rig *rig = *state;
    int fds[80];
    for (size_t i = 0; i < 80; i++) {
        fds[i] = dial(rig);
        turn(rig);
    }
    for (size_t i = 0; i < 64; i++) {
        close(fds[i]);
    }
    rig->answer_len = 0;
    say(rig, fds[79], "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_false(hear(rig, fds[79], "\r\n\r\nhello"));
    for (size_t i = 64; i < 80; i++) {
        close(fds[i]);
    }
}

static void test_addresses(void **state) {
    struct rig *rig = *state;
    struct core_fail fail = {0};
    struct core_httpd *other = NULL;
    static const char *const bad[] = {"0.0.0.0:9600", "192.0.2.1:9600", "9600", "127.0.0.1",
                                      "[::]:9600",    "localhost:x",    ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(core_httpd_new(&other, rig->loop, bad[i], &fail), CORE_BAD);
    }
    char same[32];
    snprintf(same, sizeof same, "127.0.0.1:%d", core_httpd_port(rig->httpd));
    assert_int_equal(core_httpd_new(&other, rig->loop, same, &fail), CORE_IO);
    assert_string_equal(fail.where, same);
    assert_non_null(strstr(fail.text, "in use"));
    assert_null(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hosts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bodies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keep_alive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stream_reader_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stream_reader_is_slow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_streams_max, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_connections_max, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_addresses, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
