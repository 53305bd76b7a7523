/* normalize/decode_tsv.c: Zeek's ASCII writer. The header says everything (separator, markers, names, types) and is
 * believed: nothing here knows a log's columns. Headers may stand again in the middle of a file with other columns.
 *
 * Hot path: one pass over the line, in blocks of 64 bytes, finds the separators and whether any byte of it needs care at
 * all, and writes the columns as it goes; in most lines none does, and then a field is a span and nothing is copied.
 * Source: Zeek src/threading/formatters/Ascii.cc, src/Desc.cc; FACTS measured on Zeek 8.0 (docs/reference/zeek-tsv).
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define MARKER_BYTES_MAX 32
#define HEADER_LINE_BYTES_MAX (256 * CORE_KIB)
#define FIELD_NAME_BYTES_MAX 512
#define BLOCK 64
#define CUTS_MAX (COLUMNS_MAX + BLOCK) /* a block may hold as many separators */

struct marker {
    char text[MARKER_BYTES_MAX];
    size_t len;
};

struct tsv_header {
    struct marker separator;
    struct marker set_separator;
    struct marker empty;
    struct marker unset;
    char *path;
    char *fields; /* the header line's own text: column names point into it */
    char *types;
    size_t types_len; /* bytes */
    struct column *columns;
    size_t columns_len;
    uint16_t *lists; /* columns that are sets or vectors */
    size_t lists_len;
    bool is_usual; /* a separator of one byte, `-` or another one byte for unset, an empty marker that is longer */
    int64_t open_ns;
    bool is_closed;
    uint64_t plan_serial; /* state->plan_serial when plans[0] was this header's */
};

/* ---- escapes ---------------------------------------------------------------------------------------------------------- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool hex_pair(const char *p, unsigned *byte) {
    int high = hex_digit(p[0]);
    int low = hex_digit(p[1]);
    if (high < 0 || low < 0) {
        return false;
    }
    *byte = (unsigned)(high << 4 | low);
    return true;
}

/* \xNN and \\ to bytes; any other backslash stays. */
static size_t unescape_bytes(struct core_span text, char *out) {
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned byte;
        if (text.ptr[i] != '\\' || i + 1 == text.len) {
            out[len++] = text.ptr[i];
        } else if (text.ptr[i + 1] == '\\') {
            out[len++] = text.ptr[++i];
        } else if (text.ptr[i + 1] == 'x' && i + 3 < text.len && hex_pair(text.ptr + i + 2, &byte)) {
            out[len++] = (char)byte;
            i += 3;
        } else {
            out[len++] = '\\';
        }
    }
    return len;
}

static bool is_shown_as_hex(unsigned char c, bool is_utf8) {
    if (c >= 0x80) {
        return !is_utf8;
    }
    bool has_short = c == '\b' || c == '\t' || c == '\n' || c == '\f' || c == '\r';
    return (c < 0x20 && !has_short) || c == 0x7f;
}

size_t zeek_unescape(struct core_span text, char *out) {
    static const char hex[] = "0123456789abcdef";
    size_t len = unescape_bytes(text, out);
    bool is_utf8 = core_utf8_is_valid((struct core_span){out, len});
    size_t shown = 0;
    for (size_t i = 0; i < len; i++) {
        shown += is_shown_as_hex((unsigned char)out[i], is_utf8);
    }
    if (shown == 0) {
        return len;
    }
    size_t end = len + shown * 3;
    for (size_t from = len, to = end; from > 0;) { /* from behind, in place */
        unsigned char c = (unsigned char)out[--from];
        if (is_shown_as_hex(c, is_utf8)) {
            to -= 4;
            out[to] = '\\';
            out[to + 1] = 'x';
            out[to + 2] = hex[c >> 4];
            out[to + 3] = hex[c & 15];
        } else {
            out[--to] = (char)c;
        }
    }
    return end;
}

/* ---- header ----------------------------------------------------------------------------------------------------------- */

void tsv_free(struct tsv_header *header) {
    if (header != NULL) {
        free(header->path);
        free(header->fields);
        free(header->types);
        free(header->columns);
        free(header->lists);
        free(header);
    }
}

static void marker_set(struct marker *marker, struct core_span text) {
    marker->len = text.len < MARKER_BYTES_MAX ? text.len : MARKER_BYTES_MAX;
    memcpy(marker->text, text.ptr, marker->len);
}

static struct core_span marker_span(const struct marker *marker) {
    return (struct core_span){marker->text, marker->len};
}

static struct tsv_header *header_new(void) {
    struct tsv_header *header = calloc(1, sizeof(*header));
    MUST(header != NULL);
    marker_set(&header->separator, CORE_SPAN("\t"));
    marker_set(&header->set_separator, CORE_SPAN(","));
    marker_set(&header->empty, CORE_SPAN("(empty)"));
    marker_set(&header->unset, CORE_SPAN("-"));
    return header;
}

/* The next part up to the separator; *rest moves behind it. */
static struct core_span part_next(struct core_span *rest, struct core_span separator) {
    const char *at = separator.len == 0 ? NULL : memmem(rest->ptr, rest->len, separator.ptr, separator.len);
    size_t len = at == NULL ? rest->len : (size_t)(at - rest->ptr);
    struct core_span part = {rest->ptr, len};
    size_t skip = at == NULL ? len : len + separator.len;
    *rest = (struct core_span){rest->ptr + skip, rest->len - skip};
    return part;
}

static size_t parts_count(struct core_span text, struct core_span separator) {
    size_t n = 1;
    while (text.len > 0) {
        size_t before = text.len;
        struct core_span part = part_next(&text, separator);
        n += part.len != before;
    }
    return n;
}

static char *copy_span(struct core_span text) {
    char *copy = malloc(text.len + 1);
    MUST(copy != NULL);
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return copy;
}

/* Names and types are both there: make the columns. Without #types (Bro 1.5) every column is a string. */
static void columns_make(struct tsv_header *header) {
    struct core_span separator = marker_span(&header->separator);
    struct core_span fields = core_span_of(header->fields);
    struct core_span types = header->types == NULL ? (struct core_span){NULL, 0} : core_span_of(header->types);
    free(header->columns);
    free(header->lists);
    header->plan_serial = 0;
    header->columns_len = parts_count(fields, separator);
    header->columns = calloc(header->columns_len, sizeof(*header->columns));
    header->lists = calloc(header->columns_len, sizeof(*header->lists));
    header->lists_len = 0;
    MUST(header->columns != NULL);
    MUST(header->lists != NULL);
    header->is_usual = header->separator.len == 1 && header->unset.len == 1 && header->empty.len > 1 &&
                       header->columns_len <= COLUMNS_MAX;
    for (size_t i = 0; i < header->columns_len; i++) {
        bool is_known;
        header->columns[i].name = part_next(&fields, separator);
        struct core_span type = types.len > 0 ? part_next(&types, separator) : CORE_SPAN("string");
        header->columns[i].declared = declared_parse(type, &is_known);
        if (header->columns[i].declared.is_list && i < COLUMNS_MAX) {
            header->lists[header->lists_len++] = (uint16_t)i;
        }
    }
}

/* "2026-11-21-03-16-01", by the sensor's clock; its zone is not written: taken as UTC. 0: it is no such stamp. */
static int64_t open_parse(struct core_span text) {
    char iso[] = "YYYY-mm-ddTHH:MM:SS";
    int64_t ns;
    if (text.len != sizeof(iso) - 1) {
        return 0;
    }
    for (size_t i = 0; i < text.len; i++) {
        bool is_mark = iso[i] == '-' || iso[i] == 'T' || iso[i] == ':';
        if (is_mark && text.ptr[i] != '-') {
            return 0;
        }
        iso[i] = is_mark ? iso[i] : text.ptr[i];
    }
    return time_to_ns((struct core_span){iso, text.len}, false, &ns) ? ns : 0;
}

static void replace(char **slot, struct core_span text) {
    free(*slot);
    *slot = copy_span(text);
}

/* `#separator \x09`: the one line that cannot use the separator. It begins a new header. */
static void separator_line(struct stream_state *state, struct core_span rest) {
    char text[MARKER_BYTES_MAX * 4];
    while (rest.len > 0 && (rest.ptr[0] == ' ' || rest.ptr[0] == '\t')) {
        rest = (struct core_span){rest.ptr + 1, rest.len - 1};
    }
    tsv_free(state->tsv);
    state->tsv = header_new();
    if (rest.len > 0 && rest.len <= MARKER_BYTES_MAX) {
        size_t len = unescape_bytes(rest, text);
        marker_set(&state->tsv->separator, (struct core_span){text, len});
    }
}

static void header_line(struct tsv_header *header, struct core_span key, struct core_span rest) {
    if (core_span_is(key, "set_separator")) {
        marker_set(&header->set_separator, rest);
    } else if (core_span_is(key, "empty_field")) {
        marker_set(&header->empty, rest);
        header->is_usual = false; /* until the columns come */
    } else if (core_span_is(key, "unset_field")) {
        marker_set(&header->unset, rest);
        header->is_usual = false;
    } else if (core_span_is(key, "path")) {
        replace(&header->path, rest);
        header->plan_serial = 0;
    } else if (core_span_is(key, "open")) {
        header->open_ns = open_parse(rest);
    } else if (core_span_is(key, "close")) {
        header->is_closed = true;
    } else if (core_span_is(key, "fields")) {
        replace(&header->fields, rest);
        free(header->types);
        header->types = NULL;
        header->is_closed = false;
        columns_make(header);
    } else if (core_span_is(key, "types") && header->fields != NULL) {
        replace(&header->types, rest);
        columns_make(header);
    }
}

bool tsv_context(struct stream_state *state, struct core_span line) {
    static const char *const keys[] = {"set_separator", "empty_field", "unset_field", "path",
                                       "open",          "close",       "fields",      "types"};
    if (line.len > HEADER_LINE_BYTES_MAX || line.len < 2) {
        return false;
    }
    struct core_span rest = {line.ptr + 1, line.len - 1};
    if (core_span_starts(rest, CORE_SPAN("separator"))) {
        separator_line(state, (struct core_span){rest.ptr + 9, rest.len - 9});
        return true;
    }
    if (state->tsv == NULL) {
        state->tsv = header_new();
    }
    struct core_span separator = marker_span(&state->tsv->separator);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct core_span key = core_span_of(keys[i]);
        if (!core_span_starts(rest, key)) {
            continue;
        }
        struct core_span text = {rest.ptr + key.len, rest.len - key.len};
        if (core_span_starts(text, separator)) {
            header_line(state->tsv, key, (struct core_span){text.ptr + separator.len, text.len - separator.len});
            return true;
        }
        if (text.len == 0 && core_span_is(key, "close")) {
            state->tsv->is_closed = true;
            return true;
        }
    }
    return false;
}

bool tsv_is_active(const struct stream_state *state) {
    return state->tsv != NULL && state->tsv->columns_len > 0 && !state->tsv->is_closed;
}

bool tsv_was_seen(const struct stream_state *state) {
    return state->tsv != NULL && state->tsv->columns_len > 0;
}

int64_t tsv_open_ns(const struct stream_state *state) {
    return state->tsv == NULL ? 0 : state->tsv->open_ns;
}

/* ---- lines -------------------------------------------------------------------------------------------------------------- */

/* Does any byte need care: a quote, a backslash, a control byte (the separator aside), anything past 0x7e? */
static bool byte_needs_care(unsigned char c) {
    return c < 0x20 || c == '"' || c == '\\' || c > 0x7e;
}

#ifdef __SSE2__
/* Where in a block the separators are, and whether another byte needs care. */
struct block {
    uint64_t cuts;
    __m128i care;
};

NORMALIZE_INLINE struct block block_look(const char *p, char separator) {
    const __m128i sep16 = _mm_set1_epi8(separator);
    const __m128i quote16 = _mm_set1_epi8('"');
    const __m128i slash16 = _mm_set1_epi8('\\');
    const __m128i space16 = _mm_set1_epi8(0x20);
    const __m128i del16 = _mm_set1_epi8(0x7f);
    struct block block = {.cuts = 0, .care = _mm_setzero_si128()};
    for (unsigned i = 0; i < BLOCK; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i sep = _mm_cmpeq_epi8(v, sep16);
        /* signed compare: bytes from 0x80 on are negative, so they are below 0x20 too */
        __m128i care = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote16), _mm_cmpeq_epi8(v, slash16)),
                                    _mm_or_si128(_mm_cmplt_epi8(v, space16), _mm_cmpeq_epi8(v, del16)));
        block.cuts |= (uint64_t)(unsigned)_mm_movemask_epi8(sep) << i;
        block.care = _mm_or_si128(block.care, _mm_andnot_si128(sep, care));
    }
    return block;
}

/* The whole of a line of at least a block; the last one overlaps the one before it. */
NORMALIZE_INLINE size_t blocks_cut(struct core_span line, char separator, uint32_t *cuts, size_t cuts_max,
                                   bool *has_care) {
    size_t parts = 0;
    __m128i care = _mm_setzero_si128();
    for (size_t i = 0; i < line.len; i += BLOCK) {
        size_t at = i + BLOCK <= line.len ? i : line.len - BLOCK;
        struct block block = block_look(line.ptr + at, separator);
        uint64_t mask = block.cuts & (UINT64_MAX << (i - at));
        care = _mm_or_si128(care, block.care);
        if (parts + BLOCK > cuts_max) {
            parts += (size_t)__builtin_popcountll(mask); /* too many for any header: only their number is told */
            continue;
        }
        for (; mask != 0; mask &= mask - 1) {
            cuts[parts++] = (uint32_t)at + (uint32_t)__builtin_ctzll(mask);
        }
    }
    *has_care = _mm_movemask_epi8(care) != 0;
    return parts;
}
#endif

/* Cut a line at a one-byte separator. cuts[i] is the end of part i. Returns the number of parts; of up to
 * cuts_max - BLOCK, all are stored. *is_plain: no byte of the line but the separator needs care. */
NORMALIZE_INLINE size_t line_cut(struct core_span line, char separator, uint32_t *cuts, size_t cuts_max,
                                 bool *is_plain) {
    size_t parts = 0;
    size_t i = 0;
    bool has_care = false;
#ifdef __SSE2__
    if (line.len >= BLOCK) {
        parts = blocks_cut(line, separator, cuts, cuts_max, &has_care);
        i = line.len;
    }
#endif
    for (; i < line.len; i++) {
        if (line.ptr[i] == separator) {
            if (parts < cuts_max) {
                cuts[parts] = (uint32_t)i;
            }
            parts++;
        } else {
            has_care = has_care || byte_needs_care((unsigned char)line.ptr[i]);
        }
    }
    if (parts < cuts_max) {
        cuts[parts] = (uint32_t)line.len;
    }
    *is_plain = !has_care;
    return parts + 1;
}

/* The same for a separator of several bytes. */
static size_t line_cut_long(struct core_span line, struct core_span separator, uint32_t *cuts, size_t cuts_max) {
    size_t parts = 0;
    size_t at = 0;
    for (;;) {
        const char *found = memmem(line.ptr + at, line.len - at, separator.ptr, separator.len);
        size_t end = found == NULL ? line.len : (size_t)(found - line.ptr);
        if (parts < cuts_max) {
            cuts[parts] = (uint32_t)end;
        }
        parts++;
        if (found == NULL) {
            return parts;
        }
        at = end + separator.len;
    }
}

static bool has_care(struct core_span text, bool *has_escape) {
    bool care = false;
    *has_escape = false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        care = care || byte_needs_care(c);
        *has_escape = *has_escape || c == '\\' || c < 0x20 || c > 0x7e;
    }
    return care;
}

/* A string with its escapes undone. */
static bool string_value(struct normalize_worker *worker, struct core_span text, struct value *out) {
    bool has_escape;
    if (!has_care(text, &has_escape)) {
        *out = value_of(VALUE_PLAIN, text.ptr, text.len);
        return true;
    }
    if (!has_escape) {
        *out = value_of(VALUE_TEXT, text.ptr, text.len);
        return true;
    }
    char *copy = scratch_alloc(worker, text.len * 4);
    if (copy == NULL) {
        return false;
    }
    *out = value_of(VALUE_TEXT, copy, zeek_unescape(text, copy));
    return true;
}

static bool list_value(struct normalize_worker *worker, const struct tsv_header *header, struct core_span text,
                       bool is_plain, struct value *out) {
    struct core_span separator = marker_span(&header->set_separator);
    if (core_span_eq(text, marker_span(&header->empty))) {
        *out = (struct value){.items = NULL, .len = 0, .kind = VALUE_LIST};
        return true;
    }
    bool is_one = separator.len == 1 && core_span_chr(text, separator.ptr[0]) == NULL;
    size_t len = is_one ? 1 : parts_count(text, separator);
    struct value *items = scratch_items(worker, len);
    if (items == NULL) {
        return false;
    }
    struct core_span rest = text;
    for (size_t i = 0; i < len; i++) {
        struct core_span part = is_one ? text : part_next(&rest, separator);
        if (core_span_eq(part, marker_span(&header->unset))) {
            items[i] = value_none();
        } else if (core_span_eq(part, marker_span(&header->empty))) {
            items[i] = value_of(VALUE_PLAIN, "", 0);
        } else if (is_plain) {
            items[i] = value_roomy(value_of(VALUE_PLAIN, part.ptr, part.len), worker->line_end);
        } else if (!string_value(worker, part, &items[i])) {
            return false;
        }
    }
    *out = (struct value){.items = items, .len = (uint32_t)len, .kind = VALUE_LIST};
    return true;
}

static inline bool marker_is(const struct marker *marker, struct core_span text) {
    return text.len == marker->len &&
           (text.len == 0 ||
            (text.ptr[0] == marker->text[0] && (text.len == 1 || memcmp(text.ptr, marker->text, text.len) == 0)));
}

static inline bool field_value(struct normalize_worker *worker, const struct tsv_header *header,
                               const struct column *column, struct core_span text, bool is_plain, struct value *out) {
    if (marker_is(&header->unset, text)) {
        *out = value_none();
        return true;
    }
    if (column->declared.is_list) {
        return list_value(worker, header, text, is_plain, out);
    }
    if (marker_is(&header->empty, text)) {
        *out = value_of(VALUE_PLAIN, "", 0);
        return true;
    }
    if (is_plain) {
        *out = value_roomy(value_of(VALUE_PLAIN, text.ptr, text.len), worker->line_end);
        return true;
    }
    return string_value(worker, text, out);
}

static struct plan *plan_for(struct normalize_worker *worker, struct stream_state *state) {
    const struct tsv_header *header = state->tsv;
    const char *path = header->path == NULL || header->path[0] == '\0' ? state->name : header->path;
    const char *slash = strrchr(path, '/'); /* a log written to /dev/stdout says so */
    struct plan_want want = {.product = CORE_SPAN("zeek"),
                             .log = core_span_of(slash == NULL ? path : slash + 1),
                             .columns = header->columns,
                             .columns_len = header->columns_len};
    for (size_t i = 0; i < want.columns_len; i++) {
        if (want.columns[i].name.len > FIELD_NAME_BYTES_MAX) {
            (void)record_refuse(worker, "the header has a field name of more than %d bytes", FIELD_NAME_BYTES_MAX);
            return NULL;
        }
    }
    return stream_plan(worker, state, &want);
}

/* The parts of a line to the columns. */
static inline bool fields_fill(struct normalize_worker *worker, const struct tsv_header *header, struct core_span line,
                               const uint32_t *cuts, bool is_plain) {
    size_t step = header->separator.len;
    const char *text = line.ptr;
    for (size_t i = 0; i < header->columns_len; i++) {
        const char *cut = line.ptr + cuts[i];
        struct core_span field = {text, (size_t)(cut - text)};
        if (!field_value(worker, header, &header->columns[i], field, is_plain, &worker->columns[i])) {
            return false;
        }
        text = cut + step;
    }
    return true;
}

#ifdef __SSE2__
/* What a line in which no byte needs care comes to: parts, and which of the first 64 are set. */
struct plain_line {
    size_t parts;
    uint64_t set;
    bool has_care;
};

/* Cutting and filling in one pass, for the usual markers: a separator of one byte, one of one byte for what is unset, and a
 * longer one for what is empty. No branch depends on what a field holds, but on whether it may be empty. The last part is
 * left out: behind every other there stands a separator, so that its first byte can be looked at. Columns are written as if
 * no byte needed care and none were a list. */
NORMALIZE_INLINE struct plain_line plain_cut(struct normalize_worker *worker, const struct tsv_header *header,
                                             struct core_span line, const char **rest) {
    struct value *columns = worker->columns;
    const char *readable = worker->line_end;
    const char unset = header->unset.text[0];
    const char empty = header->empty.text[0];
    const char separator = header->separator.text[0];
    const char *end = line.ptr + line.len;
    const char *p = line.ptr;
    struct plain_line out = {.parts = 0};
    __m128i care = _mm_setzero_si128();
    for (size_t i = 0; i < line.len; i += BLOCK) {
        const char *at = i + BLOCK <= line.len ? line.ptr + i : end - BLOCK;
        struct block block = block_look(at, separator);
        uint64_t mask = block.cuts & (UINT64_MAX << (line.ptr + i - at));
        care = _mm_or_si128(care, block.care);
        if (out.parts + BLOCK > COLUMNS_MAX) {
            out.parts = SIZE_MAX; /* too many for this way */
            break;
        }
        for (; mask != 0; mask &= mask - 1) {
            const char *cut = at + __builtin_ctzll(mask);
            size_t len = (size_t)(cut - p);
            uint64_t is_set = (len != 1) | (*p != unset);
            out.set |= is_set << (out.parts & 63);
            columns[out.parts] = (struct value){.ptr = p,
                                                .len = (uint32_t)len,
                                                .kind = (uint8_t)(is_set * VALUE_PLAIN),
                                                .is_roomy = readable - p >= VALUE_ROOM};
            if (*p == empty && text_is_same((struct core_span){p, len}, marker_span(&header->empty))) {
                columns[out.parts].len = 0;
            }
            out.parts++;
            p = cut + 1;
        }
    }
    out.has_care = _mm_movemask_epi8(care) != 0;
    *rest = p;
    return out;
}

/* The columns of a line, if it is as nearly all are. False: another way must be gone, or worker->reason says what is
 * wrong. */
NORMALIZE_INLINE bool plain_fill(struct normalize_worker *worker, const struct tsv_header *header,
                                 struct core_span line) {
    struct value *columns = worker->columns;
    const char *rest = NULL;
    if (line.len < BLOCK || !header->is_usual) {
        return false;
    }
    struct plain_line cut = plain_cut(worker, header, line, &rest);
    size_t last = header->columns_len - 1;
    if (cut.has_care || cut.parts != last) {
        return false;
    }
    const char *end = line.ptr + line.len;
    struct core_span text = {rest, (size_t)(end - rest)};
    if (!field_value(worker, header, &header->columns[last], text, true, &columns[last])) {
        return false;
    }
    cut.set |= (uint64_t)(columns[last].kind != VALUE_NONE) << (last & 63);
    for (size_t i = 0; i < header->lists_len; i++) {
        size_t c = header->lists[i];
        if (c == last || columns[c].kind == VALUE_NONE) {
            continue;
        }
        /* an empty set has lost its text: it is the marker's */
        struct core_span list = columns[c].len == 0 && *columns[c].ptr != header->separator.text[0]
                                    ? marker_span(&header->empty)
                                    : value_span(columns[c]);
        if (!list_value(worker, header, list, true, &columns[c])) {
            return false;
        }
    }
    worker->set = cut.set;
    worker->has_set = header->columns_len <= 64;
    return true;
}
#endif

/* Any other line. */
static bool long_fill(struct normalize_worker *worker, const struct tsv_header *header, struct core_span line) {
    uint32_t cuts[CUTS_MAX];
    bool is_plain = false;
    if (header->columns_len > COLUMNS_MAX) { /* neither cuts nor worker->columns have room; plan_make() is too late */
        return record_refuse(worker, "more than %d distinct fields", COLUMNS_MAX);
    }
    size_t parts = header->separator.len == 1 ? line_cut(line, header->separator.text[0], cuts, CUTS_MAX, &is_plain)
                                              : line_cut_long(line, marker_span(&header->separator), cuts, CUTS_MAX);
    if (parts != header->columns_len) {
        return record_refuse(worker, "%zu columns, and the header above has %zu", parts, header->columns_len);
    }
    return is_plain ? fields_fill(worker, header, line, cuts, true) : fields_fill(worker, header, line, cuts, false);
}

NORMALIZE_CLONES
bool tsv_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span line,
                struct plan **plan) {
    MUST(tsv_is_active(state));
    const struct tsv_header *header = state->tsv;
    bool is_filled = false;
#ifdef __SSE2__
    is_filled = plain_fill(worker, header, line);
#endif
    if (!is_filled && (worker->reason[0] != '\0' || !long_fill(worker, header, line))) {
        return false;
    }
    *plan = header->plan_serial == state->plan_serial && state->plan_serial != 0 ? state->plans[0]
                                                                                 : plan_for(worker, state);
    if (*plan == NULL) {
        return false;
    }
    state->tsv->plan_serial = state->plan_serial;
    return true;
}
