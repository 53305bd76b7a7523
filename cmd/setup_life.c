/* cmd/setup_life.c: how long indices live: policies of Elasticsearch's ILM or OpenSearch's ISM.
 *
 * An index that tapline names itself is never rolled over, so it goes by its age alone. Its age is that of its first document, and
 * its last one is up to a day or a month younger: so much longer it is kept, and nothing goes before its time. A data stream is
 * rolled over each day, and what was rolled over goes when its time has come.
 *
 * In Elasticsearch templates name their policy; in OpenSearch policies name the indices they are for. An engine may be without
 * either (they are modules): then it is said, and a person has to remove indices.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/json_tree.h"
#include "cmd/setup_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define PATH_BYTES_MAX 256
#define PRODUCTS_MAX 64
#define HOURS_OF_DAY 24
#define DAYS_OF_MONTH 31
#define PRIORITY_DAY 200 /* of ISM: a day's dataset is one of its product, too */
#define PRIORITY_MONTH 100

enum policy_kind { POLICY_DAY, POLICY_MONTH, POLICY_STREAM };
static const char *const policy_names[] = {
    [POLICY_DAY] = "tapline-day", [POLICY_MONTH] = "tapline-month", [POLICY_STREAM] = "tapline-stream"};
static const char kind_word[] = "life-cycle policy";

struct life {
    struct setup *setup;
    struct setup_engine *engine;
    const char *folder; /* "/_ilm/policy/" */
};

/* ---- what a policy says ---------------------------------------------------------------------------------------------------- */

/* "91d", or hours if it is no whole number of days. */
static void age_of(const struct life *life, enum policy_kind kind, char out[24]) {
    long long hours = (long long)(life->setup->config->setup.retention_ns / CORE_NS_PER_S / 3600);
    hours += kind == POLICY_DAY ? HOURS_OF_DAY : kind == POLICY_MONTH ? DAYS_OF_MONTH * HOURS_OF_DAY : 0;
    bool is_days = hours % HOURS_OF_DAY == 0;
    (void)snprintf(out, 24, "%lld%s", is_days ? hours / HOURS_OF_DAY : hours, is_days ? "d" : "h");
}

static void ilm_print(const struct life *life, enum policy_kind kind, FILE *out) {
    char age[24];
    age_of(life, kind, age);
    (void)fprintf(out, "{\"policy\":{\"phases\":{");
    if (kind == POLICY_STREAM) {
        (void)fprintf(out, "\"hot\":{\"min_age\":\"0ms\",\"actions\":{\"rollover\":{\"max_age\":\"1d\","
                           "\"max_primary_shard_size\":\"50gb\"}}},");
    }
    (void)fprintf(out,
                  "\"delete\":{\"min_age\":\"%s\",\"actions\":{\"delete\":{\"delete_searchable_snapshot\":true}}}},"
                  "\"_meta\":{\"managed_by\":\"%s\",\"tapline\":{\"version\":\"%s\"}}}}",
                  age, SETUP_OWNER, TAPLINE_VERSION);
}

/* For which indices an ISM policy is. */
struct patterns {
    const struct life *life;
    enum policy_kind kind;
    FILE *out;
    char products[PRODUCTS_MAX][64];
    size_t products_len;
    bool has_one;
};

static void pattern_print(struct patterns *patterns, const char *dataset, const char *rest) {
    (void)fprintf(patterns->out, "%s\"logs-%s%s-*%s\"", patterns->has_one ? "," : "", dataset, rest,
                  patterns->kind == POLICY_STREAM ? "" : "-*");
    patterns->has_one = true;
}

/* All of a product's datasets, or each whose index is a day's. */
static void on_dataset(void *ctx, const char *dataset, const char *ecs_fields) {
    struct patterns *patterns = ctx;
    (void)ecs_fields;
    if (patterns->kind == POLICY_DAY) {
        if (setup_is_daily((void *)(uintptr_t)patterns->life->engine->sink_conf, dataset)) {
            pattern_print(patterns, dataset, "");
        }
        return;
    }
    char product[64];
    (void)snprintf(product, sizeof(product), "%.*s", (int)strcspn(dataset, "."), dataset);
    for (size_t i = 0; i < patterns->products_len; i++) {
        if (strcmp(patterns->products[i], product) == 0) {
            return;
        }
    }
    if (patterns->products_len < PRODUCTS_MAX) {
        memcpy(patterns->products[patterns->products_len++], product, sizeof(product));
        pattern_print(patterns, product, ".*");
    }
}

static void ism_print(const struct life *life, enum policy_kind kind, FILE *out) {
    struct patterns patterns = {.life = life, .kind = kind, .out = out};
    char age[24];
    age_of(life, kind, age);
    (void)fprintf(
        out,
        "{\"policy\":{\"description\":\"%s %s: removes indices by age\",\"default_state\":\"kept\",\"states\":[{"
        "\"name\":\"kept\",\"actions\":[%s],\"transitions\":[{\"state_name\":\"removed\",\"conditions\":{\"%s\":"
        "\"%s\"}}]},{\"name\":\"removed\",\"actions\":[{\"delete\":{}}],\"transitions\":[]}],\"ism_template\":[{"
        "\"index_patterns\":[",
        SETUP_OWNER, TAPLINE_VERSION,
        kind == POLICY_STREAM ? "{\"rollover\":{\"min_index_age\":\"1d\",\"min_primary_shard_size\":\"50gb\"}}" : "",
        kind == POLICY_STREAM ? "min_rollover_age" : "min_index_age", age);
    normalize_datasets_walk(life->setup->maps, on_dataset, &patterns);
    if (kind != POLICY_DAY) {
        pattern_print(&patterns, "generic", "");
    }
    (void)fprintf(out, "],\"priority\":%d}]}}", kind == POLICY_DAY ? PRIORITY_DAY : PRIORITY_MONTH);
}

/* Owns: free(). */
static char *body_new(const struct life *life, enum policy_kind kind) {
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    MUST(out != NULL);
    (life->engine->product == SETUP_OPENSEARCH ? ism_print : ilm_print)(life, kind, out);
    MUST(fclose(out) == 0); /* it writes to memory */
    return text;
}

/* ---- what is there ---------------------------------------------------------------------------------------------------------- */

/* Does `have` say all that `want` says? Engines add members: when a policy was changed, how often an action is tried. */
static bool says_all(const struct core_json_tree *want, const struct core_json_tree *have) {
    if (have == NULL || want->kind != have->kind) {
        return false;
    }
    if (want->kind != CORE_JSON_OBJECT && want->kind != CORE_JSON_ARRAY) {
        return json_tree_same(want, have);
    }
    const struct core_json_tree *other = have->first;
    bool is_array = want->kind == CORE_JSON_ARRAY;
    for (const struct core_json_tree *one = want->first; one != NULL; one = one->next) {
        if (!says_all(one, is_array ? other : core_json_tree_get(have, one->key.ptr))) {
            return false;
        }
        other = other == NULL ? NULL : other->next;
    }
    return !is_array || other == NULL;
}

/* What is there, of either engine. */
struct found {
    bool has_module;
    const struct core_json_tree *policy; /* NULL: it is not there */
    long long seq_no;                    /* ISM: what a change must name */
    long long primary_term;
};

static long long number_of(const struct core_json_tree *object, const char *key) {
    const struct core_json_tree *number = core_json_tree_get(object, key);
    return number == NULL ? 0 : strtoll(number->text.ptr, NULL, 10);
}

static enum core_err policy_ask(const struct life *life, const char *name, struct found *out, struct core_fail *fail) {
    char path[PATH_BYTES_MAX];
    struct setup_reply reply;
    (void)snprintf(path, sizeof(path), "%s%s", life->folder, name);
    enum core_err err = setup_http_ask(&life->engine->http, "GET", path, (struct core_span){0}, &reply, fail);
    /* "no handler found for uri": nobody there knows of policies */
    bool is_unknown = reply.status == 400 || reply.status == 405 || reply.status == 410 || reply.status == 501;
    *out = (struct found){.has_module = !is_unknown};
    if (err == CORE_OK) {
        bool is_ism = life->engine->product == SETUP_OPENSEARCH;
        out->policy = core_json_tree_get(is_ism ? reply.json : core_json_tree_get(reply.json, name), "policy");
        out->seq_no = number_of(reply.json, "_seq_no");
        out->primary_term = number_of(reply.json, "_primary_term");
    }
    return err == CORE_OK || is_unknown || reply.status == 404 ? CORE_OK : err;
}

/* Whose is it? What it is called by ILM in _meta, by ISM in its description. */
static bool is_ours(const struct core_json_tree *policy) {
    struct core_span owner = core_json_tree_text(core_json_tree_get(policy, "_meta"), "managed_by");
    return core_span_is(owner, SETUP_OWNER) ||
           core_span_starts(core_json_tree_text(policy, "description"), CORE_SPAN(SETUP_OWNER " "));
}

/* Has an older tapline made it? */
static bool is_older(const struct life *life, const struct core_json_tree *policy) {
    struct core_span version =
        core_json_tree_text(core_json_tree_get(core_json_tree_get(policy, "_meta"), "tapline"), "version");
    struct core_span description = core_json_tree_text(policy, "description");
    const char *text = version.len > 0 ? version.ptr
                       : core_span_starts(description, CORE_SPAN(SETUP_OWNER " "))
                           ? description.ptr + strlen(SETUP_OWNER " ")
                           : "";
    return normalize_export_version(text) < life->setup->version;
}

/* ---- what is done ------------------------------------------------------------------------------------------------------------ */

static enum core_err policy_put(const struct life *life, const char *name, const struct found *found, const char *body,
                                struct core_fail *fail) {
    char path[PATH_BYTES_MAX];
    struct setup_reply reply;
    bool is_ism = life->engine->product == SETUP_OPENSEARCH;
    if (is_ism && found->policy != NULL) {
        (void)snprintf(path, sizeof(path), "%s%s?if_seq_no=%lld&if_primary_term=%lld", life->folder, name,
                       found->seq_no, found->primary_term);
    } else {
        (void)snprintf(path, sizeof(path), "%s%s", life->folder, name);
    }
    return setup_http_ask(&life->engine->http, "PUT", path, core_span_of(body), &reply, fail);
}

/* Is the policy that is there the one that is wanted? An ILM policy with phases more is another one. */
static bool policy_same(const char *body, const struct core_json_tree *have, struct core_arena *arena) {
    struct core_json_tree *want = NULL;
    struct core_fail fail = {0};
    MUST(core_json_tree_read(arena, core_span_of(body), &want, &fail) == CORE_OK);
    const struct core_json_tree *policy = core_json_tree_get(want, "policy");
    size_t phases = 0;
    const struct core_json_tree *lists[2] = {core_json_tree_get(policy, "phases"), core_json_tree_get(have, "phases")};
    for (int i = 0; i < 2; i++) {
        for (const struct core_json_tree *one = lists[i] == NULL ? NULL : lists[i]->first; one != NULL;
             one = one->next) {
            phases += i == 0 ? 1 : (size_t)-1;
        }
    }
    return phases == 0 && says_all(policy, have);
}

/* Returns false if it failed, said. */
static bool policy_install(const struct life *life, enum policy_kind kind, const struct found *found) {
    const struct setup_thing thing = {life->engine->word, kind_word, policy_names[kind]};
    struct core_fail fail = {0};
    enum core_err err = CORE_OK;
    char *body = body_new(life, kind);
    bool is_there = found->policy != NULL;
    if (strstr(body, "\"index_patterns\":[]") !=
        NULL) { /* no dataset has a day's index: ISM refuses a policy for none */
        free(body);
        return true;
    }
    if (is_there && policy_same(body, found->policy, &life->engine->http.arena)) {
        setup_tell(life->setup, &thing, SETUP_SAME, NULL);
    } else if (is_there && !is_ours(found->policy) && !life->setup->is_forced) {
        err =
            core_fail_set(&fail, CORE_BAD, life->engine->http.base,
                          "there is one of this name that tapline has not made: rename it, or let --force replace it");
    } else {
        if (life->setup->mode == SETUP_INSTALL) {
            err = policy_put(life, policy_names[kind], found, body, &fail);
        }
        if (err == CORE_OK) {
            setup_tell(life->setup, &thing,
                       setup_result_of(life->setup, is_there, is_there && is_older(life, found->policy)), NULL);
        }
    }
    if (err != CORE_OK) {
        setup_tell_failed(life->setup, &thing, &fail);
    }
    free(body);
    return err == CORE_OK;
}

static void policy_remove(const struct life *life, enum policy_kind kind, const struct found *found) {
    const struct setup_thing thing = {life->engine->word, kind_word, policy_names[kind]};
    char path[PATH_BYTES_MAX];
    struct core_fail fail = {0};
    struct setup_reply reply;
    if (found->policy == NULL) {
        return;
    }
    if (!is_ours(found->policy)) {
        setup_tell(life->setup, &thing, SETUP_LEFT, "tapline has not made it");
        return;
    }
    (void)snprintf(path, sizeof(path), "%s%s", life->folder, policy_names[kind]);
    enum core_err err = setup_http_ask(&life->engine->http, "DELETE", path, (struct core_span){0}, &reply, &fail);
    if (err == CORE_OK || reply.status == 404) {
        setup_tell(life->setup, &thing, SETUP_REMOVED, NULL);
    } else if (reply.status == 400 || reply.status == 409) {
        setup_tell(life->setup, &thing, SETUP_LEFT, "indices still use it; run this again when they are gone");
    } else {
        setup_tell_failed(life->setup, &thing, &fail);
    }
}

/* One policy, looked at and seen to. Returns false if it failed, said. */
static bool policy_do(const struct life *life, enum policy_kind kind, bool *has_module) {
    struct core_fail fail = {0};
    struct found found;
    const struct setup_thing thing = {life->engine->word, kind_word, policy_names[kind]};
    if (policy_ask(life, policy_names[kind], &found, &fail) != CORE_OK) {
        setup_tell_failed(life->setup, &thing, &fail);
        return false;
    }
    *has_module = found.has_module;
    if (!found.has_module) {
        return true;
    }
    if (life->setup->mode == SETUP_REMOVE) {
        policy_remove(life, kind, &found);
        return true;
    }
    return policy_install(life, kind, &found);
}

bool setup_life(struct setup *setup, struct setup_engine *engine, struct setup_policies *out) {
    bool is_ism = engine->product == SETUP_OPENSEARCH;
    const struct life life = {
        .setup = setup, .engine = engine, .folder = is_ism ? "/_plugins/_ism/policies/" : "/_ilm/policy/"};
    bool is_wanted = setup->mode == SETUP_REMOVE || setup->config->setup.retention_ns > 0;
    bool has_module = true;
    bool is_done = true;
    *out = (struct setup_policies){0};
    for (int kind = POLICY_DAY; kind <= POLICY_STREAM && is_wanted && has_module; kind++) {
        bool is_of_mode = (kind == POLICY_STREAM) == engine->is_data_stream;
        if (is_of_mode || setup->mode == SETUP_REMOVE) {
            is_done = policy_do(&life, (enum policy_kind)kind, &has_module) && is_done;
        }
    }
    if (!has_module && setup->mode != SETUP_REMOVE) {
        setup_tell(setup, &(struct setup_thing){engine->word, kind_word, "tapline-*"}, SETUP_SKIPPED,
                   is_ism ? "this OpenSearch has no Index State Management: indices stay until you remove them"
                          : "this Elasticsearch has no Index Lifecycle Management: indices stay until you remove them");
    } else if (is_wanted && has_module && !is_ism) {
        out->day = engine->is_data_stream ? NULL : policy_names[POLICY_DAY];
        out->month = policy_names[engine->is_data_stream ? POLICY_STREAM : POLICY_MONTH];
    }
    return is_done;
}
