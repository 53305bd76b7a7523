/* cmd/pipeline_control.c: the control socket of `tapline run` and `tapline feed`: <node.state>/run.sock or feed-N.sock.
 *
 * Main, `tapline top` and `tapline tap` ask here how the pipeline is and what passes it; there is always one, whether or not
 * the file has section `health:`. Nothing depends on it: where it cannot be had the pipeline goes on without. It is main's, and
 * main touches no batch, so nobody who asks can hold one up.
 *
 * What passes is what sensors saw, so only root, this user and the members of the group may speak (core/rpc.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pipeline_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#define CONTROL_GROUP "tapline" /* serve.group's default: that section's own is not read here, for its secrets */
#define HEALTH_BYTES_MAX CORE_HEALTH_DOCUMENT_BYTES

static void health_call(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct pipeline *pipeline = ctx;
    (void)params;
    char *bytes = malloc(HEALTH_BYTES_MAX);
    MUST(bytes != NULL);
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + HEALTH_BYTES_MAX};
    core_health_document(pipeline->health, &out);
    if (out.is_full) {
        core_rpc_refuse(request, CORE_RPC_FAILED, "the answer would be longer than a message may be; /metrics has all");
    } else {
        core_rpc_result(request, core_buf_written(&out));
    }
    free(bytes);
}

static const struct core_rpc_method methods[] = {
    {"health", "{}: the health document: what this process knows of itself.", health_call},
    {"log.level", CORE_RPC_LOG_LEVEL, core_rpc_log_level},
    {"tap", "{stage, …}: what passes there, as progress, until the connection ends.", pipeline_tap_call},
};

void pipeline_control_begin(struct pipeline *pipeline) {
    char name[32] = "run";
    if (pipeline->options.kind == PIPELINE_FEED) {
        (void)snprintf(name, sizeof(name), "feed-%u", pipeline->instance);
    }
    size_t room = strlen(pipeline->state) + sizeof(name) + sizeof("/.sock");
    char *path = malloc(room);
    MUST(path != NULL);
    (void)snprintf(path, room, "%s/%s.sock", pipeline->state, name);
    const struct core_rpc_server_conf conf = {.service = pipeline->source->stage,
                                              .version = TAPLINE_VERSION,
                                              .path = path,
                                              .group = core_rpc_group_if_ours(CONTROL_GROUP),
                                              .inherited_fd = -1,
                                              .methods = methods,
                                              .methods_len = sizeof(methods) / sizeof(methods[0]),
                                              .ctx = pipeline};
    struct core_fail fail = {0};
    if (core_rpc_server_new(&pipeline->control, pipeline->loop, &conf, &fail) != CORE_OK) {
        core_log(CORE_LEVEL_WARN, pipeline->source->stage, "no control socket, going on without",
                 "path=%s reason=\"%s\" hint=\"tapline top, tapline tap and the page of tapline serve cannot ask this "
                 "process; a node.state with a path of at most %zu bytes on a local disk can have one\"",
                 path, fail.text, sizeof((struct sockaddr_un){0}.sun_path) - sizeof(name) - sizeof("/.sock"));
        pipeline->control = NULL;
    }
    free(path);
}

void pipeline_control_end(struct pipeline *pipeline) {
    pipeline_tap_end(pipeline);
    core_rpc_server_free(pipeline->control, false);
    pipeline->control = NULL;
    pipeline_tap_free(pipeline);
}
