/* tests/unit/enrich_match_test.c: filter and store give the answers that a plain scan over all indicators gives: for a
 * million random observables of all types and forms, with networks, parents and an allow-list, while indicators come, go and
 * expire; and the filter is wrong in fewer than 1 of 10^4 events.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/enrich_store_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <ctype.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define OBSERVABLES 100000 /* a sanitizer is slow, and looks for other mistakes */
#define MANY_ITEMS 100000
#else
#define OBSERVABLES 1000000
#define MANY_ITEMS 1000000
#endif
#define ITEMS 360
#define EVENTS 2000

static uint64_t seed = 7;

static uint32_t random_below(uint32_t limit) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed >> 33) % limit);
}

/* ---- a small world of things -------------------------------------------------------------------------------------------------- */

/* What it is, and how it is written. bits: of a network. */
struct thing {
    enum core_indicator type;
    bool is_v6;
    unsigned bits;
    unsigned char address[16];
    char text[128]; /* canonical */
};

static void address_random(struct thing *thing) {
    memset(thing->address, 0, sizeof thing->address);
    thing->is_v6 = random_below(3) == 0;
    thing->bits = thing->is_v6 ? 128 : 32;
    if (thing->is_v6) {
        static const unsigned char head[] = {0x20, 0x01, 0x0d, 0xb8};
        memcpy(thing->address, head, sizeof head);
        thing->address[5] = (unsigned char)random_below(2);
        thing->address[9] = (unsigned char)random_below(2);
        thing->address[15] = (unsigned char)(1 + random_below(40));
    } else {
        thing->address[0] = 10;
        thing->address[2] = (unsigned char)random_below(3);
        thing->address[3] = (unsigned char)random_below(80);
    }
    assert_non_null(inet_ntop(thing->is_v6 ? AF_INET6 : AF_INET, thing->address, thing->text, sizeof thing->text));
}

static void network_random(struct thing *thing) {
    address_random(thing);
    thing->type = CORE_INDICATOR_CIDR;
    unsigned bits = thing->is_v6 ? 90 + random_below(38) : 25 + random_below(7);
    for (unsigned bit = bits; bit < thing->bits; bit++) {
        thing->address[bit / 8] &= (unsigned char)~(0x80 >> bit % 8);
    }
    thing->bits = bits;
    assert_non_null(inet_ntop(thing->is_v6 ? AF_INET6 : AF_INET, thing->address, thing->text, sizeof thing->text));
    char slash[8];
    assert_true(snprintf(slash, sizeof slash, "/%u", bits) > 0);
    strcat(thing->text, slash);
}

static void domain_random(char *text) {
    text[0] = '\0';
    for (uint32_t labels = random_below(4); labels > 0; labels--) {
        static const char *const names[] = {"a.", "b.", "cc."};
        strcat(text, names[random_below(3)]);
    }
    strcat(text, random_below(2) == 0 ? "evil.example" : "example");
}

static void hash_random(struct thing *thing, size_t len) {
    static const char digits[] = "0123456789abcdef";
    uint32_t n = random_below(40);
    for (size_t i = 0; i < len; i++) {
        thing->text[i] = digits[(n * 7 + i) % 16];
    }
    thing->text[len] = '\0';
}

static void thing_random(struct thing *thing, enum core_indicator type) {
    char domain[64];
    *thing = (struct thing){.type = type};
    domain_random(domain);
    switch (type) {
    case CORE_INDICATOR_IP:
        address_random(thing);
        break;
    case CORE_INDICATOR_CIDR:
        network_random(thing);
        break;
    case CORE_INDICATOR_DOMAIN:
        strcpy(thing->text, domain);
        break;
    case CORE_INDICATOR_URL:
        assert_true(snprintf(thing->text, sizeof thing->text, "%s/%c", domain, (char)('A' + random_below(5))) > 0);
        break;
    case CORE_INDICATOR_EMAIL:
        assert_true(snprintf(thing->text, sizeof thing->text, "%c@%s", (char)('a' + random_below(3)), domain) > 0);
        break;
    case CORE_INDICATOR_FILE_HASH:
    case CORE_INDICATOR_CERT_HASH:
        hash_random(thing, random_below(2) == 0 ? 32 : 40);
        break;
    case CORE_INDICATOR_JA3:
        hash_random(thing, 32);
        break;
    case CORE_INDICATOR_PUBKEY_HASH:
        for (size_t i = 0; i < 16; i++) {
            memcpy(thing->text + 3 * i, i == 0 ? (random_below(2) == 0 ? "aa:" : "bb:") : "0f:", 4);
        }
        thing->text[47] = '\0';
        break;
    default:
        assert_true(snprintf(thing->text, sizeof thing->text, "Name %u", random_below(50)) > 0);
    }
}

/* The same, written as somebody else writes it. */
static void write_otherwise(const struct thing *thing, char *out) {
    strcpy(out, thing->text);
    uint32_t way = random_below(4);
    if (thing->type == CORE_INDICATOR_IP && thing->is_v6 && way == 0) {
        size_t len = 0;
        for (size_t i = 0; i < 16; i += 2) {
            len +=
                (size_t)sprintf(out + len, "%s%02X%02X", i == 0 ? "" : ":", thing->address[i], thing->address[i + 1]);
        }
    } else if (thing->type == CORE_INDICATOR_IP && !thing->is_v6 && way == 0) {
        sprintf(out, "::ffff:%s", thing->text);
    } else if (thing->type == CORE_INDICATOR_DOMAIN && way < 2) {
        strcat(out, way == 0 ? "." : "");
        out[0] = (char)toupper((unsigned char)out[0]);
    } else if (thing->type == CORE_INDICATOR_URL && way < 2) {
        sprintf(out, "%s%s", way == 0 ? "http://" : "HTTPS://", thing->text);
    } else if (thing->type == CORE_INDICATOR_EMAIL && way < 2) {
        sprintf(out, way == 0 ? "X <%s>" : " %s", thing->text);
    } else if ((thing->type == CORE_INDICATOR_FILE_HASH || thing->type == CORE_INDICATOR_JA3) && way == 0) {
        for (char *c = out; *c != '\0'; c++) {
            *c = (char)toupper((unsigned char)*c);
        }
    }
}

/* ---- the plain scan ----------------------------------------------------------------------------------------------------------- */

static bool is_below(const char *name, const char *parent) {
    size_t name_len = strlen(name);
    size_t len = strlen(parent);
    return name_len > len && strcmp(name + name_len - len, parent) == 0 && name[name_len - len - 1] == '.';
}

static bool is_inside(const struct thing *address, const struct thing *network) {
    if (address->is_v6 != network->is_v6) {
        return false;
    }
    for (unsigned bit = 0; bit < network->bits; bit++) {
        if (((address->address[bit / 8] ^ network->address[bit / 8]) & (0x80 >> bit % 8)) != 0) {
            return false;
        }
    }
    return true;
}

struct item {
    struct thing thing;
    unsigned said; /* as it is now */
};

static struct item items[ITEMS];
static struct thing allowed[40];
static bool allowed_is[40];

/* How many providers' words the observable is worth; ids get each indicator's key, one a line. */
static size_t scan(const struct thing *seen, char *ids) {
    size_t count = 0;
    ids[0] = '\0';
    for (size_t i = 0; i < 40; i++) {
        const struct thing *one = &allowed[i];
        bool is_it = one->type == seen->type && strcmp(one->text, seen->text) == 0;
        bool is_in = one->type == CORE_INDICATOR_CIDR && seen->type == CORE_INDICATOR_IP && is_inside(seen, one);
        bool is_under = one->type == CORE_INDICATOR_DOMAIN && seen->type == CORE_INDICATOR_DOMAIN &&
                        is_below(seen->text, one->text);
        if (allowed_is[i] && (is_it || is_in || is_under)) {
            return 0;
        }
    }
    for (size_t i = 0; i < ITEMS; i++) {
        const struct thing *one = &items[i].thing;
        unsigned said = items[i].said;
        size_t words = 0;
        if (one->type == seen->type && strcmp(one->text, seen->text) == 0) {
            words = (said & FAKE_A) + (said >> 1);
        } else if (one->type == CORE_INDICATOR_CIDR && seen->type == CORE_INDICATOR_IP && is_inside(seen, one)) {
            words = (said & FAKE_A) + (said >> 1);
        } else if (one->type == CORE_INDICATOR_DOMAIN && seen->type == CORE_INDICATOR_DOMAIN &&
                   is_below(seen->text, one->text)) {
            words = said >> 1; /* b alone means subdomains */
        }
        if (words > 0) {
            char *end = ids + strlen(ids);
            sprintf(end, "\"id\":\"%s:%s\"\n", core_indicator_word(one->type), one->text);
        }
        count += words;
    }
    return count;
}

/* ---- the stage's work ---------------------------------------------------------------------------------------------------------- */

#define DOC "{\"@timestamp\":\"2026-11-21T02:58:51.600824Z\",\"zeek\":{}}"

struct rig {
    struct fake_world *world;
    struct follower follower;
    struct core_counters counters;
    struct match match;
    struct core_batch batch;
    struct core_event events[EVENTS];
    struct core_observable observables[EVENTS];
    char texts[EVENTS][160];
    struct thing things[EVENTS];
    uint64_t counts[CORE_COUNT__MAX];
};

static struct rig *rig_open(size_t items_max) {
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    rig->world = fake_world_new(items_max);
    rig->batch = (struct core_batch){.magic = CORE_BATCH_MAGIC, .events = rig->events, .events_len = EVENTS};
    assert_int_equal(core_arena_init(&rig->batch.arena, CORE_ARENA_BYTES, NULL), CORE_OK);
    assert_int_equal(match_open(&rig->match, NULL), CORE_OK);
    return rig;
}

static void rig_follow(struct rig *rig) {
    rig->follower.opener = (struct follower_opener){.open = fake_open, .ctx = rig->world, .opens_twice = true};
    rig->follower.counters = &rig->counters;
    assert_int_equal(follower_start(&rig->follower, NULL), CORE_OK);
    fake_settle(rig->world);
}

static void rig_close(struct rig *rig) {
    follower_stop(&rig->follower);
    core_arena_destroy(&rig->batch.arena);
    match_close(&rig->match);
    fake_world_free(rig->world);
    free(rig);
}

static void rig_events(struct rig *rig) {
    core_arena_reset(&rig->batch.arena, CORE_ARENA_KEEP_BYTES);
    for (size_t i = 0; i < EVENTS; i++) {
        enum core_indicator type = CORE_INDICATOR_CIDR;
        while (type == CORE_INDICATOR_CIDR) { /* never an observable */
            type = (enum core_indicator)(1 + random_below(CORE_INDICATOR__MAX - 1));
        }
        type = random_below(2) == 0 ? (random_below(2) == 0 ? CORE_INDICATOR_IP : CORE_INDICATOR_DOMAIN) : type;
        thing_random(&rig->things[i], type);
        write_otherwise(&rig->things[i], rig->texts[i]);
        rig->observables[i] = (struct core_observable){
            .ptr = rig->texts[i], .field = "field", .len = (uint32_t)strlen(rig->texts[i]), .type = (uint8_t)type};
        rig->events[i] =
            (struct core_event){.doc = CORE_SPAN(DOC), .observables = &rig->observables[i], .observables_len = 1};
    }
}

static void rig_match(struct rig *rig) {
    struct core_fail fail;
    const struct view *view = view_take(&rig->follower.door);
    assert_non_null(view);
    match_look(&rig->match, view, &rig->batch);
    match_keys(&rig->match, view->allow);
    assert_int_equal(match_ask(&rig->match, atomic_load(&rig->follower.store), 1000, &fail), CORE_OK);
    match_write(&rig->match);
    view_leave(&rig->follower.door);
    for (int i = 0; i < CORE_COUNT__MAX; i++) {
        rig->counts[i] += rig->match.counts[i];
    }
}

static size_t times_in(const char *text, const char *word) {
    size_t times = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += strlen(word)) {
        times++;
    }
    return times;
}

static void check_event(const struct rig *rig, size_t at) {
    static char ids[65536];
    static char doc[1 << 20];
    const struct thing *seen = &rig->things[at];
    size_t words = scan(seen, ids);
    assert_true(rig->events[at].doc.len < sizeof doc);
    memcpy(doc, rig->events[at].doc.ptr, rig->events[at].doc.len);
    doc[rig->events[at].doc.len] = '\0';
    size_t matched = times_in(doc, "\"matched\":{");
    if (matched != words) {
        fail_msg("%s \"%s\" (%s): %zu matches, a scan finds %zu:\n%s%s", core_indicator_word(seen->type),
                 rig->texts[at], seen->text, matched, words, ids, doc);
    }
    for (char *id = ids; *id != '\0';) {
        char *end = strchr(id, '\n');
        *end = '\0';
        if (strstr(doc, id) == NULL) {
            fail_msg("%s is not in %s", id, doc);
        }
        id = end + 1;
    }
}

static void world_random(struct rig *rig) {
    for (size_t i = 0; i < ITEMS; i++) {
        bool is_new = false;
        while (!is_new) {
            thing_random(&items[i].thing, (enum core_indicator)(1 + random_below(CORE_INDICATOR__MAX - 1)));
            is_new = true;
            for (size_t k = 0; k < i; k++) {
                is_new = is_new && (items[k].thing.type != items[i].thing.type ||
                                    strcmp(items[k].thing.text, items[i].thing.text) != 0);
            }
            thing_random(&items[i].thing, is_new ? items[i].thing.type : CORE_INDICATOR_IP);
            for (size_t k = 0; k < i; k++) {
                is_new = is_new && (items[k].thing.type != items[i].thing.type ||
                                    strcmp(items[k].thing.text, items[i].thing.text) != 0);
            }
        }
        items[i].said = i % 2 == 0 ? 1 + random_below(3) : FAKE_NOBODY;
        if (items[i].said != FAKE_NOBODY) {
            fake_say(rig->world, items[i].thing.type, items[i].thing.text, items[i].said);
        }
    }
    for (size_t i = 0; i < 40; i++) {
        static const enum core_indicator types[] = {CORE_INDICATOR_IP, CORE_INDICATOR_CIDR, CORE_INDICATOR_DOMAIN};
        thing_random(&allowed[i], types[i % 3]);
        bool is_wide = (allowed[i].type == CORE_INDICATOR_CIDR && allowed[i].bits < (allowed[i].is_v6 ? 120 : 28)) ||
                       (allowed[i].type == CORE_INDICATOR_DOMAIN && strlen(allowed[i].text) < 14);
        allowed_is[i] = i % 2 == 0 && !is_wide; /* or it would silence nearly all */
        if (allowed_is[i]) {
            fake_allow(rig->world, allowed[i].type, allowed[i].text, true);
        }
    }
}

/* Some come, some go, some expire, some are said by others. */
static void world_change(struct rig *rig) {
    for (size_t i = 0; i < ITEMS / 20; i++) {
        struct item *item = &items[random_below(ITEMS)];
        uint32_t what = random_below(4);
        if (what == 0 && item->said != FAKE_NOBODY) {
            fake_expire(rig->world, item->thing.type, item->thing.text);
            item->said = FAKE_NOBODY;
        } else {
            item->said = what == 1 ? FAKE_NOBODY : 1 + random_below(3);
            fake_say(rig->world, item->thing.type, item->thing.text, item->said);
        }
    }
    size_t at = 2 * random_below(20);
    bool is_wide = (allowed[at].type == CORE_INDICATOR_CIDR && allowed[at].bits < (allowed[at].is_v6 ? 120 : 28)) ||
                   (allowed[at].type == CORE_INDICATOR_DOMAIN && strlen(allowed[at].text) < 14);
    if (!is_wide) {
        allowed_is[at] = !allowed_is[at];
        fake_allow(rig->world, allowed[at].type, allowed[at].text, allowed_is[at]);
    }
}

static void test_the_same_as_a_plain_scan(void **state) {
    (void)state;
    struct rig *rig = rig_open(4 * ITEMS);
    world_random(rig);
    rig_follow(rig);
    for (size_t done = 0; done < OBSERVABLES; done += EVENTS) {
        if (done % (25 * EVENTS) == 0 && done > 0) {
            world_change(rig);
            fake_settle(rig->world);
        }
        rig_events(rig);
        rig_match(rig);
        for (size_t i = 0; i < EVENTS; i++) {
            check_event(rig, i);
        }
    }
    print_message("%llu hits in %d observables, %llu silenced, %u builds\n",
                  (unsigned long long)rig->counts[CORE_COUNT_ENRICH_HITS], OBSERVABLES,
                  (unsigned long long)rig->counts[CORE_COUNT_ENRICH_ALLOWED], atomic_load(&rig->world->builds));
    assert_true(rig->counts[CORE_COUNT_ENRICH_HITS] > OBSERVABLES / 20);
    assert_true(rig->counts[CORE_COUNT_ENRICH_ALLOWED] > OBSERVABLES / 1000);
    assert_true(rig->counts[CORE_COUNT_ENRICH_FILTER_FALSE] > 0); /* of what went or expired */
    rig_close(rig);
}

/* ---- while others change it ---------------------------------------------------------------------------------------------------- */

static _Atomic bool is_over;

/* Every third comes and goes all the time; the others stay as they are. */
static void *churn(void *arg) {
    struct fake_world *world = arg;
    uint64_t own = 1;
    while (!atomic_load(&is_over)) {
        own = own * UINT64_C(6364136223846793005) + 1;
        size_t at = (size_t)(own >> 33) % (ITEMS / 3) * 3;
        const struct thing *thing = &items[at].thing;
        if ((own >> 60) == 0 && (own >> 20) % 64 == 0) {
            fake_flush(world); /* as after FLUSHALL: all is built again */
        }
        fake_say(world, thing->type, thing->text, (own >> 50) % 4);
        fake_sleep_us(100);
    }
    return NULL;
}

/* Those that stay are found at every moment, whatever is built and published meanwhile; those that never were are not. */
static void test_what_stays_is_always_found(void **state) {
    (void)state;
    struct rig *rig = rig_open(4 * ITEMS);
    pthread_t thread;
    world_random(rig);
    for (size_t i = 0; i < 40; i++) {
        fake_allow(rig->world, allowed[i].type, allowed[i].text, false);
        allowed_is[i] = false;
    }
    rig_follow(rig);
    atomic_store(&is_over, false);
    assert_int_equal(pthread_create(&thread, NULL, churn, rig->world), 0);
    int64_t start = core_tick_ns();
    size_t found = 0;
    size_t looked = 0;
    while (core_tick_ns() - start < 4 * CORE_NS_PER_S || atomic_load(&rig->world->builds) <= 2) {
        assert_true(core_tick_ns() - start < 150 * CORE_NS_PER_S);
        rig_events(rig);
        rig_match(rig);
        for (size_t i = 0; i < EVENTS; i++, looked++) {
            for (size_t k = 0; k < ITEMS; k++) {
                const struct item *item = &items[k];
                if (k % 3 != 0 && item->thing.type == rig->things[i].type &&
                    strcmp(item->thing.text, rig->things[i].text) == 0) {
                    char id[256];
                    sprintf(id, "\"id\":\"%s:%s\"", core_indicator_word(item->thing.type), item->thing.text);
                    bool is_there = memmem(rig->events[i].doc.ptr, rig->events[i].doc.len, id, strlen(id)) != NULL;
                    assert_int_equal(is_there, item->said != FAKE_NOBODY);
                    found += is_there;
                }
            }
        }
    }
    atomic_store(&is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    print_message("%zu of %zu observables named by what stayed, %u builds meanwhile\n", found, looked,
                  atomic_load(&rig->world->builds));
    assert_true(found > 0);
    rig_close(rig);
}

/* ---- how often the filter is wrong -------------------------------------------------------------------------------------------- */

/* A million indicators, ten lengths of networks, domains with subdomains; a million events with two addresses and a name,
 * none of which is an indicator. */
static void test_the_filter_is_hardly_ever_wrong(void **state) {
    (void)state;
    struct probe_use use = {0};
    struct filter *filter;
    char text[64];
    assert_int_equal(filter_new(&filter, MANY_ITEMS, NULL), CORE_OK);
    for (uint32_t i = 0; i < MANY_ITEMS; i++) {
        struct core_span value = {text, 0};
        enum core_indicator type = i % 4 == 0 ? CORE_INDICATOR_DOMAIN : CORE_INDICATOR_IP;
        if (type == CORE_INDICATOR_DOMAIN) {
            value.len = (size_t)sprintf(text, "h%u.evil%u.example", i, i % 7);
        } else if (i % 50 == 1) {
            type = CORE_INDICATOR_CIDR;
            const uint64_t address = UINT64_C(150) << 24 | (i * 4001 & 0xffffff); /* no event has such an address */
            value =
                network_text(network_of((struct network){.high = address << 32, .bits = 32}, 16 + i / 50 % 10), text);
        } else {
            value.len = (size_t)sprintf(text, "%u.%u.%u.%u", 1 + i % 100, i >> 16 & 255, i >> 8 & 255, i & 255);
        }
        assert_true(probe_add(&use, filter, type, value, i % 8 == 0));
    }
    struct probe_used used = probe_used_of(&use);
    used.use = NULL; /* the worst case: every address is near a network, and asks for all lengths */
    size_t wrong = 0;
    size_t asked = 0;
    for (uint32_t i = 0; i < MANY_ITEMS; i++) {
        static const enum core_indicator types[] = {CORE_INDICATOR_IP, CORE_INDICATOR_IP, CORE_INDICATOR_DOMAIN};
        for (size_t k = 0; k < 3; k++) {
            size_t len = k == 2
                             ? (size_t)sprintf(text, "www.h%u.good%u.example.net", i, i % 11)
                             : (size_t)sprintf(text, "2%zu%u.%u.%u.%u", k, i % 5, i >> 16 & 255, i >> 8 & 255, i & 255);
            const struct core_observable seen = {text, "f", (uint32_t)len, (uint8_t)types[k]};
            struct probe probes[PROBES_MAX];
            size_t probes_len = probe_make(&seen, &used, probes);
            for (size_t p = 0; p < probes_len; p++) {
                wrong += filter_has(filter, probes[p].hash);
            }
            asked += probes_len;
        }
    }
    print_message("%zu wrong answers in %d events, %zu questions\n", wrong, MANY_ITEMS, asked);
    assert_true(asked > 10 * (size_t)MANY_ITEMS);
    assert_true(wrong * 10000 < MANY_ITEMS);
    filter_free(filter);
}

/* ---- what does not fit ------------------------------------------------------------------------------------------------------------ */

static bool doc_has(const struct core_event *event, const char *text) {
    return memmem(event->doc.ptr, event->doc.len, text, strlen(text)) != NULL;
}

#define PARTIAL "\"labels\":{\"intel\":\"partial\"}"

/* A batch of long documents of which each is a hit, and an arena with room for hardly more than to mark them. */
static void test_an_arena_that_is_full(void **state) {
    (void)state;
    static const size_t doc_bytes = 16000;
    struct rig *rig = rig_open(1000);
    fake_say(rig->world, CORE_INDICATOR_USER, "eve", FAKE_BOTH);
    rig_follow(rig);
    struct core_arena *arena = &rig->batch.arena;
    const size_t cap = arena->cap;
    static const struct core_observable eve = {"eve", "user.name", 3, CORE_INDICATOR_USER};
    static const size_t mores[] = {0, 300, 1000}; /* bytes that each document may have beyond its mark */
    for (size_t k = 0; k < sizeof mores / sizeof mores[0]; k++) {
        const size_t more = mores[k];
        core_arena_reset(arena, 0);
        arena->cap = cap;
        for (size_t i = 0; i < EVENTS; i++) {
            char *doc = core_arena_alloc(arena, doc_bytes);
            memset(doc, 'x', doc_bytes);
            memcpy(doc, "{\"a\":\"", 6);
            memcpy(doc + doc_bytes - 2, "\"}", 2);
            rig->events[i] = (struct core_event){.doc = {doc, doc_bytes}, .observables = &eve, .observables_len = 1};
        }
        arena->cap = arena->used + THREAT_ARENA_RESERVE + EVENTS * (doc_bytes + THREAT_MARK_BYTES_MAX + more);
        uint64_t partial = 0;
        memset(rig->counts, 0, sizeof rig->counts);
        rig_match(rig);
        for (size_t i = 0; i < EVENTS; i++) {
            assert_true(doc_has(&rig->events[i], "\"tags\":[\"intel_match\"]"));
            assert_int_equal(doc_has(&rig->events[i], PARTIAL), !doc_has(&rig->events[i], "\"enrichments\""));
            partial += doc_has(&rig->events[i], PARTIAL);
        }
        assert_true(more == 0 ? partial == EVENTS : more == 1000 ? partial == 0 : partial > 0 && partial < EVENTS);
        assert_int_equal(rig->counts[CORE_COUNT_ENRICH_PARTIAL], partial);
        assert_int_equal(rig->counts[CORE_COUNT_ENRICH_ENRICHMENTS_LEFT], 2 * partial);
        assert_int_equal(rig->counts[CORE_COUNT_ENRICH_NO_ROOM], 0);
        assert_int_equal(rig->counts[CORE_COUNT_ENRICH_EVENTS], EVENTS);
        assert_true(arena->used + THREAT_ARENA_RESERVE <= arena->cap);
    }
    arena->cap = cap;
    rig_close(rig);
}

/* More possible hits than a batch may have; a record with more observables than are looked at; one that is too long. Each is
 * counted, and each event says so. */
static void test_what_was_not_looked_at_is_marked(void **state) {
    (void)state;
    enum { OBSERVED = 40 };
    static struct core_observable eve[OBSERVED];
    static char long_text[ENRICH_VALUE_BYTES_MAX + 1];
    memset(long_text, 'x', sizeof long_text);
    for (size_t i = 0; i < OBSERVED; i++) {
        eve[i] = (struct core_observable){"eve", "user.name", 3, CORE_INDICATOR_USER};
    }
    static const struct core_observable bob = {"bob", "user.name", 3, CORE_INDICATOR_USER};
    static const struct core_observable longer = {long_text, "user.name", sizeof long_text, CORE_INDICATOR_USER};
    struct rig *rig = rig_open(1000);
    fake_say(rig->world, CORE_INDICATOR_USER, "eve", FAKE_A);
    rig_follow(rig);
    for (size_t i = 0; i < EVENTS; i++) {
        rig->events[i] = (struct core_event){.doc = CORE_SPAN(DOC), .observables = eve, .observables_len = OBSERVED};
    }
    rig->events[0] = (struct core_event){.doc = CORE_SPAN(DOC), .observables_left = 3}; /* normalize had no room */
    rig->events[1] = (struct core_event){.doc = CORE_SPAN(DOC), .observables = &bob, .observables_len = 1};
    rig->events[2] =
        (struct core_event){.doc = CORE_SPAN(DOC), .observables = &bob, .observables_len = 1, .observables_left = 9};
    rig->events[3] = (struct core_event){.doc = CORE_SPAN(DOC), .observables = &longer, .observables_len = 1};
    rig_match(rig);
    const size_t full = MATCH_POSSIBLE_MAX / OBSERVED; /* events all of whose observables were looked at */
    for (size_t i = 4; i < EVENTS; i++) {
        assert_int_equal(doc_has(&rig->events[i], PARTIAL), i - 4 >= full);
        assert_int_equal(doc_has(&rig->events[i], "intel_match"), (i - 4) * OBSERVED < MATCH_POSSIBLE_MAX);
    }
    assert_true(doc_has(&rig->events[0], PARTIAL) && !doc_has(&rig->events[0], "intel_match"));
    assert_true(core_span_is(rig->events[1].doc, DOC));
    assert_true(doc_has(&rig->events[2], PARTIAL) && doc_has(&rig->events[3], PARTIAL));
    assert_int_equal(rig->counts[CORE_COUNT_ENRICH_OBSERVABLES_LEFT],
                     3 + 9 + 1 + (EVENTS - 4) * OBSERVED - MATCH_POSSIBLE_MAX);
    assert_int_equal(rig->counts[CORE_COUNT_ENRICH_PARTIAL], 3 + EVENTS - 4 - full);
    rig_close(rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_as_a_plain_scan),         cmocka_unit_test(test_what_stays_is_always_found),
        cmocka_unit_test(test_the_filter_is_hardly_ever_wrong),  cmocka_unit_test(test_an_arena_that_is_full),
        cmocka_unit_test(test_what_was_not_looked_at_is_marked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
