/* cmd/feed.c: `tapline feed`: the command line of the pipeline from Kafka to a search engine, and the summary at its end.
 *
 * What is summed up is what was committed (ingest/feed.h): a document that was indexed by a process that died before its
 * commit is in the next one's sum, as a repeat. The summary is talk, so it goes to stderr; --json puts the same on stdout as
 * one object.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/pipeline.h"
#include "core/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define JSON_BYTES_MAX (512 * CORE_KIB)

static const struct cmd_option feed_options[] = {
    {.name = "config", .letter = 'c', .arg = "FILE", .help = "The configuration, with a section feed."},
    {.name = "once",
     .help =
         "Read to the ends that the partitions have at the start, wait until all is committed, by other feeders of the "
         "group too, say what was done, and end."},
    {.name = "json", .help = "Print the summary as one JSON object on stdout as well."},
    {0},
};

/* ---- the summary ---------------------------------------------------------------------------------------------------- */

static uint64_t counted(const struct pipeline_report *report, enum core_counter id) {
    return core_counted(report->counters, id);
}

static void lines_print(const struct feed_count *counts, size_t len) {
    for (size_t i = 0; i < len; i++) {
        (void)fprintf(stderr, "  %12llu  %s\n", (unsigned long long)counts[i].count, counts[i].name);
    }
}

static void summary_print(const struct pipeline_report *report) {
    const struct feed_summary *feed = report->feed;
    double seconds = (double)report->elapsed_ns / (double)CORE_NS_PER_S;
    uint64_t done = feed->indexed + feed->repeated;
    (void)fprintf(stderr, "%llu records read; %llu documents indexed, %llu were there already; in %.2f s (%.0f/s)\n",
                  (unsigned long long)counted(report, CORE_COUNT_FEED_RECORDS), (unsigned long long)feed->indexed,
                  (unsigned long long)feed->repeated, seconds, seconds > 0 ? (double)done / seconds : 0.0);
    lines_print(feed->datasets, feed->datasets_len);
    if (feed->dead > 0) {
        (void)fprintf(stderr, "%llu were refused and are dead letters: tapline dead-letter list shows them\n",
                      (unsigned long long)feed->dead);
        lines_print(feed->reasons, feed->reasons_len);
    }
    if (counted(report, CORE_COUNT_FEED_LOST) > 0) {
        (void)fprintf(stderr, "%llu of these were dead letters already; they stay in their topic\n",
                      (unsigned long long)counted(report, CORE_COUNT_FEED_LOST));
    }
    if (feed->lag > 0) {
        (void)fprintf(stderr, "%llu records of %zu partitions are not done\n", (unsigned long long)feed->lag,
                      feed->shares_len);
    }
    if (report->outstanding > 0) {
        (void)fprintf(stderr, "%llu batches were not committed; they are read again after the next start\n",
                      (unsigned long long)report->outstanding);
    }
}

static void json_member(struct core_buf *buf, const char *key, uint64_t value, bool is_first) {
    core_buf_put(buf, ",", is_first ? 0 : 1);
    core_buf_string(buf, core_span_of(key));
    core_buf_char(buf, ':');
    core_buf_u64(buf, value);
}

static void json_counts(struct core_buf *buf, const char *name, const struct feed_count *counts, size_t len) {
    core_buf_char(buf, ',');
    core_buf_string(buf, core_span_of(name));
    core_buf_span(buf, CORE_SPAN(":{"));
    for (size_t i = 0; i < len; i++) {
        json_member(buf, counts[i].name, counts[i].count, i == 0);
    }
    core_buf_char(buf, '}');
}

static void summary_json(const struct pipeline_report *report) {
    const struct feed_summary *feed = report->feed;
    char *bytes = malloc(JSON_BYTES_MAX);
    MUST(bytes != NULL);
    struct core_buf buf = {.start = bytes, .pos = bytes, .end = bytes + JSON_BYTES_MAX};
    core_buf_char(&buf, '{');
    json_member(&buf, "records", counted(report, CORE_COUNT_FEED_RECORDS), true);
    json_member(&buf, "indexed", feed->indexed, false);
    json_member(&buf, "repeated", feed->repeated, false);
    json_member(&buf, "dead", feed->dead, false);
    core_buf_span(&buf, CORE_SPAN(",\"lag\":"));
    core_buf_i64(&buf, feed->lag);
    json_member(&buf, "partitions", feed->shares_len, false);
    json_member(&buf, "elapsed_ns", (uint64_t)report->elapsed_ns, false);
    json_member(&buf, "outstanding_batches", report->outstanding, false);
    json_counts(&buf, "datasets", feed->datasets, feed->datasets_len);
    json_counts(&buf, "reasons", feed->reasons, feed->reasons_len);
    core_buf_span(&buf, CORE_SPAN(",\"counters\":{"));
    for (int i = 0; i < CORE_COUNT__MAX; i++) {
        json_member(&buf, core_counter_table[i].name, counted(report, (enum core_counter)i), i == 0);
    }
    core_buf_span(&buf, CORE_SPAN("}}\n"));
    MUST(!buf.is_full);
    struct core_span text = core_buf_written(&buf);
    if (fwrite(text.ptr, 1, text.len, stdout) != text.len || fflush(stdout) != 0) {
        core_log(CORE_LEVEL_ERROR, "feed", "cannot write the summary to stdout",
                 "error=\"%s\"; what was to be done was done, the log and the exit code tell", strerror(errno));
    }
    free(bytes);
}

/* ---- the command ---------------------------------------------------------------------------------------------------- */

static int feed_with(struct config *config, const struct pipeline_options *options, bool is_json) {
    struct core_conf_mistakes mistakes = {0};
    struct core_fail fail = {0};
    struct pipeline *pipeline = NULL;
    enum core_err err = pipeline_open(&pipeline, config, options, &mistakes, &fail);
    if (err != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        core_log_fail(CORE_LEVEL_ERROR, "feed", "cannot start", &fail);
        core_log_flush();
        return (int)pipeline_exit(err);
    }
    err = pipeline_run(pipeline, &fail);
    core_log_flush();
    struct pipeline_report report;
    pipeline_report(pipeline, &report);
    MUST(report.feed != NULL);
    if (options->is_once) {
        summary_print(&report);
    }
    if (is_json) {
        summary_json(&report);
    }
    pipeline_close(pipeline);
    return (int)pipeline_exit(err);
}

static int feed_main(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args = {0};
    int exit_code = CORE_EXIT_USAGE;
    if (!cmd_parse(cmd, argc, argv, &args, &exit_code)) {
        return exit_code;
    }
    const char *path = cmd_value(cmd, &args, "config");
    if (path == NULL || args.files_len > 0) {
        (void)fprintf(stderr, "tapline feed: %s\n",
                      path == NULL ? "which configuration? give it with -c FILE"
                                   : "takes no files: it reads the topics named by feed.topics in the configuration");
        return CORE_EXIT_USAGE;
    }
    struct core_conf_mistakes mistakes = {0};
    struct config *config = NULL;
    if (config_load_for(&config, path, CONFIG_FEED, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        return CORE_EXIT_USAGE;
    }
    bool is_json = cmd_value(cmd, &args, "json") != NULL;
    if (is_json && config_writes_to_stdout(config)) {
        (void)fprintf(stderr, "tapline feed: --json and the stdout sink would mix on stdout; leave one out\n");
        config_free(config);
        return CORE_EXIT_USAGE;
    }
    struct pipeline_options options = {.kind = PIPELINE_FEED,
                                       .config_path = path,
                                       .is_once = cmd_value(cmd, &args, "once") != NULL,
                                       .shows_progress = isatty(STDERR_FILENO) == 1};
    return feed_with(config, &options, is_json);
}

const struct cmd cmd_feed = {
    .name = "feed",
    .summary = "Deliver the documents in Kafka to a search engine, each exactly once.",
    .args = "",
    .about =
        "Reads the topics named by section feed as a member of a consumer group, and gives each document to every "
        "sink: "
        "sinks.elasticsearch for Elasticsearch and OpenSearch. Start more of them, here or on other machines, and they "
        "share "
        "the partitions. Offsets are committed when the documents before them have ended: indexed, known as a repeat "
        "by "
        "their id, or put into the topic of dead letters with the engine's reason; offsets, dead letters and the "
        "ledger are "
        "one transaction. So a crash or a kill loses nothing and doubles nothing. The index needs tapline's templates: "
        "run "
        "tapline setup first. This is the only command that needs the engine's credentials while it runs. "
        "SIGTERM and SIGINT stop: what is under way is committed within pipeline.stop_timeout, and the partitions go "
        "to the "
        "others at once; a second signal ends at once. SIGHUP reads pipeline.stop_timeout and log.level again. SIGUSR1 "
        "writes the counters to the log, and how far each partition is behind.",
    .example = "tapline feed -c /etc/tapline/feed.yml\ntapline feed -c feed.yml --once --json",
    .options = feed_options,
    .run = feed_main,
};
