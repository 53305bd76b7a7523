/* core/rpc_client.c: the other end of the control channel: asks, and is told of events.
 *
 * Calls under way stand in a list, oldest first; an answer takes its call out. Whoever is called back may do anything, also
 * free the client, so nothing of it is touched after such a call without looking (depth, is_freed). A call on a connection
 * that has ended is answered like the others that were under way then: from the loop, with code 0.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/rpc_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct client_call {
    uint64_t id;
    core_rpc_on_answer *on_answer; /* NULL: nobody waits any more */
    void *ctx;
    struct client_call *next;
    bool is_too_long; /* and was not sent */
};

struct core_rpc_client {
    struct core_loop *loop;
    struct rpc_conn *conn;
    struct core_arena arena;
    const struct core_rpc_client_calls *calls;
    void *ctx;
    struct client_call *first;
    struct client_call *last;
    struct core_timer unsent; /* due: there are calls that cannot be sent */
    struct core_fail why;     /* the connection ended */
    uint64_t next_id;
    unsigned waits; /* core_rpc_call_wait()s under way */
    unsigned depth;
    bool is_ended;
    bool is_freed;
};

static void client_free_now(struct core_rpc_client *client) {
    core_arena_destroy(&client->arena);
    free(client);
}

/* It may be gone then. */
static void client_leave(struct core_rpc_client *client) {
    MUST(client->depth > 0);
    client->depth--;
    if (client->is_freed && client->depth == 0) {
        client_free_now(client);
    }
}

/* ---- calls --------------------------------------------------------------------------------------------------------- */

static void call_add(struct core_rpc_client *client, const struct client_call *like) {
    struct client_call *call = malloc(sizeof(*call));
    MUST(call != NULL);
    *call = *like;
    if (client->last == NULL) {
        client->first = call;
    } else {
        client->last->next = call;
    }
    client->last = call;
}

/* Takes out the call at *at. */
static struct client_call call_take(struct core_rpc_client *client, struct client_call **at) {
    struct client_call *call = *at;
    struct client_call taken = *call;
    *at = call->next;
    if (client->last == call) {
        client->last = NULL;
        for (struct client_call *one = client->first; one != NULL; one = one->next) {
            client->last = one;
        }
    }
    free(call);
    return taken;
}

static struct client_call **call_find(struct core_rpc_client *client, uint64_t id) {
    struct client_call **at = &client->first;
    while (*at != NULL && (*at)->id != id) {
        at = &(*at)->next;
    }
    return at;
}

static void call_answer(const struct client_call *call, const struct core_rpc_answer *answer) {
    if (call->on_answer != NULL) {
        call->on_answer(call->ctx, answer);
    }
}

uint64_t core_rpc_call(struct core_rpc_client *client, const char *method, struct core_span params,
                       core_rpc_on_answer *on_answer, void *ctx) {
    const size_t bytes_max = RPC_ENVELOPE_BYTES + strlen(method) * RPC_ESCAPE + params.len;
    MUST(!client->is_freed);
    struct client_call call = {.id = client->next_id++, .on_answer = on_answer, .ctx = ctx};
    call.is_too_long = bytes_max > CORE_RPC_LINE_BYTES_MAX;
    call_add(client, &call);
    if (call.is_too_long || client->is_ended) {
        core_timer_set(client->loop, &client->unsent, 0);
        return call.id;
    }
    struct core_buf buf = rpc_conn_line(client->conn, bytes_max);
    core_buf_span(&buf, CORE_SPAN("{\"jsonrpc\":\"2.0\",\"id\":"));
    core_buf_u64(&buf, call.id);
    core_buf_span(&buf, CORE_SPAN(",\"method\":"));
    core_buf_string(&buf, core_span_of(method));
    if (params.len > 0) {
        core_buf_span(&buf, CORE_SPAN(",\"params\":"));
        core_buf_span(&buf, params);
    }
    core_buf_char(&buf, '}');
    rpc_conn_line_end(client->conn, &buf);
    return call.id;
}

/* Answers all that will not be answered by them. */
static void answer_unsent(struct core_rpc_client *client) {
    char text[RPC_WHO_BYTES];
    char words[RPC_ENVELOPE_BYTES + sizeof(client->why.where) + sizeof(client->why.text)];
    (void)snprintf(words, sizeof(words), "the connection to %s ended: %s", client->why.where, client->why.text);
    const struct core_rpc_answer ended = {.text = core_span_of(words)};
    (void)snprintf(text, sizeof(text), "a request has at most %zu bytes, and this one more; it was not sent",
                   CORE_RPC_LINE_BYTES_MAX);
    const struct core_rpc_answer too_long = {.code = CORE_RPC_INVALID, .text = core_span_of(text)};
    const uint64_t until_id = client->next_id; /* a call that comes meanwhile has its own turn */
    MUST(client->depth > 0);
    for (struct client_call **at = &client->first; !client->is_freed && *at != NULL;) {
        if ((*at)->id >= until_id || (!client->is_ended && !(*at)->is_too_long)) {
            at = &(*at)->next;
            continue;
        }
        const struct client_call call = call_take(client, at);
        call_answer(&call, call.is_too_long ? &too_long : &ended);
        at = &client->first; /* the list may be another */
    }
}

static void on_unsent(void *ctx) {
    struct core_rpc_client *client = ctx;
    client->depth++;
    answer_unsent(client);
    client_leave(client);
}

/* ---- what they say ------------------------------------------------------------------------------------------------- */

/* Whole and of ours: "7". */
static bool id_read(struct core_span text, uint64_t *out) {
    uint64_t id = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!core_is_digit(text.ptr[i]) || id > UINT64_MAX / 10 - 1) {
            return false;
        }
        id = id * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    *out = id;
    return text.len > 0;
}

static void on_their_answer(struct core_rpc_client *client, const struct core_rpc_message *message) {
    uint64_t id = 0;
    if (message->kind == CORE_RPC_ERROR && core_span_is(message->id, "null")) {
        rpc_conn_end(client->conn, CORE_NET, "it said: %.*s", (int)message->error_text.len, message->error_text.ptr);
        return;
    }
    struct client_call **at = id_read(message->id, &id) ? call_find(client, id) : NULL;
    if (at == NULL || *at == NULL) {
        return; /* to a call that nobody waits for */
    }
    const struct client_call call = call_take(client, at);
    const struct core_rpc_answer answer = {
        .result = message->result,
        .code = message->error_code,
        .text = message->error_text,
        .data = message->error_data,
    };
    call_answer(&call, &answer);
}

static void on_their_word(struct core_rpc_client *client, const struct core_rpc_message *message) {
    if (core_span_is(message->method, "event") && client->calls->on_event != NULL) {
        client->calls->on_event(client->ctx, message->params);
    } else if (core_span_is(message->method, "progress") && client->calls->on_progress != NULL) {
        const struct core_json_tree *id = core_json_tree_get(message->params, "id");
        client->calls->on_progress(client->ctx, id == NULL ? (struct core_span){"", 0} : id->text, message->params);
    }
}

static void on_client_line(void *ctx, struct core_span line) {
    struct core_rpc_client *client = ctx;
    const size_t used_before = client->arena.used;
    struct core_rpc_message message;
    enum core_rpc_code code = CORE_RPC_PARSE;
    struct core_fail fail = {0};
    client->depth++;
    if (core_rpc_read(&client->arena, line, &message, &code, &fail) != CORE_OK) {
        rpc_conn_end(client->conn, CORE_NET, "it does not speak this protocol: %s", fail.text);
    } else if (message.kind == CORE_RPC_RESULT || message.kind == CORE_RPC_ERROR) {
        on_their_answer(client, &message);
    } else if (message.kind == CORE_RPC_NOTIFICATION) {
        on_their_word(client, &message);
    }
    rpc_arena_leave(&client->arena, used_before);
    client_leave(client);
}

static void on_client_end(void *ctx, const struct core_fail *why) {
    struct core_rpc_client *client = ctx;
    client->is_ended = true;
    client->why = *why;
    client->depth++;
    answer_unsent(client);
    if (!client->is_freed && client->calls->on_closed != NULL) {
        client->calls->on_closed(client->ctx, &client->why);
    }
    client_leave(client);
}

static void on_auth(void *ctx, const struct core_rpc_answer *answer) {
    struct core_rpc_client *client = ctx;
    if (answer->result == NULL && answer->code != 0) {
        rpc_conn_end(client->conn, CORE_NET, "it did not let us in: %.*s", (int)answer->text.len, answer->text.ptr);
    }
}

static const struct rpc_conn_calls client_conn_calls = {
    .on_line = on_client_line,
    .on_end = on_client_end,
};

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static void send_token(struct core_rpc_client *client, const char *token) {
    const size_t cap = RPC_ENVELOPE_BYTES + strlen(token) * RPC_ESCAPE;
    char *text = malloc(cap);
    MUST(text != NULL);
    struct core_buf buf = {.start = text, .pos = text, .end = text + cap};
    core_buf_span(&buf, CORE_SPAN("{\"token\":"));
    core_buf_string(&buf, core_span_of(token));
    core_buf_char(&buf, '}');
    (void)core_rpc_call(client, "auth", core_buf_written(&buf), on_auth, client);
    explicit_bzero(text, cap);
    free(text);
}

enum core_err core_rpc_client_new(struct core_rpc_client **out, struct core_loop *loop, const char *address,
                                  const char *token, const struct core_rpc_client_calls *calls, void *ctx,
                                  struct core_fail *fail) {
    struct rpc_address where;
    int fd = -1;
    MUST(calls != NULL);
    enum core_err err = rpc_address_read(address, &where, fail);
    if (err == CORE_OK) {
        err = rpc_address_connect(&where, address, &fd, fail);
    }
    if (err != CORE_OK) {
        return err;
    }
    struct core_rpc_client *client = calloc(1, sizeof(*client));
    MUST(client != NULL);
    *client = (struct core_rpc_client){.loop = loop, .calls = calls, .ctx = ctx, .next_id = 1};
    client->unsent = (struct core_timer){.on_time = on_unsent, .ctx = client};
    err = core_arena_init(&client->arena, RPC_ARENA_BYTES, fail);
    if (err == CORE_OK) {
        err = rpc_conn_new(&client->conn, loop, fd, address, fail);
    }
    if (err != CORE_OK) {
        close(fd);
        client_free_now(client);
        return err;
    }
    rpc_conn_listen(client->conn, &client_conn_calls, client);
    if (token != NULL && where.any.sa_family != AF_UNIX) {
        send_token(client, token);
    }
    *out = client;
    return CORE_OK;
}

void core_rpc_client_free(struct core_rpc_client *client) {
    if (client == NULL) {
        return;
    }
    MUST(!client->is_freed);
    MUST(client->waits == 0);
    while (client->first != NULL) {
        (void)call_take(client, &client->first);
    }
    core_timer_clear(&client->unsent);
    rpc_conn_free(client->conn);
    client->conn = NULL;
    client->is_freed = true;
    if (client->depth == 0) {
        client_free_now(client);
    }
}

/* ---- waiting ------------------------------------------------------------------------------------------------------- */

struct waiting {
    struct core_rpc_client *client;
    struct core_arena *arena;
    struct core_rpc_answer *answer;
    bool is_answered;
    bool is_full;
};

/* A copy in the arena, or NULL when that is full. */
static struct core_json_tree *tree_copy(struct core_arena *arena, const struct core_json_tree *tree) {
    struct core_json_tree *copy = core_arena_alloc(arena, sizeof(*copy));
    if (copy == NULL) {
        return NULL;
    }
    *copy = (struct core_json_tree){.kind = tree->kind, .key = tree->key, .text = tree->text};
    copy->key.ptr = core_arena_copy(arena, tree->key);
    copy->text.ptr = core_arena_copy(arena, tree->text);
    if (copy->key.ptr == NULL || copy->text.ptr == NULL) {
        return NULL;
    }
    for (const struct core_json_tree *child = tree->first; child != NULL; child = child->next) {
        struct core_json_tree *one = tree_copy(arena, child);
        if (one == NULL) {
            return NULL;
        }
        if (copy->last == NULL) {
            copy->first = one;
        } else {
            copy->last->next = one;
        }
        copy->last = one;
    }
    return copy;
}

static void on_awaited(void *ctx, const struct core_rpc_answer *answer) {
    struct waiting *waiting = ctx;
    struct core_arena *arena = waiting->arena;
    waiting->is_answered = true; /* from here on others may free the client */
    waiting->client->waits--;
    *waiting->answer = (struct core_rpc_answer){
        .result = answer->result == NULL ? NULL : tree_copy(arena, answer->result),
        .code = answer->code,
        .text = {core_arena_copy(arena, answer->text), answer->text.len},
        .data = answer->data == NULL ? NULL : tree_copy(arena, answer->data),
    };
    waiting->is_full = (waiting->answer->result == NULL) != (answer->result == NULL) ||
                       (waiting->answer->data == NULL) != (answer->data == NULL) || waiting->answer->text.ptr == NULL;
}

enum core_err core_rpc_call_wait(struct core_rpc_client *client, const char *method, struct core_span params,
                                 int64_t timeout_ns, struct core_arena *arena, struct core_rpc_answer *answer,
                                 struct core_fail *fail) {
    struct core_loop *loop = client->loop;
    struct waiting waiting = {.client = client, .arena = arena, .answer = answer};
    const int64_t until_ns = core_tick_ns() + timeout_ns;
    enum core_err err = CORE_OK;
    *answer = (struct core_rpc_answer){0};
    client->waits++;
    const uint64_t id = core_rpc_call(client, method, params, on_awaited, &waiting);
    while (err == CORE_OK && !waiting.is_answered) {
        const int64_t left_ns = timeout_ns == 0 ? -1 : until_ns - core_tick_ns();
        if (timeout_ns != 0 && left_ns <= 0) {
            err = core_fail_set(fail, CORE_NET, method, "no answer within %lld ms",
                                (long long)(timeout_ns / CORE_NS_PER_MS));
        } else {
            err = core_loop_once(loop, left_ns, fail);
        }
    }
    if (!waiting.is_answered) {
        struct client_call **at = call_find(client, id);
        MUST(*at != NULL);
        (*at)->on_answer = NULL;
        client->waits--;
        return err;
    }
    if (waiting.is_full) {
        return core_fail_set(fail, CORE_LIMIT, method, "the answer needs more than the %zu bytes there are for it",
                             arena->cap);
    }
    if (answer->result == NULL) {
        return core_fail_set(fail, answer->code == 0 ? CORE_NET : CORE_BAD, method, "%s", answer->text.ptr);
    }
    return CORE_OK;
}
