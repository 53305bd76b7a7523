/* tests/unit/enrich_source_rig.h: reads a text as a source does, and writes down what came of it, a line each.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_ENRICH_SOURCE_RIG_H
#define TAPLINE_TESTS_ENRICH_SOURCE_RIG_H

#include "enrich/enrich_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

struct source_rig {
    char said[64 * 1024];
    size_t len;
    size_t items;
    size_t refused;
    size_t stop_after; /* 0: never */
    bool is_brief;     /* only type and value */
};

static void rig_say(struct source_rig *rig, const char *fmt, ...) CORE_PRINTF(2, 3);
static void rig_say(struct source_rig *rig, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(rig->said + rig->len, sizeof(rig->said) - rig->len, fmt, args);
    va_end(args);
    assert_true(len >= 0 && rig->len + (size_t)len < sizeof(rig->said));
    rig->len += (size_t)len;
}

static void rig_text(struct source_rig *rig, const char *key, const char *text) {
    if (text != NULL) {
        rig_say(rig, " %s=%s", key, text);
    }
}

/* "ip 192.0.2.7 feed=local provider=x …". */
static bool rig_item(void *ctx, const struct enrich_item *item) {
    struct source_rig *rig = ctx;
    const struct enrich_provider *said = &item->said;
    rig->items++;
    rig_say(rig, "%s %.*s", core_indicator_word(item->type), (int)item->value.len, item->value.ptr);
    if (!rig->is_brief) {
        assert_string_equal(said->feed, "local");
        rig_text(rig, "provider", strcmp(said->provider, said->feed) == 0 ? NULL : said->provider);
        if (said->confidence_tenths != ENRICH_CONFIDENCE_NONE) {
            rig_say(rig, " confidence=%d", said->confidence_tenths);
        }
        rig_text(rig, "tlp", said->tlp);
        rig_text(rig, "description", said->description);
        rig_text(rig, "reference", said->reference);
        rig_text(rig, "tags", said->tags);
        if (said->first_seen != 0) {
            rig_say(rig, " first=%lld", (long long)said->first_seen);
        }
        if (said->last_seen != 0) {
            rig_say(rig, " last=%lld", (long long)said->last_seen);
        }
        if (said->expires != 0) {
            rig_say(rig, " expires=%lld", (long long)said->expires);
        }
        rig_text(rig, "id", said->id);
        rig_text(rig, "subdomains", said->subdomains ? "yes" : NULL);
    }
    rig_say(rig, "\n");
    return rig->items != rig->stop_after;
}

/* "! 3 what: why". */
static void rig_refused(void *ctx, uint64_t line, struct core_span what, const char *why) {
    struct source_rig *rig = ctx;
    rig->refused++;
    rig_say(rig, "! %llu %.*s: %s\n", (unsigned long long)line, (int)what.len, what.ptr, why);
}

static enum core_err rig_read(struct source_rig *rig, const struct source_ops *source, const char *text,
                              const struct enrich_feed_conf *feed, struct core_fail *fail) {
    static const struct enrich_feed_conf plain = {0};
    struct enrich_read_calls calls = {.on_item = rig_item, .on_refused = rig_refused, .ctx = rig};
    return source->read(core_span_of(text), "a file", feed == NULL ? &plain : feed, &calls, fail);
}

/* JSON that is readable here: ' stands for ", and ` for '. Valid until the next call. */
static inline const char *rig_json(const char *text) {
    static char json[64 * 1024];
    size_t len = strlen(text);
    assert_true(len < sizeof(json));
    for (size_t i = 0; i <= len; i++) {
        json[i] = (char)(text[i] == '\'' ? '"' : text[i] == '`' ? '\'' : text[i]);
    }
    return json;
}

/* What comes of a text, exactly. */
static inline void rig_expect(const struct source_ops *source, const char *text, const struct enrich_feed_conf *feed,
                              const char *expected) {
    struct source_rig *rig = calloc(1, sizeof(*rig));
    struct core_fail fail = {0};
    assert_non_null(rig);
    enum core_err err = rig_read(rig, source, text, feed, &fail);
    if (err != CORE_OK) {
        print_error("%s: %s\n", fail.where, fail.text);
    }
    assert_int_equal(err, CORE_OK);
    assert_string_equal(rig->said, expected);
    free(rig);
}

/* It is refused as a whole, for this reason. */
static inline void rig_expect_bad(const struct source_ops *source, const char *text,
                                  const struct enrich_feed_conf *feed, const char *why) {
    struct source_rig *rig = calloc(1, sizeof(*rig));
    struct core_fail fail = {0};
    assert_non_null(rig);
    assert_int_equal(rig_read(rig, source, text, feed, &fail), CORE_BAD);
    if (strstr(fail.text, why) == NULL) {
        print_error("%s: %s\n", fail.where, fail.text);
    }
    assert_non_null(strstr(fail.text, why));
    free(rig);
}

#endif
