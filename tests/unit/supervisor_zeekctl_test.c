/* zeekctl's files: a directory with real ones, and the plan that is made of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/sensors_internal.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define ARENA_BYTES (64 * CORE_MIB)

static const char STANDALONE[] = "[zeek]\ntype=standalone\nhost=localhost\ninterface=lo\n";
static const char CLUSTER[] =
    "# a cluster\n[logger-1]\ntype=logger\nhost=localhost\n\n[manager]\ntype=manager\nhost=127.0.0.1\n"
    "[proxy-1]\ntype=proxy\nhost=localhost\n[worker-1]\ntype=worker\nhost=localhost\n"
    "interface=eth0\n";

struct world {
    struct core_arena arena;
    struct core_conf_mistakes mistakes;
    struct sensors_plan plan;
    char directory[64];
    char bad[8192]; /* all mistakes */
};

static void file_put(const struct world *world, const char *name, const char *text) {
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", world->directory, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int setup(void **state) {
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    assert_int_equal(core_arena_init(&world->arena, ARENA_BYTES, NULL), CORE_OK);
    (void)snprintf(world->directory, sizeof(world->directory), "/tmp/zeekctl-test-XXXXXX");
    assert_non_null(mkdtemp(world->directory));
    file_put(world, "zeekctl.cfg", "");
    file_put(world, "networks.cfg", "");
    *state = world;
    return 0;
}

static int teardown(void **state) {
    static const char *const names[] = {"zeekctl.cfg", "networks.cfg", "node.cfg"};
    struct world *world = *state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/%s", world->directory, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(world->directory), 0);
    core_arena_destroy(&world->arena);
    free(world);
    return 0;
}

static enum core_err plan_make(struct world *world) {
    struct sensors_conf conf = {.directory = "/srv/sensors",
                                .archive = "/srv/archive",
                                .zeekctl = world->directory,
                                .zeek = "/opt/none/bin/zeek"};
    core_arena_reset(&world->arena, 0);
    world->mistakes.len = 0;
    world->bad[0] = '\0';
    enum core_err err = sensors_plan_make(&conf, &world->arena, &world->plan, &world->mistakes);
    for (size_t i = 0; i < world->mistakes.len; i++) {
        size_t used = strlen(world->bad);
        (void)snprintf(world->bad + used, sizeof(world->bad) - used, "%s: %s\n", world->mistakes.fails[i].where,
                       world->mistakes.fails[i].text);
    }
    return err;
}

static void made(struct world *world) {
    enum core_err err = plan_make(world);
    if (err != CORE_OK) {
        fail_msg("%s", world->bad);
    }
}

static void refused(struct world *world, const char *node_cfg, const char *mistake) {
    file_put(world, "node.cfg", node_cfg);
    assert_int_equal(plan_make(world), CORE_BAD);
    if (strstr(world->bad, mistake) == NULL) {
        fail_msg("no \"%s\" in:\n%s", mistake, world->bad);
    }
}

static const struct sensors_node *node(const struct world *world, const char *name) {
    const struct sensors_node *found = sensors_plan_find(&world->plan, core_span_of(name));
    if (found == NULL) {
        fail_msg("no node %s", name);
    }
    return found;
}

static const char *env(const struct sensors_node *of, const char *key) {
    for (size_t i = 0; i < of->spec.env_len; i++) {
        if (strcmp(of->spec.env[i].key, key) == 0) {
            return of->spec.env[i].value;
        }
    }
    return "";
}

static const char *content(const struct world *world, const char *name) {
    char path[128];
    (void)snprintf(path, sizeof(path), "/srv/sensors/.site/%s", name);
    for (size_t i = 0; i < world->plan.files_len; i++) {
        if (strcmp(world->plan.files[i].path, path) == 0) {
            return world->plan.files[i].content.ptr;
        }
    }
    fail_msg("no file %s", path);
    return "";
}

static void has(const char *text, const char *part) {
    if (strstr(text, part) == NULL) {
        fail_msg("no \"%s\" in:\n%s", part, text);
    }
}

static void warned(const struct world *world, const char *text) {
    for (size_t i = 0; i < world->plan.warnings_len; i++) {
        if (strstr(world->plan.warnings[i], text) != NULL) {
            return;
        }
    }
    fail_msg("no warning \"%s\"", text);
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

static void test_standalone(void **state) {
    struct world *world = *state;
    file_put(world, "node.cfg", STANDALONE);
    made(world);
    const struct sensors_node *zeek = node(world, "zeek");
    assert_int_equal(world->plan.nodes_len, 1);
    assert_int_equal(world->plan.warnings_len, 0);
    assert_string_equal(words(zeek->spec.argv),
                        "/opt/none/bin/zeek -i lo -p local -p zeek local.zeek /srv/sensors/.site/tapline.zeek");
    assert_string_equal(words(zeek->check),
                        "/opt/none/bin/zeek -a -p local -p zeek local.zeek /srv/sensors/.site/tapline.zeek");
    assert_string_equal(env(zeek, "CLUSTER_NODE"), "");
    assert_string_equal(env(zeek, "TAPLINE_METRICS_PORT"), "9991/tcp");
    assert_string_equal(zeek->metrics_url, "http://127.0.0.1:9991/metrics");
    assert_string_equal(zeek->directory, "/srv/sensors/zeek");
    assert_int_equal(zeek->spec.stop.timeout_ns, 60 * CORE_NS_PER_S);
    assert_int_equal(zeek->spec.restart.deaths_max, 5);
    has(content(world, "tapline.zeek"), "redef Log::default_rotation_interval = 3600 secs;");
    has(content(world, "tapline.zeek"), "redef Log::default_rotation_dir = \"/srv/archive\" + \"/\" + getenv(");
}

static void test_cluster(void **state) {
    struct world *world = *state;
    file_put(world, "node.cfg", CLUSTER);
    made(world);
    const char *layout = content(world, "cluster-layout.zeek");
    has(layout, "redef Cluster::manager_is_logger = F;");
    has(layout, "[\"manager\"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1, $p=47761/tcp, $metrics_port=9991/tcp],");
    has(layout, "[\"logger-1\"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1, $p=47762/tcp, $metrics_port=9992/tcp],");
    has(layout, "[\"proxy-1\"] = [$node_type=Cluster::PROXY, $ip=127.0.0.1, $p=47763/tcp, $manager=\"manager\", "
                "$metrics_port=9993/tcp],");
    has(layout, "[\"worker-1\"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $p=47764/tcp, $manager=\"manager\"],\n");
    const struct sensors_node *worker = node(world, "worker-1");
    assert_string_equal(env(worker, "CLUSTER_NODE"), "worker-1");
    assert_string_equal(worker->spec.group, "workers");
    assert_string_equal(worker->spec.watchdog.interface, "eth0");
    assert_true(node(world, "logger-1")->spec.order > node(world, "manager")->spec.order);
    assert_true(node(world, "proxy-1")->spec.order > worker->spec.order);
    has(content(world, "tapline.zeek"),
        "@if ( ! Cluster::is_enabled() || Cluster::local_node_type() == Cluster::LOGGER )");
    has(world->plan.files[0].nodes, "logger-1 manager proxy-1 worker-1");
    /* The same files make the same plan. */
    char *before = strdup(layout);
    assert_non_null(before);
    made(world);
    assert_string_equal(content(world, "cluster-layout.zeek"), before);
    free(before);
}

static void test_workers_that_share_an_interface(void **state) {
    struct world *world = *state;
    file_put(world, "node.cfg",
             "[manager]\ntype=manager\nhost=localhost\n[proxy-1]\ntype=proxy\nhost=localhost\n"
             "[worker-1]\ntype=worker\nhost=localhost\ninterface=eth0\nlb_method=af_packet\nlb_procs=3\npin_cpus=0,2\n"
             "af_packet_fanout_id = 7\naf_packet.buffer_size=1048576\nenv_vars=A=1, B = x=y\naux_scripts=one two\n"
             "[worker-2]\ntype=worker\nhost=localhost\nlb_method=interfaces\nlb_procs=2\nlb_interfaces=eth1, eth2\n"
             "[worker-3]\ntype=worker\nhost=localhost\ninterface=eth3\nlb_method=pf_ring\nlb_procs=2\n"
             "[worker-4]\ntype=worker\nhost=localhost\ninterface=eth4\nlb_method=pf_ring\nlb_procs=1\n"
             "[worker-5]\ntype=worker\nhost=localhost\ninterface=eth5\nlb_method=myricom\nlb_procs=1\n"
             "[worker-6]\ntype=worker\nhost=localhost\ninterface=eth6\nlb_method=custom\nlb_procs=1\n");
    file_put(world, "zeekctl.cfg", "lb_custom.InterfacePrefix = netmap::\nenv_vars = A=9,C=3\n");
    made(world);
    assert_int_equal(world->plan.nodes_len, 12);
    const struct sensors_node *third = node(world, "worker-1-3");
    assert_string_equal(third->interface, "af_packet::eth0");
    assert_string_equal(third->spec.watchdog.interface, "eth0");
    assert_int_equal(third->spec.cpus_len, 1);
    assert_int_equal(third->spec.cpus[0], 0);
    assert_int_equal(node(world, "worker-1-2")->spec.cpus[0], 2);
    assert_string_equal(env(third, "A"), "1"); /* the node's, not that of all */
    assert_string_equal(env(third, "B"), "x=y");
    assert_string_equal(env(third, "C"), "3");
    has(words(third->spec.argv),
        "local.zeek one two /srv/sensors/.site/tapline.zeek /srv/sensors/.site/node-worker-1-3.zeek");
    has(content(world, "node-worker-1-3.zeek"),
        "redef AF_Packet::fanout_id = 7;\nredef AF_Packet::buffer_size = 1048576;\n");
    assert_string_equal(node(world, "worker-2-1")->interface, "eth2"); /* from the end, as zeekctl */
    assert_string_equal(node(world, "worker-2-2")->interface, "eth1");
    assert_string_equal(env(node(world, "worker-3-1"), "PCAP_PF_RING_CLUSTER_ID"), "21");
    assert_string_equal(env(node(world, "worker-3-2"), "PCAP_PF_RING_CLUSTER_ID"), "21");
    assert_string_equal(env(node(world, "worker-4-1"), "PCAP_PF_RING_CLUSTER_ID"), "22");
    assert_string_equal(env(node(world, "worker-3-1"), "PCAP_PF_RING_USE_CLUSTER_PER_FLOW_4_TUPLE"), "1");
    assert_string_equal(env(node(world, "worker-5-1"), "SNF_NUM_RINGS"), "1");
    assert_string_equal(node(world, "worker-6-1")->interface, "netmap::eth6");
    has(content(world, "cluster-layout.zeek"), "manager_is_logger = T;");
}

static void test_workers_are_checked_once(void **state) {
    struct world *world = *state;
    char text[1024];
    (void)snprintf(text, sizeof(text),
                   "%slb_procs=2\nlb_method=af_packet\n[worker-2]\ntype=worker\nhost=localhost\n"
                   "interface=eth1\nenv_vars=X=1\n",
                   CLUSTER);
    file_put(world, "node.cfg", text);
    made(world);
    assert_string_equal(node(world, "worker-1-1")->check_key, node(world, "worker-1-2")->check_key);
    assert_string_not_equal(node(world, "worker-1-1")->check_key, node(world, "worker-2")->check_key);
    assert_string_not_equal(node(world, "worker-1-1")->check_key, node(world, "proxy-1")->check_key);
}

static void test_options(void **state) {
    struct world *world = *state;
    file_put(world, "node.cfg", STANDALONE);
    file_put(world, "zeekctl.cfg",
             "# comment\n\nMailTo = noc@\"x\"\nSitePolicyPath=/srv/site:/srv/more\nSitePolicyScripts = a.zeek b.zeek\n"
             "Prefixes=one:two\nzeekargs = -C -f \"tcp port 80\"\nLOGROTATIONINTERVAL=60\nLogRotationInterval=120\n"
             "MetricsPort=0\nMemLimit=1024\nStopTimeout=7\nLogDir=${ZeekBase}/logs\nSpoolDir=/elsewhere\n"
             "PcapSnaplen=1500\nMailAlarmsInterval=60\nPrivateAddressSpaceIsLocal=0\nFileExtractDir=${SpoolDir}/x\n"
             "CompressLogsInFlight=6\nNoSuch=1\nmyplugin.option=1\n");
    made(world);
    const struct sensors_node *zeek = node(world, "zeek");
    assert_string_equal(words(zeek->spec.argv),
                        "/opt/none/bin/zeek -i lo -p one -p two -p zeek -C -f tcp port 80 a.zeek "
                        "b.zeek /srv/sensors/.site/tapline.zeek");
    assert_string_equal(env(zeek, "ZEEKPATH"), "/srv/sensors/.site:/srv/site:/srv/more");
    assert_string_equal(zeek->metrics_url, "");
    assert_int_equal(zeek->spec.memory_max_bytes, 1024 * CORE_KIB);
    assert_int_equal(zeek->spec.stop.timeout_ns, 7 * CORE_NS_PER_S);
    const char *script = content(world, "tapline.zeek");
    has(script, "redef Log::default_rotation_interval = 120 secs;");
    has(script, "redef Notice::mail_dest = \"noc@\\\"x\\\"\";");
    has(script, "redef Pcap::snaplen = 1500;");
    has(script, "redef Log::default_mail_alarms_interval = 60 secs;");
    has(script, "redef Site::private_address_space_is_local = F;");
    has(script, "redef FileExtract::prefix = \"/elsewhere/x\" + \"/\" + getenv(\"TAPLINE_NODE\") + \"/\";");
    has(script, "redef LogAscii::gzip_level = 6;");
    assert_null(strstr(script, "Telemetry::"));
    assert_null(strstr(script, "Notice::sendmail")); /* not in the file: Zeek's own default stays */
    warned(world, "zeekctl.cfg:14: SpoolDir has no effect");
    warned(world, "zeekctl.cfg:20: nosuch is no option of zeekctl");
    warned(world, "zeekctl.cfg:21: myplugin.option");
    assert_int_equal(world->plan.warnings_len, 3); /* LogDir says what it is anyway */
}

static void test_networks(void **state) {
    struct world *world = *state;
    file_put(world, "node.cfg", STANDALONE);
    file_put(world, "networks.cfg", "# ours\n10.0.0.0/8   Private\n\nfd00::/8\tIPv6 ones\r\n192.0.2.0/24\n");
    made(world);
    const char *script = content(world, "local-networks.zeek");
    has(script,
        "redef Site::local_nets = {\n\t10.0.0.0/8,\t# Private\n\t[fd00::]/8,\t# IPv6 ones\n\t192.0.2.0/24,\n};\n");
    has(content(world, "tapline.zeek"), "@load local-networks\n");
    file_put(world, "networks.cfg", "10.0.0.0\n10.0.0.0/33\n10/8\n::/129\n10.0.0.0/8x\n");
    assert_int_equal(plan_make(world), CORE_BAD);
    assert_int_equal(world->mistakes.len, 5);
    has(world->bad, "networks.cfg:2: \"10.0.0.0/33\" is no network");
}

static void test_zeromq(void **state) {
    struct world *world = *state;
    file_put(world, "node.cfg", CLUSTER);
    file_put(world, "zeekctl.cfg", "ClusterBackend=ZeroMQ\n");
    made(world);
    has(content(world, "tapline.zeek"), "listen_xpub_endpoint = \"tcp://127.0.0.1:47760\"");
    has(content(world, "tapline.zeek"), "connect_xpub_endpoint = \"tcp://127.0.0.1:47761\"");
    has(content(world, "cluster-layout.zeek"), "Cluster::MANAGER, $ip=127.0.0.1, $p=47763/tcp");
}

static void test_ini_is_read_as_python_reads_it(void **state) {
    struct world *world = *state;
    file_put(world, "node.cfg",
             "; comment\n[DEFAULT]\nHost: localhost\nnic = eth\n[manager]\nTYPE = manager\n[proxy-1]\ntype:proxy\n"
             "[worker-1]\ntype = worker\ninterface = %(nic)s0\nenv_vars = A=100%%,\n  # no value\n  B=2\n");
    made(world);
    const struct sensors_node *worker = node(world, "worker-1");
    assert_string_equal(worker->interface, "eth0");
    assert_string_equal(env(worker, "A"), "100%");
    assert_string_equal(env(worker, "B"), "2");
}

static void test_what_is_refused(void **state) {
    static const struct {
        const char *node_cfg;
        const char *mistake;
    } cases[] = {
        {"type=standalone\n", "node.cfg:1: there is no [section] before this line"},
        {"[a]\nnonsense\n", "node.cfg:2: \"nonsense\" is no line `key = value`"},
        {"[a\n", "node.cfg:1: a section is written [name]"},
        {"[a]\ntype=standalone\ntype=worker\n", "node.cfg:3: type stands in line 2, too"},
        {"[a]\ntype=standalone\n[a]\n", "node.cfg:3: section [a] stands in line 1, too"},
        {"[a]\ntype=standalone\nhost=localhost\ninterface=%(x)s\n", "node.cfg:4: interface: a '%' is written %%"},
        {"[a]\nhost=localhost\n", "node.cfg:1: node a: type is one of standalone"},
        {"[a]\ntype=sensor\nhost=localhost\n", "node.cfg:2: node a: type is one of standalone"},
        {"[a]\ntype=standalone\ninterface=lo\n", "node.cfg:1: node a: host is missing"},
        {"[a]\ntype=standalone\nhost=192.0.2.77\ninterface=lo\n",
         "node.cfg:3: node a: \"192.0.2.77\" is not this machine"},
        {"[a]\ntype=standalone\nhost=far.example.org\ninterface=lo\n", "\"far.example.org\" is not this machine"},
        {"[a]\ntype=standalone\nhost=localhost\n", "node.cfg:1: node a: a standalone needs an interface"},
        {"[a b]\ntype=standalone\nhost=localhost\ninterface=lo\n", "\"a b\" cannot be a node's name"},
        {"[w]\ntype=worker\nhost=localhost\ninterface=lo\n",
         "node.cfg:1: node w: a worker needs a node of type manager"},
        {"[a]\ntype=manager\nhost=localhost\n[b]\ntype=manager\nhost=localhost\n",
         "node.cfg:4: node b: a cluster has one"},
        {"[m]\ntype=manager\nhost=localhost\n[w]\ntype=worker\nhost=localhost\ninterface=lo\nlb_procs=2\n",
         "node.cfg:4: lb_method: \"\" is none of"},
        {"[w]\ntype=worker\nhost=localhost\ninterface=lo\nlb_method=af_packet\n",
         "node.cfg:5: lb_method needs lb_procs"},
        {"[w]\ntype=worker\nhost=localhost\ninterface=lo\nlb_method=af_packet\nlb_procs=0\n",
         "node.cfg:6: lb_procs: \"0\" is no number"},
        {"[w]\ntype=worker\nhost=localhost\nlb_method=interfaces\nlb_procs=2\nlb_interfaces=lo\n",
         "node.cfg:6: lb_interfaces has 1 names for 2 workers"},
        {"[w]\ntype=worker\nhost=localhost\ninterface=lo\npin_cpus=a\n", "node.cfg:5: pin_cpus: numbers"},
        {"[w]\ntype=worker\nhost=localhost\ninterface=lo\nenv_vars=A\n",
         "node.cfg:5: env_vars: \"A\" is no NAME=VALUE"},
        {"[m]\ntype=manager\nhost=localhost\n[w]\ntype=worker\nhost=localhost\ninterface=lo\n[W]\ntype=worker\n"
         "host=localhost\ninterface=lo\n",
         "node.cfg:8: node W and w"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        refused(*state, cases[i].node_cfg, cases[i].mistake);
    }
}

static void test_options_that_are_refused(void **state) {
    static const struct {
        const char *text;
        const char *mistake;
    } cases[] = {
        {"nonsense\n", "zeekctl.cfg:1: \"nonsense\" is no line"},
        {"\nZeekPort=\"47760\"\n", "zeekctl.cfg:2: ZeekPort: the whole value cannot be in quotes"},
        {"ZeekPort=abc\n", "zeekctl.cfg:1: ZeekPort: \"abc\" is no number from 0 to 65535"},
        {"MetricsPort=65535\nZeekPort=65535\n", "node.cfg:6: node manager: its port would be above 65535"},
        {"PrivateAddressSpaceIsLocal=maybe\n", "zeekctl.cfg:1: PrivateAddressSpaceIsLocal: \"maybe\" is neither"},
        {"ClusterBackend=nats\n", "zeekctl.cfg:1: ClusterBackend: \"nats\" is neither broker nor zeromq"},
        {"NodeCfg=/nowhere/node.cfg\n", "/nowhere/node.cfg: there is no such file"},
        {"A=${B}\nLogRotationInterval=${LogRotationInterval}\n",
         "zeekctl.cfg:2: LogRotationInterval: \"\" is no number"},
    };
    struct world *world = *state;
    file_put(world, "node.cfg", CLUSTER);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        file_put(world, "zeekctl.cfg", cases[i].text);
        assert_int_equal(plan_make(world), CORE_BAD);
        has(world->bad, cases[i].mistake);
    }
}

static void test_no_rotation_and_no_pf_ring(void **state) {
    struct world *world = *state;
    file_put(world, "node.cfg",
             "[manager]\ntype=manager\nhost=localhost\n[proxy-1]\ntype=proxy\nhost=localhost\n"
             "[w]\ntype=worker\nhost=localhost\ninterface=eth0\nlb_method=pf_ring\nlb_procs=1\n");
    file_put(world, "zeekctl.cfg", "LogRotationInterval=0\nPFRINGClusterID=0\n");
    made(world);
    warned(world, "zeekctl.cfg:1: without rotation Zeek empties its logs");
    assert_int_equal(world->plan.warnings_len, 1);
    assert_string_equal(env(node(world, "w-1"), "PCAP_PF_RING_CLUSTER_ID"), "");
    assert_string_equal(env(node(world, "w-1"), "PCAP_PF_RING_APPNAME"), "");
}

static void test_keys_that_change_nothing(void **state) {
    struct world *world = *state;
    file_put(world, "node.cfg", "[zeek]\ntype=standalone\nhost=localhost\ninterface=lo\nzone_id=eth0\ncolour=red\n");
    made(world);
    warned(world, "node.cfg:5: zone_id has no effect");
    warned(world, "node.cfg:6: colour is not known");
    assert_int_equal(world->plan.warnings_len, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_standalone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cluster, setup, teardown),
        cmocka_unit_test_setup_teardown(test_workers_that_share_an_interface, setup, teardown),
        cmocka_unit_test_setup_teardown(test_workers_are_checked_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_options, setup, teardown),
        cmocka_unit_test_setup_teardown(test_networks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_zeromq, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ini_is_read_as_python_reads_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_options_that_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_rotation_and_no_pf_ring, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys_that_change_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
