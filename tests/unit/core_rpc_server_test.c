/* Tests of core/rpc_server.c, rpc_client.c, rpc_conn.c and rpc_address.c: both ends in one loop, and ends that are not ours
 * (plain sockets), over real sockets.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/core_rpc_rig.h"

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

/* ---- a question of one's own --------------------------------------------------------------------------------------- */

struct outcome {
    int times;
    int64_t code;
    char text[512];
};

static void take_outcome(void *ctx, const struct core_rpc_outcome *outcome) {
    struct outcome *taken = ctx;
    taken->times++;
    taken->code = outcome->code;
    (void)snprintf(taken->text, sizeof(taken->text), "%.*s", outcome->code == 0 ? (int)outcome->result.len : 256,
                   outcome->code == 0 ? outcome->result.ptr : outcome->text);
}

static void test_the_process_itself_may_ask_its_table(void **state) {
    struct rig *rig = *state;
    struct outcome outcome = {0};
    core_rpc_server_ask(rig->server, "who", NULL, "the page", take_outcome, &outcome);
    assert_int_equal(outcome.times, 1);
    assert_int_equal(outcome.code, 0);
    assert_non_null(strstr(outcome.text, "\"the page\""));
    core_rpc_server_ask(rig->server, "refuse", NULL, "the page", take_outcome, &outcome);
    assert_int_equal(outcome.code, CORE_RPC_REFUSED);
    assert_string_equal(outcome.text, "it is up \"already\"");
    core_rpc_server_ask(rig->server, "no such", NULL, "the page", take_outcome, &outcome);
    assert_int_equal(outcome.code, CORE_RPC_NO_METHOD);
    core_rpc_server_ask(rig->server, "late", NULL, "the page", take_outcome, &outcome);
    assert_int_equal(outcome.times, 3);
    assert_false(core_rpc_request_is_gone(rig->late));
    core_rpc_result(rig->late, CORE_SPAN("{}"));
    rig->late = NULL;
    assert_int_equal(outcome.times, 4);
    assert_int_equal(outcome.code, 0);
}

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
        ROW(test_the_process_itself_may_ask_its_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
