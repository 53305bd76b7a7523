/* tests/unit/ingest_feed_test.c: records of Kafka become events and come back as counts: what needs no broker of it. The group
 * and the producer are those of the integration tests.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/feed_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define POOL_LEN 4
#define PUSHED_MAX 16
#define DAY_MS INT64_C(86400000)
#define DAY 20000 /* 2024-10-04 */

/* A source without Kafka: shares are given by hand, batches come back by hand. */
struct rig {
    struct core_pool pool;
    struct core_counters counters;
    struct core_bell bell;
    struct feed_conf conf;
    struct feed *feed;
    struct core_kafka_share places[3];
    struct core_batch *pushed[PUSHED_MAX];
    size_t pushed_len;
    size_t back; /* how many are let back */
    size_t taken;
};

static void on_push(void *ctx, struct core_batch *batch) {
    struct rig *rig = ctx;
    assert_true(rig->pushed_len < PUSHED_MAX);
    rig->pushed[rig->pushed_len++] = batch;
}

static struct core_batch *on_returned(void *ctx) {
    struct rig *rig = ctx;
    return rig->taken < rig->back ? rig->pushed[rig->taken++] : NULL;
}

static char group[] = "g";
static char dead_topic[] = "tapline.deadletter";
static char ledger_topic[] = "tapline.feed";
static char checkpoint_topic[] = "tapline.checkpoint";

static int rig_open(void **state) {
    static struct rig rig;
    struct core_fail fail;
    rig = (struct rig){.conf = {.group = group,
                                .dead_letter_topic = dead_topic,
                                .ledger_topic = ledger_topic,
                                .checkpoint_topic = checkpoint_topic}};
    assert_int_equal(core_pool_init(&rig.pool, POOL_LEN, &fail), CORE_OK);
    assert_int_equal(core_bell_init(&rig.bell, &fail), CORE_OK);
    const struct feed_env env = {.node = "n",
                                 .conf = &rig.conf,
                                 .pool = &rig.pool,
                                 .counters = &rig.counters,
                                 .ctx = &rig,
                                 .push = on_push,
                                 .returned = on_returned,
                                 .bell = &rig.bell};
    assert_int_equal(feed_open(&rig.feed, &env, &fail), CORE_OK);
    rig.places[0] = (struct core_kafka_share){.topic = "tapline.a", .partition = 0, .offset = 10};
    rig.places[1] = (struct core_kafka_share){.topic = "tapline.a", .partition = 1, .offset = -1};
    rig.places[2] = (struct core_kafka_share){.topic = dead_topic, .partition = 0, .offset = 0};
    struct core_kafka_share *const places[] = {&rig.places[0], &rig.places[1], &rig.places[2]};
    feed_shares_gained(rig.feed, places, 3);
    *state = &rig;
    return 0;
}

static int rig_close(void **state) {
    struct rig *rig = *state;
    feed_close(rig->feed);
    core_bell_destroy(&rig->bell);
    core_pool_destroy(&rig->pool);
    return 0;
}

static struct feed_share *share_of(struct rig *rig, size_t place) {
    return rig->places[place].owner;
}

static void put(struct rig *rig, size_t place, int64_t offset, const char *value) {
    struct core_kafka_taken taken = {.share = &rig->places[place],
                                     .offset = offset,
                                     .timestamp_ms = DAY * DAY_MS + 5,
                                     .key = CORE_SPAN("key"),
                                     .is_tombstone = value == NULL};
    if (value != NULL) {
        taken.value = core_span_of(value);
    }
    assert_true(feed_fill_has_room(rig->feed));
    feed_fill_record(rig->feed, &taken);
}

/* All that was pushed comes back. */
static void come_back(struct rig *rig) {
    feed_fill_push(rig->feed);
    rig->back = rig->pushed_len;
    (void)feed_back_take(rig->feed);
}

#define DOC(dataset) "{\"@timestamp\":\"2024-10-04T00:00:00Z\",\"event\":{\"dataset\":\"" dataset "\"}}"

/* ---- records to events --------------------------------------------------------------------------------------------------- */

static void test_a_record_is_an_event(void **state) {
    struct rig *rig = *state;
    static const char header[] =
        "\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x00\x00\x00\x00\x2b";
    const struct core_kafka_taken taken = {
        .share = &rig->places[0],
        .offset = 12,
        .timestamp_ms = 1700000000123,
        .key = CORE_SPAN("1:abc"),
        .value = CORE_SPAN(" {\"event\" :\r\n{\"dataset\":\"zeek.dns\"}\n} \n"),
        .header = {.ptr = header, .len = 24},
    };
    assert_true(feed_fill_has_room(rig->feed));
    feed_fill_record(rig->feed, &taken);
    feed_fill_push(rig->feed);
    assert_int_equal(rig->pushed_len, 1);
    const struct core_batch *batch = rig->pushed[0];
    assert_int_equal(batch->events_len, 1);
    const struct core_event *event = &batch->events[0];
    assert_true(core_span_is(event->doc, "{\"event\" :  {\"dataset\":\"zeek.dns\"} }"));
    assert_true(core_span_is(event->key, "1:abc"));
    assert_true(core_span_is(event->id, "0102030405060708000000000000002a"));
    assert_string_equal(event->dataset, "zeek.dns");
    assert_int_equal(event->accepted_ms, 1700000000123);
    assert_false(event->is_dead);
    assert_int_equal(core_counted(&rig->counters, CORE_COUNT_FEED_FOREIGN), 0);
}

/* Without a header the id is where the record lies: the same at each try, another at each place. */
static void test_an_id_of_its_place(void **state) {
    struct rig *rig = *state;
    put(rig, 0, 12, DOC("d"));
    put(rig, 0, 13, DOC("d"));
    put(rig, 1, 12, DOC("d"));
    feed_fill_push(rig->feed);
    const struct core_event *events = rig->pushed[0]->events;
    assert_int_equal(rig->pushed[0]->events_len, 3);
    assert_memory_not_equal(events[0].id.ptr, events[1].id.ptr, 32);
    assert_memory_not_equal(events[0].id.ptr, events[2].id.ptr, 32);
    char want[33];
    (void)snprintf(want, sizeof(want), "%016llx%016x", (unsigned long long)core_hash64("tapline.a", 9, 0), 12);
    assert_memory_equal(events[0].id.ptr, want, 32);
    assert_int_equal(core_counted(&rig->counters, CORE_COUNT_FEED_FOREIGN), 3);
}

static void test_datasets(void **state) {
    (void)state;
    char longest[FEED_DATASET_BYTES_MAX + 64];
    char name[FEED_DATASET_BYTES_MAX + 2];
    memset(name, 'd', sizeof(name));
    name[FEED_DATASET_BYTES_MAX] = '\0';
    (void)snprintf(longest, sizeof(longest), "{\"event\":{\"dataset\":\"%s\"}}", name);
    assert_true(core_span_is(feed_dataset_of(core_span_of(longest)), name));
    name[FEED_DATASET_BYTES_MAX] = 'd';
    name[FEED_DATASET_BYTES_MAX + 1] = '\0';
    (void)snprintf(longest, sizeof(longest), "{\"event\":{\"dataset\":\"%s\"}}", name);
    static const char *const generic[] = {"{}",
                                          "",
                                          "no json",
                                          "[1]",
                                          "{\"event\":{\"dataset\":7}}",
                                          "{\"event\":{\"dataset\":\"\"}}",
                                          "{\"event\":{\"dataset\":\"a b\"}}",
                                          "{\"event\":{\"dataset\":\"a\\u0062\"}}",
                                          "{\"event\":{\"dataset\":\"\xc3\xa9\"}}"};
    assert_true(core_span_is(feed_dataset_of(core_span_of(longest)), "generic"));
    for (size_t i = 0; i < sizeof(generic) / sizeof(generic[0]); i++) {
        assert_true(core_span_is(feed_dataset_of(core_span_of(generic[i])), "generic"));
    }
    assert_true(core_span_is(feed_dataset_of(CORE_SPAN(DOC("zeek.dns"))), "zeek.dns"));
}

static void test_which_topics(void **state) {
    struct rig *rig = *state;
    static char pattern[] = "^a[0-9]+$";
    static char name[] = "tapline.x";
    struct core_conf_item items[] = {{.value = pattern}, {.value = name}};
    struct feed_conf conf = rig->conf;
    const char *const *topics;
    size_t len;
    assert_true(feed_wants_topic(&conf, "tapline.zeek.dns"));
    assert_true(feed_wants_topic(&conf, dead_topic));
    assert_false(feed_wants_topic(&conf, ledger_topic));
    assert_false(feed_wants_topic(&conf, checkpoint_topic));
    assert_false(feed_wants_topic(&conf, "taplinex"));
    feed_conf_topics(&conf, &topics, &len);
    assert_int_equal(len, 1); /* the dead letters' name fits the pattern */
    free((void *)(uintptr_t)topics);
    conf.topics = (struct core_conf_list){.items = items, .len = 2};
    assert_true(feed_wants_topic(&conf, "a12"));
    assert_false(feed_wants_topic(&conf, "a12b"));
    assert_true(feed_wants_topic(&conf, "tapline.x"));
    assert_false(feed_wants_topic(&conf, "tapline.zeek.dns"));
    assert_true(feed_wants_topic(&conf, dead_topic));
    feed_conf_topics(&conf, &topics, &len);
    assert_int_equal(len, 3);
    assert_string_equal(topics[2], dead_topic);
    free((void *)(uintptr_t)topics);
}

/* A pair of groups' properties has what they must never say. */
static void test_the_blacklist(void **state) {
    struct rig *rig = *state;
    struct feed_pairs pairs;
    feed_pairs_of_group(&rig->conf, &pairs);
    assert_string_equal(pairs.pairs[pairs.len - 1].key, "topic.blacklist");
    assert_string_equal(pairs.pairs[pairs.len - 1].value, "^__.*,^tapline\\.checkpoint$,^tapline\\.feed$");
    feed_pairs_release(&pairs);
    feed_pairs_of_producer(&rig->conf, "node", 3, &pairs);
    assert_string_equal(pairs.pairs[pairs.len - 1].value, "tapline-feed/g/node/3");
    feed_pairs_release(&pairs);
}

/* ---- what becomes of them ------------------------------------------------------------------------------------------------ */

static void test_offsets_follow_what_is_back(void **state) {
    struct rig *rig = *state;
    put(rig, 0, 11, DOC("d"));
    put(rig, 1, 500, DOC("d"));
    put(rig, 0, 14, NULL);
    feed_fill_push(rig->feed);
    put(rig, 0, 15, DOC("e"));
    feed_fill_push(rig->feed);
    const struct feed_share *first = share_of(rig, 0);
    const struct feed_share *second = share_of(rig, 1);
    assert_int_equal(first->next, 16);
    assert_int_equal(first->done, 10);
    assert_int_equal(first->under_way, 2);
    assert_int_equal(second->done, 500); /* where its account begins */
    rig->back = 1;
    assert_true(feed_back_take(rig->feed));
    assert_int_equal(first->done, 15); /* the tombstone is behind */
    assert_int_equal(second->done, 501);
    assert_int_equal(first->row->from, 10);
    assert_int_equal(first->row->to, 15);
    rig->pushed[1]->events[0].fate = CORE_FATE_REPEATED;
    come_back(rig);
    assert_int_equal(first->done, 16);
    assert_int_equal(first->under_way, 0);
    assert_int_equal(first->row->pairs_len, 2);
    assert_int_equal(first->row->pairs[0].indexed, 1);
    assert_int_equal(first->row->pairs[0].day, DAY);
    assert_int_equal(first->row->pairs[1].repeated, 1);
    assert_int_equal(rig->feed->sums.indexed, 2);
    assert_int_equal(rig->feed->sums.repeated, 1);
    assert_int_equal(core_counted(&rig->counters, CORE_COUNT_FEED_TOMBSTONES), 1);
    assert_int_equal(core_counted(&rig->counters, CORE_COUNT_FEED_RECORDS), 3);
    assert_int_equal(rig->pool.free_len, POOL_LEN);
}

static void test_refused_and_unreadable_are_dead_letters(void **state) {
    struct rig *rig = *state;
    static char reason[] = "mapper_parsing_exception: no such thing";
    put(rig, 0, 10, "no json");
    put(rig, 0, 11, DOC("d"));
    put(rig, 0, 12, "{\"cut\":");
    put(rig, 2, 0, DOC("tapline.deadletter"));
    feed_fill_push(rig->feed);
    struct core_batch *batch = rig->pushed[0];
    assert_int_equal(batch->events_len, 2);
    assert_true(batch->events[1].is_dead);
    for (uint32_t i = 0; i < batch->events_len; i++) {
        batch->events[i].fate = CORE_FATE_REFUSED;
        batch->events[i].refusal = reason;
    }
    come_back(rig);
    assert_int_equal(rig->feed->sums.dead, 4);
    assert_int_equal(rig->feed->sums.lost, 1);          /* the dead letter has none of its own */
    assert_int_equal(rig->pool.free_len, POOL_LEN - 1); /* until the dead letters are committed */
    const struct feed_dead *dead = rig->feed->deads.head;
    assert_true(dead->is_unreadable);
    assert_int_equal(dead->offset, 10);
    dead = dead->next;
    assert_false(dead->is_unreadable);
    assert_int_equal(dead->offset, 11);
    assert_int_equal(dead->next->offset, 12);
    assert_null(dead->next->next);
    unsigned char header[16];
    unsigned char other[16];
    struct core_span letter = feed_dead_write(rig->feed, dead, header);
    char text[2048];
    (void)snprintf(text, sizeof(text), "%.*s", (int)letter.len, letter.ptr);
    assert_non_null(strstr(text, "\"message\":\"mapper_parsing_exception: no such thing\""));
    assert_non_null(
        strstr(text, "\"kind\":\"refused\",\"topic\":\"tapline.a\",\"partition\":0,\"offset\":11,\"dataset\":\"d\""));
    assert_non_null(strstr(text, "\"original\":\"{\\\"@timestamp\\\""));
    (void)feed_dead_write(rig->feed, dead->next, other);
    assert_memory_equal(header, other, 8);
    assert_memory_not_equal(header, other, 16);
    char id[33];
    (void)snprintf(id, sizeof(id), "%.32s", dead->id.ptr);
    assert_non_null(strstr(text, id)); /* the document's own: not the letter's */
    for (; dead != NULL; dead = dead->next) {
        feed_dead_count(rig->feed, dead);
    }
    struct feed_summary *summary = calloc(1, sizeof(*summary));
    assert_non_null(summary);
    feed_summarize(rig->feed, summary);
    assert_int_equal(summary->reasons_len, 2);
    assert_string_equal(summary->reasons[0].name, "mapper_parsing_exception");
    free(summary);
    feed_back_give(rig->feed, &rig->feed->held);
    assert_int_equal(rig->pool.free_len, POOL_LEN);
}

static bool on_text(void *ctx, struct core_span text) {
    (void)ctx;
    (void)text;
    return true;
}

static bool on_bound(void *ctx, bool is_start) {
    (void)ctx;
    (void)is_start;
    return true;
}

/* Bytes that JSON writes as six: a document that is none, which only the engine finds out. */
static void test_a_letter_fits_whatever_was_refused(void **state) {
    struct rig *rig = *state;
    static char value[CORE_DEAD_DOCUMENT_BYTES_MAX];
    static char reason[] = "document_parsing_exception: no JSON";
    unsigned char header[16];
    const int len = snprintf(value, sizeof(value), "{\"a\":\"");
    memset(value + len, 1, sizeof(value) - (size_t)len);
    (void)snprintf(value + sizeof(value) - 3, 3, "\"}");
    put(rig, 0, 10, value);
    feed_fill_push(rig->feed);
    assert_int_equal(rig->pushed[0]->events_len, 1);
    rig->pushed[0]->events[0].fate = CORE_FATE_REFUSED;
    rig->pushed[0]->events[0].refusal = reason;
    come_back(rig);
    struct core_span letter = feed_dead_write(rig->feed, rig->feed->deads.head, header);
    assert_in_range(letter.len, CORE_DEAD_RAW_BYTES_MAX, FEED_LETTER_BYTES_MAX);
    static const struct core_json_calls calls = {
        .on_number = on_text, .on_string = on_text, .on_key = on_text, .on_map = on_bound};
    struct core_json_reader *reader = core_json_reader_new(&calls, NULL);
    struct core_fail fail;
    assert_int_equal(core_json_read(reader, letter, &fail), CORE_OK);
    core_json_reader_free(reader);
    char tail[512];
    (void)snprintf(tail, sizeof(tail), "%.*s", 500, letter.ptr + letter.len - 500);
    assert_non_null(strstr(tail, "\"original_bytes\":393215,"));
    feed_back_give(rig->feed, &rig->feed->held);
}

static void put_keyed(struct rig *rig, int64_t offset, size_t key_len, const char *value) {
    static char key[60 * CORE_KIB];
    memset(key, 'k', sizeof(key));
    assert_in_range(key_len, 0, sizeof(key));
    const struct core_kafka_taken taken = {.share = &rig->places[0],
                                           .offset = offset,
                                           .timestamp_ms = 1,
                                           .key = {.ptr = key, .len = key_len},
                                           .value = core_span_of(value)};
    assert_true(feed_fill_has_room(rig->feed));
    feed_fill_record(rig->feed, &taken);
}

/* It would make the dead letter too large for its topic, however short the rest is. */
static void test_a_long_key_is_not_carried(void **state) {
    struct rig *rig = *state;
    put_keyed(rig, 10, FEED_KEY_BYTES_MAX, DOC("d"));
    put_keyed(rig, 11, FEED_KEY_BYTES_MAX + 1, DOC("d"));
    put_keyed(rig, 12, FEED_KEY_BYTES_MAX + 1, "no json");
    put(rig, 2, 0, DOC("tapline.deadletter"));
    feed_fill_push(rig->feed);
    const struct core_event *events = rig->pushed[0]->events;
    const struct feed_note *notes = rig->feed->sides[rig->pushed[0] - rig->pool.batches].notes;
    assert_int_equal(events[0].key.len, FEED_KEY_BYTES_MAX);
    assert_int_equal(events[1].key.len, 0);
    assert_int_equal(notes[2].dead->key.len, 0);
    assert_int_equal(events[2].key.len, 0); /* of a dead letter there is no other */
    come_back(rig);
    feed_back_give(rig->feed, &rig->feed->held);
}

static void test_keys_take_room(void **state) {
    struct rig *rig = *state;
    for (int64_t i = 0; i < CORE_BATCH_LINES_MAX; i++) {
        put_keyed(rig, 10 + i, 60 * CORE_KIB, "{}");
    }
    feed_fill_push(rig->feed);
    assert_int_equal(rig->pushed_len, 1);
    assert_in_range(rig->pushed[0]->arena.used, 1, CORE_MIB);
    come_back(rig);
    for (int64_t i = 0; i < 300; i++) {
        put_keyed(rig, 10000 + i, FEED_KEY_BYTES_MAX, "{}");
    }
    assert_int_equal(rig->pushed_len, 2);
    assert_in_range(rig->pushed[1]->arena.used, 1, 2 * FEED_BATCH_BYTES);
    assert_int_equal(core_counted(&rig->counters, CORE_COUNT_FEED_BYTES), (CORE_BATCH_LINES_MAX + 256) * 2);
    come_back(rig);
}

/* What is another's by now is not ours to count, however late it comes. */
static void test_a_place_that_was_given_up(void **state) {
    struct rig *rig = *state;
    put(rig, 0, 10, DOC("d"));
    put(rig, 1, 7, DOC("d"));
    put(rig, 0, 11, "no json");
    feed_fill_push(rig->feed);
    struct feed_share *share = share_of(rig, 0);
    share->place = NULL;
    feed_ledger_forget(share);
    feed_share_settle(rig->feed, share);
    assert_int_equal(rig->feed->shares_len, 3); /* a batch still names it */
    come_back(rig);
    assert_int_equal(rig->feed->shares_len, 2);
    assert_int_equal(rig->feed->sums.indexed, 1);
    assert_int_equal(rig->feed->sums.dead, 0);
    assert_null(rig->feed->deads.head);
    assert_int_equal(rig->pool.free_len, POOL_LEN);
}

/* After everything was forgotten, batches of before change nothing. */
static void test_what_is_forgotten(void **state) {
    struct rig *rig = *state;
    const struct core_fail why = {.text = "a test"};
    put(rig, 0, 10, DOC("d"));
    feed_fill_push(rig->feed);
    put(rig, 0, 11, DOC("d")); /* in no batch that anybody has */
    feed_forget(rig->feed, "forgotten", &why);
    assert_int_equal(rig->feed->shares_len, 0);
    assert_int_equal(feed_outstanding(rig->feed), 1);
    come_back(rig);
    assert_int_equal(rig->feed->sums.indexed, 0);
    assert_int_equal(feed_outstanding(rig->feed), 0);
    assert_int_equal(rig->pool.free_len, POOL_LEN);
}

/* With no batch left there is no room; what is full is handed on. */
static void test_room(void **state) {
    struct rig *rig = *state;
    for (int64_t offset = 10; offset < 10 + CORE_BATCH_LINES_MAX; offset++) {
        put(rig, 0, offset, offset % 2 == 0 ? DOC("d") : NULL);
    }
    assert_int_equal(rig->pushed_len, 0);
    put(rig, 0, 10 + CORE_BATCH_LINES_MAX, DOC("d"));
    assert_int_equal(rig->pushed_len, 1);
    assert_int_equal(rig->pushed[0]->events_len, CORE_BATCH_LINES_MAX / 2);
    assert_true(feed_fill_due(rig->feed) < INT64_MAX);
    for (size_t i = 1; i < POOL_LEN; i++) {
        feed_fill_push(rig->feed);
        if (feed_fill_has_room(rig->feed)) {
            put(rig, 1, 100 + (int64_t)i, DOC("d"));
        }
    }
    feed_fill_push(rig->feed);
    assert_false(feed_fill_has_room(rig->feed));
    assert_true(feed_fill_due(rig->feed) == INT64_MAX);
    come_back(rig);
    assert_true(feed_fill_has_room(rig->feed));
    feed_fill_drop(rig->feed);
}

static void test_once_ends_where_it_was(void **state) {
    struct rig *rig = *state;
    feed_set_once(rig->feed);
    share_of(rig, 0)->once_end = 12;
    share_of(rig, 1)->is_at_end = share_of(rig, 2)->is_at_end = true;
    put(rig, 0, 11, DOC("d"));
    assert_false(feed_shares_at_end(rig->feed));
    put(rig, 0, 12, DOC("d")); /* the next run's */
    assert_true(feed_shares_at_end(rig->feed));
    feed_fill_push(rig->feed);
    assert_int_equal(rig->pushed[0]->events_len, 1);
    assert_int_equal(share_of(rig, 0)->next, 12);
    feed_shares_more_dead(rig->feed, 0, 0);
    assert_false(feed_shares_at_end(rig->feed));
}

static void end(struct rig *rig, size_t place, int64_t offset) {
    const struct core_kafka_taken taken = {.share = &rig->places[place], .offset = offset};
    feed_share_ended(rig->feed, &taken);
}

/* As if all that is back were committed. */
static void commit(struct rig *rig) {
    come_back(rig);
    for (size_t i = 0; i < rig->feed->shares_len; i++) {
        rig->feed->shares[i]->committed = rig->feed->shares[i]->done;
    }
}

/* Whoever wrote it: between the end and a letter of our own nothing is left out that the offset is then committed over. */
static void test_once_leaves_out_no_dead_letter_before_its_own(void **state) {
    struct rig *rig = *state;
    feed_set_once(rig->feed);
    share_of(rig, 0)->once_end = 11;
    share_of(rig, 1)->is_at_end = true;
    share_of(rig, 2)->once_end = 12;
    put(rig, 2, 11, DOC("tapline.deadletter"));
    end(rig, 2, 12);
    put(rig, 2, 12, DOC("tapline.deadletter")); /* another feeder's */
    assert_int_equal(share_of(rig, 2)->next, 13);
    put(rig, 0, 10, DOC("d")); /* becomes the letter at 13 */
    end(rig, 0, 11);
    commit(rig);
    feed_shares_more_dead(rig->feed, 0, 13);
    assert_false(feed_shares_at_end(rig->feed));
    end(rig, 2, 13); /* said before the letter could be seen */
    assert_false(feed_shares_at_end(rig->feed));
    put(rig, 2, 13, DOC("tapline.deadletter"));
    end(rig, 2, 15);
    assert_true(feed_shares_at_end(rig->feed));
    commit(rig);
    assert_int_equal(share_of(rig, 2)->committed, 14);
    assert_int_equal(rig->feed->sums.indexed, 4);
}

/* Nothing of ours can follow: what others write now is the next run's, or there would be no end. If the group then gives us
 * more, and that has dead letters, they are the next run's as well: they lie behind what was left out. */
static void test_once_leaves_the_rest_to_the_next_run(void **state) {
    struct rig *rig = *state;
    feed_set_once(rig->feed);
    share_of(rig, 0)->is_at_end = share_of(rig, 1)->is_at_end = true;
    share_of(rig, 2)->once_end = 12;
    put(rig, 2, 11, DOC("tapline.deadletter"));
    put(rig, 2, 12, DOC("tapline.deadletter"));
    commit(rig);
    assert_int_equal(share_of(rig, 2)->committed, 12);
    feed_shares_more_dead(rig->feed, 0, 13);
    assert_true(feed_shares_at_end(rig->feed));
    put(rig, 2, 13, DOC("tapline.deadletter"));
    commit(rig);
    assert_int_equal(share_of(rig, 2)->committed, 12);
    assert_int_equal(rig->feed->sums.indexed, 1);
}

/* A commit's answer may come after its letters: the group has given them then, and does not say again that this was all. */
static void test_once_ends_when_its_letter_came_before_the_commit(void **state) {
    struct rig *rig = *state;
    feed_set_once(rig->feed);
    share_of(rig, 0)->once_end = 11;
    share_of(rig, 1)->is_at_end = share_of(rig, 2)->is_at_end = true;
    put(rig, 0, 10, DOC("d"));
    end(rig, 0, 11);
    come_back(rig);
    put(rig, 2, 0, DOC("tapline.deadletter"));
    end(rig, 2, 2);
    commit(rig);
    feed_shares_more_dead(rig->feed, 0, 0);
    assert_true(feed_shares_at_end(rig->feed));
    assert_int_equal(share_of(rig, 2)->committed, 1);
}

/* ---- the ledger ---------------------------------------------------------------------------------------------------------- */

struct rows {
    char text[8192];
    size_t len;
    size_t rows;
};

static void on_row(void *ctx, const struct feed_ledger_row *row) {
    struct rows *rows = ctx;
    rows->rows++;
    rows->len += (size_t)snprintf(
        rows->text + rows->len, sizeof(rows->text) - rows->len, "%.*s %.*s %d %lld-%lld %.*s %.*s %llu %llu %llu\n",
        (int)row->group.len, row->group.ptr, (int)row->topic.len, row->topic.ptr, row->partition, (long long)row->from,
        (long long)row->to, (int)row->day.len, row->day.ptr, (int)row->dataset.len, row->dataset.ptr,
        (unsigned long long)row->indexed, (unsigned long long)row->repeated, (unsigned long long)row->dead);
    assert_true(rows->len < sizeof(rows->text));
}

/* The share's row as who reads the topic sees it. */
static void expect_row(struct rig *rig, const struct feed_share *share, const struct feed_row *row, const char *key,
                       const char *want) {
    static char bytes[FEED_SCRATCH_BYTES];
    struct core_buf buf = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    struct core_span row_key;
    struct core_span value;
    struct rows rows = {0};
    assert_true(feed_ledger_write(&buf, rig->feed, share, row, &row_key, &value));
    assert_true(core_span_is(row_key, key));
    assert_true(feed_ledger_parse(value, on_row, &rows));
    assert_string_equal(rows.text, want);
}

static void test_rows_say_what_was_counted(void **state) {
    struct rig *rig = *state;
    struct feed_share *share = share_of(rig, 0);
    static const char a[] = "a";
    static const char b[] = "b";
    expect_row(rig, share, share->row, "g/tapline.a/0/10", "g tapline.a 0 10-10   0 0 0\n");
    feed_ledger_count(share, 10, DAY * DAY_MS, a, FEED_INDEXED);
    feed_ledger_count(share, 12, (DAY + 1) * DAY_MS - 1, b, FEED_DEAD);
    feed_ledger_count(share, 13, (DAY + 1) * DAY_MS, a, FEED_REPEATED);
    feed_ledger_count(share, 14, -1, a, FEED_INDEXED);
    feed_ledger_count(share, 15, DAY * DAY_MS, a, FEED_INDEXED);
    expect_row(rig, share, share->row, "g/tapline.a/0/10",
               "g tapline.a 0 10-16 2024-10-04 a 2 0 0\n"
               "g tapline.a 0 10-16 2024-10-04 b 0 0 1\n"
               "g tapline.a 0 10-16 2024-10-05 a 0 1 0\n"
               "g tapline.a 0 10-16 1970-01-01 a 1 0 0\n");
    const int64_t today = share->row->begun_day;
    feed_ledger_reach(share, 20, today);
    assert_ptr_equal(share->rows, share->row);
    feed_ledger_reach(share, 21, today + 1); /* midnight */
    assert_ptr_equal(share->rows->next, share->row);
    assert_int_equal(share->rows->to, 21);
    assert_int_equal(share->row->from, 21);
    feed_ledger_committed(share);
    assert_ptr_not_equal(share->rows, share->row); /* it was not written yet */
    share->rows->written_to = share->rows->to;
    feed_ledger_committed(share);
    assert_ptr_equal(share->rows, share->row);
}

static void test_rows_have_64_pairs(void **state) {
    struct rig *rig = *state;
    struct feed_share *share = share_of(rig, 0);
    static const char a[] = "a";
    for (int64_t i = 0; i < 2 * FEED_PAIRS_MAX + 1; i++) { /* a record of each day, and one more of the first */
        feed_ledger_count(share, 10 + i, (DAY + i) * DAY_MS, a, FEED_INDEXED);
    }
    feed_ledger_count(share, 500, (DAY + 2 * FEED_PAIRS_MAX) * DAY_MS, a, FEED_INDEXED);
    const struct feed_row *row = share->rows;
    uint64_t indexed = 0;
    size_t rows = 0;
    for (int64_t from = 10; row != NULL; row = row->next) {
        assert_int_equal(row->from, from);
        from = row->to;
        rows++;
        for (size_t i = 0; i < row->pairs_len; i++) {
            indexed += row->pairs[i].indexed;
        }
    }
    assert_int_equal(rows, 3);
    assert_int_equal(indexed, 2 * FEED_PAIRS_MAX + 2);
    assert_int_equal(share->row->from, 10 + 2 * FEED_PAIRS_MAX);
    assert_int_equal(share->row->to, 501);
}

static void test_rows_that_are_none(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"group\":\"g\"}",
        "{\"state\":\"retried\",\"written\":\"2026-11-22T00:00:00Z\"}",
        "{\"group\":\"g\",\"topic\":\"t\",\"partition\":0,\"from\":5,\"to\":4,\"days\":{}}",
        "{\"group\":\"g\",\"topic\":\"t\",\"partition\":-1,\"from\":1,\"to\":4,\"days\":{}}",
        "{\"group\":\"g\",\"topic\":\"t\",\"partition\":0,\"from\":1.5,\"to\":4,\"days\":{}}",
        "{\"group\":\"g\",\"topic\":\"t\",\"partition\":0,\"from\":1,\"to\":99999999999999999999,\"days\":{}}",
        "{\"group\":\"g\",\"topic\":\"t\",\"partition\":0,\"from\":1,\"to\":4}",
        "{\"group\":\"g\",\"topic\":\"t\",\"partition\":0,\"from\":1,\"to\":4,\"days\":{\"today\":{}}}",
        "{\"group\":\"g\",\"topic\":\"t\",\"partition\":0,\"from\":1,\"to\":4,\"days\":{\"2026-11-22\":{\"d\":{}}}}",
    };
    struct rows rows = {0};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(feed_ledger_parse(core_span_of(bad[i]), on_row, &rows));
    }
    assert_int_equal(rows.rows, 0);
    assert_true(feed_ledger_parse(
        CORE_SPAN("{\"group\":\"g\",\"topic\":\"t\",\"partition\":0,\"from\":1,\"to\":4,\"days\":{}}"), on_row, &rows));
    assert_int_equal(rows.rows, 1);
}

/* ---- traces and lag ------------------------------------------------------------------------------------------------------- */

#define TRACE "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static void put_traced(struct rig *rig, int64_t offset, const char *traceparent) {
    struct core_kafka_taken taken = {.share = &rig->places[0],
                                     .offset = offset,
                                     .timestamp_ms = 1000 + offset,
                                     .value = CORE_SPAN(DOC("zeek.dns")),
                                     .traceparent = core_span_of(traceparent)};
    assert_true(feed_fill_has_room(rig->feed));
    feed_fill_record(rig->feed, &taken);
}

static void test_links_of_a_batch(void **state) {
    struct rig *rig = *state;
    static const char *const none[] = {"",
                                       "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
                                       "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                                       "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                                       "00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                                       "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"};
    int64_t offset = 10;
    put_traced(rig, offset++, TRACE);
    put_traced(rig, offset++, TRACE);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        put_traced(rig, offset++, none[i]);
    }
    put_traced(rig, offset++, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-01");
    put_traced(rig, offset++, TRACE);
    feed_fill_push(rig->feed);
    const struct core_batch *batch = rig->pushed[0];
    assert_int_equal(batch->events_len, offset - 10);
    assert_int_equal(batch->links_len, 2);
    static const unsigned char trace_id[16] = {0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6,
                                               0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36};
    static const unsigned char span_id[8] = {0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7};
    assert_memory_equal(batch->links[0].trace_id, trace_id, 16);
    assert_memory_equal(batch->links[0].span_id, span_id, 8);
    assert_int_equal(batch->links[1].span_id[7], 0xb8);
    for (int i = 0; i < 100; i++) {
        char text[64];
        snprintf(text, sizeof text, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba9%04x-01", 0x1000 + i);
        put_traced(rig, offset++, text);
    }
    feed_fill_push(rig->feed);
    assert_int_equal(rig->pushed[1]->links_len, CORE_LINKS_MAX);
    put_traced(rig, offset++, "");
    feed_fill_push(rig->feed);
    assert_int_equal(rig->pushed[2]->links_len, 0);
    assert_null(rig->pushed[2]->links);
    come_back(rig);
}

/* A batch's first record of a partition is what its age is counted from; no more of them are kept than there is room for. */
static void test_points_of_a_share(void **state) {
    struct rig *rig = *state;
    struct feed_share *share = share_of(rig, 0);
    put_traced(rig, 10, "");
    put_traced(rig, 11, "");
    feed_fill_push(rig->feed);
    put_traced(rig, 15, "");
    feed_fill_push(rig->feed);
    assert_int_equal(share->points_len, 2);
    assert_int_equal(share->points[0].offset, 10);
    assert_int_equal(share->points[0].taken_ms, 1010);
    assert_int_equal(share->points[1].offset, 15);
    for (int64_t i = 0; i < 2 * (int64_t)FEED_POINTS_MAX; i++) {
        feed_health_point(share, 100 + i, 5000 + i);
    }
    assert_int_equal(share->points_len, FEED_POINTS_MAX);
    assert_int_equal(share->points[FEED_POINTS_MAX - 1].offset, 100 + FEED_POINTS_MAX - 3);
    come_back(rig);
}

#define RIGGED(test) cmocka_unit_test_setup_teardown(test, rig_open, rig_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        RIGGED(test_a_record_is_an_event),
        RIGGED(test_links_of_a_batch),
        RIGGED(test_points_of_a_share),
        RIGGED(test_an_id_of_its_place),
        cmocka_unit_test(test_datasets),
        RIGGED(test_which_topics),
        RIGGED(test_the_blacklist),
        RIGGED(test_offsets_follow_what_is_back),
        RIGGED(test_refused_and_unreadable_are_dead_letters),
        RIGGED(test_a_place_that_was_given_up),
        RIGGED(test_what_is_forgotten),
        RIGGED(test_room),
        RIGGED(test_once_ends_where_it_was),
        RIGGED(test_once_leaves_out_no_dead_letter_before_its_own),
        RIGGED(test_once_leaves_the_rest_to_the_next_run),
        RIGGED(test_once_ends_when_its_letter_came_before_the_commit),
        RIGGED(test_a_letter_fits_whatever_was_refused),
        RIGGED(test_a_long_key_is_not_carried),
        RIGGED(test_keys_take_room),
        RIGGED(test_rows_say_what_was_counted),
        RIGGED(test_rows_have_64_pairs),
        cmocka_unit_test(test_rows_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
