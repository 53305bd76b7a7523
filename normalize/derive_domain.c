/* normalize/derive_domain.c: a name's registered domain, subdomain and top-level domain, by the public suffix list.
 *
 * A sensor sees few names often, so each worker remembers what it found: a table without chains, where a name takes the
 * place of the one before it. Asking the list is slow, and names of one domain differ in their first label: what stands
 * behind the first dot is remembered as well. What is written are parts of the record's own text, nothing is copied (but a
 * name with upper-case letters).
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/psl.h"
#include "normalize/normalize_internal.h"

#include <stdlib.h>

#define NAME_ROOM 1024       /* a longer name has no parts; DNS ends at 253, escapes make it longer */
#define CACHED_BYTES_MAX 100 /* a longer name is looked up each time */
#define CACHE_ENTRIES 32768  /* power of two */
#define RESTS 1024           /* power of two: remembered parts of names behind their first dot */
#define REST_BYTES_MAX 60

/* What a name is made of. */
struct domain_parts {
    bool has_parts;
    bool has_upper; /* letters to be lowered */
    uint16_t len;   /* without the root's dot */
    uint16_t suffix_at;
    uint16_t registered_at;
};

struct domain_entry {
    uint64_t hash;
    uint16_t len; /* 0: empty */
    struct domain_parts parts;
    char name[CACHED_BYTES_MAX]; /* as the sensor wrote it */
};

/* What stands behind a name's first dot, and where its suffix begins. */
struct domain_rest {
    uint8_t len; /* 0: empty */
    uint8_t suffix_at;
    char text[REST_BYTES_MAX];
};

struct domain_cache {
    struct domain_rest rests[RESTS];
    struct domain_entry entries[CACHE_ENTRIES];
};

struct domain_cache *domain_cache_new(void) {
    struct domain_cache *cache = calloc(1, sizeof(*cache));
    MUST(cache != NULL);
    return cache;
}

void domain_cache_free(struct domain_cache *cache) {
    free(cache);
}

void domain_cache_clear(struct domain_cache *cache) {
    memset(cache, 0, sizeof(*cache));
}

enum domain_sub { DOMAIN_REGISTERED, DOMAIN_SUBDOMAIN, DOMAIN_TOP_LEVEL, DOMAIN_NAME };

/* Could the text be a host name? No address, no empty label. *has_upper: it has letters to be lowered. */
static bool name_check(struct core_span name, bool *has_upper) {
    bool has_letter = false;
    char before = '.';
    *has_upper = false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if ((c == '.' && before == '.') || c == ':') {
            return false;
        }
        has_letter |= c != '.' && (unsigned char)(c - '0') > 9;
        *has_upper |= (unsigned char)(c - 'A') < 26;
        before = c;
    }
    return has_letter && before != '.';
}

static char lower(char c) {
    return (char)(c + ((unsigned char)(c - 'A') < 26 ? 'a' - 'A' : 0));
}

/* As core_psl_suffix(), remembered. */
static bool rest_suffix(struct normalize_worker *worker, struct core_span rest, size_t *suffix_at) {
    if (rest.len > REST_BYTES_MAX) {
        return core_psl_suffix(worker->maps->psl, rest.ptr, suffix_at);
    }
    struct domain_rest *entry = &worker->domains->rests[core_hash64(rest.ptr, rest.len, 0) & (RESTS - 1)];
    if (entry->len != rest.len || memcmp(entry->text, rest.ptr, rest.len) != 0) {
        entry->len = 0;
        if (!core_psl_suffix(worker->maps->psl, rest.ptr, suffix_at)) {
            return false;
        }
        entry->len = (uint8_t)rest.len;
        entry->suffix_at = (uint8_t)*suffix_at;
        memcpy(entry->text, rest.ptr, rest.len);
    }
    *suffix_at = entry->suffix_at;
    return true;
}

/* Where the suffix and the registered name begin. Shape: the name is followed by a NUL.
 * False: it has none, or nobody could register it. */
static bool name_split(struct normalize_worker *worker, struct core_span name, struct domain_parts *parts) {
    const char *dot = core_span_chr(name, '.');
    size_t at;
    if (dot == NULL || core_psl_is_suffix(worker->maps->psl, name.ptr)) {
        return false;
    }
    size_t skip = (size_t)(dot - name.ptr) + 1;
    if (!rest_suffix(worker, (struct core_span){name.ptr + skip, name.len - skip}, &at)) {
        return false;
    }
    size_t suffix = skip + at;
    size_t registered = suffix - 1; /* its dot */
    while (registered > 0 && name.ptr[registered - 1] != '.') {
        registered--;
    }
    parts->suffix_at = (uint16_t)suffix;
    parts->registered_at = (uint16_t)registered;
    return true;
}

static void parts_find(struct normalize_worker *worker, struct core_span name, struct domain_parts *parts) {
    char text[NAME_ROOM];
    *parts = (struct domain_parts){.has_parts = false};
    name.len -= name.ptr[name.len - 1] == '.' ? 1 : 0;
    if (!name_check(name, &parts->has_upper)) {
        return;
    }
    for (size_t i = 0; i < name.len; i++) {
        text[i] = name.ptr[i] == '\0' ? '\1' : lower(name.ptr[i]); /* neither is in a rule of the list */
    }
    text[name.len] = '\0';
    parts->len = (uint16_t)name.len;
    parts->has_parts = name_split(worker, (struct core_span){text, name.len}, parts);
}

/* The same, remembered. */
static const struct domain_parts *parts_of(struct normalize_worker *worker, struct core_span name,
                                           struct domain_parts *room) {
    if (name.len > CACHED_BYTES_MAX) {
        parts_find(worker, name, room);
        return room;
    }
    uint64_t hash = core_hash64(name.ptr, name.len, 0);
    struct domain_entry *entry = &worker->domains->entries[hash & (CACHE_ENTRIES - 1)];
    bool is_there = entry->hash == hash && entry->len == name.len && bytes_are_same(entry->name, name.ptr, name.len);
    if (!is_there) {
        entry->hash = hash;
        entry->len = (uint16_t)name.len;
        memcpy(entry->name, name.ptr, name.len);
        parts_find(worker, name, &entry->parts);
    }
    return &entry->parts;
}

/* The name in lower case; in the scratch if it must be changed. */
static struct core_span name_lower(struct normalize_worker *worker, struct core_span name) {
    struct value copy = value_copy(worker, name);
    char *p = (char *)(uintptr_t)copy.ptr;
    for (size_t i = 0; p != NULL && i < name.len; i++) {
        p[i] = lower(p[i]);
    }
    return (struct core_span){p, name.len};
}

/* One part to the end of the name. In the line, what may be read behind it is known. */
static bool part_put(const struct derive_context *ctx, enum domain_sub sub, struct value part) {
    const struct normalize_worker *worker = ctx->worker;
    bool is_line = part.ptr >= worker->line && part.ptr < worker->line_end;
    return derive_put_sub(ctx, (size_t)sub, is_line ? value_roomy(part, worker->line_end) : part);
}

/* The name: the field's text, or, where that is not there, what the document has as name by now (of an object's member). */
static struct value name_of(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    return value_is_string(v) ? v : leaf_value(ctx->plan, ctx->plan->subs[ctx->call->subs_at + DOMAIN_NAME]);
}

bool derive_domain(const struct derive_context *ctx) {
    struct value v = name_of(ctx);
    if (!value_is_string(v) || v.len == 0 || v.len >= NAME_ROOM) {
        return true;
    }
    struct core_span name = value_span(v);
    struct domain_parts room;
    const struct domain_parts *parts = parts_of(ctx->worker, name, &room);
    if (!parts->has_parts) {
        return true;
    }
    name.len = parts->len;
    if (parts->has_upper) {
        name = name_lower(ctx->worker, name);
        if (name.ptr == NULL) {
            return false;
        }
    }
    size_t suffix = parts->suffix_at;
    size_t registered = parts->registered_at;
    enum value_kind kind = (enum value_kind)v.kind;
    return part_put(ctx, DOMAIN_REGISTERED, value_of(kind, name.ptr + registered, name.len - registered)) &&
           part_put(ctx, DOMAIN_TOP_LEVEL, value_of(kind, name.ptr + suffix, name.len - suffix)) &&
           (registered == 0 || part_put(ctx, DOMAIN_SUBDOMAIN, value_of(kind, name.ptr, registered - 1)));
}
