/* cmd/version.c: `tapline version`.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <stdio.h>

static const struct cmd_option options[] = {
    {"json", 0, NULL, "As one JSON object."},
    {0},
};

static int version_run(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args;
    int code = CORE_EXIT_DONE;
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        return code;
    }
    if (cmd_value(cmd, &args, "json") != NULL) {
        printf("{\"name\":\"tapline\",\"version\":\"%s\"}\n", TAPLINE_VERSION);
    } else {
        printf("tapline %s\n", TAPLINE_VERSION);
    }
    return CORE_EXIT_DONE;
}

const struct cmd cmd_version = {
    .name = "version",
    .summary = "print the version",
    .args = "",
    .about = "Prints the name and the version of this program on stdout.",
    .example = "tapline version --json",
    .options = options,
    .run = version_run,
};
