/* enrich/source_http.c: requests to a feed's server, and feeds that are one file behind a URL.
 *
 * What the section of a feed says of its server (credentials, certificates, time) goes into each request here. A file is
 * asked for only if it has changed (ETag, Last-Modified), and is taken plain or as .gz.
 * SPDX-License-Identifier: Apache-2.0
 * Source: RFC 9110 (conditional requests, Retry-After), RFC 7617 (Basic), RFC 6750 (Bearer), RFC 3986. */
#include "core/codec.h"
#include "enrich/sync_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define TRIES 6
#define STALL_MS 300000     /* some servers work long before they say a word */
#define MARK_BYTES_MAX 1024 /* of an ETag */
#define HEADERS 6
#define NOT_MODIFIED 304

/* ---- requests ------------------------------------------------------------------------------------------------------------------- */

/* False: too long. */
static bool authorization_write(const struct source_server *server, char out[CORE_HTTP_HEADER_BYTES_MAX]) {
    const struct enrich_feed_conf *feed = server->feed;
    char plain[CORE_HTTP_HEADER_BYTES_MAX / 2];
    const char *token = feed->token == NULL ? "" : feed->token;
    if (feed->username == NULL) {
        return snprintf(out, CORE_HTTP_HEADER_BYTES_MAX, "%s%s", server->authorization, token) <
               CORE_HTTP_HEADER_BYTES_MAX;
    }
    int len = snprintf(plain, sizeof plain, "%s:%s", feed->username, token);
    struct core_buf buf = {.start = out, .pos = out, .end = out + CORE_HTTP_HEADER_BYTES_MAX};
    core_buf_span(&buf, CORE_SPAN("Basic "));
    core_buf_base64(&buf, (struct core_span){plain, len > 0 && (size_t)len < sizeof plain ? (size_t)len : 0});
    core_buf_char(&buf, '\0');
    return !buf.is_full && (size_t)len < sizeof plain;
}

static size_t headers_of(const struct source_server *server, const struct source_request *request,
                         const char *authorization, struct core_http_header headers[HEADERS]) {
    const char *etag = request->state == NULL ? NULL : store_state_find(request->state, "etag");
    const char *modified = request->state == NULL ? NULL : store_state_find(request->state, "last_modified");
    const struct core_http_header all[HEADERS] = {
        {"Authorization", authorization},
        {"Accept", server->accept == NULL ? "*/*" : server->accept},
        {"Content-Type", request->json.ptr == NULL ? NULL : "application/json"},
        {"Expect", request->json.ptr == NULL ? NULL : ""}, /* no "100-continue": some servers never say it */
        {"If-None-Match", etag},
        {"If-Modified-Since", modified}};
    size_t len = 0;
    for (size_t i = 0; i < HEADERS; i++) {
        if (all[i].value != NULL) {
            headers[len++] = all[i];
        }
    }
    return len;
}

static int milliseconds(int64_t ns) {
    int64_t ms = ns / CORE_NS_PER_MS;
    return ms < 1 ? 1 : ms > INT32_MAX ? INT32_MAX : (int)ms;
}

enum core_err source_send(const struct source_server *server, const struct source_request *request,
                          struct core_http_answer *answer, struct core_fail *fail) {
    const struct enrich_feed_conf *feed = server->feed;
    char authorization[CORE_HTTP_HEADER_BYTES_MAX];
    struct core_http_header headers[HEADERS];
    bool has_credentials = feed->username != NULL || feed->token != NULL;
    *answer = (struct core_http_answer){0};
    if (has_credentials && !authorization_write(server, authorization)) {
        return core_fail_set(fail, CORE_BAD, "token", "feed %s: it is too long for a header of HTTP", feed->name);
    }
    struct core_http_request http = {.method = request->method,
                                     .url = request->url,
                                     .headers = headers,
                                     .headers_len =
                                         headers_of(server, request, has_credentials ? authorization : NULL, headers),
                                     .body = request->json,
                                     .ca_file = feed->ca_file,
                                     .cert_file = feed->cert_file,
                                     .key_file = feed->key_file,
                                     .session = server->session,
                                     .secret = feed->token,
                                     .timeout_ms = milliseconds(feed->timeout_ns),
                                     .stall_ms = STALL_MS,
                                     .tries = feed->patience_ns > 0 ? TRIES : 1,
                                     .patience_ns = feed->patience_ns,
                                     .bytes_max = request->bytes_max > 0 ? request->bytes_max : SOURCE_ANSWER_BYTES_MAX,
                                     .goes_on = server->calls->goes_on,
                                     .ctx = server->calls->ctx};
    enum core_err err = core_http_send(&http, answer, fail);
    if (err != CORE_OK && answer->retry_after_s > 0) {
        server->report->wait_s = answer->retry_after_s;
    }
    return err;
}

/* ---- answers -------------------------------------------------------------------------------------------------------------------- */

/* A page for people where data should be: a login, a notice, a captive portal. */
static bool is_web_page(struct core_span text) {
    static const char *const heads[] = {"<!doctype html", "<html"};
    text = core_span_trim(text);
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        size_t len = strlen(heads[i]);
        if (text.len >= len && strncasecmp(text.ptr, heads[i], len) == 0) {
            return true;
        }
    }
    return false;
}

static enum core_err not_data(struct core_span text, const char *url, struct core_fail *fail) {
    char shown[CORE_HTTP_URL_SHOWN_MAX];
    core_http_shown(url, shown);
    if (core_span_trim(text).len == 0) {
        return core_fail_set(fail, CORE_BAD, shown, "the answer is empty, so what is in the store is kept");
    }
    if (is_web_page(text)) {
        return core_fail_set(
            fail, CORE_BAD, shown,
            "the answer is a web page for people, no data; is this the right URL, does it want a token?");
    }
    return CORE_OK;
}

enum core_err source_json(const struct core_http_answer *answer, const char *url, struct core_arena *arena,
                          struct core_json_tree **out, struct core_fail *fail) {
    struct core_span text = {answer->body, answer->len};
    char shown[CORE_HTTP_URL_SHOWN_MAX];
    struct core_fail why;
    core_http_shown(url, shown);
    enum core_err err = not_data(text, url, fail);
    err = err == CORE_OK ? core_arena_init(arena, text.len * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN, fail)
                         : err;
    if (err != CORE_OK) {
        return err;
    }
    err = core_json_tree_read(arena, text, out, &why);
    if (err == CORE_BAD) {
        return core_fail_set(fail, CORE_BAD, shown, "the answer is no JSON, or not all of it: %s", why.text);
    }
    return err == CORE_OK ? CORE_OK : core_fail_set(fail, err, shown, "%s", why.text);
}

enum core_err source_get_json(const struct source_server *server, const char *url, struct core_arena *arena,
                              struct core_json_tree **out, struct core_fail *fail) {
    struct core_http_answer answer;
    enum core_err err = source_send(server, &(struct source_request){.url = url}, &answer, fail);
    err = err == CORE_OK ? source_json(&answer, url, arena, out, fail) : err;
    core_http_answer_release(&answer);
    return err;
}

enum core_err source_keep(const struct core_http_answer *answer, struct core_conf_list *state, struct core_fail *fail) {
    static const char *const kept[][2] = {{"ETag", "etag"}, {"Last-Modified", "last_modified"}};
    enum core_err err = CORE_OK;
    for (size_t i = 0; i < sizeof kept / sizeof kept[0] && err == CORE_OK; i++) {
        const char *value = core_http_header(answer, kept[i][0]);
        err = store_state_set(state, kept[i][1], value != NULL && strlen(value) <= MARK_BYTES_MAX ? value : NULL, fail);
    }
    return err;
}

/* ---- URLs ------------------------------------------------------------------------------------------------------------------------ */

bool source_url(const struct enrich_feed_conf *feed, const char *path, char out[SOURCE_URL_BYTES_MAX]) {
    size_t len = strcspn(feed->url, "?#");
    while (len > 0 && feed->url[len - 1] == '/') {
        len--;
    }
    path += strspn(path, "/");
    return snprintf(out, SOURCE_URL_BYTES_MAX, "%.*s/%s", (int)len, feed->url, path) < SOURCE_URL_BYTES_MAX;
}

bool source_url_add(char url[SOURCE_URL_BYTES_MAX], const char *key, const char *value) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    char *end = url + strlen(url);
    struct core_buf buf = {.start = url, .pos = end, .end = url + SOURCE_URL_BYTES_MAX};
    core_buf_char(&buf, strchr(url, '?') == NULL ? '?' : '&');
    core_buf_span(&buf, core_span_of(key));
    core_buf_char(&buf, '=');
    for (; *value != '\0'; value++) {
        char escaped[4];
        if (strchr(plain, *value) != NULL) {
            core_buf_char(&buf, *value);
            continue;
        }
        snprintf(escaped, sizeof escaped, "%%%02X", (unsigned char)*value);
        core_buf_put(&buf, escaped, 3);
    }
    core_buf_char(&buf, '\0');
    if (buf.is_full) {
        *end = '\0';
    }
    return !buf.is_full;
}

enum core_err source_url_long(const char *url, struct core_fail *fail) {
    char shown[CORE_HTTP_URL_SHOWN_MAX];
    core_http_shown(url, shown);
    return core_fail_set(fail, CORE_LIMIT, shown, "the URL becomes longer than %d bytes", SOURCE_URL_BYTES_MAX);
}

void source_time_write(int64_t seconds, char out[24]) {
    char iso[27];
    bool is_year = core_time_iso(seconds * CORE_NS_PER_S, iso);
    MUST(is_year);
    snprintf(out, 24, "%.19sZ", iso);
}

enum core_err source_option_number(const struct enrich_feed_conf *feed, const char *key, uint64_t other, uint64_t max,
                                   uint64_t *out, struct core_fail *fail) {
    const char *text = source_option(feed, key);
    char *end = NULL;
    *out = text == NULL ? other : strtoull(text, &end, 10);
    if (text != NULL && (text[0] < '0' || text[0] > '9' || *end != '\0' || *out > max)) {
        return core_fail_set(fail, CORE_BAD, "options", "feed %s: %s: \"%s\" is no number from 0 to %llu", feed->name,
                             key, text, (unsigned long long)max);
    }
    return CORE_OK;
}

/* ---- one file -------------------------------------------------------------------------------------------------------------------- */

static enum core_err file_read(const struct source_server *server, struct core_http_answer *answer, const char *shown,
                               struct core_fail *fail) {
    const struct source_ops *source = source_table[server->feed->type];
    enum core_err err = CORE_OK;
    if (core_gzip_is_magic((struct core_span){answer->body, answer->len})) {
        struct source_bytes plain = {.bytes = answer->body, .len = answer->len};
        err = source_gunzip(&plain, shown, SOURCE_FILE_BYTES_MAX, server->calls, fail);
        answer->body = plain.bytes;
        answer->len = plain.len;
    }
    struct core_span text = {answer->body, answer->len};
    if (core_span_starts(text, CORE_SPAN("\xef\xbb\xbf"))) { /* a byte order mark */
        text = (struct core_span){text.ptr + 3, text.len - 3};
    }
    if (err == CORE_OK && core_span_starts(text, CORE_SPAN("PK\x03\x04"))) {
        err = core_fail_set(fail, CORE_BAD, shown, "the answer is a .zip, which is not read; many have it as .gz, too");
    }
    err = err == CORE_OK ? not_data(text, server->feed->url, fail) : err;
    return err == CORE_OK ? source->read(text, shown, server->feed, server->calls, fail) : err;
}

enum core_err source_http_fetch(const struct enrich_feed_conf *feed, struct core_conf_list *state,
                                const struct enrich_read_calls *calls, struct enrich_sync_report *report,
                                struct core_fail *fail) {
    struct source_server server = {.feed = feed, .calls = calls, .report = report, .authorization = "Bearer "};
    struct source_request request = {.url = feed->url, .state = state, .bytes_max = SOURCE_FILE_BYTES_MAX};
    struct core_http_answer answer;
    char shown[CORE_HTTP_URL_SHOWN_MAX];
    MUST(source_table[feed->type]->read != NULL);
    core_http_shown(feed->url, shown);
    enum core_err err = source_send(&server, &request, &answer, fail);
    report->is_unchanged = err == CORE_OK && answer.status == NOT_MODIFIED;
    if (err == CORE_OK && !report->is_unchanged) {
        err = file_read(&server, &answer, shown, fail);
        err = err == CORE_OK ? source_keep(&answer, state, fail) : err;
    }
    core_http_answer_release(&answer);
    return err;
}
