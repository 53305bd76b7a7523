/* Zeek's counters out of its telemetry. The texts have the form that Zeek 6 and Zeek 8 document.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/zeek_counts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct zeek_counts counts;

static uint64_t writes_of(const char *log) {
    const struct zeek_count *count = zeek_counts_find(&counts, core_span_of(log));
    assert_non_null(count);
    return count->writes;
}

static void zeek_8(void **state) {
    (void)state;
    struct core_fail fail;
    static const char text[] =
        "# HELP process_start_time_seconds Process start time\n# TYPE process_start_time_seconds gauge\n"
        "process_start_time_seconds 1795228800.5\n"
        "# TYPE zeek_log_writer_writes_total counter\n"
        "zeek_log_writer_writes_total{filter_name=\"default\",module=\"Conn\",path=\"conn\",stream=\"Conn::LOG\","
        "writer=\"Log::WRITER_ASCII\"} 819\n"
        "zeek_log_writer_writes_total{path=\"conn\",filter_name=\"mine, \\\"too\\\"}\",writer=\"Log::WRITER_ASCII\"} "
        "1\n"
        "zeek_log_writer_writes_total{path=\"conn\",filter_name=\"k\",writer=\"Log::WRITER_KAFKAWRITER\"} 5000\n"
        "zeek_log_writer_writes_total{path=\"sub/dns\",writer=\"Log::WRITER_ASCII\"} 2e+06\n"
        "zeek_log_writer_discarded_writes_total{path=\"conn\",writer=\"Log::WRITER_ASCII\"} 7\n"
        "zeek_log_stream_writes_total{module=\"Conn\",stream=\"Conn::LOG\"} 900\n";
    assert_int_equal(zeek_counts_read(&counts, text, "url", &fail), CORE_OK);
    assert_int_equal(counts.len, 2);
    assert_int_equal(writes_of("conn"), 820);
    assert_int_equal(writes_of("dns"), 2000000);
    assert_null(zeek_counts_find(&counts, core_span_of("con")));
    assert_true(counts.start_ns == INT64_C(1795228800500000000));
}

static void zeek_6(void **state) {
    (void)state;
    struct core_fail fail;
    static const char text[] = "zeek_log_writer_writes_total{endpoint=\"\",filter_name=\"default\",module=\"DNS\",path="
                               "\"dns\",stream=\"DNS::LOG\","
                               "writer=\"Log::WRITER_ASCII\"} 2.000000 1684826824560\n"
                               "zeek_log_writer_writes{endpoint=\"\",path=\"http\"} 3 1684826824560";
    assert_int_equal(zeek_counts_read(&counts, text, "url", &fail), CORE_OK);
    assert_int_equal(writes_of("dns"), 2);
    assert_int_equal(writes_of("http"), 3);
    assert_int_equal(counts.start_ns, 0);
    static const char far[] = "process_start_time_seconds 1595228808800.5\n"
                              "zeek_log_writer_writes{endpoint=\"\",path=\"http\"} 3\n";
    assert_int_equal(zeek_counts_read(&counts, far, "url", &fail), CORE_OK);
    assert_int_equal(counts.start_ns, 0); /* no time that a process can have begun at */
}

static void what_is_no_zeek_is_said(void **state) {
    (void)state;
    struct core_fail fail;
    assert_int_equal(zeek_counts_read(&counts, "<html>hello</html>\n", "http://here", &fail), CORE_BAD);
    assert_string_equal(fail.where, "http://here");
    assert_int_equal(zeek_counts_read(&counts, "", "u", &fail), CORE_BAD);
    static const char *const wrong[] = {
        "zeek_log_writer_writes_total 5\n",
        "zeek_log_writer_writes_total{path=\"conn\"} -5\n",
        "zeek_log_writer_writes_total{path=\"conn\"} NaN\n",
        "zeek_log_writer_writes_total{path=\"conn\"} 1e300\n",
        "zeek_log_writer_writes_total{path=\"conn\"}\n",
        "zeek_log_writer_writes_total{path=\"conn\n",
        "zeek_log_writer_writes_total{path=\"conn\\",
        "zeek_log_writer_writes_total{path=",
        "zeek_log_writer_writes_total{path=\"\"} 5\n",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(zeek_counts_read(&counts, wrong[i], "u", &fail), CORE_BAD);
    }
}

static void a_log_is_named_by_its_file(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"/logs/current/conn.log", "conn"},
        {"/logs/2026-11-21/conn.03:00:00-04:00:00.log.gz", "conn"},
        {"capture_loss.2026-11-21-03-04-20.log", "capture_loss"},
        {"plain", "plain"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_true(core_span_is(zeek_log_of(pairs[i][0]), pairs[i][1]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeek_8),
        cmocka_unit_test(zeek_6),
        cmocka_unit_test(what_is_no_zeek_is_said),
        cmocka_unit_test(a_log_is_named_by_its_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
