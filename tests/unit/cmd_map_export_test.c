/* tests/unit/cmd_map_export_test.c: `tapline map export`: the files say what the maps say, are JSON, and are the same for
 * the same maps. That real documents are valid by them is for corpus.schema, that an engine takes them for
 * integration.templates.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cmd_shell.h"

static void maps_put(void) {
    assert_int_equal(sh("rm -rf base to && mkdir -p base/maps"), 0);
    put("base/schema.tsv",
        "@timestamp\tdate\t\twhen\ndns.answers\tobject\tarray\tanswers\ndns.answers.data\tkeyword\t\twhat\n"
        "dns.answers.ttl\tlong\t\thow long\nevent.dataset\tkeyword\t\twhich\nevent.kind\tkeyword\t\tkind\n"
        "event.type\tkeyword\tlist\ttype\nlog.file.path\tkeyword\t\tpath\nlog.offset\tlong\t\toffset\n"
        "message\ttext\t\twords\nsource.ip\tip\t\taddress\nurl.original\twildcard\t\turl\nsource.geo.location\tgeo_"
        "point\t\twhere\n"
        "tapline.extra\tflattened\t\tany\nzeek.t.f\tflattened\t\tany\nzeek.%.icmp.type\tlong\t\ttype\nzeek.session_"
        "id\tkeyword\t\tuid\n"
        "zeek.t.l\tkeyword\tarray\tl\nzeek.t.e\tkeyword\teither\te\n");
    put("base/logs.table", "zeek t zeek.t zeek.t\nzeek u* zeek.any zeek.%\nzeek * zeek.any zeek.%\n"
                           "snort * zeek.any snort.log\nsuricata * zeek.any suricata.eve\n");
    put("base/maps/zeek.any.map", "log zeek.any\nts time @timestamp\nuid string zeek.session_id\nh addr source.ip\n"
                                  "p port zeek.%.icmp.type\n- const event.kind event\n- const event.type info\n"
                                  "* keep zeek.%.*\n");
    put("base/maps/zeek.t.map", "log zeek.t\ninclude zeek.any\nl vector[string] zeek.t.l\ne string zeek.t.e split ,\n"
                                "m string message also url.original\n- derive dns.answers dns_answers(a, b)\n- derive "
                                "zeek.t.f first(f)\n* keep zeek.t.*\n");
}

/* jq's answer about a file of the export. */
static void jq(const char *file, const char *filter, const char *answer) {
    char line[1024];
    (void)snprintf(line, sizeof(line), "jq -c '%s' 'to/%s'", filter, file);
    assert_int_equal(sh(line), 0);
    assert_true(strlen(out) > 0);
    out[strlen(out) - 1] = '\0';
    assert_string_equal(out, answer);
}

static void test_json_schema(void **state) {
    (void)state;
    static const char t[] = "tapline.zeek.t.schema.json";
    static const char any[] = "tapline.zeek.ANY.schema.json";
    maps_put();
    assert_int_equal(sh("$TAPLINE map export --maps base --to to json-schema"), 0);
    says("to/tapline.zeek.t.schema.json\n");
    jq("index.json", "[.[].dataset]",
       "[\"snort.log\",\"suricata.eve\",\"tapline.deadletter\",\"tapline.health\",\"zeek.*\",\"zeek.t\",\"zeek.u*\"]");
    jq("index.json", ".[0]",
       "{\"dataset\":\"snort.log\",\"topic\":\"tapline.snort.log\",\"schema\":\"tapline.snort.log.schema.json\"}");
    jq("index.json", ".[2].topic", "\"tapline.deadletter\"");
    jq(t, ".required", "[\"@timestamp\",\"event\",\"log\"]");
    jq(t, ".properties.event.required", "[\"dataset\",\"kind\",\"type\"]");
    jq(t, ".properties.event.properties.dataset.const", "\"zeek.t\"");
    jq(t, ".additionalProperties, .properties.event.additionalProperties", "false\nfalse");
    jq(t, ".properties.zeek.additionalProperties", "false");
    jq(t, ".properties.zeek.properties.t.additionalProperties", "{\"$ref\":\"#/$defs/kept\"}");
    jq(t, ".properties.zeek.properties.t.properties.icmp.properties.type[\"$ref\"]", "\"#/$defs/long\"");
    jq(t, ".properties.zeek.properties.t.properties.l|[.type,.uniqueItems]", "[\"array\",null]");
    jq(t, ".properties.zeek.properties.t.properties.e.anyOf|length", "2");
    jq(t, ".properties.zeek.properties.t.properties.l.items.anyOf",
       "[{\"$ref\":\"#/$defs/keyword\"},{\"type\":\"null\"}]");
    jq(t, ".properties.event.properties.type|[.type,.uniqueItems,.minItems]", "[\"array\",true,1]");
    jq(t, ".properties.dns.properties.answers.items.anyOf[0].properties|keys", "[\"data\",\"ttl\"]");
    jq(t, ".properties.source.properties.ip.description", "\"address\"");
    jq(any, ".properties.event.properties.dataset.pattern", "\"^zeek\\\\.[a-z0-9_]*$\"");
    jq(any, ".properties.zeek.properties|keys", "[\"session_id\"]");
    jq(any, ".properties.zeek.patternProperties|keys", "[\"^(?!(?:session_id)$)[a-z0-9_]+$\"]");
    jq(any, ".properties|has(\"dns\")", "false");
}

static void test_engines(void **state) {
    (void)state;
    static const char ecs[] = "_component_template/tapline-ecs.json";
    static const char t[] = "_index_template/tapline-zeek.t.json";
    static const char any[] = "_index_template/tapline-zeek._any.json";
    static const char dead[] = "_index_template/tapline-tapline.deadletter.json";
    maps_put();
    assert_int_equal(sh("$TAPLINE map export --maps base --to to opensearch"), 0);
    jq(t, ".template.mappings.properties.zeek.properties.t.properties.f", "{\"type\":\"flat_object\"}");
    assert_int_equal(sh("rm -r to && $TAPLINE map export --maps base --to to elasticsearch && ls to/* | wc -l"), 0);
    jq(t, ".template.mappings.properties.zeek.properties.t.properties.f", "{\"type\":\"flattened\"}");
    jq(t, ".template.mappings.properties|keys", "[\"zeek\"]");
    jq(t, ".template.mappings.properties.zeek.properties|keys", "[\"session_id\",\"t\"]");
    jq(t, ".template.mappings.properties.zeek.properties.t.properties.icmp.properties.type", "{\"type\":\"long\"}");
    jq(t, ".composed_of, .index_patterns", "[\"tapline-ecs\",\"tapline-settings\"]\n[\"logs-zeek.t-*-*\"]");
    jq(t, ".template.aliases", "{\"tapline\":{},\"tapline-zeek\":{},\"tapline-zeek.t\":{}}");
    jq(t, ".template.settings|has(\"index.lifecycle.name\")", "false");
    jq(t, "has(\"data_stream\")", "false");
    jq(t, "._meta.managed_by, (._meta.tapline.hash|length), (.version > 0)", "\"tapline\"\n16\ntrue");
    jq(any, ".index_patterns", "[\"logs-zeek.*-*-*\"]");
    jq(any, ".template.aliases", "{\"tapline\":{},\"tapline-zeek\":{}}");
    jq(any, ".template.mappings.dynamic_templates[0][\"zeek.%.icmp.type\"]|[.path_match,.mapping.type]",
       "[\"zeek.*.icmp.type\",\"long\"]");
    jq(any, ".template.mappings.date_detection", "false");
    jq(dead, ".index_patterns", "[\"logs-tapline.deadletter-*-*\"]");
    jq("_index_template/tapline-generic.json", ".index_patterns", "[\"logs-generic-*-*\"]");
    jq("_index_template/tapline-_any.json", ".index_patterns, .template.aliases",
       "[\"logs-*-*-2*.*\",\"logs-*-*-outofrange\"]\n{\"tapline\":{}}");
    jq("_component_template/tapline-settings.json", ".template.settings|keys",
       "[\"index.number_of_replicas\",\"index.number_of_shards\"]");
    jq(ecs, ".template.mappings.properties.data_stream.properties.dataset",
       "{\"type\":\"keyword\",\"ignore_above\":1024}");
    jq(ecs, ".template.mappings.properties.message", "{\"type\":\"match_only_text\"}");
    jq(ecs, ".template.mappings.properties.url.properties.original", "{\"type\":\"wildcard\"}");
    jq(ecs, ".template.mappings.properties.source.properties.geo.properties.location", "{\"type\":\"geo_point\"}");
    jq(ecs, ".template.mappings.properties.event.properties.kind", "{\"type\":\"keyword\",\"ignore_above\":1024}");
    jq(ecs, ".template.mappings.properties|has(\"zeek\")", "false");
    jq(ecs, ".template.mappings.properties.dns.properties.answers.properties.ttl", "{\"type\":\"long\"}");
    /* Two templates of one priority must not fit the same index. */
    assert_int_equal(
        sh("cat to/_index_template/*any.json | jq -s '[.[].priority]|length == (unique|length)' | grep true"), 0);
}

/* Documents of a map that marks an observable may come back from enrichment with more than the map writes. */
static void test_enrichments(void **state) {
    (void)state;
    static const char t[] = "tapline.zeek.t.schema.json";
    static const char ecs[] = "_component_template/tapline-ecs.json";
    maps_put();
    assert_int_equal(sh("printf '%s\\t%s\\t%s\\tx\\n' threat.enrichments nested list threat.enrichments.matched.field "
                        "keyword '' threat.enrichments.indicator.port long '' threat.indicator.name keyword either "
                        "threat.tactic.id keyword list >>base/schema.tsv"),
                     0);
    assert_int_equal(sh("$TAPLINE map export --maps base --to to json-schema"), 0);
    jq(t, ".properties|has(\"threat\")", "false"); /* nothing is marked */
    assert_int_equal(sh("sed -i 's/^m string message/& observable domain/' base/maps/zeek.t.map"), 0);
    assert_int_equal(sh("$TAPLINE map export --maps base --to to json-schema"), 0);
    jq(t, ".properties.threat.properties|keys", "[\"enrichments\",\"indicator\"]");
    jq(t, ".properties.threat.properties.enrichments|[.type,.uniqueItems,.minItems,(.items.properties|keys)]",
       "[\"array\",true,1,[\"indicator\",\"matched\"]]");
    jq(t, ".properties.threat.properties.enrichments.items|[.additionalProperties,.required]", "[false,null]");
    jq(t, ".properties.threat.properties.indicator.properties.name.anyOf|length", "2");
    jq("tapline.zeek.uANY.schema.json", ".properties|has(\"threat\")", "false");
    jq("tapline.deadletter.schema.json", ".properties|has(\"threat\")", "false");
    assert_int_equal(sh("$TAPLINE map export --maps base coverage"), 0); /* no row writes them */
    says_not("threat.");
    assert_int_equal(sh("$TAPLINE map export --maps base --to to observables && cat to/observables.tsv"), 0);
    says("field\ttype\tdatasets\nmessage\tdomain\tzeek.t\n");
    assert_int_equal(sh("$TAPLINE map export --maps base --to to elasticsearch"), 0);
    jq(ecs,
       ".template.mappings.properties.threat.properties.enrichments|[.type,.properties.matched.properties.field.type]",
       "[\"nested\",\"keyword\"]");
    jq(ecs, ".template.mappings.properties.threat.properties.enrichments.properties.indicator.properties.port",
       "{\"type\":\"long\"}");
    jq(ecs, ".template.mappings.properties.threat.properties.indicator|has(\"type\")", "false");
}

static void test_tables(void **state) {
    (void)state;
    maps_put();
    assert_int_equal(sh("$TAPLINE map export --maps base fields"), 0);
    says("field\tof\ttype\tmany\tdatasets\tmeaning\n");
    says("dns.answers.ttl\tecs\tlong\t\tzeek.t\thow long\n");
    says("zeek.%.icmp.type\town\tlong\t\tsnort.log suricata.eve zeek.* zeek.t zeek.u*\ttype\n");
    says("tapline.extra\town\tflattened\t\t\tany\n");
    assert_int_equal(sh("$TAPLINE map export --maps base coverage"), 0);
    says("dataset\tfield\n");
    says("zeek.t\tmessage\nzeek.t\tsource.ip\n");
    says_not("zeek.session_id");
}

static void test_same_and_wrong(void **state) {
    (void)state;
    maps_put();
    assert_int_equal(
        sh("$TAPLINE map export --maps base json-schema >a && $TAPLINE map export --maps base json-schema >b && "
           "cmp a b && jq -e 'length == 8' a"),
        0);
    assert_int_equal(sh("$TAPLINE map export --maps base 2>&1"), 100);
    assert_int_equal(sh("$TAPLINE map export --maps base everything 2>&1"), 100);
    says("say one of elasticsearch, opensearch, json-schema, fields, coverage");
    assert_int_equal(sh("touch file && $TAPLINE map export --maps base --to file/x fields 2>&1"), 111);
    says("file/x/fields.tsv: cannot be written: ");
    assert_int_equal(sh("$TAPLINE map export --maps nowhere fields 2>&1"), 100);
}

/* What a config's inputs add to documents is open in the schemas. */
static void test_config(void **state) {
    (void)state;
    maps_put();
    put("c.yml", "inputs:\n  - {type: zeek, paths: [/x/*.log], fields: {site.room: 7, source: {rack: r}}}\n"
                 "sinks: {file: {path: /tmp/x}}\nnormalize: {maps: base}\n");
    assert_int_equal(sh("$TAPLINE map export -c c.yml --to to json-schema"), 0);
    jq("tapline.zeek.t.schema.json", ".properties.site.properties.room", "{}");
    jq("tapline.zeek.t.schema.json", ".properties.source.properties.rack", "{}");
    jq("tapline.deadletter.schema.json", ".properties|has(\"site\")", "false");
    assert_int_equal(sh("$TAPLINE map export -c nothing.yml json-schema 2>&1"), 100);
}

/* The longest glob of a log that logs.table may have is exported, too; a longer one does not load. */
static void test_long_globs(void **state) {
    (void)state;
    static const char stars[] = "a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*";
    static const char rest[] = "zeek * zeek.any zeek.%\nsnort * zeek.any snort.log\nsuricata * zeek.any suricata.eve\n";
    char table[512];
    maps_put();
    (void)snprintf(table, sizeof(table), "zeek %s zeek.any zeek.%%\n%s", stars, rest);
    put("base/logs.table", table);
    assert_int_equal(sh("$TAPLINE map export --maps base --to to json-schema"), 0);
    jq("index.json", "length", "6");
    (void)snprintf(table, sizeof(table), "zeek %sb zeek.any zeek.%%\n%s", stars, rest);
    put("base/logs.table", table);
    assert_int_equal(sh("$TAPLINE map export --maps base --to to json-schema 2>&1"), 100);
    says("base/logs.table:1:6: a log's name, or a glob of names, has at most 64 bytes");
}

SHELL_MAIN(cmocka_unit_test(test_json_schema), cmocka_unit_test(test_engines), cmocka_unit_test(test_enrichments),
           cmocka_unit_test(test_tables), cmocka_unit_test(test_same_and_wrong), cmocka_unit_test(test_config),
           cmocka_unit_test(test_long_globs))
