/* normalize/derive_snort_time.c: the time of a Snort or Suricata alert.
 *
 * `seconds` is UTC and exact: where it is there, the stamp gives only the part of the second. Else the stamp is what the
 * sensor's clock showed, in the input's time zone. What it leaves open is settled in this order (ADR 0013):
 *   1. a year of two digits stands first (Snort 3) or last (Snort 2, pfSense): as the format says, if that is a date;
 *   2. of what is left, the time nearest the file's: that is also how a year is found where there is none. A time more
 *      than a day after now (or after the file's, if that is later) is taken only if there is no other.
 * "The file's time" is its modification time when it was first seen, or the latest alert read from it since, so that a
 * file that is followed for years keeps its year.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/zone.h"
#include "normalize/snort_internal.h"

#define NS_PER_DAY (INT64_C(86400) * CORE_NS_PER_S)
#define YEARS_AROUND 8 /* 1896 and 1904 have a 29 February, and no year between them */

struct stamp {
    int64_t parts[3]; /* of the date, as they stand */
    size_t parts_len; /* 2: month and day */
    bool is_first;    /* the year stands first, for certain; else last for certain, if it has four digits */
    bool is_long;     /* the year has four digits */
    int64_t clock_ns; /* since midnight */
};

static bool number_until(struct core_span *text, char end, size_t digits_max, int64_t *out) {
    size_t i = 0;
    *out = 0;
    while (i < text->len && text->ptr[i] >= '0' && text->ptr[i] <= '9' && i < digits_max) {
        *out = *out * 10 + (text->ptr[i++] - '0');
    }
    bool is_good = i > 0 && i < text->len && text->ptr[i] == end;
    *text = snort_cut(*text, is_good ? i + 1 : i, text->len);
    return is_good;
}

/* "02:58:39.101903", "02:58:39"; second 60 is a leap second. */
static bool clock_read(struct core_span text, int64_t *ns) {
    int64_t hour;
    int64_t minute;
    int64_t second = 0;
    int64_t unit = CORE_NS_PER_S;
    size_t i = 0;
    if (!number_until(&text, ':', 2, &hour) || !number_until(&text, ':', 2, &minute)) {
        return false;
    }
    for (; i < text.len && i < 2 && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++) {
        second = second * 10 + (text.ptr[i] - '0');
    }
    if (i == 0 || hour > 23 || minute > 59 || second > 60) {
        return false;
    }
    *ns = ((hour * 60 + minute) * 60 + second) * CORE_NS_PER_S;
    if (i == text.len) {
        return true;
    }
    bool has_digits = text.ptr[i++] == '.' && i < text.len;
    for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++) {
        unit /= 10;
        *ns += (text.ptr[i] - '0') * unit;
    }
    return has_digits && i == text.len;
}

/* "11/21-...", "26/11/21-..." (Snort 3), "01/27/16-..." (Snort 2, pfSense), "11/21/2026-..." (Suricata) */
static bool slashes_parse(struct core_span text, struct stamp *out) {
    size_t slashes = 0;
    for (size_t i = 0; i < text.len; i++) {
        slashes += text.ptr[i] == '/';
    }
    if (slashes != 1 && slashes != 2) {
        return false;
    }
    out->parts_len = slashes + 1;
    for (size_t i = 0; i < out->parts_len; i++) {
        const char *start = text.ptr;
        if (!number_until(&text, i == slashes ? '-' : '/', 4, &out->parts[i])) {
            return false;
        }
        if (text.ptr - start == 5) { /* four digits */
            out->is_long = true;
            out->is_first = i == 0;
        }
    }
    return clock_read(text, &out->clock_ns);
}

static int64_t month_of(struct core_span word) {
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int64_t i = 0; word.len == 3 && months[i * 3] != '\0'; i++) {
        if (memcmp(word.ptr, months + i * 3, 3) == 0) {
            return i + 1;
        }
    }
    return 0;
}

static int64_t number_of(struct core_span word) {
    int64_t out = 0;
    for (size_t i = 0; i < word.len && word.len <= 4; i++) {
        out = out * 10 + (word.ptr[i] - '0');
    }
    return out;
}

/* "Nov 21 03:16:42", "Nov 21 2026 03:16:42.003" */
static bool syslog_parse(struct core_span text, struct stamp *out) {
    int64_t month = month_of(snort_word(&text));
    struct core_span day = snort_word(&text);
    struct core_span word = snort_word(&text);
    if (month == 0 || !snort_is_digits(day)) {
        return false;
    }
    *out = (struct stamp){.parts = {month, number_of(day), 0}, .parts_len = 2};
    if (word.len == 4 && snort_is_digits(word)) {
        out->parts[2] = number_of(word);
        out->parts_len = 3;
        out->is_long = true;
        word = snort_word(&text);
    }
    return text.len == 0 && clock_read(word, &out->clock_ns);
}

/* "2026-11-21T03:16:42.003" without a zone; one that has it is a time already. */
static bool iso_parse(struct core_span text, struct stamp *out) {
    *out = (struct stamp){.parts_len = 3, .is_long = true, .is_first = true};
    return number_until(&text, '-', 4, &out->parts[0]) && number_until(&text, '-', 2, &out->parts[1]) &&
           number_until(&text, 'T', 2, &out->parts[2]) && clock_read(text, &out->clock_ns);
}

static bool stamp_parse(struct core_span text, struct stamp *out) {
    *out = (struct stamp){0};
    return slashes_parse(text, out) || syslog_parse(text, out) || iso_parse(text, out);
}

/* ---- dates ------------------------------------------------------------------------------------------------------------------ */

struct date {
    int64_t year;
    int64_t month;
    int64_t day;
};

static bool is_leap(int64_t year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static bool date_is_real(struct date date) {
    static const int64_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (date.month < 1 || date.month > 12 || date.day < 1) {
        return false;
    }
    return date.day <= days[date.month - 1] + (date.month == 2 && is_leap(date.year) ? 1 : 0);
}

/* What the stamp's zone is, opened when the stream's first stamp comes. The config was checked, but zone files can go. */
static bool zone_open(struct normalize_worker *worker, struct stream_state *state) {
    const struct core_origin *origin = state->stream->origin;
    struct core_fail fail = {0};
    if (state->zone != NULL || origin == NULL || origin->timezone == NULL) {
        return true;
    }
    if (core_zone_open(&state->zone, origin->timezone, &fail) != CORE_OK) {
        return record_refuse(worker, "the input's timezone: %s", fail.text);
    }
    return true;
}

/* Times that a stamp could mean; the best so far. All are civil: what a zone adds, half a day, decides nothing. */
struct choice {
    int64_t clock_ns;
    int64_t near_ns;
    int64_t latest_ns;
    int64_t best_ns;
    bool is_set;
};

/* int64 of ns ends at 1677 and 2262. */
#define YEAR_MIN 1700
#define YEAR_MAX 2250

static void choice_offer(struct choice *choice, struct date date) {
    if (!date_is_real(date) || date.year < YEAR_MIN || date.year > YEAR_MAX) {
        return;
    }
    int64_t days = core_days_from_civil(date.year, (unsigned)date.month, (unsigned)date.day);
    int64_t ns = days * NS_PER_DAY + choice->clock_ns;
    int64_t off = ns > choice->near_ns ? ns - choice->near_ns : choice->near_ns - ns;
    int64_t best_off =
        choice->best_ns > choice->near_ns ? choice->best_ns - choice->near_ns : choice->near_ns - choice->best_ns;
    bool is_late = ns > choice->latest_ns;
    bool best_is_late = choice->best_ns > choice->latest_ns;
    if (!choice->is_set || (is_late != best_is_late ? best_is_late : off < best_off)) {
        choice->best_ns = ns;
        choice->is_set = true;
    }
}

static int64_t year_of(int64_t ns) {
    char iso[27];
    MUST(core_time_iso(ns, iso));
    return (iso[0] - '0') * 1000 + (iso[1] - '0') * 100 + (iso[2] - '0') * 10 + (iso[3] - '0');
}

static int64_t long_year(int64_t year, bool is_long) {
    return is_long ? year : 2000 + year; /* Snort is of 1998, and prints the years since 2000 */
}

/* The date with its year, wherever that stands: as the format says; if that is no date, as it is one. */
static void choice_offer_dated(struct choice *choice, const struct stamp *stamp, enum snort_year order) {
    const int64_t *p = stamp->parts;
    struct date first = {long_year(p[0], stamp->is_long), p[1], p[2]};
    struct date last = {long_year(p[2], stamp->is_long), p[0], p[1]};
    if (stamp->is_long) {
        choice_offer(choice, stamp->is_first ? first : last);
        return;
    }
    if (p[0] > 99 || p[2] > 99) {
        return;
    }
    bool only_first = order == SNORT_YEAR_FIRST && date_is_real(first);
    bool only_last = order == SNORT_YEAR_LAST && date_is_real(last);
    if (!only_last) {
        choice_offer(choice, first);
    }
    if (!only_first) {
        choice_offer(choice, last);
    }
}

static bool stamp_settle(struct normalize_worker *worker, struct stream_state *state, const struct stamp *stamp,
                         enum snort_year order, int64_t *ns) {
    int64_t now_ns = core_now_ns();
    int64_t near_ns = state->stream->mtime_ns > 0 ? state->stream->mtime_ns : now_ns;
    near_ns = near_ns > state->latest_ns ? near_ns : state->latest_ns;
    if (!zone_open(worker, state)) {
        return false;
    }
    worker->is_order_bound =
        true; /* near_ns is of the records before it, and those after it come to know of this one */
    struct choice choice = {.clock_ns = stamp->clock_ns,
                            .near_ns = near_ns,
                            .latest_ns = (now_ns > near_ns ? now_ns : near_ns) + NS_PER_DAY};
    if (stamp->parts_len == 3) {
        choice_offer_dated(&choice, stamp, order);
    } else {
        int64_t year = year_of(near_ns);
        for (int64_t y = year - YEARS_AROUND; y <= year + YEARS_AROUND; y++) {
            choice_offer(&choice, (struct date){y, stamp->parts[0], stamp->parts[1]});
        }
    }
    if (!choice.is_set) {
        return false;
    }
    *ns = state->zone == NULL ? choice.best_ns : core_zone_to_utc(state->zone, choice.best_ns);
    state->latest_ns = state->latest_ns > *ns ? state->latest_ns : *ns;
    return true;
}

/* ---- the function ------------------------------------------------------------------------------------------------------------ */

static bool is_number(struct value v) {
    return v.kind == VALUE_RAW ? v.is_number != 0 : value_is_string(v) && v.len > 0 && snort_is_digits(value_span(v));
}

bool derive_snort_time(const struct derive_context *ctx) {
    struct normalize_worker *worker = ctx->worker;
    struct stream_state *state = ctx->plan->stream->decode;
    struct value text = derive_arg(ctx, 0);
    struct value seconds = derive_arg(ctx, 1);
    struct core_span span = value_is_string(text) ? snort_trim(value_span(text)) : (struct core_span){NULL, 0};
    struct stamp stamp;
    int64_t ns = 0;
    MUST(state != NULL);
    bool has_stamp = span.len > 0 && stamp_parse(span, &stamp);
    if (is_number(seconds) && decimal_to_ns(value_span(seconds), &ns) &&
        !__builtin_add_overflow(ns, has_stamp ? stamp.clock_ns % CORE_NS_PER_S : 0, &ns)) {
        return derive_put(ctx, value_iso(worker, ns));
    }
    if (text.kind == VALUE_NONE) {
        return true;
    }
    enum snort_year order = ctx->plan->may_grow ? SNORT_YEAR_FIRST : (enum snort_year)worker->snort_year;
    bool is_good = has_stamp ? stamp_settle(worker, state, &stamp, order, &ns)
                             : value_is_string(text) && time_to_ns(span, false, &ns);
    if (!is_good) {
        return worker->reason[0] != '\0'
                   ? false
                   : record_refuse(worker, "field timestamp: \"%.*s\" is no time as Snort writes it",
                                   (int)(text.len < 80 ? text.len : 80), value_is_scalar(text) ? text.ptr : "");
    }
    return derive_put(ctx, value_iso(worker, ns));
}
