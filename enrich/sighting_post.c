/* enrich/sighting_post.c: what was seen of a feed's indicators, told to its server.
 *
 *   cif    POST /indicators (v4 the same with a slash, v5 PUT): a list of reports of provider tapline, tagged `sighting`, so that
 *          they are told from what others report; what is read from a server leaves them out
 *   misp   POST /sightings/add/UUID, or /sightings/add with the value; one a request, as MISP counts them
 *
 * One request each RATE_NS, so that a busy day does not become an attack on the server. What a server can never take (an
 * attribute that is gone, a type that CIF does not have) counts as told.
 * SPDX-License-Identifier: Apache-2.0
 * Source: MISP's documentation, automation (sightings/add); csirtgadgets/bearded-avenger (cif/httpd/views/indicators.py),
 *         verbose-robot, cif-v5 (cif/http/indicators.py). */
#include "enrich/sync_internal.h"

#include <stdio.h>
#include <time.h>

#define RATE_NS (200 * CORE_NS_PER_MS)
#define CIF_LIST_MAX 200
#define BODY_BYTES_MAX (8 * CORE_MIB) /* a list of the longest values, each byte escaped, and half as much again */
#define UUID_LEN 36
#define UNAUTHORIZED 401

struct posting {
    struct source_server server;
    struct enrich_read_calls calls;
    struct enrich_sync_report report;
    const struct enrich_feed_conf *feed;
    struct core_fail *fail;
    struct core_arena arena;
    struct core_buf body;
};

static void rate_wait(void) {
    struct timespec wait = {.tv_nsec = RATE_NS};
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, NULL); /* woken early: a request a little sooner */
}

static enum core_err send_body(struct posting *posting, const char *method, const char *path) {
    struct core_http_answer answer;
    char url[SOURCE_URL_BYTES_MAX];
    if (!source_url(posting->feed, path, url)) {
        return source_url_long(posting->feed->url, posting->fail);
    }
    struct source_request request = {.url = url, .method = method, .json = core_buf_written(&posting->body)};
    enum core_err err = source_send(&posting->server, &request, &answer, posting->fail);
    if (answer.status == UNAUTHORIZED && posting->server.authorization[0] != '\0') { /* CIF v4 takes it alone, too */
        core_http_answer_release(&answer);
        posting->server.authorization = "";
        err = source_send(&posting->server, &request, &answer, posting->fail);
    }
    core_http_answer_release(&answer);
    rate_wait();
    return err;
}

static void body_clear(struct posting *posting) {
    posting->body.pos = posting->body.start;
    posting->body.is_full = false;
}

static void member(struct core_buf *buf, const char *key, struct core_span text) {
    core_buf_span(buf, core_span_of(key));
    core_buf_string(buf, text);
}

static void time_member(struct core_buf *buf, const char *key, int64_t seconds) {
    char text[24];
    source_time_write(seconds, text);
    member(buf, key, core_span_of(text));
}

/* ---- MISP ------------------------------------------------------------------------------------------------------------------------ */

static enum core_err misp_post(struct posting *posting, const struct enrich_sighting *sighting) {
    struct core_buf *buf = &posting->body;
    char path[64] = "sightings/add";
    bool has_id = sighting->id != NULL && strlen(sighting->id) == UUID_LEN &&
                  strspn(sighting->id, "0123456789abcdefABCDEF-") == UUID_LEN;
    body_clear(posting);
    core_buf_span(buf, CORE_SPAN("{\"type\":\"0\",\"source\":\"tapline\",\"timestamp\":"));
    core_buf_i64(buf, sighting->last_s);
    if (has_id) {
        snprintf(path, sizeof path, "sightings/add/%s", sighting->id);
    } else {
        member(buf, ",\"values\":[", sighting->value);
        core_buf_char(buf, ']');
    }
    core_buf_char(buf, '}');
    enum core_err err = send_body(posting, "POST", path);
    bool is_gone = err == CORE_BAD && (strstr(posting->fail->text, "No valid attribute") != NULL ||
                                       strstr(posting->fail->text, "status 404") != NULL);
    return is_gone ? CORE_OK : err;
}

/* ---- CIF ------------------------------------------------------------------------------------------------------------------------- */

/* NULL: CIF has no such type. */
static const char *itype_of(const struct enrich_sighting *sighting) {
    bool is_v6 = core_span_chr(sighting->value, ':') != NULL;
    switch (sighting->type) {
    case CORE_INDICATOR_IP:
    case CORE_INDICATOR_CIDR:
        return is_v6 ? "ipv6" : "ipv4";
    case CORE_INDICATOR_DOMAIN:
        return "fqdn";
    case CORE_INDICATOR_URL:
        return "url";
    case CORE_INDICATOR_EMAIL:
        return "email";
    case CORE_INDICATOR_FILE_HASH:
        return sighting->value.len == 32   ? "md5"
               : sighting->value.len == 40 ? "sha1"
               : sighting->value.len == 64 ? "sha256"
                                           : "sha512";
    default:
        return NULL;
    }
}

static void cif_write(struct posting *posting, const struct enrich_sighting *sighting, const char *itype, bool is_v3) {
    struct core_buf *buf = &posting->body;
    char url[ENRICH_VALUE_BYTES_MAX + 8];
    struct core_span value = sighting->value;
    const char *group = source_option(posting->feed, "group");
    if (sighting->type == CORE_INDICATOR_URL) { /* ours have no scheme; CIF knows URLs by theirs */
        int len = snprintf(url, sizeof url, "http://%.*s", (int)value.len, value.ptr);
        value = (struct core_span){url, (size_t)len};
    }
    core_buf_char(buf, buf->pos == buf->start ? '[' : ',');
    member(buf, "{\"indicator\":", value);
    member(buf, ",\"itype\":", core_span_of(itype));
    core_buf_span(buf,
                  CORE_SPAN(",\"provider\":\"tapline\",\"tags\":[\"sighting\"],\"tlp\":\"green\",\"confidence\":3"));
    member(buf, ",\"group\":", core_span_of(group == NULL ? "everyone" : group));
    core_buf_span(buf, CORE_SPAN(",\"count\":"));
    core_buf_u64(buf, sighting->count);
    time_member(buf, is_v3 ? ",\"lasttime\":" : ",\"last_at\":", sighting->last_s);
    time_member(buf, is_v3 ? ",\"reporttime\":" : ",\"reported_at\":", sighting->last_s);
    core_buf_char(buf, '}');
}

/* Up to CIF_LIST_MAX in one request. *len gets how many it was about. */
static enum core_err cif_post(struct posting *posting, const struct enrich_sighting *sightings, size_t *len) {
    const char *version = source_option(posting->feed, "version");
    char number = version == NULL ? '3' : version[version[0] == 'v'];
    bool is_v5 = number == '5';
    size_t most = *len < CIF_LIST_MAX ? *len : CIF_LIST_MAX, written = 0;
    body_clear(posting);
    for (size_t i = 0; i < most; i++) {
        const char *itype = itype_of(&sightings[i]);
        if (itype != NULL) {
            cif_write(posting, &sightings[i], itype, number == '3');
            written++;
        }
    }
    core_buf_char(&posting->body, ']');
    *len = most;
    MUST(!posting->body.is_full); /* a list of the longest values fits */
    return written == 0 ? CORE_OK
                        : send_body(posting, is_v5 ? "PUT" : "POST", number == '4' ? "indicators/" : "indicators");
}

/* ---- both ------------------------------------------------------------------------------------------------------------------------ */

bool source_takes_sightings(const struct enrich_feed_conf *feed) {
    const struct source_ops *source = source_table[feed->type];
    const char *mode = source_option(feed, "mode");
    bool is_rest = mode == NULL ? feed->token != NULL : strcmp(mode, "rest") == 0;
    return feed->url != NULL && (source == &source_cif || (source == &source_misp && is_rest));
}

static enum core_err posting_open(struct posting *posting, bool is_cif) {
    const struct enrich_feed_conf *feed = posting->feed;
    const char *version = source_option(feed, "version");
    bool is_v5 = is_cif && version != NULL && strchr(version, '5') != NULL;
    if (!source_takes_sightings(feed)) {
        return core_fail_set(
            posting->fail, CORE_BAD, "sightings",
            "feed %s: it has no server that takes sightings; feeds of type cif, and of type misp with a "
            "token, have",
            feed->name);
    }
    posting->server = (struct source_server){.feed = feed,
                                             .calls = &posting->calls,
                                             .report = &posting->report,
                                             .authorization = is_cif && !is_v5 ? "Token token=" : "",
                                             .accept = "application/json",
                                             .session = core_http_session_new()};
    enum core_err err = core_arena_init(&posting->arena, BODY_BYTES_MAX, posting->fail);
    if (err == CORE_OK) {
        char *start = core_arena_alloc(&posting->arena, BODY_BYTES_MAX);
        MUST(start != NULL);
        posting->body = (struct core_buf){.start = start, .pos = start, .end = start + BODY_BYTES_MAX};
    }
    return err;
}

enum core_err enrich_sightings_post(const struct enrich_feed_conf *feed, const struct enrich_sighting *sightings,
                                    size_t len, size_t *posted, struct core_fail *fail) {
    MUST(fail != NULL);
    MUST(len <= ENRICH_SIGHTINGS_POST_MAX);
    struct posting posting = {.feed = feed, .fail = fail};
    bool is_cif = source_table[feed->type] == &source_cif;
    *posted = 0;
    enum core_err err = posting_open(&posting, is_cif);
    while (err == CORE_OK && *posted < len) {
        size_t some = is_cif ? len - *posted : 1;
        err = is_cif ? cif_post(&posting, sightings + *posted, &some) : misp_post(&posting, &sightings[*posted]);
        *posted += err == CORE_OK ? some : 0;
    }
    core_http_session_free(posting.server.session);
    core_arena_destroy(&posting.arena);
    return err;
}
