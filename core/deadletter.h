/* core/deadletter.h: the document of a record that could not be delivered as an event.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_DEADLETTER_H
#define TAPLINE_CORE_DEADLETTER_H

#include "core/batch.h"
#include "core/json.h"

#define CORE_DEAD_RAW_BYTES_MAX (64 * CORE_KIB) /* more raw bytes are cut; their length and hash are kept */
/* Of a document that was read from Kafka, so that it can be put back: in JSON at most twice as long, which a topic takes. */
#define CORE_DEAD_DOCUMENT_BYTES_MAX (384 * CORE_KIB)

#define CORE_DEAD_DATASET "tapline.deadletter"

/* The fields of a dead letter, for the exported schemas. */
struct core_dead_field {
    const char *name;
    bool is_required; /* every dead letter has it */
};
extern const struct core_dead_field core_dead_fields[];
extern const size_t core_dead_fields_len;

/* Where a record lies in Kafka that the feeder could not get into the search engine. */
struct core_dead_source {
    const char *kind; /* "refused": by the engine; "unreadable": it is no document */
    const char *topic;
    int partition;
    int64_t offset;
    const char *dataset; /* its document's; "generic" if it has none */
};

/* What is known of it. line_number 0: unknown. */
struct core_dead {
    const char *reason;   /* a sentence: what is wrong, with the offending text */
    struct core_span raw; /* the line as it stood, or the document a server refused */
    size_t raw_len;       /* its whole length, if raw is already cut; else 0 */
    size_t raw_bytes_max; /* what is longer is cut; 0: CORE_DEAD_RAW_BYTES_MAX */
    uint64_t line_number;
    uint64_t start;
    uint64_t end;
    const struct core_dead_source *source; /* NULL: a sensor's record, by its line and place in a file */
};

/* Write {"@timestamp", "event":{"kind":"pipeline_error","dataset":"tapline.deadletter","module":"tapline"}, "ecs",
 * "error":{"message"}, "event":{"original" | ...}, "log":{"file":{"path","line"},"offset"}, "tapline":{...}} as one line.
 * Shape: raw bytes that are UTF-8 stand in event.original; others as base64 in tapline.original_base64. Cut ones carry
 * tapline.original_bytes (length) and tapline.original_sha256. With a source there is no "log", and tapline.kind, .topic,
 * .partition, .offset and .dataset instead of .start and .end; tapline.id is the document's own. Thread: any. */
void core_dead_write(struct core_buf *buf, const struct core_stream *stream, const struct core_dead *dead,
                     int64_t now_ns);

#endif
