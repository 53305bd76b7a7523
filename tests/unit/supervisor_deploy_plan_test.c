/* Plans as files, what differs between two, and a part of one: by real specs, as sensors.c and the Supervisor write them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/deploy_internal.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define NODES_MAX 8
#define FILES_MAX 8
#define ARENA_BYTES (64 * CORE_MIB)

struct world {
    struct core_arena arena;
    struct sensors_node nodes[2][NODES_MAX];
    struct sensors_file files[2][FILES_MAX];
    struct sensors_plan plans[2]; /* 0: from, 1: to */
    struct deploy_row *rows;
    size_t rows_len;
    char path[64];
};

static int setup(void **state) {
    struct world *world = calloc(1, sizeof(*world));
    struct core_fail fail = {0};
    assert_non_null(world);
    assert_int_equal(core_arena_init(&world->arena, ARENA_BYTES, &fail), CORE_OK);
    (void)snprintf(world->path, sizeof(world->path), "/tmp/deploy-plan-%d.json", (int)getpid());
    for (size_t i = 0; i < 2; i++) {
        world->plans[i] = (struct sensors_plan){.nodes = world->nodes[i], .files = world->files[i]};
    }
    *state = world;
    return 0;
}

static int teardown(void **state) {
    struct world *world = *state;
    (void)unlink(world->path);
    core_arena_destroy(&world->arena);
    free(world);
    return 0;
}

static void spec_json(struct world *world, struct sensors_node *node) {
    char *bytes = core_arena_alloc(&world->arena, SUPERVISOR_SPEC_BYTES_MAX);
    assert_non_null(bytes);
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + SUPERVISOR_SPEC_BYTES_MAX};
    supervisor_spec_write(&node->spec, &out);
    assert_false(out.is_full);
    node->spec_json = core_buf_written(&out);
}

/* argv: static, NULL-terminated. */
static struct sensors_node *node_add(struct world *world, size_t plan, const char *name, enum sensor_type type,
                                     const char *const *argv) {
    struct sensors_plan *to = &world->plans[plan];
    assert_true(to->nodes_len < NODES_MAX);
    struct sensors_node *node = &to->nodes[to->nodes_len++];
    *node = (struct sensors_node){.name = name,
                                  .type = type,
                                  .host = "localhost",
                                  .interface = type == SENSOR_WORKER ? "eth0" : "",
                                  .directory = "/var/lib/x",
                                  .metrics_url = "",
                                  .check = {argv[0], "-T"},
                                  .check_key = "key"};
    supervisor_spec_init(&node->spec);
    node->spec.name = name;
    node->spec.argv = argv;
    node->spec.cwd = "/var/lib/x";
    node->spec.group = type == SENSOR_WORKER ? "workers" : "";
    spec_json(world, node);
    return node;
}

static void file_add(struct world *world, size_t plan, const char *path, const char *nodes, const char *content) {
    struct sensors_plan *to = &world->plans[plan];
    assert_true(to->files_len < FILES_MAX);
    to->files[to->files_len++] = (struct sensors_file){.path = path, .nodes = nodes, .content = core_span_of(content)};
}

static void compare(struct world *world, bool is_forced) {
    assert_true(
        deploy_compare(&world->arena, &world->plans[0], &world->plans[1], is_forced, &world->rows, &world->rows_len));
}

static const struct deploy_row *row_of(const struct world *world, const char *name) {
    for (size_t i = 0; i < world->rows_len; i++) {
        if (strcmp(world->rows[i].name, name) == 0) {
            return &world->rows[i];
        }
    }
    return NULL;
}

static void assert_row(const struct world *world, const char *name, enum deploy_change change, const char *members) {
    const struct deploy_row *row = row_of(world, name);
    assert_non_null(row);
    assert_string_equal(deploy_change_names[row->change], deploy_change_names[change]);
    assert_string_equal(row->members, members);
}

static const char *const SLEEP[] = {"sleep", "100", NULL};
static const char *const SLEEP_LONG[] = {"sleep", "1000", NULL};

static const struct core_json_tree *words(struct world *world, const char *json) {
    struct core_json_tree *tree = NULL;
    struct core_fail fail;
    assert_int_equal(core_json_tree_read(&world->arena, core_span_of(json), &tree, &fail), CORE_OK);
    return tree;
}

/* ---- there and back -------------------------------------------------------------------------------------------------------- */

static void test_a_plan_is_the_same_after_its_file(void **state) {
    struct world *world = *state;
    struct core_fail fail = {0};
    struct sensors_plan back;
    const char *unwanted = NULL;
    node_add(world, 0, "worker-1", SENSOR_WORKER, SLEEP);
    struct sensors_node *odd = node_add(world, 0, "odd", SENSOR_PROGRAM, SLEEP_LONG);
    static const struct supervisor_pair env[] = {{"QUOTE", "a \"b\" \\ c\n\t"}, {"EMPTY", ""}};
    odd->spec.env = env;
    odd->spec.env_len = 2;
    odd->spec.stop.timeout_ns = 7 * CORE_NS_PER_S;
    odd->check[0] = NULL;
    odd->check_key = NULL;
    spec_json(world, odd);
    file_add(world, 0, "/x/.site/layout.zeek", "*", "redef x = {\n\t[\"a\"] = T\n};\n");
    file_add(world, 0, "/x/.site/empty", "worker-1 odd", "");
    assert_int_equal(deploy_plan_save(&world->plans[0], "odd gone", world->path, &fail), CORE_OK);
    assert_int_equal(deploy_plan_load(world->path, &world->arena, &back, &unwanted, &fail), CORE_OK);
    assert_string_equal(unwanted, "odd gone");
    assert_int_equal(back.nodes_len, 2);
    assert_int_equal(back.files_len, 2);
    assert_string_equal(back.nodes[0].name, "worker-1");
    assert_int_equal(back.nodes[0].type, SENSOR_WORKER);
    assert_string_equal(back.nodes[0].interface, "eth0");
    assert_string_equal(back.nodes[0].check[1], "-T");
    assert_null(back.nodes[0].check[2]);
    assert_string_equal(back.nodes[0].check_key, "key");
    assert_null(back.nodes[1].check[0]);
    assert_string_equal(back.nodes[1].spec.env[0].value, env[0].value);
    for (size_t i = 0; i < 2; i++) {
        assert_true(core_span_eq(back.nodes[i].spec_json, world->nodes[0][i].spec_json));
        assert_true(core_span_eq(back.files[i].content, world->files[0][i].content));
        assert_string_equal(back.files[i].nodes, world->files[0][i].nodes);
    }
    world->plans[1] = back;
    compare(world, false);
    assert_int_equal(world->rows_len, 2);
    assert_row(world, "worker-1", DEPLOY_SAME, "");
    assert_row(world, "odd", DEPLOY_SAME, "");
}

static void write_path(const struct world *world, const char *text) {
    FILE *file = fopen(world->path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_a_damaged_file_is_refused_by_name(void **state) {
    static const char *const damaged[] = {
        "",
        "{",
        "[]",
        "{\"format\":2,\"nodes\":[],\"files\":[]}",
        "{\"nodes\":[],\"files\":[]}",
        "{\"format\":1,\"nodes\":[{\"name\":\"a\",\"type\":\"program\"}],\"files\":[]}",
        "{\"format\":1,\"nodes\":[{\"type\":\"x\",\"spec\":{\"name\":\"a\",\"argv\":[\"x\"]}}]}",
        "{\"format\":1,\"nodes\":[{\"name\":\"a\",\"type\":\"program\",\"spec\":{\"name\":\"a\"}}],\"files\":[]}",
    };
    struct world *world = *state;
    struct sensors_plan back;
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
        struct core_fail fail = {0};
        write_path(world, damaged[i]);
        assert_int_equal(deploy_plan_load(world->path, &world->arena, &back, NULL, &fail), CORE_BAD);
        assert_string_equal(fail.where, world->path);
        assert_true(strlen(fail.text) > 0);
    }
    struct core_fail fail = {0};
    (void)unlink(world->path);
    assert_int_equal(deploy_plan_load(world->path, &world->arena, &back, NULL, &fail), CORE_GONE);
    assert_int_equal(back.nodes_len, 0);
}

/* ---- what differs ------------------------------------------------------------------------------------------------------------ */

static void test_what_differs_is_named(void **state) {
    struct world *world = *state;
    node_add(world, 0, "gone", SENSOR_PROGRAM, SLEEP);
    node_add(world, 0, "same", SENSOR_PROGRAM, SLEEP);
    node_add(world, 0, "other", SENSOR_PROGRAM, SLEEP);
    node_add(world, 1, "new", SENSOR_PROGRAM, SLEEP);
    node_add(world, 1, "same", SENSOR_PROGRAM, SLEEP);
    struct sensors_node *other = node_add(world, 1, "other", SENSOR_PROGRAM, SLEEP_LONG);
    other->spec.order = 7;
    other->spec.stop.timeout_ns = CORE_NS_PER_S;
    spec_json(world, other);
    compare(world, false);
    assert_int_equal(world->rows_len, 4);
    assert_row(world, "new", DEPLOY_ADDED, "");
    assert_row(world, "same", DEPLOY_SAME, "");
    assert_row(world, "other", DEPLOY_CHANGED, "argv order stop");
    assert_row(world, "gone", DEPLOY_REMOVED, "");
    assert_string_equal(world->rows[3].name, "gone"); /* last */
    assert_null(row_of(world, "gone")->to);
    assert_null(row_of(world, "new")->from);
    struct sensors_plan exchanged = world->plans[0]; /* a member that is not there any more differs, too */
    world->plans[0] = world->plans[1];
    world->plans[1] = exchanged;
    compare(world, true);
    assert_row(world, "other", DEPLOY_CHANGED, "argv order stop");
    assert_row(world, "same", DEPLOY_CHANGED, ""); /* forced */
}

static void test_files_change_those_that_read_them(void **state) {
    struct world *world = *state;
    for (size_t i = 0; i < 2; i++) {
        node_add(world, i, "zeek", SENSOR_STANDALONE, SLEEP);
        node_add(world, i, "worker-1", SENSOR_WORKER, SLEEP);
        node_add(world, i, "worker-10", SENSOR_WORKER, SLEEP);
        node_add(world, i, "other", SENSOR_PROGRAM, SLEEP);
        file_add(world, i, "/site/own.zeek", "worker-1 other", i == 0 ? "a" : "b");
    }
    compare(world, false);
    assert_row(world, "worker-1", DEPLOY_CHANGED, "files");
    assert_row(world, "other", DEPLOY_CHANGED, "files");
    assert_true(row_of(world, "other")->has_other_files);
    assert_row(world, "worker-10", DEPLOY_SAME, ""); /* not by the beginning of its name */
    assert_row(world, "zeek", DEPLOY_SAME, "");
    assert_false(row_of(world, "zeek")->has_other_files);
    file_add(world, 0, "/site/all.zeek", "*", "gone"); /* a file that is no more */
    compare(world, false);
    assert_row(world, "zeek", DEPLOY_CHANGED, "files");
    assert_row(world, "worker-10", DEPLOY_CHANGED, "files");
    assert_row(world, "other", DEPLOY_CHANGED, "files");
    world->plans[0].files_len = 1;
    file_add(world, 1, "/site/all.zeek", "*", "new");
    world->files[1][0].content = core_span_of("a");
    compare(world, false);
    assert_row(world, "zeek", DEPLOY_CHANGED, "files");
    assert_row(world, "other", DEPLOY_SAME, ""); /* no Zeek */
}

/* ---- a part -------------------------------------------------------------------------------------------------------------------- */

static void test_words_leave_all_else_as_it_is(void **state) {
    struct world *world = *state;
    node_add(world, 0, "worker-1", SENSOR_WORKER, SLEEP);
    node_add(world, 0, "b", SENSOR_PROGRAM, SLEEP);
    node_add(world, 0, "gone-b", SENSOR_PROGRAM, SLEEP);
    node_add(world, 0, "gone-worker", SENSOR_WORKER, SLEEP);
    file_add(world, 0, "/site/worker", "worker-1", "old");
    file_add(world, 0, "/site/b", "b", "old");
    file_add(world, 0, "/site/gone-b", "gone-b", "old");
    node_add(world, 1, "worker-1", SENSOR_WORKER, SLEEP_LONG);
    node_add(world, 1, "b", SENSOR_PROGRAM, SLEEP_LONG);
    node_add(world, 1, "new-b", SENSOR_PROGRAM, SLEEP);
    node_add(world, 1, "worker-2", SENSOR_WORKER, SLEEP);
    file_add(world, 1, "/site/worker", "worker-1", "new");
    file_add(world, 1, "/site/b", "b", "new");
    assert_true(deploy_plan_narrow(&world->arena, &world->plans[0], &world->plans[1], words(world, "[\"workers\"]")));
    compare(world, false);
    assert_row(world, "worker-1", DEPLOY_CHANGED, "argv files");
    assert_row(world, "b", DEPLOY_SAME, "");
    assert_row(world, "worker-2", DEPLOY_ADDED, "");
    assert_row(world, "gone-worker", DEPLOY_REMOVED, "");
    assert_row(world, "gone-b", DEPLOY_SAME, "");
    assert_null(row_of(world, "new-b"));
    const struct sensors_file *file = deploy_file_find(&world->plans[1], "/site/b");
    assert_non_null(file);
    assert_true(core_span_is(file->content, "old"));
    assert_ptr_not_equal(file->content.ptr, world->files[0][1].content.ptr); /* `from` may end */
    assert_ptr_not_equal(row_of(world, "b")->to->spec_json.ptr, world->nodes[0][1].spec_json.ptr);
    assert_ptr_not_equal(row_of(world, "b")->to->spec.argv, world->nodes[0][1].spec.argv);
    assert_non_null(deploy_file_find(&world->plans[1], "/site/gone-b"));
    assert_true(core_span_is(deploy_file_find(&world->plans[1], "/site/worker")->content, "new"));
}

static void test_names_are_whole_words(void **state) {
    (void)state;
    assert_true(deploy_names_have("a bc d", "bc"));
    assert_true(deploy_names_have("a", "a"));
    assert_false(deploy_names_have("a bc d", "b"));
    assert_false(deploy_names_have("ab", "a"));
    assert_false(deploy_names_have("", "a"));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_plan_is_the_same_after_its_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_damaged_file_is_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_differs_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files_change_those_that_read_them, setup, teardown),
        cmocka_unit_test_setup_teardown(test_words_leave_all_else_as_it_is, setup, teardown),
        cmocka_unit_test(test_names_are_whole_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
