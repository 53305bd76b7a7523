/* cmd/zeek_counts.c: Zeek's own counters out of the text of its telemetry.
 *
 * A line is `name{label="value",…} number [time]`. Zeek 6 adds a label `endpoint`, later ones do not; the order of labels
 * is nobody's promise; a counter may have the suffix `_total` or not. So names are looked up, never counted off.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/zeek_counts.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define WRITES "zeek_log_writer_writes"
#define WRITES_TOTAL "zeek_log_writer_writes_total"
#define START "process_start_time_seconds"
#define WRITER_OF_FILES "Log::WRITER_ASCII"
#define START_MAX_S 4102444800.0     /* the year 2100; what is behind it is no start of a process */
#define EXACT_MAX 9007199254740992.0 /* 2^53: beyond it a double skips numbers */

/* One label's name and value, unescaped into out (cut there); at: behind it. NULL: this is no label. */
static const char *label_take(const char *at, struct core_span *name, char *out, size_t out_len) {
    while (*at == ',' || *at == ' ') {
        at++;
    }
    name->ptr = at;
    name->len = strcspn(at, "=}\"\n");
    if (at[name->len] != '=' || at[name->len + 1] != '"') {
        return NULL;
    }
    size_t len = 0;
    for (at += name->len + 2; *at != '"' && *at != '\n' && *at != '\0'; at++) {
        char c = *at;
        if (c == '\\' && at[1] != '\0') {
            at++;
            c = *at == 'n' ? '\n' : *at;
        }
        if (len + 1 < out_len) {
            out[len++] = c;
        }
    }
    out[len] = '\0';
    return *at == '"' ? at + 1 : NULL;
}

static bool number_take(const char *at, double *number) {
    char *end = NULL;
    errno = 0;
    *number = strtod(at, &end);
    return end != at && errno == 0 && isfinite(*number) && *number >= 0;
}

static enum core_err writes_add(struct zeek_counts *counts, const char *path, double number, const char *where,
                                struct core_fail *fail) {
    const char *slash = strrchr(path, '/');
    struct core_span log = core_span_of(slash == NULL ? path : slash + 1);
    if (number > EXACT_MAX) {
        return core_fail_set(fail, CORE_BAD, where, "its counter of %s is %g, more than can be compared exactly", path,
                             number);
    }
    size_t i = 0;
    while (i < counts->len && !core_span_is(log, counts->logs[i].log)) {
        i++;
    }
    if (i == ZEEK_LOGS_MAX || log.len >= ZEEK_LOG_BYTES_MAX) {
        return core_fail_set(fail, CORE_LIMIT, where, "more than %d logs, or a name longer than %d bytes",
                             ZEEK_LOGS_MAX, ZEEK_LOG_BYTES_MAX - 1);
    }
    if (i == counts->len) {
        memcpy(counts->logs[i].log, log.ptr, log.len);
        counts->logs[i].log[log.len] = '\0';
        counts->logs[i].writes = 0;
        counts->len++;
    }
    counts->logs[i].writes += (uint64_t)number;
    return CORE_OK;
}

/* The labels of a line of writes, and its number. at: behind the name. */
static enum core_err writes_take(struct zeek_counts *counts, const char *at, const char *where,
                                 struct core_fail *fail) {
    char path[ZEEK_LOG_BYTES_MAX * 2] = "";
    char value[ZEEK_LOG_BYTES_MAX * 2];
    bool is_of_files = true;
    struct core_span name;
    const char *next = *at == '{' ? at + 1 : NULL;
    while (next != NULL && *next != '}') {
        next = label_take(next, &name, value, sizeof value);
        if (next != NULL && core_span_is(name, "path")) {
            (void)snprintf(path, sizeof path, "%s", value);
        } else if (next != NULL && core_span_is(name, "writer")) {
            is_of_files = strcmp(value, WRITER_OF_FILES) == 0;
        }
    }
    double number = 0;
    if (next == NULL || path[0] == '\0' || !number_take(next + 1, &number)) {
        return core_fail_set(fail, CORE_BAD, where, "a line of " WRITES " is not as Zeek writes it: %.80s", at);
    }
    return is_of_files ? writes_add(counts, path, number, where, fail) : CORE_OK;
}

enum core_err zeek_counts_read(struct zeek_counts *counts, const char *text, const char *where,
                               struct core_fail *fail) {
    MUST(counts != NULL && text != NULL);
    enum core_err err = CORE_OK;
    bool is_zeek = false;
    counts->len = 0;
    counts->start_ns = 0;
    for (const char *line = text; *line != '\0' && err == CORE_OK;) {
        struct core_span name = {.ptr = line, .len = strcspn(line, "{ \t\n")};
        double number = 0;
        if (core_span_is(name, WRITES) || core_span_is(name, WRITES_TOTAL)) {
            is_zeek = true;
            err = writes_take(counts, line + name.len, where, fail);
        } else if (core_span_is(name, START) && line[name.len] != '{' && number_take(line + name.len, &number) &&
                   number < START_MAX_S) {
            counts->start_ns = (int64_t)(number * (double)CORE_NS_PER_S);
        }
        line += strcspn(line, "\n");
        line += *line == '\n' ? 1 : 0;
    }
    if (err == CORE_OK && !is_zeek) {
        err = core_fail_set(fail, CORE_BAD, where,
                            "there is no " WRITES_TOTAL " in its answer: is it the telemetry of a Zeek process that "
                            "writes logs (in a cluster: the logger's)?");
    }
    return err;
}

const struct zeek_count *zeek_counts_find(const struct zeek_counts *counts, struct core_span log) {
    for (size_t i = 0; i < counts->len; i++) {
        if (core_span_is(log, counts->logs[i].log)) {
            return &counts->logs[i];
        }
    }
    return NULL;
}

struct core_span zeek_log_of(const char *path) {
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    return (struct core_span){.ptr = name, .len = strcspn(name, ".")};
}
