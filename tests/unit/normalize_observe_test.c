/* Stands for normalize/observe.c, observe_text.c and mark.c: which texts of a record are listed beside its document, as what,
 * where they stand, and what of a map's marks is a mistake. SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/maps_dir.h"

static int dir_make(void **state) {
    (void)state;
    return dir_make_with(
        "@timestamp\tdate\t\t\nsource.ip\tip\t\t\nrelated.ip\tip\tlist\t\nrelated.hosts\tkeyword\tlist\t\n"
        "event.kind\tkeyword\t\t\nzeek.t.a\tkeyword\t\t\nzeek.t.b\tkeyword\t\t\nzeek.t.n\tlong\t\t\n"
        "zeek.t.l\tkeyword\tarray\t\nzeek.%.p\tkeyword\t\t\ndns.answers\tobject\tarray\t\n"
        "dns.answers.data\tkeyword\t\t\ndns.answers.ttl\tlong\t\t\n"
        "url.domain\tkeyword\t\t\nurl.original\tkeyword\t\t\nurl.path\tkeyword\t\t\n"
        "url.query\tkeyword\t\t\nurl.fragment\tkeyword\t\t\nurl.extension\tkeyword\t\t\n"
        "url.scheme\tkeyword\t\t\nurl.full\tkeyword\t\t\nurl.port\tlong\t\t\n"
        "tls.version\tkeyword\t\t\ntls.version_protocol\tkeyword\t\t\n");
}

/* "field type text" of each, a semicolon behind it. */
static const char *listed(const struct rig *rig, uint32_t i) {
    static char text[8192];
    size_t len = 0;
    assert_true(i < rig->batch->events_len);
    const struct core_event *event = &rig->batch->events[i];
    text[0] = '\0';
    for (uint16_t o = 0; o < event->observables_len; o++) {
        const struct core_observable *one = &event->observables[o];
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s %s %.*s;", one->field,
                                core_indicator_word((enum core_indicator)one->type), (int)one->len, one->ptr);
        assert_true(len < sizeof(text));
    }
    return text;
}

struct case_row {
    const char *rows; /* of the map */
    const char *record;
    const char *listed;
};

static void cases_run(const struct case_row *cases, size_t len) {
    for (size_t i = 0; i < len; i++) {
        struct rig rig;
        char map[1024];
        char lines[2048];
        snprintf(map, sizeof(map), "log zeek.t\nts time @timestamp\n%s\n* keep zeek.t.*\n", cases[i].rows);
        snprintf(lines, sizeof(lines), "%s\n%s\n%s\n", cases[i].record, cases[i].record, cases[i].record);
        put("maps/zeek.t.map", map);
        rig_open(&rig, dir, "t.log");
        normalize_worker_observe(rig.worker, true);
        rig_text(&rig, lines);
        for (uint32_t e = 0; e < 3; e++) { /* the first goes the long way, the others that of its form */
            if (strcmp(listed(&rig, e), cases[i].listed) != 0) {
                fail_msg("%s\n%s\nrecord %u: %s\ninstead of: %s", cases[i].rows, cases[i].record, e, listed(&rig, e),
                         cases[i].listed);
            }
        }
        rig_close(&rig);
    }
}

static void marked_fields_are_listed(void **state) {
    (void)state;
    static const struct case_row cases[] = {
        {"h addr source.ip observable ip", "{\"ts\":1.5,\"h\":\"192.0.2.1\"}", "source.ip ip 192.0.2.1;"},
        {"h addr source.ip", "{\"ts\":1.5,\"h\":\"192.0.2.1\"}", ""},
        {"h addr source.ip observable ip", "{\"ts\":1.5}", ""},
        {"h addr source.ip observable ip", "{\"ts\":1.5,\"h\":\"\"}", ""},
        {"h addr source.ip observable ip", "{\"ts\":1.5,\"h\":\"host\"}", ""}, /* not in the document either */
        /* the target that it stands behind */
        {"h string zeek.t.a also zeek.t.b observable domain", "{\"ts\":1.5,\"h\":\"a.example\"}",
         "zeek.t.b domain a.example;"},
        {"h string zeek.%.p observable user", "{\"ts\":1.5,\"h\":\"root\"}", "zeek.t.p user root;"},
        /* two types, and two fields */
        {"h string zeek.t.a observable file_hash observable cert_hash", "{\"ts\":1.5,\"h\":\"AB\"}",
         "zeek.t.a file_hash AB;zeek.t.a cert_hash AB;"},
        {"h string zeek.t.a observable user also zeek.t.b observable user", "{\"ts\":1.5,\"h\":\"root\"}",
         "zeek.t.a user root;zeek.t.b user root;"},
        /* in the order of the rows; a host's own before those of an included map would come first */
        {"b string zeek.t.b observable ja3\na string zeek.t.a observable ja3", "{\"ts\":1.5,\"a\":\"1\",\"b\":\"2\"}",
         "zeek.t.b ja3 2;zeek.t.a ja3 1;"},
        /* the field's, whichever row put the text there */
        {"a string zeek.t.a observable user\nb string zeek.t.a also zeek.t.b", "{\"ts\":1.5,\"b\":\"2\"}",
         "zeek.t.a user 2;"},
        {"a string zeek.t.a observable user\nb string zeek.t.a also zeek.t.b", "{\"ts\":1.5,\"a\":\"1\",\"b\":\"2\"}",
         "zeek.t.a user 1;"},
        {"a string zeek.t.a observable user unless b = x", "{\"ts\":1.5,\"a\":\"1\",\"b\":\"x\"}", ""},
        {"a string zeek.t.a observable user lower", "{\"ts\":1.5,\"a\":\"ROOT\"}", "zeek.t.a user root;"},
        /* as it stands before JSON escapes it */
        {"a string zeek.t.a observable software", "{\"ts\":1.5,\"a\":\"a\\\"\\u00e9\\t\"}",
         "zeek.t.a software a\"\xc3\xa9\t;"},
        /* lists */
        {"a vector[string] zeek.t.l observable user", "{\"ts\":1.5,\"a\":[\"x\",null,\"\",\"y\"]}",
         "zeek.t.l user x;zeek.t.l user y;"},
        {"a addr related.ip observable ip\nb addr related.ip", "{\"ts\":1.5,\"a\":\"192.0.2.1\",\"b\":\"192.0.2.2\"}",
         "related.ip ip 192.0.2.1;related.ip ip 192.0.2.2;"},
        {"a string related.hosts observable domain", "{\"ts\":1.5,\"a\":\"a.example\"}",
         "related.hosts domain a.example;"},
        /* functions: their own target, one below it, a member of their objects */
        {"- derive related.ip dns_ips(a) observable ip", "{\"ts\":1.5,\"a\":[\"192.0.2.1\",\"a.example\"]}",
         "related.ip ip 192.0.2.1;"},
        {"- derive url url(h, u, p) observable url url.full observable domain url.domain",
         "{\"ts\":1.5,\"h\":\"a.example\",\"u\":\"/b?c\"}",
         "url.full url http://a.example/b?c;url.domain domain a.example;"},
        {"- derive dns.answers dns_answers(a, t) observable domain dns.answers.data",
         "{\"ts\":1.5,\"a\":[\"192.0.2.1\",\"a.example\",\"TXT \\\"x\\\"\"]}", "dns.answers.data domain a.example;"},
    };
    cases_run(cases, sizeof(cases) / sizeof(cases[0]));
}

static void what_is_picked_of_a_text(void **state) {
    (void)state;
#define IP "a string zeek.t.a observable ip"
#define DOMAIN "a string zeek.t.a observable domain"
#define EMAIL "a string zeek.t.a observable email"
#define URL "a string zeek.t.a observable url"
#define FILE_NAME "a string zeek.t.a observable file_name"
#define A(text) "{\"ts\":1.5,\"a\":\"" text "\"}"
    static const struct case_row cases[] = {
        {IP, A("192.0.2.1"), "zeek.t.a ip 192.0.2.1;"},
        {IP, A("X-FORWARDED-FOR -> 203.0.113.7, 10.0.0.1"), "zeek.t.a ip 203.0.113.7;zeek.t.a ip 10.0.0.1;"},
        {IP, A("for=192.0.2.60;proto=http;by=203.0.113.43:8080"), "zeek.t.a ip 192.0.2.60;zeek.t.a ip 203.0.113.43;"},
        {IP, A("for=\\\"[2001:db8::1]:4711\\\""), "zeek.t.a ip 2001:db8::1;"},
        {IP, A("fd00::1"), "zeek.t.a ip fd00::1;"},
        {IP, A("VIA -> 1.1 corp-proxy"), ""},
        {IP, A("host-192.0.2.1-x.example 192.0.2.256 1.2.3 ::x"), ""},
        {DOMAIN, A("a.example"), "zeek.t.a domain a.example;"},
        {DOMAIN, A("A.Example."), "zeek.t.a domain A.Example.;"}, /* enrichment brings it into its form */
        {DOMAIN, A("*.a.example"), "zeek.t.a domain a.example;"},
        {DOMAIN, A("192.0.2.1"), ""},
        {DOMAIN, A("a1.192.0.2.1"), ""}, /* no last label is a number */
        {DOMAIN, A("host1.2nd.example1"), "zeek.t.a domain host1.2nd.example1;"},
        {DOMAIN, A("host"), "zeek.t.a domain host;"},
        {DOMAIN, A("fd00::1"), ""},
        {DOMAIN, A("[fd00::1]"), ""},
        {DOMAIN, A("TXT 5 a=b.c"), ""},
        {DOMAIN, A("*."), ""},
        {EMAIL, A("a@b.example"), "zeek.t.a email a@b.example;"},
        {EMAIL, A("\\\"A, B\\\" <a@b.example>, c@d.example"), "zeek.t.a email a@b.example;zeek.t.a email c@d.example;"},
        {EMAIL, A("emailAddress=ca@corp.example,CN=x@,O=@y"), "zeek.t.a email ca@corp.example;"},
        {EMAIL, A("nobody"), ""},
        {URL, A("http://a.example/b"), "zeek.t.a url http://a.example/b;"},
        {URL, A("/b"), ""},
        {FILE_NAME, A("a.exe"), "zeek.t.a file_name a.exe;"},
        {FILE_NAME, A("d\\\\e/a.exe"), "zeek.t.a file_name d\\e/a.exe;zeek.t.a file_name a.exe;"},
        {FILE_NAME, A("d/"), "zeek.t.a file_name d/;"},
    };
    cases_run(cases, sizeof(cases) / sizeof(cases[0]));
}

static void what_lies_in_the_segment_is_not_copied(void **state) {
    (void)state;
    struct rig rig;
    put("maps/zeek.t.map", "log zeek.t\nts time @timestamp\na string zeek.t.a observable user\n"
                           "b string zeek.t.b observable user\n");
    rig_open(&rig, dir, "t.log");
    rig_text(&rig, "{\"ts\":1.5,\"a\":\"plain\",\"b\":\"with \\\" escape\"}\n");
    assert_int_equal(rig.batch->events[0].observables_len, 0); /* nobody asked */
    assert_null(rig.batch->events[0].observables);
    normalize_worker_observe(rig.worker, true);
    for (int turn = 0; turn < 3; turn++) {
        rig_text(&rig, "{\"ts\":1.5,\"a\":\"plain\",\"b\":\"with \\\" escape\"}\n{\"ts\":\"never\"}\n");
        const struct core_batch *batch = rig.batch;
        const struct core_event *event = &batch->events[0];
        assert_int_equal(event->observables_len, 2);
        assert_int_equal(event->observables_left, 0);
        assert_ptr_equal(event->observables[0].ptr, (const char *)memmem(batch->segment, 64, "plain", 5));
        const char *copy = event->observables[1].ptr;
        assert_true(copy >= batch->arena.base && copy < batch->arena.base + batch->arena.used);
        assert_int_equal((uintptr_t)event->observables % _Alignof(struct core_observable), 0);
        assert_true(batch->events[1].is_dead);
        assert_int_equal(batch->events[1].observables_len, 0);
        assert_string_equal(listed(&rig, 0), "zeek.t.a user plain;zeek.t.b user with \" escape;");
        if (turn == 1) {
            const char *field = event->observables[0].field; /* outlives the plan */
            normalize_worker_remap(rig.worker, rig.maps);
            rig_text(&rig, "{\"ts\":1.5,\"a\":\"x\"}\n");
            assert_string_equal(field, "zeek.t.a");
        }
    }
    normalize_worker_observe(rig.worker, false);
    rig_text(&rig, "{\"ts\":1.5,\"a\":\"plain\"}\n");
    assert_int_equal(rig.batch->events[0].observables_len, 0);
    rig_close(&rig);
}

static void more_than_the_maximum_are_counted(void **state) {
    (void)state;
    static char line[64 * 1024];
    struct rig rig;
    size_t len = (size_t)snprintf(line, sizeof(line), "{\"ts\":1.5,\"a\":[");
    for (int i = 0; i < CORE_OBSERVABLES_MAX + 44; i++) {
        len += (size_t)snprintf(line + len, sizeof(line) - len, "%s\"user%d\"", i == 0 ? "" : ",", i);
    }
    (void)snprintf(line + len, sizeof(line) - len, "]}\n{\"ts\":1.5,\"a\":[\"one\"]}\n");
    put("maps/zeek.t.map", "log zeek.t\nts time @timestamp\na vector[string] zeek.t.l observable user\n");
    rig_open(&rig, dir, "t.log");
    normalize_worker_observe(rig.worker, true);
    rig_text(&rig, line);
    assert_int_equal(rig.batch->events[0].observables_len, CORE_OBSERVABLES_MAX);
    assert_int_equal(rig.batch->events[0].observables_left, 44);
    assert_int_equal(rig.batch->events[1].observables_len, 1);
    assert_int_equal(rig.batch->events[1].observables_left, 0);
    rig_close(&rig);
}

static void a_constant_of_the_config_is_none(void **state) {
    (void)state;
    struct rig rig;
    put("maps/zeek.t.map", "log zeek.t\nts time @timestamp\na string zeek.t.a observable user\n");
    rig_open(&rig, dir, "t.log");
    rig.origin.fields_json = "{\"zeek\":{\"t\":{\"a\":\"ours\"}}}";
    normalize_worker_observe(rig.worker, true);
    rig_text(&rig, "{\"ts\":1.5,\"a\":\"theirs\"}\n");
    rig_expect(&rig, 0, "\"ours\"");
    assert_string_equal(listed(&rig, 0), "");
    rig_close(&rig);
}

static void each_mistake_has_its_place(void **state) {
    (void)state;
    static const struct {
        const char *row;
        const char *place;
        const char *text;
    } cases[] = {
        {"a string zeek.t.a observable", "2:29", "a word belongs behind \"observable\""},
        {"a string zeek.t.a observable domian", "2:30",
         "\"domian\" is no type of observable, did you mean \"domain\"?"},
        {"a string zeek.t.a observable cidr", "2:30", "no record has a network to look for"},
        {"a string source.ip observable domain", "2:31",
         "source.ip is ip in schema.tsv, and no observable of type domain"},
        {"a count zeek.t.n observable domain", "2:29", "zeek.t.n is long in schema.tsv"},
        {"a count zeek.t.a observable domain", "2:29", "count is no observable of type domain"},
        {"a addr zeek.t.a observable domain", "2:28", "addr is no observable of type domain"},
        {"a string zeek.t.a observable user via t\ntable t\n  a b", "2:3", "zeek.t.a has a table's words"},
        {"a string zeek.t.a observabel user", "2:19", "did you mean \"observable\""},
        {"- derive url url(a, b, c) observable url", "2:27", "url is an object: the field below it belongs behind"},
        {"- derive url url(a, b, c) observable url url.nothing", "2:27", "url() does not write url.nothing here"},
        {"- derive zeek.t.a first(a) observable user event.kind", "2:28", "first() does not write event.kind here"},
        {"- derive url url(a, b, c) also url.full", "2:27", "behind a function: observable TYPE"},
        {"- derive url url(a, b, c) observable url url.port", "2:38", "url.port is long in schema.tsv"},
        {"- derive zeek.t.a first(a", "2:19", "a derive row is"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];
        struct normalize_maps *maps = NULL;
        struct core_conf_mistakes mistakes = {0};
        snprintf(text, sizeof(text), "log zeek.t\n%s\n", cases[i].row);
        put("maps/zeek.t.map", text);
        assert_int_not_equal(normalize_maps_open(&maps, &(struct normalize_conf){.maps = dir}, NULL, &mistakes),
                             CORE_OK);
        bool is_found = false;
        for (size_t m = 0; m < mistakes.len; m++) {
            is_found = is_found || (strstr(mistakes.fails[m].text, cases[i].text) != NULL &&
                                    strstr(mistakes.fails[m].where, cases[i].place) != NULL);
        }
        if (!is_found) {
            fail_msg("%s: %s: %s", cases[i].row, mistakes.fails[0].where, mistakes.fails[0].text);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marked_fields_are_listed),
        cmocka_unit_test(what_is_picked_of_a_text),
        cmocka_unit_test(what_lies_in_the_segment_is_not_copied),
        cmocka_unit_test(more_than_the_maximum_are_counted),
        cmocka_unit_test(a_constant_of_the_config_is_none),
        cmocka_unit_test(each_mistake_has_its_place),
    };
    return cmocka_run_group_tests(tests, dir_make, dir_remove);
}
