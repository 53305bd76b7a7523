/* tests/fuzz/fuzz_json.c: the quick reader and the general one tell the same story of every text that both read: the same
 * calls with the same texts in the same order; and what the general one refuses, the quick one does not take.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct story {
    char *text;
    size_t len;
    size_t cap;
};

static bool tell(struct story *story, char what, struct core_span text) {
    MUST(story->len + text.len + 2 <= story->cap);
    story->text[story->len++] = what;
    if (text.len > 0) {
        memcpy(story->text + story->len, text.ptr, text.len);
    }
    story->len += text.len;
    story->text[story->len++] = '\0';
    return true;
}

static bool on_null(void *ctx) {
    return tell(ctx, '0', CORE_SPAN(""));
}

static bool on_bool(void *ctx, bool value) {
    return tell(ctx, value ? 't' : 'f', CORE_SPAN(""));
}

static bool on_number(void *ctx, struct core_span text) {
    return tell(ctx, 'n', text);
}

static bool on_string(void *ctx, struct core_span text) {
    return tell(ctx, 's', text);
}

static bool on_key(void *ctx, struct core_span text) {
    return tell(ctx, 'k', text);
}

static bool on_map(void *ctx, bool is_start) {
    return tell(ctx, is_start ? '{' : '}', CORE_SPAN(""));
}

static bool on_array(void *ctx, bool is_start) {
    return tell(ctx, is_start ? '[' : ']', CORE_SPAN(""));
}

static struct story story_new(size_t size) {
    size_t cap = size * 4 + 64;
    struct story story = {.text = malloc(cap), .cap = cap};
    MUST(story.text != NULL);
    return story;
}

static void line_check(struct core_span line) {
    static const struct core_json_calls calls = {on_null, on_bool, on_number, on_string, on_key, on_map, on_array};
    struct core_fail fail = {0};
    struct story quick = story_new(line.len);
    struct story general = story_new(line.len);
    struct core_json_reader *reader = core_json_reader_new(&calls, &general);
    if (core_json_read_plain(&calls, &quick, line)) {
        MUST(core_json_read(reader, line, &fail) == CORE_OK);
        MUST(quick.len == general.len);
        MUST(memcmp(quick.text, general.text, quick.len) == 0);
    }
    core_json_reader_free(reader);
    free(quick.text);
    free(general.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct core_span rest = {(const char *)data, size};
    while (rest.len > 0) {
        const char *end = core_span_chr(rest, '\n');
        size_t len = end == NULL ? rest.len : (size_t)(end - rest.ptr);
        line_check((struct core_span){rest.ptr, len});
        size_t skip = end == NULL ? len : len + 1;
        rest = (struct core_span){rest.ptr + skip, rest.len - skip};
    }
    return 0;
}
