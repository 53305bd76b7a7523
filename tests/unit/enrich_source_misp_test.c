/* tests/unit/enrich_source_misp_test.c: events of MISP and answers of its searches.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/enrich_source_rig.h"

static void test_types(void **state) {
    (void)state;
    static const char *const rows[][3] = {
        {"ip-src", "192.0.2.7", "ip 192.0.2.7\n"},
        {"ip-dst", "198.51.100.0/24", "cidr 198.51.100.0/24\n"},
        {"ip-dst|port", "2001:db8::1|443", "ip 2001:db8::1\n"},
        {"domain", "Evil.Example", "domain evil.example\n"},
        {"hostname", "www.evil.example", "domain www.evil.example\n"},
        {"hostname|port", "a.evil.example|80", "domain a.evil.example\n"},
        {"domain|ip", "b.evil.example|192.0.2.8", "domain b.evil.example\nip 192.0.2.8\n"},
        {"url", "http://evil.example/A", "url evil.example/A\n"},
        {"email-src", "A@evil.example", "email a@evil.example\n"},
        {"md5", "44D88612FEA8A8F36DE82E1278ABB02F", "file_hash 44d88612fea8a8f36de82e1278abb02f\n"},
        {"filename|md5", "a.exe|44d88612fea8a8f36de82e1278abb02e", "file_hash 44d88612fea8a8f36de82e1278abb02e\n"},
        {"malware-sample", "a.exe|44d88612fea8a8f36de82e1278abb02d", "file_hash 44d88612fea8a8f36de82e1278abb02d\n"},
        {"filename", "b.exe", "file_name b.exe\n"},
        {"user-agent", "BadBot", "software BadBot\n"},
        {"x509-fingerprint-sha1", "dc15fbc14c5669a758b46a5a8a7546b1ba851d4c",
         "cert_hash dc15fbc14c5669a758b46a5a8a7546b1ba851d4c\n"},
        {"ja3-fingerprint-md5", "6734f37431670b3ab4292b8f60f29984", "ja3 6734f37431670b3ab4292b8f60f29984\n"},
        {"regkey", "HKLM", "! 1 HKLM: its type is none that a log of the network can show\n"},
        {"filename|sha224", "a|b", "! 1 a|b: its type is none that a log of the network can show\n"},
        {"filename|md5", "a.exe", "! 1 : it is empty\n"},
        {"ip-dst", "evil", "! 1 evil: it is no IP address\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[1024];
        print_message("%s\n", rows[i][0]);
        snprintf(text, sizeof(text), "{'Event':{'Attribute':[{'type':'%s','to_ids':true,'value':'%s'}]}}", rows[i][0],
                 rows[i][1]);
        rig_expect(&source_misp, rig_json(text), NULL, rows[i][2]);
    }
}

static void test_what_an_event_says(void **state) {
    (void)state;
    rig_expect(
        &source_misp,
        rig_json(
            "{'Event':{'info':'Case 42','date':'2026-01-01','Orgc':{'name':'CERT'},'timestamp':'1',"
            "'Tag':[{'name':'tlp:amber'},{'name':'a,b'},{'name':'misp:confidence-level=\\'fairly-confident\\''}],"
            "'Attribute':["
            "{'type':'link','value':'https://x/42','to_ids':false},"
            "{'type':'ip-dst','value':'192.0.2.7','to_ids':'1','uuid':'u-1','comment':'C2','timestamp':'1767225601',"
            "'Tag':[{'name':'tlp:red'},{'name':'c2'}]},"
            "{'type':'ip-dst','value':'192.0.2.8','to_ids':1,'first_seen':'2026-02-01T00:00:00.5+00:00',"
            "'last_seen':'2026-03-01T00:00:00Z'}]}}")
        /* the quotes in a tag */,
        NULL,
        "! 1 https://x/42: its to_ids is not set: it is context, no indicator\n"
        "ip 192.0.2.7 provider=CERT confidence=50 tlp=RED description=Case 42: C2 reference=https://x/42 tags=c2,a b "
        "first=1767225600 last=1767225601 id=u-1\n"
        "ip 192.0.2.8 provider=CERT confidence=50 tlp=AMBER description=Case 42 reference=https://x/42 tags=a b "
        "first=1769904000 last=1772323200\n");
}

static void test_what_is_left_out(void **state) {
    (void)state;
    rig_expect(&source_misp,
               rig_json("{'Event':{'info':'I','Attribute':["
                        "{'type':'ip-dst','value':'192.0.2.1','to_ids':true,'deleted':true},"
                        "{'type':'ip-dst','value':'192.0.2.2','to_ids':true,'deleted':'1'},"
                        "{'type':'ip-dst','value':'192.0.2.3','to_ids':false},"
                        "{'type':'ip-dst','value':'192.0.2.4'}],"
                        "'ShadowAttribute':[{'type':'ip-dst','value':'192.0.2.5','to_ids':true}],"
                        "'Object':[{'name':'file','deleted':true,'Attribute':[{'type':'ip-dst','value':'192.0.2.6','to_"
                        "ids':true}]},"
                        "{'name':'file','Attribute':[{'type':'ip-dst','value':'192.0.2.7','to_ids':true}]}]}}"),
               NULL,
               "! 1 192.0.2.1: it is deleted\n"
               "! 2 192.0.2.2: it is deleted\n"
               "! 3 192.0.2.3: its to_ids is not set: it is context, no indicator\n"
               "! 4 192.0.2.4: its to_ids is not set: it is context, no indicator\n"
               "! 5 192.0.2.6: it is deleted\n"
               "ip 192.0.2.7 description=I\n");
}

#define ONE "{'type':'ip-dst','value':'192.0.2.7','to_ids':true}"

static void test_forms(void **state) {
    (void)state;
    static const char *const forms[] = {
        "{'Event':{'info':'I','Attribute':[" ONE "]}}",
        "{'info':'I','Attribute':[" ONE "]}",
        "{'response':[{'Event':{'info':'I','Attribute':[" ONE "]}}]}",
        "{'response':{'Attribute':[{'type':'ip-dst','value':'192.0.2.7','to_ids':true,'Event':{'info':'I'}}]}}",
        "[{'Event':{'info':'I','Object':[{'Attribute':[" ONE "]}]}}]",
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        print_message("%s\n", forms[i]);
        rig_expect(&source_misp, rig_json(forms[i]), NULL, "ip 192.0.2.7 description=I\n");
    }
    rig_expect(&source_misp, rig_json(ONE), NULL, "ip 192.0.2.7\n");
    rig_expect(&source_misp, rig_json("{'Attribute':" ONE "}"), NULL, "ip 192.0.2.7\n");
    rig_expect(&source_misp, rig_json("{'response':{'Attribute':[]}}"), NULL, "");
}

static void test_what_is_none(void **state) {
    (void)state;
    rig_expect_bad(&source_misp, rig_json("{'a-uuid':{'info':'a manifest'}}"), NULL, "no event");
    rig_expect_bad(&source_misp, rig_json("{'Event':"), NULL, "no JSON");
    rig_expect_bad(&source_misp, "192.0.2.7\n", NULL, "no JSON");
    assert_true(source_misp.looks(core_span_of(rig_json(" {'Event':{}}"))) > 0);
    assert_int_equal(source_misp.looks(core_span_of("\"Event\"")), 0);
    assert_int_equal(source_misp.looks(core_span_of("")), 0);
}

static void test_stop(void **state) {
    (void)state;
    struct source_rig *rig = calloc(1, sizeof(*rig));
    struct core_fail fail = {0};
    assert_non_null(rig);
    rig->stop_after = 1;
    assert_int_equal(
        rig_read(
            rig, &source_misp,
            rig_json("{'Event':{'Attribute':[{'type':'domain|ip','value':'a.b|192.0.2.7','to_ids':true}," ONE "]}}"),
            NULL, &fail),
        CORE_AGAIN);
    assert_int_equal(rig->items, 1);
    free(rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_what_an_event_says),
        cmocka_unit_test(test_what_is_left_out),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
