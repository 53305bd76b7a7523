/* sinks/elastic_start.c: before the first document: what is it that answers, and is it prepared?
 *
 * Without our templates the engine would take the documents all the same: with types guessed from the first value, and, by
 * Elasticsearch's own template for logs-*-*, into data streams. Nothing mends that afterwards, so nothing is sent until they
 * are seen; nor after an outage, since what comes back may be an empty cluster.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/json_tree.h"
#include "sinks/elastic_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define PRODUCT_PATH "/"
#define TEMPLATES_PATH                                                                                                 \
    "/_index_template/tapline-*?filter_path=index_templates.name,index_templates.index_template.data_stream,"          \
    "index_templates.index_template.version"
#define TEMPLATE_PREFIX "tapline-"
#define SETUP_ADVICE "run `tapline setup -c FILE` with this file"
#define ELASTICSEARCH_MAJOR_MIN 7
#define ASK_WAIT_MAX_NS (10 * CORE_NS_PER_S)
#define ANSWER_BYTES_MAX CORE_MIB
/* An engine that was prepared and comes up again may not know it at once: neither its templates nor, before the index with its users
 * is open, who we are. */
#define WAKING_NS (60 * CORE_NS_PER_S)

enum status { STATUS_OK = 200, STATUS_UNAUTHORIZED = 401, STATUS_FORBIDDEN = 403, STATUS_NOT_FOUND = 404 };

/* ---- what an answer says ----------------------------------------------------------------------------------------------------- */

static enum core_err product_read(const struct core_json_tree *root, const char *node, char out[64],
                                  struct core_fail *fail) {
    const struct core_json_tree *version = core_json_tree_get(root, "version");
    struct core_span number = core_json_tree_text(version, "number");
    bool is_opensearch = core_span_is(core_json_tree_text(version, "distribution"), "opensearch");
    bool is_elastic = core_span_is(core_json_tree_text(root, "tagline"), "You Know, for Search");
    if (number.len == 0 || (!is_opensearch && !is_elastic)) {
        return core_fail_set(
            fail, CORE_BAD, node,
            "what answers there is neither Elasticsearch nor OpenSearch; see to sinks.elasticsearch.hosts");
    }
    snprintf(out, 64, "%s %.*s", is_opensearch ? "OpenSearch" : "Elasticsearch",
             (int)(number.len < 32 ? number.len : 32), number.ptr);
    if (!is_opensearch && strtol(number.ptr, NULL, 10) < ELASTICSEARCH_MAJOR_MIN) {
        return core_fail_set(fail, CORE_BAD, node, "%s is too old; 8.0 or later is needed", out);
    }
    return CORE_OK;
}

/* root NULL: there is no template of such a name. */
static enum core_err templates_read(const struct core_json_tree *root, const char *node, bool is_data_stream,
                                    struct core_fail *fail) {
    const struct core_json_tree *list = core_json_tree_get(root, "index_templates");
    size_t len = 0;
    size_t streams = 0;
    for (const struct core_json_tree *one = list == NULL ? NULL : list->first; one != NULL; one = one->next) {
        if (core_span_starts(core_json_tree_text(one, "name"), CORE_SPAN(TEMPLATE_PREFIX))) {
            len++;
            streams += core_json_tree_get(core_json_tree_get(one, "index_template"), "data_stream") != NULL ? 1 : 0;
        }
    }
    if (len == 0) {
        return core_fail_set(
            fail, CORE_BAD, node,
            "tapline's index templates are not there, so nothing is sent: without them the engine would "
            "guess the types of fields; " SETUP_ADVICE);
    }
    if (is_data_stream ? streams < len : streams > 0) {
        return core_fail_set(fail, CORE_BAD, node,
                             "tapline's index templates there are for index_mode: %s, but the config says %s; "
                             "nothing is sent; " SETUP_ADVICE,
                             is_data_stream ? "index" : "data_stream", is_data_stream ? "data_stream" : "index");
    }
    return CORE_OK;
}

/* An answer of the node to the question of this phase. CORE_NET: it is none, for now. CORE_BAD: it is the wrong one. */
static enum core_err answer_read(enum elastic_phase phase, int status, struct core_span body, const char *node,
                                 bool is_data_stream, char product[64], struct core_fail *fail) {
    struct core_arena arena;
    struct core_json_tree *root = NULL;
    char text[512];
    bool has_none = phase == ELASTIC_ASK_TEMPLATES && status == STATUS_NOT_FOUND;
    if (status == STATUS_UNAUTHORIZED || status == STATUS_FORBIDDEN) {
        elastic_whole_text(status, body, text, sizeof text);
        return core_fail_set(fail, CORE_BAD, node, "the credentials do not do%s: %s",
                             phase == ELASTIC_ASK_PRODUCT
                                 ? ""
                                 : " to look at index templates (cluster privilege monitor; in early releases of 8 "
                                   "manage_index_templates)",
                             text);
    }
    if (status != STATUS_OK && !has_none) {
        elastic_whole_text(status, body, text, sizeof text);
        return core_fail_set(fail, CORE_NET, node, "%s", text);
    }
    if (has_none) {
        return templates_read(NULL, node, is_data_stream, fail);
    }
    enum core_err err = core_arena_init(&arena, CORE_JSON_TREE_BYTES_MIN + body.len * CORE_JSON_TREE_PER_BYTE, fail);
    if (err != CORE_OK) {
        return err;
    }
    err = core_json_tree_read(&arena, body, &root, fail);
    if (err != CORE_OK && phase == ELASTIC_ASK_PRODUCT) {
        root = NULL;
        err = CORE_OK;
    }
    if (err == CORE_OK) {
        err = phase == ELASTIC_ASK_PRODUCT ? product_read(root, node, product, fail)
                                           : templates_read(root, node, is_data_stream, fail);
    }
    core_arena_destroy(&arena);
    return err;
}

/* ---- as part of the sink's turns ------------------------------------------------------------------------------------------------ */

void elastic_gone(struct sink *sink, const char *where, const char *text) {
    if (!sink->is_gone) {
        sink->is_gone = true;
        enum core_err err = core_fail_set(&sink->gone, CORE_BAD, where, "%s", text);
        MUST(err == CORE_BAD);
    }
}

void elastic_start_away(struct sink *sink, const struct core_http_pool_done *done) {
    struct core_fail fail = done->fail;
    char text[512];
    sink->phase = ELASTIC_ASK_PRODUCT;
    if (sink->is_away) {
        return;
    }
    sink->is_away = true;
    sink->away_since_ns = core_tick_ns();
    sink->told.away_since_ns = core_now_ns();
    if (done->status != 0) {
        elastic_whole_text(done->status, done->body, text, sizeof text);
        (void)core_fail_set(&fail, CORE_NET, done->node, "%s", text);
    }
    core_log_fail(
        CORE_LEVEL_ERROR, "elastic",
        "search engine does not answer, and no other node does; documents wait and nothing is lost; it is tried "
        "again until it is back. See to it, or to sinks.elasticsearch.hosts",
        &fail);
}

void elastic_start_turn(struct sink *sink, int64_t now) {
    if (sink->phase == ELASTIC_OPEN || sink->is_asking || sink->is_gone || now < sink->ask_due_ns ||
        !core_http_pool_has_room(sink->pool)) {
        return;
    }
    struct core_http_pool_request request = {
        .method = "GET",
        .path = sink->phase == ELASTIC_ASK_PRODUCT ? PRODUCT_PATH : TEMPLATES_PATH,
        .ticket = &sink->phase,
    };
    core_http_pool_submit(sink->pool, &request);
    sink->is_asking = true;
}

static void start_is_over(struct sink *sink, const char *node) {
    sink->phase = ELASTIC_OPEN;
    sink->was_open = true;
    sink->woke_ns = 0;
    if (!sink->is_away) {
        core_log(CORE_LEVEL_INFO, "elastic", "search engine answers, and has tapline's templates",
                 "node=\"%s\" product=\"%s\"", node, sink->product);
        return;
    }
    sink->is_away = false;
    for (uint32_t i = 0; i < sink->bulks_len; i++) { /* what rests need rest no longer */
        sink->bulks[i].due_ns = 0;
        sink->bulks[i].tries = 0;
    }
    core_log(CORE_LEVEL_INFO, "elastic", "search engine is back; what waited is sent",
             "node=\"%s\" product=\"%s\" away_s=%lld", node, sink->product,
             (long long)((core_tick_ns() - sink->away_since_ns) / CORE_NS_PER_S));
}

/* It gave a wrong answer, this time only? */
static bool is_waking(struct sink *sink, int status) {
    int64_t now = core_tick_ns();
    bool is_answer = status == STATUS_OK || status == STATUS_UNAUTHORIZED || status == STATUS_FORBIDDEN;
    sink->woke_ns = sink->woke_ns == 0 ? now : sink->woke_ns;
    return is_answer && sink->was_open && now - sink->woke_ns < WAKING_NS;
}

void elastic_start_answered(struct sink *sink, const struct core_http_pool_done *done) {
    struct core_fail fail = done->fail;
    MUST(sink->is_asking);
    sink->is_asking = false;
    enum core_err err = CORE_NET;
    if (done->status != 0) {
        err = answer_read(sink->phase, done->status, done->body, done->node, sink->places.is_data_stream, sink->product,
                          &fail);
    } else if (fail.err == CORE_BAD) {
        err = CORE_BAD;
    }
    if (err == CORE_BAD && !is_waking(sink, done->status)) {
        elastic_gone(sink, fail.where, fail.text);
        return;
    }
    if (err != CORE_OK) {
        elastic_start_away(sink, done);
        sink->ask_due_ns = core_tick_ns() + elastic_wait_ns(++sink->ask_tries, ASK_WAIT_MAX_NS, done->retry_after_s);
        return;
    }
    sink->ask_tries = 0;
    if (sink->phase == ELASTIC_ASK_PRODUCT) {
        sink->phase = ELASTIC_ASK_TEMPLATES;
        return;
    }
    start_is_over(sink, done->node);
}

/* ---- for check --connect ----------------------------------------------------------------------------------------------------------- */

static enum core_err ask(const struct sink_elastic_places *places, const char *host, enum elastic_phase phase,
                         int timeout_ms, struct core_fail *fail) {
    char url[2048];
    char shown[CORE_HTTP_URL_SHOWN_MAX];
    char product[64] = "";
    size_t host_len = strlen(host);
    host_len -= host_len > 0 && host[host_len - 1] == '/' ? 1 : 0;
    snprintf(url, sizeof url, "%.*s%s", (int)host_len, host,
             phase == ELASTIC_ASK_PRODUCT ? PRODUCT_PATH : TEMPLATES_PATH);
    core_http_shown(host, shown);
    struct core_http_request request = {.url = url,
                                        .headers = places->headers,
                                        .headers_len = places->headers_len,
                                        .ca_file = places->ca_file,
                                        .cert_file = places->cert_file,
                                        .key_file = places->key_file,
                                        .secret = places->secret,
                                        .timeout_ms = timeout_ms,
                                        .tries = 1,
                                        .bytes_max = ANSWER_BYTES_MAX};
    struct core_http_answer answer = {0};
    enum core_err err = core_http_send(&request, &answer, fail);
    if (err == CORE_OK || answer.status != 0) {
        struct core_span body = {answer.body, answer.body == NULL ? 0 : answer.len};
        err = answer_read(phase, answer.status, body, shown, places->is_data_stream, product, fail);
    }
    core_http_answer_release(&answer);
    return err;
}

enum core_err elastic_start_reach(const struct sink_elastic_places *places, int timeout_ms, struct core_fail *fail) {
    enum core_err err = CORE_NET;
    MUST(places->hosts_len > 0);
    for (size_t i = 0; i < places->hosts_len; i++) {
        err = ask(places, places->hosts[i], ELASTIC_ASK_PRODUCT, timeout_ms, fail);
        if (err != CORE_OK) {
            return err; /* each of them must answer: that is what is asked here */
        }
    }
    return ask(places, places->hosts[0], ELASTIC_ASK_TEMPLATES, timeout_ms, fail);
}
