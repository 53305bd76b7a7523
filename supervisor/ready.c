/* supervisor/ready.c: rules of readiness: when is a started process at its work?
 *
 * A rule is text in the spec ("output listening on"), parsed when it is asked: that is rare, and a spec stays plain data. Each
 * rule must have held once; which have is kept in the pulse, so that a rule is not asked again (a port that was open, a text
 * that has since been trimmed away).
 *
 * Nothing here waits: a connection over loopback is made or refused at once, one to elsewhere gets a few milliseconds.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READY_CONNECT_MS_MAX 10
#define READY_OUTPUT_BYTES_A_LOOK ((size_t)256 * 1024)
#define READY_FD_BYTES 256
#define READY_CLOCK_NS (20 * CORE_NS_PER_MS) /* a file's times go by ticks of the kernel, and may be one behind */

struct ready_rule {
    enum supervisor_ready_rule kind;
    const char *arg;
};

static const char *const forms[] = {
    [SUPERVISOR_READY_AFTER] = "\"after\" and a time: after 5s (ms, s, m, h)",
    [SUPERVISOR_READY_FILE] = "\"file\" and a path from the root: file /run/sensor.pid",
    [SUPERVISOR_READY_FD] = "\"fd\" alone",
    [SUPERVISOR_READY_TCP] = "\"tcp\" and a port, or an address (no name) and a port: tcp 127.0.0.1:47760",
    [SUPERVISOR_READY_OUTPUT] = "\"output\" and a text of up to 127 bytes: output listening on",
    [SUPERVISOR_READY_LOG_WRITTEN] = "\"log_written\" alone",
};

bool supervisor_ready_is_rule(const char *text, char *why, size_t why_cap) {
    MUST(text != NULL);
    MUST(why != NULL && why_cap > 0);
    enum supervisor_ready_rule kind = SUPERVISOR_READY_AFTER;
    const char *rest = NULL; /* set where at least the word is one */
    if (supervisor_rule_read(text, &kind, &rest)) {
        why[0] = '\0';
        return true;
    }
    if (rest != NULL) {
        snprintf(why, why_cap, "\"%s\": write %s", text, forms[kind]);
    } else {
        snprintf(
            why, why_cap,
            "\"%s\" is no rule of readiness; there are: log_written, output TEXT, file PATH, fd, tcp [ADDRESS:]PORT, "
            "after TIME",
            text);
    }
    return false;
}

/* ---- does it hold? ----------------------------------------------------------------------------------------------------------- */

int64_t supervisor_boot_ns(void) {
    struct timespec now;
    MUST(clock_gettime(CLOCK_BOOTTIME, &now) == 0);
    return now.tv_sec * CORE_NS_PER_S + now.tv_nsec;
}

/* By the kernel's own clocks: nobody sets those. */
static bool after_holds(const struct ready_rule *rule, const struct supervisor_pid *pid) {
    long ticks_a_second = sysconf(_SC_CLK_TCK);
    MUST(ticks_a_second > 0);
    int64_t started_ns = (int64_t)(pid->start_ticks * (uint64_t)(CORE_NS_PER_S / ticks_a_second));
    return supervisor_boot_ns() - started_ns >= supervisor_duration_ns(rule->arg);
}

static struct supervisor_file_mark file_mark(const char *path) {
    struct stat st;
    struct supervisor_file_mark mark = {.is_taken = true, .is_there = stat(path, &st) == 0};
    if (mark.is_there) {
        mark.device = st.st_dev;
        mark.inode = st.st_ino;
        mark.changed_ns = st.st_ctim.tv_sec * CORE_NS_PER_S + st.st_ctim.tv_nsec;
    }
    return mark;
}

void supervisor_ready_begin(struct supervisor_pulse *pulse, const struct supervisor_spec *spec) {
    MUST(spec->ready.rules_len <= SUPERVISOR_READY_MAX);
    for (size_t i = 0; i < spec->ready.rules_len; i++) {
        struct ready_rule rule;
        MUST(supervisor_rule_read(spec->ready.rules[i], &rule.kind, &rule.arg));
        if (rule.kind == SUPERVISOR_READY_FILE) {
            struct supervisor_file_mark mark = file_mark(rule.arg);
            int64_t age_ns = core_now_ns() - mark.changed_ns;
            /* So new that another change in the same tick would not show: rather ready too early than never. */
            mark.is_there = mark.is_there && (age_ns < -READY_CLOCK_NS || age_ns > READY_CLOCK_NS);
            pulse->files[i] = mark;
        }
    }
}

/* By what it was before the start, for the clock may be set in between. By the time of its last change: a file that was written
 * elsewhere and moved into place counts. Of an adopted process that is all there is, and it is never stopped for it. */
static bool file_holds(const struct ready_rule *rule, const struct supervisor_pid *pid,
                       const struct supervisor_file_mark *before) {
    struct supervisor_file_mark now = file_mark(rule->arg);
    if (!now.is_there) {
        return false;
    }
    if (!before->is_taken) {
        return now.changed_ns >= pid->spawned_ns - READY_CLOCK_NS;
    }
    return !before->is_there || now.device != before->device || now.inode != before->inode ||
           now.changed_ns != before->changed_ns;
}

static bool fd_holds(const struct supervisor_pid *pid) {
    char bytes[READY_FD_BYTES];
    if (pid->ready_fd < 0) {
        return !pid->is_child;
    }
    ssize_t len = pread(pid->ready_fd, bytes, sizeof bytes, 0);
    static const char word[] = "READY=1";
    return len > 0 &&
           (memchr(bytes, '\n', (size_t)len) != NULL || memmem(bytes, (size_t)len, word, sizeof word - 1) != NULL);
}

static bool connects(const struct sockaddr *address, socklen_t len) {
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    int error = 0;
    socklen_t error_len = sizeof error;
    struct pollfd done = {.fd = fd, .events = POLLOUT};
    bool has =
        connect(fd, address, len) == 0 || (errno == EINPROGRESS && poll(&done, 1, READY_CONNECT_MS_MAX) == 1 &&
                                           getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len) == 0 && error == 0);
    close(fd);
    return has;
}

static bool tcp_holds(const struct ready_rule *rule) {
    char host[SUPERVISOR_HOST_BYTES_MAX];
    uint16_t port;
    MUST(supervisor_tcp_of(rule->arg, host, &port));
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};
    bool is_v4 = host[0] == '\0' || inet_pton(AF_INET, host, &v4.sin_addr) == 1;
    bool is_v6 = host[0] == '\0' || inet_pton(AF_INET6, host, &v6.sin6_addr) == 1;
    return (is_v4 && connects((const struct sockaddr *)&v4, sizeof v4)) ||
           (is_v6 && connects((const struct sockaddr *)&v6, sizeof v6));
}

/* Which texts are in what came since the last look? All rules of this kind at once, since what is read is read once. */
static void output_look(struct supervisor_pulse *pulse, const struct supervisor_spec *spec,
                        const struct supervisor_pid *pid, int which) {
    char path[SUPERVISOR_PATH_BYTES_MAX];
    struct stat st;
    supervisor_output_path(spec, which, path);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        goto out;
    }
    off_t *from = &pulse->output_read[which];
    *from = *from < pid->output_from[which] ? pid->output_from[which] : *from;
    *from = *from > st.st_size ? 0 : *from; /* somebody has emptied it: all that is there is new */
    char bytes[SUPERVISOR_READY_TEXT_BYTES_MAX + 4096];
    size_t tail_len = pulse->output_tail_len[which];
    for (size_t done = 0; done < READY_OUTPUT_BYTES_A_LOOK;) {
        memcpy(bytes, pulse->output_tail[which], tail_len);
        ssize_t len = pread(fd, bytes + tail_len, sizeof bytes - tail_len, *from);
        if (len <= 0) {
            break;
        }
        size_t all = tail_len + (size_t)len;
        for (size_t i = 0; i < spec->ready.rules_len; i++) {
            struct ready_rule rule;
            if (supervisor_rule_read(spec->ready.rules[i], &rule.kind, &rule.arg) &&
                rule.kind == SUPERVISOR_READY_OUTPUT && memmem(bytes, all, rule.arg, strlen(rule.arg)) != NULL) {
                pulse->rules_held |= 1U << i;
            }
        }
        tail_len = all < sizeof pulse->output_tail[which] ? all : sizeof pulse->output_tail[which];
        memcpy(pulse->output_tail[which], bytes + all - tail_len, tail_len);
        *from += len;
        done += (size_t)len;
    }
    pulse->output_tail_len[which] = tail_len;
out:
    if (fd >= 0) {
        close(fd);
    }
}

/* A log that shrinks (the one of the run before is put away) sets the mark lower: then growth is seen again. */
static bool log_written_holds(struct supervisor_pulse *pulse, const struct supervisor_spec *spec) {
    uint64_t bytes = supervisor_logs_bytes(spec);
    bool has_grown = bytes > pulse->logs_bytes;
    pulse->logs_bytes = bytes < pulse->logs_bytes ? bytes : pulse->logs_bytes;
    return has_grown;
}

bool supervisor_is_ready(struct supervisor_pulse *pulse, const struct supervisor_spec *spec,
                         const struct supervisor_pid *pid) {
    MUST(pulse != NULL && spec != NULL && pid != NULL);
    MUST(spec->ready.rules_len <= SUPERVISOR_READY_MAX);
    bool has_looked = false;
    bool is_ready = true;
    for (size_t i = 0; i < spec->ready.rules_len; i++) {
        struct ready_rule rule;
        if ((pulse->rules_held & 1U << i) != 0) {
            continue;
        }
        MUST(supervisor_rule_read(spec->ready.rules[i], &rule.kind, &rule.arg)); /* or it were in no spec */
        bool holds = false;
        switch (rule.kind) {
        case SUPERVISOR_READY_AFTER:
            holds = after_holds(&rule, pid);
            break;
        case SUPERVISOR_READY_FILE:
            holds = file_holds(&rule, pid, &pulse->files[i]);
            break;
        case SUPERVISOR_READY_FD:
            holds = fd_holds(pid);
            break;
        case SUPERVISOR_READY_TCP:
            holds = tcp_holds(&rule);
            break;
        case SUPERVISOR_READY_OUTPUT:
            for (int which = 0; which < 2 && !has_looked; which++) {
                output_look(pulse, spec, pid, which);
            }
            has_looked = true;
            holds = (pulse->rules_held & 1U << i) != 0;
            break;
        case SUPERVISOR_READY_LOG_WRITTEN:
            holds = log_written_holds(pulse, spec);
            break;
        }
        pulse->rules_held |= holds ? 1U << i : 0;
        is_ready = is_ready && holds;
    }
    return is_ready;
}
