/* core/kafka_conf.c: librdkafka's properties, and what is the same for a producer and a reader.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_internal.h"
#include "core/conf.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- properties ------------------------------------------------------------------------------------------------------ */

#define PROPERTIES_MAX 1024

/* Owns: the caller frees it. */
static char *property_table(void) {
    char *table = NULL;
    size_t table_len = 0;
    FILE *file = open_memstream(&table, &table_len);
    MUST(file != NULL);
    rd_kafka_conf_properties_show(file);
    MUST(fclose(file) == 0);
    return table;
}

/* The nearest property librdkafka has. Its printed table is the only list with the aliases in it (linger.ms is one):
 * a property a line, its name first. */
static void nearest_property(const char *key, char *out, size_t out_len) {
    char *table = property_table();
    const char **names = calloc(PROPERTIES_MAX, sizeof *names);
    MUST(names != NULL);
    size_t len = 0;
    char *rest = NULL;
    for (char *line = strtok_r(table, "\n", &rest); line != NULL && len < PROPERTIES_MAX;
         line = strtok_r(NULL, "\n", &rest)) {
        char *end = strchr(line, ' ');
        if (end != NULL) {
            *end = '\0';
            names[len++] = line;
        }
    }
    const char *nearest = core_conf_nearest(key, names, len);
    snprintf(out, out_len, "%s", nearest == NULL ? "" : nearest);
    free(names);
    free(table);
}

static enum core_err conf_set(rd_kafka_conf_t *conf, const struct core_kafka_pair *pair, struct core_fail *fail) {
    char text[KAFKA_ERROR_BYTES] = "";
    switch (rd_kafka_conf_set(conf, pair->key, pair->value, text, sizeof text)) {
    case RD_KAFKA_CONF_OK:
        return CORE_OK;
    case RD_KAFKA_CONF_UNKNOWN: {
        char nearest[128];
        nearest_property(pair->key, nearest, sizeof nearest);
        return core_fail_set(fail, CORE_BAD, pair->key, "librdkafka has no property \"%s\"%s%s%s", pair->key,
                             nearest[0] == '\0' ? "" : ", did you mean \"", nearest, nearest[0] == '\0' ? "" : "\"?");
    }
    default:
        return core_fail_set(fail, CORE_BAD, pair->key, "librdkafka refuses %s: %s", pair->key, text);
    }
}

enum core_err core_kafka_pair_check(const struct core_kafka_pair *pair, struct core_fail *fail) {
    MUST(pair->key != NULL);
    MUST(pair->value != NULL);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum core_err err = conf_set(conf, pair, fail);
    rd_kafka_conf_destroy(conf);
    return err;
}

/* librdkafka's syslog levels. It heals most of what it complains of by itself, so its "error" is our warning. */
static void log_take(const rd_kafka_t *handle, int level, const char *fac, const char *text) {
    (void)handle;
    static const enum core_level levels[] = {CORE_LEVEL_ERROR, CORE_LEVEL_ERROR, CORE_LEVEL_ERROR, CORE_LEVEL_WARN,
                                             CORE_LEVEL_WARN,  CORE_LEVEL_INFO,  CORE_LEVEL_INFO,  CORE_LEVEL_DEBUG};
    char what[64];
    snprintf(what, sizeof what, "librdkafka: %s", fac);
    /* FAIL and ERROR come as events too, and there the owner says what it means */
    bool is_said = strcmp(fac, "FAIL") == 0 || strcmp(fac, "ERROR") == 0;
    /* the end of a producer, not ours: its owner makes another, or says what a person must do */
    bool is_healed = strcmp(fac, "FATAL") == 0 || strcmp(fac, "TXNERR") == 0;
    int severity = is_said || level < 0 || level > 7 ? 7 : is_healed ? 4 : level;
    core_log(levels[severity], "kafka", what, "text=\"%s\"", text);
}

/* librdkafka's table has a column that says whose a property is: '*' both, 'P' a producer's, 'C' a consumer's. Set all the
 * same, one that is not the handle's own is warned of in the log. */
static bool is_others_own(const char *table, const char *key, rd_kafka_type_t type) {
    size_t len = strlen(key);
    for (const char *line = table; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n' ? 1 : 0;
        const char *column = strncmp(line, key, len) == 0 && line[len] == ' ' ? strchr(line, '|') : NULL;
        if (column != NULL) {
            column += 1 + strspn(column + 1, " ");
            return *column == (type == RD_KAFKA_CONSUMER ? 'P' : 'C');
        }
    }
    return false; /* not in the table: rd_kafka_conf_set() says so */
}

enum core_err core_kafka_conf_make(rd_kafka_conf_t **out, rd_kafka_type_t type, const struct core_kafka_pair *pairs,
                                   size_t len, struct core_fail *fail) {
    MUST(out != NULL);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum core_err err = CORE_OK;
    char *table = property_table();
    for (size_t i = 0; i < len && err == CORE_OK; i++) {
        if (!is_others_own(table, pairs[i].key, type)) {
            err = conf_set(conf, &pairs[i], fail);
        }
    }
    free(table);
    if (err != CORE_OK) {
        rd_kafka_conf_destroy(conf);
        return err;
    }
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_CREATETOPICS_RESULT);
    rd_kafka_conf_set_log_cb(conf, log_take);
    *out = conf;
    return CORE_OK;
}

enum core_err core_kafka_handle_new(rd_kafka_t **out, rd_kafka_type_t type, rd_kafka_conf_t *conf,
                                    struct core_fail *fail) {
    MUST(conf != NULL);
    char text[KAFKA_ERROR_BYTES] = "";
    *out = rd_kafka_new(type, conf, text, sizeof text);
    if (*out == NULL) {
        enum core_err err = rd_kafka_last_error() == RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE ? CORE_IO : CORE_BAD;
        rd_kafka_conf_destroy(conf); /* rd_kafka_new() took it only if it succeeded */
        return core_fail_set(fail, err, "librdkafka", "librdkafka refuses to make a %s: %s",
                             type == RD_KAFKA_PRODUCER ? "producer" : "consumer", text);
    }
    return CORE_OK;
}

enum core_err core_kafka_pairs_check(const struct core_kafka_pair *pairs, size_t len, struct core_fail *fail) {
    rd_kafka_conf_t *conf = NULL;
    enum core_err err = CORE_OK;
    struct core_kafka_pair *offline = calloc(len + 1, sizeof *offline);
    MUST(offline != NULL);
    size_t kept = 0;
    for (size_t i = 0; i < len; i++) { /* nobody to connect to: nothing outside the process is touched */
        if (strcmp(pairs[i].key, "bootstrap.servers") != 0 && strcmp(pairs[i].key, "metadata.broker.list") != 0 &&
            strncmp(pairs[i].key, "test.mock.", strlen("test.mock.")) != 0) {
            offline[kept++] = pairs[i];
        }
    }
    err = core_kafka_conf_make(&conf, RD_KAFKA_PRODUCER, offline, kept, fail);
    free(offline);
    if (err == CORE_OK) {
        rd_kafka_conf_set_log_cb(conf, NULL); /* else it complains of having no brokers */
        rd_kafka_t *handle = NULL;
        err = core_kafka_handle_new(&handle, RD_KAFKA_PRODUCER, conf, fail);
        if (err == CORE_OK) {
            rd_kafka_destroy(handle);
        }
    }
    return err;
}

void core_kafka_last_complaint(rd_kafka_t *handle, char *out, size_t out_len) {
    MUST(out_len > 0);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(handle);
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(queue, 0)) != NULL) {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR &&
            rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
            snprintf(out, out_len, "; %s", rd_kafka_event_error_string(event));
        }
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
}

const char *core_kafka_servers(const struct core_kafka_pair *pairs, size_t len) {
    const char *servers = "";
    for (size_t i = 0; i < len; i++) {
        MUST(pairs[i].key != NULL);
        if (strcmp(pairs[i].key, "bootstrap.servers") == 0 || strcmp(pairs[i].key, "metadata.broker.list") == 0) {
            servers = pairs[i].value;
        }
    }
    return servers;
}

enum core_err core_kafka_reach(const struct core_kafka_pair *pairs, size_t len, int timeout_ms,
                               struct core_fail *fail) {
    MUST(timeout_ms > 0);
    rd_kafka_conf_t *conf = NULL;
    rd_kafka_t *handle = NULL;
    enum core_err err = core_kafka_conf_make(&conf, RD_KAFKA_PRODUCER, pairs, len, fail);
    if (err == CORE_OK) {
        rd_kafka_conf_set_log_cb(conf, NULL); /* the answer says it */
        err = core_kafka_handle_new(&handle, RD_KAFKA_PRODUCER, conf, fail);
    }
    if (err != CORE_OK) {
        return err;
    }
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(handle, 0, NULL, &metadata, timeout_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        char complaint[400] = "";
        core_kafka_last_complaint(handle, complaint, sizeof complaint);
        err = core_fail_set(fail, CORE_NET, core_kafka_servers(pairs, len), "no broker answered within %d ms: %s%s",
                            timeout_ms, rd_kafka_err2str(code), complaint);
    } else {
        rd_kafka_metadata_destroy(metadata);
    }
    rd_kafka_destroy(handle);
    return err;
}
