/* tests/unit/core_arena_test.c: what the arena promises: alignment, its stated maximum, memory given back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <sys/mman.h>

static void test_allocations_are_aligned_and_apart(void **state) {
    (void)state;
    struct core_arena arena;
    assert_int_equal(core_arena_init(&arena, 4096, NULL), CORE_OK);
    char *before_end = NULL;
    for (size_t len = 0; len < 40; len++) {
        char *bytes = core_arena_alloc(&arena, len);
        assert_non_null(bytes);
        assert_int_equal((uintptr_t)bytes % 8, 0);
        assert_true(before_end == NULL || bytes >= before_end);
        memset(bytes, 'x', len);
        before_end = bytes + len;
    }
    core_arena_destroy(&arena);
}

static void test_full_means_null_and_nothing_changes(void **state) {
    (void)state;
    struct core_arena arena;
    assert_int_equal(core_arena_init(&arena, 4096, NULL), CORE_OK);
    assert_null(core_arena_alloc(&arena, arena.cap + 1));
    assert_null(core_arena_alloc(&arena, SIZE_MAX));
    assert_int_equal(arena.used, 0);
    assert_non_null(core_arena_alloc(&arena, arena.cap));
    assert_null(core_arena_alloc(&arena, 1));
    assert_null(core_arena_copy(&arena, CORE_SPAN("")));
    assert_int_equal(arena.used, arena.cap);
    core_arena_destroy(&arena);
}

static void test_copy_ends_in_nul(void **state) {
    (void)state;
    struct core_arena arena;
    assert_int_equal(core_arena_init(&arena, 4096, NULL), CORE_OK);
    assert_string_equal(core_arena_copy(&arena, CORE_SPAN("hello")), "hello");
    assert_string_equal(core_arena_copy(&arena, (struct core_span){0}), "");
    core_arena_destroy(&arena);
}

static size_t resident_pages(const struct core_arena *arena) {
    size_t pages = arena->cap / 4096;
    unsigned char *is_in = calloc(pages, 1);
    assert_non_null(is_in);
    assert_int_equal(mincore(arena->base, arena->cap, is_in), 0);
    size_t count = 0;
    for (size_t i = 0; i < pages; i++) {
        count += is_in[i] & 1;
    }
    free(is_in);
    return count;
}

/* Also what a writer touched beyond what it then claimed. */
static void test_reset_gives_memory_back(void **state) {
    (void)state;
    struct core_arena arena;
    assert_int_equal(core_arena_init(&arena, 4 * CORE_MIB, NULL), CORE_OK);
    assert_int_equal(resident_pages(&arena), 0);
    memset(arena.base, 'x', 3 * CORE_MIB);
    assert_non_null(core_arena_alloc(&arena, 100));
    assert_true(resident_pages(&arena) >= 3 * CORE_MIB / 4096);
    core_arena_reset(&arena, CORE_MIB);
    assert_int_equal(arena.used, 0);
    assert_int_equal(resident_pages(&arena), CORE_MIB / 4096);
    core_arena_destroy(&arena);
    core_arena_destroy(&arena); /* takes a zeroed one */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations_are_aligned_and_apart),
        cmocka_unit_test(test_full_means_null_and_nothing_changes),
        cmocka_unit_test(test_copy_ends_in_nul),
        cmocka_unit_test(test_reset_gives_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
