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
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READY_HOST_BYTES_MAX 64
#define READY_CONNECT_MS_MAX 10
#define READY_OUTPUT_BYTES_A_LOOK ((size_t)256 * 1024)
#define READY_FD_BYTES 256
#define READY_CLOCK_NS (20 * CORE_NS_PER_MS) /* a file's times may be a tick of the kernel behind */
#define READY_AFTER_S_MAX 86400

struct ready_rule {
    enum supervisor_ready_rule kind;
    const char *arg;
    int64_t after_ns;
    char host[READY_HOST_BYTES_MAX]; /* "": loopback, of either family */
    uint16_t port;
};

/* ---- text -------------------------------------------------------------------------------------------------------------- */

static bool after_read(struct ready_rule *rule) {
    static const struct {
        const char *unit;
        int64_t ns;
    } units[] = {{"ms", CORE_NS_PER_MS}, {"s", CORE_NS_PER_S}, {"m", 60 * CORE_NS_PER_S}, {"h", 3600 * CORE_NS_PER_S}};
    char *end = NULL;
    errno = 0;
    long long number = core_is_digit(rule->arg[0]) ? strtoll(rule->arg, &end, 10) : -1;
    for (size_t i = 0; number >= 0 && errno == 0 && i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].unit) == 0 && number <= READY_AFTER_S_MAX * CORE_NS_PER_S / units[i].ns) {
            rule->after_ns = number * units[i].ns;
            return true;
        }
    }
    return false;
}

/* "47760", "192.0.2.1:47760", "[::1]:47760": addresses, not names, for a name would have to be waited for. */
static bool tcp_read(struct ready_rule *rule) {
    const char *colon = strrchr(rule->arg, ':');
    const char *port = colon == NULL ? rule->arg : colon + 1;
    char *end = NULL;
    unsigned long number = core_is_digit(port[0]) ? strtoul(port, &end, 10) : 0;
    if (number == 0 || number > UINT16_MAX || *end != '\0') {
        return false;
    }
    rule->port = (uint16_t)number;
    if (colon == NULL) {
        return true;
    }
    size_t len = (size_t)(colon - rule->arg);
    bool is_v6 = len > 2 && rule->arg[0] == '[' && colon[-1] == ']';
    int wrote = snprintf(rule->host, sizeof rule->host, "%.*s", (int)(is_v6 ? len - 2 : len), rule->arg + is_v6);
    struct in6_addr address;
    return wrote > 0 && (size_t)wrote < sizeof rule->host &&
           inet_pton(is_v6 ? AF_INET6 : AF_INET, rule->host, &address) == 1;
}

static bool file_read(struct ready_rule *rule) {
    return rule->arg[0] != '\0' && strlen(rule->arg) < SUPERVISOR_PATH_BYTES_MAX / 2;
}

static bool output_read(struct ready_rule *rule) {
    return rule->arg[0] != '\0' && strlen(rule->arg) < SUPERVISOR_READY_TEXT_BYTES_MAX;
}

static bool nothing_read(struct ready_rule *rule) {
    return rule->arg[0] == '\0';
}

static const struct {
    const char *word;
    bool (*read)(struct ready_rule *rule);
    const char *form;
} rules[] = {
    [SUPERVISOR_READY_AFTER] = {"after", after_read, "\"after\" and a time of up to a day: after 5s (ms, s, m, h)"},
    [SUPERVISOR_READY_FILE] = {"file", file_read, "\"file\" and a path: file /run/sensor.pid"},
    [SUPERVISOR_READY_FD] = {"fd", nothing_read, "\"fd\" alone"},
    [SUPERVISOR_READY_TCP] = {"tcp", tcp_read, "\"tcp\" and a port, or an address and a port: tcp 127.0.0.1:47760"},
    [SUPERVISOR_READY_OUTPUT] = {"output", output_read,
                                 "\"output\" and a text of up to 127 bytes: output listening on"},
    [SUPERVISOR_READY_LOG_WRITTEN] = {"log_written", nothing_read, "\"log_written\" alone"},
};

/* *form: how the rule that was meant is written; NULL: none was. */
static bool rule_read(const char *text, struct ready_rule *out, const char **form) {
    *form = NULL;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        size_t len = strlen(rules[i].word);
        if (strncmp(text, rules[i].word, len) == 0 && (text[len] == ' ' || text[len] == '\0')) {
            *out = (struct ready_rule){.kind = (enum supervisor_ready_rule)i, .arg = text + len + (text[len] == ' ')};
            *form = rules[i].form;
            return rules[i].read(out);
        }
    }
    return false;
}

bool supervisor_ready_is_rule(const char *text, char *why, size_t why_cap) {
    MUST(text != NULL);
    MUST(why != NULL && why_cap > 0);
    struct ready_rule rule;
    const char *form;
    if (rule_read(text, &rule, &form)) {
        why[0] = '\0';
        return true;
    }
    if (form != NULL) {
        snprintf(why, why_cap, "\"%s\": write %s", text, form);
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

/* By the kernel's own clocks: nobody sets those. */
static bool after_holds(const struct ready_rule *rule, const struct supervisor_pid *pid) {
    struct timespec now;
    long ticks_a_second = sysconf(_SC_CLK_TCK);
    MUST(ticks_a_second > 0 && clock_gettime(CLOCK_BOOTTIME, &now) == 0);
    int64_t started_ns = (int64_t)(pid->start_ticks * (uint64_t)(CORE_NS_PER_S / ticks_a_second));
    return now.tv_sec * CORE_NS_PER_S + now.tv_nsec - started_ns >= rule->after_ns;
}

/* By the time of its last change: a file that was written elsewhere and moved into place counts. */
static bool file_holds(const struct ready_rule *rule, const struct supervisor_spec *spec,
                       const struct supervisor_pid *pid) {
    char path[SUPERVISOR_PATH_BYTES_MAX];
    struct stat st;
    supervisor_spec_path(spec, rule->arg, path);
    return stat(path, &st) == 0 &&
           st.st_ctim.tv_sec * CORE_NS_PER_S + st.st_ctim.tv_nsec >= pid->spawned_ns - READY_CLOCK_NS;
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
    struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons(rule->port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(rule->port), .sin6_addr = in6addr_loopback};
    bool is_v4 = rule->host[0] == '\0' || inet_pton(AF_INET, rule->host, &v4.sin_addr) == 1;
    bool is_v6 = rule->host[0] == '\0' || inet_pton(AF_INET6, rule->host, &v6.sin6_addr) == 1;
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
            const char *form;
            if (rule_read(spec->ready.rules[i], &rule, &form) && rule.kind == SUPERVISOR_READY_OUTPUT &&
                memmem(bytes, all, rule.arg, strlen(rule.arg)) != NULL) {
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
        const char *form;
        if ((pulse->rules_held & 1U << i) != 0) {
            continue;
        }
        MUST(rule_read(spec->ready.rules[i], &rule, &form)); /* whoever made the spec has asked ready_is_rule() */
        bool holds = false;
        switch (rule.kind) {
        case SUPERVISOR_READY_AFTER:
            holds = after_holds(&rule, pid);
            break;
        case SUPERVISOR_READY_FILE:
            holds = file_holds(&rule, spec, pid);
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
