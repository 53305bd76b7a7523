/* cmd/config_setup.c: the sections `setup:` and `kibana:` of the configuration.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/config_setup.h"

#define SPACE_BYTES_MAX 64
#define HOUR_NS (3600 * CORE_NS_PER_S)

const char config_setup_summary[] = "What `tapline setup` decides about indices and topics.";
const char config_kibana_summary[] =
    "The Kibana, or OpenSearch Dashboards, that `tapline setup` puts the dashboards into.";

#define SETUP_AT(member) offsetof(struct setup_conf, member)
const struct core_opt setup_opts[] = {
    {.key = "retention",
     .type = CORE_OPT_DURATION,
     .offset = SETUP_AT(retention_ns),
     .def = "90d",
     .min = "0",
     .max = "36500d",
     .help =
         "How long documents are kept in the search engine, at least; 0: for ever. An index is removed as a whole when "
         "its last document is so old: a day's index one day later than its first, a month's up to 31 days."},
    {.key = "shards",
     .type = CORE_OPT_UINT,
     .offset = SETUP_AT(shards),
     .def = "1",
     .min = "1",
     .max = "1024",
     .help = "Primary shards of an index; one holds some 50 GB."},
    {.key = "replicas",
     .type = CORE_OPT_UINT,
     .offset = SETUP_AT(replicas),
     .def = "1",
     .max = "100",
     .help = "Copies of each shard on other nodes; 0 for an engine of one node, which else stays yellow."},
    {.key = "topics",
     .type = CORE_OPT_BOOL,
     .offset = SETUP_AT(makes_topics),
     .def = "yes",
     .help = "Make the topics of all datasets, of dead letters, ledgers and positions in the Kafka of section feed."},
    {.key = "partitions",
     .type = CORE_OPT_UINT,
     .offset = SETUP_AT(partitions),
     .def = "4",
     .min = "1",
     .max = "10000",
     .help =
         "Partitions of topics that are made; so many feeders can share the work. A topic that is there keeps its own, "
         "and it is said if that is another number."},
    {.key = "replication_factor",
     .type = CORE_OPT_UINT,
     .offset = SETUP_AT(replication_factor),
     .def = "0",
     .max = "100",
     .help = "Replicas of topics that are made; 0: the broker's default."},
    {.key = "topic_retention",
     .type = CORE_OPT_DURATION,
     .offset = SETUP_AT(topic_retention_ns),
     .def = "7d",
     .min = "0",
     .max = "36500d",
     .help = "How long Kafka keeps documents and dead letters (retention.ms); 0: for ever. So long a search engine can "
             "be away. "
             "Of a topic that is there it is made longer, never shorter."},
};
const size_t setup_opts_len = sizeof(setup_opts) / sizeof(setup_opts[0]);

#define KIBANA_AT(member) offsetof(struct kibana_conf, member)
const struct core_opt kibana_opts[] = {
    {.key = "url",
     .type = CORE_OPT_STRING,
     .offset = KIBANA_AT(url),
     .is_required = true,
     .help = "Where Kibana 8 or OpenSearch Dashboards is: https://kibana.example.com:5601, with its base path if it "
             "has one."},
    {.key = "api_key",
     .type = CORE_OPT_STRING,
     .offset = KIBANA_AT(api_key),
     .is_secret = true,
     .help = "API key, as the engine gives it encoded; @/path reads it from a file."},
    {.key = "username",
     .type = CORE_OPT_STRING,
     .offset = KIBANA_AT(username),
     .help = "User, where there is no API key."},
    {.key = "password",
     .type = CORE_OPT_STRING,
     .offset = KIBANA_AT(password),
     .is_secret = true,
     .help = "The user's password; @/path reads it from a file."},
    {.key = "ca_file",
     .type = CORE_OPT_STRING,
     .offset = KIBANA_AT(ca_file),
     .help = "Certificates (PEM) of the authority to trust; default: the system's."},
    {.key = "cert_file",
     .type = CORE_OPT_STRING,
     .offset = KIBANA_AT(cert_file),
     .help = "Our certificate (PEM), where a proxy before it wants one."},
    {.key = "key_file",
     .type = CORE_OPT_STRING,
     .offset = KIBANA_AT(key_file),
     .help = "Key of cert_file; default: it is in that file, too."},
    {.key = "space",
     .type = CORE_OPT_STRING,
     .offset = KIBANA_AT(space),
     .def = "default",
     .help = "Kibana's space for the dashboards; it must be there."},
    {.key = "timeout",
     .type = CORE_OPT_DURATION,
     .offset = KIBANA_AT(timeout_ns),
     .def = "60s",
     .min = "1s",
     .max = "10m",
     .help = "How long to wait for an answer."},
};
const size_t kibana_opts_len = sizeof(kibana_opts) / sizeof(kibana_opts[0]);

/* Where mistakes are put. */
struct checked {
    const struct core_conf_file *file;
    const struct core_conf_node *node;
    struct core_conf_mistakes *mistakes;
};

static const struct core_conf_node *node_of(const struct checked *checked, const char *key) {
    const struct core_conf_node *at = core_conf_get(checked->node, key);
    return at == NULL ? checked->node : at;
}

static void durations_check(const struct setup_conf *setup, const struct checked *checked) {
    if (setup->retention_ns > 0 && setup->retention_ns < HOUR_NS) {
        core_conf_mistake(
            checked->file, node_of(checked, "retention"), checked->mistakes,
            "setup.retention is less than an hour: documents would go as they come; 0 keeps them for ever");
    }
    if (setup->topic_retention_ns > 0 && setup->topic_retention_ns < HOUR_NS) {
        core_conf_mistake(checked->file, node_of(checked, "topic_retention"), checked->mistakes,
                          "setup.topic_retention is less than an hour: what the feeder has not read by then is lost; 0 "
                          "keeps it for ever");
    }
}

static void url_check(const struct kibana_conf *kibana, const struct checked *checked) {
    const struct core_conf_node *at = node_of(checked, "url");
    bool is_http = strncmp(kibana->url, "http://", 7) == 0 && kibana->url[7] != '\0';
    bool is_https = strncmp(kibana->url, "https://", 8) == 0 && kibana->url[8] != '\0';
    const char *host = strstr(kibana->url, "//");
    if (!is_http && !is_https) {
        core_conf_mistake(checked->file, at, checked->mistakes,
                          "kibana.url \"%s\" is no URL of a server: write it as https://kibana.example.com:5601",
                          kibana->url);
    } else if (memchr(host + 2, '@', strcspn(host + 2, "/?#")) != NULL) {
        core_conf_mistake(
            checked->file, at, checked->mistakes,
            "kibana.url has a user in it: say it as kibana.username and kibana.password, which no message shows");
    } else if (strpbrk(kibana->url, "?#") != NULL) {
        core_conf_mistake(checked->file, at, checked->mistakes,
                          "kibana.url has a ? or # in it: give the address alone");
    }
}

static void kibana_check(const struct kibana_conf *kibana, const struct checked *checked) {
    bool has_user = kibana->username != NULL;
    bool has_password = kibana->password != NULL;
    if (kibana->url != NULL) {
        url_check(kibana, checked);
    }
    if (has_user != has_password) {
        core_conf_mistake(checked->file, node_of(checked, has_user ? "username" : "password"), checked->mistakes,
                          "kibana.%s is missing: a user and a password go together",
                          has_user ? "password" : "username");
    }
    if (kibana->api_key != NULL && has_user) {
        core_conf_mistake(checked->file, node_of(checked, "api_key"), checked->mistakes,
                          "kibana.api_key and kibana.username are both there: one of them says who we are");
    }
    if (kibana->key_file != NULL && kibana->cert_file == NULL) {
        core_conf_mistake(checked->file, node_of(checked, "key_file"), checked->mistakes,
                          "kibana.key_file is the key of a certificate, and kibana.cert_file is missing");
    }
    if (kibana->space != NULL) { /* as Kibana takes them; they become a part of the path */
        size_t len = strspn(kibana->space, "abcdefghijklmnopqrstuvwxyz0123456789_-");
        if (len == 0 || kibana->space[len] != '\0' || len > SPACE_BYTES_MAX) {
            core_conf_mistake(checked->file, node_of(checked, "space"), checked->mistakes,
                              "kibana.space \"%s\" is no space's identifier: lower-case letters, digits, '_' and '-'",
                              kibana->space);
        }
    }
}

void config_setup_check(const struct setup_conf *setup, const struct kibana_conf *kibana,
                        const struct core_conf_file *file, struct core_conf_mistakes *mistakes) {
    const struct core_conf_node *root = core_conf_root(file);
    const struct checked of_setup = {.file = file, .node = core_conf_get(root, "setup"), .mistakes = mistakes};
    const struct checked of_kibana = {.file = file, .node = core_conf_get(root, "kibana"), .mistakes = mistakes};
    durations_check(setup, &of_setup);
    if (of_kibana.node != NULL) {
        kibana_check(kibana, &of_kibana);
    }
}
