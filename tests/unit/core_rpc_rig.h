/* tests/unit/core_rpc_rig.h: a server of the control channel in a folder of its own, both ends over real sockets, and ends that are
 * not ours: for its tests.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_CORE_RPC_RIG_H
#define TAPLINE_TESTS_CORE_RPC_RIG_H

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
static inline long number_of(const struct core_json_tree *object, const char *key) {
    const struct core_json_tree *member = core_json_tree_get(object, key);
    assert_non_null(member);
    return strtol(member->text.ptr, NULL, 10);
}

/* ---- methods ------------------------------------------------------------------------------------------------------- */

static inline void put_text(char *room, size_t len, struct core_span text, struct core_span *out) {
    struct core_buf buf = {.start = room, .pos = room, .end = room + len};
    core_buf_span(&buf, CORE_SPAN("{\"text\":"));
    core_buf_string(&buf, text);
    core_buf_span(&buf, CORE_SPAN(",\n\"more\":[1,\n2]}")); /* newlines must not break the line */
    assert_false(buf.is_full);
    *out = core_buf_written(&buf);
}

static inline void call_echo(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    char room[4096];
    struct core_span json;
    (void)ctx;
    put_text(room, sizeof(room), core_json_tree_text(params, "text"), &json);
    core_rpc_result(request, json);
}

static inline void call_late(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct rig *rig = ctx;
    (void)params;
    assert_null(rig->late);
    rig->late = request;
    core_rpc_progress(request, CORE_SPAN("\"done\":1"));
}

static inline void call_refuse(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    (void)ctx;
    (void)params;
    core_rpc_refuse_with(request, CORE_RPC_REFUSED, CORE_SPAN("{\"state\":\"up\"}"), "it is %s \"already\"", "up");
}

/* A result of so many bytes. */
static inline void call_big(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    const size_t len = (size_t)number_of(params, "bytes");
    char *json = malloc(len);
    (void)ctx;
    assert_non_null(json);
    memset(json, 'x', len);
    json[0] = json[len - 1] = '"';
    core_rpc_result(request, (struct core_span){json, len});
    free(json);
}

static inline void call_who(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    char room[512];
    struct core_span json;
    (void)ctx;
    (void)params;
    put_text(room, sizeof(room), core_span_of(core_rpc_request_who(request)), &json);
    core_rpc_result(request, json);
}

/* Asks another server (this one) and runs the loop until it answers, while its own params are still needed. */
static inline void call_nested(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
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

static inline struct core_rpc_server_conf conf_of(struct rig *rig) {
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

static inline void serve(struct rig *rig, const struct core_rpc_server_conf *conf) {
    struct core_fail fail = {0};
    if (core_rpc_server_new(&rig->server, rig->loop, conf, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
}

static inline int set_up(void **state) {
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

static inline int tear_down(void **state) {
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

static inline void rounds(struct rig *rig, int len) {
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

static inline int plain_connect(struct rig *rig) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    memcpy(address.sun_path, rig->path, strlen(rig->path) + 1);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static inline int tcp_connect(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static inline void plain_send(int fd, const char *bytes, size_t len) {
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

static inline void assert_begins(const char *text, const char *with) {
    if (strncmp(text, with, strlen(with)) != 0) {
        fail_msg("%s does not begin with %s", text, with);
    }
}

/* ---- the client's side --------------------------------------------------------------------------------------------- */

static inline void on_answer(void *ctx, const struct core_rpc_answer *answer) {
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

static inline void on_event(void *ctx, const struct core_json_tree *params) {
    struct rig *rig = ctx;
    rig->seqs[rig->events++] = strtoull(core_json_tree_get(params, "seq")->text.ptr, NULL, 10);
    assert_int_equal(core_json_tree_text(params, "time").len, 27);
}

static inline void on_progress(void *ctx, struct core_span id, const struct core_json_tree *params) {
    struct rig *rig = ctx;
    rig->progress++;
    assert_true(id.len > 0);
    assert_non_null(core_json_tree_get(params, "done"));
}

static inline void on_closed(void *ctx, const struct core_fail *why) {
    struct rig *rig = ctx;
    rig->closed++;
    if (rig->free_at_close) {
        core_rpc_client_free(rig->client);
        rig->client = NULL;
    }
    (void)snprintf(rig->why, sizeof(rig->why), "%s", why->text);
}

static const struct core_rpc_client_calls client_calls = {on_event, on_progress, on_closed};

static inline void connect_to(struct rig *rig, const char *address, const char *token) {
    struct core_fail fail = {0};
    if (core_rpc_client_new(&rig->client, rig->loop, address, token, &client_calls, rig, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
}

static inline void ask(struct rig *rig, const char *method, const char *params) {
    (void)core_rpc_call(rig->client, method, core_span_of(params), on_answer, rig);
}

/* A test with a rig of its own. */
#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#endif
