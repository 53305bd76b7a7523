/* enrich/match.c: a batch's observables -> possible hits -> keys -> the store's answers -> documents.
 *
 * The filter is asked in two passes over some hundred questions at a time: hash and prefetch, then look. A look-up misses
 * the caches nearly always, and so the misses of many run at the same time. Nearly every batch ends there. What is left is
 * asked of the store: each key once, in one round trip. Values are worked out again from the observable instead of kept,
 * since hardly any are needed.
 *
 * A batch may be held, and come again: then it is looked at from the beginning (there may be new indicators), but what was
 * answered is kept, so that a store that is slow answers all of it in the end. However full the batch's arena is, the bytes
 * in which each document that is still to be written could be marked are left: no hit goes by as if it were none.
 *
 * Memory: two arenas that are emptied for each batch; documents go into the batch's own. No other memory.
 * Thread: enrich.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#define AHEAD 6 /* events */
#define PENDING_MAX 512
#define KEY_NONE UINT32_MAX

enum core_err match_open(struct match *match, struct core_fail *fail) {
    *match = (struct match){.ask_max = MATCH_ASK_MAX};
    enum core_err err = core_arena_init(&match->scratch, MATCH_SCRATCH_BYTES, fail);
    return err == CORE_OK ? core_arena_init(&match->answers, MATCH_SCRATCH_BYTES, fail) : err;
}

void match_close(struct match *match) {
    core_arena_destroy(&match->scratch);
    core_arena_destroy(&match->answers);
}

/* ---- the filter --------------------------------------------------------------------------------------------------------------- */

/* Questions that are prefetched and not looked at yet. */
struct pending {
    struct probe probes[PENDING_MAX];
    size_t len;
};

/* Something of it is not looked at. */
static void partial_set(struct match *match, uint32_t event) {
    match->is_partial[event] = true;
    match->has_partial = true;
}

static void possible_add(struct match *match, const struct probe *probe) {
    struct possible *possible = NULL;
    if (match->possible_len < MATCH_POSSIBLE_MAX) {
        possible = core_arena_alloc(&match->scratch, sizeof *possible); /* one behind the other: an array */
    }
    if (possible == NULL) {
        match->counts[CORE_COUNT_ENRICH_OBSERVABLES_LEFT]++;
        partial_set(match, probe->event);
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
    if (match->held.batch != batch || core_tick_ns() - match->held.tick > MATCH_HELD_NS) {
        if (match->answers.used > 0) { /* hardly ever: it costs a system call */
            core_arena_reset(&match->answers, CORE_ARENA_KEEP_BYTES);
        }
        match->held = (struct match_held){0};
    }
    match->batch = batch;
    match->is_partial = core_arena_alloc(&match->scratch, (batch->events_len + 1) * sizeof *match->is_partial);
    MUST(match->is_partial != NULL);
    memset(match->is_partial, 0, batch->events_len * sizeof *match->is_partial);
    match->has_partial = false;
    match->possible = NULL;
    match->possible_len = 0;
    match->keys = NULL;
    match->keys_len = 0;
    match->answered = 0;
    match->sighted_len = 0;
    match->owed = 0;
    memset(match->counts, 0, sizeof match->counts);
}

void match_look(struct match *match, const struct view *view, struct core_batch *batch) {
    const struct probe_used used = probe_used_of(view->use);
    struct pending pending;
    pending.len = 0;
    match_begin(match, batch);
    for (uint32_t i = 0; i < batch->events_len; i++) {
        const struct core_event *event = &batch->events[i];
        /* Another thread has written them: without this each event waits for two misses of the cache. First the list, and
         * when that is there, the texts, which stand together. Here, and not in a function of its own: a compiler takes one
         * that only asks for memory for one that does nothing. */
        if (i + 2 * AHEAD < batch->events_len && event[2 * AHEAD].observables_len > 0) {
            __builtin_prefetch(event[2 * AHEAD].observables);
            __builtin_prefetch(event[2 * AHEAD].observables + event[2 * AHEAD].observables_len - 1);
        }
        if (i + AHEAD < batch->events_len && event[AHEAD].observables_len > 0) {
            __builtin_prefetch(event[AHEAD].observables[0].ptr);
        }
        match->counts[CORE_COUNT_ENRICH_OBSERVABLES] += event->observables_len;
        uint64_t left = event->observables_left;
        for (uint16_t k = 0; k < event->observables_len; k++) {
            struct probe *probes = &pending.probes[pending.len];
            size_t len = probe_make(&event->observables[k], &used, probes);
            for (size_t p = 0; p < len; p++) {
                probes[p].event = i;
                probes[p].observable = k;
                filter_prefetch(view->filter, probes[p].hash);
            }
            left += event->observables[k].len > ENRICH_VALUE_BYTES_MAX;
            pending.len += len;
            if (pending.len > PENDING_MAX - PROBES_MAX) {
                pending_look(match, view->filter, &pending);
            }
        }
        if (left > 0) {
            match->counts[CORE_COUNT_ENRICH_OBSERVABLES_LEFT] += left;
            partial_set(match, i);
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

/* The key's slot, or the empty one where it belongs. */
static uint32_t *key_slot(const struct match *match, const struct key_table *table, enum core_indicator type,
                          struct core_span value) {
    size_t at = (size_t)core_hash64(value.ptr, value.len, (uint64_t)type) & table->mask;
    for (; table->slots[at] != 0; at = (at + 1) & table->mask) {
        const struct enrich_found *key = &match->keys[table->slots[at] - 1];
        if (key->type == type && core_span_eq(key->value, value)) {
            break;
        }
    }
    return &table->slots[at];
}

/* The number of this key, which is new or was there. KEY_NONE: no room. */
static uint32_t key_number(struct match *match, const struct key_table *table, enum core_indicator type,
                           struct core_span value) {
    uint32_t *slot = key_slot(match, table, type, value);
    if (*slot != 0) {
        return *slot - 1;
    }
    const char *copy = core_arena_copy(&match->scratch, value);
    if (copy == NULL) {
        return KEY_NONE;
    }
    match->keys[match->keys_len] = (struct enrich_found){.type = type, .value = {copy, value.len}};
    match->keys_len++;
    *slot = (uint32_t)match->keys_len;
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
    const size_t keys_max = match->possible_len + match->held.len;
    size_t slots = 16;
    while (slots < 2 * keys_max) {
        slots *= 2;
    }
    table->mask = slots - 1;
    table->slots = core_arena_alloc(&match->scratch, slots * sizeof *table->slots);
    match->keys = core_arena_alloc(&match->scratch, keys_max * sizeof *match->keys);
    if (table->slots == NULL || match->keys == NULL) {
        return false;
    }
    memset(table->slots, 0, slots * sizeof *table->slots);
    for (size_t i = 0; i < match->held.len; i++) { /* answered already */
        const struct enrich_found *key = &match->held.keys[i];
        match->keys[i] = *key;
        *key_slot(match, table, key->type, key->value) = (uint32_t)i + 1;
        match->keys_len = i + 1;
    }
    match->answered = match->held.len;
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

/* The next round trip: how many of the keys, and how long it may take. 0: there is no time for it. */
static size_t ask_len(const struct match *match, int64_t left_ns, int64_t took_ns) {
    size_t len = match->keys_len - match->answered;
    return left_ns <= 0 || left_ns < took_ns ? 0 : len < match->ask_max ? len : match->ask_max;
}

enum core_err match_ask(struct match *match, struct enrich_store *store, int timeout_ms, struct core_fail *fail) {
    const int64_t until = core_tick_ns() + timeout_ms * CORE_NS_PER_MS;
    int64_t took_ns = 0;
    enum core_err err = CORE_OK;
    while (err == CORE_OK && match->answered < match->keys_len) {
        const int64_t now = core_tick_ns();
        const size_t used = match->answers.used;
        size_t len = ask_len(match, until - now, took_ns);
        if (len == 0) {
            return core_fail_set(fail, CORE_AGAIN, "intel", "%zu of %zu answers came within intel.timeout (%d ms)",
                                 match->answered, match->keys_len, timeout_ms);
        }
        int left_ms = (int)((until - now + CORE_NS_PER_MS - 1) / CORE_NS_PER_MS);
        err = enrich_store_get(store, &match->keys[match->answered], len, &match->answers, left_ms, fail);
        match->counts[CORE_COUNT_ENRICH_ROUND_TRIPS]++;
        took_ns = core_tick_ns() - now;
        if (err == CORE_OK) {
            match->answered += len;
            match->ask_max = match->ask_max * 2 < MATCH_ASK_MAX ? match->ask_max * 2 : MATCH_ASK_MAX;
            continue;
        }
        match->answers.used = used;
        match->ask_max = len / 2 > MATCH_ASK_MIN ? len / 2 : MATCH_ASK_MIN;
        if (err == CORE_LIMIT && len > 1) { /* what they say does not fit: fewer at a time */
            match->ask_max = len / 2;
            took_ns = 0;
            err = CORE_OK;
        }
    }
    return err;
}

void match_hold(struct match *match) {
    struct match_held *held = &match->held;
    if (match->answered <= held->len) {
        return; /* nothing new */
    }
    if (held->keys == NULL) {
        held->keys = core_arena_alloc(&match->answers, match->keys_len * sizeof *held->keys);
        held->max = held->keys == NULL ? 0 : match->keys_len;
        held->tick = core_tick_ns();
    }
    held->batch = match->batch;
    for (; held->len < held->max && held->len < match->answered; held->len++) {
        const struct enrich_found *key = &match->keys[held->len];
        const char *copy = core_arena_copy(&match->answers, key->value);
        if (copy == NULL) {
            return;
        }
        held->keys[held->len] = *key;
        held->keys[held->len].value.ptr = copy;
    }
}

/* ---- documents ----------------------------------------------------------------------------------------------------------------- */

/* What a document takes, if it is only marked. */
static size_t marked_bytes(const struct core_event *event) {
    return event->doc.len + THREAT_MARK_BYTES_MAX;
}

static void event_write(struct match *match, struct threat_event *threat) {
    struct core_arena *arena = &match->batch->arena;
    struct threat_said said;
    match->owed -= marked_bytes(threat->event);
    const size_t kept = match->owed + THREAT_ARENA_RESERVE;
    const size_t left = arena->cap - arena->used;
    threat->room = left > kept ? left - kept : 0;
    enum threat_result result = threat_write(threat, arena, &match->scratch, &said);
    match->counts[CORE_COUNT_ENRICH_ENRICHMENTS_LEFT] += said.left_out;
    match->counts[CORE_COUNT_ENRICH_PARTIAL] += result == THREAT_WRITTEN && said.is_partial;
    match->counts[CORE_COUNT_ENRICH_NO_ROOM] += result == THREAT_NO_ROOM;
    match->counts[CORE_COUNT_ENRICH_EVENTS] += result == THREAT_WRITTEN && threat->matches_len > 0;
    match->counts[CORE_COUNT_ENRICH_UNAVAILABLE] += threat->is_unavailable;
}

/* How many possible hits this event has, of those from here on. */
static size_t event_possible(const struct match *match, size_t from, size_t event) {
    size_t to = from;
    while (to < match->possible_len && match->possible[to].probe.event == event) {
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

/* For whoever counts what was seen (sighting.c). */
static void sighted_add(struct match *match, const struct threat_event *threat, size_t event) {
    for (size_t i = 0; i < threat->matches_len; i++) {
        match->sighted[match->sighted_len++] = (struct sighted){
            (uint32_t)event, (uint32_t)(threat->matches[i].found - match->keys), threat->matches[i].is_parent};
    }
}

static void event_match(struct match *match, size_t event, size_t from, size_t len) {
    const size_t used = match->scratch.used;
    struct threat_event threat = {.event = &match->batch->events[event], .is_partial = match->is_partial[event]};
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
    sighted_add(match, &threat, event);
    if (threat.matches_len > 0 || threat.is_unavailable || threat.is_partial) {
        event_write(match, &threat);
    } else {
        match->owed -= marked_bytes(threat.event);
    }
    match->scratch.used = used;
}

/* Call on_event for each that there may be something to say of. */
static void events_walk(struct match *match, void (*on_event)(struct match *, size_t event, size_t from, size_t len)) {
    size_t from = 0;
    for (size_t i = 0; i < match->batch->events_len && (from < match->possible_len || match->has_partial); i++) {
        size_t len = event_possible(match, from, i);
        if (len > 0 || match->is_partial[i]) {
            on_event(match, i, from, len);
        }
        from += len;
    }
}

static void event_owe(struct match *match, size_t event, size_t from, size_t len) {
    (void)from;
    (void)len;
    match->owed += marked_bytes(&match->batch->events[event]);
}

void match_write(struct match *match) {
    match->sighted_len = 0;
    match->sighted = core_arena_alloc(&match->scratch, match->possible_len * sizeof *match->sighted);
    MUST(match->sighted != NULL); /* as key_table_make() */
    events_walk(match, event_owe);
    events_walk(match, event_match);
    MUST(match->owed == 0);
    match->held = (struct match_held){0};
}

static bool is_markable(const struct core_event *event) {
    return !event->is_dead && (event->observables_len > 0 || event->observables_left > 0);
}

void match_mark(struct match *match, struct core_batch *batch) {
    match_begin(match, batch);
    for (uint32_t i = 0; i < batch->events_len; i++) {
        match->owed += is_markable(&batch->events[i]) ? marked_bytes(&batch->events[i]) : 0;
    }
    for (uint32_t i = 0; i < batch->events_len; i++) {
        if (is_markable(&batch->events[i])) {
            event_write(match, &(struct threat_event){.event = &batch->events[i], .is_unavailable = true});
        }
    }
    MUST(match->owed == 0);
    match->held = (struct match_held){0};
}
