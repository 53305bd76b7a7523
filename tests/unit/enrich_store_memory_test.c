/* tests/unit/enrich_store_memory_test.c: the store in memory: what is put is found, who says it, what is over, files that
 * change, are broken, or go; and how many bytes an indicator costs.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enrich/table_internal.h"

static struct core_arena arena;
static struct core_fail fail;
static char dir[64];

static struct enrich_store *opened(const char *file) {
    static struct core_conf_item item; /* the conf outlives the store */
    static struct enrich_conf conf;
    struct enrich_store *store = NULL;
    static char held[128]; /* path_in() has one for all */
    snprintf(held, sizeof held, "%s", file == NULL ? "" : file);
    item = (struct core_conf_item){.value = held};
    conf = (struct enrich_conf){.files = {.items = &item, .len = file == NULL ? 0 : 1}};
    if (enrich_store_open(&store, &conf, NULL, false, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
    return store;
}

static void put(struct enrich_store *store, enum core_indicator type, const char *value,
                const struct enrich_provider *said) {
    struct enrich_item item = {.type = type, .value = core_span_of(value), .said = *said};
    assert_int_equal(enrich_store_put(store, &item, &fail), CORE_OK);
}

static struct enrich_found get(struct enrich_store *store, enum core_indicator type, const char *value) {
    struct enrich_found found = {.type = type, .value = core_span_of(value)};
    core_arena_reset(&arena, CORE_MIB);
    assert_int_equal(enrich_store_get(store, &found, 1, &arena, 100, &fail), CORE_OK);
    return found;
}

static const struct enrich_provider soc = {
    .feed = "mine", .provider = "soc", .confidence_tenths = 85, .tlp = "GREEN", .description = "bad", .first_seen = 5};

static void test_what_is_put_is_found_and_who_says_it(void **state) {
    (void)state;
    struct enrich_store *store = opened(NULL);
    struct enrich_provider other = {.feed = "aaa", .provider = NULL, .confidence_tenths = ENRICH_CONFIDENCE_NONE};
    put(store, CORE_INDICATOR_IP, "192.0.2.1", &soc);
    put(store, CORE_INDICATOR_IP, "192.0.2.1", &other);
    put(store, CORE_INDICATOR_IP, "192.0.2.1", &soc); /* the same again */
    struct enrich_found found = get(store, CORE_INDICATOR_IP, "192.0.2.1");
    assert_int_equal(found.providers_len, 2);
    assert_string_equal(found.providers[0].feed, "aaa");
    assert_string_equal(found.providers[0].provider, "aaa"); /* who says it is the feed */
    assert_null(found.providers[0].description);
    assert_string_equal(found.providers[1].provider, "soc");
    assert_string_equal(found.providers[1].description, "bad");
    assert_string_equal(found.providers[1].tlp, "GREEN");
    assert_int_equal(found.providers[1].confidence_tenths, 85);
    assert_int_equal(found.providers[1].first_seen, 5);
    assert_int_equal(get(store, CORE_INDICATOR_DOMAIN, "192.0.2.1").providers_len, 0); /* another type */
    assert_int_equal(store->put, 2);
    assert_int_equal(store->same, 1);
    assert_int_equal(enrich_store_remove(store, CORE_INDICATOR_IP, CORE_SPAN("192.0.2.1"), "mine", "nobody", &fail),
                     CORE_OK);
    assert_int_equal(get(store, CORE_INDICATOR_IP, "192.0.2.1").providers_len, 2);
    assert_int_equal(enrich_store_remove(store, CORE_INDICATOR_IP, CORE_SPAN("192.0.2.1"), "mine", NULL, &fail),
                     CORE_OK);
    assert_int_equal(get(store, CORE_INDICATOR_IP, "192.0.2.1").providers_len, 1);
    assert_int_equal(enrich_store_remove(store, CORE_INDICATOR_IP, CORE_SPAN("192.0.2.1"), "aaa", NULL, &fail),
                     CORE_OK);
    assert_int_equal(get(store, CORE_INDICATOR_IP, "192.0.2.1").providers_len, 0);
    uint64_t count;
    assert_int_equal(store_count(store, &count, &fail), CORE_OK);
    assert_int_equal(count, 0);
    enrich_store_close(store);
}

static void test_what_is_over_is_not_found(void **state) {
    (void)state;
    struct enrich_store *store = opened(NULL);
    struct enrich_provider past = soc, future = soc;
    past.expires = core_now_ns() / CORE_NS_PER_S - 1;
    future.expires = core_now_ns() / CORE_NS_PER_S + 1000;
    put(store, CORE_INDICATOR_IP, "192.0.2.1", &past);
    put(store, CORE_INDICATOR_IP, "192.0.2.2", &future);
    assert_int_equal(get(store, CORE_INDICATOR_IP, "192.0.2.1").providers_len, 0);
    assert_int_equal(get(store, CORE_INDICATOR_IP, "192.0.2.2").providers[0].expires, future.expires);
    enrich_store_close(store);
}

static void test_limits_and_mistakes_are_said(void **state) {
    (void)state;
    struct enrich_store *store = opened(NULL);
    char name[16], big[ENRICH_VALUE_BYTES_MAX + 2];
    for (int i = 0; i < ENRICH_PROVIDERS_MAX + 3; i++) {
        struct enrich_provider said = soc;
        snprintf(name, sizeof name, "p%02d", i);
        said.provider = name;
        put(store, CORE_INDICATOR_IP, "192.0.2.1", &said);
    }
    assert_int_equal(get(store, CORE_INDICATOR_IP, "192.0.2.1").providers_len, ENRICH_PROVIDERS_MAX);
    assert_int_equal(store->refused, 3);
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    struct enrich_item item = {.type = CORE_INDICATOR_URL, .value = core_span_of(big), .said = soc};
    assert_int_equal(enrich_store_put(store, &item, &fail), CORE_BAD);
    item.value.len--;
    assert_int_equal(enrich_store_put(store, &item, &fail), CORE_OK);
    item.said.feed = "No Name";
    assert_int_equal(enrich_store_put(store, &item, &fail), CORE_BAD);
    assert_non_null(strstr(fail.text, "no name of a feed"));
    struct core_arena small;
    struct enrich_found found = {.type = CORE_INDICATOR_IP, .value = CORE_SPAN("192.0.2.1")};
    assert_int_equal(core_arena_init(&small, 1, &fail), CORE_OK); /* a page: 32 providers are more */
    small.cap = 512;
    assert_int_equal(enrich_store_get(store, &found, 1, &small, 100, &fail), CORE_LIMIT);
    small.cap = (size_t)sysconf(_SC_PAGESIZE);
    core_arena_destroy(&small);
    struct store_lease lease;
    assert_int_equal(store_lease_take(store, "x", CORE_NS_PER_S, &lease, &fail), CORE_BAD); /* only Redis has them */
    struct enrich_store *writer;
    assert_int_equal(enrich_store_open(&writer, NULL, NULL, true, &fail), CORE_BAD);
    enrich_store_close(store);
}

/* ---- changes -------------------------------------------------------------------------------------------------------------- */

static struct {
    char text[4096];
    size_t adds;
} told;

static void tell(const char *what, enum core_indicator type, struct core_span value) {
    size_t len = strlen(told.text);
    snprintf(told.text + len, sizeof told.text - len, "%s %s %.*s\n", what, core_indicator_word(type), (int)value.len,
             value.ptr);
}

static void on_add(void *ctx, enum core_indicator type, struct core_span value, bool subdomains) {
    (void)ctx;
    told.adds++;
    tell(subdomains ? "add+" : "add", type, value);
}

static void on_remove(void *ctx, enum core_indicator type, struct core_span value) {
    (void)ctx;
    tell("remove", type, value);
}

static void on_allow(void *ctx, enum core_indicator type, struct core_span value, bool is_allowed) {
    (void)ctx;
    tell(is_allowed ? "allow" : "unallow", type, value);
}

static const struct store_changes calls = {.on_add = on_add, .on_remove = on_remove, .on_allow = on_allow};

static const char *followed(struct enrich_store *store, struct store_cursor *cursor, enum core_err expected,
                            int timeout_ms) {
    memset(&told, 0, sizeof told);
    assert_int_equal(store_follow(store, cursor, &calls, timeout_ms, &fail), expected);
    return told.text;
}

static void test_changes_are_told_once(void **state) {
    (void)state;
    struct enrich_store *store = opened(NULL);
    struct store_cursor cursor;
    struct enrich_provider sub = soc;
    sub.subdomains = true;
    sub.provider = "sub";
    put(store, CORE_INDICATOR_DOMAIN, "a.example", &soc);
    assert_int_equal(enrich_store_allow(store, CORE_INDICATOR_CIDR, CORE_SPAN("10.0.0.0/8"), true, &fail), CORE_OK);
    memset(&told, 0, sizeof told);
    assert_int_equal(store_build(store, &cursor, &calls, &fail), CORE_OK);
    assert_string_equal(told.text, "add domain a.example\nallow cidr 10.0.0.0/8\n");
    assert_string_equal(followed(store, &cursor, CORE_AGAIN, 0), "");
    put(store, CORE_INDICATOR_DOMAIN, "a.example", &sub);
    assert_string_equal(followed(store, &cursor, CORE_OK, 0), "add+ domain a.example\n");
    sub.description = "another word";
    put(store, CORE_INDICATOR_DOMAIN, "a.example", &sub);
    assert_string_equal(followed(store, &cursor, CORE_AGAIN, 0), "");
    assert_int_equal(enrich_store_remove(store, CORE_INDICATOR_DOMAIN, CORE_SPAN("a.example"), "mine", NULL, &fail),
                     CORE_OK);
    assert_int_equal(enrich_store_allow(store, CORE_INDICATOR_CIDR, CORE_SPAN("10.0.0.0/8"), false, &fail), CORE_OK);
    assert_int_equal(enrich_store_allow(store, CORE_INDICATOR_CIDR, CORE_SPAN("10.0.0.0/8"), false, &fail), CORE_OK);
    assert_string_equal(followed(store, &cursor, CORE_OK, 0), "remove domain a.example\nunallow cidr 10.0.0.0/8\n");
    enrich_store_close(store);
}

static char *path_in(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* Whole in one step, as a program that writes such files should. */
static void write_file(const char *name, const char *text) {
    char path[128], made[160];
    snprintf(path, sizeof path, "%s", path_in(name));
    snprintf(made, sizeof made, "%s.new", path);
    FILE *file = fopen(made, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(rename(made, path), 0);
}

#define HEADER "#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\n"

static void test_files_are_read_again_when_they_change(void **state) {
    (void)state;
    struct store_cursor cursor;
    write_file("intel.dat", HEADER "192.0.2.1\tIntel::ADDR\tsoc\tone\n192.0.2.2\tIntel::ADDR\tsoc\ttwo\n");
    struct enrich_store *store = opened(path_in("intel.dat"));
    assert_string_equal(get(store, CORE_INDICATOR_IP, "192.0.2.2").providers[0].description, "two");
    memset(&told, 0, sizeof told);
    assert_int_equal(store_build(store, &cursor, &calls, &fail), CORE_OK);
    assert_int_equal(told.adds, 2);
    assert_string_equal(followed(store, &cursor, CORE_AGAIN, 1200), ""); /* looked at, not read */
    write_file("intel.dat", HEADER "192.0.2.2\tIntel::ADDR\tsoc\tother\n192.0.2.3\tIntel::ADDR\tsoc\tthree\n");
    assert_string_equal(followed(store, &cursor, CORE_OK, 3000), "add ip 192.0.2.3\nremove ip 192.0.2.1\n");
    assert_string_equal(get(store, CORE_INDICATOR_IP, "192.0.2.2").providers[0].description, "other");
    assert_int_equal(get(store, CORE_INDICATOR_IP, "192.0.2.1").providers_len, 0);
    assert_int_equal(unlink(path_in("intel.dat")), 0); /* by mistake, perhaps: what was there stays */
    assert_string_equal(followed(store, &cursor, CORE_AGAIN, 1500), "");
    assert_int_equal(get(store, CORE_INDICATOR_IP, "192.0.2.3").providers_len, 1);
    write_file("intel.dat", HEADER);
    assert_string_equal(followed(store, &cursor, CORE_OK, 3000), "remove ip 192.0.2.2\nremove ip 192.0.2.3\n");
    enrich_store_close(store);
    unlink(path_in("intel.dat"));
}

static void test_a_file_that_is_not_there_is_a_mistake(void **state) {
    (void)state;
    struct core_conf_item item = {.value = path_in("none.dat")};
    struct enrich_conf conf = {.files = {.items = &item, .len = 1}};
    struct enrich_store *store;
    assert_int_equal(enrich_store_open(&store, &conf, NULL, false, &fail), CORE_BAD);
    assert_non_null(strstr(fail.text, "no such file"));
    assert_null(store);
    item.value = path_in("*.dat"); /* a pattern may come to name one later */
    assert_int_equal(enrich_store_open(&store, &conf, NULL, false, &fail), CORE_OK);
    enrich_store_close(store);
}

/* A program that writes lists anew takes them away first. */
static void test_files_that_are_gone_for_a_moment(void **state) {
    (void)state;
    struct store_cursor cursor;
    write_file("a.txt", "192.0.2.1\n");
    write_file("b.txt", "192.0.2.2\n");
    struct enrich_store *store = opened(path_in("*.txt"));
    assert_int_equal(store_build(store, &cursor, &calls, &fail), CORE_OK);
    assert_int_equal(unlink(path_in("b.txt")), 0); /* one of them: waited for */
    assert_string_equal(followed(store, &cursor, CORE_AGAIN, 1500), "");
    write_file("b.txt", "192.0.2.2\n192.0.2.3\n");
    assert_string_equal(followed(store, &cursor, CORE_OK, 3000), "add ip 192.0.2.3\n");
    assert_int_equal(unlink(path_in("b.txt")), 0); /* and this time it stays away */
    assert_string_equal(followed(store, &cursor, CORE_OK, 6000), "remove ip 192.0.2.2\nremove ip 192.0.2.3\n");
    assert_int_equal(unlink(path_in("a.txt")), 0); /* all of them: what was read stays */
    assert_string_equal(followed(store, &cursor, CORE_AGAIN, 5000), "");
    assert_int_equal(get(store, CORE_INDICATOR_IP, "192.0.2.1").providers_len, 1);
    write_file("c.txt", "192.0.2.4\n");
    assert_string_equal(followed(store, &cursor, CORE_OK, 5000), "add ip 192.0.2.4\nremove ip 192.0.2.1\n");
    enrich_store_close(store);
    unlink(path_in("c.txt"));
}

/* A folder that comes and goes (a mount) has the same files each time, and each time is waited for. */
static void test_a_folder_that_is_gone_twice(void **state) {
    (void)state;
    struct store_cursor cursor;
    char there[160], away[160];
    for (int i = 1; i <= 2; i++) {
        snprintf(there, sizeof there, "%s", path_in(i == 1 ? "f1" : "f2"));
        assert_int_equal(mkdir(there, 0700), 0);
    }
    snprintf(away, sizeof away, "%s", path_in("gone"));
    write_file("f1/a.txt", "192.0.2.1\n");
    write_file("f2/b.txt", "192.0.2.2\n");
    struct enrich_store *store = opened(path_in("f[12]/*.txt"));
    assert_int_equal(store_build(store, &cursor, &calls, &fail), CORE_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rename(there, away), 0);
        assert_string_equal(followed(store, &cursor, CORE_AGAIN, 1500), "");
        assert_int_equal(rename(away, there), 0);
        assert_string_equal(followed(store, &cursor, CORE_AGAIN, 3500), "");
    }
    enrich_store_close(store);
    unlink(path_in("f1/a.txt"));
    unlink(path_in("f2/b.txt"));
    assert_int_equal(rmdir(path_in("f1")), 0);
    assert_int_equal(rmdir(path_in("f2")), 0);
}

/* Which list it was: its name, where it names nobody. */
static void test_a_list_is_named(void **state) {
    (void)state;
    write_file("list.txt", "192.0.2.1\n");
    write_file("zeek.dat", HEADER "192.0.2.1\tIntel::ADDR\t-\tnobody\n192.0.2.1\tIntel::ADDR\tsoc\tsomebody\n"
                                  "192.0.2.1\tIntel::ADDR\tlocal\tcalls himself so\n");
    struct enrich_store *store = opened(path_in("[lz]*.[td]*t"));
    struct enrich_found found = get(store, CORE_INDICATOR_IP, "192.0.2.1");
    assert_int_equal(found.providers_len, 4);
    assert_string_equal(found.providers[0].provider, "list.txt");
    assert_string_equal(found.providers[0].feed, "local");
    assert_string_equal(found.providers[1].provider, "local");
    assert_string_equal(found.providers[2].provider, "soc");
    assert_string_equal(found.providers[3].provider, "zeek.dat");
    enrich_store_close(store);
    unlink(path_in("list.txt"));
    unlink(path_in("zeek.dat"));
}

/* Bytes that this process has read, ever. */
static uint64_t bytes_read(void) {
    unsigned long long bytes = 0;
    FILE *io = fopen("/proc/self/io", "r");
    assert_non_null(io);
    assert_int_equal(fscanf(io, "rchar: %llu", &bytes), 1);
    fclose(io);
    return bytes;
}

static struct enrich_store *opened_until(const char *file, int stop_fd) {
    static struct core_conf_item item;
    static struct enrich_conf conf;
    struct enrich_store *store = NULL;
    static char held[128];
    snprintf(held, sizeof held, "%s", file);
    item = (struct core_conf_item){.value = held};
    conf = (struct enrich_conf){.files = {.items = &item, .len = 1}};
    assert_int_equal(store_open_until(&store, &conf, NULL, stop_fd, &fail), CORE_OK);
    return store;
}

#define LONG_LINES 200000

/* Addresses, and bad_line somewhere behind them. */
static void write_long(const char *name, const char *bad_line) {
    FILE *file = fopen(path_in(name), "w");
    assert_non_null(file);
    fputs(HEADER, file);
    for (unsigned i = 0; i < LONG_LINES; i++) {
        fprintf(file, "10.%u.%u.%u\tIntel::ADDR\tsoc\t-\n", i >> 16, i >> 8 & 255, i & 255);
    }
    fputs(bad_line, file);
    fclose(file);
}

static void test_a_mistake_is_read_once(void **state) {
    (void)state;
    struct store_cursor cursor;
    uint64_t count;
    write_long("long.dat", "#fields\tnothing\n");
    struct enrich_store *store = opened_until(path_in("long.dat"), -1);
    assert_int_equal(store_count(store, &count, &fail), CORE_BAD);
    assert_non_null(strstr(fail.text, "#fields"));
    uint64_t before = bytes_read();
    for (int i = 0; i < 5; i++) {
        memset(&fail, 0, sizeof fail);
        assert_int_equal(store_count(store, &count, &fail), CORE_BAD);
        assert_int_equal(store_build(store, &cursor, &calls, &fail), CORE_BAD);
        assert_non_null(strstr(fail.text, "#fields")); /* and the reason is still said */
        assert_non_null(strstr(fail.where, "long.dat"));
    }
    assert_true(bytes_read() - before < CORE_MIB);
    write_file("long.dat", HEADER "192.0.2.1\tIntel::ADDR\tsoc\tone\n"); /* mended: read at once */
    assert_int_equal(store_count(store, &count, &fail), CORE_OK);
    assert_int_equal(count, 1);
    enrich_store_close(store);
    unlink(path_in("long.dat"));
}

static void test_reading_ends_when_it_is_to(void **state) {
    (void)state;
    struct store_cursor cursor;
    uint64_t count;
    int stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(stop_fd >= 0);
    write_file("long.dat", HEADER "192.0.2.1\tIntel::ADDR\tsoc\tone\n");
    struct enrich_store *store = opened_until(path_in("long.dat"), stop_fd);
    struct enrich_store *late = opened_until(path_in("long.dat"), stop_fd);
    assert_int_equal(store_build(store, &cursor, &calls, &fail), CORE_OK);
    write_long("long.dat", "");
    assert_int_equal(eventfd_write(stop_fd, 1), 0);
    assert_int_equal(store_count(late, &count, &fail), CORE_AGAIN);
    assert_string_equal(followed(store, &cursor, CORE_AGAIN, 1500), ""); /* it was begun, and let go */
    assert_int_equal(get(store, CORE_INDICATOR_IP, "192.0.2.1").providers_len, 1);
    enrich_store_close(store);
    enrich_store_close(late);
    assert_int_equal(close(stop_fd), 0);
    unlink(path_in("long.dat"));
}

/* What is over is not counted, nor told. */
static void test_what_is_over_does_not_count(void **state) {
    (void)state;
    struct store_cursor cursor;
    uint64_t count;
    struct enrich_store *store = opened(NULL);
    struct enrich_provider past = soc, soon = soc;
    past.expires = core_now_ns() / CORE_NS_PER_S - 1;
    soon.expires = core_now_ns() / CORE_NS_PER_S + 4;
    put(store, CORE_INDICATOR_IP, "192.0.2.1", &past);
    put(store, CORE_INDICATOR_IP, "192.0.2.2", &soon);
    put(store, CORE_INDICATOR_IP, "192.0.2.3", &soc);
    assert_int_equal(store_count(store, &count, &fail), CORE_OK);
    assert_int_equal(count, 2);
    memset(&told, 0, sizeof told);
    assert_int_equal(store_build(store, &cursor, &calls, &fail), CORE_OK);
    assert_string_equal(told.text, "add ip 192.0.2.2\nadd ip 192.0.2.3\n");
    while (core_now_ns() / CORE_NS_PER_S <= soon.expires) {
        usleep(10000);
    }
    assert_int_equal(store_count(store, &count, &fail), CORE_OK);
    assert_int_equal(count, 1);
    past.expires = core_now_ns() / CORE_NS_PER_S + 1000;
    put(store, CORE_INDICATOR_IP, "192.0.2.1", &past); /* it holds again */
    assert_int_equal(store_count(store, &count, &fail), CORE_OK);
    assert_int_equal(count, 2);
    enrich_store_close(store);
}

/* As in the program: one thread asks, another reads the files again. What is found is whole, whichever of the two it is. */
static _Atomic bool is_over;

static void *ask_on(void *ctx) {
    struct enrich_store *store = ctx;
    struct core_arena own;
    struct core_fail why;
    uintptr_t bad = core_arena_init(&own, CORE_MIB, &why) != CORE_OK;
    while (!is_over && bad == 0) {
        struct enrich_found found[2] = {{.type = CORE_INDICATOR_IP, .value = CORE_SPAN("192.0.2.1")},
                                        {.type = CORE_INDICATOR_IP, .value = CORE_SPAN("192.0.2.2")}};
        core_arena_reset(&own, CORE_MIB);
        bad = enrich_store_get(store, found, 2, &own, 100, &why) != CORE_OK || found[0].providers_len != 1 ||
              strlen(found[0].providers[0].description) != 3 || found[1].providers_len != 0;
    }
    core_arena_destroy(&own);
    return (void *)bad;
}

static void test_one_thread_asks_while_another_reads_files(void **state) {
    (void)state;
    struct store_cursor cursor;
    pthread_t thread;
    void *bad;
    write_file("busy.dat", HEADER "192.0.2.1\tIntel::ADDR\tsoc\tone\n");
    struct enrich_store *store = opened(path_in("busy.dat"));
    assert_int_equal(store_build(store, &cursor, &calls, &fail), CORE_OK);
    is_over = false;
    assert_int_equal(pthread_create(&thread, NULL, ask_on, store), 0);
    for (int i = 0; i < 3; i++) {
        write_file("busy.dat", i % 2 == 0 ? HEADER
                                   "192.0.2.3\tIntel::ADDR\tsoc\tnew\n192.0.2.1\tIntel::ADDR\tsoc\ttwo\n"
                                          : HEADER "192.0.2.1\tIntel::ADDR\tsoc\tone\n");
        assert_string_equal(followed(store, &cursor, CORE_OK, 5000),
                            i % 2 == 0 ? "add ip 192.0.2.3\n" : "remove ip 192.0.2.3\n");
    }
    is_over = true;
    assert_int_equal(pthread_join(thread, &bad), 0);
    assert_null(bad);
    enrich_store_close(store);
    unlink(path_in("busy.dat"));
}

static void test_the_allow_list_of_the_config(void **state) {
    (void)state;
    struct core_conf_item items[] = {{.value = "10.0.0.0/8"}, {.value = "Good.Example."}, {.value = "2001:DB8::1"}};
    struct enrich_conf conf = {.allow = {.items = items, .len = 3}};
    struct store_cursor cursor;
    struct enrich_store *store;
    assert_int_equal(enrich_store_open(&store, &conf, NULL, false, &fail), CORE_OK);
    memset(&told, 0, sizeof told);
    assert_int_equal(store_build(store, &cursor, &calls, &fail), CORE_OK);
    assert_string_equal(told.text, "allow cidr 10.0.0.0/8\nallow domain good.example\nallow ip 2001:db8::1\n");
    enrich_store_close(store);
    items[1].value = "not/a/thing";
    assert_int_equal(enrich_store_open(&store, &conf, NULL, false, &fail), CORE_BAD);
    assert_non_null(strstr(fail.text, "not/a/thing"));
}

/* ---- many ------------------------------------------------------------------------------------------------------------------- */

#define MANY 200000

static void test_many_cost_little(void **state) {
    (void)state;
    struct enrich_store *store = opened(NULL);
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    char value[64];
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(value, sizeof value, "host%u.bad.example", i);
        put(store, CORE_INDICATOR_DOMAIN, value, &soc);
    }
    for (unsigned i = 0; i < MANY; i += 7) {
        snprintf(value, sizeof value, "host%u.bad.example", i);
        assert_int_equal(get(store, CORE_INDICATOR_DOMAIN, value).providers_len, 1);
    }
    assert_int_equal(get(store, CORE_INDICATOR_DOMAIN, "host200000.bad.example").providers_len, 0);
    size_t bytes = mallinfo2().uordblks + mallinfo2().hblkhd - before;
    print_message("%zu bytes an indicator, malloc's growth included\n", bytes / MANY);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(bytes / MANY < 220); /* and changes[] of put(), which a file does not make */
#endif
    enrich_store_close(store);
}

/* ---- what is said, as JSON ------------------------------------------------------------------------------------------------------ */

static const char *written(const struct enrich_provider *said) {
    static char text[STORE_SAID_BYTES_MAX];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof text - 1};
    store_said_write(&buf, said);
    assert_false(buf.is_full);
    *buf.pos = '\0';
    return text;
}

static enum core_err read_said(const char *field, const char *json, struct enrich_provider *out) {
    struct store_said_reader *reader = store_said_reader_new();
    core_arena_reset(&arena, CORE_MIB);
    enum core_err err = store_said_read(reader, core_span_of(field), core_span_of(json), &arena, out, &fail);
    store_said_reader_free(reader);
    return err;
}

static void test_json_there_and_back(void **state) {
    (void)state;
    struct enrich_provider all = {.feed = "f",
                                  .provider = "p/q",
                                  .confidence_tenths = 100,
                                  .tlp = "AMBER+STRICT",
                                  .description = "\"quoted\"\n\xc3\xa4",
                                  .reference = "https://x.example/?a=b",
                                  .tags = "a,b",
                                  .first_seen = 1,
                                  .last_seen = 2,
                                  .expires = 4102444800,
                                  .subdomains = true,
                                  .id = "7"};
    struct enrich_provider none = {.feed = "f", .provider = "f", .confidence_tenths = ENRICH_CONFIDENCE_NONE}, back;
    assert_int_equal(read_said("f/p/q", written(&all), &back), CORE_OK);
    assert_true(store_said_same(&all, &back));
    assert_string_equal(written(&none), "{}");
    assert_int_equal(read_said("f", "{}", &back), CORE_OK);
    assert_true(store_said_same(&none, &back));
    all.confidence_tenths = 7;
    assert_non_null(strstr(written(&all), "\"confidence\":0.7,"));
    assert_int_equal(read_said("f/p/q", written(&all), &back), CORE_OK);
    assert_int_equal(back.confidence_tenths, 7);
}

static void test_json_of_others(void **state) {
    (void)state;
    static const struct {
        const char *json;
        enum core_err err;
        int confidence_tenths;
    } rows[] = {{"{ \"confidence\" : 8.57 , \"mine\":{\"confidence\":1,\"deep\":[1,{}]}, \"tlp\":null }", CORE_OK, 86},
                {"{\"confidence\":0}", CORE_OK, 0},
                {"{\"confidence\":10.0}", CORE_OK, 100},
                {"{\"confidence\":10.1}", CORE_BAD, 0},
                {"{\"confidence\":-1}", CORE_BAD, 0},
                {"{\"confidence\":1e1}", CORE_BAD, 0},
                {"{\"confidence\":\"8\"}", CORE_BAD, 0},
                {"{\"description\":5}", CORE_BAD, 0},
                {"{\"subdomains\":\"yes\"}", CORE_BAD, 0},
                {"{\"tags\":[\"a\"]}", CORE_BAD, 0},
                {"{\"expires\":\"2026-01-01\"}", CORE_BAD, 0},
                {"{\"expires\":{}}", CORE_BAD, 0},
                {"[]", CORE_BAD, 0},
                {"null", CORE_BAD, 0},
                {"7", CORE_BAD, 0},
                {"\"x\"", CORE_BAD, 0},
                {"", CORE_BAD, 0},
                {"{\"confidence\":1", CORE_BAD, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct enrich_provider back;
        enum core_err err = read_said("f/p", rows[i].json, &back);
        if (err != rows[i].err || (err == CORE_OK && back.confidence_tenths != rows[i].confidence_tenths)) {
            fail_msg("%s: error %d, confidence %d: %s", rows[i].json, err, back.confidence_tenths, fail.text);
        }
    }
}

static int prepare(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tapline-memory-XXXXXX");
    return mkdtemp(dir) == NULL || core_arena_init(&arena, 64 * CORE_MIB, &fail) != CORE_OK;
}

static int tidy(void **state) {
    (void)state;
    core_arena_destroy(&arena);
    return rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_put_is_found_and_who_says_it),
        cmocka_unit_test(test_what_is_over_is_not_found),
        cmocka_unit_test(test_limits_and_mistakes_are_said),
        cmocka_unit_test(test_changes_are_told_once),
        cmocka_unit_test(test_files_are_read_again_when_they_change),
        cmocka_unit_test(test_a_file_that_is_not_there_is_a_mistake),
        cmocka_unit_test(test_files_that_are_gone_for_a_moment),
        cmocka_unit_test(test_a_folder_that_is_gone_twice),
        cmocka_unit_test(test_a_list_is_named),
        cmocka_unit_test(test_a_mistake_is_read_once),
        cmocka_unit_test(test_reading_ends_when_it_is_to),
        cmocka_unit_test(test_what_is_over_does_not_count),
        cmocka_unit_test(test_one_thread_asks_while_another_reads_files),
        cmocka_unit_test(test_the_allow_list_of_the_config),
        cmocka_unit_test(test_many_cost_little),
        cmocka_unit_test(test_json_there_and_back),
        cmocka_unit_test(test_json_of_others),
    };
    return cmocka_run_group_tests(tests, prepare, tidy);
}
