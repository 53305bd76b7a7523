/* cmd/main.c: finds the subcommand in cmd_table and runs it.
 *
 * SIGPIPE is ignored for the process's life: a reader that goes away (`| head`, a broker's socket) must come back as an
 * error of write(), which the writer reports or handles, not as a death in the middle of a batch. So is SIGXFSZ: a file that
 * may not grow any more (ulimit -f) is EFBIG.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "core/conf.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define MAIN_NAME_BYTES_MAX 64
#define MAIN_WORDS_MAX 64

static void main_help(FILE *out) {
    fprintf(out, "tapline: sensor logs in, searchable ECS documents out\n\n"
                 "Usage: tapline COMMAND [OPTION…] [FILE…]\n\nCommands:\n");
    for (size_t i = 0; cmd_table[i] != NULL; i++) {
        fprintf(out, "  %-14s %s\n", cmd_table[i]->name, cmd_table[i]->summary);
    }
    fprintf(out, "\n`tapline COMMAND --help` tells more, with an example.\n");
}

/* The command that these words name, and how many words its name has; NULL if there is none. */
static const struct cmd *main_find(int argc, char **argv, int *words) {
    char two[MAIN_NAME_BYTES_MAX];
    const char *second = argc > 1 ? argv[1] : "";
    (void)snprintf(two, sizeof(two), "%s %s", argv[0], second);
    for (size_t i = 0; cmd_table[i] != NULL; i++) {
        *words = strchr(cmd_table[i]->name, ' ') != NULL ? 2 : 1;
        if (strcmp(cmd_table[i]->name, *words == 2 ? two : argv[0]) == 0) {
            return cmd_table[i];
        }
    }
    return NULL;
}

/* "map": the first word of commands that have two? */
static bool main_is_group(const char *word) {
    size_t len = strlen(word);
    for (size_t i = 0; cmd_table[i] != NULL; i++) {
        if (strncmp(cmd_table[i]->name, word, len) == 0 && cmd_table[i]->name[len] == ' ') {
            return true;
        }
    }
    return false;
}

static void main_help_group(FILE *out, const char *word) {
    size_t len = strlen(word);
    for (size_t i = 0; cmd_table[i] != NULL; i++) {
        if (strncmp(cmd_table[i]->name, word, len) == 0 && cmd_table[i]->name[len] == ' ') {
            fprintf(out, "  tapline %-14s %s\n", cmd_table[i]->name, cmd_table[i]->summary);
        }
    }
    fprintf(out, "\n`tapline %s WORD --help` tells more, with an example.\n", word);
}

static bool main_is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

/* "map" alone, "map --help", "map explian": say what there is below it. */
static int main_group(int argc, char **argv) {
    if (argc > 1 && main_is_help(argv[1])) {
        printf("tapline %s: one of these\n\n", argv[0]);
        main_help_group(stdout, argv[0]);
        return CORE_EXIT_DONE;
    }
    if (argc > 1) {
        fprintf(stderr, "tapline: there is no command \"%s %s\"; there is:\n", argv[0], argv[1]);
    } else {
        fprintf(stderr, "tapline: \"%s\" needs a second word; there is:\n", argv[0]);
    }
    main_help_group(stderr, argv[0]);
    return CORE_EXIT_USAGE;
}

static int main_wrong(int argc, char **argv) {
    const char *words[MAIN_WORDS_MAX];
    size_t words_len = 0;
    if (main_is_group(argv[0])) {
        return main_group(argc, argv);
    }
    for (; cmd_table[words_len] != NULL; words_len++) {
        MUST(words_len < MAIN_WORDS_MAX);
        words[words_len] = cmd_table[words_len]->name;
    }
    const char *near = core_conf_nearest(argv[0], words, words_len);
    if (near != NULL) {
        fprintf(stderr, "tapline: there is no command \"%s\", did you mean \"%s\"?\n", argv[0], near);
    } else {
        fprintf(stderr, "tapline: there is no command \"%s\"; `tapline --help` lists what there is\n", argv[0]);
    }
    return CORE_EXIT_USAGE;
}

/* What a command printed may still be in stdio's buffer; a full disk shows only now. */
static int main_finish(int code) {
    core_log_flush();
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        if (errno != EPIPE) { /* a reader that has seen enough, such as head, is no news */
            fprintf(stderr, "tapline: cannot write to stdout: %s; what is there is not whole\n",
                    errno != 0 ? strerror(errno) : "an earlier write failed");
        }
        return code == CORE_EXIT_DONE ? CORE_EXIT_SYSTEM : code;
    }
    return code;
}

static int main_run(int argc, char **argv) {
    int words = 0;
    if (argc == 0) {
        main_help(stderr);
        return CORE_EXIT_USAGE;
    }
    bool is_help_word = strcmp(argv[0], "help") == 0;
    if (main_is_help(argv[0]) && (argc == 1 || !is_help_word)) {
        main_help(stdout);
        return CORE_EXIT_DONE;
    }
    if (strcmp(argv[0], "--version") == 0 || strcmp(argv[0], "-V") == 0) {
        char *version[] = {(char[]){"version"}, NULL};
        return cmd_version.run(&cmd_version, 1, version);
    }
    if (is_help_word) {
        const struct cmd *cmd = main_find(argc - 1, argv + 1, &words);
        char *help[] = {(char[]){"help"}, (char[]){"--help"}, NULL};
        char *group[] = {argv[1], help[1], NULL};
        return cmd != NULL                           ? cmd->run(cmd, 2, help)
               : argc == 2 && main_is_group(argv[1]) ? main_group(2, group)
                                                     : main_wrong(argc - 1, argv + 1);
    }
    const struct cmd *cmd = main_find(argc, argv, &words);
    return cmd == NULL ? main_wrong(argc, argv) : cmd->run(cmd, argc - words + 1, argv + words - 1);
}

int main(int argc, char **argv) {
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGXFSZ, SIG_IGN) == SIG_ERR) {
        fprintf(stderr, "tapline: cannot ignore SIGPIPE and SIGXFSZ: %s\n", strerror(errno));
        return CORE_EXIT_SYSTEM;
    }
    return main_finish(main_run(argc > 0 ? argc - 1 : 0, argv + 1));
}
