/* core/health.c: what a process has of health: made before its threads, begun with its loop, a turn each second, ended last.
 *
 * A turn reads all rows once; problems, the log and Main's page work on what was read. What is asked for in between (/metrics,
 * a document) reads the board anew, so that it is not a second old.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"

#include "core/kafka.h"

#include <stdlib.h>

#define TURN_NS CORE_NS_PER_S

static void turn(void *ctx) {
    struct core_health *health = ctx;
    core_timer_set(health->env.loop, &health->turn, core_tick_ns() + TURN_NS);
    core_arena_reset(&health->arena, CORE_MIB);
    core_log_tick();
    core_health_serve_turn(health);
    core_health_own_measure(health);
    core_health_own_write(health);
    health->rows = core_health_rows(health, &health->arena, &health->rows_len);
    bool is_changed = core_health_rules_turn(health);
    core_health_own_write(health); /* with the problems of now */
    core_health_log_turn(health, is_changed);
    core_otlp_turn(health);
    if (health->on_turn != NULL) {
        health->on_turn(health->on_turn_ctx);
    }
}

static const char *text_copy(const char *text) {
    char *copy = text == NULL ? NULL : strdup(text);
    MUST(text == NULL || copy != NULL);
    return copy;
}

static void env_copy(struct core_health_env *out, const struct core_health_env *env) {
    *out = *env;
    out->process = text_copy(env->process);
    out->node = text_copy(env->node);
    out->state = text_copy(env->state);
    out->version = text_copy(env->version);
    struct core_kafka_pair *pairs = calloc(env->kafka_len + 1, sizeof *pairs);
    MUST(pairs != NULL);
    for (size_t i = 0; i < env->kafka_len; i++) {
        pairs[i] = (struct core_kafka_pair){text_copy(env->kafka[i].key), text_copy(env->kafka[i].value)};
    }
    out->kafka = pairs;
}

static void env_release(struct core_health_env *env) {
    for (size_t i = 0; i < env->kafka_len; i++) {
        free((void *)(uintptr_t)env->kafka[i].key);
        free((void *)(uintptr_t)env->kafka[i].value);
    }
    free((void *)(uintptr_t)env->kafka);
    free((void *)(uintptr_t)env->process);
    free((void *)(uintptr_t)env->node);
    free((void *)(uintptr_t)env->state);
    free((void *)(uintptr_t)env->version);
}

static void conf_take(struct core_health *health, const struct core_health_conf *conf) {
    health->conf = conf != NULL ? *conf : (struct core_health_conf){0};
    if (!health->conf.is_on) {
        core_health_conf_limits(&health->conf);
    }
}

struct core_health *core_health_new(const struct core_health_env *env) {
    MUST(env != NULL && env->process != NULL && env->node != NULL && env->loop != NULL);
    struct core_health *health = calloc(1, sizeof(*health));
    MUST(health != NULL);
    env_copy(&health->env, env);
    conf_take(health, env->conf);
    health->started_ns = core_now_ns();
    struct core_fail fail;
    MUST(core_arena_init(&health->arena, CORE_HEALTH_ARENA_BYTES, &fail) == CORE_OK);
    health->rules = core_health_rules_new();
    health->own = core_health_page_new(health, "process");
    core_otlp_open(health);
    health->turn = (struct core_timer){.on_time = turn, .ctx = health};
    return health;
}

void core_health_begin_serving(struct core_health *health) {
    turn(health);
}

void core_health_on_turn(struct core_health *health, void (*on_turn)(void *ctx), void *ctx) {
    health->on_turn = on_turn;
    health->on_turn_ctx = ctx;
}

void core_health_reload(struct core_health *health, const struct core_health_conf *conf) {
    conf_take(health, conf);
    core_otlp_reload(health);
}

void core_health_free(struct core_health *health) {
    if (health == NULL) {
        return;
    }
    core_timer_clear(&health->turn);
    core_health_log_free(health);
    core_otlp_free(health);
    core_health_serve_free(health);
    core_health_rules_free(health->rules);
    while (health->pages != NULL) {
        struct core_health_page *page = health->pages;
        health->pages = page->next;
        core_health_page_free(page);
    }
    core_arena_destroy(&health->arena);
    env_release(&health->env);
    free(health);
}
