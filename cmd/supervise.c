/* cmd/supervise.c: `tapline supervise`: becomes tapline-supervise, the program of its own that keeps processes running.
 *
 * Nothing of this program stays: the options are looked at here, so that help and mistakes are as everywhere, and handed over
 * by execv(3). That program lies beside this one, or, where a distribution wants it so, in ../libexec/tapline.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "supervisor/supervisor.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static const struct cmd_option options[] = {
    {"socket", 0, "PATH", "The control channel (default: " SUPERVISOR_SOCKET ")."},
    {"state", 0, "DIR", "Directory of the state file and the lock (default: " SUPERVISOR_STATE ")."},
    {"group", 0, "NAME", "Group whose members may speak to it, beside root and its own user."},
    {"cgroup", 0, "DIR", "Directory of cgroup v2 below which processes are put (default: below its own)."},
    {"log-format", 0, "logfmt|ecs", "How its log on stderr is written (default: logfmt)."},
    {"check-state", 0, NULL, "Only say whether this program can go on with the state file that is there."},
    {0},
};

#define OPTIONS_LEN (sizeof(options) / sizeof(options[0]) - 1)

/* Returns only if there is no such program. */
static void execute(const char *where, char **argv) {
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(path, '/');
    size_t room = slash == NULL ? 0 : sizeof(path) - (size_t)(slash - path);
    if (room > strlen(where)) {
        strcpy(slash, where); // NOLINT(clang-analyzer-security.insecureAPI.strcpy): there is room, see above
        argv[0] = path;
        (void)execv(path, argv);
    }
}

static int supervise(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args;
    char *passed[2 * OPTIONS_LEN + 2] = {NULL};
    char names[OPTIONS_LEN][32];
    int passed_len = 1;
    int code = CORE_EXIT_DONE;
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        return code;
    }
    if (args.files_len > 0) {
        fprintf(stderr,
                "tapline supervise: it takes no files, but \"%s\" was given; what it runs comes from `tapline serve`\n",
                args.files[0]);
        return CORE_EXIT_USAGE;
    }
    for (size_t i = 0; i < OPTIONS_LEN; i++) {
        if (args.values[i] != NULL) {
            (void)snprintf(names[i], sizeof(names[i]), "--%s", options[i].name);
            passed[passed_len++] = names[i];
        }
        if (args.values[i] != NULL && options[i].arg != NULL) {
            passed[passed_len++] = (char *)(uintptr_t)args.values[i];
        }
    }
    execute("/tapline-supervise", passed);
    int error = errno;
    execute("/../libexec/tapline/tapline-supervise", passed);
    fprintf(
        stderr,
        "tapline supervise: cannot execute tapline-supervise, which lies beside this program: %s; install it again\n",
        strerror(error));
    return CORE_EXIT_SYSTEM;
}

const struct cmd cmd_supervise = {
    .name = "supervise",
    .summary = "start processes and keep them running, whatever happens to what controls them",
    .args = "",
    .about = "The Supervisor: it starts the processes that `tapline serve` tells it (sensors, and tapline's own), "
             "restarts those that "
             "die or fall silent, and does nothing else. It keeps what it knows in a small state file: if it is "
             "killed, processes run "
             "on, and the next one adopts them with the same pids. "
             "SIGTERM stops all processes, those of the lowest order first, then it ends; what was wanted stays "
             "wanted, so that its "
             "next start brings it back. SIGHUP executes the program anew (an upgrade): processes, their exit statuses "
             "and the "
             "control channel are kept. SIGKILL ends it alone. It tells a service manager by $NOTIFY_SOCKET that it is "
             "ready and "
             "lives. It becomes the program tapline-supervise, which lies beside this one.",
    .example =
        "tapline supervise --socket /run/tapline/supervisor.sock --state /var/lib/tapline/supervisor --group tapline",
    .options = options,
    .run = supervise,
};
