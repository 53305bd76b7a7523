/* enrich/source_csv.c: tables with commas (or another sign) between: RFC 4180 with a row of names.
 *
 * The row of names is the first one, or the last comment before the first row (as abuse.ch writes it). Which column is what
 * is told by its name, or by the feed's options. Without an option, one kind of column counts: the hashes of a file
 * together, else URL, else name, else address: what stands beside them describes the same indicator, and to take each by
 * itself would name hosts that merely served a file.
 * SPDX-License-Identifier: Apache-2.0
 * Source: RFC 4180. */
#include "enrich/enrich_internal.h"

#include <stdlib.h>

#define COLUMNS_MAX 128
#define CONFIDENCE_DEFAULT_MAX 100
#define CONFIDENCE_MAX 1000000
#define ROW_BYTES_MAX (CORE_MIB)

enum role {
    ROLE_NONE,
    ROLE_VALUE,
    ROLE_TYPE,
    ROLE_DESCRIPTION,
    ROLE_REFERENCE,
    ROLE_TAGS,
    ROLE_CONFIDENCE,
    ROLE_FIRST_SEEN,
    ROLE_LAST_SEEN,
    ROLE_EXPIRES,
    ROLE_PROVIDER,
    ROLE_TLP,
    ROLE_ID,
    ROLE__MAX
};

/* Options that name a column, and the names columns have without one. */
static const struct {
    const char *option;
    const char *names[12];
} roles[ROLE__MAX] = {
    [ROLE_VALUE] = {"value", {"indicator", "ioc", "ioc_value", "value", "observable"}},
    [ROLE_TYPE] = {"type", {"type", "indicator_type", "ioc_type", "itype"}},
    [ROLE_DESCRIPTION] = {"description",
                          {"description", "desc", "comment", "threat", "malware_printable", "malware", "signature",
                           "category", "notes"}},
    [ROLE_REFERENCE] = {"reference", {"reference", "urlhaus_link", "link", "rdata_url"}},
    [ROLE_TAGS] = {"tags", {"tags", "tag", "labels"}},
    [ROLE_CONFIDENCE] = {"confidence", {"confidence", "confidence_level"}},
    [ROLE_FIRST_SEEN] = {"first_seen", {"first_seen", "first_seen_utc", "firstseen", "dateadded", "firsttime"}},
    [ROLE_LAST_SEEN] = {"last_seen", {"last_seen", "last_seen_utc", "lastseen", "last_online", "lasttime"}},
    [ROLE_EXPIRES] = {"expires", {"expires", "expiration", "valid_until"}},
    [ROLE_PROVIDER] = {"provider", {"provider", "source", "reporter"}},
    [ROLE_TLP] = {"tlp", {"tlp"}},
    [ROLE_ID] = {"id", {"id", "uuid", "ioc_id"}},
};

/* Columns that are indicators of a type. rank: the lowest there is counts; hashes of one rank count together. */
static const struct {
    const char *name;
    enum core_indicator type;
    int rank;
} typed_names[] = {
    {"md5", CORE_INDICATOR_FILE_HASH, 1},    {"md5_hash", CORE_INDICATOR_FILE_HASH, 1},
    {"sha1", CORE_INDICATOR_FILE_HASH, 1},   {"sha1_hash", CORE_INDICATOR_FILE_HASH, 1},
    {"sha256", CORE_INDICATOR_FILE_HASH, 1}, {"sha256_hash", CORE_INDICATOR_FILE_HASH, 1},
    {"sha512", CORE_INDICATOR_FILE_HASH, 1}, {"ja3", CORE_INDICATOR_JA3, 2},
    {"ja3_md5", CORE_INDICATOR_JA3, 2},      {"url", CORE_INDICATOR_URL, 3},
    {"domain", CORE_INDICATOR_DOMAIN, 4},    {"fqdn", CORE_INDICATOR_DOMAIN, 5},
    {"hostname", CORE_INDICATOR_DOMAIN, 6},  {"host", CORE_INDICATOR_DOMAIN, 7},
    {"cidr", CORE_INDICATOR_CIDR, 8},        {"network", CORE_INDICATOR_CIDR, 9},
    {"subnet", CORE_INDICATOR_CIDR, 10},     {"ip", CORE_INDICATOR_IP, 11},
    {"ip_address", CORE_INDICATOR_IP, 12},   {"dst_ip", CORE_INDICATOR_IP, 13},
    {"email", CORE_INDICATOR_EMAIL, 14},     {"user_agent", CORE_INDICATOR_SOFTWARE, 15},
};

struct reading {
    const struct enrich_feed_conf *feed;
    const struct enrich_read_calls *calls;
    const char *path;
    struct core_arena arena; /* of one row */
    char separator;
    struct core_span cells[COLUMNS_MAX];
    size_t cells_len;
    int column_of[ROLE__MAX];               /* -1: none */
    enum core_indicator typed[COLUMNS_MAX]; /* of the columns that count by their name */
    enum core_indicator type;               /* of all, by option or format */
    int confidence_max;
    bool has_names;
    uint64_t line;      /* of the row's beginning */
    uint64_t row_lines; /* of the row */
};

/* ---- rows -------------------------------------------------------------------------------------------------------------------- */

/* The cell that begins at *at, which moves to what ends it. Text in quotes may have separators and line ends; "" is a quote.
 * false: a quote is not closed. Shape: an empty text if the row is too long for the arena. */
static bool cell_read(struct reading *reading, struct core_span rest, size_t *at, struct core_span *out) {
    size_t room = reading->arena.cap - reading->arena.used;
    char *cell = core_arena_alloc(&reading->arena, 0);
    size_t len = 0;
    while (*at < rest.len && rest.ptr[*at] == ' ') {
        (*at)++;
    }
    bool is_quoted = *at < rest.len && rest.ptr[*at] == '"';
    *at += is_quoted ? 1 : 0;
    for (; *at < rest.len; (*at)++) {
        char c = rest.ptr[*at];
        if (is_quoted && c == '"') {
            bool is_double = *at + 1 < rest.len && rest.ptr[*at + 1] == '"';
            is_quoted = is_double;
            *at += is_double ? 1 : 0;
            if (!is_double) {
                continue;
            }
        } else if (!is_quoted && (c == reading->separator || c == '\n')) {
            break;
        }
        if (cell != NULL && len < room) {
            cell[len++] = c;
        }
    }
    *out = (struct core_span){"", 0};
    if (cell != NULL && core_arena_alloc(&reading->arena, len) != NULL) {
        *out = core_span_trim((struct core_span){cell, len});
    }
    return !is_quoted;
}

/* The next row into cells, cut off *rest, which is not empty. NULL, or why it is left out; then only its line is. */
static const char *row_read(struct reading *reading, struct core_span *rest) {
    size_t at = 0;
    bool is_over = false;
    struct core_span line = *rest;
    core_arena_reset(&reading->arena, 64 * CORE_KIB);
    reading->cells_len = 0;
    reading->line += reading->row_lines;
    reading->row_lines = 1;
    while (!is_over) {
        struct core_span cell;
        if (!cell_read(reading, *rest, &at, &cell) || at > ROW_BYTES_MAX) {
            struct core_span ignored;
            MUST(source_line(rest, &ignored));
            return at > ROW_BYTES_MAX ? "its row is longer than 1 MiB" : "a quote in it is not closed";
        }
        if (reading->cells_len < COLUMNS_MAX) {
            reading->cells[reading->cells_len++] = cell;
        }
        is_over = at >= rest->len || rest->ptr[at] == '\n';
        at += at < rest->len ? 1 : 0;
    }
    *rest = (struct core_span){rest->ptr + at, rest->len - at};
    for (size_t i = 0; i + 1 < at; i++) {
        reading->row_lines += line.ptr[i] == '\n' ? 1 : 0;
    }
    return NULL;
}

/* ---- names ------------------------------------------------------------------------------------------------------------------- */

static bool same_name(struct core_span cell, const char *name) {
    size_t len = strlen(name);
    for (size_t i = 0; i < len && cell.len == len; i++) {
        char c = cell.ptr[i];
        c = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c == ' ' || c == '-' ? '_' : c;
        if (c != name[i]) {
            return false;
        }
    }
    return cell.len == len;
}

static int column_named(const struct reading *reading, const char *name) {
    for (size_t i = 0; i < reading->cells_len; i++) {
        if (same_name(reading->cells[i], name)) {
            return (int)i;
        }
    }
    return -1;
}

/* An option names a column: by its name, or by its number from 1. */
static int column_of_option(const struct reading *reading, const char *option) {
    char *end;
    long number = strtol(option, &end, 10);
    if (*end == '\0' && number > 0 && number <= COLUMNS_MAX) {
        return (int)number - 1;
    }
    for (size_t i = 0; i < reading->cells_len; i++) {
        if (core_span_is(reading->cells[i], option)) {
            return (int)i;
        }
    }
    return -1;
}

static void typed_find(struct reading *reading) {
    int rank = 0;
    for (size_t t = 0; t < sizeof(typed_names) / sizeof(typed_names[0]); t++) {
        int column = column_named(reading, typed_names[t].name);
        if (column >= 0 && (rank == 0 || rank == typed_names[t].rank)) {
            rank = typed_names[t].rank;
            reading->typed[column] = typed_names[t].type;
        }
    }
}

/* Take the row in cells as the one of names. */
static enum core_err names_read(struct reading *reading, struct core_fail *fail) {
    bool has_typed = false;
    memset(reading->typed, 0, sizeof(reading->typed));
    for (int role = ROLE_VALUE; role < ROLE__MAX; role++) {
        const char *option = source_option(reading->feed, roles[role].option);
        reading->column_of[role] = -1;
        for (size_t i = 0; option == NULL && reading->column_of[role] < 0 && roles[role].names[i] != NULL; i++) {
            reading->column_of[role] = column_named(reading, roles[role].names[i]);
        }
        if (option != NULL && role == ROLE_TYPE && source_type_of(core_span_of(option)) != CORE_INDICATOR_NONE &&
            column_of_option(reading, option) < 0) {
            reading->type = source_type_of(core_span_of(option));
        } else if (option != NULL && (reading->column_of[role] = column_of_option(reading, option)) < 0) {
            return core_fail_set(fail, CORE_BAD, reading->path, "it has no column \"%s\" (option %s)", option,
                                 roles[role].option);
        }
    }
    if (reading->column_of[ROLE_VALUE] < 0) {
        typed_find(reading);
    }
    for (size_t i = 0; i < reading->cells_len; i++) {
        has_typed = has_typed || reading->typed[i] != CORE_INDICATOR_NONE;
    }
    reading->has_names = reading->column_of[ROLE_VALUE] >= 0 || has_typed;
    return CORE_OK;
}

/* ---- values ------------------------------------------------------------------------------------------------------------------ */

static struct core_span cell_of(const struct reading *reading, enum role role) {
    int column = reading->column_of[role];
    return column >= 0 && (size_t)column < reading->cells_len ? reading->cells[column] : (struct core_span){"", 0};
}

/* "192.0.2.7:80" where the type says that there is a port. */
static struct core_span without_port(struct core_span value) {
    const char *colon = core_span_chr(value, ':');
    return colon == NULL ? value : (struct core_span){value.ptr, (size_t)(colon - value.ptr)};
}

static bool value_give(struct reading *reading, enum core_indicator type, struct core_span value) {
    char *room = core_arena_alloc(&reading->arena, value.len + 1);
    struct core_arena *arena = &reading->arena;
    if (room == NULL) {
        source_refuse(reading->calls, reading->line, value, "its row is too long");
        return true;
    }
    struct enrich_item item = source_item(type, source_refang(value, room));
    if (same_name(cell_of(reading, ROLE_TYPE), "ip:port")) {
        item.value = without_port(item.value);
    }
    item.said.description = source_text(arena, cell_of(reading, ROLE_DESCRIPTION));
    item.said.reference = source_text(arena, cell_of(reading, ROLE_REFERENCE));
    item.said.tags = source_text(arena, cell_of(reading, ROLE_TAGS));
    item.said.provider = source_text(arena, cell_of(reading, ROLE_PROVIDER));
    item.said.id = source_text(arena, cell_of(reading, ROLE_ID));
    item.said.tlp = source_tlp(cell_of(reading, ROLE_TLP));
    item.said.confidence_tenths = source_confidence(cell_of(reading, ROLE_CONFIDENCE), reading->confidence_max);
    item.said.first_seen = source_time(cell_of(reading, ROLE_FIRST_SEEN));
    item.said.last_seen = source_time(cell_of(reading, ROLE_LAST_SEEN));
    item.said.expires = source_time(cell_of(reading, ROLE_EXPIRES));
    return source_give(reading->calls, reading->feed, reading->line, &item);
}

static bool row_give(struct reading *reading) {
    bool goes_on = true;
    if (reading->column_of[ROLE_VALUE] >= 0) {
        struct core_span word = cell_of(reading, ROLE_TYPE);
        enum core_indicator type = reading->type;
        if (type == CORE_INDICATOR_NONE && word.len > 0) {
            type = source_type_of(word);
            if (type == CORE_INDICATOR_NONE) {
                source_refuse(reading->calls, reading->line, cell_of(reading, ROLE_VALUE),
                              "its type is none of those that are looked for");
                return true;
            }
        }
        return value_give(reading, type, cell_of(reading, ROLE_VALUE));
    }
    bool has_one = false;
    for (size_t i = 0; goes_on && i < reading->cells_len; i++) {
        if (reading->typed[i] != CORE_INDICATOR_NONE && reading->cells[i].len > 0) {
            has_one = true;
            goes_on = value_give(reading, reading->type != CORE_INDICATOR_NONE ? reading->type : reading->typed[i],
                                 reading->cells[i]);
        }
    }
    if (!has_one) {
        source_refuse(reading->calls, reading->line, (struct core_span){"", 0}, "its row has no indicator");
    }
    return goes_on;
}

/* ---- the file ---------------------------------------------------------------------------------------------------------------- */

/* Comments in front: the last of them may be the row of names. */
static enum core_err comments_read(struct reading *reading, struct core_span *text, struct core_fail *fail) {
    struct core_span line;
    struct core_span rest = *text;
    struct core_span last = {0};
    uint64_t lines = 0;
    while (source_line(&rest, &line) && (core_span_trim(line).len == 0 || line.ptr[0] == '#')) {
        last = core_span_trim(line).len > 1 ? line : last;
        *text = rest;
        lines++;
    }
    if (last.len > 0 && core_span_chr(last, reading->separator) != NULL) {
        last = (struct core_span){last.ptr + 1, last.len - 1};
        enum core_err err = row_read(reading, &last) == NULL ? names_read(reading, fail) : CORE_OK;
        if (err != CORE_OK) {
            return err;
        }
    }
    reading->line = lines;
    reading->row_lines = 1;
    return CORE_OK;
}

static enum core_err rows_read(struct reading *reading, struct core_span text, struct core_fail *fail) {
    const struct core_span all = text;
    enum core_err err = comments_read(reading, &text, fail);
    bool goes_on = true;
    bool is_first = true;
    while (err == CORE_OK && goes_on && text.len > 0) {
        struct core_span line;
        struct core_span whole = text;
        source_progress(reading->calls, reading->line, text, all);
        if (text.ptr[0] == '#') {
            MUST(source_line(&text, &line));
            reading->line += reading->row_lines;
            reading->row_lines = 1;
            continue;
        }
        const char *why = row_read(reading, &text);
        if (why != NULL) {
            MUST(source_line(&whole, &line));
            line.len = line.len < ENRICH_TEXT_BYTES_MAX ? line.len : ENRICH_TEXT_BYTES_MAX;
            source_refuse(reading->calls, reading->line, line, why);
            continue;
        }
        if (reading->cells_len == 1 && reading->cells[0].len == 0) {
            continue;
        }
        bool was_first = is_first && !reading->has_names;
        is_first = false;
        if (!was_first) {
            goes_on = row_give(reading);
            continue;
        }
        err = names_read(reading, fail);
        if (err == CORE_OK && !reading->has_names) {
            err =
                core_fail_set(fail, CORE_BAD, reading->path,
                              "its first row names no column of indicators; say which it is: options: {value: COLUMN}");
        }
        if (err == CORE_OK && source_option_is(reading->feed, "no_names")) {
            goes_on = row_give(reading);
        }
    }
    return err == CORE_OK && !goes_on ? CORE_AGAIN : err;
}

static enum core_err csv_read(struct core_span text, const char *path, const struct enrich_feed_conf *feed,
                              const struct enrich_read_calls *calls, struct core_fail *fail) {
    struct reading *reading = calloc(1, sizeof(*reading));
    MUST(reading != NULL);
    const char *separator = source_option(feed, "separator");
    reading->feed = feed;
    reading->calls = calls;
    reading->path = path;
    reading->separator = ',';
    if (separator != NULL) {
        reading->separator = strcmp(separator, "tab") == 0 ? '\t' : separator[0];
    }
    const char *scale = source_option(feed, "confidence_max");
    long scale_max = scale == NULL ? 0 : strtol(scale, NULL, 10);
    reading->confidence_max = scale_max > 0 && scale_max <= CONFIDENCE_MAX ? (int)scale_max : CONFIDENCE_DEFAULT_MAX;
    reading->type = feed->format == NULL ? CORE_INDICATOR_NONE : source_type_of(core_span_of(feed->format));
    enum core_err err = core_arena_init(&reading->arena, 8 * ROW_BYTES_MAX, fail);
    if (err == CORE_OK) {
        err = rows_read(reading, text, fail);
        core_arena_destroy(&reading->arena);
    }
    free(reading);
    return err;
}

static int csv_looks(struct core_span head) {
    struct enrich_feed_conf feed = {0};
    struct core_fail fail;
    struct reading *reading = calloc(1, sizeof(*reading));
    MUST(reading != NULL);
    reading->feed = &feed;
    reading->separator = ',';
    reading->path = "";
    int looks = 0;
    if (core_arena_init(&reading->arena, 8 * ROW_BYTES_MAX, &fail) == CORE_OK) {
        if (comments_read(reading, &head, &fail) == CORE_OK && !reading->has_names && head.len > 0 &&
            core_span_chr(head, ',') != NULL && row_read(reading, &head) == NULL) {
            looks = names_read(reading, &fail) == CORE_OK && reading->has_names && reading->cells_len > 1 ? 50 : 0;
        } else {
            looks = reading->has_names ? 50 : 0;
        }
        core_arena_destroy(&reading->arena);
    }
    free(reading);
    return looks;
}

static const struct source_option csv_options[] = {
    {"value", "The column of indicators: its name, or its number from 1."},
    {"type", "The column of their types, or the type of all."},
    {"description", "The column of descriptions."},
    {"reference", "The column of links."},
    {"tags", "The column of tags."},
    {"confidence", "The column of confidences."},
    {"confidence_max", "The most that a confidence can be; 100 unless said."},
    {"first_seen", "The column of first times."},
    {"last_seen", "The column of last times."},
    {"expires", "The column of the times from which they do not count."},
    {"provider", "The column of providers."},
    {"tlp", "The column of TLP's words."},
    {"id", "The column of the provider's own ids."},
    {"separator", "What stands between columns: one sign, or tab; a comma unless said."},
    {"no_names", "true: the first row is an indicator, too; columns are then numbers."},
    {0},
};

const struct source_ops source_csv = {
    .name = "csv",
    .summary = "a table with a row of names; which column is what is told by its name, or by options",
    .options = csv_options,
    .looks = csv_looks,
    .read = csv_read,
    .tells_all = true,
    .counts = "line",
};
