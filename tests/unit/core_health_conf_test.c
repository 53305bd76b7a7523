/* Tests of core/health_conf.c: what section health may say, and in which words it is told what it may not.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Binds and checks the section; returns how many mistakes there are, the first one's text in out. */
static size_t check(const char *section, struct core_health_conf *conf, char out[768]) {
    char path[] = "/tmp/core_health_conf_test.XXXXXX";
    struct core_conf_file *file = NULL;
    struct core_fail fail = {0};
    struct core_conf_mistakes *mistakes = calloc(1, sizeof *mistakes);
    assert_non_null(mistakes);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(dprintf(fd, "health:\n%s", section) > 0);
    close(fd);
    assert_int_equal(core_conf_open(&file, path, &fail), CORE_OK);
    const struct core_conf_node *node = core_conf_get(core_conf_root(file), "health");
    *conf = (struct core_health_conf){0};
    (void)!core_conf_bind(file, node, "health", core_health_opts, core_health_opts_len, conf, mistakes);
    core_health_conf_check(conf, file, node, mistakes);
    size_t len = mistakes->len;
    snprintf(out, 768, "%s", len > 0 ? mistakes->fails[0].text : "");
    core_conf_close(file);
    free(mistakes);
    unlink(path);
    return len;
}

static void test_defaults(void **state) {
    (void)state;
    struct core_health_conf conf;
    char text[768];
    assert_int_equal(check("  interval: 10s\n", &conf, text), 0);
    assert_string_equal(conf.serve, "127.0.0.1:9600");
    assert_string_equal(conf.run, "127.0.0.1:9601");
    assert_string_equal(conf.feed, "127.0.0.1:9602");
    assert_string_equal(conf.intel_sync, "127.0.0.1:9699");
    assert_string_equal(conf.topic, "tapline.health");
    assert_int_equal(conf.interval_ns, 10 * CORE_NS_PER_S);
    assert_int_equal(conf.lag_max_ns, 60 * CORE_NS_PER_S);
    assert_int_equal(conf.stall_after_ns, 5 * CORE_NS_PER_S);
    assert_int_equal(conf.loss_max_ppm, 10000);
    assert_int_equal(conf.otlp_share, 1000);
    assert_int_equal(conf.otlp_slow_ns, 5 * CORE_NS_PER_S);
    assert_int_equal(conf.log_bytes_max, 16 * CORE_MIB);
    assert_true(conf.otlp_metrics);
    assert_null(conf.otlp);
    core_conf_release(core_health_opts, core_health_opts_len, &conf);
}

static void test_right(void **state) {
    (void)state;
    static const char *const right[] = {
        "  serve: off\n  run: off\n  feed: off\n  intel_sync: off\n",
        "  serve: \"[::1]:9600\"\n  run: localhost:9601\n",
        "  run: 127.0.0.1:0\n  feed: 127.0.0.1:0\n", /* any free port, as often as one likes */
        "  topic: \"\"\n",
        "  topic: a.B_c-9\n",
        "  otlp: http://127.0.0.1:4318\n",
        "  otlp: https://collector.example/otlp/\n",
        "  rdkafka: {linger.ms: 5}\n",
    };
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        struct core_health_conf conf;
        char text[768];
        if (check(right[i], &conf, text) != 0) {
            fail_msg("%s: %s", right[i], text);
        }
        core_conf_release(core_health_opts, core_health_opts_len, &conf);
    }
}

static void test_wrong(void **state) {
    (void)state;
    static const struct {
        const char *section;
        const char *says; /* all of them are one mistake each */
    } wrong[] = {
        {"  run: 0.0.0.0:9601\n", "run: 0.0.0.0 is not this machine's loopback"},
        {"  serve: 192.0.2.1:9600\n", "serve: 192.0.2.1 is not this machine's loopback"},
        {"  feed: 9602\n", "feed: no address and port: write 127.0.0.1:"},
        {"  intel_sync: \"\"\n", "intel_sync: no address and port"},
        {"  run: host.example:1\n", "run: host.example is no address"},
        {"  run: 127.0.0.1:70000\n", "run: no address and port"},
        {"  run: 127.0.0.1:9600\n", "run: 127.0.0.1:9600 is the address of health.serve already"},
        {"  topic: \"a b\"\n", "topic: \"a b\" is no name that Kafka takes"},
        {"  topic: \"..\"\n", "topic: \"..\" is no name"},
        {"  otlp: 127.0.0.1:4318\n", "otlp: \"127.0.0.1:4318\" is no address of a collector; write e.g. http://"},
        {"  otlp: \"http://\"\n", "otlp: \"http://\" is no address"},
        {"  otlp: \"http://a/?b=c\"\n", "otlp: \"http://a/?b=c\" is no address"},
        {"  rdkafka: {linger.mss: 5}\n", "rdkafka.linger.mss: "},
        {"  interval: 100ms\n", "interval"},
        {"  interval: 10\n", "unit"},
        {"  lag_maxx: 10s\n", "did you mean \"lag_max\"?"},
        {"  loss_max_ppm: 1000001\n", "loss_max_ppm"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct core_health_conf conf;
        char text[768];
        size_t len = check(wrong[i].section, &conf, text);
        if (len != 1 || strstr(text, wrong[i].says) == NULL) {
            fail_msg("%s: %zu mistakes, the first: %s", wrong[i].section, len, text);
        }
        core_conf_release(core_health_opts, core_health_opts_len, &conf);
    }
}

/* A process whose file has no section health has the same limits. */
static void test_limits(void **state) {
    (void)state;
    struct core_loop *loop = NULL;
    struct core_fail fail = {0};
    assert_int_equal(core_loop_new(&loop, &fail), CORE_OK);
    const struct core_health_conf none = {0};
    const struct core_health_conf given = {.is_on = true, .lag_max_ns = 7, .stall_after_ns = 8, .loss_max_ppm = 9};
    struct core_health *health =
        core_health_new(&(struct core_health_env){.process = "run", .node = "n", .loop = loop, .conf = &none});
    for (int i = 0; i < 2; i++) {
        assert_int_equal(health->conf.lag_max_ns, 60 * CORE_NS_PER_S);
        assert_int_equal(health->conf.stall_after_ns, 5 * CORE_NS_PER_S);
        assert_int_equal(health->conf.loss_max_ppm, 10000);
        assert_int_equal(health->conf.interval_ns, 10 * CORE_NS_PER_S);
        assert_int_equal(health->conf.log_bytes_max, 16 * CORE_MIB);
        core_health_reload(health, &given);
        assert_int_equal(health->conf.lag_max_ns, 7);
        core_health_reload(health, &none);
    }
    core_health_free(health);
    core_loop_free(loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_right),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
