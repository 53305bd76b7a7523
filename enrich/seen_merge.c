/* enrich/seen_merge.c: several segments read as one.
 *
 * A heap of readers by their records' keys. Whoever looks for a key that is further on moves only those readers that are
 * before it, and these pass over whole blocks.
 * Thread: one at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/seen_internal.h"

#include <stdlib.h>

struct seen_merge {
    struct seen_reader **readers; /* all */
    size_t readers_len;
    struct seen_reader **heap; /* those that are not at their end; the first one's key is the smallest */
    size_t heap_len;
    bool has_begun;
    char key[SEEN_KEY_BYTES_MAX];
};

struct seen_merge *seen_merge_new(struct seen_reader **readers, size_t len) {
    struct seen_merge *merge = calloc(1, sizeof *merge);
    MUST(merge != NULL);
    merge->readers = calloc(len + 1, sizeof *merge->readers);
    merge->heap = calloc(len + 1, sizeof *merge->heap);
    MUST(merge->readers != NULL && merge->heap != NULL);
    for (size_t i = 0; i < len; i++) {
        merge->readers[i] = readers[i];
    }
    merge->readers_len = len;
    return merge;
}

void seen_merge_free(struct seen_merge *merge) {
    if (merge == NULL) {
        return;
    }
    for (size_t i = 0; i < merge->readers_len; i++) {
        seen_reader_close(merge->readers[i]);
    }
    free(merge->readers);
    free(merge->heap);
    free(merge);
}

static struct core_span key_of(const struct seen_reader *reader) {
    return seen_reader_record(reader)->key;
}

static void heap_sink(struct seen_merge *merge, size_t at) {
    struct seen_reader *reader = merge->heap[at];
    while (true) {
        size_t child = 2 * at + 1;
        if (child >= merge->heap_len) {
            break;
        }
        if (child + 1 < merge->heap_len &&
            seen_key_compare(key_of(merge->heap[child + 1]), key_of(merge->heap[child])) < 0) {
            child++;
        }
        if (seen_key_compare(key_of(reader), key_of(merge->heap[child])) <= 0) {
            break;
        }
        merge->heap[at] = merge->heap[child];
        at = child;
    }
    merge->heap[at] = reader;
}

static enum core_err merge_begin(struct seen_merge *merge, struct core_span from, struct core_fail *fail) {
    merge->has_begun = true;
    for (size_t i = 0; i < merge->readers_len; i++) {
        enum core_err err = seen_reader_next(merge->readers[i], from, fail);
        if (err == CORE_OK) {
            merge->heap[merge->heap_len++] = merge->readers[i];
        } else if (err != CORE_GONE) {
            return err;
        }
    }
    for (size_t i = merge->heap_len / 2; i-- > 0;) {
        heap_sink(merge, i);
    }
    return CORE_OK;
}

/* Move the first reader on. */
static enum core_err first_move(struct seen_merge *merge, struct core_span from, struct core_fail *fail) {
    enum core_err err = seen_reader_next(merge->heap[0], from, fail);
    if (err == CORE_GONE) {
        merge->heap[0] = merge->heap[--merge->heap_len];
        err = CORE_OK;
    }
    if (err == CORE_OK && merge->heap_len > 0) {
        heap_sink(merge, 0);
    }
    return err;
}

enum core_err seen_merge_next(struct seen_merge *merge, struct core_span from, struct seen_record *record,
                              struct core_fail *fail) {
    const struct core_span next = {NULL, 0};
    enum core_err err = merge->has_begun ? CORE_OK : merge_begin(merge, from, fail);
    while (err == CORE_OK && merge->heap_len > 0 && seen_key_compare(key_of(merge->heap[0]), from) < 0) {
        err = first_move(merge, from, fail);
    }
    if (err != CORE_OK) {
        return err;
    }
    if (merge->heap_len == 0) {
        return CORE_GONE;
    }
    *record = *seen_reader_record(merge->heap[0]);
    memcpy(merge->key, record->key.ptr, record->key.len);
    record->key.ptr = merge->key;
    err = first_move(merge, next, fail);
    while (err == CORE_OK && merge->heap_len > 0 && core_span_eq(key_of(merge->heap[0]), record->key)) {
        seen_record_add(record, seen_reader_record(merge->heap[0]));
        err = first_move(merge, next, fail);
    }
    return err;
}
