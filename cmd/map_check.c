/* cmd/map_check.c: `tapline map check [DIR]`: every mistake in maps, at once, for those who write them. What keeps `run`
 * from starting is in it, and what nobody can have meant: a row that never writes, a table that no row uses.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "normalize/normalize.h"

static const struct cmd_option options[] = {
    {"site-maps", 0, "DIR", "Directory of your own maps, which come before those of DIR."},
    {0},
};

static int run(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args;
    struct core_conf_mistakes mistakes = {0};
    struct normalize_maps *maps = NULL;
    int code;
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        return code;
    }
    if (args.files_len > 1) {
        (void)fprintf(stderr, "tapline map check: one directory at a time; \"%s\" is too much\n", args.files[1]);
        return CORE_EXIT_USAGE;
    }
    struct normalize_conf conf = {.maps = args.files_len == 1 ? args.files[0] : NULL,
                                  .site_maps = (char *)(uintptr_t)cmd_value(cmd, &args, "site-maps")};
    conf = cmd_normalize_conf(&conf);
    enum core_err err = normalize_maps_check(&maps, &conf, &mistakes);
    MUST((err == CORE_OK) == (mistakes.len == 0));
    normalize_maps_close(maps);
    cmd_sort_mistakes(&mistakes);
    cmd_print_mistakes(&mistakes);
    if (mistakes.len == sizeof(mistakes.fails) / sizeof(mistakes.fails[0])) {
        (void)fprintf(stderr, "%zu mistakes, perhaps more: mend these and check again\n", mistakes.len);
    } else if (mistakes.len == 0) {
        (void)fprintf(stderr, "%s%s%s: no mistakes\n", conf.maps, conf.site_maps != NULL ? " and " : "",
                      conf.site_maps != NULL ? conf.site_maps : "");
    }
    return mistakes.len > 0 ? CORE_EXIT_NO : CORE_EXIT_DONE;
}

const struct cmd cmd_map_check = {
    .name = "map check",
    .summary = "find every mistake in maps",
    .args = "[DIR]",
    .about =
        "Reads logs.table, schema.tsv and all maps of the directory (default: the installed ones) and prints each "
        "mistake as file:line:column: a field that the schema has not, a value of a type that the field cannot have, a "
        "row that can never write or whose value would be lost behind another's, a function, table or map that is not "
        "there, and a table, alias, map or row of logs.table that nothing uses. Exits 0 if there is nothing wrong, 1 "
        "if "
        "there are mistakes.",
    .example = "tapline map check --site-maps /etc/tapline/site",
    .options = options,
    .run = run,
};
