/* supervisor/serve_conf.c: section `serve:` of the configuration.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve.h"

#include <stdio.h>
#include <stdlib.h>

#define SOCKET_BYTES_MAX 107 /* unix(7): sun_path, without its NUL */
#define PORT_MAX 65535

#define SERVE_AT(member) offsetof(struct serve_conf, member)
const struct core_opt serve_opts[] = {
    {.key = "socket",
     .type = CORE_OPT_STRING,
     .offset = SERVE_AT(socket),
     .def = "/run/tapline/main.sock",
     .needs_restart = true,
     .help = "Unix socket of `tapline serve`, where the commands that control sensors ask."},
    {.key = "supervisor_socket",
     .type = CORE_OPT_STRING,
     .offset = SERVE_AT(supervisor_socket),
     .def = "/run/tapline/supervisor.sock",
     .needs_restart = true,
     .help = "Unix socket of the Supervisor, which keeps the processes running."},
    {.key = "state",
     .type = CORE_OPT_STRING,
     .offset = SERVE_AT(state),
     .def = "/var/lib/tapline/serve",
     .needs_restart = true,
     .help =
         "Directory of what was deployed, of the Supervisor's state and log, and of crash reports; made if its parent "
         "exists."},
    {.key = "group",
     .type = CORE_OPT_STRING,
     .offset = SERVE_AT(group),
     .def = "tapline",
     .needs_restart = true,
     .help =
         "Group whose members may use the sockets, beside root and the user that tapline runs as. Ignored on a host "
         "that has no such group."},
    {.key = "listen",
     .type = CORE_OPT_STRING,
     .offset = SERVE_AT(listen),
     .needs_restart = true,
     .help = "Address and port on the loopback, such as 127.0.0.1:7700, for programs that cannot use the socket; needs "
             "token. Default: none."},
    {.key = "token",
     .type = CORE_OPT_STRING,
     .offset = SERVE_AT(token),
     .is_secret = true,
     .needs_restart = true,
     .help = "What a client over TCP has to say first, and what the page asks for before its buttons work."},
    {.key = "starts_supervisor",
     .type = CORE_OPT_BOOL,
     .offset = SERVE_AT(starts_supervisor),
     .def = "yes",
     .help = "Start a Supervisor if none answers; no where the service manager has a unit for it."},
    {.key = "deploys",
     .type = CORE_OPT_BOOL,
     .offset = SERVE_AT(deploys),
     .def = "yes",
     .help =
         "Deploy by itself at the start when nothing was ever deployed here; afterwards only `tapline deploy` does."},
    {.key = "reports",
     .type = CORE_OPT_UINT,
     .offset = SERVE_AT(reports_max),
     .def = "20",
     .min = "1",
     .max = "10000",
     .help = "Crash reports that are kept; the oldest goes first."},
    {.key = "report_bytes",
     .type = CORE_OPT_SIZE,
     .offset = SERVE_AT(report_bytes_max),
     .def = "1MiB",
     .min = "64KiB",
     .max = "64MiB",
     .help = "Size of one crash report, at most."},
    {.key = "report_mail",
     .type = CORE_OPT_STRING,
     .offset = SERVE_AT(report_mail),
     .help = "Address that crash reports are mailed to. Default: none."},
    {.key = "sendmail",
     .type = CORE_OPT_STRING,
     .offset = SERVE_AT(sendmail),
     .def = "/usr/sbin/sendmail",
     .help = "Program that takes mail on its standard input, called with -t."},
    {.key = "report_url",
     .type = CORE_OPT_STRING,
     .offset = SERVE_AT(report_url),
     .help = "Where crash reports are POSTed as JSON. Default: nowhere."},
    {.key = "archive_keep",
     .type = CORE_OPT_DURATION,
     .offset = SERVE_AT(archive_keep_ns),
     .def = "0",
     .min = "0",
     .max = "36500d",
     .help = "Age at which archived logs that were delivered are deleted; 0: never."},
    {.key = "free_bytes",
     .type = CORE_OPT_SIZE,
     .offset = SERVE_AT(free_bytes_min),
     .def = "0",
     .help = "Free space below which the oldest archived logs go, if they were delivered; 0: never."},
    {.key = "disk_interval",
     .type = CORE_OPT_DURATION,
     .offset = SERVE_AT(disk_interval_ns),
     .def = "1m",
     .min = "1s",
     .max = "1d",
     .help = "How often disk space is looked at."},
};
const size_t serve_opts_len = sizeof(serve_opts) / sizeof(serve_opts[0]);

/* Where mistakes are put. */
struct checked {
    const struct core_conf_file *file;
    const struct core_conf_node *node;
    struct core_conf_mistakes *mistakes;
};

static const struct core_conf_node *node_of(const struct checked *checked, const char *key) {
    const struct core_conf_node *at = core_conf_get(checked->node, key);
    return at != NULL ? at : checked->node != NULL ? checked->node : core_conf_root(checked->file);
}

static void path_check(const struct checked *checked, const char *key, const char *path, size_t bytes_max) {
    if (path == NULL || path[0] == '\0') {
        core_conf_mistake(checked->file, node_of(checked, key), checked->mistakes, "serve.%s is empty: give it a path",
                          key);
    } else if (strlen(path) > bytes_max) {
        core_conf_mistake(checked->file, node_of(checked, key), checked->mistakes,
                          "serve.%s is longer than the %zu bytes that the system takes for a socket's path", key,
                          bytes_max);
    }
}

/* "127.0.0.1:7700", "[::1]:7700", "localhost:7700": nobody but this host may knock. */
static bool is_loopback(const char *listen) {
    static const char *const hosts[] = {"127.", "localhost:", "[::1]:"};
    const char *colon = strrchr(listen, ':');
    char *end = NULL;
    if (colon == NULL || !core_is_digit(colon[1])) {
        return false;
    }
    unsigned long port = strtoul(colon + 1, &end, 10);
    bool is_local = false;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        is_local = is_local || strncmp(listen, hosts[i], strlen(hosts[i])) == 0;
    }
    return is_local && *end == '\0' && port > 0 && port <= PORT_MAX;
}

void serve_conf_check(const struct serve_conf *conf, const struct core_conf_file *file,
                      const struct core_conf_node *node, struct core_conf_mistakes *mistakes) {
    const struct checked checked = {.file = file, .node = node, .mistakes = mistakes};
    path_check(&checked, "socket", conf->socket, SOCKET_BYTES_MAX);
    path_check(&checked, "supervisor_socket", conf->supervisor_socket, SOCKET_BYTES_MAX);
    path_check(&checked, "state", conf->state, SIZE_MAX);
    if (conf->socket != NULL && conf->supervisor_socket != NULL && strcmp(conf->socket, conf->supervisor_socket) == 0) {
        core_conf_mistake(file, node_of(&checked, "supervisor_socket"), mistakes,
                          "serve.socket and serve.supervisor_socket are the same: two processes, two sockets");
    }
    if (conf->listen != NULL && !is_loopback(conf->listen)) {
        core_conf_mistake(
            file, node_of(&checked, "listen"), mistakes,
            "serve.listen \"%s\" is no address and port of the loopback: write it as 127.0.0.1:7700; from "
            "other hosts come in by ssh",
            conf->listen);
    }
    if (conf->listen != NULL && (conf->token == NULL || conf->token[0] == '\0')) {
        core_conf_mistake(file, node_of(&checked, "listen"), mistakes,
                          "serve.token is missing: whoever is on this host could control the sensors by serve.listen");
    }
    if (conf->report_url != NULL && strncmp(conf->report_url, "http://", 7) != 0 &&
        strncmp(conf->report_url, "https://", 8) != 0) {
        core_conf_mistake(file, node_of(&checked, "report_url"), mistakes,
                          "serve.report_url \"%s\" is no URL: write it as https://reports.example.com/path",
                          conf->report_url);
    }
}
