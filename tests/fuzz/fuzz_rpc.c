/* tests/fuzz/fuzz_rpc.c: any bytes as lines of the control channel: each is refused with a reason and a code, or is a message
 * whose parts are of the kinds they are said to be, and whose id, written into an answer, is one line and reads back the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_structured(const struct core_json_tree *tree) {
    return tree->kind == CORE_JSON_OBJECT || tree->kind == CORE_JSON_ARRAY;
}

static void check_parts(const struct core_rpc_message *message) {
    const bool is_question = message->kind == CORE_RPC_REQUEST || message->kind == CORE_RPC_NOTIFICATION;
    MUST((message->id.len == 0) == (message->kind == CORE_RPC_NOTIFICATION));
    MUST((message->method.len > 0) == is_question);
    MUST((message->result != NULL) == (message->kind == CORE_RPC_RESULT));
    MUST(message->params == NULL || (is_question && is_structured(message->params)));
    MUST(message->error_data == NULL || message->kind == CORE_RPC_ERROR);
    MUST(message->error_text.ptr != NULL || message->kind != CORE_RPC_ERROR);
}

static void check_id(struct core_arena *arena, struct core_span id) {
    char line[1024];
    struct core_buf buf = {.start = line, .pos = line, .end = line + sizeof(line)};
    struct core_rpc_message back;
    enum core_rpc_code code;
    struct core_fail fail;
    MUST(core_span_chr(id, '\n') == NULL);
    core_buf_span(&buf, CORE_SPAN("{\"jsonrpc\":\"2.0\",\"id\":"));
    core_buf_span(&buf, id);
    core_buf_span(&buf, CORE_SPAN(",\"result\":1}"));
    MUST(!buf.is_full);
    MUST(core_rpc_read(arena, core_buf_written(&buf), &back, &code, &fail) == CORE_OK);
    MUST(core_span_eq(back.id, id));
}

static void read_line(struct core_arena *arena, struct core_span line) {
    struct core_rpc_message message;
    enum core_rpc_code code = 0;
    struct core_fail fail = {0};
    core_arena_reset(arena, CORE_MIB);
    enum core_err err = core_rpc_read(arena, line, &message, &code, &fail);
    if (err == CORE_OK) {
        check_parts(&message);
        if (message.id.len > 0) {
            check_id(arena, message.id);
        }
        return;
    }
    MUST(err == CORE_BAD || err == CORE_LIMIT);
    MUST(code == CORE_RPC_PARSE || code == CORE_RPC_INVALID);
    MUST(fail.text[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct core_arena arena;
    if (arena.base == NULL) {
        MUST(core_arena_init(&arena, CORE_JSON_TREE_BYTES_MIN + CORE_MIB, NULL) == CORE_OK);
    }
    struct core_span left = {(const char *)data, size};
    while (left.len > 0) {
        const char *end = core_span_chr(left, '\n');
        const size_t len = end == NULL ? left.len : (size_t)(end - left.ptr);
        read_line(&arena, (struct core_span){left.ptr, len});
        left.ptr += end == NULL ? len : len + 1;
        left.len -= end == NULL ? len : len + 1;
    }
    return 0;
}
