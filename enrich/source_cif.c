/* enrich/source_cif.c: the Collective Intelligence Framework, versions 3 (bearded-avenger), 4 (verbose-robot) and 5.
 *
 *   version  asks                 token                             answers                      confidence  times
 *   3        /feed?itype=…        Authorization: Token token=KEY    {"message","data":[…]}       0 to 10     reporttime …
 *   4        /indicators/?itype=… the same, or KEY alone            […], or the same             0 to 10     reported_at …
 *   5        /indicators?itype=…  KEY, where something in front     […]                          0 to 4      reported_at …
 *                                 of it asks for one; certificates
 *
 * One question for each type of indicator, newest first. A server answers at most its limit of rows, and says nowhere that
 * there were more; it may have put many rows into one (a feed has each indicator once), so a short answer proves nothing.
 * So what is older than the oldest row of an answer is asked for, until nothing older comes. Where that cannot be (more rows
 * in one second than a limit, or the option pages is false) and an answer is as long as a limit, the feed is cut off: an alarm.
 * Between complete readings only what was reported since the newest row is asked for, and ten minutes before.
 *
 * Every question has nolog=1: else the server would keep it as an indicator that somebody searched for. Rows tagged
 * whitelist, search, pdns or sighting (our own reports) are no indicators of anything bad.
 * SPDX-License-Identifier: Apache-2.0
 * Source: csirtgadgets/bearded-avenger (cif/httpd), verbose-robot (cif/httpd/indicators.py), cif-v5 (cif/http), their SDKs. */
#include "core/codec.h"
#include "enrich/sync_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define LIMIT_DEFAULT 50000 /* of one answer; CIF v3's own */
#define LIMIT_MAX 1000000
#define DAYS_MAX 3650
#define SECONDS_PER_DAY 86400
#define OVERLAP_S 600
#define ROUND 500 /* servers' own limits are multiples of it */
#define TEXT_ARENA_BYTES (64 * CORE_KIB)
#define UNAUTHORIZED 401
#define PERCENT_SCALE 100
#define DEPTH_MAX 3
#define LOOKS 85

struct version {
    const char *number;
    const char *path;
    const char *accept;
    const char *authorization;
    const char *authorization_else; /* tried after a 401; NULL: none */
    const char *report_time;        /* what is asked for */
    int scale;                      /* of confidence */
    uint64_t days_names;            /* how old its own feeds are, at most: of names, URLs, hashes; addresses 21 */
    bool has_default_confidence;    /* without a confidence it leaves out what is below 3 */
};
static const struct version versions[] = {
    {"3", "/feed", "application/vnd.cif.v3+json", "Token token=", NULL, "reporttime", 10, 45, false},
    {"4", "/indicators/", "application/vnd.cif.v4+json", "Token token=", "", "reported_at", 10, 60, true},
    {"5", "/indicators", "application/vnd.cif.v5+json", "", "Token token=", "reported_at", 4, 60, true},
};

static const struct kind {
    const char *itype;
    enum core_indicator type;
    bool is_address;
} kinds[] = {
    {"ipv4", CORE_INDICATOR_IP, true},           {"ipv6", CORE_INDICATOR_IP, true},
    {"fqdn", CORE_INDICATOR_DOMAIN, false},      {"url", CORE_INDICATOR_URL, false},
    {"email", CORE_INDICATOR_EMAIL, false},      {"md5", CORE_INDICATOR_FILE_HASH, false},
    {"sha1", CORE_INDICATOR_FILE_HASH, false},   {"sha256", CORE_INDICATOR_FILE_HASH, false},
    {"sha512", CORE_INDICATOR_FILE_HASH, false},
};
#define KINDS (sizeof kinds / sizeof kinds[0])
#define DAYS_ADDRESSES 21

struct cif {
    struct source_server server;
    const struct version *version;
    const struct enrich_feed_conf *feed;
    struct core_conf_list *state;
    struct core_arena texts; /* of one row */
    struct core_fail *fail;
    int scale;
    bool has_scale; /* the option says it */
    bool has_pages;
    uint64_t limit;
    uint64_t days; /* 0: the server's own */
    uint64_t row;  /* for messages */
    int64_t start_s;
    char shown[CORE_HTTP_URL_SHOWN_MAX];
};

/* What came of one answer. */
struct page {
    uint64_t rows;
    int64_t oldest_s; /* 0: no row has a time */
    int64_t newest_s; /* and not to come: that would hide all that is reported until then */
};

/* ---- rows ------------------------------------------------------------------------------------------------------------------------ */

static int64_t time_of(const struct core_json_tree *row, const char *name, const char *other) {
    const struct core_json_tree *member = core_json_tree_get(row, name);
    member = member != NULL ? member : core_json_tree_get(row, other);
    bool is_text = member != NULL && (member->kind == CORE_JSON_STRING || member->kind == CORE_JSON_NUMBER);
    return is_text ? source_time(member->text) : 0;
}

/* A text, a number as it stands, or the first of a list. */
static struct core_span text_of(const struct core_json_tree *row, const char *name) {
    const struct core_json_tree *member = core_json_tree_get(row, name);
    if (member != NULL && member->kind == CORE_JSON_ARRAY) {
        member = member->first;
    }
    bool is_text = member != NULL && (member->kind == CORE_JSON_STRING || member->kind == CORE_JSON_NUMBER);
    return is_text ? member->text : (struct core_span){"", 0};
}

/* Is one of these tags (with commas between them) a word of what is no indicator? */
static bool says_none(struct core_span tags) {
    static const char *const others[] = {"whitelist", "search", "pdns", "sighting"};
    while (tags.len > 0) {
        const char *comma = core_span_chr(tags, ',');
        size_t len = comma == NULL ? tags.len : (size_t)(comma - tags.ptr);
        struct core_span tag = core_span_trim((struct core_span){tags.ptr, len});
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
            if (core_span_is(tag, others[i])) {
                return true;
            }
        }
        len += comma != NULL;
        tags = (struct core_span){tags.ptr + len, tags.len - len};
    }
    return false;
}

/* Tags with commas between them; *is_no_indicator if one of them says so. */
static void tags_of(const struct core_json_tree *row, struct core_buf *out, bool *is_no_indicator) {
    const struct core_json_tree *tags = core_json_tree_get(row, "tags");
    const struct core_json_tree *tag = tags == NULL || tags->kind != CORE_JSON_ARRAY ? tags : tags->first;
    for (; tag != NULL; tag = tag == tags ? NULL : tag->next) {
        *is_no_indicator = *is_no_indicator || (tag->kind == CORE_JSON_STRING && says_none(tag->text));
        if (tag->kind != CORE_JSON_STRING || tag->text.len == 0 || (size_t)(out->end - out->pos) <= tag->text.len) {
            continue;
        }
        if (out->pos > out->start) {
            core_buf_char(out, ',');
        }
        core_buf_span(out, tag->text);
    }
}

/* Of a server that still counts to a hundred, whatever its version counts to, too. */
static int confidence_of(const struct cif *cif, const struct core_json_tree *row) {
    struct core_span text = text_of(row, "confidence");
    int tenths = source_confidence(text, cif->scale);
    return tenths != ENRICH_CONFIDENCE_NONE || cif->has_scale ? tenths : source_confidence(text, PERCENT_SCALE);
}

static struct enrich_provider said_of(struct cif *cif, const struct core_json_tree *row, struct core_span tags) {
    struct core_arena *arena = &cif->texts;
    struct enrich_provider said = source_item(CORE_INDICATOR_NONE, (struct core_span){0}).said;
    struct core_span group = text_of(row, "group");
    const char *reference = source_text(arena, text_of(row, "reference"));
    const char *rdata = source_text(arena, text_of(row, "rdata"));
    struct core_span id = text_of(row, "uuid");
    said.provider = source_text(arena, text_of(row, "provider"));
    said.confidence_tenths = confidence_of(cif, row);
    said.tlp = source_tlp(text_of(row, "tlp"));
    said.description = source_join(arena, source_text(arena, text_of(row, "description")), "; rdata ", rdata);
    said.reference = reference != NULL ? reference : source_text(arena, text_of(row, "altid"));
    said.tags = source_text(arena, tags);
    if (group.len > 0 && !core_span_is(group, "everyone")) {
        char room[ENRICH_TEXT_BYTES_MAX];
        int len = snprintf(room, sizeof room, "group:%.*s", (int)(group.len < 200 ? group.len : 200), group.ptr);
        said.tags = source_join(arena, said.tags, ",", source_text(arena, (struct core_span){room, (size_t)len}));
    }
    said.first_seen = time_of(row, "firsttime", "first_at");
    said.last_seen = time_of(row, "lasttime", "last_at");
    said.expires = time_of(row, "expire_at", "expiretime");
    said.id = source_text(arena, id.len > 0 ? id : text_of(row, "id"));
    return said;
}

static enum core_indicator type_of(const struct core_json_tree *row, struct core_span value) {
    struct core_span itype = text_of(row, core_json_tree_get(row, "itype") != NULL ? "itype" : "otype");
    for (size_t i = 0; i < KINDS; i++) {
        if (core_span_is(itype, kinds[i].itype)) {
            bool is_network = kinds[i].is_address && core_span_chr(value, '/') != NULL;
            return is_network ? CORE_INDICATOR_CIDR : kinds[i].type;
        }
    }
    return CORE_INDICATOR_NONE;
}

/* False: on_item wants to stop. */
static bool row_read(struct cif *cif, const struct core_json_tree *row, struct page *page) {
    const struct enrich_read_calls *calls = cif->server.calls;
    char room[ENRICH_TEXT_BYTES_MAX];
    struct core_buf tags = {.start = room, .pos = room, .end = room + sizeof room};
    struct core_span value = text_of(row, core_json_tree_get(row, "indicator") != NULL ? "indicator" : "observable");
    int64_t reported_s = time_of(row, "reporttime", "reported_at");
    bool is_no_indicator = false;
    cif->row++;
    page->rows++;
    page->oldest_s =
        reported_s != 0 && (page->oldest_s == 0 || reported_s < page->oldest_s) ? reported_s : page->oldest_s;
    page->newest_s = reported_s > page->newest_s && reported_s <= cif->start_s ? reported_s : page->newest_s;
    enum core_indicator type = type_of(row, value);
    tags_of(row, &tags, &is_no_indicator);
    if (type == CORE_INDICATOR_NONE || is_no_indicator) {
        source_refuse(calls, cif->row, value,
                      is_no_indicator ? "its tags say that it is none: whitelist, search, pdns or sighting"
                                      : "its itype is none that a log of the network can show");
        return true;
    }
    core_arena_reset(&cif->texts, TEXT_ARENA_BYTES);
    struct enrich_item item = source_item(type, value);
    item.said = said_of(cif, row, core_buf_written(&tags));
    return source_give(calls, cif->feed, cif->row, &item);
}

/* ---- answers --------------------------------------------------------------------------------------------------------------------- */

static int sextet(char c) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c == '\0' ? NULL : strchr(letters, c);
    return at == NULL ? -1 : (int)(at - letters);
}

/* Out has room for as many bytes as the text has. False: it is no base64. */
static bool unbase64(struct core_span text, char *out, size_t *len) {
    uint32_t bits = 0;
    unsigned have = 0;
    *len = 0;
    for (size_t i = 0; i < text.len && text.ptr[i] != '='; i++) {
        int six = sextet(text.ptr[i]);
        if (six < 0 && strchr(" \r\n\t", text.ptr[i]) == NULL) {
            return false;
        }
        if (six < 0) {
            continue;
        }
        bits = bits << 6 | (uint32_t)six;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[(*len)++] = (char)(bits >> have & 0xff);
        }
    }
    return *len > 0;
}

/* data as a text: JSON, or base64 of gzip of JSON, as version 2 sent feeds and proxies of it still do. */
static enum core_err packed_open(struct cif *cif, struct core_span packed, struct core_arena *arena,
                                 struct core_json_tree **out) {
    struct core_span text = core_span_trim(packed);
    char *bytes = NULL;
    size_t len = 0;
    enum core_err err = CORE_OK;
    if (text.len == 0 || (text.ptr[0] != '{' && text.ptr[0] != '[')) {
        bytes = malloc(text.len + 1);
        MUST(bytes != NULL);
        if (!unbase64(text, bytes, &len) || !core_gzip_is_magic((struct core_span){bytes, len})) {
            free(bytes);
            return core_fail_set(cif->fail, CORE_BAD, cif->shown,
                                 "data is a text that is neither JSON nor base64 of gzip; is this CIF?");
        }
        struct source_bytes plain = {.bytes = bytes, .len = len};
        err = source_gunzip(&plain, cif->shown, SOURCE_JSON_BYTES_MAX, cif->server.calls, cif->fail);
        bytes = plain.bytes;
        text = (struct core_span){plain.bytes, plain.len};
    }
    err = err == CORE_OK
              ? core_arena_init(arena, text.len * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN, cif->fail)
              : err;
    err = err == CORE_OK ? core_json_tree_read(arena, text, out, cif->fail) : err;
    free(bytes);
    return err;
}

/* The first of the rows, wherever a version has them. */
static enum core_err rows_of(struct cif *cif, const struct core_json_tree *tree, struct core_arena *arena,
                             const struct core_json_tree **rows) {
    struct core_span status = core_json_tree_text(tree, "status"), message = core_json_tree_text(tree, "message");
    *rows = NULL;
    if (core_span_starts(status, CORE_SPAN("fail"))) {
        return core_fail_set(cif->fail, CORE_BAD, cif->shown, "the server says: %.*s",
                             (int)(message.len < 200 ? message.len : 200), message.ptr);
    }
    for (int depth = 0; depth < DEPTH_MAX; depth++) {
        if (tree != NULL && tree->kind == CORE_JSON_ARRAY) {
            *rows = tree->first;
            return CORE_OK;
        }
        const struct core_json_tree *hits = core_json_tree_get(core_json_tree_get(tree, "hits"), "hits");
        const struct core_json_tree *data = hits != NULL ? hits : core_json_tree_get(tree, "data");
        if (tree != NULL && tree->kind == CORE_JSON_OBJECT && tree->first == NULL && depth > 0) {
            return CORE_OK; /* "{}" is how some say that there is none */
        }
        struct core_json_tree *opened = NULL;
        if (data != NULL && data->kind == CORE_JSON_STRING && arena->base == NULL) {
            enum core_err err = packed_open(cif, data->text, arena, &opened);
            if (err != CORE_OK) {
                return err;
            }
            data = opened;
        }
        tree = data;
    }
    return core_fail_set(cif->fail, CORE_BAD, cif->shown,
                         "the answer has no list of indicators (\"data\"); is this CIF, and of this version?");
}

static enum core_err answer_read(struct cif *cif, const struct core_http_answer *answer, const char *url,
                                 struct page *page) {
    struct core_arena arena = {0};
    struct core_arena opened = {0};
    struct core_json_tree *tree = NULL;
    const struct core_json_tree *row = NULL;
    enum core_err err = source_json(answer, url, &arena, &tree, cif->fail);
    err = err == CORE_OK ? rows_of(cif, tree, &opened, &row) : err;
    for (; row != NULL && err == CORE_OK; row = row->next) {
        const struct core_json_tree *source = core_json_tree_get(row, "_source");
        if (row->kind == CORE_JSON_OBJECT && !row_read(cif, source != NULL ? source : row, page)) {
            err = CORE_AGAIN;
        }
    }
    core_arena_destroy(&opened);
    core_arena_destroy(&arena);
    return err;
}

/* ---- questions ------------------------------------------------------------------------------------------------------------------- */

static bool url_write(struct cif *cif, const struct kind *kind, int64_t start_s, int64_t end_s,
                      char url[SOURCE_URL_BYTES_MAX]) {
    const char *confidence = source_option(cif->feed, "confidence");
    const char *tags = source_option(cif->feed, "tags"), *provider = source_option(cif->feed, "provider");
    char text[64], start[24], end[24];
    bool is_short = source_url(cif->feed, cif->version->path, url);
    is_short = is_short && source_url_add(url, "itype", kind->itype);
    source_time_write(start_s, start);
    source_time_write(end_s, end);
    snprintf(text, sizeof text, "%s%s%s", start, end_s == 0 ? "" : ",", end_s == 0 ? "" : end);
    is_short = is_short && source_url_add(url, cif->version->report_time, text);
    snprintf(text, sizeof text, "%llu", (unsigned long long)cif->limit);
    is_short = is_short && source_url_add(url, "limit", text) && source_url_add(url, "nolog", "1");
    if (confidence != NULL || cif->version->has_default_confidence) {
        int tenths = confidence == NULL ? 0 : source_confidence(core_span_of(confidence), 10);
        snprintf(text, sizeof text, "%g", (double)tenths * cif->scale / 100);
        is_short = is_short && source_url_add(url, "confidence", text);
    }
    is_short = is_short && (tags == NULL || source_url_add(url, "tags", tags));
    return is_short && (provider == NULL || source_url_add(url, "provider", provider));
}

/* The token's form that a server wants is found with the first answer. */
static enum core_err ask(struct cif *cif, const char *url, struct page *page) {
    struct core_http_answer answer;
    struct source_request request = {.url = url};
    enum core_err err = source_send(&cif->server, &request, &answer, cif->fail);
    if (err != CORE_OK && answer.status == UNAUTHORIZED && cif->version->authorization_else != NULL &&
        cif->server.authorization == cif->version->authorization && cif->row == 0) {
        core_http_answer_release(&answer);
        cif->server.authorization = cif->version->authorization_else;
        err = source_send(&cif->server, &request, &answer, cif->fail);
    }
    *page = (struct page){0};
    err = err == CORE_OK ? answer_read(cif, &answer, url, page) : err;
    core_http_answer_release(&answer);
    return err;
}

/* As many rows as a server that cuts off would give? */
static bool looks_cut(const struct cif *cif, uint64_t rows) {
    return rows >= cif->limit || (rows >= ROUND && rows % ROUND == 0);
}

/* From where on a type is asked for. */
static int64_t start_of(const struct cif *cif, const struct kind *kind, const char *key, bool *is_delta) {
    const char *after = store_state_find(cif->state, key);
    uint64_t days = cif->days != 0 ? cif->days : kind->is_address ? DAYS_ADDRESSES : cif->version->days_names;
    int64_t after_s = after == NULL ? INT64_MAX : strtoll(after, NULL, 10);
    if (after_s <= cif->start_s) {
        *is_delta = true;
        return after_s - OVERLAP_S;
    }
    return cif->start_s - (int64_t)days * SECONDS_PER_DAY;
}

static enum core_err kind_read(struct cif *cif, const struct kind *kind) {
    struct enrich_sync_report *report = cif->server.report;
    char url[SOURCE_URL_BYTES_MAX], key[32], text[24];
    struct page page;
    snprintf(key, sizeof key, "after.%s", kind->itype);
    int64_t start_s = start_of(cif, kind, key, &report->is_delta), newest_s = 0, end_s = 0, oldest_s = INT64_MAX;
    for (unsigned pages = 0; pages < SOURCE_PAGES_MAX; pages++) {
        if (!url_write(cif, kind, start_s, end_s, url)) {
            return source_url_long(cif->shown, cif->fail);
        }
        enum core_err err = ask(cif, url, &page);
        if (err != CORE_OK) {
            return err;
        }
        newest_s = page.newest_s > newest_s ? page.newest_s : newest_s;
        bool is_further = page.oldest_s != 0 && page.oldest_s < oldest_s && cif->has_pages;
        if (page.rows == 0 || !is_further) {
            report->is_cut = report->is_cut || looks_cut(cif, page.rows);
            break;
        }
        oldest_s = page.oldest_s;
        end_s = oldest_s + 1; /* its second may have more, and the server's times have fractions */
    }
    snprintf(text, sizeof text, "%lld", (long long)newest_s);
    return newest_s == 0 ? CORE_OK : store_state_set(cif->state, key, text, cif->fail);
}

/* ---- the source ------------------------------------------------------------------------------------------------------------------ */

/* Is this one of "ipv4,fqdn"? */
static bool is_wanted(const char *list, const char *itype) {
    size_t len = strlen(itype);
    for (const char *at = list; at != NULL && *at != '\0'; at += strcspn(at, ", ")) {
        at += strspn(at, ", ");
        if (strncmp(at, itype, len) == 0 && strchr(", ", at[len]) != NULL) { /* strchr finds the NUL, too */
            return true;
        }
    }
    return list == NULL;
}

static enum core_err options_read(struct cif *cif) {
    const struct enrich_feed_conf *feed = cif->feed;
    const char *number = source_option(feed, "version"), *pages = source_option(feed, "pages");
    const char *confidence = source_option(feed, "confidence");
    uint64_t scale = 0;
    number = number == NULL ? "3" : number + (number[0] == 'v');
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        cif->version = strcmp(number, versions[i].number) == 0 ? &versions[i] : cif->version;
    }
    if (cif->version == NULL) {
        return core_fail_set(cif->fail, CORE_BAD, "options", "feed %s: \"%s\" is no version of CIF: 3, 4 and 5 are",
                             feed->name, number);
    }
    if (confidence != NULL && source_confidence(core_span_of(confidence), 10) == ENRICH_CONFIDENCE_NONE) {
        return core_fail_set(cif->fail, CORE_BAD, "options", "feed %s: confidence: \"%s\" is no number from 0 to 10",
                             feed->name, confidence);
    }
    enum core_err err = source_option_number(feed, "limit", LIMIT_DEFAULT, LIMIT_MAX, &cif->limit, cif->fail);
    err = err == CORE_OK ? source_option_number(feed, "days", 0, DAYS_MAX, &cif->days, cif->fail) : err;
    err = err == CORE_OK ? source_option_number(feed, "scale", 0, PERCENT_SCALE, &scale, cif->fail) : err;
    cif->limit = cif->limit == 0 ? LIMIT_DEFAULT : cif->limit;
    cif->has_scale = scale > 0;
    cif->scale = scale > 0 ? (int)scale : cif->version->scale;
    cif->has_pages = pages == NULL || source_option_is(feed, "pages");
    return err;
}

static enum core_err cif_open(struct cif *cif, const struct enrich_read_calls *calls,
                              struct enrich_sync_report *report) {
    enum core_err err = options_read(cif);
    err = err == CORE_OK ? core_arena_init(&cif->texts, 2 * TEXT_ARENA_BYTES, cif->fail) : err;
    if (err == CORE_OK) {
        cif->server = (struct source_server){.feed = cif->feed,
                                             .calls = calls,
                                             .report = report,
                                             .authorization = cif->version->authorization,
                                             .accept = cif->version->accept};
    }
    return err;
}

static enum core_err cif_check(const struct enrich_feed_conf *feed, struct core_fail *fail) {
    struct cif cif = {.feed = feed, .fail = fail};
    return options_read(&cif);
}

static enum core_err cif_fetch(const struct enrich_feed_conf *feed, struct core_conf_list *state,
                               const struct enrich_read_calls *calls, struct enrich_sync_report *report,
                               struct core_fail *fail) {
    struct cif cif = {.feed = feed, .state = state, .fail = fail, .start_s = core_now_ns() / CORE_NS_PER_S};
    const char *itypes = source_option(feed, "itypes");
    core_http_shown(feed->url, cif.shown);
    enum core_err err = cif_open(&cif, calls, report);
    cif.server.session = core_http_session_new();
    for (size_t i = 0; i < KINDS && err == CORE_OK; i++) {
        err = is_wanted(itypes, kinds[i].itype) ? kind_read(&cif, &kinds[i]) : CORE_OK;
    }
    core_http_session_free(cif.server.session);
    core_arena_destroy(&cif.texts);
    return err;
}

/* An answer that was kept in a file. */
static enum core_err cif_read(struct core_span text, const char *path, const struct enrich_feed_conf *feed,
                              const struct enrich_read_calls *calls, struct core_fail *fail) {
    struct cif cif = {.feed = feed, .fail = fail};
    struct page page = {0};
    if (text.len > SOURCE_JSON_BYTES_MAX) {
        return core_fail_set(fail, CORE_LIMIT, path, "it is longer than JSON may be here (256 MiB); split it");
    }
    char *bytes = malloc(text.len + 1);
    MUST(bytes != NULL);
    memcpy(bytes, text.ptr, text.len);
    bytes[text.len] = '\0';
    struct core_http_answer answer = {.body = bytes, .len = text.len};
    snprintf(cif.shown, sizeof cif.shown, "%.*s", (int)sizeof cif.shown - 1, path);
    enum core_err err = cif_open(&cif, calls, NULL);
    err = err == CORE_OK ? answer_read(&cif, &answer, cif.shown, &page) : err;
    core_arena_destroy(&cif.texts);
    free(bytes);
    return err;
}

/* An answer has its own words for times beside itype. */
static int cif_looks(struct core_span head) {
    static const char *const times[] = {"\"reporttime\"", "\"reported_at\"", "\"lasttime\"", "\"last_at\""};
    struct core_span text = core_span_trim(head);
    bool is_json = text.len > 0 && (text.ptr[0] == '{' || text.ptr[0] == '[');
    if (!is_json || memmem(text.ptr, text.len, "\"itype\"", strlen("\"itype\"")) == NULL) {
        return 0;
    }
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        if (memmem(text.ptr, text.len, times[i], strlen(times[i])) != NULL) {
            return LOOKS;
        }
    }
    return 0;
}

static const struct source_option cif_options[] = {
    {"version", "3, 4 or 5; default 3."},
    {"itypes",
     "Which of ipv4, ipv6, fqdn, url, email, md5, sha1, sha256, sha512 are asked for, with commas between them; "
     "default: all."},
    {"confidence", "Only what has at least this confidence, from 0 to 10; default: all of it."},
    {"days",
     "How far back a complete reading goes; default: as the server's own feeds, 21 for addresses, 45 (v4, v5: 60) "
     "for all else."},
    {"limit", "How many rows one answer has at most; default 50000."},
    {"pages",
     "false: do not ask for what is older than an answer's oldest row, for a server that knows no end of a time."},
    {"scale", "What its confidence goes up to; default: 10, of version 5: 4; what is above it counts to 100."},
    {"tags", "Only what has one of these tags, with commas between them."},
    {"provider", "Only what this provider says."},
    {"group", "In which group what was seen is reported (sightings); default: everyone."},
    {0},
};

const struct source_ops source_cif = {
    .name = "cif",
    .summary = "a server of the Collective Intelligence Framework, version 3, 4 or 5, or an answer of one in a file",
    .options = cif_options,
    .check = cif_check,
    .looks = cif_looks,
    .read = cif_read,
    .fetch = cif_fetch,
    .tells_all = true,
    .counts = "item",
};
