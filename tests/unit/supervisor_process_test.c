/* supervisor/process.c and turns.c: real processes in a loop of ours, told what to do at random, and the invariants that must
 * hold after every round whatever was told. And of sweep.c and keep.c what needs such a loop.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/engine_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PROCESSES 6
#define PATIENCE_NS (60 * CORE_NS_PER_S)

struct rig {
    char dir[64];
    char socket[96];
    struct supervisor_options options;
    struct supervisor supervisor;
};

static void on_turns(void *ctx) {
    supervisor_turns_go(ctx);
}

static void on_timer(void *ctx) {
    (void)ctx;
}

static void rig_begin(struct rig *rig) {
    struct core_fail fail;
    struct supervisor *supervisor = &rig->supervisor;
    *rig = (struct rig){.dir = "/tmp/tapline-process-XXXXXX"};
    assert_non_null(mkdtemp(rig->dir));
    (void)snprintf(rig->socket, sizeof(rig->socket), "%s/socket", rig->dir);
    rig->options = (struct supervisor_options){.socket = rig->socket, .state = rig->dir, .program = "/bin/true"};
    supervisor->options = &rig->options;
    supervisor->lock_fd = -1;
    supervisor->processes = calloc(SUPERVISOR_PROCESSES_MAX, sizeof(struct supervisor_process *));
    supervisor->turns_timer = (struct core_timer){.on_time = on_turns, .ctx = supervisor};
    supervisor->trim_timer = (struct core_timer){.on_time = on_timer, .ctx = supervisor};
    supervisor_keep_begin(supervisor);
    const struct core_rpc_server_conf conf = {
        .service = "supervisor", .version = "0", .path = rig->socket, .inherited_fd = -1};
    assert_int_equal(core_arena_init(&supervisor->scratch, SUPERVISOR_SCRATCH_BYTES, &fail), CORE_OK);
    assert_int_equal(core_loop_new(&supervisor->loop, &fail), CORE_OK);
    assert_int_equal(core_rpc_server_new(&supervisor->server, supervisor->loop, &conf, &fail), CORE_OK);
}

static void rig_end(struct rig *rig) {
    struct supervisor *supervisor = &rig->supervisor;
    while (supervisor->processes_len > 0) {
        struct supervisor_process *process = supervisor->processes[0];
        if (supervisor_process_is_alive(process)) {
            (void)kill(-process->pid.pid, SIGKILL);
        }
        supervisor_remove(supervisor, process);
    }
    core_rpc_server_free(supervisor->server, false);
    core_loop_free(supervisor->loop);
    core_arena_destroy(&supervisor->scratch);
    free(supervisor->processes);
    free(supervisor->sweep_cookies);
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", rig->dir);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): a path of our own
}

static struct supervisor_held *held_of(struct rig *rig, const char *name, const char *script, const char *more) {
    char json[1024];
    struct core_json_tree *tree = NULL;
    struct supervisor_held *held = NULL;
    struct core_fail fail = {.text = ""};
    (void)snprintf(json, sizeof(json), "{\"name\":\"%s\",\"argv\":[\"/bin/sh\",\"-c\",\"%s\"],\"cwd\":\"%s/%s\"%s%s}",
                   name, script, rig->dir, name, more[0] != '\0' ? "," : "", more);
    core_arena_reset(&rig->supervisor.scratch, 0);
    assert_int_equal(core_json_tree_read(&rig->supervisor.scratch, core_span_of(json), &tree, &fail), CORE_OK);
    if (supervisor_held_new(tree, &held, &fail) != CORE_OK) {
        fail_msg("%s", fail.text);
    }
    return held;
}

static struct supervisor_process *add(struct rig *rig, const char *name, const char *script, const char *more) {
    struct supervisor_process *process = supervisor_process_new(&rig->supervisor, held_of(rig, name, script, more));
    supervisor_add(&rig->supervisor, process);
    return process;
}

/* What holds between rounds, in every state. */
static void check(const struct supervisor_process *process) {
    const bool is_alive = supervisor_process_is_alive(process);
    const bool has_life = supervisor_process_is_running(process) || process->state == SUPERVISOR_STOPPING;
    assert_int_equal(is_alive || process->is_queued, has_life);
    assert_false(is_alive && process->is_queued);
    assert_int_equal(is_alive, process->watch != NULL);
    assert_int_equal(is_alive, process->pid.pidfd >= 0);
    assert_true(is_alive || process->next == NULL);
    assert_true(is_alive || !core_timer_is_set(&process->look));
    switch (process->state) { /* a state without a time and without a process would never be left by itself */
    case SUPERVISOR_BACKOFF:
    case SUPERVISOR_STOPPING:
    case SUPERVISOR_READY:
        assert_true(core_timer_is_set(&process->timer));
        break;
    case SUPERVISOR_STARTING:
        assert_true(process->is_queued || core_timer_is_set(&process->look));
        break;
    default:
        assert_false(core_timer_is_set(&process->timer));
    }
}

static void once(struct rig *rig) {
    struct core_fail fail;
    assert_int_equal(core_loop_once(rig->supervisor.loop, 5 * CORE_NS_PER_MS, &fail), CORE_OK);
    for (size_t i = 0; i < rig->supervisor.processes_len; i++) {
        check(rig->supervisor.processes[i]);
    }
}

static void until(struct rig *rig, const struct supervisor_process *process, enum supervisor_state state) {
    const int64_t until_ns = core_tick_ns() + PATIENCE_NS;
    while (process->state != state || process->is_queued) {
        if (core_tick_ns() > until_ns) {
            fail_msg("%s is %s, not %s: %s", supervisor_process_name(process), supervisor_state_names[process->state],
                     supervisor_state_names[state], process->reason);
        }
        once(rig);
    }
}

static void start(struct rig *rig, struct supervisor_process *process) {
    supervisor_turns_start(process);
    supervisor_turns_go(&rig->supervisor);
}

static void stop(struct rig *rig, struct supervisor_process *process) {
    supervisor_turns_stop(process);
    supervisor_turns_go(&rig->supervisor);
}

#define QUICK "\"restart\":{\"delay_min_ns\":20000000,\"delay_max_ns\":50000000,\"deaths_max\":4}"

static void test_settles_and_forgets(void **state) {
    struct rig rig;
    (void)state;
    rig_begin(&rig);
    struct supervisor_process *process = add(&rig, "a", "exec sleep 100", "\"settle_ns\":50000000," QUICK);
    start(&rig, process);
    until(&rig, process, SUPERVISOR_READY);
    (void)kill(process->pid.pid, SIGKILL);
    until(&rig, process, SUPERVISOR_BACKOFF);
    assert_int_equal(process->deaths_len, 1);
    until(&rig, process, SUPERVISOR_UP);
    assert_int_equal(process->deaths_len, 0);
    assert_int_equal(process->deaths, 1);
    assert_int_equal(process->starts, 2);
    stop(&rig, process);
    until(&rig, process, SUPERVISOR_DOWN);
    assert_int_equal(process->last_end.kind, SUPERVISOR_ENDED_SIGNAL);
    assert_int_equal(process->last_end.code, SIGTERM);
    rig_end(&rig);
}

/* Deaths whose time lies ahead (a state file of a version that wrote the time of day): not counted, and not for ever. */
static void test_deaths_are_counted_by_a_clock_that_nobody_sets(void **state) {
    struct rig rig;
    struct timespec boot;
    (void)state;
    rig_begin(&rig);
    struct supervisor_process *process = add(&rig, "a", "exec sleep 100", QUICK);
    start(&rig, process);
    until(&rig, process, SUPERVISOR_READY);
    process->deaths_len = 3;
    for (size_t i = 0; i < 3; i++) {
        process->deaths_ns[i] = core_now_ns() + 3600 * CORE_NS_PER_S;
    }
    for (uint32_t deaths = 4; deaths <= 7; deaths++) {
        until(&rig, process, SUPERVISOR_READY);
        (void)kill(process->pid.pid, SIGKILL);
        until(&rig, process, deaths < 7 ? SUPERVISOR_BACKOFF : SUPERVISOR_LATCHED); /* the fourth that counts */
        assert_int_equal(process->deaths_len, deaths);
        assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &boot), 0);
        assert_in_range(process->deaths_ns[deaths - 1], 1, boot.tv_sec * CORE_NS_PER_S + boot.tv_nsec);
    }
    rig_end(&rig);
}

/* Told to stop before it was spawned: nothing ever ran. */
static void test_called_back(void **state) {
    struct rig rig;
    (void)state;
    rig_begin(&rig);
    struct supervisor_process *process = add(&rig, "a", "exec sleep 100", "");
    start(&rig, process);
    assert_true(process->is_queued);
    stop(&rig, process);
    assert_int_equal(process->state, SUPERVISOR_DOWN);
    for (int i = 0; i < 20; i++) {
        once(&rig);
    }
    assert_int_equal(process->starts, 0);
    assert_int_equal(process->last_end.kind, SUPERVISOR_ENDED_NOT);
    assert_int_equal(process->deaths, 0);
    rig_end(&rig);
}

/* A person's word while it ends because of us: what the person wants counts. */
static void test_a_word_while_stopping(void **state) {
    struct rig rig;
    (void)state;
    rig_begin(&rig);
    struct supervisor_process *process =
        add(&rig, "a", "trap '' TERM; while :; do sleep 0.01; done",
            "\"ready\":{\"rules\":[\"file "
            "/does/not/exist\"],\"timeout_ns\":50000000},\"stop\":{\"timeout_ns\":200000000}," QUICK);
    start(&rig, process);
    until(&rig, process, SUPERVISOR_STOPPING);
    assert_true(process->is_death);
    stop(&rig, process);
    until(&rig, process, SUPERVISOR_DOWN);
    assert_int_equal(process->deaths, 0);
    start(&rig, process);
    until(&rig, process, SUPERVISOR_STOPPING);
    start(&rig, process);
    until(&rig, process, SUPERVISOR_STARTING);
    assert_int_equal(process->deaths, 0);
    assert_int_equal(process->starts, 3);
    until(&rig, process, SUPERVISOR_BACKOFF); /* nobody says anything: a death */
    assert_int_equal(process->deaths, 1);
    stop(&rig, process);
    assert_int_equal(process->state, SUPERVISOR_DOWN);
    rig_end(&rig);
}

static void test_respec(void **state) {
    struct rig rig;
    (void)state;
    rig_begin(&rig);
    struct supervisor_process *process = add(&rig, "a", "exec sleep 100", "");
    assert_false(supervisor_process_respec(process, held_of(&rig, "a", "exec sleep 100", "")));
    assert_true(supervisor_process_respec(process, held_of(&rig, "a", "exec sleep 101", "")));
    assert_null(process->next);
    start(&rig, process);
    until(&rig, process, SUPERVISOR_READY);
    assert_true(supervisor_process_respec(process, held_of(&rig, "a", "exec sleep 102", "")));
    assert_non_null(process->next);
    assert_false(supervisor_process_respec(process, held_of(&rig, "a", "exec sleep 102", "")));
    assert_true(supervisor_process_respec(process, held_of(&rig, "a", "exec sleep 101", ""))); /* as it runs */
    assert_null(process->next);
    assert_true(supervisor_process_respec(process, held_of(&rig, "a", "exec sleep 103", "")));
    supervisor_turns_restart(process, false);
    until(&rig, process, SUPERVISOR_READY);
    assert_null(process->next);
    assert_string_equal(process->held->spec.argv[2], "exec sleep 103");
    rig_end(&rig);
}

static void allow_descriptors(rlim_t len) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = len;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* A `sleep` with this cookie in its environment. */
static pid_t start_orphan(const char *cookie) {
    char variable[64];
    char *env[] = {variable, NULL};
    int said[2];
    char byte;
    (void)snprintf(variable, sizeof(variable), "TAPLINE_COOKIE=%s", cookie);
    assert_int_equal(pipe2(said, O_CLOEXEC), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)execle("/bin/sleep", "sleep", "100", (char *)NULL, env);
        _exit(127);
    }
    (void)close(said[1]);
    assert_int_equal(read(said[0], &byte, 1), 0); /* exec is done */
    (void)close(said[0]);
    return pid;
}

/* What is to be killed is not forgotten because /proc could not be looked at. */
static void test_a_sweep_without_descriptors(void **state) {
    static const char cookie[] = "5eeb00112233445566778899aabbccdd";
    struct rig rig;
    struct rlimit before;
    (void)state;
    rig_begin(&rig);
    const pid_t pid = start_orphan(cookie);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const int next_fd = dup(0);
    assert_true(next_fd >= 0);
    (void)close(next_fd);
    supervisor_sweep_add(&rig.supervisor, cookie);
    for (rlim_t spare = 0; spare < 2; spare++) { /* none for /proc; one for it, and none for what is in it */
        allow_descriptors((rlim_t)next_fd + spare);
        core_timer_set(rig.supervisor.loop, &rig.supervisor.sweep_timer, core_tick_ns());
        for (int i = 0; i < 4; i++) {
            once(&rig);
        }
        allow_descriptors(before.rlim_cur);
        assert_int_equal(kill(pid, 0), 0);
        assert_int_equal(rig.supervisor.sweep_len, 1);
    }
    const int64_t until_ns = core_tick_ns() + PATIENCE_NS;
    while (rig.supervisor.sweep_len > 0 && core_tick_ns() < until_ns) {
        once(&rig);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    rig_end(&rig);
}

static void random_word(struct rig *rig, struct supervisor_process *process) {
    switch (rand() % 7) { // NOLINT(cert-msc50-cpp): the same each time
    case 0:
    case 1:
        start(rig, process);
        break;
    case 2:
        stop(rig, process);
        break;
    case 3:
        supervisor_turns_restart(process, false);
        break;
    case 4:
        supervisor_turns_restart(process, true);
        supervisor_turns_go(&rig->supervisor);
        break;
    case 5:
        if (supervisor_process_is_alive(process)) {
            (void)kill(process->pid.pid, SIGKILL);
        }
        break;
    default:
        (void)supervisor_process_respec(process,
                                        held_of(rig, supervisor_process_name(process), "exec sleep 100", QUICK));
    }
}

static void test_random(void **state) {
    static const char *const scripts[PROCESSES] = {"exec sleep 100",
                                                   "exit 1",
                                                   "trap '' TERM; while :; do sleep 0.01; done",
                                                   "sleep 0.05",
                                                   "sleep 100 & sleep 0.02; exit 0",
                                                   "trap 'exit 3' TERM; while :; do sleep 0.01; done"};
    struct rig rig;
    (void)state;
    rig_begin(&rig);
    srand(8); // NOLINT(cert-msc51-cpp)
    for (int i = 0; i < PROCESSES; i++) {
        char name[16];
        char more[256];
        (void)snprintf(name, sizeof(name), "p%d", i);
        (void)snprintf(more, sizeof(more),
                       "\"order\":%d,\"settle_ns\":30000000,\"stop\":{\"timeout_ns\":30000000},"
                       "\"ready\":{\"rules\":[\"after %dms\"],\"timeout_ns\":25000000}," QUICK,
                       i / 2, i % 3 * 10);
        (void)add(&rig, name, scripts[i], more);
    }
    const int64_t until_ns = core_tick_ns() + 2 * CORE_NS_PER_S;
    while (core_tick_ns() < until_ns) {
        random_word(&rig, rig.supervisor.processes[rand() % PROCESSES]); // NOLINT(cert-msc50-cpp)
        once(&rig);
    }
    uint64_t starts = 0;
    for (size_t i = 0; i < PROCESSES; i++) {
        stop(&rig, rig.supervisor.processes[i]);
    }
    for (size_t i = 0; i < PROCESSES; i++) {
        until(&rig, rig.supervisor.processes[i], SUPERVISOR_DOWN); /* from wherever it was */
        starts += rig.supervisor.processes[i]->starts;
    }
    assert_true(starts > PROCESSES);
    while (rig.supervisor.sweep_len > 0) {
        once(&rig);
    }
    const int64_t gone_ns = core_tick_ns() + PATIENCE_NS;
    pid_t orphan = 0; /* nothing is left of any of them; what was killed may take a moment to die */
    while ((orphan = waitpid(-1, NULL, WNOHANG)) >= 0 && core_tick_ns() < gone_ns) {
        (void)usleep(1000);
    }
    assert_int_equal(orphan, -1);
    assert_int_equal(errno, ECHILD);
    rig_end(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settles_and_forgets),
        cmocka_unit_test(test_deaths_are_counted_by_a_clock_that_nobody_sets),
        cmocka_unit_test(test_called_back),
        cmocka_unit_test(test_a_word_while_stopping),
        cmocka_unit_test(test_respec),
        cmocka_unit_test(test_a_sweep_without_descriptors),
        cmocka_unit_test(test_random),
    };
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    (void)signal(SIGPIPE, SIG_IGN);
    core_log_level(CORE_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
