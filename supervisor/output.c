/* supervisor/output.c: what processes print goes to files, and the files are kept short.
 *
 * A process has its files open with O_APPEND and goes on writing while they are cut. Nobody asks it to open them anew, nobody
 * stops it, and no byte of what is to remain is lost or doubled, because the cut is one step of the kernel under the same lock
 * that an appending write(2) takes (fallocate(2)):
 *
 *   FALLOC_FL_COLLAPSE_RANGE  ext4, XFS: the front is taken out; what is left moves to offset 0. Whole blocks only: of the line
 *                             that the cut goes through, the rest (at most up to the first line's end) becomes blanks.
 *   FALLOC_FL_PUNCH_HOLE      Btrfs, tmpfs, ZFS and others: the front becomes a hole that takes no space; the length stays, and
 *                             grows; a reader from the start sees NULs before the first line.
 *
 * A file system that can do neither (vfat, NFS before 4.2) leaves files as they are, with a warning: losing lines is worse.
 * Copying the tail and truncating, as logrotate's copytruncate does, loses what is written in between: it is not done.
 *
 * The Supervisor may be root, and directory and files are the process's own user's: what is cut must be a regular file of that
 * user, with one name, and no link is followed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define OUTPUT_LINE_BYTES_MAX ((size_t)64 * 1024) /* a longer one is cut where it is */
#define OUTPUT_BLOCK_BYTES 4096
#define OUTPUT_SECTOR_BYTES 512 /* of st_blocks */

void supervisor_output_path(const struct supervisor_spec *spec, int which, char out[SUPERVISOR_PATH_BYTES_MAX]) {
    MUST(spec != NULL);
    MUST(which == 0 || which == 1);
    const char *directory = spec->output.directory != NULL ? spec->output.directory : spec->cwd;
    directory = directory == NULL || strcmp(directory, "/") == 0 ? "" : directory;
    int len = snprintf(out, SUPERVISOR_PATH_BYTES_MAX, "%s/%s.log", directory, which == 0 ? "stdout" : "stderr");
    if (len < 0 || len >= SUPERVISOR_PATH_BYTES_MAX) {
        out[0] = '\0'; /* no such file, not another one */
    }
}

/* Bytes that it takes: its length, or less where there is a hole in front. */
static uint64_t used_bytes(const struct stat *st) {
    uint64_t blocks = (uint64_t)st->st_blocks * OUTPUT_SECTOR_BYTES;
    return blocks < (uint64_t)st->st_size ? blocks : (uint64_t)st->st_size;
}

/* How many bytes from offset on up to and with the next '\n'; 0: none within a line's maximum. */
static size_t line_rest(int fd, off_t offset) {
    char bytes[OUTPUT_BLOCK_BYTES];
    for (size_t done = 0; done < OUTPUT_LINE_BYTES_MAX;) {
        ssize_t len = pread(fd, bytes, sizeof bytes, offset + (off_t)done);
        if (len <= 0) {
            return 0;
        }
        const char *end = memchr(bytes, '\n', (size_t)len);
        if (end != NULL) {
            return done + (size_t)(end - bytes) + 1;
        }
        done += (size_t)len;
    }
    return 0;
}

/* The rest of a cut line at the start of the file becomes blanks. If it fails, that line is seen cut: no harm. */
static void blank_write(int fd, size_t len) {
    char blanks[OUTPUT_BLOCK_BYTES];
    memset(blanks, ' ', sizeof blanks);
    for (size_t done = 0; done < len;) {
        size_t step = len - done < sizeof blanks ? len - done : sizeof blanks;
        ssize_t wrote = pwrite(fd, blanks, step, (off_t)done);
        if (wrote <= 0) {
            return;
        }
        done += (size_t)wrote;
    }
}

/* Take the front out, whole blocks, so that at least keep bytes are left. Returns the bytes; 0: cannot. */
static uint64_t front_collapse(int fd, const struct stat *st, uint64_t keep) {
    uint64_t block = st->st_blksize > OUTPUT_BLOCK_BYTES ? (uint64_t)st->st_blksize : OUTPUT_BLOCK_BYTES;
    uint64_t cut = ((uint64_t)st->st_size - keep) / block * block;
    if (cut == 0) {
        return 0;
    }
    char before;
    bool is_line_start = pread(fd, &before, 1, (off_t)cut - 1) == 1 && before == '\n';
    size_t rest = is_line_start ? 0 : line_rest(fd, (off_t)cut);
    /* A collapse alone would write all that is about to go to the disk first: seconds in a flood, and we wait for it. A hole
     * drops it. */
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)cut);
    if (fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, (off_t)cut) != 0) {
        return 0;
    }
    if (rest > 1) {
        blank_write(fd, rest - 1);
    }
    return cut;
}

/* Make the front a hole. */
static bool front_punch(int fd, const struct stat *st, uint64_t keep) {
    off_t cut = st->st_size - (off_t)keep;
    cut += (off_t)line_rest(fd, cut);
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, cut) == 0;
}

uint64_t supervisor_output_trim(const struct supervisor_spec *spec, int which) {
    MUST(spec != NULL);
    char path[SUPERVISOR_PATH_BYTES_MAX];
    struct stat st;
    struct supervisor_user user;
    supervisor_output_path(spec, which, path);
    if (spec->output.bytes_max == 0 || lstat(path, &st) != 0 || used_bytes(&st) <= spec->output.bytes_max) {
        return 0; /* the usual case: one call */
    }
    if (supervisor_user_find(spec->user, &user, NULL) != CORE_OK) {
        return 0; /* the user was deleted meanwhile: the next start says so */
    }
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    uint64_t moved = 0;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_uid != user.uid) {
        core_log(
            CORE_LEVEL_WARN, "supervise",
            "output is not trimmed: it must be a file of the process's own user, under one name; the disk may fill up",
            "file=%s process=%s user=%s", path, spec->name, user.name);
        goto out;
    }
    uint64_t keep = spec->output.bytes_max / 2;
    moved = front_collapse(fd, &st, keep);
    if (moved == 0 && !front_punch(fd, &st, keep)) {
        core_log(
            CORE_LEVEL_WARN, "supervise",
            "output is not trimmed: this file system can take nothing out of a file that is being written; use another "
            "one for it (ext4, XFS, Btrfs), or the disk may fill up",
            "file=%s bytes=%ju reason=\"%s\"", path, (uintmax_t)st.st_size, strerror(errno));
    }
out:
    if (fd >= 0) {
        close(fd);
    }
    return moved;
}
