/* core/health_rules_table.c: what is a problem: a row of the table for each code, and how rows show it.
 *
 * The codes are an interface: docs/troubleshooting, the health log, alert rules and the page name them. A code without a
 * function is one that only threads can know of (core_health_complain()).
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_rules_internal.h"

#define LAG_MAX_NS (60 * CORE_NS_PER_S) /* these three: as core_health_opts have them */
#define STALL_AFTER_NS (5 * CORE_NS_PER_S)
#define LOSS_MAX_PPM 10000
#define DEAD_WINDOW_NS (60 * CORE_NS_PER_S)
#define LOST_WINDOW_NS (300 * CORE_NS_PER_S)
#define RESTARTS_WINDOW_NS (300 * CORE_NS_PER_S)
#define RESTARTS_MANY 3
#define BROKERS_AWAY_NS (2 * CORE_NS_PER_S)
#define QUEUE_FULL_NS (30 * CORE_NS_PER_S)
#define BEHIND_NS (5 * CORE_NS_PER_S)
#define FROZEN_NS CORE_NS_PER_S     /* one that has just died is not frozen: the Supervisor says so within this */
#define DOWN_NS (2 * CORE_NS_PER_S) /* down and wanted is a state that a start passes through */
#define SLOW_START_NS (120 * CORE_NS_PER_S)
#define REPORT_OLD_NS (1800 * CORE_NS_PER_S) /* Zeek's capture_loss has one each 15 minutes */
#define STATE_LOW_BYTES ((int64_t)(64 * CORE_MIB))
#define STATE_FULL_BYTES ((int64_t)CORE_MIB)
#define PPM_PER_PERCENT 10000.0
#define FULL_SHARE_OF 4 /* a stage that has three of four batches is what the others wait for */

enum { INTEL_BUILDING = 1, INTEL_READY, INTEL_STALE, INTEL_UNAVAILABLE };
enum { NODE_DOWN, NODE_STARTING, NODE_READY, NODE_UP, NODE_STOPPING, NODE_BACKOFF, NODE_LATCHED };

/* A process whose file has no section health is watched with the defaults. */
static int64_t lag_max(const struct core_health *health) {
    return health->conf.lag_max_ns > 0 ? health->conf.lag_max_ns : LAG_MAX_NS;
}

static int64_t stall_after(const struct core_health *health) {
    return health->conf.stall_after_ns > 0 ? health->conf.stall_after_ns : STALL_AFTER_NS;
}

static int64_t loss_max(const struct core_health *health) {
    return health->conf.is_on || health->conf.loss_max_ppm > 0 ? (int64_t)health->conf.loss_max_ppm : LOSS_MAX_PPM;
}

static int64_t get(const struct health_look *look, enum core_health_measure measure) {
    return core_health_get(look->row, measure);
}

static int64_t age(const struct health_look *look, enum core_health_measure measure) {
    int64_t shown = core_health_shown(look->row, measure, look->now_ns);
    return shown == CORE_HEALTH_UNKNOWN ? 0 : shown;
}

static long long known(int64_t value) {
    return value == CORE_HEALTH_UNKNOWN ? 0 : (long long)value;
}

/* ---- sinks, brokers, partitions ----------------------------------------------------------------------------------------- */

static bool sink_is_unreachable(struct health_look *look) {
    if (get(look, CORE_SINK_UP) != 0) {
        return false;
    }
    health_say(look, "the server or disk of sink %s does not answer; %lld documents wait for it, nothing is lost",
               look->labels[0], known(get(look, CORE_SINK_IN_FLIGHT)));
    return true;
}

static bool sink_is_stalled(struct health_look *look) {
    int64_t stalled = age(look, CORE_SINK_STALLED_SINCE);
    if (stalled == 0 || stalled < stall_after(look->health) || get(look, CORE_SINK_UP) == 0) {
        return false;
    }
    char text[32];
    look->since_ns = get(look, CORE_SINK_STALLED_SINCE);
    health_say(look, "sink %s has accepted nothing for %s though %lld documents wait for it; nothing is lost",
               look->labels[0], health_age(text, stalled), known(get(look, CORE_SINK_IN_FLIGHT)));
    return true;
}

static bool is_a_sink(const struct core_health *health, const char *name) {
    for (size_t i = 0; i < health->rows_len; i++) {
        if (health->rows[i].kind == CORE_HEALTH_SINK && strcmp(health->rows[i].labels[0], name) == 0) {
            return true;
        }
    }
    return false;
}

/* Once for all brokers of a client: at the first of its rows. A sink's are told by its own row, `up`. */
static bool brokers_are_away(struct health_look *look) {
    const struct core_health *health = look->health;
    const char *client = look->labels[0];
    size_t known_len = 0;
    for (size_t i = 0; i < health->rows_len; i++) {
        const struct core_health_row *row = &health->rows[i];
        if (row->kind != CORE_HEALTH_BROKER || strcmp(row->labels[0], client) != 0) {
            continue;
        }
        if (row < look->row || core_health_get(row, CORE_BROKER_UP) == 1) {
            return false;
        }
        known_len += core_health_get(row, CORE_BROKER_UP) == 0 ? 1 : 0;
    }
    look->labels[1] = "";
    bool is_so = known_len > 0 && !is_a_sink(health, client);
    if (!health_lasts(look, is_so, BROKERS_AWAY_NS)) {
        return false;
    }
    health_say(look, "%s is connected to none of its Kafka brokers; it goes on when one answers", client);
    return true;
}

static bool consumer_lags(struct health_look *look) {
    int64_t lag = age(look, CORE_CONSUMED_LAG_SINCE);
    if (lag <= lag_max(look->health)) {
        return false;
    }
    char text[32];
    health_say(look, "partition %s of topic %s is %s behind: %lld records are not indexed yet", look->labels[2],
               look->labels[1], health_age(text, lag), known(get(look, CORE_CONSUMED_LAG)));
    return true;
}

/* ---- disks and files ------------------------------------------------------------------------------------------------------ */

static const char *state_dir(const struct health_look *look) {
    return look->health->env.state == NULL ? "node.state" : look->health->env.state;
}

static bool state_is_full(struct health_look *look) {
    int64_t free_bytes = get(look, CORE_PROCESS_STATE_FREE);
    if (free_bytes == CORE_HEALTH_UNKNOWN || free_bytes >= STATE_FULL_BYTES) {
        return false;
    }
    char text[32];
    health_say(look, "the file system of node.state, %s, is full: %s left; positions and logs cannot be kept there",
               state_dir(look), health_bytes(text, free_bytes));
    return true;
}

static bool state_is_low(struct health_look *look) {
    int64_t free_bytes = get(look, CORE_PROCESS_STATE_FREE);
    if (free_bytes == CORE_HEALTH_UNKNOWN || free_bytes < STATE_FULL_BYTES || free_bytes >= STATE_LOW_BYTES) {
        return false;
    }
    char text[32];
    health_say(look, "the file system of node.state, %s, has only %s left", state_dir(look),
               health_bytes(text, free_bytes));
    return true;
}

static bool file_lags(struct health_look *look) {
    int64_t lag = age(look, CORE_FILE_LAG_SINCE);
    if (lag <= lag_max(look->health)) {
        return false;
    }
    char text[32];
    char bytes[32];
    health_say(look, "%s is %s behind: %s of it are not accepted yet", look->labels[0], health_age(text, lag),
               health_bytes(bytes, get(look, CORE_FILE_LAG)));
    return true;
}

static bool file_is_unreadable(struct health_look *look) {
    if (get(look, CORE_FILE_FAILED) != 1) {
        return false;
    }
    health_say(look, "%s cannot be opened or read; it is tried again, and the log says why", look->labels[0]);
    return true;
}

/* ---- what is lost or refused ------------------------------------------------------------------------------------------------ */

static bool has_dead_letters(struct health_look *look) {
    int64_t records = get(look, CORE_DEAD_RECORDS);
    if (records == CORE_HEALTH_UNKNOWN) {
        return false;
    }
    int64_t grown = health_grown(look, records, 0, DEAD_WINDOW_NS);
    int64_t last = get(look, CORE_DEAD_LAST);
    bool is_recent = last != CORE_HEALTH_UNKNOWN && last != 0 && look->now_ns - last < DEAD_WINDOW_NS;
    if (grown <= 0 && !is_recent) {
        return false;
    }
    health_say(look, "%lld records became dead letters in the last minute (%lld since the start), said %s: %s",
               (long long)grown, (long long)records, look->labels[0], look->labels[1]);
    return true;
}

static int64_t counted(const struct health_look *look, enum core_counter id) {
    const struct core_counters *counters = look->health->env.counters;
    return counters == NULL ? 0 : (int64_t)core_counted(counters, id);
}

static bool bytes_are_lost(struct health_look *look) {
    int64_t lost = counted(look, CORE_COUNT_INGEST_BYTES_LOST) + counted(look, CORE_COUNT_SPOOL_BYTES_LOST);
    int64_t grown = health_grown(look, lost, 0, LOST_WINDOW_NS);
    char now[32];
    char all[32];
    if (grown <= 0) {
        return false;
    }
    health_say(
        look,
        "%s were lost before they were read, in the last five minutes (%s since the start): a file was removed or "
        "truncated unread, or the spool was full",
        health_bytes(now, grown), health_bytes(all, lost));
    return true;
}

static bool events_are_lost(struct health_look *look) {
    int64_t lost = counted(look, CORE_COUNT_SINK_DROPPED) + counted(look, CORE_COUNT_FEED_LOST);
    int64_t grown = health_grown(look, lost, 0, LOST_WINDOW_NS);
    if (grown <= 0) {
        return false;
    }
    health_say(look,
               "%lld records were given up in the last five minutes (%lld since the start): their dead letters were "
               "refused, too; the log has their ids",
               (long long)grown, (long long)lost);
    return true;
}

/* ---- intelligence --------------------------------------------------------------------------------------------------------------- */

static bool intel_is_unavailable(struct health_look *look) {
    if (get(look, CORE_INTEL_STATE) != INTEL_UNAVAILABLE && get(look, CORE_INTEL_UP) != 0) {
        return false;
    }
    health_say(look,
               "the store of intelligence does not answer: events are not compared with indicators as they should be");
    return true;
}

static bool intel_is_stale(struct health_look *look) {
    if (get(look, CORE_INTEL_STATE) != INTEL_STALE) {
        return false;
    }
    char text[32];
    int64_t behind = get(look, CORE_INTEL_BEHIND);
    health_say(look, "changes of indicators have not been read for %s: new indicators are not seen",
               behind == CORE_HEALTH_UNKNOWN ? "some time" : health_age(text, behind));
    return true;
}

static bool intel_feed_failed(struct health_look *look) {
    if (get(look, CORE_SYNCED_FAILED) != 1) {
        return false;
    }
    health_say(
        look,
        "the last synchronisation of feed %s failed; the indicators of the one before stay, and it is tried again",
        look->labels[0]);
    return true;
}

/* ---- stages ------------------------------------------------------------------------------------------------------------------------ */

static bool sink_is_ill(const struct health_look *look, const char *name) {
    const struct core_health *health = look->health;
    for (size_t i = 0; i < health->rows_len; i++) {
        const struct core_health_row *row = &health->rows[i];
        if (row->kind == CORE_HEALTH_SINK && strcmp(row->labels[0], name) == 0) {
            int64_t stalled = core_health_shown(row, CORE_SINK_STALLED_SINCE, look->now_ns);
            return core_health_get(row, CORE_SINK_UP) == 0 ||
                   (stalled != CORE_HEALTH_UNKNOWN && stalled >= stall_after(health));
        }
    }
    return false;
}

/* Is any log, or partition, further behind than what is under way explains? */
static bool is_behind(const struct health_look *look) {
    const struct core_health *health = look->health;
    for (size_t i = 0; i < health->rows_len; i++) {
        const struct core_health_row *row = &health->rows[i];
        if (row->kind != CORE_HEALTH_FILE && row->kind != CORE_HEALTH_CONSUMED) {
            continue;
        }
        bool is_file = row->kind == CORE_HEALTH_FILE;
        int64_t lag = core_health_shown(row, is_file ? CORE_FILE_LAG_SINCE : CORE_CONSUMED_LAG_SINCE, look->now_ns);
        if (lag != CORE_HEALTH_UNKNOWN && lag > BEHIND_NS) {
            return true;
        }
    }
    return false;
}

/* All batches are one pool. A sink may have most of them in hand because they wait for a transaction's end, and nothing is
 * behind; but when something is, a stage that has most of them, before it and in hand, is the one that the others wait for: those
 * before it have nowhere to read to, those behind it nothing to do. Ingest hands out; it is never the one. */
static bool queue_is_full(struct health_look *look) {
    const struct core_health *health = look->health;
    int64_t has = 0;
    int64_t cap = 0;
    if (strcmp(look->labels[0], "ingest") == 0) {
        return false;
    }
    for (size_t i = 0; i < health->rows_len; i++) {
        const struct core_health_row *row = &health->rows[i];
        if (row->kind != CORE_HEALTH_STAGE || strcmp(row->labels[0], look->labels[0]) != 0) {
            continue;
        }
        if (row < look->row) {
            return false; /* all workers of a stage are looked at together, at the first one */
        }
        int64_t row_cap = core_health_get(row, CORE_STAGE_QUEUE_CAP);
        has += known(core_health_get(row, CORE_STAGE_QUEUED)) + known(core_health_get(row, CORE_STAGE_HELD));
        cap = row_cap > cap ? row_cap : cap;
    }
    look->labels[1] = "";
    bool is_so = cap > 0 && has * FULL_SHARE_OF >= cap * (FULL_SHARE_OF - 1) && !sink_is_ill(look, look->labels[0]) &&
                 is_behind(look);
    if (!health_lasts(look, is_so, QUEUE_FULL_NS)) {
        return false;
    }
    health_say(
        look,
        "stage %s is the slow one: %lld of all %lld batches wait before it or are in its hands, and have for half a "
        "minute; reading waits for it",
        look->labels[0], (long long)has, (long long)cap);
    return true;
}

/* ---- sensors and processes ---------------------------------------------------------------------------------------------------- */

static bool capture_is_lossy(struct health_look *look) {
    int64_t loss = get(look, CORE_CAPTURE_LOSS);
    int64_t limit = loss_max(look->health);
    if (loss == CORE_HEALTH_UNKNOWN || loss <= limit) {
        return false;
    }
    int64_t last = get(look, CORE_CAPTURE_LAST);
    if (last != CORE_HEALTH_UNKNOWN && look->now_ns - last > REPORT_OLD_NS) {
        return false;
    }
    health_say(look, "sensor %s lost %.2f %% of its packets, says its %s (at most %.2f %% is right)", look->labels[0],
               (double)loss / PPM_PER_PERCENT, look->labels[1], (double)limit / PPM_PER_PERCENT);
    return true;
}

static bool sensor_is_down(struct health_look *look) {
    int64_t state = get(look, CORE_SUPERVISED_STATE);
    bool is_wanted = get(look, CORE_SUPERVISED_WANTED) == 1;
    bool is_down = is_wanted && state == NODE_DOWN;
    bool is_on_its_way = is_wanted && (state == NODE_STARTING || state == NODE_STOPPING);
    if (!health_lasts(look, is_down || is_on_its_way, is_down ? DOWN_NS : SLOW_START_NS)) {
        return false;
    }
    health_say(look, is_down ? "%s is to run, and is down" : "%s is to run, and has not become ready for two minutes",
               look->labels[0]);
    return true;
}

static bool sensor_is_frozen(struct health_look *look) {
    int64_t state = get(look, CORE_SUPERVISED_STATE);
    bool is_so = (state == NODE_READY || state == NODE_UP) && get(look, CORE_SUPERVISED_RUNNING) == 0;
    if (!health_lasts(look, is_so, FROZEN_NS)) {
        return false;
    }
    health_say(look,
               "%s is there and does not run: it was stopped by a signal (SIGSTOP), or is traced; it sees no packets",
               look->labels[0]);
    return true;
}

static bool sensor_is_restarting(struct health_look *look) {
    int64_t restarts = get(look, CORE_SUPERVISED_RESTARTS);
    int64_t grown = health_grown(look, known(restarts), known(restarts), RESTARTS_WINDOW_NS);
    if (get(look, CORE_SUPERVISED_STATE) == NODE_BACKOFF) {
        health_say(look, "%s has ended and is started again soon (%lld restarts so far)", look->labels[0],
                   known(restarts));
        return true;
    }
    if (grown < RESTARTS_MANY) {
        return false;
    }
    health_say(look, "%s was started again %lld times in the last five minutes", look->labels[0], (long long)grown);
    return true;
}

static bool sensor_is_latched(struct health_look *look) {
    if (get(look, CORE_SUPERVISED_STATE) != NODE_LATCHED) {
        return false;
    }
    health_say(look, "%s died too often and stays down until a person starts it", look->labels[0]);
    return true;
}

static bool process_is_gone(struct health_look *look) {
    if (get(look, CORE_PEER_UP) != 0) {
        return false;
    }
    char text[32];
    int64_t silent = age(look, CORE_PEER_SILENT_SINCE);
    if (silent > 0) {
        look->since_ns = get(look, CORE_PEER_SILENT_SINCE);
    }
    health_say(look, "process %s has not answered for %s: it has ended, or hangs", look->labels[0],
               silent > 0 ? health_age(text, silent) : "some time");
    return true;
}

/* ---- the table ------------------------------------------------------------------------------------------------------------------ */

#define SAYS_BETTER "sink_refused disk_full topic_missing producer_fenced"

const struct health_rule health_rules[] = {
    {"sink_unreachable", CORE_HEALTH_ERROR, true, CORE_HEALTH_SINK, sink_is_unreachable, SAYS_BETTER,
     "a sink's server does not answer, so nothing can be delivered to it",
     "See that the server (broker, search engine) runs and can be reached from this host: its own log, the network, a "
     "firewall. Deliveries go on by themselves when it answers."},
    {"sink_refused", CORE_HEALTH_ERROR, true, CORE_HEALTH_SINK, NULL, NULL,
     "a sink's server answers, and lets us not in or takes nothing",
     "Check user, password, certificate and rights of tapline at the server; correct the file, then reload or "
     "restart."},
    {"sink_stalled", CORE_HEALTH_ERROR, true, CORE_HEALTH_SINK, sink_is_stalled, "sink_unreachable " SAYS_BETTER,
     "a sink accepts nothing for longer than health.stall_after though documents wait",
     "Look at the server of this sink: it is up, but too busy, blocked or slow. The log's lines of this sink say what "
     "it "
     "answers."},
    {"topic_missing", CORE_HEALTH_ERROR, true, CORE_HEALTH_SINK, NULL, NULL,
     "a topic does not exist, or may not be written or read",
     "Make the topic (`tapline setup`), or give tapline the right to."},
    {"producer_fenced", CORE_HEALTH_ERROR, true, CORE_HEALTH_SINK, NULL, NULL,
     "another producer has our transactional id, so that this one may not deliver",
     "See that only one `tapline run` has this node.name and node.state; stop the other one."},
    {"disk_full", CORE_HEALTH_ERROR, true, CORE_HEALTH_PROCESS, state_is_full, NULL,
     "a disk that must be written to is full: of node.state, or of a sink's files",
     "Free some space there (`df`, `du`): old files of the sink, the spool, logs that are archived. What waits is "
     "written as soon "
     "as there is room."},
    {"state_unwritable", CORE_HEALTH_ERROR, true, CORE_HEALTH_PROCESS, NULL, "disk_full",
     "files in node.state cannot be written, so that positions are not kept",
     "Check owner, rights and mount of node.state, and whether its disk is full or read-only."},
    {"positions_unknown", CORE_HEALTH_ERROR, true, CORE_HEALTH_PROCESS, NULL, NULL,
     "nothing is read, because who keeps the positions (Kafka) has not said up to where logs were delivered",
     "See that the brokers run and can be reached, and that tapline may read its topic of positions."},
    {"positions_awaited", CORE_HEALTH_INFO, true, CORE_HEALTH_PROCESS, NULL, NULL,
     "the process has just been started, and asks Kafka up to where logs were delivered",
     "Nothing, if it takes a moment; positions_unknown follows if it takes longer."},
    {"state_low", CORE_HEALTH_WARN, false, CORE_HEALTH_PROCESS, state_is_low, NULL,
     "there is less than 64 MiB of room on the file system of node.state",
     "Free some space there before it is full: without room there are no positions, no spool and no health log."},
    {"file_unreadable", CORE_HEALTH_ERROR, false, CORE_HEALTH_FILE, file_is_unreadable, NULL,
     "a log file cannot be opened or read",
     "Give the user of tapline the right to read it (owner, mode, ACL of it and of its directories), or see to the "
     "disk."},
    {"file_lag", CORE_HEALTH_WARN, false, CORE_HEALTH_FILE, file_lags, NULL,
     "a log file is further behind than health.lag_max: its oldest byte that no sink has accepted is older",
     "Look at sinks and stages first: one that stalls or is full holds up everything before it. If all run, there is "
     "more than "
     "they can take: more workers, a faster server."},
    {"bytes_lost", CORE_HEALTH_ERROR, false, CORE_HEALTH_PROCESS, bytes_are_lost, NULL,
     "a log was removed or truncated before it was read, or the spool was full",
     "See who removes or truncates logs, and let logs be kept longer; give spool.bytes_max more room. What is lost "
     "cannot be "
     "brought back by tapline."},
    {"events_lost", CORE_HEALTH_ERROR, false, CORE_HEALTH_PROCESS, events_are_lost, NULL,
     "records whose dead letters were refused as well were given up",
     "The log has the id and place of each. See that the dead-letter topic or index takes them: its size limit, its "
     "rights, its "
     "mapping."},
    {"dead_letters", CORE_HEALTH_WARN, false, CORE_HEALTH_DEAD, has_dead_letters, NULL,
     "records became dead letters within the last minute",
     "Look at them: `tapline dead-letter list` or the dashboard; error.message says what is wrong. A sensor's new "
     "format needs "
     "another map; garbage needs its writer stopped. `tapline dead-letter retry` sends them again."},
    {"queue_full", CORE_HEALTH_WARN, false, CORE_HEALTH_STAGE, queue_is_full, NULL,
     "a log is behind, and one stage has nearly all batches for half a minute: it is slower than what comes",
     "While a backlog is worked off this is as it should be. If it stays: more workers for normalize, a nearer or "
     "faster server "
     "for a sink or for intelligence, or fewer logs."},
    {"intel_unavailable", CORE_HEALTH_ERROR, false, CORE_HEALTH_INTEL, intel_is_unavailable, NULL,
     "the store of indicators (Redis) does not answer",
     "See that Redis runs and can be reached (`redis-cli ping`). Events are marked labels.intel: unavailable "
     "meanwhile, or wait, as "
     "intel.on_unavailable says."},
    {"intel_stale", CORE_HEALTH_WARN, false, CORE_HEALTH_INTEL, intel_is_stale, NULL,
     "changes of indicators are not followed",
     "See that Redis is up and not overloaded, and that its stream of changes is there."},
    {"intel_feed_failed", CORE_HEALTH_WARN, false, CORE_HEALTH_SYNCED, intel_feed_failed, NULL,
     "a feed of indicators could not be synchronised",
     "`tapline intel sync` tries it at once and says why: the feed's address, its key, its format."},
    {"brokers_away", CORE_HEALTH_ERROR, true, CORE_HEALTH_BROKER, brokers_are_away, NULL,
     "a reader of Kafka is connected to no broker",
     "See that the brokers run and can be reached from this host at the addresses they advertise."},
    {"consumer_lag", CORE_HEALTH_WARN, false, CORE_HEALTH_CONSUMED, consumer_lags, NULL,
     "the feeder is further behind in a partition than health.lag_max",
     "Look at its sinks: a search engine that is slow or refuses holds it up. If all run: more feeders in the group."},
    {"capture_loss", CORE_HEALTH_WARN, false, CORE_HEALTH_CAPTURE, capture_is_lossy, NULL,
     "a sensor loses more packets than health.loss_max_ppm",
     "The sensor has too little processor or buffer for its traffic: more workers, a filter, a bigger ring; check the "
     "tap or "
     "mirror port, too. tapline cannot bring back what a sensor did not see."},
    {"sensor_frozen", CORE_HEALTH_ERROR, false, CORE_HEALTH_SUPERVISED, sensor_is_frozen, NULL,
     "a process is there and does not run: stopped by a signal, or traced",
     "`kill -CONT PID` lets it go on, `tapline restart NODE` begins it anew; find out who stopped it."},
    {"sensor_latched", CORE_HEALTH_ERROR, false, CORE_HEALTH_SUPERVISED, sensor_is_latched, NULL,
     "a process died too often and stays down",
     "`tapline diag NODE` says how it died; mend that, then `tapline start NODE`."},
    {"sensor_down", CORE_HEALTH_ERROR, false, CORE_HEALTH_SUPERVISED, sensor_is_down,
     "sensor_latched sensor_restarting", "a process that is to run does not",
     "`tapline status` and `tapline diag NODE` say why; `tapline start NODE` starts it."},
    {"sensor_restarting", CORE_HEALTH_WARN, false, CORE_HEALTH_SUPERVISED, sensor_is_restarting, NULL,
     "a process dies and is started again",
     "`tapline diag NODE` says how it died: its last words, and a backtrace if there is one."},
    {"sensor_silent", CORE_HEALTH_WARN, false, CORE_HEALTH_SUPERVISED, NULL, NULL,
     "a sensor has written nothing for longer than its watchdog allows though packets come",
     "`tapline diag NODE`; see whether its interface gets traffic (`tapline netstats`), then restart it."},
    {"process_gone", CORE_HEALTH_ERROR, false, CORE_HEALTH_PEER, process_is_gone, NULL,
     "a process of tapline on this host answered and does not any more",
     "`tapline status` if the Supervisor keeps it, else its service manager: see why it ended, and start it."},
    {"supervisor_away", CORE_HEALTH_ERROR, true, CORE_HEALTH_PROCESS, NULL, NULL,
     "Main has no Supervisor: nothing can be started, stopped or restarted; what runs goes on",
     "Start it: its unit in the service manager, or `tapline supervise`; its log says why it ended."},
    {"port_taken", CORE_HEALTH_WARN, false, CORE_HEALTH_PROCESS, NULL, NULL,
     "the port of /metrics is in use by somebody else",
     "Give this process another port in section health, or end who has it (`ss -ltnp`); it is tried again each 10 s."},
    {"log_unwritable", CORE_HEALTH_WARN, false, CORE_HEALTH_PROCESS, NULL, NULL, "the health log cannot be written",
     "Check room, owner and rights of health.log_dir; it is tried again at each line."},
    {"health_topic_away", CORE_HEALTH_WARN, false, CORE_HEALTH_PROCESS, NULL, NULL,
     "lines of the health log do not get into their topic",
     "See that the brokers answer and that the topic is there (`tapline setup`) and may be written; the file has all "
     "lines."},
    {"otlp_unreachable", CORE_HEALTH_WARN, false, CORE_HEALTH_PROCESS, NULL, NULL,
     "the collector of traces and metrics does not take them",
     "See that the collector of health.otlp runs and takes OTLP/HTTP JSON there. Nothing else waits for it."},
};
const size_t health_rules_len = sizeof(health_rules) / sizeof(health_rules[0]);
