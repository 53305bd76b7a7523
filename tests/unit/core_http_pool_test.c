/* Many requests at once: against servers of our own on 127.0.0.1 that are well, ill, slow, cut off, or gone for a while.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/http_internal.h"
#include "core/http_pool.h"

#include "tests/unit/http_server.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <cmocka.h>

#define TIMEOUT_MS 10000
#define ANSWER_BYTES_MAX 1000
#define MANY 40
#define BODY_BYTES (5 * CORE_MIB)

/* Time can be skipped while no transfer is under way: nobody waits a minute for a test. */
static int64_t skipped_ns;
static unsigned begun;
static unsigned ended;

int64_t __real_core_tick_ns(void);
int64_t __wrap_core_tick_ns(void);
int64_t __wrap_core_tick_ns(void) {
    return __real_core_tick_ns() + skipped_ns;
}

CURLMcode __real_curl_multi_add_handle(CURLM *multi, CURL *curl);
CURLMcode __wrap_curl_multi_add_handle(CURLM *multi, CURL *curl);
CURLMcode __wrap_curl_multi_add_handle(CURLM *multi, CURL *curl) {
    begun++;
    return __real_curl_multi_add_handle(multi, curl);
}

CURLMcode __real_curl_multi_remove_handle(CURLM *multi, CURL *curl);
CURLMcode __wrap_curl_multi_remove_handle(CURLM *multi, CURL *curl);
CURLMcode __wrap_curl_multi_remove_handle(CURLM *multi, CURL *curl) {
    ended++;
    return __real_curl_multi_remove_handle(multi, curl);
}

static char folder[] = "/tmp/tapline-http-pool-XXXXXX";

static struct core_http_pool *pool_of(const char *const *urls, size_t urls_len, struct core_http_pool_conf conf) {
    struct core_http_pool *pool = NULL;
    struct core_fail fail;
    conf.urls = urls;
    conf.urls_len = urls_len;
    conf.requests_max = conf.requests_max != 0 ? conf.requests_max : 4;
    conf.connect_timeout_ms = conf.connect_timeout_ms != 0 ? conf.connect_timeout_ms : TIMEOUT_MS;
    conf.timeout_ms = conf.timeout_ms != 0 ? conf.timeout_ms : TIMEOUT_MS;
    conf.bytes_max = ANSWER_BYTES_MAX;
    conf.wake_fd = conf.wake_fd != 0 ? conf.wake_fd : -1;
    enum core_err err = core_http_pool_open(&pool, &conf, &fail);
    if (err != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
    return pool;
}

static struct core_http_pool *pool_for(const struct server *server) {
    const char *urls[] = {server->url};
    return pool_of(urls, 1, (struct core_http_pool_conf){0});
}

static void submit(struct core_http_pool *pool, const char *path, struct core_span body, void *ticket) {
    struct core_http_pool_request request = {.method = "POST", .path = path, .body = body, .ticket = ticket};
    assert_true(core_http_pool_has_room(pool));
    core_http_pool_submit(pool, &request);
}

/* The end of the one request that is under way. */
static struct core_http_pool_done done_of(struct core_http_pool *pool) {
    struct core_http_pool_done done;
    assert_int_equal(core_http_pool_poll(pool, &done, 1, 2 * TIMEOUT_MS), 1);
    return done;
}

static struct core_http_pool_done ask(struct core_http_pool *pool, const char *path) {
    submit(pool, path, CORE_SPAN("x"), NULL);
    return done_of(pool);
}

static struct core_span big_body(void) {
    static char *body;
    if (body == NULL) {
        body = malloc(BODY_BYTES);
        for (size_t i = 0; i < BODY_BYTES; i++) {
            body[i] = (char)('a' + i * 7 % 26);
        }
    }
    return (struct core_span){body, BODY_BYTES};
}

static void a_connection_is_kept_and_used_again(void **state) {
    (void)state;
    struct server server;
    server_start(&server, 0, NULL);
    struct core_http_pool *pool = pool_for(&server);
    for (int i = 0; i < MANY; i++) {
        char path[32];
        char expected[100];
        struct core_span body = CORE_SPAN("{\"a\":1}\n");
        snprintf(path, sizeof path, "/echo/%d?x=y", i);
        submit(pool, path, body, &path);
        struct core_http_pool_done done = done_of(pool);
        assert_int_equal(done.status, 200);
        assert_ptr_equal(done.ticket, &path);
        assert_string_equal(done.node, server.url);
        assert_true(done.is_sent);
        assert_true(done.elapsed_ns > 0 && done.elapsed_ns < 5 * CORE_NS_PER_S);
        snprintf(expected, sizeof expected, "POST %s %zu %016llx", path, body.len,
                 (unsigned long long)core_hash64(body.ptr, body.len, 0));
        assert_string_equal(done.body.ptr, expected); /* a NUL follows */
        assert_int_equal(done.body.len, strlen(expected));
    }
    core_http_pool_close(pool);
    assert_int_equal(atomic_load(&server.connections), 1);
    server_end(&server);
}

/* A proxy closes what was idle for long, perhaps while the next request is on its way. */
static void a_kept_connection_may_be_gone(void **state) {
    (void)state;
    struct server server;
    server_start(&server, 0, NULL);
    struct core_http_pool *pool = pool_for(&server);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ask(pool, "/last").status, 200);
        usleep(i % 2 == 0 ? 0 : 5000);
        assert_int_equal(ask(pool, "/echo").status, 200);
    }
    assert_int_equal(core_http_pool_well(pool), 1);
    core_http_pool_close(pool);
    assert_true(atomic_load(&server.connections) >= 20);
    server_end(&server);
}

static void megabytes_arrive_unchanged_and_at_once(void **state) {
    (void)state;
    struct server server;
    char expected[100];
    server_start(&server, 0, NULL);
    struct core_http_pool *pool = pool_for(&server);
    struct core_span body = big_body();
    int64_t took_ns = CORE_NS_PER_S;
    for (int tries = 0; tries < 5 && took_ns >= CORE_NS_PER_S; tries++) { /* a busy machine may need as long once */
        int64_t start_ns = core_tick_ns();
        submit(pool, "/echo", body, NULL);
        struct core_http_pool_done done = done_of(pool);
        snprintf(expected, sizeof expected, "POST /echo %zu %016llx", body.len,
                 (unsigned long long)core_hash64(body.ptr, body.len, 0));
        assert_string_equal(done.body.ptr, expected);
        took_ns = core_tick_ns() - start_ns;
    }
    assert_true(took_ns < CORE_NS_PER_S); /* no wait for "100 Continue" */
    core_http_pool_close(pool);
    server_end(&server);
}

static void several_are_under_way_at_once(void **state) {
    (void)state;
    struct server server;
    struct core_http_pool_done done[4];
    int tickets[4];
    bool is_back[4] = {false};
    server_start(&server, 0, NULL);
    atomic_store(&server.together, 4);
    struct core_http_pool *pool = pool_for(&server);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 4; i++) {
            submit(pool, "/together", (struct core_span){NULL, 0}, &tickets[i]);
        }
        assert_false(core_http_pool_has_room(pool));
        for (size_t left = 4; left > 0;) {
            size_t len = core_http_pool_poll(pool, done, 3, TIMEOUT_MS);
            assert_true(len > 0);
            for (size_t i = 0; i < len; i++) {
                assert_int_equal(done[i].status, 200);
                assert_true(done[i].is_sent);
                is_back[(int *)done[i].ticket - tickets] = true;
            }
            left -= len;
        }
    }
    assert_true(is_back[0] && is_back[1] && is_back[2] && is_back[3]);
    assert_int_equal(core_http_pool_poll(pool, done, 4, 0), 0);
    core_http_pool_close(pool);
    assert_int_equal(atomic_load(&server.connections), 4);
    server_end(&server);
}

static void nodes_take_turns_and_a_dead_one_is_left_out(void **state) {
    (void)state;
    struct server servers[3];
    const char *urls[3];
    for (size_t i = 0; i < 3; i++) {
        server_start(&servers[i], 0, NULL);
        urls[i] = servers[i].url;
    }
    server_end(&servers[1]);
    struct core_http_pool *pool = pool_of(urls, 3, (struct core_http_pool_conf){0});
    assert_int_equal(core_http_pool_well(pool), 3);
    assert_int_equal(ask(pool, "/echo").status, 200);
    struct core_http_pool_done done = ask(pool, "/echo");
    assert_int_equal(done.status, 0);
    assert_int_equal(done.fail.err, CORE_NET);
    assert_false(done.is_sent);
    assert_string_equal(done.node, urls[1]);
    assert_string_equal(done.fail.where, urls[1]);
    assert_int_equal(core_http_pool_well(pool), 2);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(ask(pool, "/echo").status, 200);
    }
    core_http_pool_close(pool);
    assert_int_equal(atomic_load(&servers[0].requests), 6);
    assert_int_equal(atomic_load(&servers[2].requests), 5);
    server_end(&servers[0]);
    server_end(&servers[2]);
}

static void who_is_cut_off_or_ill_rests(void **state) {
    (void)state;
    static const char *const paths[] = {"/cut", "/hangup", "/ill"};
    for (size_t i = 0; i < 3; i++) {
        struct server server;
        server_start(&server, 0, NULL);
        struct core_http_pool *pool = pool_for(&server);
        struct core_http_pool_done done = ask(pool, paths[i]);
        assert_int_equal(done.status, i == 2 ? 503 : 0);
        assert_true(done.is_sent);
        assert_int_equal(core_http_pool_well(pool), 0);
        if (i == 2) {
            assert_string_equal(done.body.ptr, "ill");
        } else {
            assert_int_equal(done.fail.err, CORE_NET);
            assert_int_equal(done.body.len, 0);
        }
        core_http_pool_close(pool);
        server_end(&server);
    }
}

static void the_next_request_waits_for_a_probe(void **state) {
    (void)state;
    struct server server;
    server_start(&server, 0, NULL);
    struct core_http_pool *pool = pool_for(&server);
    assert_int_equal(ask(pool, "/ill").status, 503);
    assert_int_equal(atomic_load(&server.probes), 0);
    int64_t start_ns = core_tick_ns();
    struct core_http_pool_done done = ask(pool, "/echo");
    assert_int_equal(done.status, 200);
    int64_t took_ns = core_tick_ns() - start_ns;
    assert_true(took_ns >= CORE_NS_PER_S / 3); /* it rested */
    assert_true(took_ns < 30 * CORE_NS_PER_S);
    assert_true(done.elapsed_ns <= took_ns - CORE_NS_PER_S / 3); /* the wait is not the request's */
    assert_int_equal(atomic_load(&server.probes), 1);
    assert_int_equal(core_http_pool_well(pool), 1);
    core_http_pool_close(pool);
    server_end(&server);
}

static void when_all_rest_the_first_that_comes_back_gets_it(void **state) {
    (void)state;
    struct server servers[2];
    struct core_http_pool_done done;
    server_start(&servers[0], 0, NULL);
    server_start(&servers[1], 0, NULL);
    const char *urls[] = {servers[0].url, servers[1].url};
    server_end(&servers[0]);
    server_end(&servers[1]);
    struct core_http_pool *pool = pool_of(urls, 2, (struct core_http_pool_conf){0});
    assert_int_equal(ask(pool, "/echo").status, 0);
    assert_int_equal(ask(pool, "/echo").status, 0);
    assert_int_equal(core_http_pool_well(pool), 0);
    submit(pool, "/echo", CORE_SPAN("x"), NULL);
    assert_int_equal(core_http_pool_poll(pool, &done, 1, 1100), 0); /* probes find nobody */
    assert_int_equal(core_http_pool_well(pool), 0);
    server_start(&servers[1], servers[1].port, NULL);
    atomic_store(&servers[1].is_ill, true); /* there, but not well yet */
    while (atomic_load(&servers[1].probes) == 0) {
        assert_int_equal(core_http_pool_poll(pool, &done, 1, 100), 0);
    }
    atomic_store(&servers[1].is_ill, false);
    done = done_of(pool);
    assert_int_equal(done.status, 200);
    assert_string_equal(done.node, urls[1]);
    assert_int_equal(core_http_pool_well(pool), 1);
    core_http_pool_close(pool);
    server_end(&servers[1]);
}

/* Those that were cut together make one rest: the second has nothing new to say. */
static void many_cuts_at_once_are_one_rest(void **state) {
    (void)state;
    struct server server;
    struct core_http_pool_done done[4];
    server_start(&server, 0, NULL);
    struct core_http_pool *pool = pool_for(&server);
    for (size_t i = 0; i < 4; i++) {
        submit(pool, "/hangup", CORE_SPAN("x"), NULL);
    }
    for (size_t left = 4; left > 0;) {
        left -= core_http_pool_poll(pool, done, 4, TIMEOUT_MS);
    }
    int64_t start_ns = core_tick_ns();
    assert_int_equal(ask(pool, "/echo").status, 200);
    assert_true(core_tick_ns() - start_ns < 4 * CORE_NS_PER_S); /* four rests: at least four seconds */
    core_http_pool_close(pool);
    server_end(&server);
}

/* How long until the node that rests is asked again; and it answers. A machine that stands still makes it longer: *least_ns
 * is what was skipped of it. */
static int64_t next_probe_ns(struct core_http_pool *pool, int64_t *least_ns) {
    struct core_http_pool_done done;
    int64_t start_ns = core_tick_ns();
    int64_t skipped_before_ns = skipped_ns;
    begun = ended = 0;
    while (begun == 0) {
        skipped_ns += 50 * CORE_NS_PER_MS;
        assert_int_equal(core_http_pool_poll(pool, &done, 1, 0), 0);
    }
    int64_t took_ns = core_tick_ns() - start_ns;
    *least_ns = skipped_ns - skipped_before_ns;
    while (ended == 0) {
        assert_int_equal(core_http_pool_poll(pool, &done, 1, 5), 0);
    }
    return took_ns;
}

static void rests_grow_but_stay_short_when_nobody_else_is_well(void **state) {
    (void)state;
    struct server ill;
    struct server well;
    int64_t longest_ns[2] = {0};
    int64_t longest_least_ns[2] = {0};
    int64_t least_ns;
    for (size_t i = 0; i < 2; i++) {
        server_start(&ill, 0, NULL);
        server_start(&well, 0, NULL);
        atomic_store(&ill.is_ill, true);
        const char *urls[] = {ill.url, well.url};
        struct core_http_pool *pool = pool_of(urls, i + 1, (struct core_http_pool_conf){0});
        assert_int_equal(ask(pool, "/ill").status, 503);
        (void)next_probe_ns(pool, &least_ns);
        assert_true(least_ns < 2 * CORE_NS_PER_S);
        for (int rest = 0; rest < 9; rest++) {
            int64_t took_ns = next_probe_ns(pool, &least_ns);
            longest_ns[i] = took_ns > longest_ns[i] ? took_ns : longest_ns[i];
            longest_least_ns[i] = least_ns > longest_least_ns[i] ? least_ns : longest_least_ns[i];
        }
        assert_int_equal(core_http_pool_well(pool), i);
        core_http_pool_close(pool);
        server_end(&ill);
        server_end(&well);
    }
    assert_true(longest_ns[0] > 2 * CORE_NS_PER_S && longest_least_ns[0] < 7 * CORE_NS_PER_S);
    assert_true(longest_ns[1] > 29 * CORE_NS_PER_S && longest_least_ns[1] < 65 * CORE_NS_PER_S);
    skipped_ns = 0;
}

/* A node whose front answers questions while what is behind it takes no work: being asked more often does not help it. */
static void rests_grow_while_only_questions_are_answered(void **state) {
    (void)state;
    struct server server;
    server_start(&server, 0, NULL);
    struct core_http_pool *pool = pool_for(&server);
    int64_t took_ns = 0;
    int64_t least_ns;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ask(pool, "/ill").status, 503);
        took_ns = next_probe_ns(pool, &least_ns);
        assert_true(i > 0 || least_ns < 2 * CORE_NS_PER_S);
        submit(pool, "/question", (struct core_span){0}, NULL);
        assert_int_equal(done_of(pool).status, 200);
    }
    assert_true(took_ns > 2 * CORE_NS_PER_S);
    assert_int_equal(ask(pool, "/echo").status, 200); /* it takes work again: the next rest is a first one */
    assert_int_equal(ask(pool, "/ill").status, 503);
    (void)next_probe_ns(pool, &least_ns);
    assert_true(least_ns < 2 * CORE_NS_PER_S);
    core_http_pool_close(pool);
    server_end(&server);
    skipped_ns = 0;
}

static void a_slow_answer_is_given_up(void **state) {
    (void)state;
    struct server server;
    server_start(&server, 0, NULL);
    const char *urls[] = {server.url};
    struct core_http_pool *pool = pool_of(urls, 1, (struct core_http_pool_conf){.timeout_ms = 200});
    int64_t start_ns = core_tick_ns();
    struct core_http_pool_done done = ask(pool, "/slow");
    assert_int_equal(done.status, 0);
    assert_int_equal(done.fail.err, CORE_NET);
    assert_true(done.is_sent);
    assert_true(core_tick_ns() - start_ns < TIMEOUT_MS * CORE_NS_PER_MS); /* which others have */
    assert_int_equal(core_http_pool_well(pool), 0);
    core_http_pool_close(pool);
    server_end(&server);
}

static void an_answer_past_the_limit_is_refused_and_the_node_is_well(void **state) {
    (void)state;
    struct server server;
    server_start(&server, 0, NULL);
    struct core_http_pool *pool = pool_for(&server);
    struct core_http_pool_done done = ask(pool, "/long");
    assert_int_equal(done.status, 0);
    assert_int_equal(done.fail.err, CORE_LIMIT);
    assert_int_equal(core_http_pool_well(pool), 1);
    assert_int_equal(ask(pool, "/echo").status, 200);
    core_http_pool_close(pool);
    server_end(&server);
}

static void a_bell_ends_the_wait(void **state) {
    (void)state;
    struct server server;
    struct core_http_pool_done done;
    int bell = eventfd(0, 0);
    server_start(&server, 0, NULL);
    const char *urls[] = {server.url};
    struct core_http_pool *pool = pool_of(urls, 1, (struct core_http_pool_conf){.wake_fd = bell});
    int64_t start_ns = core_tick_ns();
    assert_int_equal(core_http_pool_poll(pool, &done, 1, 300), 0);
    assert_true(core_tick_ns() - start_ns >= 290 * CORE_NS_PER_MS);
    submit(pool, "/slow", CORE_SPAN("x"), NULL);
    assert_int_equal(eventfd_write(bell, 1), 0);
    start_ns = core_tick_ns();
    assert_int_equal(core_http_pool_poll(pool, &done, 1, TIMEOUT_MS), 0);
    assert_true(core_tick_ns() - start_ns < TIMEOUT_MS * CORE_NS_PER_MS);
    core_http_pool_close(pool); /* cuts what is under way */
    server_end(&server);
    close(bell);
}

static void what_a_server_asks_for_is_told(void **state) {
    (void)state;
    struct server server;
    server_start(&server, 0, NULL);
    struct core_http_pool *pool = pool_for(&server);
    struct core_http_pool_done done = ask(pool, "/busy");
    assert_int_equal(done.status, 429);
    assert_int_equal(done.retry_after_s, 7);
    assert_string_equal(done.body.ptr, "slow down");
    assert_int_equal(core_http_pool_well(pool), 1); /* busy is not ill */
    done = ask(pool, "/echo");
    assert_int_equal(done.retry_after_s, 0);
    core_http_pool_close(pool);
    server_end(&server);
}

static void a_node_may_have_a_path_of_its_own(void **state) {
    (void)state;
    struct server server;
    char url[100];
    char user_url[100];
    const struct core_http_header headers[] = {{"Authorization", "ApiKey a2V5"}};
    server_start(&server, 0, NULL);
    snprintf(url, sizeof url, "%s/echo/es/", server.url);
    const char *urls[] = {url};
    struct core_http_pool *pool = pool_of(urls, 1, (struct core_http_pool_conf){.headers = headers, .headers_len = 1});
    struct core_http_pool_done done = ask(pool, "/_bulk?a=b");
    assert_int_equal(strncmp(done.body.ptr, "POST /echo/es/_bulk?a=b 1 ", 26), 0);
    core_http_pool_close(pool);
    snprintf(user_url, sizeof user_url, "http://me:sesame7@127.0.0.1:%d", server.port);
    urls[0] = user_url;
    pool = pool_of(urls, 1, (struct core_http_pool_conf){0});
    done = ask(pool, "/hangup");
    assert_string_equal(done.node, server.url); /* without the user */
    assert_null(strstr(done.fail.text, "sesame7"));
    core_http_pool_close(pool);
    server_end(&server);
    assert_string_equal(server.authorization, "Authorization: Basic bWU6c2VzYW1lNw==");
}

static void a_header_cannot_bring_another(void **state) {
    (void)state;
    struct server server;
    const struct core_http_header bad[] = {{"X-One", "x\r\nX-Evil: y"}};
    struct core_http_pool_request request = {.method = "GET", .path = "/echo", .headers = bad, .headers_len = 1};
    struct core_http_pool_conf conf = {.headers = bad, .headers_len = 1, .requests_max = 1};
    struct core_http_pool *none = NULL;
    struct core_fail fail;
    server_start(&server, 0, NULL);
    struct core_http_pool *pool = pool_for(&server);
    core_http_pool_submit(pool, &request);
    struct core_http_pool_done done = done_of(pool);
    assert_int_equal(done.status, 0);
    assert_int_equal(done.fail.err, CORE_IO);
    assert_int_equal(ask(pool, "/echo").status, 200);
    core_http_pool_close(pool);
    const char *urls[] = {server.url};
    conf.urls = urls;
    conf.urls_len = 1;
    conf.connect_timeout_ms = conf.timeout_ms = TIMEOUT_MS;
    assert_int_equal(core_http_pool_open(&none, &conf, &fail), CORE_BAD);
    assert_null(none);
    server_end(&server);
    assert_int_equal(atomic_load(&server.requests), 1);
}

static void what_is_no_url_or_no_file_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"127.0.0.1:9200", "ftp://host", "http://", "http://h/?q=1", "http://h/#f", ""};
    struct core_http_pool_conf conf = {.urls_len = 1, .requests_max = 1, .connect_timeout_ms = 1, .timeout_ms = 1};
    struct core_http_pool *pool = NULL;
    struct core_fail fail;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        conf.urls = &bad[i];
        assert_int_equal(core_http_pool_open(&pool, &conf, &fail), CORE_BAD);
        assert_null(pool);
    }
    const char *urls[] = {"http://me:sesame7@h/?q=1"};
    conf.urls = urls;
    assert_int_equal(core_http_pool_open(&pool, &conf, &fail), CORE_BAD);
    assert_null(strstr(fail.where, "sesame7"));
    urls[0] = "https://h:9200";
    conf.ca_file = "/nonexistent/ca.pem";
    assert_int_equal(core_http_pool_open(&pool, &conf, &fail), CORE_BAD);
    assert_string_equal(fail.where, "/nonexistent/ca.pem");
}

/* ---- TLS ---------------------------------------------------------------------------------------------------------------------- */

static void extension_add(X509 *cert, int nid, const char *value) {
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void pem_path(char out[128], const char *name, const char *kind) {
    snprintf(out, 128, "%s/%s.%s", folder, name, kind);
}

/* A key and a certificate, signed by issuer (NULL: by itself, an authority), also as NAME.crt and NAME.key in the folder. */
static void certificate(const char *name, X509 **cert, EVP_PKEY **key, X509 *issuer, EVP_PKEY *issuer_key) {
    char path[128];
    *key = EVP_EC_gen("P-256");
    *cert = X509_new();
    assert_non_null(*key);
    X509_NAME *subject = X509_get_subject_name(*cert);
    X509_set_version(*cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(*cert), issuer == NULL ? 1 : 2);
    X509_gmtime_adj(X509_getm_notBefore(*cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(*cert), 3600);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(*cert, issuer == NULL ? subject : X509_get_subject_name(issuer));
    X509_set_pubkey(*cert, *key);
    extension_add(*cert, NID_basic_constraints, issuer == NULL ? "critical,CA:TRUE" : "CA:FALSE");
    extension_add(*cert, NID_subject_alt_name, "IP:127.0.0.1");
    assert_true(X509_sign(*cert, issuer == NULL ? *key : issuer_key, EVP_sha256()) > 0);
    pem_path(path, name, "crt");
    FILE *file = fopen(path, "w");
    assert_int_equal(PEM_write_X509(file, *cert), 1);
    fclose(file);
    pem_path(path, name, "key");
    file = fopen(path, "w");
    assert_int_equal(PEM_write_PrivateKey(file, *key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
}

/* A server's end of TLS that wants a certificate of its own authority. */
static SSL_CTX *tls_of_server(X509 *ca, X509 *cert, EVP_PKEY *key) {
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(tls, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(tls, key), 1);
    assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(tls), ca), 1);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return tls;
}

static struct core_http_pool_done ask_over_tls(const char *url, struct core_http_pool_conf conf, const char *path) {
    const char *urls[] = {url};
    struct core_http_pool *pool = pool_of(urls, 1, conf);
    submit(pool, path, big_body(), NULL);
    struct core_http_pool_done done = done_of(pool);
    done.body.ptr = "";
    core_http_pool_close(pool);
    return done;
}

static void both_ends_show_their_certificates(void **state) {
    (void)state;
    X509 *certs[3];
    EVP_PKEY *keys[3];
    char ca[128], crt[128], key[128], other_host[100];
    struct server server;
    assert_non_null(mkdtemp(folder));
    certificate("ca", &certs[0], &keys[0], NULL, NULL);
    certificate("server", &certs[1], &keys[1], certs[0], keys[0]);
    certificate("client", &certs[2], &keys[2], certs[0], keys[0]);
    pem_path(ca, "ca", "crt");
    pem_path(crt, "client", "crt");
    pem_path(key, "client", "key");
    SSL_CTX *tls = tls_of_server(certs[0], certs[1], keys[1]);
    server_start(&server, 0, tls);
    struct core_http_pool_conf conf = {.ca_file = ca, .cert_file = crt, .key_file = key};
    assert_int_equal(ask_over_tls(server.url, conf, "/echo").status, 200);
    struct core_http_pool_done done =
        ask_over_tls(server.url, (struct core_http_pool_conf){.cert_file = crt, .key_file = key}, "/echo");
    assert_int_equal(done.status, 0); /* the system does not know our authority */
    assert_int_equal(done.fail.err, CORE_NET);
    assert_false(done.is_sent);
    assert_non_null(strstr(done.fail.text, "give its file"));
    done = ask_over_tls(server.url, (struct core_http_pool_conf){.ca_file = ca}, "/echo");
    assert_int_equal(done.status, 0); /* the server wants to see ours */
    assert_int_equal(done.fail.err, CORE_NET);
    snprintf(other_host, sizeof other_host, "https://localhost:%d", server.port);
    done = ask_over_tls(other_host, conf, "/echo");
    assert_int_equal(done.fail.err, CORE_NET); /* the certificate is of another name */
    conf.key_file = ca;                        /* no key at all */
    done = ask_over_tls(server.url, conf, "/echo");
    assert_int_equal(done.fail.err, CORE_BAD);
    server_end(&server);
    SSL_CTX_free(tls);
    for (size_t i = 0; i < 3; i++) {
        X509_free(certs[i]);
        EVP_PKEY_free(keys[i]);
    }
    static const char *const names[] = {"ca", "server", "client"};
    for (size_t i = 0; i < 3; i++) {
        pem_path(crt, names[i], "crt");
        pem_path(key, names[i], "key");
        assert_int_equal(unlink(crt), 0);
        assert_int_equal(unlink(key), 0);
    }
    assert_int_equal(rmdir(folder), 0);
}

int main(void) {
    MUST(signal(SIGPIPE, SIG_IGN) != SIG_ERR); /* as the program does: OpenSSL writes to a socket that is closed */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_kept_and_used_again),
        cmocka_unit_test(a_kept_connection_may_be_gone),
        cmocka_unit_test(megabytes_arrive_unchanged_and_at_once),
        cmocka_unit_test(several_are_under_way_at_once),
        cmocka_unit_test(nodes_take_turns_and_a_dead_one_is_left_out),
        cmocka_unit_test(who_is_cut_off_or_ill_rests),
        cmocka_unit_test(the_next_request_waits_for_a_probe),
        cmocka_unit_test(when_all_rest_the_first_that_comes_back_gets_it),
        cmocka_unit_test(many_cuts_at_once_are_one_rest),
        cmocka_unit_test(rests_grow_but_stay_short_when_nobody_else_is_well),
        cmocka_unit_test(rests_grow_while_only_questions_are_answered),
        cmocka_unit_test(a_slow_answer_is_given_up),
        cmocka_unit_test(an_answer_past_the_limit_is_refused_and_the_node_is_well),
        cmocka_unit_test(a_bell_ends_the_wait),
        cmocka_unit_test(what_a_server_asks_for_is_told),
        cmocka_unit_test(a_node_may_have_a_path_of_its_own),
        cmocka_unit_test(a_header_cannot_bring_another),
        cmocka_unit_test(what_is_no_url_or_no_file_is_refused),
        cmocka_unit_test(both_ends_show_their_certificates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
