/* enrich/filter.c: certainly not, or perhaps: a set of hashes that forgets all but 32 bits of each.
 *
 * An open hash table of fingerprints: lines of 16 slots, each line one cache line. A hash's upper half chooses the line, its
 * lower half is the fingerprint (0 means an empty slot, so fingerprint 0 is written as 1). A line that is full runs over
 * into the next. Slots of a line fill from its beginning and nothing is ever taken out, so the last slot tells whether to
 * look on. At four fifths full a look-up of what is not in it reads 1.3 lines, which are neighbours, and is wrong once in
 * 2 * 10^8 times.
 *
 * One thread adds while others look, without locks: an item is one store of 32 bits. Who knows that an item was added (by
 * whatever told him) finds it. Vectors read the slots in the program; under ThreadSanitizer, which knows nothing of vectors
 * that are read as four words each, the same loop runs with atomic loads.
 *
 * Memory: one anonymous mapping, on huge pages where the system has them: 5 bytes an item.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#include <stdlib.h>
#include <sys/mman.h>

#define LINE_SLOTS 16
#define LINE_BYTES (LINE_SLOTS * sizeof(uint32_t))
#define HUGE_PAGE_BYTES (2 * CORE_MIB)
#define FILTER_MAGIC 0x666c7472u

#if defined(__SANITIZE_THREAD__)
#define FILTER_SCALAR
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FILTER_SCALAR
#endif
#endif

struct filter {
    uint32_t magic;
    _Atomic uint32_t *slots;
    size_t lines;
    size_t bytes;
    size_t items_max;   /* what it was made for: four fifths of the slots */
    size_t slots_max;   /* refused from there on: seven eighths, or chains of full lines get long */
    _Atomic size_t len; /* written by the thread that adds */
};

_Static_assert(LINE_BYTES == 64, "a line of slots is a cache line");
_Static_assert(sizeof(_Atomic uint32_t) == sizeof(uint32_t), "slots are plain words to the vectors");

enum core_err filter_new(struct filter **out, size_t items, struct core_fail *fail) {
    *out = NULL;
    if (items > FILTER_ITEMS_MAX) {
        return core_fail_set(fail, CORE_LIMIT, "intel", "%zu indicators are more than a sensor takes (%zu)", items,
                             (size_t)FILTER_ITEMS_MAX);
    }
    items = items < LINE_SLOTS ? LINE_SLOTS : items;
    size_t lines = (items * 5 / 4 + LINE_SLOTS - 1) / LINE_SLOTS;
    size_t bytes = lines * LINE_BYTES;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return core_fail_errno(fail, "memory", "cannot have %zu bytes for the filter of %zu indicators", bytes, items);
    }
    if (bytes >= HUGE_PAGE_BYTES) { /* saves a miss of the address cache a look-up; a system without them says no */
        int advised = madvise(memory, bytes, MADV_HUGEPAGE);
        (void)advised;
    }
    struct filter *filter = calloc(1, sizeof *filter);
    MUST(filter != NULL);
    *filter = (struct filter){.magic = FILTER_MAGIC,
                              .slots = memory,
                              .lines = lines,
                              .bytes = bytes,
                              .items_max = items,
                              .slots_max = lines * LINE_SLOTS / 8 * 7};
    *out = filter;
    return CORE_OK;
}

void filter_free(struct filter *filter) {
    if (filter == NULL) {
        return;
    }
    MUST(filter->magic == FILTER_MAGIC);
    MUST(munmap((void *)filter->slots, filter->bytes) == 0);
    filter->magic = 0;
    free(filter);
}

static inline uint32_t fingerprint_of(uint64_t hash) {
    uint32_t low = (uint32_t)hash;
    return low == 0 ? 1 : low;
}

/* The upper half, scaled to the number of lines: no division, and any number of lines will do. */
static inline size_t line_of(const struct filter *filter, uint64_t hash) {
    return (size_t)(((hash >> 32) * filter->lines) >> 32);
}

static inline size_t line_next(const struct filter *filter, size_t line) {
    return line + 1 == filter->lines ? 0 : line + 1;
}

bool filter_add(struct filter *filter, uint64_t hash) {
    MUST(filter->magic == FILTER_MAGIC);
    uint32_t fingerprint = fingerprint_of(hash);
    size_t line = line_of(filter, hash);
    for (size_t looked = 0; looked < filter->lines; looked++) {
        for (size_t i = 0; i < LINE_SLOTS; i++) {
            _Atomic uint32_t *slot = &filter->slots[line * LINE_SLOTS + i];
            uint32_t have = atomic_load_explicit(slot, memory_order_relaxed);
            if (have == fingerprint) {
                return true; /* it, or another that looks the same */
            }
            if (have == 0) {
                size_t len = atomic_load_explicit(&filter->len, memory_order_relaxed);
                if (len >= filter->slots_max) {
                    return false;
                }
                atomic_store_explicit(slot, fingerprint, memory_order_release);
                atomic_store_explicit(&filter->len, len + 1, memory_order_relaxed);
                return true;
            }
        }
        line = line_next(filter, line);
    }
    return false;
}

void filter_prefetch(const struct filter *filter, uint64_t hash) {
    __builtin_prefetch((const void *)&filter->slots[line_of(filter, hash) * LINE_SLOTS]);
}

#ifdef FILTER_SCALAR

static inline bool line_has(const _Atomic uint32_t *slots, uint32_t fingerprint) {
    for (size_t i = 0; i < LINE_SLOTS; i++) {
        if (atomic_load_explicit(&slots[i], memory_order_relaxed) == fingerprint) {
            return true;
        }
    }
    return false;
}

#else

typedef uint32_t words4 __attribute__((vector_size(16), may_alias));
typedef uint64_t halves2 __attribute__((vector_size(16)));

/* Four words at a time, which every machine with vectors can; compared all, without a branch. volatile: the slots change
 * under us. */
static inline bool line_has(const _Atomic uint32_t *slots, uint32_t fingerprint) {
    const volatile words4 *words = (const volatile words4 *)(const void *)slots;
    const words4 same = {fingerprint, fingerprint, fingerprint, fingerprint};
    const halves2 found = (halves2)((words[0] == same) | (words[1] == same) | (words[2] == same) | (words[3] == same));
    return (found[0] | found[1]) != 0;
}

#endif

bool filter_has(const struct filter *filter, uint64_t hash) {
    MUST(filter->magic == FILTER_MAGIC);
    uint32_t fingerprint = fingerprint_of(hash);
    size_t line = line_of(filter, hash);
    for (size_t looked = 0; looked < filter->lines; looked++) {
        const _Atomic uint32_t *slots = &filter->slots[line * LINE_SLOTS];
        if (line_has(slots, fingerprint)) {
            return true;
        }
        if (atomic_load_explicit(&slots[LINE_SLOTS - 1], memory_order_relaxed) == 0) {
            return false;
        }
        line = line_next(filter, line);
    }
    return false;
}

size_t filter_len(const struct filter *filter) {
    return atomic_load_explicit(&filter->len, memory_order_relaxed);
}

size_t filter_bytes(const struct filter *filter) {
    return filter->bytes;
}

bool filter_is_crowded(const struct filter *filter) {
    return filter_len(filter) > filter->items_max;
}
