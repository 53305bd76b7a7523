/* tests/unit/sinks_testing.h: a pool, a stream and a sink made from a few lines of YAML, for tests of sinks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_UNIT_SINKS_TESTING_H
#define TAPLINE_TESTS_UNIT_SINKS_TESTING_H

#include "core/queue.h"
#include "sinks/sink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Everything a sink under test needs. Zeroed and filled by rig_open(). */
struct rig {
    struct core_pool pool;
    struct core_counters counters;
    struct core_bell bell;
    struct sink_env env;
    struct core_stream stream;
    const struct sink_ops *ops;
    struct core_conf_file *file;
    struct core_conf_mistakes mistakes;
    void *conf;
    struct sink *sink;
    uint64_t position; /* of the next event */
    uint64_t seq;
};

/* text is the section below `sinks:`, e.g. "file:\n  path: /tmp/x". Parses and checks; opens nothing. */
static inline enum core_err rig_conf(struct rig *rig, const char *text, uint32_t batches) {
    char path[] = "/tmp/tapline-rig-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    struct core_fail fail = {0};
    *rig = (struct rig){0};
    assert_int_equal(core_conf_open(&rig->file, path, &fail), CORE_OK);
    unlink(path);
    const struct core_conf_node *node = NULL;
    const char *name = core_conf_member(core_conf_root(rig->file), 0, &node);
    rig->ops = sink_find(name);
    assert_non_null(rig->ops);
    rig->conf = calloc(1, rig->ops->conf_size + 1);
    assert_int_equal(core_pool_init(&rig->pool, batches, &fail), CORE_OK);
    assert_int_equal(core_bell_init(&rig->bell, &fail), CORE_OK);
    rig->env = (struct sink_env){.node = "test", .counters = &rig->counters, .wake_fd = rig->bell.fd};
    rig->stream =
        (struct core_stream){.magic = CORE_STREAM_MAGIC, .gen = 0x0123456789abcdefu, .path = "/logs/conn.log"};
    enum core_err err =
        core_conf_bind(rig->file, node, name, rig->ops->opts, rig->ops->opts_len, rig->conf, &rig->mistakes);
    if (err == CORE_OK && rig->ops->check != NULL) {
        rig->ops->check(rig->conf, rig->file, node, &rig->mistakes);
    }
    return rig->mistakes.len > 0 ? CORE_BAD : err;
}

static inline void rig_open(struct rig *rig, const char *text, uint32_t batches) {
    struct core_fail fail = {0};
    enum core_err err = rig_conf(rig, text, batches);
    for (size_t i = 0; i < rig->mistakes.len; i++) {
        print_error("%s: %s\n", rig->mistakes.fails[i].where, rig->mistakes.fails[i].text);
    }
    assert_int_equal(err, CORE_OK);
    err = rig->ops->open(&rig->sink, rig->conf, &rig->env, &fail);
    if (err != CORE_OK) {
        print_error("%s: %s\n", fail.where, fail.text);
    }
    assert_int_equal(err, CORE_OK);
}

static inline void rig_close(struct rig *rig) {
    rig->ops->close(rig->sink);
    core_conf_release(rig->ops->opts, rig->ops->opts_len, rig->conf);
    free(rig->conf);
    core_conf_close(rig->file);
    core_pool_destroy(&rig->pool);
    core_bell_destroy(&rig->bell);
}

/* An empty batch of the rig's stream; the pool must have one. */
static inline struct core_batch *rig_batch(struct rig *rig) {
    struct core_batch *batch = core_pool_take(&rig->pool);
    assert_non_null(batch);
    batch->stream = &rig->stream;
    batch->seq = rig->seq++;
    return batch;
}

/* Add an event whose document is a copy of doc. */
static inline struct core_event *rig_event(struct rig *rig, struct core_batch *batch, const char *dataset,
                                           struct core_span doc) {
    struct core_event *event = &batch->events[batch->events_len++];
    char *copy = core_arena_copy(&batch->arena, doc);
    assert_non_null(copy);
    *event = (struct core_event){.doc = {.ptr = copy, .len = doc.len},
                                 .dataset = dataset,
                                 .start = rig->position,
                                 .from = rig->position,
                                 .end = rig->position + 100};
    rig->position += 100;
    batch->accepted_end = event->end;
    return event;
}

/* len events {"n":<first+i>} in one batch. */
static inline struct core_batch *rig_numbers(struct rig *rig, const char *dataset, unsigned first, unsigned len) {
    struct core_batch *batch = rig_batch(rig);
    for (unsigned i = 0; i < len; i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"n\":%u}", first + i);
        rig_event(rig, batch, dataset, core_span_of(text));
    }
    return batch;
}

/* Poll until a batch comes back, at most timeout_ms. NULL: none came. */
static inline struct core_batch *rig_wait(struct rig *rig, int timeout_ms) {
    int64_t until = core_tick_ns() + (int64_t)timeout_ms * CORE_NS_PER_MS;
    struct core_batch *done = NULL;
    while (core_tick_ns() < until) {
        if (rig->ops->poll(rig->sink, &done, 1, 20) == 1) {
            return done;
        }
    }
    return NULL;
}

static inline uint64_t rig_counted(const struct rig *rig, enum core_counter id) {
    return core_counted(&rig->counters, id);
}

#endif
