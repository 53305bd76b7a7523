/* core/kafka_stats.c: what librdkafka knows of brokers and partitions, as rows.
 *
 * With statistics.interval.ms librdkafka makes a JSON text of all it counts, each time; it comes as an event of the queue that
 * the owner polls. It is read once, in one pass, for the few numbers that are shown; its texts are plain, so this costs three
 * milliseconds for a megabyte, and a text of so many megabytes is read each so many seconds.
 *
 * Brokers that nobody needs are not connected, and that is no fault: whether one is down is known only of those that lead a
 * partition of ours, or that a connection to has failed.
 *
 * Whether anybody answers at all is known without statistics, too: librdkafka says when the last broker is gone, and a record
 * that is accepted says that one is there.
 *
 * Thread: the owner's of the producer or the consumer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health.h"
#include "core/kafka_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define ERROR_OLD_NS (70 * CORE_NS_PER_S) /* librdkafka tells the same error each half minute */

#define CLOCK_NEAR_NS (60 * CORE_NS_PER_S)

/* Where a name of the text stands: {"brokers":{NAME:{FIELD:…,"rtt":{FIELD:…}}},"topics":{NAME:{"partitions":{N:{FIELD:…}}}}} */
enum section { SECTION_OTHER, SECTION_BROKERS, SECTION_TOPICS };
enum group { GROUP_OTHER, GROUP_RTT, GROUP_INT_LATENCY, GROUP_LEADS, GROUP_PARTITIONS };
enum { DEPTH_ROOT = 1, DEPTH_NAMES, DEPTH_FIELDS, DEPTH_GROUP, DEPTH_PARTITION };

enum field {
    FIELD_OTHER,
    FIELD_NODEID,
    FIELD_STATE,
    FIELD_SOURCE,
    FIELD_OUTBUF,
    FIELD_WAITRESP,
    FIELD_TXERRS,
    FIELD_TXRETRIES,
    FIELD_AVG,
    FIELD_P99,
    FIELD_CNT,
    FIELD_MSGQ,
    FIELD_XMITQ,
    FIELD_TXMSGS,
    FIELD_TXBYTES
};

struct field_name {
    const char *name;
    enum field field;
};
static const struct field_name broker_fields[] = {{"nodeid", FIELD_NODEID},
                                                  {"state", FIELD_STATE},
                                                  {"source", FIELD_SOURCE},
                                                  {"outbuf_msg_cnt", FIELD_OUTBUF},
                                                  {"waitresp_msg_cnt", FIELD_WAITRESP},
                                                  {"txerrs", FIELD_TXERRS},
                                                  {"txretries", FIELD_TXRETRIES},
                                                  {NULL, FIELD_OTHER}};
static const struct field_name window_fields[] = {
    {"avg", FIELD_AVG}, {"p99", FIELD_P99}, {"cnt", FIELD_CNT}, {NULL, FIELD_OTHER}};
static const struct field_name partition_fields[] = {{"msgq_cnt", FIELD_MSGQ},
                                                     {"xmit_msgq_cnt", FIELD_XMITQ},
                                                     {"txmsgs", FIELD_TXMSGS},
                                                     {"txbytes", FIELD_TXBYTES},
                                                     {NULL, FIELD_OTHER}};

/* One reading. */
struct kafka_stats_reading {
    struct kafka_stats *stats;
    int depth;
    enum section section;
    enum group group;
    enum field field;
    int64_t window[3]; /* avg, p99, cnt of the group */
    struct kafka_stats_broker broker;
    struct kafka_stats_partition partition;
    struct kafka_stats_broker *brokers; /* the new ones */
    size_t brokers_len;
};

static enum field field_of(const struct field_name *names, struct core_span text) {
    for (; names->name != NULL; names++) {
        if (core_span_is(text, names->name)) {
            return names->field;
        }
    }
    return FIELD_OTHER;
}

/* ---- what ends -------------------------------------------------------------------------------------------------------- */

static struct kafka_stats_broker *broker_find(struct kafka_stats *stats, const char *name) {
    for (size_t i = 0; i < stats->brokers_len; i++) {
        if (strcmp(stats->brokers[i].name, name) == 0) {
            return &stats->brokers[i];
        }
    }
    return NULL;
}

/* What the last reading knew and this one does not tell: of an interval without a request there is no round trip. */
static void broker_end(struct kafka_stats_reading *reading) {
    struct kafka_stats_broker *broker = &reading->broker;
    const struct kafka_stats_broker *before = broker_find(reading->stats, broker->name);
    if (broker->is_internal || reading->brokers_len == KAFKA_STATS_BROKERS_MAX) {
        return;
    }
    if (before != NULL) {
        broker->has_failed = before->has_failed && !broker->is_up;
        broker->rtt_ns = broker->rtt_ns == CORE_HEALTH_UNKNOWN ? before->rtt_ns : broker->rtt_ns;
        broker->rtt_p99_ns = broker->rtt_p99_ns == CORE_HEALTH_UNKNOWN ? before->rtt_p99_ns : broker->rtt_p99_ns;
        broker->int_latency_ns =
            broker->int_latency_ns == CORE_HEALTH_UNKNOWN ? before->int_latency_ns : broker->int_latency_ns;
    }
    reading->brokers[reading->brokers_len++] = *broker;
}

static void partition_end(struct kafka_stats_reading *reading) {
    struct kafka_stats *stats = reading->stats;
    const struct kafka_stats_partition *partition = &reading->partition;
    bool has_traffic = partition->messages > 0 || partition->queued > 0;
    if (partition->number >= 0 && has_traffic && stats->partitions_len < KAFKA_STATS_PARTITIONS_MAX) {
        stats->partitions[stats->partitions_len++] = *partition;
    }
}

/* With message.timeout.ms 0, as our sinks have it, older releases of librdkafka (github.com/confluentinc/librdkafka/issues/5555)
 * take a moment that is none for when a message was queued: the wait is negative then, or about as long as the clock runs. */
static int64_t queued_of(int64_t us) {
    bool is_one = us >= 0 && us < (core_tick_ns() - CLOCK_NEAR_NS) / CORE_NS_PER_US;
    return is_one ? us * CORE_NS_PER_US : CORE_HEALTH_UNKNOWN;
}

static void group_end(struct kafka_stats_reading *reading) {
    struct kafka_stats_broker *broker = &reading->broker;
    if (reading->section == SECTION_BROKERS && reading->window[2] > 0 && reading->group == GROUP_RTT) {
        broker->rtt_ns = reading->window[0] * CORE_NS_PER_US;
        broker->rtt_p99_ns = reading->window[1] * CORE_NS_PER_US;
    } else if (reading->section == SECTION_BROKERS && reading->window[2] > 0 && reading->group == GROUP_INT_LATENCY) {
        broker->int_latency_ns = queued_of(reading->window[0]);
    }
    reading->group = GROUP_OTHER;
}

/* ---- the text ----------------------------------------------------------------------------------------------------------- */

static void name_begin(struct kafka_stats_reading *reading, struct core_span text) {
    if (reading->section == SECTION_BROKERS) {
        reading->broker = (struct kafka_stats_broker){
            .rtt_ns = CORE_HEALTH_UNKNOWN, .rtt_p99_ns = CORE_HEALTH_UNKNOWN, .int_latency_ns = CORE_HEALTH_UNKNOWN};
        snprintf(reading->broker.name, sizeof reading->broker.name, "%.*s", (int)text.len, text.ptr);
    } else if (reading->section == SECTION_TOPICS) {
        snprintf(reading->partition.topic, sizeof reading->partition.topic, "%.*s", (int)text.len, text.ptr);
    }
}

static enum group group_of(enum section section, struct core_span text) {
    if (section == SECTION_TOPICS) {
        return core_span_is(text, "partitions") ? GROUP_PARTITIONS : GROUP_OTHER;
    }
    return core_span_is(text, "rtt")           ? GROUP_RTT
           : core_span_is(text, "int_latency") ? GROUP_INT_LATENCY
           : core_span_is(text, "toppars")     ? GROUP_LEADS
                                               : GROUP_OTHER;
}

static int64_t number_of(struct core_span text) {
    char digits[32];
    snprintf(digits, sizeof digits, "%.*s", (int)(text.len < sizeof digits ? text.len : sizeof digits - 1), text.ptr);
    return strtoll(digits, NULL, 10);
}

static bool on_key(void *ctx, struct core_span text) {
    struct kafka_stats_reading *reading = ctx;
    reading->field = FIELD_OTHER;
    if (reading->depth == DEPTH_ROOT) {
        reading->section = core_span_is(text, "brokers")  ? SECTION_BROKERS
                           : core_span_is(text, "topics") ? SECTION_TOPICS
                                                          : SECTION_OTHER;
    } else if (reading->section == SECTION_OTHER) {
        return true;
    } else if (reading->depth == DEPTH_NAMES) {
        name_begin(reading, text);
    } else if (reading->depth == DEPTH_FIELDS) {
        reading->group = group_of(reading->section, text);
        reading->field = reading->section == SECTION_BROKERS ? field_of(broker_fields, text) : FIELD_OTHER;
    } else if (reading->depth == DEPTH_GROUP && reading->group == GROUP_PARTITIONS) {
        reading->partition.number = (int)number_of(text);
        reading->partition.queued = reading->partition.messages = reading->partition.bytes = 0;
    } else if (reading->depth == DEPTH_GROUP && reading->group == GROUP_LEADS) {
        reading->broker.is_needed = true;
    } else if (reading->depth == DEPTH_GROUP && reading->group != GROUP_OTHER) {
        reading->field = field_of(window_fields, text);
    } else if (reading->depth == DEPTH_PARTITION && reading->group == GROUP_PARTITIONS) {
        reading->field = field_of(partition_fields, text);
    }
    return true;
}

static bool on_number(void *ctx, struct core_span text) {
    struct kafka_stats_reading *reading = ctx;
    int64_t number = reading->field == FIELD_OTHER ? 0 : number_of(text);
    switch (reading->field) {
    case FIELD_NODEID:
        reading->broker.is_bootstrap = number < 0;
        break;
    case FIELD_OUTBUF:
        reading->broker.outbuf = number;
        break;
    case FIELD_WAITRESP:
        reading->broker.waitresp = number;
        break;
    case FIELD_TXERRS:
        reading->broker.tx_errors = number;
        break;
    case FIELD_TXRETRIES:
        reading->broker.retries = number;
        break;
    case FIELD_AVG:
    case FIELD_P99:
    case FIELD_CNT:
        reading->window[reading->field - FIELD_AVG] = number;
        break;
    case FIELD_MSGQ:
    case FIELD_XMITQ:
        reading->partition.queued += number;
        break;
    case FIELD_TXMSGS:
        reading->partition.messages = number;
        break;
    case FIELD_TXBYTES:
        reading->partition.bytes = number;
        break;
    default:
        break;
    }
    return true;
}

static bool on_string(void *ctx, struct core_span text) {
    struct kafka_stats_reading *reading = ctx;
    if (reading->field == FIELD_STATE) {
        reading->broker.is_up = core_span_is(text, "UP") || core_span_is(text, "UPDATE");
    } else if (reading->field ==
               FIELD_SOURCE) { /* a queue of librdkafka's own, or another connection to a known broker */
        reading->broker.is_internal = core_span_is(text, "internal") || core_span_is(text, "logical");
    }
    return true;
}

static bool on_map(void *ctx, bool is_start) {
    struct kafka_stats_reading *reading = ctx;
    reading->field = FIELD_OTHER;
    if (is_start) {
        reading->depth++;
        if (reading->depth == DEPTH_GROUP) {
            memset(reading->window, 0, sizeof reading->window);
        }
        return true;
    }
    if (reading->section == SECTION_BROKERS && reading->depth == DEPTH_FIELDS) {
        broker_end(reading);
    } else if (reading->section == SECTION_TOPICS && reading->depth == DEPTH_PARTITION &&
               reading->group == GROUP_PARTITIONS) {
        partition_end(reading);
    } else if (reading->depth == DEPTH_GROUP) {
        group_end(reading);
    }
    reading->depth--;
    return true;
}

static bool on_null(void *ctx) {
    (void)ctx;
    return true;
}

static bool on_bool(void *ctx, bool value) {
    (void)ctx;
    (void)value;
    return true;
}

static bool on_array(void *ctx, bool is_start) {
    (void)ctx;
    (void)is_start;
    return true;
}

static const struct core_json_calls calls = {.on_null = on_null,
                                             .on_bool = on_bool,
                                             .on_number = on_number,
                                             .on_string = on_string,
                                             .on_key = on_key,
                                             .on_map = on_map,
                                             .on_array = on_array};

static void up_set(struct kafka_stats *stats, bool is_up) {
    if (is_up) {
        stats->up = 1;
        stats->down_since_ns = 0;
        stats->error[0] = '\0';
        stats->is_denied = false;
    } else if (stats->up != 0) {
        stats->up = 0;
        stats->down_since_ns = core_now_ns();
    }
}

void kafka_stats_read(struct kafka_stats *stats, struct core_span text) {
    int64_t now = core_tick_ns();
    if (now < stats->due_ns) {
        return;
    }
    stats->due_ns = now + (int64_t)(text.len / CORE_MIB) * CORE_NS_PER_S; /* of thousands of partitions: seldom */
    struct kafka_stats_broker fresh[KAFKA_STATS_BROKERS_MAX];
    struct kafka_stats_reading reading = {.stats = stats, .brokers = fresh};
    if (stats->partitions == NULL) {
        stats->partitions = calloc(KAFKA_STATS_PARTITIONS_MAX, sizeof *stats->partitions);
        MUST(stats->partitions != NULL);
    }
    stats->partitions_len = 0;
    if (!core_json_read_plain(&calls, &reading, text)) {
        core_log(CORE_LEVEL_DEBUG, "kafka", "statistics that cannot be read; the next ones come in a second",
                 "bytes=%zu", text.len);
        return;
    }
    memcpy(stats->brokers, fresh, reading.brokers_len * sizeof *fresh);
    stats->brokers_len = reading.brokers_len;
    stats->is_there = true;
    size_t up = 0;
    for (size_t i = 0; i < stats->brokers_len; i++) {
        up += stats->brokers[i].is_up ? 1 : 0;
    }
    if (up > 0) {
        up_set(stats, true);
    } else if (stats->error[0] != '\0') {
        up_set(stats, false);
    }
}

/* ---- without statistics ---------------------------------------------------------------------------------------------------- */

void kafka_stats_error(struct kafka_stats *stats, int code, const char *text) {
    stats->error_ns = core_tick_ns();
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        up_set(stats, false);
        return;
    }
    if (code != RD_KAFKA_RESP_ERR__TRANSPORT && code != RD_KAFKA_RESP_ERR__RESOLVE && code != RD_KAFKA_RESP_ERR__SSL &&
        code != RD_KAFKA_RESP_ERR__TIMED_OUT && !core_kafka_is_denied(code)) {
        return; /* of the cluster or a topic: somebody answered */
    }
    stats->is_denied = core_kafka_is_denied(code);
    snprintf(stats->error, sizeof stats->error, "%s", text);
    for (size_t i = 0; i < stats->brokers_len; i++) {
        struct kafka_stats_broker *broker = &stats->brokers[i];
        size_t len = strlen(broker->name);
        /* an idle connection is closed by the broker, too */
        if (strncmp(text, broker->name, len) == 0 && text[len] == ':' && strstr(text, ": Disconnected") == NULL) {
            broker->has_failed = true;
        }
    }
}

void kafka_stats_answered(struct kafka_stats *stats) {
    if (stats->up != 1) {
        up_set(stats, true);
    }
}

void kafka_stats_init(struct kafka_stats *stats) {
    *stats = (struct kafka_stats){.up = -1};
}

void kafka_stats_free(struct kafka_stats *stats) {
    free(stats->partitions);
    *stats = (struct kafka_stats){.up = -1};
}

/* ---- rows -------------------------------------------------------------------------------------------------------------------- */

static void broker_row(const struct kafka_stats_broker *broker, const char *client, struct core_health_page *page) {
    struct core_health_row *row = core_health_add(page, CORE_HEALTH_BROKER, client, broker->name, NULL);
    bool is_down = !broker->is_up && (broker->is_needed || broker->has_failed);
    core_health_set(row, CORE_BROKER_UP, broker->is_up ? 1 : is_down ? 0 : CORE_HEALTH_UNKNOWN);
    core_health_set(row, CORE_BROKER_RTT, broker->rtt_ns);
    core_health_set(row, CORE_BROKER_RTT_P99, broker->rtt_p99_ns);
    core_health_set(row, CORE_BROKER_INT_LATENCY, broker->int_latency_ns);
    core_health_set(row, CORE_BROKER_OUTBUF, broker->outbuf);
    core_health_set(row, CORE_BROKER_WAITRESP, broker->waitresp);
    core_health_set(row, CORE_BROKER_TX_ERRORS, broker->tx_errors);
    core_health_set(row, CORE_BROKER_RETRIES, broker->retries);
}

void kafka_stats_rows(const struct kafka_stats *stats, const char *client, struct core_health_page *page) {
    bool has_real = false;
    for (size_t i = 0; i < stats->brokers_len; i++) {
        has_real = has_real || !stats->brokers[i].is_bootstrap;
    }
    for (size_t i = 0; i < stats->brokers_len; i++) {
        if (!has_real || !stats->brokers[i].is_bootstrap) { /* those of the config are only asked who the others are */
            broker_row(&stats->brokers[i], client, page);
        }
    }
    for (size_t i = 0; i < stats->partitions_len; i++) {
        const struct kafka_stats_partition *partition = &stats->partitions[i];
        char number[16];
        snprintf(number, sizeof number, "%d", partition->number);
        struct core_health_row *row = core_health_add(page, CORE_HEALTH_PRODUCED, client, partition->topic, number);
        core_health_set(row, CORE_PRODUCED_QUEUED, partition->queued);
        core_health_set(row, CORE_PRODUCED_MESSAGES, partition->messages);
        core_health_set(row, CORE_PRODUCED_BYTES, partition->bytes);
    }
}

void core_kafka_health(const struct core_kafka *kafka, const char *client, struct core_health_page *page) {
    MUST(kafka->magic == KAFKA_MAGIC);
    kafka_stats_rows(&kafka->stats, client, page);
}

void kafka_stats_look(const struct kafka_stats *stats, struct core_kafka_look *out) {
    /* Without statistics nothing tells when brokers are back, if nothing is sent. */
    bool is_old = !stats->is_there && stats->up == 0 && core_tick_ns() - stats->error_ns > ERROR_OLD_NS;
    out->up = is_old ? -1 : stats->up;
    out->down_since_ns = stats->down_since_ns;
    out->is_denied = stats->is_denied;
    snprintf(out->why, sizeof out->why, "%s", stats->error);
}

void core_kafka_look(const struct core_kafka *kafka, struct core_kafka_look *out) {
    MUST(kafka->magic == KAFKA_MAGIC);
    kafka_stats_look(&kafka->stats, out);
}
