/* ingest/feed_commit.c: one transaction after another, each with the offsets of what is done, its dead letters and its rows of
 * the ledger.
 *
 *   WAITING -> INIT -> TOPICS -> READY -> SENDING -> OFFSETS -> REPORTS -> COMMIT -> READY …
 *      ^                           |         |          |          |         |
 *      +---------------------------+---------+----------+----------+---------+   anything else: all is forgotten
 *
 * The producer's init comes before the group is joined: it ends what a killed feeder left open, and until then the broker
 * tells nobody the offsets that are in it.
 *
 * What is forgotten: which records were read, what came of their documents, the open transaction. The group is left, and joined
 * anew when all batches are back; reading begins at the committed offsets, and what was indexed meanwhile is a repeat.
 * That is also the answer when a commit's outcome is not known: the offsets say whether it was done.
 *
 * Counts and lists are of two kinds: what is done since the last commit, and what the open transaction holds. Rows are counted
 * into and sent from one place, so no batch is taken back while they are being sent (SENDING), which is a matter of
 * milliseconds.
 *
 * Thread: the source's own. A commit may take a second (see core/kafka_txn.c why not less), other calls a tenth.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/feed_internal.h"

#include "core/kafka_read.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CALL_MS 100
#define OFFSETS_MS 500
#define COMMIT_MS 1000
#define HURRY_MS 1
#define AGAIN_NS (100 * CORE_NS_PER_MS)
#define AGAIN_MAX_NS (10 * CORE_NS_PER_S)
#define SAY_AFTER_NS (5 * CORE_NS_PER_S)
#define SAY_EVERY_NS (30 * CORE_NS_PER_S)
#define FENCED_WITHIN_NS (60 * CORE_NS_PER_S)
#define FENCED_TIMES 3
#define STAY_MAX 12 /* states passed through in one turn */
#define DEAD_PARTITIONS 4
#define RAW_BYTES_LEAST 1024
#define HEADER_NAME "tapline"
#define HEADER_BYTES 16

enum step { STEP_ON, STEP_WAIT };

bool feed_commit_is_open(const struct feed *feed) {
    return feed->state >= FEED_SENDING && feed->state <= FEED_COMMIT;
}

/* Something that must be known, but not every second. */
static void say_waiting(struct feed *feed, const char *what, const struct core_fail *why, int64_t now) {
    if (now - feed->made_ns > SAY_AFTER_NS && (feed->said_ns == 0 || now - feed->said_ns > SAY_EVERY_NS)) {
        feed->said_ns = now;
        core_log(CORE_LEVEL_WARN, "feed", what, "group=%s reason=\"%s\"", feed->env.conf->group, why->text);
    }
}

void feed_gone(struct feed *feed, enum core_err err) {
    MUST(err != CORE_OK);
    MUST(feed->fail.err == err);
    feed->state = FEED_GONE;
}

static void gone_refused(struct feed *feed, const char *what, const char *why) {
    const struct feed_conf *conf = feed->env.conf;
    feed_gone(feed, core_fail_set(
                        &feed->fail, CORE_BAD, "feed",
                        "%s: %s. The brokers must let this user: use the transactional id \"%s\" (write, describe) and "
                        "the group %s "
                        "(read); read the topics; write to %s and %s (and create them, unless create_topics is off)",
                        what, why, feed->producer_pairs.id, conf->group, conf->dead_letter_topic, conf->ledger_topic));
}

/* ---- forgetting ---------------------------------------------------------------------------------------------------------- */

static void handles_close(struct feed *feed) {
    core_kafka_group_close(feed->group);
    feed->group = NULL;
    core_kafka_close(feed->producer);
    feed->producer = NULL;
    feed_pairs_release(&feed->producer_pairs);
    core_kafka_reader_close(feed->reader);
    feed->reader = NULL;
    feed->is_broken = feed->is_failed = feed->is_paused = false;
    feed->unreported = 0;
    feed->topics_made = feed->topics_asked = 0;
}

void feed_forget(struct feed *feed, const char *what, const struct core_fail *why) {
    core_log(CORE_LEVEL_WARN, "feed", what, "group=%s batches=%" PRIu64 " reason=\"%s\"", feed->env.conf->group,
             feed->seq - feed->seq_back, why->text);
    core_count(feed->env.counters, CORE_COUNT_FEED_FORGOTTEN, 1);
    feed->epoch++;
    feed_fill_drop(feed);
    handles_close(feed);
    feed_shares_forget(feed);
    feed->deads = feed->deads_sent = (struct feed_deads){0};
    feed_back_give(feed, &feed->held);
    feed_back_give(feed, &feed->held_sent);
    feed->sums = feed->sums_sent = (struct feed_sums){0};
    for (size_t i = 0; i < feed->datasets_len; i++) {
        feed->datasets[i].taken = feed->datasets[i].taken_sent = 0;
    }
    feed->is_dirty = false;
    int64_t hold = AGAIN_NS << (feed->failures < 7 ? feed->failures : 7);
    feed->failures++;
    feed->hold_ns = core_tick_ns() + (hold < AGAIN_MAX_NS ? hold : AGAIN_MAX_NS);
    feed->state = FEED_WAITING;
}

/* Another producer has the id, or the broker ended the transaction because of its age: the two look the same. The second
 * heals; of the first kind there is no end, each shuts the other out. */
static bool is_another_there(struct feed *feed) {
    int64_t now = core_tick_ns();
    int64_t oldest = feed->fenced_ns[0];
    for (size_t i = 1; i < FENCED_TIMES; i++) {
        feed->fenced_ns[i - 1] = feed->fenced_ns[i];
    }
    feed->fenced_ns[FENCED_TIMES - 1] = now;
    return oldest != 0 && now - oldest < FENCED_WITHIN_NS;
}

/* The producer cannot go on, or its transaction came to nothing. */
static enum step producer_lost(struct feed *feed, enum core_kafka_txn txn, const struct core_fail *why) {
    if (txn == CORE_KAFKA_TXN_REFUSED) {
        gone_refused(feed, "offsets cannot be committed in transactions", why->text);
    } else if (txn == CORE_KAFKA_TXN_FENCED && is_another_there(feed)) {
        feed_gone(feed,
                  core_fail_set(
                      &feed->fail, CORE_LOCKED, feed->env.node,
                      "another feeder uses the transactional id \"%s\", again and again: two machines cannot have one "
                      "node.name in one feed.group; give this one a name of its own",
                      feed->producer_pairs.id));
    } else {
        feed_forget(
            feed,
            txn == CORE_KAFKA_TXN_FENCED
                ? "commit refused: another feeder has this transactional id, or the commit took too long; what was "
                  "not committed is read again"
                : "commit failed; what was not committed is read again, and none of it is doubled",
            why);
    }
    return STEP_WAIT;
}

/* ---- what the producer calls --------------------------------------------------------------------------------------------- */

/* A dead letter's ticket is the letter itself, which lives as long as the transaction; a row has none. */
static void on_report(void *ctx, uint64_t ticket, enum core_kafka_fate fate, int code, int64_t offset) {
    struct feed *feed = ctx;
    struct feed_dead *dead = (struct feed_dead *)(uintptr_t)ticket;
    MUST(feed->unreported > 0);
    feed->unreported--;
    if (dead != NULL && fate == CORE_KAFKA_ACCEPTED) {
        dead->letter = offset;
    }
    if (fate != CORE_KAFKA_ACCEPTED && !feed->is_failed) {
        feed->is_failed = true;
        feed->failed_code = code;
    }
}

static void on_made(void *ctx, struct core_kafka_topic *topic CORE_UNUSED, enum core_kafka_made made,
                    const char *text) {
    struct feed *feed = ctx;
    MUST(feed->topics_asked > 0);
    feed->topics_asked--;
    if (made == CORE_KAFKA_NOT_YET) {
        const struct core_fail why = {.text = "the brokers did not answer, or are too few"};
        say_waiting(feed, "waiting for the topics of dead letters and of the ledger; nothing is read meanwhile", &why,
                    core_tick_ns());
        return;
    }
    if (made == CORE_KAFKA_NOT_MADE) {
        core_log(CORE_LEVEL_INFO, "feed", "a topic could not be made; is it there already?",
                 "dead_letter_topic=%s ledger_topic=%s reason=\"%s\"", feed->env.conf->dead_letter_topic,
                 feed->env.conf->ledger_topic, text);
    }
    feed->topics_made++;
}

static void on_trouble(void *ctx, bool is_fatal, const char *text) {
    struct feed *feed = ctx;
    feed->is_broken = feed->is_broken || is_fatal;
    if (!is_fatal) {
        feed_trouble(feed, text);
    }
}

/* Consumer and producer complain of the same brokers, each connection by itself: the first word is for people. */
void feed_trouble(struct feed *feed, const char *text) {
    const int64_t now = core_tick_ns();
    const bool is_news = feed->trouble_ns == 0;
    if (is_news || now - feed->trouble_said_ns > SAY_EVERY_NS) {
        feed->trouble_said_ns = now;
        core_log(CORE_LEVEL_WARN, "feed",
                 "broker trouble; documents wait, nothing is lost, and it goes on by itself. Is the broker up, and is "
                 "feed.rdkafka's bootstrap.servers right?",
                 "group=%s reason=\"%s\"", feed->env.conf->group, text);
    } else {
        core_log(CORE_LEVEL_DEBUG, "feed", "broker trouble", "reason=\"%s\"", text);
    }
    feed->trouble_ns = now;
}

void feed_trouble_over(struct feed *feed) {
    if (feed->trouble_ns != 0 && core_tick_ns() - feed->trouble_ns > CORE_NS_PER_S) {
        feed->trouble_ns = 0;
        core_log(CORE_LEVEL_INFO, "feed", "the brokers answer again", "group=%s", feed->env.conf->group);
    }
}

static const struct core_kafka_calls calls = {.on_report = on_report, .on_made = on_made, .on_trouble = on_trouble};

/* ---- making it ----------------------------------------------------------------------------------------------------------- */

static enum step step_waiting(struct feed *feed, int64_t now) {
    if (now < feed->hold_ns || feed->seq != feed->seq_back || feed->is_stopped) {
        return STEP_WAIT;
    }
    struct core_fail fail;
    feed_pairs_of_producer(feed->env.conf, feed->env.node, feed->env.instance, &feed->producer_pairs);
    enum core_err err =
        core_kafka_open(&feed->producer, feed->producer_pairs.pairs, feed->producer_pairs.len, &calls, feed, &fail);
    if (err == CORE_BAD) {
        feed_gone(feed, core_fail_set(&feed->fail, err, fail.where, "%s", fail.text));
        return STEP_WAIT;
    }
    if (err != CORE_OK) {
        core_log_fail(CORE_LEVEL_ERROR, "feed", "no producer; nothing is read, and it is tried again", &fail);
        feed_pairs_release(&feed->producer_pairs);
        feed->hold_ns = now + AGAIN_MAX_NS;
        return STEP_WAIT;
    }
    feed->dead_topic = core_kafka_topic_open(feed->producer, feed->env.conf->dead_letter_topic, feed);
    feed->ledger_topic = core_kafka_topic_open(feed->producer, feed->env.conf->ledger_topic, feed);
    feed->made_ns = now;
    feed->state = FEED_INIT;
    return STEP_ON;
}

static enum step step_init(struct feed *feed, int64_t now) {
    struct core_fail why = {0};
    enum core_kafka_txn txn = core_kafka_txn_init(feed->producer, CALL_MS, &why);
    switch (txn) {
    case CORE_KAFKA_TXN_OK:
        feed->hold_ns = 0;
        feed->state = FEED_TOPICS;
        return STEP_ON;
    case CORE_KAFKA_TXN_AGAIN:
    case CORE_KAFKA_TXN_ABORT:
        say_waiting(
            feed,
            "waiting for the transaction coordinator; nothing is read or lost meanwhile. If brokers are up: has "
            "__transaction_state enough of them (transaction.state.log.replication.factor)?",
            &why, now);
        return STEP_WAIT;
    default:
        return producer_lost(feed, txn, &why);
    }
}

static void topic_ask(struct feed *feed, struct core_kafka_topic *topic, int partitions,
                      const struct core_kafka_pair *config, size_t config_len) {
    const struct core_kafka_wish wish = {.partitions = partitions,
                                         .replication = (int)feed->env.conf->replication_factor,
                                         .config = config,
                                         .config_len = config_len};
    feed->topics_asked++;
    core_kafka_topic_make(feed->producer, topic, &wish);
}

static enum step group_join(struct feed *feed, int64_t now) {
    struct core_fail fail;
    struct feed_pairs pairs;
    const char *const *topics = NULL;
    size_t topics_len = 0;
    feed_pairs_of_group(feed->env.conf, &pairs);
    feed_conf_topics(feed->env.conf, &topics, &topics_len);
    const struct core_kafka_group_conf conf = {.pairs = pairs.pairs,
                                               .pairs_len = pairs.len,
                                               .group = feed->env.conf->group,
                                               .topics = topics,
                                               .topics_len = topics_len,
                                               .queued_bytes = feed->env.conf->queued_bytes,
                                               .wants_statistics = feed->env.wants_statistics};
    enum core_err err = core_kafka_group_open(&feed->group, &conf, &fail);
    feed_pairs_release(&pairs);
    free((void *)(uintptr_t)topics);
    if (err == CORE_BAD) {
        feed_gone(feed, core_fail_set(&feed->fail, err, fail.where, "%s", fail.text));
        return STEP_WAIT;
    }
    if (err != CORE_OK) {
        feed_forget(feed, "no consumer could be made; it is tried again", &fail);
        return STEP_WAIT;
    }
    feed->committed_ns = now;
    feed->state = FEED_READY;
    return STEP_ON;
}

/* Dead letters and rows have a place before the first record is read. */
static enum step step_topics(struct feed *feed, int64_t now) {
    /* What is written over goes within the hour; else it would stay until a segment is full. */
    static const struct core_kafka_pair compacted[] = {{"cleanup.policy", "compact"},
                                                       {"segment.ms", "3600000"},
                                                       {"min.cleanable.dirty.ratio", "0.1"},
                                                       {"delete.retention.ms", "604800000"}};
    if (feed->topics_asked > 0) {
        return STEP_WAIT;
    }
    if (!feed->env.conf->create_topics || feed->topics_made >= 2) {
        return group_join(feed, now);
    }
    if (now < feed->hold_ns) {
        return STEP_WAIT;
    }
    feed->topics_made = 0;
    feed->hold_ns = now + CORE_NS_PER_S; /* for the next try */
    topic_ask(feed, feed->dead_topic, DEAD_PARTITIONS, NULL, 0);
    topic_ask(feed, feed->ledger_topic, 1, compacted, sizeof(compacted) / sizeof(compacted[0]));
    return STEP_WAIT;
}

/* ---- a transaction ------------------------------------------------------------------------------------------------------- */

/* Nobody is helped by waiting for more. */
static bool is_urgent(const struct feed *feed) {
    const bool is_all_back = feed->seq == feed->seq_back && feed->filling_records == 0;
    return (is_all_back && (feed->is_stopped || (feed->is_once && feed_shares_at_end(feed)))) ||
           (feed->losing_ns != 0 && feed->seq_back >= feed->losing_seq);
}

static bool has_anything(const struct feed *feed) {
    for (size_t i = 0; i < feed->shares_len; i++) {
        if (feed->shares[i]->place != NULL && feed->shares[i]->done != feed->shares[i]->committed) {
            return true;
        }
    }
    return false;
}

static void transaction_take(struct feed *feed) {
    for (size_t i = 0; i < feed->shares_len; i++) {
        feed->shares[i]->sent = feed->shares[i]->done;
    }
    for (size_t i = 0; i < feed->datasets_len; i++) {
        feed->datasets[i].taken_sent = feed->datasets[i].taken;
        feed->datasets[i].taken = 0;
    }
    feed->sums_sent = feed->sums;
    feed->sums = (struct feed_sums){0};
    feed->deads_sent = feed->deads;
    feed->deads = (struct feed_deads){0};
    feed->held_sent = feed->held;
    feed->held = NULL;
    feed->dead_at = feed->deads_sent.head;
    feed->rows_at = 0;
    feed->is_dirty = feed->is_failed = false;
}

static enum step step_ready(struct feed *feed, int64_t now) {
    if (!feed->is_dirty || (!is_urgent(feed) && now - feed->committed_ns < feed->env.conf->commit_interval_ns)) {
        return STEP_WAIT;
    }
    if (!has_anything(feed)) {
        feed->is_dirty = false;
        return STEP_WAIT;
    }
    struct core_fail why = {0};
    enum core_kafka_txn txn = core_kafka_txn_begin(feed->producer, &why);
    if (txn == CORE_KAFKA_TXN_AGAIN) {
        return STEP_WAIT;
    }
    if (txn != CORE_KAFKA_TXN_OK) {
        return producer_lost(feed, txn, &why);
    }
    transaction_take(feed);
    feed->made_ns = now;
    feed->state = FEED_SENDING;
    return STEP_ON;
}

/* A record's refusal, by its report or at once. The next try has shorter dead letters if that is the reason. */
static enum step record_refused(struct feed *feed, int code) {
    struct core_fail why = {0};
    enum core_err err = core_fail_set(&why, CORE_NET, "feed", "%s (topics %s, %s)", core_kafka_text(code),
                                      feed->env.conf->dead_letter_topic, feed->env.conf->ledger_topic);
    (void)err; /* why is told below */
    if (core_kafka_is_size(code) && feed->raw_bytes_max > RAW_BYTES_LEAST) {
        feed->raw_bytes_max /= 2;
        core_log(
            CORE_LEVEL_WARN, "feed",
            "a dead letter is too large for its topic; from now on less of the document is in it. Documents that are "
            "cut cannot be put back: raise the topic's max.message.bytes",
            "topic=%s bytes=%zu", feed->env.conf->dead_letter_topic, feed->raw_bytes_max);
    }
    if (core_kafka_is_denied(code)) {
        gone_refused(feed, "a record of a commit was refused", why.text);
        return STEP_WAIT;
    }
    enum core_kafka_txn txn = feed->is_broken ? core_kafka_txn_fatal(feed->producer, &why) : CORE_KAFKA_TXN_ABORT;
    return producer_lost(feed, txn == CORE_KAFKA_TXN_OK ? CORE_KAFKA_TXN_ABORT : txn, &why);
}

/* CORE_AGAIN: librdkafka's queue is full. */
static enum core_err record_send(struct feed *feed, struct core_kafka_topic *topic,
                                 const struct core_kafka_record *record) {
    int code = 0;
    switch (core_kafka_send(feed->producer, topic, record, &code)) {
    case CORE_KAFKA_ACCEPTED:
        feed->unreported++;
        return CORE_OK;
    case CORE_KAFKA_FULL:
        return CORE_AGAIN;
    default:
        feed->is_failed = true;
        feed->failed_code = code;
        return CORE_NET;
    }
}

static enum core_err rows_send(struct feed *feed) {
    for (; feed->rows_at < feed->shares_len; feed->rows_at++) {
        struct feed_share *share = feed->shares[feed->rows_at];
        for (struct feed_row *row = share->place != NULL ? share->rows : NULL; row != NULL; row = row->next) {
            struct core_buf buf = {
                .start = feed->scratch, .pos = feed->scratch, .end = feed->scratch + FEED_SCRATCH_BYTES};
            struct core_kafka_record record = {.is_copied = true};
            if (row->written_to == row->to) {
                continue;
            }
            MUST(feed_ledger_write(&buf, feed, share, row, &record.key, &record.value));
            enum core_err err = record_send(feed, feed->ledger_topic, &record);
            if (err != CORE_OK) {
                return err;
            }
            row->written_to = row->to;
        }
    }
    return CORE_OK;
}

static struct core_span dead_key(const struct feed_dead *dead) {
    return dead->key.len > 0 ? dead->key : dead->id;
}

static enum core_err deads_send(struct feed *feed) {
    for (; feed->dead_at != NULL; feed->dead_at = feed->dead_at->next) {
        const struct feed_dead *dead = feed->dead_at;
        unsigned char header[HEADER_BYTES];
        struct core_kafka_record record = {.value = feed_dead_write(feed, dead, header),
                                           .key = dead_key(dead),
                                           .header_name = HEADER_NAME,
                                           .header = {.ptr = (const char *)header, .len = sizeof(header)},
                                           .ticket = (uintptr_t)dead,
                                           .is_copied = true};
        enum core_err err = record_send(feed, feed->dead_topic, &record);
        if (err != CORE_OK) {
            return err;
        }
    }
    return CORE_OK;
}

static enum step step_sending(struct feed *feed) {
    enum core_err err = feed->is_failed ? CORE_NET : rows_send(feed);
    if (err == CORE_OK) {
        err = deads_send(feed);
    }
    if (err == CORE_AGAIN) {
        return STEP_WAIT;
    }
    if (err != CORE_OK) {
        return record_refused(feed, feed->failed_code);
    }
    feed->state = FEED_OFFSETS;
    return STEP_ON;
}

static enum step step_offsets(struct feed *feed, int64_t now) {
    struct core_fail why = {0};
    struct core_kafka_done *done = calloc(feed->shares_len + 1, sizeof(*done));
    MUST(done != NULL);
    size_t len = 0;
    for (size_t i = 0; i < feed->shares_len; i++) {
        const struct feed_share *share = feed->shares[i];
        if (share->place != NULL && share->sent != share->committed) {
            done[len++] = (struct core_kafka_done){.share = share->place, .offset = share->sent};
        }
    }
    enum core_kafka_txn txn = core_kafka_txn_offsets(feed->producer, feed->group, done, len, OFFSETS_MS, &why);
    free(done);
    if (txn == CORE_KAFKA_TXN_AGAIN) {
        say_waiting(feed, "offsets are not committed yet; waiting", &why, now);
        return STEP_WAIT;
    }
    if (txn != CORE_KAFKA_TXN_OK) {
        return producer_lost(feed, txn, &why);
    }
    feed->state = FEED_REPORTS;
    return STEP_ON;
}

static enum step step_reports(struct feed *feed) {
    if (feed->is_failed) {
        return record_refused(feed, feed->failed_code);
    }
    if (feed->unreported > 0) {
        core_kafka_hurry(feed->producer, HURRY_MS);
        return STEP_WAIT;
    }
    feed->state = FEED_COMMIT;
    return STEP_ON;
}

static void committed(struct feed *feed, int64_t now) {
    struct core_counters *counters = feed->env.counters;
    struct feed_sums *all = &feed->committed;
    const struct feed_sums *sent = &feed->sums_sent;
    for (size_t i = 0; i < feed->shares_len; i++) {
        struct feed_share *share = feed->shares[i];
        share->committed = share->sent;
        if (share->row != NULL) {
            feed_ledger_committed(share);
        }
    }
    for (size_t i = 0; i < feed->datasets_len; i++) {
        feed->datasets[i].taken_committed += feed->datasets[i].taken_sent;
        feed->datasets[i].taken_sent = 0;
    }
    int partitions = core_kafka_topic_partitions(feed->dead_topic);
    for (const struct feed_dead *dead = feed->deads_sent.head; dead != NULL; dead = dead->next) {
        feed_dead_count(feed, dead);
        feed_shares_more_dead(feed, core_kafka_partition_of(dead_key(dead), partitions), dead->letter);
    }
    core_count(counters, CORE_COUNT_FEED_INDEXED, sent->indexed);
    core_count(counters, CORE_COUNT_FEED_REPEATED, sent->repeated);
    core_count(counters, CORE_COUNT_FEED_DEAD, sent->dead);
    core_count(counters, CORE_COUNT_FEED_LOST, sent->lost);
    core_count(counters, CORE_COUNT_FEED_TRANSACTIONS, 1);
    *all = (struct feed_sums){.indexed = all->indexed + sent->indexed,
                              .repeated = all->repeated + sent->repeated,
                              .dead = all->dead + sent->dead,
                              .lost = all->lost + sent->lost};
    feed->deads_sent = (struct feed_deads){0};
    feed_back_give(feed, &feed->held_sent);
    feed->failures = 0;
    feed_trouble_over(feed);
    feed->committed_ns = now;
    feed->state = FEED_READY;
}

static enum step step_commit(struct feed *feed, int64_t now) {
    struct core_fail why = {0};
    enum core_kafka_txn txn = core_kafka_txn_commit(feed->producer, COMMIT_MS, &why);
    if (txn == CORE_KAFKA_TXN_AGAIN) {
        say_waiting(feed, "commit not answered yet; waiting", &why, now);
        return STEP_WAIT;
    }
    if (txn != CORE_KAFKA_TXN_OK) {
        return producer_lost(feed, txn, &why);
    }
    committed(feed, core_tick_ns());
    return STEP_ON;
}

/* ---- from the source ----------------------------------------------------------------------------------------------------- */

static enum step step(struct feed *feed, int64_t now) {
    switch (feed->state) {
    case FEED_WAITING:
        return step_waiting(feed, now);
    case FEED_INIT:
        return step_init(feed, now);
    case FEED_TOPICS:
        return step_topics(feed, now);
    case FEED_READY:
        return step_ready(feed, now);
    case FEED_SENDING:
        return step_sending(feed);
    case FEED_OFFSETS:
        return step_offsets(feed, now);
    case FEED_REPORTS:
        return step_reports(feed);
    case FEED_COMMIT:
        return step_commit(feed, now);
    case FEED_GONE:
        return STEP_WAIT;
    }
    MUST(!"a state");
    return STEP_WAIT;
}

void feed_commit_turn(struct feed *feed, int64_t now) {
    if (feed->producer != NULL) {
        core_kafka_poll(feed->producer);
    }
    if (feed->is_broken && feed->producer != NULL && feed->state != FEED_GONE) {
        struct core_fail why = {0};
        enum core_kafka_txn txn = core_kafka_txn_fatal(feed->producer, &why);
        enum step done = producer_lost(feed, txn == CORE_KAFKA_TXN_OK ? CORE_KAFKA_TXN_FATAL : txn, &why);
        MUST(done == STEP_WAIT);
    }
    for (int i = 0; i < STAY_MAX && step(feed, now) == STEP_ON; i++) {
        now = core_tick_ns();
    }
}

int64_t feed_commit_due(const struct feed *feed, int64_t now) {
    switch (feed->state) {
    case FEED_WAITING:
        return feed->seq != feed->seq_back || feed->is_stopped ? INT64_MAX : feed->hold_ns;
    case FEED_INIT: /* these wait in their own calls */
    case FEED_OFFSETS:
    case FEED_COMMIT:
    case FEED_REPORTS:
        return now;
    case FEED_TOPICS:
        return feed->hold_ns > now ? feed->hold_ns : now + AGAIN_NS;
    case FEED_READY:
        return !feed->is_dirty   ? INT64_MAX
               : is_urgent(feed) ? now
                                 : feed->committed_ns + feed->env.conf->commit_interval_ns;
    default:
        return INT64_MAX;
    }
}
