/* normalize/normalize.h: turns a line into a record, and a record into an event of our schema, by a map file.
 *
 * `normalize_maps` is what the files in configs/ say (logs.table, schema.tsv, maps/ *.map), compiled once and read-only
 * from then on, shared by all threads. `normalize_worker` is one thread's scratch. Per stream there is a
 * decoder state (the TSV header last seen, the plan for this log) behind stream->decode.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_NORMALIZE_NORMALIZE_H
#define TAPLINE_NORMALIZE_NORMALIZE_H

#include "core/batch.h"
#include "core/conf.h"

/* Section `normalize:`. */
struct normalize_conf {
    char *maps;                     /* directory with logs.table, schema.tsv and maps/; default: the installed one */
    char *site_maps;                /* the same of a site's own, which come first; default: none */
    struct core_conf_list networks; /* the site's own, "10.0.0.0/8"; default: none */
    char *networks_file;            /* more of them, a line each; default: none */
    struct core_conf_list geo_databases; /* paths; default: none */
    uint64_t community_id_seed;          /* 0 … 65535; default 0 */
    uint64_t workers;                    /* threads; default 1 */
};
extern const struct core_opt normalize_opts[];
extern const size_t normalize_opts_len;

struct normalize_maps;
struct normalize_worker;

/* Read and check every file of conf->maps (not NULL) and what else conf names. Of conf nothing is kept.
 * before: the maps that these are to replace, or NULL at start; the counts of its `drop when` rules go on.
 * Errors: CORE_IO, CORE_BAD; each mistake as file:line:col in mistakes. */
CORE_CHECKED enum core_err normalize_maps_open(struct normalize_maps **out, const struct normalize_conf *conf,
                                               const struct normalize_maps *before,
                                               struct core_conf_mistakes *mistakes);
/* The same, and what loads but nobody can have meant is a mistake, too. */
CORE_CHECKED enum core_err normalize_maps_check(struct normalize_maps **out, const struct normalize_conf *conf,
                                                struct core_conf_mistakes *mistakes);
void normalize_maps_close(struct normalize_maps *maps); /* takes NULL */

/* A `drop when` row, of these maps or of those they replaced, and how many records it left out. */
struct normalize_drop {
    const char *rule; /* "zeek.conn.map:12 drop when proto = udp"; lives as long as the maps */
    uint64_t dropped;
};
/* Rule i. False: there are no more. Thread: the one that opens maps; workers may be counting. */
bool normalize_drop_at(const struct normalize_maps *maps, size_t i, struct normalize_drop *out);

struct normalize_worker *normalize_worker_new(const struct normalize_maps *maps, struct core_counters *counters);
/* Other maps from the next batch on (SIGHUP). The old ones may be closed when this returns. Thread: the worker's. */
void normalize_worker_remap(struct normalize_worker *worker, const struct normalize_maps *maps);
void normalize_worker_free(struct normalize_worker *worker); /* takes NULL */

/* From the next batch on, list each event's observables (core_event): what the maps mark as `observable TYPE`. Off at first.
 * Thread: the worker's. */
void normalize_worker_observe(struct normalize_worker *worker, bool is_wanted);

/* Who looks at records as their source wrote them. */
struct normalize_watch {
    /* Is this record to be made into JSON? Called for each that could be decoded. */
    bool (*wants)(void *ctx, const struct core_line *line);
    /* One flat object with the source's own names. record.len 0: it is longer than NORMALIZE_WATCH_BYTES_MAX. Lives during the
     * call. dataset: NUL-terminated, outlives the batch. */
    void (*record)(void *ctx, const char *dataset, struct core_span record);
    void *ctx;
};
#define NORMALIZE_WATCH_BYTES_MAX (128 * CORE_KIB)
/* Watch the records of the next batch, and of that one only. Thread: the worker's. */
void normalize_worker_watch(struct normalize_worker *worker, const struct normalize_watch *watch);

/* Make batch->events from batch->lines: one event per record line, in order; a line that cannot be read becomes a dead
 * letter; a record that a `drop when` row fits makes none and is counted in batch->dropped. Never fails. Frees stream->decode when batch->is_last. Thread: the worker's. */
void normalize_batch(struct normalize_worker *worker, struct core_batch *batch);
/* For a stream whose batches go to several workers, each with a struct core_stream of its own (the same but for decode):
 * only the lines of batch that say how those after them are to be read. Thread: the worker's. */
void normalize_contexts(struct normalize_worker *worker, struct core_batch *batch);
/* Like normalize_batch, of a batch that another worker mapped out of order (batch->is_order_bound): counts nothing again.
 * Shape: batch->arena is empty. Thread: the worker's. */
void normalize_batch_again(struct normalize_worker *worker, struct core_batch *batch);

/* ---- what the maps say about the documents they make ---- */

/* A row of schema.tsv and who writes it. The texts live during the call. */
struct normalize_field {
    const char *name; /* may hold % for the dataset's own part */
    const char *type; /* keyword, long, ip … */
    const char *many; /* "", list, array, either */
    const char *meaning;
    const char *datasets; /* separated by blanks, sorted; "zeek.*" is any Zeek log without a map of its own */
    bool is_own;          /* not ECS's: below zeek. snort. suricata. tapline. */
};
/* Call on_field for every field of the schema, sorted by name. */
void normalize_fields_walk(const struct normalize_maps *maps,
                           void (*on_field)(void *ctx, const struct normalize_field *field), void *ctx);

/* Call on_dataset for every dataset, sorted; ecs_fields are separated by blanks. */
void normalize_datasets_walk(const struct normalize_maps *maps,
                             void (*on_dataset)(void *ctx, const char *dataset, const char *ecs_fields), void *ctx);

/* Call on_mark for every field that a map marks as an observable, once for each type, sorted; datasets as above. A % of its
 * name stands for the dataset's own part. */
void normalize_observables_walk(const struct normalize_maps *maps,
                                void (*on_mark)(void *ctx, const char *field, const char *type, const char *datasets),
                                void *ctx);

enum normalize_export_kind {
    NORMALIZE_EXPORT_ELASTICSEARCH, /* component templates and an index template */
    NORMALIZE_EXPORT_OPENSEARCH,    /* the same, in its words */
    NORMALIZE_EXPORT_JSON_SCHEMA    /* one for each topic, and index.json, which lists them */
};

#define NORMALIZE_EXPORT_OWNER "tapline" /* _meta.managed_by of each template */

/* What a site decides about templates, not the maps. Texts outlive the call. */
struct normalize_export_site {
    bool is_data_stream; /* an index is a data stream's; else tapline names each index itself */
    uint64_t shards;     /* of an index */
    uint64_t replicas;
    const char *version;                              /* of the program, "0.7.0"; NULL: "0" */
    const char *policy_day;                           /* life-cycle policies for settings, of a day's index */
    const char *policy_month;                         /* and of a month's, or of a data stream; NULL: none is named */
    bool (*is_daily)(void *ctx, const char *dataset); /* whose index is a day's; NULL: none */
    void *ctx;
};

struct normalize_export_request {
    enum normalize_export_kind kind;
    const struct normalize_export_site *site; /* NULL: an index each of one shard and one replica, no policy */
    const char *const *open_fields;           /* names that a config adds to documents, dotted: of any type */
    size_t open_fields_len;
    /* Called for each file; its name may hold a /. The text lives during the call. */
    void (*file)(void *ctx, const char *name, struct core_span text);
    void *ctx;
};
/* Templates carry a number made of a version, by which an engine and people compare them: "0.7.12" -> 7012. */
uint64_t normalize_export_version(const char *version);
/* Make the files, the same for the same maps. Components come before what is made of them, and the template for any dataset
 * before those for one. Thread: any. */
void normalize_export(const struct normalize_maps *maps, const struct normalize_export_request *request);

struct normalize_explain {
    /* Called for each field of a record: where it came from, the row that took it ("zeek.conn.map:12"), what it became. */
    void (*row)(void *ctx, struct core_span from, const char *row, const char *to, struct core_span value);
    void *ctx;
};
/* Like normalize_batch, telling which row made which field. */
void normalize_explain(struct normalize_worker *worker, struct core_batch *batch,
                       const struct normalize_explain *explain);

#endif
