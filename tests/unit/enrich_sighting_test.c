/* tests/unit/enrich_sighting_test.c: what was seen of indicators is counted once, whatever a kill leaves, and told once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/sighting_internal.h"
#include "tests/unit/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOUR_NS (3600 * CORE_NS_PER_S)
#define DAY_20 20778 /* 2026-11-21 */

static char state[64];
static char dir[96];
static struct core_counters counters;

static int setup(void **unused) {
    (void)unused;
    snprintf(state, sizeof state, "/tmp/tapline-seen-XXXXXX");
    assert_non_null(mkdtemp(state));
    snprintf(dir, sizeof dir, "%s/sightings", state);
    assert_int_equal(mkdir(dir, 0750), 0);
    memset(&counters, 0, sizeof counters);
    return 0;
}

static int teardown(void **unused) {
    (void)unused;
    return folder_remove(state);
}

/* ---- journals ------------------------------------------------------------------------------------------------------------------- */

static void entry_add(struct sighting_journal *journal, uint64_t gen, uint64_t end, const struct sighting_row *rows,
                      size_t len) {
    static char room[65536];
    struct core_fail fail;
    struct core_buf buf = {room, room, room + sizeof room, false};
    sighting_entry_begin(&buf);
    for (size_t i = 0; i < len; i++) {
        sighting_entry_row(&buf, &rows[i]);
    }
    assert_int_equal(sighting_entry_append(journal, &buf, gen, end, &fail), CORE_OK);
}

static struct sighting_row row_of(const char *value, int64_t day, uint64_t count, const char *said) {
    return (struct sighting_row){.type = CORE_INDICATOR_IP,
                                 .day = day,
                                 .count = count,
                                 .first_us = day * 86400 * 1000000 + (int64_t)count,
                                 .last_us = day * 86400 * 1000000 + 2 * (int64_t)count,
                                 .value = core_span_of(value),
                                 .said = core_span_of(said)};
}

static void test_a_journal_is_read_as_it_was_written(void **unused) {
    (void)unused;
    struct sighting_journal journal;
    struct sighting_name *names;
    struct sighting_read read;
    struct core_fail fail;
    static struct sighting_marks marks;
    size_t len;
    memset(&marks, 0, sizeof marks);
    assert_int_equal(sighting_journal_new(&journal, dir, &fail), CORE_OK);
    const struct sighting_row first[] = {row_of("192.0.2.7", DAY_20, 5, "\"feeds\":[\"old\"]"),
                                         row_of("192.0.2.7", DAY_20 - 1, 1, ""), row_of("10.0.0.1", DAY_20, 2, "")};
    const struct sighting_row second[] = {row_of("192.0.2.7", DAY_20, 3, "\"feeds\":[\"new\"]")};
    entry_add(&journal, 77, 500, first, 3);
    uint64_t whole = atomic_load(&journal.bytes);
    entry_add(&journal, 77, 900, second, 1);
    entry_add(&journal, 78, 10, second, 1);
    sighting_journal_close(&journal);
    assert_int_equal(sighting_journal_list(dir, &names, &len, &fail), CORE_OK);
    assert_int_equal(len, 1);
    assert_int_equal(sighting_journal_read(&read, dir, &names[0], &marks, &fail), CORE_OK);
    assert_int_equal(read.rows_len, 3);
    assert_int_equal(read.rows[0].day, DAY_20 - 1);
    assert_true(core_span_is(read.rows[1].value, "10.0.0.1"));
    assert_true(core_span_is(read.rows[2].value, "192.0.2.7"));
    assert_int_equal(read.rows[2].count, 11);
    assert_true(core_span_is(read.rows[2].said, "\"feeds\":[\"new\"]"));
    assert_int_equal(read.rows[2].first_us, first[0].first_us - 2);
    assert_int_equal(read.rows[2].last_us, first[0].last_us);
    assert_int_equal(sighting_marks_get(&marks, 77), 900);
    assert_int_equal(sighting_marks_get(&marks, 78), 10);
    assert_int_equal(sighting_marks_get(&marks, 79), 0);
    sighting_read_release(&read);
    /* Cut anywhere behind the first entry, the first is there, and nothing else; so too if a byte of it is wrong. */
    char path[SIGHTING_PATH_BYTES];
    sighting_journal_path(dir, &names[0], path);
    assert_int_equal(truncate(path, (off_t)whole + 17), 0);
    memset(&marks, 0, sizeof marks);
    assert_int_equal(sighting_journal_read(&read, dir, &names[0], &marks, &fail), CORE_OK);
    assert_int_equal(read.rows_len, 3);
    assert_int_equal(read.rows[2].count, 5);
    assert_int_equal(sighting_marks_get(&marks, 77), 500);
    sighting_read_release(&read);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)whole - 1, SEEK_SET), 0);
    assert_int_equal(fputc('x', file), 'x');
    assert_int_equal(fclose(file), 0);
    assert_int_equal(sighting_journal_read(&read, dir, &names[0], NULL, &fail), CORE_OK);
    assert_int_equal(read.rows_len, 0);
    sighting_read_release(&read);
    free(names);
}

static void test_marks_are_kept_and_the_oldest_goes(void **unused) {
    (void)unused;
    static struct sighting_marks marks, again;
    struct core_fail fail;
    assert_int_equal(sighting_marks_load(&marks, dir, &fail), CORE_OK);
    assert_int_equal(marks.len, 0);
    for (uint64_t gen = 1; gen <= SIGHTING_MARKS_MAX; gen++) {
        sighting_marks_set(&marks, gen, gen * 10);
    }
    sighting_marks_set(&marks, 1, 5); /* never back; and looked at last now */
    sighting_marks_set(&marks, 1000000, 7);
    assert_int_equal(sighting_marks_get(&marks, 1), 10);
    assert_int_equal(sighting_marks_get(&marks, 2), 0);
    assert_int_equal(sighting_marks_get(&marks, 3), 30);
    assert_int_equal(sighting_marks_get(&marks, 1000000), 7);
    assert_int_equal(sighting_marks_save(&marks, dir, &fail), CORE_OK);
    assert_int_equal(sighting_marks_load(&again, dir, &fail), CORE_OK);
    assert_memory_equal(&marks, &again, sizeof marks);
    char path[128];
    snprintf(path, sizeof path, "%s/marks", dir);
    assert_int_equal(truncate(path, sizeof marks - 1), 0);
    assert_int_equal(sighting_marks_load(&again, dir, &fail), CORE_BAD);
    assert_int_equal(again.len, 0);
}

/* ---- batches -------------------------------------------------------------------------------------------------------------------- */

#define EVENTS 4

/* Four documents, of which three have hits: [0] both indicators, one of them twice; [1] none; [2], [3] the first one. */
struct world {
    struct core_stream stream;
    struct core_batch batch;
    struct core_event events[EVENTS];
    struct enrich_provider said[2];
    struct enrich_found keys[2];
    struct sighted sighted[5];
    struct match match;
};

static void world_make(struct world *world, const char *times[EVENTS]) {
    static char docs[EVENTS][128];
    struct core_fail fail;
    memset(world, 0, sizeof *world);
    world->stream = (struct core_stream){.magic = CORE_STREAM_MAGIC, .gen = 4711};
    world->said[0] = (struct enrich_provider){.feed = "corp", .provider = "CERT"};
    world->said[1] = (struct enrich_provider){.feed = "whole", .provider = "a \"b\"", .subdomains = true};
    world->keys[0] = (struct enrich_found){CORE_INDICATOR_IP, CORE_SPAN("203.0.113.66"), world->said, 1};
    world->keys[1] = (struct enrich_found){CORE_INDICATOR_DOMAIN, CORE_SPAN("evil.example"), world->said, 2};
    for (size_t i = 0; i < EVENTS; i++) {
        int len = snprintf(docs[i], sizeof docs[i], "{\"@timestamp\":\"%s\",\"x\":1}", times[i]);
        world->events[i] = (struct core_event){
            .doc = {docs[i], (size_t)len}, .dataset = "zeek.dns", .start = 100 * i, .end = 100 * (i + 1)};
    }
    const struct sighted sighted[] = {{0, 0, false}, {0, 1, true}, {0, 1, true}, {2, 0, false}, {3, 0, false}};
    memcpy(world->sighted, sighted, sizeof sighted);
    world->batch = (struct core_batch){
        .magic = CORE_BATCH_MAGIC, .stream = &world->stream, .events = world->events, .events_len = EVENTS};
    assert_int_equal(core_arena_init(&world->match.scratch, MATCH_SCRATCH_BYTES, &fail), CORE_OK);
    world->match.batch = &world->batch;
    world->match.keys = world->keys;
    world->match.keys_len = 2;
    world->match.answered = 2;
    world->match.sighted = world->sighted;
    world->match.sighted_len = 5;
}

static const char *times_one_day[EVENTS] = {"2026-11-20T10:00:00.000001Z", "2026-11-20T10:00:00.000002Z",
                                            "2026-11-20T10:00:00.000003Z", "2026-11-20T09:00:00.000000Z"};

static struct sightings *open_it(void) {
    struct sightings *sightings;
    struct core_fail fail;
    const struct sightings_env env = {
        .every_ns = HOUR_NS, .node = "sensor-1", .state_dir = state, .counters = &counters};
    assert_int_equal(sightings_open(&sightings, &env, &fail), CORE_OK);
    return sightings;
}

static uint64_t counted(enum core_counter counter) {
    return core_counted(&counters, counter);
}

/* The lines of own/sighting.log, without their ids. */
static size_t lines_read(char lines[][512], size_t max) {
    char path[128];
    size_t len = 0;
    snprintf(path, sizeof path, "%s/own/sighting.log", state);
    FILE *file = fopen(path, "r");
    while (file != NULL && len < max && fgets(lines[len], 512, file) != NULL) {
        assert_memory_equal(lines[len], "{\"id\":\"", 7);
        memmove(lines[len], lines[len] + 41, strlen(lines[len] + 41) + 1);
        len++;
    }
    if (file != NULL) {
        assert_int_equal(fclose(file), 0);
    }
    return len;
}

static void test_a_document_counts_once_for_each_indicator(void **unused) {
    (void)unused;
    struct world world;
    char lines[8][512];
    world_make(&world, times_one_day);
    struct sightings *sightings = open_it();
    sightings_batch(sightings, &world.match);
    assert_int_equal(counted(CORE_COUNT_SIGHTINGS_COUNTED), 4);
    sightings_batch(sightings, &world.match); /* read again, as if a sink had ended the process */
    assert_int_equal(counted(CORE_COUNT_SIGHTINGS_COUNTED), 4);
    assert_int_equal(counted(CORE_COUNT_SIGHTINGS_AGAIN), 4);
    sightings_close(sightings);
    assert_int_equal(lines_read(lines, 8), 2);
    assert_string_equal(lines[0], "\"ts\":\"2026-11-20T10:00:00.000003Z\",\"indicator_type\":\"ip\","
                                  "\"indicator\":\"203.0.113.66\",\"day\":\"2026-11-20\","
                                  "\"first\":\"2026-11-20T09:00:00.000000Z\",\"last\":\"2026-11-20T10:00:00.000003Z\","
                                  "\"count\":3,\"feeds\":[\"corp\"],\"providers\":[\"CERT\"]}\n");
    /* Only as a parent: who does not mean the subdomains has not said it. */
    assert_string_equal(lines[1], "\"ts\":\"2026-11-20T10:00:00.000001Z\","
                                  "\"indicator_type\":\"domain\",\"indicator\":\"evil.example\",\"day\":\"2026-11-20\","
                                  "\"first\":\"2026-11-20T10:00:00.000001Z\",\"last\":\"2026-11-20T10:00:00.000001Z\","
                                  "\"count\":1,\"feeds\":[\"whole\"],\"providers\":[\"a \\\"b\\\"\"]}\n");
    core_arena_destroy(&world.match.scratch);
}

static void test_days_are_utc_and_not_in_the_future(void **unused) {
    (void)unused;
    static const char *times[EVENTS] = {"2026-11-20T23:59:59.999999Z", "2026-11-20T00:00:00.000000Z",
                                        "2999-01-01T00:00:00.000000Z", "1969-12-31T23:59:59.000000Z"};
    char lines[8][512], today[27], before[27];
    struct world world;
    world_make(&world, times);
    struct sightings *sightings = open_it();
    assert_true(core_time_iso(core_now_ns(), before));
    sightings_batch(sightings, &world.match);
    assert_true(core_time_iso(core_now_ns(), today));
    sightings_close(sightings);
    assert_int_equal(lines_read(lines, 8), 4);
    assert_non_null(strstr(lines[0], "\"day\":\"1969-12-31\""));
    assert_non_null(strstr(lines[1], "\"indicator\":\"203.0.113.66\",\"day\":\"2026-11-20\""));
    assert_non_null(strstr(lines[2], "\"indicator\":\"evil.example\",\"day\":\"2026-11-20\""));
    const char *day = strstr(lines[3], "\"day\":\"");
    assert_non_null(day);
    assert_true(memcmp(day + 7, today, 10) == 0 || memcmp(day + 7, before, 10) == 0);
    core_arena_destroy(&world.match.scratch);
}

/* A process that counts a batch and is gone. */
static void killed_after(struct world *world) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sightings_batch(open_it(), &world->match);
        _exit(0); /* no thread comes to its end */
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_a_kill_loses_and_doubles_nothing(void **unused) {
    (void)unused;
    struct world world;
    char lines[8][512];
    world_make(&world, times_one_day);
    killed_after(&world);
    killed_after(&world); /* read again, and counted already */
    struct sightings *sightings = open_it();
    sightings_batch(sightings, &world.match);
    assert_int_equal(counted(CORE_COUNT_SIGHTINGS_AGAIN), 4);
    assert_int_equal(counted(CORE_COUNT_SIGHTINGS_COUNTED), 0);
    for (size_t i = 0; i < EVENTS; i++) { /* what comes behind is new */
        world.events[i].start += 100 * EVENTS;
    }
    sightings_batch(sightings, &world.match);
    assert_int_equal(counted(CORE_COUNT_SIGHTINGS_COUNTED), 4);
    sightings_close(sightings);
    assert_int_equal(lines_read(lines, 8), 4); /* of two journals */
    for (size_t i = 0; i < 4; i++) {
        assert_non_null(strstr(lines[i], i % 2 == 0 ? "\"count\":3," : "\"count\":1,"));
    }
    /* All is told; the next start has nothing to tell, and knows what is counted without a journal. */
    sightings = open_it();
    uint64_t again = counted(CORE_COUNT_SIGHTINGS_AGAIN);
    sightings_batch(sightings, &world.match);
    assert_int_equal(counted(CORE_COUNT_SIGHTINGS_AGAIN), again + 4);
    sightings_close(sightings);
    assert_int_equal(lines_read(lines, 8), 4);
    core_arena_destroy(&world.match.scratch);
}

/* Killed after the lines were written, and before the journal went: they are not written a second time. */
static void test_events_are_told_once(void **unused) {
    (void)unused;
    struct world world;
    char lines[8][512], path[SIGHTING_PATH_BYTES];
    struct sighting_name *names;
    struct core_fail fail;
    size_t len;
    world_make(&world, times_one_day);
    killed_after(&world);
    assert_int_equal(sighting_journal_list(dir, &names, &len, &fail), CORE_OK);
    assert_int_equal(len, 1);
    sighting_journal_path(dir, &names[0], path);
    char copy[SIGHTING_PATH_BYTES + 8];
    snprintf(copy, sizeof copy, "%s/copy", state);
    assert_int_equal(link(path, copy), 0);
    sightings_close(open_it());
    assert_int_equal(lines_read(lines, 8), 2);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(rename(copy, path), 0);
    sightings_close(open_it());
    assert_int_equal(lines_read(lines, 8), 2);
    assert_int_not_equal(access(path, F_OK), 0);
    free(names);
    core_arena_destroy(&world.match.scratch);
}

/* Batches come while journals are taken: what is told is what was counted. */
static void test_what_is_counted_while_it_is_told(void **unused) {
    (void)unused;
    enum { BATCHES = 3000 };
    struct world world;
    struct sightings *sightings;
    struct core_fail fail;
    const struct sightings_env env = {
        .every_ns = CORE_NS_PER_MS, .node = "sensor-1", .state_dir = state, .counters = &counters};
    world_make(&world, times_one_day);
    assert_int_equal(sightings_open(&sightings, &env, &fail), CORE_OK);
    for (int batch = 0; batch < BATCHES; batch++) {
        sightings_batch(sightings, &world.match);
        for (size_t i = 0; i < EVENTS; i++) {
            world.events[i].start += 100 * EVENTS;
        }
        if (batch % 300 == 0) {
            usleep(250000); /* a turn of the thread */
        }
    }
    sightings_close(sightings);
    assert_int_equal(counted(CORE_COUNT_SIGHTINGS_COUNTED), 4 * BATCHES);
    assert_int_equal(counted(CORE_COUNT_SIGHTINGS_AGAIN) + counted(CORE_COUNT_SIGHTINGS_LOST), 0);
    static char lines[1024][512];
    uint64_t sum = 0;
    size_t len = lines_read(lines, 1024);
    assert_in_range(len, 4, 1023); /* of more than one journal */
    assert_int_equal(len, counted(CORE_COUNT_SIGHTINGS_EVENTS));
    for (size_t i = 0; i < len; i++) {
        sum += strtoull(strstr(lines[i], "\"count\":") + 8, NULL, 10);
    }
    assert_int_equal(sum, 4 * BATCHES);
    core_arena_destroy(&world.match.scratch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_journal_is_read_as_it_was_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_marks_are_kept_and_the_oldest_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_document_counts_once_for_each_indicator, setup, teardown),
        cmocka_unit_test_setup_teardown(test_days_are_utc_and_not_in_the_future, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_kill_loses_and_doubles_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events_are_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_counted_while_it_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
