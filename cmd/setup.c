/* cmd/setup.c: `tapline setup`: makes a Kafka, a search engine and a Kibana ready for our documents.
 *
 * Everything is looked at first, and only what differs is written, so that a second run changes nothing; what is written
 * carries our mark and a version, by which an older one is replaced and a newer one is not. Parts do not depend on each
 * other: when one fails, the others are done all the same, and the exit code says so. Nothing here ever removes a document, a
 * record, an index or a topic, or shortens how long something is kept in Kafka.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/setup_internal.h"

#include <stdio.h>
#include <stdlib.h>

static const struct cmd_option options[] = {
    {"config", 'c', "FILE", "The configuration: feed (Kafka), sinks.elasticsearch, kibana, setup."},
    {"check", 0, NULL, "Change nothing; say what differs, and exit with 1 if something does."},
    {"remove", 0, NULL, "Take away what setup has put into the search engine and Kibana; never an index or a topic."},
    {"force", 0, NULL, "Replace what a newer tapline, or somebody else, has put there under our names."},
    {"json", 0, NULL, "Print one JSON object a thing, and one with the sums at the end."},
    {"kibana-ndjson", 0, NULL, "Print the dashboards as the file that Kibana imports by hand, and do nothing else."},
    {0},
};

static const char *const result_words[SETUP_RESULT__MAX] = {
    [SETUP_SAME] = "same",       [SETUP_CREATED] = "created", [SETUP_UPGRADED] = "upgraded",
    [SETUP_CHANGED] = "changed", [SETUP_REMOVED] = "removed", [SETUP_MISSING] = "missing",
    [SETUP_DIFFERS] = "differs", [SETUP_LEFT] = "left",       [SETUP_SKIPPED] = "skipped",
    [SETUP_FAILED] = "failed",
};

/* ---- what is told --------------------------------------------------------------------------------------------------------- */

static void member_print(const char *key, const char *value) {
    printf("\"%s\":", key);
    cmd_print_json_string(stdout, core_span_of(value));
}

void setup_tell(struct setup *setup, const struct setup_thing *thing, enum setup_result result, const char *why) {
    MUST(result < SETUP_RESULT__MAX);
    setup->counts[result]++;
    if (!setup->is_json) {
        why = result == SETUP_FAILED ? "see stderr" : why;
        printf("%-8s  %-13s  %s %s%s%s\n", result_words[result], thing->part, thing->kind, thing->name,
               why == NULL ? "" : ": ", why == NULL ? "" : why);
        return;
    }
    printf("{");
    member_print("part", thing->part);
    printf(",");
    member_print("kind", thing->kind);
    printf(",");
    member_print("name", thing->name);
    printf(",");
    member_print("result", result_words[result]);
    if (why != NULL) {
        printf(",");
        member_print("why", why);
    }
    printf("}\n");
}

void setup_tell_failed(struct setup *setup, const struct setup_thing *thing, const struct core_fail *fail) {
    char why[sizeof(fail->where) + sizeof(fail->text) + 8];
    (void)snprintf(why, sizeof(why), "%s: %s", fail->where, fail->text);
    setup_tell(setup, thing, SETUP_FAILED, why);
    (void)fflush(stdout);
    (void)fprintf(stderr, "tapline setup: %s: %s %s: %s\n", thing->part, thing->kind, thing->name, why);
    if (setup->exit_code != CORE_EXIT_USAGE) { /* what a restart does not mend outweighs what it may */
        setup->exit_code = fail->err == CORE_BAD || fail->err == CORE_LOCKED ? CORE_EXIT_USAGE : CORE_EXIT_SYSTEM;
    }
}

enum setup_result setup_result_of(const struct setup *setup, bool is_there, bool is_older) {
    if (setup->mode == SETUP_CHECK) {
        return is_there ? SETUP_DIFFERS : SETUP_MISSING;
    }
    return !is_there ? SETUP_CREATED : is_older ? SETUP_UPGRADED : SETUP_CHANGED;
}

static void sums_print(const struct setup *setup) {
    const char *before = setup->is_json ? "{\"summary\":{" : "";
    for (int i = 0; i < SETUP_RESULT__MAX; i++) {
        if (setup->is_json) {
            printf("%s\"%s\":%zu", before, result_words[i], setup->counts[i]);
            before = ",";
        } else if (setup->counts[i] > 0) {
            printf("%s%zu %s", before, setup->counts[i], result_words[i]);
            before = ", ";
        }
    }
    printf(setup->is_json ? "}}\n" : *before == '\0' ? "nothing to do\n" : "\n");
}

/* ---- command -------------------------------------------------------------------------------------------------------------- */

static bool has_sink(const struct config *config, const char *name) {
    bool has = false;
    for (size_t i = 0; i < config->sinks_len; i++) {
        has = has || strcmp(config->sinks[i].ops->name, name) == 0;
    }
    return has;
}

static int parts_run(struct setup *setup) {
    struct core_conf_mistakes mistakes = {0};
    const struct normalize_conf conf = cmd_normalize_conf(&setup->config->normalize);
    bool has_kafka = setup->config->has_feed && setup->config->setup.makes_topics && setup->mode != SETUP_REMOVE;
    bool has_engine = has_sink(setup->config, "elasticsearch");
    if (!setup->config->has_feed && !has_engine && setup->config->kibana.url == NULL) {
        (void)fprintf(stderr,
                      "tapline setup: %s has nothing to set up: it wants feed (Kafka), sinks.elasticsearch or kibana\n",
                      cmd_value(setup->cmd, &setup->args, "config"));
        return CORE_EXIT_USAGE;
    }
    if ((has_kafka || has_engine) && normalize_maps_open(&setup->maps, &conf, NULL, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        return CORE_EXIT_USAGE;
    }
    if (has_kafka) {
        setup_kafka(setup);
    }
    if (has_engine) {
        setup_engine(setup);
    }
    if (setup->config->kibana.url != NULL) {
        setup_kibana(setup);
    }
    sums_print(setup);
    normalize_maps_close(setup->maps);
    size_t differing = setup->counts[SETUP_MISSING] + setup->counts[SETUP_DIFFERS];
    return setup->exit_code != CORE_EXIT_DONE ? setup->exit_code : differing > 0 ? CORE_EXIT_NO : CORE_EXIT_DONE;
}

static int run(const struct cmd *cmd, int argc, char **argv) {
    struct setup setup = {.cmd = cmd, .version = normalize_export_version(TAPLINE_VERSION)};
    struct core_conf_mistakes mistakes = {0};
    int code;
    if (!cmd_parse(cmd, argc, argv, &setup.args, &code)) {
        return code;
    }
    if (cmd_value(cmd, &setup.args, "kibana-ndjson") != NULL) {
        return setup_kibana_print();
    }
    const char *path = cmd_value(cmd, &setup.args, "config");
    bool is_check = cmd_value(cmd, &setup.args, "check") != NULL;
    bool is_remove = cmd_value(cmd, &setup.args, "remove") != NULL;
    if (path == NULL || (is_check && is_remove)) {
        (void)fprintf(stderr, "tapline setup: %s\n",
                      path == NULL ? "needs a configuration: -c FILE"
                                   : "--check and --remove are two different things");
        return CORE_EXIT_USAGE;
    }
    if (config_load_for(&setup.config, path, CONFIG_SETUP, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        return CORE_EXIT_USAGE;
    }
    setup.mode = is_check ? SETUP_CHECK : is_remove ? SETUP_REMOVE : SETUP_INSTALL;
    setup.is_json = cmd_value(cmd, &setup.args, "json") != NULL;
    setup.is_forced = cmd_value(cmd, &setup.args, "force") != NULL;
    code = parts_run(&setup);
    config_free(setup.config);
    return code;
}

const struct cmd cmd_setup = {
    .name = "setup",
    .summary = "make Kafka, the search engine and Kibana ready for documents",
    .args = "",
    .about =
        "Looks at everything and writes only what differs: the topics in the Kafka of section feed (of each dataset, "
        "of dead "
        "letters, the feeder's ledger, positions), templates and life-cycle in the Elasticsearch 8 or OpenSearch 2 of "
        "sinks.elasticsearch, the dashboards in the Kibana 8 or OpenSearch Dashboards of section kibana; what has no "
        "section is "
        "left alone. A second run changes nothing. What an older tapline has put there is upgraded; if a newer one was "
        "there, "
        "nothing is changed without --force. Templates are for new indices: those that are there keep their fields "
        "until the next "
        "day or month. An engine without life-cycle management (ILM, ISM) is said so, and its indices are for you to "
        "remove. No "
        "document, index or topic is ever removed, and no topic's retention shortened. Prints a line a thing: same, "
        "created, "
        "upgraded, changed, removed, missing, differs, left (for you to decide), skipped, failed. Exits 0 if all is as "
        "it should "
        "be, 1 if --check found a difference, 100 if something was refused, 111 if a server was away.",
    .example = "tapline setup -c /etc/tapline/feed.yml\n"
               "tapline setup -c /etc/tapline/feed.yml --check --json | jq 'select(.result == \"differs\")'\n"
               "tapline setup --kibana-ndjson >tapline.ndjson",
    .options = options,
    .run = run,
};
