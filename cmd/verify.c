/* cmd/verify.c: `tapline verify`: proves from Kafka alone that a node's records are all there, each once.
 *
 * It needs no access to the node: positions and records are both in Kafka. What is read and how it is judged is
 * cmd/proof.c's; this is the command line and the answer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/config.h"
#include "cmd/proof.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct cmd_option verify_options[] = {
    {.name = "config",
     .letter = 'c',
     .arg = "FILE",
     .help = "The configuration; its sinks.kafka says which brokers and topics."},
    {.name = "node", .letter = 'n', .arg = "NAME", .help = "The node to look at (default: the configuration's)."},
    {.name = "json", .help = "Print the answer as one JSON object on stdout."},
    {0},
};

static const struct config_sink *kafka_sink(const struct cmd *cmd, const struct config *config) {
    for (size_t i = 0; i < config->sinks_len; i++) {
        if (strcmp(config->sinks[i].ops->name, "kafka") == 0) {
            return &config->sinks[i];
        }
    }
    (void)fprintf(stderr, "tapline %s: the configuration has no sinks.kafka, so there are no topics to look at\n",
                  cmd->name);
    return NULL;
}

bool cmd_kafka_places(const struct cmd *cmd, const struct config *config, struct sink_kafka_places *places) {
    const struct config_sink *sink = kafka_sink(cmd, config);
    if (sink == NULL) {
        return false;
    }
    if (sink_kafka_places(sink->conf, places) == CORE_OK) {
        return true;
    }
    sink_kafka_places_release(places);
    (void)fprintf(stderr,
                  "tapline %s: sinks.kafka.delivery is at_least_once: then Kafka has no positions to hold records "
                  "against, and repeats are allowed; exactly_once has\n",
                  cmd->name);
    return false;
}

int cmd_exit_of(const struct cmd *cmd, enum core_err err, const struct core_fail *fail) {
    (void)fprintf(stderr, "tapline %s: %s: %s\n", cmd->name, fail->where, fail->text);
    return err == CORE_BAD ? CORE_EXIT_USAGE : CORE_EXIT_SYSTEM;
}

static void horizon_put(const struct proof_verdict *verdict, char out[28]) {
    out[27] = '\0';
    MUST(core_time_iso((int64_t)verdict->horizon_s * CORE_NS_PER_S, out));
}

static void answer_text(const struct proof *proof, const struct proof_verdict *verdict) {
    char text[512];
    size_t shown = 0;
    for (size_t i = 0; i < verdict->len && shown < PROOF_SHOWN_MAX; i++) {
        if (verdict->findings[i].kind != PROOF_NOT_JUDGED) {
            proof_print_finding(stdout, proof, &verdict->findings[i]);
            shown++;
        }
    }
    if (verdict->wrong > shown) {
        printf("… and %zu more%s\n", verdict->wrong - shown, verdict->len > shown ? "; --json lists more of them" : "");
    }
    printf("node %s: files %" PRIu64 ", records %" PRIu64 ", bytes %" PRIu64 "\n", proof->source.node,
           verdict->generations, verdict->proven_records, verdict->proven_bytes);
    printf("read: %" PRIu64 " records in %zu topics; of these %" PRIu64
           " of other nodes or of files no longer remembered, "
           "%" PRIu64 " without tapline's header, %" PRIu64 " newer than their position\n",
           proof->records, proof->topics_len, proof->records_foreign + verdict->unknown, proof->records_headerless,
           verdict->newer);
    if (verdict->horizon_s != 0) {
        horizon_put(verdict, text);
        printf("retention: some partitions have lost their beginning; all are whole from %s on; %" PRIu64
               " holes in what is older are not judged\n",
               text, verdict->count[PROOF_NOT_JUDGED]);
    }
    if (verdict->is_explain_full) {
        printf("so much came twice that not all of it was looked at: the numbers of doubled records are too low\n");
    }
    proof_say_counts(verdict, text, sizeof text);
    if (verdict->wrong > 0) {
        printf("NOT complete: %s\n", text);
    } else {
        printf("complete%s: the bytes of all records join, each is there once\n",
               verdict->count[PROOF_NOT_JUDGED] > 0 ? " within retention" : "");
    }
}

static void answer_json(const struct proof *proof, const struct proof_verdict *verdict) {
    char horizon[28] = "";
    printf("{\"node\":");
    cmd_print_json_string(stdout, core_span_of(proof->source.node));
    printf(",\"complete\":%s,\"generations\":%" PRIu64 ",\"records\":%" PRIu64 ",\"bytes\":%" PRIu64
           ",\"newer\":%" PRIu64,
           verdict->wrong == 0 ? "true" : "false", verdict->generations, verdict->proven_records, verdict->proven_bytes,
           verdict->newer);
    printf(",\"read\":{\"records\":%" PRIu64 ",\"topics\":%zu,\"other_generations\":%" PRIu64
           ",\"without_header\":%" PRIu64 "}",
           proof->records, proof->topics_len, proof->records_foreign + verdict->unknown, proof->records_headerless);
    if (verdict->horizon_s != 0) {
        horizon_put(verdict, horizon);
        printf(",\"horizon\":\"%s\"", horizon);
    }
    printf(",\"counts\":");
    proof_json_counts(stdout, verdict);
    printf(",\"findings\":");
    proof_json_findings(stdout, proof, verdict);
    printf(",\"findings_not_listed\":%" PRIu64 ",\"doubled_is_whole\":%s}\n",
           (uint64_t)verdict->wrong + verdict->count[PROOF_NOT_JUDGED] - verdict->len,
           verdict->is_explain_full ? "false" : "true");
}

static int verify_node(const struct cmd *cmd, const struct proof_source *source, bool is_json) {
    struct proof *proof = NULL;
    struct proof_verdict verdict = {0};
    struct core_fail fail = {0};
    int code = CORE_EXIT_DONE;
    enum core_err err = proof_open(&proof, source, &fail);
    if (err == CORE_OK) {
        err = proof_settle(proof, &verdict, &fail);
    }
    if (err != CORE_OK) {
        code = cmd_exit_of(cmd, err, &fail);
        goto out;
    }
    (is_json ? answer_json : answer_text)(proof, &verdict);
    code = verdict.wrong > 0 ? CORE_EXIT_NO : CORE_EXIT_DONE;
out:
    proof_verdict_release(&verdict);
    proof_close(proof);
    return code;
}

static int verify_main(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args = {0};
    int exit_code = CORE_EXIT_USAGE;
    if (!cmd_parse(cmd, argc, argv, &args, &exit_code)) {
        return exit_code;
    }
    const char *path = cmd_value(cmd, &args, "config");
    if (path == NULL) {
        (void)fprintf(stderr, "tapline verify: which brokers and topics? give the configuration with -c FILE\n");
        return CORE_EXIT_USAGE;
    }
    struct core_conf_mistakes mistakes = {0};
    struct config *config = NULL;
    if (config_load(&config, path, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        return CORE_EXIT_USAGE;
    }
    struct sink_kafka_places places = {0};
    int code = CORE_EXIT_USAGE;
    if (cmd_kafka_places(cmd, config, &places)) {
        const char *node = cmd_value(cmd, &args, "node");
        struct proof_source source = {.places = &places,
                                      .node = node == NULL ? config->node.name : node,
                                      .health_topic = config->health.topic,
                                      .shows_progress = isatty(STDERR_FILENO) == 1};
        code = verify_node(cmd, &source, cmd_value(cmd, &args, "json") != NULL);
        sink_kafka_places_release(&places);
    }
    config_free(config);
    return code;
}

const struct cmd cmd_verify = {
    .name = "verify",
    .summary = "Prove that a node's records are all in Kafka, each once.",
    .args = "",
    .about =
        "Reads all topics that sinks.kafka can write to, dead letters included, and the positions of the node, as any "
        "other consumer would (read_committed), from the beginning to what is there when it starts, and shows that for "
        "each "
        "file the byte ranges in the records' headers join, without a gap and without an overlap, from where reading "
        "began to the file's position, and that records and dead letters are as many as the position says. Each "
        "gap is named with its bytes, the records on both sides of it and how to get at the bytes in the file. What "
        "retention has deleted cannot be judged: a hole beside a record that is older than the newest first record of "
        "the "
        "partitions that lost their beginning is counted, not held against the node; a log all of whose records are in "
        "one "
        "topic is judged by that topic and the dead letters. Files are remembered for ingest.remember after they are "
        "finished; records of files older than that, and of other nodes, are counted as of other generations. It "
        "needs nothing of the node itself, may run beside it, and holds 24 bytes for each record whose neighbours it "
        "has "
        "not seen yet (at most 384 MiB). sinks.kafka.delivery has to be exactly_once, or auto where that gives it. "
        "Exits 0 if all is there, 1 if something is missing, doubled or different, 100 if nothing can be proven (no "
        "positions of that node, no topic of positions, delivery at_least_once, a mistake in the configuration), "
        "111 if brokers cannot be read.",
    .example = "tapline verify -c /etc/tapline/tapline.yml --node probe-1\ntapline verify -c tapline.yml --json | jq "
               ".findings",
    .options = verify_options,
    .run = verify_main,
};
