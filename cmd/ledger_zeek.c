/* cmd/ledger_zeek.c: the ledger against Zeek's own counters of what it has written.
 *
 * Zeek counts a record when it gives it to the writer, so at any moment: records we have read of the process's files <=
 * records it has written, and the difference is under way (its buffers, the file, ours). How far behind we are is no
 * fault; what counts is time: all that Zeek said it had written must have been read LEDGER_ZEEK_WAIT_NS later, else it is
 * missing. And we can never have read more before a look than Zeek says at that look, unless records are doubled or files
 * of another process are taken for this one's. Both hold under any load, and both need no clock but ours.
 *
 * Which files are this process's: those whose input names it, of that log, that were not there or not written to any more
 * when it started (their time when first seen is not before its start). Zeek begins each file anew.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/ledger_internal.h"
#include "core/http.h"

#include <fnmatch.h>
#include <stdlib.h>

#define LOOK_TIMEOUT_MS 5000
#define START_SLACK_NS                                                                                                 \
    CORE_NS_PER_S /* Linux tells the time of its boot, which the start is counted from, in whole seconds */

const char *const ledger_zeek_state_names[] = {
    [LEDGER_ZEEK_SAME] = "same",      [LEDGER_ZEEK_UNDER_WAY] = "under_way", [LEDGER_ZEEK_MISSING] = "missing",
    [LEDGER_ZEEK_EXTRA] = "too_many", [LEDGER_ZEEK_UNKNOWN] = "unknown",
};

bool ledger_zeek_is_wrong(const struct ledger_zeek_log *log) {
    return log->state == LEDGER_ZEEK_MISSING || log->state == LEDGER_ZEEK_EXTRA ||
           (log->was_wrong && log->state == LEDGER_ZEEK_UNDER_WAY);
}

static bool is_of_input(const struct ingest_input *input, const char *path) {
    for (size_t i = 0; i < input->paths.len; i++) {
        if (fnmatch(input->paths.items[i].value, path, FNM_PATHNAME) == 0) {
            return true;
        }
    }
    return false;
}

/* Records read of this process's files of a log. False: that cannot be known. */
static bool log_read(const struct ledger_zeek *zeek, const struct ledger_book *book, const char *log, uint64_t *read) {
    int64_t start_ns = zeek->counts.start_ns;
    /* rows are written in the order of time: one from before the start shows that none since is cut off */
    bool is_known = !book->is_cut || book->oldest_over_ns <= start_ns;
    *read = 0;
    for (size_t i = 0; i < book->len; i++) {
        const struct ledger_row *row = &book->rows[i];
        if (row->mtime_ns + START_SLACK_NS >= start_ns && core_span_is(zeek_log_of(row->first_path), log) &&
            is_of_input(zeek->input, row->first_path)) {
            *read += row->tally.records;
            is_known = is_known && row->begin == 0;
        }
    }
    return is_known;
}

static void logs_fill(struct ledger_zeek *zeek, const struct ledger_book *before) {
    size_t old_len = zeek->logs_len;
    memcpy(zeek->old, zeek->logs, old_len * sizeof zeek->old[0]);
    zeek->logs_len = zeek->counts.len;
    for (size_t i = 0; i < zeek->counts.len; i++) {
        struct ledger_zeek_log *log = &zeek->logs[i];
        log->was_wrong = false;
        for (size_t j = 0; j < old_len && !log->was_wrong; j++) {
            log->was_wrong =
                strcmp(zeek->old[j].log, zeek->counts.logs[i].log) == 0 && ledger_zeek_is_wrong(&zeek->old[j]);
        }
        memcpy(log->log, zeek->counts.logs[i].log, sizeof log->log);
        log->written = zeek->counts.logs[i].writes;
        log->state = LEDGER_ZEEK_UNDER_WAY;
        if (!log_read(zeek, before, log->log, &log->read)) {
            log->state = LEDGER_ZEEK_UNKNOWN;
        } else if (log->read > log->written) {
            log->state = LEDGER_ZEEK_EXTRA;
        }
    }
}

enum core_err ledger_zeek_look(struct ledger_zeek *zeek, const struct ledger_book *before, struct core_fail *fail) {
    const char *url = zeek->input->metrics_url;
    char *text = NULL;
    size_t len = 0;
    enum core_err err = core_http_get(url, LOOK_TIMEOUT_MS, ZEEK_TEXT_BYTES_MAX, &text, &len, fail);
    if (err == CORE_OK) {
        err = zeek_counts_read(&zeek->counts, text, url, fail);
    }
    free(text);
    if (err == CORE_OK && zeek->counts.start_ns == 0) {
        err =
            core_fail_set(fail, CORE_BAD, url,
                          "it does not say when the process started (Zeek 7 and later do: process_start_time_seconds), "
                          "so its counters cannot be held against files");
    }
    if (err == CORE_OK) {
        zeek->looked_tick = core_tick_ns();
        logs_fill(zeek, before);
    }
    return err;
}

bool ledger_zeek_judge(struct ledger_zeek *zeek, const struct ledger_book *book) {
    bool is_late = core_tick_ns() - zeek->looked_tick >= LEDGER_ZEEK_WAIT_NS;
    bool is_under_way = false;
    for (size_t i = 0; i < zeek->logs_len; i++) {
        struct ledger_zeek_log *log = &zeek->logs[i];
        if (log->state != LEDGER_ZEEK_UNDER_WAY || !log_read(zeek, book, log->log, &log->read)) {
            continue;
        }
        if (log->read >= log->written) {
            log->state = LEDGER_ZEEK_SAME;
        } else if (is_late) {
            log->state = LEDGER_ZEEK_MISSING;
        }
        is_under_way = is_under_way || log->state == LEDGER_ZEEK_UNDER_WAY;
    }
    return is_under_way;
}
