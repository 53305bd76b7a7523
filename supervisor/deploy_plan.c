/* supervisor/deploy_plan.c: plans as JSON, so that the next Main knows what was deployed, and what differs between two.
 *
 * The file has the whole plan, the contents of generated files too: it is what a deploy that failed goes back to, even if the
 * configuration it was made of is gone. Nodes are compared by the one text that supervisor_spec_write() has for a spec; a node
 * whose generated files differ has changed as well, since only a new start reads them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/deploy_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define PLAN_FORMAT 1

const char *const deploy_change_names[] = {
    [DEPLOY_SAME] = "same", [DEPLOY_ADDED] = "added", [DEPLOY_CHANGED] = "changed", [DEPLOY_REMOVED] = "removed"};

/* ---- out ---------------------------------------------------------------------------------------------------------------- */

static void node_put(struct core_buf *out, const struct sensors_node *node) {
    core_buf_char(out, '{');
    core_json_put_text(out, "name", core_span_of(node->name));
    core_json_put_text(out, "type", core_span_of(sensor_type_names[node->type]));
    core_json_put_text(out, "host", core_span_of(node->host));
    core_json_put_text(out, "interface", core_span_of(node->interface));
    core_json_put_text(out, "directory", core_span_of(node->directory));
    core_json_put_text(out, "metrics_url", core_span_of(node->metrics_url));
    core_buf_span(out, CORE_SPAN(",\"check\":["));
    for (size_t i = 0; node->check[i] != NULL; i++) {
        core_buf_put(out, ",", i == 0 ? 0 : 1);
        core_buf_string(out, core_span_of(node->check[i]));
    }
    core_buf_char(out, ']');
    core_json_put_text(out, "check_key", core_span_of(node->check_key != NULL ? node->check_key : ""));
    core_buf_span(out, CORE_SPAN(",\"spec\":"));
    core_buf_span(out, node->spec_json);
    core_buf_char(out, '}');
}

static void plan_put(struct core_buf *out, const struct sensors_plan *plan, const char *unwanted) {
    core_buf_char(out, '{');
    core_json_put_number(out, "format", PLAN_FORMAT);
    core_json_put_text(out, "unwanted", core_span_of(unwanted));
    core_buf_span(out, CORE_SPAN(",\"nodes\":["));
    for (size_t i = 0; i < plan->nodes_len; i++) {
        core_buf_put(out, ",\n", i == 0 ? 0 : 2);
        node_put(out, &plan->nodes[i]);
    }
    core_buf_span(out, CORE_SPAN("],\"files\":["));
    for (size_t i = 0; i < plan->files_len; i++) {
        core_buf_put(out, ",\n", i == 0 ? 0 : 2);
        core_buf_char(out, '{');
        core_json_put_text(out, "path", core_span_of(plan->files[i].path));
        core_json_put_text(out, "nodes", core_span_of(plan->files[i].nodes));
        core_json_put_text(out, "content", plan->files[i].content);
        core_buf_char(out, '}');
    }
    core_buf_span(out, CORE_SPAN("]}\n"));
}

/* Owns: core_arena_destroy(arena), in which *out lies. */
static enum core_err plan_write(const struct sensors_plan *plan, const char *unwanted, struct core_arena *arena,
                                struct core_span *out, struct core_fail *fail) {
    enum core_err err = core_arena_init(arena, DEPLOY_PLAN_BYTES_MAX, fail);
    if (err != CORE_OK) {
        return err;
    }
    char *bytes = core_arena_alloc(arena, DEPLOY_PLAN_BYTES_MAX);
    MUST(bytes != NULL);
    struct core_buf buf = {.start = bytes, .pos = bytes, .end = bytes + DEPLOY_PLAN_BYTES_MAX};
    plan_put(&buf, plan, unwanted);
    *out = core_buf_written(&buf);
    return buf.is_full
               ? core_fail_set(fail, CORE_LIMIT, "deploy", "the plan is longer than %zu MiB; deploy fewer nodes",
                               DEPLOY_PLAN_BYTES_MAX / CORE_MIB)
               : CORE_OK;
}

enum core_err deploy_plan_save(const struct sensors_plan *plan, const char *unwanted, const char *path,
                               struct core_fail *fail) {
    struct core_arena arena = {0};
    struct core_span text = {0};
    enum core_err err = plan_write(plan, unwanted, &arena, &text, fail);
    if (err == CORE_OK) {
        err = serve_file_write(path, text, fail);
    }
    core_arena_destroy(&arena);
    return err;
}

/* ---- in ------------------------------------------------------------------------------------------------------------------- */

static const char *text_of(const struct core_json_tree *object, const char *key) {
    struct core_span text = core_json_tree_text(object, key); /* a NUL follows */
    return text.ptr == NULL ? "" : text.ptr;
}

static bool type_of(struct core_span name, enum sensor_type *out) {
    for (int i = 0; i < SENSOR_TYPE__MAX; i++) {
        if (core_span_is(name, sensor_type_names[i])) {
            *out = (enum sensor_type)i;
            return true;
        }
    }
    return false;
}

static enum core_err node_read(struct core_arena *arena, const struct core_json_tree *json, struct sensors_node *node,
                               struct core_fail *fail) {
    const struct core_json_tree *spec = core_json_tree_get(json, "spec");
    const struct core_json_tree *check = core_json_tree_get(json, "check");
    if (spec == NULL || !type_of(core_json_tree_text(json, "type"), &node->type)) {
        return core_fail_set(fail, CORE_BAD, "", "a node without a spec or a type that is known");
    }
    node->name = text_of(json, "name");
    node->host = text_of(json, "host");
    node->interface = text_of(json, "interface");
    node->directory = text_of(json, "directory");
    node->metrics_url = text_of(json, "metrics_url");
    node->check_key = text_of(json, "check_key");
    size_t len = 0;
    for (const struct core_json_tree *word = check != NULL ? check->first : NULL; word != NULL; word = word->next) {
        if (len < SUPERVISOR_ARGS_MAX - 1 && word->kind == CORE_JSON_STRING) {
            node->check[len++] = word->text.ptr;
        }
    }
    enum core_err err = supervisor_spec_read(arena, spec, &node->spec, fail);
    char *bytes = err == CORE_OK ? core_arena_alloc(arena, SUPERVISOR_SPEC_BYTES_MAX) : NULL;
    if (err == CORE_OK && bytes == NULL) {
        return core_fail_set(fail, CORE_LIMIT, "", "too large");
    }
    if (err == CORE_OK) {
        struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + SUPERVISOR_SPEC_BYTES_MAX};
        supervisor_spec_write(&node->spec, &out);
        MUST(!out.is_full);
        node->spec_json = core_buf_written(&out);
    }
    return err;
}

static size_t members_len(const struct core_json_tree *array) {
    size_t len = 0;
    for (const struct core_json_tree *item = array != NULL ? array->first : NULL; item != NULL; item = item->next) {
        len++;
    }
    return len;
}

static enum core_err plan_read(struct core_arena *arena, const struct core_json_tree *json, struct sensors_plan *out,
                               struct core_fail *fail) {
    const struct core_json_tree *nodes = core_json_tree_get(json, "nodes");
    const struct core_json_tree *files = core_json_tree_get(json, "files");
    const struct core_json_tree *format = core_json_tree_get(json, "format");
    if (format == NULL || !core_span_is(format->text, "1")) {
        return core_fail_set(fail, CORE_BAD, "", "it has a format that this version does not know");
    }
    *out = (struct sensors_plan){.nodes_len = members_len(nodes), .files_len = members_len(files)};
    out->nodes = core_arena_alloc(arena, (out->nodes_len + 1) * sizeof(*out->nodes));
    out->files = core_arena_alloc(arena, (out->files_len + 1) * sizeof(*out->files));
    if (out->nodes == NULL || out->files == NULL) {
        return core_fail_set(fail, CORE_LIMIT, "", "too large");
    }
    memset(out->nodes, 0, (out->nodes_len + 1) * sizeof(*out->nodes));
    size_t i = 0;
    for (const struct core_json_tree *node = nodes != NULL ? nodes->first : NULL; node != NULL; node = node->next) {
        enum core_err err = node_read(arena, node, &out->nodes[i++], fail);
        if (err != CORE_OK) {
            return err;
        }
    }
    i = 0;
    for (const struct core_json_tree *file = files != NULL ? files->first : NULL; file != NULL; file = file->next) {
        out->files[i++] = (struct sensors_file){.path = text_of(file, "path"),
                                                .nodes = text_of(file, "nodes"),
                                                .content = core_json_tree_text(file, "content")};
    }
    return CORE_OK;
}

enum core_err deploy_plan_load(const char *path, struct core_arena *arena, struct sensors_plan *out,
                               const char **unwanted, struct core_fail *fail) {
    struct core_span text = {0};
    struct core_json_tree *json = NULL;
    *out = (struct sensors_plan){0};
    enum core_err err = serve_file_read(path, DEPLOY_PLAN_BYTES_MAX, &text, fail);
    if (err != CORE_OK) {
        return err;
    }
    err = core_json_tree_read(arena, text, &json, fail);
    if (err == CORE_OK) {
        err = plan_read(arena, json, out, fail);
    }
    if (err == CORE_OK && unwanted != NULL) {
        *unwanted = text_of(json, "unwanted");
    }
    if (err != CORE_OK && fail != NULL) { /* the reader knows no path */
        (void)snprintf(fail->where, sizeof(fail->where), "%s", path);
    }
    free((char *)text.ptr);
    return err;
}

/* ---- comparing -------------------------------------------------------------------------------------------------------------- */

const struct sensors_file *deploy_file_find(const struct sensors_plan *plan, const char *path) {
    for (size_t i = 0; i < plan->files_len; i++) {
        if (strcmp(plan->files[i].path, path) == 0) {
            return &plan->files[i];
        }
    }
    return NULL;
}

bool deploy_names_have(const char *names, const char *name) {
    size_t len = strlen(name);
    for (const char *at = names; *at != '\0';) {
        size_t word = strcspn(at, " ");
        if (word == len && memcmp(at, name, len) == 0) {
            return true;
        }
        at += word + strspn(at + word, " ");
    }
    return false;
}

/* Is the file for this node? "*": for every Zeek. */
static bool file_is_for(const struct sensors_file *file, const struct sensors_node *node) {
    return strcmp(file->nodes, "*") == 0 ? node->type <= SENSOR_WORKER : deploy_names_have(file->nodes, node->name);
}

static bool has_files_of(const struct sensors_plan *a, const struct sensors_plan *b, const struct sensors_node *node) {
    for (size_t i = 0; i < a->files_len; i++) {
        if (file_is_for(&a->files[i], node)) {
            const struct sensors_file *other = deploy_file_find(b, a->files[i].path);
            if (other == NULL || !core_span_eq(other->content, a->files[i].content)) {
                return false;
            }
        }
    }
    return true;
}

static bool tree_is_same(const struct core_json_tree *a, const struct core_json_tree *b) {
    if (a->kind != b->kind || !core_span_eq(a->key, b->key)) {
        return false;
    }
    if (a->kind != CORE_JSON_OBJECT && a->kind != CORE_JSON_ARRAY) {
        return core_span_eq(a->text, b->text);
    }
    const struct core_json_tree *in_a = a->first;
    const struct core_json_tree *in_b = b->first;
    while (in_a != NULL && in_b != NULL && tree_is_same(in_a, in_b)) { /* as deep as core/json.h reads: 64 */
        in_a = in_a->next;
        in_b = in_b->next;
    }
    return in_a == NULL && in_b == NULL;
}

static void member_add(struct deploy_row *row, struct core_span name) {
    size_t used = strlen(row->members);
    (void)snprintf(row->members + used, sizeof(row->members) - used, "%s%.*s", used == 0 ? "" : " ", (int)name.len,
                   name.len == 0 ? "" : name.ptr);
}

/* Names of the members that differ, each once. */
static bool members_compare(struct core_arena *arena, struct deploy_row *row) {
    struct core_json_tree *from = NULL;
    struct core_json_tree *to = NULL;
    struct core_fail fail;
    if (core_json_tree_read(arena, row->from->spec_json, &from, &fail) != CORE_OK ||
        core_json_tree_read(arena, row->to->spec_json, &to, &fail) != CORE_OK) {
        return false;
    }
    for (const struct core_json_tree *member = to->first; member != NULL; member = member->next) {
        const struct core_json_tree *old = core_json_tree_get(from, member->key.ptr);
        if (old == NULL || !tree_is_same(old, member)) {
            member_add(row, member->key);
        }
    }
    for (const struct core_json_tree *member = from->first; member != NULL; member = member->next) {
        if (core_json_tree_get(to, member->key.ptr) == NULL) {
            member_add(row, member->key);
        }
    }
    return true;
}

static bool row_compare(struct core_arena *arena, const struct sensors_plan *from, const struct sensors_plan *to,
                        struct deploy_row *row) {
    bool has_same_files = has_files_of(from, to, row->to) && has_files_of(to, from, row->to);
    if (core_span_eq(row->from->spec_json, row->to->spec_json) && has_same_files) {
        return true;
    }
    row->change = DEPLOY_CHANGED;
    if (!members_compare(arena, row)) {
        return false;
    }
    row->has_other_files = !has_same_files;
    if (row->has_other_files) {
        member_add(row, CORE_SPAN("files"));
    }
    return true;
}

bool deploy_compare(struct core_arena *arena, const struct sensors_plan *from, const struct sensors_plan *to,
                    bool is_forced, struct deploy_row **rows, size_t *rows_len) {
    size_t len = 0;
    struct deploy_row *out = core_arena_alloc(arena, (from->nodes_len + to->nodes_len + 1) * sizeof(*out));
    if (out == NULL) {
        return false;
    }
    for (size_t i = 0; i < to->nodes_len; i++) {
        struct deploy_row *row = &out[len++];
        *row = (struct deploy_row){.name = to->nodes[i].name, .to = &to->nodes[i], .change = DEPLOY_ADDED};
        row->from = sensors_plan_find(from, core_span_of(row->name));
        if (row->from != NULL) {
            row->change = is_forced ? DEPLOY_CHANGED : DEPLOY_SAME;
            if (!row_compare(arena, from, to, row)) {
                return false;
            }
        }
    }
    for (size_t i = 0; i < from->nodes_len; i++) {
        if (sensors_plan_find(to, core_span_of(from->nodes[i].name)) == NULL) {
            out[len++] =
                (struct deploy_row){.name = from->nodes[i].name, .from = &from->nodes[i], .change = DEPLOY_REMOVED};
        }
    }
    *rows = out;
    *rows_len = len;
    return true;
}

/* ---- a part of a plan --------------------------------------------------------------------------------------------------------- */

static bool is_meant(const struct sensors_node *node, const struct core_json_tree *words) {
    for (const struct core_json_tree *word = words->first; word != NULL; word = word->next) {
        if (sensors_node_is_meant(node, word->text)) {
            return true;
        }
    }
    return false;
}

/* Is the file for one of these nodes? */
static bool file_is_for_any(const struct sensors_file *file, const struct sensors_plan *plan,
                            const struct core_json_tree *words) {
    for (size_t i = 0; i < plan->nodes_len; i++) {
        if (is_meant(&plan->nodes[i], words) && file_is_for(file, &plan->nodes[i])) {
            return true;
        }
    }
    return false;
}

/* The same plan, with nothing in it that lies elsewhere. Warnings stay where they are. */
static bool plan_copy(struct core_arena *arena, struct sensors_plan *plan) {
    struct core_arena scratch = {0};
    struct core_span text = {0};
    struct core_json_tree *json = NULL;
    struct core_fail fail;
    struct sensors_plan copy;
    bool is_copied = plan_write(plan, "", &scratch, &text, &fail) == CORE_OK &&
                     core_json_tree_read(arena, text, &json, &fail) == CORE_OK &&
                     plan_read(arena, json, &copy, &fail) == CORE_OK;
    if (is_copied) {
        copy.warnings = plan->warnings;
        copy.warnings_len = plan->warnings_len;
        *plan = copy;
    }
    core_arena_destroy(&scratch);
    return is_copied;
}

bool deploy_plan_narrow(struct core_arena *arena, const struct sensors_plan *from, struct sensors_plan *to,
                        const struct core_json_tree *words) {
    if (words == NULL) {
        return true;
    }
    struct sensors_node *nodes = core_arena_alloc(arena, (from->nodes_len + to->nodes_len + 1) * sizeof(*nodes));
    struct sensors_file *files = core_arena_alloc(arena, (from->files_len + to->files_len + 1) * sizeof(*files));
    if (nodes == NULL || files == NULL) {
        return false;
    }
    size_t nodes_len = 0;
    size_t files_len = 0;
    for (size_t i = 0; i < to->nodes_len; i++) {
        const struct sensors_node *old = sensors_plan_find(from, core_span_of(to->nodes[i].name));
        if (is_meant(&to->nodes[i], words) || old != NULL) {
            nodes[nodes_len++] = is_meant(&to->nodes[i], words) ? to->nodes[i] : *old;
        }
    }
    for (size_t i = 0; i < from->nodes_len; i++) {
        const struct sensors_node *now = sensors_plan_find(to, core_span_of(from->nodes[i].name));
        if (now == NULL && !is_meant(&from->nodes[i], words)) {
            nodes[nodes_len++] = from->nodes[i];
        }
    }
    for (size_t i = 0; i < to->files_len; i++) {
        const struct sensors_file *old = deploy_file_find(from, to->files[i].path);
        if (file_is_for_any(&to->files[i], to, words) || old == NULL) {
            files[files_len++] = to->files[i];
        } else {
            files[files_len++] = *old;
        }
    }
    for (size_t i = 0; i < from->files_len; i++) {
        if (deploy_file_find(to, from->files[i].path) == NULL && !file_is_for_any(&from->files[i], from, words)) {
            files[files_len++] = from->files[i];
        }
    }
    to->nodes = nodes;
    to->nodes_len = nodes_len;
    to->files = files;
    to->files_len = files_len;
    return plan_copy(arena, to); /* `from` ends when this is deployed */
}
