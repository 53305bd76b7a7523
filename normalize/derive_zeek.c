/* normalize/derive_zeek.c: derive functions for what Zeek's logs write as one text and ECS as parts: principals, paths,
 * hashes, the family of an address, the days a ticket is good for.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

static bool put_span(const struct derive_context *ctx, struct core_span text) {
    return text.len == 0 || derive_put(ctx, value_of(VALUE_TEXT, text.ptr, text.len));
}

/* Where the last separator begins; text.len if there is none. */
static size_t last_of(struct core_span text, struct core_span sep) {
    MUST(sep.len > 0);
    for (size_t at = text.len >= sep.len ? text.len - sep.len + 1 : 0; at > 0; at--) {
        if (memcmp(text.ptr + at - 1, sep.ptr, sep.len) == 0) {
            return at - 1;
        }
    }
    return text.len;
}

/* alice/CORP.EXAMPLE -> alice; without a separator the whole text is it. */
bool derive_before_last(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    if (!value_is_string(v)) {
        return true;
    }
    struct core_span text = value_span(v);
    return put_span(ctx, (struct core_span){text.ptr, last_of(text, derive_word(ctx, 1))});
}

/* alice/CORP.EXAMPLE -> CORP.EXAMPLE; without a separator there is nothing behind it. */
bool derive_after_last(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    struct core_span sep = derive_word(ctx, 1);
    if (!value_is_string(v)) {
        return true;
    }
    struct core_span text = value_span(v);
    size_t at = last_of(text, sep);
    size_t skip = at == text.len ? text.len : at + sep.len;
    return put_span(ctx, (struct core_span){text.ptr + skip, text.len - skip});
}

/* "1 INVITE": word 0 is 1. */
bool derive_word_of(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    struct core_span number = derive_word(ctx, 1);
    if (!value_is_string(v)) {
        return true;
    }
    const char *p = v.ptr;
    const char *end = v.ptr + v.len;
    unsigned wanted =
        number.len == 1 && number.ptr[0] >= '0' && number.ptr[0] <= '9' ? (unsigned)(number.ptr[0] - '0') : 0;
    for (unsigned i = 0;; i++) {
        while (p < end && (*p == ' ' || *p == '\t')) {
            p++;
        }
        const char *word = p;
        while (p < end && *p != ' ' && *p != '\t') {
            p++;
        }
        if (i == wanted || p == end) {
            return i != wanted || put_span(ctx, (struct core_span){word, (size_t)(p - word)});
        }
    }
}

/* An address, or a subnet's. */
bool derive_ip_kind(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    struct ip_addr ip;
    if (!value_is_string(v)) {
        return true;
    }
    struct core_span text = value_span(v);
    const char *slash = core_span_chr(text, '/');
    text.len = slash == NULL ? text.len : (size_t)(slash - text.ptr);
    if (!ip_parse(text, &ip)) {
        return true;
    }
    return put_span(ctx, derive_word(ctx, ip.len == 4 ? 1 : 2));
}

/* One side of an entity: address/prefix[/port], or address/port of a connection. A network is no host. */
static bool put_entity_side(const struct derive_context *ctx, struct core_span side, bool is_connection) {
    const char *slash = core_span_chr(side, '/');
    struct core_span host = {side.ptr, slash == NULL ? side.len : (size_t)(slash - side.ptr)};
    struct core_span prefix = {side.ptr + host.len, side.len - host.len};
    struct ip_addr ip;
    if (!ip_parse(host, &ip)) {
        return true;
    }
    if (prefix.len > 0) {
        prefix = (struct core_span){prefix.ptr + 1, prefix.len - 1};
        const char *end = core_span_chr(prefix, '/');
        prefix.len = end == NULL ? prefix.len : (size_t)(end - prefix.ptr);
    }
    bool is_host = is_connection || prefix.len == 0 || core_span_is(prefix, ip.len == 4 ? "32" : "128");
    return !is_host || put_span(ctx, host);
}

/* entity_ips(f): the hosts that a rule is about: of 192.0.2.66/32, 192.0.2.1/32/80->198.51.100.2/32/443 (NetControl's flow) and
 * 192.0.2.1/80<->198.51.100.2/443 (its connection). */
bool derive_entity_ips(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    if (!value_is_string(v)) {
        return true;
    }
    struct core_span text = value_span(v);
    const char *arrow = memmem(text.ptr, text.len, "->", 2);
    if (arrow == NULL) {
        return put_entity_side(ctx, text, false);
    }
    bool is_connection = arrow > text.ptr && arrow[-1] == '<';
    size_t at = (size_t)(arrow - text.ptr);
    return put_entity_side(ctx, (struct core_span){text.ptr, at - (is_connection ? 1 : 0)}, is_connection) &&
           put_entity_side(ctx, (struct core_span){arrow + 2, text.len - at - 2}, is_connection);
}

/* \\server\share, \, dir\file -> \\server\share\dir\file. Both are needed, one separator stands between them. */
bool derive_path_join(const struct derive_context *ctx) {
    struct value dir = derive_arg(ctx, 0);
    struct core_span sep = derive_word(ctx, 1);
    struct value name = derive_arg(ctx, 2);
    if (!value_is_string(dir) || !value_is_string(name) || dir.len == 0 || name.len == 0) {
        return true;
    }
    size_t room = (size_t)dir.len + sep.len + name.len;
    char *text = scratch_alloc(ctx->worker, room);
    if (text == NULL) {
        return false;
    }
    bool has_sep = name.len >= sep.len && memcmp(name.ptr, sep.ptr, sep.len) == 0;
    struct core_buf buf = {.start = text, .pos = text, .end = text + room};
    core_buf_put(&buf, dir.ptr, dir.len);
    if (!has_sep) {
        core_buf_span(&buf, sep);
    }
    core_buf_put(&buf, name.ptr, name.len);
    MUST(!buf.is_full);
    return put_span(ctx, core_buf_written(&buf));
}

/* Whole days between two times, rounded; nothing if they stand the other way round. */
bool derive_days(const struct derive_context *ctx) {
    static const int64_t day_ns = INT64_C(86400) * CORE_NS_PER_S;
    struct value from = derive_arg(ctx, 0);
    struct value till = derive_arg(ctx, 1);
    int64_t from_ns;
    int64_t till_ns;
    int64_t span_ns;
    if (!value_is_scalar(from) || !value_is_scalar(till) ||
        !time_to_ns(value_span(from), from.kind == VALUE_RAW, &from_ns) ||
        !time_to_ns(value_span(till), till.kind == VALUE_RAW, &till_ns) ||
        __builtin_sub_overflow(till_ns, from_ns, &span_ns) || span_ns < 0) {
        return true;
    }
    uint64_t days = (uint64_t)(span_ns / day_ns) + (span_ns % day_ns >= day_ns / 2 ? 1 : 0);
    return derive_put(ctx, value_u64(ctx->worker, days));
}

/* ---- hashes ---------------------------------------------------------------------------------------------------------------- */

enum hash_sub { HASH_MD5, HASH_SHA1, HASH_SHA256, HASH_SHA512, HASH_RELATED };

static const struct {
    size_t digits;
    enum hash_sub sub;
} hash_lengths[] = {{32, HASH_MD5}, {40, HASH_SHA1}, {64, HASH_SHA256}, {128, HASH_SHA512}};

#define HASH_DIGITS_MAX 128

/* Hexadecimal digits in lower case, without the colons between them. 0: it is no hash. */
static size_t hash_digits(struct core_span text, char out[HASH_DIGITS_MAX]) {
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool is_digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        bool is_between = c == ':' && len > 0 && len % 2 == 0;
        if ((!is_digit && !is_between) || (is_digit && len == HASH_DIGITS_MAX)) {
            return 0;
        }
        if (is_digit) {
            out[len++] = c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c;
        }
    }
    return len;
}

/* A hash to the field of its kind, which its length tells; only where the field WHEN is TEXT. */
bool derive_hash(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    struct value when = derive_arg(ctx, 1);
    char digits[HASH_DIGITS_MAX];
    if (!value_is_string(v) || !value_is_string(when) || !core_span_eq(value_span(when), derive_word(ctx, 2))) {
        return true;
    }
    size_t len = hash_digits(value_span(v), digits);
    for (size_t i = 0; i < sizeof(hash_lengths) / sizeof(hash_lengths[0]); i++) {
        if (len == hash_lengths[i].digits) {
            struct value hash = value_copy(ctx->worker, (struct core_span){digits, len});
            return hash.kind != VALUE_NONE && derive_put_sub(ctx, hash_lengths[i].sub, hash) &&
                   derive_put_sub(ctx, HASH_RELATED, hash);
        }
    }
    return true;
}
