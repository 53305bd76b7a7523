/* cmd/ledger_internal.h: the parts of `tapline ledger`: rows and sums (ledger_rows.c), Zeek's counters (ledger_zeek.c), the
 * look that is repeated (ledger_watch.c), the feeders' rows (ledger_feed.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_LEDGER_INTERNAL_H
#define TAPLINE_CMD_LEDGER_INTERNAL_H

#include "cmd/cmd.h"
#include "cmd/config.h"
#include "cmd/proof.h"
#include "cmd/zeek_counts.h"

/* ---- rows (ledger_rows.c) ------------------------------------------------------------------------------------------------- */

#define LEDGER_LOG_BYTES_MAX 128
#define LEDGER_LOGS_MAX 1024

struct ledger_row {
    uint64_t gen;
    char *path;
    char *first_path;
    uint64_t begin, from, pos;
    struct core_tally tally;
    int64_t mtime_ns;
    bool is_over;
    int64_t over_ns;
    bool is_in_topics;  /* the topics were looked at, and have a position of it: */
    uint64_t in_topics; /* its records there */
};

struct ledger_sum {
    char log[LEDGER_LOG_BYTES_MAX]; /* "conn"; "" for all of them */
    uint64_t files;
    struct core_tally tally;
    uint64_t in_topics;
};

struct ledger_book {
    struct ledger_row *rows; /* one a generation: first those that are over, oldest first */
    size_t len, cap;
    size_t *table; /* index + 1 by gen; open addressing */
    size_t table_cap;
    int64_t oldest_over_ns; /* of all rows, also of those left out; INT64_MAX: none is over */
    bool is_cut;            /* older rows than these were there once */
};

/* What the node's state directory says; since_ns: rows of files that were over before are left out (0: none is).
 * Errors: CORE_IO, CORE_BAD. Owns: ledger_book_release(), also after an error. */
CORE_CHECKED enum core_err ledger_book_read(struct ledger_book *book, const char *state_dir, int64_t since_ns,
                                            struct core_fail *fail);
/* Add what the topics say: how many records of a row are there; and generations that only they know. */
void ledger_book_add_topics(struct ledger_book *book, const struct proof *proof);
void ledger_book_release(struct ledger_book *book); /* zeroes it */
/* Sums by log, in the order they come, and of all. Returns the number of logs; those past the last slot are in `all` only. */
size_t ledger_sums(const struct ledger_book *book, struct ledger_sum sums[LEDGER_LOGS_MAX], struct ledger_sum *all);
/* Records that were read and are none of the four; negative: more came out than went in. */
int64_t ledger_difference(const struct core_tally *tally);
bool ledger_row_is_wrong(const struct ledger_row *row);

/* ---- Zeek (ledger_zeek.c) -------------------------------------------------------------------------------------------------- */

#define LEDGER_ZEEK_MAX 64 /* inputs with metrics_url */
#define LEDGER_ZEEK_WAIT_NS (30 * CORE_NS_PER_S)

/* What one log of one Zeek came to. */
struct ledger_zeek_log {
    char log[ZEEK_LOG_BYTES_MAX];
    uint64_t written; /* by Zeek, as it said at the look */
    uint64_t read;    /* by us, of files of that process, when last judged */
    enum ledger_zeek_state {
        LEDGER_ZEEK_SAME,      /* all that was written has been read */
        LEDGER_ZEEK_UNDER_WAY, /* not all, but it is not long since */
        LEDGER_ZEEK_MISSING,
        LEDGER_ZEEK_EXTRA,  /* more was read than written */
        LEDGER_ZEEK_UNKNOWN /* reading began in the middle of a file, or the ledger does not reach back far enough */
    } state;
    bool was_wrong; /* at the look before; counts while this one is under way */
};

/* One Zeek process and what it said when it was last asked. */
struct ledger_zeek {
    const struct ingest_input *input;
    struct zeek_counts counts;
    int64_t looked_tick;
    struct ledger_zeek_log logs[ZEEK_LOGS_MAX]; /* of the last look that was answered */
    size_t logs_len;
    struct ledger_zeek_log old[ZEEK_LOGS_MAX]; /* of the one before */
};

/* Ask a Zeek process. before: rows read before it is asked. Errors: as core_http_get(); CORE_BAD it is no Zeek's answer, or
 * says no time of its start. */
CORE_CHECKED enum core_err ledger_zeek_look(struct ledger_zeek *zeek, const struct ledger_book *before,
                                            struct core_fail *fail);
/* Compare what it said with rows read since. True: some logs are under way; judge again later. */
bool ledger_zeek_judge(struct ledger_zeek *zeek, const struct ledger_book *book);
bool ledger_zeek_is_wrong(const struct ledger_zeek_log *log);
extern const char *const ledger_zeek_state_names[];

/* ---- the command (ledger.c, ledger_watch.c) ---------------------------------------------------------------------------------- */

struct ledger {
    const struct cmd *cmd;
    struct config *config; /* NULL: --state */
    const char *state_dir;
    int64_t since_ns;
    int64_t watch_ns; /* 0: look once */
    bool is_json;
    bool with_topics;
    bool is_feed;
    struct sink_kafka_places places;
    struct proof *proof; /* NULL: without topics */
    struct proof_verdict verdict;
    struct ledger_zeek *zeeks; /* LEDGER_ZEEK_MAX */
    size_t zeeks_len;
};

/* ---- what a search engine has (ledger_feed.c) --------------------------------------------------------------------------------- */

/* `tapline ledger --feed`: the rows of feeders against the records of the topics. Returns the exit code. */
int ledger_feed(const struct cmd *cmd, const char *path, bool is_json, int64_t since_ns);

/* Look again and again until a signal. Returns the exit code. */
int ledger_watch(struct ledger *ledger);

#endif
