/* From fork to exec with real programs: what a process is given, what it is not given, and what is said when it cannot be.
 * Cases that need root are skipped without it; what a Supervisor that is not root refuses is tried as nobody.
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
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS_MAX 20000
#define TEXT_BYTES_MAX 65536
#define CAP_NET_RAW_MASK UINT64_C(0x2000)
#define SIGNAL_OF_LIBC 32
#define RAW_SOCKET_WORD "--open-a-raw-socket"

static char folder[64]; /* of this test alone; any user may enter it */
static char stdout_log[128];
static char self_copy[128];
static const struct supervisor_cgroups no_cgroups;

static const char *const no_texts[] = {NULL};

/* A spec for `sh -c script`, or for another program. */
static struct supervisor_spec spec_of(const char *const *argv) {
    struct supervisor_spec spec;
    supervisor_spec_init(&spec);
    spec.name = "spawned";
    spec.argv = argv;
    spec.cwd = folder;
    spec.logs = no_texts;
    return spec;
}
#define SHELL(script) ((const char *const[]){"sh", "-c", script, NULL})

static const char *text_of(const char *path, char out[TEXT_BYTES_MAX]) {
    FILE *in = fopen(path, "re");
    size_t len = in == NULL ? 0 : fread(out, 1, TEXT_BYTES_MAX - 1, in);
    out[len] = '\0';
    if (in != NULL) {
        fclose(in);
    }
    return out;
}

static void start(const struct supervisor_spec *spec, struct supervisor_pid *pid) {
    struct core_fail fail = {0};
    memset(pid, 0, sizeof *pid);
    if (supervisor_spawn(spec, &no_cgroups, pid, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
    assert_true(pid->pid > 0 && pid->pidfd >= 0 && pid->is_child);
}

/* Wait for its end; its wait status. */
static int end_of(struct supervisor_pid *pid) {
    struct pollfd ended = {.fd = pid->pidfd, .events = POLLIN};
    int status = -1;
    assert_int_equal(poll(&ended, 1, WAIT_MS_MAX), 1);
    assert_int_equal(waitpid(pid->pid, &status, 0), pid->pid);
    close(pid->pidfd);
    if (pid->ready_fd >= 0) {
        close(pid->ready_fd);
    }
    return status;
}

static bool comes_true(bool (*is_so)(pid_t), pid_t pid) {
    for (int ms = 0; ms < WAIT_MS_MAX; ms += 5) {
        if (is_so(pid)) {
            return true;
        }
        usleep(5000);
    }
    return false;
}

static bool is_gone(pid_t pid) {
    struct supervisor_usage usage;
    return !supervisor_usage_of(pid, &usage) || usage.state == 'Z' || usage.state == 'X';
}

static bool has_pages(pid_t pid) {
    char path[64];
    char text[TEXT_BYTES_MAX];
    struct supervisor_usage usage;
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    return supervisor_usage_of(pid, &usage) && usage.rss_bytes > 0 && text_of(path, text)[0] != '\0';
}

/* Run the script to its end, and have what it printed. */
static const char *printed_by(const struct supervisor_spec *spec, char out[TEXT_BYTES_MAX]) {
    struct supervisor_pid pid;
    unlink(stdout_log);
    start(spec, &pid);
    assert_int_equal(end_of(&pid), 0);
    return text_of(stdout_log, out);
}

static void assert_has(const char *text, const char *part) {
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in: %s", part, text);
    }
}

static void assert_has_not(const char *text, const char *part) {
    if (strstr(text, part) != NULL) {
        fail_msg("\"%s\" is in: %s", part, text);
    }
}

/* What whoever started us may have left: libc refuses to touch the signals of its own, exec keeps them ignored. */
static void ignore_as_inherited(int number) {
    const struct {
        void (*handler)(int);
        unsigned char rest[64 - sizeof(void (*)(int))];
    } ignored = {.handler = SIG_IGN};
    assert_int_equal(syscall(SYS_rt_sigaction, number, &ignored, NULL, (size_t)(NSIG - 1) / CHAR_BIT), 0);
}

static void the_environment_is_clean_and_nothing_is_left_open(void **state) {
    (void)state;
    char text[TEXT_BYTES_MAX];
    const struct supervisor_pair env[] = {{"COLOUR", "a b=c"}, {"LANG", "de_DE.UTF-8"}, {"TAPLINE_COOKIE", "no"}};
    struct supervisor_spec spec = spec_of(
        SHELL("env; ls -l /proc/self/fd; umask; pwd; grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status; echo bad >&2; "
              "readlink /proc/self/fd/0"));
    spec.env = env;
    spec.env_len = 3;
    spec.umask = 027;
    int leaked = open("/etc/passwd", O_RDONLY);
    assert_true(leaked >= 0);
    assert_int_equal(setenv("SECRET", "of the Supervisor", 1), 0);
    assert_non_null(signal(SIGPIPE, SIG_IGN) == SIG_ERR ? NULL : folder);
    ignore_as_inherited(SIGNAL_OF_LIBC);
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    printed_by(&spec, text);
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(leaked);
    assert_has(text, "COLOUR=a b=c\n");
    assert_has(text, "LANG=de_DE.UTF-8\n");
    assert_has(text, "PATH=/usr/local/sbin:");
    assert_has(text, "HOME=/");
    assert_has(text, "LOGNAME=");
    assert_has(text, "SHELL=/");
    assert_has(text, "TAPLINE_COOKIE=");
    assert_has_not(text, "TAPLINE_COOKIE=no");
    assert_has_not(text, "TAPLINE_READY_FD");
    assert_has_not(text, "SECRET");
    assert_has_not(text, "/etc/passwd");
    assert_has_not(text, "pipe:");
    assert_has(text, "\n0027\n");
    assert_has(text, folder);
    assert_has(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    assert_has(text, "/dev/null\n");
    char path[160];
    snprintf(path, sizeof path, "%s/stderr.log", folder);
    assert_string_equal(text_of(path, text), "bad\n");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static void a_process_is_found_again_by_what_is_noted(void **state) {
    (void)state;
    char text[TEXT_BYTES_MAX];
    struct supervisor_spec spec = spec_of((const char *const[]){"sleep", "1000", NULL});
    struct supervisor_pid pid = {.cookie = "0123456789abcdef0123456789abcdef"};
    struct supervisor_usage usage;
    struct core_fail fail;
    FILE *out = fopen(stdout_log, "we");
    fputs("from before\n", out);
    fclose(out);
    assert_int_equal(supervisor_spawn(&spec, &no_cgroups, &pid, &fail), CORE_OK);
    assert_string_equal(pid.cookie, "0123456789abcdef0123456789abcdef");
    assert_int_equal(pid.output_from[0], 12);
    assert_int_equal(getsid(pid.pid), pid.pid);
    assert_int_equal(getpgid(pid.pid), pid.pid);
    assert_true(supervisor_usage_of(pid.pid, &usage));
    assert_int_equal(usage.start_ticks, pid.start_ticks);
    assert_int_equal(usage.threads, 1);
    assert_true(comes_true(has_pages, pid.pid)); /* the exec is under way: its memory is there a moment later */
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", pid.pid);
    assert_has(text_of(path, text), "TAPLINE_COOKIE=0123456789abcdef0123456789abcdef");
    assert_int_equal(fcntl(pid.pidfd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    supervisor_signal(&spec, &no_cgroups, &pid, SIGTERM);
    int status = end_of(&pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    struct supervisor_pid another;
    start(&spec, &another);
    assert_int_equal(strlen(another.cookie), SUPERVISOR_COOKIE_BYTES - 1);
    supervisor_signal(&spec, &no_cgroups, &another, SIGKILL);
    end_of(&another);
}

static void limits_hold(void **state) {
    (void)state;
    char text[TEXT_BYTES_MAX];
    const struct supervisor_pair limits[] = {{"nofile", "123"}, {"core", "0"}};
    struct supervisor_spec spec = spec_of((const char *const[]){"sleep", "1000", NULL});
    struct supervisor_pid pid;
    cpu_set_t mine;
    cpu_set_t its;
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    for (uint16_t cpu = 0; cpu < CPU_SETSIZE && spec.cpus_len == 0; cpu++) {
        if (CPU_ISSET(cpu, &mine)) {
            spec.cpus[spec.cpus_len++] = cpu;
        }
    }
    spec.limits = limits;
    spec.limits_len = 2;
    spec.nice = 5;
    spec.memory_max_bytes = UINT64_C(1) << 30;
    int nice_before = getpriority(PRIO_PROCESS, 0);
    start(&spec, &pid);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/limits", pid.pid);
    text_of(path, text);
    assert_has(text, "Max open files            123                  123 ");
    assert_has(text, "Max core file size        0                    0 ");
    assert_has(text, "Max address space         1073741824           1073741824 ");
    assert_int_equal(getpriority(PRIO_PROCESS, (id_t)pid.pid), 5);
    assert_int_equal(sched_getaffinity(pid.pid, sizeof its, &its), 0);
    assert_int_equal(CPU_COUNT(&its), 1);
    assert_true(CPU_ISSET(spec.cpus[0], &its));
    assert_int_equal(getpriority(PRIO_PROCESS, 0), nice_before);
    supervisor_signal(&spec, &no_cgroups, &pid, SIGKILL);
    end_of(&pid);
}

/* ---- what cannot be done is said, and nothing runs ---- */

static void assert_refused(const struct supervisor_spec *spec, enum core_err err, const char *part) {
    struct supervisor_pid pid = {0};
    struct core_fail fail = {0};
    assert_int_equal(supervisor_spawn(spec, &no_cgroups, &pid, &fail), err);
    assert_int_equal(fail.err, err);
    assert_has(fail.text, part);
    assert_int_equal(pid.pid, 0);
    assert_int_equal(pid.pidfd, -1);
    assert_int_equal(pid.ready_fd, -1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* not even a child to be reaped */
    assert_int_equal(errno, ECHILD);
}

static void what_cannot_be_done_is_said(void **state) {
    (void)state;
    char path[160];
    struct supervisor_spec spec = spec_of((const char *const[]){"no-such-program", NULL});
    assert_refused(&spec, CORE_BAD, "\"no-such-program\" is in no directory of PATH");
    spec = spec_of((const char *const[]){"/no/such/program", NULL});
    assert_refused(&spec, CORE_IO, "cannot execute its program");
    spec = spec_of((const char *const[]){"/etc/passwd", NULL});
    assert_refused(&spec, CORE_IO, "Permission denied");
    spec = spec_of(SHELL("true"));
    spec.cwd = "/etc/passwd";
    spec.output.directory = folder;
    assert_refused(&spec, CORE_IO, "cannot go to its working directory");
    spec.cwd = "/no/such/directory";
    assert_refused(&spec, CORE_IO, "cannot make this directory");
    spec = spec_of(SHELL("true"));
    spec.user = "no-such-user";
    assert_refused(&spec, CORE_BAD, "no user \"no-such-user\"");
    spec = spec_of(SHELL("true"));
    spec.groups = (const char *const[]){"no-such-group", NULL};
    assert_refused(&spec, CORE_BAD, "no group \"no-such-group\"");
    spec = spec_of(SHELL("true"));
    spec.capabilities = (const char *const[]){"cap_of_wonders", NULL};
    assert_refused(&spec, CORE_BAD, "no capability \"cap_of_wonders\"");
    spec = spec_of(SHELL("true"));
    spec.limits = &(const struct supervisor_pair){"nofile", "many"};
    spec.limits_len = 1;
    assert_refused(&spec, CORE_BAD, "\"nofile\": \"many\"");
    spec = spec_of(SHELL("true"));
    spec.cpus[0] = SUPERVISOR_CPUS_MAX - 1;
    spec.cpus_len = 1;
    assert_refused(&spec, CORE_IO, "cannot pin it to its CPUs");
    spec = spec_of(SHELL("true"));
    unlink(stdout_log);
    snprintf(path, sizeof path, "%s/elsewhere", folder);
    assert_int_equal(symlink(path, stdout_log), 0);
    assert_refused(&spec, CORE_IO, "cannot open the file for its output");
    assert_int_equal(access(path, F_OK), -1);
    unlink(stdout_log);
    assert_int_equal(mkfifo(stdout_log, 0666), 0);
    assert_refused(&spec, CORE_IO, "cannot open the file for its output");
    unlink(stdout_log);
}

static void a_script_in_the_working_directory_is_executed(void **state) {
    (void)state;
    char text[TEXT_BYTES_MAX];
    char path[160];
    snprintf(path, sizeof path, "%s/script", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    assert_true(dprintf(fd, "#!/bin/sh\necho \"$0 $1\"\n") > 0);
    close(fd);
    struct supervisor_spec spec = spec_of((const char *const[]){"./script", "two words", NULL});
    assert_has(printed_by(&spec, text), "./script two words");
    const struct supervisor_pair env = {"PATH", folder};
    spec = spec_of((const char *const[]){"script", "by path", NULL});
    spec.env = &env;
    spec.env_len = 1;
    assert_has(printed_by(&spec, text), "/script by path");
}

/* ---- users and capabilities ---- */

/* "CapEff:\t00…2000" of a printed /proc/self/status. */
static uint64_t mask_in(const char *status, const char *key) {
    const char *at = strstr(status, key);
    assert_non_null(at);
    return strtoull(at + strlen(key), NULL, 16);
}

static void a_user_has_his_capabilities_and_no_more(void **state) {
    (void)state;
    char text[TEXT_BYTES_MAX];
    char directory[128];
    struct stat st;
    const struct passwd *nobody = getpwnam("nobody");
    if (geteuid() != 0 || nobody == NULL) {
        print_message("SKIP: only root can become another user\n");
        skip();
    }
    snprintf(directory, sizeof directory, "%s/work-%d", folder, getpid());
    struct supervisor_spec spec =
        spec_of(SHELL("cat /proc/self/status; id -un; echo $HOME; cat /proc/self/oom_score_adj"));
    spec.user = "nobody";
    spec.cwd = directory;
    spec.output.directory = directory;
    struct supervisor_pid pid;
    int adj = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    bool is_protected = adj >= 0 && pwrite(adj, "-7", 2, 0) == 2;
    start(&spec, &pid);
    assert_int_equal(end_of(&pid), 0);
    if (is_protected) {
        assert_int_equal(pwrite(adj, "0", 1, 0), 1);
    }
    close(adj);
    char path[160];
    snprintf(path, sizeof path, "%s/stdout.log", directory);
    text_of(path, text);
    assert_has(text, "\nnobody\n");
    assert_has(text, nobody->pw_dir);
    assert_has(text, "\n0\n");
    assert_int_equal(mask_in(text, "CapEff:"), 0);
    assert_int_equal(mask_in(text, "CapPrm:"), 0);
    assert_int_equal(mask_in(text, "CapBnd:"), 0);
    assert_int_equal(stat(directory, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_int_equal(st.st_uid, nobody->pw_uid);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(st.st_uid, nobody->pw_uid);

    spec.capabilities = (const char *const[]){"cap_net_raw", NULL};
    unlink(path);
    start(&spec, &pid);
    assert_int_equal(end_of(&pid), 0);
    text_of(path, text);
    assert_int_equal(mask_in(text, "CapEff:"), CAP_NET_RAW_MASK);
    assert_int_equal(mask_in(text, "CapAmb:"), CAP_NET_RAW_MASK);
    assert_int_equal(mask_in(text, "CapBnd:"), CAP_NET_RAW_MASK);
    assert_has(text, "\nnobody\n");
    /* And a program can use it that knows nothing of capabilities. */
    spec.argv = (const char *const[]){self_copy, RAW_SOCKET_WORD, NULL};
    start(&spec, &pid);
    assert_int_equal(end_of(&pid), 0);
    spec.capabilities = no_texts;
    start(&spec, &pid);
    assert_int_equal(WEXITSTATUS(end_of(&pid)), EPERM);
}

static void root_keeps_only_what_is_listed(void **state) {
    (void)state;
    char text[TEXT_BYTES_MAX];
    if (geteuid() != 0) {
        print_message("SKIP: not root\n");
        skip();
    }
    struct supervisor_spec spec = spec_of(SHELL("cat /proc/self/status"));
    spec.capabilities = (const char *const[]){"cap_net_raw", NULL};
    printed_by(&spec, text);
    assert_int_equal(mask_in(text, "CapEff:"), CAP_NET_RAW_MASK);
    spec.groups = (const char *const[]){"daemon", NULL};
    printed_by(&spec, text);
    assert_has(text, "Groups:\t1 \n");
}

/* In a child that is nobody; exit code 0: all as it should be, else the line. */
#define CHECK(is_so)                                                                                                   \
    do {                                                                                                               \
        if (!(is_so)) {                                                                                                \
            fprintf(stderr, "line %d: %s; %s\n", __LINE__, #is_so, why.text);                                          \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static void be_nobody(const char *directory) {
    struct core_fail why = {0};
    struct supervisor_pid pid = {0};
    struct supervisor_spec spec = spec_of(SHELL("exit 7"));
    spec.cwd = directory;
    spec.output.directory = directory;
    CHECK(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
    spec.user = "root";
    CHECK(supervisor_spawn(&spec, &no_cgroups, &pid, &why) == CORE_BAD &&
          strstr(why.text, "only root can become") != NULL);
    spec.user = NULL;
    spec.capabilities = (const char *const[]){"cap_net_raw", NULL};
    CHECK(supervisor_spawn(&spec, &no_cgroups, &pid, &why) == CORE_BAD &&
          strstr(why.text, "setcap cap_net_raw") != NULL);
    spec.capabilities = NULL;
    spec.groups = (const char *const[]){"daemon", NULL};
    CHECK(supervisor_spawn(&spec, &no_cgroups, &pid, &why) == CORE_IO &&
          strstr(why.text, "other groups need root") != NULL);
    spec.groups = NULL;
    spec.nice = -5;
    CHECK(supervisor_spawn(&spec, &no_cgroups, &pid, &why) == CORE_IO && strstr(why.text, "niceness") != NULL);
    spec.nice = 0;
    struct rlimit mine;
    char more[32];
    CHECK(getrlimit(RLIMIT_NOFILE, &mine) == 0);
    snprintf(more, sizeof more, "%llu", (unsigned long long)mine.rlim_max + 1);
    const struct supervisor_pair limit = {"nofile", more};
    spec.limits = &limit;
    spec.limits_len = mine.rlim_max == RLIM_INFINITY ? 0 : 1;
    CHECK(spec.limits_len == 0 ||
          (supervisor_spawn(&spec, &no_cgroups, &pid, &why) == CORE_IO && strstr(why.text, "limits") != NULL));
    spec.limits_len = 0;
    spec.output.directory = "/";
    CHECK(supervisor_spawn(&spec, &no_cgroups, &pid, &why) == CORE_IO &&
          strstr(why.text, "file for its output") != NULL);
    spec.output.directory = directory;
    spec.user = "nobody"; /* who we are already */
    CHECK(supervisor_spawn(&spec, &no_cgroups, &pid, &why) == CORE_OK);
    int status;
    CHECK(waitpid(pid.pid, &status, 0) == pid.pid && WEXITSTATUS(status) == 7);
    _exit(0);
}

static void without_root_all_else_works(void **state) {
    (void)state;
    char directory[128];
    snprintf(directory, sizeof directory, "%s/nobodys", folder);
    const struct passwd *nobody = getpwnam("nobody");
    if (geteuid() != 0 || nobody == NULL || nobody->pw_uid != 65534) {
        print_message("SKIP: needs root, to become nobody\n");
        skip();
    }
    assert_int_equal(mkdir(directory, 0700), 0);
    assert_int_equal(chown(directory, 65534, 65534), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        be_nobody(directory);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ---- signals ---- */

static void the_whole_group_is_killed(void **state) {
    (void)state;
    char text[TEXT_BYTES_MAX];
    struct supervisor_spec spec = spec_of(SHELL("trap '' TERM; sleep 1000 & echo $!; wait; wait; sleep 1000"));
    struct supervisor_pid pid;
    unlink(stdout_log);
    start(&spec, &pid);
    pid_t grandchild = 0;
    for (int ms = 0; grandchild == 0 && ms < WAIT_MS_MAX; ms += 5) {
        grandchild = atoi(text_of(stdout_log, text));
        usleep(5000);
    }
    assert_true(grandchild > 0);
    supervisor_signal(&spec, &no_cgroups, &pid, SIGTERM);
    assert_false(is_gone(pid.pid));
    supervisor_signal(&spec, &no_cgroups, &pid, SIGKILL);
    assert_int_equal(WTERMSIG(end_of(&pid)), SIGKILL);
    assert_true(comes_true(is_gone, grandchild));
}

static void what_left_the_group_is_found_by_its_cookie(void **state) {
    (void)state;
    char text[TEXT_BYTES_MAX];
    struct supervisor_spec spec =
        spec_of(SHELL("setsid sh -c 'echo $$; exec sleep 1000' & while ! [ -s stdout.log ]; do :; done"));
    struct supervisor_spec other_spec = spec_of((const char *const[]){"sleep", "1000", NULL});
    struct supervisor_pid pid;
    struct supervisor_pid other;
    char directory[128];
    snprintf(directory, sizeof directory, "%s/other", folder);
    other_spec.cwd = directory;
    unlink(stdout_log);
    start(&other_spec, &other);
    start(&spec, &pid);
    struct supervisor_pid ended = pid;
    ended.pidfd = dup(pid.pidfd);
    end_of(&pid);
    pid_t escaped = atoi(text_of(stdout_log, text));
    assert_true(escaped > 0 && !is_gone(escaped));
    supervisor_signal(&spec, &no_cgroups, &ended, SIGTERM); /* to nobody: its leader is gone */
    assert_false(is_gone(escaped));
    supervisor_signal(&spec, &no_cgroups, &ended, SIGKILL);
    assert_true(comes_true(is_gone, escaped));
    assert_false(is_gone(other.pid));
    close(ended.pidfd);
    supervisor_signal(&other_spec, &no_cgroups, &other, SIGKILL);
    end_of(&other);
}

/* ---- the test's own folder, and itself as a program ---- */

static int folder_make(void **state) {
    (void)state;
    if (children_adopt() != 0) {
        return -1;
    }
    snprintf(folder, sizeof folder, "/tmp/tapline-spawn-XXXXXX");
    if (mkdtemp(folder) == NULL || chmod(folder, 0755) != 0) {
        return -1;
    }
    snprintf(stdout_log, sizeof stdout_log, "%s/stdout.log", folder);
    snprintf(self_copy, sizeof self_copy, "%s/self", folder);
    int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int out = open(self_copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    ssize_t len;
    while ((len = sendfile(out, in, NULL, (size_t)1 << 30)) > 0) {
    }
    close(in);
    close(out);
    return len == 0 ? 0 : -1;
}

static int folder_remove(void **state) {
    (void)state;
    char command[128];
    children_end();
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], RAW_SOCKET_WORD) == 0) {
        _exit(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0) >= 0 ? 0 : errno);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_is_clean_and_nothing_is_left_open),
        cmocka_unit_test(a_process_is_found_again_by_what_is_noted),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(what_cannot_be_done_is_said),
        cmocka_unit_test(a_script_in_the_working_directory_is_executed),
        cmocka_unit_test(a_user_has_his_capabilities_and_no_more),
        cmocka_unit_test(root_keeps_only_what_is_listed),
        cmocka_unit_test(without_root_all_else_works),
        cmocka_unit_test(the_whole_group_is_killed),
        cmocka_unit_test(what_left_the_group_is_found_by_its_cookie),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
