/* core/zone.c: civil time of a time zone to UTC; the only file that knows GLib.
 *
 * A zone is asked for the offset in force at an instant, never for one at a civil time (which may be none, or two). For a
 * civil day, the offsets well before and well behind it are looked up; where they differ, the second of the change is
 * found by halving. That is remembered, so that records of one day, which come in a row, cost two additions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/zone.h"

#include <glib.h>
#include <stdlib.h>

#define SECONDS_PER_DAY 86400
#define MARGIN_S (26 * 3600) /* offsets are less than a day: what a day's clocks can show lies within */
#define NAME_BYTES_MAX 64

struct core_zone {
    GTimeZone *zone;
    bool is_known; /* what follows */
    int64_t day;   /* civil, since 1970-01-01 */
    int64_t before_s;
    int64_t behind_s;
    int64_t change_s; /* UTC second from which behind_s holds; of no meaning where both are the same */
};

/* A name the database could have: nothing that leads out of its folder. */
static bool name_is_plain(const char *name) {
    size_t len = strlen(name);
    if (len == 0 || len > NAME_BYTES_MAX || name[0] == '/' || strstr(name, "..") != NULL) {
        return false;
    }
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/") == len;
}

enum core_err core_zone_open(struct core_zone **out, const char *name, struct core_fail *fail) {
    MUST(name != NULL);
    *out = NULL;
    GTimeZone *found = name_is_plain(name) ? g_time_zone_new_identifier(name) : NULL;
    if (found == NULL) {
        return core_fail_set(fail, CORE_BAD, name,
                             "this system knows no time zone \"%.*s\": use a name such as America/Chicago or UTC "
                             "(timedatectl list-timezones shows them; the package is called tzdata)",
                             NAME_BYTES_MAX, name);
    }
    struct core_zone *zone = calloc(1, sizeof(*zone));
    MUST(zone != NULL);
    zone->zone = found;
    *out = zone;
    return CORE_OK;
}

void core_zone_close(struct core_zone *zone) {
    if (zone != NULL) {
        g_time_zone_unref(zone->zone);
        free(zone);
    }
}

/* Seconds that clocks are ahead of UTC at an instant. */
static int64_t offset_at(const struct core_zone *zone, int64_t utc_s) {
    gint interval = g_time_zone_find_interval(zone->zone, G_TIME_TYPE_UNIVERSAL, utc_s);
    MUST(interval >= 0); /* every instant has an offset */
    return g_time_zone_get_offset(zone->zone, interval);
}

static void day_look_up(struct core_zone *zone, int64_t day) {
    int64_t low = day * SECONDS_PER_DAY - MARGIN_S;
    int64_t high = (day + 1) * SECONDS_PER_DAY + MARGIN_S;
    zone->day = day;
    zone->before_s = offset_at(zone, low);
    zone->behind_s = offset_at(zone, high);
    while (zone->before_s != zone->behind_s && high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (offset_at(zone, middle) == zone->before_s) {
            low = middle;
        } else {
            high = middle;
        }
    }
    zone->change_s = high;
    zone->is_known = true;
}

int64_t core_zone_to_utc(struct core_zone *zone, int64_t local_ns) {
    MUST(zone != NULL);
    int64_t local_s = local_ns / CORE_NS_PER_S - (local_ns % CORE_NS_PER_S < 0 ? 1 : 0);
    int64_t day = local_s / SECONDS_PER_DAY - (local_s % SECONDS_PER_DAY < 0 ? 1 : 0);
    if (!zone->is_known || zone->day != day) {
        day_look_up(zone, day);
    }
    /* With the offset from before the change it is before the change: so it was (the first, if it comes twice). If not,
     * and with the offset behind it, it is behind: so it was. Neither: the hour was skipped. */
    bool is_before = local_s - zone->before_s < zone->change_s;
    bool is_behind = local_s - zone->behind_s >= zone->change_s;
    int64_t offset_s = is_before || !is_behind ? zone->before_s : zone->behind_s;
    return local_ns - offset_s * CORE_NS_PER_S;
}
