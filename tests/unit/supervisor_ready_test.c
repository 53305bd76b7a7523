/* Rules of readiness, each with the real thing: a process, a file, a listening socket, output as it comes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"
#include "tests/unit/supervisor_children.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS_MAX 20000

static char folder[64];
static const struct supervisor_cgroups no_cgroups;
static const char *const no_texts[] = {NULL};

struct subject {
    struct supervisor_spec spec;
    struct supervisor_pid pid;
    struct supervisor_pulse pulse;
};

static void subject_start(struct subject *subject, const char *script, const char *rule) {
    struct core_fail fail = {0};
    static const char *argv[] = {"sh", "-c", NULL, NULL};
    argv[2] = script;
    *subject = (struct subject){0};
    supervisor_spec_init(&subject->spec);
    subject->spec.name = "subject";
    subject->spec.argv = argv;
    subject->spec.cwd = folder;
    subject->spec.logs = no_texts;
    subject->spec.ready.rules[0] = rule;
    subject->spec.ready.rules_len = rule == NULL ? 0 : 1;
    supervisor_pulse_begin(&subject->pulse, &subject->spec);
    supervisor_ready_begin(&subject->pulse, &subject->spec);
    if (supervisor_spawn(&subject->spec, &no_cgroups, &subject->pid, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
}

static bool is_ready(struct subject *subject) {
    return supervisor_is_ready(&subject->pulse, &subject->spec, &subject->pid);
}

static bool becomes_ready(struct subject *subject) {
    for (int ms = 0; ms < WAIT_MS_MAX; ms += 5) {
        if (is_ready(subject)) {
            return true;
        }
        usleep(5000);
    }
    return false;
}

static void subject_end(struct subject *subject) {
    supervisor_signal(&subject->spec, &no_cgroups, &subject->pid, SIGKILL);
    assert_int_equal(waitpid(subject->pid.pid, NULL, 0), subject->pid.pid);
    close(subject->pid.pidfd);
    if (subject->pid.ready_fd >= 0) {
        close(subject->pid.ready_fd);
    }
}

static void put(const char *name, const char *text, int flags) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0640);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void texts(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *why; /* NULL: it is a rule */
    } rules[] = {
        {"after 5s", NULL},
        {"after 0ms", NULL},
        {"file /run/x", NULL},
        {"fd", NULL},
        {"tcp 80", NULL},
        {"tcp 127.0.0.1:80", NULL},
        {"tcp [::1]:80", NULL},
        {"output listening on ", NULL},
        {"log_written", NULL},
        {"after 5", "write \"after\" and a time"},
        {"after", "write \"after\" and a time"},
        {"file x", "a path from the root"},
        {"fd 4", "write \"fd\" alone"},
        {"tcp broker:80", "an address (no name)"},
        {"tcp [127.0.0.1:80", "an address (no name)"},
        {"tcp 0", "an address (no name)"},
        {"output", "a text of up to 127 bytes"},
        {"log_writen", "is no rule of readiness; there are: log_written"},
        {"", "is no rule of readiness"},
    };
    char why[256];
    char text[512];
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        bool is_rule = supervisor_ready_is_rule(rules[i].text, why, sizeof why);
        if (is_rule != (rules[i].why == NULL) || (!is_rule && strstr(why, rules[i].why) == NULL)) {
            fail_msg("\"%s\": %s", rules[i].text, why);
        }
    }
    memset(text, 'x', sizeof text);
    memcpy(text, "output ", 7);
    text[7 + SUPERVISOR_READY_TEXT_BYTES_MAX - 1] = '\0';
    assert_true(supervisor_ready_is_rule(text, why, sizeof why));
    text[7 + SUPERVISOR_READY_TEXT_BYTES_MAX - 1] = 'x';
    text[7 + SUPERVISOR_READY_TEXT_BYTES_MAX] = '\0';
    assert_false(supervisor_ready_is_rule(text, why, sizeof why));
}

static void without_a_rule_it_is_ready_at_once(void **state) {
    (void)state;
    struct subject subject;
    subject_start(&subject, "sleep 1000", NULL);
    assert_true(is_ready(&subject));
    subject_end(&subject);
}

static void after_a_time(void **state) {
    (void)state;
    struct subject subject;
    subject_start(&subject, "sleep 1000", "after 1h");
    assert_false(is_ready(&subject));
    int64_t before_ns = core_tick_ns();
    subject.spec.ready.rules[0] = "after 200ms";
    assert_true(becomes_ready(&subject));
    assert_in_range(core_tick_ns() - before_ns, 0, 10 * CORE_NS_PER_S);
    subject_end(&subject);
    before_ns = core_tick_ns();
    subject_start(&subject, "sleep 1000", "after 200ms");
    assert_true(becomes_ready(&subject));
    assert_true(core_tick_ns() - before_ns >= 180 * CORE_NS_PER_MS); /* its start is known to 10 ms */
    subject_end(&subject);
}

static void a_file_newer_than_the_start(void **state) {
    (void)state;
    struct subject subject;
    char rule[128];
    snprintf(rule, sizeof rule, "file %s/pid", folder);
    put("pid", "old", 0);
    put("pid.new", "new", 0);
    usleep(100000);
    subject_start(&subject, "while ! [ -e go ]; do sleep 0.02; done; mv pid.new pid; sleep 1000", rule);
    assert_false(is_ready(&subject));
    put("go", "", 0);
    assert_true(becomes_ready(&subject)); /* written before the start, but moved there after it */
    subject_end(&subject);
}

/* A clock that is set while it starts: what the file was like right before the start is what counts. */
static void a_file_and_a_clock_that_is_set(void **state) {
    (void)state;
    struct subject subject;
    char rule[128];
    snprintf(rule, sizeof rule, "file %s/pid", folder);
    put("pid", "old", O_TRUNC);
    usleep(100000);
    subject_start(&subject, "while ! [ -e go-back ]; do sleep 0.02; done; echo new >pid; sleep 1000", rule);
    subject.pid.spawned_ns -= 3600 * CORE_NS_PER_S; /* forward: the file of before seems newer than the start */
    assert_false(is_ready(&subject));
    subject.pid.spawned_ns += 2 * 3600 * CORE_NS_PER_S; /* back: the file that it writes seems older */
    assert_false(is_ready(&subject));
    put("go-back", "", 0);
    assert_true(becomes_ready(&subject));
    subject_end(&subject);
    snprintf(rule, sizeof rule, "file %s/pid-first", folder);
    subject_start(&subject, "echo new >pid-first; sleep 1000", rule);
    subject.pid.spawned_ns += 3600 * CORE_NS_PER_S;
    assert_true(becomes_ready(&subject)); /* there was none before */
    /* Adopted: nobody knows what it was like, so the time must do. */
    subject.pulse = (struct supervisor_pulse){0};
    assert_false(is_ready(&subject));
    subject.pid.spawned_ns -= 3600 * CORE_NS_PER_S;
    assert_true(is_ready(&subject));
    subject_end(&subject);
}

static void its_word_by_a_descriptor(void **state) {
    (void)state;
    static const char *const scripts[] = {
        "while ! [ -e go-fd ]; do sleep 0.02; done; echo >&$TAPLINE_READY_FD; sleep 1000",
        "while ! [ -e go-fd ]; do sleep 0.02; done; printf 'STATUS=x READY=1' >&3; exec 3>&-; sleep 1000",
    };
    char path[128];
    snprintf(path, sizeof path, "%s/go-fd", folder);
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        struct subject subject;
        unlink(path);
        subject_start(&subject, scripts[i], "fd");
        assert_true(subject.pid.ready_fd >= 0);
        assert_false(is_ready(&subject));
        put("go-fd", "", 0);
        assert_true(becomes_ready(&subject));
        subject_end(&subject);
    }
    struct subject subject; /* one that writes too much, with nobody there to read: it lives on, and takes no memory */
    subject_start(&subject, "for i in 1 2 3 4 5; do printf '%0200d' 1 >&3; done; echo over; exec sleep 1000", "fd");
    subject.spec.ready.rules[0] = "output over";
    assert_true(becomes_ready(&subject));
    subject.spec.ready.rules[0] = "fd";
    subject.pulse.rules_held = 0;
    assert_false(is_ready(&subject));
    subject_end(&subject);
    subject.pid.ready_fd = -1; /* adopted: its word went to another Supervisor */
    subject.pid.is_child = false;
    assert_true(is_ready(&subject));
}

static void somebody_listens(void **state) {
    (void)state;
    struct subject subject;
    char rule[64];
    char rule_v4[64];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    snprintf(rule, sizeof rule, "tcp %u", ntohs(address.sin_port));
    snprintf(rule_v4, sizeof rule_v4, "tcp 127.0.0.1:%u", ntohs(address.sin_port));
    subject_start(&subject, "sleep 1000", rule);
    subject.spec.ready.rules[1] = rule_v4;
    subject.spec.ready.rules_len = 2;
    assert_false(is_ready(&subject));
    assert_int_equal(listen(fd, 8), 0);
    assert_true(becomes_ready(&subject));
    close(fd);
    assert_true(is_ready(&subject)); /* it has held once */
    subject_end(&subject);
}

static void its_output_has_a_text(void **state) {
    (void)state;
    struct subject subject;
    put("stderr.log", "listening on lo, of the run before\n", O_TRUNC);
    subject_start(&subject, "while ! [ -e go-out ]; do sleep 0.02; done; echo 'listening on lo' >&2; sleep 1000",
                  "output listening on lo");
    assert_false(is_ready(&subject));
    put("stderr.log", "noise, then liste", O_APPEND);
    assert_false(is_ready(&subject));
    put("stderr.log", "ning on eth0\n", O_APPEND);
    assert_false(is_ready(&subject));
    put("stderr.log", "a text across two looks: listeni", O_APPEND);
    assert_false(is_ready(&subject));
    struct subject copy = subject;
    put("stderr.log", "ng on lo\n", O_APPEND);
    assert_true(is_ready(&copy));
    put("stderr.log", "", O_TRUNC); /* somebody empties it: what comes then is new */
    put("go-out", "", 0);
    assert_true(becomes_ready(&subject));
    subject_end(&subject);
}

/* 64 KiB a second of noise would not do: more than a look reads. */
static void a_flood_is_read_in_steps(void **state) {
    (void)state;
    struct subject subject;
    subject_start(&subject, "head -c 3000000 /dev/zero | tr '\\0' x; echo here; sleep 1000", "output here");
    assert_true(becomes_ready(&subject));
    assert_true(subject.pulse.output_read[0] >= 3000000);
    subject_end(&subject);
}

static void a_log_has_grown(void **state) {
    (void)state;
    struct subject subject;
    const char *const logs[] = {"logs/*.log", NULL}; /* in its working directory */
    char path[128];
    snprintf(path, sizeof path, "%s/logs", folder);

    subject_start(&subject, "mkdir logs; echo 0123456789 >logs/a.log; echo 1 >logs/b.txt; touch made; sleep 1000",
                  NULL);
    for (int ms = 0; access(path, F_OK) != 0 && ms < WAIT_MS_MAX; ms += 5) {
        usleep(5000);
    }
    snprintf(path, sizeof path, "%s/made", folder);
    for (int ms = 0; access(path, F_OK) != 0 && ms < WAIT_MS_MAX; ms += 5) {
        usleep(5000);
    }
    subject.spec.logs = logs;
    subject.spec.ready.rules[0] = "log_written";
    subject.spec.ready.rules_len = 1;
    supervisor_pulse_begin(&subject.pulse, &subject.spec);
    assert_int_equal(subject.pulse.logs_bytes, 11);
    assert_false(is_ready(&subject));
    put("logs/b.txt", "more, but no log", O_APPEND);
    put("logs/conn.log", "", 0); /* Zeek's files may stand at 0 bytes first */
    assert_false(is_ready(&subject));
    snprintf(path, sizeof path, "%s/logs/a.log", folder);
    assert_int_equal(unlink(path), 0); /* that of the run before is put away */
    assert_false(is_ready(&subject));
    put("logs/conn.log", "x\n", O_APPEND);
    assert_true(is_ready(&subject));
    subject_end(&subject);
}

static int folder_make(void **state) {
    (void)state;
    if (children_adopt() != 0) {
        return -1;
    }
    snprintf(folder, sizeof folder, "/tmp/tapline-ready-XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
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
        cmocka_unit_test(texts),
        cmocka_unit_test(without_a_rule_it_is_ready_at_once),
        cmocka_unit_test(after_a_time),
        cmocka_unit_test(a_file_newer_than_the_start),
        cmocka_unit_test(a_file_and_a_clock_that_is_set),
        cmocka_unit_test(its_word_by_a_descriptor),
        cmocka_unit_test(somebody_listens),
        cmocka_unit_test(its_output_has_a_text),
        cmocka_unit_test(a_flood_is_read_in_steps),
        cmocka_unit_test(a_log_has_grown),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
