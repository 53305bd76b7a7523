/* cmd/top_screen.c: the terminal, by ncurses: drawn, read, and given back as it was.
 *
 * Given back also when we die of a bug: a handler of the signals that end us writes what leaves the full screen, sets the
 * terminal's modes as they were, and lets the signal do its work. While the screen is ours stderr goes into memory, and comes out
 * when the screen is theirs again: what a MUST says is not lost with the screen it was written on.
 * ncurses sends only what differs from what stands there, so a second costs little over ssh.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/top.h"

#include <errno.h>
#include <ncurses.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

#undef columns /* term.h has macros of common words */
#undef lines

#define RESTORE_BYTES 256
#define ESCAPE_MS 50

enum pair {
    PAIR_NONE,
    PAIR_GOOD,
    PAIR_WARN,
    PAIR_ERROR,
    PAIR_HEAD,
    PAIR_TITLE_GOOD,
    PAIR_TITLE_WARN,
    PAIR_TITLE_ERROR
};

/* Of the process: there is one terminal. */
static struct {
    SCREEN *screen;
    struct termios modes;
    bool has_modes;
    bool has_colours;
    volatile sig_atomic_t is_taken;
    char restore[RESTORE_BYTES];
    size_t restore_len;
    int stderr_fd; /* the real one; -1: it was left alone */
    int kept_fd;   /* what was written to stderr meanwhile */
} terminal = {.stderr_fd = -1, .kept_fd = -1};

static const int deaths[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
#define DEATHS_LEN (sizeof(deaths) / sizeof(deaths[0]))

/* ---- giving it back ------------------------------------------------------------------------------------------------------------ */

/* Async-signal-safe, as all that on_death() calls. */
static void write_all(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t wrote = write(fd, bytes, len);
        if (wrote <= 0 && errno != EINTR) {
            return;
        }
        bytes += wrote > 0 ? wrote : 0;
        len -= wrote > 0 ? (size_t)wrote : 0;
    }
}

static void stderr_give(void) {
    char bytes[1024];
    ssize_t len;
    if (terminal.stderr_fd < 0) {
        return;
    }
    (void)dup2(terminal.stderr_fd, STDERR_FILENO);
    (void)lseek(terminal.kept_fd, 0, SEEK_SET);
    while ((len = read(terminal.kept_fd, bytes, sizeof(bytes))) > 0) {
        write_all(STDERR_FILENO, bytes, (size_t)len);
    }
    (void)close(terminal.stderr_fd);
    (void)close(terminal.kept_fd);
    terminal.stderr_fd = terminal.kept_fd = -1;
}

static void on_death(int number) {
    if (terminal.is_taken) {
        terminal.is_taken = false;
        write_all(STDOUT_FILENO, terminal.restore, terminal.restore_len);
        if (terminal.has_modes) {
            (void)tcsetattr(STDIN_FILENO, TCSANOW, &terminal.modes);
        }
        stderr_give();
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

/* A capability without its padding ("$<5>"): no terminal that needs it is left. */
static void restore_add(const char *name) {
    const char *text = tigetstr(name);
    if (text == NULL || text == (const char *)-1) {
        return;
    }
    while (*text != '\0' && terminal.restore_len + 1 < RESTORE_BYTES) {
        const char *end = text[0] == '$' && text[1] == '<' ? strchr(text, '>') : NULL;
        if (end != NULL) {
            text = end + 1;
        } else {
            terminal.restore[terminal.restore_len++] = *text++;
        }
    }
}

static void deaths_handle(void) {
    struct sigaction action = {.sa_handler = on_death};
    terminal.restore_len = 0;
    restore_add("sgr0");
    restore_add("op");
    restore_add("cnorm");
    restore_add("rmkx");
    restore_add("rmcup");
    terminal.restore[terminal.restore_len++] = '\r';
    for (size_t i = 0; i < DEATHS_LEN; i++) {
        MUST(sigaction(deaths[i], &action, NULL) == 0);
    }
}

void top_screen_end(void) {
    if (!terminal.is_taken) {
        return;
    }
    terminal.is_taken = false;
    (void)endwin();
    delscreen(terminal.screen);
    terminal.screen = NULL;
    for (size_t i = 0; i < DEATHS_LEN; i++) {
        (void)signal(deaths[i], SIG_DFL);
    }
    stderr_give();
}

/* ---- taking it ------------------------------------------------------------------------------------------------------------------ */

static void colours_begin(void) {
    terminal.has_colours = has_colors() && start_color() == OK;
    if (!terminal.has_colours) {
        return;
    }
    short ground = use_default_colors() == OK ? -1 : COLOR_BLACK;
    (void)init_pair(PAIR_GOOD, COLOR_GREEN, ground);
    (void)init_pair(PAIR_WARN, COLOR_YELLOW, ground);
    (void)init_pair(PAIR_ERROR, COLOR_RED, ground);
    (void)init_pair(PAIR_HEAD, COLOR_CYAN, ground);
    (void)init_pair(PAIR_TITLE_GOOD, COLOR_BLACK, COLOR_GREEN);
    (void)init_pair(PAIR_TITLE_WARN, COLOR_BLACK, COLOR_YELLOW);
    (void)init_pair(PAIR_TITLE_ERROR, COLOR_WHITE, COLOR_RED);
}

enum core_err top_screen_begin(struct core_fail *fail) {
    const char *name = getenv("TERM");
    if (isatty(STDIN_FILENO) != 1 || isatty(STDOUT_FILENO) != 1) {
        return core_fail_set(fail, CORE_BAD, "stdout",
                             "this is no terminal: --once prints the same as text, --once --json as JSON");
    }
    /* newterm() would leave memory behind for a terminal it does not know. */
    int why = 0;
    bool is_known = setupterm(NULL, STDOUT_FILENO, &why) == OK;
    if (is_known) {
        (void)del_curterm(cur_term);
    }
    terminal.has_modes = tcgetattr(STDIN_FILENO, &terminal.modes) == 0;
    terminal.screen = is_known ? newterm(NULL, stdout, stdin) : NULL;
    if (terminal.screen == NULL) {
        return core_fail_set(
            fail, CORE_BAD, "TERM",
            "no terminal \"%s\" is known here: set TERM to one that is (xterm, screen, linux, vt100), or "
            "take --once",
            name == NULL ? "" : name);
    }
    terminal.is_taken = true;
    deaths_handle();
    MUST(atexit(top_screen_end) == 0);
    if (isatty(STDERR_FILENO) == 1) {
        terminal.stderr_fd = dup(STDERR_FILENO);
        terminal.kept_fd = memfd_create("stderr", MFD_CLOEXEC);
        if (terminal.stderr_fd >= 0 && terminal.kept_fd >= 0) {
            (void)dup2(terminal.kept_fd, STDERR_FILENO);
        }
    }
    colours_begin();
    (void)cbreak();
    (void)noecho();
    (void)nonl();
    (void)keypad(stdscr, TRUE);
    (void)nodelay(stdscr, TRUE);
    (void)set_escdelay(ESCAPE_MS);
    (void)curs_set(0);
    return CORE_OK;
}

void top_screen_size(size_t *rows, size_t *columns) {
    *rows = LINES > 0 ? (size_t)LINES : 1;
    *columns = COLS > 0 ? (size_t)COLS : 1;
}

void top_screen_resized(void) {
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
        (void)resizeterm(size.ws_row, size.ws_col);
        (void)clearok(stdscr, TRUE);
    }
}

int top_screen_key(void) {
    static const struct {
        int curses;
        enum top_key key;
    } keys[] = {
        {KEY_UP, TOP_KEY_UP},       {KEY_DOWN, TOP_KEY_DOWN},     {KEY_LEFT, TOP_KEY_LEFT},
        {KEY_RIGHT, TOP_KEY_RIGHT}, {KEY_PPAGE, TOP_KEY_PAGE_UP}, {KEY_NPAGE, TOP_KEY_PAGE_DOWN},
        {KEY_HOME, TOP_KEY_HOME},   {KEY_END, TOP_KEY_END},       {KEY_ENTER, TOP_KEY_ENTER},
        {'\n', TOP_KEY_ENTER},      {'\r', TOP_KEY_ENTER},        {KEY_BACKSPACE, TOP_KEY_BACK},
        {0x7f, TOP_KEY_BACK},       {'\b', TOP_KEY_BACK},         {0x1b, TOP_KEY_ESCAPE},
        {'\t', TOP_KEY_TAB},        {KEY_BTAB, TOP_KEY_BACK_TAB},
    };
    for (int key = getch(); key != ERR; key = getch()) {
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
            if (key == keys[i].curses) {
                return (int)keys[i].key;
            }
        }
        if (key >= ' ' && key < 256) {
            return key;
        }
    }
    return TOP_KEY_NONE;
}

/* ---- drawing --------------------------------------------------------------------------------------------------------------------- */

static attr_t colour(enum pair pair, attr_t else_attributes) {
    return terminal.has_colours ? (attr_t)COLOR_PAIR(pair) : else_attributes;
}

static attr_t attributes_of(enum top_look look) {
    switch (look) {
    case TOP_PLAIN:
        return A_NORMAL;
    case TOP_DIM:
        return A_DIM;
    case TOP_BOLD:
        return A_BOLD;
    case TOP_HEAD:
        return colour(PAIR_HEAD, A_UNDERLINE) | A_UNDERLINE;
    case TOP_GOOD:
        return colour(PAIR_GOOD, A_NORMAL);
    case TOP_WARN:
        return colour(PAIR_WARN, A_BOLD);
    case TOP_ERROR:
        return colour(PAIR_ERROR, A_BOLD) | A_BOLD;
    }
    return A_NORMAL;
}

/* One whole line: what is shorter than the screen is filled with blanks of the same look. */
static void line_put(int row, const char *text, attr_t attributes) {
    char line[TOP_LINE_BYTES];
    size_t at = 0;
    line[0] = '\0';
    top_put(line, &at, text, (size_t)COLS, false, false);
    (void)attrset((int)attributes);
    (void)mvaddstr(row, 0, line);
    (void)attrset(A_NORMAL);
}

/* The views' names with their keys; where there is no room only the numbers and the name of the one that is shown. */
static void views_put(int row, enum top_view view) {
    size_t all = 0;
    for (int i = 0; i < TOP_VIEW__MAX; i++) {
        all += strlen(top_view_names[i]) + 4;
    }
    (void)move(row, 0);
    (void)clrtoeol();
    for (int i = 0; i < TOP_VIEW__MAX; i++) {
        bool is_named = all <= (size_t)COLS || i == (int)view;
        (void)attrset(i == (int)view ? A_REVERSE : A_NORMAL);
        (void)printw(" %d%s%s ", i + 1, is_named ? " " : "", is_named ? top_view_names[i] : "");
        (void)attrset(A_NORMAL);
    }
}

void top_screen_draw(const struct top_screen_content *content) {
    static const enum pair titles[] = {PAIR_TITLE_GOOD, PAIR_TITLE_WARN, PAIR_TITLE_ERROR};
    size_t rows;
    size_t columns;
    top_screen_size(&rows, &columns);
    (void)erase();
    line_put(0, content->title, colour(titles[content->title_state], A_REVERSE));
    if (rows > 3) {
        views_put(1, content->view);
    }
    for (size_t i = 0; i + 3 < rows && content->first + i < content->lines->len; i++) {
        const struct top_line *line = &content->lines->all[content->first + i];
        attr_t attributes = attributes_of(line->look);
        if (content->first + i == content->chosen) {
            attributes |= A_REVERSE;
        }
        line_put((int)i + 2, line->text, attributes);
    }
    if (rows > 1) {
        line_put((int)rows - 1, content->bottom, A_NORMAL);
    }
    (void)refresh();
}
