/* cmd/dead_letter_read.c: reads the dead letters of a topic, and the marks of those that were put back.
 *
 * Both are read as any read_committed consumer would, from the beginning to the present end; nothing is committed. Letters are
 * told one by one and not kept, since a topic may hold more of them than memory does.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/dead_letter.h"
#include "cmd/proof.h"
#include "core/deadletter.h"
#include "core/json_tree.h"
#include "ingest/feed.h"

#include <inttypes.h>
#include <stdlib.h>

#define ASK_TIMEOUT_MS 15000
#define NEXT_TIMEOUT_MS 500
#define PATIENCE_NS (120 * CORE_NS_PER_S)       /* without a record and without an end */
#define LETTER_BYTES_MAX (size_t)(4 * CORE_MIB) /* a longer one is told without its parts */
#define ID_HEADER_BYTES 16
#define LIMIT_MAX 1000000
#define KEY_BYTES_MAX 400

/* ---- the command line -------------------------------------------------------------------------------------------------- */

static bool args_wrong(const struct dead_book *book, const char *what) {
    (void)fprintf(stderr, "tapline %s: %s; `tapline %s --help` says more\n", book->cmd->name, what, book->cmd->name);
    return false;
}

static bool limit_read(struct dead_book *book, const char *text) {
    char *end = NULL;
    book->limit = text == NULL ? 0 : strtoull(text, &end, 10);
    return text == NULL ||
           (*end == '\0' && text[0] >= '0' && text[0] <= '9' && book->limit >= 1 && book->limit <= LIMIT_MAX);
}

static bool has_option(const struct cmd *cmd, const char *name) {
    const struct cmd_option *option = cmd->options;
    while (option->name != NULL && strcmp(option->name, name) != 0) {
        option++;
    }
    return option->name != NULL;
}

static bool args_read(struct dead_book *book) {
    const struct cmd_args *args = &book->args;
    const char *since = cmd_value(book->cmd, args, "since");
    int64_t since_ns = 0;
    if (cmd_value(book->cmd, args, "config") == NULL) {
        return args_wrong(book, "-c FILE is required, the feeder's configuration");
    }
    if (since != NULL && !cmd_since_parse(since, &since_ns)) {
        return args_wrong(book,
                          "--since takes a duration such as 24h, or a time such as 2026-11-21 or 2026-11-21T03:00:00Z");
    }
    if (has_option(book->cmd, "limit") && !limit_read(book, cmd_value(book->cmd, args, "limit"))) {
        return args_wrong(book, "--limit takes a number from 1 to 1000000");
    }
    book->filter = (struct dead_filter){.since_ms = since_ns / CORE_NS_PER_MS,
                                        .dataset = cmd_value(book->cmd, args, "dataset"),
                                        .reason = cmd_value(book->cmd, args, "reason"),
                                        .ids = args->files,
                                        .ids_len = (size_t)args->files_len};
    book->filter.is_found = calloc(book->filter.ids_len + 1, sizeof(bool));
    MUST(book->filter.is_found != NULL);
    book->is_json = cmd_value(book->cmd, args, "json") != NULL;
    return true;
}

bool dead_open(struct dead_book *book, int argc, char **argv, int *code) {
    struct core_conf_mistakes mistakes = {0};
    if (!cmd_parse(book->cmd, argc, argv, &book->args, code)) {
        return false;
    }
    *code = CORE_EXIT_USAGE;
    if (!args_read(book)) {
        return false;
    }
    const char *path = cmd_value(book->cmd, &book->args, "config");
    if (config_load_for(&book->config, path, CONFIG_SETUP, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        return false;
    }
    return book->config->has_feed || args_wrong(book, "the file has no section `feed`, which names brokers and topics");
}

void dead_close(struct dead_book *book) {
    core_kafka_reader_close(book->reader);
    core_arena_destroy(&book->arena);
    free(book->marks);
    free(book->filter.is_found);
    config_free(book->config);
}

struct core_kafka_pair *dead_pairs(const struct dead_book *book, size_t more, size_t *len) {
    const struct core_conf_list *list = &book->config->feed.rdkafka;
    struct core_kafka_pair *pairs = calloc(list->len + more + 1, sizeof *pairs);
    MUST(pairs != NULL);
    for (size_t i = 0; i < list->len; i++) {
        pairs[i] = (struct core_kafka_pair){list->items[i].key, list->items[i].value};
    }
    *len = list->len;
    return pairs;
}

/* ---- a topic, record by record -------------------------------------------------------------------------------------------- */

typedef enum core_err (*on_record)(void *ctx, const struct core_kafka_got *got, struct core_fail *fail);

static enum core_err records_each(struct dead_book *book, on_record take, void *ctx, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    int64_t since = core_tick_ns();
    while (err == CORE_OK) {
        struct core_kafka_got got;
        err = core_kafka_reader_next(book->reader, NEXT_TIMEOUT_MS, &got, fail);
        if (err == CORE_OK) {
            err = take(ctx, &got, fail);
            since = core_tick_ns();
        } else if (err == CORE_AGAIN) {
            err = CORE_OK;
            if (core_tick_ns() - since > PATIENCE_NS) {
                err =
                    core_fail_set(fail, CORE_NET, "brokers", "no record for %lld s, and the end is not reached; %s",
                                  (long long)(PATIENCE_NS / CORE_NS_PER_S), core_kafka_reader_complaint(book->reader));
            }
        }
        if (err == CORE_OK && book->on_turn != NULL) {
            err = book->on_turn(book->turn_ctx, fail);
        }
    }
    return err == CORE_GONE ? CORE_OK : err;
}

/* All of a topic as it is now. CORE_GONE: there is none. */
static enum core_err topic_each(struct dead_book *book, const char *topic, on_record take, void *ctx,
                                struct core_fail *fail) {
    int partitions = 0;
    enum core_err err = core_kafka_reader_topic(book->reader, topic, ASK_TIMEOUT_MS, &partitions, fail);
    if (err != CORE_OK) {
        return err;
    }
    struct core_kafka_place *places = calloc((size_t)partitions + 1, sizeof *places);
    MUST(places != NULL);
    for (int i = 0; i < partitions; i++) {
        places[i] = (struct core_kafka_place){.topic = topic, .partition = i, .offset = CORE_KAFKA_BEGINNING};
    }
    err = core_kafka_reader_assign(book->reader, places, (size_t)partitions, false, ASK_TIMEOUT_MS, fail);
    free(places);
    return err == CORE_OK ? records_each(book, take, ctx, fail) : err;
}

/* ---- marks ---------------------------------------------------------------------------------------------------------------- */

static enum core_err mark_take(void *ctx, const struct core_kafka_got *got, struct core_fail *fail) {
    (void)fail;
    struct dead_book *book = ctx;
    char prefix[KEY_BYTES_MAX];
    char rest[64];
    int len = snprintf(prefix, sizeof prefix, "dead/%s/", book->config->feed.dead_letter_topic);
    MUST(len > 0 && (size_t)len < sizeof prefix);
    struct core_span key = got->key;
    if (!core_span_starts(key, core_span_of(prefix)) || key.len - (size_t)len >= sizeof rest) {
        return CORE_OK;
    }
    memcpy(rest, key.ptr + len, key.len - (size_t)len);
    rest[key.len - (size_t)len] = '\0';
    char *slash = NULL;
    char *end = NULL;
    long partition = strtol(rest, &slash, 10);
    if (*slash != '/') {
        return CORE_OK;
    }
    int64_t offset = strtoll(slash + 1, &end, 10);
    if ((book->marks_len & (book->marks_len - 1)) == 0) { /* room for twice as many */
        book->marks = realloc(book->marks, (2 * book->marks_len + 1) * sizeof *book->marks);
        MUST(book->marks != NULL);
    }
    book->marks[book->marks_len] = (struct dead_mark){.partition = (int)partition,
                                                      .offset = offset,
                                                      .seq = book->marks_len,
                                                      .is_tombstone = got->is_tombstone || *end != '\0'};
    book->marks_len++;
    return CORE_OK;
}

static int mark_place_compare(const void *a_ptr, const void *b_ptr) {
    const struct dead_mark *a = a_ptr;
    const struct dead_mark *b = b_ptr;
    int by_offset = (a->offset > b->offset) - (a->offset < b->offset);
    return a->partition != b->partition ? (a->partition > b->partition ? 1 : -1) : by_offset;
}

static int mark_compare(const void *a_ptr, const void *b_ptr) {
    const struct dead_mark *a = a_ptr;
    const struct dead_mark *b = b_ptr;
    int by_place = mark_place_compare(a, b);
    return by_place != 0 ? by_place : (a->seq > b->seq) - (a->seq < b->seq);
}

/* In order, and of each letter only what was said last, unless that is a tombstone. */
static void marks_sort(struct dead_book *book) {
    size_t kept = 0;
    if (book->marks_len > 0) {
        qsort(book->marks, book->marks_len, sizeof *book->marks, mark_compare);
    }
    for (size_t i = 0; i < book->marks_len; i++) {
        bool is_last = i + 1 == book->marks_len || mark_place_compare(&book->marks[i], &book->marks[i + 1]) != 0;
        if (is_last && !book->marks[i].is_tombstone) {
            book->marks[kept++] = book->marks[i];
        }
    }
    book->marks_len = kept;
}

static bool is_marked(const struct dead_book *book, int partition, int64_t offset) {
    const struct dead_mark mark = {.partition = partition, .offset = offset};
    return book->marks_len > 0 && bsearch(&mark, book->marks, book->marks_len, sizeof mark, mark_place_compare) != NULL;
}

enum core_err dead_read_marks(struct dead_book *book, struct core_fail *fail) {
    size_t len = 0;
    enum core_err err = CORE_OK;
    if (book->reader == NULL) {
        err =
            core_arena_init(&book->arena, CORE_JSON_TREE_PER_BYTE * LETTER_BYTES_MAX + CORE_JSON_TREE_BYTES_MIN, fail);
        struct core_kafka_pair *pairs = dead_pairs(book, 0, &len);
        if (err == CORE_OK) {
            err = core_kafka_reader_open(&book->reader, pairs, len, fail);
        }
        free(pairs);
    }
    book->marks_len = 0;
    if (err == CORE_OK) {
        err = topic_each(book, book->config->feed.ledger_topic, mark_take, book, fail);
        err = err == CORE_GONE ? CORE_OK : err; /* no such topic: nothing was ever put back */
    }
    marks_sort(book);
    return err;
}

/* ---- letters ---------------------------------------------------------------------------------------------------------------- */

static void letter_id(struct dead_letter *letter, struct core_span header) {
    static const char digits[] = "0123456789abcdef";
    if (header.len < ID_HEADER_BYTES) {
        (void)snprintf(letter->id, sizeof letter->id, "%d/%" PRId64, letter->partition, letter->offset);
        return;
    }
    for (size_t i = 0; i < ID_HEADER_BYTES; i++) {
        unsigned char byte = (unsigned char)header.ptr[i];
        letter->id[2 * i] = digits[byte >> 4];
        letter->id[2 * i + 1] = digits[byte & 15];
    }
    letter->id[2 * ID_HEADER_BYTES] = '\0';
}

static const char *letter_obstacle(const struct dead_letter *letter, const struct core_json_tree *tapline) {
    if (core_span_is(letter->kind, "unreadable")) {
        return "it is no JSON document: what wrote it into its topic is to be mended";
    }
    if (!core_span_is(letter->kind, "refused")) {
        return "it is a sensor's line and no document: mend the map (`tapline map explain` shows how a line is read) "
               "and read the "
               "file again with `tapline normalize` or, into another namespace, `tapline run`";
    }
    if (core_json_tree_get(tapline, "original_bytes") != NULL) {
        return "the document was too long to be kept whole: it is still in its topic as long as that is kept, and a "
               "new "
               "group (feed.group) that begins there feeds it again";
    }
    if (letter->original.len == 0 || letter->topic.len == 0 || letter->document.len != 2 * (size_t)ID_HEADER_BYTES) {
        return "the letter does not say what was refused, or where it belongs";
    }
    return NULL;
}

/* The parts of a letter. One that cannot be read as what we write is told all the same. */
static void letter_read(struct dead_book *book, struct dead_letter *letter) {
    struct core_json_tree *tree = NULL;
    struct core_fail fail;
    letter->kind = CORE_SPAN("line");
    letter->reason = CORE_SPAN("");
    core_arena_reset(&book->arena, CORE_MIB);
    if (letter->value.len > LETTER_BYTES_MAX ||
        core_json_tree_read(&book->arena, letter->value, &tree, &fail) != CORE_OK) {
        letter->kind = CORE_SPAN("unknown");
        letter->reason = CORE_SPAN("(no letter that tapline has written)");
        letter->obstacle = "it is no letter of tapline's";
        return;
    }
    const struct core_json_tree *tapline = core_json_tree_get(tree, "tapline");
    const struct core_json_tree *log = core_json_tree_get(tree, "log");
    const struct core_json_tree *file = core_json_tree_get(log, "file");
    const struct core_json_tree *partition = core_json_tree_get(tapline, "partition");
    const struct core_json_tree *offset = core_json_tree_get(tapline, "offset");
    const struct core_json_tree *line = core_json_tree_get(file, "line");
    struct core_span kind = core_json_tree_text(tapline, "kind");
    letter->kind = kind.len > 0 ? kind : letter->kind;
    letter->reason = core_json_tree_text(core_json_tree_get(tree, "error"), "message");
    letter->dataset = core_json_tree_text(tapline, "dataset");
    letter->document = core_json_tree_text(tapline, "id");
    letter->topic = core_json_tree_text(tapline, "topic");
    letter->from_partition = partition == NULL ? CORE_SPAN("") : partition->text;
    letter->from_offset = offset == NULL ? CORE_SPAN("") : offset->text;
    letter->path = core_json_tree_text(file, "path");
    letter->line = line == NULL ? CORE_SPAN("") : line->text;
    letter->original = core_json_tree_text(core_json_tree_get(tree, "event"), "original");
    letter->obstacle = letter_obstacle(letter, tapline);
}

static bool is_named(const struct dead_filter *filter, const struct dead_letter *letter) {
    char place[DEAD_ID_BYTES];
    bool is_any = filter->ids_len == 0;
    (void)snprintf(place, sizeof place, "%d/%" PRId64, letter->partition, letter->offset);
    for (size_t i = 0; i < filter->ids_len; i++) {
        if (strcmp(filter->ids[i], letter->id) == 0 || strcmp(filter->ids[i], place) == 0 ||
            core_span_is(letter->document, filter->ids[i])) {
            filter->is_found[i] = true;
            is_any = true;
        }
    }
    return is_any;
}

/* A text of the tree has a NUL behind it, and so have our own. */
static bool is_wanted(const struct dead_filter *filter, const struct dead_letter *letter) {
    return (filter->since_ms == 0 || letter->time_ms >= filter->since_ms) &&
           (filter->has_retried || !letter->is_retried) &&
           (filter->dataset == NULL || core_span_is(letter->dataset, filter->dataset)) &&
           (filter->reason == NULL ||
            (letter->reason.len > 0 && strcasestr(letter->reason.ptr, filter->reason) != NULL));
}

struct each {
    struct dead_book *book;
    enum core_err (*on_letter)(void *ctx, const struct dead_letter *letter, struct core_fail *fail);
    void *ctx;
};

static enum core_err letter_take(void *ctx, const struct core_kafka_got *got, struct core_fail *fail) {
    const struct each *each = ctx;
    struct dead_book *book = each->book;
    struct dead_letter letter = {.partition = got->partition,
                                 .offset = got->offset,
                                 .time_ms = got->timestamp_ms,
                                 .key = got->key,
                                 .value = got->value};
    if (got->is_tombstone) {
        return CORE_OK;
    }
    letter.is_retried = is_marked(book, letter.partition, letter.offset);
    letter_id(&letter, got->header);
    letter_read(book, &letter);
    return is_named(&book->filter, &letter) && is_wanted(&book->filter, &letter)
               ? each->on_letter(each->ctx, &letter, fail)
               : CORE_OK;
}

enum core_err dead_each(struct dead_book *book,
                        enum core_err (*on_letter)(void *ctx, const struct dead_letter *letter, struct core_fail *fail),
                        void *ctx, struct core_fail *fail) {
    struct each each = {.book = book, .on_letter = on_letter, .ctx = ctx};
    const char *topic = book->config->feed.dead_letter_topic;
    enum core_err err = topic_each(book, topic, letter_take, &each, fail);
    if (err == CORE_GONE) {
        (void)fprintf(
            stderr,
            "tapline %s: there is no topic %s (feed.dead_letter_topic); `tapline feed` or `tapline setup` makes it\n",
            book->cmd->name, topic);
        err = CORE_OK;
    }
    return err;
}

size_t dead_say_missing(const struct dead_book *book) {
    size_t missing = 0;
    for (size_t i = 0; i < book->filter.ids_len; i++) {
        if (!book->filter.is_found[i]) {
            missing++;
            (void)fprintf(
                stderr,
                "tapline %s: there is no dead letter %s in %s; `tapline dead-letter list` shows what there is\n",
                book->cmd->name, book->filter.ids[i], book->config->feed.dead_letter_topic);
        }
    }
    return missing;
}

/* ---- texts ------------------------------------------------------------------------------------------------------------------ */

void dead_print_text(FILE *out, struct core_span text, size_t bytes_max) {
    size_t len = text.len > bytes_max ? bytes_max : text.len;
    while (len < text.len && len > 0 && ((unsigned char)text.ptr[len] & 0xc0) == 0x80) { /* whole characters */
        len--;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        (void)fputc(c < ' ' || c == 0x7f ? '?' : c, out);
    }
    if (len < text.len) {
        (void)fputs("…", out);
    }
}

void dead_time(int64_t ms, char out[32]) {
    char iso[27];
    (void)snprintf(out, 32, "-");
    if (feed_time_ms(ms) != 0 && core_time_iso(ms * CORE_NS_PER_MS, iso)) {
        (void)snprintf(out, 32, "%.19sZ", iso);
    }
}
