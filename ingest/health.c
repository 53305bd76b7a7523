/* ingest/health.c: what ingest tells of itself: how far each log is behind, and what cannot be read or written.
 *
 * A row is a log by the name that its documents have (log.file.path): the file that was renamed away and the one that took its
 * place count together, and so does the copy of one in the spool. A file that was read to its end, and in which nothing can
 * follow, has no row.
 *
 * Lag is what lies behind the accepted position (committed, where there is a keeper of positions), less a record at the end that
 * is not whole yet: nobody can deliver half a line. Its age is that of its first byte, as growth.c knows it. Positions of a .gz
 * are in unpacked bytes and its size in packed ones, so its numbers are about right: read is how much of the packed file was
 * used, and accepted has the same share of that as of the unpacked bytes.
 *
 * Thread: ingest's; twice a second.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <stdlib.h>
#include <unistd.h>

#include "core/health.h"

#define ROWS_MAX 2000              /* logs with a row of their own; the others have one together */
#define ROW_PATHS_BYTES_MAX 262144 /* of their names: a health document must stay readable */
#define OTHERS "(others)"
#define COMPLAINTS_MAX 32                      /* files that are complained of one by one */
#define GONE_TOLD_NS (600 * CORE_NS_PER_S)     /* for how long a file that is gone unread is a problem */
#define POSITIONS_AFTER_NS (5 * CORE_NS_PER_S) /* so long the keeper may take to know where we stood */

/* One file, then one log: those of one name are added up. */
struct entry {
    const char *path;
    uint64_t hash;
    uint64_t size, read, accepted, lag;
    int64_t lag_since_ns; /* wall clock; 0: no lag */
    int64_t last_ns;
    uint64_t rotations;
    bool is_failed;
};

struct look {
    int64_t now;     /* core_tick_ns() */
    int64_t wall_ns; /* the same on the wall clock */
    struct entry *entries;
    size_t len, cap;
};

static int64_t tick_of(const struct look *look, int64_t wall_ns) {
    return look->now - (look->wall_ns - wall_ns);
}

static int64_t wall_of(const struct look *look, int64_t tick) {
    const int64_t ns = look->wall_ns - (look->now - tick);
    return ns < 1 ? 1 : ns; /* 0 is "none" */
}

/* ---- names that began anew ------------------------------------------------------------------------------------------------ */

static struct ingest_rotated *rotated_find(struct ingest *ingest, const char *path) {
    for (size_t i = 0; i < ingest->health.rotated_len; i++) {
        if (strcmp(ingest->health.rotated[i].path, path) == 0) {
            return &ingest->health.rotated[i];
        }
    }
    return NULL;
}

void ingest_health_rotated(struct ingest *ingest, const struct ingest_file *file) {
    struct ingest_health *health = &ingest->health;
    const char *path = file->memory.first_path;
    if (file->rotated_from != NULL || strcmp(file->path, path) != 0) {
        return; /* it had left its name before */
    }
    struct ingest_rotated *at = rotated_find(ingest, path);
    if (at == NULL && health->rotated_len < INGEST_ROTATED_MAX) {
        at = &health->rotated[health->rotated_len++];
        *at = (struct ingest_rotated){.path = ingest_strdup(path)};
    } else if (at == NULL) { /* the one that rotated longest ago begins at 0 again, should it ever come back */
        at = &health->rotated[0];
        for (size_t i = 1; i < health->rotated_len; i++) {
            at = health->rotated[i].tick < at->tick ? &health->rotated[i] : at;
        }
        free(at->path);
        *at = (struct ingest_rotated){.path = ingest_strdup(path)};
    }
    at->count++;
    at->tick = core_tick_ns();
}

void ingest_health_trouble(struct ingest_file *file, const char *text) {
    free(file->trouble);
    file->trouble = text == NULL ? NULL : ingest_strdup(text);
}

void ingest_health_close(struct ingest *ingest) {
    for (size_t i = 0; i < ingest->health.rotated_len; i++) {
        free(ingest->health.rotated[i].path);
    }
    free(ingest->health.entries);
    ingest->health = (struct ingest_health){0};
}

void ingest_health_replaced(struct ingest_file *file, struct ingest_file *orphan) {
    const int64_t since = file->growth == NULL ? core_tick_ns() : file->growth->same_tick;
    if (orphan != NULL) {
        orphan->growth = file->growth;
        file->growth = NULL;
    }
    if (file->growth == NULL) {
        file->growth = calloc(1, sizeof(*file->growth));
        MUST(file->growth != NULL);
    }
    ingest_growth_begin(file->growth, 0, since, since, since);
}

/* ---- one file -------------------------------------------------------------------------------------------------------------- */

static bool is_followed(const struct ingest_file *file) {
    const bool is_away = file->source.fd < 0 && (file->is_gone || file->is_unlinked || file->ino == 0);
    return file->origin != NULL && file->hold.gen == 0 && !is_away;
}

/* Its size and last write as they are now, if that can be seen at once; else as last looked at. */
static uint64_t size_now(const struct ingest_file *file, int64_t *mtime_ns) {
    struct stat st;
    *mtime_ns = file->mtime_ns;
    if (file->source.fd >= 0 && fstat(file->source.fd, &st) == 0) {
        *mtime_ns = st.st_mtim.tv_sec * CORE_NS_PER_S + st.st_mtim.tv_nsec;
        return st.st_size < 0 ? 0 : (uint64_t)st.st_size;
    }
    const int64_t size = file->size_looked > file->size ? file->size_looked : file->size;
    return size < 0 ? 0 : (uint64_t)size;
}

/* See how it has grown, and from when on it has what is behind `accepted`. */
static void grow(const struct look *look, struct ingest_file *file, uint64_t size, int64_t mtime_ns) {
    const int64_t wrote = tick_of(look, mtime_ns);
    if (file->growth == NULL) {
        const int64_t found_ns = file->memory.mtime_ns != 0 ? file->memory.mtime_ns : mtime_ns;
        const int64_t born_ns =
            file->born_ns == 0 || (file->is_gz && found_ns < file->born_ns) ? found_ns : file->born_ns;
        file->growth = calloc(1, sizeof(*file->growth));
        MUST(file->growth != NULL);
        ingest_growth_begin(file->growth, size, tick_of(look, born_ns), wrote, look->now);
        return;
    }
    ingest_growth_see(file->growth, size, wrote, look->now);
}

/* All that it has was read and is accepted, apart from lines that are no records and half a record at its end. */
static bool is_all_accepted(const struct ingest_file *file, uint64_t size) {
    const bool is_settled = file->stream == NULL || ingest_stream_is_settled(file->stream);
    if (!is_settled || file->awaits_drain) {
        return false;
    }
    const bool is_read = file->has_cutter && file->cutter.last.pos == file->memory.accepted.pos && file->is_looked &&
                         file->queue == INGEST_QUEUE_NONE && !file->is_failed && !file->is_from_end &&
                         size == (uint64_t)file->size;
    return file->is_over || is_read;
}

static void measure_gz(struct ingest_file *file, struct entry *entry) {
    struct ingest_growth *growth = file->growth;
    const uint64_t pos = ingest_file_pos(file);
    const off_t used = file->source.fd >= 0 ? lseek(file->source.fd, 0, SEEK_CUR) : -1;
    if (used > 0 && pos > 0) {
        growth->packed_share = (double)used / (double)pos;
    }
    const double read = growth->packed_share * (double)pos;
    const double accepted = growth->packed_share * (double)file->memory.accepted.pos;
    const double size = (double)entry->size;
    entry->read = (uint64_t)(read < size ? read : size);
    entry->accepted = (uint64_t)(accepted < size ? accepted : size);
}

static void measure_plain(const struct ingest_file *file, struct entry *entry) {
    const uint64_t pos = ingest_file_pos(file);
    const uint64_t skipped = file->is_from_end ? (uint64_t)file->size_found : 0;
    entry->read = pos > skipped ? pos : skipped;
    entry->accepted = file->memory.accepted.pos > skipped ? file->memory.accepted.pos : skipped;
    entry->size =
        entry->size > entry->accepted ? entry->size : entry->accepted; /* truncated: not seen by the reader yet */
}

/* false: it is done with and needs no row. */
static bool measure(struct ingest *ingest, const struct look *look, struct ingest_file *file, struct entry *entry) {
    int64_t mtime_ns = 0;
    const uint64_t copy_end = ingest_spool_end_of(ingest, file);
    *entry = (struct entry){.path = file->memory.first_path, .is_failed = file->is_failed};
    entry->size = size_now(file, &mtime_ns);
    const bool is_all = is_all_accepted(file, entry->size);
    if (is_all && file->is_over) {
        return false;
    }
    entry->size = copy_end > 0 ? copy_end : entry->size; /* a copy speaks of its original */
    grow(look, file, entry->size, copy_end > 0 ? file->memory.mtime_ns : mtime_ns);
    if (file->is_gz && copy_end == 0) {
        measure_gz(file, entry);
    } else {
        measure_plain(file, entry);
    }
    if (is_all) {
        entry->accepted = file->is_gz ? entry->size : ingest_file_pos(file);
        entry->read = entry->accepted > entry->read ? entry->accepted : entry->read;
    } else {
        entry->lag = entry->size > entry->accepted ? entry->size - entry->accepted : 0;
    }
    ingest_growth_forget(file->growth, entry->accepted);
    if (entry->lag > 0) {
        entry->lag_since_ns = wall_of(look, ingest_growth_when(file->growth, entry->accepted));
    }
    entry->last_ns = entry->size > 0 ? mtime_ns : 0;
    return true;
}

/* ---- all of them ------------------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
    const struct entry *left = a;
    const struct entry *right = b;
    if (left->hash != right->hash) {
        return left->hash < right->hash ? -1 : 1;
    }
    return strcmp(left->path, right->path);
}

static int by_lag(const void *a, const void *b) {
    const struct entry *left = a;
    const struct entry *right = b;
    if (left->lag != right->lag) {
        return left->lag > right->lag ? -1 : 1;
    }
    return strcmp(left->path, right->path);
}

static void entry_add(struct entry *to, const struct entry *more) {
    to->size += more->size;
    to->read += more->read;
    to->accepted += more->accepted;
    to->lag += more->lag;
    const bool is_older = to->lag_since_ns == 0 || more->lag_since_ns < to->lag_since_ns;
    to->lag_since_ns = more->lag_since_ns != 0 && is_older ? more->lag_since_ns : to->lag_since_ns;
    to->last_ns = more->last_ns > to->last_ns ? more->last_ns : to->last_ns;
    to->rotations += more->rotations;
    to->is_failed = to->is_failed || more->is_failed;
}

static void files_look(struct ingest *ingest, struct look *look) {
    for (struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        struct entry entry;
        if (!is_followed(file) || !measure(ingest, look, file, &entry)) {
            free(file->growth);
            file->growth = NULL;
            continue;
        }
        if (look->len == look->cap) {
            look->cap = look->cap == 0 ? 64 : look->cap * 2;
            look->entries = realloc(look->entries, look->cap * sizeof(*look->entries));
            MUST(look->entries != NULL);
        }
        entry.hash = core_hash64(entry.path, strlen(entry.path), 0);
        look->entries[look->len++] = entry;
    }
}

static void names_join(struct ingest *ingest, struct look *look) {
    size_t len = 0;
    if (look->len > 1) {
        qsort(look->entries, look->len, sizeof(*look->entries), by_name);
    }
    for (size_t i = 0; i < look->len; i++) {
        if (len > 0 && by_name(&look->entries[len - 1], &look->entries[i]) == 0) {
            entry_add(&look->entries[len - 1], &look->entries[i]);
        } else {
            look->entries[len++] = look->entries[i];
        }
    }
    look->len = len;
    for (size_t i = 0; i < ingest->health.rotated_len; i++) {
        struct entry key = {.path = ingest->health.rotated[i].path};
        key.hash = core_hash64(key.path, strlen(key.path), 0);
        struct entry *at = len == 0 ? NULL : bsearch(&key, look->entries, len, sizeof(key), by_name);
        if (at != NULL) {
            at->rotations = ingest->health.rotated[i].count;
        }
    }
}

static void row_add(struct core_health_page *page, const struct entry *entry) {
    struct core_health_row *row = core_health_add(page, CORE_HEALTH_FILE, entry->path, NULL, NULL);
    core_health_set(row, CORE_FILE_SIZE, (int64_t)entry->size);
    core_health_set(row, CORE_FILE_READ, (int64_t)entry->read);
    core_health_set(row, CORE_FILE_ACCEPTED, (int64_t)entry->accepted);
    core_health_set(row, CORE_FILE_LAG, (int64_t)entry->lag);
    core_health_set(row, CORE_FILE_LAG_SINCE, entry->lag_since_ns);
    core_health_set(row, CORE_FILE_LAST, entry->last_ns == 0 ? CORE_HEALTH_UNKNOWN : entry->last_ns);
    core_health_set(row, CORE_FILE_ROTATIONS, (int64_t)entry->rotations);
    core_health_set(row, CORE_FILE_FAILED, entry->is_failed ? 1 : 0);
}

static void rows_add(struct core_health_page *page, struct look *look) {
    size_t bytes = 0;
    for (size_t i = 0; i < look->len; i++) {
        bytes += strlen(look->entries[i].path);
    }
    if (look->len > ROWS_MAX || bytes > ROW_PATHS_BYTES_MAX) {
        qsort(look->entries, look->len, sizeof(*look->entries), by_lag);
    }
    struct entry others = {.path = OTHERS};
    bool has_others = false;
    bytes = 0;
    for (size_t i = 0; i < look->len; i++) {
        bytes += strlen(look->entries[i].path);
        if (i < ROWS_MAX && bytes <= ROW_PATHS_BYTES_MAX) {
            row_add(page, &look->entries[i]);
        } else {
            entry_add(&others, &look->entries[i]);
            has_others = true;
        }
    }
    if (has_others) {
        row_add(page, &others);
    }
}

/* ---- what only ingest knows ---------------------------------------------------------------------------------------------------- */

static void files_complain(const struct ingest *ingest, struct core_health_page *page, int64_t now) {
    size_t told = 0;
    for (const struct ingest_file *file = ingest->files; file != NULL && told < COMPLAINTS_MAX; file = file->next) {
        const char *path = file->memory.first_path;
        const uint64_t unread = ingest_file_unread(file);
        const bool is_gone = file->is_gone && file->is_gone_told && !file->is_unlinked && unread > 0;
        if (file->is_failed) {
            core_health_complain(
                page, "file_unreadable", CORE_HEALTH_FILE, path, NULL, NULL,
                "%s cannot be read: %s. Other files go on; this one is read on at byte %llu when it can "
                "be read again",
                file->path, file->trouble == NULL ? "see the log" : file->trouble,
                (unsigned long long)ingest_file_pos(file));
            told++;
        } else if (is_gone && now - file->quiet_tick < GONE_TOLD_NS) {
            core_health_complain(page, "file_unreadable", CORE_HEALTH_FILE, path, NULL, NULL,
                                 "%s is gone with %llu bytes that were not read. It is read on if it comes back, or is "
                                 "found by inputs[].archive",
                                 file->path, (unsigned long long)unread);
            told++;
        }
    }
}

static void state_complain(const struct ingest *ingest, struct core_health_page *page) {
    const struct ingest_health *health = &ingest->health;
    if (ingest->is_checkpoint_failed) {
        core_health_complain(page, "state_unwritable", CORE_HEALTH_PROCESS, NULL, NULL, NULL,
                             "node.state %s cannot be written (%s): the checkpoint is as it was, and %s",
                             ingest->env.state_dir, health->state_trouble,
                             ingest->commit.is_keeping ? "delivery goes on, for Kafka has the positions"
                                                       : "files that are new wait; others go on");
    }
    if (ingest->env.commit == NULL || ingest->commit.is_ready) {
        return;
    }
    const int64_t waited_ns = core_tick_ns() - health->opened_tick;
    core_health_complain(page, waited_ns > POSITIONS_AFTER_NS ? "positions_unknown" : "positions_awaited",
                         CORE_HEALTH_PROCESS, NULL, NULL, NULL,
                         "%s has not said for %lld s up to where the logs were delivered, and until then none is read: "
                         "its brokers cannot be reached, or do not give the topic of positions",
                         ingest->env.keeper, (long long)(waited_ns / CORE_NS_PER_S));
}

void ingest_health(struct ingest *ingest, struct core_health_page *page) {
    struct look look = {.now = core_tick_ns(),
                        .wall_ns = core_now_ns(),
                        .entries = ingest->health.entries,
                        .cap = ingest->health.entries_cap};
    if (ingest->scan_no > 0) { /* before that nobody knows what is there */
        files_look(ingest, &look);
        names_join(ingest, &look);
        rows_add(page, &look);
        files_complain(ingest, page, look.now);
    }
    state_complain(ingest, page);
    ingest->health.entries = look.entries;
    ingest->health.entries_cap = look.cap;
}
