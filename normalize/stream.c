/* normalize/stream.c: what is remembered of a stream between its lines: the plans of the logs seen in it, the last used in
 * front. A stream mostly holds one log; a file with many (`_path` differs by line) keeps up to PLANS_MAX plans and lets
 * the one not used for longest go.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/zone.h"
#include "normalize/normalize_internal.h"

#include <stdlib.h>

struct stream_state *stream_state_new(const struct normalize_maps *maps, const struct core_stream *stream) {
    struct stream_state *state = calloc(1, sizeof(*state));
    MUST(state != NULL);
    state->maps = maps;
    state->stream = stream;
    const char *slash = strrchr(stream->path, '/');
    const char *base = slash == NULL ? stream->path : slash + 1;
    size_t len = strcspn(base, ".");
    if (len == 0 || strcmp(base, "-") == 0) {
        base = "unknown";
        len = strlen(base);
    }
    len = len < sizeof(state->name) ? len : sizeof(state->name) - 1;
    memcpy(state->name, base, len);
    return state;
}

void stream_state_free(struct stream_state *state) {
    if (state == NULL) {
        return;
    }
    for (size_t i = 0; i < state->plans_len; i++) {
        plan_free(state->plans[i]);
    }
    tsv_free(state->tsv);
    snort_csv_free(state->csv);
    core_zone_close(state->zone);
    free(state);
}

void stream_state_remap(struct stream_state *state, const struct normalize_maps *maps) {
    for (size_t i = 0; i < state->plans_len; i++) {
        plan_free(state->plans[i]);
    }
    state->plans_len = 0;
    state->plan_serial++;
    state->maps = maps;
}

static bool plan_fits(const struct plan *plan, const struct plan_want *want) {
    if (!core_span_eq(plan->log, want->log) || !core_span_eq(plan->product, want->product)) {
        return false;
    }
    if (want->columns == NULL || plan->may_grow) {
        return want->columns == NULL && plan->may_grow;
    }
    if (plan->decoded_len != want->columns_len) {
        return false;
    }
    for (size_t i = 0; i < want->columns_len; i++) {
        if (!core_span_eq(plan->columns[i].name, want->columns[i].name) ||
            plan->columns[i].declared.type != want->columns[i].declared.type ||
            plan->columns[i].declared.is_list != want->columns[i].declared.is_list) {
            return false;
        }
    }
    return true;
}

static void to_front(struct stream_state *state, size_t at) {
    state->plan_serial += at > 0 || state->plan_serial == 0;
    struct plan *plan = state->plans[at];
    memmove(&state->plans[1], &state->plans[0], at * sizeof(state->plans[0]));
    state->plans[0] = plan;
}

static struct plan *make(struct normalize_worker *worker, const struct plan_request *request) {
    struct plan *plan = NULL;
    struct core_fail fail = {0};
    if (plan_make(&plan, request, &fail) != CORE_OK) {
        (void)record_refuse(worker, "%s", fail.text);
        return NULL;
    }
    return plan;
}

struct plan *stream_plan(struct normalize_worker *worker, struct stream_state *state, const struct plan_want *want) {
    for (size_t i = 0; i < state->plans_len; i++) {
        if (plan_fits(state->plans[i], want)) {
            to_front(state, i);
            return state->plans[0];
        }
    }
    struct plan_request request = {.maps = state->maps,
                                   .worker = worker,
                                   .stream = state->stream,
                                   .product = want->product,
                                   .log = want->log,
                                   .columns = want->columns,
                                   .columns_len = want->columns_len,
                                   .may_grow = want->columns == NULL};
    struct plan *plan = make(worker, &request);
    if (plan == NULL) {
        return NULL;
    }
    if (state->plans_len == PLANS_MAX) {
        plan_free(state->plans[--state->plans_len]);
    }
    state->plans[state->plans_len] = plan;
    to_front(state, state->plans_len++);
    state->plan_serial++;
    return plan;
}

struct plan *stream_plan_grow(struct normalize_worker *worker, struct stream_state *state, const struct column *more,
                              size_t more_len) {
    struct plan *old = state->plans[0];
    size_t keep = old->decoded_len;
    if (keep + more_len > COLUMNS_MAX) {
        keep = 0; /* a log that never repeats a field: start again with this record's own */
    }
    if (more_len > COLUMNS_MAX) {
        (void)record_refuse(worker, "the record has more than %d fields", COLUMNS_MAX);
        return NULL;
    }
    struct column *columns = calloc(keep + more_len, sizeof(*columns));
    MUST(columns != NULL);
    memcpy(columns, old->columns, keep * sizeof(*columns));
    memcpy(columns + keep, more, more_len * sizeof(*columns));
    struct plan_request request = {.maps = old->maps,
                                   .worker = worker,
                                   .stream = state->stream,
                                   .product = old->product,
                                   .log = old->log,
                                   .columns = columns,
                                   .columns_len = keep + more_len,
                                   .may_grow = true};
    struct plan *plan = make(worker, &request);
    free(columns);
    if (plan != NULL) {
        plan_free(old);
        state->plans[0] = plan;
        state->plan_serial++;
    }
    return plan;
}
