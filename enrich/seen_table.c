/* enrich/seen_table.c: what has been seen since the last segment was written.
 *
 * A table with open addressing over texts as they stand in records: finding the one form of each, and sorting, is left to
 * whoever writes the table. So an observable costs a hash, a look at a slot and one at an entry. Both are misses in any
 * cache as soon as there are many; the observables of a batch are taken 32 at a time, and each step asks for the memory
 * that the next one needs.
 *
 * A new text takes room for itself, an entry and a sample for each of its first records; when one of these is used up
 * (seen_table_is_crowded() says so before), new ones are left out and counted, those that are there go on being counted.
 *
 * Thread: its owner's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/seen_internal.h"

#include <string.h>

#define GROUP 32
#define ENTRY_TEXT_BYTES 24 /* on average */
#define CROWDED_PART 4      /* less than a quarter is left */
#define UID_WITHIN 64
#define SLOTS_MIN 1024
#define TIME_BYTES 27
#define DATE_BYTES 10
#define OWN_DATASETS "tapline."
#define US_PER_S INT64_C(1000000)
#define S_PER_DAY 86400

/* ---- making it ------------------------------------------------------------------------------------------------------------- */

static void table_lay(struct seen_table *table) {
    core_arena_reset(&table->memory, 0);
    table->slots = core_arena_alloc(&table->memory, table->slots_len * sizeof *table->slots);
    table->entries = core_arena_alloc(&table->memory, table->entries_max * sizeof *table->entries);
    table->samples = core_arena_alloc(&table->memory, table->samples_max * sizeof *table->samples);
    table->texts = core_arena_alloc(&table->memory, table->texts_max);
    MUST(table->slots != NULL && table->entries != NULL && table->samples != NULL && table->texts != NULL);
    memset(table->slots, 0, table->slots_len * sizeof *table->slots);
}

enum core_err seen_table_init(struct seen_table *table, size_t bytes, struct core_fail *fail) {
    *table = (struct seen_table){.slots_len = SLOTS_MIN};
    /* A slot costs itself and a half of all else: there are twice as many slots as entries. */
    const size_t entry_bytes = sizeof *table->entries + sizeof *table->samples + ENTRY_TEXT_BYTES;
    const size_t slot_bytes = sizeof *table->slots + entry_bytes / 2;
    while (table->slots_len < UINT32_MAX / 2 && 2 * slot_bytes * table->slots_len <= bytes) {
        table->slots_len *= 2;
    }
    size_t left =
        bytes - (table->slots_len * sizeof *table->slots < bytes ? table->slots_len * sizeof *table->slots : 0);
    size_t entries = left / entry_bytes < table->slots_len / 2 ? left / entry_bytes : table->slots_len / 2;
    table->entries_max = (uint32_t)entries;
    table->samples_max = (uint32_t)entries;
    left -= entries * (entry_bytes - ENTRY_TEXT_BYTES);
    table->texts_max = left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;
    MUST(entries > 0);
    size_t all = table->slots_len * sizeof *table->slots + entries * (entry_bytes - ENTRY_TEXT_BYTES) +
                 table->texts_max + 4 * sizeof(int64_t);
    enum core_err err = core_arena_init(&table->memory, all, fail);
    if (err == CORE_OK) {
        table_lay(table);
        table->since_ns = core_now_ns();
    }
    return err;
}

void seen_table_clear(struct seen_table *table, int64_t now_ns) {
    table_lay(table);
    table->entries_len = 0;
    table->samples_len = 0;
    table->texts_len = 0;
    table->added = 0;
    table->left_out = 0;
    table->since_ns = now_ns;
}

void seen_table_destroy(struct seen_table *table) {
    core_arena_destroy(&table->memory);
    *table = (struct seen_table){0};
}

bool seen_table_is_crowded(const struct seen_table *table) {
    return table->entries_max - table->entries_len < table->entries_max / CROWDED_PART ||
           table->texts_max - table->texts_len < table->texts_max / CROWDED_PART;
}

/* ---- what an event says ----------------------------------------------------------------------------------------------------- */

/* The event whose observables are being added. Time and uid are read when they are first asked for. */
struct source {
    const struct core_batch *batch;
    const struct core_event *event;
    int64_t time_us;
    struct core_span uid;
    bool has_uid;          /* looked for */
    char date[DATE_BYTES]; /* the last one read, and the day it is */
    int64_t day;
};

static int64_t digits(const char *text, int len) {
    int64_t value = 0;
    for (int i = 0; i < len; i++) {
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

/* @timestamp stands first in our documents, in 27 bytes. */
static void source_time_read(struct source *source) {
    enum { HEAD = 15, HOUR = 11, MINUTE = 14, SECOND = 17, MICRO = 20, MICRO_DIGITS = 6, MONTH = 5, DAY = 8 };
    const struct core_span doc = source->event->doc;
    if (doc.len < HEAD + TIME_BYTES || memcmp(doc.ptr, "{\"@timestamp\":\"", HEAD) != 0) {
        source->time_us = core_now_ns() / CORE_NS_PER_US;
        return;
    }
    const char *text = doc.ptr + HEAD;
    if (memcmp(source->date, text, DATE_BYTES) != 0) {
        memcpy(source->date, text, DATE_BYTES);
        source->day =
            core_days_from_civil(digits(text, 4), (unsigned)digits(text + MONTH, 2), (unsigned)digits(text + DAY, 2));
    }
    int64_t seconds = source->day * S_PER_DAY + digits(text + HOUR, 2) * 3600 + digits(text + MINUTE, 2) * 60 +
                      digits(text + SECOND, 2);
    source->time_us = seconds * US_PER_S + digits(text + MICRO, MICRO_DIGITS);
}

/* zeek.session_id is the first member of that name (zeek.ssl has one, too, behind it). Text of the record cannot be taken for it: its quotes are escaped. */
static void source_uid_read(struct source *source) {
    static const char name[] = "\"session_id\":\"";
    const size_t name_len = sizeof name - 1;
    const struct core_span doc = source->event->doc;
    source->has_uid = true;
    source->uid = (struct core_span){NULL, 0};
    if (source->event->dataset == NULL || strncmp(source->event->dataset, "zeek.", 5) != 0) {
        return;
    }
    /* It mostly is at the very end; but there zeek.ssl's own could be taken for it. */
    bool may_skip = doc.len > UID_WITHIN && strcmp(source->event->dataset, "zeek.ssl") != 0;
    size_t skip = may_skip ? doc.len - UID_WITHIN : 0;
    const char *found = memmem(doc.ptr + skip, doc.len - skip, name, name_len);
    if (found == NULL && skip > 0) {
        found = memmem(doc.ptr, doc.len, name, name_len);
    }
    if (found == NULL) {
        return;
    }
    const char *text = found + name_len;
    const char *quote = memchr(text, '"', (size_t)(doc.ptr + doc.len - text));
    if (quote != NULL && quote - text <= SEEN_UID_BYTES_MAX) {
        source->uid = (struct core_span){text, (size_t)(quote - text)};
    }
}

/* ---- adding ----------------------------------------------------------------------------------------------------------------- */

/* An observable on its way into the table. */
struct guest {
    const struct core_event *event;
    const struct core_observable *observable;
    uint64_t hash;
};

static void sample_add(struct seen_table *table, struct seen_entry *entry, struct source *source) {
    if (table->samples_len == table->samples_max) {
        return; /* counted all the same */
    }
    if (entry->samples_len > 0) { /* a record that has it twice is one */
        const struct seen_sample *last = &table->samples[entry->samples[entry->samples_len - 1]];
        if (last->gen == source->batch->stream->gen && last->start == source->event->start) {
            return;
        }
    }
    if (!source->has_uid) {
        source_uid_read(source);
    }
    struct seen_sample *sample = &table->samples[table->samples_len];
    sample->gen = source->batch->stream->gen;
    sample->start = source->event->start;
    sample->uid_len = (uint8_t)source->uid.len;
    if (source->uid.len > 0) {
        memcpy(sample->uid, source->uid.ptr, source->uid.len);
    }
    entry->samples[entry->samples_len++] = table->samples_len++;
}

static struct seen_entry *entry_new(struct seen_table *table, const struct core_observable *observable) {
    if (table->entries_len == table->entries_max || table->texts_max - table->texts_len < observable->len) {
        table->left_out++;
        return NULL;
    }
    struct seen_entry *entry = &table->entries[table->entries_len++];
    *entry = (struct seen_entry){.first_us = INT64_MAX,
                                 .last_us = INT64_MIN,
                                 .text = table->texts_len,
                                 .len = (uint16_t)observable->len,
                                 .type = observable->type};
    memcpy(table->texts + table->texts_len, observable->ptr, observable->len);
    table->texts_len += observable->len;
    return entry;
}

static struct seen_entry *entry_of(struct seen_table *table, const struct guest *guest) {
    const uint32_t mask = table->slots_len - 1;
    const uint32_t hash = (uint32_t)(guest->hash >> 32);
    const struct core_observable *observable = guest->observable;
    for (uint32_t at = (uint32_t)guest->hash & mask;; at = (at + 1) & mask) { /* half of the slots are empty */
        struct seen_slot *slot = &table->slots[at];
        if (slot->entry == 0) {
            struct seen_entry *entry = entry_new(table, observable);
            if (entry != NULL) {
                *slot = (struct seen_slot){hash, table->entries_len};
            }
            return entry;
        }
        struct seen_entry *entry = &table->entries[slot->entry - 1];
        if (slot->hash == hash && entry->len == observable->len && entry->type == observable->type &&
            memcmp(table->texts + entry->text, observable->ptr, observable->len) == 0) {
            return entry;
        }
    }
}

static void guest_add(struct seen_table *table, const struct guest *guest, struct source *source) {
    if (source->event != guest->event) {
        source->event = guest->event;
        source->has_uid = false;
        source_time_read(source);
    }
    struct seen_entry *entry = entry_of(table, guest);
    table->added++;
    if (entry == NULL) {
        return;
    }
    entry->count += entry->count < UINT32_MAX;
    entry->first_us = source->time_us < entry->first_us ? source->time_us : entry->first_us;
    entry->last_us = source->time_us > entry->last_us ? source->time_us : entry->last_us;
    if (entry->samples_len < SEEN_SAMPLES_MAX) {
        sample_add(table, entry, source);
    }
}

static void group_add(struct seen_table *table, const struct guest *guests, size_t len, struct source *source) {
    const uint32_t mask = table->slots_len - 1;
    for (size_t i = 0; i < len; i++) {
        const struct seen_slot *slot = &table->slots[(uint32_t)guests[i].hash & mask];
        if (slot->entry != 0) {
            __builtin_prefetch(&table->entries[slot->entry - 1], 1);
        }
    }
    for (size_t i = 0; i < len; i++) {
        const struct seen_slot *slot = &table->slots[(uint32_t)guests[i].hash & mask];
        if (slot->entry != 0) {
            __builtin_prefetch(table->texts + table->entries[slot->entry - 1].text);
        }
    }
    for (size_t i = 0; i < len; i++) {
        guest_add(table, &guests[i], source);
    }
}

static bool is_wanted(const struct core_event *event) {
    return !event->is_dead && event->observables_len > 0 &&
           (event->dataset == NULL || strncmp(event->dataset, OWN_DATASETS, sizeof(OWN_DATASETS) - 1) != 0);
}

void seen_table_add(struct seen_table *table, const struct core_batch *batch) {
    struct guest guests[GROUP];
    struct source source = {.batch = batch};
    size_t len = 0;
    const uint32_t mask = table->slots_len - 1;
    MUST(batch->magic == CORE_BATCH_MAGIC);
    for (uint32_t i = 0; i < batch->events_len; i++) {
        const struct core_event *event = &batch->events[i];
        for (uint16_t n = 0; is_wanted(event) && n < event->observables_len; n++) {
            const struct core_observable *observable = &event->observables[n];
            if (observable->len == 0 || observable->len > ENRICH_VALUE_BYTES_MAX) {
                continue;
            }
            guests[len] =
                (struct guest){event, observable, core_hash64(observable->ptr, observable->len, observable->type)};
            __builtin_prefetch(&table->slots[(uint32_t)guests[len].hash & mask], 1);
            if (++len == GROUP) {
                group_add(table, guests, len, &source);
                len = 0;
            }
        }
    }
    group_add(table, guests, len, &source);
}
