/* core/queue.c: bounded single-producer/single-consumer queues, and the doorbell.
 *
 * A lost wake-up is the one thing that must not happen. The producer writes `tail` and then reads `sleeping`; the
 * consumer writes `sleeping` and then reads `tail`. With all four sequentially consistent one of the two sees the
 * other's write (Dekker), so either the consumer finds the batch or the producer rings. A bell rung too often is
 * harmless. These are per batch, not per record: their cost is nothing. (Fences would do, but ThreadSanitizer does not
 * understand them.)
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/queue.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum core_err core_bell_init(struct core_bell *bell, struct core_fail *fail) {
    MUST(bell != NULL);
    atomic_init(&bell->sleeping, 0);
    bell->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (bell->fd < 0) {
        return core_fail_errno(fail, "eventfd", "cannot make the doorbell of a thread; raise the limit of open files");
    }
    return CORE_OK;
}

void core_bell_ring(struct core_bell *bell) {
    MUST(bell->fd >= 0);
    if (atomic_exchange(&bell->sleeping, 0) == 0) {
        return; /* awake: it looks into its queues before it sleeps again */
    }
    uint64_t one = 1;
    ssize_t wrote = write(bell->fd, &one, sizeof one);
    MUST(wrote == (ssize_t)sizeof one || errno == EAGAIN); /* EAGAIN: the count is full, so it is rung already */
}

void core_bell_destroy(struct core_bell *bell) {
    if (bell->fd >= 0) {
        MUST(close(bell->fd) == 0);
    }
    bell->fd = -1;
}

void core_bell_arm(struct core_bell *bell) {
    MUST(bell->fd >= 0);
    atomic_store(&bell->sleeping, 1);
}

void core_bell_disarm(struct core_bell *bell) {
    MUST(bell->fd >= 0);
    atomic_store(&bell->sleeping, 0);
    uint64_t rung;
    ssize_t got = read(bell->fd, &rung, sizeof rung);
    MUST(got == (ssize_t)sizeof rung || errno == EAGAIN || errno == EINTR);
}

void core_bell_wait(struct core_bell *bell, bool (*has_work)(void *), void *arg, int timeout_ms) {
    MUST(has_work != NULL);
    core_bell_arm(bell);
    if (!has_work(arg)) {
        struct pollfd fds = {.fd = bell->fd, .events = POLLIN};
        int ready = poll(&fds, 1, timeout_ms);
        MUST(ready >= 0 || errno == EINTR); /* a signal is a reason to look, like a ring */
    }
    core_bell_disarm(bell);
}

enum core_err core_queue_init(struct core_queue *queue, uint32_t len_max, struct core_bell *bell,
                              struct core_fail *fail) {
    MUST(len_max > 0 && len_max <= UINT32_C(1) << 30);
    MUST(bell != NULL);
    uint32_t cap = 1;
    while (cap < len_max) {
        cap <<= 1;
    }
    queue->slots = calloc(cap, sizeof(struct core_batch *));
    queue->cap = cap;
    queue->bell = bell;
    atomic_init(&queue->head, 0);
    atomic_init(&queue->tail, 0);
    if (queue->slots == NULL) {
        return core_fail_set(fail, CORE_IO, "memory",
                             "not enough memory for a queue of %u batches; lower pipeline.batches", len_max);
    }
    return CORE_OK;
}

void core_queue_push(struct core_queue *queue, struct core_batch *batch) {
    MUST(batch != NULL && batch->magic == CORE_BATCH_MAGIC);
    uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
    MUST(tail - head < queue->cap); /* as long as the pool: there is always a place */
    queue->slots[tail & (queue->cap - 1)] = batch;
    atomic_store(&queue->tail, tail + 1);
    core_bell_ring(queue->bell);
}

struct core_batch *core_queue_pop(struct core_queue *queue) {
    uint32_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    if (head == atomic_load_explicit(&queue->tail, memory_order_acquire)) {
        return NULL;
    }
    struct core_batch *batch = queue->slots[head & (queue->cap - 1)];
    MUST(batch->magic == CORE_BATCH_MAGIC);
    atomic_store_explicit(&queue->head, head + 1, memory_order_release);
    return batch;
}

bool core_queue_is_empty(struct core_queue *queue) {
    uint32_t head = atomic_load(&queue->head);
    return head == atomic_load(&queue->tail);
}

uint32_t core_queue_len(struct core_queue *queue) {
    uint32_t head = atomic_load(&queue->head);
    uint32_t len = atomic_load(&queue->tail) - head;
    return len < queue->cap ? len : queue->cap; /* some may have been taken, and others put, in between */
}

void core_queue_destroy(struct core_queue *queue) {
    free(queue->slots);
    *queue = (struct core_queue){0};
}
