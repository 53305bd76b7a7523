/* cmd/cmd.h: one subcommand is one row of cmd_table and one file cmd/<name>.c. Options are rows too: from them come the
 * parser, `--help`, the man pages and the reference.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_CMD_H
#define TAPLINE_CMD_CMD_H

#include "core/conf.h"
#include "core/core.h"
#include "normalize/normalize.h"

#include <stdio.h>

struct cmd_option {
    const char *name; /* long name without "--" */
    char letter;      /* short one, or 0 */
    const char *arg;  /* NULL: a switch; else the argument's name in help, e.g. "FILE" */
    const char *help; /* one sentence */
};

struct cmd {
    const char *name;                 /* "normalize"; two words for a nested one: "map explain", "config show" */
    const char *summary;              /* one line */
    const char *args;                 /* what follows the options in the usage line, e.g. "[FILE…|-]"; "" for none */
    const char *about;                /* a few sentences for --help and the man page */
    const char *example;              /* one or more whole command lines */
    const struct cmd_option *options; /* ends with {0} */
    int (*run)(const struct cmd *cmd, int argc, char **argv); /* argv[0] is the subcommand; returns enum core_exit */
};

extern const struct cmd cmd_normalize, cmd_run, cmd_feed, cmd_serve, cmd_check, cmd_log_level, cmd_map_check,
    cmd_map_explain, cmd_map_export, cmd_map_test, cmd_replay, cmd_verify, cmd_ledger, cmd_config_show, cmd_reference,
    cmd_setup, cmd_supervise, cmd_version;
extern const struct cmd cmd_intel_sync, cmd_intel_load, cmd_intel_list, cmd_intel_get, cmd_intel_add, cmd_intel_rm,
    cmd_intel_allow, cmd_intel_stats, cmd_intel_match, cmd_intel_export;
extern const struct cmd cmd_status, cmd_start, cmd_stop, cmd_restart, cmd_kill, cmd_deploy, cmd_diag, cmd_netstats,
    cmd_capstats, cmd_df, cmd_nodes, cmd_logs, cmd_events, cmd_shell;
extern const struct cmd cmd_top, cmd_tap, cmd_health;
extern const struct cmd cmd_dead_letter_list, cmd_dead_letter_show, cmd_dead_letter_retry;
extern const struct cmd *const cmd_table[]; /* NULL-terminated, in the order of help */

/* What was given. values[i] belongs to cmd->options[i]: NULL not given, "" for a switch, else the last argument. */
struct cmd_args {
    const char *values[32];
    char **files;
    int files_len;
};

/* Parse argv by the rows. `--help` prints the help to stdout. Returns true to go on; false: return *exit_code (help: 0;
 * wrong usage: 100, said on stderr with the nearest option's name). */
CORE_CHECKED bool cmd_parse(const struct cmd *cmd, int argc, char **argv, struct cmd_args *args, int *exit_code);
/* The value of the option with this long name, or NULL. */
const char *cmd_value(const struct cmd *cmd, const struct cmd_args *args, const char *name);
/* The text as a JSON string with its quotes (bytes that are no UTF-8 as core_buf_string() has them). */
void cmd_print_json_string(FILE *out, struct core_span text);
/* Where maps are when nobody says: $TAPLINE_MAPS, else configs/ beside a build tree's program, else the installed ones. */
const char *cmd_maps_dir(void);
/* The same with the directory of maps filled in; NULL: all defaults. Owns nothing: valid as long as conf is. */
struct normalize_conf cmd_normalize_conf(const struct normalize_conf *conf);
/* The same from the options --maps and --site-maps. */
struct normalize_conf cmd_maps_conf(const struct cmd *cmd, const struct cmd_args *args);

/* "24h" (before now), "2026-11-21" or "2026-11-21T03:00:00Z": ns since the epoch. False: it is none of these. */
CORE_CHECKED bool cmd_since_parse(const char *text, int64_t *since_ns);

/* In the order of files, lines and columns. */
void cmd_sort_mistakes(struct core_conf_mistakes *mistakes);
/* Each mistake on stderr, as "file:line:col: what". */
void cmd_print_mistakes(const struct core_conf_mistakes *mistakes);

#endif
