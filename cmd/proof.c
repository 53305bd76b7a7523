/* cmd/proof.c: reads what a node's topics hold: positions first, then all records, generation by generation.
 *
 * Each call of proof_read() assigns all partitions from where the last one stopped to the ends they have at that moment,
 * so that it always comes to an end, however fast others write. Topics that appear are taken up at the next call.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/proof.h"
#include "cmd/zeek_counts.h"
#include "ingest/feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ASK_TIMEOUT_MS 15000
#define NEXT_TIMEOUT_MS 500
#define PATIENCE_NS (120 * CORE_NS_PER_S) /* without a record and without an end */
#define PROGRESS_NS (CORE_NS_PER_S / 2)
#define WAIT_NS (100 * CORE_NS_PER_MS)
#define POSITION_BYTES_MAX (64 * CORE_KIB) /* of a line of it */
#define UNKNOWN_KEPT_NS (120 * CORE_NS_PER_S)
#define MEMORY_CHECK_RECORDS 65536
#define HEADER_BYTES 24
#define HEADER_FROM_BYTES 32

const char *const proof_kind_names[PROOF_KINDS] = {
    [PROOF_GAP] = "gap",           [PROOF_NOT_JUDGED] = "not_judged", [PROOF_DOUBLED] = "doubled",
    [PROOF_OVERLAP] = "overlap",   [PROOF_COUNT] = "count",           [PROOF_LOST] = "lost",
    [PROOF_IDENTITY] = "identity",
};

/* ---- small things -------------------------------------------------------------------------------------------------------- */

/* Room for one more item in an array. */
static void *grown(void *items, size_t len, size_t *cap, size_t size) {
    if (len < *cap) {
        return items;
    }
    *cap = *cap == 0 ? 16 : *cap * 2;
    void *more = realloc(items, *cap * size);
    MUST(more != NULL); /* topics and generations: few and small; what is many (spans) fails with words */
    return more;
}

static char *copied(const char *text) {
    char *copy = strdup(text);
    MUST(copy != NULL);
    return copy;
}

static uint64_t be64(const char *bytes) {
    uint64_t v = 0;
    for (size_t i = 0; i < sizeof v; i++) {
        v = v << 8 | (unsigned char)bytes[i];
    }
    return v;
}

bool proof_header_take(struct core_span bytes, struct proof_header *header) {
    if (bytes.len != HEADER_BYTES && bytes.len != HEADER_FROM_BYTES) {
        return false;
    }
    header->gen = be64(bytes.ptr);
    header->start = be64(bytes.ptr + 8);
    header->end = be64(bytes.ptr + 16);
    header->from = bytes.len == HEADER_FROM_BYTES ? be64(bytes.ptr + 24) : header->start;
    return header->from <= header->start && header->start < header->end;
}

static uint32_t seconds_of(int64_t timestamp_ms) {
    return timestamp_ms < 0 ? 0 : (uint32_t)(timestamp_ms / 1000);
}

static void newest_note(struct proof *proof, int64_t timestamp_ms) {
    proof->newest_ms = timestamp_ms > proof->newest_ms ? timestamp_ms : proof->newest_ms;
}

/* ---- generations --------------------------------------------------------------------------------------------------------- */

static size_t table_at(const struct proof *proof, uint64_t gen) {
    size_t at = (size_t)(gen * UINT64_C(0x9E3779B97F4A7C15)) & (proof->table_cap - 1);
    while (proof->table[at] != NULL && proof->table[at]->gen != gen) {
        at = (at + 1) & (proof->table_cap - 1);
    }
    return at;
}

struct proof_gen *proof_find(const struct proof *proof, uint64_t gen) {
    return proof->table_cap == 0 ? NULL : proof->table[table_at(proof, gen)];
}

static void table_grow(struct proof *proof) {
    proof->table_cap = proof->table_cap == 0 ? 1024 : proof->table_cap * 2;
    free(proof->table);
    proof->table = calloc(proof->table_cap, sizeof(struct proof_gen *));
    MUST(proof->table != NULL);
    for (size_t i = 0; i < proof->gens_len; i++) {
        proof->table[table_at(proof, proof->gens[i]->gen)] = proof->gens[i];
    }
}

static struct proof_gen *gen_of(struct proof *proof, uint64_t gen) {
    struct proof_gen *found = proof_find(proof, gen);
    if (found != NULL) {
        return found;
    }
    if ((proof->gens_len + 1) * 2 > proof->table_cap) {
        table_grow(proof);
    }
    found = calloc(1, sizeof *found);
    MUST(found != NULL);
    found->gen = gen;
    found->topic = PROOF_TOPIC_NONE;
    found->seen_tick = core_tick_ns();
    proof->gens = grown(proof->gens, proof->gens_len, &proof->gens_cap, sizeof(struct proof_gen *));
    proof->gens[proof->gens_len++] = found;
    proof->table[table_at(proof, gen)] = found;
    return found;
}

/* Of the records that were behind the position, those that it has reached now. */
static void newer_settle(struct proof_gen *gen) {
    size_t kept = 0;
    for (size_t i = 0; i < gen->newer_len; i++) {
        if (gen->newer[i] >> 1 > gen->from) {
            gen->newer[kept++] = gen->newer[i];
        } else {
            *((gen->newer[i] & 1) != 0 ? &gen->dead : &gen->events) += 1;
        }
    }
    gen->newer_len = kept;
}

static void gen_empty(struct proof_gen *gen) {
    spans_release(&gen->spans);
    free(gen->newer);
    gen->newer = NULL;
    gen->newer_len = gen->newer_cap = 0;
}

static struct proof_log *log_of(struct proof *proof, struct core_span name) {
    for (size_t i = 0; i < proof->logs_len; i++) {
        if (core_span_is(name, proof->logs[i]->name)) {
            return proof->logs[i];
        }
    }
    struct proof_log *log = calloc(1, sizeof *log);
    MUST(log != NULL);
    log->name = strndup(name.ptr, name.len);
    MUST(log->name != NULL);
    log->topic = PROOF_TOPIC_NONE;
    proof->logs = grown(proof->logs, proof->logs_len, &proof->logs_cap, sizeof(struct proof_log *));
    proof->logs[proof->logs_len++] = log;
    return log;
}

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

enum core_err proof_open(struct proof **out, const struct proof_source *source, struct core_fail *fail) {
    MUST(source->node != NULL && source->places != NULL);
    struct proof *proof = calloc(1, sizeof *proof);
    MUST(proof != NULL);
    proof->source = *source;
    proof->opened_ns = core_now_ns();
    table_grow(proof);
    enum core_err err = core_kafka_reader_open(&proof->reader, source->places->pairs, source->places->pairs_len, fail);
    if (err != CORE_OK) {
        proof_close(proof);
        return err;
    }
    *out = proof;
    return CORE_OK;
}

void proof_close(struct proof *proof) {
    if (proof == NULL) {
        return;
    }
    core_kafka_reader_close(proof->reader);
    for (size_t i = 0; i < proof->topics_len; i++) {
        free(proof->topics[i].name);
    }
    for (size_t i = 0; i < proof->gens_len; i++) {
        gen_empty(proof->gens[i]);
        free(proof->gens[i]->path);
        free(proof->gens[i]->first_path);
        free(proof->gens[i]);
    }
    for (size_t i = 0; i < proof->logs_len; i++) {
        free(proof->logs[i]->name);
        free(proof->logs[i]);
    }
    for (size_t i = 0; i < proof->nodes_len; i++) {
        free(proof->nodes[i]);
    }
    free(proof->topics);
    free(proof->places);
    free(proof->position_next);
    free(proof->gens);
    free(proof->table);
    free(proof->logs);
    free(proof);
}

/* ---- reading places ------------------------------------------------------------------------------------------------------ */

static void progress(struct proof *proof, bool is_end) {
    int64_t now = core_tick_ns();
    if (!proof->source.shows_progress || (!is_end && now - proof->told_tick < PROGRESS_NS)) {
        return;
    }
    proof->told_tick = now;
    (void)fprintf(stderr, "\r%llu records read of about %llu\x1b[K%s", (unsigned long long)proof->records,
                  (unsigned long long)(proof->expected > proof->records ? proof->expected : proof->records),
                  is_end ? "\r\x1b[K" : "");
}

enum core_err proof_each(struct proof *proof, const struct core_kafka_place *places, size_t len,
                         enum core_err (*on_record)(void *ctx, const struct core_kafka_got *got,
                                                    struct core_fail *fail),
                         void *ctx, struct core_fail *fail) {
    if (len == 0) {
        return CORE_OK;
    }
    enum core_err err = core_kafka_reader_assign(proof->reader, places, len, false, ASK_TIMEOUT_MS, fail);
    int64_t since = core_tick_ns();
    while (err == CORE_OK) {
        struct core_kafka_got got;
        err = core_kafka_reader_next(proof->reader, NEXT_TIMEOUT_MS, &got, fail);
        if (err == CORE_OK) {
            err = on_record(ctx, &got, fail);
            since = 0;
        } else if (err == CORE_AGAIN) {
            int64_t now = core_tick_ns();
            since = since == 0 ? now : since;
            err = CORE_OK;
            if (now - since > PATIENCE_NS) {
                err =
                    core_fail_set(fail, CORE_NET, "brokers", "no record for %lld s, and the end is not reached; %s",
                                  (long long)(PATIENCE_NS / CORE_NS_PER_S), core_kafka_reader_complaint(proof->reader));
            }
        }
    }
    return err == CORE_GONE ? CORE_OK : err;
}

/* ---- positions ----------------------------------------------------------------------------------------------------------- */

static void node_note(struct proof *proof, struct core_span node) {
    for (size_t i = 0; i < proof->nodes_len; i++) {
        if (core_span_is(node, proof->nodes[i])) {
            return;
        }
    }
    if (proof->nodes_len < PROOF_NAMES_MAX) {
        char *name = strndup(node.ptr, node.len);
        MUST(name != NULL);
        proof->nodes[proof->nodes_len++] = name;
    }
}

/* What the row says, into the generation. */
static void position_set(struct proof *proof, const struct ingest_ledger_row *row, int64_t timestamp_ms) {
    struct proof_gen *gen = gen_of(proof, row->gen);
    if (gen->has_position && timestamp_ms < gen->position_ms) {
        return; /* of a partition that had this key before the topic got more of them */
    }
    proof->positions_len += gen->has_position ? 0 : 1;
    free(gen->path);
    free(gen->first_path);
    gen->path = copied(row->path);
    gen->first_path = copied(row->first_path);
    gen->begin = row->begin;
    gen->from = row->from;
    gen->tally = row->tally;
    gen->mtime_ns = row->mtime_ns;
    gen->is_over = row->is_over;
    gen->position_ms = timestamp_ms;
    gen->has_position = true;
    gen->is_foreign = false;
    newest_note(proof, timestamp_ms);
    newer_settle(gen);
    gen->log = log_of(proof, zeek_log_of(gen->first_path));
}

static void position_gone(struct proof *proof, const char *gen_text, int64_t timestamp_ms) {
    struct proof_gen *gen = proof_find(proof, strtoull(gen_text, NULL, 16));
    if (gen != NULL && gen->has_position && timestamp_ms >= gen->position_ms) {
        gen->has_position = false;
        gen->is_foreign = true;
        proof->positions_len--;
        gen_empty(gen);
    }
}

static enum core_err position_take(void *proof_ptr, const struct core_kafka_got *got, struct core_fail *fail) {
    struct proof *proof = proof_ptr;
    proof->position_next[got->partition] = got->offset + 1;
    const char *slash = got->key.len == 0 ? NULL : memrchr(got->key.ptr, '/', got->key.len);
    if (slash == NULL) {
        return CORE_OK; /* not a key of ours */
    }
    struct core_span node = {.ptr = got->key.ptr, .len = (size_t)(slash - got->key.ptr)};
    struct core_span what = {.ptr = slash + 1, .len = got->key.len - node.len - 1};
    if (!core_span_is(node, proof->source.node)) {
        node_note(proof, node);
        return CORE_OK;
    }
    char gen_text[17] = "";
    if (what.len != sizeof gen_text - 1) {
        return CORE_OK; /* the owner record */
    }
    memcpy(gen_text, what.ptr, what.len);
    if (got->is_tombstone) {
        position_gone(proof, gen_text, got->timestamp_ms);
        return CORE_OK;
    }
    char line[POSITION_BYTES_MAX];
    size_t len = got->value.len < sizeof line ? got->value.len : 0;
    memcpy(line, got->value.ptr, len);
    line[len] = '\0';
    line[strcspn(line, "\n")] = '\0';
    struct ingest_ledger_row row;
    if (len == 0 || !ingest_ledger_line(line, &row)) {
        return core_fail_set(fail, CORE_BAD, got->topic,
                             "the position with key %s/%s (partition %d, offset %lld) cannot be understood: was it "
                             "written by another version of tapline? Use that version's verify",
                             proof->source.node, gen_text, got->partition, (long long)got->offset);
    }
    position_set(proof, &row, got->timestamp_ms);
    return CORE_OK;
}

static enum core_err positions_none(const struct proof *proof, struct core_fail *fail) {
    char names[512] = "";
    for (size_t i = 0, len = 0; i < proof->nodes_len && len < sizeof names - 1; i++) {
        int put =
            snprintf(names + len, sizeof names - len, "%s%s", i == 0 ? "; there are some of: " : ", ", proof->nodes[i]);
        len += put > 0 ? (size_t)put : 0;
    }
    return core_fail_set(fail, CORE_BAD, proof->source.places->checkpoint_topic,
                         "there are no positions of node %s in this topic, so nothing can be proven%s. Is the name "
                         "right (--node), and does it deliver exactly_once?",
                         proof->source.node, names);
}

static enum core_err positions_read(struct proof *proof, struct core_fail *fail) {
    const char *topic = proof->source.places->checkpoint_topic;
    int partitions = 0;
    enum core_err err = core_kafka_reader_topic(proof->reader, topic, ASK_TIMEOUT_MS, &partitions, fail);
    if (err == CORE_GONE) {
        return core_fail_set(fail, CORE_BAD, topic,
                             "there is no such topic, so there are no positions and nothing can be proven. It is made "
                             "by the first run that delivers exactly_once (sinks.kafka.checkpoint_topic)");
    }
    if (err != CORE_OK) {
        return err;
    }
    if (partitions > proof->position_partitions) {
        proof->position_next = realloc(proof->position_next, (size_t)partitions * sizeof *proof->position_next);
        MUST(proof->position_next != NULL);
        while (proof->position_partitions < partitions) {
            proof->position_next[proof->position_partitions++] = CORE_KAFKA_BEGINNING;
        }
    }
    struct core_kafka_place *places = calloc((size_t)partitions, sizeof *places);
    MUST(places != NULL);
    for (int i = 0; i < partitions; i++) {
        places[i] = (struct core_kafka_place){.topic = topic, .partition = i, .offset = proof->position_next[i]};
    }
    err = proof_each(proof, places, (size_t)partitions, position_take, proof, fail);
    free(places);
    return err == CORE_OK && proof->positions_len == 0 ? positions_none(proof, fail) : err;
}

/* ---- topics -------------------------------------------------------------------------------------------------------------- */

/* Does it hold documents or dead letters of this config? */
static bool topic_is_wanted(const struct proof_source *source, const char *name, bool *is_dead) {
    const struct sink_kafka_places *places = source->places;
    bool is_health = source->health_topic != NULL && strcmp(name, source->health_topic) == 0;
    *is_dead = sink_topic_fits(places->dead_letter_topic, name);
    return !is_health && strcmp(name, places->checkpoint_topic) != 0 &&
           (*is_dead || sink_topic_fits(places->topic, name));
}

static void topic_add(struct proof *proof, const struct core_kafka_seen *seen, bool is_dead) {
    size_t at = 0;
    while (at < proof->topics_len && strcmp(proof->topics[at].name, seen->name) != 0) {
        at++;
    }
    if (at == proof->topics_len) {
        proof->topics = grown(proof->topics, proof->topics_len, &proof->topics_cap, sizeof *proof->topics);
        proof->topics[proof->topics_len++] = (struct proof_topic){.name = copied(seen->name), .is_dead = is_dead};
    }
    for (struct proof_topic *topic = &proof->topics[at]; topic->partitions < seen->partitions; topic->partitions++) {
        proof->places = grown(proof->places, proof->places_len, &proof->places_cap, sizeof *proof->places);
        proof->places[proof->places_len++] =
            (struct proof_place){.topic = at, .partition = topic->partitions, .next = CORE_KAFKA_BEGINNING};
    }
}

/* Where all partitions are to be read on. Owns: the caller frees it. */
static struct core_kafka_place *places_now(const struct proof *proof) {
    struct core_kafka_place *places = calloc(proof->places_len + 1, sizeof *places);
    MUST(places != NULL);
    for (size_t i = 0; i < proof->places_len; i++) {
        const struct proof_place *place = &proof->places[i];
        places[i] = (struct core_kafka_place){
            .topic = proof->topics[place->topic].name, .partition = place->partition, .offset = place->next};
    }
    return places;
}

enum core_err proof_ask_bounds(struct proof *proof, struct core_fail *fail) {
    struct core_kafka_place *places = places_now(proof);
    struct core_kafka_bounds *bounds = calloc(proof->places_len + 1, sizeof *bounds);
    MUST(bounds != NULL);
    enum core_err err =
        core_kafka_reader_bounds(proof->reader, places, proof->places_len, ASK_TIMEOUT_MS, bounds, fail);
    for (size_t i = 0; i < proof->places_len && err == CORE_OK; i++) {
        struct proof_place *place = &proof->places[i];
        place->is_cut =
            place->is_cut || (bounds[i].low > 0 && (!place->is_first_known || place->first >= bounds[i].low));
        proof->expected += place->is_asked ? 0 : (uint64_t)(bounds[i].high - bounds[i].low);
        place->is_asked = true;
    }
    free(bounds);
    free(places);
    return err;
}

static enum core_err topics_find(struct proof *proof, struct core_fail *fail) {
    struct core_kafka_seen *seen = NULL;
    size_t len = 0;
    enum core_err err = core_kafka_reader_topics(proof->reader, ASK_TIMEOUT_MS, &seen, &len, fail);
    for (size_t i = 0; i < len && err == CORE_OK; i++) {
        bool is_dead = false;
        if (topic_is_wanted(&proof->source, seen[i].name, &is_dead)) {
            topic_add(proof, &seen[i], is_dead);
        }
    }
    core_kafka_seen_free(seen, len);
    bool is_any_new = false;
    for (size_t i = 0; i < proof->places_len; i++) {
        is_any_new = is_any_new || !proof->places[i].is_asked;
    }
    return err == CORE_OK && is_any_new ? proof_ask_bounds(proof, fail) : err;
}

/* ---- records ------------------------------------------------------------------------------------------------------------- */

static enum core_err memory_check(const struct proof *proof, struct core_fail *fail) {
    size_t held = 0;
    for (size_t i = 0; i < proof->gens_len; i++) {
        held += spans_held(&proof->gens[i]->spans);
    }
    if (held > PROOF_SPANS_MAX) {
        return core_fail_set(fail, CORE_LIMIT, "memory",
                             "more than %d spans of bytes that join no other, so far: topics with this many holes, or "
                             "partitions of very different age, are more than verify can hold",
                             PROOF_SPANS_MAX);
    }
    return CORE_OK;
}

static void topic_note(size_t *seen, size_t topic) {
    *seen = *seen == PROOF_TOPIC_NONE || *seen == topic ? topic : PROOF_TOPIC_MIXED;
}

static enum core_err gen_take(struct proof *proof, struct proof_gen *gen, const struct proof_header *header,
                              const struct core_kafka_got *got, struct core_fail *fail) {
    size_t topic = proof->places[got->place].topic;
    if (gen->has_position && header->from < gen->begin) {
        gen->earlier++;
        return CORE_OK;
    }
    if (!proof->topics[topic].is_dead) {
        topic_note(&gen->topic, topic);
    }
    if (gen->has_position && header->end <= gen->from) {
        *(proof->topics[topic].is_dead ? &gen->dead : &gen->events) += 1;
    } else {
        gen->newer = grown(gen->newer, gen->newer_len, &gen->newer_cap, sizeof *gen->newer);
        gen->newer[gen->newer_len++] = header->end << 1 | (proof->topics[topic].is_dead ? 1 : 0);
    }
    return spans_add(&gen->spans, header->from, header->end, seconds_of(got->timestamp_ms), fail);
}

static enum core_err record_take(void *proof_ptr, const struct core_kafka_got *got, struct core_fail *fail) {
    struct proof *proof = proof_ptr;
    struct proof_place *place = &proof->places[got->place];
    struct proof_header header;
    place->next = got->offset + 1;
    if (!place->is_first_known) {
        place->is_first_known = true;
        place->first = got->offset;
        place->first_s = seconds_of(got->timestamp_ms);
    }
    proof->records++;
    newest_note(proof, got->timestamp_ms);
    if ((proof->records & 0xfff) == 0) {
        progress(proof, false);
    }
    if (!proof_header_take(got->header, &header)) {
        proof->records_headerless++;
        return CORE_OK;
    }
    struct proof_gen *gen = proof_find(proof, header.gen);
    if (gen == NULL && feed_time_ms(got->timestamp_ms) * CORE_NS_PER_MS > proof->opened_ns - UNKNOWN_KEPT_NS) {
        /* young: its position may be written and not shown yet; it is wanted when that comes */
        gen = gen_of(proof, header.gen);
    }
    if (gen == NULL || gen->is_foreign) {
        proof->records_foreign++;
        return CORE_OK;
    }
    proof->records_ours++;
    if (proof->records % MEMORY_CHECK_RECORDS == 0) {
        enum core_err err = memory_check(proof, fail);
        if (err != CORE_OK) {
            return err;
        }
    }
    return gen_take(proof, gen, &header, got, fail);
}

/* Generations that got no position for a while are another node's. */
static void unknown_forget(struct proof *proof) {
    int64_t now = core_tick_ns();
    for (size_t i = 0; i < proof->gens_len; i++) {
        struct proof_gen *gen = proof->gens[i];
        if (!gen->has_position && !gen->is_foreign && now - gen->seen_tick > UNKNOWN_KEPT_NS) {
            gen->is_foreign = true;
            proof->records_ours -= gen->newer_len;
            proof->records_foreign += gen->newer_len;
            gen_empty(gen);
        }
    }
}

enum core_err proof_read(struct proof *proof, struct core_fail *fail) {
    MUST(proof != NULL);
    enum core_err err = positions_read(proof, fail);
    if (err == CORE_OK) {
        err = topics_find(proof, fail);
    }
    if (err != CORE_OK) {
        return err;
    }
    struct core_kafka_place *places = places_now(proof);
    err = proof_each(proof, places, proof->places_len, record_take, proof, fail);
    free(places);
    progress(proof, true);
    unknown_forget(proof);
    return err;
}

/* ---- transactions that are open ------------------------------------------------------------------------------------------- */

/* All partitions, those of positions too. Owns: the caller frees it. */
static struct core_kafka_place *places_all(const struct proof *proof, size_t *len) {
    struct core_kafka_place *places = places_now(proof);
    *len = proof->places_len + (size_t)proof->position_partitions;
    places = realloc(places, (*len + 1) * sizeof *places);
    MUST(places != NULL);
    for (int i = 0; i < proof->position_partitions; i++) {
        places[proof->places_len + (size_t)i] =
            (struct core_kafka_place){.topic = proof->source.places->checkpoint_topic, .partition = i};
    }
    return places;
}

enum core_err proof_wait(struct proof *proof, int64_t timeout_ns, struct core_fail *fail) {
    struct core_kafka_reader *loose = NULL;
    size_t len = 0;
    struct core_kafka_place *places = places_all(proof, &len);
    struct core_kafka_bounds *written = calloc(len + 1, sizeof *written);
    struct core_kafka_bounds *shown = calloc(len + 1, sizeof *shown);
    MUST(written != NULL && shown != NULL);
    const struct timespec pause = {.tv_nsec = WAIT_NS};
    int64_t end = core_tick_ns() + timeout_ns;
    bool is_all = false;
    enum core_err err =
        core_kafka_reader_open_loose(&loose, proof->source.places->pairs, proof->source.places->pairs_len, fail);
    if (err == CORE_OK) {
        err = core_kafka_reader_bounds(loose, places, len, ASK_TIMEOUT_MS, written, fail);
    }
    while (err == CORE_OK && !is_all && core_tick_ns() < end) {
        err = core_kafka_reader_bounds(proof->reader, places, len, ASK_TIMEOUT_MS, shown, fail);
        is_all = true;
        for (size_t i = 0; i < len && err == CORE_OK; i++) {
            is_all = is_all && shown[i].high >= written[i].high;
        }
        if (!is_all) {
            (void)nanosleep(&pause, NULL);
        }
    }
    core_kafka_reader_close(loose);
    free(shown);
    free(written);
    free(places);
    return err;
}
