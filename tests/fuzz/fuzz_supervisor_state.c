/* tests/fuzz/fuzz_supervisor_state.c: any bytes as the Supervisor's state file, as they are and with a last line that fits them
 * (or the checksum would keep the fuzzer out): refused in words, or rows within their limits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ROOM (64 * CORE_MIB)
#define END_BYTES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const char *text, size_t len) {
    static struct core_arena arena;
    struct supervisor_saved out;
    struct core_fail fail = {0};
    char *copy = malloc(len + 1); /* of its own length: a read behind it is found */
    MUST(copy != NULL);
    memcpy(copy, text, len);
    if (arena.base == NULL) {
        MUST(core_arena_init(&arena, ROOM, NULL) == CORE_OK);
    }
    core_arena_reset(&arena, CORE_MIB);
    if (supervisor_state_parse((struct core_span){copy, len}, "dir", &arena, &out, &fail) != CORE_OK) {
        MUST(fail.text[0] != '\0');
        MUST(out.rows == NULL && out.rows_len == 0);
    }
    for (size_t i = 0; i < out.rows_len; i++) {
        const struct supervisor_row *row = &out.rows[i];
        MUST(row->state >= 0 && row->state < SUPERVISOR_STATE__MAX);
        MUST(row->deaths_len <= SUPERVISOR_DEATHS_MAX);
        MUST(row->spec.len > 0 && row->spec.len <= SUPERVISOR_SPEC_BYTES_MAX);
        MUST(row->running_spec.len <= SUPERVISOR_SPEC_BYTES_MAX);
        MUST(memchr(row->pid.cookie, '\0', sizeof(row->pid.cookie)) != NULL);
        MUST(row->pid.pid >= 0 && row->pid.pidfd == -1);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + END_BYTES_MAX);
    size_t lines = 0;
    MUST(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
        parse(text, size);
    }
    for (size_t i = 0; i < size; i++) {
        lines += text[i] == '\n' ? 1 : 0;
    }
    const size_t rows = lines < 2 ? 0 : lines - 2;
    const int end = snprintf(text + size, END_BYTES_MAX, "end %zu %016" PRIx64 "\n", rows, core_hash64(text, size, 0));
    parse(text, size + (size_t)end);
    free(text);
    return 0;
}
