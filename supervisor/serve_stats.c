/* supervisor/serve_stats.c: netstats, capstats, df: how much comes in, how much is lost, how much room is left.
 *
 * All three wait for others (telemetry over HTTP, a second between two looks, a file system that may not answer), so each is a
 * job of its own (serve_work.c): the request is answered when it is done. Not more than JOBS_MAX at once.
 *
 * netstats asks the sensor itself where it can: Zeek's telemetry, Suricata's stats. Where it cannot, it says so, and gives what
 * the kernel counts at the interface: that is what came in, not what the sensor saw.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_diag_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>

#define JOBS_MAX 8
#define BETWEEN_NS CORE_NS_PER_S        /* the two looks that a rate is made of */
#define ASK_NS_MAX (15 * CORE_NS_PER_S) /* all nodes together; who comes later is not asked */
#define MEMBERS_BYTES_MAX 1024
#define ANSWER_BYTES_MAX (CORE_RPC_LINE_BYTES_MAX - 64 * CORE_KIB)

/* A node's row: what is asked, and what was found. */
struct row {
    char *name;
    char *interface;
    char *directory;
    char *metrics_url;
    enum sensor_type type;
    struct serve_capture first;
    struct serve_capture second;
    struct serve_interface link[2];
    bool has_link[2];
    int64_t tick[2];
    bool has_loss;
    double loss;
};
struct stats {
    struct serve *serve;
    struct core_rpc_request *request;
    const struct serve_env *env;
    struct row *rows;
    size_t rows_len;
    char **log_directories; /* of managers and loggers: a cluster's capture_loss.log is there */
    size_t log_directories_len;
    struct core_buf out;
    void (*write)(struct stats *stats); /* the answer, from the loop; NULL: the thread has written it */
};

static void stats_free(struct stats *stats) {
    for (size_t i = 0; i < stats->rows_len; i++) {
        free(stats->rows[i].name);
        free(stats->rows[i].interface);
        free(stats->rows[i].directory);
        free(stats->rows[i].metrics_url);
    }
    for (size_t i = 0; i < stats->log_directories_len; i++) {
        free(stats->log_directories[i]);
    }
    free(stats->log_directories);
    free(stats->rows);
    free(stats->out.start);
    free(stats);
}

static void stats_done(void *ctx, bool is_stopped) {
    struct stats *stats = ctx;
    serve_diag_of(stats->serve)->stats_jobs--;
    if (is_stopped) {
        core_rpc_refuse(stats->request, CORE_RPC_REFUSED, "tapline serve is ending; ask again when it is back");
    } else {
        if (stats->write != NULL) {
            stats->write(stats);
        }
        MUST(!stats->out.is_full);
        core_rpc_result(stats->request, core_buf_written(&stats->out));
    }
    stats_free(stats);
}

/* NULL: refused already. */
static struct stats *stats_new(struct serve *serve, struct core_rpc_request *request,
                               void (*write)(struct stats *stats)) {
    struct serve_diag *diag = serve_diag_of(serve);
    if (diag->stats_jobs >= JOBS_MAX || diag->is_ending) {
        core_rpc_refuse(request, CORE_RPC_REFUSED,
                        "%d such questions are being answered already; ask again in a second", JOBS_MAX);
        return NULL;
    }
    struct stats *stats = calloc(1, sizeof(*stats));
    MUST(stats != NULL);
    stats->serve = serve;
    stats->request = request;
    stats->env = serve->env;
    stats->write = write;
    stats->out.start = malloc(ANSWER_BYTES_MAX);
    MUST(stats->out.start != NULL);
    stats->out.pos = stats->out.start;
    stats->out.end = stats->out.start + ANSWER_BYTES_MAX;
    return stats;
}

static void stats_start(struct stats *stats, void (*run)(void *ctx, const atomic_bool *stop)) {
    if (serve_work_start(stats->serve, &(struct serve_job){.run = run, .done = stats_done, .ctx = stats})) {
        serve_diag_of(stats->serve)->stats_jobs++;
    } else {
        core_rpc_refuse(stats->request, CORE_RPC_REFUSED, "no thread or descriptor is left for it; ask again");
        stats_free(stats);
    }
}

/* Every Zeek process has telemetry, but of a cluster only the workers see packets. */
static bool sees_packets(const struct sensors_node *node) {
    bool is_for_others = node->type == SENSOR_MANAGER || node->type == SENSOR_LOGGER || node->type == SENSOR_PROXY;
    return node->interface[0] != '\0' || (node->metrics_url[0] != '\0' && !is_for_others);
}

/* Rows of the picked nodes that see packets. False: refused already. */
static bool rows_pick(struct stats *stats, const struct core_json_tree *params) {
    struct serve *serve = stats->serve;
    size_t *picked = NULL;
    size_t len = 0;
    if (!serve_pick(serve, stats->request, params, &picked, &len)) {
        return false;
    }
    stats->rows = calloc(len + 1, sizeof(stats->rows[0]));
    MUST(stats->rows != NULL);
    for (size_t i = 0; i < len; i++) {
        const struct sensors_node *node = &serve->deployed.nodes[picked[i]];
        if (sees_packets(node)) {
            stats->rows[stats->rows_len++] = (struct row){.name = serve_copy(node->name),
                                                          .interface = serve_copy(node->interface),
                                                          .directory = serve_copy(node->directory),
                                                          .metrics_url = serve_copy(node->metrics_url),
                                                          .type = node->type};
        }
    }
    free(picked);
    return true;
}

static void decimal_put(struct core_buf *out, const char *key, double value) {
    char text[64];
    int len = snprintf(text, sizeof(text), ",\"%s\":%.2f", key, value);
    core_buf_put(out, text, (size_t)len);
}

/* Wait, but not when nobody waits for us. */
static void wait_between(const atomic_bool *stop) {
    const struct timespec step = {.tv_nsec = 50 * CORE_NS_PER_MS};
    for (int64_t until = core_tick_ns() + BETWEEN_NS; core_tick_ns() < until && !atomic_load(stop);) {
        (void)nanosleep(&step, NULL);
    }
}

static double rate_of(uint64_t before, uint64_t after, int64_t ns) {
    return after < before || ns <= 0 ? 0 : (double)(after - before) * (double)CORE_NS_PER_S / (double)ns;
}

/* ---- netstats --------------------------------------------------------------------------------------------------------------- */

static bool is_zeek(enum sensor_type type) {
    return type <= SENSOR_WORKER;
}

/* What the sensor says of itself; false: out->note says why it does not. */
static bool sensor_look(struct stats *stats, const struct row *row, struct serve_capture *out) {
    *out = (struct serve_capture){0};
    if (row->type == SENSOR_SURICATA) {
        serve_capture_suricata(row->directory, out);
        return out->is_there;
    }
    if (!is_zeek(row->type) || row->metrics_url[0] == '\0' || stats->env->netstats == NULL) {
        (void)snprintf(out->note, sizeof(out->note), "%s",
                       is_zeek(row->type) ? "its telemetry is not known: metrics_url of the node"
                                          : "this kind of sensor does not tell");
        return false;
    }
    char bytes[MEMBERS_BYTES_MAX];
    struct core_buf members = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    struct core_fail fail = {0};
    const struct sensors_node node = {.name = row->name,
                                      .type = row->type,
                                      .interface = row->interface,
                                      .directory = row->directory,
                                      .metrics_url = row->metrics_url};
    if (stats->env->netstats(stats->env->ctx, &node, &members, &fail) != CORE_OK || members.is_full) {
        (void)snprintf(out->note, sizeof(out->note), "%.120s: %.380s", fail.where, fail.text);
        return false;
    }
    serve_capture_telemetry(core_buf_written(&members), out);
    return out->is_there;
}

static void row_look(struct stats *stats, struct row *row, int which) {
    row->tick[which] = core_tick_ns();
    (void)sensor_look(stats, row, which == 0 ? &row->first : &row->second);
    if (row->interface[0] != '\0') {
        row->has_link[which] = serve_interface_read(NULL, row->interface, &row->link[which]);
    }
}

static void row_loss(struct stats *stats, struct row *row) {
    if (!is_zeek(row->type)) {
        return;
    }
    row->has_loss = serve_capture_loss(row->directory, NULL, &row->loss);
    for (size_t i = 0; i < stats->log_directories_len && !row->has_loss; i++) {
        row->has_loss = serve_capture_loss(stats->log_directories[i], row->name, &row->loss);
    }
}

static void netstats_run(void *ctx, const atomic_bool *stop) {
    struct stats *stats = ctx;
    int64_t until = core_tick_ns() + ASK_NS_MAX;
    for (int which = 0; which < 2; which++) {
        for (size_t i = 0; i < stats->rows_len && core_tick_ns() < until && !atomic_load(stop); i++) {
            bool is_silent = which == 1 && !stats->rows[i].first.is_there && stats->rows[i].metrics_url[0] != '\0';
            if (!is_silent) { /* who did not answer is not asked twice */
                row_look(stats, &stats->rows[i], which);
            } else if (stats->rows[i].has_link[0]) {
                stats->rows[i].tick[1] = core_tick_ns();
                stats->rows[i].has_link[1] =
                    serve_interface_read(NULL, stats->rows[i].interface, &stats->rows[i].link[1]);
            }
        }
        if (which == 0) {
            wait_between(stop);
        }
    }
    for (size_t i = 0; i < stats->rows_len; i++) {
        row_loss(stats, &stats->rows[i]);
    }
}

/* What is to be told of the row: the sensor's own numbers, else the interface's. */
static void row_judge(struct row *row, struct serve_capture *out, double *per_s, bool *has_rate) {
    int64_t ns = row->tick[1] - row->tick[0];
    bool has_both = row->first.is_there && row->second.is_there;
    *has_rate = false;
    *out = has_both ? row->second : row->first;
    if (has_both) { /* a record that was not renewed meanwhile has no rate */
        *has_rate = out->as_of[0] == '\0' && row->second.received >= row->first.received;
        *per_s = rate_of(row->first.received, row->second.received, ns);
    } else if (!out->is_there && row->has_link[0]) {
        const struct serve_interface *link = &row->link[row->has_link[1] ? 1 : 0];
        char why[sizeof(out->note)];
        memcpy(why, out->note, sizeof(why));
        *out = (struct serve_capture){
            .is_there = true, .received = link->packets, .dropped = link->dropped, .bytes = link->bytes};
        (void)snprintf(out->source, sizeof(out->source), "interface");
        (void)snprintf(out->note, sizeof(out->note), "the kernel's count at the interface, not the sensor's: %.400s",
                       why);
        *has_rate = row->has_link[1];
        *per_s = rate_of(row->link[0].packets, row->link[1].packets, ns);
    } else if (out->note[0] == '\0') {
        (void)snprintf(out->note, sizeof(out->note), "not asked: the nodes before it took too long");
    }
}

static void netstats_write(struct stats *stats) {
    struct core_buf *out = &stats->out;
    core_buf_span(out, CORE_SPAN("{\"nodes\":["));
    for (size_t i = 0; i < stats->rows_len; i++) {
        struct row *row = &stats->rows[i];
        struct serve_capture told;
        double per_s = 0;
        bool has_rate = false;
        row_judge(row, &told, &per_s, &has_rate);
        uint64_t all = told.link != 0 ? told.link : told.received + told.dropped;
        core_buf_put(out, ",", i == 0 ? 0 : 1);
        core_buf_char(out, '{');
        core_json_put_text(out, "name", core_span_of(row->name));
        core_json_put_text(out, "type", core_span_of(sensor_type_names[row->type]));
        core_json_put_text(out, "interface", core_span_of(row->interface));
        core_json_put_text(out, "source", core_span_of(told.is_there ? told.source : "none"));
        if (told.is_there) {
            core_json_put_number(out, "received", (int64_t)told.received);
            core_json_put_number(out, "dropped", (int64_t)told.dropped);
            core_json_put_number(out, "received_bytes", (int64_t)told.bytes);
            decimal_put(out, "dropped_percent", all == 0 ? 0 : 100.0 * (double)told.dropped / (double)all);
        }
        if (told.link != 0) {
            core_json_put_number(out, "link", (int64_t)told.link);
        }
        if (has_rate) {
            decimal_put(out, "received_per_s", per_s);
        }
        if (row->has_loss) {
            decimal_put(out, "capture_loss_percent", row->loss);
        }
        if (told.as_of[0] != '\0') {
            core_json_put_text(out, "as_of", core_span_of(told.as_of));
        }
        core_json_put_text(out, "reason", core_span_of(told.note));
        core_buf_char(out, '}');
    }
    core_buf_span(out, CORE_SPAN("]}"));
}

void serve_netstats(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct serve *serve = ctx;
    struct stats *stats = stats_new(serve, request, netstats_write);
    if (stats == NULL) {
        return;
    }
    if (!rows_pick(stats, params)) {
        stats_free(stats);
        return;
    }
    stats->log_directories = calloc(serve->deployed.nodes_len + 1, sizeof(char *));
    MUST(stats->log_directories != NULL);
    for (size_t i = 0; i < serve->deployed.nodes_len; i++) {
        const struct sensors_node *node = &serve->deployed.nodes[i];
        if (node->type == SENSOR_LOGGER || node->type == SENSOR_MANAGER) {
            stats->log_directories[stats->log_directories_len++] = serve_copy(node->directory);
        }
    }
    stats_start(stats, netstats_run);
}

/* ---- capstats --------------------------------------------------------------------------------------------------------------- */

static void capstats_run(void *ctx, const atomic_bool *stop) {
    struct stats *stats = ctx;
    for (int which = 0; which < 2; which++) {
        for (size_t i = 0; i < stats->rows_len; i++) {
            struct row *row = &stats->rows[i];
            row->tick[which] = core_tick_ns();
            row->has_link[which] = serve_interface_read(NULL, row->interface, &row->link[which]);
        }
        if (which == 0) {
            wait_between(stop);
        }
    }
}

static bool is_first_of_interface(const struct stats *stats, size_t which) {
    for (size_t i = 0; i < which; i++) {
        if (strcmp(serve_interface_name(stats->rows[i].interface),
                   serve_interface_name(stats->rows[which].interface)) == 0) {
            return false;
        }
    }
    return stats->rows[which].interface[0] != '\0';
}

static void capstats_nodes(const struct stats *stats, const char *interface, struct core_buf *out) {
    core_buf_span(out, CORE_SPAN(",\"nodes\":["));
    for (size_t i = 0; i < stats->rows_len; i++) {
        if (strcmp(serve_interface_name(stats->rows[i].interface), interface) == 0) {
            core_buf_put(out, ",", out->pos[-1] == '[' ? 0 : 1);
            core_buf_string(out, core_span_of(stats->rows[i].name));
        }
    }
    core_buf_char(out, ']');
}

static void capstats_write(struct stats *stats) {
    struct core_buf *out = &stats->out;
    core_buf_span(out, CORE_SPAN("{\"interfaces\":["));
    for (size_t i = 0; i < stats->rows_len; i++) {
        const struct row *row = &stats->rows[i];
        const char *name = serve_interface_name(row->interface);
        if (!is_first_of_interface(stats, i)) {
            continue;
        }
        bool is_there = row->has_link[0] && row->has_link[1];
        int64_t ns = row->tick[1] - row->tick[0];
        core_buf_put(out, ",", out->pos[-1] == '[' ? 0 : 1);
        core_buf_char(out, '{');
        core_json_put_text(out, "interface", core_span_of(name));
        capstats_nodes(stats, name, out);
        if (is_there) {
            decimal_put(out, "packets_per_s", rate_of(row->link[0].packets, row->link[1].packets, ns));
            decimal_put(out, "bits_per_s", 8 * rate_of(row->link[0].bytes, row->link[1].bytes, ns));
            decimal_put(out, "dropped_per_s", rate_of(row->link[0].dropped, row->link[1].dropped, ns));
            core_json_put_bool(out, "is_up", row->link[1].is_up);
        }
        core_json_put_text(out, "source", core_span_of(is_there ? "interface" : "none"));
        core_json_put_text(out, "reason",
                           is_there && row->link[1].is_up
                               ? CORE_SPAN("the kernel's count at the interface over 1 s, not libpcap's")
                           : is_there ? CORE_SPAN("the interface is down: ip link set up")
                                      : CORE_SPAN("there is no such interface on this host"));
        core_buf_char(out, '}');
    }
    core_buf_span(out, CORE_SPAN("]}"));
}

void serve_capstats(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct stats *stats = stats_new(ctx, request, capstats_write);
    if (stats != NULL && rows_pick(stats, params)) {
        stats_start(stats, capstats_run);
    } else if (stats != NULL) {
        stats_free(stats);
    }
}

/* ---- df ------------------------------------------------------------------------------------------------------------------------ */

/* A row's name is what it is for, its directory the path; the thread writes the answer. */
static void df_run(void *ctx, const atomic_bool *stop) {
    struct stats *stats = ctx;
    struct core_buf *out = &stats->out;
    core_buf_span(out, CORE_SPAN("{\"filesystems\":["));
    for (size_t i = 0; i < stats->rows_len && !atomic_load(stop); i++) {
        struct statvfs fs;
        const struct row *row = &stats->rows[i];
        core_buf_put(out, ",", i == 0 ? 0 : 1);
        core_buf_char(out, '{');
        core_json_put_text(out, "path", core_span_of(row->directory));
        core_json_put_text(out, "what", core_span_of(row->name));
        if (statvfs(row->directory, &fs) == 0) {
            uint64_t used = (uint64_t)(fs.f_blocks - fs.f_bfree) * fs.f_frsize;
            uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
            core_json_put_number(out, "size_bytes", (int64_t)((uint64_t)fs.f_blocks * fs.f_frsize));
            core_json_put_number(out, "used_bytes", (int64_t)used);
            core_json_put_number(out, "free_bytes", (int64_t)free_bytes);
            decimal_put(out, "used_percent",
                        used + free_bytes == 0 ? 0 : 100.0 * (double)used / (double)(used + free_bytes));
            core_json_put_number(out, "inodes", (int64_t)fs.f_files);
            core_json_put_number(out, "inodes_free", (int64_t)fs.f_favail);
        } else {
            core_json_put_text(out, "reason", core_span_of(strerror(errno)));
        }
        core_buf_char(out, '}');
    }
    core_buf_span(out, CORE_SPAN("]}"));
}

void serve_df(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    (void)params;
    struct serve *serve = ctx;
    struct stats *stats = stats_new(serve, request, NULL);
    if (stats == NULL) {
        return;
    }
    const struct {
        const char *what;
        const char *path;
    } places[] = {
        {"sensors", serve->sensors == NULL ? NULL : serve->sensors->directory},
        {"archive", serve->sensors == NULL ? NULL : serve->sensors->archive},
        {"serve", serve->conf->state},
        {"node", serve->env->state == NULL ? NULL : serve->env->state(serve->env->ctx)},
    };
    stats->rows = calloc(sizeof(places) / sizeof(places[0]), sizeof(stats->rows[0]));
    MUST(stats->rows != NULL);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (places[i].path != NULL) {
            stats->rows[stats->rows_len++] =
                (struct row){.name = serve_copy(places[i].what), .directory = serve_copy(places[i].path)};
        }
    }
    stats_start(stats, df_run);
}
