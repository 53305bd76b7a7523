/* cmd/shell.c: `tapline shell`: the commands that talk to Main at a prompt, or line by line from a file.
 *
 * The shell has no commands of its own beside help, exit and quit: it runs the rows of cmd/control_rows.c in one session. Lines
 * are split at blanks, with '…', "…" and \ as a shell has them; # begins a comment. At a prompt a failure changes nothing; as a
 * script (stdin is no terminal) all lines are run, and the exit code is that of the first that failed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/control.h"
#include "cmd/shell.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LINE_WORDS_MAX 300 /* a few more than nodes */
#define COMMANDS_MAX 64

static const struct cmd_option shell_options[] = {
    {.name = "socket", .arg = "PATH", .help = "Where tapline serve listens; else $TAPLINE_SOCKET, else as -c says."},
    {.name = "config",
     .letter = 'c',
     .arg = "FILE",
     .help = "The configuration with serve.socket; without it /run/tapline/main.sock."},
    {0},
};

enum builtin { SHELL_HELP, SHELL_EXIT, SHELL_QUIT, SHELL_BUILTIN__MAX };
static const struct {
    const char *name;
    const char *summary;
} builtins[SHELL_BUILTIN__MAX] = {
    [SHELL_HELP] = {"help", "List the commands; help COMMAND tells more."},
    [SHELL_EXIT] = {"exit", "Leave the shell (also Ctrl-D)."},
    [SHELL_QUIT] = {"quit", "The same."},
};

struct shell {
    struct control *control;
    struct shell_edit *edit; /* NULL: a script */
    int first_failure;       /* CORE_EXIT_DONE: none yet */
    bool is_over;
};

/* ---- words ----------------------------------------------------------------------------------------------------------------------- */

/* The next word of *at, unquoted, into where it stood (it only gets shorter). NULL: no more. *is_open: a quote has no end. */
static char *word_next(char **at, bool *is_open) {
    char *in = *at;
    while (core_is_blank(*in)) {
        in++;
    }
    if (*in == '\0' || *in == '#') {
        return NULL;
    }
    char *word = in;
    char *out = in;
    char quote = '\0';
    for (; *in != '\0' && (quote != '\0' || !core_is_blank(*in)); in++) {
        if (*in == quote) {
            quote = '\0';
        } else if (quote == '\0' && (*in == '\'' || *in == '"')) {
            quote = *in;
        } else if (*in == '\\' && quote != '\'' && in[1] != '\0') {
            *out++ = *++in;
        } else {
            *out++ = *in;
        }
    }
    *is_open = quote != '\0';
    *at = *in == '\0' ? in : in + 1;
    *out = '\0';
    return word;
}

/* Returns how many words there are; -1: the line is wrong, said. Owns: words lie in line. */
static int words_split(char *line, char **words) {
    int len = 0;
    bool is_open = false;
    char *word = NULL;
    while ((word = word_next(&line, &is_open)) != NULL) {
        if (is_open || len == LINE_WORDS_MAX) {
            (void)fprintf(stderr, "tapline shell: %s\n",
                          is_open ? "a quote is opened, but not closed" : "a line has too many words");
            return -1;
        }
        words[len++] = word;
    }
    words[len] = NULL;
    return len;
}

/* ---- commands -------------------------------------------------------------------------------------------------------------------- */

static size_t commands_list(const char *names[COMMANDS_MAX]) {
    size_t len = 0;
    MUST(control_rows_len + SHELL_BUILTIN__MAX <= COMMANDS_MAX);
    for (size_t i = 0; i < control_rows_len; i++) {
        names[len++] = control_rows[i].cmd->name;
    }
    for (size_t i = 0; i < SHELL_BUILTIN__MAX; i++) {
        names[len++] = builtins[i].name;
    }
    return len;
}

static int tell_unknown(const char *word) {
    const char *names[COMMANDS_MAX];
    const char *near = core_conf_nearest(word, names, commands_list(names));
    if (near != NULL) {
        (void)fprintf(stderr, "tapline shell: there is no command \"%s\", did you mean \"%s\"?\n", word, near);
    } else {
        (void)fprintf(stderr, "tapline shell: there is no command \"%s\"; help lists what there is\n", word);
    }
    return CORE_EXIT_USAGE;
}

static int help(struct shell *shell, const char *word) {
    if (word != NULL) {
        const struct control_row *row = control_row_find(word);
        char *argv[] = {(char *)(uintptr_t)word, (char[]){"--help"}, NULL};
        for (size_t i = 0; i < SHELL_BUILTIN__MAX && row == NULL; i++) {
            if (strcmp(builtins[i].name, word) == 0) {
                (void)printf("%s: %s\n", word, builtins[i].summary);
                return CORE_EXIT_DONE;
            }
        }
        return row == NULL ? tell_unknown(word) : control_run(shell->control, row, 2, argv);
    }
    for (size_t i = 0; i < control_rows_len; i++) {
        (void)printf("  %-10s %s\n", control_rows[i].cmd->name, control_rows[i].cmd->summary);
    }
    for (size_t i = 0; i < SHELL_BUILTIN__MAX; i++) {
        (void)printf("  %-10s %s\n", builtins[i].name, builtins[i].summary);
    }
    (void)printf("\nhelp COMMAND tells more. TAB completes commands, nodes and options; the arrows go through the "
                 "history; Ctrl-C\n"
                 "gives up a line, or the waiting for an answer (what was asked goes on); Ctrl-D leaves.\n");
    return CORE_EXIT_DONE;
}

static int words_run(struct shell *shell, int argc, char **argv) {
    if (strcmp(argv[0], "tapline") == 0 && argc > 1) { /* as fingers have it */
        argc--;
        argv++;
    }
    const struct control_row *row = control_row_find(argv[0]);
    if (row != NULL) {
        return control_run(shell->control, row, argc, argv);
    }
    if (strcmp(argv[0], builtins[SHELL_HELP].name) == 0 || strcmp(argv[0], "?") == 0) {
        return help(shell, argv[1]);
    }
    if (strcmp(argv[0], builtins[SHELL_EXIT].name) != 0 && strcmp(argv[0], builtins[SHELL_QUIT].name) != 0) {
        return tell_unknown(argv[0]);
    }
    shell->is_over = true;
    return CORE_EXIT_DONE;
}

static void line_run(struct shell *shell, char *line) {
    char *words[LINE_WORDS_MAX + 1];
    shell->control->is_interrupted = false;
    int len = words_split(line, words);
    int code = len < 0 ? CORE_EXIT_USAGE : len == 0 ? CORE_EXIT_DONE : words_run(shell, len, words);
    (void)fflush(stdout);
    shell->first_failure = shell->first_failure == CORE_EXIT_DONE ? code : shell->first_failure;
    shell->is_over = shell->is_over || (shell->edit == NULL && shell->control->is_interrupted);
}

/* ---- completion -------------------------------------------------------------------------------------------------------------------- */

struct completing {
    struct core_span begin; /* of the word, as far as it is typed */
    struct shell_choices *out;
};

static void choice_add(struct completing *completing, const char *prefix, struct core_span text) {
    char word[SHELL_WORD_BYTES];
    struct shell_choices *out = completing->out;
    int len = snprintf(word, sizeof(word), "%s%.*s", prefix, (int)text.len, text.ptr == NULL ? "" : text.ptr);
    if (text.len == 0 || len < 0 || (size_t)len >= sizeof(word) || out->len == SHELL_WORDS_MAX) {
        return;
    }
    control_text_clean(word);
    bool is_fitting = core_span_starts(core_span_of(word), completing->begin);
    for (size_t i = 0; i < out->len && is_fitting; i++) {
        is_fitting = strcmp(out->words[i], word) != 0;
    }
    if (is_fitting) {
        (void)snprintf(out->words[out->len++], SHELL_WORD_BYTES, "%s", word);
    }
}

static int on_nodes(void *ctx, const struct core_json_tree *result) {
    static const char *const members[] = {"name", "group", "type"};
    const struct core_json_tree *nodes = core_json_tree_get(result, "nodes");
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        for (const struct core_json_tree *node = nodes == NULL ? NULL : nodes->first; node != NULL; node = node->next) {
            choice_add(ctx, "", core_json_tree_text(node, members[i]));
        }
    }
    choice_add(ctx, "", CORE_SPAN("all"));
    return CORE_EXIT_DONE;
}

static void complete_command(struct completing *completing) {
    const char *names[COMMANDS_MAX];
    size_t len = commands_list(names);
    for (size_t i = 0; i < len; i++) {
        choice_add(completing, "", core_span_of(names[i]));
    }
}

static void complete_option(struct completing *completing, const struct control_row *row) {
    const struct cmd_option *options = row->cmd->options;
    for (size_t i = 0; options[i].name != NULL; i++) {
        bool is_the_shells = strcmp(options[i].name, "socket") == 0 || strcmp(options[i].name, "config") == 0;
        if (!is_the_shells) {
            choice_add(completing, "--", core_span_of(options[i].name));
        }
    }
    choice_add(completing, "--", CORE_SPAN("help"));
}

static void on_complete(void *ctx, struct core_span line, struct shell_choices *out) {
    struct shell *shell = ctx;
    char first[SHELL_WORD_BYTES] = "";
    struct completing completing = {.begin = {line.ptr + line.len, 0}, .out = out};
    size_t words = 0; /* before the one that is typed */
    for (size_t at = 0; at < line.len;) {
        size_t begin = at;
        while (at < line.len && !core_is_blank(line.ptr[at])) {
            at++;
        }
        struct core_span word = {line.ptr + begin, at - begin};
        if (at == line.len) {
            completing.begin = word;
        } else if (word.len > 0) {
            if (words++ == 0) {
                (void)snprintf(first, sizeof(first), "%.*s", (int)word.len, word.ptr);
            }
        }
        at++;
    }
    const struct control_row *row = words == 0 ? NULL : control_row_find(first);
    if (words == 0 || (words == 1 && strcmp(first, builtins[SHELL_HELP].name) == 0)) {
        complete_command(&completing);
    } else if (row != NULL && completing.begin.len > 0 && completing.begin.ptr[0] == '-') {
        complete_option(&completing, row);
    } else if (row != NULL && row->words != CONTROL_NO_WORDS) {
        const struct control_question question = {"nodes", {0}, on_nodes, &completing, true};
        if (control_ask(shell->control, &question) != CORE_EXIT_DONE) {
            choice_add(&completing, "", CORE_SPAN("all")); /* without Main nobody knows more */
        }
    }
}

/* ---- the two ways to read lines ------------------------------------------------------------------------------------------------------ */

/* ~/.tapline_history, or NULL where there is no home. */
static const char *history_path(char *out, size_t out_len) {
    const char *home = getenv("HOME");
    int len = home == NULL || home[0] != '/' ? -1 : snprintf(out, out_len, "%s/.tapline_history", home);
    return len < 0 || (size_t)len >= out_len ? NULL : out;
}

static void shell_prompt(struct shell *shell) {
    struct core_span line = {0};
    struct core_fail fail = {0};
    if (control_connect(shell->control, &fail) != CORE_OK) { /* said now; each command tries again */
        (void)control_tell_unreachable(shell->control, &fail);
    }
    while (!shell->is_over) {
        enum shell_line what = shell_edit_line(shell->edit, &line);
        if (what == SHELL_END) {
            return;
        }
        char *copy = what == SHELL_LINE ? strndup(line.ptr, line.len) : NULL;
        MUST(copy != NULL || what != SHELL_LINE);
        if (copy != NULL && core_span_trim(line).len > 0) {
            shell_edit_keep(shell->edit, copy);
            line_run(shell, copy);
        }
        free(copy);
    }
}

/* Ctrl-C ends a script that waits for its next line as it ends any program. */
static ssize_t script_line(char **line, size_t *size) {
    sigset_t interrupt;
    (void)sigemptyset(&interrupt);
    (void)sigaddset(&interrupt, SIGINT);
    (void)sigprocmask(SIG_UNBLOCK, &interrupt, NULL);
    ssize_t len = getline(line, size, stdin);
    (void)sigprocmask(SIG_BLOCK, &interrupt, NULL);
    return len;
}

static void shell_script(struct shell *shell) {
    char *line = NULL;
    size_t size = 0;
    while (!shell->is_over && script_line(&line, &size) >= 0) {
        line_run(shell, line);
    }
    free(line);
}

static int shell_main(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args = {0};
    struct control control = {.is_shell = true};
    struct shell shell = {.control = &control};
    char history[PATH_MAX];
    int code = CORE_EXIT_USAGE;
    if (!cmd_parse(cmd, argc, argv, &args, &code) ||
        !control_locate(&control, cmd_value(cmd, &args, "socket"), cmd_value(cmd, &args, "config"), &code)) {
        return code;
    }
    code = CORE_EXIT_SYSTEM;
    if (!control_open(&control)) {
        goto out;
    }
    if (isatty(STDIN_FILENO) != 1) {
        shell_script(&shell);
        code = shell.first_failure;
        goto out;
    }
    shell.edit = shell_edit_open(&(struct shell_edit_conf){.prompt = "tapline> ",
                                                           .history = history_path(history, sizeof(history)),
                                                           .interrupt_fd = control.interrupt_fd,
                                                           .on_complete = on_complete,
                                                           .ctx = &shell});
    if (shell.edit == NULL) {
        (void)fprintf(stderr,
                      "tapline shell: this terminal cannot be edited on (TERM); pipe lines into it instead: echo "
                      "status | tapline shell\n");
        goto out;
    }
    shell_prompt(&shell);
    code = CORE_EXIT_DONE;
out:
    shell_edit_close(shell.edit);
    control_close(&control);
    return code;
}

const struct cmd cmd_shell = {
    .name = "shell",
    .summary = "The commands for sensors at a prompt, with history, completion and help.",
    .args = "",
    .about =
        "Runs status, start, stop, deploy, diag and the others that talk to tapline serve, one a line. TAB completes "
        "commands, nodes and options; the history is kept in ~/.tapline_history. If stdin is no terminal its lines are "
        "a "
        "script: all are run, and the exit code is that of the first that failed.",
    .example = "tapline shell\nprintf 'check\\ndeploy\\n' | tapline shell",
    .options = shell_options,
    .run = shell_main,
};
