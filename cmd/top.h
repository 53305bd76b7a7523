/* cmd/top.h: `tapline top`: how all processes of this host are, on a full screen or once as text or JSON.
 *
 *   top_source.c  asks: Main for all of them, else each by its own socket     top_form.c   numbers and texts as cells
 *   top_data.c    two documents of each process, rates between them, history  top_table.c  rows as sorted columns
 *   top_view.c    views: overview, tables, one row, help                      top_once.c   --once
 *   top_screen.c  ncurses, and the terminal as it was                         top.c        the command and its keys
 *
 * Everything shown is in health documents (core/health.h), and nothing else is asked of anybody. Thread: main's.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_TOP_H
#define TAPLINE_CMD_TOP_H

#include "core/health.h"
#include "core/json_tree.h"
#include "core/loop.h"

#define TOP_PROCESSES_MAX 64
#define TOP_HISTORY 60 /* documents that a measure is remembered of */
#define TOP_SILENT_NS (5 * CORE_NS_PER_S)
#define TOP_LINE_BYTES 1024
#define TOP_COLUMNS_MAX 16 /* of a table */

/* ---- top_data.c ------------------------------------------------------------------------------------------------------------ */

struct top_snapshot {
    struct core_arena arena;
    const struct core_json_tree *document; /* NULL: none yet */
    int64_t time_ns;                       /* the document's own */
};

#define TOP_NAME_BYTES 64
struct top_process {
    char name[TOP_NAME_BYTES]; /* "run", "feed-0", "serve" */
    struct top_snapshot snapshots[2];
    unsigned at;       /* which of them is now */
    double seconds;    /* between both; 0: there is no other */
    int64_t came_tick; /* when the last document came */
};

struct top_data;
struct top_data *top_data_new(void);
void top_data_free(struct top_data *data); /* takes NULL */
/* Whose document it is: "run", "feed-0", as its socket is called. False: it does not say. */
CORE_CHECKED bool top_document_name(const struct core_json_tree *document, char out[TOP_NAME_BYTES]);
/* Take a process's document, copied; one that is not newer than the last is left. */
void top_data_take(struct top_data *data, const struct core_json_tree *document);
/* Processes that have said nothing for a minute are forgotten. */
void top_data_turn(struct top_data *data);
size_t top_data_processes(const struct top_data *data);
const struct top_process *top_data_process(const struct top_data *data, size_t i);

static inline const struct core_json_tree *top_now(const struct top_process *process) {
    return process->snapshots[process->at].document;
}
/* For how long it has said nothing; 0: not for long. */
int64_t top_silent_ns(const struct top_process *process);
/* A counter of the process, per second. */
bool top_counter_rate(const struct top_process *process, const char *name, double *out);

struct top_row {
    const struct top_process *process;
    const struct core_json_tree *now;
    const struct core_json_tree *before; /* NULL: it is new */
    enum core_health_kind kind;
    uint64_t key; /* of process, kind and labels */
    int severity; /* of the worst problem it has: enum core_health_severity, -1: none */
};
struct top_rows {
    struct top_row *all; /* malloc'ed */
    size_t len, cap;
};
/* All rows of a kind, of all processes. filter: only rows with a label or process that holds this text, NULL or "": all. */
void top_rows_take(struct top_data *data, enum core_health_kind kind, const char *filter, struct top_rows *out);
void top_rows_free(struct top_rows *rows);
/* The row of a key, as it is now; false: there is none any more. */
bool top_row_find(struct top_data *data, enum core_health_kind kind, uint64_t key, struct top_row *out);
struct core_span top_label(const struct top_row *row, size_t i); /* empty: it has none */
/* As documents have it: seconds, bytes, ratios. False: not known. */
bool top_value(const struct top_row *row, enum core_health_measure measure, double *out);
bool top_rate(const struct top_row *row, enum core_health_measure measure, double *out); /* per second */
/* Of the row's histogram: "p50", "p90", "p99". */
bool top_quantile(const struct top_row *row, const char *name, double *out);
/* What a measure was, rates of those that only grow: oldest first; NAN where it was not known. Returns how many. */
size_t top_history(const struct top_data *data, const struct top_row *row, enum core_health_measure measure,
                   float out[TOP_HISTORY]);
/* Every problem of every process: worst first. */
struct top_problem {
    const struct top_process *process;
    const struct core_json_tree *problem;
    int severity;
};
size_t top_problems(const struct top_data *data, struct top_problem *out, size_t max);
/* For how long there has been a problem. */
double top_problem_seconds(const struct top_problem *problem);
/* The row it is about; false: there is none. */
bool top_problem_row(struct top_data *data, const struct top_problem *problem, struct top_row *out);
bool top_problem_names(const struct top_problem *problem, const struct top_row *row);
/* 0 ok, 1 degraded, 2 failing: of a process, of all. */
int top_process_state(const struct top_process *process);
int top_state(const struct top_data *data);
extern const char *const top_state_words[3];

/* ---- top_source.c ------------------------------------------------------------------------------------------------------------- */

struct top_source;
typedef void top_on_document(void *ctx, const struct core_json_tree *document);
struct top_source *top_source_new(struct core_loop *loop, const char *config_path, top_on_document *on_document,
                                  void *ctx);
void top_source_free(struct top_source *source); /* takes NULL */
/* Ask all who are there. Errors: CORE_BAD, CORE_IO of the configuration. */
CORE_CHECKED enum core_err top_source_ask(struct top_source *source, struct core_fail *fail);
bool top_source_is_waiting(const struct top_source *source); /* somebody has not answered yet */
/* Whom it asks, and what is wrong with that, for the title and for a screen without any document. */
void top_source_tell(const struct top_source *source, char *out, size_t out_len);

/* ---- top_form.c: texts as cells of a terminal ------------------------------------------------------------------------------- */

enum top_form {
    TOP_TEXT,
    TOP_PATH, /* its end is what matters */
    TOP_NUMBER,
    TOP_BYTES,
    TOP_SECONDS,
    TOP_PERCENT,
    TOP_AGE, /* a time: how long ago */
    TOP_YES,
    TOP_SUPERVISED,
    TOP_INTEL,
};
void top_form(enum top_form form, double value, char *out, size_t out_len);
/* The form of a measure's values. */
enum top_form top_form_of(enum core_health_measure measure);
extern bool top_is_utf8; /* what the terminal shows: set once at start by cmd/top.c */
size_t top_width(const char *text);
/* text in exactly `width` cells: cut with a mark, or filled with blanks. is_right: blanks stand before it. Appends at *at. */
void top_put(char *line, size_t *at, const char *text, size_t width, bool is_right, bool keeps_end);
/* As much of text as may be shown: printable, in this terminal's letters. */
void top_clean(struct core_span text, char *out, size_t out_len);
void top_sparkline(const float *values, size_t len, char *out, size_t out_len);

/* ---- lines that are shown ------------------------------------------------------------------------------------------------------- */

enum top_look { TOP_PLAIN, TOP_DIM, TOP_BOLD, TOP_HEAD, TOP_GOOD, TOP_WARN, TOP_ERROR };

struct top_line {
    char text[TOP_LINE_BYTES];
    enum top_look look;
    uint64_t choice; /* by which it is known as the chosen one; 0: it cannot be chosen */
    uint64_t key;    /* of the row that it is, or is about */
    enum core_health_kind kind;
};
struct top_lines {
    struct top_line *all; /* malloc'ed */
    size_t len, cap;
    size_t width; /* of the screen */
};
struct top_line *top_line_add(struct top_lines *lines, enum top_look look); /* with an empty text */
void top_line_print(struct top_lines *lines, enum top_look look, const char *fmt, ...) CORE_PRINTF(3, 4);
/* text, broken to the width, each line behind `indent` blanks. */
void top_line_wrap(struct top_lines *lines, enum top_look look, size_t indent, struct core_span text);

/* ---- top_table.c -------------------------------------------------------------------------------------------------------------------- */

enum top_from { TOP_LABEL, TOP_PROCESS, TOP_VALUE, TOP_RATE, TOP_QUANTILE, TOP_CALL };
struct top_column {
    const char *title;
    enum top_from from;
    int which; /* label's number, or enum core_health_measure */
    enum top_form form;
    unsigned width; /* 0: takes what is left (one of a table) */
    unsigned rank;  /* where there is no room the highest go first; 0 never goes */
    const char *quantile;
    bool (*call)(struct top_data *data, const struct top_row *row, double *out);
};
struct top_table {
    const char *title;
    enum core_health_kind kind;
    size_t sort;                      /* the column that it is sorted by at first … */
    bool is_down;                     /* … largest first */
    const struct top_column *columns; /* ends with {0} */
};
struct top_sort {
    size_t column;
    bool is_down;
};
extern const struct top_table top_tables[];
extern const size_t top_tables_len;
#define TOP_TABLES_MAX 16
void top_table_draw(struct top_data *data, const struct top_table *table, const struct top_sort *sort,
                    const char *filter, struct top_lines *lines);

/* ---- top_view.c ----------------------------------------------------------------------------------------------------------------------- */

enum top_view {
    TOP_OVERVIEW,
    TOP_SENSORS,
    TOP_LOGS,
    TOP_STAGES,
    TOP_SINKS,
    TOP_PARTITIONS,
    TOP_INTEL_VIEW,
    TOP_VIEW__MAX
};
extern const char *const top_view_names[TOP_VIEW__MAX];

/* What a person has chosen. */
struct top_state {
    enum top_view view;
    struct top_sort sorts[TOP_TABLES_MAX];
    char filter[128];
    bool is_paused;
    bool is_once; /* all views one after the other: nothing twice */
    bool is_help;
    bool is_one; /* one row: */
    uint64_t one_key;
    enum core_health_kind one_kind;
};
void top_state_begin(struct top_state *state);
/* The tables of a view: their numbers in top_tables. Returns how many. */
size_t top_view_tables(enum top_view view, size_t out[TOP_TABLES_MAX]);
void top_view_draw(struct top_data *data, const struct top_source *source, const struct top_state *state,
                   struct top_lines *lines);
/* The first line of the screen, without colours. */
void top_title(struct top_data *data, const struct top_source *source, const struct top_state *state, char *out,
               size_t out_len);

/* ---- top_once.c ------------------------------------------------------------------------------------------------------------------------- */

void top_once_text(struct top_data *data, const struct top_source *source, size_t width);
void top_once_json(struct top_data *data);

/* ---- top_screen.c ------------------------------------------------------------------------------------------------------------------------- */

enum top_key {
    TOP_KEY_NONE = 0, /* below 256: that letter */
    TOP_KEY_UP = 1000,
    TOP_KEY_DOWN,
    TOP_KEY_LEFT,
    TOP_KEY_RIGHT,
    TOP_KEY_PAGE_UP,
    TOP_KEY_PAGE_DOWN,
    TOP_KEY_HOME,
    TOP_KEY_END,
    TOP_KEY_ENTER,
    TOP_KEY_BACK, /* backspace */
    TOP_KEY_ESCAPE,
    TOP_KEY_TAB,
    TOP_KEY_BACK_TAB,
};
/* Take the terminal. From here on it is given back whatever happens: a MUST, SIGSEGV, SIGTERM by default. What is written to
 * stderr meanwhile is kept and written then. Errors: CORE_BAD no such terminal, or none at all. */
CORE_CHECKED enum core_err top_screen_begin(struct core_fail *fail);
void top_screen_end(void);
void top_screen_size(size_t *rows, size_t *columns);
void top_screen_resized(void); /* SIGWINCH came */
int top_screen_key(void);      /* enum top_key or a letter; TOP_KEY_NONE: no more now */
/* lines from `first` on, below title and the views' names; line `chosen` is marked ((size_t)-1: none). bottom: the last line. */
struct top_screen_content {
    const char *title;
    int title_state; /* 0 … 2: in that colour */
    enum top_view view;
    const struct top_lines *lines;
    size_t first;
    size_t chosen;
    const char *bottom;
};
void top_screen_draw(const struct top_screen_content *content);

#endif
