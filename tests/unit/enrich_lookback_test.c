/* tests/unit/enrich_lookback_test.c: nothing falls between what is matched and what is looked back at: new indicators are looked
 * for when the filter has them and the batch that was under way has ended; a stop waits for nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/lookback_internal.h"
#include "enrich_store_fake.h"
#include "tests/unit/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#define COLLECTED_US 3000000 /* more than new indicators are collected for */

struct rig {
    char dir[64];
    struct core_counters counters;
    struct enrich_lookback_conf conf;
    struct fake_world *world;
    struct follower_opener opener;
    struct follower follower; /* not started: what it has passed is what the test says */
    struct lookback *lookback;
};

static struct rig *rig_new(void) {
    struct rig *rig = calloc(1, sizeof *rig);
    struct core_fail fail;
    snprintf(rig->dir, sizeof rig->dir, "/tmp/tapline-lookback-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    rig->conf = (struct enrich_lookback_conf){
        .days = 30, .bytes_max = 64 * CORE_MIB, .memory_bytes = 4 * CORE_MIB, .write_every_ns = 3600 * CORE_NS_PER_S};
    rig->world = fake_world_new(1000);
    rig->opener = (struct follower_opener){fake_open, rig->world, true};
    const struct lookback_env env = {.conf = &rig->conf,
                                     .node = "sensor-1",
                                     .state_dir = rig->dir,
                                     .opener = &rig->opener,
                                     .counters = &rig->counters,
                                     .follower = &rig->follower};
    assert_int_equal(lookback_open(&rig->lookback, &env, &fail), CORE_OK);
    fake_settle(rig->world); /* it follows the stream */
    return rig;
}

static void rig_free(struct rig *rig) {
    lookback_close(rig->lookback);
    fake_world_free(rig->world);
    assert_int_equal(folder_remove(rig->dir), 0);
    free(rig);
}

/* The filter in use has so many changes. */
static void passes(struct rig *rig, uint64_t changes) {
    atomic_store(&rig->follower.passed.epoch, core_hash64("0", 1, 0));
    atomic_store(&rig->follower.passed.ms, changes);
    atomic_store(&rig->follower.passed.version, 2);
}

static void notes(struct rig *rig, const char *address) {
    struct core_stream stream = {.magic = CORE_STREAM_MAGIC, .gen = 7, .path = "conn.log"};
    struct core_observable observable = {
        .ptr = address, .len = (uint32_t)strlen(address), .type = CORE_INDICATOR_IP, .field = "source.ip"};
    struct core_event event = {.doc = CORE_SPAN("{\"@timestamp\":\"2026-11-21T02:58:30.536622Z\",\"a\":1}"),
                               .dataset = "zeek.connection",
                               .observables = &observable,
                               .observables_len = 1};
    const struct core_batch batch = {.magic = CORE_BATCH_MAGIC, .stream = &stream, .events = &event, .events_len = 1};
    lookback_batch(rig->lookback, &batch);
}

static uint64_t counted(const struct rig *rig, enum core_counter counter) {
    return core_counted(&rig->counters, counter);
}

static void eventually_asked(const struct rig *rig, uint64_t len) {
    EVENTUALLY(counted(rig, CORE_COUNT_LOOKBACK_ASKED) >= len);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_ASKED), len);
}

/* A filter that is late (it is being built, its store is slow): what is seen until it has the indicator is looked at, too. */
static void test_the_filter_is_waited_for(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    lookback_enter(rig->lookback);
    notes(rig, "192.0.2.1");
    lookback_leave(rig->lookback);
    fake_say(rig->world, CORE_INDICATOR_IP, "192.0.2.1", FAKE_A);
    fake_say(rig->world, CORE_INDICATOR_IP, "192.0.2.2", FAKE_A);
    passes(rig, 1);
    fake_sleep_us(COLLECTED_US + 5000000); /* and more than any time that was ever waited for */
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_ASKED), 0);
    lookback_enter(rig->lookback);
    notes(rig, "192.0.2.2"); /* the filter has not got it yet: no hit */
    lookback_leave(rig->lookback);
    passes(rig, 2);
    eventually_asked(rig, 2);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_MATCHES), 2);
    rig_free(rig);
}

/* A batch that was matched before the filter had it, and is noted afterwards. */
static void test_a_batch_under_way_is_waited_for(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    lookback_enter(rig->lookback);
    fake_say(rig->world, CORE_INDICATOR_IP, "192.0.2.1", FAKE_A);
    passes(rig, 1);
    fake_sleep_us(COLLECTED_US);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_ASKED), 0);
    notes(rig, "192.0.2.1");
    lookback_leave(rig->lookback);
    lookback_enter(rig->lookback); /* the next one may be under way as long as it likes */
    eventually_asked(rig, 1);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_MATCHES), 1);
    lookback_leave(rig->lookback);
    rig_free(rig);
}

/* The database was emptied while new ones waited for the filter: it never passes their cursor, and need not. */
static void test_an_emptied_database_holds_nothing_up(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    lookback_enter(rig->lookback);
    notes(rig, "192.0.2.1");
    lookback_leave(rig->lookback);
    fake_say(rig->world, CORE_INDICATOR_IP, "192.0.2.1", FAKE_A);
    fake_sleep_us(COLLECTED_US);
    fake_flush(rig->world);
    fake_settle(rig->world);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_ASKED), 0);
    atomic_store(&rig->follower.passed.epoch, core_hash64("1", 1, 0));
    atomic_store(&rig->follower.passed.version, 2);
    eventually_asked(rig, 1);
    assert_int_equal(counted(rig, CORE_COUNT_LOOKBACK_MATCHES), 1); /* the fake keeps what was said */
    rig_free(rig);
}

static void test_a_stop_waits_for_nothing(void **state) {
    (void)state;
    struct rig *rig = rig_new();
    fake_say(rig->world, CORE_INDICATOR_IP, "192.0.2.1", FAKE_A);
    fake_sleep_us(COLLECTED_US);
    lookback_enter(rig->lookback);
    notes(rig, "192.0.2.1");
    lookback_leave(rig->lookback);
    int64_t start = core_tick_ns();
    lookback_close(rig->lookback);
    assert_true(core_tick_ns() - start < 2 * CORE_NS_PER_S);
    rig->lookback = NULL;
    char path[96];
    DIR *list;
    const struct dirent *entry;
    unsigned segments = 0;
    snprintf(path, sizeof path, "%s/seen", rig->dir);
    list = opendir(path);
    while ((entry = readdir(list)) != NULL) {
        segments += strstr(entry->d_name, ".seen") != NULL;
    }
    closedir(list);
    assert_int_equal(segments, 1); /* what was seen is on the disk */
    rig_free(rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_filter_is_waited_for),
        cmocka_unit_test(test_a_batch_under_way_is_waited_for),
        cmocka_unit_test(test_an_emptied_database_holds_nothing_up),
        cmocka_unit_test(test_a_stop_waits_for_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
