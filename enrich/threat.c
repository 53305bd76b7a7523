/* enrich/threat.c: what a matched indicator says in a document: threat.enrichments, one object for each provider, and flat
 * copies of what dashboards count, since they cannot count inside of objects in lists.
 *
 * Names and words are those of ECS 8 (threat.enrichments.*, threat.indicator.*), kinds of indicators and the words for
 * confidence those of STIX 2.1 (appendix A: 0 None, 1-29 Low, 30-69 Medium, 70-100 High), so that what knows these works.
 * ECS has no place for the provider's tags (botnet, a family's name); they stand in `indicator.tags`, where Elastic's own
 * modules put such members, and not in the document's `tags`, which are about the event.
 *
 * Pieces are written into a scratch arena first, then merged into the document (enrich/document.c). What does not fit is
 * tried again with less of it: no event with a hit goes on as if it had none.
 *
 *     all -> without description, reference and tags -> flat copies only -> the tag and the label only
 *
 * Thread: the enrich thread. Nothing here has a state.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#define CONFIDENCE_LOW 1
#define CONFIDENCE_MEDIUM 30
#define CONFIDENCE_HIGH 70
#define SECONDS_MAX INT64_C(9000000000) /* of a date that nanoseconds can say */
#define UNAVAILABLE_JSON "\"unavailable\""
#define PARTIAL_JSON "\"partial\""
#define TAG_JSON "[\"intel_match\"]"

/* The flat copies, sorted by path. */
enum flat {
    FLAT_FEED,
    FLAT_CONFIDENCE,
    FLAT_EMAIL,
    FLAT_MD5,
    FLAT_SHA1,
    FLAT_SHA256,
    FLAT_SHA512,
    FLAT_FILE_NAME,
    FLAT_IP,
    FLAT_TLP,
    FLAT_NAME,
    FLAT_PROVIDER,
    FLAT_TAGS,
    FLAT_TYPE,
    FLAT_URL_DOMAIN,
    FLAT_URL_ORIGINAL,
    FLAT__MAX
};
static const char *const flat_paths[FLAT__MAX] = {
    [FLAT_FEED] = "threat.feed.name",
    [FLAT_CONFIDENCE] = "threat.indicator.confidence",
    [FLAT_EMAIL] = "threat.indicator.email.address",
    [FLAT_MD5] = "threat.indicator.file.hash.md5",
    [FLAT_SHA1] = "threat.indicator.file.hash.sha1",
    [FLAT_SHA256] = "threat.indicator.file.hash.sha256",
    [FLAT_SHA512] = "threat.indicator.file.hash.sha512",
    [FLAT_FILE_NAME] = "threat.indicator.file.name",
    [FLAT_IP] = "threat.indicator.ip",
    [FLAT_TLP] = "threat.indicator.marking.tlp",
    [FLAT_NAME] = "threat.indicator.name",
    [FLAT_PROVIDER] = "threat.indicator.provider",
    [FLAT_TAGS] = "threat.indicator.tags",
    [FLAT_TYPE] = "threat.indicator.type",
    [FLAT_URL_DOMAIN] = "threat.indicator.url.domain",
    [FLAT_URL_ORIGINAL] = "threat.indicator.url.original",
};
#define LEAVES_MAX (FLAT__MAX + 3) /* and labels.intel, tags, threat.enrichments */

/* Distinct values, in the order they came. */
struct flat_list {
    struct core_span values[THREAT_ENRICHMENTS_MAX];
    size_t len;
};

/* How much is said of a hit. */
enum level { LEVEL_ALL, LEVEL_SHORT, LEVEL_FLAT, LEVEL_MARK, LEVEL__MAX };

/* A document in the making. */
struct writing {
    struct core_buf buf; /* in the scratch arena */
    struct core_span occurred;
    struct flat_list *flat; /* FLAT__MAX, in the scratch arena; NULL: no room for them */
    enum level level;
    const char *list;   /* where threat.enrichments begins in buf */
    size_t enrichments; /* in it */
    uint64_t left_out;
    bool is_long; /* one found no room below THREAT_LIST_BYTES_MAX */
};

/* ---- words -------------------------------------------------------------------------------------------------------------------- */

static struct core_span confidence_word(int tenths) {
    return tenths < 0                   ? CORE_SPAN("")
           : tenths < CONFIDENCE_LOW    ? CORE_SPAN("None")
           : tenths < CONFIDENCE_MEDIUM ? CORE_SPAN("Low")
           : tenths < CONFIDENCE_HIGH   ? CORE_SPAN("Medium")
                                        : CORE_SPAN("High");
}

/* STIX's word for the kind of thing. */
static struct core_span type_word(enum core_indicator type, struct core_span value) {
    switch (type) {
    case CORE_INDICATOR_IP:
    case CORE_INDICATOR_CIDR:
        return core_span_chr(value, ':') == NULL ? CORE_SPAN("ipv4-addr") : CORE_SPAN("ipv6-addr");
    case CORE_INDICATOR_DOMAIN:
        return CORE_SPAN("domain-name");
    case CORE_INDICATOR_URL:
        return CORE_SPAN("url");
    case CORE_INDICATOR_EMAIL:
        return CORE_SPAN("email-addr");
    case CORE_INDICATOR_CERT_HASH:
        return CORE_SPAN("x509-certificate");
    case CORE_INDICATOR_USER:
        return CORE_SPAN("user-account");
    case CORE_INDICATOR_SOFTWARE:
        return CORE_SPAN("software");
    case CORE_INDICATOR_PUBKEY_HASH:
    case CORE_INDICATOR_JA3:
        return CORE_SPAN("artifact");
    case CORE_INDICATOR_FILE_HASH:
    case CORE_INDICATOR_FILE_NAME:
    default:
        return CORE_SPAN("file");
    }
}

/* Which hash it is, by its length in hex; FLAT__MAX: none of these. */
static enum flat hash_kind(struct core_span value) {
    static const struct {
        size_t len;
        enum flat kind;
    } kinds[] = {{32, FLAT_MD5}, {40, FLAT_SHA1}, {64, FLAT_SHA256}, {128, FLAT_SHA512}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (value.len == kinds[i].len) {
            return kinds[i].kind;
        }
    }
    return FLAT__MAX;
}

static const char *hash_name(enum flat kind) {
    static const char *const names[] = {"md5", "sha1", "sha256", "sha512"};
    MUST(kind >= FLAT_MD5 && kind <= FLAT_SHA512);
    return names[kind - FLAT_MD5];
}

/* ---- one enrichment --------------------------------------------------------------------------------------------------------- */

static struct core_span text_of(const char *text) {
    return text == NULL ? CORE_SPAN("") : core_span_of(text);
}

static void flat_add(struct writing *writing, enum flat flat, struct core_span value) {
    struct flat_list *list = &writing->flat[flat];
    for (size_t i = 0; i < list->len; i++) {
        if (core_span_eq(list->values[i], value)) {
            return;
        }
    }
    if (value.len > 0 && list->len < THREAT_ENRICHMENTS_MAX) {
        list->values[list->len++] = value;
    }
}

/* A comma, unless the object has just begun; then the name. */
static void put_name(struct core_buf *buf, const char *name) {
    bool is_first = buf->pos > buf->start && buf->pos[-1] == '{';
    core_buf_put(buf, ",", !is_first);
    core_buf_char(buf, '"');
    core_buf_span(buf, core_span_of(name));
    core_buf_put(buf, "\":", 2);
}

/* "name":"value", if there is a value. */
static void put_text(struct core_buf *buf, const char *name, struct core_span value) {
    if (value.len > 0) {
        put_name(buf, name);
        core_buf_string(buf, value);
    }
}

/* The next of texts that are separated by commas, without blanks around it; len 0: there is none. */
static struct core_span tag_next(struct core_span *rest) {
    struct core_span tag = {NULL, 0};
    while (tag.len == 0 && rest->len > 0) {
        const char *comma = core_span_chr(*rest, ',');
        size_t len = comma == NULL ? rest->len : (size_t)(comma - rest->ptr);
        tag = core_span_trim((struct core_span){rest->ptr, len});
        len += comma != NULL;
        *rest = (struct core_span){rest->ptr + len, rest->len - len};
    }
    return tag;
}

/* Is the tag one of those before it? */
static bool is_said_before(struct core_span tags, struct core_span tag) {
    struct core_span one = tag_next(&tags);
    while (one.ptr < tag.ptr && !core_span_eq(one, tag)) {
        one = tag_next(&tags);
    }
    return one.ptr < tag.ptr;
}

/* "tags":["c2","botnet"], each once, if there are any. */
static void put_tags(struct core_buf *buf, struct core_span tags) {
    struct core_span rest = tags;
    struct core_span tag = tag_next(&rest);
    if (tag.len == 0) {
        return;
    }
    put_name(buf, "tags");
    core_buf_char(buf, '[');
    for (bool is_first = true; tag.len > 0; tag = tag_next(&rest)) {
        if (!is_said_before(tags, tag)) {
            core_buf_put(buf, ",", !is_first);
            core_buf_string(buf, tag);
            is_first = false;
        }
    }
    core_buf_char(buf, ']');
}

static void put_open(struct core_buf *buf, const char *name) {
    put_name(buf, name);
    core_buf_char(buf, '{');
}

static void put_time(struct core_buf *buf, const char *name, int64_t seconds) {
    char iso[27];
    if (seconds > 0 && seconds < SECONDS_MAX && core_time_iso(seconds * CORE_NS_PER_S, iso)) {
        put_text(buf, name, (struct core_span){iso, sizeof iso});
    }
}

/* host[:port]/path?query, cut into what ECS has names for. */
struct url_parts {
    struct core_span domain;
    struct core_span extension;
    struct core_span path;
    struct core_span port;
    struct core_span query;
};

static struct url_parts url_cut(struct core_span url) {
    struct url_parts parts = {0};
    const char *slash = core_span_chr(url, '/');
    const char *end = url.ptr + url.len;
    parts.domain = (struct core_span){url.ptr, slash == NULL ? url.len : (size_t)(slash - url.ptr)};
    const char *colon = parts.domain.len == 0 ? NULL : memrchr(parts.domain.ptr, ':', parts.domain.len);
    const char *domain_end = parts.domain.ptr + parts.domain.len;
    if (colon != NULL && memchr(colon, ']', (size_t)(domain_end - colon)) == NULL) {
        parts.port = (struct core_span){colon + 1, (size_t)(domain_end - colon) - 1};
        parts.domain.len = (size_t)(colon - parts.domain.ptr);
    }
    if (slash == NULL) {
        return parts;
    }
    const char *question = memchr(slash, '?', (size_t)(end - slash));
    parts.path = (struct core_span){slash, (size_t)((question == NULL ? end : question) - slash)};
    if (question != NULL) {
        parts.query = (struct core_span){question + 1, (size_t)(end - question) - 1};
    }
    const char *last = memrchr(parts.path.ptr, '/', parts.path.len);
    struct core_span name = {last + 1, parts.path.len - (size_t)(last - parts.path.ptr) - 1};
    const char *dot = name.len == 0 ? NULL : memrchr(name.ptr, '.', name.len);
    if (dot != NULL && dot > name.ptr) {
        parts.extension = (struct core_span){dot + 1, name.len - (size_t)(dot - name.ptr) - 1};
    }
    return parts;
}

static void put_url(struct core_buf *buf, struct core_span value) {
    struct url_parts parts = url_cut(value);
    put_open(buf, "url");
    put_text(buf, "domain", parts.domain);
    put_text(buf, "extension", parts.extension);
    put_text(buf, "original", value);
    put_text(buf, "path", parts.path);
    if (core_json_is_number(parts.port)) {
        put_name(buf, "port");
        core_buf_span(buf, parts.port);
    }
    put_text(buf, "query", parts.query);
    core_buf_char(buf, '}');
}

/* FLAT__MAX: it says nothing of a file, or is no hash that ECS has a name for. */
static enum flat file_kind(const struct enrich_found *found) {
    return found->type == CORE_INDICATOR_FILE_NAME ? FLAT_FILE_NAME
           : found->type == CORE_INDICATOR_FILE_HASH || found->type == CORE_INDICATOR_CERT_HASH
               ? hash_kind(found->value)
               : FLAT__MAX;
}

/* "file": a name, or a hash. */
static void put_file(struct core_buf *buf, const struct enrich_found *found) {
    enum flat kind = file_kind(found);
    if (kind == FLAT__MAX) {
        return;
    }
    put_open(buf, "file");
    if (kind == FLAT_FILE_NAME) {
        put_text(buf, "name", found->value);
    } else {
        put_open(buf, "hash");
        put_text(buf, hash_name(kind), found->value);
        core_buf_char(buf, '}');
    }
    core_buf_char(buf, '}');
}

static struct core_span provider_word(const struct enrich_provider *said) {
    return text_of(said->provider == NULL ? said->feed : said->provider);
}

static void put_indicator(struct core_buf *buf, const struct enrich_found *found, const struct enrich_provider *said,
                          bool is_short) {
    put_open(buf, "indicator");
    put_text(buf, "confidence", confidence_word(said->confidence_tenths));
    put_text(buf, "description", text_of(is_short ? NULL : said->description));
    if (found->type == CORE_INDICATOR_EMAIL) {
        put_open(buf, "email");
        put_text(buf, "address", found->value);
        core_buf_char(buf, '}');
    }
    put_file(buf, found);
    put_time(buf, "first_seen", said->first_seen);
    if (found->type == CORE_INDICATOR_IP) {
        put_text(buf, "ip", found->value);
    }
    put_time(buf, "last_seen", said->last_seen);
    if (text_of(said->tlp).len > 0) {
        put_open(buf, "marking");
        put_text(buf, "tlp", text_of(said->tlp));
        core_buf_char(buf, '}');
    }
    put_text(buf, "name", found->value);
    put_text(buf, "provider", provider_word(said));
    put_text(buf, "reference", text_of(is_short ? NULL : said->reference));
    put_tags(buf, text_of(is_short ? NULL : said->tags));
    put_text(buf, "type", type_word(found->type, found->value));
    if (found->type == CORE_INDICATOR_URL) {
        put_url(buf, found->value);
    } else if (found->type == CORE_INDICATOR_DOMAIN) {
        put_open(buf, "url");
        put_text(buf, "domain", found->value);
        core_buf_char(buf, '}');
    }
    core_buf_char(buf, '}');
}

/* The flat copies of an enrichment that was written. */
static void flat_indicator(struct writing *writing, const struct enrich_found *found,
                           const struct enrich_provider *said) {
    struct core_span tags = text_of(writing->level == LEVEL_ALL ? said->tags : NULL);
    bool is_url = found->type == CORE_INDICATOR_URL;
    flat_add(writing, FLAT_CONFIDENCE, confidence_word(said->confidence_tenths));
    flat_add(writing, FLAT_TLP, text_of(said->tlp));
    flat_add(writing, FLAT_NAME, found->value);
    flat_add(writing, FLAT_PROVIDER, provider_word(said));
    flat_add(writing, FLAT_TYPE, type_word(found->type, found->value));
    flat_add(writing, FLAT_FEED, text_of(said->feed));
    for (struct core_span tag = tag_next(&tags); tag.len > 0; tag = tag_next(&tags)) {
        flat_add(writing, FLAT_TAGS, tag);
    }
    if (found->type == CORE_INDICATOR_EMAIL) {
        flat_add(writing, FLAT_EMAIL, found->value);
    } else if (found->type == CORE_INDICATOR_IP) {
        flat_add(writing, FLAT_IP, found->value);
    } else if (is_url || found->type == CORE_INDICATOR_DOMAIN) {
        flat_add(writing, FLAT_URL_DOMAIN, is_url ? url_cut(found->value).domain : found->value);
    } else if (file_kind(found) != FLAT__MAX) {
        flat_add(writing, file_kind(found), found->value);
    }
    if (is_url) {
        flat_add(writing, FLAT_URL_ORIGINAL, found->value);
    }
}

static void put_matched(struct writing *writing, const struct threat_match *match) {
    struct core_buf *buf = &writing->buf;
    const char *word = core_indicator_word(match->found->type);
    char room[ENRICH_VALUE_BYTES_MAX + 32];
    struct core_buf id = {.start = room, .pos = room, .end = room + sizeof room};
    core_buf_span(&id, core_span_of(word));
    core_buf_char(&id, ':');
    core_buf_span(&id, match->found->value);
    put_open(buf, "matched");
    put_text(buf, "atomic", (struct core_span){match->observable->ptr, match->observable->len});
    put_text(buf, "field", core_span_of(match->observable->field));
    put_text(buf, "id", core_buf_written(&id));
    put_text(buf, "occurred", writing->occurred);
    put_text(buf, "type", core_span_of(word));
    core_buf_char(buf, '}');
}

static bool provider_counts(const struct threat_match *match, const struct enrich_provider *said) {
    return !match->is_parent || said->subdomains;
}

bool threat_counts(const struct threat_match *match) {
    for (size_t i = 0; i < match->found->providers_len; i++) {
        if (provider_counts(match, &match->found->providers[i])) {
            return true;
        }
    }
    return false;
}

static void put_match(struct writing *writing, const struct threat_match *match) {
    struct core_buf *buf = &writing->buf;
    for (size_t i = 0; i < match->found->providers_len; i++) {
        const struct enrich_provider *said = &match->found->providers[i];
        if (!provider_counts(match, said)) {
            continue;
        }
        if (writing->enrichments == THREAT_ENRICHMENTS_MAX) {
            writing->left_out++;
            continue;
        }
        char *before = buf->pos;
        core_buf_put(buf, ",", writing->enrichments > 0);
        core_buf_char(buf, '{');
        put_open(buf, "feed");
        put_text(buf, "name", text_of(said->feed));
        core_buf_char(buf, '}');
        put_indicator(buf, match->found, said, writing->level > LEVEL_ALL);
        put_matched(writing, match);
        core_buf_char(buf, '}');
        if ((size_t)(buf->pos - writing->list) > THREAT_LIST_BYTES_MAX) {
            buf->pos = before;
            writing->is_long = true;
            writing->left_out++;
            continue;
        }
        flat_indicator(writing, match->found, said);
        writing->enrichments++;
    }
}

/* ---- the document ------------------------------------------------------------------------------------------------------------ */

/* The same value in the same field a second time (a list has it twice) is one match. */
static bool is_repeated(const struct threat_event *threat, size_t at) {
    const struct threat_match *match = &threat->matches[at];
    struct core_span atomic = {match->observable->ptr, match->observable->len};
    for (size_t i = 0; i < at; i++) {
        const struct threat_match *before = &threat->matches[i];
        struct core_span text = {before->observable->ptr, before->observable->len};
        if (before->found == match->found && strcmp(before->observable->field, match->observable->field) == 0 &&
            core_span_eq(text, atomic)) {
            return true;
        }
    }
    return false;
}

static struct core_span flat_json(struct core_buf *buf, const struct flat_list *list) {
    const char *start = buf->pos;
    core_buf_char(buf, '[');
    for (size_t i = 0; i < list->len; i++) {
        core_buf_put(buf, ",", i > 0);
        core_buf_string(buf, list->values[i]);
    }
    core_buf_char(buf, ']');
    return (struct core_span){start, (size_t)(buf->pos - start)};
}

/* threat.enrichments into writing->buf, and the lists of flat copies. */
static void list_make(struct writing *writing, const struct threat_event *threat) {
    struct core_buf *buf = &writing->buf;
    writing->list = buf->pos;
    for (size_t i = 0; i < FLAT__MAX; i++) {
        writing->flat[i].len = 0;
    }
    core_buf_char(buf, '[');
    for (size_t i = 0; i < threat->matches_len; i++) {
        if (!is_repeated(threat, i)) {
            put_match(writing, &threat->matches[i]);
        }
    }
    core_buf_char(buf, ']');
}

static uint64_t enrichments_count(const struct threat_event *threat) {
    uint64_t count = 0;
    for (size_t i = 0; i < threat->matches_len; i++) {
        const struct threat_match *match = &threat->matches[i];
        const size_t len = is_repeated(threat, i) ? 0 : match->found->providers_len;
        for (size_t k = 0; k < len; k++) {
            count += provider_counts(match, &match->found->providers[k]);
        }
    }
    return count;
}

/* What is to be added on a level, sorted. Shape: returns how many; 0: nothing. */
static size_t leaves_make(struct writing *writing, const struct threat_event *threat,
                          struct document_leaf leaves[LEAVES_MAX]) {
    size_t len = 0;
    struct core_buf *buf = &writing->buf;
    bool has_list = writing->level < LEVEL_MARK;
    if (has_list) {
        list_make(writing, threat);
    }
    const struct core_span list = {writing->list, has_list ? (size_t)(buf->pos - writing->list) : 0};
    writing->left_out = writing->level < LEVEL_FLAT ? writing->left_out : enrichments_count(threat);
    bool is_hit = writing->enrichments + writing->left_out > 0;
    if (threat->is_unavailable) {
        leaves[len++] = (struct document_leaf){"labels.intel", CORE_SPAN(UNAVAILABLE_JSON), DOCUMENT_REPLACE};
    } else if (threat->is_partial || writing->left_out > 0 || (is_hit && writing->level > LEVEL_ALL)) {
        leaves[len++] = (struct document_leaf){"labels.intel", CORE_SPAN(PARTIAL_JSON), DOCUMENT_REPLACE};
    }
    if (!is_hit) {
        return len;
    }
    leaves[len++] = (struct document_leaf){"tags", CORE_SPAN(TAG_JSON), DOCUMENT_APPEND};
    if (writing->level < LEVEL_FLAT && writing->enrichments > 0) {
        leaves[len++] = (struct document_leaf){"threat.enrichments", list, DOCUMENT_APPEND};
    }
    for (size_t i = 0; i < FLAT__MAX && has_list; i++) {
        if (writing->flat[i].len > 0) {
            leaves[len++] = (struct document_leaf){flat_paths[i], flat_json(buf, &writing->flat[i]), DOCUMENT_APPEND};
        }
    }
    return len;
}

/* One try. buf: where the document goes. */
static enum threat_result level_write(struct writing *writing, const struct threat_event *threat, struct core_buf *buf,
                                      struct threat_said *said) {
    struct document_leaf leaves[LEAVES_MAX];
    size_t len = leaves_make(writing, threat, leaves);
    *said = (struct threat_said){.left_out = writing->left_out,
                                 .is_partial = len > 0 && core_span_is(leaves[0].json, PARTIAL_JSON)};
    if (len == 0) {
        return THREAT_NOTHING;
    }
    bool wants_less = writing->level == LEVEL_ALL && writing->is_long; /* better all of them, and less of each */
    bool is_written = !wants_less && !writing->buf.is_full && document_merge(buf, threat->event->doc, leaves, len);
    return is_written ? THREAT_WRITTEN : THREAT_NO_ROOM;
}

enum threat_result threat_write(const struct threat_event *threat, struct core_arena *arena, struct core_arena *scratch,
                                struct threat_said *said) {
    const size_t used = scratch->used;
    struct flat_list *flat = core_arena_alloc(scratch, FLAT__MAX * sizeof *flat);
    char *pieces = scratch->base + scratch->used;
    char *start = arena->base + arena->used;
    size_t room = arena->cap - arena->used;
    size_t room_max = threat->event->doc.len + CORE_DOC_ENRICH_BYTES_MAX;
    room = room < threat->room ? room : threat->room;
    room = room < room_max ? room : room_max;
    enum threat_result result = THREAT_NO_ROOM;
    for (enum level level = flat == NULL ? LEVEL_MARK : LEVEL_ALL; level < LEVEL__MAX && result == THREAT_NO_ROOM;
         level++) {
        struct core_buf buf = {.start = start, .pos = start, .end = start + room};
        struct writing writing = {.buf = {.start = pieces, .pos = pieces, .end = scratch->base + scratch->cap},
                                  .occurred = document_time(threat->event->doc),
                                  .flat = flat,
                                  .level = level};
        result = level_write(&writing, threat, &buf, said);
        if (result == THREAT_WRITTEN) {
            threat->event->doc = core_buf_written(&buf);
            arena->used += threat->event->doc.len;
        }
    }
    scratch->used = used;
    return result;
}
