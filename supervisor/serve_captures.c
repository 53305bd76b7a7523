/* supervisor/serve_captures.c: packets that Zeek received and lost, by its own telemetry, so that they stand beside what the
 * pipeline loses.
 *
 * Only nodes that run Zeek and see packets are asked, each ASK_NS, by a job (serve_work.c): a sensor that is busy answers late.
 * Counts begin anew with the sensor; its loss is that of the time since it was asked before. What other sensors say of their
 * packets passes `tapline run` as records, and is told there.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_health_internal.h"

#include <stdlib.h>

#define ASK_NS (15 * CORE_NS_PER_S)
#define ASK_ALL_NS (30 * CORE_NS_PER_S) /* all nodes together; who comes later has its turn the next time */
#define MEMBERS_BYTES_MAX 1024
#define PPM 1000000.0

struct capture {
    char *name;
    char *metrics_url;
    char *interface;
    char *directory;
    enum sensor_type type;
    struct serve_capture now;
    struct serve_capture before;
    int64_t asked_ns; /* wall clock of `now`; 0: it has never answered */
    int64_t loss_ppm; /* CORE_HEALTH_UNKNOWN: asked once only */
};
/* One round: copies, so that the thread sees nothing of Main. */
struct round {
    struct serve_captures *captures;
    const struct serve_env *env;
    struct capture *rows;
    size_t rows_len;
};
struct serve_captures {
    struct serve_health *health;
    struct capture *rows; /* what is known, in the order of the nodes */
    size_t rows_len;
    int64_t due_tick;
    bool is_asking;
};

static void rows_free(struct capture *rows, size_t len) {
    for (size_t i = 0; i < len; i++) {
        free(rows[i].name);
        free(rows[i].metrics_url);
        free(rows[i].interface);
        free(rows[i].directory);
    }
    free(rows);
}

static uint64_t packets_of(const struct serve_capture *capture) {
    return capture->link != 0 ? capture->link : capture->received + capture->dropped;
}

static void row_judge(struct capture *row) {
    uint64_t all = packets_of(&row->now) - packets_of(&row->before);
    uint64_t lost = row->now.dropped - row->before.dropped;
    row->loss_ppm = CORE_HEALTH_UNKNOWN;
    if (row->before.is_there && packets_of(&row->now) >= packets_of(&row->before) &&
        row->now.dropped >= row->before.dropped) { /* else it was started anew */
        row->loss_ppm = all == 0 ? 0 : (int64_t)(PPM * (double)lost / (double)(lost > all ? lost : all));
    }
}

/* ---- in the thread ------------------------------------------------------------------------------------------------------- */

static void row_ask(const struct serve_env *env, struct capture *row) {
    char bytes[MEMBERS_BYTES_MAX];
    struct core_buf members = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    struct core_fail fail = {0};
    struct serve_capture told = {0};
    const struct sensors_node node = {.name = row->name,
                                      .type = row->type,
                                      .interface = row->interface,
                                      .directory = row->directory,
                                      .metrics_url = row->metrics_url};
    if (env->netstats(env->ctx, &node, &members, &fail) == CORE_OK && !members.is_full) {
        serve_capture_telemetry(core_buf_written(&members), &told);
    }
    if (told.is_there) {
        row->before = row->now;
        row->now = told;
        row->asked_ns = core_now_ns();
        row_judge(row);
    }
}

static void round_run(void *ctx, const atomic_bool *stop) {
    struct round *round = ctx;
    int64_t until = core_tick_ns() + ASK_ALL_NS;
    for (size_t i = 0; i < round->rows_len && core_tick_ns() < until && !atomic_load(stop); i++) {
        row_ask(round->env, &round->rows[i]);
    }
}

/* ---- in the loop ----------------------------------------------------------------------------------------------------------- */

static void round_done(void *ctx, bool is_stopped) {
    struct round *round = ctx;
    struct serve_captures *captures = round->captures;
    (void)is_stopped;
    captures->is_asking = false;
    captures->due_tick = core_tick_ns() + ASK_NS;
    rows_free(captures->rows, captures->rows_len);
    captures->rows = round->rows;
    captures->rows_len = round->rows_len;
    free(round);
    serve_health_on_state(captures->health->serve);
}

/* Of a cluster only the workers see packets. */
static bool is_asked(const struct serve *serve, const struct sensors_node *node) {
    return node->metrics_url[0] != '\0' && serve->env->netstats != NULL &&
           (node->type == SENSOR_STANDALONE || node->type == SENSOR_WORKER);
}

static void row_begin(const struct serve_captures *captures, const struct sensors_node *node, struct capture *row) {
    *row = (struct capture){.name = serve_copy(node->name),
                            .metrics_url = serve_copy(node->metrics_url),
                            .interface = serve_copy(node->interface),
                            .directory = serve_copy(node->directory),
                            .type = node->type,
                            .loss_ppm = CORE_HEALTH_UNKNOWN};
    for (size_t i = 0; i < captures->rows_len; i++) {
        const struct capture *known = &captures->rows[i];
        if (strcmp(known->name, node->name) == 0 && strcmp(known->metrics_url, node->metrics_url) == 0) {
            row->now = known->now;
            row->before = known->before;
            row->asked_ns = known->asked_ns;
            row->loss_ppm = known->loss_ppm;
        }
    }
}

void serve_captures_turn(struct serve_captures *captures) {
    struct serve *serve = captures->health->serve;
    size_t len = 0;
    for (size_t i = 0; i < serve->deployed.nodes_len; i++) {
        len += is_asked(serve, &serve->deployed.nodes[i]) ? 1 : 0;
    }
    if (captures->is_asking || core_tick_ns() < captures->due_tick || (len == 0 && captures->rows_len == 0)) {
        return;
    }
    struct round *round = calloc(1, sizeof(*round));
    MUST(round != NULL);
    *round = (struct round){.captures = captures, .env = serve->env, .rows = calloc(len + 1, sizeof(*round->rows))};
    MUST(round->rows != NULL);
    for (size_t i = 0; i < serve->deployed.nodes_len; i++) {
        if (is_asked(serve, &serve->deployed.nodes[i])) {
            row_begin(captures, &serve->deployed.nodes[i], &round->rows[round->rows_len++]);
        }
    }
    captures->is_asking =
        serve_work_start(serve, &(struct serve_job){.run = round_run, .done = round_done, .ctx = round});
    if (!captures->is_asking) { /* what is known stays */
        captures->due_tick = core_tick_ns() + ASK_NS;
        rows_free(round->rows, round->rows_len);
        free(round);
    }
}

void serve_captures_write(const struct serve_captures *captures, struct core_health_page *page) {
    for (size_t i = 0; i < captures->rows_len; i++) {
        const struct capture *known = &captures->rows[i];
        if (known->asked_ns != 0) {
            struct core_health_row *row = core_health_add(page, CORE_HEALTH_CAPTURE, known->name, "telemetry", NULL);
            core_health_set(row, CORE_CAPTURE_RECEIVED, (int64_t)known->now.received);
            core_health_set(row, CORE_CAPTURE_DROPPED, (int64_t)known->now.dropped);
            core_health_set(row, CORE_CAPTURE_LOSS, known->loss_ppm);
            core_health_set(row, CORE_CAPTURE_LAST, known->asked_ns);
        }
    }
}

struct serve_captures *serve_captures_new(struct serve_health *health) {
    struct serve_captures *captures = calloc(1, sizeof(*captures));
    MUST(captures != NULL);
    captures->health = health;
    return captures;
}

void serve_captures_free(struct serve_captures *captures) {
    MUST(!captures->is_asking);
    rows_free(captures->rows, captures->rows_len);
    free(captures);
}
