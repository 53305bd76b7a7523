/* normalize/address.c: IP addresses from text, and as text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

#include <arpa/inet.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

static bool ipv4_parse(struct core_span text, uint8_t out[4]) {
    const char *p = text.ptr;
    const char *end = p + text.len;
    for (int at = 0; at < 4; at++) {
        unsigned part = 0;
        const char *start = p;
        for (unsigned digit; p < end && (digit = (unsigned char)*p - (unsigned)'0') <= 9; p++) {
            part = part * 10 + digit;
        }
        if (p == start || p - start > 3 || part > 255) {
            return false;
        }
        out[at] = (uint8_t)part;
        if (at < 3 && (p == end || *p++ != '.')) {
            return false;
        }
    }
    return p == end;
}

#ifdef __SSE2__
/* The same where 16 bytes and 4 more may be read: where the dots are is one comparison, and no branch depends on how long a
 * part is. */
static bool ipv4_parse_roomy(struct value v, uint8_t out[4]) {
    __m128i text = _mm_loadu_si128((const __m128i *)(const void *)v.ptr);
    __m128i digits = _mm_cmplt_epi8(_mm_add_epi8(text, _mm_set1_epi8((char)(128 - '0'))), _mm_set1_epi8(-128 + 10));
    unsigned all = (1u << v.len) - 1;
    unsigned is_digit = (unsigned)_mm_movemask_epi8(digits) & all;
    unsigned is_dot = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8('.'))) & all;
    unsigned third = is_dot & (is_dot - 1); /* without the first dot, and without the second */
    third &= third - 1;
    if ((is_digit | is_dot) != all || third == 0 || (third & (third - 1)) != 0) {
        return false;
    }
    unsigned ends = is_dot | 1u << v.len;
    unsigned at = 0;
    unsigned bad = 0;
    for (int i = 0; i < 4; i++, ends &= ends - 1) {
        unsigned end = (unsigned)__builtin_ctz(ends);
        unsigned len = end - at;
        uint32_t word;
        bad |= len - 1 > 2;
        memcpy(&word, v.ptr + at, 4);
        word = (word & 0x0f0f0f0f) << (32 - 8 * (len & 3)) % 32;
        unsigned part = (word >> 8 & 15) * 100 + (word >> 16 & 15) * 10 + (word >> 24);
        bad |= part > 255;
        out[i] = (uint8_t)part;
        at = end + 1;
    }
    return bad == 0;
}
#endif

bool value_ip(struct value v, struct ip_addr *out) {
#ifdef __SSE2__
    if (v.is_roomy && v.len >= 7 && v.len <= 15 && ipv4_parse_roomy(v, out->bytes)) {
        out->len = 4;
        return true;
    }
#endif
    return ip_parse(value_span(v), out);
}

/* 16: it is none. */
static inline unsigned hex_digit(unsigned char c) {
    unsigned decimal = c - (unsigned)'0';
    unsigned letter = (c | 0x20u) - (unsigned)'a';
    return decimal <= 9 ? decimal : letter <= 5 ? letter + 10 : 16;
}

/* RFC 4291's text without an IPv4 part, as inet_pton() reads it. */
static bool ipv6_parse(struct core_span text, uint8_t out[16]) {
    const char *p = text.ptr;
    const char *end = p + text.len;
    uint8_t bytes[16] = {0};
    size_t len = 0;
    size_t gap = SIZE_MAX; /* the bytes before `::` */
    if (text.len < 2 || (p[0] == ':' && *++p != ':')) {
        return false;
    }
    while (p < end) {
        if (*p == ':') { /* the second of two */
            if (gap != SIZE_MAX) {
                return false;
            }
            gap = len;
            p++;
            continue;
        }
        unsigned group = 0;
        const char *start = p;
        for (unsigned digit; p < end && (digit = hex_digit((unsigned char)*p)) < 16; p++) {
            group = group << 4 | digit;
        }
        if (p == start || p - start > 4 || len == sizeof(bytes)) {
            return false;
        }
        bytes[len++] = (uint8_t)(group >> 8 & 0xff);
        bytes[len++] = (uint8_t)(group & 0xff);
        if (p < end && (*p++ != ':' || p == end)) {
            return false;
        }
    }
    size_t head = gap == SIZE_MAX ? len : gap;
    if (gap == SIZE_MAX ? len != sizeof(bytes) : len == sizeof(bytes)) {
        return false;
    }
    memset(out, 0, sizeof(bytes));
    memcpy(out, bytes, head);
    memcpy(out + sizeof(bytes) - (len - head), bytes + head, len - head);
    return true;
}

/* The same, where dotted decimals are its last part. */
static bool ipv6_parse_mixed(struct core_span text, uint8_t out[16]) {
    char copy[INET6_ADDRSTRLEN];
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return memchr(copy, '\0', text.len) == NULL && inet_pton(AF_INET6, copy, out) == 1;
}

bool ip_parse(struct core_span text, struct ip_addr *out) {
    enum { COLON_WITHIN = 5 }; /* bytes: a group has up to four digits */
    out->len = 0;
    if (text.len >= 7 && text.len <= 15 && ipv4_parse(text, out->bytes)) {
        out->len = 4;
        return true;
    }
    bool has_colon = false;
    for (size_t i = 0; i < text.len && i < COLON_WITHIN; i++) {
        has_colon |= text.ptr[i] == ':';
    }
    if (!has_colon || text.len < 2 || text.len >= INET6_ADDRSTRLEN) {
        return false;
    }
    bool is_mixed = core_span_chr(text, '.') != NULL;
    if (!(is_mixed ? ipv6_parse_mixed(text, out->bytes) : ipv6_parse(text, out->bytes))) {
        return false;
    }
    out->len = 16;
    return true;
}

struct value value_ip_short(struct normalize_worker *worker, struct value v) {
    enum { FULL_LEN = 39 }; /* eight groups of four digits */
    char text[INET6_ADDRSTRLEN];
    struct ip_addr ip;
    if (!value_is_string(v) || v.len != FULL_LEN || !ip_parse(value_span(v), &ip) || ip.len != 16 ||
        inet_ntop(AF_INET6, ip.bytes, text, sizeof(text)) == NULL) {
        return v;
    }
    struct value out = value_copy(worker, core_span_of(text));
    return out.kind == VALUE_NONE ? out : value_of(VALUE_PLAIN, out.ptr, out.len);
}
