/* ingest/checkpoint.c: what is remembered over a restart, in one small text file.
 *
 * Design: every file with a generation is one line of key=value (position.c), and so is one that was seen and not read
 * yet; the last line has the number of lines and a hash of all bytes before it. An operator can read it; nobody should
 * edit it, and the hash says so if someone does. Where a keeper has the positions (core/commit.h) this file is a copy of
 * the committed ones, and says so: then the keeper's are the newer ones.
 *
 * On a crash: the new text goes to checkpoint.tmp, is fsynced, renamed over the old one, and the directory fsynced. So
 * there is always one whole checkpoint, the old or the new. A generation is written before its first batch leaves, so it
 * is never made up anew from another name (with a keeper, it travels with that batch). Thread: ingest's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FORMAT_LINE "tapline-checkpoint 2\n"
#define FORMAT_LINE_1 "tapline-checkpoint 1\n" /* the same without accounts, and without KEPT_LINE */
#define KEPT_LINE "kept by=keeper" /* positions are committed ones of a keeper's, which has them at least as new */
#define LINE_BYTES_MAX INGEST_POSITION_BYTES_MAX
#define FILE_BYTES_MAX (CORE_MIB * 1024)

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

/* Room for len more bytes behind used, or false. */
static bool reserve(struct ingest *ingest, size_t used, size_t len) {
    if (used + len <= ingest->text_cap) {
        return true;
    }
    const size_t cap = (used + len) * 2;
    char *text = realloc(ingest->text, cap);
    if (text == NULL) {
        return false;
    }
    ingest->text = text;
    ingest->text_cap = cap;
    return true;
}

/* A deleted one, too: its bytes may come again in an archive. */
static bool is_kept(const struct ingest_file *file) {
    return file->memory.first.len > 0;
}

/* Seen, but no record read yet: should it be renamed while we are down, its birth says that it is the one. */
static bool is_kept_as_seen(const struct ingest_file *file) {
    return file->memory.first.len == 0 && file->born_ns != 0 && !file->is_gone;
}

#define PATH_WORD_LEN 6 /* " path=" */

static size_t put_seen(char *line, const struct ingest_file *file) {
    int len =
        snprintf(line, LINE_BYTES_MAX,
                 "seen dev=%" PRIx64 " ino=%" PRIx64 " born=%" PRId64 " mtime=%" PRId64 " path=", (uint64_t)file->dev,
                 (uint64_t)file->ino, file->born_ns, file->memory.mtime_ns);
    MUST(len > 0);
    if (file->is_from_end) { /* where the end was when it was found: a crash does not move it */
        len += snprintf(line + len - PATH_WORD_LEN, LINE_BYTES_MAX - (size_t)len,
                        " end=%" PRId64 " path=", file->size_found) -
               PATH_WORD_LEN;
    }
    static const char first_path[] = " first_path=";
    char *at = ingest_position_put_path(line + len, file->path);
    memcpy(at, first_path, sizeof(first_path) - 1);
    at = ingest_position_put_path(at + sizeof(first_path) - 1, file->memory.first_path);
    *at++ = '\n';
    return (size_t)(at - line);
}

/* The whole text. false: no memory. */
static bool make_text(struct ingest *ingest, size_t *text_len) {
    size_t used = 0;
    size_t lines = 0;
    bool is_skipping = false;
    for (const struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        is_skipping = is_skipping || (file->is_from_end && !is_kept_as_seen(file));
    }
    if (!reserve(ingest, used, 2 * LINE_BYTES_MAX)) {
        return false;
    }
    used += (size_t)snprintf(ingest->text, LINE_BYTES_MAX, FORMAT_LINE);
    if (ingest->commit.is_keeping) {
        used += (size_t)snprintf(ingest->text + used, LINE_BYTES_MAX, KEPT_LINE "\n");
        lines++;
    }
    /* While a file is still being passed over (start: end) and could not be told from another by its birth, a crash must
     * begin its glob's first look again. */
    for (size_t i = 0; !is_skipping && i < ingest->globs_seen_len; i++, lines++) {
        if (!reserve(ingest, used, LINE_BYTES_MAX)) {
            return false;
        }
        used += (size_t)snprintf(ingest->text + used, LINE_BYTES_MAX, "glob %016" PRIx64 "\n", ingest->globs_seen[i]);
    }
    for (const struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        if (!is_kept(file) && !is_kept_as_seen(file)) {
            continue;
        }
        if (!reserve(ingest, used, LINE_BYTES_MAX)) {
            return false;
        }
        used += is_kept(file) ? ingest_position_put_whole(ingest->text + used, file, 0)
                              : put_seen(ingest->text + used, file);
        lines++;
    }
    if (!reserve(ingest, used, LINE_BYTES_MAX)) {
        return false;
    }
    const uint64_t hash = core_hash64(ingest->text, used, 0);
    used += (size_t)snprintf(ingest->text + used, LINE_BYTES_MAX, "end %zu %016" PRIx64 "\n", lines, hash);
    *text_len = used;
    return true;
}

bool ingest_write_all(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        const ssize_t put = write(fd, bytes, len);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        bytes += put < 0 ? 0 : put;
        len -= put < 0 ? 0 : (size_t)put;
    }
    return true;
}

static enum core_err write_file(int dir_fd, const char *dir, const char *text, size_t len, struct core_fail *fail) {
    int fd = openat(dir_fd, "checkpoint.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) {
        return core_fail_errno(fail, dir, "cannot create checkpoint.tmp there");
    }
    enum core_err err = CORE_OK;
    if (!ingest_write_all(fd, text, len)) {
        err = core_fail_errno(fail, dir, "cannot write the checkpoint (is the disk full?)");
    }
    if (err == CORE_OK && fsync(fd) != 0) {
        err = core_fail_errno(fail, dir, "cannot fsync checkpoint.tmp there");
    }
    if (close(fd) != 0 && err == CORE_OK) {
        err = core_fail_errno(fail, dir, "cannot close checkpoint.tmp there");
    }
    if (err == CORE_OK && renameat(dir_fd, "checkpoint.tmp", dir_fd, "checkpoint") != 0) {
        err = core_fail_errno(fail, dir, "cannot rename checkpoint.tmp to checkpoint there");
    }
    if (err == CORE_OK && fsync(dir_fd) != 0) {
        err = core_fail_errno(fail, dir, "cannot fsync the directory");
    }
    return err;
}

enum core_err ingest_checkpoint_write(struct ingest *ingest, struct core_fail *fail) {
    const char *dir = ingest->env.state_dir;
    size_t len = 0;
    if (!make_text(ingest, &len)) {
        return core_fail_errno(fail, dir, "no memory to write the checkpoint");
    }
    const int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0) {
        return core_fail_errno(fail, dir, "cannot open the state directory (node.state)");
    }
    const enum core_err err = write_file(dir_fd, dir, ingest->text, len, fail);
    (void)close(dir_fd);
    if (err != CORE_OK) {
        return err;
    }
    for (struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        file->is_saved = is_kept(file);
    }
    ingest->is_dirty = ingest->is_urgent = false;
    core_count(ingest->env.counters, CORE_COUNT_CHECKPOINT_WRITES, 1);
    return CORE_OK;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

static enum core_err damaged(const char *path, size_t line, const char *what, struct core_fail *fail) {
    return core_fail_set(
        fail, CORE_BAD, path,
        "the checkpoint is damaged at line %zu: %s. tapline does not guess, for that would lose or "
        "repeat records. Put back a good copy, or move the file away: then every file is read from its "
        "beginning again, and records that were delivered before come a second time, with the same ids",
        line, what);
}

/* The end of a line: both names; makes the file. */
static struct ingest_file *get_paths(struct ingest *ingest, char *path, uint64_t dev, uint64_t ino) {
    char *first_path = strstr(path, " first_path=");
    if (first_path == NULL) {
        return NULL;
    }
    *first_path = '\0';
    first_path += sizeof(" first_path=") - 1;
    if (!ingest_position_get_path(path) || !ingest_position_get_path(first_path) ||
        ingest_file_by_inode(ingest, (dev_t)dev, (ino_t)ino) != NULL) {
        return NULL;
    }
    struct ingest_file *file = ingest_file_new(ingest, path, (dev_t)dev, (ino_t)ino);
    free(file->memory.first_path);
    file->memory.first_path = ingest_strdup(first_path);
    return file;
}

void ingest_checkpoint_fill(struct ingest_file *file, const struct ingest_position *position) {
    MUST(file->memory.first.len == 0);
    MUST(file->stream == NULL && !file->has_cutter);
    free(file->memory.first_path);
    file->memory = position->memory;
    file->memory.first_path = ingest_strdup(position->memory.first_path);
    file->size = file->size_seen = file->size_read = position->size_seen;
    file->born_ns = position->born_ns;
    file->is_gz = position->is_gz;
    file->is_over = position->is_done;
    file->is_saved = true;
}

struct ingest_file *ingest_checkpoint_add(struct ingest *ingest, const struct ingest_position *position) {
    struct ingest_file *file = ingest_file_new(ingest, position->path, (dev_t)position->dev, (ino_t)position->ino);
    ingest_checkpoint_fill(file, position);
    return file;
}

/* One "file" line, NUL-terminated. */
static bool get_file(struct ingest *ingest, char *line) {
    struct ingest_position position;
    if (!ingest_position_parse(line, &position) || position.is_over ||
        ingest_file_by_inode(ingest, (dev_t)position.dev, (ino_t)position.ino) != NULL) {
        return false;
    }
    (void)ingest_checkpoint_add(ingest, &position);
    return true;
}

/* One "seen" line, NUL-terminated. */
static bool get_seen(struct ingest *ingest, char *line) {
    struct ingest_cursor cursor = {.at = line};
    const uint64_t dev = ingest_cursor_unsigned(&cursor, "seen dev=", 16, UINT64_MAX);
    const uint64_t ino = ingest_cursor_unsigned(&cursor, " ino=", 16, UINT64_MAX);
    const int64_t born_ns = ingest_cursor_signed(&cursor, " born=");
    const int64_t mtime_ns = ingest_cursor_signed(&cursor, " mtime=");
    const bool is_from_end = ingest_cursor_has(&cursor, " end=");
    const int64_t end = is_from_end ? ingest_cursor_signed(&cursor, " end=") : 0;
    ingest_cursor_text(&cursor, " path=");
    struct ingest_file *file = cursor.is_bad ? NULL : get_paths(ingest, cursor.at, dev, ino);
    if (file == NULL) {
        return false;
    }
    file->born_ns = born_ns;
    file->memory.mtime_ns = mtime_ns;
    file->is_from_end = is_from_end;
    file->size_found = end;
    return true;
}

/* One "glob" line, NUL-terminated. */
static bool get_glob(struct ingest *ingest, char *line) {
    struct ingest_cursor cursor = {.at = line};
    const uint64_t hash = ingest_cursor_unsigned(&cursor, "glob ", 16, UINT64_MAX);
    if (cursor.is_bad || *cursor.at != '\0') {
        return false;
    }
    ingest_glob_see(ingest, hash);
    return true;
}

/* Check the whole before any of it is believed: the last line, and its hash. Returns the length before it, or 0. */
static size_t check_end(char *text, size_t len, size_t *lines) {
    if (len == 0 || text[len - 1] != '\n') {
        return 0;
    }
    char *before = memrchr(text, '\n', len - 1);
    if (before == NULL) {
        return 0;
    }
    struct ingest_cursor cursor = {.at = before + 1};
    const size_t body = (size_t)(before + 1 - text);
    *lines = (size_t)ingest_cursor_unsigned(&cursor, "end ", 10, SIZE_MAX);
    const uint64_t hash = ingest_cursor_unsigned(&cursor, " ", 16, UINT64_MAX);
    const bool is_end = !cursor.is_bad && cursor.at == text + len - 1 && hash == core_hash64(text, body, 0);
    return is_end ? body : 0;
}

/* One line of any kind, for a process that goes on from it. */
static bool on_line(void *ctx, char *line) {
    struct ingest *ingest = ctx;
    if (strcmp(line, KEPT_LINE) == 0) {
        ingest->commit.was_keeping = true;
        return true;
    }
    return get_glob(ingest, line) || get_file(ingest, line) || get_seen(ingest, line);
}

/* Who takes the lines; false: not one that a checkpoint has. */
struct taker {
    bool (*on_line)(void *ctx, char *line);
    void *ctx;
};

static enum core_err get_text(const struct taker *taker, const char *path, char *text, size_t len,
                              struct core_fail *fail) {
    _Static_assert(sizeof(FORMAT_LINE) == sizeof(FORMAT_LINE_1), "one length for both");
    size_t lines = 0;
    const bool is_ours = len >= sizeof(FORMAT_LINE) - 1 && (memcmp(text, FORMAT_LINE, sizeof(FORMAT_LINE) - 1) == 0 ||
                                                            memcmp(text, FORMAT_LINE_1, sizeof(FORMAT_LINE) - 1) == 0);
    if (!is_ours) {
        return damaged(path, 1, "it does not begin as a checkpoint of this version of tapline does", fail);
    }
    const size_t body = check_end(text, len, &lines);
    if (body == 0) {
        return damaged(path, 0, "its end is missing, or its checksum does not agree", fail);
    }
    size_t number = 1;
    for (char *at = text + sizeof(FORMAT_LINE) - 1; at < text + body; number++) {
        char *nl = memchr(at, '\n', (size_t)(text + body - at));
        MUST(nl != NULL);
        *nl = '\0';
        if (!taker->on_line(taker->ctx, at)) {
            return damaged(path, number + 1, "a line that says neither a glob nor a file", fail);
        }
        at = nl + 1;
    }
    return number == lines + 1 ? CORE_OK : damaged(path, number, "lines are missing", fail);
}

static enum core_err read_whole(int fd, const char *path, char **text, size_t *len, struct core_fail *fail) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return core_fail_errno(fail, path, "cannot look at the checkpoint");
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > FILE_BYTES_MAX) {
        return damaged(path, 0, "it is no ordinary file, or far too big", fail);
    }
    const size_t want = (size_t)st.st_size;
    *text = malloc(want + 1);
    if (*text == NULL) {
        return core_fail_errno(fail, path, "no memory to read the checkpoint");
    }
    while (*len < want) {
        const ssize_t got = read(fd, *text + *len, want - *len);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return core_fail_errno(fail, path, "cannot read the checkpoint");
        }
        if (got == 0) {
            break;
        }
        *len += (size_t)got;
    }
    (*text)[*len] = '\0';
    return CORE_OK;
}

/* state_dir/checkpoint. false: too long. */
static bool path_of(const char *state_dir, char path[PATH_MAX]) {
    const int len = snprintf(path, PATH_MAX, "%s/checkpoint", state_dir);
    return len >= 0 && len < PATH_MAX;
}

enum core_err ingest_checkpoint_open(const char *state_dir, int *fd, struct core_fail *fail) {
    char path[PATH_MAX];
    *fd = -1;
    if (!path_of(state_dir, path)) {
        return core_fail_set(fail, CORE_BAD, state_dir, "node.state is too long a path; name a shorter one");
    }
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    return *fd >= 0 || errno == ENOENT ? CORE_OK : core_fail_errno(fail, path, "cannot open the checkpoint");
}

enum core_err ingest_checkpoint_lines(int fd, const char *state_dir, bool (*on_each)(void *ctx, char *line), void *ctx,
                                      struct core_fail *fail) {
    const struct taker taker = {.on_line = on_each, .ctx = ctx};
    char path[PATH_MAX];
    char *text = NULL;
    size_t len = 0;
    if (fd < 0) {
        return CORE_OK;
    }
    MUST(path_of(state_dir, path));
    enum core_err err = read_whole(fd, path, &text, &len, fail);
    if (err == CORE_OK) {
        err = get_text(&taker, path, text, len, fail);
    }
    free(text);
    (void)close(fd);
    return err;
}

enum core_err ingest_checkpoint_read(struct ingest *ingest, struct core_fail *fail) {
    int fd = -1;
    const enum core_err err = ingest_checkpoint_open(ingest->env.state_dir, &fd, fail);
    return err != CORE_OK ? err : ingest_checkpoint_lines(fd, ingest->env.state_dir, on_line, ingest, fail);
}
