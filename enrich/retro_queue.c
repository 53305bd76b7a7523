/* enrich/retro_queue.c: new indicators that wait to be looked for, on the disk.
 *
 *     <state>/seen/new/0000000000000007   names, and how far the stream was read
 *     <state>/seen/new/0000000000000008   the part that is being filled
 *
 * New indicators come in bursts of millions, and the stream that tells of them keeps its last ten thousand entries; looking
 * for them takes its time. So what comes is written down at once, in parts of RETRO_BATCH_MAX names, which are looked for one
 * after the other, and removed when that is done. A part is a list of records: a name, or a cursor, which says that all that
 * the stream told up to there stands before it.
 *
 * Crash: the newest cursor on the disk says where to read on. What was written behind it comes twice, which is harmless (an
 * event is told once); a record that is cut ends its part. A part that was being looked for is looked for again.
 * Thread: one at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/lookback_internal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define FOLDER_MODE 0750
#define FILE_MODE 0640
#define NAME_DIGITS 16
#define HEX 16
#define NO_EPOCH "-" /* the store was empty, so that nobody had given it one */

enum { RECORD_NAME = 'n', RECORD_DOMAINS = 'd', RECORD_CURSOR = '@' }; /* DOMAINS: with its subdomains */

struct record {
    uint8_t what;
    uint8_t type;
    uint16_t len; /* of the text behind it */
};

struct retro_queue {
    char dir[PATH_BYTES];
    uint64_t first; /* parts first … open - 1 are closed */
    uint64_t open;  /* the one that is being filled */
    FILE *file;     /* its; NULL: it could not be begun, or is broken */
    size_t len;     /* names in it */
    int64_t since_tick;
    struct store_cursor cursor; /* the newest on the disk */
    bool has_cursor;
};

static void part_path(const struct retro_queue *queue, uint64_t part, char out[PATH_BYTES + NAME_DIGITS + 2]) {
    (void)snprintf(out, PATH_BYTES + NAME_DIGITS + 2, "%s/%016" PRIx64, queue->dir, part);
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------ */

static bool record_write(FILE *file, uint8_t what, enum core_indicator type, struct core_span text) {
    const struct record record = {what, (uint8_t)type, (uint16_t)text.len};
    MUST(text.len <= UINT16_MAX);
    return fwrite(&record, sizeof record, 1, file) == 1 && (text.len == 0 || fwrite(text.ptr, text.len, 1, file) == 1);
}

static bool cursor_write(FILE *file, const struct store_cursor *cursor) {
    char text[sizeof *cursor + 2];
    int len = snprintf(text, sizeof text, "%s %s", cursor->epoch[0] == '\0' ? NO_EPOCH : cursor->epoch, cursor->id);
    return record_write(file, RECORD_CURSOR, CORE_INDICATOR_NONE, (struct core_span){text, (size_t)len});
}

static bool file_sync(FILE *file) {
    return fflush(file) == 0 && fdatasync(fileno(file)) == 0;
}

/* What stands in it is good up to its last whole record; what comes next goes into another one. */
static enum core_err part_broken(struct retro_queue *queue, struct core_fail *fail) {
    char path[PATH_BYTES + NAME_DIGITS + 2];
    part_path(queue, queue->open, path);
    enum core_err err = core_fail_errno(fail, path, "cannot write down which indicators are new");
    if (queue->file != NULL) {
        (void)fclose(queue->file);
        queue->file = NULL;
        queue->open++;
    }
    return err;
}

/* A new part begins with the cursor, so that those before it may be removed. */
static enum core_err part_begin(struct retro_queue *queue, struct core_fail *fail) {
    char path[PATH_BYTES + NAME_DIGITS + 2];
    part_path(queue, queue->open, path);
    FILE *file = fopen(path, "wxe");
    if (file == NULL || fchmod(fileno(file), FILE_MODE) != 0 ||
        (queue->has_cursor && (!cursor_write(file, &queue->cursor) || !file_sync(file)))) {
        queue->file = file;
        return part_broken(queue, fail);
    }
    queue->file = file;
    queue->len = 0;
    return CORE_OK;
}

static enum core_err part_close(struct retro_queue *queue, struct core_fail *fail) {
    if (!file_sync(queue->file)) {
        return part_broken(queue, fail);
    }
    (void)fclose(queue->file);
    queue->file = NULL;
    queue->open++;
    return part_begin(queue, fail);
}

enum core_err retro_queue_add(struct retro_queue *queue, enum core_indicator type, struct core_span value,
                              bool subdomains, struct core_fail *fail) {
    if (queue->open - queue->first >= RETRO_PARTS_MAX) {
        return core_fail_set(fail, CORE_LIMIT, queue->dir, "more than %d new indicators wait to be looked for",
                             RETRO_PARTS_MAX * RETRO_BATCH_MAX);
    }
    enum core_err err = queue->file == NULL ? part_begin(queue, fail) : CORE_OK;
    if (err != CORE_OK) {
        return err;
    }
    if (!record_write(queue->file, subdomains ? RECORD_DOMAINS : RECORD_NAME, type, value)) {
        return part_broken(queue, fail);
    }
    queue->since_tick = queue->len == 0 ? core_tick_ns() : queue->since_tick;
    return ++queue->len >= RETRO_BATCH_MAX ? part_close(queue, fail) : CORE_OK;
}

enum core_err retro_queue_reach(struct retro_queue *queue, const struct store_cursor *cursor, struct core_fail *fail) {
    enum core_err err = queue->file == NULL ? part_begin(queue, fail) : CORE_OK;
    if (err == CORE_OK && (!cursor_write(queue->file, cursor) || !file_sync(queue->file))) {
        err = part_broken(queue, fail);
    }
    if (err == CORE_OK) {
        queue->cursor = *cursor;
        queue->has_cursor = true;
    }
    return err;
}

bool retro_queue_cursor(const struct retro_queue *queue, struct store_cursor *cursor) {
    if (queue->has_cursor) {
        *cursor = queue->cursor;
    }
    return queue->has_cursor;
}

/* ---- what is there ------------------------------------------------------------------------------------------------------------ */

/* The next record of a part; text has a NUL behind it. false: there is none, or half of one. */
static bool record_read(FILE *file, struct record *record, char text[SEEN_KEY_BYTES_MAX]) {
    if (fread(record, sizeof *record, 1, file) != 1 || record->len >= SEEN_KEY_BYTES_MAX ||
        (record->len > 0 && fread(text, record->len, 1, file) != 1)) {
        return false;
    }
    text[record->len] = '\0';
    return true;
}

/* Takes its cursor. Returns how many names it has. */
static size_t part_look(struct retro_queue *queue, uint64_t part) {
    char path[PATH_BYTES + NAME_DIGITS + 2];
    char text[SEEN_KEY_BYTES_MAX];
    struct record record;
    size_t names = 0;
    part_path(queue, part, path);
    FILE *file = fopen(path, "re");
    while (file != NULL && record_read(file, &record, text)) {
        struct store_cursor cursor;
        names += record.what != RECORD_CURSOR;
        if (record.what == RECORD_CURSOR && sscanf(text, "%39s %47s", cursor.epoch, cursor.id) == 2) {
            cursor.epoch[0] = strcmp(cursor.epoch, NO_EPOCH) == 0 ? '\0' : cursor.epoch[0];
            queue->cursor = cursor;
            queue->has_cursor = true;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return names;
}

static enum core_err parts_list(struct retro_queue *queue, struct core_fail *fail) {
    if (mkdir(queue->dir, FOLDER_MODE) != 0 && errno != EEXIST) {
        return core_fail_errno(fail, queue->dir, "cannot make the folder of new indicators");
    }
    DIR *dir = opendir(queue->dir);
    if (dir == NULL) {
        return core_fail_errno(fail, queue->dir, "cannot read the folder of new indicators");
    }
    const struct dirent *entry;
    queue->first = UINT64_MAX;
    while ((entry = readdir(dir)) != NULL) {
        char *end;
        uint64_t part = strtoull(entry->d_name, &end, HEX);
        if (*end != '\0' || end - entry->d_name != NAME_DIGITS || part >= UINT64_MAX / 2) {
            continue;
        }
        queue->first = part < queue->first ? part : queue->first;
        queue->open = part >= queue->open ? part + 1 : queue->open;
    }
    (void)closedir(dir);
    queue->first = queue->first > queue->open ? queue->open : queue->first;
    return CORE_OK;
}

enum core_err retro_queue_open(struct retro_queue **out, const char *dir, struct core_fail *fail) {
    struct retro_queue *queue = calloc(1, sizeof *queue);
    MUST(queue != NULL);
    *out = NULL;
    (void)snprintf(queue->dir, sizeof queue->dir, "%s", dir);
    enum core_err err = parts_list(queue, fail);
    uint64_t empty = queue->first; /* parts before it have no names */
    for (uint64_t part = queue->first; err == CORE_OK && part < queue->open; part++) {
        empty += part_look(queue, part) == 0 && empty == part;
    }
    err = err == CORE_OK ? part_begin(queue, fail) : err;
    while (err == CORE_OK && queue->first < empty) {
        err = retro_queue_done(queue, fail);
    }
    if (err != CORE_OK) {
        retro_queue_close(queue);
        return err;
    }
    *out = queue;
    return CORE_OK;
}

void retro_queue_close(struct retro_queue *queue) {
    if (queue != NULL) {
        if (queue->file != NULL) {
            (void)fclose(queue->file);
        }
        free(queue);
    }
}

/* ---- taking it out ------------------------------------------------------------------------------------------------------------ */

size_t retro_queue_parts(const struct retro_queue *queue) {
    return (size_t)(queue->open - queue->first);
}

uint64_t retro_queue_part(const struct retro_queue *queue) {
    return queue->first;
}

bool retro_queue_has_new(const struct retro_queue *queue, int64_t *since_tick) {
    *since_tick = queue->since_tick;
    return queue->file != NULL && queue->len > 0;
}

enum core_err retro_queue_cut(struct retro_queue *queue, struct core_fail *fail) {
    return queue->file != NULL && queue->len > 0 ? part_close(queue, fail) : CORE_OK;
}

enum core_err retro_queue_read(const struct retro_queue *queue,
                               void (*on_name)(void *ctx, enum core_indicator type, struct core_span value,
                                               bool subdomains),
                               void *ctx, struct core_fail *fail) {
    char path[PATH_BYTES + NAME_DIGITS + 2];
    char text[SEEN_KEY_BYTES_MAX];
    struct record record;
    MUST(queue->first < queue->open);
    part_path(queue, queue->first, path);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return errno == ENOENT ? CORE_OK : core_fail_errno(fail, path, "cannot read which indicators are new");
    }
    while (record_read(file, &record, text)) {
        bool is_name = record.what == RECORD_NAME || record.what == RECORD_DOMAINS;
        if (is_name && record.type > CORE_INDICATOR_NONE && record.type < CORE_INDICATOR__MAX && record.len > 0) {
            on_name(ctx, (enum core_indicator)record.type, (struct core_span){text, record.len},
                    record.what == RECORD_DOMAINS);
        }
    }
    bool is_broken = ferror(file) != 0;
    enum core_err err = is_broken ? core_fail_errno(fail, path, "cannot read which indicators are new") : CORE_OK;
    (void)fclose(file);
    return err;
}

enum core_err retro_queue_done(struct retro_queue *queue, struct core_fail *fail) {
    char path[PATH_BYTES + NAME_DIGITS + 2];
    MUST(queue->first < queue->open);
    part_path(queue, queue->first, path);
    enum core_err err = queue->file == NULL ? part_begin(queue, fail) : CORE_OK; /* which has the cursor */
    if (err == CORE_OK && unlink(path) != 0 && errno != ENOENT) {
        err = core_fail_errno(fail, path, "cannot remove it");
    }
    queue->first += err == CORE_OK;
    return err;
}
