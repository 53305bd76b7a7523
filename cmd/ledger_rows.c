/* cmd/ledger_rows.c: the rows of the ledger, one a generation, and their sums.
 *
 * A generation may be told of several times, by a ledger file and then by the checkpoint: the last one counts, in the
 * place of the first. What the topics hold comes from cmd/proof.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/ledger_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct reading {
    struct ledger_book *book;
    int64_t since_ns;
};

static size_t table_at(const struct ledger_book *book, uint64_t gen) {
    size_t at = (size_t)(gen * UINT64_C(0x9E3779B97F4A7C15)) & (book->table_cap - 1);
    while (book->table[at] != 0 && book->rows[book->table[at] - 1].gen != gen) {
        at = (at + 1) & (book->table_cap - 1);
    }
    return at;
}

/* The generation's row, made if there is none. */
static struct ledger_row *row_of(struct ledger_book *book, uint64_t gen) {
    if ((book->len + 1) * 2 > book->table_cap) {
        book->cap = book->cap == 0 ? 512 : book->cap * 2;
        book->table_cap = book->cap * 2;
        free(book->table);
        book->rows = realloc(book->rows, book->cap * sizeof *book->rows);
        book->table = calloc(book->table_cap, sizeof *book->table);
        MUST(book->rows != NULL && book->table != NULL);
        for (size_t i = 0; i < book->len; i++) {
            book->table[table_at(book, book->rows[i].gen)] = i + 1;
        }
    }
    size_t at = table_at(book, gen);
    if (book->table[at] == 0) {
        book->rows[book->len] = (struct ledger_row){.gen = gen};
        book->table[at] = ++book->len;
    }
    return &book->rows[book->table[at] - 1];
}

static void text_set(char **text, const char *value) {
    free(*text);
    *text = strdup(value);
    MUST(*text != NULL);
}

static void row_take(void *reading_ptr, const struct ingest_ledger_row *told) {
    const struct reading *reading = reading_ptr;
    struct ledger_book *book = reading->book;
    if (told->is_over && told->over_ns < book->oldest_over_ns) {
        book->oldest_over_ns = told->over_ns;
    }
    if (told->is_over && told->over_ns < reading->since_ns) {
        return;
    }
    struct ledger_row *row = row_of(book, told->gen);
    text_set(&row->path, told->path);
    text_set(&row->first_path, told->first_path);
    row->begin = told->begin;
    row->from = told->from;
    row->pos = told->pos;
    row->tally = told->tally;
    row->mtime_ns = told->mtime_ns;
    row->is_over = told->is_over;
    row->over_ns = told->over_ns;
}

enum core_err ledger_book_read(struct ledger_book *book, const char *state_dir, int64_t since_ns,
                               struct core_fail *fail) {
    char old[PATH_MAX];
    *book = (struct ledger_book){.oldest_over_ns = INT64_MAX};
    int len = snprintf(old, sizeof old, "%s/ledger.old", state_dir);
    book->is_cut = len > 0 && (size_t)len < sizeof old && access(old, F_OK) == 0;
    struct reading reading = {.book = book, .since_ns = since_ns};
    return ingest_ledger_read(state_dir, row_take, &reading, fail);
}

void ledger_book_add_topics(struct ledger_book *book, const struct proof *proof) {
    for (size_t i = 0; i < proof->gens_len; i++) {
        const struct proof_gen *gen = proof->gens[i];
        if (!gen->has_position) {
            continue;
        }
        struct ledger_row *row = row_of(book, gen->gen);
        if (row->path == NULL) { /* this machine does not know it, or not any more */
            text_set(&row->path, gen->path);
            text_set(&row->first_path, gen->first_path);
            row->begin = gen->begin;
            row->from = row->pos = gen->from;
            row->tally = gen->tally;
            row->mtime_ns = gen->mtime_ns;
            row->is_over = gen->is_over;
        }
        row->is_in_topics = true;
        row->in_topics = gen->events + gen->dead;
    }
}

void ledger_book_release(struct ledger_book *book) {
    for (size_t i = 0; i < book->len; i++) {
        free(book->rows[i].path);
        free(book->rows[i].first_path);
    }
    free(book->rows);
    free(book->table);
    *book = (struct ledger_book){0};
}

int64_t ledger_difference(const struct core_tally *tally) {
    return (int64_t)(tally->records - tally->events - tally->dead - tally->dropped - tally->lost);
}

bool ledger_row_is_wrong(const struct ledger_row *row) {
    return ledger_difference(&row->tally) != 0 || row->tally.lost != 0;
}

static void sum_add(struct ledger_sum *sum, const struct ledger_row *row) {
    sum->files++;
    sum->tally.records += row->tally.records;
    sum->tally.events += row->tally.events;
    sum->tally.dead += row->tally.dead;
    sum->tally.dropped += row->tally.dropped;
    sum->tally.lost += row->tally.lost;
    sum->in_topics += row->in_topics;
}

size_t ledger_sums(const struct ledger_book *book, struct ledger_sum sums[LEDGER_LOGS_MAX], struct ledger_sum *all) {
    size_t len = 0;
    *all = (struct ledger_sum){0};
    for (size_t i = 0; i < book->len; i++) {
        struct core_span log = zeek_log_of(book->rows[i].first_path);
        log.len = log.len < LEDGER_LOG_BYTES_MAX ? log.len : LEDGER_LOG_BYTES_MAX - 1;
        size_t at = 0;
        while (at < len && !core_span_is(log, sums[at].log)) {
            at++;
        }
        sum_add(all, &book->rows[i]);
        if (at == LEDGER_LOGS_MAX) {
            continue;
        }
        if (at == len) {
            sums[len++] = (struct ledger_sum){0};
            memcpy(sums[at].log, log.ptr, log.len);
        }
        sum_add(&sums[at], &book->rows[i]);
    }
    return len;
}
