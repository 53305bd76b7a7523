/* Zeek's packet counters out of its telemetry, and: what is not known was not delivered.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve_env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const char *members(const char *text, enum core_err wanted) {
    static char bytes[512];
    struct core_fail fail = {0};
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes) - 1};
    assert_int_equal(serve_netstats_read(text, "here", &out, &fail), wanted);
    *out.pos = '\0';
    return bytes;
}

static void counters_of_zeek_7(void **state) {
    (void)state;
    assert_string_equal(members("# TYPE zeek_net_received_packets_total counter\n"
                                "zeek_net_dropped_packets_total 3\nzeek_net_link_packets_total 1.5e+03\n"
                                "zeek_net_received_packets_total 1497\nzeek_net_packet_lag_seconds 0.1\n"
                                "zeek_net_filtered_packets_total 0\nzeek_net_received_bytes_total 99999\n",
                                CORE_OK),
                        "\"received\":1497,\"dropped\":3,\"link\":1500,\"filtered\":0,\"received_bytes\":99999");
}

static void counters_of_zeek_6_have_labels_and_times(void **state) {
    (void)state;
    assert_string_equal(members("zeek_net_dropped_packets_total{endpoint=\"a } b\"} 0.000000 1684826824560\n"
                                "zeek_net_received_packets_total{endpoint=\"\"} 9832.000000 1684826824560\n",
                                CORE_OK),
                        "\"received\":9832,\"dropped\":0");
    assert_string_equal(members("zeek_net_received_packets 7\n", CORE_OK), "\"received\":7");
}

static void what_is_no_worker_says_so(void **state) {
    (void)state;
    (void)members("", CORE_BAD);
    (void)members("zeek_log_writer_writes_total{path=\"conn\"} 1\n", CORE_BAD);
    (void)members("zeek_net_received_packets_total NaN\n", CORE_BAD);
    (void)members("zeek_net_received_packets_total{endpoint=\"", CORE_BAD);
}

static void nothing_known_is_nothing_delivered(void **state) {
    (void)state;
    struct serve_known *known = serve_known_new();
    assert_false(serve_known_is_delivered(known, "/etc/passwd"));
    serve_known_set_state(known, "/nonexistent");
    assert_false(serve_known_is_delivered(known, "/etc/passwd"));
    assert_string_equal(serve_known_state(known), "/nonexistent");
    serve_known_free(known);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_of_zeek_7),
        cmocka_unit_test(counters_of_zeek_6_have_labels_and_times),
        cmocka_unit_test(what_is_no_worker_says_so),
        cmocka_unit_test(nothing_known_is_nothing_delivered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
