/* sinks/elastic_items.c: what becomes of a bulk's documents when it is answered.
 *
 *   taken, or there already -> done
 *   refused                 -> done, and who has the batches back is told why (core_event.fate); or, if the sink keeps dead
 *                              letters itself, its dead letter goes with the bulk's next request
 *   busy, or to be waited for -> stays in the bulk, which rests and goes again, with half as much at once
 *
 * So each try is for what is left, and nobody waits for a neighbour that was refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/elastic_internal.h"

#include <stdio.h>

#define WAIT_MAX_NS (10 * CORE_NS_PER_S)
#define WAIT_NET_MAX_NS CORE_NS_PER_S /* the pool lets a failed node rest by itself */
#define SHARE_MIN 4                   /* when it is busy; what is too large is cut further */
#define WINDOW_MIN 16
#define DOUBTFUL_TRIES 2   /* more, without another document done */
#define UNREADABLE_TRIES 3 /* before a request that has no readable answer goes in halves */
#define FULL_REFUSAL "the search engine refused the document; there is no room left to say why"

/* What one answer was, in numbers. */
struct outcome {
    uint32_t taken;
    uint32_t repeated;
    uint32_t refused;
    uint32_t again;
    uint32_t waits;
    uint32_t kept; /* stay in the bulk, with so many bytes */
    size_t kept_bytes;
    uint32_t letters;                       /* refused, and their dead letters are ours to send */
    uint32_t dead;                          /* of taken and repeated: dead letters */
    const struct elastic_said *refused_one; /* the first of each, for the log; NULL: none */
    const struct elastic_said *left_one;
    const struct elastic_said *barred_one;
    char refused_index[256];
};

/* ---- one document ---------------------------------------------------------------------------------------------------------- */

static const char *refusal_keep(struct core_batch *batch, const char *text) {
    const char *kept = core_arena_copy(&batch->arena, core_span_of(text));
    return kept != NULL ? kept : FULL_REFUSAL;
}

/* Only the log has it now. */
static void dropped(struct sink *sink, const struct core_batch *batch, uint32_t at, const char *why) {
    const struct core_event *event = &batch->events[at];
    char id[33] = "";
    struct core_fail fail;
    core_event_id(batch->stream, event, id);
    (void)core_fail_set(&fail, CORE_BAD, batch->stream->path == NULL ? "" : batch->stream->path,
                        "id %s, bytes %llu to %llu: %s", id, (unsigned long long)event->start,
                        (unsigned long long)event->end, why);
    core_log_fail(CORE_LEVEL_ERROR, "elastic", "record and its dead letter refused for good; only this line has it",
                  &fail);
    core_count(sink->env->counters, CORE_COUNT_SINK_DROPPED, 1);
}

/* Returns whether a dead letter of it is to be sent by us. */
static bool event_refused(struct sink *sink, struct core_batch *batch, uint32_t at, bool is_letter, const char *why) {
    struct core_event *event = &batch->events[at];
    core_count(sink->env->counters, CORE_COUNT_SINK_REFUSED, is_letter ? 0 : 1);
    if (!is_letter) {
        event->fate = CORE_FATE_REFUSED;
        event->refusal = refusal_keep(batch, why);
    }
    if (sink->env->keeps_refused) {
        return false;
    }
    if (is_letter || event->is_dead) {
        dropped(sink, batch, at, why);
        batch->tally.lost++;
        *(event->is_dead ? &batch->tally.dead : &batch->tally.events) -= 1;
        return false;
    }
    return true;
}

static void event_done(const struct elastic_item *item, enum elastic_verdict verdict, struct outcome *outcome) {
    struct core_batch *batch = item->batch;
    struct core_event *event = &batch->events[item->index];
    bool is_dead = item->is_letter || event->is_dead;
    outcome->dead += is_dead ? 1 : 0;
    outcome->taken += verdict == ELASTIC_TAKEN ? 1 : 0;
    outcome->repeated += verdict == ELASTIC_REPEATED ? 1 : 0;
    if (item->is_letter) { /* what was a document is a dead letter */
        batch->tally.events--;
        batch->tally.dead++;
    } else {
        event->fate = verdict == ELASTIC_TAKEN ? CORE_FATE_TAKEN : CORE_FATE_REPEATED;
    }
}

bool elastic_items_refuse(struct sink *sink, struct elastic_bulk *bulk, struct core_batch *batch, uint32_t at,
                          const char *why) {
    struct elastic_limit limit = elastic_limit_now(sink);
    if (bulk->len > 0 && (bulk->len >= limit.events || bulk->body.used >= limit.bytes)) {
        return false;
    }
    if (!event_refused(sink, batch, at, false, why)) {
        elastic_ended(sink, batch);
        return true;
    }
    elastic_bulk_add_letter(bulk, elastic_index_for(sink, &batch->events[at], SINK_DATASET_DEAD), batch, at);
    bulk->len++;
    return true;
}

/* ---- a bulk after its answer -------------------------------------------------------------------------------------------------- */

/* Where an item's bytes end. */
static size_t item_end(const struct elastic_bulk *bulk, uint32_t i) {
    return i + 1 < bulk->filled ? bulk->items[i + 1].at : bulk->body.used;
}

/* Items that are not done move to the front, those that were not under way behind them, then who waits for a dead letter. */
static void bulk_close_up(struct elastic_bulk *bulk, uint32_t kept, size_t kept_bytes,
                          const struct elastic_item *letters, uint32_t letters_len) {
    uint32_t rest = bulk->filled - bulk->sent;
    size_t rest_at = bulk->sent < bulk->filled ? bulk->items[bulk->sent].at : bulk->body.used;
    size_t rest_bytes = bulk->body.used - rest_at;
    memmove(bulk->body.base + kept_bytes, bulk->body.base + rest_at, rest_bytes);
    uint32_t moved = bulk->len - bulk->sent; /* the rest, and letters from before */
    memmove(bulk->items + kept, bulk->items + bulk->sent, moved * sizeof *bulk->items);
    for (uint32_t i = kept; i < kept + rest; i++) {
        bulk->items[i].at -= (uint32_t)(rest_at - kept_bytes);
    }
    if (letters_len > 0) {
        memcpy(bulk->items + kept + moved, letters, letters_len * sizeof *letters);
    }
    bulk->filled = kept + rest;
    bulk->len = kept + moved + letters_len;
    bulk->body.used = kept_bytes + rest_bytes;
    bulk->sent = 0;
}

/* Documents that are wholly dealt with leave room for the dead letters of others. */
static void letters_write(struct sink *sink, struct elastic_bulk *bulk) {
    struct elastic_limit limit = elastic_limit_now(sink);
    MUST(bulk->filled == 0);
    bulk->body.used = 0;
    while (bulk->filled < bulk->len && (bulk->filled == 0 || bulk->body.used < limit.bytes)) {
        struct elastic_item item = bulk->items[bulk->filled];
        elastic_bulk_add_letter(bulk, elastic_index_for(sink, &item.batch->events[item.index], SINK_DATASET_DEAD),
                                item.batch, item.index);
    }
}

static void bulk_goes_on(struct sink *sink, struct elastic_bulk *bulk, bool is_resting) {
    if (bulk->len == 0) {
        core_arena_reset(&bulk->body, (size_t)sink->conf->bulk_bytes);
        bulk->state = ELASTIC_BULK_FREE;
        return;
    }
    if (bulk->filled == 0) {
        letters_write(sink, bulk);
    }
    bulk->state = is_resting ? ELASTIC_BULK_RESTING : ELASTIC_BULK_READY;
}

static void bulk_rests(struct sink *sink, struct elastic_bulk *bulk, int64_t max_ns, int64_t retry_after_s,
                       enum sink_cause cause) {
    bulk->due_ns = core_tick_ns() + elastic_wait_ns(bulk->tries++, max_ns, retry_after_s);
    sink_retry(sink->env->counters, &sink->told.retries, cause);
    bulk_goes_on(sink, bulk, true);
}

static enum sink_cause cause_of(int status) {
    return status == 429 ? SINK_CAUSE_HTTP_429 : status >= 500 ? SINK_CAUSE_HTTP_5XX : SINK_CAUSE_HTTP_4XX;
}

static void less_at_once(struct sink *sink, struct elastic_bulk *bulk) {
    bulk->window = bulk->sent / 2 > WINDOW_MIN ? bulk->sent / 2 : WINDOW_MIN;
    sink->share = sink->share / 2 > SHARE_MIN ? sink->share / 2 : SHARE_MIN;
    sink->share = sink->share < sink->share_max ? sink->share : sink->share_max;
}

/* ---- items -------------------------------------------------------------------------------------------------------------------- */

/* The index an item goes to, as it stands in its line. */
static void index_name_keep(const struct elastic_bulk *bulk, uint32_t i, char *out, size_t out_len) {
    static const char before[] = "{\"create\":{\"_index\":\"";
    const char *name = bulk->body.base + bulk->items[i].at + sizeof before - 1;
    snprintf(out, out_len, "%.*s", (int)strcspn(name, "\""), name);
}

static bool is_refused(const struct elastic_bulk *bulk, const struct elastic_said *said) {
    return said->verdict == ELASTIC_REFUSED || (said->verdict == ELASTIC_DOUBTFUL && bulk->tries >= DOUBTFUL_TRIES);
}

/* What stays moves to the front, behind what stayed before it. */
static void item_stays(struct elastic_bulk *bulk, uint32_t i, const struct elastic_said *said,
                       struct outcome *outcome) {
    struct elastic_item item = bulk->items[i];
    size_t bytes = item_end(bulk, i) - item.at;
    outcome->again += said->verdict == ELASTIC_AGAIN ? 1 : 0;
    outcome->waits += said->verdict == ELASTIC_WAITS ? 1 : 0;
    outcome->left_one = outcome->left_one == NULL || said->advice != NULL ? said : outcome->left_one;
    outcome->barred_one = said->verdict == ELASTIC_BARRED ? said : outcome->barred_one;
    memmove(bulk->body.base + outcome->kept_bytes, bulk->body.base + item.at, bytes);
    item.at = (uint32_t)outcome->kept_bytes;
    outcome->kept_bytes += bytes;
    bulk->items[outcome->kept++] = item;
}

/* Sort them by verdict: what stays is at the front then, and whose dead letters follow is in the sink's scratch. */
static void items_sort(struct sink *sink, struct elastic_bulk *bulk, const struct elastic_said *said,
                       struct outcome *outcome) {
    for (uint32_t i = 0; i < bulk->sent; i++) {
        struct elastic_item item = bulk->items[i];
        if (said[i].verdict <= ELASTIC_REPEATED) {
            event_done(&item, said[i].verdict, outcome);
            elastic_ended(sink, item.batch);
        } else if (is_refused(bulk, &said[i])) {
            outcome->refused++;
            if (outcome->refused_one == NULL) {
                outcome->refused_one = &said[i];
                index_name_keep(bulk, i, outcome->refused_index, sizeof outcome->refused_index);
            }
            if (event_refused(sink, item.batch, item.index, item.is_letter, said[i].text)) {
                sink->letters[outcome->letters++] = item;
            } else {
                elastic_ended(sink, item.batch);
            }
        } else {
            item_stays(bulk, i, &said[i], outcome);
        }
    }
}

static void say(enum core_level level, const char *what, const char *where, const char *fmt, ...) CORE_PRINTF(4, 5);
static void say(enum core_level level, const char *what, const char *where, const char *fmt, ...) {
    struct core_fail fail;
    va_list args;
    va_start(args, fmt);
    vsnprintf(fail.text, sizeof fail.text, fmt, args);
    va_end(args);
    snprintf(fail.where, sizeof fail.where, "%s", where);
    core_log_fail(level, "elastic", what, &fail);
}

static void outcome_tell(struct sink *sink, const struct outcome *outcome, const char *node) {
    if (outcome->refused > 0) {
        say(CORE_LEVEL_WARN,
            "documents refused by the search engine for good; each becomes a dead letter with the reason",
            outcome->refused_index, "%u of a request; the first: %s", outcome->refused, outcome->refused_one->text);
    }
    if (outcome->waits > 0) {
        elastic_health_waits(sink, node, outcome->left_one->text);
        say(CORE_LEVEL_ERROR,
            "the search engine's state lets it take no such documents; they wait, and nothing is lost", node,
            "%u of a request; %s; %s", outcome->waits, outcome->left_one->text,
            outcome->left_one->advice == NULL ? "see to the engine" : outcome->left_one->advice);
    } else if (outcome->again > 0) {
        say(CORE_LEVEL_WARN, "search engine is busy; documents are sent again, fewer at once", node,
            "%u of a request; status %d, %s; now %u/%u of bulk_bytes at once", outcome->again,
            outcome->left_one->status, outcome->left_one->text, sink->share, ELASTIC_SHARE_ALL);
    }
}

static void outcome_count(struct sink *sink, const struct outcome *outcome) {
    struct core_counters *counters = sink->env->counters;
    core_count(counters, CORE_COUNT_SINK_ACCEPTED, outcome->taken + outcome->repeated - outcome->dead);
    core_count(counters, CORE_COUNT_SINK_DEAD, outcome->dead);
    core_count(counters, CORE_COUNT_ELASTIC_REPEATED, outcome->repeated);
    core_count(counters, CORE_COUNT_ELASTIC_AGAIN, outcome->again);
    core_count(counters, CORE_COUNT_ELASTIC_WAITS, outcome->waits);
}

/* The engine bears what it is given: a little more. */
static void more_at_once(struct sink *sink, struct elastic_bulk *bulk) {
    bulk->window = bulk->window < UINT32_MAX / 2 ? bulk->window * 2 : bulk->window;
    uint32_t step = sink->share / 4 > 0 ? sink->share / 4 : 1;
    sink->share = sink->share + step < sink->share_max ? sink->share + step : sink->share_max;
}

static void items_apply(struct sink *sink, struct elastic_bulk *bulk, const struct core_http_pool_done *done,
                        const struct elastic_said *said) {
    struct outcome outcome = {0};
    items_sort(sink, bulk, said, &outcome);
    uint32_t kept = outcome.kept;
    bool has_moved = kept < bulk->sent;
    if (outcome.again > 0) {
        less_at_once(sink, bulk);
    } else if (kept == 0) {
        more_at_once(sink, bulk);
    }
    bulk_close_up(bulk, kept, outcome.kept_bytes, sink->letters, outcome.letters);
    outcome_count(sink, &outcome);
    outcome_tell(sink, &outcome, done->node);
    if (outcome.barred_one != NULL) {
        char text[ELASTIC_REASON_BYTES_MAX + 128];
        snprintf(
            text, sizeof text,
            "the credentials do not do, so nothing more is sent and nothing is lost: status %d, %s; see to the rights "
            "of the key or user (create_doc and auto_configure on logs-*)",
            outcome.barred_one->status, outcome.barred_one->text);
        elastic_gone(sink, done->node, text);
    }
    if (kept == 0) {
        bulk->tries = 0;
        bulk_goes_on(sink, bulk, false);
        return;
    }
    bulk->tries = has_moved ? 1 : bulk->tries;
    bulk_rests(sink, bulk, WAIT_MAX_NS, done->retry_after_s,
               outcome.waits > 0 ? SINK_CAUSE_BLOCKED : cause_of(outcome.left_one->status));
}

/* ---- answers as a whole ------------------------------------------------------------------------------------------------------- */

/* It was too much, or something in it spoils it all: again in halves. What is alone is to blame itself. */
static void bulk_split(struct sink *sink, struct elastic_bulk *bulk, const struct core_http_pool_done *done,
                       bool is_size) {
    char text[768];
    if (done->status != 0) {
        elastic_whole_text(done->status, done->body, text, sizeof text);
    } else {
        snprintf(text, sizeof text, "%s", done->fail.text);
    }
    size_t bytes = item_end(bulk, bulk->sent - 1);
    if (bulk->sent > 1) {
        core_count(sink->env->counters, CORE_COUNT_ELASTIC_SPLITS, 1);
        say(CORE_LEVEL_WARN, "search engine would not take a request; its documents are sent in halves", done->node,
            "%u documents, %zu bytes; %s", bulk->sent, bytes, text);
        if (is_size) { /* so many bytes are too many: stay below */
            uint64_t share = (uint64_t)bytes * 7 / 8 * ELASTIC_SHARE_ALL / sink->conf->bulk_bytes;
            sink->share_max = share < 1 ? 1 : share < sink->share_max ? (uint32_t)share : sink->share_max;
            less_at_once(sink, bulk);
        }
        bulk->window = bulk->sent / 2;
        bulk_goes_on(sink, bulk, false);
        return;
    }
    static const struct elastic_said unsaid = {.verdict = ELASTIC_REFUSED};
    struct elastic_said said = unsaid;
    char reason[1024];
    snprintf(reason, sizeof reason, "%s%s (%zu bytes, sent alone)", text,
             is_size ? "; the engine takes less in one request (http.max_content_length, or a proxy's limit)" : "",
             bytes);
    said.text = reason;
    said.status = done->status;
    items_apply(sink, bulk, done, &said);
}

static void bulk_unanswered(struct sink *sink, struct elastic_bulk *bulk, const struct core_http_pool_done *done) {
    if (done->fail.err == CORE_LIMIT) { /* the answer is longer than we take: fewer documents, fewer words */
        bulk_split(sink, bulk, done, false);
        return;
    }
    if (done->fail.err == CORE_BAD || done->fail.err == CORE_IO) {
        elastic_gone(sink, done->fail.where, done->fail.text);
    } else if (core_http_pool_well(sink->pool) == 0) {
        elastic_start_away(sink, done);
    } else {
        say(CORE_LEVEL_WARN, "no answer to a request; its documents are sent again, to another node if there is one",
            done->fail.where, "%s", done->fail.text);
    }
    bulk_rests(sink, bulk, WAIT_NET_MAX_NS, 0, SINK_CAUSE_CONNECTION);
}

static void bulk_barred(struct sink *sink, const struct core_http_pool_done *done) {
    char text[512];
    char whole[768];
    elastic_whole_text(done->status, done->body, text, sizeof text);
    snprintf(
        whole, sizeof whole,
        "the credentials do not do, so nothing more is sent and nothing is lost: %s; see to api_key, or username and "
        "password, of sinks.elasticsearch",
        text);
    elastic_gone(sink, done->node, whole);
}

/* Busy, or wrong in a way that only a person can mend: again, after a while. */
static void bulk_put_off(struct sink *sink, struct elastic_bulk *bulk, const struct core_http_pool_done *done,
                         enum elastic_whole whole) {
    char text[512];
    elastic_whole_text(done->status, done->body, text, sizeof text);
    if (core_http_pool_well(sink->pool) == 0) {
        elastic_start_away(sink, done);
    } else if (whole == ELASTIC_WHOLE_WAITS) {
        elastic_health_waits(sink, done->node, text);
        say(CORE_LEVEL_ERROR, "search engine takes no documents; they wait, and nothing is lost. See to it", done->node,
            "%s", text);
    } else {
        say(CORE_LEVEL_WARN, "search engine is busy; documents are sent again", done->node, "%s", text);
    }
    if (whole == ELASTIC_WHOLE_LESS) {
        less_at_once(sink, bulk);
    }
    core_count(sink->env->counters, CORE_COUNT_ELASTIC_AGAIN, bulk->sent);
    bulk_rests(sink, bulk, WAIT_MAX_NS, done->retry_after_s,
               whole == ELASTIC_WHOLE_WAITS ? SINK_CAUSE_BLOCKED : cause_of(done->status));
}

static void bulk_taken(struct sink *sink, struct elastic_bulk *bulk, const struct core_http_pool_done *done) {
    const struct elastic_said *said = NULL;
    const char *why = "";
    if (elastic_answer_read(sink->answer, done->body, bulk->sent, &said, &why)) {
        items_apply(sink, bulk, done, said);
        return;
    }
    say(CORE_LEVEL_ERROR,
        "answer that cannot be understood; the documents are sent again. Is there a proxy before the search engine?",
        done->node, "%s; it begins: %.*s", why, (int)(done->body.len < 200 ? done->body.len : 200),
        done->body.len == 0 ? "" : done->body.ptr);
    if (bulk->tries >= UNREADABLE_TRIES && bulk->sent > 1) { /* if it lies at one of them, its neighbours shall pass */
        bulk->window = bulk->sent / 2;
    }
    bulk_rests(sink, bulk, WAIT_MAX_NS, 0, SINK_CAUSE_ANSWER);
}

void elastic_items_answered(struct sink *sink, struct elastic_bulk *bulk, const struct core_http_pool_done *done) {
    MUST(bulk->state == ELASTIC_BULK_SENT && bulk->sent > 0);
    bulk->state = ELASTIC_BULK_RESTING;
    if (done->status == 0) {
        bulk_unanswered(sink, bulk, done);
        return;
    }
    enum elastic_whole whole = elastic_whole_of(done->status, done->body);
    switch (whole) {
    case ELASTIC_WHOLE_ITEMS:
        bulk_taken(sink, bulk, done);
        break;
    case ELASTIC_WHOLE_SPLIT:
        bulk_split(sink, bulk, done, done->status != 400);
        break;
    case ELASTIC_WHOLE_BARRED:
        bulk_barred(sink, done);
        bulk_rests(sink, bulk, WAIT_MAX_NS, 0, cause_of(done->status));
        break;
    default:
        bulk_put_off(sink, bulk, done, whole);
        break;
    }
}
