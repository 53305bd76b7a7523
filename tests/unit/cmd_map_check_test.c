/* tests/unit/cmd_map_check_test.c: `tapline map check`: each mistake by itself has its place, all come at once, and a
 * site's maps beside ours.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cmd_shell.h"

static const char schema[] = "@timestamp\tdate\t\twhen\n"
                             "client.ip\tip\t\ta\n"
                             "event.kind\tkeyword\t\ta\n"
                             "event.type\tkeyword\tlist\ta\n"
                             "source.ip\tip\t\ta\n"
                             "source.address\tkeyword\t\ta\n"
                             "source.port\tlong\t\ta\n"
                             "tls.established\tboolean\t\ta\n"
                             "tls.version\tkeyword\t\ta\n"
                             "zeek.%.icmp.type\tlong\t\ta\n"
                             "zeek.t.a\tkeyword\t\ta\n"
                             "zeek.t.b\tkeyword\t\ta\n"
                             "zeek.t.list\tkeyword\tarray\ta\n"
                             "zeek.t.some\tkeyword\teither\ta\n"
                             "zeek.t.n\tlong\t\ta\n";

static const char logs[] = "zeek t zeek.t zeek.t\nzeek * zeek.t zeek.%\nsnort * zeek.t snort.log\n"
                           "suricata * zeek.t suricata.eve\n";

static void base_put(const char *map) {
    assert_int_equal(sh("rm -rf base site && mkdir -p base/maps site/maps"), 0);
    put("base/schema.tsv", schema);
    put("base/logs.table", logs);
    put("base/maps/zeek.t.map", map);
}

struct wrong {
    const char *rows;
    const char *says;
};

static void test_mistakes(void **state) {
    (void)state;
    static const struct wrong cases[] = {
        {"a string zeek.t.unknown\n", "zeek.t.map:2:10: \"zeek.t.unknown\" is not in schema.tsv"},
        {"a string source.unknown\n", "zeek.t.map:2:10: \"source.unknown\" is not in schema.tsv"},
        {"a count source.ip\n", "zeek.t.map:2:3: count cannot be written to source.ip"},
        {"a string zeek.t.n\n", "zeek.t.map:2:3: string cannot be written to zeek.t.n"},
        {"a set[string] zeek.t.a\n", "zeek.t.map:2:3: zeek.t.a is one value in schema.tsv"},
        {"a string zeek.t.a split ,\n", "zeek.t.map:2:3: zeek.t.a is one value in schema.tsv"},
        {"a string zeek.t.list\n", "zeek.t.map:2:3: zeek.t.list is an array in schema.tsv"},
        {"a string zeek.t.a also zeek.t.a\n", "zeek.t.map:2:24: zeek.t.a stands twice in this row"},
        {"a string zeek.t.a\na string zeek.t.a\n", "zeek.t.map:3:10: this never writes zeek.t.a: line 2 does"},
        {"a string zeek.t.a\nb string zeek.t.a\n", "zeek.t.map:3:10: zeek.t.a is written by line 2 already"},
        {"- const event.kind a\n- const event.kind b\n", "zeek.t.map:3:9: event.kind is a constant already, in line 2"},
        {"- derive zeek.t.a first(l)\n- derive zeek.t.a first(l)\n",
         "zeek.t.map:3:10: zeek.t.a is derived the same way"},
        {"- derive source.port network_type()\n", "zeek.t.map:2:22: network_type() writes no long"},
        {"- derive tls.version tls_version(v)\n", "tls_version() also writes \"tls.version_protocol\""},
        {"- derive zeek.t.a nothing(l)\n", "zeek.t.map:2:19: there is no function \"nothing\""},
        {"a string zeek.t.a via words\n", "zeek.t.map:2:10: there is no table \"words\""},
        {"a string tls.established via t\ntable t\n  x yes\n",
         "zeek.t.map:3:7: \"yes\" cannot be written to tls.established"},
        {"a string zeek.t.a\ntable t\n  x y\n", "zeek.t.map:3:7: no row uses the table \"t\""},
        {"a string zeek.t.a via t\ntable t\n  x y\n  x z\n", "zeek.t.map:3:7: the table has the key \"x\" twice"},
        {"* keep source.*\n", "zeek.t.map:2:8: a record's other fields go below zeek."},
        {"alias x y\na string zeek.t.a\n", "zeek.t.map:2:9: no row reads the field \"y\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text), "log zeek.t\n%s", cases[i].rows);
        base_put(text);
        if (sh("$TAPLINE map check base 2>&1") != 1 || strstr(out, cases[i].says) == NULL) {
            fail_msg("%s: \"%s\" is not in: %s", cases[i].rows, cases[i].says, out);
        }
    }
}

/* Names longer than any field's are told, not fallen over. */
static void test_long_names(void **state) {
    (void)state;
    static const char *const rows[] = {"- derive zeek.%s dn(a)\n",   "* keep zeek.%s.*\n", "a string zeek.%s\n",
                                       "a string zeek.t.a via %s\n", "alias %s b\n",       "include %s\n"};
    char name[600];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char row[700];
        char text[800];
        const char *at = strstr(rows[i], "%s");
        (void)snprintf(row, sizeof(row), "%.*s%s%s", (int)(at - rows[i]), rows[i], name, at + 2);
        (void)snprintf(text, sizeof(text), "log zeek.t\n%s", row);
        base_put(text);
        assert_int_equal(sh("$TAPLINE map check base 2>&1"), 1);
        says("base/maps/zeek.t.map:");
        assert_int_equal(sh("$TAPLINE normalize --maps base </dev/null 2>&1"), strstr(row, "alias") == NULL ? 100 : 0);
    }
}

static void test_good(void **state) {
    (void)state;
    base_put("log zeek.t\nalias old a\n"
             "a string zeek.t.a via t also zeek.t.b\n"
             "a string zeek.t.a               # what the table has not\n"
             "h addr source.ip also source.address\n"
             "h2 addr source.ip also client.ip # may be lost there, not here\n"
             "p port source.port unless q = icmp\n"
             "p port zeek.%.icmp.type unless q != icmp\n"
             "l vector[string] zeek.t.list\ns string zeek.t.some split ,\n"
             "c count zeek.t.n also event.type via kinds also event.type via more\n"
             "- const zeek.t.a none\n- derive zeek.t.a either(x, y)\n- derive zeek.t.a first(l)\n* keep zeek.t.*\n"
             "table t\n  x y\ntable kinds\n  1 one\ntable more\n  1 first\n");
    assert_int_equal(sh("$TAPLINE map check base 2>&1"), 0);
    says("base: no mistakes");
    assert_int_equal(sh("$TAPLINE map check base base 2>&1"), 100);
}

static void test_all_at_once(void **state) {
    (void)state;
    base_put("log zeek.t\na string zeek.t.x\nb string zeek.t.y\n* keep zeek.t.*\n");
    put("base/maps/zeek.unused.map", "log zeek.unused\n");
    put("base/logs.table", "zeek * zeek.t zeek.%\nzeek t zeek.t zeek.t\nsnort * zeek.t snort.log\n"
                           "suricata * zeek.t suricata.eve\n");
    assert_int_equal(sh("$TAPLINE map check base 2>&1"), 1);
    says("base/logs.table:2:6: no log comes here: \"*\" at base/logs.table:1:6 takes them all");
    says("base/maps/zeek.t.map:2:10: \"zeek.t.x\"");
    says("base/maps/zeek.t.map:3:10: \"zeek.t.y\"");
    says("base/maps/zeek.unused.map:1:1: no row of logs.table names this map");
}

static void test_schema(void **state) {
    (void)state;
    static const struct wrong cases[] = {
        {"a.b\tstring\t\tx\n", "schema.tsv:1:5: \"string\" is no type"},
        {"a.b\tlong\tmany\tx\n", "schema.tsv:1:10: the third column is \"list\", \"array\", \"either\" or empty"},
        {"a..b\tlong\t\tx\n", "schema.tsv:1:1: \"a..b\" is no field's name"},
        {"a.%.b.%\tlong\t\tx\n", "schema.tsv:1:1: \"a.%.b.%\" is no field's name"},
        {"a.b\tlong\t\tx\na.b\tlong\t\tx\n", "schema.tsv:2:1: \"a.b\" stands at base/schema.tsv:1:1, too"},
        {"zeek.%.b\tlong\t\tx\nzeek.t.b\tip\t\tx\n",
         "schema.tsv:2:1: \"zeek.t.b\" is of another type than \"zeek.%.b\""},
        {"a\tlong\t\tx\na.b\tip\t\tx\n", "schema.tsv:2:1: \"a.b\" is below \"a\", which is no object"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        base_put("log zeek.t\n* keep zeek.t.*\n");
        put("base/schema.tsv", cases[i].rows);
        if (sh("$TAPLINE map check base 2>&1") != 1 || strstr(out, cases[i].says) == NULL) {
            fail_msg("%s: \"%s\" is not in: %s", cases[i].rows, cases[i].says, out);
        }
    }
}

/* What would be a topic's and an index's name. */
static void test_datasets(void **state) {
    (void)state;
    static const char *const datasets[] = {"zeek", "zeek.a.b", "Zeek.a", "zeek.%%", "zeek.a/b", ".a", "zeek."};
    for (size_t i = 0; i < sizeof(datasets) / sizeof(datasets[0]); i++) {
        char text[256];
        base_put("log zeek.t\n* keep zeek.t.*\n");
        (void)snprintf(text, sizeof(text), "zeek x zeek.t %s\n%s", datasets[i], logs);
        put("base/logs.table", text);
        assert_int_equal(sh("$TAPLINE map check base 2>&1"), 1);
        says("base/logs.table:1:15: a dataset is two words");
    }
}

/* A site's map stands for ours, its logs.table rows decide, its schema rows are there for its maps and ours. */
static void test_site(void **state) {
    (void)state;
    base_put("log zeek.t\nts time @timestamp\n- const event.kind event\n* keep zeek.t.*\n");
    put("site/maps/zeek.mine.map",
        "log zeek.mine\nts time @timestamp\nowner string site.owner\n- const event.kind event\n"
        "* keep zeek.%.*\n");
    put("site/logs.table", "zeek mine zeek.mine zeek.mine\n");
    put("site/schema.tsv", "site.owner\tkeyword\t\twho has it\nsource.ip\tip\t\tthe same again is no harm\n");
    put("mine.log", "{\"ts\":1.5,\"owner\":\"me\",\"x\":1}\n");
    put("t.log", "{\"ts\":1.5,\"owner\":\"me\"}\n");
    assert_int_equal(sh("$TAPLINE map check --site-maps site base 2>&1"), 0);
    assert_int_equal(sh("$TAPLINE normalize --maps base --site-maps site mine.log t.log 2>/dev/null"), 0);
    says("\"dataset\":\"zeek.mine\"");
    says("\"site\":{\"owner\":\"me\"},\"zeek\":{\"mine\":{\"x\":1}}");
    says("\"kind\":\"event\"");
    says("\"zeek\":{\"t\":{\"owner\":\"me\"}}");
    put("site/maps/zeek.t.map", "log zeek.t\nts time @timestamp\nowner string site.owner\n- const event.kind alert\n");
    assert_int_equal(sh("$TAPLINE normalize --maps base --site-maps site t.log 2>/dev/null"), 0);
    says("\"kind\":\"alert\"");
    says("\"site\":{\"owner\":\"me\"}");
    assert_int_equal(sh("$TAPLINE map explain --maps base --site-maps site t.log 2>/dev/null"), 0);
    says("site/zeek.t.map:3");
    /* Its own name is ours there: a few rows more, and the rest as it was. */
    put("site/maps/zeek.t.map", "log zeek.t\ninclude zeek.t\nowner string site.owner\ndrop when owner = you\n");
    put("t.log", "{\"ts\":1.5,\"owner\":\"me\",\"z\":2}\n{\"ts\":1.5,\"owner\":\"you\"}\n");
    assert_int_equal(sh("$TAPLINE normalize --maps base --site-maps site t.log 2>&1"), 0);
    says("\"kind\":\"event\"");
    says("\"site\":{\"owner\":\"me\"},\"zeek\":{\"t\":{\"z\":2}}");
    says("2 records = 1 documents + 0 dead letters + 1 dropped");
    assert_int_equal(sh("$TAPLINE map check --site-maps site base 2>&1"), 0);
    put("site/schema.tsv", "site.owner\tkeyword\t\twho has it\nsource.ip\tkeyword\t\tours is an ip\n");
    assert_int_equal(sh("$TAPLINE map check --site-maps site base 2>&1"), 1);
    says("site/schema.tsv:2:1: \"source.ip\" is ip at base/schema.tsv:");
    assert_int_equal(sh("$TAPLINE map check --site-maps nowhere base 2>&1"), 1);
    says("nowhere: there is no such directory");
    put("file", "");
    assert_int_equal(sh("$TAPLINE map check --site-maps file base 2>&1"), 1);
    says("file/schema.tsv: cannot read this part of the maps: Not a directory");
    assert_int_equal(sh("$TAPLINE normalize --maps base --site-maps \"\" t.log 2>/dev/null"), 0);
}

SHELL_MAIN(cmocka_unit_test(test_mistakes), cmocka_unit_test(test_long_names), cmocka_unit_test(test_good),
           cmocka_unit_test(test_all_at_once), cmocka_unit_test(test_schema), cmocka_unit_test(test_datasets),
           cmocka_unit_test(test_site))
