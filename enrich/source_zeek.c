/* enrich/source_zeek.c: files of Zeek's intelligence framework: a `#fields` line that names the columns, in any order, and a
 * line for each indicator, tabs between.
 *
 * Kept: indicator, indicator_type, meta.source (provider), meta.desc and meta.cif_description (description), meta.url
 * (reference), meta.cif_tags (tags), meta.cif_confidence (0 to 100), meta.cif_firstseen, meta.cif_lastseen. meta.cif_source
 * stands in for a missing meta.source. Not kept: meta.do_notice and meta.if_in, which say what Zeek is to do with a hit, and
 * columns of other packages. meta.remove and meta.whitelist say that a line is no indicator: it is refused, with this reason.
 *
 * A header line may come again, with other columns: files are put together with cat(1).
 * SPDX-License-Identifier: Apache-2.0
 * Source: docs.zeek.org, frameworks/intel and frameworks/input; base/frameworks/intel/main.zeek. */
#include "enrich/enrich_internal.h"

#define COLUMNS_MAX 128
#define SCRATCH_BYTES (64 * CORE_KIB)

enum column {
    COLUMN_OTHER,
    COLUMN_INDICATOR,
    COLUMN_TYPE,
    COLUMN_SOURCE,
    COLUMN_DESC,
    COLUMN_URL,
    COLUMN_TAGS,
    COLUMN_CONFIDENCE,
    COLUMN_CIF_SOURCE,
    COLUMN_CIF_DESC,
    COLUMN_FIRST,
    COLUMN_LAST,
    COLUMN_REMOVE,
    COLUMN_WHITELIST,
    COLUMN__MAX
};

static const char *const column_names[COLUMN__MAX] = {
    [COLUMN_INDICATOR] = "indicator",
    [COLUMN_TYPE] = "indicator_type",
    [COLUMN_SOURCE] = "meta.source",
    [COLUMN_DESC] = "meta.desc",
    [COLUMN_URL] = "meta.url",
    [COLUMN_TAGS] = "meta.cif_tags",
    [COLUMN_CONFIDENCE] = "meta.cif_confidence",
    [COLUMN_CIF_SOURCE] = "meta.cif_source",
    [COLUMN_CIF_DESC] = "meta.cif_description",
    [COLUMN_FIRST] = "meta.cif_firstseen",
    [COLUMN_LAST] = "meta.cif_lastseen",
    [COLUMN_REMOVE] = "meta.remove",
    [COLUMN_WHITELIST] = "meta.whitelist",
};

struct reading {
    const struct enrich_feed_conf *feed;
    const struct enrich_read_calls *calls;
    struct core_arena arena; /* of one line */
    enum column columns[COLUMNS_MAX];
    size_t columns_len;
    uint64_t line;
};

static int zeek_looks(struct core_span head) {
    struct core_span line;
    while (source_line(&head, &line)) {
        if (core_span_starts(line, CORE_SPAN("#fields\t"))) {
            return memmem(line.ptr, line.len, "indicator_type", strlen("indicator_type")) != NULL ? 100 : 0;
        }
        if (line.len > 0 && line.ptr[0] != '#') {
            break;
        }
    }
    return 0;
}

/* The next field, cut off *rest; false: there is none. */
static bool field_next(struct core_span *rest, bool *is_over, struct core_span *field) {
    if (*is_over) {
        return false;
    }
    const char *tab = core_span_chr(*rest, '\t');
    size_t len = tab == NULL ? rest->len : (size_t)(tab - rest->ptr);
    *field = (struct core_span){rest->ptr, len};
    *is_over = tab == NULL;
    *rest = tab == NULL ? (struct core_span){rest->ptr + len, 0}
                        : (struct core_span){rest->ptr + len + 1, rest->len - len - 1};
    return true;
}

static void header_read(struct reading *reading, struct core_span names) {
    struct core_span name;
    bool is_over = false;
    reading->columns_len = 0;
    while (reading->columns_len < COLUMNS_MAX && field_next(&names, &is_over, &name)) {
        enum column column = COLUMN_OTHER;
        name = core_span_trim(name);
        for (int c = COLUMN_INDICATOR; c < COLUMN__MAX; c++) {
            column = core_span_is(name, column_names[c]) ? (enum column)c : column;
        }
        reading->columns[reading->columns_len++] = column;
    }
}

static bool has_column(const struct reading *reading, enum column column) {
    for (size_t i = 0; i < reading->columns_len; i++) {
        if (reading->columns[i] == column) {
            return true;
        }
    }
    return false;
}

static int hex_of(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Zeek writes a tab within a field as \x09. Empty if the arena is full. */
static struct core_span unescaped(struct core_arena *arena, struct core_span in) {
    if (memmem(in.ptr, in.len, "\\x", 2) == NULL) {
        return in;
    }
    char *out = core_arena_copy(arena, in);
    size_t len = 0;
    for (size_t i = 0; out != NULL && i < in.len; i++) {
        bool is_escape = in.len - i >= 4 && in.ptr[i] == '\\' && in.ptr[i + 1] == 'x' && hex_of(in.ptr[i + 2]) >= 0 &&
                         hex_of(in.ptr[i + 3]) >= 0;
        out[len++] = is_escape ? (char)(hex_of(in.ptr[i + 2]) * 16 + hex_of(in.ptr[i + 3])) : in.ptr[i];
        i += is_escape ? 3 : 0;
    }
    return (struct core_span){out, len};
}

static bool is_true(struct core_span text) {
    return core_span_is(text, "T") || core_span_is(text, "1");
}

static bool line_read(struct reading *reading, struct core_span line) {
    struct core_span fields[COLUMN__MAX] = {0};
    struct core_span field;
    struct core_span rest = line;
    bool is_over = false;
    core_arena_reset(&reading->arena, SCRATCH_BYTES);
    for (size_t i = 0; i < reading->columns_len && field_next(&rest, &is_over, &field); i++) {
        bool is_unset = core_span_is(field, "-") || core_span_is(field, "(empty)");
        fields[reading->columns[i]] = is_unset ? (struct core_span){0} : unescaped(&reading->arena, field);
    }
    struct core_arena *arena = &reading->arena;
    struct core_span indicator = fields[COLUMN_INDICATOR];
    struct enrich_item item = source_item(source_type_of(fields[COLUMN_TYPE]), indicator);
    const char *why = NULL;
    if (fields[COLUMN_TYPE].len == 0) {
        why = "it has no type: there are fewer columns than #fields names, or other ones";
    } else if (item.type == CORE_INDICATOR_NONE) {
        why = "its type is none of those that are looked for";
    } else if (is_true(fields[COLUMN_REMOVE])) {
        why = "the file takes it back (meta.remove)";
    } else if (is_true(fields[COLUMN_WHITELIST])) {
        why = "the file excepts it (meta.whitelist); tapline intel allow does";
    }
    if (why != NULL) {
        source_refuse(reading->calls, reading->line, indicator.len > 0 ? indicator : line, why);
        return true;
    }
    item.said.provider = source_text(arena, fields[fields[COLUMN_SOURCE].len > 0 ? COLUMN_SOURCE : COLUMN_CIF_SOURCE]);
    item.said.description =
        source_join(arena, source_text(arena, fields[COLUMN_DESC]), "; ", source_text(arena, fields[COLUMN_CIF_DESC]));
    item.said.reference = source_text(arena, fields[COLUMN_URL]);
    item.said.tags = source_text(arena, fields[COLUMN_TAGS]);
    item.said.confidence_tenths = source_confidence(fields[COLUMN_CONFIDENCE], 100);
    item.said.first_seen = source_time(fields[COLUMN_FIRST]);
    item.said.last_seen = source_time(fields[COLUMN_LAST]);
    return source_give(reading->calls, reading->feed, reading->line, &item);
}

static enum core_err zeek_read(struct core_span text, const char *path, const struct enrich_feed_conf *feed,
                               const struct enrich_read_calls *calls, struct core_fail *fail) {
    struct reading reading = {.feed = feed, .calls = calls};
    struct core_span line;
    bool goes_on = true;
    const struct core_span all = text;
    /* A line is at most copied twice: unescaped, and as texts. */
    enum core_err err = core_arena_init(&reading.arena, 4 * (size_t)CORE_LINE_BYTES_MAX, fail);
    if (err != CORE_OK) {
        return err;
    }
    while (err == CORE_OK && goes_on && source_line(&text, &line)) {
        source_progress(calls, ++reading.line, text, all);
        if (core_span_starts(line, CORE_SPAN("#fields"))) {
            header_read(&reading, (struct core_span){line.ptr + strlen("#fields"), line.len - strlen("#fields")});
            if (reading.columns_len > 0) { /* what stands before the first tab names no column */
                memmove(reading.columns, reading.columns + 1, --reading.columns_len * sizeof(reading.columns[0]));
            }
            if (!has_column(&reading, COLUMN_INDICATOR) || !has_column(&reading, COLUMN_TYPE)) {
                err = core_fail_set(fail, CORE_BAD, path,
                                    "its line %llu, #fields, names no indicator and indicator_type, tabs between",
                                    (unsigned long long)reading.line);
            }
        } else if (core_span_trim(line).len == 0 || line.ptr[0] == '#') {
            continue;
        } else if (reading.columns_len == 0) {
            err = core_fail_set(fail, CORE_BAD, path, "it has no #fields line before its first indicator");
        } else if (line.len > CORE_LINE_BYTES_MAX) {
            source_refuse(calls, reading.line, (struct core_span){line.ptr, ENRICH_TEXT_BYTES_MAX},
                          "its line is longer than 1 MiB");
        } else {
            goes_on = line_read(&reading, line);
        }
    }
    core_arena_destroy(&reading.arena);
    return err == CORE_OK && !goes_on ? CORE_AGAIN : err;
}

const struct source_ops source_zeek = {
    .name = "zeek",
    .summary = "a file of Zeek's intelligence framework (#fields, tabs), all its types and JA3",
    .looks = zeek_looks,
    .read = zeek_read,
    .tells_all = true,
    .counts = "line",
};
