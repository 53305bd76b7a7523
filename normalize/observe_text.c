/* normalize/observe_text.c: what of a field's text is the observable that its mark names. Most fields hold just that; headers
 * hold several addresses and words around them, a host is a name or an address, a file's name may have its path before it.
 * Nothing here decides what an indicator is: enrichment brings what is found into the one form it compares, or drops it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

#include <limits.h>

static bool is_separator(char c) {
    static const bool separators[UCHAR_MAX + 1] = {
        [' '] = true, ['\t'] = true, ['\r'] = true, ['\n'] = true, [','] = true,
        [';'] = true, ['='] = true,  ['"'] = true,  ['\''] = true, ['<'] = true,
        ['>'] = true, ['('] = true,  [')'] = true,  ['['] = true,  [']'] = true,
    };
    return separators[(unsigned char)c];
}

/* The next run of bytes without separators; empty at the end. */
static struct core_span token_next(struct core_span *rest) {
    const char *p = rest->ptr;
    const char *end = p + rest->len;
    while (p < end && is_separator(*p)) {
        p++;
    }
    const char *start = p;
    while (p < end && !is_separator(*p)) {
        p++;
    }
    *rest = (struct core_span){p, (size_t)(end - p)};
    return (struct core_span){start, (size_t)(p - start)};
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Cheap where it is none: an IPv4 address ends in a digit, an IPv6 one has a colon among its first five bytes. */
static inline bool is_address(struct core_span text) {
    struct ip_addr ip;
    size_t head = text.len < 5 ? text.len : 5;
    bool may_be = text.len > 1 && is_digit(text.ptr[text.len - 1]);
    for (size_t i = 0; i < head && !may_be; i++) {
        may_be = text.ptr[i] == ':';
    }
    return may_be && ip_parse(text, &ip);
}

/* An address, perhaps of IPv4 with a port behind it. */
static bool pick_address(struct core_span *rest, struct core_span *out) {
    if (is_address(*rest)) {
        *out = *rest;
        *rest = (struct core_span){rest->ptr + rest->len, 0};
        return true;
    }
    while (rest->len > 0) {
        struct core_span token = token_next(rest);
        const char *colon = core_span_chr(token, ':');
        struct core_span host = {token.ptr, colon == NULL ? token.len : (size_t)(colon - token.ptr)};
        *out = is_address(token) ? token : host;
        if (is_address(*out)) {
            return true;
        }
    }
    return false;
}

/* No host is called so: an address (no last label is of digits alone, no name has a colon), or words. */
static bool is_no_name(struct core_span text) {
    const char *p = text.ptr + text.len;
    while (p > text.ptr && is_digit(p[-1])) {
        p--;
    }
    bool is_none = p == text.ptr || (p[-1] == '.' && p < text.ptr + text.len);
    for (p = text.ptr; p < text.ptr + text.len && !is_none; p++) {
        is_none = *p == ':' || *p == ' ';
    }
    return is_none;
}

/* A name that is no address; `*.` of a certificate's names is left out. */
static bool pick_domain(struct core_span *rest, struct core_span *out) {
    struct core_span text = *rest;
    *rest = (struct core_span){rest->ptr + rest->len, 0};
    if (core_span_starts(text, CORE_SPAN("*."))) {
        text = (struct core_span){text.ptr + 2, text.len - 2};
    }
    *out = text;
    return text.len > 0 && !is_no_name(text);
}

/* What holds an @, of a header with names and brackets or of a certificate's subject (emailAddress=…). */
static bool pick_email(struct core_span *rest, struct core_span *out) {
    while (rest->len > 0) {
        *out = token_next(rest);
        const char *at = core_span_chr(*out, '@');
        if (at != NULL && at > out->ptr && at + 1 < out->ptr + out->len) {
            return true;
        }
    }
    return false;
}

/* All of it; then the name at its end, if a path stands before that. */
static bool pick_file_name(struct core_span *rest, struct core_span *out) {
    struct core_span text = *rest;
    size_t at = text.len;
    while (at > 0 && text.ptr[at - 1] != '/' && text.ptr[at - 1] != '\\') {
        at--;
    }
    *out = text;
    *rest = (struct core_span){text.ptr + text.len, 0};
    if (at > 0 && at < text.len) {
        *rest = (struct core_span){text.ptr + at, text.len - at};
    }
    return true;
}

bool observable_pick(enum core_indicator type, struct core_span *rest, struct core_span *out) {
    switch (type) {
    case CORE_INDICATOR_IP:
        return pick_address(rest, out);
    case CORE_INDICATOR_DOMAIN:
        return pick_domain(rest, out);
    case CORE_INDICATOR_EMAIL:
        return pick_email(rest, out);
    case CORE_INDICATOR_FILE_NAME:
        return pick_file_name(rest, out);
    case CORE_INDICATOR_URL: /* a path alone names no host */
    default:
        *out = *rest;
        *rest = (struct core_span){rest->ptr + rest->len, 0};
        return type != CORE_INDICATOR_URL || out->ptr[0] != '/';
    }
}
