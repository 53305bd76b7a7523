/* supervisor/deploy_apply.c: the files of a plan on the disk.
 *
 * Each is written whole or not at all, and only if it differs, so that a deploy that changes nothing touches nothing. They are
 * read by the sensors' users and hold no secrets: mode 0644 below directories of 0755.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/deploy_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY_MODE 0755
#define FILE_MODE 0644
#define PATH_BYTES_MAX 4096

enum core_err deploy_directory_make(const char *path, struct core_fail *fail) {
    char part[PATH_BYTES_MAX];
    size_t len = strlen(path);
    if (len >= sizeof(part)) {
        return core_fail_set(fail, CORE_BAD, path, "the path is longer than %d bytes", PATH_BYTES_MAX);
    }
    memcpy(part, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (part[i] == '/' || part[i] == '\0') {
            char c = part[i];
            part[i] = '\0';
            if (mkdir(part, DIRECTORY_MODE) == 0) {
                (void)chmod(part, DIRECTORY_MODE); /* whatever our umask is: sensors' users have to get there */
            } else if (errno != EEXIST) {
                return core_fail_errno(fail, part, "the directory cannot be made");
            }
            part[i] = c;
        }
    }
    return CORE_OK;
}

static bool has_content(const struct sensors_file *file) {
    struct core_span now = {0};
    struct core_fail fail;
    bool is_same =
        serve_file_read(file->path, DEPLOY_PLAN_BYTES_MAX, &now, &fail) == CORE_OK && core_span_eq(now, file->content);
    free((char *)now.ptr);
    return is_same;
}

static enum core_err file_write(const struct sensors_file *file, struct core_fail *fail) {
    char directory[PATH_BYTES_MAX];
    const char *slash = strrchr(file->path, '/');
    if (slash == NULL || (size_t)(slash - file->path) >= sizeof(directory)) {
        return core_fail_set(fail, CORE_BAD, file->path, "is no whole path, or too long a one");
    }
    memcpy(directory, file->path, (size_t)(slash - file->path));
    directory[slash - file->path] = '\0';
    enum core_err err = deploy_directory_make(directory, fail);
    if (err == CORE_OK) {
        err = serve_file_write(file->path, file->content, fail);
    }
    if (err == CORE_OK && chmod(file->path, FILE_MODE) != 0) {
        err = core_fail_errno(fail, file->path, "the sensors' users cannot be let read it");
    }
    return err;
}

void deploy_files_remove(const struct sensors_plan *from, const struct sensors_plan *to) {
    for (size_t i = 0; i < from->files_len; i++) {
        if (deploy_file_find(to, from->files[i].path) == NULL && unlink(from->files[i].path) != 0 && errno != ENOENT) {
            core_log(CORE_LEVEL_WARN, "deploy", "a generated file that nothing needs any more stays",
                     "path=%s error=\"%s\" help=\"remove it by hand\"", from->files[i].path, strerror(errno));
        }
    }
}

enum core_err deploy_files_write(const struct sensors_plan *from, const struct sensors_plan *to,
                                 struct core_fail *fail) {
    for (size_t i = 0; i < to->files_len; i++) {
        enum core_err err = has_content(&to->files[i]) ? CORE_OK : file_write(&to->files[i], fail);
        if (err != CORE_OK) {
            return err;
        }
    }
    deploy_files_remove(from, to);
    return CORE_OK;
}

/* Does it write logs that are rotated into a directory of its own? */
static bool has_archive(const struct sensors_node *node) {
    return node->type == SENSOR_STANDALONE || node->type == SENSOR_MANAGER || node->type == SENSOR_LOGGER;
}

/* Only one that we have just made is given away: what lies there already is somebody's decision. The user may be able to put
 * something else in its place at any moment, and we may be root: what is given is what was opened, and no link is followed. */
static enum core_err archive_make(const char *path, const char *user, struct core_fail *fail) {
    if (mkdir(path, DIRECTORY_MODE) != 0) {
        return errno == EEXIST ? CORE_OK : core_fail_errno(fail, path, "the directory cannot be made");
    }
    const struct passwd *entry = user == NULL || geteuid() != 0 ? NULL : getpwnam(user);
    if (entry == NULL && user != NULL && geteuid() == 0) {
        return core_fail_set(fail, CORE_BAD, path, "there is no user %s to give it to", user);
    }
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool is_done = fd >= 0 && fstat(fd, &st) == 0;
    if (is_done && st.st_uid != geteuid()) { /* somebody has put theirs in its place */
        errno = EPERM;
        is_done = false;
    }
    is_done = is_done && fchmod(fd, DIRECTORY_MODE) == 0 && /* whatever our umask is */
              (entry == NULL || fchown(fd, entry->pw_uid, entry->pw_gid) == 0);
    enum core_err err =
        is_done ? CORE_OK : core_fail_errno(fail, path, "this new directory cannot be given its owner and mode");
    if (fd >= 0) {
        close(fd);
    }
    return err;
}

enum core_err deploy_archives_make(const char *archive, const struct sensors_plan *plan, struct core_fail *fail) {
    char path[PATH_BYTES_MAX];
    for (size_t i = 0; i < plan->nodes_len; i++) {
        const struct sensors_node *node = &plan->nodes[i];
        if (!has_archive(node)) {
            continue;
        }
        if ((size_t)snprintf(path, sizeof(path), "%s/%s", archive, node->name) >= sizeof(path)) {
            return core_fail_set(fail, CORE_BAD, archive, "the path is longer than %d bytes", PATH_BYTES_MAX);
        }
        enum core_err err = deploy_directory_make(archive, fail);
        err = err == CORE_OK ? archive_make(path, node->spec.user, fail) : err;
        if (err != CORE_OK) {
            return err;
        }
    }
    return CORE_OK;
}
