/* cmd/replay_file.c: one recorded log, read by ingest's reader and written as its sensor would have written it.
 *
 * A Zeek file (any name ending in .log) begins with its header, whose `#open` says when it was opened, ends with
 * `#close`, and is renamed to name.YYYY-mm-dd-HH-MM-SS.log (the time it was opened, local, as Zeek has it). Anything else
 * is appended to as Snort does, and rotated to name.EPOCHSECONDS. A header in the middle of the input that is another one
 * than before means that Zeek had rotated there, and so do we. Only whole lines are handed to write(), so a reader of the
 * output sees no more torn lines than a sensor would give it; there is no fsync, as sensors do none.
 * Thread: main.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/replay_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REPLAY_STAMP_LEN 19 /* YYYY-mm-dd-HH-MM-SS */
#define REPLAY_MODE 0644
#define REPLAY_SAME_NAMES_MAX 10000

static const struct core_origin replay_origin = {.type = CORE_ORIGIN_AUTO};

static void replay_stamp(int64_t ns, char out[REPLAY_STAMP_LEN + 1]) {
    time_t seconds = (time_t)(ns / CORE_NS_PER_S);
    struct tm tm;
    MUST(localtime_r(&seconds, &tm) != NULL);
    MUST(strftime(out, REPLAY_STAMP_LEN + 1, "%Y-%m-%d-%H-%M-%S", &tm) == REPLAY_STAMP_LEN);
}

static bool replay_ends_with(const char *text, size_t len, const char *end) {
    size_t end_len = strlen(end);
    return len > end_len && memcmp(text + len - end_len, end, end_len) == 0;
}

static bool replay_is_zeek(const struct replay_file *file) {
    return replay_ends_with(file->out_path, strlen(file->out_path), ".log");
}

/* "conn.2026-11-21-03-00-00.log.gz" and "conn.03:00:00-04:00:00.log" were conn.log when the sensor wrote them. */
static enum core_err replay_name(struct replay_file *file, const char *dir, struct core_fail *fail) {
    const char *slash = strrchr(file->path, '/');
    const char *base = slash == NULL ? file->path : slash + 1;
    size_t len = strlen(base);
    if (strcmp(base, "-") == 0 || len == 0) {
        return core_fail_set(fail, CORE_BAD, file->path, "needs a name that can be written in --to: name a file");
    }
    len -= replay_ends_with(base, len, ".gz") ? strlen(".gz") : 0;
    size_t dot = strcspn(base, ".");
    bool is_archive =
        replay_ends_with(base, len, ".log") && dot + 1 < len && base[dot + 1] >= '0' && base[dot + 1] <= '9';
    int n = snprintf(file->out_path, sizeof(file->out_path), "%s/%.*s%s", dir, (int)(is_archive ? dot : len), base,
                     is_archive ? ".log" : "");
    if (n < 0 || (size_t)n >= sizeof(file->out_path)) {
        return core_fail_set(fail, CORE_BAD, dir, "the name of the file to write there is too long");
    }
    return CORE_OK;
}

enum core_err replay_file_init(struct replay_file *file, const char *path, const char *dir, struct core_fail *fail) {
    MUST(file != NULL);
    *file = (struct replay_file){.path = path, .fd = -1};
    file->out = malloc(REPLAY_OUT_BYTES);
    file->header.text = malloc(REPLAY_HEADER_BYTES_MAX);
    file->next.text = malloc(REPLAY_HEADER_BYTES_MAX);
    if (file->out == NULL || file->header.text == NULL || file->next.text == NULL) {
        return core_fail_errno(fail, path, "no memory to replay it");
    }
    return replay_name(file, dir, fail);
}

/* ---- output --------------------------------------------------------------------------------------------------------- */

enum core_err replay_file_flush(struct replay_file *file, struct core_fail *fail) {
    size_t done = 0;
    while (done < file->out_len) {
        ssize_t n = write(file->fd, file->out + done, file->out_len - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            file->out_len = 0;
            return core_fail_errno(fail, file->out_path, "cannot write the replayed log, stopping");
        }
        done += (size_t)n;
    }
    file->bytes += done;
    file->out_len = 0;
    return CORE_OK;
}

/* A line, more of it, and its end; more NULL: the bytes as they are, with the line ends that they have. */
static enum core_err replay_put(struct replay_file *file, struct core_span line, const char *more,
                                struct core_fail *fail) {
    size_t more_len = more == NULL ? 0 : strlen(more);
    size_t len = line.len + more_len + (more == NULL ? 0 : 1);
    MUST(len <= REPLAY_OUT_BYTES);
    if (len > REPLAY_OUT_BYTES - file->out_len) {
        enum core_err err = replay_file_flush(file, fail);
        if (err != CORE_OK) {
            return err;
        }
    }
    if (line.len > 0) {
        memcpy(file->out + file->out_len, line.ptr, line.len);
    }
    file->out_len += len;
    if (more != NULL) {
        memcpy(file->out + file->out_len - more_len - 1, more, more_len);
        file->out[file->out_len - 1] = '\n';
    }
    return CORE_OK;
}

/* Give the file its archive name; a name that is taken (two rotations in one second) gets a number. */
static enum core_err replay_archive(struct replay_file *file, int64_t opened_ns, struct core_fail *fail) {
    char stamp[REPLAY_STAMP_LEN + 1];
    char to[PATH_MAX];
    replay_stamp(opened_ns, stamp);
    size_t stem_len = strlen(file->out_path) - strlen(".log");
    for (int i = 0; i < REPLAY_SAME_NAMES_MAX; i++) {
        char number[16] = "";
        int n;
        if (i > 0) {
            (void)snprintf(number, sizeof(number), "-%d", i);
        }
        if (replay_is_zeek(file)) {
            n = snprintf(to, sizeof(to), "%.*s.%s%s.log", (int)stem_len, file->out_path, stamp, number);
        } else {
            n = snprintf(to, sizeof(to), "%s.%lld%s", file->out_path, (long long)(opened_ns / CORE_NS_PER_S), number);
        }
        if (n < 0 || (size_t)n >= sizeof(to)) {
            return core_fail_set(fail, CORE_IO, file->out_path, "its name in the archive would be too long");
        }
        if (access(to, F_OK) == 0) {
            continue;
        }
        if (rename(file->out_path, to) != 0) {
            return core_fail_errno(fail, file->out_path, "cannot rename it to %s", to);
        }
        file->rotations++;
        return CORE_OK;
    }
    return core_fail_set(fail, CORE_IO, file->out_path,
                         "there are %d rotated files of this second already: rotate later", REPLAY_SAME_NAMES_MAX);
}

/* A Zeek that starts finds what the one before it left, and rotates it away; Snort appends. */
static enum core_err replay_clear_way(struct replay_file *file, struct core_fail *fail) {
    struct stat st;
    if (!replay_is_zeek(file) || stat(file->out_path, &st) != 0 || st.st_size == 0) {
        return CORE_OK;
    }
    return replay_archive(file, st.st_mtim.tv_sec * CORE_NS_PER_S, fail);
}

static enum core_err replay_put_header(struct replay_file *file, struct core_fail *fail) {
    char stamp[REPLAY_STAMP_LEN + 1];
    replay_stamp(file->opened_ns, stamp);
    enum core_err err = CORE_OK;
    for (size_t at = 0; at < file->header.len && err == CORE_OK;) {
        const char *end = memchr(file->header.text + at, '\n', file->header.len - at);
        MUST(end != NULL);
        struct core_span line = {.ptr = file->header.text + at, .len = (size_t)(end - file->header.text) - at};
        err = replay_put(file, line, core_span_starts(line, CORE_SPAN("#open")) ? stamp : "", fail);
        at += line.len + 1;
    }
    return err;
}

static enum core_err replay_open(struct replay_file *file, struct core_fail *fail) {
    MUST(file->fd < 0);
    enum core_err err = replay_clear_way(file, fail);
    if (err != CORE_OK) {
        return err;
    }
    file->fd = open(file->out_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, REPLAY_MODE);
    if (file->fd < 0) {
        return core_fail_errno(fail, file->out_path, "cannot open it to write the replayed log");
    }
    file->opened_ns = core_now_ns();
    file->opened_tick_ns = core_tick_ns();
    file->opened_lines = 0;
    return replay_put_header(file, fail);
}

/* What stands between the word `#open` and its time: the separator. */
static struct core_span replay_separator(const struct replay_header *header) {
    const char *at = header->len == 0 ? NULL : memmem(header->text, header->len, "\n#open", strlen("\n#open"));
    if (at == NULL) {
        return (struct core_span){0};
    }
    at += strlen("\n#open");
    const char *end = memchr(at, '\n', (size_t)(header->text + header->len - at));
    MUST(end != NULL);
    return (struct core_span){.ptr = at, .len = (size_t)(end - at)};
}

enum core_err replay_file_finish(struct replay_file *file, struct core_fail *fail) {
    if (file->fd < 0) {
        return CORE_OK;
    }
    enum core_err err = CORE_OK;
    struct core_span separator = replay_separator(&file->header);
    if (separator.len > 0) {
        char text[64];
        char stamp[REPLAY_STAMP_LEN + 1];
        replay_stamp(core_now_ns(), stamp);
        int n = snprintf(text, sizeof(text), "#close%.*s%s", (int)separator.len, separator.ptr, stamp);
        MUST(n > 0);
        err = replay_put(file, core_span_of(text), "", fail);
    }
    if (err == CORE_OK) {
        err = replay_file_flush(file, fail);
    }
    if (close(file->fd) != 0 && err == CORE_OK) {
        err = core_fail_errno(fail, file->out_path, "cannot finish the replayed log");
    }
    file->fd = -1;
    return err;
}

enum core_err replay_file_rotate(struct replay_file *file, struct core_fail *fail) {
    if (file->fd < 0) {
        return CORE_OK;
    }
    enum core_err err = replay_file_finish(file, fail);
    return err != CORE_OK ? err : replay_archive(file, file->opened_ns, fail);
}

/* ---- input ---------------------------------------------------------------------------------------------------------- */

enum core_err replay_file_start(struct replay_file *file, struct core_fail *fail) {
    MUST(file->reader == NULL);
    file->round_lines = 0;
    file->is_done = false;
    file->next.len = 0;
    return ingest_reader_open(&file->reader, file->path, "replay", &replay_origin, &file->counters, fail);
}

static void replay_stop(struct replay_file *file) {
    ingest_reader_close(file->reader);
    file->reader = NULL;
    if (file->batch != NULL) {
        core_pool_give(file->pool, file->batch);
        file->batch = NULL;
    }
    file->is_done = true;
}

static enum core_err replay_fill(struct replay_file *file, struct core_fail *fail) {
    if (file->batch != NULL) {
        core_pool_give(file->pool, file->batch);
    }
    file->batch = core_pool_take(file->pool);
    MUST(file->batch != NULL);
    file->line = 0;
    return ingest_reader_next(file->reader, file->batch, fail);
}

enum core_err replay_file_count(struct replay_file *file, struct core_fail *fail) {
    enum core_err err = replay_file_start(file, fail);
    file->lines_all = 0;
    while (err == CORE_OK) {
        err = replay_fill(file, fail);
        for (uint32_t i = 0; i < file->batch->lines_len; i++) {
            file->lines_all += file->batch->lines[i].flags == CORE_LINE_RECORD ? 1 : 0;
        }
    }
    replay_stop(file);
    return err == CORE_GONE ? CORE_OK : err;
}

/* Keep a `#` line for the next record: `#close` is ours to write, and so is the time in `#open`. */
static enum core_err replay_collect(struct replay_file *file, struct core_span line, struct core_fail *fail) {
    if (core_span_starts(line, CORE_SPAN("#close"))) {
        return CORE_OK;
    }
    if (core_span_starts(line, CORE_SPAN("#open")) && line.len > strlen("#open") + REPLAY_STAMP_LEN) {
        line.len -= REPLAY_STAMP_LEN;
    }
    if (line.len + 1 > REPLAY_HEADER_BYTES_MAX - file->next.len) {
        return core_fail_set(fail, CORE_BAD, file->path, "more than %zu KiB of header lines: that is no Zeek log",
                             REPLAY_HEADER_BYTES_MAX / CORE_KIB);
    }
    memcpy(file->next.text + file->next.len, line.ptr, line.len);
    file->next.len += line.len;
    file->next.text[file->next.len++] = '\n';
    return CORE_OK;
}

/* A record follows the collected lines: are they the header that the open file has, or a new one? */
static enum core_err replay_use_header(struct replay_file *file, struct core_fail *fail) {
    struct replay_header next = file->next;
    bool is_same = next.len == file->header.len && memcmp(next.text, file->header.text, next.len) == 0;
    enum core_err err = is_same ? CORE_OK : replay_file_rotate(file, fail);
    file->next = file->header;
    file->next.len = 0;
    file->header = next;
    return err;
}

/* What is written of a record: of several lines with the blank ones that end it, a binary one as it stands. A single line
 * (*is_line) still needs its end. */
static struct core_span replay_bytes(const struct core_batch *batch, const struct core_line *line, bool *is_line) {
    struct core_span bytes = line->text;
    const char *end = batch->segment + batch->segment_len;
    *is_line = (line->flags & CORE_LINE_UNIFIED2) == 0 && core_span_chr(bytes, '\n') == NULL;
    if (*is_line || (line->flags & CORE_LINE_UNIFIED2) != 0) {
        return bytes;
    }
    while (bytes.ptr + bytes.len < end && (bytes.ptr[bytes.len] == '\n' || bytes.ptr[bytes.len] == '\r')) {
        bytes.len++;
    }
    return bytes;
}

static enum core_err replay_record(struct replay_file *file, const struct core_line *line, uint64_t rotate_lines,
                                   struct core_fail *fail) {
    bool is_line = false;
    const struct core_span bytes = replay_bytes(file->batch, line, &is_line);
    enum core_err err = CORE_OK;
    if (file->next.len > 0) {
        err = replay_use_header(file, fail);
    }
    if (err == CORE_OK && file->fd >= 0 && rotate_lines > 0 && file->opened_lines >= rotate_lines) {
        err = replay_file_rotate(file, fail);
    }
    if (err == CORE_OK && file->fd < 0) {
        err = replay_open(file, fail);
    }
    return err != CORE_OK ? err : replay_put(file, bytes, is_line ? "" : NULL, fail);
}

enum core_err replay_file_write(struct replay_file *file, uint64_t n, uint64_t rotate_lines, uint64_t *written,
                                struct core_fail *fail) {
    MUST(!file->is_done);
    *written = 0;
    while (*written < n) {
        enum core_err err = CORE_OK;
        if (file->batch == NULL || file->line == file->batch->lines_len) {
            err = replay_fill(file, fail);
            if (err != CORE_OK) {
                replay_stop(file);
                return err;
            }
        }
        const struct core_line *line = &file->batch->lines[file->line++];
        if ((line->flags & CORE_LINE_CONTEXT) != 0) {
            err = replay_collect(file, line->text, fail);
        } else if ((line->flags & CORE_LINE_CUT) != 0) {
            file->skipped++;
        } else {
            err = replay_record(file, line, rotate_lines, fail);
            if (err == CORE_OK) {
                ++*written;
                file->opened_lines++;
                file->round_lines++;
                file->lines++;
            }
        }
        if (err != CORE_OK) {
            replay_stop(file);
            return err;
        }
    }
    return CORE_OK;
}

void replay_file_release(struct replay_file *file) {
    ingest_reader_close(file->reader);
    file->reader = NULL;
    if (file->fd >= 0) {
        (void)close(file->fd);
        file->fd = -1;
    }
    free(file->out);
    free(file->header.text);
    free(file->next.text);
    file->out = file->header.text = file->next.text = NULL;
}
