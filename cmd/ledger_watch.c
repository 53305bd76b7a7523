/* cmd/ledger_watch.c: `tapline ledger --watch`: looks again and again, and says what is wrong and stays so.
 *
 * One look alone proves nothing: between the reading of a position and of its records a broker may show the one and not yet
 * the other. So what is found is remembered under a key, and it is an alarm when the next look, a few seconds later, finds it
 * too (what Zeek's counters show has waited for 30 s before it is found). With looks at most 30 s apart that is well within a minute. An alarm is raised once, and its end is said.
 * Topics are followed: a look reads only what came since the last one. Brokers that are away are waited for.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/ledger_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CONFIRM_NS (5 * CORE_NS_PER_S)
#define DECIDED_NS (15 * CORE_NS_PER_S) /* how long transactions are waited for before an alarm */
#define SLICE_NS (100 * CORE_NS_PER_MS)
#define ALARMS_MAX 10000
#define WORDS_MAX 512

/* Something that a look found. */
struct alarm {
    uint64_t key;
    unsigned look; /* the last that found it */
    bool is_raised;
    char words[WORDS_MAX];
};

struct watch {
    struct ledger *ledger;
    struct alarm *alarms; /* ALARMS_MAX */
    size_t len;
    size_t raised;
    unsigned look;
    bool is_new; /* this look found something that is not raised yet */
    bool is_full;
};

static volatile sig_atomic_t watch_stopped;

static void on_signal(int number) {
    (void)number;
    watch_stopped = 1;
}

/* ---- alarms ---------------------------------------------------------------------------------------------------------------- */

static void say(const struct watch *watch, const char *state, const char *words) {
    char when[28] = "";
    MUST(core_time_iso(core_now_ns(), when));
    if (watch->ledger->is_json) {
        printf("{\"time\":\"%s\",\"state\":\"%s\",\"text\":", when, state);
        cmd_print_json_string(stdout, core_span_of(words));
        printf("}\n");
    } else {
        printf("%s %s %s\n", when, state, words);
    }
    (void)fflush(stdout);
}

/* is_sure: it has taken its time already. */
static void found(struct watch *watch, uint64_t key, bool is_sure, const char *words) {
    struct alarm *alarm = NULL;
    for (size_t i = 0; i < watch->len && alarm == NULL; i++) {
        alarm = watch->alarms[i].key == key ? &watch->alarms[i] : NULL;
    }
    if (alarm == NULL) {
        if (watch->len == ALARMS_MAX) {
            watch->is_full = true;
            return;
        }
        alarm = &watch->alarms[watch->len++];
        *alarm = (struct alarm){.key = key, .look = watch->look};
        (void)snprintf(alarm->words, sizeof alarm->words, "%s", words);
        watch->is_new = watch->is_new || !is_sure;
    }
    if (!alarm->is_raised && (is_sure || alarm->look != watch->look)) {
        alarm->is_raised = true;
        watch->raised++;
        say(watch, "ALARM", words);
        core_log(CORE_LEVEL_ERROR, "ledger", "records are not as they should be; `tapline verify` names them", "%s",
                 words);
    }
    alarm->look = watch->look;
    (void)snprintf(alarm->words, sizeof alarm->words, "%s", words);
}

/* What this look did not find any more. */
static void forget(struct watch *watch) {
    size_t kept = 0;
    for (size_t i = 0; i < watch->len; i++) {
        struct alarm *alarm = &watch->alarms[i];
        if (alarm->look == watch->look) {
            watch->alarms[kept++] = *alarm;
        } else if (alarm->is_raised) {
            watch->raised--;
            say(watch, "over", alarm->words);
            core_log(CORE_LEVEL_INFO, "ledger", "what was wrong is so no more", "%s", alarm->words);
        }
    }
    watch->len = kept;
}

/* ---- one look ---------------------------------------------------------------------------------------------------------------- */

static void look_rows(struct watch *watch, const struct ledger_book *book) {
    char words[WORDS_MAX];
    for (size_t i = 0; i < book->len; i++) {
        const struct ledger_row *row = &book->rows[i];
        if (ledger_row_is_wrong(row)) {
            (void)snprintf(words, sizeof words,
                           "kind=account file=\"%.300s\" generation=%016" PRIx64 " records=%" PRIu64
                           " difference=%" PRId64 " lost=%" PRIu64,
                           row->path, row->gen, row->tally.records, ledger_difference(&row->tally), row->tally.lost);
            found(watch, core_hash64(&row->gen, sizeof row->gen, 1), false, words);
        }
    }
}

static void look_findings(struct watch *watch) {
    const struct proof_verdict *verdict = &watch->ledger->verdict;
    char words[WORDS_MAX];
    for (size_t i = 0; i < verdict->len; i++) {
        const struct proof_finding *finding = &verdict->findings[i];
        if (finding->kind == PROOF_NOT_JUDGED) {
            continue;
        }
        uint64_t parts[3] = {finding->gen->gen, finding->kind, finding->from};
        (void)snprintf(words, sizeof words,
                       "kind=%s file=\"%.300s\" generation=%016" PRIx64 " from=%" PRIu64 " end=%" PRIu64
                       " records=%" PRIu64,
                       proof_kind_names[finding->kind], finding->gen->path, finding->gen->gen, finding->from,
                       finding->end, finding->records);
        found(watch, core_hash64(parts, sizeof parts, 2), false, words);
    }
}

static void look_zeeks(struct watch *watch, const struct ledger_book *book) {
    char words[WORDS_MAX];
    struct core_fail fail;
    for (size_t i = 0; i < watch->ledger->zeeks_len; i++) {
        struct ledger_zeek *zeek = &watch->ledger->zeeks[i];
        const char *url = zeek->input->metrics_url;
        bool is_under_way = ledger_zeek_judge(zeek, book);
        for (size_t j = 0; j < zeek->logs_len; j++) {
            const struct ledger_zeek_log *log = &zeek->logs[j];
            if (ledger_zeek_is_wrong(log)) {
                (void)snprintf(words, sizeof words,
                               "kind=zeek_%s log=%s url=\"%.200s\" written=%" PRIu64 " read=%" PRIu64,
                               ledger_zeek_state_names[log->state], log->log, url, log->written, log->read);
                found(watch, core_hash64(log->log, strlen(log->log), core_hash64(url, strlen(url), 3)), true, words);
            }
        }
        if (!is_under_way && ledger_zeek_look(zeek, book, &fail) != CORE_OK) {
            core_log_fail(CORE_LEVEL_WARN, "ledger", "Zeek's telemetry is not to be had; it is asked again", &fail);
        }
    }
}

static enum core_err look(struct watch *watch, struct core_fail *fail) {
    struct ledger *ledger = watch->ledger;
    struct ledger_book book = {0};
    enum core_err err = ledger_book_read(&book, ledger->state_dir, ledger->since_ns, fail);
    if (err == CORE_OK && ledger->proof != NULL && watch->is_new) {
        err = proof_wait(ledger->proof, DECIDED_NS, fail);
    }
    if (err == CORE_OK && ledger->proof != NULL) {
        err = proof_read(ledger->proof, fail);
    }
    if (err == CORE_OK && ledger->proof != NULL) {
        err = proof_judge(ledger->proof, &ledger->verdict, fail);
    }
    if (err == CORE_OK) {
        watch->look++;
        watch->is_new = false;
        look_rows(watch, &book);
        look_findings(watch);
        look_zeeks(watch, &book);
        forget(watch);
    }
    ledger_book_release(&book);
    return err;
}

/* ---- until a signal ------------------------------------------------------------------------------------------------------------ */

static void pause_for(int64_t ns) {
    const struct timespec slice = {.tv_nsec = SLICE_NS};
    for (int64_t end = core_tick_ns() + ns; watch_stopped == 0 && core_tick_ns() < end;) {
        (void)nanosleep(&slice, NULL);
    }
}

int ledger_watch(struct ledger *ledger) {
    struct watch watch = {.ledger = ledger};
    struct core_fail fail;
    struct sigaction action = {.sa_handler = on_signal};
    MUST(sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0);
    watch.alarms = calloc(ALARMS_MAX, sizeof *watch.alarms);
    MUST(watch.alarms != NULL);
    bool is_first = true;
    while (watch_stopped == 0) {
        enum core_err err = look(&watch, &fail);
        if (err == CORE_LIMIT) {
            core_log_fail(CORE_LEVEL_ERROR, "ledger", "cannot go on", &fail);
            free(watch.alarms);
            return CORE_EXIT_SYSTEM;
        }
        if (err != CORE_OK) {
            core_log_fail(CORE_LEVEL_WARN, "ledger", "a look failed; it is tried again", &fail);
        } else if (is_first) {
            is_first = false;
            core_log(CORE_LEVEL_INFO, "ledger", "watching", "node_state=\"%s\" every_s=%lld topics=%s zeeks=%zu",
                     ledger->state_dir, (long long)(ledger->watch_ns / CORE_NS_PER_S),
                     ledger->proof != NULL ? "yes" : "no", ledger->zeeks_len);
        }
        pause_for(watch.is_new && ledger->watch_ns > CONFIRM_NS ? CONFIRM_NS : ledger->watch_ns);
    }
    if (watch.is_full) {
        core_log(CORE_LEVEL_ERROR, "ledger", "more was wrong than could be remembered",
                 "max=%d; what was shown is a part: run tapline verify, which names all", ALARMS_MAX);
    }
    int code = watch.raised > 0 ? CORE_EXIT_NO : CORE_EXIT_DONE;
    free(watch.alarms);
    return code;
}
