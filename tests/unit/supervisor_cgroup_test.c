/* cgroup v2 with real processes, where there is a tree to write; without one: that it is done without.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"
#include "tests/unit/supervisor_children.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS_MAX 20000
#define TEXT_BYTES_MAX 8192

static char folder[64];
static struct supervisor_cgroups cgroups;
static const char *const no_texts[] = {NULL};

static void need_cgroups(void) {
    if (cgroups.root[0] == '\0') {
        print_message("SKIP: no cgroup v2 that can be written\n");
        skip();
    }
}

static struct supervisor_spec spec_of(const char *name, const char *const *argv) {
    struct supervisor_spec spec;
    supervisor_spec_init(&spec);
    spec.name = name;
    spec.argv = argv;
    spec.cwd = folder;
    spec.logs = no_texts;
    return spec;
}

static void start(const struct supervisor_spec *spec, struct supervisor_pid *pid) {
    struct core_fail fail = {0};
    memset(pid, 0, sizeof *pid);
    if (supervisor_spawn(spec, &cgroups, pid, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
}

static int end_of(struct supervisor_pid *pid) {
    struct pollfd ended = {.fd = pid->pidfd, .events = POLLIN};
    int status = -1;
    assert_int_equal(poll(&ended, 1, WAIT_MS_MAX), 1);
    assert_int_equal(waitpid(pid->pid, &status, 0), pid->pid);
    close(pid->pidfd);
    return status;
}

static const char *text_of(const char *path, char out[TEXT_BYTES_MAX]) {
    FILE *in = fopen(path, "re");
    size_t len = in == NULL ? 0 : fread(out, 1, TEXT_BYTES_MAX - 1, in);
    out[len] = '\0';
    if (in != NULL) {
        fclose(in);
    }
    return out;
}

static bool is_gone(pid_t pid) {
    struct supervisor_usage usage;
    return !supervisor_usage_of(pid, &usage) || usage.state == 'Z' || usage.state == 'X';
}

static bool process_has_cgroup(const char *name) {
    char path[SUPERVISOR_PATH_BYTES_MAX + 128];
    snprintf(path, sizeof path, "%s/%s", cgroups.root, name);
    return access(path, F_OK) == 0;
}

static void a_process_and_all_it_starts_are_in_its_cgroup(void **state) {
    (void)state;
    need_cgroups();
    char text[TEXT_BYTES_MAX];
    char path[96];
    /* Another session, another parent, and nothing of our environment. */
    struct supervisor_spec spec = spec_of(
        "escapes", (const char *const[]){"sh", "-c",
                                         "setsid env -i sh -c 'echo $$; exec sleep 1000' & while ! [ -s stdout.log ]; "
                                         "do :; done; exec sleep 1000",
                                         NULL});
    struct supervisor_spec other_spec = spec_of("other", (const char *const[]){"sleep", "1000", NULL});
    char directory[96];
    snprintf(directory, sizeof directory, "%s/other", folder);
    other_spec.cwd = directory;
    struct supervisor_pid pid;
    struct supervisor_pid other;
    start(&other_spec, &other);
    start(&spec, &pid);
    snprintf(path, sizeof path, "%s/stdout.log", folder);
    pid_t escaped = 0;
    for (int ms = 0; escaped == 0 && ms < WAIT_MS_MAX; ms += 5) {
        escaped = atoi(text_of(path, text));
        usleep(5000);
    }
    assert_true(escaped > 0);
    snprintf(path, sizeof path, "/proc/%d/cgroup", escaped);
    assert_non_null(strstr(text_of(path, text), "/escapes\n"));
    snprintf(path, sizeof path, "/proc/%d/cgroup", pid.pid);
    assert_non_null(strstr(text_of(path, text), "/escapes\n"));
    assert_true(process_has_cgroup("escapes"));
    supervisor_cgroup_close(&cgroups, "escapes"); /* busy */
    assert_true(process_has_cgroup("escapes"));
    supervisor_signal(&spec, &cgroups, &pid, SIGKILL);
    assert_int_equal(WTERMSIG(end_of(&pid)), SIGKILL);
    for (int ms = 0; !is_gone(escaped) && ms < WAIT_MS_MAX; ms += 5) {
        usleep(5000);
    }
    assert_true(is_gone(escaped));
    assert_false(is_gone(other.pid));
    for (int ms = 0; process_has_cgroup("escapes") && ms < WAIT_MS_MAX; ms += 5) {
        supervisor_cgroup_close(&cgroups, "escapes"); /* until the orphan is reaped by whoever does */
        usleep(5000);
    }
    assert_false(process_has_cgroup("escapes"));
    supervisor_cgroups_leave(&cgroups); /* not while there is another */
    assert_true(process_has_cgroup("other"));
    supervisor_cgroup_kill(&cgroups, "other");
    assert_int_equal(WTERMSIG(end_of(&other)), SIGKILL);
    supervisor_cgroup_close(&cgroups, "other");
    supervisor_cgroup_kill(&cgroups, "other"); /* gone: no error */
}

static void memory_is_limited_by_what_is_there(void **state) {
    (void)state;
    /* dd wants a buffer of 200 MiB at once. */
    struct supervisor_spec spec =
        spec_of("eats", (const char *const[]){"dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1", NULL});
    struct supervisor_pid pid;
    start(&spec, &pid);
    assert_int_equal(end_of(&pid), 0);
    spec.memory_max_bytes = 100 * CORE_MIB;
    start(&spec, &pid);
    int status = end_of(&pid);
    if (cgroups.has_memory) {
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    } else {
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    }
    supervisor_cgroup_close(&cgroups, spec.name);
}

static void two_supervisors_never_meet(void **state) {
    (void)state;
    need_cgroups();
    struct supervisor_cgroups again;
    struct supervisor_cgroups other;
    supervisor_cgroups_find(&again, NULL, folder);
    assert_string_equal(again.root, cgroups.root);
    supervisor_cgroups_find(&other, NULL, "/tmp");
    assert_string_not_equal(other.root, cgroups.root);
    supervisor_cgroups_leave(&other);
    assert_int_equal(access(other.root, F_OK), -1);
}

static void a_directory_may_be_given(void **state) {
    (void)state;
    struct supervisor_cgroups given;
    char path[SUPERVISOR_PATH_BYTES_MAX + 16];
    supervisor_cgroups_find(&given, "/no/such/tree", folder);
    assert_string_equal(given.root, "");
    supervisor_cgroups_find(&given, folder, folder); /* a directory, but no cgroup */
    assert_string_equal(given.root, "");
    need_cgroups();
    snprintf(path, sizeof path, "%s/given", cgroups.root);
    supervisor_cgroups_find(&given, path, folder);
    assert_string_equal(given.root, path);
    supervisor_cgroups_leave(&given); /* somebody else's */
    assert_int_equal(rmdir(path), 0);
}

static void without_rights_it_is_done_without(void **state) {
    (void)state;
    if (geteuid() != 0) {
        print_message("SKIP: needs root, to become nobody\n");
        skip();
    }
    pid_t child = fork();
    if (child == 0) {
        struct supervisor_cgroups none;
        bool is_nobody = setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0;
        supervisor_cgroups_find(&none, NULL, "/tmp");
        _exit(is_nobody && none.root[0] == '\0' ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static int tree_make(void **state) {
    (void)state;
    if (children_adopt() != 0) {
        return -1;
    }
    snprintf(folder, sizeof folder, "/tmp/tapline-cgroup-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    supervisor_cgroups_find(&cgroups, NULL, folder);
    return 0;
}

static int tree_remove(void **state) {
    (void)state;
    char command[128];
    children_end();
    supervisor_cgroups_leave(&cgroups);
    if (cgroups.root[0] != '\0' && access(cgroups.root, F_OK) == 0) {
        print_error("%s is still there\n", cgroups.root);
        return -1;
    }
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_and_all_it_starts_are_in_its_cgroup),
        cmocka_unit_test(memory_is_limited_by_what_is_there),
        cmocka_unit_test(two_supervisors_never_meet),
        cmocka_unit_test(a_directory_may_be_given),
        cmocka_unit_test(without_rights_it_is_done_without),
    };
    return cmocka_run_group_tests(tests, tree_make, tree_remove);
}
