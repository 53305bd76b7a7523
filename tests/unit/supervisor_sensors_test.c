/* Section sensors: as people write it, and the plan that is made of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/sensors_internal.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define ARENA_BYTES (64 * CORE_MIB)

struct world {
    struct core_arena arena;
    struct core_conf_file *file;
    struct sensors_conf conf;
    struct core_conf_mistakes mistakes;
    struct sensors_plan plan;
    char path[64];
    char bad[8192];
};

static int setup(void **state) {
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    assert_int_equal(core_arena_init(&world->arena, ARENA_BYTES, NULL), CORE_OK);
    (void)snprintf(world->path, sizeof(world->path), "/tmp/sensors-test-%d.yml", (int)getpid());
    *state = world;
    return 0;
}

static void forget(struct world *world) {
    sensors_conf_release(&world->conf);
    core_conf_close(world->file);
    world->file = NULL;
    core_arena_reset(&world->arena, 0);
    world->mistakes.len = 0;
    world->bad[0] = '\0';
}

static int teardown(void **state) {
    struct world *world = *state;
    forget(world);
    (void)unlink(world->path);
    core_arena_destroy(&world->arena);
    free(world);
    return 0;
}

/* Section and plan; the mistakes of both are in world->bad. */
static enum core_err make(struct world *world, const char *text) {
    struct core_fail fail = {0};
    forget(world);
    FILE *file = fopen(world->path, "we");
    assert_non_null(file);
    assert_true(fprintf(file, "sensors:\n  directory: /srv/sensors\n%s", text) > 0);
    assert_int_equal(fclose(file), 0);
    if (core_conf_open(&world->file, world->path, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
    enum core_err err = sensors_conf_bind(world->file, core_conf_get(core_conf_root(world->file), "sensors"),
                                          &world->conf, &world->mistakes);
    if (err == CORE_OK) {
        err = sensors_plan_make(&world->conf, &world->arena, &world->plan, &world->mistakes);
    }
    for (size_t i = 0; i < world->mistakes.len; i++) {
        size_t used = strlen(world->bad);
        (void)snprintf(world->bad + used, sizeof(world->bad) - used, "%s: %s\n", world->mistakes.fails[i].where,
                       world->mistakes.fails[i].text);
    }
    return err;
}

static void made(struct world *world, const char *text) {
    if (make(world, text) != CORE_OK) {
        fail_msg("%s", world->bad);
    }
}

static const struct sensors_node *node(const struct world *world, const char *name) {
    const struct sensors_node *found = sensors_plan_find(&world->plan, core_span_of(name));
    if (found == NULL) {
        fail_msg("no node %s", name);
    }
    return found;
}

static void has(const char *text, const char *part) {
    if (strstr(text, part) == NULL) {
        fail_msg("no \"%s\" in:\n%s", part, text);
    }
}

static const char *words(const char *const *argv) {
    static char text[4096];
    text[0] = '\0';
    for (size_t i = 0; argv[i] != NULL; i++) {
        size_t used = strlen(text);
        (void)snprintf(text + used, sizeof(text) - used, "%s%s", i == 0 ? "" : " ", argv[i]);
    }
    return text;
}

/* ---- tests -------------------------------------------------------------------------------------------------------------- */

static void test_a_zeek(void **state) {
    struct world *world = *state;
    made(world, "  zeek: /opt/none/bin/zeek\n  user: zeek\n  site: /srv/site\n  nodes:\n"
                "    - {name: z, type: zeek, interface: af_packet::eth0, env: {A: b, ZEEKPATH: /own}}\n");
    const struct sensors_node *zeek = node(world, "z");
    assert_int_equal(zeek->type, SENSOR_STANDALONE);
    assert_string_equal(words(zeek->spec.argv),
                        "/opt/none/bin/zeek -i af_packet::eth0 local /srv/sensors/.site/tapline.zeek");
    assert_string_equal(words(zeek->check), "/opt/none/bin/zeek -a local /srv/sensors/.site/tapline.zeek");
    assert_string_equal(zeek->spec.watchdog.interface, "eth0");
    assert_string_equal(zeek->spec.user, "zeek");
    assert_string_equal(zeek->spec.capabilities[0], "cap_net_raw");
    assert_string_equal(zeek->spec.ready.rules[0], "output listening on");
    assert_string_equal(zeek->spec.ready.rules[1], "log_written");
    assert_string_equal(zeek->spec.cwd, "/srv/sensors/z");
    size_t paths = 0;
    for (size_t i = 0; i < zeek->spec.env_len; i++) {
        if (strcmp(zeek->spec.env[i].key, "ZEEKPATH") == 0) {
            assert_string_equal(zeek->spec.env[i].value, "/own"); /* what the node says */
            paths++;
        }
    }
    assert_int_equal(paths, 1);
    assert_int_equal(world->plan.files_len, 1);
    has(world->plan.files[0].content.ptr, "\"/srv/archive\" + \"/\" + getenv(\"TAPLINE_NODE\")");
    has(world->plan.files[0].content.ptr, "open(\".initialized\")");
}

static void test_a_cluster(void **state) {
    struct world *world = *state;
    made(world, "  zeek: /opt/none/bin/zeek\n  nodes:\n    - {name: m, type: manager}\n    - {name: p, type: proxy}\n"
                "    - {name: w1, type: worker, interface: eth0, scripts: [local, extra]}\n"
                "    - {name: z, type: zeek, interface: eth1, metrics_url: 'http://192.0.2.1/m'}\n");
    const struct sensors_node *worker = node(world, "w1");
    has(words(worker->spec.argv), "local extra /srv/sensors/.site/tapline.zeek");
    assert_string_equal(worker->spec.ready.rules[1], "file /srv/sensors/w1/.initialized");
    assert_null(worker->spec.logs[0]); /* the logger writes them: its sign of life is its CPU */
    assert_string_equal(worker->metrics_url, "http://127.0.0.1:9993/metrics");
    assert_string_equal(node(world, "z")->metrics_url, "http://192.0.2.1/m");
    assert_int_equal(world->plan.files_len, 2);
    assert_string_equal(world->plan.files[0].path, "/srv/sensors/.site/cluster-layout.zeek");
    assert_string_equal(world->plan.files[0].nodes, "m p w1"); /* not the one that is alone */
    assert_null(strstr(world->plan.files[0].content.ptr, "\"z\""));
    assert_string_equal(world->plan.files[1].nodes, "*");
}

static void test_a_command_of_its_own(void **state) {
    struct world *world = *state;
    made(world, "  nodes:\n    - {name: z, type: zeek, interface: eth0, command: [/usr/bin/wrap, zeek], args: [-C]}\n");
    assert_string_equal(words(node(world, "z")->spec.argv), "/usr/bin/wrap zeek -C");
    assert_null(node(world, "z")->check[0]);
}

static void test_others(void **state) {
    struct world *world = *state;
    made(world, "  nodes:\n"
                "    - {name: s, type: suricata, interface: eth0, args: [-c, /etc/suricata.yaml], cpus: [1, 4-5]}\n"
                "    - {name: n, type: snort, interface: eth1, args: [-c, /etc/snort.lua]}\n"
                "    - {name: ship, type: tapline, command: [run, -c, /etc/tapline.yml]}\n"
                "    - {name: p, type: program, command: [/bin/sleep, '60'], limits: {nofile: 1024}, watchdog: 5s}\n");
    has(words(node(world, "s")->spec.argv), "suricata --af-packet=eth0 -l /srv/sensors/s -c /etc/suricata.yaml");
    has(words(node(world, "s")->check), "-T");
    assert_int_equal(node(world, "s")->spec.cpus_len, 3);
    has(words(node(world, "n")->spec.argv), "snort -i eth1 -l /srv/sensors/n -c /etc/snort.lua");
    has(words(node(world, "ship")->spec.argv), " run -c /etc/tapline.yml");
    assert_true(node(world, "ship")->spec.order > node(world, "p")->spec.order); /* the last lines are shipped */
    assert_string_equal(words(node(world, "p")->spec.argv), "/bin/sleep 60");
    assert_string_equal(node(world, "p")->spec.limits[0].value, "1024");
    assert_int_equal(node(world, "p")->spec.watchdog.timeout_ns, 5 * CORE_NS_PER_S);
    assert_int_equal(world->plan.files_len, 0); /* no Zeek, no scripts */
}

static void test_the_same_twice(void **state) {
    static const char text[] =
        "  nodes:\n    - {name: m, type: manager}\n    - {name: w, type: worker, interface: eth0}\n"
        "    - {name: p, type: program, command: [/bin/true], env: {B: 1, A: 2}}\n";
    struct world *world = *state;
    struct core_arena arena = {0};
    struct sensors_plan again;
    made(world, text);
    assert_int_equal(core_arena_init(&arena, ARENA_BYTES, NULL), CORE_OK);
    assert_int_equal(sensors_plan_make(&world->conf, &arena, &again, &world->mistakes), CORE_OK);
    assert_int_equal(again.nodes_len, world->plan.nodes_len);
    for (size_t i = 0; i < again.nodes_len; i++) {
        assert_true(core_span_eq(again.nodes[i].spec_json, world->plan.nodes[i].spec_json));
    }
    assert_int_equal(again.files_len, world->plan.files_len);
    for (size_t i = 0; i < again.files_len; i++) {
        assert_string_equal(again.files[i].path, world->plan.files[i].path);
        assert_true(core_span_eq(again.files[i].content, world->plan.files[i].content));
    }
    core_arena_destroy(&arena);
}

static void script_put(const char *directory, const char *name, const char *text) {
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Somebody edits local.zeek: the next deploy has to see it. */
static void test_the_scripts_of_the_site(void **state) {
    static const char *const names[] = {"local.zeek", "intel.dat", ".local.zeek.swp"};
    struct world *world = *state;
    char directory[] = "/tmp/sensors-site-XXXXXX";
    char text[256];
    char *before = NULL;
    assert_non_null(mkdtemp(directory));
    script_put(directory, "local.zeek", "# one\n");
    (void)snprintf(text, sizeof(text), "  site: %s\n  nodes:\n    - {name: z, type: zeek, interface: eth0}\n",
                   directory);
    made(world, text);
    before = strdup(world->plan.files[0].content.ptr);
    assert_non_null(before);
    script_put(directory, "intel.dat", "#fields\n");
    script_put(directory, ".local.zeek.swp", "x");
    made(world, text);
    assert_string_equal(world->plan.files[0].content.ptr, before);
    script_put(directory, "local.zeek", "# two\n");
    made(world, text);
    assert_string_not_equal(world->plan.files[0].content.ptr, before);
    free(before);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(text, sizeof(text), "%s/%s", directory, names[i]);
        assert_int_equal(unlink(text), 0);
    }
    assert_int_equal(rmdir(directory), 0);
}

static void test_words_for_nodes(void **state) {
    struct world *world = *state;
    made(world, "  nodes:\n    - {name: m, type: manager}\n    - {name: p-1, type: proxy}\n"
                "    - {name: w, type: worker, interface: eth0}\n    - {name: x, type: program, command: [/bin/true], "
                "group: g}\n");
    static const struct {
        const char *node;
        const char *word;
        bool is_meant;
    } cases[] = {
        {"m", "all", true},       {"m", "m", true},        {"m", "manager", true}, {"m", "managers", true},
        {"m", "zeek", true},      {"m", "workers", false}, {"w", "workers", true}, {"w", "worker", true},
        {"p-1", "proxies", true}, {"p-1", "proxy", true},  {"p-1", "p", false},    {"x", "g", true},
        {"x", "zeek", false},     {"x", "program", true},  {"x", "", false},       {"w", "W", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool is_meant = sensors_node_is_meant(node(world, cases[i].node), core_span_of(cases[i].word));
        if (is_meant != cases[i].is_meant) {
            fail_msg("%s by \"%s\"", cases[i].node, cases[i].word);
        }
    }
}

static void test_what_is_refused(void **state) {
    static const struct {
        const char *text;
        const char *mistake;
    } cases[] = {
        {"  nodes:\n    - {name: z, type: zeek}\n", ":4:7: node z: a standalone needs an interface"},
        {"  nodes:\n    - {name: z/.., type: program, command: [a]}\n", "\"z/..\" cannot be a node's name"},
        {"  nodes:\n    - {name: .site, type: program, command: [a]}\n", "\".site\" cannot be a node's name"},
        {"  nodes:\n    - {name: a, type: program}\n", "node a: type program needs a command"},
        {"  nodes:\n    - {name: a, type: progam, command: [a]}\n", "progam"},
        {"  nodes:\n    - {name: a, type: program, command: [a], scripts: [b]}\n", "scripts are Zeek's"},
        {"  nodes:\n    - {name: a, type: program, command: [a], cpus: [5-4]}\n", "cpus: numbers"},
        {"  nodes:\n    - {name: a, type: program, command: [a], ready: [soon]}\n", "\"soon\" is no rule"},
        {"  nodes:\n    - {name: a, type: program, command: [a], umask: '999'}\n", "umask: octal"},
        {"  nodes:\n    - {name: a, type: program, command: [a], nice: 40}\n", "nice: -20 to 19"},
        {"  nodes:\n    - {name: a, type: program, command: [a], ready: ['tcp nowhere']}\n", "tcp nowhere"},
        {"  nodes:\n    - {name: a, type: program, command: [a], limits: {nosuch: 1}}\n", ":4:7: node a: "},
        {"  nodes:\n    - {name: a, type: program, command: [a]}\n    - {name: a, type: program, command: [b]}\n",
         "there is a node a already"},
        {"  nodes:\n    - {name: w, type: worker, interface: lo}\n", "node w: a worker needs a node of type manager"},
        {"  nodes: {a: b}\n", "sensors.nodes is a list"},
        {"  zeekctl: /nowhere\n", "/nowhere/node.cfg: there is no such file"},
    };
    struct world *world = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(make(world, cases[i].text), CORE_BAD);
        has(world->bad, cases[i].mistake);
    }
}

static void test_interfaces(void **state) {
    static const char *const cases[][2] = {
        {"eth0", "eth0"}, {"af_packet::eth0", "eth0"}, {"netmap:eth0", ""},
        {"", ""},         {"/tmp/x.pcap", ""},         {"a::b::c", "c"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct core_span device = sensors_interface_of(core_span_of(cases[i][0]));
        assert_true(core_span_is(device, cases[i][1]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_zeek, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_cluster, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_command_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_same_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_scripts_of_the_site, setup, teardown),
        cmocka_unit_test_setup_teardown(test_words_for_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_refused, setup, teardown),
        cmocka_unit_test(test_interfaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
