/* normalize/maps.c: reads configs/: schema.tsv, logs.table and the map files they name, and checks every row.
 *
 * All text lives in one arena and is read-only afterwards, so threads share it without locks. Each mistake is collected
 * with file, line and column, so that `tapline check` shows all of them at once; a directory with a mistake is refused
 * whole, because half a map would drop fields in silence. The grammar is in configs/maps/FORMAT.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/psl.h"
#include "normalize/normalize_internal.h"
#include "normalize/maps_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAPS_ARENA_BYTES (64 * CORE_MIB)
#define DATASET_BYTES_MAX 100
#define LOG_BYTES_MAX 64 /* exports write a name or a pattern of it */
#define MAP_FILE_BYTES_MAX (4 * CORE_MIB)

/* Said already? A map that several others include is looked at with each of them. */
static bool is_said(const struct core_conf_mistakes *mistakes, const char *place, const char *text) {
    for (size_t i = 0; i < mistakes->len; i++) {
        if (strcmp(mistakes->fails[i].where, place) == 0 && strcmp(mistakes->fails[i].text, text) == 0) {
            return true;
        }
    }
    return false;
}

static void mistake_add(struct maps_loader *loader, const char *place, const char *fmt, va_list args) {
    struct core_conf_mistakes *mistakes = loader->mistakes;
    char text[sizeof(mistakes->fails[0].text)];
    if (mistakes->len == sizeof(mistakes->fails) / sizeof(mistakes->fails[0])) {
        return;
    }
    vsnprintf(text, sizeof(text), fmt, args);
    if (!is_said(mistakes, place, text)) {
        (void)core_fail_set(&mistakes->fails[mistakes->len++], CORE_BAD, place, "%s", text);
    }
}

static void place_write(const struct maps_file *file, const char *at, char *out, size_t out_len) {
    size_t column = at == NULL ? 1 : (size_t)(at - file->line.ptr) + 1;
    snprintf(out, out_len, "%.220s:%zu:%zu", file->path, file->line_number, column);
}

const char *maps_place(struct maps_file *file, const char *at) {
    char place[256];
    place_write(file, at, place, sizeof(place));
    return maps_text(file->loader, core_span_of(place));
}

void maps_mistake(struct maps_file *file, const char *at, const char *fmt, ...) {
    char place[256];
    va_list args;
    place_write(file, at, place, sizeof(place));
    va_start(args, fmt);
    mistake_add(file->loader, place, fmt, args);
    va_end(args);
}

void maps_mistake_at(struct maps_loader *loader, const char *place, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    mistake_add(loader, place, fmt, args);
    va_end(args);
}

/* What did not fit into the arena: the maps are refused, but until then it is used. */
struct maps_excess {
    struct maps_excess *next;
    max_align_t bytes[];
};

void *maps_alloc(struct maps_loader *loader, size_t len) {
    struct normalize_maps *maps = loader->maps;
    void *p = core_arena_alloc(&maps->arena, len);
    if (p != NULL) {
        return p; /* the arena is never reset: its memory comes from the system, all zero */
    }
    struct maps_excess *excess = calloc(1, sizeof(*excess) + len);
    MUST(excess != NULL);
    excess->next = maps->excess;
    maps->excess = excess;
    maps_mistake_at(loader, loader->dirs[loader->dirs[MAPS_SITE] != NULL ? MAPS_SITE : MAPS_OURS],
                    "the maps of this directory are too large: all that is loaded must fit into %zu MiB; take lines or "
                    "includes out",
                    MAPS_ARENA_BYTES / CORE_MIB);
    return excess->bytes;
}

/* The file's whole text in the arena. */
static bool file_read(struct maps_loader *loader, struct maps_file *file, struct core_fail *fail) {
    struct stat st;
    bool is_read = false;
    if (loader->maps->excess != NULL) {
        (void)core_fail_set(fail, CORE_LIMIT, file->path, "not read: the maps before it are too large already");
        return false;
    }
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        (void)core_fail_errno(fail, file->path, "cannot read this part of the maps");
        goto out;
    }
    if ((size_t)st.st_size > MAP_FILE_BYTES_MAX) {
        (void)core_fail_set(fail, CORE_LIMIT, file->path, "longer than 4 MiB; no map is");
        goto out;
    }
    char *text = maps_alloc(loader, (size_t)st.st_size + 1);
    size_t len = 0;
    while (len < (size_t)st.st_size) {
        ssize_t n = read(fd, text + len, (size_t)st.st_size - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            (void)core_fail_errno(fail, file->path, "cannot read this part of the maps");
            goto out;
        }
        if (n == 0) {
            break;
        }
        len += (size_t)n;
    }
    file->rest = (struct core_span){text, len};
    is_read = true;
out:
    if (fd >= 0) {
        (void)close(fd);
    }
    return is_read;
}

bool maps_file_exists(const struct maps_loader *loader, enum maps_whose whose, const char *name) {
    char path[512];
    if (loader->dirs[whose] == NULL) {
        return false;
    }
    int len = snprintf(path, sizeof(path), "%s/%s", loader->dirs[whose], name);
    /* Anything but "no such file" counts as there, so that opening it says what is wrong. */
    return len < 0 || (size_t)len >= sizeof(path) || access(path, F_OK) == 0 || errno != ENOENT;
}

bool maps_file_open(struct maps_loader *loader, struct maps_file *file, enum maps_whose whose, const char *name) {
    struct core_fail fail = {0};
    const char *dir = loader->dirs[whose];
    MUST(dir != NULL);
    memset(file, 0, sizeof(*file));
    file->loader = loader;
    file->is_site = whose == MAPS_SITE;
    int len = snprintf(file->path, sizeof(file->path), "%s/%s", dir, name);
    if (len < 0 || (size_t)len >= sizeof(file->path)) {
        (void)core_fail_set(&fail, CORE_LIMIT, dir, "path of %s is too long", name);
    } else if (file_read(loader, file, &fail)) {
        return true;
    }
    if (loader->mistakes->len < sizeof(loader->mistakes->fails) / sizeof(loader->mistakes->fails[0])) {
        loader->mistakes->fails[loader->mistakes->len++] = fail;
    }
    return false;
}

bool maps_file_line(struct maps_file *file) {
    if (file->rest.len == 0) {
        return false;
    }
    const char *end = core_span_chr(file->rest, '\n');
    size_t len = end == NULL ? file->rest.len : (size_t)(end - file->rest.ptr);
    size_t skip = end == NULL ? len : len + 1;
    file->line = (struct core_span){file->rest.ptr, len};
    file->rest = (struct core_span){file->rest.ptr + skip, file->rest.len - skip};
    file->line_number++;
    return true;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

/* The line without its comment and trailing blanks. */
struct core_span maps_line_code(struct core_span line) {
    size_t len = line.len;
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] == '#' && (i == 0 || is_blank(line.ptr[i - 1]))) {
            len = i;
            break;
        }
    }
    while (len > 0 && is_blank(line.ptr[len - 1])) {
        len--;
    }
    return (struct core_span){line.ptr, len};
}

struct core_span maps_word(struct core_span *rest) {
    while (rest->len > 0 && is_blank(rest->ptr[0])) {
        *rest = (struct core_span){rest->ptr + 1, rest->len - 1};
    }
    size_t len = 0;
    while (len < rest->len && !is_blank(rest->ptr[len])) {
        len++;
    }
    struct core_span word = {rest->ptr, len};
    *rest = (struct core_span){rest->ptr + len, rest->len - len};
    return word;
}

struct core_span maps_trim(struct core_span text) {
    while (text.len > 0 && is_blank(text.ptr[0])) {
        text = (struct core_span){text.ptr + 1, text.len - 1};
    }
    while (text.len > 0 && is_blank(text.ptr[text.len - 1])) {
        text.len--;
    }
    return text;
}

size_t maps_lines_in(struct core_span text) {
    size_t lines = 1;
    for (size_t i = 0; i < text.len; i++) {
        lines += text.ptr[i] == '\n';
    }
    return lines;
}

char *maps_text(struct maps_loader *loader, struct core_span text) {
    char *copy = maps_alloc(loader, text.len + 1);
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    return copy;
}

/* ---- logs.table -------------------------------------------------------------------------------------------------------- */

/* "zeek.connection", "zeek.%": it is in every document, a topic's name, an index's name, and what % stands for. */
static bool dataset_check(struct maps_file *file, struct core_span dataset) {
    size_t dots = 0;
    size_t percents = 0;
    bool is_good = dataset.len <= DATASET_BYTES_MAX && dataset.ptr[0] != '.' && dataset.ptr[dataset.len - 1] != '.';
    for (size_t i = 0; i < dataset.len; i++) {
        char c = dataset.ptr[i];
        dots += c == '.' ? 1 : 0;
        percents += c == '%' ? 1 : 0;
        is_good = is_good && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("_.%", c) != NULL);
    }
    if (!is_good || dots != 1 || percents > 1) {
        maps_mistake(
            file, dataset.ptr,
            "a dataset is two words of a-z, 0-9 and _ with a dot between, at most %d bytes; one %% may stand for "
            "the log's own name",
            DATASET_BYTES_MAX);
        return false;
    }
    return true;
}

static void log_row_load(struct maps_file *file, struct log_row *row, bool *is_good) {
    struct core_span rest = maps_line_code(file->line);
    struct core_span product = maps_word(&rest);
    struct core_span log = maps_word(&rest);
    struct core_span map = maps_word(&rest);
    struct core_span dataset = maps_word(&rest);
    *is_good = false;
    if (dataset.len == 0 || maps_trim(rest).len > 0) {
        maps_mistake(file, file->line.ptr, "four columns belong here: product, log, map, dataset");
        return;
    }
    if (!core_span_is(product, "zeek") && !core_span_is(product, "snort") && !core_span_is(product, "suricata") &&
        !core_span_is(product, "tapline")) {
        maps_mistake(file, product.ptr, "\"%.*s\" is no product; zeek, snort, suricata or tapline belongs here",
                     (int)product.len, product.ptr);
        return;
    }
    if (log.len > LOG_BYTES_MAX) {
        maps_mistake(file, log.ptr, "a log's name, or a glob of names, has at most %d bytes", LOG_BYTES_MAX);
        return;
    }
    if (!dataset_check(file, dataset)) {
        return;
    }
    row->product = core_span_of(maps_text(file->loader, product));
    row->log = core_span_of(maps_text(file->loader, log));
    row->dataset = core_span_of(maps_text(file->loader, dataset));
    row->place = maps_place(file, log.ptr);
    row->is_site = file->is_site;
    row->map = map_load(file->loader, maps_text(file->loader, map), file, map.ptr, 0);
    *is_good = row->map != NULL;
}

static void logs_file_load(struct maps_file *file) {
    struct normalize_maps *maps = file->loader->maps;
    struct log_row *rows = maps_alloc(file->loader, (maps->logs_len + maps_lines_in(file->rest)) * sizeof(*rows));
    if (maps->logs_len > 0) {
        memcpy(rows, maps->logs, maps->logs_len * sizeof(*rows));
    }
    maps->logs = rows;
    while (maps_file_line(file)) {
        if (maps_trim(maps_line_code(file->line)).len > 0) {
            bool is_good;
            log_row_load(file, &maps->logs[maps->logs_len], &is_good);
            maps->logs_len += is_good;
        }
    }
}

static bool has_row(const struct normalize_maps *maps, const char *product, const char *log) {
    for (size_t i = 0; i < maps->logs_len; i++) {
        if (core_span_is(maps->logs[i].product, product) && (log == NULL || core_span_is(maps->logs[i].log, log))) {
            return true;
        }
    }
    return false;
}

/* A site's rows come before ours, so they decide. */
static void logs_load(struct maps_loader *loader) {
    struct maps_file file;
    if (maps_file_exists(loader, MAPS_SITE, "logs.table") && maps_file_open(loader, &file, MAPS_SITE, "logs.table")) {
        logs_file_load(&file);
    }
    if (!maps_file_open(loader, &file, MAPS_OURS, "logs.table")) {
        return;
    }
    logs_file_load(&file);
    static const char *const products[] = {"zeek", "snort", "suricata", "tapline"};
    loader->maps->has_own = has_row(loader->maps, "tapline", NULL);
    for (size_t p = 0; p < sizeof(products) / sizeof(products[0]); p++) {
        bool is_needed = strcmp(products[p], "tapline") != 0 || loader->maps->has_own;
        if (is_needed && !has_row(loader->maps, products[p], "*")) {
            maps_mistake(&file, NULL, "no row \"%s  *\": a log without a map of its own would have none", products[p]);
        }
    }
}

/* ---- all of it ----------------------------------------------------------------------------------------------------------- */

static enum core_err maps_open(struct normalize_maps **out, const struct normalize_conf *conf,
                               const struct normalize_maps *before, bool is_whole,
                               struct core_conf_mistakes *mistakes) {
    struct normalize_maps *maps = calloc(1, sizeof(*maps));
    MUST(maps != NULL);
    size_t mistakes_before = mistakes->len;
    struct core_fail fail = {0};
    *out = NULL;
    if (core_arena_init(&maps->arena, MAPS_ARENA_BYTES, &fail) != CORE_OK) {
        mistakes->fails[0] = fail;
        mistakes->len = mistakes->len == 0 ? 1 : mistakes->len;
        free(maps);
        return CORE_IO;
    }
    maps->community_id_seed = (uint16_t)conf->community_id_seed;
    const char *site = conf->site_maps != NULL && conf->site_maps[0] != '\0' ? conf->site_maps : NULL;
    struct maps_loader loader = {.maps = maps, .dirs = {conf->maps, site}, .mistakes = mistakes};
    maps->drops = drop_books_take(before);
    maps->psl = core_psl_open();
    maps->geo = geo_open(&loader, &conf->geo_databases);
    maps->networks = networks_open(&loader, conf);
    maps->maps = maps_alloc(&loader, MAPS_FILES_MAX * sizeof(struct map *));
    if (site != NULL && !maps_file_exists(&loader, MAPS_SITE, ".")) {
        maps_mistake_at(&loader, site, "there is no such directory; normalize.site_maps names a site's own maps");
    }
    schema_load(&loader);
    if (mistakes->len == mistakes_before) {
        logs_load(&loader);
    }
    if (is_whole) {
        maps_check_all(&loader);
    }
    if (mistakes->len > mistakes_before) {
        normalize_maps_close(maps);
        return mistakes->fails[mistakes_before].err;
    }
    *out = maps;
    return CORE_OK;
}

enum core_err normalize_maps_open(struct normalize_maps **out, const struct normalize_conf *conf,
                                  const struct normalize_maps *before, struct core_conf_mistakes *mistakes) {
    MUST(out != NULL);
    MUST(conf != NULL && conf->maps != NULL);
    MUST(mistakes != NULL);
    return maps_open(out, conf, before, false, mistakes);
}

enum core_err normalize_maps_check(struct normalize_maps **out, const struct normalize_conf *conf,
                                   struct core_conf_mistakes *mistakes) {
    MUST(out != NULL);
    MUST(conf != NULL && conf->maps != NULL);
    MUST(mistakes != NULL);
    return maps_open(out, conf, NULL, true, mistakes);
}

void normalize_maps_close(struct normalize_maps *maps) {
    if (maps != NULL) {
        drop_books_give(maps->drops);
        core_psl_close(maps->psl);
        geo_close(maps->geo);
        networks_close(maps->networks);
        core_arena_destroy(&maps->arena);
        while (maps->excess != NULL) {
            struct maps_excess *next = maps->excess->next;
            free(maps->excess);
            maps->excess = next;
        }
        free(maps);
    }
}
