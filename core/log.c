/* core/log.c: the log: stderr, one line per event, repeats folded.
 *
 * Design: one process-wide table of what was said lately, behind one mutex. (This is the process's own stderr: the only
 * state outside cmd/ that is not handed from owner to owner; nothing on the data path logs.) A row is a stage and a
 * `what`. The same words again within the window are not printed but counted; other words under the same heading may
 * show FOLD_DIFFERENT_MAX times in a window, so that twelve files that fail for twelve reasons are all seen and twelve
 * thousand are not. The window over, the last of the folded ones is printed with folded=<count>: at the next core_log() of
 * anything, or by core_log_flush(). So nothing is hidden for good, unless the process is killed.
 * A line leaves in one write(2), so lines of several threads or processes never mix (up to PIPE_BUF).
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define FOLD_WINDOW_NS (10 * CORE_NS_PER_S)
#define FOLD_DIFFERENT_MAX 5
#define LOG_ROWS 64
#define LOG_TEXT_BYTES 1280
#define LOG_WHAT_BYTES 320
#define LOG_LINE_BYTES (2 * LOG_TEXT_BYTES)

struct log_row {
    uint64_t heading; /* hash of stage and what; 0: free */
    uint64_t text_hash;
    int64_t since_ns; /* core_tick_ns() of the window's first line */
    uint64_t folded;
    uint32_t printed;
    enum core_level level;
    char stage[32];
    char what[LOG_WHAT_BYTES];
    char text[LOG_TEXT_BYTES]; /* of the last folded one */
};

static struct {
    pthread_mutex_t lock;
    _Atomic int level;
    struct log_row rows[LOG_ROWS];
} log_state = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = CORE_LEVEL_INFO};

void core_log_level(enum core_level level) {
    MUST(level >= CORE_LEVEL_ERROR && level <= CORE_LEVEL_DEBUG);
    atomic_store(&log_state.level, (int)level);
}

/* Texts come from files and servers too: whatever could end or colour the line is replaced. */
static void make_printable(char *text) {
    for (unsigned char *c = (unsigned char *)text; *c != '\0'; c++) {
        if (*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
}

static void line_write(enum core_level level, const char *stage, const char *what, const char *text, uint64_t folded) {
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char now[28] = "0000-00-00T00:00:00.000000Z";
    MUST(core_time_iso(core_now_ns(), now));
    now[27] = '\0';
    char line[LOG_LINE_BYTES];
    int len = snprintf(line, sizeof line, "%s %s %s \"%s\"%s%s", now, names[level], stage, what,
                       text[0] == '\0' ? "" : " ", text);
    MUST(len > 0 && (size_t)len < sizeof line - 64);
    if (folded > 0) {
        len += snprintf(line + len, sizeof line - (size_t)len, " folded=%llu", (unsigned long long)folded);
    }
    make_printable(line);
    line[len++] = '\n';
    ssize_t wrote = write(STDERR_FILENO, line, (size_t)len);
    (void)wrote; /* stderr is gone: there is nowhere to say so, and no reason to stop */
}

static void row_print_folded(struct log_row *row) {
    if (row->folded > 0) {
        line_write(row->level, row->stage, row->what, row->text, row->folded);
        row->folded = 0;
    }
}

/* The row of this heading, or the one to use for it: a free one, else the oldest (which first says what it folded). */
static struct log_row *row_find(uint64_t heading, int64_t now) {
    struct log_row *best = &log_state.rows[0];
    for (size_t i = 0; i < LOG_ROWS; i++) {
        struct log_row *row = &log_state.rows[i];
        if (row->heading == heading) {
            return row;
        }
        if (row->since_ns < best->since_ns) {
            best = row;
        }
    }
    row_print_folded(best);
    best->heading = heading;
    best->since_ns = now - FOLD_WINDOW_NS;
    best->printed = 0;
    return best;
}

static void rows_print_expired(int64_t now) {
    for (size_t i = 0; i < LOG_ROWS; i++) {
        if (log_state.rows[i].heading != 0 && now - log_state.rows[i].since_ns >= FOLD_WINDOW_NS) {
            row_print_folded(&log_state.rows[i]);
        }
    }
}

static void log_put(enum core_level level, const char *stage, const char *what, const char *text) {
    int64_t now = core_tick_ns();
    uint64_t heading = core_hash64(what, strlen(what), core_hash64(stage, strlen(stage), 1)) | 1;
    uint64_t text_hash = core_hash64(text, strlen(text), 0);
    rows_print_expired(now);
    struct log_row *row = row_find(heading, now);
    if (now - row->since_ns >= FOLD_WINDOW_NS) {
        row->since_ns = now;
        row->printed = 0;
    }
    bool is_same = row->printed > 0 && row->text_hash == text_hash;
    if (!is_same && row->printed < FOLD_DIFFERENT_MAX) {
        row->printed++;
        row->text_hash = text_hash;
        line_write(level, stage, what, text, 0);
        return;
    }
    row->folded++;
    row->level = level;
    snprintf(row->stage, sizeof row->stage, "%s", stage);
    snprintf(row->what, sizeof row->what, "%s", what);
    snprintf(row->text, sizeof row->text, "%s", text);
}

void core_log(enum core_level level, const char *stage, const char *what, const char *fmt, ...) {
    MUST(stage != NULL && what != NULL && fmt != NULL);
    MUST(level >= CORE_LEVEL_ERROR && level <= CORE_LEVEL_DEBUG);
    if ((int)level > atomic_load_explicit(&log_state.level, memory_order_relaxed)) {
        return;
    }
    char text[LOG_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    char heading[LOG_WHAT_BYTES];
    snprintf(heading, sizeof heading, "%s", what);
    MUST(pthread_mutex_lock(&log_state.lock) == 0);
    log_put(level, stage, heading, text);
    MUST(pthread_mutex_unlock(&log_state.lock) == 0);
}

void core_log_flush(void) {
    MUST(pthread_mutex_lock(&log_state.lock) == 0);
    for (size_t i = 0; i < LOG_ROWS; i++) {
        row_print_folded(&log_state.rows[i]);
    }
    MUST(pthread_mutex_unlock(&log_state.lock) == 0);
}

/* A value of key="value": a quote or backslash in it would end it early. */
static void quote_escape(const char *from, char *to, size_t to_len) {
    size_t at = 0;
    for (; *from != '\0' && at + 3 < to_len; from++) {
        if (*from == '"' || *from == '\\') {
            to[at++] = '\\';
        }
        to[at++] = *from;
    }
    to[at] = '\0';
}

void core_log_fail(enum core_level level, const char *stage, const char *what, const struct core_fail *fail) {
    MUST(fail != NULL);
    char where[300];
    char text[900];
    quote_escape(fail->where, where, sizeof where);
    quote_escape(fail->text, text, sizeof text);
    core_log(level, stage, what, "where=\"%s\" reason=\"%s\"", where, text);
}
