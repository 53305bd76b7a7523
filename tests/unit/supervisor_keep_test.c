/* tests/unit/supervisor_keep_test.c: what a new Supervisor makes of a state file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/engine_internal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COOKIE "5eeb00112233445566778899aabbccdd"

struct rig {
    char dir[64];
    struct supervisor_options options;
    struct supervisor supervisor;
};

static void on_timer(void *ctx) {
    (void)ctx;
}

static void rig_begin(struct rig *rig) {
    struct core_fail fail;
    struct supervisor *supervisor = &rig->supervisor;
    *rig = (struct rig){.dir = "/tmp/tapline-keep-XXXXXX"};
    assert_non_null(mkdtemp(rig->dir));
    rig->options = (struct supervisor_options){.state = rig->dir, .program = "/bin/true"};
    supervisor->options = &rig->options;
    supervisor->lock_fd = -1;
    supervisor->heritage.listen_fd = -1;
    supervisor->turns_timer = (struct core_timer){.on_time = on_timer, .ctx = supervisor};
    supervisor->processes = calloc(SUPERVISOR_PROCESSES_MAX, sizeof(struct supervisor_process *));
    assert_int_equal(core_arena_init(&supervisor->scratch, SUPERVISOR_SCRATCH_BYTES, &fail), CORE_OK);
    assert_int_equal(core_loop_new(&supervisor->loop, &fail), CORE_OK);
    supervisor_keep_begin(supervisor);
}

static void rig_end(struct rig *rig) {
    struct supervisor *supervisor = &rig->supervisor;
    while (supervisor->processes_len > 0) {
        supervisor_remove(supervisor, supervisor->processes[0]);
    }
    core_loop_free(supervisor->loop);
    core_arena_destroy(&supervisor->scratch);
    free(supervisor->processes);
    free(supervisor->sweep_cookies);
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", rig->dir);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): a path of our own
}

/* A state file with this one process in it. */
static void save(const struct rig *rig, struct supervisor_row row) {
    struct supervisor_saved saved = {.instance = "run", .rows = &row, .rows_len = 1};
    struct core_fail fail = {.text = ""};
    assert_int_equal(supervisor_boot_id(saved.boot_id, &fail), CORE_OK);
    assert_int_equal(supervisor_state_save(rig->dir, &saved, &fail), CORE_OK);
}

static struct supervisor_process *load(struct rig *rig) {
    struct core_fail fail = {.text = ""};
    char instance[64];
    uint64_t next_seq = 0;
    if (supervisor_keep_load(&rig->supervisor, false, instance, &next_seq, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
    assert_int_equal(rig->supervisor.processes_len, 1);
    return rig->supervisor.processes[0];
}

#define GOOD "{\"name\":\"a\",\"argv\":[\"/bin/sleep\",\"1\"]}"
#define BAD "{\"name\":\"a\",\"argv\":[\"/bin/sleep\"],\"of_another_version\":true}"

/* Of two specs a program that is to take over must know both; one that has taken over loses sight of no process for it. */
static void test_a_running_spec_that_is_refused(void **state) {
    static const char *const specs[][2] = {{GOOD, BAD}, {BAD, GOOD}};
    struct rig rig;
    struct core_fail fail = {.text = ""};
    (void)state;
    rig_begin(&rig);
    for (size_t i = 0; i < 2; i++) {
        save(&rig, (struct supervisor_row){.spec = core_span_of(specs[i][0]),
                                           .running_spec = core_span_of(specs[i][1]),
                                           .is_wanted = true,
                                           .state = SUPERVISOR_UP,
                                           .pid = {.pid = getpid(), .cookie = COOKIE}});
        assert_int_equal(supervisor_keep_check(rig.dir, &fail), CORE_BAD);
        if (i == 0) {
            const struct supervisor_process *process = load(&rig);
            assert_int_equal(process->pid.pid, getpid());
            assert_non_null(process->next); /* what it runs with is another one */
            assert_string_equal(process->next->spec.argv[1], "1");
            supervisor_remove(&rig.supervisor, rig.supervisor.processes[0]);
        }
    }
    rig_end(&rig);
}

/* Spawned or not: whose environment is not to be read (file capabilities) is found by no cookie, but its cgroup ends it. The
 * cgroup is a made-up one: a directory with the file that a kernel would take the order by. */
static void test_a_start_that_nobody_wrote_down(void **state) {
    struct rig rig;
    struct core_fail fail = {.text = ""};
    char path[128];
    char order[2] = "";
    (void)state;
    rig_begin(&rig);
    (void)snprintf(rig.supervisor.cgroups.root, sizeof(rig.supervisor.cgroups.root), "%s/cgroup", rig.dir);
    assert_int_equal(mkdir(rig.supervisor.cgroups.root, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/cgroup/a", rig.dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/cgroup/a/cgroup.kill", rig.dir);
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    save(&rig,
         (struct supervisor_row){.spec = core_span_of(GOOD), .state = SUPERVISOR_STARTING, .pid = {.cookie = COOKIE}});
    const struct supervisor_process *process = load(&rig);
    assert_int_equal(supervisor_keep_resume(&rig.supervisor, &fail), CORE_OK);
    assert_int_equal(process->state, SUPERVISOR_DOWN);
    assert_int_equal(process->deaths, 0);
    assert_int_equal(pread(fd, order, 1, 0), 1);
    assert_string_equal(order, "1");
    (void)close(fd);
    rig_end(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_running_spec_that_is_refused),
        cmocka_unit_test(test_a_start_that_nobody_wrote_down),
    };
    core_log_level(CORE_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
