/* tests/unit/cmd_pipeline_test.c: the threads of `run` in one process (cmd/pipeline*.c), between real ingest, real maps and
 * sinks that misbehave as real ones do: they refuse, answer late, in another order, or not at all. Runs under TSan.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pipeline_internal.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FILES 6
#define LINES 3000 /* of each file: two batches */
#define HELD_MAX 16

/* ---- a sink that misbehaves ----------------------------------------------------------------------------------------- */

/* What it has seen. One for each sink of the chain; its thread alone writes while it runs. */
struct fake {
    const char *name;
    bool is_holding;      /* gives nothing back */
    bool is_gone;         /* says that it never will */
    struct pipeline *end; /* lets go only when this one ends, and sends SIGTERM then */
    uint64_t next[FILES]; /* per stream: the seq that must come next, in and out */
    uint64_t given[FILES];
    uint64_t events;
    uint64_t refusals;
    uint64_t flushes;
    unsigned turn;
    _Atomic uint64_t sends;
    /* what it does as the keeper of positions */
    bool is_keeper;
    bool is_waiting;      /* never hears from its server */
    unsigned abort_every; /* each so manyth transaction comes to nothing */
    uint64_t txn;         /* the open one; 0: none. Numbers grow, over aborts too */
    uint64_t txns;        /* begun */
    unsigned txn_batches; /* in the open one */
    uint64_t txn_events;  /* of it */
    uint64_t accepted;    /* events of committed transactions */
    uint64_t aborts;
};

struct sink {
    struct fake *fake;
    int wake_fd;
    struct core_commit *commit;
    struct core_batch *held[HELD_MAX];
    size_t held_len;
};

static struct fake fakes[2];

static size_t stream_number(const struct core_batch *batch) {
    const char *slash = strrchr(batch->stream->path, '/');
    return (size_t)(slash[1] - 'a');
}

static enum core_err fake_open(struct sink **out, const void *conf, const struct sink_env *env,
                               struct core_fail *fail) {
    (void)fail;
    *out = calloc(1, sizeof(**out));
    (*out)->fake = &fakes[*(const unsigned char *)conf];
    (*out)->wake_fd = env->wake_fd;
    (*out)->commit = env->commit;
    MUST((*out)->fake->is_keeper == (env->commit != NULL));
    return CORE_OK;
}

/* Every third offer is refused; no more than three batches at once are taken. */
static enum core_err fake_send(struct sink *sink, struct core_batch *batch) {
    struct fake *fake = sink->fake;
    if (++fake->turn % 3 == 0 || sink->held_len == 3) {
        fake->refusals++;
        return CORE_AGAIN;
    }
    MUST(batch->magic == CORE_BATCH_MAGIC);
    size_t number = stream_number(batch);
    MUST(number < FILES);
    MUST(batch->seq == fake->next[number]); /* in order of the stream, none left out, none twice */
    fake->next[number]++;
    fake->events += batch->events_len;
    sink->held[sink->held_len++] = batch;
    atomic_fetch_add(&fake->sends, 1);
    return CORE_OK;
}

/* The youngest first, as long as order within a stream holds. */
static size_t fake_poll(struct sink *sink, struct core_batch **done, size_t max, int timeout_ms) {
    struct fake *fake = sink->fake;
    size_t len = 0;
    if (fake->end != NULL) {
        while (atomic_load(&fake->end->phase) != PIPELINE_QUIT) {
            (void)usleep(1000);
        }
        fake->end = NULL;
        MUST(kill(getpid(), SIGTERM) == 0);
        (void)usleep(100000); /* main takes it */
    }
    for (size_t i = sink->held_len; i > 0 && len < max && !fake->is_holding; i--) {
        struct core_batch *batch = sink->held[i - 1];
        size_t number = stream_number(batch);
        if (batch->seq != fake->given[number]) {
            continue;
        }
        fake->given[number]++;
        done[len++] = batch;
        memmove(&sink->held[i - 1], &sink->held[i], (sink->held_len - i) * sizeof(sink->held[0]));
        sink->held_len--;
    }
    if (len == 0 && timeout_ms > 0) {
        (void)usleep((useconds_t)(timeout_ms < 2 ? timeout_ms : 2) * 1000);
    }
    return len;
}

static bool fake_is_gone(const struct sink *sink, struct core_fail *fail) {
    return sink->fake->is_gone && sink->held_len > 0 &&
           core_fail_set(fail, CORE_IO, "fake", "the reader is gone") == CORE_IO;
}

static enum core_err keeper_send(struct sink *sink, struct core_batch *batch) {
    struct fake *fake = sink->fake;
    if (sink->held_len == HELD_MAX || fake->is_waiting) {
        return CORE_AGAIN;
    }
    sink->held[sink->held_len++] = batch;
    atomic_fetch_add(&fake->sends, 1);
    if (batch->epoch < atomic_load(&sink->commit->epoch)) {
        batch->txn = 0; /* of an aborted transaction: back as it came */
        return CORE_OK;
    }
    if (fake->txn == 0) {
        fake->txn = ++fake->txns;
    }
    batch->txn = fake->txn;
    fake->txn_batches++;
    fake->txn_events += batch->events_len;
    return CORE_OK;
}

/* Three batches are a transaction, or what there is when nothing more comes. */
static void keeper_end(struct sink *sink) {
    struct fake *fake = sink->fake;
    if (fake->abort_every > 0 && fake->txn % fake->abort_every == 0) {
        fake->aborts++;
        atomic_fetch_add(&sink->commit->epoch, 1);
    } else {
        fake->accepted += fake->txn_events;
        atomic_store(&sink->commit->committed, fake->txn);
    }
    fake->txn = 0;
    fake->txn_batches = 0;
    fake->txn_events = 0;
    core_bell_ring(sink->commit->bell);
}

static size_t keeper_poll(struct sink *sink, struct core_batch **done, size_t max, int timeout_ms) {
    struct fake *fake = sink->fake;
    if (!fake->is_waiting && atomic_load(&sink->commit->state) == CORE_COMMIT_WAITS) {
        atomic_store(&sink->commit->state, CORE_COMMIT_RECOVERED);
        core_bell_ring(sink->commit->bell);
    }
    size_t len = sink->held_len < max ? sink->held_len : max;
    if (len > 0) {
        memcpy(done, sink->held, len * sizeof(sink->held[0]));
        memmove(sink->held, sink->held + len, (sink->held_len - len) * sizeof(sink->held[0]));
        sink->held_len -= len;
    } else if (timeout_ms > 0) {
        (void)usleep((useconds_t)(timeout_ms < 2 ? timeout_ms : 2) * 1000);
    }
    if (fake->txn != 0 && sink->held_len == 0 && (fake->txn_batches >= 3 || len == 0)) {
        keeper_end(sink);
    }
    return len;
}

static bool keeper_is_gone(const struct sink *sink, struct core_fail *fail) {
    return sink->fake->is_gone &&
           core_fail_set(fail, CORE_LOCKED, "broker", "another instance has the node") == CORE_LOCKED;
}

static bool keeper_keeps_positions(const void *conf) {
    return fakes[*(const unsigned char *)conf].is_keeper;
}

static void fake_flush(struct sink *sink) {
    sink->fake->flushes++;
}

static void fake_close(struct sink *sink) {
    free(sink);
}

static const struct sink_ops fake_ops = {.name = "fake",
                                         .summary = "a sink that misbehaves",
                                         .conf_size = 1,
                                         .open = fake_open,
                                         .send = fake_send,
                                         .poll = fake_poll,
                                         .is_gone = fake_is_gone,
                                         .flush = fake_flush,
                                         .close = fake_close};

static const struct sink_ops keeper_ops = {.name = "keeper",
                                           .summary = "a sink that keeps the positions",
                                           .conf_size = 1,
                                           .keeps_positions = keeper_keeps_positions,
                                           .open = fake_open,
                                           .send = keeper_send,
                                           .poll = keeper_poll,
                                           .is_gone = keeper_is_gone,
                                           .close = fake_close};

/* ---- the world around it ----------------------------------------------------------------------------------------------- */

struct world {
    char dir[64];
    char conf[96];
    char state[96];
};

static void text_write(const char *path, const char *mode, const char *text) {
    FILE *out = fopen(path, mode);
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static void conf_write(const struct world *world, const char *more) {
    char text[2048];
    (void)snprintf(
        text, sizeof(text),
        "node: {name: n, state: %s}\nnormalize: {maps: configs, workers: 3}\n"
        "inputs: [{type: zeek, paths: ['%s/*.weird.log']%s}]\nsinks: {stdout: {}}\n"
        "ingest: {checkpoint_interval: 10ms, scan_interval: 100ms}\npipeline: {batches: 8, stop_timeout: 300ms}\n",
        world->state, world->dir, more);
    text_write(world->conf, "we", text);
}

static void logs_write(const struct world *world, const char *mode, unsigned lines) {
    for (char name = 'a'; name < 'a' + FILES; name++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/%c.weird.log", world->dir, name);
        FILE *out = fopen(path, mode);
        assert_non_null(out);
        for (unsigned i = 0; i < lines; i++) {
            assert_true(fprintf(out, "{\"_path\":\"weird\",\"ts\":1795229910.5,\"name\":\"%c%u\",\"notice\":false}\n",
                                name, i) > 0);
        }
        assert_int_equal(fclose(out), 0);
    }
}

static int world_make(void **state) {
    struct world *world = calloc(1, sizeof(*world));
    (void)snprintf(world->dir, sizeof(world->dir), "/tmp/cmd_pipeline_test.XXXXXX");
    if (mkdtemp(world->dir) == NULL) {
        return -1;
    }
    (void)snprintf(world->conf, sizeof(world->conf), "%s/tapline.yml", world->dir);
    (void)snprintf(world->state, sizeof(world->state), "%s/state", world->dir);
    conf_write(world, "");
    logs_write(world, "we", LINES);
    memset(fakes, 0, sizeof(fakes));
    *state = world;
    return 0;
}

static int world_remove(void **state) {
    struct world *world = *state;
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", world->dir);
    free(world);
    return system(command);
}

/* The config of the file, its sink replaced by `sinks` fakes. */
static struct pipeline *pipeline_make(const struct world *world, size_t sinks, bool is_once) {
    struct core_conf_mistakes mistakes = {0};
    struct core_fail fail = {0};
    struct config *config = NULL;
    struct pipeline *pipeline = NULL;
    assert_int_equal(config_load(&config, world->conf, &mistakes), CORE_OK);
    core_conf_release(config->sinks[0].ops->opts, config->sinks[0].ops->opts_len, config->sinks[0].conf);
    free(config->sinks[0].conf);
    for (size_t i = 0; i < sinks; i++) {
        unsigned char *number = malloc(1);
        *number = (unsigned char)i;
        config->sinks[i] = (struct config_sink){.ops = fakes[i].is_keeper ? &keeper_ops : &fake_ops, .conf = number};
    }
    config->sinks_len = sinks;
    struct pipeline_options options = {.config_path = world->conf, .is_once = is_once};
    if (pipeline_open(&pipeline, config, &options, &mistakes, &fail) != CORE_OK) {
        fail_msg("%s: %s", fail.where, fail.text);
    }
    return pipeline;
}

/* Sends this process signals while main waits in pipeline_run(). */
struct sender {
    pthread_t thread;
    const struct world *world;
    uint64_t after_sends; /* of the first fake */
    int first;
    unsigned times;
    int last;
};

static void *sender_main(void *arg) {
    const struct sender *sender = arg;
    while (atomic_load(&fakes[0].sends) < sender->after_sends) {
        (void)usleep(1000);
    }
    for (unsigned i = 0; i < sender->times; i++) {
        if (sender->first == SIGHUP) {
            logs_write(sender->world, "ae", 50);
        }
        MUST(kill(getpid(), sender->first) == 0);
        (void)usleep(20000);
    }
    MUST(kill(getpid(), sender->last) == 0);
    return NULL;
}

/* ---- tests ------------------------------------------------------------------------------------------------------------- */

static void test_once_through_two_sinks_in_order_and_each_once(void **state) {
    const struct world *world = *state;
    struct core_fail fail = {0};
    struct pipeline *pipeline = pipeline_make(world, 2, true);
    assert_int_equal(pipeline_run(pipeline, &fail), CORE_OK);
    struct pipeline_report report;
    pipeline_report(pipeline, &report);
    assert_int_equal(report.events, FILES * LINES);
    assert_int_equal(report.outstanding, 0);
    assert_int_equal(report.datasets_len, 1);
    assert_string_equal(report.datasets[0].name, "zeek.weird");
    assert_int_equal(report.datasets[0].events, FILES * LINES);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(fakes[i].events, FILES * LINES);
        assert_true(fakes[i].refusals > 0);
    }
    pipeline_close(pipeline);
    /* the checkpoint is at the end: nothing comes twice */
    memset(fakes, 0, sizeof(fakes));
    pipeline = pipeline_make(world, 2, true);
    assert_int_equal(pipeline_run(pipeline, &fail), CORE_OK);
    assert_int_equal(fakes[0].events, 0);
    pipeline_close(pipeline);
}

static void test_stop_with_a_sink_that_never_answers(void **state) {
    const struct world *world = *state;
    struct core_fail fail = {0};
    fakes[1].is_holding = true;
    struct pipeline *pipeline = pipeline_make(world, 2, false);
    struct sender sender = {.world = world, .after_sends = 3, .first = SIGUSR1, .times = 1, .last = SIGTERM};
    assert_int_equal(pthread_create(&sender.thread, NULL, sender_main, &sender), 0);
    int64_t began = core_tick_ns();
    assert_int_equal(pipeline_run(pipeline, &fail), CORE_OK);
    assert_int_equal(pthread_join(sender.thread, NULL), 0);
    assert_true(core_tick_ns() - began >= 300 * CORE_NS_PER_MS);
    struct pipeline_report report;
    pipeline_report(pipeline, &report);
    assert_int_equal(report.outstanding, 8); /* every batch there is */
    assert_int_equal(report.events, 0);
    assert_true(fakes[1].flushes > 0);
    pipeline_close(pipeline);
    /* nothing was accepted, so all of it comes again */
    memset(fakes, 0, sizeof(fakes));
    pipeline = pipeline_make(world, 1, true);
    assert_int_equal(pipeline_run(pipeline, &fail), CORE_OK);
    assert_int_equal(fakes[0].events, FILES * LINES);
    pipeline_close(pipeline);
}

static void test_a_sink_that_is_gone_ends_the_run_with_its_words(void **state) {
    const struct world *world = *state;
    struct core_fail fail = {0};
    fakes[0].is_holding = true;
    fakes[0].is_gone = true;
    struct pipeline *pipeline = pipeline_make(world, 1, false);
    assert_int_equal(pipeline_run(pipeline, &fail), CORE_IO);
    assert_string_equal(fail.where, "fake");
    assert_string_equal(fail.text, "the reader is gone");
    pipeline_close(pipeline);
}

static void test_a_signal_while_the_threads_end_does_not_keep_them(void **state) {
    const struct world *world = *state;
    struct core_fail fail = {0};
    fakes[0].is_holding = true;
    fakes[0].is_gone = true;
    struct pipeline *pipeline = pipeline_make(world, 2, false);
    fakes[1].end = pipeline;
    assert_int_equal(pipeline_run(pipeline, &fail), CORE_IO); /* and does not end the process after a time */
    assert_string_equal(fail.text, "the reader is gone");
    pipeline_close(pipeline);
}

static void test_refused_reloads_under_load_lose_nothing(void **state) {
    const struct world *world = *state;
    struct core_fail fail = {0};
    struct pipeline *pipeline = pipeline_make(world, 1, false);
    /* The sinks of the file are not the fakes, so each reload is refused. (Reloads that are taken:
     * tests/integration/test_run.py.) */
    struct sender sender = {.world = world, .after_sends = 1, .first = SIGHUP, .times = 10, .last = SIGTERM};
    assert_int_equal(pthread_create(&sender.thread, NULL, sender_main, &sender), 0);
    assert_int_equal(pipeline_run(pipeline, &fail), CORE_OK);
    assert_int_equal(pthread_join(sender.thread, NULL), 0);
    assert_int_equal(pipeline->reload.number > 0, 1);
    pipeline_close(pipeline);
    uint64_t events = fakes[0].events;
    memset(fakes, 0, sizeof(fakes));
    pipeline = pipeline_make(world, 1, true);
    assert_int_equal(pipeline_run(pipeline, &fail), CORE_OK);
    assert_int_equal(events + fakes[0].events, FILES * (LINES + 10 * 50));
    pipeline_close(pipeline);
}

static void test_second_holder_of_the_state_directory_is_refused(void **state) {
    const struct world *world = *state;
    struct core_fail fail = {0};
    struct core_conf_mistakes mistakes = {0};
    struct pipeline *first = pipeline_make(world, 1, true);
    struct pipeline *second = NULL;
    struct config *config = NULL;
    char pid[32];
    assert_int_equal(config_load(&config, world->conf, &mistakes), CORE_OK);
    struct pipeline_options options = {.config_path = world->conf, .is_once = true};
    assert_int_equal(pipeline_open(&second, config, &options, &mistakes, &fail), CORE_LOCKED);
    assert_null(second);
    (void)snprintf(pid, sizeof(pid), "process %ld ", (long)getpid());
    assert_non_null(strstr(fail.text, pid));
    pipeline_close(first);
    struct stat st;
    assert_int_equal(stat(world->state, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
}

/* The first of the file is the keeper: it comes last, and only it and ingest know of commits. */
static void test_the_keeper_comes_last_and_commits_are_what_counts(void **state) {
    const struct world *world = *state;
    struct core_fail fail = {0};
    fakes[0].is_keeper = true;
    struct pipeline *pipeline = pipeline_make(world, 2, true);
    assert_ptr_equal(pipeline->sinks[0].ops, &fake_ops);
    assert_ptr_equal(pipeline->sinks[1].ops, &keeper_ops);
    assert_int_equal(pipeline_run(pipeline, &fail), CORE_OK);
    struct pipeline_report report;
    pipeline_report(pipeline, &report);
    assert_int_equal(report.events, FILES * LINES);
    assert_int_equal(report.outstanding, 0);
    assert_int_equal(fakes[0].accepted, FILES * LINES);
    pipeline_close(pipeline);
    /* what was committed is in the local file, too */
    uint64_t sends = fakes[0].sends;
    pipeline = pipeline_make(world, 2, true);
    assert_int_equal(pipeline_run(pipeline, &fail), CORE_OK);
    assert_int_equal(fakes[0].accepted, FILES * LINES);
    assert_int_equal(fakes[0].sends, sends);
    pipeline_close(pipeline);
}

static void test_aborted_transactions_are_read_again_and_counted_once(void **state) {
    const struct world *world = *state;
    struct core_fail fail = {0};
    fakes[0].is_keeper = true;
    fakes[0].abort_every = 3;
    struct pipeline *pipeline = pipeline_make(world, 1, true);
    assert_int_equal(pipeline_run(pipeline, &fail), CORE_OK);
    struct pipeline_report report;
    pipeline_report(pipeline, &report);
    assert_true(fakes[0].aborts > 0);
    assert_int_equal(fakes[0].accepted, FILES * LINES);
    assert_int_equal(report.events, FILES * LINES);
    assert_int_equal(report.datasets_len, 1);
    assert_int_equal(report.datasets[0].events, FILES * LINES);
    assert_int_equal(report.datasets[0].pending, 0);
    pipeline_close(pipeline);
}

static void test_stop_while_the_keeper_waits_for_its_server(void **state) {
    const struct world *world = *state;
    struct core_fail fail = {0};
    fakes[0].is_keeper = true;
    fakes[0].is_waiting = true;
    struct pipeline *pipeline = pipeline_make(world, 1, false);
    struct sender sender = {.world = world, .first = SIGUSR1, .times = 10, .last = SIGTERM};
    assert_int_equal(pthread_create(&sender.thread, NULL, sender_main, &sender), 0);
    int64_t began = core_tick_ns();
    assert_int_equal(pipeline_run(pipeline, &fail), CORE_OK);
    assert_int_equal(pthread_join(sender.thread, NULL), 0);
    assert_true(core_tick_ns() - began < 30 * CORE_NS_PER_S);
    struct pipeline_report report;
    pipeline_report(pipeline, &report);
    assert_int_equal(report.outstanding, 0); /* nothing was read */
    assert_int_equal(report.events, 0);
    assert_int_equal(core_counted(report.counters, CORE_COUNT_INGEST_LINES), 0);
    pipeline_close(pipeline);
}

static void test_a_node_that_another_has_is_no_reason_to_restart(void **state) {
    const struct world *world = *state;
    struct core_fail fail = {0};
    fakes[0].is_keeper = true;
    fakes[0].is_gone = true;
    struct pipeline *pipeline = pipeline_make(world, 1, false);
    assert_int_equal(pipeline_run(pipeline, &fail), CORE_LOCKED);
    assert_int_equal(pipeline_exit(CORE_LOCKED), CORE_EXIT_USAGE);
    assert_int_equal(pipeline_exit(CORE_BAD), CORE_EXIT_USAGE);
    assert_int_equal(pipeline_exit(CORE_NET), CORE_EXIT_SYSTEM);
    assert_string_equal(fail.text, "another instance has the node");
    pipeline_close(pipeline);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_once_through_two_sinks_in_order_and_each_once, world_make, world_remove),
        cmocka_unit_test_setup_teardown(test_stop_with_a_sink_that_never_answers, world_make, world_remove),
        cmocka_unit_test_setup_teardown(test_a_sink_that_is_gone_ends_the_run_with_its_words, world_make, world_remove),
        cmocka_unit_test_setup_teardown(test_a_signal_while_the_threads_end_does_not_keep_them, world_make,
                                        world_remove),
        cmocka_unit_test_setup_teardown(test_refused_reloads_under_load_lose_nothing, world_make, world_remove),
        cmocka_unit_test_setup_teardown(test_second_holder_of_the_state_directory_is_refused, world_make, world_remove),
        cmocka_unit_test_setup_teardown(test_the_keeper_comes_last_and_commits_are_what_counts, world_make,
                                        world_remove),
        cmocka_unit_test_setup_teardown(test_aborted_transactions_are_read_again_and_counted_once, world_make,
                                        world_remove),
        cmocka_unit_test_setup_teardown(test_stop_while_the_keeper_waits_for_its_server, world_make, world_remove),
        cmocka_unit_test_setup_teardown(test_a_node_that_another_has_is_no_reason_to_restart, world_make, world_remove),
    };
    core_log_level(CORE_LEVEL_WARN);
    return cmocka_run_group_tests_name("cmd_pipeline", tests, NULL, NULL);
}
