/* Stands for normalize/drop.c: which records a `drop when` row leaves out, and that the books close.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/maps_dir.h"

static int dir_make(void **state) {
    (void)state;
    if (dir_make_with("@timestamp\tdate\t\ta time\nsource.ip\tip\t\tan address\nnetwork.transport\tkeyword\t\ta "
                      "name\nzeek.t.n\tlong\t\ta number\n") != 0) {
        return -1;
    }
    put("maps/zeek.c.map", "log zeek.c\ndrop when uid = Cnone\nts time @timestamp\n");
    return 0;
}

/* Map rows; a record; is it left out? */
static const struct {
    const char *rows;
    const char *record;
    bool is_dropped;
} cases[] = {
    {"drop when proto = udp", "{\"ts\":1.5,\"proto\":\"udp\"}", true},
    {"drop when proto = udp", "{\"ts\":1.5,\"proto\":\"tcp\"}", false},
    {"drop when proto = udp", "{\"ts\":1.5,\"proto\":\"udp \"}", false},
    {"drop when proto = udp", "{\"ts\":1.5}", false}, /* absent equals nothing */
    {"drop when proto != udp", "{\"ts\":1.5,\"proto\":\"udp\"}", false},
    {"drop when proto != udp", "{\"ts\":1.5,\"proto\":\"tcp\"}", true},
    {"drop when proto != udp", "{\"ts\":1.5}", true},
    {"drop when local = T", "{\"ts\":1.5,\"local\":true}", true},
    {"drop when local = F", "{\"ts\":1.5,\"local\":true}", false},
    {"drop when port = 53", "{\"ts\":1.5,\"port\":53}", true},
    {"drop when id.orig_h = 192.0.2.1", "{\"ts\":1.5,\"id\":{\"orig_h\":\"192.0.2.1\"}}", true},
    {"drop when a = 1\ndrop when b = 2", "{\"ts\":1.5,\"b\":2}", true}, /* any of several */
    {"drop when a = 1\ndrop when b = 2", "{\"ts\":1.5,\"b\":1}", false},
    {"alias sensor node\ndrop when node = w1", "{\"ts\":1.5,\"sensor\":\"w1\"}", true},
    {"include zeek.c", "{\"ts\":1.5,\"uid\":\"Cnone\"}", true}, /* an included map's rules hold too */
    {"drop when proto = udp\nn count zeek.t.n", "{\"ts\":1.5,\"proto\":\"udp\",\"n\":\"x\"}",
     true}, /* no dead letter */
};

static void the_right_records_are_left_out(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig rig;
        char map[256];
        snprintf(map, sizeof(map), "log zeek.t\n%s\n* keep zeek.t.*\n", cases[i].rows);
        put("maps/zeek.t.map", map);
        rig_open(&rig, dir, "/t.log");
        rig_text(&rig, cases[i].record);
        if (rig.batch->tally.dropped != cases[i].is_dropped || rig.batch->events_len != (cases[i].is_dropped ? 0 : 1)) {
            fail_msg("%s: %s: dropped %llu", cases[i].rows, cases[i].record,
                     (unsigned long long)rig.batch->tally.dropped);
        }
        assert_int_equal(core_counted(&rig.counters, CORE_COUNT_NORMALIZE_DROPPED), cases[i].is_dropped);
        rig_close(&rig);
    }
}

/* TSV: the same rule; lines = events + dropped; an event says where the bytes it stands for begin. */
static void the_books_close(void **state) {
    (void)state;
    struct rig rig;
    struct normalize_drop drop;
    put("maps/zeek.t.map", "log zeek.t\ndrop when proto = udp\ndrop when proto = icmp\nts time @timestamp\n");
    rig_open(&rig, dir, "/t.log");
    rig_text(&rig, "#separator \\x09\n#path\tt\n#fields\tts\tproto\n#types\ttime\tenum\n"
                   "1.0\ttcp\n2.0\tudp\n3.0\tudp\n4.0\ttcp\nbroken\n5.0\ticmp\n");
    assert_int_equal(rig.batch->events_len, 3);
    assert_int_equal(rig.batch->tally.dropped, 3);
    assert_true(rig.batch->events[2].is_dead);
    assert_int_equal(rig.batch->events[0].from, rig.batch->events[0].start);
    assert_int_equal(rig.batch->events[1].from, rig.batch->events[0].end);
    assert_int_equal(rig.batch->events[1].start, rig.batch->events[0].end + 16); /* the id's: whatever was dropped */
    assert_int_equal(rig.batch->events[2].from, rig.batch->events[2].start);
    rig_text(&rig, "5.0\tudp\n");
    assert_int_equal(rig.batch->events_len, 0); /* a batch of nothing */
    rig_text(&rig, "6.0\ttcp\n");
    assert_int_equal(rig.batch->tally.dropped, 0);
    assert_int_equal(rig.batch->events_len, 1);
    assert_true(normalize_drop_at(rig.maps, 0, &drop));
    assert_string_equal(drop.rule, "zeek.t.map:2 drop when proto = udp");
    assert_int_equal(drop.dropped, 3);
    assert_true(normalize_drop_at(rig.maps, 1, &drop));
    assert_int_equal(drop.dropped, 1);
    assert_false(normalize_drop_at(rig.maps, 2, &drop));
    rig_close(&rig);
}

/* Maps read again go on with the counts; a rule that was edited is another one. */
static void counts_outlive_a_reload(void **state) {
    (void)state;
    struct rig rig;
    struct normalize_drop drop;
    struct core_conf_mistakes mistakes = {0};
    struct normalize_maps *next = NULL;
    struct normalize_conf conf = {.maps = dir};
    put("maps/zeek.t.map", "log zeek.t\ndrop when a = 1\ndrop when a = 2\nts time @timestamp\n");
    rig_open(&rig, dir, "/t.log");
    rig_text(&rig, "{\"ts\":1.5,\"a\":1}\n{\"ts\":1.5,\"a\":2}\n");
    put("maps/zeek.t.map", "log zeek.t\ndrop when a = 1\ndrop when a = 3\nts time @timestamp\n");
    assert_int_equal(normalize_maps_open(&next, &conf, rig.maps, &mistakes), CORE_OK);
    normalize_worker_remap(rig.worker, next);
    normalize_maps_close(rig.maps);
    rig.maps = next;
    rig_text(&rig, "{\"ts\":1.5,\"a\":1}\n{\"ts\":1.5,\"a\":2}\n{\"ts\":1.5,\"a\":3}\n");
    assert_int_equal(rig.batch->events_len, 1);
    static const uint64_t counts[] = {2, 1, 1};
    for (size_t i = 0; i < 3; i++) {
        assert_true(normalize_drop_at(rig.maps, i, &drop));
        assert_int_equal(drop.dropped, counts[i]);
    }
    assert_string_equal(drop.rule, "zeek.t.map:3 drop when a = 3");
    rig_close(&rig);
}

static void mistakes_have_their_place(void **state) {
    (void)state;
    static const struct {
        const char *row;
        const char *place;
        const char *text;
    } bad[] = {
        {"drop when", ":10", "a word belongs behind \"drop when\""},
        {"drop when a", ":12", "a word belongs behind"},
        {"drop when a ~ b", ":13", "= or != belongs here"},
        {"drop when a = b c", ":17", "a drop row is: drop when FIELD = VALUE"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct core_conf_mistakes mistakes = {0};
        struct normalize_maps *maps = NULL;
        struct normalize_conf conf = {.maps = dir};
        put("maps/zeek.t.map", bad[i].row);
        assert_int_equal(normalize_maps_open(&maps, &conf, NULL, &mistakes), CORE_BAD);
        if (strstr(mistakes.fails[0].where, bad[i].place) == NULL ||
            strstr(mistakes.fails[0].text, bad[i].text) == NULL) {
            fail_msg("%s: %s: %s", bad[i].row, mistakes.fails[0].where, mistakes.fails[0].text);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_right_records_are_left_out),
        cmocka_unit_test(the_books_close),
        cmocka_unit_test(counts_outlive_a_reload),
        cmocka_unit_test(mistakes_have_their_place),
    };
    return cmocka_run_group_tests(tests, dir_make, dir_remove);
}
