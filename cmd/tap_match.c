/* cmd/tap_match.c: which documents somebody wants to see who watches a stage.
 *
 * Most documents do not hold the wanted value at all, and memmem() says so at the speed of memory; only what does is read as
 * JSON. Names are dotted and may be cut into objects at any dot, as documents in ECS may be.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/tap.h"

#include <stdlib.h>

const char *const tap_stages[TAP_STAGE__MAX] = {
    [TAP_RAW] = "raw",           [TAP_RECORD] = "record", [TAP_EVENT] = "event",
    [TAP_ENRICHED] = "enriched", [TAP_SENT] = "sent",     [TAP_DEAD] = "dead",
};

bool tap_stage_of(struct core_span word, enum tap_stage *out) {
    for (int i = 0; i < TAP_STAGE__MAX; i++) {
        if (core_span_is(word, tap_stages[i])) {
            *out = (enum tap_stage)i;
            return true;
        }
    }
    return false;
}

/* Bytes that JSON writers never escape, and that no sensor's format does. The words for truth are others in TSV. */
static bool is_plain(struct core_span value) {
    bool is = value.len > 0 && !core_span_is(value, "true") && !core_span_is(value, "false");
    for (size_t i = 0; i < value.len && is; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        is = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' || c == '-' ||
             c == '_';
    }
    return is;
}

bool tap_match_read(struct tap_match *match, struct core_span text, enum tap_stage stage, struct core_fail *fail) {
    *match = (struct tap_match){0};
    const char *equals = core_span_chr(text, '=');
    if (text.len == 0 || (stage != TAP_RAW && (equals == NULL || equals == text.ptr))) {
        (void)core_fail_set(
            fail, CORE_BAD, "match",
            "\"%.*s\" is no field=value, as in source.ip=10.0.0.1 (of raw lines: any text that stands in "
            "them)",
            (int)text.len, text.ptr);
        return false;
    }
    match->text = strndup(text.ptr, text.len);
    MUST(match->text != NULL);
    size_t field_len = stage == TAP_RAW ? 0 : (size_t)(equals - text.ptr);
    size_t at = stage == TAP_RAW ? 0 : field_len + 1;
    match->field = (struct core_span){match->text, field_len};
    match->value = (struct core_span){match->text + at, text.len - at};
    match->is_plain = stage == TAP_RAW || is_plain(match->value);
    return true;
}

void tap_match_free(struct tap_match *match) {
    free(match->text);
    *match = (struct tap_match){0};
}

bool tap_match_may_fit(const struct tap_match *match, struct core_span bytes, bool is_binary) {
    return !match->is_plain || (is_binary && match->field.len > 0) ||
           memmem(bytes.ptr, bytes.len, match->value.ptr, match->value.len) != NULL;
}

static bool value_fits(const struct core_json_tree *value, struct core_span wanted) {
    switch (value->kind) {
    case CORE_JSON_STRING:
    case CORE_JSON_NUMBER:
    case CORE_JSON_BOOL:
        return core_span_eq(value->text, wanted);
    case CORE_JSON_NULL:
        return core_span_is(wanted, "null");
    case CORE_JSON_ARRAY:
        for (const struct core_json_tree *item = value->first; item != NULL; item = item->next) {
            if (value_fits(item, wanted)) {
                return true;
            }
        }
        return false;
    case CORE_JSON_OBJECT:
        return false;
    }
    return false;
}

/* One member that has the rest of the name, or an object or list of objects below which it goes on. */
static bool field_fits(const struct core_json_tree *tree, struct core_span field, struct core_span wanted) {
    for (const struct core_json_tree *member = tree->first; member != NULL; member = member->next) {
        if (tree->kind == CORE_JSON_ARRAY) {
            if (field_fits(member, field, wanted)) {
                return true;
            }
            continue;
        }
        if (core_span_eq(member->key, field) && value_fits(member, wanted)) {
            return true;
        }
        bool is_above = field.len > member->key.len + 1 && core_span_starts(field, member->key) &&
                        field.ptr[member->key.len] == '.';
        size_t taken = member->key.len + 1;
        if (is_above && field_fits(member, (struct core_span){field.ptr + taken, field.len - taken}, wanted)) {
            return true;
        }
    }
    return false;
}

bool tap_match_fits(const struct tap_match *match, const struct core_json_tree *document) {
    MUST(match->field.len > 0);
    bool is_tree = document->kind == CORE_JSON_OBJECT;
    return is_tree && field_fits(document, match->field, match->value);
}
