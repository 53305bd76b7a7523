/* cmd/control_rows.c: the table of the commands that talk to Main. A new one is a struct cmd and a row here.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/control.h"

#include <stdio.h>

#define CONTROL_OPTIONS                                                                                                \
    {.name = "socket", .arg = "PATH", .help = "Where tapline serve listens; else $TAPLINE_SOCKET, else as -c says."},  \
        {.name = "config",                                                                                             \
         .letter = 'c',                                                                                                \
         .arg = "FILE",                                                                                                \
         .help = "The configuration with serve.socket; without it /run/tapline/main.sock."},                           \
        {.name = "json", .help = "Print the answer as it came, as JSON on one line."}, {0},

#define FOLLOW_OPTION                                                                                                  \
    {.name = "follow", .letter = 'f', .help = "Go on with what comes, until Ctrl-C; also across a restart of serve."},

#define NODES_ABOUT                                                                                                    \
    "Nodes are named by their names, groups, types (worker, workers, zeek …) or all, as `tapline nodes` lists them. "

static const struct cmd_option common_options[] = {CONTROL_OPTIONS};
static const struct cmd_option status_options[] = {
    {.name = "long", .letter = 'l', .help = "CPU time, memory, threads, starts and deaths, too."}, CONTROL_OPTIONS};
static const struct cmd_option stop_options[] = {
    {.name = "with-supervisor",
     .help = "All nodes, then the Supervisor, then tapline serve: what the service's stop does."},
    CONTROL_OPTIONS};
static const struct cmd_option kill_options[] = {{.name = "signal",
                                                  .letter = 's',
                                                  .arg = "SIGNAL",
                                                  .help = "Send this signal only: HUP, USR1, 10 … Also as -SIGNAL."},
                                                 CONTROL_OPTIONS};
static const struct cmd_option deploy_options[] = {
    {.name = "dry-run", .letter = 'n', .help = "Check and show the difference, change nothing."},
    {.name = "force", .help = "Restart the nodes even where nothing has changed."},
    CONTROL_OPTIONS};
static const struct cmd_option diag_options[] = {
    {.name = "list", .letter = 'l', .help = "List the reports of these nodes instead of showing the newest."},
    CONTROL_OPTIONS};
static const struct cmd_option logs_options[] = {
    FOLLOW_OPTION{
        .name = "lines", .letter = 'n', .arg = "N", .help = "Begin so many lines before the end; default 20."},
    CONTROL_OPTIONS};
static const struct cmd_option events_options[] = {
    FOLLOW_OPTION{
        .name = "since", .arg = "TIME", .help = "Only those since: 10m, 24h, 2026-11-21, 2026-11-21T03:00:00Z."},
    CONTROL_OPTIONS};

const struct cmd cmd_status = {
    .name = "status",
    .summary = "Show which sensors and processes are up.",
    .args = "[NODE…]",
    .about = NODES_ABOUT "Exits 1 if one of them is not up.",
    .example = "tapline status\ntapline status --long zeek\ntapline status workers --json | jq -r '.nodes[] | "
               "select(.state != \"up\").name'",
    .options = status_options,
    .run = control_main,
};
const struct cmd cmd_start = {
    .name = "start",
    .summary = "Start sensors and processes, and wait until they are ready.",
    .args = "[NODE…]",
    .about =
        NODES_ABOUT "Without words all are started, managers first. What died too often and was left down is tried "
                    "again. Exits 1 if one did not become ready. Ctrl-C ends the waiting, not the start.",
    .example = "tapline start worker-1 proxies",
    .options = common_options,
    .run = control_main,
};
const struct cmd cmd_stop = {
    .name = "stop",
    .summary = "Stop sensors and processes in their order, and wait until they are down.",
    .args = "[NODE…]",
    .about =
        NODES_ABOUT "Without words all are stopped: workers, then proxies, then loggers and managers, and what ships "
                    "their logs last. They stay down until somebody starts them.",
    .example = "tapline stop worker-2\ntapline stop --with-supervisor",
    .options = stop_options,
    .run = control_main,
};
const struct cmd cmd_restart = {
    .name = "restart",
    .summary = "Stop and start sensors and processes.",
    .args = "[NODE…]",
    .about = NODES_ABOUT
    "Without words all are restarted. To restart only what a new configuration changes: tapline deploy.",
    .example = "tapline restart workers",
    .options = common_options,
    .run = control_main,
};
const struct cmd cmd_kill = {
    .name = "kill",
    .summary = "End processes at once, or send them a signal.",
    .args = "[-SIGNAL] NODE…",
    .about = NODES_ABOUT
    "Without a signal they are killed with all they have started, and stay down; logs that were not yet "
    "written are lost, so try stop first.",
    .example = "tapline kill worker-3\ntapline kill -USR1 suricata",
    .options = kill_options,
    .run = control_main,
};
const struct cmd cmd_deploy = {
    .name = "deploy",
    .summary = "Make what runs what the configuration says: check, show, restart what changed.",
    .args = "[NODE…]",
    .about =
        "Reads the configuration again, checks scripts and rules with the sensors' own programs, shows what differs "
        "from "
        "what is deployed, starts what is new, restarts only what has changed, stops what is gone. If a node does not "
        "become ready, all is put back as it was. Exits 1 then, and if a check fails. With words (names, groups, "
        "types) "
        "the other nodes stay as they are deployed.",
    .example = "tapline deploy --dry-run\ntapline deploy",
    .options = deploy_options,
    .run = control_main,
};
const struct cmd cmd_diag = {
    .name = "diag",
    .summary = "Show what is known of crashes.",
    .args = "[NODE|REPORT…]",
    .about =
        "Without words the crash reports are listed. With nodes (names, groups, types, all) the newest report of each "
        "is "
        "shown, with a report's name that one: how it ended, its last output, a backtrace if there is a core file, "
        "versions, settings, resources. Exits 1 if there is none.",
    .example = "tapline diag\ntapline diag worker-1\ntapline diag 20261122T040000.123456Z-worker-1",
    .options = diag_options,
    .run = control_main,
};
const struct cmd cmd_netstats = {
    .name = "netstats",
    .summary = "Show packets that sensors received and dropped.",
    .args = "[NODE…]",
    .about = NODES_ABOUT
    "The numbers are the sensor's own: Zeek's telemetry, Suricata's statistics; where there are none, the "
    "interface's, and that is said.",
    .example = "tapline netstats workers",
    .options = common_options,
    .run = control_main,
};
const struct cmd cmd_capstats = {
    .name = "capstats",
    .summary = "Measure for a second what comes in on the sensors' interfaces.",
    .args = "[NODE…]",
    .about = NODES_ABOUT "It counts what the interface counts, whatever sensors make of it.",
    .example = "tapline capstats",
    .options = common_options,
    .run = control_main,
};
const struct cmd cmd_df = {
    .name = "df",
    .summary = "Show the room on the file systems that sensors and tapline write to.",
    .args = "",
    .about = "Directories of sensors, archived logs, and tapline's own state.",
    .example = "tapline df",
    .options = common_options,
    .run = control_main,
};
const struct cmd cmd_nodes = {
    .name = "nodes",
    .summary = "List what is deployed: names, types, groups, interfaces.",
    .args = "[NODE…]",
    .about = NODES_ABOUT,
    .example = "tapline nodes\ntapline nodes --json | jq '.nodes[0].spec'",
    .options = common_options,
    .run = control_main,
};
const struct cmd cmd_logs = {
    .name = "logs",
    .summary = "Print the output of a sensor, or a log in its directory.",
    .args = "[NODE [FILE]]",
    .about =
        "NODE is a name, a group, a type or all (as without it); FILE is stdout.log (as without it), stderr.log, or a "
        "log's name. Lines of several nodes have their node's name in front.",
    .example = "tapline logs worker-1 stderr.log\ntapline logs -f workers reporter.log",
    .options = logs_options,
    .run = control_main,
};
const struct cmd cmd_events = {
    .name = "events",
    .summary = "Show what happened to sensors: starts, ends, alarms, crashes, deploys.",
    .args = "",
    .about = "Prints what tapline serve still remembers (the last 1024), oldest first, times in UTC. With --json one "
             "object a "
             "line.",
    .example = "tapline events --since 1h\ntapline events -f --json",
    .options = events_options,
    .run = control_main,
};
/* At the prompt only: `tapline check` begins with what can be checked without Main. */
static const struct cmd cmd_shell_check = {
    .name = "check",
    .summary = "Check scripts and rules with the sensors' own programs (zeek -a, suricata -T).",
    .args = "[NODE…]",
    .about =
        NODES_ABOUT "It is the configuration as it is now in the file that is checked. Exits 1 if something is wrong.",
    .example = "check",
    .options = common_options,
    .run = control_main,
};

/* ---- how options become params ------------------------------------------------------------------------------------------------------------ */

static const char *stop_method(const struct control_call *call) {
    bool is_all = control_value(call, "with-supervisor") != NULL;
    for (int i = 0; is_all && i < call->args.files_len; i++) {
        if (strcmp(call->args.files[i], "all") != 0) {
            (void)fprintf(stderr,
                          "tapline stop: --with-supervisor stops everything, so \"%s\" makes no sense with it\n",
                          call->args.files[i]);
            return NULL;
        }
    }
    return is_all ? "shutdown" : "stop";
}

static void kill_params(const struct control_call *call, struct core_buf *out) {
    const char *option = control_value(call, "signal");
    const char *signal = option != NULL ? option : call->signal;
    if (signal != NULL) {
        core_buf_span(out, CORE_SPAN("\"signal\":"));
        core_buf_string(out, core_span_of(signal));
    }
}

static void deploy_params(const struct control_call *call, struct core_buf *out) {
    bool is_dry = control_value(call, "dry-run") != NULL;
    bool is_forced = control_value(call, "force") != NULL;
    core_buf_span(out, is_dry ? CORE_SPAN("\"dry_run\":true") : CORE_SPAN("\"dry_run\":false"));
    core_buf_span(out, is_forced ? CORE_SPAN(",\"force\":true") : CORE_SPAN(",\"force\":false"));
}

/* ---- the table ------------------------------------------------------------------------------------------------------------------------------ */

const struct control_row control_rows[] = {
    {.cmd = &cmd_status,
     .method = "status",
     .words = CONTROL_NODES,
     .print = control_print_status,
     .judge = control_judge_status},
    {.cmd = &cmd_start,
     .method = "start",
     .words = CONTROL_NODES,
     .print = control_print_done,
     .judge = control_judge_done},
    {.cmd = &cmd_stop,
     .method_of = stop_method,
     .words = CONTROL_NODES,
     .print = control_print_done,
     .judge = control_judge_done},
    {.cmd = &cmd_restart,
     .method = "restart",
     .words = CONTROL_NODES,
     .print = control_print_done,
     .judge = control_judge_done},
    {.cmd = &cmd_kill,
     .method = "kill",
     .words = CONTROL_NODES_NEEDED,
     .takes_signal = true,
     .params = kill_params,
     .print = control_print_done,
     .judge = control_judge_done},
    {.cmd = &cmd_shell_check,
     .method = "check",
     .words = CONTROL_NODES,
     .is_shell_only = true,
     .print = control_print_check,
     .judge = control_judge_check},
    {.cmd = &cmd_deploy,
     .method = "deploy",
     .words = CONTROL_NODES,
     .params = deploy_params,
     .print = control_print_deploy,
     .judge = control_judge_deploy},
    {.cmd = &cmd_diag, .words = CONTROL_NODES, .run = control_run_diag},
    {.cmd = &cmd_netstats, .method = "netstats", .words = CONTROL_NODES, .print = control_print_netstats},
    {.cmd = &cmd_capstats, .method = "capstats", .words = CONTROL_NODES, .print = control_print_capstats},
    {.cmd = &cmd_df, .method = "df", .words = CONTROL_NO_WORDS, .print = control_print_df},
    {.cmd = &cmd_nodes, .method = "nodes", .words = CONTROL_NODES, .print = control_print_nodes},
    {.cmd = &cmd_logs, .words = CONTROL_NODE_FILE, .run = control_run_logs},
    {.cmd = &cmd_events, .words = CONTROL_NO_WORDS, .run = control_run_events},
};
const size_t control_rows_len = sizeof(control_rows) / sizeof(control_rows[0]);
