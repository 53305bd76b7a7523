/* core/http_internal.h: how requests of core/http.c and core/http_pool.c are set up, limited and spoken of: in one way.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_HTTP_INTERNAL_H
#define TAPLINE_CORE_HTTP_INTERNAL_H

#include "core/http.h"

#include <curl/curl.h>

#define CORE_HTTP_OK 200

/* What a connection is trusted by, and trusts. Texts are the caller's; libcurl copies them. */
struct core_http_trust {
    const char *ca_file;   /* PEM; NULL: the system's */
    const char *cert_file; /* PEM, ours; NULL: none */
    const char *key_file;  /* of cert_file; NULL: it is in cert_file, too */
};

/* An answer's body, with its stated maximum. Owns: ptr is malloc'ed; len bytes and a NUL, once something came. */
struct core_http_body {
    char *ptr;
    size_t len;
    size_t cap;
    size_t max;       /* of len */
    bool is_too_long; /* more would have come, or there is no memory for it */
};

/* Of all requests: http and https only, certificate and name are checked, no signals. False: libcurl was built without. */
bool core_http_curl_basics(CURL *curl, const struct core_http_trust *trust);
/* A POST of these bytes, which must stay where they are; a method in words (NULL: what libcurl makes of it). */
bool core_http_curl_body(CURL *curl, const char *method, struct core_span body);
/* Where the answer's body goes: a CURLOPT_WRITEFUNCTION whose CURLOPT_WRITEDATA is a struct core_http_body. */
size_t core_http_curl_take(char *piece, size_t size, size_t count, void *body_ptr);
/* Append "name: value", or, without a value, "name:", which takes libcurl's own header of this name away. False: it is too
 * long, has a line's end in it, or there is no memory. */
bool core_http_curl_header(struct curl_slist **list, const struct core_http_header *header);
/* What a transfer without an answer means. words: libcurl's own; "": those of the code. CORE_BAD: the URL is none, or a file
 * of ours is none; else CORE_NET. */
enum core_err core_http_curl_failed(CURLcode code, const char *words, const char *shown, struct core_fail *fail);
/* Would another try be able to end differently, without a person doing something? */
bool core_http_curl_may_pass(CURLcode code);
/* The secret is overwritten, so that a server that repeats it does not bring it into a log. NULL: none. */
void core_http_secret_hide(const char *secret, struct core_fail *fail);
/* The wait before try number tries + 1: twice as long each time, between half of it and all of it, so that many who failed
 * together do not come back together. */
int64_t core_http_wait_ns(int64_t first_ns, int64_t max_ns, unsigned tries);

#endif
