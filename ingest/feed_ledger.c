/* ingest/feed_ledger.c: the ledger's rows: counted while batches come back, written with each transaction, understood by
 * who holds them against the topics.
 *
 * A row is written whole each time, and its key stays: in the compacted topic the latest value says all of it, and a
 * transaction that was done twice would say the same twice. What is counted here goes into the transaction that also commits
 * the offset `to`; if that comes to nothing the counts are forgotten with everything else, and the next row begins at
 * the offset that was committed.
 *
 * Thread: the source's own. Memory: a few rows a partition; nothing is allocated for a record.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/feed_internal.h"

#include "core/json_tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MS_PER_DAY INT64_C(86400000)
#define TIME_MS_END INT64_C(9214646400000) /* 2262-01-01: in that year ns leave 64 bits */
#define DAY_BYTES 10                       /* 2026-11-22 */
#define VALUE_BYTES_MAX (256 * CORE_KIB)   /* of a row that is read: far more than one has */

/* ---- times --------------------------------------------------------------------------------------------------------------- */

int64_t feed_time_ms(int64_t timestamp_ms) {
    return timestamp_ms > 0 && timestamp_ms < TIME_MS_END ? timestamp_ms : 0;
}

int32_t feed_day_of(int64_t timestamp_ms) {
    return (int32_t)(feed_time_ms(timestamp_ms) / MS_PER_DAY);
}

/* ---- counting ------------------------------------------------------------------------------------------------------------ */

void feed_ledger_begin(struct feed_share *share, int64_t from, int64_t today) {
    MUST(from >= 0);
    struct feed_row *row = calloc(1, sizeof(*row));
    MUST(row != NULL);
    row->from = row->to = row->written_to = from;
    row->begun_day = today;
    if (share->row != NULL) {
        share->row->next = row;
    } else {
        share->rows = row;
    }
    share->row = row;
}

void feed_ledger_forget(struct feed_share *share) {
    while (share->rows != NULL) {
        struct feed_row *row = share->rows;
        share->rows = row->next;
        free(row);
    }
    share->row = NULL;
}

void feed_ledger_committed(struct feed_share *share) {
    while (share->rows != share->row && share->rows->written_to == share->rows->to) {
        struct feed_row *row = share->rows;
        share->rows = row->next;
        free(row);
    }
}

/* The row's pair; NULL: it has all the pairs that a row may have, and none is this one. */
static struct feed_pair *pair_of(struct feed_row *row, int64_t day, const char *dataset) {
    struct feed_pair *last = &row->pairs[row->pair_at];
    if (last->dataset == dataset && last->day == day) {
        return last;
    }
    for (size_t i = 0; i < row->pairs_len; i++) {
        if (row->pairs[i].dataset == dataset && row->pairs[i].day == day) {
            row->pair_at = i;
            return &row->pairs[i];
        }
    }
    if (row->pairs_len == FEED_PAIRS_MAX) {
        return NULL;
    }
    row->pair_at = row->pairs_len++;
    row->pairs[row->pair_at] = (struct feed_pair){.day = day, .dataset = dataset};
    return &row->pairs[row->pair_at];
}

void feed_ledger_count(struct feed_share *share, int64_t offset, int64_t accepted_ms, const char *dataset,
                       enum feed_outcome outcome) {
    MUST(share->row != NULL);
    MUST(offset >= share->row->to);
    int64_t day = feed_day_of(accepted_ms);
    struct feed_pair *pair = pair_of(share->row, day, dataset);
    if (pair == NULL) {
        share->row->to = offset;
        feed_ledger_begin(share, offset, share->row->begun_day);
        pair = pair_of(share->row, day, dataset);
    }
    switch (outcome) {
    case FEED_INDEXED:
        pair->indexed++;
        break;
    case FEED_REPEATED:
        pair->repeated++;
        break;
    case FEED_DEAD:
        pair->dead++;
        break;
    }
    share->row->to = offset + 1;
}

void feed_ledger_reach(struct feed_share *share, int64_t to, int64_t today) {
    MUST(share->row != NULL);
    MUST(to >= share->row->to);
    share->row->to = to;
    if (share->row->begun_day != today) {
        feed_ledger_begin(share, to, today);
    }
}

/* ---- writing ------------------------------------------------------------------------------------------------------------- */

static void day_put(struct core_buf *buf, int64_t day) {
    char iso[27];
    MUST(core_time_iso(day * MS_PER_DAY * CORE_NS_PER_MS, iso));
    core_buf_put(buf, iso, DAY_BYTES);
}

static void member_put(struct core_buf *buf, const char *key, int64_t value) {
    core_buf_span(buf, core_span_of(key));
    core_buf_i64(buf, value);
}

/* All pairs of pair i's day, unless one before it had that day. */
static bool day_write(struct core_buf *buf, const struct feed_row *row, size_t i, bool is_first) {
    for (size_t k = 0; k < i; k++) {
        if (row->pairs[k].day == row->pairs[i].day) {
            return false;
        }
    }
    core_buf_put(buf, ",", is_first ? 0 : 1);
    core_buf_char(buf, '"');
    day_put(buf, row->pairs[i].day);
    core_buf_span(buf, CORE_SPAN("\":{"));
    for (size_t k = i; k < row->pairs_len; k++) {
        const struct feed_pair *pair = &row->pairs[k];
        if (pair->day != row->pairs[i].day) {
            continue;
        }
        core_buf_put(buf, ",", k == i ? 0 : 1);
        core_buf_string(buf, core_span_of(pair->dataset));
        member_put(buf, ":{\"indexed\":", (int64_t)pair->indexed);
        member_put(buf, ",\"repeated\":", (int64_t)pair->repeated);
        member_put(buf, ",\"dead\":", (int64_t)pair->dead);
        core_buf_char(buf, '}');
    }
    core_buf_char(buf, '}');
    return true;
}

static void string_member_put(struct core_buf *buf, const char *key, const char *value) {
    core_buf_span(buf, core_span_of(key));
    core_buf_string(buf, core_span_of(value));
}

bool feed_ledger_write(struct core_buf *buf, const struct feed *feed, const struct feed_share *share,
                       const struct feed_row *row, struct core_span *key, struct core_span *value) {
    char *start = buf->pos;
    core_buf_span(buf, core_span_of(feed->env.conf->group));
    core_buf_char(buf, '/');
    core_buf_span(buf, core_span_of(share->topic));
    member_put(buf, "/", share->partition);
    member_put(buf, "/", row->from);
    *key = (struct core_span){.ptr = start, .len = (size_t)(buf->pos - start)};
    start = buf->pos;
    char now[27];
    MUST(core_time_iso(core_now_ns(), now));
    string_member_put(buf, "{\"group\":", feed->env.conf->group);
    string_member_put(buf, ",\"topic\":", share->topic);
    member_put(buf, ",\"partition\":", share->partition);
    member_put(buf, ",\"from\":", row->from);
    member_put(buf, ",\"to\":", row->to);
    string_member_put(buf, ",\"node\":", feed->env.node);
    member_put(buf, ",\"instance\":", feed->env.instance);
    core_buf_span(buf, CORE_SPAN(",\"written\":\""));
    core_buf_put(buf, now, sizeof(now));
    core_buf_span(buf, CORE_SPAN("\",\"days\":{"));
    bool is_first = true;
    for (size_t i = 0; i < row->pairs_len; i++) {
        is_first = !day_write(buf, row, i, is_first) && is_first;
    }
    core_buf_span(buf, CORE_SPAN("}}"));
    *value = (struct core_span){.ptr = start, .len = (size_t)(buf->pos - start)};
    return !buf->is_full;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

/* A number without sign, fraction or exponent, at most INT64_MAX. */
static bool number_read(const struct core_json_tree *object, const char *key, uint64_t *out) {
    const struct core_json_tree *member = core_json_tree_get(object, key);
    if (member == NULL || member->kind != CORE_JSON_NUMBER || member->text.len == 0) {
        return false;
    }
    for (size_t i = 0; i < member->text.len; i++) {
        if (!core_is_digit(member->text.ptr[i])) {
            return false;
        }
    }
    errno = 0;
    *out = strtoull(member->text.ptr, NULL, 10); /* a NUL follows */
    return errno == 0 && *out <= INT64_MAX;
}

static bool is_day(struct core_span text) {
    static const char shape[] = "dddd-dd-dd";
    if (text.len != DAY_BYTES) {
        return false;
    }
    for (size_t i = 0; i < DAY_BYTES; i++) {
        if (shape[i] == '-' ? text.ptr[i] != '-' : !core_is_digit(text.ptr[i])) {
            return false;
        }
    }
    return true;
}

/* on_row NULL: only look whether all of it is right, so that nothing is told of a row that is damaged further on. */
static bool days_read(const struct core_json_tree *days, struct feed_ledger_row *row,
                      void (*on_row)(void *ctx, const struct feed_ledger_row *row), void *ctx) {
    if (days == NULL || days->kind != CORE_JSON_OBJECT) {
        return false;
    }
    for (const struct core_json_tree *day = days->first; day != NULL; day = day->next) {
        if (day->kind != CORE_JSON_OBJECT || !is_day(day->key)) {
            return false;
        }
        for (const struct core_json_tree *dataset = day->first; dataset != NULL; dataset = dataset->next) {
            row->day = day->key;
            row->dataset = dataset->key;
            if (dataset->key.len == 0 || !number_read(dataset, "indexed", &row->indexed) ||
                !number_read(dataset, "repeated", &row->repeated) || !number_read(dataset, "dead", &row->dead)) {
                return false;
            }
            if (on_row != NULL) {
                on_row(ctx, row);
            }
        }
    }
    return true;
}

static bool row_read(const struct core_json_tree *tree, struct feed_ledger_row *row) {
    uint64_t partition = 0;
    uint64_t from = 0;
    uint64_t to = 0;
    row->group = core_json_tree_text(tree, "group");
    row->topic = core_json_tree_text(tree, "topic");
    if (row->group.len == 0 || row->topic.len == 0 || !number_read(tree, "partition", &partition) ||
        !number_read(tree, "from", &from) || !number_read(tree, "to", &to)) {
        return false;
    }
    row->partition = (int)partition;
    row->from = (int64_t)from;
    row->to = (int64_t)to;
    return partition <= INT32_MAX && from <= to;
}

bool feed_ledger_parse(struct core_span value, void (*on_row)(void *ctx, const struct feed_ledger_row *row),
                       void *ctx) {
    MUST(on_row != NULL);
    if (value.len == 0 || value.len > VALUE_BYTES_MAX) {
        return false;
    }
    struct core_arena arena = {0};
    struct core_fail fail;
    if (core_arena_init(&arena, CORE_JSON_TREE_BYTES_MIN + CORE_JSON_TREE_PER_BYTE * value.len, &fail) != CORE_OK) {
        return false;
    }
    struct core_json_tree *tree = NULL;
    struct feed_ledger_row row = {0};
    bool is_ours = core_json_tree_read(&arena, value, &tree, &fail) == CORE_OK && row_read(tree, &row);
    const struct core_json_tree *days = is_ours ? core_json_tree_get(tree, "days") : NULL;
    is_ours = is_ours && days_read(days, &row, NULL, NULL);
    if (is_ours && days_read(days, &row, on_row, ctx) && row.dataset.len == 0) {
        on_row(ctx, &row); /* nothing but tombstones */
    }
    core_arena_destroy(&arena);
    return is_ours;
}
