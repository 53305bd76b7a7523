/* core/log.c: the log: stderr, one line per event, repeats folded.
 *
 * Design: one process-wide table of what was said lately, behind one mutex. (This is the process's own stderr: the only
 * state outside cmd/ that is not handed from owner to owner; nothing on the data path logs.) A row is a stage and a
 * `what`. The same words again within the window are not printed but counted; other words under the same heading may
 * show FOLD_DIFFERENT_MAX times in a window, so that twelve files that fail for twelve reasons are all seen and twelve
 * thousand are not. The window over, the last of the folded ones is printed with folded=<count>: by core_log_tick(), which
 * every process calls from its loop, at the next core_log() of anything, or by core_log_flush(). So nothing is hidden for good,
 * unless the process is killed.
 * A line leaves in one write(2), so lines of several threads or processes never mix (up to PIPE_BUF).
 * Levels: one for all, and a few of single stages over it; what may be printed at all is one atomic, so that a line that is
 * not wanted costs one load.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"
#include "core/json.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define FOLD_WINDOW_NS (10 * CORE_NS_PER_S)
#define FOLD_DIFFERENT_MAX 5
#define LOG_ROWS 64
#define LOG_TEXT_BYTES 1280
#define LOG_WHAT_BYTES 320
#define LOG_LINE_BYTES (2 * LOG_TEXT_BYTES)
#define LOG_ECS_BYTES (16 * LOG_TEXT_BYTES) /* a byte is six at worst, and a reason stands there twice */
#define STAGE_BYTES 32
#define LABELS_MAX 24
#define LABEL_BYTES 48

struct log_line {
    enum core_level level;
    const char *stage;
    const char *what;
    const char *text; /* key=value… */
    uint64_t folded;
};

struct labels {
    char names[LABELS_MAX][LABEL_BYTES];
    size_t len;
};

struct log_row {
    uint64_t heading; /* hash of stage and what; 0: free */
    uint64_t text_hash;
    int64_t since_ns; /* core_tick_ns() of the window's first line */
    uint64_t folded;
    uint32_t printed;
    enum core_level level;
    char stage[STAGE_BYTES];
    char what[LOG_WHAT_BYTES];
    char text[LOG_TEXT_BYTES]; /* of the last folded one */
};

struct log_stage {
    char name[STAGE_BYTES];
    enum core_level level;
};

static struct {
    pthread_mutex_t lock;
    _Atomic int most;      /* the highest of all levels: beyond it nothing is printed */
    enum core_level filed; /* core_log_level() said it last */
    enum core_level level; /* of stages that have none of their own */
    struct log_stage stages[CORE_LOG_STAGES_MAX];
    size_t stages_len;
    _Atomic int format;
    const char *_Atomic service;
    struct log_row rows[LOG_ROWS];
} log_state = {.lock = PTHREAD_MUTEX_INITIALIZER,
               .most = CORE_LEVEL_INFO,
               .filed = CORE_LEVEL_INFO,
               .level = CORE_LEVEL_INFO,
               .service = "tapline"};

const char *const core_level_names[] = {"error", "warn", "info", "debug", NULL};

/* ---- levels ---------------------------------------------------------------------------------------------------------------- */

static void log_lock(void) {
    MUST(pthread_mutex_lock(&log_state.lock) == 0);
}

static void log_unlock(void) {
    MUST(pthread_mutex_unlock(&log_state.lock) == 0);
}

static void most_set(void) {
    enum core_level most = log_state.level;
    for (size_t i = 0; i < log_state.stages_len; i++) {
        most = log_state.stages[i].level > most ? log_state.stages[i].level : most;
    }
    atomic_store(&log_state.most, (int)most);
}

static void level_set(enum core_level level) {
    log_state.level = level;
    log_state.stages_len = 0;
    most_set();
}

void core_log_level(enum core_level level) {
    MUST(level >= CORE_LEVEL_ERROR && level <= CORE_LEVEL_DEBUG);
    log_lock();
    log_state.filed = level;
    level_set(level);
    log_unlock();
}

void core_log_level_reset(void) {
    log_lock();
    level_set(log_state.filed);
    log_unlock();
}

enum core_err core_log_level_now(const char *stage, enum core_level level, struct core_fail *fail) {
    MUST(level >= CORE_LEVEL_ERROR && level <= CORE_LEVEL_DEBUG);
    enum core_err err = CORE_OK;
    log_lock();
    if (stage == NULL) {
        level_set(level);
    } else {
        size_t i = 0;
        while (i < log_state.stages_len && strncmp(log_state.stages[i].name, stage, STAGE_BYTES - 1) != 0) {
            i++;
        }
        if (i < CORE_LOG_STAGES_MAX) {
            (void)snprintf(log_state.stages[i].name, STAGE_BYTES, "%s", stage);
            log_state.stages[i].level = level;
            log_state.stages_len = i == log_state.stages_len ? i + 1 : log_state.stages_len;
            most_set();
        } else {
            err = core_fail_set(fail, CORE_LIMIT, stage,
                                "%d stages have a level of their own already; set one level for all first",
                                CORE_LOG_STAGES_MAX);
        }
    }
    log_unlock();
    return err;
}

void core_log_level_text(char *out, size_t out_len) {
    MUST(out_len > 0);
    log_lock();
    int len = snprintf(out, out_len, "%s", core_level_names[log_state.level]);
    for (size_t i = 0; i < log_state.stages_len && len > 0 && (size_t)len < out_len; i++) {
        const struct log_stage *stage = &log_state.stages[i];
        len += snprintf(out + len, out_len - (size_t)len, ", %s=%s", stage->name, core_level_names[stage->level]);
    }
    log_unlock();
}

/* Under the lock. */
static bool is_wanted(const char *stage, enum core_level level) {
    for (size_t i = 0; i < log_state.stages_len; i++) {
        if (strncmp(log_state.stages[i].name, stage, STAGE_BYTES - 1) == 0) {
            return level <= log_state.stages[i].level;
        }
    }
    return level <= log_state.level;
}

/* ---- a line ---------------------------------------------------------------------------------------------------------------- */

void core_log_format(enum core_log_format format, const char *service) {
    MUST(service != NULL);
    atomic_store(&log_state.service, service);
    atomic_store(&log_state.format, (int)format);
}

const char *const core_log_format_names[] = {"logfmt", "ecs", NULL};

enum core_log_format core_log_format_now(void) {
    return (enum core_log_format)atomic_load(&log_state.format);
}

/* Texts come from files and servers too: whatever could end or colour the line is replaced. */
static void make_printable(char *text) {
    for (unsigned char *c = (unsigned char *)text; *c != '\0'; c++) {
        if (*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
}

static void bytes_write(const char *line, size_t len) {
    ssize_t wrote = write(STDERR_FILENO, line, len);
    (void)wrote; /* stderr is gone: there is nowhere to say so, and no reason to stop */
}

/* How long the key at the beginning of a text is; 0: it begins with no key=. */
static size_t key_len(const char *text) {
    size_t len = strcspn(text, "= \"");
    return text[len] == '=' ? len : 0;
}

/* Words up to the next key=, as they stand. */
static struct core_span words_next(const char *from) {
    size_t len = 0;
    do {
        len += strcspn(from + len, " ");
        size_t gap = strspn(from + len, " ");
        if (from[len + gap] == '\0' || key_len(from + len + gap) > 0) {
            break;
        }
        len += gap;
    } while (true);
    return (struct core_span){.ptr = from, .len = len};
}

/* key=value, key="a \"b\"", key=value; and a sentence: the next of a text. Returns false at its end. Words without a key have the
 * key "text", for every word of a message must be found again. A value with quotes is unescaped into room, which is as long as
 * the text. */
static bool pair_next(const char **at, struct core_span *key, char *room, struct core_span *value) {
    const char *from = *at + strspn(*at, " ");
    if (*from == '\0') {
        return false;
    }
    size_t len = key_len(from);
    *key = len > 0 ? (struct core_span){.ptr = from, .len = len} : CORE_SPAN("text");
    if (len == 0) {
        *value = words_next(from);
        *at = from + value->len;
        return true;
    }
    from += len + 1;
    if (*from != '"') {
        len = strcspn(from, " ");
        *at = from + len;
        *value = (struct core_span){.ptr = from, .len = len - (len > 0 && from[len - 1] == ';' ? 1 : 0)};
        return true;
    }
    char *to = room;
    for (from++; *from != '\0' && *from != '"'; from++) {
        from += *from == '\\' && (from[1] == '"' || from[1] == '\\') ? 1 : 0;
        *to++ = *from;
    }
    from += *from == '"' ? 1 : 0;
    from += *from == ';' ? 1 : 0;
    *value = (struct core_span){.ptr = room, .len = (size_t)(to - room)};
    *at = from;
    return true;
}

/* A label's name: of a-z, 0-9 and '_', so that no search engine makes an object of it; a name that was there already gets a
 * number, for an object must not have a member twice. */
static void label_put(struct core_buf *buf, struct core_span key, struct labels *labels) {
    char name[LABEL_BYTES];
    size_t len = 0;
    for (; len < key.len && len < sizeof(name) - 4; len++) {
        bool is_plain = (key.ptr[len] >= 'a' && key.ptr[len] <= 'z') || core_is_digit(key.ptr[len]);
        name[len] = is_plain ? key.ptr[len] : '_';
    }
    name[len] = '\0';
    unsigned times = 1;
    for (size_t i = 0; i < labels->len; i++) {
        times += strcmp(labels->names[i], name) == 0 ? 1 : 0;
    }
    if (labels->len < LABELS_MAX) {
        memcpy(labels->names[labels->len++], name, len + 1);
    }
    if (times > 1) {
        (void)snprintf(name + len, sizeof(name) - len, "_%u", times);
    }
    core_buf_string(buf, core_span_of(name));
}

static bool is_reason(struct core_span key) {
    return core_span_is(key, "reason") || core_span_is(key, "error") || core_span_is(key, "why");
}

/* The pairs as labels, and of an error its reason where ECS has it. */
static void pairs_put(struct core_buf *buf, const char *text) {
    struct labels labels = {.len = 0};
    char room[LOG_TEXT_BYTES];
    char reason[LOG_TEXT_BYTES];
    struct core_span key;
    struct core_span value;
    struct core_span why = {0};
    const char *at = text;
    for (size_t i = 0; i < LABELS_MAX && pair_next(&at, &key, room, &value); i++) {
        if (i == LABELS_MAX - 1 && *at != '\0') { /* nothing is left out */
            key = CORE_SPAN("rest");
            value = core_span_of(at + 1);
            at += strlen(at);
        }
        core_buf_span(buf, i == 0 ? CORE_SPAN(",\"labels\":{") : CORE_SPAN(","));
        label_put(buf, key, &labels);
        core_buf_char(buf, ':');
        core_buf_string(buf, value);
        if (is_reason(key)) {
            memcpy(reason, value.ptr, value.len);
            why = (struct core_span){.ptr = reason, .len = value.len};
        }
    }
    core_buf_put(buf, "}", labels.len > 0 ? 1 : 0);
    if (why.len > 0) {
        core_buf_span(buf, CORE_SPAN(",\"error\":{\"message\":"));
        core_buf_string(buf, why);
        core_buf_char(buf, '}');
    }
}

static void member_put(struct core_buf *buf, const char *head, const char *text) {
    core_buf_span(buf, core_span_of(head));
    core_buf_string(buf, core_span_of(text));
}

/* The members of ecs-logging's specification first, in its order and with its dotted names. */
static void ecs_write(const struct log_line *line, const char *now) {
    char bytes[LOG_ECS_BYTES];
    struct core_buf buf = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes) - 2};
    member_put(&buf, "{\"@timestamp\":", now);
    member_put(&buf, ",\"log.level\":", core_level_names[line->level]);
    member_put(&buf, ",\"message\":", line->what);
    core_buf_span(&buf, CORE_SPAN(",\"ecs.version\":\"" CORE_ECS_VERSION "\""));
    member_put(&buf, ",\"service.name\":", atomic_load(&log_state.service));
    core_buf_span(&buf, CORE_SPAN(",\"event.dataset\":\"tapline.log\""));
    member_put(&buf, ",\"log.logger\":", line->stage);
    core_buf_span(&buf, CORE_SPAN(",\"process.pid\":"));
    core_buf_i64(&buf, (int64_t)getpid());
    if (line->folded > 0) {
        core_buf_span(&buf, CORE_SPAN(",\"tapline\":{\"folded\":"));
        core_buf_u64(&buf, line->folded);
        core_buf_char(&buf, '}');
    }
    pairs_put(&buf, line->text);
    MUST(!buf.is_full);
    *buf.pos++ = '}';
    *buf.pos++ = '\n';
    bytes_write(bytes, (size_t)(buf.pos - bytes));
}

static void logfmt_write(const struct log_line *line, const char *now) {
    char bytes[LOG_LINE_BYTES];
    int len = snprintf(bytes, sizeof bytes, "%s %s %s \"%s\"%s%s", now, core_level_names[line->level], line->stage,
                       line->what, line->text[0] == '\0' ? "" : " ", line->text);
    MUST(len > 0 && (size_t)len < sizeof bytes - 64);
    if (line->folded > 0) {
        len += snprintf(bytes + len, sizeof bytes - (size_t)len, " folded=%llu", (unsigned long long)line->folded);
    }
    make_printable(bytes);
    bytes[len++] = '\n';
    bytes_write(bytes, (size_t)len);
}

static void line_write(const struct log_line *line) {
    char now[28] = "0000-00-00T00:00:00.000000Z";
    MUST(core_time_iso(core_now_ns(), now));
    now[27] = '\0';
    if (atomic_load(&log_state.format) == CORE_LOG_ECS) {
        ecs_write(line, now);
    } else {
        logfmt_write(line, now);
    }
}

bool core_log_bug(const char *text) {
    static atomic_flag is_told = ATOMIC_FLAG_INIT; /* a bug in what follows must not come back here */
    if (atomic_load(&log_state.format) != CORE_LOG_ECS || atomic_flag_test_and_set(&is_told)) {
        return false;
    }
    line_write(&(struct log_line){CORE_LEVEL_ERROR, "core", text, "", 0});
    return true;
}

/* ---- folding --------------------------------------------------------------------------------------------------------------- */

static void row_print_folded(struct log_row *row) {
    if (row->folded > 0) {
        line_write(&(struct log_line){row->level, row->stage, row->what, row->text, row->folded});
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
        line_write(&(struct log_line){level, stage, what, text, 0});
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
    if ((int)level > atomic_load_explicit(&log_state.most, memory_order_relaxed)) {
        return;
    }
    char text[LOG_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    char heading[LOG_WHAT_BYTES];
    snprintf(heading, sizeof heading, "%s", what);
    log_lock();
    if (is_wanted(stage, level)) {
        log_put(level, stage, heading, text);
    }
    log_unlock();
}

void core_log_tick(void) {
    log_lock();
    rows_print_expired(core_tick_ns());
    log_unlock();
}

void core_log_flush(void) {
    log_lock();
    for (size_t i = 0; i < LOG_ROWS; i++) {
        row_print_folded(&log_state.rows[i]);
    }
    log_unlock();
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
