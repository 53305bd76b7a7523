/* enrich/seen_table.c: what has been seen since the last segment was written.
 *
 * A table with open addressing over texts as they stand in records: finding the one form of each, and sorting, is left to
 * whoever writes the table. So an observable costs a hash, a look at a slot and one at an entry. Both are misses in any
 * cache as soon as there are many, and so are a document's beginning and end, which another thread wrote: the observables
 * of a batch are taken 64 at a time, and each step asks for the memory that the next one needs.
 *
 * A text of up to sixteen bytes, as nearly every address is, stands in its entry as two words, which are compared as such;
 * a longer one stands with the others, and its entry has its whole hash.
 *
 * A new text takes room for an entry, a sample of its first record, and itself if it is long; when one of these is used up
 * (seen_table_is_crowded() says so before), new ones are left out and counted, those that are there go on being counted.
 * The second and third sample of a text take only what the first ones of others cannot need.
 *
 * Memory: one anonymous mapping, on huge pages where the system has them; it is kept when the table is emptied.
 * Thread: its owner's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/seen_internal.h"

#include <string.h>
#include <sys/mman.h>

#define GROUP 64
#define LONG_TEXT_BYTES 24 /* on average, of an entry */
#define CROWDED_PART 4     /* less than a quarter is left */
#define SAMPLES_PART 4     /* a quarter more samples than entries */
#define SLOTS_MIN 1024
#define HUGE_PAGE_BYTES (2 * CORE_MIB)
#define TIME_BYTES 27
#define TIME_WITHIN 42 /* of a document's beginning */
#define UID_WITHIN 48  /* of its end */
#define SECOND_BYTES 19
#define OWN_DATASETS "tapline."
#define US_PER_S INT64_C(1000000)
#define S_PER_DAY 86400

/* ---- texts ------------------------------------------------------------------------------------------------------------------ */

#define WORD sizeof(uint64_t)
#define HALF sizeof(uint32_t)

static uint64_t word_at(const char *ptr) {
    uint64_t word;
    memcpy(&word, ptr, sizeof word);
    return word;
}

static uint64_t half_at(const char *ptr) {
    uint32_t half;
    memcpy(&half, ptr, sizeof half);
    return half;
}

/* A short text (1 to SEEN_SHORT_BYTES) as two words: its first and its last bytes, which may be the same ones. With the length they
 * say all of it. */
static void short_pack(const char *text, size_t len, uint64_t out[2]) {
    const unsigned char *bytes = (const unsigned char *)text;
    out[1] = 0;
    if (len >= WORD) {
        out[0] = word_at(text);
        out[1] = word_at(text + len - WORD);
    } else if (len >= HALF) {
        out[0] = half_at(text);
        out[1] = half_at(text + len - HALF);
    } else {
        out[0] = (uint64_t)bytes[0] | (uint64_t)bytes[len / 2] << 8 | (uint64_t)bytes[len - 1] << 16;
    }
}

static void short_unpack(const uint64_t in[2], size_t len, char *out) {
    if (len >= WORD) {
        memcpy(out, &in[0], WORD);
        memcpy(out + len - WORD, &in[1], WORD);
    } else if (len >= HALF) {
        const uint32_t halves[2] = {(uint32_t)in[0], (uint32_t)in[1]};
        memcpy(out, &halves[0], HALF);
        memcpy(out + len - HALF, &halves[1], HALF);
    } else {
        out[0] = (char)(in[0] & 0xff);
        out[len / 2] = (char)(in[0] >> 8 & 0xff);
        out[len - 1] = (char)(in[0] >> 16 & 0xff);
    }
}

struct core_span seen_table_text(const struct seen_table *table, const struct seen_entry *entry,
                                 char room[SEEN_SHORT_BYTES]) {
    if (entry->len > SEEN_SHORT_BYTES) {
        return (struct core_span){table->texts + entry->text[1], entry->len};
    }
    short_unpack(entry->text, entry->len, room);
    return (struct core_span){room, entry->len};
}

/* ---- making it ------------------------------------------------------------------------------------------------------------- */

static void table_lay(struct seen_table *table) {
    table->slots = core_arena_alloc(&table->memory, table->slots_len * sizeof *table->slots);
    table->entries = core_arena_alloc(&table->memory, table->entries_max * sizeof *table->entries);
    table->samples = core_arena_alloc(&table->memory, table->samples_max * sizeof *table->samples);
    table->texts = core_arena_alloc(&table->memory, table->texts_max);
    MUST(table->slots != NULL && table->entries != NULL && table->samples != NULL && table->texts != NULL);
}

enum core_err seen_table_init(struct seen_table *table, size_t bytes, struct core_fail *fail) {
    *table = (struct seen_table){.slots_len = SLOTS_MIN};
    const size_t samples_bytes = sizeof *table->samples + sizeof *table->samples / SAMPLES_PART;
    const size_t entry_bytes = sizeof *table->entries + samples_bytes + LONG_TEXT_BYTES;
    /* At least twice as many slots as entries: they are few bytes of all. */
    while (table->slots_len < UINT32_MAX / 2 &&
           table->slots_len / 2 < bytes / (entry_bytes + 2 * sizeof *table->slots)) {
        table->slots_len *= 2;
    }
    size_t slots_bytes = table->slots_len * sizeof *table->slots;
    size_t left = bytes - (slots_bytes < bytes ? slots_bytes : 0);
    size_t entries = left / entry_bytes < table->slots_len / 2 ? left / entry_bytes : table->slots_len / 2;
    table->entries_max = (uint32_t)entries;
    table->samples_max = (uint32_t)(entries + entries / SAMPLES_PART);
    left -= entries * (entry_bytes - LONG_TEXT_BYTES);
    table->texts_max = left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;
    MUST(entries > 0);
    size_t all =
        slots_bytes + entries * (entry_bytes - LONG_TEXT_BYTES) + table->texts_max + 4 * sizeof(struct seen_entry);
    enum core_err err = core_arena_init(&table->memory, all, fail);
    if (err == CORE_OK) {
        if (all >= HUGE_PAGE_BYTES) { /* saves misses of the address cache; a system without them says no */
            int advised CORE_UNUSED = madvise(table->memory.base, table->memory.cap, MADV_HUGEPAGE);
        }
        table_lay(table); /* the mapping is new: its slots are empty */
        table->since_ns = core_now_ns();
    }
    return err;
}

void seen_table_clear(struct seen_table *table, int64_t now_ns) {
    if (table->entries_len > 0) {
        memset(table->slots, 0, table->slots_len * sizeof *table->slots);
    }
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

/* The event whose observables are being added. Its uid is read when it is first asked for. */
struct source {
    const struct core_batch *batch;
    const struct core_event *event;
    uint32_t samples_before; /* how many were noted before this event */
    int64_t time_us;
    struct core_span uid;
    bool has_uid;              /* looked for */
    char second[SECOND_BYTES]; /* the last one read, and when it began */
    int64_t second_us;
};

static int64_t two_digits(const char *text) {
    return (text[0] - '0') * 10 + (text[1] - '0');
}

/* @timestamp stands first in our documents, in 27 bytes. */
static void source_time_read(struct source *source) {
    enum {
        HEAD = 15,
        MONTH = 5,
        DAY = 8,
        HOUR = 11,
        MINUTE = 14,
        SECOND = 17,
        MICRO = 20,
        HUNDRED = 100,
        MINUTES = 60
    };
    const struct core_span doc = source->event->doc;
    if (doc.len < HEAD + TIME_BYTES || memcmp(doc.ptr, "{\"@timestamp\":\"", HEAD) != 0) {
        source->time_us = core_now_ns() / CORE_NS_PER_US;
        return;
    }
    const char *text = doc.ptr + HEAD;
    if (memcmp(source->second, text, SECOND_BYTES) != 0) { /* often that of the event before */
        memcpy(source->second, text, SECOND_BYTES);
        int64_t year = two_digits(text) * HUNDRED + two_digits(text + 2);
        int64_t days = core_days_from_civil(year, (unsigned)two_digits(text + MONTH), (unsigned)two_digits(text + DAY));
        int64_t minutes = two_digits(text + HOUR) * MINUTES + two_digits(text + MINUTE);
        source->second_us = (days * S_PER_DAY + minutes * MINUTES + two_digits(text + SECOND)) * US_PER_S;
    }
    const char *micros = text + MICRO;
    source->time_us =
        source->second_us + (two_digits(micros) * HUNDRED + two_digits(micros + 2)) * HUNDRED + two_digits(micros + 4);
}

static const char session_id[] = "\"session_id\":\"";
#define SESSION_ID_BYTES (sizeof session_id - 1)

/* The value of a document's last member, if that is a session_id. */
static struct core_span uid_at_the_end(struct core_span doc) {
    size_t len = doc.len;
    while (len > 0 && doc.ptr[len - 1] == '}') {
        len--;
    }
    size_t end = len > 0 ? len - 1 : 0; /* its closing quote */
    size_t start = end;
    while (start > 0 && end - start < SEEN_UID_BYTES_MAX && doc.ptr[start - 1] != '"') {
        start--;
    }
    bool is_it = len > 0 && doc.ptr[end] == '"' && start >= SESSION_ID_BYTES &&
                 memcmp(doc.ptr + start - SESSION_ID_BYTES, session_id, SESSION_ID_BYTES) == 0;
    return is_it ? (struct core_span){doc.ptr + start, end - start} : (struct core_span){NULL, 0};
}

/* zeek.session_id is the first member of that name (zeek.ssl has one, too, behind it). Text of the record cannot be taken for it: its quotes are escaped. */
static void source_uid_read(struct source *source) {
    const struct core_span doc = source->event->doc;
    const char *dataset = source->event->dataset;
    source->has_uid = true;
    source->uid = (struct core_span){NULL, 0};
    if (dataset == NULL || strncmp(dataset, "zeek.", 5) != 0) {
        return;
    }
    if (strcmp(dataset, "zeek.ssl") !=
        0) { /* mostly it is at the very end; there zeek.ssl's own could be taken for it */
        source->uid = uid_at_the_end(doc);
    }
    const char *found = source->uid.len > 0 ? NULL : memmem(doc.ptr, doc.len, session_id, SESSION_ID_BYTES);
    if (found == NULL) {
        return;
    }
    const char *text = found + SESSION_ID_BYTES;
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
    const uint32_t left = table->samples_max - table->samples_len;
    bool is_twice = entry->sample > source->samples_before; /* a record that has it twice is one */
    if (is_twice || (entry->samples_len > 0 && left <= table->entries_max - table->entries_len)) {
        return;
    }
    MUST(left > 0);
    if (!source->has_uid) {
        source_uid_read(source);
    }
    struct seen_noted *noted = &table->samples[table->samples_len++];
    noted->before = entry->sample;
    noted->sample.gen = source->batch->stream->gen;
    noted->sample.start = source->event->start;
    noted->sample.uid_len = (uint8_t)source->uid.len;
    if (source->uid.len > 0) {
        memcpy(noted->sample.uid, source->uid.ptr, source->uid.len);
    }
    entry->sample = table->samples_len;
    entry->samples_len++;
}

static struct seen_entry *entry_new(struct seen_table *table, const struct guest *guest, const uint64_t text[2]) {
    const struct core_observable *observable = guest->observable;
    const uint32_t bytes = observable->len > SEEN_SHORT_BYTES ? observable->len : 0;
    if (table->entries_len == table->entries_max || table->texts_max - table->texts_len < bytes) {
        table->left_out++;
        return NULL;
    }
    struct seen_entry *entry = &table->entries[table->entries_len++];
    *entry = (struct seen_entry){.first_us = INT64_MAX,
                                 .last_us = INT64_MIN,
                                 .text = {text[0], bytes > 0 ? table->texts_len : text[1]},
                                 .len = (uint16_t)observable->len,
                                 .type = observable->type};
    if (bytes > 0) {
        memcpy(table->texts + table->texts_len, observable->ptr, bytes);
        table->texts_len += bytes;
    }
    return entry;
}

static inline bool entry_is(const struct seen_table *table, const struct seen_entry *entry,
                            const struct core_observable *observable, const uint64_t text[2]) {
    if (entry->text[0] != text[0] || entry->len != observable->len || entry->type != observable->type) {
        return false;
    }
    return observable->len <= SEEN_SHORT_BYTES
               ? entry->text[1] == text[1]
               : memcmp(table->texts + entry->text[1], observable->ptr, observable->len) == 0;
}

static struct seen_entry *entry_of(struct seen_table *table, const struct guest *guest) {
    const uint32_t mask = table->slots_len - 1;
    const uint32_t hash = (uint32_t)(guest->hash >> 32);
    const struct core_observable *observable = guest->observable;
    uint64_t text[2] = {guest->hash, 0};
    if (observable->len <= SEEN_SHORT_BYTES) {
        short_pack(observable->ptr, observable->len, text);
    }
    for (uint32_t at = (uint32_t)guest->hash & mask;; at = (at + 1) & mask) { /* half of the slots are empty */
        struct seen_slot *slot = &table->slots[at];
        if (slot->entry == 0) {
            struct seen_entry *entry = entry_new(table, guest, text);
            if (entry != NULL) {
                *slot = (struct seen_slot){hash, table->entries_len};
            }
            return entry;
        }
        struct seen_entry *entry = &table->entries[slot->entry - 1];
        if (slot->hash == hash && entry_is(table, entry, observable, text)) {
            return entry;
        }
    }
}

static void guest_add(struct seen_table *table, const struct guest *guest, struct source *source) {
    if (source->event != guest->event) {
        source->event = guest->event;
        source->samples_before = table->samples_len;
        source->has_uid = false;
        source_time_read(source);
    }
    struct seen_entry *entry = entry_of(table, guest);
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

/* What is asked for is what is in the slots now; it may be another's: then it costs a miss. The loops stand here, and not in a
 * function of their own: a compiler takes one that only asks for memory for one that does nothing. */
static void group_add(struct seen_table *table, const struct guest *guests, size_t len, struct source *source) {
    const uint32_t mask = table->slots_len - 1;
    bool has_long = false;
    for (size_t i = 0; i < len; i++) {
        const struct seen_slot *slot = &table->slots[(uint32_t)guests[i].hash & mask];
        if (slot->entry != 0) {
            __builtin_prefetch(&table->entries[slot->entry - 1], 1);
        }
        has_long = has_long || guests[i].observable->len > SEEN_SHORT_BYTES;
    }
    for (size_t i = 0; i < len && has_long; i++) {
        const struct seen_slot *slot = &table->slots[(uint32_t)guests[i].hash & mask];
        if (slot->entry != 0 && guests[i].observable->len > SEEN_SHORT_BYTES &&
            table->entries[slot->entry - 1].len > SEEN_SHORT_BYTES) {
            __builtin_prefetch(table->texts + table->entries[slot->entry - 1].text[1]);
        }
    }
    for (size_t i = 0; i < len; i++) {
        guest_add(table, &guests[i], source);
    }
    table->added += len;
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
        const uint16_t observables = is_wanted(event) ? event->observables_len : 0;
        if (observables > 0 &&
            event->doc.len > UID_WITHIN) { /* where its time and its uid are: one or two lines each */
            __builtin_prefetch(event->doc.ptr);
            __builtin_prefetch(event->doc.ptr + TIME_WITHIN);
            __builtin_prefetch(event->doc.ptr + event->doc.len - UID_WITHIN);
            __builtin_prefetch(event->doc.ptr + event->doc.len - 1);
        }
        for (uint16_t n = 0; n < observables; n++) {
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
