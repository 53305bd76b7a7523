/* tests/unit/core_queue_test.c: order, fullness, and no lost wake-up between two threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#define BATCHES 3 /* fewer than a power of two, so that the ring wraps at every place */
#define ROUNDS 200000

static void test_first_in_first_out(void **state) {
    (void)state;
    struct core_bell bell;
    struct core_queue queue;
    struct core_batch batches[5] = {0};
    assert_int_equal(core_bell_init(&bell, NULL), CORE_OK);
    assert_int_equal(core_queue_init(&queue, 5, &bell, NULL), CORE_OK);
    assert_null(core_queue_pop(&queue));
    for (unsigned round = 0; round < 7; round++) {
        for (size_t i = 0; i < 5; i++) {
            batches[i].magic = CORE_BATCH_MAGIC;
            core_queue_push(&queue, &batches[i]);
        }
        assert_false(core_queue_is_empty(&queue));
        for (size_t i = 0; i < 5; i++) {
            assert_ptr_equal(core_queue_pop(&queue), &batches[i]);
        }
        assert_true(core_queue_is_empty(&queue));
        assert_null(core_queue_pop(&queue));
    }
    core_queue_destroy(&queue);
    core_bell_destroy(&bell);
}

static bool is_rung(const struct core_bell *bell) {
    struct pollfd fds = {.fd = bell->fd, .events = POLLIN};
    return poll(&fds, 1, 0) == 1;
}

static void test_the_bell_rings_only_for_a_sleeper(void **state) {
    (void)state;
    struct core_bell bell;
    assert_int_equal(core_bell_init(&bell, NULL), CORE_OK);
    core_bell_ring(&bell);
    assert_false(is_rung(&bell));
    core_bell_arm(&bell);
    core_bell_ring(&bell);
    core_bell_ring(&bell);
    assert_true(is_rung(&bell));
    core_bell_disarm(&bell);
    assert_false(is_rung(&bell));
    core_bell_destroy(&bell);
    assert_int_equal(bell.fd, -1);
}

/* Two threads and two queues: batches go round between them, each end sleeping whenever it finds nothing. */
struct ring {
    struct core_bell bells[2];
    struct core_queue there;
    struct core_queue back;
};

static bool has_there(void *arg) {
    return !core_queue_is_empty(&((struct ring *)arg)->there);
}

static bool has_back(void *arg) {
    return !core_queue_is_empty(&((struct ring *)arg)->back);
}

static void *consume(void *arg) {
    struct ring *ring = arg;
    for (uint64_t taken = 0; taken < ROUNDS;) {
        struct core_batch *batch = core_queue_pop(&ring->there);
        if (batch == NULL) {
            core_bell_wait(&ring->bells[0], has_there, ring, -1);
            continue;
        }
        if (batch->seq != taken) {
            return batch;
        }
        taken++;
        core_queue_push(&ring->back, batch);
    }
    return NULL;
}

static void test_two_threads_lose_no_wake_up(void **state) {
    (void)state;
    struct ring ring;
    struct core_batch batches[BATCHES] = {0};
    pthread_t thread;
    assert_int_equal(core_bell_init(&ring.bells[0], NULL), CORE_OK);
    assert_int_equal(core_bell_init(&ring.bells[1], NULL), CORE_OK);
    assert_int_equal(core_queue_init(&ring.there, BATCHES, &ring.bells[0], NULL), CORE_OK);
    assert_int_equal(core_queue_init(&ring.back, BATCHES, &ring.bells[1], NULL), CORE_OK);
    assert_int_equal(pthread_create(&thread, NULL, consume, &ring), 0);
    uint64_t sent = 0;
    for (; sent < BATCHES; sent++) {
        batches[sent].magic = CORE_BATCH_MAGIC;
        batches[sent].seq = sent;
        core_queue_push(&ring.there, &batches[sent]);
    }
    while (sent < ROUNDS) {
        struct core_batch *batch = core_queue_pop(&ring.back);
        if (batch == NULL) {
            core_bell_wait(&ring.bells[1], has_back, &ring, -1); /* a lost wake-up is a test that never ends */
            continue;
        }
        batch->seq = sent++;
        core_queue_push(&ring.there, batch);
    }
    void *wrong = NULL;
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    core_queue_destroy(&ring.there);
    core_queue_destroy(&ring.back);
    core_bell_destroy(&ring.bells[0]);
    core_bell_destroy(&ring.bells[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_in_first_out),
        cmocka_unit_test(test_the_bell_rings_only_for_a_sleeper),
        cmocka_unit_test(test_two_threads_lose_no_wake_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
