/* ingest/scan.c: which files there are, what they are called now, and when one is over.
 *
 * Design: a scan asks every glob, then looks after the files that no glob gave. A file is known by its inode, so a renamed
 * file is the same file: matched under its new name, or found by its descriptor (/proc/self/fd), or by looking through the
 * directory it was in. A file is closed when nothing was written for close_after and its place is taken by another, or its
 * last name is gone; it is forgotten some time after that.
 *
 * On a crash: the next process does the same from the checkpoint, which has the name that each file had last.
 * Thread: ingest's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LISTING_FIRST 256 /* names of a directory that there is room for at first */

/* ---- inputs -------------------------------------------------------------------------------------------------------------- */

static char **copy_list(const struct core_conf_list *list) {
    char **out = calloc(list->len + 1, sizeof(*out));
    MUST(out != NULL);
    for (size_t i = 0; i < list->len; i++) {
        out[i] = ingest_strdup(list->items[i].value);
    }
    return out;
}

static void free_list(char **list, size_t len) {
    for (size_t i = 0; list != NULL && i < len; i++) {
        free(list[i]);
    }
    free(list);
}

void ingest_wants_init(struct ingest_wants *wants, const struct ingest_input *inputs, size_t len) {
    wants->items = calloc(len + 1, sizeof(*wants->items));
    MUST(wants->items != NULL);
    wants->len = len;
    for (size_t i = 0; i < len; i++) {
        wants->items[i] = (struct ingest_want){
            .paths = copy_list(&inputs[i].paths),
            .paths_len = inputs[i].paths.len,
            .excludes = copy_list(&inputs[i].exclude),
            .excludes_len = inputs[i].exclude.len,
            .archives = copy_list(&inputs[i].archive),
            .archives_len = inputs[i].archive.len,
            .is_from_end = inputs[i].start == INGEST_START_END,
            .origin = ingest_origin_new(&inputs[i].origin),
        };
    }
}

void ingest_wants_release(struct ingest_wants *wants) {
    for (size_t i = 0; i < wants->len; i++) {
        free_list(wants->items[i].paths, wants->items[i].paths_len);
        free_list(wants->items[i].excludes, wants->items[i].excludes_len);
        free_list(wants->items[i].archives, wants->items[i].archives_len);
        ingest_origin_drop(wants->items[i].origin);
    }
    free(wants->items);
    *wants = (struct ingest_wants){0};
}

bool ingest_want_excludes(const struct ingest_want *want, const char *path) {
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    for (size_t i = 0; i < want->excludes_len; i++) {
        if (fnmatch(want->excludes[i], path, FNM_PATHNAME) == 0 || fnmatch(want->excludes[i], name, 0) == 0) {
            return true;
        }
    }
    return false;
}

/* The first input that would take a file of this name. */
static struct ingest_want *want_of(struct ingest *ingest, const char *path) {
    for (size_t i = 0; i < ingest->wants.len; i++) {
        struct ingest_want *want = &ingest->wants.items[i];
        for (size_t k = 0; k < want->paths_len; k++) {
            if (fnmatch(want->paths[k], path, FNM_PATHNAME | FNM_PERIOD) == 0 && !ingest_want_excludes(want, path)) {
                return want;
            }
        }
    }
    return NULL;
}

struct ingest_want *ingest_want_of(struct ingest *ingest, const struct ingest_file *file) {
    struct ingest_want *want = want_of(ingest, file->memory.first_path);
    return want == NULL ? want_of(ingest, file->path) : want;
}

static void set_origin(struct ingest_file *file, struct ingest_origin *origin) {
    if (file->origin != origin) {
        ingest_origin_drop(file->origin);
        file->origin = ingest_origin_hold(origin);
        /* A format that a reload names holds from the next record on; auto leaves what was found. */
        ingest_cutter_tell(&file->cutter, &origin->core);
    }
}

/* ---- names --------------------------------------------------------------------------------------------------------------- */

/* errno is 0 when the name leads to another file. */
static bool leads_to(const char *path, dev_t dev, ino_t ino, struct stat *st) {
    errno = 0;
    return stat(path, st) == 0 && st->st_dev == dev && st->st_ino == ino;
}

/* Behind leads_to(): did it fail for a reason that says nothing of the file (no permission, a disk that does not answer)? Then
 * nobody knows where it is, and it is left as it is. */
static bool is_nobody_sure(void) {
    return errno != 0 && errno != ENOENT && errno != ENOTDIR;
}

int64_t ingest_born_at(const char *path) {
    struct statx stx;
    if (statx(AT_FDCWD, path, 0, STATX_BTIME, &stx) != 0 || (stx.stx_mask & STATX_BTIME) == 0) {
        return 0;
    }
    return stx.stx_btime.tv_sec * CORE_NS_PER_S + stx.stx_btime.tv_nsec;
}

/* Can this name's inode be that of the file? One that we hold open cannot be used again; else its birth tells, where the
 * file system knows it. */
static bool is_born_same(const struct ingest_file *file, const char *path) {
    const int64_t born_ns = file->source.fd >= 0 || file->born_ns == 0 ? 0 : ingest_born_at(path);
    return born_ns == 0 || born_ns == file->born_ns;
}

bool ingest_file_is_at(const struct ingest_file *file, const char *path, struct stat *st) {
    return leads_to(path, file->dev, file->ino, st) && is_born_same(file, path);
}

static void look(struct ingest *ingest, struct ingest_file *file, const struct stat *st) {
    file->is_gone = file->is_gone_told = false;
    file->is_searched = false;
    file->is_pinned = false;
    if (ingest->is_once) {
        file->once_end = (uint64_t)st->st_size;
    }
    ingest_file_look(ingest, file, st);
}

static void note_renamed(struct ingest *ingest, struct ingest_file *file, const char *path) {
    core_count(ingest->env.counters, CORE_COUNT_INGEST_FILES_ROTATED, 1);
    ingest_health_rotated(ingest, file);
    core_log(CORE_LEVEL_INFO, "ingest", "file renamed",
             "from=%s to=%s position=%llu; it is the same stream and read on from there", file->path, path,
             (unsigned long long)ingest_file_pos(file));
    if (file->rotated_from == NULL) {
        file->rotated_from = ingest_strdup(file->path);
    } else if (strcmp(file->rotated_from, path) == 0) {
        free(file->rotated_from);
        file->rotated_from = NULL;
    }
    ingest_file_set_path(ingest, file, path);
}

/* What is fixed when a file is first seen. */
static void first_sight(struct ingest *ingest, struct ingest_file *file, const struct stat *st) {
    file->memory.mtime_ns = st->st_mtim.tv_sec * CORE_NS_PER_S + st->st_mtim.tv_nsec;
    file->born_ns = ingest_born_at(file->path);
    ingest->is_dirty = ingest->is_urgent = true;
}

/* A glob gave this file. */
static void note_match(struct ingest *ingest, struct ingest_want *want, const char *path, const struct stat *st,
                       bool is_first_look) {
    struct ingest_file *file = ingest_file_by_inode(ingest, st->st_dev, st->st_ino);
    struct stat other;
    if (file != NULL && file->scan_no == ingest->scan_no) {
        return; /* a second name for it: the first input that names it has it */
    }
    const bool is_reused = file != NULL && ((file->is_unlinked && file->source.fd < 0) || !is_born_same(file, path));
    if (is_reused) {
        (void)ingest_file_become_new(ingest, file); /* that one was deleted: its inode was used again */
        free(file->rotated_from);
        file->rotated_from = NULL;
        ingest_file_set_path(ingest, file, path);
        free(file->memory.first_path);
        file->memory.first_path = ingest_strdup(path);
        file->is_gone = file->is_archived = file->is_looked = false;
        file->found_no = ++ingest->found_no;
    }
    const bool is_new = file == NULL;
    if (is_new) {
        file = ingest_file_new(ingest, path, st->st_dev, st->st_ino);
        file->is_from_end = is_first_look && want->is_from_end && st->st_size > 0;
        file->size_found = st->st_size;
    } else if (strcmp(file->path, path) != 0 && !leads_to(file->path, st->st_dev, st->st_ino, &other)) {
        note_renamed(ingest, file, path);
    }
    file->scan_no = ingest->scan_no;
    set_origin(file, want->origin);
    ingest_watch_add(ingest, path);
    if (is_new || is_reused) {
        first_sight(ingest, file, st);
    }
    const bool is_begun =
        st->st_size > 0 && (is_new || is_reused || file->size == 0); /* it may have been found empty */
    if (is_begun && file->memory.first.len == 0) {
        ingest_file_open_early(ingest, file);
    }
    look(ingest, file, st);
}

static void note_path(struct ingest *ingest, struct ingest_want *want, const char *path, bool is_first_look) {
    struct stat st;
    if (ingest_want_excludes(want, path) || ingest_spool_has(ingest, path)) {
        return;
    }
    if (stat(path, &st) != 0) {
        if (errno != ENOENT && ingest_tell(ingest, path, "stat")) {
            core_count(ingest->env.counters, CORE_COUNT_INGEST_FILES_FAILED, 1);
            const char *help = core_errno_help(errno);
            core_log(CORE_LEVEL_ERROR, "ingest", "cannot look at a file",
                     "file=%s reason=\"%s\"; other files go on, this one is tried again at every scan; %s", path,
                     strerrordesc_np(errno), help == NULL ? "see to the directories above it" : help);
        }
        return;
    }
    ingest_untell(ingest, path, "stat");
    if (!S_ISREG(st.st_mode)) {
        if (ingest_tell(ingest, path, "type")) {
            core_log(
                CORE_LEVEL_WARN, "ingest", "not a file",
                "path=%s; a glob matches it, but it is a %s and is left alone; narrow inputs[].paths or name it in "
                "inputs[].exclude",
                path, S_ISDIR(st.st_mode) ? "directory" : "pipe, socket or device");
        }
        return;
    }
    note_match(ingest, want, path, &st, is_first_look);
}

static int on_glob_error(const char *path, int error) {
    if (error != ENOENT && error != ENOTDIR) {
        const char *help = core_errno_help(error);
        core_log(
            CORE_LEVEL_WARN, "ingest", "cannot read a directory",
            "directory=%s reason=\"%s\"; files in it are not found until it can be read, those that are open go on; "
            "it is tried again at every scan; %s",
            path, strerrordesc_np(error), help == NULL ? "see to it, or name another in inputs[].paths" : help);
    }
    return 0;
}

static void scan_glob(struct ingest *ingest, struct ingest_want *want, const char *pattern) {
    const uint64_t hash = core_hash64(pattern, strlen(pattern), 0);
    const bool is_first_look = !ingest_glob_is_seen(ingest, hash);
    glob_t found = {0};
    const int rc = glob(pattern, 0, on_glob_error, &found);
    if (rc == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            note_path(ingest, want, found.gl_pathv[i], is_first_look);
        }
    } else if (rc == GLOB_NOMATCH && is_first_look) {
        core_log(CORE_LEVEL_INFO, "ingest", "no file yet", "glob=%s; files are read when they appear", pattern);
    } else if (rc != GLOB_NOMATCH) {
        core_log(CORE_LEVEL_ERROR, "ingest", "cannot look for files",
                 "glob=%s reason=\"%s\"; files that are open go on; tried again at the next scan; %s", pattern,
                 rc == GLOB_NOSPACE ? "no memory" : "a directory cannot be read",
                 rc == GLOB_NOSPACE ? "name fewer files, or give it more memory"
                                    : "let the user that tapline runs as read it");
    }
    globfree(&found);
    if (is_first_look && (rc == 0 || rc == GLOB_NOMATCH)) {
        ingest_glob_see(ingest, hash);
        ingest->is_dirty = true;
    }
    char fixed[PATH_MAX];
    const size_t len = strcspn(pattern, "*?[");
    if (len < sizeof(fixed)) {
        memcpy(fixed, pattern, len);
        fixed[len] = '\0';
        ingest_watch_add(ingest, fixed); /* where the first file will appear */
    }
}

bool ingest_is_wanted(struct ingest *ingest, const char *path) {
    return want_of(ingest, path) != NULL;
}

void ingest_scan_moved(struct ingest *ingest, const char *from, const char *to) {
    struct stat st;
    const struct ingest_want *want = want_of(ingest, from);
    if (want == NULL || want_of(ingest, to) != NULL || stat(to, &st) != 0 || !S_ISREG(st.st_mode)) {
        return;
    }
    struct ingest_file *known = ingest_file_by_inode(ingest, st.st_dev, st.st_ino);
    if (known != NULL && (known->source.fd >= 0 || is_born_same(known, to))) {
        return; /* the scan follows it */
    }
    if (known != NULL) {
        ingest_file_leave_queue(ingest, known);
        (void)ingest_file_become_new(ingest, known); /* its inode is used again; what it was is an orphan now */
        ingest_file_free(ingest, known);
    }
    struct ingest_file *file = ingest_file_new(ingest, from, st.st_dev, st.st_ino);
    file->size_found = st.st_size;
    set_origin(file, want->origin);
    core_count(ingest->env.counters, CORE_COUNT_INGEST_FILES_ROTATED, 1);
    ingest_health_rotated(ingest, file);
    file->rotated_from = ingest_strdup(from);
    ingest_file_set_path(ingest, file, to);
    first_sight(ingest, file, &st);
    look(ingest, file, &st);
}

/* ---- files that no glob gave ----------------------------------------------------------------------------------------------- */

/* The directory that was looked through last, by inode: when many files are gone from one, it is read once a scan. */
struct ingest_listing {
    char *dir; /* "" or "…/" */
    uint64_t scan_no;
    struct listed {
        ino_t ino;
        char *name;
    } * items;
    size_t len;
};

static void listing_clear(struct ingest_listing *listing) {
    for (size_t i = 0; i < listing->len; i++) {
        free(listing->items[i].name);
    }
    free(listing->items);
    free(listing->dir);
    *listing = (struct ingest_listing){0};
}

void ingest_listing_free(struct ingest_listing *listing) {
    if (listing != NULL) {
        listing_clear(listing);
        free(listing);
    }
}

static int compare_listed(const void *a, const void *b) {
    const ino_t x = ((const struct listed *)a)->ino;
    const ino_t y = ((const struct listed *)b)->ino;
    return x < y ? -1 : x > y;
}

/* The listing of a directory, as of this scan. */
static const struct ingest_listing *list_directory(struct ingest *ingest, const char *dir_path) {
    if (ingest->listing == NULL) {
        ingest->listing = calloc(1, sizeof(*ingest->listing));
        MUST(ingest->listing != NULL);
    }
    struct ingest_listing *listing = ingest->listing;
    if (listing->dir != NULL && listing->scan_no == ingest->scan_no && strcmp(listing->dir, dir_path) == 0) {
        return listing;
    }
    listing_clear(listing);
    listing->dir = ingest_strdup(dir_path);
    listing->scan_no = ingest->scan_no;
    DIR *dir = opendir(dir_path[0] == '\0' ? "." : dir_path);
    size_t cap = 0;
    for (const struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (listing->len == cap) {
            cap = cap == 0 ? LISTING_FIRST : cap * 2;
            listing->items = realloc(listing->items, cap * sizeof(*listing->items));
            MUST(listing->items != NULL);
        }
        listing->items[listing->len++] = (struct listed){.ino = entry->d_ino, .name = ingest_strdup(entry->d_name)};
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    if (listing->len > 0) {
        qsort(listing->items, listing->len, sizeof(*listing->items), compare_listed);
    }
    return listing;
}

/* Look through the directory that the file was in, for its inode. */
static bool search_directory(struct ingest *ingest, const struct ingest_file *file, char out[PATH_MAX],
                             struct stat *st) {
    char dir_path[PATH_MAX];
    const char *slash = strrchr(file->path, '/');
    const int prefix_len = slash == NULL ? 0 : (int)(slash - file->path) + 1;
    const int dir_len = snprintf(dir_path, sizeof(dir_path), "%.*s", prefix_len, file->path);
    if (dir_len < 0 || (size_t)dir_len >= sizeof(dir_path) || file->ino == 0) {
        return false;
    }
    const struct ingest_listing *listing = list_directory(ingest, dir_path);
    const struct listed key = {.ino = file->ino};
    const struct listed *at =
        listing->len == 0 ? NULL : bsearch(&key, listing->items, listing->len, sizeof(key), compare_listed);
    while (at != NULL && at > listing->items && at[-1].ino == file->ino) {
        at--; /* the first of its hard links */
    }
    for (; at != NULL && at < listing->items + listing->len && at->ino == file->ino; at++) {
        const int len = snprintf(out, PATH_MAX, "%s%s", dir_path, at->name);
        if (len > 0 && len < PATH_MAX && leads_to(out, file->dev, file->ino, st) && S_ISREG(st->st_mode) &&
            is_born_same(file, out)) {
            return true;
        }
    }
    return false;
}

static void note_unlinked(struct ingest *ingest, struct ingest_file *file) {
    if (file->is_unlinked) {
        return;
    }
    file->is_unlinked = true;
    ingest->is_dirty = true;
    core_count(ingest->env.counters, CORE_COUNT_INGEST_FILES_ROTATED, 1);
    ingest_health_rotated(ingest, file);
    core_log(CORE_LEVEL_INFO, "ingest", "file deleted", "file=%s; it is open, and is read to its end first",
             file->path);
}

/* No glob gave it, but it is open: what is its name now? */
static void sweep_open(struct ingest *ingest, struct ingest_file *file) {
    struct stat st;
    struct stat named;
    if (fstat(file->source.fd, &st) != 0) {
        return;
    }
    if (st.st_nlink == 0) {
        note_unlinked(ingest, file);
    } else if (!leads_to(file->path, file->dev, file->ino, &named) && !is_nobody_sure()) {
        char link[64];
        char name[PATH_MAX];
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", file->source.fd);
        const ssize_t len = readlink(link, name, sizeof(name) - 1);
        name[len < 0 ? 0 : len] = '\0';
        const bool is_named = len > 0 && leads_to(name, file->dev, file->ino, &named);
        if (is_named || search_directory(ingest, file, name, &named)) {
            note_renamed(ingest, file, name);
        } else {
            note_unlinked(ingest, file); /* the name we held is gone; another hard link is elsewhere */
        }
    }
    look(ingest, file, &st);
}

static void note_gone(struct ingest *ingest, struct ingest_file *file) {
    if (!file->is_gone) {
        file->is_gone = true;
        file->quiet_tick = core_tick_ns();
        file->gone_scan_no = ingest->scan_no;
        ingest->is_gone_new = true;
    }
}

/* It was gone in the scan before, too, and goes on in no other file. */
static void tell_gone(struct ingest *ingest, struct ingest_file *file) {
    if (!file->is_gone || file->is_gone_told || (file->gone_scan_no == ingest->scan_no && !ingest->is_once)) {
        return;
    }
    const uint64_t unread = ingest_file_unread(file);
    const bool is_missing = unread > 0 && !file->is_unlinked;
    file->is_gone_told = true;
    core_log(
        is_missing ? CORE_LEVEL_ERROR : CORE_LEVEL_INFO, "ingest",
        is_missing ? "file is gone with unread bytes" : "file is gone",
        "file=%s position=%llu unread_bytes=%llu; no glob matches it, and neither its directory nor another file has "
        "what was in it. Should it come back, or be found under another name or as a .gz, it is read on%s",
        file->path, (unsigned long long)ingest_file_pos(file), (unsigned long long)unread,
        is_missing ? "; it is looked for as long as ingest.remember, then its unread bytes are counted as lost: move "
                     "it back, or name its new place in inputs[].archive"
                   : "");
}

/* No glob gave it and it is closed: remembered from before, or closed for want of room. */
static void sweep_closed(struct ingest *ingest, struct ingest_file *file) {
    struct stat st;
    char name[PATH_MAX];
    if (file->is_unlinked || file->ino == 0) {
        note_gone(ingest, file);
        return;
    }
    if (ingest_file_is_at(file, file->path, &st)) {
        look(ingest, file, &st);
        return;
    }
    if (is_nobody_sure()) {
        return;
    }
    if (!file->is_searched && search_directory(ingest, file, name, &st)) {
        note_renamed(ingest, file, name);
        look(ingest, file, &st);
        return;
    }
    file->is_searched = true;
    note_gone(ingest, file);
}

static bool is_still(const struct ingest *ingest, const struct ingest_file *file, int64_t now) {
    const struct ingest_stream *stream = file->stream;
    return file->queue == INGEST_QUEUE_NONE && !file->awaits_drain && file->is_looked &&
           (stream == NULL || ingest_stream_is_settled(stream)) &&
           (file->is_over || now - file->grew_tick >= ingest->conf.close_after_ns);
}

bool ingest_file_has_ended(const struct ingest *ingest, const struct ingest_file *file, int64_t now) {
    struct stat st;
    if (file->is_unlinked || file->is_over || file->is_archived) {
        return true;
    }
    if (file->rotated_from == NULL) {
        return file->scan_no != ingest->scan_no; /* no input names it any more */
    }
    /* A writer that was not told goes on in the renamed file, until a new one takes its place. If none does for long, the
     * sensor has ended. */
    const int64_t long_ns = 10 * ingest->conf.close_after_ns;
    return (stat(file->rotated_from, &st) == 0 && (st.st_ino != file->ino || st.st_dev != file->dev)) ||
           now - file->grew_tick >= (long_ns > INGEST_ENDED_NS ? long_ns : INGEST_ENDED_NS);
}

static void close_over(struct ingest *ingest, struct ingest_file *file) {
    const uint64_t unread = ingest_file_unread(file);
    const bool is_renamed = file->rotated_from != NULL || strcmp(file->path, file->memory.first_path) != 0;
    const bool is_ended = file->is_unlinked || file->is_archived || is_renamed; /* not only left out by the inputs */
    if (file->hold.gen != 0) { /* a copy of what is there: it was never to be read */
        ingest_file_retire(ingest, file);
        return;
    }
    if (unread > 0 && file->has_cutter && is_ended && !file->cutter.is_end_final) {
        file->cutter.is_end_final = true; /* its last line will not become whole: it is given as it is, then closed */
        file->is_settled = true;
        ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
        return;
    }
    if (unread > 0) {
        core_count(ingest->env.counters, CORE_COUNT_INGEST_BYTES_LOST, file->is_unlinked ? unread : 0);
        core_log(CORE_LEVEL_WARN, "ingest", "file closed with an unfinished line",
                 "file=%s position=%llu bytes=%llu; its last line has no newline and is not read%s", file->path,
                 (unsigned long long)ingest_file_pos(file), (unsigned long long)unread,
                 file->is_unlinked ? "; the file is deleted, so it is lost" : " until it is finished");
    }
    core_log(CORE_LEVEL_INFO, "ingest", "file closed", "file=%s position=%llu", file->path,
             (unsigned long long)ingest_file_pos(file));
    file->is_over = file->is_over || is_ended;
    ingest_file_retire(ingest, file);
}

/* How long it is remembered when nobody asks for it: its .gz may come later. */
static int64_t forget_after(const struct ingest *ingest, const struct ingest_file *file) {
    if (file->memory.first.len == 0) {
        return file->is_unlinked ? 0 : INGEST_FORGET_NS; /* nothing could tell that another file goes on with it */
    }
    return file->is_over || ingest->conf.remember_ns < INGEST_FORGET_NS ? INGEST_FORGET_NS : ingest->conf.remember_ns;
}

/* Closed, without a stream, and nobody asks for it. */
static bool is_forgotten(const struct ingest *ingest, const struct ingest_file *file, int64_t now) {
    const bool is_idle = file->stream == NULL && file->source.fd < 0 && file->queue == INGEST_QUEUE_NONE;
    const bool is_matched = file->scan_no == ingest->scan_no;
    return is_idle && !is_matched && (file->quiet_tick != 0 || file->is_unlinked) &&
           now - file->quiet_tick >= forget_after(ingest, file);
}

static void sweep(struct ingest *ingest, struct ingest_file *file, int64_t now) {
    if (file->scan_no != ingest->scan_no) {
        if (file->origin == NULL) {
            /* Remembered from before, and renamed since: the input that named it first has it. */
            const struct ingest_want *want = ingest_want_of(ingest, file);
            if (want != NULL) {
                set_origin(file, want->origin);
            }
        }
        if (file->origin == NULL) {
            file->quiet_tick = file->quiet_tick == 0 ? now : file->quiet_tick; /* no input names it any more */
        } else if (file->source.fd >= 0) {
            sweep_open(ingest, file);
        } else {
            sweep_closed(ingest, file);
        }
    }
    if (file->source.fd >= 0 && is_still(ingest, file, now) && ingest_file_has_ended(ingest, file, now)) {
        close_over(ingest, file);
    }
    if (is_forgotten(ingest, file, now)) {
        core_count(ingest->env.counters, CORE_COUNT_INGEST_BYTES_LOST, file->is_gone ? ingest_file_unread(file) : 0);
        ingest->is_dirty = true;
        ingest_ledger_over(ingest, file);
        ingest_file_free(ingest, file);
    }
}

void ingest_scan(struct ingest *ingest) {
    const int64_t begun = core_tick_ns();
    ingest->scan_no++;
    for (size_t i = 0; i < ingest->wants.len; i++) {
        struct ingest_want *want = &ingest->wants.items[i];
        for (size_t k = 0; k < want->paths_len; k++) {
            scan_glob(ingest, want, want->paths[k]);
        }
    }
    struct ingest_file *next = NULL;
    for (struct ingest_file *file = ingest->files; file != NULL; file = next) {
        next = file->next;
        sweep(ingest, file, begun);
    }
    ingest_identity_judge_all(ingest);
    ingest_archive_search(ingest);
    for (struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        tell_gone(ingest, file);
    }
    ingest_watch_refresh(ingest);
    /* However many files there are, scanning takes no more than a tenth of the time. */
    const int64_t now = core_tick_ns();
    const int64_t rest = (now - begun) * 10;
    const bool is_polling = ingest->watch.fd < 0 || ingest->watch.is_told;
    const bool is_poll_sooner = is_polling && ingest->conf.poll_interval_ns < ingest->conf.scan_interval_ns;
    const int64_t interval = is_poll_sooner ? ingest->conf.poll_interval_ns : ingest->conf.scan_interval_ns;
    ingest->scanned_tick = now;
    ingest->scan_gap_ns = rest > INGEST_SCAN_GAP_NS ? rest : INGEST_SCAN_GAP_NS;
    ingest->scan_tick = now + (rest > interval ? rest : interval);
}
