/* sinks/stdout.c: documents as lines to stdout.
 *
 * Accepted means written: what the reader of a pipe does with it is the reader's business. Dead letters go to stdout too,
 * since they are documents (event.kind pipeline_error) and nothing may vanish; `dead_letter` sends them to a file instead.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/sinks_internal.h"

#include <signal.h>

struct stdout_conf {
    char *dead_letter;
};

static const struct core_opt stdout_opts[] = {
    {.key = "dead_letter",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct stdout_conf, dead_letter),
     .needs_restart = true,
     .help = "File for records that could not be read; default: they go to stdout too (event.kind is pipeline_error)."},
};

static enum core_err stdout_open(struct sink **out, const void *conf_ptr, const struct sink_env *env,
                                 struct core_fail *fail) {
    const struct stdout_conf *conf = conf_ptr;
    MUST(conf != NULL);
    /* A reader that goes away is an error of write(2), which is said, and not a silent death. */
    MUST(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    struct lines_conf lines = {.path = NULL, .dead_letter = conf->dead_letter, .dead_letter_suffix = ""};
    return lines_open(out, &lines, env, fail);
}

const struct sink_ops sink_stdout = {
    .name = "stdout",
    .summary = "documents as lines of JSON to stdout; accepted when written",
    .opts = stdout_opts,
    .opts_len = sizeof stdout_opts / sizeof stdout_opts[0],
    .conf_size = sizeof(struct stdout_conf),
    .check = NULL,
    .connect = NULL,
    .open = stdout_open,
    .send = lines_send,
    .poll = lines_poll,
    .is_gone = lines_is_gone,
    .flush = lines_flush,
    .is_up = lines_is_up,
    .health = lines_health,
    .close = lines_close,
};
