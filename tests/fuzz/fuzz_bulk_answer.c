/* tests/fuzz/fuzz_bulk_answer.c: any bytes as the answer to a bulk: they are refused, or say something of each document; and
 * the same whether they say it in the shortest way or in another.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/elastic_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ITEMS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct elastic_answer *answer;
    char text[512];
    int64_t ms = 0;
    if (answer == NULL) {
        answer = elastic_answer_new(ITEMS_MAX);
    }
    /* a copy of just this length, so that a sanitizer sees a byte too many */
    char *copy = malloc(size == 0 ? 1 : size);
    MUST(copy != NULL);
    memcpy(copy, data, size);
    struct core_span body = {copy, size};
    unsigned answers = 0;
    for (uint32_t len = 1; len <= ITEMS_MAX; len++) {
        const struct elastic_said *said = NULL;
        const char *why = NULL;
        if (!elastic_answer_read(answer, body, len, &said, &why)) {
            MUST(why != NULL && why[0] != '\0');
            continue;
        }
        answers++;
        for (uint32_t i = 0; i < len; i++) {
            bool is_done = said[i].verdict == ELASTIC_TAKEN || said[i].verdict == ELASTIC_REPEATED;
            MUST((said[i].status >= 100 || said[i].verdict == ELASTIC_DOUBTFUL) && said[i].verdict <= ELASTIC_BARRED);
            MUST(is_done || (said[i].text != NULL && core_utf8_is_valid(core_span_of(said[i].text))) ||
                 !core_utf8_is_valid(body));
            MUST(said[i].verdict != ELASTIC_WAITS || said[i].advice != NULL);
        }
    }
    MUST(answers <= 1); /* it is the answer to one number of documents */
    elastic_whole_text(400, body, text, sizeof text);
    MUST(strnlen(text, sizeof text) < sizeof text);
    (void)elastic_whole_of(403, body);
    if (elastic_time_read(body, &ms)) {
        MUST(size >= 10 && ms / 86400000 < 4000000);
    }
    free(copy);
    return 0;
}
