/* ingest/feed_rest.c: with --once: what other members of the group have not done.
 *
 * "Read to the ends" is said of the topics, not of what the group happened to give us: another feeder may have been killed a
 * moment ago, and its partitions are its own until its session is over; or the group gives a newcomer nothing at first. So when
 * our own partitions are done with, those of the others are asked about, until their committed offsets have reached the ends,
 * too, or the group has given them to us. A transaction leaves marks behind its last record, which nobody commits: whether what lies
 * between is a record is found by reading it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/feed_internal.h"

#include "core/kafka_read.h"

#include <stdlib.h>

#define ASK_MS 1000
#define READ_MS 200
#define AGAIN_NS (CORE_NS_PER_S / 2)
#define SAY_NS (10 * CORE_NS_PER_S)

void feed_rest_forget(struct feed *feed) {
    struct feed_rest *rest = &feed->rest;
    core_kafka_seen_free(rest->seen, rest->seen_len);
    free(rest->places);
    free(rest->bounds);
    *rest = (struct feed_rest){.next_ns = rest->next_ns, .said_ns = rest->said_ns};
}

/* Which partitions there are, and where they end. */
static enum core_err look(struct feed *feed, struct core_fail *fail) {
    struct feed_rest *rest = &feed->rest;
    size_t cap = 0;
    enum core_err err = core_kafka_reader_topics(feed->reader, ASK_MS, &rest->seen, &rest->seen_len, fail);
    for (size_t i = 0; err == CORE_OK && i < rest->seen_len; i++) {
        cap += (size_t)rest->seen[i].partitions;
    }
    rest->places = calloc(cap + 1, sizeof(*rest->places));
    rest->bounds = calloc(cap + 1, sizeof(*rest->bounds));
    MUST(rest->places != NULL);
    MUST(rest->bounds != NULL);
    for (size_t i = 0; err == CORE_OK && i < rest->seen_len; i++) {
        for (int k = 0; k < rest->seen[i].partitions && feed_wants_topic(feed->env.conf, rest->seen[i].name); k++) {
            rest->places[rest->len++] = (struct core_kafka_place){.topic = rest->seen[i].name, .partition = k};
        }
    }
    if (err == CORE_OK) {
        err = core_kafka_reader_bounds(feed->reader, rest->places, rest->len, ASK_MS, rest->bounds, fail);
    }
    return err;
}

static bool is_ours(const struct feed *feed, const struct core_kafka_place *place) {
    for (size_t i = 0; i < feed->shares_len; i++) {
        const struct feed_share *share = feed->shares[i];
        if (share->place != NULL && share->partition == place->partition && strcmp(share->topic, place->topic) == 0) {
            return true;
        }
    }
    return false;
}

/* Those of others that have something behind the group's offset and before their end; their ends, in the same order. */
static enum core_err behind(struct feed *feed, struct core_kafka_place *places, int64_t *ends, size_t *len,
                            struct core_fail *fail) {
    const struct feed_rest *rest = &feed->rest;
    int64_t *offsets = calloc(rest->len + 1, sizeof(*offsets));
    MUST(offsets != NULL);
    size_t asked = 0;
    for (size_t i = 0; i < rest->len; i++) {
        if (!is_ours(feed, &rest->places[i]) && rest->bounds[i].low < rest->bounds[i].high) {
            places[asked] = rest->places[i];
            ends[asked++] = rest->bounds[i].high;
        }
    }
    enum core_err err = core_kafka_reader_committed(feed->reader, places, asked, ASK_MS, offsets, fail);
    for (size_t i = 0; err == CORE_OK && i < asked; i++) {
        if (offsets[i] < ends[i]) {
            places[*len] = places[i];
            places[*len].offset = offsets[i];
            ends[(*len)++] = ends[i];
        }
    }
    free(offsets);
    return err;
}

/* Is there a record in one of them? CORE_GONE: none. */
static enum core_err record_find(struct feed *feed, const struct core_kafka_place *places, const int64_t *ends,
                                 size_t len, struct core_fail *fail) {
    struct core_kafka_got got;
    enum core_err err = core_kafka_reader_assign(feed->reader, places, len, false, ASK_MS, fail);
    if (err != CORE_OK) {
        return err;
    }
    do {
        err = core_kafka_reader_next(feed->reader, READ_MS, &got, fail);
    } while (err == CORE_OK && got.offset >= ends[got.place]);
    if (err == CORE_AGAIN) { /* not known yet: as if there were one */
        return CORE_OK;
    }
    return err;
}

void feed_rest_turn(struct feed *feed, int64_t now) {
    struct feed_rest *rest = &feed->rest;
    struct core_fail fail;
    if (rest->is_done || now < rest->next_ns) {
        return;
    }
    enum core_err err = feed_reader(feed, &fail);
    if (err == CORE_OK && rest->places == NULL) {
        err = look(feed, &fail);
    }
    struct core_kafka_place *places = calloc(rest->len + 1, sizeof(*places));
    int64_t *ends = calloc(rest->len + 1, sizeof(*ends));
    MUST(places != NULL);
    MUST(ends != NULL);
    size_t len = 0;
    if (err == CORE_OK) {
        err = behind(feed, places, ends, &len, &fail);
    }
    if (err == CORE_OK) {
        err = len == 0 ? CORE_GONE : record_find(feed, places, ends, len, &fail);
    }
    rest->is_done = err == CORE_GONE;
    rest->next_ns = core_tick_ns() + AGAIN_NS;
    if (err == CORE_OK && now - rest->said_ns >= SAY_NS) {
        rest->said_ns = now;
        core_log(
            CORE_LEVEL_INFO, "feed",
            "all that this feeder was given is done; partitions of others in the group are not, and are waited for",
            "group=%s partitions=%zu first=%s/%d", feed->env.conf->group, len, places[0].topic, places[0].partition);
    } else if (err != CORE_OK && err != CORE_GONE) {
        if (now - rest->said_ns >= SAY_NS) {
            rest->said_ns = now;
            core_log_fail(CORE_LEVEL_WARN, "feed", "what others of the group have done is not known yet; asked again",
                          &fail);
        }
        feed_rest_forget(feed); /* a topic may be gone: all is asked anew */
    }
    free(places);
    free(ends);
}
