/* tests/fuzz/fuzz_feed_ledger.c: any bytes as a row of the feeder's ledger: refused, or told with numbers that fit together.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/feed.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct told {
    size_t rows;
    int64_t from;
    int64_t to;
};

static void on_row(void *ctx, const struct feed_ledger_row *row) {
    struct told *told = ctx;
    MUST(row->group.len > 0 && row->topic.len > 0);
    MUST(row->partition >= 0 && row->from >= 0 && row->from <= row->to);
    MUST((row->day.len == 0) == (row->dataset.len == 0));
    MUST(told->rows == 0 || (told->from == row->from && told->to == row->to)); /* one value, one span */
    told->from = row->from;
    told->to = row->to;
    told->rows++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *copy = malloc(size + 1); /* of its own length: a read behind it is found */
    struct told told = {0};
    MUST(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    bool is_ours = feed_ledger_parse((struct core_span){.ptr = copy, .len = size}, on_row, &told);
    MUST(is_ours == (told.rows > 0));
    free(copy);
    return 0;
}
