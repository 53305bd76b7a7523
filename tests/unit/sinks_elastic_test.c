/* The elasticsearch sink against a small engine that can be as ill as one likes: nothing is lost, nothing is there twice, and
 * what is refused is known with its reason.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/sinks_elastic_rig.h"

#define WAIT_MS 20000
#define QUICK "  namespace: test\n"

/* Send it, and have it back. */
static void deliver(struct rig *rig, struct core_batch *batch) {
    engine_send(rig, batch);
    assert_ptr_equal(rig_wait(rig, WAIT_MS), batch);
}

static void both_free(struct engine *engine, struct rig *rig) {
    rig_close(rig);
    engine_free(engine);
}

static void documents_arrive_with_id_index_and_data_stream(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine_rig(engine, &rig, QUICK, 2);
    struct core_batch *batch = rig_batch(&rig);
    engine_event(&rig, batch, "zeek.dns", 7);
    engine_event(&rig, batch, "zeek.notice", 8);
    batch->events[1].is_dead = true;
    deliver(&rig, batch);
    assert_int_equal(engine->docs_len, 2);
    char iso[28] = "";
    assert_true(core_time_iso(core_now_ns(), iso));
    char name[64];
    snprintf(name, sizeof name, "logs-zeek.dns-test-%.4s.%.2s.%.2s", iso, iso + 5, iso + 8);
    struct engine_doc *doc = engine_find(engine, name, "0123456789abcdef0000000000000000");
    assert_non_null(doc);
    assert_non_null(strstr(doc->doc,
                           ",\"n\":7,\"data_stream\":{\"type\":\"logs\",\"dataset\":\"zeek.dns\",\"namespace\":"
                           "\"test\"}}"));
    snprintf(name, sizeof name, "logs-tapline.deadletter-test-%.4s.%.2s", iso, iso + 5);
    doc = engine_find(engine, name, "0123456789abcdef0000000000000064");
    assert_non_null(doc);
    assert_non_null(strstr(doc->doc, "\"dataset\":\"tapline.deadletter\""));
    assert_int_equal(batch->events[0].fate, CORE_FATE_TAKEN);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 1);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_DEAD), 1);
    both_free(engine, &rig);
}

static void what_is_there_already_counts_as_delivered(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine_rig(engine, &rig, QUICK, 4);
    struct core_batch *batch = engine_batch(&rig, "zeek.dns", 0, 10);
    deliver(&rig, batch);
    rig.position = 500; /* the second half again, and five more */
    struct core_batch *again = engine_batch(&rig, "zeek.dns", 5, 10);
    deliver(&rig, again);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(again->events[i].fate, i < 5 ? CORE_FATE_REPEATED : CORE_FATE_TAKEN);
    }
    assert_int_equal(engine->docs_len, 15);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_ELASTIC_REPEATED), 5);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 20);
    both_free(engine, &rig);
}

/* ---- busy ------------------------------------------------------------------------------------------------------------------ */

static const char *busy_thirds(struct engine *engine, const struct engine_line *line, unsigned tries) {
    (void)engine;
    bool is_third = memmem(line->doc.ptr, line->doc.len, "\"n\":3", 5) != NULL;
    return is_third && tries < 4 ? "\"status\":429,\"error\":{\"type\":\"es_rejected_execution_exception\",\"reason\":"
                                   "\"rejected execution of coordinating operation\"}"
                                 : NULL;
}

static void only_what_was_rejected_goes_again(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine->item = busy_thirds;
    engine_rig(engine, &rig, QUICK, 2);
    struct core_batch *batch = engine_batch(&rig, "zeek.dns", 0, 40); /* 3, 30 … 39 */
    deliver(&rig, batch);
    assert_int_equal(engine->docs_len, 40);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_ELASTIC_REPEATED), 0);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_ELASTIC_AGAIN), 33);
    assert_true(engine->bulks >= 4); /* smaller ones, too */
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(batch->events[i].fate, CORE_FATE_TAKEN);
    }
    both_free(engine, &rig);
}

static const char *busy_whole(struct engine *engine, unsigned number, size_t bytes, unsigned items) {
    (void)bytes;
    (void)items;
    static const char *const answers[] = {
        "HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n",
        ("HTTP/1.1 500 Oh\r\nContent-Length: 67\r\n\r\n"
         "{\"error\":{\"type\":\"oh_exception\",\"reason\":\"something\"},\"status\":500}\n"),
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 503 Ill\r\nContent-Length: 3\r\n\r\nill",
        "HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n{\"errors\":false,\"items\":[]}",
        "HTTP/1.1 404 None\r\nContent-Length: 4\r\n\r\nnone",
        "HTTP/1.1 301 There\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"errors\":false,\"items\":[{\"create\":{\"status\":201}}",
        "",
    };
    return engine->memory != 0 || number > sizeof answers / sizeof answers[0] ? NULL : answers[number - 1];
}

static void no_failure_of_a_whole_request_loses_or_doubles_anything(void **state) {
    (void)state;
    for (int takes_all = 0; takes_all < 2; takes_all++) {
        struct engine *engine = engine_new(0);
        struct rig rig;
        engine->whole = busy_whole;
        engine->takes_all = takes_all == 1; /* the engine had it, and its answer was lost */
        engine_rig(engine, &rig, QUICK "  connections: 1\n", 2);
        struct core_batch *batch = engine_batch(&rig, "zeek.dns", 0, 30);
        deliver(&rig, batch);
        assert_int_equal(engine->docs_len, 30);
        assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 30);
        assert_int_equal(rig_counted(&rig, CORE_COUNT_ELASTIC_REPEATED), takes_all == 1 ? 30 : 0);
        assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_REFUSED), 0);
        assert_true(engine->products_asked > 1); /* what came back was looked at again */
        both_free(engine, &rig);
    }
}

/* ---- too large --------------------------------------------------------------------------------------------------------------- */

#define TOO_LARGE "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"

static const char *large_whole(struct engine *engine, unsigned number, size_t bytes, unsigned items) {
    (void)engine;
    (void)number;
    (void)items;
    return bytes > 2000 ? TOO_LARGE : NULL;
}

static void what_is_too_large_is_split_until_it_fits(void **state) {
    (void)state;
    static char large[3001];
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine->whole = large_whole;
    engine_rig(engine, &rig, QUICK "  connections: 1\n", 2);
    rig.env.keeps_refused = true;
    struct core_batch *batch = engine_batch(&rig, "zeek.dns", 0, 100);
    memset(large, 'x', sizeof large - 1);
    memcpy(large, "{\"@timestamp\":\"2026-11-22T00:00:00Z\",\"x\":\"", 42);
    memcpy(large + sizeof large - 3, "\"}", 3);
    rig_event(&rig, batch, "zeek.dns", core_span_of(large));
    engine_event(&rig, batch, "zeek.dns", 200);
    deliver(&rig, batch);
    assert_int_equal(engine->docs_len, 101);
    assert_int_equal(batch->events[100].fate, CORE_FATE_REFUSED);
    assert_non_null(strstr(batch->events[100].refusal, "413"));
    assert_int_equal(batch->events[101].fate, CORE_FATE_TAKEN);
    assert_true(rig_counted(&rig, CORE_COUNT_ELASTIC_SPLITS) >= 3);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_REFUSED), 1);
    both_free(engine, &rig);
}

static const char *spoilt_whole(struct engine *engine, unsigned number, size_t bytes, unsigned items) {
    (void)number;
    (void)bytes;
    (void)items;
    const char *spoilt =
        "HTTP/1.1 400 Bad\r\nContent-Length: 89\r\n\r\n"
        "{\"error\":{\"type\":\"illegal_argument_exception\",\"reason\":\"Malformed thing\"},\"status\":400}\n\n\n\n";
    return engine->memory > 0 ? spoilt : NULL;
}

static void spoilt_seen(struct engine *engine, struct core_span body) {
    engine->memory =
        memmem(body.ptr, body.len, "\"n\":13}", 7) != NULL || memmem(body.ptr, body.len, "\"n\":13,", 7) != NULL;
}

static void one_that_spoils_a_request_is_found_and_refused(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine->whole = spoilt_whole;
    engine->seen = spoilt_seen;
    engine_rig(engine, &rig, QUICK "  connections: 1\n", 2);
    rig.env.keeps_refused = true;
    struct core_batch *batch = engine_batch(&rig, "zeek.dns", 0, 32);
    deliver(&rig, batch);
    assert_int_equal(engine->docs_len, 31);
    assert_int_equal(batch->events[13].fate, CORE_FATE_REFUSED);
    assert_non_null(strstr(batch->events[13].refusal, "Malformed thing"));
    both_free(engine, &rig);
}

/* ---- refused ------------------------------------------------------------------------------------------------------------------ */

#define REFUSED                                                                                                        \
    "\"status\":400,\"error\":{\"type\":\"document_parsing_exception\",\"reason\":\"[1:29] failed to parse field [a] " \
    "\\\"x\\\"\","                                                                                                     \
    "\"caused_by\":{\"type\":\"illegal_argument_exception\",\"reason\":\"outer\",\"caused_by\":{\"type\":\"inner_"     \
    "exception\","                                                                                                     \
    "\"reason\":\"For input string\"}}}"

static const char *refuse_sevens(struct engine *engine, const struct engine_line *line, unsigned tries) {
    bool is_letter = strstr(line->index, "deadletter") != NULL;
    bool is_seven = memmem(line->doc.ptr, line->doc.len, "\"n\":7", 5) != NULL;
    if (is_letter ? engine->memory == 0 : !is_seven) {
        return NULL;
    }
    MUST(tries == 1 || is_letter);
    return REFUSED;
}

static void a_refusal_is_believed_after_one_try_and_its_reason_kept(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine->item = refuse_sevens;
    engine_rig(engine, &rig, QUICK, 2);
    rig.env.keeps_refused = true;
    struct core_batch *batch = engine_batch(&rig, "zeek.dns", 0, 10);
    deliver(&rig, batch);
    assert_int_equal(engine->docs_len, 9);
    assert_int_equal(engine->bulks, 1);
    assert_int_equal(batch->events[7].fate, CORE_FATE_REFUSED);
    assert_string_equal(
        batch->events[7].refusal,
        "document_parsing_exception: [1:29] failed to parse field [a] \"x\" (caused by inner_exception: For "
        "input string)");
    assert_int_equal(batch->events[8].fate, CORE_FATE_TAKEN);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_REFUSED), 1);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 9);
    both_free(engine, &rig);
}

static void behind_run_a_refused_document_becomes_a_dead_letter(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine->item = refuse_sevens;
    engine_rig(engine, &rig, QUICK, 2);
    struct core_batch *batch = engine_batch(&rig, "zeek.dns", 70, 4);
    engine_event(&rig, batch, "zeek.dns", 1);
    batch->tally = (struct core_tally){.records = 5, .events = 5};
    deliver(&rig, batch);
    assert_int_equal(engine->docs_len, 5);
    struct engine_doc *letter = engine_find(engine, NULL, "0123456789abcdef0000000000000000");
    assert_non_null(letter);
    assert_memory_equal(letter->index, "logs-tapline.deadletter-test-20", 31);
    assert_non_null(strstr(letter->doc, "For input string"));
    assert_non_null(strstr(letter->doc, "\\\"n\\\":70}"));
    assert_non_null(strstr(letter->doc, "\"data_stream\":{\"type\":\"logs\",\"dataset\":\"tapline.deadletter\""));
    assert_int_equal(batch->tally.events, 1);
    assert_int_equal(batch->tally.dead, 4);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_REFUSED), 4);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_DEAD), 4);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_ACCEPTED), 1);
    both_free(engine, &rig);
}

static void behind_run_a_refused_dead_letter_is_in_the_log_only(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine->item = refuse_sevens;
    engine->memory = 1;
    engine_rig(engine, &rig, QUICK, 2);
    struct core_batch *batch = engine_batch(&rig, "zeek.dns", 70, 2);
    batch->events[1].is_dead = true;
    batch->tally = (struct core_tally){.records = 2, .events = 1, .dead = 1};
    deliver(&rig, batch);
    assert_int_equal(engine->docs_len, 0);
    assert_int_equal(batch->tally.lost, 2);
    assert_int_equal(batch->tally.events + batch->tally.dead, 0);
    assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_DROPPED), 2);
    both_free(engine, &rig);
}

static const char *in_failure_store(struct engine *engine, const struct engine_line *line, unsigned tries) {
    (void)engine;
    (void)tries;
    bool is_used = memmem(line->doc.ptr, line->doc.len, "\"n\":1,", 6) != NULL;
    bool is_not = memmem(line->doc.ptr, line->doc.len, "\"n\":2,", 6) != NULL;
    return is_used  ? "\"status\":201,\"failure_store\":\"used\""
           : is_not ? "\"status\":201,\"failure_store\":\"not_enabled\""
                    : NULL;
}

static void the_failure_store_is_not_the_index(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine->item = in_failure_store;
    engine_rig(engine, &rig, QUICK, 2);
    rig.env.keeps_refused = true;
    struct core_batch *batch = engine_batch(&rig, "zeek.dns", 0, 3);
    deliver(&rig, batch);
    assert_int_equal(batch->events[0].fate, CORE_FATE_TAKEN);
    assert_int_equal(batch->events[1].fate, CORE_FATE_REFUSED);
    assert_non_null(strstr(batch->events[1].refusal, "failure store"));
    assert_int_equal(batch->events[2].fate, CORE_FATE_TAKEN);
    both_free(engine, &rig);
}

static const char *doubtful(struct engine *engine, const struct engine_line *line, unsigned tries) {
    (void)engine;
    bool is_race = memmem(line->doc.ptr, line->doc.len, "\"n\":1,", 6) != NULL;
    bool is_conflict = memmem(line->doc.ptr, line->doc.len, "\"n\":2,", 6) != NULL;
    bool is_odd = memmem(line->doc.ptr, line->doc.len, "\"n\":3,", 6) != NULL;
    return is_odd ? "\"status\":\"odd\""
           : (is_race && tries == 1) || is_conflict
               ? "\"status\":400,\"error\":{\"type\":\"illegal_argument_exception\",\"reason\":\"mapper [u] cannot be "
                 "changed from type [keyword] to [long]\"}"
               : NULL;
}

static void what_may_pass_is_tried_again_but_not_for_ever(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine->item = doubtful;
    engine_rig(engine, &rig, QUICK, 2);
    rig.env.keeps_refused = true;
    struct core_batch *batch = engine_batch(&rig, "zeek.dns", 0, 5);
    int64_t start = core_tick_ns();
    deliver(&rig, batch);
    assert_true(core_tick_ns() - start < 30 * CORE_NS_PER_S);
    assert_int_equal(batch->events[1].fate, CORE_FATE_TAKEN);
    assert_int_equal(batch->events[2].fate, CORE_FATE_REFUSED);
    assert_int_equal(batch->events[3].fate, CORE_FATE_REFUSED);
    assert_non_null(strstr(batch->events[3].refusal, "cannot be read"));
    assert_int_equal(engine->docs_len, 3);
    both_free(engine, &rig);
}

static const char *busy_at_first(struct engine *engine, unsigned number, size_t bytes, unsigned items) {
    (void)engine;
    (void)bytes;
    (void)items;
    return number <= 5 ? "HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n" : NULL;
}

static void after_a_busy_time_requests_grow_again(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine->whole = busy_at_first;
    engine_rig(engine, &rig, QUICK "  connections: 1\n", 2);
    struct core_batch *batch = engine_batch(&rig, "zeek.dns", 0, 1000);
    deliver(&rig, batch);
    assert_int_equal(engine->docs_len, 1000);
    assert_true(engine->bulks < 25);
    both_free(engine, &rig);
}

/* ---- the cluster's state ---------------------------------------------------------------------------------------------------------- */

static const char *blocked(struct engine *engine, const struct engine_line *line, unsigned tries) {
    static const char *const states[] = {
        "\"status\":400,\"error\":{\"type\":\"validation_exception\",\"reason\":\"Validation Failed: 1: this action "
        "would add "
        "[2] shards, but this cluster currently has [1000]/[1000] maximum normal shards open;\"}",
        "\"status\":404,\"error\":{\"type\":\"index_not_found_exception\",\"reason\":\"no such index [x] and "
        "[action.auto_create_index] is [false]\"}",
        "\"status\":403,\"error\":{\"type\":\"cluster_block_exception\",\"reason\":\"index [x] blocked by: "
        "[FORBIDDEN/8/index "
        "write (api)];\"}",
        "\"status\":503,\"error\":{\"type\":\"unavailable_shards_exception\",\"reason\":\"primary shard is not "
        "active\"}",
    };
    (void)line;
    return tries < 3 ? states[engine->memory] : NULL;
}

static void what_the_cluster_cannot_take_now_is_waited_for(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct engine *engine = engine_new(0);
        struct rig rig;
        engine->item = blocked;
        engine->memory = i;
        engine_rig(engine, &rig, QUICK, 2);
        rig.env.keeps_refused = true;
        struct core_batch *batch = engine_batch(&rig, "zeek.dns", 0, 3);
        deliver(&rig, batch);
        assert_int_equal(engine->docs_len, 3);
        assert_int_equal(rig_counted(&rig, CORE_COUNT_SINK_REFUSED), 0);
        assert_int_equal(rig_counted(&rig, i == 3 ? CORE_COUNT_ELASTIC_AGAIN : CORE_COUNT_ELASTIC_WAITS) > 0, 1);
        both_free(engine, &rig);
    }
}

/* ---- what ends it ------------------------------------------------------------------------------------------------------------------ */

/* The sink is gone, with these words, and gave nothing back. */
static void assert_gone(struct engine *engine, const char *more, const char *words) {
    struct rig rig;
    struct core_fail fail = {0};
    engine_rig(engine, &rig, more, 2);
    engine_send(&rig, engine_batch(&rig, "zeek.dns", 0, 5));
    int64_t until = core_tick_ns() + WAIT_MS * CORE_NS_PER_MS;
    struct core_batch *done = NULL;
    while (!rig.ops->is_gone(rig.sink, &fail) && core_tick_ns() < until) {
        assert_int_equal(rig.ops->poll(rig.sink, &done, 1, 20), 0);
    }
    assert_int_equal(fail.err, CORE_BAD);
    if (strstr(fail.text, words) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", words, fail.text);
    }
    assert_int_equal(engine->docs_len, 0);
    assert_int_equal(rig.ops->poll(rig.sink, &done, 1, 20), 0);
    both_free(engine, &rig);
}

static const char *barred_item(struct engine *engine, const struct engine_line *line, unsigned tries) {
    (void)engine;
    (void)line;
    (void)tries;
    return "\"status\":403,\"error\":{\"type\":\"security_exception\",\"reason\":\"action [indices:admin/auto_create] "
           "is "
           "unauthorized\"}";
}

static const char *barred_whole(struct engine *engine, unsigned number, size_t bytes, unsigned items) {
    (void)engine;
    (void)number;
    (void)bytes;
    (void)items;
    return "HTTP/1.1 401 No\r\nContent-Length: 73\r\n\r\n"
           "{\"error\":{\"type\":\"security_exception\",\"reason\":\"unable to authenticate\"}}";
}

static void credentials_that_do_not_do_end_it(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    engine->item = barred_item;
    assert_gone(engine, QUICK, "is unauthorized");
    engine = engine_new(0);
    engine->whole = barred_whole;
    assert_gone(engine, QUICK, "unable to authenticate");
}

static void nothing_is_sent_without_templates_or_to_another_product(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    engine->templates = NULL;
    assert_gone(engine, QUICK, "tapline setup");
    engine = engine_new(0);
    engine->templates = "{}";
    assert_gone(engine, QUICK, "tapline setup");
    engine = engine_new(0);
    engine->templates = ENGINE_STREAMS;
    assert_gone(engine, QUICK, "index_mode");
    engine = engine_new(0);
    assert_gone(engine, QUICK "  index_mode: data_stream\n", "index_mode");
    engine = engine_new(0);
    engine->product = "<html>It works!</html>";
    assert_gone(engine, QUICK, "neither Elasticsearch nor OpenSearch");
    engine = engine_new(0);
    engine->product = "{\"version\":{\"number\":\"6.8.0\"},\"tagline\":\"You Know, for Search\"}";
    assert_gone(engine, QUICK, "too old");
}

/* ---- ways of sending --------------------------------------------------------------------------------------------------------------- */

static void an_engine_that_is_away_is_waited_for(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine_rig(engine, &rig, QUICK, 4);
    int port = engine->server.port;
    engine_free(engine);
    struct core_batch *first = engine_batch(&rig, "zeek.dns", 0, 10);
    engine_send(&rig, first);
    assert_null(rig_wait(&rig, 300));
    engine = engine_new(port);
    assert_ptr_equal(rig_wait(&rig, WAIT_MS), first);
    assert_int_equal(engine->docs_len, 10);
    both_free(engine, &rig);
}

static void bodies_are_compressed_if_wanted(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine->item = busy_thirds;
    engine_rig(engine, &rig, QUICK "  compression: gzip\n  api_key: \"id:key\"\n", 2);
    deliver(&rig, engine_batch(&rig, "zeek.dns", 0, 500));
    assert_int_equal(engine->docs_len, 500);
    assert_true(engine->gzipped > 0 && engine->gzipped < 500 * 60);
    assert_int_equal(engine->gzipped, rig_counted(&rig, CORE_COUNT_ELASTIC_BYTES));
    rig_close(&rig);
    assert_string_equal(engine->server.authorization, "Authorization: ApiKey aWQ6a2V5");
    engine_free(engine);
}

static void data_streams_and_opensearch_are_spoken_to(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine->product = ENGINE_OPENSEARCH;
    engine->templates = ENGINE_STREAMS;
    engine_rig(engine, &rig, QUICK "  index_mode: data_stream\n  username: u\n  password: \"p:w\"\n", 2);
    deliver(&rig, engine_batch(&rig, "Zeek.D-ns", 0, 2));
    assert_string_equal(engine->docs[0].index, "logs-zeek.d_ns-test");
    rig_close(&rig);
    assert_string_equal(engine->server.authorization, "Authorization: Basic dTpwOnc=");
    engine_free(engine);
}

static void bulks_are_cut_across_batches_and_batches_come_back_in_order(void **state) {
    (void)state;
    enum { BATCHES = 12, EVENTS = 150 };
    struct engine *engine = engine_new(0);
    struct rig rig;
    struct core_stream other = {.magic = CORE_STREAM_MAGIC, .gen = 99, .path = "/logs/other.log"};
    uint64_t next[2] = {0, 0};
    engine->item = busy_thirds;
    engine_rig(engine, &rig, QUICK "  bulk_events: 64\n  connections: 3\n", BATCHES);
    for (int i = 0; i < BATCHES; i++) {
        struct core_batch *batch = engine_batch(&rig, "zeek.dns", i * EVENTS, i == 5 ? 0 : EVENTS);
        batch->stream = i % 3 == 0 ? &other : &rig.stream;
        batch->seq = next[i % 3 == 0]++;
        assert_int_equal(rig.ops->send(rig.sink, batch), CORE_OK);
    }
    rig.ops->flush(rig.sink);
    uint64_t seen[2] = {0, 0};
    for (int i = 0; i < BATCHES; i++) {
        struct core_batch *batch = rig_wait(&rig, WAIT_MS);
        assert_non_null(batch);
        assert_int_equal(batch->seq, seen[batch->stream == &other]++);
    }
    assert_int_equal(engine->docs_len, (BATCHES - 1) * EVENTS);
    assert_true(engine->items_max <= 64);
    both_free(engine, &rig);
}

static void a_bulk_that_nobody_fills_goes_after_a_while(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine_rig(engine, &rig, QUICK, 2);
    struct core_batch *batch = engine_batch(&rig, "zeek.dns", 0, 3);
    assert_int_equal(rig.ops->send(rig.sink, batch), CORE_OK);
    assert_ptr_equal(rig_wait(&rig, WAIT_MS), batch); /* without a flush */
    both_free(engine, &rig);
}

/* ---- documents of others ---------------------------------------------------------------------------------------------------------- */

static void any_document_of_others_is_sent_so_that_no_neighbour_suffers(void **state) {
    (void)state;
    static const char *const docs[] = {
        "{}",
        " { } ",
        "{\n\"a\":\n1 }\n",
        "{\"data_stream\":{\"dataset\":\"own\"},\"a\":1}",
        "{\"a\":{\"data_stream\":1}}",
        "{\"data_stream.dataset\":\"own\"}",
        "[1]",
        "7",
        "",
    };
    static const char *const kept[] = {
        "{\"data_stream\":{\"type\":\"logs\",\"dataset\":\"x\",\"namespace\":\"test\"}}",
        "{\"data_stream\":{\"type\":\"logs\",\"dataset\":\"x\",\"namespace\":\"test\"}}",
        "{ \"a\": 1,\"data_stream\":{\"type\":\"logs\",\"dataset\":\"x\",\"namespace\":\"test\"}}",
        "{\"data_stream\":{\"dataset\":\"own\"},\"a\":1}",
        "{\"a\":{\"data_stream\":1},\"data_stream\":{\"type\":\"logs\",\"dataset\":\"x\",\"namespace\":\"test\"}}",
        "{\"data_stream.dataset\":\"own\"}",
    };
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine_rig(engine, &rig, QUICK, 2);
    rig.env.keeps_refused = true;
    struct core_batch *batch = rig_batch(&rig);
    for (size_t i = 0; i < sizeof docs / sizeof docs[0]; i++) {
        rig_event(&rig, batch, "x", core_span_of(docs[i]));
    }
    engine_event(&rig, batch, "x", 1);
    batch->events[9].fate = CORE_FATE_REFUSED; /* the source knew better */
    batch->events[9].refusal = "known";
    deliver(&rig, batch);
    assert_int_equal(engine->docs_len, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(engine->docs[i].doc, kept[i]);
        assert_string_equal(engine->docs[i].index, "logs-x-test-outofrange");
    }
    for (size_t i = 6; i < 10; i++) {
        assert_int_equal(batch->events[i].fate, CORE_FATE_REFUSED);
    }
    assert_string_equal(batch->events[9].refusal, "known");
    both_free(engine, &rig);
}

static void ids_and_times_of_acceptance_are_those_of_the_record(void **state) {
    (void)state;
    struct engine *engine = engine_new(0);
    struct rig rig;
    engine_rig(engine, &rig, QUICK, 2);
    struct core_batch *batch = rig_batch(&rig);
    struct core_event *event =
        rig_event(&rig, batch, "zeek.dns", CORE_SPAN("{\"@timestamp\":\"2011-03-04T05:06:07.5Z\"}"));
    event->id = CORE_SPAN("ffffffffffffffff0000000000000001");
    event->accepted_ms = INT64_C(1299300000000); /* 2011-03-05 */
    event = rig_event(&rig, batch, "zeek.dns", CORE_SPAN("{\"@timestamp\":\"2011-03-04T05:06:07.5Z\"}"));
    deliver(&rig, batch);
    assert_string_equal(engine->docs[0].id, "ffffffffffffffff0000000000000001");
    assert_string_equal(engine->docs[0].index, "logs-zeek.dns-test-2011.03.04");
    assert_string_equal(engine->docs[1].index, "logs-zeek.dns-test-outofrange");
    assert_int_equal(rig_counted(&rig, CORE_COUNT_ELASTIC_OUT_OF_RANGE), 1);
    both_free(engine, &rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_arrive_with_id_index_and_data_stream),
        cmocka_unit_test(what_is_there_already_counts_as_delivered),
        cmocka_unit_test(only_what_was_rejected_goes_again),
        cmocka_unit_test(no_failure_of_a_whole_request_loses_or_doubles_anything),
        cmocka_unit_test(what_is_too_large_is_split_until_it_fits),
        cmocka_unit_test(one_that_spoils_a_request_is_found_and_refused),
        cmocka_unit_test(a_refusal_is_believed_after_one_try_and_its_reason_kept),
        cmocka_unit_test(behind_run_a_refused_document_becomes_a_dead_letter),
        cmocka_unit_test(behind_run_a_refused_dead_letter_is_in_the_log_only),
        cmocka_unit_test(the_failure_store_is_not_the_index),
        cmocka_unit_test(what_may_pass_is_tried_again_but_not_for_ever),
        cmocka_unit_test(after_a_busy_time_requests_grow_again),
        cmocka_unit_test(what_the_cluster_cannot_take_now_is_waited_for),
        cmocka_unit_test(credentials_that_do_not_do_end_it),
        cmocka_unit_test(nothing_is_sent_without_templates_or_to_another_product),
        cmocka_unit_test(an_engine_that_is_away_is_waited_for),
        cmocka_unit_test(bodies_are_compressed_if_wanted),
        cmocka_unit_test(data_streams_and_opensearch_are_spoken_to),
        cmocka_unit_test(bulks_are_cut_across_batches_and_batches_come_back_in_order),
        cmocka_unit_test(a_bulk_that_nobody_fills_goes_after_a_while),
        cmocka_unit_test(any_document_of_others_is_sent_so_that_no_neighbour_suffers),
        cmocka_unit_test(ids_and_times_of_acceptance_are_those_of_the_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
