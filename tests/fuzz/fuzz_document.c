/* tests/fuzz/fuzz_document.c: any bytes as a document that members are merged into: nothing outside of them is read, and what
 * was JSON and is taken for a document is JSON again, with ours in it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#include <stdlib.h>

#define OUT_BYTES (4 * CORE_MIB)
#define DEPTH_MAX 60

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool on_null(void *ctx) {
    (void)ctx;
    return true;
}

static bool on_bool(void *ctx, bool value) {
    (void)value;
    return on_null(ctx);
}

static bool on_text(void *ctx, struct core_span text) {
    (void)text;
    return on_null(ctx);
}

static bool is_json(struct core_span text) {
    static const struct core_json_calls calls = {on_null, on_bool, on_text, on_text, on_text, on_bool, on_bool};
    struct core_json_reader *reader = core_json_reader_new(&calls, NULL);
    struct core_fail fail;
    bool is_one = core_json_read(reader, text, &fail) == CORE_OK;
    core_json_reader_free(reader);
    return is_one;
}

/* A list around what is there already goes one deeper than it was, and the reader has a limit. */
static bool is_deep(struct core_span text) {
    size_t brackets = 0;
    for (size_t i = 0; i < text.len; i++) {
        brackets += text.ptr[i] == '{' || text.ptr[i] == '[';
    }
    return brackets > DEPTH_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct document_leaf leaves[] = {
        {"labels.intel", {"\"unavailable\"", 13}, DOCUMENT_REPLACE},
        {"tags", {"[\"intel_match\"]", 15}, DOCUMENT_APPEND},
        {"threat.enrichments", {"[{\"feed\":{\"name\":\"f\"}}]", 23}, DOCUMENT_APPEND},
        {"threat.indicator.ip", {"[\"192.0.2.1\"]", 13}, DOCUMENT_APPEND},
        {"threat.indicator.type", {"[\"ipv4-addr\"]", 13}, DOCUMENT_APPEND}};
    static char room[OUT_BYTES];
    struct core_buf buf = {.start = room, .pos = room, .end = room + sizeof room};
    char *copy = malloc(size + 1); /* of its own length, so that a read past it is seen */
    MUST(copy != NULL);
    memcpy(copy, data, size);
    const struct core_span doc = {copy, size};
    if (document_merge(&buf, doc, leaves, sizeof leaves / sizeof leaves[0]) && !is_deep(doc) && is_json(doc)) {
        const struct core_span out = core_buf_written(&buf);
        MUST(is_json(out));
        MUST(memmem(out.ptr, out.len, "\"intel_match\"", 13) != NULL);
    }
    MUST(document_time(doc).len <= size);
    free(copy);
    return 0;
}
