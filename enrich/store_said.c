/* enrich/store_said.c: what a provider says of an indicator: compared, sorted, written as JSON and read again.
 *
 * The JSON is an interface that others write, too (docs/reference/intel.rst): what nobody knows is left out, a member of
 * the wrong type is a mistake of whoever wrote it, and is said as one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/store_internal.h"

#include <stdlib.h>

#define TENTHS 10
#define CONFIDENCE_TENTHS_MAX 100

static bool text_same(const char *a, const char *b) {
    return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0;
}

bool store_said_same(const struct enrich_provider *a, const struct enrich_provider *b) {
    return text_same(a->feed, b->feed) && text_same(a->provider, b->provider) && text_same(a->tlp, b->tlp) &&
           text_same(a->description, b->description) && text_same(a->reference, b->reference) &&
           text_same(a->tags, b->tags) && text_same(a->id, b->id) && a->confidence_tenths == b->confidence_tenths &&
           a->first_seen == b->first_seen && a->last_seen == b->last_seen && a->expires == b->expires &&
           a->subdomains == b->subdomains;
}

static bool said_before(const struct enrich_provider *a, const struct enrich_provider *b) {
    int feeds = strcmp(a->feed, b->feed);
    return feeds != 0 ? feeds < 0 : strcmp(a->provider, b->provider) < 0;
}

void store_said_sort(struct enrich_provider *said, size_t len) {
    for (size_t i = 1; i < len; i++) { /* at most ENRICH_PROVIDERS_MAX, nearly always one */
        struct enrich_provider moved = said[i];
        size_t at = i;
        for (; at > 0 && said_before(&moved, &said[at - 1]); at--) {
            said[at] = said[at - 1];
        }
        said[at] = moved;
    }
}

/* ---- out ------------------------------------------------------------------------------------------------------------------ */

static void member(struct core_buf *buf, const char *name, bool *is_first) {
    core_buf_char(buf, *is_first ? '{' : ',');
    core_buf_char(buf, '"');
    core_buf_span(buf, core_span_of(name));
    core_buf_put(buf, "\":", 2);
    *is_first = false;
}

static void member_text(struct core_buf *buf, const char *name, const char *text, bool *is_first) {
    if (text != NULL && text[0] != '\0') {
        member(buf, name, is_first);
        core_buf_string(buf, core_utf8_cut(core_span_of(text), ENRICH_TEXT_BYTES_MAX));
    }
}

static void member_time(struct core_buf *buf, const char *name, int64_t seconds, bool *is_first) {
    if (seconds != 0) {
        member(buf, name, is_first);
        core_buf_i64(buf, seconds);
    }
}

void store_said_write(struct core_buf *buf, const struct enrich_provider *said) {
    bool is_first = true;
    MUST(said->confidence_tenths >= ENRICH_CONFIDENCE_NONE && said->confidence_tenths <= CONFIDENCE_TENTHS_MAX);
    if (said->confidence_tenths != ENRICH_CONFIDENCE_NONE) {
        member(buf, "confidence", &is_first);
        core_buf_i64(buf, said->confidence_tenths / TENTHS);
        if (said->confidence_tenths % TENTHS != 0) {
            core_buf_char(buf, '.');
            core_buf_i64(buf, said->confidence_tenths % TENTHS);
        }
    }
    member_text(buf, "tlp", said->tlp, &is_first);
    member_text(buf, "description", said->description, &is_first);
    member_text(buf, "reference", said->reference, &is_first);
    member_text(buf, "tags", said->tags, &is_first);
    member_time(buf, "first_seen", said->first_seen, &is_first);
    member_time(buf, "last_seen", said->last_seen, &is_first);
    member_time(buf, "expires", said->expires, &is_first);
    if (said->subdomains) {
        member(buf, "subdomains", &is_first);
        core_buf_put(buf, "true", 4);
    }
    member_text(buf, "id", said->id, &is_first);
    core_buf_put(buf, is_first ? "{}" : "}", is_first ? 2 : 1);
}

/* ---- in ------------------------------------------------------------------------------------------------------------------- */

enum member_kind { MEMBER_TEXT, MEMBER_TIME, MEMBER_CONFIDENCE, MEMBER_SUBDOMAINS };

static const struct said_member {
    const char *name;
    enum member_kind kind;
    size_t offset;
} members[] = {
    {"confidence", MEMBER_CONFIDENCE, offsetof(struct enrich_provider, confidence_tenths)},
    {"tlp", MEMBER_TEXT, offsetof(struct enrich_provider, tlp)},
    {"description", MEMBER_TEXT, offsetof(struct enrich_provider, description)},
    {"reference", MEMBER_TEXT, offsetof(struct enrich_provider, reference)},
    {"tags", MEMBER_TEXT, offsetof(struct enrich_provider, tags)},
    {"first_seen", MEMBER_TIME, offsetof(struct enrich_provider, first_seen)},
    {"last_seen", MEMBER_TIME, offsetof(struct enrich_provider, last_seen)},
    {"expires", MEMBER_TIME, offsetof(struct enrich_provider, expires)},
    {"subdomains", MEMBER_SUBDOMAINS, offsetof(struct enrich_provider, subdomains)},
    {"id", MEMBER_TEXT, offsetof(struct enrich_provider, id)},
};
#define MEMBERS_LEN (sizeof members / sizeof members[0])

struct store_said_reader {
    struct core_json_reader *json;
    const struct said_member *now; /* NULL: one that nobody knows */
    int depth;                     /* 1: in the object */
    struct enrich_provider *out;
    struct core_arena *arena;
    const char *wrong; /* what was wrong, static */
    bool is_full;
};

/* False, always: that is how a call ends the reading. */
static bool wrong(struct store_said_reader *reader, const char *what) {
    reader->wrong = reader->wrong == NULL ? what : reader->wrong;
    return false;
}

static void *place_of(struct store_said_reader *reader) {
    return (char *)reader->out + reader->now->offset;
}

static bool is_known(const struct store_said_reader *reader) {
    return reader->depth == 1 && reader->now != NULL;
}

static bool on_null(void *ctx) {
    struct store_said_reader *reader = ctx; /* null: not said */
    return reader->depth > 0 || wrong(reader, "it is null, not an object");
}

static bool on_bool(void *ctx, bool value) {
    struct store_said_reader *reader = ctx;
    if (!is_known(reader)) {
        return reader->depth > 0 || wrong(reader, "it is no object");
    }
    if (reader->now->kind != MEMBER_SUBDOMAINS) {
        return wrong(reader, "only subdomains is true or false");
    }
    *(bool *)place_of(reader) = value;
    return true;
}

static bool seconds_of(struct core_span text, int64_t *seconds) {
    char number[32];
    if (text.len == 0 || text.len >= sizeof number) {
        return false;
    }
    memcpy(number, text.ptr, text.len);
    number[text.len] = '\0';
    char *rest;
    *seconds = strtoll(number, &rest, 10);
    return rest != number && (*rest == '\0' || *rest == '.') && *seconds >= 0;
}

static bool on_number(void *ctx, struct core_span text) {
    struct store_said_reader *reader = ctx;
    if (!is_known(reader)) {
        return reader->depth > 0 || wrong(reader, "it is no object");
    }
    if (reader->now->kind == MEMBER_CONFIDENCE) {
        int *tenths = place_of(reader);
        *tenths = source_confidence(text, TENTHS);
        return *tenths != ENRICH_CONFIDENCE_NONE || wrong(reader, "confidence is a number from 0 to 10");
    }
    if (reader->now->kind == MEMBER_TIME) {
        return seconds_of(text, place_of(reader)) || wrong(reader, "a time is seconds since 1970, as a number");
    }
    return wrong(reader, "a number stands where a text or true/false belongs");
}

static bool on_string(void *ctx, struct core_span text) {
    struct store_said_reader *reader = ctx;
    if (!is_known(reader)) {
        return reader->depth > 0 || wrong(reader, "it is no object");
    }
    if (reader->now->kind != MEMBER_TEXT) {
        return wrong(reader, "a text stands where a number or true/false belongs (no quotes)");
    }
    if (text.len == 0) {
        return true;
    }
    text.len = text.len > STORE_SAID_BYTES_MAX ? STORE_SAID_BYTES_MAX : text.len;
    const char *copy = core_arena_copy(reader->arena, text);
    reader->is_full = copy == NULL;
    *(const char **)place_of(reader) = copy;
    return copy != NULL;
}

static bool on_key(void *ctx, struct core_span text) {
    struct store_said_reader *reader = ctx;
    if (reader->depth == 1) {
        reader->now = NULL;
        for (size_t i = 0; i < MEMBERS_LEN && reader->now == NULL; i++) {
            reader->now = core_span_is(text, members[i].name) ? &members[i] : NULL;
        }
    }
    return true;
}

static bool on_map(void *ctx, bool is_start) {
    struct store_said_reader *reader = ctx;
    if (is_start && is_known(reader)) {
        return wrong(reader, "an object stands where a text or a number belongs");
    }
    reader->depth += is_start ? 1 : -1;
    return true;
}

static bool on_array(void *ctx, bool is_start) {
    struct store_said_reader *reader = ctx;
    if (reader->depth == 0 || is_known(reader)) {
        return wrong(reader, "a list stands where a text or a number belongs (tags are one text, with commas)");
    }
    reader->depth += is_start ? 1 : -1;
    return true;
}

static const struct core_json_calls calls = {.on_null = on_null,
                                             .on_bool = on_bool,
                                             .on_number = on_number,
                                             .on_string = on_string,
                                             .on_key = on_key,
                                             .on_map = on_map,
                                             .on_array = on_array};

struct store_said_reader *store_said_reader_new(void) {
    struct store_said_reader *reader = calloc(1, sizeof *reader);
    MUST(reader != NULL);
    reader->json = core_json_reader_new(&calls, reader);
    return reader;
}

void store_said_reader_free(struct store_said_reader *reader) {
    if (reader != NULL) {
        core_json_reader_free(reader->json);
        free(reader);
    }
}

static void begin(struct store_said_reader *reader, struct core_arena *arena, struct enrich_provider *out) {
    const char *feed = out->feed, *provider = out->provider;
    *out = (struct enrich_provider){.feed = feed, .provider = provider, .confidence_tenths = ENRICH_CONFIDENCE_NONE};
    reader->now = NULL;
    reader->depth = 0;
    reader->out = out;
    reader->arena = arena;
    reader->wrong = NULL;
    reader->is_full = false;
}

enum core_err store_said_read(struct store_said_reader *reader, struct core_span field, struct core_span json,
                              struct core_arena *arena, struct enrich_provider *out, struct core_fail *fail) {
    const char *slash = core_span_chr(field, '/');
    struct core_span feed = {field.ptr, slash == NULL ? field.len : (size_t)(slash - field.ptr)};
    struct core_span provider = {slash == NULL ? field.ptr : slash + 1,
                                 slash == NULL ? field.len : field.len - feed.len - 1};
    provider = provider.len == 0 ? feed : provider; /* as if the feed itself said it */
    if (feed.len == 0) {
        return core_fail_set(fail, CORE_BAD, "redis", "the field's name is no FEED/PROVIDER");
    }
    out->feed = core_arena_copy(arena, feed);
    out->provider = core_arena_copy(arena, provider);
    if (out->feed == NULL || out->provider == NULL) {
        return core_fail_set(fail, CORE_LIMIT, "redis", "what is known does not fit into %zu bytes", arena->cap);
    }
    begin(reader, arena, out);
    if (core_json_read_plain(&calls, reader, json)) {
        return CORE_OK;
    }
    begin(reader, arena, out);
    struct core_fail json_fail;
    enum core_err err = core_json_read(reader->json, json, &json_fail);
    if (err == CORE_OK) {
        return CORE_OK;
    }
    if (reader->is_full) {
        return core_fail_set(fail, CORE_LIMIT, "redis", "what is known does not fit into %zu bytes", arena->cap);
    }
    return core_fail_set(fail, CORE_BAD, "redis", "%s", reader->wrong != NULL ? reader->wrong : json_fail.text);
}
