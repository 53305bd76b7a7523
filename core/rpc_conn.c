/* core/rpc_conn.c: one connection of the control channel: bytes in, whole lines out, and lines in, bytes out. The same at both
 * ends.
 *
 * Nothing blocks. What is read lies in one buffer that grows with a line and goes when it is empty. What is to be sent is
 * tried at once; what the socket does not take waits in another, until the other side reads on. If too much waits, the
 * connection is ended: whoever controls sensors does not wait for a stopped terminal.
 *
 * An end is noticed anywhere (a send from within a method's call, say), but told from the loop only, by a timer that is due:
 * so nobody's callback is called while another of theirs is under way. After the other side has gone, lines that it had sent
 * before are still read.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/rpc_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CONN_BYTES_AT_FIRST ((size_t)2048)
#define CONN_BYTES_KEPT ((size_t)4096) /* of an empty buffer */
#define CONN_READS_A_ROUND 8           /* then it is another's turn */
#define CONN_WHERE_BYTES 128

/* Bytes [start, start + len) are in use. */
struct conn_buffer {
    char *bytes;
    size_t start;
    size_t len;
    size_t cap;
};

struct rpc_conn {
    struct core_loop *loop;
    const struct rpc_conn_calls *calls;
    void *ctx;
    struct core_watch *watch;
    struct conn_buffer in;
    size_t scanned; /* bytes of in that have no '\n' */
    struct conn_buffer out;
    struct core_timer end_timer;
    struct core_fail why;
    char where[CONN_WHERE_BYTES];
    unsigned depth; /* of calls from the loop */
    int fd;         /* -1: ended */
    bool is_deaf;   /* they take nothing any more, but what they said before is still to be read */
    bool is_read;   /* to its end, or as far as we want */
    bool is_finishing;
    bool is_freed; /* within a call */
};

static void buffer_reserve(struct conn_buffer *buffer, size_t more) {
    if (buffer->start + buffer->len + more <= buffer->cap) {
        return;
    }
    if (buffer->start > 0) {
        memmove(buffer->bytes, buffer->bytes + buffer->start, buffer->len);
        buffer->start = 0;
    }
    size_t cap = buffer->cap == 0 ? CONN_BYTES_AT_FIRST : buffer->cap;
    while (cap < buffer->len + more) {
        cap *= 2;
    }
    if (cap != buffer->cap) {
        buffer->bytes = realloc(buffer->bytes, cap);
        MUST(buffer->bytes != NULL);
        buffer->cap = cap;
    }
}

static void buffer_take(struct conn_buffer *buffer, size_t len) {
    MUST(len <= buffer->len);
    buffer->start += len;
    buffer->len -= len;
    if (buffer->len > 0) {
        return;
    }
    buffer->start = 0;
    if (buffer->cap > CONN_BYTES_KEPT) {
        free(buffer->bytes);
        *buffer = (struct conn_buffer){0};
    }
}

static void buffer_free(struct conn_buffer *buffer) {
    free(buffer->bytes);
    *buffer = (struct conn_buffer){0};
}

/* ---- ending -------------------------------------------------------------------------------------------------------- */

/* Only where the loop calls in does a connection go that was freed meanwhile. */
static void conn_leave(struct rpc_conn *conn) {
    MUST(conn->depth > 0);
    conn->depth--;
    if (conn->is_freed && conn->depth == 0) {
        free(conn);
    }
}

static void conn_close(struct rpc_conn *conn) {
    core_loop_unwatch(conn->watch);
    conn->watch = NULL;
    if (conn->fd >= 0) {
        close(conn->fd);
    }
    conn->fd = -1;
    buffer_free(&conn->out);
}

bool rpc_conn_is_ended(const struct rpc_conn *conn) {
    return conn->fd < 0;
}

void rpc_conn_end(struct rpc_conn *conn, enum core_err err, const char *fmt, ...) {
    if (rpc_conn_is_ended(conn)) {
        return;
    }
    char text[sizeof(conn->why.text)];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)core_fail_set(&conn->why, err, conn->where, "%s", text);
    conn_close(conn);
    core_timer_set(conn->loop, &conn->end_timer, 0);
}

static void on_end_time(void *ctx) {
    struct rpc_conn *conn = ctx;
    conn->depth++;
    conn->calls->on_end(conn->ctx, &conn->why);
    conn_leave(conn);
}

/* ---- sending ------------------------------------------------------------------------------------------------------- */

static void watch_what_is_wanted(struct rpc_conn *conn) {
    core_loop_rewatch(conn->watch,
                      (conn->is_read ? 0U : (uint32_t)EPOLLIN) | (conn->out.len > 0 ? (uint32_t)EPOLLOUT : 0U));
}

static void on_deaf(struct rpc_conn *conn) {
    conn->is_deaf = true;
    buffer_free(&conn->out);
    if (conn->is_read) {
        rpc_conn_end(conn, CORE_NET, "it closed the connection");
        return;
    }
    watch_what_is_wanted(conn);
}

static void conn_flush(struct rpc_conn *conn) {
    while (conn->out.len > 0) {
        ssize_t sent = send(conn->fd, conn->out.bytes + conn->out.start, conn->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            buffer_take(&conn->out, (size_t)sent);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            break;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            on_deaf(conn);
            return;
        } else if (errno != EINTR) {
            rpc_conn_end(conn, CORE_IO, "cannot send: %s", strerrordesc_np(errno));
            return;
        }
    }
    if (conn->out.len > CORE_RPC_QUEUED_BYTES_MAX) {
        rpc_conn_end(conn, CORE_LIMIT,
                     "it does not take what it is sent: %zu bytes wait, more than the %zu there may be", conn->out.len,
                     CORE_RPC_QUEUED_BYTES_MAX);
    } else if (conn->is_finishing && conn->out.len == 0) {
        rpc_conn_end(conn, CORE_GONE, "all is said");
    } else {
        watch_what_is_wanted(conn);
    }
}

struct core_buf rpc_conn_line(struct rpc_conn *conn, size_t bytes_max) {
    if (rpc_conn_is_ended(conn) || conn->is_deaf) {
        return (struct core_buf){.is_full = true};
    }
    buffer_reserve(&conn->out, bytes_max + 1);
    char *start = conn->out.bytes + conn->out.start + conn->out.len;
    return (struct core_buf){.start = start, .pos = start, .end = start + bytes_max};
}

void rpc_conn_line_end(struct rpc_conn *conn, struct core_buf *line) {
    if (rpc_conn_is_ended(conn) || conn->is_deaf) {
        return;
    }
    MUST(!line->is_full);
    MUST(line->start == conn->out.bytes + conn->out.start + conn->out.len);
    for (char *at = line->start; (at = memchr(at, '\n', (size_t)(line->pos - at))) != NULL;) {
        *at = ' ';
    }
    *line->pos = '\n';
    const bool was_empty = conn->out.len == 0;
    conn->out.len += (size_t)(line->pos - line->start) + 1;
    if (was_empty || conn->out.len > CORE_RPC_QUEUED_BYTES_MAX) {
        conn_flush(conn);
    }
}

void rpc_conn_send(struct rpc_conn *conn, struct core_span line) {
    struct core_buf buf = rpc_conn_line(conn, line.len);
    core_buf_span(&buf, line);
    rpc_conn_line_end(conn, &buf);
}

void rpc_conn_finish(struct rpc_conn *conn) {
    if (rpc_conn_is_ended(conn)) {
        return;
    }
    conn->is_finishing = true;
    conn->is_read = true;
    if (conn->is_deaf) {
        rpc_conn_end(conn, CORE_NET, "it closed the connection");
        return;
    }
    conn_flush(conn);
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

/* The line that is taken next, without its end. False: there is no whole one. */
static bool next_line(struct rpc_conn *conn, bool is_last, struct core_span *out) {
    struct conn_buffer *in = &conn->in;
    if (in->len == 0) {
        return false;
    }
    const char *start = in->bytes + in->start;
    const char *end = memchr(start + conn->scanned, '\n', in->len - conn->scanned);
    conn->scanned = in->len;
    if (end == NULL && !is_last) {
        return false;
    }
    *out = (struct core_span){start, end == NULL ? in->len : (size_t)(end - start)};
    return true;
}

/* False: nothing more is to be read; it may have ended, or been freed. */
static bool give_line(struct rpc_conn *conn, struct core_span line) {
    const size_t taken = line.len < conn->in.len ? line.len + 1 : line.len;
    if (line.len > CORE_RPC_LINE_BYTES_MAX) {
        conn->is_read = true;
        conn->scanned = 0;
        buffer_free(&conn->in);
        if (conn->calls->on_too_long != NULL) {
            conn->calls->on_too_long(conn->ctx);
        } else {
            rpc_conn_end(conn, CORE_LIMIT, "it sent a line of more than %zu bytes", CORE_RPC_LINE_BYTES_MAX);
        }
        return false;
    }
    /* Taken before it is given: the owner may run the loop, and more be read. The bytes stay until then. */
    conn->in.start += taken;
    conn->in.len -= taken;
    conn->scanned = 0;
    if (core_span_trim(line).len > 0) {
        conn->calls->on_line(conn->ctx, line);
    }
    return !conn->is_freed && !rpc_conn_is_ended(conn) && !conn->is_finishing;
}

/* False as above. */
static bool give_lines(struct rpc_conn *conn, bool is_last) {
    struct core_span line;
    while (next_line(conn, is_last, &line)) {
        if (!give_line(conn, line)) {
            return false;
        }
    }
    if (conn->in.len > CORE_RPC_LINE_BYTES_MAX) {
        return give_line(conn, (struct core_span){conn->in.bytes + conn->in.start, conn->in.len});
    }
    buffer_take(&conn->in, 0); /* an empty one may go */
    return true;
}

static void on_their_end(struct rpc_conn *conn, bool is_hung_up) {
    conn->is_read = true;
    watch_what_is_wanted(conn); /* whoever takes a line may run the loop */
    if (!give_lines(conn, true)) {
        return;
    }
    if (is_hung_up || conn->is_deaf || conn->calls->on_eof == NULL) {
        rpc_conn_end(conn, CORE_NET, "it closed the connection");
        return;
    }
    conn->calls->on_eof(conn->ctx);
}

static void conn_read(struct rpc_conn *conn, bool is_hung_up) {
    for (int i = 0; i < CONN_READS_A_ROUND; i++) {
        buffer_reserve(&conn->in, CONN_BYTES_AT_FIRST);
        char *to = conn->in.bytes + conn->in.start + conn->in.len;
        const size_t room = conn->in.cap - conn->in.start - conn->in.len;
        ssize_t len = recv(conn->fd, to, room, MSG_DONTWAIT);
        if (len == 0) {
            on_their_end(conn, is_hung_up);
            return;
        }
        if (len < 0 && errno == EINTR) {
            continue;
        }
        if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            buffer_take(&conn->in, 0);
            return;
        }
        if (len < 0) {
            rpc_conn_end(conn, CORE_NET, "the connection broke: %s", strerrordesc_np(errno));
            return;
        }
        conn->in.len += (size_t)len;
        if (!give_lines(conn, false) || ((size_t)len < room && !is_hung_up)) {
            return;
        }
    }
}

static void on_conn_fd(void *ctx, uint32_t events) {
    struct rpc_conn *conn = ctx;
    const bool is_hung_up = (events & (EPOLLHUP | EPOLLERR)) != 0;
    conn->depth++;
    if ((events & EPOLLOUT) != 0) {
        conn_flush(conn);
    }
    if (!rpc_conn_is_ended(conn) && !conn->is_read) {
        conn_read(conn, is_hung_up);
    } else if (!rpc_conn_is_ended(conn) && is_hung_up) {
        rpc_conn_end(conn, CORE_NET, "it closed the connection");
    }
    conn_leave(conn);
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

enum core_err rpc_conn_new(struct rpc_conn **out, struct core_loop *loop, int fd, const char *where,
                           struct core_fail *fail) {
    struct rpc_conn *conn = calloc(1, sizeof(*conn));
    MUST(conn != NULL);
    conn->loop = loop;
    conn->fd = fd;
    conn->end_timer = (struct core_timer){.on_time = on_end_time, .ctx = conn};
    (void)snprintf(conn->where, sizeof(conn->where), "%s", where);
    enum core_err err = core_loop_watch(loop, fd, EPOLLIN, on_conn_fd, conn, &conn->watch, fail);
    if (err != CORE_OK) {
        free(conn);
        return err;
    }
    *out = conn;
    return CORE_OK;
}

void rpc_conn_listen(struct rpc_conn *conn, const struct rpc_conn_calls *calls, void *ctx) {
    MUST(conn->calls == NULL);
    MUST(calls->on_line != NULL && calls->on_end != NULL);
    conn->calls = calls;
    conn->ctx = ctx;
}

void rpc_conn_free(struct rpc_conn *conn) {
    if (conn == NULL) {
        return;
    }
    if (!rpc_conn_is_ended(conn) && conn->out.len > 0) { /* what they take now they have; nothing more can be done */
        (void)!send(conn->fd, conn->out.bytes + conn->out.start, conn->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    conn_close(conn);
    core_timer_clear(&conn->end_timer);
    buffer_free(&conn->in);
    if (conn->depth > 0) {
        conn->is_freed = true;
    } else {
        free(conn);
    }
}
