/* core/tsan_threads.c: C11 threads over pthreads, linked into ThreadSanitizer builds only.
 *
 * Debian's librdkafka makes its threads with thrd_create(), which ThreadSanitizer does not know: it crashes in the first
 * allocation of such a thread (librdkafka issue 4929, google/sanitizers issue 1195). These definitions stand before
 * libc's and go through pthreads, which it knows, so librdkafka's threads and locks are seen and its reports mean
 * something. cnd_timedwait() is in steady_wait.c, for all builds. glibc's mtx_t, cnd_t and thrd_t are its pthread types under
 * other names.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t), "a mutex fits");
_Static_assert(sizeof(cnd_t) >= sizeof(pthread_cond_t), "a condition fits");

/* librdkafka itself is not compiled with the sanitizer: the atomics that order its own reads and frees are not seen, so
 * what it does inside itself cannot be judged. Its locks are seen, and so is everything we do around it. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void) {
    return "race:librdkafka.so\n";
}

struct start {
    thrd_start_t run;
    void *arg;
};

static void *trampoline(void *start_ptr) {
    struct start start = *(struct start *)start_ptr;
    free(start_ptr);
    return (void *)(intptr_t)start.run(start.arg);
}

static int result_of(int error) {
    return error == 0 ? thrd_success : error == EBUSY ? thrd_busy : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *arg) {
    struct start *start = malloc(sizeof *start);
    MUST(start != NULL);
    *start = (struct start){.run = run, .arg = arg};
    return result_of(pthread_create(thread, NULL, trampoline, start));
}

int thrd_join(thrd_t thread, int *result) {
    void *value = NULL;
    int error = pthread_join(thread, &value);
    if (result != NULL) {
        *result = (int)(intptr_t)value;
    }
    return result_of(error);
}

int mtx_init(mtx_t *mutex, int type) {
    pthread_mutexattr_t attributes;
    MUST(pthread_mutexattr_init(&attributes) == 0);
    int kind = (type & mtx_recursive) != 0 ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_NORMAL;
    MUST(pthread_mutexattr_settype(&attributes, kind) == 0);
    return result_of(pthread_mutex_init((pthread_mutex_t *)mutex, &attributes));
}

int mtx_lock(mtx_t *mutex) {
    return result_of(pthread_mutex_lock((pthread_mutex_t *)mutex));
}

int mtx_trylock(mtx_t *mutex) {
    return result_of(pthread_mutex_trylock((pthread_mutex_t *)mutex));
}

int mtx_unlock(mtx_t *mutex) {
    return result_of(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}

void mtx_destroy(mtx_t *mutex) {
    MUST(pthread_mutex_destroy((pthread_mutex_t *)mutex) == 0);
}

int cnd_init(cnd_t *condition) {
    return result_of(pthread_cond_init((pthread_cond_t *)condition, NULL));
}

int cnd_wait(cnd_t *condition, mtx_t *mutex) {
    return result_of(pthread_cond_wait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex));
}

int cnd_signal(cnd_t *condition) {
    return result_of(pthread_cond_signal((pthread_cond_t *)condition));
}

int cnd_broadcast(cnd_t *condition) {
    return result_of(pthread_cond_broadcast((pthread_cond_t *)condition));
}

void cnd_destroy(cnd_t *condition) {
    MUST(pthread_cond_destroy((pthread_cond_t *)condition) == 0);
}
