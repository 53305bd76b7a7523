/* Stands for normalize/derive_zeek.c: principals, paths, words, hashes, addresses and days, by the maps that use them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

static const char *const maps = "configs";

static void open_with(struct rig *rig, const char *log, const char *const *records, size_t len) {
    char text[8192];
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        at += (size_t)snprintf(text + at, sizeof(text) - at, "{\"_path\":\"%s\",\"ts\":1.5%s}\n", log, records[i]);
        assert_true(at < sizeof(text));
    }
    rig_open(rig, maps, "in.log");
    rig_run(rig, text, at);
    assert_int_equal(rig->batch->events_len, len);
    for (uint32_t i = 0; i < len; i++) {
        assert_false(rig->batch->events[i].is_dead);
    }
}

#define OPEN_WITH(rig, log, records) open_with(rig, log, records, sizeof(records) / sizeof((records)[0]))

static void a_principal_splits_at_its_last_slash(void **state) {
    (void)state;
    static const char *const records[] = {
        ",\"client\":\"alice/CORP.EXAMPLE\"",
        ",\"client\":\"host/www.corp.example/CORP.EXAMPLE\"",
        ",\"client\":\"alice\"",
        ",\"client\":\"/NM\"",
        ",\"client\":\"alice/\"",
        ",\"client\":\"\"",
    };
    struct rig rig;
    OPEN_WITH(&rig, "kerberos", records);
    rig_expect(&rig, 0, "\"user\":{\"domain\":\"CORP.EXAMPLE\",\"name\":\"alice\"}");
    rig_expect(&rig, 0, "\"related\":{\"user\":[\"alice\"]}");
    rig_expect(&rig, 1, "\"user\":{\"domain\":\"CORP.EXAMPLE\",\"name\":\"host/www.corp.example\"}");
    rig_expect(&rig, 2, "\"user\":{\"name\":\"alice\"}");
    rig_expect(&rig, 3, "\"user\":{\"domain\":\"NM\"}");
    rig_expect_not(&rig, 3, "related");
    rig_expect(&rig, 4, "\"user\":{\"name\":\"alice\"}");
    rig_expect_not(&rig, 5, "\"user\"");
    rig_close(&rig);
}

static void days_are_whole_and_rounded(void **state) {
    (void)state;
    static const char *const records[] = {
        ",\"from\":0.0,\"till\":129599.999999",
        ",\"from\":0.0,\"till\":129600.0",
        ",\"from\":\"2026-01-01T00:00:00.000000Z\",\"till\":\"2026-01-11T00:00:00.000000Z\"",
        ",\"from\":10.0,\"till\":9.0",
        ",\"till\":86400.0",
    };
    struct rig rig;
    OPEN_WITH(&rig, "kerberos", records);
    rig_expect(&rig, 0, "\"days\":1,");
    rig_expect(&rig, 1, "\"days\":2,");
    rig_expect(&rig, 2, "\"days\":10,");
    rig_expect_not(&rig, 3, "\"days\"");
    rig_expect_not(&rig, 4, "\"days\"");
    rig_close(&rig);
}

static void the_first_word_of_a_sequence_is_its_number(void **state) {
    (void)state;
    static const char *const records[] = {",\"seq\":\"  12 INVITE\"", ",\"seq\":\"7\"", ",\"seq\":\" \""};
    struct rig rig;
    OPEN_WITH(&rig, "sip", records);
    rig_expect(&rig, 0, "\"sequence\":{\"number\":\"12\"}");
    rig_expect(&rig, 1, "\"sequence\":{\"number\":\"7\"}");
    rig_expect_not(&rig, 2, "\"sequence\"");
    rig_close(&rig);
}

static void a_path_has_one_separator(void **state) {
    (void)state;
    static const char *const records[] = {
        ",\"path\":\"\\\\\\\\srv\\\\share\",\"name\":\"a\\\\b.txt\"",
        ",\"path\":\"\\\\\\\\srv\\\\share\",\"name\":\"\\\\b.txt\"",
        ",\"name\":\"b.txt\"",
        ",\"path\":\"\\\\\\\\srv\\\\share\"",
    };
    struct rig rig;
    OPEN_WITH(&rig, "smb_files", records);
    rig_expect(&rig, 0, "\"path\":\"\\\\\\\\srv\\\\share\\\\a\\\\b.txt\"}");
    rig_expect(&rig, 1, "\"path\":\"\\\\\\\\srv\\\\share\\\\b.txt\"}");
    rig_expect(&rig, 2, "\"file\":{\"name\":\"b.txt\"}");
    rig_expect_not(&rig, 3, "\"name\"");
    rig_close(&rig);
}

static void an_address_tells_its_family(void **state) {
    (void)state;
    static const char *const hosts[] = {",\"host\":\"192.0.2.1\"", ",\"host\":\"fd20::2\"", ",\"host\":\"\""};
    struct rig rig;
    OPEN_WITH(&rig, "known_hosts", hosts);
    rig_expect(&rig, 0, "\"network\":{\"type\":\"ipv4\"}");
    rig_expect(&rig, 1, "\"network\":{\"type\":\"ipv6\"}");
    rig_expect_not(&rig, 2, "ipv");
    rig_close(&rig);
}

#define SEEN(type, text) ",\"seen.indicator\":\"" text "\",\"seen.indicator_type\":\"Intel::" type "\""
#define HEX_32 "44d88612fea8a8f36de82e1278abb02f"

static void an_indicator_goes_where_its_type_says(void **state) {
    (void)state;
    static const char *const records[] = {
        SEEN("SUBNET", "198.51.100.0/24"),
        SEEN("ADDR", "fd20::2"),
        SEEN("FILE_HASH", "44D88612FEA8A8F36DE82E1278ABB02F"),
        SEEN("CERT_HASH", "9ee9bdebc1eae08ee6b73a16bf0612125d141316"),
        SEEN("FILE_HASH", HEX_32 HEX_32),
        SEEN("FILE_HASH", HEX_32 HEX_32 HEX_32 HEX_32),
        SEEN("PUBKEY_HASH", "9b:29:f7:bc:b9:5e:b2:23:8c:1c:23:ba:cd:9a:00:71"),
        SEEN("FILE_NAME", HEX_32), /* a name that looks like a hash */
        SEEN("FILE_HASH", "no hash"),
        SEEN("FILE_HASH", HEX_32 HEX_32 HEX_32 HEX_32 "0"),
    };
    struct rig rig;
    OPEN_WITH(&rig, "intel", records);
    rig_expect(&rig, 0, "\"indicator\":{\"name\":\"198.51.100.0/24\",\"type\":\"ipv4-addr\"}");
    rig_expect(&rig, 1, "\"indicator\":{\"ip\":\"fd20::2\",\"name\":\"fd20::2\",\"type\":\"ipv6-addr\"}");
    rig_expect(&rig, 2, "\"file\":{\"hash\":{\"md5\":\"" HEX_32 "\"}}");
    rig_expect(&rig, 2, "\"hash\":[\"44D88612FEA8A8F36DE82E1278ABB02F\",\"" HEX_32 "\"]");
    rig_expect(&rig, 3, "\"file\":{\"hash\":{\"sha1\":\"9ee9bdebc1eae08ee6b73a16bf0612125d141316\"}}");
    rig_expect(&rig, 4, "\"file\":{\"hash\":{\"sha256\":\"");
    rig_expect(&rig, 5, "\"file\":{\"hash\":{\"sha512\":\"");
    rig_expect(&rig, 6, "\"file\":{\"hash\":{\"md5\":\"9b29f7bcb95eb2238c1c23bacd9a0071\"}}");
    rig_expect(&rig, 7, "\"file\":{\"name\":\"" HEX_32 "\"}");
    rig_expect_not(&rig, 7, "related");
    rig_expect_not(&rig, 8, "\"hash\":{");
    rig_expect(&rig, 8, "\"related\":{\"hash\":[\"no hash\"]}");
    rig_expect_not(&rig, 9, "\"hash\":{");
    rig_close(&rig);
}

/* derive_net.c's function, with the others of this log. */
static void a_url_without_a_scheme_begins_with_its_host(void **state) {
    (void)state;
    static const char *const records[] = {
        SEEN("URL", "www.evil.example:8080/gate.php?id=1#x"),
        SEEN("URL", "192.0.2.1/a"),
        SEEN("URL", "[fd20::10]/a"),
        SEEN("URL", "https://evil.example/a?u=http://b"),
        SEEN("URL", "evil.example"),
        SEEN("DOMAIN", "evil.example"),
        SEEN("URL", "evil.example/r/http://b"),
    };
    struct rig rig;
    OPEN_WITH(&rig, "intel", records);
    rig_expect(&rig, 0,
               "\"url\":{\"domain\":\"www.evil.example\",\"extension\":\"php\",\"fragment\":\"x\",\"original\":"
               "\"www.evil.example:8080/gate.php?id=1#x\",\"path\":\"/gate.php\",\"port\":8080,\"query\":\"id=1\"}");
    rig_expect(&rig, 0, "\"hosts\":[\"www.evil.example\"]");
    rig_expect(&rig, 1, "\"related\":{\"ip\":[\"192.0.2.1\"]}");
    rig_expect(&rig, 2, "\"related\":{\"ip\":[\"fd20::10\"]}");
    rig_expect(&rig, 3, "\"full\":\"https://evil.example/a?u=http://b\"");
    rig_expect(&rig, 3, "\"scheme\":\"https\"");
    rig_expect(&rig, 4, "\"url\":{\"domain\":\"evil.example\",\"original\":\"evil.example\"}");
    rig_expect(&rig, 5, "\"url\":{\"domain\":\"evil.example\"}");
    rig_expect(&rig, 6, "\"path\":\"/r/http://b\"}");
    rig_expect(&rig, 6, "\"hosts\":[\"evil.example\"]");
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_principal_splits_at_its_last_slash),
        cmocka_unit_test(days_are_whole_and_rounded),
        cmocka_unit_test(the_first_word_of_a_sequence_is_its_number),
        cmocka_unit_test(a_path_has_one_separator),
        cmocka_unit_test(an_address_tells_its_family),
        cmocka_unit_test(an_indicator_goes_where_its_type_says),
        cmocka_unit_test(a_url_without_a_scheme_begins_with_its_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
