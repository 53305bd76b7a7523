/* tests/unit/enrich_own_log_test.c: a log of our own has a line of each id once, whatever a crash left of it, and is bounded.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/lookback_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static char path[96];

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tapline-own-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/told.log", dir);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (int i = 0; i <= OWN_LOG_KEPT + 1; i++) {
        char old[128];
        snprintf(old, sizeof old, i == 0 ? "%s" : "%s.%d", path, i);
        unlink(old);
    }
    return rmdir(dir);
}

static struct own_log *log_open(void) {
    struct own_log *log;
    struct core_fail fail;
    assert_int_equal(own_log_open(&log, dir, "told", &fail), CORE_OK);
    return log;
}

static void add(struct own_log *log, uint64_t id, size_t padding) {
    static char line[4096];
    assert_true(padding < sizeof line - 64);
    int len =
        snprintf(line, sizeof line, "{\"id\":\"%016llx\",\"x\":\"%0*d\"}", (unsigned long long)id, (int)padding, 0);
    struct core_fail fail;
    assert_int_equal(own_log_add(log, id, (struct core_span){line, (size_t)len}, &fail), CORE_OK);
}

static void flush(struct own_log *log) {
    struct core_fail fail;
    assert_int_equal(own_log_flush(log, &fail), CORE_OK);
}

static off_t size_of(const char *name) {
    struct stat info;
    return stat(name, &info) == 0 ? info.st_size : -1;
}

/* Cut anywhere, as a kill in the midst of a write cuts: whole lines are known, the half one is gone, and what is appended
 * then stands on a line of its own. */
static void test_a_cut_line_is_removed(void **state) {
    (void)state;
    struct own_log *log = log_open();
    add(log, 1, 10);
    add(log, 0xfedcba9876543210, 10);
    flush(log);
    own_log_close(log);
    off_t whole = size_of(path);
    off_t line = whole / 2;
    for (off_t cut = whole; cut >= line; cut--) {
        assert_int_equal(truncate(path, cut), 0);
        log = log_open();
        assert_true(own_log_has(log, 1));
        assert_int_equal(own_log_has(log, 0xfedcba9876543210), cut == whole);
        assert_false(own_log_has(log, 2));
        assert_int_equal(size_of(path), cut == whole ? whole : line);
        if (cut < whole) {
            add(log, 0xfedcba9876543210, 10);
            flush(log);
            assert_int_equal(size_of(path), whole);
        }
        own_log_close(log);
    }
}

static void test_what_is_not_flushed_is_known_but_not_there(void **state) {
    (void)state;
    struct own_log *log = log_open();
    add(log, 7, 10);
    assert_true(own_log_has(log, 7));
    own_log_close(log);
    log = log_open();
    assert_false(own_log_has(log, 7));
    own_log_close(log);
}

/* The linker puts it in the place of fdatasync(). */
static bool sync_fails;
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd) {
    if (sync_fails) {
        errno = EIO;
        return -1;
    }
    return __real_fdatasync(fd);
}

/* What stands in the file and may not be on the disk is not written again. */
static void test_a_sync_that_fails_doubles_nothing(void **state) {
    (void)state;
    struct own_log *log = log_open();
    struct core_fail fail;
    add(log, 1, 10);
    sync_fails = true;
    assert_int_equal(own_log_flush(log, &fail), CORE_IO);
    off_t size = size_of(path);
    assert_int_equal(own_log_flush(log, &fail), CORE_IO);
    sync_fails = false;
    flush(log);
    assert_int_equal(size_of(path), size);
    add(log, 2, 10);
    flush(log);
    assert_int_equal(size_of(path), 2 * size);
    own_log_close(log);
}

static void room_set(rlim_t bytes) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* No room in the midst of a line: what is written stays, for its reader may have taken it; when there is room, the rest comes
 * behind it. Each line stands there once, wherever the room ended. */
static void test_a_full_disk_doubles_nothing(void **state) {
    (void)state;
    struct core_fail fail;
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t room = 1; room < 8 * 43; room += 7) {
        struct own_log *log = log_open();
        for (uint64_t id = 1; id <= 8; id++) {
            add(log, id, 10);
        }
        room_set(room);
        assert_int_equal(own_log_flush(log, &fail), CORE_IO);
        off_t before = size_of(path);
        assert_int_equal(before, room);
        add(log, 9, 10);
        assert_int_equal(own_log_flush(log, &fail), CORE_IO);
        assert_int_equal(size_of(path), before);
        room_set(RLIM_INFINITY);
        flush(log);
        own_log_close(log);
        FILE *file = fopen(path, "re");
        char line[256];
        for (unsigned long long id = 1; id <= 9; id++) {
            char wanted[64];
            snprintf(wanted, sizeof wanted, "{\"id\":\"%016llx\",\"x\":\"0000000000\"}\n", id);
            assert_non_null(fgets(line, sizeof line, file));
            assert_string_equal(line, wanted);
        }
        assert_null(fgets(line, sizeof line, file));
        fclose(file);
        unlink(path);
    }
}

/* Lines are written when many have been added, not at the end; what does not get through is not known either. */
static void test_what_is_gathered_is_bounded(void **state) {
    (void)state;
    struct own_log *log = log_open();
    struct core_fail fail;
    uint64_t id = 1;
    for (; id <= 600; id++) {
        add(log, id, 3980);
    }
    assert_true(size_of(path) > (off_t)CORE_MIB);
    signal(SIGXFSZ, SIG_IGN);
    room_set((rlim_t)size_of(path));
    char line[4096];
    enum core_err err = CORE_OK;
    for (; err == CORE_OK && id < 2000; id++) {
        int len = snprintf(line, sizeof line, "{\"id\":\"%016llx\",\"x\":\"%04000d\"}", (unsigned long long)id, 0);
        err = own_log_add(log, id, (struct core_span){line, (size_t)len}, &fail);
    }
    assert_int_equal(err, CORE_IO);
    assert_false(own_log_has(log, id - 1));
    room_set(RLIM_INFINITY);
    flush(log);
    assert_int_equal(size_of(path), 600 * 4013 + (id - 602) * 4033);
    own_log_close(log);
}

static void test_it_is_bounded(void **state) {
    (void)state;
    struct own_log *log = log_open();
    const uint64_t lines = 6 * OWN_LOG_BYTES_MAX / 4000;
    for (uint64_t id = 1; id <= lines; id++) {
        assert_false(own_log_has(log, id));
        add(log, id, 3980);
        if (id % 100 == 0) {
            flush(log);
        }
    }
    flush(log);
    char old[128];
    off_t all = size_of(path);
    for (int i = 1; i <= OWN_LOG_KEPT; i++) {
        snprintf(old, sizeof old, "%s.%d", path, i);
        assert_true(size_of(old) > (off_t)OWN_LOG_BYTES_MAX);
        all += size_of(old);
    }
    snprintf(old, sizeof old, "%s.%d", path, OWN_LOG_KEPT + 1);
    assert_int_equal(size_of(old), -1);
    assert_true(all < (off_t)((OWN_LOG_KEPT + 1) * (OWN_LOG_BYTES_MAX + CORE_MIB)));
    assert_true(own_log_has(log, lines));
    assert_false(own_log_has(log, 1)); /* so long ago that its file is gone */
    own_log_close(log);
    log = log_open();
    assert_true(own_log_has(log, lines));
    assert_true(own_log_has(log, lines / 2));
    assert_false(own_log_has(log, 1));
    own_log_close(log);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_cut_line_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_flushed_is_known_but_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_sync_that_fails_doubles_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk_doubles_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_gathered_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_is_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
