/* core/http.h: HTTP and HTTPS: one GET of a small text, and whole requests with headers, a body, retries.
 *
 * libcurl is wrapped here and in core/http_pool.h (many at once); its header appears in core/http_internal.h and nowhere
 * else. Of HTTPS the certificate and its name are always checked. Redirects are followed, from https to https only, and
 * credentials stay with the server they are for. The environment's proxies count (http_proxy, https_proxy, no_proxy), as
 * for curl.
 * Messages name a URL without its user and without what follows "?", and no word that is declared a secret.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_HTTP_H
#define TAPLINE_CORE_HTTP_H

#include "core/core.h"

#define CORE_HTTP_REDIRECTS_MAX 3
#define CORE_HTTP_HEADERS_MAX 32        /* of a request, and kept of an answer */
#define CORE_HTTP_HEADER_BYTES_MAX 4096 /* name and value; a longer one of an answer is not kept */
#define CORE_HTTP_URL_SHOWN_MAX 200

struct core_http_header {
    const char *name;
    const char *value;
};

/* Keeps connections open between requests, for who sends many to one server. Thread: one at a time. */
struct core_http_session;
struct core_http_session *core_http_session_new(void); /* NULL: libcurl cannot be used; the request will say so */
void core_http_session_free(struct core_http_session *session); /* takes NULL */

struct core_http_request {
    const char *method; /* NULL: GET, or POST if there is a body */
    const char *url;
    const struct core_http_header *headers;
    size_t headers_len;
    struct core_span body;             /* ptr NULL: none */
    const char *ca_file;               /* PEM; NULL: the system's */
    const char *cert_file;             /* PEM, ours; NULL: none */
    const char *key_file;              /* of cert_file; NULL: it is in cert_file, too */
    struct core_http_session *session; /* whose connections are used again; NULL: one of this request's own */
    const char *secret;                /* becomes *** wherever a message would show it; NULL: none */
    int timeout_ms;                    /* of one try, name lookup to last byte */
    int stall_ms;                      /* of one try: so long without a byte; 0: only timeout_ms counts */
    unsigned tries;                    /* at most; 0 is 1 */
    int64_t patience_ns;               /* no further try begins so long after the first, and no wait is longer */
    size_t bytes_max;                  /* of the answer's body, decompressed */
    bool (*goes_on)(void *ctx);        /* asked twenty times a second while it waits; false ends it; NULL: always */
    void *ctx;
};

struct core_http_answer {
    int status; /* 0: none came */
    char *body; /* NUL behind it; NULL without an answer */
    size_t len;
    char *headers[CORE_HTTP_HEADERS_MAX]; /* "name: value" of the last answer, if there were redirects */
    size_t headers_len;
    int64_t retry_after_s; /* what the server asked for with 429 or 503; 0: nothing */
    unsigned tries;
};

/* Send a request and take the answer.
 * A network that fails, a body that ends too early and the statuses 408, 425, 429, 500, 502, 503 and 504 are tried again,
 * after twice as long each time (from half a second to half a minute, each with a random part), or after what Retry-After
 * says. Not for requests that must not be sent twice.
 * Owns:    core_http_answer_release(answer), also after an error: status and headers may be there then, body is not.
 * Errors:  CORE_BAD the URL is none, a certificate's file is none, or it is refused: statuses 400 to 499 but the above ·
 *          CORE_NET nobody there, too slow, a bad certificate, another status than 2xx and 304 · CORE_LIMIT the body is
 *          longer than bytes_max, or no memory · CORE_AGAIN goes_on ended it · CORE_IO libcurl cannot be used.
 * Thread:  any; the first call of a process before its second thread begins.     Source: RFC 9110. */
CORE_CHECKED enum core_err core_http_send(const struct core_http_request *request, struct core_http_answer *answer,
                                          struct core_fail *fail);
void core_http_answer_release(struct core_http_answer *answer); /* takes a zeroed one */
/* The value of an answer's header, its name in any case; NULL: it has none. */
const char *core_http_header(const struct core_http_answer *answer, const char *name);
/* The URL as messages show it. */
void core_http_shown(const char *url, char out[CORE_HTTP_URL_SHOWN_MAX]);

/* Fetch a URL, once.
 * Shape:   *body gets *len bytes and a NUL behind them.
 * Units:   timeout_ms for the whole, name lookup to last byte; bytes_max of the body.
 * Owns:    *body is malloc'ed; NULL on an error.
 * Errors:  CORE_BAD the URL is none · CORE_NET nobody there, too slow, a bad certificate, or a status other than 200 ·
 *          CORE_LIMIT the body is longer than bytes_max, or no memory.
 * Thread:  any; the first call of a process before its second thread begins. */
CORE_CHECKED enum core_err core_http_get(const char *url, int timeout_ms, size_t bytes_max, char **body, size_t *len,
                                         struct core_fail *fail);

#endif
