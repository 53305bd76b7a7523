/* core/arena.c: a bump allocator over one anonymous mapping.
 *
 * The mapping is address space: a page costs memory when it is first touched, and core_arena_reset() gives pages beyond
 * what is worth keeping back to the system, so that one batch of huge documents does not hold its memory for ever.
 * No thread of its own; it is used by whoever owns the batch.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <sys/mman.h>
#include <unistd.h>

#define ARENA_ALIGN ((size_t)8)

static size_t arena_round_up(size_t len, size_t to) {
    return (len + to - 1) / to * to;
}

enum core_err core_arena_init(struct core_arena *arena, size_t cap, struct core_fail *fail) {
    MUST(arena != NULL);
    MUST(cap > 0 && cap < SIZE_MAX / 2);
    size_t len = arena_round_up(cap, (size_t)sysconf(_SC_PAGESIZE));
    void *base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        *arena = (struct core_arena){0};
        return core_fail_errno(fail, "memory",
                               "cannot reserve %zu bytes of address space for a batch; lower pipeline.batches or raise "
                               "the process's limit (ulimit -v)",
                               len);
    }
    *arena = (struct core_arena){.base = base, .used = 0, .cap = len};
    return CORE_OK;
}

void *core_arena_alloc(struct core_arena *arena, size_t len) {
    MUST(arena->base != NULL);
    MUST(arena->used <= arena->cap);
    size_t at = arena_round_up(arena->used, ARENA_ALIGN);
    if (at > arena->cap || len > arena->cap - at) {
        return NULL;
    }
    arena->used = at + len;
    return arena->base + at;
}

char *core_arena_copy(struct core_arena *arena, struct core_span text) {
    MUST(text.len < SIZE_MAX);
    char *copy = core_arena_alloc(arena, text.len + 1);
    if (copy == NULL) {
        return NULL;
    }
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    copy[text.len] = '\0';
    return copy;
}

void core_arena_reset(struct core_arena *arena, size_t keep_bytes) {
    MUST(arena->base != NULL);
    size_t keep = arena_round_up(keep_bytes, (size_t)sysconf(_SC_PAGESIZE));
    if (keep < arena->cap) {
        /* The whole rest, not only what is `used`: a writer may have touched pages it then did not claim. Untouched
         * pages cost this call nothing. Failure would only mean memory kept. */
        int given_back = madvise(arena->base + keep, arena->cap - keep, MADV_DONTNEED);
        (void)given_back;
    }
    arena->used = 0;
}

void core_arena_destroy(struct core_arena *arena) {
    if (arena->base != NULL) {
        MUST(munmap(arena->base, arena->cap) == 0);
    }
    *arena = (struct core_arena){0};
}
