/* cmd/zeek_counts.h: what a Zeek process says it has written, log by log: its telemetry as text (Prometheus' format).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_ZEEK_COUNTS_H
#define TAPLINE_CMD_ZEEK_COUNTS_H

#include "core/core.h"

#define ZEEK_LOGS_MAX 1024                  /* paths of logs in one process */
#define ZEEK_TEXT_BYTES_MAX (16 * CORE_MIB) /* of an answer */
#define ZEEK_LOG_BYTES_MAX 128

struct zeek_counts {
    int64_t start_ns; /* when the process began; 0: not told (Zeek before 7) */
    size_t len;
    struct zeek_count {
        char log[ZEEK_LOG_BYTES_MAX]; /* "conn": the path's last part */
        uint64_t writes;              /* records given to writers of files since then */
    } logs[ZEEK_LOGS_MAX];
};

/* Take the counters out of the text of /metrics: zeek_log_writer_writes_total by path, summed over filters, of the ASCII
 * writer alone (it is the one that writes files), and process_start_time_seconds.
 * Shape:   counts is filled anew; other metrics and comments are passed over.
 * Errors:  CORE_BAD it has no such counter: not Zeek's, or no log was written yet · CORE_LIMIT too many logs. where is
 *          the URL that fail is to name.
 * Thread:  any.        Source: Prometheus' text exposition format 0.0.4; Zeek's telemetry reference, 6 to 8. */
CORE_CHECKED enum core_err zeek_counts_read(struct zeek_counts *counts, const char *text, const char *where,
                                            struct core_fail *fail);
/* The log's row, or NULL. */
const struct zeek_count *zeek_counts_find(const struct zeek_counts *counts, struct core_span log);
/* The name of a log by its file's path: what the last part has before its first '.': "conn" for
 * /logs/2026-11-21/conn.03:00:00-04:00:00.log.gz. */
struct core_span zeek_log_of(const char *path);

#endif
