/* tests/unit/core_batch_test.c: the pool is fixed, a batch comes back empty, record ids sort as positions do.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void test_the_pool_is_fixed(void **state) {
    (void)state;
    struct core_pool pool;
    struct core_batch *taken[3];
    assert_int_equal(core_pool_init(&pool, 3, NULL), CORE_OK);
    for (size_t i = 0; i < 3; i++) {
        taken[i] = core_pool_take(&pool);
        assert_non_null(taken[i]);
        assert_int_equal(taken[i]->magic, CORE_BATCH_MAGIC);
    }
    assert_null(core_pool_take(&pool));
    core_pool_give(&pool, taken[1]);
    assert_ptr_equal(core_pool_take(&pool), taken[1]);
    assert_null(core_pool_take(&pool));
    core_pool_destroy(&pool);
}

static void test_a_batch_comes_back_empty(void **state) {
    (void)state;
    struct core_pool pool;
    struct core_stream stream = {.magic = CORE_STREAM_MAGIC};
    assert_int_equal(core_pool_init(&pool, 1, NULL), CORE_OK);
    struct core_batch *batch = core_pool_take(&pool);
    char *segment = batch->segment;
    memset(segment, 'x', CORE_SEGMENT_BYTES);
    batch->stream = &stream;
    batch->seq = 7;
    batch->is_last = true;
    batch->lines_len = batch->events_len = CORE_BATCH_LINES_MAX;
    batch->lines[CORE_BATCH_LINES_MAX - 1].end = 1;
    batch->events[CORE_BATCH_LINES_MAX - 1].end = 1;
    batch->sink_pending = 3;
    assert_non_null(core_arena_alloc(&batch->arena, 1000));
    core_pool_give(&pool, batch);
    assert_ptr_equal(core_pool_take(&pool), batch);
    assert_ptr_equal(batch->segment, segment);
    assert_null(batch->stream);
    assert_int_equal(batch->seq, 0);
    assert_false(batch->is_last);
    assert_int_equal(batch->lines_len + batch->events_len, 0);
    assert_int_equal(batch->sink_pending, 0);
    assert_int_equal(batch->arena.used, 0);
    core_pool_destroy(&pool);
    assert_null(pool.batches);
}

static void test_record_ids(void **state) {
    (void)state;
    char id[33] = "";
    char next[33] = "";
    core_record_id(0x0123456789abcdefu, 0xfedcba9876543210u, id);
    assert_string_equal(id, "0123456789abcdeffedcba9876543210");
    core_record_id(0, 0, id);
    assert_string_equal(id, "00000000000000000000000000000000");
    uint64_t positions[] = {0, 1, 9, 10, 255, 256, 65535, 65536, UINT64_MAX};
    for (size_t i = 0; i + 1 < sizeof positions / sizeof positions[0]; i++) {
        core_record_id(42, positions[i], id);
        core_record_id(42, positions[i + 1], next);
        assert_true(strcmp(id, next) < 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_pool_is_fixed),
        cmocka_unit_test(test_a_batch_comes_back_empty),
        cmocka_unit_test(test_record_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
