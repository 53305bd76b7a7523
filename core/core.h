/* core/core.h: what every stage shares: errors, asserts, spans, the arena, the log, counters, time.
 *
 * Errors are of three kinds and never mixed:
 *   our bug           -> MUST(): prints file, line and the expression, and aborts. Always compiled in.
 *   the world failed  -> enum core_err, results by out-parameter; the lowest function that knows fills struct core_fail.
 *   the data is bad   -> not an error at all: the line becomes a dead letter (core/batch.h, core_event.is_dead).
 *
 * Further headers of this folder: batch.h (what moves between threads), queue.h, json.h, conf.h, codec.h, kafka.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_CORE_H
#define TAPLINE_CORE_CORE_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CORE_CHECKED __attribute__((warn_unused_result))
#define CORE_PRINTF(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))
#define CORE_UNUSED __attribute__((unused))

#define CORE_ECS_VERSION "8.17.0" /* of every document; the maps name the same */

#define CORE_KIB ((size_t)1024)
#define CORE_MIB ((size_t)1024 * 1024)
#define CORE_NS_PER_S INT64_C(1000000000)
#define CORE_NS_PER_MS INT64_C(1000000)
#define CORE_NS_PER_US INT64_C(1000)

/* Process exit codes. 100 means "you called it wrong" (never restart), 111 "the system failed" (restart may help). */
enum core_exit { CORE_EXIT_DONE = 0, CORE_EXIT_NO = 1, CORE_EXIT_USAGE = 100, CORE_EXIT_SYSTEM = 111 };

/* ---- asserts ---------------------------------------------------------------------------------------------------- */

/* Print "file:line: MUST(expr)" to stderr and abort. Thread: any. */
_Noreturn void core_must_fail(const char *expr, const char *file, int line);
#define MUST(expr) ((expr) ? (void)0 : core_must_fail(#expr, __FILE__, __LINE__))

/* ---- failures of the world --------------------------------------------------------------------------------------- */

enum core_err {
    CORE_OK = 0,
    CORE_AGAIN,  /* nothing now; call again */
    CORE_GONE,   /* the thing is gone for good and was fully used */
    CORE_IO,     /* a system call or a library failed; see fail */
    CORE_BAD,    /* the caller's text (config, map, argument) is wrong; see fail */
    CORE_LIMIT,  /* a stated maximum was reached */
    CORE_LOCKED, /* somebody else holds it */
    CORE_NET     /* a remote peer failed or refused; see fail */
};

/* Who failed, and in words a person can act on. Filled once, by the lowest function that knows; passed up untouched.
 * Shape: both texts are NUL-terminated and cut, never overrun. `where` is a path, "file:line:col", host or broker. */
struct core_fail {
    enum core_err err;
    char where[256];
    char text[768];
};

/* Fill fail (which may be NULL) and return err, so that `return core_fail_set(...)` reads well. Thread: any. */
enum core_err core_fail_set(struct core_fail *fail, enum core_err err, const char *where, const char *fmt, ...)
    CORE_PRINTF(4, 5);
/* The same, with ": strerror(errno)" and, if there is one, "; core_errno_help(errno)" appended; err is CORE_IO. */
enum core_err core_fail_errno(struct core_fail *fail, const char *where, const char *fmt, ...) CORE_PRINTF(3, 4);
/* What a person can do about an errno ("free some space there"), or NULL. Thread: any. */
const char *core_errno_help(int number);

/* ---- spans ------------------------------------------------------------------------------------------------------- */

/* Bytes that somebody else owns. Not NUL-terminated. ptr may be NULL only if len is 0. */
struct core_span {
    const char *ptr;
    size_t len;
};

#define CORE_SPAN(literal) ((struct core_span){.ptr = (literal), .len = sizeof(literal) - 1})

static inline struct core_span core_span_of(const char *text) {
    return (struct core_span){.ptr = text, .len = strlen(text)};
}

static inline bool core_span_eq(struct core_span a, struct core_span b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool core_span_is(struct core_span a, const char *text) {
    return core_span_eq(a, core_span_of(text));
}

static inline bool core_span_starts(struct core_span a, struct core_span prefix) {
    return a.len >= prefix.len && memcmp(a.ptr, prefix.ptr, prefix.len) == 0;
}

/* First byte c in a, or NULL. */
static inline const char *core_span_chr(struct core_span a, char c) {
    return a.len == 0 ? NULL : memchr(a.ptr, c, a.len);
}

static inline bool core_is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static inline bool core_is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* ASCII's, whatever the locale. */
static inline char core_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Without blanks at its ends. */
static inline struct core_span core_span_trim(struct core_span text) {
    while (text.len > 0 && core_is_blank(text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && core_is_blank(text.ptr[text.len - 1])) {
        text.len--;
    }
    return text;
}

/* "192.0.2.1", each part without zeros in front, as inet_ntop() writes it. False: it is something else; then *out is of no
 * use. */
static inline bool core_ipv4_read(struct core_span text, uint32_t *out) {
    uint32_t address = 0;
    size_t at = 0;
    for (int part = 0; part < 4; part++) {
        unsigned value = 0;
        size_t start = at;
        for (; at < text.len && core_is_digit(text.ptr[at]) && at - start < 3; at++) {
            value = value * 10 + (unsigned)(text.ptr[at] - '0');
        }
        bool is_part = at - start == 1 || (at > start && text.ptr[start] != '0' && value <= UINT8_MAX);
        if (!is_part || (part < 3 && (at == text.len || text.ptr[at++] != '.'))) {
            return false;
        }
        address = address << 8 | value;
    }
    *out = address;
    return at == text.len;
}

/* ---- arena ------------------------------------------------------------------------------------------------------- */

/* A bump allocator over one anonymous mapping: untouched pages cost nothing. Everything in it dies at once.
 * Thread: one at a time (the owner of the batch it belongs to). */
struct core_arena {
    char *base;
    size_t used; /* bytes */
    size_t cap;  /* bytes, the stated maximum */
};

CORE_CHECKED enum core_err core_arena_init(struct core_arena *arena, size_t cap, struct core_fail *fail);
/* 8-byte aligned, uninitialised; NULL when the maximum is reached: the caller then closes the batch or refuses the line. */
void *core_arena_alloc(struct core_arena *arena, size_t len);
/* A copy with a NUL behind it, or NULL when full. */
char *core_arena_copy(struct core_arena *arena, struct core_span text);
/* Forget everything; pages beyond keep_bytes go back to the system. */
void core_arena_reset(struct core_arena *arena, size_t keep_bytes);
void core_arena_destroy(struct core_arena *arena); /* takes a zeroed one */

/* ---- log: stderr, one line per event; never per record ------------------------------------------------------------- */

enum core_level { CORE_LEVEL_ERROR, CORE_LEVEL_WARN, CORE_LEVEL_INFO, CORE_LEVEL_DEBUG };
enum core_log_format { CORE_LOG_LOGFMT, CORE_LOG_ECS };
#define CORE_LOG_STAGES_MAX 16 /* that have a level of their own */

/* The configuration's: at start and at SIGHUP. Lines above `level` are not printed; what was set at run time is forgotten.
 * Process-wide, as all of this. */
void core_log_level(enum core_level level);
/* logfmt: ts level stage "what" key=value…  ECS: one JSON object a line; service is its service.name (static text). */
void core_log_format(enum core_log_format format, const char *service);
enum core_log_format core_log_format_now(void);
extern const char *const core_log_format_names[]; /* by enum core_log_format, then NULL */
/* At run time, until core_log_level(). stage: of this one only; NULL: of all, and those of single stages are forgotten.
 * Errors: CORE_LIMIT there are CORE_LOG_STAGES_MAX of them already. Thread: any. */
CORE_CHECKED enum core_err core_log_level_now(const char *stage, enum core_level level, struct core_fail *fail);
void core_log_level_reset(void); /* what core_log_level() said last */
/* "info, kafka=debug". NUL-terminated. */
void core_log_level_text(char *out, size_t out_len);
extern const char *const core_level_names[]; /* by enum core_level, then NULL */
/* A message says what happened, to which file or broker, what we do now, and what a person can do. fmt makes the key=value
 * part (may be ""). Repeats within 10 s are folded into a count: the same words at once, other words under the same stage+what
 * after five. Thread: any. */
void core_log(enum core_level level, const char *stage, const char *what, const char *fmt, ...) CORE_PRINTF(4, 5);
/* Print what was folded and whose 10 s are over; called about once a second by whoever has a loop. */
void core_log_tick(void);
/* Print what was folded and not yet printed; called at exit. */
void core_log_flush(void);
void core_log_fail(enum core_level level, const char *stage, const char *what, const struct core_fail *fail);
/* Of MUST(): a line without a lock and without folding, where lines are JSON. False: they are not, or it was said. */
bool core_log_bug(const char *text);

/* ---- counters ------------------------------------------------------------------------------------------------------ */

/* One row each in core/counters.def: X(id, "name", "unit", "meaning"). Added to per batch, not per record. */
enum core_counter {
#define X(id, name, unit, meaning) CORE_COUNT_##id,
#include "core/counters.def"
#undef X
    CORE_COUNT__MAX
};

struct core_counters {
    _Atomic uint64_t value[CORE_COUNT__MAX];
};

struct core_counter_info {
    const char *name;
    const char *unit;
    const char *meaning;
};
extern const struct core_counter_info core_counter_table[CORE_COUNT__MAX];

static inline void core_count(struct core_counters *counters, enum core_counter id, uint64_t n) {
    atomic_fetch_add_explicit(&counters->value[id], n, memory_order_relaxed);
}

static inline uint64_t core_counted(const struct core_counters *counters, enum core_counter id) {
    return atomic_load_explicit(&counters->value[id], memory_order_relaxed);
}

/* ---- time, hashes --------------------------------------------------------------------------------------------------- */

int64_t core_now_ns(void);  /* CLOCK_REALTIME, ns since the epoch */
int64_t core_tick_ns(void); /* CLOCK_MONOTONIC, for intervals */
/* "2026-11-21T02:58:30.536622Z" for ns since the epoch (cut to µs; proleptic Gregorian, years 0000–9999).
 * Shape: writes exactly 27 bytes and no NUL. Errors: false outside the years that four digits can say (int64 ns end at
 * 1677 and 2262, so no ns is refused today; callers need not know that). Thread: any. */
CORE_CHECKED bool core_time_iso(int64_t ns, char out[27]);
/* Days since 1970-01-01 of a proleptic Gregorian date. */
int64_t core_days_from_civil(int64_t year, unsigned month, unsigned day);

/* xxhash's XXH3, 64 bits; seed chains calls. */
uint64_t core_hash64(const void *bytes, size_t len, uint64_t seed);
void core_sha256(const void *bytes, size_t len, unsigned char out[32]);
/* SHA-1 for those who need it per record (the Community ID): looked up once, then cheap. Thread: its owner's. */
struct core_sha1;
struct core_sha1 *core_sha1_new(void); /* never NULL (MUST) */
void core_sha1_of(struct core_sha1 *sha1, const void *bytes, size_t len, unsigned char out[20]);
void core_sha1_free(struct core_sha1 *sha1); /* takes NULL */

static inline void core_put_be64(unsigned char out[8], uint64_t v) {
    for (int i = 7; i >= 0; i--, v >>= 8) {
        out[i] = (unsigned char)(v & 0xff);
    }
}

#endif
