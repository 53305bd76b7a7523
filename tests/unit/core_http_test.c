/* One GET, and requests with all that belongs to them: against a small server of our own on 127.0.0.1.
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
    assert_true(core_tick_ns() - begin < 30 * CORE_NS_PER_S);
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

/* ---- requests ------------------------------------------------------------------------------------------------------------------ */

/* Answers one connection after the other, each with the next answer, and keeps the last request. */
struct script {
    int fd;
    char url[64];
    const char *const *answers; /* ends with NULL; "": closes without a word */
    char request[4096];
    pthread_t thread;
};

static void *script_serve(void *script_ptr) {
    struct script *script = script_ptr;
    for (const char *const *answer = script->answers; *answer != NULL; answer++) {
        int fd = accept(script->fd, NULL, NULL);
        ssize_t len = fd < 0 ? -1 : recv(fd, script->request, sizeof script->request - 1, 0);
        if (len > 0) {
            script->request[len] = '\0';
            (void)!write(fd, *answer, strlen(*answer));
        }
        close(fd);
    }
    return NULL;
}

static void script_start(struct script *script, const char *const *answers) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    memset(script, 0, sizeof *script);
    script->answers = answers;
    script->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(script->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(script->fd, 8), 0);
    assert_int_equal(getsockname(script->fd, (struct sockaddr *)&address, &len), 0);
    snprintf(script->url, sizeof script->url, "http://127.0.0.1:%d/a", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&script->thread, NULL, script_serve, script), 0);
}

static void script_end(struct script *script) {
    assert_int_equal(pthread_join(script->thread, NULL), 0);
    close(script->fd);
}

#define OK_ANSWER "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Mark: blue\r\nETag: \"e1\"\r\nContent-Length: 2\r\n\r\nok"
#define ERROR_ANSWER "HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

static enum core_err send_to(struct script *script, const char *const *answers, struct core_http_request request,
                             struct core_http_answer *answer, struct core_fail *fail) {
    script_start(script, answers);
    request.url = script->url;
    request.timeout_ms = TIMEOUT_MS;
    request.bytes_max = ENOUGH;
    enum core_err err = core_http_send(&request, answer, fail);
    script_end(script);
    return err;
}

static void a_request_says_all_and_an_answer_has_its_headers(void **state) {
    (void)state;
    static const char *const answers[] = {OK_ANSWER, NULL};
    const struct core_http_header headers[] = {{"Authorization", "Token token=x"}, {"Expect", ""}};
    struct script script;
    struct core_http_answer answer;
    struct core_fail fail;
    struct core_http_request request = {.headers = headers, .headers_len = 2, .body = CORE_SPAN("{\"a\":1}")};
    assert_int_equal(send_to(&script, answers, request, &answer, &fail), CORE_OK);
    assert_non_null(strstr(script.request, "POST /a HTTP/1.1\r\n"));
    assert_non_null(strstr(script.request, "Authorization: Token token=x\r\n"));
    assert_null(strstr(script.request, "Expect"));
    assert_non_null(strstr(script.request, "{\"a\":1}"));
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "ok");
    assert_string_equal(core_http_header(&answer, "x-mark"), "blue");
    assert_string_equal(core_http_header(&answer, "etag"), "\"e1\"");
    assert_null(core_http_header(&answer, "x-mar"));
    core_http_answer_release(&answer);
}

static void what_passes_is_tried_again(void **state) {
    (void)state;
    static const char *const answers[] = {ERROR_ANSWER, "", OK_ANSWER, NULL};
    struct script script;
    struct core_http_answer answer;
    struct core_fail fail;
    int64_t start_ns = core_tick_ns();
    struct core_http_request request = {.tries = 5, .patience_ns = 60 * CORE_NS_PER_S};
    assert_int_equal(send_to(&script, answers, request, &answer, &fail), CORE_OK);
    assert_int_equal(answer.tries, 3);
    assert_true(core_tick_ns() - start_ns >= CORE_NS_PER_S / 4 + CORE_NS_PER_S / 2); /* at least half of each wait */
    core_http_answer_release(&answer);
}

static void tries_and_patience_have_an_end(void **state) {
    (void)state;
    static const char *const twice[] = {ERROR_ANSWER, ERROR_ANSWER, NULL};
    static const char *const later[] = {
        "HTTP/1.1 429 Slow\r\nRetry-After: 3600\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", NULL};
    struct script script;
    struct core_http_answer answer;
    struct core_fail fail;
    struct core_http_request request = {.tries = 2, .patience_ns = 60 * CORE_NS_PER_S};
    assert_int_equal(send_to(&script, twice, request, &answer, &fail), CORE_NET);
    assert_non_null(strstr(fail.text, "after 2 tries"));
    assert_null(answer.body);
    core_http_answer_release(&answer);
    assert_int_equal(send_to(&script, later, request, &answer, &fail), CORE_NET);
    assert_int_equal(answer.retry_after_s, 3600);
    assert_int_equal(answer.tries, 1);
    assert_non_null(strstr(fail.text, "3600 s"));
    core_http_answer_release(&answer);
}

static void a_secret_and_a_user_are_shown_to_nobody(void **state) {
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 22\r\n\r\nno such key: sesame7 !\n", NULL};
    struct script script;
    struct core_http_answer answer;
    struct core_fail fail;
    char shown[CORE_HTTP_URL_SHOWN_MAX];
    struct core_http_request request = {.secret = "sesame7", .tries = 5, .patience_ns = CORE_NS_PER_S};
    assert_int_equal(send_to(&script, answers, request, &answer, &fail), CORE_BAD);
    assert_int_equal(answer.tries, 1);
    assert_null(strstr(fail.text, "sesame7"));
    assert_non_null(strstr(fail.text, "no such key: *******"));
    core_http_answer_release(&answer);
    static const char *const stars[] = {
        "HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 14\r\n\r\nnot ***, nor *\n", NULL};
    request.secret = "***"; /* left over from a configuration that was shown: it hides itself, once */
    assert_int_equal(send_to(&script, stars, request, &answer, &fail), CORE_BAD);
    assert_non_null(strstr(fail.text, "not ***, nor *"));
    core_http_answer_release(&answer);
    core_http_shown("https://me:secret@host.example:8443/a/b?key=secret#x", shown);
    assert_string_equal(shown, "https://host.example:8443/a/b?…");
    core_http_shown("http://host.example/a@b", shown);
    assert_string_equal(shown, "http://host.example/a@b");
    core_http_shown("no url at all", shown);
    assert_string_equal(shown, "no url at all");
}

static bool never(void *ctx) {
    ++*(int *)ctx;
    return false;
}

static void a_wait_can_be_ended(void **state) {
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 503 Busy\r\nRetry-After: 30\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", NULL};
    struct script script;
    struct core_http_answer answer;
    struct core_fail fail;
    int asked = 0;
    int64_t start_ns = core_tick_ns();
    struct core_http_request request = {.tries = 5, .patience_ns = 60 * CORE_NS_PER_S, .goes_on = never, .ctx = &asked};
    assert_int_equal(send_to(&script, answers, request, &answer, &fail), CORE_AGAIN);
    assert_true(core_tick_ns() - start_ns < 25 * CORE_NS_PER_S); /* of 30 */
    assert_int_equal(asked, 1);
    core_http_answer_release(&answer);
}

static void a_header_cannot_bring_another(void **state) {
    (void)state;
    const struct core_http_header headers[] = {{"Authorization", "x\r\nX-Evil: y"}};
    struct core_http_request request = {.url = "http://127.0.0.1:1/", .headers = headers, .headers_len = 1};
    struct core_http_answer answer;
    struct core_fail fail;
    request.timeout_ms = TIMEOUT_MS;
    assert_int_equal(core_http_send(&request, &answer, &fail), CORE_IO);
    core_http_answer_release(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_body_comes_whole),
        cmocka_unit_test(another_status_is_no_answer),
        cmocka_unit_test(a_body_past_the_limit_is_refused),
        cmocka_unit_test(a_server_that_says_nothing_is_given_up),
        cmocka_unit_test(only_http_is_spoken),
        cmocka_unit_test(a_request_says_all_and_an_answer_has_its_headers),
        cmocka_unit_test(what_passes_is_tried_again),
        cmocka_unit_test(tries_and_patience_have_an_end),
        cmocka_unit_test(a_secret_and_a_user_are_shown_to_nobody),
        cmocka_unit_test(a_wait_can_be_ended),
        cmocka_unit_test(a_header_cannot_bring_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
