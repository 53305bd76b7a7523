/* ingest/reader.c: one file or a pipe from its beginning to its end: what `tapline normalize` and `replay` read with.
 *
 * Design: a source, a cutter and a stream in one struct; the same cutting as for a tailed file, except that the end of the
 * bytes ends the last line. Nothing is remembered on a crash. Thread: the caller's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define READER_MAGIC 0x72656164u

struct ingest_reader {
    uint32_t magic;
    struct core_stream stream;
    struct ingest_source source;
    struct ingest_cutter cutter;
    uint64_t seq;
    char *path;
    char *node;
};

static enum core_err open_fd(const char *path, int *fd, int64_t *mtime_ns, struct core_fail *fail) {
    struct stat st;
    *fd =
        strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (*fd < 0) {
        return core_fail_errno(fail, path, "cannot open it");
    }
    if (fstat(*fd, &st) != 0) {
        return core_fail_errno(fail, path, "cannot look at it");
    }
    if (S_ISDIR(st.st_mode)) {
        return core_fail_set(fail, CORE_IO, path, "is a directory; name the files in it");
    }
    *mtime_ns = S_ISREG(st.st_mode) ? st.st_mtim.tv_sec * CORE_NS_PER_S + st.st_mtim.tv_nsec : 0;
    return CORE_OK;
}

enum core_err ingest_reader_open(struct ingest_reader **out, const char *path, const char *node,
                                 const struct core_origin *origin, struct core_counters *counters,
                                 struct core_fail *fail) {
    MUST(out != NULL);
    MUST(path != NULL);
    *out = NULL;
    int fd = -1;
    struct ingest_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL) {
        return core_fail_errno(fail, path, "no memory to read it");
    }
    reader->magic = READER_MAGIC;
    reader->source.fd = -1;
    reader->path = strdup(path);
    reader->node = strdup(node);
    reader->stream = (struct core_stream){.magic = CORE_STREAM_MAGIC, .path = reader->path, .origin = origin};
    enum core_err err = CORE_OK;
    if (reader->path == NULL || reader->node == NULL) {
        err = core_fail_errno(fail, path, "no memory to read it");
        goto out;
    }
    err = open_fd(path, &fd, &reader->stream.mtime_ns, fail);
    if (err != CORE_OK) {
        goto out;
    }
    err = ingest_source_open(&reader->source, fd, reader->path, false, fail);
    fd = -1;
    ingest_cutter_init(&reader->cutter, reader->node, reader->path, counters, NULL, NULL);
    reader->cutter.is_end_final = true;
    ingest_cutter_tell(&reader->cutter, origin);
    if (err == CORE_OK) {
        core_count(counters, CORE_COUNT_INGEST_FILES_OPENED, 1);
    }
out:
    if (err != CORE_OK) {
        core_count(counters, CORE_COUNT_INGEST_FILES_FAILED, 1);
        if (fd >= 0) {
            (void)close(fd);
        }
        ingest_reader_close(reader);
        return err;
    }
    *out = reader;
    return CORE_OK;
}

enum core_err ingest_reader_next(struct ingest_reader *reader, struct core_batch *batch, struct core_fail *fail) {
    MUST(reader->magic == READER_MAGIC);
    enum core_err err;
    do {
        err = ingest_cutter_fill(&reader->cutter, &reader->source, batch, UINT64_MAX, fail);
    } while (err == CORE_OK && batch->lines_len == 0);
    MUST(err != CORE_AGAIN); /* the end is final here */
    if (reader->cutter.first.len > 0) {
        reader->stream.gen = reader->cutter.gen;
    }
    batch->stream = &reader->stream;
    batch->seq = reader->seq++;
    batch->is_last = err != CORE_OK;
    batch->stamps[CORE_STAMP_PUSHED] = core_tick_ns();
    if (err == CORE_BAD) {
        return core_fail_set(fail, CORE_IO, reader->path,
                             "was truncated or replaced while it was read, after %llu bytes; what was read until then "
                             "is good, the rest is left out: read a file that no program rewrites",
                             (unsigned long long)reader->cutter.pos);
    }
    return err;
}

bool ingest_reader_would_wait(const struct ingest_reader *reader) {
    MUST(reader->magic == READER_MAGIC);
    return !reader->cutter.is_more && ingest_source_would_wait(&reader->source);
}

void ingest_reader_close(struct ingest_reader *reader) {
    if (reader == NULL) {
        return;
    }
    MUST(reader->magic == READER_MAGIC);
    reader->magic = 0;
    ingest_source_close(&reader->source);
    ingest_cutter_release(&reader->cutter);
    free(reader->path);
    free(reader->node);
    free(reader);
}
