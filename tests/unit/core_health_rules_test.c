/* Problems: each code comes with its cause, its text names the thing and the number, and it goes; complaints; many of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_rules_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define S CORE_NS_PER_S
#define WALL_START (INT64_C(1800000000) * S)
#define TICK_START (INT64_C(1000) * S)

static int64_t passed_ns; /* since the test's start: both clocks */

int64_t __wrap_core_tick_ns(void);
int64_t __wrap_core_tick_ns(void) {
    return TICK_START + passed_ns;
}
int64_t __wrap_core_now_ns(void);
int64_t __wrap_core_now_ns(void) {
    return WALL_START + passed_ns;
}

struct world {
    struct core_loop *loop;
    struct core_counters counters;
    struct core_health_conf conf;
    struct core_health *health;
    struct core_health_page *page;
};

static void world_begin(struct world *world) {
    struct core_fail fail;
    *world = (struct world){.conf = {.lag_max_ns = 60 * S, .stall_after_ns = 5 * S, .loss_max_ppm = 10000}};
    passed_ns = 0;
    assert_int_equal(core_loop_new(&world->loop, &fail), CORE_OK);
    world->health = core_health_new(&(struct core_health_env){.process = "run",
                                                              .node = "here",
                                                              .state = "/var/lib/tapline",
                                                              .version = "0",
                                                              .loop = world->loop,
                                                              .counters = &world->counters,
                                                              .conf = &world->conf});
    world->page = core_health_page_new(world->health, "test");
}

static void world_end(struct world *world) {
    core_health_free(world->health);
    core_loop_free(world->loop);
}

/* What was begun is published, and looked at. */
static bool turn(struct world *world) {
    struct core_health *health = world->health;
    core_health_publish(world->page);
    core_arena_reset(&health->arena, CORE_MIB);
    health->rows = core_health_rows(health, &health->arena, &health->rows_len);
    return core_health_rules_turn(health);
}

static const struct core_health_problem *find(const struct world *world, const char *code) {
    size_t len = 0;
    const struct core_health_problem *problems = core_health_problems(world->health, &len);
    for (size_t i = 0; i < len; i++) {
        if (strcmp(problems[i].code, code) == 0) {
            return &problems[i];
        }
    }
    return NULL;
}

static size_t count(const struct world *world) {
    size_t len = 0;
    (void)core_health_problems(world->health, &len);
    return len;
}

struct value {
    enum core_health_measure measure;
    int64_t value; /* SINCE, TIME: so many ns ago */
};
/* A row, as it is when all is well and when it is not; and what must come of it. */
struct fault {
    const char *code;
    enum core_health_kind kind;
    const char *labels[CORE_HEALTH_LABELS_MAX];
    struct value well[4];
    struct value ill[4];
    int turns; /* so many are needed */
    bool stops;
    const char *component;
    const char *texts[3]; /* are in the text */
};

static const struct fault faults[] = {
    {"sink_unreachable",
     CORE_HEALTH_SINK,
     {"kafka"},
     {{CORE_SINK_UP, 1}},
     {{CORE_SINK_UP, 0}, {CORE_SINK_IN_FLIGHT, 512}},
     1,
     true,
     "sink kafka",
     {"kafka", "512 documents"}},
    {"sink_stalled",
     CORE_HEALTH_SINK,
     {"elastic"},
     {{CORE_SINK_STALLED_SINCE, 4 * S}},
     {{CORE_SINK_STALLED_SINCE, 12 * S}, {CORE_SINK_IN_FLIGHT, 77}},
     1,
     true,
     "sink elastic",
     {"elastic", "for 12 s", "77"}},
    {"disk_full",
     CORE_HEALTH_PROCESS,
     {NULL},
     {{CORE_PROCESS_STATE_FREE, INT64_C(1) << 40}},
     {{CORE_PROCESS_STATE_FREE, 4096}},
     1,
     true,
     "process run",
     {"/var/lib/tapline", "4.0 KiB"}},
    {"state_low",
     CORE_HEALTH_PROCESS,
     {NULL},
     {{CORE_PROCESS_STATE_FREE, 64 << 20}},
     {{CORE_PROCESS_STATE_FREE, 3 << 20}},
     1,
     false,
     "process run",
     {"/var/lib/tapline", "3.0 MiB"}},
    {"file_unreadable",
     CORE_HEALTH_FILE,
     {"/l/conn.log"},
     {{CORE_FILE_FAILED, 0}},
     {{CORE_FILE_FAILED, 1}},
     1,
     false,
     "file /l/conn.log",
     {"/l/conn.log"}},
    {"file_lag",
     CORE_HEALTH_FILE,
     {"/l/dns.log"},
     {{CORE_FILE_LAG_SINCE, 60 * S}},
     {{CORE_FILE_LAG_SINCE, 200 * S}, {CORE_FILE_LAG, 5 << 20}},
     1,
     false,
     "file /l/dns.log",
     {"/l/dns.log", "3 min 20 s", "5.0 MiB"}},
    {"dead_letters",
     CORE_HEALTH_DEAD,
     {"normalize", "no JSON"},
     {{CORE_DEAD_LAST, 120 * S}},
     {{CORE_DEAD_RECORDS, 31}, {CORE_DEAD_LAST, S}},
     1,
     false,
     "stage normalize",
     {"31 records", "normalize", "no JSON"}},
    {"intel_unavailable",
     CORE_HEALTH_INTEL,
     {NULL},
     {{CORE_INTEL_STATE, 2}, {CORE_INTEL_UP, 1}},
     {{CORE_INTEL_STATE, 2}, {CORE_INTEL_UP, 0}},
     1,
     false,
     "intelligence",
     {"does not answer"}},
    {"intel_stale",
     CORE_HEALTH_INTEL,
     {NULL},
     {{CORE_INTEL_STATE, 2}},
     {{CORE_INTEL_STATE, 3}, {CORE_INTEL_BEHIND, 45 * S}},
     1,
     false,
     "intelligence",
     {"for 45 s"}},
    {"intel_feed_failed",
     CORE_HEALTH_SYNCED,
     {"misp"},
     {{CORE_SYNCED_FAILED, 0}},
     {{CORE_SYNCED_FAILED, 1}},
     1,
     false,
     "feed of indicators misp",
     {"misp"}},
    {"brokers_away",
     CORE_HEALTH_BROKER,
     {"feed", "b:9092"},
     {{CORE_BROKER_UP, 1}},
     {{CORE_BROKER_UP, 0}},
     3,
     true,
     "brokers of feed",
     {"feed", "none of its"}},
    {"consumer_lag",
     CORE_HEALTH_CONSUMED,
     {"g", "tapline.zeek.conn", "3"},
     {{CORE_CONSUMED_LAG_SINCE, 30 * S}},
     {{CORE_CONSUMED_LAG_SINCE, 2 * 3600 * S}, {CORE_CONSUMED_LAG, 991}},
     1,
     false,
     "partition 3 of tapline.zeek.conn",
     {"tapline.zeek.conn", "2 h 0 min", "991"}},
    {"queue_full",
     CORE_HEALTH_STAGE,
     {"enrich", "0"},
     {{CORE_STAGE_QUEUED, 3}, {CORE_STAGE_QUEUE_CAP, 16}},
     {{CORE_STAGE_QUEUED, 10}, {CORE_STAGE_HELD, 2}, {CORE_STAGE_QUEUE_CAP, 16}},
     31,
     false,
     "stage enrich",
     {"enrich", "12", "16"}},
    {"capture_loss",
     CORE_HEALTH_CAPTURE,
     {"zeek-1", "stats"},
     {{CORE_CAPTURE_LOSS, 10000}},
     {{CORE_CAPTURE_LOSS, 123400}, {CORE_CAPTURE_LAST, 60 * S}},
     1,
     false,
     "sensor zeek-1",
     {"zeek-1", "12.34 %", "stats"}},
    {"sensor_frozen",
     CORE_HEALTH_SUPERVISED,
     {"zeek-1", "workers"},
     {{CORE_SUPERVISED_STATE, 3}, {CORE_SUPERVISED_RUNNING, 1}},
     {{CORE_SUPERVISED_STATE, 3}, {CORE_SUPERVISED_RUNNING, 0}, {CORE_SUPERVISED_WANTED, 1}},
     2,
     false,
     "sensor zeek-1",
     {"zeek-1"}},
    {"sensor_latched",
     CORE_HEALTH_SUPERVISED,
     {"zeek-1", "workers"},
     {{CORE_SUPERVISED_STATE, 3}},
     {{CORE_SUPERVISED_STATE, 6}},
     1,
     false,
     "sensor zeek-1",
     {"zeek-1"}},
    {"sensor_down",
     CORE_HEALTH_SUPERVISED,
     {"ship", "tapline"},
     {{CORE_SUPERVISED_STATE, 0}, {CORE_SUPERVISED_WANTED, 0}},
     {{CORE_SUPERVISED_STATE, 0}, {CORE_SUPERVISED_WANTED, 1}},
     3,
     false,
     "process ship",
     {"ship", "down"}},
    {"sensor_restarting",
     CORE_HEALTH_SUPERVISED,
     {"zeek-1", "workers"},
     {{CORE_SUPERVISED_STATE, 3}},
     {{CORE_SUPERVISED_STATE, 5}, {CORE_SUPERVISED_RESTARTS, 8}},
     1,
     false,
     "sensor zeek-1",
     {"zeek-1", "8 restarts"}},
    {"process_gone",
     CORE_HEALTH_PEER,
     {"run"},
     {{CORE_PEER_UP, 1}},
     {{CORE_PEER_UP, 0}, {CORE_PEER_SILENT_SINCE, 9 * S}},
     1,
     false,
     "process run",
     {"run", "for 9 s"}},
};
#define FAULTS_LEN (sizeof(faults) / sizeof(faults[0]))

static void row_write(const struct world *world, const struct fault *fault, const struct value values[4]) {
    core_health_begin(world->page);
    if (fault->kind == CORE_HEALTH_STAGE) { /* only then is a stage the slow one */
        core_health_set(core_health_add(world->page, CORE_HEALTH_FILE, "/l/behind.log", NULL, NULL),
                        CORE_FILE_LAG_SINCE, core_now_ns() - 10 * S);
    }
    struct core_health_row *row =
        core_health_add(world->page, fault->kind, fault->labels[0], fault->labels[1], fault->labels[2]);
    for (size_t i = 0; i < 4 && (i == 0 || values[i].measure != 0); i++) {
        enum core_health_unit unit = core_health_measures[values[i].measure].unit;
        bool is_time = unit == CORE_UNIT_SINCE || unit == CORE_UNIT_TIME;
        core_health_set(row, values[i].measure, is_time ? core_now_ns() - values[i].value : values[i].value);
    }
}

static void test_each_comes_and_goes(void **state) {
    (void)state;
    for (size_t i = 0; i < FAULTS_LEN; i++) {
        const struct fault *fault = &faults[i];
        struct world world;
        world_begin(&world);
        row_write(&world, fault, fault->well);
        (void)turn(&world);
        assert_int_equal(count(&world), 0);
        assert_true(core_health_is_ready(world.health));
        assert_string_equal(core_health_state(world.health), "ok");
        for (int at = 1; at <= fault->turns; at++) {
            passed_ns += S;
            row_write(&world, fault, fault->ill);
            bool is_changed = turn(&world);
            assert_int_equal(count(&world), at == fault->turns ? 1 : 0);
            assert_int_equal(is_changed, at == fault->turns);
        }
        const struct core_health_problem *problem = find(&world, fault->code);
        assert_non_null(problem);
        assert_string_equal(problem->component, fault->component);
        assert_int_equal(problem->kind, fault->kind);
        assert_true(problem->help[0] != '\0');
        for (size_t at = 0; at < 3 && fault->texts[at] != NULL; at++) {
            if (strstr(problem->text, fault->texts[at]) == NULL) {
                fail_msg("%s: \"%s\" is not in \"%s\"", fault->code, fault->texts[at], problem->text);
            }
        }
        assert_int_equal(core_health_is_ready(world.health), !fault->stops);
        assert_string_equal(core_health_state(world.health),
                            problem->severity == CORE_HEALTH_ERROR ? "failing" : "degraded");
        passed_ns += S; /* it has been said a second ago, and is not said any more */
        bool is_dead = fault->kind == CORE_HEALTH_DEAD;
        passed_ns += is_dead ? 80 * S : 0;
        row_write(&world, fault, fault->well);
        assert_int_equal(turn(&world), is_dead);
        assert_int_equal(count(&world), is_dead ? 0 : 1);
        passed_ns += 2 * S;
        row_write(&world, fault, fault->well);
        assert_int_equal(turn(&world), !is_dead);
        assert_int_equal(count(&world), 0);
        assert_true(core_health_is_ready(world.health));
        world_end(&world);
    }
}

/* Every code is either shown by rows, with a fault above, or only complained of. */
static void test_each_code_is_tested(void **state) {
    (void)state;
    static const char *const by_counters[] = {"bytes_lost", "events_lost"};
    for (size_t i = 0; i < health_rules_len; i++) {
        bool is_tested = health_rules[i].is_wrong == NULL;
        for (size_t fault = 0; fault < FAULTS_LEN; fault++) {
            is_tested = is_tested || strcmp(faults[fault].code, health_rules[i].code) == 0;
        }
        for (size_t at = 0; at < 2; at++) {
            is_tested = is_tested || strcmp(by_counters[at], health_rules[i].code) == 0;
        }
        if (!is_tested) {
            fail_msg("no test of %s", health_rules[i].code);
        }
        const char *code = NULL;
        enum core_health_severity severity = CORE_HEALTH_INFO;
        const char *meaning = NULL;
        const char *help = NULL;
        assert_true(core_health_rule_at(i, &code, &severity, &meaning, &help));
        assert_true(code[0] != '\0' && meaning[0] != '\0' && help[0] != '\0');
        for (size_t before = 0; before < i; before++) {
            assert_string_not_equal(code, health_rules[before].code);
        }
    }
    const char *none = NULL;
    enum core_health_severity severity = CORE_HEALTH_INFO;
    assert_false(core_health_rule_at(health_rules_len, &none, &severity, &none, &none));
}

static void test_losses(void **state) {
    (void)state;
    struct world world;
    world_begin(&world);
    core_health_begin(world.page);
    (void)core_health_add(world.page, CORE_HEALTH_PROCESS, NULL, NULL, NULL);
    (void)turn(&world);
    assert_int_equal(count(&world), 0);
    core_count(&world.counters, CORE_COUNT_INGEST_BYTES_LOST, 3000);
    core_count(&world.counters, CORE_COUNT_SPOOL_BYTES_LOST, 72);
    core_count(&world.counters, CORE_COUNT_FEED_LOST, 5);
    passed_ns += S;
    (void)core_health_rules_turn(world.health);
    assert_non_null(strstr(find(&world, "bytes_lost")->text, "3.0 KiB"));
    assert_non_null(strstr(find(&world, "events_lost")->text, "5 records"));
    for (int at = 0; at < 299; at++) { /* told for five minutes, and no longer than a sixth more */
        passed_ns += S;
        (void)core_health_rules_turn(world.health);
        assert_int_equal(count(&world), 2);
    }
    for (int at = 0; at < 55; at++) {
        passed_ns += S;
        (void)core_health_rules_turn(world.health);
    }
    assert_int_equal(count(&world), 0);
    world_end(&world);
}

/* The number of the last minute is that of the last minute. */
static void test_dead_letters_of_a_minute(void **state) {
    (void)state;
    struct world world;
    world_begin(&world);
    int64_t records = 0;
    for (int at = 0; at < 200; at++) {
        records += 10;
        passed_ns += S;
        core_health_begin(world.page);
        struct core_health_row *row = core_health_add(world.page, CORE_HEALTH_DEAD, "normalize", "no JSON", NULL);
        core_health_set(row, CORE_DEAD_RECORDS, records);
        (void)turn(&world);
    }
    long long grown = 0;
    assert_int_equal(sscanf(find(&world, "dead_letters")->text, "%lld records", &grown), 1);
    assert_in_range(grown, 600, 710);
    world_end(&world);
}

static void complain(const struct world *world, const char *code, const char *sink) {
    core_health_begin(world->page);
    core_health_set(core_health_add(world->page, CORE_HEALTH_SINK, "kafka", NULL, NULL), CORE_SINK_UP, 0);
    if (code != NULL) {
        core_health_complain(world->page, code, CORE_HEALTH_SINK, sink, NULL, NULL, "broker %s:%d said no", "b1", 9092);
    }
}

static void test_a_complaint_says_it_better(void **state) {
    (void)state;
    struct world world;
    world_begin(&world);
    complain(&world, NULL, NULL);
    assert_true(turn(&world));
    int64_t began = core_now_ns();
    assert_non_null(strstr(find(&world, "sink_unreachable")->text, "server or disk"));
    passed_ns += S;
    complain(&world, "sink_unreachable", "kafka"); /* the same problem, in better words */
    assert_false(turn(&world));
    assert_int_equal(count(&world), 1);
    assert_string_equal(find(&world, "sink_unreachable")->text, "broker b1:9092 said no");
    assert_int_equal(find(&world, "sink_unreachable")->since_ns, began);
    for (int at = 0; at < 3; at++) { /* another one, which explains it */
        passed_ns += S;
        complain(&world, "sink_refused", "kafka");
        (void)turn(&world);
    }
    assert_int_equal(count(&world), 1);
    assert_non_null(find(&world, "sink_refused"));
    passed_ns += S;
    complain(&world, "sink_refused", "elastic"); /* about another sink: explains nothing here */
    (void)turn(&world);
    assert_int_equal(count(&world), 3);
    passed_ns += S;
    complain(&world, "sink_refused", ""); /* about all of them */
    (void)turn(&world);
    passed_ns += 3 * S;
    complain(&world, "sink_refused", "");
    (void)turn(&world);
    assert_int_equal(count(&world), 1);
    world_end(&world);
}

/* Without section health the limits are the defaults, not 0. */
static void test_without_the_section(void **state) {
    (void)state;
    struct world world;
    world_begin(&world);
    core_health_reload(world.health, &(struct core_health_conf){0});
    core_health_begin(world.page);
    core_health_set(core_health_add(world.page, CORE_HEALTH_FILE, "/l/a.log", NULL, NULL), CORE_FILE_LAG_SINCE,
                    core_now_ns() - 59 * S);
    core_health_set(core_health_add(world.page, CORE_HEALTH_SINK, "file", NULL, NULL), CORE_SINK_STALLED_SINCE,
                    core_now_ns() - 4 * S);
    core_health_set(core_health_add(world.page, CORE_HEALTH_CAPTURE, "s", "stats", NULL), CORE_CAPTURE_LOSS, 9999);
    (void)turn(&world);
    assert_int_equal(count(&world), 0);
    passed_ns += 2 * S;
    (void)core_health_rules_turn(world.health);
    assert_int_equal(count(&world), 2);
    world_end(&world);
}

static void test_what_flickers_is_one_problem(void **state) {
    (void)state;
    struct world world;
    world_begin(&world);
    int changes = 0;
    for (int at = 0; at < 30; at++) {
        core_health_begin(world.page);
        core_health_set(core_health_add(world.page, CORE_HEALTH_PEER, "run", NULL, NULL), CORE_PEER_UP, at % 2);
        changes += turn(&world) ? 1 : 0;
        passed_ns += S;
    }
    assert_int_equal(changes, 1);
    assert_int_equal(find(&world, "process_gone")->since_ns, WALL_START);
    world_end(&world);
}

/* A client with one broker that answers is not away; nor is one whose sink tells of it; nor one that has just begun. */
static void test_brokers(void **state) {
    (void)state;
    struct world world;
    world_begin(&world);
    for (int at = 0; at < 5; at++) {
        core_health_begin(world.page);
        core_health_set(core_health_add(world.page, CORE_HEALTH_BROKER, "feed", "b1", NULL), CORE_BROKER_UP, 0);
        core_health_set(core_health_add(world.page, CORE_HEALTH_BROKER, "feed", "b2", NULL), CORE_BROKER_UP, 1);
        core_health_set(core_health_add(world.page, CORE_HEALTH_BROKER, "kafka", "b1", NULL), CORE_BROKER_UP, 0);
        core_health_set(core_health_add(world.page, CORE_HEALTH_SINK, "kafka", NULL, NULL), CORE_SINK_UP, 1);
        (void)turn(&world);
        passed_ns += S;
    }
    assert_int_equal(count(&world), 0);
    for (int at = 0; at < 4; at++) {
        core_health_begin(world.page);
        core_health_set(core_health_add(world.page, CORE_HEALTH_BROKER, "feed", "b1", NULL), CORE_BROKER_UP, 0);
        core_health_set(core_health_add(world.page, CORE_HEALTH_BROKER, "feed", "b2", NULL), CORE_BROKER_UP, 0);
        (void)turn(&world);
        passed_ns += S;
    }
    assert_int_equal(count(&world), 1);
    world_end(&world);
}

/* A stage behind which a sink stalls is not the slow one, and workers of a stage count together. */
static void test_the_slow_stage(void **state) {
    (void)state;
    struct world world;
    world_begin(&world);
    for (int at = 0; at < 80; at++) {
        core_health_begin(world.page);
        core_health_set(core_health_add(world.page, CORE_HEALTH_FILE, "/l/a.log", NULL, NULL), CORE_FILE_LAG_SINCE,
                        core_now_ns() - (at < 40 ? S : 10 * S));
        assert_true(at > 40 || find(&world, "queue_full") == NULL); /* nothing is behind: all is well */
        for (int worker = 0; worker < 4; worker++) {
            char number[2] = {(char)('0' + worker), '\0'};
            struct core_health_row *row = core_health_add(world.page, CORE_HEALTH_STAGE, "normalize", number, NULL);
            core_health_set(row, CORE_STAGE_QUEUED, 7);
            core_health_set(row, CORE_STAGE_QUEUE_CAP, 32);
        }
        struct core_health_row *row = core_health_add(world.page, CORE_HEALTH_STAGE, "kafka", "", NULL);
        core_health_set(row, CORE_STAGE_QUEUED, 32);
        core_health_set(row, CORE_STAGE_QUEUE_CAP, 32);
        core_health_set(core_health_add(world.page, CORE_HEALTH_SINK, "kafka", NULL, NULL), CORE_SINK_STALLED_SINCE,
                        core_now_ns() - 6 * S);
        row = core_health_add(world.page, CORE_HEALTH_STAGE, "ingest", "", NULL);
        core_health_set(row, CORE_STAGE_QUEUED, 32);
        core_health_set(row, CORE_STAGE_QUEUE_CAP, 32);
        (void)turn(&world);
        passed_ns += S;
    }
    assert_int_equal(count(&world), 2);
    assert_string_equal(find(&world, "queue_full")->component, "stage normalize");
    assert_non_null(strstr(find(&world, "queue_full")->text, "28 of all 32"));
    assert_non_null(find(&world, "sink_stalled"));
    world_end(&world);
}

static void test_a_code_never_fills_the_list(void **state) {
    (void)state;
    struct world world;
    world_begin(&world);
    size_t len = 0;
    for (int at = 0; at < 5; at++) {
        core_health_begin(world.page);
        for (int file = 0; file < 5000; file++) {
            char path[32];
            (void)snprintf(path, sizeof path, "/l/%d.log", file);
            struct core_health_row *row = core_health_add(world.page, CORE_HEALTH_FILE, path, NULL, NULL);
            core_health_set(row, CORE_FILE_FAILED, 1);
        }
        bool is_changed = turn(&world);
        assert_int_equal(is_changed, at == 0);
        passed_ns += S;
    }
    const struct core_health_problem *problems = core_health_problems(world.health, &len);
    assert_int_equal(len, 17);
    bool has_others = false;
    for (size_t i = 0; i < len; i++) {
        has_others = has_others ||
                     (strcmp(problems[i].labels[0], "(others)") == 0 && strstr(problems[i].text, "4984 more") != NULL);
    }
    assert_true(has_others);
    world_end(&world);
}

/* With every slot taken, an error still gets one. */
static void test_a_full_list_takes_the_worse(void **state) {
    (void)state;
    struct world world;
    world_begin(&world);
    core_health_begin(world.page);
    for (size_t i = 0; i < health_rules_len; i++) {
        for (int at = 0; at < 20 && health_rules[i].severity == CORE_HEALTH_WARN; at++) {
            char label[16];
            (void)snprintf(label, sizeof label, "%d", at);
            core_health_complain(world.page, health_rules[i].code, CORE_HEALTH_SINK, label, NULL, NULL, "it is so");
        }
    }
    (void)turn(&world);
    size_t before = count(&world);
    assert_in_range(before, 200, 256);
    core_health_begin(world.page);
    for (size_t i = 0; i < health_rules_len; i++) {
        for (int at = 0; at < 12 && health_rules[i].severity == CORE_HEALTH_ERROR; at++) {
            char label[16];
            (void)snprintf(label, sizeof label, "%d", at);
            core_health_complain(world.page, health_rules[i].code, CORE_HEALTH_SINK, label, NULL, NULL, "it is so");
        }
    }
    (void)turn(&world);
    size_t len = 0;
    size_t errors = 0;
    const struct core_health_problem *problems = core_health_problems(world.health, &len);
    assert_int_equal(len, 256);
    for (size_t i = 0; i < len; i++) {
        errors += problems[i].severity == CORE_HEALTH_ERROR ? 1 : 0;
        assert_true(i == 0 || problems[i].severity <= problems[i - 1].severity);
    }
    assert_in_range(errors, 150, 256);
    world_end(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_comes_and_goes),
        cmocka_unit_test(test_each_code_is_tested),
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_dead_letters_of_a_minute),
        cmocka_unit_test(test_a_complaint_says_it_better),
        cmocka_unit_test(test_without_the_section),
        cmocka_unit_test(test_what_flickers_is_one_problem),
        cmocka_unit_test(test_brokers),
        cmocka_unit_test(test_the_slow_stage),
        cmocka_unit_test(test_a_code_never_fills_the_list),
        cmocka_unit_test(test_a_full_list_takes_the_worse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
