/* core/kafka_txn.c: transactions: librdkafka's four calls, and what each of its errors means for who called.
 *
 * librdkafka's calls wait for an answer of the coordinator. Each can be told to wait for a short time and be called again:
 * it then takes up what goes on behind. The owner's thread polls the reports in between, which an abort needs (it waits
 * until none is outstanding, and does not serve them itself).
 *
 * An error says itself whether to call again, to abort, or to give the producer up. What it does not say is why it is to be
 * given up: that is told by the code. librdkafka 2.0.2 has one code for "a newer producer has this id" and "the broker ended
 * this transaction because of its age"; so have we.
 *
 * A producer is never destroyed with a transaction open, for two reasons. Others would see nothing behind its records until the
 * broker gives it up. And librdkafka's main thread hands its first request of a transaction (AddPartitionsToTxn) to the
 * coordinator's thread, and counts it when it has: a coordinator's thread that ends in between finds a request that was
 * never counted, and the process aborts (rd_kafka_txn_register_partitions() and the handler's assertion; seen with
 * 2.0.2, and no different in later ones). Once an abort has begun no such request is made, and before it is answered the
 * main thread has counted those it made. Hence core_kafka_txn_leave().
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_group.h"
#include "core/kafka_internal.h"

#define COMMIT_TRIES 3     /* more, if librdkafka says that there is nothing to be committed */
#define LEAVE_MS 2000      /* for what is in flight to be answered, and then the abort */
#define LEAVE_LEAST_MS 100 /* for the abort, if the answers took all that */

static enum core_kafka_txn txn_of_code(rd_kafka_resp_err_t code) {
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return CORE_KAFKA_TXN_OK;
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
        return CORE_KAFKA_TXN_FENCED;
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
        return CORE_KAFKA_TXN_REFUSED;
    default:
        return CORE_KAFKA_TXN_FATAL;
    }
}

/* Consumes error. */
static enum core_kafka_txn txn_of(rd_kafka_error_t *error, const char *what, struct core_fail *why) {
    if (error == NULL) {
        return CORE_KAFKA_TXN_OK;
    }
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    enum core_kafka_txn txn = txn_of_code(code);
    if (txn == CORE_KAFKA_TXN_FATAL && !rd_kafka_error_is_fatal(error)) {
        /* __STATE: not a call for the state it is in; only a fault of ours or the library's, which a new producer mends */
        txn = rd_kafka_error_txn_requires_abort(error) ? CORE_KAFKA_TXN_ABORT
              : code == RD_KAFKA_RESP_ERR__STATE       ? CORE_KAFKA_TXN_FATAL
                                                       : CORE_KAFKA_TXN_AGAIN;
    }
    if (txn == CORE_KAFKA_TXN_FENCED && rd_kafka_error_txn_requires_abort(error)) {
        txn = CORE_KAFKA_TXN_ABORT;
    }
    enum core_err err = core_fail_set(why, txn == CORE_KAFKA_TXN_REFUSED ? CORE_BAD : CORE_NET, what, "%s",
                                      rd_kafka_error_string(error));
    (void)err; /* the caller has txn */
    rd_kafka_error_destroy(error);
    return txn;
}

/* A commit is three questions to librdkafka's main thread, with one limit of time. If the first runs out of it (the machine is
 * busy, and the limit short) librdkafka forgets that a commit is under way, and takes the coordinator's answer, when it comes,
 * for an abort's: an assertion ends the process ("CommittingTransaction -> AbortedNotAcked", 2.0.2). Or the answer that is left
 * behind is taken for the next question's, and the third is "not valid in state …". The latter is called
 * again at once, which takes the commit up; against the former only a longer limit helps. */
static bool is_out_of_state(const rd_kafka_error_t *error) {
    return error != NULL && rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR__STATE && !rd_kafka_error_is_fatal(error) &&
           !rd_kafka_error_txn_requires_abort(error);
}

enum core_kafka_txn core_kafka_txn_init(struct core_kafka *kafka, int timeout_ms, struct core_fail *why) {
    MUST(kafka->magic == KAFKA_MAGIC);
    enum core_kafka_txn txn = txn_of(rd_kafka_init_transactions(kafka->handle, timeout_ms), "init_transactions", why);
    if (txn == CORE_KAFKA_TXN_OK) {
        kafka_stats_answered(&kafka->stats);
    }
    return txn;
}

enum core_kafka_txn core_kafka_txn_begin(struct core_kafka *kafka, struct core_fail *why) {
    MUST(kafka->magic == KAFKA_MAGIC);
    enum core_kafka_txn txn = txn_of(rd_kafka_begin_transaction(kafka->handle), "begin_transaction", why);
    kafka->is_txn_open = kafka->is_txn_open || txn == CORE_KAFKA_TXN_OK;
    return txn;
}

enum core_kafka_txn core_kafka_txn_commit(struct core_kafka *kafka, int timeout_ms, struct core_fail *why) {
    MUST(kafka->magic == KAFKA_MAGIC);
    rd_kafka_error_t *error = rd_kafka_commit_transaction(kafka->handle, timeout_ms);
    for (int i = 0; i < COMMIT_TRIES && is_out_of_state(error); i++) {
        rd_kafka_error_destroy(error);
        error = rd_kafka_commit_transaction(kafka->handle, timeout_ms);
    }
    enum core_kafka_txn txn = txn_of(error, "commit_transaction", why);
    if (txn == CORE_KAFKA_TXN_OK) {
        kafka_stats_answered(&kafka->stats);
    }
    kafka->is_txn_open = txn == CORE_KAFKA_TXN_ABORT; /* else it may have been done, and cannot be aborted any more */
    return txn;
}

enum core_kafka_txn core_kafka_txn_offsets(struct core_kafka *kafka, struct core_kafka_group *group,
                                           const struct core_kafka_done *done, size_t len, int timeout_ms,
                                           struct core_fail *why) {
    MUST(kafka->magic == KAFKA_MAGIC);
    MUST(kafka->is_txn_open);
    rd_kafka_consumer_group_metadata_t *metadata = core_kafka_group_metadata(group);
    if (metadata == NULL) {
        enum core_err err = core_fail_set(why, CORE_NET, "send_offsets", "the group has given this member up");
        (void)err; /* the caller has txn */
        return CORE_KAFKA_TXN_ABORT;
    }
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)len);
    for (size_t i = 0; i < len; i++) {
        MUST(done[i].offset >= 0);
        rd_kafka_topic_partition_list_add(list, done[i].share->topic, done[i].share->partition)->offset =
            done[i].offset;
    }
    rd_kafka_error_t *error = rd_kafka_send_offsets_to_transaction(kafka->handle, list, metadata, timeout_ms);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_consumer_group_metadata_destroy(metadata);
    return txn_of(error, "send_offsets", why);
}

enum core_kafka_txn core_kafka_txn_abort(struct core_kafka *kafka, int timeout_ms, struct core_fail *why) {
    MUST(kafka->magic == KAFKA_MAGIC);
    enum core_kafka_txn txn = txn_of(rd_kafka_abort_transaction(kafka->handle, timeout_ms), "abort_transaction", why);
    kafka->is_txn_open = kafka->is_txn_open && txn != CORE_KAFKA_TXN_OK;
    return txn;
}

static int left_ms(int64_t until_ns) {
    int64_t left = (until_ns - core_tick_ns()) / CORE_NS_PER_MS;
    return left < 0 ? 0 : (int)left;
}

/* What is in flight is answered before the abort, or it might reach its partition behind the abort's mark. */
void core_kafka_txn_leave(struct core_kafka *kafka) {
    MUST(kafka->magic == KAFKA_MAGIC);
    if (!kafka->is_txn_open) {
        return;
    }
    int64_t until_ns = core_tick_ns() + LEAVE_MS * CORE_NS_PER_MS;
    rd_kafka_resp_err_t purged CORE_UNUSED = rd_kafka_purge(kafka->handle, RD_KAFKA_PURGE_F_QUEUE);
    while (rd_kafka_outq_len(kafka->handle) > 0 && left_ms(until_ns) > 0) {
        rd_kafka_event_destroy(rd_kafka_queue_poll(kafka->queue, left_ms(until_ns))); /* takes NULL */
    }
    struct core_fail why;
    int timeout_ms = left_ms(until_ns) < LEAVE_LEAST_MS ? LEAVE_LEAST_MS : left_ms(until_ns);
    if (core_kafka_txn_abort(kafka, timeout_ms, &why) != CORE_KAFKA_TXN_OK) {
        /* Brokers away, or the producer had failed; the next producer's init ends it. This is refused; but not before the main
         * thread has begun the abort, however late it is, and it has no time limit. */
        rd_kafka_error_destroy(rd_kafka_begin_transaction(kafka->handle));
    }
}

/* librdkafka answers whatever may not be done in this state with what brought it there. */
int core_kafka_txn_why(struct core_kafka *kafka, struct core_fail *why) {
    MUST(kafka->magic == KAFKA_MAGIC);
    rd_kafka_error_t *error = rd_kafka_begin_transaction(kafka->handle);
    MUST(error != NULL); /* asked only while a transaction is open */
    int code = 0;
    if (rd_kafka_error_txn_requires_abort(error) || rd_kafka_error_is_fatal(error)) {
        code = (int)rd_kafka_error_code(error);
        enum core_err err = core_fail_set(why, CORE_NET, "transaction", "%s", rd_kafka_error_string(error));
        (void)err;
    }
    rd_kafka_error_destroy(error);
    return code;
}

enum core_kafka_txn core_kafka_txn_fatal(struct core_kafka *kafka, struct core_fail *why) {
    MUST(kafka->magic == KAFKA_MAGIC);
    char text[KAFKA_ERROR_BYTES] = "";
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(kafka->handle, text, sizeof text);
    enum core_err err = core_fail_set(why, CORE_NET, "librdkafka", "%s", text);
    (void)err; /* the caller has the code's meaning */
    return txn_of_code(code);
}
