/* tests/fuzz/fuzz_zeek_counts.c: any text as the telemetry of a Zeek: its counters, or refused with a reason.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/zeek_counts.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct zeek_counts counts;
    struct core_fail fail = {0};
    char *text = malloc(size + 1); /* its own block, so that a step past its end is seen */
    MUST(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (zeek_counts_read(&counts, text, "url", &fail) == CORE_OK) {
        for (size_t i = 0; i < counts.len; i++) {
            struct core_span log = core_span_of(counts.logs[i].log);
            MUST(log.len < ZEEK_LOG_BYTES_MAX);
            MUST(zeek_counts_find(&counts, log) == &counts.logs[i]); /* none is there twice */
        }
    } else {
        MUST(fail.where[0] != '\0');
        MUST(fail.text[0] != '\0');
    }
    free(text);
    return 0;
}
