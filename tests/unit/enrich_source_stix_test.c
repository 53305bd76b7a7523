/* tests/unit/enrich_source_stix_test.c: STIX 2: what patterns name, what bundles say.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/stix_pattern.h"
#include "tests/unit/enrich_source_rig.h"

#define AND "it is one condition of several (AND): alone it would be a false alarm"
#define SEQUENCE "it counts only together with other observations (AND, FOLLOWEDBY)"
#define QUALIFIED "it counts only so often, or at certain times (REPEATS, WITHIN, START)"
#define OTHER "it compares by another rule than = and IN"
#define UNSEEN "what it compares is nothing that a log of the network can show"

/* A pattern's terms as "type value" or "! value: why", a line each; or "wrong: why". */
static void expect_pattern(const char *pattern, bool is_split, const char *expected) {
    struct stix_terms *terms = calloc(1, sizeof(*terms));
    struct source_rig *rig = calloc(1, sizeof(*rig));
    struct core_arena arena;
    struct core_fail fail = {0};
    const char *why = NULL;
    assert_non_null(terms);
    assert_non_null(rig);
    assert_int_equal(core_arena_init(&arena, CORE_MIB, &fail), CORE_OK);
    if (!stix_pattern_read(&arena, core_span_of(pattern), is_split, terms, &why)) {
        assert_int_equal(terms->len, 0);
        rig_say(rig, "wrong: %s\n", why);
    }
    for (size_t i = 0; i < terms->len; i++) {
        const struct stix_term *term = &terms->terms[i];
        const char *word = term->type == CORE_INDICATOR_NONE ? "?" : core_indicator_word(term->type);
        if (term->why == NULL) {
            rig_say(rig, "%s %.*s\n", word, (int)term->value.len, term->value.ptr);
        } else {
            rig_say(rig, "! %.*s: %s\n", (int)term->value.len, term->value.ptr, term->why);
        }
    }
    print_message("%s\n", pattern);
    assert_string_equal(rig->said, expected);
    core_arena_destroy(&arena);
    free(rig);
    free(terms);
}

static void test_single_things(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"[ipv4-addr:value = '192.0.2.7']", "ip 192.0.2.7\n"},
        {"[ipv4-addr:value='198.51.100.0/24']", "ip 198.51.100.0/24\n"},
        {"[ipv4-addr:value ISSUBSET '198.51.100.0/24']", "ip 198.51.100.0/24\n"},
        {"[ipv6-addr:value == '2001:db8::1']", "ip 2001:db8::1\n"},
        {"[domain-name:value = 'evil.example']", "domain evil.example\n"},
        {"[url:value = 'http://evil.example/it\\'s\\\\x']", "url http://evil.example/it's\\x\n"},
        {"[email-addr:value = 'a@evil.example']", "email a@evil.example\n"},
        {"[email-message:from_ref.value = 'a@evil.example']", "email a@evil.example\n"},
        {"[file:hashes.'SHA-256' = 'aa']", "file_hash aa\n"},
        {"[file:hashes.MD5 = 'aa']", "file_hash aa\n"},
        {"[file:content_ref.hashes.'SHA-1' = 'aa']", "file_hash aa\n"},
        {"[email-message:body_multipart[*].body_raw_ref.hashes.MD5 = 'aa']", "file_hash aa\n"},
        {"[email-message:body_multipart[0].body_raw_ref.name = 'a.exe']", "file_name a.exe\n"},
        {"[file:name = 'a.exe']", "file_name a.exe\n"},
        {"[x509-certificate:hashes.'SHA-1' = 'aa']", "cert_hash aa\n"},
        {"[user-account:user_id = 'bob']", "user bob\n"},
        {"[software:name = 'BadBot']", "software BadBot\n"},
        {"[network-traffic:dst_ref.value = '192.0.2.7']", "? 192.0.2.7\n"},
        {"[network-traffic:extensions.'http-request-ext'.request_header.'User-Agent' = 'Bad']", "software Bad\n"},
        {" [ ( domain-name:value = 'a.b' ) ] ", "domain a.b\n"},
        {"[domain-name:value IN ('a.b', 'c.d','e.f')]", "domain a.b\ndomain c.d\ndomain e.f\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        expect_pattern(rows[i][0], false, rows[i][1]);
    }
}

static void test_either_is_one_by_itself(void **state) {
    (void)state;
    expect_pattern("[domain-name:value = 'a.b' OR ipv4-addr:value = '192.0.2.7']", false, "domain a.b\nip 192.0.2.7\n");
    expect_pattern("[domain-name:value = 'a.b'] OR [ipv4-addr:value = '192.0.2.7']", false,
                   "domain a.b\nip 192.0.2.7\n");
    expect_pattern("[domain-name:value = 'a.b' OR mutex:name = 'm']", false, "domain a.b\n! m: " UNSEEN "\n");
}

static void test_both_are_none(void **state) {
    (void)state;
    expect_pattern("[domain-name:value = 'a.b' AND ipv4-addr:value = '192.0.2.7']", false,
                   "! a.b: " AND "\n! 192.0.2.7: " AND "\n");
    expect_pattern("[domain-name:value = 'a.b' AND ipv4-addr:value = '192.0.2.7']", true, "domain a.b\nip 192.0.2.7\n");
    expect_pattern("[file:name = 'a.exe' AND file:size = 7]", false, "! a.exe: " AND "\n! 7: " UNSEEN "\n");
    expect_pattern(
        "[(domain-name:value = 'a.b' OR domain-name:value = 'c.d') AND ipv4-addr:value = '192.0.2.7' OR url:value = "
        "'u']",
        false, "! a.b: " AND "\n! c.d: " AND "\n! 192.0.2.7: " AND "\nurl u\n");
    expect_pattern("[domain-name:value = 'a.b'] AND [ipv4-addr:value = '192.0.2.7']", false,
                   "! a.b: " SEQUENCE "\n! 192.0.2.7: " SEQUENCE "\n");
    expect_pattern("([domain-name:value = 'a.b'] OR [url:value = 'u']) FOLLOWEDBY [ipv4-addr:value = '192.0.2.7']",
                   false, "! a.b: " SEQUENCE "\n! u: " SEQUENCE "\n! 192.0.2.7: " SEQUENCE "\n");
    expect_pattern("[file:hashes.MD5 = 'aa'] AND [file:hashes.MD5 = 'bb']", false,
                   "! aa: " SEQUENCE "\n! bb: " SEQUENCE "\n");
    expect_pattern("[mutex:name = 'm' AND file:hashes.MD5 = 'aa']", false, "! m: " UNSEEN "\n! aa: " AND "\n");
}

static void test_a_hash_names_its_file(void **state) {
    (void)state;
    expect_pattern("[file:name = 'a.exe' AND file:hashes.MD5 = 'aa']", false, "file_hash aa\n");
    expect_pattern("[file:size = 7 AND (file:hashes.MD5 = 'aa' OR file:hashes.'SHA-1' = 'bb')]", false,
                   "file_hash aa\nfile_hash bb\n");
    expect_pattern("[file:name = 'a.exe' AND file:hashes.MD5 = 'aa']", true, "file_name a.exe\nfile_hash aa\n");
    expect_pattern("[file:name = 'a.exe' AND file:hashes.MD5 != 'aa']", false, "! a.exe: " AND "\n! aa: " OTHER "\n");
}

static void test_the_type_of_a_reference_is_no_condition(void **state) {
    (void)state;
    expect_pattern("[network-traffic:dst_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '192.0.2.7']",
                   false, "? 192.0.2.7\n");
    expect_pattern("[network-traffic:dst_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '192.0.2.7' AND "
                   "network-traffic:dst_port = 443]",
                   false, "! 192.0.2.7: " AND "\n! 443: " UNSEEN "\n");
}

static void test_what_makes_none(void **state) {
    (void)state;
    expect_pattern("[domain-name:value != 'a.b']", false, "! a.b: " OTHER "\n");
    expect_pattern("[domain-name:value NOT = 'a.b']", false, "! a.b: it says what is not (NOT)\n");
    expect_pattern("[url:value LIKE 'http://a%']", false, "! http://a%: " OTHER "\n");
    expect_pattern("[url:value MATCHES '^http']", false, "! ^http: " OTHER "\n");
    expect_pattern("[domain-name:value ISSUBSET 'a.b']", false, "! a.b: " OTHER "\n");
    expect_pattern("[file:hashes.SSDEEP = 'aa']", false, "! aa: " UNSEEN "\n");
    expect_pattern("[file:name = 7]", false, "! 7: its value is no text\n");
    expect_pattern("[EXISTS file:name]", false, "! file: that something exists (EXISTS) is no indicator\n");
    expect_pattern("[ipv4-addr:value = '192.0.2.7'] REPEATS 5 TIMES WITHIN 300 SECONDS", false,
                   "! 192.0.2.7: " QUALIFIED "\n");
    expect_pattern("[ipv4-addr:value = '192.0.2.7'] START t'2026-01-01T00:00:00Z' STOP t'2026-02-01T00:00:00Z'", false,
                   "! 192.0.2.7: " QUALIFIED "\n");
    expect_pattern("[ipv4-addr:value = '192.0.2.7'] REPEATS 5 TIMES", true, "ip 192.0.2.7\n");
}

static void test_wrong_patterns(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        "[",
                                        "[]",
                                        "[a]",
                                        "[a:b]",
                                        "[a:b =]",
                                        "[a:b = 'c]",
                                        "[a:b = 'c'",
                                        "[a:b = 'c'] x",
                                        "a:b = 'c'",
                                        "[a:b = 'c' AND]",
                                        "[a:b IN ('c']",
                                        "[a:b[ = 'c']",
                                        "([a:b = 'c']",
                                        "[a:b = 'c'] WITHIN 5",
                                        "[a:b = 'c\\",
                                        "[:b = 'c']",
                                        "[a: = 'c']"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct stix_terms *terms = calloc(1, sizeof(*terms));
        struct core_arena arena;
        struct core_fail fail = {0};
        const char *why = NULL;
        assert_non_null(terms);
        assert_int_equal(core_arena_init(&arena, CORE_MIB, &fail), CORE_OK);
        print_message("%s\n", wrong[i]);
        assert_false(stix_pattern_read(&arena, core_span_of(wrong[i]), false, terms, &why));
        assert_non_null(why);
        core_arena_destroy(&arena);
        free(terms);
    }
    char deep[1024];
    memset(deep, '(', sizeof(deep) - 1);
    deep[0] = '[';
    deep[sizeof(deep) - 1] = '\0';
    expect_pattern(deep, false, "wrong: its pattern is nested too deep\n");
}

/* ---- bundles -------------------------------------------------------------------------------------------------------------- */

static void test_what_a_bundle_says(void **state) {
    (void)state;
    rig_expect(
        &source_stix,
        rig_json("{'type':'bundle','id':'bundle--1','objects':["
                 "{'type':'indicator','id':'indicator--1','name':'N','description':'D','created_by_ref':'identity--1',"
                 "'pattern_type':'stix','pattern':'[domain-name:value = "
                 "`evil.example`]','valid_from':'2026-01-01T00:00:00Z',"
                 "'valid_until':'2199-01-01T00:00:00.5Z','confidence':85,'labels':['a','b,c'],'indicator_types':['x'],"
                 "'object_marking_refs':['marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003'],"
                 "'external_references':[{'source_name':'s'},{'source_name':'s','url':'https://x/1'}]},"
                 "{'type':'indicator','id':'indicator--2','pattern':'[ipv4-addr:value = `192.0.2.7`]',"
                 "'object_marking_refs':['marking-definition--1'],'labels':['malicious-activity']},"
                 "{'type':'marking-definition','id':'marking-definition--1','definition_type':'tlp','definition':{'tlp'"
                 ":'green'}},"
                 "{'type':'identity','id':'identity--1','name':'CERT'}]}"),
        NULL,
        "domain evil.example provider=CERT confidence=85 tlp=AMBER+STRICT description=N: D reference=https://x/1 "
        "tags=x,a,b c first=1767225600 expires=7226582400 id=indicator--1\n"
        "ip 192.0.2.7 tlp=GREEN tags=malicious-activity id=indicator--2\n");
}

static void test_markings_that_need_not_be_there(void **state) {
    (void)state;
    static const char *const ids[][2] = {
        {"613f2e26-407d-48c7-9eca-b8e91df99dc9", "CLEAR"}, {"34098fce-860f-48ae-8e50-ebd3cc5e41da", "GREEN"},
        {"f88d31f6-486f-44da-b317-01333bde0b82", "AMBER"}, {"5e57c739-391a-4eb3-b6be-7d15ca92d5ed", "RED"},
        {"94868c89-83c2-464b-929b-a1a8aa3c8487", "CLEAR"}, {"bab4a63c-aed9-4cf5-a766-dfca5abac2bb", "GREEN"},
        {"55d920b0-5e8b-4f79-9ee9-91f868d9b421", "AMBER"}, {"939a9414-2ddd-4d32-a0cd-375ea402b003", "AMBER+STRICT"},
        {"e828b379-4e03-4974-9ac4-e53a884c97c1", "RED"},
    };
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        char text[512];
        char expected[128];
        snprintf(text, sizeof(text),
                 "{'type':'indicator','id':'indicator--1','pattern':'[url:value = `a.b/`]','object_marking_refs':["
                 "'marking-definition--%s']}",
                 ids[i][0]);
        snprintf(expected, sizeof(expected), "url a.b/ tlp=%s id=indicator--1\n", ids[i][1]);
        rig_expect(&source_stix, rig_json(text), NULL, expected);
    }
}

static void test_what_is_left_out(void **state) {
    (void)state;
    rig_expect(&source_stix,
               rig_json("{'objects':["
                        "{'type':'indicator','id':'indicator--1','pattern':'[url:value = `a.b/`]','revoked':true},"
                        "{'type':'indicator','id':'indicator--2','pattern':'alert tcp','pattern_type':'snort'},"
                        "{'type':'indicator','id':'indicator--3','pattern':'[url:value = "
                        "`a.b/`]','valid_until':'2020-01-01T00:00:00Z'},"
                        "{'type':'indicator','id':'indicator--4'},"
                        "{'type':'malware','id':'malware--1','name':'m'},"
                        "{'type':'ipv4-addr','id':'ipv4-addr--1','value':'192.0.2.7'},"
                        "7]}"),
               NULL,
               "! 1 [url:value = 'a.b/']: it is revoked\n"
               "! 2 alert tcp: its pattern is in another language than STIX's (pattern_type)\n"
               "! 3 a.b/: it has expired\n"
               "! 4 : its pattern is wrong: it begins with no [\n"
               "! 6 192.0.2.7: it is an observable, no indicator (option observables)\n");
}

static void test_options(void **state) {
    (void)state;
    struct core_conf_item items[] = {{.key = (char[]){"observables"}, .value = (char[]){"true"}},
                                     {.key = (char[]){"split"}, .value = (char[]){"yes"}}};
    struct enrich_feed_conf feed = {.options = {items, 2}};
    rig_expect(
        &source_stix,
        rig_json("{'type':'bundle','id':'bundle--1','objects':["
                 "{'type':'ipv4-addr','id':'ipv4-addr--1','value':'192.0.2.7'},"
                 "{'type':'file','id':'file--1','name':'a.exe','hashes':{'MD5':'44d88612fea8a8f36de82e1278abb02f','"
                 "SSDEEP':'3:x'}},"
                 "{'type':'indicator','id':'indicator--1','pattern':'[url:value = `a.b/` AND file:name = `c`]'}]}"),
        &feed,
        "ip 192.0.2.7 id=ipv4-addr--1\n"
        "file_hash 44d88612fea8a8f36de82e1278abb02f description=a.exe id=file--1\n"
        "url a.b/ id=indicator--1\n"
        "file_name c id=indicator--1\n");
}

/* Members of another kind than they are: nothing comes of them. */
static void test_members_of_another_kind(void **state) {
    (void)state;
    rig_expect(
        &source_stix,
        rig_json("{'objects':["
                 "{'type':'file','id':'file--1','hashes':['a',{'MD5':'44d88612fea8a8f36de82e1278abb02f'}]},"
                 "{'type':'file','id':'file--2','hashes':'a'},"
                 "{'type':'indicator','id':'indicator--1','pattern':['x'],'labels':'a','object_marking_refs':'b',"
                 "'external_references':{'url':'x'}},"
                 "{'type':['indicator']},[],null]}"),
        NULL, "! 3 : its pattern is wrong: it begins with no [\n");
    rig_expect(
        &source_stix,
        rig_json(
            "{'objects':[{'type':'indicator','id':7,'pattern':'[url:value=`a.b/`]','labels':{'a':'b'},'confidence':'x',"
            "'object_marking_refs':[[1],{'a':2},7],'external_references':['x',[{'url':'y'}]],'valid_from':7}]}"),
        NULL, "url a.b/ tags=b\n");
}

static void test_forms(void **state) {
    (void)state;
    rig_expect(&source_stix, rig_json("{'more':false}"), NULL, ""); /* TAXII's empty envelope */
    rig_expect(&source_stix, "{}", NULL, "");
    rig_expect(&source_stix, rig_json("{'type':'bundle','id':'bundle--1'}"), NULL, "");
    rig_expect_bad(&source_stix, rig_json("{'Event':{}}"), NULL, "no object of STIX");
    rig_expect_bad(&source_stix, "[", NULL, "no JSON");
    assert_true(source_stix.looks(core_span_of(rig_json("{'objects':[{'spec_version':'2.1'}]}"))) > 0);
    assert_int_equal(source_stix.looks(core_span_of("<stix/>")), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_things),
        cmocka_unit_test(test_either_is_one_by_itself),
        cmocka_unit_test(test_both_are_none),
        cmocka_unit_test(test_a_hash_names_its_file),
        cmocka_unit_test(test_the_type_of_a_reference_is_no_condition),
        cmocka_unit_test(test_what_makes_none),
        cmocka_unit_test(test_wrong_patterns),
        cmocka_unit_test(test_what_a_bundle_says),
        cmocka_unit_test(test_markings_that_need_not_be_there),
        cmocka_unit_test(test_what_is_left_out),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_members_of_another_kind),
        cmocka_unit_test(test_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
