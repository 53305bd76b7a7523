/* cmd/ledger.c: `tapline ledger`: what became of the records of each file, in numbers that must add up.
 *
 * The rows are what ingest and the keeper of positions wrote down; here they are only added, and held against two others
 * who have counted: the topics (cmd/proof.c), and Zeek itself (cmd/ledger_zeek.c). What became of the topics' records in a
 * search engine is cmd/ledger_feed.c's. This file is the command line and the answer; --watch is cmd/ledger_watch.c's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/ledger_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WATCH_MIN_NS CORE_NS_PER_S
#define WATCH_MAX_NS (30 * CORE_NS_PER_S) /* so that what is wrong is said within 60 s */
#define ZEEK_AGAIN_NS CORE_NS_PER_S

static const struct cmd_option ledger_options[] = {
    {.name = "config",
     .letter = 'c',
     .arg = "FILE",
     .help = "The configuration: node, state, topics, Zeek's telemetry."},
    {.name = "state", .arg = "DIR", .help = "The state directory alone, without a configuration."},
    {.name = "since",
     .arg = "TIME|DURATION",
     .help =
         "Leave out files finished (with --feed: rows of days) before then: 24h, 2026-11-21 or 2026-11-21T03:00:00Z."},
    {.name = "topics", .help = "Hold it against what the topics have, as verify does."},
    {.name = "watch",
     .arg = "DURATION",
     .help = "Stay, look this often (1s to 30s), and raise an alarm when records are missing or doubled."},
    {.name = "feed", .help = "The other end: what feeders did with the records of the topics, against the topics."},
    {.name = "json", .help = "Print one JSON object; with --watch one a line for each alarm."},
    {0},
};

/* ---- as text --------------------------------------------------------------------------------------------------------------- */

static void print_tally(const struct core_tally *tally) {
    printf("%12" PRIu64 " %12" PRIu64 " %8" PRIu64 " %10" PRIu64 " %6" PRIu64 " %10" PRId64, tally->records,
           tally->events, tally->dead, tally->dropped, tally->lost, ledger_difference(tally));
}

static void print_row(const struct ledger_row *row, bool with_topics) {
    char over[28] = "live";
    if (row->is_over && core_time_iso(row->over_ns, over)) {
        over[19] = '\0'; /* whole seconds */
    }
    printf("%016" PRIx64 "  %-19s ", row->gen, over);
    print_tally(&row->tally);
    if (with_topics && row->is_in_topics) {
        printf(" %12" PRIu64, row->in_topics);
    } else if (with_topics) {
        printf(" %12s", "-");
    }
    printf("  %" PRIu64 "-%" PRIu64 " %s\n", row->begin, row->from, row->path);
}

static void print_sum(const char *name, const struct ledger_sum *sum, bool with_topics) {
    printf("%-16.64s  %8" PRIu64 " files      ", name, sum->files);
    print_tally(&sum->tally);
    if (with_topics) {
        printf(" %12" PRIu64, sum->in_topics);
    }
    (void)putchar('\n');
}

static void print_book(const struct ledger_book *book, bool with_topics) {
    struct ledger_sum *sums = calloc(LEDGER_LOGS_MAX, sizeof *sums);
    struct ledger_sum all;
    MUST(sums != NULL);
    printf("%-16s  %-19s %12s %12s %8s %10s %6s %10s%s  %s\n", "FILE", "OVER", "RECORDS", "ACCEPTED", "DEAD", "DROPPED",
           "LOST", "DIFFERENCE", with_topics ? "    IN TOPICS" : "", "BYTES PATH");
    for (size_t i = 0; i < book->len; i++) {
        print_row(&book->rows[i], with_topics);
    }
    size_t len = ledger_sums(book, sums, &all);
    for (size_t i = 0; i < len; i++) {
        print_sum(sums[i].log, &sums[i], with_topics);
    }
    print_sum("all", &all, with_topics);
    free(sums);
}

static void print_zeek(const struct ledger_zeek *zeek) {
    for (size_t i = 0; i < zeek->logs_len; i++) {
        const struct ledger_zeek_log *log = &zeek->logs[i];
        printf("zeek %-16s %12" PRIu64 " written %12" PRIu64 " read  %s\n", log->log, log->written, log->read,
               ledger_zeek_state_names[log->state]);
    }
}

/* ---- as JSON --------------------------------------------------------------------------------------------------------------- */

static void json_tally(const struct core_tally *tally) {
    printf("\"records\":%" PRIu64 ",\"accepted\":%" PRIu64 ",\"dead\":%" PRIu64 ",\"dropped\":%" PRIu64
           ",\"lost\":%" PRIu64 ",\"difference\":%" PRId64,
           tally->records, tally->events, tally->dead, tally->dropped, tally->lost, ledger_difference(tally));
}

static void json_row(const struct ledger_row *row) {
    char over[28] = "";
    printf("{\"generation\":\"%016" PRIx64 "\",\"path\":", row->gen);
    cmd_print_json_string(stdout, core_span_of(row->path));
    printf(",\"first_path\":");
    cmd_print_json_string(stdout, core_span_of(row->first_path));
    printf(",\"is_over\":%s", row->is_over ? "true" : "false");
    if (row->is_over && core_time_iso(row->over_ns, over)) {
        printf(",\"over\":\"%.27s\"", over);
    }
    printf(",\"begin\":%" PRIu64 ",\"from\":%" PRIu64 ",\"position\":%" PRIu64 ",", row->begin, row->from, row->pos);
    json_tally(&row->tally);
    if (row->is_in_topics) {
        printf(",\"in_topics\":%" PRIu64, row->in_topics);
    }
    (void)putchar('}');
}

static void json_sum(const char *name, const struct ledger_sum *sum, bool with_topics) {
    cmd_print_json_string(stdout, core_span_of(name));
    printf(":{\"files\":%" PRIu64 ",", sum->files);
    json_tally(&sum->tally);
    if (with_topics) {
        printf(",\"in_topics\":%" PRIu64, sum->in_topics);
    }
    (void)putchar('}');
}

static void json_zeek(const struct ledger *ledger) {
    printf(",\"zeek\":[");
    for (size_t i = 0; i < ledger->zeeks_len; i++) {
        const struct ledger_zeek *zeek = &ledger->zeeks[i];
        printf("%s{\"url\":", i == 0 ? "" : ",");
        cmd_print_json_string(stdout, core_span_of(zeek->input->metrics_url));
        printf(",\"logs\":{");
        for (size_t j = 0; j < zeek->logs_len; j++) {
            const struct ledger_zeek_log *log = &zeek->logs[j];
            (void)fputs(j == 0 ? "" : ",", stdout);
            cmd_print_json_string(stdout, core_span_of(log->log));
            printf(":{\"written\":%" PRIu64 ",\"read\":%" PRIu64 ",\"state\":\"%s\"}", log->written, log->read,
                   ledger_zeek_state_names[log->state]);
        }
        printf("}}");
    }
    (void)putchar(']');
}

static void json_book(const struct ledger *ledger, const struct ledger_book *book) {
    struct ledger_sum *sums = calloc(LEDGER_LOGS_MAX, sizeof *sums);
    struct ledger_sum all;
    MUST(sums != NULL);
    size_t len = ledger_sums(book, sums, &all);
    printf("{\"rows\":[");
    for (size_t i = 0; i < book->len; i++) {
        (void)fputs(i == 0 ? "" : ",", stdout);
        json_row(&book->rows[i]);
    }
    printf("],\"logs\":{");
    for (size_t i = 0; i < len; i++) {
        (void)fputs(i == 0 ? "" : ",", stdout);
        json_sum(sums[i].log, &sums[i], ledger->with_topics);
    }
    printf("},");
    json_sum("all", &all, ledger->with_topics);
    if (ledger->proof != NULL) {
        printf(",\"topics\":{\"complete\":%s,\"counts\":", ledger->verdict.wrong == 0 ? "true" : "false");
        proof_json_counts(stdout, &ledger->verdict);
        printf(",\"findings\":");
        proof_json_findings(stdout, ledger->proof, &ledger->verdict);
        (void)putchar('}');
    }
    json_zeek(ledger);
    printf("}\n");
    free(sums);
}

/* ---- one look ---------------------------------------------------------------------------------------------------------------- */

/* What is wrong, on stderr. Returns how much. */
static size_t say_wrong(const struct ledger *ledger, const struct ledger_book *book) {
    size_t wrong = 0;
    char text[512];
    for (size_t i = 0; i < book->len; i++) {
        const struct ledger_row *row = &book->rows[i];
        if (ledger_row_is_wrong(row)) {
            wrong++;
            (void)fprintf(stderr,
                          "tapline ledger: %s generation %016" PRIx64 ": %" PRIu64 " records were read and %" PRId64
                          " of them are not accounted for, %" PRIu64 " are lost: see the node's log\n",
                          row->path, row->gen, row->tally.records, ledger_difference(&row->tally), row->tally.lost);
        }
    }
    if (ledger->verdict.wrong > 0) {
        proof_say_counts(&ledger->verdict, text, sizeof text);
        (void)fprintf(stderr, "tapline ledger: the topics do not hold what the positions say: %s\n", text);
        for (size_t i = 0; i < ledger->verdict.len && i < PROOF_SHOWN_MAX; i++) {
            proof_print_finding(stderr, ledger->proof, &ledger->verdict.findings[i]);
        }
    }
    for (size_t i = 0; i < ledger->zeeks_len; i++) {
        for (size_t j = 0; j < ledger->zeeks[i].logs_len; j++) {
            const struct ledger_zeek_log *log = &ledger->zeeks[i].logs[j];
            if (ledger_zeek_is_wrong(log)) {
                wrong++;
                (void)fprintf(stderr,
                              "tapline ledger: %s: Zeek has written %" PRIu64 " records of %s, %" PRIu64
                              " were read of that process's files\n",
                              ledger->zeeks[i].input->metrics_url, log->written, log->log, log->read);
            }
        }
    }
    return wrong + ledger->verdict.wrong;
}

/* Ask every Zeek, and give records that are under way the time they need. */
static enum core_err zeeks_settle(struct ledger *ledger, struct ledger_book *book, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    for (size_t i = 0; i < ledger->zeeks_len && err == CORE_OK; i++) {
        err = ledger_zeek_look(&ledger->zeeks[i], book, fail);
    }
    bool is_under_way = err == CORE_OK && ledger->zeeks_len > 0;
    bool is_first = true;
    while (is_under_way && err == CORE_OK) {
        if (!is_first) {
            const struct timespec pause = {.tv_sec = ZEEK_AGAIN_NS / CORE_NS_PER_S};
            (void)nanosleep(&pause, NULL);
        }
        is_first = is_under_way = false;
        ledger_book_release(book);
        err = ledger_book_read(book, ledger->state_dir, ledger->since_ns, fail);
        for (size_t i = 0; i < ledger->zeeks_len && err == CORE_OK; i++) {
            is_under_way = ledger_zeek_judge(&ledger->zeeks[i], book) || is_under_way;
        }
    }
    return err;
}

static int ledger_once(struct ledger *ledger) {
    struct ledger_book book = {0};
    struct core_fail fail = {0};
    int code = CORE_EXIT_DONE;
    enum core_err err = ledger_book_read(&book, ledger->state_dir, ledger->since_ns, &fail);
    if (err == CORE_OK) {
        err = zeeks_settle(ledger, &book, &fail);
    }
    if (err == CORE_OK && ledger->proof != NULL) {
        err = proof_settle(ledger->proof, &ledger->verdict, &fail);
    }
    if (err != CORE_OK) {
        code = cmd_exit_of(ledger->cmd, err, &fail);
        goto out;
    }
    if (ledger->proof != NULL) {
        ledger_book_add_topics(&book, ledger->proof);
    }
    if (ledger->is_json) {
        json_book(ledger, &book);
    } else {
        print_book(&book, ledger->with_topics);
        for (size_t i = 0; i < ledger->zeeks_len; i++) {
            print_zeek(&ledger->zeeks[i]);
        }
    }
    (void)fflush(stdout);
    code = say_wrong(ledger, &book) > 0 ? CORE_EXIT_NO : CORE_EXIT_DONE;
out:
    ledger_book_release(&book);
    return code;
}

/* ---- the command --------------------------------------------------------------------------------------------------------------- */

/* The words of the command line, checked. False: said on stderr. */
static bool ledger_args(struct ledger *ledger, const struct cmd_args *args) {
    const struct cmd *cmd = ledger->cmd;
    const char *since = cmd_value(cmd, args, "since");
    const char *watch = cmd_value(cmd, args, "watch");
    const char *wrong = NULL;
    ledger->is_json = cmd_value(cmd, args, "json") != NULL;
    ledger->with_topics = cmd_value(cmd, args, "topics") != NULL;
    ledger->is_feed = cmd_value(cmd, args, "feed") != NULL;
    if (ledger->is_feed && (cmd_value(cmd, args, "config") == NULL || cmd_value(cmd, args, "state") != NULL ||
                            ledger->with_topics || watch != NULL)) {
        wrong = "--feed needs the feeder's configuration, -c FILE, and goes with --since and --json only";
    } else if ((cmd_value(cmd, args, "config") == NULL) == (cmd_value(cmd, args, "state") == NULL)) {
        wrong = "which node's? give either its configuration with -c FILE or its state directory with --state DIR";
    } else if (cmd_value(cmd, args, "config") == NULL && ledger->with_topics) {
        wrong = "--topics needs the configuration, -c FILE: it says which brokers and topics";
    } else if (since != NULL && !cmd_since_parse(since, &ledger->since_ns)) {
        wrong = "--since takes a duration such as 24h, or a time such as 2026-11-21 or 2026-11-21T03:00:00Z";
    } else if (watch != NULL && (!core_parse_duration(watch, &ledger->watch_ns) || ledger->watch_ns < WATCH_MIN_NS ||
                                 ledger->watch_ns > WATCH_MAX_NS)) {
        wrong = "--watch takes a duration from 1s to 30s: so what is missing is said within a minute";
    }
    if (wrong != NULL) {
        (void)fprintf(stderr, "tapline ledger: %s\n", wrong);
    }
    return wrong == NULL;
}

/* Zeeks and topics of the configuration. Returns false if said on stderr what is wrong. */
static bool ledger_open(struct ledger *ledger, int *code) {
    struct core_fail fail;
    *code = CORE_EXIT_USAGE;
    for (size_t i = 0; i < ledger->config->inputs_len; i++) {
        const struct ingest_input *input = &ledger->config->inputs[i];
        if (input->metrics_url == NULL || input->metrics_url[0] == '\0') {
            continue;
        }
        if (ledger->zeeks_len == LEDGER_ZEEK_MAX) {
            (void)fprintf(stderr, "tapline ledger: more than %d inputs have a metrics_url\n", LEDGER_ZEEK_MAX);
            return false;
        }
        ledger->zeeks[ledger->zeeks_len++].input = input;
    }
    if (!ledger->with_topics) {
        return true;
    }
    if (!cmd_kafka_places(ledger->cmd, ledger->config, &ledger->places)) {
        return false;
    }
    struct proof_source source = {.places = &ledger->places,
                                  .node = ledger->config->node.name,
                                  .health_topic = ledger->config->health.topic,
                                  .shows_progress = isatty(STDERR_FILENO) == 1};
    if (proof_open(&ledger->proof, &source, &fail) != CORE_OK) {
        *code = cmd_exit_of(ledger->cmd, fail.err, &fail);
        return false;
    }
    return true;
}

/* Is there something to read, or will there be? False: said on stderr. An alarm that is started with the first `tapline
 * run` of all may come before it: ended as called wrongly, it would never be started again. */
static bool state_is_there(const struct ledger *ledger, const char *config) {
    struct stat st;
    const bool is_any = stat(ledger->state_dir, &st) == 0;
    if (ledger->with_topics || (is_any && S_ISDIR(st.st_mode))) {
        return true;
    }
    if (is_any || config == NULL || ledger->watch_ns == 0) {
        (void)fprintf(
            stderr, "tapline ledger: %s is no state directory; has `tapline run` been started, and on this machine?\n",
            ledger->state_dir);
        return false;
    }
    core_log(CORE_LEVEL_WARN, "ledger", "the node has no state yet",
             "node_state=\"%s\"; it is looked for every %lld s. `tapline run` makes it: does that run on this machine, "
             "with this configuration?",
             ledger->state_dir, (long long)(ledger->watch_ns / CORE_NS_PER_S));
    return true;
}

static int ledger_main(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args = {0};
    struct ledger ledger = {.cmd = cmd};
    struct core_conf_mistakes mistakes = {0};
    int code = CORE_EXIT_USAGE;
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        return code;
    }
    code = CORE_EXIT_USAGE;
    if (!ledger_args(&ledger, &args)) {
        return code;
    }
    const char *path = cmd_value(cmd, &args, "config");
    if (ledger.is_feed) {
        return ledger_feed(cmd, path, ledger.is_json, ledger.since_ns);
    }
    if (path != NULL && config_load(&ledger.config, path, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        return code;
    }
    ledger.state_dir = path == NULL ? cmd_value(cmd, &args, "state") : ledger.config->node.state;
    ledger.zeeks = calloc(LEDGER_ZEEK_MAX, sizeof *ledger.zeeks); /* pages that are not used cost nothing */
    MUST(ledger.zeeks != NULL);
    if (state_is_there(&ledger, path) && (path == NULL || ledger_open(&ledger, &code))) {
        code = ledger.watch_ns != 0 ? ledger_watch(&ledger) : ledger_once(&ledger);
    }
    proof_verdict_release(&ledger.verdict);
    proof_close(ledger.proof);
    sink_kafka_places_release(&ledger.places);
    free(ledger.zeeks);
    config_free(ledger.config);
    return code;
}

const struct cmd cmd_ledger = {
    .name = "ledger",
    .summary = "Show what became of every record, file by file.",
    .args = "",
    .about =
        "For each file (a generation: what is between two truncations, whatever its name is) the records that were "
        "read, and "
        "how many of them were accepted, became dead letters, were dropped by a rule of a map, or were lost (refused "
        "even as a "
        "dead letter); their difference, which is 0 or something is wrong; the bytes; the time when it was over. Sums "
        "follow "
        "by log (the file's name up to its first dot) and of all. The rows come from node.state, which may be in use. "
        "With "
        "--topics each is held against what Kafka's topics have, by the same reading as verify's. An input with "
        "metrics_url is "
        "held against what Zeek's own telemetry says it has written: all that a look has seen written must have been "
        "read within 30 s, and never may more be read than was written; in a cluster it is the logger that is to be "
        "asked. "
        "--watch stays and follows: a record missing or doubled is an error in the log and a line on stdout "
        "within 60 s. --feed is about the other end, with a feeder's configuration: by day and dataset, the records "
        "that the "
        "topics have (ACCEPTED) and had (DELETED by retention), and what feeders wrote down of them: indexed, repeated "
        "(the "
        "engine had that id already), dead; OPEN are not fed yet. What does not add up is named by topic, partition "
        "and "
        "offsets. Exits 0 if all adds up, 1 if not, 100 if there is no ledger.",
    .example = "tapline ledger -c /etc/tapline/tapline.yml --since 24h\ntapline ledger -c tapline.yml --topics --json\n"
               "tapline ledger -c tapline.yml --topics --watch 30s\n"
               "tapline ledger --feed -c feed.yml",
    .options = ledger_options,
    .run = ledger_main,
};
