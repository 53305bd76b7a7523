/* supervisor/serve_peers.c: the other processes of tapline on this host, found and asked by their control sockets in node.state:
 * run.sock, feed-N.sock, intel-sync.sock.
 *
 * Looked for every FIND_NS, asked for their health document every second (one question at a time), and believed to be silent
 * when SILENT_NS have passed without an answer, whether their connection is there (frozen) or not (gone). Nothing here waits: a
 * socket whose queue of connections is full is knocked at without blocking first.
 *
 * One that ended as it was told to is forgotten: its node is not wanted any more, or, where no node of ours has its pid, its
 * socket is gone, which it removes when it ends in order. One that has answered and was killed is kept, and complained of, until
 * it is back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_health_internal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIND_NS (2 * CORE_NS_PER_S)
#define SILENT_NS (3 * CORE_NS_PER_S)
#define OLD_NS (10 * CORE_NS_PER_S)     /* a document that old is not shown any more */
#define RESTART_NS (10 * CORE_NS_PER_S) /* what a node that is being started may take to answer */
#define PEERS_MAX 64
#define NAME_BYTES_MAX 32
#define DOCUMENT_BYTES_MAX (320 * CORE_KIB)
#define ROWS_MAX 1000 /* of a kind, in a document */
#define HEAD_ROWS CORE_SPAN(",\"rows\":{}}")

struct peer {
    struct peer *next;
    struct serve_peers *peers;
    char name[NAME_BYTES_MAX]; /* "run", "feed-0" */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    struct core_rpc_client *client;           /* NULL: no connection */
    int64_t pid;                              /* as it said last; 0: it has not */
    char node[SUPERVISOR_NAME_BYTES_MAX + 1]; /* of ours that had this pid; "": none */
    int64_t begun_tick;                       /* of its connection */
    int64_t answered_tick;                    /* 0: never */
    int64_t answered_ns;                      /* the same, wall clock; of one that never has: of its first connection */
    char *text;                               /* its document */
    size_t len;
    size_t rows_at;
    bool is_asked;
    bool is_closed; /* its connection has ended */
    bool is_there;  /* its socket is, as last looked */
};

struct serve_peers {
    struct serve_health *health;
    struct peer *first;
    size_t len;
    int64_t find_tick; /* when to look for new ones */
};

/* ---- a document ---------------------------------------------------------------------------------------------------------- */

static size_t children_of(const struct core_json_tree *tree) {
    size_t len = 0;
    for (const struct core_json_tree *child = tree->first; child != NULL; child = child->next) {
        len++;
    }
    return len;
}

static void rows_put(const struct core_json_tree *rows, size_t rows_max, struct core_buf *out) {
    core_buf_span(out, CORE_SPAN(",\"rows\":{"));
    for (const struct core_json_tree *kind = rows->first; kind != NULL; kind = kind->next) {
        size_t put = 0;
        core_buf_put(out, ",", kind == rows->first ? 0 : 1);
        core_buf_string(out, kind->key);
        core_buf_span(out, CORE_SPAN(":["));
        for (const struct core_json_tree *row = kind->first; row != NULL && put < rows_max; row = row->next) {
            core_buf_put(out, ",", put++ == 0 ? 0 : 1);
            core_json_put_tree(out, row);
        }
        core_buf_char(out, ']');
    }
    core_buf_span(out, CORE_SPAN("}}"));
}

static size_t left_out_of(const struct core_json_tree *document, size_t rows_max) {
    const struct core_json_tree *rows = core_json_tree_get(document, "rows");
    size_t left_out = (size_t)core_json_tree_integer(document, "left_out", 0);
    for (const struct core_json_tree *kind = rows == NULL ? NULL : rows->first; kind != NULL; kind = kind->next) {
        size_t len = children_of(kind);
        left_out += len > rows_max ? len - rows_max : 0;
    }
    return left_out;
}

/* With at most so many rows of a kind. */
static void document_put(const struct core_json_tree *document, size_t rows_max, struct core_buf *out,
                         size_t *rows_at) {
    const struct core_json_tree *rows = core_json_tree_get(document, "rows");
    core_buf_char(out, '{');
    core_json_put_number(out, "left_out", (int64_t)left_out_of(document, rows_max));
    for (const struct core_json_tree *member = document->first; member != NULL; member = member->next) {
        if (!core_span_is(member->key, "rows") && !core_span_is(member->key, "left_out")) {
            core_buf_char(out, ',');
            core_buf_string(out, member->key);
            core_buf_char(out, ':');
            core_json_put_tree(out, member);
        }
    }
    *rows_at = core_buf_written(out).len;
    if (rows != NULL && rows->kind == CORE_JSON_OBJECT) {
        rows_put(rows, rows_max, out);
    } else {
        core_buf_span(out, HEAD_ROWS);
    }
}

bool serve_peer_document(const struct core_json_tree *document, struct core_buf *out, size_t *rows_at) {
    const struct core_buf begin = *out;
    for (size_t rows_max = ROWS_MAX;; rows_max /= 2) {
        *out = begin;
        document_put(document, rows_max, out, rows_at);
        if (!out->is_full) {
            return true;
        }
        if (rows_max == 0) {
            *out = begin;
            return false;
        }
    }
}

/* ---- a peer -------------------------------------------------------------------------------------------------------------------- */

static void peer_disconnect(struct peer *peer) {
    core_rpc_client_free(peer->client);
    peer->client = NULL;
    peer->is_asked = false;
    peer->is_closed = false;
}

static void peer_free(struct peer *peer) {
    peer_disconnect(peer);
    free(peer->text);
    free(peer);
}

static const struct serve_process *peer_process(const struct peer *peer) {
    return peer->node[0] == '\0' ? NULL : serve_process_find(peer->peers->health->serve, core_span_of(peer->node));
}

static bool peer_is_up(const struct peer *peer) {
    return peer->answered_tick != 0 && core_tick_ns() - peer->answered_tick < SILENT_NS && peer->client != NULL &&
           !peer->is_closed;
}

/* Which of our nodes has this pid? */
static void peer_find_node(struct peer *peer) {
    const struct serve *serve = peer->peers->health->serve;
    for (size_t i = 0; i < serve->processes_len && peer->pid != 0; i++) {
        if (serve->processes[i].pid == peer->pid) {
            memcpy(peer->node, serve->processes[i].name, sizeof(peer->node));
            return;
        }
    }
}

static void peer_take(struct peer *peer, const struct core_json_tree *document) {
    char *text = malloc(DOCUMENT_BYTES_MAX);
    MUST(text != NULL);
    struct core_buf out = {.start = text, .pos = text, .end = text + DOCUMENT_BYTES_MAX};
    if (!serve_peer_document(document, &out, &peer->rows_at)) {
        free(text);
        return;
    }
    peer->len = core_buf_written(&out).len;
    free(peer->text);
    peer->text = realloc(text, peer->len + 1);
    MUST(peer->text != NULL);
    peer->pid = core_json_tree_integer(document, "pid", 0);
}

/* Readers of health.all may rely on these. */
static bool is_document(const struct core_json_tree *tree) {
    const struct core_json_tree *rows = core_json_tree_get(tree, "rows");
    const struct core_json_tree *problems = core_json_tree_get(tree, "problems");
    bool is_one = core_json_tree_text(tree, "process").len > 0 && rows != NULL && rows->kind == CORE_JSON_OBJECT &&
                  problems != NULL && problems->kind == CORE_JSON_ARRAY;
    for (const struct core_json_tree *kind = is_one ? rows->first : NULL; kind != NULL; kind = kind->next) {
        is_one = is_one && kind->kind == CORE_JSON_ARRAY;
    }
    return is_one;
}

static void on_document(void *ctx, const struct core_rpc_answer *answer) {
    struct peer *peer = ctx;
    peer->is_asked = false;
    if (answer->result == NULL && answer->code == 0) {
        return; /* the connection ended: on_closed() follows */
    }
    if (!peer_is_up(peer)) {
        serve_health_on_state(peer->peers->health->serve);
    }
    peer->answered_tick = core_tick_ns();
    peer->answered_ns = core_now_ns();
    if (answer->result != NULL && is_document(answer->result)) {
        peer_take(peer, answer->result);
    }
}

static void on_closed(void *ctx, const struct core_fail *why) {
    struct peer *peer = ctx;
    (void)why;
    peer->is_closed = true;
    serve_health_on_state(peer->peers->health->serve);
}

enum knock { KNOCK_OPEN, KNOCK_FULL, KNOCK_NOBODY, KNOCK_NO_SOCKET };

/* Would a connection be taken at once? */
static enum knock knock(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return KNOCK_FULL;
    }
    int error = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : errno;
    (void)close(fd);
    return error == 0                                ? KNOCK_OPEN
           : error == ENOENT || error == ENOTDIR     ? KNOCK_NO_SOCKET
           : error == EAGAIN || error == EWOULDBLOCK ? KNOCK_FULL
                                                     : KNOCK_NOBODY;
}

static void peer_connect(struct peer *peer) {
    static const struct core_rpc_client_calls calls = {.on_closed = on_closed};
    struct core_fail fail = {0};
    enum knock heard = knock(peer->path);
    peer->is_there = heard != KNOCK_NO_SOCKET;
    if (heard == KNOCK_OPEN && core_rpc_client_new(&peer->client, peer->peers->health->serve->loop, peer->path, NULL,
                                                   &calls, peer, &fail) != CORE_OK) {
        peer->client = NULL;
    }
    if (peer->client != NULL) {
        peer->begun_tick = core_tick_ns();
        peer->answered_ns =
            peer->answered_ns == 0 ? core_now_ns() : peer->answered_ns; /* silent since then, if it is */
    }
}

/* Did it end as it was told to? */
static bool peer_is_forgotten(const struct peer *peer) {
    const struct serve_process *process = peer_process(peer);
    if (peer->client != NULL) {
        return false;
    }
    if (peer->answered_tick == 0) {
        return true; /* a socket that somebody left behind, before us */
    }
    if (!peer->peers->health->serve->is_linked && peer->node[0] != '\0') {
        return false; /* nobody knows what is wanted now */
    }
    return process != NULL ? !process->is_wanted : !peer->is_there;
}

static void peer_turn(struct peer *peer) {
    if (peer->is_closed) {
        peer_disconnect(peer);
    }
    if (peer->client == NULL) {
        peer_connect(peer);
    }
    if (peer->client != NULL && !peer->is_asked) {
        peer->is_asked = true;
        core_rpc_call(peer->client, "health", (struct core_span){0}, on_document, peer);
    }
    peer_find_node(peer);
}

/* ---- finding ------------------------------------------------------------------------------------------------------------------- */

/* "run.sock", "feed-12.sock", "intel-sync.sock": the name without its end; false: it is none of ours. */
static bool name_of(const char *file, char name[NAME_BYTES_MAX]) {
    static const char feed[] = "feed-";
    const char *dot = strstr(file, ".sock");
    size_t len = dot == NULL ? 0 : (size_t)(dot - file);
    if (len == 0 || len >= NAME_BYTES_MAX || strcmp(dot, ".sock") != 0) {
        return false;
    }
    memcpy(name, file, len);
    name[len] = '\0';
    size_t digits = strncmp(name, feed, sizeof(feed) - 1) == 0 ? strspn(name + sizeof(feed) - 1, "0123456789") : 0;
    return strcmp(name, "run") == 0 || strcmp(name, "intel-sync") == 0 ||
           (digits > 0 && len == sizeof(feed) - 1 + digits);
}

static void peer_add(struct serve_peers *peers, const char *state, const char *name) {
    struct peer **last = &peers->first;
    for (; *last != NULL; last = &(*last)->next) {
        if (strcmp((*last)->name, name) == 0) {
            return;
        }
    }
    struct peer *peer = calloc(1, sizeof(*peer));
    MUST(peer != NULL);
    peer->peers = peers;
    (void)snprintf(peer->name, sizeof(peer->name), "%s", name);
    int len = snprintf(peer->path, sizeof(peer->path), "%s/%s.sock", state, name);
    if (peers->len >= PEERS_MAX || len < 0 || (size_t)len >= sizeof(peer->path)) {
        free(peer); /* one with a longer path has no socket */
        return;
    }
    *last = peer;
    peers->len++;
}

static void find(struct serve_peers *peers) {
    const struct serve_env *env = peers->health->serve->env;
    const char *state = env->state != NULL ? env->state(env->ctx) : NULL;
    char name[NAME_BYTES_MAX];
    DIR *directory = state != NULL ? opendir(state) : NULL;
    if (directory == NULL) {
        return;
    }
    for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (name_of(entry->d_name, name)) {
            peer_add(peers, state, name);
        }
    }
    (void)closedir(directory);
}

void serve_peers_turn(struct serve_peers *peers) {
    if (core_tick_ns() >= peers->find_tick) {
        peers->find_tick = core_tick_ns() + FIND_NS;
        find(peers);
    }
    for (struct peer **at = &peers->first; *at != NULL;) {
        struct peer *peer = *at;
        peer_turn(peer);
        if (peer_is_forgotten(peer)) {
            *at = peer->next;
            peers->len--;
            peer_free(peer);
        } else {
            at = &peer->next;
        }
    }
}

/* ---- what is told -------------------------------------------------------------------------------------------------------------- */

/* It does not answer, and that is as it should be for a moment: it was told to end, or has just been started. */
static bool peer_is_excused(const struct peer *peer) {
    const struct serve_process *process = peer_process(peer);
    if (peer->answered_tick == 0) {
        return core_tick_ns() - peer->begun_tick < SILENT_NS;
    }
    return process != NULL && (process->state == SUPERVISOR_STOPPING ||
                               (process->pid != peer->pid && core_now_ns() - process->since_ns < RESTART_NS));
}

static void peer_complain(const struct peer *peer, struct core_health_page *page) {
    char pid[32] = "";
    if (peer->pid != 0) {
        (void)snprintf(pid, sizeof(pid), " (pid %" PRId64 ")", peer->pid);
    }
    if (peer->client != NULL) {
        core_health_complain(page, "process_gone", CORE_HEALTH_PEER, peer->name, NULL, NULL,
                             "tapline %s%s%s%s is there and does not answer at %s: it may be frozen or hang",
                             peer->name, pid, peer->node[0] != '\0' ? ", node " : "", peer->node, peer->path);
    } else {
        core_health_complain(page, "process_gone", CORE_HEALTH_PEER, peer->name, NULL, NULL,
                             "tapline %s%s%s%s has gone: nobody answers at %s", peer->name, pid,
                             peer->node[0] != '\0' ? ", node " : "", peer->node, peer->path);
    }
}

void serve_peers_write(struct serve_peers *peers, struct core_health_page *page) {
    for (const struct peer *peer = peers->first; peer != NULL; peer = peer->next) {
        bool is_up = peer_is_up(peer);
        if (!is_up && peer_is_excused(peer)) {
            continue;
        }
        struct core_health_row *row = core_health_add(page, CORE_HEALTH_PEER, peer->name, NULL, NULL);
        core_health_set(row, CORE_PEER_UP, is_up ? 1 : 0);
        core_health_set(row, CORE_PEER_SILENT_SINCE, is_up ? 0 : peer->answered_ns);
        if (!is_up) {
            peer_complain(peer, page);
        }
    }
}

void serve_peers_put(const struct serve_peers *peers, struct core_buf *out) {
    for (const struct peer *peer = peers->first; peer != NULL; peer = peer->next) {
        if (peer->text == NULL || core_tick_ns() - peer->answered_tick > OLD_NS) {
            continue;
        }
        size_t room = (size_t)(out->end - out->pos);
        if (room > peer->len) {
            core_buf_char(out, ',');
            core_buf_put(out, peer->text, peer->len);
        } else if (room > peer->rows_at + HEAD_ROWS.len) {
            core_buf_char(out, ',');
            core_buf_put(out, peer->text, peer->rows_at);
            core_buf_span(out, HEAD_ROWS);
        }
    }
}

/* ---- life ------------------------------------------------------------------------------------------------------------------ */

struct serve_peers *serve_peers_new(struct serve_health *health) {
    struct serve_peers *peers = calloc(1, sizeof(*peers));
    MUST(peers != NULL);
    peers->health = health;
    return peers;
}

void serve_peers_free(struct serve_peers *peers) {
    while (peers->first != NULL) {
        struct peer *peer = peers->first;
        peers->first = peer->next;
        peer_free(peer);
    }
    free(peers);
}
