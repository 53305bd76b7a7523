/* cmd/tap.c: `tapline tap`: what passes a stage of a running pipeline, live, one JSON document a line (raw: the lines themselves).
 *
 * The pipeline filters and counts (cmd/pipeline_tap.c); here is only who prints. Somebody who does not read (a pager) holds up
 * nobody: the pipeline lets go of us, and that is said.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/tap.h"
#include "cmd/cmd.h"
#include "cmd/control.h"
#include "cmd/peers.h"
#include "core/rpc.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TELL_NS (10 * CORE_NS_PER_S)
#define PARAMS_BYTES (64 * CORE_KIB)

static const struct cmd_option options[] = {
    {"config", 'c', "FILE", "The configuration of the process to watch; its node.state is where it listens."},
    {"stage", 's', "STAGE",
     "Where to look: raw (lines as they were read), record (the source's own fields), event (documents), enriched "
     "(with "
     "what intelligence says), sent (accepted by every sink), dead (dead letters). Default: event."},
    {"dataset", 'd', "NAME", "Only this dataset, e.g. zeek.dns."},
    {"match", 'm', "FIELD=VALUE",
     "Only what has this value in this field, e.g. source.ip=10.0.0.1; several must all fit. Of raw lines: any text in "
     "them."},
    {"rate", 'r', "N", "Show at most so many a second (N or N/s); the others are counted. Default: 100."},
    {"count", 'n', "N", "End after so many."},
    {"process", 'p', "NAME", "run, or feed-0, feed-1 …. Default: run if there is one, else the first feeder."},
    {0},
};

struct tap {
    struct core_loop *loop;
    struct core_rpc_client *client;
    struct core_timer tell;
    const char *process;
    enum tap_stage stage;
    uint64_t left; /* not shown, as the process last said */
    uint64_t too_long;
    uint64_t told;
    bool is_ended;
    int code;
};

static void end(struct tap *tap, int code) {
    if (!tap->is_ended) {
        tap->is_ended = true;
        tap->code = code;
        core_loop_stop(tap->loop);
    }
}

/* ---- what is told on stderr --------------------------------------------------------------------------------------------------- */

static void left_tell(struct tap *tap) {
    if (tap->left + tap->too_long == tap->told) {
        return;
    }
    tap->told = tap->left + tap->too_long;
    (void)fflush(stdout);
    if (tap->left > 0) {
        (void)fprintf(stderr, "tapline tap: %" PRIu64 " more were not shown, as --rate says\n", tap->left);
    }
    if (tap->too_long > 0) {
        (void)fprintf(stderr, "tapline tap: %" PRIu64 " were not shown because they are longer than %zu KiB\n",
                      tap->too_long, TAP_TEXT_BYTES_MAX / CORE_KIB);
    }
}

static void on_tell(void *ctx) {
    struct tap *tap = ctx;
    left_tell(tap);
    core_timer_set(tap->loop, &tap->tell, core_tick_ns() + TELL_NS);
}

static void counts_take(struct tap *tap, const struct core_json_tree *from) {
    tap->left = (uint64_t)core_json_tree_integer(from, "left", (int64_t)tap->left);
    tap->too_long = (uint64_t)core_json_tree_integer(from, "too_long", (int64_t)tap->too_long);
}

/* ---- what comes ------------------------------------------------------------------------------------------------------------------ */

static void on_progress(void *ctx, struct core_span id CORE_UNUSED, const struct core_json_tree *params) {
    struct tap *tap = ctx;
    const struct core_json_tree *text = core_json_tree_get(params, "text");
    counts_take(tap, params);
    if (text == NULL) {
        return;
    }
    control_text_print(text->text);
    if (core_json_tree_is_true(params, "is_cut")) {
        (void)fputs(" …", stdout);
    }
    (void)fputc('\n', stdout);
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        end(tap, CORE_EXIT_DONE); /* whoever read has gone; main() says so if it was a disk */
    }
}

static int exit_of(int64_t code) {
    return code == CORE_RPC_BAD_PARAMS ? CORE_EXIT_USAGE : code == CORE_RPC_REFUSED ? CORE_EXIT_NO : CORE_EXIT_SYSTEM;
}

static void on_answer(void *ctx, const struct core_rpc_answer *answer) {
    struct tap *tap = ctx;
    if (answer->result != NULL) {
        counts_take(tap, answer->result);
        end(tap, CORE_EXIT_DONE);
        return;
    }
    if (answer->code == CORE_RPC_NO_METHOD) {
        (void)fprintf(stderr, "tapline tap: %s cannot be watched; processes run and feed-N can\n", tap->process);
    } else if (answer->code == 0) {
        (void)fprintf(stderr,
                      "tapline tap: %s let go of us: it ended, or what it sent was not read for too long (a pager?); "
                      "begin again\n",
                      tap->process);
    } else {
        (void)fprintf(stderr, "tapline tap: %.*s\n", (int)answer->text.len, answer->text.ptr);
    }
    end(tap, exit_of(answer->code));
}

static void on_signal(void *ctx, int number CORE_UNUSED) {
    end(ctx, CORE_EXIT_DONE);
}

static const struct core_rpc_client_calls client_calls = {.on_progress = on_progress};

/* ---- what was asked for ----------------------------------------------------------------------------------------------------------- */

/* "100" or "100/s". */
static bool number_read(const char *text, const char *suffix, uint64_t min, uint64_t max, uint64_t *out) {
    char *rest = NULL;
    if (!core_is_digit(text[0])) {
        return false;
    }
    *out = strtoull(text, &rest, 10);
    return (*rest == '\0' || strcmp(rest, suffix) == 0) && *out >= min && *out <= max;
}

/* All --match of the command line: the parser of options keeps only the last of one name. Taken out of argv. */
static int matches_take(int argc, char **argv, const char **matches, size_t *len) {
    int kept = 0;
    bool is_over = false;
    *len = 0;
    for (int i = 0; i < argc; i++) {
        bool is_alone = strcmp(argv[i], "--match") == 0 || strcmp(argv[i], "-m") == 0;
        bool is_joined = strncmp(argv[i], "--match=", sizeof("--match=") - 1) == 0;
        is_over = is_over || strcmp(argv[i], "--") == 0;
        if (is_over || !(is_joined || (is_alone && i + 1 < argc)) || *len == TAP_MATCHES_MAX) {
            argv[kept++] = argv[i];
            continue;
        }
        matches[(*len)++] = is_joined ? argv[i] + sizeof("--match=") - 1 : argv[++i];
    }
    return kept;
}

static bool params_write(const struct cmd *cmd, const struct cmd_args *args, const char *const *matches,
                         size_t matches_len, struct tap *tap, struct core_buf *out) {
    const char *stage = cmd_value(cmd, args, "stage");
    const char *dataset = cmd_value(cmd, args, "dataset");
    const char *rate = cmd_value(cmd, args, "rate");
    const char *count = cmd_value(cmd, args, "count");
    uint64_t rate_n = TAP_RATE_DEFAULT;
    uint64_t count_n = 0;
    struct core_fail fail;
    stage = stage == NULL ? "event" : stage;
    if (!tap_stage_of(core_span_of(stage), &tap->stage)) {
        (void)fprintf(stderr, "tapline tap: --stage is raw, record, event, enriched, sent or dead, not \"%s\"\n",
                      stage);
        return false;
    }
    if ((rate != NULL && !number_read(rate, "/s", 1, TAP_RATE_MAX, &rate_n)) ||
        (count != NULL && !number_read(count, "", 1, INT64_MAX, &count_n))) {
        (void)fprintf(stderr, "tapline tap: --rate is 1 to %d, --count a number above 0\n", TAP_RATE_MAX);
        return false;
    }
    core_buf_char(out, '{');
    core_json_put_text(out, "stage", core_span_of(stage));
    if (dataset != NULL) {
        core_json_put_text(out, "dataset", core_span_of(dataset));
    }
    core_json_put_number(out, "rate", (int64_t)rate_n);
    core_json_put_number(out, "count", (int64_t)count_n);
    core_json_put_key(out, "match");
    for (size_t i = 0; i < matches_len; i++) {
        struct tap_match match;
        if (!tap_match_read(&match, core_span_of(matches[i]), tap->stage, &fail)) {
            (void)fprintf(stderr, "tapline tap: --match %s\n", fail.text);
            return false;
        }
        tap_match_free(&match);
        core_buf_char(out, i == 0 ? '[' : ',');
        core_buf_string(out, core_span_of(matches[i]));
    }
    core_buf_span(out, matches_len == 0 ? CORE_SPAN("[]}") : CORE_SPAN("]}"));
    if (out->is_full) {
        (void)fprintf(stderr, "tapline tap: what was asked for is longer than %zu KiB\n", PARAMS_BYTES / CORE_KIB);
    }
    return !out->is_full;
}

static const struct peer *peer_find(const struct peer *peers, size_t len, const char *name, size_t name_len) {
    for (size_t i = 0; i < len; i++) {
        if (strncmp(peers[i].name, name, name_len) == 0) {
            return &peers[i];
        }
    }
    return NULL;
}

/* The process's socket; NULL: none, and said. name NULL: the pipeline that there is. */
static const struct peer *peer_choose(const struct peer *peers, size_t len, const char *name) {
    const struct peer *found =
        name != NULL ? peer_find(peers, len, name, strlen(name) + 1) : peer_find(peers, len, "run", sizeof("run"));
    if (found == NULL && name == NULL) {
        found = peer_find(peers, len, "feed-", sizeof("feed-") - 1);
    }
    if (found == NULL) {
        (void)fprintf(
            stderr,
            "tapline tap: no process %s listens in node.state. Say whose configuration it has (-c FILE); if it "
            "is not running, start it\n",
            name == NULL ? "run or feed-N" : name);
    }
    return found;
}

/* ---- the command ------------------------------------------------------------------------------------------------------------------- */

static int watch(struct tap *tap, const struct peer *peer, struct core_span params) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct core_fail fail = {0};
    enum core_err err = core_loop_new(&tap->loop, &fail);
    if (err == CORE_OK) {
        err = core_loop_signals(tap->loop, signals, sizeof(signals) / sizeof(signals[0]), on_signal, tap, &fail);
    }
    if (err == CORE_OK) {
        err = core_rpc_client_new(&tap->client, tap->loop, peer->address, NULL, &client_calls, tap, &fail);
    }
    if (err == CORE_OK) {
        tap->process = peer->name;
        tap->tell = (struct core_timer){.on_time = on_tell, .ctx = tap};
        core_timer_set(tap->loop, &tap->tell, core_tick_ns() + TELL_NS);
        (void)core_rpc_call(tap->client, "tap", params, on_answer, tap);
        err = core_loop_run(tap->loop, &fail);
    }
    if (err != CORE_OK) {
        (void)fprintf(stderr, "tapline tap: %s: %s\n", fail.where, fail.text);
        tap->code = CORE_EXIT_SYSTEM;
    }
    left_tell(tap);
    core_timer_clear(&tap->tell);
    core_rpc_client_free(tap->client);
    core_loop_free(tap->loop);
    return tap->code;
}

static int run(const struct cmd *cmd, int argc, char **argv) {
    const char *matches[TAP_MATCHES_MAX];
    size_t matches_len;
    struct cmd_args args;
    struct peer *peers = calloc(PEERS_MAX, sizeof(*peers));
    struct core_fail fail = {0};
    size_t peers_len = 0;
    struct tap tap = {0};
    int code;
    MUST(peers != NULL);
    argc = matches_take(argc, argv, matches, &matches_len);
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        free(peers);
        return code;
    }
    char *bytes = malloc(PARAMS_BYTES);
    MUST(bytes != NULL);
    struct core_buf params = {.start = bytes, .pos = bytes, .end = bytes + PARAMS_BYTES};
    code = CORE_EXIT_USAGE;
    if (cmd_value(cmd, &args, "match") != NULL) {
        (void)fprintf(stderr, "tapline tap: --match may be given %d times\n", TAP_MATCHES_MAX);
    } else if (!params_write(cmd, &args, matches, matches_len, &tap, &params)) {
        code = CORE_EXIT_USAGE; /* said */
    } else if (peers_find(cmd_value(cmd, &args, "config"), peers, &peers_len, &fail) != CORE_OK) {
        (void)fprintf(stderr, "tapline tap: %s: %s\n", fail.where, fail.text);
    } else {
        const struct peer *peer = peer_choose(peers, peers_len, cmd_value(cmd, &args, "process"));
        code = peer == NULL ? CORE_EXIT_SYSTEM : watch(&tap, peer, core_buf_written(&params));
    }
    free(bytes);
    free(peers);
    return code;
}

const struct cmd cmd_tap = {
    .name = "tap",
    .summary = "see live what passes a stage of the pipeline",
    .args = "",
    .about = "Prints what passes a stage of a running `tapline run` or `tapline feed`, one JSON document a line, "
             "within a second "
             "of its passing, until Ctrl-C. It never holds up the pipeline: what is beyond --rate is counted and told "
             "on stderr, "
             "and a watcher that does not read is let go. What sensors saw is in it, so only root, the user of the "
             "process and "
             "members of the group tapline may watch.",
    .example = "tapline tap -c /etc/tapline/tapline.yml --stage event --dataset zeek.dns --match source.ip=10.0.0.1\n"
               "tapline tap -c /etc/tapline/tapline.yml --stage dead --count 1",
    .options = options,
    .run = run,
};
