/* core/http_pool.h: many HTTP requests at once to a set of equal nodes (the nodes of one search engine).
 *
 * Connections are kept open, requests go to the nodes in turn. A node that cannot be reached, is cut off in the middle, is
 * too slow or answers 502, 503 or 504 rests: from about a second to a minute (to five seconds while no node is well), twice
 * as long each time until a request with a body has gone well; then one GET / asks whether it is well again, and only if it
 * answers it gets requests. When all rest, what is submitted waits for the first that is well. The pool repeats nothing by
 * itself: what a failure means is the owner's business (but libcurl sends once more what it had sent on a kept connection that
 * the server closed without a byte of an answer, so a request must be one that may come twice). Redirects are not followed,
 * answers are not asked to be compressed, HTTP/1.1 is spoken. TLS, proxies, messages: as core/http.h.
 *
 *   open -> submit … poll … -> close
 *
 * Thread: one thread calls everything of one pool; the first call of a process comes before its second thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_HTTP_POOL_H
#define TAPLINE_CORE_HTTP_POOL_H

#include "core/http.h"

struct core_http_pool;

/* All texts are copied at open. */
struct core_http_pool_conf {
    const char *const *urls; /* "https://es1:9200", "http://proxy/es": a path of theirs comes before a request's */
    size_t urls_len;
    const struct core_http_header *headers; /* of every request, the probe too: authorization, user agent */
    size_t headers_len;
    const char *ca_file;    /* PEM; NULL: the system's */
    const char *cert_file;  /* PEM, ours; NULL: none */
    const char *key_file;   /* of cert_file; NULL: it is in cert_file, too */
    const char *secret;     /* becomes *** wherever a message would show it; NULL: none */
    unsigned requests_max;  /* under way at once, of all nodes */
    int connect_timeout_ms; /* name lookup to the end of TLS */
    int timeout_ms;         /* of one request as a whole, without the wait for a node */
    size_t bytes_max;       /* of an answer's body, decompressed */
    int wake_fd;            /* poll() returns early when it is readable (not drained here); -1: none */
};

struct core_http_pool_request {
    const char *method; /* "POST" */
    const char *path;   /* "/_bulk?filter_path=errors"; begins with '/' */
    const struct core_http_header *headers;
    size_t headers_len;
    struct core_span body; /* must stay valid and unchanged until the request is done; ptr NULL: none */
    void *ticket;          /* comes back when it is done */
};

/* An answer, or that there is none. */
struct core_http_pool_done {
    void *ticket;
    int status;            /* 0: no answer; fail says why */
    bool is_sent;          /* the node may have got the whole request: it may have been carried out */
    const char *node;      /* its URL as messages show it; the pool's, valid until close; "" if none was tried */
    struct core_span body; /* a NUL follows; valid until the next call with this pool */
    int64_t retry_after_s; /* what the server asked for with 429 or 503; 0: nothing */
    int64_t elapsed_ns;    /* from its first byte out to its last byte in */
    /* With status 0. CORE_NET: unreachable, cut, too slow, a certificate that is not trusted · CORE_LIMIT: longer than
     * bytes_max · CORE_BAD: a certificate's file of ours is none · CORE_IO: a header of ours has a line's end in it. */
    struct core_fail fail;
};

/* Make a pool; contacts nobody. Errors: CORE_BAD a URL is none, or a certificate's file cannot be read; CORE_IO libcurl
 * cannot be used. */
CORE_CHECKED enum core_err core_http_pool_open(struct core_http_pool **out, const struct core_http_pool_conf *conf,
                                               struct core_fail *fail);
/* Would one more be taken now? */
bool core_http_pool_has_room(const struct core_http_pool *pool);
/* Take a request. It is an error of ours (MUST) to submit without room. method, path and headers are copied. */
void core_http_pool_submit(struct core_http_pool *pool, const struct core_http_pool_request *request);
/* Requests that are done, in any order. Waits up to timeout_ms (0: no wait) if there is none. Returns their number. */
size_t core_http_pool_poll(struct core_http_pool *pool, struct core_http_pool_done *done, size_t max, int timeout_ms);
/* Nodes that are not resting. */
size_t core_http_pool_well(const struct core_http_pool *pool);
/* A node, as it is now. */
struct core_http_pool_node {
    const char
        *shown; /* its URL as messages show it, and as core_http_pool_done has it: the same pointer; until close */
    bool is_well;
    const char *why; /* why it rests, or rested last; "" if it never did; until the next call with this pool */
};
/* False: there are no more than i. */
bool core_http_pool_node(const struct core_http_pool *pool, size_t i, struct core_http_pool_node *out);
/* What is under way is cut off and forgotten. Takes NULL. */
void core_http_pool_close(struct core_http_pool *pool);

#endif
