/* cmd/supervise_main.c: main() of tapline-supervise, the Supervisor as a program of its own.
 *
 * Small on purpose: it links none of the libraries that tapline needs for logs, brokers and search engines, so what keeps
 * all sensors running is not where those have their faults, and takes a few MiB (docs/adr/0047).
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "tapline-supervise: starts processes and keeps them running\n"
    "\n"
    "Usage: tapline-supervise [OPTION…]\n"
    "\n"
    "  --socket PATH    the control channel (default " SUPERVISOR_SOCKET ")\n"
    "  --state DIR      directory of the state file and the lock (default " SUPERVISOR_STATE ")\n"
    "  --group NAME     whose members may speak to it, beside root and its own user\n"
    "  --cgroup DIR     below which directory of cgroup v2 processes are put (default: its own)\n"
    "  --log-format F   how its log on stderr is written: logfmt (the default) or ecs\n"
    "  --check-state    only say whether this program can go on with the state file that is there\n"
    "  --version        print the version\n"
    "\n"
    "It is told by `tapline serve` what there is to run. SIGTERM stops all processes, those of the lowest order\n"
    "first, then it ends. SIGHUP executes the program anew (an upgrade): processes run on. SIGKILL ends it alone:\n"
    "processes run on, and the next one adopts them.\n";

enum { OPT_SOCKET = 1, OPT_STATE, OPT_GROUP, OPT_CGROUP, OPT_FORMAT, OPT_CHECK, OPT_VERSION, OPT_HELP };

static const struct option rows[] = {
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"state", required_argument, NULL, OPT_STATE},
    {"log-format", required_argument, NULL, OPT_FORMAT},
    {"group", required_argument, NULL, OPT_GROUP},
    {"cgroup", required_argument, NULL, OPT_CGROUP},
    {"check-state", no_argument, NULL, OPT_CHECK},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

struct given {
    struct supervisor_options options;
    bool is_check;
    bool is_done; /* everything has been said */
};

static bool format_take(struct given *given, const char *name) {
    for (int i = 0; core_log_format_names[i] != NULL; i++) {
        if (strcmp(name, core_log_format_names[i]) == 0) {
            given->options.log_format = i;
            return true;
        }
    }
    fprintf(stderr, "tapline-supervise: --log-format is logfmt or ecs, not \"%s\"\n", name);
    return false;
}

static bool take(struct given *given, int option) {
    switch (option) {
    case OPT_SOCKET:
        given->options.socket = optarg;
        return true;
    case OPT_STATE:
        given->options.state = optarg;
        return true;
    case OPT_GROUP:
        given->options.group = optarg[0] != '\0' ? optarg : NULL;
        return true;
    case OPT_CGROUP:
        given->options.cgroup = optarg;
        return true;
    case OPT_FORMAT:
        return format_take(given, optarg);
    case OPT_CHECK:
        given->is_check = true;
        return true;
    case OPT_VERSION:
        given->is_done = true;
        return puts("tapline-supervise " TAPLINE_VERSION) >= 0;
    case OPT_HELP:
        given->is_done = true;
        return fputs(help, stdout) >= 0;
    default:
        return false;
    }
}

int main(int argc, char **argv) {
    char program[PATH_MAX];
    struct given given = {
        .options = {.socket = SUPERVISOR_SOCKET, .state = SUPERVISOR_STATE, .argc = argc, .argv = argv}};
    int option = 0;
    while ((option = getopt_long(argc, argv, "", rows, NULL)) != -1) {
        if (!take(&given, option)) {
            fputs("tapline-supervise: see --help\n", stderr);
            return CORE_EXIT_USAGE;
        }
    }
    if (given.is_done) {
        return fflush(stdout) == 0 ? CORE_EXIT_DONE : CORE_EXIT_SYSTEM;
    }
    if (optind < argc) {
        fprintf(stderr, "tapline-supervise: \"%s\" is no option; see --help\n", argv[optind]);
        return CORE_EXIT_USAGE;
    }
    if (given.is_check) {
        return supervisor_check(&given.options);
    }
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (len < 0) {
        fprintf(stderr, "tapline-supervise: cannot find out its own path in /proc/self/exe: %s\n", strerror(errno));
        return CORE_EXIT_SYSTEM;
    }
    program[len] = '\0';
    given.options.program = program;
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGXFSZ, SIG_IGN) == SIG_ERR) {
        fprintf(stderr, "tapline-supervise: cannot ignore SIGPIPE and SIGXFSZ: %s\n", strerror(errno));
        return CORE_EXIT_SYSTEM;
    }
    return supervisor_main(&given.options);
}
