/* supervisor/sensors_scripts.c: have the site's own Zeek scripts changed?
 *
 * They are not copied, so no generated file would differ after somebody has edited local.zeek, and a deploy would restart nothing.
 * A digest of them stands in the generated script instead: scripts and signatures below the site's directories, and those that
 * nodes name by path. Other files (intelligence, which Zeek reads again by itself) do not count, nor do names that begin with a
 * dot. What is beyond the limits counts with its size and time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/sensors_internal.h"
#include "supervisor/serve_internal.h"

#include <fts.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SCRIPT_BYTES_MAX (4 * CORE_MIB)
#define SCRIPTS_MAX 4096 /* files below one directory that are read */
#define DEPTH_MAX 16

static bool is_script(const char *name) {
    static const char *const endings[] = {".zeek", ".bro", ".sig"};
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        size_t ending = strlen(endings[i]);
        if (len > ending && strcmp(name + len - ending, endings[i]) == 0) {
            return true;
        }
    }
    return false;
}

static uint64_t file_add(const char *path, bool is_read, uint64_t digest) {
    struct core_span text = {0};
    struct stat st;
    digest = core_hash64(path, strlen(path), digest);
    if (is_read && serve_file_read(path, SCRIPT_BYTES_MAX, &text, NULL) == CORE_OK) {
        digest = core_hash64(text.ptr, text.len, digest);
        free((char *)text.ptr);
    } else if (stat(path, &st) == 0) {
        const int64_t seen[] = {(int64_t)st.st_size, (int64_t)st.st_mtim.tv_sec, (int64_t)st.st_mtim.tv_nsec};
        digest = core_hash64(seen, sizeof(seen), digest);
    }
    return digest;
}

static int by_name(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Symbolic links are followed: packages are there by one. */
static uint64_t directory_add(const char *path, uint64_t digest) {
    char *const paths[] = {(char *)path, NULL};
    size_t files = 0;
    FTS *tree = fts_open(paths, FTS_LOGICAL | FTS_NOCHDIR, by_name);
    for (FTSENT *at = tree == NULL ? NULL : fts_read(tree); at != NULL; at = fts_read(tree)) {
        bool is_hidden = at->fts_level > 0 && at->fts_name[0] == '.';
        if (at->fts_info == FTS_D && (is_hidden || at->fts_level > DEPTH_MAX)) {
            (void)fts_set(tree, at, FTS_SKIP);
        } else if (at->fts_info == FTS_F && !is_hidden && is_script(at->fts_name)) {
            digest = file_add(at->fts_path, files++ < SCRIPTS_MAX, digest);
        }
    }
    if (tree != NULL) {
        (void)fts_close(tree);
    }
    return digest;
}

static uint64_t list_add(const struct core_conf_list *list, uint64_t digest) {
    for (size_t i = 0; i < list->len; i++) {
        if (list->items[i].value != NULL && list->items[i].value[0] == '/') {
            digest = file_add(list->items[i].value, true, digest);
        }
    }
    return digest;
}

uint64_t sensors_scripts_digest(struct sensors_maker *maker, const char *directories) {
    uint64_t digest = 0;
    MUST(directories != NULL);
    for (const char *at = directories; *at != '\0';) {
        size_t len = strcspn(at, ":");
        if (len > 0) {
            digest = directory_add(sensors_text(maker, "%.*s", (int)len, at), digest);
        }
        at += len + (at[len] == ':' ? 1 : 0);
    }
    for (size_t i = 0; i < maker->seeds_len; i++) {
        digest = list_add(&maker->seeds[i].conf.scripts, digest);
    }
    return digest;
}
