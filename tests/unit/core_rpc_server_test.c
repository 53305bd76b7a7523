/* Tests of core/rpc_server.c, rpc_client.c, rpc_conn.c and rpc_address.c: both ends in one loop, and ends that are not ours
 * (plain sockets), over real sockets.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/rpc.h"
#include "tests/unit/folder.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEADLINE_NS (20 * CORE_NS_PER_S)
#define TOKEN "7f3ac2b9"
#define NOBODY 65534

struct rig {
    struct core_loop *loop;
    struct core_rpc_server *server;
    struct core_rpc_client *client;
    struct core_arena arena;
    struct core_rpc_request *late; /* asked, and not answered yet */
    char folder[64];
    char path[96];
    int answers;
    int64_t code;
    char text[512]; /* of the last answer: its result's "text", or the error's words */
    int events;
    uint64_t seqs[4096];
    int progress;
    int closed;
    char why[1024];
    bool free_at_answer;
    bool free_at_close;
    bool ask_again; /* whenever an answer comes */
};

/* The member of an object that is a number. */
static long number_of(const struct core_json_tree *object, const char *key) {
    const struct core_json_tree *member = core_json_tree_get(object, key);
    assert_non_null(member);
    return strtol(member->text.ptr, NULL, 10);
}

/* ---- methods ------------------------------------------------------------------------------------------------------- */

static void put_text(char *room, size_t len, struct core_span text, struct core_span *out) {
    struct core_buf buf = {.start = room, .pos = room, .end = room + len};
    core_buf_span(&buf, CORE_SPAN("{\"text\":"));
    core_buf_string(&buf, text);
    core_buf_span(&buf, CORE_SPAN(",\n\"more\":[1,\n2]}")); /* newlines must not break the line */
    assert_false(buf.is_full);
    *out = core_buf_written(&buf);
}

static void call_echo(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    char room[4096];
    struct core_span json;
    (void)ctx;
    put_text(room, sizeof(room), core_json_tree_text(params, "text"), &json);
    core_rpc_result(request, json);
}

static void call_late(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct rig *rig = ctx;
    (void)params;
    assert_null(rig->late);
    rig->late = request;
    core_rpc_progress(request, CORE_SPAN("\"done\":1"));
}

static void call_refuse(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    (void)ctx;
    (void)params;
    core_rpc_refuse_with(request, CORE_RPC_REFUSED, CORE_SPAN("{\"state\":\"up\"}"), "it is %s \"already\"", "up");
}

/* A result of so many bytes. */
static void call_big(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    const size_t len = (size_t)number_of(params, "bytes");
    char *json = malloc(len);
    (void)ctx;
    assert_non_null(json);
    memset(json, 'x', len);
    json[0] = json[len - 1] = '"';
    core_rpc_result(request, (struct core_span){json, len});
    free(json);
}

static void call_who(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    char room[512];
    struct core_span json;
    (void)ctx;
    (void)params;
    put_text(room, sizeof(room), core_span_of(core_rpc_request_who(request)), &json);
    core_rpc_result(request, json);
}

/* Asks another server (this one) and runs the loop until it answers, while its own params are still needed. */
static void call_nested(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct rig *rig = ctx;
    struct core_rpc_client *client = NULL;
    static const struct core_rpc_client_calls calls = {0};
    struct core_rpc_answer answer;
    char room[512];
    struct core_span json;
    assert_int_equal(core_rpc_client_new(&client, rig->loop, rig->path, NULL, &calls, NULL, NULL), CORE_OK);
    assert_int_equal(core_rpc_call_wait(client, "echo", CORE_SPAN("{\"text\":\"inner inner inner\"}"), DEADLINE_NS,
                                        &rig->arena, &answer, NULL),
                     CORE_OK);
    assert_true(core_span_is(core_json_tree_text(answer.result, "text"), "inner inner inner"));
    core_rpc_client_free(client);
    put_text(room, sizeof(room), core_json_tree_text(params, "text"), &json);
    core_rpc_result(request, json);
}

static const struct core_rpc_method methods[] = {
    {"echo", "say it again", call_echo}, {"late", "answer when told to", call_late},
    {"refuse", "never", call_refuse},    {"big", "many bytes", call_big},
    {"who", "who asks", call_who},       {"nested", "ask somebody else first", call_nested},
};

/* ---- the rig ------------------------------------------------------------------------------------------------------- */

static struct core_rpc_server_conf conf_of(struct rig *rig) {
    return (struct core_rpc_server_conf){
        .service = "test",
        .version = "1.2.3",
        .path = rig->path,
        .inherited_fd = -1,
        .methods = methods,
        .methods_len = sizeof(methods) / sizeof(methods[0]),
        .ctx = rig,
    };
}

static void serve(struct rig *rig, const struct core_rpc_server_conf *conf) {
    struct core_fail fail = {0};
    if (core_rpc_server_new(&rig->server, rig->loop, conf, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
}

static int set_up(void **state) {
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    (void)snprintf(rig->folder, sizeof(rig->folder), "/tmp/tapline-rpc-XXXXXX");
    assert_non_null(mkdtemp(rig->folder));
    (void)snprintf(rig->path, sizeof(rig->path), "%s/s.sock", rig->folder);
    assert_int_equal(core_loop_new(&rig->loop, NULL), CORE_OK);
    assert_int_equal(core_arena_init(&rig->arena, 64 * CORE_MIB, NULL), CORE_OK);
    struct core_rpc_server_conf conf = conf_of(rig);
    serve(rig, &conf);
    *state = rig;
    return 0;
}

static int tear_down(void **state) {
    struct rig *rig = *state;
    core_rpc_client_free(rig->client);
    core_rpc_server_free(rig->server, false);
    core_loop_free(rig->loop);
    core_arena_destroy(&rig->arena);
    assert_int_not_equal(access(rig->path, F_OK), 0);
    folder_remove(rig->folder);
    free(rig);
    return 0;
}

static void rounds(struct rig *rig, int len) {
    for (int i = 0; i < len; i++) {
        assert_int_equal(core_loop_once(rig->loop, CORE_NS_PER_MS, NULL), CORE_OK);
    }
}

#define RUN_UNTIL(rig, condition)                                                                                      \
    do {                                                                                                               \
        const int64_t deadline_ns = core_tick_ns() + DEADLINE_NS;                                                      \
        while (!(condition)) {                                                                                         \
            assert_true(core_tick_ns() < deadline_ns);                                                                 \
            assert_int_equal(core_loop_once((rig)->loop, 10 * CORE_NS_PER_MS, NULL), CORE_OK);                         \
        }                                                                                                              \
    } while (0)

static int plain_connect(struct rig *rig) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    memcpy(address.sun_path, rig->path, strlen(rig->path) + 1);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static int tcp_connect(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void plain_send(int fd, const char *bytes, size_t len) {
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

#define PLAIN_SAY(fd, literal) plain_send((fd), (literal "\n"), sizeof(literal))

/* The next line without its end; "" when they closed. Static room: until the next call. */
static const char *plain_line(struct rig *rig, int fd) {
    static char line[65536];
    size_t len = 0;
    const int64_t deadline_ns = core_tick_ns() + DEADLINE_NS;
    while (len < sizeof(line) - 1) {
        ssize_t got = recv(fd, line + len, 1, 0);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) {
            break;
        }
        if (got < 0) {
            assert_int_equal(errno, EAGAIN);
            assert_true(core_tick_ns() < deadline_ns);
            rounds(rig, 1);
        } else if (line[len++] == '\n') {
            len--;
            break;
        }
    }
    line[len] = '\0';
    return line;
}

#define ASSERT_LINE(rig, fd, literal) assert_string_equal(plain_line((rig), (fd)), (literal))

static void assert_begins(const char *text, const char *with) {
    if (strncmp(text, with, strlen(with)) != 0) {
        fail_msg("%s does not begin with %s", text, with);
    }
}

/* ---- the client's side --------------------------------------------------------------------------------------------- */

static void on_answer(void *ctx, const struct core_rpc_answer *answer) {
    struct rig *rig = ctx;
    rig->answers++;
    rig->code = answer->code;
    const struct core_span text = answer->result == NULL ? answer->text : core_json_tree_text(answer->result, "text");
    (void)snprintf(rig->text, sizeof(rig->text), "%.*s", (int)text.len, text.ptr);
    if (rig->free_at_answer) {
        rig->free_at_answer = false;
        core_rpc_client_free(rig->client);
        rig->client = NULL;
    } else if (rig->ask_again) {
        (void)core_rpc_call(rig->client, "echo", CORE_SPAN("{}"), on_answer, rig);
    }
}

static void on_event(void *ctx, const struct core_json_tree *params) {
    struct rig *rig = ctx;
    rig->seqs[rig->events++] = strtoull(core_json_tree_get(params, "seq")->text.ptr, NULL, 10);
    assert_int_equal(core_json_tree_text(params, "time").len, 27);
}

static void on_progress(void *ctx, struct core_span id, const struct core_json_tree *params) {
    struct rig *rig = ctx;
    rig->progress++;
    assert_true(id.len > 0);
    assert_non_null(core_json_tree_get(params, "done"));
}

static void on_closed(void *ctx, const struct core_fail *why) {
    struct rig *rig = ctx;
    rig->closed++;
    if (rig->free_at_close) {
        core_rpc_client_free(rig->client);
        rig->client = NULL;
    }
    (void)snprintf(rig->why, sizeof(rig->why), "%s", why->text);
}

static const struct core_rpc_client_calls client_calls = {on_event, on_progress, on_closed};

static void connect_to(struct rig *rig, const char *address, const char *token) {
    struct core_fail fail = {0};
    if (core_rpc_client_new(&rig->client, rig->loop, address, token, &client_calls, rig, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
}

static void ask(struct rig *rig, const char *method, const char *params) {
    (void)core_rpc_call(rig->client, method, core_span_of(params), on_answer, rig);
}

/* ---- lines --------------------------------------------------------------------------------------------------------- */

static void test_lines_may_come_in_pieces_and_many_at_once(void **state) {
    static const char many[] =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"text\":\"a\"}}\n"
        "\n \r\n\t\n"
        "{\"jsonrpc\":\"2.0\",\"id\":\"two\",\"method\":\"echo\",\"params\":{\"text\":\"b\"}}\r\n"
        "{\"jsonrpc\":\"2.0\",\"method\":\"echo\"}\n"
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"echo\"}\n";
    struct rig *rig = *state;
    int fd = plain_connect(rig);
    for (int way = 0; way < 2; way++) {
        for (size_t i = 0; way == 0 && i < sizeof(many) - 1; i++) {
            plain_send(fd, many + i, 1);
            rounds(rig, i % 7 == 0);
        }
        if (way == 1) {
            plain_send(fd, many, sizeof(many) - 1);
        }
        ASSERT_LINE(rig, fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"text\":\"a\", \"more\":[1, 2]}}");
        ASSERT_LINE(rig, fd, "{\"jsonrpc\":\"2.0\",\"id\":\"two\",\"result\":{\"text\":\"b\", \"more\":[1, 2]}}");
        ASSERT_LINE(rig, fd, "{\"jsonrpc\":\"2.0\",\"id\":null,\"result\":{\"text\":\"\", \"more\":[1, 2]}}");
    }
    close(fd);
}

static void test_a_line_that_is_no_message_is_answered_and_the_next_one_too(void **state) {
    static const char nul[] = "{\"jsonrpc\":\0\"2.0\"}\n";
    struct rig *rig = *state;
    int fd = plain_connect(rig);
    PLAIN_SAY(fd, "GET / HTTP/1.1");
    assert_begins(plain_line(rig, fd),
                  "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"it is no JSON");
    PLAIN_SAY(fd, "[]");
    assert_begins(plain_line(rig, fd), "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,");
    plain_send(fd, nul, sizeof(nul) - 1);
    assert_begins(plain_line(rig, fd), "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,");
    PLAIN_SAY(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"no\\nsuch\"}");
    ASSERT_LINE(
        rig, fd,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"test has no method no\\nsuch\"}}");
    PLAIN_SAY(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}"); /* an answer to nothing: no word */
    PLAIN_SAY(fd, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"refuse\"}");
    ASSERT_LINE(rig, fd,
                "{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32000,\"message\":\"it is up "
                "\\\"already\\\"\",\"data\":{\"state\":\"up\"}}}");
    close(fd);
}

static void test_a_line_that_is_too_long_ends_the_connection(void **state) {
    struct rig *rig = *state;
    char *piece = malloc(65536);
    int fd = plain_connect(rig);
    size_t sent = 0;
    assert_non_null(piece);
    memset(piece, ' ', 65536);
    while (sent <= CORE_RPC_LINE_BYTES_MAX) {
        ssize_t len = send(fd, piece, 65536, MSG_NOSIGNAL);
        if (len < 0 && errno == EPIPE) {
            break; /* it had heard enough */
        }
        sent += len > 0 ? (size_t)len : 0;
        rounds(rig, 1);
    }
    assert_begins(plain_line(rig, fd),
                  "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"a line has at most");
    ASSERT_LINE(rig, fd, "");
    close(fd);
    free(piece);
}

static void test_who_says_no_more_still_gets_all_answers(void **state) {
    struct rig *rig = *state;
    int fd = plain_connect(rig);
    PLAIN_SAY(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"late\"}");
    static const char last[] =
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"echo\"}"; /* no end of line: printf … | socat */
    plain_send(fd, last, sizeof(last) - 1);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_begins(plain_line(rig, fd),
                  "{\"jsonrpc\":\"2.0\",\"method\":\"progress\",\"params\":{\"id\":1,\"done\":1}}");
    assert_begins(plain_line(rig, fd), "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\"");
    rounds(rig, 5);
    assert_non_null(rig->late);
    assert_false(core_rpc_request_is_gone(rig->late));
    core_rpc_result(rig->late, CORE_SPAN("7"));
    ASSERT_LINE(rig, fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}");
    ASSERT_LINE(rig, fd, "");
    close(fd);
}

/* ---- answers ------------------------------------------------------------------------------------------------------- */

static void test_answers_come_from_the_loop_only(void **state) {
    struct rig *rig = *state;
    connect_to(rig, rig->path, NULL);
    ask(rig, "echo", "{\"text\":\"hi \\u0001 \\\"there\\\"\"}");
    assert_int_equal(rig->answers, 0);
    RUN_UNTIL(rig, rig->answers == 1);
    assert_string_equal(rig->text, "hi \001 \"there\"");
    ask(rig, "hello", "");
    ask(rig, "refuse", "");
    assert_int_equal(rig->answers, 1);
    RUN_UNTIL(rig, rig->answers == 3);
    assert_int_equal(rig->code, CORE_RPC_REFUSED); /* in the order they were asked */
    assert_string_equal(rig->text, "it is up \"already\"");
}

static void test_hello_and_waiting_for_one_answer(void **state) {
    struct rig *rig = *state;
    struct core_rpc_answer answer;
    struct core_fail fail = {0};
    connect_to(rig, rig->path, NULL);
    assert_int_equal(core_rpc_call_wait(rig->client, "hello", CORE_SPAN(""), DEADLINE_NS, &rig->arena, &answer, &fail),
                     CORE_OK);
    assert_true(core_span_is(core_json_tree_text(answer.result, "service"), "test"));
    assert_true(core_span_is(core_json_tree_text(answer.result, "version"), "1.2.3"));
    assert_true(core_span_is(core_json_tree_text(answer.result, "instance"), core_rpc_server_instance(rig->server)));
    assert_int_equal(number_of(answer.result, "protocol"), CORE_RPC_PROTOCOL);
    assert_int_equal(number_of(answer.result, "pid"), getpid());
    assert_int_equal(core_rpc_call_wait(rig->client, "refuse", CORE_SPAN(""), 0, &rig->arena, &answer, &fail),
                     CORE_BAD);
    assert_int_equal(answer.code, CORE_RPC_REFUSED);
    assert_true(core_span_is(core_json_tree_text(answer.data, "state"), "up"));
    assert_string_equal(fail.text, "it is up \"already\"");
    assert_int_equal(
        core_rpc_call_wait(rig->client, "late", CORE_SPAN(""), 30 * CORE_NS_PER_MS, &rig->arena, &answer, &fail),
        CORE_NET);
    assert_non_null(rig->late);
    core_rpc_result(rig->late, CORE_SPAN("1")); /* nobody waits for it any more: no harm */
    rounds(rig, 5);
    assert_int_equal(rig->progress, 1);
    assert_int_equal(core_rpc_call_wait(rig->client, "nested", CORE_SPAN("{\"text\":\"outer\"}"), DEADLINE_NS,
                                        &rig->arena, &answer, &fail),
                     CORE_OK);
    assert_true(core_span_is(core_json_tree_text(answer.result, "text"), "outer"));
    struct core_arena small = {0};
    assert_int_equal(core_arena_init(&small, 1, NULL), CORE_OK); /* a page */
    const size_t page = small.cap;
    small.cap = 64;
    assert_int_equal(core_rpc_call_wait(rig->client, "echo", CORE_SPAN("{}"), DEADLINE_NS, &small, &answer, &fail),
                     CORE_LIMIT);
    small.cap = page;
    core_arena_destroy(&small);
    ask(rig, "who", "");
    RUN_UNTIL(rig, rig->answers == 1);
    char who[64];
    (void)snprintf(who, sizeof(who), "pid %d", getpid());
    assert_non_null(strstr(rig->text, who));
    (void)snprintf(who, sizeof(who), "uid %d", (int)getuid());
    assert_begins(rig->text, who);
}

static void test_an_answer_to_somebody_who_has_gone_goes_nowhere(void **state) {
    struct rig *rig = *state;
    connect_to(rig, rig->path, NULL);
    ask(rig, "late", "{\"text\":1}");
    RUN_UNTIL(rig, rig->late != NULL && rig->progress == 1);
    assert_false(core_rpc_request_is_gone(rig->late));
    core_rpc_client_free(rig->client);
    rig->client = NULL;
    RUN_UNTIL(rig, core_rpc_request_is_gone(rig->late));
    core_rpc_progress(rig->late, CORE_SPAN("\"done\":2"));
    assert_begins(core_rpc_request_who(rig->late), "uid ");
    core_rpc_refuse(rig->late, CORE_RPC_FAILED, "too late");
    rounds(rig, 3);
    assert_int_equal(rig->answers, 0);
    rig->late = NULL;
    connect_to(rig, rig->path, NULL); /* the same when the server has gone before its method is done */
    ask(rig, "late", "");
    RUN_UNTIL(rig, rig->late != NULL);
    core_rpc_server_free(rig->server, false);
    rig->server = NULL;
    assert_true(core_rpc_request_is_gone(rig->late));
    core_rpc_result(rig->late, CORE_SPAN("1"));
    RUN_UNTIL(rig, rig->closed == 1);
    assert_int_equal(rig->answers, 1);
    assert_int_equal(rig->code, 0);
    assert_non_null(strstr(rig->text, rig->path));
}

static void test_after_the_end_calls_are_answered_from_the_loop_with_why(void **state) {
    struct rig *rig = *state;
    struct core_fail fail = {0};
    struct core_rpc_answer answer;
    connect_to(rig, rig->path, NULL);
    ask(rig, "echo", "");
    RUN_UNTIL(rig, rig->answers == 1);
    core_rpc_server_free(rig->server, false);
    rig->server = NULL;
    rig->ask_again = true;
    ask(rig, "echo", "");
    ask(rig, "echo", "");
    RUN_UNTIL(rig, rig->closed == 1);
    assert_true(rig->answers >= 3);
    rig->ask_again = false;
    rounds(rig, 3);
    const int before = rig->answers;
    ask(rig, "echo", "");
    assert_int_equal(rig->answers, before);
    RUN_UNTIL(rig, rig->answers == before + 1);
    assert_int_equal(core_rpc_call_wait(rig->client, "echo", CORE_SPAN(""), DEADLINE_NS, &rig->arena, &answer, &fail),
                     CORE_NET);
    assert_true(fail.text[0] != '\0');
    assert_int_equal(rig->closed, 1);
    core_rpc_client_free(rig->client);
    rig->client = NULL;
    assert_int_equal(core_rpc_client_new(&rig->client, rig->loop, rig->path, NULL, &client_calls, rig, &fail),
                     CORE_NET);
    assert_non_null(strstr(fail.text, "start it"));
}

static void test_a_client_may_be_freed_from_its_own_answer(void **state) {
    struct rig *rig = *state;
    connect_to(rig, rig->path, NULL);
    rig->free_at_answer = true;
    for (int i = 0; i < 3; i++) {
        ask(rig, "echo", "");
    }
    RUN_UNTIL(rig, rig->client == NULL);
    rounds(rig, 5);
    assert_int_equal(rig->answers, 1);
    connect_to(rig, rig->path, NULL); /* and when that answer is that the server has gone */
    rig->free_at_answer = true;
    for (int i = 0; i < 3; i++) {
        ask(rig, "late", "");
    }
    core_rpc_server_free(rig->server, false);
    rig->server = NULL;
    RUN_UNTIL(rig, rig->client == NULL);
    rounds(rig, 5);
    assert_int_equal(rig->answers, 2);
    assert_int_equal(rig->closed, 0);
}

static void test_a_client_may_be_freed_when_it_is_closed(void **state) {
    struct rig *rig = *state;
    struct core_rpc_answer answer;
    connect_to(rig, rig->path, NULL);
    ask(rig, "echo", "");
    RUN_UNTIL(rig, rig->answers == 1);
    rig->free_at_close = true;
    core_rpc_server_free(rig->server, false);
    rig->server = NULL;
    assert_int_equal(core_rpc_call_wait(rig->client, "echo", CORE_SPAN(""), DEADLINE_NS, &rig->arena, &answer, NULL),
                     CORE_NET); /* it is freed while this waits, after it was answered */
    RUN_UNTIL(rig, rig->closed == 1);
    assert_null(rig->client);
}

static void test_methods_tells_the_table(void **state) {
    struct rig *rig = *state;
    int fd = plain_connect(rig);
    PLAIN_SAY(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"methods\"}");
    assert_begins(plain_line(rig, fd),
                  "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"methods\":[{\"name\":\"echo\",\"summary\":"
                  "\"say it again\"},{\"name\":\"late\",");
    close(fd);
}

static void test_what_is_longer_than_a_line_is_refused_on_both_sides(void **state) {
    struct rig *rig = *state;
    char params[64];
    char *text = calloc(1, CORE_RPC_LINE_BYTES_MAX + 1);
    assert_non_null(text);
    connect_to(rig, rig->path, NULL);
    (void)snprintf(params, sizeof(params), "{\"bytes\":%zu}", CORE_RPC_LINE_BYTES_MAX - 600);
    ask(rig, "big", params);
    RUN_UNTIL(rig, rig->answers == 1);
    assert_int_equal(rig->code, 0);
    (void)snprintf(params, sizeof(params), "{\"bytes\":%zu}", CORE_RPC_LINE_BYTES_MAX);
    ask(rig, "big", params);
    RUN_UNTIL(rig, rig->answers == 2);
    assert_int_equal(rig->code, CORE_RPC_INTERNAL);
    memset(text, ' ', CORE_RPC_LINE_BYTES_MAX);
    text[0] = '[';
    text[1] = ']';
    ask(rig, "echo", text);
    assert_int_equal(rig->answers, 2);
    RUN_UNTIL(rig, rig->answers == 3);
    assert_int_equal(rig->code, CORE_RPC_INVALID);
    ask(rig, "echo", ""); /* and on it goes */
    RUN_UNTIL(rig, rig->answers == 4);
    assert_int_equal(rig->code, 0);
    free(text);
}

static void test_who_does_not_read_is_let_go(void **state) {
    struct rig *rig = *state;
    int fd = plain_connect(rig);
    connect_to(rig, rig->path, NULL);
    ask(rig, "echo", "");
    RUN_UNTIL(rig, rig->answers == 1);
    for (int i = 0; i < 8; i++) { /* 8 MB that nobody takes */
        PLAIN_SAY(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"big\",\"params\":{\"bytes\":1000000}}");
    }
    static char taken[65536];
    size_t total = 0;
    rounds(rig, 20);
    ssize_t len = 0;
    while ((len = recv(fd, taken, sizeof(taken), 0)) > 0) {
        total += (size_t)len;
    }
    assert_true(len == 0 || errno == ECONNRESET); /* closed, not waiting */
    assert_true(total < 8 * 1000000);
    close(fd);
    ask(rig, "echo", ""); /* others do not notice */
    RUN_UNTIL(rig, rig->answers == 2);
}

static void test_requests_under_way_have_a_limit(void **state) {
    struct rig *rig = *state;
    int fd = plain_connect(rig);
    struct core_rpc_request *kept[300] = {0};
    int len = 0;
    for (; len < 300; len++) {
        PLAIN_SAY(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"late\"}");
        const char *line = plain_line(rig, fd);
        if (strstr(line, "progress") == NULL) {
            assert_non_null(strstr(line, "-32000"));
            break;
        }
        kept[len] = rig->late;
        rig->late = NULL;
    }
    assert_int_equal(len, 256);
    for (int i = 0; i < len; i++) {
        core_rpc_result(kept[(i * 7) % 256], CORE_SPAN("1"));
    }
    for (int i = 0; i < len; i++) {
        ASSERT_LINE(rig, fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}");
    }
    close(fd);
}

static void test_peers_have_a_limit_and_places_are_free_again(void **state) {
    struct rig *rig = *state;
    int fds[CORE_RPC_PEERS_MAX];
    for (int i = 0; i < CORE_RPC_PEERS_MAX; i++) {
        fds[i] = plain_connect(rig);
        PLAIN_SAY(fds[i], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}");
        assert_begins(plain_line(rig, fds[i]), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\"");
    }
    int more = plain_connect(rig);
    assert_begins(plain_line(rig, more),
                  "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"as many");
    ASSERT_LINE(rig, more, "");
    close(more);
    connect_to(rig, rig->path, NULL); /* our own client says so, too */
    RUN_UNTIL(rig, rig->closed == 1);
    assert_non_null(strstr(rig->why, "as many"));
    close(fds[3]);
    rounds(rig, 5);
    fds[3] = plain_connect(rig);
    PLAIN_SAY(fds[3], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}");
    assert_begins(plain_line(rig, fds[3]), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\"");
    for (int i = 0; i < CORE_RPC_PEERS_MAX; i++) {
        close(fds[i]);
    }
}

/* ---- events -------------------------------------------------------------------------------------------------------- */

static void tell(struct rig *rig, int len) {
    for (int i = 0; i < len; i++) {
        core_rpc_event(rig->server, CORE_SPAN("\"kind\":\"state\",\n\"name\":\"a\""));
    }
}

/* Subscribed anew: what came. */
static void subscribe(struct rig *rig, const char *params, const char *first, const char *next) {
    struct core_rpc_answer answer;
    core_rpc_client_free(rig->client);
    rig->events = 0;
    connect_to(rig, rig->path, NULL);
    assert_int_equal(core_rpc_call_wait(rig->client, "events.subscribe", core_span_of(params), DEADLINE_NS, &rig->arena,
                                        &answer, NULL),
                     CORE_OK);
    assert_true(core_span_is(core_json_tree_get(answer.result, "first")->text, first));
    assert_true(core_span_is(core_json_tree_get(answer.result, "next")->text, next));
    assert_true(core_span_is(core_json_tree_text(answer.result, "instance"), core_rpc_server_instance(rig->server)));
}

static void assert_events(struct rig *rig, uint64_t first, int len) {
    RUN_UNTIL(rig, rig->events >= len);
    rounds(rig, 3);
    assert_int_equal(rig->events, len);
    for (int i = 0; i < len; i++) {
        assert_int_equal(rig->seqs[i], first + (uint64_t)i);
    }
}

static void test_events_are_kept_for_those_who_come_late(void **state) {
    struct rig *rig = *state;
    assert_int_equal(core_rpc_server_next_seq(rig->server), 1);
    subscribe(rig, "{\"since\":0}", "1", "1");
    tell(rig, 3);
    assert_events(rig, 1, 3);
    assert_int_equal(core_rpc_server_subscribers(rig->server), 1);
    subscribe(rig, "", "1", "4"); /* only what comes */
    tell(rig, 1);
    assert_events(rig, 4, 1);
    subscribe(rig, "{\"since\":2}", "1", "5");
    assert_events(rig, 3, 2);
    subscribe(rig, "{\"since\":4}", "1", "5");
    assert_events(rig, 0, 0);
    tell(rig, CORE_RPC_EVENTS_KEPT);
    assert_events(rig, 5, CORE_RPC_EVENTS_KEPT);
    subscribe(rig, "{\"since\":2}", "5", "1029"); /* 3 and 4 are lost to it, and it can tell */
    assert_events(rig, 5, CORE_RPC_EVENTS_KEPT);
    ask(rig, "events.unsubscribe", "");
    RUN_UNTIL(rig, rig->answers == 1);
    tell(rig, 1);
    assert_events(rig, 5, CORE_RPC_EVENTS_KEPT);
    assert_int_equal(core_rpc_server_subscribers(rig->server), 0);
    ask(rig, "events.subscribe", "{\"since\":-1}");
    RUN_UNTIL(rig, rig->answers == 2);
    assert_int_equal(rig->code, CORE_RPC_BAD_PARAMS);
}

static void test_after_another_run_all_that_is_kept_follows(void **state) {
    struct rig *rig = *state;
    tell(rig, 5);
    subscribe(rig, "{\"since\":3,\"instance\":\"of another run\"}", "1", "6");
    assert_events(rig, 1, 5);
    subscribe(rig, "{\"since\":4711}", "1", "6");
    assert_events(rig, 1, 5);
    char params[128];
    (void)snprintf(params, sizeof(params), "{\"since\":3,\"instance\":\"%s\"}", core_rpc_server_instance(rig->server));
    subscribe(rig, params, "1", "6");
    assert_events(rig, 4, 2);
}

static void test_events_that_are_kept_are_bounded_in_bytes_too(void **state) {
    struct rig *rig = *state;
    static const char head[] = "\"a\":\"";
    const size_t len = 60000;
    char *members = malloc(len + 2 * 65536);
    assert_non_null(members);
    memset(members, 'x', len + 2 * 65536);
    memcpy(members, head, sizeof(head) - 1);
    members[len - 1] = '"';
    for (int i = 0; i < 40; i++) {
        core_rpc_event(rig->server, (struct core_span){members, len});
    }
    core_rpc_event(rig->server, (struct core_span){members, len + 2 * 65536}); /* told as too long */
    struct core_rpc_answer answer;
    connect_to(rig, rig->path, NULL);
    assert_int_equal(core_rpc_call_wait(rig->client, "events.subscribe", CORE_SPAN("{\"since\":0}"), DEADLINE_NS,
                                        &rig->arena, &answer, NULL),
                     CORE_OK);
    const int first = (int)number_of(answer.result, "first");
    assert_true(first > 20 && first < 30); /* a mebibyte of them */
    assert_events(rig, (uint64_t)first, 42 - first);
    free(members);
}

/* ---- who may speak ------------------------------------------------------------------------------------------------- */

static void serve_tcp(struct rig *rig, char address[64]) {
    core_rpc_server_free(rig->server, false);
    struct core_rpc_server_conf conf = conf_of(rig);
    conf.listen = "127.0.0.1:0";
    conf.token = TOKEN;
    serve(rig, &conf);
    assert_true(core_rpc_server_port(rig->server) > 0);
    (void)snprintf(address, 64, "tcp:127.0.0.1:%d", core_rpc_server_port(rig->server));
}

static void test_over_tcp_the_token_opens(void **state) {
    struct rig *rig = *state;
    char address[64];
    serve_tcp(rig, address);
    connect_to(rig, address, TOKEN);
    ask(rig, "who", "");
    RUN_UNTIL(rig, rig->answers == 1);
    assert_begins(rig->text, "127.0.0.1:");
    core_rpc_client_free(rig->client);
    connect_to(rig, address, TOKEN "0");
    ask(rig, "who", "");
    RUN_UNTIL(rig, rig->closed == 1);
    assert_int_equal(rig->code, 0);
    assert_non_null(strstr(rig->why, "not the token"));
    core_rpc_client_free(rig->client);
    connect_to(rig, address, NULL);
    ask(rig, "who", "");
    RUN_UNTIL(rig, rig->closed == 2);
    assert_int_equal(rig->code, CORE_RPC_DENIED);
    int fd = tcp_connect(core_rpc_server_port(rig->server));
    PLAIN_SAY(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\"}");
    assert_begins(plain_line(rig, fd), "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32002,");
    ASSERT_LINE(rig, fd, "");
    close(fd);
    fd = tcp_connect(core_rpc_server_port(rig->server));
    PLAIN_SAY(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"auth\",\"params\":{\"token\":7}}");
    assert_begins(plain_line(rig, fd), "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32002,");
    ASSERT_LINE(rig, fd, "");
    close(fd);
    fd = tcp_connect(core_rpc_server_port(rig->server));
    PLAIN_SAY(fd, "no message"); /* nor may strangers go on guessing */
    assert_begins(plain_line(rig, fd), "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,");
    ASSERT_LINE(rig, fd, "");
    close(fd);
}

static void test_strangers_do_not_keep_others_out(void **state) {
    struct rig *rig = *state;
    char address[64];
    int fds[CORE_RPC_PEERS_MAX];
    serve_tcp(rig, address);
    for (int i = 0; i < CORE_RPC_PEERS_MAX; i++) {
        fds[i] = tcp_connect(core_rpc_server_port(rig->server));
        rounds(rig, 1);
    }
    connect_to(rig, rig->path, NULL);
    ask(rig, "echo", "");
    RUN_UNTIL(rig, rig->answers == 1);
    assert_int_equal(rig->closed, 0); /* so it was an answer, not the end */
    for (int i = 0; i < CORE_RPC_PEERS_MAX; i++) {
        close(fds[i]);
    }
}

static void test_tcp_is_for_the_loopback_and_with_a_token(void **state) {
    static const struct {
        const char *listen;
        const char *token;
        const char *why;
    } rows[] = {
        {"0.0.0.0:0", TOKEN, "loopback"}, {"[::]:0", TOKEN, "loopback"}, {"10.0.0.1:7700", TOKEN, "loopback"},
        {"127.0.0.1:0", NULL, "token"},   {"127.0.0.1:0", "", "token"},  {"7700", TOKEN, "port"},
    };
    struct rig *rig = *state;
    core_rpc_server_free(rig->server, false);
    rig->server = NULL;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct core_rpc_server_conf conf = conf_of(rig);
        struct core_fail fail = {0};
        conf.listen = rows[i].listen;
        conf.token = rows[i].token;
        assert_int_equal(core_rpc_server_new(&rig->server, rig->loop, &conf, &fail), CORE_BAD);
        assert_non_null(strstr(fail.text, rows[i].why));
        assert_int_not_equal(access(rig->path, F_OK), 0); /* nothing is left behind */
    }
}

/* What a process of this user (and this supplementary group) is answered, up to its second line; "" if it cannot connect. */
static void ask_as(struct rig *rig, uid_t uid, gid_t group, char out[1024]) {
    int ends[2];
    size_t len = 0;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char text[1024];
        ssize_t got = 0;
        memcpy(address.sun_path, rig->path, strlen(rig->path) + 1);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (setgroups(group == 0 ? 0 : 1, &group) != 0 || setgid(NOBODY) != 0 || setuid(uid) != 0 ||
            connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
            _exit(1);
        }
        static const char question[] = "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"who\"}\n";
        (void)!write(fd, question, sizeof(question) - 1);
        (void)shutdown(fd, SHUT_WR);
        while ((got = read(fd, text, sizeof(text))) > 0) {
            (void)!write(ends[1], text, (size_t)got);
        }
        _exit(0);
    }
    close(ends[1]);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    const int64_t deadline_ns = core_tick_ns() + DEADLINE_NS;
    for (ssize_t got = -1; got != 0;) {
        assert_true(core_tick_ns() < deadline_ns);
        rounds(rig, 1);
        got = read(ends[0], out + len, 1023 - len);
        len += got > 0 ? (size_t)got : 0;
    }
    out[len] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_other_users_are_denied_and_members_of_the_group_let_in(void **state) {
    struct rig *rig = *state;
    char said[1024];
    if (geteuid() != 0) {
        skip();
    }
    struct group *group = getgrnam("daemon");
    if (group == NULL) {
        skip();
    }
    const gid_t gid = group->gr_gid;
    assert_int_equal(chmod(rig->folder, 0755), 0);
    assert_int_equal(chmod(rig->path, 0666), 0); /* the file lets them in; we do not */
    ask_as(rig, NOBODY, 0, said);
    assert_begins(said, "{\"jsonrpc\":\"2.0\",\"id\":9,\"error\":{\"code\":-32002,");
    assert_non_null(strstr(said, "uid 65534"));
    core_rpc_server_free(rig->server, false);
    struct core_rpc_server_conf conf = conf_of(rig);
    conf.group = "daemon";
    serve(rig, &conf);
    struct stat made;
    assert_int_equal(stat(rig->path, &made), 0);
    assert_int_equal(made.st_mode & 07777, 0660);
    assert_int_equal(made.st_gid, gid);
    ask_as(rig, NOBODY, 0, said);
    assert_string_equal(said, ""); /* the file does not let them in */
    ask_as(rig, NOBODY, gid, said);
    assert_begins(said, "{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{\"text\":\"uid 65534");
    assert_int_equal(chmod(rig->path, 0666), 0);
    ask_as(rig, NOBODY, 0, said);
    assert_begins(said, "{\"jsonrpc\":\"2.0\",\"id\":9,\"error\":{\"code\":-32002,");
    ask_as(rig, NOBODY, gid + 1, said); /* a member of another */
    assert_begins(said, "{\"jsonrpc\":\"2.0\",\"id\":9,\"error\":{\"code\":-32002,");
    struct core_rpc_server *another = NULL;
    struct core_fail fail = {0};
    conf.group = "no-such-group-here";
    assert_int_equal(core_rpc_server_new(&another, rig->loop, &conf, &fail), CORE_BAD);
    assert_non_null(strstr(fail.text, "groupadd"));
}

/* ---- the socket file ----------------------------------------------------------------------------------------------- */

static void test_a_socket_somebody_answers_on_is_theirs(void **state) {
    struct rig *rig = *state;
    struct core_rpc_server *another = NULL;
    struct core_rpc_server_conf conf = conf_of(rig);
    struct core_fail fail = {0};
    assert_int_equal(core_rpc_server_new(&another, rig->loop, &conf, &fail), CORE_LOCKED);
    assert_null(another);
    connect_to(rig, rig->path, NULL); /* it is still there */
    ask(rig, "echo", "");
    RUN_UNTIL(rig, rig->answers == 1);
}

static void test_a_socket_nobody_answers_on_is_replaced_and_other_files_are_not(void **state) {
    struct rig *rig = *state;
    struct core_rpc_server_conf conf = conf_of(rig);
    struct core_fail fail = {0};
    int fd = core_rpc_server_fd(rig->server);
    core_rpc_server_free(rig->server, true); /* as if it had been killed: the file stays */
    close(fd);
    rig->server = NULL;
    assert_int_equal(access(rig->path, F_OK), 0);
    assert_int_equal(core_rpc_client_new(&rig->client, rig->loop, rig->path, NULL, &client_calls, rig, &fail),
                     CORE_NET);
    serve(rig, &conf);
    connect_to(rig, rig->path, NULL);
    ask(rig, "echo", "");
    RUN_UNTIL(rig, rig->answers == 1);
    core_rpc_server_free(rig->server, false);
    rig->server = NULL;
    fd = open(rig->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    assert_int_equal(core_rpc_server_new(&rig->server, rig->loop, &conf, &fail), CORE_BAD);
    assert_int_equal(unlink(rig->path), 0);
    conf.path = "/nonexistent/s.sock";
    assert_int_equal(core_rpc_server_new(&rig->server, rig->loop, &conf, &fail), CORE_IO);
}

static void test_a_listening_socket_outlives_its_server(void **state) {
    struct rig *rig = *state;
    struct core_rpc_server_conf conf = conf_of(rig);
    char instance[64];
    tell(rig, 6);
    (void)snprintf(instance, sizeof(instance), "%s", core_rpc_server_instance(rig->server));
    int fd = core_rpc_server_fd(rig->server);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    core_rpc_server_free(rig->server, true);
    rig->server = NULL;
    connect_to(rig, rig->path, NULL); /* while nobody takes it */
    ask(rig, "events.subscribe", "{\"since\":2}");
    rounds(rig, 3);
    assert_int_equal(rig->answers, 0);
    assert_int_equal(fcntl(fd, F_SETFD, 0), 0); /* as through an exec */
    conf.inherited_fd = fd;
    conf.next_seq = 7;
    conf.instance = instance;
    serve(rig, &conf);
    assert_int_equal(core_rpc_server_fd(rig->server), fd);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    RUN_UNTIL(rig, rig->answers == 1);
    assert_string_equal(core_rpc_server_instance(rig->server), instance);
    tell(rig, 1);
    assert_events(rig, 7, 1);
    struct core_rpc_server *another = NULL;
    struct core_fail fail = {0};
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    conf.inherited_fd = ends[0];
    assert_int_equal(core_rpc_server_new(&another, rig->loop, &conf, &fail), CORE_BAD);
    assert_int_equal(close(ends[0]), 0); /* still ours */
    close(ends[1]);
}

/* ---- a server that is not ours ------------------------------------------------------------------------------------- */

static void test_a_client_ends_with_who_does_not_speak_its_language(void **state) {
    static const char *const said[] = {"SSH-2.0-OpenSSH_9.2\r\n", "{\"jsonrpc\":\"1.0\"}\n", NULL};
    struct rig *rig = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/other.sock", rig->folder);
    int door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(door, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(door, 1), 0);
    for (int i = 0; i < 3; i++) {
        connect_to(rig, address.sun_path, NULL);
        ask(rig, "echo", "");
        int fd = accept4(door, NULL, NULL, SOCK_CLOEXEC);
        if (said[i] != NULL) {
            plain_send(fd, said[i], strlen(said[i]));
        } else {
            char *text = malloc(CORE_RPC_LINE_BYTES_MAX + 1);
            assert_non_null(text);
            memset(text, ' ', CORE_RPC_LINE_BYTES_MAX + 1);
            for (size_t sent = 0; sent <= CORE_RPC_LINE_BYTES_MAX && rig->closed == i; rounds(rig, 1)) {
                ssize_t len = send(fd, text, CORE_RPC_LINE_BYTES_MAX + 1 - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
                sent += len > 0 ? (size_t)len : 0;
            }
            free(text);
        }
        RUN_UNTIL(rig, rig->closed == i + 1);
        assert_int_equal(rig->answers, i + 1);
        assert_non_null(strstr(rig->why, said[i] == NULL ? "line of more" : "protocol"));
        core_rpc_client_free(rig->client);
        rig->client = NULL;
        close(fd);
    }
    close(door);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        ROW(test_lines_may_come_in_pieces_and_many_at_once),
        ROW(test_a_line_that_is_no_message_is_answered_and_the_next_one_too),
        ROW(test_a_line_that_is_too_long_ends_the_connection),
        ROW(test_who_says_no_more_still_gets_all_answers),
        ROW(test_answers_come_from_the_loop_only),
        ROW(test_hello_and_waiting_for_one_answer),
        ROW(test_an_answer_to_somebody_who_has_gone_goes_nowhere),
        ROW(test_after_the_end_calls_are_answered_from_the_loop_with_why),
        ROW(test_a_client_may_be_freed_from_its_own_answer),
        ROW(test_a_client_may_be_freed_when_it_is_closed),
        ROW(test_methods_tells_the_table),
        ROW(test_what_is_longer_than_a_line_is_refused_on_both_sides),
        ROW(test_who_does_not_read_is_let_go),
        ROW(test_requests_under_way_have_a_limit),
        ROW(test_peers_have_a_limit_and_places_are_free_again),
        ROW(test_events_are_kept_for_those_who_come_late),
        ROW(test_after_another_run_all_that_is_kept_follows),
        ROW(test_events_that_are_kept_are_bounded_in_bytes_too),
        ROW(test_over_tcp_the_token_opens),
        ROW(test_strangers_do_not_keep_others_out),
        ROW(test_tcp_is_for_the_loopback_and_with_a_token),
        ROW(test_other_users_are_denied_and_members_of_the_group_let_in),
        ROW(test_a_socket_somebody_answers_on_is_theirs),
        ROW(test_a_socket_nobody_answers_on_is_replaced_and_other_files_are_not),
        ROW(test_a_listening_socket_outlives_its_server),
        ROW(test_a_client_ends_with_who_does_not_speak_its_language),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
