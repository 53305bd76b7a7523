/* core/health_log.c: the health log: a line each interval and at each change, to a file and to the topic.
 *
 * <log_dir>/health-<process>.ndjson; of feeders health-feed-<instance>.ndjson. A file that has reached its size becomes .1. If
 * somebody else renames or removes it, a new one is begun. A disk that is full, or a directory that may not be written, stops
 * nothing: the line is counted, it is said once, and the next line is tried again; a line that came only half is cut off.
 *
 * Crash: a cut last line is completed by nobody; the next process begins on a line of its own.
 * Thread: the process's main thread; writes are a few hundred bytes each ten seconds to the disk of node.state.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_log_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define FILE_MODE 0640
#define FOLDER_MODE 0750

struct core_health_log {
    char path[PATH_BYTES]; /* "": no file, for there is no directory */
    char folder[PATH_BYTES];
    int fd; /* -1: not open */
    dev_t dev;
    ino_t ino;
    uint64_t bytes;
    bool is_torn; /* the file ends within a line */
    bool is_unwritable;
    char why[512];
    uint64_t written, unwritten;
    uint64_t number; /* of lines, from 1 on */
    int64_t line_ns; /* core_tick_ns() of the last one; 0: none */
    struct health_before before;
    struct core_health_page *page;
    struct health_topic *topic; /* NULL: none */
    char line[HEALTH_LINE_BYTES + 1];
};

/* ---- the file ---------------------------------------------------------------------------------------------------------------- */

static void file_close(struct core_health_log *log) {
    if (log->fd >= 0) {
        (void)close(log->fd);
        log->fd = -1;
    }
}

/* Does it end within a line? Its writer was killed, then, or its disk was full. */
static bool ends_within_a_line(const char *path, off_t size) {
    char last = '\n';
    int fd = size > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        last = pread(fd, &last, 1, size - 1) == 1 ? last : '\n';
        (void)close(fd);
    }
    return last != '\n';
}

static enum core_err file_open(struct core_health_log *log, struct core_fail *fail) {
    struct stat info;
    if (log->fd >= 0 && (stat(log->path, &info) != 0 || info.st_ino != log->ino || info.st_dev != log->dev)) {
        file_close(log);
    }
    if (log->fd >= 0) {
        return CORE_OK;
    }
    (void)mkdir(log->folder, FOLDER_MODE); /* that it cannot be made is seen by what follows */
    log->fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (log->fd < 0) {
        return core_fail_errno(fail, log->path, "cannot open the health log");
    }
    if (fstat(log->fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        file_close(log);
        return core_fail_set(fail, CORE_IO, log->path, "the health log is no regular file; remove what is there");
    }
    log->dev = info.st_dev;
    log->ino = info.st_ino;
    log->bytes = (uint64_t)info.st_size;
    log->is_torn = ends_within_a_line(log->path, info.st_size);
    return CORE_OK;
}

static enum core_err file_rotate(struct core_health_log *log, struct core_fail *fail) {
    char older[PATH_BYTES + 4];
    (void)snprintf(older, sizeof older, "%s.1", log->path);
    if (rename(log->path, older) != 0) {
        return core_fail_errno(fail, log->path, "cannot rename the health log to .1");
    }
    file_close(log);
    return file_open(log, fail);
}

/* The line with its newline; all of it or nothing, as far as the file goes. */
static enum core_err file_append(struct core_health_log *log, struct core_span line, uint64_t bytes_max,
                                 struct core_fail *fail) {
    enum core_err err = file_open(log, fail);
    if (err == CORE_OK && log->bytes > 0 && log->bytes + line.len > bytes_max) {
        err = file_rotate(log, fail);
    }
    if (err == CORE_OK && log->is_torn) {
        if (write(log->fd, "\n", 1) != 1) {
            return core_fail_errno(fail, log->path, "cannot write the health log");
        }
        log->bytes++;
        log->is_torn = false;
    }
    if (err != CORE_OK) {
        return err;
    }
    errno = ENOSPC; /* what a short write means */
    ssize_t wrote = write(log->fd, line.ptr, line.len);
    if (wrote == (ssize_t)line.len) {
        log->bytes += line.len;
        return CORE_OK;
    }
    err = core_fail_errno(fail, log->path, "cannot write the health log");
    if (wrote > 0 && ftruncate(log->fd, (off_t)log->bytes) != 0) {
        log->bytes += (uint64_t)wrote;
        log->is_torn = true;
    }
    return err;
}

static void file_write(struct core_health_log *log, struct core_span line, uint64_t bytes_max) {
    struct core_fail fail;
    if (log->path[0] == '\0') {
        return;
    }
    if (file_append(log, line, bytes_max, &fail) == CORE_OK) {
        if (log->is_unwritable) {
            core_log(CORE_LEVEL_INFO, "health", "the health log is written again", "path=\"%s\" lines_missing=%llu",
                     log->path, (unsigned long long)log->unwritten);
        }
        log->is_unwritable = false;
        log->written++;
        return;
    }
    if (!log->is_unwritable) {
        core_log_fail(CORE_LEVEL_WARN, "health",
                      "cannot write the health log; nothing waits for it, and each line is tried", &fail);
    }
    log->is_unwritable = true;
    log->unwritten++;
    (void)snprintf(log->why, sizeof log->why, "%.200s: %.300s", fail.where, fail.text);
}

/* ---- lines -------------------------------------------------------------------------------------------------------------------- */

static void line_tell(struct core_health *health, enum health_line why) {
    struct core_health_log *log = health->log;
    struct core_buf out = {.start = log->line, .pos = log->line, .end = log->line + HEALTH_LINE_BYTES};
    health_line_write(health, why, core_now_ns(), &log->before, &out);
    log->number++;
    log->line_ns = core_tick_ns();
    struct core_span line = core_buf_written(&out);
    if (log->topic != NULL) {
        health_topic_send(log->topic, line, log->number);
    }
    log->line[line.len++] = '\n';
    file_write(log, line, health->conf.log_bytes_max);
}

static void row_write(struct core_health_log *log) {
    core_health_begin(log->page);
    struct core_health_row *row = core_health_add(log->page, CORE_HEALTH_HEALTHLOG, NULL, NULL, NULL);
    if (log->path[0] != '\0') {
        core_health_set(row, CORE_HEALTHLOG_LINES, (int64_t)log->written);
        core_health_set(row, CORE_HEALTHLOG_UNWRITTEN, (int64_t)log->unwritten);
        core_health_set(row, CORE_HEALTHLOG_SIZE, (int64_t)log->bytes);
    }
    if (log->is_unwritable) {
        core_health_complain(log->page, "log_unwritable", CORE_HEALTH_PROCESS, NULL, NULL, NULL,
                             "the health log cannot be written (%llu lines are missing): %s",
                             (unsigned long long)log->unwritten, log->why);
    }
    if (log->topic != NULL) {
        health_topic_turn(log->topic, log->page, row);
    }
    core_health_publish(log->page);
}

static struct core_health_log *log_new(struct core_health *health) {
    struct core_health_log *log = calloc(1, sizeof(*log));
    MUST(log != NULL);
    log->fd = -1;
    const char *folder = health->conf.log_dir != NULL ? health->conf.log_dir : health->env.state;
    if (folder != NULL && folder[0] != '\0') {
        char number[16] = "";
        if (strcmp(health->env.process, "feed") == 0) {
            (void)snprintf(number, sizeof number, "-%u", health->env.instance);
        }
        int folder_len = snprintf(log->folder, sizeof log->folder, "%s", folder);
        int len = snprintf(log->path, sizeof log->path, "%s/health-%s%s.ndjson", folder, health->env.process, number);
        if (folder_len < 0 || len < 0 || (size_t)len >= sizeof log->path) {
            core_log(CORE_LEVEL_WARN, "health", "the path of the health log is too long; there is none",
                     "dir=\"%.200s\"", folder);
            log->path[0] = '\0';
        }
    }
    log->page = core_health_page_new(health, "health log");
    log->topic = health_topic_new(health);
    return log;
}

void core_health_log_turn(struct core_health *health, bool is_changed) {
    if (!health->conf.is_on) {
        return;
    }
    if (health->log == NULL) {
        health->log = log_new(health);
    }
    struct core_health_log *log = health->log;
    if (log->line_ns == 0) {
        line_tell(health, HEALTH_LINE_START);
    } else if (is_changed) {
        line_tell(health, HEALTH_LINE_CHANGE);
    } else if (core_tick_ns() - log->line_ns >= health->conf.interval_ns - CORE_NS_PER_S / 2) {
        line_tell(health, HEALTH_LINE_INTERVAL); /* turns come each second: the one that is nearest */
    }
    row_write(log);
}

void core_health_log_free(struct core_health *health) {
    struct core_health_log *log = health->log;
    if (log == NULL) {
        return;
    }
    if (log->line_ns != 0) {
        line_tell(health, HEALTH_LINE_STOP);
    }
    health_topic_free(log->topic);
    file_close(log);
    free(log);
    health->log = NULL;
}
