/* cmd/top.c: `tapline top`: the command, its loop and its keys.
 *
 * Once an interval everybody is asked (cmd/top_source.c); the screen is drawn at each interval, key and resize, never more often.
 * Ends at q, SIGTERM, SIGINT, SIGHUP, and when the terminal goes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/top.h"
#include "cmd/cmd.h"
#include "cmd/control.h"

#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define INTERVAL_DEFAULT "1s"
#define INTERVAL_MIN_NS (200 * CORE_NS_PER_MS)
#define INTERVAL_MAX_NS (3600 * CORE_NS_PER_S)
#define DRAW_AFTER_NS (30 * CORE_NS_PER_MS) /* answers come one after the other */
#define ONCE_ANSWER_NS (3 * CORE_NS_PER_S)
#define ONCE_AGAIN_NS (250 * CORE_NS_PER_MS)
#define ONCE_COLUMNS 160
#define NO_LINE ((size_t)-1)

static const struct cmd_option options[] = {
    {"config", 'c', "FILE",
     "The configuration of this host's processes: where they listen (default: the default places)."},
    {"once", '1', NULL, "Print everything once as text, and end."},
    {"json", 0, NULL, "With --once: one JSON object with the health documents and the rates between two of each."},
    {"interval", 'i', "TIME",
     "How often to ask and draw: 500ms, 2s … (default: 1s; with --once: between the two answers)."},
    {0},
};

struct top {
    struct core_loop *loop;
    struct top_data *data;
    struct top_source *source;
    struct top_state state;
    struct top_lines lines;
    int64_t interval_ns;
    struct core_timer turn;
    struct core_timer draw;
    struct core_watch *keyboard;
    size_t first;    /* line on the screen */
    uint64_t chosen; /* top_line.choice; 0: none */
    bool is_typing;  /* the filter */
};

/* ---- drawing ----------------------------------------------------------------------------------------------------------------------- */

static size_t chosen_line(const struct top *top) {
    for (size_t i = 0; i < top->lines.len && top->chosen != 0; i++) {
        if (top->lines.all[i].choice == top->chosen) {
            return i;
        }
    }
    return NO_LINE;
}

static size_t page_len(void) {
    size_t rows;
    size_t columns;
    top_screen_size(&rows, &columns);
    return rows > 3 ? rows - 3 : 1;
}

static void first_settle(struct top *top) {
    size_t page = page_len();
    size_t most = top->lines.len > page ? top->lines.len - page : 0;
    top->first = top->first > most ? most : top->first;
}

/* The chosen line is on the screen. */
static void first_follow(struct top *top) {
    size_t chosen = chosen_line(top);
    size_t page = page_len();
    if (chosen == NO_LINE) {
        return;
    }
    if (chosen < top->first) {
        top->first = chosen;
    } else if (chosen >= top->first + page) {
        top->first = chosen - page + 1;
    }
}

static void bottom_make(const struct top *top, char *out, size_t out_len) {
    char more[64] = "";
    size_t page = page_len();
    if (top->lines.len > page) {
        (void)snprintf(more, sizeof(more), "%s%zu-%zu of %zu lines", top->state.filter[0] == '\0' ? "" : "  ",
                       top->first + 1, top->first + page < top->lines.len ? top->first + page : top->lines.len,
                       top->lines.len);
    }
    if (top->is_typing) {
        (void)snprintf(out, out_len, "show only rows with: %s_", top->state.filter);
    } else {
        (void)snprintf(out, out_len, "h help  q quit  %s%s%s%s%s",
                       top->state.filter[0] == '\0' ? "" : "only: ", top->state.filter, more,
                       more[0] != '\0' || top->state.filter[0] != '\0' ? "  " : "",
                       top->state.is_one || top->state.is_help ? "Esc back" : "Enter more  s sort  / filter  p pause");
    }
}

static void on_draw(void *ctx) {
    struct top *top = ctx;
    char title[TOP_LINE_BYTES];
    char bottom[TOP_LINE_BYTES];
    size_t rows;
    size_t columns;
    top_screen_size(&rows, &columns);
    top->lines.width = columns < TOP_LINE_BYTES / 4 ? columns : TOP_LINE_BYTES / 4;
    top_view_draw(top->data, top->source, &top->state, &top->lines);
    first_settle(top);
    top_title(top->data, top->source, &top->state, title, sizeof(title));
    bottom_make(top, bottom, sizeof(bottom));
    const struct top_screen_content content = {.title = title,
                                               .title_state = top_state(top->data),
                                               .view = top->state.view,
                                               .lines = &top->lines,
                                               .first = top->first,
                                               .chosen = chosen_line(top),
                                               .bottom = bottom};
    top_screen_draw(&content);
}

static void draw_soon(struct top *top) {
    if (top->draw.on_time != NULL && !core_timer_is_set(&top->draw)) { /* there is a screen */
        core_timer_set(top->loop, &top->draw, core_tick_ns() + DRAW_AFTER_NS);
    }
}

/* ---- keys ----------------------------------------------------------------------------------------------------------------------------- */

/* The next or the last row that can be chosen, `by` times; without any the screen scrolls. */
static void move_by(struct top *top, int by) {
    size_t at = chosen_line(top);
    bool has_rows = false;
    int step = by < 0 ? -1 : 1;
    int left = by < 0 ? -by : by;
    for (size_t i = 0; i < top->lines.len; i++) {
        has_rows = has_rows || top->lines.all[i].choice != 0;
    }
    if (!has_rows) {
        top->first = by < 0 && top->first < (size_t)left ? 0 : top->first + (size_t)by;
        return;
    }
    for (size_t next = at == NO_LINE ? (step > 0 ? (size_t)-1 : top->lines.len) : at; left > 0;) {
        next += (size_t)step;
        if (next >= top->lines.len) {
            break;
        }
        if (top->lines.all[next].choice != 0) {
            at = next;
            left--;
        }
    }
    if (at != NO_LINE) {
        top->chosen = top->lines.all[at].choice;
    }
    if (step < 0 && left > 0) {
        top->first = 0; /* what stands above the first row */
    }
    first_follow(top);
}

static void view_choose(struct top *top, int view) {
    top->state.view = (enum top_view)((view + TOP_VIEW__MAX) % TOP_VIEW__MAX);
    top->state.is_one = top->state.is_help = false;
    top->chosen = 0;
    top->first = 0;
}

static void go_back(struct top *top) {
    if (top->state.is_help) {
        top->state.is_help = false;
    } else if (top->state.is_one) {
        top->state.is_one = false;
        top_view_draw(top->data, top->source, &top->state, &top->lines);
        first_follow(top);
    } else {
        top->state.filter[0] = '\0';
    }
}

static void enter(struct top *top) {
    size_t at = chosen_line(top);
    for (size_t i = 0; i < top->lines.len && at == NO_LINE; i++) {
        at = top->lines.all[i].choice != 0 ? i : NO_LINE;
    }
    if (at != NO_LINE && !top->state.is_one && !top->state.is_help) {
        top->state.is_one = true;
        top->state.one_key = top->lines.all[at].key;
        top->state.one_kind = top->lines.all[at].kind;
        top->first = 0;
    }
}

/* The table of the chosen row, else the view's first one that has rows. */
static struct top_sort *sort_of(struct top *top, const struct top_table **table) {
    size_t tables[TOP_TABLES_MAX];
    size_t len = top_view_tables(top->state.view, tables);
    size_t at = chosen_line(top);
    for (size_t i = 0; i < top->lines.len && at == NO_LINE; i++) {
        at = top->lines.all[i].choice != 0 ? i : NO_LINE;
    }
    for (size_t i = 0; i < len; i++) {
        if (at == NO_LINE || top_tables[tables[i]].kind == top->lines.all[at].kind) {
            *table = &top_tables[tables[i]];
            return &top->state.sorts[tables[i]];
        }
    }
    return NULL;
}

static void sort_change(struct top *top, bool is_reversed) {
    const struct top_table *table = NULL;
    struct top_sort *sort = sort_of(top, &table);
    size_t columns = 0;
    if (sort == NULL || top->state.is_one) {
        return;
    }
    while (table->columns[columns].title != NULL) {
        columns++;
    }
    if (is_reversed) {
        sort->is_down = !sort->is_down;
        return;
    }
    sort->column = sort->column + 1 >= columns ? 0 : sort->column + 1;
    sort->is_down = table->columns[sort->column].from > TOP_PROCESS; /* numbers: the largest first */
}

static void key_typed(struct top *top, int key) {
    char *filter = top->state.filter;
    size_t len = strlen(filter);
    if (key == TOP_KEY_ENTER || key == TOP_KEY_ESCAPE) {
        top->is_typing = false;
        filter[key == TOP_KEY_ESCAPE ? 0 : len] = '\0';
    } else if (key == TOP_KEY_BACK) {
        while (len > 0 && ((unsigned char)filter[len - 1] & 0xc0U) == 0x80) {
            filter[--len] = '\0';
        }
        filter[len > 0 ? len - 1 : 0] = '\0';
    } else if (key < 256 && len + 1 < sizeof(top->state.filter)) {
        filter[len] = (char)key;
        filter[len + 1] = '\0';
    }
    top->first = 0;
}

static void key_letter(struct top *top, int key) {
    switch (key) {
    case 'q':
        core_loop_stop(top->loop);
        break;
    case 's':
        sort_change(top, false);
        break;
    case 'r':
        sort_change(top, true);
        break;
    case '/':
        top->is_typing = true;
        top->state.is_one = top->state.is_help = false;
        break;
    case 'p':
        top->state.is_paused = !top->state.is_paused;
        break;
    case 'h':
    case '?':
        top->state.is_help = !top->state.is_help;
        top->first = 0;
        break;
    default:
        if (key >= '1' && key < '1' + TOP_VIEW__MAX) {
            view_choose(top, key - '1');
        }
        break;
    }
}

static void key_press(struct top *top, int key) {
    switch (key) {
    case TOP_KEY_UP:
        move_by(top, -1);
        break;
    case TOP_KEY_DOWN:
        move_by(top, 1);
        break;
    case TOP_KEY_PAGE_UP:
        move_by(top, -(int)page_len());
        break;
    case TOP_KEY_PAGE_DOWN:
        move_by(top, (int)page_len());
        break;
    case TOP_KEY_HOME:
        move_by(top, -(int)top->lines.len - 1);
        break;
    case TOP_KEY_END:
        move_by(top, (int)top->lines.len + 1);
        break;
    case TOP_KEY_ENTER:
    case TOP_KEY_RIGHT:
        enter(top);
        break;
    case TOP_KEY_LEFT:
    case TOP_KEY_ESCAPE:
    case TOP_KEY_BACK:
        go_back(top);
        break;
    case TOP_KEY_TAB:
        view_choose(top, (int)top->state.view + 1);
        break;
    case TOP_KEY_BACK_TAB:
        view_choose(top, (int)top->state.view - 1);
        break;
    default:
        key_letter(top, key);
        break;
    }
}

/* ---- the loop ---------------------------------------------------------------------------------------------------------------------------- */

static void on_keyboard(void *ctx, uint32_t events) {
    struct top *top = ctx;
    int waiting = 0;
    bool is_gone =
        (events & (EPOLLHUP | EPOLLERR)) != 0 || ioctl(STDIN_FILENO, FIONREAD, &waiting) != 0 || waiting == 0;
    if (is_gone) {
        core_loop_stop(top->loop); /* nobody sits there any more */
        return;
    }
    for (int key = top_screen_key(); key != TOP_KEY_NONE; key = top_screen_key()) {
        if (top->is_typing) {
            key_typed(top, key);
        } else {
            key_press(top, key);
        }
        top_view_draw(top->data, top->source, &top->state, &top->lines); /* the next key is for what is there then */
    }
    draw_soon(top);
}

static void on_document(void *ctx, const struct core_json_tree *document) {
    struct top *top = ctx;
    if (!top->state.is_paused) {
        top_data_take(top->data, document);
        draw_soon(top);
    }
}

static void on_turn(void *ctx) {
    struct top *top = ctx;
    struct core_fail fail = {0};
    if (!top->state.is_paused) {
        top_data_turn(top->data);
    }
    enum core_err err = top_source_ask(top->source, &fail);
    MUST(err == CORE_OK); /* the configuration was read once */
    core_timer_set(top->loop, &top->turn, core_tick_ns() + top->interval_ns);
    draw_soon(top);
}

static void on_signal(void *ctx, int number) {
    struct top *top = ctx;
    if (number == SIGWINCH) {
        top_screen_resized();
        draw_soon(top);
    } else {
        core_loop_stop(top->loop);
    }
}

static int screen_run(struct top *top) {
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGWINCH};
    struct core_fail fail = {0};
    enum core_err err = top_screen_begin(&fail);
    int code = err == CORE_OK ? CORE_EXIT_SYSTEM : CORE_EXIT_USAGE;
    if (err == CORE_OK) {
        err = core_loop_signals(top->loop, signals, sizeof(signals) / sizeof(signals[0]), on_signal, top, &fail);
    }
    if (err == CORE_OK) {
        err = core_loop_watch(top->loop, STDIN_FILENO, EPOLLIN, on_keyboard, top, &top->keyboard, &fail);
    }
    if (err == CORE_OK) {
        top->turn = (struct core_timer){.on_time = on_turn, .ctx = top};
        top->draw = (struct core_timer){.on_time = on_draw, .ctx = top};
        core_timer_set(top->loop, &top->turn, core_tick_ns() + top->interval_ns);
        draw_soon(top);
        err = core_loop_run(top->loop, &fail);
    }
    core_timer_clear(&top->turn);
    core_timer_clear(&top->draw);
    core_loop_unwatch(top->keyboard);
    top_screen_end();
    if (err != CORE_OK) {
        (void)fprintf(stderr, "tapline top: %s: %s\n", fail.where, fail.text);
        return code;
    }
    return CORE_EXIT_DONE;
}

/* ---- once ------------------------------------------------------------------------------------------------------------------------------------ */

/* Run the loop until all who were asked have answered, and at least until min_ns are over. */
static enum core_err answers_wait(struct top *top, int64_t min_ns, struct core_fail *fail) {
    int64_t begin = core_tick_ns();
    enum core_err err = CORE_OK;
    for (int64_t now = begin; err == CORE_OK; now = core_tick_ns()) {
        bool is_enough = now - begin >= min_ns;
        if (is_enough && (!top_source_is_waiting(top->source) || now - begin >= min_ns + ONCE_ANSWER_NS)) {
            break;
        }
        err = core_loop_once(top->loop, is_enough ? ONCE_ANSWER_NS / 30 : min_ns - (now - begin), fail);
    }
    return err;
}

/* Has somebody been heard of, and everybody who was twice? Main's answers may be a second old, and then the same again. */
static bool has_all_rates(const struct top *top) {
    size_t len = top_data_processes(top->data);
    for (size_t i = 0; i < len; i++) {
        if (top_data_process(top->data, i)->seconds <= 0) {
            return false;
        }
    }
    return len > 0;
}

static int once_run(struct top *top, bool is_json) {
    struct core_fail fail = {0};
    enum core_err err = answers_wait(top, 0, &fail);
    int64_t begin = core_tick_ns();
    if (err == CORE_OK &&
        top_data_processes(top->data) == 0) { /* a Main that does not answer is known now: the others */
        err = top_source_ask(top->source, &fail);
    }
    for (int64_t pause_ns = top->interval_ns; err == CORE_OK && !has_all_rates(top); pause_ns = ONCE_AGAIN_NS) {
        if (core_tick_ns() - begin > top->interval_ns + ONCE_ANSWER_NS) {
            break; /* what is not known stands as that */
        }
        err = answers_wait(top, pause_ns, &fail);
        err = err == CORE_OK ? top_source_ask(top->source, &fail) : err;
        err = err == CORE_OK ? answers_wait(top, 0, &fail) : err;
    }
    if (err != CORE_OK) {
        (void)fprintf(stderr, "tapline top: %s: %s\n", fail.where, fail.text);
        return CORE_EXIT_SYSTEM;
    }
    size_t columns = control_terminal_columns(STDOUT_FILENO);
    if (is_json) {
        top_once_json(top->data);
    } else {
        top_once_text(top->data, top->source, columns == 0 ? ONCE_COLUMNS : columns);
    }
    return top_data_processes(top->data) == 0 ? CORE_EXIT_SYSTEM : CORE_EXIT_DONE;
}

/* ---- the command ------------------------------------------------------------------------------------------------------------------------------- */

static bool interval_read(const struct cmd *cmd, const struct cmd_args *args, int64_t *out) {
    const char *text = cmd_value(cmd, args, "interval");
    bool is_read = core_parse_duration(text == NULL ? INTERVAL_DEFAULT : text, out);
    if (!is_read || *out < INTERVAL_MIN_NS || *out > INTERVAL_MAX_NS) {
        (void)fprintf(stderr, "tapline top: --interval is a time from 200ms to 1h, such as 500ms or 2s, not \"%s\"\n",
                      text);
        return false;
    }
    return true;
}

static int run(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args;
    struct top top = {0};
    struct core_fail fail = {0};
    int code;
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        return code;
    }
    const bool is_once = cmd_value(cmd, &args, "once") != NULL;
    const bool is_json = cmd_value(cmd, &args, "json") != NULL;
    if (!interval_read(cmd, &args, &top.interval_ns)) {
        return CORE_EXIT_USAGE;
    }
    if (is_json && !is_once) {
        (void)fprintf(stderr, "tapline top: --json goes with --once\n");
        return CORE_EXIT_USAGE;
    }
    (void)setlocale(LC_CTYPE, "");
    top_is_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    if (core_loop_new(&top.loop, &fail) != CORE_OK) {
        (void)fprintf(stderr, "tapline top: %s: %s\n", fail.where, fail.text);
        return CORE_EXIT_SYSTEM;
    }
    top_state_begin(&top.state);
    top.data = top_data_new();
    top.source = top_source_new(top.loop, cmd_value(cmd, &args, "config"), on_document, &top);
    if (top_source_ask(top.source, &fail) != CORE_OK) {
        (void)fprintf(stderr, "tapline top: %s: %s\n", fail.where, fail.text);
        code = CORE_EXIT_USAGE;
    } else {
        code = is_once ? once_run(&top, is_json) : screen_run(&top);
    }
    top_source_free(top.source);
    top_data_free(top.data);
    free(top.lines.all);
    core_loop_free(top.loop);
    return code;
}

const struct cmd cmd_top = {
    .name = "top",
    .summary = "see live how all processes of this host are",
    .args = "",
    .about = "A full screen: what is wrong and what to do first; then sensors, logs, stages, sinks, partitions and "
             "intelligence with "
             "their rates and lags; any row can be opened. Asks Main (`tapline serve`) for all processes, or each on "
             "its own "
             "socket where there is no Main. Works in 80x24, without colours, and over ssh; h shows the keys.",
    .example = "tapline top -c /etc/tapline/tapline.yml\n"
               "tapline top -c /etc/tapline/tapline.yml --once --json | jq .rates",
    .options = options,
    .run = run,
};
