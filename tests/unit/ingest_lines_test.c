/* tests/unit/ingest_lines_test.c: bytes to lines, against a plain splitter that sees all bytes at once; through a file, a
 * pipe and a .gz, with the boundary of a read at every place.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <zlib.h>

#include "ingest/ingest_internal.h"

#define LINES_MAX 400000

struct want {
    size_t at, len; /* of the text, in the bytes; at most the head of a line that is cut */
    uint64_t start, end, number;
    unsigned flags;
};

static struct want wants[LINES_MAX];
static struct core_pool pool;
static struct core_counters counters;
static const struct core_origin origin = {.type = CORE_ORIGIN_AUTO};
static char path[] = "/tmp/tapline-lines-XXXXXX";
static uint32_t seed = 1;

static uint32_t next_random(uint32_t below) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

/* The rules, as plainly as they can be written. */
static size_t split(const char *bytes, size_t len) {
    size_t n = 0;
    uint64_t number = 0;
    uint64_t record_end = 0;
    for (size_t at = 0; at < len;) {
        if (bytes[at] == '\0') {
            at++;
            continue;
        }
        size_t end = at;
        while (end < len && bytes[end] != '\n') {
            end++;
        }
        const size_t next = end < len ? end + 1 : end;
        if (end > at && bytes[end - 1] == '\r') {
            end--;
        }
        number++;
        if (end > at) {
            const bool is_cut = end - at > CORE_LINE_BYTES_MAX;
            wants[n] = (struct want){.at = at,
                                     .len = is_cut ? INGEST_CUT_HEAD_BYTES : end - at,
                                     .start = record_end,
                                     .end = next,
                                     .number = number,
                                     .flags = (is_cut ? CORE_LINE_CUT : 0u) |
                                              (bytes[at] == '#' && !is_cut ? CORE_LINE_CONTEXT : 0u)};
            record_end = bytes[at] == '#' ? record_end : next;
            n++;
            assert_true(n < LINES_MAX);
        }
        at = next;
    }
    return n;
}

/* Everything that comes out of `from` is what split() says of the bytes. Returns how it ended. */
static enum core_err check_reader(const char *from, const char *bytes, size_t len, struct core_fail *fail) {
    struct ingest_reader *reader = NULL;
    const size_t n = split(bytes, len);
    size_t i = 0;
    uint64_t accepted = 0;
    assert_int_equal(ingest_reader_open(&reader, from, "n", &origin, &counters, fail), CORE_OK);
    enum core_err err = CORE_OK;
    for (uint64_t seq = 0; err == CORE_OK; seq++) {
        struct core_batch *batch = core_pool_take(&pool);
        err = ingest_reader_next(reader, batch, fail);
        assert_int_equal(batch->seq, seq);
        assert_int_equal(batch->is_last, err != CORE_OK);
        assert_int_equal(batch->lines_len > 0, err == CORE_OK);
        for (uint32_t k = 0; k < batch->lines_len; k++, i++) {
            const struct core_line *line = &batch->lines[k];
            assert_true(i < n);
            assert_int_equal(line->text.len, wants[i].len);
            assert_memory_equal(line->text.ptr, bytes + wants[i].at, wants[i].len);
            assert_int_equal(line->start, wants[i].start);
            assert_int_equal(line->end, wants[i].end);
            assert_int_equal(line->number, wants[i].number);
            assert_int_equal(line->flags, wants[i].flags);
            accepted = (line->flags & CORE_LINE_CONTEXT) != 0 ? accepted : line->end;
        }
        assert_int_equal(batch->accepted_end, accepted);
        core_pool_give(&pool, batch);
    }
    assert_int_equal(i, n);
    ingest_reader_close(reader);
    return err;
}

static void write_file(const char *bytes, size_t len) {
    const int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

static void check_file(const char *bytes, size_t len) {
    struct core_fail fail = {0};
    write_file(bytes, len);
    assert_int_equal(check_reader(path, bytes, len, &fail), CORE_GONE);
}

static void check_gz(const char *bytes, size_t len) {
    struct core_fail fail = {0};
    gzFile gz = gzopen(path, "wb1");
    assert_int_equal(gzwrite(gz, bytes, (unsigned)len), (int)len);
    assert_int_equal(gzclose(gz), Z_OK);
    assert_int_equal(check_reader(path, bytes, len, &fail), CORE_GONE);
}

/* The same through stdin, written in pieces of at most step bytes. */
static void check_pipe(const char *bytes, size_t len, uint32_t step) {
    struct core_fail fail = {0};
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    const int saved = dup(STDIN_FILENO);
    const pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        for (size_t at = 0; at < len;) {
            size_t n = 1 + next_random(step);
            n = n < len - at ? n : len - at;
            const ssize_t put = write(fds[1], bytes + at, n);
            if (put < 0) {
                _exit(1);
            }
            at += (size_t)put;
        }
        _exit(0);
    }
    close(fds[1]);
    assert_int_equal(dup2(fds[0], STDIN_FILENO), STDIN_FILENO);
    close(fds[0]);
    assert_int_equal(check_reader("-", bytes, len, &fail), CORE_GONE);
    assert_int_equal(dup2(saved, STDIN_FILENO), STDIN_FILENO);
    close(saved);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void check_all(const char *bytes, size_t len) {
    check_file(bytes, len);
    check_gz(bytes, len);
    check_pipe(bytes, len, 100000);
}

static int setup(void **state) {
    (void)state;
    struct core_fail fail = {0};
    core_log_level(CORE_LEVEL_ERROR);
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return core_pool_init(&pool, 2, &fail) == CORE_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    core_pool_destroy(&pool);
    unlink(path);
    return 0;
}

static void small_cases(void **state) {
    (void)state;
    static const struct core_span cases[] = {
        CORE_SPAN(""),
        CORE_SPAN("\n"),
        CORE_SPAN("\r\n"),
        CORE_SPAN("\r"),
        CORE_SPAN("a"),
        CORE_SPAN("a\n"),
        CORE_SPAN("a\r\nb\r\n"),
        CORE_SPAN("a\r\r\nb\rc\n"),
        CORE_SPAN("\n\na\n\nb\n\n"),
        CORE_SPAN("#h\na\n"),
        CORE_SPAN("a\n#c\n\n#d\nb\n#e\n"),
        CORE_SPAN("\0\0\0a\nb\0c\n\0\0d"),
        CORE_SPAN("a\n\0\0"),
        CORE_SPAN("\0\n\0\r\n\0#x\n"),
        CORE_SPAN(" \n\t\n"),
        CORE_SPAN("\x1f"),
        CORE_SPAN("\x1f\x8b"),
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_all(cases[i].ptr, cases[i].len);
    }
}

static void counters_tell_what_was_skipped(void **state) {
    (void)state;
    counters = (struct core_counters){0};
    check_file("\0\0\0a\n\n#c\r\n\r\nb\0\nc", 17);
    assert_int_equal(core_counted(&counters, CORE_COUNT_INGEST_LINES), 3);
    assert_int_equal(core_counted(&counters, CORE_COUNT_INGEST_LINES_BLANK), 2);
    assert_int_equal(core_counted(&counters, CORE_COUNT_INGEST_NUL_BYTES), 3);
    assert_int_equal(core_counted(&counters, CORE_COUNT_INGEST_BYTES), 17);
    assert_int_equal(core_counted(&counters, CORE_COUNT_INGEST_FILES_OPENED), 1);
}

/* The end of the first read at every byte of a nasty passage. */
static void every_boundary(void **state) {
    (void)state;
    static const struct core_span nasty = CORE_SPAN("one\r\n\r\n\n\0\0\0two\0x\r\n#c1\n\0#c2\r\n\0\n\r\nthree\nfour");
    const size_t len = INGEST_READ_BYTES + nasty.len;
    char *bytes = malloc(len);
    for (size_t k = 0; k <= nasty.len; k++) {
        const size_t at = INGEST_READ_BYTES - k;
        for (size_t i = 0; i < at; i++) {
            bytes[i] = i % 1000 == 999 || i == at - 1 ? '\n' : 'p';
        }
        memcpy(bytes + at, nasty.ptr, nasty.len);
        check_file(bytes, at + nasty.len);
        if (k % 8 == 0) {
            check_gz(bytes, at + nasty.len);
        }
    }
    free(bytes);
}

static void random_bytes(void **state) {
    (void)state;
    static const char alphabet[] = {'a', 'b', '\n', '\n', '\r', '\0', '#', 'c'};
    char *bytes = malloc(600000);
    for (int round = 0; round < 60; round++) {
        const size_t len = next_random(round % 10 == 0 ? 600000 : 3000);
        const uint32_t dense = 1 + next_random(40); /* how long lines are, about */
        for (size_t i = 0; i < len; i++) {
            bytes[i] = next_random(dense) == 0 ? alphabet[next_random(sizeof(alphabet))] : 'x';
        }
        check_all(bytes, len);
        if (len < 3000) {
            check_pipe(bytes, len, 3);
        }
    }
    free(bytes);
}

/* Lines around the maximum, with and without '\r', first, between others, last, and without an end. */
static void lines_around_the_maximum(void **state) {
    (void)state;
    static const long over[] = {-1, 0, 1, 2, 70000};
    static const char *const ends[] = {"\n", "\r\n", ""};
    char *bytes = malloc(4 * CORE_MIB);
    for (size_t i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
        for (size_t k = 0; k < sizeof(ends) / sizeof(ends[0]); k++) {
            for (int before = 0; before < 2; before++) {
                size_t len = 0;
                if (before == 1) {
                    len += (size_t)sprintf(bytes, "#h\nbefore\n\n");
                }
                const size_t text = (size_t)((long)CORE_LINE_BYTES_MAX + over[i]);
                memset(bytes + len, 'L', text);
                bytes[len + 1] = (char)('a' + (char)i);
                len += text;
                len += (size_t)sprintf(bytes + len, "%s", ends[k]);
                if (ends[k][0] != '\0') {
                    len += (size_t)sprintf(bytes + len, "#c\nafter\nlast");
                }
                counters = (struct core_counters){0};
                check_all(bytes, len);
                assert_int_equal(core_counted(&counters, CORE_COUNT_INGEST_LINES_CUT), over[i] > 0 ? 3 : 0);
            }
        }
    }
    free(bytes);
}

static void very_long_lines_and_holes(void **state) {
    (void)state;
    const size_t len = 40 * CORE_MIB;
    char *bytes = calloc(1, len);
    memset(bytes, 'L', 20 * CORE_MIB);
    bytes[20 * CORE_MIB] = '\n'; /* then 10 MiB of NULs, a line, NULs to the end */
    memcpy(bytes + 30 * CORE_MIB, "found\n", 6);
    check_all(bytes, len);
    free(bytes);
}

static void a_gz_that_was_cut_gives_its_whole_lines(void **state) {
    (void)state;
    struct core_fail fail = {0};
    static char text[200000];
    size_t len = 0;
    for (int i = 0; len < sizeof(text) - 100; i++) {
        len += (size_t)sprintf(text + len, "line %d %u\n", i, next_random(1000000));
    }
    gzFile gz = gzopen(path, "wb6");
    assert_int_equal(gzwrite(gz, text, (unsigned)len), (int)len);
    assert_int_equal(gzclose(gz), Z_OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size / 2), 0);

    struct ingest_reader *reader = NULL;
    uint64_t end = 0;
    assert_int_equal(ingest_reader_open(&reader, path, "n", &origin, &counters, &fail), CORE_OK);
    enum core_err err = CORE_OK;
    while (err == CORE_OK) {
        struct core_batch *batch = core_pool_take(&pool);
        err = ingest_reader_next(reader, batch, &fail);
        for (uint32_t k = 0; k < batch->lines_len; k++) {
            const struct core_line *line = &batch->lines[k];
            assert_int_equal(line->start, end);
            assert_memory_equal(line->text.ptr, text + line->start, line->text.len);
            assert_int_equal(text[line->end - 1], '\n'); /* no half line */
            end = line->end;
        }
        core_pool_give(&pool, batch);
    }
    assert_int_equal(err, CORE_IO);
    assert_true(end > len / 4 && end < len);
    assert_non_null(strstr(fail.text, "ends before its end mark"));
    assert_string_equal(fail.where, path);
    ingest_reader_close(reader);
}

static void what_cannot_be_opened(void **state) {
    (void)state;
    struct core_fail fail = {0};
    struct ingest_reader *reader = NULL;
    assert_int_equal(ingest_reader_open(&reader, "/nowhere/x.log", "n", &origin, &counters, &fail), CORE_IO);
    assert_null(reader);
    assert_string_equal(fail.where, "/nowhere/x.log");
    assert_int_equal(ingest_reader_open(&reader, "/tmp", "n", &origin, &counters, &fail), CORE_IO);
    assert_non_null(strstr(fail.text, "directory"));
    ingest_reader_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_cases),
        cmocka_unit_test(counters_tell_what_was_skipped),
        cmocka_unit_test(every_boundary),
        cmocka_unit_test(random_bytes),
        cmocka_unit_test(lines_around_the_maximum),
        cmocka_unit_test(very_long_lines_and_holes),
        cmocka_unit_test(a_gz_that_was_cut_gives_its_whole_lines),
        cmocka_unit_test(what_cannot_be_opened),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
