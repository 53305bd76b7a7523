/* enrich/sync_internal.h: what a sync and the sources that are servers share.
 *
 *   sync.c         a feed into the store: lease, state, fetch, judge, write, sweep
 *   sync_spool.c   what was read, on disk, until all of it was; and a set of what it names
 *   source_http.c  requests of a feed, with its credentials; a feed that is one file behind a URL
 *   source_cif.c, source_taxii.c, source_misp_fetch.c   servers
 *   sighting_post.c  what was seen, told to them
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_SYNC_INTERNAL_H
#define TAPLINE_ENRICH_SYNC_INTERNAL_H

#include "core/http.h"
#include "core/json_tree.h"
#include "enrich/enrich_internal.h"

/* ---- the spool: sync_spool.c ------------------------------------------------------------------------------------------------ */

/* Items in the order they came, in a file without a name in $TMPDIR (/tmp): about 200 bytes each. And the hashes of what they
 * name: 8 bytes each at up to 70 % load, so at most 23 bytes an indicator, and half as much again while it grows: 230 MB for
 * 10 M, 350 MB for a moment. Two of 10 M names have the same hash once in 300,000 syncs; the second is left out then. */
struct sync_spool;

CORE_CHECKED enum core_err sync_spool_open(struct sync_spool **out, const char *feed, uint64_t items_max,
                                           struct core_fail *fail);
void sync_spool_close(struct sync_spool *spool); /* takes NULL */
/* Of two with the same type, value and provider the first counts: a feed that names one twice would change it twice each
 * time. What is gone counts only if nothing else in the spool has its name. Errors: CORE_LIMIT items_max are there · CORE_AGAIN it is there already · CORE_IO. */
CORE_CHECKED enum core_err sync_spool_add(struct sync_spool *spool, const struct enrich_item *item, bool is_gone,
                                          struct core_fail *fail);
uint64_t sync_spool_items(const struct sync_spool *spool); /* without what is gone */
uint64_t sync_spool_print(const struct sync_spool *spool); /* the same for the same names, in any order */
bool sync_spool_has(const struct sync_spool *spool, enum core_indicator type, struct core_span value,
                    const char *provider);
/* From the beginning, one by one. CORE_GONE: that was the last. Owns: texts live until the next call. */
CORE_CHECKED enum core_err sync_spool_rewind(struct sync_spool *spool, struct core_fail *fail);
CORE_CHECKED enum core_err sync_spool_next(struct sync_spool *spool, struct enrich_item *item, bool *is_gone,
                                           struct core_fail *fail);

/* ---- requests of a feed: source_http.c --------------------------------------------------------------------------------------- */

#define SOURCE_URL_BYTES_MAX 4096
#define SOURCE_ANSWER_BYTES_MAX SOURCE_JSON_BYTES_MAX
#define SOURCE_PAGES_MAX 100000 /* of one feed: then its server goes round in circles */

/* Whom a source asks, and for whom. */
struct source_server {
    const struct enrich_feed_conf *feed;
    const struct enrich_read_calls *calls;
    struct enrich_sync_report *report; /* wait_s is set if the server wants peace */
    const char *authorization; /* what stands before the token: "Bearer ", "" …; with a username it is Basic */
    const char *accept;        /* NULL: anything */
    struct core_http_session *session; /* NULL: a connection for each request */
};
struct source_request {
    const char *url;
    const struct core_conf_list *state; /* with etag and last_modified: only if it has changed; NULL: anyhow */
    const char *method;                 /* NULL: GET, or POST with json */
    struct core_span json;              /* a body; ptr NULL: none */
    size_t bytes_max;                   /* 0: SOURCE_ANSWER_BYTES_MAX */
};
/* core_http_send() with what the feed's section says. */
CORE_CHECKED enum core_err source_send(const struct source_server *server, const struct source_request *request,
                                       struct core_http_answer *answer, struct core_fail *fail);
/* GET, and the answer as JSON. Owns: core_arena_destroy(arena), also after an error (zero it first). */
CORE_CHECKED enum core_err source_get_json(const struct source_server *server, const char *url,
                                           struct core_arena *arena, struct core_json_tree **out,
                                           struct core_fail *fail);
/* The answer as JSON. Owns: core_arena_destroy(arena), also after an error (zero it first). */
CORE_CHECKED enum core_err source_json(const struct core_http_answer *answer, const char *url, struct core_arena *arena,
                                       struct core_json_tree **out, struct core_fail *fail);
/* Keep ETag and Last-Modified for the next time. */
CORE_CHECKED enum core_err source_keep(const struct core_http_answer *answer, struct core_conf_list *state,
                                       struct core_fail *fail);
/* feed->url and a path behind it, with one slash between them, its "?…" left out. False: too long. */
CORE_CHECKED bool source_url(const struct enrich_feed_conf *feed, const char *path, char out[SOURCE_URL_BYTES_MAX]);
/* Add "?key=value" or "&key=value", escaped. False: too long. */
CORE_CHECKED bool source_url_add(char url[SOURCE_URL_BYTES_MAX], const char *key, const char *value);
enum core_err source_url_long(const char *url, struct core_fail *fail); /* CORE_LIMIT, and says so */
/* "2026-11-21T02:58:30Z" of seconds since 1970. */
void source_time_write(int64_t seconds, char out[24]);
/* The option's number, or other if it is not given. CORE_BAD: it is none from min to max. */
CORE_CHECKED enum core_err source_option_number(const struct enrich_feed_conf *feed, const char *key, uint64_t other,
                                                uint64_t max, uint64_t *out, struct core_fail *fail);

/* A feed that is one file behind feed->url. */
enum core_err source_http_fetch(const struct enrich_feed_conf *feed, struct core_conf_list *state,
                                const struct enrich_read_calls *calls, struct enrich_sync_report *report,
                                struct core_fail *fail);
extern const struct source_option source_misp_options[];
enum core_err source_misp_check(const struct enrich_feed_conf *feed, struct core_fail *fail);
enum core_err source_misp_fetch(const struct enrich_feed_conf *feed, struct core_conf_list *state,
                                const struct enrich_read_calls *calls, struct enrich_sync_report *report,
                                struct core_fail *fail);

#endif
