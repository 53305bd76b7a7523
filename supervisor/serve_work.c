/* supervisor/serve_work.c: what may take long goes to a thread: a POST, a look at Zeek's telemetry, an archive of a million files,
 * a file system that does not answer.
 *
 * Main's loop must answer within moments whatever the machine's disks and peers do, so work that can wait for them is a job: a
 * thread runs it, writes to an eventfd, and the loop calls done(). A thread sees only its job's own copies. Jobs are rare and
 * few (at most one of each kind is under way, which their starters see to), so there is no pool.
 *
 * At Main's end all jobs are told to stop and waited for: each has a bounded wait of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_diag_internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct work {
    struct serve_job job;
    struct work **list; /* the head of the list that it is in */
    struct work *next;
    struct core_watch *watch;
    pthread_t thread;
    int done_fd;
    atomic_bool stop;
};

static void *work_run(void *work_ptr) {
    struct work *work = work_ptr;
    const uint64_t one = 1;
    sigset_t all;
    (void)sigfillset(&all); /* signals are the loop's */
    (void)pthread_sigmask(SIG_BLOCK, &all, NULL);
    work->job.run(work->job.ctx, &work->stop);
    MUST(write(work->done_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    return NULL;
}

/* The one that *at of the list points to. */
static void work_end(struct work **at, bool is_stopped) {
    struct work *work = *at;
    *at = work->next;
    MUST(pthread_join(work->thread, NULL) == 0);
    core_loop_unwatch(work->watch);
    (void)close(work->done_fd);
    struct serve_job job = work->job;
    free(work);
    job.done(job.ctx, is_stopped); /* may start the next one */
}

static void work_on_done(void *work_ptr, uint32_t events) {
    struct work *work = work_ptr;
    struct work **at = work->list;
    (void)events;
    while (*at != work) {
        at = &(*at)->next;
    }
    work_end(at, false);
}

/* All that it needs of the system. Errors: CORE_IO, CORE_LIMIT: what there is of it is to be given back. */
static enum core_err work_begin(struct work *work, struct core_loop *loop, struct core_fail *fail) {
    work->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (work->done_fd < 0) {
        return core_fail_errno(fail, "eventfd", "cannot be made");
    }
    enum core_err err = core_loop_watch(loop, work->done_fd, EPOLLIN, work_on_done, work, &work->watch, fail);
    if (err != CORE_OK) {
        return err;
    }
    errno = pthread_create(&work->thread, NULL, work_run, work);
    return errno == 0 ? CORE_OK : core_fail_errno(fail, "pthread_create", "cannot start a thread");
}

bool serve_work_start(struct serve *serve, const struct serve_job *job) {
    MUST(job->run != NULL);
    MUST(job->done != NULL);
    struct core_fail fail = {0};
    struct work **list = serve_diag_works(serve);
    struct work *work = calloc(1, sizeof(*work));
    MUST(work != NULL);
    work->job = *job;
    work->list = list;
    if (work_begin(work, serve->loop, &fail) != CORE_OK) {
        core_log(CORE_LEVEL_WARN, "serve", "no thread or descriptor is left for a piece of work",
                 "where=%s why=\"%s\" effect=\"a question is refused, all else is tried again; sensors run on\" "
                 "help=\"raise LimitNOFILE and TasksMax of the unit\"",
                 fail.where, fail.text);
        core_loop_unwatch(work->watch);
        if (work->done_fd >= 0) {
            (void)close(work->done_fd);
        }
        free(work);
        return false;
    }
    work->next = *list;
    *list = work;
    return true;
}

void serve_work_end_all(struct serve *serve) {
    struct work **list = serve_diag_works(serve);
    for (struct work *work = *list; work != NULL; work = work->next) {
        atomic_store(&work->stop, true);
    }
    while (*list != NULL) {
        work_end(list, true);
    }
}
