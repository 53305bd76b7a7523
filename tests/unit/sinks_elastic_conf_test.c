/* The keys of the elasticsearch sink; which index a document goes to; what an engine's answers mean.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/elastic_internal.h"
#include "tests/unit/sinks_testing.h"

/* ---- keys ------------------------------------------------------------------------------------------------------------------ */

static void assert_mistake(const char *keys, const char *words) {
    struct rig rig;
    char text[2048];
    snprintf(text, sizeof text, "elasticsearch:\n%s", keys);
    enum core_err err = rig_conf(&rig, text, 1);
    if (words == NULL ? err != CORE_OK : err != CORE_BAD || strstr(rig.mistakes.fails[0].text, words) == NULL) {
        fail_msg("%s: %s", keys, rig.mistakes.len == 0 ? "no mistake" : rig.mistakes.fails[0].text);
    }
    rig_close(&rig);
}

static void what_the_rows_cannot_say_is_checked(void **state) {
    (void)state;
    assert_mistake("  namespace: default\n", NULL);
    assert_mistake("  hosts: [https://a.example:9200, \"http://proxy/es/\"]\n", NULL);
    assert_mistake("  hosts: [a.example:9200]\n", "is no URL of a node");
    assert_mistake("  hosts: [\"http://\"]\n", "is no URL of a node");
    assert_mistake("  hosts: [\"http://u:p@a:9200\"]\n", "has a user in it");
    assert_mistake("  hosts: [\"http://a:9200/?pretty\"]\n", "ends in a query");
    assert_mistake("  hosts: []\n", "there must be one");
    assert_mistake("  api_key: k\n  username: u\n  password: p\n", "one of them");
    assert_mistake("  username: u\n", "password is missing");
    assert_mistake("  password: p\n", "username is missing");
    assert_mistake("  username: \"u:v\"\n  password: p\n", "colon");
    assert_mistake("  key_file: /k\n", "cert_file");
    assert_mistake("  namespace: Site-1\n", "is none");
    assert_mistake("  namespace: \"\"\n", "is none");
    assert_mistake("  bulk_bytes: 1KiB\n", "at least");
    assert_mistake("  index_mode: stream\n", "index_mode");
}

static void secrets_are_not_in_a_message(void **state) {
    (void)state;
    struct rig rig;
    assert_int_equal(rig_conf(&rig, "elasticsearch:\n  hosts: [\"http://user:sesame7@a:9200\"]\n", 1), CORE_BAD);
    assert_null(strstr(rig.mistakes.fails[0].text, "sesame7"));
    rig_close(&rig);
}

static void places_are_what_others_need(void **state) {
    (void)state;
    struct rig rig;
    struct sink_elastic_places places;
    assert_int_equal(rig_conf(&rig,
                              "elasticsearch:\n  hosts: [\"https://a:1\", \"https://b:2\"]\n  api_key: bm90aGluZw==\n"
                              "  index_mode: data_stream\n  timeout: 7s\n  ca_file: /ca\n",
                              1),
                     CORE_OK);
    sink_elastic_places(rig.conf, &places);
    assert_int_equal(places.hosts_len, 2);
    assert_string_equal(places.hosts[1], "https://b:2");
    assert_int_equal(places.headers_len, 1);
    assert_string_equal(places.headers[0].value, "ApiKey bm90aGluZw==");
    assert_string_equal(places.secret, "bm90aGluZw==");
    assert_string_equal(places.ca_file, "/ca");
    assert_string_equal(places.namespace_name, "default");
    assert_true(places.is_data_stream);
    assert_int_equal(places.timeout_ms, 7000);
    sink_elastic_places_release(&places);
    assert_true(sink_elastic_is_daily(rig.conf, "zeek.dns"));
    assert_false(sink_elastic_is_daily(rig.conf, "zeek.notice"));
    rig_close(&rig);
    assert_int_equal(rig_conf(&rig, "elasticsearch:\n  daily: [\"zeek.*\", \"a b\"]\n", 1), CORE_OK);
    assert_true(sink_elastic_is_daily(rig.conf, "zeek.notice"));
    assert_true(sink_elastic_is_daily(rig.conf, "b"));
    assert_false(sink_elastic_is_daily(rig.conf, "snort.log"));
    rig_close(&rig);
}

/* ---- indices ----------------------------------------------------------------------------------------------------------------- */

static void times_are_read_as_engines_read_them(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* INT64_MIN: it is none */
    } times[] = {
        {"1970-01-01T00:00:00.000000Z", 0},
        {"1970-01-01T00:00:00.0019Z", 1},
        {"1970-01-02", 86400000},
        {"1970-01-01T01:00:00+01:00", 0},
        {"1970-01-01T01:00+0100", 0},
        {"1969-12-31t20:30:00,5-03:30", 500},
        {"1970-01-01 00:00:01", 1000},
        {"2026-11-22T01:02:03.123456Z", INT64_C(1795309323123)},
        {"1970-13-01", INT64_MIN},
        {"1970-01-32", INT64_MIN},
        {"1970-01-01T25:00:00Z", INT64_MIN},
        {"1970-01-01T00:60:00Z", INT64_MIN},
        {"1970-01-01T00:00:00.Z", INT64_MIN},
        {"1970-01-01T00:00:00Zx", INT64_MIN},
        {"1970-01-01T00:00:00+1", INT64_MIN},
        {"1970-1-1", INT64_MIN},
        {"1700000000", INT64_MIN},
        {"", INT64_MIN},
    };
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        int64_t ms = INT64_MIN;
        bool is_time = elastic_time_read(core_span_of(times[i].text), &ms);
        if (is_time != (times[i].ms != INT64_MIN) || (is_time && ms != times[i].ms)) {
            fail_msg("%s: %lld", times[i].text, (long long)ms);
        }
    }
}

/* The name of the index of a document that was accepted at `accepted`. */
static void index_of(const struct elastic_conf *conf, const char *dataset, const char *doc, const char *accepted,
                     char name[256]) {
    static struct elastic_index table[ELASTIC_INDICES];
    int64_t accepted_ms = 0;
    assert_true(elastic_time_read(core_span_of(accepted), &accepted_ms));
    memset(table, 0, sizeof table);
    const struct elastic_index *index =
        elastic_index_of(table, conf, dataset, elastic_day_of(conf, core_span_of(doc), accepted_ms));
    snprintf(name, 256, "%.*s", index->name_len, index->head + index->name_at);
}

static void the_index_follows_from_dataset_and_time(void **state) {
    (void)state;
    static const char accepted[] = "2026-11-22T12:00:00Z";
    static const char longest[] =
        "x.23456789x123456789x123456789x123456789x123456789x123456789x123456789x123456789x123456789x"
        "123456789and more";
    static const struct {
        const char *dataset;
        const char *doc;
        const char *name;
    } rows[] = {
        {"zeek.dns", "{\"@timestamp\":\"2026-11-22T00:00:00Z\"}", "logs-zeek.dns-default-2026.11.22"},
        {"zeek.dns", "{\"@timestamp\":\"2026-11-21T23:59:59.999999Z\"}", "logs-zeek.dns-default-2026.11.21"},
        {"zeek.dns", "{\"@timestamp\":\"2026-11-22T00:30:00+01:00\"}", "logs-zeek.dns-default-2026.11.21"},
        {"zeek.dns", "{\"a\":1,\"@timestamp\":\"2026-11-22T00:00:00Z\"}", "logs-zeek.dns-default-2026.11.22"},
        {"zeek.notice", "{\"@timestamp\":\"2026-10-31T00:00:00Z\"}", "logs-zeek.notice-default-2026.10"},
        {"zeek.dns", "{\"@timestamp\":\"2026-10-23T12:00:00Z\"}", "logs-zeek.dns-default-2026.10.23"},
        {"zeek.dns", "{\"@timestamp\":\"2026-10-23T11:59:59.999Z\"}", "logs-zeek.dns-default-outofrange"},
        {"zeek.dns", "{\"@timestamp\":\"2026-11-23T12:00:00Z\"}", "logs-zeek.dns-default-2026.11.23"},
        {"zeek.dns", "{\"@timestamp\":\"2026-11-23T12:00:00.001Z\"}", "logs-zeek.dns-default-outofrange"},
        {"zeek.dns", "{\"@timestamp\":\"yesterday\"}", "logs-zeek.dns-default-outofrange"},
        {"zeek.dns", "{\"@timestamp\":1795309323123}", "logs-zeek.dns-default-outofrange"},
        {"zeek.dns", "{\"@timestamp\":\"2026-11-22T00", "logs-zeek.dns-default-outofrange"},
        {"zeek.dns", "{}", "logs-zeek.dns-default-outofrange"},
        {"", "{}", "logs-generic-default-outofrange"},
        {"My-Data*set/\xc3\xa9", "{}", "logs-my_data_set___-default-outofrange"},
        {longest, "{}",
         "logs-x.23456789x123456789x123456789x123456789x123456789x123456789x123456789x123456789x123456789x123456789-"
         "default-"
         "outofrange"},
    };
    struct rig rig;
    char name[256];
    assert_int_equal(rig_conf(&rig, "elasticsearch:\n  past: 30d\n", 1), CORE_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        index_of(rig.conf, rows[i].dataset, rows[i].doc, accepted, name);
        assert_string_equal(name, rows[i].name);
    }
    rig_close(&rig);
    assert_int_equal(rig_conf(&rig, "elasticsearch:\n  index_mode: data_stream\n  namespace: a.b\n", 1), CORE_OK);
    index_of(rig.conf, "zeek.dns", "{}", accepted, name);
    assert_string_equal(name, "logs-zeek.dns-a.b");
    rig_close(&rig);
}

/* Names are kept by where they lie: another name at the same place is another name. */
static void a_name_is_not_mistaken_for_one_that_lay_there(void **state) {
    (void)state;
    static struct elastic_index table[ELASTIC_INDICES];
    struct rig rig;
    char dataset[16] = "one";
    assert_int_equal(rig_conf(&rig, "elasticsearch:\n  past: 30d\n", 1), CORE_OK);
    const struct elastic_index *index = elastic_index_of(table, rig.conf, dataset, 0);
    assert_memory_equal(index->head + index->name_at, "logs-one-default-1970.01", index->name_len);
    snprintf(dataset, sizeof dataset, "two");
    index = elastic_index_of(table, rig.conf, dataset, 0);
    assert_memory_equal(index->head + index->name_at, "logs-two-default-1970.01", index->name_len);
    rig_close(&rig);
}

/* ---- answers ------------------------------------------------------------------------------------------------------------------ */

static void answers_are_read_whole_or_not_at_all(void **state) {
    (void)state;
    static const struct {
        const char *body;
        uint32_t len;
        bool is_answer;
    } rows[] = {
        {"{\"errors\":false,\"items\":[{\"create\":{\"status\":201}},{\"create\":{\"status\":201}}]}", 2, true},
        {" {\"took\":3,\"errors\":false,\"items\":[ {\"create\" : {\"status\" : 201}} , {\"create\":{\"status\":201}} "
         "] } \n",
         2, true},
        {"{\"errors\":false,\"items\":[{\"create\":{\"status\":201}}]}", 2, false},
        {"{\"errors\":false,\"items\":[{\"create\":{\"status\":201}},{\"create\":{\"status\":201}}]}", 1, false},
        {"{\"errors\":false,\"items\":[{\"create\":{\"status\":201}},]}", 1, false},
        {"{\"errors\":false,\"items\":[{\"create\":{\"status\":201}}{\"create\":{\"status\":201}}]}", 2, false},
        {"{\"errors\":false,\"items\":[{\"create\":{\"status\":\"201\"}}", 1, false},
        {"{\"errors\":false,\"items\":[7]}", 1, false},
        {"{\"errors\":false,\"items\":[{\"create\":{\"status\":201}}", 1, false},
        {"{\"errors\":false}", 1, false},
        {"", 1, false},
    };
    struct elastic_answer *answer = elastic_answer_new(8);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct elastic_said *said = NULL;
        const char *why = NULL;
        bool is_answer = elastic_answer_read(answer, core_span_of(rows[i].body), rows[i].len, &said, &why);
        if (is_answer != rows[i].is_answer) {
            fail_msg("%s", rows[i].body);
        }
        for (uint32_t k = 0; is_answer && k < rows[i].len; k++) {
            assert_int_equal(said[k].verdict, ELASTIC_TAKEN);
        }
        assert_true(is_answer || why != NULL);
    }
    elastic_answer_free(answer);
}

static void each_status_of_a_document_has_its_meaning(void **state) {
    (void)state;
    static const struct {
        const char *item; /* the inner part */
        enum elastic_verdict verdict;
        const char *words; /* of the text */
    } rows[] = {
        {"\"status\":201", ELASTIC_TAKEN, NULL},
        {"\"status\":200,\"failure_store\":\"not_enabled\"", ELASTIC_TAKEN, NULL},
        {"\"failure_store\":\"used\",\"status\":201", ELASTIC_REFUSED, "failure store"},
        {"\"status\":409,\"error\":{\"type\":\"version_conflict_engine_exception\",\"reason\":\"r\"}", ELASTIC_REPEATED,
         NULL},
        {"\"status\":409,\"error\":{\"type\":\"other\",\"reason\":\"r\"}", ELASTIC_AGAIN, "other: r"},
        {"\"status\":400,\"error\":{\"type\":\"t\",\"reason\":\"r \\\"q\\\"\"}", ELASTIC_REFUSED, "t: r \"q\""},
        /* brackets of a document, in the engine's words about it */
        {"\"status\":400,\"error\":{\"type\":\"t\",\"reason\":\"[Source: (byte[])\\\"{\\\"a\\\":1}}\\\"; line 1] {\"}",
         ELASTIC_REFUSED, "t: [Source: (byte[])\"{\"a\":1}}\"; line 1] {"},
        {"\"status\":400,\"error\":{\"type\":\"illegal_argument_exception\",\"reason\":\"Limit of total fields [1000] "
         "has been "
         "exceeded\"}",
         ELASTIC_REFUSED, "total fields"},
        {"\"status\":400,\"error\":{\"root_cause\":[{\"type\":\"no\",\"reason\":\"no\"}],\"type\":\"t\",\"reason\":"
         "\"r\",\"meta\":{"
         "\"type\":\"no\"},\"caused_by\":{\"type\":\"c\",\"reason\":\"why\"}}",
         ELASTIC_REFUSED, "t: r (caused by c: why)"},
        {"\"status\":400,\"error\":\"in one text\"", ELASTIC_REFUSED, "in one text"},
        {"\"status\":400", ELASTIC_REFUSED, "no reason given"},
        {"\"status\":400,\"error\":{\"type\":\"index_closed_exception\",\"reason\":\"closed\"}", ELASTIC_WAITS,
         "closed"},
        {"\"status\":400,\"error\":{\"type\":\"illegal_argument_exception\",\"reason\":\"pipeline with id [p] does not "
         "exist\"}",
         ELASTIC_WAITS, "pipeline"},
        {"\"status\":429,\"error\":{\"type\":\"cluster_block_exception\",\"reason\":\"flood stage\"}", ELASTIC_WAITS,
         "flood"},
        {"\"status\":429,\"error\":{\"type\":\"es_rejected_execution_exception\",\"reason\":\"r\"}", ELASTIC_AGAIN,
         "rejected"},
        {"\"status\":400,\"error\":{\"type\":\"illegal_argument_exception\",\"reason\":\"mapper [u.b] cannot be "
         "changed from "
         "type [keyword] to [long]\"}",
         ELASTIC_DOUBTFUL, "cannot be changed"},
        {"\"status\":500,\"error\":{\"type\":\"not_x_content_exception\",\"reason\":\"r\"}", ELASTIC_REFUSED,
         "x_content"},
        {"", ELASTIC_DOUBTFUL, "cannot be read"},
        {"\"status\":\"201\"", ELASTIC_DOUBTFUL, "cannot be read"},
        {"\"status\":503,\"error\":{\"type\":\"unavailable_shards_exception\",\"reason\":\"r\"}", ELASTIC_AGAIN,
         "shards"},
        {"\"status\":500,\"error\":{\"type\":\"t\",\"reason\":\"r\"}", ELASTIC_AGAIN, "t: r"},
        {"\"status\":401,\"error\":{\"type\":\"security_exception\",\"reason\":\"r\"}", ELASTIC_BARRED, "security"},
        {"\"status\":403,\"error\":{\"type\":\"security_exception\",\"reason\":\"r\"}", ELASTIC_BARRED, "security"},
        {"\"status\":404,\"error\":{\"type\":\"t\",\"reason\":\"r\"}", ELASTIC_WAITS, "t: r"},
        {"\"status\":413,\"error\":{\"type\":\"t\",\"reason\":\"r\"}", ELASTIC_REFUSED, "t: r"},
    };
    struct elastic_answer *answer = elastic_answer_new(1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct elastic_said *said = NULL;
        const char *why = NULL;
        char body[1024];
        snprintf(body, sizeof body, "{\"errors\":true,\"items\":[{\"create\":{%s}}]}", rows[i].item);
        assert_true(elastic_answer_read(answer, core_span_of(body), 1, &said, &why));
        if (said[0].verdict != rows[i].verdict ||
            (rows[i].words != NULL && (said[0].text == NULL || strstr(said[0].text, rows[i].words) == NULL))) {
            fail_msg("%s: %d %s", rows[i].item, said[0].verdict, said[0].text);
        }
        assert_true(said[0].verdict != ELASTIC_WAITS || said[0].advice != NULL);
    }
    elastic_answer_free(answer);
}

static void waits_grow_and_are_no_longer_than_is_asked(void **state) {
    (void)state;
    const int64_t max = 30 * CORE_NS_PER_S;
    for (unsigned tries = 0; tries < 100; tries++) {
        int64_t wait = elastic_wait_ns(tries, max, 0);
        assert_true(wait >= 50 * CORE_NS_PER_MS && wait <= max);
    }
    assert_true(elastic_wait_ns(50, max, 0) >= max / 2);
    assert_int_equal(elastic_wait_ns(0, max, 7), 7 * CORE_NS_PER_S);
    assert_int_equal(elastic_wait_ns(0, max, 1000000), 300 * CORE_NS_PER_S);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_rows_cannot_say_is_checked),
        cmocka_unit_test(secrets_are_not_in_a_message),
        cmocka_unit_test(places_are_what_others_need),
        cmocka_unit_test(times_are_read_as_engines_read_them),
        cmocka_unit_test(the_index_follows_from_dataset_and_time),
        cmocka_unit_test(a_name_is_not_mistaken_for_one_that_lay_there),
        cmocka_unit_test(answers_are_read_whole_or_not_at_all),
        cmocka_unit_test(each_status_of_a_document_has_its_meaning),
        cmocka_unit_test(waits_grow_and_are_no_longer_than_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
