/* supervisor/zeekctl.c: zeekctl's three files, read as zeekctl reads them.
 *
 *   node.cfg      INI as Python's ConfigParser has it: `[name]`, then `key = value` or `key: value`; whole lines of comment
 *                 begin with '#' or ';'; a line that is indented goes on with the value before; %(key)s and %%; [DEFAULT]
 *   zeekctl.cfg   lines `key = value`, the last one of a key counts; comments begin with '#'
 *   networks.cfg  a network a line, and anything behind it is what it is called
 *
 * What zeekctl would refuse is a mistake here, with its line; nothing is guessed. A file is read whole and its parts are copied
 * into the plan's arena, so that nothing points into it later.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/sensors_internal.h"
#include "supervisor/serve_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_BYTES_MAX (1 * CORE_MIB)
#define VALUE_BYTES_MAX ((size_t)8192)
#define VALUE_DEPTH_MAX 10 /* of %(key)s in a value in a value; ConfigParser's own limit */
#define PREFIX_IPV4_MAX 32
#define PREFIX_IPV6_MAX 128

/* ---- lines ------------------------------------------------------------------------------------------------------------- */

struct lines {
    struct core_span rest;
    int number; /* of the line that was taken last */
};

static bool line_take(struct lines *lines, struct core_span *out) {
    if (lines->rest.len == 0) {
        return false;
    }
    const char *end = core_span_chr(lines->rest, '\n');
    size_t len = end == NULL ? lines->rest.len : (size_t)(end - lines->rest.ptr);
    *out = (struct core_span){lines->rest.ptr, len};
    lines->rest.ptr += len + (end == NULL ? 0 : 1);
    lines->rest.len -= len + (end == NULL ? 0 : 1);
    lines->number++;
    return true;
}

static size_t lines_count(struct core_span text) {
    size_t count = 1;
    for (size_t i = 0; i < text.len; i++) {
        count += text.ptr[i] == '\n' ? 1 : 0;
    }
    return count;
}

static const char *place(struct sensors_maker *maker, const struct zeekctl_file *file, int line) {
    return sensors_text(maker, "%s:%d", file->name, line);
}

static struct core_span copy(struct sensors_maker *maker, struct core_span text) {
    const char *out = sensors_copy(maker, text);
    return out == NULL ? (struct core_span){"", 0} : (struct core_span){out, text.len};
}

static struct core_span copy_lower(struct sensors_maker *maker, struct core_span text) {
    char *out = sensors_copy(maker, text);
    for (size_t i = 0; out != NULL && i < text.len; i++) {
        out[i] = core_lower(out[i]);
    }
    return out == NULL ? (struct core_span){"", 0} : (struct core_span){out, text.len};
}

/* ---- INI ---------------------------------------------------------------------------------------------------------------- */

struct ini {
    struct sensors_maker *maker;
    struct zeekctl_file *file;
    struct core_span section; /* ptr NULL: none yet */
    size_t indent;            /* of the option that was read last */
    bool is_open;             /* a line that is indented more goes on with it */
};

static void item_add(struct zeekctl_file *file, struct core_span section, struct core_span key, struct core_span value,
                     int line) {
    file->items[file->len++] = (struct zeekctl_item){section, key, value, line};
}

/* "[name]". */
static void ini_section(struct ini *ini, struct core_span line, int number) {
    const char *end = core_span_chr(line, ']');
    if (end == NULL || end == line.ptr + 1) {
        sensors_mistake(ini->maker, place(ini->maker, ini->file, number), "a section is written [name]");
        return;
    }
    struct core_span name = copy(ini->maker, (struct core_span){line.ptr + 1, (size_t)(end - line.ptr - 1)});
    for (size_t i = 0; i < ini->file->len; i++) {
        if (ini->file->items[i].key.len == 0 && core_span_eq(ini->file->items[i].section, name) &&
            !core_span_is(name, "DEFAULT")) {
            sensors_mistake(ini->maker, place(ini->maker, ini->file, number), "section [%s] stands in line %d, too",
                            name.ptr, ini->file->items[i].line);
        }
    }
    ini->section = name;
    ini->is_open = false;
    item_add(ini->file, name, CORE_SPAN(""), CORE_SPAN(""), number); /* one without a line of its own is seen, too */
}

static void ini_option(struct ini *ini, struct core_span line, int number) {
    size_t at = 0;
    while (at < line.len && line.ptr[at] != '=' && line.ptr[at] != ':') {
        at++;
    }
    struct core_span key = core_span_trim((struct core_span){line.ptr, at});
    if (ini->section.ptr == NULL) {
        sensors_mistake(ini->maker, place(ini->maker, ini->file, number), "there is no [section] before this line");
        return;
    }
    if (at == line.len || key.len == 0) {
        sensors_mistake(ini->maker, place(ini->maker, ini->file, number), "\"%.*s\" is no line `key = value`",
                        (int)line.len, line.ptr);
        return;
    }
    key = copy_lower(ini->maker, key);
    for (size_t i = 0; i < ini->file->len; i++) {
        const struct zeekctl_item *other = &ini->file->items[i];
        if (core_span_eq(other->section, ini->section) && core_span_eq(other->key, key)) {
            sensors_mistake(ini->maker, place(ini->maker, ini->file, number), "%s stands in line %d, too", key.ptr,
                            other->line);
        }
    }
    struct core_span value = core_span_trim((struct core_span){line.ptr + at + 1, line.len - at - 1});
    item_add(ini->file, ini->section, key, copy(ini->maker, value), number);
    ini->is_open = true;
}

static void ini_go_on(struct ini *ini, struct core_span line) {
    struct zeekctl_item *item = &ini->file->items[ini->file->len - 1];
    const char *joined =
        sensors_text(ini->maker, "%.*s\n%.*s", (int)item->value.len, item->value.ptr, (int)line.len, line.ptr);
    item->value = core_span_of(joined);
}

static void ini_line(struct ini *ini, struct core_span line, int number) {
    struct core_span text = core_span_trim(line);
    size_t indent = text.len == 0 ? 0 : (size_t)(text.ptr - line.ptr);
    if (text.len == 0 || text.ptr[0] == '#' || text.ptr[0] == ';') {
        return;
    }
    if (ini->is_open && indent > ini->indent) {
        ini_go_on(ini, text);
        return;
    }
    ini->indent = indent;
    if (text.ptr[0] == '[') {
        ini_section(ini, text, number);
    } else {
        ini_option(ini, text, number);
    }
}

/* The item of that section, else of [DEFAULT]. */
static const struct zeekctl_item *ini_find(const struct zeekctl_file *file, struct core_span section,
                                           struct core_span key) {
    const struct zeekctl_item *fallback = NULL;
    for (size_t i = 0; i < file->len; i++) {
        const struct zeekctl_item *item = &file->items[i];
        if (item->key.len > 0 && core_span_eq(item->key, key)) {
            if (core_span_eq(item->section, section)) {
                return item;
            }
            fallback = core_span_is(item->section, "DEFAULT") ? item : fallback;
        }
    }
    return fallback;
}

/* %(key)s and %% in a value, into out. False: it cannot be resolved, or is too long. */
static bool percent_put(const struct zeekctl_file *file, const struct zeekctl_item *item, struct core_span value,
                        struct core_buf *out, int depth) {
    char name[VALUE_BYTES_MAX];
    for (size_t i = 0; i < value.len; i++) {
        struct core_span rest = {value.ptr + i, value.len - i};
        if (rest.ptr[0] != '%') {
            core_buf_char(out, rest.ptr[0]);
            continue;
        }
        if (rest.len > 1 && rest.ptr[1] == '%') {
            core_buf_char(out, '%');
            i++;
            continue;
        }
        const char *end = core_span_chr(rest, ')');
        size_t len = end == NULL ? 0 : (size_t)(end - rest.ptr);
        if (rest.len < 2 || rest.ptr[1] != '(' || end == NULL || len + 1 >= rest.len || end[1] != 's' ||
            len - 2 >= sizeof(name) || depth == VALUE_DEPTH_MAX) {
            return false;
        }
        for (size_t k = 0; k < len - 2; k++) {
            name[k] = core_lower(rest.ptr[2 + k]);
        }
        const struct zeekctl_item *other = ini_find(file, item->section, (struct core_span){name, len - 2});
        if (other == NULL || !percent_put(file, item, other->value, out, depth + 1)) {
            return false;
        }
        i += len + 1;
    }
    return !out->is_full;
}

static void ini_resolve(struct ini *ini) {
    char bytes[VALUE_BYTES_MAX];
    struct core_span *values = sensors_alloc(ini->maker, (ini->file->len + 1) * sizeof(*values));
    for (size_t i = 0; values != NULL && i < ini->file->len; i++) {
        const struct zeekctl_item *item = &ini->file->items[i];
        struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
        values[i] = item->value;
        if (core_span_chr(item->value, '%') == NULL) {
            continue;
        }
        if (!percent_put(ini->file, item, item->value, &out, 0)) {
            sensors_mistake(ini->maker, place(ini->maker, ini->file, item->line),
                            "%s: a '%%' is written %%%%, or it is %%(key)s with a key of this section", item->key.ptr);
            continue;
        }
        values[i] = copy(ini->maker, core_buf_written(&out));
    }
    for (size_t i = 0; values != NULL && i < ini->file->len; i++) { /* only now: the others look at what is written */
        ini->file->items[i].value = values[i];
    }
}

/* ---- key = value ---------------------------------------------------------------------------------------------------------- */

static void plain_line(struct sensors_maker *maker, struct zeekctl_file *file, struct core_span line, int number) {
    struct core_span text = core_span_trim(line);
    const char *sign = core_span_chr(text, '=');
    if (text.len == 0 || text.ptr[0] == '#') {
        return;
    }
    if (sign == NULL || sign == text.ptr) {
        sensors_mistake(maker, place(maker, file, number), "\"%.*s\" is no line `key = value`", (int)text.len,
                        text.ptr);
        return;
    }
    struct core_span key = core_span_trim((struct core_span){text.ptr, (size_t)(sign - text.ptr)});
    struct core_span value = core_span_trim((struct core_span){sign + 1, (size_t)(text.ptr + text.len - sign - 1)});
    if (value.len > 1 && (value.ptr[0] == '"' || value.ptr[0] == '\'') && value.ptr[value.len - 1] == value.ptr[0]) {
        sensors_mistake(maker, place(maker, file, number), "%.*s: the whole value cannot be in quotes; take them away",
                        (int)key.len, key.ptr);
        return;
    }
    item_add(file, CORE_SPAN(""), copy_lower(maker, key), copy(maker, value), number);
}

void zeekctl_parse(struct sensors_maker *maker, struct zeekctl_file *file, struct core_span text, bool as_ini) {
    struct lines lines = {.rest = text};
    struct ini ini = {.maker = maker, .file = file};
    struct core_span line;
    MUST(file != NULL);
    file->len = 0;
    file->items = sensors_alloc(maker, lines_count(text) * sizeof(*file->items));
    while (file->items != NULL && line_take(&lines, &line)) {
        if (memchr(line.ptr, '\0', line.len) != NULL) {
            sensors_mistake(maker, place(maker, file, lines.number), "is no text: it has a NUL byte");
            return;
        }
        if (as_ini) {
            ini_line(&ini, line, lines.number);
        } else {
            plain_line(maker, file, line, lines.number);
        }
    }
    if (as_ini) {
        ini_resolve(&ini);
    }
}

/* ---- networks.cfg ----------------------------------------------------------------------------------------------------------- */

/* "10.0.0.0/8" to itself, "fd00::/8" to "[fd00::]/8"; NULL: it is no network. */
static const char *prefix_of(struct sensors_maker *maker, struct core_span text) {
    char address[INET6_ADDRSTRLEN];
    unsigned char bytes[sizeof(struct in6_addr)];
    unsigned bits = 0;
    const char *slash = core_span_chr(text, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - text.ptr);
    if (len == 0 || len >= sizeof(address) || len + 1 == text.len || text.len - len - 1 > 3) {
        return NULL;
    }
    for (size_t i = len + 1; i < text.len; i++) {
        if (!core_is_digit(text.ptr[i])) {
            return NULL;
        }
        bits = bits * 10 + (unsigned)(text.ptr[i] - '0');
    }
    memcpy(address, text.ptr, len);
    address[len] = '\0';
    if (inet_pton(AF_INET, address, bytes) == 1 && bits <= PREFIX_IPV4_MAX) {
        return sensors_text(maker, "%s/%u", address, bits);
    }
    if (inet_pton(AF_INET6, address, bytes) == 1 && bits <= PREFIX_IPV6_MAX) {
        return sensors_text(maker, "[%s]/%u", address, bits);
    }
    return NULL;
}

void zeekctl_parse_networks(struct sensors_maker *maker, const struct zeekctl_file *file, struct core_span text) {
    struct sensors_settings *settings = &maker->settings;
    struct lines lines = {.rest = text};
    struct core_span line;
    settings->networks = sensors_alloc(maker, lines_count(text) * sizeof(*settings->networks));
    settings->networks_len = 0;
    while (settings->networks != NULL && line_take(&lines, &line)) {
        struct core_span rest = core_span_trim(line);
        size_t len = 0;
        while (len < rest.len && !core_is_blank(rest.ptr[len])) {
            len++;
        }
        if (len == 0 || rest.ptr[0] == '#') {
            continue;
        }
        const char *prefix = prefix_of(maker, (struct core_span){rest.ptr, len});
        if (prefix == NULL) {
            sensors_mistake(maker, place(maker, file, lines.number),
                            "\"%.*s\" is no network; one is written "
                            "ADDRESS/BITS",
                            (int)len, rest.ptr);
            continue;
        }
        char *tag = sensors_copy(maker, core_span_trim((struct core_span){rest.ptr + len, rest.len - len}));
        for (char *at = tag; at != NULL && *at != '\0'; at++) { /* it becomes a comment of one line */
            *at = *at == '\r' ? ' ' : *at;
        }
        settings->networks[settings->networks_len++] = (struct sensors_network){prefix, tag != NULL ? tag : ""};
    }
    settings->has_networks = true;
}

/* ---- the files ------------------------------------------------------------------------------------------------------------------ */

/* Owns: *out is malloc'ed. False: there is none, or it cannot be read (told). */
static bool file_read(struct sensors_maker *maker, const struct zeekctl_file *file, bool is_required,
                      struct core_span *out) {
    struct core_fail fail = {0};
    enum core_err err = serve_file_read(file->path, FILE_BYTES_MAX, out, &fail);
    if (err == CORE_GONE && !is_required) {
        sensors_warn(maker, file->path, "there is no such file; tapline goes on without it");
    } else if (err != CORE_OK) {
        sensors_mistake(maker, file->path, "%s", fail.text);
    }
    return err == CORE_OK;
}

static void file_parse(struct sensors_maker *maker, struct zeekctl_file *file, bool is_required, bool as_ini) {
    struct core_span text = {0};
    if (file_read(maker, file, is_required, &text)) {
        zeekctl_parse(maker, file, text, as_ini);
    }
    free((char *)text.ptr);
}

/* Where an option of zeekctl.cfg says the file is. */
static const char *path_of(struct sensors_maker *maker, const struct zeekctl_file *options, const char *key) {
    struct core_span path = zeekctl_option(maker, options, key);
    return path.len > 0 ? sensors_text(maker, "%.*s", (int)path.len, path.ptr) : "";
}

void zeekctl_read(struct sensors_maker *maker) {
    MUST(maker->conf->zeekctl != NULL);
    struct core_span text = {0};
    struct zeekctl_file options = {.path = sensors_text(maker, "%s/zeekctl.cfg", maker->conf->zeekctl),
                                   .name = "zeekctl.cfg"};
    file_parse(maker, &options, false, false);
    zeekctl_settings(maker, &options);
    struct zeekctl_file nodes = {.path = path_of(maker, &options, "nodecfg"), .name = "node.cfg"};
    const struct zeekctl_file networks = {.path = path_of(maker, &options, "localnetscfg"), .name = "networks.cfg"};
    file_parse(maker, &nodes, true, true);
    if (file_read(maker, &networks, false, &text)) {
        zeekctl_parse_networks(maker, &networks, text);
    }
    free((char *)text.ptr);
    zeekctl_nodes(maker, &nodes, &options);
}
