/* supervisor/serve_small.c: texts, and whole files: what Main's files share.
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

/* ---- texts ------------------------------------------------------------------------------------------------------------- */

char *serve_copy(const char *text) {
    char *copy = text == NULL ? NULL : strdup(text);
    MUST(text == NULL || copy != NULL);
    return copy;
}

size_t serve_lines_begin(struct core_span text, uint64_t lines) {
    MUST(lines > 0);
    size_t at = text.len > 0 && text.ptr[text.len - 1] == '\n' ? text.len - 1 : text.len;
    while (at > 0 && (text.ptr[at - 1] != '\n' || --lines > 0)) {
        at--;
    }
    return at;
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
