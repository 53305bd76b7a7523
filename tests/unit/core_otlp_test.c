/* Tests of core/otlp.c and otlp_trace.c without a collector: which batches are sampled, what spans look like, and that what waits is
 * bounded and counted. tests/integration/test_traces.py has collectors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/otlp_internal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

struct rig {
    struct core_loop *loop;
    struct core_health *health;
    struct core_otlp *otlp;
    struct core_health_conf conf;
};

/* Nobody listens there, and its thread is not started before the first turn. */
static int set_up(void **state) {
    struct core_fail fail = {0};
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    rig->conf =
        (struct core_health_conf){.is_on = true, .otlp = "http://127.0.0.1:1//", .otlp_share = 4, .otlp_slow_ns = 1000};
    assert_int_equal(core_loop_new(&rig->loop, &fail), CORE_OK);
    rig->health = core_health_new(
        &(struct core_health_env){.process = "run", .node = "n", .loop = rig->loop, .conf = &rig->conf});
    rig->otlp = core_health_otlp(rig->health);
    assert_non_null(rig->otlp);
    *state = rig;
    return 0;
}

static int tear_down(void **state) {
    struct rig *rig = *state;
    core_health_free(rig->health);
    core_loop_free(rig->loop);
    free(rig);
    return 0;
}

static int64_t shown(struct rig *rig, enum core_health_measure measure) {
    static struct core_arena arena;
    struct core_fail fail;
    size_t len = 0;
    core_arena_destroy(&arena);
    assert_int_equal(core_arena_init(&arena, 64 * CORE_MIB, &fail), CORE_OK);
    core_health_own_write(rig->health);
    const struct core_health_row *rows = core_health_rows(rig->health, &arena, &len);
    int64_t value = CORE_HEALTH_UNKNOWN;
    for (size_t i = 0; i < len; i++) {
        value = rows[i].kind == CORE_HEALTH_OTLP ? core_health_get(&rows[i], measure) : value;
    }
    core_arena_destroy(&arena);
    return value;
}

static void test_samples(void **state) {
    struct rig *rig = *state;
    int sampled = 0;
    assert_true(core_otlp_samples(rig->otlp)); /* the first one: so that one sees at once that it works */
    for (int i = 0; i < 400; i++) {
        sampled += core_otlp_samples(rig->otlp) ? 1 : 0;
    }
    assert_int_equal(sampled, 100);
    assert_false(core_otlp_is_slow(rig->otlp, 1000));
    assert_true(core_otlp_is_slow(rig->otlp, 1001));
    struct core_health_conf other = rig->conf;
    other.otlp_share = 0;
    other.otlp_slow_ns = 5;
    core_health_reload(rig->health, &other);
    for (int i = 0; i < 400; i++) {
        assert_false(core_otlp_samples(rig->otlp));
    }
    assert_true(core_otlp_is_slow(rig->otlp, 6));
}

static void test_off(void **state) {
    struct rig *rig = *state;
    struct core_health_conf conf = {.is_on = true};
    struct core_health *without =
        core_health_new(&(struct core_health_env){.process = "run", .node = "n", .loop = rig->loop, .conf = &conf});
    assert_null(core_health_otlp(without));
    core_health_free(without);
}

static void test_span(void **state) {
    (void)state;
    char text[2048];
    struct core_buf out = {.start = text, .pos = text, .end = text + sizeof text - 1};
    const struct core_link link = {.trace_id = {1, 2, 0xff}, .span_id = {0xab}};
    const struct core_otlp_span spans[] = {
        {.trace_id = {0x10, [15] = 0x0f},
         .span_id = {0, 1},
         .name = "a \"b\"",
         .kind = CORE_SPAN_PRODUCER,
         .start_ns = 5,
         .end_ns = 7,
         .attributes = {{.key = "path", .text = "x\\\xff"}, {.key = "n", .number = -3}},
         .attributes_len = 2},
        {.parent_id = {9},
         .name = "c",
         .kind = CORE_SPAN_CLIENT,
         .start_ns = 9,
         .end_ns = 8,
         .links = &link,
         .links_len = 1},
    };
    otlp_spans_write(&out, spans, 2);
    *out.pos = '\0';
    assert_string_equal(
        text,
        "{\"traceId\":\"1000000000000000000000000000000f\",\"spanId\":\"0001000000000000\",\"name\":\"a \\\"b\\\"\","
        "\"kind\":4,\"startTimeUnixNano\":\"5\",\"endTimeUnixNano\":\"7\",\"attributes\":["
        "{\"key\":\"path\",\"value\":{\"stringValue\":\"x\\\\\\\\xff\"}},{\"key\":\"n\",\"value\":{\"intValue\":\"-3\"}"
        "}]},"
        "{\"traceId\":\"00000000000000000000000000000000\",\"spanId\":\"0000000000000000\","
        "\"parentSpanId\":\"0900000000000000\",\"name\":\"c\",\"kind\":3,\"startTimeUnixNano\":\"9\","
        "\"endTimeUnixNano\":\"9\",\"attributes\":[],\"links\":[{\"traceId\":\"0102ff00000000000000000000000000\","
        "\"spanId\":\"ab00000000000000\"}]}");
}

static void test_ids(void **state) {
    (void)state;
    unsigned char ids[2][24];
    for (int i = 0; i < 2; i++) {
        core_otlp_ids(ids[i], ids[i] + 16);
    }
    assert_memory_not_equal(ids[0], ids[1], 16);
    assert_memory_not_equal(ids[0] + 16, ids[1] + 16, 8);
}

/* Half a megabyte waits; what comes then is dropped, at once and counted. Then nobody takes the rest. */
static void test_bounded(void **state) {
    struct rig *rig = *state;
    char path[1000];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    struct core_otlp_span span = {.name = "batch",
                                  .kind = CORE_SPAN_INTERNAL,
                                  .start_ns = 1,
                                  .end_ns = 2,
                                  .attributes = {{.key = "path", .text = path}},
                                  .attributes_len = 1};
    core_otlp_ids(span.trace_id, span.span_id);
    int64_t start = core_tick_ns();
    for (int i = 0; i < 2000; i++) {
        core_otlp_spans(rig->otlp, &span, 1);
    }
    assert_true(core_tick_ns() - start < 10 * CORE_NS_PER_S);
    int64_t dropped = shown(rig, CORE_OTLP_DROPPED);
    assert_true(dropped > 1000 && dropped < 1900);
    assert_int_equal(shown(rig, CORE_OTLP_UP), CORE_HEALTH_UNKNOWN);
    core_otlp_turn(rig->health);
    for (int i = 0; i < 6000 && shown(rig, CORE_OTLP_FAILED) == 0; i++) {
        usleep(10000);
    }
    for (int i = 0; i < 6000 && shown(rig, CORE_OTLP_DROPPED) < 2000; i++) {
        usleep(10000);
    }
    assert_int_equal(shown(rig, CORE_OTLP_DROPPED), 2000);
    assert_int_equal(shown(rig, CORE_OTLP_UP), 0);
    assert_int_equal(shown(rig, CORE_OTLP_SPANS), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_samples, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_off, set_up, tear_down),
        cmocka_unit_test(test_span),
        cmocka_unit_test(test_ids),
        cmocka_unit_test_setup_teardown(test_bounded, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
