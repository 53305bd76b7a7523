/* core/rpc_auth.c: who is at the other end, and may they speak.
 *
 * Over a Unix socket the kernel says who connected, with the groups they had then. Users' names are looked up in /etc/passwd
 * only: a directory service that does not answer must not stop whoever watches over sensors.
 * Source: unix(7), SO_PEERCRED; socket(7), SO_PEERGROUPS.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/rpc_internal.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AUTH_GROUP_BYTES 4096 /* at first; of a group with its members */
#define AUTH_PASSWD_BYTES 1024

enum core_err rpc_auth_group(const char *name, gid_t *out, struct core_fail *fail) {
    struct group entry;
    struct group *found = NULL;
    size_t cap = AUTH_GROUP_BYTES;
    char *text = NULL;
    int error = 0;
    do {
        free(text);
        text = malloc(cap);
        MUST(text != NULL);
        error = getgrnam_r(name, &entry, text, cap, &found);
        cap *= 2;
    } while (error == ERANGE && cap <= CORE_MIB);
    const gid_t group = found == NULL ? (gid_t)-1 : entry.gr_gid;
    free(text);
    if (found == NULL) {
        return core_fail_set(fail, CORE_BAD, name,
                             "there is no such group, whose members might speak to tapline; make it (groupadd --system "
                             "%s) or name another",
                             name);
    }
    *out = group;
    return CORE_OK;
}

const char *core_rpc_group_if_ours(const char *group) {
    struct core_fail fail;
    gid_t id = (gid_t)-1;
    if (group == NULL || rpc_auth_group(group, &id, &fail) != CORE_OK) {
        return NULL;
    }
    bool is_ours = geteuid() == 0 || getegid() == id;
    int len = getgroups(0, NULL);
    gid_t *groups = calloc(len > 0 ? (size_t)len : 1, sizeof(*groups));
    MUST(groups != NULL);
    len = getgroups(len, groups);
    for (int i = 0; i < len; i++) {
        is_ours = is_ours || groups[i] == id;
    }
    free(groups);
    return is_ours ? group : NULL;
}

/* " (ann)", from a line like ann:x:1000:1000::/home/ann:/bin/sh; empty if there is none. */
static void user_name(uid_t uid, char *out, size_t out_len) {
    char line[AUTH_PASSWD_BYTES];
    FILE *file = fopen("/etc/passwd", "re");
    out[0] = '\0';
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char *password = strchr(line, ':');
        const char *number = password == NULL ? NULL : strchr(password + 1, ':');
        char *end = NULL;
        if (number == NULL || strtoul(number + 1, &end, 10) != uid || end == number + 1 || *end != ':') {
            continue;
        }
        *password = '\0';
        (void)snprintf(out, out_len, " (%s)", line);
        break;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

static bool is_in_group(int fd, gid_t primary, gid_t group) {
    if (group == (gid_t)-1) {
        return false;
    }
    if (primary == group) {
        return true;
    }
    socklen_t len = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE || len == 0) {
        return false; /* it has none */
    }
    gid_t *groups = malloc(len);
    MUST(groups != NULL);
    bool is_in = false;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) == 0) {
        for (size_t i = 0; i < len / sizeof(gid_t); i++) {
            is_in = is_in || groups[i] == group;
        }
    }
    free(groups);
    return is_in;
}

bool rpc_auth_peer(int fd, gid_t group, char who[RPC_WHO_BYTES]) {
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0) {
        (void)snprintf(who, RPC_WHO_BYTES, "somebody that the kernel does not name");
        return false;
    }
    char name[RPC_WHO_BYTES / 2];
    user_name(peer.uid, name, sizeof(name));
    (void)snprintf(who, RPC_WHO_BYTES, "uid %u%s, pid %d", (unsigned)peer.uid, name, (int)peer.pid);
    return peer.uid == 0 || peer.uid == geteuid() || is_in_group(fd, peer.gid, group);
}

bool rpc_auth_token(struct core_span said, struct core_span token) {
    MUST(token.len > 0);
    volatile unsigned differ = said.len != token.len;
    for (size_t i = 0; i < said.len; i++) {
        differ |= (unsigned)((unsigned char)said.ptr[i] ^ (unsigned char)token.ptr[i % token.len]);
    }
    return differ == 0;
}
