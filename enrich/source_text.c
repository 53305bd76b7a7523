/* enrich/source_text.c: what stands in other people's files: times, words for types and markings, defanged addresses.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/json.h"
#include "enrich/enrich_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define SECONDS_PER_DAY 86400
#define CONFIDENCE_TENTHS_MAX 100

/* ---- texts ------------------------------------------------------------------------------------------------------------------ */

static bool same_word(struct core_span text, const char *word) { /* word in lower case */
    size_t len = strlen(word);
    for (size_t i = 0; i < len && text.len == len; i++) {
        if (core_lower(text.ptr[i]) != word[i]) {
            return false;
        }
    }
    return text.len == len;
}

bool source_line(struct core_span *rest, struct core_span *line) {
    if (rest->len == 0) {
        return false;
    }
    const char *end = core_span_chr(*rest, '\n');
    size_t len = end == NULL ? rest->len : (size_t)(end - rest->ptr);
    size_t skip = end == NULL ? len : len + 1;
    *line = (struct core_span){rest->ptr, len};
    if (len > 0 && line->ptr[len - 1] == '\r') {
        line->len--;
    }
    *rest = (struct core_span){rest->ptr + skip, rest->len - skip};
    return true;
}
/* Bytes of the character at its start if it is UTF-8; else 0. */
static size_t character_len(struct core_span text) {
    size_t max = text.len < 4 ? text.len : 4;
    for (size_t len = 1; len <= max; len++) {
        if (core_utf8_is_valid((struct core_span){text.ptr, len})) {
            return len;
        }
    }
    return 0;
}

const char *source_text(struct core_arena *arena, struct core_span text) {
    static const char digits[] = "0123456789abcdef";
    char room[ENRICH_TEXT_BYTES_MAX];
    struct core_buf buf = {.start = room, .pos = room, .end = room + sizeof(room)};
    text = core_span_trim(text);
    if (memchr(text.len == 0 ? "" : text.ptr, '\0', text.len) == NULL && core_utf8_is_valid(text)) {
        text = core_utf8_cut(text, ENRICH_TEXT_BYTES_MAX);
        return text.len == 0 ? NULL : core_arena_copy(arena, text);
    }
    while (text.len > 0 && !buf.is_full) {
        size_t len = text.ptr[0] == '\0' ? 0 : character_len(text);
        unsigned char byte = (unsigned char)text.ptr[0];
        char hex[] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
        core_buf_put(&buf, len == 0 ? hex : text.ptr, len == 0 ? sizeof(hex) : len);
        text.ptr += len == 0 ? 1 : len;
        text.len -= len == 0 ? 1 : len;
    }
    return core_arena_copy(arena, core_buf_written(&buf));
}

void source_show(struct core_span text, char *out, size_t out_len) {
    static const char digits[] = "0123456789abcdef";
    static const char more[] = "…";
    MUST(out_len > sizeof(more));
    struct core_buf buf = {.start = out, .pos = out, .end = out + out_len - sizeof(more)};
    while (text.len > 0) {
        size_t len = character_len(text);
        unsigned char byte = (unsigned char)text.ptr[0];
        bool is_shown = len > 0 && byte >= ' ' && byte != 0x7f && byte != '"' && byte != '\\';
        char hex[] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
        core_buf_put(&buf, is_shown ? text.ptr : hex, is_shown ? len : sizeof(hex));
        if (buf.is_full) {
            break;
        }
        text.ptr += is_shown ? len : 1;
        text.len -= is_shown ? len : 1;
    }
    size_t used = (size_t)(buf.pos - out);
    (void)snprintf(out + used, out_len - used, "%s", text.len > 0 ? more : "");
}

const char *source_join(struct core_arena *arena, const char *first, const char *between, const char *second) {
    if (first == NULL || second == NULL || strcmp(first, second) == 0) {
        return first != NULL ? first : second;
    }
    size_t len = strlen(first) + strlen(between) + strlen(second);
    char *joined = core_arena_alloc(arena, len + 1);
    if (joined == NULL) {
        return first;
    }
    memcpy(joined, first, strlen(first));
    memcpy(joined + strlen(first), between, strlen(between));
    memcpy(joined + strlen(first) + strlen(between), second, strlen(second));
    joined[core_utf8_cut((struct core_span){joined, len}, ENRICH_TEXT_BYTES_MAX).len] = '\0';
    return joined;
}

/* ---- times ------------------------------------------------------------------------------------------------------------------ */

/* count digits at *at, which moves on. */
static bool number_read(struct core_span text, size_t *at, size_t count, unsigned *out) {
    *out = 0;
    if (text.len - *at < count) {
        return false;
    }
    for (size_t i = 0; i < count; i++, (*at)++) {
        if (!core_is_digit(text.ptr[*at])) {
            return false;
        }
        *out = *out * 10 + (unsigned)(text.ptr[*at] - '0');
    }
    return true;
}

static bool mark_read(struct core_span text, size_t *at, char a, char b) {
    if (*at < text.len && (text.ptr[*at] == a || text.ptr[*at] == b)) {
        (*at)++;
        return true;
    }
    return false;
}

/* "", "Z", " UTC", "+01:00", "-0130", at the end of a time of day. */
static bool zone_read(struct core_span text, size_t at, int64_t *seconds) {
    struct core_span zone = core_span_trim((struct core_span){text.ptr + at, text.len - at});
    unsigned hours;
    unsigned minutes = 0;
    size_t pos = 1;
    *seconds = 0;
    if (zone.len == 0 || same_word(zone, "z") || same_word(zone, "utc") || same_word(zone, "gmt")) {
        return true;
    }
    if ((zone.ptr[0] != '+' && zone.ptr[0] != '-') || !number_read(zone, &pos, 2, &hours)) {
        return false;
    }
    (void)mark_read(zone, &pos, ':', ':');
    if (pos < zone.len && !number_read(zone, &pos, 2, &minutes)) {
        return false;
    }
    *seconds = ((int64_t)hours * 60 + minutes) * 60 * (zone.ptr[0] == '-' ? -1 : 1);
    return pos == zone.len;
}

/* The time of day behind a date; *seconds since midnight, UTC. */
static bool day_time_read(struct core_span text, size_t at, int64_t *seconds) {
    unsigned hour;
    unsigned minute;
    unsigned second = 0;
    unsigned digit;
    int64_t zone;
    *seconds = 0;
    if (at == text.len) {
        return true;
    }
    if (!mark_read(text, &at, 'T', ' ') && !mark_read(text, &at, 't', '_')) {
        return false;
    }
    if (!number_read(text, &at, 2, &hour) || !mark_read(text, &at, ':', ':') || !number_read(text, &at, 2, &minute)) {
        return false;
    }
    if (mark_read(text, &at, ':', ':') && !number_read(text, &at, 2, &second)) {
        return false;
    }
    if (mark_read(text, &at, '.', ',')) {
        size_t digits = 0;
        while (at < text.len && number_read(text, &at, 1, &digit)) {
            digits++;
        }
        if (digits == 0) {
            return false;
        }
    }
    if (hour > 23 || minute > 59 || second > 60 || !zone_read(text, at, &zone)) {
        return false;
    }
    *seconds = ((int64_t)hour * 60 + minute) * 60 + second - zone;
    return true;
}

/* Digits, perhaps with a fraction: seconds, or by their size milliseconds or microseconds. */
static int64_t epoch_read(struct core_span text) {
    static const int64_t scales[] = {1, 1000, 1000000};
    int64_t value = 0;
    size_t at = 0;
    while (at < text.len && core_is_digit(text.ptr[at]) && at < 18) {
        value = value * 10 + (text.ptr[at++] - '0');
    }
    bool has_point = at < text.len && text.ptr[at] == '.';
    for (size_t i = at + 1; has_point && i < text.len; i++) {
        if (!core_is_digit(text.ptr[i])) {
            return 0;
        }
    }
    if (at == 0 || (at < text.len && !has_point)) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(scales) / sizeof(scales[0]); i++) {
        if (value / scales[i] < INT64_C(100000000000)) { /* the year 5138 */
            return value / scales[i];
        }
    }
    return 0;
}

int64_t source_time(struct core_span text) {
    text = core_span_trim(text);
    size_t at = 0;
    unsigned year;
    unsigned month;
    unsigned day;
    int64_t seconds = 0;
    bool is_packed = text.len == 8 && core_span_chr(text, '-') == NULL; /* 20261121 */
    bool is_date = number_read(text, &at, 4, &year) && (is_packed || mark_read(text, &at, '-', '/')) &&
                   number_read(text, &at, 2, &month) && (is_packed || mark_read(text, &at, '-', '/')) &&
                   number_read(text, &at, 2, &day) && day_time_read(text, at, &seconds);
    if (!is_date) {
        return epoch_read(text);
    }
    if (month < 1 || month > 12 || day < 1 || day > 31 || year < 1970) {
        return 0;
    }
    int64_t at_seconds = core_days_from_civil(year, month, day) * SECONDS_PER_DAY + seconds;
    return at_seconds > 0 ? at_seconds : 0;
}

/* ---- words ------------------------------------------------------------------------------------------------------------------ */

const char *source_tlp(struct core_span word) {
    static const char *const words[][2] = {
        {"clear", "CLEAR"},
        {"white", "CLEAR"},
        {"green", "GREEN"},
        {"amber", "AMBER"},
        {"amber+strict", "AMBER+STRICT"},
        {"red", "RED"},
    };
    word = core_span_trim(word);
    if (word.len > 4 && same_word((struct core_span){word.ptr, 4}, "tlp:")) {
        word = core_span_trim((struct core_span){word.ptr + 4, word.len - 4});
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (same_word(word, words[i][0])) {
            return words[i][1];
        }
    }
    return NULL;
}

int source_confidence(struct core_span text, int scale_max) {
    int64_t value = 0; /* in thousandths */
    int64_t digit = 1000;
    size_t at = 0;
    text = core_span_trim(text);
    for (; at < text.len && core_is_digit(text.ptr[at]) && at < 9; at++) {
        value = value * 10 + (text.ptr[at] - '0') * digit;
    }
    bool has_digits = at > 0;
    if (at < text.len && text.ptr[at] == '.') {
        for (at++; at < text.len && core_is_digit(text.ptr[at]); at++) {
            digit /= 10;
            value += (text.ptr[at] - '0') * digit;
        }
    }
    MUST(scale_max > 0);
    int64_t max = (int64_t)scale_max * 1000;
    if (!has_digits || at < text.len || value > max) {
        return ENRICH_CONFIDENCE_NONE;
    }
    return (int)((value * CONFIDENCE_TENTHS_MAX + max / 2) / max);
}

/* In lower case. Whose words: C CIF, M MISP, O OTX, S STIX, T ThreatFox and the like, Z Zeek. */
static const struct {
    const char *word;
    enum core_indicator type;
} type_words[] = {
    {"intel::addr", CORE_INDICATOR_IP},                 /* Z */
    {"intel::subnet", CORE_INDICATOR_CIDR},             /* Z */
    {"intel::url", CORE_INDICATOR_URL},                 /* Z */
    {"intel::software", CORE_INDICATOR_SOFTWARE},       /* Z */
    {"intel::email", CORE_INDICATOR_EMAIL},             /* Z */
    {"intel::domain", CORE_INDICATOR_DOMAIN},           /* Z */
    {"intel::user_name", CORE_INDICATOR_USER},          /* Z */
    {"intel::cert_hash", CORE_INDICATOR_CERT_HASH},     /* Z */
    {"intel::pubkey_hash", CORE_INDICATOR_PUBKEY_HASH}, /* Z */
    {"intel::file_hash", CORE_INDICATOR_FILE_HASH},     /* Z */
    {"intel::file_name", CORE_INDICATOR_FILE_NAME},     /* Z */
    {"intel::ja3", CORE_INDICATOR_JA3},                 /* Z */
    {"ipv4", CORE_INDICATOR_IP},                        /* C O */
    {"ipv6", CORE_INDICATOR_IP},                        /* C O */
    {"ip-src", CORE_INDICATOR_IP},                      /* M */
    {"ip-dst", CORE_INDICATOR_IP},                      /* M */
    {"ipv4-addr", CORE_INDICATOR_IP},                   /* S */
    {"ipv6-addr", CORE_INDICATOR_IP},                   /* S */
    {"ip:port", CORE_INDICATOR_IP},                     /* T */
    {"addr", CORE_INDICATOR_IP},
    {"address", CORE_INDICATOR_IP},
    {"ip_address", CORE_INDICATOR_IP},
    {"network", CORE_INDICATOR_CIDR},
    {"subnet", CORE_INDICATOR_CIDR},
    {"fqdn", CORE_INDICATOR_DOMAIN},        /* C */
    {"hostname", CORE_INDICATOR_DOMAIN},    /* M O */
    {"domain-name", CORE_INDICATOR_DOMAIN}, /* S */
    {"host", CORE_INDICATOR_DOMAIN},
    {"uri", CORE_INDICATOR_URL},              /* M O */
    {"email-src", CORE_INDICATOR_EMAIL},      /* M */
    {"email-dst", CORE_INDICATOR_EMAIL},      /* M */
    {"email-reply-to", CORE_INDICATOR_EMAIL}, /* M */
    {"email-addr", CORE_INDICATOR_EMAIL},     /* S */
    {"md5", CORE_INDICATOR_FILE_HASH},        /* C M */
    {"sha1", CORE_INDICATOR_FILE_HASH},       /* C M */
    {"sha256", CORE_INDICATOR_FILE_HASH},     /* C M */
    {"sha512", CORE_INDICATOR_FILE_HASH},     /* C M */
    {"hash", CORE_INDICATOR_FILE_HASH},
    {"md5_hash", CORE_INDICATOR_FILE_HASH},        /* T */
    {"sha1_hash", CORE_INDICATOR_FILE_HASH},       /* T */
    {"sha256_hash", CORE_INDICATOR_FILE_HASH},     /* T */
    {"sha512_hash", CORE_INDICATOR_FILE_HASH},     /* T */
    {"filehash-md5", CORE_INDICATOR_FILE_HASH},    /* O */
    {"filehash-sha1", CORE_INDICATOR_FILE_HASH},   /* O */
    {"filehash-sha256", CORE_INDICATOR_FILE_HASH}, /* O */
    {"filename", CORE_INDICATOR_FILE_NAME},        /* M */
    {"user-agent", CORE_INDICATOR_SOFTWARE},       /* M */
    {"user_agent", CORE_INDICATOR_SOFTWARE},
    {"useragent", CORE_INDICATOR_SOFTWARE},
    {"user-account", CORE_INDICATOR_USER}, /* S */
    {"username", CORE_INDICATOR_USER},
    {"x509-fingerprint-md5", CORE_INDICATOR_CERT_HASH},    /* M */
    {"x509-fingerprint-sha1", CORE_INDICATOR_CERT_HASH},   /* M */
    {"x509-fingerprint-sha256", CORE_INDICATOR_CERT_HASH}, /* M */
    {"ssh-fingerprint", CORE_INDICATOR_PUBKEY_HASH},       /* M */
    {"ja3-fingerprint-md5", CORE_INDICATOR_JA3},           /* M */
    {"ja3_md5", CORE_INDICATOR_JA3},
};

enum core_indicator source_type_of(struct core_span word) {
    word = core_span_trim(word);
    for (int type = CORE_INDICATOR_IP; type < CORE_INDICATOR__MAX; type++) {
        if (same_word(word, core_indicator_word((enum core_indicator)type))) {
            return (enum core_indicator)type;
        }
    }
    for (size_t i = 0; i < sizeof(type_words) / sizeof(type_words[0]); i++) {
        if (same_word(word, type_words[i].word)) {
            return type_words[i].type;
        }
    }
    return CORE_INDICATOR_NONE;
}

/* ---- defanged ---------------------------------------------------------------------------------------------------------------- */

struct core_span source_refang(struct core_span text, char *room) {
    static const struct {
        const char *from; /* in lower case */
        const char *to;   /* never longer */
    } table[] = {
        {"hxxps://", "https://"},
        {"hxxp://", "http://"},
        {"hxxps[://]", "https://"},
        {"hxxp[://]", "http://"},
        {"hxxps[:]//", "https://"},
        {"hxxp[:]//", "http://"},
        {"fxp://", "ftp://"},
        {"[://]", "://"},
        {"[.]", "."},
        {"(.)", "."},
        {"{.}", "."},
        {"[dot]", "."},
        {"(dot)", "."},
        {"[:]", ":"},
        {"[@]", "@"},
        {"[at]", "@"},
        {"(at)", "@"},
        {"[/]", "/"},
    };
    bool is_defanged = text.len > 4 && same_word((struct core_span){text.ptr, 4}, "hxxp");
    if (!is_defanged && core_span_chr(text, '[') == NULL && core_span_chr(text, '(') == NULL &&
        core_span_chr(text, '{') == NULL && !(text.len > 4 && same_word((struct core_span){text.ptr, 4}, "fxp:"))) {
        return text;
    }
    size_t len = 0;
    for (size_t at = 0; at < text.len;) {
        size_t row = 0;
        size_t rows = sizeof(table) / sizeof(table[0]);
        size_t from_len = 0;
        for (; row < rows; row++) {
            from_len = strlen(table[row].from);
            if (text.len - at >= from_len && same_word((struct core_span){text.ptr + at, from_len}, table[row].from)) {
                break;
            }
        }
        if (row == rows) {
            room[len++] = text.ptr[at++];
            continue;
        }
        memcpy(room + len, table[row].to, strlen(table[row].to));
        len += strlen(table[row].to);
        at += from_len;
    }
    return (struct core_span){room, len};
}
