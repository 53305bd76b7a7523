/* sinks/file.c: documents as lines into files: its keys, and what they mean to the engine in lines.c.
 *
 * Dead letters go to `dead_letter`. Where nobody says: beside the documents, as path + ".deadletter"; but when the path has
 * %{event.dataset}, each dataset has its own file anyway, and dead letters are the dataset tapline.deadletter.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/sinks_internal.h"

struct file_conf {
    char *path;
    char *dead_letter;
    uint64_t rotate_size;
    int64_t rotate_interval_ns;
    uint64_t rotate_keep;
    int64_t sync_interval_ns;
};

static const struct core_opt file_opts[] = {
    {.key = "path",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct file_conf, path),
     .is_required = true,
     .needs_restart = true,
     .help = "Where documents go, one line each; %{event.dataset} in it gives each dataset its own file. Folders that "
             "are missing are made."},
    {.key = "dead_letter",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct file_conf, dead_letter),
     .needs_restart = true,
     .help = "Where records go that could not be read; default: path + \".deadletter\", or, if the path has "
             "%{event.dataset}, the path with tapline.deadletter in its place."},
    {.key = "rotate_size",
     .type = CORE_OPT_SIZE,
     .offset = offsetof(struct file_conf, rotate_size),
     .def = "0",
     .needs_restart = true,
     .help = "Rename a file to path.YYYYmmdd-HHMMSS (UTC) before it would grow beyond this; 0: never."},
    {.key = "rotate_interval",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct file_conf, rotate_interval_ns),
     .def = "0",
     .needs_restart = true,
     .help = "Rename a file at the first write after each multiple of this (counted from midnight UTC); 0: never."},
    {.key = "rotate_keep",
     .type = CORE_OPT_UINT,
     .offset = offsetof(struct file_conf, rotate_keep),
     .def = "0",
     .needs_restart = true,
     .help = "How many rotated files of each path stay; the oldest are removed; 0: all stay."},
    {.key = "sync_interval",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct file_conf, sync_interval_ns),
     .def = "1s",
     .max = "1h",
     .needs_restart = true,
     .help = "Documents count as accepted when they are on the disk (fdatasync); at most this long passes between "
             "writing and that. 0: after every batch."},
};

static void template_check(const char *key, const char *text, const struct core_conf_file *file,
                           const struct core_conf_node *node, struct core_conf_mistakes *mistakes) {
    const char *wrong = NULL;
    if (text != NULL && !sink_template_check(text, &wrong)) {
        const struct core_conf_node *at = node == NULL ? NULL : core_conf_get(node, key);
        core_conf_mistake(file, at == NULL ? node : at, mistakes,
                          "%s: \"%.40s\" is no variable; only %%{event.dataset} is", key, wrong);
    }
}

static void file_check(const void *conf_ptr, const struct core_conf_file *file, const struct core_conf_node *node,
                       struct core_conf_mistakes *mistakes) {
    const struct file_conf *conf = conf_ptr;
    MUST(mistakes != NULL);
    template_check("path", conf->path, file, node, mistakes);
    template_check("dead_letter", conf->dead_letter, file, node, mistakes);
}

static enum core_err file_open(struct sink **out, const void *conf_ptr, const struct sink_env *env,
                               struct core_fail *fail) {
    const struct file_conf *conf = conf_ptr;
    MUST(conf->path != NULL);
    struct lines_conf lines = {
        .path = conf->path,
        .dead_letter = conf->dead_letter,
        .dead_letter_suffix = conf->dead_letter == NULL && !sink_template_has_dataset(conf->path) ? ".deadletter" : "",
        .rotation = {.size = conf->rotate_size, .interval_ns = conf->rotate_interval_ns, .keep = conf->rotate_keep},
        .sync_interval_ns = conf->sync_interval_ns,
    };
    return lines_open(out, &lines, env, fail);
}

const struct sink_ops sink_file = {
    .name = "file",
    .summary = "documents as lines of JSON into files, with rotation; accepted when on the disk",
    .opts = file_opts,
    .opts_len = sizeof file_opts / sizeof file_opts[0],
    .conf_size = sizeof(struct file_conf),
    .check = file_check,
    .connect = NULL,
    .open = file_open,
    .send = lines_send,
    .poll = lines_poll,
    .is_gone = lines_is_gone,
    .flush = lines_flush,
    .is_up = lines_is_up,
    .health = lines_health,
    .close = lines_close,
};
