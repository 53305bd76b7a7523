/* core/json_plain.h: where the strings and numbers of plain JSON end, for those who read it themselves; and the plain
 * reader member by member. Everything else: json_plain.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_JSON_PLAIN_H
#define TAPLINE_CORE_JSON_PLAIN_H

#include "core/json.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define CORE_JSON_STRIDE 32 /* so many bytes are looked at together, where they may be read */

#ifdef __SSE2__
/* A bit for each of 16 bytes that cannot stand in a plain string: a quote, a backslash, a control or a high byte. */
static inline __attribute__((always_inline)) uint32_t core_json_stops(const char *pos) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)pos);
    __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
    __m128i slash = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
    /* signed compare: bytes from 0x80 on are negative, so they are below 0x20 too */
    __m128i other = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20));
    return (uint32_t)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, slash), other));
}

/* A bit for each of 16 bytes that is no digit. */
static inline __attribute__((always_inline)) uint32_t core_json_nondigits(const char *pos) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)pos);
    __m128i digit = _mm_sub_epi8(v, _mm_set1_epi8('0'));
    __m128i is_digit = _mm_cmpeq_epi8(_mm_min_epu8(digit, _mm_set1_epi8(9)), digit);
    return (uint32_t)_mm_movemask_epi8(is_digit) ^ 0xffff;
}
#endif

/* A bit for each of 32 bytes that is the same in both. */
static inline __attribute__((always_inline)) uint32_t core_bytes_same32(const char *a, const char *b) {
#ifdef __SSE2__
    __m128i low = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)a),
                                 _mm_loadu_si128((const __m128i *)(const void *)b));
    __m128i high = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)(a + 16)),
                                  _mm_loadu_si128((const __m128i *)(const void *)(b + 16)));
    return (uint32_t)_mm_movemask_epi8(low) | (uint32_t)_mm_movemask_epi8(high) << 16;
#else
    uint32_t same = 0;
    for (unsigned i = 0; i < 32; i++) {
        same |= (uint32_t)(a[i] == b[i]) << i;
    }
    return same;
#endif
}

/* Where the run of bytes ends that may stand in a plain string. Shape: bytes up to end may be read. */
static inline __attribute__((always_inline)) const char *core_json_run_end(const char *pos, const char *end) {
#ifdef __SSE2__
    for (; end - pos >= CORE_JSON_STRIDE; pos += CORE_JSON_STRIDE) {
        uint32_t stops = core_json_stops(pos) | core_json_stops(pos + 16) << 16;
        if (stops != 0) {
            return pos + __builtin_ctz(stops);
        }
    }
    if (end - pos >= 16) {
        uint32_t stops = core_json_stops(pos);
        if (stops != 0) {
            return pos + __builtin_ctz(stops);
        }
        pos += 16;
    }
#endif
    while (pos < end && *pos != '"' && *pos != '\\' && *pos >= 0x20 && (unsigned char)*pos < 0x80) {
        pos++;
    }
    return pos;
}

/* Where the number at pos ends, if it ends within CORE_JSON_STRIDE - 1 bytes and has no exponent; NULL: look closer.
 * Shape: CORE_JSON_STRIDE bytes from pos on may be read, be they of the text or not. */
static inline __attribute__((always_inline)) const char *core_json_number_end(const char *pos) {
#ifdef __SSE2__
    uint32_t others = core_json_nondigits(pos) | core_json_nondigits(pos + 16) << 16;
    unsigned sign = *pos == '-';
    others &= ~(uint32_t)sign;
    if (others == 0) {
        return NULL;
    }
    unsigned at = (unsigned)__builtin_ctz(others);
    if (at == sign || (pos[sign] == '0' && at > sign + 1)) {
        return NULL;
    }
    if (pos[at] == '.') {
        others &= others - 1;
        unsigned part = at + 1;
        if (others == 0 || (at = (unsigned)__builtin_ctz(others)) == part) {
            return NULL;
        }
    }
    return (pos[at] | 0x20) == 'e' ? NULL : pos + at;
#else
    (void)pos;
    return NULL;
#endif
}

/* Where the plain reader stands in its text. */
struct core_json_plain {
    const char *pos;
    const char *end;
    const struct core_json_calls *calls;
    void *ctx;
    uint64_t objects; /* bit 0: the innermost bracket is an object's */
    unsigned depth;   /* open brackets; 0: the text is read */
};

/* core_json_read_plain() in parts: the opening bracket of the object, then a member at a time with all it holds, as long
 * as depth is 1. Between two members pos is behind the comma, and whoever reads plain scalars there himself sets it
 * behind the next comma. False as there. */
bool core_json_plain_begin(struct core_json_plain *plain);
bool core_json_plain_member(struct core_json_plain *plain);

#endif
