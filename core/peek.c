/* core/peek.c: finds "@timestamp" and "event.dataset" in a document by walking over its members, not into them.
 *
 * No tree, no copy: a string is skipped to its closing quote, a nested value to its closing bracket. Our own documents begin
 * with "@timestamp", "ecs", "event", so little of them is looked at. It is no parser: what it steps over may be wrong in ways
 * it does not see; who takes the document sees them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/peek.h"

#include "core/json_plain.h"

/* Where looking stands. */
struct looking {
    const char *pos;
    const char *end;
};

static void blanks_skip(struct looking *at) {
    while (at->pos < at->end && core_is_blank(*at->pos)) {
        at->pos++;
    }
}

static bool byte_take(struct looking *at, char byte) {
    blanks_skip(at);
    if (at->pos == at->end || *at->pos != byte) {
        return false;
    }
    at->pos++;
    return true;
}

/* Behind the opening quote; ends behind the closing one. */
static bool string_skip(struct looking *at, struct core_span *out) {
    const char *start = at->pos;
    for (;;) {
        at->pos = core_json_run_end(at->pos, at->end);
        if (at->pos == at->end) {
            return false;
        }
        if (*at->pos == '"') {
            break;
        }
        at->pos += *at->pos == '\\' && at->end - at->pos > 1 ? 2 : 1;
    }
    *out = (struct core_span){start, (size_t)(at->pos - start)};
    at->pos++;
    return true;
}

/* From an opening bracket to behind the one that closes it. */
static bool nested_skip(struct looking *at) {
    unsigned depth = 0;
    struct core_span text;
    while (at->pos < at->end) {
        char c = *at->pos++;
        if (c == '"') {
            if (!string_skip(at, &text)) {
                return false;
            }
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && --depth == 0) {
            return true;
        }
    }
    return false;
}

/* Any value. *text gets it if it is a string, else it is left alone. */
static bool value_skip(struct looking *at, struct core_span *text) {
    blanks_skip(at);
    if (at->pos == at->end) {
        return false;
    }
    if (*at->pos == '"') {
        at->pos++;
        return string_skip(at, text);
    }
    if (*at->pos == '{' || *at->pos == '[') {
        return nested_skip(at);
    }
    const char *start = at->pos;
    while (at->pos < at->end && *at->pos != ',' && *at->pos != '}' && *at->pos != ']' && !core_is_blank(*at->pos)) {
        at->pos++;
    }
    return at->pos > start;
}

/* The next member's key, and behind its colon. *is_end: there is none, and the object's bracket is behind us. */
static bool key_take(struct looking *at, bool is_first, struct core_span *key, bool *is_end) {
    *is_end = byte_take(at, '}');
    if (*is_end) {
        return true;
    }
    if (!is_first && !byte_take(at, ',')) {
        return false;
    }
    return byte_take(at, '"') && string_skip(at, key) && byte_take(at, ':');
}

/* The value of the member "event": its "dataset", if it is an object that has one. */
static bool event_look(struct looking *at, struct core_span *dataset) {
    struct core_span key;
    struct core_span unused = {0};
    bool is_end = false;
    blanks_skip(at);
    if (at->pos == at->end || *at->pos != '{') {
        return value_skip(at, &unused);
    }
    at->pos++;
    for (bool is_first = true;; is_first = false) {
        if (!key_take(at, is_first, &key, &is_end) || is_end) {
            return is_end;
        }
        bool is_it = core_span_eq(key, CORE_SPAN("dataset")) && dataset->ptr == NULL;
        if (!value_skip(at, is_it ? dataset : &unused)) {
            return false;
        }
    }
}

bool core_peek(struct core_span doc, struct core_peek *out) {
    MUST(out != NULL);
    struct looking at = {doc.ptr, doc.ptr + doc.len};
    struct core_span key;
    struct core_span unused = {0};
    bool is_end = false;
    *out = (struct core_peek){0};
    if (doc.len == 0 || !byte_take(&at, '{')) {
        return false;
    }
    for (bool is_first = true; out->timestamp.ptr == NULL || out->dataset.ptr == NULL; is_first = false) {
        if (!key_take(&at, is_first, &key, &is_end) || is_end) {
            return is_end;
        }
        bool is_known = true;
        if (core_span_eq(key, CORE_SPAN("event"))) {
            is_known = event_look(&at, &out->dataset);
        } else if (core_span_eq(key, CORE_SPAN("@timestamp")) && out->timestamp.ptr == NULL) {
            is_known = value_skip(&at, &out->timestamp);
        } else if (core_span_eq(key, CORE_SPAN("event.dataset")) && out->dataset.ptr == NULL) {
            is_known = value_skip(&at, &out->dataset);
        } else {
            is_known = value_skip(&at, &unused);
        }
        if (!is_known) {
            return false;
        }
    }
    return true;
}

bool core_peek_has(struct core_span doc, struct core_span prefix) {
    MUST(prefix.len > 0);
    struct looking at = {doc.ptr, doc.ptr + doc.len};
    struct core_span key;
    struct core_span unused;
    bool is_end = false;
    if (doc.len == 0 || !byte_take(&at, '{')) {
        return false;
    }
    for (bool is_first = true; key_take(&at, is_first, &key, &is_end) && !is_end; is_first = false) {
        if (core_span_starts(key, prefix)) {
            return true;
        }
        if (!value_skip(&at, &unused)) {
            return false;
        }
    }
    return false;
}
