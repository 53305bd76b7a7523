/* core/http.c: the one wrapper of libcurl.
 *
 * One easy handle a call: what is fetched is small and seldom (a sensor's counters, twice a minute), so a connection that
 * is kept would gain nothing and could be stale. The body grows up to its stated maximum and no further.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/http.h"

#include <curl/curl.h>
#include <stdlib.h>

#define HTTP_OK 200
#define URL_SHOWN_MAX 200

struct body {
    char *bytes;
    size_t len;
    size_t max;
    bool is_too_long;
};

/* curl calls it with one piece after the other; less than it was given ends the transfer. */
static size_t body_take(char *piece, size_t size, size_t count, void *body_ptr) {
    struct body *body = body_ptr;
    size_t len = size * count;
    if (len > body->max - body->len) {
        body->is_too_long = true;
        return 0;
    }
    char *grown = realloc(body->bytes, body->len + len + 1);
    if (grown == NULL) {
        body->is_too_long = true;
        return 0;
    }
    memcpy(grown + body->len, piece, len);
    body->bytes = grown;
    body->len += len;
    body->bytes[body->len] = '\0';
    return len;
}

/* Options that only a curl built without them refuses. */
static bool options_set(CURL *curl, const char *url, int timeout_ms, struct body *body, char *words) {
    bool is_set = curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK;
    is_set = curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https") == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)CORE_HTTP_REDIRECTS_MAX) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK && is_set; /* 2: the name, too */
    is_set = curl_easy_setopt(curl, CURLOPT_USERAGENT, "tapline") == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, words) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body_take) == CURLE_OK && is_set;
    return curl_easy_setopt(curl, CURLOPT_WRITEDATA, body) == CURLE_OK && is_set;
}

static enum core_err failed(const char *url, CURLcode code, const char *words, const struct body *body,
                            struct core_fail *fail) {
    if (body->is_too_long) {
        return core_fail_set(fail, CORE_LIMIT, url, "the answer is longer than %zu bytes; is this the right URL?",
                             body->max);
    }
    bool is_url = code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL;
    return core_fail_set(fail, is_url ? CORE_BAD : CORE_NET, url, "%s",
                         words[0] != '\0' ? words : curl_easy_strerror(code));
}

enum core_err core_http_get(const char *url, int timeout_ms, size_t bytes_max, char **body_out, size_t *len,
                            struct core_fail *fail) {
    MUST(url != NULL);
    MUST(timeout_ms > 0);
    char words[CURL_ERROR_SIZE] = "";
    struct body body = {.max = bytes_max};
    enum core_err err = CORE_OK;
    *body_out = NULL;
    *len = 0;
    CURL *curl = curl_easy_init();
    if (curl == NULL || !options_set(curl, url, timeout_ms, &body, words)) {
        err = core_fail_set(fail, CORE_IO, url, "libcurl cannot be used: no memory, or it was built without HTTP");
        goto out;
    }
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        err = failed(url, code, words, &body, fail);
        goto out;
    }
    long status = 0;
    MUST(curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK);
    if (status != HTTP_OK) {
        err = core_fail_set(fail, CORE_NET, url, "the server answers with status %ld, not 200: %.*s", status,
                            URL_SHOWN_MAX, body.bytes == NULL ? "" : body.bytes);
        goto out;
    }
    *body_out = body.bytes == NULL ? calloc(1, 1) : body.bytes;
    MUST(*body_out != NULL);
    *len = body.len;
    body.bytes = NULL;
out:
    free(body.bytes);
    curl_easy_cleanup(curl); /* takes NULL */
    return err;
}
