/* enrich/source_taxii.c: a TAXII 2.1 server: its collections' objects, page by page.
 *
 *   url is discovery (…/taxii2/)   -> its api_roots -> their collections
 *   url is an API root             -> its collections
 *   url is a collection (…/collections/ID/)
 *
 * A page is an envelope, which is what source_stix.c reads. `more` with `next` is asked for with the same question; `more`
 * alone goes on behind X-TAXII-Date-Added-Last, as the standard has it. That date of the last page is kept for each
 * collection: the next sync asks for what was added after it. Identities and markings that an indicator points to are found
 * if they are in the same page.
 * Credentials go only to the server that url names: an API root elsewhere is refused, and said.
 * TAXII 2.0 (option version) is asked without ranges: if its server gives only a part, the feed is cut off: an alarm.
 * SPDX-License-Identifier: Apache-2.0
 * Source: OASIS TAXII 2.1, sections 3.4 (pagination), 4 and 5; TAXII 2.0, sections 4 and 5. */
#include "enrich/sync_internal.h"

#include <stdio.h>

#define COLLECTIONS_MAX 40 /* each has a place in the feed's state */
#define ROOTS_MAX 32
#define LIMIT_DEFAULT 1000
#define LIMIT_MAX 1000000
#define ID_BYTES_MAX 64
#define NEXT_BYTES_MAX 2048
#define PARTIAL 206
#define ACCEPT_21 "application/taxii+json;version=2.1"
#define ACCEPT_20 "application/vnd.oasis.taxii+json; version=2.0"
#define ACCEPT_20_OBJECTS "application/vnd.oasis.stix+json; version=2.0"

struct taxii {
    struct source_server server;
    const struct enrich_feed_conf *feed;
    struct core_conf_list *state;
    struct core_fail *fail;
    uint64_t limit;
    bool is_20;
    unsigned collections;
    char shown[CORE_HTTP_URL_SHOWN_MAX];
};

/* ---- URLs ------------------------------------------------------------------------------------------------------------------------ */

/* How much of a URL is scheme, host and port. */
static size_t origin_len(const char *url) {
    const char *host = strstr(url, "://");
    return host == NULL ? 0 : (size_t)(host + 3 - url) + strcspn(host + 3, "/?#");
}

/* An API root as a server names it, in full and with a slash behind it. */
static enum core_err root_url(const struct taxii *taxii, struct core_span root, char out[SOURCE_URL_BYTES_MAX]) {
    const char *url = taxii->feed->url;
    size_t origin = origin_len(url);
    char text[SOURCE_URL_BYTES_MAX];
    int text_len = snprintf(text, sizeof text, "%.*s", (int)(root.len < sizeof text ? root.len : 0), root.ptr);
    bool is_absolute = strstr(text, "://") != NULL;
    int len;
    if (text_len <= 0) {
        return core_fail_set(taxii->fail, CORE_BAD, taxii->shown, "an API root that it names is no URL");
    }
    if (is_absolute && (origin_len(text) != origin || strncasecmp(text, url, origin) != 0)) {
        char other[CORE_HTTP_URL_SHOWN_MAX];
        core_http_shown(text, other);
        return core_fail_set(taxii->fail, CORE_BAD, taxii->shown,
                             "it names an API root on another server, %s, which does not get this feed's credentials; "
                             "if it is right, give that as url (or one of its own by the option api_root)",
                             other);
    }
    const char *slash = text[text_len - 1] == '/' ? "" : "/";
    if (is_absolute) {
        len = snprintf(out, SOURCE_URL_BYTES_MAX, "%s%s", text, slash);
    } else if (text[0] == '/') {
        len = snprintf(out, SOURCE_URL_BYTES_MAX, "%.*s%s%s", (int)origin, url, text, slash);
    } else {
        const char *between = url[strlen(url) - 1] == '/' ? "" : "/";
        len = snprintf(out, SOURCE_URL_BYTES_MAX, "%s%s%s%s", url, between, text, slash);
    }
    return len < SOURCE_URL_BYTES_MAX ? CORE_OK : source_url_long(url, taxii->fail);
}

/* ---- objects --------------------------------------------------------------------------------------------------------------------- */

struct paging {
    char after[40];            /* added_after; "": from the beginning */
    char next[NEXT_BYTES_MAX]; /* "": the first page */
    char last[40];             /* X-TAXII-Date-Added-Last of the last page that had one */
    bool is_last;
};

static bool objects_url(const struct taxii *taxii, const char *collection, const struct paging *paging,
                        char url[SOURCE_URL_BYTES_MAX]) {
    char limit[24];
    bool is_short = snprintf(url, SOURCE_URL_BYTES_MAX, "%sobjects/", collection) < SOURCE_URL_BYTES_MAX;
    snprintf(limit, sizeof limit, "%llu", (unsigned long long)taxii->limit);
    is_short = is_short && (taxii->is_20 || source_url_add(url, "limit", limit));
    is_short = is_short && (paging->after[0] == '\0' || source_url_add(url, "added_after", paging->after));
    return is_short && (paging->next[0] == '\0' || source_url_add(url, "next", paging->next));
}

/* Where the next page is. Errors: CORE_BAD it says that there is more, but not where, or where we have been. */
static enum core_err page_next(const struct taxii *taxii, const struct core_json_tree *envelope,
                               struct paging *paging) {
    const struct core_json_tree *more = core_json_tree_get(envelope, "more");
    const struct core_json_tree *next = core_json_tree_get(envelope, "next");
    struct core_span text = next != NULL && (next->kind == CORE_JSON_STRING || next->kind == CORE_JSON_NUMBER)
                                ? next->text
                                : (struct core_span){"", 0};
    paging->is_last = more == NULL || !core_span_is(more->text, "true");
    if (paging->is_last) {
        return CORE_OK;
    }
    if (text.len > 0 && text.len < sizeof paging->next && !core_span_is(text, paging->next)) {
        memcpy(paging->next, text.ptr, text.len);
        paging->next[text.len] = '\0';
        return CORE_OK;
    }
    bool is_further = text.len == 0 && paging->last[0] != '\0' && strcmp(paging->last, paging->after) != 0;
    if (!is_further) {
        return core_fail_set(taxii->fail, CORE_BAD, taxii->shown,
                             "it says that there is more, but not where (next, X-TAXII-Date-Added-Last), or the same "
                             "place again; what is in the store is kept");
    }
    memcpy(paging->after, paging->last, sizeof paging->after);
    paging->next[0] = '\0';
    return CORE_OK;
}

static enum core_err page_read(struct taxii *taxii, const struct core_http_answer *answer, const char *url,
                               struct paging *paging) {
    struct core_arena arena = {0};
    struct core_json_tree *envelope = NULL;
    const char *last = core_http_header(answer, "X-TAXII-Date-Added-Last");
    const char *range = core_http_header(answer, "Content-Range");
    if (last != NULL && strlen(last) < sizeof paging->last && source_time(core_span_of(last)) != 0) {
        snprintf(paging->last, sizeof paging->last, "%s", last);
    }
    enum core_err err = source_json(answer, url, &arena, &envelope, taxii->fail);
    bool is_object = err == CORE_OK && envelope->kind == CORE_JSON_OBJECT;
    bool is_empty = is_object && core_json_tree_get(envelope, "objects") == NULL;
    err = is_object ? page_next(taxii, envelope, paging) : err;
    if (err == CORE_OK && !is_object) {
        err = core_fail_set(taxii->fail, CORE_BAD, taxii->shown, "the answer is no envelope of TAXII");
    }
    core_arena_destroy(&arena); /* before another tree of the same text is made */
    if (err == CORE_OK && !is_empty) {
        err = source_stix.read((struct core_span){answer->body, answer->len}, taxii->shown, taxii->feed,
                               taxii->server.calls, taxii->fail);
    }
    taxii->server.report->is_cut =
        taxii->server.report->is_cut || (taxii->is_20 && (answer->status == PARTIAL || range != NULL));
    return err;
}

/* collection: its URL, with a slash behind it. */
static enum core_err collection_read(struct taxii *taxii, const char *collection, struct core_span id) {
    struct paging paging = {0};
    char url[SOURCE_URL_BYTES_MAX], key[ID_BYTES_MAX + 16];
    if (++taxii->collections > COLLECTIONS_MAX) {
        return core_fail_set(taxii->fail, CORE_LIMIT, taxii->shown,
                             "it has more than %d collections; name those you want (option collections)",
                             COLLECTIONS_MAX);
    }
    snprintf(key, sizeof key, "after.%.*s", (int)(id.len < ID_BYTES_MAX ? id.len : ID_BYTES_MAX), id.ptr);
    const char *after = store_state_find(taxii->state, key);
    if (after != NULL) {
        snprintf(paging.after, sizeof paging.after, "%s", after);
        taxii->server.report->is_delta = true;
    }
    taxii->server.accept = taxii->is_20 ? ACCEPT_20_OBJECTS : ACCEPT_21;
    enum core_err err = CORE_OK;
    for (unsigned pages = 0; err == CORE_OK && !paging.is_last && pages < SOURCE_PAGES_MAX; pages++) {
        struct core_http_answer answer;
        if (!objects_url(taxii, collection, &paging, url)) {
            return source_url_long(collection, taxii->fail);
        }
        err = source_send(&taxii->server, &(struct source_request){.url = url}, &answer, taxii->fail);
        err = err == CORE_OK ? page_read(taxii, &answer, url, &paging) : err;
        core_http_answer_release(&answer);
    }
    return err == CORE_OK && paging.last[0] != '\0' ? store_state_set(taxii->state, key, paging.last, taxii->fail)
                                                    : err;
}

/* ---- collections ---------------------------------------------------------------------------------------------------------------- */

/* Is this word in "a, b c"? Titles with commas are named by their id. */
static bool is_in(const char *list, struct core_span word) {
    while (word.len > 0 && *list != '\0') {
        size_t len = strcspn(list, ",");
        if (core_span_eq(core_span_trim((struct core_span){list, len}), word)) {
            return true;
        }
        list += len + (list[len] == ',');
    }
    return false;
}

static bool is_wanted(const struct taxii *taxii, const struct core_json_tree *collection) {
    const char *list = source_option(taxii->feed, "collections");
    return list == NULL || is_in(list, core_json_tree_text(collection, "id")) ||
           is_in(list, core_json_tree_text(collection, "title")) ||
           is_in(list, core_json_tree_text(collection, "alias"));
}

static bool is_id(struct core_span id) {
    for (size_t i = 0; i < id.len; i++) {
        bool is_plain = (id.ptr[i] >= '0' && id.ptr[i] <= '9') || (id.ptr[i] >= 'a' && id.ptr[i] <= 'z') ||
                        (id.ptr[i] >= 'A' && id.ptr[i] <= 'Z') || id.ptr[i] == '-' || id.ptr[i] == '_';
        if (!is_plain) {
            return false;
        }
    }
    return id.len > 0 && id.len <= ID_BYTES_MAX;
}

static enum core_err root_read(struct taxii *taxii, const char *root) {
    struct core_arena arena = {0};
    struct core_json_tree *tree = NULL;
    char url[SOURCE_URL_BYTES_MAX];
    taxii->server.accept = taxii->is_20 ? ACCEPT_20 : ACCEPT_21;
    if (snprintf(url, sizeof url, "%scollections/", root) >= (int)sizeof url) {
        return source_url_long(root, taxii->fail);
    }
    enum core_err err = source_get_json(&taxii->server, url, &arena, &tree, taxii->fail);
    const struct core_json_tree *list = err == CORE_OK ? core_json_tree_get(tree, "collections") : NULL;
    for (const struct core_json_tree *one = list == NULL ? NULL : list->first; one != NULL && err == CORE_OK;
         one = one->next) {
        struct core_span id = core_json_tree_text(one, "id");
        const struct core_json_tree *can_read = core_json_tree_get(one, "can_read");
        bool is_readable = can_read == NULL || core_span_is(can_read->text, "true");
        if (!is_id(id) || !is_readable || !is_wanted(taxii, one)) {
            continue;
        }
        err = snprintf(url, sizeof url, "%scollections/%.*s/", root, (int)id.len, id.ptr) < (int)sizeof url
                  ? collection_read(taxii, url, id)
                  : source_url_long(root, taxii->fail);
    }
    core_arena_destroy(&arena);
    return err;
}

/* ---- discovery ------------------------------------------------------------------------------------------------------------------- */

static enum core_err roots_read(struct taxii *taxii, const struct core_json_tree *roots) {
    const char *wanted = source_option(taxii->feed, "api_root");
    char url[SOURCE_URL_BYTES_MAX];
    enum core_err err = CORE_OK;
    unsigned count = 0;
    if (wanted != NULL) {
        err = root_url(taxii, core_span_of(wanted), url);
        return err == CORE_OK ? root_read(taxii, url) : err;
    }
    for (const struct core_json_tree *root = roots->first; root != NULL && err == CORE_OK && count < ROOTS_MAX;
         root = root->next, count++) {
        err = root->kind == CORE_JSON_STRING ? root_url(taxii, root->text, url) : CORE_OK;
        err = err == CORE_OK && root->kind == CORE_JSON_STRING ? root_read(taxii, url) : err;
    }
    return err;
}

/* The collection that the URL itself names. */
static enum core_err collection_alone(struct taxii *taxii, const char *ids) {
    char url[SOURCE_URL_BYTES_MAX];
    struct core_span id = {ids, strcspn(ids, "/?#")};
    int len = (int)(ids - taxii->feed->url) + (int)id.len;
    if (!is_id(id)) {
        return core_fail_set(taxii->fail, CORE_BAD, taxii->shown, "behind /collections/ there is no collection's id");
    }
    return snprintf(url, sizeof url, "%.*s/", len, taxii->feed->url) < (int)sizeof url
               ? collection_read(taxii, url, id)
               : source_url_long(taxii->feed->url, taxii->fail);
}

static enum core_err start(struct taxii *taxii) {
    static const char mark[] = "/collections/";
    const char *collections = strstr(taxii->feed->url, mark);
    struct core_arena arena = {0};
    struct core_json_tree *tree = NULL;
    char url[SOURCE_URL_BYTES_MAX];
    if (collections != NULL && collections[strlen(mark)] != '\0') {
        return collection_alone(taxii, collections + strlen(mark));
    }
    taxii->server.accept = taxii->is_20 ? ACCEPT_20 : ACCEPT_21;
    enum core_err err = source_get_json(&taxii->server, taxii->feed->url, &arena, &tree, taxii->fail);
    const struct core_json_tree *roots = err == CORE_OK ? core_json_tree_get(tree, "api_roots") : NULL;
    bool is_root = err == CORE_OK && core_json_tree_get(tree, "versions") != NULL;
    if (roots != NULL && roots->kind == CORE_JSON_ARRAY) {
        err = roots_read(taxii, roots);
    } else if (is_root) {
        err = root_url(taxii, core_span_of(taxii->feed->url), url);
        err = err == CORE_OK ? root_read(taxii, url) : err;
    } else if (err == CORE_OK) {
        err = core_fail_set(taxii->fail, CORE_BAD, taxii->shown,
                            "the answer is neither TAXII's discovery (api_roots) nor an API root (versions)");
    }
    core_arena_destroy(&arena);
    if (err == CORE_OK && taxii->collections == 0) {
        err =
            core_fail_set(taxii->fail, CORE_BAD, taxii->shown,
                          "it has no collection that we may read%s; what is in the store is kept",
                          source_option(taxii->feed, "collections") == NULL ? "" : " and that is named in the options");
    }
    return err;
}

static enum core_err options_read(const struct enrich_feed_conf *feed, uint64_t *limit, struct core_fail *fail) {
    const char *version = source_option(feed, "version");
    if (version != NULL && strcmp(version, "2.0") != 0 && strcmp(version, "2.1") != 0) {
        return core_fail_set(fail, CORE_BAD, "options", "feed %s: version: \"%s\": 2.1 and 2.0 are read", feed->name,
                             version);
    }
    return source_option_number(feed, "limit", LIMIT_DEFAULT, LIMIT_MAX, limit, fail);
}

static enum core_err taxii_check(const struct enrich_feed_conf *feed, struct core_fail *fail) {
    uint64_t limit;
    return options_read(feed, &limit, fail);
}

static enum core_err taxii_fetch(const struct enrich_feed_conf *feed, struct core_conf_list *state,
                                 const struct enrich_read_calls *calls, struct enrich_sync_report *report,
                                 struct core_fail *fail) {
    const char *version = source_option(feed, "version"), *scheme = source_option(feed, "scheme");
    char authorization[64];
    struct taxii taxii = {.feed = feed, .state = state, .fail = fail};
    bool has_scheme = scheme == NULL || scheme[0] != '\0';
    snprintf(authorization, sizeof authorization, "%.60s%s", scheme == NULL ? "Bearer" : scheme, has_scheme ? " " : "");
    taxii.server = (struct source_server){
        .feed = feed, .calls = calls, .report = report, .authorization = authorization, .accept = ACCEPT_21};
    taxii.is_20 = version != NULL && strcmp(version, "2.0") == 0;
    core_http_shown(feed->url, taxii.shown);
    enum core_err err = options_read(feed, &taxii.limit, fail);
    taxii.server.session = core_http_session_new();
    err = err == CORE_OK ? start(&taxii) : err;
    core_http_session_free(taxii.server.session);
    return err;
}

static const struct source_option taxii_options[] = {
    {"collections",
     "Which collections, by id, title or alias, with commas between them; default: all that may be read."},
    {"api_root", "Which of its API roots; default: all that discovery names."},
    {"limit", "How many objects one answer has at most; default 1000."},
    {"version", "2.1 or 2.0; default 2.1."},
    {"scheme", "What stands before the token in Authorization, if there is no username; default Bearer."},
    {"split", "true: each part of an AND, and what is qualified (REPEATS, WITHIN), counts by itself."},
    {"observables", "true: observables (ipv4-addr, file …) count as indicators, too."},
    {0},
};

const struct source_ops source_taxii = {
    .name = "taxii",
    .summary = "a TAXII 2.1 server: its collections of STIX objects",
    .options = taxii_options,
    .check = taxii_check,
    .fetch = taxii_fetch,
    .tells_all = true,
    .counts = "item",
};
