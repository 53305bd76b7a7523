/* normalize/value.c: text to value by type, the same for every format. Numbers are exact: times and intervals go from
 * decimal text to int64 nanoseconds and never through a double.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

#include <stdio.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct type_word {
    const char *word;
    enum field_type type;
};

static const struct type_word type_words[] = {
    {"bool", TYPE_BOOL},     {"count", TYPE_COUNT},       {"int", TYPE_INT},       {"double", TYPE_DOUBLE},
    {"time", TYPE_TIME},     {"interval", TYPE_INTERVAL}, {"string", TYPE_STRING}, {"enum", TYPE_ENUM},
    {"addr", TYPE_ADDR},     {"subnet", TYPE_SUBNET},     {"port", TYPE_PORT},     {"snorttime", TYPE_SNORTTIME},
    {"counter", TYPE_COUNT}, {"any", TYPE_ANY},
};

const char *field_type_name(enum field_type type) {
    for (size_t i = 0; i < sizeof(type_words) / sizeof(type_words[0]); i++) {
        if (type_words[i].type == type) {
            return type_words[i].word;
        }
    }
    return "any";
}

struct declared declared_parse(struct core_span text, bool *is_known) {
    static const struct core_span lists[] = {{"set[", 4}, {"vector[", 7}, {"table[", 6}};
    struct declared out = {.type = TYPE_STRING, .is_list = false};
    *is_known = true;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (core_span_starts(text, lists[i]) && text.ptr[text.len - 1] == ']') {
            struct core_span inner = {text.ptr + lists[i].len, text.len - lists[i].len - 1};
            out = declared_parse(inner, is_known);
            out.is_list = true;
            return out;
        }
    }
    for (size_t i = 0; i < sizeof(type_words) / sizeof(type_words[0]); i++) {
        if (core_span_is(text, type_words[i].word)) {
            out.type = type_words[i].type;
            return out;
        }
    }
    *is_known = false;
    return out;
}

/* ---- scratch ------------------------------------------------------------------------------------------------------------- */

bool record_refuse(struct normalize_worker *worker, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(worker->reason, sizeof(worker->reason), fmt, args);
    va_end(args);
    return false;
}

void *scratch_full(struct normalize_worker *worker) {
    (void)record_refuse(worker, "the record needs more than %zu MiB of working memory", SCRATCH_BYTES / CORE_MIB);
    return NULL;
}

struct value *scratch_items(struct normalize_worker *worker, size_t len) {
    return scratch_alloc(worker, len * sizeof(struct value));
}

struct value value_copy(struct normalize_worker *worker, struct core_span text) {
    char *p = scratch_alloc(worker, text.len);
    if (p == NULL) {
        return value_none();
    }
    (void)bytes_copy(p, text.ptr, text.len);
    return value_of(VALUE_TEXT, p, text.len);
}

struct value value_u64(struct normalize_worker *worker, uint64_t v) {
    char *p = scratch_alloc(worker, VALUE_ROOM);
    if (p == NULL) {
        return value_none();
    }
    struct core_buf buf = {.start = p, .pos = p, .end = p + VALUE_ROOM};
    core_buf_u64(&buf, v);
    return value_roomy(value_number(p, core_buf_written(&buf).len), buf.end);
}

static inline void put_two(char *out, uint32_t v) {
    out[0] = (char)('0' + v / 10);
    out[1] = (char)('0' + v % 10);
}

/* core_time_iso() for a time of the day written last. False: it is of another day. */
static bool iso_same_day(const struct day *day, int64_t ns, char out[27]) {
    const uint64_t day_ns = 86400 * (uint64_t)CORE_NS_PER_S;
    uint64_t since = (uint64_t)ns - (uint64_t)day->number * day_ns;
    if (!day->is_known || since >= day_ns) { /* before it: wraps to far beyond */
        return false;
    }
    uint32_t second = (uint32_t)(since / (uint64_t)CORE_NS_PER_S);
    uint32_t micros = (uint32_t)(since % (uint64_t)CORE_NS_PER_S) / (uint32_t)CORE_NS_PER_US;
    uint32_t minute = second / 60;
    memcpy(out, day->text, sizeof(day->text));
    put_two(out + 11, minute / 60);
    out[13] = ':';
    put_two(out + 14, minute % 60);
    out[16] = ':';
    put_two(out + 17, second % 60);
    out[19] = '.';
    put_two(out + 20, micros / 10000);
    put_two(out + 22, micros / 100 % 100);
    put_two(out + 24, micros % 100);
    out[26] = 'Z';
    return true;
}

static bool iso_write(struct day *day, int64_t ns, char out[27]) {
    if (iso_same_day(day, ns, out)) {
        return true;
    }
    if (!core_time_iso(ns, out)) {
        return false;
    }
    int64_t seconds = ns / CORE_NS_PER_S;
    day->is_known = ns >= 0; /* times before 1970 are rare: each goes the long way */
    day->number = seconds / 86400;
    memcpy(day->text, out, sizeof(day->text));
    return true;
}

struct value value_iso(struct normalize_worker *worker, int64_t ns) {
    char *p = scratch_alloc(worker, VALUE_ROOM);
    if (p == NULL) {
        return value_none();
    }
    if (!iso_write(&worker->day, ns, p)) {
        worker->reason_word = "bad_value";
        (void)record_refuse(worker, "a time outside the years 0 to 9999");
        return value_none();
    }
    return value_roomy(value_of(VALUE_PLAIN, p, 27), p + VALUE_ROOM);
}

/* ---- decimals ------------------------------------------------------------------------------------------------------------- */

/* Digits of a decimal, before and behind the point moved by its exponent. */
struct decimal {
    bool is_negative;
    char digits[64]; /* significant ones; more make no difference at the sixth digit of a second */
    int len;
    int point; /* digits before the point; may be negative */
};

static bool exponent_parse(struct core_span text, size_t i, int *exponent) {
    int sign = 1;
    int value = 0;
    if (i < text.len && (text.ptr[i] == '-' || text.ptr[i] == '+')) {
        sign = text.ptr[i++] == '-' ? -1 : 1;
    }
    if (i == text.len) {
        return false;
    }
    for (; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
        value = value < 10000 ? value * 10 + (text.ptr[i] - '0') : value;
    }
    *exponent = sign * value;
    return true;
}

static bool decimal_parse(struct core_span text, struct decimal *out) {
    size_t i = 0;
    bool has_point = false;
    bool has_digit = false;
    memset(out, 0, sizeof(*out));
    if (i < text.len && (text.ptr[i] == '-' || text.ptr[i] == '+')) {
        out->is_negative = text.ptr[i++] == '-';
    }
    for (; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '.' && !has_point) {
            has_point = true;
        } else if (c >= '0' && c <= '9') {
            has_digit = true;
            bool is_leading = out->len == 0 && c == '0';
            if (!is_leading && out->len < (int)sizeof(out->digits)) {
                out->digits[out->len++] = c;
            }
            out->point += has_point ? (is_leading ? -1 : 0) : (is_leading ? 0 : 1);
        } else {
            break;
        }
    }
    if (i < text.len) {
        int exponent;
        if ((text.ptr[i] != 'e' && text.ptr[i] != 'E') || !exponent_parse(text, i + 1, &exponent)) {
            return false;
        }
        out->point += exponent;
    }
    return has_digit;
}

/* Six digits as a number. False: another byte is among them. */
static inline bool digits_read6(const char *text, uint64_t *out) {
    uint64_t sum = 0;
    for (size_t i = 0; i < 6; i++) {
        unsigned digit = (unsigned char)text[i] - (unsigned)'0';
        if (digit > 9) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *out = sum;
    return true;
}

/* Eight to 24 digits behind a point: the first six as a number, and whether the others round it up (half to even). */
static bool fraction_read(const char *text, size_t len, uint64_t *micros) {
    uint64_t word;
    uint64_t tail = 0;
    bool is_all = true;
    for (size_t i = 8; i < len; i += 8) {
        unsigned unused = len - i < 8 ? 8 * (unsigned)(8 - (len - i)) : 0; /* bits of what was looked at already */
        memcpy(&word, text + (len - i < 8 ? len - 8 : i), sizeof(word));
        word = word >> unused ^ UINT64_C(0x3030303030303030) >> unused;
        tail |= word;
        is_all = is_all && digits_are_all(word ^ UINT64_C(0x3030303030303030));
    }
    memcpy(&word, text, sizeof(word));
    uint64_t first = digits_sum(word);
    uint64_t rest = first % 100;
    *micros = first / 100 + (rest > 50 || (rest == 50 && (tail != 0 || first / 100 % 2 != 0)));
    return is_all && digits_are_all(word);
}

/* The usual shape, "1795229910.536622": all digits, one point, and behind it six (TSV) or eight to 24 (JSON). */
static bool decimal_fast(struct core_span text, int64_t *ns) {
    uint64_t seconds = 0;
    uint64_t micros;
    size_t whole = 0;
    for (unsigned digit; whole < text.len && (digit = (unsigned char)text.ptr[whole] - (unsigned)'0') <= 9; whole++) {
        seconds = seconds * 10 + digit;
    }
    if (whole == 0 || whole > 10 || whole == text.len || text.ptr[whole] != '.') {
        return false;
    }
    const char *point = text.ptr + whole;
    size_t part = text.len - whole - 1;
    if (seconds > (uint64_t)(INT64_MAX / CORE_NS_PER_S - 1)) {
        return false;
    }
    if (part >= 8 && part <= 24 && IS_LITTLE_ENDIAN) {
        bool is_it = fraction_read(point + 1, part, &micros);
        *ns = (int64_t)seconds * CORE_NS_PER_S + (int64_t)micros * CORE_NS_PER_US;
        return is_it;
    }
    if (part != 6 || !digits_read6(point + 1, &micros)) {
        return false;
    }
    *ns = (int64_t)seconds * CORE_NS_PER_S + (int64_t)micros * CORE_NS_PER_US;
    return true;
}

/* Half to even, as the sensor's own six-digit writer does. */
static bool rounds_up(const struct decimal *d, int at, bool is_odd) {
    if (at < 0 || at >= d->len || d->digits[at] < '5') {
        return false;
    }
    if (d->digits[at] > '5') {
        return true;
    }
    for (int i = at + 1; i < d->len; i++) {
        if (d->digits[i] != '0') {
            return true;
        }
    }
    return is_odd;
}

bool decimal_to_ns(struct core_span text, int64_t *ns) {
    struct decimal d;
    if (decimal_fast(text, ns)) {
        return true;
    }
    if (!decimal_parse(text, &d)) {
        return false;
    }
    int want = d.point + 6; /* digits that make whole microseconds */
    if (want > 16) {
        return d.len == 0 ? (*ns = 0, true) : false;
    }
    int64_t micros = 0;
    for (int i = 0; i < want; i++) {
        micros = micros * 10 + (i < d.len ? d.digits[i] - '0' : 0);
    }
    if (want >= 0 && rounds_up(&d, want, (micros & 1) != 0)) {
        micros++;
    }
    if (micros > INT64_MAX / CORE_NS_PER_US) {
        return false;
    }
    *ns = (d.is_negative ? -micros : micros) * CORE_NS_PER_US;
    return true;
}

size_t interval_text(int64_t ns, char out[24]) {
    int64_t micros = ns / CORE_NS_PER_US;
    uint64_t all = micros < 0 ? (uint64_t)0 - (uint64_t)micros : (uint64_t)micros;
    struct core_buf buf = {.start = out, .pos = out, .end = out + 24};
    if (micros < 0) {
        core_buf_char(&buf, '-');
    }
    core_buf_u64(&buf, all / 1000000);
    core_buf_char(&buf, '.');
    char part[6];
    uint64_t rest = all % 1000000;
    for (int i = 5; i >= 0; i--, rest /= 10) {
        part[i] = (char)('0' + rest % 10);
    }
    core_buf_put(&buf, part, sizeof(part));
    return core_buf_written(&buf).len;
}

/* ---- times ------------------------------------------------------------------------------------------------------------------ */

static bool digits_read(struct core_span text, size_t at, size_t len, int64_t *out) {
    *out = 0;
    if (at + len > text.len) {
        return false;
    }
    for (size_t i = at; i < at + len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
        *out = *out * 10 + (text.ptr[i] - '0');
    }
    return true;
}

/* "Z", "", "+01:00", "-0500" -> seconds east of Greenwich. */
static bool zone_read(struct core_span zone, int64_t *seconds) {
    int64_t hours;
    int64_t minutes;
    *seconds = 0;
    if (zone.len == 0 || core_span_is(zone, "Z") || core_span_is(zone, "z")) {
        return true;
    }
    size_t colon = zone.len == 6 && zone.ptr[3] == ':' ? 1 : 0;
    bool is_signed = zone.ptr[0] == '+' || zone.ptr[0] == '-';
    if (!is_signed || zone.len != 5 + colon || !digits_read(zone, 1, 2, &hours) ||
        !digits_read(zone, 3 + colon, 2, &minutes)) {
        return false;
    }
    *seconds = (hours * 3600 + minutes * 60) * (zone.ptr[0] == '-' ? -1 : 1);
    return true;
}

/* 2026-11-21T02:58:30.536622Z; also a blank for T, no fraction, a zone. */
static bool iso_to_ns(struct core_span text, int64_t *ns) {
    int64_t year, month, day, hour, minute, second, zone;
    if (!digits_read(text, 0, 4, &year) || !digits_read(text, 5, 2, &month) || !digits_read(text, 8, 2, &day) ||
        !digits_read(text, 11, 2, &hour) || !digits_read(text, 14, 2, &minute) || !digits_read(text, 17, 2, &second)) {
        return false;
    }
    bool has_marks = text.ptr[4] == '-' && text.ptr[7] == '-' && (text.ptr[10] == 'T' || text.ptr[10] == ' ') &&
                     text.ptr[13] == ':' && text.ptr[16] == ':';
    bool is_range = month >= 1 && month <= 12 && day >= 1 && day <= 31 && hour < 24 && minute < 60 && second <= 60;
    if (!has_marks || !is_range) {
        return false;
    }
    size_t at = 19;
    size_t end = at;
    int64_t fraction = 0;
    if (at < text.len && text.ptr[at] == '.') {
        for (end = at + 1; end < text.len && text.ptr[end] >= '0' && text.ptr[end] <= '9'; end++) {
        }
        struct core_span part = {text.ptr + at, end - at};
        if (part.len < 2 || !decimal_to_ns(part, &fraction)) {
            return false;
        }
    }
    if (!zone_read((struct core_span){text.ptr + end, text.len - end}, &zone)) {
        return false;
    }
    int64_t days = core_days_from_civil(year, (unsigned)month, (unsigned)day);
    int64_t seconds = days * 86400 + hour * 3600 + minute * 60 + second - zone;
    if (seconds > INT64_MAX / CORE_NS_PER_S - 1 || seconds < INT64_MIN / CORE_NS_PER_S + 1) {
        return false;
    }
    *ns = seconds * CORE_NS_PER_S + fraction;
    return true;
}

/* Zeek's JSON::TS_MILLIS (and _UNSIGNED, which wraps below 1970): an integer of at least twelve digits. */
static bool millis_to_ns(struct core_span text, int64_t *ns) {
    size_t at = text.len > 0 && text.ptr[0] == '-' ? 1 : 0;
    uint64_t v = 0;
    if (text.len - at < 12 || text.len - at > 20) {
        return false;
    }
    for (size_t i = at; i < text.len; i++) {
        unsigned digit = (unsigned char)text.ptr[i] - (unsigned)'0';
        if (digit > 9 || v > (UINT64_MAX - digit) / 10) {
            return false;
        }
        v = v * 10 + digit;
    }
    if (at == 1 && v > INT64_MAX) {
        return false;
    }
    int64_t millis = at == 1 ? -(int64_t)v : (int64_t)v; /* beyond 2^63: the wrap of a negative one */
    if (millis > INT64_MAX / CORE_NS_PER_MS || millis < INT64_MIN / CORE_NS_PER_MS) {
        return false;
    }
    *ns = millis * CORE_NS_PER_MS;
    return true;
}

bool time_to_ns(struct core_span text, bool is_number, int64_t *ns) {
    if (is_number && millis_to_ns(text, ns)) {
        return true;
    }
    if (decimal_to_ns(text, ns)) {
        return true;
    }
    return iso_to_ns(text, ns);
}

/* ---- conversion ------------------------------------------------------------------------------------------------------------------- */

static bool refuse_type(struct normalize_worker *worker, struct core_span name, struct value in, enum field_type type) {
    int len = (int)(in.len < 80 ? in.len : 80);
    bool has_text = value_is_scalar(in);
    worker->reason_word = "bad_value";
    return record_refuse(worker, "field %.*s: \"%.*s%s\" is no %s", (int)(name.len < 100 ? name.len : 100), name.ptr,
                         has_text ? len : 4, has_text ? in.ptr : "list", has_text && in.len > 80 ? "…" : "",
                         field_type_name(type));
}

static bool is_digits(struct core_span text, bool may_be_negative) {
    size_t i = may_be_negative && text.len > 1 && text.ptr[0] == '-' ? 1 : 0;
    if (text.len == i || (text.ptr[i] == '0' && text.len > i + 1)) {
        return false;
    }
    for (; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
    }
    return true;
}

static bool convert_bool(struct value in, struct value *out) {
    struct core_span text = value_span(in);
    if (core_span_is(text, "T") || core_span_is(text, "true") || core_span_is(text, "1")) {
        *out = value_of(VALUE_RAW, "true", 4);
        return true;
    }
    if (core_span_is(text, "F") || core_span_is(text, "false") || core_span_is(text, "0")) {
        *out = value_of(VALUE_RAW, "false", 5);
        return true;
    }
    return false;
}

/* A double that JSON cannot say (inf, nan) stays a string: readable, and no search engine takes it for a number. */
static bool convert_double(struct value in, struct value *out) {
    struct core_span text = value_span(in);
    if (core_json_is_number(text)) {
        *out = value_number(text.ptr, text.len);
        return true;
    }
    static const char *const words[] = {"inf", "-inf", "nan", "-nan"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (core_span_is(text, words[i])) {
            *out = value_of(VALUE_PLAIN, text.ptr, text.len);
            return true;
        }
    }
    return false;
}

/* "4.006831" where eight bytes of each part may be read at once: nanoseconds are its digits and three more, without the
 * zeros in front. Returns their length; 0: it is not of this shape. */
static inline size_t interval_ns_fast(struct value in, char *out) {
    size_t whole = in.len - 7;
    if (in.len < 8 || in.len > 15 || !in.is_roomy || !IS_LITTLE_ENDIAN || in.ptr[whole] != '.' ||
        !digits_are_all(digits_load(in.ptr, whole)) || !digits_are_all(digits_load(in.ptr + whole + 1, 6))) {
        return 0;
    }
    char digits[24];
    memcpy(digits, in.ptr, 8);
    memcpy(digits + whole, in.ptr + whole + 1, 6);
    memcpy(digits + whole + 6, "000", 4);
    size_t zeros = 0;
    while (zeros < whole + 8 && digits[zeros] == '0') {
        zeros++;
    }
    bool is_zero = zeros >= whole + 6;
    size_t len = is_zero ? 1 : whole + 9 - zeros;
    memcpy(out, digits + (is_zero ? 0 : zeros), len);
    out[0] = is_zero ? '0' : out[0];
    return len;
}

/* "4.006831": seconds as they are written, already. */
static inline bool interval_is_settled(struct value in) {
    size_t whole = in.len - 7;
    return in.len >= 8 && in.len <= 15 && in.is_roomy && IS_LITTLE_ENDIAN && in.ptr[whole] == '.' &&
           (in.ptr[0] != '0' || whole == 1) && digits_are_all(digits_load(in.ptr, whole)) &&
           digits_are_all(digits_load(in.ptr + whole + 1, 6));
}

bool value_interval(struct normalize_worker *worker, bool is_ns, struct value in, struct value *out) {
    if (!is_ns && interval_is_settled(in)) {
        *out = value_number(in.ptr, in.len);
        out->is_roomy = true;
        return true;
    }
    int64_t ns;
    char *text = scratch_alloc(worker, VALUE_ROOM);
    if (text == NULL) {
        *out = value_none();
        return true; /* the reason is set */
    }
    size_t len = is_ns ? interval_ns_fast(in, text) : 0;
    if (len == 0 && !decimal_to_ns(value_span(in), &ns)) {
        return false;
    }
    if (len > 0) {
        /* done */
    } else if (is_ns) {
        struct core_buf buf = {.start = text, .pos = text, .end = text + VALUE_ROOM};
        core_buf_i64(&buf, ns);
        len = core_buf_written(&buf).len;
    } else {
        len = interval_text(ns, text);
    }
    *out = value_roomy(value_number(text, len), text + VALUE_ROOM);
    return true;
}

/* A time of the second written last, "1795229910.536622": the second's digits are the same, and the six behind the point
 * stand in the result as they are. */
static bool second_same(const struct day *day, struct value in, char *out) {
    if (in.len != SECOND_DIGITS + 7 || !in.is_roomy || !IS_LITTLE_ENDIAN || !day->has_second ||
        in.ptr[SECOND_DIGITS] != '.' || !bytes_are_same(in.ptr, day->second, SECOND_DIGITS) ||
        !digits_are_all(digits_load(in.ptr + SECOND_DIGITS + 1, 6))) {
        return false;
    }
    memcpy(out, day->second_text, 20);
    memcpy(out + 20, in.ptr + SECOND_DIGITS + 1, 6);
    out[26] = 'Z';
    return true;
}

bool value_time(struct normalize_worker *worker, struct value in, struct value *out) {
    struct day *day = &worker->day;
    int64_t ns;
    char *text = scratch_alloc(worker, VALUE_ROOM);
    if (text == NULL) {
        *out = value_none();
        return true; /* the reason is set */
    }
    if (second_same(day, in, text)) {
        *out = value_roomy(value_of(VALUE_PLAIN, text, 27), text + VALUE_ROOM);
        return true;
    }
    if (!time_to_ns(value_span(in), in.kind == VALUE_RAW, &ns)) {
        return false;
    }
    *out = value_iso(worker, ns);
    day->has_second = out->kind == VALUE_PLAIN && in.len == SECOND_DIGITS + 7 && in.is_roomy && ns >= 0 &&
                      in.ptr[SECOND_DIGITS] == '.' && digits_are_all(digits_load(in.ptr + SECOND_DIGITS + 1, 6));
    if (day->has_second) {
        memcpy(day->second, in.ptr, SECOND_DIGITS);
        memcpy(day->second_text, out->ptr, 20);
    }
    return true;
}

static struct value lowered(struct normalize_worker *worker, struct value in) {
    size_t i = 0;
    while (i < in.len && !(in.ptr[i] >= 'A' && in.ptr[i] <= 'Z')) {
        i++;
    }
    if (i == in.len) {
        return in;
    }
    struct value out = value_copy(worker, value_span(in));
    if (out.kind == VALUE_NONE) {
        return out;
    }
    char *p = (char *)(uintptr_t)out.ptr;
    for (; i < out.len; i++) {
        p[i] = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] - 'A' + 'a') : p[i];
    }
    out.kind = in.kind;
    return out;
}

static bool convert_string(struct normalize_worker *worker, const struct op *op, struct value in, struct value *out) {
    *out = in;
    if (in.kind == VALUE_RAW) {
        out->kind = VALUE_PLAIN; /* a JSON number or bool where text belongs: its digits are the text */
    }
    if ((op->flags & OP_LOWERED) != 0) {
        *out = lowered(worker, *out);
    }
    return true;
}

static bool convert_scalar(struct normalize_worker *worker, const struct op *op, struct value in, struct value *out) {
    struct core_span text = value_span(in);
    switch ((enum field_type)op->type) {
    case TYPE_BOOL:
        return convert_bool(in, out);
    case TYPE_COUNT:
    case TYPE_PORT:
    case TYPE_INT:
        if (!is_digits(text, true)) {
            return false;
        }
        *out = (op->flags & OP_KEYWORD) != 0 ? value_of(VALUE_PLAIN, text.ptr, text.len)
                                             : value_number(text.ptr, text.len);
        return true;
    case TYPE_DOUBLE:
        return convert_double(in, out);
    case TYPE_TIME:
        return value_time(worker, in, out);
    case TYPE_INTERVAL:
        return value_interval(worker, (op->flags & OP_UNIT_NS) != 0, in, out);
    case TYPE_ANY:
        *out = in;
        return (op->flags & OP_KEYWORD) != 0 ? convert_string(worker, op, in, out) : true;
    default:
        return convert_string(worker, op, in, out);
    }
}

static bool convert_list(struct normalize_worker *worker, const struct op *op, struct core_span name, struct value in,
                         struct value *out) {
    /* Zeek's TSV has `(empty)` for a list of one empty text as for an empty one: JSON, which tells them apart, follows. */
    if (in.len == 1 && op->type == TYPE_STRING && value_is_string(in.items[0]) && in.items[0].len == 0) {
        in.len = 0;
    }
    bool is_as_it_is = op->type == TYPE_STRING && (op->flags & OP_LOWERED) == 0;
    for (uint32_t i = 0; i < in.len && is_as_it_is; i++) {
        is_as_it_is = value_is_string(in.items[i]);
    }
    if (is_as_it_is) {
        *out = in;
        return worker->reason[0] == '\0';
    }
    struct value *items = scratch_items(worker, in.len);
    if (items == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < in.len; i++) {
        items[i] = in.items[i];
        bool is_value = value_is_scalar(in.items[i]);
        if (is_value && !convert_scalar(worker, op, in.items[i], &items[i])) {
            return refuse_type(worker, name, in.items[i], (enum field_type)op->type);
        }
    }
    *out = (struct value){.items = items, .len = in.len, .kind = VALUE_LIST};
    return worker->reason[0] == '\0';
}

static struct value split_value(struct normalize_worker *worker, struct value in, char at) {
    uint32_t len = 1;
    for (uint32_t i = 0; i < in.len; i++) {
        len += in.ptr[i] == at;
    }
    struct value *items = scratch_items(worker, len);
    if (items == NULL) {
        return value_none();
    }
    struct core_span rest = value_span(in);
    for (uint32_t i = 0; i < len; i++) {
        const char *cut = core_span_chr(rest, at);
        size_t part = cut == NULL ? rest.len : (size_t)(cut - rest.ptr);
        items[i] = value_of((enum value_kind)in.kind, rest.ptr, part);
        rest = (struct core_span){rest.ptr + part + (cut != NULL), rest.len - part - (cut != NULL)};
    }
    return (struct value){.items = items, .len = len, .kind = VALUE_LIST};
}

bool value_convert(struct normalize_worker *worker, const struct op *op, struct core_span name, struct value in,
                   struct value *out) {
    if ((op->flags & OP_CUT) != 0 && value_is_string(in)) {
        in = split_value(worker, in, op->split);
        if (in.kind == VALUE_LIST && in.len == 1) {
            in = in.items[0]; /* one part: no list, as where the sensor wrote one */
        }
    }
    if (in.kind == VALUE_LIST) {
        return convert_list(worker, op, name, in, out);
    }
    if (!convert_scalar(worker, op, in, out)) {
        return refuse_type(worker, name, in, (enum field_type)op->type);
    }
    return worker->reason[0] == '\0';
}
