/* tests/unit/ingest_rig.h: a directory, an ingest on it, and a sink that can be slow, out of order, or killed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_INGEST_RIG_H
#define TAPLINE_TESTS_INGEST_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "ingest/ingest_internal.h"

#define RIG_SEEN_MAX 200000
#define RIG_OUT_MAX 64

/* A line as it came by. */
struct rig_line {
    char *text;
    size_t text_len;
    char *path;
    uint64_t gen, start, end, number;
    unsigned flags;
};

struct rig {
    char dir[64];   /* logs */
    char state[80]; /* the state directory */
    struct core_pool pool;
    struct core_counters counters;
    struct ingest_conf conf;
    struct ingest_spool_conf spool; /* size_max 0: none */
    struct ingest_input input;
    struct core_conf_item items[4];
    struct core_conf_item excludes[2];
    struct core_conf_item archives[2];
    char archive_patterns[2][128];
    char patterns[4][128];
    struct ingest *ingest;
    struct core_batch *out[RIG_OUT_MAX]; /* pushed, not returned */
    size_t out_len;
    bool is_holding;   /* the sink is away */
    bool is_backwards; /* the sink answers the newest first */
    size_t lasts;      /* batches with is_last */
    size_t batches;
    void (*on_batch)(struct rig *rig, const struct core_batch *batch); /* may be NULL */
    struct core_commit *commit;                                        /* a keeper of positions', or NULL */
    struct core_batch *(*take)(struct rig *rig); /* in place of the sink that answers in its own time; may be NULL */
    struct rig_line *seen;
    size_t seen_len;
};

static inline void rig_push(void *ctx, struct core_batch *batch) {
    struct rig *rig = ctx;
    assert_true(rig->out_len < RIG_OUT_MAX);
    assert_int_equal(batch->magic, CORE_BATCH_MAGIC);
    rig->out[rig->out_len++] = batch;
    rig->batches++;
    rig->lasts += batch->is_last ? 1 : 0;
    if (rig->on_batch != NULL) {
        rig->on_batch(rig, batch);
    }
    for (uint32_t i = 0; i < batch->lines_len; i++) {
        const struct core_line *line = &batch->lines[i];
        assert_true(rig->seen_len < RIG_SEEN_MAX);
        assert_true(line->text.ptr >= batch->segment);
        assert_true(line->text.ptr + line->text.len <= batch->segment + CORE_SEGMENT_BYTES);
        struct rig_line *seen = &rig->seen[rig->seen_len++];
        *seen = (struct rig_line){.text = malloc(line->text.len + 1),
                                  .text_len = line->text.len,
                                  .path = strdup(batch->stream->path),
                                  .gen = batch->stream->gen,
                                  .start = line->start,
                                  .end = line->end,
                                  .number = line->number,
                                  .flags = line->flags};
        memcpy(seen->text, line->text.ptr, line->text.len);
        seen->text[line->text.len] = '\0';
    }
}

static inline struct core_batch *rig_returned(void *ctx) {
    struct rig *rig = ctx;
    if (rig->take != NULL) {
        return rig->take(rig);
    }
    if (rig->is_holding || rig->out_len == 0) {
        return NULL;
    }
    const size_t at = rig->is_backwards ? rig->out_len - 1 : 0;
    struct core_batch *batch = rig->out[at];
    memmove(&rig->out[at], &rig->out[at + 1], (rig->out_len - at - 1) * sizeof(rig->out[0]));
    rig->out_len--;
    return batch;
}

static inline struct ingest_env rig_env(struct rig *rig) {
    return (struct ingest_env){
        .node = "node-1",
        .state_dir = rig->state,
        .inputs = &rig->input,
        .inputs_len = 1,
        .conf = &rig->conf,
        .spool = &rig->spool,
        .pool = &rig->pool,
        .counters = &rig->counters,
        .workers = 1,
        .ctx = rig,
        .push = rig_push,
        .returned = rig_returned,
        .commit = rig->commit,
    };
}

static inline void rig_path(const struct rig *rig, const char *name, char out[192]) {
    (void)snprintf(out, 192, "%s/%s", rig->dir, name);
}

static inline struct ingest_file *rig_file(const struct rig *rig, const char *name) {
    char path[192];
    rig_path(rig, name, path);
    struct ingest_file *file = ingest_file_by_path(rig->ingest, path);
    assert_non_null(file);
    return file;
}

static inline void rig_glob(struct rig *rig, size_t i, const char *pattern) {
    (void)snprintf(rig->patterns[i], sizeof(rig->patterns[i]), "%s/%s", rig->dir, pattern);
    rig->items[i] = (struct core_conf_item){.value = rig->patterns[i]};
    rig->input.paths = (struct core_conf_list){.items = rig->items, .len = i + 1};
}

static inline void rig_archive(struct rig *rig, const char *pattern) {
    (void)snprintf(rig->archive_patterns[0], sizeof(rig->archive_patterns[0]), "%s/%s", rig->dir, pattern);
    rig->archives[0] = (struct core_conf_item){.value = rig->archive_patterns[0]};
    rig->input.archive = (struct core_conf_list){.items = rig->archives, .len = 1};
}

static inline void rig_setup(struct rig *rig, uint32_t batches) {
    struct core_fail fail = {0};
    core_log_level(getenv("RIG_TELL") != NULL ? CORE_LEVEL_DEBUG : CORE_LEVEL_ERROR);
    *rig = (struct rig){0};
    strcpy(rig->dir, "/tmp/tapline-ingest-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    (void)snprintf(rig->state, sizeof(rig->state), "%s/state", rig->dir);
    assert_int_equal(mkdir(rig->state, 0700), 0);
    assert_int_equal(core_pool_init(&rig->pool, batches, &fail), CORE_OK);
    rig->seen = calloc(RIG_SEEN_MAX, sizeof(*rig->seen));
    rig->conf = (struct ingest_conf){.scan_interval_ns = 2 * CORE_NS_PER_MS,
                                     .poll_interval_ns = 2 * CORE_NS_PER_MS,
                                     .record_wait_ns = 50 * CORE_NS_PER_MS,
                                     .close_after_ns = 0,
                                     .checkpoint_interval_ns = 0,
                                     .files_max = 64,
                                     .use_inotify = false};
    rig_glob(rig, 0, "*.log");
}

static inline void rig_forget(struct rig *rig) {
    for (size_t i = 0; i < rig->seen_len; i++) {
        free(rig->seen[i].text);
        free(rig->seen[i].path);
    }
    rig->seen_len = 0;
    rig->batches = 0;
    rig->lasts = 0;
}

static inline void rig_open(struct rig *rig) {
    struct core_fail fail = {0};
    const struct ingest_env env = rig_env(rig);
    const enum core_err err = ingest_open(&rig->ingest, &env, &fail);
    if (err != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
}

static inline void rig_turn(struct rig *rig) {
    struct core_fail fail = {0};
    if (ingest_turn(rig->ingest, 1, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
}

/* Turns until nothing moves: a whole scan, twice, made no batch. */
static inline void rig_settle(struct rig *rig) {
    for (int quiet = 0; quiet < 3;) {
        const size_t before = rig->batches;
        rig->ingest->scan_tick = 0;
        rig_turn(rig);
        rig_turn(rig);
        const bool is_reading = ingest_files_wait(rig->ingest) || rig->ingest->linger.head != NULL;
        const bool is_blocked = rig->is_holding && rig->pool.free_len == 0;
        const bool is_still = rig->batches == before && (rig->out_len == 0 || rig->is_holding);
        quiet = is_still && (!is_reading || is_blocked) ? quiet + 1 : 0;
    }
}

/* kill -9: what is on disk stays, everything else is gone. */
static inline void rig_kill(struct rig *rig) {
    rig->ingest->is_dirty = false; /* no last checkpoint */
    ingest_close(rig->ingest);
    rig->ingest = NULL;
    struct core_fail fail = {0};
    const uint32_t len = rig->pool.len;
    core_pool_destroy(&rig->pool);
    assert_int_equal(core_pool_init(&rig->pool, len, &fail), CORE_OK);
    rig->out_len = 0;
    rig->is_holding = false;
}

/* A clean stop: every batch comes back, the last checkpoint is written. */
static inline void rig_stop(struct rig *rig) {
    rig->is_holding = false;
    ingest_stop(rig->ingest);
    for (int i = 0; !ingest_is_drained(rig->ingest); i++) {
        assert_true(i < 10000);
        rig_turn(rig);
    }
    ingest_close(rig->ingest);
    rig->ingest = NULL;
    assert_int_equal(rig->out_len, 0);
    assert_int_equal(rig->pool.free_len, rig->pool.len);
}

static inline void rig_remove(const char *dir) {
    DIR *d = opendir(dir);
    for (struct dirent *e = d == NULL ? NULL : readdir(d); e != NULL; e = readdir(d)) {
        char path[400];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        if (snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) >= (int)sizeof(path)) {
            continue;
        }
        if (unlink(path) != 0) {
            rig_remove(path);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    (void)rmdir(dir);
}

static inline void rig_teardown(struct rig *rig) {
    if (rig->ingest != NULL) {
        rig_kill(rig);
    }
    rig_forget(rig);
    free(rig->seen);
    core_pool_destroy(&rig->pool);
    rig_remove(rig->dir);
}

static inline void rig_write(struct rig *rig, const char *name, int flags, const char *bytes, size_t len) {
    char path[192];
    rig_path(rig, name, path);
    const int fd = open(path, O_WRONLY | O_CREAT | flags, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

static inline void rig_append(struct rig *rig, const char *name, const char *text) {
    rig_write(rig, name, O_APPEND, text, strlen(text));
}

static inline void rig_rename(struct rig *rig, const char *from, const char *to) {
    char a[192];
    char b[192];
    rig_path(rig, from, a);
    rig_path(rig, to, b);
    assert_int_equal(rename(a, b), 0);
}

static inline void rig_unlink(struct rig *rig, const char *name) {
    char path[192];
    rig_path(rig, name, path);
    assert_int_equal(unlink(path), 0);
}

static inline bool rig_is_record(const struct rig_line *line) {
    return (line->flags & CORE_LINE_CONTEXT) == 0;
}

/* How often a record of this text came by. */
static inline size_t rig_count(const struct rig *rig, const char *text) {
    size_t n = 0;
    for (size_t i = 0; i < rig->seen_len; i++) {
        n += rig_is_record(&rig->seen[i]) && strcmp(rig->seen[i].text, text) == 0 ? 1 : 0;
    }
    return n;
}

static inline const struct rig_line *rig_find(const struct rig *rig, const char *text) {
    for (size_t i = 0; i < rig->seen_len; i++) {
        if (strcmp(rig->seen[i].text, text) == 0) {
            return &rig->seen[i];
        }
    }
    fail_msg("no line \"%s\" among %zu", text, rig->seen_len);
    return NULL;
}

static inline size_t rig_records(const struct rig *rig) {
    size_t n = 0;
    for (size_t i = 0; i < rig->seen_len; i++) {
        n += rig_is_record(&rig->seen[i]) ? 1 : 0;
    }
    return n;
}

/* All lines, one string: "text|text|". */
static inline void rig_assert_lines(const struct rig *rig, const char *want) {
    char got[4096];
    size_t len = 0;
    got[0] = '\0';
    for (size_t i = 0; i < rig->seen_len; i++) {
        len += (size_t)snprintf(got + len, sizeof(got) - len, "%s|", rig->seen[i].text);
        assert_true(len < sizeof(got));
    }
    assert_string_equal(got, want);
}

#endif
