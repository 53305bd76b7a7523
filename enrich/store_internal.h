/* enrich/store_internal.h: what store.c, store_memory.c, store_redis*.c and redis.c share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_STORE_INTERNAL_H
#define TAPLINE_ENRICH_STORE_INTERNAL_H

#include "core/json.h"
#include "enrich/enrich_internal.h"

/* Do two providers say the same, texts not said and empty ones being the same? Feed and provider are compared, too. */
bool store_said_same(const struct enrich_provider *a, const struct enrich_provider *b);
/* Providers in the order of feed, then provider, so that a document does not depend on who was written first. */
void store_said_sort(struct enrich_provider *said, size_t len);

/* ---- what a provider says, as JSON (store_said.c): the value of a field in Redis; docs/reference/intel.rst ---------------- */

#define STORE_SAID_BYTES_MAX (8 * 1024) /* of the JSON */

/* One object without feed and provider, which are the field's name; only what is said. A text longer than
 * ENRICH_TEXT_BYTES_MAX is cut at a character. */
void store_said_write(struct core_buf *buf, const struct enrich_provider *said);

struct store_said_reader;                              /* one a thread */
struct store_said_reader *store_said_reader_new(void); /* never NULL (MUST) */
void store_said_reader_free(struct store_said_reader *reader);
/* Read field ("feed/provider") and its JSON. Members nobody knows are left out, wrong types are refused.
 * Owns: texts live in arena. Errors: CORE_BAD not such a field · CORE_LIMIT the arena is full. */
CORE_CHECKED enum core_err store_said_read(struct store_said_reader *reader, struct core_span field,
                                           struct core_span json, struct core_arena *arena, struct enrich_provider *out,
                                           struct core_fail *fail);

#endif
