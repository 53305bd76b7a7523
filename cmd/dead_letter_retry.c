/* cmd/dead_letter_retry.c: `tapline dead-letter retry`: documents that the search engine refused go back into their topics.
 *
 * A document goes back with the id it had, so it is indexed once, however often. With it, in the same transaction, goes the
 * mark that its letter was worked off; killed anywhere, both are there or neither is. Refused again, it becomes a new letter.
 *
 * Two who do this at once (or one that was thought dead) cannot both put the same back: they have one transactional id, taken
 * before the marks are read. Whoever takes it ends the other's transaction, sees its marks, and shuts it out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/dead_letter.h"
#include "cmd/proof.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>

#define TXN_LETTERS_MAX 500
#define TXN_BYTES_MAX (4 * CORE_MIB)
#define TXN_AGE_NS (5 * CORE_NS_PER_S) /* far below the time-out: readers wait behind what is not committed */
#define TXN_TIMEOUT_S 60               /* the brokers end an older one */
#define TOPICS_MAX 1024
#define CALL_MS 1000
#define STEP_MS 50
#define PATIENCE_NS (60 * CORE_NS_PER_S) /* for the brokers' answers */
#define PRUNE_MAX 10000                  /* marks without a letter that one run takes away */
#define ASK_TIMEOUT_MS 15000
#define ID_BYTES 16
#define TOPIC_BYTES_MAX 256

struct sent {
    char id[DEAD_ID_BYTES];
    char topic[TOPIC_BYTES_MAX];
};

struct retrying {
    struct dead_book book;
    struct core_kafka *kafka;
    struct core_kafka_topic *topics[TOPICS_MAX];
    char *topic_names[TOPICS_MAX];
    size_t topics_len;
    bool is_begun;
    int64_t begun_tick; /* with is_begun */
    uint64_t unreported;
    int failed_code; /* of a record that was not accepted; 0: none */
    char trouble[256];
    struct sent sent[TXN_LETTERS_MAX]; /* in this transaction */
    size_t sent_len;
    size_t sent_bytes;
    uint64_t put_back;
    uint64_t staying;
    uint64_t before; /* were put back before */
};

/* ---- the producer ------------------------------------------------------------------------------------------------------------ */

static void on_report(void *ctx, uint64_t ticket, enum core_kafka_fate fate, int code, int64_t offset) {
    (void)ticket;
    (void)offset;
    struct retrying *retrying = ctx;
    MUST(retrying->unreported > 0);
    retrying->unreported--;
    if (fate != CORE_KAFKA_ACCEPTED && retrying->failed_code == 0) {
        retrying->failed_code = code;
    }
}

static void on_made(void *ctx, struct core_kafka_topic *topic, enum core_kafka_made made, const char *text) {
    (void)ctx;
    (void)topic;
    (void)made;
    (void)text;
}

static void on_trouble(void *ctx, bool is_fatal, const char *text) {
    (void)is_fatal; /* a call says so */
    struct retrying *retrying = ctx;
    (void)snprintf(retrying->trouble, sizeof retrying->trouble, "; %s", text);
}

static const struct core_kafka_calls calls = {.on_report = on_report, .on_made = on_made, .on_trouble = on_trouble};

static enum core_err txn_fail(const struct retrying *retrying, enum core_kafka_txn txn, struct core_fail *fail) {
    if (txn == CORE_KAFKA_TXN_FENCED && retrying->is_begun) { /* the brokers give one answer for two reasons */
        return core_fail_set(fail, CORE_LOCKED, "transaction",
                             "the brokers ended it %lld s after its begin: another `tapline dead-letter retry` of this "
                             "group has begun, or it was open for more than %d s; try again: nothing is put back twice",
                             (long long)((core_tick_ns() - retrying->begun_tick) / CORE_NS_PER_S), TXN_TIMEOUT_S);
    }
    if (txn == CORE_KAFKA_TXN_FENCED) {
        return core_fail_set(
            fail, CORE_LOCKED, "transaction",
            "another `tapline dead-letter retry` of this group has begun; what it finds undone it does");
    }
    char why[sizeof fail->text];
    (void)snprintf(why, sizeof why, "%s", fail->text);
    return core_fail_set(fail, txn == CORE_KAFKA_TXN_REFUSED ? CORE_BAD : CORE_NET, "transaction",
                         "%s%s; what was not said to be put back is not, and can be tried again", why,
                         retrying->trouble);
}

static enum core_err producer_open(struct retrying *retrying, struct core_fail *fail) {
    char id[TOPIC_BYTES_MAX + 32];
    char timeout[16];
    size_t len = 0;
    struct core_kafka_pair *pairs = dead_pairs(&retrying->book, 4, &len);
    (void)snprintf(id, sizeof id, "tapline-dead-letter/%s", retrying->book.config->feed.group);
    pairs[len++] = (struct core_kafka_pair){"transactional.id", id};
    pairs[len++] = (struct core_kafka_pair){"enable.idempotence", "true"};
    pairs[len++] = (struct core_kafka_pair){"acks", "all"};
    (void)snprintf(timeout, sizeof timeout, "%d", TXN_TIMEOUT_S * 1000);
    pairs[len++] = (struct core_kafka_pair){"transaction.timeout.ms", timeout};
    enum core_err err = core_kafka_open(&retrying->kafka, pairs, len, &calls, retrying, fail);
    free(pairs);
    enum core_kafka_txn txn = CORE_KAFKA_TXN_AGAIN;
    int64_t until = core_tick_ns() + PATIENCE_NS;
    while (err == CORE_OK && txn == CORE_KAFKA_TXN_AGAIN) {
        txn = core_kafka_txn_init(retrying->kafka, CALL_MS, fail);
        core_kafka_poll(retrying->kafka);
        if (txn != CORE_KAFKA_TXN_OK && (txn != CORE_KAFKA_TXN_AGAIN || core_tick_ns() > until)) {
            err = txn_fail(retrying, txn, fail);
        }
    }
    return err;
}

static struct core_kafka_topic *topic_of(struct retrying *retrying, struct core_span name) {
    for (size_t i = 0; i < retrying->topics_len; i++) {
        if (core_span_is(name, retrying->topic_names[i])) {
            return retrying->topics[i];
        }
    }
    if (retrying->topics_len == TOPICS_MAX) {
        return NULL;
    }
    char *text = strndup(name.ptr, name.len);
    MUST(text != NULL);
    retrying->topic_names[retrying->topics_len] = text;
    retrying->topics[retrying->topics_len] = core_kafka_topic_open(retrying->kafka, text, NULL);
    return retrying->topics[retrying->topics_len++];
}

static void reports_wait(struct retrying *retrying) {
    struct pollfd wait = {.fd = core_kafka_fd(retrying->kafka), .events = POLLIN};
    (void)poll(&wait, 1, STEP_MS);
    core_kafka_poll(retrying->kafka);
}

/* Wait until the brokers have all that was sent. */
static enum core_err sent_settle(struct retrying *retrying, struct core_fail *fail) {
    int64_t until = core_tick_ns() + PATIENCE_NS;
    core_kafka_poll(retrying->kafka);
    while (retrying->unreported > 0 && core_tick_ns() < until) {
        reports_wait(retrying);
    }
    if (retrying->failed_code != 0) {
        return core_fail_set(fail, CORE_NET, "brokers",
                             "a record was not accepted: %s%s; nothing of this transaction was put back",
                             core_kafka_text(retrying->failed_code), retrying->trouble);
    }
    return retrying->unreported == 0 ? CORE_OK
                                     : core_fail_set(fail, CORE_NET, "brokers", "no answer within %lld s%s",
                                                     (long long)(PATIENCE_NS / CORE_NS_PER_S), retrying->trouble);
}

static enum core_err record_send(struct retrying *retrying, struct core_span topic_name,
                                 struct core_kafka_record *record, struct core_fail *fail) {
    struct core_kafka_topic *topic = topic_of(retrying, topic_name);
    int code = 0;
    enum core_kafka_fate fate = CORE_KAFKA_FULL;
    int64_t until = core_tick_ns() + PATIENCE_NS;
    if (topic == NULL) {
        return core_fail_set(fail, CORE_LIMIT, "topics", "letters of more than %d topics; --dataset takes some of them",
                             TOPICS_MAX);
    }
    if (!retrying->is_begun) {
        enum core_kafka_txn txn = core_kafka_txn_begin(retrying->kafka, fail);
        if (txn != CORE_KAFKA_TXN_OK) {
            return txn_fail(retrying, txn, fail);
        }
        retrying->is_begun = true;
        retrying->begun_tick = core_tick_ns();
    }
    record->is_copied = true;
    while (fate == CORE_KAFKA_FULL && core_tick_ns() < until) {
        fate = core_kafka_send(retrying->kafka, topic, record, &code);
        if (fate == CORE_KAFKA_FULL) {
            reports_wait(retrying);
        }
    }
    if (fate != CORE_KAFKA_ACCEPTED) {
        return core_fail_set(fail, CORE_NET, "brokers", "topic %.*s does not take a record: %s%s", (int)topic_name.len,
                             topic_name.ptr, core_kafka_text(code), retrying->trouble);
    }
    retrying->unreported++;
    retrying->sent_bytes += record->value.len;
    return CORE_OK;
}

/* ---- letters ------------------------------------------------------------------------------------------------------------------- */

static void tell(const struct retrying *retrying, const char *id, const char *state, const char *name,
                 struct core_span text) {
    if (retrying->book.is_json) {
        printf("{\"id\":\"%s\",\"state\":\"%s\",\"%s\":", id, state, name);
        cmd_print_json_string(stdout, text);
        printf("}\n");
        return;
    }
    printf("%-32s  %s: ", id, state);
    dead_print_text(stdout, text, SIZE_MAX);
    (void)putchar('\n');
}

/* What is said of a letter is said when it is so. */
static enum core_err commit(struct retrying *retrying, struct core_fail *fail) {
    if (!retrying->is_begun) {
        return CORE_OK;
    }
    enum core_err err = sent_settle(retrying, fail);
    enum core_kafka_txn txn = CORE_KAFKA_TXN_AGAIN;
    int64_t until = core_tick_ns() + PATIENCE_NS;
    while (err == CORE_OK && txn == CORE_KAFKA_TXN_AGAIN) {
        txn = core_kafka_txn_commit(retrying->kafka, (int)(PATIENCE_NS / CORE_NS_PER_MS), fail);
        core_kafka_poll(retrying->kafka);
        if (txn != CORE_KAFKA_TXN_OK && (txn != CORE_KAFKA_TXN_AGAIN || core_tick_ns() > until)) {
            err = txn_fail(retrying, txn, fail);
        }
    }
    for (size_t i = 0; err == CORE_OK && i < retrying->sent_len; i++) {
        tell(retrying, retrying->sent[i].id, "retried", "topic", core_span_of(retrying->sent[i].topic));
        retrying->put_back++;
    }
    if (err == CORE_OK) {
        (void)fflush(stdout);
        retrying->sent_len = 0;
        retrying->sent_bytes = 0;
        retrying->is_begun = false;
    }
    return err;
}

/* Where few letters of many are wanted, reading the next one may take longer than brokers let a transaction be open. */
static enum core_err commit_old(void *ctx, struct core_fail *fail) {
    struct retrying *retrying = ctx;
    bool is_old = retrying->is_begun && core_tick_ns() - retrying->begun_tick >= TXN_AGE_NS;
    return is_old ? commit(retrying, fail) : CORE_OK;
}

static int hex_of(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool id_read(struct core_span hex, unsigned char id[ID_BYTES]) {
    MUST(hex.len == 2 * (size_t)ID_BYTES);
    for (size_t i = 0; i < ID_BYTES; i++) {
        int high = hex_of(hex.ptr[2 * i]);
        int low = hex_of(hex.ptr[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        id[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static enum core_err mark_send(struct retrying *retrying, const struct dead_letter *letter, struct core_fail *fail) {
    const struct feed_conf *feed = &retrying->book.config->feed;
    char key[2 * TOPIC_BYTES_MAX];
    char value[256];
    char now[27];
    MUST(core_time_iso(core_now_ns(), now));
    (void)snprintf(key, sizeof key, "dead/%s/%d/%" PRId64, feed->dead_letter_topic, letter->partition, letter->offset);
    (void)snprintf(value, sizeof value, "{\"state\":\"retried\",\"id\":\"%s\",\"written\":\"%.27s\"}", letter->id, now);
    struct core_kafka_record record = {.key = core_span_of(key), .value = core_span_of(value)};
    return record_send(retrying, core_span_of(feed->ledger_topic), &record, fail);
}

static enum core_err put_back(struct retrying *retrying, const struct dead_letter *letter, struct core_fail *fail) {
    unsigned char id[ID_BYTES];
    if (!id_read(letter->document, id) || letter->topic.len >= TOPIC_BYTES_MAX) {
        tell(retrying, letter->id, "stays", "obstacle", CORE_SPAN("its document's id or topic is none"));
        retrying->staying++;
        return CORE_OK;
    }
    struct core_kafka_record record = {.value = letter->original,
                                       .key = letter->key.len > 0 ? letter->key : letter->document,
                                       .header_name = "tapline",
                                       .header = {.ptr = (const char *)id, .len = sizeof id}};
    enum core_err err = record_send(retrying, letter->topic, &record, fail);
    if (err == CORE_OK) {
        err = mark_send(retrying, letter, fail);
    }
    if (err == CORE_OK) {
        struct sent *sent = &retrying->sent[retrying->sent_len++];
        memcpy(sent->id, letter->id, sizeof sent->id);
        (void)snprintf(sent->topic, sizeof sent->topic, "%.*s", (int)letter->topic.len, letter->topic.ptr);
        if (retrying->sent_len == TXN_LETTERS_MAX || retrying->sent_bytes >= TXN_BYTES_MAX) {
            err = commit(retrying, fail);
        }
    }
    return err;
}

static enum core_err retry_take(void *ctx, const struct dead_letter *letter, struct core_fail *fail) {
    struct retrying *retrying = ctx;
    if (letter->is_retried) {
        tell(retrying, letter->id, "stays", "obstacle", CORE_SPAN("it was put back before"));
        retrying->before++;
        return CORE_OK;
    }
    if (letter->obstacle != NULL) {
        tell(retrying, letter->id, "stays", "obstacle", core_span_of(letter->obstacle));
        retrying->staying++;
        return CORE_OK;
    }
    if (retrying->book.limit > 0 && retrying->put_back + retrying->sent_len >= retrying->book.limit) {
        return CORE_OK;
    }
    return put_back(retrying, letter, fail);
}

/* ---- marks whose letters retention has deleted ------------------------------------------------------------------------------------- */

/* From where on letters are still there, of each partition. Owns: the caller frees *lows. */
static enum core_err lows_ask(struct retrying *retrying, int64_t **lows, int *partitions, struct core_fail *fail) {
    const char *topic = retrying->book.config->feed.dead_letter_topic;
    enum core_err err = core_kafka_reader_topic(retrying->book.reader, topic, ASK_TIMEOUT_MS, partitions, fail);
    if (err != CORE_OK) {
        return err;
    }
    struct core_kafka_place *places = calloc((size_t)*partitions + 1, sizeof *places);
    struct core_kafka_bounds *bounds = calloc((size_t)*partitions + 1, sizeof *bounds);
    *lows = calloc((size_t)*partitions + 1, sizeof **lows);
    MUST(places != NULL && bounds != NULL && *lows != NULL);
    for (int i = 0; i < *partitions; i++) {
        places[i] = (struct core_kafka_place){.topic = topic, .partition = i};
    }
    err = core_kafka_reader_bounds(retrying->book.reader, places, (size_t)*partitions, ASK_TIMEOUT_MS, bounds, fail);
    for (int i = 0; err == CORE_OK && i < *partitions; i++) {
        (*lows)[i] = bounds[i].low;
    }
    free(places);
    free(bounds);
    return err;
}

static enum core_err marks_prune(struct retrying *retrying, struct core_fail *fail) {
    const struct feed_conf *feed = &retrying->book.config->feed;
    int64_t *lows = NULL;
    int partitions = 0;
    size_t pruned = 0;
    enum core_err err = lows_ask(retrying, &lows, &partitions, fail);
    for (size_t i = 0; err == CORE_OK && i < retrying->book.marks_len && pruned < PRUNE_MAX; i++) {
        const struct dead_mark *mark = &retrying->book.marks[i];
        char key[2 * TOPIC_BYTES_MAX];
        if (mark->partition < 0 || mark->partition >= partitions || mark->offset >= lows[mark->partition]) {
            continue;
        }
        (void)snprintf(key, sizeof key, "dead/%s/%d/%" PRId64, feed->dead_letter_topic, mark->partition, mark->offset);
        struct core_kafka_record record = {.key = core_span_of(key), .is_tombstone = true};
        err = record_send(retrying, core_span_of(feed->ledger_topic), &record, fail);
        err = err == CORE_OK ? commit_old(retrying, fail) : err;
        pruned++;
    }
    free(lows);
    return err == CORE_GONE ? CORE_OK : err; /* no topic: no letter */
}

/* ---- the command ---------------------------------------------------------------------------------------------------------------- */

static enum core_err retry_all(struct retrying *retrying, struct core_fail *fail) {
    enum core_err err = producer_open(retrying, fail);
    if (err == CORE_OK) {
        err = dead_read_marks(&retrying->book, fail);
    }
    if (err == CORE_OK) {
        err = dead_each(&retrying->book, retry_take, retrying, fail);
    }
    if (err == CORE_OK) {
        err = marks_prune(retrying, fail);
    }
    if (err == CORE_OK) {
        err = commit(retrying, fail);
    }
    return err;
}

static int retry_run(struct retrying *retrying) {
    struct core_fail fail = {0};
    enum core_err err = retry_all(retrying, &fail);
    (void)fflush(stdout);
    (void)fprintf(stderr, "tapline dead-letter retry: %" PRIu64 " put back, %" PRIu64 " stay%s%s\n", retrying->put_back,
                  retrying->staying, retrying->before > 0 ? ", some were put back before" : "",
                  err == CORE_OK ? "" : "; it was not finished");
    if (err != CORE_OK) {
        return cmd_exit_of(retrying->book.cmd, err, &fail);
    }
    size_t missing = dead_say_missing(&retrying->book);
    return missing == 0 && retrying->staying == 0 && retrying->put_back + retrying->before > 0 ? CORE_EXIT_DONE
                                                                                               : CORE_EXIT_NO;
}

static bool says_which(const struct dead_book *book) {
    static const char *const words[] = {"all", "since", "dataset", "reason"};
    bool is_said = book->filter.ids_len > 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        is_said = is_said || cmd_value(book->cmd, &book->args, words[i]) != NULL;
    }
    if (!is_said) {
        (void)fprintf(stderr, "tapline dead-letter retry: which ones? Give their ids, a filter, or --all\n");
    }
    return is_said;
}

static int retry_main(const struct cmd *cmd, int argc, char **argv) {
    struct retrying *retrying = calloc(1, sizeof *retrying);
    MUST(retrying != NULL);
    int code = CORE_EXIT_USAGE;
    retrying->book.cmd = cmd;
    retrying->book.on_turn = commit_old;
    retrying->book.turn_ctx = retrying;
    if (dead_open(&retrying->book, argc, argv, &code) && says_which(&retrying->book)) {
        retrying->book.filter.has_retried = retrying->book.filter.ids_len > 0;
        code = retry_run(retrying);
    }
    core_kafka_close(retrying->kafka);
    for (size_t i = 0; i < retrying->topics_len; i++) {
        free(retrying->topic_names[i]);
    }
    dead_close(&retrying->book);
    free(retrying);
    return code;
}

static const struct cmd_option options[] = {
    DEAD_OPTIONS,
    {.name = "all", .help = "All that can be put back."},
    {.name = "limit", .arg = "N", .help = "Put back at most N (of each partition the oldest first)."},
    {.name = "json", .help = "Print one JSON object a line."},
    {0},
};

const struct cmd cmd_dead_letter_retry = {
    .name = "dead-letter retry",
    .summary = "put documents that the search engine refused back into their topics",
    .args = "[ID…]",
    .about = "Puts the documents of these letters (ids, filters, or --all) back into the topics they came from, after "
             "what made the "
             "engine refuse them was mended: a template, a limit of fields, a full disk. The feeders index them with "
             "the ids they "
             "had, so none is doubled; one that is refused again becomes a new dead letter. A letter that was worked "
             "off is marked so "
             "in feed.ledger_topic, in the same transaction, and `list` shows it no more. A document that was too long "
             "to be kept "
             "whole, a record that is no document and a sensor's line stay: `dead-letter show` says what can be done. "
             "Two that run "
             "at once do not put the same back twice: the later ends the earlier. Ends with 1 if some stay, or there "
             "is none.",
    .example =
        "tapline dead-letter retry -c /etc/tapline/feed.yml --reason 'limit of total fields' --dataset zeek.http\n"
        "tapline dead-letter retry -c feed.yml 5bd1e995d7f0a1c20000000000001f3a",
    .options = options,
    .run = retry_main,
};
