/* normalize/decode_json.c: JSON records of Zeek, Snort and Suricata: one object a line, flattened to dotted names.
 *
 * A plan is guessed (the one used last), and the record read straight into its columns; keys mostly come in the same
 * order, so the column that came next the last time is compared before anything is hashed. As long as members are the
 * expected ones with plain scalars, nothing is called for them at all: members_follow(). A key the plan does not know waits aside and
 * makes the plan grow once at the end. When the record turns out to be another log's, it is read again with that plan.
 * Which log it is: `_path` or `_stream`, else a wrapping key ({"conn":{…}}), else the file's name; which product: the
 * input's type, else the keys that only one product writes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/json_plain.h"
#include "normalize/snort_internal.h"

#include <stdlib.h>

#define KEY_BYTES_MAX 512
#define EVENT_TYPE_WITHIN 512 /* bytes of a line in which event_type is looked for ahead of reading it */
#define DEPTH_MAX 66

/* A value whose key the plan does not have yet. */
struct pending {
    struct core_span name;
    struct value value;
};

/* An array being read: its items lie in `items` from start on. */
struct array_frame {
    size_t start;
};

struct json_decode {
    struct normalize_worker *worker;
    struct core_json_reader *reader;
    bool is_yajl_alone; /* the quick reader is not asked */
    struct plan *plan;
    struct core_span line;
    const char *line_end;
    bool is_ascii;
    struct core_span name; /* of the field being read: in the line, in key, or the plan's */
    uint16_t column;       /* of that, if it was expected and is a scalar's; or COLUMN_NONE */
    char key[KEY_BYTES_MAX];
    size_t ends[DEPTH_MAX]; /* length of the name outside each open object */
    size_t depth;           /* open objects */
    uint16_t last;          /* the column filled last; decoded_len at the beginning */
    struct pending *pending;
    size_t pending_len;
    size_t pending_cap;
    unsigned array_depth; /* >0: inside an array */
    struct value *items;  /* of the array at depth 1 */
    size_t items_len;
    size_t items_cap;
    char *nested; /* text of an object or array inside an array, as JSON */
    size_t nested_len;
    size_t nested_cap;
    bool nested_comma;
    unsigned nested_objects;
};

/* ---- expected keys -------------------------------------------------------------------------------------------------- */

void json_key_make(struct json_key *key, struct core_span name) {
    size_t len = name.len + 3;
    key->mask = UINT32_MAX;
    if (name.ptr == NULL || len > JSON_KEY_BYTES ||
        core_json_run_end(name.ptr, name.ptr + name.len) != name.ptr + name.len) {
        return;
    }
    key->text[0] = '"';
    memcpy(key->text + 1, name.ptr, name.len);
    memcpy(key->text + 1 + name.len, "\":", 2);
    key->len = (uint16_t)len;
    key->mask = UINT32_MAX >> (JSON_KEY_BYTES - len);
}

/* Does the key stand at pos, with its quotes and colon? Shape: JSON_KEY_BYTES may be read there. */
NORMALIZE_INLINE bool key_is_at(const struct json_key *key, const char *pos) {
    return (core_bytes_same32(pos, key->text) & key->mask) == key->mask;
}

/* The expected column whose key stands at pos, or COLUMN_NONE. */
NORMALIZE_INLINE uint16_t column_follows(struct json_key *keys, uint16_t last, const char *pos) {
    uint16_t column = keys[last].next;
    if (key_is_at(&keys[column], pos)) {
        return column;
    }
    column = keys[last].other;
    if (!key_is_at(&keys[column], pos)) {
        return COLUMN_NONE;
    }
    keys[last].other = keys[last].next;
    keys[last].next = column;
    return column;
}

/* ---- where values go -------------------------------------------------------------------------------------------------- */

NORMALIZE_CLONES static bool is_ascii(struct core_span text) {
    size_t i = 0;
    uint64_t high[8] = {0};
    for (; i + sizeof(high) <= text.len; i += sizeof(high)) {
        uint64_t words[8];
        memcpy(words, text.ptr + i, sizeof(words));
        for (size_t w = 0; w < 8; w++) {
            high[w] |= words[w];
        }
    }
    for (size_t w = 1; w < 8; w++) {
        high[0] |= high[w];
    }
    for (; i < text.len; i++) {
        high[0] |= (uint64_t)(unsigned char)text.ptr[i];
    }
    return (high[0] & UINT64_C(0x8080808080808080)) == 0;
}

static inline bool is_in_line(const struct json_decode *json, struct core_span text) {
    return (uintptr_t)text.ptr - (uintptr_t)json->line.ptr < json->line.len;
}

/* Texts that stand in the line as they are live as long as the batch; unescaped ones must be copied. */
static inline struct value string_keep(struct json_decode *json, struct core_span text) {
    if (!is_in_line(json, text)) {
        return value_copy(json->worker, text);
    }
    return value_roomy(value_of(json->is_ascii ? VALUE_PLAIN : VALUE_TEXT, text.ptr, text.len), json->line_end);
}

static bool pending_add(struct json_decode *json, struct core_span name, struct value value) {
    if (json->pending_len == json->pending_cap) {
        if (json->pending_cap >= COLUMNS_MAX) {
            return record_refuse(json->worker, "the record has more than %d fields", COLUMNS_MAX);
        }
        json->pending_cap = json->pending_cap == 0 ? 64 : json->pending_cap * 2;
        json->pending = realloc(json->pending, json->pending_cap * sizeof(*json->pending));
        MUST(json->pending != NULL);
    }
    struct value copy = value_copy(json->worker, name);
    if (copy.kind == VALUE_NONE) {
        return false;
    }
    json->pending[json->pending_len++] = (struct pending){.name = {copy.ptr, copy.len}, .value = value};
    return true;
}

/* The column of a name that is not the expected one. What came behind the last column this time is expected next time. */
static uint16_t column_find(struct json_decode *json) {
    const struct plan *plan = json->plan;
    struct json_key *last = &plan->keys[json->last];
    uint16_t column = plan_column(plan, json->name);
    if (column == COLUMN_NONE || column >= plan->decoded_len) {
        return COLUMN_NONE;
    }
    if (last->next != column) {
        last->other = last->next;
        last->next = column;
    }
    return column;
}

/* A whole value of the field whose name was read. */
static inline bool field_put(struct json_decode *json, struct value value) {
    if (json->worker->reason[0] != '\0') {
        return false;
    }
    const struct plan *plan = json->plan;
    uint16_t column = json->column;
    if (column == COLUMN_NONE) {
        column = plan->keys[json->last].next;
        if (column >= plan->decoded_len || !text_is_same(plan->columns[column].name, json->name)) {
            column = column_find(json);
        }
        if (column == COLUMN_NONE) {
            return pending_add(json, json->name, value);
        }
    }
    json->last = column;
    json->worker->columns[column] = value;
    return true;
}

/* ---- arrays -------------------------------------------------------------------------------------------------------------- */

static bool item_add(struct json_decode *json, struct value value) {
    if (json->items_len == json->items_cap) {
        json->items_cap = json->items_cap == 0 ? 256 : json->items_cap * 2;
        json->items = realloc(json->items, json->items_cap * sizeof(*json->items));
        MUST(json->items != NULL); /* at most one item for two bytes of a line of 1 MiB */
    }
    json->items[json->items_len++] = value;
    return json->worker->reason[0] == '\0';
}

/* Text of what is nested inside an array: written again as JSON, because its strings came unescaped. */
static void nested_put(struct json_decode *json, struct value value, bool is_key) {
    size_t room = (size_t)value.len * 6 + 16;
    if (json->nested_cap - json->nested_len < room) {
        json->nested_cap = json->nested_cap * 2 + room;
        json->nested = realloc(json->nested, json->nested_cap);
        MUST(json->nested != NULL);
    }
    struct core_buf buf = {
        .start = json->nested, .pos = json->nested + json->nested_len, .end = json->nested + json->nested_cap};
    if (json->nested_comma) {
        core_buf_char(&buf, ',');
    }
    value_emit(&buf, value);
    if (is_key) {
        core_buf_char(&buf, ':');
    }
    json->nested_comma = !is_key;
    MUST(!buf.is_full);
    json->nested_len = core_buf_written(&buf).len;
}

static void nested_bracket(struct json_decode *json, const char *bracket, bool is_start) {
    if (!is_start) {
        json->nested_comma = false;
    }
    nested_put(json, value_of(VALUE_RAW, bracket, 1), false);
    json->nested_comma = !is_start;
}

static bool is_nested(const struct json_decode *json) {
    return json->array_depth > 1 || json->nested_objects > 0;
}

static bool nested_ends(struct json_decode *json) {
    if (is_nested(json)) {
        return true;
    }
    struct value text = value_copy(json->worker, (struct core_span){json->nested, json->nested_len});
    text.kind = text.kind == VALUE_NONE ? VALUE_NONE : VALUE_RAW;
    json->nested_len = 0;
    json->nested_comma = false;
    return item_add(json, text);
}

static bool array_ends(struct json_decode *json) {
    struct value *items = scratch_items(json->worker, json->items_len);
    if (items == NULL) {
        return false;
    }
    if (json->items_len > 0) {
        memcpy(items, json->items, json->items_len * sizeof(*items));
    }
    struct value list = {.items = items, .len = (uint32_t)json->items_len, .kind = VALUE_LIST};
    json->items_len = 0;
    return field_put(json, list);
}

/* ---- what the parser calls ----------------------------------------------------------------------------------------------- */

static inline bool scalar(struct json_decode *json, struct value value) {
    if (json->array_depth == 0) {
        return field_put(json, value);
    }
    if (is_nested(json)) {
        nested_put(json, value, false);
        return true;
    }
    return item_add(json, value);
}

static bool on_null(void *ctx) {
    struct json_decode *json = ctx;
    if (is_nested(json)) {
        nested_put(json, value_of(VALUE_RAW, "null", 4), false);
        return true;
    }
    if (json->array_depth > 0) {
        return item_add(json, value_none());
    }
    return true; /* the same as a field that is not there */
}

static bool on_bool(void *ctx, bool value) {
    return scalar(ctx, value ? value_of(VALUE_RAW, "true", 4) : value_of(VALUE_RAW, "false", 5));
}

/* The value of an expected key, as it stands in the line. */
static inline bool expected_put(struct json_decode *json, struct value value) {
    json->last = json->column;
    json->worker->columns[json->column] = value_roomy(value, json->line_end);
    return true;
}

static __attribute__((noinline)) bool number_other(struct json_decode *json, struct core_span text) {
    if (is_in_line(json, text)) {
        return scalar(json, value_roomy(value_number(text.ptr, text.len), json->line_end));
    }
    struct value value = value_copy(json->worker, text);
    return scalar(json, value.kind == VALUE_NONE ? value : value_number(value.ptr, value.len));
}

static bool on_number(void *ctx, struct core_span text) {
    struct json_decode *json = ctx;
    bool is_expected = json->column != COLUMN_NONE && is_in_line(json, text);
    return is_expected ? expected_put(json, value_number(text.ptr, text.len)) : number_other(json, text);
}

static __attribute__((noinline)) bool string_other(struct json_decode *json, struct core_span text) {
    return scalar(json, string_keep(json, text));
}

static bool on_string(void *ctx, struct core_span text) {
    struct json_decode *json = ctx;
    bool is_expected = json->column != COLUMN_NONE && is_in_line(json, text);
    enum value_kind kind = json->is_ascii ? VALUE_PLAIN : VALUE_TEXT;
    return is_expected ? expected_put(json, value_of(kind, text.ptr, text.len)) : string_other(json, text);
}

static __attribute__((noinline)) bool key_other(struct json_decode *json, struct core_span text) {
    json->column = COLUMN_NONE;
    size_t at = json->ends[json->depth];
    if (at + text.len + 1 > KEY_BYTES_MAX) {
        return record_refuse(json->worker, "a field name of more than %d bytes", KEY_BYTES_MAX);
    }
    if (at == 0 && is_in_line(json, text)) {
        json->name = text;
        return true;
    }
    if (at > 0) {
        json->key[at++] = '.';
    }
    memcpy(json->key + at, text.ptr, text.len);
    json->name = (struct core_span){json->key, at + text.len};
    return true;
}

static bool on_key(void *ctx, struct core_span text) {
    struct json_decode *json = ctx;
    if (json->array_depth > 0) {
        nested_put(json, value_of(VALUE_TEXT, text.ptr, text.len), true);
        return true;
    }
    if (json->depth == 1 && is_in_line(json, text) && json->line_end - text.ptr >= JSON_KEY_BYTES) {
        json->column = column_follows(json->plan->keys, json->last, text.ptr - 1);
        if (json->column != COLUMN_NONE) {
            json->name = text;
            return true;
        }
    }
    return key_other(json, text);
}

/* The name becomes the head of the names of an object's members. */
static void object_enter(struct json_decode *json) {
    json->depth++;
    json->ends[json->depth] = json->depth == 1 ? 0 : json->name.len;
    if (json->depth > 1 && json->name.ptr != json->key) {
        memcpy(json->key, json->name.ptr, json->name.len);
    }
}

static bool on_map(void *ctx, bool is_start) {
    struct json_decode *json = ctx;
    if (json->array_depth > 0) {
        if (is_start) {
            nested_bracket(json, "{", true);
            json->nested_objects++;
            return true;
        }
        json->nested_objects--;
        nested_bracket(json, "}", false);
        return nested_ends(json);
    }
    if (is_start) {
        json->column = COLUMN_NONE;
        object_enter(json);
        return true;
    }
    json->name = (struct core_span){json->key, json->ends[json->depth]};
    json->column = COLUMN_NONE;
    json->depth--;
    return true; /* an object without members has no field to keep */
}

static bool on_array(void *ctx, bool is_start) {
    struct json_decode *json = ctx;
    if (is_start) {
        json->column = COLUMN_NONE; /* the items are none of its values */
        if (++json->array_depth == 1) {
            return json->depth > 0 || record_refuse(json->worker, "a JSON array, where an object is a record");
        }
        nested_bracket(json, "[", true);
        return true;
    }
    if (is_nested(json)) {
        json->array_depth--;
        nested_bracket(json, "]", false);
        return nested_ends(json);
    }
    json->array_depth--;
    return array_ends(json);
}

static const struct core_json_calls calls = {on_null, on_bool, on_number, on_string, on_key, on_map, on_array};

struct json_decode *json_decode_new(struct normalize_worker *worker) {
    struct json_decode *json = calloc(1, sizeof(*json));
    MUST(json != NULL);
    json->worker = worker;
    json->reader = core_json_reader_new(&calls, json);
    const char *which = getenv("TAPLINE_JSON"); /* for tests and measurements (docs/adr/0011) */
    json->is_yajl_alone = which != NULL && strcmp(which, "yajl") == 0;
    return json;
}

void json_decode_free(struct json_decode *json) {
    if (json != NULL) {
        core_json_reader_free(json->reader);
        free(json->pending);
        free(json->items);
        free(json->nested);
        free(json);
    }
}

/* ---- plain members ------------------------------------------------------------------------------------------------- */

/* A plain scalar at pos; returns its end, or NULL: it is none, or of a kind that needs a closer look. */
NORMALIZE_INLINE const char *scalar_follows(const char *pos, const char *readable, struct value *out) {
    if (*pos == '"') {
        const char *end = core_json_run_end(pos + 1, readable);
        *out = (struct value){
            .ptr = pos + 1, .len = (uint32_t)(end - pos - 1), .kind = VALUE_PLAIN, .is_number = 0, .is_roomy = 1};
        return end < readable && *end == '"' ? end + 1 : NULL;
    }
    if (*pos == 't' && memcmp(pos, "true", 4) == 0) {
        *out = value_of(VALUE_RAW, "true", 4);
        return pos + 4;
    }
    if (*pos == 'f' && memcmp(pos, "false", 5) == 0) {
        *out = value_of(VALUE_RAW, "false", 5);
        return pos + 5;
    }
    const char *end = core_json_number_end(pos);
    *out = (struct value){.ptr = pos, .len = (uint32_t)(end - pos), .kind = VALUE_RAW, .is_number = 1, .is_roomy = 1};
    return end;
}

#define FOLLOW_ROOM (JSON_KEY_BYTES + 1 + VALUE_ROOM) /* a key, a quote, and what makes a value roomy */
_Static_assert(VALUE_ROOM >= CORE_JSON_STRIDE, "a number is looked at");

/* Read members of the record itself as long as they are the expected ones and plain. Ends at the first that is not, or
 * behind the record. What lies behind the line may be read, but never decides: whatever ends there is left alone. */
static void members_follow(struct json_decode *json, struct core_json_plain *plain) {
    const char *end = plain->end;
    const char *readable = json->line_end;
    const char *pos = plain->pos;
    struct json_key *keys = json->plan->keys;
    struct value *columns = json->worker->columns;
    uint16_t last = json->last;
    while (readable - pos >= FOLLOW_ROOM) {
        uint16_t column = column_follows(keys, last, pos);
        if (column == COLUMN_NONE) {
            break;
        }
        struct value value;
        const char *after = scalar_follows(pos + keys[column].len, readable, &value);
        if (after == NULL || after >= end || (*after != ',' && (*after != '}' || after + 1 != end))) {
            break;
        }
        columns[column] = value;
        last = column;
        pos = after + 1;
        if (*after == '}') {
            plain->depth = 0;
            break;
        }
    }
    plain->pos = pos;
    json->last = last;
}

/* ---- one record --------------------------------------------------------------------------------------------------------------- */

static void read_begin(struct json_decode *json) {
    json->name = (struct core_span){json->key, 0};
    json->column = COLUMN_NONE;
    json->depth = 0;
    json->ends[0] = 0;
    json->last = json->plan->decoded_len;
    json->pending_len = 0;
    json->array_depth = 0;
    json->items_len = 0;
    json->nested_len = 0;
    json->nested_comma = false;
    json->nested_objects = 0;
    memset(json->worker->columns, 0, json->plan->columns_len * sizeof(*json->worker->columns));
}

/* False: it is not plain; read_begin() and read it otherwise. */
static bool plain_read(struct json_decode *json) {
    struct core_span line = json->line;
    struct core_json_plain plain = {.pos = line.ptr, .end = line.ptr + line.len, .calls = &calls, .ctx = json};
    if (!core_json_plain_begin(&plain)) {
        return false;
    }
    while (plain.depth > 0) {
        members_follow(json, &plain);
        if (plain.depth > 0 && !core_json_plain_member(&plain)) {
            return false;
        }
    }
    return true;
}

/* Read the line into the plan's columns and `pending`. */
static bool read_into(struct json_decode *json, struct plan *plan, struct core_span line) {
    struct normalize_worker *worker = json->worker;
    struct core_fail fail = {0};
    size_t scratch_used = worker->scratch.used;
    json->plan = plan;
    json->line = line;
    json->line_end = line.ptr >= worker->line && line.ptr <= worker->line_end ? worker->line_end : line.ptr + line.len;
    json->is_ascii = true; /* in what the quick reader takes */
    read_begin(json);
    if (!json->is_yajl_alone && plain_read(json)) {
        return true;
    }
    json->is_ascii = is_ascii(line);
    worker->reason[0] = '\0'; /* a call that refuses will do so again */
    worker->scratch.used = scratch_used;
    read_begin(json);
    if (core_json_read(json->reader, line, &fail) == CORE_OK) {
        return true;
    }
    return worker->reason[0] != '\0' ? false : record_refuse(worker, "no JSON: %s", fail.text);
}

static struct value pending_find(const struct json_decode *json, const char *name) {
    for (size_t i = 0; i < json->pending_len; i++) {
        if (core_span_is(json->pending[i].name, name)) {
            return json->pending[i].value;
        }
    }
    return value_none();
}

/* A field by which records are told apart: in the plan, or still aside. */
static struct value telling(const struct json_decode *json, enum known_column known, const char *name) {
    uint16_t column = json->plan->known_columns[known];
    if (column != COLUMN_NONE) {
        return json->worker->columns[column];
    }
    return json->pending_len == 0 ? value_none() : pending_find(json, name);
}

static struct core_span product_of(const struct json_decode *json, const struct core_origin *origin) {
    switch (origin == NULL ? CORE_ORIGIN_AUTO : origin->type) {
    case CORE_ORIGIN_ZEEK:
        return CORE_SPAN("zeek");
    case CORE_ORIGIN_SNORT:
        return CORE_SPAN("snort");
    case CORE_ORIGIN_SURICATA:
        return CORE_SPAN("suricata");
    case CORE_ORIGIN_TAPLINE:
        return json->plan->maps->has_own ? CORE_SPAN("tapline") : CORE_SPAN("zeek");
    case CORE_ORIGIN_AUTO:
    default:
        break;
    }
    bool has_stamp = telling(json, COLUMN_TIMESTAMP, "timestamp").kind != VALUE_NONE ||
                     telling(json, COLUMN_SECONDS, "seconds").kind != VALUE_NONE;
    if (!has_stamp || telling(json, COLUMN_TS, "ts").kind != VALUE_NONE) {
        return CORE_SPAN("zeek");
    }
    if (telling(json, COLUMN_EVENT_TYPE, "event_type").kind != VALUE_NONE) {
        return CORE_SPAN("suricata");
    }
    struct value stamp = telling(json, COLUMN_TIMESTAMP, "timestamp");
    bool is_snort = telling(json, COLUMN_RULE, "rule").kind != VALUE_NONE ||
                    (value_is_string(stamp) && snort_stamp_len(value_span(stamp)) > 0) ||
                    telling(json, COLUMN_SID, "sid").kind != VALUE_NONE ||
                    telling(json, COLUMN_PKT_NUM, "pkt_num").kind != VALUE_NONE;
    return is_snort ? CORE_SPAN("snort") : CORE_SPAN("zeek");
}

static struct core_span log_of(const struct json_decode *json, struct core_span product, struct core_span wrapper,
                               const struct stream_state *state) {
    if (core_span_is(product, "snort")) {
        return CORE_SPAN("alert");
    }
    if (core_span_is(product, "suricata")) {
        struct value type = telling(json, COLUMN_EVENT_TYPE, "event_type");
        bool is_name = value_is_string(type) && type.len > 0 && type.len < KEY_BYTES_MAX;
        return is_name ? value_span(type) : CORE_SPAN("eve");
    }
    struct value path = telling(json, COLUMN_PATH, "_path");
    if (!value_is_string(path) || path.len == 0) {
        path = telling(json, COLUMN_STREAM, "_stream");
    }
    if (value_is_string(path) && path.len > 0 && path.len < KEY_BYTES_MAX) {
        const char *slash = memrchr(path.ptr, '/', path.len); /* a log written to /dev/stdout says so */
        size_t skip = slash == NULL ? 0 : (size_t)(slash - path.ptr) + 1;
        return (struct core_span){path.ptr + skip, path.len - skip};
    }
    return wrapper.len > 0 ? wrapper : core_span_of(state->name);
}

/* Pending fields become columns. */
static bool settle(struct json_decode *json, struct stream_state *state) {
    struct normalize_worker *worker = json->worker;
    if (json->pending_len == 0) {
        return true;
    }
    struct column *more = scratch_alloc(worker, json->pending_len * sizeof(*more));
    if (more == NULL) {
        return false;
    }
    size_t len = 0;
    for (size_t i = 0; i < json->pending_len; i++) {
        bool is_new = true;
        for (size_t j = 0; j < len && is_new; j++) {
            is_new = !core_span_eq(more[j].name, json->pending[i].name);
        }
        if (is_new) {
            more[len++] = (struct column){.name = json->pending[i].name, .declared = {TYPE_ANY, false}};
        }
    }
    struct plan *plan = stream_plan_grow(worker, state, more, len);
    if (plan == NULL) {
        return false;
    }
    return read_into(json, plan, json->line) &&
           (json->pending_len == 0 ||
            settle(json, state)); /* only after starting again with this record's own fields */
}

/* {"conn":{…}}: the key and what stands inside. */
static bool unwrap(struct core_span line, struct core_span *key, struct core_span *inside) {
    size_t i = 1;
    size_t end = line.len;
    while (i < line.len && line.ptr[i] == ' ') {
        i++;
    }
    if (i >= line.len || line.ptr[i] != '"') {
        return false;
    }
    const char *quote = core_span_chr((struct core_span){line.ptr + i + 1, line.len - i - 1}, '"');
    if (quote == NULL) {
        return false;
    }
    *key = (struct core_span){line.ptr + i + 1, (size_t)(quote - line.ptr) - i - 1};
    for (i = (size_t)(quote - line.ptr) + 1; i < line.len && (line.ptr[i] == ' ' || line.ptr[i] == ':'); i++) {
    }
    while (end > 0 && line.ptr[end - 1] == ' ') {
        end--;
    }
    if (i >= line.len || line.ptr[i] != '{' || end < i + 2 || line.ptr[end - 1] != '}' || core_span_is(*key, "id")) {
        return false;
    }
    for (end--; end > 0 && line.ptr[end - 1] == ' '; end--) {
    }
    *inside = (struct core_span){line.ptr + i, end - i};
    return end > i + 1 && line.ptr[end - 1] == '}';
}

/* A file of Suricata's mixes its event types: which one a line is stands near its beginning, mostly. Another place of the
 * same text only costs a second reading. */
static struct core_span event_type_peek(struct core_span line) {
    static const char key[] = "\"event_type\":\"";
    size_t len = line.len < EVENT_TYPE_WITHIN ? line.len : EVENT_TYPE_WITHIN;
    const char *at = memmem(line.ptr, len, key, sizeof(key) - 1);
    if (at == NULL) {
        return (struct core_span){NULL, 0};
    }
    at += sizeof(key) - 1;
    const char *end = memchr(at, '"', (size_t)(line.ptr + len - at));
    return (struct core_span){at, end == NULL ? 0 : (size_t)(end - at)};
}

/* The plan guessed for a line: the last JSON one, the one of its event type, or the file name's. */
static struct plan *plan_guess(struct normalize_worker *worker, struct stream_state *state, struct core_span line) {
    for (size_t i = 0; i < state->plans_len; i++) {
        if (state->plans[i]->may_grow) {
            struct plan_want want = {.product = state->plans[i]->product, .log = state->plans[i]->log};
            if (core_span_is(want.product, "suricata")) {
                struct core_span type = event_type_peek(line);
                want.log = type.len > 0 ? type : want.log;
            }
            return i == 0 && core_span_eq(want.log, state->plans[0]->log) ? state->plans[0]
                                                                          : stream_plan(worker, state, &want);
        }
    }
    struct plan_want want = {.product = CORE_SPAN("zeek"), .log = core_span_of(state->name)};
    return stream_plan(worker, state, &want);
}

/* Read with a guess, find out what it is, read again if the guess was wrong. */
static bool decode_object(struct json_decode *json, struct stream_state *state, struct core_span line,
                          struct core_span wrapper, struct plan **plan) {
    struct normalize_worker *worker = json->worker;
    struct plan *guess = plan_guess(worker, state, line);
    if (guess == NULL || !read_into(json, guess, line)) {
        return false;
    }
    struct core_span product = product_of(json, state->stream->origin);
    struct core_span log = log_of(json, product, wrapper, state);
    if (!core_span_eq(guess->product, product) || !core_span_eq(guess->log, log)) {
        struct plan_want want = {.product = product, .log = log};
        guess = stream_plan(worker, state, &want);
        if (guess == NULL || !read_into(json, guess, line)) {
            return false;
        }
    }
    if (!settle(json, state)) {
        return false;
    }
    *plan = state->plans[0];
    return true;
}

bool json_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span line,
                 struct plan **plan) {
    struct json_decode *json = worker->json;
    struct core_span key;
    struct core_span inside;
    struct core_span none = {NULL, 0};
    if (unwrap(line, &key, &inside)) {
        if (decode_object(json, state, inside, key, plan)) {
            return true;
        }
        worker->reason[0] = '\0'; /* it was no wrapper */
    }
    bool is_native_snort = core_span_starts(line, CORE_SPAN("{ \"")) && core_span_chr(line, '\\') != NULL;
    struct core_span repaired;
    if (is_native_snort && json_repair_snort(worker, line, &repaired)) {
        return decode_object(json, state, repaired, none, plan);
    }
    if (decode_object(json, state, line, none, plan)) {
        return true;
    }
    char reason[sizeof(worker->reason)];
    memcpy(reason, worker->reason, sizeof(reason));
    worker->reason[0] = '\0';
    if (json_repair_snort(worker, line, &repaired) && decode_object(json, state, repaired, none, plan)) {
        return true;
    }
    memcpy(worker->reason, reason, sizeof(reason));
    return false;
}
