/* tests/unit/enrich_seen_test.c: what was seen is found again: by itself, by its networks and its parents, over segments,
 * merges, damage and kills; within the bounds; and what it costs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/seen_internal.h"
#include "tests/unit/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HOUR_NS (3600 * CORE_NS_PER_S)
#define DAY_NS (24 * HOUR_NS)
#define TIME_BASE_S INT64_C(1795000000)
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SLOWNESS 20
#else
#define SLOWNESS 1
#endif

static const struct seen_limits wide = {UINT64_C(1) << 40, 400 * DAY_NS};

/* Of this process: others may load the machine. */
static int64_t cpu_ns(void) {
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now), 0);
    return now.tv_sec * CORE_NS_PER_S + now.tv_nsec;
}

static uint64_t random_state;
static uint64_t random_next(void) { /* splitmix64 */
    uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
static uint64_t below(uint64_t n) {
    return random_next() % n;
}

/* ---- a folder ----------------------------------------------------------------------------------------------------------------- */

static char *folder_new(void) {
    char *dir = strdup("/tmp/tapline-seen-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return dir;
}

static void folder_free(char *dir) {
    assert_int_equal(folder_remove(dir), 0);
    free(dir);
}

/* ---- a batch, as normalize leaves it ------------------------------------------------------------------------------------------- */

#define EVENTS 64
#define OBSERVABLES 3

struct rig {
    struct core_stream stream;
    struct core_batch batch;
    struct core_event events[EVENTS];
    struct core_observable observables[EVENTS][OBSERVABLES];
    char docs[EVENTS][160];
    struct seen_table table;
};

static struct rig *rig_new(size_t table_bytes) {
    struct rig *rig = calloc(1, sizeof *rig);
    struct core_fail fail;
    rig->stream = (struct core_stream){.magic = CORE_STREAM_MAGIC, .gen = 0x1122334455667788, .path = "conn.log"};
    rig->batch = (struct core_batch){.magic = CORE_BATCH_MAGIC, .stream = &rig->stream, .events = rig->events};
    assert_int_equal(seen_table_init(&rig->table, table_bytes, &fail), CORE_OK);
    return rig;
}

static void rig_free(struct rig *rig) {
    seen_table_destroy(&rig->table);
    free(rig);
}

static void flush(struct rig *rig) {
    seen_table_add(&rig->table, &rig->batch);
    rig->batch.events_len = 0;
}

/* Another event, of this time. */
static struct core_event *event_add(struct rig *rig, int64_t time_us, uint64_t start) {
    if (rig->batch.events_len == EVENTS) {
        flush(rig);
    }
    uint32_t i = rig->batch.events_len++;
    char time[28] = {0};
    assert_true(core_time_iso(time_us * 1000, time));
    int len = snprintf(
        rig->docs[i], sizeof rig->docs[i],
        "{\"@timestamp\":\"%s\",\"event\":{\"x\":\"\\\"session_id\\\":\\\"no\"},\"zeek\":{\"session_id\":\"C%llu\"}}",
        time, (unsigned long long)start);
    rig->events[i] = (struct core_event){.doc = {rig->docs[i], (size_t)len},
                                         .dataset = "zeek.connection",
                                         .start = start,
                                         .observables = rig->observables[i]};
    return &rig->events[i];
}

static void observable_add(struct rig *rig, struct core_event *event, enum core_indicator type, const char *text) {
    struct core_observable *list = rig->observables[event - rig->events];
    list[event->observables_len++] = (struct core_observable){
        .ptr = text, .field = "source.ip", .len = (uint32_t)strlen(text), .type = (uint8_t)type};
}

/* ---- asking -------------------------------------------------------------------------------------------------------------------- */

struct answer {
    struct seen_record record; /* of the last one */
    size_t len;
    uint64_t count; /* of all */
    char key[SEEN_KEY_BYTES_MAX];
};

static bool on_match(void *ctx, size_t range, const struct seen_record *record) {
    struct answer *answer = (struct answer *)ctx + range;
    answer->record = *record;
    memcpy(answer->key, record->key.ptr, record->key.len);
    answer->record.key.ptr = answer->key;
    answer->len++;
    answer->count += record->count;
    return true;
}

static struct answer ask(struct seen *seen, enum core_indicator type, const char *value, bool subdomains) {
    static char room[SEEN_KEY_BYTES_MAX * 2];
    struct seen_range range;
    struct answer answer = {0};
    struct core_fail fail;
    assert_true(seen_range_of(type, core_span_of(value), subdomains, room, &range));
    assert_int_equal(seen_ask(seen, &range, 1, on_match, &answer, &fail), CORE_OK);
    return answer;
}

static struct seen *folder_open(const char *dir, const struct seen_limits *limits) {
    struct seen *seen;
    struct core_fail fail = {0};
    if (seen_open(&seen, dir, limits, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
    return seen;
}

static void table_flush(struct rig *rig, struct seen *seen, int64_t since_ns) {
    struct core_fail fail;
    flush(rig);
    rig->table.since_ns = since_ns;
    assert_int_equal(seen_write(seen, &rig->table, &fail), CORE_OK);
    seen_table_clear(&rig->table, since_ns);
}

/* ---- a random stream against a plain list ---------------------------------------------------------------------------------------- */

#define THINGS 3000

struct thing {
    enum core_indicator type;
    char text[80];  /* as it is in the record */
    char value[80]; /* its one form */
    uint32_t v4;
    uint64_t count;
    int64_t first_us;
    int64_t last_us;
};

static void thing_make(struct thing *thing, size_t i) {
    *thing = (struct thing){.first_us = INT64_MAX, .last_us = INT64_MIN};
    switch (i % 4) {
    case 0: /* in few networks */
        thing->type = CORE_INDICATOR_IP;
        thing->v4 = (uint32_t)(10u << 24 | below(4) << 16 | (i & 0xffff));
        snprintf(thing->value, sizeof thing->value, "10.%u.%u.%u", thing->v4 >> 16 & 255, thing->v4 >> 8 & 255,
                 thing->v4 & 255);
        break;
    case 1:
        thing->type = CORE_INDICATOR_IP;
        snprintf(thing->value, sizeof thing->value, "2001:db8:%llx::%zx", (unsigned long long)below(5) + 1, i + 1);
        break;
    case 2:
        thing->type = CORE_INDICATOR_DOMAIN;
        snprintf(thing->value, sizeof thing->value, "%s%zu.d%llu%s.example", i % 3 ? "h" : "a.b-c.h", i,
                 (unsigned long long)below(9), below(2) ? "-x" : "");
        break;
    default:
        thing->type = CORE_INDICATOR_FILE_HASH;
        snprintf(thing->value, sizeof thing->value, "%016llx%016llx", (unsigned long long)random_next(),
                 (unsigned long long)i);
    }
    snprintf(thing->text, sizeof thing->text, "%s", thing->value);
    if (thing->type == CORE_INDICATOR_DOMAIN && below(2)) { /* another spelling of the same */
        thing->text[0] = (char)(thing->text[0] - 'a' + 'A');
    }
}

static void things_feed(struct rig *rig, struct thing *things, size_t events, uint64_t *start) {
    for (size_t i = 0; i < events; i++) {
        int64_t time_us = TIME_BASE_S * 1000000 + (int64_t)below(400000000000);
        struct core_event *event = event_add(rig, time_us, (*start)++);
        for (size_t n = below(OBSERVABLES) + 1; n > 0; n--) {
            struct thing *thing = &things[below(below(THINGS) + 1)];
            observable_add(rig, event, thing->type, below(2) ? thing->text : thing->value);
            thing->count++;
            thing->first_us = time_us < thing->first_us ? time_us : thing->first_us;
            thing->last_us = time_us > thing->last_us ? time_us : thing->last_us;
        }
    }
}

static void things_check_each(struct seen *seen, const struct thing *things) {
    struct answer *answers = calloc(THINGS, sizeof *answers);
    struct seen_range *ranges = calloc(THINGS, sizeof *ranges);
    char(*rooms)[SEEN_KEY_BYTES_MAX * 2] = calloc(THINGS, sizeof *rooms);
    struct core_fail fail;
    for (size_t i = 0; i < THINGS; i++) {
        assert_true(seen_range_of(things[i].type, core_span_of(things[i].value), false, rooms[i], &ranges[i]));
        for (size_t at = i; at > 0 && seen_range_compare(&ranges[at], &ranges[at - 1]) < 0; at--) {
            struct seen_range other = ranges[at];
            ranges[at] = ranges[at - 1];
            ranges[at - 1] = other;
        }
    }
    assert_int_equal(seen_ask(seen, ranges, THINGS, on_match, answers, &fail), CORE_OK);
    for (size_t i = 0; i < THINGS; i++) {
        char key_room[SEEN_KEY_BYTES_MAX];
        const struct thing *thing = &things[i];
        struct core_span key;
        size_t at = 0;
        assert_true(seen_key_write(thing->type, core_span_of(thing->value), key_room, &key));
        while (!core_span_eq(ranges[at].from, key)) {
            at++;
        }
        assert_int_equal(answers[at].len, thing->count > 0);
        if (thing->count > 0) {
            assert_int_equal(answers[at].record.count, thing->count);
            assert_int_equal(answers[at].record.first_us, thing->first_us);
            assert_int_equal(answers[at].record.last_us, thing->last_us);
            assert_int_equal(answers[at].record.samples_len > 0, 1);
            assert_int_equal(answers[at].record.samples[0].gen, 0x1122334455667788);
            char uid[24];
            int len = snprintf(uid, sizeof uid, "C%llu", (unsigned long long)answers[at].record.samples[0].start);
            assert_int_equal(answers[at].record.samples[0].uid_len, len);
            assert_memory_equal(answers[at].record.samples[0].uid, uid, (size_t)len);
        }
    }
    free(answers);
    free(ranges);
    free(rooms);
}

static void things_check_wide(struct seen *seen, const struct thing *things) {
    char value[80];
    for (unsigned bits = 8; bits <= 32; bits++) {
        uint32_t net = (uint32_t)(10u << 24 | below(4) << 16 | below(THINGS));
        net &= bits == 32 ? UINT32_MAX : ~(UINT32_MAX >> bits);
        snprintf(value, sizeof value, "%u.%u.%u.%u/%u", net >> 24, net >> 16 & 255, net >> 8 & 255, net & 255, bits);
        uint64_t count = 0;
        for (size_t i = 0; i < THINGS; i++) {
            bool is_in =
                things[i].v4 != 0 && ((things[i].v4 ^ net) & (bits == 32 ? UINT32_MAX : ~(UINT32_MAX >> bits))) == 0;
            count += is_in ? things[i].count : 0;
        }
        assert_int_equal(ask(seen, CORE_INDICATOR_CIDR, value, false).count, count);
    }
    for (unsigned d = 0; d < 9; d++) {
        snprintf(value, sizeof value, "d%u.example", d);
        uint64_t count = 0;
        for (size_t i = 0; i < THINGS; i++) {
            size_t len = strlen(things[i].value);
            size_t end = strlen(value);
            bool is_in = things[i].type == CORE_INDICATOR_DOMAIN && len > end &&
                         strcmp(things[i].value + len - end, value) == 0 && things[i].value[len - end - 1] == '.';
            count += is_in ? things[i].count : 0;
        }
        assert_int_equal(ask(seen, CORE_INDICATOR_DOMAIN, value, true).count, count);
        assert_int_equal(ask(seen, CORE_INDICATOR_DOMAIN, value, false).count, 0);
    }
}

/* Three days of segments, merged and reopened in between: nothing is ever lost or doubled. */
static void test_random_stream(void **state) {
    (void)state;
    random_state = 20261121;
    char *dir = folder_new();
    struct rig *rig = rig_new(4 * CORE_MIB);
    struct thing *things = calloc(THINGS, sizeof *things);
    struct core_fail fail;
    uint64_t start = 1;
    for (size_t i = 0; i < THINGS; i++) {
        thing_make(&things[i], i);
    }
    struct seen *seen = folder_open(dir, &wide);
    int64_t now_ns = TIME_BASE_S * CORE_NS_PER_S;
    for (int round = 0; round < 100; round++) {
        things_feed(rig, things, 200, &start);
        assert_int_equal(rig->table.left_out, 0);
        table_flush(rig, seen, now_ns);
        now_ns += HOUR_NS / 2 + (int64_t)below(HOUR_NS / 2);
        if (below(3) == 0) {
            assert_int_equal(seen_tidy(seen, now_ns, &fail), CORE_OK);
        }
        if (below(5) == 0) {
            seen_close(seen);
            seen = folder_open(dir, &wide);
        }
        if (round % 20 == 19) {
            things_check_each(seen, things);
            things_check_wide(seen, things);
        }
    }
    assert_int_equal(seen_tidy(seen, now_ns + DAY_NS, &fail), CORE_OK);
    assert_true(seen_totals(seen).segments <= 4);
    things_check_each(seen, things);
    things_check_wide(seen, things);
    seen_close(seen);
    free(things);
    rig_free(rig);
    folder_free(dir);
}

/* Texts of each length up to beyond what stands in an entry: those that differ in one byte are two, each has its count, and comes out
 * as it went in. */
static void test_texts_of_every_length(void **state) {
    (void)state;
    enum { LENGTHS = 40 };
    char *dir = folder_new();
    struct rig *rig = rig_new(4 * CORE_MIB);
    struct seen *seen = folder_open(dir, &wide);
    static char texts[LENGTHS * LENGTHS][LENGTHS + 1];
    size_t len = 0;
    for (size_t bytes = 1; bytes < LENGTHS; bytes++) {
        for (size_t other = 0; other <= bytes; other++) { /* the last one: none is another */
            memset(texts[len], 'a', bytes);
            texts[len][other] = other == bytes ? '\0' : 'b';
            len++;
        }
    }
    for (size_t i = 0; i < len; i++) {
        for (size_t n = 0; n <= i % 3; n++) {
            observable_add(rig, event_add(rig, (int64_t)i, i + 1), CORE_INDICATOR_FILE_NAME, texts[i]);
        }
    }
    flush(rig);
    assert_int_equal(rig->table.entries_len, len);
    for (size_t i = 0; i < len; i++) {
        char room[SEEN_SHORT_BYTES];
        assert_true(core_span_is(seen_table_text(&rig->table, &rig->table.entries[i], room), texts[i]));
    }
    table_flush(rig, seen, core_now_ns());
    for (size_t i = 0; i < len; i++) {
        struct answer answer = ask(seen, CORE_INDICATOR_FILE_NAME, texts[i], false);
        assert_int_equal(answer.len, 1);
        assert_int_equal(answer.record.count, i % 3 + 1);
        assert_int_equal(answer.record.first_us, i);
    }
    seen_close(seen);
    rig_free(rig);
    folder_free(dir);
}

/* ---- what is not kept ------------------------------------------------------------------------------------------------------------- */

static void test_own_events_and_dead_letters_are_not_kept(void **state) {
    (void)state;
    struct rig *rig = rig_new(CORE_MIB);
    observable_add(rig, event_add(rig, 1, 1), CORE_INDICATOR_IP, "192.0.2.1");
    struct core_event *own = event_add(rig, 1, 2);
    own->dataset = "tapline.retro_match";
    observable_add(rig, own, CORE_INDICATOR_IP, "192.0.2.2");
    struct core_event *dead = event_add(rig, 1, 3);
    dead->is_dead = true;
    observable_add(rig, dead, CORE_INDICATOR_IP, "192.0.2.3");
    flush(rig);
    assert_int_equal(rig->table.entries_len, 1);
    rig_free(rig);
}

static void test_a_full_table_counts_what_it_leaves_out(void **state) {
    (void)state;
    struct rig *rig = rig_new(256 * CORE_KIB);
    static char texts[40000][16];
    for (size_t i = 0; i < 40000; i++) {
        snprintf(texts[i], sizeof texts[i], "10.0.%zu.%zu", i / 250, i % 250);
        observable_add(rig, event_add(rig, 1, i), CORE_INDICATOR_IP, texts[i]);
        if (i == 40) {
            flush(rig);
            assert_false(seen_table_is_crowded(&rig->table));
        }
    }
    flush(rig);
    assert_true(seen_table_is_crowded(&rig->table));
    assert_true(rig->table.left_out > 0);
    assert_int_equal(rig->table.left_out + rig->table.entries_len, 40000);
    assert_true(rig->table.memory.cap <= 260 * CORE_KIB);
    uint64_t left_out = rig->table.left_out;
    observable_add(rig, event_add(rig, 1, 1), CORE_INDICATOR_IP, texts[0]); /* who is there goes on being counted */
    flush(rig);
    assert_int_equal(rig->table.entries[0].count, 2);
    assert_int_equal(rig->table.left_out, left_out);
    rig_free(rig);
}

/* Whatever the size: most of it is of use, and half of the slots stay empty. */
static void test_tables_of_any_size(void **state) {
    (void)state;
    for (size_t bytes = 256 * CORE_KIB; bytes < 4000 * (size_t)CORE_MIB; bytes += bytes / 5) {
        struct seen_table table;
        struct core_fail fail;
        assert_int_equal(seen_table_init(&table, bytes, &fail), CORE_OK);
        assert_true(table.memory.cap <= bytes + 8 * CORE_KIB);
        assert_true(table.entries_max <= table.slots_len / 2);
        assert_true((size_t)table.entries_max * 180 > bytes);
        seen_table_destroy(&table);
    }
}

static void numbers_feed(struct rig *rig, uint64_t from, uint64_t len) {
    static char texts[EVENTS][24];
    for (uint64_t i = 0; i < len; i++) {
        if (rig->batch.events_len == EVENTS) {
            flush(rig);
        }
        char *text = texts[rig->batch.events_len];
        uint64_t n = (from + i) * UINT64_C(2654435761) & UINT32_MAX; /* each once, in no order */
        snprintf(text, 24, "%u.%u.%u.%u", (unsigned)(n >> 24), (unsigned)(n >> 16 & 255), (unsigned)(n >> 8 & 255),
                 (unsigned)(n & 255));
        observable_add(rig, event_add(rig, (int64_t)i, i), CORE_INDICATOR_IP, text);
    }
    flush(rig);
}

static void test_bounds_hold(void **state) {
    (void)state;
    char *dir = folder_new();
    const struct seen_limits narrow = {CORE_MIB, 10 * DAY_NS};
    struct rig *rig = rig_new(4 * CORE_MIB);
    struct seen *seen = folder_open(dir, &narrow);
    struct core_fail fail;
    int64_t now_ns = core_now_ns();
    for (uint64_t i = 0; i < 60; i++) {
        numbers_feed(rig, i * 5000, 5000);
        table_flush(rig, seen, now_ns - DAY_NS);
        assert_int_equal(seen_tidy(seen, now_ns, &fail), CORE_OK);
        assert_true(seen_totals(seen).bytes <= narrow.bytes_max);
    }
    assert_true(seen_totals(seen).dropped > 0);
    assert_true(seen_totals(seen).bytes > narrow.bytes_max / 2); /* and not much more than needed went */
    assert_int_equal(seen_tidy(seen, now_ns + 11 * DAY_NS, &fail), CORE_OK);
    assert_int_equal(seen_totals(seen).segments, 0);
    seen_close(seen);
    rig_free(rig);
    folder_free(dir);
}

/* Tables of the running hour are merged by eight, and smaller then; what came of it is left alone until the hour is over. */
static void test_tables_of_the_running_hour(void **state) {
    (void)state;
    char *dir = folder_new();
    struct rig *rig = rig_new(4 * CORE_MIB);
    struct seen *seen = folder_open(dir, &wide);
    struct core_fail fail;
    int64_t now_ns = core_now_ns() / HOUR_NS * HOUR_NS + HOUR_NS / 2;
    for (size_t tables = 1; tables <= 20; tables++) {
        numbers_feed(rig, 0, 1000);
        table_flush(rig, seen, now_ns);
        uint64_t bytes = seen_totals(seen).bytes;
        assert_int_equal(seen_tidy(seen, now_ns, &fail), CORE_OK);
        assert_int_equal(seen_totals(seen).segments, tables / 8 + tables % 8);
        assert_int_equal(seen_totals(seen).bytes < bytes, tables % 8 == 0);
    }
    assert_int_equal(seen_tidy(seen, now_ns + HOUR_NS, &fail), CORE_OK);
    assert_int_equal(seen_totals(seen).segments, 1);
    assert_int_equal(ask(seen, CORE_INDICATOR_CIDR, "0.0.0.0/0", false).count, 20 * 1000);
    seen_close(seen);
    rig_free(rig);
    folder_free(dir);
}

/* Where many have three samples, each one that comes late has one all the same. */
static void test_each_has_a_sample(void **state) {
    (void)state;
    struct rig *rig = rig_new(256 * CORE_KIB);
    static char texts[8][16];
    for (uint64_t i = 0; rig->table.entries_len < rig->table.entries_max; i++) {
        snprintf(texts[i % 8], 16, "10.0.%u.%u", (unsigned)(i >> 8 & 255), (unsigned)(i & 255));
        for (uint64_t n = 0; n < 4; n++) {
            observable_add(rig, event_add(rig, 1, i * 4 + n), CORE_INDICATOR_IP, texts[i % 8]);
        }
        flush(rig);
    }
    uint64_t of_len[SEEN_SAMPLES_MAX + 1] = {0};
    for (uint32_t i = 0; i < rig->table.entries_len; i++) {
        of_len[rig->table.entries[i].samples_len]++;
    }
    assert_int_equal(of_len[0], 0);
    assert_true(of_len[SEEN_SAMPLES_MAX] > 0);
    assert_true(rig->table.samples_len <= rig->table.samples_max);
    rig_free(rig);
}

/* Where a uid stands, and where something that looks like one. */
static void test_uids(void **state) {
    (void)state;
    static const struct {
        const char *dataset;
        const char *rest; /* behind the time */
        const char *uid;
    } rows[] = {
        {"zeek.connection", "\"zeek\":{\"session_id\":\"CAbc1\"}}", "CAbc1"},
        {"zeek.connection", "\"zeek\":{\"session_id\":\"CAbc1\",\"x\":1}}", "CAbc1"},
        {"zeek.connection", "\"zeek\":{\"session_id\":\"CAbc1\",\"x\":{\"y\":\"z\"}}}", "CAbc1"},
        {"zeek.connection", "\"zeek\":{\"session_id\":\"C2345678901234567890123\"}}", "C2345678901234567890123"},
        {"zeek.connection", "\"zeek\":{\"session_id\":\"C23456789012345678901234\"}}", ""}, /* too long */
        {"zeek.connection", "\"zeek\":{\"x\":\"\\\"session_id\\\":\\\"no\"}}", ""},         /* a text of the record */
        {"zeek.connection", "\"zeek\":{\"x\":1}}", ""},
        {"zeek.ssl", "\"zeek\":{\"session_id\":\"CAbc1\",\"ssl\":{\"session_id\":\"0011\"}}}", "CAbc1"},
        {"suricata.flow", "\"zeek\":{\"session_id\":\"CAbc1\"}}", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rig *rig = rig_new(CORE_MIB);
        struct core_event *event = event_add(rig, TIME_BASE_S * 1000000, 7);
        int len = snprintf(rig->docs[0], sizeof rig->docs[0], "{\"@timestamp\":\"2026-11-18T10:26:40.123456Z\",%s",
                           rows[i].rest);
        event->doc = (struct core_span){rig->docs[0], (size_t)len};
        event->dataset = rows[i].dataset;
        observable_add(rig, event, CORE_INDICATOR_IP, "192.0.2.1");
        flush(rig);
        const struct seen_sample *sample = &rig->table.samples[rig->table.entries[0].sample - 1].sample;
        assert_int_equal(sample->uid_len, strlen(rows[i].uid));
        assert_memory_equal(sample->uid, rows[i].uid, sample->uid_len);
        assert_int_equal(rig->table.entries[0].first_us, (TIME_BASE_S - 2400) * 1000000 + 123456);
        rig_free(rig);
    }
}

/* ---- damage and kills --------------------------------------------------------------------------------------------------------------- */

static void segment_path(const char *dir, char out[512]) {
    DIR *list = opendir(dir);
    const struct dirent *entry;
    while ((entry = readdir(list)) != NULL && entry->d_name[0] == '.') {
    }
    assert_non_null(entry);
    snprintf(out, 512, "%s/%s", dir, entry->d_name);
    closedir(list);
}

/* A flipped byte costs its block, whatever it is in; nothing wrong is ever told. */
static void damage_costs_a_block(const struct seen_limits *limits) {
    random_state = 7;
    char *dir = folder_new();
    struct rig *rig = rig_new(16 * CORE_MIB);
    struct seen *seen = folder_open(dir, limits);
    numbers_feed(rig, 0, 20000);
    table_flush(rig, seen, core_now_ns());
    seen_close(seen);
    char path[512];
    segment_path(dir, path);
    int fd = open(path, O_RDWR);
    off_t size = lseek(fd, 0, SEEK_END);
    for (int i = 0; i < 60; i++) {
        off_t at = (off_t)below((uint64_t)size - 200);
        unsigned char byte;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        unsigned char other = byte ^ (unsigned char)(1 + below(255));
        assert_int_equal(pwrite(fd, &other, 1, at), 1);
        struct seen_reader *reader;
        struct core_fail fail;
        const char *name = strrchr(path, '/') + 1;
        if (seen_reader_open(&reader, dir, name, &fail) == CORE_OK) {
            size_t records = 0;
            while (seen_reader_next(reader, (struct core_span){NULL, 0}, &fail) == CORE_OK) {
                records++;
                assert_int_equal(seen_reader_record(reader)->count, 1);
            }
            assert_in_range(records, 17000, 20000);
            seen_reader_close(reader);
        }
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    /* cut short: it says so, and goes */
    assert_int_equal(ftruncate(fd, size / 2), 0);
    close(fd);
    seen = folder_open(dir, &wide);
    assert_int_equal(seen_totals(seen).segments, 0);
    seen_close(seen);
    rig_free(rig);
    folder_free(dir);
}

static void test_damage_costs_a_block(void **state) {
    (void)state;
    const struct seen_limits narrow = {16 * CORE_MIB, 10 * DAY_NS}; /* a table is not little: it is compressed */
    damage_costs_a_block(&wide);
    damage_costs_a_block(&narrow);
}

static void killed_child(const char *dir, int told_fd) {
    struct rig *rig = rig_new(CORE_MIB);
    struct seen *seen = folder_open(dir, &wide);
    struct core_fail fail;
    int64_t now_ns = core_now_ns();
    for (;;) {
        numbers_feed(rig, 0, 300);
        table_flush(rig, seen, now_ns);
        if (write(told_fd, "w", 1) != 1) {
            _exit(1);
        }
        now_ns += HOUR_NS / 5;
        if (seen_tidy(seen, now_ns, &fail) != CORE_OK) {
            _exit(1);
        }
    }
}

/* kill -9 at any moment: all 300 have the same count, of at least as many segments as were said to be written, and at most
 * one more; also where a merge was under way. */
static void test_killed_at_any_moment(void **state) {
    (void)state;
    random_state = 11;
    char *dir = folder_new();
    uint64_t counted = 0;
    for (int round = 0; round < 40 / (SLOWNESS > 1 ? 4 : 1); round++) {
        int told[2];
        uint64_t written = 0;
        char buf[256];
        ssize_t got;
        assert_int_equal(pipe(told), 0);
        pid_t pid = fork();
        if (pid == 0) {
            killed_child(dir, told[1]);
        }
        close(told[1]);
        assert_int_equal(read(told[0], buf, 1), 1); /* however slow the machine is */
        written++;
        usleep((useconds_t)below(60000));
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        while ((got = read(told[0], buf, sizeof buf)) > 0) {
            written += (uint64_t)got;
        }
        close(told[0]);
        struct seen *seen = folder_open(dir, &wide);
        struct answer all = ask(seen, CORE_INDICATOR_CIDR, "0.0.0.0/0", false);
        if (counted + written > 0) {
            assert_int_equal(all.len, 300);
            assert_int_equal(all.count % 300, 0);
        }
        assert_in_range(all.count / 300, counted + written, counted + written + 1);
        counted = all.count / 300;
        seen_close(seen);
    }
    print_message("%llu segments, all there after the kills\n", (unsigned long long)counted);
    assert_true(counted >= (SLOWNESS > 1 ? 10 : 40));
    folder_free(dir);
}

/* ---- what it costs --------------------------------------------------------------------------------------------------------------------- */

static int range_sort(const void *a, const void *b) {
    return seen_range_compare(a, b);
}

static void test_costs(void **state) {
    (void)state;
    const char *many = getenv("TAPLINE_SEEN_MANY"); /* 10000000 for the figures in docs/adr/0032 */
    uint64_t total = many != NULL ? strtoull(many, NULL, 10) : 1000000 / SLOWNESS;
    uint64_t part = 200000;
    size_t asked = 10000 / SLOWNESS;
    char *dir = folder_new();
    struct rig *rig = rig_new(64 * CORE_MIB);
    struct seen *seen = folder_open(dir, &wide);
    struct core_fail fail;
    int64_t start = cpu_ns();
    for (uint64_t i = 0; i < total; i += part) {
        numbers_feed(rig, i, total - i < part ? total - i : part);
        table_flush(rig, seen, core_now_ns() - DAY_NS);
    }
    int64_t fed = cpu_ns();
    assert_int_equal(seen_tidy(seen, core_now_ns(), &fail), CORE_OK);
    int64_t merged = cpu_ns();
    struct seen_range *ranges = calloc(asked, sizeof *ranges);
    struct answer *answers = calloc(asked, sizeof *answers);
    char(*rooms)[SEEN_KEY_BYTES_MAX * 2] = calloc(asked, sizeof *rooms);
    for (size_t i = 0; i < asked; i++) {
        uint64_t n = i * (total / asked) * UINT64_C(2654435761) & UINT32_MAX;
        char text[24];
        snprintf(text, sizeof text, "%u.%u.%u.%u", (unsigned)(n >> 24), (unsigned)(n >> 16 & 255),
                 (unsigned)(n >> 8 & 255), (unsigned)(n & 255));
        assert_true(seen_range_of(CORE_INDICATOR_IP, core_span_of(text), false, rooms[i], &ranges[i]));
    }
    int64_t asking = cpu_ns();
    qsort(ranges, asked, sizeof *ranges, range_sort);
    assert_int_equal(seen_ask(seen, ranges, asked, on_match, answers, &fail), CORE_OK);
    int64_t done = cpu_ns();
    for (size_t i = 0; i < asked; i++) {
        assert_int_equal(answers[i].len, 1);
    }
    struct seen_totals totals = seen_totals(seen);
    print_message(
        "CPU time: %llu observables: made and written %lld ms, merged %lld ms, %llu files, %llu bytes; %zu asked for "
        "in %lld ms\n",
        (unsigned long long)totals.records, (long long)(fed - start) / 1000000, (long long)(merged - fed) / 1000000,
        (unsigned long long)totals.segments, (unsigned long long)totals.bytes, asked,
        (long long)(done - asking) / 1000000);
    assert_true(done - asking < 60 * CORE_NS_PER_S);
    free(ranges);
    free(answers);
    free(rooms);
    seen_close(seen);
    rig_free(rig);
    folder_free(dir);
}

/* What the enrich thread pays: 100,000 different ones, most of them often, as traffic is. */
static void test_an_observable_is_cheap(void **state) {
    (void)state;
    random_state = 3;
    struct rig *rig = rig_new(64 * CORE_MIB);
    enum { TEXTS = 100000, BATCHES = 4000 / SLOWNESS };
    char(*texts)[24] = calloc(TEXTS, sizeof *texts);
    for (size_t i = 0; i < TEXTS; i++) {
        snprintf(texts[i], sizeof texts[i], "10.%zu.%zu.%zu", i >> 16 & 255, i >> 8 & 255, i & 255);
    }
    int64_t spent = 0;
    for (size_t batch = 0; batch < BATCHES; batch++) {
        for (size_t i = 0; i < EVENTS; i++) {
            struct core_event *event = event_add(rig, (int64_t)batch * 1000, batch * EVENTS + i);
            for (size_t n = 0; n < OBSERVABLES; n++) {
                observable_add(rig, event, CORE_INDICATOR_IP, texts[below(below(TEXTS) + 1)]);
            }
        }
        int64_t start = cpu_ns();
        flush(rig);
        spent += cpu_ns() - start;
    }
    print_message("CPU time: %lld ns an observable, %u different\n",
                  (long long)(spent / (BATCHES * EVENTS * OBSERVABLES)), rig->table.entries_len);
    assert_int_equal(rig->table.added, BATCHES * EVENTS * OBSERVABLES);
    free(texts);
    rig_free(rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_of_every_length),
        cmocka_unit_test(test_random_stream),
        cmocka_unit_test(test_own_events_and_dead_letters_are_not_kept),
        cmocka_unit_test(test_a_full_table_counts_what_it_leaves_out),
        cmocka_unit_test(test_tables_of_any_size),
        cmocka_unit_test(test_bounds_hold),
        cmocka_unit_test(test_tables_of_the_running_hour),
        cmocka_unit_test(test_each_has_a_sample),
        cmocka_unit_test(test_uids),
        cmocka_unit_test(test_damage_costs_a_block),
        cmocka_unit_test(test_killed_at_any_moment),
        cmocka_unit_test(test_costs),
        cmocka_unit_test(test_an_observable_is_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
