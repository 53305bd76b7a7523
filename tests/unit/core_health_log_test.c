/* The health log: a line at the start, each interval, at each change and at the end; it always fits its size, whatever the problems
 * say; a file that is full, torn, taken away or no file stops nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_log_internal.h"
#include "core/json_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define S CORE_NS_PER_S
#define WALL_START (INT64_C(1800000000) * S)
#define PATH_BYTES 256

static int64_t passed_ns;

int64_t __wrap_core_tick_ns(void);
int64_t __wrap_core_tick_ns(void) {
    return 1000 * S + passed_ns;
}
int64_t __wrap_core_now_ns(void);
int64_t __wrap_core_now_ns(void) {
    return WALL_START + passed_ns;
}

struct world {
    char folder[64];
    char path[PATH_BYTES];
    struct core_loop *loop;
    struct core_counters counters;
    struct core_health_conf conf;
    struct core_health *health;
    struct core_health_page *page;
    struct core_arena arena;
    char *text; /* of the file */
    size_t lines_len;
    const struct core_json_tree *lines[256]; /* each's tapline.health */
    const struct core_json_tree *whole[256];
    size_t longest;
};

static void world_begin(struct world *world, const char *process, unsigned instance) {
    struct core_fail fail;
    *world = (struct world){.folder = "/tmp/tapline-health-log-XXXXXX",
                            .conf = {.is_on = true, .log_bytes_max = 64 * CORE_KIB, .interval_ns = 10 * S}};
    passed_ns = 0;
    assert_non_null(mkdtemp(world->folder));
    (void)snprintf(world->path, sizeof world->path, "%s/health-%s%s.ndjson", world->folder, process,
                   strcmp(process, "feed") == 0 ? "-3" : "");
    assert_int_equal(core_loop_new(&world->loop, &fail), CORE_OK);
    assert_int_equal(core_arena_init(&world->arena, 256 * CORE_MIB, &fail), CORE_OK);
    world->health = core_health_new(&(struct core_health_env){.process = process,
                                                              .instance = instance,
                                                              .node = "here",
                                                              .state = world->folder,
                                                              .version = "0.1",
                                                              .loop = world->loop,
                                                              .counters = &world->counters,
                                                              .conf = &world->conf});
    world->page = core_health_page_new(world->health, "test");
}

static void files_remove(const struct world *world) {
    char older[PATH_BYTES + 4];
    (void)snprintf(older, sizeof older, "%s.1", world->path);
    (void)unlink(older);
    (void)unlink(world->path);
    (void)rmdir(world->path);
    (void)rmdir(world->folder);
}

static void world_end(struct world *world) {
    core_health_free(world->health);
    core_loop_free(world->loop);
    core_arena_destroy(&world->arena);
    files_remove(world);
    free(world->text);
}

static void turn(struct world *world) {
    struct core_health *health = world->health;
    core_arena_reset(&health->arena, CORE_MIB);
    health->rows = core_health_rows(health, &health->arena, &health->rows_len);
    core_health_log_turn(health, core_health_rules_turn(health));
    passed_ns += S;
}

static void file_load(struct world *world) {
    FILE *file = fopen(world->path, "r");
    assert_non_null(file);
    world->text = realloc(world->text, 8 * CORE_MIB);
    assert_non_null(world->text);
    size_t len = fread(world->text, 1, 8 * CORE_MIB - 1, file);
    world->text[len] = '\0';
    (void)fclose(file);
    core_arena_reset(&world->arena, CORE_MIB);
    world->lines_len = 0;
    world->longest = 0;
    char *rest = NULL;
    for (char *line = strtok_r(world->text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        struct core_json_tree *tree = NULL;
        struct core_fail fail;
        world->longest = strlen(line) > world->longest ? strlen(line) : world->longest;
        if (core_json_tree_read(&world->arena, core_span_of(line), &tree, &fail) == CORE_OK) {
            assert_true(world->lines_len < 256);
            world->whole[world->lines_len] = tree;
            world->lines[world->lines_len++] = core_json_tree_get(core_json_tree_get(tree, "tapline"), "health");
        }
    }
}

static void assert_why(const struct world *world, size_t at, const char *why) {
    assert_true(at < world->lines_len);
    assert_true(core_span_is(core_json_tree_text(world->lines[at], "line"), why));
}

static void sink_is(struct world *world, int64_t up) {
    core_health_begin(world->page);
    core_health_set(core_health_add(world->page, CORE_HEALTH_SINK, "kafka", NULL, NULL), CORE_SINK_UP, up);
    core_health_publish(world->page);
}

static void test_when_there_is_a_line(void **state) {
    (void)state;
    struct world world;
    world_begin(&world, "feed", 3);
    sink_is(&world, 1);
    for (int at = 0; at < 25; at++) { /* start, and after 10 and 20 s */
        turn(&world);
    }
    sink_is(&world, 0);
    turn(&world);
    sink_is(&world, 1);
    for (int at = 0; at < 5; at++) {
        turn(&world);
    }
    core_health_log_free(world.health);
    file_load(&world);
    assert_int_equal(world.lines_len, 6);
    const char *const whys[] = {"start", "interval", "interval", "change", "change", "stop"};
    for (size_t i = 0; i < 6; i++) {
        assert_why(&world, i, whys[i]);
        assert_int_equal(core_json_tree_integer(world.lines[i], "instance", -1), 3);
        bool is_down = i == 3;
        assert_int_equal(core_json_tree_is_true(world.lines[i], "ready"), !is_down);
        assert_true(core_span_is(core_json_tree_text(core_json_tree_get(world.whole[i], "service"), "state"),
                                 is_down ? "failing" : "ok"));
        assert_true(core_span_is(core_json_tree_text(core_json_tree_get(world.whole[i], "error"), "code"),
                                 is_down ? "sink_unreachable" : ""));
    }
    world_end(&world);
}

static void test_without_the_section_there_is_none(void **state) {
    (void)state;
    struct world world;
    struct stat info;
    world_begin(&world, "run", 0);
    world.health->conf.is_on = false;
    turn(&world);
    assert_int_not_equal(stat(world.path, &info), 0);
    world_end(&world);
}

/* Rates are of the time since the line before, totals since the start. */
static void test_rates(void **state) {
    (void)state;
    struct world world;
    world_begin(&world, "run", 0);
    turn(&world);
    for (int at = 0; at < 20; at++) {
        core_count(&world.counters, CORE_COUNT_INGEST_LINES, at < 10 ? 7 : 0);
        core_count(&world.counters, CORE_COUNT_SINK_ACCEPTED, 3);
        turn(&world);
    }
    file_load(&world);
    assert_int_equal(world.lines_len, 3);
    const struct core_json_tree *first = core_json_tree_get(world.lines[1], "rate");
    const struct core_json_tree *second = core_json_tree_get(world.lines[2], "rate");
    assert_true(core_span_is(core_json_tree_get(first, "records")->text, "7.000"));
    assert_true(core_span_is(core_json_tree_get(first, "accepted")->text, "3.000"));
    assert_true(core_span_is(core_json_tree_get(second, "records")->text, "0.000"));
    assert_int_equal(core_json_tree_integer(core_json_tree_get(world.lines[2], "total"), "accepted", 0), 60);
    assert_null(core_json_tree_get(world.lines[0], "rate"));
    world_end(&world);
}

/* 200 problems whose texts grow sixfold in JSON: fewer are told, their number in any case. */
static void test_a_line_always_fits(void **state) {
    (void)state;
    struct world world;
    world_begin(&world, "run", 0);
    char long_text[900];
    memset(long_text, '\x01', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    static const char *const codes[] = {"sink_refused", "topic_missing",    "producer_fenced",  "disk_full",
                                        "file_lag",     "state_unwritable", "sensor_silent",    "port_taken",
                                        "dead_letters", "log_unwritable",   "health_topic_away"};
    core_health_begin(world.page);
    for (size_t code = 0; code < sizeof(codes) / sizeof(codes[0]); code++) {
        for (int at = 0; at < 16; at++) {
            char label[CORE_HEALTH_LABEL_BYTES_MAX];
            memset(label, '\x02', sizeof label - 1);
            label[sizeof label - 1] = '\0';
            label[0] = (char)('a' + at);
            core_health_complain(world.page, codes[code], CORE_HEALTH_FILE, label, NULL, NULL, "%s", long_text);
        }
    }
    core_health_publish(world.page);
    turn(&world);
    file_load(&world);
    assert_int_equal(world.lines_len, 1);
    assert_in_range(world.longest, 8 * CORE_KIB, HEALTH_LINE_BYTES);
    const struct core_json_tree *problem = core_json_tree_get(world.lines[0], "problem");
    assert_int_equal(core_json_tree_integer(problem, "count", 0), 176);
    assert_non_null(core_json_tree_get(problem, "code"));
    world_end(&world);
}

static uint64_t size_of(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
}

static void test_a_full_file_becomes_the_older_one(void **state) {
    (void)state;
    struct world world;
    char older[PATH_BYTES + 4];
    world_begin(&world, "run", 0);
    world.health->conf.interval_ns = S;
    (void)snprintf(older, sizeof older, "%s.1", world.path);
    for (int at = 0; at < 300; at++) {
        turn(&world);
        assert_true(size_of(world.path) <= 64 * CORE_KIB && size_of(older) <= 64 * CORE_KIB);
    }
    assert_true(size_of(older) > 60 * CORE_KIB);
    world_end(&world);
}

static void test_a_torn_line_is_ended_first(void **state) {
    (void)state;
    struct world world;
    world_begin(&world, "run", 0);
    FILE *file = fopen(world.path, "w");
    assert_non_null(file);
    assert_true(fputs("{\"@timestamp\":\"20", file) >= 0);
    assert_int_equal(fclose(file), 0);
    turn(&world);
    file_load(&world);
    assert_int_equal(world.lines_len, 1);
    assert_why(&world, 0, "start");
    world_end(&world);
}

static void test_what_is_no_file_is_a_problem_until_it_is_gone(void **state) {
    (void)state;
    struct world world;
    size_t len = 0;
    world_begin(&world, "run", 0);
    world.health->conf.interval_ns = S;
    assert_int_equal(mkdir(world.path, 0700), 0);
    turn(&world);
    turn(&world);
    const struct core_health_problem *problems = core_health_problems(world.health, &len);
    assert_int_equal(len, 1);
    assert_string_equal(problems[0].code, "log_unwritable");
    assert_non_null(strstr(problems[0].text, world.path));
    assert_true(core_health_is_ready(world.health));
    assert_int_equal(rmdir(world.path), 0);
    for (int at = 0; at < 6; at++) {
        turn(&world);
    }
    (void)core_health_problems(world.health, &len);
    assert_int_equal(len, 0);
    file_load(&world);
    assert_true(world.lines_len >= 5);
    world_end(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_when_there_is_a_line),
        cmocka_unit_test(test_without_the_section_there_is_none),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_a_line_always_fits),
        cmocka_unit_test(test_a_full_file_becomes_the_older_one),
        cmocka_unit_test(test_a_torn_line_is_ended_first),
        cmocka_unit_test(test_what_is_no_file_is_a_problem_until_it_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
