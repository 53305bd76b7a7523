/* cmd/dead_letter.c: `tapline dead-letter list` and `show`: what could not be indexed, and why.
 *
 * Letters are printed by time, so the newest --limit of them are kept, as the lines that they become; all else of a letter
 * is forgotten once it was looked at. With --by-reason only sums are kept: a reason with what differs from document to
 * document (what stands in quotes, numbers) taken out of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/dead_letter.h"
#include "cmd/proof.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>

#define LIMIT_DEFAULT 1000
#define REASON_BYTES_SHOWN 240
#define REASON_BYTES_MAX 400
#define GROUPS_MAX 2048
#define DATASET_BYTES_MAX 128

/* ---- JSON -------------------------------------------------------------------------------------------------------------------- */

static void json_text(FILE *out, const char *name, struct core_span text) {
    if (text.len > 0) {
        (void)fprintf(out, ",\"%s\":", name);
        cmd_print_json_string(out, text);
    }
}

static const char *state_of(const struct dead_letter *letter) {
    return letter->is_retried ? "retried" : letter->obstacle == NULL ? "open" : "stays";
}

/* All but the letter's own text, without the closing brace. */
static void json_letter(FILE *out, const struct dead_letter *letter, const char *topic) {
    char time[32];
    dead_time(letter->time_ms, time);
    (void)fprintf(out, "{\"id\":\"%s\",\"time\":\"%s\",\"state\":\"%s\",\"topic\":", letter->id, time,
                  state_of(letter));
    cmd_print_json_string(out, core_span_of(topic));
    (void)fprintf(out, ",\"partition\":%d,\"offset\":%" PRId64, letter->partition, letter->offset);
    json_text(out, "kind", letter->kind);
    json_text(out, "dataset", letter->dataset);
    json_text(out, "reason", letter->reason);
    json_text(out, "document", letter->document);
    if (letter->topic.len > 0) {
        (void)fprintf(out, ",\"from\":{\"partition\":%.*s,\"offset\":%.*s", (int)letter->from_partition.len,
                      letter->from_partition.ptr, (int)letter->from_offset.len, letter->from_offset.ptr);
        json_text(out, "topic", letter->topic);
        (void)fputc('}', out);
    }
    json_text(out, "path", letter->path);
    if (letter->line.len > 0) {
        (void)fprintf(out, ",\"line\":%.*s", (int)letter->line.len, letter->line.ptr);
    }
    if (letter->obstacle != NULL) {
        json_text(out, "obstacle", core_span_of(letter->obstacle));
    }
}

/* ---- list: the newest, by time ------------------------------------------------------------------------------------------------ */

struct row {
    int64_t time_ms;
    int partition;
    int64_t offset;
    char *text;
};

struct group {
    char reason[REASON_BYTES_MAX + 1];
    char dataset[DATASET_BYTES_MAX + 1];
    char id[DEAD_ID_BYTES]; /* of the newest */
    uint64_t count;
    uint64_t open; /* that can be put back */
    int64_t first_ms;
    int64_t last_ms;
};

struct listing {
    struct dead_book book;
    struct row *rows; /* twice the limit: the older half goes when it is full */
    size_t rows_len;
    size_t rows_max;
    bool is_by_reason;
    struct group *groups;
    size_t groups_len;
    uint64_t total;
};

static int row_compare(const void *a_ptr, const void *b_ptr) {
    const struct row *a = a_ptr;
    const struct row *b = b_ptr;
    int by_time = (a->time_ms > b->time_ms) - (a->time_ms < b->time_ms);
    int by_partition = (a->partition > b->partition) - (a->partition < b->partition);
    int by_offset = (a->offset > b->offset) - (a->offset < b->offset);
    return by_time != 0 ? by_time : by_partition != 0 ? by_partition : by_offset;
}

/* Sort, and leave the newest that were asked for. */
static void rows_trim(struct listing *listing) {
    if (listing->rows_len > 0) {
        qsort(listing->rows, listing->rows_len, sizeof *listing->rows, row_compare);
    }
    size_t old = listing->rows_len > listing->book.limit ? listing->rows_len - listing->book.limit : 0;
    for (size_t i = 0; i < old; i++) {
        free(listing->rows[i].text);
    }
    listing->rows_len -= old;
    if (old > 0) {
        memmove(listing->rows, listing->rows + old, listing->rows_len * sizeof *listing->rows);
    }
}

static void row_write(FILE *out, const struct dead_letter *letter) {
    char time[32];
    dead_time(letter->time_ms, time);
    (void)fprintf(out, "%-20s  %-32s  %-7s  %-10.*s  ", time, letter->id, state_of(letter), (int)letter->kind.len,
                  letter->kind.ptr);
    dead_print_text(out, letter->dataset.len > 0 ? letter->dataset : CORE_SPAN("-"), DATASET_BYTES_MAX);
    (void)fputs("  ", out);
    if (letter->topic.len > 0) {
        dead_print_text(out, letter->topic, DATASET_BYTES_MAX);
        (void)fprintf(out, "/%.*s/%.*s", (int)letter->from_partition.len, letter->from_partition.ptr,
                      (int)letter->from_offset.len, letter->from_offset.ptr);
    } else {
        dead_print_text(out, letter->path.len > 0 ? letter->path : CORE_SPAN("-"), REASON_BYTES_SHOWN);
        (void)fprintf(out, "%s%.*s", letter->line.len > 0 ? ":" : "", (int)letter->line.len, letter->line.ptr);
    }
    (void)fputs("  ", out);
    dead_print_text(out, letter->reason, REASON_BYTES_SHOWN);
}

static void row_add(struct listing *listing, const struct dead_letter *letter) {
    struct row row = {.time_ms = letter->time_ms, .partition = letter->partition, .offset = letter->offset};
    size_t len = 0;
    FILE *out = open_memstream(&row.text, &len);
    MUST(out != NULL);
    if (listing->book.is_json) {
        json_letter(out, letter, listing->book.config->feed.dead_letter_topic);
        (void)fputc('}', out);
    } else {
        row_write(out, letter);
    }
    MUST(fclose(out) == 0);
    if (listing->rows_len == listing->rows_max) {
        listing->rows_max = listing->rows_max == 0 ? 64 : 2 * listing->rows_max;
        listing->rows = realloc(listing->rows, listing->rows_max * sizeof *listing->rows);
        MUST(listing->rows != NULL);
    }
    listing->rows[listing->rows_len++] = row;
    if (listing->rows_len >= 2 * listing->book.limit) {
        rows_trim(listing);
    }
}

/* ---- list: sums by reason ------------------------------------------------------------------------------------------------------- */

/* What differs from document to document goes: what stands in quotes or brackets of a value, and numbers. */
static void reason_generalise(struct core_span reason, char out[REASON_BYTES_MAX + 1]) {
    size_t len = 0;
    for (size_t i = 0; i < reason.len && len + 4 < REASON_BYTES_MAX;) {
        char c = reason.ptr[i];
        const char *end = c == '\'' ? memchr(reason.ptr + i + 1, '\'', reason.len - i - 1) : NULL;
        if (end != NULL) {
            memcpy(out + len, "'*'", 3);
            len += 3;
            i = (size_t)(end - reason.ptr) + 1;
        } else if (isdigit((unsigned char)c)) {
            out[len++] = '#';
            while (i < reason.len && isdigit((unsigned char)reason.ptr[i])) {
                i++;
            }
        } else {
            out[len++] = c;
            i++;
        }
    }
    out[len] = '\0';
}

/* The last place is for all that find none. */
static struct group *group_of(struct listing *listing, const char *reason, struct core_span dataset) {
    for (size_t i = 0; i < listing->groups_len; i++) {
        if (strcmp(listing->groups[i].reason, reason) == 0 && core_span_is(dataset, listing->groups[i].dataset)) {
            return &listing->groups[i];
        }
    }
    if (listing->groups_len == GROUPS_MAX) {
        struct group *others = &listing->groups[GROUPS_MAX - 1];
        (void)snprintf(others->reason, sizeof others->reason, "(others)");
        others->dataset[0] = '\0';
        return others;
    }
    struct group *group = &listing->groups[listing->groups_len++];
    *group = (struct group){.first_ms = INT64_MAX};
    (void)snprintf(group->reason, sizeof group->reason, "%s", reason);
    (void)snprintf(group->dataset, sizeof group->dataset, "%.*s", (int)dataset.len, dataset.ptr);
    return group;
}

static void group_add(struct listing *listing, const struct dead_letter *letter) {
    char reason[REASON_BYTES_MAX + 1];
    reason_generalise(letter->reason, reason);
    struct core_span dataset = letter->dataset;
    dataset.len = dataset.len > DATASET_BYTES_MAX ? DATASET_BYTES_MAX : dataset.len;
    struct group *group = group_of(listing, reason, dataset);
    group->count++;
    group->open += letter->obstacle == NULL && !letter->is_retried ? 1 : 0;
    group->first_ms = letter->time_ms < group->first_ms ? letter->time_ms : group->first_ms;
    if (letter->time_ms >= group->last_ms) {
        group->last_ms = letter->time_ms;
        memcpy(group->id, letter->id, sizeof group->id);
    }
}

static int group_compare(const void *a_ptr, const void *b_ptr) {
    const struct group *a = a_ptr;
    const struct group *b = b_ptr;
    int by_count = (a->count < b->count) - (a->count > b->count);
    return by_count != 0 ? by_count : strcmp(a->reason, b->reason);
}

static void groups_print(const struct listing *listing) {
    char first[32], last[32];
    if (!listing->book.is_json && listing->groups_len > 0) {
        printf("%8s  %8s  %-20s  %-20s  %-32s  DATASET  REASON\n", "COUNT", "OPEN", "FIRST", "LAST", "NEWEST");
    }
    for (size_t i = 0; i < listing->groups_len; i++) {
        const struct group *group = &listing->groups[i];
        dead_time(group->first_ms, first);
        dead_time(group->last_ms, last);
        if (listing->book.is_json) {
            printf("{\"count\":%" PRIu64 ",\"open\":%" PRIu64 ",\"first\":\"%s\",\"last\":\"%s\",\"newest\":\"%s\"",
                   group->count, group->open, first, last, group->id);
            json_text(stdout, "dataset", core_span_of(group->dataset));
            json_text(stdout, "reason", core_span_of(group->reason));
            printf("}\n");
        } else {
            printf("%8" PRIu64 "  %8" PRIu64 "  %-20s  %-20s  %-32s  ", group->count, group->open, first, last,
                   group->id);
            dead_print_text(stdout, core_span_of(group->dataset[0] == '\0' ? "-" : group->dataset), DATASET_BYTES_MAX);
            (void)fputs("  ", stdout);
            dead_print_text(stdout, core_span_of(group->reason), REASON_BYTES_SHOWN);
            (void)putchar('\n');
        }
    }
}

/* ---- list: the command ------------------------------------------------------------------------------------------------------------ */

static enum core_err list_take(void *ctx, const struct dead_letter *letter, struct core_fail *fail) {
    (void)fail;
    struct listing *listing = ctx;
    listing->total++;
    if (listing->is_by_reason) {
        group_add(listing, letter);
    } else {
        row_add(listing, letter);
    }
    return CORE_OK;
}

static void rows_print(const struct listing *listing) {
    if (!listing->book.is_json && listing->rows_len > 0) {
        printf("%-20s  %-32s  %-7s  %-10s  DATASET  FROM  REASON\n", "TIME", "ID", "STATE", "KIND");
    }
    for (size_t i = 0; i < listing->rows_len; i++) {
        (void)puts(listing->rows[i].text);
    }
    (void)fflush(stdout);
    if (listing->total > listing->rows_len) {
        (void)fprintf(stderr,
                      "tapline dead-letter list: the newest %zu of %" PRIu64
                      "; --limit shows more, --by-reason sums up\n",
                      listing->rows_len, listing->total);
    }
}

static int list_run(struct listing *listing) {
    struct core_fail fail = {0};
    enum core_err err = dead_read_marks(&listing->book, &fail);
    if (err == CORE_OK) {
        err = dead_each(&listing->book, list_take, listing, &fail);
    }
    if (err != CORE_OK) {
        return cmd_exit_of(listing->book.cmd, err, &fail);
    }
    if (listing->is_by_reason) {
        if (listing->groups_len > 0) {
            qsort(listing->groups, listing->groups_len, sizeof *listing->groups, group_compare);
        }
        groups_print(listing);
    } else {
        rows_trim(listing);
        rows_print(listing);
    }
    if (listing->total == 0) {
        (void)fprintf(stderr, "tapline dead-letter list: no such dead letters%s\n",
                      listing->book.filter.has_retried ? "" : "; --all shows those that were put back");
    }
    return listing->total > 0 ? CORE_EXIT_DONE : CORE_EXIT_NO;
}

static int list_main(const struct cmd *cmd, int argc, char **argv) {
    struct listing listing = {.book = {.cmd = cmd}};
    int code = CORE_EXIT_USAGE;
    if (dead_open(&listing.book, argc, argv, &code)) {
        struct dead_book *book = &listing.book;
        book->limit = book->limit == 0 ? LIMIT_DEFAULT : book->limit;
        book->filter.has_retried = cmd_value(cmd, &book->args, "all") != NULL;
        listing.is_by_reason = cmd_value(cmd, &book->args, "by-reason") != NULL;
        listing.groups = calloc(GROUPS_MAX, sizeof *listing.groups); /* pages that are not used cost nothing */
        MUST(listing.groups != NULL);
        code = list_run(&listing);
    }
    for (size_t i = 0; i < listing.rows_len; i++) {
        free(listing.rows[i].text);
    }
    free(listing.rows);
    free(listing.groups);
    dead_close(&listing.book);
    return code;
}

static const struct cmd_option list_options[] = {
    DEAD_OPTIONS,
    {.name = "limit", .arg = "N", .help = "Print the newest N (default 1000, at most 1000000)."},
    {.name = "by-reason", .help = "Print how many there are of each reason and dataset instead."},
    {.name = "all", .help = "Those that were put back, too."},
    {.name = "json", .help = "Print one JSON object a line."},
    {0},
};

const struct cmd cmd_dead_letter_list = {
    .name = "dead-letter list",
    .summary = "print what could not be indexed, and why",
    .args = "[ID…]",
    .about = "Prints the letters of feed.dead_letter_topic by time, the newest last: when, the letter's id (_id in "
             "the index logs-tapline.deadletter-…), its state, its kind, the document's dataset, where it came "
             "from (TOPIC/PARTITION/OFFSET, or FILE:LINE), and why. With IDs (of letters or their documents, or "
             "PARTITION/OFFSET of letters) only those. Kinds: refused (by the search engine: it can be put back), "
             "unreadable (a record that is no JSON document), line (a sensor's line that no map could read). "
             "States: open, stays (it cannot be put back; `show` says what to do), retried (was put back; only "
             "with --all). --by-reason sums up by reason, with what differs from document to document taken out, "
             "and names the newest of each. Ends with 1 if there is none.",
    .example = "tapline dead-letter list -c /etc/tapline/feed.yml --since 24h --by-reason\n"
               "tapline dead-letter list -c feed.yml --dataset zeek.http --reason 'failed to parse' --json",
    .options = list_options,
    .run = list_main,
};

/* ---- show ---------------------------------------------------------------------------------------------------------------------------- */

struct showing {
    struct dead_book book;
    uint64_t shown;
};

static void show_line(const char *name, struct core_span text) {
    if (text.len > 0) {
        printf("%-12s", name);
        dead_print_text(stdout, text, SIZE_MAX);
        (void)putchar('\n');
    }
}

static enum core_err show_take(void *ctx, const struct dead_letter *letter, struct core_fail *fail) {
    (void)fail;
    struct showing *showing = ctx;
    const char *topic = showing->book.config->feed.dead_letter_topic;
    char time[32];
    dead_time(letter->time_ms, time);
    showing->shown++;
    if (showing->book.is_json) {
        json_letter(stdout, letter, topic);
        bool is_ours = !core_span_is(letter->kind, "unknown");
        (void)fputs(",\"letter\":", stdout);
        if (is_ours) {
            (void)fwrite(letter->value.ptr, 1, letter->value.len, stdout);
        } else {
            cmd_print_json_string(stdout, letter->value);
        }
        (void)fputs("}\n", stdout);
        return CORE_OK;
    }
    printf("%s%-12s%s\n%-12s%s partition %d offset %" PRId64 "\n%-12s%s\n%-12s%s\n", showing->shown > 1 ? "\n" : "",
           "id", letter->id, "place", topic, letter->partition, letter->offset, "time", time, "state",
           state_of(letter));
    show_line("kind", letter->kind);
    show_line("dataset", letter->dataset);
    show_line("document", letter->document);
    if (letter->topic.len > 0) {
        show_line("topic", letter->topic);
        printf("%-12s%.*s\n%-12s%.*s\n", "partition", (int)letter->from_partition.len, letter->from_partition.ptr,
               "offset", (int)letter->from_offset.len, letter->from_offset.ptr);
    }
    show_line("file", letter->path);
    show_line("line", letter->line);
    show_line("reason", letter->reason);
    show_line("obstacle", letter->obstacle == NULL ? CORE_SPAN("") : core_span_of(letter->obstacle));
    show_line("original", letter->original);
    if (letter->original.len == 0) {
        show_line("letter", letter->value);
    }
    return CORE_OK;
}

static int show_main(const struct cmd *cmd, int argc, char **argv) {
    struct showing showing = {.book = {.cmd = cmd}};
    struct core_fail fail = {0};
    int code = CORE_EXIT_USAGE;
    if (dead_open(&showing.book, argc, argv, &code)) {
        showing.book.filter.has_retried = true;
        if (showing.book.filter.ids_len == 0) {
            (void)fprintf(stderr, "tapline dead-letter show: which one? `tapline dead-letter list` prints their ids\n");
        } else {
            enum core_err err = dead_read_marks(&showing.book, &fail);
            err = err == CORE_OK ? dead_each(&showing.book, show_take, &showing, &fail) : err;
            (void)fflush(stdout);
            code = err != CORE_OK                         ? cmd_exit_of(cmd, err, &fail)
                   : dead_say_missing(&showing.book) == 0 ? CORE_EXIT_DONE
                                                          : CORE_EXIT_NO;
        }
    }
    dead_close(&showing.book);
    return code;
}

static const struct cmd_option show_options[] = {
    DEAD_OPTIONS,
    {.name = "json", .help = "Print one JSON object a line, the whole letter in it."},
    {0},
};

const struct cmd cmd_dead_letter_show = {
    .name = "dead-letter show",
    .summary = "print dead letters whole, with the original",
    .args = "ID…",
    .about = "Prints all that is known of these letters, with the document that was refused (or the line that could "
             "not be read), "
             "and, if it cannot be put back, what a person can do. An ID is a letter's, its document's, or "
             "PARTITION/OFFSET of the "
             "letter in its topic. Ends with 1 if there is no such letter.",
    .example = "tapline dead-letter show -c feed.yml 5bd1e995d7f0a1c20000000000001f3a\n"
               "tapline dead-letter show -c feed.yml 0/17 --json | jq -r .letter.event.original | jq .",
    .options = show_options,
    .run = show_main,
};
