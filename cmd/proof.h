/* cmd/proof.h: what Kafka's topics hold, against what the keeper of positions says of a node.
 *
 * Each record's header says which bytes of which generation it is, each position says up to where a generation was
 * delivered and of how many records. So: the spans of a generation's records join from where its account begins to its
 * position, and their number is the position's, or a record is missing, there twice, or not ours.
 *
 *   proof_open -> proof_read -> proof_judge (-> proof_explain) -> … proof_read again goes on where it stopped … -> proof_close
 *
 * Positions are read before records. The two are written in one transaction, so a record that a position speaks of is
 * there, except for the moment in which a broker has shown one partition's end of it and not the other's yet: who finds
 * something reads again a little later before it is said aloud.
 *
 * Retention: a partition whose first records were deleted cannot testify of that time. The horizon is when the newest of
 * the first records that are left was produced; a hole beside a record older than that is not judged, only counted. A log
 * all of whose records were seen in one topic is judged by that topic and the dead letters alone, others by all topics.
 *
 * Memory: 24 bytes for each span that joins no other yet (at most PROOF_SPANS_MAX), 8 for a record behind its position,
 * about 400 for a generation.
 * Thread: one.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_PROOF_H
#define TAPLINE_CMD_PROOF_H

#include "cmd/spans.h"
#include "core/kafka_read.h"
#include "ingest/ingest.h"
#include "sinks/sink.h"

#include <stdio.h>

#define PROOF_SPANS_MAX (16 * 1024 * 1024) /* unjoined spans in all: 384 MiB */
#define PROOF_FINDINGS_MAX 10000           /* more are counted, not listed */
#define PROOF_NAMES_MAX 16                 /* other nodes that are named when ours is not there */

struct proof_source {
    const struct sink_kafka_places *places;
    const char *node;
    const char *health_topic; /* lines of the health log, which no sensor wrote: it is not read; NULL: there is none */
    bool shows_progress;      /* stderr is a terminal */
};

/* A partition that is read. */
struct proof_place {
    size_t topic;
    int partition;
    int64_t next;        /* the first offset not read yet */
    bool is_asked;       /* is_cut is known: */
    bool is_cut;         /* its first records are deleted */
    bool is_first_known; /* of those left */
    int64_t first;       /* its offset */
    uint32_t first_s;    /* when it was produced */
};

struct proof_topic {
    char *name;
    int partitions;
    bool is_dead; /* of dead letters */
};

#define PROOF_TOPIC_NONE SIZE_MAX
#define PROOF_TOPIC_MIXED (SIZE_MAX - 1)

/* All generations of one name, such as conn. */
struct proof_log {
    char *name;
    size_t topic; /* the one that all its documents are in; NONE: none seen; MIXED: several */
};

struct proof_gen {
    uint64_t gen;
    bool has_position; /* else what follows is not set */
    bool is_foreign;   /* no position of this node has it: counted only */
    char *path;
    char *first_path;
    uint64_t begin, from;
    struct core_tally tally;
    int64_t mtime_ns;
    bool is_over;
    int64_t position_ms; /* when the position was produced */
    struct proof_log *log;
    /* What the topics hold: */
    uint64_t events, dead; /* records that begin at or behind begin, and end at or before from */
    uint64_t *newer; /* records that end behind it, written since it was read: their ends * 2, + 1 for dead letters */
    size_t newer_len, newer_cap;
    uint64_t earlier;   /* records before the account begins */
    struct spans spans; /* of [begin, …) */
    size_t topic;       /* as proof_log.topic */
    int64_t seen_tick;  /* when first seen, until a position comes */
};

struct proof {
    struct proof_source source;
    struct core_kafka_reader *reader;
    struct proof_topic *topics;
    size_t topics_len, topics_cap;
    struct proof_place *places; /* of records */
    size_t places_len, places_cap;
    int64_t *position_next; /* by partition of the checkpoint topic */
    int position_partitions;
    struct proof_gen **gens; /* in the order they came */
    size_t gens_len, gens_cap;
    struct proof_gen **table; /* by gen; open addressing */
    size_t table_cap;
    struct proof_log **logs;
    size_t logs_len, logs_cap;
    char *nodes[PROOF_NAMES_MAX]; /* others that have positions */
    size_t nodes_len;
    size_t positions_len;        /* of this node */
    uint64_t records;            /* read */
    uint64_t records_ours;       /* of generations of this node */
    uint64_t records_foreign;    /* of others */
    uint64_t records_headerless; /* not written by tapline */
    uint64_t expected;           /* by the partitions' offsets, for the progress */
    int64_t newest_ms;           /* when the newest position or record was produced */
    int64_t opened_ns;
    int64_t told_tick; /* when progress was last shown */
};

enum proof_kind {
    PROOF_GAP,        /* bytes that no record has */
    PROOF_NOT_JUDGED, /* the same, but records of that time may have been deleted by retention */
    PROOF_DOUBLED,    /* a record that is there more than once, with the same id */
    PROOF_OVERLAP,    /* records that share bytes and are not the same */
    PROOF_COUNT,      /* bytes join, but the number of records is not the position's */
    PROOF_LOST,       /* the node itself says that records were refused even as dead letters */
    PROOF_IDENTITY,   /* the node's own account: records are not events + dead + dropped + lost */
    PROOF_KINDS
};
extern const char *const proof_kind_names[PROOF_KINDS];

/* Where a record stands that is next to a hole. */
struct proof_neighbour {
    bool is_there;
    size_t topic;
    int partition;
    int64_t offset;
    int64_t timestamp_ms;
    uint64_t start, end;
};

struct proof_finding {
    enum proof_kind kind;
    const struct proof_gen *gen;
    uint64_t from, end;                   /* bytes; for COUNT, LOST and IDENTITY those of the whole account */
    uint64_t records;                     /* missing, more than once, or the difference; 0: not known */
    struct proof_neighbour before, after; /* by proof_explain() */
};

struct proof_verdict {
    struct proof_finding *findings; /* by generation in the order they came, and by bytes */
    size_t len, cap;
    uint64_t count[PROOF_KINDS]; /* of all, also of those not listed */
    size_t wrong;                /* of all but NOT_JUDGED */
    uint64_t generations;        /* judged */
    uint64_t proven_bytes;       /* in spans that join */
    uint64_t proven_records;
    uint64_t newer;       /* records behind their positions */
    uint64_t unknown;     /* young ones of generations without a position, which may still come */
    uint32_t horizon_s;   /* over all topics; 0: nothing was deleted */
    bool is_explain_full; /* more records share bytes than were looked at */
};

/* Owns: proof_close(*out). Errors: CORE_BAD a property of the config · CORE_IO. */
CORE_CHECKED enum core_err proof_open(struct proof **out, const struct proof_source *source, struct core_fail *fail);
void proof_close(struct proof *proof); /* takes NULL */

/* Read positions, then records, from where the last call stopped to what is there now.
 * Errors: CORE_BAD the node has no positions (fail names nodes that have), a position that cannot be understood ·
 * CORE_NET brokers · CORE_LIMIT more than PROOF_SPANS_MAX. */
CORE_CHECKED enum core_err proof_read(struct proof *proof, struct core_fail *fail);
/* The generation, or NULL. */
struct proof_gen *proof_find(const struct proof *proof, uint64_t gen);

/* Ask which partitions have lost their beginning. proof_read() asks before it reads; retention may delete records
 * meanwhile: ask again, so that what was gone before we came to it is not held against the node. Errors: CORE_NET. */
CORE_CHECKED enum core_err proof_ask_bounds(struct proof *proof, struct core_fail *fail);

/* Wait until every transaction that is open now in the topics is decided, at most timeout_ns: what a position that was
 * read speaks of is there then. Errors: CORE_NET. */
CORE_CHECKED enum core_err proof_wait(struct proof *proof, int64_t timeout_ns, struct core_fail *fail);

/* Judge what was read. Fills verdict anew. Errors: CORE_LIMIT no memory. */
CORE_CHECKED enum core_err proof_judge(struct proof *proof, struct proof_verdict *verdict, struct core_fail *fail);
/* Read all records once more to say where the holes' neighbours are, and which records are doubled.
 * Errors: as proof_read(). */
CORE_CHECKED enum core_err proof_explain(struct proof *proof, struct proof_verdict *verdict, struct core_fail *fail);
void proof_verdict_release(struct proof_verdict *verdict);

/* Read and judge; of a node that wrote just now what its last transaction brought is waited for; what is found is looked at
 * again a little later, and what stays is explained. The way of a command that looks once. Errors: as proof_read(). */
CORE_CHECKED enum core_err proof_settle(struct proof *proof, struct proof_verdict *verdict, struct core_fail *fail);

/* ---- what a person reads (proof_report.c) ----------------------------------------------------------------------------- */

#define PROOF_SHOWN_MAX 100 /* findings printed for a person; --json has all that are listed */
/* One finding in a few lines: where it is, what is next to it, what to do. */
void proof_print_finding(FILE *out, const struct proof *proof, const struct proof_finding *finding);
/* "2 gaps, 1 doubled": the kinds that were found; "" for none. Shape: cut to len. */
void proof_say_counts(const struct proof_verdict *verdict, char *out, size_t len);
/* The listed findings as a JSON array. */
void proof_json_findings(FILE *out, const struct proof *proof, const struct proof_verdict *verdict);
/* The same, as one object of the counts by kind. */
void proof_json_counts(FILE *out, const struct proof_verdict *verdict);

/* ---- what verify and ledger share (verify.c) ---------------------------------------------------------------------------- */

struct cmd;
struct config;
/* Where the config's kafka sink puts things. False: there is none, or it keeps no positions; said on stderr.
 * Owns: sink_kafka_places_release(places). */
CORE_CHECKED bool cmd_kafka_places(const struct cmd *cmd, const struct config *config,
                                   struct sink_kafka_places *places);
/* Say a failure on stderr; its exit code. */
int cmd_exit_of(const struct cmd *cmd, enum core_err err, const struct core_fail *fail);

/* ---- for proof_explain.c -------------------------------------------------------------------------------------------- */

/* What a record's header says. */
struct proof_header {
    uint64_t gen, start, end, from;
};
/* False: it is not one of ours. */
bool proof_header_take(struct core_span bytes, struct proof_header *header);
/* Read all places from there to their present ends, each record given to on_record. */
CORE_CHECKED enum core_err proof_each(struct proof *proof, const struct core_kafka_place *places, size_t len,
                                      enum core_err (*on_record)(void *ctx, const struct core_kafka_got *got,
                                                                 struct core_fail *fail),
                                      void *ctx, struct core_fail *fail);

#endif
