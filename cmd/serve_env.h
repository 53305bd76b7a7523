/* cmd/serve_env.h: what Main is told by who knows the other folders: was a file delivered, what does Zeek's telemetry say.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_SERVE_ENV_H
#define TAPLINE_CMD_SERVE_ENV_H

#include "core/json.h"
#include "supervisor/serve.h"

/* Owns: its own things; serve_known_new(), then _free(). Thread: any; calls wait for each other. */
struct serve_known;
struct serve_known *serve_known_new(void);        /* never NULL (MUST) */
void serve_known_free(struct serve_known *known); /* takes NULL */
/* Where `tapline run` keeps its checkpoint and ledger (node.state); NULL: nothing is known, and nothing was delivered. */
void serve_known_set_state(struct serve_known *known, const char *state_dir);
/* The same back; NULL: none. */
const char *serve_known_state(void *known);
/* As struct serve_env has it. Yes only if the file is one that `tapline run` knows by device, inode and time of birth (by its
 * path where the file system tells no birth), read from its beginning, with every byte accepted but for comment lines at its
 * end; or a .gz that it finished, unchanged since. */
bool serve_known_is_delivered(void *known, const char *path);
/* As struct serve_env has it: received, dropped, link, filtered, received_bytes, those that Zeek tells. Errors: CORE_NET nobody
 * answers at metrics_url · CORE_BAD it is not Zeek's telemetry, or has no counters of packets. */
CORE_CHECKED enum core_err serve_known_netstats(void *known, const struct sensors_node *node, struct core_buf *out,
                                                struct core_fail *fail);
/* The counters alone, out of the text of /metrics. Errors: CORE_BAD. */
CORE_CHECKED enum core_err serve_netstats_read(const char *text, const char *where, struct core_buf *out,
                                               struct core_fail *fail);

#endif
