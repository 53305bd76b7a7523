/* core/commit.h: what ingest and the keeper of positions tell each other.
 *
 * With exactly-once delivery the positions of the files travel with the records, in one transaction, so one sink (the last in
 * the row: the others have accepted a batch before it) is their keeper, and a batch that comes back is delivered but not
 * accepted yet. The keeper gives it back with the number of its transaction; when that is committed, or comes to nothing,
 * it says so here:
 *
 *   committed >= batch->txn     the batch is accepted: ingest moves the accepted mark and the local checkpoint
 *   epoch > batch->epoch        the transaction was aborted: nothing since the last commit counts. Ingest stops reading, waits
 *                               until every batch is back (the keeper gives back batches of an older epoch unsent, with
 *                               txn 0), rewinds every file to its accepted mark and reads on, in the new epoch
 *
 * The keeper never has two transactions under way, and never raises `committed` over an aborted number: ingest looks at
 * epoch first, and drops what it holds of that transaction, before it makes a batch that a later one could commit.
 *
 * Positions are lines of text that only ingest understands. The keeper writes a batch's line under the key NODE/GENERATION,
 * adding what it alone knows; at start it hands over all lines of the node. A line begins with a word and the generation:
 *
 *   file gen=0123456789abcdef …       where a file stands; the keeper adds " from=N records=N events=N dead=N dropped=N
 *                                     lost=N" (batch->open_from and stream->tally, this batch included)
 *   over gen=0123456789abcdef …       a file that is finished and forgotten; written as it is, for verify and ledger
 *   gone gen=0123456789abcdef         nothing is to be remembered: the key is deleted
 *
 * A batch of records has one `file` line. A batch without records may have several `over` and `gone` lines; its stream
 * belongs to no file. Each line ends with '\\n'.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_COMMIT_H
#define TAPLINE_CORE_COMMIT_H

#include "core/queue.h"

enum core_commit_state {
    CORE_COMMIT_WAITS,     /* the keeper has not heard from its server: ingest reads nothing */
    CORE_COMMIT_RECOVERED, /* positions are there; reading begins */
    CORE_COMMIT_OFF /* the server has no transactions: batches come back with txn 0, the local checkpoint counts */
};

/* One for a pipeline with a keeper; it outlives both. */
struct core_commit {
    _Atomic int state; /* enum core_commit_state; written by the keeper once */
    /* Valid from RECOVERED on. Owns: malloc'ed by the keeper, freed by ingest when it took them. */
    char *positions;
    size_t positions_len;
    _Atomic uint64_t committed; /* written by the keeper, always before it gives back a batch of a later transaction */
    _Atomic uint64_t epoch;     /* written by the keeper: one more for each abort */
    struct core_bell *bell;     /* ingest's; rung by the keeper after each change */
    /* Written by ingest's thread: all there is to read is under way (--once), or no more is read (a stop). When nothing more
     * comes, the keeper commits at once and does not wait for company. */
    _Atomic bool is_ending;
};

#endif
