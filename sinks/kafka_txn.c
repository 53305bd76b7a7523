/* sinks/kafka_txn.c: exactly-once delivery: one transaction after another, each with whole batches, their files' positions
 * and the record of who has the node.
 *
 *   MAKE -> INIT -> TOPIC -> READ -> claim                     a producer is made; what a dead process left open is ended; the
 *                              |                               positions are read back; a transaction with nothing but the
 *                              v                               owner record says that the node is ours now
 *   READY -> OPEN -> CLOSING -> COMMIT -> READY …              batches join while it is OPEN; CLOSING sends the positions and
 *              |         |         |                           waits for every report
 *              v         v         v
 *            ABORT -----------------> READY                    a record was not accepted: all batches go back, epoch + 1
 *              |
 *              v
 *            WATCH -> MAKE …                                   the producer is finished: another process has the node (GONE), or
 *                                                              the broker ended the transaction; what is written tells which
 *
 * Batches are given back as soon as their records are reported, with the number of their transaction; they are accepted when
 * that number is committed (core/commit.h). A transaction is closed when it is old or big, or when nothing more comes and the
 * last commit was a second ago (or transaction_interval, if that is shorter): so a trickle is committed at once, but not
 * line by line, and the end of a run does not wait.
 *
 * A commit whose answer is lost may have been done. The owner record tells: it carries the number of its transaction, so the
 * next producer, after ending what was open, reads the number that was really committed.
 *
 * A producer that was lost, or aborted and nobody knows why, may have left records in partitions without the marks that end
 * their transaction (a broker that is killed can lose them). The next marks are ours, so they are an abort's: a transaction with
 * a record for each partition that may have been written, and no commit, comes before anything else. Positions that were
 * committed and wait for such a mark are another matter: kafka_left.c.
 *
 * Two processes with one node's name on two machines: the newer producer shuts the older one out. The older cannot tell that
 * from a transaction that was open for too long, so it waits for the owner record of another instance, written after it
 * last read the topic. If there is one it is gone, and says who has the node. Else it makes a new producer and goes on. Either
 * way one of the two ends, and neither comes back by itself. One that has nothing to send would never be told that it was shut
 * out: it looks for another's owner record every few seconds, from where it wrote last.
 *
 * The end of the process may come in any state: the start is interrupted before the claim, or stop_timeout is over. What is open
 * then is aborted by the producer's close (core/kafka_txn.c), so that no consumer and no next start waits for it. Two things
 * are waited for a little: the answer to a commit, which nobody can take back, and the marks of a sweep.
 *
 * Thread: the sink's own. librdkafka's calls are given a tenth of a second at a time, a commit a whole one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/kafka_keeper_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CALL_MS 100
#define COMMIT_MS 1000 /* see core/kafka_txn.c: a commit must not run out of time because the machine is busy */
#define HURRY_MS 1
#define RETRY_NS CORE_NS_PER_S
#define RETRY_MAX_NS (10 * CORE_NS_PER_S)
#define WATCH_NS (5 * CORE_NS_PER_S)
#define MISSING_NS (10 * CORE_NS_PER_S) /* a broker that has just come up may not know of a topic for seconds */
#define LOOK_NS (5 * CORE_NS_PER_S)     /* how often an idle one looks whether it still has the node */
#define SAY_EVERY_NS (30 * CORE_NS_PER_S)
#define IDLE_REST_NS                                                                                                   \
    CORE_NS_PER_S  /* when nothing more comes, commits are at least min(this, transaction_interval) apart */
#define STAY_MAX 8 /* states passed through in one turn */
#define REST_NS (2 * CORE_NS_PER_S)

/* What became of a step. */
enum step { STEP_ON, STEP_WAIT };

static void state_set(struct kafka_keeper *keeper, enum keeper_state state) {
    MUST(keeper->state != KEEPER_GONE && keeper->state != KEEPER_OFF);
    keeper->state = state;
}

static void epoch_raise(struct kafka_keeper *keeper) {
    uint64_t epoch = atomic_load(&keeper->commit->epoch);
    atomic_store(&keeper->commit->epoch, epoch + 1);
    core_bell_ring(keeper->commit->bell);
}

static void gone_set(struct kafka_keeper *keeper, const struct core_fail *fail) {
    state_set(keeper, KEEPER_GONE);
    keeper->gone = *fail;
}

/* Something that must be known, but not every second. */
static void say_waiting(struct kafka_keeper *keeper, const char *what, const struct core_fail *why, int64_t now) {
    if (now - keeper->said_ns > SAY_EVERY_NS) {
        keeper->said_ns = now;
        core_log(CORE_LEVEL_WARN, "kafka", what, "node=\"%s\" reason=\"%s\"", keeper->node, why->text);
    }
}

/* ---- a producer, and who has the node ---------------------------------------------------------------------------------------- */

static void producer_close(struct sink *sink) {
    kafka_lane_close(sink, KAFKA_TOGETHER);
    kafka_events_unsend(sink); /* nothing will be reported any more */
    sink->is_broken = false;
}

/* Nothing of the open transaction counts. */
static void transaction_drop(struct sink *sink) {
    struct kafka_keeper *keeper = sink->keeper;
    MUST(!keeper->is_claim);
    core_count(sink->env->counters, CORE_COUNT_SINK_TRANSACTIONS_ABORTED, 1);
    keeper->is_failed = keeper->is_under_way = false;
    kafka_lines_clear(&keeper->lines);
    epoch_raise(keeper); /* before the first batch goes back */
    kafka_events_drop(sink);
}

/* The producer is finished. is_fenced: perhaps by another process, which will say so. */
static void producer_lost(struct sink *sink, enum core_kafka_txn txn, const struct core_fail *why, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    bool may_be_done = keeper->is_under_way && keeper->is_commit_asked; /* judge() will know */
    keeper->sweep_txn = keeper->is_under_way ? keeper->txn : keeper->sweep_txn;
    core_log(CORE_LEVEL_WARN, "kafka",
             txn == CORE_KAFKA_TXN_FENCED
                 ? "producer shut out: another process has this node's name, or the transaction was open for too long"
                 : "producer failed; a new one is made, and nothing is lost or doubled",
             "node=\"%s\" reason=\"%s\"", keeper->node, why->text);
    core_count(sink->env->counters, CORE_COUNT_SINK_PRODUCERS_REMADE, 1);
    keeper->is_fenced = txn == CORE_KAFKA_TXN_FENCED;
    snprintf(keeper->lost_why, sizeof keeper->lost_why, "%s", why->text);
    producer_close(sink);
    if (!may_be_done && keeper->is_under_way) {
        transaction_drop(sink);
    }
    keeper->is_claim = keeper->is_failed = keeper->is_abort_said = keeper->is_sweep = false;
    keeper->probe = NULL;
    keeper->watch_until_ns = now + (txn == CORE_KAFKA_TXN_FENCED ? WATCH_NS : 0);
    keeper->failures++;
    int64_t hold = RETRY_NS << (keeper->failures < 5 ? keeper->failures - 1 : 4);
    keeper->hold_ns = now + (hold < RETRY_MAX_NS ? hold : RETRY_MAX_NS);
    kafka_recover_end(&keeper->recover);
    state_set(keeper, KEEPER_WATCH);
}

static bool is_other_owner(const struct kafka_keeper *keeper, const struct kafka_owner *found) {
    bool is_newer = found->offset > keeper->owner_seen.offset || found->partition != keeper->owner_seen.partition;
    return found->is_there && found->instance != keeper->owner.instance && is_newer;
}

static void owner_gone(struct kafka_keeper *keeper, const struct kafka_owner *found) {
    struct core_fail fail;
    enum core_err err = core_fail_set(&fail, CORE_LOCKED, keeper->node,
                                      "another tapline has taken over node \"%s\": host %s, pid %ld, since %s. Two "
                                      "processes with one node.name cannot "
                                      "both run: stop one, or give it a name of its own",
                                      keeper->node, found->host, found->pid, found->started);
    MUST(err == CORE_LOCKED);
    gone_set(keeper, &fail);
}

/* Shut out: has another instance written its name since? It may stand behind a transaction of a third one, which is waited
 * for. */
static enum step step_watch(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    struct core_fail why = {0};
    bool is_held = keeper->recover.held_ns != 0 && now < keeper->watch_until_ns + sink->conf->transaction_timeout_ns;
    if (now < keeper->watch_until_ns || is_held) {
        enum core_err err = kafka_recover_turn(&keeper->recover, &why);
        if (err == CORE_OK) {
            struct kafka_owner found = keeper->recover.owner;
            kafka_recover_end(&keeper->recover);
            if (keeper->has_read && is_other_owner(keeper, &found)) {
                owner_gone(keeper, &found);
            }
        }
        return STEP_WAIT;
    }
    kafka_recover_end(&keeper->recover);
    if (now < keeper->hold_ns) {
        return STEP_WAIT;
    }
    state_set(keeper, KEEPER_MAKE);
    return STEP_ON;
}

static enum step step_make(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    struct core_fail fail = {0};
    if (now < keeper->hold_ns) {
        return STEP_WAIT;
    }
    MUST(sink->lanes[KAFKA_TOGETHER] == NULL);
    size_t len = 0;
    struct core_kafka_pair *pairs =
        kafka_conf_txn_pairs(sink->conf, keeper->node, &keeper->shape, sink->env->wants_statistics, &len);
    enum core_err err = core_kafka_open(&sink->lanes[KAFKA_TOGETHER], pairs, len, &kafka_calls, sink, &fail);
    free(pairs);
    if (err != CORE_OK) {
        core_log_fail(CORE_LEVEL_ERROR, "kafka", "no producer; nothing is sent, and it is tried again", &fail);
        keeper->hold_ns = now + RETRY_MAX_NS;
        return STEP_WAIT;
    }
    kafka_topics_rebind(&sink->topics, KAFKA_TOGETHER, sink->lanes[KAFKA_TOGETHER]);
    sink->made_ns = now;
    keeper->is_unhidden = false;
    state_set(keeper, KEEPER_INIT);
    return STEP_ON;
}

/* No transactions here. With `auto`, and before anything was promised: as if at_least_once had been said. */
static enum step refused(struct sink *sink, const char *what, const struct core_fail *why) {
    struct kafka_keeper *keeper = sink->keeper;
    bool was_recovered = atomic_load(&keeper->commit->state) == CORE_COMMIT_RECOVERED;
    producer_close(sink);
    if (sink->conf->delivery == KAFKA_DELIVERY_AUTO && !was_recovered) {
        core_log(CORE_LEVEL_WARN, "kafka",
                 "no exactly-once delivery here; at_least_once is used: after a crash records may come again, with the "
                 "same id. Say delivery: at_least_once if that is meant",
                 "what=\"%s\" reason=\"%s\"", what, why->text);
        state_set(keeper, KEEPER_OFF);
        kafka_recover_end(&keeper->recover);
        atomic_store(&keeper->commit->state, CORE_COMMIT_OFF);
        core_bell_ring(keeper->commit->bell);
        return STEP_WAIT;
    }
    struct core_fail fail;
    enum core_err err = core_fail_set(
        &fail, CORE_BAD, "sinks.kafka.delivery",
        "exactly_once cannot be had: %s: %s. Give the right to (transactional id \"tapline/%s\": write, describe; "
        "topic %s: create, read, write), or say delivery: at_least_once",
        what, why->text, keeper->node, sink->conf->checkpoint_topic);
    MUST(err == CORE_BAD);
    gone_set(keeper, &fail);
    return STEP_WAIT;
}

static enum step step_init(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    struct core_fail why = {0};
    enum core_kafka_txn txn = core_kafka_txn_init(sink->lanes[KAFKA_TOGETHER], CALL_MS, &why);
    switch (txn) {
    case CORE_KAFKA_TXN_OK:
        keeper->is_fenced = false;
        state_set(keeper, KEEPER_TOPIC);
        return STEP_ON;
    case CORE_KAFKA_TXN_REFUSED:
        return refused(sink, "the broker has no transactions for us", &why);
    case CORE_KAFKA_TXN_AGAIN:
    case CORE_KAFKA_TXN_ABORT:
        if (now - sink->made_ns > WATCH_NS) {
            say_waiting(
                keeper,
                "waiting for the transaction coordinator; nothing is read or lost meanwhile. If brokers are up: "
                "has __transaction_state enough of them (transaction.state.log.replication.factor)?",
                &why, now);
        }
        return STEP_WAIT;
    default:
        producer_lost(sink, txn, &why, now);
        return STEP_WAIT;
    }
}

/* The topic of positions must be there, made with the right settings, before anything asks for it. */
static enum step step_topic(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    struct kafka_topic *topic = keeper->topic;
    if (!kafka_topic_is_ready(&sink->topics, topic, KAFKA_TOGETHER, now)) {
        return STEP_WAIT;
    }
    if (topic->refusal[0] != '\0') {
        core_log(CORE_LEVEL_INFO, "kafka", "topic of positions could not be made; is it there already?",
                 "topic=\"%s\" reason=\"%s\"", topic->name, topic->refusal);
    }
    state_set(keeper, KEEPER_READ);
    return STEP_ON;
}

/* What does the topic say of the transaction that was under way when the last producer was lost? */
static void judge(struct sink *sink, const struct kafka_owner *found) {
    struct kafka_keeper *keeper = sink->keeper;
    if (!keeper->is_under_way) {
        return;
    }
    bool is_done = found->is_there && found->instance == keeper->owner.instance && found->txn == keeper->txn;
    core_log(CORE_LEVEL_INFO, "kafka",
             is_done ? "the transaction under way was committed" : "the transaction under way was not committed",
             "node=\"%s\" txn=%" PRIu64, keeper->node, keeper->txn);
    if (is_done) {
        keeper->sweep_txn = 0;
        kafka_keeper_committed(sink, core_tick_ns());
    } else {
        transaction_drop(sink);
    }
}

/* They may have been asked too early: for who has just made it as long as it takes, else for a while. */
static bool may_come(struct kafka_keeper *keeper, int64_t now) {
    keeper->missing_ns = keeper->missing_ns == 0 ? now : keeper->missing_ns;
    return keeper->topic->is_proven || now - keeper->missing_ns < MISSING_NS;
}

static enum step step_read(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    struct core_fail why = {0};
    if (now < keeper->hold_ns) {
        return STEP_WAIT;
    }
    enum core_err err = kafka_recover_turn(&keeper->recover, &why);
    if (err == CORE_AGAIN) {
        keeper->missing_ns = 0;
        keeper->hold_ns = keeper->recover.ask_ns;
        return kafka_keeper_unhide(sink, now) ? STEP_ON : STEP_WAIT;
    }
    if (err == CORE_GONE && may_come(keeper, now)) {
        keeper->hold_ns = now + RETRY_NS / 10;
        return STEP_WAIT;
    }
    keeper->missing_ns = 0;
    if (err != CORE_OK) {
        return refused(sink, "the topic of positions is not to be had", &why);
    }
    struct kafka_owner found = keeper->recover.owner;
    if (keeper->has_read && is_other_owner(keeper, &found)) {
        producer_close(sink);
        owner_gone(keeper, &found);
        return STEP_WAIT;
    }
    judge(sink, &found);
    if (!keeper->is_recovered && found.is_there) {
        core_log(CORE_LEVEL_INFO, "kafka", "positions read back; the node is taken over from its last owner",
                 "node=\"%s\" files=%zu host=%s pid=%ld since=%s", keeper->node, keeper->recover.lines.len, found.host,
                 found.pid, found.started);
    }
    keeper->owner_seen = found;
    keeper->has_read = true;
    keeper->partition = keeper->recover.partition;
    switch (kafka_keeper_sweep(sink, now)) {
    case KEEPER_SWEEP_WAITS:
        return STEP_WAIT;
    case KEEPER_SWEEP_NONE:
        kafka_keeper_claim(sink, now);
        break;
    case KEEPER_SWEEP_BEGUN:
        break;
    }
    return STEP_ON;
}

/* ---- a transaction ----------------------------------------------------------------------------------------------------------------- */

/* When is an open transaction old enough? */
static int64_t due_ns(const struct sink *sink) {
    const struct kafka_keeper *keeper = sink->keeper;
    if (keeper->is_idle && sink->outstanding == 0 && atomic_load(&keeper->commit->is_ending)) {
        return keeper->begun_ns; /* nobody will come; who waits for batches to come back would */
    }
    int64_t interval_ns = sink->conf->transaction_interval_ns;
    int64_t old_ns = keeper->begun_ns + interval_ns;
    int64_t rested_ns = keeper->committed_ns + (interval_ns < IDLE_REST_NS ? interval_ns : IDLE_REST_NS);
    return keeper->is_idle && rested_ns < old_ns ? rested_ns : old_ns;
}

static bool is_due(const struct sink *sink, int64_t now) {
    const struct kafka_keeper *keeper = sink->keeper;
    return now >= due_ns(sink) || keeper->bytes >= sink->conf->transaction_bytes ||
           (keeper->shape.is_alone && keeper->joined > 0);
}

static enum step step_open(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    if (keeper->is_failed) {
        state_set(keeper, KEEPER_ABORT);
        return STEP_ON;
    }
    if (!is_due(sink, now)) {
        return STEP_WAIT;
    }
    state_set(keeper, KEEPER_CLOSING);
    return STEP_ON;
}

/* Every record of the batches that joined is sent; then the positions; when all is reported, the commit. */
static enum step step_closing(struct sink *sink) {
    struct kafka_keeper *keeper = sink->keeper;
    if (keeper->is_failed) {
        state_set(keeper, KEEPER_ABORT);
        return STEP_ON;
    }
    if (!keeper->is_claim && !kafka_events_are_sent(sink)) {
        return STEP_WAIT; /* librdkafka's queue was full */
    }
    bool is_all_sent = kafka_keeper_send_positions(sink);
    if (keeper->is_failed) {
        return STEP_ON; /* this again, which aborts */
    }
    if (!is_all_sent || sink->outstanding > 0) {
        if (is_all_sent) {
            core_kafka_hurry(sink->lanes[KAFKA_TOGETHER], HURRY_MS);
        }
        return STEP_WAIT;
    }
    state_set(keeper, KEEPER_COMMIT);
    return STEP_ON;
}

static enum step step_commit(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    struct core_fail why = {0};
    keeper->is_commit_asked = true;
    enum core_kafka_txn txn = core_kafka_txn_commit(sink->lanes[KAFKA_TOGETHER], COMMIT_MS, &why);
    switch (txn) {
    case CORE_KAFKA_TXN_OK:
        keeper->failures = keeper->is_claim ? keeper->failures : 0;
        kafka_keeper_committed(sink, now);
        keeper->look_ns = now + LOOK_NS;
        state_set(keeper, KEEPER_READY);
        return STEP_ON;
    case CORE_KAFKA_TXN_AGAIN:
        say_waiting(keeper, "commit not answered yet; waiting", &why, now);
        return STEP_WAIT;
    case CORE_KAFKA_TXN_ABORT:
        keeper->is_failed = true;
        state_set(keeper, KEEPER_ABORT);
        return STEP_ON;
    default:
        producer_lost(sink, txn, &why, now);
        return STEP_WAIT;
    }
}

static void aborted(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    bool was_claim = keeper->is_claim;
    bool is_rest_needed = !keeper->is_blamed;
    keeper->is_blamed = false;
    if (was_claim) {
        keeper->is_claim = keeper->is_failed = false;
        kafka_recover_end(&keeper->recover); /* read again: it is claimed anew with what is found */
        state_set(keeper, KEEPER_READ);
    } else {
        transaction_drop(sink);
        state_set(keeper, KEEPER_READY);
    }
    keeper->failures += is_rest_needed ? 1 : 0;
    if (is_rest_needed && !was_claim && !keeper->is_about_topic) { /* why? Was it the broker that ended it? */
        keeper->sweep_txn = keeper->txn;
    }
    keeper->is_about_topic = false;
    if (is_rest_needed) {
        int64_t rest = (RETRY_NS / 10) << (keeper->failures < 7 ? keeper->failures : 7);
        keeper->hold_ns = now + (rest < RETRY_MAX_NS ? rest : RETRY_MAX_NS);
    }
}

static enum step step_abort(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    struct core_fail why = {0};
    if (!keeper->is_abort_said) {
        keeper->is_abort_said = true;
        int code = core_kafka_txn_why(sink->lanes[KAFKA_TOGETHER], &why);
        if (core_kafka_is_topic(code) && keeper->is_claim) {
            return refused(sink, "the topic of positions may not be written", &why);
        }
        if (core_kafka_is_topic(code)) {
            kafka_keeper_suspect_topics(sink);
            keeper->is_about_topic = true;
        }
        core_log(CORE_LEVEL_WARN, "kafka", "transaction aborted; its records are read and sent again, none is doubled",
                 "node=\"%s\" txn=%" PRIu64 " records=%" PRIu64 " reason=\"%s\"", keeper->node, keeper->txn,
                 keeper->accepted + keeper->dead + sink->outstanding, why.text[0] != '\0' ? why.text : keeper->failure);
    }
    enum core_kafka_txn txn = core_kafka_txn_abort(sink->lanes[KAFKA_TOGETHER], CALL_MS, &why);
    if (txn == CORE_KAFKA_TXN_AGAIN || (txn == CORE_KAFKA_TXN_OK && sink->outstanding > 0)) {
        say_waiting(keeper, "abort not answered yet; waiting", &why, now);
        return STEP_WAIT;
    }
    keeper->is_abort_said = false;
    if (txn != CORE_KAFKA_TXN_OK) {
        producer_lost(sink, txn == CORE_KAFKA_TXN_ABORT ? CORE_KAFKA_TXN_FATAL : txn, &why, now);
        return STEP_WAIT;
    }
    keeper->is_commit_asked = false;
    aborted(sink, now);
    return STEP_ON;
}

/* What comes of its records is the answer, if there was a question. It is aborted, unless it ends what was committed. */
static enum step step_probe(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    struct core_fail why = {0};
    if ((keeper->probe != NULL || keeper->is_sweep) && sink->outstanding > 0 && !keeper->is_failed) {
        return STEP_WAIT;
    }
    if (keeper->probe != NULL) {
        int code = keeper->is_failed ? core_kafka_txn_why(sink->lanes[KAFKA_TOGETHER], &why) : 0;
        kafka_keeper_probed(sink, code, now);
    }
    bool is_commit = keeper->is_left_whole && !keeper->is_failed;
    enum core_kafka_txn txn = is_commit ? core_kafka_txn_commit(sink->lanes[KAFKA_TOGETHER], COMMIT_MS, &why)
                                        : core_kafka_txn_abort(sink->lanes[KAFKA_TOGETHER], CALL_MS, &why);
    if (is_commit && txn == CORE_KAFKA_TXN_ABORT) {
        keeper->is_failed = true;
        return STEP_ON;
    }
    if (txn == CORE_KAFKA_TXN_AGAIN || (txn == CORE_KAFKA_TXN_OK && sink->outstanding > 0)) {
        return STEP_WAIT;
    }
    bool is_swept = keeper->is_sweep && !keeper->is_failed;
    keeper->is_failed = false;
    if (txn != CORE_KAFKA_TXN_OK) {
        producer_lost(sink, txn, &why, now);
        return STEP_WAIT;
    }
    if (!keeper->is_sweep) {
        keeper->hold_ns = 0;
        state_set(keeper, KEEPER_READY);
        return STEP_ON;
    }
    keeper->is_sweep = false;
    if (is_swept && !keeper->is_unhiding) {
        keeper->sweep_txn = 0;
        keeper->sweep_until_ns = 0;
    } else if (!is_swept) {
        keeper->hold_ns = now + RETRY_NS; /* a topic would not take it: once more, for a while */
        keeper->is_unhidden = keeper->is_unhidden && !keeper->is_unhiding;
    }
    kafka_recover_end(&keeper->recover);
    state_set(keeper, KEEPER_READ);
    return STEP_ON;
}

/* Nothing was committed for a while, so no broker had a reason to say that another process took the node over. */
static void look_for_another(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    struct core_fail why = {0};
    if (now < keeper->look_ns) {
        return;
    }
    enum core_err err = kafka_recover_look(&keeper->recover, keeper->partition, &keeper->look_from, &why);
    keeper->look_ns = core_tick_ns() + LOOK_NS;
    struct kafka_owner found = keeper->recover.owner;
    if (is_other_owner(keeper, &found)) {
        producer_close(sink);
        owner_gone(keeper, &found);
    } else if (err != CORE_OK) {
        core_log(CORE_LEVEL_DEBUG, "kafka", "not known yet whether another process has the node; looking again",
                 "node=\"%s\" reason=\"%s\"", keeper->node, why.text);
    }
}

/* Topics to be tried come first. Or another kind of producer is wanted: one by one while there are suspects, as before when
 * there are none. */
static enum step step_ready(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    enum keeper_sweep sweep = kafka_keeper_sweep(sink, now);
    if (sweep == KEEPER_SWEEP_BEGUN || (sweep == KEEPER_SWEEP_NONE && kafka_keeper_probe(sink, now))) {
        return STEP_ON;
    }
    if (sweep == KEEPER_SWEEP_WAITS || !kafka_keeper_reshape(sink)) {
        look_for_another(sink, now);
        return STEP_WAIT;
    }
    producer_close(sink);
    kafka_recover_end(&keeper->recover);
    keeper->hold_ns = 0;
    state_set(keeper, KEEPER_MAKE);
    return STEP_ON;
}

/* ---- from the sink ------------------------------------------------------------------------------------------------------------------ */

static enum step step(struct sink *sink, int64_t now) {
    switch (sink->keeper->state) {
    case KEEPER_MAKE:
        return step_make(sink, now);
    case KEEPER_INIT:
        return step_init(sink, now);
    case KEEPER_TOPIC:
        return step_topic(sink, now);
    case KEEPER_READ:
        return step_read(sink, now);
    case KEEPER_READY:
        return step_ready(sink, now);
    case KEEPER_OPEN:
        return step_open(sink, now);
    case KEEPER_CLOSING:
        return step_closing(sink);
    case KEEPER_COMMIT:
        return step_commit(sink, now);
    case KEEPER_ABORT:
        return step_abort(sink, now);
    case KEEPER_PROBE:
        return step_probe(sink, now);
    case KEEPER_WATCH:
        return step_watch(sink, now);
    case KEEPER_GONE:
    case KEEPER_OFF:
        return STEP_WAIT;
    }
    MUST(false);
    return STEP_WAIT;
}

void kafka_keeper_turn(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    MUST(keeper != NULL);
    if (sink->is_broken && sink->lanes[KAFKA_TOGETHER] != NULL) {
        struct core_fail why = {0};
        enum core_kafka_txn txn = core_kafka_txn_fatal(sink->lanes[KAFKA_TOGETHER], &why);
        if (keeper->state == KEEPER_INIT && txn == CORE_KAFKA_TXN_REFUSED) {
            enum step done = refused(sink, "the broker has no transactions for us", &why);
            MUST(done == STEP_WAIT);
        } else {
            producer_lost(sink, txn == CORE_KAFKA_TXN_OK ? CORE_KAFKA_TXN_FATAL : txn, &why, now);
        }
    }
    sink->is_broken = false;
    for (int i = 0; i < STAY_MAX && step(sink, now) == STEP_ON; i++) {
        now = core_tick_ns();
    }
    if (keeper->state == KEEPER_OFF) {
        kafka_events_release(sink);
        kafka_keeper_close(sink); /* from now on as if there had never been one */
    }
}

void kafka_keeper_rest(struct sink *sink) {
    struct kafka_keeper *keeper = sink->keeper;
    int64_t now = core_tick_ns();
    int64_t until_ns = now + REST_NS;
    while (keeper != NULL && now < until_ns && !sink->is_broken && sink->lanes[KAFKA_TOGETHER] != NULL &&
           (keeper->state == KEEPER_COMMIT || (keeper->state == KEEPER_PROBE && keeper->is_sweep))) {
        core_kafka_poll(sink->lanes[KAFKA_TOGETHER]);
        if (step(sink, now) == STEP_WAIT && sink->lanes[KAFKA_TOGETHER] != NULL) {
            core_kafka_hurry(sink->lanes[KAFKA_TOGETHER], HURRY_MS);
        }
        now = core_tick_ns();
    }
}

int64_t kafka_keeper_due(const struct sink *sink, int64_t now) {
    const struct kafka_keeper *keeper = sink->keeper;
    if (keeper == NULL) {
        return INT64_MAX;
    }
    switch (keeper->state) {
    case KEEPER_OPEN:
        return due_ns(sink);
    case KEEPER_READ:
        return keeper->hold_ns > now ? keeper->hold_ns : now;
    case KEEPER_INIT: /* these wait in their own calls */
    case KEEPER_COMMIT:
    case KEEPER_ABORT:
        return now;
    case KEEPER_PROBE:
        return sink->outstanding == 0 ? now : INT64_MAX;
    case KEEPER_WATCH:
        return now < keeper->watch_until_ns || keeper->recover.held_ns != 0 ? now + RETRY_NS / 2 : keeper->hold_ns;
    case KEEPER_TOPIC:
        return now + RETRY_NS / 10;
    case KEEPER_MAKE:
        return keeper->hold_ns > now ? keeper->hold_ns : INT64_MAX;
    case KEEPER_READY:
        return keeper->hold_ns > now && keeper->hold_ns < keeper->look_ns ? keeper->hold_ns : keeper->look_ns;
    default:
        return INT64_MAX;
    }
}

void kafka_keeper_failed(struct sink *sink, struct slot *slot, uint32_t index, enum core_kafka_fate fate, int code) {
    struct kafka_keeper *keeper = sink->keeper;
    const struct core_event *event = &slot->batch->events[index];
    uint64_t gen = slot->batch->stream->gen;
    if (!keeper->is_failed || fate == CORE_KAFKA_RECORD || fate == CORE_KAFKA_TOPIC) {
        snprintf(keeper->failure, sizeof keeper->failure, "%s", core_kafka_text(code));
    }
    keeper->is_failed = true;
    if (fate == CORE_KAFKA_RECORD && (keeper->shape.is_alone || slot->state[index] % 2 == 0)) {
        /* alone, or not even taken by librdkafka: it is this record */
        unsigned times = kafka_blame_guilty(&keeper->blame, gen, event->start, code);
        core_count(sink->env->counters, CORE_COUNT_SINK_REFUSED, times == 1 ? 1 : 0);
        keeper->is_blamed = true;
    } else if (fate == CORE_KAFKA_RECORD) {
        kafka_blame_suspect(&keeper->blame, gen, event->end, code);
        keeper->is_blamed = true;
    } else if (fate == CORE_KAFKA_TOPIC) {
        struct kafka_topic *topic = kafka_event_topic(sink, slot, index);
        MUST(topic != NULL);
        if (!kafka_topic_refused(&sink->topics, topic, core_kafka_text(code), core_tick_ns())) {
            kafka_topic_give_up(topic, core_tick_ns());
        }
    } else if (fate == CORE_KAFKA_FATAL) {
        sink->is_broken = true;
    }
    sink_retry(sink->env->counters, &sink->retries,
               fate == CORE_KAFKA_TOPIC   ? SINK_CAUSE_TOPIC
               : fate == CORE_KAFKA_FATAL ? SINK_CAUSE_PRODUCER
                                          : SINK_CAUSE_TRANSACTION);
}

void kafka_keeper_reported(struct sink *sink, enum core_kafka_fate fate, int code, int64_t offset) {
    struct kafka_keeper *keeper = sink->keeper;
    MUST(keeper != NULL);
    bool is_position = keeper->state != KEEPER_PROBE; /* else a record that nobody is to see */
    if (fate == CORE_KAFKA_ACCEPTED) {
        keeper->look_from = is_position ? offset + 1 : keeper->look_from;
        return;
    }
    if (!keeper->is_failed) {
        snprintf(keeper->failure, sizeof keeper->failure, "position: %s", core_kafka_text(code));
    }
    keeper->is_failed = true;
    sink->is_broken = sink->is_broken || fate == CORE_KAFKA_FATAL;
    if (is_position && (fate == CORE_KAFKA_RECORD || fate == CORE_KAFKA_TOPIC)) {
        core_log(
            CORE_LEVEL_ERROR, "kafka",
            "position refused; nothing can be committed until the topic takes it. Give the right to write, and leave "
            "its max.message.bytes at 16 KiB or more",
            "topic=\"%s\" reason=\"%s\"", keeper->topic->name, core_kafka_text(code));
    }
}
