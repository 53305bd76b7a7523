/* enrich/redis_link.c: bytes to and from a Redis: name, socket, TLS.
 *
 * A link goes NAME -> SOCKET -> TLS -> OPEN, one step after the other in redis_link_step(), which never waits. A name is
 * looked up by a thread of libc's (getaddrinfo_a); a look-up that nobody needs any more cannot be stopped, so its memory is
 * left to it: at most one for each time a name server did not answer. Addresses of a name are tried in turn.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/redis_internal.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME_LOOK_NS (10 * CORE_NS_PER_MS) /* a thread looks the name up: look whether it has */

enum stage { STAGE_NAME, STAGE_SOCKET, STAGE_TLS, STAGE_OPEN };

/* A look-up, in memory of its own: libc writes to it until it is done. */
struct lookup {
    struct gaicb request;
    struct addrinfo hints;
    char host[sizeof((struct redis_url *)NULL)->host];
    char port[sizeof((struct redis_url *)NULL)->port];
};

struct redis_link {
    const struct redis_url *url;
    const struct tls_conf *tls_conf;
    enum stage stage;
    struct lookup *lookup;
    struct addrinfo *addresses;
    const struct addrinfo *address; /* the next to try */
    bool is_connecting;
    int fd;
    short events; /* what is waited for besides what the caller wants */
    struct tls *tls;
    struct core_fail fail; /* why the last address did not do */
};

struct redis_link *redis_link_new(const struct redis_url *url, const struct tls_conf *tls) {
    struct redis_link *link = calloc(1, sizeof *link);
    MUST(link != NULL);
    MUST(url->scheme != REDIS_TLS || tls != NULL);
    link->url = url;
    link->tls_conf = tls;
    link->fd = -1;
    link->stage = url->scheme == REDIS_UNIX ? STAGE_SOCKET : STAGE_NAME;
    return link;
}

static void lookup_drop(struct lookup *lookup) {
    if (lookup == NULL) {
        return;
    }
    int cancelled = gai_cancel(&lookup->request);
    if (cancelled == EAI_CANCELED || cancelled == EAI_ALLDONE) {
        if (cancelled == EAI_ALLDONE && gai_error(&lookup->request) == 0) {
            freeaddrinfo(lookup->request.ar_result);
        }
        free(lookup);
    }
}

static void socket_drop(struct redis_link *link) {
    tls_free(link->tls);
    link->tls = NULL;
    if (link->fd >= 0) {
        close(link->fd);
    }
    link->fd = -1;
    link->is_connecting = false;
}

void redis_link_free(struct redis_link *link) {
    if (link == NULL) {
        return;
    }
    socket_drop(link);
    lookup_drop(link->lookup);
    if (link->addresses != NULL) {
        freeaddrinfo(link->addresses);
    }
    free(link);
}

static enum core_err name_failed(struct redis_link *link, int error, struct core_fail *fail) {
    return core_fail_set(fail, CORE_NET, link->url->shown, "the name %s cannot be resolved: %s; see DNS and /etc/hosts",
                         link->url->host, error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
}

static enum core_err name_begin(struct redis_link *link, struct core_fail *fail) {
    struct lookup *lookup = calloc(1, sizeof *lookup);
    MUST(lookup != NULL);
    memcpy(lookup->host, link->url->host, sizeof lookup->host);
    memcpy(lookup->port, link->url->port, sizeof lookup->port);
    lookup->hints = (struct addrinfo){.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    if (getaddrinfo(lookup->host, lookup->port, &lookup->hints, &link->addresses) == 0) { /* an address: no thread */
        free(lookup);
        return CORE_OK;
    }
    lookup->hints.ai_flags = AI_NUMERICSERV;
    lookup->request = (struct gaicb){.ar_name = lookup->host, .ar_service = lookup->port, .ar_request = &lookup->hints};
    struct gaicb *list[] = {&lookup->request};
    int error = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);
    if (error != 0) {
        free(lookup);
        return name_failed(link, error, fail);
    }
    link->lookup = lookup;
    return CORE_AGAIN;
}

static enum core_err name_step(struct redis_link *link, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    if (link->lookup == NULL) {
        err = name_begin(link, fail);
    } else {
        int error = gai_error(&link->lookup->request);
        if (error == EAI_INPROGRESS) {
            return CORE_AGAIN;
        }
        link->addresses = error == 0 ? link->lookup->request.ar_result : NULL;
        free(link->lookup);
        link->lookup = NULL;
        err = error == 0 ? CORE_OK : name_failed(link, error, fail);
    }
    if (err == CORE_OK) {
        link->address = link->addresses;
        link->stage = STAGE_SOCKET;
    }
    return err;
}

static enum core_err connect_failed(struct redis_link *link, int number) {
    const char *help = number == ECONNREFUSED ? "is Redis running there, on this port?"
                       : number == ENOENT     ? "there is no such socket; is Redis running (unixsocket)?"
                       : number == EACCES     ? "the socket may not be opened; see its permissions (unixsocketperm)"
                       : number == ETIMEDOUT  ? "nothing answers there; see firewalls"
                       : number == EHOSTUNREACH || number == ENETUNREACH ? "there is no way there; see the network"
                                                                         : "see the system's log";
    return core_fail_set(&link->fail, CORE_NET, link->url->shown, "cannot connect: %s; %s", strerror(number), help);
}

static int socket_connect(struct redis_link *link) {
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    const struct sockaddr *address = (const struct sockaddr *)&path;
    socklen_t len = sizeof path;
    int family = AF_UNIX, one = 1;
    if (link->url->scheme == REDIS_UNIX) {
        memcpy(path.sun_path, link->url->host, strlen(link->url->host) + 1);
    } else {
        address = link->address->ai_addr;
        len = link->address->ai_addrlen;
        family = link->address->ai_family;
        link->address = link->address->ai_next;
    }
    link->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0) {
        return errno;
    }
    if (family != AF_UNIX) { /* a peer that is gone without a word is found by our own deadlines; these only help */
        (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        (void)setsockopt(link->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    }
    return connect(link->fd, address, len) == 0 ? 0 : errno;
}

/* One address after the other. */
static enum core_err socket_step(struct redis_link *link, struct core_fail *fail) {
    for (bool is_first = true;; is_first = false) {
        int number = 0;
        if (link->is_connecting) {
            struct pollfd fds = {.fd = link->fd, .events = POLLOUT};
            socklen_t len = sizeof number;
            if (poll(&fds, 1, 0) == 0) {
                link->events = POLLOUT;
                return CORE_AGAIN;
            }
            MUST(getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &number, &len) == 0);
        } else if (link->url->scheme == REDIS_UNIX ? is_first : link->address != NULL) {
            number = socket_connect(link);
        } else {
            if (fail != NULL) {
                *fail = link->fail;
            }
            return link->fail.err == CORE_OK ? name_failed(link, EAI_NONAME, fail) : link->fail.err;
        }
        if (number == EINPROGRESS) {
            link->is_connecting = true;
            continue;
        }
        link->is_connecting = false;
        if (number == 0) {
            link->stage = link->url->scheme == REDIS_TLS ? STAGE_TLS : STAGE_OPEN;
            link->events = 0;
            return CORE_OK;
        }
        socket_drop(link);
        (void)connect_failed(link, number); /* link->fail says it if no other address does */
    }
}

static enum core_err tls_step(struct redis_link *link, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    if (link->tls == NULL) {
        err = tls_new(&link->tls, link->tls_conf, link->fd, link->url->host, fail);
    }
    if (err == CORE_OK) {
        err = tls_handshake(link->tls, &link->events, link->url->shown, fail);
    }
    if (err == CORE_OK) {
        link->stage = STAGE_OPEN;
        link->events = 0;
    }
    return err;
}

enum core_err redis_link_step(struct redis_link *link, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    while (err == CORE_OK && link->stage != STAGE_OPEN) {
        switch (link->stage) {
        case STAGE_NAME:
            err = name_step(link, fail);
            break;
        case STAGE_SOCKET:
            err = socket_step(link, fail);
            break;
        case STAGE_TLS:
            err = tls_step(link, fail);
            break;
        case STAGE_OPEN:
            break;
        }
    }
    return err;
}

bool redis_link_wait(struct redis_link *link, bool wants_out, int stop_fd, int64_t deadline_ns) {
    int64_t left_ns = deadline_ns - core_tick_ns();
    left_ns = left_ns > 0 ? left_ns : 0;
    if (link->stage == STAGE_NAME) {
        left_ns = left_ns < NAME_LOOK_NS ? left_ns : NAME_LOOK_NS;
    }
    int64_t left_ms = (left_ns + CORE_NS_PER_MS - 1) / CORE_NS_PER_MS;
    struct pollfd fds[] = {{.fd = link->fd, .events = link->events}, /* fd -1: poll only waits */
                           {.fd = stop_fd, .events = POLLIN}};
    if (link->stage == STAGE_OPEN) {
        fds[0].events = (short)(POLLIN | link->events | (wants_out && link->events == 0 ? POLLOUT : 0));
    }
    (void)poll(fds, 2, left_ms > 60 * 1000 ? 60 * 1000 : (int)left_ms); /* whatever it says, the caller tries again */
    return fds[1].revents == 0;
}

ssize_t redis_link_recv(struct redis_link *link, char *bytes, size_t len) {
    MUST(link->stage == STAGE_OPEN);
    link->events = 0;
    if (link->tls != NULL) {
        short events = 0;
        ssize_t got = tls_recv(link->tls, bytes, len, &events);
        link->events = got < 0 && errno == EAGAIN && events == POLLOUT ? POLLOUT : 0;
        return got;
    }
    return recv(link->fd, bytes, len, 0);
}

ssize_t redis_link_send(struct redis_link *link, const char *bytes, size_t len) {
    MUST(link->stage == STAGE_OPEN);
    if (link->tls != NULL) {
        short events = 0;
        ssize_t sent = tls_send(link->tls, bytes, len, &events);
        link->events = sent < 0 && errno == EAGAIN ? events : 0;
        return sent;
    }
    return send(link->fd, bytes, len, MSG_NOSIGNAL);
}

const char *redis_link_words(const struct redis_link *link, int number) {
    return link->tls != NULL && number == EIO ? tls_words(link->tls) : strerror(number);
}
