/* tests/unit/cmd_intel_test.c: `tapline intel …` without Redis: files read and counted, the store of a process that has
 * files of its own, and how each is called wrongly. With Redis: tests/integration/test_intel_commands.py.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cmd_shell.h"

static void files_put(void) {
    put("a.dat", "#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\tmeta.cif_confidence\n"
                 "192.0.2.7\tIntel::ADDR\tcorp\tdrop server\t85\n"
                 "192.0.2.7\tIntel::ADDR\tother\t-\t-\n"
                 "198.51.100.0/24\tIntel::SUBNET\tcorp\ta range\t-\n"
                 "www.evil.example\tIntel::DOMAIN\tcorp\t-\t-\n"
                 "6734f37431670b3ab4292b8f60f29984\tIntel::JA3\tcorp\t-\t-\n"
                 "Bob\tIntel::USER_NAME\tcorp\t#1\t-\n"
                 "what\tIntel::WEATHER\tcorp\t-\t-\n");
    put("b.txt", "*.evil.example\nevil.example/Gate.php\n");
    put("i.yml", "intel:\n  files: [\"*.dat\", b.txt]\n");
    put("redis.yml", "intel:\n  redis: {urls: [\"unix:///nonexistent/redis.sock\"], connect_timeout: 100ms}\n");
    put("none.yml", "node: {name: a}\n");
}

static void test_dry_run(void **state) {
    (void)state;
    files_put();
    assert_int_equal(sh("$TAPLINE intel load --dry-run a.dat b.txt 2>err"), 0);
    says("read 8 indicators of 2 files as feed local: 2 ip, 1 cidr, 2 domain, 1 url, 1 user, 1 ja3\nleft out: 1\n      "
         " 1 "
         "its type is none of those that are looked for\n");
    assert_int_equal(sh("cat err"), 0);
    says("a.dat:8: left out \"what\": its type is none of those that are looked for\n");
    assert_int_equal(sh("$TAPLINE intel load -n --json --feed x a.dat 2>err"), 0);
    says(
        "{\"feed\":\"x\",\"files\":1,\"files_not_read\":0,\"indicators\":6,\"types\":{\"ip\":2,\"cidr\":1,\"domain\":1,"
        "\"user\":1,\"ja3\":1},\"refused\":1,\"reasons\":{\"its type is none of those that are looked "
        "for\":1},\"dry_run\":true}\n");
    assert_int_equal(sh("printf 'bob\\neve\\n' >u.txt; $TAPLINE intel load -n --format list --type user u.txt 2>&1"),
                     0);
    says("2 user");
    assert_int_equal(sh("gzip -c a.dat | $TAPLINE intel load -n - 2>&1"), 0); /* a pipe is not asked twice */
    says("6 indicators");
    assert_int_equal(sh("$TAPLINE intel load -n a.dat nonexistent 2>&1"), 1); /* what can be read, is */
    says("nonexistent: cannot open it");
    says("1 file not read");
    says("6 indicators");
    assert_int_equal(sh("for i in $(seq 25); do echo \"what $i\"; done | $TAPLINE intel load -n --format list - 2>&1"),
                     0);
    says("… and 15 more left out\n");
    says("      25 of which type it is cannot be told from it\n");
}

static void test_load_called_wrongly(void **state) {
    (void)state;
    files_put();
    assert_int_equal(sh("$TAPLINE intel load a.dat 2>&1"), 100);
    says("-c FILE is missing");
    assert_int_equal(sh("$TAPLINE intel load -c none.yml a.dat 2>&1"), 100);
    says("none.yml has no intel.redis.urls: there is no store to write to");
    assert_int_equal(sh("$TAPLINE intel load -n 2>&1"), 100);
    says("which files?");
    assert_int_equal(sh("$TAPLINE intel load -n --format xml a.dat 2>&1"), 100);
    says("\"xml\" is no format of files");
    assert_int_equal(sh("$TAPLINE intel load -n --type domian a.dat 2>&1"), 100);
    says("did you mean domain?");
    assert_int_equal(sh("$TAPLINE intel load -n --feed 'A b' a.dat 2>&1"), 100);
    assert_int_equal(sh("$TAPLINE intel load -n --expire-after 30 a.dat 2>&1"), 100);
    says("its unit");
    assert_int_equal(sh("$TAPLINE intel load -c redis.yml a.dat 2>&1"), 111);
    says("/nonexistent/redis.sock");
    assert_int_equal(sh("$TAPLINE intel load --help"), 0);
    says("Example:");
}

static void test_list(void **state) {
    (void)state;
    files_put();
    assert_int_equal(sh("$TAPLINE intel list -c i.yml | LC_ALL=C sort"), 0);
    says("cidr\t198.51.100.0/24\tlocal\tcorp\t-\t-\t-\t-\ta range\n"
         "domain\tevil.example\tlocal\tb.txt\t-\t-\t-\twith subdomains\t-\n"
         "domain\twww.evil.example\tlocal\tcorp\t-\t-\t-\t-\t-\n"
         "ip\t192.0.2.7\tlocal\tcorp\t8.5\t-\t-\t-\tdrop server\n"
         "ip\t192.0.2.7\tlocal\tother\t-\t-\t-\t-\t-\n"
         "ja3\t6734f37431670b3ab4292b8f60f29984\tlocal\tcorp\t-\t-\t-\t-\t-\n"
         "url\tevil.example/Gate.php\tlocal\tb.txt\t-\t-\t-\t-\t-\n"
         "user\tBob\tlocal\tcorp\t-\t-\t-\t-\t#1\n");
    assert_int_equal(sh("$TAPLINE intel list -c i.yml --type ip --json"), 0);
    says("{\"type\":\"ip\",\"value\":\"192.0.2.7\",\"providers\":[{\"feed\":\"local\",\"provider\":\"corp\","
         "\"confidence\":"
         "8.5,\"description\":\"drop server\"},{\"feed\":\"local\",\"provider\":\"other\"}]}\n");
    assert_int_equal(sh("$TAPLINE intel list -c i.yml --feed nobody"), 1);
    assert_int_equal(sh("$TAPLINE intel list -c none.yml 2>&1"), 100);
    says("neither intel.redis.urls nor intel.files");
}

static void test_get(void **state) {
    (void)state;
    files_put();
    assert_int_equal(sh("$TAPLINE intel get -c i.yml http://EVIL.example/Gate.php"), 0);
    says("url\tevil.example/Gate.php\t");
    assert_int_equal(sh("$TAPLINE intel get -c i.yml 192.0.2.8 2>&1"), 1);
    says("\"192.0.2.8\" is no indicator in the store");
    assert_int_equal(sh("$TAPLINE intel get -c i.yml 2>&1"), 100);
    assert_int_equal(sh("$TAPLINE intel get -c i.yml --type ip x 2>&1"), 100);
    says("it is no IP address");
}

static void test_match(void **state) {
    (void)state;
    files_put();
    assert_int_equal(sh("$TAPLINE intel match -c i.yml 192.0.2.7 198.51.100.99 a.www.evil.example "
                        "https://evil.example/Gate.php x@evil.example Bob 8.8.8.8"),
                     0);
    says("192.0.2.7: ip 192.0.2.7 (exact), feed local, corp: drop server\n192.0.2.7: ip 192.0.2.7 (exact), feed local, "
         "other\n"
         "198.51.100.99: cidr 198.51.100.0/24 (network), feed local, corp: a range\n"
         "a.www.evil.example: domain evil.example (parent domain), feed local, b.txt\n"
         "https://evil.example/Gate.php: url evil.example/Gate.php (exact), feed local, b.txt\n"
         "https://evil.example/Gate.php: domain evil.example (its host), feed local, b.txt\n"
         "x@evil.example: domain evil.example (its host), feed local, b.txt\n"
         "Bob: user Bob (exact), feed local, corp: #1\n"
         "8.8.8.8: no match\n");
    assert_int_equal(sh("$TAPLINE intel match -c i.yml b.example evil.example.org"), 1);
    says("b.example: no match\nevil.example.org: no match\n");
    assert_int_equal(sh("$TAPLINE intel match -c i.yml --json 198.51.100.99"), 0);
    says("{\"asked\":\"198.51.100.99\",\"hits\":[{\"how\":\"network\",\"type\":\"cidr\",\"value\":\"198.51.100.0/24\","
         "\"providers\":[{\"feed\":\"local\",\"provider\":\"corp\",\"description\":\"a "
         "range\"}],\"allowed\":null}],\"allowed\":null,"
         "\"is_match\":true}\n");
    assert_int_equal(sh("$TAPLINE intel match -c i.yml --type cidr 10.0.0.0/8 2>&1"), 100);
    assert_int_equal(sh("$TAPLINE intel match -c i.yml 2>&1"), 100);
}

static void test_stats(void **state) {
    (void)state;
    files_put();
    assert_int_equal(sh("$TAPLINE intel stats -c i.yml --json"), 0);
    says("{\"indicators\":7,\"said\":8,\"allowed\":0,\"types\":{\"ip\":1,\"cidr\":1,\"domain\":2,\"url\":1,\"user\":1,"
         "\"ja3\":1},"
         "\"feeds\":{\"local\":{\"said\":8,\"expiring\":0}},\"last_seen\":{\"day\":0,\"week\":0,\"month\":0,\"year\":0,"
         "\"older\":"
         "0,\"unknown\":8}}\n");
    assert_int_equal(sh("$TAPLINE intel stats -c i.yml"), 0);
    says("indicators 7, said by providers 8, allowed 0\n");
}

/* What is exported is read again as it was. */
static void test_export(void **state) {
    (void)state;
    files_put();
    assert_int_equal(sh("$TAPLINE intel export -c i.yml --zeek 2>err >z.out; cat z.out"), 0);
    says("#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\tmeta.url\tmeta.do_notice\tmeta.cif_tags\t"
         "meta.cif_confidence\tmeta.cif_source\tmeta.cif_description\tmeta.cif_firstseen\tmeta.cif_lastseen\n");
    says("192.0.2.7\tIntel::ADDR\tcorp\tdrop server\t-\tF\t-\t85\tlocal\tdrop server\t-\t-\n");
    says("198.51.100.0/24\tIntel::SUBNET\t");
    says_not("JA3");
    assert_int_equal(sh("cat err"), 0);
    says("7 lines\n1 domains mean their subdomains, too");
    says("1 JA3 left out");
    put("z.yml", "intel: {files: [z.out]}\n");
    assert_int_equal(
        sh("$TAPLINE intel list -c z.yml | sort >z1; $TAPLINE intel list -c i.yml | grep -v ^ja3 | sed 's/with "
           "subdomains/-/' | sort >z2; diff z2 z1"),
        0);
    assert_int_equal(sh("$TAPLINE intel export -c i.yml 2>&1"), 100);
    assert_int_equal(sh("$TAPLINE intel export -c i.yml --zeek --ja3 2>err | grep -c JA3"), 0);
}

/* Signs of Zeek's own within a text do not end a field or a line. */
static void test_export_escapes(void **state) {
    (void)state;
    put("e.in", "#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\n"
                "\\x23x\tIntel::USER_NAME\t\\x2d\ta\\x09b\\x0ac \\x5cx41\n");
    put("e.yml", "intel: {files: [e.in]}\n");
    assert_int_equal(sh("$TAPLINE intel export -c e.yml --zeek 2>err >e2.out; tail -1 e2.out"), 0);
    says("\\x23x\tIntel::USER_NAME\t\\x2d\ta\\x09b\\x0ac \\x5cx41\t-\tF\t");
    put("e2.yml", "intel: {files: [e2.out]}\n");
    assert_int_equal(
        sh("$TAPLINE intel list --json -c e2.yml >j2; $TAPLINE intel list --json -c e.yml >j1; diff j1 j2; cat j1"), 0);
    says("{\"type\":\"user\",\"value\":\"#x\",\"providers\":[{\"feed\":\"local\",\"provider\":\"-\",\"description\":"
         "\"a\\tb\\nc "
         "\\\\x41\"}]}\n");
}

static void test_writers_need_redis(void **state) {
    (void)state;
    files_put();
    static const char *const commands[] = {"add a.b", "rm a.b", "allow a.b", "load a.dat"};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        char line[256];
        (void)snprintf(line, sizeof(line), "set -- %s; $TAPLINE intel $1 -c i.yml $2 2>&1", commands[i]);
        assert_int_equal(sh(line), 100);
        says("there is no store to write to");
    }
    assert_int_equal(sh("$TAPLINE intel allow -c i.yml"), 0); /* an empty list */
    assert_string_equal(out, "");
}

static void test_a_wrong_section(void **state) {
    (void)state;
    put("w.yml", "intel:\n  timout: 1s\n  redis: {url: x}\n  feeds:\n    - {name: a, type: zeek, path: x}\n"
                 "    - {name: a, type: zeke, path: x}\n    - {name: a, type: csv, path: x, options: {valeu: 1}}\n");
    assert_int_equal(sh("$TAPLINE intel list -c w.yml 2>&1"), 100);
    says("w.yml:2:3: unknown key \"timout\" in intel, did you mean \"timeout\"?");
    says("w.yml:3:11: unknown key \"url\" in intel.redis, did you mean \"urls\"?");
    says("did you mean \"zeek\"?");
    says("has no option \"valeu\"");
    says("there is a feed \"a\" already");
}

SHELL_MAIN(cmocka_unit_test(test_dry_run), cmocka_unit_test(test_load_called_wrongly), cmocka_unit_test(test_list),
           cmocka_unit_test(test_get), cmocka_unit_test(test_match), cmocka_unit_test(test_stats),
           cmocka_unit_test(test_export), cmocka_unit_test(test_export_escapes),
           cmocka_unit_test(test_writers_need_redis), cmocka_unit_test(test_a_wrong_section))
