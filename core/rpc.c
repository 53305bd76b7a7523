/* core/rpc.c: a line becomes a message of JSON-RPC 2.0, or a reason why it is none.
 *
 * Stricter than yajl, which takes bytes that are no UTF-8 and calls \v and \f blanks: whatever is read here may be written
 * into an answer as it stood. Members that are not known are ignored; of one that comes twice the first counts.
 * Source: the JSON-RPC 2.0 specification; RFC 8259.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/rpc_internal.h"

void rpc_arena_leave(struct core_arena *arena, size_t used_before) {
    MUST(used_before <= arena->used);
    if (used_before == 0) {
        core_arena_reset(arena, RPC_ARENA_KEEP_BYTES);
    } else {
        arena->used = used_before;
    }
}

/* As JSON text again; empty: it can be no id. */
static struct core_span id_text(struct core_arena *arena, const struct core_json_tree *id) {
    static const struct core_span none = {"", 0};
    if (id->kind == CORE_JSON_NULL) {
        return CORE_SPAN("null");
    }
    if (id->kind == CORE_JSON_NUMBER) {
        return core_json_is_number(id->text) && id->text.len <= RPC_ID_BYTES_MAX ? id->text : none;
    }
    if (id->kind != CORE_JSON_STRING) {
        return none;
    }
    char text[RPC_ID_BYTES_MAX];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    core_buf_string(&buf, id->text);
    const char *copy = buf.is_full ? NULL : core_arena_copy(arena, core_buf_written(&buf));
    return copy == NULL ? none : (struct core_span){copy, core_buf_written(&buf).len};
}

/* A whole number that an int64 holds. */
static bool integer_read(struct core_span text, int64_t *out) {
    const bool is_negative = text.len > 0 && text.ptr[0] == '-';
    uint64_t value = 0;
    if (text.len == (is_negative ? 1U : 0U)) {
        return false;
    }
    for (size_t i = is_negative; i < text.len; i++) {
        if (!core_is_digit(text.ptr[i]) || value > (uint64_t)INT64_MAX / 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    if (value > (uint64_t)INT64_MAX) {
        return false;
    }
    *out = is_negative ? -(int64_t)value : (int64_t)value;
    return true;
}

/* What is wrong with a request or a notification, or NULL. */
static const char *read_question(const struct core_json_tree *tree, struct core_rpc_message *out) {
    const struct core_json_tree *method = core_json_tree_get(tree, "method");
    const struct core_json_tree *params = core_json_tree_get(tree, "params");
    if (method->kind != CORE_JSON_STRING || method->text.len == 0) {
        return "method must be a string";
    }
    if (core_json_tree_get(tree, "result") != NULL || core_json_tree_get(tree, "error") != NULL) {
        return "a message has a method or an answer, not both";
    }
    if (params != NULL && params->kind != CORE_JSON_NULL) {
        if (params->kind != CORE_JSON_OBJECT && params->kind != CORE_JSON_ARRAY) {
            return "params must be an object or an array";
        }
        out->params = params;
    }
    out->kind = out->id.len > 0 ? CORE_RPC_REQUEST : CORE_RPC_NOTIFICATION;
    out->method = method->text;
    return NULL;
}

/* The same for an answer. */
static const char *read_answer(const struct core_json_tree *tree, struct core_rpc_message *out) {
    const struct core_json_tree *error = core_json_tree_get(tree, "error");
    const struct core_json_tree *code = core_json_tree_get(error, "code");
    const struct core_json_tree *text = core_json_tree_get(error, "message");
    out->result = core_json_tree_get(tree, "result");
    if (out->id.len == 0) {
        return "neither a method nor an id";
    }
    if ((out->result == NULL) == (error == NULL)) {
        return "an answer has either a result or an error";
    }
    if (error == NULL) {
        out->kind = CORE_RPC_RESULT;
        return NULL;
    }
    if (code == NULL || code->kind != CORE_JSON_NUMBER || !integer_read(code->text, &out->error_code) || text == NULL ||
        text->kind != CORE_JSON_STRING) {
        return "an error has a whole number as its code and a string as its message";
    }
    out->kind = CORE_RPC_ERROR;
    out->error_text = text->text;
    out->error_data = core_json_tree_get(error, "data");
    return NULL;
}

static const char *read_message(struct core_arena *arena, const struct core_json_tree *tree,
                                struct core_rpc_message *out) {
    if (tree->kind == CORE_JSON_ARRAY) {
        return "an array: send each message as a line of its own";
    }
    if (tree->kind != CORE_JSON_OBJECT) {
        return "a message is an object";
    }
    const struct core_json_tree *version = core_json_tree_get(tree, "jsonrpc");
    if (version == NULL || version->kind != CORE_JSON_STRING || !core_span_is(version->text, "2.0")) {
        return "jsonrpc must be \"2.0\"";
    }
    const struct core_json_tree *id = core_json_tree_get(tree, "id");
    if (id != NULL) {
        out->id = id_text(arena, id);
        if (out->id.len == 0) {
            return "id must be a number, a string or null, and short";
        }
    }
    return core_json_tree_get(tree, "method") != NULL ? read_question(tree, out) : read_answer(tree, out);
}

/* Blanks that yajl takes and JSON does not have. In a string they would stand escaped. */
static bool has_other_blanks(struct core_span line) {
    return core_span_chr(line, '\v') != NULL || core_span_chr(line, '\f') != NULL;
}

enum core_err core_rpc_read(struct core_arena *arena, struct core_span line, struct core_rpc_message *out,
                            enum core_rpc_code *code, struct core_fail *fail) {
    struct core_json_tree *tree = NULL;
    struct core_fail why = {0};
    *out = (struct core_rpc_message){0};
    *code = CORE_RPC_PARSE;
    if (!core_utf8_is_valid(line) || has_other_blanks(line)) {
        return core_fail_set(fail, CORE_BAD, "message", "it is no JSON: there are bytes that cannot stand there");
    }
    enum core_err err = core_json_tree_read(arena, line, &tree, &why);
    if (err == CORE_LIMIT) {
        *code = CORE_RPC_INVALID;
        return core_fail_set(fail, err, "message", "%s", why.text);
    }
    if (err != CORE_OK) {
        return core_fail_set(fail, err, "message", "it is no JSON: %s", why.text);
    }
    *code = CORE_RPC_INVALID;
    const char *wrong = read_message(arena, tree, out);
    if (wrong != NULL) {
        return core_fail_set(fail, CORE_BAD, "message", "it is no JSON-RPC 2.0: %s", wrong);
    }
    return CORE_OK;
}
