/* tests/integration/slow_consume.c: a plugin of librdkafka's (plugin.library.paths) that makes each record rest for a millisecond
 * while it is taken from its queue, for test_kafka_group.py: what goes wrong in that moment goes wrong nearly always then.
 * SPDX-License-Identifier: Apache-2.0 */
#include <librdkafka/rdkafka.h>
#include <time.h>

rd_kafka_plugin_f_conf_init_t conf_init;

static rd_kafka_resp_err_t on_consume(rd_kafka_t *handle, rd_kafka_message_t *message, void *ctx) {
    (void)handle, (void)message, (void)ctx;
    static const struct timespec rest = {.tv_nsec = 1000000};
    (void)nanosleep(&rest, NULL);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *handle, const rd_kafka_conf_t *conf, void *ctx, char *text, size_t size) {
    (void)conf, (void)ctx, (void)text, (void)size;
    return rd_kafka_interceptor_add_on_consume(handle, "slow_consume", on_consume, NULL);
}

/* librdkafka looks for this name. */
rd_kafka_resp_err_t conf_init(rd_kafka_conf_t *conf, void **ctx, char *text, size_t size) {
    (void)ctx, (void)text, (void)size;
    return rd_kafka_conf_interceptor_add_on_new(conf, "slow_consume", on_new, NULL);
}
