/* The watchdog: an idle process, one at work, one that hangs, and interfaces that go and come back, in a network namespace
 * of the test's own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"
#include "tests/unit/supervisor_children.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT_NS (30 * CORE_NS_PER_MS)
#define LONG_NS (3600 * CORE_NS_PER_S)
#define WAIT_MS_MAX 20000

static char folder[64];
static char counter[128];
static char log_file[128];
static const char *const no_logs[] = {NULL};
static const char *its_logs[] = {NULL, NULL};

struct subject {
    struct supervisor_spec spec;
    struct supervisor_pid pid;
    struct supervisor_pulse pulse;
};

/* A process that sleeps, or one that computes. */
static void subject_start(struct subject *subject, bool computes) {
    *subject = (struct subject){.pid = {.pidfd = -1, .ready_fd = -1, .is_child = true}};
    supervisor_spec_init(&subject->spec);
    subject->spec.name = "subject";
    subject->spec.logs = no_logs;
    subject->spec.watchdog.timeout_ns = TIMEOUT_NS;
    subject->pid.pid = fork();
    assert_true(subject->pid.pid >= 0);
    if (subject->pid.pid == 0) {
        for (volatile unsigned long i = 0;; i++) {
            if (!computes) {
                pause();
            }
        }
    }
    struct supervisor_usage usage = {0};
    for (int ms = 0; usage.state != (computes ? 'R' : 'S') && ms < WAIT_MS_MAX; ms++) {
        assert_true(supervisor_usage_of(subject->pid.pid, &usage));
        usleep(1000);
    }
}

static void subject_begin(struct subject *subject) {
    supervisor_pulse_begin(&subject->pulse, &subject->spec);
}

static void subject_end(struct subject *subject) {
    kill(subject->pid.pid, SIGKILL);
    assert_int_equal(waitpid(subject->pid.pid, NULL, 0), subject->pid.pid);
}

static struct supervisor_verdict look(struct subject *subject) {
    struct supervisor_verdict verdict;
    supervisor_pulse_look(&subject->pulse, &subject->spec, &subject->pid, &verdict);
    return verdict;
}

static struct supervisor_verdict look_later(struct subject *subject) {
    usleep(2 * TIMEOUT_NS / 1000);
    return look(subject);
}

static void assert_stuck(struct supervisor_verdict verdict, bool helps, const char *part) {
    if (!verdict.is_stuck || verdict.helps != helps || strstr(verdict.text, part) == NULL) {
        fail_msg("stuck %d, helps %d: %s (not: %s)", verdict.is_stuck, verdict.helps, verdict.text, part);
    }
}

static void put(const char *path, const char *text, int flags) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0640);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void one_that_sleeps_and_one_that_computes(void **state) {
    (void)state;
    struct subject subject;
    subject_start(&subject, false);
    subject_begin(&subject);
    assert_stuck(look_later(&subject), true, "no sign of life for ");
    assert_stuck(look_later(&subject), true, " s; process sleeps");
    assert_true(look_later(&subject).is_stuck); /* as long as it lasts */
    subject.spec.watchdog.timeout_ns = LONG_NS;
    assert_false(look_later(&subject).is_stuck);
    subject.spec.watchdog.timeout_ns = 0;
    assert_false(look_later(&subject).is_stuck);
    subject_end(&subject);
    subject.spec.watchdog.timeout_ns = TIMEOUT_NS;
    assert_false(look_later(&subject).is_stuck); /* it has ended: another's to say */

    subject_start(&subject, true);
    subject_begin(&subject);
    int64_t alive_ns = subject.pulse.alive_ns;
    for (int ms = 0; subject.pulse.alive_ns == alive_ns && ms < WAIT_MS_MAX; ms += 20) {
        usleep(20000);
        (void)look(&subject);
    }
    assert_true(subject.pulse.alive_ns > alive_ns);
    kill(subject.pid.pid, SIGSTOP);
    struct supervisor_usage usage = {0};
    for (int ms = 0; usage.state != 'T' && ms < WAIT_MS_MAX; ms++) {
        usleep(1000);
        assert_true(supervisor_usage_of(subject.pid.pid, &usage));
    }
    (void)look(&subject);
    assert_stuck(look_later(&subject), true, "process is stopped by a signal or a debugger");
    subject_end(&subject);
}

static void its_logs_grow(void **state) {
    (void)state;
    struct subject subject;
    subject_start(&subject, false);
    subject.spec.logs = its_logs;
    put(log_file, "of the run before\n", O_TRUNC);
    subject_begin(&subject);
    assert_stuck(look_later(&subject), true, "no log line for ");
    put(log_file, "a line\n", O_APPEND);
    assert_false(look_later(&subject).is_stuck);
    put(log_file, "", O_TRUNC); /* rotated away: no line has come by that */
    assert_true(look_later(&subject).is_stuck);
    put(log_file, "x", O_APPEND);
    assert_false(look_later(&subject).is_stuck);
    subject_end(&subject);
}

static void a_counter_of_its_own_is_life(void **state) {
    (void)state;
    struct subject subject;
    subject_start(&subject, false);
    subject.spec.watchdog.counter = counter;
    put(counter, "5\n", O_TRUNC);
    subject_begin(&subject);
    (void)look(&subject);
    assert_stuck(look_later(&subject), true, "no sign of life");
    put(counter, "6\n", O_TRUNC);
    assert_false(look_later(&subject).is_stuck);
    subject_end(&subject);
}

/* lo of the process, with a counter of packets that the test turns. */
static void an_idle_sensor_is_not_a_dead_one(void **state) {
    (void)state;
    struct subject subject;
    subject_start(&subject, false);
    subject.spec.logs = its_logs;
    subject.spec.watchdog.interface = "lo";
    subject.spec.watchdog.counter = counter;
    put(log_file, "", O_TRUNC);
    put(counter, "1000000\n", O_TRUNC);
    subject_begin(&subject);
    assert_false(look(&subject).is_stuck);
    assert_false(look_later(&subject).is_stuck); /* no packets, no lines */
    put(counter, "1000005\n", O_TRUNC);
    assert_false(look_later(&subject).is_stuck); /* spanning tree */
    put(counter, "1001005\n", O_TRUNC);
    assert_stuck(look_later(&subject), true, "interface lo is up and got 1000 packets meanwhile; no log line for ");
    put(log_file, "a line\n", O_APPEND);
    assert_false(look_later(&subject).is_stuck);
    assert_false(look_later(&subject).is_stuck);
    put(counter, "7\n", O_TRUNC); /* the interface was made anew */
    assert_false(look_later(&subject).is_stuck);
    kill(subject.pid.pid, SIGSTOP);
    struct supervisor_usage usage = {0};
    for (int ms = 0; usage.state != 'T' && ms < WAIT_MS_MAX; ms++) {
        usleep(1000);
        assert_true(supervisor_usage_of(subject.pid.pid, &usage));
    }
    assert_stuck(look_later(&subject), true, "process is stopped"); /* whatever comes in */
    subject_end(&subject);
}

static void an_interface_that_is_not_there(void **state) {
    (void)state;
    struct subject subject;
    subject_start(&subject, false);
    subject.spec.logs = its_logs;
    subject.spec.watchdog.interface = "nosuch0";
    put(log_file, "", O_TRUNC);
    subject_begin(&subject);
    assert_stuck(look_later(&subject), false, "interface nosuch0 is gone; no log line for ");
    assert_stuck(look_later(&subject), false, "is gone");
    put(log_file, "a line all the same\n", O_APPEND);
    assert_false(look(&subject).is_stuck);
    subject_end(&subject);
}

static void lo_set(bool is_up) {
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &request), 0);
    request.ifr_flags = (short)(is_up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    close(fd);
}

/* Last: it takes the test into a network namespace of its own. */
static void an_interface_that_goes_and_comes_back(void **state) {
    (void)state;
    struct subject subject;
    struct subject elsewhere;
    subject_start(&elsewhere, false);
    if (unshare(CLONE_NEWNET) != 0) {
        print_message("SKIP: no network namespace: %s\n", strerror(errno));
        subject_end(&elsewhere);
        skip();
    }
    subject_start(&subject, false);
    lo_set(true);
    subject.spec.logs = its_logs;
    subject.spec.watchdog.interface = "lo";
    put(log_file, "", O_TRUNC);
    subject_begin(&subject);
    assert_false(look(&subject).is_stuck);
    assert_false(look_later(&subject).is_stuck);
    lo_set(false);
    subject.spec.watchdog.timeout_ns = LONG_NS;
    assert_false(look_later(&subject).is_stuck); /* not yet: it may be for a moment */
    subject.spec.watchdog.timeout_ns = TIMEOUT_NS;
    assert_stuck(look_later(&subject), false, "interface lo is down (ip link set it up)");
    lo_set(true);
    struct subject mends = subject;
    assert_false(look(&subject).is_stuck); /* one that opens it anew by itself has the time till the next look */
    assert_stuck(look(&subject), true, "interface lo was away and is back, but the process has not opened it anew");
    assert_false(look(&mends).is_stuck);
    put(log_file, "a line\n", O_APPEND);
    assert_false(look(&mends).is_stuck);
    assert_false(look_later(&mends).is_stuck);
    /* Of a process in another namespace: its own interface counts, not ours of the same name. */
    lo_set(false);
    elsewhere.spec.logs = its_logs;
    elsewhere.spec.watchdog.interface = "lo";
    subject_begin(&elsewhere);
    assert_false(look_later(&elsewhere).is_stuck);
    subject_end(&elsewhere);
    subject_end(&subject);
}

/* What 200 processes cost: printed, and far from it asserted, of the best of ten rounds, since other tests run beside. */
static void a_look_is_cheap(void **state) {
    (void)state;
    struct subject subject;
    char name[128];
    subject_start(&subject, false);
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "%s/%d.log", folder, i);
        put(name, "a line\n", O_TRUNC);
    }
    subject.spec.logs = its_logs;
    subject.spec.watchdog.interface = "lo";
    subject.spec.watchdog.timeout_ns = LONG_NS;
    subject_begin(&subject);
    int64_t look_ns = INT64_MAX;
    for (int round = 0; round < 10; round++) {
        int64_t before_ns = core_tick_ns();
        for (int i = 0; i < 20; i++) {
            assert_false(look(&subject).is_stuck);
        }
        int64_t took_ns = (core_tick_ns() - before_ns) / 20;
        look_ns = took_ns < look_ns ? took_ns : look_ns;
    }
    print_message("a look at a process with 40 logs: %lld us\n", (long long)(look_ns / CORE_NS_PER_US));
    assert_true(look_ns < 5 * CORE_NS_PER_MS);
    subject_end(&subject);
}

static void the_usage_of_a_process(void **state) {
    (void)state;
    struct supervisor_usage usage;
    assert_true(supervisor_usage_of(getpid(), &usage));
    assert_int_equal(usage.state, 'R');
    assert_true(usage.rss_bytes > 4096 && usage.threads >= 1 && usage.start_ticks > 0);
    pid_t child = fork();
    if (child == 0) {
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_false(supervisor_usage_of(child, &usage));
}

static int folder_make(void **state) {
    (void)state;
    static char pattern[128];
    if (children_adopt() != 0) {
        return -1;
    }
    snprintf(folder, sizeof folder, "/tmp/tapline-watch-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(counter, sizeof counter, "%s/counter", folder);
    snprintf(log_file, sizeof log_file, "%s/conn.log", folder);
    snprintf(pattern, sizeof pattern, "%s/*.log", folder);
    its_logs[0] = pattern;
    return 0;
}

static int folder_remove(void **state) {
    (void)state;
    char command[128];
    children_end();
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_sleeps_and_one_that_computes),
        cmocka_unit_test(its_logs_grow),
        cmocka_unit_test(a_counter_of_its_own_is_life),
        cmocka_unit_test(an_idle_sensor_is_not_a_dead_one),
        cmocka_unit_test(an_interface_that_is_not_there),
        cmocka_unit_test(a_look_is_cheap),
        cmocka_unit_test(the_usage_of_a_process),
        cmocka_unit_test(an_interface_that_goes_and_comes_back),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
