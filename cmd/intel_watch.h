/* cmd/intel_watch.h: `tapline intel sync --watch` as a process that tells how it is: its board, /metrics, health log, and its
 * control socket, <node.state>/intel-sync.sock.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_INTEL_WATCH_H
#define TAPLINE_CMD_INTEL_WATCH_H

#include "cmd/intel.h"

struct intel_watch;

/* Read what the file says of node, health and log, and begin. feeds outlives it. Owns: intel_watch_free(). Returns NULL with
 * *exit_code if the file is wrong there, said on stderr; a port or a socket that cannot be had is only said. */
CORE_CHECKED struct intel_watch *intel_watch_new(struct intel *intel, const struct enrich_feed_conf *const *feeds,
                                                 size_t feeds_len, int *exit_code);
/* Answer who asks: from within a sync, as often as one likes. Takes NULL. */
void intel_watch_pump(struct intel_watch *watch);
/* The same for so long; a signal ends it. */
void intel_watch_wait(struct intel_watch *watch, int64_t ns);
/* What became of a feed. */
void intel_watch_synced(struct intel_watch *watch, size_t feed, enum core_err err,
                        const struct enrich_sync_report *report);
void intel_watch_free(struct intel_watch *watch); /* takes NULL */

#endif
