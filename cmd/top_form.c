/* cmd/top_form.c: numbers and texts as cells of a terminal: short, aligned, and in letters that it has.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/top.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#define MINUTE 60
#define HOUR 3600
#define DAY 86400

bool top_is_utf8;

/* ---- numbers ------------------------------------------------------------------------------------------------------------------ */

/* At most five letters: 999, 1.23k, 12.3k, 123k. */
static void scaled(double value, double step, const char *const *units, char *out, size_t out_len) {
    size_t unit = 0;
    bool is_negative = value < 0;
    value = fabs(value);
    while (value >= step * 0.9995 && units[unit + 1] != NULL) {
        value /= step;
        unit++;
    }
    int digits = value >= 99.95 || (unit == 0 && (value >= 9.95 || value == floor(value))) ? 0 : value >= 9.995 ? 1 : 2;
    digits = unit == 0 && digits == 2 ? 1 : digits;
    (void)snprintf(out, out_len, "%s%.*f%s", is_negative ? "-" : "", digits, value, units[unit]);
}

static void seconds(double value, char *out, size_t out_len) {
    if (value < 0.0005) {
        (void)snprintf(out, out_len, "0s");
    } else if (value < 0.9995) {
        (void)snprintf(out, out_len, "%.0fms", value * 1000 < 1 ? 1 : value * 1000);
    } else if (value < MINUTE) {
        (void)snprintf(out, out_len, "%.1fs", value);
    } else if (value < HOUR) {
        (void)snprintf(out, out_len, "%dm%02ds", (int)value / MINUTE, (int)value % MINUTE);
    } else if (value < DAY) {
        (void)snprintf(out, out_len, "%dh%02dm", (int)value / HOUR, (int)value % HOUR / MINUTE);
    } else {
        (void)snprintf(out, out_len, "%.0fd%02dh", floor(value / DAY), (int)(fmod(value, DAY) / HOUR));
    }
}

static const char *word_of(const char *const *words, size_t len, double value) {
    return value >= 0 && value < (double)len ? words[(size_t)value] : "?";
}

void top_form(enum top_form form, double value, char *out, size_t out_len) {
    static const char *const counts[] = {"", "k", "M", "G", "T", "P", NULL};
    static const char *const bytes[] = {"", "K", "M", "G", "T", "P", NULL};
    static const char *const supervised[] = {"down", "starting", "ready", "up", "stopping", "backoff", "latched"};
    static const char *const intel[] = {"?", "building", "ready", "stale", "unavailable"};
    switch (form) {
    case TOP_TEXT:
    case TOP_PATH:
    case TOP_NUMBER:
        scaled(value, 1000, counts, out, out_len);
        return;
    case TOP_BYTES:
        scaled(value, 1024, bytes, out, out_len);
        return;
    case TOP_SECONDS:
        seconds(value, out, out_len);
        return;
    case TOP_PERCENT:
        (void)snprintf(out, out_len,
                       value >= 0.9995 || value == 0 ? "%.0f%%"
                       : value < 0.001               ? "%.2f%%"
                                                     : "%.1f%%",
                       value * 100);
        return;
    case TOP_AGE:
        seconds((double)core_now_ns() / (double)CORE_NS_PER_S - value, out, out_len);
        return;
    case TOP_YES:
        (void)snprintf(out, out_len, "%s", value != 0 ? "yes" : "no");
        return;
    case TOP_SUPERVISED:
        (void)snprintf(out, out_len, "%s", word_of(supervised, sizeof(supervised) / sizeof(supervised[0]), value));
        return;
    case TOP_INTEL:
        (void)snprintf(out, out_len, "%s", word_of(intel, sizeof(intel) / sizeof(intel[0]), value));
        return;
    }
}

enum top_form top_form_of(enum core_health_measure measure) {
    static const enum top_form forms[] = {
        [CORE_UNIT_NUMBER] = TOP_NUMBER, [CORE_UNIT_BYTES] = TOP_BYTES,   [CORE_UNIT_NS] = TOP_SECONDS,
        [CORE_UNIT_TIME] = TOP_AGE,      [CORE_UNIT_SINCE] = TOP_SECONDS, [CORE_UNIT_PPM] = TOP_PERCENT,
        [CORE_UNIT_FLAG] = TOP_YES};
    if (measure == CORE_SUPERVISED_STATE) {
        return TOP_SUPERVISED;
    }
    return measure == CORE_INTEL_STATE ? TOP_INTEL : forms[core_health_measures[measure].unit];
}

/* ---- texts --------------------------------------------------------------------------------------------------------------------- */

/* The next letter: how many bytes it has (1 of what is no letter, then *cells is -1) and how many cells it takes. */
static size_t letter(const char *text, size_t len, int *cells) {
    unsigned char first = (unsigned char)text[0];
    wchar_t wide = 0;
    mbstate_t state = {0};
    if (first < 0x80) {
        *cells = first >= ' ' && first != 0x7f ? 1 : -1;
        return 1;
    }
    size_t bytes = top_is_utf8 ? mbrtowc(&wide, text, len, &state) : 0;
    if (bytes == 0 || bytes > len) {
        *cells = -1;
        return 1;
    }
    *cells = wcwidth(wide);
    return bytes;
}

size_t top_width(const char *text) {
    size_t width = 0;
    for (size_t len = strlen(text); len > 0;) {
        int cells;
        size_t bytes = letter(text, len, &cells);
        width += cells > 0 ? (size_t)cells : 0;
        text += bytes;
        len -= bytes;
    }
    return width;
}

void top_clean(struct core_span text, char *out, size_t out_len) {
    size_t at = 0;
    while (text.len > 0 && at + MB_LEN_MAX + 1 < out_len) {
        int cells;
        size_t bytes = letter(text.ptr, text.len, &cells);
        bool is_begin = ((unsigned char)text.ptr[0] & 0xc0U) != 0x80; /* without UTF-8 one ? for a letter */
        if (cells >= 0) {
            memcpy(out + at, text.ptr, bytes);
            at += bytes;
        } else if (is_begin || top_is_utf8) {
            out[at++] = text.ptr[0] == '\t' || text.ptr[0] == '\n' ? ' ' : '?';
        }
        text.ptr += bytes;
        text.len -= bytes;
    }
    out[at] = '\0';
}

/* Bytes of text that take at most `width` cells. */
static size_t bytes_within(const char *text, size_t width, size_t *used) {
    size_t at = 0;
    size_t len = strlen(text);
    *used = 0;
    while (at < len) {
        int cells;
        size_t bytes = letter(text + at, len - at, &cells);
        if (*used + (size_t)(cells > 0 ? cells : 0) > width) {
            break;
        }
        *used += (size_t)(cells > 0 ? cells : 0);
        at += bytes;
    }
    return at;
}

static void put_bytes(char *line, size_t *at, const char *text, size_t len) {
    if (*at + len < TOP_LINE_BYTES) {
        memcpy(line + *at, text, len);
        *at += len;
        line[*at] = '\0';
    }
}

void top_put(char *line, size_t *at, const char *text, size_t width, bool is_right, bool keeps_end) {
    const char *mark = top_is_utf8 ? "…" : "~";
    size_t all = top_width(text);
    size_t used = 0;
    if (all <= width) {
        for (size_t i = all; is_right && i < width; i++) {
            put_bytes(line, at, " ", 1);
        }
        put_bytes(line, at, text, strlen(text));
        for (size_t i = all; !is_right && i < width; i++) {
            put_bytes(line, at, " ", 1);
        }
        return;
    }
    if (width == 0) {
        return;
    }
    if (keeps_end) {
        size_t skip = bytes_within(text, all - width + 1, &used);
        while (all - used > width - 1) { /* a wide letter stands on the border */
            size_t more;
            skip += bytes_within(text + skip, 2, &more);
            used += more;
        }
        put_bytes(line, at, mark, strlen(mark));
        put_bytes(line, at, text + skip, strlen(text + skip));
        used = all - used + 1;
    } else {
        size_t len = bytes_within(text, width - 1, &used);
        put_bytes(line, at, text, len);
        put_bytes(line, at, mark, strlen(mark));
        used++;
    }
    for (; used < width; used++) {
        put_bytes(line, at, " ", 1);
    }
}

void top_sparkline(const float *values, size_t len, char *out, size_t out_len) {
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const marks[] = {"_", ".", "-", "=", "+", "*", "%", "#"};
    float most = 0;
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        most = !isnan(values[i]) && values[i] > most ? values[i] : most;
    }
    out[0] = '\0';
    for (size_t i = 0; i < len; i++) {
        size_t level = most <= 0 || isnan(values[i]) || values[i] < 0 ? 0 : (size_t)(values[i] / most * 7.0F + 0.5F);
        const char *mark = isnan(values[i]) ? " " : top_is_utf8 ? blocks[level] : marks[level];
        if (at + strlen(mark) >= out_len) {
            return;
        }
        memcpy(out + at, mark, strlen(mark) + 1);
        at += strlen(mark);
    }
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------------ */

struct top_line *top_line_add(struct top_lines *lines, enum top_look look) {
    if (lines->len == lines->cap) {
        lines->cap = lines->cap == 0 ? 128 : lines->cap * 2;
        lines->all = realloc(lines->all, lines->cap * sizeof(*lines->all));
        MUST(lines->all != NULL);
    }
    struct top_line *line = &lines->all[lines->len++];
    line->text[0] = '\0';
    line->look = look;
    line->choice = line->key = 0;
    line->kind = CORE_HEALTH_PROCESS;
    return line;
}

void top_line_print(struct top_lines *lines, enum top_look look, const char *fmt, ...) {
    char text[TOP_LINE_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    size_t at = 0;
    struct top_line *line = top_line_add(lines, look);
    size_t width = top_width(text);
    top_put(line->text, &at, text, width < lines->width ? width : lines->width, false, false);
}

void top_line_wrap(struct top_lines *lines, enum top_look look, size_t indent, struct core_span text) {
    char clean[8 * TOP_LINE_BYTES] = "";
    char blanks[32];
    top_clean(text, clean, sizeof(clean));
    indent = indent < sizeof(blanks) - 1 ? indent : sizeof(blanks) - 1;
    memset(blanks, ' ', indent);
    size_t width = lines->width > indent + 8 ? lines->width - indent : 8;
    for (const char *rest = clean; *rest != '\0';) {
        size_t used;
        size_t len = bytes_within(rest, width, &used);
        size_t cut = len;
        while (rest[len] != '\0' && cut > 0 && rest[cut] != ' ') {
            cut--;
        }
        len = rest[len] != '\0' && cut > 0 ? cut : len;
        len = len == 0 ? strlen(rest) : len;
        struct top_line *line = top_line_add(lines, look);
        size_t at = 0;
        put_bytes(line->text, &at, blanks, indent);
        put_bytes(line->text, &at, rest, len);
        rest += len;
        rest += strspn(rest, " ");
    }
}
