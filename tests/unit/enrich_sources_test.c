/* tests/unit/enrich_sources_test.c: files of any kind, told by content; what a feed's section may say.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/codec.h"
#include "tests/unit/enrich_source_rig.h"

#include <fcntl.h>
#include <unistd.h>

static char folder[] = "/tmp/enrich_sources_test.XXXXXX";

static int setup(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int teardown(void **state) {
    (void)state;
    return rmdir(folder);
}

static enum core_err to_fd(void *ctx, const char *bytes, size_t len, struct core_fail *fail) {
    (void)fail;
    assert_int_equal(write(*(int *)ctx, bytes, len), (ssize_t)len);
    return CORE_OK;
}

static void file_put(const char *path, const char *bytes, size_t len, bool is_gzip, size_t cut) {
    struct core_fail fail;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    if (is_gzip) {
        struct core_gzip *gzip = NULL;
        assert_int_equal(core_gzip_open(&gzip, to_fd, &fd, path, &fail), CORE_OK);
        assert_int_equal(core_gzip_write(gzip, bytes, len, &fail), CORE_OK);
        assert_int_equal(core_gzip_finish(gzip, &fail), CORE_OK);
        core_gzip_close(gzip);
    } else {
        assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    }
    off_t size = lseek(fd, 0, SEEK_END);
    assert_int_equal(ftruncate(fd, size - (off_t)cut), 0);
    close(fd);
}

/* Read bytes as a file, of a type or told by content. */
static enum core_err file_read(struct source_rig *rig, const char *bytes, size_t len, int type, bool is_gzip,
                               size_t cut, struct core_fail *fail) {
    char path[128];
    struct enrich_feed_conf feed = {0};
    struct enrich_read_calls calls = {.on_item = rig_item, .on_refused = rig_refused, .ctx = rig};
    snprintf(path, sizeof(path), "%s/a", folder);
    file_put(path, bytes, len, is_gzip, cut);
    rig->is_brief = true;
    enum core_err err = enrich_read_file(path, type, &feed, &calls, fail);
    assert_int_equal(unlink(path), 0);
    return err;
}

static void expect(const char *text, bool is_gzip, const char *expected) {
    struct source_rig *rig = calloc(1, sizeof(*rig));
    struct core_fail fail = {0};
    assert_non_null(rig);
    print_message("%.60s\n", text);
    assert_int_equal(file_read(rig, text, strlen(text), -1, is_gzip, 0, &fail), CORE_OK);
    assert_string_equal(rig->said, expected);
    free(rig);
}

static void expect_bad(const char *text, int type, const char *why) {
    struct source_rig *rig = calloc(1, sizeof(*rig));
    struct core_fail fail = {0};
    assert_non_null(rig);
    assert_int_equal(file_read(rig, text, strlen(text), type, false, 0, &fail), CORE_BAD);
    print_message("%s\n", fail.text);
    assert_non_null(strstr(fail.text, why));
    free(rig);
}

static void test_told_by_content(void **state) {
    (void)state;
    expect("#fields\tindicator\tindicator_type\n192.0.2.7\tIntel::ADDR\n", false, "ip 192.0.2.7\n");
    expect("192.0.2.7\nevil[.]example\n", false, "ip 192.0.2.7\ndomain evil.example\n");
    expect("id,url\n1,http://a.b/\n", false, "url a.b/\n");
    expect(rig_json("{'Event':{'Attribute':[{'type':'domain','value':'a.b','to_ids':true}]}}"), false, "domain a.b\n");
    expect(rig_json("{'objects':[{'type':'indicator','id':'indicator--1','pattern':'[url:value=`a.b/`]'}]}"), false,
           "url a.b/\n");
    expect("\xef\xbb\xbf"
           "192.0.2.7\n",
           false, "ip 192.0.2.7\n"); /* a byte order mark */
    expect("192.0.2.7", true, "ip 192.0.2.7\n");
    expect("", false, "");
    expect("\n \n", true, "");
}

static void test_what_cannot_be_told(void **state) {
    (void)state;
    expect_bad("MIT License\n\nPermission is hereby granted, free of charge\n", -1, "cannot be told");
    expect_bad("{}", -1, "neither MISP's");
    expect_bad("<?xml version='1.0'?><stix:STIX_Package/>", -1, "STIX 1");
    expect_bad("<!DOCTYPE html><html>", -1, "XML or HTML");
    expect_bad("192.0.2.7\n", 0, "#fields");
}

static void test_files_that_cannot_be_read(void **state) {
    (void)state;
    struct source_rig *rig = calloc(1, sizeof(*rig));
    struct core_fail fail = {0};
    struct enrich_feed_conf feed = {0};
    struct enrich_read_calls calls = {.on_item = rig_item, .on_refused = rig_refused, .ctx = rig};
    assert_non_null(rig);
    assert_int_equal(enrich_read_file("/nonexistent/a", -1, &feed, &calls, &fail), CORE_IO);
    assert_int_equal(enrich_read_file("/tmp", -1, &feed, &calls, &fail), CORE_IO);
    char text[4096];
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (char)('0' + i * i % 7);
    }
    assert_int_equal(file_read(rig, text, sizeof(text), 1, true, 9, &fail), CORE_BAD); /* a cut-off .gz gives nothing */
    assert_int_equal(rig->items + rig->refused, 0);
    free(rig);
}

static bool goes_on_twice(void *ctx) {
    return ++*(int *)ctx <= 2;
}

/* A reader that is to end does not have to wait for the whole of a long file. */
static void test_reading_can_be_ended(void **state) {
    (void)state;
    static const bool is_gzip[] = {false, true};
    char path[128];
    struct enrich_feed_conf feed = {0};
    struct core_fail fail = {0};
    size_t len = 4 * CORE_MIB;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, '#', len);
    snprintf(path, sizeof(path), "%s/b", folder);
    for (size_t i = 0; i < sizeof(is_gzip) / sizeof(is_gzip[0]); i++) {
        int asked = 0;
        struct enrich_read_calls calls = {.on_item = rig_item, .goes_on = goes_on_twice, .ctx = &asked};
        file_put(path, text, len, is_gzip[i], 0);
        assert_int_equal(enrich_read_file(path, -1, &feed, &calls, &fail), CORE_AGAIN);
        assert_int_equal(asked, 3);
    }
    assert_int_equal(unlink(path), 0);
    free(text);
}

static void test_the_table(void **state) {
    (void)state;
    size_t len = 0;
    for (; source_table[len] != NULL; len++) {
        assert_non_null(enrich_feed_types[len]);
        assert_string_equal(source_table[len]->name, enrich_feed_types[len]);
        assert_int_equal(enrich_feed_type(enrich_feed_types[len]), (int)len);
        assert_non_null(source_table[len]->summary);
        assert_true(source_table[len]->read != NULL || source_table[len]->fetch != NULL);
    }
    assert_null(enrich_feed_types[len]);
    assert_int_equal(enrich_feed_type("nonsense"), -1);
}

/* A section that is right, with one option. */
static struct enrich_feed_conf good_feed(struct core_conf_item *option) {
    static char name[] = "a-b_c.1", path[] = "/a", tlp[] = "white", confidence[] = "10", format[] = "domain";
    return (struct enrich_feed_conf){.name = name,
                                     .type = enrich_feed_type("csv"),
                                     .path = path,
                                     .tlp = tlp,
                                     .confidence = confidence,
                                     .format = format,
                                     .options = {option, 1}};
}

static void test_a_feeds_section(void **state) {
    (void)state;
    struct core_fail fail = {0};
    struct core_conf_item item = {.key = (char[]){"value"}, .value = (char[]){"1"}};
    const struct enrich_feed_conf good = good_feed(&item);
    assert_int_equal(enrich_feed_check(&good, &fail), CORE_OK);
    struct enrich_feed_conf feed = good;
    feed.name = (char[]){"A"};
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_BAD);
    assert_string_equal(fail.where, "name");
    feed = good;
    feed.url = (char[]){"http://a/"};
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_BAD);
    feed = good;
    feed.path = NULL;
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_BAD);
    assert_string_equal(fail.where, "url");
    feed = good;
    feed.tlp = (char[]){"blue"};
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_BAD);
    assert_string_equal(fail.where, "tlp");
    feed = good;
    feed.confidence = (char[]){"11"};
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_BAD);
    assert_string_equal(fail.where, "confidence");
    feed = good;
    feed.format = (char[]){"weather"};
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_BAD);
    assert_string_equal(fail.where, "format");
    feed = good;
    feed.type = enrich_feed_type("stix");
    feed.options.len = 0;
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_BAD); /* format is for lists and tables */
    assert_string_equal(fail.where, "format");
    feed.format = NULL;
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_OK);
    feed.type = enrich_feed_type("taxii");
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_BAD); /* a server has no path */
    assert_string_equal(fail.where, "path");
    feed.path = NULL;
    feed.url = (char[]){"taxii.example.org"};
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_BAD);
    assert_string_equal(fail.where, "url");
    feed.url = (char[]){"https://taxii.example.org/"};
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_OK);
    feed.sightings = true;
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_BAD); /* it takes none */
    assert_string_equal(fail.where, "sightings");
    feed.type = enrich_feed_type("misp");
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_BAD); /* not without a token */
    feed.token = (char[]){"key"};
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_OK);
}

static void test_a_feeds_options(void **state) {
    (void)state;
    struct core_fail fail = {0};
    struct core_conf_item item = {0};
    struct enrich_feed_conf feed = good_feed(&item);
    static const char *const wrong[][3] = {
        {"cif", "version", "2"},  {"cif", "confidence", "11"}, {"cif", "limit", "many"}, {"taxii", "version", "1.1"},
        {"taxii", "limit", "-1"}, {"misp", "mode", "best"},    {"misp", "days", "1.5"},
    };
    feed.path = NULL;
    feed.format = NULL;
    feed.url = (char[]){"https://feed.example.org/"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char key[32], value[32];
        (void)snprintf(key, sizeof key, "%s", wrong[i][1]);
        (void)snprintf(value, sizeof value, "%s", wrong[i][2]);
        item.key = key;
        item.value = value;
        feed.type = enrich_feed_type(wrong[i][0]);
        assert_int_equal(enrich_feed_check(&feed, &fail), CORE_BAD);
        assert_string_equal(fail.where, "options");
        assert_non_null(strstr(fail.text, wrong[i][2]));
    }
    feed = good_feed(&item);
    item = (struct core_conf_item){.key = (char[]){"valeu"}, .value = (char[]){"1"}};
    assert_int_equal(enrich_feed_check(&feed, &fail), CORE_BAD);
    assert_string_equal(fail.where, "options");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told_by_content),
        cmocka_unit_test(test_what_cannot_be_told),
        cmocka_unit_test(test_files_that_cannot_be_read),
        cmocka_unit_test(test_reading_can_be_ended),
        cmocka_unit_test(test_the_table),
        cmocka_unit_test(test_a_feeds_section),
        cmocka_unit_test(test_a_feeds_options),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
