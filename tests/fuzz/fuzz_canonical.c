/* tests/fuzz/fuzz_canonical.c: any text as any type of indicator: what is canonical stays so, lies in the text or in the room,
 * and is no longer than allowed. The first byte is the type.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/enrich_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    char *text = malloc(size); /* of exactly this size: a byte too far is seen */
    MUST(text != NULL);
    memcpy(text, data + 1, size - 1);
    struct core_span in = {text, size - 1};
    enum core_indicator type = CORE_INDICATOR_IP + (enum core_indicator)(data[0] % (CORE_INDICATOR__MAX - 1));
    char room[ENRICH_VALUE_BYTES_MAX];
    char again_room[ENRICH_VALUE_BYTES_MAX];
    struct core_span out;
    struct core_span again;
    const char *why = NULL;
    (void)enrich_guess(in);
    if (!enrich_canonical(&type, in, room, &out, &why)) {
        MUST(why != NULL);
    } else {
        enum core_indicator again_type = type;
        MUST(out.len > 0 && out.len <= ENRICH_VALUE_BYTES_MAX);
        MUST((out.ptr >= text && out.ptr + out.len <= text + size) ||
             (out.ptr >= room && out.ptr + out.len <= room + sizeof(room)));
        MUST(enrich_canonical(&again_type, out, again_room, &again, &why));
        MUST(again_type == type && core_span_eq(again, out));
    }
    free(text);
    return 0;
}
