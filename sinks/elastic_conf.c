/* sinks/elastic_conf.c: the keys of the elasticsearch sink, and what they mean to others: where the engine is, by what it
 * knows us, and how to see whether it is there.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/elastic_internal.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

#define AUTH_BYTES_MAX ((size_t)2048)
#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789._"

static const char *const compressions[] = {"none", "gzip", NULL};        /* enum elastic_compression */
static const char *const index_modes[] = {"index", "data_stream", NULL}; /* enum elastic_mode */

const struct core_opt elastic_opts[ELASTIC_OPTS_LEN] = {
    {.key = "hosts",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct elastic_conf, hosts),
     .def = "http://127.0.0.1:9200",
     .needs_restart = true,
     .help =
         "URLs of the search engine's nodes (Elasticsearch from 8.0, or OpenSearch); they are used in turn, and one "
         "that fails rests until it answers again."},
    {.key = "api_key",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct elastic_conf, api_key),
     .is_secret = true,
     .needs_restart = true,
     .help = "API key: as the engine gave it, encoded, or as id:key."},
    {.key = "username",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct elastic_conf, username),
     .needs_restart = true,
     .help = "User, with password; instead of api_key."},
    {.key = "password",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct elastic_conf, password),
     .is_secret = true,
     .needs_restart = true,
     .help = "The user's password."},
    {.key = "ca_file",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct elastic_conf, ca_file),
     .needs_restart = true,
     .help = "PEM file of the authorities that may have signed the engine's certificate; default: the system's. The "
             "certificate and its name are always checked."},
    {.key = "cert_file",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct elastic_conf, cert_file),
     .needs_restart = true,
     .help = "PEM file of our own certificate, for an engine that asks for one."},
    {.key = "key_file",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct elastic_conf, key_file),
     .needs_restart = true,
     .help = "PEM file of its key; default: it is in cert_file."},
    {.key = "compression",
     .type = CORE_OPT_ENUM,
     .offset = offsetof(struct elastic_conf, compression),
     .def = "none",
     .choices = compressions,
     .needs_restart = true,
     .help =
         "Of request bodies; gzip costs processor time on both sides and saves about nine tenths of the network's."},
    {.key = "namespace",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct elastic_conf, namespace_name),
     .def = "default",
     .needs_restart = true,
     .help = "Last part of index names before the time, and data_stream.namespace: for what must be kept apart "
             "(customers, sites, tests). a-z 0-9 . _"},
    {.key = "index_mode",
     .type = CORE_OPT_ENUM,
     .offset = offsetof(struct elastic_conf, index_mode),
     .def = "index",
     .choices = index_modes,
     .needs_restart = true,
     .help =
         "index: logs-<dataset>-<namespace>-<day or month> by the document's own time, so that a record that is sent "
         "twice is found to be there. data_stream: logs-<dataset>-<namespace>, which the engine rolls over by size "
         "or age; a record that is sent again after a rollover that came between the two tries is then there twice, "
         "and documents lie where the time of their arrival puts them."},
    {.key = "daily",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct elastic_conf, daily),
     .def = "zeek.connection zeek.dns zeek.http zeek.ssl zeek.files suricata.eve",
     .needs_restart = true,
     .help =
         "Datasets with an index a day (names or globs); the others have one a month, since each index costs the "
         "engine memory, and it takes 1000 shards a node at most. A change holds for documents sent from then on; what "
         "was sent before and comes again lands in the other kind of index, a second time."},
    {.key = "past",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct elastic_conf, past_ns),
     .def = "30d",
     .min = "1h",
     .max = "36500d",
     .needs_restart = true,
     .help =
         "A document whose own time is longer before the time Kafka took it (behind run: before now) goes to "
         "logs-<dataset>-<namespace>-outofrange; so does one without a time that can be read. A wild clock makes no "
         "thousand indices."},
    {.key = "future",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct elastic_conf, future_ns),
     .def = "1d",
     .min = "1m",
     .max = "36500d",
     .needs_restart = true,
     .help = "The same for a time that is longer after it."},
    {.key = "connections",
     .type = CORE_OPT_UINT,
     .offset = offsetof(struct elastic_conf, connections),
     .def = "2",
     .min = "1",
     .max = "64",
     .needs_restart = true,
     .help = "Requests under way at once, of all nodes. Each holds up to bulk_bytes of memory, and one more is being "
             "filled."},
    {.key = "bulk_bytes",
     .type = CORE_OPT_SIZE,
     .offset = offsetof(struct elastic_conf, bulk_bytes),
     .def = "4MiB",
     .min = "64KiB",
     .max = "64MiB",
     .needs_restart = true,
     .help = "Documents in one request at most; a longer document goes alone. When the engine asks for less (429, 413) "
             "it gets less for a while."},
    {.key = "bulk_events",
     .type = CORE_OPT_UINT,
     .offset = offsetof(struct elastic_conf, bulk_events),
     .def = "4096",
     .min = "1",
     .max = "65536",
     .needs_restart = true,
     .help = "The same in documents."},
    {.key = "timeout",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct elastic_conf, timeout_ns),
     .def = "60s",
     .min = "1s",
     .max = "10m",
     .needs_restart = true,
     .help =
         "Of one request. Afterwards its documents are sent again; what the engine took all the same is then found to "
         "be there."},
};

/* ---- datasets with an index a day ---------------------------------------------------------------------------------------- */

bool sink_elastic_is_daily(const void *conf_ptr, const char *dataset) {
    const struct elastic_conf *conf = conf_ptr;
    MUST(conf != NULL && dataset != NULL);
    for (size_t i = 0; i < conf->daily.len; i++) {
        const char *at = conf->daily.items[i].value;
        while (*(at += strspn(at, " ,")) != '\0') {
            char glob[256];
            size_t len = strcspn(at, " ,");
            snprintf(glob, sizeof glob, "%.*s", (int)(len < sizeof glob ? len : sizeof glob - 1), at);
            if (fnmatch(glob, dataset, 0) == 0) {
                return true;
            }
            at += len;
        }
    }
    return false;
}

/* ---- what the rows cannot say ---------------------------------------------------------------------------------------------- */

/* Where mistakes are put. */
struct checked {
    const struct core_conf_file *file;
    const struct core_conf_node *node;
    struct core_conf_mistakes *mistakes;
};

static const struct core_conf_node *node_of(const struct checked *checked, const char *key) {
    const struct core_conf_node *at = checked->node == NULL ? NULL : core_conf_get(checked->node, key);
    return at == NULL ? checked->node : at;
}

static void mistake(const struct checked *checked, const char *key, const char *text) {
    core_conf_mistake(checked->file, node_of(checked, key), checked->mistakes, "%s", text);
}

static void host_check(const struct checked *checked, const char *url) {
    const char *host = strstr(url, "://");
    bool is_http = strncmp(url, "http://", strlen("http://")) == 0 || strncmp(url, "https://", strlen("https://")) == 0;
    char shown[CORE_HTTP_URL_SHOWN_MAX];
    core_http_shown(url, shown);
    if (!is_http || host == NULL || strcspn(host + 3, "/?#") == 0 || strpbrk(url, " \t\"<>") != NULL) {
        core_conf_mistake(checked->file, node_of(checked, "hosts"), checked->mistakes,
                          "hosts: \"%s\" is no URL of a node; e.g. https://es1.example.org:9200", shown);
    } else if (memchr(host + 3, '@', strcspn(host + 3, "/?#")) != NULL) {
        core_conf_mistake(checked->file, node_of(checked, "hosts"), checked->mistakes,
                          "hosts: \"%s\" has a user in it, which messages would show; use username and password",
                          shown);
    } else if (strpbrk(url, "?#") != NULL) {
        core_conf_mistake(checked->file, node_of(checked, "hosts"), checked->mistakes,
                          "hosts: \"%s\" ends in a query; only a path may follow the host", shown);
    }
}

static void credentials_check(const struct checked *checked, const struct elastic_conf *conf) {
    if (conf->api_key != NULL && (conf->username != NULL || conf->password != NULL)) {
        mistake(checked, "api_key", "api_key and username: the engine is told one of them; leave the other out");
    } else if (conf->username != NULL && conf->password == NULL) {
        mistake(checked, "username", "username: its password is missing");
    } else if (conf->password != NULL && conf->username == NULL) {
        mistake(checked, "password", "password: whose is it? username is missing");
    }
    if (conf->username != NULL && strchr(conf->username, ':') != NULL) {
        mistake(checked, "username", "username: there cannot be a colon in it (RFC 7617)");
    }
    if (conf->key_file != NULL && conf->cert_file == NULL) {
        mistake(checked, "key_file", "key_file: cert_file, whose key it is, is missing");
    }
    size_t long_len = (conf->username == NULL ? 0 : strlen(conf->username)) +
                      (conf->password == NULL ? 0 : strlen(conf->password)) +
                      (conf->api_key == NULL ? 0 : strlen(conf->api_key));
    if (long_len > AUTH_BYTES_MAX / 2) {
        mistake(checked, conf->api_key == NULL ? "password" : "api_key", "the credentials are longer than 1 KiB");
    }
}

void elastic_conf_check(const void *conf_ptr, const struct core_conf_file *file, const struct core_conf_node *node,
                        struct core_conf_mistakes *mistakes) {
    const struct elastic_conf *conf = conf_ptr;
    MUST(conf != NULL && conf->namespace_name != NULL);
    struct checked checked = {.file = file, .node = node, .mistakes = mistakes};
    for (size_t i = 0; i < conf->hosts.len; i++) {
        host_check(&checked, conf->hosts.items[i].value);
    }
    if (conf->hosts.len == 0) {
        mistake(&checked, "hosts", "hosts: there must be one");
    }
    credentials_check(&checked, conf);
    size_t legal = strspn(conf->namespace_name, NAME_CHARACTERS);
    if (legal == 0 || conf->namespace_name[legal] != '\0' || legal > ELASTIC_DATASET_BYTES_MAX) {
        core_conf_mistake(
            file, node_of(&checked, "namespace"), mistakes,
            "namespace: \"%s\" is none: 1 to %d of a-z 0-9 . _ (no '-', which parts the names of indices)",
            conf->namespace_name, ELASTIC_DATASET_BYTES_MAX);
    }
}

/* ---- places -------------------------------------------------------------------------------------------------------------- */

/* What the engine knows us by, as the value of the header; NULL: nothing. Owns: malloc'ed. */
static char *authorization_of(const struct elastic_conf *conf) {
    char *text = malloc(2 * AUTH_BYTES_MAX);
    char plain[AUTH_BYTES_MAX];
    MUST(text != NULL);
    struct core_buf buf = {.start = text, .pos = text, .end = text + 2 * AUTH_BYTES_MAX};
    if (conf->api_key != NULL) {
        core_buf_span(&buf, CORE_SPAN("ApiKey "));
        snprintf(plain, sizeof plain, "%s", conf->api_key);
    } else if (conf->username != NULL && conf->password != NULL) {
        core_buf_span(&buf, CORE_SPAN("Basic "));
        snprintf(plain, sizeof plain, "%s:%s", conf->username, conf->password);
    } else {
        free(text);
        return NULL;
    }
    if (strchr(plain, ':') != NULL) {
        core_buf_base64(&buf, core_span_of(plain));
    } else {
        core_buf_span(&buf, core_span_of(plain));
    }
    core_buf_char(&buf, '\0');
    explicit_bzero(plain, sizeof plain);
    MUST(!buf.is_full);
    return text;
}

void sink_elastic_places(const void *conf_ptr, struct sink_elastic_places *out) {
    const struct elastic_conf *conf = conf_ptr;
    MUST(conf != NULL && out != NULL);
    const char **hosts = calloc(conf->hosts.len + 1, sizeof *hosts);
    struct core_http_header *headers = calloc(1, sizeof *headers);
    MUST(hosts != NULL && headers != NULL);
    for (size_t i = 0; i < conf->hosts.len; i++) {
        hosts[i] = conf->hosts.items[i].value;
    }
    char *authorization = authorization_of(conf);
    headers[0] = (struct core_http_header){.name = "Authorization", .value = authorization};
    *out = (struct sink_elastic_places){
        .hosts = hosts,
        .hosts_len = conf->hosts.len,
        .headers = headers,
        .headers_len = authorization == NULL ? 0 : 1,
        .secret = authorization == NULL ? NULL : strchr(authorization, ' ') + 1,
        .ca_file = conf->ca_file,
        .cert_file = conf->cert_file,
        .key_file = conf->key_file,
        .timeout_ms = (int)(conf->timeout_ns / CORE_NS_PER_MS),
        .namespace_name = conf->namespace_name,
        .is_data_stream = conf->index_mode == ELASTIC_DATA_STREAM,
    };
}

/* The compiler may not know that what was ours to write is ours to free. */
static void free_const(const void *ptr) {
    free((void *)(uintptr_t)ptr);
}

void sink_elastic_places_release(struct sink_elastic_places *places) {
    MUST(places != NULL);
    if (places->headers != NULL && places->headers[0].value != NULL) {
        char *value = (char *)(uintptr_t)places->headers[0].value;
        explicit_bzero(value, strlen(value));
        free(value);
    }
    free_const(places->headers);
    free_const((const void *)places->hosts);
    *places = (struct sink_elastic_places){0};
}

enum core_err elastic_conf_connect(const void *conf, int timeout_ms, struct core_fail *fail) {
    struct sink_elastic_places places;
    sink_elastic_places(conf, &places);
    enum core_err err = elastic_start_reach(&places, timeout_ms, fail);
    sink_elastic_places_release(&places);
    return err;
}
