/* cmd/peers.h: the processes of this host that answer on a control channel, as a configuration tells where they are.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CMD_PEERS_H
#define TAPLINE_CMD_PEERS_H

#include "core/core.h"

#define PEERS_MAX 64
#define PEER_NAME_BYTES 64
#define PEER_ADDRESS_BYTES 256

struct peer {
    char name[PEER_NAME_BYTES]; /* "run", "feed-0", "intel-sync"; "serve" and "supervise" */
    char address[PEER_ADDRESS_BYTES];
};

/* Sockets that are there: `*.sock` in node.state by their names' order, then serve.socket and serve.supervisor_socket. That one is
 * there does not say that somebody answers. path: of a configuration; NULL: what a configuration says that says nothing. Only
 * these keys are looked at, and no secret: it works while somebody is at work on the rest.
 * Shape: *len of at most PEERS_MAX. Errors: CORE_IO, CORE_BAD of the file. */
CORE_CHECKED enum core_err peers_find(const char *path, struct peer peers[PEERS_MAX], size_t *len,
                                      struct core_fail *fail);

#endif
