/* cmd/setup_engine.c: the templates of the maps in Elasticsearch or OpenSearch.
 *
 * All templates there that have our names are read in two requests and compared with what they should be, member by member:
 * engines give settings back nested or flat, and add members of their own to data_stream. The life-cycle's policies come
 * before the templates that name them, components before what is made of them, and the template for any dataset before the
 * others: whatever ends this in the middle, a feeder makes no data stream.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/json_tree.h"
#include "cmd/setup_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define PATH_BYTES_MAX 1024
#define SETTINGS_MAX 64
#define KEY_BYTES_MAX 256
#define ELASTICSEARCH_MIN 8
#define OPENSEARCH_MIN 2

/* A template as it should be. */
struct file {
    char *name; /* "tapline-zeek.dns" */
    bool is_index;
    struct core_span text; /* the body of its PUT */
};

struct engine_run {
    struct setup *setup;
    struct setup_engine engine;
    struct core_arena arena; /* trees of our own files */
    struct file *files;
    size_t files_len;
    const struct core_json_tree *have[2]; /* lists of templates there: components, index templates; NULL: none */
    char *authorization;
};

static const char *const lists[2] = {"component_templates", "index_templates"};
static const char *const members[2] = {"component_template", "index_template"};
static const char *const paths[2] = {"/_component_template/", "/_index_template/"};
static const char *const kinds[2] = {"component template", "index template"};

/* ---- who is there ---------------------------------------------------------------------------------------------------------- */

static unsigned long major_of(struct core_span version) {
    char text[16];
    (void)snprintf(text, sizeof(text), "%.*s", (int)(version.len < 15 ? version.len : 15), version.ptr);
    return strtoul(text, NULL, 10);
}

static enum core_err product_ask(struct setup_engine *engine, struct core_fail *fail) {
    struct setup_reply reply;
    enum core_err err = setup_http_ask(&engine->http, "GET", "/", (struct core_span){0}, &reply, fail);
    if (err != CORE_OK) {
        return err;
    }
    const struct core_json_tree *version = core_json_tree_get(reply.json, "version");
    struct core_span number = core_json_tree_text(version, "number");
    bool is_opensearch = core_span_is(core_json_tree_text(version, "distribution"), "opensearch");
    bool is_elasticsearch = strncmp(reply.product, "X-Elastic-Product: Elasticsearch", 32) == 0;
    if (!is_opensearch && !is_elasticsearch) {
        return core_fail_set(fail, CORE_BAD, engine->http.base,
                             "neither Elasticsearch 8 nor OpenSearch answers there; is this the right URL?");
    }
    engine->product = is_opensearch ? SETUP_OPENSEARCH : SETUP_ELASTICSEARCH;
    engine->word = is_opensearch ? "opensearch" : "elasticsearch";
    unsigned long least = is_opensearch ? OPENSEARCH_MIN : ELASTICSEARCH_MIN;
    if (major_of(number) < least) {
        return core_fail_set(fail, CORE_BAD, engine->http.base, "this is %s %.*s; tapline needs version %lu or newer",
                             engine->word, (int)number.len, number.ptr, least);
    }
    setup_http_forget(&engine->http);
    return CORE_OK;
}

/* The first host that answers. */
static enum core_err host_find(struct setup_engine *engine, const struct sink_elastic_places *places,
                               struct core_fail *fail) {
    enum core_err err = CORE_NET;
    for (size_t i = 0; i < places->hosts_len && err == CORE_NET; i++) {
        engine->http.base = places->hosts[i];
        err = product_ask(engine, fail);
    }
    return err;
}

/* ---- what is there --------------------------------------------------------------------------------------------------------- */

static enum core_err have_ask(struct engine_run *run, struct core_fail *fail) {
    for (int i = 0; i < 2; i++) {
        char path[PATH_BYTES_MAX];
        struct setup_reply reply;
        (void)snprintf(path, sizeof(path), "%stapline-*?flat_settings=true", paths[i]);
        enum core_err err = setup_http_ask(&run->engine.http, "GET", path, (struct core_span){0}, &reply, fail);
        if (err != CORE_OK && reply.status != 404) { /* 404: there is none */
            return err;
        }
        run->have[i] = core_json_tree_get(reply.json, lists[i]);
    }
    return CORE_OK;
}

static const struct core_json_tree *have_find(const struct engine_run *run, bool is_index, const char *name) {
    const struct core_json_tree *list = run->have[is_index];
    for (const struct core_json_tree *one = list == NULL ? NULL : list->first; one != NULL; one = one->next) {
        if (core_span_is(core_json_tree_text(one, "name"), name)) {
            return core_json_tree_get(one, members[is_index]);
        }
    }
    return NULL;
}

static bool is_ours(const struct core_json_tree *have) {
    struct core_span owner = core_json_tree_text(core_json_tree_get(have, "_meta"), "managed_by");
    /* what `map export` said of itself before there was `setup` */
    return core_span_is(owner, SETUP_OWNER) || core_span_is(owner, "tapline map export");
}

static uint64_t version_of(const struct core_json_tree *have) {
    const struct core_json_tree *version = core_json_tree_get(have, "version");
    return version == NULL || version->kind != CORE_JSON_NUMBER ? 0 : strtoull(version->text.ptr, NULL, 10);
}

static struct core_span version_text(const struct core_json_tree *have) {
    struct core_span text =
        core_json_tree_text(core_json_tree_get(core_json_tree_get(have, "_meta"), "tapline"), "version");
    return text.len > 0 ? text : CORE_SPAN("before 0.1");
}

/* ---- what differs ---------------------------------------------------------------------------------------------------------- */

struct settings {
    char keys[SETTINGS_MAX][KEY_BYTES_MAX];
    struct core_span values[SETTINGS_MAX];
    size_t len;
};

/* {"index": {"a": {"b": 1}}} and {"index.a.b": "1"} are the same. */
static void settings_flatten(struct settings *out, const struct core_json_tree *tree, const char *prefix) {
    for (const struct core_json_tree *one = tree == NULL ? NULL : tree->first; one != NULL; one = one->next) {
        char key[KEY_BYTES_MAX];
        (void)snprintf(key, sizeof(key), "%s%s%.*s", prefix, prefix[0] == '\0' ? "" : ".", (int)one->key.len,
                       one->key.ptr);
        if (one->kind == CORE_JSON_OBJECT) {
            settings_flatten(out, one, key);
        } else if (out->len < SETTINGS_MAX) {
            memcpy(out->keys[out->len], key, sizeof(key));
            out->values[out->len++] = one->text;
        }
    }
}

static bool settings_same(const struct core_json_tree *a, const struct core_json_tree *b) {
    struct settings *both = calloc(2, sizeof(*both));
    MUST(both != NULL);
    settings_flatten(&both[0], a, "");
    settings_flatten(&both[1], b, "");
    size_t same = 0;
    for (size_t i = 0; i < both[0].len; i++) {
        for (size_t k = 0; k < both[1].len; k++) {
            same += strcmp(both[0].keys[i], both[1].keys[k]) == 0 && core_span_eq(both[0].values[i], both[1].values[k]);
        }
    }
    bool is_same = same == both[0].len && same == both[1].len;
    free(both);
    return is_same;
}

static bool is_empty(const struct core_json_tree *tree) {
    return tree == NULL || (tree->kind == CORE_JSON_OBJECT && tree->first == NULL);
}

static bool member_same(const struct core_json_tree *a, const struct core_json_tree *b, const char *key) {
    const struct core_json_tree *left = core_json_tree_get(a, key);
    const struct core_json_tree *right = core_json_tree_get(b, key);
    return (is_empty(left) && is_empty(right)) || (left != NULL && right != NULL && json_tree_same(left, right));
}

/* What is not as it should be, in words; NULL: nothing. */
static const char *difference_of(const struct core_json_tree *want, const struct core_json_tree *have) {
    static const char *const outer[] = {"index_patterns", "priority", "composed_of"};
    static const char *const inner[] = {"mappings", "aliases"};
    const struct core_json_tree *want_in = core_json_tree_get(want, "template");
    const struct core_json_tree *have_in = core_json_tree_get(have, "template");
    if ((core_json_tree_get(want, "data_stream") == NULL) != (core_json_tree_get(have, "data_stream") == NULL)) {
        return "index_mode";
    }
    for (size_t i = 0; i < sizeof(outer) / sizeof(outer[0]); i++) {
        if (!member_same(want, have, outer[i])) {
            return outer[i];
        }
    }
    for (size_t i = 0; i < sizeof(inner) / sizeof(inner[0]); i++) {
        if (!member_same(want_in, have_in, inner[i])) {
            return inner[i];
        }
    }
    if (!settings_same(core_json_tree_get(want_in, "settings"), core_json_tree_get(have_in, "settings"))) {
        return "settings";
    }
    return !member_same(want, have, "version") || !member_same(want, have, "_meta") ? "version" : NULL;
}

/* ---- installing ------------------------------------------------------------------------------------------------------------ */

static void on_file(void *ctx, const char *name, struct core_span text) {
    struct engine_run *run = ctx;
    const char *slash = strchr(name, '/');
    MUST(slash != NULL);
    run->files = realloc(run->files, (run->files_len + 1) * sizeof(*run->files));
    MUST(run->files != NULL);
    char *copy = malloc(text.len);
    char *base = strdup(slash + 1);
    MUST(copy != NULL && base != NULL && strlen(base) > strlen(".json"));
    memcpy(copy, text.ptr, text.len);
    base[strlen(base) - strlen(".json")] = '\0';
    run->files[run->files_len++] = (struct file){
        .name = base, .is_index = strncmp(name, "_index", strlen("_index")) == 0, .text = {copy, text.len}};
}

static void file_put(struct engine_run *run, const struct file *file) {
    const struct setup_thing thing = {run->engine.word, kinds[file->is_index], file->name};
    const struct core_json_tree *have = have_find(run, file->is_index, file->name);
    struct core_json_tree *want = NULL;
    struct core_fail fail = {0};
    struct setup_reply reply;
    char path[PATH_BYTES_MAX];
    char why[KEY_BYTES_MAX];
    MUST(core_json_tree_read(&run->arena, file->text, &want, &fail) == CORE_OK);
    const char *what = have == NULL ? "" : difference_of(want, have);
    if (what == NULL) {
        setup_tell(run->setup, &thing, SETUP_SAME, NULL);
        return;
    }
    bool is_older = version_of(have) < run->setup->version;
    struct core_span version = version_text(have);
    (void)snprintf(why, sizeof(why), is_older ? "%s, of version %.*s" : "%s", what, (int)version.len, version.ptr);
    if (have != NULL && !is_ours(have) && !run->setup->is_forced) {
        enum core_err err CORE_UNUSED =
            core_fail_set(&fail, CORE_BAD, run->engine.http.base,
                          "there is one of this name that tapline has not made: rename it, or let --force replace it");
        setup_tell_failed(run->setup, &thing, &fail);
        return;
    }
    if (run->setup->mode == SETUP_INSTALL) {
        (void)snprintf(path, sizeof(path), "%s%s", paths[file->is_index], file->name);
        if (setup_http_ask(&run->engine.http, "PUT", path, file->text, &reply, &fail) != CORE_OK) {
            setup_tell_failed(run->setup, &thing, &fail);
            return;
        }
    }
    setup_tell(run->setup, &thing, setup_result_of(run->setup, have != NULL, is_older), have == NULL ? NULL : why);
}

static void remove_one(struct engine_run *run, bool is_index, const char *name) {
    const struct setup_thing thing = {run->engine.word, kinds[is_index], name};
    struct core_fail fail = {0};
    struct setup_reply reply;
    char path[PATH_BYTES_MAX];
    (void)snprintf(path, sizeof(path), "%s%s", paths[is_index], name);
    enum core_err err = setup_http_ask(&run->engine.http, "DELETE", path, (struct core_span){0}, &reply, &fail);
    if (err != CORE_OK && reply.status != 404) {
        setup_tell_failed(run->setup, &thing, &fail);
    } else {
        setup_tell(run->setup, &thing, SETUP_REMOVED, NULL);
    }
}

/* Ours that the maps, or the index mode, no longer have. Those of another index mode would be taken for a mistake by a feeder;
 * the others do nothing by themselves. */
static void stale_see(struct engine_run *run) {
    const struct core_json_tree *list = run->have[1];
    for (const struct core_json_tree *one = list == NULL ? NULL : list->first; one != NULL; one = one->next) {
        struct core_span name = core_json_tree_text(one, "name");
        const struct core_json_tree *have = core_json_tree_get(one, members[1]);
        bool is_wanted = !is_ours(have);
        for (size_t i = 0; i < run->files_len && !is_wanted; i++) {
            is_wanted = run->files[i].is_index && core_span_is(name, run->files[i].name);
        }
        if (is_wanted) {
            continue;
        }
        const struct setup_thing thing = {run->engine.word, kinds[1], name.ptr};
        bool is_stream = core_json_tree_get(have, "data_stream") != NULL;
        if (is_stream == run->engine.is_data_stream) {
            setup_tell(run->setup, &thing, SETUP_LEFT, "these maps have no such dataset");
        } else if (run->setup->mode == SETUP_CHECK) {
            setup_tell(run->setup, &thing, SETUP_DIFFERS, "it is of another index_mode");
        } else {
            remove_one(run, true, name.ptr);
        }
    }
}

static void newer_tell(struct engine_run *run, int kind, const char *name, struct core_span version) {
    const struct setup_thing thing = {run->engine.word, kinds[kind], name};
    struct core_fail fail = {0};
    enum core_err err CORE_UNUSED = core_fail_set(
        &fail, CORE_BAD, run->engine.http.base,
        "tapline %.*s has made what is there, and this is %s: nothing is changed; use that version, or --force",
        (int)version.len, version.ptr, TAPLINE_VERSION);
    if (run->setup->mode == SETUP_CHECK) {
        setup_tell(run->setup, &thing, SETUP_DIFFERS, fail.text);
    } else {
        setup_tell_failed(run->setup, &thing, &fail);
    }
}

/* A newer tapline was here: its templates may be what its feeder needs. */
static bool is_newer_there(struct engine_run *run) {
    for (int i = 0; i < 2; i++) {
        const struct core_json_tree *list = run->have[i];
        for (const struct core_json_tree *one = list == NULL ? NULL : list->first; one != NULL; one = one->next) {
            const struct core_json_tree *have = core_json_tree_get(one, members[i]);
            if (!is_ours(have) || version_of(have) <= run->setup->version) {
                continue;
            }
            newer_tell(run, i, core_json_tree_text(one, "name").ptr, version_text(have));
            return true;
        }
    }
    return false;
}

static void install(struct engine_run *run) {
    const struct setup_conf *conf = &run->setup->config->setup;
    struct setup_policies policies = {0};
    struct normalize_export_site site = {.is_data_stream = run->engine.is_data_stream,
                                         .shards = conf->shards,
                                         .replicas = conf->replicas,
                                         .version = TAPLINE_VERSION,
                                         .is_daily = setup_is_daily,
                                         .ctx = (void *)(uintptr_t)run->engine.sink_conf};
    struct normalize_export_request request = {
        .kind = run->engine.product == SETUP_OPENSEARCH ? NORMALIZE_EXPORT_OPENSEARCH : NORMALIZE_EXPORT_ELASTICSEARCH,
        .site = &site,
        .file = on_file,
        .ctx = run};
    if (!run->setup->is_forced && is_newer_there(run)) {
        return;
    }
    bool has_failed = !setup_life(run->setup, &run->engine, &policies);
    if (has_failed) {
        return; /* templates that name a policy which is not there would make indices that stay for ever, unsaid */
    }
    site.policy_day = policies.day;
    site.policy_month = policies.month;
    normalize_export(run->setup->maps, &request);
    for (size_t i = 0; i < run->files_len; i++) {
        file_put(run, &run->files[i]);
    }
    stale_see(run);
}

/* ---- removing -------------------------------------------------------------------------------------------------------------- */

static void remove_all(struct engine_run *run) {
    struct setup_policies policies = {0};
    for (int i = 1; i >= 0; i--) { /* what is made of components goes first */
        const struct core_json_tree *list = run->have[i];
        for (const struct core_json_tree *one = list == NULL ? NULL : list->first; one != NULL; one = one->next) {
            const char *name = core_json_tree_text(one, "name").ptr;
            if (is_ours(core_json_tree_get(one, members[i]))) {
                remove_one(run, i == 1, name);
            } else {
                setup_tell(run->setup, &(struct setup_thing){run->engine.word, kinds[i], name}, SETUP_LEFT,
                           "tapline has not made it");
            }
        }
    }
    bool is_done CORE_UNUSED = setup_life(run->setup, &run->engine, &policies); /* what failed is said */
}

bool setup_is_daily(void *sink_conf, const char *dataset) {
    return sink_elastic_is_daily(sink_conf, dataset);
}

static const void *conf_of(const struct config *config) {
    const void *conf = NULL;
    for (size_t i = 0; i < config->sinks_len && conf == NULL; i++) {
        conf = strcmp(config->sinks[i].ops->name, "elasticsearch") == 0 ? config->sinks[i].conf : NULL;
    }
    MUST(conf != NULL);
    return conf;
}

void setup_engine(struct setup *setup) {
    struct engine_run run = {.setup = setup, .engine = {.word = "elasticsearch", .sink_conf = conf_of(setup->config)}};
    struct sink_elastic_places places = {0};
    struct core_fail fail = {0};
    struct setup_http *http = &run.engine.http;
    sink_elastic_places(run.engine.sink_conf, &places);
    MUST(core_arena_init(&run.arena, 1024 * CORE_MIB, &fail) == CORE_OK); /* of address space */
    setup_http_open(http);
    for (size_t i = 0; i < places.headers_len; i++) {
        setup_http_header(http, places.headers[i].name, places.headers[i].value);
    }
    http->secret = places.secret;
    http->ca_file = places.ca_file;
    http->cert_file = places.cert_file;
    http->key_file = places.key_file;
    http->timeout_ms = places.timeout_ms;
    run.engine.is_data_stream = places.is_data_stream;
    enum core_err err = host_find(&run.engine, &places, &fail);
    if (err == CORE_OK) {
        err = have_ask(&run, &fail);
    }
    if (err != CORE_OK) {
        setup_tell_failed(setup, &(struct setup_thing){run.engine.word, "templates", "tapline-*"}, &fail);
    } else if (setup->mode == SETUP_REMOVE) {
        remove_all(&run);
    } else {
        install(&run);
    }
    for (size_t i = 0; i < run.files_len; i++) {
        free(run.files[i].name);
        free((void *)(uintptr_t)run.files[i].text.ptr);
    }
    free(run.files);
    setup_http_close(http);
    core_arena_destroy(&run.arena);
    sink_elastic_places_release(&places);
}
