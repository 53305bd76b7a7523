/* tests/unit/sinks_elastic_rig.h: a search engine as the sink sees it: small, and as ill as a test wants it.
 *
 * It knows GET /, GET /_index_template/…, POST /_bulk: keeps what was created, says 409 to what is there. A test says what is
 * to go wrong: for a whole request (engine.whole) or for one document (engine.item). The threads of its connections call both
 * with the lock held.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_UNIT_SINKS_ELASTIC_RIG_H
#define TAPLINE_TESTS_UNIT_SINKS_ELASTIC_RIG_H

#include "core/codec.h"
#include "tests/unit/http_server.h"
#include "tests/unit/sinks_testing.h"

#define ENGINE_DOCS_MAX 20000
#define ENGINE_ANSWER_BYTES (4 * 1024 * 1024)

struct engine_doc {
    char index[128];
    char id[33];
    char *doc;
};

/* One line of a bulk, and the document behind it. */
struct engine_line {
    char index[256];
    char id[64];
    struct core_span doc;
};

struct engine {
    struct server server;
    const char *product;   /* what GET / answers */
    const char *templates; /* what GET /_index_template answers; NULL: 404 */
    /* The whole answer to the bulk with this number (from 1), as it goes over the wire; NULL: look at the items. "": the
     * connection ends without a word, after the items were taken if takes_all. Behind half an answer (Length: 1000) it ends. */
    const char *(*whole)(struct engine *engine, unsigned number, size_t bytes, unsigned items);
    /* What is said of a document instead of taking it: the inner part of {"create":{…}}; NULL: take it. */
    const char *(*item)(struct engine *engine, const struct engine_line *line, unsigned tries);
    void (*seen)(struct engine *engine, struct core_span body);
    bool takes_all;
    struct engine_doc docs[ENGINE_DOCS_MAX];
    size_t docs_len;
    unsigned bulks;
    unsigned products_asked;
    unsigned items_max; /* the most that were in one bulk */
    size_t gzipped;
    unsigned long tries[ENGINE_DOCS_MAX]; /* by id: hash -> count */
    char answer[ENGINE_ANSWER_BYTES];
    char plain[ENGINE_ANSWER_BYTES * 2];
    int memory; /* a test's own */
};

#define ENGINE_ELASTIC "{\"version\":{\"number\":\"8.19.0\"},\"tagline\":\"You Know, for Search\"}"
#define ENGINE_OPENSEARCH                                                                                              \
    "{\"version\":{\"distribution\":\"opensearch\",\"number\":\"2.19.1\"},\"tagline\":\"The OpenSearch Project\"}"
#define ENGINE_TEMPLATES "{\"index_templates\":[{\"name\":\"tapline-zeek.dns\",\"index_template\":{\"version\":1}}]}"
#define ENGINE_STREAMS                                                                                                 \
    "{\"index_templates\":[{\"name\":\"tapline-zeek.dns\",\"index_template\":{\"version\":1,\"data_stream\":"          \
    "{\"hidden\":false}}}]}"

static inline struct engine_doc *engine_find(struct engine *engine, const char *index, const char *id) {
    for (size_t i = 0; i < engine->docs_len; i++) {
        if (strcmp(engine->docs[i].id, id) == 0 && (index == NULL || strcmp(engine->docs[i].index, index) == 0)) {
            return &engine->docs[i];
        }
    }
    return NULL;
}

static inline void engine_keep(struct engine *engine, const struct engine_line *line) {
    MUST(engine->docs_len < ENGINE_DOCS_MAX);
    struct engine_doc *doc = &engine->docs[engine->docs_len++];
    snprintf(doc->index, sizeof doc->index, "%.127s", line->index);
    snprintf(doc->id, sizeof doc->id, "%.32s", line->id);
    doc->doc = strndup(line->doc.ptr, line->doc.len);
    MUST(doc->doc != NULL);
}

/* The next action line and its document. A body that is none is the sink's mistake. */
static inline bool engine_line_next(const char **pos, const char *end, struct engine_line *line) {
    if (*pos == end) {
        return false;
    }
    MUST(sscanf(*pos, "{\"create\":{\"_index\":\"%255[^\"]\",\"_id\":\"%63[^\"]\"}}", line->index, line->id) == 2);
    const char *doc = memchr(*pos, '\n', (size_t)(end - *pos));
    MUST(doc != NULL);
    const char *doc_end = memchr(doc + 1, '\n', (size_t)(end - doc - 1));
    MUST(doc_end != NULL && doc_end > doc + 1 && doc[1] == '{' && doc_end[-1] == '}');
    line->doc = (struct core_span){doc + 1, (size_t)(doc_end - doc - 1)};
    *pos = doc_end + 1;
    return true;
}

static inline enum core_err engine_gzip_source(void *ctx, char *buf, size_t cap, size_t *len, struct core_fail *fail) {
    struct core_span *left = ctx;
    (void)fail;
    *len = left->len < cap ? left->len : cap;
    memcpy(buf, left->ptr, *len);
    left->ptr += *len;
    left->len -= *len;
    return CORE_OK;
}

static inline struct core_span engine_unpack(struct engine *engine, struct core_span body) {
    struct core_gunzip *gunzip = NULL;
    struct core_fail fail;
    size_t used = 0;
    if (!core_gzip_is_magic(body)) {
        return body;
    }
    engine->gzipped += body.len;
    MUST(core_gunzip_open(&gunzip, engine_gzip_source, &body, "body", &fail) == CORE_OK);
    for (size_t len = 1; len > 0; used += len) {
        len = 0;
        enum core_err err = core_gunzip_read(gunzip, engine->plain + used, sizeof engine->plain - used, &len, &fail);
        MUST(err == CORE_OK || err == CORE_GONE);
    }
    core_gunzip_close(gunzip);
    return (struct core_span){engine->plain, used};
}

static inline unsigned engine_tries(struct engine *engine, const char *id) {
    return (unsigned)++engine->tries[core_hash64(id, strlen(id), 0) % ENGINE_DOCS_MAX];
}

/* Take the documents, and write what is said of them. */
static inline size_t engine_items(struct engine *engine, struct core_span body) {
    struct engine_line line;
    size_t used = (size_t)snprintf(engine->answer, sizeof engine->answer, "{\"errors\":false,\"items\":[");
    const char *pos = body.ptr;
    unsigned items = 0;
    while (engine_line_next(&pos, body.ptr + body.len, &line)) {
        const char *said = engine->item == NULL ? NULL : engine->item(engine, &line, engine_tries(engine, line.id));
        if (said == NULL && engine_find(engine, line.index, line.id) != NULL) {
            said = "\"status\":409,\"error\":{\"type\":\"version_conflict_engine_exception\",\"reason\":\"[x]: version "
                   "conflict, document already exists (current version [1])\",\"shard\":\"0\"}";
        } else if (said == NULL) {
            engine_keep(engine, &line);
            said = "\"status\":201";
        }
        used += (size_t)snprintf(engine->answer + used, sizeof engine->answer - used, "%s{\"create\":{%s}}",
                                 items == 0 ? "" : ",", said);
        items++;
    }
    engine->items_max = items > engine->items_max ? items : engine->items_max;
    return used + (size_t)snprintf(engine->answer + used, sizeof engine->answer - used, "]}");
}

static inline bool engine_bulk(struct engine *engine, struct connection *c, struct core_span body) {
    engine->bulks++;
    if (engine->seen != NULL) {
        engine->seen(engine, body);
    }
    body = engine_unpack(engine, body);
    unsigned items = 0;
    struct engine_line line;
    for (const char *pos = body.ptr; engine_line_next(&pos, body.ptr + body.len, &line);) {
        items++;
    }
    const char *whole = engine->whole == NULL ? NULL : engine->whole(engine, engine->bulks, body.len, items);
    if (whole == NULL || engine->takes_all) {
        size_t len = engine_items(engine, body);
        if (whole == NULL) {
            answer(c, "200 OK", "Content-Type: application/json\r\n", engine->answer, len);
            return true;
        }
    }
    connection_write(c, whole, strlen(whole));
    return whole[0] != '\0' && strstr(whole, "Length: 1000\r") == NULL;
}

static inline bool engine_act(struct connection *c, const char *method, const char *path, struct core_span body) {
    struct engine *engine = c->server->owner;
    bool goes_on = true;
    MUST(pthread_mutex_lock(&c->server->lock) == 0);
    if (strcmp(method, "POST") == 0 && strncmp(path, "/_bulk?", 7) == 0) {
        goes_on = engine_bulk(engine, c, body);
    } else if (strncmp(path, "/_index_template/tapline-*?", 27) == 0) {
        const char *templates = engine->templates == NULL ? "{}" : engine->templates;
        answer(c, engine->templates == NULL ? "404 None" : "200 OK", "", templates, strlen(templates));
    } else {
        MUST(strcmp(path, "/") == 0);
        engine->products_asked++;
        answer(c, "200 OK", "", engine->product, strlen(engine->product));
    }
    MUST(pthread_mutex_unlock(&c->server->lock) == 0);
    return goes_on;
}

/* port: as server_start(). */
static inline struct engine *engine_new(int port) {
    struct engine *engine = calloc(1, sizeof *engine);
    assert_non_null(engine);
    server_start(&engine->server, port, NULL);
    engine->server.owner = engine;
    engine->server.act = engine_act;
    engine->product = ENGINE_ELASTIC;
    engine->templates = ENGINE_TEMPLATES;
    return engine;
}

static inline void engine_free(struct engine *engine) {
    server_end(&engine->server);
    for (size_t i = 0; i < engine->docs_len; i++) {
        free(engine->docs[i].doc);
    }
    free(engine);
}

/* A sink that speaks to the engine. more: further keys, each "  key: value\n". */
static inline void engine_rig(struct engine *engine, struct rig *rig, const char *more, uint32_t batches) {
    char text[1024];
    snprintf(text, sizeof text, "elasticsearch:\n  hosts: \"%s\"\n%s", engine->server.url, more);
    rig_open(rig, text, batches);
}

/* Give it to the sink and have it sent at once. */
static inline void engine_send(struct rig *rig, struct core_batch *batch) {
    assert_int_equal(rig->ops->send(rig->sink, batch), CORE_OK);
    rig->ops->flush(rig->sink);
}

/* {"@timestamp":…,"n":N,…} of now. */
static inline struct core_event *engine_event(struct rig *rig, struct core_batch *batch, const char *dataset, int n) {
    char text[256];
    char iso[28] = "";
    assert_true(core_time_iso(core_now_ns(), iso));
    snprintf(text, sizeof text, "{\"@timestamp\":\"%s\",\"n\":%d}", iso, n);
    return rig_event(rig, batch, dataset, core_span_of(text));
}

static inline struct core_batch *engine_batch(struct rig *rig, const char *dataset, int first, int len) {
    struct core_batch *batch = rig_batch(rig);
    for (int i = 0; i < len; i++) {
        engine_event(rig, batch, dataset, first + i);
    }
    return batch;
}

#endif
