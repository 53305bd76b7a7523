/* sinks/kafka_left.c: a transaction of this node that is over and has no end in the topic of positions.
 *
 * A broker that is killed between its answer to a commit and the marks of it writes the marks when it is back. Some versions
 * (Kafka 4.3.1, KAFKA-20734) forget them if partitions have no leader at that moment, which on a single broker is so. The
 * coordinator then believes that all is done, init_transactions succeeds, and the records stay open until the next mark of
 * the same producer id: that is ours. It decides, for commit or abort, what was decided already; so it must be the same.
 *
 * What the coordinator has only begun it aborts, with marks, when the next producer comes. So what is still open then was
 * decided, and if all of it was sent, the owner record being the last, it was committed: or it was aborted by a process that
 * died of it, in which case nothing of it was sent again. Only what this very process gave up and reads again must not be
 * committed; nor what has no owner record at its end, which nobody asked to commit.
 *
 * Records of topics that the lost transaction wrote wait for their partition's next mark, too, which is the one of the next
 * transaction that writes there: nothing can be written for their sake that readers would not see.
 *
 * On a crash in between all is as before. Thread: the sink's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_read.h"
#include "sinks/kafka_keeper_internal.h"

#include <inttypes.h>

#define UNHIDE_AFTER_NS (3 * CORE_NS_PER_S)
#define ASK_MS 1000
#define STEP_MS 200

/* The owner record counts if nothing of the node stands behind it. */
static void left_take(struct kafka_recover *recover, const struct core_kafka_got *got) {
    struct core_span name;
    if (!kafka_key_name(recover->node, got->key, &name)) {
        return;
    }
    struct kafka_owner owner = {.offset = -1};
    bool is_owner = core_span_is(name, "owner") && kafka_owner_parse(got->value, &owner);
    recover->left = is_owner ? owner : (struct kafka_owner){.offset = -1};
}

/* What is behind the committed records of the node's own partition, whatever became of it. CORE_AGAIN: not read to its end yet. */
static enum core_err left_read(struct kafka_recover *recover, struct core_fail *why) {
    if (!recover->is_left_assigned) {
        const struct core_kafka_place place = {recover->topic, recover->partition, recover->shown};
        recover->left = (struct kafka_owner){.offset = -1};
        if (core_kafka_reader_assign(recover->loose, &place, 1, false, ASK_MS, why) != CORE_OK) {
            return CORE_AGAIN;
        }
        recover->is_left_assigned = true;
    }
    int64_t until_ns = core_tick_ns() + STEP_MS * CORE_NS_PER_MS;
    do {
        struct core_kafka_got got;
        switch (core_kafka_reader_next(recover->loose, STEP_MS, &got, why)) {
        case CORE_OK:
            left_take(recover, &got);
            break;
        case CORE_GONE:
            recover->is_left_assigned = false;
            return CORE_OK;
        case CORE_NET:
            recover->is_left_assigned = false;
            return CORE_AGAIN;
        default:
            break;
        }
    } while (core_tick_ns() < until_ns);
    return CORE_AGAIN;
}

/* Was it sent to its end, and is nothing of it read and sent again? */
static bool is_left_whole(const struct kafka_keeper *keeper) {
    const struct kafka_owner *left = &keeper->recover.left;
    bool is_ours = left->instance == keeper->owner.instance;
    bool is_given_up = is_ours && left->txn > keeper->committed && !keeper->is_under_way;
    return left->is_there && !is_given_up;
}

bool kafka_keeper_unhide(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    struct kafka_recover *recover = &keeper->recover;
    struct core_fail why = {0};
    uint64_t accepted = keeper->accepted; /* the last one may have to be judged yet: its account stays */
    uint64_t dead = keeper->dead;
    bool is_commit_asked = keeper->is_commit_asked;
    bool is_time = recover->held_ns != 0 && recover->loose != NULL && now - recover->held_ns > UNHIDE_AFTER_NS;
    if (!is_time || keeper->is_unhidden || !kafka_topic_is_ready(&sink->topics, keeper->topic, KAFKA_TOGETHER, now) ||
        left_read(recover, &why) != CORE_OK || !kafka_keeper_begin(sink, now)) {
        return false;
    }
    keeper->accepted = accepted;
    keeper->dead = dead;
    keeper->is_commit_asked = is_commit_asked;
    keeper->state = KEEPER_PROBE;
    keeper->is_sweep = keeper->is_unhiding = keeper->is_unhidden = true;
    keeper->is_left_whole = is_left_whole(keeper);
    if (keeper->is_left_whole && keeper->committed > 0 && recover->left.instance == keeper->owner.instance &&
        recover->left.txn == keeper->committed) {
        keeper->sweep_txn = 0; /* an abort in its topics would be one of what was committed */
    }
    kafka_keeper_send_unseen(sink, keeper->topic, CORE_SPAN("tapline: ends what was left open"), recover->partition);
    core_log(
        CORE_LEVEL_INFO, "kafka",
        keeper->is_left_whole
            ? "committing what a dead process of this node had committed, should the broker have lost the end of it"
            : "aborting what a dead process of this node may have left open among the positions",
        "node=\"%s\" partition=%d txn=%" PRIu64, keeper->node, recover->partition,
        keeper->is_left_whole ? recover->left.txn : 0);
    return true;
}
