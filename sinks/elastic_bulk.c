/* sinks/elastic_bulk.c: the body of a request: for each document a line that says where it goes, and the document with what
 * the engine's own views want to know of it (data_stream) before its last bracket.
 *
 * Documents are copied into the body, since the network wants it in one piece, and stay in their batch besides: what must be
 * sent again is still in the body, moved to its front; what is refused becomes a dead letter from the batch.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/deadletter.h"
#include "sinks/elastic_internal.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "core/peek.h"

#define OWN_MEMBER "\"data_stream" /* also "data_stream.dataset" */
#define LETTER_BYTES_MAX CORE_MIB  /* 64 KiB of raw text, each byte as long as JSON can make it, and the rest */

/* ---- a document ------------------------------------------------------------------------------------------------------------ */

/* Does the text occur anywhere? Seldom, so that all that counts is to step over what cannot be it. */
static bool has_own_member(struct core_span doc) {
    const struct core_span wanted = CORE_SPAN(OWN_MEMBER);
    const char *pos = doc.ptr;
    const char *end = doc.ptr + doc.len;
#ifdef __SSE2__
    const size_t far = sizeof "\"data" - 1; /* of '_' from the quote */
    for (; (size_t)(end - pos) >= 16 + wanted.len; pos += 16) {
        __m128i quote = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)pos), _mm_set1_epi8('"'));
        __m128i line = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)(pos + far)), _mm_set1_epi8('_'));
        uint32_t both = (uint32_t)_mm_movemask_epi8(_mm_and_si128(quote, line));
        for (; both != 0; both &= both - 1) {
            if (memcmp(pos + __builtin_ctz(both), wanted.ptr, wanted.len) == 0) {
                return true;
            }
        }
    }
#endif
    return memmem(pos, (size_t)(end - pos), wanted.ptr, wanted.len) != NULL;
}

bool elastic_bulk_fits(struct core_span doc) {
    doc = core_span_trim(doc);
    return doc.len >= 2 && doc.ptr[0] == '{' && doc.ptr[doc.len - 1] == '}';
}

/* A line's end between two parts of a document would end it too early; in a string there is none. */
static void lines_join(char *bytes, size_t len) {
    char *end = bytes + len;
    while ((bytes = memchr(bytes, '\n', (size_t)(end - bytes))) != NULL) {
        *bytes = ' ';
    }
}

static size_t put(char *to, const char *bytes, size_t len) {
    memcpy(to, bytes, len);
    return len;
}

/* Write document and tail. A document that has data_stream already keeps its own. Returns the bytes written: at most doc.len
 * and tail_len. */
static size_t document_put(char *to, struct core_span doc, const struct elastic_index *index) {
    doc = core_span_trim(doc);
    size_t len = put(to, doc.ptr, doc.len);
    lines_join(to, len);
    if (has_own_member(doc) && core_peek_has(doc, (struct core_span){&OWN_MEMBER[1], sizeof OWN_MEMBER - 2})) {
        to[len++] = '\n';
        return len;
    }
    size_t last = len - 1; /* without the bracket */
    while (last > 0 && core_is_blank(to[last - 1])) {
        last--;
    }
    size_t skip = to[last - 1] == '{' ? 1 : 0; /* nothing in it: no comma */
    return last + put(to + last, index->tail + skip, index->tail_len - skip);
}

/* ---- adding ---------------------------------------------------------------------------------------------------------------- */

static char *item_begin(struct elastic_bulk *bulk, const struct elastic_index *index, struct core_batch *batch,
                        uint32_t at, bool is_letter) {
    char *to = bulk->body.base + bulk->body.used;
    MUST(bulk->filled == bulk->len || is_letter);
    bulk->items[bulk->filled] =
        (struct elastic_item){.batch = batch, .index = at, .at = (uint32_t)bulk->body.used, .is_letter = is_letter};
    bulk->filled++;
    to += put(to, index->head, index->head_len);
    core_event_id(batch->stream, &batch->events[at], to);
    to += 32;
    return to + put(to, "\"}}\n", 4);
}

bool elastic_bulk_add(struct elastic_bulk *bulk, const struct elastic_limit *limit, const struct elastic_index *index,
                      struct core_batch *batch, uint32_t at) {
    struct core_span doc = batch->events[at].doc;
    size_t bytes = index->head_len + 36 + doc.len + index->tail_len + 1;
    MUST(doc.len <= CORE_DOC_BYTES_MAX + CORE_DOC_ENRICH_BYTES_MAX);
    MUST(bulk->filled == bulk->len);
    if (bulk->len > 0 && (bulk->len >= limit->events || bulk->body.used + bytes > limit->bytes)) {
        return false;
    }
    MUST(bulk->body.cap - bulk->body.used >= bytes);
    char *to = item_begin(bulk, index, batch, at, false);
    to += document_put(to, doc, index);
    bulk->body.used = (size_t)(to - bulk->body.base);
    bulk->len++;
    return true;
}

void elastic_bulk_add_letter(struct elastic_bulk *bulk, const struct elastic_index *index, struct core_batch *batch,
                             uint32_t at) {
    const struct core_event *event = &batch->events[at];
    MUST(bulk->body.cap - bulk->body.used >= LETTER_BYTES_MAX);
    MUST(event->refusal != NULL);
    char *start = item_begin(bulk, index, batch, at, true);
    struct core_dead dead = {.reason = event->refusal, .raw = event->doc, .start = event->start, .end = event->end};
    struct core_buf buf = {.start = start, .pos = start, .end = bulk->body.base + bulk->body.cap};
    core_dead_write(&buf, batch->stream, &dead, core_now_ns());
    buf.pos--; /* its bracket is the tail's */
    core_buf_put(&buf, index->tail, index->tail_len);
    MUST(!buf.is_full);
    bulk->body.used = (size_t)(buf.pos - bulk->body.base);
}

/* ---- sending ---------------------------------------------------------------------------------------------------------------- */

struct core_span elastic_bulk_window(struct elastic_bulk *bulk, const struct elastic_limit *limit) {
    MUST(bulk->filled > 0);
    uint32_t most = limit->events < bulk->window ? limit->events : bulk->window;
    uint32_t len = 1;
    while (len < bulk->filled && len < most) {
        size_t end = len + 1 < bulk->filled ? bulk->items[len + 1].at : bulk->body.used;
        if (end > limit->bytes) {
            break;
        }
        len++;
    }
    bulk->sent = len;
    return (struct core_span){bulk->body.base, len < bulk->filled ? bulk->items[len].at : bulk->body.used};
}
