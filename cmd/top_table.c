/* cmd/top_table.c: rows of a kind as aligned, sorted columns. Which there are is data; where the terminal is narrow the columns
 * that matter least are left out, and names are cut before numbers are.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/top.h"

#include <stdio.h>
#include <stdlib.h>

#define FLEX_MIN 12            /* cells of the column that takes what is left */
#define QUANTILE_MOST_S 3600.0 /* the last bound of histograms: what took longer is only known to be longer */
#define MARK_CELLS 2           /* "! " before a row with a problem */

/* ---- what is no measure by itself ---------------------------------------------------------------------------------------------- */

static bool queue_share(struct top_data *data CORE_UNUSED, const struct top_row *row, double *out) {
    double cap;
    if (!top_value(row, CORE_STAGE_QUEUED, out) || !top_value(row, CORE_STAGE_QUEUE_CAP, &cap) || cap <= 0) {
        return false;
    }
    *out /= cap;
    return true;
}

static bool read_rate(struct top_data *data CORE_UNUSED, const struct top_row *row, double *out) {
    return top_rate(row, CORE_FILE_READ, out);
}

/* Of all causes. */
static bool sink_retries(struct top_data *data, const struct top_row *row, double *out) {
    struct top_rows retries = {0};
    bool is_known = false;
    *out = 0;
    top_rows_take(data, CORE_HEALTH_RETRY, NULL, &retries);
    for (size_t i = 0; i < retries.len; i++) {
        double rate;
        if (retries.all[i].process == row->process && core_span_eq(top_label(&retries.all[i], 0), top_label(row, 0)) &&
            top_rate(&retries.all[i], CORE_RETRY_TIMES, &rate)) {
            *out += rate;
            is_known = true;
        }
    }
    top_rows_free(&retries);
    return is_known;
}

static bool process_in(struct top_data *data CORE_UNUSED, const struct top_row *row, double *out) {
    double more = 0;
    bool is_known = top_counter_rate(row->process, "ingest.lines", out);
    if (top_counter_rate(row->process, "feed.records", &more)) {
        *out = is_known ? *out + more : more;
        is_known = true;
    }
    return is_known;
}

/* The sum of a measure or its rate over all rows of a kind of this process; or the most. */
static bool over_rows(struct top_data *data, const struct top_row *row, enum core_health_measure measure, bool is_rate,
                      bool is_most, double *out) {
    struct top_rows rows = {0};
    bool is_known = false;
    *out = 0;
    top_rows_take(data, core_health_measures[measure].kind, NULL, &rows);
    for (size_t i = 0; i < rows.len; i++) {
        double value;
        if (rows.all[i].process == row->process &&
            (is_rate ? top_rate(&rows.all[i], measure, &value) : top_value(&rows.all[i], measure, &value))) {
            *out = !is_most ? *out + value : value > *out ? value : *out;
            is_known = true;
        }
    }
    top_rows_free(&rows);
    return is_known;
}

static bool process_out(struct top_data *data, const struct top_row *row, double *out) {
    return over_rows(data, row, CORE_SINK_ACCEPTED, true, false, out);
}

static bool process_dead(struct top_data *data, const struct top_row *row, double *out) {
    return over_rows(data, row, CORE_DEAD_RECORDS, true, false, out);
}

static bool process_lag(struct top_data *data, const struct top_row *row, double *out) {
    return over_rows(data, row, CORE_FILE_LAG, false, false, out);
}

static bool process_behind(struct top_data *data, const struct top_row *row, double *out) {
    double records = 0;
    bool is_known = over_rows(data, row, CORE_FILE_LAG_SINCE, false, true, out);
    if (over_rows(data, row, CORE_CONSUMED_LAG_SINCE, false, true, &records)) {
        *out = is_known && *out > records ? *out : records;
        is_known = true;
    }
    return is_known;
}

static bool latency_rate(struct top_data *data CORE_UNUSED, const struct top_row *row, double *out) {
    return top_quantile(row, "count", out);
}

/* ---- tables ------------------------------------------------------------------------------------------------------------------------ */

#define LABEL(title_, n, form_, width_, rank_)                                                                         \
    { .title = (title_), .from = TOP_LABEL, .which = (n), .form = (form_), .width = (width_), .rank = (rank_) }
#define VALUE(title_, measure, form_, width_, rank_)                                                                   \
    { .title = (title_), .from = TOP_VALUE, .which = (measure), .form = (form_), .width = (width_), .rank = (rank_) }
#define RATE(title_, measure, form_, width_, rank_)                                                                    \
    { .title = (title_), .from = TOP_RATE, .which = (measure), .form = (form_), .width = (width_), .rank = (rank_) }
#define TIMES(title_, quantile_, rank_)                                                                                \
    {                                                                                                                  \
        .title = (title_), .from = TOP_QUANTILE, .quantile = (quantile_), .form = TOP_SECONDS, .width = 6,             \
        .rank = (rank_)                                                                                                \
    }
#define CALL(title_, call_, form_, width_, rank_)                                                                      \
    { .title = (title_), .from = TOP_CALL, .call = (call_), .form = (form_), .width = (width_), .rank = (rank_) }
#define WHOSE(rank_)                                                                                                   \
    { .title = "Process", .from = TOP_PROCESS, .width = 10, .rank = (rank_) }

static const struct top_column process_columns[] = {WHOSE(0),
                                                    CALL("In/s", process_in, TOP_NUMBER, 6, 0),
                                                    CALL("Out/s", process_out, TOP_NUMBER, 6, 0),
                                                    CALL("Dead/s", process_dead, TOP_NUMBER, 6, 0),
                                                    CALL("Lag", process_lag, TOP_BYTES, 6, 0),
                                                    CALL("Behind", process_behind, TOP_SECONDS, 7, 0),
                                                    VALUE("Ready", CORE_PROCESS_READY, TOP_YES, 5, 5),
                                                    RATE("CPU", CORE_PROCESS_CPU, TOP_PERCENT, 6, 4),
                                                    VALUE("Memory", CORE_PROCESS_RSS, TOP_BYTES, 6, 3),
                                                    VALUE("Up", CORE_PROCESS_START, TOP_AGE, 7, 2),
                                                    VALUE("Disk free", CORE_PROCESS_STATE_FREE, TOP_BYTES, 9, 6),
                                                    {0}};
static const struct top_column latency_columns[] = {LABEL("Step", 0, TOP_TEXT, 18, 0),
                                                    WHOSE(1),
                                                    CALL("Events", latency_rate, TOP_NUMBER, 6, 2),
                                                    TIMES("p50", "p50", 0),
                                                    TIMES("p90", "p90", 1),
                                                    TIMES("p99", "p99", 0),
                                                    {0}};
static const struct top_column supervised_columns[] = {LABEL("Node", 0, TOP_TEXT, 0, 0),
                                                       LABEL("Group", 1, TOP_TEXT, 8, 4),
                                                       VALUE("State", CORE_SUPERVISED_STATE, TOP_SUPERVISED, 8, 0),
                                                       VALUE("Wanted", CORE_SUPERVISED_WANTED, TOP_YES, 6, 2),
                                                       VALUE("Runs", CORE_SUPERVISED_RUNNING, TOP_YES, 4, 0),
                                                       VALUE("Restarts", CORE_SUPERVISED_RESTARTS, TOP_NUMBER, 8, 1),
                                                       VALUE("Up", CORE_SUPERVISED_START, TOP_AGE, 7, 1),
                                                       RATE("CPU", CORE_SUPERVISED_CPU, TOP_PERCENT, 6, 0),
                                                       VALUE("Memory", CORE_SUPERVISED_RSS, TOP_BYTES, 6, 0),
                                                       {0}};
static const struct top_column capture_columns[] = {LABEL("Sensor", 0, TOP_TEXT, 0, 0),
                                                    LABEL("Source", 1, TOP_TEXT, 12, 2),
                                                    RATE("Packets/s", CORE_CAPTURE_RECEIVED, TOP_NUMBER, 9, 0),
                                                    RATE("Dropped/s", CORE_CAPTURE_DROPPED, TOP_NUMBER, 9, 1),
                                                    VALUE("Loss", CORE_CAPTURE_LOSS, TOP_PERCENT, 6, 0),
                                                    VALUE("Said", CORE_CAPTURE_LAST, TOP_AGE, 7, 0),
                                                    {0}};
static const struct top_column file_columns[] = {LABEL("Log", 0, TOP_PATH, 0, 0),
                                                 CALL("Read/s", read_rate, TOP_BYTES, 6, 1),
                                                 VALUE("Lag", CORE_FILE_LAG, TOP_BYTES, 6, 0),
                                                 VALUE("Behind", CORE_FILE_LAG_SINCE, TOP_SECONDS, 7, 0),
                                                 VALUE("Grew", CORE_FILE_LAST, TOP_AGE, 7, 2),
                                                 VALUE("Size", CORE_FILE_SIZE, TOP_BYTES, 6, 3),
                                                 VALUE("Rotated", CORE_FILE_ROTATIONS, TOP_NUMBER, 7, 4),
                                                 VALUE("Failed", CORE_FILE_FAILED, TOP_YES, 6, 5),
                                                 {0}};
static const struct top_column stage_columns[] = {LABEL("Stage", 0, TOP_TEXT, 0, 0),
                                                  LABEL("No", 1, TOP_TEXT, 3, 1),
                                                  WHOSE(2),
                                                  RATE("In/s", CORE_STAGE_IN, TOP_NUMBER, 6, 0),
                                                  RATE("Out/s", CORE_STAGE_OUT, TOP_NUMBER, 6, 0),
                                                  RATE("Busy", CORE_STAGE_BUSY, TOP_PERCENT, 6, 0),
                                                  CALL("Queue", queue_share, TOP_PERCENT, 6, 0),
                                                  VALUE("Waits", CORE_STAGE_QUEUED, TOP_NUMBER, 5, 3),
                                                  VALUE("Held", CORE_STAGE_HELD, TOP_NUMBER, 5, 4),
                                                  {0}};
static const struct top_column dead_columns[] = {LABEL("Reason", 1, TOP_TEXT, 0, 0),
                                                 LABEL("Stage", 0, TOP_TEXT, 10, 1),
                                                 WHOSE(3),
                                                 RATE("Dead/s", CORE_DEAD_RECORDS, TOP_NUMBER, 6, 0),
                                                 VALUE("All", CORE_DEAD_RECORDS, TOP_NUMBER, 6, 0),
                                                 VALUE("Last", CORE_DEAD_LAST, TOP_AGE, 7, 0),
                                                 {0}};
static const struct top_column sink_columns[] = {LABEL("Sink", 0, TOP_TEXT, 0, 0),
                                                 WHOSE(3),
                                                 VALUE("Up", CORE_SINK_UP, TOP_YES, 3, 0),
                                                 RATE("Docs/s", CORE_SINK_ACCEPTED, TOP_NUMBER, 6, 0),
                                                 VALUE("In flight", CORE_SINK_IN_FLIGHT, TOP_NUMBER, 9, 1),
                                                 TIMES("p50", "p50", 2),
                                                 TIMES("p99", "p99", 0),
                                                 VALUE("Stalled", CORE_SINK_STALLED_SINCE, TOP_SECONDS, 7, 0),
                                                 CALL("Again/s", sink_retries, TOP_NUMBER, 7, 4),
                                                 {0}};
static const struct top_column retry_columns[] = {LABEL("Tried again", 1, TOP_TEXT, 0, 0),
                                                  LABEL("Sink", 0, TOP_TEXT, 10, 1),
                                                  WHOSE(3),
                                                  RATE("Times/s", CORE_RETRY_TIMES, TOP_NUMBER, 7, 0),
                                                  VALUE("All", CORE_RETRY_TIMES, TOP_NUMBER, 6, 0),
                                                  {0}};
static const struct top_column endpoint_columns[] = {LABEL("Node", 1, TOP_TEXT, 0, 0),
                                                     LABEL("Sink", 0, TOP_TEXT, 10, 1),
                                                     VALUE("Up", CORE_ENDPOINT_UP, TOP_YES, 3, 0),
                                                     RATE("Asked/s", CORE_ENDPOINT_REQUESTS, TOP_NUMBER, 7, 0),
                                                     TIMES("p50", "p50", 2),
                                                     TIMES("p99", "p99", 0),
                                                     {0}};
static const struct top_column broker_columns[] = {LABEL("Broker", 1, TOP_TEXT, 0, 0),
                                                   LABEL("Client", 0, TOP_TEXT, 10, 1),
                                                   VALUE("Up", CORE_BROKER_UP, TOP_YES, 3, 0),
                                                   VALUE("Trip", CORE_BROKER_RTT, TOP_SECONDS, 6, 0),
                                                   VALUE("p99", CORE_BROKER_RTT_P99, TOP_SECONDS, 6, 1),
                                                   VALUE("Inside", CORE_BROKER_INT_LATENCY, TOP_SECONDS, 6, 2),
                                                   VALUE("Unsent", CORE_BROKER_OUTBUF, TOP_NUMBER, 6, 3),
                                                   VALUE("Errors", CORE_BROKER_TX_ERRORS, TOP_NUMBER, 6, 4),
                                                   {0}};
static const struct top_column consumed_columns[] = {LABEL("Topic read", 1, TOP_TEXT, 0, 0),
                                                     LABEL("No", 2, TOP_TEXT, 4, 0),
                                                     WHOSE(4),
                                                     RATE("Done/s", CORE_CONSUMED_POSITION, TOP_NUMBER, 6, 1),
                                                     VALUE("Lag", CORE_CONSUMED_LAG, TOP_NUMBER, 6, 0),
                                                     VALUE("Behind", CORE_CONSUMED_LAG_SINCE, TOP_SECONDS, 7, 0),
                                                     VALUE("Position", CORE_CONSUMED_POSITION, TOP_NUMBER, 8, 2),
                                                     VALUE("End", CORE_CONSUMED_END, TOP_NUMBER, 6, 3),
                                                     {0}};
static const struct top_column produced_columns[] = {LABEL("Topic written", 1, TOP_TEXT, 0, 0),
                                                     LABEL("No", 2, TOP_TEXT, 4, 0),
                                                     LABEL("Client", 0, TOP_TEXT, 10, 3),
                                                     RATE("Msgs/s", CORE_PRODUCED_MESSAGES, TOP_NUMBER, 6, 0),
                                                     RATE("Bytes/s", CORE_PRODUCED_BYTES, TOP_BYTES, 7, 1),
                                                     VALUE("Queued", CORE_PRODUCED_QUEUED, TOP_NUMBER, 6, 0),
                                                     {0}};
static const struct top_column intel_columns[] = {WHOSE(0),
                                                  VALUE("State", CORE_INTEL_STATE, TOP_INTEL, 11, 0),
                                                  VALUE("Store up", CORE_INTEL_UP, TOP_YES, 8, 0),
                                                  VALUE("Indicators", CORE_INTEL_INDICATORS, TOP_NUMBER, 10, 0),
                                                  VALUE("Behind", CORE_INTEL_BEHIND, TOP_SECONDS, 7, 0),
                                                  VALUE("Hits", CORE_INTEL_HIT_RATE, TOP_PERCENT, 6, 1),
                                                  VALUE("Filter", CORE_INTEL_FILTER, TOP_BYTES, 6, 3),
                                                  TIMES("p99", "p99", 2),
                                                  {0}};
static const struct top_column feed_columns[] = {LABEL("Feed", 0, TOP_TEXT, 0, 0),
                                                 VALUE("Indicators", CORE_SYNCED_ITEMS, TOP_NUMBER, 10, 0),
                                                 VALUE("Last done", CORE_SYNCED_DONE, TOP_AGE, 9, 0),
                                                 VALUE("Failed", CORE_SYNCED_FAILED, TOP_YES, 6, 0),
                                                 {0}};

const struct top_table top_tables[] = {
    {"Processes", CORE_HEALTH_PROCESS, 0, false, process_columns},
    {"Supervised", CORE_HEALTH_SUPERVISED, 0, false, supervised_columns},
    {"What sensors say of their packets", CORE_HEALTH_CAPTURE, 4, true, capture_columns},
    {"Logs", CORE_HEALTH_FILE, 3, true, file_columns},
    {"Stages", CORE_HEALTH_STAGE, TOP_COLUMNS_MAX, false,
     stage_columns}, /* as they come: in the order of the pipeline */
    {"Dead letters", CORE_HEALTH_DEAD, 4, true, dead_columns},
    {"Sinks", CORE_HEALTH_SINK, TOP_COLUMNS_MAX, false, sink_columns},
    {"How long events take", CORE_HEALTH_LATENCY, 0, false, latency_columns},
    {"Retries", CORE_HEALTH_RETRY, 4, true, retry_columns},
    {"Search engine", CORE_HEALTH_ENDPOINT, 0, false, endpoint_columns},
    {"Brokers", CORE_HEALTH_BROKER, 0, false, broker_columns},
    {"Partitions read", CORE_HEALTH_CONSUMED, 5, true, consumed_columns},
    {"Partitions written", CORE_HEALTH_PRODUCED, 3, true, produced_columns},
    {"Intelligence", CORE_HEALTH_INTEL, 0, false, intel_columns},
    {"Feeds of indicators", CORE_HEALTH_SYNCED, 0, false, feed_columns},
};
const size_t top_tables_len = sizeof(top_tables) / sizeof(top_tables[0]);
_Static_assert(sizeof(top_tables) / sizeof(top_tables[0]) <= TOP_TABLES_MAX, "each has its sort");

/* ---- cells ------------------------------------------------------------------------------------------------------------------------- */

static bool is_text(const struct top_column *column) {
    return column->from == TOP_LABEL || column->from == TOP_PROCESS;
}

static struct core_span cell_text(const struct top_row *row, const struct top_column *column) {
    return column->from == TOP_PROCESS ? core_span_of(row->process->name) : top_label(row, (size_t)column->which);
}

static bool cell_number(struct top_data *data, const struct top_row *row, const struct top_column *column,
                        double *out) {
    switch (column->from) {
    case TOP_VALUE: {
        bool is_known = top_value(row, (enum core_health_measure)column->which, out);
        return is_known && (column->form != TOP_AGE || *out > 0); /* a time of 0 is none */
    }
    case TOP_RATE:
        return top_rate(row, (enum core_health_measure)column->which, out);
    case TOP_QUANTILE:
        return top_quantile(row, column->quantile, out);
    case TOP_CALL:
        return column->call(data, row, out);
    case TOP_LABEL:
    case TOP_PROCESS:
        return false;
    }
    return false;
}

/* ---- sorting --------------------------------------------------------------------------------------------------------------------------- */

struct sorted {
    const struct top_row *row;
    double number;
    bool is_known;
    struct core_span text;
    size_t place; /* as it came */
    bool is_down;
};

static int span_compare(struct core_span a, struct core_span b) {
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len == 0 ? 0 : memcmp(a.ptr, b.ptr, len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int by_cell(const void *left, const void *right) {
    const struct sorted *a = left;
    const struct sorted *b = right;
    int order = 0;
    if (a->is_known != b->is_known) {
        return a->is_known ? -1 : 1; /* what is not known stands last, either way */
    }
    if (a->is_known) {
        order = (a->number > b->number) - (a->number < b->number);
    } else if (a->text.len > 0 || b->text.len > 0) {
        order = span_compare(a->text, b->text);
    }
    order = a->is_down ? -order : order;
    return order != 0 ? order : (a->place > b->place) - (a->place < b->place);
}

static struct sorted *rows_sort(struct top_data *data, const struct top_table *table, const struct top_sort *sort,
                                const struct top_rows *rows) {
    struct sorted *sorted = calloc(rows->len + 1, sizeof(*sorted));
    MUST(sorted != NULL);
    size_t columns = 0;
    while (table->columns[columns].title != NULL) {
        columns++;
    }
    for (size_t i = 0; i < rows->len; i++) {
        sorted[i] = (struct sorted){.row = &rows->all[i], .place = i, .is_down = sort->is_down};
        if (sort->column >= columns) {
            continue;
        }
        const struct top_column *column = &table->columns[sort->column];
        if (is_text(column)) {
            sorted[i].text = cell_text(&rows->all[i], column);
        } else {
            sorted[i].is_known = cell_number(data, &rows->all[i], column, &sorted[i].number);
        }
    }
    qsort(sorted, rows->len, sizeof(*sorted), by_cell);
    return sorted;
}

/* ---- drawing ----------------------------------------------------------------------------------------------------------------------------- */

/* The longest text of a column, its title included. */
static size_t widest(const struct top_column *column, const struct top_rows *rows) {
    size_t most = strlen(column->title) + 1;
    for (size_t i = 0; i < rows->len; i++) {
        char text[TOP_LINE_BYTES];
        top_clean(cell_text(&rows->all[i], column), text, sizeof(text));
        size_t is = top_width(text);
        most = is > most ? is : most;
    }
    return most;
}

/* How wide each column is; 0: left out. */
static void widths_settle(const struct top_table *table, const struct top_rows *rows, size_t width,
                          unsigned widths[TOP_COLUMNS_MAX]) {
    size_t len = 0;
    size_t used = MARK_CELLS;
    for (; table->columns[len].title != NULL; len++) {
        MUST(len < TOP_COLUMNS_MAX);
        widths[len] = table->columns[len].width == 0 ? FLEX_MIN : table->columns[len].width;
        used += widths[len] + 1;
    }
    for (unsigned rank = TOP_COLUMNS_MAX; rank > 0 && used > width + 1; rank--) {
        for (size_t i = len; i > 0 && used > width + 1; i--) {
            if (table->columns[i - 1].rank == rank) {
                used -= widths[i - 1] + 1;
                widths[i - 1] = 0;
            }
        }
    }
    for (size_t i = 0; i < len && used <= width; i++) {
        if (table->columns[i].width == 0) {
            size_t wanted = widest(&table->columns[i], rows);
            size_t room = FLEX_MIN + width - used;
            widths[i] = (unsigned)(wanted < FLEX_MIN ? FLEX_MIN : wanted < room ? wanted : room);
        }
    }
}

static void head_draw(const struct top_table *table, const struct top_sort *sort, const unsigned *widths,
                      struct top_lines *lines) {
    struct top_line *line = top_line_add(lines, TOP_HEAD);
    size_t at = 0;
    top_put(line->text, &at, "", MARK_CELLS, false, false);
    for (size_t i = 0; table->columns[i].title != NULL; i++) {
        if (widths[i] == 0) {
            continue;
        }
        char title[64];
        const char *mark = sort->column != i ? ""
                           : sort->is_down   ? (top_is_utf8 ? "▼" : "v")
                                             : (top_is_utf8 ? "▲" : "^");
        size_t title_at = 0;
        size_t room = widths[i] - (mark[0] == '\0' ? 0 : 1);
        size_t title_width = strlen(table->columns[i].title);
        title[0] = '\0';
        top_put(title, &title_at, mark, mark[0] == '\0' ? 0 : 1, false, false);
        (void)strncat(title, table->columns[i].title, title_width < room ? title_width : room);
        top_put(line->text, &at, title, widths[i], !is_text(&table->columns[i]), false);
        top_put(line->text, &at, "", 1, false, false);
    }
}

static enum top_look look_of(const struct top_row *row) {
    if (top_silent_ns(row->process) > 0) {
        return TOP_DIM;
    }
    return row->severity == CORE_HEALTH_ERROR ? TOP_ERROR : row->severity == CORE_HEALTH_WARN ? TOP_WARN : TOP_PLAIN;
}

static void row_draw(struct top_data *data, const struct top_table *table, const struct top_row *row,
                     const unsigned *widths, struct top_lines *lines) {
    struct top_line *line = top_line_add(lines, look_of(row));
    size_t at = 0;
    line->choice = line->key = row->key;
    line->kind = row->kind;
    top_put(line->text, &at,
            row->severity == CORE_HEALTH_ERROR  ? "!"
            : row->severity == CORE_HEALTH_WARN ? "?"
                                                : "",
            MARK_CELLS, false, false);
    for (size_t i = 0; table->columns[i].title != NULL; i++) {
        const struct top_column *column = &table->columns[i];
        char text[TOP_LINE_BYTES] = "-";
        double number;
        if (widths[i] == 0) {
            continue;
        }
        if (is_text(column)) {
            top_clean(cell_text(row, column), text, sizeof(text));
        } else if (cell_number(data, row, column, &number)) {
            bool is_beyond = column->from == TOP_QUANTILE && number >= QUANTILE_MOST_S;
            top_form(column->form, number, text, sizeof(text));
            (void)snprintf(text, is_beyond ? sizeof(text) : 0, ">1h");
        }
        top_put(line->text, &at, text, widths[i], !is_text(column), column->form == TOP_PATH);
        top_put(line->text, &at, "", 1, false, false);
    }
}

void top_table_draw(struct top_data *data, const struct top_table *table, const struct top_sort *sort,
                    const char *filter, struct top_lines *lines) {
    unsigned widths[TOP_COLUMNS_MAX] = {0};
    struct top_rows rows = {0};
    top_rows_take(data, table->kind, filter, &rows);
    widths_settle(table, &rows, lines->width, widths);
    if (rows.len > 0) {
        struct sorted *sorted = rows_sort(data, table, sort, &rows);
        head_draw(table, sort, widths, lines);
        for (size_t i = 0; i < rows.len; i++) {
            row_draw(data, table, sorted[i].row, widths, lines);
        }
        free(sorted);
    }
    top_rows_free(&rows);
}
