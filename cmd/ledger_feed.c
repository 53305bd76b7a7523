/* cmd/ledger_feed.c: `tapline ledger --feed`: accepted in Kafka = indexed + repeated + dead letters, per day and dataset.
 *
 * The rows that feeders wrote (ingest/feed.h) are read first, then all records of the topics, as any consumer would
 * (read_committed): a row that was read speaks of records that are there. What comes meanwhile is open. A transaction
 * may show one of its rows a moment before the other, so rows that do not join are read again a little later. What is
 * counted and judged is cmd/feed_book.c's; nothing is written, no offset is committed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/feed_book.h"
#include "cmd/ledger_internal.h"
#include "core/kafka_read.h"
#include "ingest/feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ASK_TIMEOUT_MS 15000
#define NEXT_TIMEOUT_MS 500
#define PATIENCE_NS (120 * CORE_NS_PER_S) /* without a record and without an end */
#define PROGRESS_NS (CORE_NS_PER_S / 2)
#define PROGRESS_RECORDS 4096
#define AGAIN_NS (200 * CORE_NS_PER_MS)
#define ROWS_TRIES 4
#define ROWS_PAUSE_NS (500 * CORE_NS_PER_MS)
#define SHOWN_MAX 100 /* findings printed for a person; --json has all that are listed */
#define SECONDS_A_DAY 86400
#define MARK_KEY "dead/"

struct ledger_feed {
    const struct cmd *cmd;
    const struct config *config;
    struct core_kafka_reader *reader;
    struct feed_book book;
    size_t *parts; /* of the places that are assigned: which of the book's they are */
    bool is_json, shows_progress;
    uint64_t records;
    uint64_t unread; /* values of the topic that are no rows of ours */
    int64_t told_tick;
};

/* ---- reading places ------------------------------------------------------------------------------------------------------ */

static void progress(struct ledger_feed *ledger, bool is_end) {
    int64_t now = core_tick_ns();
    if (!ledger->shows_progress || (!is_end && now - ledger->told_tick < PROGRESS_NS)) {
        return;
    }
    ledger->told_tick = now;
    (void)fprintf(stderr, "\r%" PRIu64 " records read\x1b[K%s", ledger->records, is_end ? "\r\x1b[K" : "");
}

/* Is it worth asking again? A topic that was made just now has no leader for a moment, and one that moves neither. */
static bool asks_again(enum core_err err, int64_t since) {
    if (err != CORE_NET || core_tick_ns() - since > (int64_t)ASK_TIMEOUT_MS * CORE_NS_PER_MS) {
        return false;
    }
    const struct timespec pause = {.tv_nsec = AGAIN_NS};
    (void)nanosleep(&pause, NULL);
    return true;
}

/* Each record from these places to their present ends. */
static enum core_err each(struct ledger_feed *ledger, const struct core_kafka_place *places, size_t len,
                          enum core_err (*on_record)(struct ledger_feed *ledger, const struct core_kafka_got *got,
                                                     struct core_fail *fail),
                          struct core_fail *fail) {
    if (len == 0) {
        return CORE_OK;
    }
    int64_t since = core_tick_ns();
    enum core_err err;
    do {
        err = core_kafka_reader_assign(ledger->reader, places, len, false, ASK_TIMEOUT_MS, fail);
    } while (asks_again(err, since));
    since = core_tick_ns();
    while (err == CORE_OK) {
        struct core_kafka_got got;
        err = core_kafka_reader_next(ledger->reader, NEXT_TIMEOUT_MS, &got, fail);
        if (err == CORE_OK) {
            err = on_record(ledger, &got, fail);
            since = 0;
        } else if (err == CORE_AGAIN) {
            int64_t now = core_tick_ns();
            since = since == 0 ? now : since;
            err = CORE_OK;
            if (now - since > PATIENCE_NS) {
                err = core_fail_set(fail, CORE_NET, "brokers", "no record for %lld s, and the end is not reached; %s",
                                    (long long)(PATIENCE_NS / CORE_NS_PER_S),
                                    core_kafka_reader_complaint(ledger->reader));
            }
        }
    }
    return err == CORE_GONE ? CORE_OK : err;
}

/* ---- rows ---------------------------------------------------------------------------------------------------------------- */

/* One value of the topic, on its way into the book. */
struct value {
    struct ledger_feed *ledger;
    struct feed_row *row;
    bool is_begun;
    enum core_err err;
    struct core_fail *fail;
};

static void row_take(void *value_ptr, const struct feed_ledger_row *row) {
    struct value *value = value_ptr;
    struct feed_book *book = &value->ledger->book;
    if (!core_span_is(row->group, value->ledger->config->feed.group)) {
        return;
    }
    if (!value->is_begun) {
        value->is_begun = true;
        value->row = feed_book_row(book, row->topic, row->partition, row->from, row->to);
    }
    struct feed_cell cell = {.indexed = row->indexed, .repeated = row->repeated, .dead = row->dead};
    if (value->row != NULL && value->err == CORE_OK && row->day.len > 0 && feed_book_day_parse(row->day, &cell.day)) {
        value->err = feed_book_count(book, value->row, &cell, row->dataset, value->fail);
    }
}

/* The digits behind the last slash of key, which is cut there. False: there are none. */
static bool number_cut(struct core_span *key, int64_t *number) {
    const char *slash = key->len == 0 ? NULL : memrchr(key->ptr, '/', key->len);
    if (slash == NULL) {
        return false;
    }
    *number = 0;
    const char *digit = slash + 1;
    for (; digit < key->ptr + key->len; digit++) {
        if (*digit < '0' || *digit > '9' || *number > INT64_MAX / 16) {
            return false;
        }
        *number = *number * 10 + (*digit - '0');
    }
    key->len = (size_t)(slash - key->ptr);
    return true;
}

/* A row whose key was deleted: GROUP/TOPIC/PARTITION/FROM. */
static void row_drop(struct ledger_feed *ledger, struct core_span key) {
    int64_t from = 0;
    int64_t partition = 0;
    if (!number_cut(&key, &from) || !number_cut(&key, &partition) || partition > INT32_MAX) {
        return;
    }
    const char *slash = key.len == 0 ? NULL : memrchr(key.ptr, '/', key.len);
    if (slash == NULL) {
        return;
    }
    struct core_span group = {.ptr = key.ptr, .len = (size_t)(slash - key.ptr)};
    struct core_span topic = {.ptr = slash + 1, .len = key.len - group.len - 1};
    if (core_span_is(group, ledger->config->feed.group)) {
        feed_book_drop(&ledger->book, topic, (int)partition, from);
    }
}

/* Of a dead letter that was worked off (`tapline dead-letter`): such marks live in the same topic. */
static bool is_mark(struct core_span key) {
    return key.len > strlen(MARK_KEY) && memcmp(key.ptr, MARK_KEY, strlen(MARK_KEY)) == 0;
}

static enum core_err row_record(struct ledger_feed *ledger, const struct core_kafka_got *got, struct core_fail *fail) {
    struct value value = {.ledger = ledger, .err = CORE_OK, .fail = fail};
    if (got->is_tombstone) {
        row_drop(ledger, got->key);
    } else if (!feed_ledger_parse(got->value, row_take, &value) && !is_mark(got->key)) {
        ledger->unread++;
    }
    return value.err;
}

static enum core_err rows_read_once(struct ledger_feed *ledger, int partitions, struct core_fail *fail) {
    struct core_kafka_place *places = calloc((size_t)partitions + 1, sizeof *places);
    MUST(places != NULL);
    for (int i = 0; i < partitions; i++) {
        places[i] = (struct core_kafka_place){
            .topic = ledger->config->feed.ledger_topic, .partition = i, .offset = CORE_KAFKA_BEGINNING};
    }
    feed_book_release(&ledger->book);
    ledger->unread = 0;
    enum core_err err = each(ledger, places, (size_t)partitions, row_record, fail);
    free(places);
    return err;
}

static enum core_err rows_read(struct ledger_feed *ledger, int32_t since, struct core_fail *fail) {
    const char *topic = ledger->config->feed.ledger_topic;
    int partitions = 0;
    enum core_err err = core_kafka_reader_topic(ledger->reader, topic, ASK_TIMEOUT_MS, &partitions, fail);
    if (err == CORE_GONE) {
        return core_fail_set(fail, CORE_BAD, topic,
                             "there is no such topic, so no feeder has written down what it did. It is made by the "
                             "first `tapline feed` or by `tapline setup` (feed.ledger_topic)");
    }
    bool is_joined = false;
    for (int i = 0; i < ROWS_TRIES && err == CORE_OK && !is_joined; i++) {
        if (i > 0) {
            const struct timespec pause = {.tv_nsec = ROWS_PAUSE_NS};
            (void)nanosleep(&pause, NULL);
        }
        err = rows_read_once(ledger, partitions, fail);
        is_joined = err == CORE_OK && feed_book_settle(&ledger->book, since);
    }
    return err;
}

/* ---- records ------------------------------------------------------------------------------------------------------------- */

/* Partitions of topics that the group reads, and of those that rows speak of. Owns: the caller frees *places. */
static enum core_err places_find(struct ledger_feed *ledger, struct core_kafka_place **places, size_t *len,
                                 struct core_fail *fail) {
    struct core_kafka_seen *seen = NULL;
    size_t seen_len = 0;
    *len = 0;
    enum core_err err = core_kafka_reader_topics(ledger->reader, ASK_TIMEOUT_MS, &seen, &seen_len, fail);
    for (size_t i = 0; i < seen_len && err == CORE_OK; i++) {
        bool is_wanted = feed_wants_topic(&ledger->config->feed, seen[i].name);
        for (size_t k = 0; k < ledger->book.parts_len && !is_wanted; k++) {
            is_wanted = strcmp(ledger->book.parts[k].topic, seen[i].name) == 0;
        }
        for (int k = 0; k < seen[i].partitions && is_wanted; k++) {
            (void)feed_book_place(&ledger->book, seen[i].name, k, 0, 0);
        }
    }
    core_kafka_seen_free(seen, seen_len);
    *places = calloc(ledger->book.parts_len + 1, sizeof **places);
    ledger->parts = calloc(ledger->book.parts_len + 1, sizeof *ledger->parts);
    MUST(*places != NULL && ledger->parts != NULL);
    for (size_t i = 0; i < ledger->book.parts_len && err == CORE_OK; i++) {
        const struct feed_part *part = &ledger->book.parts[i];
        if (part->is_there) {
            ledger->parts[*len] = i;
            (*places)[(*len)++] = (struct core_kafka_place){.topic = part->topic, .partition = part->partition};
        }
    }
    return err;
}

/* Where the partitions begin and end now; and, before they are read, from where on. */
static enum core_err places_bound(struct ledger_feed *ledger, struct core_kafka_place *places, size_t len,
                                  struct core_fail *fail) {
    struct core_kafka_bounds *bounds = calloc(len + 1, sizeof *bounds);
    MUST(bounds != NULL);
    const int64_t since = core_tick_ns();
    enum core_err err = CORE_OK;
    do {
        err = len == 0 ? CORE_OK : core_kafka_reader_bounds(ledger->reader, places, len, ASK_TIMEOUT_MS, bounds, fail);
    } while (asks_again(err, since));
    for (size_t i = 0; i < len && err == CORE_OK; i++) {
        const struct feed_part *part = &ledger->book.parts[ledger->parts[i]];
        (void)feed_book_place(&ledger->book, part->topic, part->partition, bounds[i].low, bounds[i].high);
        places[i].offset = part->start > bounds[i].low ? part->start : CORE_KAFKA_BEGINNING;
    }
    free(bounds);
    return err;
}

static enum core_err record_take(struct ledger_feed *ledger, const struct core_kafka_got *got, struct core_fail *fail) {
    size_t part = ledger->parts[got->place];
    if (++ledger->records % PROGRESS_RECORDS == 0) {
        progress(ledger, false);
    }
    if (got->is_tombstone) {
        ledger->book.parts[part].tombstones++;
        return CORE_OK;
    }
    return feed_book_take(&ledger->book, part, got->offset, feed_day_of(got->timestamp_ms), feed_dataset_of(got->value),
                          fail);
}

static enum core_err records_read(struct ledger_feed *ledger, struct core_fail *fail) {
    struct core_kafka_place *places = NULL;
    size_t len = 0;
    enum core_err err = places_find(ledger, &places, &len, fail);
    if (err == CORE_OK) {
        err = places_bound(ledger, places, len, fail);
    }
    if (err == CORE_OK) {
        err = each(ledger, places, len, record_take, fail);
        progress(ledger, true);
    }
    if (err == CORE_OK) { /* what retention deleted while it was read */
        err = places_bound(ledger, places, len, fail);
    }
    free(places);
    return err;
}

/* ---- the answer ---------------------------------------------------------------------------------------------------------- */

static void print_sum(const char *day, const char *dataset, const struct feed_sum *sum) {
    printf("%-10s  %-28s %12" PRIu64 " %10" PRIu64 " %12" PRIu64 " %10" PRIu64 " %8" PRIu64 " %10" PRIu64 " %10" PRId64
           "\n",
           day, dataset, sum->accepted, sum->deleted, sum->indexed, sum->repeated, sum->dead, sum->open,
           feed_book_difference(sum));
}

static void print_finding(FILE *out, const struct feed_book *book, const struct feed_finding *finding) {
    const struct feed_part *part = &book->parts[finding->part];
    char day[11];
    (void)fprintf(out, "%s partition %d offsets %" PRId64 " to %" PRId64 ": ", part->topic, part->partition,
                  finding->from, finding->to - 1);
    switch (finding->kind) {
    case FEED_WRONG_GAP:
        (void)fprintf(out,
                      "%" PRIu64 " records that no feeder has accounted for. Were the group's offsets moved forward by "
                      "hand? `kafka-consumer-groups --reset-offsets` to the first of these offsets feeds them; what "
                      "is indexed already is not doubled\n",
                      finding->counted);
        break;
    case FEED_WRONG_OVERLAP:
        (void)fprintf(out, "accounted for twice. Were the group's offsets moved back by hand? Documents have the same "
                           "ids, so the index holds each once\n");
        break;
    case FEED_WRONG_COUNT:
        feed_book_day_put(finding->day, day);
        (void)fprintf(out,
                      "of %s, %s there are %" PRIu64 " records, and the ledger has %" PRIu64
                      " (indexed, repeated and dead)\n",
                      day, book->datasets[finding->dataset], finding->counted, finding->said);
        break;
    case FEED_WRONG_BEHIND:
    case FEED_WRONG_KINDS:
        (void)fprintf(out,
                      "accounted for, but the partition ends at offset %" PRIu64
                      ": was the topic deleted and made again? Its new records are fed only behind the group's offset; "
                      "reset that to the earliest\n",
                      finding->said);
        break;
    }
}

static void print_book(const struct feed_book *book) {
    char day[11];
    printf("%-10s  %-28s %12s %10s %12s %10s %8s %10s %10s\n", "DAY", "DATASET", "ACCEPTED", "DELETED", "INDEXED",
           "REPEATED", "DEAD", "OPEN", "DIFFERENCE");
    for (size_t i = 0; i < book->sums_len; i++) {
        feed_book_day_put(book->sums[i].day, day);
        print_sum(day, book->datasets[book->sums[i].dataset], &book->sums[i]);
    }
    print_sum("all", "", &book->all);
}

static void json_sum(const struct feed_sum *sum) {
    printf("{\"accepted\":%" PRIu64 ",\"deleted\":%" PRIu64 ",\"indexed\":%" PRIu64 ",\"repeated\":%" PRIu64
           ",\"dead\":%" PRIu64 ",\"open\":%" PRIu64 ",\"difference\":%" PRId64 "}",
           sum->accepted, sum->deleted, sum->indexed, sum->repeated, sum->dead, sum->open, feed_book_difference(sum));
}

/* Sums are in the order of days: an object a day. */
static void json_days(const struct feed_book *book) {
    char day[11];
    for (size_t i = 0; i < book->sums_len; i++) {
        const struct feed_sum *sum = &book->sums[i];
        if (i == 0 || sum->day != book->sums[i - 1].day) {
            feed_book_day_put(sum->day, day);
            printf("%s\"%s\":{", i == 0 ? "" : "},", day);
        } else {
            (void)putchar(',');
        }
        cmd_print_json_string(stdout, core_span_of(book->datasets[sum->dataset]));
        (void)putchar(':');
        json_sum(sum);
    }
    (void)fputs(book->sums_len > 0 ? "}" : "", stdout);
}

static void json_finding(const struct feed_book *book, const struct feed_finding *finding) {
    const struct feed_part *part = &book->parts[finding->part];
    char day[11];
    printf("{\"kind\":\"%s\",\"topic\":", feed_wrong_names[finding->kind]);
    cmd_print_json_string(stdout, core_span_of(part->topic));
    printf(",\"partition\":%d,\"from\":%" PRId64 ",\"to\":%" PRId64, part->partition, finding->from, finding->to);
    if (finding->kind == FEED_WRONG_COUNT) {
        feed_book_day_put(finding->day, day);
        printf(",\"day\":\"%s\",\"dataset\":", day);
        cmd_print_json_string(stdout, core_span_of(book->datasets[finding->dataset]));
        printf(",\"ledger\":%" PRIu64, finding->said);
    }
    if (finding->kind == FEED_WRONG_COUNT || finding->kind == FEED_WRONG_GAP) {
        printf(",\"records\":%" PRIu64, finding->counted);
    } else if (finding->kind == FEED_WRONG_BEHIND) {
        printf(",\"end\":%" PRIu64, finding->said);
    }
    (void)putchar('}');
}

static void json_book(const struct ledger_feed *ledger) {
    const struct feed_book *book = &ledger->book;
    printf("{\"group\":");
    cmd_print_json_string(stdout, core_span_of(ledger->config->feed.group));
    printf(",\"complete\":%s,\"records\":%" PRIu64 ",\"rows\":%zu,\"tombstones\":%" PRIu64
           ",\"not_understood\":%" PRIu64 ",\"days\":{",
           feed_book_is_right(book) ? "true" : "false", ledger->records, book->rows_len, book->tombstones,
           ledger->unread);
    json_days(book);
    printf("},\"all\":");
    json_sum(&book->all);
    printf(",\"counts\":{");
    for (size_t i = 0; i < FEED_WRONG_KINDS; i++) {
        printf("%s\"%s\":%" PRIu64, i == 0 ? "" : ",", feed_wrong_names[i], book->wrong[i]);
    }
    printf("},\"findings\":[");
    for (size_t i = 0; i < book->findings_len; i++) {
        (void)fputs(i == 0 ? "" : ",", stdout);
        json_finding(book, &book->findings[i]);
    }
    printf("]}\n");
}

static void answer(const struct ledger_feed *ledger) {
    const struct feed_book *book = &ledger->book;
    uint64_t wrong = 0;
    if (ledger->is_json) {
        json_book(ledger);
    } else {
        print_book(book);
    }
    (void)fflush(stdout);
    for (size_t i = 0; i < FEED_WRONG_KINDS; i++) {
        wrong += book->wrong[i];
    }
    for (size_t i = 0; i < book->findings_len && i < SHOWN_MAX; i++) {
        (void)fprintf(stderr, "tapline ledger: ");
        print_finding(stderr, book, &book->findings[i]);
    }
    if (wrong > SHOWN_MAX) {
        (void)fprintf(stderr, "tapline ledger: … and %" PRIu64 " more; --json lists up to %d\n", wrong - SHOWN_MAX,
                      FEED_BOOK_FINDINGS_MAX);
    }
    if (ledger->unread > 0) {
        (void)fprintf(stderr,
                      "tapline ledger: %" PRIu64 " records of %s are no rows that this version understands; they are "
                      "left out\n",
                      ledger->unread, ledger->config->feed.ledger_topic);
    }
}

/* ---- the command --------------------------------------------------------------------------------------------------------- */

/* The day of a moment; a moment that is none: every day. */
static int32_t since_day(int64_t since_ns) {
    return since_ns == 0 ? FEED_BOOK_DAY_MIN : (int32_t)(since_ns / CORE_NS_PER_S / SECONDS_A_DAY);
}

static enum core_err reader_open(struct ledger_feed *ledger, struct core_fail *fail) {
    const struct core_conf_list *list = &ledger->config->feed.rdkafka;
    struct core_kafka_pair *pairs = calloc(list->len + 1, sizeof *pairs);
    MUST(pairs != NULL);
    for (size_t i = 0; i < list->len; i++) {
        pairs[i] = (struct core_kafka_pair){list->items[i].key, list->items[i].value};
    }
    enum core_err err = core_kafka_reader_open(&ledger->reader, pairs, list->len, fail);
    free(pairs);
    return err;
}

static int ledger_feed_run(struct ledger_feed *ledger, int64_t since_ns) {
    struct core_fail fail = {0};
    enum core_err err = reader_open(ledger, &fail);
    if (err == CORE_OK) {
        err = rows_read(ledger, since_day(since_ns), &fail);
    }
    if (err == CORE_OK) {
        err = records_read(ledger, &fail);
    }
    if (err != CORE_OK) {
        return cmd_exit_of(ledger->cmd, err, &fail);
    }
    feed_book_judge(&ledger->book);
    answer(ledger);
    return feed_book_is_right(&ledger->book) ? CORE_EXIT_DONE : CORE_EXIT_NO;
}

int ledger_feed(const struct cmd *cmd, const char *path, bool is_json, int64_t since_ns) {
    struct core_conf_mistakes mistakes = {0};
    struct config *config = NULL;
    if (config_load_for(&config, path, CONFIG_FEED, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        return CORE_EXIT_USAGE;
    }
    struct ledger_feed ledger = {
        .cmd = cmd, .config = config, .is_json = is_json, .shows_progress = isatty(STDERR_FILENO) == 1};
    int code = ledger_feed_run(&ledger, since_ns);
    core_kafka_reader_close(ledger.reader);
    feed_book_release(&ledger.book);
    free(ledger.parts);
    config_free(config);
    return code;
}
