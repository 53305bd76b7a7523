/* normalize/derive_log.c: derive functions for what logs say in words: what was done, whether it worked, a text of several
 * values, a number with its unit behind it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

/* A field that older sensors write as a set counts with its first value. */
static struct value first_of(struct value v) {
    if (v.kind != VALUE_LIST) {
        return v;
    }
    return v.len > 0 ? v.items[0] : value_none();
}

/* The text behind the last `mark`; all of it if there is none, or nothing behind it. */
static struct core_span behind(struct core_span text, struct core_span mark) {
    if (mark.len == 0) {
        return text;
    }
    for (size_t at = text.len; at >= mark.len; at--) {
        if (memcmp(text.ptr + at - mark.len, mark.ptr, mark.len) == 0) {
            return at == text.len ? text : (struct core_span){text.ptr + at, text.len - at};
        }
    }
    return text;
}

/* NetControl::DROP -> drop, OpenFlow::OFPFC_ADD -> add. */
bool derive_verb(const struct derive_context *ctx) {
    struct value v = first_of(derive_arg(ctx, 0));
    if (!value_is_string(v) || v.len == 0) {
        return true;
    }
    bool has_mark = ctx->call->row->args_len > 1;
    struct core_span word = behind(value_span(v), has_mark ? derive_word(ctx, 1) : (struct core_span){"", 0});
    struct value out = value_copy(ctx->worker, word);
    if (out.kind == VALUE_NONE) {
        return false;
    }
    char *p = (char *)(uintptr_t)out.ptr;
    for (uint32_t i = 0; i < out.len; i++) {
        if (p[i] >= 'A' && p[i] <= 'Z') {
            p[i] = (char)(p[i] - 'A' + 'a');
        }
    }
    return derive_put(ctx, out);
}

bool derive_outcome(const struct derive_context *ctx) {
    struct value v = first_of(derive_arg(ctx, 0));
    if (!value_is_scalar(v) || v.len == 0) {
        return true;
    }
    struct core_span word =
        core_span_eq(value_span(v), derive_word(ctx, 1)) ? CORE_SPAN("success") : CORE_SPAN("failure");
    return derive_put(ctx, value_of(VALUE_PLAIN, word.ptr, word.len));
}

/* ["hello", "T"] -> "hello, T"; a set of one kind of values has only scalars. */
bool derive_join(const struct derive_context *ctx) {
    static const struct core_span between = {", ", 2};
    struct value v = derive_arg(ctx, 0);
    if (v.kind != VALUE_LIST) {
        return derive_put(ctx, v);
    }
    size_t len = 0;
    for (uint32_t i = 0; i < v.len; i++) {
        len += (value_is_scalar(v.items[i]) ? v.items[i].len : 0) + between.len;
    }
    char *out = scratch_alloc(ctx->worker, len + 1);
    if (out == NULL) {
        return false;
    }
    size_t at = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < v.len; i++) {
        if (!value_is_scalar(v.items[i])) {
            continue;
        }
        if (n++ > 0) {
            memcpy(out + at, between.ptr, between.len);
            at += between.len;
        }
        memcpy(out + at, v.items[i].ptr, v.items[i].len);
        at += v.items[i].len;
    }
    return at == 0 || derive_put(ctx, value_of(VALUE_TEXT, out, at));
}

/* 12.5 -> 12.5, "0.250%" -> 0.250. */
bool derive_number(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    if (!value_is_scalar(v)) {
        return true;
    }
    struct core_span text = value_span(v);
    if (text.len > 0 && text.ptr[text.len - 1] == '%') {
        text.len--;
    }
    /* What is no number is kept as it is: the field's schema then refuses the record, and says so. */
    return derive_put(ctx, core_json_is_number(text) ? value_number(text.ptr, text.len) : v);
}

/* The upper bounds of a histogram's buckets as text: the last one is inf, which JSON has no number for and Zeek's JSON
 * writes as null. */
bool derive_bounds(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    if (v.kind != VALUE_LIST) {
        return true;
    }
    struct value *items = scratch_items(ctx->worker, v.len);
    if (items == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < v.len; i++) {
        struct core_span text = value_is_scalar(v.items[i]) ? value_span(v.items[i]) : CORE_SPAN("null");
        items[i] =
            core_span_is(text, "null") ? value_of(VALUE_PLAIN, "inf", 3) : value_of(VALUE_TEXT, text.ptr, text.len);
    }
    return derive_put(ctx, (struct value){.items = items, .len = v.len, .kind = VALUE_LIST});
}
