/* tests/unit/enrich_redis_test.c: urls, and a peer that answers in pieces, too much, nothing, or nonsense: what a real Redis
 * cannot be asked to do. Against a real one: tests/integration/test_intel_store.py.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "enrich/redis_internal.h"

static struct core_fail fail;

static void test_urls(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum core_err err;
        enum redis_scheme scheme;
        const char *host, *port;
        unsigned db;
    } rows[] = {{"redis://redis.example", CORE_OK, REDIS_TCP, "redis.example", "6379", 0},
                {"redis://redis.example/", CORE_OK, REDIS_TCP, "redis.example", "6379", 0},
                {"redis://10.0.0.1:6380/3", CORE_OK, REDIS_TCP, "10.0.0.1", "6380", 3},
                {"rediss://[2001:db8::1]:6380/15", CORE_OK, REDIS_TLS, "2001:db8::1", "6380", 15},
                {"redis://[::1]", CORE_OK, REDIS_TCP, "::1", "6379", 0},
                {"unix:///run/redis.sock", CORE_OK, REDIS_UNIX, "/run/redis.sock", "", 0},
                {"unix:///run/redis.sock?db=2", CORE_OK, REDIS_UNIX, "/run/redis.sock", "", 2},
                {"", CORE_BAD, 0, "", "", 0},
                {"redis.example:6379", CORE_BAD, 0, "", "", 0},
                {"http://redis.example", CORE_BAD, 0, "", "", 0},
                {"redis://", CORE_BAD, 0, "", "", 0},
                {"redis://:6379", CORE_BAD, 0, "", "", 0},
                {"redis://h:", CORE_BAD, 0, "", "", 0},
                {"redis://h:0", CORE_BAD, 0, "", "", 0},
                {"redis://h:65536", CORE_BAD, 0, "", "", 0},
                {"redis://h:6379x", CORE_BAD, 0, "", "", 0},
                {"redis://h/one", CORE_BAD, 0, "", "", 0},
                {"redis://h/-1", CORE_BAD, 0, "", "", 0},
                {"redis://[::1", CORE_BAD, 0, "", "", 0},
                {"redis://[::1]6379", CORE_BAD, 0, "", "", 0},
                {"redis://2001:db8::1", CORE_BAD, 0, "", "", 0},
                {"redis://user:secret@h", CORE_BAD, 0, "", "", 0},
                {"unix://run/redis.sock", CORE_BAD, 0, "", "", 0},
                {"unix:///s?x=2", CORE_BAD, 0, "", "", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct redis_url url;
        enum core_err err = redis_url_read(rows[i].text, &url, &fail);
        if (err != rows[i].err) {
            fail_msg("%s: error %d", rows[i].text, err);
        }
        if (err == CORE_OK) {
            assert_int_equal(url.scheme, rows[i].scheme);
            assert_string_equal(url.host, rows[i].host);
            assert_string_equal(url.port, rows[i].port);
            assert_int_equal(url.db, rows[i].db);
        }
    }
    struct redis_url url;
    assert_int_equal(redis_url_read("redis://user:secret@h", &url, &fail), CORE_BAD);
    assert_null(strstr(fail.text, "secret")); /* and it is not shown */
}

/* ---- a peer ------------------------------------------------------------------------------------------------------------------ */

/* Takes one connection after the other, answers each login, then says `answer`, piece by piece. */
static struct peer {
    char path[64];
    int fd;
    pthread_t thread;
    const char *answer;
    size_t answer_len;
    size_t piece;
    int connections;     /* to serve */
    bool closes;         /* behind the answer */
    _Atomic int late_ms; /* so long after each question: of the login, and ASK */
    _Atomic int closed;  /* connections that are over */
} peer;

static void swallow(int fd, const char *until) {
    char bytes[4096];
    size_t len = 0;
    bytes[0] = '\0';
    while (strstr(bytes, until) == NULL) {
        ssize_t got = read(fd, bytes + len, sizeof bytes - 1 - len);
        if (got <= 0) {
            return;
        }
        len += (size_t)got;
        bytes[len] = '\0';
    }
}

static void say(int fd, const char *text, size_t len) {
    while (len > 0) {
        ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);
        if (sent <= 0) {
            return;
        }
        text += sent, len -= (size_t)sent;
    }
}

static void *serve(void *ctx) {
    (void)ctx;
    for (int i = 0; i < peer.connections; i++) {
        int fd = accept(peer.fd, NULL, NULL);
        assert_true(fd >= 0);
        swallow(fd, "ROLE\r\n");
        usleep((unsigned)peer.late_ms * 1000);
        say(fd, "+OK\r\n+PONG\r\n*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
            strlen("+OK\r\n+PONG\r\n*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"));
        swallow(fd, "ASK");
        usleep((unsigned)peer.late_ms * 1000);
        for (size_t at = 0; at < peer.answer_len; at += peer.piece) {
            size_t left = peer.answer_len - at;
            say(fd, peer.answer + at, left < peer.piece ? left : peer.piece);
        }
        if (!peer.closes) {
            char byte;
            while (read(fd, &byte, 1) > 0) {
            }
        }
        close(fd);
        peer.closed++;
    }
    return NULL;
}

static void until_closed(int connections) {
    while (peer.closed < connections) {
        usleep(1000);
    }
}

static struct redis *asked(const char *answer, size_t len, size_t piece, bool closes, int connections) {
    static struct core_conf_item url;
    static struct enrich_redis_conf conf;
    static char text[80];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct redis *redis = NULL;
    snprintf(peer.path, sizeof peer.path, "/tmp/tapline-redis-test-%ld.sock", (long)getpid());
    unlink(peer.path);
    memcpy(address.sun_path, peer.path, sizeof peer.path);
    peer.answer = answer, peer.answer_len = len, peer.piece = piece, peer.closes = closes,
    peer.connections = connections, peer.closed = 0;
    peer.fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(peer.fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(peer.fd, 5), 0);
    assert_int_equal(pthread_create(&peer.thread, NULL, serve, NULL), 0);
    snprintf(text, sizeof text, "unix://%s", peer.path);
    url.value = text;
    conf = (struct enrich_redis_conf){.urls = {.items = &url, .len = 1}, .connect_timeout_ns = 5 * CORE_NS_PER_S};
    assert_int_equal(redis_new(&redis, &conf, true, &fail), CORE_OK);
    redis_begin(redis);
    REDIS_ASK(redis, "ASK");
    return redis;
}

static void done(struct redis *redis) {
    redis_free(redis);
    assert_int_equal(pthread_join(peer.thread, NULL), 0);
    close(peer.fd);
    unlink(peer.path);
    peer.late_ms = 0;
}

/* What goes on with the same connection finds none. */
static void expect_closed(struct redis *redis) {
    redis_continue(redis);
    REDIS_ASK(redis, "ASK");
    assert_int_equal(redis_exchange(redis, core_tick_ns() + CORE_NS_PER_S, &fail), CORE_NET);
    assert_non_null(strstr(fail.text, "in the middle of a change"));
}

static int64_t in_ms(int ms) {
    return core_tick_ns() + ms * CORE_NS_PER_MS;
}

static void test_an_answer_in_pieces_of_one_byte(void **state) {
    (void)state;
    static const char answer[] = "*5\r\n$5\r\na\r\n\0b\r\n:-7\r\n$-1\r\n*2\r\n+fine\r\n-ERR no\r\n$0\r\n\r\n";
    struct redis *redis = asked(answer, sizeof answer - 1, 1, false, 1);
    assert_int_equal(redis_exchange(redis, in_ms(20000), &fail), CORE_OK);
    const struct redis_reply *reply = redis_answer(redis, 0);
    assert_int_equal(reply->type, REDIS_ARRAY);
    assert_int_equal(reply->len, 5);
    assert_int_equal(reply->items[0]->text.len, 5);
    assert_memory_equal(reply->items[0]->text.ptr, "a\r\n\0b", 5);
    assert_int_equal(reply->items[1]->integer, -7);
    assert_int_equal(reply->items[2]->type, REDIS_NIL);
    assert_string_equal(reply->items[3]->items[0]->text.ptr, "fine");
    assert_int_equal(reply->items[3]->items[1]->type, REDIS_ERROR);
    assert_int_equal(reply->items[4]->text.len, 0);
    assert_int_equal(redis_refused(redis, reply, &fail), CORE_OK);
    assert_int_equal(redis_refused(redis, reply->items[3]->items[1], &fail), CORE_NET);
    done(redis);
}

static void test_no_answer_closes_the_connection(void **state) {
    (void)state;
    struct redis *redis = asked("$5\r\nab", 6, 6, false, 1);
    int64_t start_ns = core_tick_ns();
    assert_int_equal(redis_exchange(redis, in_ms(100), &fail), CORE_AGAIN);
    int64_t took_ms = (core_tick_ns() - start_ns) / CORE_NS_PER_MS;
    assert_true(took_ms >= 100 && took_ms < 20000); /* the peer waits for ever */
    expect_closed(redis);                           /* or the rest would answer the next question */
    done(redis);
}

static void expect_broken(const char *answer, size_t len, enum core_err err, const char *words) {
    struct redis *redis = asked(answer, len, len, true, 1);
    enum core_err got = redis_exchange(redis, in_ms(20000), &fail);
    if (got != err || strstr(fail.text, words) == NULL) {
        fail_msg("%.20s: error %d: %s", answer, got, fail.text);
    }
    expect_closed(redis);
    done(redis);
}

static void test_nonsense_is_said(void **state) {
    (void)state;
    expect_broken("HTTP/1.1 400 Bad Request\r\n\r\n", 28, CORE_NET, "does not answer as Redis does");
    expect_broken("$5\r\nab", 6, CORE_NET, "closed it");
    expect_broken("*2000000\r\n", 10, CORE_LIMIT, "longer than");
    expect_broken("$99999999999999999999\r\n", 23, CORE_NET, "does not answer as Redis does");
}

/* A bulk of 1 GiB is announced, and comes: at 64 MiB it is over. */
static void test_too_much_is_not_read(void **state) {
    (void)state;
    size_t len = 80 * CORE_MIB;
    char *answer = malloc(len);
    assert_non_null(answer);
    memset(answer, 'x', len);
    memcpy(answer, "$500000000\r\n", 12);
    struct redis *redis = asked(answer, len, CORE_MIB, true, 1);
    assert_int_equal(redis_exchange(redis, in_ms(30000), &fail), CORE_LIMIT);
    done(redis);
    free(answer);
}

/* An idle connection that ended is made again, but only where asking twice does no harm. */
static void test_a_connection_that_ended_is_made_again(void **state) {
    (void)state;
    struct redis *redis = asked("+OK\r\n", 5, 5, true, 2);
    assert_int_equal(redis_exchange(redis, in_ms(20000), &fail), CORE_OK);
    until_closed(1);
    redis_begin(redis);
    REDIS_ASK(redis, "ASK");
    assert_int_equal(redis_exchange(redis, in_ms(20000), &fail), CORE_OK);
    until_closed(2);
    redis_continue(redis);
    REDIS_ASK(redis, "ASK");
    assert_int_equal(redis_exchange(redis, in_ms(20000), &fail), CORE_NET);
    expect_closed(redis);
    done(redis); /* that there were two connections, too */
}

/* ---- little time ------------------------------------------------------------------------------------------------------------- */

/* How many looks it takes until it is there; *longest_ns: the one that took longest. */
static int looks_until_there(int64_t *longest_ns) {
    peer.late_ms = 500;
    struct redis *redis = asked("+OK\r\n", 5, 5, false, 1);
    int64_t start_ns = core_tick_ns();
    enum core_err err;
    int looks = 0;
    do {
        int64_t look_ns = core_tick_ns();
        err = redis_connect(redis, look_ns, &fail);
        look_ns = core_tick_ns() - look_ns;
        *longest_ns = look_ns > *longest_ns ? look_ns : *longest_ns;
        usleep(5000);
    } while (err == CORE_AGAIN && ++looks < 1000);
    assert_int_equal(err, CORE_OK);
    assert_true(core_tick_ns() - start_ns >= 500 * CORE_NS_PER_MS);
    assert_int_equal(redis_connect(redis, 0, &fail), CORE_OK);
    assert_int_equal(redis_exchange(redis, in_ms(20000), &fail), CORE_OK);
    done(redis);
    return looks;
}

/* Who never waits for it has a connection after some looks, and all the time for the question then. A machine that stands still
 * makes one look long; who waits does so each time. */
static void test_connecting_never_waits_and_goes_on(void **state) {
    (void)state;
    bool is_quick = false;
    for (int tries = 0; tries < 4 && !is_quick; tries++) {
        int64_t longest_ns = 0;
        int looks = looks_until_there(&longest_ns);
        is_quick = looks > 3 && longest_ns < 400 * CORE_NS_PER_MS;
    }
    assert_true(is_quick);
}

static void test_connecting_notices_that_the_other_side_closed_it(void **state) {
    (void)state;
    struct redis *redis = asked("+OK\r\n", 5, 5, true, 2);
    assert_int_equal(redis_exchange(redis, in_ms(20000), &fail), CORE_OK);
    until_closed(1);
    assert_int_equal(redis_connect(redis, in_ms(20000), &fail), CORE_OK);
    redis_continue(redis); /* asked once at most, so it would fail on the one that ended */
    REDIS_ASK(redis, "ASK");
    assert_int_equal(redis_exchange(redis, in_ms(20000), &fail), CORE_OK);
    done(redis);
}

/* A peer that is 1500 ms away, and a question that has 2500 ms: making the connection again leaves too little of them. */
static void test_a_connection_that_was_made_too_late_is_kept(void **state) {
    (void)state;
    struct redis *redis = asked("+OK\r\n", 5, 5, true, 2);
    assert_int_equal(redis_exchange(redis, in_ms(20000), &fail), CORE_OK);
    until_closed(1);
    peer.late_ms = 1500;
    redis_begin(redis);
    REDIS_ASK(redis, "ASK");
    assert_int_equal(redis_exchange(redis, in_ms(2500), &fail), CORE_AGAIN);
    assert_non_null(strstr(fail.text, "it is there again"));
    redis_begin(redis);
    REDIS_ASK(redis, "ASK");
    assert_int_equal(redis_exchange(redis, in_ms(20000), &fail), CORE_OK);
    done(redis); /* the peer has served two connections, and no third */
}

static void *stop_soon(void *stop_fd) {
    usleep(100000);
    assert_int_equal(eventfd_write(*(int *)stop_fd, 1), 0);
    return NULL;
}

static void test_a_stop_ends_what_waits(void **state) {
    (void)state;
    pthread_t thread;
    int stop_fd = eventfd(0, EFD_CLOEXEC);
    assert_true(stop_fd >= 0);
    struct redis *redis = asked("", 0, 1, false, 1);
    redis_stop_by(redis, stop_fd);
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, &stop_fd), 0);
    int64_t start_ns = core_tick_ns();
    assert_int_equal(redis_exchange(redis, in_ms(60000), &fail), CORE_AGAIN);
    assert_true(core_tick_ns() - start_ns < 30 * CORE_NS_PER_S);
    assert_non_null(strstr(fail.text, "ended on request"));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(redis_connect(redis, in_ms(60000), &fail), CORE_AGAIN); /* nor does anybody wait for a new one */
    assert_true(core_tick_ns() - start_ns < 30 * CORE_NS_PER_S);
    done(redis);
    close(stop_fd);
}

static void test_what_redis_says_no_with(void **state) {
    (void)state;
    static const struct {
        const char *says;
        enum core_err err;
        const char *help;
    } rows[] = {
        {"-MOVED 3999 127.0.0.1:6381\r\n", CORE_BAD, "Cluster"},
        {"-READONLY You can't write against a read only replica.\r\n", CORE_NET, "primary"},
        {"-LOADING Redis is loading the dataset in memory\r\n", CORE_NET, "try again"},
        {"-NOAUTH Authentication required.\r\n", CORE_BAD, "intel.redis.password"},
        {"-NOPERM this user has no permissions\r\n", CORE_BAD, "ACL user"},
        {"-OOM command not allowed when used memory > 'maxmemory'.\r\n", CORE_NET, "'maxmemory'; maxmemory is reached"},
        {"-BUSY Redis is busy running a script.\r\n", CORE_NET, "SCRIPT KILL"},
        {"-MISCONF Redis is configured to save RDB snapshots\r\n", CORE_NET, "disk"},
        {"-WRONGTYPE Operation against a key\r\n", CORE_BAD, "prefix"},
        {"-ERR something new\r\n", CORE_NET, "something new"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct redis *redis = asked(rows[i].says, strlen(rows[i].says), 4096, true, 1);
        assert_int_equal(redis_exchange(redis, in_ms(20000), &fail), CORE_OK); /* a no is an answer */
        assert_int_equal(redis_refused_any(redis, &fail), rows[i].err);
        if (strstr(fail.text, rows[i].help) == NULL) {
            fail_msg("%s: %s", rows[i].says, fail.text);
        }
        done(redis);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_an_answer_in_pieces_of_one_byte),
        cmocka_unit_test(test_no_answer_closes_the_connection),
        cmocka_unit_test(test_nonsense_is_said),
        cmocka_unit_test(test_too_much_is_not_read),
        cmocka_unit_test(test_a_connection_that_ended_is_made_again),
        cmocka_unit_test(test_connecting_never_waits_and_goes_on),
        cmocka_unit_test(test_connecting_notices_that_the_other_side_closed_it),
        cmocka_unit_test(test_a_connection_that_was_made_too_late_is_kept),
        cmocka_unit_test(test_a_stop_ends_what_waits),
        cmocka_unit_test(test_what_redis_says_no_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
