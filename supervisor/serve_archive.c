/* supervisor/serve_archive.c: which archived logs go, oldest first, and that nothing goes which was not delivered.
 *
 * The archive is walked by descriptors, never through a symlink, so a link that somebody put there cannot lead a deletion out of
 * it; links themselves are left alone. A file is looked at, asked about (is_delivered), and looked at again right before it
 * goes: if it changed or is another one by then, it stays. What is not known to be delivered stays whatever the disk says.
 * Directories that became empty go, too.
 * Thread: any. At most FILES_MAX files are judged at a time; the next time takes those that are left.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_diag_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FILES_MAX 200000
#define DEPTH_MAX 8

struct file {
    char *path; /* below the archive */
    dev_t dev;
    ino_t ino;
    off_t size;
    int64_t mtime_ns;
};
struct walk {
    const struct serve_disk_want *want;
    struct serve_disk_done *done;
    int root;
    struct file *files;
    size_t len;
    size_t cap;
};

static int64_t mtime_of(const struct stat *st) {
    return st->st_mtim.tv_sec * CORE_NS_PER_S + st->st_mtim.tv_nsec;
}

static void file_add(struct walk *walk, const char *path, const struct stat *st) {
    if (walk->len == walk->cap) {
        walk->cap = walk->cap == 0 ? 256 : walk->cap * 2;
        walk->files = realloc(walk->files, walk->cap * sizeof(walk->files[0]));
        MUST(walk->files != NULL);
    }
    walk->files[walk->len++] = (struct file){
        .path = strdup(path), .dev = st->st_dev, .ino = st->st_ino, .size = st->st_size, .mtime_ns = mtime_of(st)};
    MUST(walk->files[walk->len - 1].path != NULL);
    walk->done->files++;
}

/* The directory of fd (which is taken) and those below it; path is its name below the archive, "" for the archive. */
static void dir_walk(struct walk *walk, int fd, const char *path,
                     int depth) { /* NOLINT(misc-no-recursion): DEPTH_MAX */
    DIR *in = fdopendir(fd);
    if (in == NULL) {
        (void)close(fd);
        return;
    }
    for (struct dirent *entry = NULL; (entry = readdir(in)) != NULL && walk->len < FILES_MAX;) {
        char below[SERVE_PATH_BYTES_MAX];
        struct stat st;
        bool is_dots = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (is_dots || atomic_load(walk->want->stop) ||
            (size_t)snprintf(below, sizeof(below), "%s%s%s", path, path[0] == '\0' ? "" : "/", entry->d_name) >=
                sizeof(below) ||
            fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            continue;
        }
        if (S_ISREG(st.st_mode)) {
            file_add(walk, below, &st);
        } else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
            int next = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (next >= 0) {
                dir_walk(walk, next, below, depth + 1);
            }
        }
    }
    (void)closedir(in);
}

static int file_compare(const void *a_ptr, const void *b_ptr) {
    const struct file *a = a_ptr;
    const struct file *b = b_ptr;
    if (a->mtime_ns != b->mtime_ns) {
        return a->mtime_ns < b->mtime_ns ? -1 : 1;
    }
    return strcmp(a->path, b->path);
}

static bool free_bytes(const struct serve_disk_want *want, uint64_t *bytes) {
    struct statvfs fs;
    if (want->free_bytes != NULL) {
        return want->free_bytes(want->ctx, want->archive, bytes);
    }
    if (statvfs(want->archive, &fs) != 0) {
        return false;
    }
    *bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return true;
}

/* The directory that a file is in, no part of its path a symlink. -1: not there, or not so. */
static int parent_open(const struct walk *walk, const char *path, const char **name) {
    char part[NAME_MAX + 1];
    int fd = fcntl(walk->root, F_DUPFD_CLOEXEC, 0);
    for (const char *slash = strchr(path, '/'); fd >= 0 && slash != NULL; slash = strchr(path, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        int next = openat(fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        (void)close(fd);
        fd = next;
        path = slash + 1;
    }
    *name = path;
    return fd;
}

/* Directories above a file that are empty now; not the archive itself. */
static void parents_remove(const struct walk *walk, const char *path) {
    char dir[SERVE_PATH_BYTES_MAX];
    (void)snprintf(dir, sizeof(dir), "%s", path);
    for (char *slash = strrchr(dir, '/'); slash != NULL; slash = strrchr(dir, '/')) {
        *slash = '\0';
        const char *name = NULL;
        int parent = parent_open(walk, dir, &name);
        bool is_gone = parent >= 0 && unlinkat(parent, name, AT_REMOVEDIR) == 0;
        if (parent >= 0) {
            (void)close(parent);
        }
        if (!is_gone) {
            break;
        }
    }
}

static void file_keep(struct walk *walk, const struct file *file) {
    struct serve_disk_done *done = walk->done;
    if (done->undelivered++ == 0) {
        (void)snprintf(done->undelivered_first, sizeof(done->undelivered_first), "%s", file->path);
    }
    done->undelivered_bytes += (uint64_t)file->size;
}

/* Remove it, if it may go. */
static void file_remove(struct walk *walk, const struct file *file) {
    struct serve_disk_done *done = walk->done;
    char path[SERVE_PATH_BYTES_MAX];
    struct stat st;
    const char *name = NULL;
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", walk->want->archive, file->path) >= sizeof(path) ||
        !walk->want->is_delivered(walk->want->ctx, path)) {
        file_keep(walk, file);
        return;
    }
    int parent = parent_open(walk, file->path, &name);
    if (parent < 0 || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode) ||
        st.st_dev != file->dev || st.st_ino != file->ino || st.st_size != file->size ||
        mtime_of(&st) != file->mtime_ns) {
        file_keep(walk, file); /* not what was judged */
    } else if (unlinkat(parent, name, 0) != 0) {
        done->failed++;
        (void)snprintf(done->text, sizeof(done->text), "%.300s: %s", path, strerror(errno));
    } else {
        done->removed++;
        done->removed_bytes += (uint64_t)file->size;
        parents_remove(walk, file->path);
    }
    if (parent >= 0) {
        (void)close(parent);
    }
}

/* What is too old; then, from the oldest on, until enough is free. */
static void files_expire(struct walk *walk) {
    const struct serve_disk_want *want = walk->want;
    struct serve_disk_done *done = walk->done;
    int64_t before_ns = want->keep_ns > 0 ? core_now_ns() - want->keep_ns : INT64_MIN;
    for (size_t i = 0; i < walk->len && !atomic_load(want->stop); i++) {
        bool is_old = walk->files[i].mtime_ns < before_ns;
        bool is_low = want->free_min > 0 && free_bytes(want, &done->free_bytes) && done->free_bytes < want->free_min;
        if (!is_old && !is_low) {
            break; /* the rest is younger */
        }
        file_remove(walk, &walk->files[i]);
    }
    (void)free_bytes(want, &done->free_bytes);
    done->is_low = want->free_min > 0 && done->free_bytes < want->free_min;
}

enum core_err serve_archive_expire(const struct serve_disk_want *want, struct serve_disk_done *done,
                                   struct core_fail *fail) {
    MUST(want->archive != NULL);
    MUST(want->stop != NULL);
    *done = (struct serve_disk_done){0};
    struct walk walk = {.want = want, .done = done};
    walk.root = open(want->archive, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = walk.root < 0 ? -1 : openat(walk.root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        int error = errno;
        if (walk.root >= 0) {
            (void)close(walk.root);
        }
        errno = error;
        return errno == ENOENT ? core_fail_set(fail, CORE_GONE, want->archive, "there is no archive yet")
                               : core_fail_errno(fail, want->archive, "cannot be read");
    }
    dir_walk(&walk, fd, "", 0);
    if (walk.len > 0) {
        qsort(walk.files, walk.len, sizeof(walk.files[0]), file_compare);
    }
    files_expire(&walk);
    for (size_t i = 0; i < walk.len; i++) {
        free(walk.files[i].path);
    }
    free(walk.files);
    (void)close(walk.root);
    return CORE_OK;
}
