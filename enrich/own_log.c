/* enrich/own_log.c: a log of our own: lines of JSON, each with an id that is the same whenever the same is told.
 *
 * tapline reads it as it reads any log, so that what is in it is delivered exactly once by what there is already
 * (positions, transactions, ledger). What is left to this side is that a line stands in it once. So the ids of all lines
 * that the log and its older files have are kept in memory, and read again at a start; what was written but not known to
 * be so before a crash is found there.
 *
 * What stands in the file may have been read, so nothing of it is ever cut or written again while this process runs: a disk
 * that fills up in the midst of a line leaves it half, and the other half comes behind it when there is room.
 *
 * Crash: lines are whole or cut; a cut last one is removed at the next start, before anything is appended: its reader has
 * not taken it, because it had no end. Thread: its owner's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/lookback_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define FOLDER_MODE 0750
#define FILE_MODE 0640
#define IDS_MIN 1024
#define ID_DIGITS 16

/* 64-bit ids; 0 is an empty slot. */
struct ids {
    uint64_t *slots;
    size_t cap; /* a power of two */
    size_t len;
};

struct own_log {
    char path[PATH_BYTES];
    int fd;
    uint64_t bytes; /* of the file */
    struct ids ids;
    char *buf; /* OWN_LOG_BUF_BYTES; added */
    size_t buf_len;
    size_t written;   /* of buf, to the file */
    bool is_unsynced; /* the file has what may not be on the disk */
};

/* ---- ids ---------------------------------------------------------------------------------------------------------------------- */

static size_t ids_slot(const struct ids *ids, uint64_t id) {
    size_t at = (size_t)id & (ids->cap - 1);
    while (ids->slots[at] != 0 && ids->slots[at] != id) {
        at = (at + 1) & (ids->cap - 1);
    }
    return at;
}

static void ids_add(struct ids *ids, uint64_t id) {
    if (ids->len * 2 >= ids->cap) {
        struct ids grown = {.cap = ids->cap == 0 ? IDS_MIN : ids->cap * 2};
        grown.slots = calloc(grown.cap, sizeof *grown.slots);
        MUST(grown.slots != NULL);
        for (size_t i = 0; i < ids->cap; i++) {
            if (ids->slots[i] != 0) {
                grown.slots[ids_slot(&grown, ids->slots[i])] = ids->slots[i];
                grown.len++;
            }
        }
        free(ids->slots);
        *ids = grown;
    }
    size_t at = ids_slot(ids, id);
    ids->len += ids->slots[at] == 0;
    ids->slots[at] = id;
}

static bool id_read(struct core_span line, uint64_t *id) {
    static const char head[] = "{\"id\":\"";
    const size_t head_len = sizeof head - 1;
    *id = 0;
    if (line.len < head_len + ID_DIGITS || memcmp(line.ptr, head, head_len) != 0) {
        return false;
    }
    for (size_t i = head_len; i < head_len + ID_DIGITS; i++) {
        char c = line.ptr[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) {
            return false;
        }
        *id = *id << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return true;
}

bool own_log_has(const struct own_log *log, uint64_t id) {
    return log->ids.cap > 0 && log->ids.slots[ids_slot(&log->ids, id)] == id;
}

/* ---- what is there ------------------------------------------------------------------------------------------------------------ */

/* The ids of a file's lines, and where the last whole one ends. A file that is not there has none. */
static enum core_err ids_load(struct ids *ids, const char *path, uint64_t *end, struct core_fail *fail) {
    *end = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return errno == ENOENT ? CORE_OK : core_fail_errno(fail, path, "cannot read our own log");
    }
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    while ((len = getline(&line, &cap, file)) > 0 && line[len - 1] == '\n') {
        uint64_t id;
        *end += (uint64_t)len;
        if (id_read((struct core_span){line, (size_t)len}, &id)) {
            ids_add(ids, id);
        }
    }
    bool is_broken = ferror(file) != 0;
    free(line);
    (void)fclose(file);
    return is_broken ? core_fail_errno(fail, path, "cannot read our own log") : CORE_OK;
}

static void older_path(const struct own_log *log, int number, char out[PATH_BYTES + 16]) {
    (void)snprintf(out, PATH_BYTES + 16, number == 0 ? "%s" : "%s.%d", log->path, number);
}

/* After an error those that were known before still are. */
static enum core_err ids_load_all(struct own_log *log, uint64_t *end, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    struct ids ids = {0};
    for (int number = OWN_LOG_KEPT; err == CORE_OK && number >= 0; number--) {
        char path[PATH_BYTES + 16];
        older_path(log, number, path);
        err = ids_load(&ids, path, end, fail);
    }
    free(err == CORE_OK ? log->ids.slots : ids.slots);
    log->ids = err == CORE_OK ? ids : log->ids;
    return err;
}

static enum core_err file_open(struct own_log *log, uint64_t end, struct core_fail *fail) {
    log->fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, FILE_MODE);
    if (log->fd < 0) {
        return core_fail_errno(fail, log->path, "cannot open our own log");
    }
    struct stat info;
    if (fstat(log->fd, &info) != 0 || ((uint64_t)info.st_size > end && ftruncate(log->fd, (off_t)end) != 0)) {
        return core_fail_errno(fail, log->path, "cannot cut off the line that a crash left half");
    }
    log->bytes = end;
    return CORE_OK;
}

enum core_err own_log_open(struct own_log **out, const char *dir, const char *name, struct core_fail *fail) {
    struct own_log *log = calloc(1, sizeof *log);
    uint64_t end = 0;
    MUST(log != NULL);
    *out = NULL;
    log->fd = -1;
    log->buf = malloc(OWN_LOG_BUF_BYTES);
    MUST(log->buf != NULL);
    (void)snprintf(log->path, sizeof log->path, "%s/%s.log", dir, name);
    enum core_err err = CORE_OK;
    if (mkdir(dir, FOLDER_MODE) != 0 && errno != EEXIST) {
        err = core_fail_errno(fail, dir, "cannot make the folder of our own logs");
    }
    err = err == CORE_OK ? ids_load_all(log, &end, fail) : err;
    err = err == CORE_OK ? file_open(log, end, fail) : err;
    if (err != CORE_OK) {
        own_log_close(log);
        return err;
    }
    *out = log;
    return CORE_OK;
}

void own_log_close(struct own_log *log) {
    if (log == NULL) {
        return;
    }
    if (log->fd >= 0) {
        (void)close(log->fd);
    }
    free(log->ids.slots);
    free(log->buf);
    free(log);
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------ */

enum core_err own_log_add(struct own_log *log, uint64_t id, struct core_span line, struct core_fail *fail) {
    uint64_t said;
    MUST(id_read(line, &said) && said == id);
    MUST(line.len < OWN_LOG_BUF_BYTES);
    if (OWN_LOG_BUF_BYTES - log->buf_len < line.len + 1) {
        enum core_err err = own_log_flush(log, fail);
        if (err != CORE_OK) {
            return err;
        }
    }
    memcpy(log->buf + log->buf_len, line.ptr, line.len);
    log->buf_len += line.len;
    log->buf[log->buf_len++] = '\n';
    ids_add(&log->ids, id);
    return CORE_OK;
}

/* The oldest goes. What still reads it by its descriptor reads it to its end. */
static enum core_err rotate(struct own_log *log, struct core_fail *fail) {
    for (int number = OWN_LOG_KEPT - 1; number >= 0; number--) {
        char from[PATH_BYTES + 16];
        char to[PATH_BYTES + 16];
        older_path(log, number, from);
        older_path(log, number + 1, to);
        if (rename(from, to) != 0 && errno != ENOENT) {
            return core_fail_errno(fail, from, "cannot rename our own log to %s", to);
        }
    }
    (void)close(log->fd);
    log->fd = -1;
    enum core_err err = file_open(log, 0, fail);
    uint64_t end;
    struct core_fail ignored; /* those of the oldest are forgotten now, or the next time */
    bool is_read CORE_UNUSED = err == CORE_OK && ids_load_all(log, &end, &ignored) == CORE_OK;
    return err;
}

static enum core_err buf_write(struct own_log *log, struct core_fail *fail) {
    while (log->written < log->buf_len) {
        ssize_t wrote = write(log->fd, log->buf + log->written, log->buf_len - log->written);
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote < 0) {
            return core_fail_errno(fail, log->path, "cannot append to our own log");
        }
        log->written += (size_t)wrote;
        log->bytes += (uint64_t)wrote;
        log->is_unsynced = true;
    }
    log->buf_len = log->written = 0;
    return CORE_OK;
}

enum core_err own_log_flush(struct own_log *log, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    if (log->fd < 0) { /* a rotation failed half-way: the name is free */
        err = file_open(log, 0, fail);
    }
    err = err == CORE_OK ? buf_write(log, fail) : err;
    if (err == CORE_OK && log->is_unsynced) {
        err = fdatasync(log->fd) == 0 ? CORE_OK : core_fail_errno(fail, log->path, "cannot fdatasync our own log");
        log->is_unsynced = err != CORE_OK;
    }
    return err == CORE_OK && log->bytes > OWN_LOG_BYTES_MAX ? rotate(log, fail) : err;
}
