/* core/http.c: the wrapper of libcurl: a request alone. Many at once are core/http_pool.c's; what both share stands here.
 *
 * One easy handle a request, used for all its tries, or a session's: what is fetched alone is seldom (a sensor's counters twice
 * a minute), so a connection that is kept would gain nothing and could be stale; who reads a thousand events of a feed
 * keeps one. The body grows up to its stated maximum and no further. It runs alone in a multi handle: while nothing comes,
 * curl_easy_perform() would ask only about once a second whether to go on.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/http_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define HTTP_NOT_MODIFIED 304
#define BODY_SHOWN_MAX 200
#define BODY_BYTES_FIRST ((size_t)16 * CORE_KIB)
#define CONNECT_MS_MAX 20000
#define WAIT_FIRST_NS (CORE_NS_PER_S / 2)
#define WAIT_MAX_NS (30 * CORE_NS_PER_S)
#define SLICE_NS (100 * CORE_NS_PER_MS)
#define GOES_ON_EVERY_MS 50 /* who waits serves others meanwhile, from goes_on */
#define STEP_MS 1000        /* nobody is asked */

struct transfer {
    const struct core_http_request *request;
    struct core_http_answer *answer;
    CURL *curl;
    CURLM *multi;
    struct curl_slist *headers;
    struct core_http_body body; /* the answer's, as soon as it has ended */
    bool is_ended;              /* goes_on said so */
    int64_t asked_ns;
    char words[CURL_ERROR_SIZE];
};

struct core_http_session {
    CURL *curl;
    CURLM *multi; /* has the connections */
};

struct core_http_session *core_http_session_new(void) {
    struct core_http_session *session = calloc(1, sizeof *session);
    if (session != NULL) {
        session->curl = curl_easy_init(); /* before the other: it sets up the library */
        session->multi = curl_multi_init();
    }
    return session;
}

void core_http_session_free(struct core_http_session *session) {
    if (session != NULL) {
        curl_easy_cleanup(session->curl);   /* takes NULL */
        curl_multi_cleanup(session->multi); /* takes NULL */
        free(session);
    }
}

void core_http_shown(const char *url, char out[CORE_HTTP_URL_SHOWN_MAX]) {
    const char *host = strstr(url, "://");
    const char *end = url + strcspn(url, "?#");
    host = host == NULL || host > end ? url : host + 3;
    const char *at = memchr(host, '@', strcspn(host, "/?#"));
    int scheme_len = (int)(host - url);
    if (at != NULL) {
        host = at + 1;
    }
    snprintf(out, CORE_HTTP_URL_SHOWN_MAX, "%.*s%.*s%s", scheme_len, url, (int)(end - host), host,
             *end == '?' ? "?…" : "");
}

/* ---- what the pool does the same way ------------------------------------------------------------------------------------------ */

static bool body_grow(struct core_http_body *body, size_t need) {
    size_t cap = body->cap * 2 > BODY_BYTES_FIRST ? body->cap * 2 : BODY_BYTES_FIRST;
    cap = cap < need ? need : cap;
    char *grown = realloc(body->ptr, cap);
    if (grown == NULL) {
        return false;
    }
    body->ptr = grown;
    body->cap = cap;
    return true;
}

/* One piece after the other; less than it was given ends the transfer. */
size_t core_http_curl_take(char *piece, size_t size, size_t count, void *body_ptr) {
    struct core_http_body *body = body_ptr;
    size_t len = size * count;
    if (len > body->max - body->len || (body->len + len + 1 > body->cap && !body_grow(body, body->len + len + 1))) {
        body->is_too_long = true;
        return 0;
    }
    memcpy(body->ptr + body->len, piece, len);
    body->len += len;
    body->ptr[body->len] = '\0';
    return len;
}

bool core_http_curl_header(struct curl_slist **list, const struct core_http_header *header) {
    char line[CORE_HTTP_HEADER_BYTES_MAX];
    int len = snprintf(line, sizeof line, "%s: %s", header->name, header->value);
    MUST(len > 0);
    if ((size_t)len >= sizeof line || strpbrk(line, "\r\n") != NULL) {
        return false;
    }
    struct curl_slist *grown = curl_slist_append(*list, line);
    *list = grown != NULL ? grown : *list;
    return grown != NULL;
}

static bool tls_set(CURL *curl, const struct core_http_trust *trust) {
    bool is_set = curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK;
    is_set = curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK && is_set; /* 2: the name, too */
    if (trust->ca_file != NULL) {
        is_set = curl_easy_setopt(curl, CURLOPT_CAINFO, trust->ca_file) == CURLE_OK && is_set;
        is_set = curl_easy_setopt(curl, CURLOPT_CAPATH, NULL) == CURLE_OK && is_set;
    }
    if (trust->cert_file != NULL) {
        const char *key = trust->key_file != NULL ? trust->key_file : trust->cert_file;
        is_set = curl_easy_setopt(curl, CURLOPT_SSLCERT, trust->cert_file) == CURLE_OK && is_set;
        is_set = curl_easy_setopt(curl, CURLOPT_SSLKEY, key) == CURLE_OK && is_set;
    }
    return is_set;
}

bool core_http_curl_basics(CURL *curl, const struct core_http_trust *trust) {
    bool is_set = curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    is_set = curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_USERAGENT, "tapline") == CURLE_OK && is_set;
    return tls_set(curl, trust) && is_set;
}

bool core_http_curl_body(CURL *curl, const char *method, struct core_span body) {
    bool is_set = true;
    if (body.ptr != NULL) {
        is_set = curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len) == CURLE_OK;
        is_set = curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.ptr) == CURLE_OK && is_set;
    }
    if (method != NULL) {
        is_set = curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK && is_set;
    }
    return is_set;
}

static bool code_is_ours(CURLcode code) {
    return code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_SSL_CERTPROBLEM ||
           code == CURLE_SSL_CACERT_BADFILE;
}

bool core_http_curl_may_pass(CURLcode code) {
    return !code_is_ours(code) && code != CURLE_PEER_FAILED_VERIFICATION && code != CURLE_TOO_MANY_REDIRECTS;
}

enum core_err core_http_curl_failed(CURLcode code, const char *words, const char *shown, struct core_fail *fail) {
    return core_fail_set(fail, code_is_ours(code) ? CORE_BAD : CORE_NET, shown, "%s%s",
                         words[0] != '\0' ? words : curl_easy_strerror(code),
                         code == CURLE_PEER_FAILED_VERIFICATION ? "; if the authority is one of your own, give its file"
                                                                : "");
}

void core_http_secret_hide(const char *secret, struct core_fail *fail) {
    if (fail == NULL || secret == NULL || secret[0] == '\0') {
        return;
    }
    size_t len = strlen(secret);
    for (char *at = fail->text; (at = strstr(at, secret)) != NULL; at += len) { /* it may be "***" itself */
        memset(at, '*', len);
    }
}

int64_t core_http_wait_ns(int64_t first_ns, int64_t max_ns, unsigned tries) {
    int64_t longest = first_ns;
    uint64_t random = 0;
    for (unsigned i = 1; i < tries && longest < max_ns; i++) {
        longest *= 2;
    }
    longest = longest < max_ns ? longest : max_ns;
    MUST(getrandom(&random, sizeof random, 0) == (ssize_t)sizeof random);
    return longest / 2 + (int64_t)(random % (uint64_t)(longest / 2 + 1));
}

static bool goes_on(struct transfer *transfer) {
    int64_t now_ns = core_tick_ns();
    if (transfer->request->goes_on == NULL || now_ns - transfer->asked_ns < GOES_ON_EVERY_MS * CORE_NS_PER_MS) {
        return true;
    }
    transfer->asked_ns = now_ns;
    transfer->is_ended = !transfer->request->goes_on(transfer->request->ctx);
    return !transfer->is_ended;
}

/* ---- a request ------------------------------------------------------------------------------------------------------------------ */

static bool headers_set(struct transfer *transfer) {
    const struct core_http_request *request = transfer->request;
    for (size_t i = 0; i < request->headers_len; i++) {
        if (!core_http_curl_header(&transfer->headers, &request->headers[i])) {
            return false;
        }
    }
    return curl_easy_setopt(transfer->curl, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK;
}

static bool limits_set(struct transfer *transfer) {
    const struct core_http_request *request = transfer->request;
    CURL *curl = transfer->curl;
    long connect_ms = request->timeout_ms < CONNECT_MS_MAX ? request->timeout_ms : CONNECT_MS_MAX;
    bool is_set = curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms) == CURLE_OK;
    is_set = curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, connect_ms) == CURLE_OK && is_set;
    if (request->stall_ms > 0) {
        is_set = curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L) == CURLE_OK && is_set;
        is_set = curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)(request->stall_ms + 999) / 1000) == CURLE_OK &&
                 is_set;
    }
    return is_set;
}

/* Options that only a curl built without them refuses, or a header that is none. */
static bool options_set(struct transfer *transfer) {
    const struct core_http_request *request = transfer->request;
    CURL *curl = transfer->curl;
    bool is_https = strncmp(request->url, "https:", strlen("https:")) == 0;
    const struct core_http_trust trust = {request->ca_file, request->cert_file, request->key_file};
    bool is_set = core_http_curl_basics(curl, &trust);
    is_set = curl_easy_setopt(curl, CURLOPT_URL, request->url) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, is_https ? "https" : "http,https") == CURLE_OK &&
             is_set; /* nothing of a session with TLS goes on without it */
    is_set = curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)CORE_HTTP_REDIRECTS_MAX) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "") == CURLE_OK && is_set; /* all that it can undo */
    is_set = curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, transfer->words) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, core_http_curl_take) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer->body) == CURLE_OK && is_set;
    is_set = limits_set(transfer) && is_set;
    is_set = headers_set(transfer) && is_set;
    return core_http_curl_body(curl, request->method, request->body) && is_set;
}

/* ---- an answer ------------------------------------------------------------------------------------------------------------------ */

void core_http_answer_release(struct core_http_answer *answer) {
    for (size_t i = 0; i < answer->headers_len; i++) {
        free(answer->headers[i]);
    }
    free(answer->body);
    *answer = (struct core_http_answer){0};
}

const char *core_http_header(const struct core_http_answer *answer, const char *name) {
    size_t len = strlen(name);
    for (size_t i = 0; i < answer->headers_len; i++) {
        if (curl_strnequal(answer->headers[i], name, len) && answer->headers[i][len] == ':') {
            return answer->headers[i] + len + 2;
        }
    }
    return NULL;
}

static void headers_keep(struct transfer *transfer) {
    struct core_http_answer *answer = transfer->answer;
    struct curl_header *header = NULL;
    while (answer->headers_len < CORE_HTTP_HEADERS_MAX &&
           (header = curl_easy_nextheader(transfer->curl, CURLH_HEADER, -1, header)) != NULL) {
        char *kept = NULL;
        bool is_short = strlen(header->name) + strlen(header->value) + 3 <= CORE_HTTP_HEADER_BYTES_MAX;
        if (is_short && asprintf(&kept, "%s: %s", header->name, header->value) > 0) {
            answer->headers[answer->headers_len++] = kept;
        }
    }
}

/* What a server says to people, on one line. */
static void body_shown(const struct core_http_answer *answer, char out[BODY_SHOWN_MAX + 1]) {
    size_t len = answer->len < BODY_SHOWN_MAX ? answer->len : BODY_SHOWN_MAX;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)answer->body[i];
        out[i] = c < ' ' || c == 0x7f ? ' ' : (char)c;
    }
    out[len] = '\0';
}

static const char *status_help(long status) {
    switch (status) {
    case 401:
        return "; is the token right?";
    case 403:
        return "; may this token do that?";
    case 404:
        return "; is this the right URL?";
    case 406:
        return "; does it speak this version?";
    case 429:
        return "; we ask too often for it";
    default:
        return "";
    }
}

static bool status_may_change(long status) {
    return status == 408 || status == 425 || status == 429 || status == 500 || status == 502 || status == 503 ||
           status == 504;
}

static enum core_err status_refused(const struct transfer *transfer, const char *shown, bool *may_try_again,
                                    struct core_fail *fail) {
    char said[BODY_SHOWN_MAX + 1];
    int status = transfer->answer->status;
    bool is_ours = status >= 400 && status < 500 && !status_may_change(status);
    *may_try_again = status_may_change(status);
    body_shown(transfer->answer, said);
    return core_fail_set(fail, is_ours ? CORE_BAD : CORE_NET, shown, "the server answers with status %d, not 200%s%s%s",
                         status, status_help(status), said[0] == '\0' ? "" : ": ", said);
}

static enum core_err curl_failed(const struct transfer *transfer, CURLcode code, const char *shown, bool *may_try_again,
                                 struct core_fail *fail) {
    *may_try_again = false;
    if (transfer->is_ended) {
        return core_fail_set(fail, CORE_AGAIN, shown, "it was ended before the answer was there");
    }
    if (transfer->body.is_too_long) {
        return core_fail_set(fail, CORE_LIMIT, shown, "the answer is longer than %zu bytes; is this the right URL?",
                             transfer->request->bytes_max);
    }
    *may_try_again = core_http_curl_may_pass(code);
    return core_http_curl_failed(code, transfer->words, shown, fail);
}

/* One transfer to its end, or until goes_on ends it. */
static CURLcode perform(struct transfer *transfer) {
    CURLM *multi = transfer->multi;
    CURLcode code = CURLE_ABORTED_BY_CALLBACK;
    int running = 0;
    int left = 0;
    if (curl_multi_add_handle(multi, transfer->curl) != CURLM_OK) {
        return CURLE_OUT_OF_MEMORY;
    }
    MUST(curl_multi_perform(multi, &running) == CURLM_OK);
    while (running > 0 && goes_on(transfer)) {
        int wait_ms = transfer->request->goes_on != NULL ? GOES_ON_EVERY_MS : STEP_MS;
        MUST(curl_multi_poll(multi, NULL, 0, wait_ms, NULL) == CURLM_OK);
        MUST(curl_multi_perform(multi, &running) == CURLM_OK);
    }
    const CURLMsg *said = curl_multi_info_read(multi, &left);
    if (said != NULL) {
        code = said->data.result;
    }
    MUST(curl_multi_remove_handle(multi, transfer->curl) == CURLM_OK); /* said is gone */
    return code;
}

/* ---- tries ------------------------------------------------------------------------------------------------------------------------ */

static enum core_err try_once(struct transfer *transfer, const char *shown, bool *may_try_again,
                              struct core_fail *fail) {
    struct core_http_answer *answer = transfer->answer;
    unsigned tries = answer->tries;
    long status = 0;
    curl_off_t retry_after_s = 0;
    core_http_answer_release(answer);
    answer->tries = tries + 1;
    transfer->body = (struct core_http_body){.max = transfer->request->bytes_max};
    transfer->words[0] = '\0';
    CURLcode code = perform(transfer);
    answer->body = transfer->body.ptr;
    answer->len = transfer->body.len;
    MUST(curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK);
    MUST(curl_easy_getinfo(transfer->curl, CURLINFO_RETRY_AFTER, &retry_after_s) == CURLE_OK);
    answer->status = (int)status;
    answer->retry_after_s = retry_after_s > 0 ? (int64_t)retry_after_s : 0;
    headers_keep(transfer);
    enum core_err err = CORE_OK;
    if (code != CURLE_OK) {
        err = curl_failed(transfer, code, shown, may_try_again, fail);
    } else if ((status < CORE_HTTP_OK || status >= 300) && status != HTTP_NOT_MODIFIED) {
        err = status_refused(transfer, shown, may_try_again, fail);
    } else if (answer->body == NULL && (answer->body = calloc(1, 1)) == NULL) {
        err = core_fail_set(fail, CORE_LIMIT, shown, "there is no memory");
    }
    return err;
}

static bool wait_for(struct transfer *transfer, int64_t wait_ns) {
    int64_t until_ns = core_tick_ns() + wait_ns;
    for (int64_t left_ns = wait_ns; left_ns > 0 && goes_on(transfer); left_ns = until_ns - core_tick_ns()) {
        struct timespec slice = {.tv_nsec = left_ns < SLICE_NS ? left_ns : SLICE_NS};
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &slice, NULL); /* woken early: one look more */
    }
    return !transfer->is_ended;
}

/* Wait before another try. False: there is none. */
static bool try_again(struct transfer *transfer, int64_t start_ns) {
    const struct core_http_request *request = transfer->request;
    const struct core_http_answer *answer = transfer->answer;
    int64_t left_ns = request->patience_ns - (core_tick_ns() - start_ns);
    if (answer->tries >= request->tries || answer->retry_after_s > left_ns / CORE_NS_PER_S) {
        return false;
    }
    int64_t wait_ns = core_http_wait_ns(WAIT_FIRST_NS, WAIT_MAX_NS, answer->tries);
    if (answer->retry_after_s * CORE_NS_PER_S > wait_ns) {
        wait_ns = answer->retry_after_s * CORE_NS_PER_S;
    }
    return wait_ns <= left_ns && wait_for(transfer, wait_ns);
}

static void fail_add(struct core_fail *fail, const struct core_http_answer *answer) {
    size_t len = fail == NULL ? 0 : strlen(fail->text);
    if (fail == NULL) {
        return;
    }
    if (answer->tries > 1) {
        snprintf(fail->text + len, sizeof fail->text - len, " (after %u tries)", answer->tries);
        len = strlen(fail->text);
    }
    if (answer->retry_after_s > 0) {
        snprintf(fail->text + len, sizeof fail->text - len, " (it wants to be asked again in %lld s)",
                 (long long)answer->retry_after_s);
    }
}

enum core_err core_http_send(const struct core_http_request *request, struct core_http_answer *answer,
                             struct core_fail *fail) {
    MUST(request->url != NULL);
    MUST(request->timeout_ms > 0);
    MUST(request->headers_len <= CORE_HTTP_HEADERS_MAX);
    char shown[CORE_HTTP_URL_SHOWN_MAX];
    int64_t start_ns = core_tick_ns();
    bool may_try_again = false;
    *answer = (struct core_http_answer){0};
    struct transfer transfer = {.request = request, .answer = answer, .asked_ns = start_ns};
    transfer.curl = request->session != NULL ? request->session->curl : curl_easy_init();
    transfer.multi = request->session != NULL ? request->session->multi : curl_multi_init();
    if (request->session != NULL && transfer.curl != NULL) {
        curl_easy_reset(transfer.curl); /* options go, connections stay */
    }
    core_http_shown(request->url, shown);
    enum core_err err = CORE_OK;
    if (transfer.curl == NULL || transfer.multi == NULL || !options_set(&transfer)) {
        err = core_fail_set(fail, CORE_IO, shown,
                            "libcurl cannot be used: no memory, it was built without HTTP, or a header of ours (the "
                            "token?) has a line's end in it");
        goto out;
    }
    do {
        err = try_once(&transfer, shown, &may_try_again, fail);
    } while (err != CORE_OK && may_try_again && try_again(&transfer, start_ns));
    if (transfer.is_ended && err != CORE_OK) {
        err = core_fail_set(fail, CORE_AGAIN, shown, "it was ended before the answer was there");
    } else if (err != CORE_OK) {
        core_http_secret_hide(request->secret, fail);
        fail_add(fail, answer);
    }
out:
    curl_slist_free_all(transfer.headers); /* takes NULL */
    if (request->session == NULL) {
        curl_easy_cleanup(transfer.curl);   /* takes NULL */
        curl_multi_cleanup(transfer.multi); /* takes NULL */
    }
    if (err != CORE_OK) {
        free(answer->body);
        answer->body = NULL;
        answer->len = 0;
    }
    return err;
}

enum core_err core_http_get(const char *url, int timeout_ms, size_t bytes_max, char **body, size_t *len,
                            struct core_fail *fail) {
    struct core_http_request request = {.url = url, .timeout_ms = timeout_ms, .bytes_max = bytes_max};
    struct core_http_answer answer;
    *body = NULL;
    *len = 0;
    enum core_err err = core_http_send(&request, &answer, fail);
    if (err == CORE_OK && answer.status != CORE_HTTP_OK) {
        char shown[CORE_HTTP_URL_SHOWN_MAX];
        core_http_shown(url, shown);
        err = core_fail_set(fail, CORE_NET, shown, "the server answers with status %d, not 200", answer.status);
    } else if (err == CORE_BAD && answer.status >= 400) {
        err = CORE_NET; /* a server of ours that refuses is not there yet, for who looks again and again */
        if (fail != NULL) {
            fail->err = CORE_NET;
        }
    }
    if (err == CORE_OK) {
        *body = answer.body;
        *len = answer.len;
        answer.body = NULL;
    }
    core_http_answer_release(&answer);
    return err;
}
