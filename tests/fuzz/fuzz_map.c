/* tests/fuzz/fuzz_map.c: any bytes as a map file: compiled, or refused with the place and the reason of each mistake; what
 * was compiled maps a record and is exported, and `map check` has its say.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_rig.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/tapline-fuzz-map-XXXXXX";

static void file_write(const char *name, const void *bytes, size_t len) {
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    MUST(file != NULL);
    MUST(fwrite(bytes, 1, len, file) == len);
    MUST(fclose(file) == 0);
}

static void dir_remove(void) {
    static const char *const names[] = {"maps/zeek.conn.map", "maps/zeek.common.map", "maps",
                                        "logs.table",         "schema.tsv",           "."};
    char path[256];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)remove(i + 1 == sizeof(names) / sizeof(names[0]) ? dir : path);
    }
}

/* From the sources' configs/, whose root we run from. */
static void config_copy(const char *name) {
    static char text[1024 * 1024];
    char path[256];
    snprintf(path, sizeof(path), "configs/%s", name);
    FILE *file = fopen(path, "r");
    MUST(file != NULL);
    size_t len = fread(text, 1, sizeof(text), file);
    MUST(fclose(file) == 0);
    file_write(name, text, len);
}

static void dir_make(void) {
    static const char logs[] = "zeek * zeek.conn zeek.%\nsnort * zeek.conn snort.%\nsuricata * zeek.conn suricata.%\n";
    char maps[256];
    MUST(mkdtemp(dir) != NULL);
    snprintf(maps, sizeof(maps), "%s/maps", dir);
    MUST(mkdir(maps, 0700) == 0);
    file_write("logs.table", logs, sizeof(logs) - 1);
    config_copy("schema.tsv");
    config_copy("maps/zeek.common.map"); /* what seeds include */
    MUST(atexit(dir_remove) == 0);
}

static void record_map(struct fuzz_rig *rig) {
    static const char record[] =
        "{\"ts\":1795229910.5,\"uid\":\"C1\",\"id.orig_h\":\"10.0.0.1\",\"id.resp_h\":\"fd20::1\","
        "\"proto\":\"tcp\",\"a\":[1,\"x\",null],\"b\":{\"c\":true}}\n";
    rig->worker = normalize_worker_new(rig->maps, &rig->counters);
    normalize_worker_observe(rig->worker, true);
    (void)fuzz_run(rig, CORE_ORIGIN_AUTO, (const uint8_t *)record, sizeof(record) - 1);
    normalize_worker_free(rig->worker);
}

static void on_file(void *ctx, const char *name, struct core_span text) {
    *(size_t *)ctx += text.len;
    MUST(name[0] != '\0');
}

static void maps_export(const struct normalize_maps *maps) {
    static const enum normalize_export_kind kinds[] = {NORMALIZE_EXPORT_JSON_SCHEMA, NORMALIZE_EXPORT_ELASTICSEARCH};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t len = 0;
        struct normalize_export_request request = {.kind = kinds[i], .file = on_file, .ctx = &len};
        normalize_export(maps, &request);
        MUST(len > 0);
    }
}

static void mistakes_look(const struct core_conf_mistakes *mistakes) {
    for (size_t i = 0; i < mistakes->len; i++) {
        MUST(mistakes->fails[i].where[0] != '\0');
        MUST(mistakes->fails[i].text[0] != '\0');
    }
}

/* What does not load has mistakes for `map check`, too. */
static void maps_check(bool is_loaded) {
    struct core_conf_mistakes mistakes = {0};
    struct normalize_maps *maps = NULL;
    enum core_err err = normalize_maps_check(&maps, &(struct normalize_conf){.maps = dir}, &mistakes);
    MUST((err == CORE_OK) == (mistakes.len == 0));
    MUST(is_loaded || mistakes.len > 0);
    mistakes_look(&mistakes);
    normalize_maps_close(maps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct fuzz_rig rig;
    struct core_conf_mistakes mistakes = {0};
    if (!rig.is_open) {
        dir_make();
        fuzz_open(&rig);
        normalize_worker_free(rig.worker);
        normalize_maps_close(rig.maps);
    }
    file_write("maps/zeek.conn.map", data, size);
    rig.maps = NULL;
    if (normalize_maps_open(&rig.maps, &(struct normalize_conf){.maps = dir}, NULL, &mistakes) == CORE_OK) {
        record_map(&rig);
        maps_export(rig.maps);
        normalize_maps_close(rig.maps);
        maps_check(true);
        return 0;
    }
    MUST(mistakes.len > 0);
    mistakes_look(&mistakes);
    maps_check(false);
    return 0;
}
