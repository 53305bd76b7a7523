/* cmd/run.c: `tapline run`: the command line of the pipeline and the summary at its end.
 *
 * What the last sink accepted is counted by dataset while it runs (cmd/pipeline_threads.c); the summary only adds up. It
 * is talk, so it goes to stderr; --json puts the same on stdout as one object.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/pipeline.h"
#include "core/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define JSON_BYTES_MAX (256 * CORE_KIB)

static const struct cmd_option run_options[] = {
    {.name = "config", .letter = 'c', .arg = "FILE", .help = "The configuration, usually /etc/tapline/tapline.yml."},
    {.name = "once",
     .help = "Read to the end of what is there, wait until all is accepted, say what was done, and end."},
    {.name = "json", .help = "Print the summary as one JSON object on stdout as well."},
    {0},
};

/* ---- the summary ---------------------------------------------------------------------------------------------------- */

/* Why records became dead letters, told by the counters of those who made them. */
static const struct {
    enum core_counter counter;
    const char *reason;
} dead_reasons[] = {
    {CORE_COUNT_NORMALIZE_DEAD, "could not be read"},
    {CORE_COUNT_SINK_REFUSED, "were refused by a sink's server"},
};
#define DEAD_REASONS_LEN (sizeof(dead_reasons) / sizeof(dead_reasons[0]))

/* A place the sink writes to, as the config has it: text keys such as path and topic, and the brokers; no secrets. */
static const char *sink_place(const struct config_sink *sink, size_t row, const char **key) {
    const struct core_opt *opt = &sink->ops->opts[row];
    const char *field = (const char *)sink->conf + opt->offset;
    *key = opt->key;
    if (opt->type == CORE_OPT_STRING && !opt->is_secret) {
        char *const *text = (char *const *)(const void *)field;
        return *text;
    }
    if (opt->type == CORE_OPT_PAIRS) {
        const struct core_conf_list *pairs = (const struct core_conf_list *)(const void *)field;
        for (size_t i = 0; i < pairs->len; i++) {
            if (strcmp(pairs->items[i].key, "bootstrap.servers") == 0 && !pairs->items[i].is_secret) {
                *key = pairs->items[i].key;
                return pairs->items[i].value;
            }
        }
    }
    return NULL;
}

/* With --once nothing is tried again: what could not be read is left out, and the end must not look like a good one. */
static uint64_t files_unread(const struct pipeline_report *report) {
    return core_counted(report->counters, CORE_COUNT_INGEST_FILES_FAILED);
}

/* What intelligence could say, and that it could not. */
static void intel_print(const struct pipeline_report *report) {
    const struct enrich_status *intel = report->intel;
    if (intel == NULL) {
        return;
    }
    uint64_t missed = core_counted(report->counters, CORE_COUNT_ENRICH_UNAVAILABLE);
    (void)fprintf(stderr,
                  "intelligence: %s, %llu indicators, for which the first events waited %.2f s; %llu hits, on %llu "
                  "documents\n",
                  pipeline_intel_word(intel->state), (unsigned long long)intel->indicators,
                  (double)report->intel_waited_ns / (double)CORE_NS_PER_S,
                  (unsigned long long)core_counted(report->counters, CORE_COUNT_ENRICH_HITS),
                  (unsigned long long)core_counted(report->counters, CORE_COUNT_ENRICH_EVENTS));
    if (missed > 0) {
        (void)fprintf(stderr, "%llu documents could not be looked at, and say labels.intel: unavailable\n",
                      (unsigned long long)missed);
    }
    uint64_t left = core_counted(report->counters, CORE_COUNT_LOOKBACK_LEFT);
    if (left > 0) {
        (void)fprintf(stderr,
                      "%llu observables are not kept for looking back: they came faster than they could be written; "
                      "raise intel.lookback.memory\n",
                      (unsigned long long)left);
    }
}

static void summary_print(const struct pipeline_report *report) {
    double seconds = (double)report->elapsed_ns / (double)CORE_NS_PER_S;
    (void)fprintf(stderr, "%llu records accepted in %.2f s (%.0f/s)\n", (unsigned long long)report->events, seconds,
                  seconds > 0 ? (double)report->events / seconds : 0.0);
    for (size_t i = 0; i < report->datasets_len; i++) {
        (void)fprintf(stderr, "  %12llu  %s\n", (unsigned long long)report->datasets[i].events,
                      report->datasets[i].name);
    }
    for (size_t i = 0; i < DEAD_REASONS_LEN; i++) {
        uint64_t count = core_counted(report->counters, dead_reasons[i].counter);
        if (count > 0) {
            (void)fprintf(stderr, "%llu %s and are dead letters\n", (unsigned long long)count, dead_reasons[i].reason);
        }
    }
    struct normalize_drop drop;
    for (size_t i = 0; normalize_drop_at(report->maps, i, &drop); i++) {
        if (drop.dropped > 0) {
            (void)fprintf(stderr, "%llu dropped by %s\n", (unsigned long long)drop.dropped, drop.rule);
        }
    }
    intel_print(report);
    if (files_unread(report) > 0) {
        (void)fprintf(stderr, "%llu files could not be read, or not to their end; the log above says why\n",
                      (unsigned long long)files_unread(report));
    }
    if (report->outstanding > 0) {
        (void)fprintf(stderr, "%llu batches were not accepted; they are read again after the next start\n",
                      (unsigned long long)report->outstanding);
    }
    for (size_t i = 0; i < report->config->sinks_len; i++) {
        const struct config_sink *sink = &report->config->sinks[i];
        (void)fprintf(stderr, "documents: %s", sink->ops->name);
        for (size_t row = 0; row < sink->ops->opts_len; row++) {
            const char *key;
            const char *place = sink_place(sink, row, &key);
            if (place != NULL) {
                (void)fprintf(stderr, " %s=%s", key, place);
            }
        }
        (void)fputc('\n', stderr);
    }
}

static void json_member(struct core_buf *buf, const char *key, uint64_t value, bool is_first) {
    core_buf_put(buf, ",", is_first ? 0 : 1);
    core_buf_string(buf, core_span_of(key));
    core_buf_char(buf, ':');
    core_buf_u64(buf, value);
}

static void json_sinks(struct core_buf *buf, const struct config *config) {
    core_buf_span(buf, CORE_SPAN(",\"sinks\":["));
    for (size_t i = 0; i < config->sinks_len; i++) {
        const struct config_sink *sink = &config->sinks[i];
        core_buf_put(buf, ",", i == 0 ? 0 : 1);
        core_buf_span(buf, CORE_SPAN("{\"name\":"));
        core_buf_string(buf, core_span_of(sink->ops->name));
        for (size_t row = 0; row < sink->ops->opts_len; row++) {
            const char *key;
            const char *place = sink_place(sink, row, &key);
            if (place != NULL) {
                core_buf_char(buf, ',');
                core_buf_string(buf, core_span_of(key));
                core_buf_char(buf, ':');
                core_buf_string(buf, core_span_of(place));
            }
        }
        core_buf_char(buf, '}');
    }
    core_buf_char(buf, ']');
}

/* Rules that dropped something; with too many for the summary only the first, the counter has the sum. */
static void json_dropped(struct core_buf *buf, const struct normalize_maps *maps) {
    struct normalize_drop drop;
    bool is_first = true;
    core_buf_span(buf, CORE_SPAN("},\"dropped\":{"));
    for (size_t i = 0; normalize_drop_at(maps, i, &drop) && (size_t)(buf->end - buf->pos) > JSON_BYTES_MAX / 2; i++) {
        if (drop.dropped > 0) {
            json_member(buf, drop.rule, drop.dropped, is_first);
            is_first = false;
        }
    }
}

static void json_intel(struct core_buf *buf, const struct pipeline_report *report) {
    const struct enrich_status *intel = report->intel;
    core_buf_span(buf, CORE_SPAN(",\"intel\":{\"state\":"));
    core_buf_string(buf, core_span_of(pipeline_intel_word(intel == NULL ? ENRICH_OFF : intel->state)));
    if (intel != NULL) {
        json_member(buf, "indicators", intel->indicators, false);
        json_member(buf, "filter_bytes", intel->filter_bytes, false);
        json_member(buf, "build_ns", (uint64_t)intel->build_ns, false);
        json_member(buf, "waited_ns", (uint64_t)report->intel_waited_ns, false);
    }
    core_buf_char(buf, '}');
}

static void summary_json(const struct pipeline_report *report) {
    char *bytes = malloc(JSON_BYTES_MAX);
    MUST(bytes != NULL);
    struct core_buf buf = {.start = bytes, .pos = bytes, .end = bytes + JSON_BYTES_MAX};
    core_buf_char(&buf, '{');
    json_member(&buf, "accepted", report->events, true);
    json_member(&buf, "elapsed_ns", (uint64_t)report->elapsed_ns, false);
    json_member(&buf, "outstanding_batches", report->outstanding, false);
    core_buf_span(&buf, CORE_SPAN(",\"datasets\":{"));
    for (size_t i = 0; i < report->datasets_len; i++) {
        json_member(&buf, report->datasets[i].name, report->datasets[i].events, i == 0);
    }
    json_dropped(&buf, report->maps);
    core_buf_span(&buf, CORE_SPAN("},\"counters\":{"));
    for (int i = 0; i < CORE_COUNT__MAX; i++) {
        json_member(&buf, core_counter_table[i].name, core_counted(report->counters, (enum core_counter)i), i == 0);
    }
    core_buf_char(&buf, '}');
    json_intel(&buf, report);
    json_sinks(&buf, report->config);
    core_buf_span(&buf, CORE_SPAN("}\n"));
    MUST(!buf.is_full);
    struct core_span text = core_buf_written(&buf);
    if (fwrite(text.ptr, 1, text.len, stdout) != text.len || fflush(stdout) != 0) {
        core_log(CORE_LEVEL_ERROR, "run", "cannot write the summary to stdout",
                 "error=\"%s\"; what was to be done was done, the log and the exit code tell", strerror(errno));
    }
    free(bytes);
}

/* ---- the command ---------------------------------------------------------------------------------------------------- */

static int run_with(struct config *config, const struct pipeline_options *options, bool is_json) {
    struct core_conf_mistakes mistakes = {0};
    struct core_fail fail = {0};
    struct pipeline *pipeline = NULL;
    enum core_err err = pipeline_open(&pipeline, config, options, &mistakes, &fail);
    if (err != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        core_log_fail(CORE_LEVEL_ERROR, "run", "cannot start", &fail);
        core_log_flush();
        return (int)pipeline_exit(err);
    }
    err = pipeline_run(pipeline, &fail);
    core_log_flush();
    struct pipeline_report report;
    pipeline_report(pipeline, &report);
    if (options->is_once) {
        summary_print(&report);
    }
    if (is_json) {
        summary_json(&report);
    }
    const bool is_all_read = !options->is_once || files_unread(&report) == 0;
    pipeline_close(pipeline);
    return err == CORE_OK && !is_all_read ? CORE_EXIT_SYSTEM : (int)pipeline_exit(err);
}

static int run_main(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args = {0};
    int exit_code = CORE_EXIT_USAGE;
    if (!cmd_parse(cmd, argc, argv, &args, &exit_code)) {
        return exit_code;
    }
    const char *path = cmd_value(cmd, &args, "config");
    if (path == NULL || args.files_len > 0) {
        (void)fprintf(stderr, "tapline run: %s\n",
                      path == NULL ? "which configuration? give it with -c FILE"
                                   : "takes no files: they are named by inputs: in the configuration");
        return CORE_EXIT_USAGE;
    }
    struct core_conf_mistakes mistakes = {0};
    struct config *config = NULL;
    if (config_load(&config, path, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        return CORE_EXIT_USAGE;
    }
    bool is_json = cmd_value(cmd, &args, "json") != NULL;
    if (is_json && config_writes_to_stdout(config)) {
        (void)fprintf(stderr, "tapline run: --json and the stdout sink would mix on stdout; leave one out\n");
        config_free(config);
        return CORE_EXIT_USAGE;
    }
    struct pipeline_options options = {.config_path = path,
                                       .is_once = cmd_value(cmd, &args, "once") != NULL,
                                       .shows_progress = isatty(STDERR_FILENO) == 1};
    return run_with(config, &options, is_json);
}

const struct cmd cmd_run = {
    .name = "run",
    .summary = "Follow sensor logs and deliver each record as a document, exactly as the configuration says.",
    .args = "",
    .about =
        "Tails the files named by inputs:, makes one document of each record and gives it to every sink. A record "
        "counts as done when all sinks have accepted it, and only that is remembered, so a crash or a kill loses "
        "nothing. "
        "Into Kafka it repeats nothing either: records and positions are one transaction, and sinks.kafka.delivery "
        "says "
        "more; other sinks may get records again, with the same id. A second process on the same node.state is "
        "refused; "
        "one with the same node.name on another machine takes the node over, and this one ends with 100. "
        "SIGTERM and SIGINT stop: what is under way is delivered within pipeline.stop_timeout; a second one ends at "
        "once. "
        "SIGHUP reads the configuration and the maps again; with a mistake in them the old ones stay. SIGUSR1 writes "
        "the "
        "counters to the log.",
    .example = "tapline run -c /etc/tapline/tapline.yml\ntapline run -c tapline.yml --once --json",
    .options = run_options,
    .run = run_main,
};
