/* core/batch.h: what moves between threads: streams, lines, events, and the batch that carries them.
 *
 * bytes -> line -> record -> event -> batch -> ack. A batch belongs to one stream (so order is by stream), is filled by
 * ingest, gets its events from normalize, is delivered by every sink in turn, and comes back to ingest, which alone
 * moves the checkpoint (over the unbroken prefix of returned batches) and recycles it. A batch that returns means: each
 * of its records was accepted, or accepted as a dead letter, by every sink. An empty pool is the back-pressure.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_BATCH_H
#define TAPLINE_CORE_BATCH_H

#include "core/core.h"

/* Stated maxima of the data path. */
#define CORE_LINE_BYTES_MAX (CORE_MIB)                            /* a longer line is a dead letter */
#define CORE_SEGMENT_BYTES (CORE_LINE_BYTES_MAX + 256 * CORE_KIB) /* a batch's read segment */
#define CORE_BATCH_LINES_MAX 2048
#define CORE_ARENA_NORMALIZE_BYTES (48 * CORE_MIB) /* of a batch's arena: all that normalize writes */
#define CORE_ARENA_ENRICH_BYTES (64 * CORE_MIB)    /* of it: each document again, with what intelligence says */
#define CORE_ARENA_BYTES (CORE_ARENA_NORMALIZE_BYTES + CORE_ARENA_ENRICH_BYTES) /* address space: touched pages count */
#define CORE_ARENA_KEEP_BYTES (4 * CORE_MIB)
#define CORE_DOC_BYTES_MAX (8 * CORE_MIB)          /* a longer document is a dead letter */
#define CORE_DOC_ENRICH_BYTES_MAX (128 * CORE_KIB) /* what enrichment may add to one */

/* How a sensor wrote what is read. AUTO: told by content. Each belongs to one sensor, which is then the type, too. */
enum core_format {
    CORE_FORMAT_AUTO,
    CORE_FORMAT_ZEEK, /* TSV or JSON */
    CORE_FORMAT_SNORT_FAST,
    CORE_FORMAT_SNORT_FULL, /* records of several lines */
    CORE_FORMAT_SNORT_CMG,  /* records of several lines */
    CORE_FORMAT_SNORT_CSV,
    CORE_FORMAT_SNORT_JSON,
    CORE_FORMAT_SNORT_SYSLOG,
    CORE_FORMAT_UNIFIED2, /* binary records */
    CORE_FORMAT_SURICATA_EVE,
    CORE_FORMAT_SURICATA_FAST
};

/* Where a stream's records come from, as the config says it. Owned by the config, outlives every batch. All texts are
 * NUL-terminated; NULL: not given. */
struct core_origin {
    enum core_origin_type {
        CORE_ORIGIN_AUTO,
        CORE_ORIGIN_ZEEK,
        CORE_ORIGIN_SNORT,
        CORE_ORIGIN_SURICATA,
        CORE_ORIGIN_TAPLINE /* JSON lines of our own: what looking back found */
    } type;
    enum core_format format; /* agrees with type: a format of Snort's has type CORE_ORIGIN_SNORT */
    bool keep_original;      /* adds event.original */
    const char *fields_json; /* members for every document, as a nested object's text `{"observer":…}`, or NULL */
    const char *csv_fields;  /* "timestamp,gid,sid": names of alert_csv's columns, commas between, no blanks */
    const char *timezone;    /* IANA name of the zone that stamps without one are in; NULL: UTC */
    const char *sid_msg_map; /* paths of Snort's own files, for formats that have no names (unified2) */
    const char *gen_msg_map;
    const char *classification_config;
};

/* What became of records: records = events + dead + dropped + lost, or something is wrong. */
struct core_tally {
    uint64_t records; /* as ingest cut them: lines that are no context */
    uint64_t events;  /* documents */
    uint64_t dead;    /* dead letters */
    uint64_t dropped; /* left out by a map's drop row */
    uint64_t lost;    /* refused even as a dead letter: only the log has their ids */
};

/* One sequence of lines with one generation: a file between two truncations (whatever its name is by now).
 * Owns: made and freed by ingest; valid as long as one of its batches is under way. Thread: ingest writes path, gen, mtime
 * and origin before the first batch of the stream that has record lines leaves; after that they never change.
 * `decode` belongs to the normalize worker, which makes it at the first batch and frees it at the batch with is_last. */
struct core_stream {
    uint32_t magic;
    uint32_t worker;  /* which normalize worker has it: order is by stream */
    uint64_t gen;     /* file generation: core_hash64 over node, first path and first record line; never recomputed */
    const char *path; /* the first path, NUL-terminated; log.file.path of its documents */
    int64_t mtime_ns; /* of the file when first seen: stands in for a record's missing time; 0 if unknown */
    const struct core_origin *origin;
    /* Where the span of the stream's next event begins: before its next record if records there were dropped by rule.
     * Set by ingest from what is remembered; normalize starts from it. */
    uint64_t open_from;
    /* What became of all records of the generation until now. Set by ingest from what is remembered; then the keeper of
     * positions adds each batch that it sends (core/commit.h). */
    struct core_tally tally;
    void *decode;
};
#define CORE_STREAM_MAGIC 0x73747231u

enum core_line_flag {
    CORE_LINE_RECORD = 0,
    CORE_LINE_CONTEXT = 1,  /* a `#` line or a CSV's names: no record; its bytes belong to the next record's span */
    CORE_LINE_REPLAYED = 2, /* with CONTEXT: a header shown again after a restart; its bytes were accepted before */
    CORE_LINE_CUT = 4,      /* the line was longer than CORE_LINE_BYTES_MAX: text is its head; a dead letter */
    CORE_LINE_UNIFIED2 = 8  /* text is binary: an event with its packets and extra data, or what is none */
};

/* A record: a line without its '\n' (and without a '\r' before it); of alert_full and alert_cmg several lines, without the
 * blank ones at their end; or binary records. A `#` line or the names of a CSV are context. start is where the record's bytes begin: the end of the
 * record before it, so that `#` lines, blank lines and NULs before a record belong to it. Positions are bytes from the
 * stream's start, decompressed. number counts all lines of the stream from 1; 0 when unknown (after a restart). */
struct core_line {
    struct core_span text;
    uint64_t start;
    uint64_t end;
    uint64_t number;
    unsigned flags; /* enum core_line_flag, or-ed */
};

/* What kinds of things intelligence speaks of: what an observable is, and what an indicator names. The words are those of
 * commands, of keys in Redis and of a map's `observable` mark: core_indicator_word(). */
enum core_indicator {
    CORE_INDICATOR_NONE,
    CORE_INDICATOR_IP,          /* address */
    CORE_INDICATOR_CIDR,        /* network: names all addresses in it; never an observable */
    CORE_INDICATOR_DOMAIN,      /* host name */
    CORE_INDICATOR_URL,         /* host and path, without a scheme */
    CORE_INDICATOR_EMAIL,       /* address without < > and display name */
    CORE_INDICATOR_FILE_HASH,   /* MD5, SHA-1, SHA-256, SHA-512: by its length */
    CORE_INDICATOR_CERT_HASH,   /* of a certificate, as FILE_HASH */
    CORE_INDICATOR_PUBKEY_HASH, /* SSH host key: MD5 with colons */
    CORE_INDICATOR_USER,        /* account name */
    CORE_INDICATOR_FILE_NAME,
    CORE_INDICATOR_SOFTWARE, /* user agent and the like */
    CORE_INDICATOR_JA3,      /* MD5 */
    CORE_INDICATOR__MAX
};
/* "ip", "cidr", "domain", "url", "email", "file_hash", "cert_hash", "pubkey_hash", "user", "file_name", "software", "ja3".
 * Shape: NUL-terminated, static; never NULL below CORE_INDICATOR__MAX ("" for NONE). */
const char *core_indicator_word(enum core_indicator type);
/* CORE_INDICATOR_NONE: no such word. */
enum core_indicator core_indicator_of(struct core_span word);

/* A text of a record that intelligence may speak of, as it stands in the document before JSON escapes it. */
struct core_observable {
    const char *ptr;   /* into the batch's segment or arena */
    const char *field; /* the document's field, "source.ip"; NUL-terminated, interned, outlives the batch */
    uint32_t len;
    uint8_t type; /* enum core_indicator */
};
#define CORE_OBSERVABLES_MAX 256 /* of one record; core_event.observables_left says how many more there were */

/* What a search engine did with a document. A sink that is no index leaves it at TAKEN. */
enum core_fate {
    CORE_FATE_TAKEN,    /* it is there, by this request */
    CORE_FATE_REPEATED, /* it was there already, with the same id: a repeat, which counts as delivered */
    CORE_FATE_REFUSED   /* it will never be taken: a dead letter */
};

/* A document, written as one line of JSON without '\n' in the batch's arena. */
struct core_event {
    struct core_span doc;
    struct core_span key; /* Kafka's message key: community id, else uid; len 0: use the record id */
    const char *
        dataset; /* event.dataset, e.g. "zeek.connection"; interned, outlives the batch; "tapline.deadletter" if is_dead */
    uint64_t start; /* with stream->gen: the record id */
    uint64_t from;  /* start; or, where records between the event before and this one were dropped by rule, theirs */
    uint64_t end;
    bool is_dead; /* a dead letter: doc says why */
    /* The record id, where stream->gen and start do not say it: of a document that was read from Kafka. Shape: 32 bytes;
     * len 0: core_record_id(stream->gen, start). core_event_id() knows. */
    struct core_span id;
    int64_t accepted_ms; /* when Kafka took the record, since the epoch; 0: it does not come from there */
    /* By a sink that indexes: what became of it there, and with REFUSED why, in the engine's words. */
    uint8_t fate;        /* enum core_fate */
    const char *refusal; /* NUL-terminated, in the arena; NULL unless refused, or a dead letter that normalize made */
    const char *reason;  /* of such a dead letter: a word that stays the same, static: "bad_value" */
    /* In the arena; in the order of the map's rows. Empty unless somebody asked (normalize_worker_observe). */
    const struct core_observable *observables;
    uint16_t observables_len;
    uint16_t observables_left; /* more than CORE_OBSERVABLES_MAX, or no room: not looked at */
};

/* When something happened to a batch, core_tick_ns(); 0: it did not. Each is written by the thread that has the batch then. */
enum core_stamp {
    CORE_STAMP_READ,      /* ingest began to read it */
    CORE_STAMP_PUSHED,    /* ingest handed it on */
    CORE_STAMP_NORMALIZE, /* a worker took it … */
    CORE_STAMP_NORMALIZED,
    CORE_STAMP_ENRICH, /* … the stage that asks intelligence (0: there is none) … */
    CORE_STAMP_ENRICHED,
    CORE_STAMP_SEND,      /* … the first sink; */
    CORE_STAMP_GIVEN,     /* the current sink took it (for that sink's own latency) */
    CORE_STAMP_DELIVERED, /* the last sink gave it back */
    CORE_STAMP__MAX
};

/* What a batch carries if it is traced (W3C Trace Context). Written by ingest before it hands the batch on. */
struct core_trace {
    bool is_sampled; /* else the rest is of no use */
    unsigned char trace_id[16];
    unsigned char span_id[8]; /* of the span that the batch's `traceparent` header names: produce */
};

/* The span that a record's `traceparent` names: of who wrote it to Kafka. */
struct core_link {
    unsigned char trace_id[16];
    unsigned char span_id[8];
};
#define CORE_LINKS_MAX 32 /* of a batch; further ones are left out */

struct core_batch {
    uint32_t magic;
    struct core_stream *stream;
    uint64_t seq;  /* per stream, from 0, without gaps */
    bool is_last;  /* no batch of this stream follows; normalize frees stream->decode */
    char *segment; /* CORE_SEGMENT_BYTES; lines point into it */
    size_t segment_len;
    struct core_line *lines; /* CORE_BATCH_LINES_MAX */
    uint32_t lines_len;
    struct core_event *events; /* CORE_BATCH_LINES_MAX; in the order of the lines */
    uint32_t events_len;
    struct core_tally
        tally;          /* of this batch: records by ingest, the others by normalize; a sink that refuses corrects */
    uint64_t open_from; /* by normalize: where the span of the stream's next event begins (accepted_end, or before) */
    struct core_span position; /* by ingest, in the arena: what the keeper of positions writes down (core/commit.h) */
    uint64_t epoch;            /* by ingest: core_commit.epoch that it knew when it made the batch */
    uint64_t txn;              /* by the keeper: the transaction it went with; 0: accepted as soon as it is back */
    bool is_order_bound;       /* what its documents say depends on records before it (stamps without a year) */
    uint64_t accepted_end;     /* the stream's position once this batch is accepted */
    struct core_arena arena;   /* documents and keys */
    int64_t stamps[CORE_STAMP__MAX];
    struct core_trace trace;
    struct core_link *links; /* by the feeder, in the arena: the distinct ones of its records; NULL: none has any */
    uint32_t links_len;
    uint32_t sink_pending;   /* the current sink's own count of events not yet answered */
    uint32_t sink_index;     /* the current sink's own cursor */
    struct core_batch *next; /* the current owner's own list link */
};
#define CORE_BATCH_MAGIC 0x62746368u

/* All batches there will ever be. Thread: ingest only (others give batches back through a queue to ingest). */
struct core_pool {
    struct core_batch *batches;
    struct core_batch **free;
    uint32_t free_len;
    uint32_t len;
};

CORE_CHECKED enum core_err core_pool_init(struct core_pool *pool, uint32_t len, struct core_fail *fail);
struct core_batch *core_pool_take(struct core_pool *pool);             /* NULL: none free, stop reading */
void core_pool_give(struct core_pool *pool, struct core_batch *batch); /* resets it; takes back its memory */
void core_pool_destroy(struct core_pool *pool);

/* The record id: 16 bytes of generation and start offset, big-endian, in lower-case hex. Shape: 32 bytes, no NUL.
 * The same record always has the same id, and neighbours in a file are neighbours in an index. */
void core_record_id(uint64_t gen, uint64_t start, char out[32]);
/* The record id of an event of a stream. Shape: as core_record_id(). */
void core_event_id(const struct core_stream *stream, const struct core_event *event, char out[32]);

#endif
