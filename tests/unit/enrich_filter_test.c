/* tests/unit/enrich_filter_test.c: what was added is found, always; what was not is not, nearly always; ten million fit in
 * 64 MiB; one thread adds while another looks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>

#define TEN_MILLION ((size_t)10000000)
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define MANY (TEN_MILLION / 20) /* a sanitizer is slow, and looks for other mistakes */
#else
#define MANY TEN_MILLION
#endif

/* The n-th of a sequence of hashes without pattern (splitmix64); as no two are the same, those of one seed's first half
 * stand for indicators and those of its second half for what is none. */
static uint64_t hash_of(uint64_t n) {
    uint64_t z = (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static struct filter *filter_of(size_t items) {
    struct filter *filter;
    struct core_fail fail;
    assert_int_equal(filter_new(&filter, items, &fail), CORE_OK);
    return filter;
}

static void test_ten_million_fit(void **state) {
    (void)state;
    /* As the follower makes it: with a quarter more, and 64 Ki. */
    struct filter *filter = filter_of(TEN_MILLION + TEN_MILLION / 4 + 65536);
    assert_true(filter_bytes(filter) < 64 * CORE_MIB);
    int64_t start = core_tick_ns();
    for (size_t i = 0; i < MANY; i++) {
        assert_true(filter_add(filter, hash_of(i)));
    }
    int64_t added = core_tick_ns();
    for (size_t i = 0; i < MANY; i++) {
        if (!filter_has(filter, hash_of(i))) {
            fail_msg("number %zu was added and is not found", i);
        }
    }
    int64_t found = core_tick_ns();
    size_t wrong = 0;
    for (size_t i = MANY; i < 2 * MANY; i++) {
        wrong += filter_has(filter, hash_of(i));
    }
    print_message(
        "10 M have %zu bytes; %zu: added in %lld ms, found in %lld ms, %zu others look as if they were in it\n",
        filter_bytes(filter), MANY, (long long)((added - start) / CORE_NS_PER_MS),
        (long long)((found - added) / CORE_NS_PER_MS), wrong);
    assert_true(wrong <= 10); /* 0.04 are expected */
    /* Fewer by those that look like another one in the same line. */
    assert_true(filter_len(filter) <= MANY && filter_len(filter) > MANY - 1000);
    assert_false(filter_is_crowded(filter));
    filter_free(filter);
}

/* All sizes from 1 on, each until it is full: what it took is found, what it refused is said. */
static void test_full_ones_forget_nothing(void **state) {
    (void)state;
    for (size_t items = 1; items < 3000; items += 1 + items / 7) {
        struct filter *filter = filter_of(items);
        size_t taken = 0;
        while (filter_add(filter, hash_of(items * 100000 + taken))) {
            taken++;
            assert_true(taken < 2 * items + 64);
        }
        assert_true(taken >= items);
        assert_true(filter_is_crowded(filter));
        for (size_t i = 0; i < taken; i++) {
            assert_true(filter_has(filter, hash_of(items * 100000 + i)));
            assert_true(filter_add(filter, hash_of(items * 100000 + i))); /* again: it is there */
        }
        assert_true(filter_len(filter) <= taken);
        filter_free(filter);
    }
}

static void test_crowded_past_what_it_was_made_for(void **state) {
    (void)state;
    struct filter *filter = filter_of(1000);
    for (size_t i = 0; i < 1000; i++) {
        assert_true(filter_add(filter, hash_of(i)));
    }
    assert_false(filter_is_crowded(filter));
    assert_true(filter_add(filter, hash_of(1000)));
    assert_true(filter_is_crowded(filter));
    filter_free(filter);
}

/* A fingerprint of zero would look like an empty slot; the first and the last line have neighbours, too. */
static void test_hashes_at_the_edges(void **state) {
    (void)state;
    static const uint64_t edges[] = {0, UINT32_MAX, UINT64_MAX - UINT32_MAX, UINT64_MAX};
    struct filter *filter = filter_of(1000);
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        assert_false(filter_has(filter, edges[i]));
        assert_true(filter_add(filter, edges[i]));
        assert_true(filter_has(filter, edges[i]));
    }
    for (uint64_t i = 2; i < 40; i++) { /* all into the last line: it runs over into the first */
        assert_true(filter_add(filter, UINT64_MAX - i));
    }
    for (uint64_t i = 2; i < 40; i++) {
        assert_true(filter_has(filter, UINT64_MAX - i));
    }
    filter_free(filter);
}

static void test_too_many_are_refused(void **state) {
    (void)state;
    struct filter *filter;
    struct core_fail fail;
    assert_int_equal(filter_new(&filter, FILTER_ITEMS_MAX + 1, &fail), CORE_LIMIT);
    assert_null(filter);
    filter_free(NULL);
}

/* ---- one adds, one looks ------------------------------------------------------------------------------------------------------ */

#define BOTH_ITEMS 200000

struct both {
    struct filter *filter;
    _Atomic size_t added;
};

static void *add_all(void *arg) {
    struct both *both = arg;
    for (size_t i = 0; i < BOTH_ITEMS; i++) {
        MUST(filter_add(both->filter, hash_of(i)));
        atomic_store_explicit(&both->added, i + 1, memory_order_release);
    }
    return NULL;
}

static void test_found_while_others_are_added(void **state) {
    (void)state;
    struct both both = {.filter = filter_of(BOTH_ITEMS)};
    pthread_t thread;
    uint64_t random = 0;
    size_t looked = 0;
    assert_int_equal(pthread_create(&thread, NULL, add_all, &both), 0);
    for (size_t added = 0; added < BOTH_ITEMS; looked++) {
        added = atomic_load_explicit(&both.added, memory_order_acquire);
        if (added > 0) {
            random = hash_of(random);
            assert_true(filter_has(both.filter, hash_of(added - 1)));
            assert_true(filter_has(both.filter, hash_of(random % added)));
        }
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(looked > 0);
    filter_free(both.filter);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_million_fit),
        cmocka_unit_test(test_full_ones_forget_nothing),
        cmocka_unit_test(test_crowded_past_what_it_was_made_for),
        cmocka_unit_test(test_hashes_at_the_edges),
        cmocka_unit_test(test_too_many_are_refused),
        cmocka_unit_test(test_found_while_others_are_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
