/* ingest/frames.c: where a record ends, in formats whose record is more than a line.
 *
 * Design: pure functions over bytes that begin where the record before ended. They say how long the first record is, or
 * that more bytes are needed to know; they keep nothing, so a fill that comes again with more bytes asks again.
 *
 *   alert_full   a record begins at a line `[**] [`, and ends behind a blank line or before the next such line (alerts on
 *                rebuilt packets are two lines without a blank one)
 *   alert_cmg    a record begins at a line of alert_fast and ends before the next
 *   unified2     a record is an event with the packets and extra data behind it that name it; one of these without its
 *                event is a record of its own, and so is one of a type that nobody knows
 *
 * Without the beginning of the next one a record is complete when its file stood still for a while, or cannot grow. What
 * is no record (a banner, bytes out of step) becomes records, too, which decoders refuse: text up to the next beginning,
 * unified2 up to the next place where two records follow each other. None is longer than CORE_LINE_BYTES_MAX: a text is
 * cut at the last line end before that (or there, if there is none), an event's packets go on as records of their own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/unified2.h"
#include "ingest/ingest_internal.h"

#define SNIFF_BYTES_MAX (64 * CORE_KIB) /* two lines are not longer; if they are, it is no alert_cmg */
#define STAMP_BYTES 48                  /* an alert's time is over by then */

static const struct core_span full_begin = CORE_SPAN("[**] [");

/* ---- text ------------------------------------------------------------------------------------------------------------- */

enum answer { NO, YES, TOO_SHORT };

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Does a line begin an alert_full record? line: up to its end, or what is there of it. */
static enum answer begins_full(struct core_span line, bool is_whole) {
    const size_t have = line.len < full_begin.len ? line.len : full_begin.len;
    if (memcmp(line.ptr, full_begin.ptr, have) != 0) {
        return NO;
    }
    return have == full_begin.len ? YES : is_whole ? NO : TOO_SHORT;
}

/* Is it a line of alert_fast? `11/21-02:58:39.101903 [**] [1:…`, `26/11/21-…`, `11/21/2026-…` */
static enum answer begins_fast(struct core_span line, bool is_whole) {
    static const char shape[] = "dd/dd";
    for (size_t i = 0; i < sizeof(shape) - 1 && i < line.len; i++) {
        if (shape[i] == 'd' ? !is_digit(line.ptr[i]) : line.ptr[i] != shape[i]) {
            return NO;
        }
    }
    const size_t head = line.len < STAMP_BYTES ? line.len : STAMP_BYTES;
    const char *stars = memmem(line.ptr, head, full_begin.ptr, full_begin.len);
    if (memchr(line.ptr, ',', stars != NULL ? (size_t)(stars - line.ptr) : head) != NULL) {
        return NO; /* alert_csv's begin with the same time */
    }
    if (stars != NULL) {
        return YES;
    }
    return head == STAMP_BYTES || is_whole ? NO : TOO_SHORT;
}

static enum answer begins(enum ingest_kind kind, struct core_span line, bool is_whole) {
    return kind == INGEST_KIND_FULL ? begins_full(line, is_whole) : begins_fast(line, is_whole);
}

/* The line at `at`, without its end. *next: the line behind it, or the view's end; is_whole: its '\n' is there. */
static struct core_span line_at(const struct ingest_view *view, size_t at, size_t *next, bool *is_whole) {
    const char *from = view->ptr + at;
    const char *nl = memchr(from, '\n', view->len - at);
    size_t len = nl == NULL ? view->len - at : (size_t)(nl - from);
    *next = at + len + (nl == NULL ? 0 : 1);
    *is_whole = nl != NULL;
    len -= nl != NULL && len > 0 && from[len - 1] == '\r' ? 1 : 0;
    return (struct core_span){.ptr = from, .len = len};
}

/* A text record of len bytes is complete. */
static bool give_text(const struct ingest_view *view, size_t len, bool is_cut, struct ingest_frame *frame) {
    *frame = (struct ingest_frame){.len = len, .text_len = len, .is_cut = is_cut};
    for (size_t i = 0; i < len; i++) {
        frame->lines += view->ptr[i] == '\n';
    }
    while (frame->text_len > 0 && strchr("\r\n", view->ptr[frame->text_len - 1]) != NULL &&
           view->ptr[frame->text_len - 1] != '\0') {
        frame->text_len--;
    }
    return true;
}

static bool next_text(enum ingest_kind kind, const struct ingest_view *view, struct ingest_frame *frame) {
    size_t next = 0;
    for (size_t at = 0; at < view->len; at = next) {
        bool is_whole = false;
        const struct core_span line = line_at(view, at, &next, &is_whole);
        if (at > 0) {
            const enum answer is_next = begins(kind, line, is_whole || view->is_final);
            if (is_next == YES) {
                return give_text(view, at, false, frame);
            }
        }
        if (next > CORE_LINE_BYTES_MAX) {
            return give_text(view, at > 0 ? at : CORE_LINE_BYTES_MAX, true, frame);
        }
        if (kind == INGEST_KIND_FULL && is_whole && line.len == 0) {
            return give_text(view, next, false, frame);
        }
    }
    const bool is_line_end = view->ptr[view->len - 1] == '\n';
    if (view->is_final || (view->is_still && is_line_end)) {
        return give_text(view, view->len, false, frame);
    }
    return false;
}

/* Blank lines and NULs before a record. */
static bool next_blanks(const struct ingest_view *view, struct ingest_frame *frame) {
    size_t at = 0;
    *frame = (struct ingest_frame){0};
    for (; at < view->len && (view->ptr[at] == '\0' || strchr("\r\n", view->ptr[at]) != NULL); at++) {
        frame->lines += view->ptr[at] == '\n';
        frame->nuls += view->ptr[at] == '\0';
    }
    frame->len = at;
    return at > 0;
}

/* ---- unified2 ---------------------------------------------------------------------------------------------------------- */

/* Do records follow each other from `at` on? */
static enum answer u2_is_chain(const struct ingest_view *view, size_t at) {
    size_t len = 0;
    size_t next_len = 0;
    const size_t left = view->len - at;
    const bool is_end = view->is_final || view->is_still || view->len > CORE_LINE_BYTES_MAX;
    if (left < CORE_U2_HEADER_BYTES) {
        return is_end ? NO : TOO_SHORT;
    }
    if (core_u2_header(view->ptr + at, &len) == NULL) {
        return NO;
    }
    if (len == left && is_end) {
        return YES;
    }
    if (left < len + CORE_U2_HEADER_BYTES) {
        return is_end ? NO : TOO_SHORT;
    }
    return core_u2_header(view->ptr + at + len, &next_len) != NULL ? YES : NO;
}

/* Bytes that are no record: up to where the next two follow each other. */
static bool u2_resync(const struct ingest_view *view, struct ingest_frame *frame) {
    size_t at = 1;
    for (; at < view->len && at < CORE_LINE_BYTES_MAX; at++) {
        const enum answer is_chain = u2_is_chain(view, at);
        if (is_chain == YES) {
            break;
        }
        if (is_chain == TOO_SHORT) {
            return false;
        }
    }
    const bool is_found = at < view->len;
    *frame = (struct ingest_frame){.len = at, .text_len = at};
    return is_found || view->is_final;
}

/* The end of the event of `len` bytes at the view's beginning, with what belongs to it. 0: not known yet. */
static size_t u2_event_end(const struct ingest_view *view, size_t len) {
    const uint32_t id = core_be32(view->ptr + CORE_U2_HEADER_BYTES + 4);
    for (;;) {
        const char *p = view->ptr + len;
        const size_t left = view->len - len;
        size_t more = 0;
        if (left < CORE_U2_HEADER_BYTES) {
            return view->is_final || (left == 0 && view->is_still) ? len : 0;
        }
        const struct core_u2_type *type = core_u2_header(p, &more);
        if (type == NULL || type->kind == CORE_U2_EVENT || len + more > CORE_LINE_BYTES_MAX) {
            return len;
        }
        if (left < more) {
            return view->is_final ? len : 0;
        }
        if (core_be32(p + CORE_U2_HEADER_BYTES + type->id_at) != id) {
            return len;
        }
        len += more;
    }
}

static bool next_unified2(const struct ingest_view *view, struct ingest_frame *frame) {
    if (view->len < CORE_U2_HEADER_BYTES) {
        *frame = (struct ingest_frame){.len = view->len, .text_len = view->len};
        return view->is_final;
    }
    size_t len = 0;
    const struct core_u2_type *type = core_u2_header(view->ptr, &len);
    if (type == NULL && !core_u2_is_possible(view->ptr)) {
        return u2_resync(view, frame);
    }
    if (len > view->len) {
        len = view->is_final ? view->len : 0; /* it ends in the middle of a record */
    } else if (type != NULL && type->kind == CORE_U2_EVENT) {
        len = u2_event_end(view, len);
    }
    *frame = (struct ingest_frame){.len = len, .text_len = len};
    return len > 0;
}

/* ---- all ----------------------------------------------------------------------------------------------------------------- */

bool ingest_frame_next(enum ingest_kind kind, const struct ingest_view *view, struct ingest_frame *frame) {
    MUST(view->len > 0);
    if (kind == INGEST_KIND_UNIFIED2) {
        return next_unified2(view, frame);
    }
    MUST(kind == INGEST_KIND_FULL || kind == INGEST_KIND_CMG);
    return next_blanks(view, frame) || next_text(kind, view, frame);
}

enum ingest_kind ingest_kind_of(const struct core_origin *origin) {
    if (origin == NULL) {
        return INGEST_KIND_UNKNOWN;
    }
    switch (origin->format) {
    case CORE_FORMAT_SNORT_FULL:
        return INGEST_KIND_FULL;
    case CORE_FORMAT_SNORT_CMG:
        return INGEST_KIND_CMG;
    case CORE_FORMAT_UNIFIED2:
        return INGEST_KIND_UNIFIED2;
    case CORE_FORMAT_AUTO:
        break;
    default:
        return INGEST_KIND_LINES;
    }
    const bool may_be = origin->type == CORE_ORIGIN_AUTO || origin->type == CORE_ORIGIN_SNORT;
    return may_be ? INGEST_KIND_UNKNOWN : INGEST_KIND_LINES;
}

/* unified2 has no magic: its first eight bytes must be the header of a record that we know, with a length that it can
 * have. No text begins so, not even one behind NULs. What stands behind is not asked, for it may not be there yet. */
static enum ingest_kind sniff_unified2(const struct ingest_view *view) {
    size_t len = 0;
    if (view->len >= CORE_U2_HEADER_BYTES) {
        return core_u2_header(view->ptr, &len) != NULL ? INGEST_KIND_UNIFIED2 : INGEST_KIND_LINES;
    }
    if (!view->is_final) {
        return INGEST_KIND_UNKNOWN;
    }
    return view->len >= 4 && core_u2_find(core_be32(view->ptr)) != NULL ? INGEST_KIND_UNIFIED2 : INGEST_KIND_LINES;
}

/* A line of alert_fast is followed by another, or by what only alert_cmg writes: addresses, "name.buffer[bytes]:". */
static enum ingest_kind sniff_fast(const struct ingest_view *view, size_t at) {
    size_t next = 0;
    bool is_whole = false;
    const bool is_end = view->is_final || view->is_still;
    struct core_span line = {0};
    for (;; at = next) {
        if (at == view->len) {
            return is_end ? INGEST_KIND_LINES : INGEST_KIND_UNKNOWN;
        }
        line = line_at(view, at, &next, &is_whole);
        if (line.len > 0 || !is_whole) { /* an alert on a rebuilt packet has a blank line there */
            break;
        }
    }
    const enum answer is_fast = begins_fast(line, is_whole || is_end);
    if (is_fast == YES) {
        return INGEST_KIND_LINES;
    }
    if (is_fast == TOO_SHORT || (!is_whole && !is_end)) {
        return INGEST_KIND_UNKNOWN;
    }
    const bool is_flow = memmem(line.ptr, line.len, " -> ", 4) != NULL;
    const bool is_buffer = line.len > 2 && memcmp(line.ptr + line.len - 2, "]:", 2) == 0;
    return is_flow || is_buffer ? INGEST_KIND_CMG : INGEST_KIND_LINES;
}

enum ingest_kind ingest_kind_sniff(const struct ingest_view *bytes) {
    if (bytes->len == 0) {
        return INGEST_KIND_UNKNOWN;
    }
    struct ingest_view whole = *bytes;
    whole.is_final = whole.is_final || whole.len >= SNIFF_BYTES_MAX;
    const struct ingest_view *view = &whole;
    if (view->ptr[0] == '\0') {
        return sniff_unified2(view);
    }
    size_t at = 0;
    while (at < view->len && strchr("\r\n", view->ptr[at]) != NULL && view->ptr[at] != '\0') {
        at++;
    }
    size_t next = 0;
    bool is_whole = false;
    const struct core_span line = line_at(view, at, &next, &is_whole);
    const enum answer is_full = at == view->len ? TOO_SHORT : begins_full(line, is_whole || view->is_final);
    const enum answer is_fast = at == view->len ? TOO_SHORT : begins_fast(line, is_whole || view->is_final);
    if (is_full == YES) {
        return INGEST_KIND_FULL;
    }
    if (is_fast == YES && is_whole) {
        return sniff_fast(view, next);
    }
    const bool is_open = is_full == TOO_SHORT || is_fast != NO;
    return is_open && !view->is_final ? INGEST_KIND_UNKNOWN : INGEST_KIND_LINES;
}
