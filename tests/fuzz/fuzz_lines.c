/* tests/fuzz/fuzz_lines.c: any bytes as a file, plain or gzipped: what must hold of the lines cut from it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Records cover the file without a gap or an overlap; a line has no line end in it. */
static void check_lines(const struct core_batch *batch, uint64_t *end) {
    for (uint32_t i = 0; i < batch->lines_len; i++) {
        const struct core_line *line = &batch->lines[i];
        MUST(line->text.len > 0);
        MUST(line->text.len <= CORE_LINE_BYTES_MAX);
        MUST(core_span_chr(line->text, '\n') == NULL);
        bool is_context = (line->flags & CORE_LINE_CONTEXT) != 0;
        MUST(is_context || line->text.ptr[0] != '#');
        if (is_context) {
            continue;
        }
        MUST(line->start == *end);
        MUST(line->end > line->start);
        *end = line->end;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct core_pool pool;
    static struct core_counters counters;
    static const struct core_origin origin = {.type = CORE_ORIGIN_ZEEK}; /* records of several lines: fuzz_frames.c */
    struct core_fail fail = {0};
    struct ingest_reader *reader = NULL;
    char path[64];
    if (pool.len == 0) {
        MUST(core_pool_init(&pool, 1, &fail) == CORE_OK);
    }
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    MUST(fd >= 0);
    MUST(write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    MUST(ingest_reader_open(&reader, path, "node", &origin, &counters, &fail) == CORE_OK);
    uint64_t end = 0;
    for (enum core_err err = CORE_OK; err == CORE_OK;) {
        struct core_batch *batch = core_pool_take(&pool);
        MUST(batch != NULL);
        err = ingest_reader_next(reader, batch, &fail);
        MUST(err == CORE_OK || err == CORE_GONE || err == CORE_IO);
        MUST((err == CORE_OK) == (batch->lines_len > 0));
        check_lines(batch, &end);
        core_pool_give(&pool, batch);
    }
    bool is_gz = size > 2 && data[0] == 0x1f && data[1] == 0x8b;
    MUST(is_gz || end <= size);
    ingest_reader_close(reader);
    (void)close(fd);
    return 0;
}
