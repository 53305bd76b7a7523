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

struct rotated {
    char stamp[SINK_STAMP_LEN + 1];
    unsigned long n;
    char *name;
};

void sink_stamp(int64_t now_ns, char out[SINK_STAMP_LEN + 1]) {
    char iso[27];
    MUST(core_time_iso(now_ns, iso));
    snprintf(out, SINK_STAMP_LEN + 1, "%.4s%.2s%.2s-%.2s%.2s%.2s", iso, iso + 5, iso + 8, iso + 11, iso + 14, iso + 17);
}

/* Is name `base` + ".YYYYmmdd-HHMMSS" [+ ".n"]? */
static bool rotated_parse(const char *name, const char *base, struct rotated *out) {
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
    const struct rotated *a = a_ptr;
    const struct rotated *b = b_ptr;
    int by_stamp = strcmp(a->stamp, b->stamp);
    return by_stamp != 0 ? by_stamp : (a->n > b->n) - (a->n < b->n);
}

static void remove_oldest(const char *folder, const struct rotated *files, size_t len) {
    for (size_t i = 0; i < len; i++) {
        char path[8192];
        int path_len = snprintf(path, sizeof path, "%s/%s", folder, files[i].name);
        MUST(path_len > 0 && (size_t)path_len < sizeof path);
        if (unlink(path) != 0) {
            core_log(CORE_LEVEL_WARN, "sink", "old output not removed; it stays", "path=\"%s\" reason=\"%s\"", path,
                     strerrordesc_np(errno));
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
        if (!rotated_parse(entry->d_name, base, &file)) {
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

void sink_rotated_trim(const char *path, uint64_t keep) {
    MUST(path != NULL);
    if (keep == 0) {
        return;
    }
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    const char *base = slash == NULL ? path : path + (slash - folder) + 1;
    if (slash == NULL) {
        snprintf(folder, sizeof folder, ".");
    } else {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        core_log(CORE_LEVEL_WARN, "sink", "old outputs not looked for; all of them stay", "path=\"%s\" reason=\"%s\"",
                 folder, strerrordesc_np(errno));
        return;
    }
    struct rotated *files = NULL;
    size_t len = rotated_list(dir, base, &files);
    if (len > keep) {
        qsort(files, len, sizeof *files, rotated_compare);
        remove_oldest(folder, files, len - (size_t)keep);
    }
    for (size_t i = 0; i < len; i++) {
        free(files[i].name);
    }
    free(files);
    MUST(closedir(dir) == 0);
}
