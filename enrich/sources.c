/* enrich/sources.c: the table of sources, and what all of them share: a file's bytes, its type told by content, an item's
 * way from what is written to what the store is given.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/codec.h"
#include "enrich/enrich_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_BYTES (256 * CORE_KIB)
#define HEAD_BYTES (64 * CORE_KIB) /* what a type is told by */
#define EXPIRY_STEPS 8
#define PROGRESS_LINES 1024

const struct source_ops *const source_table[] = {
    &source_zeek, &source_list, &source_csv, &source_misp, &source_stix, &source_taxii, &source_cif, NULL,
};
/* The same names in the same order (a test compares). */
const char *const enrich_feed_types[] = {"zeek", "list", "csv", "misp", "stix", "taxii", "cif", NULL};

int enrich_feed_type(const char *name) {
    for (int i = 0; enrich_feed_types[i] != NULL; i++) {
        if (strcmp(enrich_feed_types[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

const char *enrich_feed_summary(int type) {
    return type < 0 || enrich_feed_types[type] == NULL ? NULL : source_table[type]->summary;
}

bool enrich_feed_option(int type, size_t i, const char **key, const char **help) {
    const struct source_option *option = source_table[type]->options;
    for (size_t at = 0; option != NULL && option->key != NULL; at++, option++) {
        if (at == i) {
            *key = option->key;
            *help = option->help;
            return true;
        }
    }
    return false;
}

/* ---- items ------------------------------------------------------------------------------------------------------------------ */

struct enrich_item source_item(enum core_indicator type, struct core_span value) {
    return (struct enrich_item){.type = type, .value = value, .said = {.confidence_tenths = ENRICH_CONFIDENCE_NONE}};
}

void source_refuse(const struct enrich_read_calls *calls, uint64_t line, struct core_span what, const char *why) {
    if (calls->on_refused != NULL) {
        calls->on_refused(calls->ctx, line, what, why);
    }
}

void source_progress(const struct enrich_read_calls *calls, uint64_t line, struct core_span rest,
                     struct core_span all) {
    if (calls->on_progress != NULL && line % PROGRESS_LINES == 0) {
        calls->on_progress(calls->ctx, all.len - rest.len, all.len);
    }
}

/* "*.evil.example", ".evil.example": the domain and what is below it. */
static struct core_span wildcard_cut(struct core_span value, bool *subdomains) {
    value = core_span_trim(value);
    if (value.len > 2 && value.ptr[0] == '*' && value.ptr[1] == '.') {
        *subdomains = true;
        return (struct core_span){value.ptr + 2, value.len - 2};
    }
    if (value.len > 1 && value.ptr[0] == '.') {
        *subdomains = true;
        return (struct core_span){value.ptr + 1, value.len - 1};
    }
    return value;
}

/* So long from now. Rounded up to eighths of the span, so that reading a feed again changes an item eight times a span and
 * not each time. */
static int64_t expiry_from_now(int64_t now, int64_t after) {
    int64_t step = after / EXPIRY_STEPS > 0 ? after / EXPIRY_STEPS : 1;
    return (now + after + step - 1) / step * step;
}

/* What the feed says of items that do not. */
static void fill_in(const struct enrich_feed_conf *feed, int64_t now, struct enrich_item *item) {
    struct enrich_provider *said = &item->said;
    said->feed = feed->name != NULL ? feed->name : "local";
    if (said->provider == NULL) {
        said->provider = said->feed;
    }
    if (said->tlp == NULL && feed->tlp != NULL) {
        said->tlp = enrich_tlp(feed->tlp);
    }
    if (said->confidence_tenths == ENRICH_CONFIDENCE_NONE && feed->confidence != NULL) {
        said->confidence_tenths = enrich_confidence(feed->confidence);
    }
    if (said->expires == 0 && feed->expire_after_ns > 0) {
        said->expires = expiry_from_now(now, feed->expire_after_ns / CORE_NS_PER_S);
    }
    said->subdomains = item->type == CORE_INDICATOR_DOMAIN && (said->subdomains || feed->subdomains);
}

static void must_be_short(const char *text) {
    MUST(text == NULL || strlen(text) <= ENRICH_TEXT_BYTES_MAX);
}

/* Type and value in their one form, and what the feed says of both. NULL: done; else why it is no indicator. raw: for
 * messages. */
static const char *item_settle(const struct enrich_feed_conf *feed, int64_t now, char room[ENRICH_VALUE_BYTES_MAX],
                               struct enrich_item *item, struct core_span *raw) {
    *raw = core_span_trim(item->value);
    struct core_span value = *raw;
    const char *why = "of which type it is cannot be told from it";
    must_be_short(item->said.provider);
    must_be_short(item->said.description);
    must_be_short(item->said.reference);
    must_be_short(item->said.tags);
    must_be_short(item->said.id);
    if (item->type == CORE_INDICATOR_DOMAIN || item->type == CORE_INDICATOR_NONE) {
        bool subdomains = item->said.subdomains;
        struct core_span cut = wildcard_cut(*raw, &subdomains);
        if (item->type == CORE_INDICATOR_NONE) {
            item->type = enrich_guess(cut);
        }
        if (item->type == CORE_INDICATOR_DOMAIN) {
            value = cut;
            item->said.subdomains = subdomains;
        }
    }
    if (item->type == CORE_INDICATOR_NONE || !enrich_canonical(&item->type, value, room, &item->value, &why)) {
        return raw->len == 0 ? "it is empty" : why;
    }
    fill_in(feed, now, item);
    return NULL;
}

bool source_give(const struct enrich_read_calls *calls, const struct enrich_feed_conf *feed, uint64_t line,
                 struct enrich_item *item) {
    char room[ENRICH_VALUE_BYTES_MAX];
    struct core_span raw;
    int64_t now = core_now_ns() / CORE_NS_PER_S;
    const char *why = item_settle(feed, now, room, item, &raw);
    if (why == NULL && item->said.expires != 0 && item->said.expires <= now) {
        why = "it has expired";
    }
    if (why != NULL) {
        source_refuse(calls, line, raw, why);
        return true;
    }
    return calls->on_item(calls->ctx, item);
}

bool source_gone(const struct enrich_read_calls *calls, const struct enrich_feed_conf *feed, uint64_t line,
                 struct enrich_item *item, const char *gone) {
    char room[ENRICH_VALUE_BYTES_MAX];
    struct core_span raw = item->value;
    if (calls->on_gone == NULL) {
        source_refuse(calls, line, raw, gone);
        return true;
    }
    const char *why = item_settle(feed, 0, room, item, &raw);
    if (why != NULL) {
        source_refuse(calls, line, raw, why);
        return true;
    }
    return calls->on_gone(calls->ctx, item);
}

const char *enrich_tlp(const char *word) {
    return word == NULL ? NULL : source_tlp(core_span_of(word));
}

int enrich_confidence(const char *text) {
    return text == NULL ? ENRICH_CONFIDENCE_NONE : source_confidence(core_span_of(text), 10);
}

/* ---- what a feed says -------------------------------------------------------------------------------------------------------- */

const char *source_option(const struct enrich_feed_conf *feed, const char *key) {
    for (size_t i = 0; i < feed->options.len; i++) {
        if (strcmp(feed->options.items[i].key, key) == 0) {
            return feed->options.items[i].value;
        }
    }
    return NULL;
}

bool source_option_is(const struct enrich_feed_conf *feed, const char *key) {
    static const char *const words[] = {"true", "yes", "on", "1"};
    const char *value = source_option(feed, key);
    for (size_t i = 0; value != NULL && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(value, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool enrich_is_feed_name(const char *name) {
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-");
    return len > 0 && name[len] == '\0' && len <= ENRICH_FEED_NAME_BYTES_MAX;
}

static enum core_err check_options(const struct enrich_feed_conf *feed, const struct source_ops *source,
                                   struct core_fail *fail) {
    for (size_t i = 0; i < feed->options.len; i++) {
        const struct source_option *option = source->options;
        while (option != NULL && option->key != NULL && strcmp(option->key, feed->options.items[i].key) != 0) {
            option++;
        }
        if (option == NULL || option->key == NULL) {
            return core_fail_set(fail, CORE_BAD, "options", "feed %s: a feed of type %s has no option \"%s\"",
                                 feed->name, source->name, feed->options.items[i].key);
        }
    }
    return CORE_OK;
}

enum core_err enrich_feed_check(const struct enrich_feed_conf *feed, struct core_fail *fail) {
    if (feed->name == NULL || !enrich_is_feed_name(feed->name)) {
        return core_fail_set(fail, CORE_BAD, "name", "\"%s\" is no name for a feed: up to %d of a-z 0-9 _ . and - are",
                             feed->name == NULL ? "" : feed->name, ENRICH_FEED_NAME_BYTES_MAX);
    }
    if ((feed->url == NULL) == (feed->path == NULL)) {
        return core_fail_set(fail, CORE_BAD, feed->url == NULL ? "url" : "path", "feed %s needs either a url or a path",
                             feed->name);
    }
    if (feed->url != NULL && strncmp(feed->url, "https://", strlen("https://")) != 0 &&
        strncmp(feed->url, "http://", strlen("http://")) != 0) {
        return core_fail_set(fail, CORE_BAD, "url", "feed %s: it begins with https:// or http://; a file is a path",
                             feed->name);
    }
    if (feed->tlp != NULL && source_tlp(core_span_of(feed->tlp)) == NULL) {
        return core_fail_set(fail, CORE_BAD, "tlp", "feed %s: \"%s\" is none of CLEAR GREEN AMBER AMBER+STRICT RED",
                             feed->name, feed->tlp);
    }
    if (feed->confidence != NULL && source_confidence(core_span_of(feed->confidence), 10) == ENRICH_CONFIDENCE_NONE) {
        return core_fail_set(fail, CORE_BAD, "confidence", "feed %s: \"%s\" is no number from 0 to 10", feed->name,
                             feed->confidence);
    }
    if (feed->format != NULL && source_type_of(core_span_of(feed->format)) == CORE_INDICATOR_NONE) {
        return core_fail_set(fail, CORE_BAD, "format",
                             "feed %s: \"%s\" is no type of indicators: ip, cidr, domain, url, email, file_hash, "
                             "cert_hash, pubkey_hash, user, file_name, software and ja3 are",
                             feed->name, feed->format);
    }
    MUST(feed->type >= 0);
    const struct source_ops *source = source_table[feed->type];
    if (source->read == NULL && feed->path != NULL) {
        return core_fail_set(fail, CORE_BAD, "path", "feed %s: type %s is a server: it needs a url", feed->name,
                             source->name);
    }
    if (feed->format != NULL && source != &source_list && source != &source_csv) {
        return core_fail_set(fail, CORE_BAD, "format",
                             "feed %s: what is of type %s says itself of which type its indicators are", feed->name,
                             source->name);
    }
    if (feed->sightings && !source_takes_sightings(feed)) {
        return core_fail_set(fail, CORE_BAD, "sightings",
                             "feed %s: what was seen can be told to servers of type cif, and of type misp with a token",
                             feed->name);
    }
    enum core_err err = check_options(feed, source, fail);
    return err == CORE_OK && source->check != NULL ? source->check(feed, fail) : err;
}

/* ---- files ------------------------------------------------------------------------------------------------------------------- */

/* Between two pieces. False, said: end. */
static bool goes_on(const struct enrich_read_calls *calls, const char *path, struct core_fail *fail) {
    bool is_ended = calls->goes_on != NULL && !calls->goes_on(calls->ctx);
    if (is_ended) {
        enum core_err err CORE_UNUSED = core_fail_set(fail, CORE_AGAIN, path, "it was ended before all of it was read");
    }
    return !is_ended;
}

static enum core_err text_room(struct source_bytes *text, const char *path, struct core_fail *fail) {
    if (text->cap - text->len >= READ_BYTES) {
        return CORE_OK;
    }
    if (text->len > SOURCE_FILE_BYTES_MAX) {
        return core_fail_set(fail, CORE_LIMIT, path, "it is longer than a file of indicators may be (1 GiB); split it");
    }
    size_t cap = text->cap * 2 > READ_BYTES * 2 ? text->cap * 2 : READ_BYTES * 2;
    char *bytes = realloc(text->bytes, cap);
    if (bytes == NULL) {
        return core_fail_set(fail, CORE_LIMIT, path, "there is no memory for %zu bytes of it; split it", cap);
    }
    text->bytes = bytes;
    text->cap = cap;
    return CORE_OK;
}

static enum core_err text_read_plain(struct source_bytes *text, int fd, const char *path,
                                     const struct enrich_read_calls *calls, struct core_fail *fail) {
    while (goes_on(calls, path, fail)) {
        enum core_err err = text_room(text, path, fail);
        if (err != CORE_OK) {
            return err;
        }
        ssize_t got = read(fd, text->bytes + text->len, READ_BYTES);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return core_fail_errno(fail, path, "cannot read it");
        }
        if (got == 0) {
            return CORE_OK;
        }
        text->len += (size_t)got;
    }
    return CORE_AGAIN;
}

/* ---- .gz -------------------------------------------------------------------------------------------------------------------- */

/* What is left of compressed bytes. */
static enum core_err from_span(void *ctx, char *buf, size_t cap, size_t *len, struct core_fail *fail CORE_UNUSED) {
    struct core_span *rest = ctx;
    *len = rest->len < cap ? rest->len : cap;
    memcpy(buf, rest->ptr, *len);
    *rest = (struct core_span){rest->ptr + *len, rest->len - *len};
    return CORE_OK;
}

enum core_err source_gunzip(struct source_bytes *bytes, const char *where, size_t max,
                            const struct enrich_read_calls *calls, struct core_fail *fail) {
    struct core_span rest = {bytes->bytes, bytes->len};
    struct core_gunzip *gunzip = NULL;
    struct source_bytes plain = {0};
    enum core_err err = core_gunzip_open(&gunzip, from_span, &rest, where, fail);
    while (err == CORE_OK) {
        if (plain.cap - plain.len < READ_BYTES) {
            size_t cap = plain.cap * 2 + READ_BYTES;
            char *grown = plain.len > max ? NULL : realloc(plain.bytes, cap + 1);
            if (grown == NULL) {
                err = core_fail_set(fail, CORE_LIMIT, where,
                                    plain.len > max ? "unpacked it is longer than %zu bytes; split it"
                                                    : "there is no memory for %zu bytes of it; split it",
                                    plain.len > max ? max : cap);
                break;
            }
            plain.bytes = grown;
            plain.cap = cap;
        }
        size_t got = 0;
        err = goes_on(calls, where, fail)
                  ? core_gunzip_read(gunzip, plain.bytes + plain.len, plain.cap - plain.len, &got, fail)
                  : CORE_AGAIN;
        plain.len += got;
    }
    core_gunzip_close(gunzip);
    if (err != CORE_GONE) {
        free(plain.bytes);
        return err;
    }
    free(bytes->bytes);
    plain.bytes[plain.len] = '\0';
    *bytes = plain;
    return CORE_OK;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------- */

/* A file or a pipe, unpacked if it is a .gz. Owns: free(text->bytes), also after an error. */
static enum core_err text_read(struct source_bytes *text, const char *path, const struct enrich_read_calls *calls,
                               struct core_fail *fail) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return core_fail_errno(fail, path, "cannot open it");
    }
    enum core_err err = text_read_plain(text, fd, path, calls, fail);
    (void)close(fd);
    if (err == CORE_OK && core_gzip_is_magic((struct core_span){text->bytes, text->len})) {
        err = source_gunzip(text, path, SOURCE_FILE_BYTES_MAX, calls, fail);
    }
    return err;
}

/* The source whose own marks are in the text's beginning. */
static const struct source_ops *told_by_content(struct core_span text) {
    struct core_span head = {text.ptr, text.len < HEAD_BYTES ? text.len : HEAD_BYTES};
    const struct source_ops *best = NULL;
    int best_looks = 0;
    for (size_t i = 0; source_table[i] != NULL; i++) {
        int looks = source_table[i]->looks == NULL ? 0 : source_table[i]->looks(head);
        if (looks > best_looks) {
            best_looks = looks;
            best = source_table[i];
        }
    }
    return best;
}

static enum core_err unknown(struct core_span text, const char *path, struct core_fail *fail) {
    struct core_span head = core_span_trim((struct core_span){text.ptr, text.len < HEAD_BYTES ? text.len : HEAD_BYTES});
    if (head.len == 0 && text.len < HEAD_BYTES) { /* a list with nothing on it */
        return CORE_OK;
    }
    char first = head.len == 0 ? ' ' : head.ptr[0];
    if (first == '<') {
        bool is_stix1 = memmem(head.ptr, head.len, "stix", 4) != NULL || memmem(head.ptr, head.len, "taxii", 5) != NULL;
        return core_fail_set(fail, CORE_BAD, path, "%s",
                             is_stix1 ? "this is STIX 1 or TAXII 1 (XML), which is not read; ask its provider for "
                                        "STIX 2, or convert it with the OASIS elevator (stix2-elevator)"
                                      : "this is XML or HTML, no file of indicators");
    }
    return core_fail_set(fail, CORE_BAD, path,
                         first == '{' || first == '['
                             ? "this is JSON, but neither MISP's (Event, Attribute) nor STIX 2's (objects)"
                             : "of which kind it is cannot be told; say it (zeek, list, csv, misp or stix)");
}

enum core_err enrich_read_file(const char *path, int type, const struct enrich_feed_conf *feed,
                               const struct enrich_read_calls *calls, struct core_fail *fail) {
    struct source_bytes text = {0};
    enum core_err err = text_read(&text, path, calls, fail);
    if (err == CORE_OK) {
        struct core_span all = {text.bytes, text.len};
        if (core_span_starts(all, CORE_SPAN("\xef\xbb\xbf"))) { /* a byte order mark */
            all = (struct core_span){all.ptr + 3, all.len - 3};
        }
        const struct source_ops *source = type < 0 ? told_by_content(all) : source_table[type];
        if (source == NULL) {
            err = unknown(all, path, fail);
        } else if (source->read == NULL) {
            err = core_fail_set(fail, CORE_BAD, path, "a feed of type %s is a server, no file", source->name);
        } else {
            if (calls->counts != NULL) {
                *calls->counts = source->counts;
            }
            err = source->read(all, path, feed, calls, fail);
        }
    }
    free(text.bytes);
    return err;
}
