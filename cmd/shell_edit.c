/* cmd/shell_edit.c: lines typed at a terminal, by libedit: the keys of Emacs, history by the arrows, completion by TAB.
 *
 * Keys are read here, not by libedit, which knows no descriptor beside the terminal: Ctrl-C comes from a signalfd, so that it
 * can end a line without a signal handler. The history is a file of the person's own; it is written after each line, so a
 * terminal that is closed loses none.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/control.h"
#include "cmd/shell.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 1000
#define HISTORY_UMASK 077

struct shell_edit {
    struct shell_edit_conf conf;
    EditLine *line;
    History *history;
    HistEvent event;
    bool is_interrupted;
    mbstate_t half; /* of a character that came in parts */
    struct shell_choices choices;
};

static struct shell_edit *edit_of(EditLine *line) {
    struct shell_edit *edit = NULL;
    int is_wrong = el_get(line, EL_CLIENTDATA, &edit);
    MUST(is_wrong == 0);
    MUST(edit != NULL);
    return edit;
}

/* ---- keys ---------------------------------------------------------------------------------------------------------------------- */

/* Returns 1 a byte is there, 0 Ctrl-C, -1 the terminal is gone. */
static int byte_wait(struct shell_edit *edit) {
    struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = edit->conf.interrupt_fd, .events = POLLIN}};
    for (;;) {
        int n = poll(fds, 2, -1);
        if (n < 0 &&
            errno == EINTR) { /* continued after Ctrl-Z, or the window has another size: libedit's handler was here */
            el_resize(edit->line);
            (void)el_set(edit->line, EL_REFRESH);
            continue;
        }
        if (n > 0 && (fds[1].revents & POLLIN) != 0) {
            struct signalfd_siginfo info;
            while (read(edit->conf.interrupt_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
                edit->is_interrupted = true;
            }
            return 0;
        }
        return n > 0 ? 1 : -1;
    }
}

/* libedit's way to read a character: 1 one came, 0 the end, -1 an error, which ends the line. */
static int key_read(EditLine *line, wchar_t *out) {
    struct shell_edit *edit = edit_of(line);
    for (;;) {
        char byte = 0;
        int is_there = byte_wait(edit);
        if (is_there <= 0) {
            return is_there == 0 ? -1 : 0;
        }
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n <= 0) {
            return 0;
        }
        size_t len = mbrtowc(out, &byte, 1, &edit->half);
        if (len == (size_t)-1) { /* no character of this locale: taken as the byte it is */
            memset(&edit->half, 0, sizeof(edit->half));
            *out = (wchar_t)(unsigned char)byte;
            return 1;
        }
        if (len != (size_t)-2) {
            return 1;
        }
    }
}

/* ---- completion -------------------------------------------------------------------------------------------------------------------- */

/* Bytes that all choices have in common at their begin. */
static size_t common_len(const struct shell_choices *choices) {
    size_t len = strlen(choices->words[0]);
    for (size_t i = 1; i < choices->len; i++) {
        size_t same = 0;
        while (same < len && choices->words[i][same] == choices->words[0][same]) {
            same++;
        }
        len = same;
    }
    return len;
}

/* All of them below the line, in as many columns as fit. */
static void choices_print(const struct shell_choices *choices) {
    size_t columns = control_terminal_columns(STDOUT_FILENO);
    size_t width = 1;
    for (size_t i = 0; i < choices->len; i++) {
        size_t len = strlen(choices->words[i]) + 2;
        width = len > width ? len : width;
    }
    size_t in_line = columns / width > 0 ? columns / width : 1;
    (void)fputc('\n', stdout);
    for (size_t i = 0; i < choices->len; i++) {
        bool is_last = (i + 1) % in_line == 0 || i + 1 == choices->len;
        (void)printf("%-*s%s", is_last ? 0 : (int)width, choices->words[i], is_last ? "\n" : "");
    }
    (void)fflush(stdout);
}

static unsigned char on_tab(EditLine *line, int key CORE_UNUSED) {
    struct shell_edit *edit = edit_of(line);
    const LineInfo *info = el_line(line);
    struct core_span before = {info->buffer, (size_t)(info->cursor - info->buffer)};
    size_t word_len = 0;
    while (word_len < before.len && !core_is_blank(before.ptr[before.len - 1 - word_len])) {
        word_len++;
    }
    edit->choices.len = 0;
    edit->conf.on_complete(edit->conf.ctx, before, &edit->choices);
    if (edit->choices.len == 0) {
        return CC_ERROR; /* the bell */
    }
    char more[SHELL_WORD_BYTES + 1];
    size_t len = common_len(&edit->choices);
    MUST(len >= word_len);
    (void)snprintf(more, sizeof(more), "%.*s%s", (int)(len - word_len), edit->choices.words[0] + word_len,
                   edit->choices.len == 1 ? " " : "");
    if (more[0] != '\0') {
        return el_insertstr(line, more) == 0 ? CC_REFRESH : CC_ERROR;
    }
    choices_print(&edit->choices);
    return CC_REDISPLAY;
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------------- */

static char *prompt_of(EditLine *line) {
    return (char *)(uintptr_t)edit_of(line)->conf.prompt;
}

static bool history_open(struct shell_edit *edit) {
    edit->history = history_init();
    if (edit->history == NULL) {
        return false;
    }
    (void)history(edit->history, &edit->event, H_SETSIZE, HISTORY_LINES);
    (void)history(edit->history, &edit->event, H_SETUNIQUE, 1);
    if (edit->conf.history != NULL) { /* none yet is how it begins */
        (void)history(edit->history, &edit->event, H_LOAD, edit->conf.history);
    }
    return el_set(edit->line, EL_HIST, history, edit->history) == 0;
}

struct shell_edit *shell_edit_open(const struct shell_edit_conf *conf) {
    static const char *const bindings[][2] = {
        {"^I", "tapline-complete"}, {"^R", "em-inc-search-prev"}, {"^W", "ed-delete-prev-word"}};
    struct shell_edit *edit = calloc(1, sizeof(*edit));
    MUST(edit != NULL);
    edit->conf = *conf;
    (void)setlocale(LC_CTYPE, ""); /* what a character is; nothing else of the person's locale */
    edit->line = el_init("tapline", stdin, stdout, stderr);
    if (edit->line == NULL || el_set(edit->line, EL_CLIENTDATA, edit) != 0 ||
        el_set(edit->line, EL_PROMPT, prompt_of) != 0 || el_set(edit->line, EL_SIGNAL, 1) != 0 ||
        el_set(edit->line, EL_EDITOR, "emacs") != 0 || el_set(edit->line, EL_GETCFN, key_read) != 0 ||
        !history_open(edit) ||
        /* the wide form: the other one copies both texts and never frees them */
        el_wset(edit->line, EL_ADDFN, L"tapline-complete", L"what the word can become", on_tab) != 0) {
        shell_edit_close(edit);
        return NULL;
    }
    for (size_t i = 0; i < sizeof(bindings) / sizeof(bindings[0]); i++) {
        (void)el_set(edit->line, EL_BIND, bindings[i][0], bindings[i][1], NULL);
    }
    return edit;
}

void shell_edit_close(struct shell_edit *edit) {
    if (edit == NULL) {
        return;
    }
    if (edit->line != NULL) {
        el_end(edit->line);
    }
    if (edit->history != NULL) {
        history_end(edit->history);
    }
    free(edit);
}

enum shell_line shell_edit_line(struct shell_edit *edit, struct core_span *line) {
    int len = 0;
    edit->is_interrupted = false;
    memset(&edit->half, 0, sizeof(edit->half));
    const char *text = el_gets(edit->line, &len);
    if (edit->is_interrupted) {
        (void)fputs("^C\n", stdout);
        el_reset(edit->line);
        return SHELL_INTERRUPTED;
    }
    if (text == NULL || len <= 0) {
        (void)fputc('\n', stdout);
        return SHELL_END;
    }
    *line = (struct core_span){text, (size_t)len};
    while (line->len > 0 && (line->ptr[line->len - 1] == '\n' || line->ptr[line->len - 1] == '\r')) {
        line->len--;
    }
    return SHELL_LINE;
}

void shell_edit_keep(struct shell_edit *edit, const char *line) {
    (void)history(edit->history, &edit->event, H_ENTER, line);
    if (edit->conf.history == NULL) {
        return;
    }
    mode_t before = umask(HISTORY_UMASK); /* never readable by others, not even while it is made */
    if (history(edit->history, &edit->event, H_SAVE, edit->conf.history) < 0) {
        (void)fprintf(stderr, "tapline shell: %s cannot be written, so this line is not remembered: %s\n",
                      edit->conf.history, strerror(errno));
        edit->conf.history = NULL;
    }
    (void)umask(before);
}
