/* cmd/intel_seen.c: what sensors have seen of indicators, day by day: a part of what `tapline intel stats` prints.
 *
 * Redis gives a day in no order, and may give an indicator twice: then its count is not added again if it is among the most
 * seen ones, so that a sum is right to within what changed while it was read.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/intel.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DAYS 7
#define MOST 10
#define SECONDS_PER_DAY 86400
#define DATE_BYTES 11

struct seen_one {
    enum core_indicator type;
    uint64_t count;
    size_t value_len;
    char value[ENRICH_VALUE_BYTES_MAX];
};
struct seen_day {
    int64_t day;
    uint64_t indicators;
    uint64_t count;
    struct seen_one most[MOST]; /* the most seen first */
    size_t most_len;
};
struct intel_seen {
    struct seen_day days[DAYS]; /* today first */
    size_t days_len;
};

static struct core_span value_of(const struct seen_one *one) {
    return (struct core_span){one->value, one->value_len};
}

static bool on_seen(void *ctx, enum core_indicator type, struct core_span value, uint64_t count) {
    struct seen_day *day = ctx;
    size_t at = day->most_len;
    for (size_t i = 0; i < day->most_len; i++) {
        if (day->most[i].type == type && core_span_eq(value_of(&day->most[i]), value)) {
            return true;
        }
    }
    day->indicators++;
    day->count += count;
    while (at > 0 && day->most[at - 1].count < count) {
        at--;
    }
    if (at == MOST || value.len > ENRICH_VALUE_BYTES_MAX) {
        return true;
    }
    size_t behind = day->most_len - at - (day->most_len == MOST ? 1 : 0);
    memmove(&day->most[at + 1], &day->most[at], behind * sizeof(day->most[0]));
    day->most_len += day->most_len < MOST ? 1 : 0;
    day->most[at].type = type;
    day->most[at].count = count;
    day->most[at].value_len = value.len;
    memcpy(day->most[at].value, value.ptr, value.len);
    return true;
}

struct intel_seen *intel_seen_read(struct intel *intel) {
    struct core_fail fail = {0};
    const int64_t today = core_now_ns() / CORE_NS_PER_S / SECONDS_PER_DAY;
    if (intel->conf.redis.urls.len == 0) {
        return NULL; /* only Redis counts */
    }
    struct intel_seen *seen = calloc(1, sizeof(*seen));
    MUST(seen != NULL);
    for (int64_t i = 0; i < DAYS; i++) {
        struct seen_day *day = &seen->days[seen->days_len++];
        day->day = today - i;
        if (enrich_sightings_walk(intel->store, day->day, on_seen, day, &fail) != CORE_OK) {
            (void)fprintf(stderr, "tapline intel stats: what sensors saw is not shown: %s: %s\n", fail.where,
                          fail.text);
            intel_seen_free(seen);
            return NULL;
        }
    }
    return seen;
}

void intel_seen_free(struct intel_seen *seen) {
    free(seen);
}

static const char *date_of(int64_t day, char out[DATE_BYTES]) {
    char time[32];
    intel_time(day * SECONDS_PER_DAY, time);
    (void)snprintf(out, DATE_BYTES, "%.10s", time);
    return out;
}

void intel_seen_json(const struct intel_seen *seen) {
    char date[DATE_BYTES];
    const char *between = "";
    if (seen == NULL) {
        return;
    }
    printf(",\"sightings\":{");
    for (size_t i = 0; i < seen->days_len; i++) {
        const struct seen_day *day = &seen->days[i];
        printf("%s\"%s\":{\"indicators\":%" PRIu64 ",\"count\":%" PRIu64 ",\"most\":[", between,
               date_of(day->day, date), day->indicators, day->count);
        for (size_t k = 0; k < day->most_len; k++) {
            printf("%s{\"type\":\"%s\",\"value\":", k == 0 ? "" : ",", core_indicator_word(day->most[k].type));
            cmd_print_json_string(stdout, value_of(&day->most[k]));
            printf(",\"count\":%" PRIu64 "}", day->most[k].count);
        }
        printf("]}");
        between = ",";
    }
    printf("}");
}

void intel_seen_text(const struct intel_seen *seen) {
    char date[DATE_BYTES];
    for (size_t i = 0; seen != NULL && i < seen->days_len; i++) {
        const struct seen_day *day = &seen->days[i];
        if (day->indicators == 0) {
            continue;
        }
        printf("\n%12" PRIu64 "  seen on %s (UTC), of %" PRIu64 " indicators\n", day->count, date_of(day->day, date),
               day->indicators);
        for (size_t k = 0; k < day->most_len; k++) {
            printf("%16" PRIu64 "  %s %.*s\n", day->most[k].count, core_indicator_word(day->most[k].type),
                   (int)day->most[k].value_len, day->most[k].value);
        }
    }
}
