/* tests/integration/intel_driver.c: a store of indicators, driven by lines on stdin, for test_intel_store.py: the test makes
 * the servers fail, this program is what tapline does with them. Each command is answered by lines of its own and then one
 * that begins with "OK" or with the name of an error and its text.
 *
 *   open reader|writer URL… [key=value…]      password= username= ca_file= cert_file= key_file= prefix= connect_ms= file=
 *   put TYPE VALUE FEED PROVIDER [expires=S] [confidence=N] [description=…] [subdomains]      remove TYPE VALUE FEED [PROVIDER]
 *   load N SEED                               N addresses and domains by feed "load"
 *   flush · allow|unallow TYPE VALUE · connect MS · get MS TYPE VALUE · gets MS N SEED · count · now · build · follow MS [pause_at=N] · walk
 *   allowed · close                           pause_at: says "paused" at the Nth that is added, and waits for a line
 *   state_put FEED KEY VALUE · state_get FEED · lease_take NAME MS · lease_renew MS · lease_give · seen TYPE VALUE DAY N [ONCE]
 *   seen_day DAY · both MS TYPE VALUE          get in one thread, build and follow in another, as the program does
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/enrich_internal.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define WORDS_MAX 32
#define ARENA_BYTES (256 * CORE_MIB)

static struct {
    struct enrich_store *store;
    struct enrich_conf conf;
    struct enrich_redis_conf redis;
    struct core_conf_item urls[8];
    struct core_conf_item files[8];
    struct store_cursor cursor;
    struct store_lease lease;
    struct core_arena arena;
    struct core_fail fail;
} now;

struct words {
    char *word[WORDS_MAX];
    size_t len;
};

static const char *option(const struct words *words, const char *name) {
    size_t len = strlen(name);
    for (size_t i = 0; i < words->len; i++) {
        if (strncmp(words->word[i], name, len) == 0 && words->word[i][len] == '=') {
            return words->word[i] + len + 1;
        }
    }
    return NULL;
}

static bool has(const struct words *words, const char *word) {
    for (size_t i = 0; i < words->len; i++) {
        if (strcmp(words->word[i], word) == 0) {
            return true;
        }
    }
    return false;
}

static enum core_indicator type_of(const char *word) {
    enum core_indicator type = core_indicator_of(core_span_of(word));
    MUST(type != CORE_INDICATOR_NONE);
    return type;
}

static enum core_err do_open(const struct words *words) {
    const char *ms = option(words, "connect_ms");
    now.redis = (struct enrich_redis_conf){.username = (char *)option(words, "username"),
                                           .password = (char *)option(words, "password"),
                                           .ca_file = (char *)option(words, "ca_file"),
                                           .cert_file = (char *)option(words, "cert_file"),
                                           .key_file = (char *)option(words, "key_file"),
                                           .prefix = (char *)option(words, "prefix"),
                                           .connect_timeout_ns = (ms == NULL ? 2000 : atoi(ms)) * CORE_NS_PER_MS};
    now.redis.urls = (struct core_conf_list){.items = now.urls};
    now.conf = (struct enrich_conf){.files = {.items = now.files}};
    for (size_t i = 2; i < words->len; i++) {
        if (strstr(words->word[i], "://") != NULL) {
            now.urls[now.redis.urls.len++].value = strdup(words->word[i]);
        } else if (strncmp(words->word[i], "file=", 5) == 0) {
            now.files[now.conf.files.len++].value = strdup(words->word[i] + 5);
        }
    }
#define KEEP(name) now.redis.name = now.redis.name == NULL ? NULL : strdup(now.redis.name)
    KEEP(username), KEEP(password), KEEP(ca_file), KEEP(cert_file), KEEP(key_file), KEEP(prefix);
    return enrich_store_open(&now.store, &now.conf, &now.redis, strcmp(words->word[1], "writer") == 0, &now.fail);
}

static enum core_err do_close(const struct words *words) {
    (void)words;
    enrich_store_close(now.store);
    now.store = NULL;
    return CORE_OK;
}

static enum core_err do_put(const struct words *words) {
    const char *expires = option(words, "expires"), *confidence = option(words, "confidence");
    struct enrich_item item = {.type = type_of(words->word[1]),
                               .value = core_span_of(words->word[2]),
                               .said = {.feed = words->word[3],
                                        .provider = words->word[4],
                                        .confidence_tenths = confidence == NULL ? -1 : atoi(confidence),
                                        .expires = expires == NULL ? 0 : atoll(expires),
                                        .description = option(words, "description"),
                                        .subdomains = has(words, "subdomains")}};
    return enrich_store_put(now.store, &item, &now.fail);
}

static enum core_err do_remove(const struct words *words) {
    return enrich_store_remove(now.store, type_of(words->word[1]), core_span_of(words->word[2]), words->word[3],
                               words->len > 4 ? words->word[4] : NULL, &now.fail);
}

/* The i-th generated indicator of a seed. */
static struct core_span made(unsigned seed, unsigned i, enum core_indicator *type, char out[64]) {
    unsigned n = seed * 16777216u + i;
    bool is_ip = i % 2 == 0;
    *type = is_ip ? CORE_INDICATOR_IP : CORE_INDICATOR_DOMAIN;
    int len = is_ip ? snprintf(out, 64, "%u.%u.%u.%u", 1 + (n >> 24) % 200, n >> 16 & 255, n >> 8 & 255, n & 255)
                    : snprintf(out, 64, "host%u.bad%u.example", i, seed);
    return (struct core_span){out, (size_t)len};
}

static enum core_err do_load(const struct words *words) {
    unsigned len = (unsigned)atoi(words->word[1]), seed = (unsigned)atoi(words->word[2]);
    enum core_err err = CORE_OK;
    int64_t start_ns = core_tick_ns();
    for (unsigned i = 0; i < len && err == CORE_OK; i++) {
        char text[64];
        struct enrich_item item = {.said = {.feed = "load",
                                            .provider = "generated",
                                            .confidence_tenths = (int)(i % 101),
                                            .tlp = "GREEN",
                                            .description = "malware download",
                                            .reference = "https://feed.example/item",
                                            .first_seen = 1700000000 + i % 1000,
                                            .expires = option(words, "expires") == NULL ? 0 : 1900000000}};
        item.value = made(seed, i, &item.type, text);
        err = enrich_store_put(now.store, &item, &now.fail);
    }
    err = err == CORE_OK ? enrich_store_flush(now.store, &now.fail) : err;
    printf("rate %.0f\n", len / ((double)(core_tick_ns() - start_ns) / 1e9));
    return err;
}

static enum core_err do_flush(const struct words *words) {
    (void)words;
    return enrich_store_flush(now.store, &now.fail);
}

static enum core_err do_allow(const struct words *words) {
    return enrich_store_allow(now.store, type_of(words->word[1]), core_span_of(words->word[2]),
                              strcmp(words->word[0], "allow") == 0, &now.fail);
}

static void found_print(const struct enrich_found *found) {
    printf("found %s %.*s", core_indicator_word(found->type), (int)found->value.len, found->value.ptr);
    for (size_t i = 0; i < found->providers_len; i++) {
        const struct enrich_provider *said = &found->providers[i];
        printf(" %s/%s:%d:%s%s", said->feed, said->provider, said->confidence_tenths,
               said->description == NULL ? "-" : said->description, said->subdomains ? ":subdomains" : "");
    }
    printf("\n");
}

static enum core_err do_connect(const struct words *words) {
    return store_connect(now.store, atoi(words->word[1]), &now.fail);
}

static enum core_err do_get(const struct words *words) {
    struct enrich_found found = {.type = type_of(words->word[2]), .value = core_span_of(words->word[3])};
    core_arena_reset(&now.arena, CORE_MIB);
    int64_t start_ns = core_tick_ns();
    enum core_err err = enrich_store_get(now.store, &found, 1, &now.arena, atoi(words->word[1]), &now.fail);
    printf("took_ms %" PRId64 "\n", (core_tick_ns() - start_ns) / CORE_NS_PER_MS);
    if (err == CORE_OK) {
        found_print(&found);
    }
    return err;
}

/* How many of N generated ones are there, asked 1000 at a time. */
static enum core_err do_gets(const struct words *words) {
    static char texts[1000][64];
    static struct enrich_found found[1000];
    unsigned len = (unsigned)atoi(words->word[2]), seed = (unsigned)atoi(words->word[3]), there = 0;
    enum core_err err = CORE_OK;
    int64_t start_ns = core_tick_ns();
    for (unsigned i = 0; i < len && err == CORE_OK; i += 1000) {
        unsigned some = len - i < 1000 ? len - i : 1000;
        for (unsigned j = 0; j < some; j++) {
            found[j].value = made(seed, i + j, &found[j].type, texts[j]);
        }
        core_arena_reset(&now.arena, 8 * CORE_MIB);
        err = enrich_store_get(now.store, found, some, &now.arena, atoi(words->word[1]), &now.fail);
        for (unsigned j = 0; j < some && err == CORE_OK; j++) {
            there += found[j].providers_len > 0;
        }
    }
    printf("there %u\nrate %.0f\n", there, len / ((double)(core_tick_ns() - start_ns) / 1e9));
    return err;
}

/* ---- what is told ------------------------------------------------------------------------------------------------------------ */

static struct {
    uint64_t adds, removes, allows;
    uint64_t pause_at;
    bool is_quiet;
} told;

static void on_add(void *ctx, enum core_indicator type, struct core_span value, bool subdomains) {
    (void)ctx;
    if (++told.adds == told.pause_at) {
        char line[64];
        printf("paused\n");
        MUST(fflush(stdout) == 0);
        MUST(fgets(line, sizeof line, stdin) != NULL);
    }
    if (!told.is_quiet) {
        printf("add %s %.*s%s\n", core_indicator_word(type), (int)value.len, value.ptr,
               subdomains ? " subdomains" : "");
    }
}

static void on_remove(void *ctx, enum core_indicator type, struct core_span value) {
    (void)ctx;
    told.removes++;
    printf("remove %s %.*s\n", core_indicator_word(type), (int)value.len, value.ptr);
}

static void on_allow(void *ctx, enum core_indicator type, struct core_span value, bool is_allowed) {
    (void)ctx;
    told.allows++;
    printf("%s %s %.*s\n", is_allowed ? "allow" : "unallow", core_indicator_word(type), (int)value.len, value.ptr);
}

static const struct store_changes calls = {.on_add = on_add, .on_remove = on_remove, .on_allow = on_allow};

static enum core_err do_build(const struct words *words) {
    memset(&told, 0, sizeof told);
    told.is_quiet = has(words, "quiet");
    int64_t start_ns = core_tick_ns();
    enum core_err err = store_build(now.store, &now.cursor, &calls, &now.fail);
    printf("adds %" PRIu64 "\ntook_ms %" PRId64 "\ncursor %s\n", told.adds,
           (core_tick_ns() - start_ns) / CORE_NS_PER_MS, now.cursor.id);
    return err;
}

static enum core_err do_now(const struct words *words) {
    (void)words;
    return store_now(now.store, &now.cursor, &now.fail);
}

static enum core_err do_follow(const struct words *words) {
    const char *pause_at = option(words, "pause_at");
    memset(&told, 0, sizeof told);
    told.is_quiet = has(words, "quiet");
    told.pause_at = pause_at == NULL ? 0 : strtoull(pause_at, NULL, 10);
    int64_t start_ns = core_tick_ns();
    enum core_err err = store_follow(now.store, &now.cursor, &calls, atoi(words->word[1]), &now.fail);
    printf("adds %" PRIu64 "\ntook_ms %" PRId64 "\n", told.adds, (core_tick_ns() - start_ns) / CORE_NS_PER_MS);
    if (err == CORE_AGAIN) {
        now.fail = (struct core_fail){.text = "nothing changed"};
    }
    return err;
}

static _Atomic bool is_over;

/* How often it was found. */
static void *get_on(void *ctx) {
    const struct words *words = ctx;
    static uint64_t times;
    struct core_arena own;
    struct core_fail why;
    MUST(core_arena_init(&own, CORE_MIB, &why) == CORE_OK);
    times = 0;
    while (!is_over) {
        struct enrich_found found = {.type = type_of(words->word[2]), .value = core_span_of(words->word[3])};
        core_arena_reset(&own, CORE_MIB);
        times += enrich_store_get(now.store, &found, 1, &own, 200, &why) == CORE_OK && found.providers_len > 0;
    }
    core_arena_destroy(&own);
    return &times;
}

static enum core_err do_both(const struct words *words) {
    pthread_t thread;
    void *times;
    int64_t end_ns = core_tick_ns() + atoi(words->word[1]) * CORE_NS_PER_MS;
    is_over = false;
    memset(&told, 0, sizeof told);
    told.is_quiet = true;
    MUST(pthread_create(&thread, NULL, get_on, (void *)words) == 0);
    enum core_err err = CORE_OK;
    while (core_tick_ns() < end_ns && (err == CORE_OK || err == CORE_AGAIN)) {
        err = store_build(now.store, &now.cursor, &calls, &now.fail);
        err = err == CORE_OK ? store_follow(now.store, &now.cursor, &calls, 10, &now.fail) : err;
    }
    is_over = true;
    MUST(pthread_join(thread, &times) == 0);
    printf("times %" PRIu64 "\nadds %" PRIu64 "\n", *(uint64_t *)times, told.adds);
    return err == CORE_AGAIN ? CORE_OK : err;
}

static enum core_err do_count(const struct words *words) {
    uint64_t items = 0;
    (void)words;
    enum core_err err = store_count(now.store, &items, &now.fail);
    printf("count %" PRIu64 "\n", items);
    return err;
}

static bool on_found(void *ctx, const struct enrich_found *found) {
    ++*(uint64_t *)ctx;
    if (!told.is_quiet) {
        found_print(found);
    }
    return true;
}

static enum core_err do_walk(const struct words *words) {
    uint64_t len = 0;
    told.is_quiet = has(words, "quiet");
    enum core_err err = enrich_store_walk(now.store, !has(words, "names"), on_found, &len, &now.fail);
    printf("walked %" PRIu64 "\n", len);
    return err;
}

static bool on_allowed(void *ctx, enum core_indicator type, struct core_span value) {
    on_allow(ctx, type, value, true);
    return true;
}

static enum core_err do_allowed(const struct words *words) {
    (void)words;
    return enrich_store_allowed(now.store, on_allowed, NULL, &now.fail);
}

/* ---- state, leases, sightings ------------------------------------------------------------------------------------------------- */

static enum core_err do_state_put(const struct words *words) {
    struct core_conf_list state;
    enum core_err err = store_state_get(now.store, words->word[1], &state, &now.fail);
    err = err == CORE_OK ? store_state_set(&state, words->word[2], words->len > 3 ? words->word[3] : NULL, &now.fail)
                         : err;
    err = err == CORE_OK ? store_state_put(now.store, words->word[1], &state, &now.fail) : err;
    store_state_release(&state);
    return err;
}

static enum core_err do_state_get(const struct words *words) {
    struct core_conf_list state;
    enum core_err err = store_state_get(now.store, words->word[1], &state, &now.fail);
    for (size_t i = 0; i < state.len; i++) {
        printf("state %s=%s\n", state.items[i].key, state.items[i].value);
    }
    store_state_release(&state);
    return err;
}

static enum core_err do_lease_take(const struct words *words) {
    return store_lease_take(now.store, words->word[1], atoi(words->word[2]) * CORE_NS_PER_MS, &now.lease, &now.fail);
}

static enum core_err do_lease_renew(const struct words *words) {
    return store_lease_renew(now.store, &now.lease, atoi(words->word[1]) * CORE_NS_PER_MS, &now.fail);
}

static enum core_err do_lease_give(const struct words *words) {
    (void)words;
    return store_lease_give(now.store, &now.lease, &now.fail);
}

static enum core_err do_seen(const struct words *words) {
    struct store_sighting seen = {.type = type_of(words->word[1]),
                                  .value = core_span_of(words->word[2]),
                                  .day = atoll(words->word[3]),
                                  .count = strtoull(words->word[4], NULL, 10)};
    return store_sightings_add(now.store, &seen, 1, words->len > 5 ? words->word[5] : NULL, &now.fail);
}

static bool on_sighting(void *ctx, const struct store_sighting *seen) {
    (void)ctx;
    printf("seen %s %.*s %" PRIu64 "\n", core_indicator_word(seen->type), (int)seen->value.len, seen->value.ptr,
           seen->count);
    return true;
}

static enum core_err do_seen_day(const struct words *words) {
    return store_sightings_walk(now.store, atoll(words->word[1]), on_sighting, NULL, &now.fail);
}

/* post cif|misp URL TOKEN VERSION TYPE VALUE ID COUNT … */
static enum core_err do_post(const struct words *words) {
    struct enrich_sighting sightings[4];
    struct core_conf_item version = {.key = "version", .value = (char *)words->word[4]};
    size_t len = 0, posted = 0;
    struct enrich_feed_conf feed = {.name = "server",
                                    .type = enrich_feed_type(words->word[1]),
                                    .url = (char *)words->word[2],
                                    .token = (char *)words->word[3],
                                    .timeout_ns = CORE_NS_PER_S * 5,
                                    .patience_ns = CORE_NS_PER_S};
    if (strcmp(words->word[4], "-") != 0) {
        feed.options = (struct core_conf_list){.items = &version, .len = 1};
    }
    for (size_t i = 5; i + 3 < words->len && len < 4; i += 4) {
        sightings[len++] =
            (struct enrich_sighting){.type = type_of(words->word[i]),
                                     .value = core_span_of(words->word[i + 1]),
                                     .id = strcmp(words->word[i + 2], "-") == 0 ? NULL : words->word[i + 2],
                                     .count = strtoull(words->word[i + 3], NULL, 10),
                                     .last_s = 1700000000};
    }
    enum core_err err = enrich_sightings_post(&feed, sightings, len, &posted, &now.fail);
    printf("posted %zu\n", posted);
    return err;
}

static const struct {
    const char *name;
    size_t words_min;
    enum core_err (*run)(const struct words *words);
} commands[] = {
    {"open", 2, do_open},
    {"close", 1, do_close},
    {"put", 5, do_put},
    {"remove", 4, do_remove},
    {"load", 3, do_load},
    {"flush", 1, do_flush},
    {"allow", 3, do_allow},
    {"unallow", 3, do_allow},
    {"connect", 2, do_connect},
    {"get", 4, do_get},
    {"gets", 4, do_gets},
    {"now", 1, do_now},
    {"build", 1, do_build},
    {"follow", 2, do_follow},
    {"both", 4, do_both},
    {"count", 1, do_count},
    {"walk", 1, do_walk},
    {"allowed", 1, do_allowed},
    {"state_put", 3, do_state_put},
    {"state_get", 2, do_state_get},
    {"lease_take", 3, do_lease_take},
    {"lease_renew", 2, do_lease_renew},
    {"lease_give", 1, do_lease_give},
    {"seen", 5, do_seen},
    {"seen_day", 2, do_seen_day},
    {"post", 9, do_post},
};

static void run(char *line) {
    static const char *const errors[] = {"OK", "AGAIN", "GONE", "IO", "BAD", "LIMIT", "LOCKED", "NET"};
    struct words words = {.len = 0};
    for (char *word = strtok(line, " \n"); word != NULL && words.len < WORDS_MAX; word = strtok(NULL, " \n")) {
        words.word[words.len++] = word;
    }
    for (size_t i = 0; words.len > 0 && i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, words.word[0]) == 0 && words.len >= commands[i].words_min) {
            now.fail = (struct core_fail){0};
            enum core_err err = commands[i].run(&words);
            if (err == CORE_OK && now.store != NULL) {
                printf("OK put=%" PRIu64 " same=%" PRIu64 " removed=%" PRIu64 " refused=%" PRIu64 "\n", now.store->put,
                       now.store->same, now.store->removed, now.store->refused);
            } else {
                printf("%s %s: %s\n", errors[err], now.fail.where, now.fail.text);
            }
            return;
        }
    }
    printf("BAD no such command\n");
}

int main(void) {
    static char line[64 * 1024];
    MUST(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    MUST(core_arena_init(&now.arena, ARENA_BYTES, &now.fail) == CORE_OK);
    while (fgets(line, sizeof line, stdin) != NULL) {
        run(line);
        fflush(stdout);
    }
    enrich_store_close(now.store);
    return 0;
}
