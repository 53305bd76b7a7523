/* tests/fuzz/fuzz_frames.c: any bytes as alert_full, alert_cmg, unified2 or whatever they look like: the records cover the
 * file without a gap, and are the same when the file was read once before it was whole.
 * The first byte says the format, the next two where it is cut in two.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define RECORDS_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct record {
    uint64_t start;
    uint64_t end;
    uint64_t hash;
};

struct rig {
    struct core_pool pool;
    struct core_counters counters;
    struct record records[RECORDS_MAX];
    size_t records_len;
    uint64_t end;
};

static struct rig rig;

static void take(const struct core_batch *batch, bool is_again, size_t *n) {
    for (uint32_t i = 0; i < batch->lines_len; i++) {
        const struct core_line *line = &batch->lines[i];
        if ((line->flags & CORE_LINE_CONTEXT) != 0) {
            continue;
        }
        MUST(line->text.len > 0);
        MUST(line->text.len <= CORE_LINE_BYTES_MAX);
        MUST(line->start == (*n == 0 ? 0 : rig.end));
        MUST(line->end >= line->start + line->text.len);
        rig.end = line->end;
        const struct record record = {line->start, line->end, core_hash64(line->text.ptr, line->text.len, 0)};
        MUST(*n < RECORDS_MAX);
        if (is_again) {
            MUST(*n < rig.records_len);
            MUST(memcmp(&rig.records[*n], &record, sizeof(record)) == 0);
        } else {
            rig.records[rig.records_len++] = record;
        }
        ++*n;
    }
}

/* Read what is there. is_final: it is all there will be. */
static void drain(struct ingest_cutter *cutter, struct ingest_source *source, bool is_final, bool is_again, size_t *n) {
    cutter->is_end_final = is_final;
    for (enum core_err err = CORE_OK; err == CORE_OK;) {
        struct core_fail fail = {0};
        struct core_batch *batch = core_pool_take(&rig.pool);
        MUST(batch != NULL);
        const uint64_t pos = cutter->pos;
        err = ingest_cutter_fill(cutter, source, batch, UINT64_MAX, &fail);
        MUST(err == CORE_OK || err == (is_final ? CORE_GONE : CORE_AGAIN));
        take(batch, is_again, n);
        const bool is_moved = cutter->pos > pos || cutter->is_more;
        core_pool_give(&rig.pool, batch);
        if (!is_final && !is_moved) {
            break;
        }
    }
}

static void run(const uint8_t *data, size_t size, size_t cut, enum core_format format, bool is_again) {
    const struct core_origin origin = {.format = format};
    struct core_fail fail = {0};
    struct ingest_source source;
    struct ingest_cutter cutter;
    size_t n = 0;
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    MUST(fd >= 0);
    MUST(pwrite(fd, data, cut, 0) == (ssize_t)cut);
    rig.end = 0;
    MUST(ingest_source_open(&source, fd, "fuzz", false, &fail) == CORE_OK);
    ingest_cutter_init(&cutter, "node", "fuzz", &rig.counters, NULL, NULL);
    cutter.kind = ingest_kind_of(&origin);
    if (is_again) {
        drain(&cutter, &source, false, true, &n);
    }
    MUST(pwrite(fd, data + cut, size - cut, (off_t)cut) == (ssize_t)(size - cut));
    drain(&cutter, &source, true, is_again, &n);
    MUST(n == rig.records_len);
    MUST(cutter.pos == size);
    ingest_source_close(&source);
    ingest_cutter_release(&cutter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const enum core_format formats[] = {CORE_FORMAT_AUTO, CORE_FORMAT_SNORT_FULL, CORE_FORMAT_SNORT_CMG,
                                               CORE_FORMAT_UNIFIED2};
    struct core_fail fail = {0};
    if (size < 3 || (size > 4 && data[3] == 0x1f && data[4] == 0x8b)) {
        return 0; /* fuzz_lines.c unpacks */
    }
    if (rig.pool.len == 0) {
        core_log_level(CORE_LEVEL_ERROR);
        MUST(core_pool_init(&rig.pool, 1, &fail) == CORE_OK);
    }
    const enum core_format format = formats[data[0] % 4];
    const size_t cut = (size_t)(data[1] << 8 | data[2]) % (size - 2);
    rig.records_len = 0;
    run(data + 3, size - 3, size - 3, format, false);
    run(data + 3, size - 3, cut, format, true);
    return 0;
}
