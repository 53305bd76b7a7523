/* core/core.c: how failures are said: MUST() for our own bugs, struct core_fail for the world's.
 *
 * Neither allocates nor locks, so both can be used from any thread and in any state. A text that does not fit is cut.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void core_must_fail(const char *expr, const char *file, int line) {
    char text[512];
    int len = snprintf(text, sizeof text,
                       "%s:%d: MUST(%s): a bug in tapline; it stops here and a restart goes on from "
                       "the checkpoint. Please report this line.",
                       file, line, expr);
    if (len > 0 && !core_log_bug(text)) {
        /* write(2), not stdio: a lock of stdio's may be held by whoever is broken. */
        size_t want = (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
        text[want] = '\n';
        ssize_t wrote = write(STDERR_FILENO, text, want + 1);
        (void)wrote; /* nowhere left to say it */
    }
    abort();
}

static enum core_err fail_fill(struct core_fail *fail, enum core_err err, const char *where, const char *fmt,
                               va_list args) {
    MUST(err != CORE_OK);
    if (fail == NULL) {
        return err;
    }
    fail->err = err;
    snprintf(fail->where, sizeof fail->where, "%s", where == NULL ? "" : where);
    vsnprintf(fail->text, sizeof fail->text, fmt, args);
    return err;
}

enum core_err core_fail_set(struct core_fail *fail, enum core_err err, const char *where, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    enum core_err result = fail_fill(fail, err, where, fmt, args);
    va_end(args);
    return result;
}

/* What a person can do about an errno that has one usual reason; the others' texts speak for themselves. */
static const struct {
    int number;
    const char *help;
} errno_helps[] = {
    {ENOSPC, "free some space there"},
    {EDQUOT, "the quota is used up: raise it, or free some space there"},
    {EROFS, "the file system is mounted read-only: the kernel's log (dmesg) says why; mount it read-write again"},
    {EIO, "the disk or its file system has a fault: the kernel's log (dmesg) says which"},
    {EACCES, "give the user that tapline runs as permission for it and for the directories above it"},
    {EPERM, "it may be immutable or append-only (lsattr), or the service manager forbids it"},
    {EFBIG, "no file may grow beyond this: raise the limit (ulimit -f, LimitFSIZE=)"},
    {EMFILE, "raise the limit of open files (ulimit -n, LimitNOFILE=)"},
    {ENFILE, "the machine's limit of open files is reached: raise fs.file-max"},
    {ENOMEM, "memory is used up: see what else runs, or raise the limit (MemoryMax=)"},
    {ESTALE, "the server of this network file system no longer knows it: mount it again"},
    {ENOTCONN, "what serves this file system is gone: mount it again"},
    {EHOSTDOWN, "what serves this file system does not answer: see to it"},
    {ETIMEDOUT, "what serves this file system does not answer: see to it"},
    {ELOOP, "its symbolic links lead in a circle"},
};

const char *core_errno_help(int number) {
    for (size_t i = 0; i < sizeof errno_helps / sizeof errno_helps[0]; i++) {
        if (errno_helps[i].number == number) {
            return errno_helps[i].help;
        }
    }
    return NULL;
}

enum core_err core_fail_errno(struct core_fail *fail, const char *where, const char *fmt, ...) {
    int number = errno; /* before anything can change it */
    va_list args;
    va_start(args, fmt);
    enum core_err result = fail_fill(fail, CORE_IO, where, fmt, args);
    va_end(args);
    if (fail != NULL) {
        size_t len = strlen(fail->text);
        const char *help = core_errno_help(number);
        snprintf(fail->text + len, sizeof fail->text - len, ": %s%s%s",
                 strerrordesc_np(number) == NULL ? "unknown error" : strerrordesc_np(number), help == NULL ? "" : "; ",
                 help == NULL ? "" : help);
    }
    errno = number;
    return result;
}
