/* cmd/cmd.c: what all subcommands share: the table of them, the parser of their options, their help.
 *
 * A command line is read by the rows of cmd->options and nothing else: `--name VALUE`, `--name=VALUE`, `-n VALUE`, and
 * files in between; `--` ends the options, a single `-` is a file. An option given twice: the last one counts.
 * Thread: main, before any other.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "core/conf.h"
#include "core/json.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CMD_OPTIONS_MAX 32
#define CMD_HELP_COLUMN 28
#define CMD_HELP_WIDTH 100
#define CMD_YEAR_MAX 2261 /* the last whole one that an int64 of ns can say */
#define CMD_PARENTS_MAX 4 /* from a program in a build tree up to its top, and from there to the sources */

const struct cmd *const cmd_table[] = {
    &cmd_run,
    &cmd_feed,
    &cmd_serve,
    &cmd_normalize,
    &cmd_check,
    &cmd_config_show,
    &cmd_map_explain,
    &cmd_map_check,
    &cmd_map_export,
    &cmd_map_test,
    &cmd_replay,
    &cmd_supervise,
    &cmd_verify,
    &cmd_ledger,
    &cmd_setup,
    &cmd_dead_letter_list,
    &cmd_dead_letter_show,
    &cmd_dead_letter_retry,
    &cmd_intel_sync,
    &cmd_intel_load,
    &cmd_intel_list,
    &cmd_intel_get,
    &cmd_intel_add,
    &cmd_intel_rm,
    &cmd_intel_allow,
    &cmd_intel_stats,
    &cmd_intel_match,
    &cmd_intel_export,
    &cmd_top,
    &cmd_tap,
    &cmd_health,
    &cmd_status,
    &cmd_start,
    &cmd_stop,
    &cmd_restart,
    &cmd_kill,
    &cmd_deploy,
    &cmd_diag,
    &cmd_netstats,
    &cmd_capstats,
    &cmd_df,
    &cmd_nodes,
    &cmd_logs,
    &cmd_events,
    &cmd_log_level,
    &cmd_shell,
    &cmd_reference,
    &cmd_version,
    NULL,
};

static size_t cmd_options_len(const struct cmd *cmd) {
    size_t len = 0;
    while (cmd->options != NULL && cmd->options[len].name != NULL) {
        len++;
    }
    MUST(len <= CMD_OPTIONS_MAX);
    return len;
}

/* ---- help -------------------------------------------------------------------------------------------------------------- */

static void cmd_help_option(char letter, const char *name, const char *arg, const char *help) {
    char left[128];
    char letters[8] = "    ";
    if (letter != 0) {
        (void)snprintf(letters, sizeof(letters), "-%c, ", letter);
    }
    int n = snprintf(left, sizeof(left), "  %s--%s%s%s", letters, name, arg == NULL ? "" : " ", arg == NULL ? "" : arg);
    if (n < CMD_HELP_COLUMN - 1) {
        printf("%-*s%s\n", CMD_HELP_COLUMN, left, help);
    } else {
        printf("%s\n%-*s%s\n", left, CMD_HELP_COLUMN, "", help);
    }
}

/* The text in lines of at most CMD_HELP_WIDTH bytes, broken at blanks. */
static void cmd_help_text(const char *text) {
    size_t column = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, " \n");
        if (column > 0) {
            bool is_full = column + 1 + len > CMD_HELP_WIDTH;
            (void)fputc(is_full ? '\n' : ' ', stdout);
            column = is_full ? 0 : column + 1;
        }
        printf("%.*s", (int)len, text);
        column += len;
        text += len + (text[len] != '\0' ? 1 : 0);
    }
    (void)fputc('\n', stdout);
}

static void cmd_help(const struct cmd *cmd) {
    printf("tapline %s: %s\n\n", cmd->name, cmd->summary);
    printf("Usage: tapline %s [OPTION…]%s%s\n\n", cmd->name, cmd->args[0] == '\0' ? "" : " ", cmd->args);
    cmd_help_text(cmd->about);
    printf("\nOptions:\n");
    size_t len = cmd_options_len(cmd);
    for (size_t i = 0; i < len; i++) {
        const struct cmd_option *option = &cmd->options[i];
        cmd_help_option(option->letter, option->name, option->arg, option->help);
    }
    cmd_help_option('h', "help", NULL, "Print this and exit.");
    printf("\nExample:\n");
    for (const char *line = cmd->example; line != NULL && *line != '\0';) {
        size_t line_len = strcspn(line, "\n");
        printf("  %.*s\n", (int)line_len, line);
        line += line_len + (line[line_len] == '\n' ? 1 : 0);
    }
    printf("\nExit codes: 0 done, 1 the answer is no, 100 called wrongly, 111 the system failed.\n");
}

/* ---- options ----------------------------------------------------------------------------------------------------------- */

/* One parse under way. */
struct cmd_parse {
    const struct cmd *cmd;
    size_t options_len;
    int argc;
    char **argv;
    int at;
    struct cmd_args *args;
    bool is_wrong;
    bool is_help;
};

static void cmd_wrong_option(struct cmd_parse *parse, const char *name, size_t len) {
    const char *names[CMD_OPTIONS_MAX + 1];
    char word[64];
    for (size_t i = 0; i < parse->options_len; i++) {
        names[i] = parse->cmd->options[i].name;
    }
    names[parse->options_len] = "help";
    (void)snprintf(word, sizeof(word), "%.*s", (int)len, name);
    const char *near = core_conf_nearest(word, names, parse->options_len + 1);
    fprintf(stderr, "tapline %s: there is no option --%s", parse->cmd->name, word);
    if (near != NULL) {
        fprintf(stderr, ", did you mean --%s?\n", near);
    } else {
        fprintf(stderr, "; `tapline %s --help` lists what there is\n", parse->cmd->name);
    }
    parse->is_wrong = true;
}

/* Option i was named; value is what is glued to it, or NULL. */
static void cmd_take_option(struct cmd_parse *parse, size_t i, const char *value) {
    const struct cmd_option *option = &parse->cmd->options[i];
    if (option->arg == NULL) {
        if (value != NULL) {
            fprintf(stderr, "tapline %s: --%s takes no value, but \"%s\" was given\n", parse->cmd->name, option->name,
                    value);
            parse->is_wrong = true;
        }
        parse->args->values[i] = "";
        return;
    }
    if (value == NULL && parse->at + 1 < parse->argc) {
        value = parse->argv[++parse->at];
    }
    if (value == NULL) {
        fprintf(stderr, "tapline %s: --%s needs a value: --%s %s\n", parse->cmd->name, option->name, option->name,
                option->arg);
        parse->is_wrong = true;
    }
    parse->args->values[i] = value;
}

static void cmd_take_long(struct cmd_parse *parse, const char *text) {
    size_t len = strcspn(text, "=");
    const char *value = text[len] == '=' ? text + len + 1 : NULL;
    for (size_t i = 0; i < parse->options_len; i++) {
        const char *name = parse->cmd->options[i].name;
        if (strlen(name) == len && memcmp(name, text, len) == 0) {
            cmd_take_option(parse, i, value);
            return;
        }
    }
    if (len == strlen("help") && memcmp(text, "help", len) == 0) {
        parse->is_help = true;
        return;
    }
    cmd_wrong_option(parse, text, len);
}

/* "-n5", "-n 5", "-ab" for two switches. */
static void cmd_take_letters(struct cmd_parse *parse, const char *letters) {
    while (*letters != '\0') {
        size_t i = 0;
        while (i < parse->options_len && parse->cmd->options[i].letter != *letters) {
            i++;
        }
        if (i == parse->options_len && *letters == 'h') {
            parse->is_help = true;
            return;
        }
        if (i == parse->options_len) {
            fprintf(stderr, "tapline %s: there is no option -%c; `tapline %s --help` lists what there is\n",
                    parse->cmd->name, *letters, parse->cmd->name);
            parse->is_wrong = true;
            return;
        }
        letters++;
        if (parse->cmd->options[i].arg != NULL) {
            cmd_take_option(parse, i, *letters == '\0' ? NULL : letters);
            return;
        }
        cmd_take_option(parse, i, NULL);
    }
}

bool cmd_parse(const struct cmd *cmd, int argc, char **argv, struct cmd_args *args, int *exit_code) {
    MUST(argc >= 1);
    MUST(args != NULL);
    *args = (struct cmd_args){.files = argv + 1};
    struct cmd_parse parse = {
        .cmd = cmd, .options_len = cmd_options_len(cmd), .argc = argc, .argv = argv, .at = 1, .args = args};
    bool is_end = false;
    for (; parse.at < argc && !parse.is_wrong && !parse.is_help; parse.at++) {
        char *word = argv[parse.at];
        if (is_end || word[0] != '-' || word[1] == '\0') {
            args->files[args->files_len++] = word; /* files move to the front; never past what was read */
        } else if (strcmp(word, "--") == 0) {
            is_end = true;
        } else if (word[1] == '-') {
            cmd_take_long(&parse, word + 2);
        } else {
            cmd_take_letters(&parse, word + 1);
        }
    }
    *exit_code = CORE_EXIT_DONE;
    if (parse.is_wrong) {
        *exit_code = CORE_EXIT_USAGE;
    } else if (parse.is_help) {
        cmd_help(cmd);
    } else if (args->files_len > 0 && cmd->args[0] == '\0') {
        fprintf(stderr, "tapline %s: takes no arguments, but \"%s\" was given\n", cmd->name, args->files[0]);
        *exit_code = CORE_EXIT_USAGE;
    } else {
        return true;
    }
    return false;
}

const char *cmd_value(const struct cmd *cmd, const struct cmd_args *args, const char *name) {
    size_t len = cmd_options_len(cmd);
    for (size_t i = 0; i < len; i++) {
        if (strcmp(cmd->options[i].name, name) == 0) {
            return args->values[i];
        }
    }
    MUST(!"an option that the table has");
    return NULL;
}

void cmd_print_json_string(FILE *out, struct core_span text) {
    size_t cap = text.len * strlen("\\u0000") + 2; /* what one byte can become, and the quotes */
    char *bytes = malloc(cap);
    MUST(bytes != NULL);
    struct core_buf buf = {.start = bytes, .pos = bytes, .end = bytes + cap};
    core_buf_string(&buf, text);
    MUST(!buf.is_full);
    struct core_span written = core_buf_written(&buf);
    (void)fwrite(written.ptr, 1, written.len, out); /* main() looks at the stream's error at the end */
    free(bytes);
}

/* ---- where the maps are ------------------------------------------------------------------------------------------------ */

static bool cmd_has(const char *dir, const char *name, char *out, size_t out_len) {
    int n = snprintf(out, out_len, "%s/%s", dir, name);
    return n > 0 && (size_t)n < out_len && access(out, R_OK) == 0;
}

/* Cut the last name off; false at the root. */
static bool cmd_parent(char *dir) {
    char *slash = strrchr(dir, '/');
    if (slash == NULL || slash == dir) {
        return false;
    }
    *slash = '\0';
    return true;
}

/* The first of dir and its parents that has the name; cuts dir to it. */
static bool cmd_find_up(char *dir, const char *name) {
    char path[PATH_MAX];
    for (int i = 0; i <= CMD_PARENTS_MAX; i++) {
        if (cmd_has(dir, name, path, sizeof(path))) {
            return true;
        }
        if (!cmd_parent(dir)) {
            return false;
        }
    }
    return false;
}

const char *cmd_maps_dir(void) {
    static char dir[PATH_MAX + sizeof("/configs")];
    const char *given = getenv("TAPLINE_MAPS");
    if (given != NULL && given[0] != '\0') {
        return given;
    }
    /* Only a build tree has CMake's cache: an installed program never trusts a configs/ that happens to be near. */
    ssize_t len = readlink("/proc/self/exe", dir, PATH_MAX - 1);
    if (len > 0) {
        dir[len] = '\0';
        if (cmd_parent(dir) && cmd_find_up(dir, "CMakeCache.txt") && cmd_find_up(dir, "configs/logs.table")) {
            strcat(dir, "/configs");
            return dir;
        }
    }
    return TAPLINE_MAPS_DIR;
}

struct normalize_conf cmd_normalize_conf(const struct normalize_conf *conf) {
    struct normalize_conf filled = conf == NULL ? (struct normalize_conf){0} : *conf;
    if (filled.maps == NULL) {
        filled.maps = (char *)(uintptr_t)cmd_maps_dir();
    }
    return filled;
}

struct normalize_conf cmd_maps_conf(const struct cmd *cmd, const struct cmd_args *args) {
    struct normalize_conf conf = {.maps = (char *)(uintptr_t)cmd_value(cmd, args, "maps"),
                                  .site_maps = (char *)(uintptr_t)cmd_value(cmd, args, "site-maps")};
    return cmd_normalize_conf(&conf);
}

void cmd_print_mistakes(const struct core_conf_mistakes *mistakes) {
    for (size_t i = 0; i < mistakes->len; i++) {
        (void)fprintf(stderr, "%s: %s\n", mistakes->fails[i].where, mistakes->fails[i].text);
    }
}

bool cmd_since_parse(const char *text, int64_t *since_ns) {
    int64_t duration_ns = 0;
    int year = 0;
    unsigned month = 0;
    unsigned day = 0;
    unsigned hour = 0;
    unsigned minute = 0;
    unsigned second = 0;
    int len = 0;
    if (core_parse_duration(text, &duration_ns)) {
        *since_ns = core_now_ns() - duration_ns;
        return true;
    }
    int got =
        sscanf(text, "%4d-%2u-%2u%n", &year, &month, &day, &len); // NOLINT(cert-err34-c): bounded digits, checked below
    if (got == 3 && text[len] == 'T') {
        const char *time = text + len + 1;
        len = 0;
        got += sscanf(time, "%2u:%2u:%2u%n", &hour, &minute, &second, &len); // NOLINT(cert-err34-c)
        text = time;
        len += got == 6 && text[len] == 'Z' ? 1 : 0;
    }
    if ((got != 3 && got != 6) || text[len] != '\0' || year < 1970 || year > CMD_YEAR_MAX || month < 1 || month > 12 ||
        day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60) {
        return false;
    }
    *since_ns = (core_days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second) * CORE_NS_PER_S;
    return true;
}
