/* tests/unit/folder.h: a test's folder goes with all that is in it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_UNIT_FOLDER_H
#define TAPLINE_TESTS_UNIT_FOLDER_H

#include <ftw.h>
#include <stdio.h>

static inline int folder_remove_one(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info, (void)type, (void)walk;
    return remove(path);
}

/* 0, or what could not be removed is left. */
static inline int folder_remove(const char *dir) {
    return nftw(dir, folder_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
