/* cmd/feed_book.c: the rows of feeders, the records of the topics, and what they come to.
 *
 * Rows are few (a partition has one a day, more where it changed hands); records are many, and come in the order of their
 * partition: each partition remembers the row that the last record was in, and each row the cell, so that a record costs a
 * few comparisons. Records outside of all rows are kept in cells of their own: what is in a hole between rows is a finding,
 * what is behind the last row is open.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/feed_book.h"

#include <stdio.h>
#include <stdlib.h>

#define SECONDS_A_DAY 86400

const char *const feed_wrong_names[FEED_WRONG_KINDS] = {
    [FEED_WRONG_GAP] = "gap",
    [FEED_WRONG_OVERLAP] = "overlap",
    [FEED_WRONG_COUNT] = "count",
    [FEED_WRONG_BEHIND] = "behind_the_end",
};

/* ---- small things -------------------------------------------------------------------------------------------------------- */

/* Room for one more item in an array, zeroed. */
static void *grown(void *items, size_t len, size_t *cap, size_t size) {
    if (len < *cap) {
        return items;
    }
    size_t more = *cap == 0 ? 16 : *cap * 2;
    char *moved = realloc(items, more * size);
    MUST(moved != NULL); /* rows, days and datasets: few and small */
    memset(moved + *cap * size, 0, (more - *cap) * size);
    *cap = more;
    return moved;
}

bool feed_book_day_parse(struct core_span text, int32_t *day) {
    char digits[11];
    int year = 0;
    unsigned month = 0;
    unsigned date = 0;
    int len = 0;
    if (text.len != sizeof digits - 1) {
        return false;
    }
    memcpy(digits, text.ptr, text.len);
    digits[text.len] = '\0';
    /* NOLINTNEXTLINE(cert-err34-c): bounded digits, checked below */
    if (sscanf(digits, "%4d-%2u-%2u%n", &year, &month, &date, &len) != 3 || len != (int)text.len || month < 1 ||
        month > 12 || date < 1 || date > 31) {
        return false;
    }
    *day = (int32_t)core_days_from_civil(year, month, date);
    return true;
}

void feed_book_day_put(int32_t day, char out[11]) {
    char iso[28] = "0000-00-00";
    if (core_time_iso((int64_t)day * SECONDS_A_DAY * CORE_NS_PER_S, iso)) {
        iso[10] = '\0';
    }
    memcpy(out, iso, 11);
    out[10] = '\0';
}

static enum core_err dataset_of(struct feed_book *book, struct core_span name, uint32_t *index,
                                struct core_fail *fail) {
    for (size_t i = 0; i < book->datasets_len; i++) {
        if (core_span_is(name, book->datasets[i])) {
            *index = (uint32_t)i;
            return CORE_OK;
        }
    }
    if (book->datasets_len == FEED_BOOK_NAMES_MAX) {
        return core_fail_set(fail, CORE_LIMIT, "datasets",
                             "the topics have more than %d of them; are these documents? (feed.topics)",
                             FEED_BOOK_NAMES_MAX);
    }
    book->datasets = grown(book->datasets, book->datasets_len, &book->datasets_cap, sizeof(char *));
    char *copy = strndup(name.ptr != NULL ? name.ptr : "", name.len);
    MUST(copy != NULL);
    *index = (uint32_t)book->datasets_len;
    book->datasets[book->datasets_len++] = copy;
    return CORE_OK;
}

static struct feed_cell *cell_of(struct feed_cells *cells, int32_t day, uint32_t dataset) {
    for (size_t i = 0; i < cells->len; i++) {
        struct feed_cell *cell = &cells->items[i];
        if (cell->day == day && cell->dataset == dataset) {
            cells->last = i;
            return cell;
        }
    }
    cells->items = grown(cells->items, cells->len, &cells->cap, sizeof *cells->items);
    cells->last = cells->len++;
    cells->items[cells->last] = (struct feed_cell){.day = day, .dataset = dataset};
    return &cells->items[cells->last];
}

static void row_release(struct feed_row *row) {
    free(row->cells.items);
    free(row->hole.items);
    *row = (struct feed_row){0};
}

/* ---- rows ---------------------------------------------------------------------------------------------------------------- */

static struct feed_part *part_of(struct feed_book *book, struct core_span topic, int partition) {
    for (size_t i = 0; i < book->parts_len; i++) {
        if (book->parts[i].partition == partition && core_span_is(topic, book->parts[i].topic)) {
            return &book->parts[i];
        }
    }
    book->parts = grown(book->parts, book->parts_len, &book->parts_cap, sizeof *book->parts);
    struct feed_part *part = &book->parts[book->parts_len++];
    *part = (struct feed_part){.topic = strndup(topic.ptr, topic.len), .partition = partition};
    MUST(part->topic != NULL);
    return part;
}

static struct feed_row *row_find(struct feed_part *part, int64_t from) {
    for (size_t i = 0; i < part->rows_len; i++) {
        if (part->rows[i].from == from) {
            return &part->rows[i];
        }
    }
    return NULL;
}

struct feed_row *feed_book_row(struct feed_book *book, struct core_span topic, int partition, int64_t from,
                               int64_t to) {
    MUST(book != NULL);
    struct feed_part *part = part_of(book, topic, partition);
    struct feed_row *row = row_find(part, from);
    if (row != NULL && row->to > to) {
        return NULL;
    }
    if (row == NULL) {
        part->rows = grown(part->rows, part->rows_len, &part->rows_cap, sizeof *part->rows);
        row = &part->rows[part->rows_len++];
    }
    row_release(row);
    row->from = from;
    row->to = to;
    return row;
}

enum core_err feed_book_count(struct feed_book *book, struct feed_row *row, const struct feed_cell *cell,
                              struct core_span dataset, struct core_fail *fail) {
    MUST(row != NULL);
    uint32_t index = 0;
    enum core_err err = dataset_of(book, dataset, &index, fail);
    if (err == CORE_OK) {
        struct feed_cell *to = cell_of(&row->cells, cell->day, index);
        to->indexed += cell->indexed;
        to->repeated += cell->repeated;
        to->dead += cell->dead;
    }
    return err;
}

static void row_remove(struct feed_part *part, size_t at) {
    row_release(&part->rows[at]);
    part->rows_len--;
    memmove(&part->rows[at], &part->rows[at + 1], (part->rows_len - at) * sizeof *part->rows);
    part->rows[part->rows_len] = (struct feed_row){0};
}

void feed_book_drop(struct feed_book *book, struct core_span topic, int partition, int64_t from) {
    struct feed_part *part = part_of(book, topic, partition);
    struct feed_row *row = row_find(part, from);
    if (row != NULL) {
        row_remove(part, (size_t)(row - part->rows));
    }
}

static int by_from(const void *a, const void *b) {
    const struct feed_row *left = a;
    const struct feed_row *right = b;
    return left->from < right->from ? -1 : left->from > right->from;
}

static bool row_is_since(const struct feed_row *row, int32_t since) {
    bool is_any = since == FEED_BOOK_DAY_MIN;
    for (size_t i = 0; i < row->cells.len && !is_any; i++) {
        is_any = row->cells.items[i].day >= since;
    }
    return is_any;
}

/* Leave out the rows before the first one that speaks of `since`. */
static void part_since(struct feed_part *part, int32_t since) {
    size_t old = 0;
    while (old < part->rows_len && !row_is_since(&part->rows[old], since)) {
        old++;
    }
    if (old > 0) {
        part->start = part->rows[old - 1].to;
    }
    while (old > 0) {
        row_remove(part, --old);
    }
}

bool feed_book_settle(struct feed_book *book, int32_t since) {
    MUST(book != NULL);
    bool is_joined = true;
    book->rows_len = 0;
    for (size_t i = 0; i < book->parts_len; i++) {
        struct feed_part *part = &book->parts[i];
        if (part->rows_len > 0) {
            qsort(part->rows, part->rows_len, sizeof *part->rows, by_from);
        }
        part_since(part, since);
        for (size_t k = 0; k < part->rows_len; k++) {
            struct feed_row *row = &part->rows[k];
            row->hole_first = -1;
            is_joined = is_joined && (k == 0 || row->from == part->rows[k - 1].to);
        }
        book->rows_len += part->rows_len;
    }
    return is_joined;
}

/* ---- records ------------------------------------------------------------------------------------------------------------- */

size_t feed_book_place(struct feed_book *book, const char *topic, int partition, int64_t low, int64_t high) {
    struct feed_part *part = part_of(book, core_span_of(topic), partition);
    part->is_there = true;
    part->low = low;
    part->high = high > part->high ? high : part->high;
    return (size_t)(part - book->parts);
}

/* Where a record of this offset is counted. */
static struct feed_cells *cells_at(struct feed_part *part, int64_t offset) {
    while (part->at < part->rows_len && part->rows[part->at].to <= offset) {
        part->at++;
    }
    if (part->at == part->rows_len) {
        return &part->open;
    }
    struct feed_row *row = &part->rows[part->at];
    if (offset >= row->from) {
        return &row->cells;
    }
    row->hole_first = row->hole_first < 0 ? offset : row->hole_first;
    row->hole_last = offset;
    return &row->hole;
}

enum core_err feed_book_take(struct feed_book *book, size_t part_at, int64_t offset, int32_t day,
                             struct core_span dataset, struct core_fail *fail) {
    MUST(part_at < book->parts_len);
    struct feed_part *part = &book->parts[part_at];
    if (offset < part->start) {
        return CORE_OK;
    }
    part->records++;
    struct feed_cells *cells = cells_at(part, offset);
    if (cells->last < cells->len) { /* nearly always the one before */
        struct feed_cell *cell = &cells->items[cells->last];
        if (cell->day == day && core_span_is(dataset, book->datasets[cell->dataset])) {
            cell->counted++;
            return CORE_OK;
        }
    }
    uint32_t index = 0;
    enum core_err err = dataset_of(book, dataset, &index, fail);
    if (err == CORE_OK) {
        cell_of(cells, day, index)->counted++;
    }
    return err;
}

/* ---- the judgement ------------------------------------------------------------------------------------------------------- */

static void find(struct feed_book *book, const struct feed_finding *finding) {
    book->wrong[finding->kind]++;
    if (book->findings_len < FEED_BOOK_FINDINGS_MAX) {
        book->findings = grown(book->findings, book->findings_len, &book->findings_cap, sizeof *book->findings);
        book->findings[book->findings_len++] = *finding;
    }
}

static struct feed_sum *sum_of(struct feed_book *book, const struct feed_cell *cell) {
    for (size_t i = book->sums_len; i-- > 0;) {
        if (book->sums[i].day == cell->day && book->sums[i].dataset == cell->dataset) {
            return &book->sums[i];
        }
    }
    book->sums = grown(book->sums, book->sums_len, &book->sums_cap, sizeof *book->sums);
    book->sums[book->sums_len] = (struct feed_sum){.day = cell->day, .dataset = cell->dataset};
    return &book->sums[book->sums_len++];
}

static uint64_t cells_counted(const struct feed_cells *cells) {
    uint64_t counted = 0;
    for (size_t i = 0; i < cells->len; i++) {
        counted += cells->items[i].counted;
    }
    return counted;
}

/* Records that no row speaks of, or not yet. */
static void sum_unfed(struct feed_book *book, const struct feed_cells *cells, bool is_open) {
    for (size_t i = 0; i < cells->len; i++) {
        struct feed_sum *sum = sum_of(book, &cells->items[i]);
        sum->accepted += cells->items[i].counted;
        sum->open += is_open ? cells->items[i].counted : 0;
    }
}

static void judge_row(struct feed_book *book, size_t part_at, const struct feed_row *row) {
    const struct feed_part *part = &book->parts[part_at];
    bool is_cut = !part->is_there || row->from < part->low;
    for (size_t i = 0; i < row->cells.len; i++) {
        const struct feed_cell *cell = &row->cells.items[i];
        uint64_t said = cell->indexed + cell->repeated + cell->dead;
        struct feed_sum *sum = sum_of(book, cell);
        sum->accepted += cell->counted;
        sum->indexed += cell->indexed;
        sum->repeated += cell->repeated;
        sum->dead += cell->dead;
        sum->deleted += is_cut && said > cell->counted ? said - cell->counted : 0;
        if (!row->is_over && (cell->counted > said || (cell->counted < said && !is_cut))) {
            find(book, &(struct feed_finding){.kind = FEED_WRONG_COUNT,
                                              .part = part_at,
                                              .from = row->from,
                                              .to = row->to,
                                              .day = cell->day,
                                              .dataset = cell->dataset,
                                              .counted = cell->counted,
                                              .said = said});
        }
    }
}

/* Before its rows are judged by number: what two rows speak of is not told apart. */
static void judge_overlaps(struct feed_book *book, size_t part_at) {
    struct feed_part *part = &book->parts[part_at];
    struct feed_row *last = NULL; /* the one that reaches furthest */
    for (size_t k = 0; k < part->rows_len; k++) {
        struct feed_row *row = &part->rows[k];
        if (last != NULL && row->from < last->to) {
            row->is_over = last->is_over = true;
            find(book, &(struct feed_finding){.kind = FEED_WRONG_OVERLAP,
                                              .part = part_at,
                                              .from = row->from,
                                              .to = row->to < last->to ? row->to : last->to});
        }
        last = last == NULL || row->to > last->to ? row : last;
    }
    if (last != NULL && part->is_there && last->to > part->high) {
        find(book, &(struct feed_finding){.kind = FEED_WRONG_BEHIND,
                                          .part = part_at,
                                          .from = last->from,
                                          .to = last->to,
                                          .said = (uint64_t)part->high});
        last->is_over = true;
    }
}

static void judge_part(struct feed_book *book, size_t part_at) {
    const struct feed_part *part = &book->parts[part_at];
    book->tombstones += part->tombstones;
    judge_overlaps(book, part_at);
    for (size_t k = 0; k < part->rows_len; k++) {
        const struct feed_row *row = &part->rows[k];
        if (row->hole_first >= 0) {
            sum_unfed(book, &row->hole, false);
            find(book, &(struct feed_finding){.kind = FEED_WRONG_GAP,
                                              .part = part_at,
                                              .from = row->hole_first,
                                              .to = row->hole_last + 1,
                                              .counted = cells_counted(&row->hole)});
        }
        judge_row(book, part_at, row);
    }
    sum_unfed(book, &part->open, true);
}

/* The names, for by_day(): qsort() hands on no context. */
struct sum_named {
    struct feed_sum sum;
    const char *name;
};

static int by_day(const void *a, const void *b) {
    const struct sum_named *left = a;
    const struct sum_named *right = b;
    if (left->sum.day != right->sum.day) {
        return left->sum.day < right->sum.day ? -1 : 1;
    }
    return strcmp(left->name, right->name);
}

static void sums_sort(struct feed_book *book) {
    struct sum_named *named = calloc(book->sums_len + 1, sizeof *named);
    MUST(named != NULL);
    for (size_t i = 0; i < book->sums_len; i++) {
        named[i] = (struct sum_named){book->sums[i], book->datasets[book->sums[i].dataset]};
    }
    qsort(named, book->sums_len, sizeof *named, by_day);
    for (size_t i = 0; i < book->sums_len; i++) {
        const struct feed_sum *sum = &named[i].sum;
        book->sums[i] = *sum;
        book->all.accepted += sum->accepted;
        book->all.deleted += sum->deleted;
        book->all.indexed += sum->indexed;
        book->all.repeated += sum->repeated;
        book->all.dead += sum->dead;
        book->all.open += sum->open;
    }
    free(named);
}

void feed_book_judge(struct feed_book *book) {
    MUST(book != NULL);
    MUST(book->sums_len == 0 && book->findings_len == 0);
    for (size_t i = 0; i < book->parts_len; i++) {
        judge_part(book, i);
    }
    sums_sort(book);
}

bool feed_book_is_right(const struct feed_book *book) {
    for (size_t i = 0; i < FEED_WRONG_KINDS; i++) {
        if (book->wrong[i] > 0) {
            return false;
        }
    }
    return true;
}

int64_t feed_book_difference(const struct feed_sum *sum) {
    return (int64_t)(sum->accepted + sum->deleted - sum->open) - (int64_t)(sum->indexed + sum->repeated + sum->dead);
}

void feed_book_release(struct feed_book *book) {
    MUST(book != NULL);
    for (size_t i = 0; i < book->parts_len; i++) {
        struct feed_part *part = &book->parts[i];
        for (size_t k = 0; k < part->rows_len; k++) {
            row_release(&part->rows[k]);
        }
        free(part->rows);
        free(part->open.items);
        free(part->topic);
    }
    for (size_t i = 0; i < book->datasets_len; i++) {
        free(book->datasets[i]);
    }
    free(book->parts);
    free(book->datasets);
    free(book->sums);
    free(book->findings);
    *book = (struct feed_book){0};
}
