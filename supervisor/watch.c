/* supervisor/watch.c: the watchdog: does a process that runs still do its work, and if not, why not?
 *
 * A sensor whose interface dies goes silent, not down (Zeek), and one that hangs looks like one with nothing to do. What tells
 * them apart is the interface's own count of packets:
 *
 *   logs grow                                           it works
 *   logs stand still, packets come, for timeout         stuck: a restart helps
 *   logs stand still, few packets come                  idle: nothing to log (spanning tree and ARP alone make no log line)
 *   … and the interface is down or gone, for timeout    stuck, no restart helps: told, and watched on
 *   … and it is back                                    stuck at the second look: Zeek does not open it anew by itself
 *   … and it has no carrier, for timeout                told; when the carrier is back, packets come to the open socket
 *
 * Interface and count are those of the process's own network namespace (/proc/PID/net/dev); whether it is up is known only if
 * that is ours, too.
 *
 * A look costs a few small reads of /proc and one walk through the directories of the logs, a tenth of a millisecond with 40 of
 * them: 200 such sensors, each looked at every 30 s, take less than a tenth of a percent of a core.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define WATCH_PACKETS_A_SECOND 10 /* fewer are no reason to expect log lines */
#define WATCH_CPU_PARTS 100       /* one part of them of a CPU is a sign of life */
#define WATCH_STAT_BYTES_MAX 1024
#define WATCH_PROC_PATH_BYTES_MAX 64

/* ---- /proc ------------------------------------------------------------------------------------------------------------------ */

/* The start of a small file, NUL-terminated. */
static bool small_read(const char *path, char *out, size_t cap) {
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, out, cap - 1);
    const int error = len == 0 ? ESRCH : errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = error;
    out[len > 0 ? len : 0] = '\0';
    return len > 0;
}

bool supervisor_usage_of(pid_t pid, struct supervisor_usage *out) {
    char path[WATCH_PROC_PATH_BYTES_MAX];
    char text[WATCH_STAT_BYTES_MAX];
    MUST(out != NULL);
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    /* The name, in brackets, may have brackets and blanks itself. */
    const char *rest = small_read(path, text, sizeof text) ? strrchr(text, ')') : NULL;
    unsigned long utime;
    unsigned long stime;
    unsigned long threads;
    unsigned long long start;
    unsigned long rss;
    if (rest == NULL || /* NOLINTNEXTLINE(cert-err34-c): the kernel's own digits */
        sscanf(rest + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu %lu %*s %*s %*s %*s %lu %*s %llu %*s %lu",
               &out->state, &utime, &stime, &threads, &start, &rss) != 6) {
        return false;
    }
    out->cpu_ticks = (uint64_t)utime + stime;
    out->threads = threads;
    out->start_ticks = start;
    out->rss_bytes = (uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE);
    return true;
}

/* ---- logs -------------------------------------------------------------------------------------------------------------------- */

/* path, or cwd/path if it is relative; empty if that is too long. */
static void log_path(const struct supervisor_spec *spec, const char *path, char out[SUPERVISOR_PATH_BYTES_MAX]) {
    const char *cwd = path[0] == '/' || spec->cwd == NULL ? "" : spec->cwd;
    int len = snprintf(out, SUPERVISOR_PATH_BYTES_MAX, "%s%s%s", cwd, path[0] == '/' ? "" : "/", path);
    if (len < 0 || len >= SUPERVISOR_PATH_BYTES_MAX) {
        out[0] = '\0';
    }
}

uint64_t supervisor_logs_bytes(const struct supervisor_spec *spec) {
    uint64_t bytes = 0;
    for (size_t i = 0; spec->logs[i] != NULL; i++) {
        char pattern[SUPERVISOR_PATH_BYTES_MAX];
        glob_t found = {0};
        log_path(spec, spec->logs[i], pattern);
        if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0) {
            for (size_t j = 0; j < found.gl_pathc; j++) {
                struct stat st;
                bytes += stat(found.gl_pathv[j], &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
            }
        }
        globfree(&found);
    }
    return bytes;
}

/* ---- interface ---------------------------------------------------------------------------------------------------------------- */

/* "eth0:" and its packets received, out of the process's /proc/PID/net/dev. False: it is not there. */
static bool interface_find(pid_t pid, const char *name, uint64_t *packets) {
    char path[WATCH_PROC_PATH_BYTES_MAX];
    char line[512];
    size_t name_len = strlen(name);
    snprintf(path, sizeof path, "/proc/%d/net/dev", pid);
    FILE *in = fopen(path, "re");
    bool has = false;
    while (in != NULL && !has && fgets(line, sizeof line, in) != NULL) {
        const char *at = line + strspn(line, " ");
        unsigned long long received;
        has = strncmp(at, name, name_len) == 0 && at[name_len] == ':' &&
              sscanf(at + name_len + 1, "%*u %llu", &received) == 1; // NOLINT(cert-err34-c): the kernel's own digits
        if (has) {
            *packets = received;
        }
    }
    if (in != NULL) {
        fclose(in);
    }
    return has;
}

/* Does the process see the interfaces that we see? If that may not be known, most likely. */
static bool is_our_net(pid_t pid) {
    char path[WATCH_PROC_PATH_BYTES_MAX];
    struct stat its;
    struct stat ours;
    snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
    return stat(path, &its) != 0 || stat("/proc/self/ns/net", &ours) != 0 || its.st_ino == ours.st_ino;
}

static enum supervisor_interface interface_look(pid_t pid, const char *name, uint64_t *packets) {
    if (!interface_find(pid, name, packets)) {
        return SUPERVISOR_INTERFACE_GONE;
    }
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    int fd = is_our_net(pid) ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    bool is_known = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    if (fd >= 0) {
        close(fd);
    }
    if (is_known && (request.ifr_flags & IFF_UP) == 0) {
        return SUPERVISOR_INTERFACE_DOWN;
    }
    return is_known && (request.ifr_flags & IFF_RUNNING) == 0 ? SUPERVISOR_INTERFACE_NO_CARRIER
                                                              : SUPERVISOR_INTERFACE_UP;
}

static bool is_away(enum supervisor_interface interface) {
    return interface == SUPERVISOR_INTERFACE_DOWN || interface == SUPERVISOR_INTERFACE_GONE;
}

/* ---- looking ------------------------------------------------------------------------------------------------------------------ */

/* What one look has found. */
struct watch_look {
    int64_t now_ns;
    struct supervisor_usage usage;
    bool has_grown; /* its logs */
    bool has_counter;
    uint64_t counter;
    bool is_busy; /* CPU */
    enum supervisor_interface interface;
};

static bool counter_read(const char *path, uint64_t *out) {
    char text[32];
    char *end = NULL;
    if (!small_read(path, text, sizeof text) || !core_is_digit(text[0])) {
        return false;
    }
    *out = strtoull(text, &end, 10);
    return true;
}

static bool look_make(struct supervisor_pulse *pulse, const struct supervisor_spec *spec, pid_t pid,
                      struct watch_look *look) {
    *look = (struct watch_look){.now_ns = core_tick_ns()};
    if (!supervisor_usage_of(pid, &look->usage)) {
        return false;
    }
    int64_t used_ns = (int64_t)(look->usage.cpu_ticks - pulse->cpu_ticks) * (CORE_NS_PER_S / sysconf(_SC_CLK_TCK));
    look->is_busy = used_ns > (look->now_ns - pulse->looked_ns) / WATCH_CPU_PARTS;
    pulse->cpu_ticks = look->usage.cpu_ticks;
    pulse->looked_ns = look->now_ns;
    uint64_t bytes = supervisor_logs_bytes(spec);
    look->has_grown = bytes > pulse->logs_bytes;
    pulse->logs_bytes = bytes;
    if (spec->watchdog.interface != NULL) {
        look->interface = interface_look(pid, spec->watchdog.interface, &look->counter);
        look->has_counter = look->interface != SUPERVISOR_INTERFACE_GONE;
    }
    if (spec->watchdog.counter != NULL) {
        look->has_counter = counter_read(spec->watchdog.counter, &look->counter);
    }
    if (!pulse->has_mark && look->has_counter) {
        pulse->counter_mark = look->counter;
        pulse->has_mark = true;
    }
    return true;
}

static bool is_alive(const struct supervisor_pulse *pulse, const struct supervisor_spec *spec,
                     const struct watch_look *look) {
    bool has_logs = spec->logs[0] != NULL;
    bool has_interface = spec->watchdog.interface != NULL;
    bool counter_tells = !has_interface && look->has_counter && look->counter != pulse->counter_mark;
    bool cpu_tells = !has_logs || (!has_interface && spec->watchdog.counter == NULL);
    return look->has_grown || counter_tells || (cpu_tells && look->is_busy);
}

/* Since the last sign of life. A count below the mark is a new interface's. */
static uint64_t packets_since(const struct supervisor_pulse *pulse, const struct watch_look *look) {
    return look->counter < pulse->counter_mark ? look->counter : look->counter - pulse->counter_mark;
}

/* Too few packets since the last sign of life for a silent process to be at fault. */
static bool is_idle(const struct supervisor_pulse *pulse, const struct supervisor_spec *spec,
                    const struct watch_look *look) {
    if (spec->watchdog.interface == NULL || !look->has_counter || look->usage.state == 'T') {
        return false;
    }
    int64_t seconds = (look->now_ns - pulse->alive_ns) / CORE_NS_PER_S;
    return packets_since(pulse, look) < WATCH_PACKETS_A_SECOND * (uint64_t)(seconds > 0 ? seconds : 1);
}

static const char *state_text(char state) {
    switch (state) {
    case 'R':
        return "process computes";
    case 'D':
        return "process waits for a disk or a device";
    case 'T':
    case 't':
        return "process is stopped by a signal or a debugger";
    case 'Z':
        return "process has ended";
    default:
        return "process sleeps";
    }
}

static void diagnose(const struct supervisor_pulse *pulse, const struct supervisor_spec *spec,
                     const struct watch_look *look, bool is_back, struct supervisor_verdict *out) {
    static const char *const interfaces[] = {
        [SUPERVISOR_INTERFACE_NO_CARRIER] = "has no carrier (cable, switch port or tap)",
        [SUPERVISOR_INTERFACE_DOWN] = "is down (ip link set it up)",
        [SUPERVISOR_INTERFACE_GONE] = "is gone",
    };
    bool has_logs = spec->logs[0] != NULL;
    size_t used = 0;
    if (is_back) {
        used = (size_t)snprintf(out->text, sizeof out->text,
                                "interface %.32s was away and is back, but the process has not opened it anew; ",
                                spec->watchdog.interface);
    } else if (spec->watchdog.interface != NULL && look->interface == SUPERVISOR_INTERFACE_UP) {
        used = (size_t)snprintf(out->text, sizeof out->text, "interface %.32s is up and got %llu packets meanwhile; ",
                                spec->watchdog.interface, (unsigned long long)packets_since(pulse, look));
    } else if (spec->watchdog.interface != NULL) {
        used = (size_t)snprintf(out->text, sizeof out->text, "interface %.32s %s; ", spec->watchdog.interface,
                                interfaces[look->interface]);
    }
    snprintf(out->text + used, sizeof out->text - used, "no %s for %lld s; %s", has_logs ? "log line" : "sign of life",
             (long long)((look->now_ns - (has_logs ? pulse->logs_ns : pulse->alive_ns)) / CORE_NS_PER_S),
             state_text(look->usage.state));
}

void supervisor_pulse_begin(struct supervisor_pulse *pulse, const struct supervisor_spec *spec) {
    MUST(pulse != NULL && spec != NULL);
    *pulse = (struct supervisor_pulse){.logs_bytes = supervisor_logs_bytes(spec), .looked_ns = core_tick_ns()};
    pulse->alive_ns = pulse->looked_ns;
    pulse->logs_ns = pulse->looked_ns;
}

void supervisor_pulse_look(struct supervisor_pulse *pulse, const struct supervisor_spec *spec,
                           const struct supervisor_pid *pid, struct supervisor_verdict *out) {
    MUST(pulse != NULL && spec != NULL && pid != NULL && out != NULL);
    *out = (struct supervisor_verdict){0};
    struct watch_look look;
    if (spec->watchdog.timeout_ns <= 0 || pid->pid <= 0 || !look_make(pulse, spec, pid->pid, &look)) {
        return;
    }
    enum supervisor_interface before = pulse->interface;
    bool is_over = look.now_ns - pulse->alive_ns >= spec->watchdog.timeout_ns;
    pulse->interface = look.interface;
    pulse->logs_ns = look.has_grown ? look.now_ns : pulse->logs_ns;
    if (is_alive(pulse, spec, &look)) {
        pulse->alive_ns = look.now_ns;
        pulse->counter_mark = look.counter;
        pulse->was_away = false;
        return;
    }
    if (look.interface != SUPERVISOR_INTERFACE_UP) {
        out->is_stuck = is_over;
        pulse->was_away = pulse->was_away || (is_over && is_away(look.interface));
    } else if (pulse->was_away) {
        out->is_stuck =
            before == SUPERVISOR_INTERFACE_UP; /* the first look after its return is for those that do it alone */
        out->helps = out->is_stuck;
    } else if (is_over && is_idle(pulse, spec, &look)) {
        pulse->alive_ns = look.now_ns;
        pulse->counter_mark = look.counter;
    } else if (is_over) {
        out->is_stuck = true;
        out->helps = true;
    }
    if (out->is_stuck) {
        diagnose(pulse, spec, &look, pulse->was_away && look.interface == SUPERVISOR_INTERFACE_UP, out);
    }
}
