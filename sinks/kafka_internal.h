/* sinks/kafka_internal.h: the parts of the kafka sink: its keys (kafka_conf.c), its topics (kafka_topics.c), its producers
 * (kafka.c), what happens to each event (kafka_events.c), and for exactly-once delivery the transactions (kafka_txn.c), the
 * positions and the owner (kafka_positions.c, kafka_recover.c) and the records that a broker refuses (kafka_blame.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SINKS_KAFKA_INTERNAL_H
#define TAPLINE_SINKS_KAFKA_INTERNAL_H

#include "core/kafka.h"
#include "sinks/sinks_internal.h"

/* ---- keys (kafka_conf.c) ------------------------------------------------------------------------------------------------ */

/* What a restart may repeat. AUTO: nothing, if the broker allows that; else what was under way. */
enum kafka_delivery { KAFKA_DELIVERY_AUTO, KAFKA_DELIVERY_EXACTLY_ONCE, KAFKA_DELIVERY_AT_LEAST_ONCE };

struct kafka_conf {
    char *topic;
    char *dead_letter_topic;
    int delivery; /* enum kafka_delivery */
    char *checkpoint_topic;
    int64_t transaction_interval_ns;
    uint64_t transaction_bytes;
    int64_t transaction_timeout_ns;
    bool create_topics;
    uint64_t partitions;
    uint64_t replication_factor; /* 0: the broker's default */
    struct core_conf_list rdkafka;
};

#define KAFKA_OPTS_LEN 11
extern const struct core_opt kafka_opts[KAFKA_OPTS_LEN];

/* All properties in the order they are set: our defaults, the user's, and what nobody may change. The last one makes
 * batches of one: leave it out for a producer with batches.
 * Owns: the array is malloc'ed, its texts are conf's. */
struct core_kafka_pair *kafka_conf_pairs(const struct kafka_conf *conf, bool wants_statistics, size_t *len);

/* A transactional producer: whose, and with what batches. Texts for pairs are made in it. */
struct kafka_shape {
    bool is_alone;    /* batches of one */
    uint64_t bytes;   /* batch.size; 0: as configured */
    char id[320];     /* transactional.id */
    char timeout[24]; /* transaction.timeout.ms */
    char bytes_text[24];
};
struct core_kafka_pair *kafka_conf_txn_pairs(const struct kafka_conf *conf, const char *node, struct kafka_shape *shape,
                                             bool wants_statistics, size_t *len);
bool kafka_conf_keeps_positions(const void *conf);
void kafka_conf_check(const void *conf, const struct core_conf_file *file, const struct core_conf_node *node,
                      struct core_conf_mistakes *mistakes);
enum core_err kafka_conf_connect(const void *conf, int timeout_ms, struct core_fail *fail);

/* ---- topics (kafka_topics.c) ---------------------------------------------------------------------------------------------- */

#define KAFKA_TOPIC_BYTES_MAX 249
#define KAFKA_TOPICS_MAX 2048 /* a dataset past it: its records become dead letters */

/* Records travel in librdkafka's batches. When a broker refuses one it refuses the whole batch, the innocent with the
 * guilty; so what was refused is sent again by a second producer, made when first needed, whose batches are of one. */
enum kafka_lane { KAFKA_TOGETHER, KAFKA_ALONE, KAFKA_LANES };

/* A topic is needed -> asked for -> usable; a failure that may pass holds it until hold_ns. */
enum kafka_topic_state { KAFKA_TOPIC_NEEDED, KAFKA_TOPIC_ASKED, KAFKA_TOPIC_USABLE };

struct kafka_topic {
    char name[KAFKA_TOPIC_BYTES_MAX + 1];
    struct core_kafka_topic *handles[KAFKA_LANES]; /* of the producers of now; NULL: not opened yet */
    enum kafka_topic_state state;
    bool is_dead_letters;
    bool is_checkpoint;
    bool is_proven;        /* a broker said that it exists */
    int strikes;           /* times it was unknown though proven, lately */
    int64_t struck_ns;     /* the last of them */
    int64_t hold_ns;       /* core_tick_ns() before which nothing is sent to it; 0: none */
    char refusal[256];     /* why making it was refused; "" */
    bool is_counted_wrong; /* its differing partition count was said */
    bool is_given_up;      /* that it is not to be had was said */
    int64_t given_up_ns;   /* exactly once: until then its records are dead letters from the start */
    int partitions;        /* as the producers before knew it; 0: not known */
    uint64_t txn;          /* exactly once: the last transaction with a record of it */
    bool is_suspect;       /* exactly once: it may be the one that made a transaction fail; it is to be tried alone */
    int64_t trouble_ns;    /* core_tick_ns() when it was last not to be had; 0: never, or it is there since */
    char trouble[256];     /* why */
    bool is_alone;         /* it takes less at once than librdkafka's batches: each record goes alone */
};

struct kafka_topics {
    const struct kafka_conf *conf;
    struct core_kafka *lanes[KAFKA_LANES]; /* the producers of now; NULL: not made */
    struct kafka_topic **topics;           /* KAFKA_TOPICS_MAX */
    size_t len;
    struct kafka_topic *dead_letters;
    struct kafka_dataset *datasets; /* open addressing by the name's hash */
    size_t datasets_len;
    struct kafka_topic *reference; /* the first whose partition count is known; the others are compared with it */
};

CORE_CHECKED enum core_err kafka_topics_open(struct kafka_topics *topics, const struct kafka_conf *conf,
                                             struct core_fail *fail);
void kafka_topics_close(struct kafka_topics *topics);
/* Another producer for a lane, or none: every topic is opened anew when it is next used there. */
void kafka_topics_rebind(struct kafka_topics *topics, enum kafka_lane lane, struct core_kafka *kafka);
/* The topic of a dataset; NULL: there are too many, or no topic can have that name. */
struct kafka_topic *kafka_topics_find(struct kafka_topics *topics, const char *dataset);
/* May records be sent to it now? If not, what is needed for that is under way. */
bool kafka_topic_is_ready(struct kafka_topics *topics, struct kafka_topic *topic, enum kafka_lane lane, int64_t now);
/* What a broker said of a request to make it. */
void kafka_topic_made(struct kafka_topics *topics, struct kafka_topic *topic, enum core_kafka_made made,
                      const char *text);
/* A record was refused because of its topic. True: send it again later; false: the topic is not to be had. */
bool kafka_topic_refused(struct kafka_topics *topics, struct kafka_topic *topic, const char *text, int64_t now);
/* The topic of positions (exactly once). */
struct kafka_topic *kafka_topics_checkpoint(struct kafka_topics *topics);
/* For ten minutes its records are dead letters without being tried: each try would abort a transaction. */
void kafka_topic_give_up(struct kafka_topic *topic, int64_t now);
/* The first moment after now at which something held may go on; INT64_MAX: nothing is held. */
int64_t kafka_topics_due(const struct kafka_topics *topics, int64_t now);
/* Its partition count as last seen; 0: not known. */
int kafka_topic_partitions(const struct kafka_topic *topic);
/* Warn of topics whose partition count differs. Cheap; call it now and then. */
void kafka_topics_compare(struct kafka_topics *topics);

/* ---- events (kafka_events.c) ------------------------------------------------------------------------------------------------ */

#define KAFKA_SINK_MAGIC 0x6b73696eu
#define KAFKA_HOLD_NS CORE_NS_PER_S
#define KAFKA_REMAKE_HOLD_MAX_NS (30 * CORE_NS_PER_S)
#define KAFKA_TICKET_POSITION UINT64_MAX /* of a position or the owner record; an event's has its slot and index */
#define KAFKA_CODE_NO_TOPIC (-100000)    /* not librdkafka's: no topic can be had for that dataset */
#define KAFKA_CODE_GIVEN_UP (-100001)    /* nor this: the topic was not to be had */

/* Each state that waits is even, and the state of having been sent from there is the next. */
enum event_state {
    EVENT_WAITS,
    EVENT_SENT,
    EVENT_ALONE_WAITS,
    EVENT_ALONE_SENT,
    EVENT_DEAD_WAITS,
    EVENT_DEAD_SENT,
    EVENT_SHORT_WAITS,
    EVENT_SHORT_SENT,
    EVENT_DONE
};

struct slot {
    struct slot *next; /* in order of arrival; or the next free one */
    struct core_batch *batch;
    uint32_t number;        /* in sink->slots */
    uint32_t cursor;        /* events before it do not wait */
    uint32_t open;          /* events not done */
    uint32_t again_waiting; /* events in EVENT_ALONE_WAITS, EVENT_DEAD_WAITS, EVENT_SHORT_WAITS */
    uint32_t accepted;
    uint32_t dead;
    bool is_blocked;     /* its next event's topic is not ready, or no transaction takes it now */
    bool is_joining;     /* exactly once: no transaction has it yet; counts as one open event */
    bool is_stale;       /* exactly once: goes back unsent */
    uint64_t txn;        /* exactly once: the transaction it joined; 0: none */
    const char *dataset; /* of `topic`: most batches have one. Valid for this batch only */
    struct kafka_topic *topic;
    uint8_t state[CORE_BATCH_LINES_MAX]; /* enum event_state */
    int32_t code[CORE_BATCH_LINES_MAX];  /* why refused */
};

struct kafka_keeper;

struct sink {
    uint32_t magic;
    const struct kafka_conf *conf;
    const struct sink_env *env;
    struct core_kafka_pair *pairs;
    size_t pairs_len;
    struct core_kafka *lanes[KAFKA_LANES]; /* NULL: not made yet, or failed for good and to be made again */
    struct kafka_topics topics;
    struct slot **slots; /* by number; grows to as many as batches ever were here at once */
    uint32_t slots_len;
    struct slot *free_slots;
    struct slot *first; /* in order of arrival */
    struct slot *last;
    uint32_t finished; /* slots in the list with nothing open */
    int64_t hold_ns;   /* core_tick_ns() before which nothing is sent; 0: none */
    int64_t compared_ns;
    bool is_broken; /* the producer failed for good */
    int64_t made_ns;
    int64_t remake_hold_ns;
    char *scratch;
    uint64_t outstanding;        /* records sent and not reported */
    struct kafka_keeper *keeper; /* NULL: at least once */
    struct sink_retries retries;
    struct core_kafka_look look; /* as the last producer saw it, for when there is none */
};

/* Take a batch into the list. False: there are too many. */
CORE_CHECKED bool kafka_slot_add(struct sink *sink, struct core_batch *batch);
/* Send what waits, in order, as far as it goes. */
void kafka_events_send(struct sink *sink, int64_t now);
/* Has every batch that joined been sent? */
bool kafka_events_are_sent(const struct sink *sink);
/* What was sent and not reported waits again: its producer is gone. */
void kafka_events_unsend(struct sink *sink);
/* There are no transactions after all: no batch waits for one. */
void kafka_events_release(struct sink *sink);
/* Every batch goes back unsent. */
void kafka_events_drop(struct sink *sink);
/* Batches with nothing open, none before an earlier one of its stream. */
size_t kafka_events_give(struct sink *sink, struct core_batch **done, size_t max);
void kafka_events_report(struct sink *sink, uint64_t ticket, enum core_kafka_fate fate, int code);
void kafka_event_done(struct sink *sink, struct slot *slot, uint32_t index, uint32_t *tally);
void kafka_event_wait(struct slot *slot, uint32_t index, enum event_state state);
/* The topic of an event in the state it is in; NULL: none can be had. */
struct kafka_topic *kafka_event_topic(struct sink *sink, struct slot *slot, uint32_t index);
void kafka_event_lost(struct sink *sink, const struct slot *slot, uint32_t index, int code);

/* ---- producers (kafka.c) ------------------------------------------------------------------------------------------------------ */

/* Make the lane's producer unless it is there. A failure holds the sink for a while. */
CORE_CHECKED bool kafka_lane_is_made(struct sink *sink, enum kafka_lane lane, int64_t now);
void kafka_lane_close(struct sink *sink, enum kafka_lane lane);
extern const struct core_kafka_calls kafka_calls;

/* ---- health (kafka_health.c) ------------------------------------------------------------------------------------------------ */

int kafka_sink_is_up(const struct sink *sink);
void kafka_sink_health(struct sink *sink, struct core_health_page *page);

/* ---- lines of positions (kafka_positions.c) ------------------------------------------------------------------------------------ */

#define KAFKA_KEY_BYTES_MAX 320

/* One line of text for each generation, the latest. Texts keep their memory when the table is emptied. */
struct kafka_line {
    uint64_t gen;
    char *text; /* NUL-terminated, without '\n' */
    size_t len;
    size_t cap;
    bool is_gone;         /* the key is to be deleted */
    uint64_t order;       /* grows with each put */
    int64_t timestamp_ms; /* when read: the record's */
    uint64_t end;         /* when written: of the batch it came with */
};

struct kafka_lines {
    struct kafka_line *lines;
    size_t len;
    size_t cap;
    uint32_t *index; /* open addressing by gen: place + 1 in lines; 0: free */
    size_t index_cap;
    uint64_t puts;
};

struct kafka_line *kafka_lines_put(struct kafka_lines *lines, uint64_t gen, struct core_span text);
struct kafka_line *kafka_lines_find(const struct kafka_lines *lines, uint64_t gen); /* NULL: not there */
void kafka_lines_clear(struct kafka_lines *lines);
void kafka_lines_free(struct kafka_lines *lines);
/* All that are not gone, in the order of their last put, each with its '\n'. Owns: the caller frees *out. */
void kafka_lines_join(struct kafka_lines *lines, char **out, size_t *len);
/* A batch's lines, as the keeper of positions writes them down: with the stream's tally at the end of a `file` line. */
void kafka_lines_take(struct kafka_lines *lines, const struct core_batch *batch);
/* NODE/GENERATION. Shape: at most KAFKA_KEY_BYTES_MAX with its NUL; returns its length. */
size_t kafka_line_key(const char *node, uint64_t gen, char out[KAFKA_KEY_BYTES_MAX]);

/* Who has the node. */
struct kafka_owner {
    bool is_there;
    uint64_t instance; /* a random number for each sink opened */
    uint64_t txn;      /* the last transaction with batches that it committed */
    int64_t offset;    /* of the record; -1: not read from the topic */
    int partition;
    int64_t timestamp_ms; /* of the record */
    long pid;
    char host[128];
    char version[32];
    char started[32];
};

size_t kafka_owner_key(const char *node, char out[KAFKA_KEY_BYTES_MAX]);
/* What a key of this node says behind NODE and the slash: "owner", or a generation. It points into key. False: another node's. */
CORE_CHECKED bool kafka_key_name(const char *node, struct core_span key, struct core_span *name);
#define KAFKA_OWNER_BYTES_MAX 512
size_t kafka_owner_write(const struct kafka_owner *owner, char out[KAFKA_OWNER_BYTES_MAX]);
CORE_CHECKED bool kafka_owner_parse(struct core_span text, struct kafka_owner *owner);

/* ---- reading positions back (kafka_recover.c) ------------------------------------------------------------------------------------ */

/* One reading of a node's own partition, or, if there is no owner there, of all, at least to where they ended when it
 * began. Zero it, set node, topic and pairs. */
struct kafka_recover {
    const char *node;
    const char *topic;
    const struct core_kafka_pair *pairs;
    size_t pairs_len;
    struct core_kafka_reader *reader;
    struct core_kafka_reader *loose; /* sees what is not committed, too */
    int64_t *written;                /* where each partition ended when this reading began; NULL: not asked yet */
    int64_t ask_ns;  /* it waits for somebody's open transaction, and looks again then; 0: it does not */
    int64_t held_ns; /* since when it waits, or waited, for that; 0: it never did */
    bool is_assigned;
    bool is_all;    /* all partitions are read, not the own alone */
    int partitions; /* 0: not asked yet */
    int partition;  /* the node's own */
    struct kafka_lines lines;
    struct kafka_owner owner;
    int64_t said_ns;
    int64_t said_held_ns;
    /* what is behind the committed records (kafka_left.c) */
    int64_t shown; /* where it begins in the node's own partition */
    bool is_left_assigned;
    struct kafka_owner left; /* the owner record that is the node's last one there */
};

/* Go on for a fraction of a second. Errors: CORE_AGAIN not read to the end yet (brokers away, or a transaction is open in
 * a partition: said now and then; not before ask_ns again) · CORE_GONE no such topic · CORE_BAD the reader cannot be made. */
CORE_CHECKED enum core_err kafka_recover_turn(struct kafka_recover *recover, struct core_fail *why);
/* What is committed in this partition from *from on: is there a record of the node's owner? The last one is recover->owner, if
 * so. *from is moved behind what was read. Takes a second at most, while brokers do not answer. For a reading that is not under
 * way; the reader stays open for the next look. Errors: CORE_AGAIN brokers away, or more to read: look again. */
CORE_CHECKED enum core_err kafka_recover_look(struct kafka_recover *recover, int partition, int64_t *from,
                                              struct core_fail *why);
/* Forget what was read; the next turn begins anew. */
void kafka_recover_end(struct kafka_recover *recover);

/* ---- records that a broker refuses (kafka_blame.c) --------------------------------------------------------------------------------- */

/* Who may be refused (suspects: a span of a generation each) and who is (guilty: records). Bounded: what finds no room is
 * refused again and finds room then. */
struct kafka_blame {
    struct kafka_suspect *suspects;
    size_t suspects_len;
    struct kafka_guilty *guilty;
    size_t guilty_len;
    bool is_about_size; /* every refusal of suspects was */
    bool has_found;     /* one of them was guilty */
};

/* A record of a MessageSet that was refused in company. */
void kafka_blame_suspect(struct kafka_blame *blame, uint64_t gen, uint64_t end, int code);
/* A record that was refused alone: one step smaller the next time. Returns how often it was, this time included. */
unsigned kafka_blame_guilty(struct kafka_blame *blame, uint64_t gen, uint64_t start, int code);
/* How often was it refused alone? 0: never. */
unsigned kafka_blame_of(const struct kafka_blame *blame, uint64_t gen, uint64_t start, int *code);
/* Records of a generation up to end are committed. */
void kafka_blame_acquit(struct kafka_blame *blame, uint64_t gen, uint64_t end, int64_t now);
void kafka_blame_free(struct kafka_blame *blame);

/* ---- transactions (kafka_txn.c) ------------------------------------------------------------------------------------------------------ */

/* NULL where the sink is no keeper of positions: then each of these says what holds without transactions. */
struct kafka_keeper *kafka_keeper_open(struct sink *sink);
void kafka_keeper_close(struct sink *sink);
/* Drive the state machine as far as it goes now. May wait a tenth of a second for a coordinator. */
void kafka_keeper_turn(struct sink *sink, int64_t now);
/* The first moment at which it wants a turn without anything having happened. */
int64_t kafka_keeper_due(const struct sink *sink, int64_t now);
/* A batch has come. False: it is of an older epoch and goes back unsent. */
bool kafka_keeper_takes(struct kafka_keeper *keeper, const struct core_batch *batch);
/* May records be sent now? */
bool kafka_keeper_sends(const struct sink *sink);
/* May the transaction take this batch? If so it has: a transaction is begun, tally and position are noted. */
CORE_CHECKED bool kafka_keeper_admits(struct sink *sink, struct slot *slot, int64_t now);
/* A record of the transaction was not accepted. */
void kafka_keeper_failed(struct sink *sink, struct slot *slot, uint32_t index, enum core_kafka_fate fate, int code);
/* What became of a position or the owner record. offset: where it stands, if accepted. */
void kafka_keeper_reported(struct sink *sink, enum core_kafka_fate fate, int code, int64_t offset);
/* A batch goes back: with the number of its transaction. */
void kafka_keeper_gives(struct sink *sink, const struct slot *slot);
bool kafka_keeper_is_gone(const struct sink *sink, struct core_fail *fail);
void kafka_keeper_flush(struct sink *sink);
/* Before the producer is closed, which aborts what is open: what must not be aborted comes to its end, if brokers answer soon. */
void kafka_keeper_rest(struct sink *sink);

#endif
