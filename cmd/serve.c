/* cmd/serve.c: `tapline serve`: the command line of Main, and what it is given of the other folders.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/config.h"
#include "cmd/serve_env.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct cmd_option serve_options[] = {
    {.name = "config", .letter = 'c', .arg = "FILE", .help = "The configuration, with a section sensors."},
    {0},
};

/* ctx of the environment. */
struct serving {
    const char *path; /* of the configuration */
    struct serve_known *known;
    int level; /* log.level of the file when it was read last; -1: it was not */
};

/* What load() of the environment made: the sections lie in it. */
static struct config *config_of(struct serve_conf *conf) {
    return (struct config *)(void *)((char *)conf - offsetof(struct config, serve));
}

static enum core_err env_load(void *ctx, struct serve_conf **conf, struct sensors_conf **sensors,
                              struct core_conf_mistakes *mistakes) {
    struct serving *serving = ctx;
    struct config *config = NULL;
    enum core_err err = config_load_for(&config, serving->path, CONFIG_SERVE, mistakes);
    if (err != CORE_OK) {
        return err;
    }
    if (config->log.level != serving->level) { /* else what was set at run time stays: a check reads the file, too */
        core_log_level((enum core_level)config->log.level);
        serving->level = config->log.level;
    }
    core_log_format((enum core_log_format)config->log.format, "tapline-serve");
    serve_known_set_state(serving->known, config->node.state);
    *conf = &config->serve;
    *sensors = &config->sensors;
    return CORE_OK;
}

static void env_release(void *ctx, struct serve_conf *conf, struct sensors_conf *sensors) {
    (void)ctx;
    (void)sensors;
    config_free(config_of(conf));
}

static bool env_is_delivered(void *ctx, const char *path) {
    struct serving *serving = ctx;
    return serve_known_is_delivered(serving->known, path);
}

static enum core_err env_netstats(void *ctx, const struct sensors_node *node, struct core_buf *out,
                                  struct core_fail *fail) {
    struct serving *serving = ctx;
    return serve_known_netstats(serving->known, node, out, fail);
}

static const char *env_state(void *ctx) {
    const struct serving *serving = ctx;
    return serve_known_state(serving->known);
}

static const struct core_health_conf *env_health(void *ctx, const struct serve_conf *conf, const char **node) {
    const struct config *config =
        (const struct config *)(const void *)((const char *)conf - offsetof(struct config, serve));
    (void)ctx;
    *node = config->node.name;
    return &config->health;
}

/* The Supervisor's program stands beside ours. Looked up at the start: an upgrade may replace our file. */
static bool supervise_path(char out[PATH_MAX]) {
    static const char name[] = "tapline-supervise";
    ssize_t len = readlink("/proc/self/exe", out, PATH_MAX - sizeof(name));
    if (len <= 0) {
        return false;
    }
    out[len] = '\0';
    char *slash = strrchr(out, '/');
    MUST(slash != NULL);
    memcpy(slash + 1, name, sizeof(name));
    return true;
}

static int serve_run(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args = {0};
    int exit_code = CORE_EXIT_USAGE;
    if (!cmd_parse(cmd, argc, argv, &args, &exit_code)) {
        return exit_code;
    }
    const char *given = cmd_value(cmd, &args, "config");
    if (given == NULL || args.files_len > 0) {
        (void)fprintf(stderr, "tapline serve: %s\n",
                      given == NULL ? "which configuration? give it with -c FILE"
                                    : "takes one configuration, given with -c FILE, and no words");
        return CORE_EXIT_USAGE;
    }
    char program[PATH_MAX];
    char *path = realpath(given, NULL); /* a reload reads the same file, wherever we are then */
    if (path == NULL || !supervise_path(program)) {
        (void)fprintf(stderr, "tapline serve: %s: %s\n", path == NULL ? given : "/proc/self/exe", strerror(errno));
        free(path);
        return path == NULL ? CORE_EXIT_USAGE : CORE_EXIT_SYSTEM;
    }
    struct serving serving = {.path = path, .known = serve_known_new(), .level = -1};
    const struct serve_env env = {.path = path,
                                  .version = TAPLINE_VERSION,
                                  .supervise = program,
                                  .load = env_load,
                                  .release = env_release,
                                  .is_delivered = env_is_delivered,
                                  .netstats = env_netstats,
                                  .state = env_state,
                                  .health = env_health,
                                  .ctx = &serving};
    exit_code = serve_main(&env);
    serve_known_free(serving.known);
    free(path);
    return exit_code;
}

const struct cmd cmd_serve = {
    .name = "serve",
    .summary = "Control the sensors of this host: the process that people and programs ask.",
    .args = "",
    .about =
        "Reads section sensors, tells the Supervisor which processes there are, and answers `tapline status`, start, "
        "stop, deploy and the others, and any program that speaks its protocol, at serve.socket. It writes a report of "
        "each crash. No sensor is its child: however it ends, every sensor goes on, and the next one finds the "
        "Supervisor over its socket. If no Supervisor answers it starts one, unless serve.starts_supervisor is no. "
        "SIGTERM and SIGINT end it and nothing else; `tapline stop all --with-supervisor` ends everything in order. "
        "SIGHUP reads the configuration again and says what a deploy would change.",
    .example = "tapline serve -c /etc/tapline/tapline.yml",
    .options = serve_options,
    .run = serve_run,
};
