/* normalize/snort_names.c: sid-msg.map (v1 and v2), gen-msg.map and classification.config: the names that unified2 has
 * only numbers for.
 *
 * Design: each file is read whole; names are spans of it, sorted by rule. A worker keeps one set for each three files that
 * inputs name, and looks whether they changed when a file of alerts begins: rules are updated, and then Snort restarts and
 * begins a new one. What cannot be read is told in the log; the events go on without names. Thread: the worker's.
 * Source: Snort 2's manual, Snort 3's u2boat, PulledPork's sid-msg.map formats.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/unified2_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define NAMES_BYTES_MAX (64 * CORE_MIB) /* of one file */

enum names_file { FILE_SID, FILE_GEN, FILE_CLASS, FILES_LEN };

struct loaded {
    char *path; /* NULL: none */
    char *text;
    size_t len;
    struct timespec mtime;
    off_t size;
    ino_t ino;
};

struct snort_names {
    struct loaded files[FILES_LEN];
    struct snort_rule_name *rules; /* sorted */
    size_t rules_len;
    size_t rules_cap;
    struct snort_class *classes;
    size_t classes_len;
    size_t classes_cap;
    struct snort_names *next;
};

/* ---- lines ----------------------------------------------------------------------------------------------------------------- */

static bool number_read(struct core_span text, uint32_t *number) {
    uint64_t v = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || v > UINT32_MAX) {
            return false;
        }
        v = v * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    *number = (uint32_t)v;
    return text.len > 0 && v <= UINT32_MAX;
}

/* "a || b || c". More parts than there is room for stay in the last one. */
static size_t parts_cut(struct core_span line, struct core_span *parts, size_t parts_max) {
    size_t len = 0;
    for (;;) {
        const char *bars = len + 1 < parts_max ? snort_find(line, "||") : NULL;
        const size_t part_len = bars == NULL ? line.len : (size_t)(bars - line.ptr);
        parts[len++] = snort_trim(snort_cut(line, 0, part_len));
        if (bars == NULL) {
            return len;
        }
        line = snort_cut(line, part_len + 2, line.len);
    }
}

static void *grown(void *items, size_t len, size_t *cap, size_t size) {
    if (len < *cap) {
        return items;
    }
    *cap = *cap == 0 ? 1024 : 2 * *cap;
    items = realloc(items, *cap * size);
    MUST(items != NULL);
    return items;
}

static void rule_add(struct snort_names *names, struct snort_rule_name rule) {
    names->rules = grown(names->rules, names->rules_len, &names->rules_cap, sizeof(*names->rules));
    rule.line = (uint32_t)names->rules_len;
    names->rules[names->rules_len++] = rule;
}

/* sid || msg || reference …; v2: gid || sid || rev || class || priority || msg || reference … */
static bool sid_line(struct snort_names *names, struct core_span line, bool is_v2) {
    struct core_span parts[7] = {{0}};
    const size_t msg_at = is_v2 ? 5 : 1;
    struct snort_rule_name rule = {.gid = 1};
    if (parts_cut(line, parts, msg_at + 2) < msg_at + 1 || !number_read(parts[is_v2 ? 1 : 0], &rule.sid) ||
        (is_v2 && !number_read(parts[0], &rule.gid))) {
        return false;
    }
    rule.msg = parts[msg_at];
    rule.references = parts[msg_at + 1];
    rule.class_name = is_v2 ? parts[3] : (struct core_span){0};
    rule_add(names, rule);
    return true;
}

/* gid || sid || msg */
static bool gen_line(struct snort_names *names, struct core_span line) {
    struct core_span parts[3];
    struct snort_rule_name rule = {0};
    if (parts_cut(line, parts, 3) < 3 || !number_read(parts[0], &rule.gid) || !number_read(parts[1], &rule.sid)) {
        return false;
    }
    rule.msg = parts[2];
    rule_add(names, rule);
    return true;
}

/* config classification: short,text,priority */
static bool class_line(struct snort_names *names, struct core_span line) {
    static const struct core_span head = CORE_SPAN("config classification:");
    if (!core_span_starts(line, head)) {
        return core_span_starts(line, CORE_SPAN("config ")); /* other settings may stand in the same file */
    }
    const struct core_span rest = snort_trim(snort_cut(line, head.len, line.len));
    const char *first = core_span_chr(rest, ',');
    const char *last = snort_find_last(rest, ",");
    struct snort_class class = {0};
    if (first == NULL || last == NULL) {
        return false;
    }
    if (last == first || !number_read(snort_trim(snort_from(rest, last + 1)), &class.priority)) {
        return false;
    }
    class.name = snort_trim(snort_cut(rest, 0, (size_t)(first - rest.ptr)));
    class.text = snort_trim(snort_cut(rest, (size_t)(first - rest.ptr) + 1, (size_t)(last - rest.ptr)));
    names->classes = grown(names->classes, names->classes_len, &names->classes_cap, sizeof(*names->classes));
    names->classes[names->classes_len++] = class;
    return true;
}

/* ---- files ----------------------------------------------------------------------------------------------------------------- */

static enum core_err file_read(struct loaded *file, struct core_fail *fail) {
    struct stat st = {0};
    FILE *in = fopen(file->path, "re");
    enum core_err err = CORE_OK;
    if (in == NULL || fstat(fileno(in), &st) != 0) {
        err = core_fail_errno(fail, file->path, "cannot read it");
    } else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > NAMES_BYTES_MAX) {
        err = core_fail_set(fail, CORE_BAD, file->path,
                            "is no file of names: it is no plain file, or longer than %zu MiB",
                            (size_t)(NAMES_BYTES_MAX / CORE_MIB));
    }
    if (err == CORE_OK) {
        file->mtime = st.st_mtim;
        file->size = st.st_size;
        file->ino = st.st_ino;
        file->text = malloc((size_t)st.st_size + 1);
        MUST(file->text != NULL);
        file->len = fread(file->text, 1, (size_t)st.st_size, in);
    }
    if (in != NULL) {
        (void)fclose(in);
    }
    return err;
}

static void file_cut(struct snort_names *names, enum names_file which) {
    const struct loaded *file = &names->files[which];
    struct core_span rest = {file->text, file->len};
    const bool is_v2 = core_span_starts(rest, CORE_SPAN("#v2"));
    unsigned number = 0;
    unsigned bad = 0;
    unsigned bad_first = 0;
    while (rest.len > 0) {
        const char *nl = core_span_chr(rest, '\n');
        const size_t len = nl == NULL ? rest.len : (size_t)(nl - rest.ptr);
        const struct core_span line = snort_trim(snort_cut(rest, 0, len));
        rest = snort_cut(rest, nl == NULL ? len : len + 1, rest.len);
        number++;
        const bool is_good = line.len == 0 || line.ptr[0] == '#' ||
                             (which == FILE_SID   ? sid_line(names, line, is_v2)
                              : which == FILE_GEN ? gen_line(names, line)
                                                  : class_line(names, line));
        bad_first = !is_good && bad == 0 ? number : bad_first;
        bad += !is_good;
    }
    if (bad > 0) {
        core_log(CORE_LEVEL_WARN, "normalize", "lines of a file of names passed over",
                 "file=%s lines=%u first=%u; they are not as Snort writes them, and their rules stay without names",
                 file->path, bad, bad_first);
    }
}

static int compare_rules(const void *a, const void *b) {
    const struct snort_rule_name *x = a;
    const struct snort_rule_name *y = b;
    if (x->gid != y->gid) {
        return x->gid < y->gid ? -1 : 1;
    }
    if (x->sid != y->sid) {
        return x->sid < y->sid ? -1 : 1;
    }
    return x->line < y->line ? -1 : x->line > y->line;
}

static void names_load(struct snort_names *names) {
    names->rules_len = names->classes_len = 0;
    for (int i = 0; i < FILES_LEN; i++) {
        struct loaded *file = &names->files[i];
        struct core_fail fail = {0};
        free(file->text);
        file->text = NULL;
        file->len = 0;
        if (file->path == NULL) {
            continue;
        }
        if (file_read(file, &fail) == CORE_OK) {
            file_cut(names, (enum names_file)i);
        } else {
            core_log_fail(CORE_LEVEL_ERROR, "normalize", "a file of names was not read; events go on without its names",
                          &fail);
        }
    }
    if (names->rules_len > 0) {
        qsort(names->rules, names->rules_len, sizeof(*names->rules), compare_rules);
    }
}

static bool is_changed(const struct loaded *file) {
    struct stat st;
    if (file->path == NULL || stat(file->path, &st) != 0) {
        return false; /* gone for the moment: what was read stays */
    }
    return st.st_size != file->size || st.st_ino != file->ino || st.st_mtim.tv_sec != file->mtime.tv_sec ||
           st.st_mtim.tv_nsec != file->mtime.tv_nsec;
}

static bool is_path_same(const char *a, const char *b) {
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

struct snort_names *snort_names_of(struct normalize_worker *worker, const struct core_origin *origin) {
    if (origin == NULL ||
        (origin->sid_msg_map == NULL && origin->gen_msg_map == NULL && origin->classification_config == NULL)) {
        return NULL;
    }
    const char *paths[FILES_LEN] = {origin->sid_msg_map, origin->gen_msg_map, origin->classification_config};
    struct snort_names *names = worker->snort_names;
    while (names != NULL && !(is_path_same(names->files[FILE_SID].path, paths[FILE_SID]) &&
                              is_path_same(names->files[FILE_GEN].path, paths[FILE_GEN]) &&
                              is_path_same(names->files[FILE_CLASS].path, paths[FILE_CLASS]))) {
        names = names->next;
    }
    if (names == NULL) {
        names = calloc(1, sizeof(*names));
        MUST(names != NULL);
        for (int i = 0; i < FILES_LEN; i++) {
            names->files[i].path = paths[i] == NULL ? NULL : strdup(paths[i]);
            MUST(paths[i] == NULL || names->files[i].path != NULL);
        }
        names->next = worker->snort_names;
        worker->snort_names = names;
        names_load(names);
    } else if (is_changed(&names->files[FILE_SID]) || is_changed(&names->files[FILE_GEN]) ||
               is_changed(&names->files[FILE_CLASS])) {
        names_load(names);
    }
    return names;
}

void snort_names_free(struct snort_names *names) {
    while (names != NULL) {
        struct snort_names *next = names->next;
        for (int i = 0; i < FILES_LEN; i++) {
            free(names->files[i].path);
            free(names->files[i].text);
        }
        free(names->rules);
        free(names->classes);
        free(names);
        names = next;
    }
}

/* ---- asking ---------------------------------------------------------------------------------------------------------------- */

const struct snort_rule_name *snort_names_rule(const struct snort_names *names, uint32_t gid, uint32_t sid) {
    size_t from = 0;
    size_t to = names->rules_len;
    while (from < to) { /* the first behind all of this rule */
        const size_t mid = from + (to - from) / 2;
        const struct snort_rule_name *rule = &names->rules[mid];
        if (rule->gid < gid || (rule->gid == gid && rule->sid <= sid)) {
            from = mid + 1;
        } else {
            to = mid;
        }
    }
    if (from > 0 && names->rules[from - 1].gid == gid && names->rules[from - 1].sid == sid) {
        return &names->rules[from - 1];
    }
    return gid == 3 ? snort_names_rule(names, 1, sid) : NULL; /* shared object rules stand among the others in v1 */
}

const struct snort_class *snort_names_class(const struct snort_names *names, uint32_t number) {
    return number > 0 && number <= names->classes_len ? &names->classes[number - 1] : NULL;
}

const struct snort_class *snort_names_class_of(const struct snort_names *names, struct core_span name) {
    for (size_t i = 0; i < names->classes_len; i++) {
        if (core_span_eq(names->classes[i].name, name)) {
            return &names->classes[i];
        }
    }
    return NULL;
}
