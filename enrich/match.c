/* enrich/match.c: a batch's observables -> possible hits -> keys -> the store's answers -> documents.
 *
 * The filter is asked in two passes over some hundred questions at a time: hash and prefetch, then look. A look-up misses
 * the caches nearly always, and so the misses of many run at the same time. Nearly every batch ends there. What is left is
 * asked of the store: each key once, in one round trip. Values are worked out again from the observable instead of kept,
 * since hardly any are needed.
 *
 * Memory: a scratch arena that is emptied for each batch; documents go into the batch's own. No other memory.
 * Thread: enrich.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#define PENDING_MAX 512
#define KEY_NONE UINT32_MAX

/* ---- the filter --------------------------------------------------------------------------------------------------------------- */

/* Questions that are prefetched and not looked at yet. */
struct pending {
    struct probe probes[PENDING_MAX];
    size_t len;
};

static void possible_add(struct match *match, const struct probe *probe) {
    struct possible *possible = NULL;
    if (match->possible_len < MATCH_POSSIBLE_MAX) {
        possible = core_arena_alloc(&match->scratch, sizeof *possible); /* one behind the other: an array */
    }
    if (possible == NULL) {
        match->counts[CORE_COUNT_ENRICH_OBSERVABLES_LEFT]++;
        return;
    }
    if (match->possible_len == 0) {
        match->possible = possible;
    }
    MUST(possible == &match->possible[match->possible_len]);
    *possible = (struct possible){*probe, KEY_NONE};
    match->possible_len++;
}

static void pending_look(struct match *match, const struct filter *filter, struct pending *pending) {
    for (size_t i = 0; i < pending->len; i++) {
        if (filter_has(filter, pending->probes[i].hash)) {
            possible_add(match, &pending->probes[i]);
        }
    }
    pending->len = 0;
}

static void match_begin(struct match *match, struct core_batch *batch) {
    MUST(batch->magic == CORE_BATCH_MAGIC);
    core_arena_reset(&match->scratch, CORE_ARENA_KEEP_BYTES);
    match->batch = batch;
    match->possible = NULL;
    match->possible_len = 0;
    match->keys = NULL;
    match->keys_len = 0;
    match->answered = 0;
    memset(match->counts, 0, sizeof match->counts);
}

void match_look(struct match *match, const struct view *view, struct core_batch *batch) {
    const struct probe_used used = probe_used_of(view->use);
    struct pending pending;
    pending.len = 0;
    match_begin(match, batch);
    for (uint32_t i = 0; i < batch->events_len; i++) {
        const struct core_event *event = &batch->events[i];
        match->counts[CORE_COUNT_ENRICH_OBSERVABLES] += event->observables_len;
        match->counts[CORE_COUNT_ENRICH_OBSERVABLES_LEFT] += event->observables_left;
        for (uint16_t k = 0; k < event->observables_len; k++) {
            struct probe *probes = &pending.probes[pending.len];
            size_t len = probe_make(&event->observables[k], &used, probes);
            for (size_t p = 0; p < len; p++) {
                probes[p].event = i;
                probes[p].observable = k;
                filter_prefetch(view->filter, probes[p].hash);
            }
            match->counts[CORE_COUNT_ENRICH_OBSERVABLES_LEFT] += event->observables[k].len > ENRICH_VALUE_BYTES_MAX;
            pending.len += len;
            if (pending.len > PENDING_MAX - PROBES_MAX) {
                pending_look(match, view->filter, &pending);
            }
        }
    }
    pending_look(match, view->filter, &pending);
    match->counts[CORE_COUNT_ENRICH_POSSIBLE] = match->possible_len;
}

/* ---- keys ---------------------------------------------------------------------------------------------------------------------- */

/* Which keys there are already: an open hash table of their numbers plus one. */
struct key_table {
    uint32_t *slots;
    size_t mask;
};

static const struct core_observable *observable_of(const struct match *match, const struct possible *possible) {
    MUST(possible->probe.event < match->batch->events_len);
    const struct core_event *event = &match->batch->events[possible->probe.event];
    MUST(possible->probe.observable < event->observables_len);
    return &event->observables[possible->probe.observable];
}

/* The number of this key, which is new or was there. KEY_NONE: no room. */
static uint32_t key_number(struct match *match, const struct key_table *table, enum core_indicator type,
                           struct core_span value) {
    size_t at = (size_t)core_hash64(value.ptr, value.len, (uint64_t)type) & table->mask;
    for (; table->slots[at] != 0; at = (at + 1) & table->mask) {
        const struct enrich_found *key = &match->keys[table->slots[at] - 1];
        if (key->type == type && core_span_eq(key->value, value)) {
            return table->slots[at] - 1;
        }
    }
    const char *copy = core_arena_copy(&match->scratch, value);
    if (copy == NULL) {
        return KEY_NONE;
    }
    match->keys[match->keys_len] = (struct enrich_found){.type = type, .value = {copy, value.len}};
    match->keys_len++;
    table->slots[at] = (uint32_t)match->keys_len;
    return (uint32_t)match->keys_len - 1;
}

/* Is the observable itself on the allow-list? Then no network and no parent of it counts either. */
static bool is_allowed(const struct core_observable *observable, const struct allow *allow) {
    static const struct probe itself = {.as = PROBE_AS_IT_IS};
    char room[ENRICH_VALUE_BYTES_MAX];
    enum core_indicator type;
    struct core_span value;
    return allow_len(allow) > 0 && probe_value(observable, &itself, room, &type, &value) &&
           allow_has(allow, type, value);
}

static bool key_table_make(struct match *match, struct key_table *table) {
    size_t slots = 16;
    while (slots < 2 * match->possible_len) {
        slots *= 2;
    }
    table->mask = slots - 1;
    table->slots = core_arena_alloc(&match->scratch, slots * sizeof *table->slots);
    match->keys = core_arena_alloc(&match->scratch, match->possible_len * sizeof *match->keys);
    if (table->slots == NULL || match->keys == NULL) {
        return false;
    }
    memset(table->slots, 0, slots * sizeof *table->slots);
    return true;
}

void match_keys(struct match *match, const struct allow *allow) {
    struct key_table table;
    if (match->possible_len == 0) {
        return;
    }
    MUST(key_table_make(match, &table)); /* MATCH_POSSIBLE_MAX of them are far below MATCH_SCRATCH_BYTES */
    size_t kept = 0;
    const struct core_observable *last = NULL;
    bool is_silent = false;
    for (size_t i = 0; i < match->possible_len; i++) {
        struct possible *possible = &match->possible[i];
        const struct core_observable *observable = observable_of(match, possible);
        char room[ENRICH_VALUE_BYTES_MAX];
        enum core_indicator type;
        struct core_span value;
        is_silent = observable == last ? is_silent : is_allowed(observable, allow);
        last = observable;
        if (is_silent) {
            match->counts[CORE_COUNT_ENRICH_ALLOWED]++;
            continue;
        }
        MUST(probe_value(observable, &possible->probe, room, &type, &value));
        possible->key = key_number(match, &table, type, value);
        MUST(possible->key != KEY_NONE);
        match->possible[kept++] = *possible;
    }
    match->possible_len = kept;
    match->counts[CORE_COUNT_ENRICH_ASKED] = match->keys_len;
}

/* ---- the store ----------------------------------------------------------------------------------------------------------------- */

enum core_err match_ask(struct match *match, struct enrich_store *store, int timeout_ms, struct core_fail *fail) {
    const int64_t until = core_tick_ns() + timeout_ms * CORE_NS_PER_MS;
    size_t len_max = MATCH_ASK_MAX;
    while (match->answered < match->keys_len) {
        size_t len = match->keys_len - match->answered;
        len = len < len_max ? len : len_max;
        int64_t left_ms = (until - core_tick_ns() + CORE_NS_PER_MS - 1) / CORE_NS_PER_MS;
        if (left_ms <= 0) {
            return core_fail_set(fail, CORE_AGAIN, "intel", "the store did not answer within %d ms", timeout_ms);
        }
        const size_t used = match->scratch.used;
        enum core_err err =
            enrich_store_get(store, &match->keys[match->answered], len, &match->scratch, (int)left_ms, fail);
        match->counts[CORE_COUNT_ENRICH_ROUND_TRIPS]++;
        if (err == CORE_LIMIT && len > 1) { /* what they say does not fit: fewer at a time */
            match->scratch.used = used;
            len_max = len / 2;
            continue;
        }
        if (err != CORE_OK) {
            return err;
        }
        match->answered += len;
    }
    return CORE_OK;
}

/* ---- documents ----------------------------------------------------------------------------------------------------------------- */

static void event_write(struct match *match, const struct threat_event *threat) {
    uint64_t left_out;
    enum threat_result result = threat_write(threat, &match->batch->arena, &match->scratch, &left_out);
    match->counts[CORE_COUNT_ENRICH_ENRICHMENTS_LEFT] += left_out;
    match->counts[CORE_COUNT_ENRICH_NO_ROOM] += result == THREAT_NO_ROOM;
    match->counts[CORE_COUNT_ENRICH_EVENTS] += result == THREAT_WRITTEN && threat->matches_len > 0;
    match->counts[CORE_COUNT_ENRICH_UNAVAILABLE] += threat->is_unavailable;
}

/* The possible hits of one event, from here on: returns how many. */
static size_t event_possible(const struct match *match, size_t from) {
    size_t to = from;
    while (to < match->possible_len && match->possible[to].probe.event == match->possible[from].probe.event) {
        to++;
    }
    return to - from;
}

/* A domain that is an indicator with its subdomains is asked for twice: as itself, and as the parent of all below it. */
static bool is_asked_twice(const struct match *match, size_t at) {
    const struct possible *one = &match->possible[at];
    return at > 0 && one->probe.as == PROBE_AS_PARENT && one[-1].key == one->key &&
           one[-1].probe.event == one->probe.event && one[-1].probe.observable == one->probe.observable;
}

static void event_match(struct match *match, size_t from, size_t len) {
    const size_t used = match->scratch.used;
    struct threat_event threat = {.event = &match->batch->events[match->possible[from].probe.event]};
    struct threat_match *matches = core_arena_alloc(&match->scratch, len * sizeof *matches);
    threat.matches = matches;
    threat.is_unavailable = matches == NULL;
    for (size_t i = from; i < from + len && matches != NULL; i++) {
        const struct possible *possible = &match->possible[i];
        if (is_asked_twice(match, i)) {
            continue;
        }
        if (possible->key >= match->answered) {
            threat.is_unavailable = true;
            continue;
        }
        const struct threat_match one = {.observable = observable_of(match, possible),
                                         .found = &match->keys[possible->key],
                                         .is_parent = possible->probe.as == PROBE_AS_PARENT && possible->probe.at > 0};
        if (threat_counts(&one)) {
            matches[threat.matches_len++] = one;
        } else {
            match->counts[CORE_COUNT_ENRICH_FILTER_FALSE]++;
        }
    }
    match->counts[CORE_COUNT_ENRICH_HITS] += threat.matches_len;
    if (threat.matches_len > 0 || threat.is_unavailable) {
        event_write(match, &threat);
    }
    match->scratch.used = used;
}

void match_write(struct match *match) {
    for (size_t i = 0; i < match->possible_len;) {
        size_t len = event_possible(match, i);
        event_match(match, i, len);
        i += len;
    }
}

void match_mark(struct match *match, struct core_batch *batch) {
    match_begin(match, batch);
    for (uint32_t i = 0; i < batch->events_len; i++) {
        struct core_event *event = &batch->events[i];
        if (!event->is_dead && (event->observables_len > 0 || event->observables_left > 0)) {
            event_write(match, &(struct threat_event){.event = event, .is_unavailable = true});
        }
    }
}
