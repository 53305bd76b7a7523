/* tests/unit/cmd_reference_test.c: the reference from the tables (cmd/reference.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cmd_shell.h"

static void test_reference(void **state) {
    (void)state;
    assert_int_equal(sh("$TAPLINE reference options"), 0);
    says("   * - ``stop_timeout``\n");
    says("sinks.kafka\n-----------\n");
    assert_int_equal(sh("$TAPLINE reference feeds"), 0);
    says("stix\n----\n");
    says("   * - ``split``\n");
    assert_int_equal(sh("$TAPLINE reference counters"), 0);
    says("   * - ``ingest.bytes``\n     - bytes\n     - bytes read from files (decompressed)\n"
         "     - ``tapline_ingest_bytes_total``\n");
    assert_int_equal(sh("$TAPLINE reference metrics"), 0);
    says("file\n^^^^\n");
    says("Labels: ``path``.\n");
    says("   * - ``lag_seconds``\n     - age, seconds\n");
    says("     - ``tapline_file_lag_seconds``\n");
    says("     - ``tapline_file_rotations_total``\n");
    says("     - ``tapline_sink_latency_seconds``\n");
    assert_int_equal(sh("$TAPLINE reference problems"), 0);
    says("   * - ``sink_unreachable``\n     - error\n");
    assert_int_equal(sh("$TAPLINE reference fields | grep -A3 'related.ip``'"), 0);
    says("   * - ``related.ip``\n     - ip, a list\n");
    assert_int_equal(sh("$TAPLINE reference fields | grep -A3 '``network.protocol``'"), 0);
    says("     - keyword, or a list of them\n");
    assert_int_equal(sh("$TAPLINE reference coverage | grep -A2 '``zeek.dns``'"), 0);
    says(" dns.question.name ");
    assert_int_equal(sh("$TAPLINE reference observables | grep -A2 '``dns.resolved_ip``'"), 0);
    says("     - ip\n     - suricata.");
    assert_int_equal(sh("$TAPLINE reference fields --maps /nonexistent 2>&1"), 100);
    says("/nonexistent/schema.tsv: cannot read");
    assert_int_equal(sh("$TAPLINE reference commands"), 0);
    says("tapline map explain\n-------------------\n");
    assert_int_equal(sh("$TAPLINE reference man"), 0);
    says("map-explain\t");
    assert_int_equal(sh("$TAPLINE reference man config-show"), 0);
    says("tapline config show\n===================\n");
    assert_int_equal(sh("$TAPLINE reference man nothing 2>&1"), 100);
    assert_int_equal(sh("$TAPLINE reference option 2>&1"), 100);
    assert_int_equal(sh("$TAPLINE reference options counters 2>&1"), 100);
}

SHELL_MAIN(cmocka_unit_test(test_reference))
