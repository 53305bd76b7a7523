/* ingest/archive.c: where files go when they leave an input's paths.
 *
 * Design: archives (inputs[].archive) are looked into only while something is gone and may have more bytes: at once, then
 * after 1 s, 2 s, 4 s … 5 min. Their files are judged like any that was found (identity.c); one in which nothing goes on is
 * left alone, and not opened again until it changes. In one scan no more than 64 of them are opened, and none that was last
 * written a day before the oldest missing generation was first seen, so that years of archives cost a stat each.
 *
 * Nothing here is kept over a crash. Thread: ingest's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <glob.h>
#include <limits.h>
#include <stdlib.h>

#define DAY_NS (86400 * CORE_NS_PER_S) /* clocks differ */

/* One round through the archives of an input. */
struct round {
    struct ingest_want *want;
    int64_t floor_ns; /* files last written before that cannot have what is missing */
    int looks_left;
};

/* Gone, and there may be more of it than was read. */
static bool is_missing(const struct ingest_file *file) {
    return file->is_gone && !file->is_over && file->memory.first.len > 0 && file->source.fd < 0 &&
           file->queue == INGEST_QUEUE_NONE;
}

/* Is the inode that it is remembered by another file's by now? It is deleted and finished, and this one was born later, or
 * nobody knows. */
static bool is_used_again(const struct ingest_file *file, const char *path) {
    if (!file->is_gone || file->source.fd >= 0 || file->queue != INGEST_QUEUE_NONE) {
        return false;
    }
    const int64_t born_ns = file->born_ns == 0 ? 0 : ingest_born_at(path);
    return born_ns == 0 || born_ns != file->born_ns;
}

/* When was the oldest of what is missing first seen? INT64_MAX: nothing is. */
static int64_t oldest_missing(struct ingest *ingest, const struct ingest_want *want) {
    int64_t oldest = INT64_MAX;
    for (const struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        if (is_missing(file) && file->memory.mtime_ns < oldest && ingest_want_of(ingest, file) == want) {
            oldest = file->memory.mtime_ns;
        }
    }
    return oldest;
}

static uint64_t hash_of(const struct stat *st) {
    const int64_t key[] = {(int64_t)st->st_dev, (int64_t)st->st_ino, st->st_size, st->st_mtim.tv_sec,
                           st->st_mtim.tv_nsec};
    return core_hash64(key, sizeof(key), 0);
}

/* Was it looked at before, as it is? */
static bool is_seen(struct ingest *ingest, const struct stat *st) {
    const uint64_t hash = hash_of(st);
    uint64_t *slot = &ingest->archive_seen[hash & (INGEST_ARCHIVE_SEEN - 1)];
    const bool is_same = *slot == hash;
    *slot = hash;
    return is_same;
}

static void unsee(struct ingest *ingest, const struct stat *st) {
    ingest->archive_seen[hash_of(st) & (INGEST_ARCHIVE_SEEN - 1)] = 0;
}

static void look_into(struct ingest *ingest, struct round *round, const char *path) {
    struct stat st;
    if (ingest_want_excludes(round->want, path) || stat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
        return;
    }
    const int64_t mtime_ns = st.st_mtim.tv_sec * CORE_NS_PER_S + st.st_mtim.tv_nsec;
    struct ingest_file *known = ingest_file_by_inode(ingest, st.st_dev, st.st_ino);
    const bool is_taken = known != NULL && !is_missing(known) && !is_used_again(known, path);
    if (mtime_ns < round->floor_ns || is_taken || round->looks_left == 0 || is_seen(ingest, &st)) {
        return;
    }
    round->looks_left--;
    if (known != NULL) {
        ingest_file_set_inode(ingest, known, 0, 0); /* moved here, or its inode was used again: its bytes will tell */
    }
    struct ingest_file *file = ingest_file_new(ingest, path, st.st_dev, st.st_ino);
    file->is_archived = true;
    file->size = file->size_seen = st.st_size;
    file->grew_tick = core_tick_ns();
    file->scan_no = ingest->scan_no;
    file->origin = ingest_origin_hold(round->want->origin);
    (void)ingest_identity_judge(ingest, file);
    file = ingest_file_by_inode(ingest, st.st_dev, st.st_ino);
    if (file != NULL && file->is_failed) {
        unsee(ingest, &st); /* it could not be looked into: the next round tries again */
    }
    if (file != NULL && file->memory.first.len == 0) { /* else a generation, which may wait for its batches */
        ingest_file_free(ingest, file);                /* nothing that we miss goes on in it */
    }
}

static void look_through(struct ingest *ingest, struct round *round) {
    for (size_t i = 0; i < round->want->archives_len; i++) {
        glob_t found = {0};
        if (glob(round->want->archives[i], 0, NULL, &found) == 0) {
            for (size_t k = found.gl_pathc; k > 0; k--) { /* names mostly tell their time: the newest first */
                look_into(ingest, round, found.gl_pathv[k - 1]);
            }
        }
        globfree(&found);
    }
}

void ingest_archive_search(struct ingest *ingest) {
    const int64_t now = core_tick_ns();
    if (now < ingest->archive_tick && !ingest->is_gone_new) {
        return;
    }
    bool is_cut_short = false;
    bool is_missed = false;
    if (ingest->is_gone_new && ingest->archive_seen != NULL) {
        memset(ingest->archive_seen, 0, INGEST_ARCHIVE_SEEN * sizeof(*ingest->archive_seen));
    }
    for (size_t i = 0; i < ingest->wants.len; i++) {
        struct ingest_want *want = &ingest->wants.items[i];
        const int64_t oldest = want->archives_len == 0 ? INT64_MAX : oldest_missing(ingest, want);
        if (oldest == INT64_MAX) {
            continue;
        }
        if (ingest->archive_seen == NULL) {
            ingest->archive_seen = calloc(INGEST_ARCHIVE_SEEN, sizeof(*ingest->archive_seen));
            MUST(ingest->archive_seen != NULL);
        }
        struct round round = {.want = want,
                              .floor_ns = oldest - DAY_NS,
                              .looks_left = ingest->is_once ? INT_MAX : INGEST_ARCHIVE_LOOKS_MAX};
        look_through(ingest, &round);
        is_cut_short = is_cut_short || round.looks_left == 0;
        is_missed = true;
    }
    const int64_t longer = ingest->archive_gap_ns * 2;
    ingest->archive_gap_ns = ingest->is_gone_new || longer < INGEST_ARCHIVE_GAP_NS ? INGEST_ARCHIVE_GAP_NS
                             : longer > INGEST_ARCHIVE_GAP_NS_MAX                  ? INGEST_ARCHIVE_GAP_NS_MAX
                                                                                   : longer;
    ingest->is_gone_new = false;
    ingest->archive_tick = is_cut_short ? 0 : is_missed ? now + ingest->archive_gap_ns : INT64_MAX;
}
