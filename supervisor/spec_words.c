/* supervisor/spec_words.c: the words in which a spec says things: signals, limits, rules of readiness, durations, names.
 *
 * Tables, and functions that look them up; spec.c checks by them, and what carries the rules and limits out reads them by the
 * same. Pure.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/resource.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- names and small words ---------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int number;
} signals[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"ILL", SIGILL},       {"TRAP", SIGTRAP},
    {"ABRT", SIGABRT}, {"BUS", SIGBUS},   {"FPE", SIGFPE},   {"KILL", SIGKILL},     {"USR1", SIGUSR1},
    {"SEGV", SIGSEGV}, {"USR2", SIGUSR2}, {"PIPE", SIGPIPE}, {"ALRM", SIGALRM},     {"TERM", SIGTERM},
    {"CHLD", SIGCHLD}, {"CONT", SIGCONT}, {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},     {"TTIN", SIGTTIN},
    {"TTOU", SIGTTOU}, {"URG", SIGURG},   {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},     {"PROF", SIGPROF},
    {"POLL", SIGPOLL}, {"PWR", SIGPWR},   {"SYS", SIGSYS},   {"VTALRM", SIGVTALRM}, {"WINCH", SIGWINCH},
};

int64_t supervisor_number_of(const char *text, int64_t max) {
    int64_t number = 0;
    for (const char *at = text; *at != '\0'; at++) {
        if (!core_is_digit(*at) || number > (max - (*at - '0')) / 10) {
            return -1;
        }
        number = number * 10 + (*at - '0');
    }
    return *text == '\0' ? -1 : number;
}

int supervisor_signal_of(const char *text) {
    const int64_t number = supervisor_number_of(text, NSIG - 1);
    if (number >= 0) {
        return (int)number;
    }
    const char *name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;
    for (size_t i = 0; i < COUNT_OF(signals); i++) {
        if (strcmp(signals[i].name, name) == 0) {
            return signals[i].number;
        }
    }
    return 0;
}

const char *supervisor_signal_name(int number) {
    for (size_t i = 0; i < COUNT_OF(signals); i++) {
        if (signals[i].number == number) {
            return signals[i].name;
        }
    }
    return "?";
}

static const struct {
    const char *name;
    int resource;
} limits[] = {
    {"as", RLIMIT_AS},
    {"core", RLIMIT_CORE},
    {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},
    {"fsize", RLIMIT_FSIZE},
    {"memlock", RLIMIT_MEMLOCK},
    {"nofile", RLIMIT_NOFILE},
    {"nproc", RLIMIT_NPROC},
    {"rtprio", RLIMIT_RTPRIO},
    {"rttime", RLIMIT_RTTIME},
    {"stack", RLIMIT_STACK},
    {"sigpending", RLIMIT_SIGPENDING},
    {"msgqueue", RLIMIT_MSGQUEUE},
};

int supervisor_limit_of(const char *name) {
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        if (strcmp(limits[i].name, name) == 0) {
            return limits[i].resource;
        }
    }
    return -1;
}

bool supervisor_limit_value(const char *text, uint64_t *out) {
    const bool is_unlimited = strcmp(text, "unlimited") == 0;
    const int64_t number = supervisor_number_of(text, INT64_MAX);
    *out = is_unlimited ? (uint64_t)RLIM_INFINITY : (uint64_t)number;
    return is_unlimited || number >= 0;
}

bool supervisor_name_is_good(struct core_span name) {
    static const char others[] = "-_.";
    for (size_t i = 0; i < name.len; i++) {
        const char c = core_lower(name.ptr[i]);
        const bool is_plain = core_is_digit(c) || (c >= 'a' && c <= 'z');
        if (!is_plain && (i == 0 || c == '\0' || strchr(others, c) == NULL)) {
            return false;
        }
    }
    return name.len > 0 && name.len <= SUPERVISOR_NAME_BYTES_MAX;
}

/* ---- rules of readiness --------------------------------------------------------------------------------------------------- */

int64_t supervisor_duration_ns(const char *text) {
    static const struct {
        const char *unit;
        int64_t ns;
    } units[] = {{"ms", CORE_NS_PER_MS}, {"s", CORE_NS_PER_S}, {"m", 60 * CORE_NS_PER_S}, {"h", 3600 * CORE_NS_PER_S}};
    char digits[20] = {0};
    size_t len = strspn(text, "0123456789");
    if (len == 0 || len >= sizeof(digits)) {
        return -1;
    }
    memcpy(digits, text, len);
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        if (strcmp(text + len, units[i].unit) == 0) {
            const int64_t number = supervisor_number_of(digits, SUPERVISOR_NS_MAX / units[i].ns);
            return number < 0 ? -1 : number * units[i].ns;
        }
    }
    return -1;
}

static bool is_duration(const char *text) {
    return supervisor_duration_ns(text) >= 0;
}

bool supervisor_path_is_good(const char *text) {
    return text[0] == '/' && strlen(text) < SUPERVISOR_PATH_BYTES_MAX;
}

bool supervisor_tcp_of(const char *text, char host[SUPERVISOR_HOST_BYTES_MAX], uint16_t *port) {
    const char *colon = strrchr(text, ':');
    const int64_t number = supervisor_number_of(colon == NULL ? text : colon + 1, UINT16_MAX);
    size_t len = colon == NULL ? 0 : (size_t)(colon - text);
    const bool has_brackets = len > 2 && text[0] == '[' && text[len - 1] == ']';
    struct in6_addr address;
    text += has_brackets ? 1 : 0;
    len -= has_brackets ? 2 : 0;
    if (number <= 0 || len >= SUPERVISOR_HOST_BYTES_MAX) {
        return false;
    }
    memcpy(host, text, len);
    host[len] = '\0';
    *port = (uint16_t)number;
    return colon == NULL || inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

static bool is_tcp(const char *text) {
    char host[SUPERVISOR_HOST_BYTES_MAX];
    uint16_t port;
    return supervisor_tcp_of(text, host, &port);
}

static bool is_output(const char *text) {
    return text[0] != '\0' && strlen(text) < SUPERVISOR_READY_TEXT_BYTES_MAX;
}

static bool is_nothing(const char *text) {
    return text[0] == '\0';
}

static const struct {
    const char *word;
    bool (*is_good)(const char *rest);
} rules[] = {
    [SUPERVISOR_READY_AFTER] = {"after", is_duration}, [SUPERVISOR_READY_FILE] = {"file", supervisor_path_is_good},
    [SUPERVISOR_READY_FD] = {"fd", is_nothing},        [SUPERVISOR_READY_TCP] = {"tcp", is_tcp},
    [SUPERVISOR_READY_OUTPUT] = {"output", is_output}, [SUPERVISOR_READY_LOG_WRITTEN] = {"log_written", is_nothing},
};

bool supervisor_rule_read(const char *text, enum supervisor_ready_rule *rule, const char **rest) {
    const size_t len = strcspn(text, " ");
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        if (strlen(rules[i].word) == len && memcmp(text, rules[i].word, len) == 0) {
            *rule = (enum supervisor_ready_rule)i;
            *rest = text[len] == '\0' ? text + len : text + len + 1;
            return rules[i].is_good(*rest);
        }
    }
    return false;
}
