/* tests/fuzz/fuzz_said.c: any bytes as a field of an indicator in Redis, "FEED/PROVIDER" up to the first line's end, and what
 * it says as JSON behind it: refused with a reason, or read; and what is read, written, and read again is the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/store_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct core_span said_write(char room[STORE_SAID_BYTES_MAX], const struct enrich_provider *said) {
    struct core_buf buf = {.start = room, .pos = room, .end = room + STORE_SAID_BYTES_MAX};
    store_said_write(&buf, said);
    return buf.is_full ? (struct core_span){NULL, 0} : core_buf_written(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct store_said_reader *reader;
    static struct core_arena arena;
    static char once[STORE_SAID_BYTES_MAX], again[STORE_SAID_BYTES_MAX];
    struct core_span field = {(const char *)data, size}, json = {(const char *)data, 0};
    struct core_fail fail = {0};
    struct enrich_provider said, back;
    if (reader == NULL) {
        reader = store_said_reader_new();
        MUST(core_arena_init(&arena, CORE_MIB, &fail) == CORE_OK);
    }
    const char *end = core_span_chr(field, '\n');
    if (end != NULL) {
        field.len = (size_t)(end - field.ptr);
        json = (struct core_span){end + 1, size - field.len - 1};
    }
    core_arena_reset(&arena, CORE_MIB);
    if (store_said_read(reader, field, json, &arena, &said, &fail) != CORE_OK) {
        MUST(fail.text[0] != '\0');
        return 0;
    }
    MUST(said.feed[0] != '\0' || field.ptr[0] == '\0'); /* a NUL may be the first byte of a name */
    MUST(said.confidence_tenths >= ENRICH_CONFIDENCE_NONE && said.confidence_tenths <= 100);
    struct core_span written = said_write(once, &said);
    if (written.ptr == NULL) {
        return 0; /* escapes can make it longer than a writer allows */
    }
    MUST(store_said_read(reader, CORE_SPAN("f/p"), written, &arena, &back, &fail) == CORE_OK);
    struct core_span rewritten = said_write(again, &back);
    /* what is no UTF-8 becomes \xNN, which is longer, and may be cut the next time */
    MUST(!core_utf8_is_valid(json) || core_span_eq(written, rewritten));
    MUST(back.expires == said.expires && back.subdomains == said.subdomains);
    return 0;
}
