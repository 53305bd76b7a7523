/* tests/fuzz/fuzz_spec.c: any JSON as a spec: refused in words, or a spec whose text is read again as the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#define ROOM (16 * CORE_MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t written(const struct supervisor_spec *spec, char *text) {
    struct core_buf buf = {.start = text, .pos = text, .end = text + SUPERVISOR_SPEC_BYTES_MAX};
    supervisor_spec_write(spec, &buf);
    MUST(!buf.is_full); /* what is read fits the state file */
    return core_buf_written(&buf).len;
}

/* What the rest of the Supervisor relies on. */
static void check(const struct supervisor_spec *spec) {
    MUST(supervisor_name_is_good(core_span_of(spec->name)));
    MUST(spec->argv[0] != NULL && spec->argv[0][0] != '\0');
    MUST(spec->cwd[0] == '/' && spec->output.directory[0] == '/');
    MUST(spec->cpus_len <= SUPERVISOR_CPUS_MAX && spec->env_len <= SUPERVISOR_ENV_MAX);
    MUST(spec->ready.rules_len <= SUPERVISOR_READY_MAX);
    MUST(spec->stop.signal > 0 && spec->stop.timeout_ns > 0);
    MUST(spec->restart.deaths_max >= 1 && spec->restart.deaths_max <= SUPERVISOR_DEATHS_MAX);
    MUST(spec->logs != NULL);
    for (size_t i = 0; i < spec->ready.rules_len; i++) {
        enum supervisor_ready_rule rule = SUPERVISOR_READY_AFTER;
        const char *rest = NULL;
        MUST(supervisor_rule_read(spec->ready.rules[i], &rule, &rest));
    }
    const int64_t delay = supervisor_delay_ns(spec, (uint32_t)spec->nice + 21, (uint32_t)spec->order);
    MUST(delay > 0 && delay <= spec->restart.delay_max_ns / 5 * 6 + 6);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct core_arena arena;
    static char first[SUPERVISOR_SPEC_BYTES_MAX];
    static char second[SUPERVISOR_SPEC_BYTES_MAX];
    struct core_json_tree *tree = NULL;
    struct supervisor_spec spec;
    struct core_fail fail = {0};
    if (arena.base == NULL) {
        MUST(core_arena_init(&arena, ROOM, NULL) == CORE_OK);
    }
    core_arena_reset(&arena, CORE_MIB);
    if (size > 4 * SUPERVISOR_SPEC_BYTES_MAX ||
        core_json_tree_read(&arena, (struct core_span){(const char *)data, size}, &tree, NULL) != CORE_OK) {
        return 0;
    }
    if (supervisor_spec_read(&arena, tree, &spec, &fail) != CORE_OK) {
        MUST(fail.text[0] != '\0' && fail.where[0] != '\0');
        return 0;
    }
    check(&spec);
    const size_t len = written(&spec, first);
    core_arena_reset(&arena, CORE_MIB);
    MUST(core_json_tree_read(&arena, (struct core_span){first, len}, &tree, NULL) == CORE_OK);
    MUST(supervisor_spec_read(&arena, tree, &spec, NULL) == CORE_OK);
    MUST(written(&spec, second) == len);
    MUST(memcmp(first, second, len) == 0);
    return 0;
}
