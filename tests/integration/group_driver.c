/* tests/integration/group_driver.c: a member of a consumer group that copies records to another topic, exactly once, for
 * test_kafka_group.py: the test kills it, stops it, starts others beside it, and counts the copies.
 *
 *   group_driver SERVERS GROUP TXN_ID OUT TOPIC… [key=value…]
 *
 * Each 200 ms a transaction: a copy of each record that came ("TOPIC/PARTITION/OFFSET" is its value, the record's header its
 * header), and the offsets. What it lives through is told on stdout, a line each. Ends at SIGTERM, or when stdin ends.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_group.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define SHARES_MAX 256
#define PAIRS_MAX 32
#define COMMIT_EACH_NS (200 * CORE_NS_PER_MS)
#define CALL_MS 10000

static volatile sig_atomic_t is_over;

static void on_term(int number) {
    (void)number;
    is_over = 1;
}

static struct {
    struct core_kafka_pair pairs[PAIRS_MAX];
    size_t pairs_len;
    const char *topics[PAIRS_MAX];
    size_t topics_len;
    const char *group;
    const char *out;
    struct core_kafka *kafka;
    struct core_kafka_topic *topic;
    struct core_kafka_group *consumer;
    struct core_kafka_done done[SHARES_MAX];
    size_t done_len;
    uint64_t open; /* records sent, not reported */
    bool is_begun;
    bool is_failed;
    int64_t slow_ms;        /* after each record */
    int64_t commit_wait_ms; /* between the offsets and the commit: for a kill */
} now;

static void on_report(void *ctx, uint64_t ticket, enum core_kafka_fate fate, int code, int64_t offset) {
    (void)ctx, (void)ticket, (void)code, (void)offset;
    now.open--;
    now.is_failed = now.is_failed || fate != CORE_KAFKA_ACCEPTED;
}

static void on_made(void *ctx, struct core_kafka_topic *topic, enum core_kafka_made made, const char *text) {
    (void)ctx, (void)topic, (void)made, (void)text;
}

static void on_trouble(void *ctx, bool is_fatal, const char *text) {
    (void)ctx;
    printf("producer%s %s\n", is_fatal ? " fatal" : "", text);
}

static const struct core_kafka_calls calls = {on_report, on_made, on_trouble};

static void die(const char *what, const struct core_fail *fail) {
    printf("died %s: %s: %s\n", what, fail->where, fail->text);
    exit(1);
}

static void begin(void) {
    struct core_fail fail;
    if (!now.is_begun && core_kafka_txn_begin(now.kafka, &fail) != CORE_KAFKA_TXN_OK) {
        die("begin", &fail);
    }
    now.is_begun = true;
}

static void join(void) {
    struct core_fail fail = {0};
    const struct core_kafka_group_conf conf = {.pairs = now.pairs,
                                               .pairs_len = now.pairs_len,
                                               .group = now.group,
                                               .topics = now.topics,
                                               .topics_len = now.topics_len,
                                               .queued_bytes = 16 * CORE_MIB};
    if (core_kafka_open(&now.kafka, now.pairs, now.pairs_len, &calls, NULL, &fail) != CORE_OK) {
        die("producer", &fail);
    }
    now.topic = core_kafka_topic_open(now.kafka, now.out, NULL);
    enum core_kafka_txn txn;
    while ((txn = core_kafka_txn_init(now.kafka, CALL_MS, &fail)) == CORE_KAFKA_TXN_AGAIN) {
        core_kafka_poll(now.kafka);
    }
    if (txn != CORE_KAFKA_TXN_OK) {
        die("init", &fail);
    }
    if (core_kafka_group_open(&now.consumer, &conf, &fail) != CORE_OK) {
        die("group", &fail);
    }
    printf("joined\n");
}

/* Forget all, begin anew. */
static void rejoin(const char *why) {
    printf("anew %s\n", why);
    core_kafka_close(now.kafka);
    core_kafka_group_close(now.consumer);
    now.done_len = 0;
    now.open = 0;
    now.is_begun = now.is_failed = false;
    join();
}

static bool commit(void) {
    struct core_fail fail = {0};
    enum core_kafka_txn txn = CORE_KAFKA_TXN_AGAIN;
    if (!now.is_begun) {
        return true;
    }
    while (now.open > 0) {
        core_kafka_poll(now.kafka);
        core_kafka_hurry(now.kafka, 10);
    }
    for (int i = 0; i < 10 && txn == CORE_KAFKA_TXN_AGAIN && !now.is_failed; i++) {
        txn = core_kafka_txn_offsets(now.kafka, now.consumer, now.done, now.done_len, CALL_MS, &fail);
    }
    if (txn == CORE_KAFKA_TXN_OK) {
        printf("holds\n");
        poll(NULL, 0, (int)now.commit_wait_ms);
        do {
            core_kafka_poll(now.kafka);
            txn = core_kafka_txn_commit(now.kafka, CALL_MS, &fail);
        } while (txn == CORE_KAFKA_TXN_AGAIN);
    }
    if (txn != CORE_KAFKA_TXN_OK) {
        printf("not committed (%d) %s\n", (int)txn, fail.text);
        return false;
    }
    printf("committed\n");
    now.is_begun = false;
    now.done_len = 0;
    return true;
}

static void done_add(const struct core_kafka_share *share, int64_t offset) {
    size_t i = 0;
    while (i < now.done_len && now.done[i].share != share) {
        i++;
    }
    MUST(i < SHARES_MAX);
    now.done_len = i == now.done_len ? i + 1 : now.done_len;
    now.done[i] = (struct core_kafka_done){share, offset};
}

static void copy(const struct core_kafka_taken *taken) {
    char value[300];
    int code = 0;
    int len =
        snprintf(value, sizeof value, "%s/%d/%" PRId64, taken->share->topic, taken->share->partition, taken->offset);
    const struct core_kafka_record record = {.value = {.ptr = value, .len = (size_t)len},
                                             .key = taken->key,
                                             .header_name = "tapline",
                                             .header = taken->header,
                                             .is_copied = true};
    begin();
    enum core_kafka_fate fate;
    while ((fate = core_kafka_send(now.kafka, now.topic, &record, &code)) == CORE_KAFKA_FULL) {
        core_kafka_poll(now.kafka);
    }
    if (fate != CORE_KAFKA_ACCEPTED) {
        now.is_failed = true;
        return;
    }
    now.open++;
    done_add(taken->share, taken->offset + 1);
    poll(NULL, 0, (int)now.slow_ms);
}

static void tell(const char *what, const struct core_kafka_news *news) {
    printf("%s", what);
    for (size_t i = 0; i < news->shares_len; i++) {
        printf(" %s/%d/%" PRId64, news->shares[i]->topic, news->shares[i]->partition, news->shares[i]->offset);
    }
    printf("\n");
}

/* False: begin anew. */
static bool take(const struct core_kafka_news *news) {
    switch (news->came) {
    case CORE_KAFKA_CAME_RECORD:
        copy(&news->taken);
        return !now.is_failed;
    case CORE_KAFKA_CAME_GAINED:
        tell("gained", news);
        return true;
    case CORE_KAFKA_CAME_LOSING:
        tell("losing", news);
        if (!commit()) {
            return false;
        }
        core_kafka_group_release(now.consumer);
        return true;
    case CORE_KAFKA_CAME_LOST:
        tell("lost", news);
        return false;
    case CORE_KAFKA_CAME_END:
        printf("end %s/%d/%" PRId64 " lag %" PRId64 "\n", news->taken.share->topic, news->taken.share->partition,
               news->taken.offset, core_kafka_group_lag(now.consumer, news->taken.share, news->taken.offset));
        return true;
    case CORE_KAFKA_CAME_TROUBLE:
        printf("trouble %d %d %s\n", news->is_fatal, news->is_refused, news->text);
        return !news->is_fatal;
    default:
        return true;
    }
}

static void argument(char *text) {
    char *equals = strchr(text, '=');
    if (equals == NULL) {
        now.topics[now.topics_len++] = text;
        return;
    }
    *equals = '\0';
    if (strcmp(text, "slow_ms") == 0) {
        now.slow_ms = atoi(equals + 1);
    } else if (strcmp(text, "commit_wait_ms") == 0) {
        now.commit_wait_ms = atoi(equals + 1);
    } else {
        now.pairs[now.pairs_len++] = (struct core_kafka_pair){text, equals + 1};
    }
}

int main(int argc, char **argv) {
    MUST(argc > 5 && argc < PAIRS_MAX);
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGTERM, on_term);
    now.group = argv[2];
    now.out = argv[4];
    now.pairs[now.pairs_len++] = (struct core_kafka_pair){"bootstrap.servers", argv[1]};
    now.pairs[now.pairs_len++] = (struct core_kafka_pair){"transactional.id", argv[3]};
    for (int i = 5; i < argc; i++) {
        argument(argv[i]);
    }
    join();
    struct core_kafka_news news;
    int64_t due_ns = core_tick_ns() + COMMIT_EACH_NS;
    while (!is_over) {
        core_kafka_group_next(now.consumer, 50, &news);
        core_kafka_poll(now.kafka);
        bool is_well = take(&news);
        if (is_well && core_tick_ns() >= due_ns) {
            is_well = commit();
            due_ns = core_tick_ns() + COMMIT_EACH_NS;
        }
        if (!is_well) {
            rejoin("");
        }
    }
    bool is_well = commit();
    core_kafka_close(now.kafka);
    core_kafka_group_close(now.consumer);
    printf("left%s\n", is_well ? "" : " without a commit");
    return 0;
}
