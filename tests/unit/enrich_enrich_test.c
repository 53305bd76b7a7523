/* tests/unit/enrich_enrich_test.c: the stage with a store that is there, is away, answers too late, is not followed: which
 * events are marked, which are held, what is asked and how often.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/enrich_store_fake.h"
#include "tests/unit/health_look.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define DOC "{\"@timestamp\":\"2026-11-21T02:58:51.600824Z\",\"zeek\":{}}"
#define MARKED "{\"@timestamp\":\"2026-11-21T02:58:51.600824Z\",\"labels\":{\"intel\":\"unavailable\"},\"zeek\":{}}"
#define EVENTS 5

struct rig {
    struct fake_world *world;
    struct core_counters counters;
    struct enrich_conf conf;
    struct enrich *enrich;
    struct core_batch batch;
    struct core_event events[EVENTS];
    struct core_observable observables[EVENTS][4];
};

static struct rig *rig_new(void) {
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    rig->world = fake_world_new(1000);
    rig->conf = (struct enrich_conf){.timeout_ns = 50 * CORE_NS_PER_MS, .stale_after_ns = 60 * CORE_NS_PER_S};
    rig->batch = (struct core_batch){.magic = CORE_BATCH_MAGIC, .events = rig->events};
    assert_int_equal(core_arena_init(&rig->batch.arena, CORE_ARENA_BYTES, NULL), CORE_OK);
    return rig;
}

static void rig_open(struct rig *rig) {
    const struct follower_opener opener = {.open = fake_open, .ctx = rig->world, .opens_twice = true};
    const struct enrich_env env = {.node = "n", .counters = &rig->counters};
    assert_int_equal(enrich_open_with(&rig->enrich, &rig->conf, &opener, &env, NULL), CORE_OK);
}

static void rig_close(struct rig *rig) {
    enrich_close(rig->enrich);
    core_arena_destroy(&rig->batch.arena);
    fake_world_free(rig->world);
    free(rig);
}

static void observe(struct core_event *event, struct core_observable *room, enum core_indicator type,
                    const char *text) {
    room[event->observables_len] =
        (struct core_observable){.ptr = text, .field = "field", .len = (uint32_t)strlen(text), .type = (uint8_t)type};
    event->observables = room;
    event->observables_len++;
}

/* 0 a hit, 1 none, 2 without observables, 3 a dead letter, 4 a hit again. */
static void rig_batch(struct rig *rig) {
    core_arena_reset(&rig->batch.arena, CORE_ARENA_KEEP_BYTES);
    rig->batch.events_len = EVENTS;
    for (size_t i = 0; i < EVENTS; i++) {
        rig->events[i] = (struct core_event){.doc = CORE_SPAN(DOC)};
    }
    observe(&rig->events[0], rig->observables[0], CORE_INDICATOR_USER, "eve");
    observe(&rig->events[0], rig->observables[0], CORE_INDICATOR_USER, "alice");
    observe(&rig->events[1], rig->observables[1], CORE_INDICATOR_USER, "alice");
    observe(&rig->events[4], rig->observables[4], CORE_INDICATOR_USER, "eve");
    rig->events[3].is_dead = true;
}

static enum enrich_state state_of(struct rig *rig) {
    struct enrich_status status;
    enrich_status(rig->enrich, &status);
    return status.state;
}

static bool is_doc(const struct rig *rig, size_t event, const char *doc) {
    return core_span_is(rig->events[event].doc, doc);
}

static bool has(const struct rig *rig, size_t event, const char *text) {
    return memmem(rig->events[event].doc.ptr, rig->events[event].doc.len, text, strlen(text)) != NULL;
}

static uint64_t counted(struct rig *rig, enum core_counter id) {
    return core_counted(&rig->counters, id);
}

static void test_hits_and_none(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    fake_say(rig->world, CORE_INDICATOR_USER, "eve", FAKE_BOTH);
    rig_open(rig);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    assert_true(has(rig, 0, "\"tags\":[\"intel_match\"]") && has(rig, 0, "\"id\":\"user:eve\""));
    assert_true(has(rig, 0, "\"feed\":{\"name\":[\"a\",\"b\"]}"));
    assert_true(is_doc(rig, 1, DOC) && is_doc(rig, 2, DOC) && is_doc(rig, 3, DOC));
    assert_true(has(rig, 4, "\"id\":\"user:eve\""));
    assert_int_equal(atomic_load(&rig->world->asked), 1); /* once, though two events have it */
    assert_int_equal(atomic_load(&rig->world->gets), 1);
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_OBSERVABLES), 4);
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_POSSIBLE), 2);
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_ASKED), 1);
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_ROUND_TRIPS), 1);
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_HITS), 2);
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_EVENTS), 2);
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_FILTER_FALSE), 0);
    struct enrich_status status;
    enrich_status(rig->enrich, &status);
    assert_int_equal(status.indicators, 1);
    assert_true(status.filter_bytes > 0 && status.behind_ns < 10 * CORE_NS_PER_S);
    fake_expire(rig->world, CORE_INDICATOR_USER, "eve"); /* the store's answer decides */
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    assert_true(is_doc(rig, 0, DOC) && is_doc(rig, 4, DOC));
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_FILTER_FALSE), 2);
    rig_close(rig);
}

static void test_subdomains_and_the_allow_list(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    fake_say(rig->world, CORE_INDICATOR_DOMAIN, "evil.example", FAKE_BOTH);
    fake_say(rig->world, CORE_INDICATOR_DOMAIN, "plain.example", FAKE_A);
    fake_allow(rig->world, CORE_INDICATOR_DOMAIN, "good.evil.example", true);
    rig_open(rig);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    rig_batch(rig);
    for (size_t i = 0; i < EVENTS; i++) {
        static const char *const names[] = {"evil.example", "www.evil.example", "www.good.evil.example",
                                            "plain.example", "www.plain.example"};
        rig->events[i] = (struct core_event){.doc = CORE_SPAN(DOC)};
        observe(&rig->events[i], rig->observables[i], CORE_INDICATOR_DOMAIN, names[i]);
    }
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    assert_true(has(rig, 0, "\"feed\":{\"name\":[\"a\",\"b\"]}"));
    assert_true(has(rig, 1, "\"feed\":{\"name\":[\"b\"]}") && has(rig, 1, "\"id\":\"domain:evil.example\""));
    assert_true(is_doc(rig, 2, DOC));
    assert_true(has(rig, 3, "\"feed\":{\"name\":[\"a\"]}"));
    assert_true(is_doc(rig, 4, DOC));
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_ALLOWED), 1);
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_HITS), 3);
    rig_close(rig);
}

/* No store at the start: events go on, marked; when it is there, they are matched. */
static void test_away_at_the_start(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    fake_say(rig->world, CORE_INDICATOR_USER, "eve", FAKE_A);
    atomic_store(&rig->world->open_err, CORE_NET);
    rig_open(rig);
    EVENTUALLY(state_of(rig) == ENRICH_UNAVAILABLE);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    assert_true(is_doc(rig, 0, MARKED) && is_doc(rig, 1, MARKED) && is_doc(rig, 4, MARKED));
    assert_true(is_doc(rig, 2, DOC) && is_doc(rig, 3, DOC));
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_UNAVAILABLE), 3);
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_EVENTS), 0);
    atomic_store(&rig->world->open_err, CORE_OK);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    assert_true(has(rig, 0, "\"id\":\"user:eve\"") && is_doc(rig, 1, DOC));
    rig_close(rig);
}

static void test_held_while_away(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    fake_say(rig->world, CORE_INDICATOR_USER, "eve", FAKE_A);
    atomic_store(&rig->world->open_err, CORE_NET);
    rig->conf.on_unavailable = ENRICH_WAIT;
    rig_open(rig);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_AGAIN);
    assert_true(is_doc(rig, 0, DOC));
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_UNAVAILABLE), 0);
    atomic_store(&rig->world->open_err, CORE_OK);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    atomic_store(&rig->world->get_err, CORE_NET);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_AGAIN);
    assert_true(is_doc(rig, 0, DOC));
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_OBSERVABLES), 0); /* nothing counts twice */
    atomic_store(&rig->world->get_err, CORE_OK);
    EVENTUALLY(enrich_batch(rig->enrich, &rig->batch) == CORE_OK);
    assert_true(has(rig, 0, "\"id\":\"user:eve\"") && has(rig, 4, "\"id\":\"user:eve\""));
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_OBSERVABLES), 4);
    rig_close(rig);
}

/* An answer that is late costs one batch its timeout; the next ones do not ask, until a second has passed. */
static void test_a_store_that_is_late(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    fake_say(rig->world, CORE_INDICATOR_USER, "eve", FAKE_A);
    rig_open(rig);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    atomic_store(&rig->world->get_err, CORE_AGAIN);
    int64_t start = core_tick_ns();
    for (unsigned i = 0; i < 10; i++) {
        rig_batch(rig);
        assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
        assert_true(is_doc(rig, 0, MARKED) && is_doc(rig, 4, MARKED));
        assert_true(is_doc(rig, 1, DOC)); /* the filter said certainly not */
    }
    bool is_quick = core_tick_ns() - start < CORE_NS_PER_S; /* a machine may be slow */
    assert_true(atomic_load(&rig->world->gets) == 1 || !is_quick);
    assert_true(state_of(rig) == ENRICH_UNAVAILABLE || !is_quick);
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_UNAVAILABLE), 20);
    unsigned gets = atomic_load(&rig->world->gets);
    fake_sleep_us(1100000);
    atomic_store(&rig->world->get_err, CORE_OK);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    assert_true(has(rig, 0, "\"id\":\"user:eve\""));
    assert_int_equal(atomic_load(&rig->world->gets), gets + 1);
    assert_int_equal(state_of(rig), ENRICH_READY);
    rig_close(rig);
}

static bool is_matched(struct rig *rig, size_t event, const char *user) {
    char id[64];
    assert_true(snprintf(id, sizeof id, "\"id\":\"user:%s\"", user) > 0);
    return has(rig, event, id);
}

/* A store so far away that its connection takes longer than a batch may wait: it is made all the same, over several batches,
 * and then each is matched, within its timeout. */
static void test_a_store_that_is_far_away(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    rig->conf.timeout_ns = 3 * CORE_NS_PER_S; /* a machine may be slow: an answer has 2.7 s to spare */
    fake_say(rig->world, CORE_INDICATOR_USER, "eve", FAKE_A);
    atomic_store(&rig->world->connect_us, 7200000);
    atomic_store(&rig->world->get_us, 300000);
    rig_open(rig);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    unsigned marked = 0, batches = 0;
    do {
        rig_batch(rig);
        assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
        marked += is_doc(rig, 0, MARKED);
        fake_sleep_us(5000);
    } while (!is_matched(rig, 0, "eve") && ++batches < 1000);
    assert_true(is_matched(rig, 0, "eve") && marked > 0 && marked == batches);
    assert_int_equal(atomic_load(&rig->world->connects), 1);
    assert_int_equal(state_of(rig), ENRICH_READY);
    for (unsigned i = 0; i < 5; i++) {
        rig_batch(rig);
        assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
        assert_true(is_matched(rig, 0, "eve") && is_matched(rig, 4, "eve"));
    }
    assert_int_equal(atomic_load(&rig->world->connects), 1);
    rig_close(rig);
}

/* The same with a tick now and then, before any batch comes. How long two of them took. */
static int64_t ticks_ns(void) {
    struct rig *rig = rig_new();
    fake_say(rig->world, CORE_INDICATOR_USER, "eve", FAKE_A);
    atomic_store(&rig->world->connect_us, 120000);
    rig_open(rig);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    int64_t start = core_tick_ns();
    enrich_tick(rig->enrich);
    enrich_tick(rig->enrich);
    int64_t took = core_tick_ns() - start;
    fake_sleep_us(150000);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    assert_true(is_matched(rig, 0, "eve"));
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_UNAVAILABLE), 0);
    rig_close(rig);
    return took;
}

static void test_a_tick_waits_for_nothing(void **state) {
    (void)state;
    int64_t took = ticks_ns();
    for (int tries = 0; tries < 4 && took >= 100 * CORE_NS_PER_MS; tries++) { /* a machine may stand still */
        took = ticks_ns();
    }
    assert_true(took < 100 * CORE_NS_PER_MS);
}

/* An answer takes four times as long as a batch may wait. A batch that is held waits longer each time, until it comes. */
static void test_held_until_a_late_store_answers(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    rig->conf.on_unavailable = ENRICH_WAIT;
    fake_say(rig->world, CORE_INDICATOR_USER, "eve", FAKE_A);
    atomic_store(&rig->world->get_us, 200000); /* of 50 ms */
    rig_open(rig);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_AGAIN);
    struct enrich_status status;
    enrich_status(rig->enrich, &status);
    assert_true(status.is_late);
    EVENTUALLY(enrich_batch(rig->enrich, &rig->batch) == CORE_OK);
    assert_true(is_matched(rig, 0, "eve") && is_matched(rig, 4, "eve"));
    unsigned gets = atomic_load(&rig->world->gets);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK); /* it knows now how long it takes */
    assert_int_equal(atomic_load(&rig->world->gets), gets + 1);
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_UNAVAILABLE), 0);
    enrich_status(rig->enrich, &status);
    assert_false(status.is_late);
    rig_close(rig);
}

#define MANY_EVENTS 1000
#define MANY_EACH 6 /* keys of an event: more of them all than one round trip asks for */

struct many {
    struct rig *rig;
    struct core_event events[MANY_EVENTS];
    struct core_observable observables[MANY_EVENTS][MANY_EACH];
    char names[MANY_EVENTS * MANY_EACH][16];
};

static struct many *many_new(void) {
    struct many *many = calloc(1, sizeof *many);
    assert_non_null(many);
    many->rig = rig_new();
    fake_world_free(many->rig->world);
    many->rig->world = fake_world_new(MANY_EVENTS * MANY_EACH + 10);
    for (size_t i = 0; i < MANY_EVENTS * MANY_EACH; i++) {
        assert_true(snprintf(many->names[i], sizeof many->names[i], "user%zu", i) > 0);
        fake_say(many->rig->world, CORE_INDICATOR_USER, many->names[i], FAKE_A);
    }
    return many;
}

static void many_batch(struct many *many) {
    struct core_batch *batch = &many->rig->batch;
    core_arena_reset(&batch->arena, CORE_ARENA_KEEP_BYTES);
    batch->events = many->events;
    batch->events_len = MANY_EVENTS;
    for (size_t i = 0; i < MANY_EVENTS; i++) {
        many->events[i] = (struct core_event){.doc = CORE_SPAN(DOC)};
        for (size_t k = 0; k < MANY_EACH; k++) {
            observe(&many->events[i], many->observables[i], CORE_INDICATOR_USER, many->names[i * MANY_EACH + k]);
        }
    }
}

static size_t many_matched(const struct many *many) {
    size_t matched = 0;
    for (size_t i = 0; i < MANY_EVENTS; i++) {
        for (size_t k = 0; k < MANY_EACH; k++) {
            char id[64];
            assert_true(snprintf(id, sizeof id, "\"id\":\"user:%s\"", many->names[i * MANY_EACH + k]) > 0);
            matched += memmem(many->events[i].doc.ptr, many->events[i].doc.len, id, strlen(id)) != NULL;
        }
    }
    return matched;
}

static void many_close(struct many *many) {
    rig_close(many->rig);
    free(many);
}

/* A store that needs far longer for all keys of a batch than the batch may wait. Held: each call brings it further, and no
 * answer that came is asked for again. */
static void test_a_held_batch_of_many_keys(void **state) {
    (void)state;
    struct many *many = many_new();
    struct rig *rig = many->rig;
    rig->conf.on_unavailable = ENRICH_WAIT;
    atomic_store(&rig->world->key_us, 300); /* 6,000 keys: 1.8 s, of 50 ms */
    rig_open(rig);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    many_batch(many);
    unsigned calls = 1;
    for (; enrich_batch(rig->enrich, &rig->batch) != CORE_OK; calls++) {
        assert_true(calls < 10000);
        assert_true(core_span_is(many->events[0].doc, DOC)); /* nothing is written before all of it */
        if (calls == 3) {                                    /* what comes meanwhile counts, too */
            fake_say(rig->world, CORE_INDICATOR_USER, "bob", FAKE_A);
            fake_settle(rig->world);
            many->observables[7][0] =
                (struct core_observable){.ptr = "bob", .field = "f", .len = 3, .type = CORE_INDICATOR_USER};
        }
        fake_sleep_us(1000);
    }
    assert_true(calls > 3);
    assert_int_equal(many_matched(many), MANY_EVENTS * MANY_EACH - 1);
    assert_non_null(memmem(many->events[7].doc.ptr, many->events[7].doc.len, "\"id\":\"user:bob\"", 15));
    assert_true(atomic_load(&rig->world->told) <= MANY_EVENTS * MANY_EACH + 1);
    assert_int_equal(counted(rig, CORE_COUNT_ENRICH_HITS), MANY_EVENTS * MANY_EACH);
    many_close(many);
}

/* The same, and the batch passes: what was answered in time is matched, the rest is marked, and the next one is asked at once. */
static void test_a_batch_of_many_keys_passes(void **state) {
    (void)state;
    struct many *many = many_new();
    struct rig *rig = many->rig;
    rig->conf.timeout_ns = 5 * CORE_NS_PER_S; /* a machine may be slow: the answer has 2 s to spare */
    atomic_store(&rig->world->get_us, 3000000);
    rig_open(rig);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    for (unsigned i = 0; i < 3; i++) {
        many_batch(many);
        assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
        size_t matched = many_matched(many), marked = 0;
        for (size_t k = 0; k < MANY_EVENTS; k++) {
            marked += memmem(many->events[k].doc.ptr, many->events[k].doc.len, "\"intel\":\"unavailable\"", 21) != NULL;
        }
        assert_int_equal(matched, MATCH_ASK_MAX);
        assert_int_equal(marked, MANY_EVENTS - MATCH_ASK_MAX / MANY_EACH);
    }
    assert_int_equal(atomic_load(&rig->world->connects), 1); /* it was not asked what it could not answer in time */
    assert_int_equal(atomic_load(&rig->world->gets), 3);
    many_close(many);
}

/* One answer alone has no room: that is no reason to hold it for ever. */
static void test_an_answer_that_is_too_long(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    rig->conf.on_unavailable = ENRICH_WAIT;
    fake_say(rig->world, CORE_INDICATOR_USER, "eve", FAKE_A);
    rig_open(rig);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    atomic_store(&rig->world->get_err, CORE_LIMIT);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    assert_true(is_doc(rig, 0, MARKED) && is_doc(rig, 1, DOC) && is_doc(rig, 4, MARKED));
    atomic_store(&rig->world->get_err, CORE_OK);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    assert_true(is_matched(rig, 0, "eve"));
    rig_close(rig);
}

/* The stream is not followed: at once nobody asks, and after stale_after nothing that the filter says is trusted. */
static void test_a_stream_that_is_not_followed(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    rig->conf.stale_after_ns = CORE_NS_PER_S;
    fake_say(rig->world, CORE_INDICATOR_USER, "eve", FAKE_A);
    rig_open(rig);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    atomic_store(&rig->world->follow_err, CORE_NET);
    EVENTUALLY(state_of(rig) == ENRICH_UNAVAILABLE);
    unsigned gets = atomic_load(&rig->world->gets);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    assert_int_equal(atomic_load(&rig->world->gets), gets);
    assert_true(is_doc(rig, 0, MARKED));
    struct enrich_status status;
    do {
        fake_sleep_us(10000);
        enrich_status(rig->enrich, &status);
    } while (status.behind_ns <= rig->conf.stale_after_ns);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    assert_true(is_doc(rig, 0, MARKED) && is_doc(rig, 1, MARKED));
    atomic_store(&rig->world->follow_err, CORE_OK);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    assert_true(has(rig, 0, "\"id\":\"user:eve\"") && is_doc(rig, 1, DOC));
    rig_close(rig);
}

static void test_a_batch_without_observables(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    rig->conf.on_unavailable = ENRICH_WAIT;
    atomic_store(&rig->world->open_err, CORE_NET);
    rig_open(rig);
    rig->batch.events_len = 1;
    rig->events[0] = (struct core_event){.doc = CORE_SPAN(DOC)};
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK); /* nothing to wait for */
    rig->batch.events_len = 0;
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    rig_close(rig);
    enrich_close(NULL);
}

/* The embedded default: indicators from a file, through the same stage. */
static void test_indicators_from_a_file(void **state) {
    (void)state;
    char path[] = "/tmp/tapline-enrich-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    assert_true(fputs("#fields\tindicator\tindicator_type\tmeta.source\n203.0.113.0/24\tIntel::SUBNET\tcorp\n", file) >=
                0);
    assert_int_equal(fclose(file), 0);
    struct core_conf_item item = {.value = path};
    struct rig *rig = rig_new();
    rig->conf.files = (struct core_conf_list){&item, 1};
    const struct enrich_env env = {.node = "n", .counters = &rig->counters};
    assert_int_equal(enrich_open(&rig->enrich, &rig->conf, NULL, &env, NULL), CORE_OK);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    rig->batch.events_len = 1;
    rig->events[0] = (struct core_event){.doc = CORE_SPAN(DOC)};
    observe(&rig->events[0], rig->observables[0], CORE_INDICATOR_IP, "203.0.113.80");
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    assert_true(has(rig, 0, "\"id\":\"cidr:203.0.113.0/24\"") && has(rig, 0, "\"provider\":\"corp\""));
    rig_close(rig);
    assert_int_equal(remove(path), 0);
}

/* ---- health ------------------------------------------------------------------------------------------------------------------ */

static void look(struct rig *rig, struct health_rig *board) {
    core_health_begin(board->page);
    enrich_health(rig->enrich, board->page);
    core_health_publish(board->page);
}

static int64_t intel(struct health_rig *board, enum core_health_measure measure) {
    return health_look(board, measure, NULL, NULL, NULL);
}

/* Away at the start, there, away while it is asked, there again. */
static void test_health(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    struct health_rig board = {0};
    assert_int_equal(health_rig_new(&board), 0);
    fake_say(rig->world, CORE_INDICATOR_USER, "eve", FAKE_BOTH);
    atomic_store(&rig->world->open_err, CORE_NET);
    rig_open(rig);
    EVENTUALLY(state_of(rig) == ENRICH_UNAVAILABLE);
    EVENTUALLY((look(rig, &board), intel(&board, CORE_INTEL_UP) == 0));
    assert_int_equal(intel(&board, CORE_INTEL_STATE), ENRICH_UNAVAILABLE);
    assert_int_equal(intel(&board, CORE_INTEL_BEHIND), CORE_HEALTH_UNKNOWN);
    const char *text = health_look_complaint(&board, "intel_unavailable");
    assert_non_null(text);
    assert_non_null(strstr(text, "marked labels.intel: unavailable"));
    atomic_store(&rig->world->open_err, CORE_OK);
    EVENTUALLY(state_of(rig) == ENRICH_READY);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    look(rig, &board);
    assert_null(health_look_complaint(&board, "intel_unavailable"));
    assert_int_equal(intel(&board, CORE_INTEL_UP), 1);
    assert_int_equal(intel(&board, CORE_INTEL_INDICATORS), 1);
    assert_int_equal(intel(&board, CORE_INTEL_HIT_RATE), 500000); /* two of four observables */
    const struct core_health_row *row = health_look_row(&board, CORE_HEALTH_INTEL, NULL, NULL, NULL);
    assert_true(core_histogram_quantile_ns(row->histogram, 1) >= 0); /* one round trip */
    atomic_store(&rig->world->get_err, CORE_NET);
    rig_batch(rig);
    assert_int_equal(enrich_batch(rig->enrich, &rig->batch), CORE_OK);
    look(rig, &board);
    assert_int_equal(intel(&board, CORE_INTEL_STATE), ENRICH_UNAVAILABLE);
    assert_non_null(health_look_complaint(&board, "intel_unavailable"));
    atomic_store(&rig->world->get_err, CORE_OK);
    EVENTUALLY((rig_batch(rig), enrich_batch(rig->enrich, &rig->batch) == CORE_OK && has(rig, 0, "user:eve")));
    look(rig, &board);
    assert_int_equal(intel(&board, CORE_INTEL_UP), 1);
    assert_null(health_look_complaint(&board, "intel_unavailable"));
    health_rig_free(&board);
    rig_close(rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hits_and_none),
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_subdomains_and_the_allow_list),
        cmocka_unit_test(test_away_at_the_start),
        cmocka_unit_test(test_held_while_away),
        cmocka_unit_test(test_a_store_that_is_late),
        cmocka_unit_test(test_a_store_that_is_far_away),
        cmocka_unit_test(test_a_tick_waits_for_nothing),
        cmocka_unit_test(test_held_until_a_late_store_answers),
        cmocka_unit_test(test_a_held_batch_of_many_keys),
        cmocka_unit_test(test_a_batch_of_many_keys_passes),
        cmocka_unit_test(test_an_answer_that_is_too_long),
        cmocka_unit_test(test_a_stream_that_is_not_followed),
        cmocka_unit_test(test_a_batch_without_observables),
        cmocka_unit_test(test_indicators_from_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
