/* tests/unit/supervisor_table_test.c: the table of states beside a model that was written from the words of
 * supervisor/supervisor.h; and the delays.
 *
 * The model knows processes, timers and what people want, and no states: what happens next is drawn from what can happen, told
 * to the table as process.c tells it, and afterwards the table's state must be what the model's facts are called.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define STEPS 1000000
#define STEPS_OF_ONE 1000 /* then another process, with another policy */
#define SEED UINT64_C(0x9e3779b97f4a7c15)

static uint64_t draw(uint64_t *seed) { /* xorshift64 */
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* ---- the model ------------------------------------------------------------------------------------------------------------ */

struct model {
    bool runs;
    bool is_ready;
    bool is_settled;
    bool is_told;         /* to end */
    bool ends_as_a_death; /* by us, for it was not ready in time or stuck: its end is a death */
    bool is_delayed;
    bool is_latched;
    bool is_wanted;
    uint32_t deaths;
    uint32_t deaths_max;
    enum supervisor_policy policy;
};

static enum supervisor_state called(const struct model *model) {
    if (model->runs) {
        return model->is_told      ? SUPERVISOR_STOPPING
               : model->is_settled ? SUPERVISOR_UP
               : model->is_ready   ? SUPERVISOR_READY
                                   : SUPERVISOR_STARTING;
    }
    return model->is_latched ? SUPERVISOR_LATCHED : model->is_delayed ? SUPERVISOR_BACKOFF : SUPERVISOR_DOWN;
}

static void starts(struct model *model) {
    assert_false(model->runs); /* never two of one */
    model->runs = true;
    model->is_ready = model->is_settled = model->is_told = model->ends_as_a_death = false;
    model->is_delayed = model->is_latched = false;
}

static void starts_by_hand(struct model *model) {
    model->deaths = 0;
    starts(model);
}

/* A process is gone, or did not come to be. failed: its exit status, or what else there is. */
static enum supervisor_event ends(struct model *model, bool failed) {
    model->runs = false;
    if (model->is_told && !model->is_wanted) {
        return SUPERVISOR_ON_ENDED;
    }
    if (model->is_told && !model->ends_as_a_death) {
        starts_by_hand(model);
        return SUPERVISOR_ON_ENDED_WANTED;
    }
    if (model->policy == SUPERVISOR_NEVER || (model->policy == SUPERVISOR_ON_FAILURE && !failed)) {
        model->is_wanted = false;
        return SUPERVISOR_ON_DIED_LAST;
    }
    model->is_latched = ++model->deaths >= model->deaths_max;
    model->is_delayed = !model->is_latched;
    return model->is_latched ? SUPERVISOR_ON_DIED_OFTEN : SUPERVISOR_ON_DIED_AGAIN;
}

static void is_told_to_end(struct model *model, bool as_a_death) {
    model->is_told = true;
    model->ends_as_a_death = as_a_death;
}

/* What a person says; always possible. */
static void says(struct model *model, enum supervisor_event event) {
    model->is_wanted = event != SUPERVISOR_ON_STOP;
    if (model->runs && model->is_told) {
        model->ends_as_a_death = false; /* the person's word is newer */
    } else if (model->runs && event != SUPERVISOR_ON_START) {
        is_told_to_end(model, false);
    } else if (!model->runs && event == SUPERVISOR_ON_STOP) {
        model->is_delayed = model->is_latched = false;
    } else if (!model->runs) {
        starts_by_hand(model);
    }
}

/* What can happen by itself, given the facts. True: it did, and event is how it is told. */
static bool happens(struct model *model, enum supervisor_event event, uint64_t chance, enum supervisor_event *told) {
    const bool is_left_alone = model->runs && !model->is_told;
    *told = event;
    switch (event) {
    case SUPERVISOR_ON_READY:
        if (!is_left_alone || model->is_ready) {
            return false;
        }
        model->is_ready = true;
        return true;
    case SUPERVISOR_ON_UNREADY: /* its timeout runs while it is not ready */
        if (!is_left_alone || model->is_ready) {
            return false;
        }
        is_told_to_end(model, true);
        return true;
    case SUPERVISOR_ON_SETTLED:
        if (!is_left_alone || !model->is_ready || model->is_settled) {
            return false;
        }
        model->is_settled = true;
        model->deaths = 0;
        return true;
    case SUPERVISOR_ON_STUCK: /* the watchdog looks at what was ready */
        if (!is_left_alone || !model->is_ready) {
            return false;
        }
        is_told_to_end(model, true);
        return true;
    case SUPERVISOR_ON_DELAY_OVER:
        if (!model->is_delayed) {
            return false;
        }
        starts(model);
        return true;
    case SUPERVISOR_ON_STOP_TIMEOUT:
        return model->runs && model->is_told;
    default: /* it ends */
        if (!model->runs) {
            return false;
        }
        *told = ends(model, chance % 2 == 0);
        return true;
    }
}

/* ---- what the table makes of it ------------------------------------------------------------------------------------------- */

struct machine {
    enum supervisor_state state;
    bool runs;
    bool has_stop_timer;
    uint32_t deaths; /* counted by process.c, forgotten by the table's word */
};

static void act(struct machine *machine, enum supervisor_event event) {
    const struct supervisor_cell *cell = &supervisor_table[machine->state][event];
    const bool is_death = event == SUPERVISOR_ON_DIED_AGAIN || event == SUPERVISOR_ON_DIED_OFTEN;
    const bool is_end = is_death || event == SUPERVISOR_ON_DIED_LAST || event == SUPERVISOR_ON_ENDED ||
                        event == SUPERVISOR_ON_ENDED_WANTED;
    if (is_end) {
        machine->runs = machine->has_stop_timer = false;
        machine->deaths += is_death ? 1 : 0;
    }
    switch (cell->action) {
    case SUPERVISOR_IMPOSSIBLE:
        fail_msg("%s in %s should be impossible, and came", supervisor_event_names[event],
                 supervisor_state_names[machine->state]);
        break;
    case SUPERVISOR_NOTHING:
        assert_int_equal(cell->next, machine->state);
        break;
    case SUPERVISOR_SPAWN_ANEW:
    case SUPERVISOR_SPAWN:
        assert_false(machine->runs);
        machine->runs = true;
        machine->deaths = cell->action == SUPERVISOR_SPAWN_ANEW ? 0 : machine->deaths;
        break;
    case SUPERVISOR_TERM:
        assert_true(machine->runs);
        assert_false(machine->has_stop_timer);
        machine->has_stop_timer = true;
        break;
    case SUPERVISOR_KILL:
        assert_true(machine->runs && machine->has_stop_timer);
        break;
    case SUPERVISOR_SETTLE:
        assert_true(machine->runs);
        break;
    case SUPERVISOR_FORGET:
        machine->deaths = 0;
        break;
    case SUPERVISOR_DELAY:
    case SUPERVISOR_ALARM:
    case SUPERVISOR_CLEAN:
        assert_false(machine->runs);
        break;
    }
    assert_true((cell->action == SUPERVISOR_DELAY) == (event == SUPERVISOR_ON_DIED_AGAIN));
    assert_true((cell->action == SUPERVISOR_ALARM) == (event == SUPERVISOR_ON_DIED_OFTEN));
    machine->state = cell->next;
}

static bool is_said(enum supervisor_event event) {
    return event == SUPERVISOR_ON_START || event == SUPERVISOR_ON_STOP || event == SUPERVISOR_ON_RESTART;
}

static void test_random_events_against_the_model(void **state) {
    (void)state;
    static uint64_t seen[SUPERVISOR_STATE__MAX][SUPERVISOR_EVENT__MAX];
    uint64_t seed = SEED;
    struct model model = {0};
    struct machine machine = {0};
    for (int step = 0; step < STEPS; step++) {
        if (step % STEPS_OF_ONE == 0) {
            machine = (struct machine){.state = SUPERVISOR_DOWN};
            model = (struct model){.deaths_max = 1 + (uint32_t)(draw(&seed) % 5),
                                   .policy = (enum supervisor_policy)(draw(&seed) % 3)};
        }
        enum supervisor_event event = (enum supervisor_event)(draw(&seed) % SUPERVISOR_EVENT__MAX);
        enum supervisor_event told = event;
        if (is_said(event)) {
            says(&model, event);
        } else if (!happens(&model, event, draw(&seed), &told)) {
            continue;
        }
        seen[machine.state][told]++;
        act(&machine, told);
        assert_string_equal(supervisor_state_names[machine.state], supervisor_state_names[called(&model)]);
        assert_true(machine.runs == model.runs);
        assert_int_equal(machine.deaths, model.deaths);
    }
    for (int at = 0; at < SUPERVISOR_STATE__MAX; at++) { /* what never came is what cannot come */
        for (int event = 0; event < SUPERVISOR_EVENT__MAX; event++) {
            const bool is_impossible = supervisor_table[at][event].action == SUPERVISOR_IMPOSSIBLE;
            if (is_impossible != (seen[at][event] == 0)) {
                fail_msg("%s in %s came %llu times", supervisor_event_names[event], supervisor_state_names[at],
                         (unsigned long long)seen[at][event]);
            }
        }
    }
}

/* ---- the table by itself -------------------------------------------------------------------------------------------------- */

static bool can_reach(enum supervisor_state from, enum supervisor_state to, bool without_a_start) {
    bool is_reached[SUPERVISOR_STATE__MAX] = {false};
    is_reached[from] = true;
    for (int round = 0; round < SUPERVISOR_STATE__MAX; round++) {
        for (int at = 0; at < SUPERVISOR_STATE__MAX; at++) {
            for (int event = 0; is_reached[at] && event < SUPERVISOR_EVENT__MAX; event++) {
                const struct supervisor_cell *cell = &supervisor_table[at][event];
                const bool is_start = cell->action == SUPERVISOR_SPAWN || cell->action == SUPERVISOR_SPAWN_ANEW;
                if (cell->action != SUPERVISOR_IMPOSSIBLE && !(without_a_start && is_start)) {
                    is_reached[cell->next] = true;
                }
            }
        }
    }
    return is_reached[to];
}

static void test_no_state_without_a_way_out(void **state) {
    (void)state;
    for (int from = 0; from < SUPERVISOR_STATE__MAX; from++) {
        assert_true(can_reach((enum supervisor_state)from, SUPERVISOR_DOWN, true));
        for (int to = 0; to < SUPERVISOR_STATE__MAX; to++) {
            assert_true(can_reach((enum supervisor_state)from, (enum supervisor_state)to, false));
        }
    }
}

static void test_what_every_row_keeps(void **state) {
    (void)state;
    for (int at = 0; at < SUPERVISOR_STATE__MAX; at++) {
        assert_non_null(supervisor_state_names[at]);
        for (int event = 0; event < SUPERVISOR_EVENT__MAX; event++) {
            const struct supervisor_cell *cell = &supervisor_table[at][event];
            const bool stays = cell->action == SUPERVISOR_NOTHING || cell->action == SUPERVISOR_IMPOSSIBLE;
            assert_non_null(supervisor_event_names[event]);
            assert_true(!stays || cell->next == (enum supervisor_state)at);
            assert_false(is_said((enum supervisor_event)event) && cell->action == SUPERVISOR_IMPOSSIBLE);
        }
        /* "down" is one word away from wherever it is, and a start by hand clears what deaths have left */
        const enum supervisor_state stopped = supervisor_table[at][SUPERVISOR_ON_STOP].next;
        assert_true(stopped == SUPERVISOR_DOWN || stopped == SUPERVISOR_STOPPING);
        const bool is_idle = at == SUPERVISOR_DOWN || at == SUPERVISOR_BACKOFF || at == SUPERVISOR_LATCHED;
        assert_true(is_idle == (supervisor_table[at][SUPERVISOR_ON_START].action == SUPERVISOR_SPAWN_ANEW));
        assert_true(is_idle == (supervisor_table[at][SUPERVISOR_ON_RESTART].action == SUPERVISOR_SPAWN_ANEW));
    }
}

/* ---- the delay ------------------------------------------------------------------------------------------------------------ */

static struct supervisor_spec with_delays(int64_t min_ns, int64_t max_ns) {
    struct supervisor_spec spec;
    supervisor_spec_init(&spec);
    spec.restart.delay_min_ns = min_ns;
    spec.restart.delay_max_ns = max_ns;
    return spec;
}

static void test_the_delay(void **state) {
    (void)state;
    const struct supervisor_spec spec = with_delays(CORE_NS_PER_S, 60 * CORE_NS_PER_S);
    static const int64_t seconds[] = {1, 2, 4, 8, 16, 32, 60, 60};
    for (uint32_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        const int64_t ns = seconds[i] * CORE_NS_PER_S;
        assert_int_equal(supervisor_delay_ns(&spec, i + 1, 0), ns / 10 * 8);
        assert_int_equal(supervisor_delay_ns(&spec, i + 1, UINT32_MAX), ns / 10 * 12);
        const int64_t middle = supervisor_delay_ns(&spec, i + 1, UINT32_MAX / 2);
        assert_true(middle > ns - CORE_NS_PER_MS && middle <= ns);
    }
    assert_int_equal(supervisor_delay_ns(&spec, UINT32_MAX, 0), 48 * CORE_NS_PER_S);
    const struct supervisor_spec upside_down = with_delays(60 * CORE_NS_PER_S, CORE_NS_PER_S);
    assert_int_equal(supervisor_delay_ns(&upside_down, 9, UINT32_MAX), CORE_NS_PER_S / 10 * 12);
    const struct supervisor_spec longest = with_delays(CORE_NS_PER_MS, SUPERVISOR_NS_MAX);
    assert_int_equal(supervisor_delay_ns(&longest, 99, UINT32_MAX), SUPERVISOR_NS_MAX / 5 * 6);
    const struct supervisor_spec none = with_delays(0, 0);
    assert_int_equal(supervisor_delay_ns(&none, UINT32_MAX, UINT32_MAX), 0);
}

static void test_the_delay_is_spread(void **state) {
    (void)state;
    enum { PARTS = 8, DRAWS = 8000 };
    const struct supervisor_spec spec = with_delays(CORE_NS_PER_S, 60 * CORE_NS_PER_S);
    int hits[PARTS] = {0};
    uint64_t seed = SEED;
    for (int i = 0; i < DRAWS; i++) {
        const int64_t ns = supervisor_delay_ns(&spec, 1, (uint32_t)(draw(&seed) >> 32)) - CORE_NS_PER_S / 10 * 8;
        hits[ns * PARTS / (CORE_NS_PER_S / 10 * 4 + 1)]++;
    }
    for (int i = 0; i < PARTS; i++) {
        assert_true(hits[i] > DRAWS / PARTS / 2 && hits[i] < DRAWS / PARTS * 2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_events_against_the_model),
        cmocka_unit_test(test_no_state_without_a_way_out),
        cmocka_unit_test(test_what_every_row_keeps),
        cmocka_unit_test(test_the_delay),
        cmocka_unit_test(test_the_delay_is_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
