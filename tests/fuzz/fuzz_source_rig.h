/* tests/fuzz/fuzz_source_rig.h: any bytes as a file of indicators: what comes of them is canonical, short, and in UTF-8.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_FUZZ_SOURCE_RIG_H
#define TAPLINE_TESTS_FUZZ_SOURCE_RIG_H

#include "core/json.h"
#include "enrich/enrich_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_text(const char *text) {
    MUST(text == NULL || (strlen(text) <= ENRICH_TEXT_BYTES_MAX && core_utf8_is_valid(core_span_of(text))));
}

static bool fuzz_item(void *ctx, const struct enrich_item *item) {
    char room[ENRICH_VALUE_BYTES_MAX];
    enum core_indicator type = item->type;
    struct core_span out;
    const char *why;
    uint64_t *items = ctx;
    MUST(enrich_canonical(&type, item->value, room, &out, &why));
    MUST(type == item->type && core_span_eq(out, item->value));
    MUST(item->said.feed != NULL && item->said.provider != NULL);
    MUST(item->said.confidence_tenths >= ENRICH_CONFIDENCE_NONE && item->said.confidence_tenths <= 100);
    MUST(item->said.first_seen >= 0 && item->said.last_seen >= 0 && item->said.expires >= 0);
    MUST(!item->said.subdomains || type == CORE_INDICATOR_DOMAIN);
    fuzz_text(item->said.provider);
    fuzz_text(item->said.description);
    fuzz_text(item->said.reference);
    fuzz_text(item->said.tags);
    fuzz_text(item->said.id);
    return ++*items < 100000;
}

static void fuzz_refused(void *ctx, uint64_t line, struct core_span what, const char *why) {
    (void)ctx;
    MUST(line > 0);
    MUST(what.len == 0 || what.ptr != NULL);
    MUST(why != NULL && why[0] != '\0');
}

static inline int fuzz_source(const struct source_ops *source, const struct enrich_feed_conf *feed, const uint8_t *data,
                              size_t size) {
    uint64_t items = 0;
    struct core_fail fail = {0};
    struct enrich_read_calls calls = {.on_item = fuzz_item, .on_refused = fuzz_refused, .ctx = &items};
    char *text = malloc(size > 0 ? size : 1); /* of exactly this size: a byte too far is seen */
    MUST(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    (void)source->looks((struct core_span){text, size});
    enum core_err err = source->read((struct core_span){text, size}, "a file", feed, &calls, &fail);
    MUST(err == CORE_OK || err == CORE_AGAIN || fail.text[0] != '\0');
    free(text);
    return 0;
}

#endif
