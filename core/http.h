/* core/http.h: one GET of a small text over HTTP or HTTPS.
 *
 * The one wrapper of libcurl: its header appears in core/http.c and nowhere else.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_HTTP_H
#define TAPLINE_CORE_HTTP_H

#include "core/core.h"

#define CORE_HTTP_REDIRECTS_MAX 3

/* Fetch a URL. Of HTTPS the certificate and its name are always checked, against the system's authorities. Redirects are
 * followed, to http and https only. The environment's proxies count (http_proxy, https_proxy, no_proxy), as for curl.
 * Shape:   *body gets *len bytes and a NUL behind them.
 * Units:   timeout_ms for the whole, name lookup to last byte; bytes_max of the body.
 * Owns:    *body is malloc'ed; NULL on an error.
 * Errors:  CORE_BAD the URL is none · CORE_NET nobody there, too slow, a bad certificate, or a status other than 200 ·
 *          CORE_LIMIT the body is longer than bytes_max, or no memory.
 * Thread:  any; the first call of a process before its second thread begins. */
CORE_CHECKED enum core_err core_http_get(const char *url, int timeout_ms, size_t bytes_max, char **body, size_t *len,
                                         struct core_fail *fail);

#endif
