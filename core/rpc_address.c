/* core/rpc_address.c: where the control channel is: a Unix socket's path, or TCP on the loopback.
 *
 * A socket file outlives a process that is killed. Whoever finds one asks it: if somebody answers, it is theirs; if nobody
 * does, it is replaced. The directory is locked meanwhile, so that of two that start at once one finds the other.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/rpc_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ADDRESS_BACKLOG 128
#define ADDRESS_MODE 0660
#define ADDRESS_CONNECT_S 3
#define ADDRESS_LOCK_TRIES 100 /* each 20 ms: two seconds */
#define ADDRESS_LOCK_NS (20 * CORE_NS_PER_MS)

static enum core_err read_local(const char *path, struct rpc_address *out, struct core_fail *fail) {
    const size_t len = strlen(path);
    if (len == 0 || len >= sizeof(out->local.sun_path)) {
        return core_fail_set(fail, CORE_BAD, path, "the path of a socket has 1 to %zu bytes; this one has %zu",
                             sizeof(out->local.sun_path) - 1, len);
    }
    out->local.sun_family = AF_UNIX;
    memcpy(out->local.sun_path, path, len + 1);
    out->len = sizeof(out->local);
    return CORE_OK;
}

static bool port_read(const char *text, in_port_t *out) {
    unsigned port = 0;
    size_t len = strlen(text);
    for (size_t i = 0; i < len && port <= UINT16_MAX; i++) {
        if (!core_is_digit(text[i])) {
            return false;
        }
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    *out = htons((uint16_t)port);
    return len > 0 && port <= UINT16_MAX;
}

static enum core_err read_tcp(const char *text, struct rpc_address *out, struct core_fail *fail) {
    char host[INET6_ADDRSTRLEN];
    const bool is_bracketed = text[0] == '[';
    const char *start = text + is_bracketed;
    const char *end = is_bracketed ? strchr(start, ']') : strchr(start, ':');
    const char *colon = end == NULL ? NULL : end + is_bracketed;
    in_port_t port = 0;
    if (colon == NULL || *colon != ':' || (size_t)(end - start) >= sizeof(host) || !port_read(colon + 1, &port)) {
        return core_fail_set(fail, CORE_BAD, text, "no address and port: write 127.0.0.1:7700 or [::1]:7700");
    }
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = port};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = port};
    bool is_loopback = false;
    if (is_bracketed && inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        is_loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
        memcpy(&out->room, &v6, sizeof(v6));
        out->len = sizeof(v6);
    } else if (!is_bracketed &&
               inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &v4.sin_addr) == 1) {
        is_loopback = ntohl(v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
        memcpy(&out->room, &v4, sizeof(v4));
        out->len = sizeof(v4);
    } else {
        return core_fail_set(fail, CORE_BAD, text, "%s is no address: write 127.0.0.1:7700 or [::1]:7700", host);
    }
    if (!is_loopback) {
        return core_fail_set(
            fail, CORE_BAD, text,
            "%s is not this machine's loopback, and nothing here is encrypted; use 127.0.0.1, and from "
            "elsewhere go through ssh -L",
            host);
    }
    return CORE_OK;
}

enum core_err rpc_address_read(const char *text, struct rpc_address *out, struct core_fail *fail) {
    static const char tcp[] = "tcp:";
    *out = (struct rpc_address){0};
    if (strncmp(text, tcp, sizeof(tcp) - 1) == 0) {
        return read_tcp(text + sizeof(tcp) - 1, out, fail);
    }
    return read_local(text, out, fail);
}

/* ---- connecting ---------------------------------------------------------------------------------------------------- */

static const char *connect_help(int number) {
    switch (number) {
    case ENOENT:
    case ECONNREFUSED:
        return "nobody answers there: start it, or say where else it listens";
    case EACCES:
    case EPERM:
        return "it lets only root, its own user and the members of the socket's group in (ls -l says which)";
    case EAGAIN:
    case ETIMEDOUT:
        return "it does not answer: it may be stopped or overrun; look at it (ps, its log)";
    default:
        return strerrordesc_np(number);
    }
}

enum core_err rpc_address_connect(const struct rpc_address *address, const char *where, int *fd,
                                  struct core_fail *fail) {
    const struct timeval at_most = {.tv_sec = ADDRESS_CONNECT_S};
    const int on = 1;
    int made = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (made < 0) {
        return core_fail_errno(fail, where, "cannot make a socket");
    }
    if (address->any.sa_family != AF_UNIX) {
        (void)setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* without it answers are late, not wrong */
    }
    (void)setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, &at_most, sizeof(at_most));
    int error = 0;
    do {
        error = connect(made, &address->any, address->len) == 0 ? 0 : errno;
    } while (error == EINTR);
    if (error != 0) {
        close(made);
        return core_fail_set(fail, CORE_NET, where, "cannot connect: %s", connect_help(error));
    }
    MUST(fcntl(made, F_SETFL, O_NONBLOCK) == 0);
    *fd = made;
    return CORE_OK;
}

/* ---- listening ----------------------------------------------------------------------------------------------------- */

/* The directory of a socket, locked. Others who may read it can hold it, too: so we do not wait for ever. */
static enum core_err directory_lock(const char *path, int *fd, struct core_fail *fail) {
    char directory[sizeof(((struct sockaddr_un *)0)->sun_path)];
    const char *slash = strrchr(path, '/');
    const size_t len = slash == NULL ? 0 : (size_t)(slash - path);
    memcpy(directory, path, len);
    directory[len] = '\0';
    const char *name = slash == NULL ? "." : len == 0 ? "/" : directory;
    int made = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (made < 0) {
        return core_fail_errno(fail, path, "cannot listen: no directory %s", name);
    }
    for (int i = 0; i < ADDRESS_LOCK_TRIES; i++) {
        if (flock(made, LOCK_EX | LOCK_NB) == 0) {
            *fd = made;
            return CORE_OK;
        }
        const struct timespec wait = {.tv_nsec = ADDRESS_LOCK_NS};
        (void)nanosleep(&wait, NULL);
    }
    close(made);
    return core_fail_set(fail, CORE_LOCKED, path, "cannot listen: another process holds the directory %s (fuser -v %s)",
                         name, name);
}

/* A file in the way is a socket that nobody answers on, and then it is none any more. */
static enum core_err clear_the_way(const struct rpc_address *address, const char *path, struct core_fail *fail) {
    struct stat found;
    if (lstat(path, &found) != 0) {
        return errno == ENOENT ? CORE_OK : core_fail_errno(fail, path, "cannot listen");
    }
    if (!S_ISSOCK(found.st_mode)) {
        return core_fail_set(fail, CORE_BAD, path,
                             "cannot listen: there is a file that is no socket; name another place");
    }
    int asking = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (asking < 0) {
        return core_fail_errno(fail, path, "cannot make a socket");
    }
    int error = connect(asking, &address->any, address->len) == 0 ? 0 : errno;
    close(asking);
    if (error == 0 || error == EAGAIN) {
        return core_fail_set(fail, CORE_LOCKED, path,
                             "another process listens there already; it goes on, this one does not start");
    }
    if (error != ECONNREFUSED && error != ENOENT) {
        errno = error;
        return core_fail_errno(fail, path, "cannot find out whether somebody listens there");
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        return core_fail_errno(fail, path, "cannot remove the socket of a process that is gone");
    }
    return CORE_OK;
}

static enum core_err listen_local(const struct rpc_address *address, gid_t group, int fd, struct core_fail *fail) {
    const char *path = address->local.sun_path;
    int directory = -1;
    enum core_err err = directory_lock(path, &directory, fail);
    if (err != CORE_OK) {
        return err;
    }
    err = clear_the_way(address, path, fail);
    if (err != CORE_OK) {
        goto out;
    }
    if (bind(fd, &address->any, address->len) != 0) {
        err = core_fail_errno(fail, path, "cannot listen");
        goto out;
    }
    if (chmod(path, ADDRESS_MODE) != 0) {
        err = core_fail_errno(fail, path, "cannot set its permissions");
    } else if (group != (gid_t)-1 && chown(path, (uid_t)-1, group) != 0) {
        err =
            core_fail_errno(fail, path, "cannot give it to group %u, whose members are to be let in", (unsigned)group);
    } else if (listen(fd, ADDRESS_BACKLOG) != 0) {
        err = core_fail_errno(fail, path, "cannot listen");
    }
    if (err != CORE_OK) {
        (void)unlink(path);
    }
out:
    close(directory);
    return err;
}

enum core_err rpc_address_listen(const struct rpc_address *address, const char *where, gid_t group, int *fd,
                                 struct core_fail *fail) {
    const int on = 1;
    const bool is_local = address->any.sa_family == AF_UNIX;
    enum core_err err = CORE_OK;
    int made = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (made < 0) {
        return core_fail_errno(fail, where, "cannot make a socket");
    }
    if (is_local) {
        err = listen_local(address, group, made, fail);
    } else if (setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
               bind(made, &address->any, address->len) != 0 || listen(made, ADDRESS_BACKLOG) != 0) {
        err = core_fail_errno(fail, where, "cannot listen");
    }
    if (err != CORE_OK) {
        close(made);
        return err;
    }
    *fd = made;
    return CORE_OK;
}
