/* Where numbers of packets come from: Suricata's stats, Zeek's capture_loss.log and telemetry, an interface.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_diag_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static char dir[64];

static int setup(void **state) {
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/tapline-capture-XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int teardown(void **state) {
    (void)state;
    return folder_remove(dir);
}

static void write_text(const char *name, const char *text) {
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

#define STATS(time, packets, drops)                                                                                    \
    "{\"timestamp\":\"" time "\",\"event_type\":\"stats\",\"stats\":{\"capture\":{\"kernel_packets\":" packets         \
    ",\"kernel_drops\":" drops "},\"decoder\":{\"pkts\":7,\"bytes\":700}}}\n"

static void the_last_whole_stats_of_eve_count(void **state) {
    (void)state;
    struct serve_capture capture;
    write_text("eve.json",
               STATS("t1", "10", "1")
                   STATS("t2", "20",
                         "3") "{\"event_type\":\"flow\"}\n\n"
                              "{\"timestamp\":\"t3\",\"event_type\":\"stats\",\"stats\":{\"capt"); /* being written */
    serve_capture_suricata(dir, &capture);
    assert_true(capture.is_there);
    assert_int_equal(capture.received, 20);
    assert_int_equal(capture.dropped, 3);
    assert_int_equal(capture.bytes, 700);
    assert_string_equal(capture.source, "eve");
    assert_string_equal(capture.as_of, "t2");
}

static void stats_log_where_eve_has_none(void **state) {
    (void)state;
    struct serve_capture capture;
    write_text("eve.json", "{\"event_type\":\"flow\"}\n");
    write_text("stats.log", "Date: 11/22/2026 -- 04:00:00 (uptime: 0d, 00h 00m 08s)\n"
                            "capture.kernel_packets | Total | 5\n"
                            "------------------------------------\n"
                            "Date: 11/22/2026 -- 04:00:08 (uptime: 0d, 00h 00m 16s)\n"
                            "------------------------------------\n"
                            "Counter                | TM Name | Value\n"
                            "capture.kernel_packets    | Total     | 77\n"
                            "capture.kernel_drops      | Total     | 2\n"
                            "decoder.pkts              | Total     | 75\n"
                            "decoder.bytes             | Total     | 7500\n");
    serve_capture_suricata(dir, &capture);
    assert_true(capture.is_there);
    assert_int_equal(capture.received, 77);
    assert_int_equal(capture.dropped, 2);
    assert_int_equal(capture.bytes, 7500);
    assert_string_equal(capture.source, "stats.log");
    assert_string_equal(capture.as_of, "11/22/2026 -- 04:00:08");
}

static void no_stats_says_why(void **state) {
    (void)state;
    struct serve_capture capture;
    serve_capture_suricata(dir, &capture);
    assert_false(capture.is_there);
    assert_non_null(strstr(capture.note, "stats"));
}

static void capture_loss_of_the_peer(void **state) {
    (void)state;
    double percent = 0;
    assert_false(serve_capture_loss(dir, NULL, &percent));
    write_text("capture_loss.log", "#separator \\x09\n#fields\tts\tts_delta\tpeer\tgaps\tacks\tpercent_lost\n"
                                   "#types\ttime\tinterval\tstring\tcount\tcount\tdouble\n"
                                   "1.0\t900.0\tw1\t1\t100\t1.5\n1.0\t900.0\tw2\t2\t100\t2.5\n#close\t2026\n");
    assert_true(serve_capture_loss(dir, "w1", &percent));
    assert_float_equal(percent, 1.5, 0);
    assert_true(serve_capture_loss(dir, NULL, &percent));
    assert_float_equal(percent, 2.5, 0);
    assert_false(serve_capture_loss(dir, "w3", &percent));
    write_text("capture_loss.log", "{\"ts\":1.0,\"peer\":\"w1\",\"percent_lost\":0.25}\n"
                                   "{\"ts\":2.0,\"peer\":\"w2\",\"percent_lost\":0.5}\n");
    assert_true(serve_capture_loss(dir, "w1", &percent));
    assert_float_equal(percent, 0.25, 0);
}

static void telemetry_members(void **state) {
    (void)state;
    struct serve_capture capture;
    serve_capture_telemetry(CORE_SPAN("\"received\":9,\"dropped\":1,\"link\":10"), &capture);
    assert_true(capture.is_there);
    assert_int_equal(capture.received, 9);
    assert_int_equal(capture.dropped, 1);
    assert_int_equal(capture.link, 10);
}

static void an_interface_by_any_of_its_names(void **state) {
    (void)state;
    struct serve_interface interface;
    char path[256];
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, i == 0 ? "eth7" : "eth7/statistics");
        assert_int_equal(mkdir(path, 0700), 0);
    }
    write_text("eth7/statistics/rx_packets", "12\n");
    write_text("eth7/statistics/rx_bytes", "3400\n");
    write_text("eth7/statistics/rx_dropped", "5\n");
    write_text("eth7/flags", "0x1003\n");
    assert_true(serve_interface_read(dir, "af_packet::eth7", &interface));
    assert_int_equal(interface.packets, 12);
    assert_int_equal(interface.bytes, 3400);
    assert_int_equal(interface.dropped, 5);
    assert_true(interface.is_up);
    write_text("eth7/flags", "0x1002\n");
    assert_true(serve_interface_read(dir, "eth7", &interface));
    assert_false(interface.is_up);
    assert_false(serve_interface_read(dir, "eth8", &interface));
    assert_false(serve_interface_read(dir, "../eth7", &interface));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_last_whole_stats_of_eve_count, setup, teardown),
        cmocka_unit_test_setup_teardown(stats_log_where_eve_has_none, setup, teardown),
        cmocka_unit_test_setup_teardown(no_stats_says_why, setup, teardown),
        cmocka_unit_test_setup_teardown(capture_loss_of_the_peer, setup, teardown),
        cmocka_unit_test_setup_teardown(an_interface_by_any_of_its_names, setup, teardown),
        cmocka_unit_test(telemetry_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
