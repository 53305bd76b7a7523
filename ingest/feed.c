/* ingest/feed.c: the source that reads documents from Kafka: its life and its turns.
 *
 * One thread, one consumer of the group, one transactional producer. A turn takes back what the sinks are done with
 * (feed_back.c), moves the commits on (feed_commit.c), takes what the group has (feed_share.c) and fills batches
 * (feed_fill.c). Order: batches come back as they were handed on, so the offsets of each partition only grow, and behind a
 * committed one nothing is done that counts.
 *
 * What a crash leaves: offsets, dead letters and rows of the ledger as of the last commit; documents indexed since then are
 * read again and are repeats, by their ids. The search engine's part of the promise is an index that does not depend on
 * when a document is tried (sinks/elastic.c).
 *
 * No batch left to fill is the back-pressure: nothing is taken from the group, whose own buffer fills up, and brokers
 * are asked for no more. The group is asked for news all the same, or it would give our partitions away.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/feed_internal.h"

#include "core/kafka_read.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define NEWS_MAX 8192 /* of one turn: then batches are taken back */
#define GENERIC "generic"

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

static void sides_make(struct feed *feed) {
    const uint32_t len = feed->env.pool->len;
    feed->sides = calloc(len, sizeof(*feed->sides));
    MUST(feed->sides != NULL);
    for (uint32_t i = 0; i < len; i++) {
        feed->sides[i].notes = calloc(CORE_BATCH_LINES_MAX, sizeof(struct feed_note));
        feed->sides[i].marks = calloc(CORE_BATCH_LINES_MAX, sizeof(struct feed_mark));
        MUST(feed->sides[i].notes != NULL);
        MUST(feed->sides[i].marks != NULL);
    }
}

enum core_err feed_open(struct feed **out, const struct feed_env *env, struct core_fail *fail CORE_UNUSED) {
    MUST(env->conf != NULL && env->pool != NULL && env->bell != NULL);
    struct feed *feed = calloc(1, sizeof(*feed));
    MUST(feed != NULL);
    *feed = (struct feed){.magic = FEED_MAGIC, .env = *env, .state = FEED_WAITING, .epoch = 1};
    feed->conf = *env->conf;
    feed->env.conf = &feed->conf;
    feed->stream = (struct core_stream){.magic = CORE_STREAM_MAGIC, .path = "kafka", .origin = &feed->origin};
    feed->origin = (struct core_origin){.type = CORE_ORIGIN_TAPLINE};
    feed->raw_bytes_max = FEED_RAW_BYTES_MAX;
    feed->scratch = malloc(FEED_SCRATCH_BYTES);
    feed->datasets = calloc(FEED_NAMES_MAX, sizeof(*feed->datasets));
    MUST(feed->scratch != NULL);
    MUST(feed->datasets != NULL);
    sides_make(feed);
    MUST(feed_dataset(feed, CORE_SPAN(GENERIC)) == feed->datasets);
    *out = feed;
    return CORE_OK;
}

void feed_close(struct feed *feed) {
    if (feed == NULL) {
        return;
    }
    MUST(feed->magic == FEED_MAGIC);
    core_kafka_group_close(feed->group);
    core_kafka_close(feed->producer);
    core_kafka_reader_close(feed->reader);
    feed_pairs_release(&feed->producer_pairs);
    feed_shares_forget(feed);
    feed_rest_forget(feed);
    for (uint32_t i = 0; i < feed->env.pool->len; i++) {
        free(feed->sides[i].notes);
        free(feed->sides[i].marks);
    }
    for (size_t i = 0; i < feed->datasets_len; i++) {
        free((void *)(uintptr_t)feed->datasets[i].name);
    }
    free(feed->sides);
    free(feed->datasets);
    free(feed->scratch);
    feed->magic = 0;
    free(feed);
}

void feed_set_once(struct feed *feed) {
    MUST(feed->magic == FEED_MAGIC);
    MUST(feed->state == FEED_WAITING);
    feed->is_once = true;
}

void feed_stop(struct feed *feed) {
    MUST(feed->magic == FEED_MAGIC);
    feed->is_stopped = true;
    feed_fill_drop(feed); /* nobody has seen it: it is read again */
}

/* Something was done that the next transaction is for, or one is open. */
static bool is_commit_owed(const struct feed *feed) {
    return feed->is_dirty || feed_commit_is_open(feed);
}

/* With once: what the group has given us is read, back and committed. */
static bool is_own_done(const struct feed *feed) {
    return feed->is_once && feed->state == FEED_READY && feed->filling_records == 0 && feed->seq == feed->seq_back &&
           !is_commit_owed(feed) && feed->losing_ns == 0 && feed_shares_at_end(feed);
}

bool feed_is_drained(const struct feed *feed) {
    MUST(feed->magic == FEED_MAGIC);
    return is_own_done(feed) && feed->rest.is_done;
}

uint64_t feed_outstanding(const struct feed *feed) {
    MUST(feed->magic == FEED_MAGIC);
    return feed->seq - feed->seq_back + (is_commit_owed(feed) ? 1 : 0);
}

/* ---- the group ----------------------------------------------------------------------------------------------------------- */

static void trouble_take(struct feed *feed, const struct core_kafka_news *news) {
    struct core_fail why = {0};
    (void)core_fail_set(&why, CORE_NET, "feed", "%s", news->text);
    if (news->is_refused) {
        feed_gone(
            feed,
            core_fail_set(
                &feed->fail, CORE_BAD, "feed",
                "the brokers refuse to let group %s read: %s. They must let this user read the group and its topics",
                feed->env.conf->group, news->text));
    } else if (news->is_fatal) {
        feed_forget(feed, "the consumer failed; the group is joined anew, and nothing is lost or doubled", &why);
    } else {
        feed_trouble(feed, news->text);
    }
}

/* What came. The group may be gone afterwards. */
static enum core_kafka_came news_take(struct feed *feed) {
    struct core_kafka_news news;
    core_kafka_group_next(feed->group, 0, &news);
    switch (news.came) {
    case CORE_KAFKA_CAME_NOTHING:
        break;
    case CORE_KAFKA_CAME_RECORD:
        feed_fill_record(feed, &news.taken);
        break;
    case CORE_KAFKA_CAME_END:
        feed_share_ended(feed, &news.taken);
        break;
    case CORE_KAFKA_CAME_GAINED:
        feed_trouble_over(feed);
        feed_shares_gained(feed, news.shares, news.shares_len);
        break;
    case CORE_KAFKA_CAME_LOSING:
        feed_shares_losing(feed, news.shares, news.shares_len);
        break;
    case CORE_KAFKA_CAME_LOST: {
        const struct core_fail why = {.text = "this feeder was away for too long, or the brokers were"};
        feed_forget(feed, "partitions are another feeder's already; what was not committed is read again there", &why);
        break;
    }
    case CORE_KAFKA_CAME_TROUBLE:
        trouble_take(feed, &news);
        break;
    }
    return news.came;
}

/* A batch with room before each record that may come; without one only the group's own news are taken. Trouble may have taken
 * half a second to come (what is gained is asked about), and may come again at once: the turn ends with it, so that all else
 * goes on. */
static bool group_turn(struct feed *feed) {
    bool did = false;
    for (int i = 0; i < NEWS_MAX && feed->group != NULL && feed->state != FEED_GONE; i++) {
        bool is_full = feed->is_stopped || !feed_fill_has_room(feed);
        if (is_full != feed->is_paused) {
            core_kafka_group_pause(feed->group, is_full);
            feed->is_paused = is_full;
        }
        enum core_kafka_came came = news_take(feed);
        did = did || came != CORE_KAFKA_CAME_NOTHING;
        if (came == CORE_KAFKA_CAME_NOTHING || came == CORE_KAFKA_CAME_TROUBLE) {
            break;
        }
    }
    return did;
}

/* ---- a turn -------------------------------------------------------------------------------------------------------------- */

static int wait_ms(const struct feed *feed, int timeout_ms) {
    const int64_t now = core_tick_ns();
    int64_t until = now + (int64_t)timeout_ms * CORE_NS_PER_MS;
    const int64_t dues[] = {
        feed_commit_due(feed, now),
        feed_fill_due(feed),
        feed->losing_ns != 0 ? now + FEED_LOSING_LOOK_NS : INT64_MAX,
        feed->is_once && !feed->is_stopped && feed->has_joined ? feed->ends_next_ns : INT64_MAX,
        is_own_done(feed) && !feed->is_stopped ? feed->rest.next_ns : INT64_MAX,
    };
    for (size_t i = 0; i < sizeof(dues) / sizeof(dues[0]); i++) {
        until = dues[i] < until ? dues[i] : until;
    }
    return until <= now ? 0 : (int)((until - now + CORE_NS_PER_MS - 1) / CORE_NS_PER_MS);
}

static void wait_for_work(struct feed *feed, int timeout_ms) {
    struct core_bell *bell = feed->env.bell;
    struct pollfd fds[] = {
        {.fd = bell->fd, .events = POLLIN},
        {.fd = feed->group != NULL ? core_kafka_group_fd(feed->group) : -1, .events = POLLIN},
        {.fd = feed->producer != NULL ? core_kafka_fd(feed->producer) : -1, .events = POLLIN},
    };
    core_bell_arm(bell);
    if (feed->state == FEED_SENDING || !feed_back_take(feed)) {
        int ready = poll(fds, sizeof(fds) / sizeof(fds[0]), wait_ms(feed, timeout_ms));
        MUST(ready >= 0 || errno == EINTR);
    }
    core_bell_disarm(bell);
}

enum core_err feed_turn(struct feed *feed, int timeout_ms, struct core_fail *fail) {
    MUST(feed->magic == FEED_MAGIC);
    bool did = feed->state != FEED_SENDING && feed_back_take(feed);
    feed_commit_turn(feed, core_tick_ns());
    if (feed->group != NULL) {
        did = group_turn(feed) || did;
    }
    feed_shares_turn(feed, core_tick_ns());
    if (is_own_done(feed) && !feed->is_stopped) {
        feed_rest_turn(feed, core_tick_ns());
    }
    if (feed_fill_due(feed) <= core_tick_ns()) {
        feed_fill_push(feed);
    }
    if (feed->state == FEED_GONE) {
        *fail = feed->fail;
        return feed->fail.err;
    }
    if (!did && timeout_ms > 0 && !feed_is_drained(feed)) {
        wait_for_work(feed, timeout_ms);
    }
    return CORE_OK;
}

/* ---- telling ------------------------------------------------------------------------------------------------------------- */

void feed_log(struct feed *feed) {
    MUST(feed->magic == FEED_MAGIC);
    for (size_t i = 0; i < feed->shares_len && feed->group != NULL; i++) {
        const struct feed_share *share = feed->shares[i];
        char heading[320]; /* one each: the log folds what looks the same */
        (void)snprintf(heading, sizeof(heading), "partition %s/%d", share->topic, share->partition);
        core_log(CORE_LEVEL_INFO, "feed", heading, "committed=%lld lag=%lld batches=%u", (long long)share->committed,
                 (long long)feed_share_lag(feed, share), share->under_way);
    }
}

static int by_count(const void *a, const void *b) {
    const struct feed_count *left = a;
    const struct feed_count *right = b;
    if (left->count != right->count) {
        return left->count > right->count ? -1 : 1;
    }
    return strcmp(left->name, right->name);
}

void feed_summarize(struct feed *feed, struct feed_summary *out) {
    MUST(feed->magic == FEED_MAGIC);
    *out = (struct feed_summary){.indexed = feed->committed.indexed,
                                 .repeated = feed->committed.repeated,
                                 .dead = feed->committed.dead,
                                 .lag = feed->group == NULL ? -1 : 0};
    for (size_t i = 0; i < feed->shares_len; i++) {
        int64_t lag = feed->group == NULL ? -1 : feed_share_lag(feed, feed->shares[i]);
        out->lag = lag < 0 || out->lag < 0 ? -1 : out->lag + lag;
        out->shares_len += feed->shares[i]->place != NULL ? 1 : 0;
    }
    memcpy(out->reasons, feed->reasons, sizeof(out->reasons));
    out->reasons_len = feed->reasons_len + (feed->reasons[FEED_REASONS_MAX].count > 0 ? 1 : 0);
    for (size_t i = 0; i < feed->datasets_len; i++) {
        if (feed->datasets[i].taken_committed == 0) {
            continue;
        }
        size_t at = out->datasets_len < FEED_DATASETS_MAX ? out->datasets_len++ : FEED_DATASETS_MAX;
        const char *name = at < FEED_DATASETS_MAX ? feed->datasets[i].name : "(others)";
        (void)snprintf(out->datasets[at].name, sizeof(out->datasets[at].name), "%s", name);
        out->datasets[at].count += feed->datasets[i].taken_committed;
    }
    qsort(out->datasets, out->datasets_len, sizeof(out->datasets[0]), by_count);
    qsort(out->reasons, feed->reasons_len, sizeof(out->reasons[0]), by_count);
    out->datasets_len += out->datasets[FEED_DATASETS_MAX].count > 0 ? 1 : 0;
}
