/* core/queue.h: bounded single-producer/single-consumer queues of batches, and the doorbell their consumer sleeps on.
 * A queue is as long as the pool, so a push cannot fail (MUST). One doorbell per consuming thread, however many queues
 * it reads; it is an eventfd, so it can be polled beside inotify or librdkafka's own fd.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_QUEUE_H
#define TAPLINE_CORE_QUEUE_H

#include "core/batch.h"

struct core_bell {
    int fd;               /* eventfd; -1 when closed */
    _Atomic int sleeping; /* set by the consumer before it looks a last time and sleeps */
};

CORE_CHECKED enum core_err core_bell_init(struct core_bell *bell, struct core_fail *fail);
void core_bell_ring(struct core_bell *bell); /* any thread; cheap when the consumer is awake */
void core_bell_destroy(struct core_bell *bell);
/* Protocol of the consumer: core_bell_arm(); look into the queues once more; if empty poll() on fd; core_bell_disarm(). */
void core_bell_arm(struct core_bell *bell);
void core_bell_disarm(struct core_bell *bell); /* also drains the fd */
/* The whole protocol for a consumer with nothing else to poll. has_work is asked after arming. timeout_ms -1: for ever. */
void core_bell_wait(struct core_bell *bell, bool (*has_work)(void *), void *arg, int timeout_ms);

struct core_queue {
    struct core_batch **slots;
    uint32_t cap;                       /* power of two */
    struct core_bell *bell;             /* the consumer's */
    _Alignas(64) _Atomic uint32_t head; /* written by the consumer */
    _Alignas(64) _Atomic uint32_t tail; /* written by the producer */
};

CORE_CHECKED enum core_err core_queue_init(struct core_queue *queue, uint32_t len_max, struct core_bell *bell,
                                           struct core_fail *fail);
void core_queue_push(struct core_queue *queue, struct core_batch *batch); /* producer only */
struct core_batch *core_queue_pop(struct core_queue *queue);              /* consumer only; NULL when empty */
bool core_queue_is_empty(struct core_queue *queue);                       /* either end */
uint32_t core_queue_len(struct core_queue *queue);                        /* any thread: as of a moment */
void core_queue_destroy(struct core_queue *queue);

#endif
