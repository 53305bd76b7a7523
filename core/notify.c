/* core/notify.c: systemd's notification protocol: see the header. One datagram, never waited for: a service manager that does
 * not listen must not hold up a program that keeps others running.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/notify.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool core_notify(const char *text) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = path == NULL ? 0 : strlen(path);
    if (len < 2 || len >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@')) {
        return false;
    }
    memcpy(address.sun_path, path, len + 1);
    if (path[0] == '@') { /* a name that is no file */
        address.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    socklen_t address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    ssize_t sent =
        sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&address, address_len);
    close(fd);
    return sent == (ssize_t)strlen(text);
}

int64_t core_notify_watchdog_ns(void) {
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    char *end = NULL;
    if (usec == NULL || (pid != NULL && strtoll(pid, NULL, 10) != getpid())) {
        return 0;
    }
    long long us = strtoll(usec, &end, 10);
    return *end == '\0' && us > 0 && us < INT64_MAX / CORE_NS_PER_US ? us * CORE_NS_PER_US : 0;
}
