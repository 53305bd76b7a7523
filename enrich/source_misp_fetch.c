/* enrich/source_misp_fetch.c: MISP as a server: what it asks for; source_misp.c reads the answers.
 *
 *   mode feed   manifest.json (each event's time of change), then the events: UUID.json
 *   mode rest   POST /attributes/restSearch, page by page
 *   mode file   one file of events behind url
 *
 * Without the option it is rest if there is a token, file if url ends in .json and is no manifest, else feed. Between
 * complete readings only what changed since is asked for: of a feed the events that the manifest says are as new as the newest
 * read, of a server the attributes since then, those that were deleted or lost their to_ids with them, so that they are taken
 * back. What else is gone (an event, from a manifest) is found by the next complete reading.
 * SPDX-License-Identifier: Apache-2.0
 * Source: MISP's documentation: feeds (manifest.json), automation (attributes/restSearch). */
#include "enrich/sync_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define LIMIT_DEFAULT 5000
#define LIMIT_MAX 1000000
#define DAYS_MAX 36500
#define UUID_LEN 36
#define OVERLAP_S 60
#define NOT_FOUND 404
#define NOT_MODIFIED 304
#define BODY_BYTES_MAX 8192

struct misp {
    struct source_server server;
    const struct enrich_feed_conf *feed;
    struct core_conf_list *state;
    struct core_fail *fail;
    int64_t start_s;
    int64_t newest_s; /* of what was read, and not to come */
    uint64_t limit;
    uint64_t days;    /* 0: without an end */
    uint64_t missing; /* events */
    char shown[CORE_HTTP_URL_SHOWN_MAX];
};

static int64_t time_of(const struct core_json_tree *object, const char *key) {
    const struct core_json_tree *member = core_json_tree_get(object, key);
    bool is_text = member != NULL && (member->kind == CORE_JSON_STRING || member->kind == CORE_JSON_NUMBER);
    return is_text ? source_time(member->text) : 0;
}

/* Where the last sync got to; 0: read all of it. A time to come would hide all that changes until then. */
static int64_t newest_of(const struct misp *misp) {
    const char *newest = store_state_find(misp->state, "newest");
    int64_t newest_s = newest == NULL ? 0 : strtoll(newest, NULL, 10);
    return newest_s > misp->start_s ? 0 : newest_s;
}

static void newest_see(struct misp *misp, int64_t changed_s) {
    misp->newest_s = changed_s > misp->newest_s && changed_s <= misp->start_s ? changed_s : misp->newest_s;
}

static enum core_err newest_keep(const struct misp *misp) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)misp->newest_s);
    return misp->newest_s == 0 ? CORE_OK : store_state_set(misp->state, "newest", text, misp->fail);
}

/* ---- a feed of events ---------------------------------------------------------------------------------------------------------- */

static bool is_uuid(struct core_span text) {
    static const char plain[] = "0123456789abcdefABCDEF-";
    for (size_t i = 0; i < text.len; i++) {
        if (memchr(plain, text.ptr[i], sizeof plain - 1) == NULL) {
            return false;
        }
    }
    return text.len == UUID_LEN;
}

static enum core_err event_read(struct misp *misp, struct core_span uuid) {
    struct core_http_answer answer;
    char url[SOURCE_URL_BYTES_MAX], path[UUID_LEN + 8];
    snprintf(path, sizeof path, "%.*s.json", (int)uuid.len, uuid.ptr);
    if (!source_url(misp->feed, path, url)) {
        return source_url_long(misp->feed->url, misp->fail);
    }
    enum core_err err = source_send(&misp->server, &(struct source_request){.url = url}, &answer, misp->fail);
    if (err != CORE_OK && answer.status == NOT_FOUND) {
        source_refuse(misp->server.calls, 0, uuid, "the manifest names this event, but it is not there");
        misp->missing++;
        err = CORE_OK;
    } else if (err == CORE_OK) {
        char shown[CORE_HTTP_URL_SHOWN_MAX];
        core_http_shown(url, shown);
        err = source_misp.read((struct core_span){answer.body, answer.len}, shown, misp->feed, misp->server.calls,
                               misp->fail);
    }
    core_http_answer_release(&answer);
    return err;
}

static enum core_err events_read(struct misp *misp, const struct core_json_tree *manifest, int64_t since_s) {
    uint64_t events = 0;
    enum core_err err = CORE_OK;
    for (const struct core_json_tree *event = manifest->first; event != NULL && err == CORE_OK; event = event->next) {
        int64_t changed_s = time_of(event, "timestamp");
        events++;
        newest_see(misp, changed_s);
        if (!is_uuid(event->key)) {
            source_refuse(misp->server.calls, events, event->key, "it is no UUID of an event");
        } else if (changed_s == 0 || changed_s >= since_s) { /* the newest again: its second may have had another */
            err = event_read(misp, event->key);
        }
    }
    if (err == CORE_OK && misp->missing > 0) {
        misp->newest_s = 0;                   /* ask for them again */
        misp->server.report->is_delta = true; /* and take nothing back: what they name may still be true */
        return misp->missing < events
                   ? CORE_OK
                   : core_fail_set(misp->fail, CORE_BAD, misp->shown,
                                   "none of the %llu events of its manifest is there", (unsigned long long)events);
    }
    return err;
}

static enum core_err feed_fetch(struct misp *misp) {
    static const char name[] = "manifest.json";
    struct core_http_answer answer;
    struct core_arena arena = {0};
    struct core_json_tree *manifest = NULL;
    char url[SOURCE_URL_BYTES_MAX];
    int64_t since_s = newest_of(misp);
    if (!source_url(misp->feed, name, url)) {
        return source_url_long(misp->feed->url, misp->fail);
    }
    struct source_request request = {.url = url, .state = misp->state};
    enum core_err err = source_send(&misp->server, &request, &answer, misp->fail);
    misp->server.report->is_unchanged = err == CORE_OK && answer.status == NOT_MODIFIED;
    if (err == CORE_OK && !misp->server.report->is_unchanged) {
        err = source_json(&answer, url, &arena, &manifest, misp->fail);
        bool is_manifest = err == CORE_OK && manifest->kind == CORE_JSON_OBJECT &&
                           (manifest->first == NULL || manifest->first->kind == CORE_JSON_OBJECT);
        if (err == CORE_OK && !is_manifest) {
            err = core_fail_set(misp->fail, CORE_BAD, misp->shown, "its manifest.json is none of MISP's feeds");
        }
        misp->server.report->is_delta = since_s != 0;
        err = err == CORE_OK ? events_read(misp, manifest, since_s) : err;
        err = err == CORE_OK && misp->missing == 0 ? source_keep(&answer, misp->state, misp->fail) : err;
        err = err == CORE_OK ? newest_keep(misp) : err;
    }
    core_arena_destroy(&arena);
    core_http_answer_release(&answer);
    return err;
}

/* ---- a server's attributes ----------------------------------------------------------------------------------------------------- */

/* "a,b" as ["a","b"]. */
static void list_write(struct core_buf *buf, const char *list) {
    const char *between = "[";
    while (*list != '\0') {
        size_t len = strcspn(list, ",");
        struct core_span word = core_span_trim((struct core_span){list, len});
        if (word.len > 0) {
            core_buf_span(buf, core_span_of(between));
            core_buf_string(buf, word);
            between = ",";
        }
        list += len + (list[len] == ',');
    }
    core_buf_span(buf, between[0] == '[' ? CORE_SPAN("[]") : CORE_SPAN("]"));
}

static void number_write(struct core_buf *buf, const char *key, uint64_t value) {
    core_buf_span(buf, core_span_of(key));
    core_buf_u64(buf, value);
}

/* since_s 0: all of it. */
static bool body_write(const struct misp *misp, int64_t since_s, uint64_t page, struct core_buf *buf) {
    const char *tags = source_option(misp->feed, "tags"), *published = source_option(misp->feed, "published");
    core_buf_span(buf, CORE_SPAN("{\"returnFormat\":\"json\",\"includeEventTags\":true,\"includeContext\":true"));
    core_buf_span(buf, since_s == 0 ? CORE_SPAN(",\"to_ids\":1,\"deleted\":0") : CORE_SPAN(",\"deleted\":[0,1]"));
    if (published == NULL || source_option_is(misp->feed, "published")) {
        core_buf_span(buf, CORE_SPAN(",\"published\":1"));
    }
    if (source_option_is(misp->feed, "warninglists")) {
        core_buf_span(buf, CORE_SPAN(",\"enforceWarninglist\":true"));
    }
    if (tags != NULL) {
        core_buf_span(buf, CORE_SPAN(",\"tags\":"));
        list_write(buf, tags);
    }
    if (since_s != 0) {
        number_write(buf, ",\"timestamp\":", (uint64_t)(since_s > OVERLAP_S ? since_s - OVERLAP_S : 1));
    } else if (misp->days != 0) {
        number_write(buf, ",\"timestamp\":\"", misp->days);
        core_buf_span(buf, CORE_SPAN("d\""));
    }
    number_write(buf, ",\"limit\":", misp->limit);
    number_write(buf, ",\"page\":", page);
    core_buf_char(buf, '}');
    return !buf->is_full;
}

/* How many attributes an answer has, and the newest of their times. */
static enum core_err answer_look(struct misp *misp, const struct core_http_answer *answer, const char *url,
                                 uint64_t *rows) {
    struct core_arena arena = {0};
    struct core_json_tree *tree = NULL;
    enum core_err err = source_json(answer, url, &arena, &tree, misp->fail);
    const struct core_json_tree *response = err == CORE_OK ? core_json_tree_get(tree, "response") : NULL;
    const struct core_json_tree *list = core_json_tree_get(response, "Attribute");
    list = list == NULL && response != NULL && response->kind == CORE_JSON_ARRAY ? response : list;
    if (err == CORE_OK && list == NULL) {
        err = core_fail_set(misp->fail, CORE_BAD, misp->shown,
                            "the answer has no response.Attribute; is this MISP, and may this key search?");
    }
    *rows = 0;
    for (const struct core_json_tree *row = list == NULL ? NULL : list->first; row != NULL; row = row->next) {
        newest_see(misp, time_of(row, "timestamp"));
        ++*rows;
    }
    core_arena_destroy(&arena);
    return err;
}

static enum core_err page_read(struct misp *misp, const char *url, struct core_span body, uint64_t *rows) {
    struct core_http_answer answer;
    enum core_err err =
        source_send(&misp->server, &(struct source_request){.url = url, .json = body}, &answer, misp->fail);
    err = err == CORE_OK ? answer_look(misp, &answer, url, rows) : err;
    if (err == CORE_OK && *rows > 0) {
        err = source_misp.read((struct core_span){answer.body, answer.len}, misp->shown, misp->feed, misp->server.calls,
                               misp->fail);
    }
    core_http_answer_release(&answer);
    return err;
}

static enum core_err rest_fetch(struct misp *misp) {
    char url[SOURCE_URL_BYTES_MAX], body[BODY_BYTES_MAX];
    uint64_t rows = 0;
    int64_t since_s = newest_of(misp);
    enum core_err err = source_option_number(misp->feed, "limit", LIMIT_DEFAULT, LIMIT_MAX, &misp->limit, misp->fail);
    err = err == CORE_OK ? source_option_number(misp->feed, "days", 0, DAYS_MAX, &misp->days, misp->fail) : err;
    if (err != CORE_OK) {
        return err;
    }
    misp->limit = misp->limit == 0 ? LIMIT_DEFAULT : misp->limit;
    misp->server.report->is_delta = since_s != 0;
    if (!source_url(misp->feed, "attributes/restSearch", url)) {
        return source_url_long(misp->feed->url, misp->fail);
    }
    for (uint64_t page = 1; err == CORE_OK && page <= SOURCE_PAGES_MAX; page++) {
        struct core_buf buf = {.start = body, .pos = body, .end = body + sizeof body};
        if (!body_write(misp, since_s, page, &buf)) {
            return core_fail_set(misp->fail, CORE_BAD, "options", "feed %s: tags: they are too long", misp->feed->name);
        }
        err = page_read(misp, url, core_buf_written(&buf), &rows);
        if (rows < misp->limit) {
            break;
        }
    }
    return err == CORE_OK ? newest_keep(misp) : err;
}

/* ---- which of them ------------------------------------------------------------------------------------------------------------- */

static bool ends_in(const char *url, const char *end) {
    size_t len = strcspn(url, "?#"), end_len = strlen(end);
    return len >= end_len && strncmp(url + len - end_len, end, end_len) == 0;
}

enum core_err source_misp_fetch(const struct enrich_feed_conf *feed, struct core_conf_list *state,
                                const struct enrich_read_calls *calls, struct enrich_sync_report *report,
                                struct core_fail *fail) {
    struct enrich_feed_conf folder = *feed; /* the URL without manifest.json */
    char url[SOURCE_URL_BYTES_MAX];
    const char *mode = source_option(feed, "mode");
    struct misp misp = {.feed = &folder, .state = state, .fail = fail, .start_s = core_now_ns() / CORE_NS_PER_S};
    bool is_manifest = ends_in(feed->url, "/manifest.json");
    if (mode == NULL) {
        mode = feed->token != NULL ? "rest" : ends_in(feed->url, ".json") && !is_manifest ? "file" : "feed";
    }
    if (is_manifest) {
        int len = (int)(strcspn(feed->url, "?#") - strlen("manifest.json"));
        if (snprintf(url, sizeof url, "%.*s", len, feed->url) >= (int)sizeof url) {
            return source_url_long(feed->url, fail);
        }
        folder.url = url;
    }
    misp.server = (struct source_server){
        .feed = feed, .calls = calls, .report = report, .authorization = "", .accept = "application/json"};
    core_http_shown(feed->url, misp.shown);
    if (strcmp(mode, "rest") == 0 || strcmp(mode, "feed") == 0) {
        misp.server.session = core_http_session_new();
        enum core_err err = mode[0] == 'r' ? rest_fetch(&misp) : feed_fetch(&misp);
        core_http_session_free(misp.server.session);
        return err;
    }
    return strcmp(mode, "file") == 0
               ? source_http_fetch(feed, state, calls, report, fail)
               : core_fail_set(fail, CORE_BAD, "options", "feed %s: mode: \"%s\": feed, rest and file are", feed->name,
                               mode);
}

enum core_err source_misp_check(const struct enrich_feed_conf *feed, struct core_fail *fail) {
    const char *mode = source_option(feed, "mode");
    uint64_t number;
    if (mode != NULL && strcmp(mode, "feed") != 0 && strcmp(mode, "rest") != 0 && strcmp(mode, "file") != 0) {
        return core_fail_set(fail, CORE_BAD, "options", "feed %s: mode: \"%s\": feed, rest and file are", feed->name,
                             mode);
    }
    enum core_err err = source_option_number(feed, "limit", LIMIT_DEFAULT, LIMIT_MAX, &number, fail);
    return err == CORE_OK ? source_option_number(feed, "days", 0, DAYS_MAX, &number, fail) : err;
}

const struct source_option source_misp_options[] = {
    {"mode",
     "feed (manifest.json and its events), rest (a server's attributes) or file (one file of events); default: rest "
     "with a token, file if url ends in .json, else feed."},
    {"tags", "rest: only attributes with one of these tags, with commas between them; !tag: without it."},
    {"days", "rest: only what changed within so many days; default: all of it."},
    {"published", "rest: false: attributes of events that are not published, too."},
    {"warninglists", "rest: true: without what is on one of the server's warning lists."},
    {"limit", "rest: how many attributes one answer has at most; default 5000."},
    {0},
};
