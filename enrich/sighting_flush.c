/* enrich/sighting_flush.c: the journals of what was seen become events, and are added to Redis.
 *
 *     journal -> lines of own/sighting.log, fdatasync -> marks -> "journal.told" -> Redis -> gone
 *
 * A journal that is no longer written to never changes, so all that is made of it is the same whenever it is made: an event's
 * id is of node, journal, indicator and day; what is added to Redis has a name of node, journal and part (intel:once:…), and
 * is added once by it, within a day. So a kill anywhere doubles nothing, and loses nothing.
 *
 * An event is an increment: what this node saw of an indicator on a day since the event before. Their sum is the count.
 *
 * Redis away: events are told all the same, and journals wait, up to WAITING_BYTES_MAX; then the oldest goes, and that is
 * said. Redis that refuses (the user may not write there) is said, and its counts are left out.
 * Thread: sightings'.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/sighting_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LINE_BYTES_MAX (32 * CORE_KIB)
#define WAITING_BYTES_MAX (64 * CORE_MIB)
#define PART_MAX 1000 /* counts in one transaction: it is over within a few milliseconds */
#define ONCE_BYTES 64
#define TIME_BYTES 27
#define DATE_BYTES 10
#define NS_PER_DAY (INT64_C(86400) * CORE_NS_PER_S)

/* ---- events ---------------------------------------------------------------------------------------------------------------------- */

static void text_put(struct core_buf *buf, const char *name, struct core_span text) {
    core_buf_char(buf, ',');
    core_buf_string(buf, core_span_of(name));
    core_buf_char(buf, ':');
    core_buf_string(buf, text);
}

static void time_put(struct core_buf *buf, const char *name, int64_t ns, size_t len) {
    char time[TIME_BYTES];
    if (core_time_iso(ns, time)) {
        text_put(buf, name, (struct core_span){time, len});
    }
}

static uint64_t row_id(const struct sighting_flush *flush, uint64_t journal, const struct sighting_row *row) {
    const uint64_t what[] = {journal, (uint64_t)row->day, (uint64_t)row->type};
    uint64_t id = core_hash64(flush->node, strlen(flush->node), core_hash64(what, sizeof what, 0));
    id = core_hash64(row->value.ptr, row->value.len, id);
    return id + (id == 0);
}

static bool line_write(struct core_buf *buf, uint64_t id, const struct sighting_row *row) {
    char digits[40];
    int len = snprintf(digits, sizeof digits, "%016llx%016llx", (unsigned long long)id,
                       (unsigned long long)core_hash64(row->value.ptr, row->value.len, id));
    core_buf_span(buf, CORE_SPAN("{\"id\":\""));
    core_buf_put(buf, digits, (size_t)len);
    core_buf_span(buf, CORE_SPAN("\""));
    time_put(buf, "ts", row->last_us * CORE_NS_PER_US, TIME_BYTES);
    text_put(buf, "indicator_type", core_span_of(core_indicator_word(row->type)));
    text_put(buf, "indicator", row->value);
    time_put(buf, "day", row->day * NS_PER_DAY, DATE_BYTES);
    time_put(buf, "first", row->first_us * CORE_NS_PER_US, TIME_BYTES);
    time_put(buf, "last", row->last_us * CORE_NS_PER_US, TIME_BYTES);
    core_buf_span(buf, CORE_SPAN(",\"count\":"));
    core_buf_u64(buf, row->count);
    core_buf_char(buf, ',');
    core_buf_span(buf, row->said);
    core_buf_char(buf, '}');
    return !buf->is_full;
}

static enum core_err events_tell(struct sighting_flush *flush, uint64_t journal, const struct sighting_read *read,
                                 struct core_fail *fail) {
    uint64_t told = 0;
    enum core_err err = CORE_OK;
    for (size_t i = 0; err == CORE_OK && i < read->rows_len; i++) {
        const struct sighting_row *row = &read->rows[i];
        uint64_t id = row_id(flush, journal, row);
        if (own_log_has(flush->log, id)) {
            continue; /* told before a kill */
        }
        core_arena_reset(&flush->line, flush->line.cap);
        char *start = core_arena_alloc(&flush->line, LINE_BYTES_MAX);
        struct core_buf buf = {start, start, start + LINE_BYTES_MAX, false};
        MUST(line_write(&buf, id, row)); /* the longest value, each byte escaped, is half of it */
        err = own_log_add(flush->log, id, core_buf_written(&buf), fail);
        told += err == CORE_OK;
    }
    err = err == CORE_OK ? own_log_flush(flush->log, fail) : err;
    if (err == CORE_OK) {
        core_count(flush->counters, CORE_COUNT_SIGHTINGS_EVENTS, told);
    }
    return err;
}

/* ---- Redis ----------------------------------------------------------------------------------------------------------------------- */

static enum core_err part_add(struct sighting_flush *flush, uint64_t journal, const struct sighting_read *read,
                              size_t at, struct core_fail *fail) {
    struct store_sighting sightings[PART_MAX];
    char once[ONCE_BYTES];
    size_t len = read->rows_len - at < PART_MAX ? read->rows_len - at : PART_MAX;
    for (size_t i = 0; i < len; i++) {
        const struct sighting_row *row = &read->rows[at + i];
        sightings[i] =
            (struct store_sighting){.type = row->type, .value = row->value, .day = row->day, .count = row->count};
    }
    (void)snprintf(once, sizeof once, "%016llx.%016llx.%zu",
                   (unsigned long long)core_hash64(flush->node, strlen(flush->node), 0), (unsigned long long)journal,
                   at / PART_MAX);
    enum core_err err = store_sightings_add(flush->store, sightings, len, once, fail);
    if (err == CORE_OK) {
        core_count(flush->counters, CORE_COUNT_SIGHTINGS_ADDED, len);
    }
    return err;
}

static enum core_err counts_add(struct sighting_flush *flush, uint64_t journal, const struct sighting_read *read,
                                struct core_fail *fail) {
    enum core_err err = CORE_OK;
    if (flush->store == NULL) {
        err = store_redis_open(&flush->store, flush->redis, true, flush->stop_fd, fail);
    }
    for (size_t at = 0; err == CORE_OK && at < read->rows_len; at += PART_MAX) {
        err = part_add(flush, journal, read, at, fail);
    }
    if (err != CORE_OK) {
        enrich_store_close(flush->store);
        flush->store = NULL;
    }
    return err;
}

static void redis_said(struct sighting_flush *flush, enum core_err err, const struct core_fail *fail) {
    bool is_refused = err == CORE_BAD;
    if (err == CORE_OK && flush->is_away) {
        core_log(CORE_LEVEL_INFO, "sightings", "sightings are counted in Redis again", "%s", "");
    } else if (err != CORE_OK && !flush->is_away) {
        core_log_fail(CORE_LEVEL_WARN, "sightings",
                      is_refused ? "sightings are not counted in Redis, it refuses them; they are told as events all "
                                   "the same; see docs/reference/intel.rst for what the user of a sensor that counts "
                                   "needs, or set intel.sightings_every: 0"
                                 : "sightings are not counted in Redis until its primary answers again; they are kept "
                                   "on the disk, and told as events all the same",
                      fail);
    }
    flush->is_away = err != CORE_OK;
}

/* ---- journals -------------------------------------------------------------------------------------------------------------------- */

static enum core_err journal_end(const struct sighting_flush *flush, const struct sighting_name *name,
                                 struct core_fail *fail) {
    char path[SIGHTING_PATH_BYTES];
    sighting_journal_path(flush->dir, name, path);
    return unlink(path) == 0 || errno == ENOENT ? CORE_OK
                                                : core_fail_errno(fail, path, "cannot remove a journal that is done");
}

/* Its events are told, and its marks kept; then it waits for Redis, or is done. */
static enum core_err journal_tell(struct sighting_flush *flush, struct sighting_name *name, struct core_fail *fail) {
    struct sighting_read read;
    char from[SIGHTING_PATH_BYTES];
    char to[SIGHTING_PATH_BYTES];
    enum core_err err = sighting_journal_read(&read, flush->dir, name, &flush->marks, fail);
    err = err == CORE_OK ? events_tell(flush, name->id, &read, fail) : err;
    err = err == CORE_OK ? sighting_marks_save(&flush->marks, flush->dir, fail) : err;
    bool is_done = flush->redis == NULL || read.rows_len == 0;
    sighting_read_release(&read);
    if (err != CORE_OK || is_done) {
        return err == CORE_OK ? journal_end(flush, name, fail) : err;
    }
    sighting_journal_path(flush->dir, name, from);
    name->is_told = true;
    sighting_journal_path(flush->dir, name, to);
    return rename(from, to) == 0 ? CORE_OK : core_fail_errno(fail, from, "cannot rename a journal of sightings");
}

static enum core_err journal_add(struct sighting_flush *flush, const struct sighting_name *name,
                                 struct core_fail *fail) {
    struct sighting_read read;
    enum core_err err = sighting_journal_read(&read, flush->dir, name, NULL, fail);
    if (err == CORE_OK && flush->redis != NULL) {
        err = counts_add(flush, name->id, &read, fail);
        redis_said(flush, err, fail);
        if (err == CORE_BAD) { /* another try would be refused, too */
            core_count(flush->counters, CORE_COUNT_SIGHTINGS_DROPPED, read.rows_len);
            err = CORE_OK;
        } else if (err != CORE_OK) {
            err = CORE_NET;
        }
    }
    sighting_read_release(&read);
    return err == CORE_OK ? journal_end(flush, name, fail) : err;
}

/* Those that wait for Redis have a bound, too: the oldest go. */
static enum core_err waiting_bound(struct sighting_flush *flush, const struct sighting_name *names, size_t len,
                                   struct core_fail *fail) {
    uint64_t bytes = 0;
    for (size_t i = len; i-- > 0;) {
        bytes += names[i].is_told ? names[i].bytes : 0;
        if (!names[i].is_told || bytes <= WAITING_BYTES_MAX) {
            continue;
        }
        struct sighting_read read;
        enum core_err err = sighting_journal_read(&read, flush->dir, &names[i], NULL, fail);
        core_log(CORE_LEVEL_ERROR, "sightings",
                 "Redis is away for too long: the counts of the oldest sightings are left out there; their events are "
                 "told",
                 "left_out=%zu waiting_max=%zu", read.rows_len, (size_t)WAITING_BYTES_MAX);
        core_count(flush->counters, CORE_COUNT_SIGHTINGS_DROPPED, read.rows_len);
        sighting_read_release(&read);
        err = err == CORE_OK ? journal_end(flush, &names[i], fail) : err;
        if (err != CORE_OK) {
            return err;
        }
    }
    return CORE_OK;
}

enum core_err sighting_flush_run(struct sighting_flush *flush, uint64_t but, struct core_fail *fail) {
    struct sighting_name *names;
    size_t len;
    enum core_err err = sighting_journal_list(flush->dir, &names, &len, fail);
    for (size_t i = 0; err == CORE_OK && i < len; i++) {
        if (!names[i].is_told && names[i].id != but) {
            err = journal_tell(flush, &names[i], fail);
        }
    }
    for (size_t i = 0; err == CORE_OK && i < len; i++) {
        if (names[i].is_told) {
            err = journal_add(flush, &names[i], fail);
            if (err == CORE_NET) {
                struct core_fail other;
                enum core_err bound = waiting_bound(flush, names + i, len - i, &other);
                err = bound == CORE_OK ? err : core_fail_set(fail, bound, other.where, "%s", other.text);
            }
        }
    }
    free(names);
    return err;
}

/* ---- making it ------------------------------------------------------------------------------------------------------------------ */

enum core_err sighting_flush_open(struct sighting_flush *flush, const char *state_dir, struct core_fail *fail) {
    char own[SIGHTING_PATH_BYTES];
    (void)snprintf(own, sizeof own, "%s/own", state_dir);
    enum core_err err = sighting_marks_load(&flush->marks, flush->dir, fail);
    if (err == CORE_BAD) {
        core_log_fail(CORE_LEVEL_WARN, "sightings",
                      "it is begun anew: what is read again after a kill just before this start may be counted twice",
                      fail);
        err = CORE_OK;
    }
    err = err == CORE_OK ? own_log_open(&flush->log, own, "sighting", fail) : err;
    return err == CORE_OK ? core_arena_init(&flush->line, LINE_BYTES_MAX, fail) : err;
}

void sighting_flush_close(struct sighting_flush *flush) {
    own_log_close(flush->log);
    enrich_store_close(flush->store);
    core_arena_destroy(&flush->line);
}
