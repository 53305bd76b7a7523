/* tests/unit/health_rig.h: a board in a loop, and rows on it, for the tests of core/health_*.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_HEALTH_RIG_H
#define TAPLINE_TESTS_HEALTH_RIG_H

#include "core/health.h"
#include "core/json_tree.h"

#include <stdio.h>
#include <stdlib.h>

#define HEALTH_TEXT_BYTES (4 * CORE_MIB)

struct health_rig {
    struct core_loop *loop;
    struct core_health *health;
    struct core_health_page *page;
    struct core_counters counters;
    struct core_health_conf conf;
    struct core_arena arena;
    char *text;
};

static inline int health_rig_new(struct health_rig *rig) {
    struct core_fail fail = {0};
    rig->text = malloc(HEALTH_TEXT_BYTES);
    MUST(rig->text != NULL);
    MUST(core_loop_new(&rig->loop, &fail) == CORE_OK);
    MUST(core_arena_init(&rig->arena, 64 * CORE_MIB, &fail) == CORE_OK);
    const struct core_health_env env = {.process = "run",
                                        .node = "sensor \"1\"\\",
                                        .state = "/tmp",
                                        .version = "0.1.0",
                                        .loop = rig->loop,
                                        .counters = &rig->counters,
                                        .conf = &rig->conf};
    rig->health = core_health_new(&env);
    rig->page = core_health_page_new(rig->health, "test");
    return 0;
}

static inline void health_rig_free(struct health_rig *rig) {
    core_health_free(rig->health);
    core_loop_free(rig->loop);
    core_arena_destroy(&rig->arena);
    free(rig->text);
}

/* The document in so much room; NUL-terminated. */
static inline const char *health_rig_document(struct health_rig *rig, size_t room) {
    struct core_buf out = {.start = rig->text, .pos = rig->text, .end = rig->text + room};
    MUST(room < HEALTH_TEXT_BYTES);
    core_health_document(rig->health, &out);
    MUST(!out.is_full);
    *out.pos = '\0';
    return rig->text;
}

static inline const char *health_rig_exposition(struct health_rig *rig, bool is_open, size_t room) {
    struct core_buf out = {.start = rig->text, .pos = rig->text, .end = rig->text + room};
    MUST(room < HEALTH_TEXT_BYTES);
    core_health_exposition(rig->health, is_open, &out);
    MUST(!out.is_full);
    *out.pos = '\0';
    return rig->text;
}

#endif
