/* Output is cut while its writer goes on at full speed: of what is to remain no line is lost, torn or doubled.
 * On the file system of /tmp and on tmpfs (/dev/shm), which do it in different ways.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINES 120000
#define LINE_BYTES_LEAST 16 /* "%08d …\n" */
#define BYTES_MAX ((uint64_t)512 * 1024)

struct place {
    char folder[64];
    char path[SUPERVISOR_PATH_BYTES_MAX];
    struct supervisor_spec spec;
};

static bool place_make(struct place *place, const char *where) {
    snprintf(place->folder, sizeof place->folder, "%s/tapline-output-XXXXXX", where);
    if (access(where, W_OK) != 0 || mkdtemp(place->folder) == NULL) {
        return false;
    }
    supervisor_spec_init(&place->spec);
    place->spec.name = "writer";
    place->spec.output.directory = place->folder;
    place->spec.output.bytes_max = BYTES_MAX;
    supervisor_output_path(&place->spec, 1, place->path);
    return true;
}

static void place_remove(struct place *place) {
    unlink(place->path);
    assert_int_equal(rmdir(place->folder), 0);
}

/* Line number i, of a length of its own. */
static size_t line_make(int i, char out[256]) {
    size_t len = LINE_BYTES_LEAST + (size_t)(i * 7919 % 150);
    snprintf(out, 16, "%08d ", i);
    memset(out + 9, 'a' + i % 26, len - 10);
    out[len - 1] = '\n';
    return len;
}

_Noreturn static void write_all(const char *path) {
    char line[256];
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    for (int i = 0; fd >= 0 && i < LINES; i++) {
        size_t len = line_make(i, line);
        if (write(fd, line, len) != (ssize_t)len) {
            _exit(1);
        }
    }
    _exit(fd < 0);
}

static char *file_read(const char *path, size_t *len) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    char *bytes = malloc((size_t)st.st_size + 1);
    *len = (size_t)st.st_size;
    assert_int_equal(read(fd, bytes, *len), *len);
    bytes[*len] = '\0';
    close(fd);
    return bytes;
}

/* What is left is the end of what was written, whole; returns its first line's number. */
static int end_check(const char *path, uint64_t moved) {
    char line[256];
    size_t len;
    char *bytes = file_read(path, &len);
    size_t at = 0;
    while (at < len && bytes[at] == '\0') {
        at++;
    }
    if (at < len && bytes[at] == ' ') { /* the rest of a line that was cut */
        assert_int_equal(at, 0);
        assert_true(moved > 0);
        at = strspn(bytes, " ");
        assert_int_equal(bytes[at++], '\n');
    }
    int first = atoi(bytes + at);
    size_t written = 0;
    for (int i = 0; i < LINES; i++) {
        size_t line_len = line_make(i, line);
        written += line_len;
        if (i >= first) {
            assert_true(at + line_len <= len);
            assert_memory_equal(bytes + at, line, line_len);
            at += line_len;
        }
    }
    assert_int_equal(at, len);
    assert_int_equal(written, moved + len); /* a hole counts: nothing has moved there */
    free(bytes);
    return first;
}

static void cut_at_full_speed(const char *where) {
    struct place place = {0};
    if (!place_make(&place, where)) {
        print_message("SKIP: %s cannot be written\n", where);
        skip();
    }
    pid_t writer = fork();
    assert_true(writer >= 0);
    if (writer == 0) {
        write_all(place.path);
    }
    uint64_t moved = 0;
    unsigned cuts = 0;
    unsigned looks = 0;
    int status = -1;
    struct stat before;
    struct stat after;
    while (waitpid(writer, &status, WNOHANG) == 0) {
        bool is_there = stat(place.path, &before) == 0;
        uint64_t now = supervisor_output_trim(&place.spec, 1);
        moved += now;
        cuts += now > 0;
        /* A hole shows in the blocks alone. */
        looks += now == 0 && is_there && stat(place.path, &after) == 0 && after.st_blocks < before.st_blocks;
        usleep(200);
    }
    assert_int_equal(status, 0);
    moved += supervisor_output_trim(&place.spec, 1);
    int first = end_check(place.path, moved);
    assert_int_equal(stat(place.path, &after), 0);
    print_message("%s: %u cuts and %u holes while it was written, first line left %d, takes %lld bytes\n", where, cuts,
                  looks, first, (long long)after.st_blocks * 512);
    assert_true(first > 0);
    assert_true(cuts + looks >= 3);
    assert_true((uint64_t)after.st_blocks * 512 <= BYTES_MAX + 16384);
    assert_true((uint64_t)after.st_blocks * 512 >= BYTES_MAX / 4);
    place_remove(&place);
}

static void nothing_is_lost_on_disk(void **state) {
    (void)state;
    cut_at_full_speed("/tmp");
}

static void nothing_is_lost_on_tmpfs(void **state) {
    (void)state;
    cut_at_full_speed("/dev/shm");
}

/* 1 MiB of lines, or of one line. */
static void fill(const char *path, bool has_lines) {
    char line[65];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    for (int i = 0; i < 16384; i++) {
        snprintf(line, sizeof line, "%063d%c", i, has_lines ? '\n' : '-');
        assert_int_equal(write(fd, line, 64), 64);
    }
    close(fd);
}

static uint64_t taken(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    uint64_t blocks = (uint64_t)st.st_blocks * 512;
    return blocks < (uint64_t)st.st_size ? blocks : (uint64_t)st.st_size;
}

static void the_limit_is_a_limit(void **state) {
    (void)state;
    struct place place = {0};
    assert_true(place_make(&place, "/tmp"));
    assert_int_equal(supervisor_output_trim(&place.spec, 1), 0); /* no file yet */
    fill(place.path, true);
    place.spec.output.bytes_max = CORE_MIB;
    supervisor_output_trim(&place.spec, 1);
    assert_int_equal(taken(place.path), CORE_MIB); /* not longer than that */
    place.spec.output.bytes_max = CORE_MIB - 1;
    supervisor_output_trim(&place.spec, 1);
    assert_in_range(taken(place.path), CORE_MIB / 2 - 1, CORE_MIB / 2 + 4096);
    fill(place.path, false); /* a line without an end is cut where it is */
    supervisor_output_trim(&place.spec, 1);
    assert_in_range(taken(place.path), CORE_MIB / 2 - 1, CORE_MIB / 2 + 4096);
    place_remove(&place);
}

/* Files that a process's user could have put in the place of his output, so that root cuts them. */
static void what_is_not_its_own_is_not_cut(void **state) {
    (void)state;
    struct place place = {0};
    char other[128];
    assert_true(place_make(&place, "/tmp"));
    snprintf(other, sizeof other, "%s/other", place.folder);
    fill(other, true);
    assert_int_equal(symlink(other, place.path), 0);
    assert_int_equal(supervisor_output_trim(&place.spec, 1), 0);
    assert_int_equal(taken(other), CORE_MIB);
    unlink(place.path);
    assert_int_equal(link(other, place.path), 0);
    assert_int_equal(supervisor_output_trim(&place.spec, 1), 0);
    assert_int_equal(taken(other), CORE_MIB);
    unlink(other);
    if (geteuid() == 0) {
        assert_int_equal(chown(place.path, 1, 1), 0);
        assert_int_equal(supervisor_output_trim(&place.spec, 1), 0);
        assert_int_equal(taken(place.path), CORE_MIB);
        place.spec.user = "daemon";
        supervisor_output_trim(&place.spec, 1);
        assert_true(taken(place.path) < CORE_MIB);
    }
    place_remove(&place);
}

static void paths(void **state) {
    (void)state;
    char path[SUPERVISOR_PATH_BYTES_MAX];
    struct supervisor_spec spec;
    supervisor_spec_init(&spec);
    spec.cwd = "/srv/w-1";
    supervisor_output_path(&spec, 0, path);
    assert_string_equal(path, "/srv/w-1/stdout.log");
    spec.output.directory = "/";
    supervisor_output_path(&spec, 1, path);
    assert_string_equal(path, "/stderr.log");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_on_disk),
        cmocka_unit_test(nothing_is_lost_on_tmpfs),
        cmocka_unit_test(the_limit_is_a_limit),
        cmocka_unit_test(what_is_not_its_own_is_not_cut),
        cmocka_unit_test(paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
