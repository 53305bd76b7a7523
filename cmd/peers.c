/* cmd/peers.c: which processes of this host can be spoken to: their sockets, found by the configuration.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/peers.h"
#include "cmd/config.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char suffix[] = ".sock";
#define SUFFIX_LEN (sizeof(suffix) - 1)

static bool is_socket(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

static void take(struct peer *peers, size_t *len, const char *name, size_t name_len, const char *path) {
    if (*len == PEERS_MAX || name_len >= PEER_NAME_BYTES || strlen(path) >= PEER_ADDRESS_BYTES || !is_socket(path)) {
        return; /* no socket of ours has such a name or path: it could not be bound */
    }
    struct peer *peer = &peers[(*len)++];
    (void)snprintf(peer->name, sizeof(peer->name), "%.*s", (int)name_len, name);
    (void)snprintf(peer->address, sizeof(peer->address), "%s", path);
}

static int is_ours(const struct dirent *entry) {
    size_t len = strlen(entry->d_name);
    return len > SUFFIX_LEN && strcmp(entry->d_name + len - SUFFIX_LEN, suffix) == 0;
}

static void take_state(struct peer *peers, size_t *len, const char *state) {
    struct dirent **found = NULL;
    int found_len = scandir(state, &found, is_ours, alphasort);
    for (int i = 0; i < found_len; i++) {
        char path[PATH_MAX];
        const char *name = found[i]->d_name;
        if (snprintf(path, sizeof(path), "%s/%s", state, name) < (int)sizeof(path)) {
            take(peers, len, name, strlen(name) - SUFFIX_LEN, path);
        }
        free(found[i]);
    }
    free(found);
}

/* The rows of a section of the configuration. */
static const struct config_section *section(const char *name) {
    size_t len = 0;
    const struct config_section *sections = config_sections(&len);
    size_t i = 0;
    while (i < len && strcmp(sections[i].name, name) != 0) {
        i++;
    }
    MUST(i < len); /* there is such a section */
    return &sections[i];
}

/* Section serve without its secrets: who may speak to a process need not be able to read them. */
static enum core_err serve_bind(const struct core_conf_file *file, struct serve_conf *serve,
                                struct core_conf_mistakes *mistakes) {
    struct core_opt *rows = calloc(serve_opts_len, sizeof(*rows));
    MUST(rows != NULL);
    for (size_t i = 0; i < serve_opts_len; i++) {
        rows[i] = serve_opts[i];
        rows[i].is_secret = false;
    }
    enum core_err err = core_conf_bind(file, core_conf_get(core_conf_root(file), "serve"), "serve", rows,
                                       serve_opts_len, serve, mistakes);
    free(rows);
    return err;
}

enum core_err peers_find(const char *path, struct peer peers[PEERS_MAX], size_t *len, struct core_fail *fail) {
    struct core_conf_file *file = NULL;
    struct core_conf_mistakes mistakes = {0}; /* not ours to tell: `tapline check` does */
    struct config_node node = {0};
    struct serve_conf serve = {0};
    const struct config_section *node_rows = section("node");
    enum core_err err = core_conf_open(&file, path == NULL ? "/dev/null" : path, fail);
    *len = 0;
    if (err != CORE_OK) {
        return err;
    }
    const struct core_conf_node *root = core_conf_root(file);
    enum core_err wrong CORE_UNUSED = CORE_OK;
    wrong = core_conf_bind(file, core_conf_get(root, "node"), "node", node_rows->opts, node_rows->opts_len, &node,
                           &mistakes);
    wrong = serve_bind(file, &serve, &mistakes);
    if (node.state != NULL) {
        take_state(peers, len, node.state);
    }
    if (serve.socket != NULL) {
        take(peers, len, "serve", strlen("serve"), serve.socket);
    }
    if (serve.supervisor_socket != NULL) {
        take(peers, len, "supervise", strlen("supervise"), serve.supervisor_socket);
    }
    core_conf_release(node_rows->opts, node_rows->opts_len, &node);
    core_conf_release(serve_opts, serve_opts_len, &serve);
    core_conf_close(file);
    return CORE_OK;
}
