/* tests/fault/world_shim.c: a world that fails when a test says so, preloaded into tapline (LD_PRELOAD).
 *
 * For faults that a real disk or a real clock cannot be asked for without doing it to the whole machine: a sector that
 * cannot be read just now, a sync that fails, a clock that jumps while threads sleep by it. Where the kernel can be asked
 * (full and read-only file systems, modes, limits, inotify's own limits), the tests ask the kernel, not this.
 *
 * WORLD names a file of 4 KiB that the test writes and we only read (struct world below; tests/fault/worlds.py has the same
 * layout). Everything else passes through. A thread that waits for a moment of the clock waits as it would in the kernel:
 * until that moment of the clock as it is by then.
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

enum {
    OP_READ = 1,
    OP_WRITE = 2,
    OP_SYNC = 4,
    OP_OPEN = 8,
    OP_STAT = 16,
    OP_TRUNCATE = 32,
    OP_RENAME = 64,
    OP_REMOTE = 128
};

struct fault {
    uint32_t ops;
    int32_t error;
    int64_t from;   /* OP_READ: bytes from here on */
    char part[240]; /* of the path */
};

struct world {
    volatile int64_t clock_ns; /* added to CLOCK_REALTIME */
    volatile uint32_t faults_len;
    uint32_t unused;
    struct fault faults[8];
};

static const struct world *world(void) {
    static const struct world *is;
    if (is == NULL) {
        const char *path = getenv("WORLD");
        int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct world), PROT_READ, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED) {
            fputs("world_shim: WORLD names no file of a world\n", stderr);
            abort();
        }
        is = at;
    }
    return is;
}

#define REAL(name)                                                                                                     \
    static __typeof__(&name) real;                                                                                     \
    if (real == NULL) {                                                                                                \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                                             \
    }

static const struct fault *fault_of(uint32_t op, const char *path) {
    for (uint32_t i = 0; i < world()->faults_len; i++) {
        const struct fault *fault = &world()->faults[i];
        if ((fault->ops & op) != 0 && path != NULL && strstr(path, fault->part) != NULL) {
            return fault;
        }
    }
    return NULL;
}

static const struct fault *fault_of_fd(uint32_t op, int fd) {
    if (world()->faults_len == 0) {
        return NULL;
    }
    char link[64];
    char path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    path[len < 0 ? 0 : len] = '\0';
    return fault_of(op, path);
}

#define FAIL_IF(maybe)                                                                                                 \
    do {                                                                                                               \
        const struct fault *found = (maybe);                                                                           \
        if (found != NULL) {                                                                                           \
            errno = found->error;                                                                                      \
            return -1;                                                                                                 \
        }                                                                                                              \
    } while (0)

/* ---- files --------------------------------------------------------------------------------------------------------- */

int open(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (real == NULL) {
        real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    }
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    const char *own = getenv("WORLD");
    if (own == NULL || strcmp(own, path) != 0) {
        FAIL_IF(fault_of(OP_OPEN, path));
    }
    return real(path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...) {
    static int (*real)(int, const char *, int, ...);
    if (real == NULL) {
        real = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat");
    }
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    FAIL_IF(fault_of(OP_OPEN, path));
    if (dir >= 0) {
        FAIL_IF(fault_of_fd(OP_OPEN, dir));
    }
    return real(dir, path, flags, mode);
}

/* Bytes before a bad place are read as they are. */
static size_t readable(const struct fault *fault, size_t len, off_t at) {
    return at >= fault->from ? 0 : (size_t)(fault->from - at) < len ? (size_t)(fault->from - at) : len;
}

ssize_t pread(int fd, void *to, size_t len, off_t at) {
    REAL(pread)
    const struct fault *fault = fault_of_fd(OP_READ, fd);
    if (fault != NULL) {
        len = readable(fault, len, at);
        FAIL_IF(len == 0 ? fault : NULL);
    }
    return real(fd, to, len, at);
}

ssize_t read(int fd, void *to, size_t len) {
    REAL(read)
    const struct fault *fault = fault_of_fd(OP_READ, fd);
    FAIL_IF(fault != NULL && fault->from == 0 ? fault : NULL);
    return real(fd, to, len);
}

ssize_t write(int fd, const void *from, size_t len) {
    REAL(write)
    FAIL_IF(fd == STDERR_FILENO ? NULL : fault_of_fd(OP_WRITE, fd));
    return real(fd, from, len);
}

ssize_t writev(int fd, const struct iovec *from, int len) {
    REAL(writev)
    FAIL_IF(fault_of_fd(OP_WRITE, fd));
    return real(fd, from, len);
}

int fsync(int fd) {
    REAL(fsync)
    FAIL_IF(fault_of_fd(OP_SYNC, fd));
    return real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync)
    FAIL_IF(fault_of_fd(OP_SYNC, fd));
    return real(fd);
}

int ftruncate(int fd, off_t len) {
    REAL(ftruncate)
    FAIL_IF(fault_of_fd(OP_TRUNCATE, fd));
    return real(fd, len);
}

int stat(const char *restrict path, struct stat *restrict out) {
    REAL(stat)
    FAIL_IF(fault_of(OP_STAT, path));
    return real(path, out);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    REAL(renameat)
    if (from_dir >= 0) {
        FAIL_IF(fault_of_fd(OP_RENAME, from_dir));
    }
    return real(from_dir, from, to_dir, to);
}

/* As another machine's: statfs(2) says so (error: which kind), and inotify takes a watch that tells nothing. */
int statfs(const char *path, struct statfs *out) {
    REAL(statfs)
    int rc = real(path, out);
    const struct fault *fault = fault_of(OP_REMOTE, path);
    if (rc == 0 && fault != NULL) {
        out->f_type = fault->error;
    }
    return rc;
}

int inotify_add_watch(int fd, const char *path, uint32_t mask) {
    REAL(inotify_add_watch)
    return real(fd, path, fault_of(OP_REMOTE, path) != NULL ? (mask & IN_ONLYDIR) | IN_DELETE_SELF : mask);
}

/* ---- the clock ----------------------------------------------------------------------------------------------------- */

#define NS_PER_S 1000000000LL
#define SLICE_NS 5000000LL

static int64_t ns_of(const struct timespec *at) {
    return at->tv_sec * NS_PER_S + at->tv_nsec;
}

static struct timespec timespec_of(int64_t ns) {
    return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

static int real_gettime(clockid_t clock, struct timespec *out) {
    REAL(clock_gettime)
    return real(clock, out);
}

int clock_gettime(clockid_t clock, struct timespec *out) {
    int rc = real_gettime(clock, out);
    if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        *out = timespec_of(ns_of(out) + world()->clock_ns);
    }
    return rc;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    (void)zone;
    struct timespec now;
    int rc = clock_gettime(CLOCK_REALTIME, &now);
    *out = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return rc;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}

int timespec_get(struct timespec *out, int base) {
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, out) == 0 ? base : 0;
}

/* The next moment of the real clock to look at ours, at most until `until` of ours. false: that is over. */
static _Bool slice(const struct timespec *until, struct timespec *out) {
    struct timespec real_now;
    real_gettime(CLOCK_REALTIME, &real_now);
    int64_t left = ns_of(until) - (ns_of(&real_now) + world()->clock_ns);
    *out = timespec_of(ns_of(&real_now) + (left < SLICE_NS ? left : SLICE_NS));
    return left > 0;
}

/* A wake-up too many is allowed by both standards, one too few is not: so a slice's end is no wake-up. */
int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict lock,
                           const struct timespec *restrict until) {
    REAL(pthread_cond_timedwait)
    struct timespec next;
    while (slice(until, &next)) {
        int rc = real(cond, lock, &next);
        if (rc != ETIMEDOUT) {
            return rc;
        }
    }
    return ETIMEDOUT;
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict lock, const struct timespec *restrict until) {
    REAL(cnd_timedwait)
    struct timespec next;
    while (slice(until, &next)) {
        int rc = real(cond, lock, &next);
        if (rc != thrd_timedout) {
            return rc;
        }
    }
    return thrd_timedout;
}
