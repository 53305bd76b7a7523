/* sinks/elastic_index.c: which index a document goes to: by its dataset and its own time, and nothing that could be another
 * at the next try. (What lies behind Kafka has the time Kafka took it; behind `run` the time is now, so that there a document
 * that comes again exactly as it turns too old is the one that may get a second copy.)
 *
 * The text around a document is the same for all of a dataset and a day: it is made once and kept.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/peek.h"
#include "sinks/elastic_internal.h"

#include <stdio.h>

#define MS_PER_DAY INT64_C(86400000)
#define DAY_NS (86400 * CORE_NS_PER_S)
#define OWN_START "{\"@timestamp\":\"" /* of every document of ours */

/* ---- times ---------------------------------------------------------------------------------------------------------------- */

/* len digits at *at, moved over. */
static bool digits_take(const char **at, const char *end, int len, unsigned *out) {
    unsigned value = 0;
    if (end - *at < len) {
        return false;
    }
    for (int i = 0; i < len; i++) {
        if (!core_is_digit((*at)[i])) {
            return false;
        }
        value = value * 10 + (unsigned)((*at)[i] - '0');
    }
    *at += len;
    *out = value;
    return true;
}

static bool byte_take(const char **at, const char *end, char byte) {
    bool is_there = *at < end && **at == byte;
    *at += is_there ? 1 : 0;
    return is_there;
}

/* "+01:00", "-0530", "Z", or nothing: minutes east. */
static bool offset_take(const char **at, const char *end, int64_t *minutes) {
    unsigned hours = 0;
    unsigned rest = 0;
    *minutes = 0;
    if (*at == end) {
        return true;
    }
    char sign = *(*at)++;
    if (sign == 'Z' || sign == 'z') {
        return *at == end;
    }
    if ((sign != '+' && sign != '-') || !digits_take(at, end, 2, &hours)) {
        return false;
    }
    (void)byte_take(at, end, ':');
    if (*at < end && !digits_take(at, end, 2, &rest)) {
        return false;
    }
    *minutes = (int64_t)(hours * 60 + rest) * (sign == '-' ? -1 : 1);
    return *at == end && hours < 24 && rest < 60;
}

/* Behind the T: milliseconds of the day. */
static bool clock_take(const char **at, const char *end, int64_t *ms) {
    unsigned hour = 0;
    unsigned minute = 0;
    unsigned second = 0;
    unsigned milli = 0;
    if (!digits_take(at, end, 2, &hour) || !byte_take(at, end, ':') || !digits_take(at, end, 2, &minute)) {
        return false;
    }
    if (byte_take(at, end, ':') && !digits_take(at, end, 2, &second)) {
        return false;
    }
    if (*at < end && (**at == '.' || **at == ',')) {
        const char *digit = ++*at;
        for (unsigned unit = 100; *at < end && core_is_digit(**at); (*at)++, unit /= 10) {
            milli += (unsigned)(**at - '0') * unit;
        }
        if (*at == digit) {
            return false;
        }
    }
    *ms = (int64_t)((hour * 60 + minute) * 60 + second) * 1000 + milli;
    return hour <= 24 && minute < 60 && second <= 60;
}

bool elastic_time_read(struct core_span text, int64_t *ms) {
    const char *at = text.ptr;
    const char *end = text.ptr + text.len;
    unsigned year = 0;
    unsigned month = 0;
    unsigned day = 0;
    int64_t clock_ms = 0;
    int64_t minutes = 0;
    if (!digits_take(&at, end, 4, &year) || !byte_take(&at, end, '-') || !digits_take(&at, end, 2, &month) ||
        !byte_take(&at, end, '-') || !digits_take(&at, end, 2, &day) || month < 1 || month > 12 || day < 1 ||
        day > 31) {
        return false;
    }
    if (at < end) {
        char separator = *at++;
        if ((separator != 'T' && separator != 't' && separator != ' ') || !clock_take(&at, end, &clock_ms) ||
            !offset_take(&at, end, &minutes)) {
            return false;
        }
    }
    *ms = core_days_from_civil(year, month, day) * MS_PER_DAY + clock_ms - minutes * 60 * 1000;
    return true;
}

static struct core_span timestamp_of(struct core_span doc) {
    const struct core_span start = CORE_SPAN(OWN_START);
    if (core_span_starts(doc, start)) {
        const char *from = doc.ptr + start.len;
        const char *quote = memchr(from, '"', doc.len - start.len);
        return (struct core_span){from, quote == NULL ? 0 : (size_t)(quote - from)};
    }
    struct core_peek peek;
    bool is_whole = core_peek(doc, &peek);
    (void)is_whole; /* what was found before it went wrong is enough */
    return peek.timestamp;
}

int64_t elastic_day_of(const struct elastic_conf *conf, struct core_span doc, int64_t accepted_ms) {
    MUST(conf != NULL);
    int64_t ms = 0;
    if (conf->index_mode == ELASTIC_DATA_STREAM) {
        return 0; /* all of them lie in one */
    }
    if (!elastic_time_read(timestamp_of(doc), &ms)) {
        return ELASTIC_OUT_OF_RANGE;
    }
    if (ms < accepted_ms - conf->past_ns / CORE_NS_PER_MS || ms > accepted_ms + conf->future_ns / CORE_NS_PER_MS) {
        return ELASTIC_OUT_OF_RANGE;
    }
    return ms / MS_PER_DAY - (ms % MS_PER_DAY < 0 ? 1 : 0);
}

/* ---- names ----------------------------------------------------------------------------------------------------------------- */

/* As index names and data_stream.dataset have it. */
static void dataset_clean(const char *dataset, char out[ELASTIC_DATASET_BYTES_MAX + 1]) {
    size_t len = 0;
    for (const char *c = dataset; *c != '\0' && len < ELASTIC_DATASET_BYTES_MAX; c++) {
        char lower = core_lower(*c);
        bool is_legal = (lower >= 'a' && lower <= 'z') || core_is_digit(lower) || lower == '.' || lower == '_';
        out[len++] = is_legal ? lower : '_';
    }
    out[len] = '\0';
    if (len == 0) {
        snprintf(out, ELASTIC_DATASET_BYTES_MAX + 1, "generic");
    }
}

/* "-2026.11.22", "-2026.11", "-outofrange", or "" for a data stream. */
static void period_write(const struct elastic_conf *conf, const char *dataset, int64_t day, char out[16]) {
    char iso[27];
    out[0] = '\0';
    if (conf->index_mode == ELASTIC_DATA_STREAM) {
        return;
    }
    if (day == ELASTIC_OUT_OF_RANGE || day > INT64_MAX / DAY_NS || day < INT64_MIN / DAY_NS ||
        !core_time_iso(day * DAY_NS, iso)) {
        snprintf(out, 16, "-outofrange");
        return;
    }
    snprintf(out, 16, "-%.4s.%.2s.%.2s", iso, iso + 5, iso + 8);
    if (!sink_elastic_is_daily(conf, dataset)) {
        out[sizeof "-2026.11" - 1] = '\0';
    }
}

static void index_make(struct elastic_index *index, const struct elastic_conf *conf, const char *dataset, int64_t day) {
    char clean[ELASTIC_DATASET_BYTES_MAX + 1];
    char period[16];
    dataset_clean(dataset, clean);
    period_write(conf, clean, day, period);
    snprintf(index->dataset, sizeof index->dataset, "%s", dataset);
    index->day = day;
    static const char before[] = "{\"create\":{\"_index\":\"";
    int len = snprintf(index->head, sizeof index->head, "%slogs-%s-%s%s\",\"_id\":\"", before, clean,
                       conf->namespace_name, period);
    MUST(len > 0 && (size_t)len < sizeof index->head);
    index->head_len = (uint16_t)len;
    index->name_at = sizeof before - 1;
    index->name_len = (uint16_t)((size_t)len - (sizeof before - 1) - strlen("\",\"_id\":\""));
    len = snprintf(index->tail, sizeof index->tail,
                   ",\"data_stream\":{\"type\":\"logs\",\"dataset\":\"%s\",\"namespace\":\"%s\"}}\n", clean,
                   conf->namespace_name);
    MUST(len > 0 && (size_t)len < sizeof index->tail);
    index->tail_len = (uint16_t)len;
}

const struct elastic_index *elastic_index_of(struct elastic_index *table, const struct elastic_conf *conf,
                                             const char *dataset, int64_t day) {
    MUST(table != NULL && dataset != NULL);
    /* Names are interned, so that their places spread well; what is kept is compared as text, for a place may be used anew. */
    uint64_t mixed =
        ((uint64_t)(uintptr_t)dataset ^ (uint64_t)day << 40 ^ (uint64_t)day) * UINT64_C(0x9e3779b97f4a7c15);
    struct elastic_index *index = &table[mixed >> 56 & (ELASTIC_INDICES - 1)];
    if (index->head_len == 0 || index->day != day || strcmp(index->dataset, dataset) != 0) {
        index_make(index, conf, dataset, day);
    }
    return index;
}
