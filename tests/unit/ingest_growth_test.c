/* Tests for ingest/growth.c: the time of a byte is that of its writing, however a file grew, and however long nobody asked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest_rig.h"

#include <inttypes.h>

#define S CORE_NS_PER_S
#define MS CORE_NS_PER_MS

static void assert_about(int64_t have, int64_t want, int64_t off) {
    if (have < want - off || have > want + off) {
        fail_msg("%" PRId64 " ms, not %" PRId64 " ms", have / MS, want / MS);
    }
}

static void test_a_steady_file_is_exact(void **state) {
    (void)state;
    struct ingest_growth growth = {0};
    ingest_growth_begin(&growth, 0, 0, 0, 0);
    for (int64_t half = 1; half <= 2 * 3600; half++) { /* 1000 bytes a second, for an hour, nothing accepted */
        ingest_growth_see(&growth, (uint64_t)half * 500, half * S / 2, half * S / 2);
    }
    assert_true(growth.len <= INGEST_GROWTH_POINTS_MAX);
    for (uint64_t at = 0; at < 3600000; at += 997) {
        assert_about(ingest_growth_when(&growth, at), (int64_t)at * MS, 1 * MS);
    }
}

static void test_a_file_that_stood_still(void **state) {
    (void)state;
    struct ingest_growth growth = {0};
    ingest_growth_begin(&growth, 1000, 0, 1 * S, 2 * S);
    ingest_growth_see(&growth, 1000, 1 * S, 3600 * S);
    ingest_growth_see(&growth, 5000, 3600 * S + 400 * MS, 3600 * S + 500 * MS);
    /* Byte 1000 came within the last half second, not in the hour of silence. */
    assert_about(ingest_growth_when(&growth, 1000), 3600 * S, 0);
    assert_about(ingest_growth_when(&growth, 4999), 3600 * S + 400 * MS, 1 * MS);
    assert_about(ingest_growth_when(&growth, 500), 500 * MS, 1 * MS);
    ingest_growth_forget(&growth, 1000);
    assert_about(ingest_growth_when(&growth, 1000), 3600 * S, 0);
}

static void test_rates_that_change_stay_within_a_second(void **state) {
    (void)state;
    static int64_t when[1 << 16]; /* of each thousandth byte */
    struct ingest_growth growth = {0};
    uint64_t size = 0;
    uint32_t seed = 7;
    ingest_growth_begin(&growth, 0, 0, 0, 0);
    for (int64_t half = 1; half <= 1200; half++) { /* ten minutes; another rate each minute */
        seed = half % 120 == 1 ? seed * 1664525 + 1013904223 : seed;
        uint64_t more = 1000 * (1 + (seed >> 27));
        for (uint64_t k = 1; k <= more / 1000; k++) {
            when[size / 1000] = (half - 1) * S / 2 + (int64_t)(k * 500 * MS / (more / 1000));
            size += 1000;
        }
        ingest_growth_see(&growth, size, half * S / 2, half * S / 2);
    }
    assert_true(size / 1000 < sizeof(when) / sizeof(when[0]));
    for (uint64_t at = 0; at < size; at += 1000) {
        assert_about(ingest_growth_when(&growth, at), when[at / 1000], 1 * S);
    }
}

static void test_truncated(void **state) {
    (void)state;
    struct ingest_growth growth = {0};
    ingest_growth_begin(&growth, 1000, 0, 10 * S, 10 * S);
    ingest_growth_see(&growth, 300, 20 * S, 20 * S);
    assert_about(ingest_growth_when(&growth, 0), 10 * S, 0); /* not before the look that saw the old bytes */
    assert_about(ingest_growth_when(&growth, 299), 20 * S, 100 * MS);
}

static void test_clocks_of_a_writer_that_are_wrong(void **state) {
    (void)state;
    struct ingest_growth growth = {0};
    ingest_growth_begin(&growth, 100, 50 * S, 40 * S, 60 * S); /* born after its last write: a copied file */
    assert_about(ingest_growth_when(&growth, 0), 40 * S, 0);
    ingest_growth_see(&growth, 200, 9000 * S, 61 * S); /* from the future */
    assert_about(ingest_growth_when(&growth, 199), 61 * S, 20 * MS);
    ingest_growth_see(&growth, 300, 1 * S, 62 * S); /* from before the last look */
    assert_about(ingest_growth_when(&growth, 299), 61 * S, 20 * MS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_steady_file_is_exact),
        cmocka_unit_test(test_a_file_that_stood_still),
        cmocka_unit_test(test_rates_that_change_stay_within_a_second),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_clocks_of_a_writer_that_are_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
