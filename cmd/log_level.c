/* cmd/log_level.c: `tapline log-level`: what the processes of this host tell on their stderr, changed while they run.
 *
 * Each process is asked over its own socket, one after the other: a word to one must not need another to be there.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/peers.h"
#include "core/rpc.h"

#include <stdio.h>
#include <stdlib.h>

#define ANSWER_NS (5 * CORE_NS_PER_S)
#define PARAMS_BYTES 256
#define STAGE_BYTES_MAX 31

static const struct cmd_option options[] = {
    {"config", 'c', "FILE", "The configuration: where the processes' sockets are (default: the default places)."},
    {"stage", 's', "STAGE", "Only of this stage: the third word of a line of the log, such as ingest or kafka."},
    {"json", 0, NULL, "One JSON object: {process: level}."},
    {0},
};

struct asking {
    const struct cmd *cmd;
    const struct cmd_args *args;
    struct core_loop *loop;
    struct core_arena arena;
    const char *level; /* NULL: only tell */
    bool is_json;
    size_t answered;
    bool has_failed;  /* somebody who was to answer did not */
    bool has_refused; /* somebody said no */
};

static bool is_level(const char *word) {
    for (size_t i = 0; core_level_names[i] != NULL; i++) {
        if (strcmp(word, core_level_names[i]) == 0) {
            return true;
        }
    }
    return strcmp(word, "file") == 0;
}

static struct core_span params_of(const struct asking *asking, char room[PARAMS_BYTES]) {
    const char *stage = cmd_value(asking->cmd, asking->args, "stage");
    struct core_buf buf = {.start = room, .pos = room, .end = room + PARAMS_BYTES};
    core_buf_char(&buf, '{');
    if (asking->level != NULL) {
        core_json_put_text(&buf, "level", core_span_of(asking->level));
    }
    if (asking->level != NULL && stage != NULL) {
        core_json_put_text(&buf, "stage", core_span_of(stage));
    }
    core_buf_char(&buf, '}');
    MUST(!buf.is_full);
    return core_buf_written(&buf);
}

static void tell(struct asking *asking, const struct peer *peer, struct core_span level) {
    if (asking->is_json) {
        (void)fputs(asking->answered == 0 ? "{" : ",", stdout);
        cmd_print_json_string(stdout, core_span_of(peer->name));
        (void)fputc(':', stdout);
        cmd_print_json_string(stdout, level);
    } else {
        (void)printf("%-14s %.*s\n", peer->name, (int)level.len, level.ptr);
    }
    asking->answered++;
}

/* is_named: somebody wants an answer of this one. A socket that nobody answers on, of a process that was killed, is no news
 * otherwise. */
static void ask(struct asking *asking, const struct peer *peer, bool is_named) {
    static const struct core_rpc_client_calls calls = {0};
    struct core_rpc_client *client = NULL;
    struct core_rpc_answer answer = {0};
    struct core_fail fail = {0};
    char room[PARAMS_BYTES];
    core_arena_reset(&asking->arena, CORE_MIB);
    enum core_err err = core_rpc_client_new(&client, asking->loop, peer->address, NULL, &calls, NULL, &fail);
    if (err != CORE_OK && !is_named) {
        return;
    }
    if (err == CORE_OK) {
        err =
            core_rpc_call_wait(client, "log.level", params_of(asking, room), ANSWER_NS, &asking->arena, &answer, &fail);
    }
    if (err == CORE_OK) {
        tell(asking, peer, core_json_tree_text(answer.result, "level"));
    } else {
        (void)fprintf(stderr, "tapline log-level: %s (%s): %s\n", peer->name, peer->address, fail.text);
        asking->has_refused |= err == CORE_BAD;
        asking->has_failed |= err != CORE_BAD;
    }
    core_rpc_client_free(client);
}

/* "feed" stands for all feeders: feed-0, feed-1 … */
static bool is_meant(const char *word, const char *name) {
    size_t len = strlen(word);
    return strcmp(word, name) == 0 ||
           (strncmp(word, name, len) == 0 && name[len] == '-' && core_is_digit(name[len + 1]));
}

/* Returns false: there is no such process, said. */
static bool ask_named(struct asking *asking, const char *word, const struct peer *peers, size_t peers_len) {
    bool is_found = false;
    for (size_t i = 0; i < peers_len; i++) {
        if (is_meant(word, peers[i].name)) {
            ask(asking, &peers[i], true);
            is_found = true;
        }
    }
    if (!is_found) {
        (void)fprintf(stderr,
                      "tapline log-level: \"%s\" is no level, and there is no such process here; there is:", word);
        for (size_t i = 0; i < peers_len; i++) {
            (void)fprintf(stderr, " %s", peers[i].name);
        }
        (void)fputs(peers_len == 0 ? " none; is the configuration, given with -c, theirs?\n" : "\n", stderr);
    }
    return is_found;
}

static int ask_all(struct asking *asking, char **words, int words_len, const struct peer *peers, size_t peers_len) {
    bool is_wrong = false;
    for (int i = 0; i < words_len; i++) {
        is_wrong |= !ask_named(asking, words[i], peers, peers_len);
    }
    for (size_t i = 0; i < peers_len && words_len == 0; i++) {
        ask(asking, &peers[i], false);
    }
    if (asking->is_json && !is_wrong) {
        (void)puts(asking->answered == 0 ? "{}" : "}");
    }
    if (words_len == 0 && asking->answered == 0 && !asking->has_refused && !asking->has_failed) {
        (void)fputs("tapline log-level: no process of tapline answers; is one running, and is the configuration, given "
                    "with -c, theirs?\n",
                    stderr);
        return CORE_EXIT_SYSTEM;
    }
    return is_wrong              ? CORE_EXIT_USAGE
           : asking->has_failed  ? CORE_EXIT_SYSTEM
           : asking->has_refused ? CORE_EXIT_NO
                                 : CORE_EXIT_DONE;
}

static int run_log_level(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args = {0};
    int code = CORE_EXIT_USAGE;
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        return code;
    }
    const char *stage = cmd_value(cmd, &args, "stage");
    bool has_level = args.files_len > 0 && is_level(args.files[0]);
    if (stage != NULL && (!has_level || strcmp(args.files[0], "file") == 0 || strlen(stage) > STAGE_BYTES_MAX)) {
        (void)fprintf(stderr,
                      "tapline log-level: --stage is a short word, and needs a level: error, warn, info or debug\n");
        return CORE_EXIT_USAGE;
    }
    struct asking asking = {.cmd = cmd,
                            .args = &args,
                            .level = has_level ? args.files[0] : NULL,
                            .is_json = cmd_value(cmd, &args, "json") != NULL};
    struct peer *peers = calloc(PEERS_MAX, sizeof(*peers));
    struct core_fail fail = {0};
    size_t peers_len = 0;
    MUST(peers != NULL);
    enum core_err err = peers_find(cmd_value(cmd, &args, "config"), peers, &peers_len, &fail);
    code = err == CORE_OK ? CORE_EXIT_SYSTEM : CORE_EXIT_USAGE;
    err = err == CORE_OK ? core_loop_new(&asking.loop, &fail) : err;
    err = err == CORE_OK ? core_arena_init(&asking.arena, 16 * CORE_MIB, &fail) : err;
    if (err == CORE_OK) {
        code =
            ask_all(&asking, args.files + (has_level ? 1 : 0), args.files_len - (has_level ? 1 : 0), peers, peers_len);
    } else {
        (void)fprintf(stderr, "tapline log-level: %s: %s\n", fail.where, fail.text);
    }
    core_arena_destroy(&asking.arena);
    core_loop_free(asking.loop);
    free(peers);
    return code;
}

const struct cmd cmd_log_level = {
    .name = "log-level",
    .summary = "see and change what running processes tell on their stderr",
    .args = "[error|warn|info|debug|file] [PROCESS…]",
    .about =
        "Asks the processes of this host (run, feed-0, intel-sync, serve, supervise; none named: all that answer) over "
        "their control channels. With a level they tell that much from now on, until they end, until SIGHUP, or until "
        "`tapline log-level file` sets back what the configuration says; without one nothing changes. With --stage it "
        "is the level of one stage, over that of all others. Prints one line a process: its name and its level. "
        "Exits 0 if all did as told, 1 if one refused, 100 if there is no such process, 111 if one does not answer.",
    .example = "tapline log-level -c /etc/tapline/tapline.yml\n"
               "tapline log-level debug run -c /etc/tapline/tapline.yml\n"
               "tapline log-level debug feed --stage kafka -c /etc/tapline/tapline.yml\n"
               "tapline log-level file -c /etc/tapline/tapline.yml",
    .options = options,
    .run = run_log_level,
};
