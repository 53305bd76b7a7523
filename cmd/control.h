/* cmd/control.h: the commands that are clients of Main (`tapline serve`): status, start, deploy, logs … and the shell.
 *
 * One table of rows (cmd/control_rows.c) is the command line, the shell, its completion and its help: a row says which method
 * of Main a command asks, how its words become params, and what of the result people see.
 *
 *   control_rows.c   the rows                        control.c        one row run: where Main is, params, exit code
 *   control_call.c   the connection, one question    control_table.c  results as aligned columns
 *   control_follow.c logs and events, also with -f   control_diag.c   crash reports, in two questions
 *   control_print.c  results that are no one table   shell*.c         the same rows at a prompt
 *
 * Data goes to stdout, talk and progress to stderr. Thread: main's.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_CONTROL_H
#define TAPLINE_CMD_CONTROL_H

#include "cmd/cmd.h"
#include "core/rpc.h"

#define CONTROL_SOCKET "/run/tapline/main.sock"
#define CONTROL_ADDRESS_BYTES_MAX 256
#define CONTROL_TOKEN_BYTES_MAX 512

/* ---- one session with Main: control_call.c --------------------------------------------------------------------------------- */

/* Of the request that is under way, on stderr: one line that is written again and again on a terminal, else a line each. */
struct control_progress {
    bool is_terminal;
    bool is_shown; /* a line stands there now, without its end */
};

struct control {
    char address[CONTROL_ADDRESS_BYTES_MAX]; /* as core_rpc_client_new() takes it */
    char token[CONTROL_TOKEN_BYTES_MAX];     /* "": none */
    bool is_shell;
    struct core_loop *loop;
    struct core_rpc_client *client; /* NULL: none now */
    bool is_closed;                 /* the connection has ended; client is still to be freed */
    int interrupt_fd;               /* readable: Ctrl-C was pressed; SIGINT itself is blocked */
    bool is_interrupted;
    struct control_progress progress;
    void (*on_event)(void *ctx, const struct core_json_tree *event); /* NULL: events are not looked at */
    void *event_ctx;
};

/* Owns: control_close(); address and token are set by the caller before. Returns false if the system has no more of what is
 * needed; said on stderr. */
CORE_CHECKED bool control_open(struct control *control);
void control_close(struct control *control); /* takes a zeroed one, or one that could not be opened */

/* Connect if there is no connection. Errors: CORE_NET nobody is there; fail has the words. */
CORE_CHECKED enum core_err control_connect(struct control *control, struct core_fail *fail);
/* "Main does not answer", and what can be done, on stderr. Returns CORE_EXIT_SYSTEM. */
int control_tell_unreachable(const struct control *control, const struct core_fail *fail);

/* Takes the result, which is valid during the call; returns enum core_exit. */
typedef int control_on_result(void *ctx, const struct core_json_tree *result);

struct control_question {
    const char *method;
    struct core_span params; /* JSON, or empty */
    control_on_result *on_result;
    void *ctx;
    bool is_quiet; /* a failure is not said; is_interrupted and client tell */
};
/* Ask, and wait for the answer as long as it takes, or until Ctrl-C. Returns what on_result returned; refused: by its code, and
 * said; no Main: CORE_EXIT_SYSTEM; Ctrl-C: CORE_EXIT_NO, and that Main goes on. */
CORE_CHECKED int control_ask(struct control *control, const struct control_question *question);
/* Let time pass, events come in. Returns false when Ctrl-C was pressed. */
CORE_CHECKED bool control_wait(struct control *control, int64_t timeout_ns);

/* ---- rows: control_rows.c ---------------------------------------------------------------------------------------------------- */

enum control_words {
    CONTROL_NO_WORDS,
    CONTROL_NODES,        /* names, groups, types, all; none: all */
    CONTROL_NODES_NEEDED, /* the same, but all must be said */
    CONTROL_NODE_FILE,    /* [node [file]] */
};

struct control_row;
/* A command with what was given. */
struct control_call {
    struct control *control;
    const struct control_row *row;
    struct cmd_args args;
    const char *signal; /* of kill: "KILL", or NULL */
};

struct control_row {
    const struct cmd *cmd;
    const char *method; /* of Main */
    const char *(*method_of)(
        const struct control_call *call); /* where an option says which; returns NULL: called wrongly, said */
    enum control_words words;
    bool is_shell_only; /* the command line has a command of that name already */
    bool takes_signal;  /* "-KILL" among the words */
    void (*params)(const struct control_call *call, struct core_buf *out); /* members beside nodes; NULL: none */
    void (*print)(const struct control_call *call, const struct core_json_tree *result); /* for people, on stdout */
    int (*judge)(const struct core_json_tree *result); /* enum core_exit of a result; NULL: CORE_EXIT_DONE */
    int (*run)(const struct control_call *call);       /* asks by itself, instead of all above; NULL: they do */
};
extern const struct control_row control_rows[];
extern const size_t control_rows_len;

/* Rows' functions, by file. */
typedef void control_print(const struct control_call *call, const struct core_json_tree *result);
typedef int control_judge(const struct core_json_tree *result);
control_print control_print_status, control_print_nodes, control_print_done, control_print_check, control_print_deploy,
    control_print_netstats, control_print_capstats, control_print_df;
control_judge control_judge_status, control_judge_done, control_judge_check, control_judge_deploy;
int control_run_diag(const struct control_call *call);
int control_run_logs(const struct control_call *call);
int control_run_events(const struct control_call *call);

/* ---- running a row: control.c -------------------------------------------------------------------------------------------------- */

/* The value of an option of call's command, or NULL; NULL, too, where the command has no such option. */
const char *control_value(const struct control_call *call, const char *name);
bool control_is_json(const struct control_call *call);
/* The row with this command's name, or NULL. */
const struct control_row *control_row_find(const char *name);
/* Fill address and token: --socket, else $TAPLINE_SOCKET, else serve.socket of -c FILE, else CONTROL_SOCKET. Returns false:
 * *exit_code, and said. */
CORE_CHECKED bool control_locate(struct control *control, const char *socket_path, const char *config_path,
                                 int *exit_code);
/* Parse argv (argv[0] is the command's word) and do it in this session. Returns enum core_exit. */
int control_run(struct control *control, const struct control_row *row, int argc, char **argv);
/* struct cmd's run of all rows. */
int control_main(const struct cmd *cmd, int argc, char **argv);
/* Ask method "check" of the Main that this configuration names. json NULL: the result is printed for people; else *json is the
 * result, malloc'ed, or NULL where there is none. Returns enum core_exit; what failed is said. */
int control_check_sensors(const char *config_path, char **json);

/* {"nodes":[…words],…params}: malloc'ed JSON of a call. words 0: nodes is left out. */
struct core_span control_params(const struct control_call *call, char **words, int words_len);

/* ---- columns: control_table.c --------------------------------------------------------------------------------------------------- */

enum control_form {
    CONTROL_TEXT,
    CONTROL_NUMBER,  /* with blanks between thousands: never; as it stood */
    CONTROL_BYTES,   /* 1.5 GiB */
    CONTROL_STATE,   /* a process's, in its colour */
    CONTROL_TIME,    /* ns since the epoch, or a time as text: the day and time here */
    CONTROL_PERCENT, /* of 0 … 100 */
    CONTROL_DECIMAL, /* one digit behind the point */
    CONTROL_PER_S,   /* 1.2 M/s: powers of 1000 */
    CONTROL_YES,     /* "yes" or nothing */
};
struct control_column {
    const char *title;
    const char *member;
    enum control_form form;
    bool is_right; /* numbers stand at the right */
    /* Makes the text instead of form; out is empty before. NULL: form does. */
    void (*text)(const struct core_json_tree *item, char *out, size_t out_len);
};
#define CONTROL_CELL_BYTES 512
/* Print a list of objects as columns on stdout, a line each; a column that has nothing in it is left out; on a terminal the last
 * one is broken to its width. An empty list prints nothing. */
void control_table_print(const struct core_json_tree *list, const struct control_column *columns, size_t columns_len);
/* A person's text: what is no printable character (as it may come from the network through a sensor) becomes "?". */
void control_text_clean(char *text);
/* On stdout: as it is; on a terminal without what would control it, line ends and tabs but. */
void control_text_print(struct core_span text);
/* A member as text of this form. */
void control_text_of(const struct core_json_tree *object, const char *member, enum control_form form, char *out,
                     size_t out_len);
size_t control_terminal_columns(int fd); /* 0: fd is no terminal */

#endif
