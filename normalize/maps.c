/* normalize/maps.c: reads configs/: schema.tsv, logs.table and the map files they name, and checks every row.
 *
 * All text lives in one arena and is read-only afterwards, so threads share it without locks. Each mistake is collected
 * with file, line and column, so that `tapline check` shows all of them at once; a directory with a mistake is refused
 * whole, because half a map would drop fields in silence. The grammar is in configs/maps/FORMAT.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"
#include "normalize/maps_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAPS_ARENA_BYTES (64 * CORE_MIB)
#define MAP_FILE_BYTES_MAX (4 * CORE_MIB)

void maps_mistake(struct maps_file *file, const char *at, const char *fmt, ...) {
    struct core_conf_mistakes *mistakes = file->loader->mistakes;
    if (mistakes->len == sizeof(mistakes->fails) / sizeof(mistakes->fails[0])) {
        return;
    }
    struct core_fail *fail = &mistakes->fails[mistakes->len++];
    char text[sizeof(fail->text)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    char where[sizeof(fail->where)];
    size_t column = at == NULL ? 1 : (size_t)(at - file->line.ptr) + 1;
    snprintf(where, sizeof(where), "%.220s:%zu:%zu", file->path, file->line_number, column);
    (void)core_fail_set(fail, CORE_BAD, where, "%s", text);
}

void *maps_alloc(struct maps_loader *loader, size_t len) {
    void *p = core_arena_alloc(&loader->maps->arena, len);
    MUST(p != NULL); /* 64 MiB of map text: bounded by MAP_FILE_BYTES_MAX and the number of logs */
    memset(p, 0, len);
    return p;
}

/* The file's whole text in the arena. */
static bool file_read(struct maps_loader *loader, struct maps_file *file, struct core_fail *fail) {
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    bool is_read = false;
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

bool maps_file_open(struct maps_loader *loader, struct maps_file *file, const char *name) {
    struct core_fail fail = {0};
    memset(file, 0, sizeof(*file));
    file->loader = loader;
    int len = snprintf(file->path, sizeof(file->path), "%s/%s", loader->dir, name);
    if (len < 0 || (size_t)len >= sizeof(file->path)) {
        (void)core_fail_set(&fail, CORE_LIMIT, loader->dir, "path of %s is too long", name);
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

char *maps_text(struct maps_loader *loader, struct core_span text) {
    char *copy = core_arena_copy(&loader->maps->arena, text);
    MUST(copy != NULL);
    return copy;
}

/* ---- schema.tsv ------------------------------------------------------------------------------------------------------ */

static bool schema_type_parse(struct core_span word, enum schema_type *type) {
    static const struct {
        const char *word;
        enum schema_type type;
    } words[] = {
        {"keyword", SCHEMA_KEYWORD}, {"long", SCHEMA_LONG}, {"double", SCHEMA_DOUBLE}, {"boolean", SCHEMA_BOOLEAN},
        {"date", SCHEMA_DATE},       {"ip", SCHEMA_IP},     {"object", SCHEMA_OBJECT},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (core_span_is(word, words[i].word)) {
            *type = words[i].type;
            return true;
        }
    }
    return false;
}

static int schema_compare(const void *a, const void *b) {
    return strcmp(((const struct schema_field *)a)->name, ((const struct schema_field *)b)->name);
}

static size_t lines_in(struct core_span text) {
    size_t lines = 1;
    for (size_t i = 0; i < text.len; i++) {
        lines += text.ptr[i] == '\n';
    }
    return lines;
}

static struct core_span tab_field(struct core_span *rest) {
    const char *tab = core_span_chr(*rest, '\t');
    size_t len = tab == NULL ? rest->len : (size_t)(tab - rest->ptr);
    struct core_span field = {rest->ptr, len};
    size_t skip = tab == NULL ? len : len + 1;
    *rest = (struct core_span){rest->ptr + skip, rest->len - skip};
    return maps_trim(field);
}

static void schema_load(struct maps_loader *loader) {
    struct maps_file file;
    struct normalize_maps *maps = loader->maps;
    if (!maps_file_open(loader, &file, "schema.tsv")) {
        return;
    }
    maps->schema = maps_alloc(loader, lines_in(file.rest) * sizeof(*maps->schema));
    while (maps_file_line(&file)) {
        if (file.line.len == 0 || file.line.ptr[0] == '#') {
            continue;
        }
        struct core_span rest = file.line;
        struct core_span name = tab_field(&rest);
        struct core_span type = tab_field(&rest);
        struct core_span list = tab_field(&rest);
        struct schema_field *field = &maps->schema[maps->schema_len];
        if (!schema_type_parse(type, &field->type)) {
            maps_mistake(&file, type.ptr,
                         "\"%.*s\" is no type; one of keyword long double boolean date ip object belongs here",
                         (int)type.len, type.ptr);
            continue;
        }
        if (list.len > 0 && !core_span_is(list, "list")) {
            maps_mistake(&file, list.ptr, "the third column is \"list\" or empty, not \"%.*s\"", (int)list.len,
                         list.ptr);
            continue;
        }
        field->name = maps_text(loader, name);
        field->is_list = list.len > 0;
        maps->schema_len++;
    }
    qsort(maps->schema, maps->schema_len, sizeof(*maps->schema), schema_compare);
}

const struct schema_field *schema_find(const struct normalize_maps *maps, struct core_span name) {
    static const struct schema_field own = {.name = NULL, .type = SCHEMA_OWN, .is_list = false};
    static const struct core_span open[] = {{"zeek.", 5}, {"snort.", 6}, {"suricata.", 9}, {"tapline.", 8}};
    size_t low = 0;
    size_t high = maps->schema_len;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const char *have = maps->schema[mid].name;
        int order = strncmp(have, name.ptr, name.len);
        if (order == 0 && have[name.len] != '\0') {
            order = 1;
        }
        if (order == 0) {
            return &maps->schema[mid];
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        if (core_span_starts(name, open[i])) {
            return &own;
        }
    }
    return NULL;
}

/* ---- logs.table -------------------------------------------------------------------------------------------------------- */

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
    if (!core_span_is(product, "zeek") && !core_span_is(product, "snort") && !core_span_is(product, "suricata")) {
        maps_mistake(file, product.ptr, "\"%.*s\" is no product; zeek, snort or suricata belongs here",
                     (int)product.len, product.ptr);
        return;
    }
    row->product = core_span_of(maps_text(file->loader, product));
    row->log = core_span_of(maps_text(file->loader, log));
    row->dataset = core_span_of(maps_text(file->loader, dataset));
    row->map = map_load(file->loader, maps_text(file->loader, map), file, map.ptr, 0);
    *is_good = row->map != NULL;
}

static void logs_load(struct maps_loader *loader) {
    struct maps_file file;
    struct normalize_maps *maps = loader->maps;
    if (!maps_file_open(loader, &file, "logs.table")) {
        return;
    }
    maps->logs = maps_alloc(loader, lines_in(file.rest) * sizeof(*maps->logs));
    while (maps_file_line(&file)) {
        if (maps_trim(maps_line_code(file.line)).len == 0) {
            continue;
        }
        bool is_good;
        log_row_load(&file, &maps->logs[maps->logs_len], &is_good);
        maps->logs_len += is_good;
    }
    static const char *const products[] = {"zeek", "snort", "suricata"};
    for (size_t p = 0; p < 3; p++) {
        bool has_any = false;
        for (size_t i = 0; i < maps->logs_len; i++) {
            has_any =
                has_any || (core_span_is(maps->logs[i].product, products[p]) && core_span_is(maps->logs[i].log, "*"));
        }
        if (!has_any) {
            maps_mistake(&file, NULL, "no row \"%s  *\": a log without a map of its own would have none", products[p]);
        }
    }
}

/* ---- all of it ----------------------------------------------------------------------------------------------------------- */

enum core_err normalize_maps_open(struct normalize_maps **out, const struct normalize_conf *conf,
                                  const struct normalize_maps *before, struct core_conf_mistakes *mistakes) {
    MUST(out != NULL);
    MUST(conf != NULL && conf->maps != NULL);
    MUST(mistakes != NULL);
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
    struct maps_loader loader = {.maps = maps, .dir = conf->maps, .mistakes = mistakes};
    maps->drops = drop_books_take(before);
    maps->maps = maps_alloc(&loader, MAPS_FILES_MAX * sizeof(struct map *));
    schema_load(&loader);
    if (mistakes->len == mistakes_before) {
        logs_load(&loader);
    }
    if (mistakes->len > mistakes_before) {
        normalize_maps_close(maps);
        return mistakes->fails[mistakes_before].err;
    }
    *out = maps;
    return CORE_OK;
}

void normalize_maps_close(struct normalize_maps *maps) {
    if (maps != NULL) {
        drop_books_give(maps->drops);
        core_arena_destroy(&maps->arena);
        free(maps);
    }
}
