/* tests/unit/enrich_follower_test.c: the filter is built, follows, is built again when it must be, and what was said of an
 * indicator is in effect while it is; the store away, and back; an end at any time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/enrich_store_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct rig {
    struct fake_world *world;
    struct follower follower;
    struct core_counters counters;
};

static struct rig *rig_new(size_t items_max) {
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    rig->world = fake_world_new(items_max);
    rig->follower.opener = (struct follower_opener){.open = fake_open, .ctx = rig->world, .opens_twice = true};
    rig->follower.counters = &rig->counters;
    return rig;
}

static void rig_start(struct rig *rig) {
    assert_int_equal(follower_start(&rig->follower, NULL), CORE_OK);
}

static void rig_close(struct rig *rig) {
    follower_stop(&rig->follower);
    fake_world_free(rig->world);
    free(rig);
}

/* Does the filter in use let this name through? */
static bool is_possible(struct rig *rig, const char *user) {
    const struct view *view = view_take(&rig->follower.door);
    bool has =
        view != NULL && filter_has(view->filter, probe_hash(CORE_INDICATOR_USER, PROBE_EXACT, core_span_of(user)));
    view_leave(&rig->follower.door);
    return has;
}

static bool is_allowed(struct rig *rig, const char *domain) {
    const struct view *view = view_take(&rig->follower.door);
    bool has = view != NULL && allow_has(view->allow, CORE_INDICATOR_DOMAIN, core_span_of(domain));
    view_leave(&rig->follower.door);
    return has;
}

static void say_many(struct rig *rig, const char *name, size_t from, size_t to, unsigned said) {
    char text[64];
    for (size_t i = from; i < to; i++) {
        assert_true(snprintf(text, sizeof text, "%s%zu", name, i) > 0);
        fake_say(rig->world, CORE_INDICATOR_USER, text, said);
    }
}

static int stderr_before = -1;
static char log_path[64];

static void log_catch(void) {
    (void)snprintf(log_path, sizeof log_path, "/tmp/tapline-follower-XXXXXX");
    int fd = mkstemp(log_path);
    assert_true(fd >= 0);
    stderr_before = dup(STDERR_FILENO);
    assert_true(stderr_before >= 0);
    assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(close(fd), 0);
}

/* How often it was said until now. */
static unsigned said(const char *words) {
    static char text[64 * 1024];
    int fd = open(log_path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t len = read(fd, text, sizeof text - 1);
    assert_true(len >= 0);
    assert_int_equal(close(fd), 0);
    text[len] = '\0';
    unsigned times = 0;
    for (const char *at = text; (at = strstr(at, words)) != NULL; at++) {
        times++;
    }
    return times;
}

static void log_let_go(void) {
    core_log_flush();
    assert_int_equal(dup2(stderr_before, STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(close(stderr_before), 0);
    assert_int_equal(unlink(log_path), 0);
}

static unsigned builds(struct rig *rig) {
    return (unsigned)core_counted(&rig->counters, CORE_COUNT_ENRICH_BUILDS);
}

static void test_built_then_followed(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 100, FAKE_A);
    fake_allow(rig->world, CORE_INDICATOR_DOMAIN, "good.example", true);
    assert_true(follower_behind_ns(&rig->follower) == INT64_MAX);
    rig_start(rig);
    fake_settle(rig->world);
    assert_true(is_possible(rig, "u0") && is_possible(rig, "u99"));
    assert_false(is_possible(rig, "u100"));
    assert_true(is_allowed(rig, "www.good.example"));
    assert_int_equal(atomic_load(&rig->follower.indicators), 100);
    assert_true(atomic_load(&rig->follower.bytes) > 0);
    assert_true(follower_behind_ns(&rig->follower) < 5 * CORE_NS_PER_S);
    fake_say(rig->world, CORE_INDICATOR_USER, "u100", FAKE_A);
    fake_allow(rig->world, CORE_INDICATOR_DOMAIN, "good.example", false);
    fake_allow(rig->world, CORE_INDICATOR_DOMAIN, "better.example", true);
    fake_settle(rig->world);
    assert_true(is_possible(rig, "u100"));
    assert_false(is_allowed(rig, "www.good.example"));
    assert_true(is_allowed(rig, "better.example"));
    assert_int_equal(builds(rig), 1);
    rig_close(rig);
}

/* A view that is held is not freed, however many follow; the sanitizer looks. */
static void test_a_held_view_stays(void **state) {
    (void)state;
    static const char *const names[] = {"a.example", "b.example", "c.example", "d.example"};
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 10, FAKE_A);
    rig_start(rig);
    fake_settle(rig->world);
    const struct view *view = view_take(&rig->follower.door);
    for (size_t i = 0; i < 3 * VIEWS_RETIRED_MAX; i++) {
        fake_allow(rig->world, CORE_INDICATOR_DOMAIN, names[i % 4], i % 8 < 4);
        fake_settle(rig->world);
    }
    assert_true(filter_has(view->filter, probe_hash(CORE_INDICATOR_USER, PROBE_EXACT, CORE_SPAN("u3"))));
    assert_false(allow_has(view->allow, CORE_INDICATOR_DOMAIN, CORE_SPAN("a.example")));
    view_leave(&rig->follower.door);
    fake_allow(rig->world, CORE_INDICATOR_DOMAIN, "d.example", true);
    EVENTUALLY(is_allowed(rig, "d.example"));
    rig_close(rig);
}

static void test_another_epoch_builds_again(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 10, FAKE_A);
    rig_start(rig);
    fake_settle(rig->world);
    fake_flush(rig->world);
    say_many(rig, "v", 0, 10, FAKE_A);
    EVENTUALLY(builds(rig) == 2);
    EVENTUALLY(is_possible(rig, "v9"));
    rig_close(rig);
}

/* More than it was made for: a bigger one, and what comes meanwhile is in effect at once. */
static void test_a_crowded_filter_is_made_bigger(void **state) {
    (void)state;
    struct rig *rig = rig_new(200000);
    say_many(rig, "u", 0, 10, FAKE_A);
    rig_start(rig);
    fake_settle(rig->world);
    size_t bytes = atomic_load(&rig->follower.bytes);
    say_many(rig, "v", 0, 68000, FAKE_A); /* 64 Ki is the room to grow; full would be at 71 thousand */
    EVENTUALLY(is_possible(rig, "v67999"));
    EVENTUALLY(builds(rig) >= 2);
    EVENTUALLY(atomic_load(&rig->follower.bytes) > bytes);
    assert_true(is_possible(rig, "u0") && is_possible(rig, "v0") && is_possible(rig, "v67999"));
    assert_true(atomic_load(&rig->world->opens) >= 2); /* by a second connection */
    rig_close(rig);
}

/* So many at once that they do not even fit: built again at once. */
static void test_a_full_filter_is_made_bigger(void **state) {
    (void)state;
    struct rig *rig = rig_new(400000);
    rig_start(rig);
    fake_settle(rig->world);
    say_many(rig, "v", 0, 150000, FAKE_A);
    EVENTUALLY(is_possible(rig, "v149999"));
    EVENTUALLY(builds(rig) >= 2);
    fake_settle(rig->world);
    for (size_t i = 0; i < 150000; i += 1000) {
        char text[64];
        assert_true(snprintf(text, sizeof text, "v%zu", i) > 0);
        assert_true(is_possible(rig, text));
    }
    rig_close(rig);
}

static void test_more_than_counted(void **state) {
    (void)state;
    struct rig *rig = rig_new(400000);
    say_many(rig, "u", 0, 200000, FAKE_A);
    atomic_store(&rig->world->uncounted, 199990); /* an estimate that is far off */
    rig_start(rig);
    EVENTUALLY(builds(rig) == 1);
    assert_true(is_possible(rig, "u0") && is_possible(rig, "u199999"));
    assert_true(atomic_load(&rig->world->builds) > 1); /* the first tries were too small */
    rig_close(rig);
}

static void test_a_stale_filter_is_made_anew(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 100, FAKE_A);
    rig_start(rig);
    fake_settle(rig->world);
    say_many(rig, "u", 0, 10, FAKE_NOBODY); /* a tenth: not more */
    fake_settle(rig->world);
    fake_sleep_us(1500000);
    assert_int_equal(builds(rig), 1);
    assert_int_equal(atomic_load(&rig->follower.stale), 10);
    assert_true(is_possible(rig, "u5")); /* nothing is taken out */
    fake_say(rig->world, CORE_INDICATOR_USER, "u10", FAKE_NOBODY);
    EVENTUALLY(builds(rig) == 2);
    EVENTUALLY(!is_possible(rig, "u5"));
    assert_int_equal(atomic_load(&rig->follower.stale), 0);
    assert_true(is_possible(rig, "u11"));
    rig_close(rig);
}

static void test_what_expired_shows_in_the_count(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 100, FAKE_A);
    rig->follower.count_gap_ns = 100 * CORE_NS_PER_MS;
    rig_start(rig);
    fake_settle(rig->world);
    for (unsigned i = 0; i < 20; i++) {
        char text[64];
        assert_true(snprintf(text, sizeof text, "u%u", i) > 0);
        fake_expire(rig->world, CORE_INDICATOR_USER, text);
    }
    EVENTUALLY(builds(rig) == 2);
    EVENTUALLY(!is_possible(rig, "u5"));
    assert_true(is_possible(rig, "u50"));
    rig_close(rig);
}

/* While a slow build goes on, what is added is in effect through the old filter, and then through the new one. */
static void test_changes_during_a_build_are_in_effect(void **state) {
    (void)state;
    struct rig *rig = rig_new(20000);
    say_many(rig, "u", 0, 9000, FAKE_A);
    rig_start(rig);
    fake_settle(rig->world);
    atomic_store(&rig->world->build_us, 20000); /* three minutes, unless the test ends it */
    say_many(rig, "u", 0, 1000, FAKE_NOBODY);
    EVENTUALLY(atomic_load(&rig->world->builds) == 2);
    fake_say(rig->world, CORE_INDICATOR_USER, "new", FAKE_A);
    EVENTUALLY(is_possible(rig, "new"));
    EVENTUALLY(follower_behind_ns(&rig->follower) < 2 * CORE_NS_PER_S);
    assert_int_equal(builds(rig), 1); /* the new one is not in use yet */
    atomic_store(&rig->world->build_us, 0);
    EVENTUALLY(builds(rig) == 2);
    assert_true(is_possible(rig, "new"));
    assert_false(is_possible(rig, "u5"));
    rig_close(rig);
}

/* A new filter that cannot be had leaves the old one in use, and followed. */
static void test_a_new_filter_cannot_be_built(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 100, FAKE_A);
    rig_start(rig);
    fake_settle(rig->world);
    atomic_store(&rig->world->build_err, CORE_IO);
    say_many(rig, "u", 0, 50, FAKE_NOBODY); /* half of it is gone */
    fake_sleep_us(1500000);                 /* a second after the last build it is tried */
    fake_say(rig->world, CORE_INDICATOR_USER, "new", FAKE_A);
    EVENTUALLY(is_possible(rig, "new"));
    assert_false(atomic_load(&rig->follower.is_away));
    assert_int_equal(builds(rig), 1);
    atomic_store(&rig->world->build_err, CORE_OK);
    EVENTUALLY(builds(rig) == 2);
    assert_true(is_possible(rig, "new"));
    assert_false(is_possible(rig, "u5"));
    rig_close(rig);
}

static void test_the_store_is_away(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    atomic_store(&rig->world->open_err, CORE_NET);
    say_many(rig, "u", 0, 10, FAKE_A);
    rig_start(rig);
    EVENTUALLY(atomic_load(&rig->follower.is_away));
    assert_null(atomic_load(&rig->follower.store));
    atomic_store(&rig->world->build_err, CORE_NET);
    atomic_store(&rig->world->open_err, CORE_OK);
    EVENTUALLY(atomic_load(&rig->follower.store) != NULL);
    assert_true(atomic_load(&rig->follower.is_away));
    assert_true(follower_behind_ns(&rig->follower) == INT64_MAX);
    atomic_store(&rig->world->build_err, CORE_OK);
    EVENTUALLY(is_possible(rig, "u9"));
    EVENTUALLY(!atomic_load(&rig->follower.is_away));
    atomic_store(&rig->world->follow_err, CORE_NET);
    EVENTUALLY(atomic_load(&rig->follower.is_away));
    assert_true(is_possible(rig, "u9")); /* the filter stays */
    fake_say(rig->world, CORE_INDICATOR_USER, "late", FAKE_A);
    atomic_store(&rig->world->follow_err, CORE_OK);
    EVENTUALLY(is_possible(rig, "late"));
    EVENTUALLY(!atomic_load(&rig->follower.is_away));
    assert_int_equal(builds(rig), 1);
    rig_close(rig);
}

/* What was added while the filter was built is in it, and in the count after it: no excuse for what is gone later. */
static void test_what_came_during_a_build_hides_nothing(void **state) {
    (void)state;
    struct rig *rig = rig_new(10000);
    say_many(rig, "u", 0, 1000, FAKE_A);
    atomic_store(&rig->world->build_us, 500);
    rig->follower.count_gap_ns = 100 * CORE_NS_PER_MS;
    rig_start(rig);
    EVENTUALLY(atomic_load(&rig->world->builds) == 1);
    say_many(rig, "v", 0, 500, FAKE_A);
    EVENTUALLY(builds(rig) == 1);
    atomic_store(&rig->world->build_us, 0);
    for (unsigned i = 0; i < 200; i++) { /* of 1500 */
        char text[64];
        assert_true(snprintf(text, sizeof text, "u%u", i) > 0);
        fake_expire(rig->world, CORE_INDICATOR_USER, text);
    }
    EVENTUALLY(builds(rig) == 2);
    assert_false(is_possible(rig, "u5"));
    assert_true(is_possible(rig, "v499"));
    rig_close(rig);
}

/* What comes back is stale no more. */
static void test_what_comes_back_is_not_stale(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 100, FAKE_A);
    rig_start(rig);
    fake_settle(rig->world);
    say_many(rig, "u", 0, 8, FAKE_NOBODY);
    say_many(rig, "u", 0, 6, FAKE_A);
    fake_settle(rig->world);
    assert_int_equal(atomic_load(&rig->follower.stale), 2);
    rig_close(rig);
}

/* A store that counts keys of somebody else: the filter is not made for those, and they hide nothing. */
static void test_keys_of_others_do_not_count(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 100, FAKE_A);
    atomic_store(&rig->world->others, 10000000);
    rig->follower.count_gap_ns = 10 * CORE_NS_PER_MS; /* sixty of them, where others are many */
    rig_start(rig);
    EVENTUALLY(builds(rig) == 1); /* of two tries, each of which follows */
    assert_true(atomic_load(&rig->follower.bytes) < CORE_MIB);
    for (unsigned i = 0; i < 20; i++) {
        char text[64];
        assert_true(snprintf(text, sizeof text, "u%u", i) > 0);
        fake_expire(rig->world, CORE_INDICATOR_USER, text);
    }
    EVENTUALLY(builds(rig) == 2);
    assert_false(is_possible(rig, "u5"));
    assert_true(is_possible(rig, "u50"));
    rig_close(rig);
}

/* The count shows what the stream did not tell. */
static void test_what_the_stream_did_not_tell_is_found(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 100, FAKE_A);
    rig->follower.count_gap_ns = 100 * CORE_NS_PER_MS;
    log_catch();
    rig_start(rig);
    fake_settle(rig->world);
    fake_say_unheard(rig->world, 200);
    EVENTUALLY(is_possible(rig, "v199"));
    EVENTUALLY(said("missed=200") == 1);
    EVENTUALLY(builds(rig) == 2);
    log_let_go();
    rig_close(rig);
}

/* More keys of others: looked at, and nothing was missed. */
static void test_more_keys_of_others_are_no_alarm(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 100, FAKE_A);
    rig->follower.count_gap_ns = 100 * CORE_NS_PER_MS;
    log_catch();
    rig_start(rig);
    fake_settle(rig->world);
    atomic_store(&rig->world->others, 500);
    EVENTUALLY(builds(rig) == 2);
    fake_sleep_us(2000000);
    assert_int_equal(builds(rig), 2);
    assert_int_equal(said(" warn "), 0);
    log_let_go();
    rig_close(rig);
}

/* Changes that are this process's own: it is never behind, however long one look at them takes. */
static void test_own_changes_are_never_late(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    struct store_ops own = fake_ops;
    own.is_current = true;
    rig->world->ops = &own;
    say_many(rig, "u", 0, 10, FAKE_A);
    rig_start(rig);
    fake_settle(rig->world);
    atomic_store(&rig->world->follow_us, 1500000);
    fake_settle(rig->world);
    fake_sleep_us(1000000); /* in the middle of a look */
    assert_int_equal(follower_behind_ns(&rig->follower), 0);
    rig_close(rig);
}

/* Where the store cannot be opened twice, what comes during a build is told to who looks back, and once. */
static _Atomic unsigned news;

static void on_new(void *ctx, enum core_indicator type, struct core_span value, bool subdomains,
                   const struct allow *allow) {
    (void)ctx, (void)type, (void)subdomains, (void)allow;
    atomic_fetch_add(&news, core_span_is(value, "new") ? 1 : 1000);
}

static void test_news_of_a_build_are_told(void **state) {
    (void)state;
    struct rig *rig = rig_new(20000);
    rig->follower.opener.opens_twice = false;
    rig->follower.on_new = on_new;
    say_many(rig, "u", 0, 5000, FAKE_A);
    rig_start(rig);
    fake_settle(rig->world);
    atomic_store(&rig->world->build_us, 200);
    say_many(rig, "u", 0, 1000, FAKE_NOBODY);
    EVENTUALLY(atomic_load(&rig->world->builds) == 2);
    fake_say(rig->world, CORE_INDICATOR_USER, "new", FAKE_A);
    EVENTUALLY(builds(rig) == 2);
    fake_settle(rig->world);
    assert_int_equal(atomic_load(&news), 1);
    assert_true(is_possible(rig, "new"));
    rig_close(rig);
}

/* ---- what is said ------------------------------------------------------------------------------------------------------- */

static void test_another_reason_is_said(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 10, FAKE_A);
    log_catch();
    rig_start(rig);
    fake_settle(rig->world);
    atomic_store(&rig->world->reason, "it closed the connection");
    atomic_store(&rig->world->follow_err, CORE_NET);
    EVENTUALLY(said("it closed the connection") == 1);
    fake_sleep_us(500000); /* several tries: the same is said once */
    assert_int_equal(said("it closed the connection"), 1);
    atomic_store(&rig->world->reason, "it wants a password");
    EVENTUALLY(said("it wants a password") == 1);
    log_let_go();
    rig_close(rig);
}

static void test_an_empty_store_is_said(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 100, FAKE_A);
    log_catch();
    rig_start(rig);
    fake_settle(rig->world);
    assert_int_equal(said(" warn "), 0);
    for (unsigned i = 0; i < 70; i++) { /* no change tells it */
        char text[64];
        assert_true(snprintf(text, sizeof text, "u%u", i) > 0);
        fake_expire(rig->world, CORE_INDICATOR_USER, text);
    }
    fake_flush(rig->world);
    EVENTUALLY(said("far fewer indicators than before") == 1);
    EVENTUALLY(said("before=100 indicators=30") == 1);
    say_many(rig, "u", 70, 90, FAKE_NOBODY); /* this one was told: it is meant */
    EVENTUALLY(builds(rig) == 3);
    fake_settle(rig->world);
    assert_int_equal(said("far fewer indicators than before"), 1);
    say_many(rig, "u", 90, 100, FAKE_NOBODY);
    EVENTUALLY(said("there are no indicators: nothing can match") == 1);
    assert_true(said("store=\"fake\"") == 2);
    log_let_go();
    rig_close(rig);
}

static void test_an_end_says_nothing(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 10, FAKE_A);
    log_catch();
    rig_start(rig);
    fake_settle(rig->world);
    atomic_store(&rig->world->follow_us, 500000);
    fake_sleep_us(300000);
    atomic_store(&rig->world->follow_err, CORE_NET); /* as a wait that a stop ended */
    rig_close(rig);
    assert_int_equal(said("cannot be asked"), 0);
    log_let_go();
}

/* ---- an end --------------------------------------------------------------------------------------------------------------- */

static int64_t cpu_ns(void) {
    struct timespec now;
    MUST(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0);
    return now.tv_sec * CORE_NS_PER_S + now.tv_nsec;
}

/* A batch that holds an old view for long, while all that may wait wait: the follower waits, too, and does not spin. */
static void test_an_end_while_a_view_is_held(void **state) {
    (void)state;
    struct rig *rig = rig_new(1000);
    say_many(rig, "u", 0, 10, FAKE_A);
    rig_start(rig);
    fake_settle(rig->world);
    const struct view *view = view_take(&rig->follower.door);
    assert_non_null(view);
    for (unsigned i = 0; i < VIEWS_RETIRED_MAX; i++) {
        fake_flush(rig->world);
        EVENTUALLY(builds(rig) == i + 2);
    }
    fake_flush(rig->world);
    EVENTUALLY(atomic_load(&rig->world->builds) == VIEWS_RETIRED_MAX + 2);
    atomic_store(&rig->follower.is_stopping, true);
    assert_int_equal(eventfd_write(rig->follower.stop_fd, 1), 0);
    int64_t before = cpu_ns();
    fake_sleep_us(1000000);
    assert_true(cpu_ns() - before < 300 * CORE_NS_PER_MS);
    view_leave(&rig->follower.door);
    rig_close(rig);
}

static void test_an_end_during_a_build(void **state) {
    (void)state;
    struct rig *rig = rig_new(100000);
    say_many(rig, "u", 0, 100000, FAKE_A);
    atomic_store(&rig->world->build_us, 1000); /* would take a hundred seconds */
    rig_start(rig);
    EVENTUALLY(atomic_load(&rig->world->builds) == 1);
    int64_t start = core_tick_ns();
    rig_close(rig);
    assert_true(core_tick_ns() - start < 50 * CORE_NS_PER_S);
}

static void test_an_end_while_the_store_is_away(void **state) {
    (void)state;
    struct rig *rig = rig_new(10);
    atomic_store(&rig->world->open_err, CORE_NET);
    rig_start(rig);
    rig_close(rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_then_followed),
        cmocka_unit_test(test_a_held_view_stays),
        cmocka_unit_test(test_another_epoch_builds_again),
        cmocka_unit_test(test_a_crowded_filter_is_made_bigger),
        cmocka_unit_test(test_a_full_filter_is_made_bigger),
        cmocka_unit_test(test_more_than_counted),
        cmocka_unit_test(test_a_stale_filter_is_made_anew),
        cmocka_unit_test(test_what_expired_shows_in_the_count),
        cmocka_unit_test(test_changes_during_a_build_are_in_effect),
        cmocka_unit_test(test_a_new_filter_cannot_be_built),
        cmocka_unit_test(test_the_store_is_away),
        cmocka_unit_test(test_what_came_during_a_build_hides_nothing),
        cmocka_unit_test(test_what_comes_back_is_not_stale),
        cmocka_unit_test(test_keys_of_others_do_not_count),
        cmocka_unit_test(test_what_the_stream_did_not_tell_is_found),
        cmocka_unit_test(test_more_keys_of_others_are_no_alarm),
        cmocka_unit_test(test_own_changes_are_never_late),
        cmocka_unit_test(test_news_of_a_build_are_told),
        cmocka_unit_test(test_another_reason_is_said),
        cmocka_unit_test(test_an_empty_store_is_said),
        cmocka_unit_test(test_an_end_says_nothing),
        cmocka_unit_test(test_an_end_while_a_view_is_held),
        cmocka_unit_test(test_an_end_during_a_build),
        cmocka_unit_test(test_an_end_while_the_store_is_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
