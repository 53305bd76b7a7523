/* tests/unit/supervisor_state_test.c: the state file: whole or refused, and never missing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOM (64 * CORE_MIB)
#define TEXT_MAX 8192
#define NOBODY 65534

static struct core_arena arena;
static char dir[64];

static char *path_of(const char *name) {
    static char paths[4][128];
    static size_t next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

static int setup(void **state) {
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/tapline-state-XXXXXX");
    return mkdtemp(dir) != NULL && core_arena_init(&arena, ROOM, NULL) == CORE_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    static const char *const names[] = {"supervisor.state", "supervisor.state.old", "supervisor.state.tmp",
                                        "supervisor.state.old.tmp", "supervisor.state.damaged"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)remove(path_of(names[i]));
    }
    core_arena_destroy(&arena);
    return rmdir(dir);
}

static struct supervisor_row rows[2] = {
    {.spec = {"{\"name\":\"a\",\"argv\":[\"x\"]}", 25},
     .running_spec = {"{\"name\":\"a\",\"argv\":[\"y\"]}", 25},
     .is_wanted = true,
     .state = SUPERVISOR_UP,
     .pid = {.pid = 4711,
             .pidfd = 7,
             .start_ticks = UINT64_C(123456789012),
             .cookie = "0123456789abcdef0123456789abcdef",
             .is_child = true,
             .ready_fd = 8,
             .spawned_ns = INT64_C(1795320000000000001),
             .output_from = {17, INT64_C(1) << 40}},
     .state_since_ns = INT64_C(1795320000000000002),
     .deaths_len = 2,
     .deaths_ns = {INT64_C(1795310000000000000), INT64_C(1795310000000000001)},
     .deaths = 9,
     .starts = 10,
     .end_ns = INT64_C(1795310000000000001),
     .end_status = 11},
    {.spec = {"{\"name\":\"b\",\"argv\":[\"x\"]}", 25},
     .state = SUPERVISOR_LATCHED,
     .deaths_len = SUPERVISOR_DEATHS_MAX,
     .end_status = SUPERVISOR_END_UNKNOWN},
};
static struct supervisor_saved saved = {.boot_id = "6a1c2b5e-0000-4000-8000-000000000000",
                                        .instance = "run \"1\"",
                                        .next_seq = 77,
                                        .rows = rows,
                                        .rows_len = 2};

static void save(uint64_t seq) {
    struct core_fail fail = {0};
    saved.next_seq = seq;
    if (supervisor_state_save(dir, &saved, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
}

static enum core_err load(struct supervisor_saved *out, struct core_fail *fail) {
    core_arena_reset(&arena, ROOM);
    return supervisor_state_load(dir, &arena, out, fail);
}

static size_t slurp(const char *name, char *text) {
    const int fd = open(path_of(name), O_RDONLY | O_CLOEXEC);
    const ssize_t len = fd < 0 ? -1 : read(fd, text, TEXT_MAX);
    (void)close(fd);
    assert_true(len >= 0 && len < TEXT_MAX);
    return (size_t)len;
}

static void spit(const char *name, const char *text, size_t len) {
    const int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    assert_int_equal(close(fd), 0);
}

static void test_nothing_there(void **state) {
    (void)state;
    struct supervisor_saved out;
    assert_int_equal(load(&out, NULL), CORE_OK);
    assert_int_equal(out.rows_len, 0);
    struct core_fail fail = {0};
    assert_int_equal(supervisor_state_load("/nowhere/at/all", &arena, &out, &fail), CORE_IO);
    assert_string_equal(fail.where, "/nowhere/at/all");
}

static void test_there_and_back(void **state) {
    (void)state;
    struct supervisor_saved out;
    save(77);
    assert_int_equal(load(&out, NULL), CORE_OK);
    assert_string_equal(out.boot_id, saved.boot_id);
    assert_string_equal(out.instance, saved.instance);
    assert_int_equal(out.next_seq, 77);
    assert_int_equal(out.rows_len, 2);
    for (size_t i = 0; i < 2; i++) {
        struct supervisor_row *row = &out.rows[i];
        assert_true(core_span_eq(row->spec, rows[i].spec));
        assert_true(core_span_eq(row->running_spec, rows[i].running_spec));
        assert_true(row->is_wanted == rows[i].is_wanted);
        assert_int_equal(row->state, rows[i].state);
        assert_int_equal(row->pid.pid, rows[i].pid.pid);
        assert_int_equal(row->pid.pidfd, -1); /* a descriptor is not kept */
        assert_int_equal(row->pid.ready_fd, -1);
        assert_int_equal(row->pid.start_ticks, rows[i].pid.start_ticks);
        assert_string_equal(row->pid.cookie, rows[i].pid.cookie);
        assert_true(row->pid.is_child == rows[i].pid.is_child);
        assert_int_equal(row->pid.spawned_ns, rows[i].pid.spawned_ns);
        assert_memory_equal(row->pid.output_from, rows[i].pid.output_from, sizeof(row->pid.output_from));
        assert_int_equal(row->state_since_ns, rows[i].state_since_ns);
        assert_int_equal(row->deaths_len, rows[i].deaths_len);
        assert_memory_equal(row->deaths_ns, rows[i].deaths_ns, sizeof(row->deaths_ns));
        assert_int_equal(row->deaths, rows[i].deaths);
        assert_int_equal(row->starts, rows[i].starts);
        assert_int_equal(row->end_ns, rows[i].end_ns);
        assert_int_equal(row->end_status, rows[i].end_status);
    }
    struct stat stat_buf;
    assert_int_equal(stat(path_of("supervisor.state"), &stat_buf), 0);
    assert_int_equal(stat_buf.st_mode & 0777, 0600); /* environments are in it */
}

static void test_most_of_all(void **state) {
    (void)state;
    static struct supervisor_row all[SUPERVISOR_PROCESSES_MAX];
    static char spec[SUPERVISOR_SPEC_BYTES_MAX];
    memset(spec, 'x', sizeof(spec));
    for (size_t i = 0; i < SUPERVISOR_PROCESSES_MAX; i++) {
        all[i] = rows[1];
        all[i].spec.len = 25;
    }
    all[0].spec = all[0].running_spec = (struct core_span){spec, sizeof(spec)};
    struct supervisor_saved full = saved;
    full.rows = all;
    full.rows_len = SUPERVISOR_PROCESSES_MAX;
    struct supervisor_saved out;
    assert_int_equal(supervisor_state_save(dir, &full, NULL), CORE_OK);
    assert_int_equal(load(&out, NULL), CORE_OK);
    assert_int_equal(out.rows_len, SUPERVISOR_PROCESSES_MAX);
    assert_true(core_span_eq(out.rows[0].running_spec, all[0].spec));
    struct core_arena small;
    struct core_fail fail = {0};
    assert_int_equal(core_arena_init(&small, 4096, NULL), CORE_OK);
    assert_int_equal(supervisor_state_load(dir, &small, &out, &fail), CORE_LIMIT);
    assert_int_equal(out.rows_len, 0);
    core_arena_destroy(&small);
}

static void test_any_byte_changed_or_missing(void **state) {
    (void)state;
    static char text[TEXT_MAX];
    static char copy[TEXT_MAX];
    struct supervisor_saved out;
    save(1);
    const size_t len = slurp("supervisor.state", text);
    for (size_t i = 0; i < len; i++) {
        struct core_fail fail = {0};
        core_arena_reset(&arena, ROOM);
        assert_int_equal(supervisor_state_parse((struct core_span){text, i}, dir, &arena, &out, &fail), CORE_BAD);
        assert_int_equal(out.rows_len, 0);
        memcpy(copy, text, len);
        copy[i] = (char)(copy[i] ^ 1);
        core_arena_reset(&arena, ROOM);
        assert_int_equal(supervisor_state_parse((struct core_span){copy, len}, dir, &arena, &out, &fail), CORE_BAD);
        assert_non_null(strstr(fail.text, "damaged"));
    }
    memcpy(copy, text, len);
    copy[len] = '\n';
    assert_int_equal(supervisor_state_parse((struct core_span){copy, len + 1}, dir, &arena, &out, NULL), CORE_BAD);
}

/* A good checksum around what we did not write: still not believed. */
static void test_lines_that_are_wrong(void **state) {
    (void)state;
#define HEAD "tapline-supervisor-state 1\n{\"boot_id\":\"b\",\"instance\":\"i\",\"next_seq\":1}\n"
#define ROW(what)                                                                                                      \
    "{\"state\":\"up\",\"wanted\":true,\"since_ns\":1,\"starts\":1,\"deaths\":0,\"deaths_ns\":[],\"end_ns\":0,"        \
    "\"end_status\":-1,\"pid\":7,\"start_ticks\":1,\"cookie\":\"c\",\"child\":true,\"spawned_ns\":1," what "}\t{}\n"
    static const struct {
        const char *body;
        size_t rows_len;
        enum core_err err;
    } cases[] = {
        {HEAD, 0, CORE_OK},
        {HEAD ROW("\"output_from\":[0,0]"), 1, CORE_OK},
        {HEAD ROW("\"output_from\":[0,0]"), 0, CORE_BAD},
        {HEAD ROW("\"output_from\":[0,0]"), 2, CORE_BAD},
        {HEAD ROW("\"output_from\":[0]"), 1, CORE_BAD},
        {HEAD ROW("\"output_from\":[0,0,0]"), 1, CORE_BAD},
        {HEAD ROW("\"output_from\":7"), 1, CORE_BAD},
        {HEAD "{}\t{}\n", 1, CORE_BAD},
        {HEAD "\n", 1, CORE_BAD},
        {"tapline-supervisor-state 1\n{}\n", 0, CORE_BAD},
        {"tapline-supervisor-state 2\n", 0, CORE_BAD},
        {HEAD, 513, CORE_BAD},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[TEXT_MAX];
        struct supervisor_saved out;
        const size_t body = strlen(cases[i].body);
        const int len = snprintf(text, sizeof(text), "%send %zu %016llx\n", cases[i].body, cases[i].rows_len,
                                 (unsigned long long)core_hash64(cases[i].body, body, 0));
        core_arena_reset(&arena, ROOM);
        enum core_err err = supervisor_state_parse((struct core_span){text, (size_t)len}, dir, &arena, &out, NULL);
        if (err != cases[i].err) {
            fail_msg("case %zu: %d", i, (int)err);
        }
    }
}

static void test_the_one_before_is_kept(void **state) {
    (void)state;
    static char text[TEXT_MAX];
    struct supervisor_saved out;
    struct core_fail fail = {0};
    save(1);
    save(2);
    save(3);
    assert_int_equal(load(&out, NULL), CORE_OK);
    assert_int_equal(out.next_seq, 3);
    const size_t len = slurp("supervisor.state.old", text);
    assert_int_equal(supervisor_state_parse((struct core_span){text, len}, dir, &arena, &out, NULL), CORE_OK);
    assert_int_equal(out.next_seq, 2);
    assert_int_equal(access(path_of("supervisor.state.tmp"), F_OK), -1);
    assert_int_equal(access(path_of("supervisor.state.old.tmp"), F_OK), -1);
    /* damaged: set aside, and the one before it is used */
    spit("supervisor.state", text, len - 5);
    assert_int_equal(load(&out, &fail), CORE_BAD);
    assert_int_equal(supervisor_state_set_aside(dir, &fail), CORE_OK);
    assert_int_equal(load(&out, NULL), CORE_OK);
    assert_int_equal(out.next_seq, 2);
    assert_int_equal(slurp("supervisor.state.damaged", text), len - 5);
    /* again, and now there is none before it */
    spit("supervisor.state", "x", 1);
    assert_int_equal(load(&out, &fail), CORE_BAD);
    assert_int_equal(supervisor_state_set_aside(dir, &fail), CORE_OK);
    assert_int_equal(slurp("supervisor.state.damaged", text), 1);
    assert_int_equal(load(&out, NULL), CORE_OK);
    assert_int_equal(out.rows_len, 0);
    assert_int_equal(supervisor_state_set_aside(dir, &fail), CORE_IO); /* nothing there to set aside */
}

/* What a crash can leave behind is in nobody's way. */
static void test_left_overs(void **state) {
    (void)state;
    struct supervisor_saved out;
    save(1);
    spit("supervisor.state.tmp", "half a li", 9);
    assert_int_equal(link(path_of("supervisor.state"), path_of("supervisor.state.old.tmp")), 0);
    (void)unlink(path_of("supervisor.state.old"));
    assert_int_equal(link(path_of("supervisor.state"), path_of("supervisor.state.old")), 0);
    assert_int_equal(load(&out, NULL), CORE_OK);
    assert_int_equal(out.next_seq, 1);
    save(2);
    assert_int_equal(load(&out, NULL), CORE_OK);
    assert_int_equal(out.next_seq, 2);
    assert_int_equal(access(path_of("supervisor.state.old.tmp"), F_OK), -1);
}

/* A write that ends early, as on a full disk; then a name that is taken; then a directory that is not there. */
static void test_a_save_that_fails_changes_nothing(void **state) {
    (void)state;
    struct supervisor_saved out;
    struct core_fail fail = {0};
    struct rlimit was;
    save(1);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    const struct rlimit small = {.rlim_cur = 100, .rlim_max = was.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    saved.next_seq = 2;
    const enum core_err err = supervisor_state_save(dir, &saved, &fail);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(err, CORE_IO);
    assert_non_null(strstr(fail.text, "cannot write supervisor.state.tmp"));
    assert_int_equal(access(path_of("supervisor.state.tmp"), F_OK), -1); /* does not take the space of others */
    assert_int_equal(load(&out, NULL), CORE_OK);
    assert_int_equal(out.next_seq, 1);

    assert_int_equal(mkdir(path_of("supervisor.state.tmp"), 0700), 0);
    assert_int_equal(supervisor_state_save(dir, &saved, &fail), CORE_IO);
    assert_int_equal(rmdir(path_of("supervisor.state.tmp")), 0);
    assert_int_equal(load(&out, NULL), CORE_OK);
    assert_int_equal(out.next_seq, 1);

    assert_int_equal(supervisor_state_save("/nowhere/at/all", &saved, &fail), CORE_IO);
    assert_string_equal(fail.where, "/nowhere/at/all");
}

static void test_no_right(void **state) {
    (void)state;
    struct supervisor_saved out;
    struct core_fail fail = {0};
    save(1);
    const bool is_root = geteuid() == 0; /* who has every right, so somebody else tries */
    assert_int_equal(chmod(dir, is_root ? 0755 : 0500), 0);
    assert_int_equal(chmod(path_of("supervisor.state"), is_root ? 0600 : 0), 0);
    assert_int_equal(is_root ? seteuid(NOBODY) : 0, 0);
    const enum core_err err = supervisor_state_save(dir, &saved, &fail);
    const enum core_err read_err = load(&out, NULL);
    assert_int_equal(is_root ? seteuid(0) : 0, 0);
    assert_int_equal(chmod(path_of("supervisor.state"), 0600), 0);
    assert_int_equal(chmod(dir, 0700), 0);
    assert_non_null(strstr(fail.text, "cannot create supervisor.state.tmp"));
    assert_int_equal(err, CORE_IO);
    assert_int_equal(read_err, CORE_IO); /* not: nothing there */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_there_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_most_of_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_byte_changed_or_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lines_that_are_wrong, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_one_before_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_left_overs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_save_that_fails_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_right, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
