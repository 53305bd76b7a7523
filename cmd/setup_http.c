/* cmd/setup_http.c: questions of `tapline setup` to servers that speak HTTP and JSON. Each is one that may be sent twice, so
 * what fails on the way is tried again a few times.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/setup_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define TRIES 4
#define PATIENCE_NS (30 * CORE_NS_PER_S)
#define URL_BYTES_MAX 2048
#define ARENA_BYTES (SETUP_ANSWER_BYTES_MAX * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN) /* address space */

void setup_http_open(struct setup_http *http) {
    struct core_fail fail = {0};
    http->session = core_http_session_new();
    MUST(core_arena_init(&http->arena, ARENA_BYTES, &fail) == CORE_OK);
}

void setup_http_close(struct setup_http *http) {
    core_http_session_free(http->session);
    core_arena_destroy(&http->arena);
    *http = (struct setup_http){0};
}

void setup_http_forget(struct setup_http *http) {
    core_arena_reset(&http->arena, CORE_MIB);
}

void setup_http_header(struct setup_http *http, const char *name, const char *value) {
    MUST(http->headers_len < SETUP_HEADERS_MAX);
    http->headers[http->headers_len++] = (struct core_http_header){name, value};
}

char *setup_http_api_key(const char *api_key) {
    char *text = NULL;
    MUST(asprintf(&text, "ApiKey %s", api_key) > 0);
    return text;
}

char *setup_http_basic(const char *username, const char *password) {
    char *both = NULL;
    int len = asprintf(&both, "%s:%s", username, password);
    MUST(len > 0);
    size_t cap = sizeof("Basic ") + ((size_t)len + 2) / 3 * 4;
    char *text = malloc(cap);
    MUST(text != NULL);
    struct core_buf buf = {.start = text, .pos = text, .end = text + cap};
    core_buf_span(&buf, CORE_SPAN("Basic "));
    core_buf_base64(&buf, (struct core_span){both, (size_t)len});
    core_buf_char(&buf, '\0');
    MUST(!buf.is_full);
    free(both);
    return text;
}

static bool has_header(const struct core_http_request *request, const char *name) {
    for (size_t i = 0; i < request->headers_len; i++) {
        if (strcasecmp(request->headers[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Who answers, in its own words. */
static void product_take(const struct core_http_answer *answer, struct setup_reply *reply) {
    static const char *const names[] = {"X-Elastic-Product", "osd-name", "kbn-name"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = core_http_header(answer, names[i]);
        if (value != NULL && reply->product[0] == '\0') {
            (void)snprintf(reply->product, sizeof(reply->product), "%s: %s", names[i], value);
        }
    }
}

enum core_err setup_http_ask(struct setup_http *http, const char *method, const char *path, struct core_span body,
                             struct setup_reply *reply, struct core_fail *fail) {
    char url[URL_BYTES_MAX];
    struct core_http_header headers[SETUP_HEADERS_MAX + 1];
    struct core_http_answer answer = {0};
    size_t base_len = strlen(http->base);
    *reply = (struct setup_reply){0};
    while (base_len > 0 && http->base[base_len - 1] == '/') {
        base_len--;
    }
    int len = snprintf(url, sizeof(url), "%.*s%s", (int)base_len, http->base, path);
    MUST(len > 0 && (size_t)len < sizeof(url));
    memcpy(headers, http->headers, sizeof(http->headers));
    struct core_http_request request = {.method = method,
                                        .url = url,
                                        .headers = headers,
                                        .headers_len = http->headers_len,
                                        .body = body,
                                        .ca_file = http->ca_file,
                                        .cert_file = http->cert_file,
                                        .key_file = http->key_file,
                                        .session = http->session,
                                        .secret = http->secret,
                                        .timeout_ms = http->timeout_ms,
                                        .tries = TRIES,
                                        .patience_ns = PATIENCE_NS,
                                        .bytes_max = SETUP_ANSWER_BYTES_MAX};
    if (body.ptr != NULL && !has_header(&request, "Content-Type")) {
        headers[request.headers_len++] = (struct core_http_header){"Content-Type", "application/json"};
    }
    enum core_err err = core_http_send(&request, &answer, fail);
    reply->status = answer.status;
    product_take(&answer, reply);
    if (err == CORE_OK && answer.len > 0 && !http->ignores_bodies) {
        struct core_json_tree *tree = NULL;
        struct core_fail why = {0};
        if (core_json_tree_read(&http->arena, (struct core_span){answer.body, answer.len}, &tree, &why) != CORE_OK) {
            err = core_fail_set(fail, CORE_BAD, url, "the answer is no JSON (%s); is this the right URL?", why.text);
        }
        reply->json = tree;
    }
    core_http_answer_release(&answer);
    return err;
}
