/* core/time.c: clocks, and ns since the epoch as text without gmtime(3).
 *
 * core_time_iso() is called for every record: plain integer arithmetic, no lock, no cache, no locale. The conversion
 * between days and dates is Howard Hinnant's (years begin in March, so that the leap day is a year's last).
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <time.h>

#define SECONDS_PER_DAY 86400
#define DAYS_PER_ERA 146097  /* 400 years */
#define DAYS_TO_EPOCH 719468 /* from 0000-03-01 to 1970-01-01 */

static int64_t clock_read(clockid_t clock) {
    struct timespec now;
    MUST(clock_gettime(clock, &now) == 0);
    return (int64_t)now.tv_sec * CORE_NS_PER_S + now.tv_nsec;
}

int64_t core_now_ns(void) {
    return clock_read(CLOCK_REALTIME);
}

int64_t core_tick_ns(void) {
    return clock_read(CLOCK_MONOTONIC);
}

int64_t core_days_from_civil(int64_t year, unsigned month, unsigned day) {
    MUST(month >= 1 && month <= 12);
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + (int64_t)day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_PER_ERA + day_of_era - DAYS_TO_EPOCH;
}

struct civil {
    uint32_t year;
    uint32_t month;
    uint32_t day;
};

/* days: since 1970-01-01; not before 0000-03-01, which every int64 of nanoseconds satisfies. */
static struct civil civil_from_days(int64_t days) {
    MUST(days >= -DAYS_TO_EPOCH);
    uint32_t shifted = (uint32_t)(days + DAYS_TO_EPOCH);
    uint32_t era = shifted / DAYS_PER_ERA;
    uint32_t day_of_era = shifted % DAYS_PER_ERA;
    uint32_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / (DAYS_PER_ERA - 1)) / 365;
    uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t month_from_march = (5 * day_of_year + 2) / 153;
    uint32_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    return (struct civil){
        .year = year_of_era + era * 400 + (month <= 2 ? 1 : 0),
        .month = month,
        .day = day_of_year - (153 * month_from_march + 2) / 5 + 1,
    };
}

static void put_two(char *out, uint32_t v) {
    out[0] = (char)('0' + v / 10);
    out[1] = (char)('0' + v % 10);
}

bool core_time_iso(int64_t ns, char out[27]) {
    int64_t us = ns / CORE_NS_PER_US - (ns % CORE_NS_PER_US < 0 ? 1 : 0);
    int64_t seconds = us / 1000000 - (us % 1000000 < 0 ? 1 : 0);
    uint32_t fraction = (uint32_t)(us - seconds * 1000000);
    int64_t days = seconds / SECONDS_PER_DAY - (seconds % SECONDS_PER_DAY < 0 ? 1 : 0);
    uint32_t second_of_day = (uint32_t)(seconds - days * SECONDS_PER_DAY);
    struct civil date = civil_from_days(days);
    if (date.year > 9999) {
        return false;
    }
    put_two(out, date.year / 100);
    put_two(out + 2, date.year % 100);
    out[4] = '-';
    put_two(out + 5, date.month);
    out[7] = '-';
    put_two(out + 8, date.day);
    out[10] = 'T';
    put_two(out + 11, second_of_day / 3600);
    out[13] = ':';
    put_two(out + 14, second_of_day / 60 % 60);
    out[16] = ':';
    put_two(out + 17, second_of_day % 60);
    out[19] = '.';
    put_two(out + 20, fraction / 10000);
    put_two(out + 22, fraction / 100 % 100);
    put_two(out + 24, fraction % 100);
    out[26] = 'Z';
    return true;
}
