/* ingest/feed_health.c: what the Kafka source tells of itself: how far it is behind in each partition, and what is wrong; and
 * which traces its batches belong to.
 *
 * Lag is counted from what is committed: what is indexed and not committed would be read again after a kill. Its age is that of
 * the oldest such record, by Kafka's timestamp; where nothing of it was read yet, it is counted from when the partition was
 * last known to be read to its end. While nothing is fetched, because there is no room, brokers are asked where partitions
 * end: else the lag of a feeder that stands still would not grow.
 *
 * Thread: the source's own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health.h"
#include "ingest/feed_internal.h"

#include <stdio.h>

#define CLIENT "feed"
#define ENDS_ASK_NS (2 * CORE_NS_PER_S)
#define ENDS_ASK_MS 200
#define COORDINATOR_NS (5 * CORE_NS_PER_S)

/* ---- lag ------------------------------------------------------------------------------------------------------------------ */

void feed_health_point(struct feed_share *share, int64_t offset, int64_t taken_ms) {
    if (share->points_len < FEED_POINTS_MAX) {
        share->points[share->points_len++] = (struct feed_point){.offset = offset, .taken_ms = feed_time_ms(taken_ms)};
    }
}

/* The offset of the first record that is not done; -1: not known, nothing was ever committed or read. */
static int64_t position_of(const struct feed_share *share) {
    return share->committed >= 0 ? share->committed : share->points_len > 0 ? share->points[0].offset : -1;
}

/* Forget what lies before the first record that is not done. */
static void points_pass(struct feed_share *share, int64_t position) {
    uint32_t passed = 0;
    while (passed + 1 < share->points_len && share->points[passed + 1].offset <= position) {
        passed++;
    }
    if (passed + 1 == share->points_len && position >= share->next) {
        passed++; /* all that was read is done */
    }
    share->points_len -= passed;
    memmove(share->points, share->points + passed, share->points_len * sizeof(*share->points));
}

static int64_t lag_since(const struct feed_share *share, int64_t lag) {
    if (lag == 0) {
        return 0;
    }
    if (share->points_len > 0) {
        return share->points[0].taken_ms > 0 ? share->points[0].taken_ms * CORE_NS_PER_MS : CORE_HEALTH_UNKNOWN;
    }
    return share->caught_up_ns > 0 ? share->caught_up_ns : CORE_HEALTH_UNKNOWN;
}

static int64_t lag_of(struct feed *feed, const struct feed_share *share, int64_t position) {
    if ((share->end >= 0 || share->is_at_end) && position == share->next) {
        return 0; /* what lies behind are marks of transactions */
    }
    return core_kafka_group_lag(feed->group, share->place, position);
}

static void share_row(struct feed *feed, struct core_health_page *page, struct feed_share *share) {
    char partition[16];
    (void)snprintf(partition, sizeof(partition), "%d", share->partition);
    const int64_t position = position_of(share);
    points_pass(share, position);
    const int64_t lag = lag_of(feed, share, position);
    share->caught_up_ns = lag == 0 ? core_now_ns() : share->caught_up_ns;
    struct core_health_row *row =
        core_health_add(page, CORE_HEALTH_CONSUMED, feed->env.conf->group, share->topic, partition);
    core_health_set(row, CORE_CONSUMED_POSITION, position < 0 ? CORE_HEALTH_UNKNOWN : position);
    if (lag >= 0 && position >= 0) {
        core_health_set(row, CORE_CONSUMED_LAG, lag);
        core_health_set(row, CORE_CONSUMED_END, position + lag);
        core_health_set(row, CORE_CONSUMED_LAG_SINCE, lag_since(share, lag));
    }
}

/* Is anything read and not committed? Then it may be that nothing is fetched. */
static bool has_backlog(const struct feed *feed) {
    for (size_t i = 0; i < feed->shares_len; i++) {
        if (feed->shares[i]->place != NULL && feed->shares[i]->points_len > 0) {
            return true;
        }
    }
    return false;
}

/* ---- what is wrong ------------------------------------------------------------------------------------------------------------ */

static const char *servers(const struct feed *feed) {
    const char *found = "";
    for (size_t i = 0; i < feed->conf.rdkafka.len; i++) {
        const char *key = feed->conf.rdkafka.items[i].key;
        if (strcmp(key, "bootstrap.servers") == 0 || strcmp(key, "metadata.broker.list") == 0) {
            found = feed->conf.rdkafka.items[i].value;
        }
    }
    return found;
}

static void complain(const struct feed *feed, struct core_health_page *page) {
    struct core_kafka_look look = {.up = -1};
    char since[21];
    if (feed->group != NULL) {
        core_kafka_group_look(feed->group, &look);
    }
    if (look.up < 0 && feed->producer != NULL) {
        core_kafka_look(feed->producer, &look);
    }
    if (look.up == 0) {
        core_health_since(look.down_since_ns, since);
        core_health_complain(page, "brokers_away", CORE_HEALTH_BROKER, CLIENT, NULL, NULL,
                             "%s (bootstrap.servers %s) since %s: %s; documents wait in their topics, nothing is lost",
                             look.is_denied ? "Kafka does not let the feeder in" : "no Kafka broker answers the feeder",
                             servers(feed), since, look.why[0] == '\0' ? "all are down" : look.why);
    } else if (feed->state == FEED_INIT && core_tick_ns() - feed->made_ns > COORDINATOR_NS) {
        core_health_complain(page, "brokers_away", CORE_HEALTH_BROKER, CLIENT, NULL, NULL,
                             "Kafka's brokers (%s) answer the feeder, but no transaction coordinator does: are there "
                             "enough brokers for transaction.state.log.replication.factor? Nothing is read until then",
                             servers(feed));
    }
}

void feed_health(struct feed *feed, struct core_health_page *page) {
    MUST(feed->magic == FEED_MAGIC);
    const int64_t now = core_tick_ns();
    if (feed->group != NULL) {
        if (now - feed->ends_asked_ns > ENDS_ASK_NS && has_backlog(feed)) {
            core_kafka_group_ends(feed->group, ENDS_ASK_MS);
            feed->ends_asked_ns = core_tick_ns();
        }
        core_kafka_group_health(feed->group, CLIENT, page);
    }
    for (size_t i = 0; i < feed->shares_len && feed->group != NULL; i++) {
        if (feed->shares[i]->place != NULL) {
            share_row(feed, page, feed->shares[i]);
        }
    }
    complain(feed, page);
}

/* ---- traces ---------------------------------------------------------------------------------------------------------------------- */

static int digit_of(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_read(const char *text, unsigned char *out, size_t len) {
    unsigned char any = 0;
    for (size_t i = 0; i < len; i++) {
        int high = digit_of(text[2 * i]);
        int low = digit_of(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (unsigned char)(high << 4 | low);
        any |= out[i];
    }
    return any != 0; /* all zeros names nothing */
}

/* W3C Trace Context: version-trace-span-flags; of later versions more may follow. */
static bool link_read(struct core_span text, struct core_link *out) {
    enum { TRACE_AT = 3, SPAN_AT = 36, FLAGS_AT = 53, LEN = 55 };
    return text.len >= LEN && text.ptr[TRACE_AT - 1] == '-' && text.ptr[SPAN_AT - 1] == '-' &&
           text.ptr[FLAGS_AT - 1] == '-' && hex_read(text.ptr + TRACE_AT, out->trace_id, sizeof(out->trace_id)) &&
           hex_read(text.ptr + SPAN_AT, out->span_id, sizeof(out->span_id));
}

void feed_link_add(struct core_batch *batch, struct core_span traceparent) {
    struct core_link link;
    if (traceparent.len == 0 || batch->links_len == CORE_LINKS_MAX || !link_read(traceparent, &link)) {
        return;
    }
    for (uint32_t i = batch->links_len; i > 0; i--) { /* the last one first: neighbours are of one batch */
        if (memcmp(&batch->links[i - 1], &link, sizeof(link)) == 0) {
            return;
        }
    }
    if (batch->links == NULL) {
        batch->links = core_arena_alloc(&batch->arena, CORE_LINKS_MAX * sizeof(*batch->links));
        MUST(batch->links != NULL); /* a batch has room for what it takes */
    }
    batch->links[batch->links_len++] = link;
}
