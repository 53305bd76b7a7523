/* ingest/feed_share.c: the partitions that the group gives and takes, and where they end for --once.
 *
 * A partition that is to be given up is held for as long as its batches need to come back and to be committed, but for
 * GIVE_UP_NS at most, since the others wait: who gets it then reads from what was committed, and our late batches do not
 * count. With --once each partition has an end that is asked for when it is gained; the group's word that nothing more is there is
 * as good, and needed where the marks of transactions lie behind the last record.
 *
 * Thread: the source's own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/feed_internal.h"

#include "core/kafka_read.h"

#include <stdlib.h>

#define GIVE_UP_NS (5 * CORE_NS_PER_S)
#define ENDS_MS 1000
#define ENDS_AGAIN_NS CORE_NS_PER_S
#define SECONDS_PER_DAY 86400

/* ---- gained -------------------------------------------------------------------------------------------------------------- */

static void share_add(struct feed *feed, struct core_kafka_share *place) {
    struct feed_share *share = calloc(1, sizeof(*share));
    struct feed_share **shares = realloc(feed->shares, (feed->shares_len + 1) * sizeof(struct feed_share *));
    MUST(share != NULL);
    MUST(shares != NULL);
    *share = (struct feed_share){.magic = FEED_SHARE_MAGIC,
                                 .place = place,
                                 .topic = strdup(place->topic),
                                 .partition = place->partition,
                                 .next = place->offset,
                                 .done = place->offset,
                                 .sent = place->offset,
                                 .committed = place->offset,
                                 .end = -1,
                                 .once_end = -1};
    MUST(share->topic != NULL);
    share->is_dead_letters = strcmp(share->topic, feed->env.conf->dead_letter_topic) == 0;
    if (place->offset >= 0) {
        feed_ledger_begin(share, place->offset, core_now_ns() / CORE_NS_PER_S / SECONDS_PER_DAY);
    }
    place->owner = share;
    feed->shares = shares;
    feed->shares[feed->shares_len++] = share;
}

void feed_shares_gained(struct feed *feed, struct core_kafka_share *const *places, size_t len) {
    for (size_t i = 0; i < len; i++) {
        share_add(feed, places[i]);
    }
    feed->has_joined = true;
    feed->ends_next_ns = 0;
    feed->rest.is_done = false;
    if (len > 0 || feed->shares_len == 0) {
        core_log(CORE_LEVEL_INFO, "feed", len > 0 ? "partitions gained" : "no partition is left for this feeder",
                 "group=%s gained=%zu first=%s", feed->env.conf->group, len, len > 0 ? places[0]->topic : "-");
    }
}

/* ---- given up ------------------------------------------------------------------------------------------------------------ */

static void share_free(struct feed_share *share) {
    feed_ledger_forget(share);
    share->magic = 0;
    free(share->topic);
    free(share);
}

void feed_share_settle(struct feed *feed, struct feed_share *share) {
    if (share->place != NULL || share->under_way > 0) {
        return;
    }
    for (size_t i = 0; i < feed->shares_len; i++) {
        if (feed->shares[i] == share) {
            feed->shares[i] = feed->shares[--feed->shares_len];
            share_free(share);
            return;
        }
    }
    MUST(!"a share of the feed's");
}

void feed_shares_forget(struct feed *feed) {
    for (size_t i = 0; i < feed->shares_len; i++) {
        share_free(feed->shares[i]);
    }
    free(feed->shares);
    feed->shares = NULL;
    feed->shares_len = 0;
    feed->has_joined = false;
    feed->losing_ns = 0;
}

void feed_shares_losing(struct feed *feed, struct core_kafka_share *const *places, size_t len) {
    for (size_t i = 0; i < len; i++) {
        struct feed_share *share = places[i]->owner;
        MUST(share != NULL && share->magic == FEED_SHARE_MAGIC);
        share->is_losing = true;
    }
    feed_fill_push(feed);
    feed->losing_ns = core_tick_ns();
    feed->losing_seq = feed->seq;
    core_log(CORE_LEVEL_INFO, "feed", "partitions go to another feeder; what is under way of them is committed first",
             "group=%s partitions=%zu batches=%llu", feed->env.conf->group, len,
             (unsigned long long)(feed->seq - feed->seq_back));
}

/* Dead letters of what was not committed: who has the partition now writes them. */
static void deads_forget(struct feed_deads *list, const struct feed_share *share) {
    struct feed_deads kept = {0};
    struct feed_dead *next;
    for (struct feed_dead *dead = list->head; dead != NULL; dead = next) {
        next = dead->next;
        dead->next = NULL;
        if (dead->partition == share->partition && strcmp(dead->topic, share->topic) == 0) {
            continue;
        }
        if (kept.tail != NULL) {
            kept.tail->next = dead;
        } else {
            kept.head = dead;
        }
        kept.tail = dead;
    }
    *list = kept;
}

static void losing_release(struct feed *feed) {
    MUST(!feed_commit_is_open(feed));
    for (size_t i = feed->shares_len; i > 0; i--) { /* from the end: one that is freed is replaced by the last */
        struct feed_share *share = feed->shares[i - 1];
        if (!share->is_losing) {
            continue;
        }
        share->is_losing = false;
        share->place = NULL;
        deads_forget(&feed->deads, share);
        feed_ledger_forget(share);
        feed_share_settle(feed, share);
    }
    feed->losing_ns = 0;
    core_kafka_group_release(feed->group);
}

static bool is_committed(const struct feed *feed) {
    for (size_t i = 0; i < feed->shares_len; i++) {
        const struct feed_share *share = feed->shares[i];
        if (share->is_losing && share->done != share->committed) {
            return false;
        }
    }
    return true;
}

static void losing_turn(struct feed *feed, int64_t now) {
    const bool is_late = now - feed->losing_ns > GIVE_UP_NS;
    const bool is_all = feed->seq_back >= feed->losing_seq && is_committed(feed);
    if (feed->losing_ns == 0 || !(is_all || is_late)) {
        return;
    }
    if (!feed_commit_is_open(feed)) {
        if (!is_all) {
            core_log(CORE_LEVEL_INFO, "feed",
                     "partitions go to another feeder before all of them is committed; it sends the rest again, which "
                     "the engine knows by its id",
                     "group=%s batches=%llu", feed->env.conf->group, (unsigned long long)(feed->seq - feed->seq_back));
        }
        losing_release(feed);
    } else if (now - feed->losing_ns > 2 * GIVE_UP_NS) {
        const struct core_fail why = {.text = "a commit was not answered while partitions were to be given up"};
        feed_forget(feed, "partitions given up without a commit; who has them reads on where the last one was", &why);
    }
}

/* ---- the ends, for --once ------------------------------------------------------------------------------------------------ */

bool feed_shares_at_end(const struct feed *feed) {
    if (!feed->has_joined) {
        return false;
    }
    for (size_t i = 0; i < feed->shares_len; i++) {
        if (feed->shares[i]->place != NULL && !feed->shares[i]->is_at_end) {
            return false;
        }
    }
    return true;
}

static size_t ends_wanted(const struct feed *feed, struct core_kafka_place *places, struct feed_share **shares) {
    size_t len = 0;
    for (size_t i = 0; i < feed->shares_len; i++) {
        struct feed_share *share = feed->shares[i];
        if (share->place != NULL && share->once_end < 0 && !share->is_at_end) {
            places[len] = (struct core_kafka_place){.topic = share->topic, .partition = share->partition};
            shares[len++] = share;
        }
    }
    return len;
}

enum core_err feed_reader(struct feed *feed, struct core_fail *fail) {
    if (feed->reader != NULL) {
        return CORE_OK;
    }
    struct feed_pairs pairs;
    feed_pairs_of_group(feed->env.conf, &pairs);
    pairs.pairs[pairs.len++] = (struct core_kafka_pair){"group.id", feed->env.conf->group};
    enum core_err err = core_kafka_reader_open(&feed->reader, pairs.pairs, pairs.len, fail);
    feed_pairs_release(&pairs);
    return err;
}

/* Waits for an answer: nothing else is to be done before the ends are known that costs more than a second's delay. */
static void ends_ask(struct feed *feed, int64_t now) {
    struct core_fail fail;
    struct core_kafka_place *places = calloc(feed->shares_len + 1, sizeof(*places));
    struct feed_share **shares = calloc(feed->shares_len + 1, sizeof(struct feed_share *));
    struct core_kafka_bounds *bounds = calloc(feed->shares_len + 1, sizeof(*bounds));
    MUST(places != NULL);
    MUST(shares != NULL);
    MUST(bounds != NULL);
    size_t len = ends_wanted(feed, places, shares);
    enum core_err err = CORE_OK;
    feed->ends_next_ns = now + ENDS_AGAIN_NS;
    if (len > 0) {
        err = feed_reader(feed, &fail);
    }
    if (len > 0 && err == CORE_OK) {
        err = core_kafka_reader_bounds(feed->reader, places, len, ENDS_MS, bounds, &fail);
    }
    for (size_t i = 0; i < len && err == CORE_OK; i++) {
        shares[i]->once_end = bounds[i].high;
        shares[i]->is_at_end = bounds[i].low == bounds[i].high || shares[i]->next >= bounds[i].high;
    }
    if (err != CORE_OK) {
        core_log_fail(CORE_LEVEL_WARN, "feed", "where partitions end is not known yet; asked again", &fail);
    }
    free(places);
    free(shares);
    free(bounds);
}

void feed_share_ended(struct feed *feed, const struct core_kafka_taken *taken) {
    struct feed_share *share = taken->share->owner;
    MUST(share != NULL && share->magic == FEED_SHARE_MAGIC);
    share->end = taken->offset;
    /* It may have been said before a dead letter of ours could be seen. */
    share->is_at_end = share->is_at_end || (feed->is_once && share->end >= share->letters_end);
}

/* Reading ends behind the letter, not at the group's next word that nothing more is there: that may have come already, since
 * a letter can be read before its commit is answered; and one from before the letter may still come. Where something was
 * left out, what lies behind it is the next run's, or its offset would be committed over what nobody has read; and so is a
 * letter of which is not known where it lies. */
void feed_shares_more_dead(struct feed *feed, int partition, int64_t offset) {
    for (size_t i = 0; feed->is_once && offset >= 0 && i < feed->shares_len; i++) {
        struct feed_share *share = feed->shares[i];
        if (!share->is_dead_letters || share->partition != partition || share->has_left_out ||
            share->letters_end > offset) {
            continue;
        }
        share->letters_end = offset + 1;
        share->once_end = share->once_end > offset ? share->once_end : offset + 1;
        share->is_at_end = share->is_at_end && (share->next > offset || share->end > offset);
    }
}

/* A record's dead letter is committed together with the offset behind it. */
bool feed_shares_may_die(const struct feed *feed) {
    for (size_t i = 0; i < feed->shares_len; i++) {
        const struct feed_share *share = feed->shares[i];
        if (share->place != NULL && !share->is_dead_letters && (!share->is_at_end || share->committed != share->next)) {
            return true;
        }
    }
    return false;
}

void feed_shares_turn(struct feed *feed, int64_t now) {
    losing_turn(feed, now);
    if (feed->is_once && !feed->is_stopped && feed->group != NULL && feed->has_joined && now >= feed->ends_next_ns) {
        ends_ask(feed, now);
    }
}

int64_t feed_share_lag(struct feed *feed, const struct feed_share *share) {
    if (share->place == NULL) {
        return 0;
    }
    if ((share->end >= 0 || share->is_at_end) && share->committed == share->next) {
        return 0; /* what lies behind are marks of transactions, or no business of --once */
    }
    return core_kafka_group_lag(feed->group, share->place, share->committed);
}
