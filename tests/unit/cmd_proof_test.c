/* What is judged of spans and numbers that were read: holes, retention's horizon, repeats, counts. Reading itself is tested
 * with a real broker (tests/integration/test_verify.py).
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/proof.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define DAY_S 86400u

/* A proof as if it had read: two topics of documents and one of dead letters, a partition each. */
struct rig {
    struct proof proof;
    struct proof_topic topics[3];
    struct proof_place places[3];
    struct proof_log log;
    struct proof_log *logs[1];
    struct proof_gen gen;
    struct proof_gen *gens[1];
    struct sink_kafka_places sink;
    struct proof_verdict verdict;
};

static void rig_init(struct rig *rig) {
    *rig = (struct rig){
        .topics = {{"t.conn", 1, false}, {"t.dns", 1, false}, {"t.dead", 1, true}},
        .places = {{.topic = 0, .is_first_known = true, .first_s = DAY_S},
                   {.topic = 1, .is_first_known = true, .first_s = DAY_S},
                   {.topic = 2}},
        .log = {.name = "conn"},
        .gen = {.gen = 7, .has_position = true, .path = "/logs/conn.log", .first_path = "/logs/conn.log", .topic = 0},
        .sink = {.topic = "t.%{event.dataset}", .dead_letter_topic = "t.dead"},
    };
    rig->logs[0] = &rig->log;
    rig->gens[0] = &rig->gen;
    rig->gen.log = &rig->log;
    rig->proof = (struct proof){.source = {.places = &rig->sink, .node = "n"},
                                .topics = rig->topics,
                                .topics_len = 3,
                                .places = rig->places,
                                .places_len = 3,
                                .gens = rig->gens,
                                .gens_len = 1,
                                .logs = rig->logs,
                                .logs_len = 1};
}

static void add(struct rig *rig, uint64_t from, uint64_t end, uint32_t time_s) {
    struct core_fail fail;
    assert_int_equal(spans_add(&rig->gen.spans, from, end, time_s, &fail), CORE_OK);
    rig->gen.events++;
}

static void judge(struct rig *rig) {
    struct core_fail fail;
    assert_int_equal(proof_judge(&rig->proof, &rig->verdict, &fail), CORE_OK);
}

static void done(struct rig *rig) {
    spans_release(&rig->gen.spans);
    proof_verdict_release(&rig->verdict);
}

/* Ten records of ten bytes each, a day apart from DAY_S on, less those whose number is in `without`. */
static void ten(struct rig *rig, const char *without) {
    for (unsigned i = 0; i < 10; i++) {
        if (strchr(without, (char)('0' + i)) == NULL) {
            add(rig, i * 10, i * 10 + 10, DAY_S * (i + 1));
        }
    }
    rig->gen.from = 100;
    rig->gen.tally = (struct core_tally){.records = 10, .events = 10};
}

static void what_joins_is_proven(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    ten(&rig, "");
    judge(&rig);
    assert_int_equal(rig.verdict.wrong, 0);
    assert_int_equal(rig.verdict.proven_bytes, 100);
    assert_int_equal(rig.verdict.proven_records, 10);
    done(&rig);
}

static void a_hole_is_named(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    ten(&rig, "059");
    judge(&rig);
    assert_int_equal(rig.verdict.count[PROOF_GAP], 3);
    assert_int_equal(rig.verdict.wrong, 3); /* and the number of records is no finding of its own */
    assert_int_equal(rig.verdict.findings[0].from, 0);
    assert_int_equal(rig.verdict.findings[1].from, 50);
    assert_int_equal(rig.verdict.findings[1].end, 60);
    assert_int_equal(rig.verdict.findings[2].end, 100);
    done(&rig);
}

static void an_account_that_begins_in_the_middle_is_judged_from_there(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    ten(&rig, "012");
    rig.gen.begin = 30;
    rig.gen.tally = (struct core_tally){.records = 7, .events = 7};
    judge(&rig);
    assert_int_equal(rig.verdict.wrong, 0);
    done(&rig);
}

static void a_hole_behind_a_record_older_than_the_horizon_is_not_judged(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    ten(&rig, "037");
    rig.places[0].is_cut = true;
    rig.places[0].first_s = DAY_S * 5; /* of record 4 */
    judge(&rig);
    assert_int_equal(rig.verdict.count[PROOF_NOT_JUDGED], 2); /* the beginning, and behind record 2 */
    assert_int_equal(rig.verdict.count[PROOF_GAP], 1);
    assert_int_equal(rig.verdict.wrong, 1);
    assert_int_equal(rig.verdict.findings[2].from, 70);
    assert_int_equal(rig.verdict.horizon_s, DAY_S * 5 + 1);
    done(&rig);
}

static void another_topics_retention_does_not_blind_a_log_that_has_one_topic(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    ten(&rig, "3");
    rig.places[1].is_cut = true;
    rig.places[1].first_s = DAY_S * 20;
    judge(&rig);
    assert_int_equal(rig.verdict.count[PROOF_GAP], 1);
    rig.gen.topic = PROOF_TOPIC_MIXED; /* a file of several datasets: any topic may have had it */
    judge(&rig);
    assert_int_equal(rig.verdict.count[PROOF_NOT_JUDGED], 1);
    rig.gen.topic = 0;
    rig.places[2].is_cut = true; /* and any record may have been a dead letter */
    rig.places[2].is_first_known = true;
    rig.places[2].first_s = DAY_S * 20;
    judge(&rig);
    assert_int_equal(rig.verdict.count[PROOF_NOT_JUDGED], 1);
    done(&rig);
}

static void a_partition_with_nothing_left_blinds_only_who_has_records_in_its_topic(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    ten(&rig, "3");
    rig.places[2] = (struct proof_place){.topic = 2, .is_cut = true};
    judge(&rig);
    assert_int_equal(rig.verdict.count[PROOF_GAP], 1);
    rig.places[0] = (struct proof_place){.topic = 0, .is_cut = true};
    judge(&rig);
    assert_int_equal(rig.verdict.count[PROOF_NOT_JUDGED], 1);
    assert_int_equal(rig.verdict.wrong, 0);
    done(&rig);
}

static void bytes_that_come_again_are_a_finding(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    ten(&rig, "");
    add(&rig, 40, 50, DAY_S);
    judge(&rig);
    assert_int_equal(rig.verdict.count[PROOF_DOUBLED], 1);
    assert_int_equal(rig.verdict.wrong, 1);
    assert_int_equal(rig.verdict.findings[0].from, 40);
    done(&rig);
}

static void numbers_are_held_against_the_position(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    ten(&rig, "");
    rig.gen.tally = (struct core_tally){.records = 12, .events = 10, .dropped = 2};
    judge(&rig);
    assert_int_equal(rig.verdict.wrong, 0); /* what was dropped has no record */
    rig.gen.tally = (struct core_tally){.records = 10, .events = 9, .dead = 1};
    judge(&rig);
    assert_int_equal(rig.verdict.count[PROOF_COUNT], 1);
    rig.gen.tally = (struct core_tally){.records = 11, .events = 11};
    judge(&rig);
    assert_int_equal(rig.verdict.count[PROOF_COUNT], 1);
    assert_int_equal(rig.verdict.findings[0].records, 1);
    rig.gen.tally = (struct core_tally){.records = 11, .events = 10};
    judge(&rig);
    assert_int_equal(rig.verdict.count[PROOF_IDENTITY], 1);
    rig.gen.tally = (struct core_tally){.records = 11, .events = 10, .lost = 1};
    judge(&rig);
    assert_int_equal(rig.verdict.count[PROOF_LOST], 1);
    assert_int_equal(rig.verdict.wrong, 1);
    done(&rig);
}

static void a_header_is_ours_or_not(void **state) {
    (void)state;
    struct proof_header header;
    unsigned char bytes[40];
    core_put_be64(bytes, 1);
    core_put_be64(bytes + 8, 20);
    core_put_be64(bytes + 16, 30);
    core_put_be64(bytes + 24, 10);
    struct core_span span = {.ptr = (const char *)bytes, .len = 24};
    assert_true(proof_header_take(span, &header));
    assert_int_equal(header.from, 20);
    span.len = 32;
    assert_true(proof_header_take(span, &header));
    assert_int_equal(header.from, 10);
    for (size_t len = 0; len < 40; len++) {
        span.len = len;
        assert_int_equal(proof_header_take(span, &header), len == 24 || len == 32);
    }
    span.len = 24;
    core_put_be64(bytes + 16, 20); /* ends where it begins */
    assert_false(proof_header_take(span, &header));
    span.len = 32;
    core_put_be64(bytes + 16, 30);
    core_put_be64(bytes + 24, 21); /* from is behind start */
    assert_false(proof_header_take(span, &header));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_joins_is_proven),
        cmocka_unit_test(a_hole_is_named),
        cmocka_unit_test(an_account_that_begins_in_the_middle_is_judged_from_there),
        cmocka_unit_test(a_hole_behind_a_record_older_than_the_horizon_is_not_judged),
        cmocka_unit_test(another_topics_retention_does_not_blind_a_log_that_has_one_topic),
        cmocka_unit_test(a_partition_with_nothing_left_blinds_only_who_has_records_in_its_topic),
        cmocka_unit_test(bytes_that_come_again_are_a_finding),
        cmocka_unit_test(numbers_are_held_against_the_position),
        cmocka_unit_test(a_header_is_ours_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
