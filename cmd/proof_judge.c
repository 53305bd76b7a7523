/* cmd/proof_judge.c: what follows from the spans that were read: which bytes of a generation have no record, which have two,
 * and whether numbers agree.
 *
 * A generation whose bytes join and whose records are as many as its position says is proven. Numbers are compared only
 * where bytes do not already tell what is wrong.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/proof.h"

#include <stdlib.h>

static enum core_err finding_add(struct proof_verdict *verdict, const struct proof_finding *finding,
                                 struct core_fail *fail) {
    verdict->count[finding->kind]++;
    verdict->wrong += finding->kind == PROOF_NOT_JUDGED ? 0 : 1;
    if (verdict->len == PROOF_FINDINGS_MAX) {
        return CORE_OK;
    }
    if (verdict->len == verdict->cap) {
        size_t cap = verdict->cap == 0 ? 64 : verdict->cap * 2;
        struct proof_finding *more = realloc(verdict->findings, cap * sizeof *more);
        if (more == NULL) {
            return core_fail_set(fail, CORE_LIMIT, "memory", "there is none for %zu findings", cap);
        }
        verdict->findings = more;
        verdict->cap = cap;
    }
    verdict->findings[verdict->len++] = *finding;
    return CORE_OK;
}

/* ---- the horizon ---------------------------------------------------------------------------------------------------------- */

/* From when on this partition has everything, in seconds; 0: always. Nothing left: it cannot testify at all. */
static uint32_t place_horizon(const struct proof_place *place) {
    if (!place->is_cut) {
        return 0;
    }
    return place->is_first_known ? place->first_s + 1 : UINT32_MAX; /* whole seconds: the next one is safe */
}

/* The newest of the topics that a generation's records can have been in. A partition with nothing left counts only for who
 * has records in its topic: seldom logs leave such behind, and they would blind us for all others. */
static uint32_t gen_horizon(const struct proof *proof, const struct proof_gen *gen) {
    uint32_t newest = 0;
    for (size_t i = 0; i < proof->places_len; i++) {
        const struct proof_place *place = &proof->places[i];
        uint32_t horizon = place_horizon(place);
        bool is_own = place->topic == gen->topic || place->topic == gen->log->topic;
        bool is_possible = is_own || proof->topics[place->topic].is_dead || gen->log->topic == PROOF_TOPIC_NONE ||
                           gen->log->topic == PROOF_TOPIC_MIXED;
        bool is_blind = horizon == UINT32_MAX && !is_own && gen->log->topic != PROOF_TOPIC_NONE;
        if (is_possible && !is_blind && horizon > newest) {
            newest = horizon;
        }
    }
    return newest;
}

static void logs_note(struct proof *proof) {
    for (size_t i = 0; i < proof->logs_len; i++) {
        proof->logs[i]->topic = PROOF_TOPIC_NONE;
    }
    for (size_t i = 0; i < proof->gens_len; i++) {
        const struct proof_gen *gen = proof->gens[i];
        if (gen->has_position && gen->topic != PROOF_TOPIC_NONE) {
            size_t *topic = &gen->log->topic;
            *topic = *topic == PROOF_TOPIC_NONE || *topic == gen->topic ? gen->topic : PROOF_TOPIC_MIXED;
        }
    }
}

/* ---- one generation -------------------------------------------------------------------------------------------------------- */

static enum core_err judge_gaps(const struct proof *proof, const struct proof_gen *gen, struct proof_verdict *verdict,
                                struct core_fail *fail) {
    uint32_t horizon = gen_horizon(proof, gen);
    struct span_gap gap;
    enum core_err err = CORE_OK;
    for (uint64_t at = gen->begin; err == CORE_OK && spans_gap(&gen->spans, at, gen->from, &gap); at = gap.end) {
        /* records of a file are produced in its order, mostly: an aborted transaction's come again, later */
        bool is_judged = gap.before_s >= horizon && (gap.after_s == 0 || gap.after_s >= horizon);
        struct proof_finding finding = {
            .kind = is_judged ? PROOF_GAP : PROOF_NOT_JUDGED, .gen = gen, .from = gap.from, .end = gap.end};
        err = finding_add(verdict, &finding, fail);
    }
    return err;
}

static enum core_err judge_twice(const struct proof_gen *gen, struct proof_verdict *verdict, struct core_fail *fail) {
    const struct spans *twice = gen->spans.twice;
    enum core_err err = CORE_OK;
    for (size_t i = 0; twice != NULL && err == CORE_OK && i < twice->len; i++) {
        /* proof_explain() says of which kind it is: the same records again, for all that is known until then */
        struct proof_finding finding = {
            .kind = PROOF_DOUBLED, .gen = gen, .from = twice->ones[i].from, .end = twice->ones[i].end};
        err = finding_add(verdict, &finding, fail);
    }
    return err;
}

static uint64_t difference(uint64_t a, uint64_t b) {
    return a > b ? a - b : b - a;
}

static enum core_err judge_numbers(const struct proof *proof, const struct proof_gen *gen, bool do_bytes_join,
                                   struct proof_verdict *verdict, struct core_fail *fail) {
    const struct core_tally *tally = &gen->tally;
    struct proof_finding finding = {.gen = gen, .from = gen->begin, .end = gen->from};
    enum core_err err = CORE_OK;
    if (tally->lost > 0) {
        finding.kind = PROOF_LOST;
        finding.records = tally->lost;
        err = finding_add(verdict, &finding, fail);
    }
    uint64_t told = tally->events + tally->dead + tally->dropped + tally->lost;
    if (err == CORE_OK && tally->records != told) {
        finding.kind = PROOF_IDENTITY;
        finding.records = difference(tally->records, told);
        err = finding_add(verdict, &finding, fail);
    }
    /* one topic for both: what is which cannot be seen from outside */
    bool are_told_apart = strcmp(proof->source.places->topic, proof->source.places->dead_letter_topic) != 0;
    uint64_t found = gen->events + gen->dead;
    uint64_t sum = difference(found, tally->events + tally->dead);
    uint64_t kinds = are_told_apart ? difference(gen->events, tally->events) : 0;
    if (err == CORE_OK && do_bytes_join && tally->lost == 0 && (sum != 0 || kinds != 0)) {
        finding.kind = PROOF_COUNT;
        finding.records = sum != 0 ? sum : kinds;
        err = finding_add(verdict, &finding, fail);
    }
    return err;
}

static uint64_t found_so_far(const struct proof_verdict *verdict) {
    uint64_t sum = 0;
    for (size_t i = 0; i < PROOF_KINDS; i++) {
        sum += verdict->count[i];
    }
    return sum;
}

static enum core_err judge_gen(const struct proof *proof, struct proof_gen *gen, struct proof_verdict *verdict,
                               struct core_fail *fail) {
    uint64_t before = found_so_far(verdict);
    enum core_err err = spans_settle(&gen->spans, fail);
    if (err == CORE_OK) {
        err = judge_gaps(proof, gen, verdict, fail);
    }
    if (err == CORE_OK) {
        err = judge_twice(gen, verdict, fail);
    }
    if (err == CORE_OK) {
        err = judge_numbers(proof, gen, before == found_so_far(verdict), verdict, fail);
    }
    verdict->generations++;
    verdict->newer += gen->newer_len;
    verdict->proven_records += gen->events + gen->dead;
    for (size_t i = 0; i < gen->spans.len; i++) {
        uint64_t end = gen->spans.ones[i].end < gen->from ? gen->spans.ones[i].end : gen->from;
        verdict->proven_bytes += end > gen->spans.ones[i].from ? end - gen->spans.ones[i].from : 0;
    }
    return err;
}

enum core_err proof_judge(struct proof *proof, struct proof_verdict *verdict, struct core_fail *fail) {
    MUST(proof != NULL && verdict != NULL);
    proof_verdict_release(verdict);
    logs_note(proof);
    for (size_t i = 0; i < proof->places_len; i++) {
        uint32_t horizon = place_horizon(&proof->places[i]);
        if (horizon != UINT32_MAX && horizon > verdict->horizon_s) {
            verdict->horizon_s = horizon;
        }
    }
    enum core_err err = CORE_OK;
    for (size_t i = 0; i < proof->gens_len && err == CORE_OK; i++) {
        if (proof->gens[i]->has_position) {
            err = judge_gen(proof, proof->gens[i], verdict, fail);
        } else {
            verdict->unknown += proof->gens[i]->newer_len;
        }
    }
    return err;
}

void proof_verdict_release(struct proof_verdict *verdict) {
    free(verdict->findings);
    *verdict = (struct proof_verdict){0};
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------ */

#define LIVE_NS (60 * CORE_NS_PER_S)     /* a node that wrote within that time may be writing now */
#define COMMIT_NS (2 * CORE_NS_PER_S)    /* a commit is answered that long before it is to be seen, at most, mostly */
#define DECIDED_NS (120 * CORE_NS_PER_S) /* twice what a transaction may take */

enum core_err proof_settle(struct proof *proof, struct proof_verdict *verdict, struct core_fail *fail) {
    enum core_err err = proof_read(proof, fail);
    if (err == CORE_OK && proof->newest_ms > (core_now_ns() - LIVE_NS) / CORE_NS_PER_MS) {
        err = proof_wait(proof, COMMIT_NS, fail);
        if (err == CORE_OK) {
            err = proof_read(proof, fail);
        }
    }
    if (err == CORE_OK) {
        err = proof_judge(proof, verdict, fail);
    }
    if (err != CORE_OK || verdict->wrong == 0) {
        return err;
    }
    err = proof_wait(proof, DECIDED_NS, fail);
    if (err == CORE_OK) {
        err = proof_ask_bounds(proof, fail);
    }
    if (err == CORE_OK) {
        err = proof_read(proof, fail);
    }
    if (err == CORE_OK) {
        err = proof_judge(proof, verdict, fail);
    }
    return err == CORE_OK && verdict->wrong > 0 ? proof_explain(proof, verdict, fail) : err;
}
