/* normalize/plan_fields.c: the fields that the config adds to every document of an input. They come as one JSON object,
 * nested when the config was read, and become constants that no row overrides.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/plan_internal.h"

#include <stdlib.h>

struct fields_walk {
    struct making *making;
    char name[NAME_BYTES_MAX];
    size_t ends[64]; /* length of name outside each object */
    size_t depth;
    size_t key_at;
    struct value items[64];
    size_t items_len;
    bool is_in_array;
    bool is_good;
};

static void fields_put(struct fields_walk *walk, struct value value) {
    struct making *making = walk->making;
    uint16_t leaf = draft_leaf(making, (struct core_span){walk->name, walk->key_at});
    if (leaf == LEAF_NONE) {
        walk->is_good = false;
        return;
    }
    making->drafts[leaf].is_constant = true;
    making->drafts[leaf].constant = value_rendered(making, value);
}

static bool fields_scalar(struct fields_walk *walk, enum value_kind kind, struct core_span text) {
    struct core_span copy = plan_text(walk->making->plan, text);
    struct value value = value_of(kind, copy.ptr, copy.len);
    if (!walk->is_in_array) {
        fields_put(walk, value);
    } else if (walk->items_len < sizeof(walk->items) / sizeof(walk->items[0])) {
        walk->items[walk->items_len++] = value;
    }
    return true;
}

static bool fields_null(void *ctx) {
    return fields_scalar(ctx, VALUE_RAW, CORE_SPAN("null"));
}

static bool fields_bool(void *ctx, bool value) {
    return fields_scalar(ctx, VALUE_RAW, value ? CORE_SPAN("true") : CORE_SPAN("false"));
}

static bool fields_number(void *ctx, struct core_span text) {
    return fields_scalar(ctx, VALUE_RAW, text);
}

static bool fields_string(void *ctx, struct core_span text) {
    return fields_scalar(ctx, VALUE_TEXT, text);
}

static bool fields_key(void *ctx, struct core_span text) {
    struct fields_walk *walk = ctx;
    size_t at = walk->ends[walk->depth];
    if (at + text.len + 2 > sizeof(walk->name)) {
        return false;
    }
    if (at > 0) {
        walk->name[at++] = '.';
    }
    memcpy(walk->name + at, text.ptr, text.len);
    walk->key_at = at + text.len;
    return true;
}

static bool fields_map(void *ctx, bool is_start) {
    struct fields_walk *walk = ctx;
    if (!is_start) {
        walk->depth--;
        return true;
    }
    walk->ends[walk->depth + 1] = walk->key_at;
    walk->depth++;
    return walk->depth < 63;
}

static bool fields_array(void *ctx, bool is_start) {
    struct fields_walk *walk = ctx;
    walk->is_in_array = is_start;
    if (is_start) {
        walk->items_len = 0;
    } else {
        fields_put(walk, (struct value){.items = walk->items, .len = (uint32_t)walk->items_len, .kind = VALUE_LIST});
    }
    return true;
}

/* `inputs[].fields`, checked and nested when the config was read, become constants that nothing overrides. */
bool fields_draft(struct making *making) {
    const struct core_stream *stream = making->request->stream;
    const char *json = stream->origin == NULL ? NULL : stream->origin->fields_json;
    if (json == NULL) {
        return true;
    }
    static const struct core_json_calls calls = {fields_null, fields_bool, fields_number, fields_string,
                                                 fields_key,  fields_map,  fields_array};
    struct fields_walk *walk = calloc(1, sizeof(*walk));
    MUST(walk != NULL);
    walk->making = making;
    walk->is_good = true;
    struct core_json_reader *reader = core_json_reader_new(&calls, walk);
    struct core_fail fail = {0};
    MUST(core_json_read(reader, core_span_of(json), &fail) == CORE_OK); /* we wrote it */
    bool is_good = walk->is_good;
    core_json_reader_free(reader);
    free(walk);
    return is_good;
}
