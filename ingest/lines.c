/* ingest/lines.c: where bytes become lines with exact positions.
 *
 * Design: a fill reads once into the batch's segment and cuts there; a line is a span of it. Whatever is behind the last
 * whole line is simply read again by the next fill, so there is no state to carry between batches. Each read begins a few
 * bytes (the marker) before the position: if they are not what they were, the file was truncated or replaced under us, and
 * the very same pread that would have given wrong bytes says so.
 *
 * A record's bytes begin where the record before it ended, so `#` lines, blank lines and NULs in between are its own. The
 * mark moves from record's end to record's end. On a crash nothing is promised here: a mark that was not accepted is read
 * again, and gives the same lines at the same positions.
 *
 * Where a record is more than a line, frames.c says where it ends; which kind a file is, is told once, by its first bytes,
 * so that lines pay nothing for it.
 *
 * A line longer than CORE_LINE_BYTES_MAX is followed to its end without keeping more than its head; a file of nothing but
 * NULs (a hole) is passed over a segment at a time. Thread: the owner's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <stdlib.h>

/* Enough to see that a line is too long: its text, "\r\n". */
#define LINE_ROOM_BYTES (CORE_LINE_BYTES_MAX + 2)
_Static_assert(INGEST_HEADER_BYTES_MAX + INGEST_MARKER_BYTES + LINE_ROOM_BYTES <= CORE_SEGMENT_BYTES,
               "a header shown again, the marker and the longest line fit into one segment");
_Static_assert(INGEST_HEADER_LINES_MAX < CORE_BATCH_LINES_MAX, "a record line fits behind a header shown again");

#define PIPE_QUIET_MS 1000 /* a pipe that gives nothing for so long stands still */

static const struct core_span fields_word = CORE_SPAN("#fields");
static const struct core_span close_word = CORE_SPAN("#close"); /* Zeek's last line of a log */

/* One pass over the bytes of a read. */
struct pass {
    struct ingest_cutter *cutter;
    struct core_batch *batch;
    const char *begin; /* stands at cutter->pos */
    const char *end;
    bool is_at_end; /* no bytes follow just now */
    bool is_final;  /* and none ever will: the last line needs no '\n' */
    bool is_still;  /* none came for a while */
    uint64_t records, blanks, nuls, cuts;
};

void ingest_cutter_init(struct ingest_cutter *cutter, const char *node, const char *path,
                        struct core_counters *counters, const struct ingest_mark *mark,
                        const struct ingest_first *first) {
    MUST(node != NULL);
    MUST(path != NULL);
    *cutter = (struct ingest_cutter){.node = node, .path = path, .counters = counters, .is_number_known = true};
    if (first != NULL) {
        cutter->first = *first;
    }
    if (mark != NULL) {
        cutter->last = *mark;
        ingest_cutter_rewind(cutter);
    }
}

void ingest_cutter_tell(struct ingest_cutter *cutter, const struct core_origin *origin) {
    const enum ingest_kind kind = ingest_kind_of(origin);
    cutter->kind = kind == INGEST_KIND_UNKNOWN ? cutter->kind : kind;
    cutter->is_csv = origin != NULL && origin->format == CORE_FORMAT_SNORT_CSV;
    cutter->csv_fields = origin == NULL ? NULL : origin->csv_fields;
}

void ingest_cutter_release(struct ingest_cutter *cutter) {
    free(cutter->long_head);
    cutter->long_head = NULL;
}

void ingest_cutter_rewind(struct ingest_cutter *cutter) {
    const struct ingest_mark *mark = &cutter->last;
    cutter->pos = mark->pos;
    cutter->number = mark->number;
    cutter->is_number_known = mark->pos == 0 || mark->number > 0;
    cutter->marker = mark->marker;
    cutter->marker_len = mark->marker_len;
    cutter->run = (struct ingest_run){0};
    cutter->is_long = false;
    cutter->needs_header = mark->header_len > 0;
}

static uint64_t generation(const struct ingest_cutter *cutter, struct core_span line) {
    /* Each part with its end, so that ("ab","c") and ("a","bc") are two things. */
    uint64_t gen = core_hash64(cutter->node, strlen(cutter->node) + 1, 0);
    gen = core_hash64(cutter->path, strlen(cutter->path) + 1, gen);
    return core_hash64(line.ptr, line.len, gen);
}

static void note_first(struct ingest_cutter *cutter, struct core_span line, uint64_t at) {
    const size_t len = line.len < INGEST_CUT_HEAD_BYTES ? line.len : INGEST_CUT_HEAD_BYTES;
    cutter->first = (struct ingest_first){.at = at, .len = (uint32_t)len, .hash = core_hash64(line.ptr, len, 0)};
    cutter->gen = generation(cutter, (struct core_span){.ptr = line.ptr, .len = len});
}

/* What stands before the next comma, without blanks and quotes. *rest is what follows the comma. */
static struct core_span csv_column(struct core_span *rest) {
    const char *comma = core_span_chr(*rest, ',');
    struct core_span word = {.ptr = rest->ptr, .len = comma == NULL ? rest->len : (size_t)(comma - rest->ptr)};
    const size_t used = comma == NULL ? rest->len : word.len + 1;
    *rest = (struct core_span){.ptr = rest->ptr + used, .len = rest->len - used};
    for (; word.len > 0 && word.ptr[0] == ' '; word.len--) {
        word.ptr++;
    }
    while (word.len > 0 && word.ptr[word.len - 1] == ' ') {
        word.len--;
    }
    const bool is_quoted = word.len >= 2 && word.ptr[0] == '"' && word.ptr[word.len - 1] == '"';
    return is_quoted ? (struct core_span){.ptr = word.ptr + 1, .len = word.len - 2} : word;
}

/* Could these be the names of columns: two at least, and each a word as Snort has them? */
static bool are_names(struct core_span line) {
    struct core_span rest = line;
    bool is_last = false;
    while (!is_last) {
        is_last = core_span_chr(rest, ',') == NULL;
        const struct core_span word = csv_column(&rest);
        for (size_t i = 0; i < word.len; i++) {
            const char c = word.ptr[i];
            if (!((c >= 'a' && c <= 'z') || c == '_' || (i > 0 && c >= '0' && c <= '9'))) {
                return false;
            }
        }
        if (word.len == 0) {
            return false;
        }
    }
    return core_span_chr(line, ',') != NULL;
}

/* Is the first line of a stream the names of alert_csv's columns? Snort does not write them; people put them there. They
 * begin with the first of the input's csv_fields; where it has none and is said to be CSV, with any word; else with Snort's
 * own first one. A record that begins with such a word, as with its action, is no such line. */
static bool is_csv_names(const struct ingest_cutter *cutter, struct core_span line) {
    struct core_span rest = line;
    struct core_span first = CORE_SPAN("timestamp");
    if (cutter->csv_fields != NULL) {
        struct core_span fields = core_span_of(cutter->csv_fields);
        first = csv_column(&fields);
    }
    const bool may_be_any = cutter->is_csv && cutter->csv_fields == NULL;
    return (may_be_any || core_span_eq(csv_column(&rest), first)) && are_names(line);
}

static void note_context(struct ingest_cutter *cutter, struct core_span line, uint64_t at, uint64_t next) {
    struct ingest_run *run = &cutter->run;
    if (!run->is_open) {
        *run = (struct ingest_run){.at = at, .is_open = true};
    }
    run->end = next;
    run->lines++;
    run->has_fields = run->has_fields || core_span_starts(line, fields_word) || line.ptr[0] != '#';
}

/* A record ends at `next`: the mark moves, and the `#` lines before it have become its header. The marker follows at the
 * end of the pass, once. */
static void note_record(struct ingest_cutter *cutter, uint64_t next) {
    struct ingest_run *run = &cutter->run;
    if (run->is_open) {
        if (run->has_fields) {
            cutter->last.header_at = run->at;
            const uint64_t len = run->end - run->at;
            const bool is_fit = len <= INGEST_HEADER_BYTES_MAX && run->lines <= INGEST_HEADER_LINES_MAX;
            cutter->last.header_len = is_fit ? (uint32_t)len : 0;
            if (!is_fit && !cutter->is_peek) {
                core_log(CORE_LEVEL_WARN, "ingest", "header too long",
                         "file=%s at=%llu bytes=%llu bytes_max=%zu lines=%u lines_max=%u; after a restart in this file "
                         "its column names would not be found again; is this a sensor's log?",
                         cutter->path, (unsigned long long)run->at, (unsigned long long)len,
                         (size_t)INGEST_HEADER_BYTES_MAX, run->lines, INGEST_HEADER_LINES_MAX);
            }
        }
        *run = (struct ingest_run){0};
    }
    cutter->last.pos = next;
    cutter->last.number = cutter->is_number_known ? cutter->number : 0;
}

/* One line that is not blank: give it to the batch, unless it is passed over (start: end). */
static inline void take_line(struct pass *pass, struct core_span text, uint64_t at, uint64_t next, bool is_given) {
    struct ingest_cutter *cutter = pass->cutter;
    const uint64_t start = cutter->last.pos;
    const bool is_cut = text.len > CORE_LINE_BYTES_MAX;
    unsigned flags = is_cut ? CORE_LINE_CUT : CORE_LINE_RECORD;
    if (is_cut) {
        text.len = INGEST_CUT_HEAD_BYTES;
        pass->cuts++;
    }
    const bool is_before_first = cutter->first.len == 0 || at < cutter->first.at;
    const bool is_comment =
        text.ptr[0] == '#' && !is_cut; /* no header is so long: what it was is told as a dead letter */
    if (is_comment || (is_before_first && !cutter->run.has_fields && is_csv_names(cutter, text))) {
        flags |= CORE_LINE_CONTEXT;
        cutter->is_closed = core_span_starts(text, close_word);
        note_context(cutter, text, at, next);
    } else {
        if (cutter->first.len == 0) {
            note_first(cutter, text, at);
        }
        note_record(cutter, next);
        cutter->is_closed = false;
        pass->records++;
    }
    if (is_given) {
        pass->batch->lines[pass->batch->lines_len++] = (struct core_line){
            .text = text,
            .start = start,
            .end = next,
            .number = cutter->is_number_known ? cutter->number : 0,
            .flags = flags,
        };
    }
}

/* NULs before a line. Those at the end of what is there may yet be written over: they are left until a line follows.
 * Returns where to go on, or NULL to wait. */
static const char *skip_nuls(struct pass *pass, const char *at) {
    const char *p = at;
    while (p < pass->end && *p == '\0') {
        p++;
    }
    if (p == pass->end && pass->is_at_end && !pass->is_final) {
        return NULL;
    }
    pass->nuls += (uint64_t)(p - at);
    return p;
}

/* Cut the lines in [begin, end). Returns how many bytes were used. */
static size_t cut_lines(struct pass *pass) {
    struct ingest_cutter *cutter = pass->cutter;
    const uint64_t base = cutter->pos;
    const char *at = pass->begin;
    while (at < pass->end) {
        if (*at == '\0') {
            const char *line = skip_nuls(pass, at);
            if (line == NULL) {
                break;
            }
            at = line;
            continue;
        }
        const char *text_end = memchr(at, '\n', (size_t)(pass->end - at));
        const char *next = text_end == NULL ? pass->end : text_end + 1;
        if (text_end == NULL) {
            if (!pass->is_final) {
                break;
            }
            text_end = pass->end;
        }
        const uint64_t next_pos = base + (uint64_t)(next - pass->begin);
        const bool is_skipped = next_pos <= cutter->skip_until;
        if (!is_skipped && cutter->skip_until > 0) {
            cutter->skip_until = base + (uint64_t)(at - pass->begin); /* it was no line's end after all */
            cutter->is_more = true;
            break;
        }
        if (pass->batch->lines_len == CORE_BATCH_LINES_MAX) {
            cutter->is_more = true;
            break;
        }
        if (text_end > at && text_end[-1] == '\r') {
            text_end--;
        }
        cutter->number++;
        if (text_end == at) {
            pass->blanks++;
        } else {
            const struct core_span text = {.ptr = at, .len = (size_t)(text_end - at)};
            take_line(pass, text, base + (uint64_t)(at - pass->begin), next_pos, !is_skipped);
        }
        at = next;
    }
    return (size_t)(at - pass->begin);
}

/* A record of several lines, or a binary one: give it to the batch, unless it is passed over. */
static void take_frame(struct pass *pass, const char *text, const struct ingest_frame *frame, uint64_t at) {
    struct ingest_cutter *cutter = pass->cutter;
    const uint64_t start = cutter->last.pos;
    const uint64_t next = at + frame->len;
    const uint64_t number = cutter->kind != INGEST_KIND_UNIFIED2 && cutter->is_number_known ? cutter->number + 1 : 0;
    const size_t len =
        frame->is_cut && frame->text_len > INGEST_CUT_HEAD_BYTES ? INGEST_CUT_HEAD_BYTES : frame->text_len;
    const struct core_span span = {.ptr = text, .len = len};
    if (cutter->first.len == 0) {
        note_first(cutter, span, at);
    }
    cutter->number += frame->lines;
    note_record(cutter, next);
    pass->records++;
    pass->cuts += frame->is_cut;
    if (next > cutter->skip_until) {
        pass->batch->lines[pass->batch->lines_len++] = (struct core_line){
            .text = span,
            .start = start,
            .end = next,
            .number = number,
            .flags =
                (frame->is_cut ? CORE_LINE_CUT : 0u) | (cutter->kind == INGEST_KIND_UNIFIED2 ? CORE_LINE_UNIFIED2 : 0u),
        };
    }
}

/* The same as cut_lines(), where a record is more than a line. */
static size_t cut_frames(struct pass *pass) {
    struct ingest_cutter *cutter = pass->cutter;
    const uint64_t base = cutter->pos;
    const char *at = pass->begin;
    while (at < pass->end) {
        const struct ingest_view view = {
            .ptr = at, .len = (size_t)(pass->end - at), .is_still = pass->is_still, .is_final = pass->is_final};
        const uint64_t pos = base + (uint64_t)(at - pass->begin);
        struct ingest_frame frame;
        if (!ingest_frame_next(cutter->kind, &view, &frame)) {
            cutter->is_pending = true;
            break;
        }
        if (cutter->skip_until > 0 && pos + frame.len > cutter->skip_until) {
            cutter->skip_until = pos; /* this one was not whole when the file was found */
            cutter->is_more = true;
            break;
        }
        if (pass->batch->lines_len == CORE_BATCH_LINES_MAX) {
            cutter->is_more = true;
            break;
        }
        if (frame.text_len > 0) {
            take_frame(pass, at, &frame, pos);
        } else {
            cutter->number += frame.lines;
            pass->nuls += frame.nuls;
            pass->blanks += frame.lines;
        }
        at += frame.len;
    }
    return (size_t)(at - pass->begin);
}

/* The hash of the bytes before `at`, as many as count; those from `floor` on are in memory. */
static void set_marker(uint64_t *marker, uint32_t *marker_len, const char *floor, const char *at) {
    MUST(at >= floor);
    const size_t have = (size_t)(at - floor);
    const size_t len = have < INGEST_MARKER_BYTES ? have : INGEST_MARKER_BYTES;
    *marker = core_hash64(at - len, len, 0);
    *marker_len = (uint32_t)len;
}

/* Are these the bytes that stood before the position? */
static bool is_marker(const struct ingest_cutter *cutter, const char *bytes) {
    return cutter->marker_len == 0 || core_hash64(bytes, cutter->marker_len, 0) == cutter->marker;
}

static void add_counts(const struct pass *pass) {
    struct ingest_cutter *cutter = pass->cutter;
    const struct {
        enum core_counter id;
        uint64_t n;
    } counts[] = {
        {CORE_COUNT_INGEST_LINES, pass->records},
        {CORE_COUNT_INGEST_LINES_BLANK, pass->blanks},
        {CORE_COUNT_INGEST_LINES_CUT, pass->cuts},
        {CORE_COUNT_INGEST_NUL_BYTES, pass->nuls},
    };
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (counts[i].n > 0) {
            core_count(cutter->counters, counts[i].id, counts[i].n);
        }
    }
    if (pass->nuls > 0 && !cutter->is_nul_told && !cutter->is_peek) {
        cutter->is_nul_told = true;
        core_log(CORE_LEVEL_WARN, "ingest", "NUL bytes before a line",
                 "file=%s at=%llu bytes=%llu; they are skipped. This is what truncation in place (logrotate's "
                 "copytruncate) does to a sensor that goes on at its old offset, as Zeek does; what was not yet read "
                 "then is lost. Rotate by rename instead (Log::default_rotation_interval, or logrotate's create)",
                 cutter->path, (unsigned long long)cutter->pos, (unsigned long long)pass->nuls);
    }
}

/* The header block once more, at the start of the segment. *used: bytes of the segment taken. */
static enum core_err show_header(struct ingest_cutter *cutter, struct ingest_source *source, struct core_batch *batch,
                                 size_t *used, struct core_fail *fail) {
    const struct ingest_mark *mark = &cutter->last;
    size_t len = 0;
    const enum core_err err = ingest_source_read(source, mark->header_at, batch->segment, mark->header_len, &len, fail);
    if (err != CORE_OK) {
        return err;
    }
    if (len < mark->header_len) {
        return CORE_BAD;
    }
    const char *end = batch->segment + len;
    for (const char *at = batch->segment; at < end;) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        const char *text_end = nl == NULL ? end : nl;
        const char *next = nl == NULL ? end : nl + 1;
        if (text_end > at && text_end[-1] == '\r') {
            text_end--;
        }
        while (at < text_end && *at == '\0') {
            at++;
        }
        const struct core_span line = {.ptr = at, .len = (size_t)(text_end - at)};
        if (line.len > 0 && *at != '#' && !are_names(line)) {
            return CORE_BAD; /* these bytes were all `#` lines, or a CSV's names, once */
        }
        if (at < text_end && batch->lines_len < INGEST_HEADER_LINES_MAX) {
            batch->lines[batch->lines_len++] = (struct core_line){
                .text = {.ptr = at, .len = (size_t)(text_end - at)},
                .start = mark->header_at + (uint64_t)(at - batch->segment),
                .end = mark->header_at + (uint64_t)(next - batch->segment),
                .flags = CORE_LINE_CONTEXT | CORE_LINE_REPLAYED,
            };
        }
        at = next;
    }
    *used = len;
    return CORE_OK;
}

/* ---- lines that are too long ------------------------------------------------------------------------------------------ */

/* From here on we are in a line that is too long; have bytes of it stand at text. */
static enum core_err enter_long(struct ingest_cutter *cutter, struct ingest_source *source, const char *text,
                                size_t have, struct core_fail *fail) {
    MUST(have >= INGEST_CUT_HEAD_BYTES);
    if (ingest_source_is_one_way(source)) {
        if (cutter->long_head == NULL) {
            cutter->long_head = malloc(INGEST_CUT_HEAD_BYTES);
        }
        if (cutter->long_head == NULL) {
            return core_fail_errno(fail, cutter->path, "no memory for the head of a line that is too long");
        }
        memcpy(cutter->long_head, text, INGEST_CUT_HEAD_BYTES);
    }
    cutter->is_long = true;
    cutter->long_pos = cutter->pos + have;
    return CORE_OK;
}

/* The line's head to the start of the segment. CORE_BAD: it is not the same file any more. */
static enum core_err read_head(struct ingest_cutter *cutter, struct ingest_source *source, struct core_batch *batch,
                               struct core_span *text, struct core_fail *fail) {
    if (ingest_source_is_one_way(source)) {
        memcpy(batch->segment, cutter->long_head, INGEST_CUT_HEAD_BYTES);
        *text = (struct core_span){.ptr = batch->segment, .len = INGEST_CUT_HEAD_BYTES};
        return CORE_OK;
    }
    const size_t want = cutter->marker_len + INGEST_CUT_HEAD_BYTES;
    size_t len = 0;
    const enum core_err err =
        ingest_source_read(source, cutter->pos - cutter->marker_len, batch->segment, want, &len, fail);
    if (err != CORE_OK) {
        return err;
    }
    if (len < want || !is_marker(cutter, batch->segment)) {
        return CORE_BAD;
    }
    *text = (struct core_span){.ptr = batch->segment + cutter->marker_len, .len = INGEST_CUT_HEAD_BYTES};
    return CORE_OK;
}

/* The long line ends before `next`; [floor, at) are the bytes before next that are in memory. */
static enum core_err give_long(struct ingest_cutter *cutter, struct ingest_source *source, struct core_batch *batch,
                               uint64_t next, struct core_fail *fail) {
    struct core_span text = {0};
    const enum core_err err = read_head(cutter, source, batch, &text, fail);
    if (err != CORE_OK) {
        return err;
    }
    struct pass pass = {.cutter = cutter, .batch = batch};
    text.len = CORE_LINE_BYTES_MAX + 1; /* what take_line() cuts to the head that is there */
    cutter->number++;
    take_line(&pass, text, cutter->pos, next, cutter->skip_until == 0);
    add_counts(&pass);
    cutter->pos = next;
    cutter->is_long = false;
    return CORE_OK;
}

/* Look for the end of a line that is too long; give it when it is found. */
static enum core_err fill_long(struct ingest_cutter *cutter, struct ingest_source *source, struct core_batch *batch,
                               uint64_t limit, struct core_fail *fail) {
    char *segment = batch->segment;
    for (size_t looked = 0; looked < INGEST_SCAN_BYTES_MAX;) {
        const uint64_t left = limit > cutter->long_pos ? limit - cutter->long_pos : 0;
        const size_t cap = left < CORE_SEGMENT_BYTES ? (size_t)left : CORE_SEGMENT_BYTES;
        size_t len = 0;
        const enum core_err read_err = ingest_source_read(source, cutter->long_pos, segment, cap, &len, fail);
        core_count(cutter->counters, CORE_COUNT_INGEST_BYTES, len);
        const char *nl = len == 0 ? NULL : memchr(segment, '\n', len);
        const bool is_final = nl == NULL && read_err == CORE_OK && source->is_ended && cutter->is_end_final;
        if (nl != NULL || is_final) {
            const size_t used = nl != NULL ? (size_t)(nl - segment) + 1 : len;
            uint64_t marker = 0;
            uint32_t marker_len = 0;
            set_marker(&marker, &marker_len, segment, segment + used);
            ingest_source_unread(source, segment + used - marker_len, len - used + marker_len);
            const enum core_err err = give_long(cutter, source, batch, cutter->long_pos + used, fail);
            if (err != CORE_OK) {
                return err;
            }
            cutter->marker = cutter->last.marker = marker;
            cutter->marker_len = cutter->last.marker_len = marker_len;
            cutter->is_more = true;
            return CORE_OK;
        }
        cutter->long_pos += len;
        looked += len;
        if (read_err != CORE_OK) {
            return CORE_IO;
        }
        struct stat st;
        if (len == 0 && !ingest_source_is_one_way(source) && fstat(source->fd, &st) == 0 &&
            (uint64_t)st.st_size < cutter->long_pos) {
            return CORE_BAD; /* it shrank below bytes that we have seen */
        }
        if (source->is_ended || cap == 0) {
            return CORE_AGAIN;
        }
    }
    cutter->is_more = true;
    return CORE_OK;
}

/* ---- a fill ------------------------------------------------------------------------------------------------------------ */

/* start: end: the bytes from before we were started are behind us. What follows is read as after a restart. */
static void end_skip(struct ingest_cutter *cutter) {
    cutter->skip_until = 0;
    ingest_cutter_rewind(cutter);
}

/* A file that begins with a record has no header to find: what is passed over need not be looked at. */
static enum core_err jump(struct ingest_cutter *cutter, struct ingest_source *source, char *buf,
                          struct core_fail *fail) {
    struct ingest_mark *mark = &cutter->last;
    MUST(cutter->skip_until >= mark->pos);
    const uint64_t len = cutter->skip_until < INGEST_MARKER_BYTES ? cutter->skip_until : INGEST_MARKER_BYTES;
    size_t got = 0;
    const enum core_err err = ingest_source_read(source, cutter->skip_until - len, buf, (size_t)len, &got, fail);
    if (err != CORE_OK) {
        return err;
    }
    if (got < len) {
        return CORE_BAD;
    }
    mark->pos = cutter->skip_until;
    mark->number = 0;
    set_marker(&mark->marker, &mark->marker_len, buf, buf + got);
    end_skip(cutter);
    return CORE_OK;
}

/* A read: where to, how much; and what it gave: [data, data + len) at the position. */
struct chunk {
    char *floor;    /* the marker's bytes stand here, then the data */
    size_t room;    /* bytes of data asked for */
    uint64_t limit; /* bytes from there on do not exist */
    char *data;
    size_t len;
    bool is_full;      /* as much as was asked for: more may follow */
    enum core_err err; /* trouble behind the good bytes */
};

/* Read at the position. CORE_BAD: it is not the same file any more. */
static enum core_err read_chunk(struct ingest_cutter *cutter, struct ingest_source *source, struct chunk *chunk,
                                struct core_fail *fail) {
    const uint64_t left = chunk->limit > cutter->pos ? chunk->limit - cutter->pos : 0;
    const size_t want = left < chunk->room ? (size_t)left : chunk->room;
    size_t len = 0;
    chunk->err = ingest_source_read(source, cutter->pos - cutter->marker_len, chunk->floor, cutter->marker_len + want,
                                    &len, fail);
    if (len < cutter->marker_len) {
        return chunk->err == CORE_OK ? CORE_BAD : CORE_IO;
    }
    if (!is_marker(cutter, chunk->floor)) {
        return CORE_BAD;
    }
    chunk->data = chunk->floor + cutter->marker_len;
    chunk->len = len - cutter->marker_len;
    chunk->is_full = want > 0 && chunk->len == want && chunk->err == CORE_OK;
    return CORE_OK;
}

/* What kind of file it is, if that is not known yet. Its first record may be passed over (start: end), which is to be known
 * to where, too: where records are lines, up to a line's end. */
static void tell_kind(struct ingest_cutter *cutter, const struct pass *pass) {
    if (cutter->kind == INGEST_KIND_UNKNOWN) {
        const struct ingest_view view = {.ptr = pass->begin,
                                         .len = (size_t)(pass->end - pass->begin),
                                         .is_still = pass->is_still,
                                         .is_final = pass->is_final};
        cutter->kind = ingest_kind_sniff(&view);
    }
    if (cutter->kind != INGEST_KIND_UNKNOWN && cutter->skip_size > 0) {
        cutter->skip_until = cutter->kind == INGEST_KIND_LINES ? cutter->skip_until : cutter->skip_size;
        cutter->skip_size = 0;
    }
}

/* Cut a chunk, move the position and the markers. Returns the bytes used. */
static size_t cut_chunk(struct ingest_cutter *cutter, struct ingest_source *source, struct core_batch *batch,
                        const struct chunk *chunk) {
    struct pass pass = {
        .cutter = cutter,
        .batch = batch,
        .begin = chunk->data,
        .end = chunk->data + chunk->len,
        .is_at_end = !chunk->is_full,
        .is_final = chunk->err == CORE_OK && source->is_ended && cutter->is_end_final,
    };
    const uint64_t pos = cutter->pos;
    const bool is_at_limit = pos + chunk->len >= chunk->limit;
    const bool is_unread = chunk->err != CORE_OK; /* the bytes behind are there, but cannot be had now */
    pass.is_still = (cutter->is_still && !is_unread && (pass.is_at_end || is_at_limit)) || source->is_quiet;
    tell_kind(cutter, &pass);
    cutter->is_pending = cutter->kind == INGEST_KIND_UNKNOWN && chunk->len > 0;
    const size_t used = cutter->kind == INGEST_KIND_LINES     ? cut_lines(&pass)
                        : cutter->kind == INGEST_KIND_UNKNOWN ? 0
                                                              : cut_frames(&pass);
    source->quiet_ms = cutter->is_pending && !source->is_quiet ? PIPE_QUIET_MS : 0;
    add_counts(&pass);
    if (cutter->last.pos > pos) {
        set_marker(&cutter->last.marker, &cutter->last.marker_len, chunk->floor,
                   chunk->data + (cutter->last.pos - pos));
    }
    if (used > 0) {
        cutter->pos = pos + used;
        set_marker(&cutter->marker, &cutter->marker_len, chunk->floor, chunk->data + used);
    }
    core_count(cutter->counters, CORE_COUNT_INGEST_BYTES, used);
    return used;
}

/* One read, cut. With *used == 0 and no line, the caller may ask again with more room. */
static enum core_err fill_once(struct ingest_cutter *cutter, struct ingest_source *source, struct core_batch *batch,
                               struct chunk *chunk, size_t *used, struct core_fail *fail) {
    const enum core_err err = read_chunk(cutter, source, chunk, fail);
    if (err != CORE_OK) {
        return err;
    }
    *used = cut_chunk(cutter, source, batch, chunk);
    const size_t left = chunk->len - *used;
    if (*used == 0 && !cutter->is_more && left >= LINE_ROOM_BYTES && cutter->kind == INGEST_KIND_LINES) {
        cutter->is_more = true;
        return enter_long(cutter, source, chunk->data, left, fail);
    }
    ingest_source_unread(source, chunk->data + *used - cutter->marker_len, left + cutter->marker_len);
    cutter->is_more =
        cutter->is_more || (*used > 0 && (chunk->is_full || chunk->err != CORE_OK)); /* the trouble, too */
    if (cutter->skip_until > 0 && cutter->pos >= cutter->skip_until) {
        cutter->is_more = true;
        end_skip(cutter);
    }
    return CORE_OK;
}

/* What a fill that made no line answers. */
static enum core_err nothing(const struct ingest_cutter *cutter, const struct ingest_source *source,
                             const struct chunk *chunk, size_t used) {
    if (used > 0 || cutter->is_more) {
        return CORE_OK;
    }
    if (chunk->err != CORE_OK) {
        return CORE_IO;
    }
    if (source->is_ended && cutter->is_end_final) {
        return CORE_GONE;
    }
    return cutter->skip_until > 0 && !cutter->is_pending ? CORE_BAD
                                                         : CORE_AGAIN; /* shorter than when we began to pass over it */
}

/* Lines of ordinary length, into the segment behind what was shown again. */
static enum core_err fill_short(struct ingest_cutter *cutter, struct ingest_source *source, struct core_batch *batch,
                                uint64_t limit, struct core_fail *fail) {
    size_t base = 0;
    if (cutter->needs_header && cutter->skip_until == 0) {
        const enum core_err err = show_header(cutter, source, batch, &base, fail);
        if (err != CORE_OK) {
            return err;
        }
    }
    const uint32_t shown = batch->lines_len;
    struct chunk chunk = {.floor = batch->segment + base, .room = INGEST_READ_BYTES, .limit = limit};
    size_t used = 0;
    for (;;) {
        const enum core_err err = fill_once(cutter, source, batch, &chunk, &used, fail);
        if (err != CORE_OK) {
            return err;
        }
        const bool is_stuck = used == 0 && !cutter->is_more && chunk.err == CORE_OK;
        const bool is_small = chunk.is_full && chunk.room < LINE_ROOM_BYTES;
        const bool is_pipe_open = !source->is_seekable && !source->is_ended;
        if (!is_stuck || (!is_small && !is_pipe_open)) {
            break;
        }
        chunk.room = LINE_ROOM_BYTES;
    }
    batch->segment_len = base + cutter->marker_len + chunk.len;
    if (batch->lines_len > shown) {
        cutter->needs_header = false;
        return CORE_OK;
    }
    batch->lines_len = 0; /* nothing new: the header is for the next time */
    return nothing(cutter, source, &chunk, used);
}

enum core_err ingest_cutter_fill(struct ingest_cutter *cutter, struct ingest_source *source, struct core_batch *batch,
                                 uint64_t limit, struct core_fail *fail) {
    MUST(batch->magic == CORE_BATCH_MAGIC);
    MUST(batch->lines_len == 0);
    enum core_err err = CORE_OK;
    source->has_enough = cutter->is_more && !cutter->is_long;
    cutter->is_more = cutter->is_pending = false;
    const bool is_headless = cutter->first.len > 0 && cutter->first.at == 0 && cutter->last.header_len == 0;
    const bool is_lines = cutter->kind == INGEST_KIND_LINES;
    if (cutter->skip_until > 0 && is_headless && is_lines && !ingest_source_is_one_way(source)) {
        err = jump(cutter, source, batch->segment, fail);
        cutter->is_more = true; /* no lines yet: whoever remembers marks sees the one that was jumped to first */
    } else {
        err = cutter->is_long ? fill_long(cutter, source, batch, limit, fail)
                              : fill_short(cutter, source, batch, limit, fail);
    }
    if (err != CORE_OK) {
        batch->lines_len = 0;
    }
    batch->accepted_end = cutter->last.pos;
    return err;
}
