/* ingest/feed_health.c: what the Kafka source tells of itself: how far it is behind in each partition, and what is wrong.
 *
 * Lag is counted from what is committed: what is indexed and not committed would be read again after a kill. Its age is that of
 * the oldest such record, by Kafka's timestamp; where nothing of it was read yet, it is counted from when the partition was
 * last known to be read to its end.
 *
 * Thread: the source's own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health.h"
#include "ingest/feed_internal.h"

#include <stdio.h>

static void share_row(struct feed *feed, struct core_health_page *page, const struct feed_share *share) {
    char partition[16];
    (void)snprintf(partition, sizeof(partition), "%d", share->partition);
    struct core_health_row *row =
        core_health_add(page, CORE_HEALTH_CONSUMED, feed->env.conf->group, share->topic, partition);
    const int64_t lag = feed_share_lag(feed, share);
    core_health_set(row, CORE_CONSUMED_POSITION, share->committed < 0 ? CORE_HEALTH_UNKNOWN : share->committed);
    core_health_set(row, CORE_CONSUMED_LAG, lag < 0 ? CORE_HEALTH_UNKNOWN : lag);
    core_health_set(row, CORE_CONSUMED_END,
                    lag < 0 || share->committed < 0 ? CORE_HEALTH_UNKNOWN : share->committed + lag);
}

void feed_health(struct feed *feed, struct core_health_page *page) {
    MUST(feed->magic == FEED_MAGIC);
    for (size_t i = 0; i < feed->shares_len && feed->group != NULL; i++) {
        if (feed->shares[i]->place != NULL) {
            share_row(feed, page, feed->shares[i]);
        }
    }
}
