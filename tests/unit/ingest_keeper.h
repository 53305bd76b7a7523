/* tests/unit/ingest_keeper.h: a keeper of positions for the rig: commits, aborts and dies exactly when a test says so, which
 * a real broker cannot be asked for. It also stands in for normalize: records that begin with '~' are dropped by rule.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_INGEST_KEEPER_H
#define TAPLINE_TESTS_INGEST_KEEPER_H

#include <inttypes.h>

#include "tests/unit/ingest_rig.h"

#define KEEPER_RECORDS_MAX 100000
#define KEEPER_LINES_MAX 512

struct keeper_record {
    char text[64];
    uint64_t gen, start, from, end;
};

struct keeper_line {
    uint64_t gen;
    char *text; /* with its '\n'; NULL: gone */
};

/* What a transaction holds, or all committed ones. */
struct keeper_log {
    struct keeper_record *records;
    size_t records_len;
    struct keeper_line lines[KEEPER_LINES_MAX];
    size_t lines_len;
};

struct keeper {
    struct core_commit commit;
    struct rig *rig;
    struct keeper_log open;
    struct keeper_log done;
    uint64_t txn; /* of the open transaction */
    bool is_begun;
    struct core_batch *back[RIG_OUT_MAX];
    size_t back_len;
    size_t gone; /* lines that said so */
};

static inline struct core_batch *keeper_take(struct rig *rig);

static inline void keeper_log_init(struct keeper_log *log) {
    *log = (struct keeper_log){.records = calloc(KEEPER_RECORDS_MAX, sizeof(*log->records))};
    assert_non_null(log->records);
}

static inline void keeper_log_clear(struct keeper_log *log) {
    for (size_t i = 0; i < log->lines_len; i++) {
        free(log->lines[i].text);
    }
    log->records_len = log->lines_len = 0;
}

static inline struct keeper_line *keeper_find(struct keeper_log *log, uint64_t gen) {
    for (size_t i = 0; i < log->lines_len; i++) {
        if (log->lines[i].gen == gen) {
            return &log->lines[i];
        }
    }
    return NULL;
}

/* The last line of a generation stands last, as in a compacted topic. */
static inline void keeper_put(struct keeper_log *log, uint64_t gen, char *text) {
    struct keeper_line *old = keeper_find(log, gen);
    if (old != NULL) {
        free(old->text);
        memmove(old, old + 1, (size_t)(log->lines + log->lines_len - (old + 1)) * sizeof(*old));
        log->lines_len--;
    }
    assert_true(log->lines_len < KEEPER_LINES_MAX);
    log->lines[log->lines_len++] = (struct keeper_line){.gen = gen, .text = text};
}

/* All lines, as they are handed over. */
static inline void keeper_hand_over(struct keeper *keeper) {
    size_t len = 0;
    for (size_t i = 0; i < keeper->done.lines_len; i++) {
        len += strlen(keeper->done.lines[i].text);
    }
    free(keeper->commit.positions);
    keeper->commit.positions = malloc(len + 1);
    assert_non_null(keeper->commit.positions);
    keeper->commit.positions_len = len;
    char *at = keeper->commit.positions;
    for (size_t i = 0; i < keeper->done.lines_len; i++) {
        const size_t line = strlen(keeper->done.lines[i].text);
        memcpy(at, keeper->done.lines[i].text, line);
        at += line;
    }
}

/* A new process's: the open transaction of the one before has come to nothing. */
static inline void keeper_start(struct keeper *keeper, int state) {
    keeper_log_clear(&keeper->open);
    free(keeper->commit.positions);
    keeper->commit = (struct core_commit){0};
    keeper->back_len = 0;
    keeper->is_begun = false;
    keeper->txn++;
    atomic_store(&keeper->commit.committed, keeper->txn - 1);
    if (state == CORE_COMMIT_RECOVERED) {
        keeper_hand_over(keeper);
    }
    atomic_store(&keeper->commit.state, state);
}

static inline void keeper_setup(struct keeper *keeper, struct rig *rig) {
    *keeper = (struct keeper){.rig = rig};
    keeper_log_init(&keeper->open);
    keeper_log_init(&keeper->done);
    rig->commit = &keeper->commit;
    rig->take = keeper_take;
    keeper_start(keeper, CORE_COMMIT_RECOVERED);
}

/* The rig, too: what normalize left with its streams goes first. */
static inline void keeper_teardown(struct keeper *keeper, struct rig *rig) {
    for (const struct ingest_stream *stream = rig->ingest == NULL ? NULL : rig->ingest->streams; stream != NULL;
         stream = stream->next) {
        free(stream->core.decode);
    }
    rig_teardown(rig);
    keeper_log_clear(&keeper->open);
    keeper_log_clear(&keeper->done);
    free(keeper->open.records);
    free(keeper->done.records);
    free(keeper->commit.positions);
}

/* ---- what normalize does ------------------------------------------------------------------------------------------------- */

struct keeper_decode {
    uint64_t open_from;
};

/* Events into log, which may be NULL: the batch goes by. */
static inline void keeper_normalize(struct core_batch *batch, struct keeper_log *log) {
    struct keeper_decode *decode = batch->stream->decode;
    if (decode == NULL) {
        decode = calloc(1, sizeof(*decode));
        assert_non_null(decode);
        decode->open_from = batch->stream->open_from;
        batch->stream->decode = decode;
    }
    for (uint32_t i = 0; i < batch->lines_len; i++) {
        const struct core_line *line = &batch->lines[i];
        if ((line->flags & CORE_LINE_CONTEXT) != 0) {
            continue;
        }
        if (line->text.ptr[0] == '~') {
            batch->tally.dropped++;
            continue;
        }
        batch->tally.events++;
        if (log != NULL) {
            assert_true(log->records_len < KEEPER_RECORDS_MAX);
            struct keeper_record *record = &log->records[log->records_len++];
            *record = (struct keeper_record){.gen = batch->stream->gen,
                                             .start = line->start,
                                             .from = decode->open_from < line->start ? decode->open_from : line->start,
                                             .end = line->end};
            (void)snprintf(record->text, sizeof(record->text), "%.*s", (int)line->text.len, line->text.ptr);
        }
        decode->open_from = line->end;
    }
    batch->open_from = decode->open_from;
    if (batch->is_last) {
        free(decode);
        batch->stream->decode = NULL;
    }
}

/* ---- what the sink does --------------------------------------------------------------------------------------------------- */

/* A batch's line, with the account; or the lines of a control batch. */
static inline void keeper_position(struct keeper *keeper, const struct core_batch *batch) {
    const struct core_tally *tally = &batch->stream->tally;
    for (const char *at = batch->position.ptr; at != NULL && at < batch->position.ptr + batch->position.len;) {
        const char *nl = memchr(at, '\n', (size_t)(batch->position.ptr + batch->position.len - at));
        uint64_t gen = 0;
        char *text = NULL;
        assert_non_null(nl);
        assert_int_equal(sscanf(at + 4, " gen=%" SCNx64, &gen), 1);
        if (strncmp(at, "file ", 5) == 0) {
            assert_int_equal(gen, batch->stream->gen);
            assert_true(asprintf(&text,
                                 "%.*s from=%" PRIu64 " records=%" PRIu64 " events=%" PRIu64 " dead=%" PRIu64
                                 " dropped=%" PRIu64 " lost=%" PRIu64 "\n",
                                 (int)(nl - at), at, batch->open_from, tally->records, tally->events, tally->dead,
                                 tally->dropped, tally->lost) > 0);
        } else {
            assert_true(strncmp(at, "over ", 5) == 0 || strncmp(at, "gone ", 5) == 0);
            assert_int_equal(batch->lines_len, 0);
            text = strndup(at, (size_t)(nl - at) + 1);
        }
        keeper_put(&keeper->open, gen, text);
        at = nl + 1;
    }
}

static inline void keeper_give(struct keeper *keeper, struct core_batch *batch) {
    assert_true(keeper->back_len < RIG_OUT_MAX);
    keeper->back[keeper->back_len++] = batch;
}

/* Deliver the first n batches. */
static inline void keeper_send(struct keeper *keeper, size_t n) {
    struct rig *rig = keeper->rig;
    for (; n > 0 && rig->out_len > 0; n--) {
        struct core_batch *batch = rig->out[0];
        rig->out_len--;
        memmove(rig->out, rig->out + 1, rig->out_len * sizeof(rig->out[0]));
        const bool is_old = batch->epoch < atomic_load(&keeper->commit.epoch);
        const size_t before = keeper->open.records_len;
        keeper_normalize(batch, is_old ? NULL : &keeper->open);
        const bool has_any = keeper->open.records_len > before || batch->position.len > 0;
        if (!is_old && has_any) {
            struct core_tally *tally = &batch->stream->tally;
            tally->records += batch->tally.records;
            tally->events += batch->tally.events;
            tally->dropped += batch->tally.dropped;
            keeper_position(keeper, batch);
            batch->txn = keeper->txn;
            keeper->is_begun = true;
        }
        keeper_give(keeper, batch);
    }
}

static inline void keeper_commit(struct keeper *keeper) {
    if (!keeper->is_begun) {
        return;
    }
    for (size_t i = 0; i < keeper->open.records_len; i++) {
        assert_true(keeper->done.records_len < KEEPER_RECORDS_MAX);
        keeper->done.records[keeper->done.records_len++] = keeper->open.records[i];
    }
    for (size_t i = 0; i < keeper->open.lines_len; i++) {
        struct keeper_line *line = &keeper->open.lines[i];
        keeper_put(&keeper->done, line->gen, line->text);
        if (strncmp(line->text, "gone ", 5) == 0) {
            free(line->text);
            keeper->done.lines_len--;
            keeper->gone++;
        }
    }
    keeper->open.records_len = keeper->open.lines_len = 0;
    keeper->is_begun = false;
    atomic_store(&keeper->commit.committed, keeper->txn);
    keeper->txn++;
}

static inline void keeper_abort(struct keeper *keeper) {
    keeper_log_clear(&keeper->open);
    keeper->is_begun = false;
    keeper->txn++;
    atomic_fetch_add(&keeper->commit.epoch, 1);
}

static inline struct core_batch *keeper_take(struct rig *rig) {
    struct keeper *keeper = (struct keeper *)(void *)((char *)rig->commit - offsetof(struct keeper, commit));
    if (keeper->back_len == 0) {
        return NULL;
    }
    struct core_batch *batch = keeper->back[0];
    keeper->back_len--;
    memmove(keeper->back, keeper->back + 1, keeper->back_len * sizeof(keeper->back[0]));
    return batch;
}

/* kill -9, and a new process. What normalize held dies with the old one. */
static inline void keeper_kill(struct keeper *keeper, int state) {
    struct rig *rig = keeper->rig;
    for (const struct ingest_stream *stream = rig->ingest->streams; stream != NULL; stream = stream->next) {
        free(stream->core.decode);
    }
    rig_kill(rig);
    keeper_start(keeper, state);
    rig_open(rig);
}

/* Turns in which nothing comes back. */
static inline void keeper_read(struct keeper *keeper) {
    for (int i = 0; i < 8; i++) {
        keeper->rig->ingest->scan_tick = 0;
        rig_turn(keeper->rig);
    }
}

/* Everything that is there is read, delivered and committed. */
static inline void keeper_settle(struct keeper *keeper) {
    struct rig *rig = keeper->rig;
    for (int quiet = 0; quiet < 3;) {
        const size_t batches = rig->batches;
        rig->ingest->scan_tick = 0;
        rig_turn(rig);
        keeper_send(keeper, RIG_OUT_MAX);
        keeper_commit(keeper);
        rig_turn(rig);
        const bool is_reading = ingest_files_wait(rig->ingest) || rig->ingest->linger.head != NULL;
        const bool is_still = rig->batches == batches && rig->out_len == 0 && keeper->back_len == 0;
        quiet = is_still && !is_reading && ingest_outstanding(rig->ingest) == 0 ? quiet + 1 : 0;
    }
}

/* A clean stop. */
static inline void keeper_stop(struct keeper *keeper) {
    struct rig *rig = keeper->rig;
    ingest_stop(rig->ingest);
    for (int i = 0; !ingest_is_drained(rig->ingest); i++) {
        assert_true(i < 10000);
        keeper_send(keeper, RIG_OUT_MAX);
        keeper_commit(keeper);
        rig_turn(rig);
    }
    ingest_close(rig->ingest);
    rig->ingest = NULL;
    assert_int_equal(rig->pool.free_len, rig->pool.len);
}

/* How often a record was committed. */
static inline size_t keeper_count(const struct keeper *keeper, const char *text) {
    size_t n = 0;
    for (size_t i = 0; i < keeper->done.records_len; i++) {
        n += strcmp(keeper->done.records[i].text, text) == 0 ? 1 : 0;
    }
    return n;
}

/* The committed records, one string. */
static inline void keeper_assert_records(const struct keeper *keeper, const char *want) {
    char got[4096];
    size_t len = 0;
    got[0] = '\0';
    for (size_t i = 0; i < keeper->done.records_len; i++) {
        len += (size_t)snprintf(got + len, sizeof(got) - len, "%s|", keeper->done.records[i].text);
        assert_true(len < sizeof(got));
    }
    assert_string_equal(got, want);
}

/* What the keeper's line of a generation says, NUL-terminated in room. */
static inline bool keeper_row(struct keeper *keeper, uint64_t gen, char room[1024], struct ingest_ledger_row *row) {
    const struct keeper_line *line = keeper_find(&keeper->done, gen);
    if (line == NULL) {
        return false;
    }
    assert_true(strlen(line->text) < 1024);
    strcpy(room, line->text);
    room[strcspn(room, "\n")] = '\0';
    assert_true(ingest_ledger_line(room, row));
    return true;
}

/* The spans of each generation's events join, from where its account begins to where the next one's begins; and the numbers
 * agree with them. */
static inline void keeper_assert_joined(struct keeper *keeper) {
    char room[1024];
    for (size_t i = 0; i < keeper->done.lines_len; i++) {
        struct ingest_ledger_row row;
        assert_true(keeper_row(keeper, keeper->done.lines[i].gen, room, &row));
        uint64_t at = row.begin;
        uint64_t events = 0;
        for (size_t k = 0; k < keeper->done.records_len; k++) {
            const struct keeper_record *record = &keeper->done.records[k];
            if (record->gen == row.gen) {
                assert_int_equal(record->from, at);
                at = record->end;
                events++;
            }
        }
        assert_int_equal(at, row.from);
        assert_int_equal(events, row.tally.events);
        assert_int_equal(row.tally.records, row.tally.events + row.tally.dropped);
    }
}

#endif
