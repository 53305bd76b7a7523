/* enrich/seen.c: the folder of segments: written, merged, dropped, asked.
 *
 *     <state>/seen/0000000000000007-0000000000000012.seen
 *
 * A table that is written gets the next number; a segment that others were merged into has the first and the last of theirs.
 * So what a crash left between the new file and the removal of the old ones is seen by its name: a segment whose numbers are
 * all in another's is that one's part, and goes.
 *
 * Merged are, each when it is over: the segments of an hour, then the hours of a day (UTC, of when they were written);
 * and, lest there be many, eight tables of the running hour. A segment is merged only up to an eighth of what all may have, so
 * that dropping the oldest one never drops much; while it is being written, that much more stands on the disk.
 *
 * A table is written as it is, and compressed when it is merged: while events come fast, the former takes a fifth of the
 * time. It takes twice the room, and so a table that is not little beside what all may have is compressed at once.
 *
 * Crash: a segment is there whole or not at all; older ones are never touched. Thread: one at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/seen_internal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEEN_MAGIC 0x7365656eu
#define PATH_BYTES 4096
#define NAME_BYTES 64
#define FOLDER_MODE 0750
#define HOUR_NS (3600 * CORE_NS_PER_S)
#define DAY_NS (24 * HOUR_NS)
#define HEX 16
#define RUNNING_MAX 8  /* tables of the running hour */
#define KEY_BYTES 20   /* of an address; more than all else adds to a text */
#define KEY_GROWTH 6   /* of a text that becomes longer: a name in punycode */
#define ASK_EVERY 4096 /* records between two questions whether to go on */
#define MERGED_PARTS 8 /* a merged one has at most an eighth of all */

struct segment {
    uint64_t from; /* numbers */
    uint64_t to;
    struct seen_info info;
};

struct seen {
    uint32_t magic;
    char dir[PATH_BYTES];
    struct seen_limits limits;
    struct segment *segments; /* by number */
    size_t segments_len;
    size_t segments_cap;
    uint64_t next;
    uint64_t dropped;
    uint64_t merged;
    bool (*goes_on)(void *ctx); /* NULL: always */
    void *goes_on_ctx;
};

void seen_heed(struct seen *seen, bool (*goes_on)(void *ctx), void *ctx) {
    MUST(seen->magic == SEEN_MAGIC);
    seen->goes_on = goes_on;
    seen->goes_on_ctx = ctx;
}

/* After so many records. */
static bool goes_on(const struct seen *seen, uint64_t records) {
    return seen->goes_on == NULL || records % ASK_EVERY != 0 || seen->goes_on(seen->goes_on_ctx);
}

static void name_write(const struct segment *segment, char out[NAME_BYTES]) {
    (void)snprintf(out, NAME_BYTES, "%016" PRIx64 "-%016" PRIx64 ".seen", segment->from, segment->to);
}

static bool name_read(const char *name, struct segment *segment) {
    char again[NAME_BYTES];
    char *end;
    segment->from = strtoull(name, &end, HEX);
    segment->to = *end == '-' ? strtoull(end + 1, &end, HEX) : 0;
    name_write(segment, again);
    return strcmp(name, again) == 0 && segment->from <= segment->to && segment->to < UINT64_MAX;
}

static enum core_err segment_remove(const struct seen *seen, const struct segment *segment, struct core_fail *fail) {
    char name[NAME_BYTES];
    char path[PATH_BYTES + NAME_BYTES];
    name_write(segment, name);
    (void)snprintf(path, sizeof path, "%s/%s", seen->dir, name);
    if (unlink(path) != 0 && errno != ENOENT) {
        return core_fail_errno(fail, path, "cannot remove it");
    }
    return CORE_OK;
}

static void segment_add(struct seen *seen, const struct segment *segment) {
    if (seen->segments_len == seen->segments_cap) {
        seen->segments_cap = seen->segments_cap * 2 + RUNNING_MAX;
        seen->segments = realloc(seen->segments, seen->segments_cap * sizeof *seen->segments);
        MUST(seen->segments != NULL);
    }
    seen->segments[seen->segments_len++] = *segment;
    seen->next = segment->to >= seen->next ? segment->to + 1 : seen->next;
}

/* ---- opening ----------------------------------------------------------------------------------------------------------------- */

/* By their first number; of two that begin alike the one that has the other in it is first. */
static int segment_compare(const void *a, const void *b) {
    const struct segment *one = a;
    const struct segment *two = b;
    if (one->from != two->from) {
        return one->from < two->from ? -1 : 1;
    }
    return one->to > two->to ? -1 : one->to < two->to;
}

static enum core_err folder_list(struct seen *seen, struct core_fail *fail) {
    if (mkdir(seen->dir, FOLDER_MODE) != 0 && errno != EEXIST) {
        return core_fail_errno(fail, seen->dir, "cannot make the folder of what was seen");
    }
    DIR *dir = opendir(seen->dir);
    if (dir == NULL) {
        return core_fail_errno(fail, seen->dir, "cannot read the folder of what was seen");
    }
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        struct segment segment = {0};
        if (name_read(entry->d_name, &segment)) {
            segment_add(seen, &segment);
        }
    }
    (void)closedir(dir);
    if (seen->segments_len > 0) {
        qsort(seen->segments, seen->segments_len, sizeof *seen->segments, segment_compare);
    }
    return CORE_OK;
}

/* Read what it says of itself. What is no segment any more cannot become one again. */
static enum core_err segment_look(const struct seen *seen, struct segment *segment, bool *is_good,
                                  struct core_fail *fail) {
    struct seen_reader *reader;
    char name[NAME_BYTES];
    name_write(segment, name);
    enum core_err err = seen_reader_open(&reader, seen->dir, name, fail);
    *is_good = err == CORE_OK;
    if (err == CORE_BAD) {
        core_log_fail(CORE_LEVEL_ERROR, "lookback",
                      "a file of what was seen is damaged and is removed: what it held cannot be looked back at", fail);
        return segment_remove(seen, segment, fail);
    }
    if (err == CORE_OK) {
        segment->info = *seen_reader_info(reader);
        seen_reader_close(reader);
    }
    return err;
}

static enum core_err segments_look(struct seen *seen, struct core_fail *fail) {
    size_t kept = 0;
    for (size_t i = 0; i < seen->segments_len; i++) {
        struct segment segment = seen->segments[i];
        bool is_good = false;
        enum core_err err = CORE_OK;
        if (kept > 0 && segment.to <= seen->segments[kept - 1].to) {
            err = segment_remove(seen, &segment, fail); /* merged, before a crash */
        } else {
            err = segment_look(seen, &segment, &is_good, fail);
        }
        if (err != CORE_OK) {
            return err;
        }
        if (is_good) {
            seen->segments[kept++] = segment;
        }
    }
    seen->segments_len = kept;
    return CORE_OK;
}

enum core_err seen_open(struct seen **out, const char *dir, const struct seen_limits *limits, struct core_fail *fail) {
    struct seen *seen = calloc(1, sizeof *seen);
    MUST(seen != NULL);
    *out = NULL;
    seen->magic = SEEN_MAGIC;
    seen->limits = *limits;
    (void)snprintf(seen->dir, sizeof seen->dir, "%s", dir);
    enum core_err err = folder_list(seen, fail);
    err = err == CORE_OK ? segments_look(seen, fail) : err;
    if (err != CORE_OK) {
        seen_close(seen);
        return err;
    }
    *out = seen;
    return CORE_OK;
}

void seen_close(struct seen *seen) {
    if (seen != NULL) {
        MUST(seen->magic == SEEN_MAGIC);
        seen->magic = 0;
        free(seen->segments);
        free(seen);
    }
}

struct seen_totals seen_totals(const struct seen *seen) {
    struct seen_totals totals = {.segments = seen->segments_len, .dropped = seen->dropped, .merged = seen->merged};
    for (size_t i = 0; i < seen->segments_len; i++) {
        totals.bytes += seen->segments[i].info.bytes;
        totals.records += seen->segments[i].info.records;
    }
    return totals;
}

/* ---- a table becomes a segment ------------------------------------------------------------------------------------------------ */

/* An entry, and the key that it is written by. */
struct keyed {
    struct core_span key;
    const struct seen_entry *entry;
};

/* What is sorted: the first bytes of a key, which nearly always tell, and whose it is. */
struct sorted {
    uint64_t head;
    const struct keyed *keyed;
};

#define HEAD_BYTES sizeof(uint64_t)
#define BYTE_BITS 8
#define BYTE_VALUES 256
#define AHEAD 8 /* records whose memory is asked for before they are written */

static uint64_t head_of(struct core_span key) {
    uint64_t head = 0;
    for (size_t i = 0; i < HEAD_BYTES; i++) {
        head = head << BYTE_BITS | (i < key.len ? (unsigned char)key.ptr[i] : 0);
    }
    return head;
}

/* The keys of all entries, each in its one form. What has none is left out: no indicator could name it. */
static size_t table_keys(const struct seen_table *table, struct keyed *out, char *keys, const char *end) {
    char form[ENRICH_VALUE_BYTES_MAX];
    char room[SEEN_SHORT_BYTES];
    size_t len = 0;
    for (uint32_t i = 0; i < table->entries_len && end - keys >= SEEN_KEY_BYTES_MAX; i++) {
        const struct seen_entry *entry = &table->entries[i];
        struct core_span text = seen_table_text(table, entry, room);
        enum core_indicator type = (enum core_indicator)entry->type;
        struct core_span *key = &out[len].key;
        const char *why;
        if (!(type == CORE_INDICATOR_IP && seen_key_plain(text, keys, key)) &&
            !(enrich_canonical(&type, text, form, &text, &why) && seen_key_write(type, text, keys, key))) {
            continue;
        }
        out[len].entry = entry;
        keys += key->len;
        len++;
    }
    return len;
}

/* By head: a byte at a time, from the last to the first; bytes in which all are alike are passed over. spare: as long as
 * rows. Returns which of the two it is in then. */
static struct sorted *heads_sort(struct sorted *rows, struct sorted *spare, size_t len) {
    uint32_t counts[HEAD_BYTES][BYTE_VALUES] = {{0}};
    for (size_t i = 0; i < len; i++) {
        for (size_t byte = 0; byte < HEAD_BYTES; byte++) {
            counts[byte][rows[i].head >> byte * BYTE_BITS & (BYTE_VALUES - 1)]++;
        }
    }
    for (size_t byte = 0; byte < HEAD_BYTES && len > 0; byte++) {
        uint32_t *at = counts[byte];
        if (at[rows[0].head >> byte * BYTE_BITS & (BYTE_VALUES - 1)] == len) {
            continue;
        }
        uint32_t before = 0;
        for (size_t value = 0; value < BYTE_VALUES; value++) {
            uint32_t count = at[value];
            at[value] = before;
            before += count;
        }
        for (size_t i = 0; i < len; i++) {
            spare[at[rows[i].head >> byte * BYTE_BITS & (BYTE_VALUES - 1)]++] = rows[i];
        }
        struct sorted *other = rows;
        rows = spare;
        spare = other;
    }
    return rows;
}

static int sorted_compare(const void *a, const void *b) {
    return seen_key_compare(((const struct sorted *)a)->keyed->key, ((const struct sorted *)b)->keyed->key);
}

/* Keys whose heads are alike. */
static void ties_sort(struct sorted *rows, size_t len) {
    for (size_t from = 0; from < len;) {
        size_t to = from + 1;
        while (to < len && rows[to].head == rows[from].head) {
            to++;
        }
        if (to - from > 1) {
            qsort(rows + from, to - from, sizeof *rows, sorted_compare);
        }
        from = to;
    }
}

static struct seen_record record_of(const struct seen_table *table, const struct keyed *keyed) {
    const struct seen_entry *entry = keyed->entry;
    struct seen_record record;
    record.key = keyed->key;
    record.count = entry->count;
    record.first_us = entry->first_us;
    record.last_us = entry->last_us;
    record.samples_len = entry->samples_len;
    uint32_t noted = entry->sample;
    for (unsigned i = entry->samples_len; i-- > 0;) { /* the last one comes first */
        record.samples[i] = table->samples[noted - 1].sample;
        noted = table->samples[noted - 1].before;
    }
    return record;
}

/* Entries lie about, in the order in which they were seen, and each over one or two lines of the cache: they are asked for
 * some records before they are written. */
static enum core_err sorted_put(struct seen_writer *writer, const struct seen_table *table, const struct sorted *sorted,
                                size_t len, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    for (size_t i = 0; err == CORE_OK && i < len;) {
        if (len - i > 3 * AHEAD) {
            const struct seen_entry *entry = sorted[i + 2 * AHEAD].keyed->entry;
            const struct seen_noted *noted = &table->samples[sorted[i + AHEAD].keyed->entry->sample - 1];
            __builtin_prefetch(sorted[i + 3 * AHEAD].keyed);
            __builtin_prefetch(sorted[i + 2 * AHEAD].keyed->key.ptr);
            __builtin_prefetch(entry);
            __builtin_prefetch((const char *)(entry + 1) - 1);
            __builtin_prefetch(noted);
            __builtin_prefetch((const char *)(noted + 1) - 1);
        }
        struct seen_record record = record_of(table, sorted[i].keyed);
        for (i++; i < len && core_span_eq(sorted[i].keyed->key, record.key); i++) { /* other spellings of it */
            struct seen_record other = record_of(table, sorted[i].keyed);
            seen_record_add(&record, &other);
        }
        err = seen_writer_put(writer, &record, fail);
    }
    return err;
}

/* What a table is written from: freed when it is on the disk. */
struct draft {
    struct keyed *keyed;
    struct sorted *rows[2];
    char *keys;
    struct sorted *sorted;
    size_t len;
};

static void draft_make(struct draft *draft, const struct seen_table *table) {
    size_t keys_bytes = ((size_t)table->texts_len + (size_t)table->entries_len * SEEN_SHORT_BYTES) * KEY_GROWTH +
                        (size_t)table->entries_len * KEY_BYTES + SEEN_KEY_BYTES_MAX;
    draft->keyed = calloc(table->entries_len, sizeof *draft->keyed);
    draft->rows[0] = calloc(table->entries_len, sizeof *draft->sorted);
    draft->rows[1] = calloc(table->entries_len, sizeof *draft->sorted);
    draft->keys = malloc(keys_bytes); /* address space, but for what is written */
    MUST(draft->keyed != NULL && draft->rows[0] != NULL && draft->rows[1] != NULL && draft->keys != NULL);
    draft->len = table_keys(table, draft->keyed, draft->keys, draft->keys + keys_bytes);
    for (size_t i = 0; i < draft->len; i++) {
        draft->rows[0][i] = (struct sorted){head_of(draft->keyed[i].key), &draft->keyed[i]};
    }
    draft->sorted = heads_sort(draft->rows[0], draft->rows[1], draft->len);
    ties_sort(draft->sorted, draft->len);
}

static void draft_free(struct draft *draft) {
    free(draft->keyed);
    free(draft->rows[0]);
    free(draft->rows[1]);
    free(draft->keys);
}

/* So many of its size are merged together without being too much for one. */
static enum seen_pack table_pack(const struct seen *seen, const struct seen_table *table) {
    uint64_t bytes = (uint64_t)table->samples_len * sizeof(struct seen_sample) + table->texts_len;
    return bytes <= seen->limits.bytes_max / (MERGED_PARTS * RUNNING_MAX) ? SEEN_STORED : SEEN_COMPRESSED;
}

enum core_err seen_write(struct seen *seen, const struct seen_table *table, struct core_fail *fail) {
    MUST(seen->magic == SEEN_MAGIC);
    struct segment segment = {
        .from = seen->next, .to = seen->next, .info = {.since_ns = table->since_ns, .until_ns = core_now_ns()}};
    char name[NAME_BYTES];
    struct seen_writer *writer;
    if (table->entries_len == 0) {
        return CORE_OK;
    }
    struct draft draft;
    draft_make(&draft, table);
    enum core_err err =
        draft.len == 0 ? CORE_GONE : seen_writer_open(&writer, seen->dir, table_pack(seen, table), fail);
    if (err == CORE_OK) {
        err = sorted_put(writer, table, draft.sorted, draft.len, fail);
        if (err == CORE_OK) {
            name_write(&segment, name);
            err = seen_writer_finish(writer, name, &segment.info, fail);
        } else {
            seen_writer_drop(writer);
        }
    }
    if (err == CORE_OK) {
        segment_add(seen, &segment);
    }
    draft_free(&draft);
    return err == CORE_GONE ? CORE_OK : err;
}

/* ---- several as one ----------------------------------------------------------------------------------------------------------- */

static enum core_err merge_open(const struct seen *seen, size_t from, size_t len, struct seen_merge **out,
                                struct core_fail *fail) {
    struct seen_reader **readers = calloc(len + 1, sizeof(struct seen_reader *));
    MUST(readers != NULL);
    enum core_err err = CORE_OK;
    size_t opened = 0;
    for (; err == CORE_OK && opened < len; opened++) {
        char name[NAME_BYTES];
        name_write(&seen->segments[from + opened], name);
        err = seen_reader_open(&readers[opened], seen->dir, name, fail);
    }
    if (err == CORE_OK) {
        *out = seen_merge_new(readers, len);
    } else {
        for (size_t i = 0; i < opened; i++) {
            seen_reader_close(readers[i]);
        }
    }
    free(readers);
    return err;
}

/* Write len segments, from this one on, as one; then remove them. */
static enum core_err segments_merge(struct seen *seen, size_t from, size_t len, struct core_fail *fail) {
    struct segment *first = &seen->segments[from];
    const struct segment *last = first + len - 1;
    struct segment merged = {.from = first->from,
                             .to = last->to,
                             .info = {.since_ns = first->info.since_ns, .until_ns = last->info.until_ns}};
    struct seen_merge *merge = NULL;
    struct seen_writer *writer = NULL;
    struct seen_record record;
    uint64_t records = 0;
    char name[NAME_BYTES];
    enum core_err err = merge_open(seen, from, len, &merge, fail);
    err = err == CORE_OK ? seen_writer_open(&writer, seen->dir, SEEN_COMPRESSED, fail) : err;
    while (err == CORE_OK) {
        err = seen_merge_next(merge, (struct core_span){NULL, 0}, &record, fail);
        err = err == CORE_OK ? seen_writer_put(writer, &record, fail) : err;
        err = err == CORE_OK && !goes_on(seen, ++records) ? CORE_AGAIN : err;
    }
    seen_merge_free(merge);
    if (err != CORE_GONE) {
        seen_writer_drop(writer);
        return err;
    }
    name_write(&merged, name);
    err = seen_writer_finish(writer, name, &merged.info, fail);
    for (size_t i = 0; err == CORE_OK && i < len; i++) {
        err = segment_remove(seen, &first[i], fail);
    }
    if (err == CORE_OK) {
        *first = merged;
        memmove(first + 1, first + len, (seen->segments_len - from - len) * sizeof *first);
        seen->segments_len -= len - 1;
        seen->merged += len;
    }
    return err;
}

static bool is_table(const struct segment *segment) {
    return segment->from == segment->to;
}

/* How many segments from here on belong to one period, and together are not too much for one. */
static size_t run_of(const struct seen *seen, size_t from, int64_t period_ns) {
    const struct segment *first = &seen->segments[from];
    uint64_t bytes = first->info.bytes;
    size_t len = 1;
    for (; from + len < seen->segments_len; len++) {
        const struct segment *next = first + len;
        bytes += next->info.bytes;
        if (next->info.since_ns / period_ns != first->info.since_ns / period_ns ||
            bytes > seen->limits.bytes_max / MERGED_PARTS) {
            break;
        }
    }
    return len;
}

/* How many of these are tables. */
static size_t tables_of(const struct seen *seen, size_t from, size_t len) {
    size_t tables = 0;
    while (tables < len && is_table(&seen->segments[from + tables])) {
        tables++;
    }
    return tables;
}

static enum core_err segments_tidy(struct seen *seen, int64_t now_ns, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    for (size_t i = 0; err == CORE_OK && i < seen->segments_len; i++) {
        int64_t since_ns = seen->segments[i].info.since_ns;
        size_t day = since_ns / DAY_NS < now_ns / DAY_NS ? run_of(seen, i, DAY_NS) : 1;
        size_t hour = run_of(seen, i, HOUR_NS);
        size_t tables = tables_of(seen, i, hour);
        if (day > 1) {
            err = segments_merge(seen, i, day, fail);
        } else if (hour > 1 && since_ns / HOUR_NS < now_ns / HOUR_NS) {
            err = segments_merge(seen, i, hour, fail);
        } else if (tables >= RUNNING_MAX) {
            err = segments_merge(seen, i, tables, fail);
        }
    }
    return err;
}

/* The oldest go, of those that are too old, and while there is too much. */
static enum core_err segments_drop(struct seen *seen, int64_t now_ns, struct core_fail *fail) {
    uint64_t bytes = seen_totals(seen).bytes;
    size_t gone = 0;
    uint64_t records = 0;
    for (; gone < seen->segments_len; gone++) {
        const struct segment *segment = &seen->segments[gone];
        bool is_old = now_ns - segment->info.until_ns > seen->limits.age_ns_max;
        if (!is_old && bytes <= seen->limits.bytes_max) {
            break;
        }
        enum core_err err = segment_remove(seen, segment, fail);
        if (err != CORE_OK) {
            return err;
        }
        bytes -= segment->info.bytes;
        records += segment->info.records;
    }
    if (gone > 0) {
        seen->segments_len -= gone;
        memmove(seen->segments, seen->segments + gone, seen->segments_len * sizeof *seen->segments);
        seen->dropped += gone;
        core_log(CORE_LEVEL_INFO, "lookback",
                 "what was seen longest ago is dropped, as intel.lookback.days and intel.lookback.bytes say",
                 "files=%zu observables=%llu left_bytes=%llu", gone, (unsigned long long)records,
                 (unsigned long long)bytes);
    }
    return CORE_OK;
}

enum core_err seen_tidy(struct seen *seen, int64_t now_ns, struct core_fail *fail) {
    MUST(seen->magic == SEEN_MAGIC);
    enum core_err err = segments_drop(seen, now_ns, fail);
    return err == CORE_OK ? segments_tidy(seen, now_ns, fail) : err;
}

/* ---- asking ------------------------------------------------------------------------------------------------------------------- */

/* Ranges that have the record that is looked at, the widest first: each is in the one before it. */
struct open_ranges {
    const struct seen_range *ranges;
    size_t *at;
    size_t len;
    size_t cap;
};

static void open_push(struct open_ranges *open, size_t range) {
    if (open->len == open->cap) {
        open->cap = open->cap * 2 + RUNNING_MAX;
        open->at = realloc(open->at, open->cap * sizeof *open->at);
        MUST(open->at != NULL);
    }
    open->at[open->len++] = range;
}

enum core_err seen_ask(struct seen *seen, const struct seen_range *ranges, size_t len,
                       bool (*on_match)(void *ctx, size_t range, const struct seen_record *record), void *ctx,
                       struct core_fail *fail) {
    struct open_ranges open = {.ranges = ranges};
    struct seen_merge *merge = NULL;
    struct seen_record record;
    size_t next = 0;
    uint64_t records = 0;
    bool is_wanted = true;
    MUST(seen->magic == SEEN_MAGIC);
    enum core_err err = merge_open(seen, 0, seen->segments_len, &merge, fail);
    while (err == CORE_OK && is_wanted && (next < len || open.len > 0)) {
        struct core_span from = open.len > 0 ? (struct core_span){NULL, 0} : ranges[next].from;
        err = seen_merge_next(merge, from, &record, fail);
        if (err != CORE_OK) {
            break;
        }
        while (open.len > 0 && seen_range_has(&ranges[open.at[open.len - 1]], record.key) > 0) {
            open.len--;
        }
        for (; next < len && seen_key_compare(ranges[next].from, record.key) <= 0; next++) {
            if (seen_range_has(&ranges[next], record.key) == 0) {
                open_push(&open, next);
            }
        }
        for (size_t i = 0; is_wanted && i < open.len; i++) {
            is_wanted = on_match(ctx, open.at[i], &record);
        }
        err = goes_on(seen, ++records) ? CORE_OK : CORE_AGAIN;
    }
    seen_merge_free(merge);
    free(open.at);
    return err == CORE_GONE ? CORE_OK : err;
}
