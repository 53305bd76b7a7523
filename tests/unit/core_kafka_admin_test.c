/* tests/unit/core_kafka_admin_test.c: topics are looked at, and what cannot be done is said. The broker is librdkafka's mock,
 * which makes no topic by request and knows no settings; what a real one makes of it is for tests/integration.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_admin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>

#define TIMEOUT_MS 1000 /* the mock answers what it knows at once, and the rest never */

static rd_kafka_mock_cluster_t *mock;
static char servers[256];

static int mock_begin(void **state) {
    char text[256];
    rd_kafka_t *host = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text);
    assert_non_null(host);
    mock = rd_kafka_mock_cluster_new(host, 1);
    assert_non_null(mock);
    (void)snprintf(servers, sizeof servers, "%s", rd_kafka_mock_cluster_bootstraps(mock));
    *state = host;
    return 0;
}

static int mock_end(void **state) {
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(*state);
    return 0;
}

static struct core_kafka_admin *admin_open(const char *where) {
    /* what only a consumer has does no harm: section feed is for both */
    const struct core_kafka_pair pairs[] = {{"bootstrap.servers", where}, {"session.timeout.ms", "10000"}};
    struct core_kafka_admin *admin = NULL;
    struct core_fail fail = {0};
    assert_int_equal(core_kafka_admin_open(&admin, pairs, 2, &fail), CORE_OK);
    return admin;
}

static void test_topics(void **state) {
    (void)state;
    struct core_fail fail = {0};
    struct core_kafka_seen *seen = NULL;
    size_t len = 0;
    assert_int_equal(rd_kafka_mock_topic_create(mock, "b", 1, 1), 0);
    assert_int_equal(rd_kafka_mock_topic_create(mock, "a", 3, 1), 0);
    struct core_kafka_admin *admin = admin_open(servers);
    assert_int_equal(core_kafka_admin_topics(admin, TIMEOUT_MS, &seen, &len, &fail), CORE_OK);
    assert_int_equal(len, 2);
    assert_string_equal(seen[0].name, "a");
    assert_int_equal(seen[0].partitions, 3);
    assert_string_equal(seen[1].name, "b");
    core_kafka_seen_free(seen, len);
    core_kafka_admin_close(admin);
}

static void on_setting(void *ctx, size_t topic, const char *key, const char *value, bool is_own) {
    (void)topic;
    (void)key;
    (void)value;
    (void)is_own;
    (*(size_t *)ctx)++;
}

/* A broker that cannot do it says so; nothing hangs, nothing is taken for done. */
static void test_what_a_broker_cannot(void **state) {
    (void)state;
    const char *name = "a";
    const struct core_kafka_pair config[] = {{"retention.ms", "1000"}};
    const struct core_kafka_wish wish = {.partitions = 1, .config = config, .config_len = 1};
    struct core_kafka_making making[] = {{.name = name, .wish = wish}};
    struct core_fail fail = {0};
    size_t told = 0;
    struct core_kafka_admin *admin = admin_open(servers);
    assert_int_equal(core_kafka_admin_make(admin, making, 1, TIMEOUT_MS, &fail), CORE_NET);
    assert_string_equal(fail.where, servers);
    assert_non_null(strstr(fail.text, "topics cannot be made: "));
    assert_int_equal(making[0].fail.err, CORE_NET);
    assert_int_equal(core_kafka_admin_settings(admin, &name, 1, TIMEOUT_MS, on_setting, &told, &fail), CORE_NET);
    assert_non_null(strstr(fail.text, "settings of topics cannot be read: "));
    assert_int_equal(core_kafka_admin_settings(admin, &name, 0, TIMEOUT_MS, on_setting, &told, &fail), CORE_OK);
    assert_int_equal(core_kafka_admin_set(admin, name, &wish, TIMEOUT_MS, &fail), CORE_NET);
    assert_int_equal(told, 0);
    core_kafka_admin_close(admin);
}

static void test_names_that_are_none(void **state) {
    (void)state;
    struct core_kafka_making making[] = {{.name = "a", .wish = {.partitions = -7}}};
    struct core_fail fail = {0};
    struct core_kafka_admin *admin = admin_open(servers);
    assert_int_equal(core_kafka_admin_make(admin, making, 1, TIMEOUT_MS, &fail), CORE_OK); /* nothing was asked */
    assert_int_equal(making[0].fail.err, CORE_BAD);
    assert_string_equal(making[0].fail.where, "a");
    core_kafka_admin_close(admin);
    const struct core_kafka_pair wrong[] = {{"bootstrap.server", "x"}};
    assert_int_equal(core_kafka_admin_open(&admin, wrong, 1, &fail), CORE_BAD);
    core_kafka_admin_close(NULL);
}

static void test_nobody_there(void **state) {
    (void)state;
    struct core_fail fail = {0};
    struct core_kafka_seen *seen = NULL;
    size_t len = 0;
    struct core_kafka_admin *admin = admin_open("127.0.0.1:1");
    assert_int_equal(core_kafka_admin_topics(admin, 500, &seen, &len, &fail), CORE_NET);
    assert_string_equal(fail.where, "127.0.0.1:1");
    assert_non_null(strstr(fail.text, "is bootstrap.servers right"));
    core_kafka_admin_close(admin);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topics),
        cmocka_unit_test(test_what_a_broker_cannot),
        cmocka_unit_test(test_names_that_are_none),
        cmocka_unit_test(test_nobody_there),
    };
    return cmocka_run_group_tests(tests, mock_begin, mock_end);
}
