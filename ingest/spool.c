/* ingest/spool.c: what a rotation may delete while nothing can be delivered.
 *
 * Design: as long as Kafka is away the logs on disk are the buffer. Only what was rotated away (deleted, or renamed to where
 * no glob looks) may soon be nowhere but in our open descriptor, which ends with us, and holds disk space that its owner
 * believes free. So when nothing was accepted for spool.after and no batch is free, the unread bytes of such a file, if it
 * has stood still for ingest.close_after, are copied, compressed, to
 *
 *   <dir>/<generation>-<from>-<end>-<lines>.gz   from: the accepted position; lines: how many end behind it
 *
 * The copy begins with a line that says where its bytes stood, then the header that they need, then a few bytes before the
 * position (the marker). From then on it is just another name of that generation: the source answers for the original's
 * offsets (source.c), and the backlog reads the oldest first. Each MiB has a checksum, and all are checked before the first
 * record is read, for what is damaged may come out as other text. Its last record accepted and written down, it is removed.
 * One file is copied at a time, and no more than 1 MiB in a turn. A file that is a .gz itself is not
 * copied: it stays open.
 *
 * A copy begins at a position that was committed. Should the keeper of positions have gone back behind that (a broker that lost
 * what it had acknowledged), the copy is sound, and what stood before it is not in it: that is looked for where files go, for a
 * moment; if it is nowhere it is counted as lost, and the copy is read from its beginning.
 *
 * On a crash: the copy is a .tmp until it is whole and synced; .tmp files are removed at start. A whole copy that the
 * checkpoint does not know yet is found by its generation: it is removed if the original is still there or was read beyond
 * it, else read. Thread: ingest's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TURN_BYTES CORE_MIB           /* copied in one turn */
#define RETRY_NS (60 * CORE_NS_PER_S) /* after trouble, or when there is no room */
#define BEHIND_NS CORE_NS_PER_S       /* and two scans: how long bytes before a copy are looked for elsewhere */
#define TMP_NAME "copy.tmp"           /* one copy at a time */
#define READ_BYTES (64 * CORE_KIB)
#define COPY_MODE 0640
#define DIR_MODE 0750

/* What the name of a copy says. */
struct name {
    uint64_t gen, from, end, lines;
};

static bool parse_name(const char *text, struct name *name) {
    char copy[NAME_MAX + 1];
    if (strlen(text) >= sizeof(copy)) {
        return false;
    }
    strcpy(copy, text);
    struct ingest_cursor cursor = {.at = copy};
    name->gen = ingest_cursor_unsigned(&cursor, "", 16, UINT64_MAX);
    name->from = ingest_cursor_unsigned(&cursor, "-", 10, INT64_MAX);
    name->end = ingest_cursor_unsigned(&cursor, "-", 10, INT64_MAX);
    name->lines = ingest_cursor_unsigned(&cursor, "-", 10, INT64_MAX);
    return !cursor.is_bad && strcmp(cursor.at, ".gz") == 0 && name->end >= name->from;
}

static void path_in(const struct ingest_spool *spool, const char *name, char out[PATH_MAX]) {
    const int len = snprintf(out, PATH_MAX, "%s/%s", spool->conf.dir, name);
    MUST(len > 0 && len < PATH_MAX);
}

bool ingest_spool_has(const struct ingest *ingest, const char *path) {
    const char *dir = ingest->spool.conf.dir;
    const size_t len = dir == NULL ? 0 : strlen(dir);
    return len > 0 && strncmp(path, dir, len) == 0 && path[len] == '/';
}

static bool name_of(const struct ingest *ingest, const struct ingest_file *file, struct name *name) {
    return ingest_spool_has(ingest, file->path) && parse_name(file->path + strlen(ingest->spool.conf.dir) + 1, name);
}

uint64_t ingest_spool_end_of(const struct ingest *ingest, const struct ingest_file *file) {
    struct name name;
    return name_of(ingest, file, &name) ? name.end : 0;
}

/* ---- open, close ------------------------------------------------------------------------------------------------------------- */

void ingest_spool_open(struct ingest *ingest, const struct ingest_spool_conf *conf) {
    struct ingest_spool *spool = &ingest->spool;
    spool->copy.fd = spool->copy.out_fd = -1;
    spool->progress_tick = core_tick_ns();
    if (conf == NULL) {
        return;
    }
    char path[PATH_MAX];
    const bool is_named = conf->dir != NULL && conf->dir[0] != '\0';
    const int len = is_named ? snprintf(path, sizeof(path), "%s", conf->dir)
                             : snprintf(path, sizeof(path), "%s/spool", ingest->env.state_dir);
    if (len < 0 || (size_t)len + NAME_MAX >= sizeof(path)) {
        core_log(CORE_LEVEL_ERROR, "ingest", "no spool", "reason=\"spool.dir is too long a path\"; name a shorter one");
        return;
    }
    for (size_t end = (size_t)len; end > 1 && path[end - 1] == '/'; end--) {
        path[end - 1] = '\0';
    }
    spool->conf = *conf;
    spool->conf.dir = ingest_strdup(path);
}

void ingest_spool_reload(struct ingest *ingest, const struct ingest_spool_conf *conf) {
    struct ingest_spool *spool = &ingest->spool;
    if (conf != NULL && spool->conf.dir != NULL) { /* the directory is for a restart */
        spool->conf.size_max = conf->size_max;
        spool->conf.when_full = conf->when_full;
        spool->conf.after_ns = conf->after_ns;
        spool->retry_tick = 0;
        spool->is_full_told = false;
    }
}

static void end_copy(struct ingest_spool *spool) {
    struct ingest_copy *copy = &spool->copy;
    if (copy->fd >= 0) {
        (void)close(copy->fd);
    }
    if (copy->out_fd >= 0) {
        char path[PATH_MAX];
        (void)close(copy->out_fd);
        path_in(spool, TMP_NAME, path);
        (void)unlink(path); /* gone already when it has its name */
    }
    core_gzip_close(copy->gzip);
    *copy = (struct ingest_copy){.fd = -1, .out_fd = -1};
}

void ingest_spool_close(struct ingest *ingest) {
    if (ingest->spool.conf.dir != NULL) {
        end_copy(&ingest->spool);
        free(ingest->spool.conf.dir);
    }
    ingest->spool = (struct ingest_spool){0};
}

/* ---- a copy becomes the file, and the file something else again ------------------------------------------------------------------ */

/* Can this inode be that of the file from now on? Not while another that has it is open. */
static bool can_move_to(struct ingest *ingest, const struct ingest_file *file, const struct stat *st) {
    const struct ingest_file *had = ingest_file_by_inode(ingest, st->st_dev, st->st_ino);
    return had == NULL || had == file || had->source.fd < 0;
}

/* file is at path from now on, in this inode. */
static void move_to(struct ingest *ingest, struct ingest_file *file, const char *path, const struct stat *st) {
    ingest_file_close(ingest, file);
    free(file->rotated_from);
    file->rotated_from = ingest_strdup(file->path);
    file->was_dev = file->dev;
    file->was_ino = file->ino;
    struct ingest_file *had = ingest_file_by_inode(ingest, st->st_dev, st->st_ino);
    if (had != NULL && had != file) {
        ingest_file_lose_inode(ingest, had); /* a deleted one that is remembered */
    }
    if (had != file) {
        ingest_file_set_inode(ingest, file, st->st_dev, st->st_ino);
    }
    ingest_file_set_path(ingest, file, path);
    file->born_ns = ingest_born_at(path);
    file->size = st->st_size;
    file->copy_good = file->copy_lines = 0;
    file->is_gz = file->is_archived = true;
    file->is_unlinked = file->is_gone = file->is_gone_told = file->is_over = file->is_looked = false;
    file->is_failed = file->is_stuck = file->is_searched = file->awaits_close = false;
    file->quiet_tick = 0;
    if (file->has_cutter) {
        ingest_cutter_rewind(&file->cutter);
    }
    ingest->is_dirty = ingest->is_urgent = true;
}

/* No file has its bytes any more; as far as we know it is complete, or not. */
static void move_nowhere(struct ingest *ingest, struct ingest_file *file, bool is_over) {
    ingest_file_close(ingest, file);
    ingest_file_set_inode(ingest, file, 0, 0);
    ingest_file_set_path(ingest, file, file->rotated_from != NULL ? file->rotated_from : file->memory.first_path);
    file->born_ns = 0;
    file->is_gone = true;
    file->is_gone_told = is_over;
    file->is_over = is_over;
    file->quiet_tick = core_tick_ns();
    ingest->is_gone_new = true;
    ingest->is_dirty = true;
}

static uint64_t size_at(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void remove_copy(struct ingest *ingest, const char *path) {
    struct ingest_spool *spool = &ingest->spool;
    const uint64_t size = size_at(path);
    if (unlink(path) != 0 && errno != ENOENT) {
        core_log(CORE_LEVEL_WARN, "ingest", "cannot remove a copy from the spool",
                 "file=%s reason=\"%s\"; it is not needed any more and takes %llu bytes: remove it", path,
                 strerrordesc_np(errno), (unsigned long long)size);
    }
    spool->used -= size < spool->used ? size : spool->used;
    spool->is_full_told = false;
    spool->retry_tick = 0;
}

void ingest_spool_clean(struct ingest *ingest) {
    struct name name;
    if (ingest->spool.conf.dir == NULL || ingest->spool.used == 0 || ingest->is_dirty) {
        return;
    }
    for (struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        const bool is_read = file->is_over && file->source.fd < 0 && file->stream == NULL &&
                             file->queue == INGEST_QUEUE_NONE && !file->is_gone;
        if (!is_read || !name_of(ingest, file, &name)) {
            continue;
        }
        remove_copy(ingest, file->path);
        core_count(ingest->env.counters, CORE_COUNT_SPOOL_READ, 1);
        core_log(CORE_LEVEL_INFO, "ingest", "copy in the spool read to its end",
                 "file=%s of=%s position=%llu; all of it is delivered, and it is removed", file->path,
                 file->memory.first_path, (unsigned long long)ingest_file_pos(file));
        move_nowhere(ingest, file, true);
    }
}

bool ingest_spool_has_original(const struct ingest_file *file) {
    struct stat st;
    return file->rotated_from != NULL && file->was_ino != 0 && stat(file->rotated_from, &st) == 0 &&
           st.st_dev == file->was_dev && st.st_ino == file->was_ino;
}

void ingest_spool_damaged(struct ingest *ingest, struct ingest_file *file, const struct core_fail *fail) {
    struct name name;
    struct stat st;
    if (!name_of(ingest, file, &name)) {
        return;
    }
    const char *original = file->rotated_from;
    const bool has_original =
        ingest_spool_has_original(file) && stat(original, &st) == 0 && can_move_to(ingest, file, &st);
    const uint64_t pos = ingest_file_pos(file);
    const uint64_t lost = !has_original && name.end > pos ? name.end - pos : 0;
    core_count(ingest->env.counters, CORE_COUNT_SPOOL_DAMAGED, 1);
    core_count(ingest->env.counters, CORE_COUNT_SPOOL_BYTES_LOST, lost);
    core_count(ingest->env.counters, CORE_COUNT_INGEST_BYTES_LOST, lost);
    core_log(CORE_LEVEL_ERROR, "ingest", "copy in the spool is damaged",
             "file=%s of=%s reason=\"%s\" position=%llu lost_bytes=%llu; %s; check the disk under spool.dir",
             file->path, file->memory.first_path, fail->text, (unsigned long long)pos, (unsigned long long)lost,
             has_original
                 ? "the original is still there and is read on"
                 : "what was before the damage is delivered, what is behind it is lost, unless inputs[].archive "
                   "has the original; the damaged copy is kept beside, as .damaged");
    if (has_original) {
        char *path = ingest_strdup(original);
        remove_copy(ingest, file->path);
        move_to(ingest, file, path, &st);
        file->is_gz = file->is_archived = false;
        free(file->rotated_from);
        file->rotated_from = strcmp(path, file->memory.first_path) == 0 ? NULL : ingest_strdup(file->memory.first_path);
        free(path);
        ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
        return;
    }
    char aside[PATH_MAX];
    if (snprintf(aside, sizeof(aside), "%s.damaged", file->path) < (int)sizeof(aside)) {
        const uint64_t size = size_at(file->path);
        ingest->spool.used -= size < ingest->spool.used ? size : ingest->spool.used;
        (void)rename(file->path, aside);
    }
    ingest_file_retire(ingest, file);
    move_nowhere(ingest, file, false);
    file->size_seen = 0; /* what is lost is counted */
}

/* ---- the position is before the copy ------------------------------------------------------------------------------------------ */

static void note_behind(struct ingest *ingest, struct ingest_file *file, const char *path, uint64_t from) {
    const int64_t wait_ns = 2 * ingest->conf.scan_interval_ns + BEHIND_NS;
    file->is_behind = true;
    ingest->spool.look_tick = core_tick_ns() + wait_ns;
    ingest->scan_tick = 0;
    core_log(
        CORE_LEVEL_WARN, "ingest", "position is before the copy in the spool",
        "file=%s of=%s position=%llu copy_from=%llu; the keeper of positions has less than it had acknowledged when "
        "the "
        "copy was made. What is between is looked for in inputs[].paths and archive for %llds; then the copy is read "
        "from its beginning",
        path, file->memory.first_path, (unsigned long long)ingest_file_pos(file), (unsigned long long)from,
        (long long)(wait_ns / CORE_NS_PER_S));
}

bool ingest_spool_may_begin(struct ingest *ingest, struct ingest_file *file) {
    struct ingest_mark *mark = &file->memory.accepted;
    struct name name;
    if (!name_of(ingest, file, &name) || mark->pos >= name.from) {
        return true;
    }
    if (!file->is_behind && !ingest->is_once) {
        note_behind(ingest, file, file->path, name.from);
        move_nowhere(ingest, file, false);
        file->is_gone_told = true; /* this was */
        return false;
    }
    MUST(file->stream == NULL);
    const uint64_t missing = name.from - mark->pos;
    core_count(ingest->env.counters, CORE_COUNT_SPOOL_BYTES_LOST, missing);
    core_count(ingest->env.counters, CORE_COUNT_INGEST_BYTES_LOST, missing);
    core_log(CORE_LEVEL_ERROR, "ingest", "bytes before a copy in the spool are missing",
             "file=%s of=%s position=%llu copy_from=%llu missing_bytes=%llu; they had been delivered when the copy was "
             "made, and "
             "no file and no archive has them. The copy is read from its beginning. Did Kafka lose what it had "
             "acknowledged? `tapline verify` tells whether these records are in its topics",
             file->path, file->memory.first_path, (unsigned long long)mark->pos, (unsigned long long)name.from,
             (unsigned long long)missing);
    *mark = (struct ingest_mark){
        .pos = name.from, .header_at = file->source.window.header_at, .header_len = file->source.window.header_len};
    file->memory.open_from = name.from; /* a gap that is there must be seen */
    file->is_behind = false;
    ingest->is_dirty = true;
    return true;
}

/* ---- at start ----------------------------------------------------------------------------------------------------------------- */

static struct ingest_file *owner_of(const struct ingest *ingest, uint64_t gen) {
    struct ingest_file *file = ingest->files;
    while (file != NULL && (file->memory.first.len == 0 || file->memory.gen != gen)) {
        file = file->next;
    }
    return file;
}

/* One copy that was there when we started. */
static void adopt(struct ingest *ingest, const char *path, const struct name *name) {
    struct stat st;
    struct stat named;
    struct ingest_file *file = owner_of(ingest, name->gen);
    if (stat(path, &st) != 0) {
        return;
    }
    ingest->spool.used += (uint64_t)st.st_size;
    if (file == NULL) {
        core_log(
            CORE_LEVEL_WARN, "ingest", "a copy in the spool is of a file that nobody knows",
            "file=%s bytes=%llu lines=%llu; is it from another node, or was the checkpoint removed? It is not read "
            "and takes room: move it away, or remove it",
            path, (unsigned long long)(name->end - name->from), (unsigned long long)name->lines);
        return;
    }
    if (strcmp(file->path, path) == 0 && file->ino == st.st_ino && file->dev == st.st_dev) {
        file->is_archived = true;
        file->copy_lines = file->memory.accepted.pos == name->from ? file->memory.accepted.number + name->lines : 0;
        return;
    }
    if (file->memory.accepted.pos >= name->end || ingest_file_is_at(file, file->path, &named)) {
        remove_copy(ingest, path);
        return;
    }
    if (file->memory.accepted.pos < name->from) {
        note_behind(ingest, file, path, name->from);
    } else if (can_move_to(ingest, file, &st)) {
        move_to(ingest, file, path, &st);
        file->copy_lines = file->memory.accepted.pos == name->from ? file->memory.accepted.number + name->lines : 0;
    }
}

/* A copy that begins behind its file's position: was what is before it found elsewhere meanwhile? */
static void adopt_behind(struct ingest *ingest, const char *path, const struct name *name) {
    struct stat st;
    struct ingest_file *file = owner_of(ingest, name->gen);
    if (file == NULL || !file->is_behind || strcmp(file->path, path) == 0 || stat(path, &st) != 0) {
        return;
    }
    if (file->memory.accepted.pos >= name->end) {
        file->is_behind = false;
        remove_copy(ingest, path);
        return;
    }
    const bool is_idle = file->source.fd < 0 && file->stream == NULL && file->queue == INGEST_QUEUE_NONE;
    if (is_idle && (file->is_gone || file->is_over) && can_move_to(ingest, file, &st)) {
        move_to(ingest, file, path, &st);
        ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
    } else {
        ingest->spool.look_tick = core_tick_ns() + BEHIND_NS; /* it is being read elsewhere */
    }
}

static void look_through(struct ingest *ingest, void (*each)(struct ingest *, const char *, const struct name *)) {
    struct ingest_spool *spool = &ingest->spool;
    DIR *dir = opendir(spool->conf.dir);
    for (const struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL; entry = readdir(dir)) {
        char path[PATH_MAX];
        struct name name;
        if (strlen(entry->d_name) + strlen(spool->conf.dir) + 1 >= sizeof(path)) {
            continue;
        }
        path_in(spool, entry->d_name, path);
        if (strcmp(entry->d_name, TMP_NAME) == 0 && !spool->is_ready) {
            (void)unlink(path);
        } else if (parse_name(entry->d_name, &name)) {
            each(ingest, path, &name);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    spool->is_ready = true;
}

/* Is it time for copies that wait? Not while archives are still to be looked into. */
static bool is_look_due(const struct ingest *ingest) {
    const int64_t tick = ingest->spool.look_tick;
    return tick != 0 && core_tick_ns() >= tick && !ingest->is_gone_new && ingest->archive_tick != 0;
}

/* ---- room --------------------------------------------------------------------------------------------------------------------- */

/* How many lines of a copy are not delivered; all of them, if part of it was, before we started, and nobody knows how many. */
static uint64_t lines_left(const struct ingest_file *file, const struct name *name) {
    const struct ingest_mark *accepted = &file->memory.accepted;
    if (accepted->pos >= name->end) {
        return 0;
    }
    if (file->copy_lines == 0) {
        return name->lines;
    }
    return file->copy_lines > accepted->number ? file->copy_lines - accepted->number : 0;
}

/* Give up the oldest copy of which nothing is under way. false: there is none. */
static bool drop_oldest(struct ingest *ingest) {
    struct ingest_file *best = NULL;
    struct name name;
    for (struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        const bool is_idle = file->source.fd < 0 && file->stream == NULL && !file->is_gone;
        if (is_idle && name_of(ingest, file, &name) && (best == NULL || file->mtime_ns < best->mtime_ns)) {
            best = file;
        }
    }
    if (best == NULL || !name_of(ingest, best, &name)) {
        return false;
    }
    const uint64_t pos = best->memory.accepted.pos;
    const uint64_t lost = name.end > pos ? name.end - pos : 0;
    core_count(ingest->env.counters, CORE_COUNT_SPOOL_BYTES_LOST, lost);
    const uint64_t lines = lines_left(best, &name);
    core_count(ingest->env.counters, CORE_COUNT_SPOOL_LINES_LOST, lines);
    core_count(ingest->env.counters, CORE_COUNT_INGEST_BYTES_LOST, lost);
    core_log(CORE_LEVEL_ERROR, "ingest", "the spool is full: its oldest copy is given up",
             "file=%s of=%s bytes=%llu lines=%llu; they are lost, as spool.when_full: drop_oldest says. Make delivery "
             "work again, or raise spool.size_max",
             best->path, best->memory.first_path, (unsigned long long)lost, (unsigned long long)lines);
    remove_copy(ingest, best->path);
    move_nowhere(ingest, best, true);
    return true;
}

/* Is there room for the copy that is being made? */
static bool has_room(struct ingest *ingest) {
    struct ingest_spool *spool = &ingest->spool;
    while (spool->used + spool->copy.out_len > spool->conf.size_max) {
        if (spool->conf.when_full != INGEST_SPOOL_DROP_OLDEST || spool->copy.out_len > spool->conf.size_max ||
            !drop_oldest(ingest)) {
            return false;
        }
    }
    return true;
}

static void note_full(struct ingest *ingest) {
    struct ingest_spool *spool = &ingest->spool;
    end_copy(spool);
    spool->retry_tick = core_tick_ns() + RETRY_NS;
    if (!spool->is_full_told) {
        spool->is_full_told = true;
        core_log(
            CORE_LEVEL_ERROR, "ingest", "the spool is full",
            "directory=%s bytes=%llu size_max=%llu; no more copies are made. Rotated files stay open, so nothing is "
            "lost as long as tapline runs, but deleted ones keep their disk space, and a restart would lose them: "
            "make delivery work again, or raise spool.size_max and reload, or have rotation keep its files longer",
            spool->conf.dir, (unsigned long long)spool->used, (unsigned long long)spool->conf.size_max);
    }
}

/* ---- making a copy -------------------------------------------------------------------------------------------------------------- */

/* Trouble: tell, and try again later. */
static void give_up(struct ingest *ingest, const struct core_fail *fail) {
    struct ingest_spool *spool = &ingest->spool;
    core_log(
        CORE_LEVEL_ERROR, "ingest", "cannot copy a rotated file to the spool",
        "where=%s reason=\"%s\"; the file stays open and nothing is lost as long as tapline runs; tried again in a "
        "minute. See to the disk under spool.dir",
        fail->where, fail->text);
    end_copy(spool);
    spool->retry_tick = core_tick_ns() + RETRY_NS;
}

/* core_codec_sink */
static enum core_err put(void *ctx, const char *bytes, size_t len, struct core_fail *fail) {
    struct ingest_spool *spool = ctx;
    struct ingest_copy *copy = &spool->copy;
    if (!ingest_write_all(copy->out_fd, bytes, len)) {
        return core_fail_errno(fail, spool->conf.dir, "cannot write a copy");
    }
    copy->out_len += len;
    return CORE_OK;
}

/* [at, at + len) of the original to the copy; *got less than len: it is shorter. */
static enum core_err put_range(struct ingest_spool *spool, uint64_t at, uint64_t len, uint64_t *got,
                               struct core_fail *fail) {
    struct ingest_copy *copy = &spool->copy;
    char bytes[READ_BYTES];
    *got = 0;
    while (*got < len) {
        const uint64_t left = len - *got;
        const ssize_t n =
            pread(copy->fd, bytes, left < sizeof(bytes) ? (size_t)left : sizeof(bytes), (off_t)(at + *got));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return core_fail_errno(fail, spool->conf.dir, "cannot read the file to be copied");
        }
        if (n == 0) {
            return CORE_OK;
        }
        for (const char *nl = bytes; at + *got >= copy->from && nl != NULL; copy->lines += nl != NULL) {
            nl = memchr(nl, '\n', (size_t)(bytes + n - nl));
            nl = nl == NULL ? NULL : nl + 1;
        }
        const enum core_err err = core_gzip_write(copy->gzip, bytes, (size_t)n, fail);
        if (err != CORE_OK) {
            return err;
        }
        *got += (uint64_t)n;
    }
    return CORE_OK;
}

/* Rotated away, still, complete, and with bytes that nobody has accepted? */
static bool wants_copy(const struct ingest *ingest, const struct ingest_file *file, int64_t now) {
    const bool is_away = file->is_unlinked || file->scan_no != ingest->scan_no;
    struct stat st;
    return file->source.fd >= 0 && !file->source.is_gz && is_away && file->origin != NULL &&
           file->memory.first.len > 0 && !file->is_from_end && !ingest_spool_has(ingest, file->path) &&
           now - file->grew_tick >= ingest->conf.close_after_ns && ingest_file_has_ended(ingest, file, now) &&
           fstat(file->source.fd, &st) == 0 && st.st_size > 0 && (uint64_t)st.st_size > file->memory.accepted.pos;
}

static struct ingest_file *next_to_copy(const struct ingest *ingest) {
    const int64_t now = core_tick_ns();
    struct ingest_file *best = NULL;
    for (struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        if (wants_copy(ingest, file, now) && (best == NULL || file->mtime_ns < best->mtime_ns)) {
            best = file;
        }
    }
    return best;
}

/* What stands before the original's bytes in a copy. */
static enum core_err put_head(struct ingest_spool *spool, const struct ingest_mark *mark, struct core_fail *fail) {
    char line[128];
    const uint64_t base = mark->pos - mark->marker_len;
    const uint32_t header_len = mark->header_at < base ? mark->header_len : 0;
    uint64_t got = 0;
    const int len = snprintf(line, sizeof(line), "tapline-spool 1 base=%" PRIu64 " header=%" PRIu64 "+%" PRIu32 "\n",
                             base, mark->header_at, header_len);
    enum core_err err = core_gzip_write(spool->copy.gzip, line, (size_t)len, fail);
    if (err == CORE_OK) {
        err = put_range(spool, mark->header_at, header_len, &got, fail);
    }
    if (err == CORE_OK && got < header_len) {
        err = core_fail_set(fail, CORE_BAD, spool->conf.dir, "the file to be copied is shorter than its header");
    }
    if (err == CORE_OK) {
        err = put_range(spool, base, mark->marker_len, &got, fail);
    }
    spool->copy.lines = 0;
    return err;
}

static enum core_err begin_copy(struct ingest *ingest, struct ingest_file *file, struct core_fail *fail) {
    struct ingest_spool *spool = &ingest->spool;
    struct ingest_copy *copy = &spool->copy;
    char path[PATH_MAX];
    char link[64];
    if (mkdir(spool->conf.dir, DIR_MODE) != 0 && errno != EEXIST) {
        return core_fail_errno(fail, spool->conf.dir, "cannot make the spool's directory");
    }
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", file->source.fd);
    *copy = (struct ingest_copy){.dev = file->dev,
                                 .ino = file->ino,
                                 .gen = file->memory.gen,
                                 .from = file->memory.accepted.pos,
                                 .pos = file->memory.accepted.pos,
                                 .begun_tick = core_tick_ns(),
                                 .out_fd = -1};
    copy->fd = open(link, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (copy->fd < 0 || fstat(copy->fd, &st) != 0) {
        return core_fail_errno(fail, file->path, "cannot open it a second time");
    }
    copy->end = (uint64_t)st.st_size;
    path_in(spool, TMP_NAME, path);
    copy->out_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, COPY_MODE);
    if (copy->out_fd < 0) {
        return core_fail_errno(fail, path, "cannot create it");
    }
    const enum core_err err = core_gzip_open(&copy->gzip, put, spool, path, fail);
    return err == CORE_OK ? put_head(spool, &file->memory.accepted, fail) : err;
}

/* The copy is whole: give it its name, durably. */
static enum core_err name_copy(struct ingest_spool *spool, const struct stat *original, char path[PATH_MAX],
                               struct core_fail *fail) {
    const struct ingest_copy *copy = &spool->copy;
    char tmp[PATH_MAX];
    char name[NAME_MAX];
    (void)snprintf(name, sizeof(name), "%016" PRIx64 "-%" PRIu64 "-%" PRIu64 "-%" PRIu64 ".gz", copy->gen, copy->from,
                   copy->end, copy->lines);
    path_in(spool, name, path);
    path_in(spool, TMP_NAME, tmp);
    enum core_err err = CORE_OK;
    const struct timespec times[2] = {original->st_mtim, original->st_mtim}; /* the backlog goes by it */
    if (futimens(copy->out_fd, times) != 0 || fsync(copy->out_fd) != 0) {
        err = core_fail_errno(fail, tmp, "cannot fsync it");
    }
    if (err == CORE_OK && rename(tmp, path) != 0) {
        err = core_fail_errno(fail, path, "cannot rename a copy to that");
    }
    const int dir_fd = err == CORE_OK ? open(spool->conf.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (err == CORE_OK && (dir_fd < 0 || fsync(dir_fd) != 0)) {
        err = core_fail_errno(fail, spool->conf.dir, "cannot fsync the directory");
    }
    if (dir_fd >= 0) {
        (void)close(dir_fd);
    }
    return err;
}

static enum core_err finish_copy(struct ingest *ingest, struct ingest_file *file, struct core_fail *fail) {
    struct ingest_spool *spool = &ingest->spool;
    struct ingest_copy *copy = &spool->copy;
    struct stat st;
    char path[PATH_MAX];
    if (fstat(copy->fd, &st) != 0 || (uint64_t)st.st_size != copy->end) {
        end_copy(spool); /* it grew: once it stands still again, it is copied again */
        return CORE_OK;
    }
    const enum core_err err = name_copy(spool, &st, path, fail);
    struct stat made;
    if (err != CORE_OK || stat(path, &made) != 0) {
        return err != CORE_OK ? err : core_fail_errno(fail, path, "the copy is gone");
    }
    spool->used += (uint64_t)made.st_size;
    core_count(ingest->env.counters, CORE_COUNT_SPOOL_COPIES, 1);
    core_count(ingest->env.counters, CORE_COUNT_SPOOL_BYTES, copy->end - copy->from);
    core_log(
        spool->is_told ? CORE_LEVEL_INFO : CORE_LEVEL_WARN, "ingest", "rotated file copied to the spool",
        "file=%s to=%s bytes=%llu lines=%llu compressed=%llu; nothing could be delivered for %llds, and its rotation "
        "may delete it. It is read from there when delivery works again; the original is not needed any more",
        file->path, path, (unsigned long long)(copy->end - copy->from), (unsigned long long)copy->lines,
        (unsigned long long)made.st_size, (long long)(spool->conf.after_ns / CORE_NS_PER_S));
    spool->is_told = true;
    move_to(ingest, file, path, &made);
    file->copy_lines = file->memory.accepted.number + copy->lines; /* the copy begins at the accepted position */
    end_copy(spool);
    return CORE_OK;
}

/* ---- a turn --------------------------------------------------------------------------------------------------------------------- */

static enum core_err copy_some(struct ingest *ingest, struct core_fail *fail) {
    struct ingest_spool *spool = &ingest->spool;
    struct ingest_copy *copy = &spool->copy;
    struct ingest_file *file = ingest_file_by_inode(ingest, copy->dev, copy->ino);
    if (file == NULL || file->memory.gen != copy->gen || file->memory.accepted.pos != copy->from) {
        end_copy(spool); /* it is another file, or something of it was accepted */
        return CORE_OK;
    }
    const uint64_t left = copy->end - copy->pos;
    uint64_t got = 0;
    const uint64_t want = left < TURN_BYTES ? left : TURN_BYTES;
    enum core_err err = put_range(spool, copy->pos, want, &got, fail);
    copy->pos += got;
    if (err == CORE_OK) {
        err = core_gzip_finish(copy->gzip, fail); /* each with a checksum, so that a damage spoils no more */
    }
    if (err != CORE_OK) {
        return err;
    }
    if (got < want) {
        end_copy(spool); /* it has shrunk */
    } else if (!has_room(ingest)) {
        note_full(ingest);
    } else if (copy->pos == copy->end) {
        err = finish_copy(ingest, file, fail);
    }
    return err;
}

bool ingest_spool_turn(struct ingest *ingest) {
    struct ingest_spool *spool = &ingest->spool;
    const bool has_begun = ingest->env.commit == NULL || ingest->commit.is_ready;
    if (spool->conf.dir == NULL || !has_begun || ingest->is_stopped || ingest->is_once) {
        return false;
    }
    if (!spool->is_ready) {
        look_through(ingest, adopt);
    } else if (is_look_due(ingest)) {
        spool->look_tick = 0;
        look_through(ingest, adopt_behind);
    }
    const int64_t now = core_tick_ns();
    const bool can_read = ingest_commit_may_read(ingest) && ingest->env.pool->free_len > 0;
    spool->progress_tick = can_read ? now : spool->progress_tick;
    if (spool->copy.fd >= 0 && spool->copy.begun_tick < spool->progress_tick) {
        end_copy(spool); /* delivery works again */
    }
    if (spool->conf.size_max == 0 || now < spool->retry_tick || now - spool->progress_tick < spool->conf.after_ns) {
        return false;
    }
    struct core_fail fail = {0};
    enum core_err err = CORE_OK;
    if (spool->copy.fd < 0) {
        struct ingest_file *file = next_to_copy(ingest);
        if (file == NULL) {
            return false;
        }
        err = begin_copy(ingest, file, &fail);
    }
    if (err == CORE_OK) {
        err = copy_some(ingest, &fail);
    }
    if (err != CORE_OK) {
        give_up(ingest, &fail);
    }
    return err == CORE_OK;
}
