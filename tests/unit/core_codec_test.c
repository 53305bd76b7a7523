/* tests/unit/core_codec_test.c: gunzip as a pull stream.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <zlib.h>

#include "core/codec.h"

#define TEXT_BYTES 300000
#define GZ_BYTES 700000

static char text[TEXT_BYTES];
static char gz[GZ_BYTES];

/* Bytes that come a few at a time; `fail_at` makes the source itself fail there, once. */
struct feed {
    const char *bytes;
    size_t len;
    size_t at;
    size_t step;
    size_t fail_at;
};

static enum core_err feed_read(void *ctx, char *buf, size_t cap, size_t *len, struct core_fail *fail) {
    struct feed *feed = ctx;
    if (feed->fail_at != 0 && feed->at >= feed->fail_at) {
        feed->fail_at = 0;
        return core_fail_set(fail, CORE_IO, "feed", "the disk failed");
    }
    size_t n = feed->len - feed->at;
    n = n < feed->step ? n : feed->step;
    n = n < cap ? n : cap;
    memcpy(buf, feed->bytes + feed->at, n);
    feed->at += n;
    *len = n;
    return CORE_OK;
}

static void make_text(void) {
    uint32_t seed = 7;
    for (size_t i = 0; i < TEXT_BYTES; i++) {
        seed = seed * 1664525u + 1013904223u;
        text[i] = (char)('a' + (seed >> 24) % 20);
    }
}

/* One gzip member behind gz[at]. Returns where it ends. */
static size_t add_member(size_t at, const char *bytes, size_t len) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)bytes;
    z.avail_in = (uInt)len;
    z.next_out = (unsigned char *)gz + at;
    z.avail_out = (uInt)(GZ_BYTES - at);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    const size_t end = GZ_BYTES - z.avail_out;
    deflateEnd(&z);
    return end;
}

/* Read all, `cap` bytes at a time; returns the error that ended it. The text must be right as far as it goes. */
static enum core_err read_all(struct feed *feed, size_t cap, size_t *got, bool *is_cut, struct core_fail *fail) {
    struct core_gunzip *gunzip = NULL;
    char *buf = malloc(cap);
    assert_int_equal(core_gunzip_open(&gunzip, feed_read, feed, "x.gz", fail), CORE_OK);
    enum core_err err;
    *got = 0;
    for (;;) {
        size_t len = 99;
        err = core_gunzip_read(gunzip, buf, cap, &len, fail);
        if (err != CORE_OK) {
            assert_int_equal(len, 0);
            break;
        }
        assert_true(len > 0 && len <= cap);
        assert_memory_equal(buf, text + *got, len);
        *got += len;
    }
    if (err != CORE_IO) {
        size_t len = 0;
        assert_int_equal(core_gunzip_read(gunzip, buf, cap, &len, fail), err); /* and it stays so */
    }
    *is_cut = core_gunzip_is_cut(gunzip);
    core_gunzip_close(gunzip);
    free(buf);
    return err;
}

static void members_are_one_text(void **state) {
    (void)state;
    size_t at = 0;
    for (size_t i = 0; i < 10; i++) {
        at = add_member(at, text + i * 10000, i % 3 == 2 ? 0 : 10000);
        if (i % 3 == 2) { /* an empty member is nothing */
            at = add_member(at, text + i * 10000, 10000);
        }
    }
    const size_t steps[] = {1, 7, 1000, GZ_BYTES};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct feed feed = {.bytes = gz, .len = at, .step = steps[i]};
        struct core_fail fail = {0};
        size_t got = 0;
        bool is_cut = true;
        assert_int_equal(read_all(&feed, i == 0 ? 3 : 4096, &got, &is_cut, &fail), CORE_GONE);
        assert_int_equal(got, 100000);
        assert_false(is_cut);
    }
}

static void a_cut_is_told_at_every_length(void **state) {
    (void)state;
    const size_t end = add_member(add_member(0, text, 200), text + 200, 200);
    const size_t first = add_member(0, text, 200);
    assert_int_equal(add_member(first, text + 200, 200), end);
    for (size_t len = 0; len < end; len++) {
        struct feed feed = {.bytes = gz, .len = len, .step = 5};
        struct core_fail fail = {0};
        size_t got = 0;
        bool is_cut = false;
        const enum core_err err = read_all(&feed, 64, &got, &is_cut, &fail);
        if (len == first) {
            assert_int_equal(err, CORE_GONE); /* a whole member is a whole file */
            assert_int_equal(got, 200);
            continue;
        }
        assert_int_equal(err, CORE_BAD);
        assert_true(is_cut);
        assert_string_equal(fail.where, "x.gz");
        assert_non_null(strstr(fail.text, "ends before its end mark"));
        assert_true(len < first ? got <= 200 : got >= 200);
    }
}

static void damage_is_told_after_the_good_bytes(void **state) {
    (void)state;
    const size_t end = add_member(0, text, TEXT_BYTES);
    gz[end / 2] = (char)(gz[end / 2] ^ 0x55);
    struct feed feed = {.bytes = gz, .len = end, .step = 999};
    struct core_fail fail = {0};
    struct core_gunzip *gunzip = NULL;
    char buf[1000];
    size_t good = 0;
    enum core_err err;
    assert_int_equal(core_gunzip_open(&gunzip, feed_read, &feed, "x.gz", &fail), CORE_OK);
    for (size_t got = 0;; got = good) {
        size_t len = 0;
        err = core_gunzip_read(gunzip, buf, sizeof(buf), &len, &fail);
        if (err != CORE_OK) {
            break;
        }
        good = got + len;
    }
    assert_int_equal(err, CORE_BAD);
    assert_false(core_gunzip_is_cut(gunzip));
    assert_true(good > TEXT_BYTES / 4);
    assert_non_null(strstr(fail.text, "damaged gzip data at compressed byte"));
    core_gunzip_close(gunzip);
}

static void a_wrong_checksum_is_told(void **state) {
    (void)state;
    const size_t end = add_member(0, text, 1000);
    gz[end - 8] = (char)(gz[end - 8] ^ 1);
    struct feed feed = {.bytes = gz, .len = end, .step = 100};
    struct core_fail fail = {0};
    size_t got = 0;
    bool is_cut = false;
    assert_int_equal(read_all(&feed, 100, &got, &is_cut, &fail), CORE_BAD);
    assert_int_equal(got, 1000);
    assert_non_null(strstr(fail.text, "incorrect data check"));
}

static void zeros_behind_the_end_are_padding_and_others_are_not(void **state) {
    (void)state;
    const size_t end = add_member(0, text, 1000);
    memset(gz + end, 0, 600);
    struct core_fail fail = {0};
    size_t got = 0;
    bool is_cut = false;
    struct feed padded = {.bytes = gz, .len = end + 600, .step = 77};
    assert_int_equal(read_all(&padded, 100, &got, &is_cut, &fail), CORE_GONE);
    assert_int_equal(got, 1000);
    memcpy(gz + end + 10, "garbage", 7);
    struct feed garbage = {.bytes = gz, .len = end + 17, .step = 77};
    assert_int_equal(read_all(&garbage, 100, &got, &is_cut, &fail), CORE_BAD);
    assert_int_equal(got, 1000);
    assert_non_null(strstr(fail.text, "no gzip member"));
    assert_false(is_cut);
}

static void no_gzip_at_all(void **state) {
    (void)state;
    struct core_fail fail = {0};
    size_t got = 0;
    bool is_cut = false;
    struct feed feed = {.bytes = "hello, this is no gzip", .len = 22, .step = 22};
    assert_int_equal(read_all(&feed, 100, &got, &is_cut, &fail), CORE_BAD);
    assert_int_equal(got, 0);
}

static void a_failing_source_may_be_tried_again(void **state) {
    (void)state;
    const size_t end = add_member(0, text, 100000);
    struct feed feed = {.bytes = gz, .len = end, .step = 512, .fail_at = end / 2};
    struct core_fail fail = {0};
    struct core_gunzip *gunzip = NULL;
    char buf[4096];
    size_t got = 0;
    int failures = 0;
    assert_int_equal(core_gunzip_open(&gunzip, feed_read, &feed, "x.gz", &fail), CORE_OK);
    for (;;) {
        size_t len = 0;
        const enum core_err err = core_gunzip_read(gunzip, buf, sizeof(buf), &len, &fail);
        if (err == CORE_GONE) {
            break;
        }
        if (err == CORE_IO) {
            assert_string_equal(fail.text, "the disk failed");
            failures++;
            continue;
        }
        assert_int_equal(err, CORE_OK);
        assert_memory_equal(buf, text + got, len);
        got += len;
    }
    assert_int_equal(failures, 1);
    assert_int_equal(got, 100000);
    core_gunzip_close(gunzip);
    core_gunzip_close(NULL);
}

static void magic_needs_three_bytes(void **state) {
    (void)state;
    assert_true(core_gzip_is_magic(CORE_SPAN("\x1f\x8b\x08rest")));
    assert_false(core_gzip_is_magic(CORE_SPAN("\x1f\x8b")));
    assert_false(core_gzip_is_magic(CORE_SPAN("#se")));
    assert_false(core_gzip_is_magic((struct core_span){0}));
}

struct sunk {
    size_t len;
    size_t fail_at; /* 0: never */
};

static enum core_err sink_write(void *ctx, const char *bytes, size_t len, struct core_fail *fail) {
    struct sunk *sunk = ctx;
    if (sunk->fail_at != 0 && sunk->len + len >= sunk->fail_at) {
        return core_fail_set(fail, CORE_IO, "sink", "the disk is full");
    }
    assert_true(sunk->len + len <= sizeof(gz));
    memcpy(gz + sunk->len, bytes, len);
    sunk->len += len;
    return CORE_OK;
}

/* What is written comes back; of a damaged member nothing counts as good, of those before it all does. */
static void written_members_are_read(bool is_stored) {
    struct core_fail fail = {0};
    struct core_gzip *gzip = NULL;
    struct sunk sunk = {0};
    char plain[1000];
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (char)core_hash64(&i, sizeof(i), 0);
    }
    assert_int_equal(core_gzip_open(&gzip, sink_write, &sunk, "x.gz", &fail), CORE_OK);
    if (is_stored) {
        core_gzip_store(gzip);
    }
    size_t ends[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(core_gzip_write(gzip, plain, 600, &fail), CORE_OK);
        assert_int_equal(core_gzip_write(gzip, plain + 600, 400, &fail), CORE_OK);
        assert_int_equal(core_gzip_finish(gzip, &fail), CORE_OK);
        ends[i] = sunk.len;
    }
    core_gzip_close(gzip);
    for (int is_damaged = 0; is_damaged < 2; is_damaged++) {
        gz[ends[1] + (ends[2] - ends[1]) / 2] ^= is_damaged != 0 ? 0x55 : 0;
        struct feed feed = {.bytes = gz, .len = sunk.len, .step = 100};
        struct core_gunzip *gunzip = NULL;
        assert_int_equal(core_gunzip_open(&gunzip, feed_read, &feed, "x.gz", &fail), CORE_OK);
        char got[4000];
        size_t len = 0;
        size_t n = 0;
        enum core_err err = CORE_OK;
        for (; err == CORE_OK; len += n) {
            err = core_gunzip_read(gunzip, got + len, sizeof(got) - len, &n, &fail);
        }
        assert_int_equal(err, is_damaged != 0 ? CORE_BAD : CORE_GONE);
        assert_int_equal(core_gunzip_good(gunzip), is_damaged != 0 ? 2000 : 3000);
        assert_memory_equal(got, plain, sizeof(plain));
        assert_memory_equal(got + 1000, plain, sizeof(plain));
        core_gunzip_close(gunzip);
    }
}

static void members_that_were_written_are_read(void **state) {
    (void)state;
    written_members_are_read(false);
    written_members_are_read(true);
}

static void a_failing_sink_is_told(void **state) {
    (void)state;
    struct core_fail fail = {0};
    struct core_gzip *gzip = NULL;
    struct sunk sunk = {.fail_at = 15};
    assert_int_equal(core_gzip_open(&gzip, sink_write, &sunk, "x.gz", &fail), CORE_OK);
    assert_int_equal(core_gzip_write(gzip, "text", 4, &fail), CORE_OK);
    assert_int_equal(core_gzip_finish(gzip, &fail), CORE_IO);
    assert_string_equal(fail.text, "the disk is full");
    core_gzip_close(gzip);
}

int main(void) {
    make_text();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_one_text),
        cmocka_unit_test(a_cut_is_told_at_every_length),
        cmocka_unit_test(damage_is_told_after_the_good_bytes),
        cmocka_unit_test(a_wrong_checksum_is_told),
        cmocka_unit_test(zeros_behind_the_end_are_padding_and_others_are_not),
        cmocka_unit_test(no_gzip_at_all),
        cmocka_unit_test(a_failing_source_may_be_tried_again),
        cmocka_unit_test(members_that_were_written_are_read),
        cmocka_unit_test(a_failing_sink_is_told),
        cmocka_unit_test(magic_needs_three_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
