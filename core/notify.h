/* core/notify.h: telling the service manager, by systemd's documented protocol (a datagram to the socket that $NOTIFY_SOCKET
 * names), without its library.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_NOTIFY_H
#define TAPLINE_CORE_NOTIFY_H

#include "core/core.h"

/* "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=…", several with '\n' between. Without a service manager that wants to know
 * (no $NOTIFY_SOCKET), or when it does not take it at once, nothing happens. True: it was taken. Thread: any; the environment
 * must not change meanwhile. Source: sd_notify(3). */
bool core_notify(const char *text);
/* The time within which a service manager wants a WATCHDOG=1, or 0. Tell it three times as often. Source:
 * sd_watchdog_enabled(3). */
int64_t core_notify_watchdog_ns(void);

#endif
