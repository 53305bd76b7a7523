/* supervisor/serve_reports.c: the crash reports that are kept: <serve.state>/reports/TIME-NODE/ with report.json, report.txt and
 * summary.json; diag.list and diag.show.
 *
 * The name follows from the death (its time is the event's), so a death that is told twice, by an event that is told again after
 * Main was killed, has one report. A report is written into a directory beside and renamed: it is there whole or not at all.
 * The newest reports_max are kept.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_diag_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_MODE 0750
#define TIME_LEN 23 /* 20261122T040506.123456Z */
#define SUMMARY_BYTES_MAX (16 * CORE_KIB)
#define FILE_BYTES_MAX (64 * CORE_MIB)
#define ANSWER_BYTES_MAX (CORE_RPC_LINE_BYTES_MAX - 64 * CORE_KIB)
#define HALF_WRITTEN "writing-"

void serve_reports_dir(const struct serve *serve, char out[SERVE_PATH_BYTES_MAX]) {
    int len = snprintf(out, SERVE_PATH_BYTES_MAX, "%s/reports", serve->conf->state);
    MUST(len > 0);
    MUST(len < SERVE_PATH_BYTES_MAX);
}

bool serve_report_name_is(const char *name) {
    static const char form[] = "00000000T000000.000000Z-";
    for (size_t i = 0; i < sizeof(form) - 1; i++) {
        if (form[i] == '0' ? !core_is_digit(name[i]) : name[i] != form[i]) {
            return false;
        }
    }
    const char *node = name + TIME_LEN + 1;
    return node[0] != '\0' && node[0] != '.' && strchr(node, '/') == NULL && strlen(name) < SERVE_REPORT_NAME_BYTES_MAX;
}

static int name_compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

size_t serve_reports_list(const char *dir, char ***names) {
    size_t len = 0;
    size_t cap = 0;
    *names = NULL;
    DIR *in = opendir(dir);
    for (struct dirent *entry = NULL; in != NULL && (entry = readdir(in)) != NULL;) {
        if (!serve_report_name_is(entry->d_name)) {
            continue;
        }
        if (len == cap) {
            cap = cap == 0 ? 32 : cap * 2;
            *names = realloc(*names, cap * sizeof((*names)[0]));
            MUST(*names != NULL);
        }
        (*names)[len] = strdup(entry->d_name);
        MUST((*names)[len] != NULL);
        len++;
    }
    if (in != NULL) {
        (void)closedir(in);
    }
    if (len > 0) {
        qsort(*names, len, sizeof((*names)[0]), name_compare);
    }
    return len;
}

void serve_reports_list_free(char **names, size_t len) {
    for (size_t i = 0; i < len; i++) {
        free(names[i]);
    }
    free(names);
}

/* DIR/NAME[/FILE]; false: too long. */
static bool path_of(const char *dir, const char *name, const char *file, char out[SERVE_PATH_BYTES_MAX]) {
    return (size_t)snprintf(out, SERVE_PATH_BYTES_MAX, "%s/%s%s%s", dir, name, file == NULL ? "" : "/",
                            file == NULL ? "" : file) < SERVE_PATH_BYTES_MAX;
}

bool serve_report_exists(const struct serve *serve, const char *name) {
    char dir[SERVE_PATH_BYTES_MAX];
    char path[SERVE_PATH_BYTES_MAX];
    serve_reports_dir(serve, dir);
    return path_of(dir, name, NULL, path) && access(path, F_OK) == 0;
}

/* A report and what is in it: a directory of files. */
static void report_remove(const char *dir, const char *name) {
    char path[SERVE_PATH_BYTES_MAX];
    if (!path_of(dir, name, NULL, path)) {
        return;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *in = fd < 0 ? NULL : fdopendir(fd);
    for (struct dirent *entry = NULL; in != NULL && (entry = readdir(in)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            (void)unlinkat(fd, entry->d_name, 0);
        }
    }
    if (in != NULL) {
        (void)closedir(in);
    } else if (fd >= 0) {
        (void)close(fd);
    }
    if (rmdir(path) != 0 && errno != ENOENT) {
        core_log(CORE_LEVEL_WARN, "serve", "cannot remove an old crash report",
                 "directory=%s why=\"%s\" effect=\"it takes room; tried again with the next report\" help=\"remove it "
                 "by hand\"",
                 path, strerror(errno));
    }
}

size_t serve_reports_trim(const char *dir, size_t keep) {
    char **names = NULL;
    size_t len = serve_reports_list(dir, &names);
    size_t gone = len > keep ? len - keep : 0;
    for (size_t i = 0; i < gone; i++) {
        report_remove(dir, names[i]);
    }
    serve_reports_list_free(names, len);
    return gone;
}

static enum core_err dir_make(const char *path, struct core_fail *fail) {
    return mkdir(path, DIR_MODE) == 0 || errno == EEXIST ? CORE_OK : core_fail_errno(fail, path, "cannot be made");
}

static enum core_err files_write(const char *dir, const char *half, const struct serve_report_files *files,
                                 struct core_fail *fail) {
    const struct {
        const char *name;
        struct core_span content;
    } rows[] = {
        {"report.json", files->json},
        {"report.txt", files->text},
        {"summary.json", files->summary},
        {files->marks[0], CORE_SPAN("0\n")},
        {files->marks[0] == NULL ? NULL : files->marks[1], CORE_SPAN("0\n")},
    };
    char path[SERVE_PATH_BYTES_MAX];
    enum core_err err = CORE_OK;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && err == CORE_OK; i++) {
        if (rows[i].name != NULL) {
            err = path_of(dir, half, rows[i].name, path) ? serve_file_write(path, rows[i].content, fail)
                                                         : core_fail_set(fail, CORE_IO, dir, "the path is too long");
        }
    }
    return err;
}

enum core_err serve_report_save(const struct serve *serve, const char *name, const struct serve_report_files *files,
                                struct core_fail *fail) {
    char dir[SERVE_PATH_BYTES_MAX];
    char half[SERVE_PATH_BYTES_MAX];
    char whole[SERVE_PATH_BYTES_MAX];
    char half_name[SERVE_REPORT_NAME_BYTES_MAX + sizeof(HALF_WRITTEN)];
    MUST(serve_report_name_is(name));
    serve_reports_dir(serve, dir);
    (void)snprintf(half_name, sizeof(half_name), HALF_WRITTEN "%s", name);
    if (!path_of(dir, half_name, NULL, half) || !path_of(dir, name, NULL, whole)) {
        return core_fail_set(fail, CORE_IO, dir, "the path is too long; name a shorter serve.state");
    }
    enum core_err err = dir_make(dir, fail);
    if (err == CORE_OK) {
        err = dir_make(half, fail);
    }
    if (err == CORE_OK) {
        err = files_write(dir, half_name, files, fail);
    }
    if (err == CORE_OK && rename(half, whole) != 0) {
        err = core_fail_errno(fail, whole, "cannot be renamed from %s", half);
    }
    if (err != CORE_OK) {
        report_remove(dir, half_name);
        return err;
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
    (void)serve_reports_trim(dir, serve->conf->reports_max);
    return CORE_OK;
}

void serve_reports_tidy(const char *dir) {
    DIR *in = opendir(dir);
    for (struct dirent *entry = NULL; in != NULL && (entry = readdir(in)) != NULL;) {
        if (strncmp(entry->d_name, HALF_WRITTEN, sizeof(HALF_WRITTEN) - 1) == 0) {
            report_remove(dir, entry->d_name);
        }
    }
    if (in != NULL) {
        (void)closedir(in);
    }
}

/* ---- diag.list ------------------------------------------------------------------------------------------------------------- */

/* Do the words of params.nodes name this node? A word that is no deployed node's may still be one's that is gone. */
static bool node_is_meant(const struct serve *serve, const struct core_json_tree *params, const char *node) {
    const struct core_json_tree *nodes = core_json_tree_get(params, "nodes");
    if (nodes == NULL || nodes->first == NULL) {
        return true;
    }
    const struct sensors_node *deployed = sensors_plan_find(&serve->deployed, core_span_of(node));
    for (const struct core_json_tree *word = nodes->first; word != NULL; word = word->next) {
        if (core_span_is(word->text, node) || core_span_is(word->text, "all") ||
            (deployed != NULL && sensors_node_is_meant(deployed, word->text))) {
            return true;
        }
    }
    return false;
}

static bool summary_put(const char *dir, const char *name, struct core_arena *arena, struct core_buf *out) {
    char path[SERVE_PATH_BYTES_MAX];
    struct core_span text = {0};
    struct core_json_tree *tree = NULL;
    struct core_fail fail = {0};
    bool is_good = path_of(dir, name, "summary.json", path) &&
                   serve_file_read(path, SUMMARY_BYTES_MAX, &text, &fail) == CORE_OK &&
                   core_json_tree_read(arena, text, &tree, &fail) == CORE_OK && tree->kind == CORE_JSON_OBJECT;
    if (is_good) {
        core_buf_put(out, ",", out->pos[-1] == '[' ? 0 : 1);
        core_json_put_tree(out, tree);
    }
    free((void *)(uintptr_t)text.ptr);
    return is_good;
}

void serve_diag_list(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct serve *serve = ctx;
    char dir[SERVE_PATH_BYTES_MAX];
    char **names = NULL;
    struct core_arena arena = {0};
    struct core_fail fail = {0};
    serve_reports_dir(serve, dir);
    struct core_buf out = {.start = malloc(ANSWER_BYTES_MAX)};
    MUST(out.start != NULL);
    out.pos = out.start;
    out.end = out.start + ANSWER_BYTES_MAX;
    MUST(core_arena_init(&arena, SUMMARY_BYTES_MAX * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN, &fail) ==
         CORE_OK);
    core_buf_span(&out, CORE_SPAN("{\"directory\":"));
    core_buf_string(&out, core_span_of(dir));
    core_buf_span(&out, CORE_SPAN(",\"reports\":["));
    size_t len = serve_reports_list(dir, &names);
    for (size_t i = len; i > 0 && (size_t)(out.end - out.pos) > SUMMARY_BYTES_MAX; i--) { /* newest first */
        if (node_is_meant(serve, params, names[i - 1] + TIME_LEN + 1)) {
            (void)summary_put(dir, names[i - 1], &arena, &out);
            core_arena_reset(&arena, CORE_MIB);
        }
    }
    core_buf_span(&out, CORE_SPAN("]}"));
    MUST(!out.is_full);
    core_rpc_result(request, core_buf_written(&out));
    serve_reports_list_free(names, len);
    core_arena_destroy(&arena);
    free(out.start);
}

/* ---- diag.show ------------------------------------------------------------------------------------------------------------- */

/* The report of that name, or the newest of a node of that name; empty: the newest of all. False: there is none. */
static bool report_pick(const char *dir, struct core_span word, char out[SERVE_REPORT_NAME_BYTES_MAX]) {
    char **names = NULL;
    size_t len = serve_reports_list(dir, &names);
    out[0] = '\0';
    for (size_t i = 0; i < len; i++) {
        if (word.len == 0 || core_span_is(word, names[i]) || core_span_is(word, names[i] + TIME_LEN + 1)) {
            (void)snprintf(out, SERVE_REPORT_NAME_BYTES_MAX, "%s", names[i]);
        }
    }
    serve_reports_list_free(names, len);
    return out[0] != '\0';
}

static void show_answer(struct core_rpc_request *request, const char *dir, const char *name, struct core_span json,
                        struct core_span text) {
    char path[SERVE_PATH_BYTES_MAX];
    struct core_buf out = {.start = malloc(ANSWER_BYTES_MAX)};
    MUST(out.start != NULL);
    out.end = out.start + ANSWER_BYTES_MAX;
    MUST(path_of(dir, name, NULL, path));
    json = core_span_trim(json);
    for (int without = 0; without < 2; without++) {
        out.pos = out.start;
        out.is_full = false;
        core_buf_char(&out, '{');
        core_json_put_text(&out, "name", core_span_of(name));
        core_json_put_text(&out, "node", core_span_of(name + TIME_LEN + 1));
        core_json_put_text(&out, "directory", core_span_of(path));
        core_json_put_text(&out, "text", without == 0 ? text : core_utf8_cut(text, ANSWER_BYTES_MAX / 8));
        core_json_put_bool(&out, "is_cut", without > 0 && text.len > ANSWER_BYTES_MAX / 8);
        core_buf_span(&out, CORE_SPAN(",\"details\":"));
        core_buf_span(&out, without == 0 ? json : CORE_SPAN("null"));
        core_buf_char(&out, '}');
        if (!out.is_full) {
            break;
        }
    }
    MUST(!out.is_full);
    core_rpc_result(request, core_buf_written(&out));
    free(out.start);
}

void serve_diag_show(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct serve *serve = ctx;
    char dir[SERVE_PATH_BYTES_MAX];
    char name[SERVE_REPORT_NAME_BYTES_MAX];
    char path[SERVE_PATH_BYTES_MAX];
    struct core_span json = {0};
    struct core_span text = {0};
    struct core_fail fail = {0};
    struct core_span word = core_json_tree_text(params, "report");
    serve_reports_dir(serve, dir);
    if (!report_pick(dir, word, name)) {
        core_rpc_refuse(request, CORE_RPC_UNKNOWN, "there is no crash report %s%.*s in %s; diag.list names all",
                        word.len == 0 ? "" : "of that name or node: ", (int)word.len, word.ptr == NULL ? "" : word.ptr,
                        dir);
        return;
    }
    enum core_err err =
        path_of(dir, name, "report.json", path) ? serve_file_read(path, FILE_BYTES_MAX, &json, &fail) : CORE_IO;
    if (err == CORE_OK) {
        err = path_of(dir, name, "report.txt", path) ? serve_file_read(path, FILE_BYTES_MAX, &text, &fail) : CORE_IO;
    }
    if (err == CORE_OK) {
        show_answer(request, dir, name, json, text);
    } else {
        core_rpc_refuse(request, CORE_RPC_FAILED, "%s: %s", path, fail.text);
    }
    free((void *)(uintptr_t)json.ptr);
    free((void *)(uintptr_t)text.ptr);
}
