/* enrich/document.c: members merged into a document that is written already.
 *
 * A document is one line of JSON whose members are sorted. It is not parsed: a scanner passes over whole values (strings and
 * brackets are all it knows), looks for the few names that are to be added, and copies all else as it stands. Where a name is
 * there already its object is merged with ours, member by member; a value that is there becomes a list, or a longer one, or is
 * replaced, as the leaf says. A name is never written twice, and ours stand where they belong by their order.
 *
 * Thread: any; nothing here has a state.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#define GROUPS_MAX 24 /* different names of ours in one object */

/* ---- passing over JSON ------------------------------------------------------------------------------------------------------ */

/* Where the document is read. */
struct scan {
    const char *pos;
    const char *end;
};

/* Behind the string that begins here; false: it does not end. */
static bool skip_string(struct scan *scan) {
    const char *from = scan->pos + 1;
    while (from < scan->end) {
        const char *quote = memchr(from, '"', (size_t)(scan->end - from));
        if (quote == NULL) {
            return false;
        }
        const char *back = quote;
        while (back[-1] == '\\') { /* ends at the opening quote at the latest */
            back--;
        }
        if ((quote - back) % 2 == 0) {
            scan->pos = quote + 1;
            return true;
        }
        from = quote + 1;
    }
    return false;
}

/* Behind the object or list that begins here. */
static bool skip_nested(struct scan *scan) {
    unsigned depth = 0;
    while (scan->pos < scan->end) {
        char c = *scan->pos;
        if (c == '"') {
            if (!skip_string(scan)) {
                return false;
            }
            continue;
        }
        scan->pos++;
        if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && --depth == 0) {
            return true;
        }
    }
    return false;
}

/* Of a number, true, false or null. Blanks are none of it: a document of ours has them in texts only, and one that has them
 * elsewhere is refused. */
static bool is_bare(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'E';
}

static bool skip_value(struct scan *scan, struct core_span *value) {
    const char *start = scan->pos;
    if (start == scan->end) {
        return false;
    }
    bool is_whole = true;
    if (*start == '"') {
        is_whole = skip_string(scan);
    } else if (*start == '{' || *start == '[') {
        is_whole = skip_nested(scan);
    } else {
        while (scan->pos < scan->end && is_bare(*scan->pos)) {
            scan->pos++;
        }
    }
    *value = (struct core_span){start, (size_t)(scan->pos - start)};
    return is_whole && value->len > 0;
}

/* One of an object's members: name without quotes. */
struct member {
    struct core_span name;
    struct core_span value;
};

/* Begin an object ('{') or a list ('['). */
static bool scan_open(struct scan *scan, struct core_span text, char open) {
    *scan = (struct scan){text.ptr, text.ptr + text.len};
    if (text.len < 2 || *scan->pos != open) {
        return false;
    }
    scan->pos++;
    return true;
}

enum step { STEP_MORE, STEP_END, STEP_BROKEN };

static enum step scan_comma(struct scan *scan, char close) {
    if (scan->pos < scan->end && *scan->pos == ',') {
        scan->pos++;
    }
    if (scan->pos == scan->end) {
        return STEP_BROKEN;
    }
    return *scan->pos == close ? STEP_END : STEP_MORE;
}

static enum step member_next(struct scan *scan, struct member *member) {
    enum step step = scan_comma(scan, '}');
    if (step != STEP_MORE) {
        return step;
    }
    const char *start = scan->pos;
    if (*start != '"' || !skip_string(scan) || scan->pos == scan->end || *scan->pos != ':') {
        return STEP_BROKEN;
    }
    member->name = (struct core_span){start + 1, (size_t)(scan->pos - start) - 2};
    scan->pos++;
    return skip_value(scan, &member->value) ? STEP_MORE : STEP_BROKEN;
}

static enum step item_next(struct scan *scan, struct core_span *item) {
    enum step step = scan_comma(scan, ']');
    if (step != STEP_MORE) {
        return step;
    }
    return skip_value(scan, item) ? STEP_MORE : STEP_BROKEN;
}

/* ---- merging ---------------------------------------------------------------------------------------------------------------- */

/* Leaves that have the same name in one object: a leaf, or what goes into one inner object. */
struct group {
    struct core_span name;
    const struct document_leaf *leaves;
    size_t leaves_len;
    size_t path_at;         /* where in the leaves' paths the rest begins; past their end: it is a leaf */
    struct core_span there; /* what the object has by this name; len 0: nothing */
    bool is_written;
};

/* The list that is open in a merge. */
struct groups {
    struct group group[GROUPS_MAX];
    size_t len;
};

static bool groups_make(struct groups *groups, const struct document_leaf *leaves, size_t len, size_t path_at) {
    groups->len = 0;
    for (size_t i = 0; i < len; i++) {
        const char *name = leaves[i].path + path_at;
        struct core_span span = {name, strcspn(name, ".")};
        struct group *last = groups->len == 0 ? NULL : &groups->group[groups->len - 1];
        if (last != NULL && core_span_eq(last->name, span)) {
            last->leaves_len++;
            continue;
        }
        if (groups->len == GROUPS_MAX) {
            return false;
        }
        groups->group[groups->len++] =
            (struct group){.name = span, .leaves = &leaves[i], .leaves_len = 1, .path_at = path_at + span.len + 1};
    }
    return true;
}

static bool group_is_leaf(const struct group *group) {
    return group->leaves_len == 1 && group->leaves->path[group->path_at - 1] == '\0';
}

static struct group *group_of(struct groups *groups, struct core_span name) {
    for (size_t i = 0; i < groups->len; i++) {
        if (core_span_eq(groups->group[i].name, name)) {
            return &groups->group[i];
        }
    }
    return NULL;
}

/* The names that are there already, wherever they stand. */
static bool groups_look(struct groups *groups, struct core_span object) {
    struct scan scan;
    struct member member;
    if (object.len == 0) {
        return true;
    }
    if (!scan_open(&scan, object, '{')) {
        return false;
    }
    enum step step;
    while ((step = member_next(&scan, &member)) == STEP_MORE) {
        struct group *group = group_of(groups, member.name);
        if (group != NULL) {
            group->there = member.value;
        }
    }
    return step == STEP_END && scan.pos + 1 == scan.end;
}

static bool list_has(struct core_span list, struct core_span wanted, bool *has) {
    struct scan scan;
    struct core_span item;
    enum step step;
    *has = false;
    if (!scan_open(&scan, list, '[')) {
        return false;
    }
    while ((step = item_next(&scan, &item)) == STEP_MORE) {
        *has = *has || core_span_eq(item, wanted);
    }
    return step == STEP_END;
}

/* Ours behind what is there: a list, or one value that becomes a list. */
static bool list_append(struct core_buf *buf, struct core_span there, struct core_span ours) {
    struct scan scan;
    struct core_span item;
    enum step step;
    bool is_list = there.ptr[0] == '[';
    if (!scan_open(&scan, ours, '[')) {
        return false;
    }
    core_buf_char(buf, '[');
    if (is_list) {
        core_buf_put(buf, there.ptr + 1, there.len - 2);
    } else {
        core_buf_span(buf, there);
    }
    bool is_first = is_list && there.len <= 2;
    while ((step = item_next(&scan, &item)) == STEP_MORE) {
        bool has = !is_list && core_span_eq(there, item);
        if (is_list && !list_has(there, item, &has)) {
            return false;
        }
        if (!has) {
            core_buf_put(buf, ",", !is_first);
            core_buf_span(buf, item);
            is_first = false;
        }
    }
    core_buf_char(buf, ']');
    return step == STEP_END;
}

static bool object_merge(struct core_buf *buf, struct core_span object, const struct document_leaf *leaves, size_t len,
                         size_t path_at);

static void name_write(struct core_buf *buf, struct core_span name, bool *is_first) {
    core_buf_put(buf, ",", !*is_first);
    core_buf_char(buf, '"');
    core_buf_span(buf, name);
    core_buf_put(buf, "\":", 2);
    *is_first = false;
}

static bool group_write(struct core_buf *buf, struct group *group, bool *is_first) {
    group->is_written = true;
    name_write(buf, group->name, is_first);
    if (!group_is_leaf(group)) {
        bool is_object = group->there.len == 0 || group->there.ptr[0] == '{';
        if (!is_object) { /* a value where we have an object: it stays, ours has no place */
            core_buf_span(buf, group->there);
            return true;
        }
        return object_merge(buf, group->there, group->leaves, group->leaves_len, group->path_at);
    }
    const struct document_leaf *leaf = group->leaves;
    if (group->there.len > 0 && leaf->how == DOCUMENT_APPEND) {
        return list_append(buf, group->there, leaf->json);
    }
    core_buf_span(buf, leaf->json);
    return true;
}

static int names_compare(struct core_span a, struct core_span b) {
    int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

/* Ours that are not there and come before this name; name NULL: all that are left. */
static bool groups_write_before(struct core_buf *buf, struct groups *groups, const struct core_span *name,
                                bool *is_first) {
    for (size_t i = 0; i < groups->len; i++) {
        struct group *group = &groups->group[i];
        bool is_due = group->there.len == 0 && (name == NULL || names_compare(group->name, *name) < 0);
        if (is_due && !group->is_written && !group_write(buf, group, is_first)) {
            return false;
        }
    }
    return true;
}

/* The object with the leaves in it. object len 0: there is none yet. Goes as deep as the leaves' paths. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static bool object_merge(struct core_buf *buf, struct core_span object, const struct document_leaf *leaves, size_t len,
                         size_t path_at) {
    struct groups groups;
    struct scan scan;
    struct member member;
    bool is_first = true;
    if (!groups_make(&groups, leaves, len, path_at) || !groups_look(&groups, object)) {
        return false;
    }
    core_buf_char(buf, '{');
    if (object.len > 0 && scan_open(&scan, object, '{')) {
        while (member_next(&scan, &member) == STEP_MORE) {
            struct group *group = group_of(&groups, member.name);
            if (!groups_write_before(buf, &groups, &member.name, &is_first)) {
                return false;
            }
            if (group == NULL) {
                name_write(buf, member.name, &is_first);
                core_buf_span(buf, member.value);
            } else if (!group->is_written && !group_write(buf, group, &is_first)) {
                return false;
            }
        }
    }
    if (!groups_write_before(buf, &groups, NULL, &is_first)) {
        return false;
    }
    core_buf_char(buf, '}');
    return true;
}

bool document_merge(struct core_buf *buf, struct core_span doc, const struct document_leaf *leaves, size_t len) {
    for (size_t i = 1; i < len; i++) {
        MUST(strcmp(leaves[i - 1].path, leaves[i].path) < 0);
    }
    return doc.len > 0 && object_merge(buf, doc, leaves, len, 0) && !buf->is_full;
}

struct core_span document_time(struct core_span doc) {
    static const char head[] = "{\"@timestamp\":\"";
    const size_t head_len = sizeof head - 1;
    if (doc.len <= head_len || memcmp(doc.ptr, head, head_len) != 0) {
        return (struct core_span){NULL, 0};
    }
    const char *start = doc.ptr + head_len;
    const char *quote = memchr(start, '"', doc.len - head_len);
    return (struct core_span){start, quote == NULL ? 0 : (size_t)(quote - start)};
}
