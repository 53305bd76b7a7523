/* One GET: against a small server of our own on 127.0.0.1, one connection a case.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/http.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define ENOUGH 1000
#define TIMEOUT_MS 5000

struct server {
    int fd;
    char url[64];
    const char *answer; /* NULL: none, the client waits */
    pthread_t thread;
};

static void *serve(void *server_ptr) {
    struct server *server = server_ptr;
    int fd = accept(server->fd, NULL, NULL);
    char request[4096];
    if (fd >= 0 && recv(fd, request, sizeof request, 0) > 0 && server->answer != NULL) {
        (void)!write(fd, server->answer, strlen(server->answer));
    } else if (fd >= 0) {
        (void)!read(fd, request, sizeof request); /* until the client gives up */
    }
    close(fd);
    return NULL;
}

static void server_start(struct server *server, const char *answer) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    server->answer = answer;
    server->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(server->fd >= 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server->fd, 1), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &len), 0);
    snprintf(server->url, sizeof server->url, "http://127.0.0.1:%d/metrics", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_end(struct server *server) {
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    close(server->fd);
}

static enum core_err get(const char *answer, int timeout_ms, char **body, size_t *len, struct core_fail *fail) {
    struct server server;
    server_start(&server, answer);
    enum core_err err = core_http_get(server.url, timeout_ms, ENOUGH, body, len, fail);
    server_end(&server);
    return err;
}

static void the_body_comes_whole(void **state) {
    (void)state;
    struct core_fail fail;
    char *body;
    size_t len;
    assert_int_equal(get("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nzeek_a 1\n", TIMEOUT_MS, &body, &len, &fail),
                     CORE_OK);
    assert_string_equal(body, "zeek_a 1\n");
    assert_int_equal(len, 9);
    free(body);
    assert_int_equal(get("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", TIMEOUT_MS, &body, &len, &fail), CORE_OK);
    assert_string_equal(body, "");
    free(body);
}

static void another_status_is_no_answer(void **state) {
    (void)state;
    struct core_fail fail;
    char *body;
    size_t len;
    assert_int_equal(get("HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\nno!", TIMEOUT_MS, &body, &len, &fail), CORE_NET);
    assert_null(body);
    assert_non_null(strstr(fail.text, "404"));
    assert_non_null(strstr(fail.text, "no!"));
}

static void a_body_past_the_limit_is_refused(void **state) {
    (void)state;
    static char answer[ENOUGH + 200] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    struct core_fail fail;
    char *body;
    size_t len;
    memset(answer + strlen(answer), 'x', ENOUGH + 1);
    assert_int_equal(get(answer, TIMEOUT_MS, &body, &len, &fail), CORE_LIMIT);
    assert_null(body);
    answer[strlen(answer) - 1] = '\0';
    assert_int_equal(get(answer, TIMEOUT_MS, &body, &len, &fail), CORE_OK);
    assert_int_equal(len, ENOUGH);
    free(body);
}

static void a_server_that_says_nothing_is_given_up(void **state) {
    (void)state;
    struct core_fail fail;
    char *body;
    size_t len;
    int64_t begin = core_tick_ns();
    assert_int_equal(get(NULL, 200, &body, &len, &fail), CORE_NET);
    assert_true(core_tick_ns() - begin < 3 * CORE_NS_PER_S);
}

static void only_http_is_spoken(void **state) {
    (void)state;
    struct core_fail fail;
    char *body;
    size_t len;
    assert_int_equal(core_http_get("file:///etc/passwd", TIMEOUT_MS, ENOUGH, &body, &len, &fail), CORE_BAD);
    assert_null(body);
    assert_int_equal(get("HTTP/1.1 302 There\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", TIMEOUT_MS,
                         &body, &len, &fail),
                     CORE_BAD);
    assert_null(body);
    assert_int_equal(core_http_get("http://127.0.0.1:1/", TIMEOUT_MS, ENOUGH, &body, &len, &fail), CORE_NET);
    assert_string_equal(fail.where, "http://127.0.0.1:1/");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_body_comes_whole),
        cmocka_unit_test(another_status_is_no_answer),
        cmocka_unit_test(a_body_past_the_limit_is_refused),
        cmocka_unit_test(a_server_that_says_nothing_is_given_up),
        cmocka_unit_test(only_http_is_spoken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
