/* supervisor/serve_health_internal.h: between the files of Main that know how everything is: serve_health.c, serve_captures.c,
 * serve_peers.c, serve_page.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SUPERVISOR_SERVE_HEALTH_INTERNAL_H
#define TAPLINE_SUPERVISOR_SERVE_HEALTH_INTERNAL_H

#include "core/health.h"
#include "supervisor/serve_diag_internal.h"

#define SERVE_LOOK_NS CORE_NS_PER_S

struct serve_peers;
struct serve_captures;
struct serve_page;
struct serve_health {
    struct serve *serve;
    struct core_health *board;
    struct core_health_page *page; /* everything that Main has to say but its own row */
    struct core_timer look_timer;
    int64_t look_tick; /* of the last look */
    int64_t boot_ns;   /* wall clock of the machine's boot: a process's start is told in ticks since then */
    int64_t away_ns;   /* wall clock since when no Supervisor answers; 0: one does */
    char *own;         /* room for our own document */
    char *all;         /* … and for that of all */
    size_t all_len;    /* made in this turn; 0: not yet */
    int64_t all_tick;  /* when */
    struct serve_peers *peers;
    struct serve_captures *captures;
    struct serve_page *http;
};

/* {"control":bool,"processes":[document,…]}: ours first. Not older than a quarter of a second. Valid until it is asked for again. */
struct core_span serve_health_json(struct serve_health *health);

/* ---- serve_peers.c: other processes of tapline here, asked each second over their control sockets ------------------------------- */
struct serve_peers *serve_peers_new(struct serve_health *health);
void serve_peers_free(struct serve_peers *peers);
/* Look for new ones, ask those that are there. */
void serve_peers_turn(struct serve_peers *peers);
/* Their rows and what is to be said of them. */
void serve_peers_write(struct serve_peers *peers, struct core_health_page *page);
/* Their documents, each with a comma before it; cut where there is no room for all. */
void serve_peers_put(const struct serve_peers *peers, struct core_buf *out);
/* One document, bounded: members as they are, of each kind at most so many rows as there is room for, the rest counted in left_out.
 * *rows_at: where `,"rows":` begins. False: no room even without rows. */
bool serve_peer_document(const struct core_json_tree *document, struct core_buf *out, size_t *rows_at);

/* ---- serve_captures.c: Zeek's own counters of packets, asked each 15 s ------------------------------------------------------------- */
struct serve_captures *serve_captures_new(struct serve_health *health);
void serve_captures_free(struct serve_captures *captures); /* after serve_work_end_all() */
void serve_captures_turn(struct serve_captures *captures);
void serve_captures_write(const struct serve_captures *captures, struct core_health_page *page);

/* ---- serve_page.c: what Main has over HTTP beside /metrics ---------------------------------------------------------------------- */
struct serve_page *serve_page_new(struct serve_health *health);
void serve_page_free(struct serve_page *page); /* after the board, whose server it is on and which ends its streams */
/* Once a second: numbers to who watches. */
void serve_page_turn(struct serve_page *page);

/* The files of the page, in the program (configs/page, by page_files.cmake). */
struct serve_page_file {
    const char *path; /* "/page.js" */
    const char *type;
    const unsigned char *bytes;
    size_t len;
};
extern const struct serve_page_file serve_page_files[];
extern const size_t serve_page_files_len;

#endif
