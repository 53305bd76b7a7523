/* core/httpd.h: a small HTTP server in a core_loop: /metrics, /healthz, Main's page. Wraps libmicrohttpd.
 *
 * It listens on the loopback only, and answers only requests whose Host is a loopback name ("localhost", 127.0.0.0/8, [::1], with any
 * port): a page from elsewhere that has its own name point here (DNS rebinding) gets 403. Connections are limited (64), idle ones are
 * closed after 30 s (streams are not idle), a request has at most CORE_HTTPD_BODY_BYTES_MAX of body. Everything runs in the loop's
 * thread: an answer must not wait for anything.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_HTTPD_H
#define TAPLINE_CORE_HTTPD_H

#include "core/loop.h"

#define CORE_HTTPD_BODY_BYTES_MAX ((size_t)64 * 1024)
#define CORE_HTTPD_STREAMS_MAX 16
#define CORE_HTTPD_QUEUED_BYTES_MAX ((size_t)4 * 1024 * 1024) /* of a stream whose reader is slow; then it is closed */

struct core_httpd;
struct core_httpd_request; /* valid during the route's call only */
struct core_httpd_stream;

/* Answer by exactly one of core_httpd_reply() and core_httpd_stream(). */
typedef void core_httpd_answer(void *ctx, struct core_httpd_request *request);

/* Listen on "127.0.0.1:9600" or "[::1]:9600"; port 0: any free one. Owns: core_httpd_free(*out).
 * Errors: CORE_BAD no loopback address · CORE_IO the port is in use, or may not be had: fail says by what. */
CORE_CHECKED enum core_err core_httpd_new(struct core_httpd **out, struct core_loop *loop, const char *address,
                                          struct core_fail *fail);
void core_httpd_free(
    struct core_httpd *httpd); /* takes NULL; ends streams (on_closed of those not ended); not from an answer */
int core_httpd_port(const struct core_httpd *httpd);
/* method: "GET" (HEAD comes with it) or "POST"; path: exact. Texts are the caller's. Anything else: 404, or 405 with Allow. */
void core_httpd_route(struct core_httpd *httpd, const char *method, const char *path, core_httpd_answer *answer,
                      void *ctx);

const char *core_httpd_header(const struct core_httpd_request *request, const char *name); /* NULL: not sent */
const char *core_httpd_query(const struct core_httpd_request *request,
                             const char *name); /* unescaped; NULL: not there */
struct core_span core_httpd_body(const struct core_httpd_request *request);
/* headers: "Name: value" texts, NULL-terminated; may be NULL. The body is copied. Each answer also says nosniff, no-store and, for
 * HTML, what core_httpd_csp() was told. */
void core_httpd_reply(struct core_httpd_request *request, int status, const char *content_type,
                      const char *const *headers, struct core_span body);
/* Content-Security-Policy of HTML answers; default "default-src 'none'". Static text. */
void core_httpd_csp(struct core_httpd *httpd, const char *policy);

/* Keep the connection open and send as it comes (server-sent events). on_closed: the reader has gone, or was too slow; the stream
 * is of no more use then. Not called behind core_httpd_stream_end(). NULL: too many streams; 503 was answered. */
struct core_httpd_stream *core_httpd_stream(struct core_httpd_request *request, const char *content_type,
                                            void (*on_closed)(void *ctx), void *ctx);
void core_httpd_stream_write(struct core_httpd_stream *stream, struct core_span bytes); /* copied; never waits */
void core_httpd_stream_end(struct core_httpd_stream *stream);

#endif
