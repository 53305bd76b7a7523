/* supervisor/serve_small.c: JSON members, whole files: what Main's files share.
 *
 * A file that is written here is whole or the one before it, also after a crash of the machine: written beside, fsync'ed,
 * renamed, its directory fsync'ed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_PATH_BYTES_MAX 4096
#define FILE_MODE 0640

/* ---- JSON -------------------------------------------------------------------------------------------------------------- */

static void json_key(struct core_buf *out, const char *key) {
    bool is_first = out->pos == out->start || out->pos[-1] == '{' || out->pos[-1] == '[';
    core_buf_put(out, ",", is_first ? 0 : 1);
    core_buf_string(out, core_span_of(key));
    core_buf_char(out, ':');
}

void serve_json_text(struct core_buf *out, const char *key, struct core_span text) {
    json_key(out, key);
    core_buf_string(out, text);
}

void serve_json_number(struct core_buf *out, const char *key, int64_t number) {
    json_key(out, key);
    core_buf_i64(out, number);
}

void serve_json_bool(struct core_buf *out, const char *key, bool value) {
    json_key(out, key);
    core_buf_span(out, value ? CORE_SPAN("true") : CORE_SPAN("false"));
}

static void json_put_many(struct core_buf *out, const struct core_json_tree *tree) {
    bool is_object = tree->kind == CORE_JSON_OBJECT;
    core_buf_char(out, is_object ? '{' : '[');
    for (const struct core_json_tree *member = tree->first; member != NULL; member = member->next) {
        core_buf_put(out, ",", member == tree->first ? 0 : 1);
        if (is_object) {
            core_buf_string(out, member->key);
            core_buf_char(out, ':');
        }
        serve_json_put(out, member); /* as deep as core/json.h reads: 64 */
    }
    core_buf_char(out, is_object ? '}' : ']');
}

void serve_json_put(struct core_buf *out, const struct core_json_tree *tree) {
    switch (tree->kind) {
    case CORE_JSON_OBJECT:
    case CORE_JSON_ARRAY:
        json_put_many(out, tree);
        break;
    case CORE_JSON_STRING:
        core_buf_string(out, tree->text);
        break;
    case CORE_JSON_NULL:
        core_buf_span(out, CORE_SPAN("null"));
        break;
    case CORE_JSON_BOOL:
    case CORE_JSON_NUMBER:
        core_buf_span(out, tree->text);
        break;
    }
}

/* ---- files ------------------------------------------------------------------------------------------------------------- */

static enum core_err file_read_all(int fd, const char *path, size_t len, struct core_span *out,
                                   struct core_fail *fail) {
    char *bytes = malloc(len + 1);
    MUST(bytes != NULL);
    size_t got = 0;
    while (got < len) {
        ssize_t n = read(fd, bytes + got, len - got);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            free(bytes);
            return core_fail_errno(fail, path, "cannot be read");
        }
        if (n == 0) {
            break; /* became shorter meanwhile */
        }
        got += (size_t)n;
    }
    bytes[got] = '\0';
    *out = (struct core_span){.ptr = bytes, .len = got};
    return CORE_OK;
}

enum core_err serve_file_read(const char *path, size_t bytes_max, struct core_span *out, struct core_fail *fail) {
    MUST(path != NULL);
    MUST(out != NULL);
    *out = (struct core_span){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return errno == ENOENT ? core_fail_set(fail, CORE_GONE, path, "there is no such file")
                               : core_fail_errno(fail, path, "cannot be opened");
    }
    struct stat st;
    enum core_err err = CORE_OK;
    if (fstat(fd, &st) != 0) {
        err = core_fail_errno(fail, path, "cannot be looked at");
    } else if (!S_ISREG(st.st_mode)) {
        err = core_fail_set(fail, CORE_IO, path, "is no regular file");
    } else if ((uint64_t)st.st_size > bytes_max) {
        err = core_fail_set(fail, CORE_LIMIT, path, "has %lld bytes; at most %zu are read", (long long)st.st_size,
                            bytes_max);
    } else {
        err = file_read_all(fd, path, (size_t)st.st_size, out, fail);
    }
    (void)close(fd);
    return err;
}

static enum core_err file_write_all(int fd, const char *path, struct core_span content, struct core_fail *fail) {
    while (content.len > 0) {
        ssize_t n = write(fd, content.ptr, content.len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return core_fail_errno(fail, path, "cannot be written");
        }
        content.ptr += n;
        content.len -= (size_t)n;
    }
    return fsync(fd) == 0 ? CORE_OK : core_fail_errno(fail, path, "cannot be brought to the disk");
}

static enum core_err dir_sync(const char *path, struct core_fail *fail) {
    char dir[FILE_PATH_BYTES_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
    MUST(len < sizeof(dir));
    memcpy(dir, slash == NULL ? "." : path, len);
    dir[len] = '\0';
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return core_fail_errno(fail, dir, "cannot be opened");
    }
    enum core_err err = fsync(fd) == 0 ? CORE_OK : core_fail_errno(fail, dir, "cannot be brought to the disk");
    (void)close(fd);
    return err;
}

enum core_err serve_file_write(const char *path, struct core_span content, struct core_fail *fail) {
    MUST(path != NULL);
    char temp[FILE_PATH_BYTES_MAX];
    if ((size_t)snprintf(temp, sizeof(temp), "%s.new", path) >= sizeof(temp)) {
        return core_fail_set(fail, CORE_IO, path, "the path is longer than %d bytes", FILE_PATH_BYTES_MAX);
    }
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (fd < 0) {
        return core_fail_errno(fail, temp, "cannot be made");
    }
    enum core_err err = file_write_all(fd, temp, content, fail);
    (void)close(fd);
    if (err == CORE_OK && rename(temp, path) != 0) {
        err = core_fail_errno(fail, path, "cannot be replaced by %s", temp);
    }
    if (err != CORE_OK) {
        (void)unlink(temp);
        return err;
    }
    return dir_sync(path, fail);
}
