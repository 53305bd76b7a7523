/* tests/unit/enrich_document_test.c: members are merged into a written document where they belong, never twice; what an
 * indicator says stands there in ECS's names; what has no room leaves the document as it was.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

/* ---- merging -------------------------------------------------------------------------------------------------------------------- */

#define OUT_BYTES 65536

static void check_merge(const char *doc, const struct document_leaf *leaves, size_t len, const char *expected) {
    static char room[OUT_BYTES];
    struct core_buf buf = {.start = room, .pos = room, .end = room + sizeof room};
    assert_true(document_merge(&buf, core_span_of(doc), leaves, len));
    struct core_span out = core_buf_written(&buf);
    room[out.len] = '\0';
    assert_string_equal(room, expected);
}

static void test_members_stand_where_they_belong(void **state) {
    (void)state;
    const struct document_leaf leaves[] = {{"labels.intel", CORE_SPAN("\"x\""), DOCUMENT_REPLACE},
                                           {"tags", CORE_SPAN("[\"t\"]"), DOCUMENT_APPEND},
                                           {"threat.a.b", CORE_SPAN("1"), DOCUMENT_REPLACE},
                                           {"threat.c", CORE_SPAN("[2]"), DOCUMENT_APPEND}};
    check_merge(
        "{\"@timestamp\":\"t\",\"zeek\":{}}", leaves, 4,
        "{\"@timestamp\":\"t\",\"labels\":{\"intel\":\"x\"},\"tags\":[\"t\"],\"threat\":{\"a\":{\"b\":1},\"c\":[2]},"
        "\"zeek\":{}}");
    check_merge("{\"a\":1,\"m\":2,\"ta\":3,\"te\":4,\"u\":5}", leaves, 4,
                "{\"a\":1,\"labels\":{\"intel\":\"x\"},\"m\":2,\"ta\":3,\"tags\":[\"t\"],\"te\":4,"
                "\"threat\":{\"a\":{\"b\":1},\"c\":[2]},\"u\":5}");
    check_merge("{}", leaves, 1, "{\"labels\":{\"intel\":\"x\"}}");
}

static void test_what_is_there_is_merged(void **state) {
    (void)state;
    const struct document_leaf leaves[] = {{"labels.intel", CORE_SPAN("\"x\""), DOCUMENT_REPLACE},
                                           {"tags", CORE_SPAN("[\"t\"]"), DOCUMENT_APPEND},
                                           {"threat.enrichments", CORE_SPAN("[{\"n\":1},{\"n\":2}]"), DOCUMENT_APPEND},
                                           {"threat.indicator.ip", CORE_SPAN("[\"1\"]"), DOCUMENT_APPEND},
                                           {"threat.indicator.type", CORE_SPAN("[\"2\"]"), DOCUMENT_APPEND}};
    check_merge(
        "{\"labels\":{\"a\":\"b\",\"intel\":\"old\",\"z\":1},\"tags\":[\"mine\"],\"threat\":{\"enrichments\":[{"
        "\"n\":1}],\"indicator\":{\"ip\":\"own\",\"name\":\"n\"},\"tactic\":{\"id\":[\"TA0001\"]}}}",
        leaves, 5,
        "{\"labels\":{\"a\":\"b\",\"intel\":\"x\",\"z\":1},\"tags\":[\"mine\",\"t\"],\"threat\":{\"enrichments\":[{"
        "\"n\":1},{\"n\":2}],\"indicator\":{\"ip\":[\"own\",\"1\"],\"name\":\"n\",\"type\":[\"2\"]},\"tactic\":{\"id\":"
        "["
        "\"TA0001\"]}}}");
    /* A tag that is there is not there twice; one text becomes a list; an empty list is begun. */
    check_merge("{\"tags\":[\"a\",\"t\"]}", leaves + 1, 1, "{\"tags\":[\"a\",\"t\"]}");
    check_merge("{\"tags\":\"a\"}", leaves + 1, 1, "{\"tags\":[\"a\",\"t\"]}");
    check_merge("{\"tags\":\"t\"}", leaves + 1, 1, "{\"tags\":[\"t\"]}");
    check_merge("{\"tags\":[]}", leaves + 1, 1, "{\"tags\":[\"t\"]}");
    /* Members that are not sorted are found, too. */
    check_merge("{\"threat\":{\"indicator\":{}},\"a\":1,\"tags\":[\"z\"],\"labels\":{}}", leaves, 2,
                "{\"threat\":{\"indicator\":{}},\"a\":1,\"tags\":[\"z\",\"t\"],\"labels\":{\"intel\":\"x\"}}");
    /* A value where we would have an object stays; there is no place for ours. */
    check_merge("{\"labels\":\"text\"}", leaves, 1, "{\"labels\":\"text\"}");
}

static void test_brackets_and_quotes_in_texts(void **state) {
    (void)state;
    const struct document_leaf leaf = {"tags", CORE_SPAN("[\"t\"]"), DOCUMENT_APPEND};
    check_merge(
        "{\"a\":\"\\\\\\\"}{][,:\\\\\",\"b\":[{\"tags\":\"]}\"},[\"\\\"\"]],\"c\":-1.5e3,\"u\":null}", &leaf, 1,
        "{\"a\":\"\\\\\\\"}{][,:\\\\\",\"b\":[{\"tags\":\"]}\"},[\"\\\"\"]],\"c\":-1.5e3,\"tags\":[\"t\"],\"u\":null}");
}

static void test_what_is_no_document_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"", "[]", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1", "{\"a\":\"", "{\"a\":[",
                                        "{\"a\":{}", "x", "{a:1}", "{\"tags\":[1}",
                                        /* a blank between two parts: none of ours has one */
                                        "{\"a\": {}}", "{\"a\":  \"}\"}", "{\"tags\":[ ]}", "{\"tags\":[1 ]}",
                                        "{\"a\":1 }", "{\"a\":1} ", "{\"tags\": [1]}"};
    const struct document_leaf leaf = {"tags", CORE_SPAN("[\"t\"]"), DOCUMENT_APPEND};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char room[256];
        struct core_buf buf = {.start = room, .pos = room, .end = room + sizeof room};
        if (document_merge(&buf, core_span_of(texts[i]), &leaf, 1)) {
            fail_msg("%s was taken for a document", texts[i]);
        }
    }
}

/* Every cut of a document is refused, and nothing outside of it is read (the sanitizer looks). */
static void test_cut_documents(void **state) {
    (void)state;
    const char *doc = "{\"@timestamp\":\"t\",\"labels\":{\"a\":[1,\"\\\"\"]},\"tags\":[\"a\"],\"zeek\":{\"b\":null}}";
    const struct document_leaf leaves[] = {{"labels.intel", CORE_SPAN("\"x\""), DOCUMENT_REPLACE},
                                           {"tags", CORE_SPAN("[\"t\"]"), DOCUMENT_APPEND}};
    for (size_t len = 0; len < strlen(doc); len++) {
        char *cut = test_malloc(len + 1);
        char room[512];
        memcpy(cut, doc, len);
        struct core_buf buf = {.start = room, .pos = room, .end = room + sizeof room};
        assert_false(document_merge(&buf, (struct core_span){cut, len}, leaves, 2));
        test_free(cut);
    }
    for (size_t room_len = 0; room_len < 110; room_len++) { /* and too little room is said */
        char room[128];
        struct core_buf buf = {.start = room, .pos = room, .end = room + room_len};
        assert_int_equal(document_merge(&buf, core_span_of(doc), leaves, 2), room_len >= strlen(doc) + 16);
    }
}

static void test_the_time_of_a_document(void **state) {
    (void)state;
    assert_true(core_span_is(document_time(CORE_SPAN("{\"@timestamp\":\"2026\",\"a\":1}")), "2026"));
    assert_int_equal(document_time(CORE_SPAN("{\"a\":\"2026\"}")).len, 0);
    assert_int_equal(document_time(CORE_SPAN("{\"@timestamp\":\"2026")).len, 0);
    assert_int_equal(document_time(CORE_SPAN("")).len, 0);
}

/* ---- what an indicator says ------------------------------------------------------------------------------------------------------ */

struct stage {
    struct core_arena arena;
    struct core_arena scratch;
    struct core_event event;
    size_t room;
    struct threat_said said;
};

static void stage_open(struct stage *stage, const char *doc) {
    assert_int_equal(core_arena_init(&stage->arena, CORE_ARENA_BYTES, NULL), CORE_OK);
    assert_int_equal(core_arena_init(&stage->scratch, 64 * CORE_MIB, NULL), CORE_OK);
    stage->event = (struct core_event){.doc = core_span_of(doc)};
    stage->room = CORE_ARENA_BYTES;
}

static void stage_close(struct stage *stage) {
    core_arena_destroy(&stage->arena);
    core_arena_destroy(&stage->scratch);
}

static enum threat_result write(struct stage *stage, const struct threat_match *matches, size_t len,
                                bool is_unavailable) {
    const struct threat_event threat = {.event = &stage->event,
                                        .matches = matches,
                                        .matches_len = len,
                                        .is_unavailable = is_unavailable,
                                        .room = stage->room};
    enum threat_result result = threat_write(&threat, &stage->arena, &stage->scratch, &stage->said);
    assert_int_equal(stage->scratch.used, 0);
    return result;
}

static void assert_doc(const struct stage *stage, const char *expected) {
    char text[16384];
    assert_true(stage->event.doc.len < sizeof text);
    memcpy(text, stage->event.doc.ptr, stage->event.doc.len);
    text[stage->event.doc.len] = '\0';
    assert_string_equal(text, expected);
}

static bool has(const struct stage *stage, const char *text) {
    return memmem(stage->event.doc.ptr, stage->event.doc.len, text, strlen(text)) != NULL;
}

#define DOC "{\"@timestamp\":\"2026-11-21T02:58:51.600824Z\",\"zeek\":{\"session_id\":\"C1\"}}"
#define BEHIND ",\"zeek\":{\"session_id\":\"C1\"}}"
#define OCCURRED "\"occurred\":\"2026-11-21T02:58:51.600824Z\""

static void test_all_that_is_said(void **state) {
    (void)state;
    const struct enrich_provider said = {.feed = "corp",
                                         .provider = "CIRCL",
                                         .confidence_tenths = 85,
                                         .tlp = "AMBER",
                                         .description = "C2 \"x\"\n",
                                         .reference = "https://a.example/1",
                                         .tags = "botnet, c2 ,,emotet,c2",
                                         .first_seen = 1767225600,
                                         .last_seen = 1793536200};
    const struct enrich_found found = {CORE_INDICATOR_IP, CORE_SPAN("203.0.113.80"), &said, 1};
    const struct core_observable observable = {"203.0.113.80", "destination.ip", 12, CORE_INDICATOR_IP};
    const struct threat_match match = {&observable, &found, false};
    struct stage stage;
    stage_open(&stage, DOC);
    assert_int_equal(write(&stage, &match, 1, false), THREAT_WRITTEN);
    assert_doc(
        &stage,
        "{\"@timestamp\":\"2026-11-21T02:58:51.600824Z\",\"tags\":[\"intel_match\"],\"threat\":{\"enrichments\":[{"
        "\"feed\":{\"name\":\"corp\"},\"indicator\":{\"confidence\":\"High\",\"description\":\"C2 \\\"x\\\"\\n\","
        "\"first_seen\":\"2026-01-01T00:00:00.000000Z\",\"ip\":\"203.0.113.80\","
        "\"last_seen\":\"2026-11-01T12:30:00.000000Z\",\"marking\":{\"tlp\":\"AMBER\"},"
        "\"name\":\"203.0.113.80\",\"provider\":\"CIRCL\",\"reference\":\"https://a.example/1\","
        "\"tags\":[\"botnet\",\"c2\",\"emotet\"],\"type\":\"ipv4-addr\"},\"matched\":{\"atomic\":\"203.0.113.80\","
        "\"field\":\"destination.ip\","
        "\"id\":\"ip:203.0.113.80\"," OCCURRED ",\"type\":\"ip\"}}],\"feed\":{\"name\":[\"corp\"]},"
        "\"indicator\":{\"confidence\":[\"High\"],\"ip\":[\"203.0.113.80\"],\"marking\":{\"tlp\":[\"AMBER\"]},"
        "\"name\":[\"203.0.113.80\"],\"provider\":[\"CIRCL\"],"
        "\"tags\":[\"botnet\",\"c2\",\"emotet\"],\"type\":[\"ipv4-addr\"]}}" BEHIND);
    assert_int_equal(stage.said.left_out, 0);
    assert_false(stage.said.is_partial);
    stage_close(&stage);
}

/* Says little: the feed stands for the provider, and what is not said is not there. */
static const struct enrich_provider little = {.feed = "f", .confidence_tenths = ENRICH_CONFIDENCE_NONE};

static void check_indicator(enum core_indicator type, const char *value, const char *indicator) {
    const struct enrich_found found = {type, core_span_of(value), &little, 1};
    const struct core_observable observable = {"seen", "field", 4, CORE_INDICATOR_IP};
    const struct threat_match match = {&observable, &found, false};
    char expected[2048];
    struct stage stage;
    stage_open(&stage, "{}");
    assert_int_equal(write(&stage, &match, 1, false), THREAT_WRITTEN);
    assert_true(snprintf(expected, sizeof expected, "\"enrichments\":[{\"feed\":{\"name\":\"f\"},\"indicator\":{%s},",
                         indicator) > 0);
    char text[4096] = {0};
    memcpy(text, stage.event.doc.ptr, stage.event.doc.len);
    if (strstr(text, expected) == NULL) {
        fail_msg("expected %s in %s", expected, text);
    }
    stage_close(&stage);
}

static void test_words_of_each_type(void **state) {
    (void)state;
    check_indicator(CORE_INDICATOR_IP, "2001:db8::1",
                    "\"ip\":\"2001:db8::1\",\"name\":\"2001:db8::1\",\"provider\":\"f\",\"type\":\"ipv6-addr\"");
    check_indicator(CORE_INDICATOR_CIDR, "203.0.113.0/24",
                    "\"name\":\"203.0.113.0/24\",\"provider\":\"f\",\"type\":\"ipv4-addr\"");
    check_indicator(CORE_INDICATOR_DOMAIN, "evil.example",
                    "\"name\":\"evil.example\",\"provider\":\"f\",\"type\":\"domain-name\",\"url\":{\"domain\":\"evil."
                    "example\"}");
    check_indicator(
        CORE_INDICATOR_URL, "evil.example:8080/a/b.exe?c=d",
        "\"name\":\"evil.example:8080/a/b.exe?c=d\",\"provider\":\"f\",\"type\":\"url\",\"url\":{\"domain\":"
        "\"evil.example\",\"extension\":\"exe\",\"original\":\"evil.example:8080/a/b.exe?c=d\",\"path\":"
        "\"/a/b.exe\",\"port\":8080,\"query\":\"c=d\"}");
    check_indicator(
        CORE_INDICATOR_URL, "[2001:db8::1]/",
        "\"name\":\"[2001:db8::1]/\",\"provider\":\"f\",\"type\":\"url\",\"url\":{\"domain\":\"[2001:db8::1]\","
        "\"original\":\"[2001:db8::1]/\",\"path\":\"/\"}");
    check_indicator(
        CORE_INDICATOR_EMAIL, "eve@evil.example",
        "\"email\":{\"address\":\"eve@evil.example\"},\"name\":\"eve@evil.example\",\"provider\":\"f\",\"type\":"
        "\"email-addr\"");
    check_indicator(CORE_INDICATOR_FILE_HASH, "d41d8cd98f00b204e9800998ecf8427e",
                    "\"file\":{\"hash\":{\"md5\":\"d41d8cd98f00b204e9800998ecf8427e\"}},\"name\":"
                    "\"d41d8cd98f00b204e9800998ecf8427e\",\"provider\":\"f\",\"type\":\"file\"");
    check_indicator(CORE_INDICATOR_CERT_HASH, "da39a3ee5e6b4b0d3255bfef95601890afd80709",
                    "\"file\":{\"hash\":{\"sha1\":\"da39a3ee5e6b4b0d3255bfef95601890afd80709\"}},\"name\":"
                    "\"da39a3ee5e6b4b0d3255bfef95601890afd80709\",\"provider\":\"f\",\"type\":\"x509-certificate\"");
    check_indicator(CORE_INDICATOR_PUBKEY_HASH, "d4:1d", "\"name\":\"d4:1d\",\"provider\":\"f\",\"type\":\"artifact\"");
    check_indicator(CORE_INDICATOR_JA3, "d41d", "\"name\":\"d41d\",\"provider\":\"f\",\"type\":\"artifact\"");
    check_indicator(CORE_INDICATOR_USER, "eve", "\"name\":\"eve\",\"provider\":\"f\",\"type\":\"user-account\"");
    check_indicator(CORE_INDICATOR_FILE_NAME, "x.exe",
                    "\"file\":{\"name\":\"x.exe\"},\"name\":\"x.exe\",\"provider\":\"f\",\"type\":\"file\"");
    check_indicator(CORE_INDICATOR_SOFTWARE, "Evil/1", "\"name\":\"Evil/1\",\"provider\":\"f\",\"type\":\"software\"");
}

/* STIX 2.1, appendix A. */
static void test_words_for_confidence(void **state) {
    (void)state;
    static const struct {
        int tenths;
        const char *word;
    } cases[] = {{-1, NULL},     {0, "None"},    {1, "Low"},   {29, "Low"},
                 {30, "Medium"}, {69, "Medium"}, {70, "High"}, {100, "High"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct enrich_provider said = {.feed = "f", .confidence_tenths = cases[i].tenths};
        const struct enrich_found found = {CORE_INDICATOR_USER, CORE_SPAN("u"), &said, 1};
        const struct core_observable observable = {"u", "user.name", 1, CORE_INDICATOR_USER};
        const struct threat_match match = {&observable, &found, false};
        struct stage stage;
        char text[4096] = {0};
        char expected[64] = "";
        stage_open(&stage, "{}");
        assert_int_equal(write(&stage, &match, 1, false), THREAT_WRITTEN);
        memcpy(text, stage.event.doc.ptr, stage.event.doc.len);
        assert_true(cases[i].word == NULL ||
                    snprintf(expected, sizeof expected, "\"confidence\":[\"%s\"]", cases[i].word) > 0);
        assert_true(cases[i].word == NULL ? strstr(text, "confidence") == NULL : strstr(text, expected) != NULL);
        stage_close(&stage);
    }
}

/* Two providers, two fields, a value twice in a list: flat copies have each value once. */
static void test_several_matches(void **state) {
    (void)state;
    const struct enrich_provider two[] = {{.feed = "a", .confidence_tenths = -1, .subdomains = true},
                                          {.feed = "b", .confidence_tenths = -1}};
    const struct enrich_found domain = {CORE_INDICATOR_DOMAIN, CORE_SPAN("evil.example"), two, 2};
    const struct enrich_found user = {CORE_INDICATOR_USER, CORE_SPAN("eve"), two + 1, 1};
    const struct core_observable sub = {"www.evil.example", "dns.question.name", 16, CORE_INDICATOR_DOMAIN};
    const struct core_observable name = {"eve", "user.name", 3, CORE_INDICATOR_USER};
    const struct core_observable again = {"eve", "user.name", 3, CORE_INDICATOR_USER};
    const struct core_observable other = {"eve", "source.user.name", 3, CORE_INDICATOR_USER};
    const struct threat_match matches[] = {
        {&sub, &domain, true}, {&name, &user, false}, {&again, &user, false}, {&other, &user, false}};
    struct stage stage;
    stage_open(&stage, "{}");
    assert_int_equal(write(&stage, matches, 4, false), THREAT_WRITTEN);
    assert_doc(
        &stage,
        "{\"tags\":[\"intel_match\"],\"threat\":{\"enrichments\":[{\"feed\":{\"name\":\"a\"},\"indicator\":{\"name\":"
        "\"evil.example\",\"provider\":\"a\",\"type\":\"domain-name\",\"url\":{\"domain\":\"evil.example\"}},"
        "\"matched\":{\"atomic\":\"www.evil.example\",\"field\":\"dns.question.name\",\"id\":\"domain:evil.example\","
        "\"type\":\"domain\"}},{\"feed\":{\"name\":\"b\"},\"indicator\":{\"name\":\"eve\",\"provider\":\"b\",\"type\":"
        "\"user-account\"},\"matched\":{\"atomic\":\"eve\",\"field\":\"user.name\",\"id\":\"user:eve\",\"type\":"
        "\"user\"}},{\"feed\":{\"name\":\"b\"},\"indicator\":{\"name\":\"eve\",\"provider\":\"b\",\"type\":"
        "\"user-account\"},\"matched\":{\"atomic\":\"eve\",\"field\":\"source.user.name\",\"id\":\"user:eve\",\"type\":"
        "\"user\"}}],\"feed\":{\"name\":[\"a\",\"b\"]},\"indicator\":{\"name\":[\"evil.example\",\"eve\"],"
        "\"provider\":[\"a\",\"b\"],\"type\":[\"domain-name\",\"user-account\"],\"url\":{\"domain\":["
        "\"evil.example\"]}}}}");
    stage_close(&stage);
}

static void test_no_provider_means_it(void **state) {
    (void)state;
    const struct enrich_found domain = {CORE_INDICATOR_DOMAIN, CORE_SPAN("evil.example"), &little, 1};
    const struct core_observable sub = {"www.evil.example", "f", 16, CORE_INDICATOR_DOMAIN};
    const struct threat_match parent = {&sub, &domain, true};
    const struct threat_match itself = {&sub, &domain, false};
    struct stage stage;
    stage_open(&stage, DOC);
    assert_false(threat_counts(&parent));
    assert_true(threat_counts(&itself));
    assert_int_equal(write(&stage, &parent, 1, false), THREAT_NOTHING);
    assert_doc(&stage, DOC);
    stage_close(&stage);
}

static void test_unavailable(void **state) {
    (void)state;
    struct stage stage;
    stage_open(&stage, DOC);
    assert_int_equal(write(&stage, NULL, 0, true), THREAT_WRITTEN);
    assert_doc(&stage, "{\"@timestamp\":\"2026-11-21T02:58:51.600824Z\",\"labels\":{\"intel\":\"unavailable\"}" BEHIND);
    stage_close(&stage);
}

/* A record of Zeek's own intelligence framework, with what its map made of it. */
static void test_a_record_of_intel_log(void **state) {
    (void)state;
    const struct enrich_found found = {CORE_INDICATOR_DOMAIN, CORE_SPAN("evil.example"), &little, 1};
    const struct core_observable observable = {"evil.example", "threat.indicator.url.domain", 12,
                                               CORE_INDICATOR_DOMAIN};
    const struct threat_match match = {&observable, &found, false};
    struct stage stage;
    stage_open(&stage, "{\"threat\":{\"indicator\":{\"name\":\"evil.example\",\"provider\":\"corp-feed\",\"type\":"
                       "\"domain-name\",\"url\":{\"domain\":\"evil.example\"}}}}");
    assert_int_equal(write(&stage, &match, 1, false), THREAT_WRITTEN);
    assert_doc(
        &stage,
        "{\"tags\":[\"intel_match\"],\"threat\":{\"enrichments\":[{\"feed\":{\"name\":\"f\"},\"indicator\":{\"name\":"
        "\"evil.example\",\"provider\":\"f\",\"type\":\"domain-name\",\"url\":{\"domain\":\"evil.example\"}},"
        "\"matched\":{\"atomic\":\"evil.example\",\"field\":\"threat.indicator.url.domain\",\"id\":"
        "\"domain:evil.example\",\"type\":\"domain\"}}],\"feed\":{\"name\":[\"f\"]},\"indicator\":{\"name\":"
        "[\"evil.example\"],\"provider\":[\"corp-feed\",\"f\"],\"type\":[\"domain-name\"],\"url\":{\"domain\":"
        "[\"evil.example\"]}}}}");
    stage_close(&stage);
}

static void test_at_most_so_many(void **state) {
    (void)state;
    static struct enrich_provider said[70];
    static char names[70][8];
    for (size_t i = 0; i < 70; i++) {
        assert_true(snprintf(names[i], sizeof names[i], "f%zu", i) > 0);
        said[i] = (struct enrich_provider){.feed = names[i], .confidence_tenths = -1};
    }
    const struct enrich_found found = {CORE_INDICATOR_USER, CORE_SPAN("eve"), said, 70};
    const struct core_observable observable = {"eve", "user.name", 3, CORE_INDICATOR_USER};
    const struct threat_match match = {&observable, &found, false};
    struct stage stage;
    stage_open(&stage, "{}");
    assert_int_equal(write(&stage, &match, 1, false), THREAT_WRITTEN);
    assert_int_equal(stage.said.left_out, 70 - THREAT_ENRICHMENTS_MAX);
    assert_true(stage.said.is_partial && has(&stage, "{\"labels\":{\"intel\":\"partial\"},\"tags\":"));
    stage_close(&stage);
}

/* The less room there is, the less is said; but that there is a hit, always. */
static void test_no_room(void **state) {
    (void)state;
    static char long_text[801];
    memset(long_text, 'x', 800);
    const struct enrich_provider said = {
        .feed = "f", .confidence_tenths = 70, .description = long_text, .reference = long_text, .tags = "c2"};
    const struct enrich_found found = {CORE_INDICATOR_USER, CORE_SPAN("eve"), &said, 1};
    const struct core_observable observable = {"eve", "user.name", 3, CORE_INDICATOR_USER};
    const struct threat_match match = {&observable, &found, false};
    struct stage stage;
    bool was[4] = {false};
    stage_open(&stage, DOC);
    for (stage.room = strlen(DOC) + THREAT_MARK_BYTES_MAX; stage.room < 4096; stage.room++) {
        stage.event.doc = CORE_SPAN(DOC);
        stage.arena.used = 0;
        assert_int_equal(write(&stage, &match, 1, false), THREAT_WRITTEN);
        assert_true(stage.event.doc.len <= stage.room && stage.arena.used == stage.event.doc.len);
        bool is_all = has(&stage, long_text) && has(&stage, "\"tags\":[\"c2\"]");
        bool has_list = has(&stage, "\"enrichments\":[{");
        bool has_flat = has(&stage, "\"name\":[\"eve\"]") && has(&stage, "\"confidence\":[\"High\"]");
        assert_true(has(&stage, "\"tags\":[\"intel_match\"]"));
        assert_int_equal(stage.said.is_partial, !is_all);
        assert_int_equal(has(&stage, "\"labels\":{\"intel\":\"partial\"}"), !is_all);
        assert_int_equal(stage.said.left_out, !has_list);
        unsigned level = is_all ? 3 : has_list ? 2 : has_flat;
        for (unsigned above = level + 1; above < 4; above++) {
            assert_false(was[above]); /* more room, never less */
        }
        was[level] = true;
    }
    assert_true(was[0] && was[1] && was[2] && was[3]);
    stage.room = strlen(DOC) + 40; /* for no mark: said, and left alone */
    stage.event.doc = CORE_SPAN(DOC);
    stage.arena.used = 0;
    assert_int_equal(write(&stage, &match, 1, false), THREAT_NO_ROOM);
    assert_doc(&stage, DOC);
    assert_int_equal(stage.arena.used, 0);
    assert_int_equal(write(&stage, NULL, 0, true), THREAT_WRITTEN); /* the mark of what was not asked alone has room */
    stage.event.doc = CORE_SPAN("{\"broken");
    stage.room = 4096;
    assert_int_equal(write(&stage, &match, 1, false), THREAT_NO_ROOM);
    stage_close(&stage);
}

/* Not even the lists of flat values have room in scratch. */
static void test_no_scratch(void **state) {
    (void)state;
    const struct enrich_found found = {CORE_INDICATOR_USER, CORE_SPAN("eve"), &little, 1};
    const struct core_observable observable = {"eve", "user.name", 3, CORE_INDICATOR_USER};
    const struct threat_match match = {&observable, &found, false};
    struct stage stage;
    stage_open(&stage, "{}");
    const struct threat_event threat = {
        .event = &stage.event, .matches = &match, .matches_len = 1, .room = CORE_ARENA_BYTES};
    stage.scratch.used = stage.scratch.cap - 8;
    assert_int_equal(threat_write(&threat, &stage.arena, &stage.scratch, &stage.said), THREAT_WRITTEN);
    assert_doc(&stage, "{\"labels\":{\"intel\":\"partial\"},\"tags\":[\"intel_match\"]}");
    assert_int_equal(stage.said.left_out, 1);
    stage_close(&stage);
}

/* However long what is said is, a document grows by 128 KiB at most: the list has 48 KiB, and all of it is there without
 * descriptions before any of it is left out. */
static void test_a_document_grows_by_so_much(void **state) {
    (void)state;
    static struct enrich_provider said[60];
    static char names[60][8], urls[60][2001], long_text[1025];
    static struct enrich_found found[60];
    static struct threat_match matches[60];
    memset(long_text, 'd', 1024);
    for (size_t i = 0; i < 60; i++) {
        assert_true(snprintf(names[i], sizeof names[i], "f%zu", i) > 0);
        said[i] = (struct enrich_provider){
            .feed = names[i], .confidence_tenths = -1, .description = long_text, .reference = long_text};
        assert_true(snprintf(urls[i], sizeof urls[i], "h%zu.example/", i) > 0);
        memset(urls[i] + strlen(urls[i]), 'u', 2000 - strlen(urls[i]));
        found[i] = (struct enrich_found){CORE_INDICATOR_USER, core_span_of(names[i]), &said[i], 1};
        static const struct core_observable observable = {"eve", "user.name", 3, CORE_INDICATOR_USER};
        matches[i] = (struct threat_match){&observable, &found[i], false};
    }
    struct stage stage;
    stage_open(&stage, DOC);
    assert_int_equal(write(&stage, matches, 60, false), THREAT_WRITTEN);
    assert_true(stage.said.is_partial && stage.said.left_out == 0 && !has(&stage, long_text));
    assert_true(has(&stage, "\"id\":\"user:f59\"") && stage.event.doc.len < THREAT_LIST_BYTES_MAX);
    for (size_t i = 0; i < 60; i++) {
        found[i] = (struct enrich_found){CORE_INDICATOR_URL, core_span_of(urls[i]), &said[i], 1};
    }
    stage.event.doc = CORE_SPAN(DOC);
    assert_int_equal(write(&stage, matches, 60, false), THREAT_WRITTEN);
    assert_true(stage.said.is_partial && stage.said.left_out > 40 && stage.said.left_out < 60);
    assert_true(stage.event.doc.len > 40 * CORE_KIB && stage.event.doc.len <= strlen(DOC) + CORE_DOC_ENRICH_BYTES_MAX);
    stage_close(&stage);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_stand_where_they_belong),
        cmocka_unit_test(test_what_is_there_is_merged),
        cmocka_unit_test(test_brackets_and_quotes_in_texts),
        cmocka_unit_test(test_what_is_no_document_is_refused),
        cmocka_unit_test(test_cut_documents),
        cmocka_unit_test(test_the_time_of_a_document),
        cmocka_unit_test(test_all_that_is_said),
        cmocka_unit_test(test_words_of_each_type),
        cmocka_unit_test(test_words_for_confidence),
        cmocka_unit_test(test_several_matches),
        cmocka_unit_test(test_no_provider_means_it),
        cmocka_unit_test(test_unavailable),
        cmocka_unit_test(test_a_record_of_intel_log),
        cmocka_unit_test(test_at_most_so_many),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_no_scratch),
        cmocka_unit_test(test_a_document_grows_by_so_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
