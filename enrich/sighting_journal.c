/* enrich/sighting_journal.c: the journal of what was seen, and how far each stream is counted.
 *
 *     <state>/sightings/0018…c2       being written, or waiting
 *     <state>/sightings/0018…c2.told  its events are told, its counts not yet added to Redis
 *     <state>/sightings/marks         of each generation, where counting has come to, without the journals that are there
 *
 * The enrich thread appends one entry for each batch that has hits, with one write(2), before the batch goes on to the sinks.
 * So what a sink has accepted stands in a journal, however the process ends; and what is read again after a kill is known by
 * the entry's generation and position, since a stream's batches come in its order. An entry carries its length and a hash:
 * one that a crash has cut is none, and its batch was not delivered.
 *
 * Crash: nothing is lost or doubled by a kill. The journal is not fsynced while it is written: a machine that loses its power
 * may lose what was counted since the last flush.
 * Thread: entries: enrich; all else: sightings', and whoever opens it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/sighting_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENTRY_MAGIC 0x73696731u
#define MARKS_MAGIC 0x73696d31u
#define FILE_MODE 0640
#define ID_DIGITS 16
#define TRIES_MAX 1000
#define MARKS_NAME "marks"
#define TOLD_END ".told"

/* In this machine's byte order: a journal never leaves it. */
struct entry_head {
    uint32_t magic;
    uint32_t len;  /* of the rows */
    uint64_t hash; /* of gen, end and the rows */
    uint64_t gen;
    uint64_t end;
};
struct row_head {
    int64_t first_us;
    int64_t last_us;
    uint64_t count;
    int32_t day;
    uint16_t value_len;
    uint16_t said_len;
    uint64_t type;
};

/* ---- marks ---------------------------------------------------------------------------------------------------------------------- */

static size_t mark_at(const struct sighting_marks *marks, uint64_t gen) {
    size_t at = 0;
    while (at < marks->len && marks->gens[at] != gen) {
        at++;
    }
    return at;
}

uint64_t sighting_marks_get(const struct sighting_marks *marks, uint64_t gen) {
    size_t at = mark_at(marks, gen);
    return at < marks->len ? marks->ends[at] : 0;
}

void sighting_marks_set(struct sighting_marks *marks, uint64_t gen, uint64_t end) {
    size_t at = mark_at(marks, gen);
    if (at == marks->len && marks->len < SIGHTING_MARKS_MAX) {
        marks->ends[marks->len++] = 0;
    } else if (at == marks->len) {
        at = 0;
        for (size_t i = 1; i < marks->len; i++) {
            at = marks->used[i] < marks->used[at] ? i : at;
        }
        marks->ends[at] = 0;
    }
    marks->gens[at] = gen;
    marks->used[at] = ++marks->turn;
    marks->ends[at] = end > marks->ends[at] ? end : marks->ends[at];
}

static void marks_path(const char *dir, const char *end, char out[SIGHTING_PATH_BYTES]) {
    (void)snprintf(out, SIGHTING_PATH_BYTES, "%s/" MARKS_NAME "%s", dir, end);
}

static uint64_t marks_hash(const struct sighting_marks *marks) {
    return core_hash64(marks, sizeof *marks, MARKS_MAGIC);
}

/* The struct as it stands, and its hash. */
enum core_err sighting_marks_load(struct sighting_marks *marks, const char *dir, struct core_fail *fail) {
    char path[SIGHTING_PATH_BYTES];
    uint64_t hash = 0;
    memset(marks, 0, sizeof *marks);
    marks_path(dir, "", path);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return errno == ENOENT ? CORE_OK : core_fail_errno(fail, path, "cannot read how far sightings are counted");
    }
    bool is_read = fread(marks, sizeof *marks, 1, file) == 1 && fread(&hash, sizeof hash, 1, file) == 1;
    (void)fclose(file);
    if (is_read && hash == marks_hash(marks) && marks->len <= SIGHTING_MARKS_MAX) {
        return CORE_OK;
    }
    memset(marks, 0, sizeof *marks);
    return core_fail_set(fail, CORE_BAD, path, "it is cut off or damaged");
}

enum core_err sighting_marks_save(const struct sighting_marks *marks, const char *dir, struct core_fail *fail) {
    char path[SIGHTING_PATH_BYTES];
    char temporary[SIGHTING_PATH_BYTES];
    uint64_t hash = marks_hash(marks);
    marks_path(dir, "", path);
    marks_path(dir, ".tmp", temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    bool is_saved = fd >= 0 && write(fd, marks, sizeof *marks) == (ssize_t)sizeof *marks &&
                    write(fd, &hash, sizeof hash) == (ssize_t)sizeof hash && fsync(fd) == 0;
    if (!is_saved || rename(temporary, path) != 0) {
        (void)core_fail_errno(fail, temporary, "cannot write how far sightings are counted");
        is_saved = false;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return is_saved ? CORE_OK : CORE_IO;
}

/* ---- writing -------------------------------------------------------------------------------------------------------------------- */

void sighting_journal_path(const char *dir, const struct sighting_name *name, char out[SIGHTING_PATH_BYTES]) {
    (void)snprintf(out, SIGHTING_PATH_BYTES, "%s/%016llx%s", dir, (unsigned long long)name->id,
                   name->is_told ? TOLD_END : "");
}

/* The id is the time; if the clock went back, the next that is free. */
enum core_err sighting_journal_new(struct sighting_journal *journal, const char *dir, struct core_fail *fail) {
    char path[SIGHTING_PATH_BYTES];
    struct sighting_name name = {.id = (uint64_t)core_now_ns()};
    journal->fd = -1;
    for (int tries = 0; journal->fd < 0 && tries < TRIES_MAX; tries++) {
        name.id++;
        sighting_journal_path(dir, &name, path);
        journal->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, FILE_MODE);
        if (journal->fd < 0 && errno != EEXIST) {
            break;
        }
    }
    journal->id = name.id;
    atomic_store(&journal->bytes, 0);
    return journal->fd >= 0 ? CORE_OK : core_fail_errno(fail, path, "cannot make a journal of sightings");
}

void sighting_journal_close(struct sighting_journal *journal) {
    if (journal->fd >= 0) {
        (void)close(journal->fd);
    }
    journal->fd = -1;
}

void sighting_entry_begin(struct core_buf *buf) {
    static const struct entry_head none = {0};
    core_buf_put(buf, (const char *)&none, sizeof none);
}

void sighting_entry_row(struct core_buf *buf, const struct sighting_row *row) {
    MUST(row->value.len <= ENRICH_VALUE_BYTES_MAX);
    MUST(row->said.len <= SIGHTING_SAID_BYTES_MAX);
    const struct row_head head = {.first_us = row->first_us,
                                  .last_us = row->last_us,
                                  .count = row->count,
                                  .day = (int32_t)row->day,
                                  .value_len = (uint16_t)row->value.len,
                                  .said_len = (uint16_t)row->said.len,
                                  .type = (uint64_t)row->type};
    core_buf_put(buf, (const char *)&head, sizeof head);
    core_buf_span(buf, row->value);
    core_buf_span(buf, row->said);
}

static uint64_t entry_hash(const char *entry, size_t rows_len) {
    const size_t from = offsetof(struct entry_head, gen);
    return core_hash64(entry + from, sizeof(struct entry_head) - from + rows_len, ENTRY_MAGIC);
}

enum core_err sighting_entry_append(struct sighting_journal *journal, struct core_buf *buf, uint64_t gen, uint64_t end,
                                    struct core_fail *fail) {
    size_t len = (size_t)(buf->pos - buf->start);
    uint64_t before = atomic_load_explicit(&journal->bytes, memory_order_relaxed);
    if (buf->is_full || len + before > SIGHTING_JOURNAL_BYTES_MAX) {
        return core_fail_set(fail, CORE_LIMIT, "sightings", "the journal has %llu bytes already, and %zu do not fit",
                             (unsigned long long)before, len);
    }
    struct entry_head head = {.magic = ENTRY_MAGIC, .len = (uint32_t)(len - sizeof head), .gen = gen, .end = end};
    memcpy(buf->start, &head, sizeof head);
    head.hash = entry_hash(buf->start, head.len);
    memcpy(buf->start, &head, sizeof head);
    ssize_t wrote = write(journal->fd, buf->start, len);
    if (wrote == (ssize_t)len) {
        atomic_store_explicit(&journal->bytes, before + len, memory_order_relaxed);
        return CORE_OK;
    }
    errno = wrote < 0 ? errno : ENOSPC;
    enum core_err err = core_fail_errno(fail, "sightings", "cannot append to their journal");
    if (wrote > 0 && ftruncate(journal->fd, (off_t)before) != 0) { /* or nobody could read what comes behind */
        atomic_store_explicit(&journal->bytes, SIGHTING_JOURNAL_BYTES_MAX, memory_order_relaxed);
    }
    return err;
}

/* ---- what is there --------------------------------------------------------------------------------------------------------------- */

static bool name_read(const char *text, struct sighting_name *name) {
    *name = (struct sighting_name){0};
    if (strspn(text, "0123456789abcdef") != ID_DIGITS) {
        return false;
    }
    name->id = strtoull(text, NULL, 16);
    name->is_told = strcmp(text + ID_DIGITS, TOLD_END) == 0;
    return name->is_told || text[ID_DIGITS] == '\0';
}

static int name_compare(const void *a, const void *b) {
    const struct sighting_name *one = a;
    const struct sighting_name *two = b;
    return one->id < two->id ? -1 : one->id > two->id;
}

enum core_err sighting_journal_list(const char *dir, struct sighting_name **out, size_t *len, struct core_fail *fail) {
    struct sighting_name name;
    size_t cap = 0;
    *out = NULL;
    *len = 0;
    DIR *folder = opendir(dir);
    if (folder == NULL) {
        return core_fail_errno(fail, dir, "cannot read the folder of sightings");
    }
    for (struct dirent *item; (item = readdir(folder)) != NULL;) {
        char path[SIGHTING_PATH_BYTES];
        struct stat info;
        if (!name_read(item->d_name, &name)) {
            continue;
        }
        sighting_journal_path(dir, &name, path);
        name.bytes = stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
        if (*len == cap) {
            cap = cap * 2 + 16;
            *out = realloc(*out, cap * sizeof **out);
            MUST(*out != NULL);
        }
        (*out)[(*len)++] = name;
    }
    (void)closedir(folder);
    if (*len > 1) {
        qsort(*out, *len, sizeof **out, name_compare);
    }
    return CORE_OK;
}

/* ---- reading -------------------------------------------------------------------------------------------------------------------- */

static enum core_err bytes_load(struct sighting_read *read, const char *path, struct core_fail *fail) {
    struct stat info;
    FILE *file = fopen(path, "re");
    if (file == NULL || fstat(fileno(file), &info) != 0) {
        enum core_err err = core_fail_errno(fail, path, "cannot read a journal of sightings");
        if (file != NULL) {
            (void)fclose(file);
        }
        return err;
    }
    size_t size = (size_t)info.st_size;
    read->bytes = malloc(size + 1);
    MUST(read->bytes != NULL);
    read->len = fread(read->bytes, 1, size, file);
    enum core_err err = ferror(file) != 0 ? core_fail_errno(fail, path, "cannot read a journal of sightings") : CORE_OK;
    (void)fclose(file);
    return err;
}

/* The entry that begins at *at. false: there is no whole one. */
static bool entry_next(const struct sighting_read *read, size_t *at, struct entry_head *head, struct core_span *rows) {
    if (read->len - *at < sizeof *head) {
        return false;
    }
    const char *entry = read->bytes + *at;
    memcpy(head, entry, sizeof *head);
    if (head->magic != ENTRY_MAGIC || head->len > read->len - *at - sizeof *head ||
        head->hash != entry_hash(entry, head->len)) {
        return false;
    }
    *rows = (struct core_span){entry + sizeof *head, head->len};
    *at += sizeof *head + head->len;
    return true;
}

/* The hash was right: what is wrong now is our own mistake. */
static struct sighting_row row_cut(struct core_span *rows) {
    struct row_head head;
    MUST(rows->len >= sizeof head);
    memcpy(&head, rows->ptr, sizeof head);
    const char *value = rows->ptr + sizeof head;
    size_t len = sizeof head + head.value_len + head.said_len;
    MUST(rows->len >= len);
    MUST(head.type > CORE_INDICATOR_NONE && head.type < CORE_INDICATOR__MAX);
    *rows = (struct core_span){rows->ptr + len, rows->len - len};
    return (struct sighting_row){.type = (enum core_indicator)head.type,
                                 .day = head.day,
                                 .count = head.count,
                                 .first_us = head.first_us,
                                 .last_us = head.last_us,
                                 .value = {value, head.value_len},
                                 .said = {value + head.value_len, head.said_len}};
}

static int row_compare(const struct sighting_row *one, const struct sighting_row *two) {
    if (one->day != two->day) {
        return one->day < two->day ? -1 : 1;
    }
    if (one->type != two->type) {
        return one->type < two->type ? -1 : 1;
    }
    size_t shorter = one->value.len < two->value.len ? one->value.len : two->value.len;
    int order = memcmp(one->value.ptr, two->value.ptr, shorter);
    return order != 0 ? order : one->value.len < two->value.len ? -1 : one->value.len > two->value.len;
}

/* The same indicator and day: in the order of the journal. */
static int row_sort(const void *a, const void *b) {
    const struct sighting_row *one = a;
    const struct sighting_row *two = b;
    int order = row_compare(one, two);
    return order != 0 ? order : one->value.ptr < two->value.ptr ? -1 : one->value.ptr > two->value.ptr;
}

/* Rows of the same indicator and day become one, with what was said last. */
static void rows_merge(struct sighting_read *read) {
    size_t kept = 0;
    if (read->rows_len > 1) {
        qsort(read->rows, read->rows_len, sizeof *read->rows, row_sort);
    }
    for (size_t i = 0; i < read->rows_len; i++) {
        struct sighting_row row = read->rows[i];
        struct sighting_row *last = kept > 0 ? &read->rows[kept - 1] : NULL;
        if (last == NULL || row_compare(last, &row) != 0) {
            read->rows[kept++] = row;
            continue;
        }
        last->count += row.count;
        last->first_us = row.first_us < last->first_us ? row.first_us : last->first_us;
        last->last_us = row.last_us > last->last_us ? row.last_us : last->last_us;
        last->said = row.said;
    }
    read->rows_len = kept;
}

enum core_err sighting_journal_read(struct sighting_read *out, const char *dir, const struct sighting_name *name,
                                    struct sighting_marks *marks, struct core_fail *fail) {
    char path[SIGHTING_PATH_BYTES];
    struct entry_head head;
    struct core_span rows;
    size_t at = 0, cap = 0;
    *out = (struct sighting_read){0};
    sighting_journal_path(dir, name, path);
    enum core_err err = bytes_load(out, path, fail);
    if (err != CORE_OK) {
        return err;
    }
    while (entry_next(out, &at, &head, &rows)) {
        while (rows.len > 0) {
            if (out->rows_len == cap) {
                cap = cap * 2 + 64;
                out->rows = realloc(out->rows, cap * sizeof *out->rows);
                MUST(out->rows != NULL);
            }
            out->rows[out->rows_len++] = row_cut(&rows);
        }
        if (marks != NULL) {
            sighting_marks_set(marks, head.gen, head.end);
        }
    }
    if (at < out->len) {
        core_log(CORE_LEVEL_INFO, "sightings",
                 "a journal ends with an entry that a crash has cut; its records were not delivered, and are counted "
                 "when they are read again",
                 "path=%s at=%zu bytes=%zu", path, at, out->len - at);
    }
    rows_merge(out);
    return CORE_OK;
}

void sighting_read_release(struct sighting_read *read) {
    free(read->rows);
    free(read->bytes);
    *read = (struct sighting_read){0};
}
