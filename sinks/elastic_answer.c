/* sinks/elastic_answer.c: what the engine says of each document of a bulk.
 *
 * Nearly all of them are taken, and then their part of the answer (which is asked for in few words: filter_path) is the same
 * 26 bytes; those are compared, not read. All others go through the general reader one by one. Nothing of an answer counts
 * unless it has a part for each document: half an answer is none. A part that cannot be read is its document's alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/elastic_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define TEXTS_BYTES (32 * CORE_MIB) /* address space */
#define TEXTS_KEEP_BYTES (64 * CORE_KIB)
#define DEPTH_MAX 64
#define STATUS_MIN 100
#define TAKEN_TEXT "{\"create\":{\"status\":201}}"

/* Where in an item a value stands. */
enum node { NODE_ITEM, NODE_ACTION, NODE_ERROR, NODE_CAUSE, NODE_OTHER };
enum key { KEY_OTHER, KEY_STATUS, KEY_STORE, KEY_ERROR, KEY_TYPE, KEY_REASON, KEY_CAUSE };

struct elastic_answer {
    struct core_json_reader *reader;
    struct elastic_said *said;
    uint32_t said_max;
    struct core_arena texts;
    struct elastic_error error; /* of the item being read */
    enum node nodes[DEPTH_MAX + 1];
    unsigned depth;
    enum key key;
};

/* ---- one item by the general reader ------------------------------------------------------------------------------------------ */

static void text_keep(char *out, size_t out_len, struct core_span text) {
    text = core_utf8_cut(text, out_len - 1);
    if (text.len > 0) {
        memcpy(out, text.ptr, text.len);
    }
    out[text.len] = '\0';
}

static enum node node_now(const struct elastic_answer *answer) {
    return answer->depth == 0 ? NODE_OTHER : answer->nodes[answer->depth];
}

static bool on_nothing(void *ctx) {
    (void)ctx;
    return true;
}

static bool on_bool(void *ctx, bool value) {
    (void)ctx;
    (void)value;
    return true;
}

static bool on_number(void *ctx, struct core_span text) {
    struct elastic_answer *answer = ctx;
    if (node_now(answer) == NODE_ACTION && answer->key == KEY_STATUS && text.len == 3) {
        answer->error.status = (text.ptr[0] - '0') * 100 + (text.ptr[1] - '0') * 10 + (text.ptr[2] - '0');
    }
    return true;
}

static bool on_string(void *ctx, struct core_span text) {
    struct elastic_answer *answer = ctx;
    struct elastic_error *error = &answer->error;
    enum node node = node_now(answer);
    if (node == NODE_ACTION && answer->key == KEY_STORE) {
        text_keep(error->failure_store, sizeof error->failure_store, text);
    } else if (node == NODE_ERROR && answer->key == KEY_TYPE) {
        text_keep(error->type, sizeof error->type, text);
    } else if ((node == NODE_ERROR && answer->key == KEY_REASON) ||
               (node == NODE_ACTION && answer->key == KEY_ERROR)) { /* a proxy may say it in one text */
        text_keep(error->reason, sizeof error->reason, text);
    } else if (node == NODE_CAUSE && answer->key == KEY_TYPE) {
        text_keep(error->cause_type, sizeof error->cause_type, text);
    } else if (node == NODE_CAUSE && answer->key == KEY_REASON) {
        text_keep(error->cause_reason, sizeof error->cause_reason, text);
    }
    return true;
}

static bool on_key(void *ctx, struct core_span text) {
    static const struct {
        const char *name;
        enum key key;
    } keys[] = {{"status", KEY_STATUS}, {"failure_store", KEY_STORE}, {"error", KEY_ERROR},
                {"type", KEY_TYPE},     {"reason", KEY_REASON},       {"caused_by", KEY_CAUSE}};
    struct elastic_answer *answer = ctx;
    answer->key = KEY_OTHER;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (core_span_is(text, keys[i].name)) {
            answer->key = keys[i].key;
        }
    }
    return true;
}

/* What an object is, by where it stands. */
static enum node node_of(const struct elastic_answer *answer) {
    if (answer->depth == 0) {
        return NODE_ITEM;
    }
    switch (answer->nodes[answer->depth]) {
    case NODE_ITEM:
        return NODE_ACTION; /* whatever it is called: "create" */
    case NODE_ACTION:
        return answer->key == KEY_ERROR ? NODE_ERROR : NODE_OTHER;
    case NODE_ERROR:
    case NODE_CAUSE:
        return answer->key == KEY_CAUSE ? NODE_CAUSE : NODE_OTHER;
    default:
        return NODE_OTHER;
    }
}

static bool opens(struct elastic_answer *answer, enum node node) {
    if (answer->depth == DEPTH_MAX) {
        return false;
    }
    answer->nodes[++answer->depth] = node;
    answer->key = KEY_OTHER;
    return true;
}

static bool on_map(void *ctx, bool is_start) {
    struct elastic_answer *answer = ctx;
    if (is_start) {
        return opens(answer, node_of(answer));
    }
    answer->depth--;
    answer->key = KEY_OTHER;
    return true;
}

static bool on_array(void *ctx, bool is_start) {
    struct elastic_answer *answer = ctx;
    if (is_start) {
        return opens(answer, NODE_OTHER);
    }
    answer->depth--;
    answer->key = KEY_OTHER;
    return true;
}

static const struct core_json_calls calls = {on_nothing, on_bool, on_number, on_string, on_key, on_map, on_array};

/* "type: reason (caused by type: reason)", in the texts; a short one when there is no room. */
static const char *text_make(struct elastic_answer *answer) {
    const struct elastic_error *error = &answer->error;
    char text[ELASTIC_REASON_BYTES_MAX];
    if (strcmp(error->failure_store, "used") == 0) {
        snprintf(
            text, sizeof text,
            "the search engine put the document into the failure store of its data stream, not into the stream: its "
            "pipeline or mapping refused it");
    } else {
        snprintf(text, sizeof text, "%s%s%s%s%s%s%s%s", error->type, error->type[0] == '\0' ? "" : ": ",
                 error->reason[0] == '\0' ? "no reason given" : error->reason,
                 error->cause_type[0] == '\0' ? "" : " (caused by ", error->cause_type,
                 error->cause_reason[0] == '\0' ? "" : ": ", error->cause_reason,
                 error->cause_type[0] == '\0' ? "" : ")");
    }
    const char *kept = core_arena_copy(&answer->texts, core_utf8_cut(core_span_of(text), sizeof text - 1));
    return kept != NULL ? kept : "refused; there were too many to keep each reason";
}

static void item_read(struct elastic_answer *answer, struct core_span text, struct elastic_said *said) {
    struct core_fail fail;
    answer->error = (struct elastic_error){0};
    answer->depth = 0;
    answer->key = KEY_OTHER;
    if (core_json_read(answer->reader, text, &fail) != CORE_OK || answer->error.status < STATUS_MIN) {
        *said = (struct elastic_said){.verdict = ELASTIC_DOUBTFUL, .text = "its part of the answer cannot be read"};
        return;
    }
    *said = (struct elastic_said){.status = answer->error.status};
    said->verdict = elastic_meaning(&answer->error, &said->advice);
    if (said->verdict != ELASTIC_TAKEN && said->verdict != ELASTIC_REPEATED) {
        said->text = text_make(answer);
    }
}

/* ---- all of them ---------------------------------------------------------------------------------------------------------------- */

struct elastic_answer *elastic_answer_new(uint32_t items_max) {
    struct core_fail fail;
    struct elastic_answer *answer = calloc(1, sizeof *answer);
    MUST(answer != NULL && items_max > 0);
    answer->said = calloc(items_max, sizeof *answer->said);
    MUST(answer->said != NULL);
    answer->said_max = items_max;
    MUST(core_arena_init(&answer->texts, TEXTS_BYTES, &fail) == CORE_OK);
    answer->reader = core_json_reader_new(&calls, answer);
    return answer;
}

void elastic_answer_free(struct elastic_answer *answer) {
    if (answer == NULL) {
        return;
    }
    core_json_reader_free(answer->reader);
    core_arena_destroy(&answer->texts);
    free(answer->said);
    free(answer);
}

/* Where the object at pos ends, strings stepped over; NULL: it does not. */
static const char *object_end(const char *pos, const char *end) {
    unsigned depth = 0;
    for (bool is_text = false; pos < end; pos++) {
        if (is_text && *pos == '\\') {
            pos++; /* what is escaped ends nothing */
        } else if (is_text) {
            is_text = *pos != '"';
        } else if (*pos == '"') {
            is_text = true;
        } else if (*pos == '{') {
            depth++;
        } else if (*pos == '}' && --depth == 0) {
            return pos + 1;
        }
    }
    return NULL;
}

static const char *blanks_skip(const char *pos, const char *end) {
    while (pos < end && core_is_blank(*pos)) {
        pos++;
    }
    return pos;
}

/* One item. Returns where it ends; NULL: it is none. */
static const char *item_take(struct elastic_answer *answer, const char *pos, const char *end,
                             struct elastic_said *said) {
    static const struct elastic_said taken = {.verdict = ELASTIC_TAKEN, .status = 201};
    const size_t taken_len = sizeof TAKEN_TEXT - 1;
    if ((size_t)(end - pos) >= taken_len && memcmp(pos, TAKEN_TEXT, taken_len) == 0) {
        *said = taken;
        return pos + taken_len;
    }
    const char *item_end = pos < end && *pos == '{' ? object_end(pos, end) : NULL;
    if (item_end != NULL) {
        item_read(answer, (struct core_span){pos, (size_t)(item_end - pos)}, said);
    }
    return item_end;
}

/* From the first item to behind the array's bracket. Returns the number of items; UINT32_MAX: it is no such array. */
static uint32_t items_read(struct elastic_answer *answer, const char *pos, const char *end, uint32_t max) {
    uint32_t len = 0;
    pos = blanks_skip(pos, end);
    if (pos < end && *pos == ']') {
        return 0;
    }
    for (;;) {
        pos = len == max ? NULL : item_take(answer, blanks_skip(pos, end), end, &answer->said[len]);
        if (pos == NULL) {
            return UINT32_MAX;
        }
        len++;
        pos = blanks_skip(pos, end);
        if (pos < end && *pos == ']') {
            return len;
        }
        if (pos == end || *pos++ != ',') {
            return UINT32_MAX;
        }
    }
}

/* Behind so many bytes and blanks this byte? Then behind it. */
static bool byte_take(const char **pos, const char *end, size_t skip, char byte) {
    *pos = blanks_skip(*pos + skip, end);
    if (*pos == end || **pos != byte) {
        return false;
    }
    (*pos)++;
    return true;
}

bool elastic_answer_read(struct elastic_answer *answer, struct core_span body, uint32_t len,
                         const struct elastic_said **said, const char **why) {
    static const char key[] = "\"items\"";
    MUST(answer != NULL && len <= answer->said_max);
    core_arena_reset(&answer->texts, TEXTS_KEEP_BYTES);
    body = core_span_trim(body);
    const char *end = body.ptr + body.len;
    const char *pos = body.len == 0 ? NULL : memmem(body.ptr, body.len, key, sizeof key - 1);
    bool is_array = pos != NULL && body.ptr[0] == '{' && end[-1] == '}' && byte_take(&pos, end, sizeof key - 1, ':') &&
                    byte_take(&pos, end, 0, '[');
    if (!is_array) {
        *why = "it is no answer of _bulk";
        return false;
    }
    uint32_t found = items_read(answer, pos, end, len);
    if (found != len) {
        *why = found == UINT32_MAX ? "it cannot be read" : "it has an answer to fewer documents than were sent";
        return false;
    }
    *said = answer->said;
    return true;
}
