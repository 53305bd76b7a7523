/* ingest/watch.c: inotify on the directories that hold files, so that new bytes and new names are known at once.
 *
 * Design: it only makes things sooner. Every scan looks at every file anyway, so a lost event, a full queue, a network
 * file system or a used-up limit costs latency, never a line. Directories are watched, not files: few watches, and a
 * file that is created is seen. Thread: ingest's.
 * Source: inotify(7), statfs(2).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#define NAMES_MASK (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF)
#define WATCH_MASK (NAMES_MASK | IN_MODIFY | IN_ONLYDIR)
#define READS_MAX 16 /* of 64 KiB of events a turn: a writer of small lines must not keep us here */

void ingest_watch_open(struct ingest *ingest) {
    struct ingest_watch *watch = &ingest->watch;
    watch->fd = -1;
    if (!ingest->conf.use_inotify) {
        return;
    }
    watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->fd < 0) {
        core_log(
            CORE_LEVEL_WARN, "ingest", "inotify is not to be had",
            "reason=\"%s\"; files are looked at every ingest.poll_interval instead; to have new lines at once, raise "
            "fs.inotify.max_user_instances",
            strerrordesc_np(errno));
    }
}

void ingest_watch_close(struct ingest *ingest) {
    struct ingest_watch *watch = &ingest->watch;
    if (watch->fd >= 0) {
        (void)close(watch->fd);
    }
    for (size_t i = 0; i < watch->dirs_len; i++) {
        free(watch->dirs[i].prefix);
    }
    for (size_t i = 0; i < INGEST_MOVED_MAX; i++) {
        free(watch->moved[i].path);
        watch->moved[i] = (struct ingest_moved){0};
    }
    watch->fd = -1;
    watch->dirs_len = 0;
}

static void tell_partial(struct ingest *ingest, const char *prefix, const char *reason, const char *help) {
    if (!ingest->watch.is_told) {
        ingest->watch.is_told = true;
        core_log(CORE_LEVEL_WARN, "ingest", "a directory cannot be watched",
                 "directory=%s reason=\"%s\"; its files are looked at every ingest.poll_interval instead; to have new "
                 "lines at once, %s",
                 prefix, reason, help);
    }
}

static int add_watch(struct ingest *ingest, const char *prefix) {
    const int wd = inotify_add_watch(ingest->watch.fd, prefix[0] == '\0' ? "." : prefix, WATCH_MASK);
    if (wd < 0 && errno != ENOENT && errno != ENOTDIR) {
        const char *help = core_errno_help(errno);
        tell_partial(ingest, prefix, strerrordesc_np(errno),
                     errno == ENOSPC ? "raise fs.inotify.max_user_watches or name fewer directories"
                     : help == NULL  ? "see to the directory"
                                     : help);
    }
    return wd;
}

/* inotify takes a watch on these, but tells nothing of what other machines, or a server, write there. */
static bool is_served_by_others(const char *prefix) {
    static const uint32_t types[] = {
        0x00006969, /* NFS */
        0xff534d42, /* CIFS */
        0xfe534d42, /* SMB2 */
        0x0000517b, /* SMB */
        0x00c36400, /* Ceph */
        0x5346414f, /* AFS */
        0x01021997, /* 9P */
        0x65735546, /* FUSE: sshfs, GlusterFS, virtiofs … */
    };
    struct statfs fs;
    if (statfs(prefix[0] == '\0' ? "." : prefix, &fs) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if ((uint32_t)fs.f_type == types[i]) {
            return true;
        }
    }
    return false;
}

void ingest_watch_add(struct ingest *ingest, const char *path) {
    struct ingest_watch *watch = &ingest->watch;
    const char *slash = strrchr(path, '/');
    const size_t len = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    if (watch->fd < 0) {
        return;
    }
    for (size_t i = 0; i < watch->dirs_len; i++) {
        const size_t at = (watch->last + i) % watch->dirs_len;
        if (strlen(watch->dirs[at].prefix) == len && memcmp(watch->dirs[at].prefix, path, len) == 0) {
            watch->last = at;
            return;
        }
    }
    char *prefix = strndup(path, len);
    MUST(prefix != NULL);
    if (watch->dirs_len == INGEST_WATCHES_MAX) {
        tell_partial(ingest, prefix, "tapline watches no more directories than this", "name fewer directories");
        free(prefix);
        return;
    }
    const int wd = add_watch(ingest, prefix);
    if (wd < 0) {
        free(prefix);
        return;
    }
    if (is_served_by_others(prefix)) {
        tell_partial(ingest, prefix, "a network file system does not tell what other machines write",
                     "put the logs on a local disk");
    }
    watch->dirs[watch->dirs_len++] = (struct ingest_watch_dir){.wd = wd, .prefix = prefix};
}

static void drop_dir(struct ingest_watch *watch, size_t i) {
    free(watch->dirs[i].prefix);
    watch->dirs[i] = watch->dirs[--watch->dirs_len];
    watch->last = 0;
}

void ingest_watch_refresh(struct ingest *ingest) {
    struct ingest_watch *watch = &ingest->watch;
    for (size_t i = 0; i < watch->dirs_len;) {
        const int old = watch->dirs[i].wd;
        const int wd = add_watch(ingest, watch->dirs[i].prefix); /* the same directory gives the same number */
        if (wd != old) {
            bool is_shared = false;
            for (size_t k = 0; k < watch->dirs_len; k++) {
                is_shared = is_shared || (k != i && watch->dirs[k].wd == old);
            }
            if (!is_shared) {
                (void)inotify_rm_watch(watch->fd, old);
            }
        }
        if (wd < 0) {
            drop_dir(watch, i);
        } else {
            watch->dirs[i++].wd = wd;
        }
    }
}

/* One half of a rename. A file that was made and renamed between two scans was never seen under the name that a glob gives. */
static void on_moved(struct ingest *ingest, const struct inotify_event *event, const char *path) {
    struct ingest_watch *watch = &ingest->watch;
    if ((event->mask & IN_MOVED_FROM) != 0 && ingest_is_wanted(ingest, path)) {
        struct ingest_moved *moved = &watch->moved[watch->moved_next++ % INGEST_MOVED_MAX];
        free(moved->path);
        *moved = (struct ingest_moved){.cookie = event->cookie, .path = ingest_strdup(path)};
    }
    for (size_t i = 0; (event->mask & IN_MOVED_TO) != 0 && i < INGEST_MOVED_MAX; i++) {
        struct ingest_moved *moved = &watch->moved[i];
        if (moved->cookie == event->cookie && moved->path != NULL) {
            ingest_scan_moved(ingest, moved->path, path);
            free(moved->path);
            *moved = (struct ingest_moved){0};
        }
    }
}

static void on_event(struct ingest *ingest, const struct inotify_event *event) {
    struct ingest_watch *watch = &ingest->watch;
    if ((event->mask & IN_Q_OVERFLOW) != 0) {
        ingest->scan_tick = 0; /* events were lost: look at everything */
        core_log(CORE_LEVEL_WARN, "ingest", "inotify events were lost",
                 "limit=fs.inotify.max_queued_events; the kernel's queue was full, so every file is looked at now: no "
                 "line is lost, some come later; if this is said often, raise that limit");
        return;
    }
    if ((event->mask & NAMES_MASK) != 0) {
        const int64_t soon = ingest->scanned_tick + ingest->scan_gap_ns;
        ingest->scan_tick = soon < ingest->scan_tick ? soon : ingest->scan_tick;
    }
    for (size_t i = 0; i < watch->dirs_len;) {
        if (watch->dirs[i].wd != event->wd) {
            i++;
            continue;
        }
        if ((event->mask & IN_IGNORED) != 0) {
            drop_dir(watch, i);
            continue;
        }
        char path[PATH_MAX];
        const int len = event->len == 0 ? 0 : snprintf(path, sizeof(path), "%s%s", watch->dirs[i].prefix, event->name);
        if (len > 0 && (size_t)len < sizeof(path) && (event->mask & (IN_MOVED_FROM | IN_MOVED_TO)) != 0) {
            on_moved(ingest, event, path);
        }
        if (len > 0 && (size_t)len < sizeof(path) && (event->mask & IN_MODIFY) != 0) {
            struct ingest_file *file = ingest_file_by_path(ingest, path);
            if (file != NULL) {
                ingest_file_grown(ingest, file);
            }
        }
        i++;
    }
}

void ingest_watch_drain(struct ingest *ingest) {
    static const size_t room = 64 * CORE_KIB;
    _Alignas(struct inotify_event) char bytes[64 * CORE_KIB];
    if (ingest->watch.fd < 0) {
        return;
    }
    for (int i = 0; i < READS_MAX; i++) {
        const ssize_t got = read(ingest->watch.fd, bytes, room);
        if (got <= 0) {
            return; /* EAGAIN: none; anything else: the scan sees to it */
        }
        for (const char *at = bytes; at < bytes + got;) {
            const struct inotify_event *event = (const struct inotify_event *)(const void *)at;
            on_event(ingest, event);
            at += sizeof(*event) + event->len;
        }
    }
}
