/* cmd/control_table.c: Main's results as aligned columns for people.
 *
 * A table is a list of JSON objects and a row of struct control_column each: all cells are made first, then widths are known.
 * Colours only on a terminal and without $NO_COLOR. What came from outside is shown without anything that could control a
 * terminal: a reason can hold what a sensor printed, and a sensor prints what it saw.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/control.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define COLUMNS_MAX 16
#define LAST_WIDTH_MIN 24 /* with less room the last column stands below the others */
#define BELOW 4           /* and begins here */
#define GAP 2

/* ---- text ---------------------------------------------------------------------------------------------------------------------- */

size_t control_terminal_columns(int fd) {
    struct winsize size = {0};
    if (isatty(fd) != 1) {
        return 0;
    }
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static bool is_control(const char *text) {
    const unsigned char *byte = (const unsigned char *)text;
    return byte[0] < ' ' || byte[0] == 0x7f || (byte[0] == 0xc2 && byte[1] >= 0x80 && byte[1] <= 0x9f);
}

void control_text_clean(char *text) {
    for (; *text != '\0'; text++) {
        if (is_control(text)) {
            *text = (unsigned char)*text == 0xc2 ? ' ' : '?';
            text[1] = *text == ' ' ? '?' : text[1];
        }
    }
}

void control_text_print(struct core_span text) {
    static const char wrong[] = "?";
    if (isatty(STDOUT_FILENO) != 1) {
        (void)fwrite(text.ptr, 1, text.len, stdout);
        return;
    }
    for (size_t i = 0; i < text.len; i++) {
        const char pair[3] = {text.ptr[i], i + 1 < text.len ? text.ptr[i + 1] : '\0', '\0'};
        bool is_plain = pair[0] == '\n' || pair[0] == '\t' || !is_control(pair);
        (void)fputc(is_plain ? pair[0] : wrong[0], stdout);
        i += !is_plain && (unsigned char)pair[0] == 0xc2 ? 1 : 0;
    }
}

/* Columns of a UTF-8 text, if each character takes one. */
static size_t width_of(const char *text) {
    size_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0U) != 0x80 ? 1 : 0;
    }
    return width;
}

/* ---- cells --------------------------------------------------------------------------------------------------------------------- */

/* 1536 of 1024s: "1.5 Ki"; below the first step as it is. */
static void scaled(double value, double step, const char *const *units, const char *end, char *out, size_t out_len) {
    size_t unit = 0;
    while (value >= step && units[unit + 1] != NULL) {
        value /= step;
        unit++;
    }
    (void)snprintf(out, out_len, "%.*f %s%s", unit == 0 || value >= 100 ? 0 : 1, value, units[unit], end);
}

/* As zeekctl has it: "22 Nov 04:30:05", here. A text is shown as it came. */
static void time_of(int64_t ns, char *out, size_t out_len) {
    time_t seconds = (time_t)(ns / CORE_NS_PER_S);
    struct tm tm;
    if (ns <= 0 || localtime_r(&seconds, &tm) == NULL || strftime(out, out_len, "%d %b %H:%M:%S", &tm) == 0) {
        out[0] = '\0';
    }
}

/* A list of texts: "a, b". */
static void list_text(const struct core_json_tree *list, char *out, size_t out_len) {
    size_t len = 0;
    for (const struct core_json_tree *item = list->first; item != NULL && len < out_len; item = item->next) {
        int more = snprintf(out + len, out_len - len, "%s%.*s", item == list->first ? "" : ", ", (int)item->text.len,
                            item->text.ptr == NULL ? "" : item->text.ptr);
        len += more < 0 ? 0 : (size_t)more;
    }
}

void control_text_of(const struct core_json_tree *object, const char *member, enum control_form form, char *out,
                     size_t out_len) {
    static const char *const binary[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", NULL};
    static const char *const decimal[] = {"", "k", "M", "G", "T", NULL};
    const struct core_json_tree *found = core_json_tree_get(object, member);
    double number = found != NULL && found->kind == CORE_JSON_NUMBER ? strtod(found->text.ptr, NULL) : 0;
    out[0] = '\0';
    if (found == NULL || found->kind == CORE_JSON_NULL) {
        return;
    }
    if (found->kind == CORE_JSON_ARRAY) {
        list_text(found, out, out_len);
    } else if (form == CONTROL_YES) {
        (void)snprintf(out, out_len, "%s", core_json_tree_is_true(object, member) ? "yes" : "");
    } else if (found->kind != CORE_JSON_NUMBER || form == CONTROL_TEXT || form == CONTROL_NUMBER ||
               form == CONTROL_STATE) {
        struct core_span cut = core_utf8_cut(found->text, out_len - 1);
        (void)snprintf(out, out_len, "%.*s", (int)cut.len, cut.ptr == NULL ? "" : cut.ptr);
    } else if (form == CONTROL_TIME) {
        time_of(core_json_tree_integer(object, member, 0), out, out_len);
    } else if (form == CONTROL_BYTES) {
        scaled(number, 1024, binary, "", out, out_len);
    } else if (form == CONTROL_PER_S) {
        scaled(number, 1000, decimal, "/s", out, out_len);
    } else {
        (void)snprintf(out, out_len, form == CONTROL_PERCENT ? "%.2f %%" : "%.1f", number);
    }
    control_text_clean(out);
}

static void cell_make(const struct control_column *column, const struct core_json_tree *item, char *out) {
    out[0] = '\0';
    if (column->text != NULL) {
        column->text(item, out, CONTROL_CELL_BYTES);
        control_text_clean(out);
    } else {
        control_text_of(item, column->member, column->form, out, CONTROL_CELL_BYTES);
    }
}

/* ---- the table ----------------------------------------------------------------------------------------------------------------- */

struct table {
    const struct control_column *columns;
    size_t columns_len;
    char (*cells)[CONTROL_CELL_BYTES]; /* by rows */
    size_t rows;
    size_t widths[COLUMNS_MAX]; /* 0: the column is left out */
    size_t last;                /* the last one that is not */
    size_t terminal;            /* columns of it; 0: no terminal */
    bool is_coloured;
};

static const char *colour_of(const char *state) {
    static const struct {
        const char *state;
        const char *colour;
    } colours[] = {
        {"up", "\033[32m"},       {"ready", "\033[32m"},   {"starting", "\033[33m"},
        {"stopping", "\033[33m"}, {"backoff", "\033[31m"}, {"latched", "\033[1;31m"},
    };
    for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++) {
        if (strcmp(colours[i].state, state) == 0) {
            return colours[i].colour;
        }
    }
    return "";
}

static void pad(size_t columns) {
    (void)printf("%*s", (int)columns, "");
}

/* Where the last column stands on a terminal: behind the others, or, if too little room is left there, below them. */
static bool is_below(const struct table *table, size_t at) {
    return table->last > 0 && table->terminal > 0 && table->terminal < at + table->widths[table->last] &&
           table->terminal < at + LAST_WIDTH_MIN;
}

/* The last cell, broken at blanks into lines that begin at the same column. */
static void last_print(const struct table *table, size_t at, const char *cell) {
    size_t room = table->terminal > at ? table->terminal - at : 0;
    size_t column = 0;
    while (*cell != '\0') {
        size_t len = strcspn(cell, " ");
        char word[CONTROL_CELL_BYTES];
        (void)snprintf(word, sizeof(word), "%.*s", (int)len, cell);
        size_t width = width_of(word);
        if (room > 0 && column > 0 && column + 1 + width > room) {
            (void)fputc('\n', stdout);
            pad(at);
            column = 0;
        }
        (void)printf("%s%s", column > 0 ? " " : "", word);
        column += (column > 0 ? 1 : 0) + width;
        cell += len + strspn(cell + len, " ");
    }
}

/* One cell of the column that begins at `at`; the line is written up to *written. An empty one writes nothing, so that no line
 * ends in blanks. */
static void cell_print(const struct table *table, size_t column, size_t at, const char *cell, size_t *written) {
    const struct control_column *how = &table->columns[column];
    const char *colour = table->is_coloured && how->form == CONTROL_STATE ? colour_of(cell) : "";
    size_t width = width_of(cell);
    size_t begin = how->is_right ? at + table->widths[column] - width : at;
    if (width == 0) {
        return;
    }
    pad(begin - *written);
    *written = begin + width;
    if (column == table->last && colour[0] == '\0') {
        last_print(table, begin, cell);
    } else {
        (void)printf("%s%s%s", colour, cell, colour[0] == '\0' ? "" : "\033[0m");
    }
}

/* row SIZE_MAX: the titles. */
static void row_print(const struct table *table, size_t row) {
    size_t at = 0;
    size_t written = 0;
    for (size_t i = 0; i <= table->last; i++) {
        bool is_title = row == SIZE_MAX;
        const char *cell = is_title ? table->columns[i].title : table->cells[row * table->columns_len + i];
        if (i == table->last && is_below(table, at)) {
            if (!is_title && cell[0] != '\0') {
                (void)fputc('\n', stdout);
                pad(BELOW);
                last_print(table, BELOW, cell);
            }
        } else if (table->widths[i] > 0) {
            cell_print(table, i, at, cell, &written);
            at += table->widths[i] + GAP;
        }
    }
    (void)fputc('\n', stdout);
}

static void widths_set(struct table *table) {
    for (size_t i = 0; i < table->columns_len; i++) {
        for (size_t row = 0; row < table->rows; row++) {
            size_t width = width_of(table->cells[row * table->columns_len + i]);
            table->widths[i] = width > table->widths[i] ? width : table->widths[i];
        }
        if (table->widths[i] > 0) {
            size_t title = width_of(table->columns[i].title);
            table->widths[i] = title > table->widths[i] ? title : table->widths[i];
            table->last = i;
        }
    }
}

void control_table_print(const struct core_json_tree *list, const struct control_column *columns, size_t columns_len) {
    MUST(columns_len <= COLUMNS_MAX);
    const char *no_colour = getenv("NO_COLOR");
    struct table table = {.columns = columns, .columns_len = columns_len};
    table.terminal = control_terminal_columns(STDOUT_FILENO);
    table.is_coloured = table.terminal > 0 && (no_colour == NULL || no_colour[0] == '\0');
    for (const struct core_json_tree *item = list == NULL ? NULL : list->first; item != NULL; item = item->next) {
        table.rows++;
    }
    if (table.rows == 0) {
        return;
    }
    table.cells = calloc(table.rows * columns_len, sizeof(*table.cells));
    MUST(table.cells != NULL);
    size_t at = 0;
    for (const struct core_json_tree *item = list->first; item != NULL; item = item->next) {
        for (size_t i = 0; i < columns_len; i++) {
            cell_make(&columns[i], item, table.cells[at++]);
        }
    }
    widths_set(&table);
    row_print(&table, SIZE_MAX);
    for (size_t row = 0; row < table.rows; row++) {
        row_print(&table, row);
    }
    free(table.cells);
}
