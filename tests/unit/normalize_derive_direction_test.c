/* Stands for normalize/derive_direction.c: which way, by the sensor's word and by the networks of the config.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/normalize_rig.h"

#include <unistd.h>

static struct core_conf_item some[] = {
    {.value = (char[]){"10.0.0.0/8"}},    {.value = (char[]){"192.168.1.77/24"}}, /* bits of a host do not matter */
    {.value = (char[]){"198.51.100.9"}},  {.value = (char[]){"172.16.0.0/13"}},
    {.value = (char[]){"172.20.0.0/14"}}, /* overlaps the one before and goes beyond it */
    {.value = (char[]){"fd00::/8"}},      {.value = (char[]){"2001:db8:0:8000::/49"}},
};

static const struct {
    const char *source;
    const char *destination;
    const char *more; /* further members of the record */
    const char *direction;
} cases[] = {
    {"10.255.255.255", "192.168.1.0", "", "internal"},
    {"10.0.0.1", "11.0.0.0", "", "outbound"},
    {"9.255.255.255", "10.0.0.0", "", "inbound"},
    {"192.168.2.1", "192.168.0.255", "", "external"},
    {"198.51.100.9", "198.51.100.10", "", "outbound"},
    {"172.16.0.0", "172.23.255.255", "", "internal"},
    {"172.24.0.0", "172.15.255.255", "", "external"},
    {"fdff::1", "2001:db8:0:8000::", "", "internal"},
    {"2001:db8:0:7fff::", "fe80::1", "", "external"},
    {"10.0.0.1", "fd00::1", "", "internal"},                                          /* families are apart */
    {"10.0.0.1", "10.0.0.2", ",\"local_orig\":false,\"local_resp\":true", "inbound"}, /* the sensor's word wins */
    {"10.0.0.1", "10.0.0.2", ",\"local_orig\":false", "internal"},                    /* half a word is none */
    {"host", "10.0.0.2", "", NULL},
};

static void run(struct rig *rig, size_t i) {
    char line[512];
    snprintf(line, sizeof(line), "{\"_path\":\"ntp\",\"ts\":1.5,\"id.orig_h\":\"%s\",\"id.resp_h\":\"%s\"%s}\n",
             cases[i].source, cases[i].destination, cases[i].more);
    rig_text(rig, line);
}

static void networks_tell_the_direction(void **state) {
    (void)state;
    struct rig rig;
    struct normalize_conf conf = {.maps = (char[]){"configs"},
                                  .networks = {.items = some, .len = sizeof(some) / sizeof(some[0])}};
    rig_open_conf(&rig, &conf, "/ntp.log");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char expected[64];
        run(&rig, i);
        if (cases[i].direction == NULL) {
            rig_expect_not(&rig, 0, "\"direction\"");
            continue;
        }
        snprintf(expected, sizeof(expected), "\"direction\":\"%s\"", cases[i].direction);
        rig_expect(&rig, 0, expected);
    }
    rig_close(&rig);
}

/* Without networks only the sensor's word counts. */
static void nothing_is_guessed(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, "configs", "/ntp.log");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool has_word = strstr(cases[i].more, "local_resp") != NULL;
        run(&rig, i);
        (has_word ? rig_expect : rig_expect_not)(&rig, 0, "\"direction\":");
    }
    rig_close(&rig);
}

/* networks.cfg of zeekctl as it is; every bad line has its place. */
static void a_file_of_networks(void **state) {
    (void)state;
    char path[] = "/tmp/tapline-networks-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char good[] = "# List of local networks in CIDR notation, optionally followed by a descriptive\n"
                               "# tag. Private address space defined by RFC 1918.\n\n"
                               "10.0.0.0/8          Private IP space\n\t172.16.0.0/12\tPrivate # IP space\r\nfd00::/8";
    assert_int_equal(write(fd, good, strlen(good)), strlen(good));
    struct rig rig;
    struct normalize_conf conf = {.maps = (char[]){"configs"}, .networks_file = path};
    rig_open_conf(&rig, &conf, "/ntp.log");
    rig_text(&rig, "{\"_path\":\"ntp\",\"ts\":1.5,\"id.orig_h\":\"172.31.0.1\",\"id.resp_h\":\"fd77::1\"}\n");
    rig_expect(&rig, 0, "\"direction\":\"internal\"");
    rig_close(&rig);

    struct core_conf_mistakes mistakes = {0};
    struct normalize_maps *maps = NULL;
    static const char bad[] = "\n10.0.0.0/33 x\n 10.0.0/8\nfd00::/129\n10.0.0.0/\n10.0.0.0/8x\n";
    assert_int_equal(write(fd, bad, strlen(bad)), strlen(bad));
    assert_int_not_equal(normalize_maps_open(&maps, &conf, NULL, &mistakes), CORE_OK);
    assert_int_equal(mistakes.len, 5);
    static const char *const places[] = {":7:1", ":8:2", ":9:1", ":10:1", ":11:1"};
    for (size_t i = 0; i < 5; i++) {
        assert_non_null(strstr(mistakes.fails[i].where, places[i]));
        assert_non_null(strstr(mistakes.fails[i].text, "is no network"));
    }
    (void)unlink(path);
    mistakes.len = 0;
    assert_int_not_equal(normalize_maps_open(&maps, &conf, NULL, &mistakes), CORE_OK);
    assert_non_null(strstr(mistakes.fails[0].text, "normalize.networks_file names it"));
    (void)close(fd);
}

static void file_write(char *path, const char *text) {
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(close(fd), 0);
}

/* A list without a network says no more than none; a line may have a long comment. */
static void a_file_of_comments(void **state) {
    (void)state;
    static const char record[] =
        "{\"_path\":\"ntp\",\"ts\":1.5,\"id.orig_h\":\"10.0.0.1\",\"id.resp_h\":\"10.0.0.2\"}\n";
    char none[] = "/tmp/tapline-networks-XXXXXX";
    char wordy[] = "/tmp/tapline-networks-XXXXXX";
    char text[4096];
    struct rig rig;
    struct normalize_conf conf = {.maps = (char[]){"configs"}, .networks_file = none};
    file_write(none, "# 10.0.0.0/8\n\n");
    rig_open_conf(&rig, &conf, "/ntp.log");
    rig_text(&rig, record);
    rig_expect_not(&rig, 0, "\"direction\"");
    rig_close(&rig);

    snprintf(text, sizeof(text), "10.0.0.0/8 %02000d %02000d", 1, 2);
    file_write(wordy, text);
    conf.networks_file = wordy;
    rig_open_conf(&rig, &conf, "/ntp.log");
    rig_text(&rig, record);
    rig_expect(&rig, 0, "\"direction\":\"internal\"");
    rig_close(&rig);
    (void)unlink(none);
    (void)unlink(wordy);
}

/* As many as a big site has: each address is told from its neighbours. */
static void thousands_of_networks(void **state) {
    (void)state;
    enum { COUNT = 5000 };
    static struct core_conf_item items[COUNT];
    static char texts[COUNT][24];
    struct rig rig;
    for (unsigned i = 0; i < COUNT; i++) { /* every second /24, in no order */
        unsigned n = i * 1237U % COUNT;
        snprintf(texts[i], sizeof(texts[i]), "100.%u.%u.0/24", n / 128, n % 128 * 2);
        items[i].value = texts[i];
    }
    struct normalize_conf conf = {.maps = (char[]){"configs"}, .networks = {.items = items, .len = COUNT}};
    rig_open_conf(&rig, &conf, "/ntp.log");
    for (unsigned n = 0; n < COUNT; n += 7) {
        char line[256];
        snprintf(line, sizeof(line),
                 "{\"_path\":\"ntp\",\"ts\":1.5,\"id.orig_h\":\"100.%u.%u.255\",\"id.resp_h\":\"100.%u.%u.0\"}\n",
                 n / 128, n % 128 * 2, n / 128, n % 128 * 2 + 1);
        rig_text(&rig, line);
        rig_expect(&rig, 0, "\"direction\":\"outbound\"");
    }
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_tell_the_direction), cmocka_unit_test(nothing_is_guessed),
        cmocka_unit_test(a_file_of_networks),          cmocka_unit_test(a_file_of_comments),
        cmocka_unit_test(thousands_of_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
