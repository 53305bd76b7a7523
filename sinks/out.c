/* sinks/out.c: one file of documents, a line each; or stdout.
 *
 * Documents leave by writev(2) straight from the batch: no copy is made. What a crash may leave is known and mended:
 *   in the middle of a write    a line without its end, cut off at the next open (its record was never accepted)
 *   after a failed write        the file is truncated back to its last whole line at once
 *   after a failed fdatasync    the kernel may have dropped what it could not write and will not say so again, so the
 *                               file is truncated to what the last good sync covered and the rest is written anew
 * A new or renamed name is on the disk only when its folder is synced too. A file is locked (flock) while it is open, so
 * that two programs never interleave lines in it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/sinks_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define OUT_FILE_MODE 0640
#define OUT_DIR_MODE 0750
#define OUT_LINES_PER_WRITE 512 /* two vectors each: IOV_MAX is 1024 */
#define OUT_SEARCH_BYTES 65536
#define OUT_ROOM_TIMEOUT_MS 1000

static enum core_err fail_with(struct core_fail *fail, const char *path, const char *what) {
    return core_fail_errno(fail, path, "%s", what);
}

/* Make the folders of path that are missing. */
static enum core_err make_folders(const char *path, struct core_fail *fail) {
    char folder[sizeof((struct sink_out *)0)->path];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *slash = strchr(folder + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, OUT_DIR_MODE) != 0 && errno != EEXIST) {
            return fail_with(fail, folder, "cannot make the folder");
        }
        *slash = '/';
    }
    return CORE_OK;
}

/* Make a name that was just made or changed last. */
static enum core_err sync_folder(const char *path, struct core_fail *fail) {
    char folder[sizeof((struct sink_out *)0)->path];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        snprintf(folder, sizeof folder, ".");
    } else {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return fail_with(fail, folder, "cannot open the folder to sync it");
    }
    enum core_err err = CORE_OK;
    if (fsync(fd) != 0 && errno != EINVAL) { /* EINVAL: this file system has nothing to sync there */
        err = fail_with(fail, folder, "cannot sync the folder");
    }
    MUST(close(fd) == 0 || errno == EINTR || errno == EIO);
    return err;
}

/* Where the last whole line of a file ends: searched backwards, in the bytes that one document may have. */
static enum core_err whole_lines_end(int fd, const char *path, uint64_t size, uint64_t *end, struct core_fail *fail) {
    char block[OUT_SEARCH_BYTES];
    uint64_t at = size;
    while (at > 0 && size - at <= CORE_DOC_BYTES_MAX + CORE_DOC_ENRICH_BYTES_MAX) {
        size_t len = at < sizeof block ? (size_t)at : sizeof block;
        ssize_t got = pread(fd, block, len, (off_t)(at - len));
        if (got != (ssize_t)len) {
            return fail_with(fail, path, "cannot read the end of the file, to see if its last line is whole");
        }
        const char *newline = memrchr(block, '\n', len);
        if (newline != NULL) {
            *end = at - len + (uint64_t)(newline - block) + 1;
            return CORE_OK;
        }
        at -= len;
    }
    if (at > 0) {
        return core_fail_set(fail, CORE_BAD, path,
                             "the file does not end in lines of documents; tapline appends nothing to it: move it away "
                             "or name another path");
    }
    *end = 0;
    return CORE_OK;
}

static enum core_err cut_torn_line(struct sink_out *out, struct core_fail *fail) {
    uint64_t end = out->size;
    enum core_err err = whole_lines_end(out->fd, out->path, out->size, &end, fail);
    if (err != CORE_OK || end == out->size) {
        return err;
    }
    if (ftruncate(out->fd, (off_t)end) != 0 || fdatasync(out->fd) != 0) {
        return fail_with(fail, out->path, "cannot cut off the unfinished last line");
    }
    core_log(CORE_LEVEL_WARN, "sink", "unfinished last line cut off; its record was never accepted and comes again",
             "path=\"%s\" bytes=%llu", out->path, (unsigned long long)(out->size - end));
    out->size = end;
    return CORE_OK;
}

static enum core_err out_adopt(struct sink_out *out, struct core_fail *fail) {
    struct stat info;
    if (fstat(out->fd, &info) != 0) {
        return fail_with(fail, out->path, "cannot look at the file");
    }
    out->dev = (uint64_t)info.st_dev;
    out->ino = (uint64_t)info.st_ino;
    out->is_regular = S_ISREG(info.st_mode);
    if (!out->is_regular) {
        return CORE_OK;
    }
    out->size = (uint64_t)info.st_size;
    out->written_ns = (int64_t)info.st_mtim.tv_sec * CORE_NS_PER_S + info.st_mtim.tv_nsec;
    if (flock(out->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            return core_fail_set(fail, CORE_LOCKED, out->path,
                                 "another process has this output open; stop it, or name another path");
        }
        if (errno != ENOLCK && errno != EOPNOTSUPP) { /* a file system without locks is no reason to refuse */
            return fail_with(fail, out->path, "cannot lock the file");
        }
    }
    enum core_err err = cut_torn_line(out, fail);
    out->committed = out->size;
    return err;
}

enum core_err sink_out_open(struct sink_out *out, const char *path, struct core_fail *fail) {
    MUST(path != NULL);
    *out = (struct sink_out){.fd = -1};
    if (strlen(path) >= sizeof out->path) {
        return core_fail_set(fail, CORE_LIMIT, path, "the path is longer than %zu bytes; name a shorter one",
                             sizeof out->path - 1);
    }
    snprintf(out->path, sizeof out->path, "%s", path);
    enum core_err err = make_folders(path, fail);
    if (err != CORE_OK) {
        return err;
    }
    bool is_new = access(path, F_OK) != 0;
    out->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, OUT_FILE_MODE);
    if (out->fd < 0) {
        return fail_with(fail, path, "cannot open the output");
    }
    err = out_adopt(out, fail);
    if (err == CORE_OK && is_new) {
        err = sync_folder(path, fail);
    }
    if (err != CORE_OK) {
        sink_out_close(out);
    }
    return err;
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

/* Vectors for as many lines as fit, from the cursor on. Returns their number. */
static int vectors_fill(struct iovec *vectors, const struct core_batch *batch, const struct sink_cursor *cursor,
                        uint32_t end) {
    static const char newline = '\n';
    int len = 0;
    size_t skip = cursor->offset;
    for (uint32_t i = cursor->index; i < end && len < 2 * OUT_LINES_PER_WRITE; i++) {
        struct core_span doc = batch->events[i].doc;
        MUST(skip <= doc.len);
        /* iov_base is not const, though writev() only reads */
        vectors[len++] = (struct iovec){.iov_base = (void *)(uintptr_t)(doc.ptr + skip), .iov_len = doc.len - skip};
        vectors[len++] = (struct iovec){.iov_base = (void *)(uintptr_t)&newline, .iov_len = 1};
        skip = 0;
    }
    return len;
}

static void cursor_advance(struct sink_cursor *cursor, const struct core_batch *batch, size_t wrote, uint64_t *whole) {
    while (wrote > 0) {
        size_t left = batch->events[cursor->index].doc.len + 1 - cursor->offset;
        if (wrote < left) {
            cursor->offset += wrote;
            return;
        }
        wrote -= left;
        *whole += batch->events[cursor->index].doc.len + 1;
        cursor->index++;
        cursor->offset = 0;
    }
}

/* A regular file must not end in half a line while it waits for room. If even that fails, the cursor stays in the middle
 * of the line and the rest follows later: as right, only less tidy. */
static void take_back_half_line(struct sink_out *out, struct sink_cursor *cursor) {
    if (out->is_regular && cursor->offset > 0 && ftruncate(out->fd, (off_t)out->size) == 0) {
        cursor->offset = 0;
    }
}

/* A pipe that somebody set to O_NONBLOCK is full: its reader is slow, which is no failure unless it lasts. */
static bool has_room_soon(int fd) {
    struct pollfd fds = {.fd = fd, .events = POLLOUT};
    return poll(&fds, 1, OUT_ROOM_TIMEOUT_MS) > 0;
}

enum core_err sink_out_write(struct sink_out *out, const struct core_batch *batch, struct sink_cursor *cursor,
                             uint32_t end, int *error, struct core_fail *fail) {
    MUST(out->fd >= 0);
    MUST(end <= batch->events_len);
    struct iovec vectors[2 * OUT_LINES_PER_WRITE];
    if (out->is_behind && sink_out_rewind(out, fail) != CORE_OK) {
        *error = errno;
        return CORE_IO;
    }
    while (cursor->index < end) {
        int len = vectors_fill(vectors, batch, cursor, end);
        ssize_t wrote = writev(out->fd, vectors, len);
        if (wrote < 0 && (errno == EINTR || (errno == EAGAIN && has_room_soon(out->fd)))) {
            continue;
        }
        if (wrote < 0) {
            *error = errno;
            take_back_half_line(out, cursor);
            errno = *error;
            return fail_with(fail, out->path, "cannot write");
        }
        out->is_dirty = true;
        cursor_advance(cursor, batch, (size_t)wrote, &out->size);
    }
    out->written_ns = core_now_ns();
    return CORE_OK;
}

enum core_err sink_out_sync(struct sink_out *out, struct core_fail *fail) {
    MUST(out->fd >= 0);
    if (out->is_behind && sink_out_rewind(out, fail) != CORE_OK) {
        return CORE_IO;
    }
    if (out->is_regular && out->is_dirty && fdatasync(out->fd) != 0) {
        return fail_with(fail, out->path, "cannot sync to the disk");
    }
    out->is_dirty = false;
    return CORE_OK;
}

enum core_err sink_out_rewind(struct sink_out *out, struct core_fail *fail) {
    MUST(out->fd >= 0);
    MUST(out->committed <= out->size);
    if (!out->is_regular) {
        return CORE_OK;
    }
    out->is_behind = true;
    if (ftruncate(out->fd, (off_t)out->committed) != 0) {
        return fail_with(fail, out->path, "cannot take back what was written since the last sync");
    }
    out->size = out->committed;
    out->is_behind = false;
    out->is_dirty = true; /* the shorter length must reach the disk too */
    return CORE_OK;
}

/* ---- names ------------------------------------------------------------------------------------------------------------ */

bool sink_out_is_due(const struct sink_out *out, const struct sink_rotation *rotation, uint64_t more, int64_t now_ns) {
    MUST(out->fd >= 0);
    if (!out->is_regular || out->size == 0) {
        return false;
    }
    if (rotation->size > 0 && out->size + more > rotation->size) {
        return true;
    }
    /* At multiples of the interval since the epoch, so that a restart changes nothing and files of many hosts match. */
    return rotation->interval_ns > 0 && out->written_ns / rotation->interval_ns < now_ns / rotation->interval_ns;
}

bool sink_out_is_moved(const struct sink_out *out) {
    MUST(out->fd >= 0);
    struct stat info;
    if (!out->is_regular) {
        return false;
    }
    return stat(out->path, &info) != 0 || (uint64_t)info.st_dev != out->dev || (uint64_t)info.st_ino != out->ino;
}

void sink_out_close(struct sink_out *out) {
    if (out->fd >= 0 && !out->is_borrowed) {
        MUST(close(out->fd) == 0 || errno == EINTR || errno == EIO || errno == ENOSPC || errno == EDQUOT);
    }
    out->fd = -1;
}

/* A name later than now: an earlier rotation had a clock that was ahead of this one. */
static void note_clock(const struct sink_out *out, const struct sink_rotated_name *name, int64_t now_ns) {
    char now[SINK_STAMP_LEN + 1];
    sink_stamp(now_ns, now);
    if (strcmp(name->stamp, now) > 0) {
        core_log(CORE_LEVEL_WARN, "sink", "the clock went back",
                 "path=\"%s\" now=%s newest=%s; a file rotated before has a later time in its name, so this one is "
                 "numbered behind it, to keep them in order; to have names of the right time, see to the clock and "
                 "rename or remove the files from the future",
                 out->path, now, name->stamp);
    }
}

enum core_err sink_out_rotate(struct sink_out *out, const struct sink_rotation *rotation, int64_t now_ns,
                              struct core_fail *fail) {
    MUST(out->is_regular && !out->is_dirty);
    MUST(out->size == out->committed);
    struct sink_rotated_name name = sink_rotated_next(out->path, now_ns);
    note_clock(out, &name, now_ns);
    char target[sizeof out->path + SINK_STAMP_LEN + 32];
    for (;; name.n++) {
        int len = name.n == 0 ? snprintf(target, sizeof target, "%s.%s", out->path, name.stamp)
                              : snprintf(target, sizeof target, "%s.%s.%lu", out->path, name.stamp, name.n);
        MUST(len > 0 && (size_t)len < sizeof target);
        if (renameat2(AT_FDCWD, out->path, AT_FDCWD, target, RENAME_NOREPLACE) == 0) {
            break;
        }
        if (errno == EINVAL && access(target, F_OK) != 0 && rename(out->path, target) == 0) {
            break; /* a file system without RENAME_NOREPLACE; nobody else makes such names */
        }
        if (errno != EEXIST && errno != EINVAL) {
            return fail_with(fail, out->path, "cannot rename the full file away");
        }
    }
    struct core_fail unsynced;
    if (sync_folder(target, &unsynced) !=
        CORE_OK) { /* after a crash the old name may be back: nothing is lost by that */
        core_log_fail(CORE_LEVEL_WARN, "sink",
                      "output rotated; its new name may not survive a crash of the machine, its documents do",
                      &unsynced);
    }
    core_log(CORE_LEVEL_INFO, "sink", "output rotated", "path=\"%s\" to=\"%s\" bytes=%llu", out->path, target,
             (unsigned long long)out->size);
    sink_out_close(out);
    sink_rotated_trim(out->path, rotation->keep);
    return CORE_OK;
}
