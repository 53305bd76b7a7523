/* tests/unit/cmd_config_test.c: the config as a whole (cmd/config.c): defaults, every mistake at its place, paths, and
 * what may change without a restart.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/config.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define INPUTS "inputs:\n  - {type: zeek, paths: [/a/*.log]}\n"
#define SINKS "sinks:\n  file: {path: /out}\n"

static char conf_path[] = "/tmp/cmd_config_test.XXXXXX";

static void conf_write(const char *text) {
    FILE *out = fopen(conf_path, "we");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, strlen(text), out), strlen(text));
    assert_int_equal(fclose(out), 0);
}

static struct config *load_good(const char *text) {
    struct core_conf_mistakes mistakes = {0};
    struct config *config = NULL;
    conf_write(text);
    if (config_load(&config, conf_path, &mistakes) != CORE_OK) {
        fail_msg("%s: %s", mistakes.fails[0].where, mistakes.fails[0].text);
    }
    assert_int_equal(mistakes.len, 0);
    return config;
}

/* Refused with exactly one mistake, at this "line:column", with these words in it. */
static void load_bad(const char *text, const char *place, const char *words) {
    struct core_conf_mistakes mistakes = {0};
    struct config *config = NULL;
    char where[256];
    conf_write(text);
    assert_int_equal(config_load(&config, conf_path, &mistakes), CORE_BAD);
    assert_null(config);
    assert_int_equal(mistakes.len, 1);
    (void)snprintf(where, sizeof(where), "%s:%s", conf_path, place);
    assert_string_equal(mistakes.fails[0].where, where);
    if (strstr(mistakes.fails[0].text, words) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", words, mistakes.fails[0].text);
    }
}

static void test_defaults(void **state) {
    (void)state;
    struct config *config = load_good(INPUTS SINKS);
    char host[256] = {0};
    assert_int_equal(gethostname(host, sizeof(host) - 1), 0);
    assert_string_equal(config->node.name, host);
    assert_string_equal(config->node.state, "/var/lib/tapline");
    assert_int_equal(config->pipeline.batches, 16);
    assert_int_equal(config->pipeline.stop_timeout_ns, 30 * CORE_NS_PER_S);
    assert_int_equal(config->log.level, CORE_LEVEL_INFO);
    assert_int_equal(config->normalize.workers, 1);
    assert_null(config->normalize.maps);
    assert_int_equal(config->inputs_len, 1);
    assert_int_equal(config->inputs[0].origin.type, CORE_ORIGIN_ZEEK);
    assert_int_equal(config->sinks_len, 1);
    assert_string_equal(config->sinks[0].ops->name, "file");
    config_free(config);
}

static void test_empty_sections_are_their_defaults(void **state) {
    (void)state;
    struct config *config = load_good("node:\ningest:\nnormalize:\npipeline:\nlog:\n" INPUTS "sinks:\n  stdout:\n");
    assert_int_equal(config->pipeline.batches, 16);
    assert_string_equal(config->sinks[0].ops->name, "stdout");
    config_free(config);
}

static void test_sinks_keep_their_order(void **state) {
    (void)state;
    struct config *config = load_good(INPUTS "sinks:\n  stdout: {}\n  file: {path: /out}\n");
    assert_int_equal(config->sinks_len, 2);
    assert_string_equal(config->sinks[0].ops->name, "stdout");
    assert_string_equal(config->sinks[1].ops->name, "file");
    config_free(config);
}

static void test_the_keeper_of_positions_comes_last(void **state) {
    (void)state;
    struct config *config = load_good(INPUTS "sinks:\n  kafka: {rdkafka: {bootstrap.servers: 'h:1'}}\n"
                                             "  stdout: {}\n  file: {path: /out}\n");
    assert_int_equal(config->sinks_len, 3);
    assert_string_equal(config->sinks[0].ops->name, "stdout");
    assert_string_equal(config->sinks[1].ops->name, "file");
    assert_string_equal(config->sinks[2].ops->name, "kafka");
    assert_true(config_sinks_order(config));
    assert_string_equal(config->sinks[2].ops->name, "kafka");
    config_free(config);
    config = load_good(INPUTS "sinks:\n  kafka: {delivery: at_least_once, rdkafka: {bootstrap.servers: 'h:1'}}\n"
                              "  file: {path: /out}\n");
    assert_string_equal(config->sinks[0].ops->name, "kafka");
    assert_false(config_sinks_order(config));
    config_free(config);
}

static void test_relative_paths_start_at_the_working_directory(void **state) {
    (void)state;
    char dir[200];
    char want[256];
    assert_non_null(getcwd(dir, sizeof(dir)));
    struct config *config =
        load_good("node: {name: n, state: st}\nnormalize: {maps: configs}\n"
                  "inputs:\n  - {paths: [logs/*.log, /abs/*.log], exclude: [b/c.log, '*.tmp']}\n" SINKS);
    (void)snprintf(want, sizeof(want), "%s/st", dir);
    assert_string_equal(config->node.state, want);
    (void)snprintf(want, sizeof(want), "%s/configs", dir);
    assert_string_equal(config->normalize.maps, want);
    const struct ingest_input *input = &config->inputs[0];
    (void)snprintf(want, sizeof(want), "%s/logs/*.log", dir);
    assert_string_equal(input->paths.items[0].value, want);
    assert_string_equal(input->paths.items[1].value, "/abs/*.log");
    (void)snprintf(want, sizeof(want), "%s/b/c.log", dir);
    assert_string_equal(input->exclude.items[0].value, want);
    assert_string_equal(input->exclude.items[1].value, "*.tmp"); /* a file's name, wherever it is */
    config_free(config);
}

static void test_nothing_but_intel(void **state) {
    (void)state;
    struct core_conf_mistakes mistakes = {0};
    struct config *config = NULL;
    conf_write("intel: {redis: {urls: [\"redis://127.0.0.1\"]}}\n");
    assert_int_equal(config_load_any(&config, conf_path, &mistakes), CORE_OK);
    assert_int_equal(config->inputs_len + config->sinks_len, 0);
    config_free(config);
    assert_int_equal(config_load(&config, conf_path, &mistakes), CORE_BAD); /* nothing that could run */
    assert_int_equal(mistakes.len, 2);
    static const char *const halves[] = {INPUTS "intel: {}\n", SINKS "intel: {}\n", "node: {name: a}\n"};
    for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++) {
        mistakes.len = 0;
        conf_write(halves[i]);
        assert_int_equal(config_load_any(&config, conf_path, &mistakes), CORE_BAD);
        assert_int_equal(mistakes.len, i < 2 ? 1 : 2);
    }
}

static void test_mistakes_and_their_places(void **state) {
    (void)state;
    load_bad("nodes: {}\n" INPUTS SINKS, "1:8", "did you mean \"node\"");
    load_bad("zzz: {}\n" INPUTS SINKS, "1:6", "unknown section");
    load_bad("node: {name: ''}\n" INPUTS SINKS, "1:14", "empty");
    load_bad(SINKS, "1:1", "inputs is missing");
    load_bad("inputs: []\n" SINKS, "1:9", "inputs is empty");
    load_bad("inputs: {paths: [/a]}\n" SINKS, "1:9", "inputs is no list");
    load_bad(INPUTS, "1:1", "sinks is missing");
    load_bad(INPUTS "sinks: {}\n", "3:8", "sinks is empty");
    load_bad(INPUTS "sinks: [file]\n", "3:8", "sinks is no mapping");
    load_bad(INPUTS "sinks:\n  kafak: {}\n", "4:10", "did you mean \"kafka\"");
    load_bad(INPUTS "sinks:\n  cassandra: {}\n", "4:14", "there are");
    load_bad(INPUTS "sinks:\n  file: {}\n", "4:9", "path");
    load_bad("pipeline: {batches: 3}\n" INPUTS SINKS, "1:21", "at least 4");
    load_bad("pipeline: {stop_timeout: 10}\n" INPUTS SINKS, "1:26", "unit");
    load_bad("log: {level: loud}\n" INPUTS SINKS, "1:14", "error, warn, info, debug");
    load_bad("inputs:\n  - {type: zeek, paths: [/a], exlude: [/b]}\n" SINKS, "2:31", "did you mean \"exclude\"");
    load_bad("- a\n- b\n", "1:1", "keys and values");
}

#define FEED "feed: {rdkafka: {bootstrap.servers: 'h:9092'}}\n"

/* What `tapline feed` finds in a file: its one mistake, or "" if it is whole. */
static void load_feed(const char *text, const char *words) {
    struct core_conf_mistakes mistakes = {0};
    struct config *config = NULL;
    conf_write(text);
    enum core_err err = config_load_for(&config, conf_path, CONFIG_FEED, &mistakes);
    if (words[0] == '\0') {
        assert_int_equal(err, CORE_OK);
        assert_true(config->has_feed);
        assert_int_equal(config->inputs_len, 0);
    } else {
        assert_int_equal(err, CORE_BAD);
        assert_int_equal(mistakes.len, 1);
        if (strstr(mistakes.fails[0].text, words) == NULL) {
            fail_msg("\"%s\" is not in \"%s\"", words, mistakes.fails[0].text);
        }
    }
    config_free(config);
}

static void test_what_a_feeder_needs(void **state) {
    (void)state;
    load_feed(FEED SINKS, "");
    load_feed(FEED INPUTS SINKS, "");
    load_feed(SINKS, "feed is missing");
    load_feed(FEED, "sinks is missing");
    load_feed("feed: {}\n" SINKS, "rdkafka");
    load_feed(FEED "sinks: {kafka: {rdkafka: {bootstrap.servers: 'h:9092'}}}\n", "does not write documents into it");
    load_feed("feed: {group: '', rdkafka: {bootstrap.servers: 'h:1'}}\n" SINKS, "group is empty");
    load_feed("feed: {group: dead, rdkafka: {bootstrap.servers: 'h:1'}}\n" SINKS, "group cannot be");
    load_feed("feed: {rdkafka: {client.id: x}}\n" SINKS, "bootstrap.servers is missing");
    load_feed("feed: {rdkafka: {bootstrap.servers: 'h:1', isolation.level: read_uncommitted}}\n" SINKS,
              "cannot be set");
    load_feed("feed: {rdkafka: {bootstrap.servers: 'h:1', bootstrap.server: x}}\n" SINKS, "did you mean");
    load_feed("feed: {topics: ['a b'], rdkafka: {bootstrap.servers: 'h:1'}}\n" SINKS, "no topic's name");
    load_feed("feed: {topics: ['^a(b'], rdkafka: {bootstrap.servers: 'h:1'}}\n" SINKS, "regular expression");
    load_feed("feed: {ledger_topic: tapline.deadletter, rdkafka: {bootstrap.servers: 'h:1'}}\n" SINKS, "three topics");
    struct core_conf_mistakes mistakes = {0};
    struct config *config = NULL;
    conf_write(FEED SINKS); /* no run's, but one that `check` finds nothing wrong with */
    assert_int_equal(config_load(&config, conf_path, &mistakes), CORE_BAD);
    assert_int_equal(config_load_any(&config, conf_path, &mistakes), CORE_OK);
    config_free(config);
}

#define INTEL(text) "intel: {" text "}\n" INPUTS SINKS

/* What run could never mend is found before it: it would start, and mark every event for good. */
static void test_mistakes_of_intel(void **state) {
    (void)state;
    load_bad(INTEL("redis: {urls: ['127.0.0.1:6379']}"), "1:24", "begins with none of redis://");
    load_bad(INTEL("redis: {urls: ['redis://h/0', 'http://h']}"), "1:39", "begins with none of redis://");
    load_bad(INTEL("redis: {urls: redis://h/x}"), "1:23", "the database is no number");
    load_bad(INTEL("redis: {urls: ['unix://relative']}"), "1:24", "not absolute");
    load_bad(INTEL("redis: {urls: ['redis://u:PW@h/0']}"), "1:24", "a user or a password");
    load_bad(INTEL("redis: {urls: ['redis://h'], cert_file: /c}"), "1:49", "go together");
    load_bad(INTEL("redis: {urls: ['redis://h'], username: u}"), "1:48", "without intel.redis.password");
    load_bad(INTEL("redis: {urls: ['redis://h'], prefix: ''}"), "1:46", "1 to 64 bytes");
    load_bad(INTEL("files: [/a], allow: [192.0.2.1, 10.0.0.0/33]"), "1:41", "more bits than an address");
    load_bad(INTEL("files: [/a], allow: ['http://x:y/']"), "1:30", "\"http://x:y/\": it is no host name");
    load_bad(INTEL("files: [/a], allow: 'a b'"), "1:29", "\"a b\": it is no host name");
    config_free(
        load_good(INTEL("files: [/a], allow: [10.0.0.0/8, '2001:db8::1', 'Example.org.', 'http://x/y', a@b.c]")));
    config_free(load_good(INTEL("redis: {urls: ['rediss://[2001:db8::1]:6380/3', 'unix:///s?db=2']}")));
}

/* A password is not even in what is said of it. */
static void test_mistakes_of_intel_show_no_password(void **state) {
    (void)state;
    static const char *const urls[] = {"redis://u:sesame@h/0", "http://u:sesame@h", "u:sesame@h:6379", "sesame@h"};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct core_conf_mistakes mistakes = {0};
        struct config *config = NULL;
        char text[256];
        (void)snprintf(text, sizeof(text), "intel: {redis: {urls: ['%s']}}\n" INPUTS SINKS, urls[i]);
        conf_write(text);
        assert_int_equal(config_load(&config, conf_path, &mistakes), CORE_BAD);
        assert_int_equal(mistakes.len, 1);
        assert_null(strstr(mistakes.fails[0].text, "sesame"));
    }
}

static void test_intel_without_indicators(void **state) {
    (void)state;
    load_bad(INTEL("on_unavailable: wait"), "1:25", "intel.on_unavailable is given, but no indicators are");
    load_bad(INTEL("allow: [10.0.0.0/8]"), "1:16", "intel.allow is given, but no indicators are");
    load_bad(INTEL("redis: {password: sesame}"), "1:27", "intel.redis.password is given, but no indicators are");
    load_bad(INTEL("redis: {urls: []}, lookback: {days: 7}"), "1:45", "intel.lookback.days is given");
    load_bad(INTEL("redis: {prefix: [x]}, on_unavailable: wait"), "1:25", "one value"); /* and no second opinion */
    config_free(load_good(INTEL("on_unavailable: pass, timeout: 200ms, lookback: {days: 0}")));
    load_bad(INTEL("files: [/a], feeds: [{name: a, type: zeek, path: /x}]"), "1:29", "intel.feeds fill Redis");
    config_free(load_good(INTEL("files: [], redis: {urls: []}")));
    config_free(load_good("intel:\n" INPUTS SINKS));
}

static void test_all_mistakes_are_found_at_once(void **state) {
    (void)state;
    struct core_conf_mistakes mistakes = {0};
    struct config *config = NULL;
    conf_write("nod: {}\nlog: {level: loud}\npipeline: {batches: 1}\ninputs: []\nsinks: {fil: {}}\n");
    assert_int_equal(config_load(&config, conf_path, &mistakes), CORE_BAD);
    assert_null(config);
    assert_int_equal(mistakes.len, 5);
}

static void test_a_file_that_is_not_there(void **state) {
    (void)state;
    struct core_conf_mistakes mistakes = {0};
    struct config *config = NULL;
    assert_int_equal(config_load(&config, "/no/such/tapline.yml", &mistakes), CORE_IO);
    assert_null(config);
    assert_int_equal(mistakes.len, 1);
    assert_string_equal(mistakes.fails[0].where, "/no/such/tapline.yml");
}

static void can_swap(const char *now_text, const char *next_text, const char *refused_key) {
    struct config *now = load_good(now_text);
    struct config *next = load_good(next_text);
    const char *key = NULL;
    assert_int_equal(config_can_swap(now, next, &key), refused_key == NULL);
    if (refused_key != NULL) {
        assert_string_equal(key, refused_key);
    }
    config_free(now);
    config_free(next);
}

static void test_what_needs_a_restart(void **state) {
    (void)state;
    const char *now = "node: {name: a, state: /s}\n" INPUTS SINKS;
    can_swap(now, now, NULL);
    can_swap(now, "node: {name: b, state: /s}\n" INPUTS SINKS, "node.name");
    can_swap(now, "node: {name: a, state: /t}\n" INPUTS SINKS, "node.state");
    can_swap(now, "node: {name: a, state: /s}\npipeline: {batches: 32}\n" INPUTS SINKS, "pipeline.batches");
    can_swap(now, "node: {name: a, state: /s}\nnormalize: {workers: 2}\n" INPUTS SINKS, "normalize.workers");
    can_swap(now, "node: {name: a, state: /s}\nnormalize: {community_id_seed: 7}\n" INPUTS SINKS,
             "normalize.community_id_seed"); /* it is part of Kafka's keys */
    can_swap(now, "node: {name: a, state: /s}\n" INPUTS "sinks: {stdout: {}}\n", "sinks");
    can_swap(now, "node: {name: a, state: /s}\n" INPUTS "sinks: {file: {path: /out}, stdout: {}}\n", "sinks");
    can_swap(now, "node: {name: a, state: /s}\n" INPUTS "sinks: {file: {path: /other}}\n", "sinks.file.path");
    can_swap(now,
             "node: {name: a, state: /s}\npipeline: {stop_timeout: 1s}\nlog: {level: debug}\n"
             "normalize: {maps: /other}\ninputs: [{paths: [/b], fields: {x.y: 1}}]\n" SINKS,
             NULL);
}

static void test_sections_are_complete_and_named_once(void **state) {
    (void)state;
    size_t len = 0;
    const struct config_section *sections = config_sections(&len);
    static const char *const want[] = {"node", "inputs[]", "ingest", "normalize", "pipeline", "log", "sinks.file"};
    for (size_t w = 0; w < sizeof(want) / sizeof(want[0]); w++) {
        size_t found = 0;
        for (size_t i = 0; i < len; i++) {
            found += strcmp(sections[i].name, want[w]) == 0;
        }
        assert_int_equal(found, 1);
    }
    for (size_t i = 0; i < len; i++) {
        assert_true(sections[i].summary[0] != '\0');
        for (size_t k = 0; k < sections[i].opts_len; k++) {
            assert_non_null(sections[i].opts[k].help);
        }
    }
}

static int path_make(void **state) {
    (void)state;
    int fd = mkstemp(conf_path);
    return fd < 0 ? -1 : close(fd);
}

static int path_remove(void **state) {
    (void)state;
    return unlink(conf_path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_empty_sections_are_their_defaults),
        cmocka_unit_test(test_sinks_keep_their_order),
        cmocka_unit_test(test_the_keeper_of_positions_comes_last),
        cmocka_unit_test(test_relative_paths_start_at_the_working_directory),
        cmocka_unit_test(test_nothing_but_intel),
        cmocka_unit_test(test_mistakes_and_their_places),
        cmocka_unit_test(test_what_a_feeder_needs),
        cmocka_unit_test(test_mistakes_of_intel),
        cmocka_unit_test(test_mistakes_of_intel_show_no_password),
        cmocka_unit_test(test_intel_without_indicators),
        cmocka_unit_test(test_all_mistakes_are_found_at_once),
        cmocka_unit_test(test_a_file_that_is_not_there),
        cmocka_unit_test(test_what_needs_a_restart),
        cmocka_unit_test(test_sections_are_complete_and_named_once),
    };
    return cmocka_run_group_tests_name("cmd_config", tests, path_make, path_remove);
}
