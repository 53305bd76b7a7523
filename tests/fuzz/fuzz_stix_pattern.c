/* tests/fuzz/fuzz_stix_pattern.c: any bytes as a STIX pattern: terms with their texts in it or in the arena, or a reason.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/stix_pattern.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct core_arena arena;
    static struct stix_terms terms;
    struct core_fail fail = {0};
    const char *why = NULL;
    if (arena.base == NULL) {
        MUST(core_arena_init(&arena, 64 * CORE_MIB, &fail) == CORE_OK);
    }
    core_arena_reset(&arena, CORE_MIB);
    char *text = malloc(size > 0 ? size : 1); /* of exactly this size: a byte too far is seen */
    MUST(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    if (!stix_pattern_read(&arena, (struct core_span){text, size}, size % 2 == 0, &terms, &why)) {
        MUST(why != NULL);
        MUST(terms.len == 0);
    }
    for (size_t i = 0; i < terms.len; i++) {
        const char *value = terms.terms[i].value.ptr;
        size_t len = terms.terms[i].value.len;
        MUST(len == 0 || (value >= text && value + len <= text + size) ||
             (value >= arena.base && value + len <= arena.base + arena.used));
    }
    free(text);
    return 0;
}
