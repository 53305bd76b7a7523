/* core/json_plain.c: reads the JSON that sensors really write: an object whose strings are printable ASCII without
 * escapes. That is nearly every record, and one pass with nothing to remember but the brackets reads it at several times
 * the speed of a general parser. Whatever is not of this kind, or no JSON at all, is left to core_json_read(): the two
 * must tell the same story of every text that both read (tests/fuzz/fuzz_json.c holds them to it), and only the general
 * one says what is wrong with a text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/json_plain.h"

#define DEPTH_MAX 64 /* brackets fit a word of bits; core_json_read()'s maximum */

static inline void blanks_skip(struct core_json_plain *plain) {
    while (plain->pos < plain->end && *plain->pos == ' ') {
        plain->pos++;
    }
}

/* The next byte that is no blank, or NUL at the end (which no plain text holds). */
static inline char byte_next(struct core_json_plain *plain) {
    blanks_skip(plain);
    return plain->pos < plain->end ? *plain->pos : '\0';
}

/* Behind the opening quote; ends behind the closing one. */
static inline bool string_read(struct core_json_plain *plain, struct core_span *out) {
    const char *start = plain->pos;
    const char *end = core_json_run_end(start, plain->end);
    if (end == plain->end || *end != '"') {
        return false;
    }
    *out = (struct core_span){start, (size_t)(end - start)};
    plain->pos = end + 1;
    return true;
}

/* Eight bytes at once where they are there: how many digits a number has, no branch can foretell. */
static inline bool digits_skip(struct core_json_plain *plain) {
    const char *start = plain->pos;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    while (plain->end - plain->pos >= 8) {
        uint64_t word;
        memcpy(&word, plain->pos, sizeof(word));
        word ^= UINT64_C(0x3030303030303030); /* digits are 0 … 9 now; others set their byte's highest bit below */
        uint64_t others = (((word & UINT64_C(0x7f7f7f7f7f7f7f7f)) + UINT64_C(0x7676767676767676)) | word) &
                          UINT64_C(0x8080808080808080);
        if (others != 0) {
            plain->pos += (unsigned)__builtin_ctzll(others) / 8;
            return plain->pos > start;
        }
        plain->pos += 8;
    }
#endif
    while (plain->pos < plain->end && (unsigned char)*plain->pos - (unsigned)'0' <= 9) {
        plain->pos++;
    }
    return plain->pos > start;
}

static bool exponent_skip(struct core_json_plain *plain) {
    plain->pos++;
    if (plain->pos < plain->end && (*plain->pos == '+' || *plain->pos == '-')) {
        plain->pos++;
    }
    return digits_skip(plain);
}

/* RFC 8259's number. What may follow it is checked by whoever reads on. */
static inline bool number_read(struct core_json_plain *plain, struct core_span *out) {
    const char *start = plain->pos;
    const char *end = plain->end - start >= CORE_JSON_STRIDE ? core_json_number_end(start) : NULL;
    if (end != NULL) {
        plain->pos = end;
        *out = (struct core_span){start, (size_t)(end - start)};
        return true;
    }
    plain->pos += *start == '-';
    const char *whole = plain->pos;
    if (!digits_skip(plain) || (*whole == '0' && plain->pos > whole + 1)) {
        return false;
    }
    if (plain->pos < plain->end && *plain->pos == '.') {
        plain->pos++;
        if (!digits_skip(plain)) {
            return false;
        }
    }
    if (plain->pos < plain->end && (*plain->pos == 'e' || *plain->pos == 'E') && !exponent_skip(plain)) {
        return false;
    }
    *out = (struct core_span){start, (size_t)(plain->pos - start)};
    return true;
}

static bool word_read(struct core_json_plain *plain, struct core_span word) {
    struct core_span rest = {plain->pos, (size_t)(plain->end - plain->pos)};
    if (!core_span_starts(rest, word)) {
        return false;
    }
    plain->pos += word.len;
    return true;
}

static bool bracket_opens(struct core_json_plain *plain, bool is_object) {
    if (plain->depth == DEPTH_MAX) {
        return false;
    }
    plain->pos++;
    plain->depth++;
    plain->objects = plain->objects << 1 | is_object;
    return is_object ? plain->calls->on_map(plain->ctx, true) : plain->calls->on_array(plain->ctx, true);
}

static bool bracket_closes(struct core_json_plain *plain, char bracket) {
    bool is_object = (plain->objects & 1) != 0;
    if (bracket != (is_object ? '}' : ']')) {
        return false;
    }
    plain->pos++;
    plain->depth--;
    plain->objects >>= 1;
    return is_object ? plain->calls->on_map(plain->ctx, false) : plain->calls->on_array(plain->ctx, false);
}

/* A whole scalar. */
static inline bool scalar_read(struct core_json_plain *plain, char first) {
    struct core_span text;
    switch (first) {
    case '"':
        plain->pos++;
        return string_read(plain, &text) && plain->calls->on_string(plain->ctx, text);
    case 't':
        return word_read(plain, CORE_SPAN("true")) && plain->calls->on_bool(plain->ctx, true);
    case 'f':
        return word_read(plain, CORE_SPAN("false")) && plain->calls->on_bool(plain->ctx, false);
    case 'n':
        return word_read(plain, CORE_SPAN("null")) && plain->calls->on_null(plain->ctx);
    case '\0':
        return false;
    default:
        return number_read(plain, &text) && plain->calls->on_number(plain->ctx, text);
    }
}

/* `"key" :` */
static inline bool key_read(struct core_json_plain *plain) {
    struct core_span key;
    if (byte_next(plain) != '"') {
        return false;
    }
    plain->pos++;
    if (!string_read(plain, &key) || byte_next(plain) != ':') {
        return false;
    }
    plain->pos++;
    return plain->calls->on_key(plain->ctx, key);
}

/* One member of an object or element of an array; if it is a bracket, what it opens is empty or begins. *is_open: the next
 * thing is the first inside a new bracket. */
static inline bool member_read(struct core_json_plain *plain, bool *is_open) {
    if ((plain->objects & 1) != 0 && !key_read(plain)) {
        return false;
    }
    char first = byte_next(plain);
    *is_open = first == '{' || first == '[';
    if (!*is_open) {
        return scalar_read(plain, first);
    }
    if (!bracket_opens(plain, first == '{')) {
        return false;
    }
    char next = byte_next(plain);
    if (next == '}' || next == ']') {
        *is_open = false;
        return bracket_closes(plain, next);
    }
    return true;
}

/* Behind a value: the brackets that close, then a comma, or the end of all. */
static inline bool value_ends(struct core_json_plain *plain) {
    char c = byte_next(plain);
    while (plain->depth > 0 && (c == '}' || c == ']')) {
        if (!bracket_closes(plain, c)) {
            return false;
        }
        c = byte_next(plain);
    }
    if (plain->depth == 0) {
        return plain->pos == plain->end;
    }
    plain->pos++;
    return c == ',';
}

/* Up to the next member of the outermost object, or the end. */
static inline bool members_read(struct core_json_plain *plain) {
    bool is_open;
    do {
        if (!member_read(plain, &is_open) || (!is_open && !value_ends(plain))) {
            return false;
        }
    } while (plain->depth > 1);
    return true;
}

bool core_json_plain_begin(struct core_json_plain *plain) {
    MUST(plain->depth == 0);
    if (plain->pos == plain->end || *plain->pos != '{' || !bracket_opens(plain, true)) {
        return false;
    }
    return byte_next(plain) != '}' || value_ends(plain);
}

bool core_json_plain_member(struct core_json_plain *plain) {
    MUST(plain->depth == 1);
    return members_read(plain);
}

bool core_json_read_plain(const struct core_json_calls *calls, void *ctx, struct core_span text) {
    struct core_json_plain plain = {.pos = text.ptr, .end = text.ptr + text.len, .calls = calls, .ctx = ctx};
    if (!core_json_plain_begin(&plain)) {
        return false;
    }
    while (plain.depth > 0) {
        if (!members_read(&plain)) {
            return false;
        }
    }
    return true;
}
