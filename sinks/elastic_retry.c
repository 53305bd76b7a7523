/* sinks/elastic_retry.c: what each failure means: is the document to blame, is the engine busy, or must a person act?
 *
 * A 400 is the document's fault and is believed after one try, but for those few that speak of the cluster: to make dead
 * letters of all that comes while a limit of it is reached would be a loss in all but name. The same goes for what is
 * blocked, closed or not to be made: it is waited for, and said aloud.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/elastic_internal.h"

#include "core/json_tree.h"

#include <stdio.h>

#define WAIT_FIRST_NS (100 * CORE_NS_PER_MS)
#define RETRY_AFTER_MAX_S 300
#define DOUBLINGS_MAX 20
#define WHOLE_TREE_BYTES_MAX (64 * CORE_KIB)

enum status {
    STATUS_OK = 200,
    STATUS_CREATED = 201,
    STATUS_BAD = 400,
    STATUS_UNAUTHORIZED = 401,
    STATUS_FORBIDDEN = 403,
    STATUS_NOT_FOUND = 404,
    STATUS_TIMEOUT = 408,
    STATUS_CONFLICT = 409,
    STATUS_TOO_LARGE = 413,
    STATUS_TOO_EARLY = 425,
    STATUS_TOO_MANY = 429,
    STATUS_SERVER = 500,
    STATUS_SERVER_LAST = 599
};

/* The cluster's state, told by the type of an error and words of its reason (NULL: any). */
static const struct state {
    const char *type;
    const char *words;
    const char *advice;
} states[] = {
    {"cluster_block_exception", NULL,
     "an index or the cluster is blocked for writing: free disk space on its nodes, or lift the block"},
    {"validation_exception", "maximum",
     "the cluster has all the shards it may have (cluster.max_shards_per_node): remove old indices, list fewer "
     "datasets "
     "under daily, or raise the limit"},
    {"illegal_argument_exception", "maximum normal shards open",
     "the cluster has all the shards it may have (cluster.max_shards_per_node): remove old indices, or raise the "
     "limit"},
    {"index_not_found_exception", NULL,
     "the index is not there and may not be made: allow action.auto_create_index for logs-*"},
    {"index_closed_exception", NULL, "the index is closed: open it, or remove it"},
    {"illegal_argument_exception", "cannot exceed [214", /* …7483519], Lucene's limit of documents */
     "the index holds all the documents it can: give it more shards, or list its dataset under daily"},
    {"illegal_argument_exception", "pipeline with id [",
     "a template names an ingest pipeline that is not there: make it"},
};

/* Errors that may pass by themselves, or may not. */
static const struct doubt {
    int status;
    const char *type;
    const char *words;
} doubts[] = {
    /* Two documents brought the same new field at the same time, and another's type won: the next try goes by that. */
    {STATUS_BAD, "illegal_argument_exception", "cannot be changed from type"},
};

static bool is_doubtful(const struct elastic_error *error) {
    for (size_t i = 0; i < sizeof doubts / sizeof doubts[0]; i++) {
        const struct doubt *doubt = &doubts[i];
        if (error->status == doubt->status && strcmp(error->type, doubt->type) == 0 &&
            strstr(error->reason, doubt->words) != NULL) {
            return true;
        }
    }
    return false;
}

static const char *state_advice(const char *type, const char *reason) {
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        if (strcmp(type, states[i].type) == 0 && (states[i].words == NULL || strstr(reason, states[i].words) != NULL)) {
            return states[i].advice;
        }
    }
    return NULL;
}

enum elastic_verdict elastic_meaning(const struct elastic_error *error, const char **advice) {
    int status = error->status;
    *advice = NULL;
    if (status == STATUS_OK || status == STATUS_CREATED) {
        return strcmp(error->failure_store, "used") == 0 ? ELASTIC_REFUSED : ELASTIC_TAKEN;
    }
    if (status == STATUS_CONFLICT && strstr(error->type, "version_conflict") != NULL) {
        return ELASTIC_REPEATED;
    }
    *advice = state_advice(error->type, error->reason);
    if (*advice != NULL) {
        return ELASTIC_WAITS;
    }
    if (strstr(error->type, "x_content") != NULL) { /* it can read no JSON there, and calls that a mistake of its own */
        return ELASTIC_REFUSED;
    }
    if (is_doubtful(error)) {
        return ELASTIC_DOUBTFUL;
    }
    switch (status) {
    case STATUS_UNAUTHORIZED:
    case STATUS_FORBIDDEN:
        return ELASTIC_BARRED;
    case STATUS_NOT_FOUND:
        *advice = "see what it says is missing";
        return ELASTIC_WAITS;
    case STATUS_TIMEOUT:
    case STATUS_CONFLICT:
    case STATUS_TOO_EARLY:
    case STATUS_TOO_MANY:
        return ELASTIC_AGAIN;
    default:
        return status > STATUS_BAD - 1 && status < STATUS_SERVER ? ELASTIC_REFUSED : ELASTIC_AGAIN;
    }
}

enum elastic_whole elastic_whole_of(int status, struct core_span body) {
    bool is_block = body.len > 0 && memmem(body.ptr, body.len, "cluster_block_exception", 23) != NULL;
    switch (status) {
    case STATUS_OK:
        return ELASTIC_WHOLE_ITEMS;
    case STATUS_TOO_MANY:
        return ELASTIC_WHOLE_LESS;
    case STATUS_TOO_LARGE:
    case STATUS_BAD:
        return ELASTIC_WHOLE_SPLIT;
    case STATUS_UNAUTHORIZED:
    case STATUS_FORBIDDEN:
        return is_block ? ELASTIC_WHOLE_WAITS : ELASTIC_WHOLE_BARRED;
    case STATUS_TIMEOUT:
    case STATUS_TOO_EARLY:
        return ELASTIC_WHOLE_AGAIN;
    default:
        return status >= STATUS_SERVER && status <= STATUS_SERVER_LAST ? ELASTIC_WHOLE_AGAIN : ELASTIC_WHOLE_WAITS;
    }
}

void elastic_whole_text(int status, struct core_span body, char *out, size_t out_len) {
    struct core_arena arena;
    struct core_json_tree *tree = NULL;
    struct core_fail fail;
    MUST(out_len > 0);
    const int shown_max = 200;
    struct core_span shown = core_utf8_cut(core_span_trim(body), (size_t)shown_max);
    snprintf(out, out_len, "status %d%s%.*s", status, shown.len == 0 ? "" : ": ", (int)shown.len,
             shown.len == 0 ? "" : shown.ptr);
    if (body.len == 0 || body.len > WHOLE_TREE_BYTES_MAX ||
        core_arena_init(&arena, CORE_JSON_TREE_BYTES_MIN + body.len * CORE_JSON_TREE_PER_BYTE, &fail) != CORE_OK) {
        return;
    }
    if (core_json_tree_read(&arena, body, &tree, &fail) == CORE_OK) {
        const struct core_json_tree *error = core_json_tree_get(tree, "error");
        struct core_span type = core_json_tree_text(error, "type");
        struct core_span reason = core_json_tree_text(error, "reason");
        if (type.len > 0) {
            snprintf(out, out_len, "status %d, %.*s: %.*s", status, (int)type.len, type.ptr, (int)reason.len,
                     reason.len == 0 ? "" : reason.ptr);
        }
    }
    core_arena_destroy(&arena);
}

int64_t elastic_wait_ns(unsigned tries, int64_t max_ns, int64_t retry_after_s) {
    int64_t tick = core_tick_ns();
    unsigned doublings = tries > DOUBLINGS_MAX ? DOUBLINGS_MAX : tries;
    int64_t wait = WAIT_FIRST_NS << doublings;
    wait = wait > max_ns ? max_ns : wait;
    /* Between half of it and all of it, so that many who failed together do not come back together. */
    wait = wait / 2 + (int64_t)(core_hash64(&tick, sizeof tick, (uint64_t)(uintptr_t)&tick) % (uint64_t)(wait / 2 + 1));
    int64_t asked = retry_after_s > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : retry_after_s;
    return asked * CORE_NS_PER_S > wait ? asked * CORE_NS_PER_S : wait;
}
