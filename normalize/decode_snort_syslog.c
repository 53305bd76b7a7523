/* normalize/decode_snort_syslog.c: alerts that Snort sent to syslog, as syslog daemons write them down: with or without
 * <PRI>, RFC 3164 or RFC 5424, with or without a host. What follows the tag is the fast alert without its time; alerts
 * on packets without IP are the bare message. The time is the syslog header's.
 * Source: RFC 3164 section 4.1, RFC 5424 section 6; Snort 3 src/loggers/alert_syslog.cc; our corpus.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/snort_internal.h"

#include <strings.h>

struct header {
    struct core_span priority; /* digits */
    struct core_span stamp;
    struct core_span host;
    struct core_span program;
    struct core_span pid;
    struct core_span body;
};

static bool is_month(struct core_span word) {
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (size_t i = 0; word.len == 3 && months[i] != '\0'; i += 3) {
        if (memcmp(word.ptr, months + i, 3) == 0) {
            return true;
        }
    }
    return false;
}

/* "Nov 21 03:16:42", "Nov  1 2026 03:16:42", "2026-11-21T03:16:42.003+01:00" */
static bool stamp_take(struct core_span *rest, struct core_span *stamp) {
    const char *start = rest->ptr;
    struct core_span left = *rest;
    struct core_span word = snort_word(&left);
    if (word.len >= 19 && word.ptr[4] == '-' && word.ptr[10] == 'T' && snort_is_digits(snort_cut(word, 0, 4))) {
        *stamp = word;
        *rest = left;
        return true;
    }
    if (!is_month(word)) {
        return false;
    }
    struct core_span day = snort_word(&left);
    word = snort_word(&left);
    if (word.len == 4 && snort_is_digits(word)) { /* the year */
        word = snort_word(&left);
    }
    if (!snort_is_digits(day) || word.len < 8 || word.ptr[2] != ':') {
        return false;
    }
    *stamp = (struct core_span){start, (size_t)(word.ptr + word.len - start)};
    *rest = left;
    return true;
}

/* "snort[123]:" */
static bool tag_read(struct core_span word, struct header *out) {
    if (word.len < 2 || word.ptr[word.len - 1] != ':') {
        return false;
    }
    word.len--;
    const char *open = core_span_chr(word, '[');
    if (open != NULL && word.ptr[word.len - 1] == ']') {
        out->pid = snort_cut(snort_from(word, open + 1), 0, (size_t)(word.ptr + word.len - open) - 2);
        word.len = (size_t)(open - word.ptr);
    }
    out->program = word;
    return word.len > 0;
}

static struct core_span unless_dash(struct core_span word) {
    return core_span_is(word, "-") ? (struct core_span){NULL, 0} : word;
}

/* HOST APP PROCID MSGID SD MSG */
static bool header_5424(struct core_span rest, struct header *out) {
    out->host = unless_dash(snort_word(&rest));
    out->program = unless_dash(snort_word(&rest));
    out->pid = unless_dash(snort_word(&rest));
    (void)snort_word(&rest);
    if (rest.len > 0 && rest.ptr[0] == '-') {
        (void)snort_word(&rest);
    }
    while (rest.len > 0 && rest.ptr[0] == '[' && core_span_chr(rest, ']') != NULL &&
           memchr(rest.ptr, '=', (size_t)(core_span_chr(rest, ']') - rest.ptr)) != NULL) {
        rest = snort_trim(snort_from(rest, core_span_chr(rest, ']') + 1)); /* structured data */
    }
    if (core_span_starts(rest, CORE_SPAN("\xEF\xBB\xBF"))) {
        rest = snort_cut(rest, 3, rest.len);
    }
    out->body = rest;
    return out->program.len > 0 && rest.len > 0;
}

#define HEADER_WORDS_MAX 3 /* host, facility, tag */

static bool header_read(struct core_span text, struct header *out) {
    *out = (struct header){0};
    if (text.len > 0 && text.ptr[0] == '<') {
        const char *end = core_span_chr(snort_cut(text, 0, text.len < 6 ? text.len : 6), '>');
        out->priority = end == NULL ? text : snort_cut(text, 1, (size_t)(end - text.ptr));
        if (!snort_is_digits(out->priority)) {
            return false;
        }
        text = snort_from(text, end + 1);
    }
    if (out->priority.len > 0 && core_span_starts(text, CORE_SPAN("1 "))) {
        text = snort_cut(text, 2, text.len);
        struct core_span word = text;
        if (core_span_starts(text, CORE_SPAN("- "))) {
            (void)snort_word(&word);
            return header_5424(word, out);
        }
        return stamp_take(&text, &out->stamp) && header_5424(text, out);
    }
    bool has_stamp = stamp_take(&text, &out->stamp);
    if (!has_stamp && out->priority.len == 0) {
        return false;
    }
    for (int i = 0; i < HEADER_WORDS_MAX && text.len > 0; i++) {
        struct core_span word = snort_word(&text);
        if (tag_read(word, out)) {
            out->body = text;
            return text.len > 0;
        }
        out->host = out->host.len == 0 ? word : out->host; /* behind it a daemon may name the facility */
    }
    return false;
}

static bool is_rule(struct core_span body) {
    const char *close = body.len > 0 && body.ptr[0] == '[' ? core_span_chr(body, ']') : NULL;
    int colons = 0;
    for (const char *p = body.ptr + 1; close != NULL && p < close; p++) {
        colons += *p == ':';
        if (*p != ':' && (*p < '0' || *p > '9')) {
            return false;
        }
    }
    return close != NULL && colons == 2;
}

bool snort_syslog_is_it(struct core_span text) {
    struct header header;
    if (!header_read(text, &header)) {
        return false;
    }
    bool is_snort = header.program.len >= 5 && strncasecmp(header.program.ptr, "snort", 5) == 0;
    return is_rule(header.body) || (is_snort && header.body.ptr[0] == '"');
}

/* Where the message ends: at the first group or protocol; a quoted one at its last quote before that. */
static size_t message_len(struct core_span text) {
    static const char *const ends[] = {" [Classification: ", " [Priority: ", " {"};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        const char *at = i < 2 ? snort_find(text, ends[i]) : snort_find_last(text, ends[i]);
        if (at != NULL) {
            return (size_t)(at - text.ptr);
        }
    }
    return text.len;
}

static bool body_read(struct normalize_worker *worker, bool is_suricata, struct core_span body) {
    if (is_rule(body)) {
        const char *close = core_span_chr(body, ']');
        MUST(close != NULL);
        if (!snort_put_rule(worker, snort_cut(body, 1, (size_t)(close - body.ptr)))) {
            return record_refuse(worker, "a syslog alert without \"[gid:sid:rev]\"");
        }
        body = snort_trim(snort_from(body, close + 1));
    }
    size_t len = message_len(body);
    snort_put_message(worker, snort_cut(body, 0, len));
    struct core_span rest = snort_trim(snort_cut(body, len, body.len));
    return rest.len == 0 || snort_put_tail(worker, is_suricata, rest);
}

bool snort_syslog_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span text,
                         struct plan **plan) {
    const struct core_origin *origin = state->stream->origin;
    struct header header;
    bool is_read = header_read(text, &header);
    bool is_suricata = origin != NULL && origin->type != CORE_ORIGIN_AUTO
                           ? origin->type == CORE_ORIGIN_SURICATA
                           : header.program.len >= 8 && strncasecmp(header.program.ptr, "suricata", 8) == 0;
    if (!snort_begin(worker, state, is_suricata, plan)) {
        return false;
    }
    if (!is_read || (!is_rule(header.body) && header.body.ptr[0] != '"')) {
        return record_refuse(worker,
                             "no alert in syslog: one is \"TIME [HOST] snort[PID]: [gid:sid:rev] message ...\"");
    }
    snort_put(worker, SNORT_TIMESTAMP, header.stamp);
    snort_put(worker, SNORT_SYSLOG_PRIORITY, header.priority);
    snort_put(worker, SNORT_SYSLOG_HOST, header.host);
    snort_put(worker, SNORT_SYSLOG_PROGRAM, header.program);
    snort_put(worker, SNORT_SYSLOG_PID, snort_is_digits(header.pid) ? header.pid : (struct core_span){NULL, 0});
    return body_read(worker, is_suricata, header.body);
}
