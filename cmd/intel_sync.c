/* cmd/intel_sync.c: `tapline intel sync`: the store is brought up to date with the feeds of the configuration, once or, with
 * --watch, each at its interval.
 *
 * Several of these may run, on one host or on many: a lease in Redis says who has a feed, and Redis remembers when it was
 * last looked at, so that together they look as often as one. A random part of the interval keeps them, and others who have
 * the same feeds, from asking all at the same second.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/intel_watch.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define SLICE_NS (200 * CORE_NS_PER_MS)
#define ELSEWHERE_S 20 /* somebody else has the feed: look again, should that process end */
#define AWAY_S 10      /* Redis is away */
#define JITTER_PART 10 /* up to a tenth of the interval later */

static const struct cmd_option sync_options[] = {
    INTEL_CONFIG_OPTION,
    {.name = "watch", .letter = 'w', .help = "Go on: each feed at its interval, until SIGTERM or SIGINT."},
    {.name = "full", .help = "Read all of each feed and compare all of the store, whatever the last sync left."},
    {.name = "takes-fewer", .help = "Take a feed that has become shorter than its drop_max allows."},
    {.name = "json", .help = "Print one JSON object a feed on stdout."},
    {0},
};

struct syncing {
    struct intel intel;
    const struct enrich_feed_conf **feeds;
    int64_t *next_s; /* of each; --watch */
    size_t len;
    struct enrich_sync_how how;
    struct intel_bar bar;
    char doing[ENRICH_FEED_NAME_BYTES_MAX + 40]; /* the bar's words */
    const char *feed;                            /* being read */
    bool is_watch;
    struct intel_watch *watch; /* NULL without --watch */
    bool has_failed;
    bool has_cut;
};

static volatile sig_atomic_t sync_stopped;

static void on_signal(int number) {
    (void)number;
    sync_stopped = 1;
}

static bool goes_on(void *ctx) {
    const struct syncing *syncing = ctx;
    intel_watch_pump(syncing->watch);
    return !sync_stopped;
}

static void on_progress(void *ctx, const char *doing, double share, uint64_t items) {
    struct syncing *syncing = ctx;
    if (doing == NULL) {
        intel_bar_end(&syncing->bar);
        return;
    }
    intel_watch_pump(syncing->watch);
    (void)snprintf(syncing->doing, sizeof(syncing->doing), "%s: %s", syncing->feed, doing);
    intel_bar_tell(&syncing->bar, share, items);
}

/* ---- what came of it -------------------------------------------------------------------------------------------------------- */

static const char *result_of(enum core_err err, const struct enrich_sync_report *report) {
    return err != CORE_OK         ? err == CORE_AGAIN ? "stopped" : "failed"
           : report->is_elsewhere ? "elsewhere"
           : report->is_early     ? "early"
           : report->is_cut       ? "cut"
           : report->is_unchanged ? "unchanged"
                                  : "done";
}

static void show_json(const char *feed, enum core_err err, const struct enrich_sync_report *report,
                      const struct core_fail *fail, double seconds) {
    char next[32];
    printf("{\"feed\":\"%s\",\"result\":\"%s\",\"items\":%" PRIu64 ",\"put\":%" PRIu64 ",\"removed\":%" PRIu64
           ",\"refused\":%" PRIu64 ",\"delta\":%s,\"seconds\":%.3f",
           feed, result_of(err, report), report->items, report->put, report->removed, report->refused,
           report->is_delta ? "true" : "false", seconds);
    if (report->told > 0) {
        printf(",\"sightings_told\":%" PRIu64, report->told);
    }
    if (report->next_s > 0) {
        intel_time(report->next_s, next);
        printf(",\"next\":\"%s\"", next);
    }
    if (err != CORE_OK) {
        printf(",\"where\":");
        cmd_print_json_string(stdout, core_span_of(fail->where));
        printf(",\"error\":");
        cmd_print_json_string(stdout, core_span_of(fail->text));
    }
    printf("}\n");
}

static void show_text(const char *feed, enum core_err err, const struct enrich_sync_report *report,
                      const struct core_fail *fail, double seconds) {
    if (err != CORE_OK) {
        return; /* said on stderr */
    }
    if (report->is_elsewhere) {
        printf("%s: another process is at it: %s\n", feed, fail->text);
    } else if (report->is_early) {
        printf("%s: not due yet\n", feed);
    } else if (report->is_unchanged) {
        printf("%s: unchanged, %.1f s\n", feed, seconds);
    } else {
        printf(
            "%s: %" PRIu64 " indicators read%s%s, %" PRIu64 " put, %" PRIu64 " removed, %" PRIu64 " refused, %.1f s\n",
            feed, report->items, report->is_delta ? " of what changed" : "",
            report->is_cut ? " (cut off by its server)" : "", report->put, report->removed, report->refused, seconds);
    }
    if (report->told > 0) {
        printf("%s: %" PRIu64 " sightings told to its server\n", feed, report->told);
    }
}

static void show(struct syncing *syncing, const char *feed, enum core_err err, const struct enrich_sync_report *report,
                 const struct core_fail *fail, double seconds) {
    if (syncing->is_watch && err == CORE_OK && (report->is_early || report->is_elsewhere)) {
        return; /* each of many processes would say it again and again */
    }
    if (syncing->intel.is_json) {
        show_json(feed, err, report, fail, seconds);
    } else {
        show_text(feed, err, report, fail, seconds);
    }
    (void)fflush(stdout);
    if (err != CORE_OK && err != CORE_AGAIN && syncing->is_watch) {
        core_log(CORE_LEVEL_WARN, "sync",
                 "a feed is not taken; what is in the store stays, and it is tried again later",
                 "feed=%s where=\"%s\" why=\"%s\"", feed, fail->where, fail->text);
    } else if (err != CORE_OK && err != CORE_AGAIN) {
        (void)fprintf(stderr, "tapline intel sync: feed %s is not taken, what is in the store stays: %s: %s\n", feed,
                      fail->where, fail->text);
    }
}

/* ---- feeds -------------------------------------------------------------------------------------------------------------------- */

static int64_t jitter_s(int64_t interval_s) {
    uint64_t random = 0;
    MUST(getrandom(&random, sizeof random, 0) == (ssize_t)sizeof random);
    return (int64_t)(random % (uint64_t)(interval_s / JITTER_PART + 1));
}

/* A feed that was taken is told what was seen of it. If it does not listen, its indicators are there all the same. */
static void sightings_tell(struct syncing *syncing, const struct enrich_feed_conf *feed,
                           struct enrich_sync_report *report) {
    struct core_fail fail = {0};
    enum core_err err = enrich_sightings_tell(syncing->intel.store, feed, &syncing->how, &report->told, &fail);
    if (err == CORE_OK || err == CORE_AGAIN) {
        return;
    }
    syncing->has_failed = true;
    if (syncing->is_watch) {
        core_log(CORE_LEVEL_WARN, "sync",
                 "what was seen is not told to a feed's server; the next sync tells it, up to a week back",
                 "feed=%s where=\"%s\" why=\"%s\"", feed->name, fail.where, fail.text);
    } else {
        (void)fprintf(stderr,
                      "tapline intel sync: what was seen is not told to the server of feed %s; the next sync tells it, "
                      "up to a week back: %s: %s\n",
                      feed->name, fail.where, fail.text);
    }
}

static void feed_sync(struct syncing *syncing, size_t i) {
    const struct enrich_feed_conf *feed = syncing->feeds[i];
    struct enrich_sync_report report = {0};
    struct core_fail fail = {0};
    int64_t start_ns = core_tick_ns();
    syncing->feed = feed->name;
    enum core_err err = enrich_sync(syncing->intel.store, feed, &syncing->how, &report, &fail);
    if (err == CORE_OK && !report.is_early && !report.is_elsewhere) {
        sightings_tell(syncing, feed, &report);
    }
    show(syncing, feed->name, err, &report, &fail, (double)(core_tick_ns() - start_ns) / (double)CORE_NS_PER_S);
    if (syncing->watch != NULL) {
        intel_watch_synced(syncing->watch, i, err, &report);
    }
    syncing->has_failed = syncing->has_failed || err != CORE_OK;
    syncing->has_cut = syncing->has_cut || report.is_cut;
    int64_t now_s = core_now_ns() / CORE_NS_PER_S;
    int64_t interval_s = feed->interval_ns / CORE_NS_PER_S;
    if (report.is_elsewhere) {
        syncing->next_s[i] = now_s + (interval_s < ELSEWHERE_S ? interval_s : ELSEWHERE_S) + jitter_s(AWAY_S);
    } else if (report.next_s == 0) {
        syncing->next_s[i] = now_s + AWAY_S + jitter_s(AWAY_S);
    } else {
        syncing->next_s[i] = report.next_s + jitter_s(interval_s);
    }
}

static void watch(struct syncing *syncing) {
    while (!sync_stopped) {
        int64_t now_s = core_now_ns() / CORE_NS_PER_S;
        for (size_t i = 0; i < syncing->len && !sync_stopped; i++) {
            if (syncing->next_s[i] <= now_s) {
                feed_sync(syncing, i);
            }
        }
        intel_watch_wait(syncing->watch, SLICE_NS); /* a signal may cut it short: that is what it is for */
    }
}

/* Those that are named, or all. */
static bool feeds_choose(struct syncing *syncing, int *exit_code) {
    struct intel *intel = &syncing->intel;
    size_t named = (size_t)intel->args.files_len;
    size_t len = named > 0 ? named : intel->conf.feeds_len;
    syncing->feeds = calloc(len + 1, sizeof *syncing->feeds);
    syncing->next_s = calloc(len + 1, sizeof *syncing->next_s);
    MUST(syncing->feeds != NULL);
    MUST(syncing->next_s != NULL);
    if (len == 0) {
        *exit_code =
            intel_wrong(intel, "%s has no intel.feeds: there is nothing to sync", intel_value(intel, "config"));
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        const char *name = named > 0 ? intel->args.files[i] : intel->conf.feeds[i].name;
        syncing->feeds[i] = config_intel_feed(&intel->conf, name);
        if (syncing->feeds[i] == NULL) {
            *exit_code = intel_wrong(intel, "%s has no feed \"%s\"", intel_value(intel, "config"), name);
            return false;
        }
    }
    syncing->len = len;
    return true;
}

static int sync_all(struct syncing *syncing) {
    const struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a sleep ends at once */
    MUST(sigaction(SIGINT, &action, NULL) == 0);
    MUST(sigaction(SIGTERM, &action, NULL) == 0);
    syncing->how.goes_on = goes_on;
    syncing->how.on_progress = on_progress;
    syncing->how.ctx = syncing;
    syncing->bar = intel_bar_new(syncing->doing);
    if (syncing->is_watch) {
        int exit_code = CORE_EXIT_DONE;
        syncing->watch = intel_watch_new(&syncing->intel, syncing->feeds, syncing->len, &exit_code);
        if (syncing->watch != NULL) {
            watch(syncing);
        }
        intel_watch_free(syncing->watch);
        syncing->watch = NULL;
        return exit_code;
    }
    for (size_t i = 0; i < syncing->len && !sync_stopped; i++) {
        feed_sync(syncing, i);
    }
    return syncing->has_failed || sync_stopped ? CORE_EXIT_SYSTEM : syncing->has_cut ? CORE_EXIT_NO : CORE_EXIT_DONE;
}

static int run_intel_sync(const struct cmd *cmd, int argc, char **argv) {
    struct syncing syncing = {0};
    int exit_code = CORE_EXIT_DONE;
    if (!intel_parse(&syncing.intel, cmd, argc, argv, &exit_code)) {
        return exit_code;
    }
    syncing.is_watch = intel_value(&syncing.intel, "watch") != NULL;
    syncing.how = (struct enrich_sync_how){.is_due_only = syncing.is_watch,
                                           .is_full = intel_value(&syncing.intel, "full") != NULL,
                                           .takes_fewer = intel_value(&syncing.intel, "takes-fewer") != NULL};
    if (syncing.is_watch && (syncing.how.is_full || syncing.how.takes_fewer)) {
        exit_code = intel_wrong(&syncing.intel, "--full and --takes-fewer are for one time, --watch is for all times");
    } else if (intel_open(&syncing.intel, INTEL_WRITES, &exit_code) && feeds_choose(&syncing, &exit_code)) {
        exit_code = sync_all(&syncing);
    }
    free(syncing.feeds);
    free(syncing.next_s);
    core_log_flush();
    intel_close(&syncing.intel);
    return exit_code;
}

const struct cmd cmd_intel_sync = {
    .name = "intel sync",
    .summary = "bring the store up to date with the feeds",
    .args = "[FEED…]",
    .about =
        "Reads the feeds of the configuration's intel.feeds (those named, or all), and puts what they say into the "
        "store: "
        "what is new, what is said differently, and, of a feed that was read whole, what it no longer names is taken "
        "back. "
        "Nothing is changed before a feed was read to its end, so one that is broken, cut off or suddenly much shorter "
        "(drop_max) leaves what is there. Several may run at once, on many hosts: they share the feeds by leases in "
        "Redis. "
        "A feed with sightings: true is told, behind its sync, what sensors have counted of its indicators. "
        "Exits 0 if all are up to date, 1 if a server cut one off, 111 if one could not be taken.",
    .example = "tapline intel sync -c /etc/tapline/tapline.yml\n"
               "tapline intel sync -c /etc/tapline/tapline.yml --watch\n"
               "tapline intel sync -c /etc/tapline/tapline.yml --full --json urlhaus",
    .options = sync_options,
    .run = run_intel_sync,
};
