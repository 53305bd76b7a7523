/* normalize/decode_snort_csv.c: alert_csv of Snort 2 and 3, and what pfSense's Snort writes.
 *
 * Which column is which: the input's csv_fields, else a header line in the file, else by the number of columns: 27 are
 * Snort 2's default, 10 Snort 3's, 13 to 15 pfSense's. Snort 3 does not escape its message, which may hold quotes and
 * commas: columns are counted from both ends, and what is left between them is the message.
 * Source: Snort 3 src/loggers/alert_csv.cc; Snort 2 README.alert_csv; our corpus.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/snort_internal.h"

#include <stdlib.h>

#define CSV_COLUMNS_MAX 128
#define CSV_NAMES_BYTES_MAX 4096

struct snort_csv {
    struct column columns[CSV_COLUMNS_MAX];
    size_t len;
    char names[CSV_NAMES_BYTES_MAX];
};

#define NAME(text)                                                                                                     \
    {                                                                                                                  \
        .name = { text, sizeof(text) - 1 }                                                                             \
    }

static const struct column snort2_columns[] = {
    NAME("timestamp"), NAME("sig_generator"), NAME("sig_id"),  NAME("sig_rev"), NAME("msg"),    NAME("proto"),
    NAME("src"),       NAME("srcport"),       NAME("dst"),     NAME("dstport"), NAME("ethsrc"), NAME("ethdst"),
    NAME("ethlen"),    NAME("tcpflags"),      NAME("tcpseq"),  NAME("tcpack"),  NAME("tcplen"), NAME("tcpwindow"),
    NAME("ttl"),       NAME("tos"),           NAME("id"),      NAME("dgmlen"),  NAME("iplen"),  NAME("icmptype"),
    NAME("icmpcode"),  NAME("icmpid"),        NAME("icmpseq"),
};

static const struct column pfsense_columns[] = {
    NAME("timestamp"), NAME("sig_generator"), NAME("sig_id"), NAME("sig_rev"), NAME("msg"), NAME("proto"),
    NAME("src"),       NAME("srcport"),       NAME("dst"),    NAME("dstport"), NAME("id"),  NAME("classification"),
    NAME("priority"),  NAME("event_type"),    NAME("action"),
};

static const struct column snort3_columns[] = {
    NAME("timestamp"), NAME("pkt_num"), NAME("proto"),  NAME("pkt_gen"), NAME("pkt_len"),
    NAME("dir"),       NAME("src_ap"),  NAME("dst_ap"), NAME("rule"),    NAME("action"),
};

#define PFSENSE_MIN 13
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

bool snort_csv_is_it(struct core_span text) {
    size_t len = snort_stamp_len(text);
    if (len == 0) {
        return false;
    }
    struct core_span rest = snort_cut(text, len, text.len);
    while (rest.len > 0 && rest.ptr[0] == ' ') {
        rest = snort_cut(rest, 1, rest.len);
    }
    return rest.len > 0 && rest.ptr[0] == ',';
}

/* ---- names ------------------------------------------------------------------------------------------------------------------ */

static bool name_is_good(struct core_span name) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || c == '_' || (i > 0 && c >= '0' && c <= '9'))) {
            return false;
        }
    }
    return name.len > 0;
}

/* "timestamp,gid,sid", with or without blanks and quotes. NULL: those are no names. */
static struct snort_csv *csv_new(struct core_span text) {
    if (text.len > CSV_NAMES_BYTES_MAX) {
        return NULL;
    }
    struct snort_csv *csv = calloc(1, sizeof(*csv));
    MUST(csv != NULL);
    memcpy(csv->names, text.ptr, text.len);
    struct core_span rest = {csv->names, text.len};
    for (bool is_last = false; !is_last;) {
        const char *comma = core_span_chr(rest, ',');
        struct core_span name = snort_trim(comma == NULL ? rest : snort_cut(rest, 0, (size_t)(comma - rest.ptr)));
        if (name.len >= 2 && name.ptr[0] == '"' && name.ptr[name.len - 1] == '"') {
            name = snort_cut(name, 1, name.len - 1);
        }
        bool is_good = name_is_good(name) && csv->len < CSV_COLUMNS_MAX;
        for (size_t i = 0; i < csv->len; i++) {
            is_good = is_good && !core_span_eq(name, csv->columns[i].name);
        }
        if (!is_good) {
            free(csv);
            return NULL;
        }
        csv->columns[csv->len++] = (struct column){.name = name};
        is_last = comma == NULL;
        rest = is_last ? rest : snort_from(rest, comma + 1);
    }
    return csv;
}

/* Any of Snort 2's or Snort 3's names? Comments have commas, too. */
static bool has_known_name(const struct snort_csv *csv) {
    bool is_known = false;
    for (size_t i = 0; i < csv->len && !is_known; i++) {
        is_known = snort_json_has_field(csv->columns[i].name);
        for (size_t j = 0; j < COUNT(snort2_columns) && !is_known; j++) {
            is_known = core_span_eq(csv->columns[i].name, snort2_columns[j].name);
        }
    }
    return is_known;
}

bool snort_csv_context(struct stream_state *state, struct core_span line) {
    const struct core_origin *origin = state->stream->origin;
    bool is_told = origin != NULL && (origin->csv_fields != NULL || origin->type == CORE_ORIGIN_ZEEK);
    if (is_told || tsv_was_seen(state)) {
        return false;
    }
    while (line.len > 0 && (line.ptr[0] == '#' || line.ptr[0] == ' ')) {
        line = snort_cut(line, 1, line.len);
    }
    struct snort_csv *csv = core_span_chr(line, ',') == NULL ? NULL : csv_new(line);
    if (csv == NULL || !has_known_name(csv)) {
        snort_csv_free(csv);
        return false;
    }
    snort_csv_free(state->csv);
    state->csv = csv;
    return true;
}

void snort_csv_free(struct snort_csv *csv) {
    free(csv);
}

/* ---- columns ---------------------------------------------------------------------------------------------------------------- */

struct layout {
    const struct column *columns;
    size_t len;
    size_t msg; /* index of the message; len: there is none */
    struct core_span separator;
};

static struct layout layout_of(const struct column *columns, size_t len, struct core_span separator) {
    struct layout layout = {.columns = columns, .len = len, .msg = len, .separator = separator};
    for (size_t i = len; i-- > 0;) {
        layout.msg = core_span_is(columns[i].name, "msg") ? i : layout.msg;
    }
    return layout;
}

/* What is left of a line whose columns are read from its beginning. */
struct cursor {
    struct core_span rest;
    struct core_span separator;
    bool is_unclosed; /* no quote that closes a column is left: looked for once, not once a column */
};

/* Behind the quote that closes a column: one that the separator or the end follows. 0: there is none. */
static size_t quoted_end(struct cursor *cursor) {
    struct core_span text = cursor->rest;
    for (size_t at = 1; at < text.len && !cursor->is_unclosed; at++) {
        struct core_span rest = snort_cut(text, at + 1, text.len);
        if (text.ptr[at] == '"' && text.ptr[at - 1] != '\\' &&
            (rest.len == 0 || core_span_starts(rest, cursor->separator))) {
            return at + 1;
        }
    }
    cursor->is_unclosed = true;
    return 0;
}

/* The first separator, NULL: none. Not memmem: a sanitizer looks at all of what that is given, for each column anew. */
static const char *separator_find(struct core_span text, struct core_span separator) {
    const char *end = text.ptr + text.len;
    const char *at = memchr(text.ptr, separator.ptr[0], text.len);
    while (at != NULL && !core_span_starts((struct core_span){at, (size_t)(end - at)}, separator)) {
        at = memchr(at + 1, separator.ptr[0], (size_t)(end - at - 1));
    }
    return at;
}

/* The next column: up to the separator, or up to it behind the closing quote. False: nothing follows it. */
static bool column_next(struct cursor *cursor, struct core_span *column) {
    struct core_span text = cursor->rest;
    size_t at = text.len > 0 && text.ptr[0] == '"' ? quoted_end(cursor) : 0;
    const char *found = separator_find(snort_cut(text, at, text.len), cursor->separator);
    *column = snort_cut(text, 0, found == NULL ? text.len : (size_t)(found - text.ptr));
    cursor->rest = snort_cut(text, found == NULL ? text.len : column->len + cursor->separator.len, text.len);
    return found != NULL;
}

static size_t columns_count(struct cursor cursor) {
    size_t count = 1;
    struct core_span column;
    while (column_next(&cursor, &column)) {
        count++;
    }
    return count;
}

static void column_put(struct normalize_worker *worker, size_t at, struct core_span text) {
    text = snort_trim(text);
    if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"') {
        text = snort_cut(text, 1, text.len - 1);
    }
    worker->columns[at] = text.len == 0 ? value_none() : value_of(VALUE_TEXT, text.ptr, text.len);
}

/* Columns [0, len) from the text's beginning; *text is what follows. */
static bool columns_read(struct normalize_worker *worker, const struct layout *layout, size_t len,
                         struct core_span *text) {
    struct cursor cursor = {.rest = *text, .separator = layout->separator};
    for (size_t i = 0; i < len; i++) {
        struct core_span column;
        bool is_more = column_next(&cursor, &column);
        if (is_more != (i + 1 < layout->len)) {
            return record_refuse(worker, "a csv alert of %zu columns, where %zu are named: see the input's csv_fields",
                                 is_more ? layout->len + columns_count(cursor) : i + 1, layout->len);
        }
        column_put(worker, i, column);
    }
    *text = cursor.rest;
    return true;
}

/* The columns behind the message, from the text's end. *text is what stands before them. */
static bool columns_read_back(struct normalize_worker *worker, const struct layout *layout, struct core_span *text) {
    for (size_t i = layout->len; i-- > layout->msg + 1;) {
        const char *at = NULL;
        for (size_t from = text->len; from >= layout->separator.len && at == NULL; from--) {
            const char *p = text->ptr + from - layout->separator.len;
            at = memcmp(p, layout->separator.ptr, layout->separator.len) == 0 ? p : NULL;
        }
        if (at == NULL) {
            return record_refuse(worker,
                                 "a csv alert has fewer columns than the %zu that are named: see the input's "
                                 "csv_fields",
                                 layout->len);
        }
        column_put(worker, i, snort_from(*text, at + layout->separator.len));
        text->len = (size_t)(at - text->ptr);
    }
    return true;
}

/* Snort 2 puts a backslash before quotes and backslashes; Snort 3 nothing. */
static struct value message_unescape(struct normalize_worker *worker, struct core_span text) {
    char *out = scratch_alloc(worker, text.len + VALUE_ROOM);
    size_t len = 0;
    for (size_t i = 0; out != NULL && i < text.len; i++) {
        bool is_escape = text.ptr[i] == '\\' && i + 1 < text.len && (text.ptr[i + 1] == '"' || text.ptr[i + 1] == '\\');
        i += is_escape;
        out[len++] = text.ptr[i];
    }
    return out == NULL || len == 0 ? value_none() : value_of(VALUE_TEXT, out, len);
}

static bool message_read(struct normalize_worker *worker, const struct layout *layout, struct core_span text) {
    text = snort_trim(text);
    bool is_open = text.len > 0 && text.ptr[0] == '"';
    bool is_closed = text.len > 1 && text.ptr[text.len - 1] == '"';
    bool is_bare =
        !is_open && !is_closed && memmem(text.ptr, text.len, layout->separator.ptr, layout->separator.len) == NULL;
    if (!is_bare && (!is_open || !is_closed)) {
        return record_refuse(worker,
                             "a csv alert whose message does not end where the %zu columns behind it begin: see "
                             "the input's csv_fields",
                             layout->len - layout->msg - 1);
    }
    column_put(worker, layout->msg, text);
    if (core_span_is(layout->separator, ",") && core_span_chr(text, '\\') != NULL) {
        worker->columns[layout->msg] = message_unescape(worker, value_span(worker->columns[layout->msg]));
    }
    return true;
}

/* alert_csv's `separator`: what stands behind a stamp in front, else behind the first comma. */
static struct core_span separator_of(struct core_span text) {
    static const struct core_span others[] = {{" | ", 3}, {"|", 1}, {"\t", 1}, {"; ", 2}, {";", 1}};
    struct core_span rest = snort_cut(text, snort_stamp_len(text), text.len);
    for (size_t i = 0; i < COUNT(others); i++) {
        if (rest.len < text.len && core_span_starts(rest, others[i])) {
            return others[i];
        }
    }
    const char *comma = core_span_chr(text, ',');
    bool is_roomy = comma != NULL && comma + 1 < text.ptr + text.len && comma[1] == ' ';
    return is_roomy ? CORE_SPAN(", ") : CORE_SPAN(",");
}

static bool layout_find(struct normalize_worker *worker, struct stream_state *state, struct core_span text,
                        struct layout *out) {
    const struct core_origin *origin = state->stream->origin;
    struct core_span separator = separator_of(text);
    bool is_roomy = core_span_is(separator, ", ");
    bool is_tight = core_span_is(separator, ",");
    if (state->csv == NULL && origin != NULL && origin->csv_fields != NULL) {
        state->csv = csv_new(core_span_of(origin->csv_fields));
        if (state->csv == NULL) {
            return record_refuse(worker, "csv_fields are no names of at most %d columns", CSV_COLUMNS_MAX);
        }
    }
    if (state->csv != NULL) {
        *out = layout_of(state->csv->columns, state->csv->len, separator);
        return true;
    }
    size_t count = columns_count((struct cursor){.rest = text, .separator = separator});
    if (is_roomy && count == COUNT(snort3_columns)) {
        *out = layout_of(snort3_columns, COUNT(snort3_columns), separator);
    } else if (is_tight && count == COUNT(snort2_columns)) {
        *out = layout_of(snort2_columns, COUNT(snort2_columns), separator);
    } else if (is_tight && count >= PFSENSE_MIN && count <= COUNT(pfsense_columns)) {
        *out = layout_of(pfsense_columns, count, separator);
    } else {
        return record_refuse(worker,
                             "a csv alert of %zu columns that nobody named: set the input's csv_fields to the "
                             "fields Snort was told to write",
                             count);
    }
    return true;
}

bool snort_csv_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span text,
                      struct plan **plan) {
    struct layout layout;
    if (!layout_find(worker, state, text, &layout)) {
        return false;
    }
    struct plan_want want = {
        .product = CORE_SPAN("snort"), .log = CORE_SPAN("alert"), .columns = layout.columns, .columns_len = layout.len};
    *plan = stream_plan(worker, state, &want);
    if (*plan == NULL) {
        return false;
    }
    memset(worker->columns, 0, layout.len * sizeof(*worker->columns));
    worker->snort_year = core_span_is(layout.separator, ",") ? SNORT_YEAR_LAST : SNORT_YEAR_FIRST;
    if (!columns_read(worker, &layout, layout.msg < layout.len ? layout.msg : layout.len, &text)) {
        return false;
    }
    bool has_msg = layout.msg < layout.len;
    return !has_msg || (columns_read_back(worker, &layout, &text) && message_read(worker, &layout, text));
}
