/* core/rpc.h: the control channel: JSON-RPC 2.0, one message a line, over a Unix socket or TCP on the loopback.
 *
 * The same server and the same client for every process of tapline that can be told something; only addresses and tables of
 * methods differ. docs/reference has the protocol as an interface. Version CORE_RPC_PROTOCOL: methods, members and events are
 * only ever added within it; a reader ignores members it does not know.
 *
 *   -> {"jsonrpc":"2.0","id":1,"method":"hello"}
 *   <- {"jsonrpc":"2.0","id":1,"result":{"service":"supervisor","protocol":1,"version":"0.1.0","pid":4711,"instance":"…"}}
 *   -> {"jsonrpc":"2.0","id":2,"method":"events.subscribe","params":{"since":0}}
 *   <- {"jsonrpc":"2.0","id":2,"result":{"instance":"…","first":1,"next":8}}
 *   <- {"jsonrpc":"2.0","method":"event","params":{"seq":8,"time":"2026-11-22T04:00:00.000000Z","kind":"state",…}}
 *   <- {"jsonrpc":"2.0","method":"progress","params":{"id":3,…}}      of a request that is still under way
 *
 * hello, methods (the table: names and summaries), events.subscribe, events.unsubscribe and (over TCP, first of all) auth are
 * the server's own; all else is in its table.
 * since is the last event one has seen: those behind it that are still kept (from `first` on) follow the answer; without it only
 * what comes. With "instance":"…" of another run, or a number that this run has not reached, all that are kept follow.
 * A line that is no message is answered with -32700 or -32600 and id null, and the connection goes on; one longer than
 * CORE_RPC_LINE_BYTES_MAX ends it. An array (JSON-RPC's batch) is refused: lines are the batch.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_RPC_H
#define TAPLINE_CORE_RPC_H

#include "core/json_tree.h"
#include "core/loop.h"

#define CORE_RPC_PROTOCOL 1
#define CORE_RPC_LINE_BYTES_MAX ((size_t)1024 * 1024)
#define CORE_RPC_PEERS_MAX 64
#define CORE_RPC_QUEUED_BYTES_MAX ((size_t)4 * 1024 * 1024) /* not yet taken by a peer; one that is slower is let go */
#define CORE_RPC_EVENTS_KEPT 1024                           /* of a server, for subscribers that come late */

/* JSON-RPC's own codes, and ours. */
enum core_rpc_code {
    CORE_RPC_PARSE = -32700,
    CORE_RPC_INVALID = -32600,
    CORE_RPC_NO_METHOD = -32601,
    CORE_RPC_BAD_PARAMS = -32602,
    CORE_RPC_INTERNAL = -32603,
    CORE_RPC_REFUSED = -32000, /* not in this state; data may say more */
    CORE_RPC_UNKNOWN = -32001, /* no such process, node, report */
    CORE_RPC_DENIED = -32002,  /* credentials or token */
    CORE_RPC_FAILED = -32003,  /* the world failed underneath */
};

/* ---- one message ------------------------------------------------------------------------------------------------------- */

enum core_rpc_kind { CORE_RPC_REQUEST, CORE_RPC_NOTIFICATION, CORE_RPC_RESULT, CORE_RPC_ERROR };

struct core_rpc_message {
    enum core_rpc_kind kind;
    struct core_span id;                 /* as JSON text ("7", "\"a\"", "null"); empty for a notification */
    struct core_span method;             /* of requests and notifications */
    const struct core_json_tree *params; /* NULL: none */
    const struct core_json_tree *result;
    int64_t error_code;
    struct core_span error_text;
    const struct core_json_tree *error_data; /* NULL: none */
};
/* Read a line. Owns: everything lies in the arena or in line. Errors: CORE_BAD, and *code (PARSE or INVALID) for the answer;
 * CORE_LIMIT the arena is full. Thread: any. */
CORE_CHECKED enum core_err core_rpc_read(struct core_arena *arena, struct core_span line, struct core_rpc_message *out,
                                         enum core_rpc_code *code, struct core_fail *fail);

/* ---- server ------------------------------------------------------------------------------------------------------------ */

struct core_rpc_server;
/* A request under way. A method ends each exactly once, by core_rpc_result() or core_rpc_refuse(), at once or later; it stays
 * valid until then, also when its peer has gone (the answer then goes nowhere). */
struct core_rpc_request;

struct core_rpc_method {
    const char *name;    /* "process.start" */
    const char *summary; /* one line: what "methods" tells people */
    void (*call)(void *ctx, struct core_rpc_request *request,
                 const struct core_json_tree *params); /* params may be NULL */
};

struct core_rpc_server_conf {
    const char *service; /* "supervisor", "main": for hello */
    const char *version;
    const char *path;     /* the Unix socket; made anew, mode 0660 */
    const char *group;    /* whose members may speak, beside root and the server's own user; NULL: nobody else */
    const char *listen;   /* "127.0.0.1:7700"; NULL: no TCP; an address that is not loopback is refused */
    const char *token;    /* what auth over TCP must say; required with listen */
    int inherited_fd;     /* a listening Unix socket from before an exec, or -1 */
    uint64_t next_seq;    /* number of the first event; 0: 1 */
    const char *instance; /* names this run of events; NULL: made up */
    const struct core_rpc_method *methods;
    size_t methods_len;
    void *ctx; /* of the methods */
};

/* For conf.group: the group, if there is one of that name and this process may give its socket to it (it is root, or a member);
 * else NULL. */
const char *core_rpc_group_if_ours(const char *group);

/* Listen. A socket file that nobody answers on is replaced; one that somebody answers on is CORE_LOCKED.
 * Owns: core_rpc_server_free(*out), not from within a method; texts of conf are copied, methods are not; inherited_fd is taken
 * over when it succeeds. Errors: CORE_IO, CORE_BAD, CORE_LOCKED. */
CORE_CHECKED enum core_err core_rpc_server_new(struct core_rpc_server **out, struct core_loop *loop,
                                               const struct core_rpc_server_conf *conf, struct core_fail *fail);
/* Sends what can be sent at once, closes all. keep_socket: the socket file and the listening descriptor stay (for an exec). */
void core_rpc_server_free(struct core_rpc_server *server, bool keep_socket); /* takes NULL */
int core_rpc_server_fd(const struct core_rpc_server *server);                /* the listening Unix socket */
int core_rpc_server_port(const struct core_rpc_server *server);              /* of TCP; 0: none */
const char *core_rpc_server_instance(const struct core_rpc_server *server);
uint64_t core_rpc_server_next_seq(const struct core_rpc_server *server);
size_t core_rpc_server_subscribers(const struct core_rpc_server *server);

/* To every subscriber: members is the inside of an object without braces (`"kind":"state","name":"a"`); seq and time are put
 * in front. */
void core_rpc_event(struct core_rpc_server *server, struct core_span members);

void core_rpc_result(struct core_rpc_request *request, struct core_span json); /* json: one value */
void core_rpc_refuse(struct core_rpc_request *request, enum core_rpc_code code, const char *fmt, ...) CORE_PRINTF(3, 4);
/* With error.data, one JSON value. */
void core_rpc_refuse_with(struct core_rpc_request *request, enum core_rpc_code code, struct core_span data,
                          const char *fmt, ...) CORE_PRINTF(4, 5);
/* A notification "progress" to who asked: members as above; id is put in front. What does not fit into a line is dropped. */
void core_rpc_progress(struct core_rpc_request *request, struct core_span members);
/* Who asks: "uid 1000 (ann), pid 77", or "127.0.0.1:40332". NUL-terminated, valid while the request is. */
const char *core_rpc_request_who(const struct core_rpc_request *request);
bool core_rpc_request_is_gone(const struct core_rpc_request *request); /* nobody waits for it any more */

struct core_rpc_outcome {
    int64_t code;            /* 0: done */
    struct core_span result; /* JSON text, if it was done */
    const char *text;        /* why it was refused; "" */
};
typedef void core_rpc_on_outcome(void *ctx, const struct core_rpc_outcome *outcome); /* valid during the call only */
/* Ask one's own server, from another door of the same process. who: for logs, as core_rpc_request_who() gives it. on_outcome is
 * called once, maybe from within this call. Methods of the table only. */
void core_rpc_server_ask(struct core_rpc_server *server, const char *method, const struct core_json_tree *params,
                         const char *who, core_rpc_on_outcome *on_outcome, void *ctx);

/* For a row {"log.level", CORE_RPC_LOG_LEVEL, core_rpc_log_level} of any table; ctx is not looked at. */
#define CORE_RPC_LOG_LEVEL                                                                                             \
    "{level, stage}: what this process tells on its stderr from now on: error, warn, info, debug, or file (what the "  \
    "configuration says); with stage, of that stage only. Without level nothing changes. Result: {level}."
void core_rpc_log_level(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params);

/* ---- client ------------------------------------------------------------------------------------------------------------ */

struct core_rpc_client;

struct core_rpc_answer {
    const struct core_json_tree *result; /* NULL: it was refused, or the connection ended (code 0) */
    int64_t code;
    struct core_span text; /* of an error */
    const struct core_json_tree *data;
};
typedef void core_rpc_on_answer(void *ctx, const struct core_rpc_answer *answer); /* valid during the call only */

struct core_rpc_client_calls {
    void (*on_event)(void *ctx, const struct core_json_tree *params);                         /* may be NULL */
    void (*on_progress)(void *ctx, struct core_span id, const struct core_json_tree *params); /* may be NULL */
    /* The connection ended, by them or by an error; the client is of no more use but for core_rpc_client_free(). All calls
     * under way have been answered (with result NULL, code 0) before. May be NULL. */
    void (*on_closed)(void *ctx, const struct core_fail *why);
};

/* Connect. address: a Unix socket's path, or "tcp:127.0.0.1:7700" (with a token, which is then sent first).
 * Owns: core_rpc_client_free(*out); calls and ctx must live as long. Errors: CORE_NET nobody there, and what to do;
 * CORE_IO; CORE_BAD the address. */
CORE_CHECKED enum core_err core_rpc_client_new(struct core_rpc_client **out, struct core_loop *loop,
                                               const char *address, const char *token,
                                               const struct core_rpc_client_calls *calls, void *ctx,
                                               struct core_fail *fail);
/* Calls under way are not answered any more. */
void core_rpc_client_free(struct core_rpc_client *client); /* takes NULL */
/* Ask. params: one JSON value, or empty. on_answer is called once, from the loop, never from here. Returns the id. */
uint64_t core_rpc_call(struct core_rpc_client *client, const char *method, struct core_span params,
                       core_rpc_on_answer *on_answer, void *ctx);
/* Ask and run the loop until it is answered. Owns: what *answer points to lies in the arena. Errors, with fail: CORE_NET gone, or
 * timeout_ns over (0: no end) · CORE_BAD refused: fail->text is their words, *answer has code and data · CORE_LIMIT the arena is
 * full. */
CORE_CHECKED enum core_err core_rpc_call_wait(struct core_rpc_client *client, const char *method,
                                              struct core_span params, int64_t timeout_ns, struct core_arena *arena,
                                              struct core_rpc_answer *answer, struct core_fail *fail);

#endif
