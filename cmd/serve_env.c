/* cmd/serve_env.c: what Main is told by who knows the other folders.
 *
 * Was a file delivered? The checkpoint and the ledger of `tapline run` know each file by device, inode and time of birth,
 * which a rename into an archive leaves as they are. They are read at most every ROWS_OLD_NS, for an archive has many files; a
 * row that is older than the file cannot say yes by mistake, since the file's length is looked at each time. A checkpoint that
 * cannot be read knows nothing: then nothing was delivered, and nothing is deleted.
 *
 * Zeek's counters of packets are zeek_net_*_packets in its telemetry: with the label `endpoint` before Zeek 7, with the suffix
 * `_total` or not.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve_env.h"
#include "cmd/zeek_counts.h"
#include "core/http.h"
#include "ingest/ingest.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ROWS_OLD_NS (5 * CORE_NS_PER_S)
#define TAIL_BYTES_MAX (64 * CORE_KIB) /* of comment lines behind the last record */
#define NETSTATS_TIMEOUT_MS 3000
#define EXACT_MAX 9007199254740992.0 /* 2^53: beyond it a double skips numbers */

struct row {
    uint64_t dev;
    uint64_t ino;
    int64_t born_ns;
    uint64_t pos;
    uint64_t begin;
    int64_t size_seen;
    bool is_gz;
    bool is_done;
    bool is_whole; /* its account adds up */
    char *path;
};

struct serve_known {
    pthread_mutex_t lock;
    char *state_dir;
    struct row *rows; /* sorted by device and inode; of equal ones the newest is last */
    size_t rows_len;
    size_t rows_cap;
    int64_t read_tick; /* 0: not read */
};

/* ---- rows ------------------------------------------------------------------------------------------------------------------ */

static void rows_forget(struct serve_known *known) {
    for (size_t i = 0; i < known->rows_len; i++) {
        free(known->rows[i].path);
    }
    known->rows_len = 0;
    known->read_tick = 0;
}

static void row_take(void *known_ptr, const struct ingest_ledger_row *told) {
    struct serve_known *known = known_ptr;
    if (told->ino == 0) {
        return;
    }
    if (known->rows_len == known->rows_cap) {
        known->rows_cap = known->rows_cap == 0 ? 256 : known->rows_cap * 2;
        known->rows = realloc(known->rows, known->rows_cap * sizeof(known->rows[0]));
        MUST(known->rows != NULL);
    }
    const struct core_tally *tally = &told->tally;
    struct row *row = &known->rows[known->rows_len++];
    *row = (struct row){
        .dev = told->dev,
        .ino = told->ino,
        .born_ns = told->born_ns,
        .pos = told->pos,
        .begin = told->begin,
        .size_seen = told->size_seen,
        .is_gz = told->is_gz,
        .is_done = told->is_done,
        .is_whole = tally->records == tally->events + tally->dead + tally->dropped && tally->lost == 0,
        .path = strdup(told->path),
    };
    MUST(row->path != NULL);
}

static int row_compare(const void *a_ptr, const void *b_ptr) {
    const struct row *a = a_ptr;
    const struct row *b = b_ptr;
    if (a->ino != b->ino) {
        return a->ino < b->ino ? -1 : 1;
    }
    return a->dev < b->dev ? -1 : a->dev > b->dev ? 1 : 0;
}

static void rows_read(struct serve_known *known) {
    struct core_fail fail = {0};
    int64_t now = core_tick_ns();
    if (known->state_dir == NULL || (known->read_tick != 0 && now - known->read_tick < ROWS_OLD_NS)) {
        return;
    }
    rows_forget(known);
    known->read_tick = now;
    if (ingest_ledger_read(known->state_dir, row_take, known, &fail) != CORE_OK) {
        rows_forget(known);
        known->read_tick = now;
        core_log(CORE_LEVEL_WARN, "serve", "cannot read what was delivered",
                 "where=%s why=\"%s\" effect=\"no archived log is deleted\"", fail.where, fail.text);
    }
    if (known->rows_len > 0) {
        qsort(known->rows, known->rows_len, sizeof(known->rows[0]), row_compare);
    }
}

/* ---- a file ---------------------------------------------------------------------------------------------------------------- */

/* Is what stands in the file from pos on nothing but whole comment lines? */
static bool tail_is_comment(int fd, uint64_t pos, uint64_t size) {
    if (size == pos) {
        return true;
    }
    if (size < pos || size - pos > TAIL_BYTES_MAX) {
        return false;
    }
    size_t len = (size_t)(size - pos);
    char *text = malloc(len);
    MUST(text != NULL);
    bool is_comment = pread(fd, text, len, (off_t)pos) == (ssize_t)len && text[len - 1] == '\n';
    for (size_t at = 0; is_comment && at < len;) {
        const char *nl = memchr(text + at, '\n', len - at);
        is_comment = text[at] == '#' && nl != NULL;
        at = nl == NULL ? len : (size_t)(nl - text) + 1;
    }
    free(text);
    return is_comment;
}

static bool row_is_of(const struct row *row, const struct statx *st, const char *path) {
    int64_t born_ns =
        (st->stx_mask & STATX_BTIME) == 0 ? 0 : (int64_t)st->stx_btime.tv_sec * CORE_NS_PER_S + st->stx_btime.tv_nsec;
    return row->dev == makedev(st->stx_dev_major, st->stx_dev_minor) && row->ino == st->stx_ino &&
           row->born_ns == born_ns && (born_ns != 0 || strcmp(row->path, path) == 0);
}

static bool row_says_yes(const struct row *row, const struct statx *st, int fd) {
    if (row->begin != 0 || !row->is_whole) {
        return false;
    }
    return row->is_gz ? row->is_done && row->size_seen >= 0 && (uint64_t)row->size_seen == st->stx_size
                      : tail_is_comment(fd, row->pos, st->stx_size);
}

static bool is_delivered(struct serve_known *known, const char *path, const struct statx *st, int fd) {
    rows_read(known);
    const struct row *found = NULL;
    const struct row wanted = {.dev = makedev(st->stx_dev_major, st->stx_dev_minor), .ino = st->stx_ino};
    size_t from = 0;
    size_t to = known->rows_len;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (row_compare(&known->rows[middle], &wanted) < 0) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    bool says_no = false; /* an inode with several generations: each must have been delivered */
    for (; from < known->rows_len && row_compare(&known->rows[from], &wanted) == 0; from++) {
        if (row_is_of(&known->rows[from], st, path)) {
            found = &known->rows[from];
            says_no = says_no || !row_says_yes(found, st, fd);
        }
    }
    return found != NULL && !says_no;
}

bool serve_known_is_delivered(void *known_ptr, const char *path) {
    struct serve_known *known = known_ptr;
    MUST(known != NULL);
    MUST(path != NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return false;
    }
    struct statx st;
    bool is_yes = false;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) == 0 && S_ISREG(st.stx_mode)) {
        (void)pthread_mutex_lock(&known->lock);
        is_yes = is_delivered(known, path, &st, fd);
        (void)pthread_mutex_unlock(&known->lock);
    }
    (void)close(fd);
    return is_yes;
}

/* ---- Zeek's telemetry ------------------------------------------------------------------------------------------------------ */

static const struct counter {
    const char *name; /* without _total */
    const char *member;
} counters[] = {
    {.name = "zeek_net_received_packets", .member = "received"},
    {.name = "zeek_net_dropped_packets", .member = "dropped"},
    {.name = "zeek_net_link_packets", .member = "link"},
    {.name = "zeek_net_filtered_packets", .member = "filtered"},
    {.name = "zeek_net_received_bytes", .member = "received_bytes"},
};
#define COUNTERS_LEN (sizeof(counters) / sizeof(counters[0]))

/* Which counter does a line begin with? COUNTERS_LEN: none. */
static size_t counter_of(struct core_span name) {
    static const char suffix[] = "_total";
    size_t suffix_len = sizeof(suffix) - 1;
    if (name.len > suffix_len && memcmp(name.ptr + name.len - suffix_len, suffix, suffix_len) == 0) {
        name.len -= suffix_len;
    }
    size_t i = 0;
    while (i < COUNTERS_LEN && !core_span_is(name, counters[i].name)) {
        i++;
    }
    return i;
}

/* Behind the labels, if there are some, and before the line's end. NULL: they do not end. */
static const char *labels_skip(const char *at) {
    bool is_quoted = false;
    if (*at != '{') {
        return at;
    }
    for (at++; *at != '\0' && *at != '\n' && (is_quoted || *at != '}'); at++) {
        if (*at == '\\' && is_quoted && at[1] != '\0') {
            at++;
        } else if (*at == '"') {
            is_quoted = !is_quoted;
        }
    }
    return *at == '}' ? at + 1 : NULL;
}

enum core_err serve_netstats_read(const char *text, const char *where, struct core_buf *out, struct core_fail *fail) {
    MUST(text != NULL);
    MUST(out != NULL);
    uint64_t sums[COUNTERS_LEN] = {0};
    bool has[COUNTERS_LEN] = {false};
    for (const char *line = text; *line != '\0';) {
        size_t name_len = strcspn(line, "{ \t\n");
        size_t i = counter_of((struct core_span){.ptr = line, .len = name_len});
        const char *at = i < COUNTERS_LEN ? labels_skip(line + name_len) : NULL;
        if (at != NULL) {
            char *end = NULL;
            double number = strtod(at, &end);
            if (end != at && isfinite(number) && number >= 0 && number <= EXACT_MAX) {
                sums[i] += (uint64_t)number;
                has[i] = true;
            }
        }
        line += strcspn(line, "\n");
        line += *line == '\n' ? 1 : 0;
    }
    if (!has[0]) {
        return core_fail_set(fail, CORE_BAD, where,
                             "there is no zeek_net_received_packets_total in its answer: is it the telemetry of a Zeek "
                             "process that reads packets (a worker, or a Zeek alone)?");
    }
    for (size_t i = 0; i < COUNTERS_LEN; i++) {
        if (has[i]) {
            core_buf_put(out, ",", i == 0 ? 0 : 1);
            core_buf_string(out, core_span_of(counters[i].member));
            core_buf_char(out, ':');
            core_buf_u64(out, sums[i]);
        }
    }
    return CORE_OK;
}

enum core_err serve_known_netstats(void *known, const struct sensors_node *node, struct core_buf *out,
                                   struct core_fail *fail) {
    MUST(known != NULL);
    char *text = NULL;
    size_t len = 0;
    enum core_err err = core_http_get(node->metrics_url, NETSTATS_TIMEOUT_MS, ZEEK_TEXT_BYTES_MAX, &text, &len, fail);
    if (err == CORE_OK) {
        err = serve_netstats_read(text, node->metrics_url, out, fail);
    }
    free(text);
    return err;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------ */

struct serve_known *serve_known_new(void) {
    struct serve_known *known = calloc(1, sizeof(*known));
    MUST(known != NULL);
    MUST(pthread_mutex_init(&known->lock, NULL) == 0);
    return known;
}

void serve_known_free(struct serve_known *known) {
    if (known == NULL) {
        return;
    }
    rows_forget(known);
    free(known->rows);
    free(known->state_dir);
    (void)pthread_mutex_destroy(&known->lock);
    free(known);
}

void serve_known_set_state(struct serve_known *known, const char *state_dir) {
    char *copy = state_dir == NULL ? NULL : strdup(state_dir);
    MUST(state_dir == NULL || copy != NULL);
    (void)pthread_mutex_lock(&known->lock);
    rows_forget(known);
    free(known->state_dir);
    known->state_dir = copy;
    (void)pthread_mutex_unlock(&known->lock);
}

const char *serve_known_state(void *known_ptr) {
    const struct serve_known *known = known_ptr;
    return known->state_dir;
}
