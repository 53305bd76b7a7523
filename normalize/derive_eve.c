/* normalize/derive_eve.c: functions for what Suricata writes: objects inside of lists, names in angle brackets, hashes with
 * colons. A list's objects are JSON text that the decoder wrote itself, compact and well-formed: one pass finds a member.
 * Source: Suricata user guide, EVE JSON format (dns versions 1 to 3); ECS dns.answers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

#include <ctype.h>

/* ---- objects ------------------------------------------------------------------------------------------------------------ */

/* Behind the value that begins at `at`. */
static size_t value_end(struct core_span json, size_t at) {
    unsigned depth = 0;
    bool is_quoted = false;
    for (; at < json.len; at++) {
        char c = json.ptr[at];
        if (is_quoted) {
            at += c == '\\';
            is_quoted = c != '"';
        } else if (c == '"') {
            is_quoted = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth == 0) {
                return at;
            }
            depth--;
        } else if (c == ',' && depth == 0) {
            return at;
        }
    }
    return at;
}

/* The JSON text of an object's member; len 0: it has none of this name. */
static struct core_span member_of(struct core_span object, struct core_span key) {
    struct core_span none = {NULL, 0};
    size_t at = 1;
    if (object.len < 2 || object.ptr[0] != '{') {
        return none;
    }
    while (at < object.len && object.ptr[at] == '"') {
        size_t name = at + 1;
        size_t name_end = name;
        while (name_end < object.len && object.ptr[name_end] != '"') {
            name_end += object.ptr[name_end] == '\\' ? 2 : 1;
        }
        size_t from = name_end + 2; /* behind "name": */
        size_t to = value_end(object, from < object.len ? from : object.len);
        if (to > from && core_span_eq((struct core_span){object.ptr + name, name_end - name}, key)) {
            return (struct core_span){object.ptr + from, to - from};
        }
        at = to + 1;
    }
    return none;
}

static char unescaped(char c) {
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c;
    }
}

/* The text of a JSON string. What the decoder wrote has \u only before control characters. */
static struct value string_value(struct normalize_worker *worker, struct core_span quoted) {
    struct core_span text = {quoted.ptr + 1, quoted.len - 2};
    if (core_span_chr(text, '\\') == NULL) {
        return value_of(VALUE_TEXT, text.ptr, text.len);
    }
    struct value out = value_copy(worker, text);
    char *p = (char *)(uintptr_t)out.ptr;
    uint32_t len = 0;
    for (size_t i = 0; p != NULL && i < text.len; i++) {
        unsigned byte;
        if (text.ptr[i] != '\\' || i + 1 == text.len) {
            p[len++] = text.ptr[i];
        } else if (text.ptr[i + 1] == 'u' && i + 5 < text.len && hex_pair(text.ptr + i + 4, &byte)) {
            p[len++] = (char)byte;
            i += 5;
        } else {
            p[len++] = unescaped(text.ptr[++i]);
        }
    }
    out.len = p == NULL ? 0 : len;
    return out;
}

/* The same if it is a scalar: no object, no list, not null. */
static struct core_span scalar_of(struct value object, struct core_span key) {
    struct core_span none = {NULL, 0};
    struct core_span json = object.kind == VALUE_RAW ? member_of(value_span(object), key) : none;
    bool is_scalar = json.len > 0 && json.ptr[0] != '{' && json.ptr[0] != '[' && json.ptr[0] != 'n';
    return is_scalar ? json : none;
}

/* A member as a value. */
static struct value member_value(struct normalize_worker *worker, struct value object, struct core_span key) {
    struct core_span json = scalar_of(object, key);
    if (json.len == 0) {
        return value_none();
    }
    if (json.ptr[0] == '"') {
        return string_value(worker, json);
    }
    bool is_number = json.ptr[0] != 't' && json.ptr[0] != 'f';
    return is_number ? value_number(json.ptr, json.len) : value_of(VALUE_RAW, json.ptr, json.len);
}

static uint32_t list_len(struct value v) {
    return v.kind == VALUE_LIST ? v.len : value_is_scalar(v) ? 1 : 0;
}

static struct value list_item(struct value v, uint32_t i) {
    return v.kind == VALUE_LIST ? v.items[i] : v;
}

/* members(objects, KEY): KEY of each object of a list. */
bool derive_members(const struct derive_context *ctx) {
    struct value list = derive_arg(ctx, 0);
    for (uint32_t i = 0; i < list_len(list); i++) {
        struct value value = member_value(ctx->worker, list_item(list, i), derive_word(ctx, 1));
        if (value.kind != VALUE_NONE && !derive_put(ctx, value)) {
            return false;
        }
    }
    return ctx->worker->reason[0] == '\0';
}

/* member_ips(objects, KEY): those that are addresses. */
bool derive_member_ips(const struct derive_context *ctx) {
    struct value list = derive_arg(ctx, 0);
    for (uint32_t i = 0; i < list_len(list); i++) {
        struct value value = member_value(ctx->worker, list_item(list, i), derive_word(ctx, 1));
        struct ip_addr ip;
        if (value_is_string(value) && ip_parse(value_span(value), &ip) &&
            !derive_put(ctx, value_ip_short(ctx->worker, value))) {
            return false;
        }
    }
    return ctx->worker->reason[0] == '\0';
}

/* ---- DNS answers ---------------------------------------------------------------------------------------------------------- */

enum { ANSWER_TYPE = 1, ANSWER_DATA = 3, ANSWER_MEMBERS };

static const struct {
    const char *eve;
    const char *ecs;
} answer_members[ANSWER_MEMBERS] = {{"rrname", "name"}, {"rrtype", "type"}, {"ttl", "ttl"}, {"rdata", "data"}};

/* {"name":…,"type":…,"ttl":…,"data":…} of JSON texts, as far as they are there. */
static bool answer_object(struct normalize_worker *worker, const struct core_span members[ANSWER_MEMBERS],
                          struct value *out) {
    size_t room = 64;
    for (size_t i = 0; i < ANSWER_MEMBERS; i++) {
        room += members[i].len;
    }
    char *text = scratch_alloc(worker, room);
    if (text == NULL) {
        return false;
    }
    struct core_buf buf = {.start = text, .pos = text, .end = text + room};
    core_buf_char(&buf, '{');
    for (size_t i = 0; i < ANSWER_MEMBERS; i++) {
        if (members[i].len > 0) {
            core_buf_put(&buf, ",", buf.pos - buf.start > 1 ? 1 : 0);
            core_buf_string(&buf, core_span_of(answer_members[i].ecs));
            core_buf_char(&buf, ':');
            core_buf_span(&buf, members[i]);
        }
    }
    core_buf_char(&buf, '}');
    MUST(!buf.is_full);
    *out = value_of(VALUE_RAW, text, core_buf_written(&buf).len);
    return true;
}

/* A field as JSON text. */
static struct core_span json_of(struct normalize_worker *worker, struct value v) {
    if (!value_is_scalar(v)) {
        return (struct core_span){NULL, 0};
    }
    size_t room = (size_t)v.len * 6 + 2;
    char *text = scratch_alloc(worker, room);
    struct core_buf buf = {.start = text, .pos = text, .end = text == NULL ? text : text + room};
    value_emit(&buf, v);
    return core_buf_written(&buf);
}

/* An address in JSON text, as every sensor's documents have it. */
static struct core_span address_json(struct normalize_worker *worker, struct core_span json) {
    if (json.len < 2 || json.ptr[0] != '"') {
        return json;
    }
    struct value text = value_of(VALUE_TEXT, json.ptr + 1, json.len - 2);
    struct value out = value_ip_short(worker, text);
    return out.ptr == text.ptr ? json : json_of(worker, out);
}

/* eve_answers(answers, type, rrname, rrtype, ttl, rdata): of the list; of version 1, where an answer is an event, of the
 * other five. */
bool derive_eve_answers(const struct derive_context *ctx) {
    struct normalize_worker *worker = ctx->worker;
    struct value list = derive_arg(ctx, 0);
    struct value type = derive_arg(ctx, 1);
    struct core_span members[ANSWER_MEMBERS];
    bool is_single = list.kind == VALUE_NONE && value_is_string(type) && core_span_is(value_span(type), "answer") &&
                     derive_arg(ctx, 5).kind != VALUE_NONE;
    uint32_t len = is_single ? 1 : list_len(list);
    struct value *items = scratch_items(worker, len);
    if (items == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < len; i++) {
        for (size_t m = 0; m < ANSWER_MEMBERS; m++) {
            members[m] = is_single ? json_of(worker, derive_arg(ctx, m + 2))
                                   : scalar_of(list_item(list, i), core_span_of(answer_members[m].eve));
        }
        members[ANSWER_DATA] = address_json(worker, members[ANSWER_DATA]);
        if (!answer_object(worker, members, &items[i])) {
            return false;
        }
    }
    return len == 0 || derive_put(ctx, (struct value){.items = items, .len = len, .kind = VALUE_LIST});
}

/* The answers of one type. */
static bool grouped_objects(const struct derive_context *ctx, size_t arg, struct value *items) {
    struct normalize_worker *worker = ctx->worker;
    struct value list = derive_arg(ctx, arg);
    struct core_span name = derive_word(ctx, arg);
    const char *dot = memrchr(name.ptr, '.', name.len);
    size_t at = dot == NULL ? 0 : (size_t)(dot + 1 - name.ptr);
    struct value type = value_of(VALUE_TEXT, name.ptr + at, name.len - at);
    for (uint32_t i = 0; i < list_len(list); i++) {
        struct core_span members[ANSWER_MEMBERS] = {{NULL, 0}};
        members[ANSWER_TYPE] = json_of(worker, type);
        members[ANSWER_DATA] = address_json(worker, json_of(worker, list_item(list, i)));
        if (!answer_object(worker, members, &items[i])) {
            return false;
        }
    }
    return true;
}

/* eve_grouped(answers, A, AAAA, …): of lists of answers by type, where these are all that the sensor writes (`formats:
 * [grouped]`). A field's last name is its type. */
bool derive_eve_grouped(const struct derive_context *ctx) {
    size_t args_len = ctx->call->row->args_len;
    uint32_t len = 0;
    if (list_len(derive_arg(ctx, 0)) > 0) {
        return true;
    }
    for (size_t i = 1; i < args_len; i++) {
        len += list_len(derive_arg(ctx, i));
    }
    struct value *items = scratch_items(ctx->worker, len);
    if (items == NULL) {
        return false;
    }
    uint32_t made = 0;
    for (size_t i = 1; i < args_len; i++) {
        if (!grouped_objects(ctx, i, items + made)) {
            return false;
        }
        made += list_len(derive_arg(ctx, i));
    }
    return len == 0 || derive_put(ctx, (struct value){.items = items, .len = len, .kind = VALUE_LIST});
}

/* ---- texts ---------------------------------------------------------------------------------------------------------------- */

/* unbracket(f): alice@example.org of "<alice@example.org>" and of "Alice <alice@example.org>"; of a list, each. */
bool derive_unbracket(const struct derive_context *ctx) {
    struct value list = derive_arg(ctx, 0);
    for (uint32_t i = 0; i < list_len(list); i++) {
        struct value v = list_item(list, i);
        const char *open =
            value_is_string(v) && v.len > 0 && v.ptr[v.len - 1] == '>' ? memrchr(v.ptr, '<', v.len) : NULL;
        if (open != NULL) {
            v = value_of((enum value_kind)v.kind, open + 1, (size_t)(v.ptr + v.len - 1 - (open + 1)));
        }
        if (value_is_string(v) && v.len > 0 && !derive_put(ctx, v)) {
            return false;
        }
    }
    return true;
}

static bool put_hex(const struct derive_context *ctx, char first, int change) {
    struct value v = derive_arg(ctx, 0);
    if (!value_is_string(v) || v.len == 0) {
        return true;
    }
    struct value out = value_copy(ctx->worker, value_span(v));
    char *p = (char *)(uintptr_t)out.ptr;
    uint32_t len = 0;
    for (uint32_t i = 0; p != NULL && i < v.len; i++) {
        char c = v.ptr[i];
        if (c != ':' && !isxdigit((unsigned char)c)) {
            return true; /* not what it should be */
        }
        p[len] = (char)(c + (c >= first && c <= first + 5 ? change : 0));
        len += c != ':';
    }
    out.len = len;
    return p != NULL && (len == 0 || derive_put(ctx, out));
}

/* hex(f): upper case, without the colons between the bytes. */
bool derive_hex(const struct derive_context *ctx) {
    return put_hex(ctx, 'a', 'A' - 'a');
}

/* hex_low(f): the same in lower case, as other sensors have their hashes. */
bool derive_hex_low(const struct derive_context *ctx) {
    return put_hex(ctx, 'A', 'a' - 'A');
}

/* base_name(f): what stands behind the last / or \ of a path; all, if there is none. */
bool derive_base_name(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    if (!value_is_string(v)) {
        return true;
    }
    size_t from = v.len;
    while (from > 0 && v.ptr[from - 1] != '/' && v.ptr[from - 1] != '\\') {
        from--;
    }
    return from == v.len || derive_put(ctx, value_of((enum value_kind)v.kind, v.ptr + from, v.len - from));
}

/* item(f, N): element N of a list, from 0, as text. */
bool derive_item(const struct derive_context *ctx) {
    struct value list = derive_arg(ctx, 0);
    struct core_span word = derive_word(ctx, 1);
    uint32_t at = word.len == 1 ? (uint32_t)(word.ptr[0] - '0') : UINT32_MAX;
    if (at >= list_len(list) || !value_is_scalar(list_item(list, at))) {
        return true;
    }
    struct core_span text = value_span(list_item(list, at));
    return derive_put(ctx, value_of(VALUE_TEXT, text.ptr, text.len));
}

/* elapsed(from, till): nanoseconds between two times, if they are in this order. */
bool derive_elapsed(const struct derive_context *ctx) {
    struct value from = derive_arg(ctx, 0);
    struct value till = derive_arg(ctx, 1);
    int64_t from_ns;
    int64_t till_ns;
    if (!value_is_scalar(from) || !value_is_scalar(till) ||
        !time_to_ns(value_span(from), from.kind == VALUE_RAW, &from_ns) ||
        !time_to_ns(value_span(till), till.kind == VALUE_RAW, &till_ns) || till_ns < from_ns) {
        return true;
    }
    return derive_put(ctx, value_u64(ctx->worker, (uint64_t)till_ns - (uint64_t)from_ns));
}
