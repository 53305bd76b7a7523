/* tests/unit/core_rpc_peers_test.c: events, who may speak, the socket file, and servers that are not ours.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/core_rpc_rig.h"

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

/* Would a process of that user, with this one supplementary group, give its socket to the group daemon? */
static bool gives_to_daemon(uid_t uid, gid_t group) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        if (setgroups(group == 0 ? 0 : 1, &group) != 0 || setgid(NOBODY) != 0 || setuid(uid) != 0) {
            _exit(2);
        }
        _exit(core_rpc_group_if_ours("daemon") != NULL ? 1 : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 1;
}

static void test_a_group_is_named_only_by_who_may_give_to_it(void **state) {
    (void)state;
    const struct group *group = getgrnam("daemon");
    assert_null(core_rpc_group_if_ours("no-such-group-here"));
    assert_null(core_rpc_group_if_ours(NULL));
    if (geteuid() != 0 || group == NULL) {
        skip();
    }
    const gid_t gid = group->gr_gid;
    assert_string_equal(core_rpc_group_if_ours("daemon"), "daemon");
    assert_true(gives_to_daemon(NOBODY, gid));
    assert_false(gives_to_daemon(NOBODY, 0));
    assert_false(gives_to_daemon(NOBODY, gid + 1));
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

int main(void) {
    const struct CMUnitTest tests[] = {
        ROW(test_events_are_kept_for_those_who_come_late),
        ROW(test_after_another_run_all_that_is_kept_follows),
        ROW(test_events_that_are_kept_are_bounded_in_bytes_too),
        ROW(test_over_tcp_the_token_opens),
        ROW(test_strangers_do_not_keep_others_out),
        ROW(test_tcp_is_for_the_loopback_and_with_a_token),
        ROW(test_other_users_are_denied_and_members_of_the_group_let_in),
        ROW(test_a_group_is_named_only_by_who_may_give_to_it),
        ROW(test_a_socket_somebody_answers_on_is_theirs),
        ROW(test_a_socket_nobody_answers_on_is_replaced_and_other_files_are_not),
        ROW(test_a_listening_socket_outlives_its_server),
        ROW(test_a_client_ends_with_who_does_not_speak_its_language),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
