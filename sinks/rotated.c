/* sinks/rotated.c: the names of rotated files, and which of them are too old to keep.
 *
 * A rotated file is called path.YYYYmmdd-HHMMSS in UTC, or path.YYYYmmdd-HHMMSS.n if that second has one already. Nothing
 * else in the folder is ever touched.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/sinks_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FOLDER_BYTES 4096

struct rotated {
    struct sink_rotated_name at;
    char *name;
};

void sink_stamp(int64_t now_ns, char out[SINK_STAMP_LEN + 1]) {
    char iso[27];
    MUST(core_time_iso(now_ns, iso));
    snprintf(out, SINK_STAMP_LEN + 1, "%.4s%.2s%.2s-%.2s%.2s%.2s", iso, iso + 5, iso + 8, iso + 11, iso + 14, iso + 17);
}

/* Is name `base` + ".YYYYmmdd-HHMMSS" [+ ".n"]? */
static bool rotated_parse(const char *name, const char *base, struct sink_rotated_name *out) {
    size_t base_len = strlen(base);
    if (strncmp(name, base, base_len) != 0 || name[base_len] != '.') {
        return false;
    }
    const char *stamp = name + base_len + 1;
    for (size_t i = 0; i < SINK_STAMP_LEN; i++) {
        bool is_right = i == 8 ? stamp[i] == '-' : stamp[i] >= '0' && stamp[i] <= '9';
        if (!is_right) {
            return false;
        }
    }
    memcpy(out->stamp, stamp, SINK_STAMP_LEN);
    out->stamp[SINK_STAMP_LEN] = '\0';
    out->n = 0;
    const char *rest = stamp + SINK_STAMP_LEN;
    if (*rest == '\0') {
        return true;
    }
    char *end = NULL;
    out->n = rest[0] == '.' && rest[1] >= '1' && rest[1] <= '9' ? strtoul(rest + 1, &end, 10) : 0;
    return out->n > 0 && *end == '\0';
}

static int rotated_compare(const void *a_ptr, const void *b_ptr) {
    const struct sink_rotated_name *a = &((const struct rotated *)a_ptr)->at;
    const struct sink_rotated_name *b = &((const struct rotated *)b_ptr)->at;
    int by_stamp = strcmp(a->stamp, b->stamp);
    return by_stamp != 0 ? by_stamp : (a->n > b->n) - (a->n < b->n);
}

static void remove_oldest(const char *folder, const struct rotated *files, size_t len) {
    for (size_t i = 0; i < len; i++) {
        char path[8192];
        int path_len = snprintf(path, sizeof path, "%s/%s", folder, files[i].name);
        MUST(path_len > 0 && (size_t)path_len < sizeof path);
        if (unlink(path) != 0) {
            core_log(CORE_LEVEL_WARN, "sink", "old output not removed; it stays",
                     "path=\"%s\" reason=\"%s\"; tried again at the next rotation; remove it, or let the user that "
                     "tapline runs as write to its folder",
                     path, strerrordesc_np(errno));
        } else {
            core_log(CORE_LEVEL_INFO, "sink", "old output removed", "path=\"%s\"", path);
        }
    }
}

/* Every rotated file of base in dir. Returns their number; *out is malloc'ed, as are the names. */
static size_t rotated_list(DIR *dir, const char *base, struct rotated **out) {
    size_t len = 0;
    size_t cap = 0;
    const struct dirent *entry;
    *out = NULL;
    while ((entry = readdir(dir)) != NULL) {
        struct rotated file;
        if (!rotated_parse(entry->d_name, base, &file.at)) {
            continue;
        }
        if (len == cap) {
            cap = cap == 0 ? 16 : 2 * cap;
            *out = realloc(*out, cap * sizeof **out);
            MUST(*out != NULL);
        }
        file.name = strdup(entry->d_name);
        MUST(file.name != NULL);
        (*out)[len++] = file;
    }
    return len;
}

/* The folder of path; *base: what is behind the slash. NULL: it cannot be read, errno says why. */
static DIR *folder_open(const char *path, char *folder, size_t folder_len, const char **base) {
    snprintf(folder, folder_len, "%s", path);
    char *slash = strrchr(folder, '/');
    *base = slash == NULL ? path : path + (slash - folder) + 1;
    if (slash == NULL) {
        snprintf(folder, folder_len, ".");
    } else {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    return opendir(folder);
}

static void rotated_free(struct rotated *files, size_t len) {
    for (size_t i = 0; i < len; i++) {
        free(files[i].name);
    }
    free(files);
}

struct sink_rotated_name sink_rotated_next(const char *path, int64_t now_ns) {
    MUST(path != NULL);
    char folder[FOLDER_BYTES];
    const char *base;
    struct rotated next = {0};
    sink_stamp(now_ns, next.at.stamp);
    DIR *dir = folder_open(path, folder, sizeof folder, &base);
    if (dir == NULL) {
        return next.at; /* the rename will say what is wrong with the folder */
    }
    struct rotated *files = NULL;
    size_t len = rotated_list(dir, base, &files);
    for (size_t i = 0; i < len; i++) {
        if (rotated_compare(&files[i], &next) >= 0) {
            next.at = files[i].at;
            next.at.n++;
        }
    }
    rotated_free(files, len);
    MUST(closedir(dir) == 0);
    return next.at;
}

void sink_rotated_trim(const char *path, uint64_t keep) {
    MUST(path != NULL);
    if (keep == 0) {
        return;
    }
    char folder[FOLDER_BYTES];
    const char *base;
    DIR *dir = folder_open(path, folder, sizeof folder, &base);
    if (dir == NULL) {
        core_log(CORE_LEVEL_WARN, "sink", "old outputs not looked for; all of them stay",
                 "path=\"%s\" reason=\"%s\"; tried again at the next rotation; let the user that tapline runs as read "
                 "the folder",
                 folder, strerrordesc_np(errno));
        return;
    }
    struct rotated *files = NULL;
    size_t len = rotated_list(dir, base, &files);
    if (len > keep) {
        qsort(files, len, sizeof *files, rotated_compare);
        remove_oldest(folder, files, len - (size_t)keep);
    }
    rotated_free(files, len);
    MUST(closedir(dir) == 0);
}
