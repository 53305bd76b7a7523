/* tests/fuzz/fuzz_position.c: any bytes as a position's line, as it comes from the checkpoint, the ledger or Kafka: refused, or
 * understood; and what is understood is written down as it was.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_same(const struct ingest_position *a, const struct ingest_position *b) {
    const struct ingest_memory *x = &a->memory;
    const struct ingest_memory *y = &b->memory;
    return a->is_over == b->is_over && a->is_done == b->is_done && a->dev == b->dev && a->ino == b->ino &&
           a->born_ns == b->born_ns && a->size_seen == b->size_seen && a->is_gz == b->is_gz && a->at_ns == b->at_ns &&
           strcmp(a->path, b->path) == 0 && strcmp(x->first_path, y->first_path) == 0 && x->gen == y->gen &&
           memcmp(&x->first, &y->first, sizeof(x->first)) == 0 && x->accepted.pos == y->accepted.pos &&
           x->accepted.number == y->accepted.number && x->accepted.header_at == y->accepted.header_at &&
           x->accepted.header_len == y->accepted.header_len && x->accepted.marker == y->accepted.marker &&
           x->accepted.marker_len == y->accepted.marker_len && x->begin == y->begin && x->open_from == y->open_from &&
           memcmp(&x->tally, &y->tally, sizeof(x->tally)) == 0 && x->mtime_ns == y->mtime_ns;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ingest_position position;
    struct ingest_position again;
    char *line = malloc(size + 1);
    MUST(line != NULL);
    memcpy(line, data, size);
    line[size] = '\0';
    if (ingest_position_parse(line, &position) && (!position.is_over || position.at_ns != 0)) {
        static char written[INGEST_POSITION_BYTES_MAX];
        struct ingest_file file = {
            .dev = (dev_t)position.dev,
            .ino = (ino_t)position.ino,
            .born_ns = position.born_ns,
            .path = (char *)(uintptr_t)position.path,
            .memory = position.memory,
            .size_seen = position.size_seen,
            .is_gz = position.is_gz,
            .is_over = position.is_done,
        };
        const size_t len = ingest_position_put_whole(written, &file, position.at_ns);
        MUST(len < sizeof(written) && written[len - 1] == '\n');
        MUST(memchr(written, '\n', len - 1) == NULL);
        written[len - 1] = '\0';
        MUST(ingest_position_parse(written, &again));
        MUST(is_same(&position, &again));
    }
    free(line);
    return 0;
}
