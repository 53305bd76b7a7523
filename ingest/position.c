/* ingest/position.c: where a file stands, as a line of text: one writer and one reader of it, for all who keep such lines.
 *
 * Design: key=value words in a fixed order, so that a line is checked while it is taken apart. The first half says which
 * file it is and where its reading goes on; it is made when a batch is filled. The second half, the account (from= records=
 * …), is known when the batch was accepted: the keeper of positions (core/commit.h) puts it behind a batch's line, and we
 * behind our own. Paths are percent-encoded, so a line is a line and a word a word. A line without an account is one of
 * format 1: its account begins where it stands.
 *
 * Nothing here is kept over a crash. Thread: any; there is no state.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

_Static_assert(INGEST_POSITION_BYTES_MAX >= 2 * 3 * PATH_MAX + CORE_KIB,
               "two paths, each byte as %XX, and the numbers");

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

char *ingest_position_put_path(char *at, const char *path) {
    static const char digits[] = "0123456789ABCDEF";
    for (; *path != '\0'; path++) {
        const unsigned char c = (unsigned char)*path;
        if (c <= ' ' || c == '%' || c == 0x7f) {
            *at++ = '%';
            *at++ = digits[c >> 4];
            *at++ = digits[c & 15];
        } else {
            *at++ = (char)c;
        }
    }
    return at;
}

static size_t put_place(char *line, const char *word, const struct ingest_file *file, const struct ingest_mark *mark) {
    static const char first_path[] = " first_path=";
    const struct ingest_memory *memory = &file->memory;
    MUST(strlen(file->path) < PATH_MAX);
    MUST(strlen(memory->first_path) < PATH_MAX);
    const bool is_done = file->is_over && (!file->has_cutter || mark->pos >= file->cutter.last.pos);
    const int len =
        snprintf(line, INGEST_POSITION_BYTES_MAX,
                 "%s gen=%016" PRIx64 " dev=%" PRIx64 " ino=%" PRIx64 " born=%" PRId64 " pos=%" PRIu64 " lines=%" PRIu64
                 " header=%" PRIu64 "+%" PRIu32 " marker=%016" PRIx64 "/%" PRIu32 " first=%" PRIu64 "+%" PRIu32
                 "/%016" PRIx64 " seen=%" PRId64 " mtime=%" PRId64 " gz=%d done=%d begin=%" PRIu64 " path=",
                 word, memory->gen, (uint64_t)file->dev, (uint64_t)file->ino, file->born_ns, mark->pos, mark->number,
                 mark->header_at, mark->header_len, mark->marker, mark->marker_len, memory->first.at, memory->first.len,
                 memory->first.hash, file->size_seen, memory->mtime_ns, file->is_gz, is_done, memory->begin);
    MUST(len > 0);
    char *at = ingest_position_put_path(line + len, file->path);
    memcpy(at, first_path, sizeof(first_path) - 1);
    at = ingest_position_put_path(at + sizeof(first_path) - 1, memory->first_path);
    return (size_t)(at - line);
}

size_t ingest_position_put(char *line, const struct ingest_file *file, const struct ingest_mark *mark) {
    return put_place(line, "file", file, mark);
}

size_t ingest_position_put_whole(char *line, const struct ingest_file *file, int64_t at_ns) {
    const struct ingest_memory *memory = &file->memory;
    const struct core_tally *tally = &memory->tally;
    size_t len = put_place(line, at_ns == 0 ? "file" : "over", file, &memory->accepted);
    len += (size_t)snprintf(line + len, INGEST_POSITION_BYTES_MAX - len,
                            " from=%" PRIu64 " records=%" PRIu64 " events=%" PRIu64 " dead=%" PRIu64 " dropped=%" PRIu64
                            " lost=%" PRIu64,
                            memory->open_from, tally->records, tally->events, tally->dead, tally->dropped, tally->lost);
    if (at_ns != 0) {
        len += (size_t)snprintf(line + len, INGEST_POSITION_BYTES_MAX - len, " at=%" PRId64, at_ns);
    }
    line[len] = '\n';
    return len + 1;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

static int hex_value(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool ingest_position_get_path(char *text) {
    char *to = text;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at != '%') {
            *to++ = *at;
            continue;
        }
        const int high = hex_value(at[1]);
        const int low = high < 0 ? -1 : hex_value(at[2]);
        if (low < 0 || (high == 0 && low == 0)) {
            return false; /* no name holds a NUL */
        }
        *to++ = (char)(high * 16 + low);
        at += 2;
    }
    *to = '\0';
    return to > text && (size_t)(to - text) < PATH_MAX;
}

bool ingest_cursor_has(const struct ingest_cursor *cursor, const char *text) {
    return !cursor->is_bad && strncmp(cursor->at, text, strlen(text)) == 0;
}

void ingest_cursor_text(struct ingest_cursor *cursor, const char *text) {
    cursor->is_bad = !ingest_cursor_has(cursor, text);
    cursor->at += cursor->is_bad ? 0 : strlen(text);
}

/* As we write it: strtoull() would take blanks and signs, too. */
static bool is_digit(char c, int base) {
    return (c >= '0' && c <= '9') || (base == 16 && c >= 'a' && c <= 'f');
}

uint64_t ingest_cursor_unsigned(struct ingest_cursor *cursor, const char *key, int base, uint64_t max) {
    ingest_cursor_text(cursor, key);
    cursor->is_bad = cursor->is_bad || !is_digit(*cursor->at, base);
    char *end = cursor->at;
    errno = 0;
    const uint64_t value = cursor->is_bad ? 0 : strtoull(cursor->at, &end, base);
    cursor->is_bad = cursor->is_bad || end == cursor->at || errno != 0 || value > max;
    cursor->at = end;
    return value;
}

int64_t ingest_cursor_signed(struct ingest_cursor *cursor, const char *key) {
    ingest_cursor_text(cursor, key);
    cursor->is_bad = cursor->is_bad || !is_digit(cursor->at[*cursor->at == '-' ? 1 : 0], 10);
    char *end = cursor->at;
    errno = 0;
    const int64_t value = cursor->is_bad ? 0 : strtoll(cursor->at, &end, 10);
    cursor->is_bad = cursor->is_bad || end == cursor->at || errno != 0;
    cursor->at = end;
    return value;
}

/* From the generation to the last word before the names. */
static void get_place(struct ingest_cursor *cursor, struct ingest_position *position) {
    struct ingest_memory *memory = &position->memory;
    struct ingest_mark *mark = &memory->accepted;
    memory->gen = ingest_cursor_unsigned(cursor, " gen=", 16, UINT64_MAX);
    position->dev = ingest_cursor_unsigned(cursor, " dev=", 16, UINT64_MAX);
    position->ino = ingest_cursor_unsigned(cursor, " ino=", 16, UINT64_MAX);
    position->born_ns = ingest_cursor_signed(cursor, " born=");
    mark->pos = ingest_cursor_unsigned(cursor, " pos=", 10, INT64_MAX);
    mark->number = ingest_cursor_unsigned(cursor, " lines=", 10, INT64_MAX);
    mark->header_at = ingest_cursor_unsigned(cursor, " header=", 10, INT64_MAX);
    mark->header_len = (uint32_t)ingest_cursor_unsigned(cursor, "+", 10, INGEST_HEADER_BYTES_MAX);
    mark->marker = ingest_cursor_unsigned(cursor, " marker=", 16, UINT64_MAX);
    mark->marker_len = (uint32_t)ingest_cursor_unsigned(cursor, "/", 10, INGEST_MARKER_BYTES);
    memory->first.at = ingest_cursor_unsigned(cursor, " first=", 10, INT64_MAX);
    memory->first.len = (uint32_t)ingest_cursor_unsigned(cursor, "+", 10, INGEST_CUT_HEAD_BYTES);
    memory->first.hash = ingest_cursor_unsigned(cursor, "/", 16, UINT64_MAX);
    position->size_seen = ingest_cursor_signed(cursor, " seen=");
    memory->mtime_ns = ingest_cursor_signed(cursor, " mtime=");
    position->is_gz = ingest_cursor_unsigned(cursor, " gz=", 10, 1) == 1;
    position->is_done = ingest_cursor_has(cursor, " done=") && ingest_cursor_unsigned(cursor, " done=", 10, 1) == 1;
    const bool has_begin = ingest_cursor_has(cursor, " begin=");
    memory->begin = has_begin ? ingest_cursor_unsigned(cursor, " begin=", 10, INT64_MAX) : mark->pos;
}

/* A name ends at the next blank, which its end takes the place of, or with the line. */
static const char *get_name(struct ingest_cursor *cursor, const char *key) {
    ingest_cursor_text(cursor, key);
    char *name = cursor->at;
    if (!cursor->is_bad) {
        char *end = name + strcspn(name, " ");
        cursor->at = *end == ' ' ? end + 1 : end;
        *end = '\0';
        cursor->is_bad = !ingest_position_get_path(name);
    }
    return name;
}

/* What became of its records. Without it, the account begins here. */
static void get_account(struct ingest_cursor *cursor, struct ingest_position *position) {
    struct ingest_memory *memory = &position->memory;
    struct core_tally *tally = &memory->tally;
    if (*cursor->at == '\0') {
        memory->open_from = memory->begin = memory->accepted.pos;
        return;
    }
    memory->open_from = ingest_cursor_unsigned(cursor, "from=", 10, INT64_MAX);
    tally->records = ingest_cursor_unsigned(cursor, " records=", 10, INT64_MAX);
    tally->events = ingest_cursor_unsigned(cursor, " events=", 10, INT64_MAX);
    tally->dead = ingest_cursor_unsigned(cursor, " dead=", 10, INT64_MAX);
    tally->dropped = ingest_cursor_unsigned(cursor, " dropped=", 10, INT64_MAX);
    tally->lost = ingest_cursor_unsigned(cursor, " lost=", 10, INT64_MAX);
    if (position->is_over) {
        position->at_ns = ingest_cursor_signed(cursor, " at=");
    }
}

bool ingest_position_parse(char *line, struct ingest_position *position) {
    struct ingest_cursor cursor = {.at = line};
    *position = (struct ingest_position){.is_over = strncmp(line, "over", 4) == 0};
    ingest_cursor_text(&cursor, position->is_over ? "over" : "file");
    get_place(&cursor, position);
    position->path = get_name(&cursor, " path=");
    position->memory.first_path = (char *)(uintptr_t)get_name(&cursor, "first_path=");
    if (!cursor.is_bad) {
        get_account(&cursor, position);
    }
    const struct ingest_memory *memory = &position->memory;
    const struct ingest_mark *mark = &memory->accepted;
    return !cursor.is_bad && *cursor.at == '\0' && mark->marker_len <= mark->pos && memory->first.len > 0 &&
           memory->begin <= memory->open_from && memory->open_from <= mark->pos;
}

bool ingest_ledger_line(char *line, struct ingest_ledger_row *row) {
    struct ingest_position position;
    if (!ingest_position_parse(line, &position)) {
        return false;
    }
    const struct ingest_memory *memory = &position.memory;
    *row = (struct ingest_ledger_row){
        .gen = memory->gen,
        .path = position.path,
        .first_path = memory->first_path,
        .pos = memory->accepted.pos,
        .begin = memory->begin,
        .from = memory->open_from,
        .tally = memory->tally,
        .mtime_ns = memory->mtime_ns,
        .dev = position.dev,
        .ino = position.ino,
        .born_ns = position.born_ns,
        .size_seen = position.size_seen,
        .is_gz = position.is_gz,
        .is_done = position.is_done,
        .is_over = position.is_over,
        .over_ns = position.at_ns,
    };
    return true;
}
