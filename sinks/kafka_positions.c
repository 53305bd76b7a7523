/* sinks/kafka_positions.c: what a transaction says of the files: a line for each generation, and the record of who has the node.
 *
 * Only the last line of a generation counts, so a transaction keeps one for each and sends it when it is closed. A line is
 * copied when its batch joins the transaction: the batch goes back long before the commit. The table keeps its memory, so
 * that nothing is allocated once each file was seen.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/kafka_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LINES_BEGIN 64
#define TALLY_BYTES_MAX ((size_t)192)

/* ---- the table --------------------------------------------------------------------------------------------------------- */

static size_t index_of(const struct kafka_lines *lines, uint64_t gen) {
    size_t at = gen & (lines->index_cap - 1); /* a generation is a hash already */
    while (lines->index[at] != 0 && lines->lines[lines->index[at] - 1].gen != gen) {
        at = (at + 1) & (lines->index_cap - 1);
    }
    return at;
}

static void lines_grow(struct kafka_lines *lines) {
    size_t cap = lines->cap == 0 ? LINES_BEGIN : 2 * lines->cap;
    lines->lines = realloc(lines->lines, cap * sizeof *lines->lines);
    free(lines->index);
    lines->index_cap = 2 * cap;
    lines->index = calloc(lines->index_cap, sizeof *lines->index);
    MUST(lines->lines != NULL && lines->index != NULL);
    memset(lines->lines + lines->cap, 0, (cap - lines->cap) * sizeof *lines->lines);
    lines->cap = cap;
    for (size_t i = 0; i < lines->len; i++) {
        lines->index[index_of(lines, lines->lines[i].gen)] = (uint32_t)(i + 1);
    }
}

struct kafka_line *kafka_lines_find(const struct kafka_lines *lines, uint64_t gen) {
    MUST(lines != NULL);
    if (lines->index_cap == 0) {
        return NULL;
    }
    uint32_t found = lines->index[index_of(lines, gen)];
    return found == 0 ? NULL : &lines->lines[found - 1];
}

static void line_reserve(struct kafka_line *line, size_t len) {
    if (line->cap < len + 1) {
        line->cap = 2 * (len + 1);
        line->text = realloc(line->text, line->cap);
        MUST(line->text != NULL);
    }
}

struct kafka_line *kafka_lines_put(struct kafka_lines *lines, uint64_t gen, struct core_span text) {
    struct kafka_line *line = kafka_lines_find(lines, gen);
    if (line == NULL) {
        if (lines->len == lines->cap) {
            lines_grow(lines);
        }
        line = &lines->lines[lines->len++];
        line->gen = gen;
        lines->index[index_of(lines, gen)] = (uint32_t)lines->len;
    }
    line_reserve(line, text.len);
    MUST(line->text != NULL);
    if (text.len > 0) {
        memcpy(line->text, text.ptr, text.len);
    }
    line->text[text.len] = '\0';
    line->len = text.len;
    line->is_gone = false;
    line->order = ++lines->puts;
    line->timestamp_ms = 0;
    line->end = 0;
    return line;
}

void kafka_lines_clear(struct kafka_lines *lines) {
    MUST(lines != NULL);
    lines->len = 0;
    if (lines->index_cap > 0) {
        memset(lines->index, 0, lines->index_cap * sizeof *lines->index);
    }
}

void kafka_lines_free(struct kafka_lines *lines) {
    for (size_t i = 0; i < lines->cap; i++) {
        free(lines->lines[i].text);
    }
    free(lines->lines);
    free(lines->index);
    *lines = (struct kafka_lines){0};
}

static int by_order(const void *a, const void *b) {
    const struct kafka_line *const *left = a;
    const struct kafka_line *const *right = b;
    return (*left)->order < (*right)->order ? -1 : 1;
}

void kafka_lines_join(struct kafka_lines *lines, char **out, size_t *len) {
    MUST(out != NULL && len != NULL);
    const struct kafka_line **sorted = calloc(lines->len + 1, sizeof *sorted);
    MUST(sorted != NULL);
    size_t sorted_len = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < lines->len; i++) {
        if (!lines->lines[i].is_gone) {
            sorted[sorted_len++] = &lines->lines[i];
            bytes += lines->lines[i].len + 1;
        }
    }
    qsort(sorted, sorted_len, sizeof(struct kafka_line *), by_order);
    char *text = malloc(bytes + 1);
    MUST(text != NULL);
    size_t at = 0;
    for (size_t i = 0; i < sorted_len; i++) {
        memcpy(text + at, sorted[i]->text, sorted[i]->len);
        at += sorted[i]->len;
        text[at++] = '\n';
    }
    text[at] = '\0';
    free(sorted);
    *out = text;
    *len = at;
}

/* ---- a batch's lines ---------------------------------------------------------------------------------------------------- */

static bool line_gen(struct core_span line, uint64_t *gen) {
    const char *space = core_span_chr(line, ' ');
    size_t head = space == NULL ? line.len : (size_t)(space + 1 - line.ptr);
    static const char word[] = "gen=";
    if (line.len < head + sizeof word - 1 + 16 || memcmp(line.ptr + head, word, sizeof word - 1) != 0) {
        return false;
    }
    char hex[17];
    char *end = NULL;
    memcpy(hex, line.ptr + head + sizeof word - 1, 16);
    hex[16] = '\0';
    *gen = strtoull(hex, &end, 16);
    return *end == '\0';
}

static void line_take(struct kafka_lines *lines, const struct core_batch *batch, struct core_span text) {
    uint64_t gen = 0;
    MUST(line_gen(text, &gen)); /* ingest writes them */
    struct kafka_line *line = kafka_lines_put(lines, gen, text);
    line->end = batch->accepted_end;
    if (core_span_starts(text, CORE_SPAN("gone "))) {
        line->is_gone = true;
    } else if (core_span_starts(text, CORE_SPAN("file "))) {
        const struct core_tally *tally = &batch->stream->tally;
        line_reserve(line, text.len + TALLY_BYTES_MAX);
        int more = snprintf(line->text + line->len, TALLY_BYTES_MAX,
                            " from=%" PRIu64 " records=%" PRIu64 " events=%" PRIu64 " dead=%" PRIu64 " dropped=%" PRIu64
                            " lost=%" PRIu64,
                            batch->open_from, tally->records, tally->events, tally->dead, tally->dropped, tally->lost);
        MUST(more > 0 && (size_t)more < TALLY_BYTES_MAX);
        line->len += (size_t)more;
    }
}

void kafka_lines_take(struct kafka_lines *lines, const struct core_batch *batch) {
    MUST(batch->magic == CORE_BATCH_MAGIC);
    struct core_span rest = batch->position;
    while (rest.len > 0) {
        const char *newline = core_span_chr(rest, '\n');
        MUST(newline != NULL);
        size_t len = (size_t)(newline - rest.ptr);
        line_take(lines, batch, (struct core_span){.ptr = rest.ptr, .len = len});
        rest.ptr += len + 1;
        rest.len -= len + 1;
    }
}

/* ---- keys and the owner ---------------------------------------------------------------------------------------------------- */

size_t kafka_line_key(const char *node, uint64_t gen, char out[KAFKA_KEY_BYTES_MAX]) {
    int len = snprintf(out, KAFKA_KEY_BYTES_MAX, "%s/%016" PRIx64, node, gen);
    MUST(len > 0 && len < KAFKA_KEY_BYTES_MAX);
    return (size_t)len;
}

size_t kafka_owner_key(const char *node, char out[KAFKA_KEY_BYTES_MAX]) {
    int len = snprintf(out, KAFKA_KEY_BYTES_MAX, "%s/owner", node);
    MUST(len > 0 && len < KAFKA_KEY_BYTES_MAX);
    return (size_t)len;
}

size_t kafka_owner_write(const struct kafka_owner *owner, char out[KAFKA_OWNER_BYTES_MAX]) {
    int len = snprintf(out, KAFKA_OWNER_BYTES_MAX,
                       "owner instance=%016" PRIx64 " txn=%" PRIu64 " host=%s pid=%ld version=%s started=%s",
                       owner->instance, owner->txn, owner->host, owner->pid, owner->version, owner->started);
    MUST(len > 0 && len < KAFKA_OWNER_BYTES_MAX);
    return (size_t)len;
}

/* The text behind " word=", up to the next blank. False: it is not there, empty or too long. */
static bool word_of(const char *line, const char *word, char *out, size_t out_len) {
    const char *at = strstr(line, word);
    size_t len = at == NULL ? 0 : strcspn(at + strlen(word), " ");
    if (len == 0 || len >= out_len) {
        return false;
    }
    memcpy(out, at + strlen(word), len);
    out[len] = '\0';
    return true;
}

static bool number_of(const char *line, const char *word, int base, uint64_t *out) {
    char text[32];
    char *end = NULL;
    if (!word_of(line, word, text, sizeof text) || text[0] == '-') {
        return false;
    }
    *out = strtoull(text, &end, base);
    return *end == '\0';
}

bool kafka_key_name(const char *node, struct core_span key, struct core_span *name) {
    size_t node_len = strlen(node);
    if (key.len <= node_len + 1 || memcmp(key.ptr, node, node_len) != 0 || key.ptr[node_len] != '/') {
        return false;
    }
    *name = (struct core_span){key.ptr + node_len + 1, key.len - node_len - 1};
    return true;
}

bool kafka_owner_parse(struct core_span text, struct kafka_owner *owner) {
    char line[KAFKA_OWNER_BYTES_MAX];
    uint64_t pid = 0;
    *owner = (struct kafka_owner){.offset = -1};
    if (text.len >= sizeof line || !core_span_starts(text, CORE_SPAN("owner "))) {
        return false;
    }
    memcpy(line, text.ptr, text.len);
    line[text.len] = '\0';
    owner->is_there = number_of(line, " instance=", 16, &owner->instance) &&
                      number_of(line, " txn=", 10, &owner->txn) && number_of(line, " pid=", 10, &pid) &&
                      word_of(line, " host=", owner->host, sizeof owner->host) &&
                      word_of(line, " version=", owner->version, sizeof owner->version) &&
                      word_of(line, " started=", owner->started, sizeof owner->started);
    owner->pid = (long)pid;
    return owner->is_there;
}
