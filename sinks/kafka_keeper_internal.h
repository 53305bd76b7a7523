/* sinks/kafka_keeper_internal.h: what the state machine of transactions (kafka_txn.c) and what a transaction holds
 * (kafka_keeper.c) share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SINKS_KAFKA_KEEPER_INTERNAL_H
#define TAPLINE_SINKS_KAFKA_KEEPER_INTERNAL_H

#include "sinks/kafka_internal.h"

enum keeper_state {
    KEEPER_MAKE,
    KEEPER_INIT,
    KEEPER_TOPIC,
    KEEPER_READ,
    KEEPER_READY, /* no transaction is open */
    KEEPER_OPEN,
    KEEPER_CLOSING,
    KEEPER_COMMIT,
    KEEPER_ABORT,
    KEEPER_PROBE, /* one without batches: kafka_keeper_probe(), kafka_keeper_sweep(), kafka_keeper_unhide() */
    KEEPER_WATCH, /* there is no producer; perhaps another process has the node */
    KEEPER_GONE,
    KEEPER_OFF /* as at_least_once; the keeper is let go of at once */
};

/* Is there something to abort that a lost transaction may have left open? */
enum keeper_sweep { KEEPER_SWEEP_NONE, KEEPER_SWEEP_BEGUN, KEEPER_SWEEP_WAITS };

struct kafka_keeper {
    enum keeper_state state;
    struct core_commit *commit;
    const char *node;
    struct kafka_shape shape;
    struct kafka_owner owner;      /* ours */
    struct kafka_owner owner_seen; /* as last read */
    struct kafka_recover recover;
    struct kafka_blame blame;
    struct kafka_topic *topic; /* of positions */
    struct kafka_topic *probe; /* the one that is tried; NULL: it was judged */
    int partition;             /* ours there */
    int64_t missing_ns;        /* since when brokers say that the topic of positions is not there; 0: they do not */
    bool has_read;             /* owner_seen is what was read */
    bool is_recovered;         /* positions were handed over */

    /* the transaction */
    uint64_t txn;         /* number of the last one with batches */
    uint64_t committed;   /* number of the last one that was committed */
    bool is_under_way;    /* one with batches is open, or what became of it is not known */
    bool is_commit_asked; /* its commit was asked for: it may be done, whatever is answered, until an abort is */
    bool is_claim;        /* it holds no batches */
    bool is_failed;       /* it can only be aborted */
    bool is_blamed;       /* it is known why: no rest before the next one */
    bool is_idle;         /* nothing more came for a while */
    bool is_about_topic;  /* it failed because a topic may not be written */
    bool is_abort_said;
    bool is_sweep;          /* PROBE: it is a sweep */
    bool is_unhiding;       /* PROBE: it is kafka_keeper_unhide()'s */
    bool is_unhidden;       /* kafka_keeper_unhide() was done with this producer */
    bool is_left_whole;     /* PROBE: it is committed, not aborted */
    int64_t sweep_until_ns; /* when it is given up; 0: not tried yet */
    uint64_t sweep_txn;     /* the transaction that was lost with its producer; 0: none */
    int64_t begun_ns;
    int64_t committed_ns;
    uint64_t joined;
    uint64_t bytes;
    uint64_t accepted;
    uint64_t dead;
    uint64_t last_gen; /* of the last batch that joined, and where it ends */
    uint64_t last_end;
    struct kafka_lines lines; /* positions to send */
    size_t lines_sent;
    bool is_owner_sent;
    char failure[256];

    unsigned failures; /* in a row */
    int64_t hold_ns;   /* nothing is begun before */
    int64_t watch_until_ns;
    int64_t said_ns;
    int64_t look_ns;   /* READY: when it is looked whether another process has the node */
    int64_t look_from; /* from which offset of our partition on: what we wrote last is before it */
    struct core_fail gone;
    bool is_fenced;     /* the last producer was shut out, and no other one has begun */
    char lost_why[768]; /* with is_fenced */
};

/* A transaction with the owner record, and with lines that stood in another partition. */
void kafka_keeper_claim(struct sink *sink, int64_t now);
/* Send positions and owner. True: all are sent. */
CORE_CHECKED bool kafka_keeper_send_positions(struct sink *sink);
/* The transaction under way was committed. */
void kafka_keeper_committed(struct sink *sink, int64_t now);
/* Is another shape of producer wanted? If so it is written into keeper->shape. */
CORE_CHECKED bool kafka_keeper_reshape(struct sink *sink);
/* A topic may not be written, and librdkafka does not say which: every topic of the transaction is tried alone. */
void kafka_keeper_suspect_topics(struct sink *sink);
/* Begin to try the next one. False: there is none. */
CORE_CHECKED bool kafka_keeper_probe(struct sink *sink, int64_t now);
/* A broker that is killed can lose the marks that end a transaction. Its records then wait in the partition for the next
 * mark of this producer's id, and a commit would commit them, too. So when a producer was lost, the first mark is an abort:
 * a transaction with one record for each partition of the topics that the lost one wrote. False: nothing to do. */
CORE_CHECKED enum keeper_sweep kafka_keeper_sweep(struct sink *sink, int64_t now);
/* What hides our positions may be a transaction of our own, whose end the broker lost: nobody else would ever end that. Once
 * for each producer, when positions have been hidden for some seconds: a record in our partition that means nothing, committed
 * if what is left there was, else aborted. False: not so, or not yet. */
CORE_CHECKED bool kafka_keeper_unhide(struct sink *sink, int64_t now);
/* A transaction begins; what is known of the last one is forgotten. */
CORE_CHECKED bool kafka_keeper_begin(struct sink *sink, int64_t now);
/* A record that says nothing, for the mark that follows it; partition -1: any. Nobody is to see it in a topic of documents: its
 * transaction is aborted. */
void kafka_keeper_send_unseen(struct sink *sink, struct kafka_topic *topic, struct core_span key, int partition);
/* What came of it, when it was reported. code: why the transaction must be aborted; 0: it need not. */
void kafka_keeper_probed(struct sink *sink, int code, int64_t now);

#endif
