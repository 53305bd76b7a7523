/* core/kafka_admin.c: the requests of an administrator, one at a time, each with its answer.
 *
 * The handle is a producer's that never produces. Answers are events in a queue of ours; a request has one answer, and it is
 * waited for a little longer than librdkafka itself does, so that librdkafka is the one to say why there is none.
 *
 * Settings are changed with AlterConfigs, which replaces all that was set for a topic, since the request that does not
 * (KIP-339) is newer than the librdkafka we must work with: what is set already is read first and sent along.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_admin.h"
#include "core/kafka_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define ADMIN_MAGIC 0x6b61646du
#define ANSWER_SLACK_MS 2000

struct core_kafka_admin {
    uint32_t magic;
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue;
    char servers[256];
};

enum core_err core_kafka_admin_open(struct core_kafka_admin **out, const struct core_kafka_pair *pairs, size_t len,
                                    struct core_fail *fail) {
    struct core_kafka_admin *admin = calloc(1, sizeof *admin);
    MUST(admin != NULL);
    rd_kafka_conf_t *conf = NULL;
    admin->magic = ADMIN_MAGIC;
    snprintf(admin->servers, sizeof admin->servers, "%s", core_kafka_servers(pairs, len));
    enum core_err err = core_kafka_conf_make(&conf, RD_KAFKA_PRODUCER, pairs, len, fail);
    if (err == CORE_OK) {
        rd_kafka_conf_set_log_cb(conf, NULL); /* the answers say it */
        err = core_kafka_handle_new(&admin->handle, RD_KAFKA_PRODUCER, conf, fail);
    }
    if (err == CORE_OK) {
        admin->queue = rd_kafka_queue_new(admin->handle);
        *out = admin;
        admin = NULL;
    }
    core_kafka_admin_close(admin);
    return err;
}

void core_kafka_admin_close(struct core_kafka_admin *admin) {
    if (admin == NULL) {
        return;
    }
    MUST(admin->magic == ADMIN_MAGIC);
    if (admin->queue != NULL) {
        rd_kafka_queue_destroy(admin->queue);
    }
    if (admin->handle != NULL) {
        rd_kafka_destroy(admin->handle);
    }
    admin->magic = 0;
    free(admin);
}

static enum core_err not_answered(struct core_kafka_admin *admin, const char *what, const char *why,
                                  struct core_fail *fail) {
    char complaint[400] = "";
    core_kafka_last_complaint(admin->handle, complaint, sizeof complaint);
    return core_fail_set(fail, CORE_NET, admin->servers, "%s: %s%s", what, why, complaint);
}

/* ---- topics ------------------------------------------------------------------------------------------------------------- */

static int seen_compare(const void *a, const void *b) {
    return strcmp(((const struct core_kafka_seen *)a)->name, ((const struct core_kafka_seen *)b)->name);
}

enum core_err core_kafka_admin_topics(struct core_kafka_admin *admin, int timeout_ms, struct core_kafka_seen **out,
                                      size_t *len, struct core_fail *fail) {
    MUST(admin->magic == ADMIN_MAGIC);
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(admin->handle, 1, NULL, &metadata, timeout_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return not_answered(admin,
                            "no broker says which topics there are (is bootstrap.servers right, and is one running?)",
                            rd_kafka_err2str(code), fail);
    }
    *len = 0;
    *out = calloc((size_t)metadata->topic_cnt + 1, sizeof **out);
    MUST(*out != NULL);
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *topic = &metadata->topics[i];
        if (topic->err == RD_KAFKA_RESP_ERR_NO_ERROR || topic->partition_cnt > 0) {
            char *name = strdup(topic->topic);
            MUST(name != NULL);
            (*out)[(*len)++] = (struct core_kafka_seen){.name = name, .partitions = topic->partition_cnt};
        }
    }
    qsort(*out, *len, sizeof **out, seen_compare);
    rd_kafka_metadata_destroy(metadata);
    return CORE_OK;
}

/* ---- requests ----------------------------------------------------------------------------------------------------------- */

static rd_kafka_AdminOptions_t *options_new(const struct core_kafka_admin *admin, rd_kafka_admin_op_t what,
                                            int timeout_ms) {
    char text[KAFKA_ERROR_BYTES] = "";
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(admin->handle, what);
    MUST(options != NULL);
    MUST(rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, text, sizeof text) == 0);
    return options;
}

/* The answer to what was asked last. NULL, with fail: there is none. Owns: rd_kafka_event_destroy(). */
static rd_kafka_event_t *answer_take(struct core_kafka_admin *admin, const char *what, int timeout_ms,
                                     struct core_fail *fail) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(admin->queue, timeout_ms + ANSWER_SLACK_MS);
    enum core_err err = CORE_OK;
    if (event == NULL) {
        err = not_answered(admin, what, "no answer", fail);
    } else if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        err = not_answered(admin, what, rd_kafka_event_error_string(event), fail);
        rd_kafka_event_destroy(event);
        event = NULL;
    }
    MUST((err == CORE_OK) == (event != NULL));
    return event;
}

/* What a broker's refusal of one topic means. */
static enum core_err refused(rd_kafka_resp_err_t code, const char *text, const char *name, struct core_fail *fail) {
    const char *words = text != NULL ? text : rd_kafka_err2str(code);
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        *fail = (struct core_fail){0};
        return CORE_OK;
    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS:
        return core_fail_set(fail, CORE_GONE, name, "%s", words);
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return core_fail_set(fail, CORE_BAD, name,
                             "%s; give these credentials the rights CREATE, DESCRIBE, DESCRIBE_CONFIGS and "
                             "ALTER_CONFIGS of this topic",
                             words);
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
        return core_fail_set(fail, CORE_BAD, name, "%s; are there as many brokers as replicas are wanted?", words);
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_NOT_CONTROLLER:
        return core_fail_set(fail, CORE_NET, name, "%s; run it again later", words);
    default:
        return core_fail_set(fail, CORE_BAD, name, "%s", words);
    }
}

static void made_take(rd_kafka_event_t *event, struct core_kafka_making *topics, size_t len) {
    size_t results_len = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &results_len);
    for (size_t r = 0; r < results_len; r++) {
        for (size_t i = 0; i < len; i++) {
            if (strcmp(topics[i].name, rd_kafka_topic_result_name(results[r])) == 0) {
                topics[i].fail.err =
                    refused(rd_kafka_topic_result_error(results[r]), rd_kafka_topic_result_error_string(results[r]),
                            topics[i].name, &topics[i].fail);
            }
        }
    }
}

enum core_err core_kafka_admin_make(struct core_kafka_admin *admin, struct core_kafka_making *topics, size_t len,
                                    int timeout_ms, struct core_fail *fail) {
    MUST(admin->magic == ADMIN_MAGIC);
    rd_kafka_NewTopic_t **wanted = calloc(len + 1, sizeof(rd_kafka_NewTopic_t *));
    MUST(wanted != NULL);
    size_t wanted_len = 0;
    for (size_t i = 0; i < len; i++) {
        char text[KAFKA_ERROR_BYTES] = "";
        const struct core_kafka_wish *wish = &topics[i].wish;
        topics[i].fail = (struct core_fail){.err = CORE_NET, .text = "no answer"};
        rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(
            topics[i].name, wish->partitions, wish->replication == 0 ? -1 : wish->replication, text, sizeof text);
        if (topic == NULL) {
            topics[i].fail.err = core_fail_set(&topics[i].fail, CORE_BAD, topics[i].name, "%s", text);
            continue;
        }
        for (size_t c = 0; c < wish->config_len; c++) {
            MUST(rd_kafka_NewTopic_set_config(topic, wish->config[c].key, wish->config[c].value) ==
                 RD_KAFKA_RESP_ERR_NO_ERROR);
        }
        wanted[wanted_len++] = topic;
    }
    enum core_err err = CORE_OK;
    if (wanted_len > 0) {
        rd_kafka_AdminOptions_t *options = options_new(admin, RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout_ms);
        char text[KAFKA_ERROR_BYTES] = ""; /* answered when they can be used, so that who looks next sees them */
        MUST(rd_kafka_AdminOptions_set_operation_timeout(options, timeout_ms / 2, text, sizeof text) == 0);
        rd_kafka_CreateTopics(admin->handle, wanted, wanted_len, options, admin->queue);
        rd_kafka_AdminOptions_destroy(options);
        rd_kafka_event_t *event = answer_take(admin, "topics cannot be made", timeout_ms, fail);
        err = event == NULL ? CORE_NET : CORE_OK;
        if (event != NULL) {
            made_take(event, topics, len);
            rd_kafka_event_destroy(event);
        }
    }
    rd_kafka_NewTopic_destroy_array(wanted, wanted_len);
    free(wanted);
    return err;
}

/* ---- settings ----------------------------------------------------------------------------------------------------------- */

static enum core_err resource_walk(const rd_kafka_ConfigResource_t *resource, const char *const *names, size_t len,
                                   void (*on_setting)(void *ctx, size_t topic, const char *key, const char *value,
                                                      bool is_own),
                                   void *ctx, struct core_fail *fail) {
    const char *name = rd_kafka_ConfigResource_name(resource);
    rd_kafka_resp_err_t code = rd_kafka_ConfigResource_error(resource);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return refused(code, rd_kafka_ConfigResource_error_string(resource), name, fail);
    }
    size_t topic = 0;
    while (topic < len && strcmp(names[topic], name) != 0) {
        topic++;
    }
    size_t entries_len = 0;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &entries_len);
    for (size_t e = 0; e < entries_len && topic < len; e++) {
        on_setting(ctx, topic, rd_kafka_ConfigEntry_name(entries[e]), rd_kafka_ConfigEntry_value(entries[e]),
                   rd_kafka_ConfigEntry_source(entries[e]) == RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG);
    }
    return CORE_OK;
}

enum core_err
core_kafka_admin_settings(struct core_kafka_admin *admin, const char *const *names, size_t len, int timeout_ms,
                          void (*on_setting)(void *ctx, size_t topic, const char *key, const char *value, bool is_own),
                          void *ctx, struct core_fail *fail) {
    MUST(admin->magic == ADMIN_MAGIC);
    if (len == 0) {
        return CORE_OK;
    }
    rd_kafka_ConfigResource_t **asked = calloc(len, sizeof(rd_kafka_ConfigResource_t *));
    MUST(asked != NULL);
    for (size_t i = 0; i < len; i++) {
        asked[i] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, names[i]);
        MUST(asked[i] != NULL);
    }
    rd_kafka_AdminOptions_t *options = options_new(admin, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout_ms);
    rd_kafka_DescribeConfigs(admin->handle, asked, len, options, admin->queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_event_t *event = answer_take(admin, "settings of topics cannot be read", timeout_ms, fail);
    enum core_err err = event == NULL ? CORE_NET : CORE_OK;
    if (event != NULL) {
        size_t told_len = 0;
        const rd_kafka_ConfigResource_t **told =
            rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &told_len);
        for (size_t i = 0; i < told_len && err == CORE_OK; i++) {
            err = resource_walk(told[i], names, len, on_setting, ctx, fail);
        }
        rd_kafka_event_destroy(event);
    }
    rd_kafka_ConfigResource_destroy_array(asked, len);
    free(asked);
    return err;
}

/* What a topic's settings become: those of the wish, and all others that were set for it. */
struct settings {
    rd_kafka_ConfigResource_t *resource;
    const struct core_kafka_wish *wish;
};

static void setting_put(struct settings *settings, const char *key, const char *value) {
    rd_kafka_resp_err_t set = rd_kafka_ConfigResource_set_config(settings->resource, key, value);
    MUST(set == RD_KAFKA_RESP_ERR_NO_ERROR); /* only a name that is none is refused here */
}

static void setting_keep(void *ctx, size_t topic, const char *key, const char *value, bool is_own) {
    struct settings *settings = ctx;
    (void)topic;
    bool is_changed = false;
    for (size_t i = 0; i < settings->wish->config_len; i++) {
        is_changed = is_changed || strcmp(settings->wish->config[i].key, key) == 0;
    }
    if (is_own && !is_changed && value != NULL) {
        setting_put(settings, key, value);
    }
}

enum core_err core_kafka_admin_set(struct core_kafka_admin *admin, const char *name, const struct core_kafka_wish *wish,
                                   int timeout_ms, struct core_fail *fail) {
    MUST(admin->magic == ADMIN_MAGIC);
    struct settings settings = {.resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name), .wish = wish};
    MUST(settings.resource != NULL);
    rd_kafka_event_t *event = NULL;
    enum core_err err = core_kafka_admin_settings(admin, &name, 1, timeout_ms, setting_keep, &settings, fail);
    if (err == CORE_OK) {
        for (size_t i = 0; i < wish->config_len; i++) {
            setting_put(&settings, wish->config[i].key, wish->config[i].value);
        }
        rd_kafka_AdminOptions_t *options = options_new(admin, RD_KAFKA_ADMIN_OP_ALTERCONFIGS, timeout_ms);
        rd_kafka_AlterConfigs(admin->handle, &settings.resource, 1, options, admin->queue);
        rd_kafka_AdminOptions_destroy(options);
        event = answer_take(admin, "settings of a topic cannot be changed", timeout_ms, fail);
        err = event == NULL ? CORE_NET : CORE_OK;
    }
    if (event != NULL) {
        size_t told_len = 0;
        const rd_kafka_ConfigResource_t **told =
            rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(event), &told_len);
        if (told_len > 0 && rd_kafka_ConfigResource_error(told[0]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            err = refused(rd_kafka_ConfigResource_error(told[0]), rd_kafka_ConfigResource_error_string(told[0]), name,
                          fail);
        }
        rd_kafka_event_destroy(event);
    }
    rd_kafka_ConfigResource_destroy(settings.resource);
    return err;
}
