/* supervisor/serve_logs.c: a part of a file of a node, for `tapline logs`.
 *
 * A node's directory belongs to the node's user, who may put there what he likes: only a regular file right in it is read, never
 * what a link leads to. A reader follows a file by asking again with `next`; a size below it, or another inode, says that the file
 * was cut or replaced.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOGS_BYTES_MAX (256 * CORE_KIB)
#define LOGS_JSON_BYTES_MAX (CORE_RPC_LINE_BYTES_MAX - 4096) /* the rest of the line is the message's */
#define LOGS_LINES_DEFAULT 50
#define LOGS_NAME_BYTES_MAX 255
#define PATH_BYTES_MAX 4096

/* What is asked for. */
struct logs {
    const struct sensors_node *node;
    char file[LOGS_NAME_BYTES_MAX + 1];
    int64_t offset; /* -1: from the end */
    int64_t lines;
};

/* A number that is not below 0; the default if it is not given. False: it is none, and refused. */
static bool number_of(struct core_rpc_request *request, const struct core_json_tree *params, const char *key,
                      int64_t *out) {
    const struct core_json_tree *member = core_json_tree_get(params, key);
    if (member == NULL || member->kind == CORE_JSON_NULL) {
        return true;
    }
    char *end = NULL;
    errno = 0;
    *out = member->kind == CORE_JSON_NUMBER ? strtoll(member->text.ptr, &end, 10) : -1;
    if (*out < 0 || errno != 0 || end == NULL || *end != '\0') {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "%s is a number that is not below 0", key);
        return false;
    }
    return true;
}

static bool logs_take(struct serve *serve, struct core_rpc_request *request, const struct core_json_tree *params,
                      struct logs *out) {
    struct core_span node = core_json_tree_text(params, "node");
    struct core_span file = core_json_tree_text(params, "file");
    *out = (struct logs){.offset = -1, .lines = LOGS_LINES_DEFAULT};
    if (node.len == 0) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS, "node is missing: whose file?");
        return false;
    }
    out->node = sensors_plan_find(&serve->deployed, node);
    if (out->node == NULL) {
        core_rpc_refuse(request, CORE_RPC_UNKNOWN, "no node is named \"%.*s\": `tapline nodes` lists what is deployed",
                        (int)node.len, node.ptr);
        return false;
    }
    if (file.len == 0) {
        file = CORE_SPAN("stderr.log");
    }
    if (file.len > LOGS_NAME_BYTES_MAX || core_span_chr(file, '/') != NULL || core_span_chr(file, '\0') != NULL ||
        core_span_is(file, ".") || core_span_is(file, "..")) {
        core_rpc_refuse(request, CORE_RPC_BAD_PARAMS,
                        "file is the name of a file in the node's directory, without a path");
        return false;
    }
    memcpy(out->file, file.ptr, file.len);
    return number_of(request, params, "offset", &out->offset) && number_of(request, params, "lines", &out->lines);
}

/* The two files of output may be elsewhere. */
static const char *logs_directory(const struct logs *logs) {
    bool is_output = strcmp(logs->file, "stdout.log") == 0 || strcmp(logs->file, "stderr.log") == 0;
    const char *output = logs->node->spec.output.directory;
    return is_output && output != NULL ? output : logs->node->directory;
}

static int logs_open(const struct logs *logs, struct stat *st, struct core_fail *fail) {
    const char *directory = logs_directory(logs);
    int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = dir < 0 ? -1 : openat(dir, logs->file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    enum core_err err = CORE_OK;
    if (fd < 0 || fstat(fd, st) != 0) {
        err = core_fail_errno(fail, directory, "%s/%s cannot be read", directory, logs->file);
    } else if (!S_ISREG(st->st_mode)) {
        err = core_fail_set(fail, CORE_IO, directory, "%s/%s is no regular file", directory, logs->file);
    }
    if (dir >= 0) {
        (void)close(dir);
    }
    if (err != CORE_OK && fd >= 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

static ssize_t logs_pread(int fd, char *bytes, size_t len, off_t offset) {
    ssize_t n = -1;
    do {
        n = pread(fd, bytes, len, offset);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* Without a character at its end that is not whole, of which the rest is still to come; never without all. */
static size_t whole_len(const char *bytes, size_t len) {
    size_t back = 0;
    while (back < 3 && back < len && ((unsigned char)bytes[len - 1 - back] & 0xc0U) == 0x80) {
        back++;
    }
    if (back + 1 >= len) {
        return len;
    }
    unsigned char lead = (unsigned char)bytes[len - 1 - back];
    size_t needs = lead >= 0xf8 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    return needs > back + 1 ? len - 1 - back : len;
}

/* The answer, if it is short enough for a line. */
static bool logs_put(struct core_buf *out, struct core_span text, off_t offset, const struct stat *st) {
    core_buf_char(out, '{');
    core_json_put_number(out, "offset", offset);
    core_json_put_number(out, "next", offset + (off_t)text.len);
    core_json_put_number(out, "size", st->st_size);
    core_json_put_number(out, "inode", (int64_t)st->st_ino);
    core_json_put_bool(out, "is_whole", offset + (off_t)text.len >= st->st_size);
    core_json_put_text(out, "text", text);
    core_buf_char(out, '}');
    return !out->is_full;
}

static void logs_answer(struct core_rpc_request *request, const struct logs *logs, int fd, const struct stat *st) {
    char *bytes = malloc(LOGS_BYTES_MAX);
    char *json = malloc(LOGS_JSON_BYTES_MAX);
    MUST(bytes != NULL);
    MUST(json != NULL);
    off_t max = (off_t)LOGS_BYTES_MAX;
    off_t offset = logs->offset >= 0 ? logs->offset : st->st_size > max ? st->st_size - max : 0;
    ssize_t got = logs_pread(fd, bytes, LOGS_BYTES_MAX, offset);
    if (got < 0) {
        core_rpc_refuse(request, CORE_RPC_FAILED, "%s of %s cannot be read: %s", logs->file, logs->node->name,
                        strerror(errno));
        goto out;
    }
    struct core_span text = {.ptr = bytes, .len = (size_t)got};
    if (logs->offset < 0) {
        size_t at = logs->lines == 0 ? text.len : serve_lines_begin(text, (uint64_t)logs->lines);
        offset += (off_t)at;
        text = (struct core_span){.ptr = text.ptr + at, .len = text.len - at};
    }
    for (;;) { /* bytes that are no UTF-8 are five times as long in JSON: then fewer of them */
        struct core_buf buf = {.start = json, .pos = json, .end = json + LOGS_JSON_BYTES_MAX};
        text.len = whole_len(text.ptr, text.len);
        if (logs_put(&buf, text, offset, st)) {
            core_rpc_result(request, core_buf_written(&buf));
            break;
        }
        text.len /= 2;
    }
out:
    free(json);
    free(bytes);
}

void serve_logs_read(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct logs logs;
    struct stat st;
    struct core_fail fail = {0};
    if (!logs_take(ctx, request, params, &logs)) {
        return;
    }
    int fd = logs_open(&logs, &st, &fail);
    if (fd < 0) {
        core_rpc_refuse(request, CORE_RPC_FAILED, "%s", fail.text);
        return;
    }
    logs_answer(request, &logs, fd, &st);
    (void)close(fd);
}
