/* cmd/pipeline_state.c: the state directory belongs to one process at a time.
 *
 * The lock is flock(2) on a file (`lock`; a feeder's is `feed-0` or the next one), not the file itself: the kernel lets go of it when its holder dies, however it
 * dies, so a stale lock cannot exist. The pid in the file is for people.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pipeline_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE_DIR_MODE 0750
#define LOCK_FILE_MODE 0640
#define PATH_BYTES_MAX 4096
#define PID_BYTES_MAX 32

static enum core_err dir_make(const char *dir, struct core_fail *fail) {
    struct stat st;
    if (mkdir(dir, STATE_DIR_MODE) == 0) {
        core_log(CORE_LEVEL_INFO, "run", "state directory made", "path=%s", dir);
        return CORE_OK;
    }
    if (errno == EEXIST && stat(dir, &st) == 0) {
        return S_ISDIR(st.st_mode) ? CORE_OK
                                   : core_fail_set(fail, CORE_IO, dir,
                                                   "node.state is no directory; name another or move the file away");
    }
    if (errno == ENOENT) {
        return core_fail_set(
            fail, CORE_IO, dir,
            "node.state and the directory above it do not exist; make the one above (tapline makes the "
            "last part itself), or set node.state");
    }
    return core_fail_errno(fail, dir, "cannot make node.state; make it for this user, or set node.state");
}

/* The holder's pid as text, or "unknown" in the moment before it has written it. */
static void holder_read(int fd, char text[PID_BYTES_MAX]) {
    ssize_t len = pread(fd, text, PID_BYTES_MAX - 1, 0);
    text[len > 0 ? len : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (text[0] == '\0') {
        (void)snprintf(text, PID_BYTES_MAX, "unknown");
    }
}

enum core_err pipeline_state_lock(const char *dir, const char *name, int *lock_fd, struct core_fail *fail) {
    MUST(dir != NULL);
    MUST(lock_fd != NULL);
    enum core_err err = dir_make(dir, fail);
    if (err != CORE_OK) {
        return err;
    }
    char path[PATH_BYTES_MAX];
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path)) {
        return core_fail_set(fail, CORE_IO, dir, "node.state is longer than %d bytes", PATH_BYTES_MAX);
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, LOCK_FILE_MODE);
    if (fd < 0) {
        return core_fail_errno(fail, path, "cannot open the lock of node.state; see to the directory's owner and mode");
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            char pid[PID_BYTES_MAX];
            holder_read(fd, pid);
            err = core_fail_set(fail, CORE_LOCKED, path,
                                "process %s already runs on this node.state; stop it first, or give each its own", pid);
        } else {
            err = core_fail_errno(fail, path, "cannot lock node.state; it must be on a file system with flock");
        }
        goto out;
    }
    char pid[PID_BYTES_MAX];
    int len = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
    /* On a full disk the file stays empty. That costs the pid in a message, so it is no reason not to start. */
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)len, 0) != len) {
        core_log(CORE_LEVEL_WARN, "run", "the lock has no pid in it", "path=%s error=\"%s\"", path, strerror(errno));
    }
    *lock_fd = fd;
    fd = -1;
out:
    if (fd >= 0) {
        (void)close(fd);
    }
    return err;
}
