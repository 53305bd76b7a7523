/* cmd/shell.h: between the shell (cmd/shell.c) and its line editor (cmd/shell_edit.c, over libedit).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_SHELL_H
#define TAPLINE_CMD_SHELL_H

#include "core/core.h"

#define SHELL_WORDS_MAX 512
#define SHELL_WORD_BYTES 128

/* What a word can become. */
struct shell_choices {
    char words[SHELL_WORDS_MAX][SHELL_WORD_BYTES];
    size_t len;
};
/* Fill out with the words that can stand where the line's last, perhaps empty one does, and begin as it does. line is what
 * stands left of the cursor. */
typedef void shell_on_complete(void *ctx, struct core_span line, struct shell_choices *out);

struct shell_edit;

enum shell_line { SHELL_LINE, SHELL_INTERRUPTED, SHELL_END };

struct shell_edit_conf {
    const char *prompt;
    const char *history; /* file, mode 0600; NULL: none is kept */
    int interrupt_fd;    /* readable (struct signalfd_siginfo): Ctrl-C */
    shell_on_complete *on_complete;
    void *ctx;
};
/* Edit lines of the terminal that is stdin. Owns: shell_edit_close(); texts of conf must live as long. Returns NULL: the
 * terminal cannot do that. Thread: main's. */
struct shell_edit *shell_edit_open(const struct shell_edit_conf *conf);
void shell_edit_close(struct shell_edit *edit); /* takes NULL */
/* One line, without its end; valid until the next. SHELL_INTERRUPTED: Ctrl-C, the line is given up. SHELL_END: Ctrl-D on an empty
 * line, or the terminal is gone. */
enum shell_line shell_edit_line(struct shell_edit *edit, struct core_span *line);
/* Keep a line in the history, unless it is the same as the last; the file is written. */
void shell_edit_keep(struct shell_edit *edit, const char *line);

#endif
