/* tests/unit/enrich_retro_test.c: new indicators wait on the disk, none is skipped, and each is told once of each thing: over
 * bursts, removals, kills, other threads and nodes; and within bounds.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/lookback_internal.h"
#include "enrich_store_fake.h"
#include "tests/unit/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_NS (24 * 3600 * CORE_NS_PER_S)
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SLOWNESS 10
#else
#define SLOWNESS 1
#endif
#define EVENTS 1024
#define WORLD_MAX 100000

static const struct seen_limits wide = {UINT64_C(1) << 40, 400 * DAY_NS};

struct rig {
    char dir[64];
    struct core_counters counters;
    struct seen *seen;
    struct retro *retro;
    struct fake_world *world;
    struct follower_opener opener;
    struct core_stream stream;
    struct core_event events[EVENTS];
    struct core_observable observables[EVENTS];
    char texts[EVENTS][24];
};

/* ---- a sensor's folder ---------------------------------------------------------------------------------------------------------- */

/* A process begins; node and opener as it is told. */
static void begin(struct rig *rig, const char *node, bool has_stream) {
    struct core_fail fail;
    char path[96];
    snprintf(path, sizeof path, "%s/seen", rig->dir);
    assert_int_equal(seen_open(&rig->seen, path, &wide, &fail), CORE_OK);
    const struct retro_env env = {
        .node = node, .state_dir = rig->dir, .opener = has_stream ? &rig->opener : NULL, .counters = &rig->counters};
    assert_int_equal(retro_open(&rig->retro, &env, &fail), CORE_OK);
}

static void end(struct rig *rig) {
    retro_close(rig->retro);
    seen_close(rig->seen);
}

static struct rig *rig_new(bool has_stream) {
    struct rig *rig = calloc(1, sizeof *rig);
    snprintf(rig->dir, sizeof rig->dir, "/tmp/tapline-retro-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    rig->world = fake_world_new(WORLD_MAX);
    rig->opener = (struct follower_opener){fake_open, rig->world, true};
    rig->stream = (struct core_stream){.magic = CORE_STREAM_MAGIC, .gen = 7, .path = "conn.log"};
    begin(rig, "sensor-1", has_stream);
    return rig;
}

static void rig_free(struct rig *rig) {
    end(rig);
    fake_world_free(rig->world);
    assert_int_equal(folder_remove(rig->dir), 0);
    free(rig);
}

static const char *address(unsigned n, char out[24]) {
    snprintf(out, 24, "10.%u.%u.%u", n >> 16, n >> 8 & 255, n & 255);
    return out;
}

/* 10.0.0.0 and so many that follow were seen, and are in a segment. */
static void sees(struct rig *rig, unsigned len) {
    struct seen_table table;
    struct core_fail fail;
    assert_int_equal(seen_table_init(&table, 64 * CORE_MIB, &fail), CORE_OK);
    for (unsigned n = 0; n < len;) {
        struct core_batch batch = {.magic = CORE_BATCH_MAGIC, .stream = &rig->stream, .events = rig->events};
        for (; batch.events_len < EVENTS && n < len; batch.events_len++, n++) {
            uint32_t i = batch.events_len;
            const char *text = address(n, rig->texts[i]);
            rig->observables[i] = (struct core_observable){
                .ptr = text, .len = (uint32_t)strlen(text), .type = CORE_INDICATOR_IP, .field = "source.ip"};
            rig->events[i] =
                (struct core_event){.doc = CORE_SPAN("{\"@timestamp\":\"2026-11-21T02:58:30.536622Z\",\"a\":1}"),
                                    .dataset = "zeek.connection",
                                    .start = n,
                                    .observables = &rig->observables[i],
                                    .observables_len = 1};
        }
        seen_table_add(&table, &batch);
    }
    assert_int_equal(seen_write(rig->seen, &table, &fail), CORE_OK);
    seen_table_destroy(&table);
}

static uint64_t counted(const struct rig *rig, enum core_counter counter) {
    return core_counted(&rig->counters, counter);
}

/* All that has come is collected, as if the filter had it, and looked for. Returns how many batches that took. */
static unsigned look(struct rig *rig) {
    struct store_cursor cursor;
    struct core_fail fail;
    unsigned runs = 0;
    usleep(2100000);
    retro_follow(rig->retro, 0);
    while (retro_collects(rig->retro, &cursor)) {
        retro_settled(rig->retro);
        for (; retro_is_due(rig->retro); runs++) {
            assert_int_equal(retro_run(rig->retro, rig->seen, &fail), CORE_OK);
        }
    }
    return runs;
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------------ */

struct lines {
    size_t len;
    size_t bytes;
    char first[512];
};

static struct lines lines_of(const struct rig *rig) {
    struct lines lines = {0};
    for (int i = 0; i <= OWN_LOG_KEPT; i++) {
        char path[128];
        char *line = NULL;
        size_t cap = 0;
        ssize_t len;
        snprintf(path, sizeof path, i == 0 ? "%s/own/retro_match.log" : "%s/own/retro_match.log.%d", rig->dir, i);
        FILE *file = fopen(path, "re");
        while (file != NULL && (len = getline(&line, &cap, file)) > 0) {
            if (lines.len++ == 0) {
                snprintf(lines.first, sizeof lines.first, "%s", line);
            }
            lines.bytes += (size_t)len;
        }
        free(line);
        if (file != NULL) {
            fclose(file);
        }
    }
    return lines;
}

/* ---- tests ------------------------------------------------------------------------------------------------------------------------ */

/* Thirty-five thousand come at once: the stream is read to its end at once, whatever waits, and all are looked for. */
static void test_a_burst_waits_on_the_disk(void **state) {
    (void)state;
    const unsigned burst = 35000 / SLOWNESS;
    struct rig *rig = rig_new(true);
    char text[24];
    sees(rig, 5000 / SLOWNESS);
    retro_follow(rig->retro, 0);
    for (unsigned n = 0; n < burst; n++) {
        fake_say(rig->world, CORE_INDICATOR_IP, address(n, text), FAKE_A);
    }
    retro_follow(rig->retro, 0);
    struct store_cursor cursor;
    assert_true(retro_cursor(rig->retro, &cursor));
    assert_int_equal(strtoul(cursor.id, NULL, 10), burst);
    unsigned runs = look(rig);
    assert_int_equal(runs, (burst + RETRO_BATCH_MAX - 1) / RETRO_BATCH_MAX);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_ASKED), burst);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_UNASKED), 0);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_MATCHES), 5000 / SLOWNESS);
    assert_int_equal(lines_of(rig).len, 5000 / SLOWNESS);
    rig_free(rig);
}

/* A process ends before it has looked: the next one does, and reads the stream on from where it was read to. */
static void test_what_waits_outlives_the_process(void **state) {
    (void)state;
    struct rig *rig = rig_new(true);
    char text[24];
    sees(rig, 100);
    retro_follow(rig->retro, 0);
    for (unsigned n = 0; n < 20; n++) {
        fake_say(rig->world, CORE_INDICATOR_IP, address(n, text), FAKE_A);
    }
    retro_follow(rig->retro, 0);
    end(rig);
    for (unsigned n = 20; n < 30; n++) {
        fake_say(rig->world, CORE_INDICATOR_IP, address(n, text), FAKE_A);
    }
    begin(rig, "sensor-1", true);
    retro_follow(rig->retro, 0);
    look(rig);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_ASKED), 30);
    assert_int_equal(lines_of(rig).len, 30);
    end(rig);
    begin(rig, "sensor-1", true); /* and nothing is left to look for */
    retro_follow(rig->retro, 0);
    assert_int_equal(look(rig), 0);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_ASKED), 30);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_GAPS), 0);
    rig_free(rig);
}

/* Told once: when it goes and comes again, when the same is looked for again after a kill, and by a node; each node for
 * itself. */
static void test_told_once_by_each_node(void **state) {
    (void)state;
    struct rig *rig = rig_new(true);
    sees(rig, 100);
    retro_follow(rig->retro, 0);
    for (int i = 0; i < 2; i++) {
        fake_say(rig->world, CORE_INDICATOR_IP, "10.0.0.7", FAKE_A);
        retro_follow(rig->retro, 0);
        look(rig);
        fake_say(rig->world, CORE_INDICATOR_IP, "10.0.0.7", FAKE_NOBODY);
        retro_follow(rig->retro, 0);
    }
    struct lines mine = lines_of(rig);
    assert_int_equal(mine.len, 1);
    assert_non_null(
        strstr(mine.first, "\"message\":\"new indicator: 10.0.0.7 was seen 1 time, at 2026-11-21T02:58:30.536622Z\""));
    end(rig);
    begin(rig, "sensor-2", true);
    fake_say(rig->world, CORE_INDICATOR_IP, "10.0.0.7", FAKE_A);
    retro_follow(rig->retro, 0);
    look(rig);
    assert_int_equal(lines_of(rig).len, 2);
    rig_free(rig);
}

/* What is taken back, or expires, before it is looked for is not told; what is on the allow-list neither. */
static void test_what_is_gone_again_is_not_told(void **state) {
    (void)state;
    struct rig *rig = rig_new(true);
    char text[24];
    sees(rig, 100);
    retro_follow(rig->retro, 0);
    for (unsigned n = 0; n < 10; n++) {
        fake_say(rig->world, CORE_INDICATOR_IP, address(n, text), FAKE_A);
    }
    retro_follow(rig->retro, 0);
    for (unsigned n = 0; n < 4; n++) {
        fake_say(rig->world, CORE_INDICATOR_IP, address(n, text), FAKE_NOBODY);
    }
    fake_expire(rig->world, CORE_INDICATOR_IP, "10.0.0.4");
    fake_allow(rig->world, CORE_INDICATOR_IP, "10.0.0.5", true);
    look(rig);
    assert_int_equal(lines_of(rig).len, 4);
    rig_free(rig);
}

/* A store that does not answer: what waits goes on waiting, and nobody is told that the disk is at fault. */
static void test_a_store_that_is_away(void **state) {
    (void)state;
    struct rig *rig = rig_new(true);
    struct store_cursor cursor;
    struct core_fail fail;
    sees(rig, 100);
    retro_follow(rig->retro, 0);
    fake_say(rig->world, CORE_INDICATOR_IP, "10.0.0.1", FAKE_A);
    retro_follow(rig->retro, 0);
    usleep(2100000);
    assert_true(retro_collects(rig->retro, &cursor));
    retro_settled(rig->retro);
    assert_true(retro_is_due(rig->retro));
    atomic_store(&rig->world->get_err, CORE_NET);
    assert_int_equal(retro_run(rig->retro, rig->seen, &fail), CORE_AGAIN);
    assert_false(retro_is_due(rig->retro));
    assert_false(retro_collects(rig->retro, &cursor)); /* it is settled already */
    atomic_store(&rig->world->get_err, CORE_OK);
    usleep(1100000);
    retro_follow(rig->retro, 0);
    assert_true(retro_is_due(rig->retro));
    assert_int_equal(retro_run(rig->retro, rig->seen, &fail), CORE_OK);
    assert_int_equal(lines_of(rig).len, 1);
    rig_free(rig);
}

/* The database was emptied: what came since cannot be told, and that is counted. */
static void test_a_gap_is_counted(void **state) {
    (void)state;
    struct rig *rig = rig_new(true);
    sees(rig, 100);
    retro_follow(rig->retro, 0);
    fake_flush(rig->world);
    fake_say(rig->world, CORE_INDICATOR_IP, "10.0.0.1", FAKE_A);
    retro_follow(rig->retro, 0);
    fake_say(rig->world, CORE_INDICATOR_IP, "10.0.0.2", FAKE_A);
    retro_follow(rig->retro, 0);
    look(rig);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_GAPS), 1);
    assert_int_equal(lines_of(rig).len, 1);
    rig_free(rig);
}

static long kib_of(const char *name) {
    char line[256];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            kib = strtol(line + strlen(name) + 1, NULL, 10);
        }
    }
    fclose(file);
    return kib;
}

/* Networks that name very much: what is gathered in memory, and what is told, has a bound; each of them is told of. */
static void test_networks_that_name_very_much(void **state) {
    (void)state;
    const unsigned networks = 120 / (SLOWNESS > 1 ? 2 : 1);
    struct rig *rig = rig_new(true);
    char text[32];
    sees(rig, networks * 1024);
    retro_follow(rig->retro, 0);
    for (unsigned n = 0; n < networks; n++) {
        snprintf(text, sizeof text, "10.%u.%u.0/22", n >> 6, (n & 63) * 4);
        fake_say(rig->world, CORE_INDICATOR_CIDR, text, FAKE_A);
    }
    retro_follow(rig->retro, 0);
    long before = kib_of("VmHWM");
    look(rig);
    long grown = kib_of("VmHWM") - before;
    uint64_t told = counted(rig, CORE_COUNT_LOOKBACK_MATCHES);
    uint64_t few = networks * 1000 > RETRO_TOLD_MAX ? networks - RETRO_TOLD_MAX / 1000 : 0;
    assert_int_equal(told, (networks - few) * 1000 + few * RETRO_MATCHES_FEW);
    assert_int_equal(told + counted(rig, CORE_COUNT_LOOKBACK_MATCHES_LEFT), networks * 1024);
    assert_int_equal(lines_of(rig).len, told);
    print_message("%llu events, %zu bytes, %ld KiB of memory more\n", (unsigned long long)told, lines_of(rig).bytes,
                  grown);
    assert_true(SLOWNESS > 1 || grown < 16 * 1024); /* the lines are more than that */
    assert_true(SLOWNESS > 1 || lines_of(rig).bytes > 16 * CORE_MIB);
    /* all over again, as after a kill before the batch was done: the same is told, which is nothing */
    for (unsigned n = 0; n < networks; n++) {
        snprintf(text, sizeof text, "10.%u.%u.0/22", n >> 6, (n & 63) * 4);
        fake_say(rig->world, CORE_INDICATOR_CIDR, text, FAKE_A);
    }
    retro_follow(rig->retro, 0);
    look(rig);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_MATCHES), told);
    rig_free(rig);
}

/* ---- with intel.files --------------------------------------------------------------------------------------------------------------- */

struct teller {
    struct rig *rig;
    struct allow *allow;
    _Atomic bool is_over;
    unsigned told;
};

static void *tell_all_the_time(void *arg) {
    struct teller *teller = arg;
    char text[24];
    while (!atomic_load(&teller->is_over)) {
        retro_on_new(teller->rig->retro, CORE_INDICATOR_IP, core_span_of(address(teller->told++ % 3000, text)), false,
                     teller->allow);
        fake_sleep_us(20);
    }
    return NULL;
}

/* The follower tells of new ones, with its allow-list, while others are being looked for (the thread sanitizer watches). */
static void test_told_while_looking(void **state) {
    (void)state;
    struct rig *rig = rig_new(false);
    struct teller teller = {.rig = rig, .allow = allow_new()};
    pthread_t thread;
    sees(rig, 5000);
    assert_true(allow_set(teller.allow, CORE_INDICATOR_IP, CORE_SPAN("10.0.0.9"), true));
    assert_int_equal(pthread_create(&thread, NULL, tell_all_the_time, &teller), 0);
    look(rig);
    look(rig);
    atomic_store(&teller.is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    look(rig);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_UNASKED), 0);
    unsigned different = teller.told < 3000 ? teller.told : 3000;
    assert_true(different > 10);
    assert_int_equal(lines_of(rig).len, different - 1); /* but the one that is allowed */
    allow_free(teller.allow);
    rig_free(rig);
}

/* ---- the queue itself ---------------------------------------------------------------------------------------------------------------- */

static void on_name(void *ctx, enum core_indicator type, struct core_span value, bool subdomains) {
    unsigned *len = ctx;
    char text[24];
    assert_int_equal(type, CORE_INDICATOR_IP);
    assert_true(core_span_is(value, address(*len, text)));
    assert_int_equal(subdomains, *len % 2);
    ++*len;
}

/* A part that a crash cut anywhere: whole names before the cut are there, and the cursor that stands before it. */
static void test_a_part_that_is_cut(void **state) {
    (void)state;
    char dir[] = "/tmp/tapline-queue-XXXXXX";
    char path[64];
    struct core_fail fail;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/%016x", dir, 0);
    for (off_t cut = 0;; cut++) {
        struct retro_queue *queue;
        struct store_cursor cursor = {"epoch", "1-1"};
        char text[24];
        assert_int_equal(retro_queue_open(&queue, dir, &fail), CORE_OK);
        assert_false(retro_queue_cursor(queue, &cursor));
        assert_int_equal(retro_queue_reach(queue, &cursor, &fail), CORE_OK);
        for (unsigned n = 0; n < 4; n++) {
            enum core_err err =
                retro_queue_add(queue, CORE_INDICATOR_IP, core_span_of(address(n, text)), n % 2 == 1, &fail);
            assert_int_equal(err, CORE_OK);
        }
        strcpy(cursor.id, "2-2");
        assert_int_equal(retro_queue_reach(queue, &cursor, &fail), CORE_OK);
        retro_queue_close(queue);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        bool is_whole = cut >= info.st_size;
        assert_true(is_whole || truncate(path, cut) == 0);
        assert_int_equal(retro_queue_open(&queue, dir, &fail), CORE_OK);
        bool has_cursor = retro_queue_cursor(queue, &cursor);
        assert_int_equal(has_cursor, cut >= 4 + 9);
        assert_true(!has_cursor || strcmp(cursor.id, is_whole ? "2-2" : "1-1") == 0);
        unsigned names = 0;
        unsigned wanted = cut < 13 + 12 ? 0 : cut >= 13 + 48 ? 4 : (unsigned)(cut - 13) / 12;
        assert_int_equal(retro_queue_parts(queue), wanted > 0);
        if (wanted > 0) {
            assert_int_equal(retro_queue_read(queue, on_name, &names, &fail), CORE_OK);
            assert_int_equal(names, wanted);
            assert_int_equal(retro_queue_done(queue, &fail), CORE_OK);
        }
        struct store_cursor kept;
        assert_int_equal(retro_queue_cursor(queue, &kept), has_cursor); /* it stands in the part that is there now */
        retro_queue_close(queue);
        assert_int_equal(folder_remove(dir), 0);
        assert_int_equal(mkdir(dir, 0700), 0);
        if (is_whole) {
            break;
        }
    }
    assert_int_equal(rmdir(dir), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_burst_waits_on_the_disk),    cmocka_unit_test(test_what_waits_outlives_the_process),
        cmocka_unit_test(test_told_once_by_each_node),       cmocka_unit_test(test_what_is_gone_again_is_not_told),
        cmocka_unit_test(test_a_store_that_is_away),         cmocka_unit_test(test_a_gap_is_counted),
        cmocka_unit_test(test_networks_that_name_very_much), cmocka_unit_test(test_told_while_looking),
        cmocka_unit_test(test_a_part_that_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
