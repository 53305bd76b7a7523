/* Tests of core/health_serve.c: where a process listens, its own row, and a port that somebody else has. What is answered,
 * tests/integration/test_health_http.py asks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"
#include "core/httpd.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void test_addresses(void **state) {
    (void)state;
    const struct core_health_conf conf = {
        .serve = "off", .run = "127.0.0.1:9601", .feed = "[::1]:9602", .intel_sync = "127.0.0.1:0"};
    char address[128];
    assert_false(core_health_address(&conf, "serve", 0, address));
    assert_true(core_health_address(&conf, "run", 0, address));
    assert_string_equal(address, "127.0.0.1:9601");
    assert_true(core_health_address(&conf, "feed", 0, address));
    assert_string_equal(address, "[::1]:9602");
    assert_true(core_health_address(&conf, "feed", 3, address));
    assert_string_equal(address, "[::1]:9605");
    assert_true(core_health_address(&conf, "intel-sync", 2, address)); /* any free one is any free one */
    assert_string_equal(address, "127.0.0.1:0");
    const struct core_health_conf none = {0};
    assert_false(core_health_address(&none, "run", 0, address));
}

static int listen_somewhere(char address[64]) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    snprintf(address, 64, "127.0.0.1:%d", ntohs(at.sin_port));
    return fd;
}

static const struct core_health_row *own_row(struct core_health *health, struct core_arena *arena) {
    size_t len = 0;
    const struct core_health_row *rows = core_health_rows(health, arena, &len);
    for (size_t i = 0; i < len; i++) {
        if (rows[i].kind == CORE_HEALTH_PROCESS) {
            return &rows[i];
        }
    }
    return NULL;
}

static int hooked;

static void on_httpd(void *ctx, struct core_httpd *httpd) {
    assert_ptr_equal(core_health_httpd(ctx), httpd);
    hooked++;
}

static void turn(struct core_loop *loop, int64_t for_ns) {
    struct core_fail fail = {0};
    for (int64_t end = core_tick_ns() + for_ns; core_tick_ns() < end;) {
        assert_int_equal(core_loop_once(loop, 100 * CORE_NS_PER_MS, &fail), CORE_OK);
    }
}

static void test_port_taken(void **state) {
    (void)state;
    char folder[] = "/tmp/core_health_serve_test.XXXXXX";
    char path[128];
    char address[64];
    struct core_loop *loop = NULL;
    struct core_fail fail = {0};
    struct core_arena arena;
    assert_non_null(mkdtemp(folder));
    int fd = listen_somewhere(address);
    assert_int_equal(core_loop_new(&loop, &fail), CORE_OK);
    assert_int_equal(core_arena_init(&arena, 64 * CORE_MIB, &fail), CORE_OK);
    struct core_health_conf conf = {.is_on = true, .run = address, .log_dir = folder};
    core_health_conf_limits(&conf);
    struct core_health *health = core_health_new(&(struct core_health_env){
        .process = "run", .node = "n", .state = folder, .version = "1", .loop = loop, .conf = &conf});
    core_health_on_httpd(health, on_httpd, health);
    core_health_begin_serving(health);
    assert_null(core_health_httpd(health));
    assert_int_equal(hooked, 0);
    turn(loop, 1500 * CORE_NS_PER_MS);
    size_t len = 0;
    const struct core_health_problem *problems = core_health_problems(health, &len);
    assert_int_equal(len, 1);
    assert_string_equal(problems[0].code, "port_taken");
    assert_non_null(strstr(problems[0].text, address));
    const struct core_health_row *row = own_row(health, &arena);
    assert_non_null(row);
    assert_int_equal(core_health_get(row, CORE_PROCESS_PROBLEMS), 1);
    assert_int_equal(core_health_get(row, CORE_PROCESS_READY), 1); /* it ships logs all the same */
    assert_true(core_health_get(row, CORE_PROCESS_RSS) > 100000);
    assert_true(core_health_get(row, CORE_PROCESS_CPU) > 0);
    assert_true(core_health_get(row, CORE_PROCESS_FDS) > 3);
    assert_true(core_health_get(row, CORE_PROCESS_STATE_FREE) > 0);
    assert_true(core_health_get(row, CORE_PROCESS_START) <= core_now_ns());
    close(fd);
    turn(loop, 10 * CORE_NS_PER_S);
    assert_non_null(core_health_httpd(health));
    assert_int_equal(hooked, 1);
    assert_string_equal(strrchr(address, ':') + 1,
                        (snprintf(path, sizeof path, "%d", core_httpd_port(core_health_httpd(health))), path));
    core_health_free(health);
    core_loop_free(loop);
    core_arena_destroy(&arena);
    snprintf(path, sizeof path, "%s/health-run.ndjson", folder);
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_port_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
