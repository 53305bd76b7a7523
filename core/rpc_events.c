/* core/rpc_events.c: what everybody who wants to know is told: events, numbered without gaps in one run ("instance") and kept
 * for a while.
 *
 * A subscriber who was away reads on where it was: those behind `since` come right after the answer. What is older than what is
 * kept is lost to it, and it can tell by `first`. Kept is what both bounds allow, a number of events and a number of bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/rpc_internal.h"

#include <stdlib.h>

#define EVENTS_BYTES_MAX CORE_MIB

static struct rpc_event *event_at(struct core_rpc_server *server, uint64_t seq) {
    return &server->events[seq % CORE_RPC_EVENTS_KEPT];
}

static void event_drop_first(struct core_rpc_server *server) {
    MUST(server->first_seq < server->next_seq);
    struct rpc_event *event = event_at(server, server->first_seq++);
    server->events_bytes -= event->len;
    free(event->line);
    *event = (struct rpc_event){0};
}

void core_rpc_event(struct core_rpc_server *server, struct core_span members) {
    char time[27];
    MUST(core_time_iso(core_now_ns(), time));
    if (members.len > RPC_EVENT_BYTES_MAX) {
        core_log(CORE_LEVEL_ERROR, "rpc", "an event is too long to be told; its number is, without it", "bytes=%zu",
                 members.len);
        members = CORE_SPAN("\"kind\":\"too_long\"");
    }
    const size_t cap = RPC_ENVELOPE_BYTES + members.len;
    char *line = malloc(cap);
    MUST(line != NULL);
    struct core_buf buf = {.start = line, .pos = line, .end = line + cap};
    core_buf_span(&buf, CORE_SPAN("{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"seq\":"));
    core_buf_u64(&buf, server->next_seq);
    core_buf_span(&buf, CORE_SPAN(",\"time\":\""));
    core_buf_put(&buf, time, sizeof(time));
    core_buf_char(&buf, '"');
    if (members.len > 0) {
        core_buf_char(&buf, ',');
        core_buf_span(&buf, members);
    }
    core_buf_span(&buf, CORE_SPAN("}}"));
    MUST(!buf.is_full);
    const struct core_span text = core_buf_written(&buf);
    while (server->first_seq < server->next_seq && (server->next_seq - server->first_seq == CORE_RPC_EVENTS_KEPT ||
                                                    server->events_bytes + text.len > EVENTS_BYTES_MAX)) {
        event_drop_first(server);
    }
    char *fitting = realloc(line, text.len);
    line = fitting == NULL ? line : fitting;
    *event_at(server, server->next_seq++) = (struct rpc_event){line, text.len};
    server->events_bytes += text.len;
    for (struct rpc_peer *peer = server->peers; peer != NULL; peer = peer->next) {
        if (peer->is_subscribed) {
            rpc_conn_send(peer->conn, (struct core_span){line, text.len});
        }
    }
}

static bool seq_read(const struct core_json_tree *since, uint64_t *out) {
    uint64_t value = 0;
    for (size_t i = 0; i < since->text.len; i++) {
        if (since->kind != CORE_JSON_NUMBER || !core_is_digit(since->text.ptr[i]) || value > (uint64_t)INT64_MAX / 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(since->text.ptr[i] - '0');
    }
    *out = value;
    return since->kind == CORE_JSON_NUMBER;
}

void rpc_events_subscribe(struct core_rpc_server *server, struct core_rpc_request *request,
                          const struct core_json_tree *params) {
    const struct core_json_tree *since = core_json_tree_get(params, "since");
    const struct core_span instance = core_json_tree_text(params, "instance");
    uint64_t seen = server->next_seq - 1;
    if (since != NULL && !seq_read(since, &seen)) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "since must be the number of an event, 0 or more");
        return;
    }
    if (since != NULL &&
        ((instance.len > 0 && !core_span_is(instance, server->instance)) || seen >= server->next_seq)) {
        seen = 0;
    }
    struct rpc_peer *peer = request->peer;
    char text[2 * RPC_INSTANCE_BYTES * RPC_ESCAPE];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    core_buf_span(&buf, CORE_SPAN("{\"instance\":"));
    core_buf_string(&buf, core_span_of(server->instance));
    core_buf_span(&buf, CORE_SPAN(",\"first\":"));
    core_buf_u64(&buf, server->first_seq);
    core_buf_span(&buf, CORE_SPAN(",\"next\":"));
    core_buf_u64(&buf, server->next_seq);
    core_buf_char(&buf, '}');
    peer->is_subscribed = true;
    core_rpc_result(request, core_buf_written(&buf));
    for (uint64_t seq = seen < server->first_seq ? server->first_seq : seen + 1; seq < server->next_seq; seq++) {
        const struct rpc_event *event = event_at(server, seq);
        rpc_conn_send(peer->conn, (struct core_span){event->line, event->len});
    }
}

void rpc_events_drop(struct core_rpc_server *server) {
    while (server->first_seq < server->next_seq) {
        event_drop_first(server);
    }
}
