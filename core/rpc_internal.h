/* core/rpc_internal.h: what the files of the control channel share: a connection's buffers and lines, addresses, who may speak,
 * and what the server is made of. See core/rpc.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_RPC_INTERNAL_H
#define TAPLINE_CORE_RPC_INTERNAL_H

#include "core/rpc.h"

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#define RPC_ID_BYTES_MAX 256      /* as JSON text */
#define RPC_ENVELOPE_BYTES 256    /* what a message has beside its id, its method and what it carries */
#define RPC_ESCAPE 6              /* a byte of a text takes at most so many in JSON */
#define RPC_ARENA_KEEP_BYTES 4096 /* of what a message was read into, for the next */

/* Room for any line as a tree. Address space, not memory. */
#define RPC_ARENA_BYTES (CORE_RPC_LINE_BYTES_MAX * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN)

/* A message may be read while another that lies in the same arena is still in use (a method or an answer's receiver may run
 * the loop). So each puts the arena back to where it found it. */
void rpc_arena_leave(struct core_arena *arena, size_t used_before);

/* ---- one connection: rpc_conn.c -------------------------------------------------------------------------------------- */

struct rpc_conn;

/* All are called from the loop, never from within rpc_conn_*(). Each may do anything, also rpc_conn_free(). */
struct rpc_conn_calls {
    void (*on_line)(void *ctx, struct core_span line); /* without its end, never blank; valid until something is read */
    void (*on_too_long)(void *ctx);                    /* a line is; nothing more is read. NULL: the connection ends */
    void (*on_eof)(void *ctx);                         /* they will say no more, but may still listen. NULL: it ends */
    void (*on_end)(void *ctx, const struct core_fail *why); /* once, the last call */
};

/* Owns: takes the descriptor (a stream socket) when it succeeds; rpc_conn_free(*out). where names the other side in fails. */
CORE_CHECKED enum core_err rpc_conn_new(struct rpc_conn **out, struct core_loop *loop, int fd, const char *where,
                                        struct core_fail *fail);
void rpc_conn_listen(struct rpc_conn *conn, const struct rpc_conn_calls *calls, void *ctx); /* once, right after new */
void rpc_conn_free(
    struct rpc_conn *conn); /* closes it, drops what cannot be sent at once, calls nothing any more; takes NULL */

/* Write a line of at most bytes_max into what comes back, then end it. On a connection that has ended it goes nowhere.
 * Newlines in it become blanks (in JSON they can be nothing else). */
struct core_buf rpc_conn_line(struct rpc_conn *conn, size_t bytes_max);
void rpc_conn_line_end(struct rpc_conn *conn, struct core_buf *line);
void rpc_conn_send(struct rpc_conn *conn, struct core_span line);

void rpc_conn_finish(struct rpc_conn *conn); /* read no more; end when all is sent */
/* Close now; on_end follows from the loop with this reason. The first reason counts. */
void rpc_conn_end(struct rpc_conn *conn, enum core_err err, const char *fmt, ...) CORE_PRINTF(3, 4);
bool rpc_conn_is_ended(const struct rpc_conn *conn);

/* ---- addresses: rpc_address.c ---------------------------------------------------------------------------------------- */

struct rpc_address {
    union {
        struct sockaddr any;
        struct sockaddr_storage room;
        struct sockaddr_un local;
    };
    socklen_t len;
};
/* "/run/tapline/main.sock", or after "tcp:" 127.0.0.1:7700, [::1]:7700, localhost:7700. Errors: CORE_BAD; also an address that
 * is not loopback: tokens and commands are not for the network. */
CORE_CHECKED enum core_err rpc_address_read(const char *text, struct rpc_address *out, struct core_fail *fail);
/* A connected socket that does not block. Waits some seconds at most. Errors: CORE_NET, CORE_IO. */
CORE_CHECKED enum core_err rpc_address_connect(const struct rpc_address *address, const char *where, int *fd,
                                               struct core_fail *fail);
/* A listening socket. A Unix one is made anew with mode 0660 and this group ((gid_t)-1: as it comes).
 * Errors: CORE_IO · CORE_LOCKED somebody answers there. */
CORE_CHECKED enum core_err rpc_address_listen(const struct rpc_address *address, const char *where, gid_t group,
                                              int *fd, struct core_fail *fail);

/* ---- who may speak: rpc_auth.c --------------------------------------------------------------------------------------- */

#define RPC_WHO_BYTES 128

/* Errors: CORE_BAD there is no such group. */
CORE_CHECKED enum core_err rpc_auth_group(const char *name, gid_t *out, struct core_fail *fail);
/* Who is at the other end of a Unix socket ("uid 1000 (ann), pid 77"), and may they speak: root, this process's own user,
 * members of the group ((gid_t)-1: nobody more). */
bool rpc_auth_peer(int fd, gid_t group, char who[RPC_WHO_BYTES]);
/* In a time that does not depend on where they differ. */
bool rpc_auth_token(struct core_span said, struct core_span token);

/* ---- the server: rpc_server.c, rpc_request.c, rpc_events.c ----------------------------------------------------------- */

#define RPC_INSTANCE_BYTES 64
#define RPC_REFUSAL_BYTES 1024
#define RPC_EVENT_BYTES_MAX (64 * CORE_KIB)
#define RPC_PROGRESS_BYTES_MAX                                                                                         \
    (CORE_RPC_LINE_BYTES_MAX - RPC_ENVELOPE_BYTES - RPC_ID_BYTES_MAX) /* a document with it */

struct core_rpc_request {
    uint32_t magic;
    struct rpc_peer *peer; /* NULL: gone */
    struct core_rpc_request *next;
    struct core_rpc_request *previous;
    char id[RPC_ID_BYTES_MAX]; /* JSON */
    size_t id_len;             /* 0: no answer is wanted */
    char who[RPC_WHO_BYTES];
    core_rpc_on_outcome *on_outcome; /* of this process's own (then there is no peer); else NULL */
    void *ctx;
};

enum rpc_trust { RPC_TRUST_NONE, RPC_TRUST_TOKEN_AWAITED, RPC_TRUST_FULL };

struct rpc_peer {
    struct core_rpc_server *server;
    struct rpc_peer *next;
    struct rpc_conn *conn;
    struct core_rpc_request *requests;
    size_t requests_len;
    struct core_timer silence;
    enum rpc_trust trust;
    bool is_tcp;
    bool is_subscribed;
    bool is_leaving; /* it will ask no more */
    char who[RPC_WHO_BYTES];
};

struct rpc_event {
    char *line;
    size_t len;
};

struct rpc_door {
    struct core_rpc_server *server;
    struct core_watch *watch;
    struct core_timer pause; /* after accept(2) failed */
    int fd;                  /* -1: none */
    bool is_tcp;
};

struct core_rpc_server {
    struct core_loop *loop;
    struct core_arena arena;
    struct core_rpc_server_conf conf; /* its texts are ours */
    struct rpc_door local;
    struct rpc_door tcp;
    struct rpc_peer *peers;
    size_t peers_len;
    unsigned depth; /* of lines being read */
    gid_t group;
    int port;
    dev_t socket_dev; /* of the socket file */
    ino_t socket_ino;
    char instance[RPC_INSTANCE_BYTES];
    uint64_t first_seq; /* of those kept */
    uint64_t next_seq;
    size_t events_bytes;
    struct rpc_event events[CORE_RPC_EVENTS_KEPT]; /* by number, modulo */
};

/* Hangs a new request on its peer. id: as JSON text, or empty. */
struct core_rpc_request *rpc_request_new(struct rpc_peer *peer, struct core_span id);
void rpc_request_unlink(struct core_rpc_request *request); /* its peer goes */
/* An error without a request, or for one: data may be empty. */
void rpc_peer_error(struct rpc_peer *peer, struct core_span id, enum core_rpc_code code, const char *text,
                    struct core_span data);
/* A peer that asks no more goes when it has all it may expect. */
void rpc_peer_settle(struct rpc_peer *peer);

/* since: the last number they have seen; without it they want only what comes. With another run's instance, or a number that
 * this one has not reached, all there is. */
void rpc_events_subscribe(struct core_rpc_server *server, struct core_rpc_request *request,
                          const struct core_json_tree *params);
void rpc_events_drop(struct core_rpc_server *server); /* all that are kept */

#endif
