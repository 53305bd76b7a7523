/* core/rpc_request.c: how a request ends: with a result, refused, or with nobody there any more.
 *
 * A request hangs on its peer. When that goes, the request is told (peer becomes NULL) and lives on until its method ends it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/rpc_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUEST_MAGIC 0x72657173U

static void put_answer_head(struct core_buf *buf, struct core_span id) {
    core_buf_span(buf, CORE_SPAN("{\"jsonrpc\":\"2.0\",\"id\":"));
    core_buf_span(buf, id);
}

void rpc_peer_error(struct rpc_peer *peer, struct core_span id, enum core_rpc_code code, const char *text,
                    struct core_span data) {
    const struct core_span said = core_utf8_cut(core_span_of(text), RPC_REFUSAL_BYTES);
    struct core_buf buf = rpc_conn_line(peer->conn, RPC_ENVELOPE_BYTES + id.len + said.len * RPC_ESCAPE + data.len);
    put_answer_head(&buf, id);
    core_buf_span(&buf, CORE_SPAN(",\"error\":{\"code\":"));
    core_buf_i64(&buf, code);
    core_buf_span(&buf, CORE_SPAN(",\"message\":"));
    core_buf_string(&buf, said);
    if (data.len > 0) {
        core_buf_span(&buf, CORE_SPAN(",\"data\":"));
        core_buf_span(&buf, data);
    }
    core_buf_span(&buf, CORE_SPAN("}}"));
    rpc_conn_line_end(peer->conn, &buf);
}

void rpc_peer_settle(struct rpc_peer *peer) {
    if (peer->is_leaving && peer->requests == NULL && !peer->is_subscribed) {
        rpc_conn_finish(peer->conn);
    }
}

struct core_rpc_request *rpc_request_new(struct rpc_peer *peer, struct core_span id) {
    struct core_rpc_request *request = calloc(1, sizeof(*request));
    MUST(request != NULL);
    MUST(id.len <= sizeof(request->id));
    *request = (struct core_rpc_request){.magic = REQUEST_MAGIC, .peer = peer, .next = peer->requests};
    if (id.len > 0) {
        memcpy(request->id, id.ptr, id.len);
    }
    request->id_len = id.len;
    memcpy(request->who, peer->who, sizeof(request->who));
    if (peer->requests != NULL) {
        peer->requests->previous = request;
    }
    peer->requests = request;
    peer->requests_len++;
    return request;
}

void rpc_request_unlink(struct core_rpc_request *request) {
    struct rpc_peer *peer = request->peer;
    if (peer == NULL) {
        return;
    }
    if (request->previous == NULL) {
        peer->requests = request->next;
    } else {
        request->previous->next = request->next;
    }
    if (request->next != NULL) {
        request->next->previous = request->previous;
    }
    peer->requests_len--;
    request->peer = NULL;
    request->next = request->previous = NULL;
}

static void request_end(struct core_rpc_request *request) {
    struct rpc_peer *peer = request->peer;
    rpc_request_unlink(request);
    request->magic = 0;
    free(request);
    if (peer != NULL) {
        rpc_peer_settle(peer);
    }
}

void core_rpc_refuse_with(struct core_rpc_request *request, enum core_rpc_code code, struct core_span data,
                          const char *fmt, ...) {
    char text[RPC_REFUSAL_BYTES];
    va_list args;
    MUST(request->magic == REQUEST_MAGIC);
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (data.len > CORE_RPC_LINE_BYTES_MAX / 2) {
        data.len = 0; /* an answer without it beats a connection that ends */
    }
    if (request->on_outcome != NULL) {
        request->on_outcome(request->ctx, &(struct core_rpc_outcome){.code = code, .text = text});
    } else if (request->peer != NULL && request->id_len > 0) {
        rpc_peer_error(request->peer, (struct core_span){request->id, request->id_len}, code, text, data);
    }
    request_end(request);
}

void core_rpc_refuse(struct core_rpc_request *request, enum core_rpc_code code, const char *fmt, ...) {
    char text[RPC_REFUSAL_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    core_rpc_refuse_with(request, code, (struct core_span){"", 0}, "%s", text);
}

void core_rpc_result(struct core_rpc_request *request, struct core_span json) {
    MUST(request->magic == REQUEST_MAGIC);
    MUST(json.len > 0);
    if (json.len + RPC_ENVELOPE_BYTES + RPC_ID_BYTES_MAX > CORE_RPC_LINE_BYTES_MAX) {
        core_rpc_refuse(request, CORE_RPC_INTERNAL,
                        "the answer has %zu bytes, more than the %zu of a line; ask for less at a time", json.len,
                        CORE_RPC_LINE_BYTES_MAX);
        return;
    }
    if (request->on_outcome != NULL) {
        request->on_outcome(request->ctx, &(struct core_rpc_outcome){.result = json, .text = ""});
    } else if (request->peer != NULL && request->id_len > 0) {
        struct core_buf buf = rpc_conn_line(request->peer->conn, RPC_ENVELOPE_BYTES + request->id_len + json.len);
        put_answer_head(&buf, (struct core_span){request->id, request->id_len});
        core_buf_span(&buf, CORE_SPAN(",\"result\":"));
        core_buf_span(&buf, json);
        core_buf_char(&buf, '}');
        rpc_conn_line_end(request->peer->conn, &buf);
    }
    request_end(request);
}

void core_rpc_progress(struct core_rpc_request *request, struct core_span members) {
    MUST(request->magic == REQUEST_MAGIC);
    if (request->peer == NULL || request->id_len == 0 || members.len > RPC_PROGRESS_BYTES_MAX) {
        return;
    }
    struct core_buf buf = rpc_conn_line(request->peer->conn, RPC_ENVELOPE_BYTES + request->id_len + members.len);
    core_buf_span(&buf, CORE_SPAN("{\"jsonrpc\":\"2.0\",\"method\":\"progress\",\"params\":{\"id\":"));
    core_buf_put(&buf, request->id, request->id_len);
    if (members.len > 0) {
        core_buf_char(&buf, ',');
        core_buf_span(&buf, members);
    }
    core_buf_span(&buf, CORE_SPAN("}}"));
    rpc_conn_line_end(request->peer->conn, &buf);
}

const char *core_rpc_request_who(const struct core_rpc_request *request) {
    return request->who;
}

bool core_rpc_request_is_gone(const struct core_rpc_request *request) {
    MUST(request->magic == REQUEST_MAGIC);
    if (request->on_outcome != NULL) {
        return false;
    }
    return request->peer == NULL || rpc_conn_is_ended(request->peer->conn);
}

void core_rpc_server_ask(struct core_rpc_server *server, const char *method, const struct core_json_tree *params,
                         const char *who, core_rpc_on_outcome *on_outcome, void *ctx) {
    MUST(on_outcome != NULL);
    struct core_rpc_request *request = calloc(1, sizeof(*request));
    MUST(request != NULL);
    *request = (struct core_rpc_request){.magic = REQUEST_MAGIC, .on_outcome = on_outcome, .ctx = ctx};
    (void)snprintf(request->who, sizeof(request->who), "%s", who);
    for (size_t i = 0; i < server->conf.methods_len; i++) {
        if (strcmp(method, server->conf.methods[i].name) == 0) {
            server->conf.methods[i].call(server->conf.ctx, request, params);
            return;
        }
    }
    core_rpc_refuse(request, CORE_RPC_NO_METHOD, "there is no method \"%s\"", method);
}
