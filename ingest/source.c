/* ingest/source.c: bytes at an offset, from a plain file, a .gz or a pipe.
 *
 * Design: the cutter asks for bytes by offset and always for a few that it had before (they prove that the file is the
 * same). A plain file answers with pread, so nothing is kept between two reads and a thousand open files cost no memory.
 * The others are read onwards only, and keep what was given back. Nothing is written: a crash leaves nothing behind.
 * Thread: the owner's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

/* A read gives at most a segment, and at most that much can be given back on top of what was left. */
#define BACK_BYTES (2 * CORE_SEGMENT_BYTES)
#define SPOOL_LINE_BYTES_MAX 128 /* the first line of a copy in the spool */

/* The descriptor's next bytes, the sniffed ones first. core_codec_source. */
static enum core_err read_onwards(void *ctx, char *buf, size_t cap, size_t *len, struct core_fail *fail) {
    struct ingest_source *source = ctx;
    if (source->sniffed_len > 0) {
        const size_t n = source->sniffed_len < cap ? source->sniffed_len : cap;
        memcpy(buf, source->sniffed, n);
        memmove(source->sniffed, source->sniffed + n, source->sniffed_len - n);
        source->sniffed_len -= n;
        *len = n;
        return CORE_OK;
    }
    *len = 0;
    ssize_t got;
    do {
        got = read(source->fd, buf, cap);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return core_fail_errno(fail, source->where, "cannot read it");
    }
    *len = (size_t)got;
    return CORE_OK;
}

/* The first bytes, without using them up. */
static enum core_err sniff(struct ingest_source *source, struct core_fail *fail) {
    const size_t want = sizeof(source->sniffed);
    size_t have = 0;
    while (have < want) {
        const ssize_t got = source->is_seekable ? pread(source->fd, source->sniffed + have, want - have, (off_t)have)
                                                : read(source->fd, source->sniffed + have, want - have);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return core_fail_errno(fail, source->where, "cannot read its first bytes");
        }
        if (got == 0) {
            break;
        }
        have += (size_t)got;
    }
    source->sniffed_len = have;
    return CORE_OK;
}

enum core_err ingest_source_open(struct ingest_source *source, int fd, const char *where, bool can_grow,
                                 struct core_fail *fail) {
    MUST(fd >= 0);
    struct stat st;
    *source = (struct ingest_source){.where = where, .fd = fd};
    enum core_err err = CORE_OK;
    if (fstat(fd, &st) != 0) {
        err = core_fail_errno(fail, where, "cannot look at it");
        goto out;
    }
    source->is_seekable = S_ISREG(st.st_mode) && lseek(fd, 0, SEEK_CUR) == 0;
    err = sniff(source, fail);
    if (err != CORE_OK) {
        goto out;
    }
    const struct core_span head = {.ptr = source->sniffed, .len = source->sniffed_len};
    if (can_grow && (head.len == 0 || (head.len < CORE_GZIP_MAGIC_BYTES && head.ptr[0] == '\x1f'))) {
        source->fd = -1;
        return CORE_AGAIN;
    }
    source->is_gz = core_gzip_is_magic(head);
    if (source->is_seekable) {
        source->sniffed_len = 0; /* pread did not move the offset: they come again */
    }
    if (ingest_source_is_one_way(source)) {
        source->back = malloc(BACK_BYTES); /* untouched pages cost nothing */
        err = source->back == NULL ? core_fail_errno(fail, where, "no memory to read it") : CORE_OK;
    }
    if (err == CORE_OK && source->is_gz) {
        err = core_gunzip_open(&source->gunzip, read_onwards, source, where, fail);
    }
out:
    if (err != CORE_OK) {
        ingest_source_close(source);
    }
    return err;
}

void ingest_source_close(struct ingest_source *source) {
    if (source->fd >= 0) {
        (void)close(source->fd);
    }
    core_gunzip_close(source->gunzip);
    free(source->back);
    *source = (struct ingest_source){.where = source->where, .fd = -1};
}

void ingest_source_rest(struct ingest_source *source) {
    if (!source->is_gz || !source->is_seekable) {
        return;
    }
    core_gunzip_close(source->gunzip);
    source->gunzip = NULL;
    source->back_len = 0;
    source->next = UINT64_MAX; /* wherever it is read next, it is from its beginning */
}

static enum core_err read_plain(struct ingest_source *source, uint64_t offset, char *buf, size_t cap, size_t *len,
                                struct core_fail *fail) {
    while (*len < cap) {
        const ssize_t got = pread(source->fd, buf + *len, cap - *len, (off_t)(offset + *len));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return core_fail_errno(fail, source->where, "cannot read it at byte %llu",
                                   (unsigned long long)offset + *len);
        }
        if (got == 0) {
            source->is_ended = true;
            break;
        }
        *len += (size_t)got;
    }
    return CORE_OK;
}

static bool has_bytes(int fd, int timeout_ms) {
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    return poll(&pfd, 1, timeout_ms) != 0; /* what poll() cannot tell, read() will */
}

/* New bytes from a pipe or a .gz into buf[*len, cap). */
static enum core_err read_one_way(struct ingest_source *source, char *buf, size_t cap, size_t *len,
                                  struct core_fail *fail) {
    bool had_any = source->has_enough && *len > 0;
    source->has_enough = false;
    while (*len < cap) {
        const bool may_block = !source->is_gz && source->sniffed_len == 0;
        if (may_block && (had_any || source->quiet_ms > 0) && !has_bytes(source->fd, had_any ? 0 : source->quiet_ms)) {
            source->is_quiet = !had_any;
            break;
        }
        size_t got = 0;
        const enum core_err err = source->is_gz ? core_gunzip_read(source->gunzip, buf + *len, cap - *len, &got, fail)
                                                : read_onwards(source, buf + *len, cap - *len, &got, fail);
        if (err == CORE_GONE || (err == CORE_OK && got == 0)) {
            source->is_ended = true;
            break;
        }
        if (err != CORE_OK) {
            return err;
        }
        *len += got;
        had_any = true;
    }
    return CORE_OK;
}

/* Bring a .gz to offset: over again from its beginning if need be, then onwards. buf is room to throw bytes into. */
static enum core_err seek_gz(struct ingest_source *source, uint64_t offset, char *buf, size_t cap,
                             struct core_fail *fail) {
    if (offset < source->next || source->gunzip == NULL) {
        MUST(source->is_seekable);
        core_gunzip_close(source->gunzip);
        source->gunzip = NULL;
        source->next = 0;
        source->back_len = 0;
        if (lseek(source->fd, 0, SEEK_SET) != 0) {
            return core_fail_errno(fail, source->where, "cannot go back to its beginning");
        }
        const enum core_err err = core_gunzip_open(&source->gunzip, read_onwards, source, source->where, fail);
        if (err != CORE_OK) {
            return err;
        }
    }
    while (source->next < offset) {
        const uint64_t gap = offset - source->next;
        const size_t room = gap < cap ? (size_t)gap : cap;
        size_t got = 0;
        if (source->back_len > 0) {
            got = source->back_len < room ? source->back_len : room;
            source->back_from += got;
            source->back_len -= got;
        } else {
            const enum core_err err = core_gunzip_read(source->gunzip, buf, room, &got, fail);
            if (err != CORE_OK) {
                return err;
            }
        }
        source->next += got;
    }
    return CORE_OK;
}

/* "tapline-spool 1 base=N header=N+N\n" */
static bool parse_window(const char *line, size_t len, struct ingest_window *window) {
    char text[SPOOL_LINE_BYTES_MAX + 1];
    const char *end = memchr(line, '\n', len);
    if (end == NULL) {
        return false;
    }
    const size_t line_len = (size_t)(end - line);
    memcpy(text, line, line_len);
    text[line_len] = '\0';
    struct ingest_cursor cursor = {.at = text};
    *window = (struct ingest_window){.line_len = line_len + 1};
    window->base = ingest_cursor_unsigned(&cursor, "tapline-spool 1 base=", 10, INT64_MAX);
    window->header_at = ingest_cursor_unsigned(&cursor, " header=", 10, INT64_MAX);
    window->header_len = (uint32_t)ingest_cursor_unsigned(&cursor, "+", 10, INGEST_HEADER_BYTES_MAX);
    return !cursor.is_bad && *cursor.at == '\0';
}

enum core_err ingest_source_open_copy(struct ingest_source *source, struct core_fail *fail) {
    MUST(source->fd >= 0);
    char line[SPOOL_LINE_BYTES_MAX];
    size_t len = 0;
    source->window = (struct ingest_window){0};
    const enum core_err err = ingest_source_read(source, 0, line, sizeof(line), &len, fail);
    struct ingest_window window;
    if (len > 0 && source->is_gz && parse_window(line, len, &window)) {
        source->window = window; /* reading tells of trouble further on */
        return CORE_OK;
    }
    return err != CORE_OK
               ? err
               : core_fail_set(fail, CORE_BAD, source->where, "it does not begin as a copy in the spool does");
}

enum core_err ingest_source_check_copy(struct ingest_source *source, char *buf, size_t cap, uint64_t *good,
                                       struct core_fail *fail) {
    MUST(source->window.line_len > 0);
    for (uint64_t left = INGEST_SCAN_BYTES_MAX; left > 0;) {
        size_t got = 0;
        const enum core_err err = core_gunzip_read(source->gunzip, buf, left < cap ? (size_t)left : cap, &got, fail);
        source->next += got;
        left -= got;
        if (err == CORE_GONE || err == CORE_BAD) {
            const struct ingest_window *window = &source->window;
            const uint64_t before = window->line_len + window->header_len;
            const uint64_t plain = core_gunzip_good(source->gunzip);
            *good = err == CORE_GONE ? UINT64_MAX : plain > before ? window->base + plain - before : 0;
            return CORE_OK;
        }
        if (err != CORE_OK) {
            return err;
        }
    }
    return CORE_AGAIN;
}

/* Where the copy has what the original had at *offset. false: it has not. */
static bool to_window(const struct ingest_window *window, uint64_t *offset) {
    if (*offset >= window->base) {
        *offset = *offset - window->base + window->line_len + window->header_len;
        return true;
    }
    const bool is_header = *offset >= window->header_at && *offset - window->header_at < window->header_len;
    *offset = is_header ? *offset - window->header_at + window->line_len : *offset;
    return is_header;
}

enum core_err ingest_source_read(struct ingest_source *source, uint64_t offset, char *buf, size_t cap, size_t *len,
                                 struct core_fail *fail) {
    MUST(source->fd >= 0);
    *len = 0;
    source->is_ended = source->is_quiet = false;
    if (source->window.line_len > 0 && !to_window(&source->window, &offset)) {
        source->is_ended = true;
        return CORE_OK;
    }
    if (!ingest_source_is_one_way(source)) {
        return read_plain(source, offset, buf, cap, len, fail);
    }
    if (source->is_gz && source->next != offset && cap > 0) {
        const enum core_err err = seek_gz(source, offset, buf, cap, fail);
        if (err != CORE_OK) {
            source->is_ended = err == CORE_GONE;
            return err == CORE_GONE ? CORE_OK : err;
        }
    }
    MUST(source->next == offset);
    const size_t again = source->back_len < cap ? source->back_len : cap;
    if (again > 0) {
        memcpy(buf, source->back + source->back_from, again);
        source->back_from += again;
        source->back_len -= again;
        *len = again;
    }
    const enum core_err err = read_one_way(source, buf, cap, len, fail);
    source->next += *len;
    return err;
}

bool ingest_source_would_wait(const struct ingest_source *source) {
    return !source->is_seekable && !source->is_ended && source->sniffed_len == 0 && !has_bytes(source->fd, 0);
}

void ingest_source_unread(struct ingest_source *source, const char *bytes, size_t len) {
    if (!ingest_source_is_one_way(source) || len == 0) {
        return;
    }
    MUST(len <= source->next);
    MUST(len + source->back_len <= BACK_BYTES);
    memmove(source->back + len, source->back + source->back_from, source->back_len);
    memcpy(source->back, bytes, len);
    source->back_from = 0;
    source->back_len += len;
    source->next -= len;
}
