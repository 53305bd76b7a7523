/* tests/unit/maps_dir.h: a directory of maps that a test writes for itself: schema.tsv, logs.table, maps/.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_UNIT_MAPS_DIR_H
#define TAPLINE_TESTS_UNIT_MAPS_DIR_H

#include "tests/unit/normalize_rig.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static const char *const logs_table =
    "zeek t zeek.t zeek.t\nzeek * zeek.t zeek.%\nsnort * zeek.t snort.log\nsuricata * zeek.t suricata.eve\n";

static void put(const char *name, const char *text) {
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* With this schema.tsv, and logs.table. Returns 0, as a group's set-up does. */
static int dir_make_with(const char *schema) {
    char maps[80];
    strcpy(dir, "/tmp/tapline-maps-XXXXXX");
    if (mkdtemp(dir) == NULL) {
        return -1;
    }
    snprintf(maps, sizeof(maps), "%s/maps", dir);
    if (mkdir(maps, 0700) != 0) {
        return -1;
    }
    put("schema.tsv", schema);
    put("logs.table", logs_table);
    return 0;
}

static int dir_remove(void **state) {
    (void)state;
    static const char *const names[] = {"schema.tsv", "logs.table", "maps/zeek.t.map", "maps/zeek.c.map", "maps", ""};
    char path[160];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)remove(path);
    }
    return 0;
}

#endif
